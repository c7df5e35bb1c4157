//! The namespaces one by one: links, addresses, routes, neighbours and sysctls, without the converged tables.
//!
//! ```text
//!  <lab>-fabric           <lab>-<node>                      <lab>-<pod>
//!  br0 ── n0e0 ═════════ eth0   caliXXXXXXXXXXX ═══════════ eth0
//!   ├──── gw0 ═════════ eth0   <lab>-gateway
//!   └──── r0e0 ════════ eth0   <lab>-<router>
//! ```

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::build::{FABRIC, GATEWAY, Names};
use super::felix::Felix;
use super::speakers::{self, NORMAL_PRIORITY};
use super::{LinkKindPlan, LinkPlan, Masquerade, NeighbourPlan, NetnsPlan, PodPlan, Role, Sysctl};
use crate::calico::ipam::Assignment;
use crate::calico::{encap, names};
use crate::net::{IfName, MacAddr, NetnsName, Route, Scope};
use crate::topology::{Interface, Node, Profile, Segment, SegmentId, Topology};

/// Nodes on one segment from which on their neighbour entries are permanent. The kernel counts the dynamic entries of all
/// namespaces together and refuses new ones above `gc_thresh3` (1,024 unless set): a full mesh of 17 nodes is 272 entries,
/// of 33 it is 1,056. Permanent ones are exempt.
const PERMANENT_NEIGHBOURS_ABOVE: usize = 16;

/// Where a pod's packets go: an address that exists nowhere, answered by proxy ARP (calico-behaviour 1.2).
const POD_GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// What the namespaces are made from.
pub(super) struct Parts<'a> {
    pub(super) topology: &'a Topology,
    pub(super) names: &'a Names,
    pub(super) assignment: &'a Assignment,
    pub(super) pods: &'a [PodPlan],
}

