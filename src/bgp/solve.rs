//! What speakers agree on once all has been said: the oracle that their kernels' tables are compared with.
//!
//! The same policy and decision as the speaker's, and nothing else of it: no messages, no timers, no queues. Each table starts with
//! what its site has by itself; whenever the selected path of a prefix changes, its neighbours are told in their form, until
//! nothing changes any more. Work is proportional to what is told, so that a full mesh costs what its routes cost.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use ipnet::IpNet;
use rustc_hash::FxBuildHasher;

use super::config::{PeerConfig, SpeakerConfig};
use super::event::{KernelSnapshot, PeerId};
use super::next_hop::NextHops;
use super::policy::{self, Changes, ExportPeer, ExportRoute, SourcePeer};
use super::reach::{Audience, Reach};
use super::rib::{Candidate, Clause, PathSource, PeerFacts, decide};
use super::wire::Attributes;
use crate::net::{BgpIdentifier, Route};

/// One speaker and what it finds in its namespace.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The speaker.
    pub config: &'a SpeakerConfig,
    /// Interfaces and routes that are not BGP's.
    pub kernel: &'a KernelSnapshot,
}

/// One end of a session: a site and one of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct End {
    /// Index into the sites.
    pub site: usize,
    /// Which of its peers.
    pub peer: PeerId,
}

/// A session that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its two ends.
    pub ends: [End; 2],
    /// The address of each end.
    pub addresses: [IpAddr; 2],
}

/// What an end has received and keeps, whatever its peer would say now: a session whose path is cut, before the hold timer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Who keeps it.
    pub end: End,
    /// The peer that it came from.
    pub from: BgpIdentifier,
    /// The routes.
    pub routes: Vec<(IpNet, Arc<Attributes>)>,
}

/// The speakers would go on telling each other for ever: no selection is stable, or none is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstable {
    /// A site whose selected path keeps changing.
    pub site: usize,
    /// Its destination.
    pub prefix: IpNet,
}

/// The tables that the speakers end up with.
#[derive(Debug)]
pub struct Solution<'a> {
    tables: Vec<Table<'a>>,
}

/// A selected path that changes this often does not settle: more than any chain of sites that a lab can have is long.
const MOST_CHANGES: u32 = 1_000;

/// Works out the tables of `sites` that are joined by `sessions`; `held` is there besides, as if it had been received.
///
/// # Errors
/// The policies contradict each other (RFC 4264's "BGP wedgies" and worse).
pub fn solve<'a>(sites: &[Site<'a>], sessions: &[Session], held: &[Held]) -> Result<Solution<'a>, Unstable> {
    let mut tables: Vec<Table<'a>> = sites.iter().map(|site| Table::new(*site)).collect();
    for session in sessions {
        for (near, far) in [(0, 1), (1, 0)] {
            let End { site, peer } = session.ends[near];
            let Some(config) = sites[site].config.peers.get(peer.0 as usize) else { continue };
            let target = ExportPeer { id: peer, config, local: session.addresses[near] };
            let to = session.ends[far];
            let far_config = sites[to.site].config.peers.get(to.peer.0 as usize);
            let all_paths = config.add_path && far_config.is_some_and(|far| far.add_path);
            tables[site].all_paths |= all_paths;
            tables[site].flows[Reach::of(config) as usize].push(Flow { target, to, all_paths });
            tables[site].identifiers.insert(peer, sites[to.site].config.router_id);
        }
    }
    let mut work = Worklist::default();
    let mut begin: Vec<(u32, usize, IpNet)> = Vec::new();
    for (index, table) in tables.iter_mut().enumerate() {
        begin.extend(table.start().map(|(preference, prefix)| (preference, index, prefix)));
    }
    // The preferred first. In VXLAN every node's kernel has a route to every block: with the owners heard before those
    // have their turn, nobody tells of them, and nobody takes them back.
    begin.sort_by_key(|(preference, ..)| Reverse(*preference));
    for (_, index, prefix) in begin {
        work.add(index, prefix);
    }
    for Held { end, from, routes } in held {
        tables[end.site].identifiers.insert(end.peer, *from);
        let mut by_prefix: BTreeMap<IpNet, Vec<Arc<Attributes>>> = BTreeMap::new();
        for (prefix, attributes) in routes {
            by_prefix.entry(*prefix).or_default().push(Arc::clone(attributes));
        }
        for (prefix, paths) in by_prefix {
            if tables[end.site].receive(end.peer, prefix, &paths) {
                work.add(end.site, prefix);
            }
        }
    }
    while let Some((index, prefix)) = work.next() {
        let Some(changes) = tables[index].select(prefix) else { continue };
        if changes > MOST_CHANGES {
            return Err(Unstable { site: index, prefix });
        }
        for (to, paths) in tables[index].tell(prefix) {
            if tables[to.site].receive(to.peer, prefix, &paths) {
                work.add(to.site, prefix);
            }
        }
    }
    Ok(Solution { tables })
}

