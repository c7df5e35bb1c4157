//! What a tunnel carried and what it dropped.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::packet::ipip::Refusal;

/// Why a packet was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DropReason {
    /// From the device: more came than could be read in time.
    QueueFull,
    /// From the device: no IPv4 packet, or a malformed one.
    Malformed,
    /// From the device: no route of the namespace says which node it goes to.
    NoRoute,
    /// From the device: longer than passes, with DF; its sender was told.
    TooBig,
    /// From the device: the route to the node leads into the tunnel itself.
    Loop,
    /// The kernel would not send it: no route to the node, a filter, no memory.
    NotSent,
    /// From the wire: not IP in IP as it should be.
    Undecodable,
    /// From the wire: its outer source is no node.
    UnknownSource,
    /// From the wire: a congestion mark that the inner packet cannot carry.
    Congestion,
    /// From the wire: the device is down, or full.
    DeviceDown,
    /// From the wire: more came than could be read in time.
    Overrun,
}

/// In words, after a number of packets: `12 without a route`.
impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::QueueFull => "more than could be read from the device",
            Self::Malformed => "malformed",
            Self::NoRoute => "without a route",
            Self::TooBig => "too big for the path",
            Self::Loop => "whose way to the node leads into tunl0 itself",
            Self::NotSent => "that the kernel would not send",
            Self::Undecodable => "of protocol 4 that are no IP in IP",
            Self::UnknownSource => "from an address that is no node's",
            Self::Congestion => "with a congestion mark that the inner packet cannot carry",
            Self::DeviceDown => "while the device was down or full",
            Self::Overrun => "more than could be read from the wire",
        })
    }
}

/// Packets and bytes, the outer header included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Traffic {
    /// Packets as on the wire.
    pub packets: u64,
    /// Their bytes, from the outer IP header on.
    pub bytes: u64,
}

/// What a tunnel did since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Statistics {
    /// Encapsulated and sent.
    pub sent: Traffic,
    /// Received and given to the device.
    pub received: Traffic,
    /// Dropped packets by reason; reasons that never occurred are absent.
    pub dropped: BTreeMap<DropReason, u64>,
}

#[derive(Debug, Default)]
struct Flow {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// The counters behind [`Statistics`]; each is written by one task only.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: Flow,
    received: Flow,
    dropped: [AtomicU64; REASONS.len()],
}

const REASONS: [DropReason; 11] = [
    DropReason::QueueFull,
    DropReason::Malformed,
    DropReason::NoRoute,
    DropReason::TooBig,
    DropReason::Loop,
    DropReason::NotSent,
    DropReason::Undecodable,
    DropReason::UnknownSource,
    DropReason::Congestion,
    DropReason::DeviceDown,
    DropReason::Overrun,
];

impl Counters {
    pub(super) fn sent(&self, packets: u64, bytes: u64) {
        self.sent.add(packets, bytes);
    }

    pub(super) fn received(&self, packets: u64, bytes: u64) {
        self.received.add(packets, bytes);
    }

    pub(super) fn dropped(&self, reason: DropReason, packets: u64) {
        self.dropped[reason as usize].fetch_add(packets, Ordering::Relaxed);
    }

    /// `queue_full` is what the device lost, `overrun` what the socket lost: the kernel counts those.
    pub(super) fn read(&self, queue_full: u64, overrun: u64) -> Statistics {
        let mut dropped: BTreeMap<_, _> =
            REASONS.iter().map(|reason| (*reason, self.dropped[*reason as usize].load(Ordering::Relaxed))).collect();
        dropped.insert(DropReason::QueueFull, queue_full);
        dropped.insert(DropReason::Overrun, overrun);
        dropped.retain(|_, packets| *packets > 0);
        Statistics { sent: self.sent.read(), received: self.received.read(), dropped }
    }
}

impl Flow {
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn read(&self) -> Traffic {
        Traffic { packets: self.packets.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

impl From<Refusal> for DropReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownSource(_) => Self::UnknownSource,
            Refusal::Congestion => Self::Congestion,
            Refusal::TooBig(_) => Self::TooBig,
            Refusal::TooLong => Self::Malformed,
            _ => Self::Undecodable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let counters = Counters::default();
        for (index, reason) in REASONS.into_iter().enumerate() {
            counters.dropped(reason, index as u64 + 1);
        }
        let expected = REASONS.into_iter().zip(1..).collect();
        assert_eq!(counters.read(1, 11), Statistics { dropped: expected, ..Statistics::default() });
    }
}
