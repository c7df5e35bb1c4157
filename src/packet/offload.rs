//! Segmentation offload for a device that exchanges large packets: what Linux calls GSO and GRO.
//!
//! A device with IFF_VNET_HDR puts [`VnetHeader`] before each packet. [`split`] makes the packets of the wire from one that is large or
//! lacks its checksum; [`join`] makes large ones from a run of TCP segments. Neither copies payload. IPv4 only. tun-rs has both as well,
//! but copies every segment into a buffer of its own.

use std::ops::Range;

use super::checksum::Sum;

/// `struct virtio_net_hdr` (linux/virtio_net.h) as a TUN device has it: 10 bytes, in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// 1: the checksum is to be filled in.
    pub flags: u8,
    /// 0: one packet; 1: TCP over IPv4; 5: UDP; with 0x80: the first segment carries CWR.
    pub gso_type: u8,
    /// Length of all headers in bytes; a hint, not to be relied on.
    pub hdr_len: u16,
    /// Bytes of payload per segment.
    pub gso_size: u16,
    /// Where the checksum begins to count.
    pub csum_start: u16,
    /// Where, from there, it stands.
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Its length in bytes.
    pub const LEN: usize = 10;

    /// From the wire.
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: word(2),
            gso_size: word(4),
            csum_start: word(6),
            csum_offset: word(8),
        }
    }

    /// To the wire.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..2].copy_from_slice(&[self.flags, self.gso_type]);
        for (at, word) in [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset].into_iter().enumerate() {
            bytes[2 + 2 * at..4 + 2 * at].copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }
}

/// A packet in two parts: its headers, and where its payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<P> {
    head: [u8; HEAD],
    length: usize,
    /// The payload.
    pub payload: P,
}

impl<P> Segment<P> {
    /// The headers: at least the IPv4 header.
    pub fn head(&self) -> &[u8] {
        &self.head[..self.length]
    }

    fn new(head: &[u8], payload: P) -> Self {
        let length = head.len().min(HEAD);
        let mut bytes = [0; HEAD];
        bytes[..length].copy_from_slice(&head[..length]);
        Self { head: bytes, length, payload }
    }

    fn put(&mut self, at: usize, word: u16) {
        self.head[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }

    fn finish_ip_header(&mut self, ip: usize, total: usize) {
        self.put(2, total as u16);
        self.put(10, 0);
        let checksum = Sum::default().bytes(&self.head[..ip]).checksum();
        self.put(10, checksum);
    }
}

/// What a device gave that cannot be split: not IPv4, or contradicting itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a packet from the device that is no IPv4 packet or contradicts its offload header")]
pub struct Malformed;

/// Appends to `segments` the packets that `packet`, which came with `header`, stands for. Their payloads are ranges of `packet`. IPv4
/// identifications count up; a checksum that is to be filled in, is.
///
/// # Errors
/// [`Malformed`]; nothing was appended.
pub fn split(
    header: VnetHeader,
    packet: &mut [u8],
    segments: &mut Vec<Segment<Range<usize>>>,
) -> Result<(), Malformed> {
    let ip = ipv4_header_length(packet).ok_or(Malformed)?;
    let (transport, checksum_at) = match (header.gso_type & !GSO_ECN, packet[9]) {
        (0, _) => {
            if header.flags & NEEDS_CHECKSUM != 0 {
                fill_checksum(packet, header)?;
            }
            segments.push(Segment::new(&packet[..ip], ip..packet.len()));
            return Ok(());
        }
        (GSO_TCPV4, TCP) => (tcp_header_length(packet, ip).ok_or(Malformed)?, 16),
        (GSO_UDP, UDP) => (8, 6),
        _ => return Err(Malformed),
    };
    let start = ip + transport;
    let size = usize::from(header.gso_size);
    if size == 0 || packet.len() <= start || start + size > usize::from(u16::MAX) {
        return Err(Malformed);
    }
    let id = word(packet, 4);
    let sequence = long(packet, ip + 4);
    let mut at = start;
    for index in 0.. {
        let payload = at..packet.len().min(at + size);
        let last = payload.end == packet.len();
        let mut segment = Segment::new(&packet[..start], payload.clone());
        segment.put(4, id.wrapping_add(index));
        segment.finish_ip_header(ip, start + payload.len());
        if packet[9] == TCP {
            let sequence = sequence.wrapping_add((at - start) as u32);
            segment.head[ip + 4..ip + 8].copy_from_slice(&sequence.to_be_bytes());
            let flags = &mut segment.head[ip + 13];
            // CWR is told once, by the first segment; FIN and PSH belong to the last.
            *flags &= if at == start { 0xff } else { !CWR } & if last { 0xff } else { !(FIN | PSH) };
        } else {
            segment.put(ip + 4, (transport + payload.len()) as u16);
        }
        segment.put(ip + checksum_at, 0);
        let sum = pseudo_header(packet, transport + payload.len()).bytes(&segment.head[ip..start]);
        let checksum = match sum.bytes(&packet[payload.clone()]).checksum() {
            0 if packet[9] == UDP => 0xffff,
            checksum => checksum,
        };
        segment.put(ip + checksum_at, checksum);
        segments.push(segment);
        at = payload.end;
        if last {
            return Ok(());
        }
    }
    Ok(())
}

/// A packet for the device: the payloads follow the head in order.
pub type Joined<'a> = (VnetHeader, Segment<Vec<&'a [u8]>>);

