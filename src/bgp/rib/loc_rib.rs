//! Loc-RIB: every path of every prefix, and which one is selected.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashTable;
use ipnet::IpNet;

use super::fib_hop::FibHop;
use super::path::{Millis, Path, PathId, PathSource, Paths, SourceKey};
use super::prefixes::Prefixes;
use crate::bgp::event::PeerId;
use crate::bgp::wire::Family;

/// A prefix's number in one table, used again once nobody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) struct EntryId(pub(in crate::bgp) u32);

/// A prefix has no more paths than this: what comes beyond them is as if it had been withdrawn, or a peer with ADD-PATH could have us
/// compare without end.
const MOST_PATHS: usize = 1024;

/// What is known of one prefix.
#[derive(Debug)]
pub(in crate::bgp) struct Entry {
    /// The kernel's table has shown our route.
    pub(in crate::bgp) acknowledged: bool,
    /// The kernel refused our route.
    pub(in crate::bgp) kernel_failed: bool,
    dirty: bool,
    /// The first group of peers that the paths got to when the peers were last told.
    pub(in crate::bgp) reach: u8,
    /// Peers whose Adj-RIB-Out refers to the entry.
    holders: u32,
    /// Every path; the selected one first.
    pub(in crate::bgp) paths: Paths,
    /// What we had the kernel install.
    pub(in crate::bgp) installed: Option<Arc<FibHop>>,
}

impl Entry {
    fn new() -> Self {
        Self {
            acknowledged: false,
            kernel_failed: false,
            dirty: false,
            reach: u8::MAX,
            holders: 0,
            paths: Paths::None,
            installed: None,
        }
    }

    /// The selected path, as of the last decision.
    pub(in crate::bgp) fn best(&self) -> Option<&Path> {
        self.paths.first().filter(|path| path.lost.is_none())
    }

    fn free_path_id(&self) -> Option<PathId> {
        let is_free = |id: &PathId| self.paths.iter().all(|path| path.id != *id);
        if self.paths.len() >= MOST_PATHS {
            return None;
        }
        (0..=self.paths.len() as u16).map(PathId).find(is_free)
    }
}

/// An entry about which the decision is to be made again: some path, selected or not, is another one than the peers were last told to see,
/// or goes another way.
#[derive(Debug)]
pub(in crate::bgp) struct Marked {
    /// Which one.
    pub(in crate::bgp) id: EntryId,
    /// Its selected path as the peers and the kernel were last told to see it; `None` without one.
    pub(in crate::bgp) before: Option<PathSource>,
}

/// Entries to a block.
const BLOCK: usize = 32;

/// The table, of one family.
#[derive(Debug, Default)]
pub(in crate::bgp) struct LocRib {
    /// The numbers of all entries, by prefix.
    ids: HashTable<EntryId>,
    /// The entries' prefixes: apart from them, so that to find one, and to grow, touches little memory.
    prefixes: Prefixes,
    /// In blocks, which stay where they are: a vector of all of them would be copied as it grows, and leave holes as large as itself.
    #[expect(clippy::vec_box, reason = "what is in a block stays where it is while the vector grows")]
    entries: Vec<Box<[Option<Entry>; BLOCK]>>,
    free: Vec<EntryId>,
    dirty: Vec<Marked>,
    /// When the table's time began: with the first path.
    epoch: Option<Instant>,
}

impl LocRib {
    /// An empty table of `family`.
    pub(in crate::bgp) fn new(family: Family) -> Self {
        Self { prefixes: Prefixes::new(family), ..Self::default() }
    }

    /// Puts in a path in place of the one of the same source and path identifier: the entry, and whether the path is one more. An
    /// equal path changes nothing. `None` where there are too many paths already, and for a prefix of another family.
    pub(in crate::bgp) fn insert(
        &mut self,
        now: Instant,
        prefix: IpNet,
        source: PathSource,
        received_id: u32,
    ) -> Option<(EntryId, bool)> {
        let since = self.time(now);
        let id = self.id_or_new(&prefix)?;
        let entry = self.get_mut(id)?;
        let known = entry.paths.iter().position(|path| path.is_of(source.key(), received_id));
        let number = match known.map(|index| &mut entry.paths[index]) {
            Some(path) if path.source.is(&source) => {
                path.stale = false;
                return Some((id, false));
            }
            Some(path) => path.id,
            None => entry.free_path_id()?,
        };
        self.mark(id);
        let path = Path { source, received_id, since, id: number, lost: None, stale: false };
        let entry = self.get_mut(id)?;
        match known {
            Some(index) => entry.paths[index] = path,
            None => entry.paths.push(path),
        }
        Some((id, known.is_none()))
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
    pub(in crate::bgp) fn adopt(&mut self, prefix: IpNet, hop: Arc<FibHop>) {
        if let Some(id) = self.id_or_new(&prefix)
            && let Some(entry) = self.get_mut(id)
        {
            entry.installed = Some(hop);
        }
    }

    /// Takes out the paths that `source` has in `id` and that are to `go`; how many.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId, source: SourceKey, go: impl Fn(&Path) -> bool) -> usize {
        let goes = |path: &Path| path.source.key() == source && go(path);
        let gone = self.get(id).map_or(0, |entry| entry.paths.iter().filter(|path| goes(path)).count());
        if gone > 0 {
            self.mark(id);
            if let Some(entry) = self.get_mut(id) {
                entry.paths.remove(goes);
            }
        }
        gone
    }

    /// Whether `source` has a path in `id`.
    pub(in crate::bgp) fn has(&self, id: EntryId, source: SourceKey) -> bool {
        self.get(id).is_some_and(|entry| entry.paths.iter().any(|path| path.source.key() == source))
    }

