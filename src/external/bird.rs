//! BIRD 2, set up as Calico sets up its BIRD 1.6 (calico-behaviour 3.3, 7.1, 7.5), or as a plain router.

use std::fmt::Write;
use std::time::Duration;

use ipnet::IpNet;

use super::{address_family, password, session, state};
use crate::bgp::view::SessionView;
use crate::bgp::{ExportPolicy, KernelRule, PeerConfig, PolicyConfig, SpeakerConfig};
use crate::net::{Community, NextHopMode, Order};

/// `bird.conf`.
pub fn configuration(config: &SpeakerConfig) -> String {
    let family = address_family(config);
    let mut text = format!(
        "log stderr all;\nrouter id {};\nprotocol device {{ scan time 2; }}\n\
         protocol direct direct1 {{ {family}; interface -\"cali*\", -\"kube-ipvs*\", \"*\"; }}\n",
        config.router_id
    );
    line(&mut text, format_args!("protocol static static1 {{\n  {family};"));
    for prefix in &config.statics {
        line(&mut text, format_args!("  route {prefix} blackhole;"));
    }
    for (prefix, gateway) in &config.reachable_by {
        line(&mut text, format_args!("  route {prefix} via {gateway};"));
    }
    text += "}\n";
    filters(&mut text, &config.policy);
    // Without `metric 0` the routes would have BIRD 2's metric 32, which BIRD 1.6 does not know.
    text += "protocol kernel kernel1 {\n  learn; persist; metric 0; scan time 2; graceful restart;\n";
    if config.policy.merge_paths {
        text += "  merge paths on;\n";
    }
    line(&mut text, format_args!("  {family} {{ import all; export filter to_kernel; }};\n}}"));
    for peer in &config.peers {
        self::peer(&mut text, config, peer);
    }
    text
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    writeln!(text, "{words}").expect("a String takes any text");
}

/// `[10.0.0.0/8+, 10.1.0.0/16+]`, each prefix with `suffix`.
fn set<T: std::fmt::Display>(prefixes: impl Iterator<Item = T>, suffix: &str) -> Option<String> {
    let prefixes: Vec<String> = prefixes.map(|prefix| format!("{prefix}{suffix}")).collect();
    (!prefixes.is_empty()).then(|| format!("[ {} ]", prefixes.join(", ")))
}

/// `to_kernel`, `to_internal` and `to_external`.
fn filters(text: &mut String, policy: &PolicyConfig) {
    let refused = policy.pools.iter().filter(|pool| pool.kernel == KernelRule::Refuse).map(|pool| pool.cidr);
    text.push_str("filter to_kernel {\n");
    if let Some(refused) = set(refused, "+") {
        line(text, format_args!("  if net ~ {refused} then reject;"));
    }
    text.push_str("  if source ~ [ RTS_STATIC, RTS_BGP ] then accept;\n  reject;\n}\n");
    for (name, external) in [("to_internal", false), ("to_external", true)] {
        line(text, format_args!("filter {name} {{"));
        match &policy.export {
            ExportPolicy::Router { networks, transit } => router_export(text, networks, *transit),
            ExportPolicy::Calico => node_export(text, policy, external),
        }
        text.push_str("  reject;\n}\n");
    }
}

fn router_export(text: &mut String, networks: &[IpNet], transit: bool) {
    if transit {
        text.push_str("  if source = RTS_BGP then accept;\n");
    }
    if let Some(own) = set(networks.iter(), "") {
        line(text, format_args!("  if net ~ {own} then accept;"));
    }
}

/// Steps 3 to 10 of calico-behaviour 7.5, in profile `classic`.
fn node_export(text: &mut String, policy: &PolicyConfig, external: bool) {
    let unexported = policy.pools.iter().filter(|pool| pool.disable_bgp_export).map(|pool| pool.cidr);
    if let Some(unexported) = set(unexported, "+") {
        line(text, format_args!("  if net ~ {unexported} then reject;"));
    }
    if !external {
        text.push_str("  if ifname ~ \"*.cali\" || ifname ~ \"*.calico\" then reject;\n");
    }
    for rule in &policy.advertisements {
        line(text, format_args!("  if net ~ [ {}+ ] then {{", rule.cidr));
        for community in &rule.communities {
            match community {
                Community::Standard(value) => {
                    line(text, format_args!("    bgp_community.add(({}, {}));", value >> 16, value & 0xffff));
                }
                Community::Large(global, one, two) => {
                    line(text, format_args!("    bgp_large_community.add(({global}, {one}, {two}));"));
                }
            }
        }
        text.push_str("  }\n");
    }
    if let Some(own) = set(policy.own_blocks.iter(), "") {
        line(text, format_args!("  if net ~ {own} then accept;"));
    }
    if let Some(inside) = set(policy.own_blocks.iter(), "+") {
        line(text, format_args!("  if net ~ {inside} then reject;"));
    }
    if let Some(pools) = set(policy.pools.iter().map(|pool| pool.cidr), "+") {
        line(text, format_args!("  if net ~ {pools} then accept;"));
    }
}

