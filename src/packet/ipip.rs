//! IP in IP (RFC 2003) by the rules of Linux's `ipip` with `ttl inherit` and `nopmtudisc`, which is how Calico's tunl0 is.
//!
//! Bytes in, bytes out. Where RFC 2003, RFC 6040 and Linux differ, this is Linux (`net/ipv4/ip_tunnel.c`,
//! `include/net/inet_ecn.h`), because a lab must show the same packets whoever provides the device.

use std::net::Ipv4Addr;

use super::checksum::Sum;

/// How many bytes the outer header adds (calico-behaviour 5).
pub const OVERHEAD: usize = 20;

/// The protocol number of IP in IP.
pub const PROTOCOL: u8 = 4;

/// Why a packet is neither encapsulated nor accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not an IPv4 packet, or one whose lengths contradict each other.
    #[error("not a well-formed IPv4 packet")]
    Malformed,
    /// The outer header's checksum is wrong.
    #[error("the outer header's checksum is wrong")]
    Checksum,
    /// The outer header says another protocol, or is that of a fragment.
    #[error("not a whole IP-in-IP packet")]
    NotIpip,
    /// The outer source is none of the cluster's nodes (calico-behaviour 5).
    #[error("from {0}, which is no node of the cluster")]
    UnknownSource(Ipv4Addr),
    /// The path marked the outer header as congested, and the inner one cannot carry that (RFC 6040 section 4.2).
    #[error("congestion was experienced, and the inner packet cannot say so")]
    Congestion,
    /// It must not be fragmented, and is longer than this: the largest inner packet, in bytes, that passes.
    #[error("longer than the {0} bytes that pass, and not to be fragmented")]
    TooBig(u16),
    /// With the outer header it would be longer than any IPv4 packet.
    #[error("no room for the outer header")]
    TooLong,
}

/// The outer header for the inner packet of which `inner` holds at least the first 20 bytes: TTL and DF of the inner one, DSCP 0,
/// ECN as RFC 3168 section 9.1.1 has it (a CE becomes ECT(0)), `id` for its identification.
///
/// # Errors
/// [`Refusal::Malformed`], [`Refusal::TooLong`].
pub fn outer_header(inner: &[u8], local: Ipv4Addr, remote: Ipv4Addr, id: u16) -> Result<[u8; OVERHEAD], Refusal> {
    let inner = Header::read(inner)?;
    let length = inner.total.checked_add(OVERHEAD as u16).ok_or(Refusal::TooLong)?;
    let ecn = match inner.tos & ECN {
        CE => ECT_0,
        other => other,
    };
    Ok(Header { tos: ecn, total: length, id, fragment: inner.fragment & DF, ttl: inner.ttl, ..Header::default() }
        .write(local, remote, PROTOCOL))
}

/// The outer packets that carry `inner` along a path of `path_mtu` bytes: one, or its fragments in order.
///
/// # Errors
/// [`Refusal::TooBig`] where DF forbids the fragments, [`Refusal::Malformed`], [`Refusal::TooLong`].
pub fn encapsulate(
    inner: &[u8],
    local: Ipv4Addr,
    remote: Ipv4Addr,
    id: u16,
    path_mtu: u16,
) -> Result<Vec<Vec<u8>>, Refusal> {
    let Header { total, fragment, .. } = Header::read(inner)?;
    let payload = inner.get(..usize::from(total)).ok_or(Refusal::Malformed)?;
    let outer = outer_header(inner, local, remote, id)?;
    let room = usize::from(path_mtu).saturating_sub(OVERHEAD);
    if payload.len() <= room {
        return Ok(vec![[&outer, payload].concat()]);
    }
    if fragment & DF != 0 {
        return Err(Refusal::TooBig(room as u16));
    }
    // Offsets count in eights; no IPv4 path is too narrow for one of them.
    let step = (room & !7).max(8);
    let whole = Header::read(&outer)?;
    let fragments = payload.chunks(step).enumerate().map(|(index, part)| {
        let offset = index * step;
        let more = if offset + part.len() < payload.len() { MF } else { 0 };
        let total = (OVERHEAD + part.len()) as u16;
        let header = Header { total, fragment: more | (offset / 8) as u16, ..whole };
        [&header.write(local, remote, PROTOCOL), part].concat()
    });
    Ok(fragments.collect())
}

