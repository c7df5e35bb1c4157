//! The speakers: one for every node (calico-behaviour 7.1) and for every router with an AS.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use super::build::Names;
use super::{SpeakerPlan, felix};
use crate::bgp::wire::Family;
use crate::bgp::{ExportPolicy, KernelRule, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig, TimerConfig};
use crate::calico::ipam::Assignment;
use crate::calico::peering::{self, Peering};
use crate::net::{Asn, BgpIdentifier, ExternalSpeaker, Filter, FilterRule, NextHopMode};
use crate::topology::{BGP_PORT, BgpFilter, EncapMode, IpPool, Node, Profile, Router, RouterPeers, Timers, Topology};

/// Metric of an ordinary route in profile `current` (`ipv4NormalRoutePriority`, calico-behaviour 7.10).
pub const NORMAL_PRIORITY: u32 = 1024;

/// Graceful-restart time offered: Calico's `maxRestartTime`, and BIRD's default.
const RESTART_TIME: Duration = Duration::from_secs(120);

/// One speaker per node of `topology`, then one per router that speaks BGP, each in file order.
pub(super) fn build(topology: &Topology, assignment: &Assignment, names: &Names) -> Vec<SpeakerPlan> {
    let sessions = peering::sessions(topology);
    let nodes = topology.nodes.iter().zip(&assignment.nodes).zip(sessions).zip(&names.nodes);
    let nodes = nodes.map(|(((node, assigned), sessions), netns)| SpeakerPlan {
        external: node.speaker,
        name: node.name.clone(),
        netns: netns.clone(),
        config: SpeakerConfig {
            name: node.name.clone(),
            family: Family::Ipv4Unicast,
            local_as: topology.as_number(node),
            router_id: BgpIdentifier(node.bgp_address().addr()),
            listen_port: topology.listen_port(node).unwrap_or(BGP_PORT),
            listen_address: topology.bgp.bind_node_ip.then(|| node.bgp_address().addr().into()),
            timers: timers(topology.timers),
            // A block of one address has no blackhole (calico-behaviour 3.1).
            statics: assigned.blocks.iter().filter(|b| b.prefix_len() < 32).map(|&b| IpNet::V4(b)).collect(),
            reachable_by: reachable_by(&sessions),
            cluster_id: node.cluster_id,
            peers: sessions.into_iter().map(|session| node_peer(topology, node, session)).collect(),
            policy: PolicyConfig {
                own_blocks: assigned.blocks.clone(),
                pools: topology.pools.iter().map(|pool| pool_policy(topology.profile, pool, node)).collect(),
                normal_priority: match topology.profile {
                    Profile::Classic => None,
                    Profile::Current => Some(NORMAL_PRIORITY),
                },
                export: ExportPolicy::Calico,
                advertisements: node
                    .prefix_advertisements
                    .as_ref()
                    .unwrap_or(&topology.bgp.prefix_advertisements)
                    .clone(),
                merge_paths: true,
            },
        },
    });
    let routers = topology.routers.iter().zip(&names.routers).filter_map(|(router, netns)| {
        let config = router_speaker(topology, router)?;
        Some(SpeakerPlan { name: router.name.clone(), netns: netns.clone(), config, external: router.speaker })
    });
    nodes.chain(routers).collect()
}

/// Static routes to peers, each once.
fn reachable_by(sessions: &[Peering]) -> Vec<(IpNet, IpAddr)> {
    let mut routes: Vec<(IpNet, IpAddr)> = Vec::new();
    for session in sessions {
        let Some(gateway) = session.reachable_by else { continue };
        let peer = IpNet::from(IpAddr::V4(session.remote));
        if routes.iter().all(|(known, _)| *known != peer) {
            routes.push((peer, gateway.into()));
        }
    }
    routes
}

fn node_peer(topology: &Topology, node: &Node, session: Peering) -> PeerConfig {
    let filters = |rules: fn(&BgpFilter) -> &Vec<FilterRule>| -> Vec<Filter> {
        let chosen = session.filters.iter().map(|index| &topology.bgp_filters[*index]);
        // A filter without rules for a direction is not applied to it.
        let with_rules = chosen.filter(|filter| !rules(filter).is_empty());
        with_rules.map(|filter| Filter { name: filter.name.clone(), rules: rules(filter).clone() }).collect()
    };
    PeerConfig {
        import_filters: filters(|filter| &filter.import),
        export_filters: filters(|filter| &filter.export),
        name: session.name,
        remote: session.remote.into(),
        remote_port: session.remote_port,
        remote_as: session.remote_as,
        local_as: session.local_as,
        local: session.use_node_ip.then(|| node.bgp_address().addr().into()),
        passive: session.passive,
        restart_time: session.restart_time.unwrap_or(RESTART_TIME),
        next_hop: session.next_hop,
        allowed_local_as: session.allowed_local_as,
        rr_client: session.rr_client,
        keepalive_time: session.keepalive_time,
        ttl_security: session.ttl_security,
        password: session.password,
        extended_messages: false,
        // What we have the other daemons configured with has it not.
        add_path: matches!(node.speaker, None | Some(ExternalSpeaker::Bird)),
        expected_down: session.expected_down,
    }
}

