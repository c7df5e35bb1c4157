//! Calico's BGP resources as they are written: BGPConfiguration, BGPPeer and BGPFilter.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, RawAsNumber};
use crate::net::MatchOperator;

/// Calico's `default` BGPConfiguration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawBgpConfiguration {
    /// AS number of every node that names none; 64512 unless said.
    #[serde(rename = "asNumber")]
    #[schemars(example = 64512)]
    pub(in crate::topology) as_number: Option<At<RawAsNumber>>,
    /// Whether every node peers with every other; true unless said.
    #[serde(rename = "nodeToNodeMeshEnabled")]
    #[schemars(example = true)]
    pub(in crate::topology) node_to_node_mesh_enabled: Option<At<bool>>,
    /// TCP port of the speakers; 179 unless said.
    #[serde(rename = "listenPort")]
    #[schemars(range(min = 1, max = 65535), example = 179)]
    pub(in crate::topology) listen_port: Option<At<i64>>,
    /// Which address the speakers listen on; None, all, unless said.
    #[serde(rename = "bindMode")]
    pub(in crate::topology) bind_mode: Option<At<RawBindMode>>,
    /// The key of TCP MD5 signatures on all mesh sessions (Calico: a Secret).
    #[serde(rename = "nodeMeshPassword")]
    #[schemars(example = &"secret")]
    pub(in crate::topology) node_mesh_password: Option<At<String>>,
    /// A file whose first line is that key, relative to this one.
    #[serde(rename = "nodeMeshPasswordFile")]
    #[schemars(example = &"mesh.key")]
    pub(in crate::topology) node_mesh_password_file: Option<At<String>>,
    /// Graceful-restart time of all mesh sessions; 120s unless said.
    #[serde(rename = "nodeMeshMaxRestartTime")]
    #[schemars(example = &"120s")]
    pub(in crate::topology) node_mesh_max_restart_time: Option<At<String>>,
    /// Names for communities.
    #[serde(default)]
    pub(in crate::topology) communities: Vec<At<RawCommunity>>,
    /// Communities of what every node tells its peers.
    #[serde(default, rename = "prefixAdvertisements")]
    pub(in crate::topology) prefix_advertisements: Option<At<Vec<At<RawPrefixAdvertisement>>>>,
}