/// Joins what can be joined of `packets`, in their order: successive TCP segments of a connection that differ in nothing but what
/// [`split`] would make differ, and whose checksums are right. All others stay as they are.
pub fn join<'a>(packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<Joined<'a>> {
    let mut runs: Vec<Run<'a>> = Vec::new();
    for packet in packets {
        let candidate = Run::begin(packet);
        // Only the connection's latest run may grow, so that its segments stay in order.
        let run = runs.iter_mut().rev().find(|run| run.same_connection(&candidate));
        match run {
            Some(run) if run.takes(&candidate) => run.append(candidate),
            _ => runs.push(candidate),
        }
    }
    runs.into_iter().map(Run::finish).collect()
}

const HEAD: usize = 120;
const NEEDS_CHECKSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 5;
const GSO_ECN: u8 = 0x80;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;

/// A large packet in the making.
#[derive(Debug)]
struct Run<'a> {
    segment: Segment<Vec<&'a [u8]>>,
    /// Length of the IPv4 header; 0 for what is no plain TCP segment with data, which joins nothing.
    ip: usize,
    /// Length of the whole packet.
    total: usize,
    /// Length of each payload but the last.
    size: usize,
    /// No more segments fit behind the last one.
    closed: bool,
}

impl<'a> Run<'a> {
    fn begin(packet: &'a [u8]) -> Self {
        match joinable(packet) {
            None => {
                let at = packet.len().min(20);
                let segment = Segment::new(&packet[..at], vec![&packet[at..]]);
                Self { segment, ip: 0, total: packet.len(), size: 0, closed: true }
            }
            Some(start) => {
                let segment = Segment::new(&packet[..start], vec![&packet[start..]]);
                let closed = packet[20 + 13] & PSH != 0;
                Self { segment, ip: 20, total: packet.len(), size: packet.len() - start, closed }
            }
        }
    }

    /// Addresses and ports.
    fn same_connection(&self, other: &Self) -> bool {
        self.ip != 0 && other.ip != 0 && self.segment.head[12..24] == other.segment.head[12..24]
    }

    /// Whether `next`, of the same connection, continues this one.
    fn takes(&self, next: &Self) -> bool {
        let (head, other) = (&self.segment.head, &next.segment.head);
        let count = self.segment.payload.len();
        let carried = (count - 1) * self.size + self.segment.payload[count - 1].len();
        !self.closed
            && self.segment.length == next.segment.length
            && next.size <= self.size
            && self.total + next.size <= usize::from(u16::MAX)
            // TOS, flags and offset, TTL.
            && head[1] == other[1]
            && head[6..9] == other[6..9]
            && word(other, 4) == word(head, 4).wrapping_add(count as u16)
            && long(other, 24) == long(head, 24).wrapping_add(carried as u32)
            // Acknowledgement, data offset; window; options.
            && head[28..33] == other[28..33]
            && head[34..36] == other[34..36]
            && head[38..self.segment.length] == other[38..next.segment.length]
    }

    fn append(&mut self, next: Self) {
        self.closed = next.closed || next.size < self.size;
        self.segment.head[33] |= next.segment.head[33] & PSH;
        self.total += next.size;
        self.segment.payload.extend(next.segment.payload);
    }

    fn finish(self) -> Joined<'a> {
        let Self { mut segment, ip, total, size, .. } = self;
        if segment.payload.len() == 1 {
            return (VnetHeader::default(), segment);
        }
        segment.finish_ip_header(ip, total);
        // The device completes the checksum: it wants to find the pseudo header's sum in its place.
        let sum = pseudo_header(&segment.head, total - ip).folded();
        segment.put(ip + 16, sum);
        let header = VnetHeader {
            flags: NEEDS_CHECKSUM,
            gso_type: GSO_TCPV4,
            hdr_len: segment.length as u16,
            gso_size: size as u16,
            csum_start: ip as u16,
            csum_offset: 16,
        };
        (header, segment)
    }
}

