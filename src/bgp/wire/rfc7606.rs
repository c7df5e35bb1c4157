//! RFC 7606 case by case: one UPDATE with one fault each, and what becomes of it. (Also 4271 §6.3, 4760 §7, 6793 §6, 7607, 8092 §5.)

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::net::{Asn, BgpIdentifier};

const PREFIX: &[u8] = &[24, 10, 1, 2];
const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xe9];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 10, 0, 0, 1];
const LOCAL_PREF: &[u8] = &[0x40, 5, 4, 0, 0, 0, 100];
/// 2001:db8:1::/48 by way of 2001:db8::1.
const MP_REACH: &[u8] = &[
    0x80, 14, 28, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 48, 0x20, 1, 0xd, 0xb8, 0, 1,
];
const MP_UNREACH: &[u8] = &[0x80, 15, 10, 0, 2, 1, 48, 0x20, 1, 0xd, 0xb8, 0, 2];

const INTERNAL: Context = Context {
    four_octet_as: true,
    external: false,
    add_path_receive_v4: false,
    add_path_receive_v6: false,
    add_path_send_v4: false,
    add_path_send_v6: false,
    extended_messages: false,
};
const EXTERNAL: Context = Context { external: true, ..INTERNAL };
const TWO_OCTET: Context = Context { four_octet_as: false, ..INTERNAL };

/// What becomes of an UPDATE.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// Announced with these attributes; so many faults logged.
    Announced(Vec<Nlri>, Attributes, usize),
    /// Withdrawn, because of so many faults.
    Withdrawn(Vec<Nlri>, usize),
    /// Nothing announced, nothing withdrawn; so many faults logged.
    Ignored(usize),
    /// The session ends with this code, subcode and data.
    Reset(u8, u8, Vec<u8>),
}
use Outcome::*;

fn body(withdrawn: &[u8], attributes: &[&[u8]], nlri: &[u8]) -> Vec<u8> {
    let field = attributes.concat();
    let length = |bytes: &[u8]| (bytes.len() as u16).to_be_bytes();
    [&length(withdrawn), withdrawn, &length(&field), &field, nlri].concat()
}

fn outcome(context: Context, body: &[u8]) -> Outcome {
    let length = (body.len() + 19) as u16;
    let bytes = [&[0xff; 16][..], &length.to_be_bytes(), &[2], body].concat();
    let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
    // Twice: what was interned the first time must not change what comes out.
    decoder.push(&bytes);
    let first = decoder.next(&context, &mut interner);
    if let Ok(Some(first)) = &first {
        decoder.push(&bytes);
        assert_eq!(decoder.next(&context, &mut interner).as_ref(), Ok(&Some(first.clone())));
    }
    match first {
        Err(notification) => Reset(notification.code, notification.subcode, notification.data.to_vec()),
        Ok(Some(Message::Update(update))) => match update.attributes {
            Some(attributes) => Announced(update.announced, (*attributes).clone(), update.faults.len()),
            None if update.withdrawn.is_empty() => Ignored(update.faults.len()),
            None => Withdrawn(update.withdrawn, update.faults.len()),
        },
        other => panic!("{other:?}"),
    }
}

/// The usual UPDATE of an internal peer with `more` behind the mandatory attributes.
fn with(more: &[&[u8]]) -> Vec<u8> {
    body(&[], &[&[ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF], more].concat(), PREFIX)
}

fn prefix() -> Vec<Nlri> {
    vec![nlri("10.1.2.0/24")]
}

fn nlri(prefix: &str) -> Nlri {
    Nlri::from(prefix.parse::<ipnet::IpNet>().unwrap())
}

fn path(numbers: &[u32]) -> AsPath {
    AsPath(vec![AsSegment::Sequence(numbers.iter().copied().map(Asn).collect())])
}

/// What [`with`] nothing says.
fn plain() -> Attributes {
    Attributes { as_path: path(&[65001]), local_pref: Some(100), ..Attributes::local([10, 0, 0, 1].into()) }
}

fn v6_attributes() -> Attributes {
    Attributes { next_hop: "2001:db8::1".parse().unwrap(), local_pref: None, ..plain() }
}