impl Solution<'_> {
    /// The routes that the speaker of `site` writes into its kernel, in no particular order.
    pub fn routes(&self, site: usize) -> impl Iterator<Item = Route> {
        self.tables[site].routes()
    }

    /// What `end` has received; `None` where its session does not stand.
    pub fn received(&self, end: End) -> Option<Held> {
        let from = *self.tables[end.site].identifiers.get(&end.peer)?;
        let paths = self.tables[end.site].entries.iter();
        let of_peer = paths.flat_map(|(prefix, entry)| {
            entry.paths.iter().filter_map(|source| match source {
                PathSource::Bgp(peer, attributes) if *peer == end.peer => Some((*prefix, Arc::clone(attributes))),
                _ => None,
            })
        });
        Some(Held { end, from, routes: of_peer.collect() })
    }
}

type FxMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// One direction of a session.
#[derive(Clone, Copy, Debug)]
struct Flow<'a> {
    target: ExportPeer<'a>,
    to: End,
    /// Every path is told (RFC 7911), not only the selected one.
    all_paths: bool,
}

#[derive(Debug, Default)]
struct Entry {
    paths: Vec<PathSource>,
    /// Per path, what it lost by.
    lost: Vec<Option<Clause>>,
    selected: Option<PathSource>,
    /// The last decision selected another path than the one before.
    selected_changed: bool,
    /// Some path, selected or not, has changed since the last decision.
    changed: bool,
    /// The first group that the paths got to when the neighbours were last told.
    reach: Option<usize>,
    changes: u32,
}

/// One speaker's table.
#[derive(Debug)]
struct Table<'a> {
    site: Site<'a>,
    next_hops: NextHops,
    entries: FxMap<IpNet, Entry>,
    /// By [`Reach`].
    flows: [Vec<Flow<'a>>; 3],
    /// Some of them tell every path.
    all_paths: bool,
    audience: Audience,
    /// Who is at the other end of a session that stands.
    identifiers: FxMap<PeerId, BgpIdentifier>,
}

impl<'a> Table<'a> {
    fn new(site: Site<'a>) -> Self {
        Self {
            site,
            next_hops: NextHops::new(site.config.family),
            entries: FxMap::default(),
            flows: Default::default(),
            all_paths: false,
            audience: Audience::of(site.config),
            identifiers: FxMap::default(),
        }
    }

    /// Takes in what is there without any peer; the prefixes, each with the preference of its best path.
    fn start(&mut self) -> impl Iterator<Item = (u32, IpNet)> {
        let changes = self.next_hops.update(self.site.kernel);
        let statics = policy::local_routes(self.site.config);
        let direct = changes.direct.into_iter();
        let direct = direct.filter_map(|(prefix, dev)| Some((prefix, PathSource::Direct(dev?.into()))));
        let kernel =
            changes.kernel.into_iter().filter_map(|(prefix, route)| Some((prefix, PathSource::Kernel(route?))));
        for (prefix, source) in statics.chain(direct).chain(kernel) {
            self.entries.entry(prefix).or_default().paths.push(source);
        }
        self.entries
            .iter()
            .map(|(prefix, entry)| (entry.paths.iter().map(PathSource::preference).max().unwrap_or_default(), *prefix))
    }

    /// A peer's last word on a prefix, every path that it tells; whether it is a new one.
    fn receive(&mut self, from: PeerId, prefix: IpNet, told: &[Arc<Attributes>]) -> bool {
        let (config, peer) = (self.site.config, self.peer(from));
        let welcome = told.iter().filter(|attributes| !policy::is_looped(config, peer, attributes));
        let imported = welcome.filter_map(|attributes| match policy::imported(peer, prefix, attributes)? {
            None => Some(Arc::clone(attributes)),
            Some(changed) => Some(Arc::new(changed)),
        });
        let mut new: Vec<Arc<Attributes>> = imported.collect();
        // Two equal paths are as good as one, and the order in which they came must not matter.
        new.sort_unstable();
        new.dedup();
        if new.is_empty() && !self.entries.contains_key(&prefix) {
            return false;
        }
        let entry = self.entries.entry(prefix).or_default();
        let is_theirs = |path: &PathSource| matches!(path, PathSource::Bgp(peer, _) if *peer == from);
        let known = entry.paths.iter().filter_map(|path| match path {
            PathSource::Bgp(peer, attributes) if *peer == from => Some(attributes),
            _ => None,
        });
        if known.eq(&new) {
            return false;
        }
        entry.paths.retain(|path| !is_theirs(path));
        entry.paths.extend(new.into_iter().map(|attributes| PathSource::Bgp(from, attributes)));
        entry.changed = true;
        true
    }

