//! One speaker's driver: owns its tasks, and is the only door to it.

#![expect(clippy::disallowed_methods, reason = "I/O edge: the speaker's clock starts here")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustc_hash::FxHashMap;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::bgp::view::{PathView, SpeakerView};
use crate::bgp::wire::Family;
use crate::bgp::{Action, ConnectionId, Event, KernelSnapshot, PeerConfig, PeerId, Speaker, SpeakerConfig};
use crate::fabric::monitor::Monitor;
use crate::fabric::netns::Netns;
use crate::fabric::routes::RouteWriter;
use crate::fabric::socket::Security;
use crate::fabric::{snapshot, socket};
use crate::net::{Order, Password};

use super::connection::Connection;
use super::fib::{self, Fib};

/// When to accept again after a failure: without descriptors every attempt fails at once, and each is logged.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A running speaker. Dropping it ends its tasks and closes its sockets; the kernel's routes stay (BIRD's `persist`).
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    /// Held for its `Drop`, which aborts them.
    tasks: JoinSet<()>,
    /// What the tasks will own.
    unstarted: Option<Unstarted>,
}

/// What waits for [`Driver::start`]. Connections that come before wait in the listener's backlog.
#[derive(Debug)]
struct Unstarted {
    listener: TcpListener,
    writer: RouteWriter,
    monitor: Monitor,
    first: KernelSnapshot,
}

/// Why a speaker did not start.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The BGP port cannot be listened on.
    #[error("listen on port {port} in netns {netns}")]
    Listen {
        /// The port.
        port: u16,
        /// The namespace.
        netns: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The namespace's routes cannot be read, watched or written.
    #[error("follow the routes of netns {netns}")]
    Routes {
        /// The namespace.
        netns: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
}

/// What every task of one speaker shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) netns: Netns,
    core: Mutex<Core>,
    /// What secures sessions, of those peers that have it.
    pub(super) securities: FxHashMap<IpAddr, Security>,
    /// Wakes the timer task when an earlier deadline turned up.
    timer: Notify,
    pub(super) fib: Fib,
    /// Told of everything that convergence can depend on.
    pub(super) changed: watch::Sender<u64>,
}

/// The speaker and its connections, behind one lock.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) speaker: Speaker,
    pub(super) connections: FxHashMap<ConnectionId, Connection>,
    /// What the timer task sleeps until.
    deadline: Option<Instant>,
    /// The driver was dropped: a task that still runs must open no connection any more.
    pub(super) closed: bool,
}

impl Drop for Driver {
    fn drop(&mut self) {
        // A poisoned lock means that a task panicked: its speaker is gone, and a panic here would end the process.
        let Ok(mut core) = self.shared.core.lock() else { return };
        core.closed = true;
        // A connection's task holds what is shared, which holds the connection: without this they would keep each other alive.
        core.connections.drain().for_each(|(_, connection)| connection.abandon());
    }
}

