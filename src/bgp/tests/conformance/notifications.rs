//! RFC 4271 §6: every error that ends a session, what is said of it, and what is left afterwards; and those that end none (RFC 7606).

use std::time::Duration;

use super::super::fsm::{in_state, peer};
use super::super::hand::{Hand, announce, internal, keepalive, notification, open, open_with};
use crate::bgp::event::{ConnectionId, Event, PeerId};
use crate::bgp::view::State;
use crate::bgp::wire::{Message, Notification};
use crate::net::Asn;

/// A message of this type with a length that need not be its own.
fn message(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

fn whole(kind: u8, body: &[u8]) -> Vec<u8> {
    message(19 + body.len() as u16, kind, body)
}

/// An OPEN of the peer in this version and with these optional parameters.
fn raw_open(version: u8, parameters: &[u8]) -> Vec<u8> {
    let fixed = [version, 0xfc, 0, 0, 90, 172, 18, 0, 3, parameters.len() as u8];
    whole(1, &[&fixed, parameters].concat())
}

/// An UPDATE of 10.244.9.0/24 with this more attribute.
fn update(attribute: &[u8]) -> Vec<u8> {
    let good: &[&[u8]] =
        &[&[0x40, 1, 1, 0], &[0x40, 2, 0], &[0x40, 3, 4, 172, 18, 0, 3], &[0x40, 5, 4, 0, 0, 0, 100], attribute];
    update_of(&good.concat(), &[24, 10, 244, 9])
}

fn update_of(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    whole(2, &[&[0, 0], &(attributes.len() as u16).to_be_bytes()[..], attributes, nlri].concat())
}

/// In which state what comes, and the NOTIFICATION that answers it: code, subcode, data, and the words for it.
type Row = (&'static str, Vec<u8>, (u8, u8, Vec<u8>), &'static str);

fn table() -> Vec<Row> {
    let address = peer().address;
    let mut marker = whole(4, &[]);
    marker[15] = 0xfe;
    vec![
        // §6.1
        ("OpenSent", marker.clone(), (1, 1, vec![]), "Connection not synchronized"),
        ("Established", marker, (1, 1, vec![]), "Connection not synchronized"),
        ("OpenSent", message(18, 1, &[]), (1, 2, vec![0, 18]), "Bad message length"),
        ("OpenSent", message(28, 1, &[]), (1, 2, vec![0, 28]), "Bad message length"),
        ("Established", message(4097, 2, &[]), (1, 2, vec![0x10, 1]), "Bad message length"),
        ("Established", message(22, 2, &[]), (1, 2, vec![0, 22]), "Bad message length"),
        ("Established", message(20, 3, &[]), (1, 2, vec![0, 20]), "Bad message length"),
        ("OpenConfirm", message(20, 4, &[0]), (1, 2, vec![0, 20]), "Bad message length"),
        ("OpenSent", whole(6, &[]), (1, 3, vec![6]), "Bad message type"),
        ("Established", whole(0, &[]), (1, 3, vec![0]), "Bad message type"),
        // §6.2
        ("OpenSent", raw_open(4, &[2, 9, 1]), (2, 0, vec![]), "Invalid OPEN message"),
        ("OpenSent", raw_open(4, &[2, 3, 65, 1, 0]), (2, 0, vec![]), "Invalid OPEN message"),
        ("OpenSent", raw_open(3, &[]), (2, 1, vec![0, 4]), "Unsupported version number"),
        ("OpenSent", raw_open(5, &[]), (2, 1, vec![0, 4]), "Unsupported version number"),
        ("OpenSent", open_with(Asn(65000), address, 90).to_vec(), (2, 2, vec![0, 0, 0xfd, 0xe8]), "Bad peer AS"),
        ("OpenSent", open_with(Asn(64512), [0, 0, 0, 0].into(), 90).to_vec(), (2, 3, vec![0; 4]), "Bad BGP identifier"),
        (
            "OpenSent",
            open_with(Asn(64512), [172, 18, 0, 2].into(), 90).to_vec(),
            (2, 3, vec![172, 18, 0, 2]),
            "Bad BGP identifier",
        ),
        ("OpenSent", raw_open(4, &[1, 1, 0]), (2, 4, vec![]), "Unsupported optional parameter"),
        ("OpenSent", open_with(Asn(64512), address, 1).to_vec(), (2, 6, vec![0, 1]), "Unacceptable hold time"),
        ("OpenSent", open_with(Asn(64512), address, 2).to_vec(), (2, 6, vec![0, 2]), "Unacceptable hold time"),
        // §6.3, what RFC 7606 left of it
        ("Established", whole(2, &[0, 9, 0, 0]), (3, 1, vec![]), "Malformed attribute list"),
        ("Established", whole(2, &[0, 0, 0, 9]), (3, 1, vec![]), "Malformed attribute list"),
        ("Established", update_of(&[0x40, 1, 1, 9], &[]), (3, 1, vec![]), "Malformed attribute list"),
        (
            "Established",
            update(&[0x40, 99, 2, 7, 8]),
            (3, 2, vec![0x40, 99, 2, 7, 8]),
            "Unrecognized well-known attribute",
        ),
        (
            "Established",
            update(&[0x80, 14, 3, 0, 2, 1]),
            (3, 9, vec![0x80, 14, 3, 0, 2, 1]),
            "Optional attribute error",
        ),
        ("Established", update_of(&[], &[33, 1, 2, 3, 4, 5]), (3, 10, vec![]), "Invalid network field"),
        // §6.6
        ("OpenSent", keepalive().to_vec(), (5, 1, vec![]), "Unexpected message in OpenSent state"),
        ("OpenConfirm", open(&peer()).to_vec(), (5, 2, vec![]), "Unexpected message in OpenConfirm state"),
        ("Established", open(&peer()).to_vec(), (5, 3, vec![]), "Unexpected message in Established state"),
        // RFC 7313 §5
        (
            "Established",
            whole(5, &[0, 1, 0, 1, 0]),
            (7, 1, whole(5, &[0, 1, 0, 1, 0])),
            "Invalid ROUTE-REFRESH message length",
        ),
    ]
}

/// The last NOTIFICATION that was sent.
fn last(hand: &Hand) -> Option<&Notification> {
    hand.messages.iter().rev().find_map(|message| match message {
        Message::Notification(notification) => Some(notification),
        _ => None,
    })
}

fn said(hand: &Hand) -> Option<(u8, u8, Vec<u8>)> {
    last(hand).map(|notification| (notification.code, notification.subcode, notification.data.to_vec()))
}

/// Nothing is left of the session but its error: the connection is closed, the routes are gone, and nothing is tried before the wait
/// is over.
fn assert_ended(hand: &mut Hand, connection: ConnectionId, error: &str) {
    assert_eq!(hand.closed, [connection], "{error}");
    let session = hand.session(0);
    assert_eq!((session.state, session.last_error.as_deref()), (State::Idle, Some(error)));
    assert_eq!((session.imported, session.exported, session.preferred), (0, 0, 0), "{error}");
    assert_eq!(hand.paths("10.244.2.0/26"), []);
    hand.pass(Duration::from_millis(4999));
    assert_eq!(hand.dials, 0, "{error}");
    hand.pass(Duration::from_secs(3));
    assert_eq!(hand.dials, 1, "{error}");
}

/// [`in_state`], with a route to lose where there can be one.
fn begin(state: &str) -> (Hand, ConnectionId) {
    let (mut hand, connection) = in_state(state);
    if state == "Established" {
        hand.receive(connection, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    }
    hand.messages.clear();
    (hand, connection)
}

#[test]
fn every_error_is_answered_with_its_code_subcode_and_data_and_ends_the_session() {
    for (state, bytes, answer, words) in table() {
        let (mut hand, connection) = begin(state);
        hand.receive(connection, &bytes);
        assert_eq!(said(&hand), Some(answer), "{words}: {bytes:?}");
        assert_ended(&mut hand, connection, &format!("BGP Error: {words}"));
    }
}

#[test]
fn an_error_is_the_same_however_its_bytes_are_cut() {
    for (state, bytes, answer, words) in table() {
        let (mut hand, connection) = begin(state);
        bytes.iter().for_each(|byte| hand.receive(connection, &[*byte]));
        assert_eq!(said(&hand), Some(answer), "{words}");
    }
}

#[test]
fn silence_is_hold_timer_expired() {
    let (mut hand, connection) = begin("Established");
    hand.pass(Duration::from_secs(240));
    assert_eq!(said(&hand), Some((4, 0, vec![])));
    assert_ended(&mut hand, connection, "BGP Error: Hold timer expired");
}

#[test]
fn cease_says_why() {
    let orders = [(2, Event::Disable(PeerId(0))), (2, Event::Shutdown), (4, Event::Restart(PeerId(0)))];
    for (subcode, order) in orders {
        let (mut hand, _) = begin("Established");
        hand.event(order);
        assert_eq!(said(&hand), Some((6, subcode, vec![])));
        assert_eq!((hand.session(0).imported, hand.session(0).last_error), (0, None));
    }
    let (mut hand, _) = begin("Disabled");
    hand.accept("172.18.0.3");
    assert_eq!(said(&hand), Some((6, 5, vec![])), "Connection Rejected");
    let (mut hand, _) = begin("Established");
    let second = hand.accept("172.18.0.3");
    hand.receive(second, &open(&peer()));
    assert_eq!(said(&hand), Some((6, 7, vec![])), "Connection Collision Resolution");
}

#[test]
fn no_notification_is_answered_and_each_is_told_in_its_words() {
    for code in 1..=8 {
        for subcode in 0..=12 {
            let (mut hand, connection) = begin("Established");
            hand.receive(connection, &notification(code, subcode));
            assert_eq!((last(&hand), hand.closed.clone()), (None, vec![connection]), "{code}/{subcode}");
            let session = hand.session(0);
            let words = Notification::new(code, subcode).to_string();
            assert_eq!(session.last_error, Some(format!("Received: {words}")));
            // Cease is no error of ours: no wait.
            assert_eq!(session.state, if code == 6 { State::Active } else { State::Idle }, "{code}/{subcode}");
            assert_eq!(session.imported, 0);
        }
    }
}

#[test]
fn errors_that_concern_a_route_withdraw_it_and_leave_the_session() {
    // What RFC 4271 §6.3 has as 3/3 to 3/6, 3/8 and 3/11.
    let bad: [(&str, Vec<u8>); 6] = [
        ("missing well-known attribute", update_of(&[0x40, 1, 1, 0], &[24, 10, 244, 9])),
        ("attribute flags", update(&[0xc0, 4, 4, 0, 0, 0, 1])),
        ("attribute length", update(&[0x80, 4, 3, 0, 0, 0])),
        ("ORIGIN", update_of(&[0x40, 1, 1, 9, 0x40, 2, 0, 0x40, 3, 4, 172, 18, 0, 3], &[24, 10, 244, 9])),
        ("NEXT_HOP", update_of(&[0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 0, 0, 0, 0], &[24, 10, 244, 9])),
        ("AS_PATH", update_of(&[0x40, 1, 1, 0, 0x40, 2, 2, 2, 0, 0x40, 3, 4, 172, 18, 0, 3], &[24, 10, 244, 9])),
    ];
    for (what, bytes) in bad {
        let (mut hand, connection) = begin("Established");
        hand.receive(connection, &update(&[]));
        assert_eq!(hand.session(0).imported, 2, "{what}");
        hand.receive(connection, &bytes);
        assert_eq!((hand.session(0).imported, hand.state(), last(&hand)), (1, State::Established, None), "{what}");
        assert_eq!(hand.paths("10.244.9.0/24"), [], "{what}");
    }
}
