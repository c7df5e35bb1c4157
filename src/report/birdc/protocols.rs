//! `show protocols`: what every Calico node's BIRD runs, then the sessions (calico-behaviour 8.2).

use super::{GREETING, Now, line};
use crate::bgp::view::{SessionView, SpeakerView, State};

/// `show protocols`.
pub fn show_protocols(speaker: &SpeakerView, now: Now) -> String {
    let mut text = protocol_heading();
    for builtin in BUILTINS {
        text += &builtin.line(now);
    }
    for session in &speaker.sessions {
        text += &session_line(session, now);
    }
    text
}

/// `show protocols all [NAME]`. BIRD's table of route changes is left out: the speaker does not keep those counts.
///
/// # Errors
/// No protocol is called `name`: BIRD's words.
pub fn show_protocols_all(speaker: &SpeakerView, name: Option<&str>, now: Now) -> Result<String, String> {
    protocols(speaker, now, true, name)
}

pub(super) fn protocols(speaker: &SpeakerView, now: Now, all: bool, name: Option<&str>) -> Result<String, String> {
    let wanted = |candidate: &str| name.is_none_or(|name| name == candidate);
    let mut text = protocol_heading();
    let empty = text.len();
    for builtin in BUILTINS.iter().filter(|builtin| wanted(builtin.name)) {
        text += &builtin.line(now);
        if all {
            text += &builtin.details();
        }
    }
    for session in speaker.sessions.iter().filter(|session| wanted(&session.name)) {
        text += &session_line(session, now);
        if all {
            text += &session_details(session);
        }
    }
    match name {
        Some(name) if text.len() == empty => Err(format!("{name} is not a protocol")),
        _ => Ok(text),
    }
}

fn protocol_heading() -> String {
    format!("{GREETING}\nname     proto    table    state  since       info\n")
}

/// A protocol that every Calico node's BIRD runs beside its sessions.
struct Builtin {
    name: &'static str,
    proto: &'static str,
    preference: u32,
    input: &'static str,
    output: &'static str,
}

const BUILTINS: [Builtin; 4] = [
    Builtin { name: "static1", proto: "Static", preference: 200, input: "ACCEPT", output: "REJECT" },
    Builtin { name: "kernel1", proto: "Kernel", preference: 10, input: "ACCEPT", output: "calico_kernel_programming" },
    Builtin { name: "device1", proto: "Device", preference: 240, input: "ACCEPT", output: "REJECT" },
    Builtin { name: "direct1", proto: "Direct", preference: 240, input: "ACCEPT", output: "REJECT" },
];

impl Builtin {
    fn line(&self, now: Now) -> String {
        protocol_line(self.name, self.proto, "up", &now.since(now.uptime_ms), "")
    }

    fn details(&self) -> String {
        format!(
            "  Preference:     {}\n  Input filter:   {}\n  Output filter:  {}\n\n",
            self.preference, self.input, self.output
        )
    }
}

fn protocol_line(name: &str, proto: &str, state: &str, since: &str, info: &str) -> String {
    format!("{name:<8} {proto:<8} {:<8} {state:<5}  {since:<10}  {info}\n", "master")
}

fn session_line(session: &SessionView, now: Now) -> String {
    let state = protocol_state(session);
    protocol_line(&session.name, "BGP", state, &now.since(session.since_ms), &session_info(session))
}

/// BIRD's protocol state: `down`, `up`, or `start` while it tries.
pub(in crate::report) fn protocol_state(session: &SessionView) -> &'static str {
    match session.state {
        _ if session.disabled => "down",
        State::Established => "up",
        _ => "start",
    }
}

/// BIRD's word for the session's state: a passive end that waits is `Passive`, in RFC 4271's terms Active.
pub(in crate::report) fn bgp_state(session: &SessionView) -> String {
    match session.state {
        _ if session.disabled => "Down".into(),
        State::Active if session.passive => "Passive".into(),
        // Idle with an error behind it is the wait after that error.
        State::Idle if session.passive && session.last_error.is_none() => "Passive".into(),
        state => state.to_string(),
    }
}

/// The last error, which BIRD forgets once the session is established, and does not show where an administrator is the cause.
pub(in crate::report) fn last_error(session: &SessionView) -> &str {
    match session.state {
        State::Established => "",
        _ if session.disabled => "",
        _ => session.last_error.as_deref().unwrap_or(""),
    }
}

fn session_info(session: &SessionView) -> String {
    match session.disabled {
        true => String::new(),
        false => format!("{:<14}{}", bgp_state(session), last_error(session)),
    }
}

