//! Ping: ICMP echo requests from a raw socket inside a namespace.
//!
//! The messages and the report are `packet::echo`'s; here are the socket, the clock and the pace.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::fabric::netns::Netns;
use crate::net::NetnsName;
use crate::packet::echo::{self, Answer, IcmpError, LocalError, PingReport, Reply};

/// What to send, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingOptions {
    /// Whom to ask.
    pub target: Ipv4Addr,
    /// The source address; `None` leaves it to the routes.
    pub source: Option<Ipv4Addr>,
    /// How many requests.
    pub count: u32,
    /// Bytes of data in each, without the 28 of the headers.
    pub size: u16,
    /// Whether DF is set.
    pub path_mtu: PathMtuDiscovery,
    /// Time to live of the requests; `None` is the kernel's default, 64.
    pub ttl: Option<u8>,
    /// How long to wait for the reply to each request. A later one counts as lost.
    pub timeout: Duration,
    /// From one request to the next, whatever became of the first. `None`: each follows at once on the answer to the one before
    /// it, or on its timeout.
    pub interval: Option<Duration>,
}

impl PingOptions {
    /// One request of 56 bytes to `target`, with ping's defaults otherwise and a timeout of one second.
    pub fn new(target: Ipv4Addr) -> Self {
        Self {
            target,
            source: None,
            count: 1,
            size: 56,
            path_mtu: PathMtuDiscovery::Want,
            ttl: None,
            timeout: Duration::from_secs(1),
            interval: None,
        }
    }
}

/// IP_MTU_DISCOVER (ip(7)), with the words of `ping -M`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMtuDiscovery {
    /// DF is set; what is longer than the route's MTU is fragmented here. The default of the kernel and of ping.
    #[default]
    Want,
    /// DF is set; what is longer than the route's MTU is refused.
    Do,
    /// DF is not set.
    Dont,
    /// DF is set; what is longer than the interface's MTU is refused. What was learned of the path is not heeded, so that it
    /// can be learned again.
    Probe,
}

