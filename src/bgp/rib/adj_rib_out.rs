//! Adj-RIB-Out: what one peer has been told, and what is to be looked at again for it.
//!
//! The queue holds entries, not messages: what an entry means for the peer is worked out when the peer can take bytes, so that a slow
//! peer is told the last word only. It is a set without an order of its own, so that a peer that reads nothing costs a bit per prefix.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::id_set::Cursor;
use super::{EntryId, IdSet, PathId, PathSource};
use crate::bgp::policy::AttributeKey;

/// One peer's Adj-RIB-Out (post-policy), and the markers that are due to it.
#[derive(Debug, Default)]
pub(in crate::bgp) struct AdjRibOut {
    /// Announced and not withdrawn.
    sent: IdSet,
    /// Members of `sent` of which other paths were announced than the first one alone, with those paths. Most prefixes have one path.
    several: Option<Box<Several>>,
    /// The peer gets every path (RFC 7911), not only the selected one.
    pub(in crate::bgp) all_paths: bool,
    /// To be looked at again.
    queued: IdSet,
    /// Where to go on in `queued`.
    next: Cursor,
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

/// What a path was told with.
#[derive(Clone, Debug)]
pub(in crate::bgp) struct Said {
    /// On what the attributes depend.
    pub(in crate::bgp) key: AttributeKey,
    /// Whose they are.
    #[expect(
        dead_code,
        reason = "held so that no other attributes come to stand where these do, and have the same key"
    )]
    pub(in crate::bgp) source: PathSource,
}

type SentPaths = Vec<(PathId, Option<Said>)>;
type Several = HashMap<EntryId, SentPaths, FxBuildHasher>;

const FIRST: PathId = PathId(0);

impl AdjRibOut {
    /// Queues `id`; true if that makes the peer a new holder of the entry.
    pub(in crate::bgp) fn queue(&mut self, id: EntryId) -> bool {
        if self.queued.is_empty() {
            self.next = Cursor::of(id);
        }
        self.queued.insert(id) && !self.sent.contains(id)
    }

    /// About `most` entries to look at now; none once none is left.
    pub(in crate::bgp) fn dequeue(&mut self, most: usize) -> Vec<EntryId> {
        self.is_whole = false;
        self.queued.take(&mut self.next, most)
    }

    /// Notes that the selected path of `id` is announced now, to a peer that gets no other.
    pub(in crate::bgp) fn announce(&mut self, id: EntryId) {
        self.sent.insert(id);
    }

    /// Notes that `id` is not announced now; true if it was, so that a withdrawal is due.
    pub(in crate::bgp) fn withdraw(&mut self, id: EntryId) -> bool {
        self.sent.remove(id)
    }

    /// Notes that `path` of `id` is announced now, with what it was said, to a peer that gets every path.
    pub(in crate::bgp) fn announce_path(&mut self, id: EntryId, path: PathId, said: Said) {
        if self.several.is_none() && path == FIRST {
            self.sent.insert(id);
            return;
        }
        let mut paths = self.take_paths(id);
        match paths.iter_mut().find(|(sent, _)| *sent == path) {
            Some((_, before)) => *before = Some(said),
            None => paths.push((path, Some(said))),
        }
        self.put_paths(id, paths);
    }

    /// Notes that `path` of `id` is not announced now; true if it was, so that a withdrawal is due.
    pub(in crate::bgp) fn withdraw_path(&mut self, id: EntryId, path: PathId) -> bool {
        if self.several.is_none() {
            return path == FIRST && self.sent.remove(id);
        }
        let mut paths = self.take_paths(id);
        let before = paths.len();
        paths.retain(|(sent, _)| *sent != path);
        let was_sent = paths.len() < before;
        self.put_paths(id, paths);
        was_sent
    }

    /// The paths of `id` that the peer has been told.
    pub(in crate::bgp) fn sent_paths(&self, id: EntryId) -> Vec<PathId> {
        match self.several.as_ref().and_then(|several| several.get(&id)) {
            Some(paths) => paths.iter().map(|(path, _)| *path).collect(),
            None if self.sent.contains(id) => vec![FIRST],
            None => Vec::new(),
        }
    }

    /// Whether the peer has been told `path` of `id` as it would be told now: one path that changes must not have all of its prefix told
    /// again.
    pub(in crate::bgp) fn has_said(&self, id: EntryId, path: PathId, key: &AttributeKey) -> bool {
        let mut paths = self.several.iter().filter_map(|several| several.get(&id)).flatten();
        paths.any(|(sent, said)| *sent == path && said.as_ref().is_some_and(|said| said.key == *key))
    }

    /// The peer wants everything again, also what it has.
    pub(in crate::bgp) fn forget_said(&mut self) {
        let paths = self.several.iter_mut().flat_map(|several| several.values_mut()).flatten();
        paths.for_each(|(_, said)| *said = None);
    }

    fn take_paths(&mut self, id: EntryId) -> SentPaths {
        match self.several.as_mut().and_then(|several| several.remove(&id)) {
            Some(paths) => paths,
            None if self.sent.contains(id) => vec![(FIRST, None)],
            None => Vec::new(),
        }
    }

    fn put_paths(&mut self, id: EntryId, paths: SentPaths) {
        match paths[..] {
            [] => drop(self.sent.remove(id)),
            [(FIRST, _)] => drop(self.sent.insert(id)),
            _ => {
                self.sent.insert(id);
                self.several.get_or_insert_default().insert(id, paths);
            }
        }
        if self.several.as_ref().is_some_and(|several| several.is_empty()) {
            self.several = None;
        }
    }

    /// Whether the peer has been told `id`.
    pub(in crate::bgp) fn has_sent(&self, id: EntryId) -> bool {
        self.sent.contains(id)
    }

    /// How many paths the peer has been told.
    pub(in crate::bgp) fn len(&self) -> usize {
        let several = self.several.iter().flat_map(|several| several.values());
        self.sent.len() + several.map(|paths| paths.len() - 1).sum::<usize>()
    }

    /// How many entries are queued.
    pub(in crate::bgp) fn queued(&self) -> usize {
        self.queued.len()
    }

    /// Whether anything is to be sent.
    pub(in crate::bgp) fn is_pending(&self) -> bool {
        !self.queued.is_empty() || self.end_of_rib_due || self.refresh_begin_due || self.refresh_end_due
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
