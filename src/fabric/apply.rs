//! Carries out a plan on a [`Kernel`]: everything, or nothing.
//!
//! The order: namespaces (marked at birth), their sysctls, links, then per namespace the links' sysctls, bridge ports,
//! addresses, up, neighbours, routes; last it waits until the links pass packets. Nothing here knows how a kernel is
//! spoken to. natOutgoing is apart, in [`super::masquerade`]: it is slow, and nobody needs it before the lab has converged.

use std::collections::{BTreeMap, HashMap};

use super::error::FabricError;
use super::kernel::{Change, Kernel, Mark, NewLink, Work};
use crate::net::{IfName, LabName, NetnsName};
use crate::plan::{LinkKindPlan, LinkPlan, NetnsPlan, Plan, Role};

/// How far a build is: `done` of `total` objects of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being built.
    pub stage: Stage,
    /// How many of them stand.
    pub done: usize,
    /// How many there will be.
    pub total: usize,
}

/// A part of a build, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Namespaces with their sysctls.
    Namespaces,
    /// Bridges and veth pairs.
    Links,
    /// Namespaces with their addresses, neighbours and routes.
    Configuration,
    /// Links that pass packets.
    Carriers,
}

/// The alias of `lo` in every namespace of `lab`: the mark by which they are found again.
pub fn mark(lab: &LabName) -> String {
    format!("lab={lab}")
}

/// Builds what `plan` says and returns when its links pass packets. Blocks; call it from a blocking thread.
///
/// `progress` is called from the calling thread, at the beginning and the end of each stage.
///
/// # Errors
/// [`FabricError::NameTaken`] or [`FabricError::LabExists`] if a wanted namespace exists, with nothing changed; the first
/// failure otherwise, with everything built so far removed again ([`FabricError::RollBack`] where that failed too).
pub fn build(kernel: &dyn Kernel, plan: &Plan, progress: &dyn Fn(Progress)) -> Result<(), FabricError> {
    let links = link_work(plan)?;
    let sysctls = plan.namespaces.iter().map(sysctl_work).collect::<Vec<_>>();
    let configuration = plan.namespaces.iter().map(configuration_work).collect::<Vec<_>>();
    let names: Vec<NetnsName> = plan.namespaces.iter().map(|netns| netns.netns.clone()).collect();
    refuse_taken(kernel, &plan.lab, &names)?;

    let begin = |stage, total| progress(Progress { stage, done: 0, total });
    let end = |stage, total| progress(Progress { stage, done: total, total });
    begin(Stage::Namespaces, names.len());
    let (created, outcome) = kernel.create(&names, &mark(&plan.lab));
    let outcome = outcome.map_err(|error| taken_meanwhile(error, &plan.lab)).and_then(|()| {
        // Apart from the links: some sysctls (disable_ipv6) only try the lock that link creation holds, and spin.
        kernel.configure(&sysctls)?;
        end(Stage::Namespaces, names.len());
        let pairs = links.iter().map(|work| work.changes.len()).sum();
        begin(Stage::Links, pairs);
        kernel.configure(&links)?;
        end(Stage::Links, pairs);
        begin(Stage::Configuration, names.len());
        kernel.configure(&configuration)?;
        end(Stage::Configuration, names.len());
        let carriers = carriers(plan);
        let total = carriers.iter().map(|(_, links)| links.len()).sum();
        begin(Stage::Carriers, total);
        kernel.settle(&carriers)?;
        end(Stage::Carriers, total);
        Ok(())
    });
    outcome.map_err(|error| match kernel.delete(&created) {
        leftovers if leftovers.is_empty() => error,
        leftovers => FabricError::RollBack { error: Box::new(error), leftovers },
    })
}

