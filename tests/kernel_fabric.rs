//! The fabric on the real kernel: built from plans made by hand, checked with `ip` and `nft`, and gone afterwards.
//!
//! Needs root. Without it every test says "not run"; with `LAB_TEST_KERNEL=require` it fails instead.

#![allow(clippy::disallowed_methods, missing_docs, reason = "a test runs programs and reads the clock")]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use lab::bgp::FibChange;
use lab::bgp::wire::Family;
use lab::fabric::{
    FabricError, MasqueradeOutcome, Monitor, NetlinkKernel, Netns, Program, RouteWriter, apply_masquerade, build,
    list_labs, observe, processes_in, remove_lab, restore_link, set_link, spawn,
};
use lab::net::{IfName, LabName, LinkKind, MacAddr, NetnsName, Route, RouteProtocol};
use lab::plan::{LinkKindPlan, LinkPlan, Masquerade, NeighbourPlan, NetnsPlan, Plan, Role, Sysctl};
use serde_json::Value;

/// Whether the test can run; says so if not.
fn privileged() -> bool {
    if nix::unistd::Uid::effective().is_root() {
        return true;
    }
    let required = std::env::var_os("LAB_TEST_KERNEL").is_some_and(|value| value == "require");
    assert!(!required, "needs root");
    eprintln!("not run: needs root");
    false
}

/// A lab that is removed when the test ends, however it ends.
struct Lab(Plan);

impl Lab {
    fn up(plan: Plan) -> Self {
        build(&NetlinkKernel, &plan, &|_| {}).unwrap();
        Self(plan)
    }

    fn netns(&self, who: &str) -> NetnsName {
        self.0.lab.netns(who).unwrap()
    }

    fn open(&self, who: &str) -> Netns {
        Netns::open(&self.netns(who)).unwrap()
    }

    fn ip(&self, who: &str, arguments: &str) -> String {
        run("ip", &format!("netns exec {} ip {arguments}", self.netns(who)))
    }

    fn json(&self, who: &str, arguments: &str) -> Value {
        serde_json::from_str(&self.ip(who, &format!("-j -d {arguments}"))).unwrap()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let errors = remove_lab(&NetlinkKernel, &self.0.lab, &[]);
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn names() -> BTreeSet<String> {
    match std::fs::read_dir("/run/netns") {
        Ok(entries) => entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
        Err(_) => BTreeSet::new(),
    }
}

fn names_of(lab: &str) -> Vec<String> {
    names().into_iter().filter(|name| name.starts_with(lab)).collect()
}

fn ifname(name: &str) -> IfName {
    IfName::new(name).unwrap()
}

fn sysctl(key: &str, value: &str) -> Sysctl {
    Sysctl { key: key.into(), value: value.into() }
}

fn node_address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, 0, node + 1)
}

fn pod_address(node: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 244, node, 1)
}

fn mac(node: u8) -> MacAddr {
    MacAddr([0x02, 0, 0, 0, 9, node + 1])
}

fn link(name: &str, kind: LinkKindPlan) -> LinkPlan {
    LinkPlan {
        name: ifname(name),
        kind,
        mac: None,
        mtu: 1500,
        master: None,
        addresses: Vec::new(),
        sysctls: Vec::new(),
        up: true,
    }
}

