//! L2 segments: inferred from the addresses of nodes and routers, with the properties that `[[segment]]` gives and their gateways.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::nodes::{DraftNode, Located, Nodes, hosts, is_host};
use super::routers::{DraftRouter, Routers};
use crate::net::IfName;
use crate::topology::error::Faults;
use crate::topology::model::{Interface, Node, Router, Segment, SegmentId, Span};
use crate::topology::raw::{At, RawSegment};

/// MTU of a segment that names none.
const DEFAULT_MTU: u32 = 1500;

/// Most nodes on a segment: a bridge has 1,023 ports, and gateways and routers need some.
const MAX_NODES: usize = 1_000;

/// The segments of the file, as far as they are sound.
pub(super) struct Segments {
    list: Vec<DraftSegment>,
    by_subnet: HashMap<Ipv4Net, usize>,
}

struct DraftSegment {
    subnet: Ipv4Net,
    mtu: u32,
    /// Where it is first mentioned.
    span: Span,
    /// Addresses of nodes and routers on it.
    taken: HashSet<Ipv4Addr>,
    /// How many interfaces are on it.
    interfaces: usize,
    /// The addresses of the routers, with their names.
    routers: Vec<(Ipv4Addr, String)>,
    /// The gateway that a node names.
    named: Option<Located<Ipv4Addr>>,
    /// Whether a node has its first address on it, hence its default route through it.
    default_route: bool,
    gateway: Option<Ipv4Addr>,
}

struct Declared {
    subnet: Ipv4Net,
    mtu: u32,
    span: Span,
}

/// Finds and checks the segments.
pub(super) fn infer(raw: Vec<At<RawSegment>>, nodes: &Nodes, routers: &Routers, faults: &mut Faults<'_>) -> Segments {
    let declared = declared(raw, faults);
    let mut segments = Segments { list: Vec::new(), by_subnet: HashMap::new() };
    let mut all_placed = nodes.all_addresses && routers.all_addresses;
    for DraftNode { name, addresses, .. } in &nodes.list {
        all_placed &= segments.place(name, addresses, false, &declared, faults);
    }
    for DraftRouter { name, addresses, .. } in &routers.list {
        all_placed &= segments.place(name, addresses, true, &declared, faults);
    }
    if all_placed {
        for Declared { subnet, span, mtu: _ } in &declared {
            if segments.by_subnet.contains_key(subnet) {
                continue;
            }
            let subnets: Vec<String> = segments.list.iter().map(|segment| segment.subnet.to_string()).collect();
            let help = match subnets.len() {
                0 => "give a node an address on it, or remove the `[[segment]]`".to_owned(),
                1..=8 => format!(
                    "there are addresses on {}; write one of these or remove the `[[segment]]`",
                    subnets.join(", ")
                ),
                _ => "write a subnet on which somebody has an address, or remove the `[[segment]]`".to_owned(),
            };
            let message = format!("neither a node nor a router has an address on {subnet}");
            faults.add("unused-segment", span.clone(), message, "nobody is there", help);
        }
    }
    segments.check_overlaps(faults);
    if all_placed {
        segments.check_routers(&routers.list, faults);
    }
    segments.choose_gateways(&nodes.list, faults);
    segments
}

fn declared(raw: Vec<At<RawSegment>>, faults: &mut Faults<'_>) -> Vec<Declared> {
    let mut list: Vec<Declared> = Vec::new();
    for segment in raw {
        let RawSegment { subnet: text, mtu } = segment.into_inner();
        let Some(subnet) = network(&text, "subnet", faults) else { continue };
        if let Some(other) = list.iter().find(|other| other.subnet == subnet) {
            let message = format!("the segment {subnet} is already described (line {})", faults.line(&other.span));
            faults.add("duplicate-segment", text.span(), message, "again", "keep one of the two");
            continue;
        }
        // `shape` keeps it between 576 and 65535.
        let mtu = mtu.and_then(|mtu| u32::try_from(*mtu).ok()).unwrap_or(DEFAULT_MTU);
        list.push(Declared { subnet, mtu, span: text.span() });
    }
    list
}

/// `10.0.1.0/24`: a network without host bits, for the key `key`. One with host bits is a fault, and read without them.
pub(super) fn network(text: &At<String>, key: &str, faults: &mut Faults<'_>) -> Option<Ipv4Net> {
    let written = text.as_str();
    let Ok(net) = written.parse::<Ipv4Net>() else {
        let message = format!("`{written}` is not an IPv4 network");
        let help = match written.parse::<Ipv4Addr>() {
            Ok(address) => format!("write `{key} = \"{address}/24\"`, say: a network has a mask"),
            Err(_) => format!("write `{key} = \"10.0.1.0/24\"`, say"),
        };
        faults.add("invalid-network", text.span(), message, "not a network", help);
        return None;
    };
    if net != net.trunc() {
        let message = format!("`{written}` has bits set beyond its mask");
        let help = format!("write `{key} = \"{}\"`", net.trunc());
        faults.add("host-bits", text.span(), message, "an address, not a network", help);
    }
    Some(net.trunc())
}

