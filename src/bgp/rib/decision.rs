//! The decision process (RFC 4271 §9.1.2), in BIRD's order (calico-behaviour 7.1).
//!
//! One clause at a time is applied to the whole set of candidates that are left, never to pairs: pairwise comparison is not transitive
//! where MED is involved. A path that drops out keeps the clause as its reason.

use std::fmt;
use std::net::IpAddr;

use super::PathSource;
use crate::bgp::event::PeerId;
use crate::bgp::next_hop::NextHops;
use crate::bgp::wire::Attributes;
use crate::net::{Asn, BgpIdentifier};

/// LOCAL_PREF of a route that has none: BIRD's `default bgp_local_pref`.
pub(in crate::bgp) const DEFAULT_LOCAL_PREF: u32 = 100;

/// What the decision looks at in one path.
#[derive(Clone, Copy, Debug)]
pub(in crate::bgp) struct Candidate<'a> {
    /// BIRD's preference of the protocol.
    pub(in crate::bgp) preference: u32,
    /// For a BGP route.
    pub(in crate::bgp) bgp: Option<BgpFacts<'a>>,
}

impl<'a> Candidate<'a> {
    /// The candidate that `source` is; `peer` says what is known of the peer that it came from.
    pub(in crate::bgp) fn of(
        source: &'a PathSource,
        next_hops: &mut NextHops,
        peer: impl FnOnce(PeerId) -> PeerFacts,
    ) -> Self {
        let bgp = match source {
            PathSource::Bgp(from, attributes) => {
                let resolution = next_hops.resolve(attributes.next_hop);
                Some(BgpFacts {
                    attributes,
                    resolvable: resolution.is_some(),
                    igp_metric: resolution.and_then(|resolution| resolution.igp_metric),
                    peer: peer(*from),
                })
            }
            PathSource::Static(gateway) => {
                // For whoever asks for its way later.
                gateway.as_ref().map(|gateway| next_hops.resolve(**gateway));
                None
            }
            PathSource::Direct(_) | PathSource::Kernel(_) => None,
        };
        Self { preference: source.preference(), bgp }
    }
}

/// Whether a path is a candidate at all (RFC 4271 §9.1.2.1): of a single one that is the whole decision.
pub(in crate::bgp) fn is_resolvable(source: &PathSource, next_hops: &mut NextHops) -> bool {
    match source {
        PathSource::Bgp(_, attributes) => next_hops.resolves(attributes.next_hop),
        PathSource::Static(gateway) => {
            // For whoever asks for its way later.
            gateway.as_ref().map(|gateway| next_hops.resolve(**gateway));
            true
        }
        PathSource::Direct(_) | PathSource::Kernel(_) => true,
    }
}

/// What the decision looks at in a BGP route.
#[derive(Clone, Copy, Debug)]
pub(in crate::bgp) struct BgpFacts<'a> {
    /// Its attributes.
    pub(in crate::bgp) attributes: &'a Attributes,
    /// Whether the next hop resolves.
    pub(in crate::bgp) resolvable: bool,
    /// Metric towards the next hop; `None` if unknown.
    pub(in crate::bgp) igp_metric: Option<u32>,
    /// Who it came from.
    pub(in crate::bgp) peer: PeerFacts,
}

/// What the decision looks at in a peer.
#[derive(Clone, Copy, Debug)]
pub(in crate::bgp) struct PeerFacts {
    /// Which one: its place in the configuration.
    pub(in crate::bgp) id: PeerId,
    /// It is of another AS.
    pub(in crate::bgp) external: bool,
    /// Our AS, which is the neighbour AS of a route with an empty path.
    pub(in crate::bgp) local_as: Asn,
    /// The peer's identifier.
    pub(in crate::bgp) router_id: BgpIdentifier,
    /// The peer's address.
    pub(in crate::bgp) address: IpAddr,
}

/// A clause of the decision process, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) enum Clause {
    /// BIRD's preference of protocols.
    Preference,
    /// A route without a way to its next hop is no candidate.
    Resolvable,
    /// Degree of preference.
    LocalPref,
    /// Fewer ASes.
    AsPathLength,
    /// IGP before EGP before Incomplete.
    Origin,
    /// Lower MED among routes of one neighbour AS.
    Med,
    /// eBGP before iBGP.
    External,
    /// Nearer next hop.
    IgpMetric,
    /// Lower ORIGINATOR_ID or identifier.
    RouterId,
    /// Shorter CLUSTER_LIST.
    ClusterList,
    /// Lower peer address.
    PeerAddress,
    /// Lesser attributes, of two paths from one peer.
    Attributes,
}

