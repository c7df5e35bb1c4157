//! Routes through one speaker: in, out, and into the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::BytesMut;
use ipnet::IpNet;

use super::hand::{Hand, LOCAL, announce, encoded, internal, keepalive, local, open, withdraw};
use super::{TestNode, calico_timers, kernel, node, speaker_config};
use crate::bgp::event::{Event, KernelSnapshot};
use crate::bgp::view::State;
use crate::bgp::wire::{AsPath, AsSegment, Attributes, Family, RefreshKind, encode_end_of_rib, encode_route_refresh};
use crate::net::{Asn, Filter, FilterRule, IfName};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 2);

fn internal_peer() -> TestNode {
    node("172.18.0.3", 64512, &[])
}

fn external_peer() -> TestNode {
    node("172.18.0.9", 65001, &[])
}

fn external(path: &[u32]) -> Attributes {
    let numbers = path.iter().copied().map(Asn).collect();
    Attributes {
        as_path: AsPath(vec![AsSegment::Sequence(numbers)]),
        ..Attributes::local("172.18.0.9".parse().unwrap())
    }
}

/// A speaker with an internal and an external session, both up, and nothing left to see of how they came up.
fn both() -> (Hand, [crate::bgp::event::ConnectionId; 2]) {
    let peers = [internal_peer(), external_peer()];
    let mut hand = Hand::started(&peers);
    let connections = peers.each_ref().map(|peer| hand.establish(peer));
    hand.sent();
    hand.fib();
    (hand, connections)
}

#[test]
fn the_own_block_is_a_blackhole_from_the_start() {
    let mut hand = Hand::new(&[internal_peer()]);
    hand.start();
    assert_eq!(hand.fib(), ["+ blackhole 10.244.1.0/26 proto bird"]);
}

#[test]
fn an_announcement_reaches_kernel_and_peers_and_a_withdrawal_takes_it_back() {
    let (mut hand, [inside, outside]) = both();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26", "10.244.3.0/26"]));
    assert_eq!(
        hand.fib(),
        ["+ 10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird", "+ 10.244.3.0/26 via 172.18.0.3 dev eth0 proto bird"]
    );
    assert_eq!(hand.sent_on(inside), Vec::<String>::new());
    assert_eq!(hand.sent_on(outside), ["+10.244.2.0/26 +10.244.3.0/26"]);
    hand.receive(inside, &withdraw(&["10.244.2.0/26"]));
    assert_eq!(hand.fib(), ["- 10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird"]);
    assert_eq!(hand.sent_on(outside), ["-10.244.2.0/26"]);
    let session = hand.session(0);
    assert_eq!((session.imported, session.preferred, session.exported), (1, 1, 1));
}

#[test]
fn an_announcement_takes_the_place_of_the_peers_last_one() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    hand.fib();
    hand.receive(inside, &announce(&internal("172.18.0.8"), &["10.244.2.0/26"]));
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.8 dev eth0 proto bird"]);
    assert_eq!(hand.session(0).imported, 1);
    hand.receive(inside, &announce(&internal("172.18.0.8"), &["10.244.2.0/26"]));
    assert_eq!((hand.fib(), hand.sent().len()), (vec![], 2));
}

#[test]
fn the_better_of_two_paths_wins_and_the_other_one_steps_in() {
    let (mut hand, [inside, outside]) = both();
    hand.receive(outside, &announce(&external(&[65001]), &["10.244.2.0/26"]));
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    assert_eq!(
        hand.paths("10.244.2.0/26"),
        [
            ("Mesh_172_18_0_3".to_owned(), None),
            ("Mesh_172_18_0_9".to_owned(), Some("AS path is longer (RFC 4271 §9.1.2.2 a)".to_owned()))
        ]
    );
    hand.fib();
    hand.event(Event::Closed { connection: inside, error: None });
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.9 dev eth0 proto bird"]);
    assert_eq!(hand.paths("10.244.2.0/26"), [("Mesh_172_18_0_9".to_owned(), None)]);
}

#[test]
fn a_path_with_our_own_as_is_a_withdrawal() {
    let (mut hand, [_, outside]) = both();
    hand.receive(outside, &announce(&external(&[65001]), &["10.244.2.0/26"]));
    hand.fib();
    hand.receive(outside, &announce(&external(&[65001, 64512]), &["10.244.2.0/26"]));
    assert_eq!(hand.fib(), ["- 10.244.2.0/26 via 172.18.0.9 dev eth0 proto bird"]);
    assert_eq!(hand.paths("10.244.2.0/26"), []);
}

