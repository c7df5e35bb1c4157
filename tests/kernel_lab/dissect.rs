//! What three decoders say of the packets of a file: tshark, tcpdump, and ours.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use lab::packet::{
    Arp, BgpMessage, Ethernet, Icmp, Icmpv6, Ipv4, Ipv6, Layer, LinkType, Packet, Tcp, TcpOption, Udp, Vxlan, decode,
};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;

use crate::host::run;

/// Of a packet: tshark's fields, each with its values, outermost first; numbers as decimal ones.
pub(crate) type Fields = BTreeMap<&'static str, Vec<String>>;

/// Every field of tshark's that our decoder has a value for.
const FIELDS: &str = "eth.src eth.dst eth.type vlan.id \
    arp.opcode arp.src.hw_mac arp.src.proto_ipv4 arp.dst.hw_mac arp.dst.proto_ipv4 \
    ip.src ip.dst ip.ttl ip.id ip.flags.df ip.flags.mf ip.frag_offset ip.dsfield.dscp ip.dsfield.ecn ip.proto ip.len ip.hdr_len \
    ipv6.src ipv6.dst ipv6.hlim ipv6.tclass ipv6.flow ipv6.plen \
    icmp.type icmp.code icmp.ident icmp.seq icmp.mtu icmpv6.type icmpv6.code icmpv6.echo.identifier icmpv6.echo.sequence_number \
    tcp.srcport tcp.dstport tcp.seq_raw tcp.ack_raw tcp.flags tcp.window_size_value tcp.len tcp.option_kind tcp.options.mss_val \
    tcp.options.wscale.shift tcp.options.timestamp.tsval tcp.options.timestamp.tsecr tcp.options.sack_le tcp.options.sack_re \
    udp.srcport udp.dstport udp.length vxlan.flags vxlan.vni \
    bgp.type bgp.notify.major_error bgp.notify.minor_error_cease http.request.method http.request.uri http.response.code";

/// What tshark says of each packet of a file: headers only, as our decoder, which joins neither fragments nor segments.
pub(crate) fn by_tshark(file: &Path) -> Vec<Fields> {
    let names: Vec<&'static str> = FIELDS.split_whitespace().collect();
    let mut words = format!("-n -r {} -T fields -E separator=| -E occurrence=a", file.display());
    for preference in
        ["ip.defragment", "tcp.desegment_tcp_streams", "tcp.relative_sequence_numbers", "icmp.favor_icmp_mpls"]
    {
        words += &format!(" -o {preference}:FALSE");
    }
    names.iter().for_each(|name| words += &format!(" -e {name}"));
    let said = run("tshark", &words).ok();
    let packet = |line: &str| {
        let values = line.split('|').map(|values| values.split(',').filter(|value| !value.is_empty()));
        let fields =
            names.iter().zip(values).map(|(name, values)| (*name, values.map(|value| decimal(name, value)).collect()));
        fields.filter(|(_, values): &(_, Vec<_>)| !values.is_empty()).collect()
    };
    said.lines().map(packet).collect()
}

/// tshark's text of a value as a decimal number, where it is one.
fn decimal(name: &str, value: &str) -> String {
    let number = match (value, value.strip_prefix("0x")) {
        // Newer versions print flags as words.
        ("True", _) => return "1".into(),
        ("False", _) => return "0".into(),
        (_, Some(digits)) => u32::from_str_radix(digits, 16).unwrap(),
        _ => return value.to_owned(),
    };
    match name {
        // Those besides the eight are reserved.
        "tcp.flags" => (number & 0xff).to_string(),
        // Flags and a reserved byte.
        "vxlan.flags" => (number >> 8).to_string(),
        _ => number.to_string(),
    }
}

pub(crate) fn by_us(file: &Path) -> Vec<Fields> {
    decoded(file).iter().map(fields).collect()
}

fn decoded(file: &Path) -> Vec<Packet> {
    let mut reader = PcapReader::new(File::open(file).unwrap()).unwrap();
    let link = match reader.header().datalink {
        DataLink::ETHERNET => LinkType::Ethernet,
        DataLink::RAW => LinkType::Raw,
        other => panic!("{other:?}"),
    };
    let mut packets = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap();
        packets.push(decode(link, packet.data(), packet.orig_len() as usize));
    }
    packets
}

