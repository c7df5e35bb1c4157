//! `mode` and `[[IPPool]]`: the pools, by themselves, against each other and against the nodes.

use std::net::Ipv4Addr;

use ipnet::{Ipv4Net, Ipv6Net};

use super::names::is_dns_name;
use super::nodes::{DraftNode, Located};
use super::routers::DraftRouter;
use super::segments::network;
use super::selectors;
use crate::topology::error::Faults;
use crate::topology::model::{EncapMode, IpPool, Pod, Span};
use crate::topology::raw::{At, RawIpPool, RawMode};
use crate::topology::selector::Selector;
use crate::topology::shape::Holes;

/// The pool that `mode` makes, and a `[[IPPool]]` without a name.
const DEFAULT_POOL: &str = "default-ipv4-ippool";

/// Its addresses.
const DEFAULT_CIDR: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);

/// Block size of a pool that names none (calico-behaviour 7.10).
const DEFAULT_BLOCK_SIZE: u8 = 26;

/// What no pool may touch.
const RESERVED: [(Ipv4Net, &str); 4] = [
    (Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8), "this network (RFC 791)"),
    (Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8), "loopback"),
    (Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16), "which Calico needs for the pods' gateway"),
    (Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 3), "multicast and reserved"),
];

/// The pools of the file, as far as they are sound.
pub(super) struct Pools {
    /// In name order.
    list: Vec<DraftPool>,
    /// Whether these are all: one that could not be read may be the one that an address lies in.
    complete: bool,
}

struct DraftPool {
    pool: IpPool,
    cidr_span: Span,
}

/// Where an address lies.
pub(super) enum Place {
    /// In a pool that gives out addresses, or in one that could not be read.
    Enabled,
    /// In a pool that is switched off.
    Disabled(String),
    /// In no pool.
    Outside,
}

/// Resolves and checks the pools. Without any, `mode` (BGP unless said) makes one.
pub(super) fn resolve(
    mode: Option<At<RawMode>>,
    raw: Vec<At<RawIpPool>>,
    holes: &Holes,
    faults: &mut Faults<'_>,
) -> Pools {
    if let (Some(mode), Some(pool)) = (&mode, raw.first()) {
        let line = faults.line(&pool.span());
        let message = format!("`mode` and `[[IPPool]]` (line {line}) exclude each other");
        let help = "remove `mode`, and write `ipipMode` or `vxlanMode` in the `[[IPPool]]`";
        faults.add("mode-with-pools", mode.span(), message, "shorthand for one `[[IPPool]]`", help);
    }
    let mut pools = Pools { list: Vec::new(), complete: !holes.lost("IPPool") };
    if raw.is_empty() {
        let span = mode.as_ref().map_or(0..0, At::span);
        pools.list.push(default_pool(mode.map_or(RawMode::Bgp, At::into_inner), span));
        return pools;
    }
    for pool in raw {
        let span = pool.span();
        match draft(pool.into_inner(), span, faults) {
            Some(pool) => pools.add(pool, faults),
            None => pools.complete = false,
        }
    }
    pools.list.sort_by(|a, b| a.pool.name.cmp(&b.pool.name));
    pools
}

fn default_pool(mode: RawMode, span: Span) -> DraftPool {
    let (ipip_mode, vxlan_mode) = match mode {
        RawMode::Bgp => (EncapMode::Never, EncapMode::Never),
        RawMode::Ipip => (EncapMode::Always, EncapMode::Never),
        RawMode::IpipCrossSubnet => (EncapMode::CrossSubnet, EncapMode::Never),
        RawMode::Vxlan => (EncapMode::Never, EncapMode::Always),
        RawMode::VxlanCrossSubnet => (EncapMode::Never, EncapMode::CrossSubnet),
    };
    let selector = Selector::all();
    let pool = IpPool {
        name: DEFAULT_POOL.to_owned(),
        cidr: DEFAULT_CIDR,
        block_size: DEFAULT_BLOCK_SIZE,
        ipip_mode,
        vxlan_mode,
        nat_outgoing: true,
        disabled: false,
        disable_bgp_export: false,
        node_selector: selector,
        span,
    };
    DraftPool { pool, cidr_span: 0..0 }
}

