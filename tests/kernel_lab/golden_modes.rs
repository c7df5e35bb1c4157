//! Golden clusters B to E: IPIP, IPIP CrossSubnet inside one subnet, no encapsulation with blocks of /24, VXLAN. Seen by `ip` and
//! `bridge`, and compared with what the real clusters show, not with a plan of ours.
//!
//! The real clusters' outputs show some nodes and pods only. The others follow from the rules of calico-behaviour 1.1 and 4: a node's
//! end of a veth is `cali` and `printf <namespace>.<pod> | sha1sum | cut -c-11`, a VTEP's MAC is 66 and the first ten digits of
//! `printf <node> | sha1sum`.

use std::path::Path;

use serde_json::{Value, json};

use crate::host::{TestLab, host, trimmed};

/// What every node has, by its last label.
struct Node {
    name: &'static str,
    address: &'static str,
    block: &'static str,
    /// Of `tunl0` or `vxlan.calico`: the first of the block. Unused where there is neither.
    tunnel: &'static str,
    /// Of `vxlan.calico`.
    mac: &'static str,
}

struct Pod {
    name: &'static str,
    node: &'static str,
    node_end: &'static str,
    address: &'static str,
}

#[derive(PartialEq)]
enum Device {
    None,
    Tunl0,
    Vxlan,
}

struct Cluster {
    topology: &'static str,
    nodes: &'static [Node],
    pods: &'static [Pod],
    device: Device,
    /// Of `cali…` and of the pods' eth0.
    mtu: u32,
    /// How a node reaches another's block.
    route: fn(&Node) -> String,
    /// Who blackholes a node's own block.
    blackhole: &'static str,
}

const fn node(name: &'static str, address: &'static str, block: &'static str, tunnel: &'static str) -> Node {
    Node { name, address, block, tunnel, mac: "" }
}

const fn pod(name: &'static str, node: &'static str, node_end: &'static str, address: &'static str) -> Pod {
    Pod { name, node, node_end, address }
}

const IPIP: Cluster = Cluster {
    topology: "calico-ipip",
    nodes: &[
        node("master1.wang.org", "10.0.0.200", "10.244.53.64/26", "10.244.53.64"),
        node("node1.wang.org", "10.0.0.201", "10.244.101.128/26", "10.244.101.128"),
        node("node2.wang.org", "10.0.0.202", "10.244.36.0/26", "10.244.36.0"),
        node("node3.wang.org", "10.0.0.203", "10.244.168.192/26", "10.244.168.192"),
    ],
    pods: &[
        pod("myapp-6b59f8f86-mfdn8", "node1.wang.org", "cali2ad752e56a1", "10.244.101.129"),
        pod("myapp-6b59f8f86-w6gll", "node1.wang.org", "cali47ddc65abff", "10.244.101.130"),
        pod("myapp-6b59f8f86-2t2bn", "node2.wang.org", "caliefcdff00ad8", "10.244.36.1"),
        pod("myapp-6b59f8f86-node2", "node2.wang.org", "calibd651286b96", "10.244.36.2"),
        pod("myapp-6b59f8f86-node3-a", "node3.wang.org", "cali9fe549404dc", "10.244.168.196"),
        pod("myapp-6b59f8f86-node3-b", "node3.wang.org", "caliee0fdc90e3f", "10.244.168.197"),
    ],
    device: Device::Tunl0,
    mtu: 1480,
    route: |node| format!("via {} dev tunl0 proto bird onlink", node.address),
    blackhole: "bird",
};

