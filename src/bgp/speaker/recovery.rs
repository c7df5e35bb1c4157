//! Our own restart: the part of the Restarting Speaker in a graceful restart (RFC 4724 §4.1).
//!
//! The kernel has kept the routes of the run before, and goes on forwarding. Until every peer has said what it knows no path is
//! selected: nothing is told to anyone, and no route leaves the kernel only because the peer that knows it has not come up yet.

use std::time::{Duration, Instant};

use super::Speaker;
use crate::bgp::event::{KernelSnapshot, PeerId};
use crate::bgp::rib::{EntryId, FibHop};
use crate::bgp::view::State;
use crate::net::RouteProtocol;

/// Selection_Deferral_Timer: BIRD's `graceful restart wait`.
const SELECTION_DEFERRAL_TIME: Duration = Duration::from_secs(240);

/// What is known while path selection is deferred.
#[derive(Debug)]
pub(super) struct Recovery {
    /// When it ends, whoever has not come.
    pub(super) until: Instant,
    /// The kernel's routes of the run before have been taken over.
    adopted: bool,
}

impl Speaker {
    /// The speaker starts again.
    pub(super) fn begin_recovery(&mut self, now: Instant) {
        self.recovery = Some(Recovery { until: now + SELECTION_DEFERRAL_TIME, adopted: false });
        self.peers.iter_mut().for_each(|peer| peer.identity.recovering = true);
    }

    /// Takes over what the run before had the kernel install.
    pub(super) fn adopt(&mut self, snapshot: &KernelSnapshot) {
        let Some(recovery) = self.recovery.as_mut().filter(|recovery| !recovery.adopted) else { return };
        recovery.adopted = true;
        for route in snapshot.routes.iter().filter(|route| route.proto == RouteProtocol::BIRD) {
            let hop = self.share(FibHop::of(route));
            self.rib.adopt(route.dst, hop);
        }
    }

    /// Whether path selection is deferred still.
    pub(super) fn is_recovering(&self) -> bool {
        self.recovery.is_some()
    }

    /// Ends the recovery once everyone has said everything or the time is over; the entries to decide about then, besides those that
    /// are marked, are marked. True while it goes on.
    pub(super) fn defers_selection(&mut self, now: Instant) -> bool {
        let Some(recovery) = &self.recovery else { return false };
        if now < recovery.until && !(recovery.adopted && self.has_heard_everyone()) {
            return true;
        }
        self.recovery = None;
        self.peers.iter_mut().for_each(|peer| peer.identity.recovering = false);
        let adopted: Vec<EntryId> =
            self.rib.iter().filter(|(_, entry)| entry.installed.is_some()).map(|(id, _)| id).collect();
        for id in adopted {
            self.rib.mark(id);
        }
        false
    }

    /// Tells who came up during the recovery what has been selected since.
    pub(super) fn tell_whole_table(&mut self) {
        let up: Vec<PeerId> = self.up.iter().flatten().copied().collect();
        for id in up {
            self.queue_table(id);
        }
    }

    /// End-of-RIB came from every peer, but for those that restart themselves, or never send it (RFC 4724 §4.1).
    fn has_heard_everyone(&self) -> bool {
        self.peers.iter().filter(|peer| !peer.is_disabled()).all(|peer| {
            peer.state() == State::Established
                && (peer.end_of_rib_received || peer.graceful_restart().is_none_or(|restart| restart.restarting))
        })
    }
}
