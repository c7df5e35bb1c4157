//! The solver, against tables worked out by hand and against speakers that really talk.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::simulation::Simulation;
use super::{TestNode, fast_timers, kernel, node, speaker_config};
use crate::bgp::config::{ExportPolicy, SpeakerConfig};
use crate::bgp::event::{KernelSnapshot, PeerId};
use crate::bgp::solve::{End, Held, Session, Site, Solution, solve};
use crate::net::NextHopMode;

/// Speakers on one link, each pair of `sessions` peering.
struct Net {
    configs: Vec<SpeakerConfig>,
    kernels: Vec<KernelSnapshot>,
    sessions: Vec<Session>,
}

impl Net {
    fn new(nodes: &[TestNode], pairs: &[(usize, usize)]) -> Self {
        let joined = |a: usize, b: usize| pairs.contains(&(a, b)) || pairs.contains(&(b, a));
        let others = |index: usize| -> Vec<TestNode> {
            (0..nodes.len()).filter(|&other| joined(index, other)).map(|other| nodes[other].clone()).collect()
        };
        let configs: Vec<SpeakerConfig> = nodes
            .iter()
            .enumerate()
            .map(|(index, local)| speaker_config(local, &others(index), fast_timers(), false))
            .collect();
        let end = |near: usize, far: usize| {
            let remote = IpAddr::V4(nodes[far].address);
            let peer = configs[near].peers.iter().position(|peer| peer.remote == remote).unwrap();
            End { site: near, peer: PeerId(peer as u32) }
        };
        let sessions = pairs
            .iter()
            .map(|&(a, b)| Session {
                ends: [end(a, b), end(b, a)],
                addresses: [nodes[a].address.into(), nodes[b].address.into()],
            })
            .collect();
        let kernels = nodes.iter().map(|node| kernel(node.address, &[])).collect();
        Self { configs, kernels, sessions }
    }

    /// Makes `index` a plain router.
    fn router(&mut self, index: usize) {
        let config = &mut self.configs[index];
        config.policy.export = ExportPolicy::Router { networks: config.statics.clone(), transit: true };
        config.policy.pools.clear();
        config.peers.iter_mut().for_each(|peer| peer.next_hop = NextHopMode::Own);
    }

    fn sites(&self) -> Vec<Site<'_>> {
        self.configs.iter().zip(&self.kernels).map(|(config, kernel)| Site { config, kernel }).collect()
    }

    fn table(solution: &Solution<'_>, site: usize) -> Vec<String> {
        let mut routes: Vec<_> = solution.routes(site).collect();
        routes.sort_by_key(|route| route.dst);
        routes.iter().map(ToString::to_string).collect()
    }

    fn solved(&self, site: usize) -> Vec<String> {
        Self::table(&solve(&self.sites(), &self.sessions, &[]).unwrap(), site)
    }
}

/// Two nodes of one AS, 0 and 1, below their ToRs 2 and 3, which peer with each other. With `mesh` the nodes peer, too.
fn two_racks(mesh: bool, allowed_local_as: u32) -> Net {
    let nodes = [
        node("172.18.0.2", 64512, &["10.244.2.0/26"]),
        node("172.18.0.3", 64512, &["10.244.3.0/26"]),
        node("172.18.0.4", 65001, &[]),
        node("172.18.0.5", 65002, &[]),
    ];
    let mut pairs = vec![(0, 2), (1, 3), (2, 3)];
    pairs.extend(mesh.then_some((0, 1)));
    let mut net = Net::new(&nodes, &pairs);
    net.router(2);
    net.router(3);
    for config in &mut net.configs {
        config.peers.iter_mut().for_each(|peer| peer.allowed_local_as = allowed_local_as);
    }
    net
}