fn refuse_taken(kernel: &dyn Kernel, lab: &LabName, wanted: &[NetnsName]) -> Result<(), FabricError> {
    let found: HashMap<NetnsName, Mark> =
        kernel.namespaces()?.into_iter().map(|found| (found.name, found.mark)).collect();
    let ours = Mark::Alias(mark(lab));
    let mut exists = None;
    for netns in wanted {
        match found.get(netns) {
            None => {}
            Some(mark) if *mark == ours => exists = exists.or(Some(netns)),
            Some(_) => return Err(FabricError::NameTaken { lab: lab.clone(), netns: netns.clone() }),
        }
    }
    match exists {
        Some(netns) => Err(FabricError::LabExists { lab: lab.clone(), netns: netns.clone() }),
        None => Ok(()),
    }
}

/// Somebody else made the name between the check and the creation.
fn taken_meanwhile(error: FabricError, lab: &LabName) -> FabricError {
    match error {
        FabricError::Netns { netns, source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
            FabricError::NameTaken { lab: lab.clone(), netns }
        }
        other => other,
    }
}

fn sysctl_work(plan: &NetnsPlan) -> Work {
    let changes = plan.sysctls.iter().cloned().map(Change::Sysctl).collect();
    Work { netns: plan.netns.clone(), changes }
}

/// Bridges, and each veth pair once.
///
/// The end in a node makes the pair, so that a node's links are in the plan's order; a pod's only link and the
/// fabric's ports have no order to keep.
fn link_work(plan: &Plan) -> Result<Vec<Work>, FabricError> {
    let mut ends: HashMap<(&NetnsName, &IfName), (usize, &NetnsPlan, &LinkPlan)> = HashMap::new();
    for (position, netns) in plan.namespaces.iter().enumerate() {
        for link in &netns.links {
            ends.insert((&netns.netns, &link.name), (position, netns, link));
        }
    }
    let rank = |netns: &NetnsPlan| match netns.role {
        Role::Pod => 1,
        Role::Fabric => 2,
        _ => 0,
    };
    let mut work = Vec::with_capacity(plan.namespaces.len());
    for (position, netns) in plan.namespaces.iter().enumerate() {
        let mut changes = Vec::new();
        for link in &netns.links {
            match &link.kind {
                LinkKindPlan::Bridge => changes.push(Change::AddBridge(new_link(link))),
                // Made with the configuration: it needs its parent to be there.
                LinkKindPlan::Vxlan { .. } => {}
                // The kernel's or the daemon's: see `add_tunl0`.
                LinkKindPlan::Tunl0 => {}
                LinkKindPlan::Veth { peer_netns, peer } => {
                    let other = ends.get(&(peer_netns, peer)).filter(|(_, _, other)| {
                        other.kind == LinkKindPlan::Veth { peer_netns: netns.netns.clone(), peer: link.name.clone() }
                    });
                    let Some((other_position, other_netns, other)) = other else {
                        return Err(FabricError::Unpaired {
                            link: link.name.clone(),
                            netns: netns.netns.clone(),
                            peer: peer.clone(),
                            peer_netns: peer_netns.clone(),
                        });
                    };
                    let order = (rank(netns), position, &link.name);
                    if order < (rank(other_netns), *other_position, &other.name) {
                        changes.push(Change::AddVeth {
                            link: new_link(link),
                            peer_netns: peer_netns.clone(),
                            peer: new_link(other),
                        });
                    }
                }
            }
        }
        if !changes.is_empty() {
            work.push(Work { netns: netns.netns.clone(), changes });
        }
    }
    Ok(work)
}

fn new_link(link: &LinkPlan) -> NewLink {
    NewLink { name: link.name.clone(), mac: link.mac, mtu: link.mtu }
}

