//! What may be told to a peer and in which form (calico-behaviour 7.4, 7.5), and what goes into the kernel and how (3.2, 3.3).
//!
//! Pure functions of a route and the configuration; whoever calls them holds the tables.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::config::{ExportPolicy, KernelRule, NextHopMode, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig};
use super::event::PeerId;
use super::next_hop::Resolution;
use super::rib::{FibHop, PathSource};
use super::wire::Attributes;
use crate::net::{Asn, IfName, RouteKind};

/// LOCAL_PREF and metric add up to this in profile `current` (calico-behaviour 3.3 rule 2, 7.5 step 1).
const PRIORITY_SUM: u32 = 2_147_483_647;

/// BIRD's `default bgp_local_pref`.
const DEFAULT_LOCAL_PREF: u32 = 100;

const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

/// The session that a route is exported to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExportPeer {
    /// Which one it is.
    pub(super) id: PeerId,
    /// Of another AS.
    pub(super) external: bool,
    /// Our AS.
    pub(super) local_as: Asn,
    /// Our address on it: the default next hop.
    pub(super) local: IpAddr,
    /// What becomes of the next hop.
    pub(super) next_hop: NextHopMode,
}

impl ExportPeer {
    /// The session `id` of `speaker`, on which our address is `local`.
    pub(super) fn new(id: PeerId, speaker: &SpeakerConfig, peer: &PeerConfig, local: IpAddr) -> Self {
        let external = peer.remote_as != speaker.local_as;
        Self { id, external, local_as: speaker.local_as, local, next_hop: peer.next_hop }
    }
}

/// Whether a received route is one that came round: our own AS in the path more often than allowed (RFC 4271 §9.1.2), or a
/// reflected route of our own (RFC 4456 §8).
pub(super) fn is_looped(speaker: &SpeakerConfig, peer: &PeerConfig, attributes: &Attributes) -> bool {
    let internal = peer.remote_as == speaker.local_as;
    attributes.as_path.contains(speaker.local_as) > peer.allowed_local_as as usize
        || (internal && attributes.originator_id == Some(speaker.router_id))
}

/// The route to be exported.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExportRoute<'a> {
    /// The destination.
    pub(super) prefix: IpNet,
    /// Where it came from.
    pub(super) source: &'a PathSource,
    /// For a BGP route, whether its peer is of another AS.
    pub(super) learned_externally: bool,
    /// The interface that it leads out of, if any.
    pub(super) dev: Option<&'a IfName>,
}

/// Whether a route from `source` may go to a peer at all, whatever its prefix: never back to the peer that it came from, and from an
/// internal peer not to another one (RFC 4271 §9.2).
pub(super) fn may_pass(source: &PathSource, learned_externally: bool, peer: PeerId, external: bool) -> bool {
    match source {
        PathSource::Bgp(from, _) => *from != peer && (external || learned_externally),
        PathSource::Direct(_) | PathSource::Static | PathSource::Kernel(_) => true,
    }
}