fn peer(text: &mut String, config: &SpeakerConfig, peer: &PeerConfig) {
    let timers = &config.timers;
    let (name, remote, remote_as, port) = (&peer.name, peer.remote, peer.remote_as.0, peer.remote_port);
    line(text, format_args!("protocol bgp {name} {{"));
    let local = peer.local.map(|local| format!("{local} ")).unwrap_or_default();
    line(text, format_args!("  local {local}port {} as {};", config.listen_port, peer.local_as.0));
    line(text, format_args!("  neighbor {remote} port {port} as {remote_as};"));
    match peer.ttl_security {
        // A common link, and nothing else.
        Some(0 | 1) => text.push_str("  direct; ttl security on;\n"),
        Some(hops) => line(text, format_args!("  multihop {hops}; ttl security on;")),
        None => text.push_str("  multihop;\n"),
    }
    if let Some(password) = password(peer) {
        line(text, format_args!("  password \"{password}\";"));
    }
    if peer.passive {
        text.push_str("  passive on;\n");
    }
    line(text, format_args!("  hold time {};", seconds(timers.hold_time)));
    if let Some(keepalive) = peer.keepalive_time {
        line(text, format_args!("  keepalive time {};", seconds(keepalive)));
    }
    line(
        text,
        format_args!(
            "  connect delay time {}; connect retry time {}; error wait time {}, {};",
            seconds(timers.connect_delay),
            seconds(timers.connect_retry),
            seconds(timers.error_wait.0),
            seconds(timers.error_wait.1)
        ),
    );
    line(text, format_args!("  graceful restart on; graceful restart time {};", peer.restart_time.as_secs()));
    if peer.allowed_local_as > 0 {
        line(text, format_args!("  allow local as {};", peer.allowed_local_as));
    }
    if peer.rr_client {
        text.push_str("  rr client;\n");
        if let Some(cluster) = config.cluster_id {
            line(text, format_args!("  rr cluster id {cluster};"));
        }
    }
    let next_hop = match peer.next_hop {
        NextHopMode::Auto => "",
        NextHopMode::Own => " next hop self;",
        NextHopMode::Keep => " next hop keep;",
    };
    let export = if peer.is_external() { "to_external" } else { "to_internal" };
    let family = address_family(config);
    let add_paths = if peer.add_path { " add paths on;" } else { "" };
    // As between routers several hops apart also on a common link: the next hop is looked up, whoever sent it.
    line(
        text,
        format_args!("  {family} {{ import all; export filter {export}; gateway recursive;{next_hop}{add_paths} }};"),
    );
    text.push_str("}\n");
}

/// BIRD 2 counts these timers in whole seconds, one at least.
fn seconds(duration: Duration) -> u64 {
    duration.as_millis().div_ceil(1000).clamp(1, u64::MAX.into()) as u64
}

/// What is asked of its control socket for [`sessions`].
pub const QUERY: &str = "show protocols all";

/// A line of its control socket's answer: the code, whether more lines follow, and the text; a line without a code has that of the
/// line before.
pub fn reply_line(line: &str) -> (Option<u16>, bool, &str) {
    let code = line.get(..4).and_then(|code| code.parse().ok());
    match (code, line.as_bytes().get(4)) {
        (Some(code), Some(b'-')) => (Some(code), true, &line[5..]),
        (Some(code), Some(b' ')) => (Some(code), false, &line[5..]),
        (Some(code), None) => (Some(code), false, ""),
        _ => (None, true, line.strip_prefix(' ').unwrap_or(line)),
    }
}

/// Whether `code` says that BIRD did not do what it was asked.
pub fn is_error(code: u16) -> bool {
    code >= 8000
}

/// The sessions of `config` by the answer to [`QUERY`].
pub fn sessions(config: &SpeakerConfig, answer: &str) -> Vec<SessionView> {
    config.peers.iter().map(|peer| one_session(peer, answer)).collect()
}

fn one_session(peer: &PeerConfig, answer: &str) -> SessionView {
    let is_head = |line: &&str| !line.starts_with(' ');
    let mut lines = answer.lines().skip_while(|line| line.split_whitespace().next() != Some(peer.name.as_str()));
    let Some(head) = lines.next() else { return session(peer, state("")) };
    let details: Vec<&str> = lines.take_while(|line| !is_head(line) && !line.is_empty()).map(str::trim).collect();
    let value = |key: &str| details.iter().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let timer = |key: &str| {
        let (left, whole) = value(key)?.split_once('/')?;
        let milliseconds = |text: &str| text.parse::<f64>().ok().map(|seconds| (seconds * 1000.0) as u64);
        Some((milliseconds(whole)?, milliseconds(left)?))
    };
    let routes: Vec<&str> = value("Routes:").unwrap_or_default().split(", ").collect();
    let count = |what: &str| {
        let found = routes.iter().find_map(|count| count.strip_suffix(what)?.trim().parse().ok());
        found.unwrap_or(0)
    };
    SessionView {
        remote_id: value("Neighbor ID:").and_then(|id| id.parse().ok()).map(crate::net::BgpIdentifier),
        disabled: head.split_whitespace().nth(3) == Some("down"),
        hold: timer("Hold timer:"),
        keepalive: timer("Keepalive timer:"),
        last_error: value("Last error:").map(str::to_owned),
        imported: count("imported"),
        exported: count("exported"),
        preferred: count("preferred"),
        ..session(peer, state(value("BGP state:").unwrap_or_default()))
    }
}

