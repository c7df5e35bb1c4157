//! Topologies for tests, as `topology::resolve` would make them.

use std::collections::BTreeMap;

use ipnet::Ipv4Net;

use super::Plan;
use crate::net::{IfName, LabName};
use crate::topology::{
    BgpConfiguration, EncapMode, Interface, IpPool, Node, NodeId, Pod, Profile, Segment, SegmentId, Timers, Topology,
};

/// Puts a topology together; every segment has an implicit gateway.
pub(crate) struct Lab(Topology);

impl From<Topology> for Lab {
    fn from(topology: Topology) -> Self {
        Self(topology)
    }
}

impl Lab {
    /// An empty lab with Calico's usual pool.
    pub(crate) fn new(name: &str) -> Self {
        Self(Topology {
            name: LabName::new(name).unwrap(),
            profile: Profile::Classic,
            timers: Timers::Fast,
            bgp: BgpConfiguration::default(),
            pools: vec![IpPool {
                name: "default-ipv4-ippool".into(),
                cidr: "10.244.0.0/16".parse().unwrap(),
                block_size: 26,
                ipip_mode: EncapMode::Never,
                vxlan_mode: EncapMode::Never,
                nat_outgoing: true,
                disabled: false,
                disable_bgp_export: false,
                node_selector: crate::topology::Selector::all(),
                span: 0..0,
            }],
            segments: Vec::new(),
            nodes: Vec::new(),
            routers: Vec::new(),
            bgp_peers: Vec::new(),
            bgp_filters: Vec::new(),
            pods: Vec::new(),
        })
    }

    /// A node; several addresses are separated by spaces.
    pub(crate) fn node(mut self, name: &str, addresses: &str) -> Self {
        let mut interfaces = Vec::new();
        for (index, address) in addresses.split(' ').enumerate() {
            let address: Ipv4Net = address.parse().unwrap();
            let subnet = address.trunc();
            let known = self.0.segments.iter().position(|segment| segment.subnet == subnet);
            let segment = known.unwrap_or_else(|| {
                self.0.segments.push(Segment { subnet, mtu: 1500, implicit_gateway: None });
                self.0.segments.len() - 1
            });
            interfaces.push(Interface { name: IfName::eth(index), address, segment: SegmentId(segment) });
        }
        self.0.nodes.push(Node {
            name: name.into(),
            interfaces,
            gateway: [0; 4].into(),
            labels: BTreeMap::new(),
            as_number: None,
            cluster_id: None,
            listen_port: None,
            prefix_advertisements: None,
            speaker: None,
            span: 0..0,
        });
        self
    }

    pub(crate) fn pod(self, name: &str, node: &str) -> Self {
        self.pod_in("default", name, node)
    }

    pub(crate) fn pod_in(mut self, namespace: &str, name: &str, node: &str) -> Self {
        let node = NodeId(self.0.nodes.iter().position(|known| known.name == node).unwrap());
        self.0.pods.push(Pod {
            name: name.into(),
            namespace: namespace.into(),
            node,
            labels: BTreeMap::new(),
            ip: None,
            span: 0..0,
        });
        self
    }

    pub(crate) fn pods(self, node: &str, count: usize) -> Self {
        (1..=count).fold(self, |lab, i| lab.pod(&format!("{node}-pod{i}"), node))
    }

    pub(crate) fn pinned(self, name: &str, node: &str, ip: &str) -> Self {
        let mut lab = self.pod(name, node);
        lab.0.pods.last_mut().unwrap().ip = Some(ip.parse().unwrap());
        lab
    }

    /// The topology, with the implicit gateways at the first host address, or the last where a node has the first.
    pub(crate) fn topology(mut self) -> Topology {
        for (index, segment) in self.0.segments.iter_mut().enumerate() {
            let interfaces = self.0.nodes.iter().flat_map(|node| &node.interfaces);
            let taken: Vec<_> =
                interfaces.filter(|interface| interface.segment.0 == index).map(|i| i.address.addr()).collect();
            let first = segment.subnet.hosts().next().unwrap();
            let last = segment.subnet.hosts().last().unwrap();
            segment.implicit_gateway = Some(if taken.contains(&first) { last } else { first });
        }
        for node in &mut self.0.nodes {
            node.gateway = self.0.segments[node.interfaces[0].segment.0].implicit_gateway.unwrap();
        }
        self.0
    }
}

/// Golden cluster A; the pod whose name the source does not show is called `unnamed`.
pub(crate) fn cluster_a() -> Topology {
    let control_plane = "calico-bgp-fullmesh-control-plane";
    Lab::new("calico-bgp-fullmesh")
        .node(control_plane, "172.18.0.2/16")
        .node("calico-bgp-fullmesh-worker", "172.18.0.4/16")
        .node("calico-bgp-fullmesh-worker2", "172.18.0.3/16")
        .pod_in("kube-system", "calico-kube-controllers-7bdccfc7d8-qglg7", control_plane)
        .pod_in("kube-system", "coredns-5d78c9869d-brtkv", control_plane)
        .pod("unnamed", control_plane)
        .pod_in("kube-system", "coredns-5d78c9869d-2nzzv", control_plane)
        .pod("wluo-8n4nq", control_plane)
        .pod("wluo-7fxsn", "calico-bgp-fullmesh-worker")
        .pod("wluo-4x7jf", "calico-bgp-fullmesh-worker2")
        .topology()
}

/// The plan of a topology whose pools select every node.
pub(crate) fn plan(topology: &Topology) -> Plan {
    super::build(topology).unwrap()
}