const IPIP_CROSS_SUBNET: Cluster = Cluster {
    topology: "calico-ipip-cross-subnet",
    nodes: &[
        node("master1.wang.org", "10.0.0.101", "192.168.213.0/24", "192.168.213.0"),
        node("master2.wang.org", "10.0.0.102", "192.168.25.0/24", "192.168.25.0"),
        node("master3.wang.org", "10.0.0.103", "192.168.216.0/24", "192.168.216.0"),
        node("node1.wang.org", "10.0.0.104", "192.168.23.0/24", "192.168.23.0"),
        node("node2.wang.org", "10.0.0.105", "192.168.144.0/24", "192.168.144.0"),
        node("node3.wang.org", "10.0.0.106", "192.168.163.0/24", "192.168.163.0"),
    ],
    pods: &[
        pod("myapp-node1", "node1.wang.org", "cali13c258607f3", "192.168.23.1"),
        pod("coredns-8468f7cd6-bdpf7", "node1.wang.org", "cali545684cf79f", "192.168.23.2"),
        pod("myapp-node2", "node2.wang.org", "cali5330dee5c09", "192.168.144.1"),
        pod("myapp-node3", "node3.wang.org", "cali2fb44d9534d", "192.168.163.1"),
    ],
    device: Device::Tunl0,
    mtu: 1480,
    route: |node| format!("via {} dev eth0 proto bird", node.address),
    blackhole: "bird",
};

const BLOCKS_OF_24: Cluster = Cluster {
    topology: "calico-bgp-blocks-of-24",
    nodes: &[
        node("master1.wang.org", "10.0.0.200", "10.244.213.0/24", ""),
        node("node1.wang.org", "10.0.0.201", "10.244.23.0/24", ""),
        node("node2.wang.org", "10.0.0.202", "10.244.144.0/24", ""),
        node("node3.wang.org", "10.0.0.203", "10.244.163.0/24", ""),
    ],
    // No tunnel takes the first address of a block.
    pods: &[
        pod("myapp-547df679bb-master", "master1.wang.org", "caliadd53baceef", "10.244.213.0"),
        pod("myapp-547df679bb-phftk", "node1.wang.org", "calid034cb34a92", "10.244.23.103"),
        pod("myapp-547df679bb-kvjlt", "node2.wang.org", "cali9b2a873e3c0", "10.244.144.1"),
        pod("myapp-547df679bb-node3", "node3.wang.org", "calic48411370af", "10.244.163.0"),
    ],
    device: Device::None,
    mtu: 1500,
    route: |node| format!("via {} dev eth0 proto bird", node.address),
    blackhole: "bird",
};

const VXLAN: Cluster = Cluster {
    topology: "calico-vxlan",
    nodes: &[
        Node {
            mac: "66:c0:51:3a:50:02",
            ..node("master1.wang.org", "10.0.0.200", "192.168.213.0/24", "192.168.213.0")
        },
        Node { mac: "66:69:94:f0:87:f7", ..node("node1.wang.org", "10.0.0.201", "192.168.23.0/24", "192.168.23.0") },
        Node { mac: "66:00:50:28:a8:e8", ..node("node2.wang.org", "10.0.0.202", "192.168.144.0/24", "192.168.144.0") },
        Node { mac: "66:46:43:4e:94:5d", ..node("node3.wang.org", "10.0.0.203", "192.168.163.0/24", "192.168.163.0") },
    ],
    pods: &[
        pod("myapp-7dbd45d496-gcmzt", "node1.wang.org", "calia6b94e324d6", "192.168.23.2"),
        pod("myapp-7dbd45d496-node1", "node1.wang.org", "cali53cd5159187", "192.168.23.1"),
        pod("myapp-7dbd45d496-node2", "node2.wang.org", "cali71a20dbcd09", "192.168.144.1"),
        pod("myapp-7dbd45d496-node3", "node3.wang.org", "calif3d07784cac", "192.168.163.1"),
    ],
    device: Device::Vxlan,
    mtu: 1450,
    route: |node| format!("via {} dev vxlan.calico onlink", node.tunnel),
    blackhole: "80",
};

#[test]
fn ipip_is_as_on_the_real_cluster() {
    IPIP.is_as_on_the_real_one();
}

#[test]
fn ipip_cross_subnet_is_as_on_the_real_cluster() {
    IPIP_CROSS_SUBNET.is_as_on_the_real_one();
}

