//! Captured packets: how many of which kind, and how they were wrapped.

use std::net::IpAddr;

use super::{DiffLine, Verdict, count};
use crate::scenario::model::PacketExpectation;
use crate::scenario::observed::SeenPacket;

/// The ends of a [`PacketExpectation`] as addresses.
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

/// Counts the IP packets that fit in every respect: from `min` to `max` of them.
///
/// Where an encapsulation and an end are given and packets are wanted, an interface that carried such a packet may not
/// have carried one of the same flow that was wrapped otherwise: "nothing is encapsulated" means none.
pub fn packets(expected: &PacketExpectation, ends: PacketEnds, observed: &[SeenPacket]) -> Verdict {
    let flow: Vec<&SeenPacket> = observed.iter().filter(|packet| of_flow(expected, ends, packet)).collect();
    let fits = |packet: &&&SeenPacket| {
        expected.encap.is_none_or(|encap| packet.encap == encap)
            && expected.ttl.is_none_or(|ttl| packet.ttl == Some(ttl))
            && wrapped_as(expected, ends, packet)
    };
    let fitting: Vec<&SeenPacket> = flow.iter().filter(fits).copied().collect();
    let number = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
    let wish = described(expected, ends);
    if expected.max.is_some_and(|max| number > max) {
        let found =
            format!("{}, that is {} too many", count(fitting.len(), "packet"), number - expected.max.unwrap_or(0));
        return Verdict::fail(wish, found, lines(&fitting));
    }
    if number < expected.min {
        let found = format!("{} of them, {} of the flow, {} in all", fitting.len(), flow.len(), observed.len());
        // What went by instead: of the flow if there was any, else whatever there was.
        let others: Vec<&SeenPacket> = match flow.is_empty() {
            true => observed.iter().collect(),
            false => flow.iter().filter(|packet| !fitting.contains(packet)).copied().collect(),
        };
        return Verdict::fail(wish, found, lines(&others));
    }
    let (Some(encap), true) = (expected.encap, ends.src.is_some() || ends.dst.is_some()) else { return Verdict::Pass };
    let stray: Vec<&SeenPacket> = flow
        .iter()
        .filter(|packet| packet.encap != encap && fitting.iter().any(|other| other.interface == packet.interface))
        .copied()
        .collect();
    match stray.is_empty() {
        true => Verdict::Pass,
        false => {
            let found = format!("{} of the same flow, wrapped otherwise", count(stray.len(), "packet"));
            Verdict::fail(wish, found, lines(&stray))
        }
    }
}

fn of_flow(expected: &PacketExpectation, ends: PacketEnds, packet: &SeenPacket) -> bool {
    let port = |wanted: u16| packet.ports.is_some_and(|(src, dst)| src == wanted || dst == wanted);
    packet.src.is_some()
        && (ends.src.is_none() || packet.src == ends.src)
        && (ends.dst.is_none() || packet.dst == ends.dst)
        && expected.proto.is_none_or(|proto| packet.protocol == Some(proto.0))
        && expected.port.is_none_or(port)
}

/// The outer headers are as expected; of what is not said, anything is.
fn wrapped_as(expected: &PacketExpectation, ends: PacketEnds, packet: &SeenPacket) -> bool {
    (ends.outer_src.is_none() || packet.outer_src == ends.outer_src)
        && (ends.outer_dst.is_none() || packet.outer_dst == ends.outer_dst)
        && expected.outer.ttl.is_none_or(|ttl| packet.outer_ttl == Some(ttl))
        && expected.outer.port.is_none_or(|port| packet.outer_port == Some(port))
        && expected.vni.is_none_or(|vni| packet.vni == Some(vni))
        && expected.overhead.is_none_or(|overhead| packet.overhead == overhead as usize)
}

