//! IPv6 unicast (RFC 4760, RFC 2545): one speaker, which speaks IPv6 over IPv6 as Calico's second BIRD does.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;

use super::hand::{Hand, announce, encoded, internal, keepalive, notification, withdraw};
use super::{TestNode, calico_timers, node, speaker_config};
use crate::bgp::config::{ExportPolicy, PolicyConfig, SpeakerConfig};
use crate::bgp::event::{ConnectionId, Event, KernelSnapshot};
use crate::bgp::view::State;
use crate::bgp::wire::{
    self, AddPathMode, AsPath, AsSegment, Attributes, Capability, Context, Family, Message, Nlri, Open, RefreshKind,
};
use crate::net::{Asn, BgpIdentifier, IfName};

const LOCAL: &str = "2001:db8::2";
const OWN: &str = "2001:db8:1::/48";

/// The addresses are the peers' identifiers; they are reached by the same numbers in IPv6.
fn peers() -> [TestNode; 2] {
    [node("172.18.0.3", 64512, &[]), node("172.18.0.9", 65001, &[])]
}

fn address(peer: &TestNode) -> IpAddr {
    format!("2001:db8::{}", peer.address.octets()[3]).parse().unwrap()
}

/// A router with a network of its own, an internal peer and an external one.
fn config() -> SpeakerConfig {
    let mut config = speaker_config(&node("172.18.0.2", 64512, &[]), &peers(), calico_timers(), false);
    config.family = Family::Ipv6Unicast;
    config.statics = vec![OWN.parse().unwrap()];
    config.policy = PolicyConfig {
        export: ExportPolicy::Router { networks: vec![OWN.parse().unwrap()], transit: true },
        ..PolicyConfig::default()
    };
    for (config, peer) in config.peers.iter_mut().zip(peers()) {
        config.remote = address(&peer);
        config.local = Some(LOCAL.parse().unwrap());
    }
    config
}

fn started(config: SpeakerConfig) -> Hand {
    let mut hand = Hand::with(config);
    hand.event(Event::Start { recovering: false });
    let addresses = ["172.18.0.2/16", "2001:db8::2/64", "fe80::2/64"].map(|net| net.parse().unwrap());
    hand.event(Event::Kernel(KernelSnapshot {
        interfaces: vec![(IfName::eth(0), addresses.into())],
        routes: vec!["10.0.0.0/8 via 172.18.0.1 dev eth0".parse().unwrap()],
    }));
    hand
}

fn open(peer: &TestNode, more: &[Capability]) -> Bytes {
    let capabilities = [&[Capability::FourOctetAs(peer.asn), Capability::RouteRefresh], more].concat();
    let open = Open { asn: peer.asn, hold_time: 240, identifier: BgpIdentifier(peer.address), capabilities };
    encoded(|out| wire::encode_open(&open, out))
}

const IPV6: Capability = Capability::Multiprotocol(Family::Ipv6Unicast);

fn accept(hand: &mut Hand, peer: &TestNode) -> ConnectionId {
    let connection = hand.speaker.next_connection();
    let remote = SocketAddr::new(address(peer), 40_000);
    hand.event(Event::Accepted { connection, remote, local: LOCAL.parse().unwrap() });
    connection
}

fn establish(hand: &mut Hand, peer: &TestNode, more: &[Capability]) -> ConnectionId {
    let connection = accept(hand, peer);
    hand.receive(connection, &open(peer, &[&[IPV6], more].concat()));
    hand.receive(connection, &keepalive());
    connection
}

fn both() -> (Hand, [ConnectionId; 2]) {
    let mut hand = started(config());
    let connections = peers().map(|peer| establish(&mut hand, &peer, &[]));
    (hand, connections)
}

fn external() -> Attributes {
    let as_path = AsPath(vec![AsSegment::Sequence(vec![Asn(65001)])]);
    Attributes { as_path, ..Attributes::local("2001:db8::9".parse().unwrap()) }
}

