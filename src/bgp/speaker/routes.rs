//! Routes through the speaker: from a peer into the Loc-RIB, through the decision, to the kernel and the other peers' queues.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::Speaker;
use crate::bgp::event::{FibChange, PeerId};
use crate::bgp::policy::{self, Reach, SourcePeer};
use crate::bgp::rib::{
    Candidate, Clause, EntryId, FibHop, Marked, PathSource, PeerFacts, SourceKey, decide, is_resolvable,
};
use crate::bgp::wire::{RefreshKind, Update};
use crate::net::BgpIdentifier;

/// More distinct ways into the kernel than this are looked through for unused ones.
const HOPS_SWEEP: usize = 1024;

impl Speaker {
    /// The peer is Established: everything that it may have is queued, End-of-RIB behind it.
    pub(super) fn peer_up(&mut self, id: PeerId) {
        // It may have another identifier than before, which goes out with what came from it.
        self.rounds.clear();
        self.up[Reach::of(self.peers[id.0 as usize].config()) as usize].push(id);
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
            self.rib.remove(entry, SourceKey::Peer(id));
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
        for entry in self.peers[id.0 as usize].adj_rib_out.clear() {
            self.rib.release(entry);
        }
    }

    fn mark_stale(&mut self, id: PeerId) {
        let Self { peers, rib, .. } = self;
        peers[id.0 as usize].adj_rib_in.iter().for_each(|entry| rib.mark_stale(entry, id));
    }

    /// Takes out the peer's paths that are stale.
    pub(super) fn drop_stale(&mut self, id: PeerId) {
        let entries = self.peers[id.0 as usize].adj_rib_in.iter();
        let stale: Vec<EntryId> = entries.filter(|entry| self.rib.is_stale(*entry, id)).collect();
        for entry in stale {
            self.peers[id.0 as usize].adj_rib_in.remove(entry);
            self.rib.remove(entry, SourceKey::Peer(id));
        }
    }

    /// An UPDATE.
    pub(super) fn peer_update(&mut self, now: Instant, id: PeerId, update: Update) {
        for nlri in &update.withdrawn {
            self.withdraw(id, &nlri.prefix);
        }
        let Some(attributes) = update.attributes else { return };
        let config = Arc::clone(&self.config);
        let peer = &config.peers[id.0 as usize];
        let looped = policy::is_looped(&config, peer, &attributes);
        for nlri in &update.announced {
            let IpNet::V4(prefix) = nlri.prefix else { continue };
            let imported = match looped {
                true => None,
                false => policy::imported(peer, nlri.prefix, &attributes),
            };
            let attributes = match imported {
                None => {
                    self.withdraw(id, &nlri.prefix);
                    continue;
                }
                Some(None) => Arc::clone(&attributes),
                Some(Some(changed)) => self.interner.intern(changed),
            };
            let entry = self.rib.insert(now, prefix, PathSource::Bgp(id, attributes));
            self.peers[id.0 as usize].adj_rib_in.insert(entry);
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

    /// Queues each prefix for whoever is told, or has been told, something about it; for nobody if the selected path is as it was.
    ///
    /// What came in one UPDATE went the same way before and goes the same way now: whom that concerns is asked once.
    pub(super) fn tell_peers(&mut self, marked: &[Marked], told: &mut BTreeSet<PeerId>) {
        let mut rest = marked;
        while let Some(Marked { id, before }) = rest.first() {
            let (before, now) = (before.as_ref(), self.selected(*id).cloned());
            let alike = |other: &&Marked| {
                is_same(before, other.before.as_ref()) && is_same(now.as_ref(), self.selected(other.id))
            };
            let run;
            (run, rest) = rest.split_at(rest.iter().take_while(alike).count().max(1));
            if !is_same(before, now.as_ref()) {
                self.tell_change(run, before, now.as_ref(), told);
            }
        }
    }

    /// Queues the prefixes of `run`, all of which went as `before` and go as `now`.
    fn tell_change(
        &mut self,
        run: &[Marked],
        before: Option<&PathSource>,
        now: Option<&PathSource>,
        told: &mut BTreeSet<PeerId>,
    ) {
        if let Some(PathSource::Bgp(peer, _)) = before {
            let preferred = &mut self.peers[peer.0 as usize].preferred;
            *preferred = preferred.saturating_sub(run.len());
        }
        if let Some(PathSource::Bgp(peer, _)) = now {
            self.peers[peer.0 as usize].preferred += run.len();
        }
        let first = |source: Option<&PathSource>| match source {
            Some(source) => Reach::first(self.source_peer(source)) as usize,
            None => Reach::External as usize + 1,
        };
        let first = first(before).min(first(now)).min(self.up.len());
        let concerned: Vec<PeerId> = self.up[first..].iter().flatten().copied().collect();
        for peer in concerned {
            let may_pass = self.may_be_told(now, peer);
            let mut any = false;
            for Marked { id, .. } in run {
                any |= self.queue(*id, peer, may_pass);
            }
            if any {
                told.insert(peer);
            }
        }
    }

    fn queue_everything(&mut self, peer: PeerId) {
        // A peer that asks without end, and reads nothing, must not keep us from the others.
        if std::mem::replace(&mut self.peers[peer.0 as usize].adj_rib_out.is_whole, true) {
            return;
        }
        let entries: Vec<EntryId> = self.rib.iter().map(|(id, _)| id).collect();
        for id in entries {
            let may_pass = self.may_be_told(self.selected(id), peer);
            self.queue(id, peer, may_pass);
        }
    }

    /// Queues a prefix for a peer that may be told it or has been; whether it did.
    fn queue(&mut self, id: EntryId, peer: PeerId, may_pass: bool) -> bool {
        let out = &mut self.peers[peer.0 as usize].adj_rib_out;
        if !may_pass && !out.has_sent(id) {
            return false;
        }
        if out.queue(id) {
            self.rib.hold(id);
        }
        true
    }

    /// Whether a prefix that goes as `source` may be told to `peer`, as far as the prefix does not matter.
    fn may_be_told(&self, source: Option<&PathSource>, peer: PeerId) -> bool {
        let config = self.peers[peer.0 as usize].config();
        source.is_some_and(|source| policy::may_pass(self.source_peer(source), peer, config))
    }

    /// The selected path of an entry.
    pub(super) fn selected(&self, id: EntryId) -> Option<&PathSource> {
        self.rib.get(id).and_then(|entry| entry.best()).map(|path| &path.source)
    }

    /// For a BGP route, who it came from.
    pub(super) fn source_peer(&self, source: &PathSource) -> Option<SourcePeer> {
        let PathSource::Bgp(id, _) = source else { return None };
        let identifier = self.peers[id.0 as usize].identifier;
        Some(SourcePeer::of(&self.config, *id, identifier.unwrap_or(self.config.router_id)))
    }

    fn withdraw(&mut self, id: PeerId, prefix: &IpNet) {
        if let Some(entry) = self.rib.id(prefix)
            && self.peers[id.0 as usize].adj_rib_in.remove(entry)
        {
            self.rib.remove(entry, SourceKey::Peer(id));
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
