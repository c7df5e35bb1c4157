//! TCP sockets inside a namespace: listening and connecting.
//!
//! The socket is made, and the connection begun, on the namespace thread; the runtime takes over from there. All sockets have
//! TCP_NODELAY: what is written here are whole messages.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::netns::Netns;
use super::tcp_options;

/// Listens on `address` inside `netns`. Must be called within a tokio runtime.
///
/// # Errors
/// The kernel's: the address is in use, or not an address of the namespace.
pub fn tcp_listen(netns: &Netns, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = netns.run(move || {
        let socket = tcp_socket(address)?;
        // A listener follows its predecessor of the same address at once, over connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&SockAddr::from(address))?;
        socket.listen(BACKLOG)?;
        io::Result::Ok(socket)
    })??;
    TcpListener::from_std(socket.into())
}

/// Connects from `local` (or from where the routes say) to `remote` inside `netns`.
///
/// # Errors
/// The kernel's; `TimedOut` after `timeout`. Without one the kernel gives up after its own time, which is minutes.
pub async fn tcp_connect(
    netns: &Netns,
    local: Option<IpAddr>,
    remote: SocketAddr,
    timeout: Option<Duration>,
) -> io::Result<TcpStream> {
    let connecting = netns.run(move || start(Target { local, remote }, &mut |_, _| Ok(())))??;
    match timeout {
        None => connecting.established().await,
        Some(timeout) => tokio::time::timeout(timeout, connecting.established()).await?,
    }
}

/// What secures the connections with one peer.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Security {
    /// The key of TCP MD5 signatures (RFC 2385).
    pub md5_key: Option<String>,
    /// Hops to the peer at most, 1 on a common link (RFC 5082): packets go out with TTL 255, and come in with 256 less this at least.
    pub ttl_security: Option<u8>,
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").field("ttl_security", &self.ttl_security).finish_non_exhaustive()
    }
}

impl Security {
    /// Prepares `socket`, which connects to or was accepted from `peer`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn apply(&self, socket: &Socket, peer: IpAddr) -> io::Result<()> {
        if let Some(key) = &self.md5_key {
            tcp_options::set_md5_key(socket, peer, key.as_bytes())?;
        }
        self.apply_ttl(socket)
    }

    fn apply_ttl(&self, socket: &impl AsFd) -> io::Result<()> {
        let Some(hops) = self.ttl_security else { return Ok(()) };
        tcp_options::set_ttl(socket, u8::MAX.into())?;
        tcp_options::set_least_ttl(socket, least_ttl(hops))
    }

    /// Prepares a connection that was accepted: its key came from the listener.
    ///
    /// # Errors
    /// The kernel's.
    pub fn apply_accepted(&self, stream: &TcpStream) -> io::Result<()> {
        match self.ttl_security {
            Some(_) => self.apply_ttl(stream),
            // The listener may send 255 for another peer's sake.
            None => tcp_options::set_ttl(stream, TTL),
        }
    }
}

/// The least TTL that a packet can have after `hops`, of which the last one does not forward it.
fn least_ttl(hops: u8) -> u8 {
    u8::MAX - hops.saturating_sub(1)
}

/// TTL without GTSM: sessions may pass routers (calico-behaviour 7.1).
const TTL: u32 = 64;

/// Prepares a listener for its peers: whoever connects is answered in the way that its session wants from the first segment on.
///
/// # Errors
/// The kernel's.
pub fn secure_listener(listener: &TcpListener, peers: &[(IpAddr, Security)]) -> io::Result<()> {
    for (peer, security) in peers {
        if let Some(key) = &security.md5_key {
            tcp_options::set_md5_key(listener, *peer, key.as_bytes())?;
        }
    }
    // Of the handshake's answer nobody knows yet to whom it goes: a peer without GTSM takes any TTL.
    if peers.iter().any(|(_, security)| security.ttl_security.is_some()) {
        tcp_options::set_ttl(listener, u8::MAX.into())?;
    }
    Ok(())
}

/// A connection to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The address to connect from; `None` leaves it to the routes.
    pub local: Option<IpAddr>,
    /// The address and port to connect to.
    pub remote: SocketAddr,
}

/// Begins many connections while entering the namespace once: one result for each of `targets`, in their order.
///
/// # Errors
/// The namespace cannot be entered.
pub fn tcp_connect_start(netns: &Netns, targets: Vec<Target>) -> io::Result<Vec<io::Result<Connecting>>> {
    tcp_connect_start_with(netns, targets, |_, _| Ok(()))
}

/// As [`tcp_connect_start`], with `prepare` called on each socket before it is bound: for options that must hold from the first
/// segment on (TTL, MD5 signatures).
///
/// # Errors
/// The namespace cannot be entered. An error of `prepare` is that connection's result.
pub fn tcp_connect_start_with(
    netns: &Netns,
    targets: Vec<Target>,
    mut prepare: impl FnMut(&Socket, &Target) -> io::Result<()> + Send + 'static,
) -> io::Result<Vec<io::Result<Connecting>>> {
    netns.run(move || targets.into_iter().map(|target| start(target, &mut prepare)).collect())
}

/// A connection that has begun. Dropping it gives it up.
#[derive(Debug)]
pub struct Connecting {
    socket: Socket,
}

impl Connecting {
    /// The socket, for further options.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Waits until the connection stands. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Why it failed: refused, unreachable, timed out.
    pub async fn established(self) -> io::Result<TcpStream> {
        let stream = TcpStream::from_std(self.socket.into())?;
        // connect(2): a socket that connects becomes writable when it is done; SO_ERROR says how that went.
        stream.writable().await?;
        match stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }
}

/// Connections that wait to be accepted: a whole mesh may dial one node at once.
const BACKLOG: i32 = 1024;

fn tcp_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn start(target: Target, prepare: &mut dyn FnMut(&Socket, &Target) -> io::Result<()>) -> io::Result<Connecting> {
    let socket = tcp_socket(target.remote)?;
    prepare(&socket, &target)?;
    if let Some(local) = target.local {
        socket.bind(&SockAddr::from(SocketAddr::new(local, 0)))?;
    }
    match socket.connect(&SockAddr::from(target.remote)) {
        Ok(()) => Ok(Connecting { socket }),
        Err(error) if error.raw_os_error() == Some(nix::libc::EINPROGRESS) => Ok(Connecting { socket }),
        Err(error) => Err(error),
    }
}