#[test]
fn racks_of_one_as_lose_each_others_routes_until_it_is_allowed_in_the_path() {
    let lost = two_racks(false, 0);
    assert_eq!(lost.solved(0), ["blackhole 10.244.2.0/26 proto bird"]);
    assert_eq!(
        lost.solved(2),
        ["10.244.2.0/26 via 172.18.0.2 dev eth0 proto bird", "10.244.3.0/26 via 172.18.0.5 dev eth0 proto bird"]
    );
    let allowed = two_racks(false, 1);
    assert_eq!(
        allowed.solved(0),
        ["blackhole 10.244.2.0/26 proto bird", "10.244.3.0/26 via 172.18.0.4 dev eth0 proto bird"]
    );
}

#[test]
fn a_mesh_beside_the_tors_makes_them_prefer_the_nodes_own_word() {
    let net = two_racks(true, 0);
    assert_eq!(
        net.solved(2),
        ["10.244.2.0/26 via 172.18.0.2 dev eth0 proto bird", "10.244.3.0/26 via 172.18.0.2 dev eth0 proto bird"],
        "[64512] is shorter than [65002 64512] (calico-behaviour 7.4)"
    );
    assert_eq!(net.solved(0)[1], "10.244.3.0/26 via 172.18.0.3 dev eth0 proto bird");
}

#[test]
fn what_is_held_stays_whatever_the_peer_would_say_now() {
    let net = two_racks(false, 1);
    let sites = net.sites();
    let before = solve(&sites, &net.sessions, &[]).unwrap();
    let cut = &net.sessions[2];
    let held: Vec<Held> = cut.ends.iter().map(|end| before.received(*end).unwrap()).collect();
    let left = &net.sessions[..2];
    let lingering = solve(&sites, left, &held).unwrap();
    assert_eq!(Net::table(&lingering, 0), Net::table(&before, 0));
    let gone = solve(&sites, left, &[]).unwrap();
    assert_eq!(Net::table(&gone, 0), ["blackhole 10.244.2.0/26 proto bird"]);
    assert!(gone.received(cut.ends[0]).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn speakers_that_talk_come_to_the_same_tables(
        numbers in proptest::collection::vec(0_u32..4, 2..7),
        wanted in proptest::collection::vec(any::<bool>(), 21),
        routers in proptest::collection::vec(any::<bool>(), 7),
        allowed in 0_u32..3,
        add_path in proptest::collection::vec(any::<bool>(), 7),
        reflectors in proptest::collection::vec(any::<bool>(), 7),
        seed: u64,
    ) {
        let nodes: Vec<TestNode> = numbers
            .iter()
            .enumerate()
            .map(|(i, number)| node(&format!("172.18.0.{}", i + 2), 64512 + number, &[&format!("10.244.{i}.0/26")]))
            .collect();
        let all = (0..nodes.len()).flat_map(|a| (a + 1..nodes.len()).map(move |b| (a, b)));
        let pairs: Vec<(usize, usize)> = all.zip(&wanted).filter(|(_, wanted)| **wanted).map(|(pair, _)| pair).collect();
        let mut net = Net::new(&nodes, &pairs);
        (0..nodes.len()).filter(|index| routers[*index]).for_each(|index| net.router(index));
        for config in &mut net.configs {
            config.peers.iter_mut().for_each(|peer| peer.allowed_local_as = allowed);
        }
        for (index, config) in net.configs.iter_mut().enumerate() {
            let clients = reflectors[index] && index % 2 == 0;
            config.cluster_id = clients.then_some(config.router_id);
            for peer in &mut config.peers {
                peer.add_path = add_path[index];
                peer.rr_client = clients && !peer.is_external();
            }
        }
        let Ok(solution) = solve(&net.sites(), &net.sessions, &[]) else { return Ok(()) };
        let configs = net.configs.iter().map(|config| (config.clone(), Vec::new())).collect();
        let mut simulation = Simulation::start(configs, seed, Duration::from_millis(5));
        prop_assert!(simulation.run_until(Duration::from_secs(60), Simulation::is_converged));
        simulation.run_for(Duration::from_secs(5));
        for (index, local) in nodes.iter().enumerate() {
            prop_assert_eq!(simulation.fib(index), Net::table(&solution, index), "{}", local.address);
        }
    }
}
