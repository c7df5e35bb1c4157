//! Captured packets: how many of which kind, and how they were wrapped.

use super::packet_pattern::{Kind, PacketEnds, lines};
use super::{Verdict, count};
use crate::scenario::model::{PacketExpectation, Place};
use crate::scenario::observed::SeenPacket;

/// Counts the IP packets on the expectation's interfaces that fit in every respect: from `min` to `max` of them.
///
/// Where an encapsulation and an end are given and packets are wanted, an interface that carried such a packet may not
/// have carried one of the same flow that was wrapped otherwise: "nothing is encapsulated" means none.
pub fn packets(expected: &PacketExpectation, ends: PacketEnds, observed: &[SeenPacket]) -> Verdict {
    let kind = Kind { pattern: &expected.packet, ends };
    let heard = |packet: &&SeenPacket| expected.on.iter().any(|place| is_at(place, packet));
    let observed: Vec<&SeenPacket> = observed.iter().filter(heard).collect();
    let flow: Vec<&SeenPacket> = observed.iter().filter(|packet| kind.is_of_flow(packet)).copied().collect();
    let fitting: Vec<&SeenPacket> = flow.iter().filter(|packet| kind.fits(packet)).copied().collect();
    let number = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
    let wish = described(expected, kind);
    if expected.max.is_some_and(|max| number > max) {
        let found =
            format!("{}, that is {} too many", count(fitting.len(), "packet"), number - expected.max.unwrap_or(0));
        return Verdict::fail(wish, found, lines(&fitting));
    }
    if number < expected.min {
        let found = format!("{} of them, {} of the flow, {} in all", fitting.len(), flow.len(), observed.len());
        // What went by instead: of the flow if there was any, else whatever there was.
        let others: Vec<&SeenPacket> = match flow.is_empty() {
            true => observed,
            false => flow.iter().filter(|packet| !fitting.contains(packet)).copied().collect(),
        };
        return Verdict::fail(wish, found, lines(&others));
    }
    let (Some(encap), true) = (expected.packet.encap, ends.src.is_some() || ends.dst.is_some()) else {
        return Verdict::Pass;
    };
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

/// Whether the packet was seen at `place`; `node1:any` is every interface of node1.
fn is_at(place: &Place, packet: &SeenPacket) -> bool {
    match place.interface.as_str() {
        "any" => packet.interface.rsplit_once(':').is_some_and(|(namespace, _)| namespace == place.namespace),
        _ => packet.interface == place.to_string(),
    }
}

fn described(expected: &PacketExpectation, kind: Kind<'_>) -> String {
    let number = match (expected.min, expected.max) {
        (_, Some(0)) => "no packet".into(),
        (min, None) => format!("at least {}", count(min as usize, "packet")),
        (0, Some(max)) => format!("at most {}", count(max as usize, "packet")),
        (min, Some(max)) if min == max => format!("exactly {}", count(min as usize, "packet")),
        (min, Some(max)) => format!("{min} to {max} packets"),
    };
    let on: Vec<String> = expected.on.iter().map(ToString::to_string).collect();
    let mut words = vec![number];
    words.extend(kind.words());
    words.push(format!("on {}", on.join(", ")));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{seen, shown, step};
    use super::*;
    use crate::scenario::{Encap, PacketPattern, Verb};

    fn arp() -> SeenPacket {
        SeenPacket { src: None, dst: None, ttl: None, protocol: None, ports: None, ..seen("n:eth0", Encap::None, 1, 2) }
    }

    fn verdict(expect: &str, observed: &[SeenPacket]) -> Vec<String> {
        counted("['n:any', 'p:eth0']", expect, observed)
    }

    fn counted(on: &str, expect: &str, observed: &[SeenPacket]) -> Vec<String> {
        let text = format!(
            "capture = {{ on = {on}, during = {{ ping = {{ from = 'a', to = 'b' }} }}, expect = {{ {expect} }} }}"
        );
        let Verb::Capture(capture) = step(&text).verb else { panic!("capture") };
        let address = |name: &str| match name {
            "a" => [10, 244, 0, 1].into(),
            _ => [10, 244, 0, 2].into(),
        };
        let expected = &capture.expect[0];
        let PacketPattern { src, dst, outer, .. } = &expected.packet;
        let ends = PacketEnds {
            src: src.as_deref().map(|name| address(name)),
            dst: dst.as_deref().map(|name| address(name)),
            outer_src: outer.src.as_deref().map(|name| address(name)),
            outer_dst: outer.dst.as_deref().map(|name| address(name)),
        };
        shown(packets(expected, ends, observed))
    }

    #[test]
    fn packets_that_fit_in_every_respect_are_counted() {
        let flow = [seen("n:eth0", Encap::None, 1, 2), seen("n:eth0", Encap::None, 2, 1), arp()];
        assert_eq!(verdict("encap = 'none', src = 'a', dst = 'b', min = 1", &flow), Vec::<String>::new());
        assert_eq!(verdict("proto = 'tcp', port = 80, ttl = 63, min = 2, max = 2", &flow), Vec::<String>::new());
        assert_eq!(
            verdict("src = 'a', ttl = 64", &flow),
            [
                "at least 1 packet from a (10.244.0.1) ttl 64 on n:any, p:eth0 | 0 of them, 1 of the flow, 3 in all",
                "+ n:eth0 10.244.0.1 > 10.244.0.2 none",
            ]
        );
    }

    #[test]
    fn what_must_not_be_seen_is_shown() {
        let wrapped = [seen("n:eth0", Encap::Ipip, 1, 2)];
        assert_eq!(
            verdict("encap = 'ipip', max = 0", &wrapped),
            [
                "no packet encap ipip on n:any, p:eth0 | 1 packet, that is 1 too many",
                "+ n:eth0 10.244.0.1 > 10.244.0.2 ipip",
            ]
        );
        assert_eq!(verdict("encap = 'ipip', max = 0", &[seen("n:eth0", Encap::None, 1, 2)]), Vec::<String>::new());
    }

    #[test]
    fn a_flow_that_is_wrapped_now_and_then_is_not_plain() {
        let mixed = [seen("n:eth0", Encap::None, 1, 2), seen("n:eth0", Encap::Ipip, 1, 2)];
        assert_eq!(
            verdict("encap = 'none', src = 'a', dst = 'b'", &mixed),
            [
                "at least 1 packet from a (10.244.0.1) to b (10.244.0.2) encap none on n:any, p:eth0 | 1 packet of the same flow, wrapped otherwise",
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
            assert_eq!(
                found[0],
                format!("at least 1 packet {words} on n:any, p:eth0 | 0 of them, 1 of the flow, 1 in all")
            );
        }
    }

    #[test]
    fn an_empty_capture_fails_what_wants_packets() {
        assert_eq!(
            verdict("src = 'a'", &[]),
            ["at least 1 packet from a (10.244.0.1) on n:any, p:eth0 | 0 of them, 0 of the flow, 0 in all"]
        );
    }

    #[test]
    fn only_the_interfaces_of_an_expectation_count() {
        let both = [seen("n:eth0", Encap::Ipip, 1, 2), seen("n:cali1", Encap::None, 1, 2)];
        assert_eq!(counted("['n:cali1']", "encap = 'none', src = 'a', max = 1", &both), Vec::<String>::new());
        assert_eq!(counted("['n:any']", "src = 'a', min = 2", &both), Vec::<String>::new());
        let own = "on = 'n:eth0', encap = 'none', src = 'a'";
        let text = format!(
            "capture = {{ during = {{ ping = {{ from = 'a', to = 'b' }} }}, expect = [{{ {own} }}, {{ on = 'n:cali1', max = 0 }}] }}"
        );
        let Verb::Capture(capture) = step(&text).verb else { panic!("capture") };
        let verdicts = capture.expect.iter().map(|expected| shown(packets(expected, PacketEnds::default(), &both)));
        assert_eq!(
            verdicts.collect::<Vec<_>>(),
            [
                [
                    "at least 1 packet from a encap none on n:eth0 | 0 of them, 1 of the flow, 1 in all",
                    "+ n:eth0 10.244.0.1 > 10.244.0.2 ipip",
                ],
                ["no packet on n:cali1 | 1 packet, that is 1 too many", "+ n:cali1 10.244.0.1 > 10.244.0.2 none"],
            ]
        );
    }
}
