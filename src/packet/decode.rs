//! Bytes to layers.
//!
//! etherparse reads the headers; walking from one packet into the next (IPIP, VXLAN, the packet that an ICMP error quotes)
//! is done here, because it stops at the first transport header. Its `Lax` types are used throughout: the strict ones refuse
//! a capture that was cut short.

use std::net::Ipv4Addr;

use etherparse::{
    LaxIpPayloadSlice, LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, LinkSlice, TcpSlice, UdpSlice, err,
};

use super::bgp;
use super::layer::{
    Arp, Ethernet, Icmp, Icmpv6, Ipv4, Ipv6, Layer, LinkType, Packet, Tcp, TcpFlags, TcpOption, Udp, Vxlan,
};
use crate::net::MacAddr;

/// Decodes one frame, of which `bytes` were captured and `original_len` bytes were on the wire. Never fails: what cannot be
/// decoded is the last layer.
pub fn decode(link: LinkType, bytes: &[u8], original_len: usize) -> Packet {
    let original_len = original_len.max(bytes.len());
    let mut decoder = Decoder { layers: Vec::with_capacity(4), packets: 0 };
    match link {
        LinkType::Ethernet => decoder.ethernet(bytes, original_len),
        LinkType::Raw => decoder.ip(bytes, original_len),
    }
    Packet { layers: decoder.layers, captured_len: bytes.len(), original_len }
}

/// More packets inside each other than this are not taken apart: no sender of ours nests deeper, and the recursion ends.
const MAX_NESTING: usize = 8;

/// The port of VXLAN (RFC 7348 §5), Calico's default as well.
const VXLAN_PORT: u16 = 4789;
/// The port of BGP (RFC 4271 §8.2.1).
const BGP_PORT: u16 = 179;
const HTTP_PORT: u16 = 80;

const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_IPV6: u8 = 41;
const PROTOCOL_ICMPV6: u8 = 58;

struct Decoder {
    layers: Vec<Layer>,
    /// How many IP headers were passed.
    packets: usize,
}

impl Decoder {
    /// `length` is what the frame had on the wire.
    fn ethernet(&mut self, bytes: &[u8], length: usize) {
        let Ok(sliced) = LaxSlicedPacket::from_ethernet(bytes) else {
            self.truncated("ether");
            return;
        };
        let mut ether_type = 0;
        let mut headers = 14;
        if let Some(LinkSlice::Ethernet2(ethernet)) = &sliced.link {
            ether_type = ethernet.ether_type().0;
            self.layers.push(Layer::Ethernet(Ethernet {
                source: MacAddr(ethernet.source()),
                destination: MacAddr(ethernet.destination()),
                ether_type,
            }));
        }
        for extension in &sliced.link_exts {
            headers += extension.header_len();
            match extension {
                LaxLinkExtSlice::Vlan(tag) => {
                    ether_type = tag.ether_type().0;
                    self.layers.push(Layer::Vlan(tag.vlan_identifier().value()));
                }
                LaxLinkExtSlice::Macsec(_) => {}
            }
        }
        let length = length.saturating_sub(headers);
        match &sliced.net {
            Some(net) => self.net(net, length),
            None => match &sliced.stop_err {
                Some((error, layer)) => self.stopped(error, *layer),
                None => self.layers.push(Layer::OpaqueEther { ether_type, length }),
            },
        }
    }

    /// `length` is what the packet had on the wire; its own header may say otherwise.
    fn ip(&mut self, bytes: &[u8], length: usize) {
        match LaxSlicedPacket::from_ip(bytes) {
            Ok(LaxSlicedPacket { net: Some(net), .. }) => self.net(&net, length),
            _ => self.truncated(match bytes.first() {
                Some(first) if first >> 4 == 6 => "ip6",
                _ => "ip",
            }),
        }
    }