/// One bridge, `nodes` nodes on it that know each other's MAC, and one pod per node.
fn plan(lab: &str, nodes: u8) -> Plan {
    let lab = LabName::new(lab).unwrap();
    let of = |who: &str| lab.netns(who).unwrap();
    let veth = |name: &str, peer_netns: &str, peer: &str| {
        link(name, LinkKindPlan::Veth { peer_netns: of(peer_netns), peer: ifname(peer) })
    };
    let netns = |name: &str, role, forward: &str| NetnsPlan {
        netns: of(name),
        name: name.into(),
        role,
        sysctls: vec![
            sysctl("net/ipv6/conf/all/disable_ipv6", "1"),
            sysctl("net/ipv6/conf/default/disable_ipv6", "1"),
            sysctl("net/ipv4/ip_forward", forward),
            sysctl("net/ipv4/conf/all/rp_filter", "0"),
            sysctl("net/ipv4/conf/default/rp_filter", "0"),
        ],
        links: Vec::new(),
        neighbours: Vec::new(),
        fdb: Vec::new(),
        routes: Vec::new(),
        masquerade: None,
        table: Vec::new(),
    };
    let mut fabric = netns("fabric", Role::Fabric, "0");
    fabric.links.push(link("br0", LinkKindPlan::Bridge));
    let mut members = Vec::new();
    let mut pods = Vec::new();
    for node in 0..nodes {
        let (name, pod, port) = (format!("node{node}"), format!("pod{node}"), format!("n{node}"));
        fabric.links.push(LinkPlan { master: Some(ifname("br0")), ..veth(&port, &name, "eth0") });
        let mut plan = netns(&name, Role::Node, "1");
        let mut eth0 = veth("eth0", "fabric", &port);
        eth0.mac = Some(mac(node));
        eth0.addresses = vec![IpNet::new(node_address(node).into(), 24).unwrap()];
        let mut cali = veth("cali0", &pod, "eth0");
        cali.mac = Some(MacAddr::CALICO_HOST);
        cali.mtu = 1480;
        cali.sysctls = [("proxy_arp", "1"), ("forwarding", "1"), ("rp_filter", "1"), ("route_localnet", "1")]
            .map(|(key, value)| sysctl(&format!("net/ipv4/conf/cali0/{key}"), value))
            .into();
        cali.sysctls.push(sysctl("net/ipv4/neigh/cali0/proxy_delay", "0"));
        plan.links = vec![eth0, cali];
        plan.neighbours = (0..nodes)
            .filter(|other| *other != node)
            .map(|other| NeighbourPlan { dst: node_address(other).into(), dev: ifname("eth0"), lladdr: mac(other) })
            .collect();
        plan.routes = vec![
            Route::unicast(Ipv4Net::default()).via(Ipv4Addr::new(10, 9, 0, 254)).dev(ifname("eth0")),
            format!("{} dev cali0 scope link", pod_address(node)).parse().unwrap(),
        ];
        let pools: Vec<Ipv4Net> = vec!["10.244.0.0/16".parse().unwrap()];
        plan.masquerade = Some(Masquerade { sources: pools.clone(), pools });
        members.push(plan);
        let mut plan = netns(&pod, Role::Pod, "0");
        let mut eth0 = veth("eth0", &name, "cali0");
        eth0.mtu = 1480;
        eth0.addresses = vec![IpNet::new(pod_address(node).into(), 32).unwrap()];
        plan.links = vec![eth0];
        plan.routes = vec![
            "169.254.1.1 dev eth0 scope link".parse().unwrap(),
            "default via 169.254.1.1 dev eth0".parse().unwrap(),
        ];
        pods.push(plan);
    }
    let namespaces = [vec![fabric], members, pods].concat();
    Plan { lab, namespaces, speakers: Vec::new(), pods: Vec::new() }
}

