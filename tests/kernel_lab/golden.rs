//! Golden cluster A, the three-node full mesh of `topologies/calico-bgp-fullmesh.toml`: everything as on the real cluster.

use serde_json::Value;

use crate::host::{Running, TestLab, command, host, lab, run, trimmed};

const CONTROL_PLANE: &str = "calico-bgp-fullmesh-control-plane";
const WORKER: &str = "calico-bgp-fullmesh-worker";
const WORKER2: &str = "calico-bgp-fullmesh-worker2";

/// Node and BGP address, the lowest first.
const NODES: [(&str, &str); 3] = [(CONTROL_PLANE, "172.18.0.2"), (WORKER2, "172.18.0.3"), (WORKER, "172.18.0.4")];

/// Pod, its node, the node's end of its veth, its address. Of the pod at .130 only the address is from the real cluster,
/// and of the workers' pods no interface was shown.
const PODS: [(&str, &str, &str, &str); 7] = [
    ("calico-kube-controllers-7bdccfc7d8-qglg7", CONTROL_PLANE, "cali995a1e92786", "10.244.140.128"),
    ("coredns-5d78c9869d-brtkv", CONTROL_PLANE, "caliae286712af1", "10.244.140.129"),
    ("calico-apiserver-6bd6cf9c5b-xk2lp", CONTROL_PLANE, "cali5e8a143d672", "10.244.140.130"),
    ("coredns-5d78c9869d-2nzzv", CONTROL_PLANE, "calibc67ab0a787", "10.244.140.131"),
    ("wluo-8n4nq", CONTROL_PLANE, "cali9c3ed6d06f3", "10.244.140.132"),
    ("wluo-7fxsn", WORKER, "cali04d236c3462", "10.244.83.128"),
    ("wluo-4x7jf", WORKER2, "cali82df2fe32fc", "10.244.73.64"),
];

const CONTROL_PLANE_ROUTES: [&str; 10] = [
    "default via 172.18.0.1 dev eth0",
    "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
    "10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird",
    "10.244.140.128 dev cali995a1e92786 scope link",
    "blackhole 10.244.140.128/26 proto bird",
    "10.244.140.129 dev caliae286712af1 scope link",
    "10.244.140.130 dev cali5e8a143d672 scope link",
    "10.244.140.131 dev calibc67ab0a787 scope link",
    "10.244.140.132 dev cali9c3ed6d06f3 scope link",
    "172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2",
];

const BIRD_PROTOCOLS: &str = "\
BIRD v0.3.3+birdv1.6.8 ready.
name     proto    table    state  since       info
static1  Static   master   up     HH:MM:SS
kernel1  Kernel   master   up     HH:MM:SS
device1  Device   master   up     HH:MM:SS
direct1  Direct   master   up     HH:MM:SS
Mesh_172_18_0_4 BGP      master   up     HH:MM:SS    Established
Mesh_172_18_0_3 BGP      master   up     HH:MM:SS    Established";

const BIRD_ROUTES: &str = "\
BIRD v0.3.3+birdv1.6.8 ready.
0.0.0.0/0          via 172.18.0.1 on eth0 [kernel1 HH:MM:SS] * (10)
10.244.73.64/26    via 172.18.0.3 on eth0 [Mesh_172_18_0_3 HH:MM:SS] * (100/0) [i]
10.244.83.128/26   via 172.18.0.4 on eth0 [Mesh_172_18_0_4 HH:MM:SS] * (100/0) [i]
10.244.140.128/26  blackhole [static1 HH:MM:SS] * (200)
10.244.140.128/32  dev cali995a1e92786 [kernel1 HH:MM:SS] * (10)
10.244.140.129/32  dev caliae286712af1 [kernel1 HH:MM:SS] * (10)
10.244.140.130/32  dev cali5e8a143d672 [kernel1 HH:MM:SS] * (10)
10.244.140.131/32  dev calibc67ab0a787 [kernel1 HH:MM:SS] * (10)
10.244.140.132/32  dev cali9c3ed6d06f3 [kernel1 HH:MM:SS] * (10)
172.18.0.0/16      dev eth0 [direct1 HH:MM:SS] * (240)";

const NODE_STATUS: &str = "\
Calico process is running.

IPv4 BGP status
+--------------+-------------------+-------+----------+-------------+
| PEER ADDRESS | PEER TYPE         | STATE | SINCE    | INFO        |
+--------------+-------------------+-------+----------+-------------+
| 172.18.0.4   | node-to-node mesh | up    | HH:MM:SS | Established |
| 172.18.0.3   | node-to-node mesh | up    | HH:MM:SS | Established |
+--------------+-------------------+-------+----------+-------------+

IPv6 BGP status
No IPv6 peers found.

";

fn cluster() -> TestLab {
    TestLab::of_repository("calico-bgp-fullmesh").up()
}

