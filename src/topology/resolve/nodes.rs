//! `[[node]]`: expands `count`, checks each address by itself and against the others.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::bgp;
use super::names::Names;
use crate::net::{Asn, BgpIdentifier, ExternalSpeaker, PrefixAdvertisement};
use crate::topology::error::Faults;
use crate::topology::model::Span;
use crate::topology::raw::{At, MAX_COUNT, RawNode};
use crate::topology::shape::Holes;

/// The nodes of the file, as far as they are sound.
pub(super) struct Nodes {
    /// In file order, `count` expanded.
    pub(super) list: Vec<DraftNode>,
    /// Names to indices of `list`.
    pub(super) by_name: HashMap<String, usize>,
    /// Whether these are all: a node that could not be read may be the one that a pod names.
    pub(super) complete: bool,
    /// Whether every address of every node is among them.
    pub(super) all_addresses: bool,
    /// Who has an address, and where that is said; routers add theirs.
    pub(super) owners: Owners,
}

/// Addresses with the name of the node or router that has them, and where that is said.
#[derive(Default)]
pub(super) struct Owners(HashMap<Ipv4Addr, (String, Span)>);

impl Owners {
    /// Notes the addresses of `name`; one that is taken is a fault.
    pub(super) fn claim(&mut self, name: &str, addresses: &[Located<Ipv4Net>], faults: &mut Faults<'_>) {
        for Located { value, span } in addresses {
            if let Some((owner, at)) = self.0.get(&value.addr()) {
                let (address, line) = (value.addr(), faults.line(at));
                let message = format!("{address} is already the address of `{owner}` (line {line})");
                let help = format!("give `{name}` another address");
                faults.add("duplicate-address", span.clone(), message, "taken", help);
            } else {
                self.0.insert(value.addr(), (name.to_owned(), span.clone()));
            }
        }
    }

    /// Who has `address`.
    pub(super) fn of(&self, address: Ipv4Addr) -> Option<&str> {
        self.0.get(&address).map(|(name, _)| name.as_str())
    }
}

/// A node whose segments are yet to be found.
pub(super) struct DraftNode {
    pub(super) name: String,
    pub(super) addresses: Vec<Located<Ipv4Net>>,
    pub(super) gateway: Option<Located<Ipv4Addr>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) as_number: Option<Asn>,
    pub(super) cluster_id: Option<BgpIdentifier>,
    pub(super) listen_port: Option<u16>,
    pub(super) prefix_advertisements: Option<Vec<PrefixAdvertisement>>,
    pub(super) speaker: Option<ExternalSpeaker>,
    pub(super) pods: usize,
    /// Where `pods` is said, else as `span`.
    pub(super) pods_span: Span,
    pub(super) span: Span,
}

/// A parsed value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// Expands and checks the nodes; `without_nodes` says whether the topology makes sense if there are none.
pub(super) fn expand(
    raw: Vec<At<RawNode>>,
    without_nodes: bool,
    holes: &Holes,
    names: &mut Names,
    faults: &mut Faults<'_>,
) -> Nodes {
    let complete = !holes.lost("node");
    let mut nodes = Nodes {
        list: Vec::new(),
        by_name: HashMap::new(),
        complete,
        all_addresses: complete,
        owners: Owners::default(),
    };
    if raw.is_empty() && nodes.complete && !without_nodes {
        let help = "write `[[node]]` with `name = \"node1\"` and `address = \"10.0.1.11/24\"`";
        faults.add("no-node", 0..0, "the topology has neither a node nor a router", "no `[[node]]`", help);
    }
    for node in raw {
        let incomplete = holes.in_table(&node.span());
        nodes.all_addresses &= !incomplete;
        for draft in drafts(node.into_inner(), incomplete, &mut nodes, faults) {
            if nodes.list.len() == MAX_COUNT {
                let help = format!("leave it at {MAX_COUNT} nodes");
                faults.add(
                    "too-many-nodes",
                    draft.span,
                    "the lab has too many nodes",
                    "more than one host holds",
                    help,
                );
                nodes.complete = false;
                return nodes;
            }
            nodes.owners.claim(&draft.name, &draft.addresses, faults);
            if names.claim("node", &draft.name, &draft.span, faults) {
                nodes.by_name.insert(draft.name.clone(), nodes.list.len());
                nodes.list.push(draft);
            } else {
                nodes.all_addresses = false;
            }
        }
    }
    nodes
}