/// `ip route` as values; it prints the ways of a multipath route on lines of their own.
fn ip_route(lab: &Lab, who: &str) -> Vec<Route> {
    let text = lab.ip(who, "route").replace("\n\tnexthop", " nexthop");
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn a_lab_stands_as_planned_and_pods_reach_each_other_once_routes_are_written() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-a", 2));
    let eth0 = &lab.json("node0", "addr show dev eth0")[0];
    assert_eq!(eth0["address"], "02:00:00:00:09:01");
    assert_eq!(eth0["mtu"], 1500);
    assert_eq!(eth0["operstate"], "UP");
    assert_eq!(eth0["addr_info"][0]["local"], "10.9.0.1");
    assert_eq!(eth0["addr_info"][0]["prefixlen"], 24);
    let cali = &lab.json("node0", "link show dev cali0")[0];
    assert_eq!((&cali["address"], &cali["mtu"]), (&"ee:ee:ee:ee:ee:ee".into(), &1480.into()));
    let port = &lab.json("fabric", "link show dev n0")[0];
    assert_eq!((&port["master"], &port["linkinfo"]["info_slave_data"]["state"]), (&"br0".into(), &"forwarding".into()));
    let bridge = &lab.json("fabric", "link show dev br0")[0]["linkinfo"]["info_data"];
    assert_eq!((&bridge["stp_state"], &bridge["mcast_snooping"]), (&0.into(), &0.into()));
    assert_eq!(lab.json("pod1", "link show dev lo")[0]["ifalias"], "lab=t-fabric-a");
    let proxy_arp = format!("netns exec {} cat /proc/sys/net/ipv4/conf/cali0/proxy_arp", lab.netns("node0"));
    assert_eq!(run("ip", &proxy_arp), "1\n");

    let written = [(0, 1), (1, 0)].map(|(node, other)| {
        let route = Route::unicast(Ipv4Net::new(pod_address(other), 32).unwrap()).via(node_address(other));
        let route = route.dev(ifname("eth0")).proto(RouteProtocol::BIRD);
        RouteWriter::open(&lab.open(&format!("node{node}"))).unwrap().apply_blocking(&[FibChange::Replace(route)])
    });
    assert!(written.iter().flatten().all(Result::is_ok), "{written:?}");
    // `build` returned with carriers up: the very first packet must arrive.
    run("ip", &format!("netns exec {} ping -c 1 -W 1 {}", lab.netns("pod0"), pod_address(1)));
}

