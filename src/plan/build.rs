//! Topology → [`Plan`]: addresses, namespaces, speakers, then the tables they end up with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::expect::{self, Faults};
use super::{NetnsPlan, Plan, PodPlan, impossible, netns, speakers};
use crate::calico::{ipam, names};
use crate::external;
use crate::net::NetnsName;
use crate::topology::{Diagnostic, Node, Topology};

/// Computes what every namespace and speaker of `topology` must contain. The same topology gives the same plan, byte for byte.
///
/// # Errors
/// Everything that keeps it from being built: `name-too-long`, `interface-name-taken`, `segment-too-large`, `no-speaker`,
/// `one-sided-session`, `wrong-as`, `wrong-password`, `ttl-too-low`, `both-passive`, `no-path`, `speaker-unable`, `no-stable-state`, and those of [`ipam::assign`].
pub fn build(topology: &Topology) -> Result<Plan, Vec<Diagnostic>> {
    let mut diagnostics = host_interface_collisions(topology);
    diagnostics.extend(oversized_segments(topology));
    let names = Names::new(topology).map_err(|faults| diagnostics.extend(faults));
    let assignment = ipam::assign(topology).map_err(|faults| diagnostics.extend(faults));
    let (Ok(names), Ok(assignment)) = (names, assignment) else { return Err(diagnostics) };

    let pods: Vec<PodPlan> = topology
        .pods
        .iter()
        .zip(&assignment.pods)
        .zip(&names.pods)
        .map(|((pod, &address), netns)| PodPlan {
            name: pod.name.clone(),
            namespace: pod.namespace.clone(),
            node: topology.nodes[pod.node.0].name.clone(),
            netns: netns.clone(),
            address,
            host_interface: names::veth_name(&pod.namespace, &pod.name),
        })
        .collect();
    let parts = netns::Parts { topology, names: &names, assignment: &assignment, pods: &pods };
    let mut namespaces = vec![parts.fabric()];
    namespaces.extend(parts.gateway());
    namespaces.extend((0..topology.routers.len()).map(|router| parts.router(router)));
    namespaces.extend((0..topology.nodes.len()).map(|node| parts.node(node)));
    namespaces.extend((0..topology.pods.len()).map(|pod| parts.pod(pod)));
    let speakers = speakers::build(topology, &assignment, &names);
    let mut plan = Plan { lab: topology.name.clone(), namespaces, speakers, pods };

    diagnostics.extend(unable_speakers(topology, &plan));
    diagnostics.extend(impossible::diagnostics(topology, &plan));
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let expectation = expect::expectation(&plan, &Faults::default());
    for (netns, table) in plan.namespaces.iter_mut().zip(expectation.tables) {
        netns.table = table.routes;
    }
    Ok(plan)
}

/// The names of all namespaces.
pub(super) struct Names {
    pub(super) fabric: NetnsName,
    pub(super) gateway: NetnsName,
    /// Per router, in the topology's order.
    pub(super) routers: Vec<NetnsName>,
    /// Per node, in the topology's order.
    pub(super) nodes: Vec<NetnsName>,
    /// Per pod, in the topology's order.
    pub(super) pods: Vec<NetnsName>,
}

/// What the fabric's namespace is called in the lab.
pub(super) const FABRIC: &str = "fabric";
/// What the implicit gateways' namespace is called in the lab.
pub(super) const GATEWAY: &str = "gateway";

impl Names {
    fn new(topology: &Topology) -> Result<Self, Vec<Diagnostic>> {
        let mut diagnostics = Vec::new();
        let mut name = |who: &str, span: &std::ops::Range<usize>| {
            let made = topology.name.netns(who);
            made.map_err(|error| {
                diagnostics.push(Diagnostic {
                    code: "name-too-long",
                    span: span.clone(),
                    message: error.to_string(),
                    label: "no namespace can have this name".into(),
                    help: error.rule.into(),
                });
            })
            .ok()
        };
        let fabric = name(FABRIC, &(0..0));
        let gateway = name(GATEWAY, &(0..0));
        let routers = topology.routers.iter().filter_map(|router| name(&router.name, &router.span)).collect();
        let nodes: Vec<_> = topology.nodes.iter().filter_map(|node| name(&node.name, &node.span)).collect();
        let pods: Vec<_> = topology.pods.iter().filter_map(|pod| name(&pod.name, &pod.span)).collect();
        match (fabric, gateway) {
            (Some(fabric), Some(gateway)) if diagnostics.is_empty() => {
                Ok(Self { fabric, gateway, routers, nodes, pods })
            }
            _ => Err(diagnostics),
        }
    }
}

