//! The state machine of RFC 4271 §8, state by state and event by event, and collisions (§6.8).

use std::time::Duration;

use super::hand::{Hand, LOCAL, announce, encoded, internal, keepalive, local, notification, open, open_with};
use super::{TestNode, calico_timers, fast_timers, node, speaker_config};
use crate::bgp::event::{ConnectionId, Event, PeerId};
use crate::bgp::view::State;
use crate::bgp::wire::{Family, RefreshKind, encode_route_refresh};
use crate::net::Asn;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn peer() -> TestNode {
    node("172.18.0.3", 64512, &[])
}

/// The states to begin in, `Disabled` and `Waiting` being two ways to be Idle.
pub(super) const STATES: [&str; 7] =
    ["Disabled", "Waiting", "Active", "Connect", "OpenSent", "OpenConfirm", "Established"];

/// A speaker in that state, and the connection that it is about.
pub(super) fn in_state(state: &str) -> (Hand, ConnectionId) {
    let mut hand = Hand::started(&[peer()]);
    let steps = STATES.iter().position(|name| *name == state).unwrap();
    let nobody = ConnectionId(9999);
    match state {
        "Disabled" => hand.disable(),
        "Waiting" => {
            let connection = hand.accept("172.18.0.3");
            hand.receive(connection, &keepalive());
        }
        _ => {}
    }
    if steps >= 3 {
        hand.pass(2 * SECOND);
    }
    let connection = hand.dialled.unwrap_or(nobody);
    if steps >= 4 {
        hand.event(Event::Connected { connection, local: LOCAL });
    }
    if steps >= 5 {
        hand.receive(connection, &open(&peer()));
    }
    if steps >= 6 {
        hand.receive(connection, &keepalive());
    }
    hand.sent();
    hand.closed.clear();
    hand.dials = 0;
    (hand, connection)
}

/// What `happens` makes of each state: the state that follows, what is sent, and whether a connection is dialled or closed.
pub(super) fn row(happens: impl Fn(&mut Hand, ConnectionId)) -> Vec<String> {
    let cell = |state: &&str| {
        let (mut hand, connection) = in_state(state);
        happens(&mut hand, connection);
        let mut words = vec![hand.state().to_string()];
        words.extend(hand.sent());
        words.extend((hand.dials > 0).then(|| "dials".to_owned()));
        words.extend((!hand.closed.is_empty()).then(|| "closes".to_owned()));
        words.join(" ")
    };
    STATES.iter().map(cell).collect()
}

#[test]
fn every_state_starts_where_the_table_says() {
    assert_eq!(row(|_, _| {}), ["Idle", "Idle", "Active", "Connect", "OpenSent", "OpenConfirm", "Established"]);
}

#[test]
fn an_administrator_stops_starts_and_restarts_from_every_state() {
    let enable = row(|hand, _| hand.event(Event::Enable(PeerId(0))));
    assert_eq!(enable, ["Active", "Idle", "Active", "Connect", "OpenSent", "OpenConfirm", "Established"]);
    let stopped = ["Idle", "Idle", "Idle", "Idle closes", "Idle 6/2 closes", "Idle 6/2 closes", "Idle 6/2 closes"];
    assert_eq!(row(|hand, _| hand.disable()), stopped);
    assert_eq!(row(|hand, _| hand.event(Event::Shutdown)), stopped);
    let restart = row(|hand, _| hand.event(Event::Restart(PeerId(0))));
    assert_eq!(restart[..4], ["Idle", "Connect dials", "Connect dials", "Connect dials closes"]);
    assert_eq!(restart[4..], ["Connect 6/4 dials closes"; 3]);
}

