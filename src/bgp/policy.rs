//! What may be told to a peer and in which form (calico-behaviour 7.4, 7.5), and what goes into the kernel and how (3.2, 3.3).
//!
//! Pure functions of a route and the configuration; whoever calls them holds the tables.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::config::{ExportPolicy, KernelRule, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig};
use super::event::PeerId;
use super::filter::{self, PRIORITY_SUM, RuleId, Subject};
use super::next_hop::NextHops;
use super::rib::{Clause, FibHop, PathSource};
use super::wire::Attributes;
use crate::net::{BgpIdentifier, FilterOperation, IfName, NextHop, NextHopMode, RouteKind};

/// BIRD's `default bgp_local_pref`.
const DEFAULT_LOCAL_PREF: u32 = 100;

const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// The session that a route is exported to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExportPeer<'a> {
    /// Which one it is.
    pub(super) id: PeerId,
    /// How it is configured.
    pub(super) config: &'a PeerConfig,
    /// Our address on it: the default next hop.
    pub(super) local: IpAddr,
}

impl ExportPeer<'_> {
    /// Whether every route goes to `other` with the attributes with which it goes here.
    pub(super) fn is_told_as(&self, other: &ExportPeer<'_>) -> bool {
        let form = |peer: &ExportPeer<'_>| {
            let PeerConfig { local_as, next_hop, .. } = peer.config;
            (peer.config.is_external(), *local_as, *next_hop, peer.local)
        };
        form(self) == form(other) && self.config.export_filters == other.config.export_filters
    }
}

/// Who a BGP route came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct SourcePeer {
    /// Which session.
    pub(super) id: PeerId,
    /// Of another AS.
    pub(super) external: bool,
    /// A client of ours (RFC 4456).
    pub(super) client: bool,
    /// The peer's identifier.
    pub(super) identifier: BgpIdentifier,
}

impl SourcePeer {
    /// The peer `id` of `speaker`, which says that it is `identifier`.
    pub(super) fn of(speaker: &SpeakerConfig, id: PeerId, identifier: BgpIdentifier) -> Self {
        let config = &speaker.peers[id.0 as usize];
        Self { id, external: config.is_external(), client: config.rr_client, identifier }
    }
}

/// Whether a received route is one that came round: our own AS in the path more often than allowed (RFC 4271 §9.1.2), or a reflected
/// route of our own, or one that our cluster has reflected (RFC 4456 §8).
pub(super) fn is_looped(speaker: &SpeakerConfig, peer: &PeerConfig, attributes: &Attributes) -> bool {
    let reflected = || {
        attributes.originator_id == Some(speaker.router_id)
            || speaker.cluster_id.is_some_and(|id| attributes.cluster_list.contains(&id))
    };
    attributes.as_path.contains(peer.local_as) > peer.allowed_local_as as usize || (!peer.is_external() && reflected())
}

/// What the import filters make of a received route: `None` where they reject it, the attributes where they change them.
pub(super) fn imported(peer: &PeerConfig, prefix: IpNet, attributes: &Attributes) -> Option<Option<Attributes>> {
    if peer.import_filters.is_empty() {
        return Some(None);
    }
    let subject = Subject {
        prefix,
        attributes: Some(attributes),
        local_pref: Some(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
        dev: None,
        external: peer.is_external(),
    };
    match filter::decide(&peer.import_filters, &subject) {
        None => Some(None),
        Some((_, false)) => None,
        Some((rule, true)) => Some(changed(attributes, filter::operations(&peer.import_filters, rule))),
    }
}

fn changed(attributes: &Attributes, operations: &[FilterOperation]) -> Option<Attributes> {
    if operations.is_empty() {
        return None;
    }
    let mut attributes = attributes.clone();
    operations.iter().for_each(|operation| operation.apply(&mut attributes));
    Some(attributes)
}

/// The route to be exported.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExportRoute<'a> {
    /// The destination.
    pub(super) prefix: IpNet,
    /// Where it came from.
    pub(super) source: &'a PathSource,
    /// For a BGP route, from whom.
    pub(super) from: Option<SourcePeer>,
    /// The interface that it leads out of, if any.
    pub(super) dev: Option<&'a IfName>,
}

/// Whether a BGP route that came from `from`, or a local one, may go to a peer at all, whatever its prefix: never back to the peer that
/// it came from, and from an internal peer to another one only where one of them is a client (RFC 4271 §9.2, RFC 4456 §6).
pub(super) fn may_pass(from: Option<SourcePeer>, to: PeerId, peer: &PeerConfig) -> bool {
    from.is_none_or(|from| from.id != to && (peer.is_external() || from.external || from.client || peer.rr_client))
}