impl Segments {
    /// Puts the interfaces of a node or router on their segments; returns whether all have one.
    fn place(
        &mut self,
        name: &str,
        addresses: &[Located<Ipv4Net>],
        is_router: bool,
        declared: &[Declared],
        faults: &mut Faults<'_>,
    ) -> bool {
        let mut all_placed = true;
        for (index, Located { value, span }) in addresses.iter().enumerate() {
            let subnet = value.trunc();
            let exact = declared.iter().find(|declared| declared.subnet == subnet);
            let around = declared.iter().find(|declared| declared.subnet.contains(&value.addr()));
            if let (None, Some(around)) = (exact, around) {
                let (wanted, line) = (around.subnet, faults.line(&around.span));
                let message = format!("{value} is in the segment {wanted} (line {line}), but with another mask");
                let help = format!("write `\"{}/{}\"`", value.addr(), wanted.prefix_len());
                faults.add("wrong-mask", span.clone(), message, format!("its subnet is {subnet}"), help);
                all_placed = false;
                continue;
            }
            let id = *self.by_subnet.entry(subnet).or_insert_with(|| {
                self.list.push(DraftSegment {
                    subnet,
                    mtu: exact.map_or(DEFAULT_MTU, |declared| declared.mtu),
                    span: span.clone(),
                    taken: HashSet::new(),
                    interfaces: 0,
                    routers: Vec::new(),
                    named: None,
                    default_route: false,
                    gateway: None,
                });
                self.list.len() - 1
            });
            let segment = &mut self.list[id];
            segment.taken.insert(value.addr());
            segment.interfaces += 1;
            match is_router {
                true => segment.routers.push((value.addr(), name.to_owned())),
                false => segment.default_route |= index == 0,
            }
            if segment.taken.len() == MAX_NODES + 1 {
                let message = format!("more than {MAX_NODES} addresses are on {subnet}");
                let help = format!(
                    "put the nodes into subnets of at most {MAX_NODES}: a segment is a bridge, and a bridge has at most 1,023 ports"
                );
                faults.add("segment-too-large", span.clone(), message, "one too many", help);
            }
            if addresses[..index].iter().any(|earlier| earlier.value.trunc() == subnet) {
                let message = format!("`{name}` has two addresses on {subnet}");
                let help = "give it one address on each segment";
                faults.add("segment-twice", span.clone(), message, "the second one", help);
            }
        }
        all_placed
    }

    /// Networks are nested or disjoint: in the order of their first address, one that overlaps follows one that holds it.
    fn check_overlaps(&self, faults: &mut Faults<'_>) {
        let mut sorted: Vec<&DraftSegment> = self.list.iter().collect();
        sorted.sort_by_key(|segment| (segment.subnet.network(), segment.subnet.prefix_len()));
        let mut wide: Option<&DraftSegment> = None;
        for segment in sorted {
            let Some(outer) = wide.filter(|outer| outer.subnet.contains(&segment.subnet)) else {
                wide = Some(segment);
                continue;
            };
            let (later, earlier) =
                if outer.span.start > segment.span.start { (outer, segment) } else { (segment, outer) };
            let line = faults.line(&earlier.span);
            let message = format!("the subnet {} overlaps {} (line {line})", later.subnet, earlier.subnet);
            let help = "write the same mask for addresses on one segment, or disjoint subnets";
            faults.add("overlapping-segments", later.span.clone(), message, "overlaps", help);
        }
    }

    /// A router's interface leads to somebody, or to a network of its own that it tells others of.
    fn check_routers(&self, routers: &[DraftRouter], faults: &mut Faults<'_>) {
        for router in routers {
            for Located { value, span } in &router.addresses {
                let subnet = value.trunc();
                let alone = self.by_subnet.get(&subnet).is_some_and(|id| self.list[*id].interfaces == 1);
                if alone && !router.networks.contains(&subnet) {
                    let message =
                        format!("`{}` is alone on {subnet}: neither a node nor a router is there", router.name);
                    let help = format!(
                        "write an address on a segment of a node or router, or `networks = [\"{subnet}\"]` for a network of its own"
                    );
                    faults.add("router-alone", span.clone(), message, "on no segment", help);
                }
            }
        }
    }