#[test]
fn a_static_or_direct_route_keeps_a_learned_one_out_of_the_kernel() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.1.0/26", "172.18.0.0/16"]));
    assert_eq!(hand.fib(), Vec::<String>::new());
    let lost = Some("protocol preference is lower".to_owned());
    assert_eq!(
        hand.paths("172.18.0.0/16"),
        [("direct1".to_owned(), None), ("Mesh_172_18_0_3".to_owned(), lost.clone())]
    );
    assert_eq!(hand.paths("10.244.1.0/26")[1], ("Mesh_172_18_0_3".to_owned(), lost));
}

#[test]
fn next_hops_are_resolved_again_when_the_kernel_changes() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("10.0.0.7"), &["10.244.2.0/26"]));
    assert_eq!(hand.fib(), Vec::<String>::new());
    assert_eq!(hand.paths("10.244.2.0/26")[0].1.as_deref(), Some("next hop is unreachable (RFC 4271 §9.1.2.1)"));
    hand.event(Event::Kernel(kernel(ADDRESS, &["default via 172.18.0.1 dev eth0"])));
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.1 dev eth0 proto bird"]);
    hand.event(Event::Kernel(kernel(ADDRESS, &["default via 172.18.0.5 dev eth0"])));
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.5 dev eth0 proto bird"]);
    hand.event(Event::Kernel(kernel(ADDRESS, &[])));
    assert_eq!(hand.fib(), ["- 10.244.2.0/26 via 172.18.0.5 dev eth0 proto bird"]);
}

#[test]
fn a_route_that_the_kernel_lost_is_written_again_but_not_before_it_was_seen() {
    let mut hand = Hand::started(&[internal_peer()]);
    hand.fib();
    let without = kernel(ADDRESS, &[]);
    let with = kernel(ADDRESS, &["blackhole 10.244.1.0/26 proto bird"]);
    hand.event(Event::Kernel(without.clone()));
    assert_eq!(hand.fib(), Vec::<String>::new());
    hand.event(Event::Kernel(with));
    hand.event(Event::Kernel(without.clone()));
    assert_eq!(hand.fib(), ["+ blackhole 10.244.1.0/26 proto bird"]);
    hand.event(Event::Kernel(without));
    assert_eq!(hand.fib(), Vec::<String>::new());
}

#[test]
fn a_route_that_the_kernel_refused_says_so_until_it_is_there() {
    let mut hand = Hand::started(&[internal_peer()]);
    let prefix: IpNet = "10.244.1.0/26".parse().unwrap();
    let failed = |hand: &Hand| hand.speaker.paths(hand.now, Some(prefix))[0].kernel_failed;
    assert!(!failed(&hand));
    hand.event(Event::FibFailed { dst: prefix });
    assert!(failed(&hand));
    hand.event(Event::Kernel(kernel(ADDRESS, &["blackhole 10.244.1.0/26 proto bird"])));
    assert!(!failed(&hand));
}

#[test]
fn a_borrowed_address_is_announced_while_the_kernel_has_it() {
    let (mut hand, [inside, _]) = both();
    let borrowed = kernel(ADDRESS, &["10.244.9.9 dev cali12345678901 scope link", "10.244.1.1 dev cali2 scope link"]);
    hand.event(Event::Kernel(borrowed));
    assert_eq!(hand.sent_on(inside), ["+10.244.9.9/32"]);
    hand.event(Event::Kernel(kernel(ADDRESS, &[])));
    assert_eq!(hand.sent_on(inside), ["-10.244.9.9/32"]);
}

#[test]
fn a_tunnel_device_that_appears_takes_the_routes_of_its_pool() {
    let mut config = speaker_config(&local(), &[internal_peer()], calico_timers(), false);
    let tunl0 = IfName::new("tunl0").unwrap();
    config.policy.pools[0].kernel = crate::bgp::KernelRule::Tunnel { dev: tunl0.clone(), unless: None };
    let mut hand = Hand::with(config);
    hand.start();
    let inside = hand.establish(&internal_peer());
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    hand.fib();
    let mut snapshot = kernel(ADDRESS, &[]);
    snapshot.interfaces.push((tunl0, vec!["10.244.1.0/32".parse().unwrap()]));
    hand.event(Event::Kernel(snapshot));
    assert_eq!(hand.fib(), ["+ 10.244.2.0/26 via 172.18.0.3 dev tunl0 proto bird onlink"]);
}

