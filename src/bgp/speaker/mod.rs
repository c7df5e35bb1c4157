//! The speaker: the peers and the RIBs of one node, joined. Events in, actions out (`event` has the contract).
//!
//! Each event goes to the peer that it concerns; what the peer has for the RIBs is applied, the decision is made again for the prefixes
//! that this touched, and what changed goes to the kernel and into the queues of the other peers. Nothing costs more than the peers
//! and prefixes that it is about.

mod all_paths;
mod announcements;
mod exported;
mod kernel;
mod recovery;
mod round;
mod routes;
mod show;
mod transmit;

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::config::SpeakerConfig;
use super::event::{Action, ConnectionId, Event, FibChange, PeerId};
use super::next_hop::NextHops;
use super::peer::{Effects, Output, Peer, rejection};
use super::policy::local_routes;
use super::reach::Audience;
use super::rib::{EntryId, FibHop, LocRib, Marked};
use super::timers::Jitter;
use super::view::State;
use super::wire::Interner;
use recovery::Recovery;
use round::Round;

pub use show::PeerProgress;

type FxMap<K, V> = HashMap<K, V, FxBuildHasher>;

/// One node's BGP, without I/O.
#[derive(Debug)]
pub struct Speaker {
    config: Arc<SpeakerConfig>,
    peers: Vec<Peer>,
    by_address: FxMap<IpAddr, Vec<PeerId>>,
    connections: FxMap<ConnectionId, PeerId>,
    next_connection: u64,
    /// Every peer's first deadline.
    deadlines: BTreeSet<(Instant, PeerId)>,
    jitter: Jitter,
    interner: Interner,
    rib: LocRib,
    next_hops: NextHops,
    /// Ways into the kernel in use, each allocated once.
    hops: HashSet<Arc<FibHop>, FxBuildHasher>,
    /// Peers that are Established, by [`Reach`](super::reach::Reach).
    up: [Vec<PeerId>; 3],
    /// How many of them get every path (RFC 7911).
    all_paths: usize,
    /// Whom a route can get to at all.
    audience: Audience,
    /// Entries whose selected path leads out of another interface than the peers were last told to see, which policy may look at.
    rerouted: HashSet<EntryId, FxBuildHasher>,
    /// What some prefixes come to for a peer, as long as nothing has changed.
    rounds: VecDeque<Arc<Round>>,
    /// Shutdown came: the kernel keeps what it has (BIRD's `persist`, calico-behaviour 3.2).
    ended: bool,
    /// Path selection is deferred after a restart of our own.
    recovery: Option<Recovery>,
    /// When [`Event::Start`] came.
    started: Option<Instant>,
}

impl Speaker {
    /// A speaker that does nothing before [`Event::Start`]. The same `seed` and events give the same actions.
    pub fn new(config: SpeakerConfig, seed: u64) -> Self {
        let config = Arc::new(config);
        let mut by_address: FxMap<IpAddr, Vec<PeerId>> = FxMap::default();
        let mut peers = Vec::with_capacity(config.peers.len());
        for (peer, id) in config.peers.iter().zip((0..).map(PeerId)) {
            by_address.entry(peer.remote).or_default().push(id);
            peers.push(Peer::new(id, Arc::clone(&config)));
        }
        let family = config.family;
        Self {
            audience: Audience::of(&config),
            config,
            peers,
            by_address,
            connections: FxMap::default(),
            next_connection: 0,
            deadlines: BTreeSet::new(),
            jitter: Jitter::new(seed),
            interner: Interner::new(),
            rib: LocRib::new(family),
            next_hops: NextHops::new(family),
            hops: HashSet::default(),
            up: Default::default(),
            all_paths: 0,
            rerouted: HashSet::default(),
            rounds: VecDeque::new(),
            ended: false,
            recovery: None,
            started: None,
        }
    }

    /// The configuration that it was made with.
    pub fn config(&self) -> &SpeakerConfig {
        &self.config
    }