impl Parts<'_> {
    /// A bridge per segment, and a port on it for every interface that is on the segment.
    pub(super) fn fabric(&self) -> NetnsPlan {
        let mut netns = empty(self.names.fabric.clone(), FABRIC, Role::Fabric, fabric_sysctls());
        for (index, segment) in self.topology.segments.iter().enumerate() {
            let name = bridge(index);
            let mac = Some(self.mac(FABRIC, &name));
            netns.links.push(LinkPlan { mac, ..link(name, LinkKindPlan::Bridge, segment.mtu) });
        }
        for (index, segment) in self.gateway_segments() {
            let peer = IfName::eth(netns.links.len() - self.topology.segments.len());
            netns.links.push(port(gateway_port(index), index, segment, self.names.gateway.clone(), peer));
        }
        let nodes = self.topology.nodes.iter().map(|node| &node.interfaces).zip(&self.names.nodes).enumerate();
        let routers =
            self.topology.routers.iter().map(|router| &router.interfaces).zip(&self.names.routers).enumerate();
        let nodes = nodes.map(|(index, (interfaces, netns))| (node_port as PortName, index, interfaces, netns));
        let routers = routers.map(|(index, (interfaces, netns))| (router_port as PortName, index, interfaces, netns));
        for (port_name, owner, interfaces, owner_netns) in nodes.chain(routers) {
            for (index, interface) in interfaces.iter().enumerate() {
                let segment = &self.topology.segments[interface.segment.0];
                let name = port_name(owner, index);
                netns.links.push(port(name, interface.segment.0, segment, owner_netns.clone(), interface.name.clone()));
            }
        }
        netns
    }

    /// A declared router: its interfaces and static routes.
    pub(super) fn router(&self, index: usize) -> NetnsPlan {
        let router = &self.topology.routers[index];
        let mut netns = empty(self.names.routers[index].clone(), &router.name, Role::Router, router_sysctls());
        netns.sysctls.extend(router.speaker.map(|_| orphans()));
        self.attach(&mut netns, &router.interfaces, |interface| router_port(index, interface));
        for (dst, via) in &router.routes {
            let on_link = router.interfaces.iter().find(|interface| interface.address.contains(via));
            let dev = on_link.unwrap_or(&router.interfaces[0]).name.clone();
            netns.routes.push(Route::unicast(*dst).via(*via).dev(dev));
        }
        if router.as_number.is_some() && !speakers::drops_by_itself(router) {
            netns.routes.extend(speakers::without_way(router).map(Route::blackhole));
        }
        netns
    }

    /// Puts `interfaces` into `netns`, each at the port of the fabric that `port` names.
    fn attach(&self, netns: &mut NetnsPlan, interfaces: &[Interface], port: impl Fn(usize) -> IfName) {
        for (position, interface) in interfaces.iter().enumerate() {
            let segment = &self.topology.segments[interface.segment.0];
            netns.links.push(LinkPlan {
                mac: Some(self.mac(&netns.name, &interface.name)),
                addresses: vec![interface.address.into()],
                ..link(interface.name.clone(), self.fabric_end(port(position)), segment.mtu)
            });
            if self.permanent(interface.segment) {
                netns.neighbours.extend(self.gateway_neighbour(interface.segment, &interface.name));
                netns.neighbours.extend(self.neighbours(interface.segment, &interface.name, Some(&netns.name)));
            }
        }
    }

    /// The one router that is every implicit gateway; `None` where no segment has one.
    pub(super) fn gateway(&self) -> Option<NetnsPlan> {
        let mut netns = empty(self.names.gateway.clone(), GATEWAY, Role::Gateway, router_sysctls());
        for (position, (index, segment)) in self.gateway_segments().enumerate() {
            let name = IfName::eth(position);
            let address = segment.implicit_gateway?;
            let address = Ipv4Net::new(address, segment.subnet.prefix_len()).ok()?;
            netns.links.push(LinkPlan {
                mac: Some(self.mac(GATEWAY, &name)),
                addresses: vec![address.into()],
                ..link(name.clone(), self.fabric_end(gateway_port(index)), segment.mtu)
            });
            if self.permanent(SegmentId(index)) {
                netns.neighbours.extend(self.neighbours(SegmentId(index), &name, None));
            }
        }
        (!netns.links.is_empty()).then_some(netns)
    }

    /// A node: its interfaces, then the host end of each of its pods.
    pub(super) fn node(&self, index: usize) -> NetnsPlan {
        let node = &self.topology.nodes[index];
        let mut netns = empty(self.names.nodes[index].clone(), &node.name, Role::Node, router_sysctls());
        netns.sysctls.extend(node.speaker.map(|_| orphans()));
        self.attach(&mut netns, &node.interfaces, |interface| node_port(index, interface));
        let Parts { topology, assignment, pods, .. } = *self;
        let felix = Felix { topology, assignment, pods }.part(index, self.host_mtu(node));
        netns.links.extend(felix.links);
        netns.neighbours.extend(felix.neighbours);
        netns.fdb = felix.fdb;
        let mtu = self.pod_mtu(node);
        let pod_metric = match self.topology.profile {
            Profile::Classic => 0,
            Profile::Current => NORMAL_PRIORITY,
        };
        netns.routes.push(Route::unicast(Ipv4Net::default()).via(node.gateway).dev(node.interfaces[0].name.clone()));
        for pod in self.pods.iter().filter(|pod| pod.node == node.name) {
            let name = pod.host_interface.clone();
            let kind = LinkKindPlan::Veth { peer_netns: pod.netns.clone(), peer: IfName::eth(0) };
            netns.links.push(LinkPlan {
                mac: Some(MacAddr::CALICO_HOST),
                sysctls: host_interface_sysctls(&name),
                ..link(name.clone(), kind, mtu)
            });
            let route = Route::unicast(IpNet::from(std::net::IpAddr::V4(pod.address)));
            netns.routes.push(route.dev(name).scope(Scope::Link).metric(pod_metric));
        }
        netns.routes.extend(felix.routes);
        let sources: Vec<Ipv4Net> =
            self.topology.pools.iter().filter(|pool| pool.nat_outgoing).map(|pool| pool.cidr).collect();
        let pools = self.topology.pools.iter().map(|pool| pool.cidr).collect();
        netns.masquerade = (!sources.is_empty()).then_some(Masquerade { sources, pools });
        netns
    }

    /// A pod: one interface with a /32, and everything through [`POD_GATEWAY`].
    pub(super) fn pod(&self, index: usize) -> NetnsPlan {
        let pod = &self.pods[index];
        let host = self.topology.pods[index].node.0;
        let mut netns = empty(pod.netns.clone(), &pod.name, Role::Pod, host_sysctls());
        let eth0 = IfName::eth(0);
        let kind = LinkKindPlan::Veth { peer_netns: self.names.nodes[host].clone(), peer: pod.host_interface.clone() };
        netns.links.push(LinkPlan {
            mac: Some(self.mac(&pod.name, &eth0)),
            addresses: vec![IpNet::from(std::net::IpAddr::V4(pod.address))],
            ..link(eth0.clone(), kind, self.pod_mtu(&self.topology.nodes[host]))
        });
        let gateway = IpNet::from(std::net::IpAddr::V4(POD_GATEWAY));
        netns.routes.push(Route::unicast(gateway).dev(eth0.clone()).scope(Scope::Link));
        netns.routes.push(Route::unicast(Ipv4Net::default()).via(POD_GATEWAY).dev(eth0));
        netns
    }

    fn gateway_segments(&self) -> impl Iterator<Item = (usize, &Segment)> {
        self.topology.segments.iter().enumerate().filter(|(_, segment)| segment.implicit_gateway.is_some())
    }

    fn fabric_end(&self, peer: IfName) -> LinkKindPlan {
        LinkKindPlan::Veth { peer_netns: self.names.fabric.clone(), peer }
    }

    fn mac(&self, who: &str, interface: &IfName) -> MacAddr {
        names::interface_mac(&self.topology.name, who, interface)
    }

    /// The smallest MTU among the node's own interfaces (calico-behaviour 1.4).
    fn host_mtu(&self, node: &Node) -> u32 {
        let mtus = node.interfaces.iter().map(|interface| self.topology.segments[interface.segment.0].mtu);
        mtus.min().unwrap_or(1460)
    }

    fn pod_mtu(&self, node: &Node) -> u32 {
        encap::pod_mtu(self.host_mtu(node), &self.topology.pools)
    }

    fn permanent(&self, segment: SegmentId) -> bool {
        self.members(segment).count() > PERMANENT_NEIGHBOURS_ABOVE
    }

    /// Every node and router on `segment`, by name, with its interface there.
    fn members(&self, segment: SegmentId) -> impl Iterator<Item = (&str, &Interface)> {
        let nodes = self.topology.nodes.iter().map(|node| (node.name.as_str(), &node.interfaces));
        let routers = self.topology.routers.iter().map(|router| (router.name.as_str(), &router.interfaces));
        let all = nodes.chain(routers).flat_map(|(name, interfaces)| interfaces.iter().map(move |on| (name, on)));
        all.filter(move |(_, interface)| interface.segment == segment)
    }

    /// Every node and router on `segment` but `except`, as neighbours on `dev`.
    fn neighbours(&self, segment: SegmentId, dev: &IfName, except: Option<&str>) -> Vec<NeighbourPlan> {
        let others = self.members(segment).filter(|(name, _)| Some(*name) != except);
        others
            .map(|(name, interface)| NeighbourPlan {
                dst: interface.address.addr().into(),
                dev: dev.clone(),
                lladdr: self.mac(name, &interface.name),
            })
            .collect()
    }

    fn gateway_neighbour(&self, segment: SegmentId, dev: &IfName) -> Option<NeighbourPlan> {
        let position = self.gateway_segments().position(|(index, _)| index == segment.0)?;
        let dst = self.topology.segments[segment.0].implicit_gateway?.into();
        Some(NeighbourPlan { dst, dev: dev.clone(), lladdr: self.mac(GATEWAY, &IfName::eth(position)) })
    }
}

