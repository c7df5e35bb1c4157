//! Whole files in, topologies out; those that give none are in [`invalid`].

mod invalid;
mod routers;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::*;
use crate::net::{Asn, IfName, LabName};

const FULL_MESH: &str = include_str!("../../topologies/calico-bgp-fullmesh.toml");
const BGP_100: &str = include_str!("../../topologies/bgp-100.toml");
const ONE_NODE: &str = include_str!("../../topologies/one-node.toml");

/// One sound node, to put after or before what a case is about.
const NODE: &str = "[[node]]\nname = \"n1\"\naddress = \"10.0.0.11/24\"\n";

fn parsed(text: &str) -> Topology {
    parse(text, "lab").unwrap_or_else(|faults| {
        panic!("{}", crate::report::diagnostic::render("lab.toml", text, &faults, false));
    })
}

fn net(text: &str) -> ipnet::Ipv4Net {
    text.parse().unwrap()
}

/// Name, first address, gateway of every node.
fn nodes(topology: &Topology) -> Vec<(&str, String, String)> {
    let node = |node: &'_ Node| (node.bgp_address().to_string(), node.gateway.to_string());
    topology.nodes.iter().map(|n| (n.name.as_str(), node(n).0, node(n).1)).collect()
}

/// Name and node of every pod.
fn pods(topology: &Topology) -> Vec<(&str, &str)> {
    topology.pods.iter().map(|pod| (pod.name.as_str(), topology.nodes[pod.node.0].name.as_str())).collect()
}

#[test]
fn the_full_mesh_is_golden_cluster_a() {
    let topology = parse(FULL_MESH, "calico-bgp-fullmesh").unwrap();
    assert_eq!(topology.name, LabName::new("calico-bgp-fullmesh").unwrap());
    assert_eq!((topology.profile, topology.timers), (Profile::Classic, Timers::Fast));
    assert_eq!(topology.bgp, BgpConfiguration::default());
    let gateway = "172.18.0.1".to_owned();
    assert_eq!(
        nodes(&topology),
        [
            ("calico-bgp-fullmesh-control-plane", "172.18.0.2/16".to_owned(), gateway.clone()),
            ("calico-bgp-fullmesh-worker", "172.18.0.4/16".to_owned(), gateway.clone()),
            ("calico-bgp-fullmesh-worker2", "172.18.0.3/16".to_owned(), gateway),
        ]
    );
    assert_eq!(
        topology.segments,
        [Segment { subnet: net("172.18.0.0/16"), mtu: 1500, implicit_gateway: Some(Ipv4Addr::new(172, 18, 0, 1)) }]
    );
    assert_eq!(
        topology.pools,
        [IpPool {
            name: "default-ipv4-ippool".to_owned(),
            cidr: net("10.244.0.0/16"),
            block_size: 26,
            ipip_mode: EncapMode::Never,
            vxlan_mode: EncapMode::Never,
            nat_outgoing: true,
            disabled: false,
            disable_bgp_export: false,
            node_selector: Selector::all(),
            span: topology.pools[0].span.clone(),
        }]
    );
    assert_eq!(&FULL_MESH[topology.pools[0].span.clone()], "\"BGP\"");
    let control_plane: Vec<_> =
        topology.pods.iter().filter(|pod| pod.node == NodeId(0)).map(|pod| (&*pod.namespace, &*pod.name)).collect();
    assert_eq!(
        control_plane,
        [
            ("kube-system", "calico-kube-controllers-7bdccfc7d8-qglg7"),
            ("kube-system", "coredns-5d78c9869d-brtkv"),
            ("calico-apiserver", "calico-apiserver-6bd6cf9c5b-xk2lp"),
            ("kube-system", "coredns-5d78c9869d-2nzzv"),
            ("default", "wluo-8n4nq"),
        ]
    );
    assert_eq!(
        pods(&topology)[5..],
        [("wluo-7fxsn", "calico-bgp-fullmesh-worker"), ("wluo-4x7jf", "calico-bgp-fullmesh-worker2")]
    );
}

#[test]
fn a_count_makes_nodes_with_consecutive_addresses_and_a_pod_each() {
    let topology = parse(BGP_100, "bgp-100").unwrap();
    let all = nodes(&topology);
    let expected: Vec<_> = (1..=100).map(|n| (format!("node-{n}"), format!("10.100.0.{}/24", 10 + n))).collect();
    assert_eq!(all.iter().map(|n| (n.0.to_owned(), n.1.clone())).collect::<Vec<_>>(), expected);
    assert!(all.iter().all(|node| node.2 == "10.100.0.1"));
    assert_eq!(pods(&topology).len(), 100);
    assert_eq!(pods(&topology)[99], ("node-100-pod1", "node-100"));
}