/// `disable Mesh_10_0_0_1`.
pub(super) fn administration(peer: &PeerConfig, order: Order) -> String {
    let verb = match order {
        Order::Disable => "disable",
        Order::Enable => "enable",
        Order::Restart => "restart",
    };
    format!("{verb} {}", peer.name)
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::bgp::PoolPolicy;
    use crate::bgp::view::State;
    use crate::net::{BgpIdentifier, Password, PrefixAdvertisement};

    #[test]
    fn a_router_exports_its_networks_and_what_it_learned_with_itself_as_next_hop() {
        insta::assert_snapshot!(configuration(&testing::router()));
    }

    #[test]
    fn a_router_that_is_no_transit_exports_its_networks_only() {
        let mut config = testing::router();
        let ExportPolicy::Router { transit, .. } = &mut config.policy.export else { panic!("a router") };
        *transit = false;
        assert!(!configuration(&config).contains("if source = RTS_BGP then accept"));
        let ExportPolicy::Router { networks: own, .. } = &mut config.policy.export else { panic!("a router") };
        own.clear();
        assert!(configuration(&config).contains("filter to_external {\n  reject;\n}"));
    }

    #[test]
    fn a_session_is_secured_and_paced_as_it_is_planned() {
        let mut config = testing::router();
        let peer = &mut config.peers[0];
        peer.password = Some(Password::Text("s3cret".into()));
        peer.ttl_security = Some(1);
        peer.passive = true;
        let text = configuration(&config);
        for line in ["  password \"s3cret\";", "  direct; ttl security on;", "  passive on;"] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        config.peers[0].ttl_security = Some(3);
        assert!(configuration(&config).contains("  multihop 3; ttl security on;"));
    }

    #[test]
    fn a_node_exports_its_blocks_and_its_pools_and_keeps_felixs_routes_out_of_the_kernel() {
        let mut config = testing::router();
        let pool = |cidr: &str, kernel, disable_bgp_export| PoolPolicy {
            cidr: cidr.parse().unwrap(),
            disable_bgp_export,
            kernel,
        };
        config.statics = vec!["10.244.9.0/26".parse().unwrap()];
        config.policy = PolicyConfig {
            own_blocks: vec!["10.244.9.0/26".parse().unwrap()],
            pools: vec![
                pool("10.244.0.0/16", KernelRule::Direct, false),
                pool("10.245.0.0/16", KernelRule::Refuse, true),
            ],
            advertisements: vec![PrefixAdvertisement {
                cidr: "10.244.0.0/16".parse().unwrap(),
                communities: vec![Community::Standard((64512 << 16) + 100), Community::Large(1, 2, 3)],
            }],
            merge_paths: true,
            ..PolicyConfig::default()
        };
        config.peers[0].next_hop = NextHopMode::Auto;
        insta::assert_snapshot!(configuration(&config));
    }

    const ANSWER: &str = "Name       Proto      Table      State  Since         Info
device1    Device     ---        up     16:28:20.851  

Peer_192_168_1_2 BGP        ---        up     16:28:21.604  Established   
  BGP state:          Established
    Neighbor address: 192.168.1.2
    Neighbor ID:      192.168.1.2
    Hold timer:       224.156/240
    Keepalive timer:  72.284/80
  Channel ipv4
    State:          UP
    Routes:         4 imported, 3 exported, 2 preferred
";

    #[test]
    fn a_session_is_read_off_show_protocols_all() {
        let found = &sessions(&testing::router(), ANSWER)[0];
        assert_eq!(found.state, State::Established);
        assert_eq!(found.remote_id, Some(BgpIdentifier("192.168.1.2".parse().unwrap())));
        assert_eq!((found.hold, found.keepalive), (Some((240_000, 224_156)), Some((80_000, 72_284))));
        assert_eq!((found.imported, found.exported, found.preferred), (4, 3, 2));
        assert!(!found.disabled);
    }

    #[test]
    fn a_disabled_session_and_one_that_is_not_there_are_idle() {
        let disabled = "Peer_192_168_1_2 BGP        ---        down   16:28:21.604  \n  BGP state:          Down\n";
        let found = &sessions(&testing::router(), disabled)[0];
        assert_eq!((found.state, found.disabled), (State::Idle, true));
        assert_eq!(sessions(&testing::router(), "")[0].state, State::Idle);
    }

    #[test]
    fn replies_are_told_apart_by_their_codes() {
        assert_eq!(reply_line("0001 BIRD 2.0.12 ready."), (Some(1), false, "BIRD 2.0.12 ready."));
        assert_eq!(reply_line("1002-static1    Static"), (Some(1002), true, "static1    Static"));
        assert_eq!(reply_line("   BGP state:          Established"), (None, true, "  BGP state:          Established"));
        assert_eq!(reply_line("0000 "), (Some(0), false, ""));
        assert!(is_error(9001) && !is_error(13));
    }
}
