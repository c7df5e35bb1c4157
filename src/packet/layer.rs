//! The layers of a packet, and what can be asked of a whole packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::BgpMessage;
use crate::net::MacAddr;

/// What the first byte of a captured frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkType {
    /// An Ethernet header: veth, bridge, VXLAN, loopback (LINKTYPE_ETHERNET, 1).
    Ethernet,
    /// An IP header: TUN and IPIP devices (LINKTYPE_RAW, 101).
    Raw,
}

/// Which way a frame crossed the interface, seen from its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// It came in.
    In,
    /// It was sent out.
    Out,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::In => "In",
            Self::Out => "Out",
        })
    }
}

/// One decoded frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// The layers, outermost first; what an ICMP error quotes is inside its [`Icmp`], not here.
    pub layers: Vec<Layer>,
    /// The number of bytes decoded.
    pub captured_len: usize,
    /// The number of bytes that were on the wire; at least `captured_len`.
    pub original_len: usize,
}

/// One protocol header, or what could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// Ethernet II.
    Ethernet(Ethernet),
    /// An IEEE 802.1Q tag: the VLAN identifier.
    Vlan(u16),
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp(Arp),
    /// IPv4 (RFC 791).
    Ipv4(Ipv4),
    /// IPv6 (RFC 8200).
    Ipv6(Ipv6),
    /// ICMP (RFC 792).
    Icmp(Icmp),
    /// ICMPv6 (RFC 4443).
    Icmpv6(Icmpv6),
    /// TCP (RFC 9293).
    Tcp(Tcp),
    /// UDP (RFC 768).
    Udp(Udp),
    /// VXLAN (RFC 7348).
    Vxlan(Vxlan),
    /// What a TCP segment from or to port 179 carries: the messages that begin in it, in order. Empty where the segment
    /// begins in the middle of a message.
    Bgp(Vec<BgpMessage>),
    /// The first line of an HTTP/1 message on TCP port 80.
    Http(String),
    /// An IP payload that is not decoded: an unknown protocol, or a fragment other than the first.
    Opaque {
        /// IP protocol number.
        protocol: u8,
        /// Length in bytes, as the IP header has it.
        length: usize,
    },
    /// A frame of an EtherType that is not decoded, or (below 1536) an IEEE 802.3 frame of that length.
    OpaqueEther {
        /// The EtherType.
        ether_type: u16,
        /// Length in bytes without the Ethernet header.
        length: usize,
    },
    /// The capture, or the packet itself, ends within this header.
    Truncated {
        /// The header as tcpdump calls it: `ether`, `ip`, `tcp`.
        header: String,
        /// Source and destination port, where as much is there.
        ports: Option<(u16, u16)>,
    },
}

/// An Ethernet II header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ethernet {
    /// Source address.
    pub source: MacAddr,
    /// Destination address.
    pub destination: MacAddr,
    /// EtherType of what follows (of the first tag, where there is one).
    pub ether_type: u16,
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// The sender's Ethernet address.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address.
    pub sender: Ipv4Addr,
    /// The target's Ethernet address; all zero in most requests.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target: Ipv4Addr,
    /// Length in bytes of the frame without its Ethernet header.
    pub length: usize,
}

/// An IPv4 header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Identification.
    pub identification: u16,
    /// The DF flag.
    pub dont_fragment: bool,
    /// The MF flag.
    pub more_fragments: bool,
    /// Fragment offset in bytes.
    pub fragment_offset: u16,
    /// Differentiated services code point.
    pub dscp: u8,
    /// Explicit congestion notification: 0 to 3.
    pub ecn: u8,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Total length in bytes, as the header has it.
    pub total_length: u16,
    /// Length of this header in bytes, options included.
    pub header_length: u8,
}

/// An IPv6 header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label.
    pub flow_label: u32,
    /// Protocol number of the payload, after the extension headers.
    pub protocol: u8,
    /// Payload length in bytes, as the header has it: extension headers included.
    pub payload_length: u16,
    /// Length in bytes of the header and its extension headers.
    pub header_length: u16,
    /// Offset in bytes of a fragment; 0 where there is no fragment header.
    pub fragment_offset: u16,
}

/// An ICMP message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo message; of others whatever stands in the fifth and sixth byte.
    pub id: u16,
    /// Sequence number of an echo message; next-hop MTU of "fragmentation needed" (RFC 1191 §4).
    pub seq: u16,
    /// Length in bytes of the whole message.
    pub length: usize,
    /// The packet that an error message quotes, outermost layer first; empty for any other message.
    pub quoted: Vec<Layer>,
}

impl Icmp {
    /// Whether this reports an error about the packet that it quotes: unreachable, source quench, redirect, time exceeded,
    /// parameter problem (RFC 1122 §3.2.2).
    pub fn is_error(&self) -> bool {
        matches!(self.icmp_type, 3 | 4 | 5 | 11 | 12)
    }
}

/// An ICMPv6 message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmpv6 {
    /// Type.
    pub icmp_type: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo message; of others whatever stands there.
    pub id: u16,
    /// Sequence number of an echo message; of others whatever stands there.
    pub seq: u16,
    /// Length in bytes of the whole message.
    pub length: usize,
}

/// A TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number; has a meaning with the ACK flag only.
    pub ack: u32,
    /// The flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Options in their order.
    pub options: Vec<TcpOption>,
    /// Length in bytes of the segment's data.
    pub length: usize,
}