#[test]
fn blocks_of_24_are_as_on_the_real_cluster() {
    BLOCKS_OF_24.is_as_on_the_real_one();
}

#[test]
fn vxlan_is_as_on_the_real_cluster() {
    VXLAN.is_as_on_the_real_one();
}

impl Cluster {
    fn is_as_on_the_real_one(&self) {
        let Some(_host) = host() else { return };
        let lab = TestLab::of_repository(self.topology).up();
        for node in self.nodes {
            self.routes_are_right(&lab, node);
            self.links_are_right(&lab, node);
            self.neighbours_are_right(&lab, node);
        }
        for pod in self.pods {
            self.pod_is_right(&lab, pod);
        }
    }

    fn others(&self, node: &Node) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |other| other.name != node.name)
    }

    fn pods_of(&self, node: &Node) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.node == node.name)
    }

    /// The whole table, line by line.
    fn routes_are_right(&self, lab: &TestLab, node: &Node) {
        let mut expected = vec![
            "default via 10.0.0.2 dev eth0".to_owned(),
            format!("10.0.0.0/24 dev eth0 proto kernel scope link src {}", node.address),
            format!("blackhole {} proto {}", node.block, self.blackhole),
        ];
        expected.extend(self.others(node).map(|other| format!("{} {}", other.block, (self.route)(other))));
        expected.extend(self.pods_of(node).map(|pod| format!("{} dev {} scope link", pod.address, pod.node_end)));
        let mut found = trimmed(&lab.inside(node.name, "ip -4 route"));
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "{}", node.name);
    }

    /// Every link with what matters of it, and no other.
    fn links_are_right(&self, lab: &TestLab, node: &Node) {
        let mut expected = vec![
            json!(["lo", true, 65536, null, ["127.0.0.1/8"]]),
            json!(["eth0", true, 1500, "veth", [format!("{}/24", node.address)]]),
        ];
        expected.extend(self.pods_of(node).map(|pod| json!([pod.node_end, true, self.mtu, "veth", []])));
        let tunnel = [format!("{}/32", node.tunnel)];
        match self.device {
            Device::None => {}
            Device::Tunl0 => expected.push(json!(["tunl0", true, 1480, tunl0_kind(), tunnel])),
            Device::Vxlan => expected.push(json!(["vxlan.calico", true, 1450, "vxlan", tunnel])),
        }
        // The module puts one into every namespace, whether or not Calico wants it (calico-behaviour 5).
        if ipip_is_loaded() && self.device != Device::Tunl0 {
            expected.push(json!(["tunl0", false, 1480, "ipip", []]));
        }
        let links = links(lab, node.name);
        let mut found: Vec<Value> = links.iter().map(facts).collect();
        let by_name = |link: &Value| link[0].as_str().unwrap().to_owned();
        expected.sort_by_key(by_name);
        found.sort_by_key(by_name);
        assert_eq!(found, expected, "{}", node.name);
        let link = |name: &str| links.iter().find(|link| link["ifname"] == name).unwrap();
        for pod in self.pods_of(node) {
            assert_eq!(link(pod.node_end)["address"], "ee:ee:ee:ee:ee:ee", "{}", pod.name);
        }
        match self.device {
            Device::None => {}
            Device::Tunl0 => {
                let tunl0 = link("tunl0");
                assert_eq!(tunl0["operstate"], "UNKNOWN");
                assert!(tunl0["flags"].as_array().unwrap().contains(&json!("NOARP")), "{tunl0}");
                if ipip_is_loaded() {
                    assert_eq!(tunl0["flags"], json!(["NOARP", "UP", "LOWER_UP"]));
                    let ends = &tunl0["linkinfo"]["info_data"];
                    assert_eq!((&ends["remote"], &ends["local"]), (&json!("any"), &json!("any")));
                }
            }
            Device::Vxlan => {
                let vxlan = link("vxlan.calico");
                assert_eq!((&vxlan["address"], &vxlan["operstate"]), (&json!(node.mac), &json!("UNKNOWN")));
                let data = &vxlan["linkinfo"]["info_data"];
                let found = json!([data["id"], data["local"], data["link"], data["port"], data["learning"]]);
                assert_eq!(found, json!([4096, node.address, "eth0", 4789, false]), "{}", node.name);
                assert_eq!((&data["group"], &data["remote"]), (&Value::Null, &Value::Null), "unicast, by the FDB");
            }
        }
    }

    /// Permanent entries for the other VTEPs in VXLAN; nothing permanent otherwise.
    fn neighbours_are_right(&self, lab: &TestLab, node: &Node) {
        let vteps = || self.others(node).filter(|_| self.device == Device::Vxlan);
        let mut expected: Vec<Value> =
            vteps().map(|other| json!([other.tunnel, "vxlan.calico", other.mac, ["PERMANENT"]])).collect();
        let neighbours = parsed(&lab.inside(node.name, "ip -4 -j neigh show nud permanent"));
        let mut found: Vec<Value> = neighbours
            .iter()
            .map(|entry| json!([entry["dst"], entry["dev"], entry["lladdr"], entry["state"]]))
            .collect();
        sort(&mut expected);
        sort(&mut found);
        assert_eq!(found, expected, "{}", node.name);
        if self.device == Device::Vxlan {
            let mut expected: Vec<Value> =
                vteps().map(|other| json!([other.mac, other.address, ["self"], "permanent"])).collect();
            let fdb = parsed(&lab.inside(node.name, "bridge -j fdb show dev vxlan.calico"));
            let mut found: Vec<Value> =
                fdb.iter().map(|entry| json!([entry["mac"], entry["dst"], entry["flags"], entry["state"]])).collect();
            sort(&mut expected);
            sort(&mut found);
            assert_eq!(found, expected, "{}", node.name);
        }
    }

    fn pod_is_right(&self, lab: &TestLab, pod: &Pod) {
        let links = links(lab, pod.name);
        let mut found: Vec<Value> = links.iter().map(facts).filter(|link| link[0] != "tunl0").collect();
        sort(&mut found);
        let address = [format!("{}/32", pod.address)];
        let expected =
            [json!(["eth0", true, self.mtu, "veth", address]), json!(["lo", true, 65536, null, ["127.0.0.1/8"]])];
        assert_eq!(found, expected, "{}", pod.name);
        let routes = ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"];
        assert_eq!(trimmed(&lab.inside(pod.name, "ip -4 route")), routes, "{}", pod.name);
    }
}

