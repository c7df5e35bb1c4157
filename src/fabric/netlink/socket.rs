//! A NETLINK_ROUTE socket used synchronously: batches with acknowledgements, and dumps.
//!
//! The kernel carries out a whole datagram of requests inside `send` and has queued every answer when `send` returns, so
//! nothing here ever waits, and an answer that is not there is lost (`ENOBUFS`), not late.

use std::io;
use std::mem;

use nix::errno::Errno;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use crate::fabric::error::KernelReason;
use crate::fabric::netns::Netns;

/// Requests per datagram; with 512 the answers overflow the socket's receive buffer (64 to 256 are equally fast).
pub(in crate::fabric) const BATCH: usize = 128;

/// The largest piece of a dump that the kernel sends.
const RECEIVE_BUFFER: usize = 32 * 1024;

const HEADER: usize = 16;
pub(super) const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// NLMSGERR_ATTR_MSG: the extended acknowledgement's text.
const ATTR_MSG: u16 = 1;

/// A request: its flags besides NLM_F_REQUEST and NLM_F_ACK, and its message.
pub(in crate::fabric) type Request = (u16, RouteNetlinkMessage);

/// A socket in the namespace of the thread that opened it.
pub(in crate::fabric) struct RouteSocket {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl RouteSocket {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(in crate::fabric) fn new() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_ext_ack(true)?;
        socket.set_cap_ack(true)?;
        // Without it the kernel ignores the filter of a dump.
        socket.set_netlink_get_strict_chk(true)?;
        Ok(Self { socket, sequence: 0, buffer: Vec::new() })
    }

    /// Opens a socket in `netns`.
    ///
    /// # Errors
    /// The namespace cannot be entered, or there are no descriptors left.
    pub(in crate::fabric) fn open(netns: &Netns) -> io::Result<Self> {
        netns.run(Self::new)?
    }

    /// The socket's port number, by which notifications name who caused them.
    ///
    /// # Errors
    /// None in practice.
    pub(in crate::fabric) fn port(&self) -> io::Result<u32> {
        let mut address = SocketAddr::new(0, 0);
        self.socket.get_address(&mut address)?;
        Ok(address.port_number())
    }

    /// The socket itself, to join groups and to poll it.
    pub(in crate::fabric) fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// The socket itself, for good.
    pub(in crate::fabric) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Carries out up to [`BATCH`] requests with one system call and returns the kernel's answer to each, in order.
    ///
    /// # Errors
    /// The socket failed, or the kernel lost an answer: what was carried out is not known.
    pub(in crate::fabric) fn batch(&mut self, requests: Vec<Request>) -> io::Result<Vec<Result<(), KernelReason>>> {
        debug_assert!(requests.len() <= BATCH, "the answers to {} requests may not fit", requests.len());
        let first = self.sequence;
        let mut datagram = Vec::with_capacity(requests.len() * 96);
        let count = requests.len();
        for (flags, message) in requests {
            self.append(&mut datagram, NLM_F_REQUEST | NLM_F_ACK | flags, message);
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        self.send(&datagram)?;
        let mut answers: Vec<Option<Result<(), KernelReason>>> = vec![None; count];
        let mut missing = count;
        while missing > 0 {
            self.receive()?;
            for answer in split(&self.buffer) {
                let slot = answers.get_mut(answer.sequence.wrapping_sub(first) as usize);
                let (Some(slot), NLMSG_ERROR) = (slot, answer.kind) else { continue };
                missing -= usize::from(slot.is_none());
                *slot = Some(acknowledgement(answer.payload));
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Carries out one request that has an answer besides the acknowledgement: `RTM_GETLINK` of one link.
    ///
    /// # Errors
    /// The kernel's reason.
    pub(in crate::fabric) fn query(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, KernelReason> {
        let sequence = self.sequence;
        let mut datagram = Vec::with_capacity(64);
        self.append(&mut datagram, NLM_F_REQUEST, message);
        self.send(&datagram)?;
        self.receive()?;
        for answer in split(&self.buffer).filter(|answer| answer.sequence == sequence) {
            if answer.kind == NLMSG_ERROR {
                acknowledgement(answer.payload)?;
            } else {
                return Ok(decode(answer.whole)?);
            }
        }
        Err(KernelReason::errno(Errno::ENODATA))
    }

    /// Dumps what `message` asks for, in the kernel's order; `keep` chooses and converts.
    ///
    /// # Errors
    /// The kernel refuses the dump, or sends what cannot be decoded.
    pub(in crate::fabric) fn dump<T>(
        &mut self,
        message: &RouteNetlinkMessage,
        mut keep: impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        // A dump during which the table changed may have holes and is repeated; after a few times it must do.
        for _ in 0..4 {
            let (found, interrupted) = self.dump_once(message.clone(), &mut keep)?;
            if !interrupted {
                return Ok(found);
            }
        }
        Ok(self.dump_once(message.clone(), &mut keep)?.0)
    }

    fn dump_once<T>(
        &mut self,
        message: RouteNetlinkMessage,
        keep: &mut impl FnMut(RouteNetlinkMessage) -> Option<T>,
    ) -> io::Result<(Vec<T>, bool)> {
        let sequence = self.sequence;
        let mut datagram = Vec::with_capacity(64);
        self.append(&mut datagram, NLM_F_REQUEST | NLM_F_DUMP, message);
        self.send(&datagram)?;
        let mut found = Vec::new();
        let mut interrupted = false;
        loop {
            self.receive()?;
            for answer in split(&self.buffer).filter(|answer| answer.sequence == sequence) {
                interrupted |= answer.flags & NLM_F_DUMP_INTR != 0;
                match answer.kind {
                    NLMSG_DONE => return Ok((found, interrupted)),
                    NLMSG_ERROR => match acknowledgement(answer.payload) {
                        Ok(()) => {}
                        Err(reason) => return Err(io::Error::from_raw_os_error(reason.errno)),
                    },
                    _ => found.extend(keep(decode(answer.whole)?)),
                }
            }
        }
    }

    /// Receives one datagram of notifications; `None` when there is none now.
    ///
    /// # Errors
    /// `ENOBUFS`: notifications were lost.
    pub(in crate::fabric) fn notifications(&mut self) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
        match self.receive() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
            Ok(()) => split(&self.buffer).map(|message| decode(message.whole)).collect::<io::Result<_>>().map(Some),
        }
    }

    fn append(&mut self, datagram: &mut Vec<u8>, flags: u16, message: RouteNetlinkMessage) {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let start = datagram.len();
        datagram.resize((start + message.buffer_len()).next_multiple_of(4), 0);
        message.serialize(&mut datagram[start..start + message.buffer_len()]);
    }

    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send_to(datagram, &SocketAddr::new(0, 0), 0) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome.map(drop),
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.buffer.reserve(RECEIVE_BUFFER);
        loop {
            match self.socket.recv(&mut self.buffer, libc::MSG_DONTWAIT | libc::MSG_TRUNC) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(length) if length > self.buffer.len() => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a netlink message is longer than 32 KiB"));
                }
                outcome => return outcome.map(drop),
            }
        }
    }
}

