//! GoBGP: a speaker without a kernel. What it learned is in its own table only.

use std::fmt::Write;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::Value;

use super::{address_family, password, session};
use crate::bgp::view::{SessionView, State};
use crate::bgp::wire::Family;
use crate::bgp::{ExportPolicy, PeerConfig, SpeakerConfig};
use crate::net::{BgpIdentifier, Order};

/// `gobgpd.toml` of a router. What it originates is not in it: see [`originated`].
pub fn configuration(config: &SpeakerConfig) -> String {
    let transit = matches!(config.policy.export, ExportPolicy::Router { transit: true, .. });
    let family = address_family(config);
    let any = if config.family == Family::Ipv6Unicast { "::" } else { "0.0.0.0" };
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a String takes any text");
    line(format_args!("[global.config]\nas = {}\nrouter-id = \"{}\"", config.local_as.0, config.router_id));
    line(format_args!("port = {}\nlocal-address-list = [\"{any}\"]", config.listen_port));
    // A route that came first wins nothing here.
    line(format_args!("[global.route-selection-options.config]\nexternal-compare-router-id = true"));
    line(format_args!("[global.apply-policy.config]\nexport-policy-list = [\"out\"]"));
    line(format_args!("default-import-policy = \"accept-route\"\ndefault-export-policy = \"reject-route\""));
    line(format_args!("[[policy-definitions]]\nname = \"out\"\n[[policy-definitions.statements]]\nname = \"own\""));
    if !transit {
        line(format_args!("[policy-definitions.statements.conditions.bgp-conditions]\nroute-type = \"local\""));
    }
    line(format_args!("[policy-definitions.statements.actions]\nroute-disposition = \"accept-route\""));
    line(format_args!("[policy-definitions.statements.actions.bgp-actions]\nset-next-hop = \"self\""));
    for peer in &config.peers {
        line(format_args!("[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"", peer.remote));
        line(format_args!("peer-as = {}\nlocal-as = {}", peer.remote_as.0, peer.local_as.0));
        if let Some(password) = password(peer) {
            line(format_args!("auth-password = \"{password}\""));
        }
        line(format_args!("[neighbors.transport.config]\nremote-port = {}", peer.remote_port));
        line(format_args!("passive-mode = {}", peer.passive));
        if let Some(local) = peer.local {
            line(format_args!("local-address = \"{local}\""));
        }
        match peer.ttl_security {
            Some(hops) => {
                let least = u8::MAX - hops.saturating_sub(1);
                line(format_args!("[neighbors.ttl-security.config]\nenabled = true\nttl-min = {least}"));
            }
            None if peer.is_external() => {
                line(format_args!("[neighbors.ebgp-multihop.config]\nenabled = true\nmultihop-ttl = 64"));
            }
            None => {}
        }
        let hold = config.timers.hold_time.as_secs();
        line(format_args!("[neighbors.timers.config]\nhold-time = {hold}\nkeepalive-interval = {}", hold / 3));
        line(format_args!("connect-retry = {}", seconds(config.timers.connect_retry)));
        line(format_args!(
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}-unicast\""
        ));
    }
    text
}

/// GoBGP counts these timers in whole seconds, one at least.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, 65535) as u64
}

/// Words for `gobgp` that have it originate `prefix`: its configuration cannot.
pub fn originated(prefix: &IpNet) -> Vec<String> {
    let family = if prefix.addr().is_ipv6() { "ipv6" } else { "ipv4" };
    ["global", "rib", "add", &prefix.to_string(), "origin", "igp", "-a", family].map(str::to_owned).into()
}

/// What it originates.
pub fn networks(config: &SpeakerConfig) -> &[IpNet] {
    match &config.policy.export {
        ExportPolicy::Router { networks, .. } => networks,
        ExportPolicy::Calico => &[],
    }
}

/// Words for `gobgp` whose output is for [`sessions`].
pub const QUERY: [&str; 2] = ["-j", "neighbor"];

