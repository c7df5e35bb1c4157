//! Adj-RIB-In: what one peer announced.

use super::{EntryId, IdSet};

/// The entries that one peer has a path in. The paths themselves stand in the `LocRib`, and say whether they are stale.
#[derive(Debug, Default)]
pub(in crate::bgp) struct AdjRibIn {
    entries: IdSet,
    /// Between BoRR and EoRR (RFC 7313 §4).
    pub(in crate::bgp) refreshing: bool,
}

impl AdjRibIn {
    /// The peer announced `id`.
    pub(in crate::bgp) fn insert(&mut self, id: EntryId) {
        self.entries.insert(id);
    }

    /// The peer withdrew `id`; false if it had not announced it.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId) -> bool {
        self.entries.remove(id)
    }

    /// All of them.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = EntryId> + '_ {
        self.entries.iter()
    }

    /// How many there are.
    pub(in crate::bgp) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Empties it and lists what was in it.
    pub(in crate::bgp) fn clear(&mut self) -> Vec<EntryId> {
        std::mem::take(self).entries.iter().collect()
    }
}
