//! Device to wire: large packets are split, encapsulated, and sent in one call, as protocol-4 packets that the kernel routes.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tun_rs::AsyncDevice;

use super::counters::{Counters, DropReason};
use super::next_hops::NextHops;
use super::path_mtu::PathMtus;
use crate::packet::ipip::{self, OVERHEAD, Refusal};
use crate::packet::offload::{Segment, VnetHeader, split};

/// The half of a tunnel that sends.
pub(super) struct Outbound {
    pub(super) device: Arc<AsyncDevice>,
    /// A raw socket whose packets bring their own IP header.
    pub(super) socket: UdpSocket,
    pub(super) next_hops: NextHops,
    pub(super) path_mtus: PathMtus,
    pub(super) local: Ipv4Addr,
    pub(super) counters: Arc<Counters>,
    /// The next identification.
    pub(super) id: u16,
}

type Segments = Vec<Segment<Range<usize>>>;

impl Outbound {
    /// Runs until the device fails, and says why it did.
    pub(super) async fn run(mut self) -> io::Error {
        let mut buffer = vec![0; VnetHeader::LEN + usize::from(u16::MAX)].into_boxed_slice();
        let mut segments = Segments::new();
        loop {
            match self.device.recv(&mut buffer).await {
                Ok(length) => self.forward(&mut buffer[..length], &mut segments).await,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error,
            }
        }
    }

    /// Sends what one read of the device gave.
    async fn forward(&mut self, bytes: &mut [u8], segments: &mut Segments) {
        segments.clear();
        let Some((header, packet)) = bytes.split_first_chunk_mut() else {
            return self.counters.dropped(DropReason::Malformed, 1);
        };
        if split(VnetHeader::from_bytes(*header), packet, segments).is_err() {
            return self.counters.dropped(DropReason::Malformed, 1);
        }
        let count = segments.len() as u64;
        let Some((source, destination)) = addresses(packet) else {
            return self.counters.dropped(DropReason::Malformed, count);
        };
        // The kernel's tunnel refuses a route to the node that leads through itself; here such a packet comes back.
        if packet[9] == ipip::PROTOCOL && source == self.local {
            return self.counters.dropped(DropReason::Loop, count);
        }
        let remote = self.next_hops.find(source, destination).unwrap_or_else(|error| {
            tracing::debug!(%error, "the routes through the tunnel cannot be read");
            None
        });
        let Some(remote) = remote else { return self.counters.dropped(DropReason::NoRoute, count) };
        match self.outer_headers(segments, remote) {
            Err(refusal) => self.counters.dropped(refusal.into(), count),
            Ok(Some(outers)) => {
                let parts = outers.iter().zip(segments.iter()).map(|(outer, segment)| {
                    let payload = IoSlice::new(&packet[segment.payload.clone()]);
                    [IoSlice::new(outer), IoSlice::new(segment.head()), payload]
                });
                self.send(remote, &parts.collect::<Vec<_>>()).await;
            }
            Ok(None) => self.send_what_does_not_fit(remote, packet, segments).await,
        }
    }

    /// An outer header for each of `segments`; `None` if one of the packets is too long for the path.
    fn outer_headers(&mut self, segments: &Segments, remote: Ipv4Addr) -> Result<Option<Vec<[u8; OVERHEAD]>>, Refusal> {
        let path_mtu = usize::from(self.path_mtus.to(remote));
        let mut outers = Vec::with_capacity(segments.len());
        for segment in segments {
            outers.push(ipip::outer_header(segment.head(), self.local, remote, self.next_id())?);
            if OVERHEAD + segment.head().len() + segment.payload.len() > path_mtu {
                return Ok(None);
            }
        }
        Ok(Some(outers))
    }

    /// Fragments, or tells the sender.
    async fn send_what_does_not_fit(&mut self, remote: Ipv4Addr, packet: &[u8], segments: &Segments) {
        let path_mtu = self.path_mtus.to(remote);
        for (index, segment) in segments.iter().enumerate() {
            let inner = [segment.head(), &packet[segment.payload.clone()]].concat();
            match ipip::encapsulate(&inner, self.local, remote, self.next_id(), path_mtu) {
                Ok(outers) => {
                    let nothing = IoSlice::new(&[]);
                    let parts = outers.iter().map(|outer| [IoSlice::new(outer), nothing, nothing]);
                    self.send(remote, &parts.collect::<Vec<_>>()).await;
                }
                Err(Refusal::TooBig(mtu)) => {
                    // One answer for all segments of what was one packet to its sender.
                    self.counters.dropped(DropReason::TooBig, (segments.len() - index) as u64);
                    if let (Some(answer), Some((sender, _))) =
                        (ipip::fragmentation_needed(&inner, mtu), addresses(&inner))
                    {
                        // Like every ICMP message it may be lost: the sender will provoke another one.
                        let _ = self.socket.send_to(&answer, (sender, 0)).await;
                    }
                    return;
                }
                Err(refusal) => self.counters.dropped(refusal.into(), 1),
            }
        }
    }

    /// Sends packets in as few calls as the kernel takes them; one that it refuses is passed over.
    async fn send(&mut self, remote: Ipv4Addr, packets: &[[IoSlice<'_>; 3]]) {
        let mut rest = packets;
        while !rest.is_empty() {
            let sent = self.socket.async_io(Interest::WRITABLE, || send_some(&self.socket, remote, rest)).await;
            let done = match sent {
                Ok(sent) => {
                    let bytes = rest[..sent].iter().flatten().map(|part| part.len() as u64).sum();
                    self.counters.sent(sent as u64, bytes);
                    sent
                }
                Err(error) => {
                    self.counters.dropped(DropReason::NotSent, 1);
                    if error.raw_os_error() == Some(libc::EMSGSIZE) {
                        // The path became narrower a moment ago.
                        self.path_mtus.forget(remote);
                    }
                    1
                }
            };
            rest = rest.get(done.max(1)..).unwrap_or_default();
        }
    }

    fn next_id(&mut self) -> u16 {
        // 0 would make the kernel choose.
        self.id = self.id.checked_add(1).unwrap_or(1);
        self.id
    }
}

/// How many of `packets` the kernel took; an error is that of the first.
fn send_some(socket: &UdpSocket, remote: Ipv4Addr, packets: &[[IoSlice<'_>; 3]]) -> io::Result<usize> {
    let to = vec![Some(SockaddrIn::from(SocketAddrV4::new(remote, 0))); packets.len()];
    let mut headers = MultiHeaders::preallocate(packets.len(), None);
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, packets, to, [], MsgFlags::MSG_DONTWAIT)?;
    Ok(sent.count())
}

fn addresses(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let source: [u8; 4] = *packet.get(12..)?.first_chunk()?;
    let destination: [u8; 4] = *packet.get(16..)?.first_chunk()?;
    Some((source.into(), destination.into()))
}
