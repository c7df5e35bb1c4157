//! `[[BGPPeer]]` (calico-behaviour 7.3, 7.10).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::bgp;
use super::names::is_dns_name;
use super::nodes::{Nodes, plain_address};
use super::routers::Routers;
use super::selectors;
use crate::net::{Asn, NextHopMode};
use crate::topology::error::Faults;
use crate::topology::model::{BgpFilter, BgpPeer, NodeId, PeerAddress, PeerNextHop, PeeringNodes, Span};
use crate::topology::raw::{At, RawBgpPeer, RawNextHopMode, RawReversePeering, RawSourceAddress};
use crate::topology::shape::Holes;
use crate::topology::spelling::closest;

/// What peers are checked against.
pub(super) struct Context<'a> {
    pub(super) nodes: &'a Nodes,
    pub(super) routers: &'a Routers,
    pub(super) filters: &'a [BgpFilter],
    /// The BGPConfiguration's.
    pub(super) default_as: Asn,
}

/// Resolves and checks the BGPPeers.
pub(super) fn resolve(
    raw: Vec<At<RawBgpPeer>>,
    context: &Context<'_>,
    holes: &Holes,
    faults: &mut Faults<'_>,
) -> Vec<BgpPeer> {
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut peers = Vec::new();
    for peer in raw {
        let (name, span) = (peer.name.as_str().to_owned(), peer.name.span());
        if !is_dns_name(&name) || name.len() > 253 {
            let help = "write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
            faults.add("invalid-name", span.clone(), format!("`{name}` is no name for a BGPPeer"), "not a name", help);
        }
        if let Some(at) = names.insert(name.clone(), span.clone()) {
            let message = format!("`{name}` is already the name of a BGPPeer (line {})", faults.line(&at));
            faults.add("duplicate-name", span, message, "taken", "give it another name");
        }
        peers.extend(resolved(peer.into_inner(), context, holes, faults));
    }
    peers
}

fn resolved(raw: RawBgpPeer, context: &Context<'_>, holes: &Holes, faults: &mut Faults<'_>) -> Option<BgpPeer> {
    let RawBgpPeer {
        name,
        node,
        node_selector,
        peer_ip,
        peer_selector,
        as_number,
        num_allowed_local_as_numbers,
        local_as_number,
        source_address,
        next_hop_mode,
        keep_original_next_hop,
        password,
        password_file,
        max_restart_time,
        keepalive_time,
        ttl_security,
        reachable_by,
        filters,
        reverse_peering,
        expect,
    } = raw;
    let Context { nodes, routers, .. } = context;
    let (span, name) = (name.span(), name.into_inner());
    let own = peering_nodes(node, node_selector, nodes, faults);
    let other = peer_address(&name, &span, peer_ip, peer_selector, as_number, context.default_as, faults);
    let everybody = nodes.all_addresses && routers.all_addresses;
    if let Some(PeerAddress::Ip { address, .. }) = &other
        && everybody
        && nodes.owners.of(*address).is_none()
    {
        let message = format!("the BGPPeer `{name}` names {address}, which nobody has");
        let help = "write an address of a `[[router]]`, or the first address of a `[[node]]`";
        faults.add("unknown-peer", span.clone(), message, "no such address", help);
    }
    if let (Some(PeerAddress::Nodes(_)), Some(at)) = (&other, &reachable_by) {
        let message = "`reachableBy` needs `peerIP`";
        faults.add("reachable-by-without-ip", at.span(), message, "reached whom?", "remove it, or write `peerIP`");
    }
    let next_hop = match (next_hop_mode, keep_original_next_hop) {
        (Some(_), Some(keep)) => {
            let message = "`keepOriginalNextHop` and `nextHopMode` exclude each other";
            faults.add("next-hop-twice", keep.span(), message, "and `nextHopMode`", "remove it: it is deprecated");
            PeerNextHop::Auto
        }
        (Some(mode), None) => PeerNextHop::Mode(match *mode {
            RawNextHopMode::Auto => NextHopMode::Auto,
            RawNextHopMode::Own => NextHopMode::Own,
            RawNextHopMode::Keep => NextHopMode::Keep,
        }),
        (None, Some(keep)) if *keep => PeerNextHop::KeepExternal,
        (None, _) => PeerNextHop::Auto,
    };
    let reachable_by = reachable_by.and_then(|text| {
        let gateway = plain_address(&text, "reachableBy", faults)?;
        if everybody && nodes.owners.of(gateway).is_none() {
            let message = format!("`reachableBy` names {gateway}, which nobody has");
            let help = "write the address of a router on the node's segment";
            faults.add("unknown-gateway", text.span(), message, "leads nowhere", help);
        }
        Some(gateway)
    });
    let mut chosen = Vec::new();
    for text in filters.map(At::into_inner).unwrap_or_default() {
        match context.filters.iter().position(|filter| filter.name == *text) {
            Some(index) => chosen.push(index),
            // Calico skips it; in a lab it is a slip.
            None if !holes.lost("BGPFilter") => {
                let known = context.filters.iter().map(|filter| filter.name.as_str());
                let help = match closest(&text, known) {
                    Some(guess) => format!("did you mean `{guess}`?"),
                    None => "write the `name` of a `[[BGPFilter]]`".to_owned(),
                };
                let message = format!("there is no BGPFilter `{}`", text.as_str());
                faults.add("unknown-filter", text.span(), message, "no such filter", help);
            }
            None => {}
        }
    }
    Some(BgpPeer {
        // `shape` keeps numbers in their ranges.
        num_allowed_local_as_numbers: num_allowed_local_as_numbers.and_then(|n| u32::try_from(*n).ok()).unwrap_or(0),
        local_as_number: local_as_number.and_then(|asn| super::as_number(&asn, faults)),
        use_node_ip: source_address.is_none_or(|source| *source == RawSourceAddress::UseNodeIP),
        next_hop,
        password: bgp::password(password, password_file, faults),
        max_restart_time: max_restart_time.and_then(|text| bgp::seconds(&text, faults)),
        keepalive_time: keepalive_time.and_then(|text| bgp::seconds(&text, faults)),
        ttl_security: ttl_security.and_then(|hops| u8::try_from(*hops).ok()).filter(|hops| *hops > 0),
        reachable_by,
        filters: chosen,
        reverse: reverse_peering.is_none_or(|reverse| *reverse == RawReversePeering::Auto),
        expected_down: expect.is_some(),
        name,
        nodes: own?,
        peer: other?,
        span,
    })
}