    /// Marks the paths that `peer` has in `id` as stale.
    pub(in crate::bgp) fn mark_stale(&mut self, id: EntryId, peer: PeerId) {
        let paths = self.get_mut(id).into_iter().flat_map(|entry| entry.paths.iter_mut());
        for path in paths.filter(|path| path.source.key() == SourceKey::Peer(peer)) {
            path.stale = true;
        }
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
        self.ids.find(Prefixes::hash(prefix), |id| self.prefixes.is(*id, prefix)).copied()
    }

    /// The prefix of an entry.
    pub(in crate::bgp) fn prefix(&self, id: EntryId) -> IpNet {
        self.prefixes.get(id)
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
            let hash = self.prefixes.hash_of(id);
            if let Ok(found) = self.ids.find_entry(hash, |other| *other == id) {
                found.remove();
            }
            self.free.push(id);
        }
    }

    fn id_or_new(&mut self, prefix: &IpNet) -> Option<EntryId> {
        if let Some(id) = self.id(prefix) {
            return Some(id);
        }
        let id = self.prefixes.put(self.free.last().copied(), prefix)?;
        self.free.pop();
        if id.0 as usize / BLOCK == self.entries.len() {
            self.entries.push(Box::new([const { None }; BLOCK]));
        }
        if let Some(slot) = slot(&mut self.entries, id) {
            *slot = Some(Entry::new());
        }
        self.ids.insert_unique(Prefixes::hash(prefix), id, |id| self.prefixes.hash_of(*id));
        Some(id)
    }
}

fn slot(entries: &mut [Box<[Option<Entry>; BLOCK]>], id: EntryId) -> Option<&mut Option<Entry>> {
    Some(&mut entries.get_mut(id.0 as usize / BLOCK)?[id.0 as usize % BLOCK])
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;
    use crate::bgp::wire::Attributes;
    use crate::net::IfName;

    fn prefix(text: &str) -> IpNet {
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
        let (now, eth) = (Instant::now(), |index| PathSource::Direct(Arc::new(IfName::eth(index))));
        let mut rib = LocRib::default();
        let (id, _) = rib.insert(now, prefix("10.0.0.0/8"), eth(0), 0).unwrap();
        assert!(rib.take_marked()[0].before.is_none());
        rib.insert(now, prefix("10.0.0.0/8"), eth(1), 0);
        rib.remove(id, SourceKey::Direct, |_| true);
        assert!(rib.take_marked()[0].before.as_ref().is_some_and(|before| before.is(&eth(0))));
    }

    #[test]
    fn a_path_ages_from_its_own_beginning() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut rib = LocRib::default();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        let (id, _) = rib.insert(now + second, prefix("11.0.0.0/8"), PathSource::Static(None), 0).unwrap();
        assert_eq!(rib.age(now + 3 * second, &rib.get(id).unwrap().paths[0]), 2 * second);
    }

    #[test]
    fn an_entry_keeps_its_number_while_a_peer_refers_to_it() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let (id, _) = rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0).unwrap();
        rib.take_marked();
        rib.hold(id);
        assert_eq!(rib.remove(id, SourceKey::Static, |_| true), 1);
        rib.take_marked();
        rib.free_if_unused(id);
        assert_eq!(rib.id(&prefix("10.0.0.0/8")), Some(id));
        rib.release(id);
        assert_eq!(rib.id(&prefix("10.0.0.0/8")), None);
        assert_eq!(rib.insert(now, prefix("11.0.0.0/8"), PathSource::Static(None), 0), Some((id, true)));
    }

    #[test]
    fn a_source_has_one_path_per_prefix() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let eth = |index| PathSource::Direct(Arc::new(IfName::eth(index)));
        let (id, _) = rib.insert(now, prefix("10.0.0.0/8"), eth(0), 0).unwrap();
        rib.insert(now, prefix("10.0.0.0/8"), eth(1), 0);
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        let keys: Vec<_> = rib.get(id).unwrap().paths.iter().map(|path| path.source.key()).collect();
        assert_eq!(keys, [SourceKey::Direct, SourceKey::Static]);
        assert_eq!(marked(&mut rib), [id]);
    }

    #[test]
    fn the_same_path_again_asks_for_no_decision() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        rib.take_marked();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        assert_eq!(marked(&mut rib), []);
    }

    #[test]
    fn paths_of_one_source_are_told_apart_by_their_identifiers_and_numbered_from_zero() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let attributes = Arc::new(Attributes::local([10, 0, 0, 1].into()));
        let mut insert = |received_id| {
            let path = PathSource::Bgp(PeerId(0), Arc::clone(&attributes));
            rib.insert(now, prefix("10.0.0.0/8"), path, received_id).unwrap()
        };
        let (id, _) = insert(70_000);
        assert_eq!((insert(0), insert(70_000), insert(9)), ((id, true), (id, false), (id, true)));
        let numbers = |rib: &LocRib| -> Vec<(u32, u16)> {
            rib.get(id).unwrap().paths.iter().map(|path| (path.received_id, path.id.0)).collect()
        };
        assert_eq!(numbers(&rib), [(70_000, 0), (0, 1), (9, 2)]);
        assert_eq!(rib.remove(id, SourceKey::Peer(PeerId(0)), |path| path.received_id == 0), 1);
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        assert_eq!(numbers(&rib), [(70_000, 0), (9, 2), (0, 1)]);
    }

    #[test]
    fn a_prefix_has_a_limited_number_of_paths() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        let attributes = Arc::new(Attributes::local([10, 0, 0, 1].into()));
        let taken = (0..2000).filter(|received_id| {
            let path = PathSource::Bgp(PeerId(0), Arc::clone(&attributes));
            rib.insert(now, prefix("10.0.0.0/8"), path, *received_id).is_some()
        });
        assert_eq!(taken.count(), MOST_PATHS);
    }
}
