//! `[[BGPPeer]]` (calico-behaviour 7.3, 7.10).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::names::is_dns_name;
use super::nodes::Nodes;
use super::routers::Routers;
use super::selectors;
use crate::net::Asn;
use crate::topology::error::Faults;
use crate::topology::model::{BgpPeer, NodeId, PeerAddress, PeeringNodes, Span};
use crate::topology::raw::{At, RawBgpPeer};
use crate::topology::spelling::closest;

/// Resolves and checks the BGPPeers; `default_as` is the BGPConfiguration's.
pub(super) fn resolve(
    raw: Vec<At<RawBgpPeer>>,
    nodes: &Nodes,
    routers: &Routers,
    default_as: Asn,
    faults: &mut Faults<'_>,
) -> Vec<BgpPeer> {
    let mut names: HashMap<String, Span> = HashMap::new();
    let mut peers = Vec::new();
    for peer in raw {
        let RawBgpPeer { name, node, node_selector, peer_ip, peer_selector, as_number, num_allowed_local_as_numbers } =
            peer.into_inner();
        let (span, name) = (name.span(), name.into_inner());
        if !is_dns_name(&name) || name.len() > 253 {
            let help = "write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
            faults.add("invalid-name", span.clone(), format!("`{name}` is no name for a BGPPeer"), "not a name", help);
        }
        if let Some(at) = names.insert(name.clone(), span.clone()) {
            let message = format!("`{name}` is already the name of a BGPPeer (line {})", faults.line(&at));
            faults.add("duplicate-name", span.clone(), message, "taken", "give it another name");
        }
        let own = peering_nodes(node, node_selector, nodes, faults);
        let other = peer_address(&name, &span, peer_ip, peer_selector, as_number, default_as, faults);
        if let Some(PeerAddress::Ip { address, .. }) = &other
            && nodes.all_addresses
            && routers.all_addresses
            && nodes.owners.of(*address).is_none()
        {
            let message = format!("the BGPPeer `{name}` names {address}, which nobody has");
            let help = "write an address of a `[[router]]`, or the first address of a `[[node]]`";
            faults.add("unknown-peer", span.clone(), message, "no such address", help);
        }
        // `shape` keeps it between 0 and 255.
        let allowed = num_allowed_local_as_numbers.and_then(|number| u32::try_from(*number).ok()).unwrap_or(0);
        if let (Some(nodes), Some(peer)) = (own, other) {
            peers.push(BgpPeer { name, nodes, peer, num_allowed_local_as_numbers: allowed, span });
        }
    }
    peers
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
