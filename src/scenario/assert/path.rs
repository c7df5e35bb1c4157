//! The way that one packet takes: at which interfaces it is seen, in which order, and how it looks at each.

use super::packet_pattern::{Kind, PacketEnds, lines};
use super::{DiffLine, Verdict, count};
use crate::packet::Identity;
use crate::scenario::model::Hop;
use crate::scenario::observed::SeenPacket;

/// One packet of the flow that the first hop describes was seen at every hop, in the order of the hops by time, and at each
/// in no other shape than is said there.
///
/// It is recognised by its [`Identity`]. `ends` are those of the hops, one for one; `observed` is in the order of time.
pub fn path(hops: &[Hop], ends: &[PacketEnds], observed: &[SeenPacket]) -> Verdict {
    let way: Vec<Stop<'_>> = hops
        .iter()
        .zip(ends)
        .map(|(hop, ends)| Stop { place: hop.on.to_string(), kind: Kind { pattern: &hop.packet, ends: *ends } })
        .collect();
    let wish = described(&way);
    let Some(first) = way.first() else { return Verdict::Pass };
    let mut candidates: Vec<Identity> = Vec::new();
    for packet in observed.iter().filter(|packet| first.kind.is_of_flow(packet)) {
        candidates.extend(packet.identity.filter(|identity| !candidates.contains(identity)));
    }
    // The one that came farthest tells most; of several the first.
    let mut farthest: Option<Course<'_>> = None;
    for identity in candidates {
        let course = Course::of(identity, &way, observed);
        if course.is_right() {
            return Verdict::Pass;
        }
        if farthest.as_ref().is_none_or(|other| course.fitting() > other.fitting()) {
            farthest = Some(course);
        }
    }
    match farthest {
        Some(course) => course.fail(wish, &way),
        None => {
            let found = format!("no packet of this flow, {} in all", count(observed.len(), "packet"));
            Verdict::fail(wish, found, lines(&observed.iter().collect::<Vec<_>>()))
        }
    }
}

struct Stop<'a> {
    place: String,
    kind: Kind<'a>,
}

impl Stop<'_> {
    fn words(&self) -> String {
        [vec![self.place.clone()], self.kind.words()].concat().join(" ")
    }
}

fn described(way: &[Stop<'_>]) -> String {
    let mut words = vec!["one packet".to_owned()];
    words.extend(way.first().into_iter().flat_map(|stop| stop.kind.flow_words()));
    let places: Vec<&str> = way.iter().map(|stop| stop.place.as_str()).collect();
    format!("{} over {}", words.join(" "), places.join(", "))
}

/// What was seen of one packet.
struct Course<'a> {
    /// All of it, in the order of time.
    sightings: Vec<&'a SeenPacket>,
    /// Per hop what was seen there.
    hops: Vec<Seen>,
    /// The hops could be passed in their order, at the times of the sightings.
    in_order: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Fitting,
    Otherwise,
    Nowhere,
}

