//! Felix's part of a node: its tunnel devices, and the routes, neighbours and forwarding entries that lead to other nodes'
//! blocks (calico-behaviour 3, 4, 5). What BIRD routes, BIRD writes; this is the rest.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net};

use super::{FdbPlan, LinkKindPlan, LinkPlan, NeighbourPlan, PodPlan};
use crate::calico::encap::{Encap, IPIP_OVERHEAD, VXLAN_OVERHEAD, encap};
use crate::calico::ipam::Assignment;
use crate::calico::names;
use crate::net::{IfName, Route, RouteProtocol, Scope};
use crate::topology::{EncapMode, IpPool, Node, Profile, Topology};

/// `vxlanVNI` and `vxlanPort` of Felix (calico-behaviour 4).
const VNI: u32 = 4096;
const VXLAN_PORT: u16 = 4789;

/// Everything that Felix looks at.
pub(super) struct Felix<'a> {
    pub(super) topology: &'a Topology,
    pub(super) assignment: &'a Assignment,
    pub(super) pods: &'a [PodPlan],
}

/// What Felix adds to a node's namespace.
#[derive(Default)]
pub(super) struct FelixPart {
    pub(super) links: Vec<LinkPlan>,
    pub(super) routes: Vec<Route>,
    pub(super) neighbours: Vec<NeighbourPlan>,
    pub(super) fdb: Vec<FdbPlan>,
}

/// Whether Felix writes the cluster routes of `pool`, and BIRD keeps out (calico-behaviour 0).
pub(super) fn owns(profile: Profile, pool: &IpPool) -> bool {
    pool.vxlan_mode != EncapMode::Never || (pool.ipip_mode != EncapMode::Never && profile == Profile::Current)
}

/// `tunl0`.
pub(super) fn tunl0() -> IfName {
    IfName::new("tunl0").expect("five letters are an interface name")
}

fn vxlan_calico() -> IfName {
    IfName::new("vxlan.calico").expect("twelve letters are an interface name")
}

