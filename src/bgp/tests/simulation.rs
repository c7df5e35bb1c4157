//! A driver without sockets: speakers joined by byte queues, on a virtual clock, with delays, split and merged reads, cut cables and
//! restarts. The same seed gives the same run.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

use super::{kernel, origin};
use crate::bgp::config::SpeakerConfig;
use crate::bgp::event::{Action, ConnectionId, Event, FibChange, PeerId};
use crate::bgp::speaker::Speaker;
use crate::bgp::view::{SessionView, State};
use crate::net::Route;

/// One end of a connection.
type End = (usize, ConnectionId);

/// Something on its way.
#[derive(Debug)]
enum Flight {
    Syn { from: End, to: usize },
    Refused { to: End },
    Data { to: End, bytes: Bytes },
    Fin { to: End, error: Option<String> },
    Kernel { node: usize },
}

struct Node {
    speaker: Speaker,
    address: Ipv4Addr,
    kernel_routes: Vec<String>,
    fib: BTreeMap<IpNet, Route>,
    /// Connections as the driver has them, with the other end once it is known.
    open: HashMap<ConnectionId, Option<End>>,
}

/// Speakers and what is between them.
pub(super) struct Simulation {
    now: Instant,
    origin: Instant,
    nodes: Vec<Node>,
    by_address: HashMap<IpAddr, usize>,
    flights: BTreeMap<(Instant, u64), Flight>,
    sequence: u64,
    /// When the last byte sent to an end arrives: bytes keep their order.
    arrivals: HashMap<End, Instant>,
    random: u64,
    cut: HashSet<(usize, usize)>,
    /// Ends that nothing reaches any more.
    silent: HashSet<End>,
    /// The longest that anything is on its way.
    delay: Duration,
    /// Routes that left a node's kernel.
    pub(super) removed: Vec<(usize, IpNet)>,
    /// How many events there were.
    pub(super) events: u64,
}

impl Simulation {
    /// Starts every speaker. `kernel_routes` are those of each node's namespace besides the connected one.
    pub(super) fn start(configs: Vec<(SpeakerConfig, Vec<String>)>, seed: u64, delay: Duration) -> Self {
        let origin = origin();
        let mut simulation = Self {
            now: origin,
            origin,
            nodes: Vec::new(),
            by_address: HashMap::new(),
            flights: BTreeMap::new(),
            sequence: 0,
            arrivals: HashMap::new(),
            random: seed,
            cut: HashSet::new(),
            silent: HashSet::new(),
            delay,
            removed: Vec::new(),
            events: 0,
        };
        for (index, (config, kernel_routes)) in configs.into_iter().enumerate() {
            let address = config.router_id.0;
            simulation.by_address.insert(IpAddr::V4(address), index);
            simulation.nodes.push(Node {
                speaker: Speaker::new(config, seed ^ index as u64),
                address,
                kernel_routes,
                fib: BTreeMap::new(),
                open: HashMap::new(),
            });
        }
        for index in 0..simulation.nodes.len() {
            simulation.boot(index, false);
        }
        simulation
    }

    fn boot(&mut self, index: usize, recovering: bool) {
        self.event(index, Event::Start { recovering });
        self.report_kernel(index);
    }

