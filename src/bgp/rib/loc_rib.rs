//! Loc-RIB: every path of every prefix, and which one is selected.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::Clause;
use crate::bgp::event::PeerId;
use crate::bgp::next_hop::Resolution;
use crate::bgp::wire::Attributes;
use crate::net::{IfName, NextHop, Route, RouteKind, RouteProtocol};

/// A prefix's number in one table, used again once nobody refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) struct EntryId(pub(in crate::bgp) u32);

/// A prefix has no more paths than this: what comes beyond them is as if it had been withdrawn, or a peer with ADD-PATH could have us
/// compare without end.
const MOST_PATHS: usize = 1024;

/// Which protocol instance a path came from: each has at most one path per prefix and path identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::bgp) enum SourceKey {
    /// `direct1`.
    Direct,
    /// `static1`.
    Static,
    /// `kernel1`.
    Kernel,
    /// A BGP session.
    Peer(PeerId),
}

/// Where a path came from and what it says.
#[derive(Clone, Debug)]
pub(in crate::bgp) enum PathSource {
    /// The network of an address on this interface.
    Direct(IfName),
    /// A configured route: a blackhole, or through this gateway.
    Static(Option<IpAddr>),
    /// A route of the kernel's that somebody else wrote.
    Kernel(Arc<Route>),
    /// An UPDATE.
    Bgp(PeerId, Arc<Attributes>),
}

impl PathSource {
    /// The protocol instance.
    pub(in crate::bgp) fn key(&self) -> SourceKey {
        match self {
            Self::Direct(_) => SourceKey::Direct,
            Self::Static(_) => SourceKey::Static,
            Self::Kernel(_) => SourceKey::Kernel,
            Self::Bgp(peer, _) => SourceKey::Peer(*peer),
        }
    }

    /// Whether its way is found through other routes.
    pub(in crate::bgp) fn has_next_hop(&self) -> bool {
        matches!(self, Self::Bgp(..) | Self::Static(Some(_)))
    }

    /// BIRD's preference (calico-behaviour 7.1).
    pub(in crate::bgp) fn preference(&self) -> u32 {
        match self {
            Self::Direct(_) => 240,
            Self::Static(_) => 200,
            Self::Bgp(..) => 100,
            Self::Kernel(_) => 10,
        }
    }

    /// The same path as `other`, by identity of what it shares: a cheap test that may miss equality but never difference.
    pub(in crate::bgp) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Direct(a), Self::Direct(b)) => a == b,
            (Self::Static(a), Self::Static(b)) => a == b,
            (Self::Kernel(a), Self::Kernel(b)) => Arc::ptr_eq(a, b),
            (Self::Bgp(p, a), Self::Bgp(q, b)) => p == q && Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// One path.
#[derive(Clone, Debug)]
pub(in crate::bgp) struct Path {
    /// What it is.
    pub(in crate::bgp) source: PathSource,
    /// The path identifier that it came with (RFC 7911 §3); 0 without ADD-PATH, and for what did not come by BGP.
    pub(in crate::bgp) received_id: u32,
    /// Which of its prefix's paths it is, the lowest number that was free: what it is told on with.
    pub(in crate::bgp) id: PathId,
    /// Since when.
    pub(in crate::bgp) since: Instant,
    /// The clause of the decision process that it lost by.
    pub(in crate::bgp) lost: Option<Clause>,
    /// From before its peer restarted or began to send everything again, and not announced since (RFC 4724 §4.2, RFC 7313 §4). As
    /// good as any other until it goes.
    pub(in crate::bgp) stale: bool,
}

/// A path's number among those of its prefix. It stays while the path's source and path identifier are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::bgp) struct PathId(pub(in crate::bgp) u16);