/// A plain router's speaker: it imports all, and exports what it originates and what it learned with itself as next hop.
fn router_speaker(topology: &Topology, router: &Router) -> Option<SpeakerConfig> {
    let local_as = router.as_number?;
    let mut peers: Vec<PeerConfig> = Vec::new();
    let wanted =
        router.peers.iter().flat_map(|peer| peers_of(topology, &peer.who).into_iter().map(move |who| (peer, who)));
    for (peer, (remote, remote_as)) in wanted {
        // Named twice, by address and by a selector: once is enough.
        if peers.iter().any(|known| known.remote == IpAddr::V4(remote)) {
            continue;
        }
        let node = topology.nodes.iter().find(|node| node.bgp_address().addr() == remote);
        peers.push(PeerConfig {
            name: format!("Peer_{}", remote.to_string().replace('.', "_")),
            remote: remote.into(),
            remote_port: node.and_then(|node| topology.listen_port(node)).unwrap_or(BGP_PORT),
            remote_as,
            local_as,
            local: Some(source_towards(router, remote).into()),
            passive: false,
            restart_time: RESTART_TIME,
            next_hop: NextHopMode::Own,
            allowed_local_as: 0,
            rr_client: false,
            keepalive_time: None,
            ttl_security: peer.ttl_security,
            password: peer.password.clone(),
            extended_messages: true,
            add_path: false,
            expected_down: false,
            import_filters: Vec::new(),
            export_filters: Vec::new(),
        });
    }
    let networks = || router.networks.iter().map(|network| IpNet::V4(*network));
    Some(SpeakerConfig {
        name: router.name.clone(),
        family: Family::Ipv4Unicast,
        local_as,
        router_id: BgpIdentifier(router.address().addr()),
        listen_port: BGP_PORT,
        listen_address: None,
        timers: timers(topology.timers),
        statics: match drops_by_itself(router) {
            true => without_way(router).map(IpNet::V4).collect(),
            false => Vec::new(),
        },
        reachable_by: Vec::new(),
        cluster_id: None,
        peers,
        policy: PolicyConfig {
            export: ExportPolicy::Router { networks: networks().collect(), transit: router.transit },
            ..PolicyConfig::default()
        },
    })
}

/// Whether the router's speaker has the blackholes of [`without_way`]; of the others the lab makes them.
pub(super) fn drops_by_itself(router: &Router) -> bool {
    matches!(router.speaker, None | Some(ExternalSpeaker::Bird))
}

/// What `router` originates and has no way to: packets to there are dropped.
pub(super) fn without_way(router: &Router) -> impl Iterator<Item = Ipv4Net> {
    let has_way = |network: &Ipv4Net| {
        router.interfaces.iter().any(|interface| interface.address.trunc() == *network)
            || router.routes.iter().any(|(dst, _)| dst == network)
    };
    router.networks.iter().copied().filter(move |network| !has_way(network))
}

fn peers_of(topology: &Topology, who: &RouterPeers) -> Vec<(Ipv4Addr, Asn)> {
    match who {
        RouterPeers::Address(address, asn) => vec![(*address, *asn)],
        RouterPeers::Nodes(selector) => {
            let nodes = topology.nodes.iter().filter(|node| selector.matches(&node.labels));
            nodes.map(|node| (node.bgp_address().addr(), topology.as_number(node))).collect()
        }
    }
}

/// The address that `router` has on its way to `remote`, as the kernel would choose it; its first one where it has no way.
fn source_towards(router: &Router, remote: Ipv4Addr) -> Ipv4Addr {
    let on_link = |address: Ipv4Addr| router.interfaces.iter().find(|interface| interface.address.contains(&address));
    let routes = router.routes.iter().filter(|(dst, _)| dst.contains(&remote));
    let via = routes.max_by_key(|(dst, _)| dst.prefix_len()).map(|(_, via)| *via);
    let interface = on_link(remote).or_else(|| on_link(via?));
    interface.map_or(router.address().addr(), |interface| interface.address.addr())
}

fn timers(timers: Timers) -> TimerConfig {
    const HOLD_TIME: Duration = Duration::from_secs(240);
    match timers {
        Timers::Fast => TimerConfig {
            hold_time: HOLD_TIME,
            connect_delay: Duration::ZERO,
            connect_retry: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            error_wait: (Duration::from_millis(100), Duration::from_secs(1)),
        },
        Timers::Calico => TimerConfig {
            hold_time: HOLD_TIME,
            connect_delay: Duration::from_secs(2),
            connect_retry: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            error_wait: (Duration::from_secs(5), Duration::from_secs(30)),
        },
    }
}