/// Static routes of a speaker.
pub(super) fn local_routes(speaker: &SpeakerConfig) -> impl Iterator<Item = (IpNet, PathSource)> {
    let blackholes = speaker.statics.iter().map(|prefix| (*prefix, None));
    let routes =
        blackholes.chain(speaker.reachable_by.iter().map(|(prefix, gateway)| (*prefix, Some(Arc::new(*gateway)))));
    routes.map(|(prefix, gateway)| (prefix, PathSource::Static(gateway)))
}

/// What is changed in a route on its way out, besides what every route of its source undergoes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Changes {
    /// The filter rule that accepted it.
    rule: Option<RuleId>,
    /// Indices of the advertisements whose communities it gets.
    advertisements: Vec<u16>,
}

/// The whole export decision; `None` where the peer is not told.
pub(super) fn export(policy: &PolicyConfig, route: &ExportRoute<'_>, peer: &ExportPeer<'_>) -> Option<Changes> {
    let external = peer.config.is_external();
    if !may_pass(route.from, peer.id, peer.config) || !communities_allow(route.source, external) {
        return None;
    }
    if !peer.config.export_filters.is_empty() {
        let attributes = match route.source {
            PathSource::Bgp(_, attributes) => Some(&**attributes),
            PathSource::Direct(_) | PathSource::Static(_) | PathSource::Kernel(_) => None,
        };
        let subject = Subject {
            prefix: route.prefix,
            attributes,
            local_pref: Some(exported_local_pref(policy, route.source)),
            dev: route.dev.map(IfName::as_str),
            external,
        };
        // Final, and skips everything below (calico-behaviour 7.5 step 2).
        match filter::decide(&peer.config.export_filters, &subject) {
            Some((rule, true)) => return Some(Changes { rule: Some(rule), advertisements: Vec::new() }),
            Some((_, false)) => return None,
            None => {}
        }
    }
    chain_accepts(policy, route, external).then(|| {
        let about = policy.advertisements.iter().zip(0..).filter(|(rule, _)| rule.covers(&route.prefix));
        Changes { rule: None, advertisements: about.map(|(_, index)| index).collect() }
    })
}

/// The well-known communities of RFC 1997.
fn communities_allow(source: &PathSource, external: bool) -> bool {
    let PathSource::Bgp(_, attributes) = source else { return true };
    attributes.communities.iter().all(|community| match *community {
        NO_ADVERTISE => false,
        NO_EXPORT | NO_EXPORT_SUBCONFED => !external,
        _ => true,
    })
}

/// Calico's export chain, steps 3 to 11 (calico-behaviour 7.5); or a plain router's.
pub(super) fn chain_accepts(policy: &PolicyConfig, route: &ExportRoute<'_>, external: bool) -> bool {
    if let ExportPolicy::Router { networks, transit } = &policy.export {
        let learned = matches!(route.source, PathSource::Bgp(..));
        return (learned && *transit) || networks.contains(&route.prefix);
    }
    let IpNet::V4(prefix) = route.prefix else { return false };
    let inside = |net: &Ipv4Net| net.contains(&prefix);
    if policy.pools.iter().any(|pool| pool.disable_bgp_export && inside(&pool.cidr)) {
        return false;
    }
    if let Some(dev) = route.dev.map(IfName::as_str) {
        let tunnel =
            dev.ends_with(".cali") || dev.ends_with(".calico") || (policy.normal_priority.is_some() && dev == "tunl0");
        if (tunnel && !external) || (dev.starts_with("bpf") && dev.ends_with(".cali")) {
            return false;
        }
    }
    if policy.own_blocks.contains(&prefix) {
        return true;
    }
    if policy.own_blocks.iter().any(inside) {
        // A workload on its way to another node has an urgent route (≥ v3.32, live migration).
        return match (policy.normal_priority, route.source) {
            (Some(normal), PathSource::Kernel(kernel)) => kernel.metric != 0 && kernel.metric < normal,
            _ => false,
        };
    }
    policy.pools.iter().any(|pool| inside(&pool.cidr))
}

