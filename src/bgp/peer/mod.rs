//! One configured peer: the states without a connection (Idle, Connect, Active), its connections, and collisions between them (RFC 4271
//! §8.2, §6.8).
//!
//! A peer has at most one connection that we opened and, while collisions are settled, up to two that it opened. It knows its two
//! Adj-RIBs but no other peer and no Loc-RIB: routes leave it as [`Output`]s.

mod collision;
mod restart;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::config::{PeerConfig, SpeakerConfig, TimerConfig};
use super::event::{Action, ConnectionId, PeerId};
use super::rib::{AdjRibIn, AdjRibOut};
use super::session::{Direction, Failure, Identity, Outcome, Remote, Session};
use super::timers::{Jitter, Timer, TimerTable};
use super::view::{MessageCounts, State};
use super::wire::{Interner, Notification, RefreshKind, Update, iana};
use crate::net::BgpIdentifier;

/// After this long without an error the wait starts small again: BIRD's `error forget time`.
const ERROR_FORGET_TIME: Duration = Duration::from_secs(300);

/// What a peer's events do outside of it.
pub(super) struct Effects<'a> {
    /// For the driver.
    pub(super) actions: &'a mut Vec<Action>,
    /// For the RIBs.
    pub(super) outputs: &'a mut Vec<Output>,
    /// The speaker's jitter.
    pub(super) jitter: &'a mut Jitter,
    /// Attributes, each set once.
    pub(super) interner: &'a mut Interner,
    /// The speaker's pacing.
    pub(super) timers: &'a TimerConfig,
    /// The number of the next connection.
    pub(super) next_connection: &'a mut u64,
}

/// What concerns the RIBs.
#[derive(Debug)]
pub(super) enum Output {
    /// The peer is Established.
    Up,
    /// It no longer is, and its routes go.
    Down,
    /// It no longer is, and its routes stay for now (RFC 4724 §4.2).
    Lost {
        /// It had not said all since it was lost before: what it has not, goes.
        again: bool,
    },
    /// What it has not announced since it was lost, goes.
    EndStale,
    /// Routes came.
    Update(Update),
    /// A ROUTE-REFRESH came.
    Refresh(RefreshKind),
}

/// What an administrator or an error makes of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before ManualStart, or after Shutdown.
    Stopped,
    /// Disabled by an administrator.
    Disabled,
    /// Waiting after an error.
    Waiting,
    /// Dialling, or ready to accept.
    Running,
}

/// A peer.
#[derive(Debug)]
pub(super) struct Peer {
    /// Which one.
    pub(super) id: PeerId,
    speaker: Arc<SpeakerConfig>,
    /// Who must be at either end.
    pub(super) identity: Identity,
    /// What it announced.
    pub(super) adj_rib_in: AdjRibIn,
    /// What it is told.
    pub(super) adj_rib_out: AdjRibOut,
    /// Messages of all its connections.
    pub(super) counts: MessageCounts,
    /// Its End-of-RIB came on the present session.
    pub(super) end_of_rib_received: bool,
    /// Who it said that it is when its session last came up: its routes may outlive that.
    pub(super) identifier: Option<BgpIdentifier>,
    /// Prefixes of it that are selected.
    pub(super) preferred: usize,
    /// The last error in BIRD's words (calico-behaviour 8.2).
    pub(super) last_error: Option<String>,
    /// When the speaker last looked at it, for its table of deadlines.
    pub(super) scheduled: Option<Instant>,
    phase: Phase,
    sessions: Vec<Session>,
    timers: TimerTable,
    /// The restart timer (RFC 4724 §4.2).
    stale_until: Option<Instant>,
    /// The last wait after an error, and when that was.
    last_wait: Option<(Duration, Instant)>,
    state: State,
    since: Option<Instant>,
}

