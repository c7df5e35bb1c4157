//! One TCP connection of a speaker, from the connect to the close.
//!
//! A connection costs a socket, a reader task and a map entry; what cannot be sent at once stays in the speaker, which
//! encodes it when the socket takes bytes again.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::bgp::{ConnectionId, Event};
use crate::fabric::socket::{self, Target};

use super::driver::{Core, Shared};

/// How much is asked of the speaker at once: a few full messages.
const TRANSMIT_CHUNK: usize = 64 * 1024;
/// How long the peer of a closed connection may take to read our last words before it is reset.
const LINGER: Duration = Duration::from_secs(1);

/// A connection, or a connect under way.
#[derive(Debug)]
pub(super) struct Connection {
    /// The task that connects and then reads; aborted when the connection goes.
    task: AbortOnDrop,
    /// `None` until it is connected.
    stream: Option<Arc<TcpStream>>,
    /// Encoded and not yet taken by the socket; while it holds bytes a task waits for the socket.
    unsent: BytesMut,
}

impl Connection {
    /// A connection that stands, read by `task`.
    ///
    /// Should the process end, the kernel resets it at once. An orderly end would have the kernel wait for the peer's consent,
    /// and behind a cut cable that keeps the namespace alive for minutes.
    fn new(task: AbortOnDrop, stream: Arc<TcpStream>) -> Self {
        let _ = socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
        Self { task, stream: Some(stream), unsent: BytesMut::new() }
    }

    /// Closes without a word; also for a task that waits for the socket to take bytes.
    pub(super) fn abandon(self) {
        if let Some(stream) = &self.stream {
            // Not connected any more is as good.
            let _ = socket2::SockRef::from(&**stream).shutdown(std::net::Shutdown::Both);
        }
    }

    /// Sends `last` behind what of other messages is under way, and closes.
    ///
    /// Where the socket is full, the peer has [`LINGER`] to read: one that hears no NOTIFICATION takes the end for a restart, and keeps our
    /// routes for as long as we once asked for (RFC 4724 §4.2).
    pub(super) fn close(self, last: &[u8]) {
        let Self { task, stream, mut unsent } = self;
        drop(task);
        let Some(stream) = stream else { return };
        if last.is_empty() {
            // It has said that it wants no more.
            unsent.clear();
        }
        unsent.extend_from_slice(last);
        // What can be said at once is said at once: the runtime may be about to end.
        let said = say(&stream, &mut unsent);
        tokio::spawn(async move {
            let orderly = async {
                let mut said = said;
                while !said? {
                    stream.writable().await?;
                    said = say(&stream, &mut unsent);
                }
                // Until the peer's end: dropping the socket now would reset the connection, and the peer might never see our last message.
                loop {
                    stream.readable().await?;
                    match stream.try_read(&mut [0; 4096]) {
                        Ok(0) => return Ok(()),
                        Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                        _ => {}
                    }
                }
            };
            let _: Result<io::Result<()>, _> = tokio::time::timeout(LINGER, orderly).await;
            // Whatever it was, the socket goes now, also from a task that waits for it to take bytes.
            let _ = socket2::SockRef::from(&*stream).shutdown(std::net::Shutdown::Both);
        });
    }
}

