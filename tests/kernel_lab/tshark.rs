//! tshark as a second opinion: of packets that tcpdump captured, it and our decoder must say the same, field by field; and of a capture
//! of ours it must see every interface and every frame. Our lines are tcpdump's.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use lab::packet::{
    Arp, BgpMessage, Ethernet, Icmp, Icmpv6, Ipv4, Ipv6, Layer, LinkType, Packet, Tcp, TcpOption, Udp, Vxlan, decode,
};
use nix::sys::signal::Signal;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use serde_json::Value;

use crate::host::{LAB, Running, TestLab, command, eventually, host, lab, run, shell};

/// Of a packet: tshark's fields, each with its values, outermost first; numbers as decimal ones.
type Fields = BTreeMap<&'static str, Vec<String>>;

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

#[test]
fn ipip_decodes_as_tshark_decodes_it() {
    let Some(_host) = host() else { return };
    let lab = TestLab::of_repository("calico-ipip").up();
    let pods = ("myapp-6b59f8f86-mfdn8", "myapp-6b59f8f86-2t2bn", "10.244.36.1");
    let seen = compare(&lab, &["eth0", "tunl0", "cali2ad752e56a1"], pods);
    seen.has("ip.proto", "4,1", "eth0");
    seen.has("ip.proto", "4,6", "eth0");
    seen.has("ip.proto", "4,17", "eth0");
    // On tunl0, a raw device, there is the inner packet alone.
    seen.has("ip.proto", "1", "tunl0");
    seen.has("ip.dsfield.ecn", "2,2", "eth0");
}

#[test]
fn vxlan_decodes_as_tshark_decodes_it() {
    let Some(_host) = host() else { return };
    let lab = TestLab::of_repository("calico-vxlan").up();
    let pods = ("myapp-7dbd45d496-gcmzt", "myapp-7dbd45d496-node2", "192.168.144.1");
    let seen = compare(&lab, &["eth0", "vxlan.calico", "calia6b94e324d6"], pods);
    seen.has("ip.proto", "17,1", "eth0");
    seen.has("ip.proto", "17,6", "eth0");
    seen.has("ip.proto", "17,17", "eth0");
    seen.has("vxlan.vni", "4096", "eth0");
    // The MACs inside are the VTEPs'.
    seen.has("ip.proto", "1", "vxlan.calico");
}

#[test]
fn plain_packets_decode_as_tshark_decodes_them() {
    let Some(_host) = host() else { return };
    let lab = TestLab::of_repository("calico-bgp-blocks-of-24").up();
    let pods = ("myapp-547df679bb-phftk", "myapp-547df679bb-kvjlt", "10.244.144.1");
    let seen = compare(&lab, &["eth0", "calid034cb34a92"], pods);
    for protocol in ["1", "6", "17"] {
        seen.has("ip.proto", protocol, "eth0");
    }
}

/// What tshark saw, by interface.
struct Seen(BTreeMap<String, Vec<Fields>>);

impl Seen {
    /// Some packet on `interface` must have had `values` in `field`, or the comparison proved less than it says.
    #[track_caller]
    fn has(&self, field: &str, values: &str, interface: &str) {
        let found = self.0[interface].iter().any(|packet| packet.get(field).is_some_and(|all| all.join(",") == values));
        assert!(found, "no packet on {interface} has {field} {values}");
    }
}