/// Why nothing could be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// The source is not an address of the namespace.
    #[error("ping {target} from {address} in netns {netns}")]
    Source {
        /// The namespace.
        netns: NetnsName,
        /// The target.
        target: Ipv4Addr,
        /// The source address asked for.
        address: Ipv4Addr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A call failed.
    #[error("ping {target} in netns {netns}")]
    Io {
        /// The namespace.
        netns: NetnsName,
        /// The target.
        target: Ipv4Addr,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

/// Sends the requests and gathers what becomes of each; a request that the host refuses (no route, a blackhole, too long) is
/// part of the report. Must be called within a tokio runtime.
///
/// # Errors
/// The socket cannot be opened (it takes CAP_NET_RAW) or read, or `source` is not an address of the namespace.
pub async fn ping(netns: &Netns, options: &PingOptions) -> Result<PingReport, PingError> {
    let target = options.target;
    let failed = |source| PingError::Io { netns: netns.name().clone(), target, source };
    let wanted = options.clone();
    let socket = netns.run(move || open_socket(&wanted)).map_err(failed)?.map_err(|failure| match failure {
        OpenError::Bind(address, source) => PingError::Source { netns: netns.name().clone(), target, address, source },
        OpenError::Io(source) => failed(source),
    })?;
    // To tokio any datagram socket is a `UdpSocket`; sending and receiving are the same calls.
    let socket = UdpSocket::from_std(OwnedFd::from(socket).into()).map_err(failed)?;
    run(netns, &socket, options).await.map_err(failed)
}

enum OpenError {
    Bind(Ipv4Addr, io::Error),
    Io(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

/// Runs inside the namespace.
fn open_socket(options: &PingOptions) -> Result<Socket, OpenError> {
    let socket = Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::ICMPV4))?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_LENGTH)?;
    let discovery = match options.path_mtu {
        PathMtuDiscovery::Want => libc::IP_PMTUDISC_WANT,
        PathMtuDiscovery::Do => libc::IP_PMTUDISC_DO,
        PathMtuDiscovery::Dont => libc::IP_PMTUDISC_DONT,
        PathMtuDiscovery::Probe => libc::IP_PMTUDISC_PROBE,
    };
    setsockopt(&socket, option::IpMtuDiscover, &discovery)?;
    if let Some(ttl) = options.ttl {
        socket.set_ttl_v4(ttl.into())?;
    }
    if let Some(address) = options.source {
        let bound = socket.bind(&SockAddr::from(SocketAddrV4::new(address, 0)));
        bound.map_err(|error| OpenError::Bind(address, error))?;
    }
    Ok(socket)
}

/// A raw socket hears every ICMP message of the namespace, those to other pings included.
const BUFFER_LENGTH: usize = 1 << 20;

mod option {
    use nix::{libc, setsockopt_impl, sockopt_impl};

    sockopt_impl!(
        /// IP_MTU_DISCOVER (ip(7)).
        IpMtuDiscover,
        SetOnly,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::c_int
    );
}

/// Requests that wait for their answer: number (from 1) and time of sending, oldest first.
type Pending = VecDeque<(u32, Instant)>;

async fn run(netns: &Netns, socket: &UdpSocket, options: &PingOptions) -> io::Result<PingReport> {
    let id = next_id();
    let target = SocketAddr::from((options.target, 0));
    let mut report = PingReport {
        target: options.target,
        size: options.size,
        sent: 0,
        received: 0,
        duplicates: 0,
        replies: Vec::new(),
        errors: Vec::new(),
        local_errors: Vec::new(),
        elapsed: Duration::ZERO,
    };
    let mut pending = Pending::new();
    let mut buffer = vec![0; 1 << 16];
    let start = Instant::now();
    loop {
        let now = Instant::now();
        while pending.front().is_some_and(|(_, sent)| *sent + options.timeout <= now) {
            pending.pop_front();
        }
        let due = match options.interval {
            _ if report.sent == options.count => None,
            Some(interval) => Some(start + interval * report.sent),
            None if pending.is_empty() => Some(now),
            None => None,
        };
        let expiry = pending.front().map(|(_, sent)| *sent + options.timeout);
        match (due, expiry) {
            (Some(due), _) if due <= now => {
                report.sent += 1;
                let request = echo::request(id, report.sent as u16, options.size);
                // The time is taken first: on a veth the reply may be there before the call returns.
                let at = Instant::now();
                match socket.send_to(&request, target).await {
                    Ok(_) => pending.push_back((report.sent, at)),
                    Err(error) => report.local_errors.push(local_error(netns, options, report.sent, &error)),
                }
            }
            (None, None) => break,
            (due, expiry) => {
                // One of the two is there, and the earlier one is when there is something to do.
                let wake = due.into_iter().chain(expiry).min().unwrap_or(now);
                if let Ok(received) = timeout_at(wake, socket.recv(&mut buffer)).await {
                    let answer = echo::answer(&buffer[..received?], id, options.target);
                    if let Some(answer) = answer {
                        note(answer, Instant::now(), &mut pending, &mut report);
                    }
                }
            }
        }
    }
    report.elapsed = start.elapsed();
    Ok(report)
}

/// Enters an answer into the report.
fn note(answer: Answer, now: Instant, pending: &mut Pending, report: &mut PingReport) {
    // The request is the last one whose number ends in these 16 bits.
    let number = |seq: u16| report.sent.checked_sub(u32::from((report.sent as u16).wrapping_sub(seq)));
    match answer {
        Answer::Reply { from, seq, ttl, length } => {
            let Some(seq) = number(seq) else { return };
            match pending.iter().position(|(number, _)| *number == seq).and_then(|at| pending.remove(at)) {
                Some((_, sent)) => {
                    report.received += 1;
                    report.replies.push(Reply { seq, ttl, rtt: now.duration_since(sent), from, length });
                }
                None if report.replies.iter().rev().any(|reply| reply.seq == seq) => report.duplicates += 1,
                // It came after its timeout.
                None => {}
            }
        }
        Answer::Error { from, seq, icmp_type, code, mtu } => {
            let Some(seq) = number(seq) else { return };
            // A redirect or a source quench is advice: the request itself goes on.
            if !matches!(icmp_type, 4 | 5)
                && let Some(at) = pending.iter().position(|(number, _)| *number == seq)
            {
                pending.remove(at);
            }
            report.errors.push(IcmpError { seq, icmp_type, code, from, mtu });
        }
    }
}

fn local_error(netns: &Netns, options: &PingOptions, seq: u32, error: &io::Error) -> LocalError {
    let errno = error.raw_os_error().unwrap_or(0);
    let message = match errno {
        0 => error.to_string(),
        errno => Errno::from_raw(errno).desc().to_owned(),
    };
    match (errno == libc::EMSGSIZE).then(|| refusing_mtu(netns, options)).flatten() {
        Some(mtu) => LocalError { seq, errno, message: format!("message too long, mtu={mtu}"), mtu: Some(mtu) },
        None => LocalError { seq, errno, message, mtu: None },
    }
}

/// The MTU that a request is longer than which the kernel has just refused: it is said with the refusal, in the error queue
/// (IP_RECVERR, ip(7)). The request is offered to the kernel once more, by a socket of its own: one with that option would
/// fail at every ICMP message that comes.
fn refusing_mtu(netns: &Netns, options: &PingOptions) -> Option<u32> {
    let options = options.clone();
    let mtu = netns.run(move || {
        let socket = open_socket(&options).ok()?;
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).ok()?;
        let target = SockAddr::from(SocketAddrV4::new(options.target, 0));
        socket.send_to(&echo::request(0, 0, options.size), &target).err()?;
        let mut data = [0; 64];
        let mut parts = [IoSliceMut::new(&mut data)];
        let mut control = nix::cmsg_space!(libc::sock_extended_err, libc::sockaddr_in);
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags).ok()?;
        message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, _) if error.ee_errno == libc::EMSGSIZE as u32 => {
                Some(error.ee_info)
            }
            _ => None,
        })
    });
    mtu.ok().flatten()
}