fn empty(netns: NetnsName, name: &str, role: Role, sysctls: Vec<Sysctl>) -> NetnsPlan {
    NetnsPlan {
        netns,
        name: name.into(),
        role,
        sysctls,
        links: Vec::new(),
        neighbours: Vec::new(),
        fdb: Vec::new(),
        routes: Vec::new(),
        masquerade: None,
        table: Vec::new(),
    }
}

fn link(name: IfName, kind: LinkKindPlan, mtu: u32) -> LinkPlan {
    LinkPlan { name, kind, mac: None, mtu, master: None, addresses: Vec::new(), sysctls: Vec::new(), up: true }
}

fn port(name: IfName, segment_index: usize, segment: &Segment, peer_netns: NetnsName, peer: IfName) -> LinkPlan {
    let kind = LinkKindPlan::Veth { peer_netns, peer };
    LinkPlan { master: Some(bridge(segment_index)), ..link(name, kind, segment.mtu) }
}

fn bridge(segment: usize) -> IfName {
    short_name(format!("br{segment}"))
}

fn gateway_port(segment: usize) -> IfName {
    short_name(format!("gw{segment}"))
}

/// What the port of an interface of a node or router is called, by the indices of both.
type PortName = fn(usize, usize) -> IfName;

fn router_port(router: usize, interface: usize) -> IfName {
    short_name(format!("r{router}e{interface}"))
}

