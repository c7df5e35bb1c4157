//! FRRouting: zebra, which writes the kernel's routes, and bgpd.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use super::{password, session, state};
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
    let hold = config.timers.hold_time;
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
    line(format_args!(" address-family ipv4 unicast\n  maximum-paths 1\n  maximum-paths ibgp 1"));
    for network in networks {
        line(format_args!("  network {network}"));
    }
    for peer in &config.peers {
        let remote = peer.remote;
        line(format_args!("  neighbor {remote} activate\n  neighbor {remote} next-hop-self"));
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
    config.peers.iter().map(|peer| one_session(peer, &answer[peer.remote.to_string()])).collect()
}

fn one_session(peer: &PeerConfig, said: &Value) -> SessionView {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let timer = |whole: &str| said[whole].as_u64().map(|whole| (whole, whole));
    let prefixes = &said["addressFamilyInfo"]["ipv4Unicast"];
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