/// The packet inside `outer`, with the congestion mark of the outer header carried over (RFC 6040 section 4.2; what must be
/// dropped is refused). `known` says whether an address is a node's. Bytes after the inner packet's end are cut off.
///
/// # Errors
/// All but [`Refusal::TooBig`] and [`Refusal::TooLong`].
pub fn decapsulate(outer: &mut [u8], known: impl FnOnce(Ipv4Addr) -> bool) -> Result<&mut [u8], Refusal> {
    let header = Header::read(outer)?;
    let whole = outer.get_mut(..usize::from(header.total)).ok_or(Refusal::Malformed)?;
    let (head, inner) = whole.split_at_mut(header.length);
    if Sum::default().bytes(head).checksum() != 0 {
        return Err(Refusal::Checksum);
    }
    if head[9] != PROTOCOL || header.fragment & (MF | OFFSET) != 0 {
        return Err(Refusal::NotIpip);
    }
    let source = address(head, 12);
    if !known(source) {
        return Err(Refusal::UnknownSource(source));
    }
    let Header { tos, total, .. } = Header::read(inner)?;
    let inner = inner.get_mut(..usize::from(total)).ok_or(Refusal::Malformed)?;
    match (header.tos & ECN, tos & ECN) {
        (CE, NOT_ECT) => return Err(Refusal::Congestion),
        (CE, ECT_0 | ECT_1) => set_tos(inner, tos | CE),
        (ECT_1, ECT_0) => set_tos(inner, tos & !ECN | ECT_1),
        _ => {}
    }
    Ok(inner)
}

/// The ICMP message "fragmentation needed and DF set" (RFC 1191) to the sender of `inner`, with `mtu` bytes as the next hop's MTU, as
/// a whole packet; its source is left 0.0.0.0 for the kernel to fill in. `None` where RFC 1122 section 3.2.2 forbids an answer.
pub fn fragmentation_needed(inner: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let header = Header::read(inner).ok()?;
    let sender = address(inner, 12);
    let receiver = address(inner, 16);
    let is_error = || inner[9] == ICMP && !matches!(inner.get(header.length), Some(0 | 8 | 13..=18));
    if header.fragment & OFFSET != 0
        || sender.is_unspecified()
        || sender.is_loopback()
        || sender.is_multicast()
        || sender.is_broadcast()
        || receiver.is_multicast()
        || receiver.is_broadcast()
        || is_error()
    {
        return None;
    }
    // As much of the packet as 576 bytes leave room for (RFC 1812 section 4.3.2.3).
    let quoted = &inner[..inner.len().min(usize::from(header.total)).min(576 - OVERHEAD - 8)];
    let [high, low] = mtu.to_be_bytes();
    let mut message = [&[3, 4, 0, 0, 0, 0, high, low], quoted].concat();
    let checksum = Sum::default().bytes(&message).checksum();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let outer = Header {
        // Precedence "internetwork control", as every ICMP error of Linux.
        tos: 0xc0,
        total: (OVERHEAD + message.len()) as u16,
        ttl: 64,
        ..Header::default()
    };
    Some([&outer.write(Ipv4Addr::UNSPECIFIED, sender, ICMP), message.as_slice()].concat())
}

const ICMP: u8 = 1;

const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

/// The fields of an IPv4 header that matter here.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    /// Length of the header itself in bytes, 20 to 60; not written.
    length: usize,
    tos: u8,
    total: u16,
    id: u16,
    /// Flags and offset.
    fragment: u16,
    ttl: u8,
}

impl Header {
    /// Reads what is there of a packet; the header must be whole.
    fn read(packet: &[u8]) -> Result<Self, Refusal> {
        let head: &[u8; 20] = packet.first_chunk().ok_or(Refusal::Malformed)?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let length = usize::from(head[0] & 0xf) * 4;
        let total = word(2);
        if head[0] >> 4 != 4 || length < 20 || packet.len() < length || usize::from(total) < length {
            return Err(Refusal::Malformed);
        }
        Ok(Self { length, tos: head[1], total, id: word(4), fragment: word(6), ttl: head[8] })
    }

    fn write(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[0] = 0x45;
        bytes[1] = self.tos;
        bytes[2..4].copy_from_slice(&self.total.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.id.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.fragment.to_be_bytes());
        bytes[8] = self.ttl;
        bytes[9] = protocol;
        bytes[12..16].copy_from_slice(&source.octets());
        bytes[16..20].copy_from_slice(&destination.octets());
        let checksum = Sum::default().bytes(&bytes).checksum();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// The address at `at` of a header that has been read.
fn address(header: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3])
}

