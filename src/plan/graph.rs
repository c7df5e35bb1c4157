//! Who is linked to what: the lab's namespaces and segments as a graph, and whether packets get from one end to another.
//!
//! Built from a plan less the links that are down. It begins with the routes that are there by themselves (connected and planned);
//! what BGP adds is told to it, for a session may need routes that other sessions carry, but never its own.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use petgraph::graph::{NodeIndex, UnGraph};

use super::expect::Faults;
use super::{LinkKindPlan, LinkPlan, NetnsPlan, Role};
use crate::net::{IfName, Route, RouteKind};

/// A vertex.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A namespace, by its index in `Plan::namespaces`.
    Netns(usize),
    /// A bridge of a namespace: a segment.
    Bridge(usize, IfName),
}

/// The graph. Vertices are namespaces and bridges, edges are veth pairs that are up at both ends.
#[derive(Debug)]
pub struct Wiring<'a> {
    namespaces: &'a [NetnsPlan],
    graph: UnGraph<Place, ()>,
    /// What the other end of an interface that is up is part of.
    beyond: HashMap<(usize, &'a IfName), NodeIndex>,
    /// Who has an address on what a vertex stands for, over a link that is up.
    owners: HashMap<(NodeIndex, Ipv4Addr), usize>,
    /// Per namespace, the ways out of it, longest prefix first.
    ways: Vec<Vec<Way>>,
}

/// One way out of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The destinations.
    pub dst: IpNet,
    /// The gateway; `None` on the link.
    pub via: Option<IpAddr>,
    /// The interface; `None` where packets are dropped.
    pub dev: Option<IfName>,
}

/// Why packets for an address do not get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPath {
    /// A namespace has no route for the address.
    NoRoute {
        /// The namespace's name in the lab.
        at: String,
        /// The address.
        to: Ipv4Addr,
    },
    /// Nobody on the segment that they leave by has the address.
    NoNeighbour {
        /// The namespace's name in the lab.
        at: String,
        /// The interface.
        dev: IfName,
        /// The next hop, or the address itself.
        next: Ipv4Addr,
    },
    /// They arrive at somebody who does not forward.
    NoRouter {
        /// The namespace's name in the lab.
        at: String,
        /// The address.
        to: Ipv4Addr,
    },
    /// They come by one place again and again.
    Loop {
        /// The namespace's name in the lab.
        at: String,
        /// The address.
        to: Ipv4Addr,
    },
}

impl fmt::Display for NoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoute { at, to } => write!(f, "`{at}` has no route to {to}"),
            Self::NoNeighbour { at, dev, next } => write!(f, "nobody on the segment of `{at}:{dev}` has {next}"),
            Self::NoRouter { at, to } => write!(f, "`{at}` gets packets for {to} and does not forward"),
            Self::Loop { at, to } => write!(f, "packets for {to} come by `{at}` again and again"),
        }
    }
}

impl<'a> Wiring<'a> {
    /// The wiring of `namespaces` without the links that `faults` has down.
    pub fn new(namespaces: &'a [NetnsPlan], faults: &Faults) -> Self {
        let mut graph = UnGraph::new_undirected();
        let by_name: HashMap<_, _> =
            namespaces.iter().enumerate().map(|(index, netns)| (&netns.netns, index)).collect();
        let vertices: Vec<NodeIndex> = (0..namespaces.len()).map(|index| graph.add_node(Place::Netns(index))).collect();
        let mut bridges = HashMap::new();
        for (index, netns) in namespaces.iter().enumerate() {
            for link in netns.links.iter().filter(|link| link.kind == LinkKindPlan::Bridge) {
                bridges.insert((index, &link.name), graph.add_node(Place::Bridge(index, link.name.clone())));
            }
        }
        let is_up = |index: usize, link: &LinkPlan| link.up && !faults.is_down(&namespaces[index].name, &link.name);
        // What the end of a link is part of, where the link and the bridge that it is a port of are up.
        let place = |index: usize, link: &LinkPlan| {
            let netns: &NetnsPlan = &namespaces[index];
            match &link.master {
                _ if !is_up(index, link) => None,
                None => Some(vertices[index]),
                Some(master) => netns
                    .link(master)
                    .filter(|bridge| is_up(index, bridge))
                    .and_then(|_| bridges.get(&(index, master)).copied()),
            }
        };
        let links: HashMap<(usize, &IfName), &LinkPlan> = namespaces
            .iter()
            .enumerate()
            .flat_map(|(index, netns)| netns.links.iter().map(move |link| ((index, &link.name), link)))
            .collect();
        let (mut beyond, mut owners) = (HashMap::new(), HashMap::new());
        for (index, netns) in namespaces.iter().enumerate() {
            for link in &netns.links {
                let LinkKindPlan::Veth { peer_netns, peer } = &link.kind else { continue };
                let Some(&other) = by_name.get(peer_netns) else { continue };
                let Some(far_link) = links.get(&(other, peer)) else { continue };
                if let (Some(near), Some(far)) = (place(index, link), place(other, far_link)) {
                    beyond.insert((index, &link.name), far);
                    for address in &link.addresses {
                        if let IpAddr::V4(address) = address.addr() {
                            owners.insert((far, address), index);
                        }
                    }
                    // Each pair is met from both ends.
                    if (index, &link.name) < (other, peer) {
                        graph.add_edge(near, far, ());
                    }
                }
            }
        }
        let ways = namespaces.iter().map(|netns| ways_out(netns, faults)).collect();
        Self { namespaces, graph, beyond, owners, ways }
    }

