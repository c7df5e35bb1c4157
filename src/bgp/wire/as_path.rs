//! AS_PATH: its questions, its bytes in two and four octets per number, and the AS4_PATH merge (RFC 6793 §4.2.3).
//!
//! In memory adjoining AS_SEQUENCEs are one, of any length; on the wire a segment holds at most 255 numbers.

use std::fmt;

use bytes::{BufMut, BytesMut};

use super::reader::Reader;
use super::types::{AsPath, AsSegment};
use crate::net::Asn;

const SET: u8 = 1;
const SEQUENCE: u8 = 2;
const SEGMENT_MAX: usize = u8::MAX as usize;

impl AsPath {
    /// Length as route selection counts it: an AS_SET is one hop (RFC 4271 §9.1.2.2).
    pub fn hop_count(&self) -> usize {
        self.0.iter().map(AsSegment::hop_count).sum()
    }

    /// How often `asn` occurs, sets included: more than none from a peer is a loop, unless allowed.
    pub fn contains(&self, asn: Asn) -> usize {
        self.0.iter().flat_map(AsSegment::numbers).filter(|number| **number == asn).count()
    }

    /// Puts `asn` in front, as every external hop does (RFC 4271 §5.1.2).
    pub fn prepend(&mut self, asn: Asn) {
        match self.0.first_mut() {
            Some(AsSegment::Sequence(numbers)) => numbers.insert(0, asn),
            _ => self.0.insert(0, AsSegment::Sequence(vec![asn])),
        }
    }

    /// Whether the path begins with `numbers`, in one sequence.
    pub fn starts_with(&self, numbers: &[Asn]) -> bool {
        match self.0.first() {
            Some(AsSegment::Sequence(sequence)) => sequence.starts_with(numbers),
            _ => numbers.is_empty(),
        }
    }

    /// The neighbouring AS: the first number, if a sequence comes first.
    pub fn first(&self) -> Option<Asn> {
        match self.0.first() {
            Some(AsSegment::Sequence(numbers)) => numbers.first().copied(),
            _ => None,
        }
    }

    /// The originating AS as BIRD shows it: the last number, or the first of a set that comes last. `None` on an empty path.
    pub fn origin_as(&self) -> Option<Asn> {
        match self.0.last()? {
            AsSegment::Sequence(numbers) => numbers.last().copied(),
            AsSegment::Set(numbers) => numbers.first().copied(),
        }
    }

    /// Reads segments of numbers of the given width. `None` if malformed: a segment of an unknown type (confederations included, as no
    /// peer is a member of ours), without numbers or cut short (RFC 7606 §7.2), or AS 0 (RFC 7607).
    pub(super) fn decode(value: &[u8], width: AsWidth) -> Option<Self> {
        let mut reader = Reader::new(value);
        let mut path = Self::default();
        while !reader.is_empty() {
            let (kind, count) = (reader.u8()?, reader.u8()?);
            let mut numbers = Vec::with_capacity(usize::from(count).min(reader.rest().len() / width.octets()));
            for _ in 0..count {
                numbers.push(width.read(&mut reader).filter(|asn| asn.0 != 0)?);
            }
            path.push(match kind {
                _ if numbers.is_empty() => return None,
                SET => AsSegment::Set(numbers),
                SEQUENCE => AsSegment::Sequence(numbers),
                _ => return None,
            });
        }
        Some(path)
    }

    /// Writes the segments, AS_TRANS in place of what does not fit.
    pub(super) fn encode(&self, width: AsWidth, out: &mut BytesMut) {
        for segment in &self.0 {
            let kind = match segment {
                AsSegment::Set(_) => SET,
                AsSegment::Sequence(_) => SEQUENCE,
            };
            for part in segment.numbers().chunks(SEGMENT_MAX) {
                out.put_slice(&[kind, u8::try_from(part.len()).unwrap_or(u8::MAX)]);
                part.iter().for_each(|asn| width.write(*asn, out));
            }
        }
    }

    /// Whether every number fits into two octets.
    pub(super) fn fits_two_octets(&self) -> bool {
        self.0.iter().flat_map(AsSegment::numbers).all(|asn| u16::try_from(asn.0).is_ok())
    }

    /// The path that `self`, written by a two-octet speaker, and `four`, its AS4_PATH, mean together: the leading hops of `self` that
    /// `four` lacks, then `four`. An AS4_PATH longer than the AS_PATH is ignored.
    pub(super) fn merge(self, four: Self) -> Self {
        let Some(mut lacking) = self.hop_count().checked_sub(four.hop_count()) else { return self };
        let mut merged = Self::default();
        for segment in self.0 {
            if lacking == 0 {
                break;
            }
            let hops = segment.hop_count();
            merged.push(match segment {
                AsSegment::Sequence(mut numbers) => {
                    numbers.truncate(lacking);
                    AsSegment::Sequence(numbers)
                }
                set @ AsSegment::Set(_) => set,
            });
            lacking = lacking.saturating_sub(hops);
        }
        four.0.into_iter().for_each(|segment| merged.push(segment));
        merged
    }

    /// Appends a segment; a sequence after a sequence continues it.
    fn push(&mut self, segment: AsSegment) {
        match (self.0.last_mut(), segment) {
            (Some(AsSegment::Sequence(last)), AsSegment::Sequence(numbers)) => last.extend(numbers),
            (_, segment) => self.0.push(segment),
        }
    }
}