    fn net(&mut self, net: &LaxNetSlice<'_>, length: usize) {
        match net {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                let layer = Ipv4 {
                    source: header.source_addr(),
                    destination: header.destination_addr(),
                    ttl: header.ttl(),
                    identification: header.identification(),
                    dont_fragment: header.dont_fragment(),
                    more_fragments: header.more_fragments(),
                    fragment_offset: header.fragments_offset().value().saturating_mul(8),
                    dscp: header.dcp().value(),
                    ecn: header.ecn().value(),
                    protocol: header.protocol().0,
                    total_length: header.total_len(),
                    header_length: header.ihl().saturating_mul(4),
                };
                // Segmentation offload may leave the total length 0: then the frame's length is all there is.
                let claimed = match layer.total_length {
                    0 => length,
                    total => usize::from(total),
                };
                let headers =
                    usize::from(layer.header_length) + ip.extensions().auth.map_or(0, |auth| auth.slice().len());
                let whole = layer.fragment_offset == 0;
                self.layers.push(Layer::Ipv4(layer));
                self.ip_payload(ip.payload(), whole, claimed.saturating_sub(headers));
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let extensions = ip.extensions().slice().len();
                let layer = Ipv6 {
                    source: header.source_addr(),
                    destination: header.destination_addr(),
                    hop_limit: header.hop_limit(),
                    traffic_class: header.traffic_class(),
                    flow_label: header.flow_label().value(),
                    protocol: ip.payload().ip_number.0,
                    payload_length: header.payload_length(),
                    header_length: u16::try_from(40 + extensions).unwrap_or(u16::MAX),
                    fragment_offset: ipv6_fragment_offset(ip),
                };
                let claimed = match layer.payload_length {
                    0 => length.saturating_sub(40),
                    payload => usize::from(payload),
                };
                let whole = layer.fragment_offset == 0;
                self.layers.push(Layer::Ipv6(layer));
                self.ip_payload(ip.payload(), whole, claimed.saturating_sub(extensions));
            }
            LaxNetSlice::Arp(arp) => {
                let mac = |octets: &[u8]| octets.try_into().ok().map(MacAddr);
                let ip = |octets: &[u8]| <[u8; 4]>::try_from(octets).ok().map(Ipv4Addr::from);
                let layer = || {
                    Some(Arp {
                        operation: arp.operation().0,
                        sender_mac: mac(arp.sender_hw_addr())?,
                        sender: ip(arp.sender_protocol_addr())?,
                        target_mac: mac(arp.target_hw_addr())?,
                        target: ip(arp.target_protocol_addr())?,
                        length,
                    })
                };
                self.layers.push(match layer() {
                    Some(layer) => Layer::Arp(layer),
                    None => Layer::OpaqueEther { ether_type: etherparse::ether_type::ARP.0, length },
                });
            }
        }
    }

    /// `length` is that of the payload by the IP header; `whole` is false for a fragment other than the first.
    fn ip_payload(&mut self, payload: &LaxIpPayloadSlice<'_>, whole: bool, length: usize) {
        let protocol = payload.ip_number.0;
        let bytes = payload.payload;
        self.packets += 1;
        match protocol {
            _ if !whole || self.packets > MAX_NESTING => self.layers.push(Layer::Opaque { protocol, length }),
            PROTOCOL_IPIP | PROTOCOL_IPV6 => self.ip(bytes, length),
            PROTOCOL_TCP => self.tcp(bytes, length),
            PROTOCOL_UDP => self.udp(bytes, length),
            PROTOCOL_ICMP => self.icmp(bytes, length),
            PROTOCOL_ICMPV6 => match bytes {
                [icmp_type, code, _, _, a, b, c, d, ..] => self.layers.push(Layer::Icmpv6(Icmpv6 {
                    icmp_type: *icmp_type,
                    code: *code,
                    id: u16::from_be_bytes([*a, *b]),
                    seq: u16::from_be_bytes([*c, *d]),
                    length,
                })),
                _ => self.truncated("icmp6"),
            },
            _ => self.layers.push(Layer::Opaque { protocol, length }),
        }
    }

    fn tcp(&mut self, bytes: &[u8], length: usize) {
        let Ok(tcp) = TcpSlice::from_slice(bytes) else {
            self.layers.push(Layer::Truncated { header: "tcp".into(), ports: ports(bytes) });
            return;
        };
        let header = Tcp {
            source: tcp.source_port(),
            destination: tcp.destination_port(),
            seq: tcp.sequence_number(),
            ack: tcp.acknowledgment_number(),
            flags: TcpFlags(tcp.header_slice()[13]),
            window: tcp.window_size(),
            options: tcp_options(tcp.options()),
            length: length.saturating_sub(tcp.header_slice().len()),
        };
        let on = |port| header.source == port || header.destination == port;
        let data = match tcp.payload() {
            [] => None,
            data if on(BGP_PORT) => Some(Layer::Bgp(bgp::messages(data))),
            data if on(HTTP_PORT) => http_line(data).map(Layer::Http),
            _ => None,
        };
        self.layers.push(Layer::Tcp(header));
        self.layers.extend(data);
    }

    fn udp(&mut self, bytes: &[u8], length: usize) {
        let Ok(udp) = UdpSlice::from_slice_lax(bytes) else {
            self.layers.push(Layer::Truncated { header: "udp".into(), ports: ports(bytes) });
            return;
        };
        let length = length.saturating_sub(8);
        let destination = udp.destination_port();
        self.layers.push(Layer::Udp(Udp { source: udp.source_port(), destination, length }));
        if destination != VXLAN_PORT {
            return;
        }
        // RFC 7348 §5: without the I flag there is no valid VNI, hence no VXLAN.
        match udp.payload() {
            [flags, _, _, _, a, b, c, _, frame @ ..] if flags & 0x08 != 0 => {
                self.layers.push(Layer::Vxlan(Vxlan { flags: *flags, vni: u32::from_be_bytes([0, *a, *b, *c]) }));
                self.ethernet(frame, length.saturating_sub(8));
            }
            payload if payload.len() < 8 => self.truncated("vxlan"),
            _ => {}
        }
    }

    fn icmp(&mut self, bytes: &[u8], length: usize) {
        let [icmp_type, code, _, _, a, b, c, d, rest @ ..] = bytes else {
            self.truncated("icmp");
            return;
        };
        let mut icmp = Icmp {
            icmp_type: *icmp_type,
            code: *code,
            id: u16::from_be_bytes([*a, *b]),
            seq: u16::from_be_bytes([*c, *d]),
            length,
            quoted: Vec::new(),
        };
        if icmp.is_error() && !rest.is_empty() {
            let mut quoted = Self { layers: Vec::with_capacity(2), packets: self.packets };
            quoted.ip(rest, length.saturating_sub(8));
            icmp.quoted = quoted.layers;
        }
        self.layers.push(Layer::Icmp(icmp));
    }

    fn truncated(&mut self, header: &str) {
        self.layers.push(Layer::Truncated { header: header.into(), ports: None });
    }

    /// No network layer came out of a frame of a known EtherType.
    fn stopped(&mut self, _error: &err::packet::SliceError, layer: err::Layer) {
        self.truncated(match layer {
            err::Layer::Arp => "arp",
            err::Layer::VlanHeader => "vlan",
            err::Layer::Ipv6Header | err::Layer::Ipv6Packet => "ip6",
            _ => "ip",
        });
    }
}