    /// Virtual time since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.origin
    }

    pub(super) fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below.max(1)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Lets something happen to one speaker.
    pub(super) fn event(&mut self, node: usize, event: Event<'_>) {
        self.events += 1;
        let actions = self.nodes[node].speaker.handle_event(self.now, event);
        self.carry_out(node, actions);
    }

    /// Runs until `done`, at most for `limit` of virtual time; whether it was done.
    pub(super) fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let deadline = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            let timeouts = self.nodes.iter().filter_map(|node| node.speaker.poll_timeout());
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timeouts.chain(flight).min().filter(|next| *next <= deadline) else {
                self.now = deadline;
                return done(self);
            };
            self.now = self.now.max(next);
            self.step();
        }
    }

    /// Runs for `time`.
    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Whatever is due now.
    fn step(&mut self) {
        while let Some(entry) = self.flights.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let flight = entry.remove();
            self.arrive(flight);
        }
        for index in 0..self.nodes.len() {
            if self.nodes[index].speaker.poll_timeout().is_some_and(|at| at <= self.now) {
                let actions = self.nodes[index].speaker.handle_timeout(self.now);
                self.carry_out(index, actions);
            }
        }
    }

    fn arrive(&mut self, flight: Flight) {
        match flight {
            Flight::Kernel { node } => self.report_kernel(node),
            Flight::Refused { to: (node, connection) } => {
                if self.nodes[node].open.remove(&connection).is_some() {
                    self.event(node, Event::ConnectFailed { connection, error: "Connection refused".into() });
                }
            }
            Flight::Syn { from, to } => {
                if !self.nodes[from.0].open.contains_key(&from.1) {
                    return;
                }
                let connection = self.nodes[to].speaker.next_connection();
                let (ours, theirs) = (IpAddr::V4(self.nodes[from.0].address), IpAddr::V4(self.nodes[to].address));
                self.nodes[to].open.insert(connection, Some(from));
                self.nodes[from.0].open.insert(from.1, Some((to, connection)));
                self.event(from.0, Event::Connected { connection: from.1, local: ours });
                let remote = SocketAddr::new(ours, 40_000);
                self.event(to, Event::Accepted { connection, remote, local: theirs });
            }
            Flight::Data { to: (node, connection), bytes } => {
                if !self.nodes[node].open.contains_key(&connection) {
                    return;
                }
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let cut = 1 + self.random(rest.len() as u64 * 2) as usize;
                    let (piece, after) = rest.split_at(cut.min(rest.len()));
                    self.event(node, Event::Received { connection, bytes: piece });
                    rest = after;
                }
            }
            Flight::Fin { to: (node, connection), error } => {
                if self.nodes[node].open.remove(&connection).is_some() {
                    self.event(node, Event::Closed { connection, error });
                }
            }
        }
    }

    fn carry_out(&mut self, node: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect { connection, remote, .. } => {
                    let to = self.by_address.get(&remote.ip()).copied();
                    self.nodes[node].open.insert(connection, None);
                    match to.filter(|to| !self.is_cut(node, *to)) {
                        Some(to) => self.fly(None, Flight::Syn { from: (node, connection), to }),
                        None => self.fly(None, Flight::Refused { to: (node, connection) }),
                    }
                }
                Action::Transmit { connection } => self.transmit(node, connection),
                Action::Close { connection, last } => {
                    if let Some(Some(other)) = self.nodes[node].open.remove(&connection) {
                        self.send(other, last);
                        self.end(other, None);
                    }
                }
                Action::Fib(changes) => {
                    for change in changes {
                        match change {
                            FibChange::Replace(route) => drop(self.nodes[node].fib.insert(route.dst, route)),
                            FibChange::Remove(route) => {
                                self.removed.push((node, route.dst));
                                assert_eq!(
                                    self.nodes[node].fib.remove(&route.dst),
                                    Some(route),
                                    "removed what is there"
                                );
                            }
                        }
                    }
                    self.fly(None, Flight::Kernel { node });
                }
                Action::SessionChanged(_) => {}
            }
        }
    }

    fn transmit(&mut self, node: usize, connection: ConnectionId) {
        loop {
            let limit = 1 + self.random(5000) as usize;
            let mut out = BytesMut::new();
            let more = self.nodes[node].speaker.poll_transmit(self.now, connection, &mut out, limit);
            if let Some(&Some(other)) = self.nodes[node].open.get(&connection) {
                self.send(other, out.freeze());
            }
            if !more {
                break;
            }
        }
    }

    fn send(&mut self, to: End, bytes: Bytes) {
        if !bytes.is_empty() && !self.silent.contains(&to) {
            self.fly(Some(to), Flight::Data { to, bytes });
        }
    }

    fn end(&mut self, to: End, error: Option<String>) {
        if !self.silent.contains(&to) {
            self.fly(Some(to), Flight::Fin { to, error });
        }
    }

    fn fly(&mut self, to: Option<End>, flight: Flight) {
        let micros = self.random(self.delay.as_micros() as u64 + 1);
        let mut at = self.now + Duration::from_micros(micros);
        if let Some(to) = to {
            let last = self.arrivals.entry(to).or_insert(at);
            at = at.max(*last);
            *last = at;
        }
        self.sequence += 1;
        self.flights.insert((at, self.sequence), flight);
    }

    fn report_kernel(&mut self, node: usize) {
        let this = &self.nodes[node];
        let routes: Vec<&str> = this.kernel_routes.iter().map(String::as_str).collect();
        let mut snapshot = kernel(this.address, &routes);
        snapshot.routes.extend(this.fib.values().cloned());
        self.event(node, Event::Kernel(snapshot));
    }

    fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cut.contains(&(a.min(b), a.max(b)))
    }

    /// Nothing passes between two nodes any more, and nobody is told. What is open between them stays silent for good: a stream with a
    /// hole in it would be none.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        self.cut.insert((a.min(b), a.max(b)));
        for (node, other) in [(a, b), (b, a)] {
            let ends = self.nodes[node].open.iter().filter(|(_, end)| end.is_some_and(|end| end.0 == other));
            self.silent.extend(ends.map(|(connection, _)| (node, *connection)));
        }
        let (silent, cut) = (&self.silent, &self.cut);
        self.flights.retain(|_, flight| match flight {
            Flight::Data { to, .. } | Flight::Fin { to, .. } => !silent.contains(to),
            Flight::Syn { from, to } => !cut.contains(&(from.0.min(*to), from.0.max(*to))),
            Flight::Refused { .. } | Flight::Kernel { .. } => true,
        });
    }

    /// Everything passes between everyone again.
    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// Resets every connection between two nodes; both see it at once.
    pub(super) fn reset(&mut self, a: usize, b: usize) {
        for (node, other) in [(a, b), (b, a)] {
            let mut ends: Vec<ConnectionId> = self.nodes[node]
                .open
                .iter()
                .filter(|(_, end)| end.is_some_and(|end| end.0 == other))
                .map(|(connection, _)| *connection)
                .collect();
            ends.sort_unstable();
            for connection in ends {
                self.nodes[node].open.remove(&connection);
                self.event(node, Event::Closed { connection, error: Some("Connection reset by peer".into()) });
            }
        }
    }

    /// The node's process dies without a word and another one starts, with an empty kernel.
    pub(super) fn reboot(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].fib.clear();
        self.boot(node, false);
    }

    /// After [`Simulation::kill`] another process starts and takes over what the kernel has kept.
    pub(super) fn recover(&mut self, node: usize) {
        self.boot(node, true);
    }

    /// The node's process dies without a word: its connections end.
    pub(super) fn kill(&mut self, node: usize) {
        let mut open: Vec<(ConnectionId, Option<End>)> = self.nodes[node].open.drain().collect();
        open.sort_unstable();
        for (_, other) in open {
            if let Some(other) = other {
                self.end(other, None);
            }
        }
        // Not started, it refuses and never dials: as good as none. What is still on its way to the old one must not reach a connection
        // of the new one that happens to have the same number.
        let seed = self.random(u64::MAX);
        let old = &mut self.nodes[node].speaker;
        let mut new = Speaker::new(old.config().clone(), seed);
        let used = old.next_connection();
        while new.next_connection() < used {}
        *old = new;
    }

    /// Puts bytes of nobody's making on a connection to `node` from `other`.
    pub(super) fn inject(&mut self, node: usize, other: usize, bytes: &[u8]) {
        let connection = self.nodes[node]
            .open
            .iter()
            .filter(|(_, end)| end.is_some_and(|end| end.0 == other))
            .map(|(connection, _)| *connection)
            .min();
        if let Some(connection) = connection {
            self.event(node, Event::Received { connection, bytes });
        }
    }

    /// Every enabled session is Established and done.
    pub(super) fn is_converged(&self) -> bool {
        self.nodes.iter().all(|node| node.speaker.progress().all(|peer| peer.disabled || peer.is_converged()))
    }

    /// The kernel's `proto bird` routes of a node, as `ip route` prints them.
    pub(super) fn fib(&self, node: usize) -> Vec<String> {
        self.nodes[node].fib.values().map(Route::to_string).collect()
    }

    pub(super) fn session(&self, node: usize, peer: usize) -> SessionView {
        self.nodes[node].speaker.view(self.now).sessions.swap_remove(peer)
    }

    pub(super) fn speaker(&self, node: usize) -> &Speaker {
        &self.nodes[node].speaker
    }

    pub(super) fn states(&self, node: usize) -> Vec<State> {
        self.nodes[node].speaker.progress().map(|peer| peer.state).collect()
    }

    /// Which of `node`'s peers `other` is.
    pub(super) fn peer_of(&self, node: usize, other: usize) -> PeerId {
        let address = IpAddr::V4(self.nodes[other].address);
        let peers = &self.nodes[node].speaker.config().peers;
        PeerId(peers.iter().position(|peer| peer.remote == address).unwrap() as u32)
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// TCP connections that are open at both ends.
    pub(super) fn connections(&self) -> usize {
        self.nodes.iter().map(|node| node.open.len()).sum::<usize>() / 2
    }
}
