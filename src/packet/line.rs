//! A packet as one line, in tcpdump's words.
//!
//! ```text
//! 12:00:00.123456 node1:eth0 Out IP 10.0.0.1 > 10.0.0.2: IP 10.244.1.1 > 10.244.2.2: ICMP echo request, id 1, seq 1, length 64 (ttl 63, DF; inner ttl 63, DF)
//! ```
//!
//! The differences to `tcpdump -n -i any`: a nested packet stays on the line, sequence numbers are absolute (as with `-S`),
//! and the parts of `-v` that show which way a packet took are in parentheses at the end, one group per IP header,
//! outermost first: the time to live; DF; a type of service that is not 0; identification, offset and `+` (more to come) of a
//! fragment. The time is UTC.

use std::fmt::{self, Display, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use super::layer::{Arp, Direction, Icmp, Icmpv6, IpPair, Ipv4, Ipv6, Layer, Packet, Tcp, TcpOption};
use crate::net::MacAddr;

/// One line, without a line end: `timestamp` as time of day in UTC, `interface` as the caller names it (`node1:eth0`).
pub fn line(packet: &Packet, timestamp: SystemTime, interface: &str, direction: Direction) -> String {
    format!("{} {interface} {direction:<3} {packet}", TimeOfDay(timestamp))
}

impl Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A frame that holds nothing but its Ethernet header shows that.
        let shown = self.layers.iter().filter(|layer| self.layers.len() == 1 || !matches!(layer, Layer::Ethernet(_)));
        let layers: Vec<&Layer> = shown.collect();
        for (index, layer) in layers.iter().enumerate() {
            if index > 0 && !matches!((layers[index - 1], layer), (Layer::Udp(_), Layer::Vxlan(_))) {
                f.write_str(": ")?;
            }
            let previous = index.checked_sub(1).and_then(|at| layers.get(at)).copied();
            write_layer(f, layer, previous, layers.get(index + 1).copied())?;
        }
        write_ip_options(f, &self.layers)
    }
}

struct TimeOfDay(SystemTime);

impl Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs() % 86_400;
        let (hours, minutes, micros) = (seconds / 3600, seconds / 60 % 60, since.subsec_micros());
        write!(f, "{hours:02}:{minutes:02}:{:02}.{micros:06}", seconds % 60)
    }
}

fn write_layer(
    f: &mut fmt::Formatter<'_>,
    layer: &Layer,
    previous: Option<&Layer>,
    next: Option<&Layer>,
) -> fmt::Result {
    match layer {
        Layer::Ethernet(ethernet) => write!(f, "{} > {}", ethernet.source, ethernet.destination),
        Layer::Vlan(id) => write!(f, "vlan {id}"),
        Layer::Arp(arp) => write_arp(f, arp),
        Layer::Ipv4(ip) => {
            write_pair(f, "IP", IpPair { source: ip.source.into(), destination: ip.destination.into() }, next)
        }
        Layer::Ipv6(ip) => {
            write_pair(f, "IP6", IpPair { source: ip.source.into(), destination: ip.destination.into() }, next)
        }
        Layer::Icmp(icmp) => write_icmp(f, icmp),
        Layer::Icmpv6(icmp) => write_icmpv6(f, icmp),
        Layer::Tcp(tcp) => write_tcp(f, tcp),
        Layer::Udp(_) if matches!(next, Some(Layer::Vxlan(_))) => Ok(()),
        Layer::Udp(udp) => write!(f, "UDP, length {}", udp.length),
        Layer::Vxlan(vxlan) => write!(f, "VXLAN, flags [I] (0x{:02x}), vni {}", vxlan.flags, vxlan.vni),
        Layer::Bgp(messages) => {
            f.write_str("BGP")?;
            if let Some(Layer::Tcp(tcp)) = previous {
                write!(f, ", length: {}", tcp.length)?;
            }
            for (index, message) in messages.iter().enumerate() {
                f.write_str(if index == 0 { " (" } else { ", " })?;
                message.fmt(f)?;
            }
            f.write_str(if messages.is_empty() { "" } else { ")" })
        }
        Layer::Http(first_line) => write!(f, "HTTP: {first_line}"),
        Layer::Opaque { protocol, length } => write!(f, "ip-proto-{protocol}, length {length}"),
        Layer::OpaqueEther { ether_type, length } if *ether_type < 1536 => write!(f, "802.3, length {length}"),
        Layer::OpaqueEther { ether_type, length } => {
            write!(f, "ethertype Unknown (0x{ether_type:04x}), length {length}")
        }
        Layer::Truncated { header, .. } => write!(f, "[|{header}]"),
    }
}