/// The ports, where the first four bytes of a TCP or UDP header are there.
fn ports(bytes: &[u8]) -> Option<(u16, u16)> {
    match bytes {
        [a, b, c, d, ..] => Some((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]))),
        _ => None,
    }
}

fn ipv6_fragment_offset(ip: &etherparse::LaxIpv6Slice<'_>) -> u16 {
    let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
        etherparse::Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.fragment_offset().value()),
        _ => None,
    });
    fragment.unwrap_or(0).saturating_mul(8)
}

/// RFC 9293 §3.1: kind, length, data; kinds 0 and 1 are a single byte. Read here because etherparse stops at an option that
/// it does not know, as MD5 signatures are.
fn tcp_options(mut bytes: &[u8]) -> Vec<TcpOption> {
    let mut options = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match kind {
            0 => {
                options.push(TcpOption::End);
                break;
            }
            1 => {
                options.push(TcpOption::Nop);
                bytes = rest;
                continue;
            }
            _ => {}
        }
        let Some((option, rest)) =
            rest.first().and_then(|length| bytes.split_at_checked(usize::from(*length))).filter(|(o, _)| o.len() >= 2)
        else {
            break;
        };
        let word = |at: &[u8]| at.try_into().map(u32::from_be_bytes).unwrap_or(0);
        options.push(match (kind, &option[2..]) {
            (2, [a, b]) => TcpOption::Mss(u16::from_be_bytes([*a, *b])),
            (3, [shift]) => TcpOption::WindowScale(*shift),
            (4, []) => TcpOption::SackPermitted,
            (5, edges) if edges.len() % 8 == 0 => {
                TcpOption::Sack(edges.chunks_exact(8).map(|pair| (word(&pair[..4]), word(&pair[4..]))).collect())
            }
            (8, data) if data.len() == 8 => TcpOption::Timestamp(word(&data[..4]), word(&data[4..])),
            (19, data) if data.len() == 16 => TcpOption::Md5,
            _ => TcpOption::Other(*kind),
        });
        bytes = rest;
    }
    options
}