fn node_port(node: usize, interface: usize) -> IfName {
    short_name(format!("n{node}e{interface}"))
}

/// Indices of things that were read from a file have nowhere near the 13 digits that would be too many.
fn short_name(text: String) -> IfName {
    IfName::new(&text).expect("two letters and an index fit an interface name")
}

fn sysctl(key: impl Into<String>, value: &str) -> Sysctl {
    Sysctl { key: key.into(), value: value.into() }
}

/// A namespace without addresses: it neither forwards nor takes part in anything.
///
/// A new namespace copies the host's IPv4 `conf/all` and `conf/default` (`net.core.devconf_inherit_init_net`), so whatever
/// matters is written. `ip_forward` comes first in every list: changing it resets other parameters. IPv6 is off: a lab is IPv4
/// only, and router solicitations of hundreds of interfaces are a load for nothing.
fn isolated_sysctls() -> Vec<Sysctl> {
    let mut sysctls = vec![sysctl("net/ipv4/ip_forward", "0")];
    sysctls.extend(all_and_default("net/ipv6", "disable_ipv6", "1"));
    sysctls
}

/// Cables: where `br_netfilter` is loaded, as Docker and Kubernetes do, no frame is to visit iptables on its way.
fn fabric_sysctls() -> Vec<Sysctl> {
    let mut sysctls = isolated_sysctls();
    let tables = ["arptables", "iptables", "ip6tables"];
    sysctls.extend(tables.map(|tables| sysctl(format!("net/bridge/bridge-nf-call-{tables}"), "0")));
    sysctls
}

/// A namespace with addresses that does not forward, a pod.
fn host_sysctls() -> Vec<Sysctl> {
    let mut sysctls = isolated_sysctls();
    // Asymmetric paths are allowed, except from a pod (`host_interface_sysctls`).
    sysctls.extend(all_and_default("net/ipv4", "rp_filter", "0"));
    // Routes come from the plan and from BGP, not from ICMP.
    sysctls.extend(all_and_default("net/ipv4", "accept_redirects", "0"));
    // An address is answered for on every interface, and asks with the best source: the node has no address on cali…, and
    // asks for its pods with that of eth0 (calico-behaviour 1.2).
    sysctls.extend(all_and_default("net/ipv4", "arp_ignore", "0"));
    sysctls.extend(all_and_default("net/ipv4", "arp_announce", "0"));
    // Only cali… answers for others.
    sysctls.extend(all_and_default("net/ipv4", "proxy_arp", "0"));
    sysctls
}

/// A namespace that forwards: a node, a router or the gateway.
fn router_sysctls() -> Vec<Sysctl> {
    let mut sysctls = host_sysctls();
    sysctls[0].value = "1".into();
    sysctls.extend(all_and_default("net/ipv4", "send_redirects", "0"));
    // A step may probe with a TTL too small many times a second, and asserts the answer to each.
    sysctls.push(sysctl("net/ipv4/icmp_ratelimit", "0"));
    sysctls
}

/// Where somebody else's daemon holds connections: one that ends says goodbye and does not reset them, and what nobody confirms keeps
/// the namespace in the kernel for minutes. With one retransmission it is half a second.
fn orphans() -> Sysctl {
    sysctl("net/ipv4/tcp_orphan_retries", "1")
}

fn all_and_default(family: &str, parameter: &str, value: &str) -> [Sysctl; 2] {
    ["all", "default"].map(|conf| sysctl(format!("{family}/conf/{conf}/{parameter}"), value))
}

/// calico-behaviour 1.3. `rp_filter` is strict, Felix's fallback: it stands for its reverse-path match on pods' packets too.
fn host_interface_sysctls(name: &IfName) -> Vec<Sysctl> {
    let conf = |parameter: &str| format!("net/ipv4/conf/{name}/{parameter}");
    vec![
        sysctl(conf("route_localnet"), "1"),
        sysctl(format!("net/ipv4/neigh/{name}/proxy_delay"), "0"),
        sysctl(conf("proxy_arp"), "1"),
        sysctl(conf("forwarding"), "1"),
        sysctl(conf("rp_filter"), "1"),
    ]
}
