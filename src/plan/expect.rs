//! What must hold in a lab that has converged while faults are in force: the oracle of `up`, `do` and `status`.
//!
//! A function of the plan and the faults; what is really there comes from the caller. The speakers' routes are those of
//! [`bgp::solve`](crate::bgp::solve). A session whose path is cut is noticed by neither end before its hold timer expires, and until
//! then nobody can say which of two tables a namespace has: what both have must be there, what one of them has may be.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::sessions::{SessionFault, Sessions, Standing, ends, sites};
use super::{NetnsPlan, Plan, Role};
use crate::bgp::KernelSnapshot;
use crate::bgp::solve::{End, Unstable};
use crate::net::{IfName, NetnsName, Route, RouteProtocol, Scope};

/// What has been broken on purpose and not been mended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Sessions disabled at one end: node, and the session's name there.
    pub disabled_peers: BTreeSet<(String, String)>,
    /// Links that are down: the namespace's name in the lab, and the interface.
    pub links_down: BTreeSet<(String, IfName)>,
}

impl Faults {
    /// Whether `interface` of the namespace called `place` in the lab is down.
    pub fn is_down(&self, place: &str, interface: &IfName) -> bool {
        self.links_down.iter().any(|(at, down)| at == place && down == interface)
    }

    /// Whether the session `peer` is disabled on `node`.
    pub fn is_disabled(&self, node: &str, peer: &str) -> bool {
        self.disabled_peers.iter().any(|(at, disabled)| at == node && disabled == peer)
    }
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Every planned session, in the plan's order.
    pub sessions: Vec<SessionExpectation>,
    /// The main table of every namespace, in the order of `Plan::namespaces`.
    pub tables: Vec<TableExpectation>,
}

/// One end of one planned session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExpectation {
    /// Index into `Plan::speakers`.
    pub speaker: usize,
    /// Index into that speaker's `peers`.
    pub peer: usize,
    /// It must be Established: neither end disabled it, and the links that carry it are up.
    pub awaited: bool,
}

/// What one namespace's main table must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableExpectation {
    /// The namespace.
    pub netns: NetnsName,
    /// The routes, in the kernel's order.
    pub routes: Vec<Route>,
    /// Routes that may be there or not: learned over a session whose link is cut, which neither end notices before its
    /// hold timer expires.
    pub lingering: Vec<Route>,
}

impl TableExpectation {
    /// How `observed` differs: nothing may be missing, and nothing extra but what lingers.
    pub fn verify(&self, observed: &[Route]) -> Difference {
        let mut difference = verify(&self.routes, observed);
        difference.extra.retain(|route| !self.lingering.contains(route));
        difference
    }
}

/// How a table differs from what it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Expected and not there, in the order expected.
    pub missing: Vec<Route>,
    /// There and not expected, in the order found.
    pub extra: Vec<Route>,
}

impl Difference {
    /// Nothing is missing and nothing is extra.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.extra.is_empty()
    }
}

/// Compares two tables as sets of routes with their multiplicity, whatever their order.
pub fn verify(expected: &[Route], observed: &[Route]) -> Difference {
    Difference { missing: without(expected, observed), extra: without(observed, expected) }
}

/// The routes of `these` that `those` does not have, each of `those` accounting for one.
fn without(these: &[Route], those: &[Route]) -> Vec<Route> {
    let mut counts: HashMap<&Route, usize> = HashMap::with_capacity(those.len());
    for route in those {
        *counts.entry(route).or_default() += 1;
    }
    let mut left = Vec::new();
    for route in these {
        match counts.get_mut(route) {
            Some(count) if *count > 0 => *count -= 1,
            _ => left.push(route.clone()),
        }
    }
    left
}

/// Every planned session, and whether it is awaited while `faults` are in force.
pub fn expected_sessions(plan: &Plan, faults: &Faults) -> Vec<SessionExpectation> {
    let kernels = kernels(plan, faults);
    let up = Sessions::new(plan, faults).bring_up(&sites(plan, &kernels));
    let standings = up.map(|up| up.standings).unwrap_or_default();
    expectations(plan, |end| standings.get(&end).is_some_and(|standing| *standing == Standing::Awaited))
}

