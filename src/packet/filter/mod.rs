//! The capture filter: tcpdump's language, evaluated on decoded packets.
//!
//! ```text
//! filter    = [ term { ("and" | "&&" | "or" | "||") term } ]        equal precedence, from left to right
//! term      = { "not" | "!" } ( "(" filter ")" | primitive )
//! primitive = [ family ] [ direction ] kind value | [ family ] direction value | family | value
//! family    = "ip" | "ip6" | "arp" | "tcp" | "udp" | "icmp" | "icmp6"
//! direction = "src" | "dst" | "src or dst" | "src and dst"
//! kind      = "host" | "net" | "port" | "portrange" | "proto"       without one: host
//! ```
//!
//! As with tcpdump everything is about the outermost headers: `host` and `net` are addresses of the first IP header (or of
//! ARP), `proto 4` is IP in IP, `icmp` does not see an encapsulated ping. A value alone repeats the qualifiers before it:
//! `port 80 or 443`. Names are not resolved: hosts are addresses and ports are numbers. An empty filter lets everything pass.

use std::fmt;
use std::net::IpAddr;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use ipnet::IpNet;

use super::layer::{IpPair, Layer, Packet};

mod parse;

/// A parsed filter; prints as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    expression: Option<Expression>,
}

impl Filter {
    /// Reads a filter; several words or one text are the same.
    ///
    /// # Errors
    /// The first place where the text is no filter, and what may stand there.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        Ok(Self { text: text.into(), expression: parse::parse(text)? })
    }

    /// Whether `packet` passes.
    pub fn matches(&self, packet: &Packet) -> bool {
        self.expression.as_ref().is_none_or(|expression| expression.matches(&Subject::new(packet)))
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where a text stops being a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the filter `{text}` at column {}: {problem}; {expected}", .span.start + 1)]
pub struct FilterError {
    /// The whole text.
    pub text: String,
    /// The offending bytes of it; empty at the end of the text.
    pub span: Range<usize>,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub expected: String,
}

/// A filter as a tree. Chains are flat, so that a long one is not a deep one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expression {
    Primitive(Primitive),
    Not(Box<Self>),
    /// The first term and those after it with what joins them to all before: no precedence among them.
    Chain(Box<Self>, Vec<(Operator, Self)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    And,
    Or,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Primitive {
    family: Option<Family>,
    side: Side,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ip,
    Ip6,
    Arp,
    /// By IP protocol number; of the outermost header.
    Protocol(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
    Both,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    /// Nothing but the family.
    Family,
    Net(IpNet),
    Ports(RangeInclusive<u16>),
    Protocol(u8),
}

impl Expression {
    fn matches(&self, subject: &Subject) -> bool {
        match self {
            Self::Primitive(primitive) => primitive.matches(subject),
            Self::Not(inner) => !inner.matches(subject),
            Self::Chain(first, rest) => {
                rest.iter().fold(first.matches(subject), |so_far, (operator, term)| match operator {
                    Operator::And => so_far && term.matches(subject),
                    Operator::Or => so_far || term.matches(subject),
                })
            }
        }
    }
}

impl Primitive {
    fn matches(&self, subject: &Subject) -> bool {
        let family = match self.family {
            None => true,
            Some(Family::Ip) => subject.network == Network::Ipv4,
            Some(Family::Ip6) => subject.network == Network::Ipv6,
            Some(Family::Arp) => subject.network == Network::Arp,
            Some(Family::Protocol(number)) => subject.protocol == Some(number),
        };
        family
            && match &self.test {
                Test::Family => true,
                Test::Protocol(number) => subject.protocol == Some(*number),
                Test::Net(net) => subject.addresses.is_some_and(|IpPair { source, destination }| {
                    self.side.holds(net.contains(&source), net.contains(&destination))
                }),
                Test::Ports(range) => subject.ports.is_some_and(|(source, destination)| {
                    self.side.holds(range.contains(&source), range.contains(&destination))
                }),
            }
    }
}

impl Side {
    fn holds(self, source: bool, destination: bool) -> bool {
        match self {
            Self::Source => source,
            Self::Destination => destination,
            Self::Either => source || destination,
            Self::Both => source && destination,
        }
    }
}

/// What a filter can ask of a packet: its outermost headers.
struct Subject {
    network: Network,
    addresses: Option<IpPair>,
    protocol: Option<u8>,
    ports: Option<(u16, u16)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Network {
    Ipv4,
    Ipv6,
    Arp,
    Other,
}

impl Subject {
    fn new(packet: &Packet) -> Self {
        let mut layers = packet.layers.iter().skip_while(|l| matches!(l, Layer::Ethernet(_) | Layer::Vlan(_)));
        let Some(layer) = layers.next() else {
            return Self { network: Network::Other, addresses: None, protocol: None, ports: None };
        };
        let (network, protocol) = match layer {
            Layer::Ipv4(ip) => (Network::Ipv4, Some(ip.protocol)),
            Layer::Ipv6(ip) => (Network::Ipv6, Some(ip.protocol)),
            Layer::Arp(_) => (Network::Arp, None),
            _ => (Network::Other, None),
        };
        let addresses = match layer {
            Layer::Arp(arp) => Some(IpPair { source: IpAddr::V4(arp.sender), destination: IpAddr::V4(arp.target) }),
            other => other.ip_pair(),
        };
        let ports = match layers.next() {
            Some(Layer::Tcp(tcp)) => Some((tcp.source, tcp.destination)),
            Some(Layer::Udp(udp)) => Some((udp.source, udp.destination)),
            Some(Layer::Truncated { ports, .. }) => *ports,
            _ => None,
        };
        Self { network, addresses, protocol, ports }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, PacketBuilder};

    use super::super::{LinkType, decode};
    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];

    fn packet(bytes: &[u8]) -> Packet {
        decode(LinkType::Raw, bytes, bytes.len())
    }

    fn bytes_of(name: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let ip = || PacketBuilder::ipv4(A, B, 64);
        match name {
            "tcp" => ip().tcp(40000, 80, 1, 1).write(&mut out, &[]),
            "udp" => ip().udp(50000, 53).write(&mut out, &[]),
            "icmp" => ip().icmpv4_echo_request(1, 1).write(&mut out, &[]),
            "ip6" => PacketBuilder::ipv6([0xfd; 16], [0xfe; 16], 64).udp(546, 547).write(&mut out, &[]),
            _ => ip().write(&mut out, IpNumber(4), &bytes_of("icmp")),
        }
        .unwrap();
        out
    }

    /// One packet of each kind: A to B, or ARP from A for B.
    fn all() -> Vec<(&'static str, Packet)> {
        let arp = [&[0xff; 6][..], &[4; 6], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[4; 6], &A, &[0; 6], &B].concat();
        let kinds = ["tcp", "udp", "icmp", "ip6", "ipip"].into_iter();
        let mut all: Vec<_> = kinds.map(|name| (name, packet(&bytes_of(name)))).collect();
        all.push(("arp", decode(LinkType::Ethernet, &arp, arp.len())));
        all
    }

    /// The kinds that pass.
    fn passed(filter: &str) -> String {
        let filter = Filter::parse(filter).unwrap();
        let passed: Vec<_> = all().iter().filter(|(_, p)| filter.matches(p)).map(|(name, _)| *name).collect();
        passed.join(" ")
    }

    #[test]
    fn an_empty_filter_passes_everything() {
        assert_eq!(passed(""), "tcp udp icmp ip6 ipip arp");
        assert_eq!(passed("  "), "tcp udp icmp ip6 ipip arp");
    }

    #[test]
    fn families_are_told_apart_by_the_outermost_header() {
        assert_eq!(passed("ip"), "tcp udp icmp ipip");
        assert_eq!(passed("ip6"), "ip6");
        assert_eq!(passed("arp"), "arp");
        assert_eq!(passed("tcp"), "tcp");
        assert_eq!(passed("udp"), "udp ip6");
        assert_eq!(passed("icmp"), "icmp");
    }

    #[test]
    fn hosts_match_either_address_of_ip_and_arp() {
        assert_eq!(passed("host 10.0.0.1"), "tcp udp icmp ipip arp");
        assert_eq!(passed("10.0.0.2"), "tcp udp icmp ipip arp");
        assert_eq!(passed("host 10.0.0.3"), "");
        assert_eq!(passed("src host 10.0.0.1"), passed("ip or arp"));
        assert_eq!(passed("dst host 10.0.0.1"), "");
        assert_eq!(passed("dst 10.0.0.2"), passed("ip or arp"));
        assert_eq!(passed("src 10.0.0.2"), "");
        assert_eq!(passed("arp host 10.0.0.1"), "arp");
        assert_eq!(passed("ip src 10.0.0.1"), "tcp udp icmp ipip");
        assert_eq!(passed("host fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd"), "ip6");
    }

    #[test]
    fn networks_match_by_prefix() {
        assert_eq!(passed("net 10.0.0.0/31"), passed("ip or arp"));
        assert_eq!(passed("src net 10.0.0.0/31"), passed("ip or arp"));
        assert_eq!(passed("dst net 10.0.0.0/31"), "");
        assert_eq!(passed("src and dst net 10.0.0.0/30"), passed("ip or arp"));
        assert_eq!(passed("src and dst net 10.0.0.0/31"), "");
        assert_eq!(passed("net 10.0"), passed("ip or arp"));
        assert_eq!(passed("src or dst 10.0.0.2"), passed("ip or arp"));
    }

    #[test]
    fn ports_match_tcp_and_udp() {
        assert_eq!(passed("port 80"), "tcp");
        assert_eq!(passed("src port 80"), "");
        assert_eq!(passed("dst port 80"), "tcp");
        assert_eq!(passed("udp port 80"), "");
        assert_eq!(passed("tcp dst port 80"), "tcp");
        assert_eq!(passed("port 80 or 53"), "tcp udp");
        assert_eq!(passed("portrange 50-100"), "tcp udp");
    }

    #[test]
    fn protocols_match_the_outermost_number() {
        assert_eq!(passed("proto 4"), "ipip");
        assert_eq!(passed("ip proto 17"), "udp");
        assert_eq!(passed("ip6 proto 17"), "ip6");
        assert_eq!(passed("proto ipip"), "ipip");
        assert_eq!(passed(r"ip proto \tcp"), "tcp");
    }

    #[test]
    fn operators_have_equal_precedence_from_left_to_right_and_not_binds_tightest() {
        assert_eq!(passed("not ip"), "ip6 arp");
        assert_eq!(passed("! ip and !arp"), "ip6");
        assert_eq!(passed("not not arp"), "arp");
        assert_eq!(passed("tcp or udp and ip6"), "ip6");
        assert_eq!(passed("tcp or (udp and ip6)"), "tcp ip6");
        assert_eq!(passed("tcp||udp && host 10.0.0.1"), "tcp udp");
        assert_eq!(passed("not (tcp or udp)"), "icmp ipip arp");
        assert_eq!(passed("host 10.0.0.9 or 10.0.0.1 and not tcp"), "udp icmp ipip arp");
    }

    #[test]
    fn a_later_fragment_has_no_port() {
        let mut bytes = bytes_of("tcp");
        bytes[7] = 3;
        let later = packet(&bytes);
        assert!(Filter::parse("tcp").unwrap().matches(&later));
        assert!(!Filter::parse("port 80").unwrap().matches(&later));
    }
}