/// Waits for notifications at most until `timeout`, in milliseconds; says whether there are any.
///
/// # Errors
/// None in practice.
pub(in crate::fabric) fn wait_readable(socket: &Socket, timeout: std::time::Duration) -> io::Result<bool> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    // Rounded up: a timeout of zero would spin.
    let timeout = PollTimeout::try_from(timeout + std::time::Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
    match poll(&mut fds, timeout) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) struct RawMessage<'a> {
    pub(super) kind: u16,
    flags: u16,
    sequence: u32,
    pub(super) payload: &'a [u8],
    whole: &'a [u8],
}

/// The messages of one datagram; what is cut short at its end is left out.
pub(super) fn split(mut bytes: &[u8]) -> impl Iterator<Item = RawMessage<'_>> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
        let whole = bytes.get(..length).filter(|whole| whole.len() >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let short = |at: usize| u16::from_ne_bytes([whole[at], whole[at + 1]]);
        let sequence = u32::from_ne_bytes([whole[8], whole[9], whole[10], whole[11]]);
        Some(RawMessage { kind: short(4), flags: short(6), sequence, payload: &whole[HEADER..], whole })
    })
}

/// Reads `struct nlmsgerr`: the code, the request's header, and (with NETLINK_CAP_ACK nothing else before them) attributes.
pub(super) fn acknowledgement(payload: &[u8]) -> Result<(), KernelReason> {
    let code = payload.first_chunk().map_or(-libc::EBADMSG, |code| i32::from_ne_bytes(*code));
    if code == 0 {
        return Ok(());
    }
    let mut attributes = payload.get(mem::size_of::<i32>() + HEADER..).unwrap_or_default();
    let mut text = None;
    while let Some(header) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let Some(value) = attributes.get(4..length) else { break };
        if u16::from_ne_bytes([header[2], header[3]]) == ATTR_MSG {
            let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
            text = Some(String::from_utf8_lossy(&value[..end]).into_owned());
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Err(KernelReason { errno: -code, text })
}

fn decode(bytes: &[u8]) -> io::Result<RouteNetlinkMessage> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    match NetlinkMessage::deserialize(bytes).map_err(|error| invalid(error.to_string()))?.payload {
        NetlinkPayload::InnerMessage(message) => Ok(message),
        other => Err(invalid(format!("unexpected netlink message {}", other.message_type()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An NLMSG_ERROR answer as the kernel sends it with NETLINK_CAP_ACK and NETLINK_EXT_ACK.
    fn answer(sequence: u32, code: i32, text: Option<&str>) -> Vec<u8> {
        let mut payload = code.to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        if let Some(text) = text {
            payload.extend(u16::try_from(4 + text.len() + 1).unwrap().to_ne_bytes());
            payload.extend(ATTR_MSG.to_ne_bytes());
            payload.extend(text.as_bytes());
            payload.push(0);
            payload.resize(payload.len().next_multiple_of(4), 0);
        }
        let mut bytes = u32::try_from(HEADER + payload.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(NLMSG_ERROR.to_ne_bytes());
        bytes.extend(0u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn answers_in_one_datagram_are_told_apart_and_keep_the_kernels_text() {
        let bytes = [answer(7, 0, None), answer(8, -libc::ENETUNREACH, Some("Nexthop has invalid gateway"))].concat();
        let read: Vec<_> = split(&bytes).map(|m| (m.sequence, acknowledgement(m.payload))).collect();
        let refused = KernelReason { errno: libc::ENETUNREACH, text: Some("Nexthop has invalid gateway".into()) };
        assert_eq!(read, [(7, Ok(())), (8, Err(refused))]);
    }

    #[test]
    fn a_datagram_cut_anywhere_is_read_up_to_the_cut_without_a_panic() {
        let bytes = answer(1, -libc::EEXIST, Some("File exists"));
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut]).count(), 0);
            let _ = acknowledgement(&bytes[..cut]);
        }
    }
}