fn draft(raw: RawIpPool, span: Span, faults: &mut Faults<'_>) -> Option<DraftPool> {
    let RawIpPool {
        name,
        cidr,
        block_size,
        nat_outgoing,
        ipip_mode,
        vxlan_mode,
        disabled,
        disable_bgp_export,
        node_selector,
    } = raw;
    let span = name.as_ref().map_or(span, At::span);
    let name = name.map_or_else(|| DEFAULT_POOL.to_owned(), At::into_inner);
    if !is_dns_name(&name) || name.len() > 253 {
        let help = "write 1 to 253 of a-z, 0-9, `-` and `.`, with a letter or digit at both ends";
        faults.add("invalid-name", span.clone(), format!("`{name}` is no name for an IPPool"), "not a name", help);
    }
    let disabled = disabled.is_some_and(At::into_inner);
    // `shape` keeps it between 20 and 32.
    let written_size = block_size.as_ref().map(At::span);
    let block_size = block_size.and_then(|size| u8::try_from(*size).ok()).unwrap_or(DEFAULT_BLOCK_SIZE);
    if let (Some(_), Some(vxlan)) = (
        ipip_mode.as_ref().filter(|mode| ***mode != EncapMode::Never),
        vxlan_mode.as_ref().filter(|mode| ***mode != EncapMode::Never),
    ) {
        let message = format!("the pool `{name}` has both `ipipMode` and `vxlanMode` on");
        let help = "write `\"Never\"` for one of the two";
        faults.add("both-encapsulations", vxlan.span(), message, "a packet has one outer header", help);
    }
    let selector = match &node_selector {
        None => Selector::all(),
        Some(text) => selectors::parse(text, "nodeSelector", faults).unwrap_or_else(Selector::all),
    };
    if cidr.parse::<Ipv6Net>().is_ok() {
        let ipip = ipip_mode.is_some_and(|mode| *mode != EncapMode::Never);
        let why = if ipip { "; and IPIP carries IPv4 only" } else { "" };
        let message = format!("the pool {} is one of IPv6{why}", cidr.as_str());
        let help = "write an IPv4 network, `cidr = \"10.244.0.0/16\"` say: the lab's pools are IPv4";
        faults.add("ipv6-pool", cidr.span(), message, "IPv6", help);
        return None;
    }
    let net = network(&cidr, "cidr", faults)?;
    if let Some((reserved, what)) = RESERVED.iter().find(|(reserved, _)| overlap(*reserved, net)) {
        let message = format!("the pool {net} overlaps {reserved}, {what}");
        let help = "write `cidr = \"10.244.0.0/16\"`, say";
        faults.add("reserved-network", cidr.span(), message, "not for pods", help);
    }
    if net.prefix_len() > block_size && !disabled {
        let message = format!("the pool {net} is smaller than one block of /{block_size}");
        let help = match net.prefix_len() {
            20..=32 => format!("write `blockSize = {}` or more, or a larger `cidr`", net.prefix_len()),
            _ => format!("write a `cidr` of /{block_size} or shorter"),
        };
        let at = written_size.unwrap_or_else(|| cidr.span());
        faults.add("pool-too-small", at, message, "no block fits", help);
    }
    let pool = IpPool {
        name,
        cidr: net,
        block_size,
        ipip_mode: ipip_mode.map(At::into_inner).unwrap_or_default(),
        vxlan_mode: vxlan_mode.map(At::into_inner).unwrap_or_default(),
        nat_outgoing: nat_outgoing.is_some_and(At::into_inner),
        disabled,
        disable_bgp_export: disable_bgp_export.is_some_and(At::into_inner),
        node_selector: selector,
        span,
    };
    Some(DraftPool { pool, cidr_span: cidr.span() })
}