#[test]
fn what_is_observed_equals_what_ip_shows() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-b", 2));
    for command in [
        "route add blackhole 10.244.99.0/26 proto bird",
        "route add 10.50.0.0/16 via 10.9.0.77 dev cali0 proto 80 onlink mtu 1400",
        "route add 10.51.0.0/16 proto bird nexthop via 10.9.0.2 dev eth0 weight 1 nexthop via 10.9.0.3 dev eth0 weight 3",
        "route add 10.52.0.0/16 dev eth0 src 10.9.0.1 metric 77",
        "route add 10.53.0.0/16 dev eth0 table 100",
        "route add unreachable 10.54.0.0/16",
    ] {
        lab.ip("node0", command);
    }
    for who in ["node0", "node1", "pod0", "fabric"] {
        let observed = observe(&lab.open(who)).unwrap();
        assert_eq!(observed.routes, ip_route(&lab, who), "{who}");
        let links: Vec<_> = observed
            .links
            .iter()
            .map(|link| {
                let master = link.master.as_ref().map(IfName::as_str);
                (link.index.into(), link.name.as_str().into(), link.mtu.into(), master.into())
            })
            .collect();
        let expected: Vec<(Value, Value, Value, Value)> = lab
            .json(who, "link")
            .as_array()
            .unwrap()
            .iter()
            .map(|link| {
                let of = |key: &str| link[key].clone();
                (of("ifindex"), of("ifname"), of("mtu"), of("master"))
            })
            .collect();
        assert_eq!(links, expected, "{who}");
        let neighbours: Vec<String> = observed.neighbours.iter().map(ToString::to_string).collect();
        let expected: Vec<String> = lab.ip(who, "neigh").lines().map(|line| line.trim().into()).collect();
        assert_eq!(neighbours, expected, "{who}");
    }
    let node = observe(&lab.open("node0")).unwrap();
    let eth0 = node.links.iter().find(|link| link.name == ifname("eth0")).unwrap();
    assert_eq!((eth0.kind, eth0.up, eth0.carrier, eth0.mac), (LinkKind::Veth, true, true, Some(mac(0))));
    assert_eq!(eth0.addresses, ["10.9.0.1/24".parse::<IpNet>().unwrap()]);
    let fabric = lab.open("fabric");
    let fdb = run("bridge", &format!("-n {} -j fdb", lab.netns("fabric")));
    let expected: Vec<Value> = serde_json::from_str(&fdb).unwrap();
    let fdb: Vec<(Value, Value)> = observe(&fabric)
        .unwrap()
        .fdb
        .iter()
        .map(|entry| (entry.mac.to_string().into(), entry.dev.as_str().into()))
        .collect();
    assert_eq!(fdb, expected.iter().map(|e| (e["mac"].clone(), e["ifname"].clone())).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_after_removal_and_the_same_lab_stands_again_at_once() {
    if !privileged() {
        return;
    }
    for _ in 0..3 {
        drop(Lab::up(plan("t-fabric-c", 3)));
        assert_eq!(names_of("t-fabric-c"), Vec::<String>::new());
    }
}

#[test]
fn two_labs_of_which_one_name_begins_with_the_other_do_not_touch_each_other() {
    if !privileged() {
        return;
    }
    let first = Lab::up(plan("t-fabric-d", 1));
    let second = Lab::up(plan("t-fabric-d-2", 1));
    let before = names_of("t-fabric-d-2-");
    assert_eq!(before.len(), 3);
    let labs: Vec<LabName> = list_labs(&NetlinkKernel).unwrap().into_iter().map(|(lab, _)| lab).collect();
    assert!(labs.contains(&first.0.lab) && labs.contains(&second.0.lab), "{labs:?}");
    drop(first);
    assert_eq!(names_of("t-fabric-d"), before);
    assert_eq!(ip_route(&second, "pod0").len(), 2);
}

#[test]
fn a_strangers_namespace_is_refused_with_nothing_changed() {
    if !privileged() {
        return;
    }
    run("ip", "netns add t-fabric-e-pod0");
    let error = build(&NetlinkKernel, &plan("t-fabric-e", 1), &|_| {}).unwrap_err();
    let left = names_of("t-fabric-e");
    run("ip", "netns del t-fabric-e-pod0");
    assert!(matches!(error, FabricError::NameTaken { .. }), "{error}");
    assert_eq!(left, ["t-fabric-e-pod0"]);
}

#[test]
fn a_refused_route_is_named_with_the_kernels_reason_and_everything_is_taken_back() {
    if !privileged() {
        return;
    }
    let mut plan = plan("t-fabric-f", 2);
    plan.namespaces[1].routes.push("10.1.0.0/16 via 10.77.0.1 dev eth0".parse().unwrap());
    let error = build(&NetlinkKernel, &plan, &|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        "add route 10.1.0.0/16 via 10.77.0.1 dev eth0 in netns t-fabric-f-node0: \
         Network is unreachable (Nexthop has invalid gateway)"
    );
    assert_eq!(names_of("t-fabric-f"), Vec::<String>::new());
}

#[test]
fn what_a_creator_that_died_half_way_left_goes_by_the_names_it_wrote() {
    if !privileged() {
        return;
    }
    run("ip", "netns add t-fabric-g-bare");
    std::fs::write("/run/netns/t-fabric-g-file", "").unwrap();
    run("ip", "netns add t-fabric-g-used");
    run("ip", "-n t-fabric-g-used link add br0 type bridge");
    let written = ["bare", "file", "used"].map(|who| NetnsName::new(&format!("t-fabric-g-{who}")).unwrap());
    let errors = remove_lab(&NetlinkKernel, &LabName::new("t-fabric-g").unwrap(), &written);
    let left = names_of("t-fabric-g");
    run("ip", "netns del t-fabric-g-bare");
    run("ip", "netns del t-fabric-g-used");
    assert!(errors.is_empty(), "{errors:?}");
    // Ours bear their mark before their name: one without it is a stranger's, used or not.
    assert_eq!(left, ["t-fabric-g-bare", "t-fabric-g-used"]);
}

#[test]
fn processes_inside_end_with_the_lab_even_one_that_ignores_sigterm() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-h", 1));
    let spawn = |program: &str| {
        let netns = lab.netns("pod0");
        let arguments = ["netns", "exec", netns.as_str(), "sh", "-c", program];
        Command::new("ip").args(arguments).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut meek = spawn("echo; exec sleep 1000");
    let mut stubborn = spawn("trap '' TERM HUP; echo; while :; do sleep 1000; done");
    for child in [&mut meek, &mut stubborn] {
        // The line says that the shell runs inside, its trap set.
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    }
    let inside = processes_in(&lab.open("pod0")).unwrap();
    assert!(inside.contains(&meek.id().cast_signed()), "{inside:?}");
    assert_eq!(processes_in(&lab.open("node0")).unwrap(), Vec::<i32>::new());
    drop(lab);
    for child in [&mut meek, &mut stubborn] {
        assert!(!child.wait().unwrap().success());
    }
}

#[test]
fn of_what_a_sealed_program_writes_only_its_folder_stays() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-sealed", 1));
    let folder = tempfile::tempdir_in("/run").unwrap();
    let path = folder.path().to_str().unwrap();
    let script = format!(
        "ls -A /run /var; cat {path}/before; for place in /run /var/tmp /var/run/inner {path}; do mkdir -p $place; touch $place/sealed-mark; done"
    );
    std::fs::write(folder.path().join("before"), "readable\n").unwrap();
    let program = Program {
        path: "/bin/sh".into(),
        arguments: ["-c", &script].map(Into::into).into(),
        environment: Vec::new(),
        log: std::fs::File::create(folder.path().join("log")).unwrap(),
        sealed_but: Some(folder.path().to_owned()),
    };
    assert!(spawn(&lab.open("node0"), program).unwrap().wait().unwrap().success());
    let said = std::fs::read_to_string(folder.path().join("log")).unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert!(said.starts_with(&format!("/run:\n{name}\n\n/var:\nlib\nlog\nrun\ntmp\nreadable\n")), "{said}");
    assert!(folder.path().join("sealed-mark").exists());
    for place in ["/run/sealed-mark", "/run/inner", "/var/tmp/sealed-mark"] {
        assert!(!std::path::Path::new(place).exists(), "{place}");
    }
}

