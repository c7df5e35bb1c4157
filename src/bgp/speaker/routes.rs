//! Routes through the speaker: from a peer into the Loc-RIB, through the decision, to the kernel and the other peers' queues.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::Speaker;
use crate::bgp::event::{FibChange, PeerId};
use crate::bgp::policy::{self, ExportRoute, SourcePeer};
use crate::bgp::reach::Reach;
use crate::bgp::rib::{Candidate, EntryId, FibHop, Path, PathSource, PeerFacts, SourceKey, decide};
use crate::bgp::wire::{Nlri, RefreshKind, Update};
use crate::net::BgpIdentifier;

/// More distinct ways into the kernel than this are looked through for unused ones.
const HOPS_SWEEP: usize = 1024;

impl Speaker {
    /// The peer is Established: everything that it may have is queued, End-of-RIB behind it.
    pub(super) fn peer_up(&mut self, id: PeerId) {
        let peer = &mut self.peers[id.0 as usize];
        let all_paths = peer.established().is_some_and(|session| session.context.add_path_send_v4);
        peer.adj_rib_out.all_paths = all_paths;
        self.all_paths += usize::from(all_paths);
        self.up[Reach::of(peer.config()) as usize].push(id);
        if !self.is_recovering() {
            self.queue_table(id);
        }
    }

    /// Queues everything that the peer may have, for the first time on its session.
    pub(super) fn queue_table(&mut self, id: PeerId) {
        self.queue_everything(id);
        self.peers[id.0 as usize].adj_rib_out.end_of_rib_due = true;
    }

    /// The peer is gone: so are its routes (RFC 4271 §8.2.2), and what it was told.
    pub(super) fn peer_down(&mut self, id: PeerId) {
        self.forget_told(id);
        for entry in self.peers[id.0 as usize].adj_rib_in.clear() {
            self.rib.remove(entry, SourceKey::Peer(id), |_| true);
        }
    }

    /// The peer is gone without a word: its routes stay and are stale, but for those that were stale already (RFC 4724 §4.2).
    pub(super) fn peer_lost(&mut self, id: PeerId, again: bool) {
        self.forget_told(id);
        if again {
            self.drop_stale(id);
        }
        self.peers[id.0 as usize].adj_rib_in.refreshing = false;
        self.mark_stale(id);
    }

    /// What the peer was told it no longer has.
    fn forget_told(&mut self, id: PeerId) {
        for up in &mut self.up {
            up.retain(|other| *other != id);
        }
        let out = &mut self.peers[id.0 as usize].adj_rib_out;
        self.all_paths -= usize::from(out.all_paths);
        for entry in out.clear() {
            self.rib.release(entry);
        }
    }

    fn mark_stale(&mut self, id: PeerId) {
        let Self { peers, rib, .. } = self;
        peers[id.0 as usize].adj_rib_in.iter().for_each(|entry| rib.mark_stale(entry, id));
    }

    /// Takes out the peer's paths that are stale.
    pub(super) fn drop_stale(&mut self, id: PeerId) {
        let entries: Vec<EntryId> = self.peers[id.0 as usize].adj_rib_in.iter().collect();
        for entry in entries {
            self.drop_paths(entry, id, |path| path.stale);
        }
    }

    /// Takes out those of the peer's paths in `entry` that are to `go`.
    fn drop_paths(&mut self, entry: EntryId, id: PeerId, go: impl Fn(&Path) -> bool) {
        let gone = self.rib.remove(entry, SourceKey::Peer(id), go);
        if gone > 0 {
            let empty = !self.rib.has(entry, SourceKey::Peer(id));
            self.peers[id.0 as usize].adj_rib_in.remove(entry, gone, empty);
        }
    }

    /// An UPDATE.
    pub(super) fn peer_update(&mut self, now: Instant, id: PeerId, update: Update) {
        for nlri in &update.withdrawn {
            self.withdraw(id, nlri);
        }
        let Some(attributes) = update.attributes else { return };
        let config = Arc::clone(&self.config);
        let peer = &config.peers[id.0 as usize];
        let looped = policy::is_looped(&config, peer, &attributes);
        for nlri in &update.announced {
            let imported = match looped || !matches!(nlri.prefix, IpNet::V4(_)) {
                true => None,
                false => policy::imported(peer, nlri.prefix, &attributes),
            };
            let attributes = match imported {
                None => {
                    self.withdraw(id, nlri);
                    continue;
                }
                Some(None) => Arc::clone(&attributes),
                Some(Some(changed)) => self.interner.intern(changed),
            };
            let path = PathSource::Bgp(id, attributes);
            if let Some((entry, true)) = self.rib.insert(now, nlri.prefix, path, nlri.path_id.unwrap_or(0)) {
                self.peers[id.0 as usize].adj_rib_in.insert(entry);
            }
        }
    }

