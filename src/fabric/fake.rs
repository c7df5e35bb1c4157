//! A kernel in memory, with fault injection: what `apply` and `remove` are tested against without root.
//!
//! It keeps what a real one would refuse to double or to miss (links, bridges' ports, addresses, routes), and deletes both
//! ends of a veth when one goes. Its n-th operation fails on demand; every single change counts as one operation.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::error::{FabricError, KernelReason};
use super::kernel::{Change, FoundNetns, Kernel, Mark, NewLink, Work};
use crate::net::{IfName, NetnsName};

/// The kernel. Shared by reference; every verb locks it as a whole.
#[derive(Debug, Default)]
pub struct FakeKernel {
    state: Mutex<State>,
}

/// One namespace of a [`FakeKernel`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FakeNetns {
    /// It is an empty file, and no namespace yet.
    pub empty_file: bool,
    /// The alias of `lo`.
    pub alias: Option<String>,
    /// Links besides `lo`, with the other end of a veth.
    pub links: BTreeMap<IfName, Option<(NetnsName, IfName)>>,
    /// Every other change that was carried out, as text, in order.
    pub changes: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    namespaces: BTreeMap<NetnsName, FakeNetns>,
    operations: usize,
    failing: Vec<usize>,
    without_vxlan: bool,
}

impl FakeKernel {
    /// Lets the operations of these numbers fail with ENOMEM; the first operation from now on is number 0.
    pub fn fail(&self, operations: &[usize]) {
        let mut state = self.lock();
        state.operations = 0;
        state.failing = operations.to_vec();
    }

    /// Makes it one that has no VXLAN.
    pub fn forget_vxlan(&self) {
        self.lock().without_vxlan = true;
    }

    /// How many operations there were since [`FakeKernel::fail`], or ever.
    pub fn operations(&self) -> usize {
        self.lock().operations
    }

    /// Puts a namespace there, whoever made it.
    pub fn insert(&self, name: NetnsName, netns: FakeNetns) {
        self.lock().namespaces.insert(name, netns);
    }

