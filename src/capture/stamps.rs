//! The kernel's time stamps of packets.
//!
//! It stamps packets as they pass only while somebody in the whole host wants that, and begins a moment after the first one
//! says so (`net_enable_timestamp` defers it to a work queue). A packet that passes in between gets the time at which it is
//! *read*, and would seem to have passed after all others: of use to nobody who asks in which order interfaces saw it.

#![expect(clippy::disallowed_methods, reason = "compares the kernel's clock with the time of sending")]

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use crate::fabric::netns::Netns;

/// Returns when every packet is stamped as it passes, and for the rest of this process it is. `netns` lends its loopback
/// interface for a try, once in a process.
///
/// # Errors
/// The kernel's. That the try cannot be made, without a loopback interface that is up, is none.
pub(super) fn keep_on(netns: &Netns) -> io::Result<()> {
    if ON.get().is_some() {
        return Ok(());
    }
    // In the namespace of this process: a socket in a lab's would keep it from going away. Without a port it hears nothing.
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    netns.run(until_live)??;
    // Of two that came at once either will do.
    let _ = ON.set(socket);
    Ok(())
}

/// A socket that wants time stamps.
static ON: OnceLock<Socket> = OnceLock::new();

/// A kernel that never stamps is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends to itself until a stamp is older than the moment after sending, so that it cannot be that of reading.
fn until_live() -> io::Result<()> {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { return Ok(()) };
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    let itself = socket.local_addr()?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if socket.send_to(&[0], itself).is_err() {
            return Ok(());
        }
        let sent = SystemTime::now();
        if received_at(&socket)?.is_some_and(|stamp| stamp <= sent) {
            return Ok(());
        }
    }
    Ok(())
}

/// The stamp of the next packet; `None` if there is none in time.
fn received_at(socket: &UdpSocket) -> io::Result<Option<SystemTime>> {
    let mut data = [0; 1];
    let mut parts = [IoSliceMut::new(&mut data)];
    let mut control = nix::cmsg_space!(TimeSpec);
    match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()) {
        Ok(message) => Ok(message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(system_time(at)),
            _ => None,
        })),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The kernel's stamp as a time.
pub(super) fn system_time(at: TimeSpec) -> SystemTime {
    let seconds = u64::try_from(at.tv_sec()).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(at.tv_nsec()).unwrap_or(0))
}