#[test]
fn two_pods_stand_on_one_node() {
    let topology = parse(ONE_NODE, "one-node").unwrap();
    assert_eq!(nodes(&topology), [("node1", "10.0.0.11/24".to_owned(), "10.0.0.1".to_owned())]);
    assert_eq!(pods(&topology), [("node1-pod1", "node1"), ("node1-pod2", "node1")]);
}

#[test]
fn every_key_reaches_the_model() {
    let text = r#"
name = "two-racks"
profile = "current"
timers = "calico"
[BGPConfiguration]
asNumber = "1.10"
nodeToNodeMeshEnabled = false
listenPort = 1790
[[IPPool]]
name = "z"
cidr = "10.245.0.0/24"
disabled = true
[[IPPool]]
name = "a"
cidr = "10.244.0.0/20"
blockSize = 24
natOutgoing = true
ipipMode = "CrossSubnet"
vxlanMode = "Never"
disableBGPExport = true
nodeSelector = "rack == 'rack1'"
[[node]]
name = "node1"
addresses = ["10.0.1.11/24", "10.0.9.1/30"]
labels = { rack = "rack1", "example.org/disk" = "ssd" }
asNumber = 64513
pods = 1
[[node]]
name = "node2"
address = "10.0.1.12/24"
gateway = "10.0.1.254"
[[pod]]
name = "web"
node = "node1"
namespace = "shop"
labels = { app = "web" }
ip = "10.244.3.4"
[[segment]]
subnet = "10.0.1.0/24"
mtu = 9000
"#;
    let Topology { name, profile, timers, bgp, pools, segments, nodes, routers, bgp_peers, bgp_filters, pods } =
        parsed(text);
    assert_eq!((routers, bgp_peers, bgp_filters), (vec![], vec![], vec![]));
    assert_eq!(name.as_str(), "two-racks");
    assert_eq!((profile, timers), (Profile::Current, Timers::Calico));
    assert_eq!(
        bgp,
        BgpConfiguration {
            as_number: Asn(65546),
            node_to_node_mesh_enabled: false,
            listen_port: Some(1790),
            ..BgpConfiguration::default()
        }
    );
    let at = |needle: &str| {
        let start = text.find(needle).unwrap();
        start..start + needle.len()
    };
    let z = IpPool {
        name: "z".to_owned(),
        cidr: net("10.245.0.0/24"),
        block_size: 26,
        ipip_mode: EncapMode::Never,
        vxlan_mode: EncapMode::Never,
        nat_outgoing: false,
        disabled: true,
        disable_bgp_export: false,
        node_selector: Selector::all(),
        span: at("\"z\""),
    };
    let a = IpPool {
        name: "a".to_owned(),
        cidr: net("10.244.0.0/20"),
        block_size: 24,
        ipip_mode: EncapMode::CrossSubnet,
        nat_outgoing: true,
        disabled: false,
        disable_bgp_export: true,
        node_selector: Selector::parse("rack == 'rack1'").unwrap(),
        span: at("\"a\""),
        ..z.clone()
    };
    assert_eq!(pools, [a, z]);
    let gateway = Ipv4Addr::new(10, 0, 1, 254);
    assert_eq!(
        segments,
        [
            Segment { subnet: net("10.0.1.0/24"), mtu: 9000, implicit_gateway: Some(gateway) },
            // The node has the first address, so the gateway is at the last.
            Segment { subnet: net("10.0.9.0/30"), mtu: 1500, implicit_gateway: Some(Ipv4Addr::new(10, 0, 9, 2)) },
        ]
    );
    let interface = |index, address, segment| Interface {
        name: IfName::eth(index),
        address: net(address),
        segment: SegmentId(segment),
    };
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    assert_eq!(
        nodes,
        [
            Node {
                name: "node1".to_owned(),
                interfaces: vec![interface(0, "10.0.1.11/24", 0), interface(1, "10.0.9.1/30", 1)],
                gateway,
                labels: labels(&[("rack", "rack1"), ("example.org/disk", "ssd")]),
                as_number: Some(Asn(64513)),
                cluster_id: None,
                listen_port: None,
                prefix_advertisements: None,
                speaker: None,
                span: at("\"node1\""),
            },
            Node {
                name: "node2".to_owned(),
                interfaces: vec![interface(0, "10.0.1.12/24", 0)],
                gateway,
                labels: labels(&[]),
                as_number: None,
                cluster_id: None,
                listen_port: None,
                prefix_advertisements: None,
                speaker: None,
                span: at("\"node2\""),
            },
        ]
    );
    let pods_at = text.find("pods = 1").unwrap() + "pods = ".len();
    let pod1 = Pod {
        name: "node1-pod1".to_owned(),
        namespace: "default".to_owned(),
        node: NodeId(0),
        labels: labels(&[]),
        ip: None,
        span: pods_at..pods_at + 1,
    };
    let web = Pod {
        name: "web".to_owned(),
        namespace: "shop".to_owned(),
        node: NodeId(0),
        labels: labels(&[("app", "web")]),
        ip: Some(Ipv4Addr::new(10, 244, 3, 4)),
        span: at("\"web\""),
    };
    assert_eq!(pods, [pod1, web]);
}

