//! A scenario file as it is written: shapes and plain values only, nothing is put in relation to anything else.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

use super::model::{Encap, Expect, IpProtocol, LinkAction, LinkKindWord, PeerAction, Place, Provider, Until};
use super::read::{At, Keys, Read, Text, table, wrong_type};
use crate::bgp::view::State;
use crate::net::{IfName, MacAddr, RouteProtocol};
use crate::topology::Diagnostic;
use ipnet::IpNet;

table! {
    /// A scenario: a topology and what is to be shown of it, step by step.
    RawScenario {
        /// The topology file, relative to this file.
        topology: Option<At<String>>,
        /// The scenario's name; default: the file's stem.
        name: Option<At<String>>,
        /// Which tunl0 it needs; without it, either will do.
        provider: Option<At<Provider>>,
        /// How long all steps together may take; default: no limit but the steps' own.
        timeout: Option<At<Text<Duration>>>,
        /// The steps, in order. The first that fails ends the scenario.
        step: Option<At<RawSteps>>,
    }
}

/// The steps that could be read, and how many are written.
#[derive(Clone, Debug)]
pub(super) struct RawSteps {
    pub(super) read: Vec<At<RawStep>>,
    pub(super) written: usize,
}

impl Read for RawSteps {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let DeValue::Array(steps) = value.get_ref() else { return wrong_type("`[[step]]`", value, faults) };
        let read = steps.iter().filter_map(|step| Some(At { value: RawStep::read(step, faults)?, span: step.span() }));
        Some(Self { read: read.collect(), written: steps.len() })
    }
}

impl JsonSchema for RawSteps {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Steps".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<RawStep>() })
    }
}

table! {
    /// One step: exactly one verb.
    RawStep {
        /// What it shows, for the report; default: the verb and what it is about.
        name: Option<At<String>>,
        /// A state assertion is tried again until it holds or this much time is over; any other step may take that long. Default 10s.
        within: Option<At<Text<Duration>>>,
        /// `fail`: the packets of this ping, curl or capture must not come through.
        expect: Option<At<Expect>>,
        /// Sends ICMP echo requests; every one must be answered.
        ping: Option<At<RawPing>>,
        /// Gets a page over HTTP.
        curl: Option<At<RawCurl>>,
        /// Looks at the packets that some traffic makes.
        capture: Option<At<RawCapture>>,
        /// Looks at table main.
        routes: Option<At<RawRoutes>>,
        /// Looks at the neighbour (ARP) table.
        neighbours: Option<At<RawNeighbours>>,
        /// Looks at forwarding entries of VXLAN devices and bridges.
        fdb: Option<At<RawFdb>>,
        /// Looks at interfaces.
        links: Option<At<RawLinks>>,
        /// Looks at a node's BGP sessions.
        bgp: Option<At<RawBgp>>,
        /// Waits for a fact.
        wait: Option<At<RawWait>>,
        /// Runs a command.
        exec: Option<At<RawExec>>,
        /// Changes the lab, and returns when it has converged again.
        r#do: Option<At<RawDo>>,
    }
}

table! {
    /// ICMP echo requests.
    RawPing {
        /// The node or pod that sends.
        from: At<String>,
        /// The node or pod, or the address, that answers.
        to: At<String>,
        /// How many requests; default 1.
        count: Option<At<u32>>,
        /// The TTL with which every reply must arrive.
        ttl: Option<At<u8>>,
        /// Payload in bytes; default 56.
        size: Option<At<u16>>,
        /// Set Don't Fragment; default false.
        df: Option<At<bool>>,
    }
}

table! {
    /// An HTTP GET.
    RawCurl {
        /// The node or pod that asks.
        from: At<String>,
        /// The node or pod, or the address, that answers.
        to: At<String>,
        /// TCP port; default 80.
        port: Option<At<u16>>,
        /// Path; default `/`.
        path: Option<At<String>>,
        /// Status expected; default 200.
        status: Option<At<u16>>,
        /// Text that the body contains.
        body: Option<At<String>>,
    }
}

table! {
    /// A capture around some traffic.
    RawCapture {
        /// Interfaces, `WHERE:IFACE`.
        on: At<Vec<At<Text<Place>>>>,
        /// The traffic.
        during: At<RawDuring>,
        /// Which packets are taken at all, in tcpdump's words.
        filter: Option<At<String>>,
        /// What must be seen.
        expect: At<RawPackets>,
    }
}

