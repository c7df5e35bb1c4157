//! Who can be told of a route at all, asked once a route instead of once a peer.
//!
//! In a full mesh hundreds of peers have nothing to do with what another one said, and in VXLAN every node's kernel has a route to every
//! block of which the mesh is told nothing.

use super::config::{PeerConfig, PolicyConfig, SpeakerConfig};
use super::policy::{ExportRoute, chain_accepts};
use super::rib::PathSource;

/// Peers by what reaches them: the first of these get nothing from an internal peer that is not a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Internal, and no client of ours.
    NonClient,
    /// A client of ours.
    Client,
    /// Of another AS.
    External,
}

impl Reach {
    /// How far things get to `peer`.
    pub(super) fn of(peer: &PeerConfig) -> Self {
        match (peer.is_external(), peer.rr_client) {
            (true, _) => Self::External,
            (false, true) => Self::Client,
            (false, false) => Self::NonClient,
        }
    }
}

/// Which groups of peers a speaker's routes can get to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audience {
    /// By [`Reach`]: some peer of the group has export filters, and those may accept anything.
    filtered: [bool; 3],
}

impl Audience {
    /// That of `speaker`.
    pub(super) fn of(speaker: &SpeakerConfig) -> Self {
        let mut filtered = [false; 3];
        for peer in speaker.peers.iter().filter(|peer| !peer.export_filters.is_empty()) {
            filtered[Reach::of(peer) as usize] = true;
        }
        Self { filtered }
    }

    /// The first group that `route` gets to, their number where it is none; what one group gets may get to all that follow.
    pub(super) fn first(&self, policy: &PolicyConfig, route: &ExportRoute<'_>) -> usize {
        match (route.source, route.from) {
            (PathSource::Bgp(..), Some(from)) if !from.external && !from.client => Reach::Client as usize,
            (PathSource::Bgp(..), _) => Reach::NonClient as usize,
            _ => {
                let accepted = |external| chain_accepts(policy, route, external);
                let gets_to = |group| self.filtered[group] || accepted(group == Reach::External as usize);
                (0..self.filtered.len()).find(|group| gets_to(*group)).unwrap_or(self.filtered.len())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::bgp::config::{KernelRule, PoolPolicy};
    use crate::bgp::event::PeerId;
    use crate::bgp::policy::{ExportPeer, SourcePeer, export};
    use crate::bgp::tests;
    use crate::bgp::wire::Attributes;
    use crate::net::{BgpIdentifier, Filter, FilterRule};

    /// A node with an internal peer, an external one and a client.
    fn speaker() -> SpeakerConfig {
        let nodes = [("172.18.0.2", 64512), ("172.18.0.3", 64512), ("172.18.0.4", 65001), ("172.18.0.5", 64512)];
        let nodes = nodes.map(|(address, asn)| tests::node(address, asn, &[]));
        let mut speaker = tests::speaker_config(&nodes[0], &nodes, tests::fast_timers(), false);
        speaker.peers[2].rr_client = true;
        speaker.policy = PolicyConfig {
            own_blocks: vec!["10.244.140.128/26".parse().unwrap()],
            pools: vec![PoolPolicy {
                cidr: "10.244.0.0/16".parse().unwrap(),
                disable_bgp_export: false,
                kernel: KernelRule::Refuse,
            }],
            ..PolicyConfig::default()
        };
        speaker
    }

    /// Where a route gets to: the first group, having looked that nobody before it is told.
    fn first(speaker: &SpeakerConfig, prefix: &str, source: &PathSource) -> usize {
        let from = match source {
            PathSource::Bgp(id, _) => Some(SourcePeer::of(speaker, *id, BgpIdentifier([9, 9, 9, 9].into()))),
            _ => None,
        };
        let dev = match source {
            PathSource::Kernel(route) => route.dev.as_ref(),
            _ => None,
        };
        let route = ExportRoute { prefix: prefix.parse().unwrap(), source, from, dev };
        let first = Audience::of(speaker).first(&speaker.policy, &route);
        for (config, id) in speaker.peers.iter().zip(0..) {
            let target = ExportPeer { id: PeerId(id), config, local: "172.18.0.2".parse().unwrap() };
            let told = export(&speaker.policy, &route, &target).is_some();
            assert!(!told || Reach::of(config) as usize >= first, "{source:?} gets to {}", config.name);
        }
        first
    }

    fn kernel(route: &str) -> PathSource {
        PathSource::Kernel(Arc::new(route.parse().unwrap()))
    }

    const INTERNAL: usize = Reach::NonClient as usize;
    const CLIENT: usize = Reach::Client as usize;
    const EXTERNAL: usize = Reach::External as usize;
    const NOBODY: usize = EXTERNAL + 1;

    #[test]
    fn local_routes_get_as_far_as_the_export_chain_lets_them() {
        let speaker = speaker();
        assert_eq!(first(&speaker, "10.244.140.128/26", &PathSource::Static(None)), INTERNAL);
        assert_eq!(
            first(&speaker, "10.244.9.0/26", &kernel("10.244.9.0/26 via 10.244.9.0 dev vxlan.calico onlink")),
            EXTERNAL
        );
        assert_eq!(
            first(&speaker, "10.244.140.132/32", &kernel("10.244.140.132 dev cali9c3ed6d06f3 scope link")),
            NOBODY
        );
        assert_eq!(first(&speaker, "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0")), NOBODY);
    }

    #[test]
    fn a_group_with_a_filter_may_be_told_anything() {
        let mut speaker = speaker();
        let all = Filter { name: "all".into(), rules: vec![FilterRule { accept: true, ..FilterRule::default() }] };
        speaker.peers[2].export_filters = vec![all];
        let vxlan = kernel("10.244.9.0/26 via 10.244.9.0 dev vxlan.calico onlink");
        assert_eq!(first(&speaker, "10.244.9.0/26", &vxlan), CLIENT);
        assert_eq!(first(&speaker, "0.0.0.0/0", &kernel("default via 172.18.0.1 dev eth0")), CLIENT);
    }

    #[test]
    fn what_an_internal_peer_said_gets_past_those_that_heard_it_themselves() {
        let speaker = speaker();
        let learned = |peer| PathSource::Bgp(PeerId(peer), Arc::new(Attributes::local("172.18.0.9".parse().unwrap())));
        assert_eq!(
            [0, 1, 2].map(|peer| first(&speaker, "10.244.9.0/26", &learned(peer))),
            [CLIENT, INTERNAL, INTERNAL]
        );
    }
}