impl Peer {
    /// A peer that is not started.
    pub(super) fn new(id: PeerId, speaker: Arc<SpeakerConfig>) -> Self {
        let config = &speaker.peers[id.0 as usize];
        let identity = Identity {
            family: speaker.family,
            local_as: config.local_as,
            local_id: speaker.router_id,
            remote_as: config.remote_as,
            hold_time: speaker.timers.hold_time,
            keepalive_time: config.keepalive_time,
            restart_time: config.restart_time,
            recovering: false,
            extended_messages: config.extended_messages,
            add_path: config.add_path,
        };
        Self {
            id,
            speaker,
            identity,
            adj_rib_in: AdjRibIn::default(),
            adj_rib_out: AdjRibOut::default(),
            counts: MessageCounts::default(),
            end_of_rib_received: false,
            identifier: None,
            preferred: 0,
            last_error: None,
            scheduled: None,
            phase: Phase::Stopped,
            sessions: Vec::new(),
            timers: TimerTable::default(),
            stale_until: None,
            last_wait: None,
            state: State::Idle,
            since: None,
        }
    }

    /// As configured.
    pub(super) fn config(&self) -> &PeerConfig {
        &self.speaker.peers[self.id.0 as usize]
    }

    /// ManualStart (event 1), or the end of being disabled.
    pub(super) fn start(&mut self, now: Instant, effects: &mut Effects<'_>) {
        if matches!(self.phase, Phase::Stopped | Phase::Disabled) {
            self.last_wait = None;
            self.run(now, effects.timers.connect_delay, effects);
        }
        self.settle(now, effects);
    }

    /// ManualStop (event 2) by an administrator who disables the peer.
    pub(super) fn disable(&mut self, now: Instant, effects: &mut Effects<'_>) {
        self.stop(iana::cease::ADMINISTRATIVE_SHUTDOWN, effects);
        self.phase = Phase::Disabled;
        self.settle(now, effects);
    }

    /// ManualStop because the speaker ends.
    pub(super) fn shut_down(&mut self, now: Instant, effects: &mut Effects<'_>) {
        self.stop(iana::cease::ADMINISTRATIVE_SHUTDOWN, effects);
        if self.phase != Phase::Disabled {
            self.phase = Phase::Stopped;
        }
        self.settle(now, effects);
    }

    /// Stop and start at once; nothing if it is disabled or not started.
    pub(super) fn restart(&mut self, now: Instant, effects: &mut Effects<'_>) {
        if matches!(self.phase, Phase::Waiting | Phase::Running) {
            self.stop(iana::cease::ADMINISTRATIVE_RESET, effects);
            self.last_wait = None;
            self.run(now, Duration::ZERO, effects);
        }
        self.settle(now, effects);
    }

    /// The peer opened a connection (event 17); in Idle it is refused.
    pub(super) fn accepted(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        local: IpAddr,
        effects: &mut Effects<'_>,
    ) -> bool {
        let taken = self.phase == Phase::Running;
        if taken {
            // A connection on which the peer has not said anything yet is one that it gave up.
            let given_up = |s: &Session| s.direction == Direction::Incoming && s.state == State::OpenSent;
            if let Some(index) = self.sessions.iter().position(given_up) {
                self.close(index, End::Says(Notification::cease(iana::cease::CONNECTION_REJECTED)), effects);
            }
            self.sessions.push(Session::accept(now, connection, local, &self.identity));
        } else {
            effects.actions.push(rejection(connection));
        }
        self.settle(now, effects);
        taken
    }

    /// Our connect succeeded (event 16).
    pub(super) fn connected(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        local: IpAddr,
        effects: &mut Effects<'_>,
    ) {
        if let Some(index) = self.index(connection).filter(|&index| self.sessions[index].state == State::Connect) {
            self.timers.stop(Timer::ConnectRetry);
            self.sessions[index].connected(now, local);
        }
        self.settle(now, effects);
    }