    /// The graph itself.
    pub fn graph(&self) -> &UnGraph<Place, ()> {
        &self.graph
    }

    /// Adds routes that the speaker of namespace `index` writes.
    pub fn learn(&mut self, index: usize, routes: impl Iterator<Item = Route>) {
        self.ways[index].extend(routes.map(|route| {
            let dropped = route.kind != RouteKind::Unicast;
            Way { dst: route.dst, via: route.via, dev: route.dev.filter(|_| !dropped) }
        }));
        sort(&mut self.ways[index]);
    }

    /// Which way namespace `from` sends packets for `to`: longest prefix among its routes over links that are up. A link
    /// without carrier keeps its routes.
    pub fn way(&self, from: usize, to: Ipv4Addr) -> Option<&Way> {
        let to = IpAddr::V4(to);
        self.ways.get(from)?.iter().find(|way| way.dst.contains(&to))
    }

    /// Whether a TCP session between `(a, a_address)` and `(b, b_address)` can stand: packets get through both ways. How many routers
    /// they pass, there and back.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn session_path(
        &self,
        a: usize,
        a_address: Ipv4Addr,
        b: usize,
        b_address: Ipv4Addr,
    ) -> Result<[u8; 2], NoPath> {
        Ok([self.path(a, b, b_address)?, self.path(b, a, a_address)?])
    }

    /// Whether packets from namespace `from` reach `address`, which is on namespace `to`, hop by hop; how many routers forward them.
    fn path(&self, from: usize, to: usize, address: Ipv4Addr) -> Result<u8, NoPath> {
        let name = |index: usize| self.namespaces[index].name.clone();
        let mut visited = BTreeSet::new();
        let mut at = from;
        loop {
            if !visited.insert(at) {
                return Err(NoPath::Loop { at: name(at), to: address });
            }
            let way = self.way(at, address).ok_or_else(|| NoPath::NoRoute { at: name(at), to: address })?;
            let dev = way.dev.as_ref().ok_or_else(|| NoPath::NoRoute { at: name(at), to: address })?;
            let next = match way.via {
                Some(IpAddr::V4(via)) => via,
                _ => address,
            };
            let owner = self.beyond.get(&(at, dev)).and_then(|segment| self.owners.get(&(*segment, next)));
            let owner = owner.ok_or_else(|| NoPath::NoNeighbour { at: name(at), dev: dev.clone(), next })?;
            // It may have another interface than the one that has the address.
            at = *owner;
            if at == to {
                return Ok(u8::try_from(visited.len() - 1).unwrap_or(u8::MAX));
            }
            if matches!(self.namespaces[at].role, Role::Pod | Role::Fabric) {
                return Err(NoPath::NoRouter { at: name(at), to: address });
            }
        }
    }
}

/// The kernel's and the plan's routes of `netns` over links that are up, longest prefix first.
fn ways_out(netns: &NetnsPlan, faults: &Faults) -> Vec<Way> {
    let up = |link: &&LinkPlan| link.up && !faults.is_down(&netns.name, &link.name);
    let connected = netns.links.iter().filter(up).flat_map(|link| {
        link.addresses.iter().map(move |address| Way { dst: address.trunc(), via: None, dev: Some(link.name.clone()) })
    });
    let planned = netns.routes.iter().filter_map(|route| {
        let dev = route.dev.as_ref().filter(|dev| netns.link(dev).filter(up).is_some())?;
        Some(Way { dst: route.dst, via: route.via, dev: Some(dev.clone()) })
    });
    let mut ways: Vec<Way> = connected.chain(planned).collect();
    sort(&mut ways);
    ways
}

