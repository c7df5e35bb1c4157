//! Loc-RIB: every path of every prefix, and which one is selected.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use ipnet::{IpNet, Ipv4Net};
use rustc_hash::FxBuildHasher;

use super::path::{Millis, Path, PathSource, Paths, SourceKey};
use crate::bgp::event::PeerId;
use crate::bgp::next_hop::Resolution;
use crate::net::{IfName, NextHop, Route, RouteKind, RouteProtocol};

/// A prefix's number in one table, used again once nobody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) struct EntryId(pub(in crate::bgp) u32);

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

/// What is known of one prefix.
#[derive(Debug, Default)]
pub(in crate::bgp) struct Entry {
    /// The kernel's table has shown our route.
    pub(in crate::bgp) acknowledged: bool,
    /// The kernel refused our route.
    pub(in crate::bgp) kernel_failed: bool,
    dirty: bool,
    /// Peers whose Adj-RIB-Out refers to the entry.
    holders: u32,
    /// Every path; the selected one first.
    pub(in crate::bgp) paths: Paths,
    /// What we had the kernel install.
    pub(in crate::bgp) installed: Option<Arc<FibHop>>,
}

impl Entry {
    /// The selected path, as of the last decision.
    pub(in crate::bgp) fn best(&self) -> Option<&Path> {
        self.paths.first().filter(|path| path.lost.is_none())
    }
}

/// An entry about which the decision is to be made again.
#[derive(Debug)]
pub(in crate::bgp) struct Marked {
    /// Which one.
    pub(in crate::bgp) id: EntryId,
    /// Its selected path as the peers and the kernel were last told to see it; `None` without one.
    pub(in crate::bgp) before: Option<PathSource>,
}

/// Entries to a block.
const BLOCK: usize = 32;

/// The table. One speaker speaks one family, as Calico's BIRD does (calico-behaviour 7.1): IPv4.
#[derive(Debug, Default)]
pub(in crate::bgp) struct LocRib {
    /// The numbers of all entries, by prefix.
    ids: HashTable<EntryId>,
    /// The entries' prefixes: apart from them, so that to find one, and to grow, touches little memory.
    prefixes: Vec<Ipv4Net>,
    /// In blocks, which stay where they are: a vector of all of them would be copied as it grows, and leave holes as large as itself.
    entries: Vec<Box<[Option<Entry>; BLOCK]>>,
    free: Vec<EntryId>,
    dirty: Vec<Marked>,
    /// When the table's time began: with the first path.
    epoch: Option<Instant>,
}

impl LocRib {
    /// Puts in a path in place of the one of the same source. An equal path changes nothing.
    pub(in crate::bgp) fn insert(&mut self, now: Instant, prefix: Ipv4Net, source: PathSource) -> EntryId {
        let since = self.time(now);
        let id = self.id_or_new(prefix);
        let Some(entry) = self.get_mut(id) else { return id };
        let known = entry.paths.iter().position(|path| path.source.key() == source.key());
        if let Some(path) = known.map(|index| &mut entry.paths[index])
            && path.source.is(&source)
        {
            path.stale = false;
            return id;
        }
        self.mark(id);
        let Some(entry) = self.get_mut(id) else { return id };
        let path = Path { source, since, lost: None, stale: false };
        match known {
            Some(index) => entry.paths[index] = path,
            None => entry.paths.push(path),
        }
        id
    }

    /// How long a path has been there.
    pub(in crate::bgp) fn age(&self, now: Instant, path: &Path) -> Duration {
        let age = self.epoch.map_or(Duration::ZERO, |epoch| now.saturating_duration_since(epoch));
        age.saturating_sub(Duration::from_millis(path.since.into()))
    }

    fn time(&mut self, now: Instant) -> Millis {
        let epoch = *self.epoch.get_or_insert(now);
        Millis::try_from(now.saturating_duration_since(epoch).as_millis()).unwrap_or(Millis::MAX)
    }

