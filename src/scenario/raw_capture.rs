//! A capture as it is written: its traffic, what is counted, and the way that a packet takes.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use toml::Spanned;
use toml::de::DeValue;

use super::model::{Encap, IpProtocol, Place};
use super::raw::{RawCurl, RawExec, RawPing};
use super::read::{At, Read, Text, table};
use crate::topology::Diagnostic;

table! {
    /// A capture around some traffic: what is counted on interfaces (`expect`), the way that one packet takes (`path`), or both.
    RawCapture {
        /// The interfaces, `WHERE:IFACE`, that are counted together where `expect` names none of its own.
        on: Option<At<Vec<At<Text<Place>>>>>,
        /// The traffic: a table, or a list of tables, one after the other.
        during: At<RawDuring>,
        /// Which packets are taken at all, in tcpdump's words.
        filter: Option<At<String>>,
        /// What must be seen: a table, or a list of tables that must all hold.
        expect: Option<At<RawExpectations>>,
        /// The interfaces that one packet passes, in this order, and how it looks at each.
        path: Option<At<Vec<At<RawHop>>>>,
    }
}

/// One expectation, or a list.
#[derive(Clone, Debug)]
pub(super) struct RawExpectations(pub(super) Vec<At<RawPackets>>);

impl Read for RawExpectations {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        one_or_list(value, faults).map(Self)
    }
}

impl JsonSchema for RawExpectations {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Expectations".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        one_or_list_schema(generator.subschema_for::<RawPackets>())
    }
}

/// One kind of traffic, or a list.
#[derive(Clone, Debug)]
pub(super) struct RawDuring(pub(super) Vec<At<RawTraffic>>);

impl Read for RawDuring {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        one_or_list(value, faults).map(Self)
    }
}

impl JsonSchema for RawDuring {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "During".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        one_or_list_schema(generator.subschema_for::<RawTraffic>())
    }
}

/// A table, or a list of tables.
fn one_or_list<T: Read>(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Vec<At<T>>> {
    match value.get_ref() {
        DeValue::Array(_) => Vec::read(value, faults),
        _ => Some(vec![At { value: T::read(value, faults)?, span: value.span() }]),
    }
}

fn one_or_list_schema(one: Schema) -> Schema {
    json_schema!({ "anyOf": [one, { "type": "array", "minItems": 1, "items": one }] })
}

table! {
    /// Some traffic of a capture: exactly one of these.
    RawTraffic {
        /// ICMP echo requests.
        ping: Option<At<RawPing>>,
        /// An HTTP GET.
        curl: Option<At<RawCurl>>,
        /// A command.
        exec: Option<At<RawExec>>,
    }
}

table! {
    /// How many packets of which kind.
    RawPackets {
        /// The interface, `WHERE:IFACE`, whose packets are counted; default: all those of the capture's `on`, together.
        on: Option<At<Text<Place>>>,
        /// How they are wrapped.
        encap: Option<At<Encap>>,
        /// The source: of the inner packet, where there is one. A node or pod, or an address.
        src: Option<At<String>>,
        /// The destination, likewise.
        dst: Option<At<String>>,
        /// The IP protocol, of the inner packet.
        proto: Option<At<Text<IpProtocol>>>,
        /// The source or destination port, of the inner packet.
        port: Option<At<u16>>,
        /// The TTL on the wire, of the inner packet.
        ttl: Option<At<u8>>,
        /// The outer packet, where there is one.
        outer: Option<At<RawOuter>>,
        /// The VXLAN network identifier.
        vni: Option<At<u32>>,
        /// Bytes that wrapping adds: 20 for IPIP, 50 for VXLAN.
        overhead: Option<At<u32>>,
        /// At least so many; default 1, or 0 with `max = 0`.
        min: Option<At<u32>>,
        /// At most so many; default: any number.
        max: Option<At<u32>>,
    }
}

table! {
    /// One interface on the way of a packet, and how the packet looks there.
    RawHop {
        /// The interface, `WHERE:IFACE`.
        on: At<Text<Place>>,
        /// How it is wrapped.
        encap: Option<At<Encap>>,
        /// The source: of the inner packet, where there is one. A node or pod, or an address.
        src: Option<At<String>>,
        /// The destination, likewise; of the first hop, the traffic's `to` where neither is given.
        dst: Option<At<String>>,
        /// The IP protocol, of the inner packet.
        proto: Option<At<Text<IpProtocol>>>,
        /// The source or destination port, of the inner packet.
        port: Option<At<u16>>,
        /// The TTL on the wire, of the inner packet.
        ttl: Option<At<u8>>,
        /// The outer packet, where there is one.
        outer: Option<At<RawOuter>>,
        /// The VXLAN network identifier.
        vni: Option<At<u32>>,
        /// Bytes that wrapping adds: 20 for IPIP, 50 for VXLAN.
        overhead: Option<At<u32>>,
    }
}

table! {
    /// The outer headers of a wrapped packet.
    RawOuter {
        /// The source: a node, or an address.
        src: Option<At<String>>,
        /// The destination, likewise.
        dst: Option<At<String>>,
        /// The TTL on the wire.
        ttl: Option<At<u8>>,
        /// The destination port, where the outer packet is UDP.
        port: Option<At<u16>>,
    }
}
