//! Resolution of BGP next hops (RFC 4271 §5.1.3) through what BIRD's table would hold: direct routes and routes learned from the kernel.
//!
//! Routes of BGP never resolve a next hop, so that our own writes to the kernel change nothing here.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::event::KernelSnapshot;
use super::rib::PathSource;
use super::wire::Family;
use crate::net::{IfName, Route, RouteKind, RouteProtocol};

/// The way to a next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// The next hop itself on the link, else the router before it.
    pub(super) gateway: IpAddr,
    /// The interface.
    pub(super) dev: IfName,
    /// 0 on the link; `None` beyond a kernel route, of which BIRD knows no IGP metric (calico-behaviour 8.3).
    pub(super) igp_metric: Option<u32>,
}

/// Direct and kernel routes as BIRD's `direct1` and `kernel1` see them, one per prefix, with the resolutions worked out so far.
#[derive(Debug, Default)]
pub(super) struct NextHops {
    family: Family,
    direct: FxMap<IpNet, IfName>,
    kernel: FxMap<IpNet, Arc<Route>>,
    /// Our own addresses: no next hop of a route to somewhere else (RFC 4271 §5.1.3).
    own: Vec<IpAddr>,
    /// Interfaces that are up.
    interfaces: Vec<IfName>,
    /// Prefix lengths in use, longest first.
    lengths: Vec<u8>,
    known: FxMap<IpAddr, Option<Resolution>>,
    /// How many to know before those that no route has any more are forgotten.
    sweep_at: usize,
}

/// What a snapshot changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Prefixes whose direct route is new, another or gone.
    pub(super) direct: Vec<(IpNet, Option<IfName>)>,
    /// Prefixes whose kernel route is new, another or gone.
    pub(super) kernel: Vec<(IpNet, Option<Arc<Route>>)>,
    /// Some next hop resolves differently, or a tunnel device came or went.
    pub(super) resolution: bool,
    /// Next hops that are reached over another interface than before.
    pub(super) rerouted: Vec<IpAddr>,
}

type FxMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// As many next hops are no burden.
const SWEEP_MIN: usize = 1024;

impl NextHops {
    /// Of a speaker of `family`.
    pub(super) fn new(family: Family) -> Self {
        Self { family, ..Self::default() }
    }

    /// The way to `next_hop`; `None` without one.
    pub(super) fn resolve(&mut self, next_hop: IpAddr) -> Option<&Resolution> {
        if !self.known.contains_key(&next_hop) {
            let resolution = self.look_up(next_hop);
            self.known.insert(next_hop, resolution);
        }
        self.resolved(next_hop)
    }

