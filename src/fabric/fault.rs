//! Faults of a lab that stands: a link taken down, and brought back with what the kernel forgot meanwhile.

use super::error::FabricError;
use super::kernel::{Change, Kernel, Work};
use super::netlink::NetlinkKernel;
use super::netns::Netns;
use super::observe;
use crate::net::{IfName, NetnsName, Route};
use crate::plan::{LinkKindPlan, NetnsPlan, Plan};

/// Sets a link up or down, nothing else. The kernel drops the routes and neighbours of a link that goes down, and brings
/// back only its own: use [`restore_link`] for the way up.
///
/// # Errors
/// There is no such namespace or link.
pub fn set_link(netns: &NetnsName, dev: &IfName, up: bool) -> Result<(), FabricError> {
    let changes = vec![Change::SetLink { dev: dev.clone(), up }];
    NetlinkKernel.configure(&[Work { netns: netns.clone(), changes }])
}

/// Sets a link up and writes again what the plan has for it and the kernel dropped: routes and permanent neighbours.
/// The speaker's routes are the speaker's to restore. Doing it twice changes nothing.
///
/// # Errors
/// The plan has no such link, or the kernel refuses a change.
pub fn restore_link(plan: &Plan, netns: &NetnsName, dev: &IfName) -> Result<(), FabricError> {
    let planned = plan.namespaces.iter().find(|planned| planned.netns == *netns);
    let Some(planned) = planned.filter(|planned| planned.links.iter().any(|link| link.name == *dev)) else {
        return Err(FabricError::NotPlanned { link: dev.clone(), netns: netns.clone() });
    };
    set_link(netns, dev, true)?;
    settle(planned, dev)?;
    let present = read(netns, "read the routes of namespace", observe::routes)?;
    let neighbours = planned.neighbours.iter().filter(|entry| entry.dev == *dev).cloned().map(Change::AddNeighbour);
    let missing = planned.routes.iter().filter(|route| uses(route, dev) && !occupied(&present, route));
    let changes = neighbours.chain(missing.cloned().map(Change::AddRoute)).collect();
    NetlinkKernel.configure(&[Work { netns: netns.clone(), changes }])
}

/// Returns once packets pass in both directions: a bridge's port takes none before its carrier has come, and who asks for a
/// neighbour in vain asks again a second later.
fn settle(planned: &NetnsPlan, dev: &IfName) -> Result<(), FabricError> {
    let Some(LinkKindPlan::Veth { peer_netns, peer }) = planned.link(dev).map(|link| &link.kind) else { return Ok(()) };
    // Another fault may have the other end down.
    let far = read(peer_netns, "read the links of namespace", observe::links)?;
    if !far.iter().any(|link| link.name == *peer && link.up) {
        return Ok(());
    }
    NetlinkKernel.settle(&[(planned.netns.clone(), vec![dev.clone()]), (peer_netns.clone(), vec![peer.clone()])])
}

fn read<T>(
    netns: &NetnsName,
    action: &'static str,
    look: impl FnOnce(&Netns) -> std::io::Result<T>,
) -> Result<T, FabricError> {
    let found = Netns::open(netns).and_then(|inside| look(&inside));
    found.map_err(|source| FabricError::Netns { action, netns: netns.clone(), source })
}

fn uses(route: &Route, dev: &IfName) -> bool {
    route.dev.as_ref() == Some(dev) || route.nexthops.iter().any(|hop| hop.dev.as_ref() == Some(dev))
}

/// The kernel takes one route per destination and metric.
fn occupied(present: &[Route], route: &Route) -> bool {
    present.iter().any(|other| other.dst == route.dst && other.metric == route.metric)
}
