//! `tunl0` in user space under a flood, from a pod and from the wire, and without its device: the lab says so, and the rest goes on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use etherparse::{IpNumber, PacketBuilder};
use lab::fabric::Netns;
use lab::net::NetnsName;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};

use crate::host::{Host, TestLab, eventually, host, lab};

const POD: &str = "myapp-6b59f8f86-mfdn8";
const REMOTE_POD: Ipv4Addr = Ipv4Addr::new(10, 244, 36, 1);

/// Two other nodes, whose packets must pass all the while.
const ONLOOKERS: &str = "master1.wang.org myapp-6b59f8f86-node3-a";

/// How long a flood lasts.
const FLOOD: Duration = Duration::from_millis(1500);

/// What the daemon's memory may grow by during a flood: it holds no queue of its own.
const GROWTH: u64 = 16 << 20;

/// The host, where `tunl0` is ours; `None`, with a word about it, where it is the kernel's.
fn user_space() -> Option<Host> {
    let host = host()?;
    if Path::new("/sys/module/ipip").exists() {
        eprintln!("not run: ipip is loaded, tunl0 is the kernel's");
        return None;
    }
    Some(host)
}

fn cluster() -> TestLab {
    TestLab::of_repository("calico-ipip").up()
}

#[test]
fn a_flood_from_a_pod_is_dropped_and_counted_and_the_others_go_on() {
    let Some(_host) = user_space() else { return };
    let cluster = cluster();
    let flood = |stop: &AtomicBool| {
        let socket = inside(&cluster, POD, || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        send_until(stop, || socket.send_to(&[0; 200], (REMOTE_POD, 9)).is_ok())
    };
    // Two processors' worth of senders: more than any one reader takes.
    let sent = the_lab_lives_through(&cluster, &[&flood, &flood]);
    let tunl0 = &node(&status(&cluster), "node1.wang.org")["tunl0"];
    let (carried, dropped) = (number(&tunl0["sent"]["packets"]), number(&tunl0["dropped"]["queue-full"]));
    assert!(dropped > 0, "{sent} were sent: {tunl0}");
    assert!(carried > 1000, "{sent} were sent: {tunl0}");
    let said = lab("status").ok();
    assert!(said.contains("tunl0 of node1.wang.org dropped packets: "), "{said}");
    assert!(said.contains(" more than could be read from the device"), "{said}");
}

#[test]
fn a_flood_of_protocol_4_from_a_stranger_is_dropped_and_counted_and_the_others_go_on() {
    let Some(_host) = user_space() else { return };
    let cluster = cluster();
    // What is inside would reach a pod.
    let mut inner = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 2], [10, 244, 101, 129], 64).udp(9, 9).write(&mut inner, &[0; 200]).unwrap();
    let mut packet = Vec::new();
    PacketBuilder::ipv4([10, 0, 0, 2], [10, 0, 0, 201], 64).write(&mut packet, IpNumber::IPV4, &inner).unwrap();
    let flood = |stop: &AtomicBool| {
        // IPPROTO_RAW: the packet brings its own header.
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        let socket = inside(&cluster, "gateway", raw);
        let node1 = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 201)), 0).into();
        send_until(stop, || socket.send_to(&packet, &node1).is_ok())
    };
    let sent = the_lab_lives_through(&cluster, &[&flood]);
    // The kernel may lose some before they are anybody's, in the queue of a processor.
    let counted = eventually("most packets are accounted for", || {
        let tunl0 = node(&status(&cluster), "node1.wang.org")["tunl0"].clone();
        let dropped = |reason: &str| tunl0["dropped"][reason].as_u64().unwrap_or(0);
        (2 * (dropped("unknown-source") + dropped("overrun")) > sent).then_some(tunl0)
    });
    assert!(number(&counted["dropped"]["unknown-source"]) > 0, "{counted}");
    assert_eq!(counted["received"]["packets"], 0, "nothing of it came in: {counted}");
    let said = lab("status").ok();
    assert!(said.contains(" from an address that is no node's"), "{said}");
}

