//! Messages as values.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use serde::Serialize;

use crate::net::{Asn, BgpIdentifier};

/// An address family with its subsequent family (RFC 4760): only unicast is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// AFI 1, SAFI 1.
    #[default]
    Ipv4Unicast,
    /// AFI 2, SAFI 1.
    Ipv6Unicast,
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 1.
    Open(Open),
    /// Type 2.
    Update(Update),
    /// Type 3.
    Notification(Notification),
    /// Type 4.
    Keepalive,
    /// Type 5 (RFC 2918, RFC 7313); `None` for a family that is not ours.
    RouteRefresh(Option<Family>, RefreshKind),
}

/// The subtype of a ROUTE-REFRESH (RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: send everything again.
    Request,
    /// 1: what follows is everything (BoRR).
    Begin,
    /// 2: that was everything (EoRR).
    End,
}

/// An OPEN (RFC 4271 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: the four-octet one where that capability is present, else the header's field.
    pub asn: Asn,
    /// Hold time in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// The sender's identifier.
    pub identifier: BgpIdentifier,
    /// Capabilities in the order sent.
    pub capabilities: Vec<Capability>,
}

/// A capability (RFC 5492).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// 1 (RFC 4760). Families other than ours decode as `Other`.
    Multiprotocol(Family),
    /// 2 (RFC 2918).
    RouteRefresh,
    /// 6 (RFC 8654).
    ExtendedMessage,
    /// 64 (RFC 4724).
    GracefulRestart {
        /// The R bit: the sender has just restarted.
        restarting: bool,
        /// Seconds until its routes may go, at most 4095.
        time: u16,
        /// Families with their F bit: forwarding state was preserved.
        families: Vec<(Family, bool)>,
    },
    /// 65 (RFC 6793).
    FourOctetAs(Asn),
    /// 69 (RFC 7911): families with whether the sender receives and sends path identifiers.
    AddPath(Vec<(Family, AddPathMode)>),
    /// 70 (RFC 7313).
    EnhancedRouteRefresh,
    /// 71 (RFC 9494), with its value as it came.
    LongLivedGracefulRestart(Bytes),
    /// Any other, with its value.
    Other {
        /// The code.
        code: u8,
        /// The value.
        value: Bytes,
    },
}

/// Which way path identifiers go (RFC 7911 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPathMode {
    /// The sender of the capability can receive them.
    pub receive: bool,
    /// It can send them.
    pub send: bool,
}

/// An UPDATE after the treatment of its errors (RFC 7606): what is to be withdrawn stands in `withdrawn`, whatever its form was.
///
/// Withdrawals come first: a prefix in both lists is announced (RFC 4271 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Prefixes that are gone, those of a malformed announcement (treat-as-withdraw) included.
    pub withdrawn: Vec<Nlri>,
    /// Prefixes announced with `attributes`.
    pub announced: Vec<Nlri>,
    /// Shared by every announced prefix; `Some` whenever `announced` is not empty.
    pub attributes: Option<Arc<Attributes>>,
    /// The message is the End-of-RIB marker of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was wrong and survived: one line per fault, for the log.
    pub faults: Vec<String>,
}

/// A prefix on the wire, host bits cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    /// The prefix.
    pub prefix: IpNet,
    /// The path identifier, where ADD-PATH was negotiated.
    pub path_id: Option<u32>,
}

impl From<IpNet> for Nlri {
    fn from(prefix: IpNet) -> Self {
        Self { prefix, path_id: None }
    }
}

/// The attributes of a route. Interned: equal sets of one speaker are one allocation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    /// ORIGIN (1).
    pub origin: Origin,
    /// AS_PATH (2), four-octet numbers; AS4_PATH already merged (RFC 6793 §4.2.3).
    pub as_path: AsPath,
    /// NEXT_HOP (3), or the one of MP_REACH_NLRI.
    pub next_hop: IpAddr,
    /// MULTI_EXIT_DISC (4).
    pub med: Option<u32>,
    /// LOCAL_PREF (5); never present on what an external peer sent.
    pub local_pref: Option<u32>,
    /// ATOMIC_AGGREGATE (6).
    pub atomic_aggregate: bool,
    /// AGGREGATOR (7).
    pub aggregator: Option<(Asn, Ipv4Addr)>,
    /// COMMUNITIES (8), sorted, without duplicates.
    pub communities: Vec<u32>,
    /// ORIGINATOR_ID (9).
    pub originator_id: Option<BgpIdentifier>,
    /// CLUSTER_LIST (10), nearest first.
    pub cluster_list: Vec<BgpIdentifier>,
    /// EXTENDED COMMUNITIES (16), sorted.
    pub extended_communities: Vec<u64>,
    /// LARGE_COMMUNITIES (32), sorted.
    pub large_communities: Vec<(u32, u32, u32)>,
    /// Optional transitive attributes that are not known here, in type order, with the Partial bit set: passed on as they are.
    pub unknown: Vec<UnknownAttribute>,
}

impl Attributes {
    /// A locally originated route: ORIGIN IGP, an empty AS_PATH, nothing else.
    pub fn local(next_hop: IpAddr) -> Self {
        Self {
            origin: Origin::Igp,
            as_path: AsPath::default(),
            next_hop,
            med: None,
            local_pref: None,
            atomic_aggregate: false,
            aggregator: None,
            communities: Vec::new(),
            originator_id: None,
            cluster_list: Vec::new(),
            extended_communities: Vec::new(),
            large_communities: Vec::new(),
            unknown: Vec::new(),
        }
    }
}

/// ORIGIN, better first (RFC 4271 §5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// 0.
    Igp,
    /// 1.
    Egp,
    /// 2.
    Incomplete,
}

/// AS_PATH: segments, nearest first. Empty for a route of the own AS.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsPath(pub Vec<AsSegment>);

/// One segment of an AS_PATH.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AsSegment {
    /// AS_SET (1): counts as one hop.
    Set(Vec<Asn>),
    /// AS_SEQUENCE (2).
    Sequence(Vec<Asn>),
}

/// An attribute that is not known here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnknownAttribute {
    /// Type code.
    pub code: u8,
    /// The value.
    pub value: Bytes,
}

/// A NOTIFICATION (RFC 4271 §4.5, §6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Subcode.
    pub subcode: u8,
    /// Data.
    pub data: Bytes,
}

/// Who the peer is, as far as decoding and encoding depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Both ends announced four-octet AS numbers.
    pub four_octet_as: bool,
    /// The peer is of another AS: LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST are dropped unread (RFC 7606 §7.5, 7.9, 7.10).
    pub external: bool,
    /// Path identifiers stand before IPv4 prefixes that we receive.
    pub add_path_receive_v4: bool,
    /// The same for IPv6.
    pub add_path_receive_v6: bool,
    /// Path identifiers stand before IPv4 prefixes that we send.
    pub add_path_send_v4: bool,
    /// The same for IPv6.
    pub add_path_send_v6: bool,
    /// Both ends announced extended messages: up to 65,535 bytes instead of 4,096, OPEN and KEEPALIVE excepted.
    pub extended_messages: bool,
}