#[test]
fn end_of_rib_follows_the_table_and_is_awaited_from_who_announced_graceful_restart() {
    let mut hand = Hand::started(&[internal_peer()]);
    let connection = hand.establish(&internal_peer());
    assert_eq!(hand.sent(), ["OPEN", "KEEPALIVE", "+10.244.1.0/26", "End-of-RIB"]);
    // The OPEN made by hand has no graceful restart.
    assert!(hand.speaker.progress().all(|peer| !peer.end_of_rib_awaited && peer.is_converged()));
    hand.receive(connection, &encoded(|out| encode_end_of_rib(Family::Ipv4Unicast, out)));
    assert!(hand.session(0).end_of_rib_received);
    hand.event(Event::Closed { connection, error: None });
    assert!(!hand.session(0).end_of_rib_received);
}

fn refresh(kind: RefreshKind) -> bytes::Bytes {
    encoded(|out| encode_route_refresh(Family::Ipv4Unicast, kind, out))
}

#[test]
fn what_is_not_announced_again_between_begin_and_end_of_a_refresh_is_gone() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26", "10.244.3.0/26"]));
    hand.fib();
    hand.receive(inside, &refresh(RefreshKind::Begin));
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.3.0/26"]));
    assert_eq!(hand.fib(), Vec::<String>::new());
    hand.receive(inside, &refresh(RefreshKind::End));
    assert_eq!(hand.fib(), ["- 10.244.2.0/26 via 172.18.0.3 dev eth0 proto bird"]);
    hand.receive(inside, &refresh(RefreshKind::End));
    assert_eq!(hand.fib(), Vec::<String>::new());
}

#[test]
fn a_peer_that_reads_nothing_is_told_the_last_word_only() {
    let peers = [internal_peer(), external_peer()];
    let mut hand = Hand::started(&peers);
    let inside = hand.establish(&peers[0]);
    // Carry out nothing for the external peer: its driver's socket is full.
    let outside = hand.speaker.next_connection();
    let remote = "172.18.0.9:40000".parse().unwrap();
    let now = hand.now;
    hand.speaker.handle_event(now, Event::Accepted { connection: outside, remote, local: LOCAL });
    for bytes in [open(&peers[1]), keepalive()] {
        hand.speaker.handle_event(now, Event::Received { connection: outside, bytes: &bytes });
    }
    for _ in 0..100 {
        hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26", "10.244.3.0/26"]));
        hand.receive(inside, &withdraw(&["10.244.3.0/26"]));
        // Two blocks of ours and the peer's, one that is gone, End-of-RIB; the connected network is for nobody.
        assert_eq!(hand.session(1).pending, 4);
    }
    let mut out = BytesMut::new();
    while hand.speaker.poll_transmit(now, outside, &mut out, 1) {}
    assert_eq!((hand.session(1).exported, hand.session(1).pending), (2, 0));
    // OPEN, KEEPALIVE, one UPDATE for each of two sets of attributes, End-of-RIB.
    assert_eq!(hand.session(1).messages.updates_sent, 3);
}

#[test]
fn a_table_that_fills_many_messages_arrives_whole_and_leaves_whole() {
    let (mut hand, [inside, outside]) = both();
    let prefixes: Vec<String> = (0..5000).map(|i| format!("10.244.{}.{}/32", 64 + i / 256, i % 256)).collect();
    for chunk in prefixes.chunks(500) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        hand.receive(inside, &announce(&internal("172.18.0.3"), &chunk));
    }
    assert_eq!((hand.session(0).imported, hand.session(1).exported), (5000, 5001));
    let again = hand.sent_on(outside).len();
    hand.receive(outside, &refresh(RefreshKind::Request));
    let all: usize = hand.sent_on(outside).iter().map(|message| message.matches('+').count()).sum();
    assert_eq!((again, all), (10, 5001));
    hand.fib();
    hand.event(Event::Closed { connection: inside, error: None });
    assert_eq!(hand.fib().len(), 5000);
    let gone: usize = hand.sent_on(outside).iter().map(|message| message.matches('-').count()).sum();
    assert_eq!((gone, hand.session(1).exported), (5000, 1));
}

#[test]
fn a_session_that_sends_restarts_its_keepalive_timer() {
    let (mut hand, [inside, outside]) = both();
    hand.pass(Duration::from_secs(50));
    hand.receive(outside, &keepalive());
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    let (_, left) = hand.session(1).keepalive.unwrap();
    assert!(left >= 60_000, "{left}");
    assert_eq!(hand.state(), State::Established);
}