    /// Whether it is time for [`NextHops::sweep`]. A peer may announce a route with ever new next hops.
    pub(super) fn is_crowded(&self) -> bool {
        self.known.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// Forgets all next hops but those in `used`.
    pub(super) fn sweep(&mut self, used: &HashSet<IpAddr, FxBuildHasher>) {
        self.known.retain(|next_hop, _| used.contains(next_hop));
        self.sweep_at = self.known.len() * 2;
    }

    /// Whether there is a way to `next_hop`.
    pub(super) fn resolves(&mut self, next_hop: IpAddr) -> bool {
        match self.known.get(&next_hop) {
            Some(known) => known.is_some(),
            None => self.resolve(next_hop).is_some(),
        }
    }

    /// What [`NextHops::resolve`] found before.
    pub(super) fn resolved(&self, next_hop: IpAddr) -> Option<&Resolution> {
        self.known.get(&next_hop).and_then(Option::as_ref)
    }

    /// The way to the next hop of a BGP route or to a static route's gateway, as found before; other routes have none.
    pub(super) fn resolution(&self, source: &PathSource) -> Option<&Resolution> {
        match source {
            PathSource::Bgp(_, attributes) => self.resolved(attributes.next_hop),
            PathSource::Static(gateway) => gateway.as_ref().and_then(|gateway| self.resolved(**gateway)),
            PathSource::Direct(_) | PathSource::Kernel(_) => None,
        }
    }

    /// Whether a route has a way: to its next hop as found before, or without one.
    pub(super) fn is_usable(&self, source: &PathSource) -> bool {
        source.next_hop().is_none() || self.resolution(source).is_some()
    }

    /// The interface that a route leads out of.
    pub(super) fn device<'a>(&'a self, source: &'a PathSource) -> Option<&'a IfName> {
        match source {
            PathSource::Direct(dev) => Some(dev),
            PathSource::Kernel(route) => route.dev.as_ref(),
            PathSource::Static(_) | PathSource::Bgp(..) => self.resolution(source).map(|resolution| &resolution.dev),
        }
    }

    /// Whether `dev` exists and is up.
    pub(super) fn has_interface(&self, dev: &IfName) -> bool {
        self.interfaces.contains(dev)
    }

    /// Takes in a snapshot and says what it changed.
    pub(super) fn update(&mut self, snapshot: &KernelSnapshot) -> Changes {
        let (direct, kernel) = (direct_routes(snapshot, self.family), kernel_routes(snapshot, self.family));
        let own = snapshot.interfaces.iter().flat_map(|(_, addresses)| addresses).map(IpNet::addr).collect();
        let interfaces: Vec<IfName> = snapshot.interfaces.iter().map(|(name, _)| name.clone()).collect();

        let mut changes = Changes::default();
        for (prefix, dev) in &direct {
            if self.direct.get(prefix) != Some(dev) {
                changes.direct.push((*prefix, Some(dev.clone())));
            }
        }
        changes.direct.extend(self.direct.keys().filter(|prefix| !direct.contains_key(*prefix)).map(|p| (*p, None)));
        for (prefix, route) in &kernel {
            if self.kernel.get(prefix).map(Arc::as_ref) != Some(route) {
                changes.kernel.push((*prefix, Some(Arc::new(route.clone()))));
            }
        }
        changes.kernel.extend(self.kernel.keys().filter(|prefix| !kernel.contains_key(*prefix)).map(|p| (*p, None)));
        // Maps have no order of their own; whoever acts on the changes should have one.
        changes.direct.sort_unstable();
        changes.kernel.sort_unstable();

        let same_ways = changes.direct.is_empty() && changes.kernel.is_empty() && self.own == own;
        changes.resolution = self.interfaces != interfaces;
        self.interfaces = interfaces;
        if same_ways {
            return changes;
        }
        self.own = own;
        self.direct = direct;
        for (prefix, route) in &changes.kernel {
            match route {
                Some(route) => drop(self.kernel.insert(*prefix, Arc::clone(route))),
                None => drop(self.kernel.remove(prefix)),
            }
        }
        self.lengths = self.direct.keys().chain(self.kernel.keys()).map(IpNet::prefix_len).collect();
        self.lengths.sort_unstable_by(|a, b| b.cmp(a));
        self.lengths.dedup();
        for (next_hop, resolution) in std::mem::take(&mut self.known) {
            let again = self.look_up(next_hop);
            changes.resolution |= again != resolution;
            if let (Some(now), Some(before)) = (&again, &resolution)
                && now.dev != before.dev
            {
                changes.rerouted.push(next_hop);
            }
            self.known.insert(next_hop, again);
        }
        changes
    }

    /// Longest match; of equal length a direct route before a kernel route, as their preferences say.
    fn look_up(&self, next_hop: IpAddr) -> Option<Resolution> {
        if self.own.contains(&next_hop) {
            return None;
        }
        let widths = self.lengths.iter().filter_map(|&length| IpNet::new(next_hop, length).ok());
        for prefix in widths.map(|net| net.trunc()) {
            if let Some(dev) = self.direct.get(&prefix) {
                return Some(Resolution { gateway: next_hop, dev: dev.clone(), igp_metric: Some(0) });
            }
            let Some(route) = self.kernel.get(&prefix) else { continue };
            let hop = route.nexthops.first();
            let via = route.via.or_else(|| hop.and_then(|hop| hop.via));
            let dev = route.dev.as_ref().or_else(|| hop.and_then(|hop| hop.dev.as_ref()));
            return match (route.kind, dev) {
                (RouteKind::Unicast, Some(dev)) => {
                    Some(Resolution { gateway: via.unwrap_or(next_hop), dev: dev.clone(), igp_metric: None })
                }
                _ => None,
            };
        }
        None
    }
}

/// `direct1`: the networks of addresses, but for those of `cali*` and `kube-ipvs*` (calico-behaviour 7.5 end), of loopback
/// addresses, whose scope is the host, and of link-local ones, of which every interface has its own.
fn direct_routes(snapshot: &KernelSnapshot, family: Family) -> FxMap<IpNet, IfName> {
    let mut routes = FxMap::default();
    for (dev, addresses) in &snapshot.interfaces {
        if dev.as_str().starts_with("cali") || dev.as_str().starts_with("kube-ipvs") {
            continue;
        }
        for address in addresses.iter().filter(|net| Family::of(net) == family && !is_bound(net.addr())) {
            routes.entry(address.trunc()).or_insert_with(|| dev.clone());
        }
    }
    routes
}

/// `kernel1`: what neither the kernel nor we wrote; of several metrics the lowest.
fn kernel_routes(snapshot: &KernelSnapshot, family: Family) -> FxMap<IpNet, Route> {
    let mut routes: FxMap<IpNet, &Route> = FxMap::default();
    for route in &snapshot.routes {
        if matches!(route.proto, RouteProtocol::KERNEL | RouteProtocol::BIRD) || Family::of(&route.dst) != family {
            continue;
        }
        let best = routes.entry(route.dst).or_insert(route);
        if route.metric < best.metric {
            *best = route;
        }
    }
    routes.into_iter().map(|(prefix, route)| (prefix, route.clone())).collect()
}

/// Whether an address means something within the host or on one link only.
fn is_bound(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(interfaces: &[(&str, &str)], routes: &[&str]) -> KernelSnapshot {
        KernelSnapshot {
            interfaces: interfaces
                .iter()
                .map(|(name, address)| (IfName::new(name).unwrap(), vec![address.parse().unwrap()]))
                .collect(),
            routes: routes.iter().map(|route| route.parse().unwrap()).collect(),
        }
    }

    fn resolved(hops: &mut NextHops, next_hop: &str) -> Option<String> {
        let found = hops.resolve(next_hop.parse().unwrap())?;
        Some(format!("{} {} {:?}", found.gateway, found.dev, found.igp_metric))
    }

    #[test]
    fn a_next_hop_resolves_on_the_link_then_through_the_kernels_gateway() {
        let mut hops = NextHops::default();
        hops.update(&snapshot(
            &[("eth0", "172.18.0.2/16")],
            &[
                "default via 172.18.0.1 dev eth0",
                "10.9.0.0/16 via 172.18.0.9 dev eth0 proto static",
                "blackhole 10.9.9.0/24 proto static",
            ],
        ));
        assert_eq!(resolved(&mut hops, "172.18.0.3").unwrap(), "172.18.0.3 eth0 Some(0)");
        assert_eq!(resolved(&mut hops, "10.9.1.1").unwrap(), "172.18.0.9 eth0 None");
        assert_eq!(resolved(&mut hops, "8.8.8.8").unwrap(), "172.18.0.1 eth0 None");
        assert_eq!(resolved(&mut hops, "10.9.9.9"), None);
    }

    #[test]
    fn next_hops_that_no_route_has_any_more_are_forgotten_now_and_then() {
        let mut hops = NextHops::default();
        let used: HashSet<IpAddr, FxBuildHasher> = [IpAddr::from([10, 0, 0, 1])].into_iter().collect();
        for next_hop in 0..10 * SWEEP_MIN as u32 {
            hops.resolve(IpAddr::from((0x0a00_0000 + next_hop).to_be_bytes()));
            if hops.is_crowded() {
                hops.sweep(&used);
            }
        }
        assert!(hops.known.len() <= SWEEP_MIN && hops.known.contains_key(&IpAddr::from([10, 0, 0, 1])));
    }

    #[test]
    fn our_own_address_is_no_next_hop() {
        let mut hops = NextHops::default();
        hops.update(&snapshot(&[("eth0", "172.18.0.2/16")], &[]));
        assert_eq!(resolved(&mut hops, "172.18.0.2"), None);
    }

    #[test]
    fn our_own_routes_and_the_kernels_resolve_nothing_and_are_not_learned() {
        let mut hops = NextHops::default();
        let changes = hops.update(&snapshot(
            &[("cali9c3ed6d06f3", "169.254.1.1/32")],
            &["10.0.0.0/8 via 172.18.0.3 dev eth0 proto bird", "172.18.0.0/16 dev eth0 proto kernel scope link"],
        ));
        assert!(changes.direct.is_empty() && changes.kernel.is_empty());
        assert_eq!(resolved(&mut hops, "10.1.1.1"), None);
    }

    #[test]
    fn a_snapshot_reports_only_what_it_changed() {
        let mut hops = NextHops::default();
        let before = snapshot(&[("eth0", "172.18.0.2/16")], &["default via 172.18.0.1 dev eth0"]);
        hops.update(&before);
        resolved(&mut hops, "172.18.0.3");
        let again = hops.update(&before);
        assert!(again.direct.is_empty() && again.kernel.is_empty() && !again.resolution);
        let down = hops.update(&snapshot(&[], &[]));
        assert_eq!(down.direct, [("172.18.0.0/16".parse().unwrap(), None)]);
        assert_eq!(down.kernel, [("0.0.0.0/0".parse().unwrap(), None)]);
        assert!(down.resolution);
        assert_eq!(resolved(&mut hops, "172.18.0.3"), None);
    }
}