/// Everything that must hold in `plan`'s lab while `faults` are in force.
///
/// A lab whose speakers never agree has no tables to expect: `plan::build` refuses it, and faults that make it so are told
/// by sessions alone.
pub fn expectation(plan: &Plan, faults: &Faults) -> Expectation {
    let mut tables: Vec<TableExpectation> = plan
        .namespaces
        .iter()
        .map(|netns| TableExpectation {
            netns: netns.netns.clone(),
            routes: kernel_and_planned(netns, faults),
            lingering: Vec::new(),
        })
        .collect();
    let kernels = kernels(plan, faults);
    let sites = sites(plan, &kernels);
    let planned = Sessions::new(plan, faults);
    let Ok(up) = planned.bring_up(&sites) else {
        return Expectation { sessions: expectations(plan, |_| false), tables };
    };
    let lingering = planned.lingering(&up, &sites);
    for (index, place) in planned.places().iter().enumerate() {
        let Some(table) = place.and_then(|place| tables.get_mut(place)) else { continue };
        let speaker = &plan.speakers[index];
        let written = |route| speaker.in_kernel(route);
        let mut expired: Vec<Route> = up.solution.routes(index).filter_map(written).collect();
        match &lingering {
            None => table.routes.append(&mut expired),
            Some(lingering) => {
                let held: BTreeSet<Route> = lingering.routes(index).filter_map(written).collect();
                let (both, one): (Vec<Route>, Vec<Route>) = expired.into_iter().partition(|route| held.contains(route));
                let held_only = held.into_iter().filter(|route| !both.contains(route));
                table.lingering.extend(one.into_iter().chain(held_only));
                table.routes.extend(both);
            }
        }
        sort_as_kernel(&mut table.routes);
        sort_as_kernel(&mut table.lingering);
    }
    for table in &mut tables {
        sort_as_kernel(&mut table.routes);
    }
    let awaited = |end: End| up.standings.get(&end) == Some(&Standing::Awaited);
    Expectation { sessions: expectations(plan, awaited), tables }
}

/// Why `plan`'s sessions cannot all come up, each end of a session by itself.
pub fn faults_of(plan: &Plan) -> Result<Vec<(End, SessionFault)>, Unstable> {
    let none = Faults::default();
    let kernels = kernels(plan, &none);
    let up = Sessions::new(plan, &none).bring_up(&sites(plan, &kernels))?;
    let faults = up.standings.into_iter().filter_map(|(end, standing)| match standing {
        Standing::Cut(fault) => Some((end, fault)),
        Standing::Awaited | Standing::Disabled => None,
    });
    Ok(faults.collect())
}

/// Sorts as the kernel's FIB trie is dumped: by address, of equal addresses the longer prefix first, then by metric. Routes
/// equal in all of these stay in the order in which they were made.
pub fn sort_as_kernel(routes: &mut [Route]) {
    routes.sort_by_key(|route| (route.dst.addr(), Reverse(route.dst.prefix_len()), route.metric));
}

fn expectations(plan: &Plan, awaited: impl Fn(End) -> bool) -> Vec<SessionExpectation> {
    ends(plan)
        .map(|end| SessionExpectation { speaker: end.site, peer: end.peer.0 as usize, awaited: awaited(end) })
        .collect()
}

/// What each speaker finds in its namespace, in the plan's order.
pub(super) fn kernels(plan: &Plan, faults: &Faults) -> Vec<KernelSnapshot> {
    let by_netns: HashMap<&NetnsName, &NetnsPlan> = plan.namespaces.iter().map(|netns| (&netns.netns, netns)).collect();
    let of_speaker = plan.speakers.iter().map(|speaker| match by_netns.get(&speaker.netns) {
        None => KernelSnapshot::default(),
        Some(netns) => {
            let up = netns.links.iter().filter(|link| link.up && !faults.is_down(&netns.name, &link.name));
            KernelSnapshot {
                interfaces: up.map(|link| (link.name.clone(), link.addresses.clone())).collect(),
                routes: kernel_and_planned(netns, faults),
            }
        }
    });
    of_speaker.collect()
}