/// Pods of one node whose host interfaces would have the same name: 44 bits of SHA-1 are not an identity.
fn host_interface_collisions(topology: &Topology) -> Vec<Diagnostic> {
    let mut taken = BTreeMap::new();
    let mut diagnostics = Vec::new();
    for pod in &topology.pods {
        let name = names::veth_name(&pod.namespace, &pod.name);
        if let Some(other) = taken.insert((pod.node, name.clone()), pod) {
            diagnostics.push(Diagnostic {
                code: "interface-name-taken",
                span: pod.span.clone(),
                message: format!(
                    "the host interface of pod `{}` is `{name}`, as is that of `{}`",
                    pod.name, other.name
                ),
                label: "same interface name".into(),
                help: "the name is a hash of namespace and pod name: give one of them another name".into(),
            });
        }
    }
    diagnostics
}

/// Segments with more interfaces than a bridge has ports (BR_MAX_PORTS, 1 << 10, port 0 unused), the gateway's included.
fn oversized_segments(topology: &Topology) -> Vec<Diagnostic> {
    const MAX_PORTS: usize = 1023;
    let mut diagnostics = Vec::new();
    for (index, segment) in topology.segments.iter().enumerate() {
        let room = MAX_PORTS - usize::from(segment.implicit_gateway.is_some());
        let on_it = |node: &&Node| node.interfaces.iter().any(|interface| interface.segment.0 == index);
        if let Some(node) = topology.nodes.iter().filter(on_it).nth(room) {
            diagnostics.push(Diagnostic {
                code: "segment-too-large",
                span: node.span.clone(),
                message: format!(
                    "segment {} has more than {room} nodes, and its bridge no port for the others",
                    segment.subnet
                ),
                label: "one too many".into(),
                help: "spread the nodes over several subnets".into(),
            });
        }
    }
    diagnostics
}

/// External daemons that are asked for more than they can do.
fn unable_speakers(topology: &Topology, plan: &Plan) -> Vec<Diagnostic> {
    /// Sockets of Unix have paths of 107 bytes, and `/run/lab/<lab>/speakers/<name>/` is in front of theirs.
    const NAME_MAX: usize = 40;
    let mut diagnostics = Vec::new();
    for speaker in &plan.speakers {
        let Some(external) = speaker.external else { continue };
        let mut shortcomings = external::shortcomings(external, &speaker.config);
        if speaker.name.len() > NAME_MAX {
            shortcomings.push(format!("its sockets have room for names of {NAME_MAX} bytes"));
        }
        diagnostics.extend(shortcomings.into_iter().map(|shortcoming| Diagnostic {
            code: "speaker-unable",
            span: impossible::span_of(topology, &speaker.name),
            message: format!("{external} cannot play the part of `{}`: {shortcoming}", speaker.name),
            label: format!("`speaker = \"{}\"`", external.key()),
            help: "remove `speaker`: lab's own one can".into(),
        }));
    }
    diagnostics
}

impl NetnsPlan {
    /// The link called `name`.
    pub fn link(&self, name: &crate::net::IfName) -> Option<&super::LinkPlan> {
        self.links.iter().find(|link| link.name == *name)
    }

    /// Whether one of its links has `address`.
    pub fn has_address(&self, address: IpAddr) -> bool {
        self.links.iter().flat_map(|link| &link.addresses).any(|held| held.addr() == address)
    }
}