/// The first line of an HTTP/1 message, at most 100 characters of it.
fn http_line(data: &[u8]) -> Option<String> {
    let starts = ["GET ", "HEAD ", "POST ", "PUT ", "DELETE ", "OPTIONS ", "PATCH ", "HTTP/1."];
    starts.iter().any(|start| data.starts_with(start.as_bytes())).then(|| {
        let printable = data.iter().take(100).take_while(|byte| byte.is_ascii_graphic() || **byte == b' ');
        printable.map(|byte| char::from(*byte)).collect()
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::super::{BgpMessage, Encap, IpPair};
    use super::*;

    const POD_A: [u8; 4] = [10, 244, 140, 132];
    const POD_B: [u8; 4] = [10, 244, 73, 64];
    const NODE_A: [u8; 4] = [172, 18, 0, 2];
    const NODE_B: [u8; 4] = [172, 18, 0, 3];

    fn ethernet(payload: &[u8]) -> Vec<u8> {
        [&[2; 6][..], &[4; 6], &[0x08, 0x00], payload].concat()
    }

    fn echo(ttl: u8) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4(POD_A, POD_B, ttl).icmpv4_echo_request(7, 1).write(&mut out, &[0; 56]).unwrap();
        out
    }

    fn wrap(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4(NODE_A, NODE_B, 63).write(&mut out, etherparse::IpNumber(protocol), payload).unwrap();
        out
    }

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4(NODE_A, NODE_B, 64).udp(50000, port).write(&mut out, payload).unwrap();
        out
    }

    fn tcp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4(NODE_A, NODE_B, 64).tcp(40000, port, 1000, 64240).write(&mut out, payload).unwrap();
        out
    }

    fn pair(source: [u8; 4], destination: [u8; 4]) -> Option<IpPair> {
        Some(IpPair { source: IpAddr::from(source), destination: IpAddr::from(destination) })
    }

    fn frame(bytes: &[u8]) -> Packet {
        decode(LinkType::Ethernet, bytes, bytes.len())
    }

    #[test]
    fn an_echo_request_decodes_with_every_field_of_its_header() {
        let mut bytes = echo(63);
        // DF, DSCP 46 with ECN 1, ID 0x1267.
        bytes[1] = 46 << 2 | 1;
        bytes[4..8].copy_from_slice(&[0x12, 0x67, 0x40, 0]);
        let packet = frame(&ethernet(&bytes));
        let expected = [
            Layer::Ethernet(Ethernet { source: MacAddr([4; 6]), destination: MacAddr([2; 6]), ether_type: 0x800 }),
            Layer::Ipv4(Ipv4 {
                source: POD_A.into(),
                destination: POD_B.into(),
                ttl: 63,
                identification: 0x1267,
                dont_fragment: true,
                more_fragments: false,
                fragment_offset: 0,
                dscp: 46,
                ecn: 1,
                protocol: 1,
                total_length: 84,
                header_length: 20,
            }),
            Layer::Icmp(Icmp { icmp_type: 8, code: 0, id: 7, seq: 1, length: 64, quoted: vec![] }),
        ];
        assert_eq!(packet.layers, expected);
        assert_eq!((packet.encapsulation(), packet.overhead()), (Encap::None, 0));
        assert_eq!((packet.outermost_ip(), packet.innermost_ip()), (pair(POD_A, POD_B), pair(POD_A, POD_B)));
    }

    #[test]
    fn ip_in_ip_has_two_pairs_and_twenty_bytes_of_overhead() {
        let packet = decode(LinkType::Raw, &wrap(4, &echo(62)), 104);
        assert_eq!((packet.encapsulation(), packet.overhead()), (Encap::Ipip, 20));
        assert_eq!((packet.outermost_ip(), packet.innermost_ip()), (pair(NODE_A, NODE_B), pair(POD_A, POD_B)));
        assert_eq!(packet.outermost_ipv4().map(|ip| (ip.ttl, ip.total_length)), Some((63, 104)));
        assert_eq!(packet.innermost_ipv4().map(|ip| (ip.ttl, ip.total_length)), Some((62, 84)));
        assert_eq!(packet.icmp().map(|icmp| icmp.length), Some(64));
    }

    #[test]
    fn vxlan_has_its_vni_and_fifty_bytes_of_overhead() {
        let inner = [&[0x08, 0, 0, 0, 0x00, 0x10, 0x00, 0][..], &ethernet(&echo(62))].concat();
        let packet = frame(&ethernet(&udp(VXLAN_PORT, &inner)));
        assert_eq!((packet.encapsulation(), packet.overhead()), (Encap::Vxlan, 50));
        assert_eq!((packet.outermost_ip(), packet.innermost_ip()), (pair(NODE_A, NODE_B), pair(POD_A, POD_B)));
        assert_eq!(packet.layers[3], Layer::Vxlan(Vxlan { flags: 8, vni: 4096 }));
    }

    #[test]
    fn port_4789_without_the_i_flag_is_plain_udp() {
        let packet = frame(&ethernet(&udp(VXLAN_PORT, &[0; 30])));
        assert_eq!(packet.layers.last(), Some(&Layer::Udp(Udp { source: 50000, destination: 4789, length: 30 })));
        assert_eq!(packet.encapsulation(), Encap::None);
    }

    #[test]
    fn an_icmp_error_keeps_the_packet_that_it_quotes_to_itself() {
        let error = [&[3, 4, 0, 0, 0, 0, 0x05, 0xa0][..], &echo(61)[..28]].concat();
        let packet = decode(LinkType::Raw, &wrap(1, &error), 56);
        let icmp = packet.icmp().unwrap();
        assert_eq!((icmp.icmp_type, icmp.code, icmp.seq, icmp.length), (3, 4, 1440, 36));
        assert_eq!(icmp.quoted[0].ip_pair(), pair(POD_A, POD_B));
        assert_eq!(
            icmp.quoted[1],
            Layer::Icmp(Icmp { icmp_type: 8, code: 0, id: 7, seq: 1, length: 64, quoted: vec![] })
        );
        assert_eq!((packet.innermost_ip(), packet.encapsulation()), (pair(NODE_A, NODE_B), Encap::None));
    }

    #[test]
    fn tcp_options_are_read_past_one_that_is_unknown() {
        let options = [
            &[2, 4, 5, 0xb4, 4, 2, 253, 4, 0, 0, 1, 3, 3, 7][..],
            &[8, 10, 0, 0, 0, 9, 0, 0, 0, 8],
            &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            &[19, 18],
            &[0; 16],
            &[0, 9],
        ];
        let expected = [
            TcpOption::Mss(1460),
            TcpOption::SackPermitted,
            TcpOption::Other(253),
            TcpOption::Nop,
            TcpOption::WindowScale(7),
            TcpOption::Timestamp(9, 8),
            TcpOption::Sack(vec![(1, 2)]),
            TcpOption::Md5,
            TcpOption::End,
        ];
        assert_eq!(tcp_options(&options.concat()), expected);
    }

    #[test]
    fn tcp_to_port_179_is_bgp_and_to_port_80_http() {
        let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
        let packet = decode(LinkType::Raw, &tcp(179, &keepalive), 59);
        assert_eq!(packet.layers.last(), Some(&Layer::Bgp(vec![BgpMessage::Keepalive])));
        let packet = decode(LinkType::Raw, &tcp(80, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"), 67);
        assert_eq!(packet.layers.last(), Some(&Layer::Http("GET / HTTP/1.1".into())));
        assert_eq!(packet.tcp().map(|tcp| tcp.length), Some(27));
    }

    #[test]
    fn a_capture_cut_short_tells_what_is_left_and_the_true_lengths() {
        let bytes = ethernet(&tcp(80, &[0; 500]));
        let packet = decode(LinkType::Ethernet, &bytes[..60], bytes.len());
        assert_eq!(packet.tcp().map(|tcp| tcp.length), Some(500));
        assert_eq!((packet.captured_len, packet.original_len), (60, 554));
        let packet = decode(LinkType::Ethernet, &bytes[..40], bytes.len());
        assert_eq!(packet.layers[2], Layer::Truncated { header: "tcp".into(), ports: Some((40000, 80)) });
        let packet = decode(LinkType::Ethernet, &bytes[..20], bytes.len());
        assert_eq!(packet.layers[1], Layer::Truncated { header: "ip".into(), ports: None });
        assert_eq!(decode(LinkType::Raw, &[], 0).layers, [Layer::Truncated { header: "ip".into(), ports: None }]);
    }

    #[test]
    fn only_the_first_fragment_has_a_transport_header() {
        let mut bytes = udp(53, &[0; 64]);
        bytes[6] = 0x20;
        let first = decode(LinkType::Raw, &bytes, bytes.len());
        assert!(matches!(first.layers[1], Layer::Udp(_)));
        bytes[6..8].copy_from_slice(&[0x20, 3]);
        let later = decode(LinkType::Raw, &bytes, bytes.len());
        assert_eq!(later.outermost_ipv4().map(|ip| (ip.more_fragments, ip.fragment_offset)), Some((true, 24)));
        assert_eq!(later.layers[1], Layer::Opaque { protocol: 17, length: 72 });
    }

    #[test]
    fn arp_decodes_and_an_unknown_ether_type_is_named() {
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &[4; 6], &POD_A, &[0; 6], &[169, 254, 1, 1]].concat();
        let packet = frame(&[&[0xff; 6][..], &[4; 6], &[0x08, 0x06], &arp].concat());
        let expected = Arp {
            operation: 1,
            sender_mac: MacAddr([4; 6]),
            sender: POD_A.into(),
            target_mac: MacAddr([0; 6]),
            target: Ipv4Addr::new(169, 254, 1, 1),
            length: 28,
        };
        assert_eq!(packet.layers[1], Layer::Arp(expected));
        let packet = frame(&[&[0xff; 6][..], &[4; 6], &[0x88, 0xcc], &[0; 10]].concat());
        assert_eq!(packet.layers[1], Layer::OpaqueEther { ether_type: 0x88cc, length: 10 });
    }

    #[test]
    fn nesting_ends_at_a_depth_and_not_at_the_end_of_the_stack() {
        let mut bytes = echo(64);
        for _ in 0..1000 {
            bytes = wrap(4, &bytes);
        }
        let packet = decode(LinkType::Raw, &bytes, bytes.len());
        assert_eq!(packet.layers.len(), MAX_NESTING + 2);
        assert!(matches!(packet.layers.last(), Some(Layer::Opaque { protocol: 4, .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            raw in any::<bool>(),
            length in 0_usize..300,
        ) {
            let link = if raw { LinkType::Raw } else { LinkType::Ethernet };
            let packet = decode(link, &bytes, length);
            let _ = (packet.encapsulation(), packet.overhead(), packet.innermost_ip());
            let _ = super::super::line(&packet, std::time::SystemTime::UNIX_EPOCH, "n:eth0", super::super::Direction::In);
        }

        #[test]
        fn no_damage_to_a_nested_packet_makes_the_decoder_panic(
            damage in proptest::collection::vec((0_usize..250, any::<u8>()), 0..12),
            cut in 0_usize..250,
            vxlan in any::<bool>(),
        ) {
            let mut bytes = match vxlan {
                true => {
                    let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
                    udp(VXLAN_PORT, &[&[8, 0, 0, 0, 0, 16, 0, 0][..], &ethernet(&tcp(179, &keepalive))].concat())
                }
                false => wrap(4, &wrap(1, &[&[11, 0, 0, 0, 0, 0, 0, 0][..], &echo(1)].concat())),
            };
            for (at, value) in damage {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = value;
                }
            }
            bytes.truncate(cut);
            let packet = decode(LinkType::Raw, &bytes, bytes.len());
            let _ = (packet.encapsulation(), packet.overhead(), packet.innermost_ip());
            let _ = super::super::line(&packet, std::time::SystemTime::UNIX_EPOCH, "n:eth0", super::super::Direction::In);
        }
    }
}
