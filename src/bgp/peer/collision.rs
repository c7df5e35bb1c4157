//! Two connections with one peer: which of them goes on (RFC 4271 §6.8), and which is only the shadow of an earlier life of the peer's
//! (RFC 4724 §4.2).

use std::time::Instant;

use super::{Effects, End, Peer, restart};
use crate::bgp::session::{Direction, Remote, Session};
use crate::bgp::timers::Timer;
use crate::bgp::view::State;
use crate::bgp::wire::{Notification, iana};

impl Peer {
    /// A good OPEN came on one connection: decides which of several goes on (RFC 4271 §6.8).
    pub(super) fn settle_collision(&mut self, now: Instant, index: usize, effects: &mut Effects<'_>) {
        let session = &self.sessions[index];
        let (connection, direction) = (session.connection, session.direction);
        let Some(remote) = session.remote else { return };
        // The higher identifier dominates; of equal ones, the higher AS (RFC 6286 §2.3).
        let ours = (self.identity.local_id, self.identity.local_as);
        let peer_dominates = ours < (remote.identifier, self.identity.remote_as);
        let by_dominant = peer_dominates == (direction == Direction::Incoming);
        let loses_to = |other: &Session| match other.state {
            _ if other.connection == connection => false,
            // A second one in the same direction: whoever opened it has forgotten the first.
            _ if other.direction == direction => false,
            State::OpenConfirm => !by_dominant,
            State::Established => !has_restarted(remote, other),
            State::Idle | State::Connect | State::Active | State::OpenSent => false,
        };
        let collision = Notification::cease(iana::cease::COLLISION_RESOLUTION);
        if self.sessions.iter().any(loses_to) {
            self.close(index, End::Says(collision), effects);
            return;
        }
        // What is in OpenSent gets its turn when its OPEN comes, and meets an OpenConfirm then.
        let goes = |s: &Session| s.connection != connection && s.state != State::OpenSent;
        while let Some(other) = self.sessions.iter().position(goes) {
            // Nobody is there any more to read a NOTIFICATION, and it would be the end of the routes, too (RFC 4724 §4.2).
            let outlived =
                self.sessions[other].state == State::Established && restart::keep_time(&self.sessions[other]).is_some();
            let end = if outlived { End::Outlived(now) } else { End::Says(collision.clone()) };
            self.close(other, end, effects);
        }
        self.timers.stop(Timer::ConnectRetry);
        if let Some(index) = self.index(connection) {
            self.sessions[index].confirm(now, effects.jitter);
        }
    }
}

/// Whether a peer that sent an OPEN with the R bit has forgotten its Established session `other`: a connection that it opens after its
/// restart takes the place of the one before (RFC 4724 §4.2). Without the bit, or with it on both, this may be two connections of one
/// life that collide.
fn has_restarted(remote: Remote, other: &Session) -> bool {
    let restarting = |remote: Remote| remote.graceful_restart.is_some_and(|restart| restart.restarting);
    restarting(remote) && !other.remote.is_some_and(restarting)
}
