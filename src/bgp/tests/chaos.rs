//! Any order of faults ends converged, and none panics.

use std::time::Duration;

use proptest::prelude::*;

use super::simulation::Simulation;
use super::{TestNode, fast_timers, node, speaker_config};
use crate::bgp::event::Event;

/// Something that goes wrong.
#[derive(Clone, Debug)]
enum Fault {
    Reset(usize, usize),
    Cut(usize, usize),
    Heal,
    Reboot(usize),
    Disable(usize, usize),
    Enable(usize, usize),
    Restart(usize, usize),
    Garbage(usize, usize, Vec<u8>),
    Wait(u64),
}

const NODES: usize = 4;

fn two() -> impl Strategy<Value = (usize, usize)> {
    (0..NODES, 1..NODES).prop_map(|(a, step)| (a, (a + step) % NODES))
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        two().prop_map(|(a, b)| Fault::Reset(a, b)),
        two().prop_map(|(a, b)| Fault::Cut(a, b)),
        Just(Fault::Heal),
        (0..NODES).prop_map(Fault::Reboot),
        two().prop_map(|(a, b)| Fault::Disable(a, b)),
        two().prop_map(|(a, b)| Fault::Enable(a, b)),
        two().prop_map(|(a, b)| Fault::Restart(a, b)),
        (two(), proptest::collection::vec(any::<u8>(), 1..80)).prop_map(|((a, b), bytes)| Fault::Garbage(a, b, bytes)),
        (0u64..400).prop_map(Fault::Wait),
        (0u64..400_000).prop_map(Fault::Wait),
    ]
}

fn inflict(simulation: &mut Simulation, fault: Fault) {
    match fault {
        Fault::Reset(a, b) => simulation.reset(a, b),
        Fault::Cut(a, b) => simulation.cut(a, b),
        Fault::Heal => simulation.heal(),
        Fault::Reboot(node) => simulation.reboot(node),
        Fault::Disable(a, b) => simulation.event(a, Event::Disable(simulation.peer_of(a, b))),
        Fault::Enable(a, b) => simulation.event(a, Event::Enable(simulation.peer_of(a, b))),
        Fault::Restart(a, b) => simulation.event(a, Event::Restart(simulation.peer_of(a, b))),
        Fault::Garbage(a, b, bytes) => simulation.inject(a, b, &bytes),
        Fault::Wait(millis) => simulation.run_for(Duration::from_millis(millis)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_faults_in_any_order_end_converged(
        seed: u64,
        mesh: bool,
        faults in proptest::collection::vec(fault(), 0..30),
    ) {
        let nodes: Vec<TestNode> = (0..NODES)
            .map(|index| node(&format!("172.18.0.{}", index + 2), 64512, &[&format!("10.244.{index}.0/26")]))
            .collect();
        let configs = nodes
            .iter()
            .map(|local| (speaker_config(local, &nodes, fast_timers(), mesh), Vec::new()))
            .collect();
        let mut simulation = Simulation::start(configs, seed, Duration::from_millis(5));
        for fault in faults {
            inflict(&mut simulation, fault);
        }
        simulation.heal();
        for a in 0..NODES {
            for b in (0..NODES).filter(|b| *b != a) {
                simulation.event(a, Event::Enable(simulation.peer_of(a, b)));
            }
        }
        // A session that was cut may wait for its hold timer; bytes that garbage left half read, too.
        simulation.run_for(Duration::from_secs(600));
        prop_assert!(simulation.run_until(Duration::from_secs(600), Simulation::is_converged));
        simulation.run_for(Duration::from_secs(1));
        prop_assert!(simulation.is_converged());
        for index in 0..simulation.len() {
            let expected: Vec<String> = (0..NODES)
                .map(|other| match other == index {
                    true => format!("blackhole 10.244.{other}.0/26 proto bird"),
                    false => format!("10.244.{other}.0/26 via 172.18.0.{} dev eth0 proto bird", other + 2),
                })
                .collect();
            prop_assert_eq!(simulation.fib(index), expected);
        }
    }
}
