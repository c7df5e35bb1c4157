//! BGP sessions: their states.

use std::net::IpAddr;

use super::{DiffLine, Verdict, count};
use crate::bgp::view::{SessionView, SpeakerView};
use crate::scenario::model::{Bgp, SessionExpectation};

/// Compares a speaker's sessions with what the step expects of them. `has` says whether the node or router of a name has an address.
pub fn bgp(expected: &Bgp, observed: &SpeakerView, has: &dyn Fn(&str, IpAddr) -> bool) -> Verdict {
    let on = &expected.on.value;
    let mut difference = Vec::new();
    let Some(wanted) = &expected.sessions else { return Verdict::Pass };
    let wish = match wanted {
        SessionExpectation::All(state) => {
            for session in observed.sessions.iter().filter(|session| session.state != *state) {
                difference.push(DiffLine::missing(format!("{} {state}", session.name)));
                difference.push(DiffLine::unexpected(described(session)));
            }
            if observed.sessions.is_empty() {
                return Verdict::fail(format!("every session of {on} {state}"), "no session at all", difference);
            }
            format!("every session of {on} {state}")
        }
        SessionExpectation::Each(sessions) => {
            for (with, state) in sessions {
                let literal: Option<IpAddr> = with.parse().ok();
                let is_meant = |session: &&SessionView| {
                    session.name == with.value
                        || literal.map_or_else(|| has(with, session.remote), |it| it == session.remote)
                };
                let found = observed.sessions.iter().find(is_meant);
                if found.is_none_or(|session| session.state != *state) {
                    difference.push(DiffLine::missing(format!("{} {state}", with.value)));
                    difference.extend(found.map(|session| DiffLine::unexpected(described(session))));
                }
            }
            format!("{} of {on} in the states given", count(sessions.len(), "session"))
        }
    };
    if difference.is_empty() {
        return Verdict::Pass;
    }
    let wrong = difference.iter().filter(|line| line.mark == super::Mark::Missing).count();
    let number = count(observed.sessions.len(), "session");
    Verdict::fail(wish, format!("{number}, {wrong} missing or in another state"), difference)
}

fn described(session: &SessionView) -> String {
    let SessionView { name, state, .. } = session;
    match &session.last_error {
        _ if session.disabled => format!("{name} {state} (disabled)"),
        Some(error) => format!("{name} {state} ({error})"),
        None => format!("{name} {state}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::bgp::view::State;
    use crate::net::{Asn, BgpIdentifier};
    use crate::scenario::{StateCheck, Verb};

    fn session(name: &str, remote: [u8; 4], state: State) -> SessionView {
        SessionView {
            name: name.into(),
            remote: remote.into(),
            local: None,
            remote_as: Asn(64512),
            local_as: Asn(64512),
            remote_id: None,
            state,
            passive: false,
            disabled: false,
            since_ms: 0,
            hold: None,
            keepalive: None,
            last_error: (state != State::Established).then(|| "Socket: Connection refused".into()),
            capabilities: vec![],
            end_of_rib_awaited: false,
            stale_ms: None,
            end_of_rib_received: false,
            pending: 0,
            imported: 0,
            exported: 0,
            preferred: 0,
            messages: Default::default(),
        }
    }

    fn verdict(text: &str, sessions: Vec<SessionView>) -> Vec<String> {
        let Verb::State(StateCheck::Bgp(expected)) = step(text).verb else { panic!("bgp") };
        let router_id = BgpIdentifier([172, 18, 0, 2].into());
        let view = SpeakerView { name: "n".into(), local_as: Asn(64512), router_id, uptime_ms: 0, sessions };
        shown(bgp(&expected, &view, &|name, address| name == "worker" && address == IpAddr::from([172, 18, 0, 4])))
    }

    fn two() -> Vec<SessionView> {
        vec![
            session("Mesh_172_18_0_3", [172, 18, 0, 3], State::Established),
            session("Mesh_172_18_0_4", [172, 18, 0, 4], State::Active),
        ]
    }

    #[test]
    fn all_needs_every_session_and_at_least_one() {
        let all = "bgp = { on = 'n', all = 'Established' }";
        assert_eq!(verdict(all, two()[..1].to_vec()), Vec::<String>::new());
        assert_eq!(
            verdict(all, two()),
            [
                "every session of n Established | 2 sessions, 1 missing or in another state",
                "- Mesh_172_18_0_4 Established",
                "+ Mesh_172_18_0_4 Active (Socket: Connection refused)",
            ]
        );
        assert_eq!(verdict(all, vec![]), ["every session of n Established | no session at all"]);
    }

    #[test]
    fn a_session_is_found_by_node_address_or_protocol_name() {
        let each = "bgp = { on = 'n', sessions = { worker = 'Active', '172.18.0.3' = 'Established', Mesh_172_18_0_3 = 'Established' } }";
        assert_eq!(verdict(each, two()), Vec::<String>::new());
        assert_eq!(
            verdict("bgp = { on = 'n', sessions = { worker = 'Idle', '10.0.0.1' = 'Idle' } }", two()),
            [
                "2 sessions of n in the states given | 2 sessions, 2 missing or in another state",
                "- 10.0.0.1 Idle",
                "- worker Idle",
                "+ Mesh_172_18_0_4 Active (Socket: Connection refused)",
            ]
        );
    }
}
