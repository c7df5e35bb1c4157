//! A topology in which every reference is resolved and every rule of the file format holds.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::selector::Selector;
use crate::net::{
    Asn, BgpIdentifier, ExternalSpeaker, FilterRule, IfName, LabName, NextHopMode, Password, PrefixAdvertisement,
};

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
    /// Declared routers in file order.
    pub routers: Vec<Router>,
    /// Calico's BGPPeers in file order.
    pub bgp_peers: Vec<BgpPeer>,
    /// Calico's BGPFilters in file order.
    pub bgp_filters: Vec<BgpFilter>,
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
    /// TCP port the nodes' speakers listen on, where the file says so; else [`BGP_PORT`].
    pub listen_port: Option<u16>,
    /// `bindMode: NodeIP`: the nodes listen on their BGP address only.
    pub bind_node_ip: bool,
    /// The key of TCP MD5 signatures on mesh sessions.
    pub node_mesh_password: Option<Password>,
    /// Graceful-restart time of mesh sessions, where the file says so.
    pub node_mesh_max_restart_time: Option<Duration>,
    /// Communities of what the nodes tell their peers, names resolved.
    pub prefix_advertisements: Vec<PrefixAdvertisement>,
}

/// The port of BGP (RFC 4271 §8).
pub const BGP_PORT: u16 = 179;

impl Default for BgpConfiguration {
    fn default() -> Self {
        Self {
            as_number: Asn::CALICO_DEFAULT,
            node_to_node_mesh_enabled: true,
            listen_port: None,
            bind_node_ip: false,
            node_mesh_password: None,
            node_mesh_max_restart_time: None,
            prefix_advertisements: Vec::new(),
        }
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
    /// The implicit gateway's address on it; `None` where a declared router is on the segment, and where nodes have both its
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
    /// Next hop of the default route, on the first interface's segment: a router's address, or the implicit gateway's.
    pub gateway: Ipv4Addr,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Its own AS; `None` takes the BGPConfiguration's.
    pub as_number: Option<Asn>,
    /// `routeReflectorClusterID`: it reflects routes, and is in no mesh.
    pub cluster_id: Option<BgpIdentifier>,
    /// Its own port; `None` takes the BGPConfiguration's.
    pub listen_port: Option<u16>,
    /// Its own advertisements, in place of the BGPConfiguration's.
    pub prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
    /// What speaks BGP in the place of our own speaker.
    pub speaker: Option<ExternalSpeaker>,
    /// Where the file says so.
    pub span: Span,
}

impl Topology {
    /// The AS of `node`: its own, or the BGPConfiguration's.
    pub fn as_number(&self, node: &Node) -> Asn {
        node.as_number.unwrap_or(self.bgp.as_number)
    }

    /// The port that `node`'s speaker is configured to listen on, where the file says one: its own, or the BGPConfiguration's.
    pub fn listen_port(&self, node: &Node) -> Option<u16> {
        node.listen_port.or(self.bgp.listen_port)
    }

    /// The interfaces of the node or router called `name`; the first one's address stands for it where one is wanted.
    pub fn interfaces(&self, name: &str) -> Option<&[Interface]> {
        let node = self.nodes.iter().find(|node| node.name == name).map(|node| &node.interfaces);
        let router = || self.routers.iter().find(|router| router.name == name).map(|router| &router.interfaces);
        node.or_else(router).map(Vec::as_slice)
    }
}

impl Node {
    /// The BGP address with its mask: the first interface's.
    pub fn bgp_address(&self) -> Ipv4Net {
        self.interfaces[0].address
    }
}

/// A declared router: forwards, and speaks BGP where it has an AS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Router {
    /// The name, unique among nodes, pods and routers.
    pub name: String,
    /// Interfaces, one for each segment; never empty. The first one's address is its BGP identifier.
    pub interfaces: Vec<Interface>,
    /// Static routes: destination and gateway, which is on one of its segments.
    pub routes: Vec<(Ipv4Net, Ipv4Addr)>,
    /// Its AS, if it speaks BGP.
    pub as_number: Option<Asn>,
    /// Whom it peers with, in file order.
    pub peers: Vec<RouterPeer>,
    /// What it originates.
    pub networks: Vec<Ipv4Net>,
    /// Whether it tells its peers what it learned from others.
    pub transit: bool,
    /// What speaks BGP in the place of our own speaker.
    pub speaker: Option<ExternalSpeaker>,
    /// Where the file says so.
    pub span: Span,
}

