//! Speakers among themselves: what they agree on, how they recover.

use std::time::Duration;

use super::simulation::Simulation;
use super::{TestNode, calico_timers, fast_timers, node, speaker_config};
use crate::bgp::config::TimerConfig;
use crate::bgp::event::{Event, PeerId};
use crate::bgp::view::State;

const MINUTE: Duration = Duration::from_secs(60);

fn simulation(nodes: &[TestNode], timers: &TimerConfig, mesh: bool) -> Simulation {
    let configs = nodes.iter().map(|local| (speaker_config(local, nodes, timers.clone(), mesh), Vec::new())).collect();
    Simulation::start(configs, 42, Duration::from_millis(3))
}

fn converged(nodes: &[TestNode], timers: &TimerConfig, mesh: bool) -> Simulation {
    let mut simulation = simulation(nodes, timers, mesh);
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
    simulation.run_for(Duration::from_millis(20));
    simulation
}

fn pair() -> Vec<TestNode> {
    vec![node("172.18.0.2", 64512, &["10.244.1.0/26"]), node("172.18.0.3", 64512, &["10.244.2.0/26"])]
}

const ROUTES_OF_FIRST: [&str; 2] =
    ["blackhole 10.244.1.0/26 proto bird", "10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird"];

#[test]
fn two_speakers_learn_each_others_blocks() {
    let simulation = converged(&pair(), &fast_timers(), true);
    assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
    assert_eq!(
        simulation.fib(1),
        ["10.244.1.0/26 via 172.18.0.2 dev eth0 proto bird", "blackhole 10.244.2.0/26 proto bird"]
    );
}

#[test]
fn golden_cluster_a_has_its_routes() {
    let nodes = [
        node("172.18.0.2", 64512, &["10.244.140.128/26"]),
        node("172.18.0.4", 64512, &["10.244.83.128/26"]),
        node("172.18.0.3", 64512, &["10.244.73.64/26"]),
    ];
    let mut configs: Vec<_> = nodes
        .iter()
        .map(|local| {
            let routes = vec!["default via 172.18.0.1 dev eth0".to_owned()];
            (speaker_config(local, &nodes, calico_timers(), true), routes)
        })
        .collect();
    configs[0].1.push("10.244.140.132 dev cali9c3ed6d06f3 scope link".to_owned());
    let mut simulation = Simulation::start(configs, 1, Duration::from_millis(1));
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
    assert!(simulation.elapsed() < Duration::from_secs(3), "one connect delay: {:?}", simulation.elapsed());
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(
        simulation.fib(0),
        [
            "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
            "10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird",
            "blackhole 10.244.140.128/26 proto bird",
        ]
    );
    let paths = simulation.speaker(0).paths(simulation.now(), None);
    let lines: Vec<String> = paths
        .iter()
        .map(|path| {
            let metric = path.bgp.as_ref().map(|bgp| format!("/{:?}", bgp.igp_metric)).unwrap_or_default();
            format!("{} [{}] {} ({}{metric})", path.prefix, path.protocol, path.best, path.preference)
        })
        .collect();
    assert_eq!(
        lines,
        [
            "0.0.0.0/0 [kernel1] true (10)",
            "10.244.73.64/26 [Mesh_172_18_0_3] true (100/Some(0))",
            "10.244.83.128/26 [Mesh_172_18_0_4] true (100/Some(0))",
            "10.244.140.128/26 [static1] true (200)",
            "10.244.140.132/32 [kernel1] true (10)",
            "172.18.0.0/16 [direct1] true (240)",
        ]
    );
    let session = simulation.session(0, 0);
    assert_eq!((session.imported, session.exported, session.preferred), (1, 1, 1));
    assert_eq!(
        session.capabilities,
        [
            "IPv4 unicast",
            "route refresh",
            "graceful restart",
            "4-octet AS",
            "enhanced route refresh",
            "long-lived graceful restart"
        ]
    );
}

#[test]
fn a_collision_leaves_the_connection_of_the_higher_identifier() {
    for seed in 0..200 {
        let nodes = pair();
        let configs =
            nodes.iter().map(|local| (speaker_config(local, &nodes, fast_timers(), false), Vec::new())).collect();
        let mut simulation = Simulation::start(configs, seed, Duration::from_millis(3));
        assert!(simulation.run_until(MINUTE, Simulation::is_converged), "seed {seed}");
        simulation.run_for(MINUTE);
        assert_eq!(simulation.connections(), 1, "seed {seed}");
        assert!(simulation.is_converged(), "seed {seed}");
    }
}

#[test]
fn keepalives_keep_a_session_up_for_a_day() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.run_for(24 * 60 * MINUTE);
    assert!(simulation.is_converged());
    let session = simulation.session(0, 0);
    assert!(session.since_ms > 23 * 3_600_000, "the same session: {} ms", session.since_ms);
    // One in every 60 to 80 s, jitter included.
    assert!((1080..=1441).contains(&session.messages.keepalives_received), "{:?}", session.messages);
    assert_eq!(session.messages.updates_received, 2);
}

#[test]
fn silence_ends_a_session_by_the_hold_timer_and_its_routes_go() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.cut(0, 1);
    simulation.run_for(Duration::from_secs(150));
    assert_eq!(simulation.states(0), [State::Established]);
    simulation.run_for(Duration::from_secs(91));
    assert_ne!(simulation.states(0), [State::Established]);
    assert_eq!(simulation.session(0, 0).last_error.as_deref(), Some("BGP Error: Hold timer expired"));
    assert_eq!(simulation.fib(0), ["blackhole 10.244.1.0/26 proto bird"]);
    simulation.heal();
    assert!(simulation.run_until(2 * MINUTE, Simulation::is_converged));
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
}

