//! Messages out. Each function appends one whole message to `out` and never exceeds the length that the peer takes.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};

use super::as_path::{AsWidth, two_octets};
use super::decoder::{EXTENDED_MAX, HEADER, MAX};
use super::iana::attribute::*;
use super::iana::message::{KEEPALIVE, NOTIFICATION, ROUTE_REFRESH, UPDATE};
use super::nlri;
use super::types::{Attributes, Context, Family, Nlri, Notification, Origin, RefreshKind, UnknownAttribute};

/// The attributes of a route fill a message by themselves, so that it cannot be announced to this peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("encode UPDATE: {attributes} bytes of path attributes leave no room for a prefix in a message of {max} bytes")]
pub struct AttributesTooLong {
    /// Length of the path attributes.
    pub attributes: usize,
    /// The longest message that the peer takes.
    pub max: usize,
}

/// Appends a KEEPALIVE.
pub fn encode_keepalive(out: &mut BytesMut) {
    message(KEEPALIVE, out, |_| {});
}

/// Appends a NOTIFICATION, its data cut to what 4,096 bytes hold.
pub fn encode_notification(n: &Notification, out: &mut BytesMut) {
    message(NOTIFICATION, out, |out| {
        out.put_slice(&[n.code, n.subcode]);
        out.put_slice(&n.data[..n.data.len().min(MAX - HEADER - 2)]);
    });
}

/// Appends a ROUTE-REFRESH (RFC 2918, RFC 7313).
pub fn encode_route_refresh(family: Family, kind: RefreshKind, out: &mut BytesMut) {
    let subtype = match kind {
        RefreshKind::Request => 0,
        RefreshKind::Begin => 1,
        RefreshKind::End => 2,
    };
    message(ROUTE_REFRESH, out, |out| {
        out.put_u16(family.afi());
        out.put_slice(&[subtype, family.safi()]);
    });
}

/// Appends the End-of-RIB marker of `family` (RFC 4724 §2).
pub fn encode_end_of_rib(family: Family, out: &mut BytesMut) {
    message(UPDATE, out, |out| {
        out.put_u16(0);
        match family {
            Family::Ipv4Unicast => out.put_u16(0),
            Family::Ipv6Unicast => {
                out.put_u16(6);
                put_attribute(OPTIONAL, MP_UNREACH_NLRI, out, |out| put_family(family, out));
            }
        }
    });
}

/// Appends one UPDATE that announces as many of `prefixes` as fit, from the front and of the first one's family, and returns how many:
/// at least one, or none (and nothing is appended) if `prefixes` is empty.
///
/// IPv4 prefixes with an IPv4 next hop stand in the NLRI field, all others in MP_REACH_NLRI (RFC 4760; RFC 8950 for IPv4 by way of an
/// IPv6 next hop). Every attribute that is set is written: what a peer must not get, as LOCAL_PREF an external one, policy removes.
///
/// # Errors
/// The attributes leave no room for the first prefix. Nothing is appended then.
pub fn encode_announcement(
    attributes: &Attributes,
    prefixes: &[Nlri],
    context: &Context,
    out: &mut BytesMut,
) -> Result<usize, AttributesTooLong> {
    let Some(family) = prefixes.first().map(|nlri| Family::of(&nlri.prefix)) else { return Ok(0) };
    let (max, add_path) = (max_length(context), context.add_path_send(family));
    let classic = match attributes.next_hop {
        IpAddr::V4(address) if family == Family::Ipv4Unicast => Some(address),
        _ => None,
    };
    let mut field = BytesMut::new();
    put_attributes(attributes, classic, context, &mut field);
    // MP_REACH_NLRI's header with the extended length, family, next hop with its length, reserved octet.
    let mp_head = if classic.is_some() { 0 } else { 4 + 3 + 1 + 16 + 1 };
    let room = max.saturating_sub(HEADER + 4 + mp_head + field.len());
    let taken = nlri::fitting(prefixes, family, add_path, room);
    if taken == 0 {
        return Err(AttributesTooLong { attributes: mp_head + field.len(), max });
    }
    let prefixes = &prefixes[..taken];
    if classic.is_some() {
        message(UPDATE, out, |out| {
            out.put_u16(0);
            out.put_u16(length_field(field.len()));
            out.put_slice(&field);
            prefixes.iter().for_each(|nlri| nlri::encode(nlri, add_path, out));
        });
    } else {
        message(UPDATE, out, |out| {
            out.put_u16(0);
            sized(out, |out| {
                // First of all attributes (RFC 7606 §5.1).
                put_attribute(OPTIONAL, MP_REACH_NLRI, out, |out| {
                    put_family(family, out);
                    let next_hop = match attributes.next_hop {
                        IpAddr::V4(address) => address.to_ipv6_mapped(),
                        IpAddr::V6(address) => address,
                    };
                    out.put_u8(16);
                    out.put_slice(&next_hop.octets());
                    out.put_u8(0);
                    prefixes.iter().for_each(|nlri| nlri::encode(nlri, add_path, out));
                });
                out.put_slice(&field);
            });
        });
    }
    Ok(taken)
}

