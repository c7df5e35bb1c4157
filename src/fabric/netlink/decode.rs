//! rtnetlink messages as values of the vocabulary.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use rtnetlink::packet_route::nsid::NsidAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteScope,
    RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::net::{
    FdbEntry, IfName, Link, LinkKind, MacAddr, Neighbour, NextHop, Route, RouteKind, RouteProtocol, Scope,
};

/// Interface names by index.
pub(in crate::fabric) type Names = HashMap<u32, IfName>;

/// A link as dumped: its master is still a number, its addresses come in another dump.
pub(in crate::fabric) struct RawLink {
    pub(in crate::fabric) link: Link,
    pub(in crate::fabric) master: Option<u32>,
    pub(in crate::fabric) alias: Option<String>,
    /// IF_OPER_UP, or a device that does not say: packets pass.
    pub(in crate::fabric) operational: bool,
}

/// The link of an RTM_NEWLINK; `None` for anything else, and for a name that no Linux tool would take.
pub(in crate::fabric) fn link(message: RouteNetlinkMessage) -> Option<RawLink> {
    let RouteNetlinkMessage::NewLink(LinkMessage { header, attributes, .. }) = message else { return None };
    let flags = header.flags;
    let mut name = None;
    let mut kind = if flags.contains(LinkFlags::Loopback) { LinkKind::Loopback } else { LinkKind::Other };
    let (mut mtu, mut mac, mut master, mut alias, mut operational) = (0, None, None, None, false);
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = IfName::new(&text).ok(),
            LinkAttribute::Mtu(bytes) => mtu = bytes,
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddr),
            LinkAttribute::Controller(index) => master = Some(index),
            LinkAttribute::IfAlias(text) => alias = Some(text),
            LinkAttribute::OperState(state) => operational = matches!(state, State::Up | State::Unknown),
            LinkAttribute::LinkInfo(infos) => {
                kind = infos.iter().find_map(link_kind).unwrap_or(kind);
            }
            _ => {}
        }
    }
    let link = Link {
        index: header.index,
        name: name?,
        kind,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu,
        mac,
        master: None,
        addresses: Vec::new(),
    };
    Some(RawLink { link, master, alias, operational })
}

/// The name of the link of an RTM_NEWLINK, and how many packets it dropped that were to be sent on it.
pub(in crate::fabric) fn dropped(message: RouteNetlinkMessage) -> Option<(IfName, u64)> {
    let RouteNetlinkMessage::NewLink(LinkMessage { attributes, .. }) = message else { return None };
    let (mut name, mut dropped) = (None, 0);
    for attribute in attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = IfName::new(&text).ok(),
            LinkAttribute::Stats64(counted) => dropped = counted.tx_dropped,
            _ => {}
        }
    }
    Some((name?, dropped))
}

fn link_kind(info: &LinkInfo) -> Option<LinkKind> {
    match info {
        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
        LinkInfo::Kind(InfoKind::Bridge) => Some(LinkKind::Bridge),
        LinkInfo::Kind(InfoKind::IpIp) => Some(LinkKind::Ipip),
        LinkInfo::Kind(InfoKind::Vxlan) => Some(LinkKind::Vxlan),
        LinkInfo::Kind(InfoKind::Tun) => Some(LinkKind::Tun),
        LinkInfo::Kind(_) => Some(LinkKind::Other),
        _ => None,
    }
}

/// The interface index and address of an RTM_NEWADDR.
pub(in crate::fabric) fn address(message: RouteNetlinkMessage) -> Option<(u32, IpNet)> {
    let RouteNetlinkMessage::NewAddress(AddressMessage { header, attributes, .. }) = message else { return None };
    let mut own = None;
    for attribute in attributes {
        match attribute {
            // On a point-to-point link IFA_ADDRESS is the other end's.
            AddressAttribute::Local(address) => own = Some(address),
            AddressAttribute::Address(address) => own = own.or(Some(address)),
            _ => {}
        }
    }
    Some((header.index, IpNet::new(own?, header.prefix_len).ok()?))
}

