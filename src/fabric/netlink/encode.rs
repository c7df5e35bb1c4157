//! Changes as rtnetlink messages.

use std::net::IpAddr;
use std::os::fd::RawFd;

use nix::errno::Errno;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoIpTunnel, InfoKind, InfoVeth, InfoVxlan, LinkAttribute, LinkExtentMask,
    LinkFlags, LinkInfo, LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteScope, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, IpProtocol, RouteNetlinkMessage};

use super::socket::Request;
use crate::fabric::error::KernelReason;
use crate::fabric::kernel::{Change, NewLink};
use crate::net::{IfName, Route, RouteKind, RouteProtocol, Scope};
use crate::plan::{FdbPlan, NeighbourPlan};

/// Index of `lo` in every namespace.
pub(in crate::fabric) const LO: u32 = 1;

/// The message for `change`; `index` knows the namespace's interfaces, `peer` is the descriptor of a veth's other namespace.
///
/// # Errors
/// `ENODEV` for an interface that `index` does not know, `EINVAL` for a change that is no message (a sysctl).
pub(in crate::fabric) fn change(
    change: &Change,
    index: impl Fn(&IfName) -> Option<u32>,
    peer: Option<RawFd>,
) -> Result<Request, KernelReason> {
    let known = |dev: &IfName| {
        index(dev)
            .ok_or_else(|| KernelReason { errno: Errno::ENODEV as i32, text: Some(format!("there is no link {dev}")) })
    };
    Ok(match change {
        Change::Sysctl(_) => return Err(KernelReason::errno(Errno::EINVAL)),
        Change::AddBridge(link) => {
            let data = vec![InfoBridge::StpState(BridgeStpState::Disabled), InfoBridge::MulticastSnooping(false)];
            new_link(link, InfoKind::Bridge, InfoData::Bridge(data))
        }
        Change::AddVeth { link, peer: other, .. } => {
            let mut message = link_message(other);
            message.attributes.extend(peer.map(LinkAttribute::NetNsFd));
            new_link(link, InfoKind::Veth, InfoData::Veth(InfoVeth::Peer(message)))
        }
        Change::AddVxlan { link, vni, port, local, parent } => {
            let data = vec![
                InfoVxlan::Id(*vni),
                InfoVxlan::Link(known(parent)?),
                InfoVxlan::Local(*local),
                InfoVxlan::Port(*port),
                InfoVxlan::Learning(false),
            ];
            new_link(link, InfoKind::Vxlan, InfoData::Vxlan(data))
        }
        // As the kernel makes its own: no ends, TTL and DF of the packet inside. If nothing were said, DF would always be set.
        Change::AddIpip(link) => {
            let data = vec![InfoIpTunnel::Protocol(IpProtocol::from(0_u8)), InfoIpTunnel::PMtuDisc(false)];
            new_link(link, InfoKind::IpIp, InfoData::IpTunnel(data))
        }
        Change::SetMaster { dev, master } => {
            let master = known(master)?;
            set_link(known(dev)?, |message| message.attributes.push(LinkAttribute::Controller(master)))
        }
        Change::SetLink { dev, up } => set_up(known(dev)?, *up),
        Change::SetMtu { dev, mtu } => {
            set_link(known(dev)?, |message| message.attributes.push(LinkAttribute::Mtu(*mtu)))
        }
        Change::AddAddress { dev, address } => {
            let mut message = AddressMessage::default();
            message.header.family = family(address.addr());
            message.header.prefix_len = address.prefix_len();
            message.header.index = known(dev)?;
            message.attributes =
                vec![AddressAttribute::Local(address.addr()), AddressAttribute::Address(address.addr())];
            if address.addr().is_ipv6() {
                // Duplicate address detection would keep the address from being bound to for a second.
                message.header.flags = AddressHeaderFlags::Nodad;
                message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            }
            (NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewAddress(message))
        }
        Change::AddNeighbour(entry) => (NLM_F_CREATE | NLM_F_REPLACE, neighbour(entry, known(&entry.dev)?)),
        Change::AddFdb(entry) => (NLM_F_CREATE | NLM_F_REPLACE, fdb_entry(entry, known(&entry.dev)?)),
        Change::AddRoute(route) => {
            (NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewRoute(self::route(route, known)?))
        }
        Change::RemoveRoute(route) => (0, remove_route(route, known)?),
    })
}