    /// The gateway of a segment: the router on it; without one, the address that a node names, else the first host, else the last.
    fn choose_gateways(&mut self, nodes: &[DraftNode], faults: &mut Faults<'_>) {
        for node in nodes {
            let Some(first) = node.addresses.first() else { continue };
            let Some(segment) = self.by_subnet.get(&first.value.trunc()).map(|id| &mut self.list[*id]) else {
                continue;
            };
            let (Some(gateway), true) = (&node.gateway, segment.routers.is_empty()) else {
                segment.check_gateway_among_routers(node, faults);
                continue;
            };
            let (address, subnet) = (gateway.value, segment.subnet);
            let (low, high) = hosts(subnet);
            let fault = match &segment.named {
                _ if !is_host(address, subnet) => Some((
                    "gateway-outside-subnet",
                    format!("the gateway {address} of `{}` is no host of its subnet {subnet}", node.name),
                    format!("write an address from {low} to {high} that no node has"),
                )),
                _ if segment.taken.contains(&address) => Some((
                    "gateway-is-node",
                    format!("the gateway {address} is the address of a node"),
                    format!("write another address from {low} to {high}, or begin `address` beyond it"),
                )),
                Some(named) if named.value != address => Some((
                    "gateway-conflict",
                    format!("{subnet} has the gateway {} already (line {})", named.value, faults.line(&named.span)),
                    format!("write `gateway = \"{}\"`: a segment has one", named.value),
                )),
                _ => None,
            };
            match fault {
                Some((code, message, help)) => faults.add(code, gateway.span.clone(), message, "not a gateway", help),
                None => segment.named = Some(gateway.clone()),
            }
        }
        for segment in self.list.iter_mut().filter(|segment| segment.routers.is_empty()) {
            let (first, last) = hosts(segment.subnet);
            let named = segment.named.as_ref().map(|named| named.value);
            segment.gateway =
                named.or_else(|| [first, last].into_iter().find(|address| !segment.taken.contains(address)));
            // A segment without a default route (a link between two nodes, on eth1) does without a gateway.
            if segment.gateway.is_none() && segment.default_route {
                let message = format!("{} has no room for a gateway: nodes have {first} and {last}", segment.subnet);
                let help = "free one of the two, or write `gateway =` with an address that no node has";
                faults.add("no-gateway", segment.span.clone(), message, "no gateway", help);
            }
        }
    }

    /// The model's segments, nodes and routers. Only for what was placed without a fault.
    pub(super) fn into_model(
        self,
        nodes: Vec<DraftNode>,
        routers: Vec<DraftRouter>,
    ) -> (Vec<Segment>, Vec<Node>, Vec<Router>) {
        let nodes = nodes
            .into_iter()
            .filter_map(|draft| {
                let DraftNode {
                    name,
                    addresses,
                    gateway,
                    labels,
                    as_number,
                    cluster_id,
                    listen_port,
                    prefix_advertisements,
                    speaker,
                    pods: _,
                    pods_span: _,
                    span,
                } = draft;
                let interfaces = self.interfaces(&addresses);
                let segment = &self.list[interfaces.first()?.segment.0];
                let router = segment.routers.first().map(|(address, _)| *address);
                let gateway = gateway.map(|gateway| gateway.value).or(router).or(segment.gateway)?;
                Some(Node {
                    name,
                    interfaces,
                    gateway,
                    labels,
                    as_number,
                    cluster_id,
                    listen_port,
                    prefix_advertisements,
                    speaker,
                    span,
                })
            })
            .collect();
        let routers = routers
            .into_iter()
            .map(|draft| {
                let DraftRouter { name, addresses, routes, as_number, peers, networks, transit, speaker, span } = draft;
                let interfaces = self.interfaces(&addresses);
                Router { name, interfaces, routes, as_number, peers, networks, transit, speaker, span }
            })
            .collect();
        let segments = self
            .list
            .into_iter()
            .map(|DraftSegment { subnet, mtu, gateway, .. }| Segment { subnet, mtu, implicit_gateway: gateway })
            .collect();
        (segments, nodes, routers)
    }

    fn interfaces(&self, addresses: &[Located<Ipv4Net>]) -> Vec<Interface> {
        let placed = addresses.iter().enumerate().filter_map(|(index, Located { value, span: _ })| {
            let segment = SegmentId(*self.by_subnet.get(&value.trunc())?);
            Some(Interface { name: IfName::eth(index), address: *value, segment })
        });
        placed.collect()
    }
}

impl DraftSegment {
    /// A node on a segment with routers has one of them as its gateway, and says which where there are several.
    fn check_gateway_among_routers(&self, node: &DraftNode, faults: &mut Faults<'_>) {
        let named = |routers: &[(Ipv4Addr, String)]| {
            let named: Vec<String> = routers.iter().map(|(address, name)| format!("{address} (`{name}`)")).collect();
            named.join(" or ")
        };
        match (&node.gateway, &self.routers[..]) {
            (Some(gateway), routers) if routers.iter().all(|(address, _)| *address != gateway.value) => {
                let message = format!("the gateway {} of `{}` is no router's address", gateway.value, node.name);
                let help = format!("write {}, or remove the router from the segment", named(routers));
                faults.add("gateway-is-no-router", gateway.span.clone(), message, "no router", help);
            }
            (None, routers @ [_, _, ..]) => {
                let message = format!("`{}` has no `gateway`, and several routers are on {}", node.name, self.subnet);
                let help = format!("write `gateway =` with {}", named(routers));
                faults.add("several-routers", node.span.clone(), message, "which router?", help);
            }
            _ => {}
        }
    }
}
