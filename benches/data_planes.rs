//! TCP between two pods on two nodes: plain, in the kernel's VXLAN, and through `tunl0` in user space, one after the other.
//!
//! `cargo bench --bench data_planes`, as root. Prints Gbit/s, and each figure as a part of plain's. Not a test: it asserts nothing.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a benchmark runs programs and reads the clock")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::fabric::Netns;
use lab::fabric::socket::tcp_connect;
use lab::net::NetnsName;
use lab::tunnel::{Config, Tunl0};

const DURATION: Duration = Duration::from_secs(4);

/// How packets get from node to node, and the pods' MTU (calico-behaviour 1.4).
#[derive(Clone, Copy, Debug)]
enum Plane {
    Plain,
    Vxlan,
    Tunl0,
}

impl Plane {
    fn mtu(self) -> u16 {
        match self {
            Self::Plain => 1500,
            Self::Vxlan => 1450,
            Self::Tunl0 => 1480,
        }
    }
}

fn main() {
    if !nix::unistd::Uid::effective().is_root() {
        return eprintln!("not run: needs root");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let _inside = runtime.enter();
    let mut plain = None;
    for plane in [Plane::Plain, Plane::Vxlan, Plane::Tunl0] {
        let pair = Pair::up(plane);
        let rate = pair.measure();
        let part = rate / *plain.get_or_insert(rate);
        println!("{:8} {rate:6.2} Gbit/s  {part:5.2}", format!("{plane:?}").to_lowercase());
        if let [first, second] = pair.tunnels.as_slice() {
            println!("         sender {:?}\n         receiver {:?}", first.statistics(), second.statistics());
        }
    }
}

/// Two nodes joined by a cable, a pod on each.
struct Pair {
    tunnels: Vec<Tunl0>,
}

impl Pair {
    fn up(plane: Plane) -> Self {
        let mut pair = Self { tunnels: Vec::new() };
        for who in ["node0", "node1", "pod0", "pod1"] {
            ip(&format!("netns add {}", name(who)));
            at(who, "link set lo up");
        }
        at("node0", &format!("link add eth0 type veth peer name eth0 netns {}", name("node1")));
        for (own, other) in [(0, 1), (1, 0)] {
            let (node, pod, mtu) = (format!("node{own}"), format!("pod{own}"), plane.mtu());
            ip(&format!("netns exec {} sysctl -qw net.ipv4.ip_forward=1", name(&node)));
            at(&node, &format!("addr add 10.9.0.{}/24 dev eth0", own + 1));
            at(&node, "link set eth0 up");
            at(&node, &format!("link add cali0 mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}", name(&pod)));
            at(&node, "addr add 169.254.1.1/32 dev cali0");
            at(&node, "link set cali0 up");
            at(&node, &format!("route add 10.244.{own}.5 dev cali0"));
            at(&pod, &format!("addr add 10.244.{own}.5/32 dev eth0"));
            at(&pod, "link set eth0 up");
            at(&pod, "route add 169.254.1.1 dev eth0");
            at(&pod, "route add default via 169.254.1.1");
            let gateway = match plane {
                Plane::Plain => format!("10.9.0.{} dev eth0", other + 1),
                Plane::Vxlan => {
                    let local = own + 1;
                    at(
                        &node,
                        &format!(
                            "link add vxlan.calico type vxlan id 4096 dev eth0 local 10.9.0.{local} dstport 4789 nolearning"
                        ),
                    );
                    at(&node, &format!("link set vxlan.calico address 66:00:00:00:00:0{own} mtu 1450 up"));
                    at(&node, &format!("addr add 10.244.{own}.0/32 dev vxlan.calico"));
                    let remote = format!("66:00:00:00:00:0{other}");
                    at(&node, &format!("neigh add 10.244.{other}.0 lladdr {remote} dev vxlan.calico nud permanent"));
                    let output = Command::new("bridge")
                        .args(["-n", name(&node).as_str(), "fdb", "append", &remote, "dev", "vxlan.calico"])
                        .args(["dst", &format!("10.9.0.{}", other + 1), "self", "permanent"])
                        .status();
                    assert!(output.is_ok_and(|status| status.success()), "bridge fdb append");
                    format!("10.244.{other}.0 dev vxlan.calico onlink")
                }
                Plane::Tunl0 => {
                    let local = Ipv4Addr::new(10, 9, 0, own + 1);
                    let known = [local, Ipv4Addr::new(10, 9, 0, other + 1)].into();
                    pair.tunnels.push(Tunl0::start(&open(&node), Config { local, known }).expect("a tunnel starts"));
                    at(&node, &format!("addr add 10.244.{own}.0/32 dev tunl0"));
                    at(&node, "link set tunl0 mtu 1480 up");
                    format!("10.9.0.{} dev tunl0 onlink", other + 1)
                }
            };
            at(&node, &format!("route add 10.244.{other}.0/26 via {gateway}"));
        }
        pair
    }

    /// Gbit/s of payload that one connection carries.
    fn measure(&self) -> f64 {
        let listener = open("pod1").run(|| TcpListener::bind("10.244.1.5:5001")).and_then(|it| it).expect("it listens");
        // Connecting waits for the tunnel, which needs the namespace thread: it must not be what waits.
        let address = "10.244.1.5:5001".parse().expect("an address");
        let stream = async { tcp_connect(&open("pod0"), None, address, None).await?.into_std() };
        let stream = tokio::runtime::Handle::current().block_on(stream).expect("it connects");
        stream.set_nonblocking(false).expect("it can block");
        let sender = std::thread::spawn(move || send(stream));
        let (mut stream, _) = listener.accept().expect("it accepts");
        let mut buffer = vec![0; 1 << 20];
        let start = Instant::now();
        let mut received = 0;
        loop {
            match stream.read(&mut buffer).expect("it reads") {
                0 => break,
                length => received += length,
            }
        }
        let elapsed = start.elapsed();
        sender.join().expect("the sender ends well");
        received as f64 * 8.0 / elapsed.as_secs_f64() / 1e9
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.tunnels.clear();
        for who in ["node0", "node1", "pod0", "pod1"] {
            ip(&format!("netns del {}", name(who)));
        }
    }
}

fn send(mut stream: TcpStream) {
    let bytes = vec![0x5a; 1 << 18];
    let start = Instant::now();
    while start.elapsed() < DURATION {
        stream.write_all(&bytes).expect("it writes");
    }
}

fn name(who: &str) -> NetnsName {
    NetnsName::new(&format!("bench-planes-{who}")).expect("a name")
}

fn open(who: &str) -> Netns {
    Netns::open(&name(who)).expect("the namespace is there")
}

fn at(who: &str, arguments: &str) {
    ip(&format!("-n {} {arguments}", name(who)));
}

fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).stdin(Stdio::null()).output().expect("`ip` runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
