//! TCP sockets inside a namespace: listening and connecting.
//!
//! The socket is made, and the connection begun, on the namespace thread; the runtime takes over from there. All sockets have
//! TCP_NODELAY: what is written here are whole messages.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::netns::Netns;

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