fn described(expected: &PacketExpectation, ends: PacketEnds) -> String {
    let number = match (expected.min, expected.max) {
        (_, Some(0)) => "no packet".into(),
        (min, None) => format!("at least {}", count(min as usize, "packet")),
        (0, Some(max)) => format!("at most {}", count(max as usize, "packet")),
        (min, Some(max)) if min == max => format!("exactly {}", count(min as usize, "packet")),
        (min, Some(max)) => format!("{min} to {max} packets"),
    };
    let mut words = vec![number];
    let end = |name: &Option<crate::scenario::At<String>>, address: Option<IpAddr>| match (name, address) {
        (Some(name), Some(address)) if name.value != address.to_string() => Some(format!("{} ({address})", name.value)),
        (Some(name), _) => Some(name.value.clone()),
        (None, _) => None,
    };
    words.extend(end(&expected.src, ends.src).map(|src| format!("from {src}")));
    words.extend(end(&expected.dst, ends.dst).map(|dst| format!("to {dst}")));
    words.extend(expected.proto.map(|proto| format!("proto {proto}")));
    words.extend(expected.port.map(|port| format!("port {port}")));
    words.extend(expected.ttl.map(|ttl| format!("ttl {ttl}")));
    words.extend(expected.encap.map(|encap| format!("encap {encap}")));
    words.extend(end(&expected.outer.src, ends.outer_src).map(|src| format!("outer from {src}")));
    words.extend(end(&expected.outer.dst, ends.outer_dst).map(|dst| format!("outer to {dst}")));
    words.extend(expected.outer.ttl.map(|ttl| format!("outer ttl {ttl}")));
    words.extend(expected.outer.port.map(|port| format!("outer port {port}")));
    words.extend(expected.vni.map(|vni| format!("vni {vni}")));
    words.extend(expected.overhead.map(|overhead| format!("overhead {overhead}")));
    words.join(" ")
}