/// `IP 10.0.0.1.40000 > 10.0.0.2.80`: the ports are written with the addresses.
fn write_pair(f: &mut fmt::Formatter<'_>, name: &str, pair: IpPair, next: Option<&Layer>) -> fmt::Result {
    let IpPair { source, destination } = pair;
    let ports = match next {
        Some(Layer::Tcp(tcp)) => Some((tcp.source, tcp.destination)),
        Some(Layer::Udp(udp)) => Some((udp.source, udp.destination)),
        Some(Layer::Truncated { ports, .. }) => *ports,
        _ => None,
    };
    match ports {
        Some((from, to)) => write!(f, "{name} {source}.{from} > {destination}.{to}"),
        None => write!(f, "{name} {source} > {destination}"),
    }
}

fn write_arp(f: &mut fmt::Formatter<'_>, arp: &Arp) -> fmt::Result {
    let Arp { sender_mac, sender, target_mac, target, length, .. } = arp;
    match arp.operation {
        1 => {
            write!(f, "ARP, Request who-has {target}")?;
            if !matches!(target_mac, MacAddr([0, 0, 0, 0, 0, 0]) | MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])) {
                write!(f, " ({target_mac})")?;
            }
            write!(f, " tell {sender}")?;
        }
        2 => write!(f, "ARP, Reply {sender} is-at {sender_mac}")?,
        other => write!(f, "ARP, operation {other} from {sender} to {target}")?,
    }
    write!(f, ", length {length}")
}

fn write_icmp(f: &mut fmt::Formatter<'_>, icmp: &Icmp) -> fmt::Result {
    f.write_str("ICMP ")?;
    let quoted = icmp.quoted.first().and_then(Layer::ip_pair);
    let target: &dyn Display = match &quoted {
        Some(pair) => &pair.destination,
        None => &"?",
    };
    match (icmp.icmp_type, icmp.code) {
        (8, 0) => write!(f, "echo request, id {}, seq {}", icmp.id, icmp.seq)?,
        (0, 0) => write!(f, "echo reply, id {}, seq {}", icmp.id, icmp.seq)?,
        (3, 0) => write!(f, "net {target} unreachable")?,
        (3, 1) => write!(f, "host {target} unreachable")?,
        (3, 2) => match icmp.quoted.first() {
            Some(Layer::Ipv4(ip)) => write!(f, "{target} protocol {} unreachable", ip.protocol)?,
            _ => write!(f, "{target} protocol unreachable")?,
        },
        (3, 3) => match icmp.quoted.get(1) {
            Some(Layer::Tcp(tcp)) => write!(f, "{target} tcp port {} unreachable", tcp.destination)?,
            Some(Layer::Udp(udp)) => write!(f, "{target} udp port {} unreachable", udp.destination)?,
            Some(Layer::Truncated { header, ports: Some((_, port)) }) => {
                write!(f, "{target} {header} port {port} unreachable")?;
            }
            _ => write!(f, "{target} port unreachable")?,
        },
        (3, 4) => write!(f, "{target} unreachable - need to frag (mtu {})", icmp.seq)?,
        (3, 9) => write!(f, "net {target} unreachable - admin prohibited")?,
        (3, 10) => write!(f, "host {target} unreachable - admin prohibited")?,
        (3, 13) => write!(f, "host {target} unreachable - admin prohibited filter")?,
        (3, code) => write!(f, "{target} unreachable - #{code}")?,
        (5, code) => {
            let [a, b] = icmp.id.to_be_bytes();
            let [c, d] = icmp.seq.to_be_bytes();
            let kind = if matches!(code, 0 | 2) { "net" } else { "host" };
            write!(f, "redirect {target} to {kind} {a}.{b}.{c}.{d}")?;
        }
        (11, 0) => f.write_str("time exceeded in-transit")?,
        (11, 1) => f.write_str("ip reassembly time exceeded")?,
        (icmp_type, code) => write!(f, "type-#{icmp_type} code {code}")?,
    }
    write!(f, ", length {}", icmp.length)
}

fn write_icmpv6(f: &mut fmt::Formatter<'_>, icmp: &Icmpv6) -> fmt::Result {
    match icmp.icmp_type {
        128 => write!(f, "ICMP6, echo request, id {}, seq {}", icmp.id, icmp.seq)?,
        129 => write!(f, "ICMP6, echo reply, id {}, seq {}", icmp.id, icmp.seq)?,
        1 => f.write_str("ICMP6, destination unreachable")?,
        2 => f.write_str("ICMP6, packet too big")?,
        3 => f.write_str("ICMP6, time exceeded")?,
        133 => f.write_str("ICMP6, router solicitation")?,
        134 => f.write_str("ICMP6, router advertisement")?,
        135 => f.write_str("ICMP6, neighbor solicitation")?,
        136 => f.write_str("ICMP6, neighbor advertisement")?,
        143 => f.write_str("ICMP6, multicast listener report v2")?,
        other => write!(f, "ICMP6, type-#{other} code {}", icmp.code)?,
    }
    write!(f, ", length {}", icmp.length)
}