impl AsSegment {
    fn numbers(&self) -> &[Asn] {
        match self {
            Self::Set(numbers) | Self::Sequence(numbers) => numbers,
        }
    }

    fn hop_count(&self) -> usize {
        match self {
            Self::Set(_) => 1,
            Self::Sequence(numbers) => numbers.len(),
        }
    }
}

/// As BIRD prints a path: `65001 {65002 65003}`.
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            let numbers: Vec<String> = segment.numbers().iter().map(Asn::to_string).collect();
            match segment {
                AsSegment::Set(_) => write!(f, "{{{}}}", numbers.join(" "))?,
                AsSegment::Sequence(_) => f.write_str(&numbers.join(" "))?,
            }
        }
        Ok(())
    }
}

/// How many octets an AS number takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AsWidth {
    Two,
    Four,
}

impl AsWidth {
    /// The width of AS_PATH and AGGREGATOR on a session.
    pub(super) fn of(four_octet_as: bool) -> Self {
        if four_octet_as { Self::Four } else { Self::Two }
    }

    pub(super) fn read(self, reader: &mut Reader<'_>) -> Option<Asn> {
        match self {
            Self::Two => reader.u16().map(|asn| Asn(asn.into())),
            Self::Four => reader.u32().map(Asn),
        }
    }

    pub(super) fn write(self, asn: Asn, out: &mut BytesMut) {
        match self {
            Self::Two => out.put_u16(two_octets(asn)),
            Self::Four => out.put_u32(asn.0),
        }
    }

    fn octets(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// `asn` in two octets, or AS_TRANS (RFC 6793 §4.2.2).
pub(super) fn two_octets(asn: Asn) -> u16 {
    const TRANS: u16 = 23456;
    u16::try_from(asn.0).unwrap_or(TRANS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(numbers: &[u32]) -> AsSegment {
        AsSegment::Sequence(numbers.iter().copied().map(Asn).collect())
    }

    fn set(numbers: &[u32]) -> AsSegment {
        AsSegment::Set(numbers.iter().copied().map(Asn).collect())
    }

    #[test]
    fn a_path_prints_as_bird_prints_it() {
        let path = AsPath(vec![sequence(&[65000, 65001]), set(&[65002, 65003])]);
        assert_eq!(path.to_string(), "65000 65001 {65002 65003}");
        assert_eq!(AsPath::default().to_string(), "");
    }

    #[test]
    fn a_set_counts_as_one_hop() {
        assert_eq!(AsPath(vec![sequence(&[1, 2]), set(&[3, 4, 5])]).hop_count(), 3);
    }

    #[test]
    fn every_occurrence_counts_those_in_sets_too() {
        assert_eq!(AsPath(vec![sequence(&[1, 2, 1]), set(&[1, 5])]).contains(Asn(1)), 3);
    }

    #[test]
    fn first_is_the_neighbour_and_origin_the_far_end() {
        let path = AsPath(vec![sequence(&[1, 2]), set(&[3, 4])]);
        assert_eq!((path.first(), path.origin_as()), (Some(Asn(1)), Some(Asn(3))));
        assert_eq!((AsPath::default().first(), AsPath::default().origin_as()), (None, None));
        assert_eq!(AsPath(vec![set(&[3, 4])]).first(), None);
    }

    #[test]
    fn prepending_extends_a_sequence_and_stands_before_a_set() {
        let mut path = AsPath(vec![set(&[3, 4])]);
        path.prepend(Asn(2));
        path.prepend(Asn(1));
        assert_eq!(path, AsPath(vec![sequence(&[1, 2]), set(&[3, 4])]));
    }

    #[test]
    fn a_sequence_of_more_than_255_is_split_on_the_wire_only() {
        let path = AsPath(vec![sequence(&(1..=300).collect::<Vec<_>>())]);
        let mut out = BytesMut::new();
        path.encode(AsWidth::Two, &mut out);
        assert_eq!((out.len(), out[0], out[1], out[512], out[513]), (2 + 510 + 2 + 90, SEQUENCE, 255, SEQUENCE, 45));
        assert_eq!(AsPath::decode(&out, AsWidth::Two), Some(path));
    }

    #[test]
    fn the_merge_takes_the_leading_hops_that_as4_path_lacks() {
        let two = AsPath(vec![sequence(&[100, 200, 23456, 23456])]);
        let four = AsPath(vec![sequence(&[70000, 80000])]);
        assert_eq!(two.merge(four), AsPath(vec![sequence(&[100, 200, 70000, 80000])]));
    }

    #[test]
    fn the_merge_counts_a_set_as_one_hop() {
        let two = AsPath(vec![sequence(&[100]), set(&[1, 2]), sequence(&[23456])]);
        let four = AsPath(vec![sequence(&[70000])]);
        assert_eq!(two.merge(four), AsPath(vec![sequence(&[100]), set(&[1, 2]), sequence(&[70000])]));
    }

    #[test]
    fn a_longer_as4_path_is_ignored() {
        let two = AsPath(vec![sequence(&[100])]);
        assert_eq!(two.clone().merge(AsPath(vec![sequence(&[70000, 80000])])), two);
    }
}