#[test]
fn the_view_of_a_path_has_its_attributes() {
    let (mut hand, [_, outside]) = both();
    let attributes = Attributes { med: Some(7), communities: vec![64512 << 16 | 100], ..external(&[65001, 65002]) };
    hand.receive(outside, &announce(&attributes, &["10.244.2.0/26"]));
    let path = hand.speaker.paths(hand.now, Some("10.244.2.0/26".parse().unwrap())).remove(0);
    let from: IpAddr = "172.18.0.9".parse().unwrap();
    assert_eq!((path.from, path.gateway, path.dev), (Some(from), Some(from), Some(IfName::eth(0))));
    let bgp = path.bgp.unwrap();
    assert_eq!((bgp.origin.as_str(), bgp.as_path.as_str(), bgp.med), ("IGP", "65001 65002", Some(7)));
    assert_eq!((bgp.communities, bgp.igp_metric, bgp.next_hop), (vec!["64512:100".to_owned()], Some(0), from));
}

#[test]
fn what_a_peer_was_told_is_shown_with_the_attributes_that_it_was_told_with() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    hand.sent();
    let told = hand.exported_to(1);
    let lines: Vec<String> = told
        .iter()
        .map(|path| {
            let bgp = path.bgp.as_ref().unwrap();
            format!("{} {} [{}] {} {:?}", path.prefix, path.protocol, bgp.as_path, bgp.next_hop, bgp.local_pref)
        })
        .collect();
    assert_eq!(
        lines,
        ["10.244.1.0/26 static1 [64512] 172.18.0.2 None", "10.244.2.0/26 Mesh_172_18_0_3 [64512] 172.18.0.2 None"]
    );
}

/// A namespace in which 10.9.0.0/16 is reached over `dev`.
fn over(dev: &str) -> KernelSnapshot {
    let mut snapshot = kernel(ADDRESS, &[&format!("10.9.0.0/16 via 172.18.0.1 dev {dev} proto static")]);
    snapshot.interfaces.push((IfName::eth(1), vec!["172.19.0.2/16".parse().unwrap()]));
    snapshot.interfaces.push((IfName::new("vxlan.calico").unwrap(), vec!["10.250.1.0/32".parse().unwrap()]));
    snapshot
}

#[test]
fn a_filter_by_interface_is_asked_again_when_the_way_changes() {
    let peers = [internal_peer(), external_peer()];
    let mut config = speaker_config(&local(), &peers, calico_timers(), false);
    let eth1 = FilterRule { accept: true, interface: Some("eth1".into()), ..FilterRule::default() };
    config.peers[1].export_filters = vec![Filter { name: "eth1".into(), rules: vec![eth1, FilterRule::default()] }];
    let mut hand = Hand::with(config);
    hand.start();
    let [inside, outside] = peers.each_ref().map(|peer| hand.establish(peer));
    hand.event(Event::Kernel(over("eth0")));
    hand.receive(inside, &announce(&internal("10.9.1.1"), &["10.244.2.0/26"]));
    hand.sent();
    hand.event(Event::Kernel(over("eth1")));
    // The kernel's route goes that way, too.
    assert_eq!(hand.sent_on(outside), ["+10.9.0.0/16", "+10.244.2.0/26"]);
    hand.event(Event::Kernel(over("eth0")));
    assert_eq!(hand.sent_on(outside), ["-10.244.2.0/26 -10.9.0.0/16"]);
}

#[test]
fn a_static_route_that_comes_to_lead_into_a_tunnel_is_taken_back_from_internal_peers() {
    let peers = [internal_peer(), external_peer()];
    let mut config = speaker_config(&local(), &peers, calico_timers(), false);
    config.reachable_by = vec![("10.244.9.9/32".parse().unwrap(), "10.9.1.1".parse().unwrap())];
    let mut hand = Hand::with(config);
    hand.start();
    hand.event(Event::Kernel(over("eth0")));
    let [inside, _] = peers.each_ref().map(|peer| hand.establish(peer));
    assert!(hand.sent_on(inside).iter().any(|sent| sent.contains("+10.244.9.9/32")));
    hand.event(Event::Kernel(over("vxlan.calico")));
    assert_eq!(hand.sent_on(inside), ["-10.244.9.9/32"]);
    hand.event(Event::Kernel(over("eth0")));
    assert_eq!(hand.sent_on(inside), ["+10.244.9.9/32"]);
}