fn write_tcp(f: &mut fmt::Formatter<'_>, tcp: &Tcp) -> fmt::Result {
    use super::TcpFlags;
    write!(f, "Flags [{}]", tcp.flags)?;
    let numbered = [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::RST].iter().any(|flag| tcp.flags.contains(*flag));
    match tcp.length {
        0 if numbered => write!(f, ", seq {}", tcp.seq)?,
        0 => {}
        length => write!(f, ", seq {}:{}", tcp.seq, tcp.seq.wrapping_add(length as u32))?,
    }
    if tcp.flags.contains(TcpFlags::ACK) {
        write!(f, ", ack {}", tcp.ack)?;
    }
    write!(f, ", win {}", tcp.window)?;
    for (index, option) in tcp.options.iter().enumerate() {
        f.write_str(if index == 0 { ", options [" } else { "," })?;
        match option {
            TcpOption::End => f.write_str("eol")?,
            TcpOption::Nop => f.write_str("nop")?,
            TcpOption::Mss(mss) => write!(f, "mss {mss}")?,
            TcpOption::WindowScale(shift) => write!(f, "wscale {shift}")?,
            TcpOption::SackPermitted => f.write_str("sackOK")?,
            TcpOption::Sack(edges) => {
                write!(f, "sack {} ", edges.len())?;
                edges.iter().try_for_each(|(left, right)| write!(f, "{{{left}:{right}}}"))?;
            }
            TcpOption::Timestamp(value, echo) => write!(f, "TS val {value} ecr {echo}")?,
            TcpOption::Md5 => f.write_str("md5")?,
            TcpOption::Other(kind) => write!(f, "unknown-{kind}")?,
        }
    }
    write!(f, "{}, length {}", if tcp.options.is_empty() { "" } else { "]" }, tcp.length)
}

/// The parentheses at the end of the line.
fn write_ip_options(f: &mut fmt::Formatter<'_>, layers: &[Layer]) -> fmt::Result {
    let groups = layers.iter().filter_map(|layer| match layer {
        Layer::Ipv4(ip) => Some(ipv4_options(ip)),
        Layer::Ipv6(ip) => Some(ipv6_options(ip)),
        _ => None,
    });
    let mut any = false;
    for (index, group) in groups.enumerate() {
        f.write_str(if index == 0 { " (" } else { "; inner " })?;
        f.write_str(&group)?;
        any = true;
    }
    f.write_str(if any { ")" } else { "" })
}

fn ipv4_options(ip: &Ipv4) -> String {
    let mut text = format!("ttl {}", ip.ttl);
    if ip.dont_fragment {
        text.push_str(", DF");
    }
    if ip.dscp != 0 || ip.ecn != 0 {
        let _ = write!(text, ", tos 0x{:x}", ip.dscp << 2 | ip.ecn);
    }
    if ip.more_fragments || ip.fragment_offset != 0 {
        let more = if ip.more_fragments { "+" } else { "" };
        let _ = write!(text, ", id {}, offset {}{more}", ip.identification, ip.fragment_offset);
    }
    text
}

