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
use crate::bgp::rib::{
    Candidate, Clause, EntryId, FibHop, Marked, Path, PathSource, PeerFacts, SourceKey, decide, is_resolvable,
};
use crate::bgp::wire::{Nlri, RefreshKind, Update};
use crate::net::BgpIdentifier;

/// More distinct ways into the kernel than this are looked through for unused ones.
const HOPS_SWEEP: usize = 1024;

impl Speaker {
    /// The peer is Established: everything that it may have is queued, End-of-RIB behind it.
    pub(super) fn peer_up(&mut self, id: PeerId) {
        // It may have another identifier than before, which goes out with what came from it.
        self.rounds.clear();
        let family = self.config.family;
        let peer = &mut self.peers[id.0 as usize];
        let all_paths = peer.established().is_some_and(|session| session.context.add_path_send(family));
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
            let imported = match looped {
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

    /// Puts the best path first and the reason on each other one.
    pub(super) fn select(&mut self, id: EntryId) {
        let Some(entry) = self.rib.get_mut(id) else { return };
        if let [path] = &mut entry.paths[..] {
            // Nothing to compare with.
            path.lost = (!is_resolvable(&path.source, &mut self.next_hops)).then_some(Clause::Resolvable);
            return;
        }
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
    pub(super) fn install(&mut self, id: EntryId, fib: &mut Vec<FibChange>) {
        let Some(entry) = self.rib.get(id) else { return };
        let prefix = self.rib.prefix(id);
        let paths = entry.paths.iter().map(|path| (&path.source, path.lost));
        let hop = policy::kernel_hop(&self.config.policy, prefix, paths, &self.next_hops);
        if hop.as_ref() == entry.installed.as_deref() {
            return;
        }
        let hop = hop.map(|hop| self.share(hop));
        let Some(entry) = self.rib.get_mut(id) else { return };
        match (&hop, &entry.installed) {
            (Some(hop), _) => fib.push(FibChange::Replace(hop.route(prefix))),
            (None, Some(before)) => fib.push(FibChange::Remove(before.route(prefix))),
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

    /// Queues each prefix for whoever is told, or has been told, something about it; if the selected path is as it was, only for those
    /// who get every path.
    ///
    /// What came in one UPDATE went the same way before and goes the same way now: whom that concerns is asked once.
    pub(super) fn tell_peers(&mut self, marked: &[Marked], told: &mut BTreeSet<PeerId>) {
        let mut rest = marked;
        while let Some(Marked { id, before }) = rest.first() {
            let (before, now) = (before.as_ref(), self.selected(*id).cloned());
            let rerouted = self.rerouted.contains(id);
            let alike = |other: &&Marked| {
                is_same(before, other.before.as_ref())
                    && is_same(now.as_ref(), self.selected(other.id))
                    && rerouted == self.rerouted.contains(&other.id)
            };
            let run;
            (run, rest) = rest.split_at(rest.iter().take_while(alike).count().max(1));
            self.tell_change(run, before, now.as_ref(), rerouted, told);
        }
    }

    /// Queues the prefixes of `run`, all of which went as `before` and go as `now`.
    fn tell_change(
        &mut self,
        run: &[Marked],
        before: Option<&PathSource>,
        now: Option<&PathSource>,
        rerouted: bool,
        told: &mut BTreeSet<PeerId>,
    ) {
        // What was selected before is one of the paths that there were before.
        let first = run.iter().map(|Marked { id, .. }| self.update_reach(*id)).min().unwrap_or(u8::MAX);
        let unchanged = is_same(before, now) && !rerouted;
        if unchanged && self.all_paths == 0 {
            return;
        }
        if let Some(PathSource::Bgp(peer, _)) = before {
            let preferred = &mut self.peers[peer.0 as usize].preferred;
            *preferred = preferred.saturating_sub(run.len());
        }
        if let Some(PathSource::Bgp(peer, _)) = now {
            self.peers[peer.0 as usize].preferred += run.len();
        }
        let concerned = self.up.iter().skip(first.into()).flatten().copied();
        let gets_told = |peer: &PeerId| !unchanged || self.peers[peer.0 as usize].adj_rib_out.all_paths;
        let concerned: Vec<PeerId> = concerned.filter(gets_told).collect();
        for peer in concerned {
            let selected_may_pass = now.is_some_and(|source| self.may_be_told(source, peer));
            let mut any = false;
            for Marked { id, .. } in run {
                any |= self.queue(*id, peer, selected_may_pass);
            }
            if any {
                told.insert(peer);
            }
        }
    }

    /// Notes the first group of peers that the entry's paths get to; that, or the one noted before if it came earlier.
    fn update_reach(&mut self, id: EntryId) -> u8 {
        let prefix = self.rib.prefix(id);
        let paths = self.rib.get(id).into_iter().flat_map(|entry| entry.paths.iter());
        let reach =
            |path: &Path| self.audience.first(&self.config.policy, &self.export_route(prefix, &path.source)) as u8;
        let reach = paths.map(reach).min().unwrap_or(u8::MAX);
        let before = self.rib.get_mut(id).map(|entry| std::mem::replace(&mut entry.reach, reach));
        before.map_or(reach, |before| before.min(reach))
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
            let selected_may_pass = self.selected(id).is_some_and(|source| self.may_be_told(source, peer));
            self.queue(id, peer, selected_may_pass);
        }
    }

    /// Queues a prefix for a peer that may be told it or has been; whether it did. The caller says whether its selected path may pass.
    fn queue(&mut self, id: EntryId, peer: PeerId, selected_may_pass: bool) -> bool {
        let out = &self.peers[peer.0 as usize].adj_rib_out;
        let other_may_pass = || {
            let mut paths = self.rib.get(id).into_iter().flat_map(|entry| entry.paths.iter());
            out.all_paths && paths.any(|path| self.may_be_told(&path.source, peer))
        };
        if !selected_may_pass && !out.has_sent(id) && !other_may_pass() {
            return false;
        }
        if self.peers[peer.0 as usize].adj_rib_out.queue(id) {
            self.rib.hold(id);
        }
        true
    }

    /// Whether a prefix that goes as `source` may be told to `peer`, as far as the prefix does not matter.
    fn may_be_told(&self, source: &PathSource, peer: PeerId) -> bool {
        policy::may_pass(self.source_peer(source), peer, self.peers[peer.0 as usize].config())
    }

    /// The selected path of an entry.
    pub(super) fn selected(&self, id: EntryId) -> Option<&PathSource> {
        self.rib.get(id).and_then(|entry| entry.best()).map(|path| &path.source)
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

/// Two selections alike, or none both times.
fn is_same(one: Option<&PathSource>, other: Option<&PathSource>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is(other),
        (None, None) => true,
        _ => false,
    }
}