#[test]
fn connections_come_and_go_in_every_state() {
    let accepted = row(|hand, _| {
        hand.accept("172.18.0.3");
    });
    assert_eq!(accepted[..2], ["Idle 6/5 closes", "Idle 6/5 closes"]);
    assert_eq!(
        accepted[2..],
        ["OpenSent OPEN", "OpenSent OPEN", "OpenSent OPEN", "OpenConfirm OPEN", "Established OPEN"]
    );
    let connected = row(|hand, connection| hand.event(Event::Connected { connection, local: LOCAL }));
    assert_eq!(connected, ["Idle", "Idle", "Active", "OpenSent OPEN", "OpenSent", "OpenConfirm", "Established"]);
    let gone = ["Idle", "Idle", "Active", "Active", "Active", "Active", "Active"];
    let error = || "Connection refused".to_owned();
    assert_eq!(row(|hand, connection| hand.event(Event::ConnectFailed { connection, error: error() })), gone);
    assert_eq!(row(|hand, connection| hand.event(Event::Closed { connection, error: None })), gone);
}

#[test]
fn a_message_is_welcome_in_its_state_and_a_finite_state_machine_error_in_others() {
    // Without a connection there is nothing to receive on.
    let none = ["Idle", "Idle", "Active", "Connect"];
    let check = |bytes: &[u8], with_connection: [&str; 3]| {
        let row = row(|hand, connection| hand.receive(connection, bytes));
        assert_eq!((&row[..4], &row[4..]), (&none.map(String::from)[..], &with_connection.map(String::from)[..]));
    };
    check(&open(&peer()), ["OpenConfirm KEEPALIVE", "Idle 5/2 closes", "Idle 5/3 closes"]);
    check(&keepalive(), ["Idle 5/1 closes", "Established +10.244.1.0/26 End-of-RIB", "Established"]);
    let update = announce(&internal("172.18.0.3"), &["10.244.2.0/26"]);
    check(&update, ["Idle 5/1 closes", "Idle 5/2 closes", "Established"]);
    let refresh = encoded(|out| encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request, out));
    let answer = "Established refresh Begin +10.244.1.0/26 refresh End";
    check(&refresh, ["Idle 5/1 closes", "Idle 5/2 closes", answer]);
    check(&notification(3, 1), ["Idle closes"; 3]);
    check(&notification(6, 2), ["Active closes"; 3]);
    check(&[0; 19], ["Idle 1/1 closes"; 3]);
}

#[test]
fn timers_act_in_every_state() {
    // IdleHoldTimer ends the wait, ConnectRetryTimer dials.
    let row_5s = row(|hand, _| hand.pass(5 * SECOND));
    assert_eq!(
        row_5s,
        ["Idle", "Active", "Connect dials", "Connect dials closes", "OpenSent", "OpenConfirm", "Established"]
    );
    let row_90s = row(|hand, _| hand.pass(90 * SECOND));
    assert_eq!(row_90s[4..], ["OpenSent", "OpenConfirm KEEPALIVE", "Established KEEPALIVE"]);
    // HoldTimer: the large one in OpenSent, the negotiated one after.
    let row_241s = row(|hand, _| hand.pass(241 * SECOND));
    let spoke = "Idle KEEPALIVE KEEPALIVE KEEPALIVE 4/0 closes";
    assert_eq!(row_241s[4..], ["Idle 4/0 closes", spoke, spoke]);
}

#[test]
fn an_open_of_the_wrong_speaker_is_refused_with_the_reason() {
    let address = "172.18.0.3".parse().unwrap();
    for (open, answer, error) in [
        (open_with(Asn(65000), address, 240), "2/2", "BGP Error: Bad peer AS"),
        (open_with(Asn(64512), local().address, 240), "2/3", "BGP Error: Bad BGP identifier"),
        (open_with(Asn(64512), "0.0.0.0".parse().unwrap(), 240), "2/3", "BGP Error: Bad BGP identifier"),
        (open_with(Asn(64512), address, 2), "2/6", "BGP Error: Unacceptable hold time"),
    ] {
        let (mut hand, connection) = in_state("OpenSent");
        hand.receive(connection, &open);
        assert_eq!(hand.sent(), [answer]);
        assert_eq!((hand.state(), hand.session(0).last_error.as_deref()), (State::Idle, Some(error)));
    }
}

#[test]
fn a_connection_from_nobody_is_rejected() {
    let mut hand = Hand::started(&[peer()]);
    let connection = hand.accept("172.18.0.77");
    assert_eq!((hand.sent(), hand.closed.clone()), (vec!["6/5".to_owned()], vec![connection]));
    hand.receive(connection, &open(&peer()));
    assert_eq!(hand.state(), State::Active);
}

