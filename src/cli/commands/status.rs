//! `lab status`: the lab at a glance.

use ipnet::Ipv4Net;

use super::{print, print_json, table};
use crate::cli::args::Output;
use crate::cli::exit_code::ExitCode;
use crate::cli::failure::Failure;
use crate::cli::select::{Selected, require_root};
use crate::control::LabStatus;
use crate::net::{ExternalSpeaker, LabName};

/// Rows above which a summary lists no more nodes.
const SUMMARY_ROWS: usize = 20;

pub(crate) async fn status(lab: Option<&LabName>, output: Output) -> Result<ExitCode, Failure> {
    require_root()?;
    let status = Selected::only(lab)?.client()?.status().await?;
    match output {
        Output::Json => print_json(&status)?,
        Output::Table => print(&full(&status)),
    }
    Ok(if status.converged { ExitCode::Done } else { ExitCode::Failed })
}

/// What `lab up` prints: the nodes, the first few of many.
pub(crate) fn summary(status: &LabStatus) -> String {
    let mut text = nodes(status, SUMMARY_ROWS);
    text.push_str(&notes(status));
    text
}

fn full(status: &LabStatus) -> String {
    let mut text = nodes(status, usize::MAX);
    let mut pods = table(["POD", "NAMESPACE", "NODE", "ADDRESS"]);
    for pod in &status.pods {
        pods.add_row([pod.name.clone(), pod.namespace.clone(), pod.node.clone(), pod.address.to_string()]);
    }
    if !status.pods.is_empty() {
        text.push_str(&format!("{pods}\n"));
    }
    text.push_str(&notes(status));
    text.push_str(&match status.converged {
        true => format!("lab `{}` is healthy\n", status.lab),
        false => {
            let missing = status.missing.iter().map(|fact| format!("  {fact}\n")).collect::<String>();
            format!("lab `{}` has not converged:\n{missing}", status.lab)
        }
    });
    text
}

/// `64512 (FRR)`: an AS, and what speaks for it where that is not lab itself.
fn with_speaker(asn: String, speaker: Option<ExternalSpeaker>) -> String {
    speaker.map_or(asn.clone(), |speaker| format!("{asn} ({speaker})"))
}

fn nodes(status: &LabStatus, most: usize) -> String {
    if status.nodes.is_empty() {
        return routers(status, most);
    }
    let mut nodes = table(["NODE", "ADDRESS", "AS", "BLOCKS", "PODS", "SESSIONS", "ROUTES"]);
    for node in status.nodes.iter().take(most) {
        let blocks = node.blocks.iter().map(ToString::to_string).collect::<Vec<_>>();
        nodes.add_row([
            node.name.clone(),
            node.address.to_string(),
            with_speaker(node.as_number.to_string(), node.speaker),
            if blocks.is_empty() { "-".into() } else { blocks.join("\n") },
            node.pods.to_string(),
            format!("{}/{}", node.sessions_established, node.sessions),
            node.routes.to_string(),
        ]);
    }
    let more = status.nodes.len().saturating_sub(most);
    let more =
        if more > 0 { format!("… and {more} more nodes: `lab status {}`\n", status.lab) } else { String::new() };
    format!("{nodes}\n{more}{}", routers(status, most))
}

fn routers(status: &LabStatus, most: usize) -> String {
    if status.routers.is_empty() {
        return String::new();
    }
    let lines = |nets: &[Ipv4Net]| nets.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let mut routers = table(["ROUTER", "ADDRESSES", "AS", "NETWORKS", "SESSIONS", "ROUTES"]);
    for router in status.routers.iter().take(most) {
        routers.add_row([
            router.name.clone(),
            lines(&router.addresses),
            with_speaker(router.as_number.map_or_else(|| "-".into(), |asn| asn.to_string()), router.speaker),
            if router.networks.is_empty() { "-".into() } else { lines(&router.networks) },
            format!("{}/{}", router.sessions_established, router.sessions),
            router.routes.to_string(),
        ]);
    }
    format!("{routers}\n")
}

fn notes(status: &LabStatus) -> String {
    let mut text = String::new();
    for fault in &status.faults {
        text.push_str(&format!("fault in force: {fault}\n"));
    }
    if status.nat_outgoing != "on" {
        text.push_str(&format!("natOutgoing is {}\n", status.nat_outgoing));
    }
    if status.tunl0 != "none" {
        text.push_str(&format!("tunl0: {}\n", status.tunl0));
    }
    let drops = status.nodes.iter().filter_map(|node| Some((&node.name, &node.tunl0.as_ref()?.statistics.dropped)));
    for (node, dropped) in drops.filter(|(_, dropped)| !dropped.is_empty()) {
        let reasons: Vec<String> = dropped.iter().map(|(reason, packets)| format!("{packets} {reason}")).collect();
        text.push_str(&format!("tunl0 of {node} dropped packets: {}\n", reasons.join(", ")));
    }
    text
}
