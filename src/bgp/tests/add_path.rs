//! ADD-PATH (RFC 7911): several paths of a prefix over one session, both ways.

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

use super::hand::{Hand, encoded, end_of_rib, local, open, open_of, open_restarting};
use super::{TestNode, calico_timers, kernel, node, speaker_config};
use crate::bgp::event::{ConnectionId, Event};
use crate::bgp::wire::{
    AddPathMode, AsPath, AsSegment, Attributes, Capability, Context, Family, Nlri, RefreshKind, encode_announcement,
    encode_route_refresh, encode_withdrawal,
};
use crate::net::Asn;

const PREFIX: &str = "10.244.2.0/26";
const CONTEXT: Context = Context {
    four_octet_as: true,
    external: false,
    add_path_receive_v4: false,
    add_path_receive_v6: false,
    add_path_send_v4: true,
    add_path_send_v6: false,
    extended_messages: false,
};

/// External peers, so that everything is told on.
fn peers() -> [TestNode; 3] {
    [7, 8, 9].map(|host| node(&format!("172.18.0.{host}"), 65000 + host, &[]))
}

fn capability(receive: bool, send: bool) -> Capability {
    Capability::AddPath(vec![(Family::Ipv4Unicast, AddPathMode { receive, send })])
}

fn speaker() -> Hand {
    let mut config = speaker_config(&local(), &peers(), calico_timers(), false);
    config.peers.iter_mut().for_each(|peer| peer.add_path = true);
    let mut hand = Hand::with(config);
    hand.start();
    hand
}

/// Brings up a session with a peer that speaks ADD-PATH both ways.
fn establish(hand: &mut Hand, peer: &TestNode) -> ConnectionId {
    let connection = hand.establish_with(peer, &open_of(peer, capability(true, true)));
    hand.with_identifiers.push(connection);
    connection
}

/// Sessions with a peer that sends several paths, one that takes several, and one that takes the selected one.
fn three() -> (Hand, [ConnectionId; 3]) {
    let mut hand = speaker();
    let [source, several, one] = peers();
    let from = establish(&mut hand, &source);
    // What goes out before the hand knows that there are identifiers in it, it must not read.
    let connection = hand.accept(&several.address.to_string());
    hand.with_identifiers.push(connection);
    hand.receive(connection, &open_of(&several, capability(true, false)));
    hand.receive(connection, &super::hand::keepalive());
    let plain = hand.establish_with(&one, &open(&one));
    hand.sent();
    hand.fib();
    (hand, [from, connection, plain])
}

fn nlri(prefix: &str, id: u32) -> Nlri {
    Nlri { prefix: prefix.parse::<IpNet>().unwrap(), path_id: Some(id) }
}

/// A path with this identifier, by way of `172.18.0.<next_hop>` and with so many ASes more than need be.
fn path(id: u32, next_hop: u8, longer: usize) -> Bytes {
    let attributes = Attributes {
        as_path: AsPath(vec![AsSegment::Sequence(vec![Asn(65007); 1 + longer])]),
        ..Attributes::local([172, 18, 0, next_hop].into())
    };
    encoded(|out: &mut BytesMut| {
        assert_eq!(encode_announcement(&attributes, &[nlri(PREFIX, id)], &CONTEXT, out), Ok(1));
    })
}

fn gone(id: u32) -> Bytes {
    encoded(|out| assert_eq!(encode_withdrawal(&[nlri(PREFIX, id)], &CONTEXT, out), 1))
}

const NOTHING: [&str; 0] = [];

#[test]
fn each_direction_needs_one_end_that_sends_and_one_that_receives() {
    for (receive, send) in [(false, false), (true, false), (false, true), (true, true)] {
        for ours in [false, true] {
            let mut config = speaker_config(&local(), &peers(), calico_timers(), false);
            config.peers[0].add_path = ours;
            let mut hand = Hand::with(config);
            hand.start();
            let peer = &peers()[0];
            hand.establish_with(peer, &open_of(peer, capability(receive, send)));
            let agreed = hand.session(0).capabilities;
            let has = |name: &str| agreed.contains(&name.to_owned());
            assert_eq!((has("ADD-PATH receive"), has("ADD-PATH send")), (ours && send, ours && receive));
        }
    }
}