/// The routes that the kernel makes for addresses, and those of the plan, over links that are up.
fn kernel_and_planned(netns: &NetnsPlan, faults: &Faults) -> Vec<Route> {
    if netns.role == Role::Fabric {
        return Vec::new();
    }
    let up = |name: &IfName| netns.link(name).is_some_and(|link| link.up) && !faults.is_down(&netns.name, name);
    let connected = netns.links.iter().filter(|link| up(&link.name)).flat_map(|link| {
        // A host address has no network of its own.
        let networks = link.addresses.iter().filter(|address| address.prefix_len() < address.max_prefix_len());
        networks.map(|address| {
            let route = Route::unicast(address.trunc()).dev(link.name.clone()).proto(RouteProtocol::KERNEL);
            route.scope(Scope::Link).src(address.addr())
        })
    });
    let planned = netns.routes.iter().filter(|route| route.dev.as_ref().is_none_or(up)).cloned();
    connected.chain(planned).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{self, Lab};
    use super::*;

    const CONTROL_PLANE: &str = "calico-bgp-fullmesh-control-plane";

    fn down(links: &[(&str, &str)]) -> Faults {
        let links = links.iter().map(|&(place, link)| (place.to_owned(), IfName::new(link).unwrap()));
        Faults { links_down: links.collect(), ..Faults::default() }
    }

    fn disabled(node: &str, peer: &str) -> Faults {
        Faults { disabled_peers: [(node.to_owned(), peer.to_owned())].into(), ..Faults::default() }
    }

    /// `node peer` of every session that is not awaited.
    fn given_up(plan: &Plan, faults: &Faults) -> Vec<String> {
        let gone = expected_sessions(plan, faults).into_iter().filter(|session| !session.awaited);
        gone.map(|session| {
            let speaker = &plan.speakers[session.speaker];
            format!("{} {}", speaker.name.rsplit("fullmesh-").next().unwrap(), speaker.config.peers[session.peer].name)
        })
        .collect()
    }

    /// What faults take from and add to one namespace's table, and what lingers there.
    fn effect(plan: &Plan, faults: &Faults, name: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
        let index = plan.namespaces.iter().position(|netns| netns.name == name).unwrap();
        let table = &expectation(plan, faults).tables[index];
        let text = |routes: &[Route]| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let difference = verify(&plan.namespaces[index].table, &table.routes);
        (text(&difference.missing), text(&difference.extra), text(&table.lingering))
    }

    #[test]
    fn without_faults_every_session_is_awaited_and_the_tables_are_the_plans() {
        let plan = testing::plan(&testing::cluster_a());
        let expectation = expectation(&plan, &Faults::default());
        assert_eq!(expectation.sessions.len(), 6);
        assert!(expectation.sessions.iter().all(|session| session.awaited));
        for (netns, table) in plan.namespaces.iter().zip(&expectation.tables) {
            assert_eq!(table.routes, netns.table);
            assert_eq!(table.lingering, []);
        }
    }

    #[test]
    fn a_peer_disabled_at_one_end_is_awaited_at_neither() {
        let plan = testing::plan(&testing::cluster_a());
        let faults = disabled(CONTROL_PLANE, "Mesh_172_18_0_3");
        assert_eq!(given_up(&plan, &faults), ["control-plane Mesh_172_18_0_3", "worker2 Mesh_172_18_0_2"]);
        assert_eq!(
            effect(&plan, &faults, CONTROL_PLANE),
            (vec!["10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird".into()], vec![], vec![])
        );
        assert_eq!(
            effect(&plan, &faults, "calico-bgp-fullmesh-worker2").0,
            ["10.244.140.128/26 via 172.18.0.2 dev eth0 proto bird"]
        );
        assert_eq!(effect(&plan, &faults, "calico-bgp-fullmesh-worker"), (vec![], vec![], vec![]));
    }

    #[test]
    fn a_nodes_downed_link_takes_its_routes_and_leaves_the_others_lingering() {
        let plan = testing::plan(&testing::cluster_a());
        let faults = down(&[("calico-bgp-fullmesh-worker", "eth0")]);
        assert_eq!(
            given_up(&plan, &faults),
            [
                "control-plane Mesh_172_18_0_4",
                "worker Mesh_172_18_0_2",
                "worker Mesh_172_18_0_3",
                "worker2 Mesh_172_18_0_4"
            ]
        );
        let (missing, extra, lingering) = effect(&plan, &faults, "calico-bgp-fullmesh-worker");
        assert_eq!(
            missing,
            [
                "default via 172.18.0.1 dev eth0",
                "10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird",
                "10.244.140.128/26 via 172.18.0.2 dev eth0 proto bird",
                "172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.4",
            ]
        );
        assert_eq!((extra, lingering), (vec![], vec![]));
        let cut = vec!["10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird".to_owned()];
        assert_eq!(effect(&plan, &faults, CONTROL_PLANE), (cut.clone(), vec![], cut));
    }

    #[test]
    fn a_bridges_port_cuts_the_sessions_but_not_the_nodes_own_routes() {
        let plan = testing::plan(&testing::cluster_a());
        let faults = down(&[("fabric", "n2e0")]);
        assert_eq!(
            given_up(&plan, &faults),
            [
                "control-plane Mesh_172_18_0_3",
                "worker Mesh_172_18_0_3",
                "worker2 Mesh_172_18_0_2",
                "worker2 Mesh_172_18_0_4"
            ]
        );
        let (missing, _, lingering) = effect(&plan, &faults, "calico-bgp-fullmesh-worker2");
        assert_eq!(missing, lingering);
        assert_eq!(missing.len(), 2);
    }

    #[test]
    fn a_whole_bridge_or_the_gateways_leg_cuts_what_crosses_it() {
        let topology = Lab::new("lab")
            .node("a", "10.0.1.11/24")
            .node("b", "10.0.1.12/24")
            .node("c", "10.0.2.11/24")
            .pods("c", 1)
            .topology();
        let plan = testing::plan(&topology);
        let crossing = ["a Mesh_10_0_2_11", "b Mesh_10_0_2_11", "c Mesh_10_0_1_11", "c Mesh_10_0_1_12"];
        for link in [("gateway", "eth1"), ("fabric", "gw0"), ("fabric", "br1")] {
            assert_eq!(given_up(&plan, &down(&[link])), crossing, "{link:?}");
        }
        assert_eq!(given_up(&plan, &down(&[("fabric", "br0")])).len(), 6);
    }

    #[test]
    fn a_pods_link_takes_its_own_routes_only() {
        let plan = testing::plan(&testing::cluster_a());
        let faults = down(&[("wluo-8n4nq", "eth0")]);
        assert_eq!(given_up(&plan, &faults), Vec::<String>::new());
        assert_eq!(effect(&plan, &faults, "wluo-8n4nq").0.len(), 2);
        assert_eq!(effect(&plan, &faults, CONTROL_PLANE).0, Vec::<String>::new());
        let host_end = down(&[(CONTROL_PLANE, "cali9c3ed6d06f3")]);
        assert_eq!(effect(&plan, &host_end, CONTROL_PLANE).0, ["10.244.140.132 dev cali9c3ed6d06f3 scope link"]);
    }

    #[test]
    fn a_borrowed_address_goes_with_its_host_interface() {
        let topology = Lab::new("lab")
            .node("a", "10.0.0.2/24")
            .node("b", "10.0.0.3/24")
            .pinned("first", "a", "10.244.9.1")
            .pinned("borrower", "b", "10.244.9.2")
            .topology();
        let plan = testing::plan(&topology);
        let faults = down(&[("b", plan.pods[1].host_interface.as_str())]);
        assert_eq!(effect(&plan, &faults, "a").0, ["10.244.9.2 via 10.0.0.3 dev eth0 proto bird"]);
    }

    #[test]
    fn tables_are_compared_as_sets_with_multiplicity() {
        let route = |text: &str| text.parse::<Route>().unwrap();
        let [a, b, c] = ["10.0.0.0/8 dev a", "10.1.0.0/16 dev b", "10.2.0.0/16 dev c"].map(route);
        assert!(verify(&[a.clone(), b.clone()], &[b.clone(), a.clone()]).is_empty());
        assert_eq!(
            verify(&[a.clone(), b.clone()], &[a.clone(), a.clone(), c.clone()]),
            Difference { missing: vec![b], extra: vec![a, c] }
        );
    }

    #[test]
    fn what_lingers_may_be_there_or_not() {
        let route = |text: &str| text.parse::<Route>().unwrap();
        let table = TableExpectation {
            netns: NetnsName::new("lab-a").unwrap(),
            routes: vec![route("10.0.0.0/8 dev a")],
            lingering: vec![route("10.1.0.0/16 dev b proto bird")],
        };
        assert!(table.verify(&table.routes).is_empty());
        assert!(table.verify(&[table.routes.clone(), table.lingering.clone()].concat()).is_empty());
        assert!(!table.verify(&table.lingering).is_empty());
    }

    #[test]
    fn the_kernels_order_puts_the_longer_prefix_of_one_address_first() {
        let mut routes: Vec<Route> =
            ["172.18.0.0/16 dev e", "blackhole 10.0.0.0/26", "10.0.0.0 dev c", "default dev e"]
                .map(|text| text.parse().unwrap())
                .into();
        sort_as_kernel(&mut routes);
        let order: Vec<String> = routes.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["default dev e", "10.0.0.0 dev c", "blackhole 10.0.0.0/26", "172.18.0.0/16 dev e"]);
    }

    #[test]
    fn faults_survive_json() {
        let mut faults = down(&[("a", "eth0")]);
        faults.disabled_peers.insert(("a".into(), "Mesh_1_2_3_4".into()));
        let text = serde_json::to_string(&faults).unwrap();
        assert_eq!(text, r#"{"disabled_peers":[["a","Mesh_1_2_3_4"]],"links_down":[["a","eth0"]]}"#);
        assert_eq!(serde_json::from_str::<Faults>(&text).unwrap(), faults);
    }
}
