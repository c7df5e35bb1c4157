//! `[[router]]`: addresses, static routes, what it originates and whom it peers with.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::bgp;
use super::names::Names;
use super::nodes::{Located, Nodes, interface_address, plain_address};
use super::segments::network;
use super::selectors;
use crate::net::{Asn, ExternalSpeaker, Route};
use crate::topology::error::Faults;
use crate::topology::model::{RouterPeer, RouterPeers, Span};
use crate::topology::raw::{At, RawRouter, RawRouterPeer};
use crate::topology::shape::Holes;

/// The routers of the file, as far as they are sound.
pub(super) struct Routers {
    /// In file order.
    pub(super) list: Vec<DraftRouter>,
    /// Whether every address of every router is among them.
    pub(super) all_addresses: bool,
}

/// A router whose segments are yet to be found.
pub(super) struct DraftRouter {
    pub(super) name: String,
    pub(super) addresses: Vec<Located<Ipv4Net>>,
    pub(super) routes: Vec<(Ipv4Net, Ipv4Addr)>,
    pub(super) as_number: Option<Asn>,
    pub(super) peers: Vec<RouterPeer>,
    pub(super) networks: Vec<Ipv4Net>,
    pub(super) transit: bool,
    pub(super) speaker: Option<ExternalSpeaker>,
    pub(super) span: Span,
}

/// Resolves the routers; their addresses join those of `nodes`.
pub(super) fn resolve(
    raw: Vec<At<RawRouter>>,
    holes: &Holes,
    nodes: &mut Nodes,
    names: &mut Names,
    faults: &mut Faults<'_>,
) -> Routers {
    let mut routers = Routers { list: Vec::new(), all_addresses: !holes.lost("router") };
    for router in raw {
        let incomplete = holes.in_table(&router.span());
        let written = router.addresses.len();
        let router = draft(router.into_inner(), incomplete, faults);
        routers.all_addresses &= !incomplete && router.addresses.len() == written;
        nodes.owners.claim(&router.name, &router.addresses, faults);
        if names.claim("router", &router.name, &router.span, faults) {
            routers.list.push(router);
        } else {
            routers.all_addresses = false;
        }
    }
    routers
}

fn draft(raw: RawRouter, incomplete: bool, faults: &mut Faults<'_>) -> DraftRouter {
    let RawRouter { name, addresses: written, as_number, peers, networks, transit, speaker, routes } = raw;
    let (span, name) = (name.span(), name.into_inner());
    if written.is_empty() && !incomplete {
        let message = format!("the router `{name}` has no address");
        faults.add("no-address", written.span(), message, "no address", "write `addresses = [\"10.0.1.1/24\"]`");
    }
    let addresses: Vec<Located<Ipv4Net>> = written
        .iter()
        .filter_map(|text| Some(Located { value: interface_address(text, faults)?, span: text.span() }))
        .collect();
    let speaks = as_number.is_some();
    let as_number = as_number.and_then(|asn| super::as_number(&asn, faults));
    let silent = peers.first().map(At::span).or_else(|| networks.as_ref().map(At::span));
    let silent = silent.or_else(|| speaker.as_ref().map(At::span)).or_else(|| transit.as_ref().map(At::span));
    if let Some(at) = silent.filter(|_| !speaks && !incomplete) {
        let message = format!("the router `{name}` has no `asNumber`, and without one it speaks no BGP");
        faults.add("router-without-as", at, message, "needs BGP", "write `asNumber = 65001`, say");
    }
    let peers = peers.into_iter().filter_map(|peer| router_peer(peer, &name, &addresses, faults)).collect();
    let mut originated: Vec<Ipv4Net> = Vec::new();
    for text in networks.map(At::into_inner).unwrap_or_default() {
        let Some(net) = network(&text, "networks", faults) else { continue };
        if originated.contains(&net) {
            faults.add(
                "duplicate-network",
                text.span(),
                format!("{net} stands twice in `networks`"),
                "again",
                "remove it",
            );
            continue;
        }
        originated.push(net);
    }
    let mut statics: Vec<(Ipv4Net, Ipv4Addr)> = Vec::new();
    for text in routes.map(At::into_inner).unwrap_or_default() {
        let Some((dst, via)) = static_route(&text, &name, &addresses, faults) else { continue };
        if statics.iter().any(|(other, _)| *other == dst) {
            faults.add(
                "duplicate-route",
                text.span(),
                format!("`{name}` has a route to {dst} already"),
                "again",
                "keep one",
            );
            continue;
        }
        statics.push((dst, via));
    }
    let speaker = speaker.map(At::into_inner);
    let able = speaker.is_none_or(ExternalSpeaker::passes_on);
    if let (Some(speaker), Some(at)) = (speaker, transit.as_ref().filter(|transit| ***transit && !able)) {
        let message = format!("{speaker} passes nothing on, and `{name}` is to");
        faults.add("no-transit", at.span(), message, "it cannot", "write `transit = false`, or another `speaker`");
    }
    let transit = able && transit.is_none_or(At::into_inner);
    DraftRouter { name, addresses, routes: statics, as_number, peers, networks: originated, transit, speaker, span }
}

