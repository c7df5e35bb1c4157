//! A peer that goes without a word and comes back: the part of the Receiving Speaker in a graceful restart (RFC 4724 §4.2).
//!
//! Its routes stay, marked as stale, and count like any others, until it has said which of them still hold or has been away for longer
//! than it asked for. Whoever ends a session with a NOTIFICATION, either end, asks for no such patience (RFC 4724 §4): that is the hold
//! timer's case, too, and an administrator's.

use std::time::{Duration, Instant};

use super::{Effects, Output, Peer};
use crate::bgp::session::{GracefulRestart, Session};

/// How long a peer that is back may take until its End-of-RIB: the upper bound that RFC 4724 §4.2 allows for.
const STALE_TIME: Duration = Duration::from_secs(360);

impl Peer {
    /// Until when routes are kept from before the session was lost, if any are.
    pub(in crate::bgp) fn stale_until(&self) -> Option<Instant> {
        self.stale_until
    }

    /// It announced graceful restart, and so says when it is done.
    pub(in crate::bgp) fn awaits_end_of_rib(&self) -> bool {
        self.graceful_restart().is_some()
    }

    /// What the Established peer said of graceful restart.
    pub(in crate::bgp) fn graceful_restart(&self) -> Option<GracefulRestart> {
        self.remote()?.graceful_restart
    }

    /// The Established `session` has ended without a word: what becomes of its routes.
    pub(super) fn lose(&mut self, now: Instant, session: &Session) -> Output {
        match keep_time(session) {
            None => {
                self.stale_until = None;
                Output::Down
            }
            Some(time) => Output::Lost { again: self.stale_until.replace(now + time).is_some() },
        }
    }

    /// The peer is Established: whether what was kept for it may stay. `same` says that it has the identifier that it had.
    pub(super) fn resume(&mut self, now: Instant, same: bool, effects: &mut Effects<'_>) {
        if self.stale_until.is_none() {
            return;
        }
        if same && self.graceful_restart().is_some_and(|restart| restart.forwarding) {
            self.stale_until = Some(now + STALE_TIME);
        } else {
            self.end_stale(effects);
        }
    }

    /// End-of-RIB came, or nothing more is waited for: what is still stale goes.
    pub(super) fn end_stale(&mut self, effects: &mut Effects<'_>) {
        if self.stale_until.take().is_some() {
            effects.outputs.push(Output::EndStale);
        }
    }

    /// Runs the restart timer.
    pub(super) fn expire_stale(&mut self, now: Instant, effects: &mut Effects<'_>) {
        if self.stale_until.is_some_and(|until| until <= now) {
            self.end_stale(effects);
        }
    }
}

/// How long the routes of an Established session are to outlive it.
pub(super) fn keep_time(session: &Session) -> Option<Duration> {
    let restart = session.remote?.graceful_restart?;
    (restart.time > 0).then(|| Duration::from_secs(restart.time.into()))
}
