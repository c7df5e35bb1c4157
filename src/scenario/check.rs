//! Are the names of a scenario names of its topology?

use std::net::IpAddr;

use super::model::*;
use super::suggest;
use crate::topology::{Diagnostic, Interface, Topology};

/// Every reference of `scenario` that `topology` cannot serve, in the order of the file: nodes and pods that do not
/// exist, `ethN` that a node does not have, BGP sessions with nobody.
pub fn check(scenario: &Scenario, topology: &Topology) -> Vec<Diagnostic> {
    let mut checker = Checker { topology, faults: Vec::new() };
    for step in &scenario.steps {
        checker.verb(&step.verb);
    }
    checker.faults.sort_by_key(|fault| fault.span.start);
    // A path takes its destination from its traffic: one name, looked at twice.
    checker.faults.dedup();
    checker.faults
}

struct Checker<'a> {
    topology: &'a Topology,
    faults: Vec<Diagnostic>,
}

impl<'a> Checker<'a> {
    fn verb(&mut self, verb: &Verb) {
        match verb {
            Verb::Ping(ping) => self.ping(ping),
            Verb::Mtu(mtu) => self.mtu(mtu),
            Verb::Curl(curl) => self.curl(curl),
            Verb::Capture(capture) => {
                capture.on.iter().for_each(|place| self.place(place));
                capture.during.iter().for_each(|traffic| match traffic {
                    Traffic::Ping(ping) => self.ping(ping),
                    Traffic::Curl(curl) => self.curl(curl),
                    Traffic::Exec(exec) => self.namespace(&exec.on),
                });
                let expected = capture.expect.iter().map(|expected| &expected.packet);
                expected.chain(capture.path.iter().map(|hop| &hop.packet)).for_each(|packet| self.ends(packet));
            }
            Verb::State(state) | Verb::Wait(Wait::State(state)) => self.state(state),
            Verb::Wait(Wait::Converged) => {}
            Verb::Exec(exec) => self.namespace(&exec.on),
            Verb::Do(Do::Peer { action: _, node, with }) => {
                if self.speaker(node) {
                    self.session(node, with);
                }
            }
            Verb::Do(Do::Link { action: _, on }) => self.place(on),
        }
    }

    fn ping(&mut self, ping: &Ping) {
        self.host(&ping.from);
        self.target(&ping.to);
    }

    fn mtu(&mut self, mtu: &Mtu) {
        self.host(&mtu.from);
        self.target(&mtu.to);
        // The router between the segments is nobody's target, and answers all the same.
        if let Some(Beyond::FragmentationNeeded { from, mtu: _ }) = &mtu.beyond
            && from.parse::<IpAddr>().is_err()
        {
            self.namespace(from);
        }
    }

    fn ends(&mut self, packet: &PacketPattern) {
        let PacketPattern { src, dst, outer, .. } = packet;
        [src, dst, &outer.src, &outer.dst].into_iter().flatten().for_each(|end| self.target(end));
    }

    fn curl(&mut self, curl: &Curl) {
        self.host(&curl.from);
        self.target(&curl.to);
    }

    fn state(&mut self, state: &StateCheck) {
        let StateCheck::Bgp(bgp) = state else { return self.namespace(state.on()) };
        if !self.speaker(&bgp.on) {
            return;
        }
        if let Some(SessionExpectation::Each(sessions)) = &bgp.sessions {
            sessions.iter().for_each(|(with, _)| self.session(&bgp.on, with));
        }
        for path in &bgp.paths {
            let local = ["static1", "direct1", "kernel1"];
            if let Some(from) = path.from.as_ref().filter(|from| !local.contains(&from.value.as_str())) {
                self.session(&bgp.on, from);
            }
            [&path.next_hop, &path.originator].into_iter().flatten().for_each(|end| self.target(end));
        }
    }

    /// A node, or a router that speaks BGP; whether it is one.
    fn speaker(&mut self, name: &At<String>) -> bool {
        let found = self.speakers().any(|speaker| speaker == name.value);
        if !found {
            let pod = self.topology.pods.iter().find(|pod| pod.name == name.value);
            let (message, help) = match pod {
                Some(pod) => (
                    format!("`{}` is a pod, and a node belongs here", name.value),
                    format!("it is on the node `{}`", self.topology.nodes[pod.node.0].name),
                ),
                None if self.topology.interfaces(name).is_some() => (
                    format!("the router `{}` has no `asNumber`, and a node belongs here", name.value),
                    "only with an AS number does a router speak BGP".to_owned(),
                ),
                None => (format!("there is no node `{}`", name.value), suggest::help(name, self.speakers())),
            };
            self.fault("unknown-node", name, message, help);
        }
        found
    }