#[test]
fn a_tunl0_that_dies_is_named_with_the_reason_and_the_others_go_on() {
    let Some(_host) = user_space() else { return };
    let cluster = cluster();
    cluster.inside("node1.wang.org", "ip link del tunl0");
    let reason = "carry packets from tunl0 in netns calico-ipip-node1.wang.org: the device was deleted";
    let said = eventually("the death is told", || {
        let status = lab("status");
        status.stdout.contains(reason).then_some(status)
    });
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stdout.contains(&format!("node1.wang.org: tunl0 is dead: {reason}")), "{}", said.stdout);
    let json: Value = serde_json::from_str(&lab("status -o json").stdout).unwrap();
    assert_eq!(
        (&json["converged"], &node(&json, "node1.wang.org")["tunl0"]["failure"]),
        (&false.into(), &reason.into())
    );
    for other in ["master1.wang.org", "node2.wang.org", "node3.wang.org"] {
        assert_eq!(node(&json, other)["tunl0"]["failure"], Value::Null);
    }
    lab(&format!("ping {ONLOOKERS} -c 3")).ok();
    assert_eq!(lab(&format!("ping {POD} myapp-6b59f8f86-2t2bn -c 1 --timeout 500ms")).code, 1);
    lab("down").ok();
    assert_eq!(cluster.remains(), Vec::<String>::new());
}

/// Lets `floods` run at once, for [`FLOOD`], and looks meanwhile: the daemon answers within a second, packets between other nodes pass,
/// no session is lost, and memory does not grow. How many packets were sent.
#[track_caller]
fn the_lab_lives_through(cluster: &TestLab, floods: &[&(dyn Fn(&AtomicBool) -> u64 + Sync)]) -> u64 {
    let before = memory(cluster);
    let stop = AtomicBool::new(false);
    let (sent, looks) = std::thread::scope(|scope| {
        let floods: Vec<_> = floods.iter().map(|flood| scope.spawn(|| flood(&stop))).collect();
        let started = Instant::now();
        let mut looks = Vec::new();
        while started.elapsed() < FLOOD {
            let asked = Instant::now();
            let status = lab("status -o json");
            looks.push((asked.elapsed(), status, lab(&format!("ping {ONLOOKERS} -c 3"))));
        }
        stop.store(true, Ordering::Relaxed);
        (floods.into_iter().map(|flood| flood.join().unwrap()).sum(), looks)
    });
    assert!(looks.len() >= 2, "{looks:?}");
    for (took, status, ping) in looks {
        assert!(took < Duration::from_secs(1), "`lab status` took {took:?}");
        assert_eq!((status.code, ping.code), (0, 0), "{}{}", status.stdout, ping.stdout);
        assert!(ping.stdout.contains(" 0% packet loss"), "{}", ping.stdout);
    }
    let grown = memory(cluster).saturating_sub(before);
    assert!(grown < GROWTH, "the daemon grew by {grown} bytes");
    sent
}

/// Calls `send` until told to stop; how often it succeeded. It gives up after a time of its own, so that no flood outlives its test.
fn send_until(stop: &AtomicBool, send: impl Fn() -> bool) -> u64 {
    let deadline = Instant::now() + 8 * FLOOD;
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) && Instant::now() < deadline {
        sent += (0..100).filter(|_| send()).count() as u64;
    }
    sent
}

/// Runs `open` in a namespace of the lab.
fn inside<T: Send + 'static>(cluster: &TestLab, place: &str, open: impl FnOnce() -> T + Send + 'static) -> T {
    Netns::open(&NetnsName::new(&cluster.netns(place)).unwrap()).unwrap().run(open).unwrap()
}

fn status(cluster: &TestLab) -> Value {
    lab(&format!("status {} -o json", cluster.name)).json()
}

fn node(status: &Value, name: &str) -> Value {
    let found = status["nodes"].as_array().unwrap().iter().find(|node| node["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not in {status}")).clone()
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Bytes that the daemon has used at most.
fn memory(cluster: &TestLab) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", cluster.pid().unwrap())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}