impl Pools {
    fn add(&mut self, new: DraftPool, faults: &mut Faults<'_>) {
        if let Some(other) = self.list.iter().find(|other| other.pool.name == new.pool.name) {
            let (name, line) = (&new.pool.name, faults.line(&other.pool.span));
            let message = format!("`{name}` is already the name of an IPPool (line {line})");
            let help = "write `name =` with another name; without one an IPPool is called `default-ipv4-ippool`";
            faults.add("duplicate-name", new.pool.span.clone(), message, "taken", help);
        }
        if let Some(other) = self.list.iter().find(|other| overlap(other.pool.cidr, new.pool.cidr)) {
            let line = faults.line(&other.cidr_span);
            let message = format!("the pool {} overlaps the pool {} (line {line})", new.pool.cidr, other.pool.cidr);
            let help = "write a `cidr` apart from every other pool's";
            faults.add("overlapping-pools", new.cidr_span.clone(), message, "overlaps", help);
        }
        self.list.push(new);
    }

    /// Where `address` lies.
    pub(super) fn place(&self, address: Ipv4Addr) -> Place {
        match self.list.iter().find(|draft| draft.pool.cidr.contains(&address)) {
            Some(draft) if draft.pool.disabled => Place::Disabled(draft.pool.name.clone()),
            Some(_) => Place::Enabled,
            None if !self.complete => Place::Enabled,
            None => Place::Outside,
        }
    }

    /// The pools' networks, for people.
    pub(super) fn networks(&self) -> String {
        self.list.iter().map(|draft| draft.pool.cidr.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Whether a pod on `node` can get an address.
    pub(super) fn serve(&self, node: &DraftNode) -> bool {
        !self.complete
            || self.list.iter().any(|draft| !draft.pool.disabled && draft.pool.node_selector.matches(&node.labels))
    }

    /// The model's pools, in name order.
    pub(super) fn into_model(self) -> Vec<IpPool> {
        self.list.into_iter().map(|draft| draft.pool).collect()
    }
}

/// The address of a node or router is no pod's. (A pool may overlap a segment's subnet otherwise.)
pub(super) fn check_interfaces(pools: &Pools, nodes: &[DraftNode], routers: &[DraftRouter], faults: &mut Faults<'_>) {
    let nodes = nodes.iter().map(|node| (&node.name, &node.addresses));
    let routers = routers.iter().map(|router| (&router.name, &router.addresses));
    for (who, addresses) in nodes.chain(routers) {
        for Located { value, span } in addresses {
            let Some(draft) = pools.list.iter().find(|draft| draft.pool.cidr.contains(&value.addr())) else { continue };
            let IpPool { name, cidr, .. } = &draft.pool;
            let message = format!("the address {} of `{who}` lies in the pool `{name}`, {cidr}", value.addr());
            let help = format!("give `{who}` an address outside the pools, or the pool another `cidr`");
            faults.add("node-in-pool", span.clone(), message, "a pod could get it", help);
        }
    }
}

/// The pools together must hold all pods and all tunnel addresses (calico-behaviour 2.1, 2.3).
pub(super) fn check_capacity(pools: &Pools, nodes: &[DraftNode], pods: &[Pod], faults: &mut Faults<'_>) {
    let enabled: Vec<&DraftPool> = pools.list.iter().filter(|draft| !draft.pool.disabled).collect();
    let Some(first) = enabled.first().filter(|_| pools.complete) else { return };
    let size = |draft: &&DraftPool| 1_u64 << (32 - draft.pool.cidr.prefix_len());
    let room: u64 = enabled.iter().map(size).sum();
    let encapsulates = |draft: &&DraftPool, node: &DraftNode| {
        (draft.pool.ipip_mode, draft.pool.vxlan_mode) != (EncapMode::Never, EncapMode::Never)
            && draft.pool.node_selector.matches(&node.labels)
    };
    let tunnels = nodes.iter().filter(|node| enabled.iter().any(|draft| encapsulates(draft, node))).count();
    if (pods.len() + tunnels) as u64 > room {
        let message = match tunnels {
            0 => format!("the pools hold {room} addresses; {} pods need one each", pods.len()),
            _ => format!("the pools hold {room} addresses; {} pods and {tunnels} tunnels need one each", pods.len()),
        };
        let help = "write a larger `cidr`, or fewer pods";
        faults.add("pool-too-small", first.cidr_span.clone(), message, "too small", help);
    }
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}
