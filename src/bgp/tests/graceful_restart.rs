//! Graceful restart (RFC 4724): a peer that is lost without a word (§4.2), and our own recovery (§4.1).

use std::time::Duration;

use super::hand::{
    Hand, announce, encoded, end_of_rib, internal, keepalive, local, notification, open, open_restarting, withdraw,
};
use super::simulation::Simulation;
use super::{TestNode, calico_timers, fast_timers, kernel, node, speaker_config};
use crate::bgp::event::{ConnectionId, Event, PeerId};
use crate::bgp::view::State;
use crate::bgp::wire::{Capability, Family, Message, RefreshKind, encode_route_refresh};

const SECOND: Duration = Duration::from_secs(1);
const GONE: [&str; 2] =
    ["- 10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird", "- 10.244.3.0/26 via 172.18.0.3 dev eth0 proto bird"];
const BOTH: [&str; 2] = ["10.244.2.0/26", "10.244.3.0/26"];

fn peer() -> TestNode {
    node("172.18.0.3", 64512, &[])
}

/// As Calico's BIRD says it while it does not recover.
fn calm() -> bytes::Bytes {
    open_restarting(&peer(), false, 120, Some(false))
}

/// As it says it when it does.
fn back() -> bytes::Bytes {
    open_restarting(&peer(), true, 120, Some(true))
}

/// A speaker that has two routes from its peer, and nothing left to see of how it came to them.
fn learned(open: &[u8]) -> (Hand, ConnectionId) {
    let mut hand = Hand::started(&[peer()]);
    let connection = hand.establish_with(&peer(), open);
    hand.receive(connection, &announce(&internal("172.18.0.3"), &BOTH));
    hand.receive(connection, &end_of_rib());
    hand.fib();
    hand.sent();
    (hand, connection)
}

fn close(hand: &mut Hand, connection: ConnectionId) {
    hand.event(Event::Closed { connection, error: None });
}

const NOTHING: [&str; 0] = [];

#[test]
fn routes_outlive_a_connection_that_ends_without_a_word() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    assert_eq!(hand.fib(), NOTHING);
    let session = hand.session(0);
    assert_eq!((session.state, session.imported, session.preferred), (State::Active, 2, 2));
    assert_eq!(session.stale_ms, Some(120_000));
    // It comes back and still has one of them: that one was never touched, the other goes with End-of-RIB.
    hand.pass(100 * SECOND);
    let connection = hand.establish_with(&peer(), &back());
    hand.receive(connection, &announce(&internal("172.18.0.3"), &["10.244.3.0/26"]));
    assert_eq!(hand.fib(), NOTHING);
    hand.receive(connection, &end_of_rib());
    assert_eq!(hand.fib(), GONE[..1]);
    let session = hand.session(0);
    assert_eq!((session.imported, session.preferred, session.stale_ms), (1, 1, None));
}

#[test]
fn a_peer_that_does_not_come_back_in_time_is_forgotten() {
    let (mut hand, connection) = learned(&open_restarting(&peer(), false, 30, Some(false)));
    close(&mut hand, connection);
    hand.pass(29 * SECOND);
    assert_eq!(hand.fib(), NOTHING);
    hand.pass(SECOND);
    assert_eq!(hand.fib(), GONE);
    assert_eq!((hand.session(0).imported, hand.session(0).stale_ms), (0, None));
}

#[test]
fn who_did_not_announce_it_for_the_family_is_forgotten_at_once() {
    let none = open(&peer());
    let no_family = open_restarting(&peer(), false, 120, None);
    let no_time = open_restarting(&peer(), false, 0, Some(true));
    for open in [none, no_family, no_time] {
        let (mut hand, connection) = learned(&open);
        close(&mut hand, connection);
        assert_eq!(hand.fib(), GONE);
    }
}

#[test]
fn a_notification_from_either_end_is_no_restart() {
    let received = |hand: &mut Hand, connection| hand.receive(connection, &notification(6, 4));
    let sent = |hand: &mut Hand, connection| hand.receive(connection, &[0; 19]);
    let hold_timer = |hand: &mut Hand, _| hand.pass(240 * SECOND);
    let disabled = |hand: &mut Hand, _| hand.disable();
    let restarted = |hand: &mut Hand, _| hand.event(Event::Restart(PeerId(0)));
    let ways: [fn(&mut Hand, ConnectionId); 5] = [received, sent, hold_timer, disabled, restarted];
    for (index, way) in ways.into_iter().enumerate() {
        let (mut hand, connection) = learned(&calm());
        way(&mut hand, connection);
        assert_eq!(hand.fib(), GONE, "way {index}");
        assert_eq!(hand.session(0).stale_ms, None, "way {index}");
    }
}