#[test]
fn nodes_and_pods_are_as_on_the_real_cluster() {
    let Some(_host) = host() else { return };
    let cluster = cluster();
    assert_eq!(trimmed(&cluster.inside(CONTROL_PLANE, "ip route")), CONTROL_PLANE_ROUTES);
    for (pod, node, node_end, address) in PODS {
        pod_is_as_on_the_real_cluster(&cluster, pod, node, node_end, address);
    }
    for (node, address) in NODES {
        sessions_are_dialled_by_the_higher_address(&cluster, node, address);
    }
}

fn pod_is_as_on_the_real_cluster(cluster: &TestLab, pod: &str, node: &str, node_end: &str, address: &str) {
    let shown = trimmed(&cluster.inside(node, &format!("ip route show {address}/32")));
    assert_eq!(shown, [format!("{address} dev {node_end} scope link")]);
    let link = |place: &str, name: &str| -> Value {
        let text = cluster.inside(place, &format!("ip -j -d link show {name}"));
        serde_json::from_str::<Value>(&text).unwrap()[0].clone()
    };
    let (inner, outer) = (link(pod, "eth0"), link(node, node_end));
    assert_eq!((&inner["link_index"], &inner["ifindex"]), (&outer["ifindex"], &outer["link_index"]), "{pod}");
    for end in [&inner, &outer] {
        assert_eq!((&end["mtu"], &end["operstate"]), (&Value::from(1500), &Value::from("UP")), "{pod}");
        assert_eq!(end["linkinfo"]["info_kind"], "veth", "{pod}");
    }
    assert_eq!(outer["address"], "ee:ee:ee:ee:ee:ee");
    assert_eq!(cluster.inside(node, &format!("ip -o address show dev {node_end}")), "");
    let addresses = cluster.inside(pod, "ip -o -4 address show dev eth0");
    assert_eq!(addresses.lines().count(), 1, "{addresses}");
    assert!(addresses.contains(&format!("inet {address}/32 scope global eth0")), "{addresses}");
    assert_eq!(
        trimmed(&cluster.inside(pod, "ip route")),
        ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]
    );
    // The node asks for the pod, and the pod for its gateway: proxy ARP answers both with the same MAC.
    lab(&format!("ping --lab {} {node} {pod} -c 1", cluster.name)).ok();
    lab(&format!("ping --lab {} {pod} 172.18.0.1 -c 1", cluster.name)).ok();
    let neighbours = cluster.inside(pod, "ip -4 neigh");
    let mut macs: Vec<(&str, &str)> =
        neighbours.lines().map(|line| (line.split(' ').next().unwrap(), line.split(' ').nth(4).unwrap())).collect();
    macs.sort_unstable();
    let node_address = NODES.iter().find(|(name, _)| *name == node).unwrap().1;
    assert_eq!(macs, [("169.254.1.1", "ee:ee:ee:ee:ee:ee"), (node_address, "ee:ee:ee:ee:ee:ee")], "{pod}");
}

fn sessions_are_dialled_by_the_higher_address(cluster: &TestLab, node: &str, address: &str) {
    let listeners = cluster.inside(node, "ss -Hltn");
    let local: Vec<&str> = listeners.lines().map(|line| line.split_whitespace().nth(3).unwrap()).collect();
    assert_eq!(local, ["0.0.0.0:179"], "{node}");
    let connections = cluster.inside(node, "ss -Htn state established");
    let mut seen: Vec<(&str, bool)> = connections
        .lines()
        .map(|line| {
            let mut ends = line.split_whitespace().skip(2).map(|end| end.rsplit_once(':').unwrap());
            let ((local, local_port), (peer, peer_port)) = (ends.next().unwrap(), ends.next().unwrap());
            assert_eq!(local, address);
            assert!((local_port == "179") != (peer_port == "179"), "{line}");
            (peer, peer_port == "179")
        })
        .collect();
    seen.sort_unstable();
    let others = NODES.iter().filter(|(name, _)| *name != node);
    let expected: Vec<(&str, bool)> = others.map(|(_, peer)| (*peer, address > *peer)).collect();
    assert_eq!(seen, expected, "{node}: peer, and whether {node} dialled");
}

#[test]
fn pods_reach_each_other_in_two_hops_and_say_who_they_are() {
    let Some(_host) = host() else { return };
    let cluster = cluster();
    let ping = lab("ping wluo-8n4nq wluo-4x7jf -c 3").ok();
    assert_eq!(ping.matches("ttl=62").count(), 3, "{ping}");
    let ping = cluster.inside("wluo-8n4nq", "ping -n -c 1 -W 5 10.244.73.64");
    assert!(ping.contains("ttl=62"), "{ping}");
    let same_node = lab("ping wluo-8n4nq coredns-5d78c9869d-2nzzv -c 1").ok();
    assert!(same_node.contains("ttl=63"), "{same_node}");
    let body = lab("curl wluo-8n4nq wluo-4x7jf").ok();
    assert_eq!(body.trim_end(), "PodName: wluo-4x7jf | PodIP: eth0 10.244.73.64/32");
}