impl<'a> Course<'a> {
    fn of(identity: Identity, way: &[Stop<'_>], observed: &'a [SeenPacket]) -> Self {
        let sightings: Vec<&SeenPacket> = observed.iter().filter(|packet| packet.identity == Some(identity)).collect();
        let hops = way.iter().map(|stop| {
            let mut there = sightings.iter().filter(|packet| packet.interface == stop.place).peekable();
            if there.peek().is_none() {
                return Seen::Nowhere;
            }
            // An interface that is on the way twice may show each of its two shapes.
            let shapes = |packet: &SeenPacket| {
                way.iter().filter(|other| other.place == stop.place).any(|other| other.kind.fits(packet))
            };
            let (mut fits, mut strange) = (false, false);
            there.for_each(|packet| {
                fits |= stop.kind.fits(packet);
                strange |= !shapes(packet);
            });
            if fits && !strange { Seen::Fitting } else { Seen::Otherwise }
        });
        let hops: Vec<Seen> = hops.collect();
        let in_order = is_in_order(way, &sightings);
        Self { sightings, hops, in_order }
    }

    fn is_right(&self) -> bool {
        self.in_order && self.hops.iter().all(|seen| *seen == Seen::Fitting)
    }

    fn fitting(&self) -> usize {
        self.hops.iter().filter(|seen| **seen == Seen::Fitting).count()
    }

    fn fail(&self, wish: String, way: &[Stop<'_>]) -> Verdict {
        let wrong = |what: Seen| way.iter().zip(&self.hops).filter(move |(_, seen)| **seen == what);
        let places = |what: Seen| wrong(what).map(|(stop, _)| stop.place.clone()).collect::<Vec<_>>();
        let mut found = Vec::new();
        match places(Seen::Nowhere).as_slice() {
            [] => {}
            nowhere => found.push(format!("not seen at {}", nowhere.join(", "))),
        }
        match places(Seen::Otherwise).as_slice() {
            [] => {}
            otherwise => found.push(format!("seen otherwise at {}", otherwise.join(", "))),
        }
        if found.is_empty() {
            let order: Vec<&str> = self.sightings.iter().map(|packet| packet.interface.as_str()).collect();
            found.push(format!("seen in the order {}", order.join(", ")));
        }
        let missing =
            wrong(Seen::Nowhere).chain(wrong(Seen::Otherwise)).map(|(stop, _)| DiffLine::missing(stop.words()));
        let difference = missing.chain(lines(&self.sightings)).collect();
        Verdict::fail(wish, found.join("; "), difference)
    }
}

/// Whether sightings can be given to the hops one for one, none earlier than the one before it. Taking the earliest each time
/// leaves most to choose from.
fn is_in_order(way: &[Stop<'_>], sightings: &[&SeenPacket]) -> bool {
    let mut taken = vec![false; sightings.len()];
    let mut since = None;
    way.iter().all(|stop| {
        let fits = |packet: &SeenPacket| packet.interface == stop.place && stop.kind.fits(packet);
        let next = sightings
            .iter()
            .zip(&taken)
            .position(|(packet, taken)| !taken && fits(packet) && since.is_none_or(|since| packet.at >= since));
        next.is_some_and(|index| {
            taken[index] = true;
            since = Some(sightings[index].at);
            true
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use etherparse::PacketBuilder;

    use super::super::testing::{seen, shown, step};
    use super::*;
    use crate::packet::{LinkType, decode};
    use crate::scenario::{Encap, Verb};

    const WAY: &str = "path = [ { on = 'n1:cali1', encap = 'none' }, { on = 'n1:eth0', encap = 'ipip' }, \
                       { on = 'n2:eth0', encap = 'ipip' }, { on = 'n2:cali2', encap = 'none' } ]";

    fn echo(seq: u16) -> Identity {
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4([10, 244, 0, 1], [10, 244, 0, 2], 64).icmpv4_echo_request(7, seq);
        builder.write(&mut bytes, &[0; 8]).unwrap();
        decode(LinkType::Raw, &bytes, bytes.len()).identity().unwrap()
    }

    /// The request `seq` at `interface`, `micros` after the beginning.
    fn request(seq: u16, micros: u64, interface: &str, encap: Encap) -> SeenPacket {
        SeenPacket {
            identity: Some(echo(seq)),
            at: UNIX_EPOCH + Duration::from_micros(micros),
            text: format!("{micros} {interface} request {seq} {encap}"),
            ..seen(interface, encap, 1, 2)
        }
    }

    fn on_its_way(seq: u16, start: u64) -> Vec<SeenPacket> {
        vec![
            request(seq, start, "n1:cali1", Encap::None),
            request(seq, start + 1, "n1:eth0", Encap::Ipip),
            request(seq, start + 2, "n2:eth0", Encap::Ipip),
            request(seq, start + 3, "n2:cali2", Encap::None),
        ]
    }

    fn verdict(way: &str, mut observed: Vec<SeenPacket>) -> Vec<String> {
        let text = format!("capture = {{ during = {{ ping = {{ from = 'a', to = 'b' }} }}, {way} }}");
        let Verb::Capture(capture) = step(&text).verb else { panic!("capture") };
        let b = Some([10, 244, 0, 2].into());
        let ends = |hop: &Hop| PacketEnds { dst: hop.packet.dst.as_ref().and(b), ..PacketEnds::default() };
        let ends: Vec<PacketEnds> = capture.path.iter().map(ends).collect();
        observed.sort_by_key(|packet| packet.at);
        shown(path(&capture.path, &ends, &observed))
    }

    #[test]
    fn one_packet_passes_every_interface_in_order() {
        assert_eq!(verdict(WAY, on_its_way(1, 0)), Vec::<String>::new());
        // Another one that is lost half-way takes nothing from it.
        let others = on_its_way(2, 10).into_iter().take(2);
        assert_eq!(verdict(WAY, on_its_way(1, 0).into_iter().chain(others).collect()), Vec::<String>::new());
    }

    #[test]
    fn two_packets_make_no_way_together() {
        let halves = on_its_way(1, 0).into_iter().take(2).chain(on_its_way(2, 10).into_iter().skip(2)).collect();
        assert_eq!(
            verdict(WAY, halves),
            [
                "one packet to b (10.244.0.2) over n1:cali1, n1:eth0, n2:eth0, n2:cali2 | not seen at n2:eth0, n2:cali2",
                "- n2:eth0 encap ipip",
                "- n2:cali2 encap none",
                "+ 0 n1:cali1 request 1 none",
                "+ 1 n1:eth0 request 1 ipip",
            ]
        );
    }

    #[test]
    fn the_packet_that_came_farthest_is_told_of() {
        let mut packets = on_its_way(1, 0);
        packets.truncate(1);
        packets.extend(on_its_way(2, 10).into_iter().take(3));
        let found = verdict(WAY, packets);
        assert!(found[0].ends_with(" | not seen at n2:cali2"), "{found:#?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn a_packet_that_looks_otherwise_somewhere_is_shown() {
        let mut packets = on_its_way(1, 0);
        packets[2] = request(1, 2, "n2:eth0", Encap::None);
        let found = verdict(WAY, packets);
        assert!(found[0].ends_with(" | seen otherwise at n2:eth0"), "{found:#?}");
        assert_eq!(found[1..3], ["- n2:eth0 encap ipip", "+ 0 n1:cali1 request 1 none"]);
    }

    #[test]
    fn a_packet_that_passes_an_interface_in_two_shapes_is_not_as_said() {
        let mut packets = on_its_way(1, 0);
        packets.push(request(1, 9, "n1:eth0", Encap::None));
        let found = verdict(WAY, packets);
        assert!(found[0].ends_with(" | seen otherwise at n1:eth0"), "{found:#?}");
    }

    #[test]
    fn an_interface_may_be_on_the_way_twice() {
        let twice =
            "path = [ { on = 'n:eth0', encap = 'ipip' }, { on = 'n:cali1' }, { on = 'n:eth0', encap = 'none' } ]";
        let packets = |last| {
            vec![
                request(1, 0, "n:eth0", Encap::Ipip),
                request(1, 1, "n:cali1", Encap::None),
                request(1, last, "n:eth0", Encap::None),
            ]
        };
        assert_eq!(verdict(twice, packets(2)), Vec::<String>::new());
        let found = verdict("path = [ { on = 'n:eth0' }, { on = 'n:eth0' } ]", packets(2).split_off(2));
        assert!(found[0].ends_with(" | seen in the order n:eth0"), "{found:#?}");
    }

    #[test]
    fn the_order_that_was_found_is_told() {
        let mut packets = on_its_way(1, 0);
        packets[2].at = UNIX_EPOCH + Duration::from_micros(7);
        let found = verdict(WAY, packets);
        assert!(found[0].ends_with(" | seen in the order n1:cali1, n1:eth0, n2:cali2, n2:eth0"), "{found:#?}");
        assert_eq!(found.len(), 5);
    }

    #[test]
    fn equal_times_are_in_order() {
        let mut packets = on_its_way(1, 0);
        packets.iter_mut().for_each(|packet| packet.at = UNIX_EPOCH);
        packets.reverse();
        assert_eq!(verdict(WAY, packets), Vec::<String>::new());
    }

    #[test]
    fn packets_of_other_flows_are_no_candidates() {
        let answer = SeenPacket { identity: Some(echo(9)), ..seen("n1:cali1", Encap::None, 2, 1) };
        assert_eq!(
            verdict(WAY, vec![answer.clone()]),
            [
                "one packet to b (10.244.0.2) over n1:cali1, n1:eth0, n2:eth0, n2:cali2 | no packet of this flow, 1 packet in all",
                &format!("+ {}", answer.text),
            ]
        );
        let nobody = SeenPacket { identity: None, ..seen("n1:cali1", Encap::None, 1, 2) };
        assert!(verdict(WAY, vec![nobody])[0].ends_with(" | no packet of this flow, 1 packet in all"));
    }
}