impl fmt::Display for Clause {
    /// Why a path lost, and where that is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Preference => "protocol preference is lower",
            Self::Resolvable => "next hop is unreachable (RFC 4271 §9.1.2.1)",
            Self::LocalPref => "local preference is lower (RFC 4271 §9.1.1)",
            Self::AsPathLength => "AS path is longer (RFC 4271 §9.1.2.2 a)",
            Self::Origin => "origin is worse (RFC 4271 §9.1.2.2 b)",
            Self::Med => "MED is higher (RFC 4271 §9.1.2.2 c)",
            Self::External => "it is internal, the best is external (RFC 4271 §9.1.2.2 d)",
            Self::IgpMetric => "next hop is farther (RFC 4271 §9.1.2.2 e)",
            Self::RouterId => "originator or router ID is higher (RFC 4271 §9.1.2.2 f, RFC 4456 §9)",
            Self::ClusterList => "cluster list is longer (RFC 4456 §9)",
            Self::PeerAddress => "peer address is higher (RFC 4271 §9.1.2.2 g)",
            Self::Attributes => "the same peer has another path as good (RFC 7911 §2)",
        })
    }
}

/// For each candidate the clause that it lost by; `None` for the winner, of which there is at most one.
///
/// There is none if there is no candidate, or none of the highest preference has a way to its next hop.
pub(in crate::bgp) fn decide(candidates: &[Candidate<'_>]) -> Vec<Option<Clause>> {
    let mut field = Field { lost: vec![None; candidates.len()], left: (0..candidates.len()).collect() };
    let bgp = |index: usize| candidates[index].bgp.as_ref();

    field.keep_least(Clause::Preference, |index| std::cmp::Reverse(candidates[index].preference));
    field.keep(Clause::Resolvable, |index| bgp(index).is_none_or(|route| route.resolvable));
    field.keep_least(Clause::LocalPref, |index| {
        bgp(index).map(|route| std::cmp::Reverse(route.attributes.local_pref.unwrap_or(DEFAULT_LOCAL_PREF)))
    });
    field.keep_least(Clause::AsPathLength, |index| bgp(index).map(|route| route.attributes.as_path.hop_count()));
    field.keep_least(Clause::Origin, |index| bgp(index).map(|route| route.attributes.origin));
    field.keep_least_med(|index| {
        let route = bgp(index)?;
        let neighbour = route.attributes.as_path.first().unwrap_or(route.peer.local_as);
        Some((neighbour, route.attributes.med.unwrap_or(0)))
    });
    field.keep_least(Clause::External, |index| bgp(index).map(|route| !route.peer.external));
    field.keep_least(Clause::IgpMetric, |index| bgp(index).map(|route| route.igp_metric.unwrap_or(UNKNOWN_METRIC)));
    field.keep_least(Clause::RouterId, |index| {
        bgp(index).map(|route| route.attributes.originator_id.unwrap_or(route.peer.router_id))
    });
    field.keep_least(Clause::ClusterList, |index| bgp(index).map(|route| route.attributes.cluster_list.len()));
    field.keep_least(Clause::PeerAddress, |index| bgp(index).map(|route| route.peer.address));
    // Two sessions to one address (calico-behaviour 7.3): the one configured first.
    field.keep_least(Clause::PeerAddress, |index| bgp(index).map(|route| route.peer.id));
    // Several paths of one peer: no RFC says which. Neither the order in which they came nor their identifiers may, so that the same
    // paths always give the same table.
    field.keep_least(Clause::Attributes, |index| bgp(index).map(|route| (route.attributes.next_hop, route.attributes)));
    field.keep_least(Clause::Attributes, |index| index);
    field.lost
}

/// BIRD's IGP_METRIC_UNKNOWN: worse than every known one.
const UNKNOWN_METRIC: u32 = 0x8000_0000;

/// Candidates still in, and what the others lost by.
struct Field {
    lost: Vec<Option<Clause>>,
    left: Vec<usize>,
}

impl Field {
    fn keep(&mut self, clause: Clause, stays: impl Fn(usize) -> bool) {
        let lost = &mut self.lost;
        self.left.retain(|&index| {
            let stays = stays(index);
            if !stays {
                lost[index] = Some(clause);
            }
            stays
        });
    }

    fn keep_least<K: Ord>(&mut self, clause: Clause, key: impl Fn(usize) -> K) {
        if self.left.len() < 2 {
            return;
        }
        if let Some(least) = self.left.iter().map(|&index| key(index)).min() {
            self.keep(clause, |index| key(index) == least);
        }
    }

    /// Drops whoever has a higher MED than another one of the same neighbour AS.
    fn keep_least_med(&mut self, med: impl Fn(usize) -> Option<(Asn, u32)>) {
        if self.left.len() < 2 {
            return;
        }
        let meds: Vec<(Asn, u32)> = self.left.iter().filter_map(|&index| med(index)).collect();
        self.keep(Clause::Med, |index| {
            med(index).is_none_or(|(asn, value)| !meds.iter().any(|&(other, lower)| other == asn && lower < value))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgp::wire::{AsPath, AsSegment, Origin};

    /// What the tests vary, with attributes owned.
    struct Route {
        attributes: Attributes,
        resolvable: bool,
        igp_metric: Option<u32>,
        external: bool,
        router_id: BgpIdentifier,
        peer: IpAddr,
    }

    fn route(change: impl FnOnce(&mut Route)) -> Route {
        let mut route = Route {
            attributes: Attributes {
                as_path: path(&[65001, 65002]),
                local_pref: Some(100),
                ..Attributes::local("10.0.0.1".parse().unwrap())
            },
            resolvable: true,
            igp_metric: Some(0),
            external: false,
            router_id: BgpIdentifier("10.0.0.1".parse().unwrap()),
            peer: "10.0.0.1".parse().unwrap(),
        };
        change(&mut route);
        route
    }

    fn path(numbers: &[u32]) -> AsPath {
        AsPath(vec![AsSegment::Sequence(numbers.iter().copied().map(Asn).collect())])
    }

    fn decided(routes: &[Route]) -> Vec<Option<Clause>> {
        let candidates: Vec<Candidate<'_>> = routes
            .iter()
            .map(|route| Candidate {
                preference: 100,
                bgp: Some(BgpFacts {
                    attributes: &route.attributes,
                    resolvable: route.resolvable,
                    igp_metric: route.igp_metric,
                    peer: PeerFacts {
                        id: PeerId(0),
                        external: route.external,
                        local_as: Asn(64512),
                        router_id: route.router_id,
                        address: route.peer,
                    },
                }),
            })
            .collect();
        decide(&candidates)
    }

    /// `better` beats `worse` by `clause`, whichever comes first, although all that is looked at later speaks for `worse`.
    fn assert_clause(clause: Clause, better: impl Fn(&mut Route), worse: impl Fn(&mut Route)) {
        // Later clauses, favouring the one called `worse`.
        let handicap = |route: &mut Route| {
            if clause < Clause::PeerAddress {
                route.peer = "10.0.0.9".parse().unwrap();
            }
            if clause < Clause::ClusterList {
                route.attributes.cluster_list = vec![BgpIdentifier("9.9.9.9".parse().unwrap()); 3];
            }
            if clause < Clause::RouterId {
                route.router_id = BgpIdentifier("10.0.0.9".parse().unwrap());
            }
            if clause < Clause::IgpMetric {
                route.igp_metric = None;
            }
            if clause < Clause::Med {
                route.attributes.med = Some(900);
            }
            if clause < Clause::Origin {
                route.attributes.origin = Origin::Incomplete;
            }
            if clause < Clause::AsPathLength {
                route.attributes.as_path = path(&[65001, 1, 2, 3, 4]);
            }
        };
        let best = || {
            route(|r| {
                handicap(r);
                better(r);
            })
        };
        assert_eq!(decided(&[best(), route(&worse)]), [None, Some(clause)]);
        assert_eq!(decided(&[route(&worse), best()]), [Some(clause), None]);
    }

    #[test]
    fn an_unreachable_next_hop_loses() {
        assert_clause(Clause::Resolvable, |_| {}, |r| r.resolvable = false);
    }

    #[test]
    fn the_higher_local_preference_wins_and_absent_means_100() {
        assert_clause(Clause::LocalPref, |r| r.attributes.local_pref = Some(200), |_| {});
        assert_clause(Clause::LocalPref, |r| r.attributes.local_pref = None, |r| r.attributes.local_pref = Some(99));
    }

    #[test]
    fn the_shorter_as_path_wins() {
        assert_clause(Clause::AsPathLength, |r| r.attributes.as_path = path(&[65001]), |_| {});
    }

    #[test]
    fn the_better_origin_wins() {
        assert_clause(Clause::Origin, |_| {}, |r| r.attributes.origin = Origin::Egp);
    }

    #[test]
    fn the_lower_med_wins_within_one_neighbour_as() {
        assert_clause(Clause::Med, |r| r.attributes.med = Some(1), |r| r.attributes.med = Some(2));
        assert_clause(Clause::Med, |r| r.attributes.med = None, |r| r.attributes.med = Some(1));
    }

    #[test]
    fn med_is_not_compared_between_neighbour_ases() {
        let cheap = route(|r| {
            r.attributes.as_path = path(&[65003, 65002]);
            r.attributes.med = Some(1);
            r.peer = "10.0.0.2".parse().unwrap();
        });
        let dear = route(|r| r.attributes.med = Some(50));
        assert_eq!(decided(&[cheap, dear]), [Some(Clause::PeerAddress), None]);
    }

    #[test]
    fn med_among_three_does_not_depend_on_the_order() {
        // Pairwise, each of these beats one other: the classic case against comparing in pairs.
        let make = |index: usize| {
            route(|r| {
                let (asn, med, metric) = [(65001, 10, 30), (65001, 20, 10), (65009, 0, 20)][index];
                r.attributes.as_path = path(&[asn, 65002]);
                r.attributes.med = Some(med);
                r.igp_metric = Some(metric);
            })
        };
        let expected = [Some(Clause::IgpMetric), Some(Clause::Med), None];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_eq!(decided(&order.map(make)), order.map(|index| expected[index]), "in order {order:?}");
        }
    }

    #[test]
    fn external_beats_internal() {
        assert_clause(Clause::External, |r| r.external = true, |_| {});
    }

    #[test]
    fn the_nearer_next_hop_wins_and_an_unknown_metric_is_the_farthest() {
        assert_clause(Clause::IgpMetric, |r| r.igp_metric = Some(5), |r| r.igp_metric = Some(6));
        assert_clause(Clause::IgpMetric, |r| r.igp_metric = Some(5), |r| r.igp_metric = None);
    }

    #[test]
    fn the_lower_originator_or_router_id_wins() {
        assert_clause(
            Clause::RouterId,
            |r| r.attributes.originator_id = Some(BgpIdentifier("1.1.1.1".parse().unwrap())),
            |r| r.router_id = BgpIdentifier("2.2.2.2".parse().unwrap()),
        );
    }

    #[test]
    fn the_shorter_cluster_list_wins() {
        assert_clause(
            Clause::ClusterList,
            |_| {},
            |r| r.attributes.cluster_list = vec![BgpIdentifier("9.9.9.9".parse().unwrap())],
        );
    }

    #[test]
    fn the_lower_peer_address_wins() {
        assert_clause(Clause::PeerAddress, |_| {}, |r| r.peer = "10.0.0.10".parse().unwrap());
    }

    #[test]
    fn protocols_rank_before_anything_that_bgp_says() {
        let attributes = Attributes { local_pref: Some(9999), ..Attributes::local("10.0.0.1".parse().unwrap()) };
        let facts = BgpFacts {
            attributes: &attributes,
            resolvable: true,
            igp_metric: Some(0),
            peer: PeerFacts {
                id: PeerId(0),
                external: true,
                local_as: Asn(1),
                router_id: BgpIdentifier("1.1.1.1".parse().unwrap()),
                address: "10.0.0.1".parse().unwrap(),
            },
        };
        let field = [
            Candidate { preference: 10, bgp: None },
            Candidate { preference: 100, bgp: Some(facts) },
            Candidate { preference: 200, bgp: None },
            Candidate { preference: 240, bgp: None },
        ];
        let lost = Some(Clause::Preference);
        assert_eq!(decide(&field), [lost, lost, lost, None]);
        assert_eq!(decide(&field[..3]), [lost, lost, None]);
        assert_eq!(decide(&field[..2]), [lost, None]);
    }

    #[test]
    fn without_a_reachable_next_hop_nobody_wins() {
        assert_eq!(decided(&[route(|r| r.resolvable = false)]), [Some(Clause::Resolvable)]);
        assert_eq!(decide(&[]), []);
    }
}