fn end_of_rib(family: Family) -> Bytes {
    encoded(|out| wire::encode_end_of_rib(family, out))
}

#[test]
fn both_ends_agree_on_ipv6_and_the_own_network_goes_out_with_the_sessions_address() {
    let (mut hand, [inside, _]) = both();
    assert_eq!(hand.session(0).state, State::Established);
    assert_eq!(hand.session(0).capabilities[0], "IPv6 unicast");
    assert_eq!(hand.sent_on(inside), ["OPEN", "KEEPALIVE", &format!("+{OWN}"), "End-of-RIB"]);
    let open = hand.messages.iter().find_map(|message| match message {
        Message::Open(open) => Some(open.capabilities.clone()),
        _ => None,
    });
    assert_eq!(open.unwrap()[0], IPV6);
    let updates: Vec<_> =
        hand.messages.iter().filter_map(|m| if let Message::Update(u) = m { Some(u) } else { None }).collect();
    assert_eq!(updates[0].attributes.as_ref().unwrap().next_hop.to_string(), LOCAL);
    assert_eq!(updates[1].end_of_rib, Some(Family::Ipv6Unicast));
}

#[test]
fn a_route_is_selected_told_on_and_withdrawn_and_the_kernel_is_left_alone() {
    let (mut hand, [inside, outside]) = both();
    hand.sent();
    hand.receive(outside, &announce(&external(), &["2001:db8:9::/48"]));
    assert_eq!(hand.paths("2001:db8:9::/48"), [("Mesh_172_18_0_9".to_owned(), None)]);
    assert_eq!(hand.sent_on(inside), ["+2001:db8:9::/48"]);
    let told = hand.exported_to(0).into_iter().find(|path| path.prefix == "2001:db8:9::/48".parse().unwrap());
    assert_eq!(told.unwrap().bgp.unwrap().next_hop.to_string(), "2001:db8::9", "as it came: the peer is internal");
    hand.receive(inside, &announce(&internal("2001:db8::3"), &["2001:db8:3::/48"]));
    assert_eq!(hand.sent_on(outside), ["+2001:db8:3::/48"]);
    let told = hand.exported_to(1).into_iter().find(|path| path.prefix == "2001:db8:3::/48".parse().unwrap());
    assert_eq!(told.unwrap().bgp.unwrap().next_hop.to_string(), LOCAL, "the peer is external");
    hand.receive(outside, &withdraw(&["2001:db8:9::/48"]));
    assert_eq!(hand.sent_on(inside), ["-2001:db8:9::/48"]);
    assert_eq!(hand.fib(), Vec::<String>::new(), "the fabric has no IPv6 yet");
}

#[test]
fn a_next_hop_is_looked_up_in_ipv6() {
    let (mut hand, [inside, outside]) = both();
    hand.sent();
    let far = Attributes { next_hop: "2001:db8:77::1".parse().unwrap(), ..internal("2001:db8::3") };
    hand.receive(inside, &announce(&far, &["2001:db8:3::/48"]));
    assert!(hand.paths("2001:db8:3::/48")[0].1.as_ref().unwrap().contains("unreachable"));
    assert_eq!(hand.sent_on(outside), Vec::<String>::new());
    assert!(hand.paths("2001:db8::/64").len() == 1 && hand.paths("fe80::/64").is_empty());
    assert!(hand.paths("172.18.0.0/16").is_empty() && hand.paths("10.0.0.0/8").is_empty(), "one family");
}

#[test]
fn a_peer_that_does_not_list_ipv6_is_told_what_it_lacks() {
    let mut hand = started(config());
    let [inside, outside] = peers();
    for (peer, listed) in [(inside, vec![]), (outside, vec![Capability::Multiprotocol(Family::Ipv4Unicast)])] {
        let connection = accept(&mut hand, &peer);
        hand.receive(connection, &open(&peer, &listed));
        assert_eq!(hand.sent_on(connection).pop().unwrap(), "2/7");
        let Some(Message::Notification(last)) = hand.messages.last() else { panic!("a NOTIFICATION") };
        assert_eq!(&last.data[..], [1, 4, 0, 2, 0, 1]);
    }
    assert!(hand.session(0).last_error.unwrap().to_lowercase().contains("capability"));
}

