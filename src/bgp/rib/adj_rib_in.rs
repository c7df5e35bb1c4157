//! Adj-RIB-In: what one peer announced.

use super::{EntryId, IdSet};

/// The entries that one peer has a path in. The paths themselves stand in the `LocRib`, and say whether they are stale.
#[derive(Debug, Default)]
pub(in crate::bgp) struct AdjRibIn {
    entries: IdSet,
    /// How many paths: with ADD-PATH more than there are entries.
    paths: usize,
    /// Between BoRR and EoRR (RFC 7313 §4).
    pub(in crate::bgp) refreshing: bool,
}

impl AdjRibIn {
    /// The peer announced a path in `id`.
    pub(in crate::bgp) fn insert(&mut self, id: EntryId) {
        self.entries.insert(id);
        self.paths += 1;
    }

    /// So many of the peer's paths in `id` are gone; `empty` says that those were the last ones.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId, paths: usize, empty: bool) {
        self.paths = self.paths.saturating_sub(paths);
        if empty {
            self.entries.remove(id);
        }
    }

    /// Whether the peer has a path in `id`.
    pub(in crate::bgp) fn contains(&self, id: EntryId) -> bool {
        self.entries.contains(id)
    }

    /// All of them.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.entries.iter()
    }

    /// How many paths there are.
    pub(in crate::bgp) fn len(&self) -> usize {
        self.paths
    }

    /// Empties it and lists what was in it.
    pub(in crate::bgp) fn clear(&mut self) -> Vec<EntryId> {
        std::mem::take(self).entries.iter().collect()
    }
}
