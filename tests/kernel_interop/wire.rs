//! Our decoder against tshark's, on what was really said: of each direction of each connection, the same values in the same order.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lab::bgp::wire::{
    AddPathMode, AsSegment, Attributes, Capability, Context, Decoder, Family, Interner, Message, Nlri, Origin,
};

use crate::capture::Capture;

/// What is compared, by tshark's names.
const FIELDS: [&str; 16] = [
    "bgp.type",
    "bgp.withdrawn_prefix",
    "bgp.nlri_prefix",
    "bgp.nlri_path_id",
    "bgp.mp_reach_nlri_ipv6_prefix",
    "bgp.mp_unreach_nlri_ipv6_prefix",
    "bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6",
    "bgp.update.path_attribute.origin",
    "bgp.update.path_attribute.next_hop",
    "bgp.update.path_attribute.as_path_segment.as4",
    "bgp.update.path_attribute.multi_exit_disc",
    "bgp.update.path_attribute.community_as",
    "bgp.update.path_attribute.community_value",
    "bgp.large_communities.ga",
    "bgp.large_communities.ldp1",
    "bgp.large_communities.ldp2",
];

/// One direction of one connection: TCP stream and source.
type Direction = (String, String);
type Said = BTreeMap<Direction, BTreeMap<&'static str, Vec<String>>>;

/// Fails where the two see something else, or where one of `sources` did not say one of `fields`.
pub(crate) fn assert_same_as_tshark(capture: &Capture, sources: &[&str], fields: &[&str]) {
    let (ours, theirs) = (by_us(capture), by_tshark(capture));
    assert_eq!(ours, theirs, "ours left, tshark's right");
    for source in sources {
        let said: Vec<_> = ours.iter().filter(|((_, from), _)| from == source).map(|(_, values)| values).collect();
        for field in fields {
            assert!(said.iter().any(|values| values.contains_key(*field)), "{source} said no {field}");
        }
    }
}

/// Where they come from, of whichever family.
const DIRECTION: [&str; 3] = ["tcp.stream", "ip.src", "ipv6.src"];

/// Lines of tab-separated values, the first three of which are a direction.
fn by_direction(lines: &[String]) -> impl Iterator<Item = (Direction, Vec<&str>)> {
    lines.iter().map(|line| {
        let mut values = line.split('\t');
        let mut next = || values.next().unwrap_or_default().to_owned();
        // One of the two sources is empty.
        let direction = (next(), next() + &next());
        (direction, values.collect())
    })
}

fn by_tshark(capture: &Capture) -> Said {
    let lines = capture.tshark("bgp", &[&DIRECTION[..], &FIELDS[..]].concat());
    let mut said = Said::new();
    for (direction, values) in by_direction(&lines) {
        let of_direction = said.entry(direction).or_default();
        let has = |name: &str| FIELDS.iter().zip(&values).any(|(field, all)| *field == name && !all.is_empty());
        // Attributes beside what is withdrawn mean nothing (RFC 4760 §4); ExaBGP sends some.
        let means_nothing = |field: &str| {
            let announces = has("bgp.nlri_prefix") || has("bgp.mp_reach_nlri_ipv6_prefix");
            field.contains("path_attribute") && has("bgp.mp_unreach_nlri_ipv6_prefix") && !announces
        };
        for (field, all) in FIELDS.iter().zip(&values).filter(|(field, all)| !all.is_empty() && !means_nothing(field)) {
            of_direction.entry(*field).or_default().extend(all.split(',').map(str::to_owned));
        }
    }
    said
}

fn by_us(capture: &Capture) -> Said {
    let lines = capture.tshark(
        "tcp.port == 179 && tcp.len > 0 && !tcp.analysis.retransmission",
        &[&DIRECTION[..], &["tcp.payload"]].concat(),
    );
    let mut streams: BTreeMap<Direction, Vec<u8>> = BTreeMap::new();
    for (direction, values) in by_direction(&lines) {
        let hex: Vec<u8> = values[0].bytes().filter(u8::is_ascii_hexdigit).collect();
        let octets = hex.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap());
        streams.entry(direction).or_default().extend(octets);
    }
    let said = |(direction, bytes): (&Direction, &Vec<u8>)| {
        let mut others = streams.iter().filter(|((stream, from), _)| *stream == direction.0 && *from != direction.1);
        let with_identifiers = others.next().is_some_and(|(_, other)| add_path(bytes).send && add_path(other).receive);
        (direction.clone(), decoded(bytes, with_identifiers))
    };
    streams.iter().map(said).collect()
}