    /// Notes that the kernel has a route of ours to `prefix`.
    pub(in crate::bgp) fn adopt(&mut self, prefix: Ipv4Net, hop: Arc<FibHop>) {
        let id = self.id_or_new(prefix);
        if let Some(entry) = self.get_mut(id) {
            entry.installed = Some(hop);
        }
    }

    /// Takes out the path that `source` has in `id`.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId, source: SourceKey) {
        let Some(entry) = self.get(id) else { return };
        if let Some(index) = entry.paths.iter().position(|path| path.source.key() == source) {
            self.mark(id);
            if let Some(entry) = self.get_mut(id) {
                entry.paths.remove(index);
            }
        }
    }

    /// Marks the paths that `peer` has in `id` as stale.
    pub(in crate::bgp) fn mark_stale(&mut self, id: EntryId, peer: PeerId) {
        let paths = self.get_mut(id).into_iter().flat_map(|entry| entry.paths.iter_mut());
        for path in paths.filter(|path| path.source.key() == SourceKey::Peer(peer)) {
            path.stale = true;
        }
    }

    /// Whether `peer` has a path in `id` that is stale.
    pub(in crate::bgp) fn is_stale(&self, id: EntryId, peer: PeerId) -> bool {
        let mut paths = self.get(id).into_iter().flat_map(|entry| entry.paths.iter());
        paths.any(|path| path.stale && path.source.key() == SourceKey::Peer(peer))
    }

    /// Has the decision made again for `id`. To be called before anything that may change it.
    pub(in crate::bgp) fn mark(&mut self, id: EntryId) {
        let Some(entry) = slot(&mut self.entries, id).and_then(Option::as_mut) else { return };
        if !std::mem::replace(&mut entry.dirty, true) {
            let before = entry.best().map(|path| path.source.clone());
            self.dirty.push(Marked { id, before });
        }
    }

    /// The entries marked since the last call.
    pub(in crate::bgp) fn take_marked(&mut self) -> Vec<Marked> {
        let marked = std::mem::take(&mut self.dirty);
        for Marked { id, .. } in &marked {
            if let Some(entry) = self.get_mut(*id) {
                entry.dirty = false;
            }
        }
        marked
    }

    /// The entry of `prefix`.
    pub(in crate::bgp) fn id(&self, prefix: &IpNet) -> Option<EntryId> {
        let IpNet::V4(prefix) = prefix else { return None };
        self.ids.find(hash(prefix), |id| self.prefixes[id.0 as usize] == *prefix).copied()
    }

    /// The prefix of an entry.
    pub(in crate::bgp) fn prefix(&self, id: EntryId) -> IpNet {
        self.prefixes[id.0 as usize].into()
    }

    /// The entry numbered `id`.
    pub(in crate::bgp) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id.0 as usize / BLOCK).and_then(|block| block[id.0 as usize % BLOCK].as_ref())
    }

    /// The entry numbered `id`.
    pub(in crate::bgp) fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        slot(&mut self.entries, id).and_then(Option::as_mut)
    }

    /// Every entry, in no particular order.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries
            .iter()
            .flat_map(|block| block.iter())
            .enumerate()
            .filter_map(|(index, entry)| Some((EntryId(index as u32), entry.as_ref()?)))
    }

    /// One peer more or less refers to `id`; with the last, an empty entry goes.
    pub(in crate::bgp) fn hold(&mut self, id: EntryId) {
        if let Some(entry) = self.get_mut(id) {
            entry.holders += 1;
        }
    }

    /// The opposite of [`LocRib::hold`].
    pub(in crate::bgp) fn release(&mut self, id: EntryId) {
        if let Some(entry) = self.get_mut(id) {
            entry.holders = entry.holders.saturating_sub(1);
        }
        self.free_if_unused(id);
    }

    /// Forgets `id` if it has no path, nothing in the kernel and no peer that refers to it.
    pub(in crate::bgp) fn free_if_unused(&mut self, id: EntryId) {
        let unused = self.get(id).is_some_and(|entry| {
            entry.paths.is_empty() && entry.installed.is_none() && entry.holders == 0 && !entry.dirty
        });
        if unused && let Some(slot) = slot(&mut self.entries, id) {
            *slot = None;
            if let Ok(found) = self.ids.find_entry(hash(&self.prefixes[id.0 as usize]), |other| *other == id) {
                found.remove();
            }
            self.free.push(id);
        }
    }

    fn id_or_new(&mut self, prefix: Ipv4Net) -> EntryId {
        if let Some(id) = self.id(&prefix.into()) {
            return id;
        }
        let id = match self.free.pop() {
            Some(id) => {
                self.prefixes[id.0 as usize] = prefix;
                id
            }
            None => {
                if self.prefixes.len().is_multiple_of(BLOCK) {
                    self.entries.push(Box::new([const { None }; BLOCK]));
                }
                self.prefixes.push(prefix);
                EntryId((self.prefixes.len() - 1) as u32)
            }
        };
        if let Some(slot) = slot(&mut self.entries, id) {
            *slot = Some(Entry::default());
        }
        self.ids.insert_unique(hash(&prefix), id, |id| hash(&self.prefixes[id.0 as usize]));
        id
    }
}