macro_rules! cases {
    ($($name:ident: $context:expr, $body:expr => $expected:expr;)*) => {
        $(#[test]
        fn $name() {
            assert_eq!(outcome($context, &$body), $expected);
        })*
    };
}

cases! {
    a_good_update_is_announced: INTERNAL, with(&[]) => Announced(prefix(), plain(), 0);

    // Section lengths and prefixes.
    withdrawn_routes_longer_than_the_message_reset: INTERNAL, [0, 9, 0, 0] => Reset(3, 1, vec![]);
    attributes_longer_than_the_message_reset: INTERNAL, [0, 0, 0, 9] => Reset(3, 1, vec![]);
    withdrawn_routes_that_swallow_the_attribute_length_reset: INTERNAL, [0, 2, 8, 10] => Reset(3, 1, vec![]);
    a_prefix_longer_than_32_bits_resets:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[33, 1, 2, 3, 4, 5]) => Reset(3, 10, vec![]);
    a_prefix_cut_short_resets: INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[24, 10, 1]) => Reset(3, 10, vec![]);
    a_withdrawn_prefix_longer_than_32_bits_resets: INTERNAL, body(&[33, 1, 2, 3, 4, 5], &[], &[]) => Reset(3, 10, vec![]);
    martian_prefixes_are_ignored_and_the_others_announced:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF], &[4, 224, 24, 10, 1, 2, 8, 127])
        => Announced(prefix(), plain(), 2);
    an_update_of_martians_only_announces_nothing: INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], &[4, 224]) => Ignored(1);

    // The attribute field.
    an_attribute_past_the_end_of_the_field_withdraws:
        INTERNAL, with(&[&[0x80, 4, 9, 0]]) => Withdrawn(prefix(), 1);
    mp_unreach_past_the_end_of_the_field_resets: INTERNAL, with(&[&[0x80, 15, 9, 0, 2, 1]]) => Reset(3, 1, vec![]);
    an_attribute_header_cut_short_withdraws: INTERNAL, with(&[&[0x80, 4]]) => Withdrawn(prefix(), 1);
    an_extended_length_cut_short_withdraws: INTERNAL, with(&[&[0x90, 4, 0]]) => Withdrawn(prefix(), 1);
    an_extended_length_that_was_not_needed_is_taken:
        INTERNAL, with(&[&[0x90, 4, 0, 4, 0, 0, 0, 7]]) => Announced(prefix(), Attributes { med: Some(7), ..plain() }, 0);
    the_second_of_two_equal_types_is_discarded:
        INTERNAL, with(&[&[0x40, 1, 1, 2]]) => Announced(prefix(), plain(), 1);
    the_second_of_two_unknown_attributes_is_discarded:
        INTERNAL, with(&[&[0xc0, 99, 1, 5], &[0xc0, 99, 1, 6]])
        => Announced(prefix(), Attributes { unknown: vec![unknown(99, &[5])], ..plain() }, 1);
    a_malformed_first_and_a_good_second_still_withdraw:
        INTERNAL, with(&[&[0x80, 4, 1, 0], &[0x80, 4, 4, 0, 0, 0, 1]]) => Withdrawn(prefix(), 2);
    a_fault_does_not_leak_into_the_next_attribute:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 6, 1, 0], LOCAL_PREF], PREFIX)
        => Announced(prefix(), plain(), 1);
    attributes_in_any_order_are_taken:
        INTERNAL, body(&[], &[LOCAL_PREF, NEXT_HOP, AS_PATH, ORIGIN], PREFIX) => Announced(prefix(), plain(), 0);
    a_malformed_attribute_without_any_prefix_resets:
        INTERNAL, body(&[], &[&[0x40, 1, 1, 9]], &[]) => Reset(3, 1, vec![]);
    a_malformed_attribute_beside_withdrawals_only_resets:
        INTERNAL, body(PREFIX, &[&[0x40, 1, 1, 9]], &[]) => Reset(3, 1, vec![]);
    good_attributes_without_any_prefix_are_ignored: INTERNAL, body(&[], &[ORIGIN], &[]) => Ignored(0);

    // Flags.
    a_well_known_attribute_flagged_optional_withdraws:
        INTERNAL, body(&[], &[&[0xc0, 1, 1, 0], AS_PATH, NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    a_non_transitive_attribute_flagged_transitive_withdraws:
        INTERNAL, with(&[&[0xc0, 4, 4, 0, 0, 0, 1]]) => Withdrawn(prefix(), 1);
    a_transitive_attribute_flagged_non_transitive_withdraws:
        INTERNAL, with(&[&[0x80, 8, 4, 0, 1, 0, 1]]) => Withdrawn(prefix(), 1);
    the_partial_bit_and_unused_bits_are_ignored:
        INTERNAL, with(&[&[0xef, 8, 4, 0, 1, 0, 1]])
        => Announced(prefix(), Attributes { communities: vec![0x1_0001], ..plain() }, 0);

    // Missing attributes.
    no_attributes_at_all_withdraw: INTERNAL, body(&[], &[], PREFIX) => Withdrawn(prefix(), 3);
    a_missing_origin_withdraws: INTERNAL, body(&[], &[AS_PATH, NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    a_missing_as_path_withdraws: INTERNAL, body(&[], &[ORIGIN, NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    a_missing_next_hop_withdraws: INTERNAL, body(&[], &[ORIGIN, AS_PATH], PREFIX) => Withdrawn(prefix(), 1);
    a_missing_local_pref_is_left_to_the_speaker:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP], PREFIX)
        => Announced(prefix(), Attributes { local_pref: None, ..plain() }, 0);

    // One by one.
    origin_of_two_bytes_withdraws: INTERNAL, body(&[], &[&[0x40, 1, 2, 0, 0], AS_PATH, NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    origin_of_an_unknown_value_withdraws: INTERNAL, body(&[], &[&[0x40, 1, 1, 3], AS_PATH, NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    an_as_path_segment_past_the_end_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 0, 0xfd, 0xe9], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    an_as_path_with_one_byte_left_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 7, 2, 1, 0, 0, 0xfd, 0xe9, 2], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    an_as_path_segment_of_an_unknown_type_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 6, 5, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    a_confederation_segment_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 6, 3, 1, 0, 0, 0xfd, 0xe9], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    an_as_path_segment_without_numbers_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 2, 2, 0], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    as_zero_in_the_as_path_withdraws:
        INTERNAL, body(&[], &[ORIGIN, &[0x40, 2, 6, 2, 1, 0, 0, 0, 0], NEXT_HOP], PREFIX) => Withdrawn(prefix(), 1);
    next_hop_of_five_bytes_withdraws:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, &[0x40, 3, 5, 10, 0, 0, 1, 0]], PREFIX) => Withdrawn(prefix(), 1);
    next_hop_zero_withdraws:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]], PREFIX) => Withdrawn(prefix(), 1);
    a_multicast_next_hop_withdraws:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, &[0x40, 3, 4, 224, 0, 0, 5]], PREFIX) => Withdrawn(prefix(), 1);
    med_of_three_bytes_withdraws: INTERNAL, with(&[&[0x80, 4, 3, 0, 0, 0]]) => Withdrawn(prefix(), 1);
    local_pref_of_five_bytes_withdraws_from_an_internal_peer:
        INTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0x40, 5, 5, 0, 0, 0, 0, 1]], PREFIX) => Withdrawn(prefix(), 1);
    local_pref_of_an_external_peer_is_dropped_unread:
        EXTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0xc0, 5, 5, 0, 0, 0, 0, 1]], PREFIX)
        => Announced(prefix(), Attributes { local_pref: None, ..plain() }, 0);
    atomic_aggregate_with_a_value_is_discarded: INTERNAL, with(&[&[0x40, 6, 1, 0]]) => Announced(prefix(), plain(), 1);
    aggregator_of_six_bytes_is_discarded_with_four_octets:
        INTERNAL, with(&[&[0xc0, 7, 6, 0, 1, 10, 0, 0, 1]]) => Announced(prefix(), plain(), 1);
    aggregator_of_as_zero_is_discarded:
        INTERNAL, with(&[&[0xc0, 7, 8, 0, 0, 0, 0, 10, 0, 0, 1]]) => Announced(prefix(), plain(), 1);
    communities_of_three_bytes_withdraw: INTERNAL, with(&[&[0xc0, 8, 3, 0, 0, 0]]) => Withdrawn(prefix(), 1);
    empty_communities_withdraw: INTERNAL, with(&[&[0xc0, 8, 0]]) => Withdrawn(prefix(), 1);
    originator_id_of_three_bytes_withdraws_from_an_internal_peer:
        INTERNAL, with(&[&[0x80, 9, 3, 10, 0, 0]]) => Withdrawn(prefix(), 1);
    originator_id_of_an_external_peer_is_dropped_unread:
        EXTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 9, 3, 10, 0, 0]], PREFIX)
        => Announced(prefix(), Attributes { local_pref: None, ..plain() }, 0);
    cluster_list_of_five_bytes_withdraws_from_an_internal_peer:
        INTERNAL, with(&[&[0x80, 10, 5, 0, 0, 0, 0, 0]]) => Withdrawn(prefix(), 1);
    an_empty_cluster_list_withdraws: INTERNAL, with(&[&[0x80, 10, 0]]) => Withdrawn(prefix(), 1);
    cluster_list_of_an_external_peer_is_dropped_unread:
        EXTERNAL, body(&[], &[ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 10, 5, 0, 0, 0, 0, 0]], PREFIX)
        => Announced(prefix(), Attributes { local_pref: None, ..plain() }, 0);
    extended_communities_of_seven_bytes_withdraw: INTERNAL, with(&[&[0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0]]) => Withdrawn(prefix(), 1);
    large_communities_of_eleven_bytes_withdraw:
        INTERNAL, with(&[&[0xc0, 32, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]) => Withdrawn(prefix(), 1);
    every_attribute_at_once_is_read:
        INTERNAL, with(&[
            &[0x80, 4, 4, 0, 0, 0, 5], &[0x40, 6, 0], &[0xc0, 7, 8, 0, 1, 0x11, 0x70, 10, 9, 9, 9],
            &[0xc0, 8, 12, 0, 2, 0, 1, 0, 1, 0, 1, 0, 2, 0, 1], &[0x80, 9, 4, 10, 0, 0, 7], &[0x80, 10, 8, 10, 0, 0, 9, 10, 0, 0, 8],
            &[0xc0, 16, 8, 0, 2, 0, 1, 0, 0, 0, 3], &[0xc0, 32, 12, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],
        ]) => Announced(prefix(), Attributes {
            med: Some(5),
            atomic_aggregate: true,
            aggregator: Some((Asn(70000), Ipv4Addr::new(10, 9, 9, 9))),
            communities: vec![0x1_0001, 0x2_0001],
            originator_id: Some(BgpIdentifier(Ipv4Addr::new(10, 0, 0, 7))),
            cluster_list: vec![BgpIdentifier(Ipv4Addr::new(10, 0, 0, 9)), BgpIdentifier(Ipv4Addr::new(10, 0, 0, 8))],
            extended_communities: vec![0x0002_0001_0000_0003],
            large_communities: vec![(1, 2, 3)],
            ..plain()
        }, 0);

    // Unknown attributes.
    an_unknown_well_known_attribute_resets_with_the_attribute:
        INTERNAL, with(&[&[0x40, 99, 2, 7, 8]]) => Reset(3, 2, vec![0x40, 99, 2, 7, 8]);
    an_unknown_transitive_attribute_is_kept:
        INTERNAL, with(&[&[0xc0, 99, 2, 7, 8], &[0xc0, 40, 0]])
        => Announced(prefix(), Attributes { unknown: vec![unknown(40, &[]), unknown(99, &[7, 8])], ..plain() }, 0);
    an_unknown_non_transitive_attribute_is_ignored: INTERNAL, with(&[&[0x80, 99, 2, 7, 8]]) => Announced(prefix(), plain(), 0);

    // MP_REACH_NLRI and MP_UNREACH_NLRI.
    ipv6_prefixes_are_announced_with_the_next_hop_of_mp_reach:
        INTERNAL, body(&[], &[MP_REACH, ORIGIN, AS_PATH], &[]) => Announced(vec![nlri("2001:db8:1::/48")], v6_attributes(), 0);
    ipv6_prefixes_without_origin_and_as_path_are_withdrawn:
        INTERNAL, body(&[], &[MP_REACH], &[]) => Withdrawn(vec![nlri("2001:db8:1::/48")], 2);
    ipv6_prefixes_beside_a_malformed_attribute_are_withdrawn:
        INTERNAL, body(&[], &[&[0x80, 4, 3, 0, 0, 0], MP_REACH, ORIGIN, AS_PATH], &[])
        => Withdrawn(vec![nlri("2001:db8:1::/48")], 1);
    ipv6_prefixes_are_withdrawn_by_mp_unreach: INTERNAL, body(&[], &[MP_UNREACH], &[]) => Withdrawn(vec![nlri("2001:db8:2::/48")], 0);
    a_next_hop_attribute_beside_mp_reach_alone_is_ignored:
        INTERNAL, body(&[], &[MP_REACH, ORIGIN, AS_PATH, &[0x40, 3, 4, 0, 0, 0, 0]], &[])
        => Announced(vec![nlri("2001:db8:1::/48")], v6_attributes(), 0);
    mp_reach_with_wrong_flags_withdraws_its_prefixes:
        INTERNAL, body(&[], &[&[&[0xc0], &MP_REACH[1..]].concat(), ORIGIN, AS_PATH], &[])
        => Withdrawn(vec![nlri("2001:db8:1::/48")], 1);
    two_mp_reach_reset: INTERNAL, body(&[], &[MP_REACH, MP_REACH, ORIGIN, AS_PATH], &[]) => Reset(3, 1, vec![]);
    two_mp_unreach_reset: INTERNAL, body(&[], &[MP_UNREACH, MP_UNREACH], &[]) => Reset(3, 1, vec![]);
    mp_reach_with_a_next_hop_of_a_wrong_length_resets_with_the_attribute:
        INTERNAL, body(&[], &[&[0x80, 14, 9, 0, 2, 1, 4, 10, 0, 0, 1, 0], ORIGIN, AS_PATH], &[])
        => Reset(3, 9, vec![0x80, 14, 9, 0, 2, 1, 4, 10, 0, 0, 1, 0]);
    mp_reach_cut_short_resets_with_the_attribute:
        INTERNAL, body(&[], &[&[0x80, 14, 3, 0, 2, 1], ORIGIN, AS_PATH], &[]) => Reset(3, 9, vec![0x80, 14, 3, 0, 2, 1]);
    mp_unreach_cut_short_resets_with_the_attribute:
        INTERNAL, body(&[], &[&[0x80, 15, 2, 0, 2]], &[]) => Reset(3, 9, vec![0x80, 15, 2, 0, 2]);
    an_ipv6_prefix_longer_than_128_bits_resets:
        INTERNAL, body(&[], &[&[&[0x80, 15, 21, 0, 2, 1, 129], &[0; 17][..]].concat()], &[]) => Reset(3, 10, vec![]);
    an_ipv6_prefix_cut_short_resets:
        INTERNAL, body(&[], &[&[0x80, 15, 5, 0, 2, 1, 48, 0x20]], &[]) => Reset(3, 10, vec![]);
    a_family_that_is_not_ours_is_ignored:
        INTERNAL, body(&[], &[&[0x80, 14, 7, 0, 25, 70, 0, 0, 1, 2], &[0x80, 15, 4, 0, 25, 70, 9], ORIGIN, AS_PATH], &[])
        => Ignored(0);
    a_multicast_ipv6_next_hop_withdraws:
        INTERNAL, body(&[], &[&[&[0x80, 14, 23, 0, 2, 1, 16, 0xff, 2], &[0; 14][..], &[0, 8, 0x20]].concat(), ORIGIN, AS_PATH], &[])
        => Withdrawn(vec![nlri("2000::/8")], 1);
    the_link_local_next_hop_behind_the_global_one_is_not_kept:
        INTERNAL, body(&[], &[&[&[0x80, 14, 44, 0, 2, 1, 32], &MP_REACH[7..23], &[0xfe, 0x80], &[0; 14][..], &MP_REACH[23..]].concat(), ORIGIN, AS_PATH], &[])
        => Announced(vec![nlri("2001:db8:1::/48")], v6_attributes(), 0);
    ipv4_prefixes_by_way_of_an_ipv6_next_hop_are_taken:
        INTERNAL, body(&[], &[&[&[0x80, 14, 25, 0, 1, 1, 16], &MP_REACH[7..23], &[0], PREFIX].concat(), ORIGIN, AS_PATH], &[])
        => Announced(prefix(), v6_attributes(), 0);
    ipv4_prefixes_in_mp_reach_with_an_ipv4_next_hop_are_taken:
        INTERNAL, body(&[], &[&[&[0x80, 14, 13, 0, 1, 1, 4, 10, 0, 0, 1, 0], PREFIX].concat(), ORIGIN, AS_PATH, LOCAL_PREF], &[])
        => Announced(prefix(), plain(), 0);

    // Two-octet peers.
    as4_path_completes_the_as_path:
        TWO_OCTET, body(&[], &[ORIGIN, &[0x40, 2, 6, 2, 2, 0, 100, 0x5b, 0xa0], NEXT_HOP, &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70]], PREFIX)
        => Announced(prefix(), Attributes { as_path: path(&[100, 70000]), local_pref: None, ..plain() }, 0);
    a_malformed_as4_path_is_discarded:
        TWO_OCTET, body(&[], &[ORIGIN, &[0x40, 2, 4, 2, 1, 0x5b, 0xa0], NEXT_HOP, &[0xc0, 17, 5, 2, 1, 0, 1, 0x11]], PREFIX)
        => Announced(prefix(), Attributes { as_path: path(&[23456]), local_pref: None, ..plain() }, 1);
    as4_path_of_a_four_octet_peer_is_dropped_unread:
        INTERNAL, with(&[&[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70]]) => Announced(prefix(), plain(), 0);
    as4_aggregator_takes_the_place_of_as_trans:
        TWO_OCTET, body(&[], &[ORIGIN, &[0x40, 2, 4, 2, 1, 0xfd, 0xe9], NEXT_HOP, &[0xc0, 7, 6, 0x5b, 0xa0, 10, 0, 0, 1], &[0xc0, 18, 8, 0, 1, 0x11, 0x70, 10, 0, 0, 2]], PREFIX)
        => Announced(prefix(), Attributes { aggregator: Some((Asn(70000), Ipv4Addr::new(10, 0, 0, 2))), local_pref: None, ..plain() }, 0);
    an_aggregator_other_than_as_trans_makes_both_as4_attributes_stale:
        TWO_OCTET, body(&[], &[ORIGIN, &[0x40, 2, 4, 2, 1, 0xfd, 0xe9], NEXT_HOP, &[0xc0, 7, 6, 0, 9, 10, 0, 0, 1], &[0xc0, 17, 6, 2, 1, 0, 1, 0x11, 0x70], &[0xc0, 18, 8, 0, 1, 0x11, 0x70, 10, 0, 0, 2]], PREFIX)
        => Announced(prefix(), Attributes { aggregator: Some((Asn(9), Ipv4Addr::new(10, 0, 0, 1))), local_pref: None, ..plain() }, 0);
}

