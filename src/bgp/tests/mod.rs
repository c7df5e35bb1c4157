//! Speakers as a whole, on a virtual clock: one against messages made by hand (`fsm`, `routes`, `graceful_restart`, `extended_messages`,
//! `add_path`, `ipv6`, `conformance`), and many joined in memory
//! (`simulation`, `convergence`, `chaos`).

mod add_path;
mod chaos;
mod conformance;
mod convergence;
mod extended_messages;
mod fsm;
mod graceful_restart;
mod hand;
mod ipv6;
mod routes;
mod simulation;
mod solve;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};

use super::config::{ExportPolicy, KernelRule, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig, TimerConfig};
use super::event::KernelSnapshot;
use super::wire::Family;
use crate::net::{Asn, BgpIdentifier, IfName, NextHopMode};

/// The origin of virtual time.
#[expect(clippy::disallowed_methods, reason = "virtual time needs an origin, whichever")]
fn origin() -> Instant {
    Instant::now()
}

/// BIRD's pacing (calico-behaviour 7.1).
fn calico_timers() -> TimerConfig {
    TimerConfig {
        hold_time: Duration::from_secs(240),
        connect_delay: Duration::from_secs(2),
        connect_retry: Duration::from_secs(5),
        connect_timeout: Duration::from_secs(5),
        error_wait: (Duration::from_secs(5), Duration::from_secs(30)),
    }
}

/// Dial at once.
pub(super) fn fast_timers() -> TimerConfig {
    TimerConfig {
        connect_delay: Duration::ZERO,
        connect_retry: Duration::from_millis(50),
        connect_timeout: Duration::from_secs(1),
        error_wait: (Duration::from_millis(50), Duration::from_millis(400)),
        ..calico_timers()
    }
}

/// What the tests know of a node.
#[derive(Clone, Debug)]
pub(super) struct TestNode {
    address: Ipv4Addr,
    asn: Asn,
    blocks: Vec<Ipv4Net>,
}

pub(super) fn node(address: &str, asn: u32, blocks: &[&str]) -> TestNode {
    TestNode {
        address: address.parse().unwrap(),
        asn: Asn(asn),
        blocks: blocks.iter().map(|block| block.parse().unwrap()).collect(),
    }
}

/// `local`'s speaker with a session to each of `others`, passive as Calico's mesh has it where `mesh`.
pub(super) fn speaker_config(local: &TestNode, others: &[TestNode], timers: TimerConfig, mesh: bool) -> SpeakerConfig {
    let peers = others
        .iter()
        .filter(|other| other.address != local.address)
        .map(|other| PeerConfig {
            name: format!("Mesh_{}", other.address.to_string().replace('.', "_")),
            remote: IpAddr::V4(other.address),
            remote_port: 179,
            remote_as: other.asn,
            local_as: local.asn,
            local: Some(IpAddr::V4(local.address)),
            passive: mesh && other.address.to_string() > local.address.to_string(),
            restart_time: Duration::from_secs(120),
            next_hop: NextHopMode::Auto,
            allowed_local_as: 0,
            rr_client: false,
            keepalive_time: None,
            ttl_security: None,
            password: None,
            extended_messages: false,
            add_path: false,
            expected_down: false,
            import_filters: Vec::new(),
            export_filters: Vec::new(),
        })
        .collect();
    SpeakerConfig {
        name: local.address.to_string(),
        family: Family::Ipv4Unicast,
        local_as: local.asn,
        router_id: BgpIdentifier(local.address),
        listen_port: 179,
        listen_address: None,
        timers,
        reachable_by: Vec::new(),
        cluster_id: None,
        statics: local.blocks.iter().copied().map(IpNet::V4).collect(),
        peers,
        policy: PolicyConfig {
            own_blocks: local.blocks.clone(),
            pools: vec![PoolPolicy {
                cidr: "10.244.0.0/16".parse().unwrap(),
                disable_bgp_export: false,
                kernel: KernelRule::Direct,
            }],
            normal_priority: None,
            export: ExportPolicy::Calico,
            advertisements: Vec::new(),
            merge_paths: false,
        },
    }
}

/// A node's namespace with `eth0` up, and `routes` besides.
fn kernel(address: Ipv4Addr, routes: &[&str]) -> KernelSnapshot {
    let net = Ipv4Net::new(address, 16).unwrap();
    let connected = format!("{} dev eth0 proto kernel scope link src {address}", net.trunc());
    KernelSnapshot {
        interfaces: vec![(IfName::lo(), vec!["127.0.0.1/8".parse().unwrap()]), (IfName::eth(0), vec![IpNet::V4(net)])],
        routes: routes.iter().copied().chain([connected.as_str()]).map(|route| route.parse().unwrap()).collect(),
    }
}