#[test]
fn birdc_and_calicoctl_print_what_they_print_on_the_real_cluster() {
    let Some(_host) = host() else { return };
    let _cluster = cluster();
    let table = [
        (format!("birdc {CONTROL_PLANE} show protocols"), BIRD_PROTOCOLS),
        (format!("birdc {CONTROL_PLANE} show route"), BIRD_ROUTES),
        (format!("calicoctl node status {CONTROL_PLANE}"), NODE_STATUS),
    ];
    for (words, expected) in table {
        let found = without_times(&lab(&words).ok());
        assert_eq!(trimmed(&found), trimmed(expected), "{words}");
    }
}

/// `13:55:07` is `HH:MM:SS`, wherever it stands.
fn without_times(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let is_time = |at: usize| {
        let shape = |(offset, c): (usize, &char)| if offset % 3 == 2 { *c == ':' } else { c.is_ascii_digit() };
        chars.get(at..at + 8).is_some_and(|eight| eight.iter().enumerate().all(shape))
    };
    let mut out = String::new();
    let mut at = 0;
    while at < chars.len() {
        match is_time(at) {
            true => out.push_str("HH:MM:SS"),
            false => out.push(chars[at]),
        }
        at += if is_time(at) { 8 } else { 1 };
    }
    out
}

#[test]
fn on_the_wire_a_request_is_plain_ip_from_pod_to_pod() {
    let Some(_host) = host() else { return };
    let cluster = cluster();
    let file = cluster.folder.path().join("eth0.pcap");
    // All but BGP and ARP; a packet in a packet would not be TCP from port 179 either.
    let words = format!(
        "netns exec {} tcpdump --immediate-mode -U -i eth0 -w {} not port 179 and not arp",
        cluster.netns(CONTROL_PLANE),
        file.display()
    );
    let mut tcpdump = Running::start(&mut command("ip", &words));
    tcpdump.says("listening on");
    lab("curl wluo-8n4nq wluo-4x7jf").ok();
    // Both have closed when the pod asked has acknowledged the last FIN: read until both FINs are in the file.
    let fields = "-T fields -e ip.src -e ip.dst -e ip.proto";
    let read = |filter: &str| run("tshark", &format!("-n -r {} {fields} -Y {filter}", file.display())).stdout;
    crate::host::eventually("two FINs", || (read("tcp.flags.fin==1").lines().count() >= 2).then_some(()));
    tcpdump.signal(nix::sys::signal::Signal::SIGINT);
    tcpdump.end().ok();
    let all = read("frame");
    let mut kinds: Vec<&str> = all.lines().collect();
    assert!(kinds.len() >= 6, "{all}");
    kinds.sort_unstable();
    kinds.dedup();
    // A second IP header would stand behind a comma.
    assert_eq!(kinds, ["10.244.140.132\t10.244.73.64\t6", "10.244.73.64\t10.244.140.132\t6"]);
}

#[test]
fn tshark_understands_every_bgp_message() {
    let Some(_host) = host() else { return };
    let cluster = cluster();
    let file = cluster.folder.path().join("bgp.pcapng");
    let words = format!("capture {CONTROL_PLANE}:eth0 {WORKER}:eth0 {WORKER2}:eth0 -w {} tcp port 179", file.display());
    let mut capture = Running::start(&mut command(crate::host::LAB, &words));
    capture.says("listening on");
    lab(&format!("peer restart {CONTROL_PLANE} {WORKER}")).ok();
    lab(&format!("peer disable {WORKER} {WORKER2}")).ok();
    lab(&format!("peer enable {WORKER} {WORKER2}")).ok();
    lab(&format!("link down {WORKER2}:eth0")).ok();
    lab(&format!("link up {WORKER2}:eth0")).ok();
    capture.signal(nix::sys::signal::Signal::SIGINT);
    capture.end().ok();
    let tshark = |filter: &str, fields: &str| {
        run("tshark", &format!("-n -r {} -Y {filter} -T fields {fields}", file.display())).ok()
    };
    let types = tshark("bgp", "-e bgp.type");
    for (kind, name) in [("1", "OPEN"), ("2", "UPDATE"), ("3", "NOTIFICATION"), ("4", "KEEPALIVE")] {
        let count = types.split(['\n', ',']).filter(|seen| *seen == kind).count();
        assert!(count >= 2, "{count} of {name}");
    }
    // 0x600000 is a warning, 0x800000 an error.
    let complaints = tshark(
        "bgp&&(_ws.malformed||_ws.expert.severity>=6291456)",
        "-e frame.number -e bgp.type -e _ws.expert.message -e _ws.malformed",
    );
    assert_eq!(complaints, "");
}
