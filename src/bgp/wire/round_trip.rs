//! What is encoded decodes to the same, for arbitrary routes and any cut of the stream; and no bytes whatever do harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;
use crate::net::{Asn, BgpIdentifier};

/// Contexts of which both ends agree: what one sends the other receives.
pub(super) fn contexts() -> impl Strategy<Value = Context> {
    any::<[bool; 5]>().prop_map(|[four_octet_as, external, v4, v6, extended_messages]| Context {
        four_octet_as,
        external,
        add_path_receive_v4: v4,
        add_path_receive_v6: v6,
        add_path_send_v4: v4,
        add_path_send_v6: v6,
        extended_messages,
    })
}

fn asns() -> impl Strategy<Value = Asn> {
    prop_oneof![1..=65_535_u32, 65_536..=u32::MAX, Just(23456)].prop_map(Asn)
}

fn v4_hosts() -> impl Strategy<Value = Ipv4Addr> {
    (0x0100_0000..0x7f00_0000_u32).prop_map(Ipv4Addr::from)
}

fn v6_hosts() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>().prop_map(|bits| Ipv6Addr::from(bits >> 3 | 1 << 125))
}

/// Paths as they are in memory: no segment is empty, no sequence follows a sequence.
fn as_paths() -> impl Strategy<Value = AsPath> {
    let segments = (vec(asns(), 0..300), vec(vec(asns(), 1..20), 0..3), vec(asns(), 0..5));
    segments.prop_map(|(first, sets, last)| {
        let sequence = |numbers: Vec<Asn>| (!numbers.is_empty()).then_some(AsSegment::Sequence(numbers));
        let (first, last, last_apart) = if sets.is_empty() { (first, vec![], false) } else { (first, last, true) };
        let segments = sequence(first).into_iter().chain(sets.into_iter().map(AsSegment::Set));
        AsPath(segments.chain(sequence(last).filter(|_| last_apart)).collect())
    })
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

pub(super) fn attributes() -> impl Strategy<Value = Attributes> {
    let identifiers = || any::<u32>().prop_map(|bits| BgpIdentifier(Ipv4Addr::from(bits)));
    let origins = prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)];
    let next_hops = prop_oneof![v4_hosts().prop_map(IpAddr::from), v6_hosts().prop_map(IpAddr::from)];
    let codes = prop_oneof![11..=13_u8, 19..=31_u8, 33..=255_u8];
    let unknown = vec((codes, vec(any::<u8>(), 0..300)), 0..4).prop_map(|all| {
        let mut all: Vec<_> =
            all.into_iter().map(|(code, value)| UnknownAttribute { code, value: Bytes::from(value) }).collect();
        all.sort_by_key(|attribute| attribute.code);
        all.dedup_by_key(|attribute| attribute.code);
        all
    });
    let aggregators = (asns(), any::<u32>()).prop_map(|(asn, bits)| (asn, Ipv4Addr::from(bits)));
    let first = (origins, as_paths(), next_hops, of(any::<u32>()), of(any::<u32>()), any::<bool>(), of(aggregators));
    let second = (
        vec(any::<u32>(), 0..80),
        of(identifiers()),
        vec(identifiers(), 0..4),
        vec(any::<u64>(), 0..40),
        vec(any::<(u32, u32, u32)>(), 0..30),
        unknown,
    );
    (first, second).prop_map(|(first, second)| {
        let (origin, as_path, next_hop, med, local_pref, atomic_aggregate, aggregator) = first;
        let (communities, originator_id, cluster_list, extended_communities, large_communities, unknown) = second;
        Attributes {
            origin,
            as_path,
            next_hop,
            med,
            local_pref,
            atomic_aggregate,
            aggregator,
            communities: sorted(communities),
            originator_id,
            cluster_list,
            extended_communities: sorted(extended_communities),
            large_communities: sorted(large_communities),
            unknown,
        }
    })
}

/// Prefixes of one family, host bits clear and none of them martian.
pub(super) fn prefixes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Nlri>> {
    let v4 = (v4_hosts(), 8..=32_u8).prop_map(|(host, length)| IpNet::V4(Ipv4Net::new(host, length).unwrap().trunc()));
    let v6 = (v6_hosts(), 3..=128_u8).prop_map(|(host, length)| IpNet::V6(Ipv6Net::new(host, length).unwrap().trunc()));
    let nlri = |prefix: IpNet, id| Nlri { prefix, path_id: Some(id) };
    prop_oneof![
        vec((v4, any::<u32>()).prop_map(move |(prefix, id)| nlri(prefix, id)), count.clone()),
        vec((v6, any::<u32>()).prop_map(move |(prefix, id)| nlri(prefix, id)), count),
    ]
}

