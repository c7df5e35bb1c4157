//! Who speaks BGP with whom: Topology → one `SpeakerConfig` per node (calico-behaviour 7.1, 7.2).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;

use super::{SpeakerPlan, felix};
use crate::bgp::{ExportPolicy, KernelRule, NextHopMode, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig, TimerConfig};
use crate::calico::ipam::Assignment;
use crate::net::{Asn, BgpIdentifier, NetnsName};
use crate::topology::{EncapMode, IpPool, Node, Profile, Timers, Topology};

/// Metric of an ordinary route in profile `current` (`ipv4NormalRoutePriority`, calico-behaviour 7.10).
pub const NORMAL_PRIORITY: u32 = 1024;

/// One speaker per node of `topology`, in its order; `netns` are the nodes' namespaces.
pub fn build(topology: &Topology, assignment: &Assignment, netns: &[NetnsName]) -> Vec<SpeakerPlan> {
    topology
        .nodes
        .iter()
        .zip(&assignment.nodes)
        .zip(netns)
        .map(|((node, assigned), netns)| SpeakerPlan {
            node: node.name.clone(),
            netns: netns.clone(),
            config: SpeakerConfig {
                name: node.name.clone(),
                local_as: as_number(topology, node),
                router_id: BgpIdentifier(node.bgp_address().addr()),
                listen_port: topology.bgp.listen_port,
                timers: timers(topology.timers),
                // A block of one address has no blackhole (calico-behaviour 3.1).
                statics: assigned.blocks.iter().filter(|b| b.prefix_len() < 32).map(|&b| IpNet::V4(b)).collect(),
                peers: mesh(topology, node),
                policy: PolicyConfig {
                    own_blocks: assigned.blocks.clone(),
                    pools: topology.pools.iter().map(|pool| pool_policy(topology.profile, pool, node)).collect(),
                    normal_priority: match topology.profile {
                        Profile::Classic => None,
                        Profile::Current => Some(NORMAL_PRIORITY),
                    },
                    export: ExportPolicy::Calico,
                },
            },
        })
        .collect()
}

/// `local` never dials `remote`: their addresses are compared as strings, so 10.0.0.9 comes after 10.0.0.10
/// (calico-behaviour 7.2).
pub fn is_passive(local: Ipv4Addr, remote: Ipv4Addr) -> bool {
    remote.to_string() > local.to_string()
}

/// The name of the mesh session to `remote`: `Mesh_172_18_0_3`.
pub fn mesh_name(remote: IpAddr) -> String {
    format!("Mesh_{}", remote.to_string().replace(['.', ':'], "_"))
}

/// `node`'s sessions of the node-to-node mesh, by node name, or in profile `current` by session name (calico-behaviour 0).
fn mesh(topology: &Topology, node: &Node) -> Vec<PeerConfig> {
    /// Calico's `maxRestartTime` unless set.
    const RESTART_TIME: Duration = Duration::from_secs(120);
    if !topology.bgp.node_to_node_mesh_enabled {
        return Vec::new();
    }
    let local = node.bgp_address().addr();
    let mut others: Vec<&Node> = topology.nodes.iter().filter(|other| other.name != node.name).collect();
    others.sort_by(|a, b| a.name.cmp(&b.name));
    let mut peers: Vec<PeerConfig> = others
        .into_iter()
        .map(|other| {
            let remote = other.bgp_address().addr();
            PeerConfig {
                name: mesh_name(remote.into()),
                remote: remote.into(),
                remote_port: topology.bgp.listen_port,
                remote_as: as_number(topology, other),
                local: Some(local.into()),
                passive: is_passive(local, remote),
                restart_time: RESTART_TIME,
                next_hop: NextHopMode::Auto,
                allowed_local_as: 0,
            }
        })
        .collect();
    if topology.profile == Profile::Current {
        peers.sort_by(|a, b| a.name.cmp(&b.name));
    }
    peers
}

fn as_number(topology: &Topology, node: &Node) -> Asn {
    node.as_number.unwrap_or(topology.bgp.as_number)
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
        let speaker = plan.speakers.iter().find(|speaker| speaker.node == node).unwrap();
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
    fn the_passive_side_is_found_by_comparing_strings() {
        let [nine, ten] = [Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 10)];
        assert!(is_passive(ten, nine));
        assert!(!is_passive(nine, ten));
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
