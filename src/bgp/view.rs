//! What a speaker shows of itself: plain values for `lab status`, `lab show`, `lab birdc` and the convergence check.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::net::{Asn, BgpIdentifier, IfName};

/// A session's state (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Not trying, or waiting after an error.
    Idle,
    /// A connect is under way.
    Connect,
    /// Waiting for a connection, or for the time to dial.
    Active,
    /// OPEN sent.
    OpenSent,
    /// OPEN received, KEEPALIVE sent.
    OpenConfirm,
    /// UPDATEs flow.
    Established,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        })
    }
}

/// One session. Durations are milliseconds before the moment of the view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// BIRD's protocol name.
    pub name: String,
    /// The peer's address.
    pub remote: IpAddr,
    /// The source address in use or configured.
    pub local: Option<IpAddr>,
    /// The peer's AS.
    pub remote_as: Asn,
    /// Our AS on it.
    pub local_as: Asn,
    /// The peer's identifier, once its OPEN came.
    pub remote_id: Option<BgpIdentifier>,
    /// The state.
    pub state: State,
    /// Never dials.
    pub passive: bool,
    /// An administrator disabled it.
    pub disabled: bool,
    /// How long it has been in this state.
    pub since_ms: u64,
    /// Hold time negotiated, and what is left of it, in milliseconds.
    pub hold: Option<(u64, u64)>,
    /// Keepalive interval, and what is left of it, in milliseconds.
    pub keepalive: Option<(u64, u64)>,
    /// The last error as BIRD words it: `Socket: Connection refused`, `Received: Administrative shutdown`, …
    pub last_error: Option<String>,
    /// Capabilities that both ends announced, by name: `route refresh`, `graceful restart`, `4-octet AS`, …
    pub capabilities: Vec<String>,
    /// The peer announced graceful restart, so that its End-of-RIB is awaited.
    pub end_of_rib_awaited: bool,
    /// Its End-of-RIB came.
    pub end_of_rib_received: bool,
    /// It is gone without a word, or back and not done yet: how long routes from before are kept for it at most, in milliseconds
    /// (RFC 4724 §4.2).
    pub stale_ms: Option<u64>,
    /// UPDATEs waiting to be encoded for it.
    pub pending: usize,
    /// Prefixes in the Adj-RIB-In.
    pub imported: usize,
    /// Prefixes in the Adj-RIB-Out.
    pub exported: usize,
    /// Prefixes of it that are best.
    pub preferred: usize,
    /// Messages received and sent, by type.
    pub messages: MessageCounts,
}

/// Messages counted by type, received and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageCounts {
    /// UPDATEs received.
    pub updates_received: u64,
    /// UPDATEs sent.
    pub updates_sent: u64,
    /// KEEPALIVEs received.
    pub keepalives_received: u64,
    /// KEEPALIVEs sent.
    pub keepalives_sent: u64,
    /// NOTIFICATIONs received.
    pub notifications_received: u64,
    /// NOTIFICATIONs sent.
    pub notifications_sent: u64,
}

/// Which of BIRD's protocols a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteSource {
    /// `static1`, preference 200.
    Static,
    /// `direct1`, preference 240.
    Direct,
    /// `kernel1`, preference 10: learned from the kernel, written neither by it nor by us.
    Kernel,
    /// A BGP session, preference 100.
    Bgp,
}

/// One path towards one prefix in a speaker's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathView {
    /// The destination.
    pub prefix: IpNet,
    /// The kind of protocol it came from.
    pub source: RouteSource,
    /// The protocol's name: `kernel1`, `Mesh_172_18_0_3`.
    pub protocol: String,
    /// BIRD's preference: 240, 200, 100 or 10.
    pub preference: u32,
    /// The winner of its prefix.
    pub best: bool,
    /// Best, but the kernel did not take it.
    pub kernel_failed: bool,
    /// Why it lost, where it did, with the clause: `local preference is lower (RFC 4271 §9.1.1)`.
    pub lost: Option<String>,
    /// A blackhole: neither gateway nor interface.
    pub blackhole: bool,
    /// The gateway after next-hop resolution.
    pub gateway: Option<IpAddr>,
    /// The interface after next-hop resolution.
    pub dev: Option<IfName>,
    /// How long it has been there, in milliseconds.
    pub since_ms: u64,
    /// The advertising peer, for a BGP route.
    pub from: Option<IpAddr>,
    /// The attributes of a BGP route.
    pub bgp: Option<BgpAttributesView>,
}

/// The attributes of a BGP route, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BgpAttributesView {
    /// `IGP`, `EGP` or `Incomplete`.
    pub origin: String,
    /// The AS path as BIRD prints it: `65001 {65002 65003}`; empty for an internal route.
    pub as_path: String,
    /// NEXT_HOP.
    pub next_hop: IpAddr,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// LOCAL_PREF.
    pub local_pref: Option<u32>,
    /// Metric towards the next hop: 0 on the link, `None` if unknown.
    pub igp_metric: Option<u32>,
    /// Communities, `64512:100` and large ones `1:2:3`.
    pub communities: Vec<String>,
    /// ORIGINATOR_ID.
    pub originator_id: Option<BgpIdentifier>,
    /// CLUSTER_LIST.
    pub cluster_list: Vec<BgpIdentifier>,
}

/// A whole speaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerView {
    /// Whose it is.
    pub name: String,
    /// Its AS.
    pub local_as: Asn,
    /// Its identifier.
    pub router_id: BgpIdentifier,
    /// How long it has run, in milliseconds.
    pub uptime_ms: u64,
    /// Its sessions, in configuration order.
    pub sessions: Vec<SessionView>,
}