fn router_peer(
    raw: At<RawRouterPeer>,
    router: &str,
    addresses: &[Located<Ipv4Net>],
    faults: &mut Faults<'_>,
) -> Option<RouterPeer> {
    let span = raw.span();
    let RawRouterPeer { ip, as_number, nodes, password, password_file, ttl_security } = raw.into_inner();
    let password = bgp::password(password, password_file, faults);
    // `shape` keeps it between 1 and 255.
    let ttl_security = ttl_security.and_then(|hops| u8::try_from(*hops).ok());
    let who = match (ip, as_number, nodes) {
        (Some(ip), Some(asn), None) => {
            let asn = super::as_number(&asn, faults);
            let address = plain_address(&ip, "ip", faults)?;
            if addresses.iter().any(|own| own.value.addr() == address) {
                let message = format!("{address} is an address of `{router}` itself");
                faults.add("peer-is-self", ip.span(), message, "its own", "write the address of somebody else");
                return None;
            }
            RouterPeers::Address(address, asn?)
        }
        (None, None, Some(selector)) => RouterPeers::Nodes(selectors::parse(&selector, "nodes", faults)?),
        _ => {
            let message = format!("a peer of `{router}` is an address with its AS number, or a selector of nodes");
            let help = "write `{ ip = \"10.0.12.2\", asNumber = 65002 }` or `{ nodes = \"rack == 'rack1'\" }`";
            faults.add("invalid-peer", span, message, "neither of the two", help);
            return None;
        }
    };
    Some(RouterPeer { who, password, ttl_security, span })
}

/// `0.0.0.0/0 via 10.0.12.2`, with the gateway on one of the router's segments.
fn static_route(
    text: &At<String>,
    router: &str,
    addresses: &[Located<Ipv4Net>],
    faults: &mut Faults<'_>,
) -> Option<(Ipv4Net, Ipv4Addr)> {
    let written = text.as_str();
    let parsed = written.parse::<Route>().ok().and_then(|route| match (route.dst, route.via) {
        (IpNet::V4(dst), Some(std::net::IpAddr::V4(via))) if route == Route::unicast(dst).via(via) => Some((dst, via)),
        _ => None,
    });
    let Some((dst, via)) = parsed else {
        let message = format!("`{written}` is no static route");
        let help = "write destination and gateway: `10.0.2.0/24 via 10.0.12.2`, or `default via 10.0.12.2`";
        faults.add("invalid-route", text.span(), message, "not a route", help);
        return None;
    };
    let on_link = |address: &&Located<Ipv4Net>| address.value.contains(&via) && address.value.addr() != via;
    if addresses.iter().find(on_link).is_none() {
        let message = format!("the gateway {via} is not on a segment of `{router}`");
        let subnets: Vec<String> = addresses.iter().map(|address| address.value.trunc().to_string()).collect();
        let help = format!("write the address of a neighbour on {}", subnets.join(" or "));
        faults.add("gateway-off-link", text.span(), message, "cannot be reached", help);
        return None;
    }
    Some((dst, via))
}

/// Every peer and every gateway is somebody's address.
pub(super) fn check_addresses(routers: &Routers, nodes: &Nodes, faults: &mut Faults<'_>) {
    if !(nodes.all_addresses && routers.all_addresses) {
        return;
    }
    for router in &routers.list {
        for RouterPeer { who, span, .. } in &router.peers {
            if let RouterPeers::Address(address, _) = who
                && nodes.owners.of(*address).is_none()
            {
                let message = format!("`{}` peers with {address}, which nobody has", router.name);
                let help = "write an address of a router or the first address of a node";
                faults.add("unknown-peer", span.clone(), message, "no such address", help);
            }
        }
        for (dst, via) in &router.routes {
            if nodes.owners.of(*via).is_none() {
                let message = format!("the route of `{}` to {dst} leads to {via}, which nobody has", router.name);
                let help = "write the address of a router on the same segment";
                faults.add("unknown-gateway", router.span.clone(), message, "leads nowhere", help);
            }
        }
    }
}