/// Sends what the socket takes of `unsent`, and our end once that is all; whether it was.
fn say(stream: &TcpStream, unsent: &mut BytesMut) -> io::Result<bool> {
    while !unsent.is_empty() {
        match stream.try_write(unsent) {
            Ok(sent) => unsent.advance(sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    socket2::SockRef::from(stream).shutdown(std::net::Shutdown::Write)?;
    Ok(true)
}

#[derive(Debug)]
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Shared {
    /// Starts connects; all of them enter the namespace together, then each waits by itself.
    pub(super) fn connect(
        self: &Arc<Self>,
        core: &mut Core,
        connects: Vec<(ConnectionId, Option<IpAddr>, SocketAddr)>,
    ) {
        if core.closed {
            return;
        }
        let targets = connects.iter().map(|&(_, local, remote)| Target { local, remote }).collect();
        let securities = self.securities.clone();
        let secure = move |socket: &socket2::Socket, target: &Target| match securities.get(&target.remote.ip()) {
            Some(security) => security.apply(socket, target.remote.ip()),
            None => Ok(()),
        };
        let mut started = socket::tcp_connect_start_with(&self.netns, targets, secure).map(Vec::into_iter);
        for (connection, ..) in connects {
            let socket = match &mut started {
                Ok(sockets) => sockets.next().expect("one socket for each target"),
                // The namespace cannot be entered: every connect failed, for this reason.
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            let shared = Arc::clone(self);
            let task = tokio::spawn(async move {
                let connected = match socket {
                    Ok(socket) => socket.established().await,
                    Err(error) => Err(error),
                };
                match connected {
                    Ok(stream) => shared.connected(connection, stream).await,
                    Err(error) => {
                        shared.lock().connections.remove(&connection);
                        shared.handle(Event::ConnectFailed { connection, error: words(&error) });
                    }
                }
            });
            let task = AbortOnDrop(task.abort_handle());
            core.connections.insert(connection, Connection { task, stream: None, unsent: BytesMut::new() });
        }
    }

    async fn connected(self: Arc<Self>, connection: ConnectionId, stream: TcpStream) {
        let stream = Arc::new(stream);
        {
            let mut core = self.lock();
            // Closed by the speaker in the meantime: this task is being aborted.
            let Some(open) = core.connections.remove(&connection) else { return };
            core.connections.insert(connection, Connection::new(open.task, Arc::clone(&stream)));
        }
        let local = stream.local_addr().map_or_else(|_| IpAddr::from([0, 0, 0, 0]), |address| address.ip());
        self.handle(Event::Connected { connection, local });
        self.read(connection, stream).await;
    }

    /// Takes an accepted connection into the table and starts to read it.
    pub(super) fn open(self: &Arc<Self>, core: &mut Core, connection: ConnectionId, stream: TcpStream) {
        if core.closed {
            return;
        }
        let stream = Arc::new(stream);
        let task = tokio::spawn(Arc::clone(self).read(connection, Arc::clone(&stream)));
        let task = AbortOnDrop(task.abort_handle());
        core.connections.insert(connection, Connection::new(task, stream));
    }

    /// Reads until the connection ends. While the kernel is behind with what came before, nothing is read.
    async fn read(self: Arc<Self>, connection: ConnectionId, stream: Arc<TcpStream>) {
        loop {
            self.fib.room().await;
            let error = match stream.readable().await {
                Ok(()) => match self.receive(connection, &stream) {
                    ControlFlow::Continue(()) => continue,
                    ControlFlow::Break(error) => error,
                },
                Err(error) => Some(error),
            };
            self.lock().connections.remove(&connection);
            return self.handle(Event::Closed { connection, error: error.as_ref().map(words) });
        }
    }

    /// Hands what the socket holds to the speaker. The buffer lives on the stack, so that an idle connection holds none.
    fn receive(self: &Arc<Self>, connection: ConnectionId, stream: &TcpStream) -> ControlFlow<Option<io::Error>> {
        let mut buffer = [0; 16 * 1024];
        match stream.try_read(&mut buffer) {
            Ok(0) => ControlFlow::Break(None),
            Ok(length) => {
                self.handle(Event::Received { connection, bytes: &buffer[..length] });
                ControlFlow::Continue(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Some(error)),
        }
    }

    /// Sends what the speaker has for `connection` until it has no more or the socket is full.
    pub(super) fn transmit(self: &Arc<Self>, core: &mut Core, connection: ConnectionId) -> io::Result<()> {
        let Core { speaker, connections, .. } = core;
        let Some(open) = connections.get_mut(&connection) else { return Ok(()) };
        let Some(stream) = &open.stream else { return Ok(()) };
        if !open.unsent.is_empty() {
            return Ok(()); // the task that waits for the socket goes on with it
        }
        loop {
            let more = speaker.poll_transmit(super::driver::now(), connection, &mut open.unsent, TRANSMIT_CHUNK);
            while !open.unsent.is_empty() {
                match stream.try_write(&open.unsent) {
                    Ok(sent) => open.unsent.advance(sent),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        tokio::spawn(Arc::clone(self).resume(connection, Arc::clone(stream)));
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
            if !more {
                // An idle connection keeps no buffer.
                open.unsent = BytesMut::new();
                return Ok(());
            }
        }
    }

    /// Goes on sending once the socket takes bytes again.
    async fn resume(self: Arc<Self>, connection: ConnectionId, stream: Arc<TcpStream>) {
        loop {
            // An error shows at the next write.
            let _ = stream.writable().await;
            let mut core = self.lock();
            let Some(open) = core.connections.get_mut(&connection) else { return };
            match stream.try_write(&open.unsent) {
                Ok(sent) => open.unsent.advance(sent),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                // The reader sees the same error and reports it.
                Err(_) => return,
            }
            if open.unsent.is_empty() {
                drop(core);
                return self.handle(Event::Writable { connection });
            }
        }
    }
}

/// An I/O error in the system's words, without Rust's `(os error 111)`.
pub(super) fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_string(),
        None => error.to_string(),
    }
}