    /// The names of all speakers.
    fn speakers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let Topology { nodes, routers, .. } = self.topology;
        let routers = routers.iter().filter(|router| router.as_number.is_some());
        nodes.iter().map(|node| node.name.as_str()).chain(routers.map(|router| router.name.as_str()))
    }

    /// A node, a router or a pod.
    fn host(&mut self, name: &At<String>) {
        if self.topology.interfaces(name).is_none() && !self.is_pod(name) {
            let help = suggest::help(name, self.hosts());
            self.fault("unknown-name", name, format!("there is no node or pod `{}`", name.value), help);
        }
    }

    /// A node, a pod, or one of the lab's own namespaces.
    fn namespace(&mut self, name: &At<String>) {
        if self.topology.interfaces(name).is_none()
            && !self.is_pod(name)
            && !OWN_NAMESPACES.contains(&name.value.as_str())
        {
            let help = suggest::help(name, self.hosts().chain(OWN_NAMESPACES));
            self.fault("unknown-name", name, format!("there is no node or pod `{}`", name.value), help);
        }
    }

    /// A node, a pod, or an address.
    fn target(&mut self, name: &At<String>) {
        if name.parse::<IpAddr>().is_err() {
            self.host(name);
        }
    }

    fn place(&mut self, place: &At<Place>) {
        let name = At { value: place.namespace.clone(), span: place.span.clone() };
        self.namespace(&name);
        let interface = place.interface.as_str();
        // Interfaces that the lab derives (cali…, tunl0, vxlan.calico) are not in the topology; those of segments are.
        if interface.strip_prefix("eth").is_none_or(|index| index.parse::<u32>().is_err()) {
            return;
        }
        let names: Vec<String> = match self.topology.interfaces(&name) {
            Some(interfaces) => interfaces.iter().map(|own| own.name.to_string()).collect(),
            None if self.is_pod(&name) => vec!["eth0".into()],
            None => return,
        };
        if !names.iter().any(|own| own == interface) {
            let help = suggest::help(interface, names.iter().map(String::as_str));
            let message = format!("`{}` has no interface `{interface}`", place.namespace);
            self.fault("unknown-interface", &name, message, help);
        }
    }

    /// The other end of a session of `of`: the name or an address of a node or router, or a protocol's name.
    fn session(&mut self, of: &At<String>, with: &At<String>) {
        let has = |name: &&str| match with.parse::<IpAddr>().ok().or_else(|| protocol_address(with)) {
            None => *name == with.value,
            Some(address) => {
                let own = |interface: &Interface| IpAddr::V4(interface.address.addr()) == address;
                self.topology.interfaces(name).is_some_and(|interfaces| interfaces.iter().any(own))
            }
        };
        match self.speakers().find(has) {
            Some(name) if name == of.value => {
                let message = format!("`{name}` has no session with itself");
                self.fault("unknown-peer", with, message, "name the other end");
            }
            Some(_) => {}
            None => {
                let others: Vec<&str> = self.speakers().filter(|name| *name != of.value).collect();
                let help = match others[..] {
                    [] => format!("`{}` is the only node, and has no session at all", of.value),
                    _ => suggest::help(with, others),
                };
                let message = format!("`{}` has no peer `{}`", of.value, with.value);
                self.fault("unknown-peer", with, message, help);
            }
        }
    }

    fn is_pod(&self, name: &str) -> bool {
        self.topology.pods.iter().any(|pod| pod.name == name)
    }

    fn hosts(&self) -> impl Iterator<Item = &'a str> {
        let topology = self.topology;
        let nodes = topology.nodes.iter().map(|node| node.name.as_str());
        let routers = topology.routers.iter().map(|router| router.name.as_str());
        nodes.chain(routers).chain(topology.pods.iter().map(|pod| pod.name.as_str()))
    }

    fn fault(&mut self, code: &'static str, at: &At<String>, message: String, help: impl Into<String>) {
        let label = match message {
            _ if message.ends_with("belongs here") => "no node",
            _ if message.ends_with("itself") => "the node itself",
            _ => "not in the topology",
        };
        let label = label.into();
        self.faults.push(Diagnostic { code, span: at.span.clone(), message, label, help: help.into() });
    }
}

/// Namespaces that every lab has, or may have.
const OWN_NAMESPACES: [&str; 2] = ["fabric", "gateway"];