/// An identifier that no other ping of this process has had for 65,535 pings, and that another process hardly has.
fn next_id() -> u16 {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    (std::process::id() as u16).rotate_left(7).wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sent: u32) -> PingReport {
        PingReport {
            target: Ipv4Addr::LOCALHOST,
            size: 56,
            sent,
            received: 0,
            duplicates: 0,
            replies: vec![],
            errors: vec![],
            local_errors: vec![],
            elapsed: Duration::ZERO,
        }
    }

    fn reply(seq: u16) -> Answer {
        Answer::Reply { from: Ipv4Addr::LOCALHOST, seq, ttl: 64, length: 64 }
    }

    #[test]
    fn a_reply_belongs_to_the_last_request_with_its_sixteen_bits() {
        let now = Instant::now();
        let mut pending = Pending::from([(65_537, now)]);
        let mut report = report(65_538);
        note(reply(1), now, &mut pending, &mut report);
        assert_eq!((report.received, report.replies[0].seq, pending.len()), (1, 65_537, 0));
    }

    #[test]
    fn a_second_reply_is_a_duplicate_and_a_late_one_is_nothing() {
        let now = Instant::now();
        let mut pending = Pending::from([(1, now)]);
        let mut report = report(2);
        note(reply(1), now, &mut pending, &mut report);
        note(reply(1), now, &mut pending, &mut report);
        note(reply(2), now, &mut pending, &mut report);
        note(reply(9), now, &mut pending, &mut report);
        assert_eq!((report.received, report.duplicates, report.replies.len()), (1, 1, 1));
    }

    #[test]
    fn an_error_ends_a_request_and_a_redirect_does_not() {
        let now = Instant::now();
        let mut pending = Pending::from([(1, now), (2, now)]);
        let mut report = report(2);
        let error = |seq, icmp_type| Answer::Error { from: Ipv4Addr::LOCALHOST, seq, icmp_type, code: 1, mtu: None };
        note(error(1, 5), now, &mut pending, &mut report);
        note(error(2, 3), now, &mut pending, &mut report);
        assert_eq!((pending, report.errors.len()), (Pending::from([(1, now)]), 2));
    }
}
