//! Ping, HTTP and capture against the real kernel.
//!
//! ```text
//! a 10.9.1.2/24 ── eth0   10.9.1.1/24 r 10.9.2.1/24   eth0 ── 10.9.2.2/24 b
//!                         to b: MTU 1400
//! a: blackhole 10.9.8.0/24      r: unreachable 10.9.9.0/24, blackhole 10.9.7.0/24
//! ```

#![expect(clippy::disallowed_methods, reason = "a test against the real kernel runs programs")]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lab::capture::pcapng::{Flush, Writer};
use lab::capture::{CaptureError, Captured, Tap};
use lab::fabric::netns::Netns;
use lab::fabric::socket::{Target, tcp_connect_start, tcp_listen};
use lab::net::{IfName, NetnsName};
use lab::packet::echo::PingReport;
use lab::packet::{Direction, Encap, Filter, Layer, Packet, decode};
use lab::probe::{HttpError, PathMtuDiscovery, PingError, PingOptions, PodPage, http_get, ping, serve_pod};

const A: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);
const R: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);
const NOWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
const SWALLOWED: Ipv4Addr = Ipv4Addr::new(10, 9, 7, 7);
const BLACKHOLE: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 8);

/// Three namespaces of a test's own; removed at its end.
struct World {
    names: [String; 3],
    a: Netns,
    b: Netns,
}