    /// A ROUTE-REFRESH (RFC 2918, RFC 7313).
    pub(super) fn peer_refresh(&mut self, id: PeerId, kind: RefreshKind) {
        match kind {
            RefreshKind::Request => {
                let recovering = self.is_recovering();
                let enhanced = self.peers[id.0 as usize].remote().is_some_and(|remote| remote.enhanced_route_refresh);
                let out = &mut self.peers[id.0 as usize].adj_rib_out;
                if out.end_of_rib_due || recovering {
                    // No BoRR before End-of-RIB (RFC 7313 §4).
                    out.refresh_waits = true;
                    return;
                }
                out.refresh_begin_due = enhanced;
                out.refresh_end_due = enhanced;
                out.forget_said();
                self.queue_everything(id);
            }
            RefreshKind::Begin => {
                let peer = &mut self.peers[id.0 as usize];
                // Before End-of-RIB it says nothing (RFC 7313 §4): what is stale then, is so from before the session.
                if peer.end_of_rib_received || !peer.awaits_end_of_rib() {
                    peer.adj_rib_in.refreshing = true;
                    self.mark_stale(id);
                }
            }
            RefreshKind::End => {
                if std::mem::take(&mut self.peers[id.0 as usize].adj_rib_in.refreshing) {
                    self.drop_stale(id);
                }
            }
        }
    }

    /// Makes the decision for one prefix and passes on what it changes.
    pub(super) fn decide(&mut self, id: EntryId, fib: &mut Vec<FibChange>, told: &mut BTreeSet<PeerId>) {
        self.select(id);
        self.install(id, fib);
        self.tell_peers(id, told);
        self.rib.free_if_unused(id);
    }

    /// Puts the best path first and the reason on each other one.
    fn select(&mut self, id: EntryId) {
        let Some(entry) = self.rib.get_mut(id) else { return };
        let candidates: Vec<Candidate<'_>> = entry
            .paths
            .iter()
            .map(|path| {
                Candidate::of(&path.source, &mut self.next_hops, |peer| {
                    let peer = &self.peers[peer.0 as usize];
                    PeerFacts {
                        id: peer.id,
                        external: peer.is_external(),
                        local_as: peer.config().local_as,
                        router_id: peer.identifier.unwrap_or(BgpIdentifier(Ipv4Addr::UNSPECIFIED)),
                        address: peer.config().remote,
                    }
                })
            })
            .collect();
        let lost = decide(&candidates);
        let best = lost.iter().position(Option::is_none);
        for (path, lost) in entry.paths.iter_mut().zip(lost) {
            path.lost = lost;
        }
        if let Some(best) = best {
            entry.paths.swap(0, best);
        }
    }

    /// Brings the kernel's route in line with the selected path.
    fn install(&mut self, id: EntryId, fib: &mut Vec<FibChange>) {
        let Some(entry) = self.rib.get(id) else { return };
        let paths = entry.paths.iter().map(|path| (&path.source, path.lost));
        let hop = policy::kernel_hop(&self.config.policy, entry.prefix, paths, &self.next_hops);
        if hop.as_ref() == entry.installed.as_deref() {
            return;
        }
        let hop = hop.map(|hop| self.share(hop));
        let Some(entry) = self.rib.get_mut(id) else { return };
        match (&hop, &entry.installed) {
            (Some(hop), _) => fib.push(FibChange::Replace(hop.route(entry.prefix))),
            (None, Some(before)) => fib.push(FibChange::Remove(before.route(entry.prefix))),
            (None, None) => {}
        }
        entry.installed = hop;
        entry.acknowledged = false;
        entry.kernel_failed = false;
    }

    pub(super) fn share(&mut self, hop: FibHop) -> Arc<FibHop> {
        if let Some(known) = self.hops.get(&hop) {
            return Arc::clone(known);
        }
        if self.hops.len() >= HOPS_SWEEP && self.hops.len() == self.hops.capacity() {
            self.hops.retain(|hop| Arc::strong_count(hop) > 1);
        }
        let hop = Arc::new(hop);
        self.hops.insert(Arc::clone(&hop));
        hop
    }

