//! Wire to device: protocol-4 packets from the cluster's nodes are decapsulated, joined where they are a stream, and given to the device.

use std::collections::HashSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::libc;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tun_rs::AsyncDevice;

use super::counters::{Counters, DropReason};
use crate::packet::ipip;
use crate::packet::offload::join;

/// The half of a tunnel that receives.
pub(super) struct Inbound {
    pub(super) device: Arc<AsyncDevice>,
    /// A raw socket for protocol 4. That it exists keeps the kernel from answering "protocol unreachable"; fragments come reassembled.
    pub(super) socket: Arc<UdpSocket>,
    pub(super) known: HashSet<Ipv4Addr>,
    pub(super) counters: Arc<Counters>,
}

/// Packets per call: more than a TCP sender puts into one large packet of 64 KiB.
const BATCH: usize = 64;

/// The longest packet.
const LENGTH: usize = 1 << 16;

impl Inbound {
    /// Runs until the device or the socket fails, and says why it did.
    pub(super) async fn run(self) -> io::Error {
        // Only the pages that packets have touched take memory.
        let mut buffers = vec![0; BATCH * LENGTH].into_boxed_slice();
        let mut lengths = Vec::with_capacity(BATCH);
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, || receive_some(&self.socket, &mut buffers, &mut lengths))
                .await;
            match received {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return error,
            }
            if let Err(error) = self.deliver(&mut buffers, &lengths).await {
                return error;
            }
        }
    }

    async fn deliver(&self, buffers: &mut [u8], lengths: &[usize]) -> io::Result<()> {
        let joined = {
            let mut packets: Vec<&[u8]> = Vec::with_capacity(lengths.len());
            for (buffer, length) in buffers.chunks_exact_mut(LENGTH).zip(lengths) {
                match ipip::decapsulate(&mut buffer[..(*length).min(LENGTH)], |source| self.known.contains(&source)) {
                    Ok(inner) => packets.push(inner),
                    Err(refusal) => {
                        tracing::trace!(%refusal, "a protocol-4 packet is dropped");
                        self.counters.dropped(refusal.into(), 1);
                    }
                }
            }
            join(packets)
        };
        for (header, segment) in &joined {
            let header = header.to_bytes();
            let mut parts = Vec::with_capacity(2 + segment.payload.len());
            parts.extend([IoSlice::new(&header), IoSlice::new(segment.head())]);
            parts.extend(segment.payload.iter().map(|payload| IoSlice::new(payload)));
            let packets = segment.payload.len() as u64;
            match self.device.send_vectored(&parts).await {
                Ok(_) => {
                    let payload: usize = segment.payload.iter().map(|payload| payload.len()).sum();
                    let headers = packets * (ipip::OVERHEAD + segment.head().len()) as u64;
                    self.counters.received(packets, headers + payload as u64);
                }
                // The device was deleted.
                Err(error) if error.raw_os_error() == Some(libc::EBADFD) => return Err(error),
                Err(_) => self.counters.dropped(DropReason::DeviceDown, packets),
            }
        }
        Ok(())
    }
}

/// Fills `buffers`, [`LENGTH`] bytes each, with the packets that wait, and `lengths` with theirs.
fn receive_some(socket: &UdpSocket, buffers: &mut [u8], lengths: &mut Vec<usize>) -> io::Result<()> {
    lengths.clear();
    let mut parts: Vec<_> = buffers.chunks_exact_mut(LENGTH).map(|buffer| [IoSliceMut::new(buffer)]).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut parts, MsgFlags::MSG_DONTWAIT, None)?;
    lengths.extend(received.map(|message| message.bytes));
    Ok(())
}