/// Appends one UPDATE that withdraws as many of `prefixes` as fit, from the front and of the first one's family, and returns how many:
/// at least one, or none (and nothing is appended) if `prefixes` is empty.
pub fn encode_withdrawal(prefixes: &[Nlri], context: &Context, out: &mut BytesMut) -> usize {
    let Some(family) = prefixes.first().map(|nlri| Family::of(&nlri.prefix)) else { return 0 };
    let (max, add_path) = (max_length(context), context.add_path_send(family));
    // In IPv6 MP_UNREACH_NLRI's header with the extended length, and the family.
    let mp_head = if family == Family::Ipv4Unicast { 0 } else { 4 + 3 };
    let taken = nlri::fitting(prefixes, family, add_path, max - HEADER - 4 - mp_head);
    let put_prefixes = |out: &mut BytesMut| prefixes[..taken].iter().for_each(|nlri| nlri::encode(nlri, add_path, out));
    message(UPDATE, out, |out| match family {
        Family::Ipv4Unicast => {
            sized(out, put_prefixes);
            out.put_u16(0);
        }
        Family::Ipv6Unicast => {
            out.put_u16(0);
            sized(out, |out| {
                put_attribute(OPTIONAL, MP_UNREACH_NLRI, out, |out| {
                    put_family(family, out);
                    put_prefixes(out);
                });
            });
        }
    });
    taken
}

/// Writes a message's header around what `body` writes.
pub(super) fn message(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_bytes(0xff, 16);
    out.put_u16(0);
    out.put_u8(kind);
    body(out);
    let length = length_field(out.len() - start);
    out[start + 16..start + 18].copy_from_slice(&length.to_be_bytes());
}

fn max_length(context: &Context) -> usize {
    if context.extended_messages { EXTENDED_MAX } else { MAX }
}