impl Plan {
    /// The namespace that is called `name` in the lab: a node, a pod, a router, `fabric`, `gateway`.
    pub fn namespace(&self, name: &str) -> Option<&NetnsPlan> {
        self.namespaces.iter().find(|netns| netns.name == name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::testing::{self, Lab};
    use super::super::{LinkKindPlan, Masquerade, Role};
    use super::*;
    use crate::net::MacAddr;
    use crate::topology::Profile;

    fn lines(plan: &Plan, name: &str) -> Vec<String> {
        plan.namespace(name).unwrap().table.iter().map(ToString::to_string).collect()
    }

    fn build_all(topology: &Topology) -> Result<Plan, Vec<Diagnostic>> {
        build(topology)
    }

    fn codes(topology: &Topology) -> Vec<&'static str> {
        build_all(topology).unwrap_err().iter().map(|diagnostic| diagnostic.code).collect()
    }

    #[test]
    fn cluster_a_control_planes_table_is_the_real_one() {
        let plan = testing::plan(&testing::cluster_a());
        let unnamed = names::veth_name("default", "unnamed");
        let golden = "\
default via 172.18.0.1 dev eth0
10.244.73.64/26 via 172.18.0.3 dev eth0 proto bird
10.244.83.128/26 via 172.18.0.4 dev eth0 proto bird
10.244.140.128 dev cali995a1e92786 scope link
blackhole 10.244.140.128/26 proto bird
10.244.140.129 dev caliae286712af1 scope link
10.244.140.130 dev cali558835d1dd0 scope link
10.244.140.131 dev calibc67ab0a787 scope link
10.244.140.132 dev cali9c3ed6d06f3 scope link
172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.2"
            .replace("cali558835d1dd0", unnamed.as_str());
        assert_eq!(lines(&plan, "calico-bgp-fullmesh-control-plane").join("\n"), golden);
    }

    #[test]
    fn profile_current_has_metrics_on_pods_and_learned_routes() {
        let mut topology =
            Lab::new("lab").node("a", "10.0.0.2/24").node("b", "10.0.0.3/24").pod("pa", "a").pod("pb", "b").topology();
        topology.profile = Profile::Current;
        let plan = testing::plan(&topology);
        let [pa, pb] = [&plan.pods[0], &plan.pods[1]];
        let block = |node: &str| ipam::block_of("10.244.0.0/16".parse().unwrap(), 26, node).unwrap();
        let mut expected = vec![
            format!("{} dev {} scope link metric 1024", pa.address, pa.host_interface),
            format!("blackhole {} proto bird", block("a")),
            format!("{} via 10.0.0.3 dev eth0 proto bird metric 1024", block("b")),
        ];
        if pb.address < pa.address {
            expected.rotate_right(1);
        }
        expected.insert(0, "default via 10.0.0.1 dev eth0".into());
        // 10.0.0.0/24 sorts before the pool.
        expected.insert(1, "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.2".into());
        assert_eq!(lines(&plan, "a"), expected);
    }

    #[test]
    fn a_pods_namespace_is_calicos() {
        let plan = testing::plan(&testing::cluster_a());
        let pod = plan.namespace("wluo-8n4nq").unwrap();
        assert_eq!(pod.netns.as_str(), "calico-bgp-fullmesh-wluo-8n4nq");
        let routes: Vec<String> = pod.routes.iter().map(ToString::to_string).collect();
        assert_eq!(routes, ["169.254.1.1 dev eth0 scope link", "default via 169.254.1.1 dev eth0"]);
        assert_eq!(lines(&plan, "wluo-8n4nq"), ["default via 169.254.1.1 dev eth0", "169.254.1.1 dev eth0 scope link"]);
        assert_eq!(pod.links.len(), 1);
        assert_eq!(pod.links[0].addresses, ["10.244.140.132/32".parse().unwrap()]);
        assert_eq!(pod.links[0].mtu, 1500);
        assert!(pod.sysctls.iter().any(|sysctl| sysctl.key == "net/ipv4/ip_forward" && sysctl.value == "0"));
        let node = plan.namespace("calico-bgp-fullmesh-control-plane").unwrap();
        let host_end = node.link(&plan.pods[4].host_interface).unwrap();
        assert_eq!(host_end.name.as_str(), "cali9c3ed6d06f3");
        assert_eq!(host_end.mac, Some(MacAddr::CALICO_HOST));
        assert_eq!(host_end.addresses, []);
        let set: Vec<String> =
            host_end.sysctls.iter().map(|sysctl| format!("{}={}", sysctl.key, sysctl.value)).collect();
        assert_eq!(
            set,
            [
                "net/ipv4/conf/cali9c3ed6d06f3/route_localnet=1",
                "net/ipv4/neigh/cali9c3ed6d06f3/proxy_delay=0",
                "net/ipv4/conf/cali9c3ed6d06f3/proxy_arp=1",
                "net/ipv4/conf/cali9c3ed6d06f3/forwarding=1",
                "net/ipv4/conf/cali9c3ed6d06f3/rp_filter=1",
            ]
        );
    }

    #[test]
    fn namespaces_come_in_order_and_the_gateway_is_one_router() {
        let topology = Lab::new("lab").node("a", "10.0.1.11/24").node("b", "10.0.2.11/24").pod("p", "b").topology();
        let plan = testing::plan(&topology);
        let order: Vec<_> = plan.namespaces.iter().map(|netns| netns.name.as_str()).collect();
        assert_eq!(order, ["fabric", "gateway", "a", "b", "p"]);
        assert_eq!(
            lines(&plan, "gateway"),
            [
                "10.0.1.0/24 dev eth0 proto kernel scope link src 10.0.1.1",
                "10.0.2.0/24 dev eth1 proto kernel scope link src 10.0.2.1",
            ]
        );
        let block = plan.speakers[1].config.statics[0];
        assert!(
            lines(&plan, "a").contains(&format!("{block} via 10.0.1.1 dev eth0 proto bird")),
            "off the link the next hop resolves to the gateway (calico-behaviour 3.2)"
        );
    }

    #[test]
    fn nat_outgoing_puts_a_masquerade_on_every_node() {
        let mut topology = testing::cluster_a();
        let pool = topology.pools[0].cidr;
        let masquerade = |topology: &Topology| testing::plan(topology).namespaces[2].masquerade.clone();
        assert_eq!(masquerade(&topology), Some(Masquerade { sources: vec![pool], pools: vec![pool] }));
        topology.pools[0].nat_outgoing = false;
        assert_eq!(masquerade(&topology), None);
    }

    #[test]
    fn neighbours_are_permanent_on_a_large_segment_only() {
        let lab = |count: usize| {
            let nodes =
                (0..count).fold(Lab::new("lab"), |lab, i| lab.node(&format!("n{i}"), &format!("10.0.0.{}/24", i + 2)));
            testing::plan(&nodes.topology())
        };
        assert!(lab(16).namespaces.iter().all(|netns| netns.neighbours.is_empty()));
        let plan = lab(17);
        let macs: BTreeMap<IpAddr, MacAddr> = plan
            .namespaces
            .iter()
            .flat_map(|netns| &netns.links)
            .flat_map(|link| link.addresses.iter().map(|address| (address.addr(), link.mac.unwrap())))
            .collect();
        assert_eq!(macs.len(), 18);
        for netns in plan.namespaces.iter().filter(|netns| netns.role != Role::Fabric) {
            let own = netns.links[0].addresses[0].addr();
            let mut expected = macs.clone();
            expected.remove(&own);
            let entries: BTreeMap<_, _> = netns.neighbours.iter().map(|entry| (entry.dst, entry.lladdr)).collect();
            assert_eq!(entries, expected, "{}", netns.name);
        }
    }

    #[test]
    fn a_borrowed_address_is_routed_alone() {
        let topology = Lab::new("lab")
            .node("calico-bgp-fullmesh-control-plane", "172.18.0.2/16")
            .node("calico-bgp-fullmesh-worker", "172.18.0.4/16")
            .pod("p", "calico-bgp-fullmesh-control-plane")
            .pinned("borrower", "calico-bgp-fullmesh-worker", "10.244.140.140")
            .topology();
        let plan = testing::plan(&topology);
        assert!(
            lines(&plan, "calico-bgp-fullmesh-control-plane")
                .contains(&"10.244.140.140 via 172.18.0.4 dev eth0 proto bird".to_owned())
        );
        assert_eq!(plan.speakers[1].config.statics, []);
    }

    #[test]
    fn a_pool_that_is_not_exported_is_routed_nowhere_else() {
        let mut topology = testing::cluster_a();
        topology.pools[0].disable_bgp_export = true;
        let plan = testing::plan(&topology);
        assert!(!lines(&plan, "calico-bgp-fullmesh-control-plane").iter().any(|line| line.contains("172.18.0.3")));
        assert!(
            lines(&plan, "calico-bgp-fullmesh-worker").contains(&"blackhole 10.244.83.128/26 proto bird".to_owned())
        );
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let mut topology = Lab::new("lab").node("a", "10.0.0.2/24").node("b", "10.0.0.3/24").pods("a", 3).topology();
        topology.pools[0].cidr = "10.244.0.0/31".parse().unwrap();
        topology.pools[0].block_size = 31;
        topology.pods[0].name = "x".repeat(252);
        assert_eq!(codes(&topology), ["name-too-long", "pool-too-small"]);
    }

    #[test]
    fn a_session_across_segments_that_nothing_joins_has_no_path() {
        let mut topology =
            Lab::new("lab").node("a", "10.0.1.11/24").node("b", "10.0.2.11/24").node("c", "10.0.2.12/24").topology();
        topology.nodes[1].span = 40..60;
        for segment in &mut topology.segments {
            segment.implicit_gateway = None;
        }
        let diagnostics = build_all(&topology).unwrap_err();
        assert_eq!(diagnostics.len(), 1, "one per pair of subnets");
        assert_eq!((diagnostics[0].code, diagnostics[0].span.clone()), ("no-path", 40..60));
        assert_eq!(
            diagnostics[0].message,
            "the BGP session of `a` with `b` (10.0.2.11) has no path: nobody on the segment of `a:eth0` has 10.0.1.1"
        );
    }

    #[test]
    fn a_segment_has_as_many_nodes_as_its_bridge_has_ports() {
        let nodes = |count: usize| {
            let mut topology = (0..count)
                .fold(Lab::new("lab"), |lab, i| {
                    lab.node(&format!("n{i}"), &format!("10.0.{}.{}/16", i / 250, i % 250 + 2))
                })
                .topology();
            topology.bgp.node_to_node_mesh_enabled = false;
            oversized_segments(&topology).len()
        };
        assert_eq!(nodes(1022), 0);
        assert_eq!(nodes(1023), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_lab_is_wired_consistently(
            shape in prop::collection::vec((0_u8..3, 0_usize..5, any::<bool>()), 1..24),
            profile in prop::sample::select(vec![Profile::Classic, Profile::Current]),
        ) {
            let mut lab = Lab::new("lab");
            for (index, &(rack, _, second)) in shape.iter().enumerate() {
                let mut addresses = format!("10.0.{rack}.{}/24", index + 2);
                if second {
                    addresses.push_str(&format!(" 10.1.{rack}.{}/24", index + 2));
                }
                lab = lab.node(&format!("node{index}"), &addresses);
            }
            for (index, &(_, pods, _)) in shape.iter().enumerate() {
                lab = lab.pods(&format!("node{index}"), pods);
            }
            let mut topology = lab.topology();
            topology.profile = profile;
            let plan = testing::plan(&topology);
            prop_assert_eq!(&plan, &testing::plan(&topology));

            let mut addresses = BTreeSet::new();
            let mut macs = BTreeSet::new();
            let mut netns_names = BTreeSet::new();
            for netns in &plan.namespaces {
                prop_assert!(netns_names.insert(&netns.netns));
                let mut link_names = BTreeSet::new();
                for link in &netns.links {
                    prop_assert!(link_names.insert(&link.name));
                    for address in &link.addresses {
                        prop_assert!(addresses.insert(address.addr()), "{address} twice");
                    }
                    if let Some(mac) = link.mac.filter(|&mac| mac != MacAddr::CALICO_HOST) {
                        prop_assert!(macs.insert(mac) && mac.0[0] & 1 == 0);
                    }
                    if let Some(master) = &link.master {
                        prop_assert_eq!(&netns.link(master).unwrap().kind, &LinkKindPlan::Bridge);
                    }
                    let LinkKindPlan::Veth { peer_netns, peer } = &link.kind else { continue };
                    let other = plan.namespaces.iter().find(|other| other.netns == *peer_netns).unwrap();
                    let back = &other.link(peer).unwrap().kind;
                    let here = LinkKindPlan::Veth { peer_netns: netns.netns.clone(), peer: link.name.clone() };
                    prop_assert_eq!(back, &here);
                }
                for route in &netns.table {
                    prop_assert!(route.dev.as_ref().is_none_or(|dev| netns.link(dev).is_some()));
                }
                for route in &netns.routes {
                    prop_assert!(netns.table.contains(route));
                }
            }
            // Every node knows every block: its own as a blackhole, the others' through somebody.
            let blocks: usize = plan.speakers.iter().map(|speaker| speaker.config.statics.len()).sum();
            for speaker in &plan.speakers {
                let table = &plan.namespace(&speaker.name).unwrap().table;
                let bird = table.iter().filter(|route| route.proto == crate::net::RouteProtocol::BIRD);
                prop_assert_eq!(bird.count(), blocks);
            }
        }
    }
}