fn session_details(session: &SessionView) -> String {
    let mut text = String::from(
        "  Description:    Connection to BGP peer\n  Preference:     100\n  Input filter:   ACCEPT\n  Output filter:  (unnamed)\n",
    );
    if !session.disabled {
        line(
            &mut text,
            format_args!(
                "  Routes:         {} imported, {} exported, {} preferred",
                session.imported, session.exported, session.preferred
            ),
        );
    }
    line(&mut text, format_args!("  BGP state:          {}", bgp_state(session)));
    line(&mut text, format_args!("    Neighbor address: {}", session.remote));
    line(&mut text, format_args!("    Neighbor AS:      {}", session.remote_as));
    if session.stale_ms.is_some() {
        text.push_str("    Neighbor graceful restart active\n");
    }
    if session.state == State::Established && !session.disabled {
        if let Some(id) = session.remote_id {
            line(&mut text, format_args!("    Neighbor ID:      {id}"));
        }
        let both = |words: &[(&str, &str)]| {
            let shown =
                words.iter().filter(|(name, _)| session.capabilities.iter().any(|c| c.eq_ignore_ascii_case(name)));
            shown.map(|(_, word)| format!(" {word}")).collect::<String>()
        };
        let capabilities = both(&[
            ("route refresh", "refresh"),
            ("enhanced route refresh", "enhanced-refresh"),
            ("graceful restart", "restart-able"),
            ("4-octet AS", "AS4"),
            ("ADD-PATH receive", "add-path-tx"),
            ("ADD-PATH send", "add-path-rx"),
        ]);
        line(&mut text, format_args!("    Neighbor caps:   {capabilities}"));
        let kind = if session.remote_as == session.local_as { "internal" } else { "external" };
        let negotiated =
            both(&[("4-octet AS", "AS4"), ("ADD-PATH receive", "add-path-rx"), ("ADD-PATH send", "add-path-tx")]);
        line(&mut text, format_args!("    Session:          {kind} multihop{negotiated}"));
        if let Some(local) = session.local {
            line(&mut text, format_args!("    Source address:   {local}"));
        }
        for (name, timer) in [("Hold timer:       ", session.hold), ("Keepalive timer:  ", session.keepalive)] {
            if let Some((total, left)) = timer {
                line(&mut text, format_args!("    {name}{}/{}", left.div_ceil(1000), total / 1000));
            }
        }
    }
    if !last_error(session).is_empty() {
        line(&mut text, format_args!("    Last error:       {}", last_error(session)));
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, session, speaker};
    use super::super::{Command, render};
    use super::*;

    #[test]
    fn protocols_are_listed_in_birds_columns() {
        let refused = SessionView {
            passive: false,
            last_error: Some("Socket: Connection refused".into()),
            ..session("Mesh_172_18_0_5", "172.18.0.5", State::Active, 2_000)
        };
        let stopped = SessionView { disabled: true, ..session("Mesh_172_18_0_6", "172.18.0.6", State::Idle, 0) };
        let speaker = speaker(vec![
            session("Mesh_172_18_0_3", "172.18.0.3", State::Established, 60_000),
            session("Mesh_172_18_0_4", "172.18.0.4", State::Active, 86_400_000),
            refused,
            stopped,
        ]);
        assert_eq!(
            show_protocols(&speaker, NOW),
            "\
BIRD v0.3.3+birdv1.6.8 ready.
name     proto    table    state  since       info
static1  Static   master   up     12:33:51    \n\
kernel1  Kernel   master   up     12:33:51    \n\
device1  Device   master   up     12:33:51    \n\
direct1  Direct   master   up     12:33:51    \n\
Mesh_172_18_0_3 BGP      master   up     12:33:56    Established   \n\
Mesh_172_18_0_4 BGP      master   start  2026-04-07  Passive       \n\
Mesh_172_18_0_5 BGP      master   start  12:34:54    Active        Socket: Connection refused
Mesh_172_18_0_6 BGP      master   down   12:34:56    \n"
        );
    }

    #[test]
    fn an_established_session_in_full() {
        let speaker = speaker(vec![session("Mesh_172_18_0_3", "172.18.0.3", State::Established, 60_000)]);
        assert_eq!(
            show_protocols_all(&speaker, Some("Mesh_172_18_0_3"), NOW).unwrap(),
            "\
BIRD v0.3.3+birdv1.6.8 ready.
name     proto    table    state  since       info
Mesh_172_18_0_3 BGP      master   up     12:33:56    Established   \n  \
  Description:    Connection to BGP peer
  Preference:     100
  Input filter:   ACCEPT
  Output filter:  (unnamed)
  Routes:         1 imported, 1 exported, 1 preferred
  BGP state:          Established
    Neighbor address: 172.18.0.3
    Neighbor AS:      64512
    Neighbor ID:      172.18.0.3
    Neighbor caps:    refresh restart-able AS4
    Session:          internal multihop AS4
    Source address:   172.18.0.2
    Hold timer:       188/240
    Keepalive timer:  30/80

"
        );
    }

    #[test]
    fn a_failing_session_shows_its_last_error_and_no_timers() {
        let failing = SessionView {
            passive: false,
            last_error: Some("Received: Hold timer expired".into()),
            ..session("Mesh_172_18_0_3", "172.18.0.3", State::Idle, 0)
        };
        let text = show_protocols_all(&speaker(vec![failing]), None, NOW).unwrap();
        let tail = text.split("  BGP state:").nth(1).unwrap();
        assert_eq!(
            tail,
            "          Idle\n    Neighbor address: 172.18.0.3\n    Neighbor AS:      64512\n    Last error:       Received: \
             Hold timer expired\n\n"
        );
        assert_eq!(text.matches("  Preference:     ").count(), 5);
    }

    #[test]
    fn an_unknown_protocol_is_birds_error() {
        let command = Command::parse(&["show", "protocols", "all", "Mesh_1_1_1_1"]).unwrap();
        assert_eq!(render(&command, &speaker(vec![]), &[], NOW), Err("Mesh_1_1_1_1 is not a protocol".into()));
    }
}
