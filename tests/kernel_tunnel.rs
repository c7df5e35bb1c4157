//! `tunl0` in user space between two nodes made by hand, seen from the pods, and on the wire by a packet socket.
//!
//! Needs root. Without it every test says "not run"; with `LAB_TEST_KERNEL=require` it fails instead.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test runs programs and reads the clock")]

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use etherparse::{IpNumber, Ipv4Slice, TcpSlice};
use lab::capture::Tap;
use lab::fabric::Netns;
use lab::fabric::socket::{tcp_connect, tcp_listen};
use lab::net::{IfName, NetnsName};
use lab::tunnel::{Config, DropReason, Tunl0};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Whether the test can run; says so if not.
fn privileged() -> bool {
    if nix::unistd::Uid::effective().is_root() {
        return true;
    }
    let required = std::env::var_os("LAB_TEST_KERNEL").is_some_and(|value| value == "require");
    assert!(!required, "needs root");
    eprintln!("not run: needs root");
    false
}

fn run(program: &str, arguments: &str) -> Output {
    Command::new(program).args(arguments.split_whitespace()).stdin(Stdio::null()).output().unwrap()
}

fn ip(arguments: &str) {
    let output = run("ip", arguments);
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

const NODES: [Ipv4Addr; 3] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2), Ipv4Addr::new(10, 9, 0, 3)];

fn pod(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node as u8, 5)
}

/// Nodes on one bridge, each with a pod and a `tunl0` of MTU 1480; removed when dropped.
struct Nodes {
    test: &'static str,
    count: usize,
    /// Whom the tunnels take for nodes.
    known: HashSet<Ipv4Addr>,
    tunnels: Vec<Tunl0>,
}

impl Nodes {
    fn up(test: &'static str, count: usize) -> Self {
        Self::up_knowing(test, count, &NODES)
    }

    fn up_knowing(test: &'static str, count: usize, known: &[Ipv4Addr]) -> Self {
        let mut nodes = Self { test, count, known: known.iter().copied().collect(), tunnels: Vec::new() };
        ip(&format!("netns add {}", nodes.name("wire")));
        nodes.at("wire", "link add br0 up type bridge mcast_snooping 0");
        for node in 0..count {
            nodes.add_node(node);
        }
        for node in 0..count {
            for other in (0..count).filter(|other| *other != node) {
                let (block, via) = (Ipv4Addr::new(10, 244, other as u8, 0), NODES[other]);
                nodes
                    .at(&format!("node{node}"), &format!("route add {block}/26 via {via} dev tunl0 proto bird onlink"));
            }
        }
        nodes
    }

    fn add_node(&mut self, node: usize) {
        let (at, inside) = (format!("node{node}"), format!("pod{node}"));
        for name in [&at, &inside] {
            ip(&format!("netns add {}", self.name(name)));
            self.at(name, "link set lo up");
            self.sysctl(name, "net.ipv6.conf.all.disable_ipv6=1");
            self.sysctl(name, "net.ipv6.conf.default.disable_ipv6=1");
        }
        self.sysctl(&at, "net.ipv4.ip_forward=1");
        self.at(&at, &format!("link add eth0 type veth peer name n{node} netns {}", self.name("wire")));
        self.at("wire", &format!("link set n{node} master br0 up"));
        self.at(&at, &format!("addr add {}/24 dev eth0", NODES[node]));
        self.at(&at, "link set eth0 up");
        self.at(
            &at,
            &format!("link add cali0 mtu 1480 type veth peer name eth0 mtu 1480 netns {}", self.name(&inside)),
        );
        self.sysctl(&at, "net.ipv4.conf.cali0.proxy_arp=1");
        self.sysctl(&at, "net.ipv4.neigh.cali0.proxy_delay=0");
        self.at(&at, "link set cali0 up");
        self.at(&at, &format!("route add {} dev cali0 scope link", pod(node)));
        self.at(&inside, &format!("addr add {}/32 dev eth0", pod(node)));
        self.at(&inside, "link set eth0 up");
        self.at(&inside, "route add 169.254.1.1 dev eth0 scope link");
        self.at(&inside, "route add default via 169.254.1.1 dev eth0");
        // Proxy ARP answers for what there is a route to.
        self.at(&at, "route add default dev eth0");
        let netns = self.open(&at);
        self.tunnels.push(Tunl0::start(&netns, Config { local: NODES[node], known: self.known.clone() }).unwrap());
        self.at(&at, &format!("addr add 10.244.{node}.0/32 dev tunl0"));
        self.at(&at, "link set tunl0 mtu 1480 up");
    }