/// Which interface index a change needs before it can be encoded; `false` for what names no existing link.
pub(super) fn needs_index(change: &Change) -> bool {
    !matches!(change, Change::Sysctl(_) | Change::AddBridge(_) | Change::AddVeth { .. } | Change::AddIpip(_))
}

/// A request for every link, without statistics.
pub(in crate::fabric) fn get_links() -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// A request for every link with what it counted.
pub(in crate::fabric) fn get_links_with_statistics() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(LinkMessage::default())
}

/// A request for the link `index`.
pub(in crate::fabric) fn get_link(index: u32) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    RouteNetlinkMessage::GetLink(message)
}

/// Gives the link `index` an alias.
pub(in crate::fabric) fn set_alias(index: u32, alias: &str) -> Request {
    set_link(index, |message| message.attributes.push(LinkAttribute::IfAlias(alias.into())))
}

/// A request for every address.
pub(in crate::fabric) fn get_addresses() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

/// A request for the routes of `family` in table main, of every type: the builder's default type would hide blackholes.
pub(in crate::fabric) fn get_routes(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    RouteNetlinkMessage::GetRoute(message)
}

/// A request for the neighbours of `family`: `Unspec` for all, `Bridge` for forwarding entries.
pub(in crate::fabric) fn get_neighbours(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetNeighbour(message)
}

/// Lets the namespace of the socket know that of `fd` by the number `id`.
pub(super) fn new_nsid(id: i32, fd: RawFd) -> Request {
    let mut message = NsidMessage::default();
    message.attributes = vec![NsidAttribute::Id(id), NsidAttribute::Fd(fd.cast_unsigned())];
    (0, RouteNetlinkMessage::NewNsId(message))
}

/// A request for every namespace that the socket's own knows by number.
pub(super) fn get_nsids() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetNsId(NsidMessage::default())
}

/// The message of `route`, in table main.
///
/// # Errors
/// What `known` returns for an interface that does not exist.
pub(in crate::fabric) fn route(
    route: &Route,
    known: impl Fn(&IfName) -> Result<u32, KernelReason>,
) -> Result<RouteMessage, KernelReason> {
    let mut message = RouteMessage::default();
    let header = &mut message.header;
    header.address_family = family(route.dst.addr());
    header.destination_prefix_length = route.dst.prefix_len();
    header.table = RouteHeader::RT_TABLE_MAIN;
    header.protocol = route.proto.0.into();
    header.scope = match route.scope {
        Scope::Global => RouteScope::Universe,
        Scope::Link => RouteScope::Link,
        Scope::Host => RouteScope::Host,
    };
    header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    };
    if route.onlink && route.nexthops.is_empty() {
        header.flags = RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    if route.dst.prefix_len() > 0 {
        attributes.push(RouteAttribute::Destination(route.dst.addr().into()));
    }
    attributes.extend(route.via.map(|via| gateway(route.dst.addr(), via)));
    if let Some(dev) = &route.dev {
        attributes.push(RouteAttribute::Oif(known(dev)?));
    }
    attributes.extend(route.src.map(|src| RouteAttribute::PrefSource(src.into())));
    if route.metric != 0 {
        attributes.push(RouteAttribute::Priority(route.metric));
    }
    attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    if !route.nexthops.is_empty() {
        let hops = route.nexthops.iter().map(|hop| {
            let mut next = RouteNextHop::default();
            // `ip` shows the kernel's value plus one.
            next.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
            if route.onlink {
                next.flags = RouteNextHopFlags::Onlink;
            }
            next.interface_index = hop.dev.as_ref().map_or(Ok(0), &known)?;
            next.attributes.extend(hop.via.map(|via| gateway(route.dst.addr(), via)));
            Ok(next)
        });
        attributes.push(RouteAttribute::MultiPath(hops.collect::<Result<_, KernelReason>>()?));
    }
    Ok(message)
}