/// Name, whether it is up, MTU, kind, IPv4 addresses.
fn facts(link: &Value) -> Value {
    let up = link["flags"].as_array().unwrap().contains(&json!("UP"));
    let addresses = link["addr_info"].as_array().unwrap().iter();
    let addresses: Vec<String> =
        addresses.map(|address| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"])).collect();
    json!([link["ifname"], up, link["mtu"], link["linkinfo"]["info_kind"], addresses])
}

/// All links of a namespace with their details and IPv4 addresses.
fn links(lab: &TestLab, place: &str) -> Vec<Value> {
    // `ip -4 address` leaves out what has no address, and `ip address` has the IPv6 ones too: there must be none.
    parsed(&lab.inside(place, "ip -j -d address"))
}

fn parsed(json: &str) -> Vec<Value> {
    // `ip` prints nothing at all, or an empty object for what it filtered out.
    let values: Vec<Value> = if json.trim().is_empty() { Vec::new() } else { serde_json::from_str(json).unwrap() };
    values.into_iter().filter(|value| value.as_object().is_some_and(|object| !object.is_empty())).collect()
}

fn sort(values: &mut [Value]) {
    values.sort_by_key(ToString::to_string);
}

fn ipip_is_loaded() -> bool {
    Path::new("/sys/module/ipip").exists()
}

fn tunl0_kind() -> &'static str {
    if ipip_is_loaded() { "ipip" } else { "tun" }
}
