//! Starting a tunnel, its statistics, its end.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tun_rs::AsyncDevice;

use super::counters::{Counters, Statistics};
use super::inbound::Inbound;
use super::next_hops::NextHops;
use super::outbound::Outbound;
use super::path_mtu::PathMtus;
use crate::fabric::{Netns, observe, open_tun};
use crate::net::{IfName, NetnsName};
use crate::packet::ipip;

/// The device's name, as the kernel's module has it (calico-behaviour 5).
pub const TUNL0: &str = "tunl0";

/// What a tunnel must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's address: source of the outer headers.
    pub local: Ipv4Addr,
    /// The addresses of the cluster's nodes: protocol-4 packets from any other are dropped (calico-behaviour 5).
    pub known: HashSet<Ipv4Addr>,
}

/// Why a tunnel no longer carries packets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("carry packets {direction} tunl0 in netns {netns}: {reason}")]
pub struct Failure {
    /// The namespace.
    pub netns: NetnsName,
    /// `from` or `to`.
    pub direction: &'static str,
    /// The kernel's reason, or that it was a bug.
    pub reason: String,
}

/// One node's `tunl0`. Dropping it ends the tasks, and the device goes with them.
#[derive(Debug)]
pub struct Tunl0 {
    netns: Netns,
    device: IfName,
    counters: Arc<Counters>,
    receiver: Arc<UdpSocket>,
    failure: watch::Receiver<Option<Failure>>,
    /// Dropping it ends them.
    _tasks: JoinSet<()>,
}

impl Tunl0 {
    /// Makes the TUN device [`TUNL0`] in `netns`, down and without address, and serves it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// There is a device of that name, the kernel has no TUN, or no permission for raw sockets.
    pub fn start(netns: &Netns, config: Config) -> io::Result<Self> {
        let name = IfName::new(TUNL0).map_err(io::Error::other)?;
        let device = Arc::new(AsyncDevice::new(open_tun(netns, &name)?)?);
        let (sender, receiver) = netns.run(|| io::Result::Ok((raw_sender()?, raw_receiver()?)))??;
        let receiver = Arc::new(UdpSocket::from_std(receiver.into())?);
        let counters = Arc::new(Counters::default());
        let (report, failure) = watch::channel(None);
        let outbound = Outbound {
            device: Arc::clone(&device),
            socket: UdpSocket::from_std(sender.into())?,
            next_hops: NextHops::open(netns, name.clone())?,
            path_mtus: PathMtus::open(netns)?,
            local: config.local,
            counters: Arc::clone(&counters),
            id: 0,
        };
        let inbound =
            Inbound { device, socket: Arc::clone(&receiver), known: config.known, counters: Arc::clone(&counters) };
        let mut tasks = JoinSet::new();
        tasks.spawn(watched(outbound.run(), netns.name().clone(), "from", report.clone()));
        tasks.spawn(watched(inbound.run(), netns.name().clone(), "to", report));
        Ok(Self { netns: netns.clone(), device: name, counters, receiver, failure, _tasks: tasks })
    }

    /// What it carried and dropped until now.
    pub fn statistics(&self) -> Statistics {
        // A device that is gone counts no more.
        let queue_full = observe::dropped(&self.netns, &self.device).unwrap_or(0);
        let overrun = getsockopt(&*self.receiver, option::MemInfo).map_or(0, |info| info[option::DROPS]);
        self.counters.read(queue_full, overrun.into())
    }

    /// Why it no longer carries packets; `None` while it does.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.borrow().clone()
    }
}

/// Runs `work` and reports the first failure of the two directions, a panic too.
async fn watched(
    work: impl Future<Output = io::Error> + Send,
    netns: NetnsName,
    direction: &'static str,
    report: watch::Sender<Option<Failure>>,
) {
    let mut obituary = Obituary { report, netns, direction, reason: None };
    let error = work.await;
    obituary.reason = Some(match error.raw_os_error() {
        Some(libc::EBADFD) => "the device was deleted".to_owned(),
        _ => error.to_string(),
    });
}

/// Reports when dropped, unless the task was told to end.
struct Obituary {
    report: watch::Sender<Option<Failure>>,
    netns: NetnsName,
    direction: &'static str,
    reason: Option<String>,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        let panicked = || std::thread::panicking().then(|| "a bug ended the task".to_owned());
        let Some(reason) = self.reason.take().or_else(panicked) else { return };
        let failure = Failure { netns: self.netns.clone(), direction: self.direction, reason };
        self.report.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                tracing::error!("{failure}");
                *known = Some(failure);
            }
            first
        });
    }
}

/// What waits for the reader: about 3,000 full packets (each is charged for with its buffer). What comes beyond is dropped and counted,
/// so that a flood costs no more than this.
const RECEIVE_BUFFER: usize = 8 << 20;

/// For packets that bring their own header; IPPROTO_RAW receives nothing.
fn raw_sender() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::from(libc::IPPROTO_RAW)))?;
    Ok(socket.into())
}

fn raw_receiver() -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::from(i32::from(ipip::PROTOCOL))))?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    Ok(socket.into())
}

mod option {
    use nix::{getsockopt_impl, libc, sockopt_impl};

    /// SK_MEMINFO_DROPS (linux/sock_diag.h).
    pub(super) const DROPS: usize = 8;

    sockopt_impl!(
        /// SO_MEMINFO: nine counters of a socket.
        MemInfo,
        GetOnly,
        libc::SOL_SOCKET,
        libc::SO_MEMINFO,
        [u32; 9]
    );
}