/// The attributes with which an exported route goes to `peer` (RFC 4271 §5.1, RFC 4456 §8, calico-behaviour 7.4).
pub(super) fn exported_attributes(
    speaker: &SpeakerConfig,
    source: &PathSource,
    from: Option<SourcePeer>,
    changes: &Changes,
    peer: &ExportPeer<'_>,
) -> Attributes {
    let external = peer.config.is_external();
    let mut attributes = match source {
        PathSource::Bgp(_, attributes) => Attributes::clone(attributes),
        // BIRD passes a kernel route's gateway on to internal peers, and nothing else's; a link-local one means nothing elsewhere.
        PathSource::Kernel(route) if !external => {
            let is_link_local = |via: &IpAddr| matches!(via, IpAddr::V6(via) if via.is_unicast_link_local());
            Attributes::local(route.via.filter(|via| !is_link_local(via)).unwrap_or(peer.local))
        }
        PathSource::Kernel(_) | PathSource::Direct(_) | PathSource::Static(_) => Attributes::local(peer.local),
    };
    attributes.local_pref = Some(exported_local_pref(&speaker.policy, source));
    if let Some(rule) = changes.rule {
        let operations = filter::operations(&peer.config.export_filters, rule);
        operations.iter().for_each(|operation| operation.apply(&mut attributes));
    }
    for advertisement in
        changes.advertisements.iter().filter_map(|index| speaker.policy.advertisements.get(usize::from(*index)))
    {
        advertisement.communities.iter().for_each(|community| community.add_to(&mut attributes));
    }
    if external {
        attributes.as_path.prepend(peer.config.local_as);
        attributes.local_pref = None;
        attributes.originator_id = None;
        attributes.cluster_list = Vec::new();
        // MED is for one neighbour AS only (RFC 4271 §5.1.4); BIRD 1.6 resets a received one instead of dropping it.
        attributes.med = attributes.med.map(|_| 0);
    } else if let Some(from) = from.filter(|from| !from.external) {
        // Reflected.
        attributes.originator_id.get_or_insert(from.identifier);
        attributes.cluster_list.insert(0, speaker.cluster_id.unwrap_or(speaker.router_id));
    }
    let mode = peer.config.next_hop;
    if mode == NextHopMode::Own || (mode == NextHopMode::Auto && external) {
        attributes.next_hop = peer.local;
    }
    attributes
}

/// LOCAL_PREF of an exported route, as filters see it and internal peers get it (calico-behaviour 7.5 step 1).
fn exported_local_pref(policy: &PolicyConfig, source: &PathSource) -> u32 {
    match (source, policy.normal_priority) {
        (PathSource::Bgp(_, attributes), _) => attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF),
        (_, Some(normal)) => PRIORITY_SUM.saturating_sub(kernel_metric(source).unwrap_or(normal)),
        (_, None) => DEFAULT_LOCAL_PREF,
    }
}

fn kernel_metric(source: &PathSource) -> Option<u32> {
    match source {
        PathSource::Kernel(route) => Some(route.metric).filter(|metric| *metric != 0),
        _ => None,
    }
}

/// What decides the attributes besides the peer: routes with equal keys go into one UPDATE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AttributeKey {
    source: SourceAttributes,
    changes: Changes,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SourceAttributes {
    /// A BGP route: its peer, and the identity of its shared attributes.
    Bgp(PeerId, usize),
    /// A local route: its gateway and metric, where the kernel gave it some.
    Local(Option<IpAddr>, u32),
}

impl AttributeKey {
    /// The key of a route from `source` that undergoes `changes`.
    pub(super) fn of(source: &PathSource, changes: Changes) -> Self {
        let source = match source {
            PathSource::Bgp(peer, attributes) => SourceAttributes::Bgp(*peer, Arc::as_ptr(attributes) as usize),
            PathSource::Kernel(route) => SourceAttributes::Local(route.via, route.metric),
            PathSource::Direct(_) | PathSource::Static(_) => SourceAttributes::Local(None, 0),
        };
        Self { source, changes }
    }

    /// The changes.
    pub(super) fn changes(&self) -> &Changes {
        &self.changes
    }
}