    /// Everything there is.
    pub fn contents(&self) -> BTreeMap<NetnsName, FakeNetns> {
        self.lock().namespaces.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel for FakeKernel {
    fn namespaces(&self) -> Result<Vec<FoundNetns>, FabricError> {
        let mut state = self.lock();
        state.operation().map_err(|errno| FabricError::Host { action: "list the namespaces", source: errno.into() })?;
        let found = state.namespaces.iter().map(|(name, netns)| FoundNetns {
            name: name.clone(),
            mark: match &netns.alias {
                Some(alias) => Mark::Alias(alias.clone()),
                None if netns.empty_file => Mark::EmptyFile,
                None => Mark::None,
            },
        });
        Ok(found.collect())
    }

    fn create(&self, names: &[NetnsName], alias: &str) -> (Vec<NetnsName>, Result<(), FabricError>) {
        let mut state = self.lock();
        let mut created = Vec::new();
        for name in names {
            let outcome = match state.operation() {
                Ok(()) if state.namespaces.contains_key(name) => Err(Errno::EEXIST),
                outcome => outcome,
            };
            if let Err(errno) = outcome {
                let source = io::Error::from(errno);
                return (created, Err(FabricError::Netns { action: "create namespace", netns: name.clone(), source }));
            }
            state.namespaces.insert(name.clone(), FakeNetns { alias: Some(alias.into()), ..FakeNetns::default() });
            created.push(name.clone());
        }
        (created, Ok(()))
    }

    fn configure(&self, work: &[Work]) -> Result<(), FabricError> {
        let mut state = self.lock();
        for Work { netns, changes } in work {
            for change in changes {
                state.operation().and_then(|()| state.change(netns, change)).map_err(|errno| FabricError::Change {
                    change: Box::new(change.clone()),
                    netns: netns.clone(),
                    reason: KernelReason::errno(errno),
                })?;
            }
        }
        Ok(())
    }

    fn settle(&self, links: &[(NetnsName, Vec<IfName>)]) -> Result<(), FabricError> {
        let mut state = self.lock();
        for (netns, links) in links {
            for link in links {
                let there = state.namespaces.get(netns).is_some_and(|netns| netns.links.contains_key(link));
                if state.operation().is_err() || !there {
                    return Err(FabricError::NoCarrier { link: link.clone(), netns: netns.clone() });
                }
            }
        }
        Ok(())
    }

    fn delete(&self, names: &[NetnsName]) -> Vec<FabricError> {
        let mut state = self.lock();
        let mut errors = Vec::new();
        for name in names {
            match state.operation() {
                Ok(()) => state.remove(name),
                Err(errno) => errors.push(FabricError::Netns {
                    action: "remove namespace",
                    netns: name.clone(),
                    source: errno.into(),
                }),
            }
        }
        errors
    }
}

impl State {
    fn operation(&mut self) -> Result<(), Errno> {
        let number = self.operations;
        self.operations += 1;
        if self.failing.contains(&number) { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    fn change(&mut self, netns: &NetnsName, change: &Change) -> Result<(), Errno> {
        match change {
            Change::AddVxlan { .. } if self.without_vxlan => return Err(Errno::EOPNOTSUPP),
            Change::AddBridge(link) | Change::AddVxlan { link, .. } => return self.add_link(netns, link, None),
            Change::AddIpip(link) => {
                return self.add_link(netns, link, None).or_else(|errno| match errno {
                    Errno::EEXIST => Ok(()),
                    errno => Err(errno),
                });
            }
            Change::AddVeth { link, peer_netns, peer } => {
                self.add_link(netns, link, Some((peer_netns.clone(), peer.name.clone())))?;
                let other_end = self.add_link(peer_netns, peer, Some((netns.clone(), link.name.clone())));
                if other_end.is_err() {
                    self.namespaces.get_mut(netns).ok_or(Errno::ENOENT)?.links.remove(&link.name);
                }
                return other_end;
            }
            _ => {}
        }
        let netns = self.namespaces.get_mut(netns).ok_or(Errno::ENOENT)?;
        let needed: Vec<&IfName> = match change {
            Change::SetMaster { dev, master } => vec![dev, master],
            Change::SetLink { dev, .. } | Change::SetMtu { dev, .. } | Change::AddAddress { dev, .. } => vec![dev],
            Change::AddNeighbour(entry) => vec![&entry.dev],
            Change::AddFdb(entry) => vec![&entry.dev],
            Change::AddRoute(route) => route.dev.iter().collect(),
            _ => Vec::new(),
        };
        if needed.iter().any(|dev| **dev != IfName::lo() && !netns.links.contains_key(*dev)) {
            return Err(Errno::ENODEV);
        }
        let text = change.to_string();
        let repeatable = matches!(change, Change::Sysctl(_) | Change::SetLink { .. } | Change::AddNeighbour(_));
        if netns.changes.contains(&text) && !repeatable {
            return Err(Errno::EEXIST);
        }
        netns.changes.push(text);
        Ok(())
    }

    fn add_link(&mut self, netns: &NetnsName, link: &NewLink, peer: Option<(NetnsName, IfName)>) -> Result<(), Errno> {
        let links = &mut self.namespaces.get_mut(netns).ok_or(Errno::ENOENT)?.links;
        if links.contains_key(&link.name) {
            return Err(Errno::EEXIST);
        }
        links.insert(link.name.clone(), peer);
        Ok(())
    }

    fn remove(&mut self, name: &NetnsName) {
        let Some(gone) = self.namespaces.remove(name) else { return };
        for (netns, link) in gone.links.into_values().flatten() {
            if let Some(netns) = self.namespaces.get_mut(&netns) {
                netns.links.remove(&link);
            }
        }
    }
}
