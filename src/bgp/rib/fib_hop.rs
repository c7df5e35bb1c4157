//! How the selected path is written into the kernel.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::bgp::next_hop::Resolution;
use crate::net::{IfName, NextHop, Route, RouteKind, RouteProtocol};

/// How a route goes into the kernel: a route without its destination, shared by all that go the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::bgp) struct FibHop {
    /// Forward or drop.
    pub(in crate::bgp) kind: RouteKind,
    /// The gateway.
    pub(in crate::bgp) via: Option<IpAddr>,
    /// The interface.
    pub(in crate::bgp) dev: Option<IfName>,
    /// The metric.
    pub(in crate::bgp) metric: u32,
    /// Whether the gateway counts as on the link.
    pub(in crate::bgp) onlink: bool,
    /// Several ways instead of one gateway and interface.
    pub(in crate::bgp) nexthops: Vec<NextHop>,
}

impl FibHop {
    /// Nowhere.
    pub(in crate::bgp) fn blackhole() -> Self {
        Self { kind: RouteKind::Blackhole, via: None, dev: None, metric: 0, onlink: false, nexthops: Vec::new() }
    }

    /// The way that `route` goes.
    pub(in crate::bgp) fn of(route: &Route) -> Self {
        let Route { kind, via, dev, metric, onlink, nexthops, .. } = route.clone();
        Self { kind, via, dev, metric, onlink, nexthops }
    }

    /// The way that `resolution` found.
    pub(in crate::bgp) fn through(resolution: &Resolution) -> Self {
        let Resolution { gateway, dev, .. } = resolution;
        Self { kind: RouteKind::Unicast, via: Some(*gateway), dev: Some(dev.clone()), ..Self::blackhole() }
    }

    /// The `proto bird` route to `dst` this way.
    pub(in crate::bgp) fn route(&self, dst: impl Into<IpNet>) -> Route {
        Route {
            kind: self.kind,
            via: self.via,
            dev: self.dev.clone(),
            proto: RouteProtocol::BIRD,
            metric: self.metric,
            onlink: self.onlink,
            nexthops: self.nexthops.clone(),
            ..Route::unicast(dst)
        }
    }
}