/// What an end said of ADD-PATH when it opened.
fn add_path(bytes: &[u8]) -> AddPathMode {
    let mut decoder = Decoder::new();
    decoder.push(bytes);
    let open = match decoder.next(&Context::default(), &mut Interner::default()) {
        Ok(Some(Message::Open(open))) => open.capabilities,
        _ => Vec::new(),
    };
    let ipv4 = open.into_iter().find_map(|capability| match capability {
        Capability::AddPath(modes) => modes.into_iter().find(|(family, _)| *family == Family::Ipv4Unicast),
        _ => None,
    });
    ipv4.map_or(AddPathMode { receive: false, send: false }, |(_, mode)| mode)
}

fn decoded(bytes: &[u8], with_identifiers: bool) -> BTreeMap<&'static str, Vec<String>> {
    let context =
        Context { four_octet_as: true, external: true, add_path_receive_v4: with_identifiers, ..Context::default() };
    let (mut decoder, mut interner) = (Decoder::new(), Interner::default());
    decoder.push(bytes);
    let mut values: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    while let Some(message) = decoder.next(&context, &mut interner).expect("what daemons say is well-formed") {
        let mut add = |field: &'static str, value: String| values.entry(field).or_default().push(value);
        let kind = match &message {
            Message::Open(_) => 1,
            Message::Update(_) => 2,
            Message::Notification(_) => 3,
            Message::Keepalive => 4,
            Message::RouteRefresh(..) => 5,
        };
        add("bgp.type", kind.to_string());
        let Message::Update(update) = message else { continue };
        assert!(update.faults.is_empty(), "{:?}", update.faults);
        let address = |nlri: &Nlri| nlri.prefix.addr().to_string();
        let field =
            |nlri: &Nlri, v4: &'static str, v6: &'static str| if nlri.prefix.addr().is_ipv6() { v6 } else { v4 };
        for nlri in &update.withdrawn {
            add(field(nlri, "bgp.withdrawn_prefix", "bgp.mp_unreach_nlri_ipv6_prefix"), address(nlri));
        }
        for nlri in &update.announced {
            add(field(nlri, "bgp.nlri_prefix", "bgp.mp_reach_nlri_ipv6_prefix"), address(nlri));
        }
        let identifiers = update.withdrawn.iter().chain(&update.announced).filter_map(|nlri| nlri.path_id);
        identifiers.for_each(|id| add("bgp.nlri_path_id", id.to_string()));
        if let Some(attributes) = &update.attributes {
            self::attributes(attributes, &mut add);
        }
    }
    values
}

fn attributes(attributes: &Attributes, add: &mut dyn FnMut(&'static str, String)) {
    let origin = match attributes.origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    add("bgp.update.path_attribute.origin", origin.to_string());
    let next_hop = match attributes.next_hop {
        IpAddr::V4(_) => "bgp.update.path_attribute.next_hop",
        IpAddr::V6(_) => "bgp.update.path_attribute.mp_reach_nlri.next_hop.ipv6",
    };
    add(next_hop, attributes.next_hop.to_string());
    for segment in &attributes.as_path.0 {
        let (AsSegment::Set(numbers) | AsSegment::Sequence(numbers)) = segment;
        numbers.iter().for_each(|asn| add("bgp.update.path_attribute.as_path_segment.as4", asn.0.to_string()));
    }
    if let Some(med) = attributes.med {
        add("bgp.update.path_attribute.multi_exit_disc", med.to_string());
    }
    for community in &attributes.communities {
        add("bgp.update.path_attribute.community_as", (community >> 16).to_string());
        add("bgp.update.path_attribute.community_value", (community & 0xffff).to_string());
    }
    for (global, one, two) in &attributes.large_communities {
        add("bgp.large_communities.ga", global.to_string());
        add("bgp.large_communities.ldp1", one.to_string());
        add("bgp.large_communities.ldp2", two.to_string());
    }
}