#[test]
fn mode_is_shorthand_for_the_encapsulation_of_one_pool() {
    use EncapMode::{Always, CrossSubnet, Never};
    for (mode, expected) in [
        ("BGP", (Never, Never)),
        ("IPIP", (Always, Never)),
        ("IPIPCrossSubnet", (CrossSubnet, Never)),
        ("VXLAN", (Never, Always)),
        ("VXLANCrossSubnet", (Never, CrossSubnet)),
    ] {
        let pools = parsed(&format!("mode = \"{mode}\"\n{NODE}")).pools;
        assert_eq!(
            pools.iter().map(|pool| (pool.ipip_mode, pool.vxlan_mode)).collect::<Vec<_>>(),
            [expected],
            "{mode}"
        );
    }
    assert_eq!(parsed(NODE).pools[0].ipip_mode, Never);
}

#[test]
fn the_implicit_gateway_gives_way_to_nodes() {
    for (addresses, expected) in [
        (&["10.0.0.2/24"][..], Some("10.0.0.1")),
        (&["10.0.0.1/24"], Some("10.0.0.254")),
        (&["10.0.0.1/31"], Some("10.0.0.0")),
        (&["10.0.0.0/31"], Some("10.0.0.1")),
        (&["10.0.0.1/24", "10.0.0.254/24"], None),
    ] {
        let text: String = addresses
            .iter()
            .enumerate()
            .map(|(index, address)| format!("[[node]]\nname = \"n{index}\"\naddress = \"{address}\"\n"))
            .collect();
        let found = parse(&text, "lab").ok().and_then(|topology| topology.segments[0].implicit_gateway);
        assert_eq!(found.map(|address| address.to_string()).as_deref(), expected, "{addresses:?}");
    }
}

#[test]
fn a_link_between_second_interfaces_does_without_a_gateway() {
    let topology = parsed(
        "[[node]]\nname = \"a\"\naddresses = [\"10.0.0.1/24\", \"10.9.0.0/31\"]\n\
         [[node]]\nname = \"b\"\naddresses = [\"10.0.0.2/24\", \"10.9.0.1/31\"]\n",
    );
    assert_eq!(topology.segments[1], Segment { subnet: net("10.9.0.0/31"), mtu: 1500, implicit_gateway: None });
}

#[test]
fn a_pool_may_overlap_a_subnet_where_no_node_is() {
    let text = format!("{NODE}[[IPPool]]\ncidr = \"10.0.0.128/25\"\n");
    assert_eq!(parsed(&text).pools[0].cidr, net("10.0.0.128/25"));
}

#[test]
fn the_stem_names_the_lab_if_it_can() {
    assert_eq!(parse(NODE, "my-lab").unwrap().name.as_str(), "my-lab");
    let faults = parse(NODE, "My Lab.v2").unwrap_err();
    assert_eq!(
        faults,
        [Diagnostic {
            code: "invalid-lab-name",
            span: 0..0,
            message: "the lab has no name, and the file's stem cannot be one: `My Lab.v2` is not a lab name: it takes 1 to 32 \
                      of a-z, 0-9 and `-`"
                .to_owned(),
            label: "no `name`".to_owned(),
            help: "write `name = \"my-lab-v2\"` at the top".to_owned(),
        }]
    );
    assert_eq!(parse(&format!("name = \"ok\"\n{NODE}"), "My Lab").unwrap().name.as_str(), "ok");
}