impl Felix<'_> {
    /// The part of node `index`, whose smallest interface MTU is `host_mtu`.
    pub(super) fn part(&self, index: usize, host_mtu: u32) -> FelixPart {
        let mut part = FelixPart::default();
        let node = &self.topology.nodes[index];
        let assigned = &self.assignment.nodes[index];
        // On every node as soon as any pool has IPIP on (calico-behaviour 5), also where no such pool selects the node: then it
        // has no address, and leads to the others' pods all the same.
        if self.topology.pools.iter().any(|pool| pool.ipip_mode != EncapMode::Never) {
            let mtu = host_mtu.saturating_sub(IPIP_OVERHEAD);
            part.links.push(tunnel(tunl0(), LinkKindPlan::Tunl0, mtu, assigned.ipip_tunnel));
        }
        if let Some(address) = assigned.vxlan_tunnel {
            let kind = LinkKindPlan::Vxlan {
                vni: VNI,
                port: VXLAN_PORT,
                local: node.bgp_address().addr(),
                parent: node.interfaces[0].name.clone(),
            };
            let mtu = host_mtu.saturating_sub(VXLAN_OVERHEAD);
            let mac = Some(names::vtep_mac(&node.name));
            part.links.push(LinkPlan { mac, ..tunnel(vxlan_calico(), kind, mtu, Some(address)) });
            self.vteps(index, &mut part);
        }
        let own = assigned.blocks.iter().filter(|block| block.prefix_len() < 32);
        let own = own.filter(|block| self.pool(block.addr()).is_some_and(|pool| owns(self.topology.profile, pool)));
        part.routes.extend(own.map(|block| Route::blackhole(*block).proto(RouteProtocol::FELIX)));
        for (other, remote) in self.others(index) {
            let borrowed = self.pods.iter().filter(|pod| pod.node == remote.name).map(|pod| pod.address);
            let blocks = &self.assignment.nodes[other].blocks;
            let borrowed = borrowed.filter(|address| !blocks.iter().any(|block| block.contains(address)));
            let destinations = blocks.iter().copied().chain(borrowed.map(Ipv4Net::from));
            part.routes.extend(destinations.filter_map(|dst| self.route(index, other, dst, host_mtu)));
        }
        part
    }

    /// How node `index` reaches every other VTEP: its MAC, and where the outer packet goes.
    fn vteps(&self, index: usize, part: &mut FelixPart) {
        for (other, remote) in self.others(index) {
            let Some(vtep) = self.assignment.nodes[other].vxlan_tunnel else { continue };
            let (dev, lladdr) = (vxlan_calico(), names::vtep_mac(&remote.name));
            part.neighbours.push(NeighbourPlan { dst: vtep.into(), dev: dev.clone(), lladdr });
            part.fdb.push(FdbPlan { mac: lladdr, dev: dev.clone(), dst: remote.bgp_address().addr() });
            // An address of a block that is no route of its own to anybody must be one itself (calico-behaviour 3.4).
            let blocks = &self.assignment.nodes[other].blocks;
            if !blocks.iter().any(|block| block.contains(&vtep) && block.prefix_len() < 32) {
                let route = Route::unicast(Ipv4Net::from(vtep)).dev(dev).scope(Scope::Link);
                part.routes.push(Route { mtu: self.route_mtu(part), ..route });
            }
        }
    }

    /// Profile `current` writes the tunnel's MTU into the route (from v3.31, calico-behaviour 0).
    fn route_mtu(&self, part: &FelixPart) -> Option<u32> {
        let vxlan = part.links.iter().find(|link| link.name == vxlan_calico());
        vxlan.filter(|_| self.topology.profile == Profile::Current).map(|link| link.mtu)
    }

    /// The route of node `from` to `dst` on node `to` (the table of calico-behaviour 3.2); `None` where BIRD has it, or where
    /// either end has no VTEP.
    fn route(&self, from: usize, to: usize, dst: Ipv4Net, host_mtu: u32) -> Option<Route> {
        let pool = self.pool(dst.addr()).filter(|pool| owns(self.topology.profile, pool))?;
        let (local, remote) = (&self.topology.nodes[from], &self.topology.nodes[to]);
        let remote_address = remote.bgp_address().addr();
        // From the local node's mask: it can be asymmetric.
        let same_subnet = local.bgp_address().contains(&remote_address);
        let current = self.topology.profile == Profile::Current;
        let vtep = self.assignment.nodes[to].vxlan_tunnel;
        // Its VTEP's own address is a route already, without a gateway.
        if vtep.is_some_and(|vtep| Ipv4Net::from(vtep) == dst) {
            return None;
        }
        let route = Route { onlink: true, ..Route::unicast(IpNet::V4(dst)) };
        Some(match encap(pool, same_subnet) {
            Encap::Direct => {
                let parent = local.interfaces[0].name.clone();
                route.via(remote_address).dev(parent).proto(RouteProtocol::FELIX)
            }
            Encap::Vxlan => {
                let mtu = current.then(|| host_mtu.saturating_sub(VXLAN_OVERHEAD));
                self.assignment.nodes[from].vxlan_tunnel?;
                Route { mtu, ..route.via(vtep?).dev(vxlan_calico()) }
            }
            Encap::Ipip => {
                let mtu = current.then(|| host_mtu.saturating_sub(IPIP_OVERHEAD));
                Route { mtu, ..route.via(remote_address).dev(tunl0()).proto(RouteProtocol::FELIX) }
            }
        })
    }

    fn others(&self, index: usize) -> impl Iterator<Item = (usize, &Node)> {
        self.topology.nodes.iter().enumerate().filter(move |(other, _)| *other != index)
    }

    fn pool(&self, address: Ipv4Addr) -> Option<&IpPool> {
        self.topology.pools.iter().find(|pool| pool.cidr.contains(&address))
    }
}