fn peering_nodes(
    node: Option<At<String>>,
    selector: Option<At<String>>,
    nodes: &Nodes,
    faults: &mut Faults<'_>,
) -> Option<PeeringNodes> {
    match (node, selector) {
        (None, None) => Some(PeeringNodes::Global),
        (None, Some(selector)) => selectors::parse(&selector, "nodeSelector", faults).map(PeeringNodes::Selected),
        (Some(_), Some(selector)) => {
            let message = "`node` and `nodeSelector` exclude each other";
            faults.add("node-twice", selector.span(), message, "and `node`", "remove one of the two");
            None
        }
        (Some(node), None) => {
            let known = nodes.by_name.get(node.as_str()).copied().map(NodeId);
            if known.is_none() && nodes.complete {
                let help = match closest(&node, nodes.list.iter().map(|node| node.name.as_str())) {
                    Some(guess) => format!("did you mean `{guess}`?"),
                    None => "write the `name` of a `[[node]]`".to_owned(),
                };
                let message = format!("`{}` is no node", node.as_str());
                faults.add("unknown-node", node.span(), message, "no such node", help);
            }
            known.map(PeeringNodes::One)
        }
    }
}

fn peer_address(
    name: &str,
    span: &Span,
    ip: Option<At<String>>,
    selector: Option<At<String>>,
    as_number: Option<At<crate::topology::raw::RawAsNumber>>,
    default_as: Asn,
    faults: &mut Faults<'_>,
) -> Option<PeerAddress> {
    match (ip, selector) {
        (None, None) => {
            let message = format!("the BGPPeer `{name}` has neither `peerIP` nor `peerSelector`");
            let help = "write `peerIP = \"10.0.1.1\"`, or `peerSelector =` with a selector of nodes";
            faults.add("no-peer", span.clone(), message, "peers with whom?", help);
            None
        }
        (Some(_), Some(selector)) => {
            let message = "`peerIP` and `peerSelector` exclude each other";
            faults.add("peer-twice", selector.span(), message, "and `peerIP`", "remove one of the two");
            None
        }
        (None, Some(selector)) => {
            if let Some(asn) = as_number {
                let message = "`asNumber` and `peerSelector` exclude each other: each selected node has its own";
                faults.add("as-with-selector", asn.span(), message, "not with `peerSelector`", "remove it");
            }
            selectors::parse(&selector, "peerSelector", faults).map(PeerAddress::Nodes)
        }
        (Some(ip), None) => {
            let as_number = as_number.map_or(Some(default_as), |asn| super::as_number(&asn, faults));
            let with_port = ip.parse::<SocketAddrV4>().map(|socket| (*socket.ip(), Some(socket.port())));
            let parsed = with_port.or_else(|_| ip.parse::<Ipv4Addr>().map(|address| (address, None)));
            let Some((address, port)) = parsed.ok().filter(|(_, port)| *port != Some(0)) else {
                let message = format!("`{}` is no peer's IPv4 address", ip.as_str());
                let help = "write `peerIP = \"10.0.1.1\"`, or with a port: `\"10.0.1.1:179\"`";
                faults.add("invalid-address", ip.span(), message, "not an address", help);
                return None;
            };
            Some(PeerAddress::Ip { address, port, as_number: as_number? })
        }
    }
}