/// What tcpdump prints, a line per packet: what it prints of a packet in VXLAN below the outer one's line is put behind that.
pub(crate) fn lines_of_tcpdump(file: &Path) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in run("tcpdump", &format!("-S -n -tt -r {}", file.display())).ok().lines() {
        match (line.starts_with(|first: char| first.is_ascii_digit()), lines.last_mut()) {
            (false, Some(outer)) => *outer += &format!(": {line}"),
            _ => lines.push(line.split_once(' ').unwrap().1.to_owned()),
        }
    }
    lines
}

/// What we print, without what tcpdump has not: the parentheses, and the lengths of what is not taken apart.
pub(crate) fn our_lines(file: &Path) -> Vec<String> {
    let line = |packet: &Packet| {
        let line = packet.to_string();
        let line = line.split(" (ttl ").next().unwrap_or_default();
        let line = line.split("BGP, length: ").next().unwrap_or_default();
        let bgp = if packet.layers.iter().any(|layer| matches!(layer, Layer::Bgp(_))) { "BGP" } else { "" };
        match line.rsplit_once(", length ") {
            Some((fragment, _)) if fragment.ends_with("ip-proto-1") => fragment.to_owned(),
            _ => format!("{line}{bgp}"),
        }
    };
    decoded(file).iter().map(line).collect()
}

fn fields(packet: &Packet) -> Fields {
    let mut fields = Fields::new();
    packet.layers.iter().for_each(|layer| add_layer(layer, &mut fields));
    fields
}