#[test]
fn an_administrator_does_not_wait_for_who_is_gone() {
    for order in [Event::Disable(PeerId(0)), Event::Restart(PeerId(0))] {
        let (mut hand, connection) = learned(&calm());
        close(&mut hand, connection);
        hand.event(order);
        assert_eq!(hand.fib(), GONE);
        hand.pass(300 * SECOND);
        assert_eq!(hand.fib(), NOTHING);
    }
}

#[test]
fn who_comes_back_without_what_it_had_is_forgotten_when_it_does() {
    let another = TestNode { address: "172.18.0.7".parse().unwrap(), ..peer() };
    for open in [
        open(&peer()),
        open_restarting(&peer(), true, 120, Some(false)),
        open_restarting(&peer(), true, 120, None),
        open_restarting(&another, true, 120, Some(true)),
    ] {
        let (mut hand, connection) = learned(&calm());
        close(&mut hand, connection);
        let connection = hand.accept("172.18.0.3");
        hand.receive(connection, &open);
        assert_eq!(hand.fib(), NOTHING, "the session is not back yet");
        hand.receive(connection, &keepalive());
        assert_eq!(hand.fib(), GONE);
    }
}

#[test]
fn an_attempt_that_fails_meanwhile_changes_nothing() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    let connection = hand.accept("172.18.0.3");
    hand.receive(connection, &keepalive());
    assert_eq!(hand.state(), State::Idle);
    hand.pass(119 * SECOND);
    assert_eq!(hand.fib(), NOTHING);
    hand.pass(SECOND);
    assert_eq!(hand.fib(), GONE);
}

#[test]
fn of_two_restarts_in_a_row_the_second_takes_what_the_first_left_unsaid() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    let connection = hand.establish_with(&peer(), &back());
    hand.receive(connection, &announce(&internal("172.18.0.3"), &["10.244.3.0/26"]));
    close(&mut hand, connection);
    assert_eq!(hand.fib(), GONE[..1]);
    let connection = hand.establish_with(&peer(), &back());
    assert_eq!(hand.fib(), NOTHING);
    hand.receive(connection, &end_of_rib());
    assert_eq!(hand.fib(), GONE[1..]);
}

#[test]
fn a_peer_that_is_back_and_never_done_is_not_waited_for_for_ever() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    let connection = hand.establish_with(&peer(), &back());
    for _ in 0..3 {
        hand.pass(120 * SECOND - Duration::from_millis(1));
        hand.receive(connection, &keepalive());
    }
    assert_eq!(hand.fib(), NOTHING);
    hand.pass(SECOND);
    assert_eq!((hand.fib(), hand.state()), (GONE.map(String::from).to_vec(), State::Established));
}

#[test]
fn what_is_said_anew_counts_whatever_was_stale() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    let connection = hand.establish_with(&peer(), &back());
    hand.receive(connection, &announce(&internal("172.18.0.8"), &["10.244.2.0/26"]));
    hand.receive(connection, &withdraw(&["10.244.3.0/26"]));
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.8 dev eth0 proto bird", GONE[1]]);
    hand.receive(connection, &end_of_rib());
    assert_eq!(hand.fib(), NOTHING);
}

#[test]
fn begin_of_a_refresh_before_end_of_rib_says_nothing() {
    let refresh = |kind| encoded(|out| encode_route_refresh(Family::Ipv4Unicast, kind, out));
    let mut hand = Hand::started(&[peer()]);
    let connection = hand.establish_with(&peer(), &calm());
    hand.receive(connection, &announce(&internal("172.18.0.3"), &BOTH));
    hand.fib();
    hand.receive(connection, &refresh(RefreshKind::Begin));
    hand.receive(connection, &refresh(RefreshKind::End));
    assert_eq!(hand.fib(), NOTHING);
    hand.receive(connection, &end_of_rib());
    hand.receive(connection, &refresh(RefreshKind::Begin));
    hand.receive(connection, &refresh(RefreshKind::End));
    assert_eq!(hand.fib(), GONE);
}