/// The flags of a TCP header, as the byte they stand in; printed as tcpdump does: `S.`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// FIN.
    pub const FIN: Self = Self(0x01);
    /// SYN.
    pub const SYN: Self = Self(0x02);
    /// RST.
    pub const RST: Self = Self(0x04);
    /// PSH.
    pub const PSH: Self = Self(0x08);
    /// ACK.
    pub const ACK: Self = Self(0x10);

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        // The order and the letters of tcpdump's `tcp_flag_values`.
        let letters = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];
        letters.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0).try_for_each(|(_, l)| write!(f, "{l}"))
    }
}

/// One option of a TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcpOption {
    /// End of the list.
    End,
    /// Padding.
    Nop,
    /// Maximum segment size in bytes.
    Mss(u16),
    /// Window scale: the shift.
    WindowScale(u8),
    /// Selective acknowledgements are permitted.
    SackPermitted,
    /// Selective acknowledgements: left and right edges.
    Sack(Vec<(u32, u32)>),
    /// Timestamp value and echo reply.
    Timestamp(u32, u32),
    /// An MD5 signature is there (RFC 2385).
    Md5,
    /// Any other, by its kind.
    Other(u8),
}

/// A UDP header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Length in bytes of the data.
    pub length: usize,
}

/// A VXLAN header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vxlan {
    /// The flags byte; 0x08 says that the VNI is valid.
    pub flags: u8,
    /// The VXLAN network identifier: 24 bits.
    pub vni: u32,
}

/// How a packet is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encap {
    /// Not at all.
    None,
    /// IP in IP (RFC 2003).
    Ipip,
    /// In VXLAN.
    Vxlan,
}

impl fmt::Display for Encap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Ipip => "ipip",
            Self::Vxlan => "vxlan",
        })
    }
}

/// The two addresses of one IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IpPair {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
}

impl Layer {
    /// The addresses, where this is an IP header.
    pub fn ip_pair(&self) -> Option<IpPair> {
        match self {
            Self::Ipv4(ip) => Some(IpPair { source: ip.source.into(), destination: ip.destination.into() }),
            Self::Ipv6(ip) => Some(IpPair { source: ip.source.into(), destination: ip.destination.into() }),
            _ => None,
        }
    }

    /// Length in bytes of this header on the wire; 0 for what is data.
    fn header_length(&self) -> usize {
        match self {
            Self::Ethernet(_) => 14,
            Self::Vlan(_) => 4,
            Self::Ipv4(ip) => ip.header_length.into(),
            Self::Ipv6(ip) => ip.header_length.into(),
            Self::Udp(_) | Self::Vxlan(_) => 8,
            _ => 0,
        }
    }
}

impl Packet {
    /// The addresses of the first IP header: what forwards this packet on the wire where it was captured.
    pub fn outermost_ip(&self) -> Option<IpPair> {
        self.layers.iter().find_map(Layer::ip_pair)
    }

    /// The addresses of the last IP header: who talks to whom, whatever wraps it. Equal to the outermost pair where nothing
    /// does.
    pub fn innermost_ip(&self) -> Option<IpPair> {
        self.layers.iter().rev().find_map(Layer::ip_pair)
    }

    /// The first IPv4 header.
    pub fn outermost_ipv4(&self) -> Option<&Ipv4> {
        self.layers.iter().find_map(as_ipv4)
    }

    /// The last IPv4 header.
    pub fn innermost_ipv4(&self) -> Option<&Ipv4> {
        self.layers.iter().rev().find_map(as_ipv4)
    }

    /// The TCP header, of the innermost packet.
    pub fn tcp(&self) -> Option<&Tcp> {
        self.layers.iter().find_map(|layer| match layer {
            Layer::Tcp(tcp) => Some(tcp),
            _ => None,
        })
    }

    /// The UDP header of the innermost packet.
    pub fn udp(&self) -> Option<&Udp> {
        self.layers.iter().rev().find_map(|layer| match layer {
            Layer::Udp(udp) => Some(udp),
            _ => None,
        })
    }

    /// The ICMP message, of the innermost packet.
    pub fn icmp(&self) -> Option<&Icmp> {
        self.layers.iter().find_map(|layer| match layer {
            Layer::Icmp(icmp) => Some(icmp),
            _ => None,
        })
    }

    /// The outermost encapsulation.
    pub fn encapsulation(&self) -> Encap {
        let mut layers = self.layers.iter().skip_while(|layer| layer.ip_pair().is_none()).skip(1);
        match layers.next() {
            Some(Layer::Ipv4(_) | Layer::Ipv6(_)) => Encap::Ipip,
            Some(Layer::Udp(_)) if matches!(layers.next(), Some(Layer::Vxlan(_))) => Encap::Vxlan,
            _ => Encap::None,
        }
    }

    /// How many bytes encapsulation adds: from the start of the outermost to the start of the innermost IP header; 20 for
    /// IPIP, 50 for VXLAN (calico-behaviour 4, 5).
    pub fn overhead(&self) -> usize {
        let first = self.layers.iter().position(|layer| layer.ip_pair().is_some());
        let last = self.layers.iter().rposition(|layer| layer.ip_pair().is_some());
        match (first, last) {
            (Some(first), Some(last)) => self.layers[first..last].iter().map(Layer::header_length).sum(),
            _ => 0,
        }
    }
}

fn as_ipv4(layer: &Layer) -> Option<&Ipv4> {
    match layer {
        Layer::Ipv4(ip) => Some(ip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_flags_print_as_tcpdump_prints_them() {
        assert_eq!(TcpFlags(0x02).to_string(), "S");
        assert_eq!(TcpFlags(0x12).to_string(), "S.");
        assert_eq!(TcpFlags(0x18).to_string(), "P.");
        assert_eq!(TcpFlags(0xc2).to_string(), "SEW");
        assert_eq!(TcpFlags(0).to_string(), "none");
    }
}