    /// A name for a connection that a listener took: to be reported with [`Event::Accepted`].
    pub fn next_connection(&mut self) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        connection
    }

    /// Something happened at `now`. The actions are to be carried out in order.
    ///
    /// An event of a connection or a peer that is no more changes nothing: the driver may report late.
    pub fn handle_event(&mut self, now: Instant, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Start { recovering } => {
                self.started = Some(now);
                if recovering {
                    self.begin_recovery(now);
                }
                for (prefix, source) in local_routes(&self.config) {
                    self.rib.insert(now, prefix, source, 0);
                }
                self.every_peer(now, &mut actions, |peer, effects| peer.start(now, effects));
            }
            Event::Shutdown => {
                self.ended = true;
                self.recovery = None;
                self.every_peer(now, &mut actions, |peer, effects| peer.shut_down(now, effects));
            }
            Event::Disable(id) => self.with_peer(now, id, &mut actions, |peer, effects| peer.disable(now, effects)),
            Event::Enable(id) => self.with_peer(now, id, &mut actions, |peer, effects| peer.start(now, effects)),
            Event::Restart(id) => self.with_peer(now, id, &mut actions, |peer, effects| peer.restart(now, effects)),
            Event::Accepted { connection, remote, local } => {
                self.accepted(now, connection, remote.ip(), local, &mut actions);
            }
            Event::Connected { connection, local } => self.on_connection(now, connection, &mut actions, |peer, fx| {
                peer.connected(now, connection, local, fx);
            }),
            Event::ConnectFailed { connection, error } => {
                self.on_connection(now, connection, &mut actions, |peer, effects| {
                    peer.closed(now, connection, Some(error), effects);
                });
            }
            Event::Closed { connection, error } => {
                self.on_connection(now, connection, &mut actions, |peer, effects| {
                    peer.closed(now, connection, error, effects);
                });
            }
            Event::Received { connection, bytes } => {
                self.on_connection(now, connection, &mut actions, |peer, effects| {
                    peer.received(now, connection, bytes, effects);
                });
            }
            Event::Writable { connection } => {
                if self.wants_to_send(connection) {
                    actions.push(Action::Transmit { connection });
                }
            }
            Event::Kernel(snapshot) => self.kernel_changed(now, &snapshot, &mut actions),
            Event::FibFailed { dst } => self.fib_failed(&dst),
        }
        self.flush(now, &mut actions);
        actions
    }

    /// Runs every timer due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        // Each peer once: a timer of zero length must not keep us here.
        let due: Vec<PeerId> =
            self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, id)| *id).collect();
        for id in due {
            self.with_peer(now, id, &mut actions, |peer, effects| peer.handle_timeout(now, effects));
        }
        self.flush(now, &mut actions);
        actions
    }

    /// When [`Speaker::handle_timeout`] is next to be called; `None` while no timer runs.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let recovery = self.recovery.as_ref().map(|recovery| recovery.until);
        self.deadlines.first().map(|(deadline, _)| *deadline).into_iter().chain(recovery).min()
    }

    fn accepted(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        remote: IpAddr,
        local: IpAddr,
        actions: &mut Vec<Action>,
    ) {
        let candidates = self.by_address.get(&remote).map_or(&[][..], Vec::as_slice);
        // Two sessions may share an address (calico-behaviour 7.3): prefer one that is ready and not up.
        let preference = |id: &&PeerId| {
            self.peers.get(id.0 as usize).map(|peer| (peer.is_running(), peer.state() != State::Established))
        };
        // Of equal ones max_by_key takes the last: look at them in reverse.
        let Some(&id) = candidates.iter().rev().max_by_key(preference) else {
            actions.push(rejection(connection));
            return;
        };
        self.connections.insert(connection, id);
        self.with_peer(now, id, actions, |peer, effects| {
            peer.accepted(now, connection, local, effects);
        });
    }

    fn every_peer(
        &mut self,
        now: Instant,
        actions: &mut Vec<Action>,
        mut handle: impl FnMut(&mut Peer, &mut Effects<'_>),
    ) {
        for index in 0..self.peers.len() {
            self.with_peer(now, PeerId(index as u32), actions, &mut handle);
        }
    }

    fn on_connection(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        actions: &mut Vec<Action>,
        handle: impl FnOnce(&mut Peer, &mut Effects<'_>),
    ) {
        if let Some(&id) = self.connections.get(&connection) {
            self.with_peer(now, id, actions, handle);
            if !self.peers[id.0 as usize].has_session(connection) {
                self.connections.remove(&connection);
            }
        }
    }

    /// Has one peer handle something, then applies what came of it.
    fn with_peer(
        &mut self,
        now: Instant,
        id: PeerId,
        actions: &mut Vec<Action>,
        handle: impl FnOnce(&mut Peer, &mut Effects<'_>),
    ) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else { return };
        let first_new = actions.len();
        let mut outputs = Vec::new();
        let mut effects = Effects {
            actions,
            outputs: &mut outputs,
            jitter: &mut self.jitter,
            interner: &mut self.interner,
            timers: &self.config.timers,
            next_connection: &mut self.next_connection,
        };
        handle(peer, &mut effects);
        for action in &actions[first_new..] {
            match action {
                Action::Connect { connection, .. } => drop(self.connections.insert(*connection, id)),
                Action::Close { connection, .. } => drop(self.connections.remove(connection)),
                Action::Transmit { .. } | Action::Fib(_) | Action::SessionChanged(_) => {}
            }
        }
        self.reschedule(id);
        for output in outputs {
            match output {
                Output::Up => self.peer_up(id),
                Output::Down => self.peer_down(id),
                Output::Lost { again } => self.peer_lost(id, again),
                Output::EndStale => self.drop_stale(id),
                Output::Update(update) => self.peer_update(now, id, update),
                Output::Refresh(kind) => self.peer_refresh(id, kind),
            }
        }
        self.peers[id.0 as usize].request_transmit(actions);
    }

    fn reschedule(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id.0 as usize) else { return };
        let next = peer.poll_timeout();
        if next != peer.scheduled {
            if let Some(before) = std::mem::replace(&mut peer.scheduled, next) {
                self.deadlines.remove(&(before, id));
            }
            if let Some(next) = next {
                self.deadlines.insert((next, id));
            }
        }
    }

    /// Makes the decision for every prefix touched, and tells the kernel and the peers.
    fn flush(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let was_recovering = self.is_recovering();
        if self.defers_selection(now) {
            return;
        }
        let mut fib: Vec<FibChange> = Vec::new();
        let mut told: BTreeSet<PeerId> = BTreeSet::new();
        let marked = self.rib.take_marked();
        if !marked.is_empty() {
            self.rounds.clear();
        }
        for Marked { id, .. } in &marked {
            self.select(*id);
            self.install(*id, &mut fib);
        }
        self.tell_peers(&marked, &mut told);
        self.rerouted.clear();
        self.forget_next_hops();
        for Marked { id, .. } in &marked {
            self.rib.free_if_unused(*id);
        }
        if !fib.is_empty() && !self.ended {
            actions.push(Action::Fib(fib));
        }
        if was_recovering {
            self.tell_whole_table();
            told.extend(self.up.iter().flatten());
        }
        for id in told {
            self.peers[id.0 as usize].request_transmit(actions);
        }
    }
}