impl Driver {
    /// Makes a speaker inside `netns`: it listens, and has the namespace's interfaces and routes, but neither takes nor opens
    /// a connection before [`Driver::start`].
    ///
    /// `changed` is stepped at every change of a session, of the kernel's routes, or of what was written to them.
    ///
    /// # Errors
    /// The port is taken, or the namespace cannot be read.
    pub fn open(netns: &Netns, config: SpeakerConfig, changed: watch::Sender<u64>) -> Result<Self, DriverError> {
        let port = config.listen_port;
        let any = match config.family {
            Family::Ipv4Unicast => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::Ipv6Unicast => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let address = SocketAddr::new(config.listen_address.unwrap_or(any), port);
        let securities: Vec<(IpAddr, Security)> = config
            .peers
            .iter()
            .map(|peer| (peer.remote, security(peer)))
            .filter(|(_, s)| *s != Security::default())
            .collect();
        let listening = socket::tcp_listen(netns, address).and_then(|listener| {
            socket::secure_listener(&listener, &securities)?;
            Ok(listener)
        });
        let listener =
            listening.map_err(|source| DriverError::Listen { port, netns: netns.name().to_string(), source })?;
        let routes = |source| DriverError::Routes { netns: netns.name().to_string(), source };
        let writer = RouteWriter::open(netns).map_err(routes)?;
        let monitor = Monitor::open(netns, Some(writer.port())).map_err(routes)?;
        let first = snapshot(netns, config.family).map_err(routes)?;
        let seed = u64::from(u32::from(config.router_id.0));
        let shared = Arc::new(Shared {
            netns: netns.clone(),
            core: Mutex::new(Core {
                speaker: Speaker::new(config, seed),
                connections: FxHashMap::default(),
                deadline: None,
                closed: false,
            }),
            securities: securities.into_iter().collect(),
            timer: Notify::new(),
            fib: Fib::default(),
            changed,
        });
        Ok(Self { shared, tasks: JoinSet::new(), unstarted: Some(Unstarted { listener, writer, monitor, first }) })
    }

    /// Begins to take connections and to dial. In a mesh all speakers listen before the first one starts: then nobody is
    /// refused, and has to try again.
    pub fn start(&mut self) {
        self.run(false);
    }

    /// The same after a driver that ended without a word: its routes stay in the kernel until the peers have said what they know
    /// (RFC 4724 §4.1).
    pub fn recover(&mut self) {
        self.run(true);
    }

    fn run(&mut self, recovering: bool) {
        let Some(Unstarted { listener, writer, monitor, first }) = self.unstarted.take() else { return };
        let Self { shared, tasks, .. } = self;
        tasks.spawn(fib::write(Arc::clone(shared), writer));
        if recovering {
            shared.handle(Event::Start { recovering });
            shared.handle(Event::Kernel(first));
        } else {
            // With the ways at hand, the first routes are right at once.
            shared.handle(Event::Kernel(first));
            shared.handle(Event::Start { recovering });
        }
        tasks.spawn(Arc::clone(shared).accept(listener));
        tasks.spawn(Arc::clone(shared).keep_time());
        tasks.spawn(Arc::clone(shared).follow(monitor));
    }

    /// The speaker's sessions as they are now.
    pub fn view(&self) -> SpeakerView {
        self.shared.lock().speaker.view(Instant::now())
    }

    /// Every path of the speaker's table, by prefix, the best first; those that the kernel refused are marked.
    pub fn paths(&self) -> Vec<PathView> {
        self.shared.lock().speaker.paths(Instant::now(), None)
    }

    /// Every route that `peer` has been told, by prefix.
    pub fn exported_to(&self, peer: PeerId) -> Vec<PathView> {
        self.shared.lock().speaker.exported_to(Instant::now(), peer)
    }

    /// Asks the speaker something cheap, such as whether a session is up.
    pub fn ask<T>(&self, question: impl FnOnce(&Speaker) -> T) -> T {
        question(&self.shared.lock().speaker)
    }

    /// Whether every route handed to the kernel was acknowledged.
    pub fn fib_settled(&self) -> bool {
        self.shared.fib.settled()
    }

    /// Routes that the kernel refused, with its reason.
    pub fn fib_failures(&self) -> Vec<(IpNet, String)> {
        self.shared.fib.failed().into_iter().collect()
    }

    /// Disables, enables or restarts a session.
    pub fn administer(&self, peer: PeerId, order: Order) {
        self.shared.handle(match order {
            Order::Disable => Event::Disable(peer),
            Order::Enable => Event::Enable(peer),
            Order::Restart => Event::Restart(peer),
        });
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().expect("no task panics while it holds the speaker")
    }

    /// Tells whoever waits for convergence to look again.
    pub(super) fn note_change(&self) {
        self.changed.send_modify(|step| *step += 1);
    }

    /// Hands `event` to the speaker and carries out what it answers.
    pub(super) fn handle(self: &Arc<Self>, event: Event<'_>) {
        let mut core = self.lock();
        let actions = core.speaker.handle_event(Instant::now(), event);
        self.perform(&mut core, actions);
    }

    /// Carries out `actions`, and those of the events that come of it.
    pub(super) fn perform(self: &Arc<Self>, core: &mut Core, actions: Vec<Action>) {
        let mut connects = Vec::new();
        let mut queue = std::collections::VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            match action {
                Action::Connect { connection, local, remote, .. } => connects.push((connection, local, remote)),
                Action::Transmit { connection } => {
                    if let Err(error) = self.transmit(core, connection) {
                        core.connections.remove(&connection);
                        let error = Some(super::connection::words(&error));
                        let more = core.speaker.handle_event(Instant::now(), Event::Closed { connection, error });
                        queue.extend(more);
                    }
                }
                Action::Close { connection, last } => {
                    if let Some(open) = core.connections.remove(&connection) {
                        open.close(&last);
                    }
                }
                Action::Fib(changes) => self.fib.queue(changes),
                Action::SessionChanged(_) => self.note_change(),
            }
        }
        if !connects.is_empty() {
            self.connect(core, connects);
        }
        let next = core.speaker.poll_timeout();
        if next.is_some_and(|next| core.deadline.is_none_or(|deadline| next < deadline)) {
            self.timer.notify_one();
        }
    }

    /// Runs the speaker's timers: one sleep, until the earliest of them.
    async fn keep_time(self: Arc<Self>) {
        loop {
            let deadline = {
                let mut core = self.lock();
                core.deadline = core.speaker.poll_timeout();
                core.deadline
            };
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    let mut core = self.lock();
                    let actions = core.speaker.handle_timeout(Instant::now());
                    self.perform(&mut core, actions);
                }
                () = self.timer.notified() => {}
            }
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            // Out of descriptors or a connection that died in the queue: the next one may succeed.
            match listener.accept().await {
                Ok((stream, remote)) => self.accepted(stream, remote),
                Err(error) => {
                    tracing::warn!(netns = %self.netns.name(), %error, "accept");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }

    /// Shows the speaker the namespace's links and routes again whenever somebody else changed them.
    async fn follow(self: Arc<Self>, mut monitor: Monitor) {
        let family = self.lock().speaker.config().family;
        loop {
            if let Err(error) = monitor.changed().await {
                tracing::error!(netns = %self.netns.name(), %error, "watch the kernel's routes");
                return;
            }
            match snapshot(&self.netns, family) {
                Ok(now) => self.handle(Event::Kernel(now)),
                Err(error) => tracing::warn!(netns = %self.netns.name(), %error, "read the kernel's routes"),
            }
            self.note_change();
        }
    }

    fn accepted(self: &Arc<Self>, stream: tokio::net::TcpStream, remote: SocketAddr) {
        let local = stream.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        if let Some(security) = self.securities.get(&remote.ip())
            && let Err(error) = security.apply_accepted(&stream)
        {
            tracing::warn!(netns = %self.netns.name(), %remote, %error, "secure a connection");
            return;
        }
        let mut core = self.lock();
        let connection = core.speaker.next_connection();
        self.open(&mut core, connection, stream);
        let actions = core.speaker.handle_event(Instant::now(), Event::Accepted { connection, remote, local });
        self.perform(&mut core, actions);
    }
}

fn security(peer: &PeerConfig) -> Security {
    let md5_key = match &peer.password {
        Some(Password::Text(key)) => Some(key.clone()),
        // Whoever made the configuration has read the file.
        Some(Password::File(_)) | None => None,
    };
    Security { md5_key, ttl_security: peer.ttl_security }
}

/// The edge's clock.
pub(super) fn now() -> Instant {
    Instant::now()
}