#[test]
fn what_is_stale_is_told_on_like_any_route() {
    let outside = node("172.18.0.9", 65001, &[]);
    let mut hand = Hand::started(&[peer(), outside.clone()]);
    let connection = hand.establish_with(&peer(), &calm());
    hand.receive(connection, &announce(&internal("172.18.0.3"), &BOTH));
    close(&mut hand, connection);
    hand.sent();
    let told = hand.establish(&outside);
    assert_eq!(
        hand.sent_on(told)[2..],
        ["+10.244.1.0/26", "+10.244.2.0/26 +10.244.3.0/26", "End-of-RIB"],
        "{:?}",
        hand.paths("10.244.2.0/26")
    );
    hand.pass(120 * SECOND);
    assert_eq!(hand.sent_on(told).last().unwrap(), "-10.244.2.0/26 -10.244.3.0/26");
}

#[test]
fn a_connection_of_a_peer_that_has_restarted_takes_the_place_of_the_one_before() {
    let (mut hand, first) = learned(&calm());
    let second = hand.accept("172.18.0.3");
    assert_eq!((hand.state(), hand.closed.len()), (State::Established, 0), "it may be anyone's");
    hand.receive(second, &back());
    assert_eq!((hand.closed.clone(), hand.sent_on(first)), (vec![first], vec![]), "without a NOTIFICATION");
    hand.receive(second, &keepalive());
    assert_eq!((hand.state(), hand.fib()), (State::Established, vec![]));
    hand.receive(second, &end_of_rib());
    assert_eq!(hand.fib(), GONE);
}

#[test]
fn the_same_on_a_connection_that_the_peer_opens_beside_ours() {
    let mut hand = Hand::started(&[peer()]);
    hand.pass(2 * SECOND);
    let ours = hand.dialled.unwrap();
    hand.event(Event::Connected { connection: ours, local: super::hand::LOCAL });
    hand.receive(ours, &calm());
    hand.receive(ours, &keepalive());
    hand.receive(ours, &announce(&internal("172.18.0.3"), &BOTH));
    hand.fib();
    // A collision that comes late leaves the Established session alone, a restart ends it.
    let late = hand.accept("172.18.0.3");
    hand.receive(late, &calm());
    assert_eq!(hand.closed, [late]);
    let restarted = hand.accept("172.18.0.3");
    hand.receive(restarted, &back());
    assert_eq!((hand.closed.clone(), hand.fib()), (vec![late, ours], vec![]));
}

/// A recovering speaker whose kernel has kept two routes and its block, with a session to each of `peers`.
fn recovering(peers: &[TestNode]) -> Hand {
    let mut hand = Hand::new(peers);
    hand.event(Event::Start { recovering: true });
    hand.event(Event::Kernel(kernel(
        local().address,
        &[
            "10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird",
            "10.244.3.0/26 via 172.18.0.3 dev eth0 proto bird",
            "blackhole 10.244.1.0/26 proto bird",
        ],
    )));
    hand
}

fn two_peers() -> [TestNode; 2] {
    [peer(), node("172.18.0.4", 64512, &[])]
}

fn calm_open(peer: &TestNode) -> bytes::Bytes {
    open_restarting(peer, false, 120, Some(false))
}

/// The graceful-restart capability of the OPEN that `hand` sends to whoever connects from `peer`.
fn announced(hand: &mut Hand, peer: &TestNode) -> Capability {
    hand.messages.clear();
    hand.accept(&peer.address.to_string());
    let opens = hand.messages.iter().find_map(|message| match message {
        Message::Open(open) => Some(open.capabilities.clone()),
        _ => None,
    });
    opens.unwrap().into_iter().find(|capability| matches!(capability, Capability::GracefulRestart { .. })).unwrap()
}

#[test]
fn a_recovering_speaker_selects_nothing_before_everyone_has_said_everything() {
    let [first, second] = two_peers();
    let mut hand = recovering(&[first.clone(), second.clone()]);
    let one = hand.establish_with(&first, &calm_open(&first));
    hand.receive(one, &announce(&internal("172.18.0.3"), &["10.244.3.0/26", "10.244.4.0/26"]));
    hand.receive(one, &end_of_rib());
    let two = hand.establish_with(&second, &calm_open(&second));
    assert_eq!(
        (hand.fib(), hand.sent()),
        (vec![], ["OPEN", "KEEPALIVE", "OPEN", "KEEPALIVE"].map(String::from).to_vec())
    );
    assert!(hand.speaker.progress().all(|peer| !peer.is_converged()));
    hand.receive(two, &end_of_rib());
    assert_eq!(
        hand.fib(),
        ["+ 10.244.4.0/26 via 172.18.0.3 dev eth0 proto bird", GONE[0]],
        "what is as it was is left alone"
    );
    assert_eq!((hand.sent_on(one), hand.sent_on(two)), {
        let told = ["+10.244.1.0/26", "End-of-RIB"].map(String::from).to_vec();
        (told.clone(), told)
    });
    assert!(hand.speaker.progress().all(|peer| peer.is_converged()));
}

