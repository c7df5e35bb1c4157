//! Which node a packet goes to. A TUN device does not say which gateway the kernel chose, so the namespace's routes through the device are
//! looked up again: that the packet came out of the device says that one of them was chosen.

#![expect(clippy::disallowed_methods, reason = "limits how often routes are read")]

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::{IpNet, Ipv4Net};
use prefix_trie::PrefixMap;

use crate::fabric::{Monitor, Netns, observe};
use crate::net::{IfName, Route, RouteKind};

/// The routes of a namespace through one device, read when they are needed and have changed.
#[derive(Debug)]
pub(super) struct NextHops {
    netns: Netns,
    device: IfName,
    monitor: Monitor,
    table: Table,
    /// When `table` was read; `None` if never.
    read: Option<Instant>,
}

/// A notification follows its route by microseconds; a packet that overtakes it finds no route, and is looked up again. Not more often
/// than this, however many packets find no route.
const READ_AGAIN: Duration = Duration::from_millis(10);

impl NextHops {
    /// Must be called within a tokio runtime.
    pub(super) fn open(netns: &Netns, device: IfName) -> io::Result<Self> {
        let monitor = Monitor::open(netns, None)?;
        Ok(Self { netns: netns.clone(), device, monitor, table: Table::default(), read: None })
    }

    /// The node for a packet between two pods, by the routes of this moment.
    ///
    /// # Errors
    /// The routes cannot be read.
    pub(super) fn find(&mut self, source: Ipv4Addr, destination: Ipv4Addr) -> io::Result<Option<Ipv4Addr>> {
        let changed = self.monitor.take()?;
        if changed.routes || changed.links || self.read.is_none() {
            self.read()?;
        }
        match self.table.find(source, destination) {
            None if self.read.is_none_or(|at| at.elapsed() > READ_AGAIN) => {
                self.read()?;
                Ok(self.table.find(source, destination))
            }
            found => Ok(found),
        }
    }

    fn read(&mut self) -> io::Result<()> {
        self.table = Table::new(&observe::routes(&self.netns)?, &self.device);
        self.read = Some(Instant::now());
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Table(PrefixMap<Ipv4Net, Ways>);

/// The ways of the best route of a prefix; a way without gateway leads to the destination itself.
#[derive(Debug)]
struct Ways {
    metric: u32,
    gateways: Vec<Option<Ipv4Addr>>,
}

impl Table {
    fn new(routes: &[Route], device: &IfName) -> Self {
        let mut table = PrefixMap::new();
        for route in routes {
            let IpNet::V4(prefix) = route.dst else { continue };
            let single = (route.via, route.dev.as_ref());
            let several = route.nexthops.iter().map(|hop| (hop.via, hop.dev.as_ref()));
            let gateways: Vec<_> = std::iter::once(single)
                .chain(several)
                .filter(|(_, dev)| *dev == Some(device))
                .filter_map(|(via, _)| match via {
                    None => Some(None),
                    Some(IpAddr::V4(via)) => Some(Some(via)),
                    Some(IpAddr::V6(_)) => None,
                })
                .collect();
            if route.kind != RouteKind::Unicast || gateways.is_empty() {
                continue;
            }
            let better = table.get(&prefix).is_none_or(|known: &Ways| route.metric < known.metric);
            if better {
                table.insert(prefix, Ways { metric: route.metric, gateways });
            }
        }
        Self(table)
    }

    fn find(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Option<Ipv4Addr> {
        let (_, Ways { gateways, .. }) = self.0.get_lpm(&Ipv4Net::from(destination))?;
        // Both addresses decide among equal ways, as the kernel's default policy has it; all packets of a pair go one way.
        let flow = u64::from(source.to_bits() ^ destination.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let chosen = gateways.get(flow as usize % gateways.len().max(1))?;
        Some(chosen.unwrap_or(destination))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(routes: &str, destination: &str) -> Option<String> {
        let routes: Vec<Route> = routes.lines().map(|line| line.trim().parse().unwrap()).collect();
        let table = Table::new(&routes, &IfName::new("tunl0").unwrap());
        table.find(Ipv4Addr::new(10, 244, 9, 9), destination.parse().unwrap()).map(|hop| hop.to_string())
    }

    #[test]
    fn the_longest_prefix_through_the_device_decides() {
        let routes = "default via 10.0.0.254 dev eth0
            10.244.0.0/16 via 10.0.0.3 dev tunl0 proto bird onlink
            10.244.36.0/26 via 10.0.0.2 dev tunl0 proto bird onlink
            10.244.36.7 via 10.0.0.9 dev eth0";
        assert_eq!(found(routes, "10.244.36.1"), Some("10.0.0.2".into()));
        assert_eq!(found(routes, "10.244.36.7"), Some("10.0.0.2".into()));
        assert_eq!(found(routes, "10.244.37.1"), Some("10.0.0.3".into()));
        assert_eq!(found(routes, "10.0.0.2"), None);
    }

    #[test]
    fn the_lowest_metric_wins_and_a_route_without_gateway_leads_to_the_destination() {
        let routes = "10.244.1.0/24 via 10.0.0.3 dev tunl0 metric 1024 onlink
            10.244.1.0/24 via 10.0.0.2 dev tunl0 metric 512 onlink
            10.0.5.0/24 dev tunl0 scope link";
        assert_eq!(found(routes, "10.244.1.1"), Some("10.0.0.2".into()));
        assert_eq!(found(routes, "10.0.5.6"), Some("10.0.5.6".into()));
    }

    #[test]
    fn of_several_ways_only_those_through_the_device_are_taken() {
        let routes =
            "10.244.1.0/24 nexthop via 10.0.0.3 dev eth0 weight 1 nexthop via 10.0.0.2 dev tunl0 weight 1 onlink";
        assert_eq!(found(routes, "10.244.1.1"), Some("10.0.0.2".into()));
        assert_eq!(found(routes, "10.244.1.2"), Some("10.0.0.2".into()));
    }
}
