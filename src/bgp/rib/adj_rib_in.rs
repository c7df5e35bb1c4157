//! Adj-RIB-In: what one peer announced.

use super::{EntryId, IdSet};

/// The entries that one peer has a path in. The paths themselves stand in the `LocRib`.
#[derive(Debug, Default)]
pub(in crate::bgp) struct AdjRibIn {
    entries: IdSet,
    /// During an enhanced route refresh: those not announced again yet (RFC 7313 §4).
    stale: Option<IdSet>,
}

impl AdjRibIn {
    /// The peer announced `id`.
    pub(in crate::bgp) fn insert(&mut self, id: EntryId) {
        self.entries.insert(id);
        if let Some(stale) = &mut self.stale {
            stale.remove(id);
        }
    }

    /// The peer withdrew `id`; false if it had not announced it.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId) -> bool {
        if let Some(stale) = &mut self.stale {
            stale.remove(id);
        }
        self.entries.remove(id)
    }

    /// BoRR came: everything is stale until announced again.
    pub(in crate::bgp) fn begin_refresh(&mut self) {
        self.stale = Some(self.entries.clone());
    }

    /// EoRR came: what is still stale, to be withdrawn. Empty without a BoRR before.
    pub(in crate::bgp) fn end_refresh(&mut self) -> Vec<EntryId> {
        self.stale.take().map_or_else(Vec::new, |stale| stale.iter().collect())
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
