//! All that a speaker needs to know, in `net` types; made by `plan::speakers`.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use super::wire::Family;
use crate::net::{Asn, BgpIdentifier, Filter, IfName, NextHopMode, Password, PrefixAdvertisement};

/// One speaker: a node's BIRD, or a router's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpeakerConfig {
    /// Whose speaker it is, for messages.
    pub name: String,
    /// The one family that it speaks, over sessions of that family, as Calico's BIRD and its sister for IPv6 do.
    pub family: Family,
    /// The local AS; a session may have another one.
    pub local_as: Asn,
    /// The BGP identifier: the node's IPv4 address (calico-behaviour 7.1).
    pub router_id: BgpIdentifier,
    /// TCP port it listens on.
    pub listen_port: u16,
    /// The address it listens on; every one unless set (`bindMode: NodeIP`).
    pub listen_address: Option<IpAddr>,
    /// Pacing of connections.
    pub timers: TimerConfig,
    /// Static routes, protocol `static1`, as blackholes: a node's own blocks, or what a router originates and has no way to.
    pub statics: Vec<IpNet>,
    /// Static routes with a gateway, `static1` too: to peers that must not be resolved through what they advertise (`reachableBy`,
    /// calico-behaviour 7.3).
    pub reachable_by: Vec<(IpNet, IpAddr)>,
    /// Makes it a route reflector (RFC 4456 §7).
    pub cluster_id: Option<BgpIdentifier>,
    /// Sessions, in the order in which BIRD lists them.
    pub peers: Vec<PeerConfig>,
    /// Blocks and pools, for the export chain (calico-behaviour 7.5) and the kernel filter (3.3).
    pub policy: PolicyConfig,
}

/// Pacing (calico-behaviour 7.1). The hold and keepalive times are the protocol's own and no matter of `fast`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimerConfig {
    /// Hold time offered, in whole seconds; 240 s in Calico.
    pub hold_time: Duration,
    /// Before the first connect; 2 s in Calico.
    pub connect_delay: Duration,
    /// ConnectRetryTimer after an attempt that failed; 5 s in Calico.
    pub connect_retry: Duration,
    /// ConnectRetryTimer of an attempt under way, which is then given up for another; 5 s in Calico.
    ///
    /// Never in the order of milliseconds: a busy host takes longer to notice that a connection stands, and what is given up
    /// then makes it busier.
    pub connect_timeout: Duration,
    /// After an error, doubling from the first to the second; 5 s to 30 s in Calico.
    pub error_wait: (Duration, Duration),
}

/// One planned session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeerConfig {
    /// BIRD's protocol name: `Mesh_172_18_0_3`.
    pub name: String,
    /// The peer's address.
    pub remote: IpAddr,
    /// The port to dial.
    pub remote_port: u16,
    /// The peer's AS.
    pub remote_as: Asn,
    /// Our AS on this session: announced, prepended, and looked for in paths (`localASNumber`).
    pub local_as: Asn,
    /// Source address of the connection and default next hop; `None` leaves it to the kernel.
    pub local: Option<IpAddr>,
    /// Never dials (calico-behaviour 7.2).
    pub passive: bool,
    /// Graceful-restart time offered, in whole seconds.
    pub restart_time: Duration,
    /// What becomes of the next hop of what is told on.
    pub next_hop: NextHopMode,
    /// How many times our own AS may stand in the path of a received route (`numAllowedLocalASNumbers`, calico-behaviour 7.4).
    pub allowed_local_as: u32,
    /// An internal peer that routes are reflected to and from (RFC 4456 §6).
    pub rr_client: bool,
    /// Time between keepalives; a third of the negotiated hold time unless set.
    pub keepalive_time: Option<Duration>,
    /// Hops to the peer at most, 1 on a common link: packets go out with TTL 255 and must come in with 256 less this at least
    /// (RFC 5082). Without it packets go out with TTL 64.
    pub ttl_security: Option<u8>,
    /// The key of TCP MD5 signatures (RFC 2385).
    pub password: Option<Password>,
    /// Announces extended messages (RFC 8654): where the peer does, too, a message may have 65,535 bytes. Calico's BIRD does not
    /// (calico-behaviour 7.1).
    pub extended_messages: bool,
    /// Announces ADD-PATH, both ways (RFC 7911): where the peer does, too, it gets every path and not only the selected one. Calico's
    /// BIRD does (calico-behaviour 7.1).
    pub add_path: bool,
    /// It is not to come up: that is what the lab shows.
    pub expected_down: bool,
    /// What decides about received routes; accepted where nothing does.
    pub import_filters: Vec<Filter>,
    /// What decides about routes to be told before [`ExportPolicy`] does.
    pub export_filters: Vec<Filter>,
}

impl PeerConfig {
    /// Whether the peer is of another AS than we are on this session.
    pub fn is_external(&self) -> bool {
        self.remote_as != self.local_as
    }
}

/// What the export chain and the kernel filter decide by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyConfig {
    /// This node's blocks (confirmed affinities): advertised as they are, nothing inside them is (7.5 step 7).
    pub own_blocks: Vec<Ipv4Net>,
    /// Every IP pool.
    pub pools: Vec<PoolPolicy>,
    /// `Some(normal priority)` in profile `current`: LOCAL_PREF = 2147483647 − metric on export (7.5 step 1), metric =
    /// 2147483647 − LOCAL_PREF in the kernel (3.3 rule 2). `None` in `classic`: LOCAL_PREF 100, no metric.
    pub normal_priority: Option<u32>,
    /// What is told to peers.
    pub export: ExportPolicy,
    /// Communities of what is told (7.6).
    pub advertisements: Vec<PrefixAdvertisement>,
    /// Equally good paths become one route with several next hops (BIRD's `merge paths`, 3.2).
    pub merge_paths: bool,
}

/// What a speaker tells its peers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportPolicy {
    /// A Calico node's chain (calico-behaviour 7.5).
    #[default]
    Calico,
    /// A plain router's: what it originates, and what it learned by BGP if it is for that.
    Router {
        /// What it originates, whichever protocol has it.
        networks: Vec<IpNet>,
        /// Whether it tells what it learned.
        transit: bool,
    },
}

/// One IP pool, as BGP sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolPolicy {
    /// The pool.
    pub cidr: Ipv4Net,
    /// `disableBGPExport` (7.5 step 3).
    pub disable_bgp_export: bool,
    /// What becomes of learned routes inside it (3.3 rule 4).
    pub kernel: KernelRule,
}

/// How a route inside a pool goes into the kernel (calico-behaviour 3.3 rule 4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelRule {
    /// As resolved: no encapsulation.
    Direct,
    /// Through a tunnel device with the BGP NEXT_HOP as gateway, onlink; `unless` the NEXT_HOP lies in this network.
    Tunnel {
        /// `tunl0`.
        dev: IfName,
        /// The local node's network, for CrossSubnet.
        unless: Option<Ipv4Net>,
    },
    /// Not at all: Felix owns it, or it is VXLAN.
    Refuse,
}