fn ipv6_options(ip: &Ipv6) -> String {
    let mut text = format!("hlim {}", ip.hop_limit);
    if ip.traffic_class != 0 {
        let _ = write!(text, ", class 0x{:x}", ip.traffic_class);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use etherparse::{IpNumber, PacketBuilder, TcpOptionElement};

    use super::super::{LinkType, decode};
    use super::*;

    fn shown(bytes: &[u8]) -> String {
        decode(LinkType::Raw, bytes, bytes.len()).to_string()
    }

    fn echo() -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([10, 244, 140, 132], [10, 244, 73, 64], 63)
            .icmpv4_echo_request(1, 1)
            .write(&mut out, &[0; 56])
            .unwrap();
        out
    }

    fn wrap(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 62).write(&mut out, IpNumber(protocol), payload).unwrap();
        out
    }

    // etherparse's builder sets DF.
    #[test]
    fn the_line_has_time_place_direction_and_packet() {
        let bytes = echo();
        let packet = decode(LinkType::Raw, &bytes, bytes.len());
        let at = UNIX_EPOCH + Duration::new(86_400 * 3 + 12 * 3600 + 34 * 60 + 56, 123_456_789);
        assert_eq!(
            line(&packet, at, "node1:eth0", Direction::In),
            "12:34:56.123456 node1:eth0 In  IP 10.244.140.132 > 10.244.73.64: ICMP echo request, id 1, seq 1, length 64 (ttl 63, DF)"
        );
    }

    #[test]
    fn ip_in_ip_is_nested_and_both_ttls_are_shown() {
        assert_eq!(
            shown(&wrap(4, &echo())),
            "IP 10.0.0.1 > 10.0.0.2: IP 10.244.140.132 > 10.244.73.64: ICMP echo request, id 1, seq 1, length 64 (ttl 62, DF; inner ttl 63, DF)"
        );
    }

    #[test]
    fn vxlan_names_the_vni_and_then_the_inner_packet() {
        let mut bytes = Vec::new();
        let frame = [&[8, 0, 0, 0, 0, 16, 0, 0][..], &[2; 12], &[8, 0], &echo()].concat();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(43210, 4789).write(&mut bytes, &frame).unwrap();
        assert_eq!(
            shown(&bytes),
            "IP 10.0.0.1.43210 > 10.0.0.2.4789: VXLAN, flags [I] (0x08), vni 4096: IP 10.244.140.132 > 10.244.73.64: \
             ICMP echo request, id 1, seq 1, length 64 (ttl 64, DF; inner ttl 63, DF)"
        );
    }

    #[test]
    fn a_syn_shows_its_options() {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .tcp(40000, 80, 1234, 64240)
            .syn()
            .options(&[TcpOptionElement::MaximumSegmentSize(1460), TcpOptionElement::SelectiveAcknowledgementPermitted])
            .unwrap()
            .write(&mut bytes, &[])
            .unwrap();
        bytes[6] = 0x40;
        let text = shown(&bytes);
        let start = "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1234, win 64240, options [mss 1460,sackOK";
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("], length 0 (ttl 64, DF)"), "{text}");
    }

    #[test]
    fn bgp_lists_its_messages() {
        let message = |kind: u8| [&[0xff; 16][..], &[0, 19, kind]].concat();
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 1)
            .tcp(40000, 179, 10, 500)
            .ack(7)
            .psh()
            .write(&mut bytes, &[message(1), message(4)].concat())
            .unwrap();
        assert_eq!(
            shown(&bytes),
            "IP 10.0.0.1.40000 > 10.0.0.2.179: Flags [P.], seq 10:48, ack 7, win 500, length 38: BGP, length: 38 (Open, Keepalive) (ttl 1, DF)"
        );
    }

    #[test]
    fn icmp_errors_name_what_they_are_about() {
        let error =
            |icmp_type: u8, code: u8| wrap(1, &[&[icmp_type, code, 0, 0, 0, 0, 0x05, 0xa0][..], &echo()].concat());
        let text = |icmp_type, code| shown(&error(icmp_type, code)).replace("IP 10.0.0.1 > 10.0.0.2: ", "");
        assert_eq!(text(3, 0), "ICMP net 10.244.73.64 unreachable, length 92 (ttl 62, DF)");
        assert_eq!(text(3, 1), "ICMP host 10.244.73.64 unreachable, length 92 (ttl 62, DF)");
        assert_eq!(text(3, 4), "ICMP 10.244.73.64 unreachable - need to frag (mtu 1440), length 92 (ttl 62, DF)");
        assert_eq!(text(11, 0), "ICMP time exceeded in-transit, length 92 (ttl 62, DF)");
    }

    #[test]
    fn arp_reads_as_a_question_and_an_answer() {
        let arp = |operation: u8| {
            let mut frame = [&[0xff; 6][..], &[4; 6], &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
            frame.extend([0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 169, 254, 1, 1, 0, 0, 0, 0, 0, 0, 10, 244, 140, 132]);
            decode(LinkType::Ethernet, &frame, frame.len()).to_string()
        };
        assert_eq!(arp(1), "ARP, Request who-has 10.244.140.132 tell 169.254.1.1, length 28");
        assert_eq!(arp(2), "ARP, Reply 169.254.1.1 is-at ee:ee:ee:ee:ee:ee, length 28");
    }

    #[test]
    fn a_fragment_shows_its_place() {
        let mut bytes = wrap(17, &[0; 64]);
        bytes[4..8].copy_from_slice(&[0, 42, 0x20, 3]);
        assert_eq!(shown(&bytes), "IP 10.0.0.1 > 10.0.0.2: ip-proto-17, length 64 (ttl 62, id 42, offset 24+)");
    }
}