/// The removal of exactly `route`: same destination, metric, protocol, type and way out.
///
/// # Errors
/// What `known` returns for an interface that does not exist.
pub(in crate::fabric) fn remove_route(
    route: &Route,
    known: impl Fn(&IfName) -> Result<u32, KernelReason>,
) -> Result<RouteNetlinkMessage, KernelReason> {
    let mut message = self::route(route, known)?;
    // The preferred source need not match, nor the scope, which the kernel may have chosen.
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::PrefSource(_)));
    message.header.scope = RouteScope::NoWhere;
    Ok(RouteNetlinkMessage::DelRoute(message))
}

/// The removal of whatever route of protocol `proto` has this destination and metric.
pub(in crate::fabric) fn remove_any_route(route: &Route, proto: RouteProtocol) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.dst.addr());
    message.header.destination_prefix_length = route.dst.prefix_len();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = proto.0.into();
    message.header.scope = RouteScope::NoWhere;
    if route.dst.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(route.dst.addr().into()));
    }
    if route.metric != 0 {
        message.attributes.push(RouteAttribute::Priority(route.metric));
    }
    RouteNetlinkMessage::DelRoute(message)
}

fn gateway(dst: IpAddr, via: IpAddr) -> RouteAttribute {
    match (dst, via) {
        (IpAddr::V4(_), IpAddr::V6(via)) => RouteAttribute::Via(RouteVia::Inet6(via)),
        (_, via) => RouteAttribute::Gateway(RouteAddress::from(via)),
    }
}

/// A VXLAN device without a parent: to see whether the kernel has them.
pub(in crate::fabric) fn new_vxlan(link: &NewLink) -> Request {
    new_link(link, InfoKind::Vxlan, InfoData::Vxlan(vec![InfoVxlan::Id(4096)]))
}

fn new_link(link: &NewLink, kind: InfoKind, data: InfoData) -> Request {
    let mut message = link_message(link);
    message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)]));
    (NLM_F_CREATE | NLM_F_EXCL, RouteNetlinkMessage::NewLink(message))
}

fn link_message(link: &NewLink) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(link.name.as_str().into()), LinkAttribute::Mtu(link.mtu)];
    message.attributes.extend(link.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    message
}

fn set_up(index: u32, up: bool) -> Request {
    set_link(index, |message| {
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
    })
}

/// RTM_NEWLINK without NLM_F_CREATE changes a link; RTM_SETLINK is meant for bridge VLANs.
fn set_link(index: u32, fill: impl FnOnce(&mut LinkMessage)) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    fill(&mut message);
    (0, RouteNetlinkMessage::NewLink(message))
}

fn neighbour(entry: &NeighbourPlan, index: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(entry.dst);
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    let dst = match entry.dst {
        IpAddr::V4(dst) => NeighbourAddress::Inet(dst),
        IpAddr::V6(dst) => NeighbourAddress::Inet6(dst),
    };
    message.attributes =
        vec![NeighbourAttribute::Destination(dst), NeighbourAttribute::LinkLayerAddress(entry.lladdr.0.to_vec())];
    RouteNetlinkMessage::NewNeighbour(message)
}

fn fdb_entry(entry: &FdbPlan, index: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![
        NeighbourAttribute::LinkLayerAddress(entry.mac.0.to_vec()),
        NeighbourAttribute::Destination(NeighbourAddress::Inet(entry.dst)),
    ];
    RouteNetlinkMessage::NewNeighbour(message)
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}
