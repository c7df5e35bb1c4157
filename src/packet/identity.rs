//! What stays the same of a packet on its way, whatever wraps it and whoever forwards it: by this it is recognised on several interfaces.

use std::net::IpAddr;

use super::layer::{Icmp, Layer, Packet, Tcp, TcpFlags, Udp};

/// A packet, by its innermost IP packet. Two captures of one packet have the same; so has a packet that is sent again.
///
/// What is not in it: TTL and checksum, which every router changes; and the length, for a large packet of segmentation
/// offload (one frame on a veth) becomes several on the way, of which the first has its sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    source: IpAddr,
    destination: IpAddr,
    mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mark {
    /// RFC 792: identifier and sequence number tell echo messages apart.
    Echo {
        icmp_type: u8,
        id: u16,
        seq: u16,
    },
    /// SYN and RST say that a segment is no data; with data a segment follows another of the same numbers.
    Tcp {
        source: u16,
        destination: u16,
        seq: u32,
        ack: u32,
        control: u8,
        data: bool,
    },
    /// The IP header's own identification (RFC 6864: of use while the packet lives).
    Udp {
        source: u16,
        destination: u16,
        identification: u16,
    },
    Other {
        protocol: u8,
        identification: u16,
    },
}

impl Packet {
    /// By what it is recognised elsewhere; `None` for what is not IPv4, and for a fragment other than the first.
    pub fn identity(&self) -> Option<Identity> {
        let at = self.layers.iter().rposition(|layer| layer.ip_pair().is_some())?;
        let Layer::Ipv4(ip) = &self.layers[at] else { return None };
        if ip.fragment_offset > 0 {
            return None;
        }
        let mark = match self.layers.get(at + 1) {
            Some(Layer::Icmp(Icmp { icmp_type: icmp_type @ (0 | 8), id, seq, .. })) => {
                Mark::Echo { icmp_type: *icmp_type, id: *id, seq: *seq }
            }
            Some(Layer::Tcp(Tcp { source, destination, seq, ack, flags, length, .. })) => Mark::Tcp {
                source: *source,
                destination: *destination,
                seq: *seq,
                ack: *ack,
                control: flags.0 & (TcpFlags::SYN.0 | TcpFlags::RST.0),
                data: *length > 0,
            },
            Some(Layer::Udp(Udp { source, destination, .. })) => {
                Mark::Udp { source: *source, destination: *destination, identification: ip.identification }
            }
            _ => Mark::Other { protocol: ip.protocol, identification: ip.identification },
        };
        Some(Identity { source: ip.source.into(), destination: ip.destination.into(), mark })
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, PacketBuilder};

    use super::super::{LinkType, decode};
    use super::*;

    fn identity(bytes: &[u8]) -> Option<Identity> {
        decode(LinkType::Raw, bytes, bytes.len()).identity()
    }

    fn echo(ttl: u8, seq: u16) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4([10, 244, 0, 1], [10, 244, 1, 1], ttl).icmpv4_echo_request(7, seq);
        builder.write(&mut out, &[0; 56]).unwrap();
        out
    }

    fn segment(seq: u32, ack: u32, length: usize, syn: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let builder = PacketBuilder::ipv4([10, 244, 0, 1], [10, 244, 1, 1], 64).tcp(40_000, 80, seq, 500).ack(ack);
        let builder = if syn { builder.syn() } else { builder };
        builder.write(&mut out, &vec![0; length]).unwrap();
        out
    }

    fn ipip(inner: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 63).write(&mut out, IpNumber(4), inner).unwrap();
        out
    }

    fn vxlan(inner: &[u8]) -> Vec<u8> {
        let frame = [&[8, 0, 0, 0, 0, 16, 0, 0][..], &[2; 12], &[8, 0], inner].concat();
        let mut out = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(43_210, 4789).write(&mut out, &frame).unwrap();
        out
    }

    #[test]
    fn neither_hops_nor_tunnels_change_a_packet() {
        let plain = identity(&echo(64, 1));
        assert!(plain.is_some());
        assert_eq!(identity(&echo(63, 1)), plain);
        assert_eq!(identity(&ipip(&echo(63, 1))), plain);
        assert_eq!(identity(&vxlan(&echo(63, 1))), plain);
        assert_ne!(identity(&echo(64, 2)), plain);
    }

    #[test]
    fn segments_differ_by_their_numbers_and_by_what_they_are() {
        let first = identity(&segment(1000, 7, 1440, false));
        // The rest of the data may have been cut off on the way, and travels in segments of its own.
        assert_eq!(identity(&segment(1000, 7, 14_400, false)), first);
        for other in [segment(2440, 7, 1440, false), segment(1000, 8, 1440, false), segment(1000, 7, 0, false)] {
            assert_ne!(identity(&other), first);
        }
        assert_ne!(identity(&segment(1000, 7, 0, true)), identity(&segment(1000, 7, 0, false)));
    }

    #[test]
    fn a_later_fragment_and_a_frame_without_ip_are_nobody() {
        let mut later = echo(64, 1);
        later[6..8].copy_from_slice(&[0, 5]);
        assert_eq!(identity(&later), None);
        let arp = [&[0xff; 6][..], &[4; 6], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
        assert_eq!(decode(LinkType::Ethernet, &arp, arp.len()).identity(), None);
    }
}