impl World {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        common::require_root();
        let prefix = format!("t-packet-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let names = ["a", "r", "b"].map(|who| format!("{prefix}-{who}"));
        let [a, r, b] = &names;
        let guard = Removal(names.clone());
        for name in &names {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
            let quiet = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; \
                         echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; \
                         echo 1 > /proc/sys/net/ipv4/ip_forward";
            ip(&["netns", "exec", name, "sh", "-c", quiet]);
        }
        for (end, name, router, host) in [("ra", a, R, A), ("rb", b, Ipv4Addr::new(10, 9, 2, 1), B)] {
            ip(&["link", "add", end, "netns", r, "type", "veth", "peer", "name", "eth0", "netns", name]);
            ip(&["-n", r, "addr", "add", &format!("{router}/24"), "dev", end]);
            ip(&["-n", name, "addr", "add", &format!("{host}/24"), "dev", "eth0"]);
            ip(&["-n", r, "link", "set", end, "up"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
            ip(&["-n", name, "route", "add", "default", "via", &router.to_string()]);
        }
        // Both ends: a veth drops what is longer than the MTU of the end that receives it.
        ip(&["-n", r, "link", "set", "rb", "mtu", "1400"]);
        ip(&["-n", b, "link", "set", "eth0", "mtu", "1400"]);
        ip(&["-n", a, "route", "add", "blackhole", "10.9.8.0/24"]);
        ip(&["-n", r, "route", "add", "unreachable", "10.9.9.0/24"]);
        ip(&["-n", r, "route", "add", "blackhole", "10.9.7.0/24"]);
        let open = |name: &str| Netns::open(&NetnsName::new(name).unwrap()).unwrap();
        let world = Self { a: open(a), b: open(b), names: guard.0.clone() };
        std::mem::forget(guard);
        world
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(Removal(self.names.clone()));
    }
}

/// Removes the namespaces, also when building them fails half-way.
struct Removal([String; 3]);

impl Drop for Removal {
    fn drop(&mut self) {
        for name in &self.0 {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn eth0() -> IfName {
    IfName::eth(0)
}

async fn pinged(world: &World, options: PingOptions) -> PingReport {
    ping(&world.a, &PingOptions { timeout: Duration::from_millis(500), ..options }).await.unwrap()
}

/// The decoded frames of a tap that has heard all it will, as far as they pass `filter`.
fn drain(tap: &mut Tap, filter: &str) -> Vec<(Captured, Packet)> {
    let filter: Filter = filter.parse().unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = tap.try_next().unwrap() {
        let link = tap.interfaces()[frame.interface].link;
        let packet = decode(link, &frame.bytes, frame.original_len);
        if filter.matches(&packet) {
            frames.push((frame, packet));
        }
    }
    assert_eq!(tap.dropped().unwrap(), 0);
    frames
}

#[tokio::test]
async fn ping_counts_every_reply_with_its_ttl() {
    let world = World::new();
    let report = pinged(&world, PingOptions { count: 5, ..PingOptions::new(B) }).await;
    let replies: Vec<_> = report.replies.iter().map(|r| (r.seq, r.ttl, r.from, r.length)).collect();
    assert_eq!(replies, [1, 2, 3, 4, 5].map(|seq| (seq, 63, B, 64)));
    assert_eq!((report.sent, report.received, report.lost(), report.duplicates), (5, 5, 0, 0));
    assert!(report.replies.iter().all(|r| r.rtt > Duration::ZERO && r.rtt < Duration::from_millis(500)));
}

#[tokio::test]
async fn ping_with_an_interval_keeps_its_pace_and_loses_nothing() {
    let world = World::new();
    let interval = Duration::from_millis(2);
    let options = PingOptions { count: 50, interval: Some(interval), source: Some(A), ..PingOptions::new(B) };
    let report = pinged(&world, options).await;
    assert_eq!((report.sent, report.received), (50, 50));
    assert!(report.elapsed >= interval * 49, "{:?}", report.elapsed);
}

#[tokio::test]
async fn a_ttl_that_ends_on_the_way_is_reported_by_the_router() {
    let world = World::new();
    let report = pinged(&world, PingOptions { ttl: Some(1), ..PingOptions::new(B) }).await;
    let errors: Vec<_> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["From 10.9.1.1 icmp_seq=1 Time to live exceeded"]);
    assert_eq!((report.sent, report.received), (1, 0));
}

#[tokio::test]
async fn an_unreachable_target_is_reported_by_the_router_and_silence_ends_at_the_timeout() {
    let world = World::new();
    let report = pinged(&world, PingOptions::new(NOWHERE)).await;
    let errors: Vec<_> = report.errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["From 10.9.1.1 icmp_seq=1 Destination Host Unreachable"]);

    let report = pinged(&world, PingOptions { count: 2, ..PingOptions::new(SWALLOWED) }).await;
    assert_eq!((report.sent, report.received, report.errors.len()), (2, 0, 0));
    assert!(report.elapsed >= Duration::from_millis(1000), "{:?}", report.elapsed);
}

#[tokio::test]
async fn a_path_that_is_too_narrow_is_named_first_by_the_router_and_then_by_the_host() {
    let world = World::new();
    let big = PingOptions { size: 1450, path_mtu: PathMtuDiscovery::Do, ..PingOptions::new(B) };
    let report = pinged(&world, PingOptions { count: 2, ..big.clone() }).await;
    assert_eq!(
        report.errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["From 10.9.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)"]
    );
    assert_eq!(
        report.local_errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["ping: local error: message too long, mtu=1400"]
    );
    let report = pinged(&world, PingOptions { path_mtu: PathMtuDiscovery::Dont, ..big }).await;
    assert_eq!((report.received, report.replies[0].length), (1, 1458));
}

#[tokio::test]
async fn a_probe_asks_the_path_anew_and_the_host_names_its_own_mtu() {
    let world = World::new();
    let probe = |size| PingOptions { size, path_mtu: PathMtuDiscovery::Probe, ..PingOptions::new(B) };
    for _ in 0..2 {
        let report = pinged(&world, probe(1373)).await;
        let errors: Vec<_> = report.errors.iter().map(|error| (error.from, error.mtu)).collect();
        assert_eq!((errors, report.local_errors), (vec![(R, Some(1400))], vec![]));
    }
    assert_eq!(pinged(&world, probe(1372)).await.received, 1);
    // The host knows by now that 1400 pass, and refuses by its interface all the same.
    let report = pinged(&world, probe(1473)).await;
    let refused: Vec<_> = report.local_errors.iter().map(|error| (error.to_string(), error.mtu)).collect();
    assert_eq!(refused, [("ping: local error: message too long, mtu=1500".into(), Some(1500))]);
}

#[tokio::test]
async fn what_the_host_itself_refuses_is_part_of_the_report() {
    let world = World::new();
    let report = pinged(&world, PingOptions { count: 2, ..PingOptions::new(BLACKHOLE) }).await;
    let errors: Vec<_> = report.local_errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors, ["ping: sendmsg: Invalid argument", "ping: sendmsg: Invalid argument"]);
    let foreign = PingOptions { source: Some(B), ..PingOptions::new(B) };
    assert!(matches!(ping(&world.a, &foreign).await, Err(PingError::Source { address: B, .. })));
}

#[tokio::test]
async fn pings_at_the_same_time_do_not_mix_their_replies() {
    let world = World::new();
    let options = PingOptions { count: 20, ..PingOptions::new(B) };
    let (one, two) = tokio::join!(pinged(&world, options.clone()), pinged(&world, options));
    assert_eq!((one.received, two.received, one.duplicates, two.duplicates), (20, 20, 0, 0));
}

#[tokio::test]
async fn a_pod_says_its_name_and_its_address() {
    let world = World::new();
    let page = PodPage { name: "wluo-4x7jf".into(), address: B };
    let server = serve_pod(&world.b, &page).unwrap();
    let remote = SocketAddr::from((B, 80));
    let reply = http_get(&world.a, remote, None, "/any?thing", Duration::from_secs(2)).await.unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "PodName: wluo-4x7jf | PodIP: eth0 10.9.2.2/32\n"));
    assert_eq!((reply.local.ip(), reply.remote), (A.into(), remote));
    assert!(reply.headers.contains(&("content-type".into(), "text/plain; charset=utf-8".into())));