/// A tunnel device that is up, with its one address if it has one.
fn tunnel(name: IfName, kind: LinkKindPlan, mtu: u32, address: Option<Ipv4Addr>) -> LinkPlan {
    LinkPlan {
        name,
        kind,
        mac: None,
        mtu,
        master: None,
        addresses: address.map(|address| IpNet::V4(Ipv4Net::from(address))).into_iter().collect(),
        sysctls: Vec::new(),
        up: true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect::expectation;
    use super::super::testing::{self, Lab};
    use super::super::{Faults, NetnsPlan, Plan, verify};
    use super::*;

    /// Golden clusters B to E: one subnet, four nodes, and a node in another subnet.
    fn cluster(pool: &str, block_size: u8, profile: Profile, change: impl Fn(&mut IpPool)) -> Plan {
        let mut topology = Lab::new("wang")
            .node("master1.wang.org", "10.0.0.200/24")
            .node("node1.wang.org", "10.0.0.201/24")
            .node("node2.wang.org", "10.0.0.202/24")
            .node("far.wang.org", "10.0.1.203/24")
            .pods("node1.wang.org", 1)
            .pods("node2.wang.org", 1)
            .topology();
        topology.profile = profile;
        topology.pools[0].cidr = pool.parse().unwrap();
        topology.pools[0].block_size = block_size;
        change(&mut topology.pools[0]);
        testing::plan(&topology)
    }

    fn node1(plan: &Plan) -> &NetnsPlan {
        plan.namespace("node1.wang.org").unwrap()
    }

    fn table(plan: &Plan) -> Vec<String> {
        let inside = |route: &&Route| "192.168.0.0/16".parse::<IpNet>().unwrap().contains(&route.dst);
        node1(plan).table.iter().filter(inside).map(ToString::to_string).collect()
    }

    #[test]
    fn vxlan_always_has_a_device_and_a_route_through_it_to_every_block() {
        let plan = cluster("192.168.0.0/16", 24, Profile::Classic, |pool| pool.vxlan_mode = EncapMode::Always);
        let far = super::super::super::calico::ipam::block_of("192.168.0.0/16".parse().unwrap(), 24, "far.wang.org");
        let far = far.unwrap();
        let mut expected = vec![
            "blackhole 192.168.23.0/24 proto 80".to_owned(),
            "192.168.23.1 dev cali".to_owned(),
            "192.168.144.0/24 via 192.168.144.0 dev vxlan.calico onlink".to_owned(),
            "192.168.213.0/24 via 192.168.213.0 dev vxlan.calico onlink".to_owned(),
            format!("{far} via {} dev vxlan.calico onlink", far.addr()),
        ];
        let found = table(&plan);
        expected.retain(|line| !found.iter().any(|route| route.starts_with(line)));
        assert_eq!((expected, found.len()), (Vec::<String>::new(), 5), "{found:#?}");
        let device = node1(&plan).link(&vxlan_calico()).unwrap();
        assert_eq!((device.mtu, device.mac), (1450, Some("66:69:94:f0:87:f7".parse().unwrap())));
        assert_eq!(device.addresses, ["192.168.23.0/32".parse::<IpNet>().unwrap()]);
        assert_eq!(node1(&plan).fdb.len(), 3);
        assert_eq!(plan.namespace("node1.wang.org-pod1").unwrap().links[0].mtu, 1450);
    }

    #[test]
    fn vxlan_cross_subnet_is_felixs_plain_route_inside_the_subnet() {
        let plan = cluster("192.168.0.0/16", 24, Profile::Current, |pool| pool.vxlan_mode = EncapMode::CrossSubnet);
        let found = table(&plan);
        assert!(found.contains(&"192.168.144.0/24 via 10.0.0.202 dev eth0 proto 80 onlink".to_owned()), "{found:#?}");
        let tunnelled: Vec<_> = found.iter().filter(|route| route.contains("vxlan.calico")).collect();
        assert_eq!(tunnelled.len(), 1);
        assert!(tunnelled[0].ends_with("dev vxlan.calico onlink mtu 1450"), "{tunnelled:?}");
    }

    #[test]
    fn ipip_is_birds_in_classic_and_felixs_in_current() {
        let classic = cluster("192.168.0.0/16", 24, Profile::Classic, |pool| pool.ipip_mode = EncapMode::Always);
        let found = table(&classic);
        assert!(
            found.contains(&"192.168.144.0/24 via 10.0.0.202 dev tunl0 proto bird onlink".to_owned()),
            "{found:#?}"
        );
        assert!(found.contains(&"blackhole 192.168.23.0/24 proto bird".to_owned()));
        let current = cluster("192.168.0.0/16", 24, Profile::Current, |pool| pool.ipip_mode = EncapMode::CrossSubnet);
        let found = table(&current);
        assert!(found.contains(&"192.168.144.0/24 via 10.0.0.202 dev eth0 proto 80 onlink".to_owned()), "{found:#?}");
        assert!(found.contains(&"blackhole 192.168.23.0/24 proto 80".to_owned()));
        assert_eq!(found.iter().filter(|route| route.contains("dev tunl0 proto 80 onlink mtu 1480")).count(), 1);
        let device = node1(&current).link(&tunl0()).unwrap();
        assert_eq!((device.mtu, &device.kind), (1480, &LinkKindPlan::Tunl0));
    }

    #[test]
    fn a_tunnel_that_is_down_takes_birds_routes_along_and_no_plain_ones_replace_them() {
        let plan = cluster("192.168.0.0/16", 24, Profile::Classic, |pool| pool.ipip_mode = EncapMode::Always);
        let down = Faults { links_down: [("node1.wang.org".to_owned(), tunl0())].into(), ..Faults::default() };
        let expectation = expectation(&plan, &down);
        let table = expectation.tables.iter().find(|table| table.netns == node1(&plan).netns).unwrap();
        let missing = verify(&node1(&plan).table, &table.routes).missing;
        assert_eq!(missing.len(), 3);
        assert!(missing.iter().all(|route| route.dev == Some(tunl0())), "{missing:?}");
        assert_eq!(verify(&table.routes, &node1(&plan).table).missing, []);
    }

    #[test]
    fn a_node_outside_the_ipip_pool_has_tunl0_without_an_address_and_routes_through_it() {
        for (profile, route) in [
            (Profile::Classic, "10.2.36.0/26 via 10.0.0.202 dev tunl0 proto bird onlink"),
            (Profile::Current, "10.2.36.0/26 via 10.0.0.202 dev tunl0 proto 80 onlink mtu 1480"),
        ] {
            let mut topology = Lab::new("wang")
                .node("node1.wang.org", "10.0.0.201/24")
                .node("node2.wang.org", "10.0.0.202/24")
                .pods("node2.wang.org", 1)
                .topology();
            topology.profile = profile;
            let pool = &mut topology.pools[0];
            (pool.cidr, pool.ipip_mode) = ("10.2.0.0/16".parse().unwrap(), EncapMode::Always);
            pool.node_selector = crate::topology::Selector::parse("ipip == 'yes'").unwrap();
            topology.nodes[1].labels.insert("ipip".into(), "yes".into());
            let plan = testing::plan(&topology);
            let device = node1(&plan).link(&tunl0()).unwrap();
            assert_eq!((device.up, device.mtu, device.addresses.as_slice()), (true, 1480, [].as_slice()));
            let table: Vec<String> = node1(&plan).table.iter().map(ToString::to_string).collect();
            assert!(table.iter().any(|line| line == route), "{table:#?}");
        }
    }

    #[test]
    fn ipip_cross_subnet_in_classic_uses_the_tunnel_beyond_the_subnet_only() {
        let plan = cluster("192.168.0.0/16", 24, Profile::Classic, |pool| pool.ipip_mode = EncapMode::CrossSubnet);
        let found = table(&plan);
        assert!(found.contains(&"192.168.144.0/24 via 10.0.0.202 dev eth0 proto bird".to_owned()), "{found:#?}");
        let far = found.iter().find(|route| route.contains("tunl0")).unwrap();
        assert!(far.ends_with(" via 10.0.1.203 dev tunl0 proto bird onlink"), "{far}");
    }
}