/// Sends every kind of packet from a pod on node1 to one on node2, and compares what both decoders say of what node1's interfaces saw.
#[track_caller]
fn compare(lab: &TestLab, interfaces: &[&str], (from, to, address): (&str, &str, &str)) -> Seen {
    let node = "node1.wang.org";
    let file = |interface: &str| lab.folder.path().join(format!("{interface}.pcap"));
    let dumps: Vec<Running> = interfaces
        .iter()
        .map(|interface| {
            let netns = lab.netns(node);
            let words = format!(
                "netns exec {netns} tcpdump --immediate-mode -U -s 0 -i {interface} -w {}",
                file(interface).display()
            );
            let mut tcpdump = Running::start(&mut command("ip", &words));
            tcpdump.says("listening on");
            tcpdump
        })
        .collect();
    send_every_kind(lab, node, from, to, address);
    // The last ping of all is the only one of its size: once it is in a file, all before it are.
    for (interface, tcpdump) in interfaces.iter().zip(dumps) {
        let words =
            format!("-n -r {} -Y icmp.type==0&&ip.len==97 -T fields -e frame.number", file(interface).display());
        eventually("the last reply is in the file", || (!run("tshark", &words).stdout.is_empty()).then_some(()));
        tcpdump.signal(Signal::SIGINT);
        tcpdump.end().ok();
    }
    let seen = interfaces.iter().map(|interface| {
        let theirs = by_tshark(&file(interface));
        let ours = by_us(&file(interface));
        assert_eq!(ours.len(), theirs.len());
        for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            assert_eq!(ours, theirs, "frame {} of {interface}; ours left, tshark's right", number + 1);
        }
        assert_eq!(our_lines(&file(interface)), lines_of_tcpdump(&file(interface)), "{interface}");
        ((*interface).to_owned(), theirs)
    });
    let seen = Seen(seen.collect());
    for kind in ["1", "2", "3", "4"] {
        let has = |packet: &Fields| packet.get("bgp.type").is_some_and(|types| types.iter().any(|found| found == kind));
        assert!(seen.0["eth0"].iter().any(has), "no BGP message of type {kind}");
    }
    for interface in interfaces {
        let has = |field: &str, value: &str| {
            let found = |packet: &Fields| packet.get(field).is_some_and(|all| all.iter().any(|found| found == value));
            assert!(seen.0[*interface].iter().any(found), "no {field} {value} on {interface}");
        };
        // An echo, an error about a port; SYN, RST; a datagram to nobody; an HTTP request; more fragments; a type of service.
        let wanted = [
            ("icmp.type", "8"),
            ("icmp.code", "3"),
            ("tcp.flags", "2"),
            ("tcp.flags", "20"),
            ("udp.dstport", "9999"),
            ("http.request.method", "GET"),
            ("ip.flags.mf", "1"),
            ("ip.dsfield.dscp", "46"),
        ];
        wanted.iter().for_each(|(field, value)| has(field, value));
    }
    let arp = |packet: &Fields| packet.contains_key("arp.opcode");
    assert!(seen.0["eth0"].iter().any(arp), "no ARP");
    seen
}

/// Everything bounded, and the last packet of all an echo of 77 bytes.
fn send_every_kind(lab: &TestLab, node: &str, from: &str, to: &str, address: &str) {
    shell(&format!("ip -n {0} neigh flush dev eth0; ip -n {1} neigh flush dev eth0", lab.netns(node), lab.netns(from)))
        .ok();
    let in_pod = |script: &str| shell(&format!("ip netns exec {} bash -c '{script}'", lab.netns(from)));
    in_pod(&format!("ping -n -c 1 -W 5 -Q 0xba {address}")).ok();
    // In fragments, before the path MTU is known to be anything else.
    in_pod(&format!("ping -n -c 1 -W 5 -M dont -s 3000 {address}")).ok();
    in_pod(&format!("echo hello > /dev/udp/{address}/9999")).ok();
    // Refused by a reset.
    assert_ne!(in_pod(&format!("exec 3<> /dev/tcp/{address}/81")).code, 0);
    self::lab(&format!("curl --lab {} {from} {to}", lab.name)).ok();
    // NOTIFICATION, OPEN, KEEPALIVE, UPDATE.
    self::lab(&format!("peer restart --lab {} {node} node2.wang.org", lab.name)).ok();
    in_pod(&format!("ping -n -c 1 -W 5 -s 69 {address}")).ok();
}