    /// Makes the decision for `prefix`; how often neighbours have had to be told of it, or `None` where they have not now.
    fn select(&mut self, prefix: IpNet) -> Option<u32> {
        let Self { site: Site { config, .. }, next_hops, entries, identifiers, .. } = self;
        let entry = entries.get_mut(&prefix)?;
        let facts = |from: PeerId| PeerFacts {
            id: from,
            external: config.peers[from.0 as usize].is_external(),
            local_as: config.peers[from.0 as usize].local_as,
            router_id: identifiers.get(&from).copied().unwrap_or(config.router_id),
            address: config.peers[from.0 as usize].remote,
        };
        let candidates: Vec<Candidate<'_>> =
            entry.paths.iter().map(|path| Candidate::of(path, next_hops, facts)).collect();
        entry.lost = decide(&candidates);
        let best = entry.lost.iter().position(Option::is_none);
        let best = best.map(|index| entry.paths[index].clone());
        let unchanged = match (&best, &entry.selected) {
            (Some(PathSource::Bgp(from, now)), Some(PathSource::Bgp(as_before, then))) => {
                from == as_before && now == then
            }
            (Some(now), Some(then)) => now.is(then),
            (None, None) => true,
            _ => false,
        };
        entry.selected = best;
        entry.selected_changed = !unchanged;
        let some_changed = std::mem::take(&mut entry.changed) && self.all_paths;
        let is_news = !unchanged || some_changed;
        entry.changes += u32::from(is_news);
        is_news.then_some(entry.changes)
    }

    /// What each neighbour is to know of `prefix` from now on: every path that it is told.
    fn tell(&mut self, prefix: IpNet) -> Vec<(End, Vec<Arc<Attributes>>)> {
        let Some(entry) = self.entries.get(&prefix) else { return Vec::new() };
        let config = self.site.config;
        let reach = |source| self.audience.first(&config.policy, &self.export_route(prefix, source));
        let reach = entry.paths.iter().map(reach).min().unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(&prefix) else { return Vec::new() };
        let before = entry.reach.replace(reach).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get(&prefix) else { return Vec::new() };
        let first = before.min(reach).min(self.flows.len());
        let best = entry.lost.iter().position(Option::is_none);
        let is_usable = |index: &usize| self.next_hops.is_usable(&entry.paths[*index]);
        // In a mesh most are told the same.
        let mut last: Vec<Option<(ExportPeer<'_>, Changes, Arc<Attributes>)>> = vec![None; entry.paths.len()];
        let mut exported = |index: usize, target: &ExportPeer<'a>| {
            let route = self.export_route(prefix, &entry.paths[index]);
            let changes = policy::export(&config.policy, &route, target)?;
            if let Some((other, same, attributes)) = &last[index]
                && *same == changes
                && other.is_told_as(target)
            {
                return Some(Arc::clone(attributes));
            }
            let attributes = Arc::new(policy::exported_attributes(config, route.source, route.from, &changes, target));
            last[index] = Some((*target, changes, Arc::clone(&attributes)));
            Some(attributes)
        };
        let concerned = self.flows[first..].iter().flatten().filter(|flow| flow.all_paths || entry.selected_changed);
        concerned
            .map(|flow| {
                let told = match flow.all_paths {
                    true => {
                        let usable = (0..entry.paths.len()).filter(is_usable);
                        usable.filter_map(|index| exported(index, &flow.target)).collect()
                    }
                    false => best.and_then(|index| exported(index, &flow.target)).into_iter().collect(),
                };
                (flow.to, told)
            })
            .collect()
    }

    fn export_route<'r>(&'r self, prefix: IpNet, source: &'r PathSource) -> ExportRoute<'r> {
        ExportRoute { prefix, source, from: self.source_peer(source), dev: self.next_hops.device(source) }
    }

    fn source_peer(&self, source: &PathSource) -> Option<SourcePeer> {
        let PathSource::Bgp(id, _) = source else { return None };
        let identifier = self.identifiers.get(id).copied().unwrap_or(self.site.config.router_id);
        Some(SourcePeer::of(self.site.config, *id, identifier))
    }

    fn peer(&self, peer: PeerId) -> &'a PeerConfig {
        &self.site.config.peers[peer.0 as usize]
    }

    fn routes(&self) -> impl Iterator<Item = Route> {
        self.entries.iter().filter_map(|(prefix, entry)| {
            let paths = entry.paths.iter().zip(entry.lost.iter().copied());
            Some(policy::kernel_hop(&self.site.config.policy, *prefix, paths, &self.next_hops)?.route(*prefix))
        })
    }
}

/// Prefixes whose decision is to be made, each once, first come first served.
#[derive(Debug, Default)]
struct Worklist {
    queue: VecDeque<(usize, IpNet)>,
    queued: HashSet<(usize, IpNet), FxBuildHasher>,
}

impl Worklist {
    fn add(&mut self, site: usize, prefix: IpNet) {
        if self.queued.insert((site, prefix)) {
            self.queue.push_back((site, prefix));
        }
    }

    fn next(&mut self) -> Option<(usize, IpNet)> {
        let next = self.queue.pop_front()?;
        self.queued.remove(&next);
        Some(next)
    }
}