/// Everything that needs the namespace's links to be there.
fn configuration_work(plan: &NetnsPlan) -> Work {
    let links: Vec<&LinkPlan> = plan.links.iter().filter(|link| link.kind != LinkKindPlan::Tunl0).collect();
    let mut changes: Vec<Change> = links.iter().filter_map(|link| add_vxlan(link)).collect();
    changes.extend(links.iter().flat_map(|link| link.sysctls.iter().cloned().map(Change::Sysctl)));
    changes.extend(
        links
            .iter()
            .filter_map(|link| Some(Change::SetMaster { dev: link.name.clone(), master: link.master.clone()? })),
    );
    changes.extend(links.iter().flat_map(|link| {
        link.addresses.iter().map(|address| Change::AddAddress { dev: link.name.clone(), address: *address })
    }));
    changes.push(Change::SetLink { dev: IfName::lo(), up: true });
    changes
        .extend(links.iter().filter(|link| link.up).map(|link| Change::SetLink { dev: link.name.clone(), up: true }));
    changes.extend(plan.neighbours.iter().cloned().map(Change::AddNeighbour));
    changes.extend(plan.fdb.iter().cloned().map(Change::AddFdb));
    let tunl0 = tunl0(plan).map(|link| &link.name);
    let routes = plan.routes.iter().filter(|route| route.dev.is_none() || route.dev.as_ref() != tunl0);
    changes.extend(routes.cloned().map(Change::AddRoute));
    Work { netns: plan.netns.clone(), changes }
}

/// Makes every planned `tunl0` that the kernel's `ipip` has not made. Most often it has, at the namespace's birth; with the
/// sysctl `net.core.fb_tunnels_only_for_init_net` it does so for the host alone, or not at all.
///
/// # Errors
/// The kernel refuses.
pub fn add_tunl0(kernel: &dyn Kernel, plan: &Plan) -> Result<(), FabricError> {
    let work = plan.namespaces.iter().filter_map(|netns| {
        let link = new_link(tunl0(netns)?);
        Some(Work { netns: netns.netns.clone(), changes: vec![Change::AddIpip(link)] })
    });
    kernel.configure(&work.collect::<Vec<_>>())
}

/// Gives every planned `tunl0` its MTU, its address and its routes, and brings it up. The device is there before: the
/// kernel's, or a TUN device since its provider made it.
///
/// # Errors
/// There is no such device, or the kernel refuses a change.
pub fn configure_tunl0(kernel: &dyn Kernel, plan: &Plan) -> Result<(), FabricError> {
    let work = plan.namespaces.iter().filter_map(|netns| {
        let LinkPlan { name: dev, mtu, addresses, .. } = tunl0(netns)?.clone();
        let mut changes = vec![Change::SetMtu { dev: dev.clone(), mtu }];
        changes.extend(addresses.into_iter().map(|address| Change::AddAddress { dev: dev.clone(), address }));
        changes.push(Change::SetLink { dev: dev.clone(), up: true });
        let routes = netns.routes.iter().filter(|route| route.dev.as_ref() == Some(&dev));
        changes.extend(routes.cloned().map(Change::AddRoute));
        Some(Work { netns: netns.netns.clone(), changes })
    });
    kernel.configure(&work.collect::<Vec<_>>())
}

fn tunl0(netns: &NetnsPlan) -> Option<&LinkPlan> {
    netns.links.iter().find(|link| link.kind == LinkKindPlan::Tunl0)
}

fn add_vxlan(link: &LinkPlan) -> Option<Change> {
    let LinkKindPlan::Vxlan { vni, port, local, parent } = &link.kind else { return None };
    Some(Change::AddVxlan { link: new_link(link), vni: *vni, port: *port, local: *local, parent: parent.clone() })
}

/// Veth ends that are up and whose other end is up, by namespace: those get a carrier.
fn carriers(plan: &Plan) -> Vec<(NetnsName, Vec<IfName>)> {
    let up: HashMap<(&NetnsName, &IfName), bool> = plan
        .namespaces
        .iter()
        .flat_map(|netns| netns.links.iter().map(|link| ((&netns.netns, &link.name), link.up)))
        .collect();
    let mut carriers: BTreeMap<&NetnsName, Vec<IfName>> = BTreeMap::new();
    for netns in &plan.namespaces {
        for link in netns.links.iter().filter(|link| link.up) {
            if let LinkKindPlan::Veth { peer_netns, peer } = &link.kind
                && up.get(&(peer_netns, peer)) == Some(&true)
            {
                carriers.entry(&netns.netns).or_default().push(link.name.clone());
            }
        }
    }
    carriers.into_iter().map(|(netns, links)| (netns.clone(), links)).collect()
}

#[cfg(test)]
#[path = "apply_tests.rs"]
mod tests;