#[test]
fn a_disabled_peer_stays_down_until_enabled() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.event(0, Event::Disable(PeerId(0)));
    simulation.run_for(10 * MINUTE);
    let session = simulation.session(0, 0);
    assert_eq!((session.state, session.disabled, session.last_error), (State::Idle, true, None));
    assert_eq!(simulation.fib(0), ["blackhole 10.244.1.0/26 proto bird"]);
    assert_eq!(simulation.session(1, 0).last_error.as_deref(), Some("Received: Connection rejected"));
    simulation.event(0, Event::Enable(PeerId(0)));
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
}

#[test]
fn the_other_end_of_a_disabled_peer_says_administrative_shutdown() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.event(1, Event::Disable(PeerId(0)));
    simulation.run_for(Duration::from_millis(20));
    // 172.18.0.2 is passive: it waits.
    let session = simulation.session(0, 0);
    assert_eq!(session.last_error.as_deref(), Some("Received: Administrative shutdown"));
    assert_eq!((session.state, session.passive), (State::Active, true));
}

#[test]
fn a_restarted_session_comes_back_by_itself() {
    for node in [0, 1] {
        let mut simulation = converged(&pair(), &calico_timers(), true);
        simulation.event(node, Event::Restart(PeerId(0)));
        assert!(!simulation.is_converged());
        assert!(simulation.run_until(Duration::from_secs(10), Simulation::is_converged), "restarted at {node}");
        simulation.run_for(Duration::from_millis(20));
        assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
    }
}

#[test]
fn a_node_that_dies_is_remembered_for_its_restart_time_and_brings_its_routes_back() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.kill(1);
    simulation.run_for(Duration::from_secs(119));
    assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
    assert_eq!(simulation.session(0, 0).last_error.as_deref(), Some("Socket: Connection closed"));
    simulation.run_for(Duration::from_secs(2));
    assert_eq!(simulation.fib(0), ["blackhole 10.244.1.0/26 proto bird"]);
    simulation.reboot(1);
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(simulation.fib(0), ROUTES_OF_FIRST);
}

#[test]
fn shutdown_ends_every_session_and_keeps_the_kernels_routes() {
    let mut simulation = converged(&pair(), &calico_timers(), true);
    simulation.event(0, Event::Shutdown);
    let fib = simulation.fib(0);
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(simulation.states(0), [State::Idle]);
    assert_eq!(simulation.session(1, 0).last_error.as_deref(), Some("Received: Administrative shutdown"));
    assert_eq!(fib, ROUTES_OF_FIRST);
}

#[test]
fn a_malformed_message_tears_down_that_session_only() {
    let nodes = [
        node("172.18.0.2", 64512, &["10.244.1.0/26"]),
        node("172.18.0.3", 64512, &["10.244.2.0/26"]),
        node("172.18.0.4", 64512, &["10.244.3.0/26"]),
    ];
    let mut simulation = converged(&nodes, &calico_timers(), true);
    simulation.inject(0, 1, &[0; 64]);
    simulation.run_for(Duration::from_millis(20));
    assert_eq!(simulation.states(0), [State::Idle, State::Established]);
    assert_eq!(simulation.session(0, 0).last_error.as_deref(), Some("BGP Error: Connection not synchronized"));
    assert_eq!(simulation.session(1, 0).last_error.as_deref(), Some("Received: Connection not synchronized"));
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
}

#[test]
fn routes_cross_external_sessions_with_the_as_path_and_the_neighbours_next_hop() {
    // 64512 has two nodes, the router of 65001 peers with the first: it learns both blocks through it, and they learn its network.
    let router = node("172.18.0.9", 65001, &["10.244.9.0/26"]);
    let (first, second) = (pair().remove(0), pair().remove(1));
    let configs = vec![
        (speaker_config(&first, &[second.clone(), router.clone()], fast_timers(), false), Vec::new()),
        (speaker_config(&second, std::slice::from_ref(&first), fast_timers(), false), Vec::new()),
        (speaker_config(&router, std::slice::from_ref(&first), fast_timers(), false), Vec::new()),
    ];
    let mut simulation = Simulation::start(configs, 3, Duration::from_millis(3));
    assert!(simulation.run_until(MINUTE, Simulation::is_converged));
    simulation.run_for(Duration::from_millis(50));
    assert_eq!(
        simulation.fib(2),
        [
            "10.244.1.0/26 via 172.18.0.2 dev eth0 proto bird",
            "10.244.2.0/26 via 172.18.0.2 dev eth0 proto bird",
            "blackhole 10.244.9.0/26 proto bird",
        ]
    );
    // iBGP leaves the next hop alone.
    assert!(simulation.fib(1).contains(&"10.244.9.0/26 via 172.18.0.9 dev eth0 proto bird".to_owned()));
    let paths = simulation.speaker(1).paths(simulation.now(), Some("10.244.9.0/26".parse().unwrap()));
    let bgp = paths[0].bgp.clone().unwrap();
    assert_eq!((bgp.as_path.as_str(), bgp.local_pref), ("65001", Some(100)));
}

#[test]
fn a_hundred_speakers_in_a_full_mesh_converge() {
    let nodes: Vec<TestNode> = (0..100)
        .map(|index| node(&format!("172.18.1.{}", index + 1), 64512, &[&format!("10.244.{index}.0/26")]))
        .collect();
    let simulation = converged(&nodes, &fast_timers(), true);
    for index in 0..100 {
        assert_eq!(simulation.fib(index).len(), 100);
    }
    assert_eq!(simulation.connections(), 4950);
    assert!(simulation.elapsed() < Duration::from_secs(1), "{:?} of virtual time", simulation.elapsed());
}
