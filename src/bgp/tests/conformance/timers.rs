//! RFC 4271 §8.1.3 and §10: how long the timers run, what restarts them, and their jitter.

use std::time::Duration;

use super::super::fsm::{in_state, peer};
use super::super::hand::{Hand, announce, encoded, end_of_rib, internal, keepalive, local, open, open_with, withdraw};
use super::super::{calico_timers, speaker_config};
use crate::bgp::event::Event;
use crate::bgp::speaker::Speaker;
use crate::bgp::view::State;
use crate::bgp::wire::{Family, RefreshKind, encode_route_refresh};
use crate::net::Asn;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn keepalive_and_connect_retry_are_jittered_over_three_quarters_to_the_whole_and_hold_not_at_all() {
    let mut keepalives = Vec::new();
    let mut retries = Vec::new();
    for seed in 0..200 {
        let mut hand = Hand::started(&[peer()]);
        hand.speaker = Speaker::new(hand.speaker.config().clone(), seed);
        hand.start();
        hand.pass(2 * SECOND);
        let connection = hand.dialled.unwrap();
        let begin = hand.now;
        hand.event(Event::ConnectFailed { connection, error: "Connection refused".into() });
        retries.push((hand.speaker.poll_timeout().unwrap() - begin).as_millis());
        hand.establish(&peer());
        let session = hand.session(0);
        keepalives.push(u128::from(session.keepalive.unwrap().1));
        assert_eq!(session.hold, Some((240_000, 240_000)));
    }
    for (found, whole) in [(keepalives, 80_000), (retries, 5_000)] {
        let (least, most) = (*found.iter().min().unwrap(), *found.iter().max().unwrap());
        assert!(least >= whole * 3 / 4 && most <= whole, "{least} to {most} of {whole}");
        // Spread over the range: of 200, some in the first and in the last tenth of it.
        assert!(least < whole * 31 / 40 && most > whole * 39 / 40, "{least} to {most} of {whole}");
    }
}

#[test]
fn hold_timer_is_restarted_by_keepalive_and_update_and_by_nothing_else() {
    let refresh = encoded(|out| encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request, out));
    for (bytes, restarts) in [
        (keepalive(), true),
        (announce(&internal("172.18.0.3"), &["10.244.2.0/26"]), true),
        (withdraw(&["10.244.2.0/26"]), true),
        (end_of_rib(), true),
        (refresh, false),
        (bytes::Bytes::from_static(&[0xff; 10]), false),
    ] {
        let (mut hand, connection) = in_state("Established");
        hand.pass(100 * SECOND);
        hand.receive(connection, &bytes);
        let left = hand.session(0).hold.unwrap().1;
        assert_eq!(left, if restarts { 240_000 } else { 140_000 }, "{bytes:?}");
    }
}

#[test]
fn the_hold_timer_is_large_in_open_sent_and_the_negotiated_one_from_open_confirm_on() {
    let begin = |hand: &Hand| hand.now;
    let (mut hand, _) = in_state("OpenSent");
    let start = begin(&hand);
    while hand.state() == State::OpenSent {
        hand.pass(SECOND);
    }
    assert_eq!(hand.now - start, 240 * SECOND, "4 minutes are suggested (§8.2.2)");
    let (mut hand, connection) = in_state("OpenSent");
    hand.receive(connection, &open_with(Asn(64512), peer().address, 30));
    let start = begin(&hand);
    while hand.state() == State::OpenConfirm {
        hand.pass(SECOND);
    }
    assert_eq!(hand.now - start, 30 * SECOND);
    assert_eq!(hand.sent().last().unwrap(), "4/0");
}

#[test]
fn a_hold_time_of_three_seconds_asks_for_a_keepalive_each() {
    let (mut hand, connection) = in_state("OpenSent");
    hand.receive(connection, &open_with(Asn(64512), peer().address, 3));
    hand.receive(connection, &keepalive());
    hand.sent();
    for _ in 0..30 {
        hand.pass(SECOND);
        hand.receive(connection, &keepalive());
    }
    assert_eq!(hand.state(), State::Established);
    let sent = hand.sent();
    assert!(sent.iter().all(|message| message == "KEEPALIVE"));
    // One in 0.75 to 1 s.
    assert!((30..=40).contains(&sent.len()), "{}", sent.len());
}

#[test]
fn a_configured_keepalive_time_shrinks_with_the_hold_time() {
    let mut config = speaker_config(&local(), &[peer()], calico_timers(), false);
    config.peers[0].keepalive_time = Some(20 * SECOND);
    for (offered, interval) in [(240, 20_000), (900, 20_000), (60, 5_000)] {
        let mut hand = Hand::with(config.clone());
        hand.start();
        hand.establish_with(&peer(), &open_with(Asn(64512), peer().address, offered));
        assert_eq!(hand.session(0).keepalive.unwrap().0, interval);
    }
}

#[test]
fn no_timer_of_a_connection_outlives_it() {
    for state in ["OpenSent", "OpenConfirm", "Established"] {
        let (mut hand, _) = in_state(state);
        hand.disable();
        assert_eq!(hand.speaker.poll_timeout(), None, "{state}");
    }
    // Established stops ConnectRetryTimer.
    let (mut hand, dialled) = in_state("Connect");
    let incoming = hand.accept("172.18.0.3");
    hand.receive(incoming, &open(&peer()));
    hand.receive(incoming, &keepalive());
    hand.closed.retain(|closed| *closed != dialled);
    hand.pass(70 * SECOND);
    assert_eq!((hand.dials, hand.closed.len(), hand.state()), (0, 0, State::Established));
}