/// What arrives of `prefixes`: without ADD-PATH no path identifier.
pub(super) fn on_the_wire(prefixes: &[Nlri], context: &Context) -> Vec<Nlri> {
    let keeps = |nlri: &Nlri| match nlri.prefix {
        IpNet::V4(_) => context.add_path_send_v4,
        IpNet::V6(_) => context.add_path_send_v6,
    };
    prefixes.iter().map(|nlri| Nlri { path_id: nlri.path_id.filter(|_| keeps(nlri)), ..*nlri }).collect()
}

/// What arrives of `attributes` in an announcement of the family of `prefix`.
fn as_received(attributes: &Attributes, prefix: &IpNet, context: &Context) -> Attributes {
    let mut received = attributes.clone();
    if context.external {
        received.local_pref = None;
        received.originator_id = None;
        received.cluster_list.clear();
    }
    if let (IpNet::V6(_), IpAddr::V4(next_hop)) = (prefix, attributes.next_hop) {
        received.next_hop = next_hop.to_ipv6_mapped().into();
    }
    received
}

/// Decodes `bytes`, pushed in pieces that end at `cuts`.
fn decode(bytes: &[u8], cuts: &[prop::sample::Index], context: &Context) -> Result<Vec<Message>, Notification> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let (mut decoder, mut interner, mut messages, mut start) = (Decoder::new(), Interner::new(), Vec::new(), 0);
    for end in cuts {
        decoder.push(&bytes[start..end]);
        start = end;
        while let Some(message) = decoder.next(context, &mut interner)? {
            messages.push(message);
        }
    }
    Ok(messages)
}

fn updates(messages: Vec<Message>) -> Vec<Update> {
    let update = |message| match message {
        Message::Update(update) => update,
        other => panic!("{other:?}"),
    };
    messages.into_iter().map(update).collect()
}

fn longest(context: &Context) -> usize {
    if context.extended_messages { 65_535 } else { 4096 }
}

/// The length of each message in `bytes`.
fn lengths(mut bytes: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while bytes.len() >= 19 {
        let length = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        lengths.push(length);
        bytes = &bytes[length..];
    }
    lengths
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn announcements_decode_to_what_was_encoded(
        attributes in attributes(),
        prefixes in prefixes(1..400),
        context in contexts(),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = BytesMut::new();
        let mut rest = &prefixes[..];
        while !rest.is_empty() {
            match encode_announcement(&attributes, rest, &context, &mut bytes) {
                Ok(taken) => {
                    prop_assert!(taken > 0);
                    rest = &rest[taken..];
                }
                Err(error) => {
                    prop_assert!(error.attributes + 23 + 21 > error.max);
                    prop_assert!(bytes.is_empty());
                    return Ok(());
                }
            }
        }
        prop_assert!(lengths(&bytes).into_iter().all(|length| length <= longest(&context)));
        let received = updates(decode(&bytes, &cuts, &context).unwrap());
        let expected = as_received(&attributes, &prefixes[0].prefix, &context);
        for update in &received {
            prop_assert_eq!(update.attributes.as_deref(), Some(&expected));
            prop_assert_eq!((&update.withdrawn, &update.faults, update.end_of_rib), (&vec![], &vec![], None));
        }
        let announced: Vec<Nlri> = received.into_iter().flat_map(|update| update.announced).collect();
        prop_assert_eq!(announced, on_the_wire(&prefixes, &context));
    }

    #[test]
    fn withdrawals_decode_to_what_was_encoded(
        prefixes in prefixes(1..2000),
        context in contexts(),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut bytes = BytesMut::new();
        let mut rest = &prefixes[..];
        while !rest.is_empty() {
            let taken = encode_withdrawal(rest, &context, &mut bytes);
            prop_assert!(taken > 0);
            rest = &rest[taken..];
        }
        prop_assert!(lengths(&bytes).into_iter().all(|length| length <= longest(&context)));
        let received = updates(decode(&bytes, &cuts, &context).unwrap());
        let expected: Vec<Nlri> = received.iter().flat_map(|update| update.withdrawn.clone()).collect();
        prop_assert_eq!(expected, on_the_wire(&prefixes, &context));
        for update in received {
            let withdrawn = update.withdrawn.clone();
            prop_assert_eq!(update, Update { withdrawn, ..Update::default() });
        }
    }

    #[test]
    fn arbitrary_bytes_behind_a_good_header_do_no_harm(
        kind in 0..7_u8,
        body in vec(any::<u8>(), 0..300),
        context in contexts(),
    ) {
        let length = u16::try_from(body.len() + 19).unwrap();
        let bytes = [&[0xff; 16][..], &length.to_be_bytes(), &[kind], &body].concat();
        let _ = decode(&bytes, &[], &context);
    }

    #[test]
    fn mutated_messages_do_no_harm_and_stay_within_their_size(
        attributes in attributes(),
        prefixes in prefixes(1..50),
        context in contexts(),
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = BytesMut::new();
        if encode_announcement(&attributes, &prefixes, &context, &mut bytes).is_err() {
            return Ok(());
        }
        encode_withdrawal(&prefixes, &context, &mut bytes);
        for (position, value) in mutations {
            // The header stays: what stands behind it is to be reached.
            let position = 19 + position.index(bytes.len() - 19);
            bytes[position] = value;
        }
        for update in decode(&bytes, &[], &context).unwrap_or_default() {
            if let Message::Update(update) = update {
                // A prefix takes at least one byte on the wire.
                prop_assert!(update.announced.len() + update.withdrawn.len() <= bytes.len());
                prop_assert_eq!(update.announced.is_empty(), update.attributes.is_none());
            }
        }
    }
}