impl Router {
    /// The first interface's address.
    pub fn address(&self) -> Ipv4Net {
        self.interfaces[0].address
    }
}

/// Whom a router peers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterPeer {
    /// Whom.
    pub who: RouterPeers,
    /// The key of TCP MD5 signatures.
    pub password: Option<Password>,
    /// Hops to the peer at most, 1 on a common link (GTSM).
    pub ttl_security: Option<u8>,
    /// Where the file says so.
    pub span: Span,
}

/// Peers of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterPeers {
    /// Whoever has this address, and must be of this AS.
    Address(Ipv4Addr, Asn),
    /// Every node that this selects, whatever its AS.
    Nodes(Selector),
}

/// A Calico BGPPeer (calico-behaviour 7.3, 7.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpPeer {
    /// `metadata.name`.
    pub name: String,
    /// Which nodes peer.
    pub nodes: PeeringNodes,
    /// With whom.
    pub peer: PeerAddress,
    /// How many times the node's own AS may stand in a path from the peer. For [`PeerAddress::Ip`] only.
    pub num_allowed_local_as_numbers: u32,
    /// The node's AS on the session. For [`PeerAddress::Ip`] only.
    pub local_as_number: Option<Asn>,
    /// `sourceAddress: UseNodeIP`.
    pub use_node_ip: bool,
    /// `nextHopMode`, or `Keep` towards external peers for `keepOriginalNextHop`.
    pub next_hop: PeerNextHop,
    /// The key of TCP MD5 signatures.
    pub password: Option<Password>,
    /// Graceful-restart time, where the file says so.
    pub max_restart_time: Option<Duration>,
    /// Time between keepalives, where the file says so.
    pub keepalive_time: Option<Duration>,
    /// Hops to the peer at most, 1 on a common link (GTSM).
    pub ttl_security: Option<u8>,
    /// The gateway to the peer. For [`PeerAddress::Ip`] only.
    pub reachable_by: Option<Ipv4Addr>,
    /// Indices into [`Topology::bgp_filters`], in order.
    pub filters: Vec<usize>,
    /// `reversePeering: Auto`: nodes that are named as peers peer in turn.
    pub reverse: bool,
    /// Its sessions are not to come up.
    pub expected_down: bool,
    /// Where the file says so.
    pub span: Span,
}

/// What a BGPPeer does to next hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerNextHop {
    /// BGP's default.
    #[default]
    Auto,
    /// `keepOriginalNextHop`: kept towards external peers.
    KeepExternal,
    /// `nextHopMode`, towards all.
    Mode(NextHopMode),
}

/// A Calico BGPFilter (calico-behaviour 7.8), its IPv4 rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BgpFilter {
    /// `metadata.name`.
    pub name: String,
    /// `exportV4`.
    pub export: Vec<FilterRule>,
    /// `importV4`.
    pub import: Vec<FilterRule>,
    /// Where the file says so.
    pub span: Span,
}

/// The nodes that a BGPPeer is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeeringNodes {
    /// Neither `node` nor `nodeSelector`: every node, a global peer.
    Global,
    /// `node`.
    One(NodeId),
    /// `nodeSelector`.
    Selected(Selector),
}

/// The other end of a BGPPeer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerAddress {
    /// `peerIP`.
    Ip {
        /// The address.
        address: Ipv4Addr,
        /// The port, where one is written.
        port: Option<u16>,
        /// `asNumber`, the BGPConfiguration's unless said.
        as_number: Asn,
    },
    /// `peerSelector`: the nodes that it selects.
    Nodes(Selector),
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