/// Every attribute but the MP ones, in the order of their codes (RFC 4271 §5), NEXT_HOP if there is one to stand there.
fn put_attributes(attributes: &Attributes, next_hop: Option<Ipv4Addr>, context: &Context, out: &mut BytesMut) {
    const BOTH: u8 = OPTIONAL | TRANSITIVE;
    let Attributes {
        origin,
        as_path,
        next_hop: _,
        med,
        local_pref,
        atomic_aggregate,
        aggregator,
        communities,
        originator_id,
        cluster_list,
        extended_communities,
        large_communities,
        unknown,
    } = attributes;
    let width = AsWidth::of(context.four_octet_as);
    let unknown_between = |codes: std::ops::Range<u8>| unknown.iter().filter(move |other| codes.contains(&other.code));

    let origin = match origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    };
    put_attribute(TRANSITIVE, ORIGIN, out, |out| out.put_u8(origin));
    put_attribute(TRANSITIVE, AS_PATH, out, |out| as_path.encode(width, out));
    if let Some(address) = next_hop {
        put_attribute(TRANSITIVE, NEXT_HOP, out, |out| out.put_slice(&address.octets()));
    }
    if let Some(med) = med {
        put_attribute(OPTIONAL, MULTI_EXIT_DISC, out, |out| out.put_u32(*med));
    }
    if let Some(local_pref) = local_pref {
        put_attribute(TRANSITIVE, LOCAL_PREF, out, |out| out.put_u32(*local_pref));
    }
    if *atomic_aggregate {
        put_attribute(TRANSITIVE, ATOMIC_AGGREGATE, out, |_| {});
    }
    if let Some((asn, address)) = aggregator {
        put_attribute(BOTH, AGGREGATOR, out, |out| {
            width.write(*asn, out);
            out.put_slice(&address.octets());
        });
    }
    put_list(BOTH, COMMUNITIES, communities, out, |community, out| out.put_u32(*community));
    if let Some(identifier) = originator_id {
        put_attribute(OPTIONAL, ORIGINATOR_ID, out, |out| out.put_slice(&identifier.0.octets()));
    }
    put_list(OPTIONAL, CLUSTER_LIST, cluster_list, out, |cluster, out| out.put_slice(&cluster.0.octets()));
    put_unknown(unknown_between(0..EXTENDED_COMMUNITIES), out);
    put_list(BOTH, EXTENDED_COMMUNITIES, extended_communities, out, |community, out| out.put_u64(*community));
    if width == AsWidth::Two {
        // RFC 6793 §4.2.2: only where AS_TRANS stands for something.
        if !as_path.fits_two_octets() {
            put_attribute(BOTH, AS4_PATH, out, |out| as_path.encode(AsWidth::Four, out));
        }
        if let Some((asn, address)) = aggregator.filter(|(asn, _)| u32::from(two_octets(*asn)) != asn.0) {
            put_attribute(BOTH, AS4_AGGREGATOR, out, |out| {
                AsWidth::Four.write(asn, out);
                out.put_slice(&address.octets());
            });
        }
    }
    put_unknown(unknown_between(EXTENDED_COMMUNITIES..LARGE_COMMUNITIES), out);
    put_list(BOTH, LARGE_COMMUNITIES, large_communities, out, |(global, local1, local2), out| {
        out.put_u32(*global);
        out.put_u32(*local1);
        out.put_u32(*local2);
    });
    put_unknown(unknown.iter().filter(|other| other.code >= LARGE_COMMUNITIES), out);
}

fn put_unknown<'a>(unknown: impl Iterator<Item = &'a UnknownAttribute>, out: &mut BytesMut) {
    for attribute in unknown {
        put_attribute(OPTIONAL | TRANSITIVE | PARTIAL, attribute.code, out, |out| out.put_slice(&attribute.value));
    }
}

/// An empty list is no attribute at all: RFC 7606 §7.8 and its like call it malformed.
fn put_list<T>(flags: u8, code: u8, items: &[T], out: &mut BytesMut, put: impl Fn(&T, &mut BytesMut)) {
    if !items.is_empty() {
        put_attribute(flags, code, out, |out| items.iter().for_each(|item| put(item, out)));
    }
}

/// Writes an attribute's header around what `value` writes, with the extended length where it needs one.
fn put_attribute(flags: u8, code: u8, out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&[flags, code, 0]);
    value(out);
    let length = out.len() - start - 3;
    match u8::try_from(length) {
        Ok(length) => out[start + 2] = length,
        Err(_) => {
            out[start] |= EXTENDED_LENGTH;
            out.put_u8(0);
            out.copy_within(start + 3..start + 3 + length, start + 4);
            out[start + 2..start + 4].copy_from_slice(&length_field(length).to_be_bytes());
        }
    }
}

/// Writes a two-octet length before what `body` writes.
fn sized(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u16(0);
    body(out);
    let length = length_field(out.len() - start - 2);
    out[start..start + 2].copy_from_slice(&length.to_be_bytes());
}

fn put_family(family: Family, out: &mut BytesMut) {
    out.put_u16(family.afi());
    out.put_u8(family.safi());
}

/// A length in two octets. What is longer does not fit into any message: whoever writes messages checks that before.
fn length_field(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
