//! Extended messages (RFC 8654): who may send them, and what becomes of routes that need one.

use bytes::{Bytes, BytesMut};

use super::hand::{Hand, encoded, end_of_rib, local, open, open_of};
use super::{TestNode, calico_timers, node, speaker_config};
use crate::bgp::event::ConnectionId;
use crate::bgp::view::State;
use crate::bgp::wire::{AsPath, AsSegment, Attributes, Capability, Context, Nlri, encode_announcement};
use crate::net::Asn;

fn source() -> TestNode {
    node("172.18.0.9", 65001, &[])
}

fn plain() -> TestNode {
    node("172.18.0.3", 64512, &[])
}

fn extended() -> TestNode {
    node("172.18.0.4", 64512, &[])
}

/// A route whose attributes take this many bytes and a few.
fn attributes(bytes: usize) -> Attributes {
    Attributes {
        as_path: AsPath(vec![AsSegment::Sequence(vec![Asn(65001)])]),
        communities: (0..bytes as u32 / 4).map(|number| 65001 << 16 | number).collect(),
        ..Attributes::local("172.18.0.9".parse().unwrap())
    }
}

fn announce(attributes: &Attributes, prefixes: &[Nlri]) -> Bytes {
    let context = Context { four_octet_as: true, extended_messages: true, ..Context::default() };
    encoded(|out: &mut BytesMut| {
        assert_eq!(encode_announcement(attributes, prefixes, &context, out), Ok(prefixes.len()));
    })
}

fn prefix() -> Vec<Nlri> {
    vec![Nlri::from("10.244.2.0/26".parse::<ipnet::IpNet>().unwrap())]
}

/// Sessions with a source of long messages, a peer that announced nothing, and one that announced extended messages.
fn three() -> (Hand, [ConnectionId; 3]) {
    let peers = [source(), plain(), extended()];
    let mut config = speaker_config(&local(), &peers, calico_timers(), false);
    config.peers.iter_mut().for_each(|peer| peer.extended_messages = true);
    let mut hand = Hand::with(config);
    hand.start();
    let connections = [
        hand.establish_with(&peers[0], &open_of(&peers[0], Capability::ExtendedMessage)),
        hand.establish_with(&peers[1], &open(&peers[1])),
        hand.establish_with(&peers[2], &open_of(&peers[2], Capability::ExtendedMessage)),
    ];
    hand.sent();
    (hand, connections)
}

#[test]
fn a_route_that_needs_a_long_message_goes_to_those_who_take_one_and_is_taken_from_the_others() {
    let (mut hand, [from, plain, extended]) = three();
    hand.receive(from, &announce(&attributes(5000), &prefix()));
    assert_eq!((hand.sent_on(plain), hand.sent_on(extended)), (vec![], vec!["+10.244.2.0/26".to_owned()]));
    assert_eq!([1, 2].map(|peer| hand.session(peer).exported), [1, 2]);
    hand.receive(from, &announce(&attributes(100), &prefix()));
    assert_eq!(hand.sent_on(plain), ["+10.244.2.0/26"]);
    hand.sent();
    hand.receive(from, &announce(&attributes(6000), &prefix()));
    assert_eq!((hand.sent_on(plain), hand.sent_on(extended)), {
        (vec!["-10.244.2.0/26".to_owned()], vec!["+10.244.2.0/26".to_owned()])
    });
    assert_eq!([1, 2].map(|peer| hand.session(peer).exported), [1, 2]);
}

#[test]
fn attributes_that_no_message_holds_are_told_to_nobody() {
    let (mut hand, [from, plain, extended]) = three();
    // It came with three bytes to spare, and on its way to an internal peer gets LOCAL_PREF, which takes seven.
    hand.receive(from, &announce(&attributes(65_480), &prefix()));
    assert_eq!(hand.session(0).imported, 1);
    assert_eq!((hand.sent_on(plain), hand.sent_on(extended)), (vec![], vec![]));
}

#[test]
fn a_table_takes_fewer_messages() {
    let (mut hand, [from, plain, extended]) = three();
    let prefixes: Vec<Nlri> = (0..2000_u32)
        .map(|number| {
            Nlri::from(format!("10.244.{}.{}/32", 64 + number / 256, number % 256).parse::<ipnet::IpNet>().unwrap())
        })
        .collect();
    hand.receive(from, &announce(&attributes(0), &prefixes));
    assert_eq!((hand.sent_on(plain).len(), hand.sent_on(extended).len()), (3, 1));
}

#[test]
fn a_long_message_that_was_not_agreed_on_is_a_bad_length() {
    for (ours, capability) in [(false, true), (true, false), (true, true)] {
        let mut config = speaker_config(&local(), &[source()], calico_timers(), false);
        config.peers[0].extended_messages = ours;
        let mut hand = Hand::with(config);
        hand.start();
        let open = if capability { open_of(&source(), Capability::ExtendedMessage) } else { open(&source()) };
        let connection = hand.establish_with(&source(), &open);
        let agreed = ours && capability;
        assert_eq!(hand.session(0).capabilities.contains(&"extended messages".to_owned()), agreed);
        hand.sent();
        hand.receive(connection, &announce(&attributes(5000), &prefix()));
        hand.receive(connection, &end_of_rib());
        assert_eq!(hand.state(), if agreed { State::Established } else { State::Idle });
        assert_eq!(hand.sent(), if agreed { vec![] } else { vec!["1/2".to_owned()] });
    }
}