    let second = serve_pod(&world.b, &page).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    drop(server);
    let gone = async {
        while !matches!(
            http_get(&world.a, remote, None, "/", Duration::from_secs(2)).await,
            Err(HttpError::Refused { .. })
        ) {}
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("nobody listens once the server is dropped");
}

#[tokio::test]
async fn a_pod_serves_as_many_bytes_as_are_asked_for() {
    let world = World::new();
    let _server = serve_pod(&world.b, &PodPage { name: "p".into(), address: B }).unwrap();
    let remote = SocketAddr::from((B, 80));
    let reply = http_get(&world.a, remote, None, "/?size=1000000", Duration::from_secs(5)).await.unwrap();
    assert_eq!((reply.status, reply.body.len()), (200, 1_000_000));
    assert!(reply.text().starts_with("PodName: p | PodIP: eth0 10.9.2.2/32\nPodName: p | "));
}

/// Connections of a namespace that the kernel still keeps a socket for: what has ended in order waits in TIME_WAIT (6)
/// without one.
fn connections(name: &str) -> Vec<String> {
    let output = Command::new("ip").args(["netns", "exec", name, "cat", "/proc/net/tcp"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let kept = |line: &&str| !matches!(line.split_whitespace().nth(3), Some("06" | "0A"));
    table.lines().skip(1).filter(kept).map(Into::into).collect()
}

#[tokio::test]
async fn nothing_is_left_of_a_page_that_was_got() {
    let world = World::new();
    let server = serve_pod(&world.b, &PodPage { name: "p".into(), address: B }).unwrap();
    let remote = SocketAddr::from((B, 80));
    http_get(&world.a, remote, None, "/?size=100000", Duration::from_secs(5)).await.unwrap();
    assert_eq!(connections(&world.names[0]), Vec::<String>::new());
    drop(server);
    let gone = async {
        while !connections(&world.names[2]).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the pod's end is gone as well");
}

#[tokio::test]
async fn nothing_is_left_of_connections_whose_way_is_cut() {
    let world = World::new();
    let page = PodPage { name: "p".into(), address: B };
    let server = serve_pod(&world.b, &page).unwrap();
    let silent = vec![Target { local: None, remote: SocketAddr::from((B, 80)) }];
    let held = tcp_connect_start(&world.a, silent).unwrap().remove(0).unwrap().established().await.unwrap();
    let listener = tcp_listen(&world.b, SocketAddr::from((B, 82))).unwrap();
    let cut = async {
        let accepted = listener.accept().await.unwrap();
        ip(&["-n", &world.names[1], "link", "set", "ra", "down"]);
        accepted
    };
    let get = http_get(&world.a, SocketAddr::from((B, 82)), None, "/", Duration::from_millis(500));
    let (reply, (accepted, _)) = tokio::join!(get, cut);
    assert!(matches!(reply, Err(HttpError::TimedOut { doing: "get from", .. })), "{reply:?}");
    // Of the client's two connections only the one that is held is left.
    assert_eq!(connections(&world.names[0]).len(), 1);
    for stream in [held, accepted] {
        stream.set_zero_linger().unwrap();
    }
    drop(server);
    let gone = async {
        while !connections(&world.names[2]).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the pod resets what it served");
}

#[tokio::test]
async fn a_pod_serves_others_while_many_clients_say_nothing() {
    let world = World::new();
    let _server = serve_pod(&world.b, &PodPage { name: "p".into(), address: B }).unwrap();
    let remote = SocketAddr::from((B, 80));
    let silent = vec![Target { local: None, remote }; 40];
    let mut held = Vec::new();
    for connecting in tcp_connect_start(&world.a, silent).unwrap() {
        held.push(connecting.unwrap().established().await.unwrap());
    }
    let reply = http_get(&world.a, remote, None, "/", Duration::from_secs(2)).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(held.len(), 40);
}

#[tokio::test]
async fn the_ways_in_which_http_fails_are_told_apart() {
    let world = World::new();
    let get = |address: Ipv4Addr, port: u16| {
        http_get(&world.a, SocketAddr::from((address, port)), None, "/", Duration::from_millis(300))
    };
    assert!(matches!(get(B, 81).await, Err(HttpError::Refused { .. })));
    assert!(matches!(get(NOWHERE, 80).await, Err(HttpError::Unreachable { .. })));
    assert!(matches!(get(BLACKHOLE, 80).await, Err(HttpError::Unreachable { .. })));
    assert!(matches!(get(SWALLOWED, 80).await, Err(HttpError::TimedOut { doing: "connect to", .. })));

    let listener = tcp_listen(&world.b, SocketAddr::from((B, 82))).unwrap();
    assert!(matches!(get(B, 82).await, Err(HttpError::TimedOut { doing: "get from", .. })));
    drop(listener);
}

#[tokio::test]
async fn a_body_without_end_is_refused() {
    use tokio::io::AsyncWriteExt;
    let world = World::new();
    let listener = tcp_listen(&world.b, SocketAddr::from((B, 83))).unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 1 << 16]).await.is_ok() {}
    });
    let reply = http_get(&world.a, SocketAddr::from((B, 83)), None, "/", Duration::from_secs(5)).await;
    assert!(matches!(reply, Err(HttpError::BodyTooLong { .. })), "{reply:?}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_tap_hears_exactly_the_packets_of_an_exchange() {
    let world = World::new();
    let router = Netns::open(&NetnsName::new(&world.names[1]).unwrap()).unwrap();
    let mut at_a = Tap::open(&world.a, &[eth0()]).unwrap();
    let mut at_r = Tap::open(&router, &[IfName::new("rb").unwrap(), IfName::new("ra").unwrap()]).unwrap();
    let report = pinged(&world, PingOptions { count: 2, ..PingOptions::new(B) }).await;
    assert_eq!(report.received, 2);

    let seen = |frames: Vec<(Captured, Packet)>| -> Vec<_> {
        let fields = |(frame, packet): &(Captured, Packet)| {
            let (ip, icmp) = (packet.outermost_ipv4().unwrap(), packet.icmp().unwrap());
            (frame.interface, frame.direction, ip.source, ip.ttl, icmp.icmp_type, icmp.seq)
        };
        frames.iter().map(fields).collect()
    };
    use Direction::{In, Out};
    let at_a = seen(drain(&mut at_a, "icmp"));
    assert_eq!(at_a, [(0, Out, A, 64, 8, 1), (0, In, B, 63, 0, 1), (0, Out, A, 64, 8, 2), (0, In, B, 63, 0, 2)]);
    let at_r = seen(drain(&mut at_r, "icmp and src 10.9.1.2"));
    assert_eq!(at_r, [(1, In, A, 64, 8, 1), (0, Out, A, 63, 8, 1), (1, In, A, 64, 8, 2), (0, Out, A, 63, 8, 2)]);
}

#[tokio::test]
async fn a_tap_waits_for_the_next_frame_and_stamps_it() {
    let world = World::new();
    let mut tap = Tap::open(&world.b, &[IfName::new("any").unwrap()]).unwrap();
    assert_eq!(tap.interfaces().iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["lo", "eth0"]);
    let before = std::time::SystemTime::now();
    let (frame, report) = tokio::join!(tap.next(), pinged(&world, PingOptions::new(B)));
    assert_eq!(report.received, 1);
    let frame = frame.unwrap();
    assert!(frame.timestamp >= before && frame.timestamp <= std::time::SystemTime::now());
    assert_eq!((frame.interface, frame.direction, frame.bytes.len()), (1, Direction::In, frame.original_len));
}

#[tokio::test]
async fn an_interface_that_is_not_there_is_an_error_with_those_that_are() {
    let world = World::new();
    let error = Tap::open(&world.b, &[IfName::eth(7)]).unwrap_err();
    assert!(matches!(&error, CaptureError::NoInterface { present, .. } if present == "lo, eth0"), "{error}");
}

#[tokio::test]
async fn a_burst_waits_in_the_kernel_until_it_is_read() {
    const COUNT: usize = 20_000;
    let world = World::new();
    let mut tap = Tap::open(&world.b, &[eth0()]).unwrap();
    // The far end drops what arrives: only the tap is to hear it.
    let _sink = world.b.run(|| UdpSocket::bind((B, 9999))).unwrap().unwrap();
    let sender = world.a.run(|| UdpSocket::bind((A, 9998))).unwrap().unwrap();
    for number in 0..COUNT {
        sender.send_to(&(number as u32).to_be_bytes(), (B, 9999)).unwrap();
    }
    let heard = drain(&mut tap, "udp dst port 9999");
    assert_eq!(heard.len(), COUNT);
}

#[tokio::test]
async fn tshark_reads_from_our_file_what_we_decode() {
    let world = World::new();
    let router = world.names[1].clone();
    // A tunnel between a and r beside the plain path.
    for (name, remote, address) in [(&world.names[0], R, "10.8.0.1/24"), (&router, A, "10.8.0.2/24")] {
        let link = ["link", "add", "vx0", "type", "vxlan", "id", "4096", "dstport", "4789", "remote"];
        ip(&[&["-n", name][..], &link, &[&remote.to_string()]].concat());
        ip(&["-n", name, "addr", "add", address, "dev", "vx0"]);
        ip(&["-n", name, "link", "set", "vx0", "up"]);
    }
    let _server = serve_pod(&world.b, &PodPage { name: "p".into(), address: B }).unwrap();
    let mut tap = Tap::open(&world.a, &[eth0()]).unwrap();
    let reply = http_get(&world.a, SocketAddr::from((B, 80)), None, "/", Duration::from_secs(2)).await.unwrap();
    assert_eq!(reply.status, 200);
    let tunnelled = pinged(&world, PingOptions::new(Ipv4Addr::new(10, 8, 0, 2))).await;
    assert_eq!(tunnelled.received, 1);
    pinged(&world, PingOptions { ttl: Some(1), ..PingOptions::new(B) }).await;

    let frames = drain(&mut tap, "");
    assert!(frames.iter().any(|(_, packet)| packet.encapsulation() == Encap::Vxlan && packet.overhead() == 50));
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::new(file.reopen().unwrap(), Flush::WhenFull).unwrap();
    let interface = writer.add_interface("a:eth0", tap.interfaces()[0].link).unwrap();
    for (frame, _) in &frames {
        writer.write(interface, frame).unwrap();
    }
    writer.finish().unwrap();

    let fields = "frame.interface_name frame.time_epoch frame.len ip.src ip.ttl ip.id ip.flags.df tcp.srcport tcp.seq_raw \
                  tcp.len tcp.options.mss_val icmp.type icmp.seq vxlan.vni arp.opcode";
    let mut command = Command::new("tshark");
    command.args(["-r", file.path().to_str().unwrap(), "-o", "ip.defragment:FALSE", "-T", "fields"]);
    command.args(["-E", "separator=|", "-E", "occurrence=a"]);
    for field in fields.split_whitespace() {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Newer versions print flags as words.
    let theirs = String::from_utf8(output.stdout).unwrap().replace("True", "1").replace("False", "0");
    let theirs: Vec<String> = theirs.lines().map(Into::into).collect();
    let ours: Vec<String> = frames.iter().map(|(frame, packet)| as_tshark(frame, packet)).collect();
    assert_eq!(ours, theirs);
    assert!(ours.len() > 15, "{ours:#?}");
}

/// One line of tshark's fields; of a field that occurs several times all values, outermost first.
fn as_tshark(frame: &Captured, packet: &Packet) -> String {
    fn all(layers: &[&Layer], value: impl Fn(&Layer) -> Option<String>) -> String {
        layers.iter().filter_map(|layer| value(layer)).collect::<Vec<_>>().join(",")
    }
    fn ipv4(layer: &Layer) -> Option<&lab::packet::Ipv4> {
        match layer {
            Layer::Ipv4(ip) => Some(ip),
            _ => None,
        }
    }
    fn tcp(layer: &Layer) -> Option<&lab::packet::Tcp> {
        match layer {
            Layer::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }
    fn icmp(layer: &Layer) -> Option<&lab::packet::Icmp> {
        match layer {
            Layer::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }
    // tshark lists the headers that an ICMP error quotes as well.
    let mut layers: Vec<&Layer> = Vec::new();
    for layer in &packet.layers {
        layers.push(layer);
        if let Layer::Icmp(icmp) = layer {
            layers.extend(&icmp.quoted);
        }
    }
    let since = frame.timestamp.duration_since(std::time::UNIX_EPOCH).unwrap();
    let mss = |layer: &Layer| {
        tcp(layer)?.options.iter().find_map(|option| match option {
            lab::packet::TcpOption::Mss(mss) => Some(mss.to_string()),
            _ => None,
        })
    };
    [
        "a:eth0".to_owned(),
        format!("{}.{:09}", since.as_secs(), since.subsec_nanos()),
        frame.original_len.to_string(),
        all(&layers, |layer| ipv4(layer).map(|ip| ip.source.to_string())),
        all(&layers, |layer| ipv4(layer).map(|ip| ip.ttl.to_string())),
        all(&layers, |layer| ipv4(layer).map(|ip| format!("0x{:04x}", ip.identification))),
        all(&layers, |layer| ipv4(layer).map(|ip| u8::from(ip.dont_fragment).to_string())),
        all(&layers, |layer| tcp(layer).map(|tcp| tcp.source.to_string())),
        all(&layers, |layer| tcp(layer).map(|tcp| tcp.seq.to_string())),
        all(&layers, |layer| tcp(layer).map(|tcp| tcp.length.to_string())),
        all(&layers, mss),
        all(&layers, |layer| icmp(layer).map(|icmp| icmp.icmp_type.to_string())),
        all(&layers, |layer| {
            let icmp = icmp(layer).filter(|icmp| !icmp.is_error())?;
            Some(icmp.seq.to_string())
        }),
        all(&layers, |layer| match layer {
            Layer::Vxlan(vxlan) => Some(vxlan.vni.to_string()),
            _ => None,
        }),
        all(&layers, |layer| match layer {
            Layer::Arp(arp) => Some(arp.operation.to_string()),
            _ => None,
        }),
    ]
    .join("|")
}