    /// Queues the prefix for whoever is told, or has been told, something about it; nobody if the selected path is as it was, but
    /// for those who get every path.
    fn tell_peers(&mut self, id: EntryId, told: &mut BTreeSet<PeerId>) {
        let Some(entry) = self.rib.get(id) else { return };
        let reach = |path: &Path| {
            self.audience.first(&self.config.policy, &self.export_route(entry.prefix, &path.source)) as u8
        };
        let reach = entry.paths.iter().map(reach).min().unwrap_or(u8::MAX);
        let Some(entry) = self.rib.get_mut(id) else { return };
        let reach_before = std::mem::replace(&mut entry.reach, reach);
        let some_changed = std::mem::take(&mut entry.changed) && self.all_paths > 0;
        let new = entry.best().map(|path| path.source.clone());
        let unchanged = match (&new, &entry.selected) {
            (Some(new), Some(old)) => new.is(old),
            (None, None) => true,
            _ => false,
        };
        if unchanged && !some_changed {
            return;
        }
        let old = std::mem::replace(&mut entry.selected, new.clone());
        for (source, add) in [(&old, false), (&new, true)] {
            if let Some(PathSource::Bgp(peer, _)) = source {
                let preferred = &mut self.peers[peer.0 as usize].preferred;
                *preferred = if add { *preferred + 1 } else { preferred.saturating_sub(1) };
            }
        }
        // What was selected before is one of the paths that there were before.
        let first = usize::from(reach_before.min(reach)).min(self.up.len());
        let concerned = self.up[first..].iter().flatten().copied();
        let gets_told = |peer: &PeerId| !unchanged || self.peers[peer.0 as usize].adj_rib_out.all_paths;
        let concerned: Vec<PeerId> = concerned.filter(gets_told).collect();
        for peer in concerned {
            if self.queue(id, peer) {
                told.insert(peer);
            }
        }
    }

    fn queue_everything(&mut self, peer: PeerId) {
        // A peer that asks without end, and reads nothing, must not keep us from the others.
        if std::mem::replace(&mut self.peers[peer.0 as usize].adj_rib_out.is_whole, true) {
            return;
        }
        // What has not been decided yet gets its turn when it is.
        let group = Reach::of(self.peers[peer.0 as usize].config()) as u8;
        let concerned = self.rib.iter().filter(|(_, entry)| entry.reach <= group);
        let entries: Vec<EntryId> = concerned.map(|(id, _)| id).collect();
        for id in entries {
            self.queue(id, peer);
        }
    }

    /// Queues a prefix for a peer that may be told it or has been; whether it did.
    fn queue(&mut self, id: EntryId, peer: PeerId) -> bool {
        let Some(entry) = self.rib.get(id) else { return false };
        let target = &self.peers[peer.0 as usize];
        let passes = |source: &PathSource| policy::may_pass(self.source_peer(source), peer, target.config());
        let may_pass = match target.adj_rib_out.all_paths {
            true => entry.paths.iter().any(|path| passes(&path.source)),
            false => entry.selected.as_ref().is_some_and(passes),
        };
        if !may_pass && !target.adj_rib_out.has_sent(id) {
            return false;
        }
        if self.peers[peer.0 as usize].adj_rib_out.queue(id) {
            self.rib.hold(id);
        }
        true
    }

    /// A path on its way out.
    pub(super) fn export_route<'a>(&'a self, prefix: IpNet, source: &'a PathSource) -> ExportRoute<'a> {
        ExportRoute { prefix, source, from: self.source_peer(source), dev: self.next_hops.device(source) }
    }

    /// For a BGP route, who it came from.
    pub(super) fn source_peer(&self, source: &PathSource) -> Option<SourcePeer> {
        let PathSource::Bgp(id, _) = source else { return None };
        let identifier = self.peers[id.0 as usize].identifier;
        Some(SourcePeer::of(&self.config, *id, identifier.unwrap_or(self.config.router_id)))
    }

    fn withdraw(&mut self, id: PeerId, nlri: &Nlri) {
        if let Some(entry) = self.rib.id(&nlri.prefix)
            && self.peers[id.0 as usize].adj_rib_in.contains(entry)
        {
            let received_id = nlri.path_id.unwrap_or(0);
            self.drop_paths(entry, id, |path| path.received_id == received_id);
        }
    }
}