/// The nodes of one `[[node]]`; none if its name or count makes no sense.
fn drafts(raw: RawNode, incomplete: bool, nodes: &mut Nodes, faults: &mut Faults<'_>) -> Vec<DraftNode> {
    let RawNode {
        name,
        count,
        address,
        addresses,
        gateway,
        labels,
        as_number,
        route_reflector_cluster_id,
        listen_port,
        prefix_advertisements,
        speaker,
        pods,
    } = raw;
    let span = name.span();
    let template = name.contains("{}");
    let total = match &count {
        // `shape` keeps it between 1 and MAX_COUNT.
        Some(count) => usize::try_from(**count).unwrap_or(1),
        None => 1,
    };
    match (&count, template) {
        (Some(_), true) | (None, false) => {}
        (Some(count), false) => {
            let message = format!("`count` would make {} nodes called `{}`", **count, name.as_str());
            let help = format!("write `name = \"{}-{{}}\"`: `{{}}` stands for 1, 2, …", name.as_str());
            faults.add("count-without-placeholder", span.clone(), message, "has no `{}`", help);
            nodes.complete = false;
        }
        (None, true) => {
            nodes.complete = false;
            if !incomplete {
                let message = format!("`{}` has a `{{}}`, and the node no `count`", name.as_str());
                let help = "write `count = 2`, or a name without `{}`";
                faults.add("placeholder-without-count", span.clone(), message, "`{}` stands for 1 to `count`", help);
            }
        }
    }

    let (listed, list_span) = match (address, addresses) {
        (Some(address), Some(addresses)) => {
            let message = "`address` and `addresses` exclude each other";
            let help = "put all of them into `addresses`, the BGP address first, and remove `address`";
            faults.add("address-twice", address.span(), message, "and `addresses`", help);
            (addresses.into_inner(), span.clone())
        }
        (Some(address), None) => (vec![address], span.clone()),
        (None, Some(addresses)) => {
            let at = addresses.span();
            (addresses.into_inner(), at)
        }
        (None, None) => (Vec::new(), span.clone()),
    };
    if listed.is_empty() && !incomplete {
        let message = format!("the node `{}` has no address", name.as_str());
        faults.add("no-address", list_span, message, "no address", "write `address = \"10.0.1.11/24\"`");
    }
    let first: Vec<Located<Ipv4Net>> = listed
        .iter()
        .filter_map(|text| {
            let value = interface_address(text, faults)?;
            fits(value, total, &text.span(), faults).then(|| Located { value, span: text.span() })
        })
        .collect();
    nodes.all_addresses &= nodes.complete && !first.is_empty() && first.len() == listed.len();
    let gateway = gateway.and_then(|text| {
        let value = plain_address(&text, "gateway", faults)?;
        Some(Located { value, span: text.span() })
    });
    let labels = super::labels(labels, faults);
    let as_number = as_number.and_then(|asn| super::as_number(&asn, faults));
    let cluster_id = route_reflector_cluster_id
        .and_then(|text| plain_address(&text, "routeReflectorClusterID", faults))
        .map(BgpIdentifier);
    let listen_port = bgp::port(listen_port);
    let advertisements = bgp::advertisements(prefix_advertisements, &BTreeMap::new(), faults);
    let pods_span = pods.as_ref().map_or_else(|| span.clone(), At::span);
    // `shape` keeps it between 0 and MAX_COUNT.
    let pods = pods.map_or(0, |pods| usize::try_from(*pods).unwrap_or(0));

    let total = if template == count.is_some() { total } else { 0 };
    (0..total)
        .map(|index| DraftNode {
            name: match template {
                true => name.replace("{}", &(index + 1).to_string()),
                false => name.as_str().to_owned(),
            },
            addresses: first
                .iter()
                .map(|Located { value, span }| Located { value: nth(*value, index), span: span.clone() })
                .collect(),
            gateway: gateway.clone(),
            labels: labels.clone(),
            as_number,
            cluster_id,
            listen_port,
            prefix_advertisements: advertisements.clone(),
            speaker: speaker.as_deref().copied(),
            pods,
            pods_span: pods_span.clone(),
            span: span.clone(),
        })
        .collect()
}