#[test]
fn a_link_that_went_down_gets_back_what_the_plan_has_for_it() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-i", 3));
    let (node, eth0) = (lab.netns("node0"), ifname("eth0"));
    let before = observe(&lab.open("node0")).unwrap();
    set_link(&node, &eth0, false).unwrap();
    let down = observe(&lab.open("node0")).unwrap();
    assert_eq!((down.routes.len(), down.neighbours.len()), (1, 0));
    restore_link(&lab.0, &node, &eth0).unwrap();
    restore_link(&lab.0, &node, &eth0).unwrap();
    let after = observe(&lab.open("node0")).unwrap();
    assert_eq!(after.routes, before.routes);
    assert_eq!(after.neighbours.into_iter().collect::<BTreeSet<_>>(), before.neighbours.into_iter().collect());
    let error = restore_link(&lab.0, &node, &ifname("eth7")).unwrap_err();
    assert!(matches!(error, FabricError::NotPlanned { .. }), "{error}");
}

#[test]
fn the_route_writer_replaces_its_own_routes_and_nobody_elses() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-j", 2));
    let node = lab.open("node0");
    lab.ip("node0", "route add 10.60.0.0/16 via 10.9.0.2 dev eth0 proto static");
    // Left by an earlier life.
    lab.ip("node0", "route add 10.61.0.0/16 via 10.9.0.2 dev eth0 proto bird");
    let writer = RouteWriter::open(&node).unwrap();
    let bird = |text: &str| Route::parse(text, RouteProtocol::BIRD).unwrap();
    let results = writer.apply_blocking(&[
        FibChange::Replace(bird("10.60.0.0/16 via 10.9.0.3 dev eth0")),
        FibChange::Replace(bird("10.61.0.0/16 via 10.9.0.3 dev eth0")),
        FibChange::Replace(bird("10.62.0.0/16 via 10.9.0.2 dev eth0")),
        FibChange::Replace(bird("blackhole 10.62.0.0/16")),
        FibChange::Replace(bird("10.63.0.0/16 via 10.99.0.1 dev eth0")),
        FibChange::Remove(bird("10.64.0.0/16 via 10.9.0.2 dev eth0")),
    ]);
    let errors: Vec<Option<String>> = results.into_iter().map(|r| r.err().map(|e| e.to_string())).collect();
    let taken = "add route 10.60.0.0/16 via 10.9.0.3 dev eth0 proto bird in netns t-fabric-j-node0: \
                 a route of proto static is already there";
    let unreachable = "add route 10.63.0.0/16 via 10.99.0.1 dev eth0 proto bird in netns t-fabric-j-node0: \
                       Network is unreachable (Nexthop has invalid gateway)";
    assert_eq!(errors, [Some(taken.into()), None, None, None, Some(unreachable.into()), None]);
    let shown = || -> Vec<String> {
        lab.ip("node0", "route").lines().map(|line| line.trim().to_owned()).filter(|l| l.contains("10.6")).collect()
    };
    assert_eq!(
        shown(),
        [
            "10.60.0.0/16 via 10.9.0.2 dev eth0 proto static",
            "10.61.0.0/16 via 10.9.0.3 dev eth0 proto bird",
            "blackhole 10.62.0.0/16 proto bird",
        ]
    );
    // Removing takes what is ours only; and what the kernel dropped meanwhile, with a stranger in its place, is not ours.
    lab.ip("node0", "route del 10.61.0.0/16");
    lab.ip("node0", "route add 10.61.0.0/16 dev cali0 proto static");
    let results = writer.apply_blocking(&[
        FibChange::Remove(bird("10.60.0.0/16 via 10.9.0.3 dev eth0")),
        FibChange::Replace(bird("10.61.0.0/16 via 10.9.0.2 dev eth0")),
        FibChange::Remove(bird("blackhole 10.62.0.0/16")),
    ]);
    assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(
        shown(),
        ["10.60.0.0/16 via 10.9.0.2 dev eth0 proto static", "10.61.0.0/16 dev cali0 proto static scope link",]
    );
}