fn unknown(code: u8, value: &'static [u8]) -> UnknownAttribute {
    UnknownAttribute { code, value: bytes::Bytes::from_static(value) }
}

#[test]
fn both_kinds_of_announcement_in_one_update_come_out_as_two() {
    let body = body(PREFIX, &[MP_REACH, MP_UNREACH, ORIGIN, AS_PATH, NEXT_HOP, LOCAL_PREF], &[24, 10, 9, 9]);
    let bytes = [&[0xff; 16][..], &((body.len() + 19) as u16).to_be_bytes(), &[2], &body].concat();
    let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
    decoder.push(&bytes);
    let mut next = || match decoder.next(&INTERNAL, &mut interner) {
        Ok(Some(Message::Update(update))) => update,
        other => panic!("{other:?}"),
    };
    let (first, second) = (next(), next());
    assert_eq!(first.withdrawn, [nlri("10.1.2.0/24"), nlri("2001:db8:2::/48")]);
    assert_eq!(first.announced, [nlri("10.9.9.0/24")]);
    assert_eq!(first.attributes.map(|attributes| attributes.next_hop), Some(IpAddr::from([10, 0, 0, 1])));
    assert_eq!((second.withdrawn, second.announced), (vec![], vec![nlri("2001:db8:1::/48")]));
    assert_eq!(second.attributes.map(|attributes| attributes.next_hop), "2001:db8::1".parse().ok());
}
