//! FRRouting: zebra, which writes the kernel's routes, and bgpd.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::{address_family, password, session, state};
use crate::bgp::view::SessionView;
use crate::bgp::{ExportPolicy, PeerConfig, SpeakerConfig};
use crate::net::{BgpIdentifier, Order};

/// `zebra.conf`: peers that are several hops away may be behind a default route.
pub fn zebra() -> String {
    "ip nht resolve-via-default\n".into()
}

/// `bgpd.conf` of a router.
pub fn bgpd(config: &SpeakerConfig) -> String {
    let (networks, transit) = match &config.policy.export {
        ExportPolicy::Router { networks, transit } => (networks.as_slice(), *transit),
        // `shortcomings` has told.
        ExportPolicy::Calico => (&[][..], false),
    };
    let (family, hold) = (address_family(config), config.timers.hold_time);
    let mut text = String::new();
    let mut line = |words: std::fmt::Arguments<'_>| writeln!(text, "{words}").expect("a String takes any text");
    if !transit {
        line(format_args!("bgp as-path access-list own seq 5 permit ^$"));
    }
    line(format_args!("router bgp {}", config.local_as.0));
    line(format_args!(" bgp router-id {}", config.router_id));
    // FRR's own idea of safety; a route that came first wins nothing here.
    line(format_args!(" no bgp ebgp-requires-policy\n no bgp network import-check\n no bgp default ipv4-unicast"));
    line(format_args!(" bgp bestpath compare-routerid"));
    line(format_args!(" timers bgp {} {}", hold.as_secs() / 3, hold.as_secs()));
    for peer in &config.peers {
        let remote = peer.remote;
        line(format_args!(" neighbor {remote} remote-as {}", peer.remote_as.0));
        line(format_args!(" neighbor {remote} port {}", peer.remote_port));
        line(format_args!(" neighbor {remote} timers connect {}", seconds(config.timers.connect_retry)));
        line(format_args!(" neighbor {remote} advertisement-interval 0"));
        line(format_args!(" neighbor {remote} sender-as-path-loop-detection"));
        if let Some(local) = peer.local {
            line(format_args!(" neighbor {remote} update-source {local}"));
        }
        match peer.ttl_security {
            Some(hops) => line(format_args!(" neighbor {remote} ttl-security hops {}", hops.max(1))),
            None => line(format_args!(" neighbor {remote} ebgp-multihop 64")),
        }
        if let Some(password) = password(peer) {
            line(format_args!(" neighbor {remote} password {password}"));
        }
        if peer.passive {
            line(format_args!(" neighbor {remote} passive"));
        }
    }
    line(format_args!(" address-family {family} unicast\n  maximum-paths 1\n  maximum-paths ibgp 1"));
    for network in networks {
        line(format_args!("  network {network}"));
    }
    for peer in &config.peers {
        let remote = peer.remote;
        line(format_args!("  neighbor {remote} activate\n  neighbor {remote} next-hop-self"));
        // Large ones are left off otherwise.
        line(format_args!("  neighbor {remote} send-community all"));
        if !transit {
            line(format_args!("  neighbor {remote} filter-list own out"));
        }
    }
    line(format_args!(" exit-address-family"));
    text
}

/// FRR counts this in whole seconds, one at least.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, 65535) as u64
}

/// What is asked of bgpd's socket for [`sessions`].
pub const QUERY: &str = "show bgp neighbors json";

/// The sessions of `config` by the answer to [`QUERY`].
pub fn sessions(config: &SpeakerConfig, answer: &str) -> Vec<SessionView> {
    let answer: Value = serde_json::from_str(answer).unwrap_or_default();
    let family = format!("{}Unicast", address_family(config));
    config.peers.iter().map(|peer| one_session(peer, &family, &answer[peer.remote.to_string()])).collect()
}