/// A Calico BGPPeer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawBgpPeer {
    /// The name.
    #[schemars(example = &"rack1-tor")]
    pub(in crate::topology) name: At<String>,
    /// The one node that peers. Excludes nodeSelector; every node peers where there is neither.
    #[schemars(example = &"node1")]
    pub(in crate::topology) node: Option<At<String>>,
    /// The nodes that peer.
    #[serde(rename = "nodeSelector")]
    #[schemars(example = &"rack == 'rack1'")]
    pub(in crate::topology) node_selector: Option<At<String>>,
    /// The peer's address, with its port or not.
    #[serde(rename = "peerIP")]
    #[schemars(example = &"10.0.1.1")]
    pub(in crate::topology) peer_ip: Option<At<String>>,
    /// The nodes that are the peers. Excludes peerIP and asNumber.
    #[serde(rename = "peerSelector")]
    #[schemars(example = &"route-reflector == 'true'")]
    pub(in crate::topology) peer_selector: Option<At<String>>,
    /// The peer's AS number; the BGPConfiguration's unless said.
    #[serde(rename = "asNumber")]
    #[schemars(example = 65001)]
    pub(in crate::topology) as_number: Option<At<RawAsNumber>>,
    /// How many times the node's own AS may stand in the path of a route from the peer; 0 unless said.
    #[serde(rename = "numAllowedLocalASNumbers")]
    #[schemars(range(min = 0, max = 255), example = 1)]
    pub(in crate::topology) num_allowed_local_as_numbers: Option<At<i64>>,
    /// The node's AS number on this session; for peerIP only.
    #[serde(rename = "localASNumber")]
    #[schemars(example = 64600)]
    pub(in crate::topology) local_as_number: Option<At<RawAsNumber>>,
    /// The source address of the connection; UseNodeIP unless said.
    #[serde(rename = "sourceAddress")]
    pub(in crate::topology) source_address: Option<At<RawSourceAddress>>,
    /// The next hop of what is told; Auto unless said.
    #[serde(rename = "nextHopMode")]
    pub(in crate::topology) next_hop_mode: Option<At<RawNextHopMode>>,
    /// Keeps the next hop towards external peers. Deprecated: write `nextHopMode = "Keep"`.
    #[serde(rename = "keepOriginalNextHop")]
    #[schemars(example = true)]
    pub(in crate::topology) keep_original_next_hop: Option<At<bool>>,
    /// The key of TCP MD5 signatures (Calico: a Secret).
    #[schemars(example = &"secret")]
    pub(in crate::topology) password: Option<At<String>>,
    /// A file whose first line is the key, relative to this one.
    #[serde(rename = "passwordFile")]
    #[schemars(example = &"tor.key")]
    pub(in crate::topology) password_file: Option<At<String>>,
    /// Graceful-restart time; 120s unless said.
    #[serde(rename = "maxRestartTime")]
    #[schemars(example = &"120s")]
    pub(in crate::topology) max_restart_time: Option<At<String>>,
    /// Time between keepalives; a third of the hold time unless said.
    #[serde(rename = "keepaliveTime")]
    #[schemars(example = &"30s")]
    pub(in crate::topology) keepalive_time: Option<At<String>>,
    /// Hops to the peer at most, 1 on a common link (GTSM); 0 switches it off.
    #[serde(rename = "ttlSecurity")]
    #[schemars(range(min = 0, max = 255), example = 1)]
    pub(in crate::topology) ttl_security: Option<At<i64>>,
    /// The gateway by which the peer is reached whatever it advertises; for peerIP only.
    #[serde(rename = "reachableBy")]
    #[schemars(example = &"10.0.1.1")]
    pub(in crate::topology) reachable_by: Option<At<String>>,
    /// BGPFilters, in order.
    #[schemars(example = ["only-blocks"])]
    pub(in crate::topology) filters: Option<At<Vec<At<String>>>>,
    /// Whether nodes that are named as peers peer in turn; Auto unless said.
    #[serde(rename = "reversePeering")]
    pub(in crate::topology) reverse_peering: Option<At<RawReversePeering>>,
    /// The lab's own key: these sessions are not to come up, and are not waited for.
    pub(in crate::topology) expect: Option<At<RawExpectation>>,
}

/// What is to become of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawExpectation {
    /// It never comes up: the ends do not agree, which is what the lab shows.
    #[serde(rename = "down")]
    Down,
}

/// Where a session's connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawSourceAddress {
    /// The node's BGP address.
    UseNodeIP,
    /// Where the routes say.
    None,
}

/// NEXT_HOP of what is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawNextHopMode {
    /// BGP's default.
    Auto,
    /// The node's own address.
    #[serde(rename = "Self")]
    Own,
    /// As received.
    Keep,
}

/// Whether nodes that are named as peers peer in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawReversePeering {
    /// They do.
    Auto,
    /// They do not.
    Manual,
}

/// A name for a community.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawCommunity {
    /// The name.
    #[schemars(example = &"no-export")]
    pub(in crate::topology) name: At<String>,
    /// `aa:nn`, or a large one, `aa:nn:mm`.
    #[schemars(example = &"65535:65281")]
    pub(in crate::topology) value: At<String>,
}

/// Communities for every route inside a network.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawPrefixAdvertisement {
    /// The network.
    #[schemars(example = &"10.244.0.0/16")]
    pub(in crate::topology) cidr: At<String>,
    /// Names or values.
    #[schemars(example = ["no-export", "64512:100"])]
    pub(in crate::topology) communities: At<Vec<At<String>>>,
}

/// A Calico BGPFilter.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawBgpFilter {
    /// The name.
    #[schemars(example = &"only-blocks")]
    pub(in crate::topology) name: At<String>,
    /// What is told, the first rule that matches decides.
    #[serde(default, rename = "exportV4")]
    pub(in crate::topology) export_v4: Vec<At<RawFilterRule>>,
    /// What is taken in, likewise.
    #[serde(default, rename = "importV4")]
    pub(in crate::topology) import_v4: Vec<At<RawFilterRule>>,
}

