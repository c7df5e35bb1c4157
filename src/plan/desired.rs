//! The plan's types. Every list is in a fixed order: the same topology gives the same plan, byte for byte.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use crate::bgp::SpeakerConfig;
use crate::net::{ExternalSpeaker, IfName, LabName, MacAddr, NetnsName, Route, RouteKind, RouteProtocol};

/// A whole lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The lab.
    pub lab: LabName,
    /// Every namespace: fabric, gateway, routers, nodes and pods, each in file order.
    pub namespaces: Vec<NetnsPlan>,
    /// One speaker per node, then one per router that speaks BGP, each in file order.
    pub speakers: Vec<SpeakerPlan>,
    /// Pods with the address they got, in the order of the topology.
    pub pods: Vec<PodPlan>,
}

/// What a namespace is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds a bridge per segment.
    Fabric,
    /// The implicit gateways.
    Gateway,
    /// A declared router.
    Router,
    /// A Kubernetes node.
    Node,
    /// A pod.
    Pod,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetnsPlan {
    /// Its name on the host: `<lab>-<name>`.
    pub netns: NetnsName,
    /// Its name in the lab: the node's, the pod's, the router's, `fabric`, `gateway`.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Sysctls set before any link exists, as paths below `/proc/sys` with `/`: (`net/ipv4/ip_forward`, `1`).
    pub sysctls: Vec<Sysctl>,
    /// Links in creation order, `lo` excepted: it is always brought up.
    pub links: Vec<LinkPlan>,
    /// Neighbour entries.
    pub neighbours: Vec<NeighbourPlan>,
    /// Forwarding entries of VXLAN devices.
    pub fdb: Vec<FdbPlan>,
    /// Routes that the lab itself writes, in creation order: the CNI plugin's, Felix's, the default route. Neither those the kernel
    /// makes for an address nor those the speaker writes.
    pub routes: Vec<Route>,
    /// natOutgoing, on every node where any pool has it.
    pub masquerade: Option<Masquerade>,
    /// Table main as it stands once converged, everybody's routes included, in the kernel's order.
    pub table: Vec<Route>,
}

/// A kernel parameter of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sysctl {
    /// Path below `/proc/sys`, separated by `/` (an interface's name may hold dots).
    pub key: String,
    /// What to write.
    pub value: String,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkPlan {
    /// The name.
    pub name: IfName,
    /// What it is.
    pub kind: LinkKindPlan,
    /// Link-layer address; `None` lets the kernel choose.
    pub mac: Option<MacAddr>,
    /// MTU in bytes.
    pub mtu: u32,
    /// The bridge of the same namespace that it is a port of.
    pub master: Option<IfName>,
    /// Addresses.
    pub addresses: Vec<IpNet>,
    /// Sysctls of this link, set once it exists and before it goes up; keys as in [`NetnsPlan::sysctls`].
    pub sysctls: Vec<Sysctl>,
    /// Whether it is up.
    pub up: bool,
}

/// What a planned link is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKindPlan {
    /// A bridge without spanning tree and without multicast snooping (IFLA_BR_MCAST_SNOOPING 0), a segment.
    Bridge,
    /// One end of a veth pair; the other end's plan names this one in turn.
    Veth {
        /// Where the other end is.
        peer_netns: NetnsName,
        /// What the other end is called.
        peer: IfName,
    },
    /// `vxlan.calico` (calico-behaviour 4).
    Vxlan {
        /// VXLAN network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
        /// The node's address, source of the outer packets.
        local: Ipv4Addr,
        /// The interface that bears it.
        parent: IfName,
    },
    /// `tunl0`: the kernel's own where it has ipip, a TUN device otherwise (calico-behaviour 5).
    Tunl0,
}

/// One permanent forwarding entry of a VXLAN device (calico-behaviour 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FdbPlan {
    /// The remote VTEP's MAC.
    pub mac: MacAddr,
    /// The VXLAN device.
    pub dev: IfName,
    /// The remote node.
    pub dst: Ipv4Addr,
}

/// One permanent neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NeighbourPlan {
    /// The neighbour.
    pub dst: IpAddr,
    /// On which interface.
    pub dev: IfName,
    /// Its link-layer address.
    pub lladdr: MacAddr,
}

/// natOutgoing of one node (calico-behaviour 6): source in `sources` and destination in none of `pools` → masquerade.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Masquerade {
    /// Pools with natOutgoing.
    pub sources: Vec<Ipv4Net>,
    /// All pools.
    pub pools: Vec<Ipv4Net>,
}

/// One speaker and where it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpeakerPlan {
    /// The node or router.
    pub name: String,
    /// Its namespace.
    pub netns: NetnsName,
    /// The speaker.
    pub config: SpeakerConfig,
    /// The daemon that plays its part in the place of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSpeaker>,
}

/// Metric of every route that FRR's zebra writes.
const ZEBRA_METRIC: u32 = 20;

impl SpeakerPlan {
    /// A route of the table that it ends up with as it stands in the kernel; `None` where it writes none.
    pub fn in_kernel(&self, route: Route) -> Option<Route> {
        match self.external {
            // What FRR drops, the plan has the lab itself drop.
            Some(ExternalSpeaker::Frr) => {
                (route.kind == RouteKind::Unicast).then(|| route.metric(ZEBRA_METRIC).proto(RouteProtocol::BGP))
            }
            Some(ExternalSpeaker::GoBgp | ExternalSpeaker::ExaBgp) => None,
            Some(ExternalSpeaker::Bird) | None => Some(route),
        }
    }

    /// Under which protocol number it writes routes into the kernel; `None` where it writes none.
    pub fn route_protocol(&self) -> Option<RouteProtocol> {
        self.external.map_or(Some(RouteProtocol::BIRD), ExternalSpeaker::route_protocol)
    }
}

/// One pod's attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PodPlan {
    /// The pod.
    pub name: String,
    /// Its Kubernetes namespace.
    pub namespace: String,
    /// Its node.
    pub node: String,
    /// Its network namespace.
    pub netns: NetnsName,
    /// Its address.
    pub address: Ipv4Addr,
    /// The host end of its veth.
    pub host_interface: IfName,
}