fn one_session(peer: &PeerConfig, family: &str, said: &Value) -> SessionView {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let timer = |whole: &str| said[whole].as_u64().map(|whole| (whole, whole));
    let prefixes = &said["addressFamilyInfo"][family];
    let since = |key: &str| number(&said[key]);
    let reason = said["lastResetDueTo"].as_str();
    let established = state(said["bgpState"].as_str().unwrap_or_default());
    SessionView {
        remote_id: said["remoteRouterId"].as_str().and_then(identifier),
        disabled: said["adminShutDown"].as_bool().unwrap_or(false),
        since_ms: since("bgpTimerUpMsec"),
        hold: timer("bgpTimerHoldTimeMsecs"),
        keepalive: timer("bgpTimerKeepAliveIntervalMsecs"),
        last_error: reason.filter(|_| established != crate::bgp::view::State::Established).map(str::to_owned),
        imported: number(&prefixes["acceptedPrefixCounter"]) as usize,
        exported: number(&prefixes["sentPrefixCounter"]) as usize,
        ..session(peer, established)
    }
}

fn identifier(text: &str) -> Option<BgpIdentifier> {
    match text.parse().ok()? {
        IpAddr::V4(address) if !address.is_unspecified() => Some(BgpIdentifier(address)),
        _ => None,
    }
}

/// Commands for bgpd's socket, which starts in its most restricted mode.
pub(super) fn administration(config: &SpeakerConfig, peer: &PeerConfig, order: Order) -> Vec<String> {
    let remote = peer.remote;
    let shutdown = |no: &str| {
        let router = format!("router bgp {}", config.local_as.0);
        vec![
            "enable".into(),
            "configure terminal".into(),
            router,
            format!("{no}neighbor {remote} shutdown"),
            "end".into(),
        ]
    };
    match order {
        Order::Disable => shutdown(""),
        Order::Enable => shutdown("no "),
        Order::Restart => vec!["enable".into(), format!("clear bgp {remote}")],
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::bgp::view::State;
    use crate::net::Password;

    #[test]
    fn a_router_exports_its_networks_and_what_it_learned_with_itself_as_next_hop() {
        insta::assert_snapshot!(bgpd(&testing::router()));
    }

    #[test]
    fn a_router_that_is_no_transit_exports_routes_with_an_empty_path_only() {
        let mut config = testing::router();
        config.policy.export = ExportPolicy::Router { networks: Vec::new(), transit: false };
        let text = bgpd(&config);
        assert!(text.starts_with("bgp as-path access-list own seq 5 permit ^$\n"), "{text}");
        assert!(text.contains("  neighbor 192.168.1.2 filter-list own out\n"), "{text}");
    }

    #[test]
    fn gtsm_takes_the_place_of_multihop() {
        let mut config = testing::router();
        (config.peers[0].ttl_security, config.peers[0].password) = (Some(1), Some(Password::Text("s3cret".into())));
        let text = bgpd(&config);
        assert!(text.contains(" neighbor 192.168.1.2 ttl-security hops 1\n") && !text.contains("multihop"), "{text}");
        assert!(text.contains(" neighbor 192.168.1.2 password s3cret\n"), "{text}");
    }

    #[test]
    fn a_session_is_read_off_show_bgp_neighbors() {
        let answer = r#"{"192.168.1.2":{"bgpState":"Established","remoteRouterId":"192.168.1.2","bgpTimerUpMsec":3000,
            "bgpTimerHoldTimeMsecs":240000,"bgpTimerKeepAliveIntervalMsecs":80000,"lastResetDueTo":"Waiting for peer OPEN",
            "addressFamilyInfo":{"ipv4Unicast":{"acceptedPrefixCounter":3,"sentPrefixCounter":2}}}}"#;
        let found = &sessions(&testing::router(), answer)[0];
        assert_eq!((found.state, found.imported, found.exported, found.since_ms), (State::Established, 3, 2, 3000));
        assert_eq!(found.remote_id, Some(BgpIdentifier("192.168.1.2".parse().unwrap())));
        assert_eq!(found.last_error, None, "why it was down before is no error of now");
        let answer = r#"{"192.168.1.2":{"bgpState":"Idle","remoteRouterId":"0.0.0.0","adminShutDown":true}}"#;
        let found = &sessions(&testing::router(), answer)[0];
        assert_eq!((found.state, found.disabled, found.remote_id), (State::Idle, true, None));
    }

    #[test]
    fn an_answer_that_is_none_is_no_session() {
        assert_eq!(sessions(&testing::router(), "% BGP instance not found")[0].state, State::Idle);
    }
}