/// One rule: all that is given must hold.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawFilterRule {
    /// What becomes of the route.
    pub(in crate::topology) action: At<RawFilterAction>,
    /// A network; needs `matchOperator`.
    #[schemars(example = &"10.244.0.0/16")]
    pub(in crate::topology) cidr: Option<At<String>>,
    /// How the route stands to `cidr`.
    #[serde(rename = "matchOperator")]
    pub(in crate::topology) match_operator: Option<At<MatchOperator>>,
    /// Which lengths count as inside `cidr`.
    #[serde(rename = "prefixLength")]
    pub(in crate::topology) prefix_length: Option<At<RawPrefixLength>>,
    /// Only what BGP brought.
    pub(in crate::topology) source: Option<At<RawFilterSource>>,
    /// The interface that the route leads out of, with `*` and `?`.
    #[schemars(example = &"*.calico")]
    pub(in crate::topology) interface: Option<At<String>>,
    /// Whether the session is with another AS.
    #[serde(rename = "peerType")]
    pub(in crate::topology) peer_type: Option<At<RawPeerType>>,
    /// A community that the route carries.
    pub(in crate::topology) communities: Option<At<RawCommunityMatch>>,
    /// What the AS path begins with.
    #[serde(rename = "asPathPrefix")]
    #[schemars(example = [65001])]
    pub(in crate::topology) as_path_prefix: Option<At<Vec<At<RawAsNumber>>>>,
    /// LOCAL_PREF is 2147483647 less this.
    #[schemars(range(min = 0, max = 2_147_483_647), example = 512)]
    pub(in crate::topology) priority: Option<At<i64>>,
    /// What an accepting rule changes, in order.
    #[serde(default)]
    pub(in crate::topology) operations: Option<At<Vec<At<RawFilterOperation>>>>,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawFilterAction {
    /// It passes, and nothing else is asked.
    Accept,
    /// It does not pass.
    Reject,
}

/// Where a route came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawFilterSource {
    /// From a BGP peer.
    RemotePeers,
}

/// Whom a session is with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawPeerType {
    /// Another AS.
    #[serde(rename = "eBGP")]
    External,
    /// The own AS.
    #[serde(rename = "iBGP")]
    Internal,
}

/// Lengths of prefixes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawPrefixLength {
    /// The shortest; that of `cidr` unless said.
    #[schemars(range(min = 0, max = 32), example = 24)]
    pub(in crate::topology) min: Option<At<i64>>,
    /// The longest; 32 unless said.
    #[schemars(range(min = 0, max = 32), example = 26)]
    pub(in crate::topology) max: Option<At<i64>>,
}

/// A community to look for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawCommunityMatch {
    /// Exactly one value.
    #[schemars(example = ["64512:100"])]
    pub(in crate::topology) values: At<Vec<At<String>>>,
}

/// One change: exactly one key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawFilterOperation {
    /// Adds a community.
    #[serde(rename = "addCommunity")]
    pub(in crate::topology) add_community: Option<At<RawAddCommunity>>,
    /// Puts AS numbers before the path, which then begins with them in this order.
    #[serde(rename = "prependASPath")]
    pub(in crate::topology) prepend_as_path: Option<At<RawPrependAsPath>>,
    /// Makes LOCAL_PREF 2147483647 less this.
    #[serde(rename = "setPriority")]
    pub(in crate::topology) set_priority: Option<At<RawSetPriority>>,
}

/// `addCommunity`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawAddCommunity {
    /// The community.
    #[schemars(example = &"64512:100")]
    pub(in crate::topology) value: At<String>,
}

/// `prependASPath`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawPrependAsPath {
    /// The AS numbers.
    #[schemars(example = [65001, 65001])]
    pub(in crate::topology) prefix: At<Vec<At<RawAsNumber>>>,
}

/// `setPriority`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::topology) struct RawSetPriority {
    /// The priority.
    #[schemars(range(min = 1, max = 2_147_483_646), example = 512)]
    pub(in crate::topology) value: At<i64>,
}

/// Which address the speakers listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub(in crate::topology) enum RawBindMode {
    /// All.
    None,
    /// The node's BGP address.
    NodeIP,
}