/// What tshark says of each packet of a file: headers only, as our decoder, which joins neither fragments nor segments.
fn by_tshark(file: &Path) -> Vec<Fields> {
    let names: Vec<&'static str> = FIELDS.split_whitespace().collect();
    let mut words = format!("-n -r {} -T fields -E separator=| -E occurrence=a", file.display());
    for preference in ["ip.defragment", "tcp.desegment_tcp_streams", "tcp.try_heuristic_first", "icmp.favor_icmp_mpls"]
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

fn by_us(file: &Path) -> Vec<Fields> {
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
fn lines_of_tcpdump(file: &Path) -> Vec<String> {
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
fn our_lines(file: &Path) -> Vec<String> {
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

#[test]
fn tshark_sees_every_interface_and_every_frame_of_our_capture() {
    let Some(_host) = host() else { return };
    let lab = TestLab::of_repository("calico-ipip").up();
    let taps = [("node1.wang.org", "eth0"), ("node1.wang.org", "tunl0"), ("node2.wang.org", "eth0")];
    let filter = "icmp or ip proto 4";
    let file = |node: &str, interface: &str| lab.folder.path().join(format!("{node}-{interface}.pcap"));
    let ours = lab.folder.path().join("ours.pcapng");
    let dumps = taps.map(|(node, interface)| {
        let (netns, out) = (lab.netns(node), file(node, interface));
        let words =
            format!("netns exec {netns} tcpdump --immediate-mode -U -s 0 -i {interface} -w {} {filter}", out.display());
        let mut tcpdump = Running::start(&mut command("ip", &words));
        tcpdump.says("listening on");
        tcpdump
    });
    let labels = taps.map(|(node, interface)| format!("{node}:{interface}"));
    let words = format!("capture {} -w {} icmp or proto 4", labels.join(" "), ours.display());
    let mut capture = Running::start(&mut command(LAB, &words));
    capture.says("listening on");
    self::lab("ping myapp-6b59f8f86-mfdn8 myapp-6b59f8f86-2t2bn -c 20").ok();
    self::lab("curl myapp-6b59f8f86-w6gll myapp-6b59f8f86-2t2bn").ok();
    self::lab("ping myapp-6b59f8f86-mfdn8 myapp-6b59f8f86-2t2bn -c 1 -s 69").ok();
    for ((node, interface), tcpdump) in taps.iter().zip(dumps) {
        let words =
            format!("-n -r {} -Y icmp.type==0&&ip.len==97 -T fields -e frame.number", file(node, interface).display());
        eventually("the last reply is in the file", || (!run("tshark", &words).stdout.is_empty()).then_some(()));
        tcpdump.signal(Signal::SIGINT);
        tcpdump.end().ok();
    }
    capture.signal(Signal::SIGINT);
    let said = capture.end();
    assert!(said.stderr.contains(" 0 dropped by the kernel"), "{}", said.stderr);

    let mut by_tap: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for packet in frames(&ours) {
        let frame = &packet["_source"]["layers"]["frame"];
        // 1 is Ethernet, 7 raw IP (WTAP_ENCAP_*).
        let tap = format!(
            "{} {}",
            text(&frame["frame.interface_id_tree"]["frame.interface_name"]),
            text(&frame["frame.encap_type"])
        );
        by_tap.entry(tap).or_default().push(text(&packet["_source"]["layers"]["frame_raw"][0]));
    }
    let expected: BTreeMap<String, Vec<String>> = taps
        .iter()
        .map(|(node, interface)| {
            let encapsulation = if *interface == "tunl0" { 7 } else { 1 };
            let heard = frames(&file(node, interface));
            let bytes = heard.iter().map(|packet| text(&packet["_source"]["layers"]["frame_raw"][0]));
            (format!("{node}:{interface} {encapsulation}"), bytes.collect())
        })
        .collect();
    assert!(expected.values().all(|frames| frames.len() >= 42), "{expected:?}");
    assert_eq!(by_tap, expected);
}

/// tshark's view of a file, with the bytes of each frame.
fn frames(file: &Path) -> Vec<Value> {
    serde_json::from_str(&run("tshark", &format!("-n -r {} -T json -x", file.display())).ok()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}