/// The sessions of `config` by the answer to [`QUERY`].
pub fn sessions(config: &SpeakerConfig, answer: &str) -> Vec<SessionView> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let all = answer.as_array().map_or(&[][..], Vec::as_slice);
    let of = |peer: &PeerConfig| {
        let address = peer.remote.to_string();
        all.iter().find(|said| said["conf"]["neighbor_address"] == address.as_str())
    };
    config.peers.iter().map(|peer| one_session(peer, of(peer).unwrap_or(&Value::Null))).collect()
}

fn one_session(peer: &PeerConfig, said: &Value) -> SessionView {
    let state = &said["state"];
    // PeerState.SessionState and AdminState of its gobgp.proto.
    let session_state = match state["session_state"].as_u64() {
        Some(2) => State::Connect,
        Some(3) => State::Active,
        Some(4) => State::OpenSent,
        Some(5) => State::OpenConfirm,
        Some(6) => State::Established,
        _ => State::Idle,
    };
    let families = said["afi_safis"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |key: &str| families.iter().filter_map(|family| family["state"][key].as_u64()).sum::<u64>() as usize;
    SessionView {
        remote_id: state["router_id"].as_str().and_then(|id| id.parse().ok()).map(BgpIdentifier),
        disabled: state["admin_state"].as_u64() == Some(1),
        imported: count("accepted"),
        exported: count("advertised"),
        ..session(peer, session_state)
    }
}

/// Words for `gobgp`, separated by spaces, call by call.
pub(super) fn administration(peer: &PeerConfig, order: Order) -> Vec<String> {
    let verbs: &[&str] = match order {
        Order::Disable => &["disable"],
        Order::Enable => &["enable"],
        // After a reset it waits for 30 s, whatever it is told; after this, 5 s.
        Order::Restart => &["disable", "enable"],
    };
    verbs.iter().map(|verb| format!("neighbor {} {verb}", peer.remote)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_router_is_a_document_of_toml_that_says_all_of_it() {
        let mut config = testing::router();
        config.peers[0].ttl_security = Some(1);
        config.peers[0].password = Some(crate::net::Password::Text("s3cret".into()));
        let document: toml::Table = configuration(&config).parse().unwrap();
        let neighbor = &document["neighbors"][0];
        assert_eq!(document["global"]["config"]["as"].as_integer(), Some(64512));
        assert_eq!(neighbor["config"]["peer-as"].as_integer(), Some(4_200_000_001));
        assert_eq!(neighbor["config"]["auth-password"].as_str(), Some("s3cret"));
        assert_eq!(neighbor["ttl-security"]["config"]["ttl-min"].as_integer(), Some(255));
        assert_eq!(neighbor["timers"]["config"]["hold-time"].as_integer(), Some(240));
        assert!(neighbor.get("ebgp-multihop").is_none());
    }

    #[test]
    fn a_router_that_is_no_transit_exports_local_routes_only() {
        let mut config = testing::router();
        assert!(!configuration(&config).contains("route-type"));
        config.policy.export = ExportPolicy::Router { networks: Vec::new(), transit: false };
        assert!(configuration(&config).contains("route-type = \"local\""));
    }

    #[test]
    fn a_session_is_read_off_gobgp_neighbor() {
        let answer = r#"[{"conf":{"neighbor_address":"192.168.1.9"},"state":{"session_state":1}},
            {"conf":{"neighbor_address":"192.168.1.2"},"state":{"session_state":6,"router_id":"192.168.1.2"},
             "afi_safis":[{"state":{"received":7,"accepted":6,"advertised":2}}]}]"#;
        let found = &sessions(&testing::router(), answer)[0];
        assert_eq!((found.state, found.imported, found.exported), (State::Established, 6, 2));
        let answer = r#"[{"conf":{"neighbor_address":"192.168.1.2"},"state":{"session_state":1,"admin_state":1}}]"#;
        let found = &sessions(&testing::router(), answer)[0];
        assert_eq!((found.state, found.disabled), (State::Idle, true));
    }
}