/// Of equal prefixes, those that were there first stay first.
fn sort(ways: &mut [Way]) {
    ways.sort_by_key(|way| std::cmp::Reverse(way.dst.prefix_len()));
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Lab};
    use super::super::{LinkKindPlan, Plan};
    use super::*;

    /// Two nodes on two segments that one gateway joins.
    fn two_racks() -> Plan {
        testing::plan(&Lab::new("lab").node("a", "10.0.1.11/24").node("b", "10.0.2.11/24").pod("p", "a").topology())
    }

    fn between_nodes(wiring: &Wiring<'_>) -> Result<[u8; 2], NoPath> {
        wiring.session_path(2, Ipv4Addr::new(10, 0, 1, 11), 3, Ipv4Addr::new(10, 0, 2, 11))
    }

    fn degree(wiring: &Wiring<'_>, place: &Place) -> usize {
        let graph = wiring.graph();
        let vertex = graph.node_indices().find(|&vertex| graph[vertex] == *place).unwrap();
        graph.edges(vertex).count()
    }

    #[test]
    fn every_veth_pair_is_an_edge() {
        let plan = two_racks();
        let wiring = Wiring::new(&plan.namespaces, &Faults::default());
        assert_eq!(wiring.graph().node_count(), plan.namespaces.len() + 2);
        assert_eq!(wiring.graph().edge_count(), 5, "two nodes, two legs of the gateway, one pod");
        assert_eq!(degree(&wiring, &Place::Bridge(0, IfName::new("br0").unwrap())), 2);
        assert_eq!(degree(&wiring, &Place::Netns(1)), 2);
    }

    #[test]
    fn a_gateway_joins_segments_and_a_pod_would_not() {
        let mut plan = two_racks();
        assert_eq!(between_nodes(&Wiring::new(&plan.namespaces, &Faults::default())), Ok([1, 1]));
        plan.namespaces[1].role = Role::Pod;
        let error = between_nodes(&Wiring::new(&plan.namespaces, &Faults::default())).unwrap_err();
        assert_eq!(error.to_string(), "`gateway` gets packets for 10.0.2.11 and does not forward");
    }

    #[test]
    fn without_a_default_route_the_other_segment_is_unknown() {
        let mut plan = two_racks();
        plan.namespaces[2].routes.retain(|route| route.via.is_none());
        let error = between_nodes(&Wiring::new(&plan.namespaces, &Faults::default())).unwrap_err();
        assert_eq!(error.to_string(), "`a` has no route to 10.0.2.11");
        let nobody = Wiring::new(&plan.namespaces, &Faults::default());
        let error = nobody.session_path(3, Ipv4Addr::new(10, 0, 2, 11), 2, Ipv4Addr::new(9, 9, 9, 9)).unwrap_err();
        assert_eq!(error.to_string(), "`gateway` has no route to 9.9.9.9");
        let error = nobody.session_path(3, Ipv4Addr::new(10, 0, 2, 11), 2, Ipv4Addr::new(10, 0, 1, 99)).unwrap_err();
        assert_eq!(error.to_string(), "nobody on the segment of `gateway:eth0` has 10.0.1.99");
    }

    #[test]
    fn packets_leave_by_the_longest_prefix_over_a_link_that_is_up() {
        let plan = two_racks();
        let eth0 = IfName::eth(0);
        let wiring = Wiring::new(&plan.namespaces, &Faults::default());
        let pod = plan.pods[0].address;
        assert_eq!(wiring.way(2, pod).unwrap().dev.as_ref(), Some(&plan.pods[0].host_interface));
        assert_eq!(wiring.way(2, Ipv4Addr::new(10, 0, 1, 12)).unwrap().via, None);
        let beyond = wiring.way(2, Ipv4Addr::new(10, 0, 2, 11)).unwrap();
        assert_eq!((beyond.via, beyond.dev.as_ref()), (Some(IpAddr::from([10, 0, 1, 1])), Some(&eth0)));
        let faults = Faults { links_down: [("a".to_owned(), eth0.clone())].into(), ..Faults::default() };
        assert_eq!(Wiring::new(&plan.namespaces, &faults).way(2, Ipv4Addr::new(10, 0, 2, 11)), None);
    }

    #[test]
    fn what_a_speaker_learned_leads_on_and_may_lead_round() {
        let mut plan = two_racks();
        plan.namespaces[2].routes.retain(|route| route.via.is_none());
        let mut wiring = Wiring::new(&plan.namespaces, &Faults::default());
        let learned = |text: &str| [text.parse::<Route>().unwrap()].into_iter();
        wiring.learn(2, learned("10.0.2.0/24 via 10.0.1.1 dev eth0 proto bird"));
        assert_eq!(between_nodes(&wiring), Ok([1, 1]));
        wiring.learn(1, learned("10.0.2.11 via 10.0.1.11 dev eth0 proto bird"));
        assert_eq!(
            between_nodes(&wiring).unwrap_err().to_string(),
            "packets for 10.0.2.11 come by `a` again and again"
        );
    }

    #[test]
    fn a_veth_whose_other_end_is_missing_leads_nowhere() {
        let mut plan = two_racks();
        let fabric = &mut plan.namespaces[0];
        fabric.links.retain(|link| link.name.as_str() != "n0e0");
        assert!(fabric.links.iter().any(|link| matches!(link.kind, LinkKindPlan::Veth { .. })));
        assert!(between_nodes(&Wiring::new(&plan.namespaces, &Faults::default())).is_err());
    }
}