/// The whole export decision but for the attributes.
pub(super) fn exports(policy: &PolicyConfig, route: &ExportRoute<'_>, peer: &ExportPeer) -> bool {
    may_pass(route.source, route.learned_externally, peer.id, peer.external)
        && communities_allow(route.source, peer.external)
        && chain_accepts(policy, route, peer.external)
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
fn chain_accepts(policy: &PolicyConfig, route: &ExportRoute<'_>, external: bool) -> bool {
    if let ExportPolicy::Router { networks } = &policy.export {
        return matches!(route.source, PathSource::Bgp(..)) || networks.contains(&route.prefix);
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

/// The attributes with which an exported route goes to `peer` (RFC 4271 §5.1, calico-behaviour 7.4).
pub(super) fn exported_attributes(policy: &PolicyConfig, source: &PathSource, peer: &ExportPeer) -> Attributes {
    let mut attributes = match source {
        PathSource::Bgp(_, attributes) => Attributes::clone(attributes),
        // BIRD passes a kernel route's gateway on to internal peers, and nothing else's.
        PathSource::Kernel(route) if !peer.external => Attributes::local(route.via.unwrap_or(peer.local)),
        PathSource::Kernel(_) | PathSource::Direct(_) | PathSource::Static => Attributes::local(peer.local),
    };
    if peer.external {
        attributes.as_path.prepend(peer.local_as);
        attributes.local_pref = None;
        attributes.originator_id = None;
        attributes.cluster_list = Vec::new();
        // MED is for one neighbour AS only (RFC 4271 §5.1.4); BIRD 1.6 resets a received one instead of dropping it.
        attributes.med = attributes.med.map(|_| 0);
    } else {
        attributes.local_pref = Some(match (attributes.local_pref, policy.normal_priority) {
            (Some(received), _) => received,
            (None, Some(normal)) if !matches!(source, PathSource::Bgp(..)) => {
                PRIORITY_SUM.saturating_sub(kernel_metric(source).unwrap_or(normal))
            }
            (None, _) => DEFAULT_LOCAL_PREF,
        });
    }
    if peer.next_hop == NextHopMode::Own || (peer.next_hop == NextHopMode::Auto && peer.external) {
        attributes.next_hop = peer.local;
    }
    attributes
}

fn kernel_metric(source: &PathSource) -> Option<u32> {
    match source {
        PathSource::Kernel(route) => Some(route.metric).filter(|metric| *metric != 0),
        _ => None,
    }
}

/// What decides the attributes besides the peer: routes with equal keys go into one UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum AttributeKey {
    /// A BGP route: the identity of its shared attributes.
    Bgp(usize),
    /// A local route: its gateway and metric, where the kernel gave it some.
    Local(Option<IpAddr>, u32),
}

impl AttributeKey {
    /// The key of a route from `source`.
    pub(super) fn of(source: &PathSource) -> Self {
        match source {
            PathSource::Bgp(_, attributes) => Self::Bgp(std::sync::Arc::as_ptr(attributes) as usize),
            PathSource::Kernel(route) => Self::Local(route.via, route.metric),
            PathSource::Direct(_) | PathSource::Static => Self::Local(None, 0),
        }
    }
}

/// How the kernel filter (calico-behaviour 3.3) has the selected route written; `None` if not at all.
///
/// `paths` are all that there are of the prefix, and `tunnel_up` says whether a tunnel device exists.
pub(super) fn kernel_hop<'a>(
    policy: &PolicyConfig,
    prefix: IpNet,
    source: &PathSource,
    mut paths: impl Iterator<Item = &'a PathSource>,
    resolution: Option<&Resolution>,
    tunnel_up: impl Fn(&IfName) -> bool,
) -> Option<FibHop> {
    let rule = match prefix {
        IpNet::V4(prefix) => {
            policy.pools.iter().find(|pool| pool.cidr.contains(&prefix)).map(|pool: &PoolPolicy| &pool.kernel)
        }
        IpNet::V6(_) => None,
    };
    if rule == Some(&KernelRule::Refuse) {
        return None;
    }
    match source {
        // BIRD writes neither what the kernel has by itself nor what it learned from it.
        PathSource::Direct(_) | PathSource::Kernel(_) => None,
        PathSource::Static => {
            Some(FibHop { kind: RouteKind::Blackhole, via: None, dev: None, metric: 0, onlink: false })
        }
        PathSource::Bgp(_, attributes) => {
            let resolution = resolution?;
            let metric = match policy.normal_priority {
                Some(_) => PRIORITY_SUM.saturating_sub(attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)),
                None => 0,
            };
            let tunnel = match (rule, attributes.next_hop) {
                (Some(KernelRule::Tunnel { dev, unless }), IpAddr::V4(next_hop)) => {
                    Some(dev).filter(|_| !unless.is_some_and(|network| network.contains(&next_hop)))
                }
                _ => None,
            };
            // The kernel refuses a route through a device that is down, and the plain way must not take its place: packets
            // would leave unwrapped.
            if tunnel.is_some_and(|dev| !tunnel_up(dev)) {
                return None;
            }
            // The kernel has one route of a destination and metric: where somebody wrote it before us, it stays.
            if paths.any(|path| matches!(path, PathSource::Kernel(route) if route.metric == metric)) {
                return None;
            }
            Some(match tunnel {
                Some(dev) => FibHop {
                    kind: RouteKind::Unicast,
                    via: Some(attributes.next_hop),
                    dev: Some(dev.clone()),
                    metric,
                    onlink: true,
                },
                None => FibHop {
                    kind: RouteKind::Unicast,
                    via: Some(resolution.gateway),
                    dev: Some(resolution.dev.clone()),
                    metric,
                    onlink: false,
                },
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bgp::wire::{AsPath, AsSegment};
    use crate::net::{BgpIdentifier, Route};

    fn pool(cidr: &str, kernel: KernelRule) -> PoolPolicy {
        PoolPolicy { cidr: cidr.parse().unwrap(), disable_bgp_export: false, kernel }
    }

    fn policy() -> PolicyConfig {
        PolicyConfig {
            own_blocks: vec!["10.244.140.128/26".parse().unwrap()],
            pools: vec![pool("10.244.0.0/16", KernelRule::Direct)],
            normal_priority: None,
            export: ExportPolicy::Calico,
        }
    }

    fn current() -> PolicyConfig {
        PolicyConfig { normal_priority: Some(1024), ..policy() }
    }

    const INTERNAL: ExportPeer = ExportPeer {
        id: PeerId(0),
        external: false,
        local_as: Asn(64512),
        local: IpAddr::V4(std::net::Ipv4Addr::new(172, 18, 0, 2)),
        next_hop: NextHopMode::Auto,
    };
    const EXTERNAL: ExportPeer = ExportPeer { external: true, ..INTERNAL };

    fn kernel(route: &str) -> PathSource {
        PathSource::Kernel(Arc::new(route.parse().unwrap()))
    }

    fn bgp(from: u32, change: impl FnOnce(&mut Attributes)) -> PathSource {
        let mut attributes = Attributes { local_pref: Some(100), ..Attributes::local("172.18.0.3".parse().unwrap()) };
        change(&mut attributes);
        PathSource::Bgp(PeerId(from), Arc::new(attributes))
    }

    fn exported(policy: &PolicyConfig, prefix: &str, source: &PathSource, peer: &ExportPeer) -> bool {
        let dev = match source {
            PathSource::Kernel(route) => route.dev.as_ref(),
            _ => None,
        };
        let route = ExportRoute { prefix: prefix.parse().unwrap(), source, learned_externally: false, dev };
        exports(policy, &route, peer)
    }

    #[test]
    fn the_own_block_is_exported_and_nothing_inside_it() {
        assert!(exported(&policy(), "10.244.140.128/26", &PathSource::Static, &INTERNAL));
        let pod = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link");
        assert!(!exported(&policy(), "10.244.140.132/32", &pod, &INTERNAL));
        assert!(!exported(&policy(), "10.244.140.132/32", &pod, &EXTERNAL));
    }

    #[test]
    fn an_urgent_workload_route_inside_the_own_block_is_exported_in_current_only() {
        let urgent = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 512");
        let normal = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 1024");
        assert!(exported(&current(), "10.244.140.132/32", &urgent, &INTERNAL));
        assert!(!exported(&current(), "10.244.140.132/32", &normal, &INTERNAL));
        assert!(!exported(&policy(), "10.244.140.132/32", &urgent, &INTERNAL));
    }

    #[test]
    fn a_borrowed_address_in_another_block_of_a_pool_is_exported() {
        let pod = kernel("10.244.9.9 dev cali9c3ed6d06f3 scope link");
        assert!(exported(&policy(), "10.244.9.9/32", &pod, &INTERNAL));
    }

    #[test]
    fn what_lies_in_no_pool_is_refused() {
        let direct = PathSource::Direct(IfName::eth(0));
        assert!(!exported(&policy(), "172.18.0.0/16", &direct, &INTERNAL));
        assert!(!exported(&policy(), "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0"), &EXTERNAL));
    }

    #[test]
    fn a_pool_with_disable_bgp_export_is_refused_even_for_the_own_block() {
        let mut policy = policy();
        policy.pools[0].disable_bgp_export = true;
        assert!(!exported(&policy, "10.244.140.128/26", &PathSource::Static, &INTERNAL));
    }

    #[test]
    fn routes_out_of_tunnel_devices_stay_from_internal_peers_only() {
        let vxlan = kernel("10.244.9.0/26 via 10.244.9.1 dev vxlan.calico onlink");
        assert!(!exported(&policy(), "10.244.9.0/26", &vxlan, &INTERNAL));
        assert!(exported(&policy(), "10.244.9.0/26", &vxlan, &EXTERNAL));
        let ipip = kernel("10.244.9.0/26 via 10.0.0.202 dev tunl0 proto 80 onlink");
        assert!(!exported(&current(), "10.244.9.0/26", &ipip, &INTERNAL));
        assert!(exported(&policy(), "10.244.9.0/26", &ipip, &INTERNAL));
        let bpf = kernel("10.244.9.0/26 dev bpfin.cali");
        assert!(!exported(&policy(), "10.244.9.0/26", &bpf, &EXTERNAL));
    }

    #[test]
    fn an_internal_route_goes_to_external_peers_only_and_none_goes_back() {
        let learned = bgp(7, |_| {});
        assert!(!exported(&policy(), "10.244.73.64/26", &learned, &INTERNAL));
        assert!(exported(&policy(), "10.244.73.64/26", &learned, &EXTERNAL));
        assert!(!exported(&policy(), "10.244.73.64/26", &bgp(0, |_| {}), &EXTERNAL));
    }

    #[test]
    fn a_router_exports_what_it_originates_and_what_it_learned() {
        let networks = vec!["10.1.0.0/24".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
        let router = PolicyConfig { export: ExportPolicy::Router { networks }, ..PolicyConfig::default() };
        assert!(exported(&router, "10.1.0.0/24", &PathSource::Static, &EXTERNAL));
        assert!(exported(&router, "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0"), &EXTERNAL));
        assert!(exported(&router, "10.244.9.0/26", &bgp(7, |_| {}), &EXTERNAL));
        assert!(!exported(&router, "10.244.9.0/26", &bgp(7, |_| {}), &INTERNAL), "from internal to internal");
        assert!(!exported(&router, "172.18.0.0/16", &PathSource::Direct(IfName::eth(0)), &EXTERNAL));
        assert!(!exported(&router, "10.9.0.0/16", &kernel("10.9.0.0/16 via 172.18.0.9 dev eth0"), &EXTERNAL));
    }

    #[test]
    fn the_next_hop_mode_overrules_bgps_default_both_ways() {
        let learned = bgp(7, |_| {});
        let next_hop = |peer: ExportPeer, next_hop| {
            exported_attributes(&policy(), &learned, &ExportPeer { next_hop, ..peer }).next_hop.to_string()
        };
        use NextHopMode::{Auto, Keep, Own};
        assert_eq!([Auto, Own, Keep].map(|mode| next_hop(EXTERNAL, mode)), ["172.18.0.2", "172.18.0.2", "172.18.0.3"]);
        assert_eq!([Auto, Own, Keep].map(|mode| next_hop(INTERNAL, mode)), ["172.18.0.3", "172.18.0.2", "172.18.0.3"]);
    }

    #[test]
    fn well_known_communities_are_honoured() {
        let passes = |community: u32| {
            let source = bgp(7, |attributes| attributes.communities = vec![community]);
            let prefix = "10.244.73.64/26".parse().unwrap();
            let route = ExportRoute { prefix, source: &source, learned_externally: true, dev: None };
            [INTERNAL, EXTERNAL].map(|peer| exports(&policy(), &route, &peer))
        };
        assert_eq!(passes(NO_EXPORT), [true, false]);
        assert_eq!(passes(NO_ADVERTISE), [false, false]);
        assert_eq!(passes(NO_EXPORT_SUBCONFED), [true, false]);
        assert_eq!(passes(64512), [true, true]);
    }

    #[test]
    fn a_local_route_goes_to_an_internal_peer_with_our_address_and_local_pref() {
        let attributes = exported_attributes(&policy(), &PathSource::Static, &INTERNAL);
        assert_eq!(attributes, Attributes { local_pref: Some(100), ..Attributes::local(INTERNAL.local) });
        let attributes = exported_attributes(&current(), &PathSource::Static, &INTERNAL);
        assert_eq!(attributes.local_pref, Some(2_147_482_623));
        let urgent = kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link metric 512");
        assert_eq!(exported_attributes(&current(), &urgent, &INTERNAL).local_pref, Some(2_147_483_135));
    }

    #[test]
    fn to_an_external_peer_our_as_is_prepended_and_what_is_internal_is_taken_off() {
        let learned = bgp(7, |attributes| {
            attributes.as_path = AsPath(vec![AsSegment::Sequence(vec![Asn(65001)])]);
            attributes.med = Some(5);
            attributes.originator_id = Some(BgpIdentifier("1.1.1.1".parse().unwrap()));
            attributes.cluster_list = vec![BgpIdentifier("1.0.0.1".parse().unwrap())];
        });
        let expected = Attributes {
            as_path: AsPath(vec![AsSegment::Sequence(vec![Asn(64512), Asn(65001)])]),
            med: Some(0),
            ..Attributes::local(EXTERNAL.local)
        };
        assert_eq!(exported_attributes(&policy(), &learned, &EXTERNAL), expected);
    }

    #[test]
    fn to_an_internal_peer_an_external_route_keeps_next_hop_and_med() {
        let learned = bgp(7, |attributes| {
            attributes.med = Some(5);
            attributes.local_pref = None;
        });
        let PathSource::Bgp(_, received) = &learned else { unreachable!("made above") };
        let expected = Attributes { local_pref: Some(100), ..Attributes::clone(received) };
        assert_eq!(exported_attributes(&policy(), &learned, &INTERNAL), expected);
    }

    fn in_kernel(policy: &PolicyConfig, prefix: &str, source: &PathSource) -> Option<String> {
        let prefix: IpNet = prefix.parse().unwrap();
        let resolution =
            Resolution { gateway: "172.18.0.3".parse().unwrap(), dev: IfName::eth(0), igp_metric: Some(0) };
        let paths = [kernel("10.99.1.0/24 via 172.18.0.1 dev eth0")];
        let paths = paths.iter().filter(|_| prefix.to_string() == "10.99.1.0/24");
        let hop = kernel_hop(policy, prefix, source, paths, Some(&resolution), |dev| dev.as_str() == "tunl0")?;
        Some(hop.route(prefix).to_string())
    }

    #[test]
    fn routes_go_into_the_kernel_in_their_pools_form() {
        let learned = bgp(7, |_| {});
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
        let from_node = bgp(7, |attributes| attributes.local_pref = Some(2_147_482_623));
        assert_eq!(
            in_kernel(&current(), "10.244.73.64/26", &from_node).unwrap(),
            "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird metric 1024"
        );
        let from_router = bgp(7, |attributes| attributes.local_pref = None);
        assert_eq!(
            in_kernel(&current(), "10.99.0.0/24", &from_router).unwrap(),
            "10.99.0.0/24 via 172.18.0.3 dev eth0 proto bird metric 2147483547"
        );
        assert_eq!(
            in_kernel(&current(), "10.244.140.128/26", &PathSource::Static).unwrap(),
            "blackhole 10.244.140.128/26 proto bird"
        );
    }

    #[test]
    fn direct_and_learned_routes_are_not_written_back() {
        assert_eq!(in_kernel(&policy(), "172.18.0.0/16", &PathSource::Direct(IfName::eth(0))), None);
        let route: Route = "10.9.0.0/16 via 172.18.0.9 dev eth0".parse().unwrap();
        assert_eq!(in_kernel(&policy(), "10.9.0.0/16", &PathSource::Kernel(Arc::new(route))), None);
    }
}