/// The address in a protocol's name: `Mesh_172_18_0_3` (calico-behaviour 7.2).
fn protocol_address(name: &str) -> Option<IpAddr> {
    let (_, address) = name.split_once('_')?;
    address.replace('_', ".").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::net::{IfName, LabName};
    use crate::topology::{
        BgpConfiguration, Interface, Node, NodeId, Pod, Profile, Segment, SegmentId, Timers, Topology,
    };

    use super::*;

    fn node(name: &str, address: &str) -> Node {
        Node {
            name: name.into(),
            interfaces: vec![Interface {
                name: IfName::eth(0),
                address: address.parse().unwrap(),
                segment: SegmentId(0),
            }],
            gateway: "10.0.0.1".parse().unwrap(),
            labels: BTreeMap::new(),
            as_number: None,
            cluster_id: None,
            listen_port: None,
            prefix_advertisements: None,
            speaker: None,
            span: 0..0,
        }
    }

    fn topology() -> Topology {
        Topology {
            name: LabName::new("two").unwrap(),
            profile: Profile::Classic,
            timers: Timers::Fast,
            bgp: BgpConfiguration::default(),
            pools: vec![],
            segments: vec![Segment { subnet: "10.0.0.0/24".parse().unwrap(), mtu: 1500, implicit_gateway: None }],
            nodes: vec![node("node1", "10.0.0.11/24"), node("node2", "10.0.0.12/24")],
            routers: vec![],
            bgp_peers: vec![],
            bgp_filters: vec![],
            pods: vec![Pod {
                name: "web".into(),
                namespace: "default".into(),
                node: NodeId(0),
                labels: BTreeMap::new(),
                ip: None,
                span: 0..0,
            }],
        }
    }

    fn faults(steps: &str) -> Vec<(String, String)> {
        let text = format!("topology = 'two.toml'\n{steps}");
        let scenario = crate::scenario::parse(&text).unwrap();
        let show =
            |fault: Diagnostic| (text[fault.span.clone()].to_string(), format!("{}: {}", fault.message, fault.help));
        check(&scenario, &topology()).into_iter().map(show).collect()
    }

    #[test]
    fn names_of_the_topology_pass() {
        let none = faults(
            "[[step]]\nping = { from = 'web', to = 'node2' }\n\
             [[step]]\nping = { from = 'node1', to = '8.8.8.8' }\n\
             [[step]]\nbgp = { on = 'node1', sessions = { node2 = 'Idle', Mesh_10_0_0_12 = 'Idle', '10.0.0.12' = 'Idle' } }\n\
             [[step]]\nlinks = { on = 'fabric', exclude = ['eth0'] }\n\
             [[step]]\ndo = { link = 'down', on = 'web:eth0' }\n\
             [[step]]\ndo = { link = 'down', on = 'node1:tunl0' }\n\
             [[step]]\nmtu = { from = 'web', to = '10.0.0.12', largest = 1500, beyond = { from = 'gateway', mtu = 1500 } }\n\
             [[step]]\nmtu = { from = 'web', to = 'node2', largest = 1500, beyond = { from = '10.0.0.1', mtu = 1500 } }\n",
        );
        assert_eq!(none, vec![]);
    }

    #[test]
    fn every_name_that_is_not_there_is_named_with_its_place_and_the_nearest_one() {
        let all = faults(
            "[[step]]\nping = { from = 'wbe', to = 'node2' }\n\
             [[step]]\nbgp = { on = 'web', all = 'Established' }\n\
             [[step]]\nbgp = { on = 'node1', sessions = { node1 = 'Idle', '10.0.0.99' = 'Idle' } }\n\
             [[step]]\ncapture = { on = ['node1:eth1'], during = { ping = { from = 'web', to = 'node2' } }, expect = { src = 'wob' } }\n\
             [[step]]\ndo = { peer = 'disable', node = 'node1', with = 'node3' }\n\
             [[step]]\nmtu = { from = 'wbe', to = 'nod2', largest = 1500, beyond = { from = 'gatway', mtu = 1500 } }\n\
             [[step]]\ncapture = { during = { ping = { from = 'web', to = 'nod2' } }, path = [{ on = 'nod1:cali1' }, { on = 'node1:eth7', src = 'wob' }] }\n\
             [[step]]\ncapture = { during = { ping = { from = 'web', to = 'node2' } }, expect = [{ on = 'node1:eth0' }, { on = 'node1:eth8', outer = { dst = 'nod2' } }] }\n",
        );
        let expected = [
            ("'wbe'", "there is no node or pod `wbe`: did you mean `web`?"),
            ("'web'", "`web` is a pod, and a node belongs here: it is on the node `node1`"),
            ("node1", "`node1` has no session with itself: name the other end"),
            ("'10.0.0.99'", "`node1` has no peer `10.0.0.99`: it is one of `node2`"),
            ("'node1:eth1'", "`node1` has no interface `eth1`: did you mean `eth0`?"),
            ("'wob'", "there is no node or pod `wob`: did you mean `web`?"),
            ("'node3'", "`node1` has no peer `node3`: did you mean `node2`?"),
            ("'wbe'", "there is no node or pod `wbe`: did you mean `web`?"),
            ("'nod2'", "there is no node or pod `nod2`: did you mean `node2`?"),
            ("'gatway'", "there is no node or pod `gatway`: did you mean `gateway`?"),
            ("'nod2'", "there is no node or pod `nod2`: did you mean `node2`?"),
            ("'nod1:cali1'", "there is no node or pod `nod1`: did you mean `node1`?"),
            ("'node1:eth7'", "`node1` has no interface `eth7`: did you mean `eth0`?"),
            ("'wob'", "there is no node or pod `wob`: did you mean `web`?"),
            ("'node1:eth8'", "`node1` has no interface `eth8`: did you mean `eth0`?"),
            ("'nod2'", "there is no node or pod `nod2`: did you mean `node2`?"),
        ];
        let expected: Vec<_> = expected.iter().map(|(at, text)| (at.to_string(), text.to_string())).collect();
        assert_eq!(all, expected);
    }
}