#[test]
fn it_says_so_in_its_open_and_only_then() {
    let bits =
        |set| Capability::GracefulRestart { restarting: set, time: 120, families: vec![(Family::Ipv4Unicast, set)] };
    assert_eq!(announced(&mut Hand::started(&[peer()]), &peer()), bits(false));
    let mut hand = recovering(&[peer()]);
    assert_eq!(announced(&mut hand, &peer()), bits(true));
    let connection = hand.establish_with(&peer(), &calm());
    hand.receive(connection, &end_of_rib());
    close(&mut hand, connection);
    assert_eq!(announced(&mut hand, &peer()), bits(false));
}

#[test]
fn it_waits_for_nobody_who_restarts_too_or_never_says_that_it_is_done_or_is_disabled() {
    for open in [open(&peer()), back()] {
        let [_, second] = two_peers();
        let mut hand = recovering(&[peer(), second]);
        hand.event(Event::Disable(PeerId(1)));
        hand.establish_with(&peer(), &open);
        assert_eq!(hand.fib(), GONE);
    }
}

#[test]
fn it_waits_for_who_does_not_come_until_the_selection_deferral_timer_expires() {
    let [first, second] = two_peers();
    let mut hand = recovering(&[first.clone(), second]);
    let one = hand.establish_with(&first, &open_restarting(&first, false, 120, Some(false)));
    hand.receive(one, &end_of_rib());
    hand.pass(239 * SECOND);
    hand.receive(one, &keepalive());
    assert_eq!(hand.fib(), NOTHING);
    hand.pass(SECOND);
    assert_eq!(hand.fib(), GONE);
    assert!(hand.sent_on(one).contains(&"End-of-RIB".to_owned()));
}

fn cluster(seed: u64) -> Simulation {
    let nodes: Vec<TestNode> =
        (2..6).map(|host| node(&format!("172.18.0.{host}"), 64512, &[&format!("10.244.{host}.0/26")])).collect();
    let configs = nodes.iter().map(|node| (speaker_config(node, &nodes, fast_timers(), true), Vec::new())).collect();
    let mut simulation = Simulation::start(configs, seed, Duration::from_millis(5));
    assert!(simulation.run_until(60 * SECOND, Simulation::is_converged));
    simulation.run_for(SECOND);
    simulation
}

#[test]
fn a_speaker_that_is_killed_and_recovers_in_time_costs_no_kernel_a_route() {
    for seed in 0..10 {
        let mut simulation = cluster(seed);
        let tables: Vec<_> = (0..simulation.len()).map(|node| simulation.fib(node)).collect();
        for away in [0, 90] {
            simulation.kill(1);
            simulation.run_for(Duration::from_secs(away));
            simulation.recover(1);
            assert!(simulation.run_until(60 * SECOND, Simulation::is_converged), "seed {seed}");
            simulation.run_for(400 * SECOND);
            assert_eq!(simulation.removed, [], "seed {seed}");
        }
        assert_eq!((0..simulation.len()).map(|node| simulation.fib(node)).collect::<Vec<_>>(), tables);
    }
}

#[test]
fn all_that_restart_together_do_not_wait_for_each_other() {
    let mut simulation = cluster(7);
    (0..simulation.len()).for_each(|node| simulation.kill(node));
    simulation.run_for(SECOND);
    (0..simulation.len()).for_each(|node| simulation.recover(node));
    assert!(simulation.run_until(2 * SECOND, Simulation::is_converged));
}

#[test]
fn a_speaker_that_is_killed_and_starts_afresh_has_lost_what_its_peers_kept() {
    let mut simulation = cluster(3);
    simulation.kill(1);
    simulation.run_for(SECOND);
    assert_eq!(simulation.removed, []);
    simulation.reboot(1);
    assert!(simulation.run_until(60 * SECOND, Simulation::is_converged));
    simulation.run_for(SECOND);
    let mut lost: Vec<usize> = simulation.removed.iter().map(|(node, _)| *node).collect();
    lost.sort_unstable();
    assert_eq!(lost, [0, 2, 3], "the F bit is not set");
}

#[test]
fn the_wait_after_an_error_does_not_depend_on_what_is_kept() {
    let (mut hand, connection) = learned(&calm());
    close(&mut hand, connection);
    assert_eq!(calico_timers().connect_delay, 2 * SECOND);
    hand.pass(2 * SECOND);
    assert_eq!(hand.state(), State::Connect);
}