/// Taken apart without `..`, so that a new field of the decoder has to be compared too.
fn add_layer(layer: &Layer, fields: &mut Fields) {
    let mut put = |name: &'static str, value: String| {
        assert!(FIELDS.split_whitespace().any(|known| known == name), "{name} is not asked for");
        fields.entry(name).or_default().push(value);
    };
    match layer {
        Layer::Ethernet(Ethernet { source, destination, ether_type }) => {
            put("eth.src", source.to_string());
            put("eth.dst", destination.to_string());
            put("eth.type", ether_type.to_string());
        }
        Layer::Vlan(id) => put("vlan.id", id.to_string()),
        Layer::Arp(Arp { operation, sender_mac, sender, target_mac, target, length: _ }) => {
            put("arp.opcode", operation.to_string());
            put("arp.src.hw_mac", sender_mac.to_string());
            put("arp.src.proto_ipv4", sender.to_string());
            put("arp.dst.hw_mac", target_mac.to_string());
            put("arp.dst.proto_ipv4", target.to_string());
        }
        Layer::Ipv4(Ipv4 {
            source,
            destination,
            ttl,
            identification,
            dont_fragment,
            more_fragments,
            fragment_offset,
            dscp,
            ecn,
            protocol,
            total_length,
            header_length,
        }) => {
            put("ip.src", source.to_string());
            put("ip.dst", destination.to_string());
            put("ip.ttl", ttl.to_string());
            put("ip.id", identification.to_string());
            put("ip.flags.df", u8::from(*dont_fragment).to_string());
            put("ip.flags.mf", u8::from(*more_fragments).to_string());
            put("ip.frag_offset", (fragment_offset / 8).to_string());
            put("ip.dsfield.dscp", dscp.to_string());
            put("ip.dsfield.ecn", ecn.to_string());
            put("ip.proto", protocol.to_string());
            put("ip.len", total_length.to_string());
            put("ip.hdr_len", header_length.to_string());
        }
        Layer::Ipv6(Ipv6 {
            source,
            destination,
            hop_limit,
            traffic_class,
            flow_label,
            protocol: _,
            payload_length,
            header_length: _,
            fragment_offset: _,
        }) => {
            put("ipv6.src", source.to_string());
            put("ipv6.dst", destination.to_string());
            put("ipv6.hlim", hop_limit.to_string());
            put("ipv6.tclass", traffic_class.to_string());
            put("ipv6.flow", flow_label.to_string());
            put("ipv6.plen", payload_length.to_string());
        }
        Layer::Icmp(Icmp { icmp_type, code, id, seq, length: _, quoted }) => {
            put("icmp.type", icmp_type.to_string());
            put("icmp.code", code.to_string());
            match (icmp_type, code) {
                (0 | 8, _) => {
                    put("icmp.ident", id.to_string());
                    put("icmp.seq", seq.to_string());
                }
                (3, 4) => put("icmp.mtu", seq.to_string()),
                _ => {}
            }
            quoted.iter().for_each(|layer| add_layer(layer, fields));
        }
        Layer::Icmpv6(Icmpv6 { icmp_type, code, id, seq, length: _ }) => {
            put("icmpv6.type", icmp_type.to_string());
            put("icmpv6.code", code.to_string());
            if matches!(icmp_type, 128 | 129) {
                put("icmpv6.echo.identifier", id.to_string());
                put("icmpv6.echo.sequence_number", seq.to_string());
            }
        }
        Layer::Tcp(Tcp { source, destination, seq, ack, flags, window, options, length }) => {
            put("tcp.srcport", source.to_string());
            put("tcp.dstport", destination.to_string());
            put("tcp.seq_raw", seq.to_string());
            put("tcp.ack_raw", ack.to_string());
            put("tcp.flags", flags.0.to_string());
            put("tcp.window_size_value", window.to_string());
            put("tcp.len", length.to_string());
            options.iter().for_each(|option| add_option(option, &mut put));
        }
        Layer::Udp(Udp { source, destination, length }) => {
            put("udp.srcport", source.to_string());
            put("udp.dstport", destination.to_string());
            put("udp.length", (length + 8).to_string());
        }
        Layer::Vxlan(Vxlan { flags, vni }) => {
            put("vxlan.flags", flags.to_string());
            put("vxlan.vni", vni.to_string());
        }
        Layer::Bgp(messages) => {
            for message in messages {
                let number = match message {
                    BgpMessage::Open => 1,
                    BgpMessage::Update => 2,
                    BgpMessage::Notification { code, subcode } => {
                        put("bgp.notify.major_error", code.to_string());
                        put("bgp.notify.minor_error_cease", subcode.to_string());
                        3
                    }
                    BgpMessage::Keepalive => 4,
                    BgpMessage::RouteRefresh => 5,
                    BgpMessage::Other(number) => *number,
                };
                put("bgp.type", number.to_string());
            }
        }
        Layer::Http(line) => match line.split(' ').collect::<Vec<_>>()[..] {
            ["HTTP/1.1", code, ..] => put("http.response.code", code.to_owned()),
            [method, uri, "HTTP/1.1"] => {
                put("http.request.method", method.to_owned());
                put("http.request.uri", uri.to_owned());
            }
            _ => panic!("{line}"),
        },
        // Told by the protocol number of the layer before.
        Layer::Opaque { protocol: _, length: _ } => {}
        Layer::OpaqueEther { ether_type, length } => panic!("an unknown EtherType {ether_type} of {length} bytes"),
        Layer::Truncated { header, ports } => panic!("cut off in {header} {ports:?}"),
    }
}

fn add_option(option: &TcpOption, put: &mut impl FnMut(&'static str, String)) {
    let kind = match option {
        TcpOption::End => 0,
        TcpOption::Nop => 1,
        TcpOption::Mss(mss) => {
            put("tcp.options.mss_val", mss.to_string());
            2
        }
        TcpOption::WindowScale(shift) => {
            put("tcp.options.wscale.shift", shift.to_string());
            3
        }
        TcpOption::SackPermitted => 4,
        TcpOption::Sack(edges) => {
            for (left, right) in edges {
                put("tcp.options.sack_le", left.to_string());
                put("tcp.options.sack_re", right.to_string());
            }
            5
        }
        TcpOption::Timestamp(value, echo) => {
            put("tcp.options.timestamp.tsval", value.to_string());
            put("tcp.options.timestamp.tsecr", echo.to_string());
            8
        }
        TcpOption::Md5 => 19,
        TcpOption::Other(kind) => *kind,
    };
    put("tcp.option_kind", kind.to_string());
}