impl Path {
    /// Whether it is the one that `source` announces with `received_id`.
    fn is_of(&self, source: SourceKey, received_id: u32) -> bool {
        self.source.key() == source && self.received_id == received_id
    }
}

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
    pub(in crate::bgp) fn route(&self, dst: IpNet) -> Route {
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

/// One prefix.
#[derive(Debug)]
pub(in crate::bgp) struct Entry {
    /// The destination.
    pub(in crate::bgp) prefix: IpNet,
    /// Every path; the selected one first.
    pub(in crate::bgp) paths: Vec<Path>,
    /// The selected path as the peers and the kernel were last told to see it; `None` without one.
    pub(in crate::bgp) selected: Option<PathSource>,
    /// What we had the kernel install.
    pub(in crate::bgp) installed: Option<Arc<FibHop>>,
    /// The kernel's table has shown our route.
    pub(in crate::bgp) acknowledged: bool,
    /// The kernel refused our route.
    pub(in crate::bgp) kernel_failed: bool,
    /// Peers whose Adj-RIB-Out refers to the entry.
    pub(in crate::bgp) holders: u32,
    /// Some path, selected or not, is another one than the peers were last told to see.
    pub(in crate::bgp) changed: bool,
    /// The first group of peers that the paths got to when the peers were last told.
    pub(in crate::bgp) reach: u8,
    dirty: bool,
}

impl Entry {
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

/// The table.
#[derive(Debug, Default)]
pub(in crate::bgp) struct LocRib {
    ids: HashMap<IpNet, EntryId, FxBuildHasher>,
    entries: Vec<Option<Entry>>,
    free: Vec<EntryId>,
    dirty: Vec<EntryId>,
}

impl LocRib {
    /// Puts in a path in place of the one of the same source and path identifier: the entry, and whether the path is one more. An
    /// equal path changes nothing. `None` where there are too many paths already.
    pub(in crate::bgp) fn insert(
        &mut self,
        now: Instant,
        prefix: IpNet,
        source: PathSource,
        received_id: u32,
    ) -> Option<(EntryId, bool)> {
        let id = self.id_or_new(prefix);
        let entry = self.get_mut(id)?;
        let known = entry.paths.iter_mut().find(|path| path.is_of(source.key(), received_id));
        let is_new = known.is_none();
        match known {
            Some(path) if path.source.is(&source) => {
                path.stale = false;
                return Some((id, false));
            }
            Some(path) => *path = Path { source, since: now, lost: None, stale: false, ..*path },
            None => {
                let number = entry.free_path_id()?;
                entry.paths.push(Path { source, received_id, id: number, since: now, lost: None, stale: false });
            }
        }
        entry.changed = true;
        self.mark(id);
        Some((id, is_new))
    }

    /// Notes that the kernel has a route of ours to `prefix`.
    pub(in crate::bgp) fn adopt(&mut self, prefix: IpNet, hop: Arc<FibHop>) {
        let id = self.id_or_new(prefix);
        if let Some(entry) = self.get_mut(id) {
            entry.installed = Some(hop);
        }
    }

    /// Takes out the paths that `source` has in `id` and that are to `go`; how many.
    pub(in crate::bgp) fn remove(&mut self, id: EntryId, source: SourceKey, go: impl Fn(&Path) -> bool) -> usize {
        let Some(entry) = self.get_mut(id) else { return 0 };
        let before = entry.paths.len();
        // In order: the selected path stays the first one.
        entry.paths.retain(|path| path.source.key() != source || !go(path));
        let gone = before - entry.paths.len();
        if gone > 0 {
            entry.changed = true;
            self.mark(id);
        }
        gone
    }

    /// Whether `source` has a path in `id`.
    pub(in crate::bgp) fn has(&self, id: EntryId, source: SourceKey) -> bool {
        self.get(id).is_some_and(|entry| entry.paths.iter().any(|path| path.source.key() == source))
    }

    /// Marks the paths that `peer` has in `id` as stale.
    pub(in crate::bgp) fn mark_stale(&mut self, id: EntryId, peer: PeerId) {
        let paths = self.get_mut(id).into_iter().flat_map(|entry| &mut entry.paths);
        for path in paths.filter(|path| path.source.key() == SourceKey::Peer(peer)) {
            path.stale = true;
        }
    }

    /// Has the decision made again for `id`.
    pub(in crate::bgp) fn mark(&mut self, id: EntryId) {
        if let Some(entry) = self.get_mut(id)
            && !std::mem::replace(&mut entry.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    /// The entries marked since the last call.
    pub(in crate::bgp) fn take_marked(&mut self) -> Vec<EntryId> {
        let marked = std::mem::take(&mut self.dirty);
        for &id in &marked {
            if let Some(entry) = self.get_mut(id) {
                entry.dirty = false;
            }
        }
        marked
    }

    /// The entry of `prefix`.
    pub(in crate::bgp) fn id(&self, prefix: &IpNet) -> Option<EntryId> {
        self.ids.get(prefix).copied()
    }

    /// The entry numbered `id`.
    pub(in crate::bgp) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.entries.get(id.0 as usize).and_then(Option::as_ref)
    }

    /// The entry numbered `id`.
    pub(in crate::bgp) fn get_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.get_mut(id.0 as usize).and_then(Option::as_mut)
    }

    /// Every entry, in no particular order.
    pub(in crate::bgp) fn iter(&self) -> impl Iterator<Item = (EntryId, &Entry)> {
        self.entries.iter().enumerate().filter_map(|(index, entry)| Some((EntryId(index as u32), entry.as_ref()?)))
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
        if unused && let Some(entry) = self.entries[id.0 as usize].take() {
            self.ids.remove(&entry.prefix);
            self.free.push(id);
        }
    }

    fn id_or_new(&mut self, prefix: IpNet) -> EntryId {
        if let Some(id) = self.id(&prefix) {
            return id;
        }
        let entry = Entry {
            prefix,
            paths: Vec::with_capacity(1),
            selected: None,
            installed: None,
            acknowledged: false,
            kernel_failed: false,
            holders: 0,
            changed: false,
            reach: u8::MAX,
            dirty: false,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = Some(entry);
                id
            }
            None => {
                self.entries.push(Some(entry));
                EntryId((self.entries.len() - 1) as u32)
            }
        };
        self.ids.insert(prefix, id);
        id
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpNet {
        text.parse().unwrap()
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
        let eth = |index| PathSource::Direct(IfName::eth(index));
        let (id, _) = rib.insert(now, prefix("10.0.0.0/8"), eth(0), 0).unwrap();
        rib.insert(now, prefix("10.0.0.0/8"), eth(1), 0);
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        let keys: Vec<_> = rib.get(id).unwrap().paths.iter().map(|path| path.source.key()).collect();
        assert_eq!(keys, [SourceKey::Direct, SourceKey::Static]);
        assert_eq!(rib.take_marked(), [id]);
    }

    #[test]
    fn the_same_path_again_asks_for_no_decision() {
        let now = Instant::now();
        let mut rib = LocRib::default();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        rib.take_marked();
        rib.insert(now, prefix("10.0.0.0/8"), PathSource::Static(None), 0);
        assert_eq!(rib.take_marked(), []);
    }

    #[test]
    fn a_path_is_as_large_as_without_path_identifiers() {
        assert!(size_of::<Path>() <= 48, "{} bytes", size_of::<Path>());
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
