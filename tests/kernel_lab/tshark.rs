//! tshark as a second opinion: of packets that tcpdump captured, it and our decoder must say the same, field by field; and of a capture
//! of ours it must see every interface and every frame. Our lines are tcpdump's.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use etherparse::{IpNumber, Ipv6FlowLabel, PacketBuilder, VlanId};
use nix::sys::signal::Signal;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use serde_json::Value;

use crate::dissect::{Fields, by_tshark, by_us, lines_of_tcpdump, our_lines};
use crate::host::{LAB, Running, TestLab, command, eventually, host, lab, run, shell};

/// No frame here is longer; with its usual snap length tcpdump has room for eight.
const TCPDUMP: &str = "tcpdump --immediate-mode -U -s 4096 -B 32768";

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
            let words = format!("netns exec {netns} {TCPDUMP} -i {interface} -w {}", file(interface).display());
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

#[test]
fn packets_that_no_lab_sends_decode_as_tshark_decodes_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("made.pcap");
    let mut writer = PcapWriter::new(File::create(&file).unwrap()).unwrap();
    for (number, bytes) in made_up().into_iter().enumerate() {
        let packet = PcapPacket::new(std::time::Duration::from_secs(number as u64), bytes.len() as u32, bytes);
        writer.write_packet(&packet.unwrap()).unwrap();
    }
    drop(writer);
    let (ours, theirs) = (by_us(&file), by_tshark(&file));
    assert_eq!(ours.len(), theirs.len());
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(ours, theirs, "packet {}; ours left, tshark's right", number + 1);
    }
}

/// Ethernet frames: a VLAN, IPv6, IPv6 in IPv4, IP options, TCP options and flags of all kinds, ICMP errors, GRE, several BGP messages.
fn made_up() -> Vec<Vec<u8>> {
    let macs = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let ethernet = || PacketBuilder::ethernet2(macs.0, macs.1);
    let written = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    let (v4, v6) = (([10, 0, 0, 1], [10, 0, 0, 2]), ([0xfd; 16], [0xfe; 16]));
    let tcp = |port: u16, options: &[u8], payload: &[u8]| {
        written(&|bytes| {
            let builder = ethernet().ipv4(v4.0, v4.1, 60).tcp(40_000, port, 0xffff_fff0, 501).ack(7).psh();
            builder.urg(3).ece().cwr().options_raw(options).unwrap().write(bytes, payload).unwrap();
        })
    };
    let v6_header = || {
        let mut header = etherparse::Ipv6Header { source: v6.0, destination: v6.1, hop_limit: 9, ..Default::default() };
        header.traffic_class = 0xb9;
        header.flow_label = Ipv6FlowLabel::try_new(0x12345).unwrap();
        etherparse::IpHeaders::Ipv6(header, Default::default())
    };
    let sack = [&[1, 1, 5, 18][..], &[0, 0, 0, 9, 0, 0, 1, 0, 255, 255, 255, 0, 0, 0, 0, 1]].concat();
    let md5 = [&[19, 18][..], &[7; 16], &[1, 1]].concat();
    let keepalive = [&[0xff; 16][..], &[0, 19, 4]].concat();
    let refresh = [&[0xff; 16][..], &[0, 23, 5, 0, 1, 0, 1]].concat();
    let cease = [&[0xff; 16][..], &[0, 21, 3, 6, 2]].concat();
    let quoted = written(&|bytes| PacketBuilder::ipv4(v4.1, v4.0, 1).udp(5, 6).write(bytes, &[0; 8]).unwrap());
    let icmp = |head: [u8; 8]| {
        let payload = [&head[..], &quoted].concat();
        written(&|bytes| ethernet().ipv4(v4.0, v4.1, 64).write(bytes, IpNumber::ICMP, &payload).unwrap())
    };
    let with_options = etherparse::IpHeaders::Ipv4(
        etherparse::Ipv4Header {
            source: v4.0,
            destination: v4.1,
            time_to_live: 5,
            options: [0x94, 4, 0, 0].into(),
            ..Default::default()
        },
        Default::default(),
    );
    let in_v4 = written(&|bytes| {
        PacketBuilder::ip(v6_header()).icmpv6_echo_request(11, 12).write(bytes, &[0; 5]).unwrap();
    });
    let vlan = VlanId::try_new(100).unwrap();
    vec![
        written(&|bytes| ethernet().single_vlan(vlan).ipv4(v4.0, v4.1, 3).udp(1, 2).write(bytes, &[0; 9]).unwrap()),
        written(&|bytes| ethernet().ip(v6_header()).icmpv6_echo_reply(3, 4).write(bytes, &[0; 9]).unwrap()),
        written(&|bytes| ethernet().ip(v6_header()).tcp(1, 2, 3, 4).syn().write(bytes, &[]).unwrap()),
        written(&|bytes| ethernet().ipv4(v4.0, v4.1, 8).write(bytes, IpNumber::IPV6, &in_v4).unwrap()),
        written(&|bytes| ethernet().ip(with_options.clone()).udp(7, 8).write(bytes, &[0; 3]).unwrap()),
        written(&|bytes| ethernet().ipv4(v4.0, v4.1, 8).write(bytes, IpNumber::GRE, &[0; 8]).unwrap()),
        tcp(81, &[2, 4, 5, 0xb4, 3, 3, 7, 0], &[]),
        tcp(81, &sack, b"data"),
        tcp(81, &md5, b"data"),
        tcp(81, &[253, 4, 0, 1, 4, 2, 1, 0], b""),
        tcp(179, &[], &[keepalive.clone(), refresh, cease, keepalive].concat()),
        icmp([3, 4, 0, 0, 0, 0, 5, 0x78]),
        icmp([11, 0, 0, 0, 0, 0, 0, 0]),
        icmp([5, 1, 0, 0, 10, 0, 0, 9]),
    ]
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
        let words = format!("netns exec {netns} {TCPDUMP} -i {interface} -w {} {filter}", out.display());
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