fn lines(packets: &[&SeenPacket]) -> Vec<DiffLine> {
    const SHOWN: usize = 20;
    let line = |packet: &&SeenPacket| DiffLine::unexpected(format!("{} {}", packet.interface, packet.text));
    let mut lines: Vec<DiffLine> = packets.iter().take(SHOWN).map(line).collect();
    if packets.len() > SHOWN {
        lines.push(DiffLine::unexpected(format!("… {} more packets", packets.len() - SHOWN)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::testing::{shown, step};
    use super::*;
    use crate::scenario::{Encap, Verb};

    fn seen(interface: &str, encap: Encap, src: u8, dst: u8) -> SeenPacket {
        SeenPacket {
            interface: interface.into(),
            encap,
            src: Some([10, 244, 0, src].into()),
            dst: Some([10, 244, 0, dst].into()),
            outer_src: None,
            outer_dst: None,
            outer_ttl: None,
            outer_port: None,
            vni: None,
            overhead: 0,
            ttl: Some(63),
            protocol: Some(6),
            ports: Some((40000, 80)),
            length: 74,
            text: format!("10.244.0.{src} > 10.244.0.{dst} {encap}"),
        }
    }

    fn arp() -> SeenPacket {
        SeenPacket { src: None, dst: None, ttl: None, protocol: None, ports: None, ..seen("n:eth0", Encap::None, 1, 2) }
    }

    fn verdict(expect: &str, observed: &[SeenPacket]) -> Vec<String> {
        let text = format!(
            "capture = {{ on = ['n:eth0'], during = {{ ping = {{ from = 'a', to = 'b' }} }}, expect = {{ {expect} }} }}"
        );
        let Verb::Capture(capture) = step(&text).verb else { panic!("capture") };
        let address = |name: &str| match name {
            "a" => [10, 244, 0, 1].into(),
            _ => [10, 244, 0, 2].into(),
        };
        let ends = PacketEnds {
            src: capture.expect.src.as_deref().map(|name| address(name)),
            dst: capture.expect.dst.as_deref().map(|name| address(name)),
            outer_src: capture.expect.outer.src.as_deref().map(|name| address(name)),
            outer_dst: capture.expect.outer.dst.as_deref().map(|name| address(name)),
        };
        shown(packets(&capture.expect, ends, observed))
    }

    #[test]
    fn packets_that_fit_in_every_respect_are_counted() {
        let flow = [seen("n:eth0", Encap::None, 1, 2), seen("n:eth0", Encap::None, 2, 1), arp()];
        assert_eq!(verdict("encap = 'none', src = 'a', dst = 'b', min = 1", &flow), Vec::<String>::new());
        assert_eq!(verdict("proto = 'tcp', port = 80, ttl = 63, min = 2, max = 2", &flow), Vec::<String>::new());
        assert_eq!(
            verdict("src = 'a', ttl = 64", &flow),
            [
                "at least 1 packet from a (10.244.0.1) ttl 64 | 0 of them, 1 of the flow, 3 in all",
                "+ n:eth0 10.244.0.1 > 10.244.0.2 none",
            ]
        );
    }

    #[test]
    fn what_must_not_be_seen_is_shown() {
        let wrapped = [seen("n:eth0", Encap::Ipip, 1, 2)];
        assert_eq!(
            verdict("encap = 'ipip', max = 0", &wrapped),
            ["no packet encap ipip | 1 packet, that is 1 too many", "+ n:eth0 10.244.0.1 > 10.244.0.2 ipip",]
        );
        assert_eq!(verdict("encap = 'ipip', max = 0", &[seen("n:eth0", Encap::None, 1, 2)]), Vec::<String>::new());
    }

    #[test]
    fn a_flow_that_is_wrapped_now_and_then_is_not_plain() {
        let mixed = [seen("n:eth0", Encap::None, 1, 2), seen("n:eth0", Encap::Ipip, 1, 2)];
        assert_eq!(
            verdict("encap = 'none', src = 'a', dst = 'b'", &mixed),
            [
                "at least 1 packet from a (10.244.0.1) to b (10.244.0.2) encap none | 1 packet of the same flow, wrapped otherwise",
                "+ n:eth0 10.244.0.1 > 10.244.0.2 ipip",
            ]
        );
    }

    #[test]
    fn a_flow_may_be_plain_on_one_interface_and_wrapped_on_another() {
        let path = [seen("p:eth0", Encap::None, 1, 2), seen("n:eth0", Encap::Ipip, 1, 2)];
        assert_eq!(verdict("encap = 'ipip', src = 'a', dst = 'b'", &path), Vec::<String>::new());
    }

    #[test]
    fn the_outer_packet_is_held_to_what_is_said_of_it() {
        let wrapped = SeenPacket {
            outer_src: Some([10, 244, 0, 1].into()),
            outer_dst: Some([10, 244, 0, 2].into()),
            outer_ttl: Some(64),
            outer_port: Some(4789),
            vni: Some(4096),
            overhead: 50,
            ..seen("n:eth0", Encap::Vxlan, 7, 8)
        };
        let all = "encap = 'vxlan', outer = { src = 'a', dst = 'b', ttl = 64, port = 4789 }, vni = 4096, overhead = 50";
        assert_eq!(verdict(all, std::slice::from_ref(&wrapped)), Vec::<String>::new());
        for (wrong, words) in [
            ("outer = { src = 'b' }", "outer from b (10.244.0.2)"),
            ("outer = { ttl = 63 }", "outer ttl 63"),
            ("vni = 1", "vni 1"),
            ("overhead = 20", "overhead 20"),
        ] {
            let found = verdict(wrong, std::slice::from_ref(&wrapped));
            assert_eq!(found[0], format!("at least 1 packet {words} | 0 of them, 1 of the flow, 1 in all"));
        }
    }

    #[test]
    fn an_empty_capture_fails_what_wants_packets() {
        assert_eq!(
            verdict("src = 'a'", &[]),
            ["at least 1 packet from a (10.244.0.1) | 0 of them, 0 of the flow, 0 in all"]
        );
    }
}