#[test]
fn a_route_that_changes_its_metric_leaves_none_of_the_old_metric() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-q", 1));
    // Left by an earlier life.
    lab.ip("node0", "route add 10.65.0.0/16 via 10.9.0.2 dev eth0 proto bird metric 7");
    let writer = RouteWriter::open(&lab.open("node0")).unwrap();
    let route = |text: &str| Route::parse(text, RouteProtocol::BIRD).unwrap();
    let shown = |change: FibChange| -> Vec<String> {
        assert!(writer.apply_blocking(&[change])[0].is_ok());
        let bird = ip_route(&lab, "node0").into_iter().filter(|route| route.proto == RouteProtocol::BIRD);
        bird.map(|route| route.to_string()).collect()
    };
    let (nine, zero, five) = (
        "10.65.0.0/16 via 10.9.0.3 dev eth0 proto bird metric 9",
        "10.65.0.0/16 via 10.9.0.3 dev eth0 proto bird",
        "10.65.0.0/16 via 10.9.0.3 dev eth0 proto bird metric 5",
    );
    for text in [nine, zero, five, zero] {
        assert_eq!(shown(FibChange::Replace(route(text))), [text]);
    }
    // When a route is removed metric 0 stands for any: that must not hit the new one where the old one is no more.
    lab.ip("node0", "route del 10.65.0.0/16");
    assert_eq!(shown(FibChange::Replace(route(five))), [five]);
    // What cannot be written leaves the old one known, whether it is still there or not.
    let refused = |text: &str| writer.apply_blocking(&[FibChange::Replace(route(text))])[0].is_err();
    assert!(refused("10.65.0.0/16 via 10.9.0.3 dev eth7 metric 9"));
    assert_eq!(shown(FibChange::Replace(route(nine))), [nine]);
    assert!(refused("10.65.0.0/16 via 10.99.0.1 dev eth0 metric 5"));
    assert_eq!(shown(FibChange::Replace(route(nine))), [nine]);
    // The speaker may have said another metric in between, and taken it back before it was written.
    assert!(shown(FibChange::Remove(route("10.65.0.0/16 via 10.9.0.3 dev eth0 metric 6"))).is_empty());
}