#[test]
fn the_smaller_hold_time_counts_and_zero_switches_the_timers_off() {
    let address = "172.18.0.3".parse().unwrap();
    for (offered, hold, keepalive_every) in
        [(9, Some(9_000), Some(3_000)), (900, Some(240_000), Some(80_000)), (0, None, None)]
    {
        let (mut hand, connection) = in_state("OpenSent");
        hand.receive(connection, &open_with(Asn(64512), address, offered));
        hand.receive(connection, &keepalive());
        let session = hand.session(0);
        assert_eq!((session.hold.map(|hold| hold.0), session.keepalive.map(|k| k.0)), (hold, keepalive_every));
        if offered == 0 {
            hand.pass(3600 * SECOND);
            assert_eq!(hand.state(), State::Established);
        }
    }
}

#[test]
fn keepalive_and_connect_retry_are_jittered_downwards() {
    let (mut hand, connection) = in_state("OpenSent");
    hand.receive(connection, &open(&peer()));
    let (_, left) = hand.session(0).keepalive.unwrap();
    assert!((60_000..=80_000).contains(&left), "{left}");
    let (mut hand, connection) = in_state("Connect");
    hand.event(Event::ConnectFailed { connection, error: "Connection refused".into() });
    assert_eq!(hand.session(0).last_error.as_deref(), Some("Socket: Connection refused"));
    hand.pass(Duration::from_millis(3749));
    assert_eq!(hand.state(), State::Active);
    hand.pass(Duration::from_millis(1251));
    assert_eq!(hand.state(), State::Connect);
}

#[test]
fn an_attempt_under_way_outlasts_the_wait_after_a_failed_one() {
    // Were it given up as fast, a host too busy to notice its connections in time would open them again and again.
    let mut hand = Hand::with(speaker_config(&local(), &[peer()], fast_timers(), false));
    hand.start();
    hand.pass(Duration::from_millis(749));
    assert_eq!((hand.dials, hand.state()), (1, State::Connect));
    hand.pass(Duration::from_millis(251));
    assert_eq!((hand.dials, hand.state(), hand.closed.len()), (2, State::Connect, 1));
    assert_eq!(hand.session(0).last_error.as_deref(), Some("Socket: Connection timed out"));
    hand.event(Event::ConnectFailed { connection: hand.dialled.unwrap(), error: "Connection refused".into() });
    hand.pass(Duration::from_millis(50));
    assert_eq!((hand.dials, hand.state()), (3, State::Connect));
}

#[test]
fn the_wait_after_errors_doubles_up_to_its_limit_and_is_forgotten_in_time() {
    // Passive, so that no attempt of its own is under way when an error comes.
    let mut hand = Hand::with(speaker_config(&local(), &[peer()], calico_timers(), true));
    hand.start();
    let mut waits = Vec::new();
    let mut fail = |hand: &mut Hand| {
        let connection = hand.accept("172.18.0.3");
        hand.receive(connection, &keepalive());
        let begin = hand.now;
        while hand.state() == State::Idle {
            hand.pass(SECOND);
        }
        waits.push((hand.now - begin).as_secs());
    };
    (0..5).for_each(|_| fail(&mut hand));
    hand.pass(400 * SECOND);
    fail(&mut hand);
    assert_eq!(waits, [5, 10, 20, 30, 30, 5]);
}

#[test]
fn a_passive_peer_never_dials() {
    let mut config = speaker_config(&local(), &[peer()], calico_timers(), true);
    assert!(config.peers[0].passive);
    config.peers[0].local = None;
    let mut hand = Hand::with(config);
    hand.start();
    let connection = hand.establish(&peer());
    hand.event(Event::Closed { connection, error: None });
    hand.pass(600 * SECOND);
    assert_eq!((hand.dials, hand.state()), (0, State::Active));
}