#[test]
fn what_is_said_of_ipv4_is_ignored() {
    let (mut hand, [inside, _]) = both();
    hand.sent();
    hand.receive(inside, &announce(&internal("172.18.0.3"), &["10.244.2.0/26"]));
    assert!(hand.paths("10.244.2.0/26").is_empty());
    hand.receive(inside, &end_of_rib(Family::Ipv4Unicast));
    assert!(!hand.session(0).end_of_rib_received);
    hand.receive(inside, &end_of_rib(Family::Ipv6Unicast));
    assert!(hand.session(0).end_of_rib_received);
    hand.receive(inside, &encoded(|out| wire::encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request, out)));
    assert_eq!(hand.sent(), Vec::<String>::new());
    hand.receive(inside, &encoded(|out| wire::encode_route_refresh(Family::Ipv6Unicast, RefreshKind::Request, out)));
    assert_eq!(hand.sent(), [format!("+{OWN}")]);
}

#[test]
fn several_paths_of_a_prefix_go_out_where_that_was_agreed_on() {
    let mut config = config();
    config.peers.iter_mut().for_each(|peer| peer.add_path = true);
    let mut hand = started(config);
    let [inside, outside] = peers();
    let mode = AddPathMode { receive: true, send: true };
    let with_paths = hand.speaker.next_connection();
    hand.with_identifiers.push(ConnectionId(with_paths.0 + 1));
    let inside = establish(&mut hand, &inside, &[Capability::AddPath(vec![(Family::Ipv6Unicast, mode)])]);
    let outside = establish(&mut hand, &outside, &[]);
    hand.sent();
    let context = Context { four_octet_as: true, add_path_send_v6: true, ..Context::default() };
    for (path, next_hop) in [(1, "2001:db8::3"), (2, "2001:db8::4")] {
        let nlri = [Nlri { path_id: Some(path), ..Nlri::from("2001:db8:3::/48".parse::<ipnet::IpNet>().unwrap()) }];
        let bytes = encoded(|out| {
            assert_eq!(wire::encode_announcement(&internal(next_hop), &nlri, &context, out).ok(), Some(1))
        });
        hand.receive(inside, &bytes);
    }
    assert_eq!(hand.paths("2001:db8:3::/48").len(), 2);
    assert_eq!(hand.sent_on(outside), ["+2001:db8:3::/48"]);
    hand.receive(outside, &announce(&external(), &["2001:db8:9::/48"]));
    assert_eq!(hand.sent_on(inside), ["+2001:db8:9::/48#1"]);
}

#[test]
fn the_routes_of_a_peer_that_restarts_stay_if_it_has_kept_ipv6() {
    for (kept, paths) in [(Family::Ipv6Unicast, 1), (Family::Ipv4Unicast, 0)] {
        let mut hand = started(config());
        let [inside, _] = peers();
        let restart = Capability::GracefulRestart { restarting: false, time: 120, families: vec![(kept, true)] };
        let connection = establish(&mut hand, &inside, &[restart]);
        hand.receive(connection, &announce(&internal("2001:db8::3"), &["2001:db8:3::/48"]));
        hand.event(Event::Closed { connection, error: None });
        assert_eq!(hand.paths("2001:db8:3::/48").len(), paths, "{kept:?}");
        hand.pass(Duration::from_secs(121));
        assert!(hand.paths("2001:db8:3::/48").is_empty());
    }
}

#[test]
fn a_notification_ends_it_as_any_session() {
    let (mut hand, [inside, _]) = both();
    hand.receive(inside, &announce(&internal("2001:db8::3"), &["2001:db8:3::/48"]));
    hand.receive(inside, &notification(6, 2));
    assert!(hand.paths("2001:db8:3::/48").is_empty());
}