/// Changes the TOS byte and with it the checksum, by the difference (RFC 1624): a wrong checksum stays wrong.
fn set_tos(packet: &mut [u8], tos: u8) {
    let before = u16::from_be_bytes([packet[0], packet[1]]);
    let checksum = u16::from_be_bytes([packet[10], packet[11]]);
    packet[1] = tos;
    let after = u16::from_be_bytes([packet[0], tos]);
    let changed = Sum::default().word(!checksum).word(!before).word(after).checksum();
    packet[10..12].copy_from_slice(&changed.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, Ipv4Header, Ipv4Slice};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const LOCAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// A well-formed packet by another's hand.
    fn packet(tos: u8, ttl: u8, dont_fragment: bool, payload: &[u8]) -> Vec<u8> {
        let addresses = ([10, 244, 1, 2], [10, 244, 2, 3]);
        let mut header = Ipv4Header::new(payload.len() as u16, ttl, IpNumber::UDP, addresses.0, addresses.1).unwrap();
        header.dscp = (tos >> 2).try_into().unwrap();
        header.ecn = (tos & 3).try_into().unwrap();
        header.dont_fragment = dont_fragment;
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes(), payload].concat()
    }

    fn read(packet: &[u8]) -> Ipv4Header {
        let slice = Ipv4Slice::from_slice(packet).unwrap();
        let header = slice.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        header
    }

    #[test]
    fn the_outer_header_is_the_kernels() {
        let outer = outer_header(&packet(0xb8 | ECT_0, 63, true, &[0; 40]), LOCAL, REMOTE, 7).unwrap();
        let mut expected = Ipv4Header::new(60, 63, 4.into(), LOCAL.octets(), REMOTE.octets()).unwrap();
        expected.identification = 7;
        expected.ecn = ECT_0.try_into().unwrap();
        expected.header_checksum = expected.calc_header_checksum();
        assert!(expected.dont_fragment);
        assert_eq!(outer, *expected.to_bytes());
    }

    #[test]
    fn congestion_is_encapsulated_as_ect_0_and_nothing_of_dscp_is() {
        let ecn = |tos| outer_header(&packet(tos, 63, false, &[]), LOCAL, REMOTE, 7).unwrap()[1];
        assert_eq!([0xfc, 0xfd, 0xfe, 0xff].map(ecn), [NOT_ECT, ECT_1, ECT_0, ECT_0]);
    }

    #[test]
    fn congestion_marks_of_the_path_arrive_inside_or_end_the_packet() {
        let arrives = |outer_ecn: u8, inner_ecn: u8| {
            let inner = packet(0xb8 | inner_ecn, 63, true, b"payload");
            let mut outer = encapsulate(&inner, LOCAL, REMOTE, 7, 1500).unwrap().remove(0);
            set_tos(&mut outer, outer_ecn);
            decapsulate(&mut outer, |_| true).map(|inner| u8::from(read(inner).ecn))
        };
        let all = [NOT_ECT, ECT_1, ECT_0, CE];
        assert_eq!(all.map(|outer| arrives(outer, NOT_ECT)), [Ok(0), Ok(0), Ok(0), Err(Refusal::Congestion)]);
        assert_eq!(all.map(|outer| arrives(outer, ECT_1)), [Ok(ECT_1), Ok(ECT_1), Ok(ECT_1), Ok(CE)]);
        assert_eq!(all.map(|outer| arrives(outer, ECT_0)), [Ok(ECT_0), Ok(ECT_1), Ok(ECT_0), Ok(CE)]);
        assert_eq!(all.map(|outer| arrives(outer, CE)), [Ok(CE); 4]);
    }

    #[test]
    fn a_packet_that_must_not_be_fragmented_is_refused_with_the_size_that_passes() {
        let encapsulated =
            |length: usize| encapsulate(&packet(0, 63, true, &vec![0; length - 20]), LOCAL, REMOTE, 7, 1500);
        assert_eq!(encapsulated(1480).unwrap()[0].len(), 1500);
        assert_eq!(encapsulated(1481), Err(Refusal::TooBig(1480)));
    }

    #[test]
    fn only_nodes_of_the_cluster_are_heard() {
        let mut outer = encapsulate(&packet(0, 63, true, b"x"), LOCAL, REMOTE, 7, 1500).unwrap().remove(0);
        assert_eq!(decapsulate(&mut outer, |source| source != LOCAL), Err(Refusal::UnknownSource(LOCAL)));
        assert!(decapsulate(&mut outer, |source| source == LOCAL).is_ok());
    }

    #[test]
    fn other_protocols_and_fragments_and_wrong_checksums_are_refused() {
        let inner = packet(0, 63, false, &[1; 100]);
        assert_eq!(decapsulate(&mut inner.clone(), |_| true), Err(Refusal::NotIpip));
        let mut fragment = encapsulate(&inner, LOCAL, REMOTE, 7, 100).unwrap().remove(0);
        assert_eq!(decapsulate(&mut fragment, |_| true), Err(Refusal::NotIpip));
        let mut outer = encapsulate(&inner, LOCAL, REMOTE, 7, 1500).unwrap().remove(0);
        outer[8] -= 1;
        assert_eq!(decapsulate(&mut outer, |_| true), Err(Refusal::Checksum));
    }

    #[test]
    fn the_sender_is_told_the_size_that_passes() {
        let inner = packet(0, 63, true, &[9; 1461]);
        let answer = fragmentation_needed(&inner, 1480).unwrap();
        let header = read(&answer);
        assert_eq!((header.destination, header.protocol, answer.len()), ([10, 244, 1, 2], IpNumber::ICMP, 576));
        let icmp = etherparse::Icmpv4Slice::from_slice(&answer[20..]).unwrap();
        let unreachable = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1480 };
        assert_eq!(icmp.icmp_type(), etherparse::Icmpv4Type::DestinationUnreachable(unreachable));
        assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
        assert_eq!(icmp.payload(), &inner[..548]);
    }

    #[test]
    fn nobody_is_told_about_an_error_message_or_a_later_fragment() {
        let mut error = packet(0, 63, true, &[3, 1, 0, 0]);
        error[9] = ICMP;
        assert_eq!(fragmentation_needed(&error, 1480), None);
        let mut fragment = packet(0, 63, false, &[0; 8]);
        fragment[7] = 1;
        assert_eq!(fragmentation_needed(&fragment, 1480), None);
    }

    proptest! {
        #[test]
        fn what_is_encapsulated_comes_out_the_same(
            tos: u8, ttl: u8, dont_fragment: bool, id: u16, payload in vec(any::<u8>(), 0..3000), rest in vec(any::<u8>(), 0..9)
        ) {
            let inner = packet(tos, ttl, dont_fragment, &payload);
            let outer = encapsulate(&[inner.clone(), rest.clone()].concat(), LOCAL, REMOTE, id, 9000).unwrap();
            prop_assert_eq!(outer.len(), 1);
            let mut outer = outer[0].clone();
            let header = read(&outer);
            prop_assert_eq!((header.time_to_live, header.dont_fragment, header.identification), (ttl, dont_fragment, id));
            outer.extend(rest);
            prop_assert_eq!(decapsulate(&mut outer, |_| true).unwrap(), inner.as_slice());
        }

        #[test]
        fn fragments_fit_the_path_and_add_up(path_mtu in 28..2000u16, payload in vec(any::<u8>(), 0..3000)) {
            let inner = packet(0, 63, false, &payload);
            let outers = encapsulate(&inner, LOCAL, REMOTE, 7, path_mtu).unwrap();
            let mut together = Vec::new();
            for (index, outer) in outers.iter().enumerate() {
                let header = read(outer);
                prop_assert!(outer.len() <= path_mtu.into());
                prop_assert_eq!(usize::from(header.fragment_offset.value()) * 8, together.len());
                prop_assert_eq!(header.more_fragments, index + 1 < outers.len());
                prop_assert_eq!(header.identification, 7);
                together.extend_from_slice(&outer[20..]);
            }
            prop_assert_eq!(together, inner);
        }

        #[test]
        fn no_bytes_can_do_harm(mut bytes in vec(any::<u8>(), 0..200), version in prop_oneof![Just(0x45u8), any::<u8>()], mtu: u16) {
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let _ = outer_header(&bytes, LOCAL, REMOTE, mtu);
            let _ = encapsulate(&bytes, LOCAL, REMOTE, mtu, mtu);
            let _ = fragmentation_needed(&bytes, mtu);
            let mut outer = [[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 4].as_slice(), &[0; 10]].concat();
            outer[2..4].copy_from_slice(&((20 + bytes.len()) as u16).to_be_bytes());
            let checksum = Sum::default().bytes(&outer).checksum();
            outer[10..12].copy_from_slice(&checksum.to_be_bytes());
            outer.extend_from_slice(&bytes);
            let _ = decapsulate(&mut outer, |_| true);
            let _ = decapsulate(&mut bytes, |_| true);
        }
    }
}