#[test]
fn routes_that_are_there_already_are_written_again_in_no_time() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-r", 1));
    let writer = RouteWriter::open(&lab.open("node0")).unwrap();
    let route =
        |n: u32| format!("10.{}.{}.{}/32 via 10.9.0.2 dev eth0 proto bird", 70 + (n >> 16), n >> 8 & 255, n & 255);
    let changes: Vec<FibChange> =
        (0..20_000).map(|n| FibChange::Replace(Route::parse(&route(n), RouteProtocol::BIRD).unwrap())).collect();
    let took = || {
        let start = Instant::now();
        assert!(writer.apply_blocking(&changes).iter().all(Result::is_ok));
        start.elapsed()
    };
    let (first, again) = (took(), took());
    // One look at the whole table for every 64 of them would take a hundred times as long.
    assert!(again < 5 * first, "{again:?} after {first:?}");
    assert_eq!(ip_route(&lab, "node0").iter().filter(|route| route.proto == RouteProtocol::BIRD).count(), 20_000);
    // Gone with a link, say, and somebody was faster: theirs stays, and ours is refused.
    lab.ip("node0", "route del 10.70.0.7/32");
    lab.ip("node0", "route add 10.70.0.7/32 via 10.9.0.3 dev eth0 proto static");
    let results = writer.apply_blocking(&changes[..10]);
    let refused: Vec<usize> = (0..10).filter(|at| results[*at].is_err()).collect();
    assert_eq!(refused, [7]);
    let there = ip_route(&lab, "node0").into_iter().filter(|route| route.dst.to_string() == "10.70.0.7/32");
    assert_eq!(
        there.map(|route| route.to_string()).collect::<Vec<_>>(),
        ["10.70.0.7 via 10.9.0.3 dev eth0 proto static"]
    );
}

#[test]
fn a_route_over_a_link_made_anew_under_its_old_name_is_written() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-o", 1));
    let writer = RouteWriter::open(&lab.open("node0")).unwrap();
    let route = Route::parse("10.90.0.0/16 dev br9 scope link", RouteProtocol::BIRD).unwrap();
    let missing = writer.apply_blocking(&[FibChange::Replace(route.clone())]);
    assert!(
        missing[0].as_ref().is_err_and(|error| error.to_string().ends_with("(there is no link br9)")),
        "{missing:?}"
    );
    for _ in 0..2 {
        lab.ip("node0", "link add br9 type bridge");
        lab.ip("node0", "link set br9 up");
        let results = writer.apply_blocking(&[FibChange::Replace(route.clone())]);
        assert!(results[0].is_ok(), "{results:?}");
        assert!(ip_route(&lab, "node0").contains(&route));
        lab.ip("node0", "link del br9");
    }
}

#[test]
fn a_changed_route_is_there_at_every_moment_of_its_replacement() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-k", 2));
    let writer = RouteWriter::open(&lab.open("node0")).unwrap();
    let to = |gateway: &str| {
        let route = Route::parse(&format!("10.70.0.0/16 via {gateway} dev eth0"), RouteProtocol::BIRD).unwrap();
        vec![FibChange::Replace(route)]
    };
    assert!(writer.apply_blocking(&to("10.9.0.2")).iter().all(Result::is_ok));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let node = lab.open("node0");
            let mut seen = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let routes = lab::fabric::observe::routes(&node).unwrap();
                assert!(routes.iter().any(|route| route.dst == "10.70.0.0/16".parse().unwrap()), "{routes:?}");
                seen += 1;
            }
            seen
        });
        for round in 0..500 {
            let results = writer.apply_blocking(&to(if round % 2 == 0 { "10.9.0.3" } else { "10.9.0.2" }));
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watcher.join().unwrap() > 0);
    });
    assert_eq!(ip_route(&lab, "node0").iter().filter(|r| r.proto == RouteProtocol::BIRD).count(), 1);
}