table! {
    /// The traffic of a capture: exactly one.
    RawDuring {
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

table! {
    /// Routes, written as `ip route` prints them.
    RawRoutes {
        /// The node or pod.
        on: At<String>,
        /// What an omitted protocol means; `equal` then speaks of this protocol's routes only.
        proto: Option<At<Text<RouteProtocol>>>,
        /// These routes, and no other.
        equal: Option<At<Vec<At<String>>>>,
        /// These routes, among others.
        include: Option<At<Vec<At<String>>>>,
        /// None of these: a word that is left out matches anything.
        exclude: Option<At<Vec<At<String>>>>,
    }
}

table! {
    /// Neighbour entries, written as `ip neigh` prints them; a word that is left out matches anything.
    RawNeighbours {
        /// The node or pod.
        on: At<String>,
        /// These entries, among others.
        include: Option<At<Vec<At<String>>>>,
        /// None of these.
        exclude: Option<At<Vec<At<String>>>>,
    }
}

table! {
    /// Forwarding entries, written as `bridge fdb` prints them; a word that is left out matches anything.
    RawFdb {
        /// The node or pod.
        on: At<String>,
        /// These entries, among others.
        include: Option<At<Vec<At<String>>>>,
        /// None of these.
        exclude: Option<At<Vec<At<String>>>>,
    }
}

table! {
    /// Interfaces.
    RawLinks {
        /// The node or pod.
        on: At<String>,
        /// These interfaces, among others.
        include: Option<At<Vec<At<RawLink>>>>,
        /// None of these names.
        exclude: Option<At<Vec<At<Text<IfName>>>>>,
    }
}

table! {
    /// An interface; what is left out may be anything.
    RawLink {
        /// The name.
        name: At<Text<IfName>>,
        /// Administratively up.
        up: Option<At<bool>>,
        /// MTU in bytes.
        mtu: Option<At<u32>>,
        /// All IPv4 addresses, and those of IPv6 that are not link-local, in any order.
        addresses: Option<At<Vec<At<Text<IpNet>>>>>,
        /// Link-layer address.
        mac: Option<At<Text<MacAddr>>>,
        /// The device's kind; only with `provider = "kernel"`.
        kind: Option<At<LinkKindWord>>,
    }
}

table! {
    /// BGP sessions.
    RawBgp {
        /// The node.
        on: At<String>,
        /// Each named session (by node, address or protocol name) is in this state.
        sessions: Option<At<RawSessions>>,
        /// Every session is in this state, and there is at least one.
        all: Option<At<Text<State>>>,
    }
}

/// `{ node2 = "Established" }`, in the order of the keys.
#[derive(Clone, Debug)]
pub(super) struct RawSessions(pub(super) Vec<(At<String>, State)>);

impl Read for RawSessions {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        let table = Keys::open(value, faults)?;
        let states: Vec<_> = table.iter().map(|(key, value)| (key, Text::<State>::read(value, faults))).collect();
        states.into_iter().map(|(key, state)| Some((key, state?.0))).collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for RawSessions {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Sessions".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object", "minProperties": 1, "additionalProperties": generator.subschema_for::<Text<State>>()
        })
    }
}

table! {
    /// A fact to wait for: `until = "converged"`, or one state verb.
    RawWait {
        /// `"converged"`, or a table with one state verb.
        until: Option<At<RawUntil>>,
        /// Routes.
        routes: Option<At<RawRoutes>>,
        /// Neighbour entries.
        neighbours: Option<At<RawNeighbours>>,
        /// Forwarding entries.
        fdb: Option<At<RawFdb>>,
        /// Interfaces.
        links: Option<At<RawLinks>>,
        /// BGP sessions.
        bgp: Option<At<RawBgp>>,
    }
}

table! {
    /// One state verb.
    RawState {
        /// Routes.
        routes: Option<At<RawRoutes>>,
        /// Neighbour entries.
        neighbours: Option<At<RawNeighbours>>,
        /// Forwarding entries.
        fdb: Option<At<RawFdb>>,
        /// Interfaces.
        links: Option<At<RawLinks>>,
        /// BGP sessions.
        bgp: Option<At<RawBgp>>,
    }
}

/// The value of `until`.
#[derive(Clone, Debug)]
pub(super) enum RawUntil {
    /// A word.
    Word,
    /// A table.
    State(Box<RawState>),
}

impl Read for RawUntil {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => RawState::read(value, faults).map(|state| Self::State(Box::new(state))),
            _ => Until::read(value, faults).map(|Until::Converged| Self::Word),
        }
    }
}

impl JsonSchema for RawUntil {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Until".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            generator.subschema_for::<Until>(),
            generator.subschema_for::<RawState>(),
        ] })
    }
}

table! {
    /// A command.
    RawExec {
        /// The node or pod.
        on: At<String>,
        /// The program and its arguments, as they are: no shell.
        command: At<Vec<At<String>>>,
        /// Text that the standard output contains.
        stdout: Option<At<String>>,
        /// Exit status; default 0.
        status: Option<At<u8>>,
    }
}

table! {
    /// A change: `peer`, or `link`.
    RawDo {
        /// What to do to a BGP session of `node`, the one `with` somebody.
        peer: Option<At<PeerAction>>,
        /// The node whose session it is.
        node: Option<At<String>>,
        /// The other end: a node, an address, or the protocol's name.
        with: Option<At<String>>,
        /// What to do to the interface `on`.
        link: Option<At<LinkAction>>,
        /// The interface, `WHERE:IFACE`.
        on: Option<At<Text<Place>>>,
    }
}
