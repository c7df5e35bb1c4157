//! A topology in which every reference is resolved and every rule of the file format holds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::selector::Selector;
use crate::net::{Asn, IfName, LabName};

/// Bytes of the topology file that something was read from.
pub type Span = Range<usize>;

/// A whole lab, as its file says. Made by `topology::resolve` only.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The lab's name: `name`, or the file's stem.
    pub name: LabName,
    /// Which Calico it behaves like (calico-behaviour 0).
    pub profile: Profile,
    /// How eagerly the speakers dial.
    pub timers: Timers,
    /// Calico's `default` BGPConfiguration.
    pub bgp: BgpConfiguration,
    /// IP pools in name order (the order in which IPAM tries them); never empty.
    pub pools: Vec<IpPool>,
    /// L2 segments in order of first mention.
    pub segments: Vec<Segment>,
    /// Nodes in file order, a `count` expanded.
    pub nodes: Vec<Node>,
    /// Pods in the order in which they get their addresses among those of one node:
    /// a node's `pods = N` first, then `[[pod]]` in file order.
    pub pods: Vec<Pod>,
}

/// Which Calico the lab behaves like (calico-behaviour 0).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// v3.23 to v3.31: BIRD writes IPIP routes, no metrics.
    #[default]
    Classic,
    /// v3.33 defaults: Felix writes IPIP routes, metric 1024.
    Current,
}

/// How eagerly the speakers dial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Timers {
    /// Dial at once, retry in milliseconds.
    #[default]
    Fast,
    /// BIRD's pacing (calico-behaviour 7.1): 2 s before the first connect, 5 s between tries.
    Calico,
}

/// The `default` BGPConfiguration (calico-behaviour 7.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpConfiguration {
    /// AS of every node that names none; 64512 unless said.
    pub as_number: Asn,
    /// The node-to-node mesh; on unless said.
    pub node_to_node_mesh_enabled: bool,
    /// TCP port the speakers listen on; 179 unless said.
    pub listen_port: u16,
}

impl Default for BgpConfiguration {
    fn default() -> Self {
        Self { as_number: Asn::CALICO_DEFAULT, node_to_node_mesh_enabled: true, listen_port: 179 }
    }
}

/// When a pool's packets are encapsulated (`ipipMode`, `vxlanMode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub enum EncapMode {
    /// Never.
    #[default]
    Never,
    /// Between any two nodes.
    Always,
    /// Between nodes of different subnets only.
    CrossSubnet,
}

/// A Calico IPPool (calico-behaviour 7.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpPool {
    /// `metadata.name`.
    pub name: String,
    /// The addresses.
    pub cidr: Ipv4Net,
    /// Prefix length of a block, 20 to 32.
    pub block_size: u8,
    /// IPIP.
    pub ipip_mode: EncapMode,
    /// VXLAN. Never on together with IPIP.
    pub vxlan_mode: EncapMode,
    /// Masquerade what leaves the pools.
    pub nat_outgoing: bool,
    /// No new allocations.
    pub disabled: bool,
    /// Not advertised by BGP.
    pub disable_bgp_export: bool,
    /// Which nodes allocate from it.
    pub node_selector: Selector,
    /// Where the file says so; empty for the pool that `mode` makes.
    pub span: Span,
}

/// An L2 segment: one bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The subnet, without host bits.
    pub subnet: Ipv4Net,
    /// MTU of every interface on it, in bytes; 1500 unless said.
    pub mtu: u32,
    /// The implicit gateway's address on it; `None` where a declared router serves the segment, and where nodes have both its
    /// first and its last address and no default route goes through it (a link between second interfaces).
    pub implicit_gateway: Option<Ipv4Addr>,
}

/// Index into [`Topology::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// Index into [`Topology::segments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub usize);

/// A node's interface on a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `eth0`, `eth1`, … in the order of the addresses.
    pub name: IfName,
    /// The address with the segment's prefix length.
    pub address: Ipv4Net,
    /// The segment.
    pub segment: SegmentId,
}

/// A Kubernetes node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name, unique among nodes, pods and routers.
    pub name: String,
    /// Interfaces; never empty. The first one's address is the BGP address.
    pub interfaces: Vec<Interface>,
    /// Next hop of the default route, on the first interface's segment.
    pub gateway: Ipv4Addr,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Its own AS; `None` takes the BGPConfiguration's.
    pub as_number: Option<Asn>,
    /// Where the file says so.
    pub span: Span,
}

impl Node {
    /// The BGP address with its mask: the first interface's.
    pub fn bgp_address(&self) -> Ipv4Net {
        self.interfaces[0].address
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The name, unique among nodes, pods and routers.
    pub name: String,
    /// The Kubernetes namespace; `default` unless said.
    pub namespace: String,
    /// The node it runs on.
    pub node: NodeId,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// A pinned address, inside a pool.
    pub ip: Option<Ipv4Addr>,
    /// Where the file says so.
    pub span: Span,
}