/// What becomes of learned routes inside `pool` on `node` (calico-behaviour 3.3 rule 4); in profile `current` IPIP routes are
/// Felix's (calico-behaviour 0).
fn pool_policy(profile: Profile, pool: &IpPool, node: &Node) -> PoolPolicy {
    let tunnel = |unless| KernelRule::Tunnel { dev: felix::tunl0(), unless };
    let kernel = match pool.ipip_mode {
        _ if felix::owns(profile, pool) => KernelRule::Refuse,
        EncapMode::Never => KernelRule::Direct,
        EncapMode::Always => tunnel(None),
        EncapMode::CrossSubnet => tunnel(Some(node.bgp_address().trunc())),
    };
    PoolPolicy { cidr: pool.cidr, disable_bgp_export: pool.disable_bgp_export, kernel }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::{self, Lab};

    fn sessions(topology: &Topology, node: &str) -> Vec<(String, bool)> {
        let plan = testing::plan(topology);
        let speaker = plan.speakers.iter().find(|speaker| speaker.name == node).unwrap();
        speaker.config.peers.iter().map(|peer| (peer.name.clone(), peer.passive)).collect()
    }

    fn named(list: &[(&str, bool)]) -> Vec<(String, bool)> {
        list.iter().map(|&(name, passive)| (name.into(), passive)).collect()
    }

    #[test]
    fn cluster_a_meshes_by_node_name_and_the_higher_address_dials() {
        let topology = testing::cluster_a();
        assert_eq!(
            sessions(&topology, "calico-bgp-fullmesh-control-plane"),
            named(&[("Mesh_172_18_0_4", true), ("Mesh_172_18_0_3", true)])
        );
        assert_eq!(
            sessions(&topology, "calico-bgp-fullmesh-worker"),
            named(&[("Mesh_172_18_0_2", false), ("Mesh_172_18_0_3", false)])
        );
    }

    #[test]
    fn profile_current_sorts_by_session_name_and_carries_priorities() {
        let mut topology = testing::cluster_a();
        topology.profile = Profile::Current;
        assert_eq!(
            sessions(&topology, "calico-bgp-fullmesh-control-plane"),
            named(&[("Mesh_172_18_0_3", true), ("Mesh_172_18_0_4", true)])
        );
        assert_eq!(testing::plan(&topology).speakers[0].config.policy.normal_priority, Some(1024));
    }

    #[test]
    fn exactly_one_side_of_every_session_dials() {
        let topology = (1..=12)
            .fold(Lab::new("lab"), |lab, i| lab.node(&format!("n{i}"), &format!("10.0.0.{}/24", i * 9)))
            .topology();
        let plan = testing::plan(&topology);
        let mut sessions = 0;
        for a in &plan.speakers {
            for peer in &a.config.peers {
                let b = plan.speakers.iter().find(|b| IpAddr::V4(b.config.router_id.0) == peer.remote).unwrap();
                let back = b.config.peers.iter().find(|back| Some(back.remote) == peer.local).unwrap();
                assert_ne!(peer.passive, back.passive);
                sessions += 1;
            }
        }
        assert_eq!(sessions, 12 * 11);
    }

    #[test]
    fn without_the_mesh_there_is_no_session() {
        let mut topology = testing::cluster_a();
        topology.bgp.node_to_node_mesh_enabled = false;
        assert!(testing::plan(&topology).speakers.iter().all(|speaker| speaker.config.peers.is_empty()));
    }

    #[test]
    fn kernel_rules_follow_the_pools_mode_and_the_profile() {
        let topology = Lab::new("lab").node("a", "10.0.1.1/24").topology();
        let rule = |profile, ipip_mode, vxlan_mode| {
            let pool = IpPool { ipip_mode, vxlan_mode, ..topology.pools[0].clone() };
            pool_policy(profile, &pool, &topology.nodes[0]).kernel
        };
        use EncapMode::{Always, CrossSubnet, Never};
        let tunnel = |unless| KernelRule::Tunnel { dev: felix::tunl0(), unless };
        assert_eq!(rule(Profile::Classic, Never, Never), KernelRule::Direct);
        assert_eq!(rule(Profile::Classic, Always, Never), tunnel(None));
        assert_eq!(rule(Profile::Classic, CrossSubnet, Never), tunnel(Some("10.0.1.0/24".parse().unwrap())));
        assert_eq!(rule(Profile::Current, Always, Never), KernelRule::Refuse);
        assert_eq!(rule(Profile::Classic, Never, CrossSubnet), KernelRule::Refuse);
    }
}
