//! What goes into a speaker and what comes out: the whole contract with its driver.
//!
//! The driver calls `Speaker::handle_event` for each thing that happens and `handle_timeout` when `poll_timeout` is due,
//! carries out the returned [`Action`]s in order, and reports every outcome as another event. Bytes are pulled, not
//! pushed: on [`Action::Transmit`] and on [`Event::Writable`] the driver calls `poll_transmit` until it yields nothing
//! or the socket is full, so that what a slow peer does not read is not even encoded.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use ipnet::IpNet;

use crate::net::{IfName, Route};

/// One TCP connection of one speaker, for as long as the speaker lives: never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Index into `SpeakerConfig::peers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// ManualStart for every enabled peer (RFC 4271 §8.1.2 event 1).
    ///
    /// The first event of all, but for an [`Event::Kernel`] that may come before it where `recovering` is false.
    Start {
        /// The speaker before this one ended without a word, and the kernel has kept its routes: the next [`Event::Kernel`] shows
        /// them. They stay until the peers have said what they know (RFC 4724 §4.1).
        recovering: bool,
    },
    /// A peer is disabled: ManualStop, event 2.
    Disable(PeerId),
    /// A disabled peer is enabled again: ManualStart.
    Enable(PeerId),
    /// Stop and start at once, without waiting.
    Restart(PeerId),
    /// The daemon ends: every session closes with Cease / Administrative Shutdown. The last event of all.
    Shutdown,
    /// A listener took a connection; `connection` comes from `Speaker::next_connection`. Event 17.
    Accepted {
        /// The connection.
        connection: ConnectionId,
        /// The peer's end.
        remote: SocketAddr,
        /// Our end.
        local: IpAddr,
    },
    /// An [`Action::Connect`] succeeded. Event 16.
    Connected {
        /// The connection.
        connection: ConnectionId,
        /// Our end.
        local: IpAddr,
    },
    /// An [`Action::Connect`] failed. Event 18.
    ConnectFailed {
        /// The connection.
        connection: ConnectionId,
        /// The system's words: `Connection refused`.
        error: String,
    },
    /// Bytes arrived, cut anywhere.
    Received {
        /// The connection.
        connection: ConnectionId,
        /// The bytes; the speaker keeps what is not yet a whole message.
        bytes: &'a [u8],
    },
    /// The socket takes bytes again after `poll_transmit` filled it.
    Writable {
        /// The connection.
        connection: ConnectionId,
    },
    /// The connection ended, by the peer or by an error. Event 18.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// `None` for an orderly end of stream.
        error: Option<String>,
    },
    /// The namespace's interfaces and routes, whole, at start and after each change.
    Kernel(KernelSnapshot),
    /// The kernel refused a [`FibChange::Replace`].
    FibFailed {
        /// Its destination.
        dst: IpNet,
    },
}

/// What the speaker sees of its namespace: for next-hop resolution, and as the routes of BIRD's `direct1` and `kernel1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelSnapshot {
    /// Interfaces that are up, with their addresses.
    pub interfaces: Vec<(IfName, Vec<IpNet>)>,
    /// Every route of table main, those of the kernel (`proto kernel`) and our own (`proto bird`) included.
    pub routes: Vec<Route>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a TCP connection; answer with [`Event::Connected`] or [`Event::ConnectFailed`].
    Connect {
        /// The connection's name from now on.
        connection: ConnectionId,
        /// For whom.
        peer: PeerId,
        /// Source address, if set.
        local: Option<IpAddr>,
        /// Where to.
        remote: SocketAddr,
    },
    /// There is something to send: call `poll_transmit`.
    Transmit {
        /// The connection.
        connection: ConnectionId,
    },
    /// Send `last` (a NOTIFICATION, or nothing) if the socket takes it at once, then close. No event follows.
    Close {
        /// The connection, or a connect still under way.
        connection: ConnectionId,
        /// The last bytes.
        last: Bytes,
    },
    /// Bring the kernel's `proto bird` routes up to date.
    Fib(Vec<FibChange>),
    /// A session changed state or received End-of-RIB: whoever waits for convergence looks again.
    SessionChanged(PeerId),
}

/// One change of the kernel's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibChange {
    /// Add the route, or replace our route of the same destination, whatever its metric.
    Replace(Route),
    /// Remove our route to this destination.
    Remove(Route),
}
