//! RFC 4271 §9.1: the decision as peers bring it about. Each clause decides between two paths that are equal up to it, whichever came
//! first, and the loser says why it lost. (`rib::decision` has each clause against everything that speaks for the other path.)

use std::net::Ipv4Addr;

use super::super::hand::{Hand, announce, local};
use super::super::{TestNode, calico_timers, kernel, node, speaker_config};
use crate::bgp::event::{ConnectionId, Event};
use crate::bgp::wire::{AsPath, AsSegment, Attributes, Origin};
use crate::net::{Asn, BgpIdentifier};

const PREFIX: &str = "10.244.2.0/26";

/// Two internal peers and two of AS 65001: names in [`Case`] are indices.
fn peers() -> [TestNode; 4] {
    [("172.18.0.3", 64512), ("172.18.0.4", 64512), ("172.18.0.8", 65001), ("172.18.0.9", 65001)]
        .map(|(address, asn)| node(address, asn, &[]))
}

fn speaker() -> (Hand, Vec<ConnectionId>) {
    let mut hand = Hand::with(speaker_config(&local(), &peers(), calico_timers(), false));
    hand.start();
    // 10.9.0.0/16 is beyond a router, of whose routes no metric is known.
    hand.event(Event::Kernel(kernel(local().address, &["10.9.0.0/16 via 172.18.0.1 dev eth0"])));
    let connections = peers().iter().map(|peer| hand.establish(peer)).collect();
    (hand, connections)
}

fn path(numbers: &[u32]) -> AsPath {
    match numbers {
        [] => AsPath::default(),
        _ => AsPath(vec![AsSegment::Sequence(numbers.iter().copied().map(Asn).collect())]),
    }
}

/// A path by way of 172.18.0.5 with two ASes behind it, but for what `change` does.
fn attributes(change: impl FnOnce(&mut Attributes)) -> Attributes {
    let mut attributes = Attributes {
        as_path: path(&[65001, 65002]),
        local_pref: Some(100),
        ..Attributes::local("172.18.0.5".parse().unwrap())
    };
    change(&mut attributes);
    attributes
}

fn identifier(text: &str) -> BgpIdentifier {
    BgpIdentifier(text.parse::<Ipv4Addr>().unwrap())
}

/// The better path wins, and the worse one lost for `reason`: in either order of coming.
fn assert_decides(reason: &str, better: (usize, Attributes), worse: (usize, Attributes)) {
    let name = |peer: usize| format!("Mesh_{}", peers()[peer].address.to_string().replace('.', "_"));
    for first in [&better, &worse] {
        let (mut hand, connections) = speaker();
        for (peer, attributes) in [first, if std::ptr::eq(first, &better) { &worse } else { &better }] {
            hand.receive(connections[*peer], &announce(attributes, &[PREFIX]));
        }
        let expected = [(name(better.0), None), (name(worse.0), Some(reason.to_owned()))];
        assert_eq!(hand.paths(PREFIX), expected);
    }
}

#[test]
fn a_way_to_the_next_hop_comes_first() {
    let lost = attributes(|a| (a.local_pref, a.next_hop) = (Some(900), "10.77.0.1".parse().unwrap()));
    assert_decides("next hop is unreachable (RFC 4271 §9.1.2.1)", (0, attributes(|_| {})), (1, lost));
}

#[test]
fn then_local_preference_which_an_external_peer_cannot_set() {
    let reason = "local preference is lower (RFC 4271 §9.1.1)";
    assert_decides(reason, (1, attributes(|a| a.local_pref = Some(101))), (0, attributes(|a| a.as_path = path(&[]))));
    // An external peer's LOCAL_PREF is dropped, and 100 assumed.
    assert_decides(
        reason,
        (0, attributes(|a| a.local_pref = Some(101))),
        (2, attributes(|a| a.local_pref = Some(900))),
    );
}

#[test]
fn then_the_length_of_the_as_path_in_which_a_set_is_one() {
    let reason = "AS path is longer (RFC 4271 §9.1.2.2 a)";
    let set = AsSegment::Set([65003, 65004, 65005].map(Asn).to_vec());
    let with_set = AsPath(vec![AsSegment::Sequence(vec![Asn(65001)]), set]);
    assert_decides(
        reason,
        (1, attributes(|a| (a.as_path, a.origin) = (with_set, Origin::Incomplete))),
        (0, attributes(|a| a.as_path = path(&[65001, 65002, 65003]))),
    );
}

#[test]
fn then_origin() {
    let reason = "origin is worse (RFC 4271 §9.1.2.2 b)";
    let origin = |origin| attributes(|a| a.origin = origin);
    assert_decides(reason, (1, attributes(|a| a.med = Some(9))), (0, origin(Origin::Egp)));
    assert_decides(reason, (1, origin(Origin::Egp)), (0, origin(Origin::Incomplete)));
}

#[test]
fn then_med_between_routes_of_one_neighbour_as_and_only_there() {
    let reason = "MED is higher (RFC 4271 §9.1.2.2 c)";
    assert_decides(reason, (1, attributes(|a| a.med = None)), (2, attributes(|a| a.med = Some(1))));
    let of_another = attributes(|a| (a.as_path, a.med) = (path(&[65009, 65002]), Some(1)));
    assert_decides(
        "originator or router ID is higher (RFC 4271 §9.1.2.2 f, RFC 4456 §9)",
        (0, of_another),
        (1, attributes(|_| {})),
    );
}

#[test]
fn then_external_before_internal() {
    let reason = "it is internal, the best is external (RFC 4271 §9.1.2.2 d)";
    assert_decides(reason, (3, attributes(|a| a.next_hop = "10.9.0.1".parse().unwrap())), (0, attributes(|_| {})));
}

#[test]
fn then_the_distance_to_the_next_hop_an_unknown_one_being_the_greatest() {
    let reason = "next hop is farther (RFC 4271 §9.1.2.2 e)";
    assert_decides(reason, (1, attributes(|_| {})), (0, attributes(|a| a.next_hop = "10.9.0.1".parse().unwrap())));
}

#[test]
fn then_the_originator_or_the_peers_identifier() {
    let reason = "originator or router ID is higher (RFC 4271 §9.1.2.2 f, RFC 4456 §9)";
    assert_decides(reason, (0, attributes(|_| {})), (1, attributes(|_| {})));
    let reflected = attributes(|a| {
        a.originator_id = Some(identifier("10.0.0.1"));
        a.cluster_list = vec![identifier("1.0.0.1"); 3];
    });
    assert_decides(reason, (1, reflected), (0, attributes(|_| {})));
}

#[test]
fn then_the_length_of_the_cluster_list() {
    let reflected = |clusters| {
        attributes(|a| {
            a.originator_id = Some(identifier("10.0.0.1"));
            a.cluster_list = vec![identifier("1.0.0.1"); clusters];
        })
    };
    assert_decides("cluster list is longer (RFC 4456 §9)", (1, reflected(1)), (0, reflected(2)));
}

#[test]
fn and_at_last_the_peers_address() {
    let same = attributes(|a| a.originator_id = Some(identifier("10.0.0.1")));
    assert_decides("peer address is higher (RFC 4271 §9.1.2.2 g)", (0, same.clone()), (1, same));
}