/// Where the payload of a plain TCP segment begins: no IP options, no fragment, data, no flag but ACK and PSH, a right checksum.
fn joinable(packet: &[u8]) -> Option<usize> {
    let ip = ipv4_header_length(packet)?;
    let plain = ip == 20 && packet[9] == TCP && usize::from(word(packet, 2)) == packet.len();
    if !plain || word(packet, 6) & 0x3fff != 0 {
        return None;
    }
    let start = ip + tcp_header_length(packet, ip)?;
    let with_data = packet.len() > start && packet[ip + 13] & !PSH == ACK;
    let right = || pseudo_header(packet, packet.len() - ip).bytes(&packet[ip..]).checksum() == 0;
    (with_data && right() && Sum::default().bytes(&packet[..ip]).checksum() == 0).then_some(start)
}

/// Completes the checksum of a packet that is whole but for it; the pseudo header's sum stands in its place.
fn fill_checksum(packet: &mut [u8], header: VnetHeader) -> Result<(), Malformed> {
    let start = usize::from(header.csum_start);
    let at = start + usize::from(header.csum_offset);
    if at + 2 > packet.len() {
        return Err(Malformed);
    }
    let checksum = match Sum::default().bytes(&packet[start..]).checksum() {
        0 => 0xffff,
        checksum => checksum,
    };
    packet[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    Ok(())
}

/// The pseudo header of a packet whose IPv4 header has been read, for a transport packet of `length` bytes.
fn pseudo_header(packet: &[u8], length: usize) -> Sum {
    Sum::default().bytes(&packet[12..20]).word(packet[9].into()).word(length as u16)
}

fn ipv4_header_length(packet: &[u8]) -> Option<usize> {
    let length = usize::from(packet.first()? & 0xf) * 4;
    (packet[0] >> 4 == 4 && length >= 20 && packet.len() >= length).then_some(length)
}

/// The length of the TCP header at `ip`, if all of it is there.
fn tcp_header_length(packet: &[u8], ip: usize) -> Option<usize> {
    let length = usize::from(packet.get(ip + 12)? >> 4) * 4;
    (length >= 20 && packet.len() >= ip + length).then_some(length)
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use etherparse::{Ipv4Slice, PacketBuilder, TcpOptionElement, TcpSlice, UdpSlice};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A TCP segment by another's hand, with PSH.
    fn tcp(sequence: u32, payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ipv4([10, 244, 1, 2], [10, 244, 2, 3], 64).tcp(4000, 80, sequence, 512).ack(99);
        let builder = builder.psh().options(&[TcpOptionElement::Timestamp(1, 2)]).unwrap();
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    fn large_tcp(size: u16) -> VnetHeader {
        VnetHeader { flags: 1, gso_type: 1, hdr_len: 0, gso_size: size, csum_start: 20, csum_offset: 16 }
    }

    /// The packets of [`split`], each in one piece.
    fn wire(header: VnetHeader, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut packet = packet.to_vec();
        let mut segments = Vec::new();
        split(header, &mut packet, &mut segments).unwrap();
        segments.iter().map(|segment| [segment.head(), &packet[segment.payload.clone()]].concat()).collect()
    }

    fn check(packet: &[u8]) {
        let ip = Ipv4Slice::from_slice(packet).unwrap();
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        if packet[9] == TCP {
            let tcp = TcpSlice::from_slice(ip.payload().payload).unwrap();
            assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(header.source, header.destination).unwrap());
        } else {
            let udp = UdpSlice::from_slice(ip.payload().payload).unwrap().to_header();
            let calculated = udp.calc_checksum_ipv4_raw(header.source, header.destination, &packet[28..]).unwrap();
            assert_eq!(udp.checksum, calculated);
        }
    }

    fn in_one_piece(joined: &Joined<'_>) -> Vec<u8> {
        [joined.1.head(), &joined.1.payload.concat()].concat()
    }

    #[test]
    fn a_large_tcp_packet_is_split_as_the_kernel_would() {
        let packets = wire(large_tcp(100), &tcp(u32::MAX - 99, &[7; 250]));
        packets.iter().for_each(|packet| check(packet));
        let facts = |packet: &Vec<u8>| (packet.len(), word(packet, 4), long(packet, 24), packet[33]);
        let facts: Vec<_> = packets.iter().map(facts).collect();
        assert_eq!(facts, [(152, 0, u32::MAX - 99, ACK), (152, 1, 0, ACK), (102, 2, 100, ACK | PSH)]);
    }

    #[test]
    fn a_large_udp_packet_is_split_into_datagrams() {
        let mut packet = Vec::new();
        PacketBuilder::ipv4([10, 244, 1, 2], [10, 244, 2, 3], 64).udp(4000, 53).write(&mut packet, &[3; 250]).unwrap();
        let header = VnetHeader { gso_type: GSO_UDP, csum_offset: 6, ..large_tcp(100) };
        let packets = wire(header, &packet);
        packets.iter().for_each(|packet| check(packet));
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [128, 128, 78]);
    }

    #[test]
    fn a_missing_checksum_is_filled_in() {
        let whole = tcp(5, b"data");
        let mut packet = whole.clone();
        let partial = pseudo_header(&packet, packet.len() - 20).folded();
        packet[36..38].copy_from_slice(&partial.to_be_bytes());
        assert_eq!(wire(VnetHeader { gso_type: 0, ..large_tcp(0) }, &packet), [whole]);
    }

    #[test]
    fn segments_of_two_connections_are_joined_apart() {
        let first = wire(large_tcp(100), &tcp(1, &[1; 300]));
        let mut other = tcp(1, &[2; 300]);
        other[20] ^= 1;
        let second = wire(large_tcp(100), &other);
        let mixed = first.iter().zip(&second).flat_map(|(first, second)| [first.as_slice(), second.as_slice()]);
        let joined = join(mixed);
        assert_eq!(joined.iter().map(|(_, segment)| segment.payload.len()).collect::<Vec<_>>(), [3, 3]);
    }

    #[test]
    fn a_segment_with_a_wrong_checksum_or_another_window_or_a_gap_is_not_joined() {
        let packets = wire(large_tcp(100), &tcp(1, &[1; 400]));
        let lengths = |packets: &[Vec<u8>]| {
            join(packets.iter().map(Vec::as_slice)).iter().map(|(_, joined)| joined.payload.len()).collect::<Vec<_>>()
        };
        assert_eq!(lengths(&packets), [4]);
        let mut damaged = packets.clone();
        damaged[2][60] ^= 1;
        assert_eq!(lengths(&damaged), [2, 1, 1]);
        let gap = [packets[0].clone(), packets[2].clone(), packets[3].clone()];
        assert_eq!(lengths(&gap), [1, 2]);
        // A change of the window and the checksum with it.
        let mut window = packets.clone();
        window[1][34..36].copy_from_slice(&(512u16 - 1).to_be_bytes());
        let checksum = !Sum::default().word(!word(&window[1], 36)).word(!512).word(511).folded();
        window[1][36..38].copy_from_slice(&checksum.to_be_bytes());
        check(&window[1]);
        assert_eq!(lengths(&window), [1, 1, 2]);
    }

    proptest! {
        #[test]
        fn what_was_split_is_joined_again(size in 1..1500u16, sequence: u32, payload in vec(any::<u8>(), 1..20_000)) {
            let packet = tcp(sequence, &payload);
            let packets = wire(large_tcp(size), &packet);
            packets.iter().for_each(|packet| check(packet));
            let joined = join(packets.iter().map(Vec::as_slice));
            prop_assert_eq!(joined.len(), 1);
            let together = in_one_piece(&joined[0]);
            match packets.len() {
                1 => prop_assert_eq!(joined[0].0, VnetHeader::default()),
                _ => prop_assert_eq!(joined[0].0, VnetHeader { hdr_len: 52, ..large_tcp(size) }),
            }
            // The checksum is left to the device.
            prop_assert_eq!((&together[..36], &together[38..]), (&packet[..36], &packet[38..]));
            prop_assert_eq!(wire(joined[0].0, &together), packets);
        }

        #[test]
        fn no_bytes_can_do_harm(bytes in vec(any::<u8>(), 0..200), header: [u8; 10], kind in 0..6u8, protocol in prop_oneof![Just(TCP), Just(UDP), any::<u8>()]) {
            let mut bytes = bytes;
            let header = VnetHeader { gso_type: kind, ..VnetHeader::from_bytes(header) };
            let _ = split(header, &mut bytes, &mut Vec::new());
            let _ = join([bytes.as_slice(), bytes.as_slice()]);
            if bytes.len() > 20 {
                bytes[0] = 0x45;
                bytes[9] = protocol;
                let _ = split(header, &mut bytes, &mut Vec::new());
                let _ = join([bytes.as_slice(), bytes.as_slice()]);
            }
        }

        #[test]
        fn the_offload_header_survives_the_wire(bytes: [u8; 10]) {
            prop_assert_eq!(VnetHeader::from_bytes(bytes).to_bytes(), bytes);
        }
    }
}