fn slot(entries: &mut [Box<[Option<Entry>; BLOCK]>], id: EntryId) -> Option<&mut Option<Entry>> {
    Some(&mut entries.get_mut(id.0 as usize / BLOCK)?[id.0 as usize % BLOCK])
}

fn hash(prefix: &Ipv4Net) -> u64 {
    FxBuildHasher.hash_one((u32::from(prefix.addr()), prefix.prefix_len()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    fn marked(rib: &mut LocRib) -> Vec<EntryId> {
        rib.take_marked().into_iter().map(|marked| marked.id).collect()
    }

    #[test]
    fn an_entry_of_one_path_is_small() {
        assert!(size_of::<Option<Entry>>() <= 48, "{} bytes", size_of::<Option<Entry>>());
    }

    #[test]
    fn a_mark_remembers_what_was_selected_before_the_first_change() {
        let (now, eth) = (Instant::now(), |index| PathSource::Direct(IfName::eth(index)));
        let mut rib = LocRib::default();
        let id = rib.insert(now, prefix("10.0.0.0/8"), eth(0));
        assert!(rib.take_marked()[0].before.is_none());
        rib.insert(now, prefix("10.0.0.0/8"), eth(1));
        rib.remove(id, SourceKey::Direct);
        assert!(rib.take_marked()[0].before.as_ref().is_some_and(|before| before.is(&eth(0))));
    }

    #[test]
    fn a_path_ages_from_its_own_beginning() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut rib = LocRib::default();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None));
        let id = rib.insert(now + second, prefix("11.0.0.0/8"), PathSource::Static(None));
        assert_eq!(rib.age(now + 3 * second, &rib.get(id).unwrap().paths[0]), 2 * second);
    }

    #[test]
    fn an_entry_keeps_its_number_while_a_peer_refers_to_it() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let id = rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None));
        rib.take_marked();
        rib.hold(id);
        rib.remove(id, SourceKey::Static);
        rib.take_marked();
        rib.free_if_unused(id);
        assert_eq!(rib.id(&IpNet::V4(prefix("10.0.0.0/8"))), Some(id));
        rib.release(id);
        assert_eq!(rib.id(&IpNet::V4(prefix("10.0.0.0/8"))), None);
        assert_eq!(rib.insert(now, prefix("11.0.0.0/8"), PathSource::Static(None)), id);
    }

    #[test]
    fn a_source_has_one_path_per_prefix() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let eth = |index| PathSource::Direct(IfName::eth(index));
        let id = rib.insert(now, prefix("10.0.0.0/8"), eth(0));
        rib.insert(now, prefix("10.0.0.0/8"), eth(1));
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None));
        let keys: Vec<_> = rib.get(id).unwrap().paths.iter().map(|path| path.source.key()).collect();
        assert_eq!(keys, [SourceKey::Direct, SourceKey::Static]);
        assert_eq!(marked(&mut rib), [id]);
    }

    #[test]
    fn the_same_path_again_asks_for_no_decision() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None));
        rib.take_marked();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None));
        assert_eq!(marked(&mut rib), []);
    }
}