#[test]
fn attributes_that_fill_a_message_are_refused_and_nothing_is_written() {
    let attributes = Attributes { communities: (0..1100).collect(), ..Attributes::local([10, 0, 0, 1].into()) };
    let prefix = [Nlri::from("10.0.0.0/8".parse::<IpNet>().unwrap())];
    let mut out = BytesMut::new();
    let error = encode_announcement(&attributes, &prefix, &Context::default(), &mut out);
    assert_eq!(error, Err(AttributesTooLong { attributes: 4 + 3 + 7 + 4 + 4400, max: 4096 }));
    assert!(out.is_empty());
    let extended = Context { extended_messages: true, ..Context::default() };
    assert_eq!(encode_announcement(&attributes, &prefix, &extended, &mut out), Ok(1));
}

#[test]
fn attributes_beyond_any_length_field_are_refused_too() {
    let attributes = Attributes { communities: (0..70_000).collect(), ..Attributes::local([10, 0, 0, 1].into()) };
    let prefix = [Nlri::from("10.0.0.0/8".parse::<IpNet>().unwrap())];
    let extended = Context { extended_messages: true, ..Context::default() };
    assert!(encode_announcement(&attributes, &prefix, &extended, &mut BytesMut::new()).is_err());
}

#[test]
fn no_prefixes_are_no_message() {
    let mut out = BytesMut::new();
    let attributes = Attributes::local([10, 0, 0, 1].into());
    assert_eq!(encode_announcement(&attributes, &[], &Context::default(), &mut out), Ok(0));
    assert_eq!(encode_withdrawal(&[], &Context::default(), &mut out), 0);
    assert!(out.is_empty());
}

#[test]
fn an_announcement_takes_only_the_family_of_the_first_prefix() {
    let prefixes = ["10.0.0.0/8", "fd00::/8"].map(|prefix| Nlri::from(prefix.parse::<IpNet>().unwrap()));
    let attributes = Attributes::local([10, 0, 0, 1].into());
    assert_eq!(encode_announcement(&attributes, &prefixes, &Context::default(), &mut BytesMut::new()), Ok(1));
    assert_eq!(encode_withdrawal(&prefixes, &Context::default(), &mut BytesMut::new()), 1);
}

/// Two announcements of BIRD 2.0.12 on an internal session with ADD-PATH, byte for byte.
#[test]
fn birds_updates_read_and_write_unchanged() {
    let context =
        Context { four_octet_as: true, add_path_receive_v4: true, add_path_send_v4: true, ..Context::default() };
    let with_community: &[u8] = &[
        0, 0, 0, 0x23, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 127, 0, 0, 1, 0x80, 4, 4, 0, 0, 0, 5, 0x40, 5, 4, 0, 0,
        0, 100, 0xc0, 8, 4, 0xfc, 0, 0, 7, 0, 0, 0, 2, 32, 10, 244, 73, 65,
    ];
    let plain: &[u8] = &[
        0, 0, 0, 0x15, 0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 127, 0, 0, 1, 0x40, 5, 4, 0, 0, 0, 100, 0, 0, 0, 2, 26,
        10, 244, 73, 64,
    ];
    let local = Attributes { local_pref: Some(100), ..Attributes::local([127, 0, 0, 1].into()) };
    let communities = Attributes { med: Some(5), communities: vec![64512 << 16 | 7], ..local.clone() };
    for (body, attributes, prefix) in
        [(with_community, communities, "10.244.73.65/32"), (plain, local, "10.244.73.64/26")]
    {
        let bytes = [&[0xff; 16][..], &(body.len() as u16 + 19).to_be_bytes(), &[2], body].concat();
        let nlri = Nlri { prefix: prefix.parse().unwrap(), path_id: Some(2) };
        let received = updates(decode(&bytes, &[], &context).unwrap());
        let expected =
            Update { announced: vec![nlri], attributes: Some(attributes.clone().into()), ..Update::default() };
        assert_eq!(received, [expected]);
        let mut out = BytesMut::new();
        assert_eq!(encode_announcement(&attributes, &[nlri], &context, &mut out), Ok(1));
        assert_eq!(out[..], bytes);
    }
}
