//! RFC 4271 §8.2.2: what each event does in each state.

use std::time::Duration;

use super::super::fsm::{STATES, peer, row};
use super::super::hand::{Hand, LOCAL, announce, internal, keepalive, notification, open, open_with};
use crate::bgp::event::{ConnectionId, Event, PeerId};
use crate::net::Asn;

const SECOND: Duration = Duration::from_secs(1);

/// Its number and name in §8.1, what happens, and what comes of it in each of [`STATES`].
type Row = (&'static str, fn(&mut Hand, ConnectionId), [&'static str; 7]);

/// An event that a state without a connection cannot see: nothing is there to receive on.
macro_rules! received {
    ($open_sent:literal, $open_confirm:literal, $established:literal) => {
        ["Idle", "Idle", "Active", "Connect", $open_sent, $open_confirm, $established]
    };
}

/// `Disabled` is Idle after ManualStop, `Waiting` is Idle while IdleHoldTimer runs.
const TABLE: &[Row] = &[
    (
        "1 ManualStart",
        |hand, _| hand.event(Event::Enable(PeerId(0))),
        ["Active", "Idle", "Active", "Connect", "OpenSent", "OpenConfirm", "Established"],
    ),
    (
        "2 ManualStop",
        |hand, _| hand.disable(),
        ["Idle", "Idle", "Idle", "Idle closes", "Idle 6/2 closes", "Idle 6/2 closes", "Idle 6/2 closes"],
    ),
    (
        "9 ConnectRetryTimer_Expires, 13 IdleHoldTimer_Expires",
        |hand, _| hand.pass(5 * SECOND),
        ["Idle", "Active", "Connect dials", "Connect dials closes", "OpenSent", "OpenConfirm", "Established"],
    ),
    (
        "10 HoldTimer_Expires",
        |hand, _| {
            hand.pass(240 * SECOND);
            // What was said meanwhile is event 11's.
            let said = hand.sent();
            let last = said.last().filter(|last| *last == "4/0");
            assert_eq!(last.is_some(), !hand.closed.is_empty() && hand.dials == 0);
        },
        [
            "Idle",
            "Connect dials closes",
            "Connect dials closes",
            "Connect dials closes",
            "Idle closes",
            "Idle closes",
            "Idle closes",
        ],
    ),
    (
        "11 KeepaliveTimer_Expires",
        |hand, connection| {
            // Up to 80 s in the states that have it; the others have nothing to keep alive.
            match hand.session(0).keepalive {
                Some((_, left)) => hand.pass(Duration::from_millis(left + 1)),
                None => hand.receive(connection, &[]),
            }
        },
        ["Idle", "Idle", "Active", "Connect", "OpenSent", "OpenConfirm KEEPALIVE", "Established KEEPALIVE"],
    ),
    (
        "14 TcpConnection_Valid, 17 TcpConnectionConfirmed",
        |hand, _| {
            hand.accept("172.18.0.3");
        },
        [
            "Idle 6/5 closes",
            "Idle 6/5 closes",
            "OpenSent OPEN",
            "OpenSent OPEN",
            "OpenSent OPEN",
            "OpenConfirm OPEN",
            "Established OPEN",
        ],
    ),
    (
        "15 Tcp_CR_Invalid",
        |hand, _| {
            hand.accept("172.18.0.77");
        },
        [
            "Idle 6/5 closes",
            "Idle 6/5 closes",
            "Active 6/5 closes",
            "Connect 6/5 closes",
            "OpenSent 6/5 closes",
            "OpenConfirm 6/5 closes",
            "Established 6/5 closes",
        ],
    ),
    (
        "16 Tcp_CR_Acked",
        |hand, connection| hand.event(Event::Connected { connection, local: LOCAL }),
        ["Idle", "Idle", "Active", "OpenSent OPEN", "OpenSent", "OpenConfirm", "Established"],
    ),
    (
        "18 TcpConnectionFails",
        |hand, connection| hand.event(Event::Closed { connection, error: Some("Connection reset by peer".into()) }),
        ["Idle", "Idle", "Active", "Active", "Active", "Active", "Active"],
    ),
    (
        "19 BGPOpen",
        |hand, connection| hand.receive(connection, &open(&peer())),
        received!("OpenConfirm KEEPALIVE", "Idle 5/2 closes", "Idle 5/3 closes"),
    ),
    (
        "21 BGPHeaderErr",
        |hand, connection| hand.receive(connection, &[0; 19]),
        received!("Idle 1/1 closes", "Idle 1/1 closes", "Idle 1/1 closes"),
    ),
    (
        "22 BGPOpenMsgErr",
        |hand, connection| hand.receive(connection, &open_with(Asn(65000), peer().address, 240)),
        received!("Idle 2/2 closes", "Idle 5/2 closes", "Idle 5/3 closes"),
    ),
    (
        "23 OpenCollisionDump",
        |hand, _| {
            // The peer's identifier is the higher one: the connection that it opened stays, but beside an Established one (§6.8).
            let second = hand.accept("172.18.0.3");
            hand.receive(second, &open(&peer()));
        },
        [
            "Idle 6/5 closes",
            "Idle 6/5 closes",
            "OpenConfirm OPEN KEEPALIVE",
            "OpenConfirm OPEN KEEPALIVE closes",
            "OpenConfirm OPEN KEEPALIVE",
            "OpenConfirm OPEN 6/7 KEEPALIVE closes",
            "Established OPEN 6/7 closes",
        ],
    ),
    (
        "24 NotifMsgVerErr",
        |hand, connection| hand.receive(connection, &notification(2, 1)),
        received!("Idle closes", "Idle closes", "Idle closes"),
    ),
    (
        "25 NotifMsg",
        |hand, connection| hand.receive(connection, &notification(3, 1)),
        received!("Idle closes", "Idle closes", "Idle closes"),
    ),
    (
        "25 NotifMsg: Cease, after which there is no wait",
        |hand, connection| hand.receive(connection, &notification(6, 2)),
        received!("Active closes", "Active closes", "Active closes"),
    ),
    (
        "26 KeepAliveMsg",
        |hand, connection| hand.receive(connection, &keepalive()),
        received!("Idle 5/1 closes", "Established +10.244.1.0/26 End-of-RIB", "Established"),
    ),
    (
        "27 UpdateMsg",
        |hand, connection| hand.receive(connection, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"])),
        received!("Idle 5/1 closes", "Idle 5/2 closes", "Established"),
    ),
    (
        "28 UpdateMsgErr",
        |hand, connection| {
            let longer_than_the_message = [&[0xff; 16][..], &[0, 23, 2, 0, 9, 0, 0]].concat();
            hand.receive(connection, &longer_than_the_message);
        },
        // Before Established the fault in it is found first, as in BIRD; either ends the connection.
        received!("Idle 3/1 closes", "Idle 3/1 closes", "Idle 3/1 closes"),
    ),
];

#[test]
fn every_event_does_in_every_state_what_the_table_says() {
    for (event, happens, expected) in TABLE {
        let found = row(*happens);
        let cells = |cells: &[String]| -> Vec<String> {
            STATES.iter().zip(cells).map(|(state, cell)| format!("{state}: {cell}")).collect()
        };
        assert_eq!(cells(&found), cells(&expected.map(String::from)), "event {event}");
    }
}

#[test]
fn each_event_that_we_have_is_in_the_table() {
    let number = |word: &str| word.trim_end_matches(',').parse::<u8>().ok();
    let mut numbers: Vec<u8> =
        TABLE.iter().flat_map(|(event, ..)| event.split(' ').filter_map(number).collect::<Vec<_>>()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    // Automatic start and stop, passive starts and DelayOpen are not events here (`conformance`).
    let without = [3, 4, 5, 6, 7, 8, 12, 20];
    assert_eq!(numbers, (1..=28).filter(|number| !without.contains(number)).collect::<Vec<u8>>());
}