/// The route of an RTM_NEWROUTE of table main; `None` for other tables and for local, broadcast and multicast routes.
pub(in crate::fabric) fn route(message: RouteNetlinkMessage, names: &Names) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(RouteMessage { header, attributes, .. }) = message else { return None };
    if header.table != RouteHeader::RT_TABLE_MAIN || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let kind = match header.kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => return None,
    };
    let any = match header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let dst = attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(dst) => ip(dst),
        _ => None,
    });
    let mut route = Route {
        kind,
        proto: RouteProtocol(header.protocol.into()),
        scope: match header.scope {
            RouteScope::Link => Scope::Link,
            RouteScope::Host => Scope::Host,
            _ => Scope::Global,
        },
        onlink: header.flags.contains(RouteFlags::Onlink),
        ..Route::unicast(IpNet::new(dst.unwrap_or(any), header.destination_prefix_length).ok()?)
    };
    for attribute in attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.dev = names.get(&index).cloned(),
            RouteAttribute::PrefSource(src) => route.src = ip(&src),
            RouteAttribute::Priority(metric) => route.metric = metric,
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            RouteAttribute::MultiPath(hops) => {
                route.onlink |=
                    hops.iter().any(|hop| hop.flags.bits() & RouteFlags::Onlink.bits().to_le_bytes()[0] != 0);
                route.nexthops = hops.iter().map(|hop| next_hop(hop, names)).collect();
            }
            other => route.via = via(&other).or(route.via),
        }
    }
    Some(route)
}

fn next_hop(hop: &RouteNextHop, names: &Names) -> NextHop {
    NextHop {
        via: hop.attributes.iter().find_map(via),
        dev: names.get(&hop.interface_index).cloned(),
        weight: u16::from(hop.hops) + 1,
    }
}

fn via(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(via) => ip(via),
        RouteAttribute::Via(RouteVia::Inet(via)) => Some((*via).into()),
        RouteAttribute::Via(RouteVia::Inet6(via)) => Some((*via).into()),
        _ => None,
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

/// The neighbour of an RTM_NEWNEIGH, as `ip neigh` shows it: neither multicast (NOARP) nor stateless entries.
pub(in crate::fabric) fn neighbour(message: RouteNetlinkMessage, names: &Names) -> Option<Neighbour> {
    let RouteNetlinkMessage::NewNeighbour(NeighbourMessage { header, attributes, .. }) = message else { return None };
    if matches!(header.state, NeighbourState::Noarp | NeighbourState::None) {
        return None;
    }
    let dst = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(dst) => neighbour_ip(dst),
        _ => None,
    });
    let state = header.state.to_string().to_uppercase();
    Some(Neighbour { dst: dst?, dev: names.get(&header.ifindex)?.clone(), lladdr: lladdr(&attributes), state })
}

/// The forwarding entry of an RTM_NEWNEIGH of family AF_BRIDGE.
pub(in crate::fabric) fn fdb_entry(message: RouteNetlinkMessage, names: &Names) -> Option<FdbEntry> {
    let RouteNetlinkMessage::NewNeighbour(NeighbourMessage { header, attributes, .. }) = message else { return None };
    let dst = attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(dst) => neighbour_ip(dst),
        _ => None,
    });
    Some(FdbEntry {
        mac: lladdr(&attributes)?,
        dev: names.get(&header.ifindex)?.clone(),
        dst,
        permanent: header.state == NeighbourState::Permanent,
    })
}

fn lladdr(attributes: &[NeighbourAttribute]) -> Option<MacAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr),
        _ => None,
    })
}

/// Of an AF_BRIDGE entry the parser knows no address family, and leaves the bytes as they are.
fn neighbour_ip(address: &NeighbourAddress) -> Option<IpAddr> {
    match address {
        NeighbourAddress::Inet(address) => Some((*address).into()),
        NeighbourAddress::Inet6(address) => Some((*address).into()),
        NeighbourAddress::Other(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(bytes.as_slice()).ok().map(IpAddr::from),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the message tells of a namespace that came (`true`) or began to go (`false`), and its number.
pub(super) fn nsid(message: &RouteNetlinkMessage) -> Option<(bool, i32)> {
    let (there, message) = match message {
        RouteNetlinkMessage::NewNsId(message) => (true, message),
        RouteNetlinkMessage::DelNsId(message) => (false, message),
        _ => return None,
    };
    message.attributes.iter().find_map(|attribute| match attribute {
        NsidAttribute::Id(id) => Some((there, *id)),
        _ => None,
    })
}