    fn name(&self, who: &str) -> NetnsName {
        NetnsName::new(&format!("t-tunnel-{}-{who}", self.test)).unwrap()
    }

    fn open(&self, who: &str) -> Netns {
        Netns::open(&self.name(who)).unwrap()
    }

    fn at(&self, who: &str, arguments: &str) {
        ip(&format!("-n {} {arguments}", self.name(who)));
    }

    fn sysctl(&self, who: &str, setting: &str) {
        ip(&format!("netns exec {} sysctl -qw {setting}", self.name(who)));
    }

    /// What `ping` prints. Off the runtime: the tunnels run on it.
    async fn ping(&self, who: &str, arguments: &str) -> String {
        let command = format!("netns exec {} ping -W 3 {arguments}", self.name(who));
        let output = tokio::task::spawn_blocking(move || run("ip", &command)).await.unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// A UDP socket in a namespace, bound to the port; it gives up after a second.
    fn udp(&self, who: &str, port: u16) -> UdpSocket {
        let socket = self.open(who).run(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        socket
    }

    fn tap(&self, who: &str) -> Tap {
        Tap::open(&self.open(who), &[IfName::new("eth0").unwrap()]).unwrap()
    }

    /// Sends `size` bytes from pod 0 to pod 1 and compares what arrives.
    async fn transfer(&self, size: usize) {
        let address = SocketAddr::new(IpAddr::V4(pod(1)), 5001);
        let listener = tcp_listen(&self.open("pod1"), address).unwrap();
        let receive = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            bytes
        });
        let pattern: Vec<u8> = (0..size as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let timeout = Some(Duration::from_secs(5));
        let mut stream = tcp_connect(&self.open("pod0"), None, address, timeout).await.unwrap();
        stream.write_all(&pattern).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(receive.await.unwrap() == pattern, "the bytes differ");
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.tunnels.clear();
        for name in
            ["wire".to_owned()].into_iter().chain((0..self.count).flat_map(|n| [format!("node{n}"), format!("pod{n}")]))
        {
            run("ip", &format!("netns del {}", self.name(&name)));
        }
    }
}

/// The IP packets of protocol 4 that a tap has heard.
fn encapsulated(tap: &mut Tap) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(captured) = tap.try_next().unwrap() {
        let packet = &captured.bytes[14..];
        if captured.bytes[12..14] == [8, 0] && packet[9] == 4 {
            found.push(packet.to_vec());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_between_pods_costs_two_hops_and_is_protocol_4_between_the_nodes() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("a", 2);
    let mut tap = nodes.tap("node0");
    let printed = nodes.ping("pod0", &format!("-c 1 -Q 0xb8 {}", pod(1))).await;
    assert!(printed.contains("ttl=62"), "{printed}");
    let packets = encapsulated(&mut tap);
    let facts: Vec<_> = packets
        .iter()
        .map(|packet| {
            let outer = Ipv4Slice::from_slice(packet).unwrap().header().to_header();
            let inner = Ipv4Slice::from_slice(&packet[20..]).unwrap().header().to_header();
            assert_eq!(outer.header_checksum, outer.calc_header_checksum());
            assert_eq!(outer.dont_fragment, inner.dont_fragment);
            assert_eq!((inner.dscp.value(), outer.dscp.value()), (0x2e, 0));
            let between = (Ipv4Addr::from(outer.source), Ipv4Addr::from(outer.destination));
            (
                between,
                outer.time_to_live,
                (Ipv4Addr::from(inner.source), Ipv4Addr::from(inner.destination)),
                inner.time_to_live,
            )
        })
        .collect();
    let there = ((NODES[0], NODES[1]), 63, (pod(0), pod(1)), 63);
    let back = ((NODES[1], NODES[0]), 63, (pod(1), pod(0)), 63);
    assert_eq!(facts, [there, back]);
    // From the node itself: the tunnel's own address, and no hop yet.
    let printed = nodes.ping("node0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("ttl=63"), "{printed}");
    let first = encapsulated(&mut tap).remove(0);
    let inner = Ipv4Slice::from_slice(&first[20..]).unwrap().header().to_header();
    assert_eq!((first[8], Ipv4Addr::from(inner.source)), (64, Ipv4Addr::new(10, 244, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_syn_of_60_bytes_is_80_bytes_on_the_wire_and_says_mss_1440() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("b", 2);
    let mut tap = nodes.tap("node0");
    nodes.transfer(1).await;
    let packets = encapsulated(&mut tap);
    let syn = &packets[0];
    let outer = Ipv4Slice::from_slice(syn).unwrap();
    let inner = Ipv4Slice::from_slice(outer.payload().payload).unwrap();
    assert_eq!((outer.header().total_len(), inner.header().total_len()), (80, 60));
    assert_eq!(inner.payload().ip_number, IpNumber::TCP);
    assert!(outer.header().dont_fragment());
    let tcp = TcpSlice::from_slice(inner.payload().payload).unwrap();
    assert!(tcp.syn() && !tcp.ack());
    assert_eq!(tcp.options()[..4], [2, 4, 0x05, 0xa0]);
    let mut ids: Vec<_> =
        packets.iter().filter(|packet| packet[15] == 1).map(|packet| [packet[4], packet[5]]).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), packets.iter().filter(|packet| packet[15] == 1).count(), "each has its own identification");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_fragmented_passes_up_to_1480_bytes_and_beyond_the_sender_is_told() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("c", 2);
    // The pod's own device must not be what is too narrow.
    nodes.at("pod0", "link set eth0 mtu 1500");
    nodes.at("node0", "link set cali0 mtu 1500");
    let printed = nodes.ping("pod0", &format!("-c 1 -M do -s 1452 {}", pod(1))).await;
    assert!(printed.contains("1460 bytes from 10.244.1.5"), "{printed}");
    let printed = nodes.ping("pod0", &format!("-c 1 -M do -s 1453 {}", pod(1))).await;
    assert!(printed.contains("Frag needed and DF set (mtu = 1480)"), "{printed}");
    let printed = nodes.ping("pod0", &format!("-c 1 -M dont -s 3000 {}", pod(1))).await;
    assert!(printed.contains("3008 bytes from 10.244.1.5"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrower_path_is_told_to_the_sender_or_bridged_by_fragments() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("d", 2);
    nodes.at("node0", "route add 10.9.0.2 dev eth0 mtu lock 1400");
    let mut tap = nodes.tap("node0");
    // Before the pod learns what passes.
    let printed = nodes.ping("pod0", &format!("-c 1 -M dont -s 1452 {}", pod(1))).await;
    assert!(printed.contains("1460 bytes from 10.244.1.5"), "{printed}");
    let there = encapsulated(&mut tap).into_iter().filter(|packet| packet[15] == 1);
    let sizes: Vec<_> = there.map(|packet| (packet.len(), packet[6] & 0x20 != 0)).collect();
    assert_eq!(sizes, [(1396, true), (124, false)]);
    let printed = nodes.ping("pod0", &format!("-c 1 -M do -s 1353 {}", pod(1))).await;
    assert!(printed.contains("From 10.9.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1380)"), "{printed}");
    assert_eq!(nodes.tunnels[0].statistics().dropped.get(&DropReason::TooBig), Some(&1));
    let printed = nodes.ping("pod0", &format!("-c 1 -M do -s 1352 {}", pod(1))).await;
    assert!(printed.contains("1360 bytes from 10.244.1.5"), "{printed}");
    // TCP finds out by itself.
    nodes.transfer(1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_not_heard_and_gets_no_answer() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up_knowing("e", 2, &NODES[1..]);
    let mut tap = nodes.tap("node0");
    let printed = nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("100% packet loss"), "{printed}");
    let mut heard = Vec::new();
    while let Some(captured) = tap.try_next().unwrap() {
        if captured.bytes[12..14] == [8, 0] {
            heard.push(captured.bytes[14 + 9]);
        }
    }
    assert_eq!(heard, [4], "the packet, and no ICMP");
    assert_eq!(nodes.tunnels[1].statistics().dropped.get(&DropReason::UnknownSource), Some(&1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_packet_takes_the_route_of_the_moment() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("f", 3);
    let mut tap = nodes.tap("node0");
    let mut to = async |via: &str| {
        nodes.at("node0", &format!("route replace 10.244.1.0/26 {via} dev tunl0 proto bird onlink"));
        nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
        let packets = encapsulated(&mut tap);
        let there = packets.iter().find(|packet| packet[15] == 1).unwrap();
        Ipv4Slice::from_slice(there).unwrap().header().destination_addr()
    };
    for _ in 0..5 {
        assert_eq!(to("via 10.9.0.2").await, NODES[1]);
        assert_eq!(to("via 10.9.0.3").await, NODES[2]);
    }
    nodes.at("node0", "route del 10.244.1.0/26");
    nodes.at("node0", "route add 10.244.1.5 via 10.9.0.2 dev tunl0 onlink");
    let printed = nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("ttl=62"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transfer_arrives_intact_in_both_kinds_of_segments() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("g", 2);
    nodes.transfer(32 << 20).await;
    let sent = nodes.tunnels[0].statistics().sent;
    assert!(sent.packets >= (32 << 20) / 1428, "{sent:?}");
    assert!(sent.bytes / sent.packets <= 1500, "{sent:?}");
    // Segments so small that one read of the device is over a thousand of them.
    nodes.at("pod0", "route change default via 169.254.1.1 dev eth0 advmss 88");
    nodes.at("pod1", "route change default via 169.254.1.1 dev eth0 advmss 88");
    nodes.transfer(1 << 20).await;
    assert_eq!(nodes.tunnels.iter().find_map(Tunl0::failure), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_all_sizes_arrive_whole() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("h", 2);
    let (from, to) = (nodes.udp("pod0", 5002), nodes.udp("pod1", 5002));
    for size in [0, 1, 7, 1451, 1452, 1453, 9000, 65_000] {
        let sent: Vec<u8> = (0..size).map(|at: u32| at as u8).collect();
        from.send_to(&sent, (pod(1), 5002)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let (length, source) = tokio::task::block_in_place(|| to.recv_from(&mut buffer)).unwrap();
        assert_eq!((&buffer[..length], source.ip()), (sent.as_slice(), IpAddr::V4(pod(0))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_ends_says_so_and_the_others_go_on() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("i", 3);
    nodes.at("node2", "link del tunl0");
    let told = async {
        loop {
            match nodes.tunnels[2].failure() {
                Some(failure) => break failure.to_string(),
                None => tokio::task::yield_now().await,
            }
        }
    };
    let failure = tokio::time::timeout(Duration::from_secs(5), told).await.unwrap();
    assert_eq!(failure, "carry packets from tunl0 in netns t-tunnel-i-node2: the device was deleted");
    let printed = nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("ttl=62"), "{printed}");
    assert_eq!((nodes.tunnels[0].failure(), nodes.tunnels[1].failure()), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_goes_down_and_up_carries_again() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("j", 2);
    nodes.at("node1", "link set tunl0 down");
    let printed = nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("100% packet loss"), "{printed}");
    assert_eq!(nodes.tunnels[1].statistics().dropped.get(&DropReason::DeviceDown), Some(&1));
    nodes.at("node1", "link set tunl0 up");
    nodes.at("node1", "route add 10.244.0.0/26 via 10.9.0.1 dev tunl0 proto bird onlink");
    let printed = nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    assert!(printed.contains("ttl=62"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_to_the_node_through_the_tunnel_itself_ends_at_once() {
    if !privileged() {
        return;
    }
    let nodes = Nodes::up("k", 2);
    nodes.at("node0", "route add 10.9.0.2 via 10.9.0.2 dev tunl0 onlink");
    nodes.ping("pod0", &format!("-c 1 {}", pod(1))).await;
    let statistics = nodes.tunnels[0].statistics();
    assert_eq!(statistics.dropped.get(&DropReason::Loop), Some(&1), "{statistics:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_has_its_device_for_itself_and_takes_it_along() {
    if !privileged() {
        return;
    }
    let mut nodes = Nodes::up("l", 2);
    let config = Config { local: NODES[0], known: NODES.into() };
    let netns = nodes.open("node0");
    assert!(Tunl0::start(&netns, config.clone()).is_err(), "it has a server");
    drop(nodes.tunnels.remove(0));
    // Ending a task is asynchronous.
    let gone = async {
        while run("ip", &format!("-n {} link show tunl0", nodes.name("node0"))).status.success() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the device goes with its tunnel");
    nodes.tunnels.insert(0, Tunl0::start(&netns, config).unwrap());
}
