//! Notices that links, addresses or routes of a namespace changed, so that the speaker can look again.
//!
//! One socket per namespace and no thread; notifications are counted, not believed: whoever hears of a change takes a
//! [`snapshot`](super::snapshot). The read buffer is on the stack of the moment, because there may be 500 of these.

use std::io;
use std::os::fd::AsRawFd;

use rtnetlink::sys::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::netlink::GROUP_LINK;
use super::netlink::socket::RouteSocket;
use super::netns::Netns;

/// RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE, and the same of IPv6.
const GROUPS: [u32; 5] = [GROUP_LINK, 5, 7, 9, 11];

/// What changed since the last time; several changes at once are one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// A link came, went, or changed its state.
    pub links: bool,
    /// An address came or went.
    pub addresses: bool,
    /// A route came or went, of any table.
    pub routes: bool,
}

impl Changed {
    /// Notifications were lost: anything may have changed.
    const ALL: Self = Self { links: true, addresses: true, routes: true };

    fn any(self) -> bool {
        self != Self::default()
    }
}

/// The notifications of one namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<Notifier>,
    /// Whose changes are not worth telling.
    ignored: Option<u32>,
}

/// [`Socket`] has no `Debug`.
struct Notifier(Socket);

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Notifier({})", self.0.as_raw_fd())
    }
}

impl AsRawFd for Notifier {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Monitor {
    /// Begins to listen in `netns`; what changes from now on is noticed. `ignored` is the port of a
    /// [`RouteWriter`](super::RouteWriter) whose own changes are not to be told.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there are no descriptors left.
    ///
    /// # Panics
    /// Outside a tokio runtime, as [`AsyncFd`] does.
    pub fn open(netns: &Netns, ignored: Option<u32>) -> io::Result<Self> {
        let socket = RouteSocket::open(netns)?.into_socket();
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        socket.set_non_blocking(true)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe because a descriptor might be closed under it; ours is owned"
        )]
        let socket = AsyncFd::with_interest(Notifier(socket), Interest::READABLE)?;
        Ok(Self { socket, ignored })
    }

    /// Waits until something changed. Cancelling it loses nothing: what it read, it has returned.
    ///
    /// # Errors
    /// The socket failed.
    pub async fn changed(&mut self) -> io::Result<Changed> {
        loop {
            let mut ready = self.socket.readable().await?;
            let changed = drain(&ready.get_inner().0, self.ignored)?;
            ready.clear_ready();
            if changed.any() {
                return Ok(changed);
            }
        }
    }

    /// What changed since the last look, without waiting: nothing, perhaps.
    ///
    /// # Errors
    /// The socket failed.
    pub fn take(&mut self) -> io::Result<Changed> {
        drain(&self.socket.get_ref().0, self.ignored)
    }
}

/// Reads everything there is.
fn drain(socket: &Socket, ignored: Option<u32>) -> io::Result<Changed> {
    // A notification is one datagram; only its header is looked at, so cutting it off does no harm.
    let mut buffer = [0; 256];
    let mut changed = Changed::default();
    loop {
        match socket.recv(&mut &mut buffer[..], libc::MSG_DONTWAIT) {
            Ok(length) => changed.note(&buffer[..length.min(buffer.len())], ignored),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = Changed::ALL,
            Err(error) => return Err(error),
        }
    }
}

impl Changed {
    /// Reads the message type and the port number of `struct nlmsghdr`.
    fn note(&mut self, message: &[u8], ignored: Option<u32>) {
        let Some(header) = message.first_chunk::<16>() else { return };
        let port = u32::from_ne_bytes([header[12], header[13], header[14], header[15]]);
        if ignored == Some(port) && port != 0 {
            return;
        }
        match u16::from_ne_bytes([header[4], header[5]]) {
            // RTM_NEWLINK, RTM_DELLINK
            16 | 17 => self.links = true,
            // RTM_NEWADDR, RTM_DELADDR
            20 | 21 => self.addresses = true,
            // RTM_NEWROUTE, RTM_DELROUTE
            24 | 25 => self.routes = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, port: u32) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[12..16].copy_from_slice(&port.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_change_of_the_ignored_port_is_not_told_and_one_of_the_kernel_is() {
        let mut changed = Changed::default();
        changed.note(&message(24, 77), Some(77));
        assert!(!changed.any());
        changed.note(&message(24, 0), Some(77));
        changed.note(&message(17, 78), Some(77));
        assert_eq!(changed, Changed { links: true, addresses: false, routes: true });
    }

    #[test]
    fn a_message_that_is_cut_short_changes_nothing() {
        let mut changed = Changed::default();
        changed.note(&message(16, 0)[..15], None);
        assert!(!changed.any());
    }
}
