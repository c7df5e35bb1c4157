//! ExaBGP: it announces what it is told to, and does nothing with what it hears.

use std::fmt::Write;

use super::{address_family, gobgp::networks, password, session, state};
use crate::bgp::SpeakerConfig;
use crate::bgp::view::SessionView;

/// `exabgp.conf`.
pub fn configuration(config: &SpeakerConfig) -> String {
    let family = address_family(config);
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a String takes any text");
    for peer in &config.peers {
        line(format_args!("neighbor {} {{", peer.remote));
        line(format_args!("  router-id {};", config.router_id));
        if let Some(local) = peer.local {
            line(format_args!("  local-address {local};"));
        }
        line(format_args!("  local-as {};\n  peer-as {};", peer.local_as.0, peer.remote_as.0));
        line(format_args!("  hold-time {};", config.timers.hold_time.as_secs()));
        if peer.passive {
            line(format_args!("  passive true;\n  listen {};", config.listen_port));
        } else {
            line(format_args!("  connect {};", peer.remote_port));
        }
        if let Some(password) = password(peer) {
            line(format_args!("  md5-password \"{password}\";"));
        }
        if let Some(hops) = peer.ttl_security {
            line(format_args!("  outgoing-ttl 255;\n  incoming-ttl {};", u8::MAX - hops.saturating_sub(1)));
        }
        line(format_args!("  family {{ {family} unicast; }}\n  capability {{ route-refresh enable; }}"));
        line(format_args!("  announce {{\n    {family} {{"));
        for network in networks(config) {
            line(format_args!("      unicast {} next-hop self;", network));
        }
        line(format_args!("    }}\n  }}\n}}"));
    }
    text
}

/// What is written to its pipe for [`sessions`].
pub const QUERY: &str = "show neighbor summary";

/// The last line of an answer: it has done what it was asked, or it has not.
pub const LAST_LINES: [&str; 2] = ["done", "error"];

/// The sessions of `config` by the answer to [`QUERY`].
pub fn sessions(config: &SpeakerConfig, answer: &str) -> Vec<SessionView> {
    // `192.168.2.2     64513     0:00:04 established           2          3`
    let lines: Vec<Vec<&str>> = answer.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |address: String| lines.iter().find(|words| words.first() == Some(&address.as_str()));
    let known = ["idle", "active", "connect", "opensent", "openconfirm", "established"];
    config
        .peers
        .iter()
        .map(|peer| {
            let words = of(peer.remote.to_string()).map_or(&[][..], Vec::as_slice);
            let word = words.iter().find(|word| known.contains(word)).copied().unwrap_or_default();
            session(peer, state(word))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::bgp::view::State;

    #[test]
    fn a_router_announces_its_networks_to_every_peer() {
        insta::assert_snapshot!(configuration(&testing::router()));
    }

    #[test]
    fn a_session_is_read_off_show_neighbor_summary() {
        let answer = "Peer            AS        up/down state       |     #sent     #recvd\n\
                      192.168.1.20    64513     down    idle                  0          0\n\
                      192.168.1.2     64513     0:00:04 established           2          3\n";
        assert_eq!(sessions(&testing::router(), answer)[0].state, State::Established);
        let answer = "192.168.1.2     64513     down    connect               0          0\n";
        assert_eq!(sessions(&testing::router(), answer)[0].state, State::Connect);
        assert_eq!(sessions(&testing::router(), "")[0].state, State::Idle);
    }
}