#[test]
fn a_peer_has_as_many_paths_as_it_gave_identifiers() {
    let (mut hand, [from, ..]) = three();
    hand.receive(from, &path(70_000, 20, 1));
    hand.receive(from, &path(0, 21, 0));
    hand.receive(from, &path(7, 22, 2));
    assert_eq!(
        hand.fib(),
        ["+ 10.244.2.0/26 via 172.18.0.20 dev eth0 proto bird", "+ 10.244.2.0/26 via 172.18.0.21 dev eth0 proto bird"]
    );
    assert_eq!((hand.session(0).imported, hand.session(0).preferred), (3, 1));
    // The same identifier again takes the place of its path only.
    hand.receive(from, &path(7, 23, 2));
    assert_eq!((hand.session(0).imported, hand.fib()), (3, vec![]));
    // An identifier that was never there, and one that was.
    hand.receive(from, &gone(8));
    assert_eq!((hand.session(0).imported, hand.fib()), (3, vec![]));
    hand.receive(from, &gone(0));
    assert_eq!(
        (hand.session(0).imported, hand.fib()),
        (2, vec!["+ 10.244.2.0/26 via 172.18.0.20 dev eth0 proto bird".into()])
    );
    hand.event(Event::Closed { connection: from, error: None });
    assert_eq!((hand.session(0).imported, hand.paths(PREFIX)), (0, vec![]));
}

#[test]
fn paths_as_good_as_each_other_give_one_table_whatever_their_order() {
    let mut tables = Vec::new();
    for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
        let (mut hand, [from, ..]) = three();
        for id in order {
            hand.receive(from, &path(10 - id, 20 + id as u8, 0));
        }
        tables.push(hand.fib().pop().unwrap());
    }
    assert_eq!(tables, ["+ 10.244.2.0/26 via 172.18.0.21 dev eth0 proto bird"; 3]);
}

#[test]
fn who_takes_several_is_told_every_path_and_of_each_change_that_path_alone() {
    let (mut hand, [from, several, plain]) = three();
    hand.receive(from, &path(5, 20, 1));
    assert_eq!((hand.sent_on(several), hand.sent_on(plain)), {
        (vec!["+10.244.2.0/26#1".to_owned()], vec!["+10.244.2.0/26".to_owned()])
    });
    // A path that loses concerns the one who takes several. What the first path was told with is noted once there are others.
    hand.receive(from, &path(6, 21, 2));
    assert!(hand.sent_on(several).contains(&"+10.244.2.0/26#2".to_owned()));
    hand.receive(from, &path(6, 24, 4));
    hand.sent_on(several);
    assert_eq!(hand.sent_on(plain), NOTHING);
    hand.receive(from, &path(6, 22, 3));
    assert_eq!((hand.sent_on(several), hand.sent_on(plain)), (vec!["+10.244.2.0/26#2".to_owned()], vec![]));
    assert_eq!([1, 2].map(|peer| hand.session(peer).exported), [3, 2]);
    assert_eq!(hand.exported_to(1).iter().filter(|path| path.prefix == PREFIX.parse().unwrap()).count(), 2);
    // The better one goes: one withdrawal here, another path there.
    hand.receive(from, &gone(5));
    assert_eq!((hand.sent_on(several), hand.sent_on(plain)), {
        (vec!["-10.244.2.0/26#1".to_owned()], vec!["+10.244.2.0/26".to_owned()])
    });
    // Its number is free for the next one.
    hand.receive(from, &path(9, 23, 0));
    assert_eq!((hand.sent_on(several), hand.sent_on(plain).len()), (vec!["+10.244.2.0/26#1".to_owned()], 1));
    hand.event(Event::Closed { connection: from, error: None });
    assert_eq!((hand.sent_on(several), hand.sent_on(plain)), {
        (vec!["-10.244.2.0/26#1 -10.244.2.0/26#2".to_owned()], vec!["-10.244.2.0/26".to_owned()])
    });
    assert_eq!([1, 2].map(|peer| hand.session(peer).exported), [1, 1]);
}

