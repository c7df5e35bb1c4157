//! What a speaker shows, in the layout of `calicoctl node status` (calico-behaviour 8.1).

use super::birdc::{self, Now};
use crate::bgp::view::{SessionView, SpeakerView};

/// `calicoctl node status` on the node of `speaker`: its IPv4 sessions, in configuration order.
pub fn node_status(speaker: &SpeakerView, now: Now) -> String {
    let rows = |v4: bool| -> Vec<[String; 5]> {
        let sessions = speaker.sessions.iter().filter(|session| session.remote.is_ipv4() == v4);
        sessions.filter_map(|session| row(session, now)).collect()
    };
    let section = |version: u8, rows: Vec<[String; 5]>| match rows.is_empty() {
        true => format!("\nIPv{version} BGP status\nNo IPv{version} peers found.\n"),
        false => format!("\nIPv{version} BGP status\n{}", table(&rows)),
    };
    format!("Calico process is running.\n{}{}\n", section(4, rows(true)), section(6, rows(false)))
}

/// One session's cells; `None` for those that calicoctl does not list (`Local_Workload_…`).
fn row(session: &SessionView, now: Now) -> Option<[String; 5]> {
    let (kind, address) = [("Mesh_", "node-to-node mesh"), ("Global_", "global"), ("Node_", "node specific")]
        .iter()
        .find_map(|(prefix, kind)| session.name.strip_prefix(prefix).map(|address| (*kind, address)))?;
    // calicoctl knows the address only from the name.
    let address = address.replace('_', if session.remote.is_ipv4() { "." } else { ":" });
    let state = birdc::protocol_state(session).to_owned();
    let info = match session.disabled {
        true => String::new(),
        false => format!("{} {}", birdc::bgp_state(session), birdc::last_error(session)).trim_end().to_owned(),
    };
    Some([address, kind.into(), state, now.since(session.since_ms), info])
}

fn table(rows: &[[String; 5]]) -> String {
    let heading = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"];
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([heading[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let rule: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let line = |cells: [&str; 5]| {
        let cells = cells.iter().zip(&widths).map(|(cell, &width)| format!("| {cell:<width$} "));
        cells.collect::<String>() + "|\n"
    };
    let body: String = rows.iter().map(|row| line(row.each_ref().map(String::as_str))).collect();
    format!("{rule}{}{rule}{body}{rule}", line(heading))
}

#[cfg(test)]
mod tests {
    use super::super::birdc::tests::{NOW, session, speaker};
    use super::*;
    use crate::bgp::view::State;

    const DAY: u64 = 86_400_000;

    #[test]
    fn one_established_mesh_session_prints_as_calicoctl_does() {
        let speaker = speaker(vec![session("Mesh_172_18_0_3", "172.18.0.3", State::Established, DAY)]);
        let now = Now { local_seconds: NOW.local_seconds + 86_400, ..NOW };
        assert_eq!(
            node_status(&speaker, now),
            "\
Calico process is running.

IPv4 BGP status
+--------------+-------------------+-------+------------+-------------+
| PEER ADDRESS | PEER TYPE         | STATE | SINCE      | INFO        |
+--------------+-------------------+-------+------------+-------------+
| 172.18.0.3   | node-to-node mesh | up    | 2026-04-08 | Established |
+--------------+-------------------+-------+------------+-------------+

IPv6 BGP status
No IPv6 peers found.

"
        );
    }

    #[test]
    fn a_node_without_sessions_has_no_peers() {
        assert_eq!(
            node_status(&speaker(vec![]), NOW),
            "Calico process is running.\n\nIPv4 BGP status\nNo IPv4 peers found.\n\nIPv6 BGP status\nNo IPv6 peers found.\n\n"
        );
    }

    #[test]
    fn types_ports_and_errors_come_from_birds_columns() {
        let global = SessionView {
            passive: false,
            last_error: Some("Socket: Connection refused".into()),
            ..session("Global_10_0_0_3_port_180", "10.0.0.3", State::Active, 0)
        };
        let disabled = SessionView { disabled: true, ..session("Node_10_0_0_4", "10.0.0.4", State::Idle, 0) };
        let workload = session("Local_Workload_10_1_1_1", "10.1.1.1", State::Established, 0);
        let status = node_status(&speaker(vec![global, disabled, workload]), NOW);
        let rows: Vec<Vec<&str>> = status
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(
            rows[1..],
            [
                vec!["10.0.0.3.port.180", "global", "start", "12:34:56", "Active Socket: Connection refused"],
                vec!["10.0.0.4", "node specific", "down", "12:34:56", ""],
            ]
        );
    }
}