/// Both connections of a collision, the outgoing one in OpenConfirm and the incoming one in OpenSent.
fn collision(identifier: &str) -> (Hand, ConnectionId, ConnectionId, TestNode) {
    let (mut hand, outgoing) = in_state("OpenSent");
    let peer = TestNode { address: identifier.parse().unwrap(), ..peer() };
    let incoming = hand.accept("172.18.0.3");
    hand.receive(outgoing, &open(&peer));
    hand.sent();
    (hand, outgoing, incoming, peer)
}

#[test]
fn of_two_connections_the_one_of_the_higher_identifier_stays() {
    // The peer's identifier is higher: the one that it opened.
    let (mut hand, outgoing, incoming, peer) = collision("172.18.0.3");
    hand.receive(incoming, &open(&peer));
    assert_eq!((hand.closed.clone(), hand.sent_on(outgoing)), (vec![outgoing], vec!["6/7".to_owned()]));
    assert_eq!(hand.sent_on(incoming), ["KEEPALIVE"]);
    // Ours is higher: the one that we opened.
    let (mut hand, outgoing, incoming, peer) = collision("172.18.0.1");
    hand.receive(incoming, &open(&peer));
    assert_eq!((hand.closed.clone(), hand.sent_on(incoming)), (vec![incoming], vec!["6/7".to_owned()]));
    hand.receive(outgoing, &keepalive());
    assert_eq!((hand.state(), hand.session(0).last_error), (State::Established, None));
}

#[test]
fn an_established_session_survives_a_late_collision() {
    let (mut hand, outgoing, incoming, peer) = collision("172.18.0.3");
    hand.receive(outgoing, &keepalive());
    hand.receive(incoming, &open(&peer));
    assert_eq!((hand.closed.clone(), hand.sent_on(incoming)), (vec![incoming], vec!["6/7".to_owned()]));
    assert_eq!(hand.state(), State::Established);
}

#[test]
fn a_peer_that_opens_another_connection_has_forgotten_the_first() {
    let mut hand = Hand::started(&[peer()]);
    let first = hand.establish(&peer());
    let second = hand.accept("172.18.0.3");
    assert_eq!(hand.state(), State::Established);
    hand.receive(second, &open(&peer()));
    assert_eq!((hand.closed.clone(), hand.state()), (vec![first], State::OpenConfirm));
    hand.receive(second, &keepalive());
    assert_eq!(hand.state(), State::Established);
}

#[test]
fn an_error_on_a_second_connection_leaves_the_first_alone() {
    let mut hand = Hand::started(&[peer()]);
    hand.establish(&peer());
    let second = hand.accept("172.18.0.3");
    hand.receive(second, &[0; 40]);
    assert_eq!((hand.closed.clone(), hand.state()), (vec![second], State::Established));
    assert_eq!(hand.session(0).last_error, None);
}

#[test]
fn an_incoming_open_ends_our_own_attempt() {
    let (mut hand, dialled) = in_state("Connect");
    let incoming = hand.accept("172.18.0.3");
    hand.receive(incoming, &open(&peer()));
    assert_eq!((hand.closed.clone(), hand.state()), (vec![dialled], State::OpenConfirm));
    hand.event(Event::Connected { connection: dialled, local: LOCAL });
    hand.receive(incoming, &keepalive());
    hand.pass(60 * SECOND);
    assert_eq!((hand.dials, hand.state()), (0, State::Established));
}

#[test]
fn events_of_connections_and_peers_that_are_no_more_change_nothing() {
    let mut hand = Hand::started(&[peer()]);
    let gone = ConnectionId(77);
    hand.event(Event::Connected { connection: gone, local: LOCAL });
    hand.event(Event::ConnectFailed { connection: gone, error: String::new() });
    hand.event(Event::Closed { connection: gone, error: None });
    hand.event(Event::Writable { connection: gone });
    hand.receive(gone, &keepalive());
    hand.event(Event::Disable(PeerId(9)));
    assert_eq!((hand.state(), hand.sent(), hand.closed.len()), (State::Active, vec![], 0));
}

#[test]
fn the_same_seed_and_events_give_the_same_deadlines() {
    let deadline = |(hand, _): (Hand, ConnectionId)| hand.session(0).keepalive;
    assert_eq!(deadline(in_state("Established")), deadline(in_state("Established")));
}