/// `10.0.1.11/24`: a host's address with its mask.
pub(super) fn interface_address(text: &At<String>, faults: &mut Faults<'_>) -> Option<Ipv4Net> {
    let (span, written) = (text.span(), text.as_str());
    if written.parse::<Ipv4Addr>().is_ok() {
        let message = format!("`{written}` has no mask");
        faults.add("no-mask", span, message, "which subnet is it in?", format!("write `\"{written}/24\"`"));
        return None;
    }
    let Ok(net) = written.parse::<Ipv4Net>() else {
        let message = format!("`{written}` is not an IPv4 address with its mask");
        faults.add("invalid-address", span, message, "not an address", "write `\"10.0.1.11/24\"`, say");
        return None;
    };
    if matches!(net.prefix_len(), 0 | 32) {
        let message = format!("`{written}` leaves no subnet: a mask is /1 to /31 long");
        let help = format!("write `\"{}/24\"`, say", net.addr());
        faults.add("invalid-mask", span, message, "no room for a neighbour", help);
        return None;
    }
    if let Some(kind) = unusable(net.addr()) {
        let message = format!("{} is {kind}: no interface can have it", net.addr());
        faults.add("unusable-address", span, message, kind, "write `\"10.0.1.11/24\"`, say");
        return None;
    }
    if !is_host(net.addr(), net) {
        let kind = if net.addr() == net.network() { "the network address" } else { "the broadcast address" };
        let message = format!("{} is {kind} of {}", net.addr(), net.trunc());
        let (first, last) = hosts(net);
        let help = format!("write an address from {first} to {last}, with /{}", net.prefix_len());
        faults.add("not-a-host-address", span, message, kind, help);
        return None;
    }
    Some(net)
}

/// `10.0.1.1`: an address without a mask, for the key `key`.
pub(super) fn plain_address(text: &At<String>, key: &str, faults: &mut Faults<'_>) -> Option<Ipv4Addr> {
    let written = text.as_str();
    written.parse().ok().or_else(|| {
        let message = format!("`{written}` is not an IPv4 address");
        let help = match written.parse::<Ipv4Net>() {
            Ok(net) => format!("write `{key} = \"{}\"`, without the mask", net.addr()),
            Err(_) => format!("write an address, `{key} = \"10.0.1.1\"` say"),
        };
        faults.add("invalid-address", text.span(), message, "not an address", help);
        None
    })
}

/// Whether `count` consecutive addresses from `first` on are hosts of its subnet.
fn fits(first: Ipv4Net, count: usize, span: &Span, faults: &mut Faults<'_>) -> bool {
    let (_, last) = hosts(first);
    let room = (u32::from(last) - u32::from(first.addr())) as usize + 1;
    if count > room {
        let message =
            format!("{count} consecutive addresses from {} on do not fit into {}", first.addr(), first.trunc());
        let help = format!("write `count = {room}` or less, a lower first address, or a shorter mask");
        faults.add("subnet-exhausted", span.clone(), message, format!("{room} left, up to {last}"), help);
    }
    count <= room
}

fn nth(first: Ipv4Net, index: usize) -> Ipv4Net {
    let address = u32::from(first.addr()).saturating_add(u32::try_from(index).unwrap_or(u32::MAX));
    Ipv4Net::new(address.into(), first.prefix_len()).unwrap_or(first)
}

/// The first and the last address of `net`'s subnet that a host can have; both of a /31's (RFC 3021).
pub(super) fn hosts(net: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let (network, broadcast) = (u32::from(net.network()), u32::from(net.broadcast()));
    match net.prefix_len() {
        31 | 32 => (network.into(), broadcast.into()),
        _ => ((network + 1).into(), (broadcast - 1).into()),
    }
}

/// Whether a host in `net`'s subnet can have `address`.
pub(super) fn is_host(address: Ipv4Addr, net: Ipv4Net) -> bool {
    let (first, last) = hosts(net);
    (first..=last).contains(&address)
}

/// Why no interface can have `address`.
fn unusable(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets()[0] {
        0 => Some("in 0.0.0.0/8, this network (RFC 791)"),
        127 => Some("a loopback address"),
        224..=239 => Some("a multicast address"),
        240..=255 => Some("in 240.0.0.0/4, reserved"),
        _ => address.is_link_local().then_some("in 169.254.0.0/16, which Calico needs for the pods' gateway"),
    }
}
