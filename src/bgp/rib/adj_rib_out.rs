//! Adj-RIB-Out: what one peer has been told, and what is to be looked at again for it.
//!
//! The queue holds entries, not messages: what an entry means for the peer is worked out when the peer can take bytes, so that a slow
//! peer is told the last word only.

use std::collections::VecDeque;

use super::{EntryId, IdSet};

/// One peer's Adj-RIB-Out (post-policy), and the markers that are due to it.
#[derive(Debug, Default)]
pub(in crate::bgp) struct AdjRibOut {
    /// Announced and not withdrawn.
    sent: IdSet,
    /// Members of `queue`.
    queued: IdSet,
    queue: VecDeque<EntryId>,
    /// Everything that the peer may have is queued: to ask for it once more changes nothing.
    pub(in crate::bgp) is_whole: bool,
    /// End-of-RIB follows once the queue is empty (RFC 4724 §2).
    pub(in crate::bgp) end_of_rib_due: bool,
    /// The peer asked for everything again, and is to have it after End-of-RIB.
    pub(in crate::bgp) refresh_waits: bool,
    /// BoRR precedes whatever comes next (RFC 7313 §4).
    pub(in crate::bgp) refresh_begin_due: bool,
    /// EoRR follows once the queue is empty.
    pub(in crate::bgp) refresh_end_due: bool,
}

impl AdjRibOut {
    /// Queues `id`; true if that makes the peer a new holder of the entry.
    pub(in crate::bgp) fn queue(&mut self, id: EntryId) -> bool {
        if !self.queued.insert(id) {
            return false;
        }
        self.queue.push_back(id);
        !self.sent.contains(id)
    }

    /// The next entry to look at.
    pub(in crate::bgp) fn dequeue(&mut self) -> Option<EntryId> {
        self.is_whole = false;
        let id = self.queue.pop_front();
        match id {
            Some(id) => drop(self.queued.remove(id)),
            // Both keep their buffers; an idle session should not.
            None => (self.queue, self.queued) = (VecDeque::new(), IdSet::default()),
        }
        id
    }

    /// Notes that `id` is announced now.
    pub(in crate::bgp) fn announce(&mut self, id: EntryId) {
        self.sent.insert(id);
    }

    /// Notes that `id` is not announced now; true if it was, so that a withdrawal is due.
    pub(in crate::bgp) fn withdraw(&mut self, id: EntryId) -> bool {
        self.sent.remove(id)
    }

    /// Whether the peer has been told `id`.
    pub(in crate::bgp) fn has_sent(&self, id: EntryId) -> bool {
        self.sent.contains(id)
    }

    /// How many prefixes the peer has been told.
    pub(in crate::bgp) fn len(&self) -> usize {
        self.sent.len()
    }

    /// How many entries are queued.
    pub(in crate::bgp) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether anything is to be sent.
    pub(in crate::bgp) fn is_pending(&self) -> bool {
        !self.queue.is_empty() || self.end_of_rib_due || self.refresh_begin_due || self.refresh_end_due
    }

    /// Empties it and lists the entries that it held.
    pub(in crate::bgp) fn clear(&mut self) -> Vec<EntryId> {
        let Self { sent, mut queued, .. } = std::mem::take(self);
        for id in sent.iter() {
            queued.insert(id);
        }
        queued.iter().collect()
    }
}