/// How the kernel filter (calico-behaviour 3.3) has the selected route written; `None` if not at all.
///
/// `paths` are all that there are of the prefix, each with the clause that it lost by.
pub(super) fn kernel_hop<'a>(
    policy: &PolicyConfig,
    prefix: IpNet,
    paths: impl Iterator<Item = (&'a PathSource, Option<Clause>)> + Clone,
    next_hops: &NextHops,
) -> Option<FibHop> {
    let (source, _) = paths.clone().find(|(_, lost)| lost.is_none())?;
    let rule = match prefix {
        IpNet::V4(prefix) => {
            policy.pools.iter().find(|pool| pool.cidr.contains(&prefix)).map(|pool: &PoolPolicy| &pool.kernel)
        }
        // The fabric has no IPv6 yet.
        IpNet::V6(_) => return None,
    };
    if rule == Some(&KernelRule::Refuse) {
        return None;
    }
    let PathSource::Bgp(_, attributes) = source else {
        return match source {
            PathSource::Static(None) => Some(FibHop::blackhole()),
            PathSource::Static(Some(gateway)) => next_hops.resolved(**gateway).map(FibHop::through),
            // BIRD writes neither what the kernel has by itself nor what it learned from it.
            _ => None,
        };
    };
    let metric = match policy.normal_priority {
        Some(_) => PRIORITY_SUM.saturating_sub(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
        None => 0,
    };
    // The kernel has one route of a destination and metric: where somebody wrote it before us, it stays.
    let is_taken = |path: &PathSource| matches!(path, PathSource::Kernel(route) if route.metric == metric);
    if paths.clone().any(|(path, _)| is_taken(path)) {
        return None;
    }
    let resolution = next_hops.resolved(attributes.next_hop)?;
    let tunnel = match (rule, attributes.next_hop) {
        (Some(KernelRule::Tunnel { dev, unless }), IpAddr::V4(next_hop)) => {
            Some(dev).filter(|_| !unless.is_some_and(|network| network.contains(&next_hop)))
        }
        _ => None,
    };
    let several = match policy.merge_paths {
        true => merged(source, paths, next_hops),
        false => Vec::new(),
    };
    let mut hop = match tunnel {
        _ if several.len() > 1 => FibHop { nexthops: several, ..FibHop::blackhole() },
        // The kernel refuses a route through a device that is down, and the plain way must not take its place: packets would leave
        // unwrapped.
        Some(dev) if !next_hops.has_interface(dev) => return None,
        Some(dev) => {
            FibHop { via: Some(attributes.next_hop), dev: Some(dev.clone()), onlink: true, ..FibHop::blackhole() }
        }
        None => FibHop::through(resolution),
    };
    (hop.kind, hop.metric) = (RouteKind::Unicast, metric);
    Some(hop)
}

/// The ways of the selected path and of those as good up to the next hop's distance, by gateway: BIRD's `merge paths`.
fn merged<'a>(
    selected: &PathSource,
    paths: impl Iterator<Item = (&'a PathSource, Option<Clause>)>,
    next_hops: &NextHops,
) -> Vec<NextHop> {
    let as_good = |lost: Option<Clause>| lost.is_none_or(|clause| clause > Clause::IgpMetric);
    let external = |source: &PathSource| next_hops.resolution(source).map(|found| (found.gateway, found.dev.clone()));
    let mut ways: Vec<(IpAddr, IfName)> = paths
        .filter(|(path, lost)| as_good(*lost) && path.preference() == selected.preference())
        .filter_map(|(path, _)| external(path))
        .collect();
    ways.sort();
    ways.dedup();
    ways.into_iter().map(|(via, dev)| NextHop { via: Some(via), dev: Some(dev), weight: 1 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::event::KernelSnapshot;
    use crate::bgp::tests;
    use crate::bgp::wire::{AsPath, AsSegment};
    use crate::net::{Asn, Filter, FilterRule, PrefixAdvertisement};
    use crate::net::{BgpIdentifier, Route};

    fn pool(cidr: &str, kernel: KernelRule) -> PoolPolicy {
        PoolPolicy { cidr: cidr.parse().unwrap(), disable_bgp_export: false, kernel }
    }

    fn policy() -> PolicyConfig {
        PolicyConfig {
            own_blocks: vec!["10.244.140.128/26".parse().unwrap()],
            pools: vec![pool("10.244.0.0/16", KernelRule::Direct)],
            normal_priority: None,
            ..PolicyConfig::default()
        }
    }

    fn current() -> PolicyConfig {
        PolicyConfig { normal_priority: Some(1024), ..policy() }
    }

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 2));

    /// A speaker with an internal peer, an external one, a client, and another internal one.
    fn speaker(policy: PolicyConfig) -> SpeakerConfig {
        let addresses = ["172.18.0.2", "172.18.0.3", "172.18.0.4", "172.18.0.5", "172.18.0.6"];
        let nodes = addresses.map(|address| (address, if address == "172.18.0.4" { 65001 } else { 64512 }));
        let nodes = nodes.map(|(address, asn)| tests::node(address, asn, &[]));
        let mut config = tests::speaker_config(&nodes[0], &nodes, tests::fast_timers(), false);
        config.policy = policy;
        config.peers[2].rr_client = true;
        config
    }

    const INTERNAL: usize = 0;
    const EXTERNAL: usize = 1;
    const CLIENT: usize = 2;

    fn target(speaker: &SpeakerConfig, peer: usize) -> ExportPeer<'_> {
        ExportPeer { id: PeerId(peer as u32), config: &speaker.peers[peer], local: LOCAL }
    }

    /// Who a route from peer `from` came from, with an identifier that says so.
    fn from(speaker: &SpeakerConfig, source: &PathSource) -> Option<SourcePeer> {
        match source {
            PathSource::Bgp(id, _) => Some(SourcePeer::of(speaker, *id, BgpIdentifier([9, 9, 9, id.0 as u8].into()))),
            _ => None,
        }
    }

    fn attributes(policy: PolicyConfig, source: &PathSource, peer: usize) -> Attributes {
        let speaker = speaker(policy);
        exported_attributes(&speaker, source, from(&speaker, source), &Changes::default(), &target(&speaker, peer))
    }

    fn kernel(route: &str) -> PathSource {
        PathSource::Kernel(Arc::new(route.parse().unwrap()))
    }

    fn bgp(from: usize, change: impl FnOnce(&mut Attributes)) -> PathSource {
        let mut attributes = Attributes { local_pref: Some(100), ..Attributes::local("172.18.0.3".parse().unwrap()) };
        change(&mut attributes);
        PathSource::Bgp(PeerId(from as u32), Arc::new(attributes))
    }

    fn exported(policy: &PolicyConfig, prefix: &str, source: &PathSource, peer: usize) -> bool {
        let speaker = speaker(policy.clone());
        let dev = match source {
            PathSource::Kernel(route) => route.dev.as_ref(),
            _ => None,
        };
        let route = ExportRoute { prefix: prefix.parse().unwrap(), source, from: from(&speaker, source), dev };
        export(policy, &route, &target(&speaker, peer)).is_some()
    }

    #[test]
    fn the_own_block_is_exported_and_nothing_inside_it() {
        assert!(exported(&policy(), "10.244.140.128/26", &PathSource::Static(None), INTERNAL));
        let pod = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link");
        assert!(!exported(&policy(), "10.244.140.132/32", &pod, INTERNAL));
        assert!(!exported(&policy(), "10.244.140.132/32", &pod, EXTERNAL));
    }

    #[test]
    fn an_urgent_workload_route_inside_the_own_block_is_exported_in_current_only() {
        let urgent = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 512");
        let normal = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 1024");
        assert!(exported(&current(), "10.244.140.132/32", &urgent, INTERNAL));
        assert!(!exported(&current(), "10.244.140.132/32", &normal, INTERNAL));
        assert!(!exported(&policy(), "10.244.140.132/32", &urgent, INTERNAL));
    }

    #[test]
    fn a_borrowed_address_in_another_block_of_a_pool_is_exported() {
        let pod = kernel("10.244.9.9 dev cali9c3ed6d06f3 scope link");
        assert!(exported(&policy(), "10.244.9.9/32", &pod, INTERNAL));
    }

    #[test]
    fn what_lies_in_no_pool_is_refused() {
        let direct = PathSource::Direct(Arc::new(IfName::eth(0)));
        assert!(!exported(&policy(), "172.18.0.0/16", &direct, INTERNAL));
        assert!(!exported(&policy(), "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0"), EXTERNAL));
    }

    #[test]
    fn a_pool_with_disable_bgp_export_is_refused_even_for_the_own_block() {
        let mut policy = policy();
        policy.pools[0].disable_bgp_export = true;
        assert!(!exported(&policy, "10.244.140.128/26", &PathSource::Static(None), INTERNAL));
    }

    #[test]
    fn routes_out_of_tunnel_devices_stay_from_internal_peers_only() {
        let vxlan = kernel("10.244.9.0/26 via 10.244.9.1 dev vxlan.calico onlink");
        assert!(!exported(&policy(), "10.244.9.0/26", &vxlan, INTERNAL));
        assert!(exported(&policy(), "10.244.9.0/26", &vxlan, EXTERNAL));
        let ipip = kernel("10.244.9.0/26 via 10.0.0.202 dev tunl0 proto 80 onlink");
        assert!(!exported(&current(), "10.244.9.0/26", &ipip, INTERNAL));
        assert!(exported(&policy(), "10.244.9.0/26", &ipip, INTERNAL));
        let bpf = kernel("10.244.9.0/26 dev bpfin.cali");
        assert!(!exported(&policy(), "10.244.9.0/26", &bpf, EXTERNAL));
    }

    #[test]
    fn an_internal_route_goes_to_external_peers_only_and_none_goes_back() {
        let learned = bgp(INTERNAL, |_| {});
        let prefix = "10.244.73.64/26";
        assert!(!exported(&policy(), prefix, &bgp(3, |_| {}), INTERNAL));
        assert!(exported(&policy(), prefix, &learned, EXTERNAL));
        assert!(!exported(&policy(), prefix, &learned, INTERNAL));
        assert!(exported(&policy(), prefix, &bgp(EXTERNAL, |_| {}), INTERNAL));
    }

    #[test]
    fn a_reflector_passes_on_from_and_to_its_clients() {
        let prefix = "10.244.73.64/26";
        assert!(exported(&policy(), prefix, &bgp(CLIENT, |_| {}), INTERNAL));
        assert!(exported(&policy(), prefix, &bgp(INTERNAL, |_| {}), CLIENT));
        assert!(!exported(&policy(), prefix, &bgp(CLIENT, |_| {}), CLIENT), "not back");
        let mut reflector = speaker(policy());
        reflector.cluster_id = Some(BgpIdentifier("1.0.0.1".parse().unwrap()));
        let reflected = |source: &PathSource, peer| {
            let from = from(&reflector, source);
            exported_attributes(&reflector, source, from, &Changes::default(), &target(&reflector, peer))
        };
        let plain = reflected(&bgp(CLIENT, |_| {}), INTERNAL);
        let id = |text: &str| BgpIdentifier(text.parse().unwrap());
        assert_eq!((plain.originator_id, plain.cluster_list), (Some(id("9.9.9.2")), vec![id("1.0.0.1")]));
        assert_eq!(plain.next_hop.to_string(), "172.18.0.3", "unchanged");
        let again = reflected(
            &bgp(CLIENT, |attributes| {
                attributes.originator_id = Some(id("8.8.8.8"));
                attributes.cluster_list = vec![id("1.0.0.2")];
            }),
            INTERNAL,
        );
        assert_eq!(again.originator_id, Some(id("8.8.8.8")));
        assert_eq!(again.cluster_list, [id("1.0.0.1"), id("1.0.0.2")]);
        let looped = |cluster: &str| {
            let mut attributes = Attributes::local(LOCAL);
            attributes.cluster_list = vec![id(cluster)];
            [INTERNAL, EXTERNAL].map(|peer| is_looped(&reflector, &reflector.peers[peer], &attributes))
        };
        assert_eq!(looped("1.0.0.1"), [true, false]);
        assert_eq!(looped("1.0.0.2"), [false, false]);
    }

    #[test]
    fn an_export_filter_is_final_and_skips_the_chain() {
        let leak = Filter { name: "leak".into(), rules: vec![FilterRule { accept: true, ..FilterRule::default() }] };
        let pod = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link");
        let mut policy = policy();
        policy.advertisements = vec![PrefixAdvertisement {
            cidr: "10.244.0.0/16".parse().unwrap(),
            communities: vec!["64512:100".parse().unwrap()],
        }];
        let told = |filters: Vec<Filter>, prefix: &str, source: &PathSource| {
            let mut speaker = speaker(policy.clone());
            speaker.peers[EXTERNAL].export_filters = filters;
            let target = target(&speaker, EXTERNAL);
            let route = ExportRoute { prefix: prefix.parse().unwrap(), source, from: None, dev: None };
            let changes = export(&speaker.policy, &route, &target)?;
            Some(exported_attributes(&speaker, source, None, &changes, &target).communities)
        };
        let block = "10.244.140.128/26";
        assert_eq!(told(vec![], block, &PathSource::Static(None)), Some(vec![64512 << 16 | 100]));
        assert_eq!(told(vec![], "10.244.140.132/32", &pod), None);
        assert_eq!(
            told(vec![leak.clone()], "10.244.140.132/32", &pod),
            Some(vec![]),
            "the /32 leaks, without communities"
        );
        let mut reject = leak;
        reject.rules[0].accept = false;
        assert_eq!(told(vec![reject], block, &PathSource::Static(None)), None);
    }

    #[test]
    fn a_router_exports_what_it_originates_and_what_it_learned() {
        let networks = vec!["10.1.0.0/24".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
        let router =
            PolicyConfig { export: ExportPolicy::Router { networks, transit: true }, ..PolicyConfig::default() };
        assert!(exported(&router, "10.1.0.0/24", &PathSource::Static(None), EXTERNAL));
        assert!(exported(&router, "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0"), EXTERNAL));
        assert!(exported(&router, "10.244.9.0/26", &bgp(EXTERNAL + 1, |_| {}), EXTERNAL));
        assert!(!exported(&router, "10.244.9.0/26", &bgp(INTERNAL, |_| {}), INTERNAL), "not back");
        assert!(!exported(&router, "172.18.0.0/16", &PathSource::Direct(Arc::new(IfName::eth(0))), EXTERNAL));
        assert!(!exported(&router, "10.9.0.0/16", &kernel("10.9.0.0/16 via 172.18.0.9 dev eth0"), EXTERNAL));
        let networks = vec!["10.1.0.0/24".parse().unwrap()];
        let stub =
            PolicyConfig { export: ExportPolicy::Router { networks, transit: false }, ..PolicyConfig::default() };
        assert!(exported(&stub, "10.1.0.0/24", &PathSource::Static(None), EXTERNAL));
        assert!(!exported(&stub, "10.244.9.0/26", &bgp(EXTERNAL + 1, |_| {}), EXTERNAL));
    }

    #[test]
    fn the_next_hop_mode_overrules_bgps_default_both_ways() {
        let learned = bgp(EXTERNAL, |_| {});
        let next_hop = |peer: usize, mode| {
            let mut speaker = speaker(policy());
            speaker.peers[peer].next_hop = mode;
            let target = target(&speaker, peer);
            exported_attributes(&speaker, &learned, None, &Changes::default(), &target).next_hop.to_string()
        };
        use NextHopMode::{Auto, Keep, Own};
        assert_eq!([Auto, Own, Keep].map(|mode| next_hop(EXTERNAL, mode)), ["172.18.0.2", "172.18.0.2", "172.18.0.3"]);
        assert_eq!([Auto, Own, Keep].map(|mode| next_hop(INTERNAL, mode)), ["172.18.0.3", "172.18.0.2", "172.18.0.3"]);
    }

    #[test]
    fn well_known_communities_are_honoured() {
        let passes = |community: u32| {
            let source = bgp(EXTERNAL, |attributes| attributes.communities = vec![community]);
            let prefix = "10.244.73.64/26".parse().unwrap();
            let speaker = speaker(policy());
            let route = ExportRoute { prefix, source: &source, from: None, dev: None };
            [INTERNAL, EXTERNAL].map(|peer| export(&speaker.policy, &route, &target(&speaker, peer)).is_some())
        };
        assert_eq!(passes(NO_EXPORT), [true, false]);
        assert_eq!(passes(NO_ADVERTISE), [false, false]);
        assert_eq!(passes(NO_EXPORT_SUBCONFED), [true, false]);
        assert_eq!(passes(64512), [true, true]);
    }

    #[test]
    fn a_local_route_goes_to_an_internal_peer_with_our_address_and_local_pref() {
        let found = attributes(policy(), &PathSource::Static(None), INTERNAL);
        assert_eq!(found, Attributes { local_pref: Some(100), ..Attributes::local(LOCAL) });
        let found = attributes(current(), &PathSource::Static(None), INTERNAL);
        assert_eq!(found.local_pref, Some(2_147_482_623));
        let urgent = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 512");
        assert_eq!(attributes(current(), &urgent, INTERNAL).local_pref, Some(2_147_483_135));
    }

    #[test]
    fn to_an_external_peer_our_as_is_prepended_and_what_is_internal_is_taken_off() {
        let learned = bgp(EXTERNAL, |attributes| {
            attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![Asn(65001)])]);
            attributes.med = Some(5);
            attributes.originator_id = Some(BgpIdentifier("1.1.1.1".parse().unwrap()));
            attributes.cluster_list = vec![BgpIdentifier("1.0.0.1".parse().unwrap())];
        });
        let expected = Attributes {
            as_path: AsPath(vec![AsSegment::Sequence(vec![Asn(64512), Asn(65001)])]),
            med: Some(0),
            ..Attributes::local(LOCAL)
        };
        assert_eq!(attributes(policy(), &learned, EXTERNAL), expected);
    }

    #[test]
    fn to_an_internal_peer_an_external_route_keeps_next_hop_and_med() {
        let learned = bgp(EXTERNAL, |attributes| {
            attributes.med = Some(5);
            attributes.local_pref = None;
        });
        let PathSource::Bgp(_, received) = &learned else { unreachable!("made above") };
        let expected = Attributes { local_pref: Some(100), ..Attributes::clone(received) };
        assert_eq!(attributes(policy(), &learned, INTERNAL), expected);
    }

    fn next_hops() -> NextHops {
        let mut next_hops = NextHops::default();
        let up = |name: &str, address: &str| (IfName::new(name).unwrap(), vec![address.parse().unwrap()]);
        next_hops.update(&KernelSnapshot {
            interfaces: vec![up("eth0", "172.18.0.2/16"), up("tunl0", "10.244.140.128/32")],
            routes: Vec::new(),
        });
        for next_hop in ["172.18.0.3", "172.18.0.4", "172.18.0.9"] {
            next_hops.resolve(next_hop.parse().unwrap());
        }
        next_hops
    }

    fn in_kernel(policy: &PolicyConfig, prefix: &str, source: &PathSource) -> Option<String> {
        let prefix: IpNet = prefix.parse().unwrap();
        let other = kernel("10.99.1.0/24 via 172.18.0.1 dev eth0");
        let taken = (prefix.to_string() == "10.99.1.0/24").then_some((&other, Some(Clause::Preference)));
        let paths = [(source, None)].into_iter().chain(taken);
        Some(kernel_hop(policy, prefix, paths, &next_hops())?.route(prefix).to_string())
    }

    #[test]
    fn equally_good_paths_are_merged_where_that_is_wanted() {
        let [first, second, same] = ["172.18.0.4", "172.18.0.3", "172.18.0.3"]
            .map(|next_hop| bgp(INTERNAL, |attributes| attributes.next_hop = next_hop.parse().unwrap()));
        let worse = bgp(INTERNAL, |attributes| attributes.next_hop = "172.18.0.9".parse().unwrap());
        let paths = [
            (&first, None),
            (&second, Some(Clause::RouterId)),
            (&same, Some(Clause::PeerAddress)),
            (&worse, Some(Clause::IgpMetric)),
        ];
        let hop = |merge_paths| {
            let policy = PolicyConfig { merge_paths, ..policy() };
            let prefix: IpNet = "10.244.73.64/26".parse().unwrap();
            kernel_hop(&policy, prefix, paths.into_iter(), &next_hops()).unwrap().route(prefix).to_string()
        };
        assert_eq!(hop(false), "10.244.73.64/26 via 172.18.0.4 dev eth0 proto bird");
        assert_eq!(
            hop(true).split_whitespace().collect::<Vec<_>>().join(" "),
            "10.244.73.64/26 proto bird nexthop via 172.18.0.3 dev eth0 weight 1 nexthop via 172.18.0.4 dev eth0 weight 1"
        );
    }

    #[test]
    fn routes_go_into_the_kernel_in_their_pools_form() {
        let learned = bgp(EXTERNAL, |_| {});
        let plain = "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird";
        assert_eq!(in_kernel(&policy(), "10.244.73.64/26", &learned).unwrap(), plain);
        let with = |rule| PolicyConfig { pools: vec![pool("10.244.0.0/16", rule)], ..policy() };
        assert_eq!(in_kernel(&with(KernelRule::Refuse), "10.244.73.64/26", &learned), None);
        let tunnel = |name, unless: Option<&str>| KernelRule::Tunnel {
            dev: IfName::new(name).unwrap(),
            unless: unless.map(|net| net.parse().unwrap()),
        };
        assert_eq!(
            in_kernel(&with(tunnel("tunl0", None)), "10.244.73.64/26", &learned).unwrap(),
            "10.244.73.64/26 via 172.18.0.3 dev tunl0 proto bird onlink"
        );
        let near = with(tunnel("tunl0", Some("172.18.0.0/16")));
        assert_eq!(in_kernel(&near, "10.244.73.64/26", &learned).unwrap(), plain);
        assert_eq!(in_kernel(&with(tunnel("tunl9", None)), "10.244.73.64/26", &learned), None);
        // Outside every pool: accepted (rule 5).
        assert_eq!(
            in_kernel(&with(KernelRule::Refuse), "10.99.0.0/24", &learned).unwrap(),
            "10.99.0.0/24 via 172.18.0.3 dev eth0 proto bird"
        );
        assert_eq!(in_kernel(&with(KernelRule::Refuse), "10.99.1.0/24", &learned), None, "the kernel has one already");
    }

    #[test]
    fn current_gives_bgp_routes_a_metric_and_blackholes_none() {
        let from_node = bgp(EXTERNAL, |attributes| attributes.local_pref = Some(2_147_482_623));
        assert_eq!(
            in_kernel(&current(), "10.244.73.64/26", &from_node).unwrap(),
            "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird metric 1024"
        );
        let from_router = bgp(EXTERNAL, |attributes| attributes.local_pref = None);
        assert_eq!(
            in_kernel(&current(), "10.99.0.0/24", &from_router).unwrap(),
            "10.99.0.0/24 via 172.18.0.3 dev eth0 proto bird metric 2147483547"
        );
        assert_eq!(
            in_kernel(&current(), "10.244.140.128/26", &PathSource::Static(None)).unwrap(),
            "blackhole 10.244.140.128/26 proto bird"
        );
    }

    #[test]
    fn direct_and_learned_routes_are_not_written_back() {
        assert_eq!(in_kernel(&policy(), "172.18.0.0/16", &PathSource::Direct(Arc::new(IfName::eth(0)))), None);
        let route: Route = "10.9.0.0/16 via 172.18.0.9 dev eth0".parse().unwrap();
        assert_eq!(in_kernel(&policy(), "10.9.0.0/16", &PathSource::Kernel(Arc::new(route))), None);
    }
}
