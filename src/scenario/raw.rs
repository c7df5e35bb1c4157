//! A scenario file as it is written: shapes and plain values only, nothing is put in relation to anything else.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

use super::model::{BeyondWord, Expect, LinkAction, LinkKindWord, PeerAction, Place, Provider, Until};
use super::raw_capture::RawCapture;
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
        /// Whether it needs a kernel whose nftables can masquerade (natOutgoing); default false.
        masquerade: Option<At<bool>>,
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
        /// Finds the largest packet that passes without being fragmented.
        mtu: Option<At<RawMtu>>,
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
        /// Looks at a speaker's BGP sessions and paths.
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
        /// With `expect = "fail"`: what comes back contains this text, `Time to live exceeded` say.
        error: Option<At<String>>,
    }
}

table! {
    /// The largest IP packet that passes with Don't Fragment set, whatever the sender remembers of the path.
    RawMtu {
        /// The node or pod that sends.
        from: At<String>,
        /// The node or pod, or the address, that answers.
        to: At<String>,
        /// The length of the largest packet in bytes, its IP header included.
        largest: At<u16>,
        /// What one byte more brings; left out, it may be anything.
        beyond: Option<At<RawBeyond>>,
    }
}

/// The value of `beyond`.
#[derive(Clone, Debug)]
pub(super) enum RawBeyond {
    /// A word.
    Silence,
    /// A table.
    Refusal(RawRefusal),
}

table! {
    /// Who refuses a packet that is too long: `local`, or `from` and `mtu`.
    RawRefusal {
        /// The sender's own kernel, which names this MTU.
        local: Option<At<u16>>,
        /// The node or pod, or the address, that answers with ICMP "fragmentation needed".
        from: Option<At<String>>,
        /// The next hop's MTU that it names.
        mtu: Option<At<u16>>,
    }
}

impl Read for RawBeyond {
    fn read(value: &Spanned<DeValue<'_>>, faults: &mut Vec<Diagnostic>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(_) => RawRefusal::read(value, faults).map(Self::Refusal),
            DeValue::String(_) => BeyondWord::read(value, faults).map(|BeyondWord::Silence| Self::Silence),
            _ => wrong_type("`\"silence\"`, `{ local = 1480 }` or `{ from = \"node1\", mtu = 1480 }`", value, faults),
        }
    }
}

impl JsonSchema for RawBeyond {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Beyond".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            generator.subschema_for::<BeyondWord>(),
            generator.subschema_for::<RawRefusal>(),
        ] })
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
        /// Ask a pod's page for a body of so many bytes; all of them must arrive.
        size: Option<At<u32>>,
        /// Text that the body contains.
        body: Option<At<String>>,
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
    /// BGP sessions and paths.
    RawBgp {
        /// The node, or a router that speaks BGP.
        on: At<String>,
        /// Each named session (by node, address or protocol name) is in this state.
        sessions: Option<At<RawSessions>>,
        /// Every session is in this state, and there is at least one.
        all: Option<At<Text<State>>>,
        /// Paths in the speaker's table.
        paths: Option<At<Vec<At<RawPath>>>>,
    }
}

table! {
    /// A path of a speaker's table; what is left out may be anything.
    RawPath {
        /// The destination.
        prefix: At<Text<IpNet>>,
        /// The peer that it came from: a node or router, its address, or the protocol's name.
        from: Option<At<String>>,
        /// Whether it is the selected one.
        best: Option<At<bool>>,
        /// The AS path as BIRD prints it: `65001 64512`; empty for a route of the own AS.
        path: Option<At<String>>,
        /// NEXT_HOP: a node or router, or an address.
        next: Option<At<String>>,
        /// LOCAL_PREF.
        pref: Option<At<u32>>,
        /// Communities that it carries, among others.
        communities: Option<At<Vec<At<String>>>>,
        /// ORIGINATOR_ID: a node, or an identifier.
        originator: Option<At<String>>,
        /// CLUSTER_LIST, nearest first.
        clusters: Option<At<Vec<At<String>>>>,
        /// Text of why it lost: `AS path is longer`.
        lost: Option<At<String>>,
        /// There is no such path; default false.
        absent: Option<At<bool>>,
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