#[test]
fn a_path_never_goes_back_to_who_sent_it_and_others_do() {
    let mut hand = speaker();
    let [first, second, _] = peers();
    let one = establish(&mut hand, &first);
    let two = hand.accept(&second.address.to_string());
    hand.with_identifiers.push(two);
    hand.receive(two, &open_of(&second, capability(true, true)));
    hand.receive(two, &super::hand::keepalive());
    hand.sent();
    hand.receive(one, &path(1, 20, 3));
    assert_eq!((hand.sent_on(one), hand.sent_on(two)), (vec![], vec!["+10.244.2.0/26#1".to_owned()]));
    hand.receive(two, &path(1, 21, 0));
    assert_eq!(hand.sent_on(one), ["+10.244.2.0/26#2"], "the second's is better, and all that the first does not know");
    assert!(!hand.sent_on(two).iter().any(|told| told.contains("#2")));
}

#[test]
fn a_path_without_a_way_to_its_next_hop_is_told_once_there_is_one() {
    let (mut hand, [from, several, _]) = three();
    let beyond = Attributes {
        as_path: AsPath(vec![AsSegment::Sequence(vec![Asn(65007); 4])]),
        ..Attributes::local([10, 9, 9, 9].into())
    };
    hand.receive(from, &path(1, 20, 0));
    hand.receive(from, &encoded(|out| drop(encode_announcement(&beyond, &[nlri(PREFIX, 2)], &CONTEXT, out))));
    assert!(!hand.sent_on(several).iter().any(|told| told.contains("#2")));
    hand.event(Event::Kernel(kernel(local().address, &["default via 172.18.0.1 dev eth0"])));
    assert!(hand.sent_on(several).iter().any(|told| told.contains("+10.244.2.0/26#2")));
    hand.event(Event::Kernel(kernel(local().address, &[])));
    assert_eq!(hand.sent_on(several)[0], "-10.244.2.0/26#2");
}

#[test]
fn a_refresh_and_a_restart_know_each_path_by_itself() {
    let refresh = |kind| encoded(|out| encode_route_refresh(Family::Ipv4Unicast, kind, out));
    let (mut hand, [from, several, _]) = three();
    hand.receive(from, &path(1, 20, 0));
    hand.receive(from, &path(2, 21, 1));
    hand.sent();
    hand.receive(from, &refresh(RefreshKind::Begin));
    hand.receive(from, &path(2, 21, 1));
    assert_eq!(hand.sent_on(several), NOTHING);
    hand.receive(from, &refresh(RefreshKind::End));
    assert_eq!((hand.session(0).imported, hand.sent_on(several)), (1, vec!["-10.244.2.0/26#1".to_owned()]));
    // Asked for, everything comes again.
    hand.receive(several, &refresh(RefreshKind::Request));
    assert_eq!(hand.sent_on(several), ["refresh Begin", "+10.244.1.0/26#1", "+10.244.2.0/26#2", "refresh End"]);
}

#[test]
fn a_restart_that_forgets_one_of_two_paths_loses_that_one() {
    let source = &peers()[0];
    let mut hand = speaker();
    let both = |restarting| {
        let mut open = open_restarting(source, restarting, 120, Some(true)).to_vec();
        // One more capability in the one parameter of capabilities: its length, that of all parameters, the message's.
        let add_path = [69, 4, 0, 1, 1, 3];
        open.extend(add_path);
        open[17] += 6;
        open[28] += 6;
        open[30] += 6;
        open
    };
    let from = hand.establish_with(source, &both(false));
    hand.receive(from, &path(1, 20, 0));
    hand.receive(from, &path(2, 21, 1));
    hand.receive(from, &end_of_rib());
    hand.fib();
    hand.event(Event::Closed { connection: from, error: None });
    assert_eq!((hand.session(0).imported, hand.fib()), (2, vec![]));
    let from = hand.establish_with(source, &both(true));
    hand.receive(from, &path(2, 21, 1));
    assert_eq!(hand.fib(), NOTHING);
    hand.receive(from, &end_of_rib());
    assert_eq!(
        (hand.session(0).imported, hand.fib()),
        (1, vec!["+ 10.244.2.0/26 via 172.18.0.21 dev eth0 proto bird".into()])
    );
}
