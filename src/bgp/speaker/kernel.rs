//! What the speaker learns from its namespace's kernel.

use std::time::Instant;

use hashbrown::HashSet;
use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::Speaker;
use crate::bgp::event::{Action, FibChange, KernelSnapshot};
use crate::bgp::rib::{EntryId, PathSource, SourceKey};
use crate::net::RouteProtocol;

impl Speaker {
    /// Learns direct and kernel routes, resolves next hops again, and looks whether our own routes are still there.
    pub(super) fn kernel_changed(&mut self, now: Instant, snapshot: &KernelSnapshot, actions: &mut Vec<Action>) {
        self.adopt(snapshot);
        let changes = self.next_hops.update(snapshot);
        for (prefix, dev) in changes.direct {
            self.learn(now, prefix, dev.map(|dev| PathSource::Direct(dev.into())), SourceKey::Direct);
        }
        for (prefix, route) in changes.kernel {
            self.learn(now, prefix, route.map(PathSource::Kernel), SourceKey::Kernel);
        }
        if changes.resolution {
            let learned: Vec<EntryId> = self
                .rib
                .iter()
                .filter(|(_, entry)| entry.paths.iter().any(|path| path.source.next_hop().is_some()))
                .map(|(id, _)| id)
                .collect();
            for id in learned {
                self.rib.mark(id);
                let next_hop = self.selected(id).and_then(PathSource::next_hop);
                if next_hop.is_some_and(|next_hop| changes.rerouted.contains(&next_hop)) {
                    self.rerouted.insert(id);
                }
            }
        }
        self.check_installed(snapshot, actions);
    }

    /// Forgets next hops that no route has any more, now and then.
    pub(super) fn forget_next_hops(&mut self) {
        if self.next_hops.is_crowded() {
            let paths = self.rib.iter().flat_map(|(_, entry)| entry.paths.iter());
            let used = paths.filter_map(|path| path.source.next_hop()).collect();
            self.next_hops.sweep(&used);
        }
    }

    /// The kernel did not take our route to `dst`.
    pub(super) fn fib_failed(&mut self, dst: &IpNet) {
        if let Some(id) = self.rib.id(dst)
            && let Some(entry) = self.rib.get_mut(id)
        {
            entry.kernel_failed = entry.installed.is_some();
        }
    }

    fn learn(&mut self, now: Instant, prefix: IpNet, source: Option<PathSource>, key: SourceKey) {
        match source {
            Some(source) => drop(self.rib.insert(now, prefix, source, 0)),
            None => {
                if let Some(id) = self.rib.id(&prefix) {
                    self.rib.remove(id, key, |_| true);
                }
            }
        }
    }

    /// Writes again what has been in the kernel and is gone: a link that goes down takes its routes along, and coming up does not bring
    /// them back. What has not been seen yet may still be on its way.
    fn check_installed(&mut self, snapshot: &KernelSnapshot, actions: &mut Vec<Action>) {
        let ours = snapshot.routes.iter().filter(|route| route.proto == RouteProtocol::BIRD);
        let present: HashSet<IpNet, FxBuildHasher> = ours.map(|route| route.dst).collect();
        let mut missing = Vec::new();
        let installed: Vec<EntryId> =
            self.rib.iter().filter(|(_, entry)| entry.installed.is_some()).map(|(id, _)| id).collect();
        for id in installed {
            let prefix = self.rib.prefix(id);
            let Some(entry) = self.rib.get_mut(id) else { continue };
            if present.contains(&prefix) {
                entry.acknowledged = true;
                entry.kernel_failed = false;
            } else if std::mem::replace(&mut entry.acknowledged, false)
                && let Some(hop) = &entry.installed
            {
                // The way may have changed with the same snapshot: then the decision, made next, writes or removes it.
                let devices = hop.dev.iter().chain(hop.nexthops.iter().filter_map(|hop| hop.dev.as_ref()));
                if devices.into_iter().all(|dev| self.next_hops.has_interface(dev)) {
                    missing.push(FibChange::Replace(hop.route(prefix)));
                }
            }
        }
        if !missing.is_empty() {
            actions.push(Action::Fib(missing));
        }
    }
}