#[test]
fn ten_thousand_routes_are_written_and_removed_in_batches() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-l", 1));
    let node = lab.open("node0");
    let writer = RouteWriter::open(&node).unwrap();
    let routes: Vec<Route> = (0..10_000u32)
        .map(|n| {
            let dst = Ipv4Net::new(Ipv4Addr::from(0x1400_0000 + (n << 8)), 24).unwrap();
            Route::unicast(dst).via(Ipv4Addr::new(10, 9, 0, 9)).dev(ifname("eth0")).proto(RouteProtocol::BIRD)
        })
        .collect();
    let start = Instant::now();
    let results = writer.apply_blocking(&routes.iter().cloned().map(FibChange::Replace).collect::<Vec<_>>());
    eprintln!("10,000 routes written in {:?}", start.elapsed());
    assert!(results.iter().all(Result::is_ok));
    let mut found = lab::fabric::observe::routes(&node).unwrap();
    found.retain(|route| route.proto == RouteProtocol::BIRD);
    assert_eq!(found, routes);
    let results = writer.apply_blocking(&routes.into_iter().map(FibChange::Remove).collect::<Vec<_>>());
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(lab::fabric::observe::routes(&node).unwrap().len(), 3);
}

#[tokio::test]
async fn the_monitor_tells_of_others_changes_and_not_of_the_writers_own() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-m", 1));
    let node = lab.open("node0");
    let writer = RouteWriter::open(&node).unwrap();
    let mut monitor = Monitor::open(&node, Some(writer.port())).unwrap();
    let route = Route::parse("blackhole 10.80.0.0/16", RouteProtocol::BIRD).unwrap();
    assert!(writer.apply(vec![FibChange::Replace(route)]).await.iter().all(Result::is_ok));
    let quiet = tokio::time::timeout(Duration::from_millis(50), monitor.changed()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    lab.ip("node0", "route add 10.81.0.0/16 dev eth0");
    let changed = tokio::time::timeout(Duration::from_secs(5), monitor.changed()).await.unwrap().unwrap();
    assert_eq!((changed.links, changed.addresses, changed.routes), (false, false, true));
    lab.ip("node0", "link set cali0 down");
    let changed = tokio::time::timeout(Duration::from_secs(5), monitor.changed()).await.unwrap().unwrap();
    assert!(changed.links, "{changed:?}");
    let snapshot = lab::fabric::snapshot(&node, Family::Ipv4Unicast).unwrap();
    let up: Vec<&str> = snapshot.interfaces.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(up, ["lo", "eth0"]);
    assert_eq!(snapshot.routes, ip_route(&lab, "node0"));
}

#[test]
fn nat_outgoing_stands_in_every_node_and_may_be_applied_twice() {
    if !privileged() {
        return;
    }
    let lab = Lab::up(plan("t-fabric-n", 2));
    for _ in 0..2 {
        let outcome = apply_masquerade(&lab.0);
        assert!(matches!(outcome, MasqueradeOutcome::Applied(2)), "{outcome:?}");
    }
    for who in ["node0", "node1"] {
        let rules = run("ip", &format!("netns exec {} nft list ruleset", lab.netns(who)));
        let rules: Vec<&str> = rules.lines().map(str::trim).filter(|line| line.contains("saddr")).collect();
        assert_eq!(rules, ["ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade fully-random"]);
    }
}

/// Not a test of anything: `cargo test --release --test kernel_fabric -- --ignored --nocapture` prints the figures.
#[test]
#[ignore = "prints durations; its figures mean something in a release build on an idle machine only"]
fn durations() {
    if !privileged() {
        return;
    }
    for nodes in [3, 100] {
        let plan = plan("t-fabric-z", nodes);
        let start = Instant::now();
        let last = std::cell::Cell::new(start);
        build(&NetlinkKernel, &plan, &|progress| {
            if progress.done == progress.total {
                println!("  {:?} {}: {:?}", progress.stage, progress.total, last.replace(Instant::now()).elapsed());
            }
        })
        .unwrap();
        println!("{nodes} nodes and pods built in {:?}", start.elapsed());
        let start = Instant::now();
        let outcome = apply_masquerade(&plan);
        println!("{outcome:?} in {:?}", start.elapsed());
        let start = Instant::now();
        assert!(list_labs(&NetlinkKernel).is_ok());
        println!("listed in {:?}", start.elapsed());
        let start = Instant::now();
        let errors = remove_lab(&NetlinkKernel, &plan.lab, &[]);
        println!("removed in {:?}: {errors:?}", start.elapsed());
    }
}