    /// A connect failed or a connection ended (event 18).
    pub(super) fn closed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        error: Option<String>,
        effects: &mut Effects<'_>,
    ) {
        if let Some(index) = self.index(connection) {
            self.fail(now, index, Failure::Socket(error), effects);
        }
        self.settle(now, effects);
    }

    /// Bytes came on `connection`.
    pub(super) fn received(&mut self, now: Instant, connection: ConnectionId, bytes: &[u8], effects: &mut Effects<'_>) {
        // Before `Connected` there can be none.
        match self.index(connection) {
            Some(index) if self.sessions[index].state != State::Connect => self.sessions[index].push(bytes),
            _ => return,
        }
        // A message may end this connection, and others: look it up each time.
        while let Some(index) = self.index(connection) {
            match self.sessions[index].next(now, &self.identity, effects.interner, &mut self.counts) {
                Some(outcome) => self.handle_outcome(now, index, outcome, effects),
                None => break,
            }
        }
        self.settle(now, effects);
    }

    /// Runs what is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant, effects: &mut Effects<'_>) {
        let connections: Vec<ConnectionId> = self.sessions.iter().map(|session| session.connection).collect();
        for connection in connections {
            if let Some(index) = self.index(connection) {
                let outcome = self.sessions[index].handle_timeout(now, effects.jitter);
                self.handle_outcome(now, index, outcome, effects);
            }
        }
        if self.timers.expire(Timer::IdleHold, now) && self.phase == Phase::Waiting {
            self.run(now, effects.timers.connect_delay, effects);
        }
        if self.timers.expire(Timer::ConnectRetry, now) {
            // Event 9. In Connect the attempt is given up for another one.
            if let Some(index) = self.sessions.iter().position(|session| session.state == State::Connect) {
                self.close(index, End::Silent, effects);
                // Nobody answers: no such host, a wrong password (the kernel drops what is signed otherwise), or a TTL too low.
                self.last_error = Some("Socket: Connection timed out".to_owned());
            }
            self.dial_if_needed(now, effects);
        }
        self.expire_stale(now, effects);
        self.settle(now, effects);
    }

    /// The first deadline of all.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let own = self.timers.next().into_iter().chain(self.stale_until);
        self.sessions.iter().filter_map(|session| session.timers.next()).chain(own).min()
    }

    /// Whether `connection` is one of its own still.
    pub(super) fn has_session(&self, connection: ConnectionId) -> bool {
        self.index(connection).is_some()
    }

    /// Encodes the OPEN and KEEPALIVE that wait on `connection`; the session, if there is one.
    pub(super) fn transmit_control(&mut self, connection: ConnectionId, out: &mut BytesMut) -> Option<&Session> {
        let index = self.index(connection)?;
        self.sessions[index].transmit_control(&self.identity, &mut self.counts, out);
        self.sessions.get(index)
    }

    /// The session on `connection`.
    pub(super) fn session_mut(&mut self, connection: ConnectionId) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.connection == connection)
    }

    /// The session that is furthest: what `State` and the view are about.
    pub(super) fn session(&self) -> Option<&Session> {
        self.sessions.iter().max_by_key(|session| session.state)
    }

    /// The Established session.
    pub(super) fn established(&self) -> Option<&Session> {
        self.session().filter(|session| session.state == State::Established)
    }

    /// Who the Established peer said that it is.
    pub(super) fn remote(&self) -> Option<Remote> {
        self.established().and_then(|session| session.remote)
    }

    /// Of another AS.
    pub(super) fn is_external(&self) -> bool {
        self.identity.local_as != self.identity.remote_as
    }

    /// Disabled by an administrator.
    pub(super) fn is_disabled(&self) -> bool {
        self.phase == Phase::Disabled
    }

    /// Takes connections now.
    pub(super) fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// The state, as the last event left it.
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Since when it has been in this state; `None` before the start.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Notices a change of state, and asks for transmission where something waits.
    pub(super) fn settle(&mut self, now: Instant, effects: &mut Effects<'_>) {
        let state = match (self.phase, self.session()) {
            (_, Some(session)) => session.state,
            (Phase::Running, None) => State::Active,
            (Phase::Stopped | Phase::Disabled | Phase::Waiting, None) => State::Idle,
        };
        if state != self.state || self.since.is_none() {
            self.state = state;
            self.since = Some(now);
            effects.actions.push(Action::SessionChanged(self.id));
        }
        self.request_transmit(effects.actions);
    }

    /// Asks the driver once for every connection that something waits for.
    pub(super) fn request_transmit(&mut self, actions: &mut Vec<Action>) {
        for session in &mut self.sessions {
            let routes = session.state == State::Established && self.adj_rib_out.is_pending();
            if (session.has_control() || routes) && !session.transmit_requested {
                session.transmit_requested = true;
                actions.push(Action::Transmit { connection: session.connection });
            }
        }
    }

    /// Begins to dial in `delay`, unless passive; takes connections from now on.
    fn run(&mut self, now: Instant, delay: Duration, effects: &mut Effects<'_>) {
        self.phase = Phase::Running;
        self.timers.stop(Timer::IdleHold);
        if self.config().passive {
            return;
        }
        match delay.is_zero() {
            true => self.dial_if_needed(now, effects),
            false => self.timers.set(Timer::ConnectRetry, now + delay),
        }
    }

    fn dial_if_needed(&mut self, now: Instant, effects: &mut Effects<'_>) {
        let needless = self
            .sessions
            .iter()
            .any(|session| session.direction == Direction::Outgoing || session.state >= State::OpenConfirm);
        if self.phase != Phase::Running || self.config().passive || needless {
            return;
        }
        let connection = ConnectionId(*effects.next_connection);
        *effects.next_connection += 1;
        self.sessions.push(Session::dial(connection, &self.identity));
        self.timers.set(Timer::ConnectRetry, now + effects.jitter.apply(effects.timers.connect_timeout));
        effects.actions.push(Action::Connect {
            connection,
            peer: self.id,
            local: self.config().local,
            remote: SocketAddr::new(self.config().remote, self.config().remote_port),
        });
    }

    fn handle_outcome(&mut self, now: Instant, index: usize, outcome: Outcome, effects: &mut Effects<'_>) {
        match outcome {
            Outcome::Quiet => {}
            Outcome::OpenReceived => self.settle_collision(now, index, effects),
            Outcome::Established => {
                self.timers.stop(Timer::ConnectRetry);
                self.last_error = None;
                self.end_of_rib_received = false;
                let identifier = self.remote().map(|remote| remote.identifier);
                let before = std::mem::replace(&mut self.identifier, identifier);
                self.resume(now, before == self.identifier, effects);
                effects.outputs.push(Output::Up);
            }
            Outcome::Update(update) => {
                let end_of_rib = update.end_of_rib == Some(self.identity.family);
                effects.outputs.push(Output::Update(update));
                if end_of_rib {
                    self.end_stale(effects);
                    if !std::mem::replace(&mut self.end_of_rib_received, true) {
                        effects.actions.push(Action::SessionChanged(self.id));
                    }
                }
            }
            Outcome::Refresh(kind) => effects.outputs.push(Output::Refresh(kind)),
            Outcome::Failed(failure) => self.fail(now, index, failure, effects),
        }
    }

    /// A session failed: close it, remember why, and decide how to go on.
    fn fail(&mut self, now: Instant, index: usize, failure: Failure, effects: &mut Effects<'_>) {
        let was_established = self.sessions[index].state == State::Established;
        let (notification, words) = match &failure {
            Failure::Sent(notification) => (Some(notification), format!("BGP Error: {notification}")),
            Failure::Received(notification) => (Some(notification), format!("Received: {notification}")),
            Failure::Socket(Some(error)) => (None, format!("Socket: {error}")),
            Failure::Socket(None) => (None, "Socket: Connection closed".to_owned()),
        };
        // Cease is no error: the peer is asked again as after a lost connection (as BIRD does).
        let is_error = notification.is_some_and(|notification| notification.code != iana::error::CEASE);
        match &failure {
            Failure::Sent(notification) => self.close(index, End::Says(notification.clone()), effects),
            Failure::Received(_) => {
                // Nothing answers a NOTIFICATION (RFC 4271 §6.4).
                self.close(index, End::Silent, effects);
            }
            Failure::Socket(_) => self.forget(index, Some(now), effects),
        }
        // A connection that failed beside a better one says nothing about the peer.
        if self.sessions.iter().any(|session| session.state >= State::OpenConfirm) {
            return;
        }
        self.last_error = Some(words);
        if is_error && self.sessions.is_empty() {
            let (least, most) = effects.timers.error_wait;
            let wait = match self.last_wait {
                Some((wait, at)) if now.saturating_duration_since(at) < ERROR_FORGET_TIME + wait => {
                    (2 * wait).min(most)
                }
                _ => least,
            };
            self.last_wait = Some((wait, now));
            self.phase = Phase::Waiting;
            self.timers.stop(Timer::ConnectRetry);
            self.timers.set(Timer::IdleHold, now + wait);
        } else if !self.config().passive && !self.sessions.iter().any(|s| s.direction == Direction::Outgoing) {
            let wait = match was_established {
                true => effects.timers.connect_delay,
                false => effects.jitter.apply(effects.timers.connect_retry),
            };
            self.timers.set(Timer::ConnectRetry, now + wait);
        }
    }

    /// Closes every connection with Cease and stops every timer.
    fn stop(&mut self, subcode: u8, effects: &mut Effects<'_>) {
        while let Some(index) = self.sessions.len().checked_sub(1) {
            self.close(index, End::Says(Notification::cease(subcode)), effects);
        }
        if self.stale_until.take().is_some() {
            effects.outputs.push(Output::Down);
        }
        self.timers = TimerTable::default();
        self.last_error = None;
    }

    /// Ends a session, and has the driver close the connection.
    fn close(&mut self, index: usize, end: End, effects: &mut Effects<'_>) {
        let session = &mut self.sessions[index];
        let connection = session.connection;
        let (last, lost_at) = match end {
            End::Says(words) => (session.last_words(&words, &self.identity, &mut self.counts), None),
            End::Silent => (Bytes::new(), None),
            End::Outlived(now) => (Bytes::new(), Some(now)),
        };
        self.forget(index, lost_at, effects);
        effects.actions.push(Action::Close { connection, last });
    }

    /// Ends a session whose connection is gone; without a word, if `lost_at` says when.
    fn forget(&mut self, index: usize, lost_at: Option<Instant>, effects: &mut Effects<'_>) {
        let session = self.sessions.swap_remove(index);
        if session.state == State::Established {
            self.end_of_rib_received = false;
            effects.outputs.push(match lost_at {
                Some(now) => self.lose(now, &session),
                None => {
                    self.stale_until = None;
                    Output::Down
                }
            });
        }
    }

    fn index(&self, connection: ConnectionId) -> Option<usize> {
        self.sessions.iter().position(|session| session.connection == connection)
    }
}

/// How a connection is closed.
enum End {
    /// With a NOTIFICATION.
    Says(Notification),
    /// Without.
    Silent,
    /// Without, at this time: the peer has a newer one, and has forgotten this one.
    Outlived(Instant),
}

/// The answer to a connection that nobody wants: Cease / Connection Rejected (RFC 4486).
pub(super) fn rejection(connection: ConnectionId) -> Action {
    let mut last = BytesMut::new();
    super::wire::encode_notification(&Notification::cease(iana::cease::CONNECTION_REJECTED), &mut last);
    Action::Close { connection, last: Bytes::from(last) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_takes_well_under_a_kilobyte() {
        let bytes = size_of::<Peer>() + size_of::<Session>();
        assert!(bytes < 900, "{bytes} bytes");
    }
}
