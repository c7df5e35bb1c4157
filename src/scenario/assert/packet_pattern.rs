//! Whether a captured packet is of the kind that is described, and the description in words.

use std::net::IpAddr;

use super::DiffLine;
use crate::scenario::At;
use crate::scenario::model::PacketPattern;
use crate::scenario::observed::SeenPacket;

/// The ends of a [`PacketPattern`] as addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketEnds {
    /// The address of `src`, if it is given.
    pub src: Option<IpAddr>,
    /// The address of `dst`, if it is given.
    pub dst: Option<IpAddr>,
    /// The address of `outer.src`, if it is given.
    pub outer_src: Option<IpAddr>,
    /// The address of `outer.dst`, if it is given.
    pub outer_dst: Option<IpAddr>,
}

/// A [`PacketPattern`] whose names have their addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    pub(super) pattern: &'a PacketPattern,
    pub(super) ends: PacketEnds,
}

impl Kind<'_> {
    /// It is an IP packet of the flow that is meant, however it looks.
    pub(super) fn is_of_flow(&self, packet: &SeenPacket) -> bool {
        let Self { pattern, ends } = self;
        let port = |wanted: u16| packet.ports.is_some_and(|(src, dst)| src == wanted || dst == wanted);
        packet.src.is_some()
            && (ends.src.is_none() || packet.src == ends.src)
            && (ends.dst.is_none() || packet.dst == ends.dst)
            && pattern.proto.is_none_or(|proto| packet.protocol == Some(proto.0))
            && pattern.port.is_none_or(port)
    }

    /// It fits in every respect; of what is not said, anything does.
    pub(super) fn fits(&self, packet: &SeenPacket) -> bool {
        let Self { pattern, ends } = self;
        self.is_of_flow(packet)
            && pattern.encap.is_none_or(|encap| packet.encap == encap)
            && pattern.ttl.is_none_or(|ttl| packet.ttl == Some(ttl))
            && (ends.outer_src.is_none() || packet.outer_src == ends.outer_src)
            && (ends.outer_dst.is_none() || packet.outer_dst == ends.outer_dst)
            && pattern.outer.ttl.is_none_or(|ttl| packet.outer_ttl == Some(ttl))
            && pattern.outer.port.is_none_or(|port| packet.outer_port == Some(port))
            && pattern.vni.is_none_or(|vni| packet.vni == Some(vni))
            && pattern.overhead.is_none_or(|overhead| packet.overhead == overhead as usize)
    }

    /// What is said of it, in words; empty if nothing is.
    pub(super) fn words(&self) -> Vec<String> {
        [self.flow_words(), self.shape_words()].concat()
    }

    /// What is said of who talks to whom.
    pub(super) fn flow_words(&self) -> Vec<String> {
        let Self { pattern, ends } = self;
        let mut words = Vec::new();
        words.extend(end(&pattern.src, ends.src).map(|src| format!("from {src}")));
        words.extend(end(&pattern.dst, ends.dst).map(|dst| format!("to {dst}")));
        words.extend(pattern.proto.map(|proto| format!("proto {proto}")));
        words.extend(pattern.port.map(|port| format!("port {port}")));
        words
    }

    /// What is said of how it looks on the wire.
    pub(super) fn shape_words(&self) -> Vec<String> {
        let Self { pattern, ends } = self;
        let mut words = Vec::new();
        words.extend(pattern.ttl.map(|ttl| format!("ttl {ttl}")));
        words.extend(pattern.encap.map(|encap| format!("encap {encap}")));
        words.extend(end(&pattern.outer.src, ends.outer_src).map(|src| format!("outer from {src}")));
        words.extend(end(&pattern.outer.dst, ends.outer_dst).map(|dst| format!("outer to {dst}")));
        words.extend(pattern.outer.ttl.map(|ttl| format!("outer ttl {ttl}")));
        words.extend(pattern.outer.port.map(|port| format!("outer port {port}")));
        words.extend(pattern.vni.map(|vni| format!("vni {vni}")));
        words.extend(pattern.overhead.map(|overhead| format!("overhead {overhead}")));
        words
    }
}

/// `web (10.244.0.1)`, or the address alone where that is what is written.
fn end(name: &Option<At<String>>, address: Option<IpAddr>) -> Option<String> {
    match (name, address) {
        (Some(name), Some(address)) if name.value != address.to_string() => Some(format!("{} ({address})", name.value)),
        (Some(name), _) => Some(name.value.clone()),
        (None, _) => None,
    }
}

/// The first of some packets, a line each.
pub(super) fn lines(packets: &[&SeenPacket]) -> Vec<DiffLine> {
    const SHOWN: usize = 20;
    let mut lines: Vec<DiffLine> =
        packets.iter().take(SHOWN).map(|packet| DiffLine::unexpected(&packet.text)).collect();
    if packets.len() > SHOWN {
        lines.push(DiffLine::unexpected(format!("… {} more packets", packets.len() - SHOWN)));
    }
    lines
}
