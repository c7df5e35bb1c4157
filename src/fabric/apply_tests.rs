//! `build` on a kernel in memory: what it asks for, and that it leaves nothing when any single thing fails.

use std::cell::RefCell;

use super::*;
use crate::fabric::fake::{FakeKernel, FakeNetns};
use crate::net::MacAddr;
use crate::plan::{NeighbourPlan, Sysctl};

fn netns(name: &str) -> NetnsName {
    NetnsName::new(name).unwrap()
}

fn ifname(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

fn veth(name: &str, peer_netns: &str, peer: &str) -> LinkPlan {
    LinkPlan {
        name: ifname(name),
        kind: LinkKindPlan::Veth { peer_netns: netns(peer_netns), peer: ifname(peer) },
        mac: None,
        mtu: 1500,
        master: None,
        addresses: Vec::new(),
        sysctls: Vec::new(),
        up: true,
    }
}

fn empty(name: &str, role: Role) -> NetnsPlan {
    NetnsPlan {
        netns: netns(&format!("hyg-{name}")),
        name: name.into(),
        role,
        sysctls: vec![Sysctl { key: "net/ipv4/ip_forward".into(), value: "0".into() }],
        links: Vec::new(),
        neighbours: Vec::new(),
        fdb: Vec::new(),
        routes: Vec::new(),
        masquerade: None,
        table: Vec::new(),
    }
}

/// A bridge, one node with an address on it, and a pod of the node.
fn plan() -> Plan {
    let mut fabric = empty("fabric", Role::Fabric);
    let bridge = LinkPlan { kind: LinkKindPlan::Bridge, ..veth("br0", "x", "x") };
    let port = LinkPlan { master: Some(ifname("br0")), ..veth("n1", "hyg-node", "eth0") };
    fabric.links = vec![bridge, port];
    let mut node = empty("node", Role::Node);
    let mut eth0 = veth("eth0", "hyg-fabric", "n1");
    eth0.addresses = vec!["172.18.0.2/16".parse().unwrap()];
    let mut cali = veth("cali1", "hyg-pod", "eth0");
    cali.mac = Some(MacAddr::CALICO_HOST);
    cali.sysctls = vec![Sysctl { key: "net/ipv4/conf/cali1/proxy_arp".into(), value: "1".into() }];
    node.links = vec![eth0, cali];
    node.neighbours =
        vec![NeighbourPlan { dst: "172.18.0.3".parse().unwrap(), dev: ifname("eth0"), lladdr: MacAddr([2; 6]) }];
    node.routes = vec!["10.244.0.1 dev cali1 scope link".parse().unwrap()];
    let mut pod = empty("pod", Role::Pod);
    let mut eth0 = veth("eth0", "hyg-node", "cali1");
    eth0.addresses = vec!["10.244.0.1/32".parse().unwrap()];
    pod.links = vec![eth0];
    pod.routes =
        vec!["169.254.1.1 dev eth0 scope link".parse().unwrap(), "default via 169.254.1.1 dev eth0".parse().unwrap()];
    Plan {
        lab: LabName::new("hyg").unwrap(),
        namespaces: vec![fabric, node, pod],
        speakers: Vec::new(),
        pods: Vec::new(),
    }
}

/// A kernel with another lab whose names begin like ours, and a stranger's namespace.
fn inhabited() -> FakeKernel {
    let kernel = FakeKernel::default();
    for (name, alias) in [("hyg-2-fabric", Some("lab=hyg-2")), ("stranger", None)] {
        let alias = alias.map(Into::into);
        kernel.insert(netns(name), FakeNetns { alias, ..FakeNetns::default() });
    }
    kernel
}

#[test]
fn a_node_is_built_marked_and_in_dependency_order() {
    let kernel = inhabited();
    build(&kernel, &plan(), &|_| {}).unwrap();
    let contents = kernel.contents();
    assert_eq!(
        contents.keys().map(NetnsName::as_str).collect::<Vec<_>>(),
        ["hyg-2-fabric", "hyg-fabric", "hyg-node", "hyg-pod", "stranger"]
    );
    let end = |netns_name: &str, link: &str| Some((netns(netns_name), ifname(link)));
    let expected = FakeNetns {
        empty_file: false,
        alias: Some("lab=hyg".into()),
        links: [(ifname("eth0"), end("hyg-fabric", "n1")), (ifname("cali1"), end("hyg-pod", "eth0"))].into(),
        changes: [
            "set sysctl net/ipv4/ip_forward = 0",
            "set sysctl net/ipv4/conf/cali1/proxy_arp = 1",
            "add address 172.18.0.2/16 dev eth0",
            "set link lo up",
            "set link eth0 up",
            "set link cali1 up",
            "add neighbour 172.18.0.3 dev eth0 lladdr 02:02:02:02:02:02",
            "add route 10.244.0.1 dev cali1 scope link",
        ]
        .map(String::from)
        .into(),
    };
    assert_eq!(contents[&netns("hyg-node")], expected);
}

#[test]
fn every_operation_failing_once_leaves_everything_as_it_was() {
    let before = inhabited().contents();
    let probe = inhabited();
    build(&probe, &plan(), &|_| {}).unwrap();
    let operations = probe.operations();
    assert!(operations > 25, "{operations} operations are too few for this plan");
    for failing in 0..operations {
        let kernel = inhabited();
        kernel.fail(&[failing]);
        let error = build(&kernel, &plan(), &|_| {}).expect_err("an operation failed");
        assert!(!matches!(error, FabricError::RollBack { .. }), "operation {failing}: {error}");
        assert_eq!(kernel.contents(), before, "operation {failing}: {error}");
    }
}

#[test]
fn a_kernel_without_vxlan_is_named_with_the_remedy_and_nothing_is_left() {
    let mut plan = plan();
    let kind =
        LinkKindPlan::Vxlan { vni: 4096, port: 4789, local: "172.18.0.2".parse().unwrap(), parent: ifname("eth0") };
    plan.namespaces[1].links.push(LinkPlan { kind, ..veth("vxlan.calico", "x", "x") });
    build(&inhabited(), &plan, &|_| {}).unwrap();
    let kernel = inhabited();
    kernel.forget_vxlan();
    let error = build(&kernel, &plan, &|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "add vxlan vxlan.calico id 4096 dev eth0 in netns hyg-node: Operation not supported; this kernel has no VXLAN: \
         `modprobe vxlan`, or one with CONFIG_VXLAN; the modes without VXLAN do not need it"
    );
    assert_eq!(kernel.contents(), inhabited().contents());
}

#[test]
fn what_a_failed_roll_back_leaves_is_named_and_a_removal_by_mark_finds_it() {
    let before = inhabited().contents();
    let kernel = inhabited();
    // 0 lists, 1 to 3 create, 4 is the first change, 5 to 7 remove.
    kernel.fail(&[4, 6]);
    let error = build(&kernel, &plan(), &|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "set sysctl net/ipv4/ip_forward = 0 in netns hyg-fabric: Cannot allocate memory; \
         and these remain: remove namespace hyg-node: Cannot allocate memory (os error 12)"
    );
    assert!(kernel.contents().contains_key(&netns("hyg-node")));
    assert!(crate::fabric::remove_lab(&kernel, &plan().lab, &[]).is_empty());
    assert_eq!(kernel.contents(), before);
}

#[test]
fn a_name_that_is_not_ours_is_refused_with_nothing_changed() {
    for alias in [None, Some("lab=hyg-2"), Some("mine")] {
        let kernel = inhabited();
        kernel.insert(netns("hyg-pod"), FakeNetns { alias: alias.map(Into::into), ..FakeNetns::default() });
        let before = kernel.contents();
        let error = build(&kernel, &plan(), &|_| {}).unwrap_err();
        assert!(matches!(&error, FabricError::NameTaken { netns, .. } if netns.as_str() == "hyg-pod"), "{error}");
        assert_eq!(kernel.contents(), before);
    }
}

#[test]
fn a_lab_that_is_there_already_is_told_from_a_stranger() {
    let kernel = inhabited();
    build(&kernel, &plan(), &|_| {}).unwrap();
    let before = kernel.contents();
    let error = build(&kernel, &plan(), &|_| {}).unwrap_err();
    assert_eq!(error.to_string(), "create namespace hyg-fabric: lab `hyg` already exists; `lab down hyg` removes it");
    assert_eq!(kernel.contents(), before);
}

#[test]
fn a_veth_whose_other_end_does_not_name_it_is_refused_before_anything_is_built() {
    let mut plan = plan();
    plan.namespaces[2].links[0].name = ifname("eth1");
    let kernel = FakeKernel::default();
    let error = build(&kernel, &plan, &|_| {}).unwrap_err();
    assert!(matches!(error, FabricError::Unpaired { .. }), "{error}");
    assert_eq!(kernel.operations(), 0);
}

#[test]
fn the_kernels_tunl0_is_made_where_the_namespace_was_born_without_one() {
    let mut plan = plan();
    let tunl0 = LinkPlan { kind: LinkKindPlan::Tunl0, mtu: 1480, ..veth("tunl0", "x", "x") };
    plan.namespaces.iter_mut().filter(|netns| netns.role == Role::Node).for_each(|node| node.links.push(tunl0.clone()));
    let kernel = FakeKernel::default();
    build(&kernel, &plan, &|_| {}).unwrap();
    assert!(configure_tunl0(&kernel, &plan).is_err());
    add_tunl0(&kernel, &plan).unwrap();
    // One that is there is as good.
    add_tunl0(&kernel, &plan).unwrap();
    configure_tunl0(&kernel, &plan).unwrap();
    let with_tunl0: Vec<_> =
        kernel.contents().into_iter().filter(|(_, found)| found.links.contains_key("tunl0")).collect();
    assert_eq!(with_tunl0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["hyg-node"]);
    assert_eq!(
        with_tunl0[0].1.changes[with_tunl0[0].1.changes.len() - 2..],
        ["set link tunl0 mtu 1480", "set link tunl0 up"]
    );
}

#[test]
fn progress_reaches_the_total_of_every_stage() {
    let seen = RefCell::new(Vec::new());
    build(&FakeKernel::default(), &plan(), &|progress| seen.borrow_mut().push(progress)).unwrap();
    let at = |stage, done, total| Progress { stage, done, total };
    assert_eq!(
        seen.into_inner(),
        [
            at(Stage::Namespaces, 0, 3),
            at(Stage::Namespaces, 3, 3),
            at(Stage::Links, 0, 3),
            at(Stage::Links, 3, 3),
            at(Stage::Configuration, 0, 3),
            at(Stage::Configuration, 3, 3),
            at(Stage::Carriers, 0, 4),
            at(Stage::Carriers, 4, 4),
        ]
    );
}

#[test]
fn a_link_whose_other_end_stays_down_is_not_waited_for() {
    let mut plan = plan();
    plan.namespaces[1].links[1].up = false;
    assert_eq!(carriers(&plan), [(netns("hyg-fabric"), vec![ifname("n1")]), (netns("hyg-node"), vec![ifname("eth0")])]);
}
