//! One TCP connection's part of the state machine of RFC 4271 §8: Connect, OpenSent, OpenConfirm and Established.
//!
//! Idle and Active are states without a connection and belong to `peer`, as does everything that concerns two connections. What a
//! session wants sent waits in it until the driver asks; what the other end sent comes out as an [`Outcome`].

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::event::ConnectionId;
use super::timers::{Jitter, Timer, TimerTable};
use super::view::{MessageCounts, State};
use super::wire::{
    self, AddPathMode, Capability, Context, Decoder, Family, Interner, Message, Notification, Open, RefreshKind,
    Update, iana,
};
use crate::net::{Asn, BgpIdentifier};

/// Hold timer before the hold time is negotiated: "a large value", of which 4 minutes is suggested (RFC 4271 §8.2.2, OpenSent).
const LARGE_HOLD: Duration = Duration::from_secs(240);

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

/// What both ends must be for a session to come up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// The family that the session is for.
    pub(super) family: Family,
    /// Our AS.
    pub(super) local_as: Asn,
    /// Our identifier.
    pub(super) local_id: BgpIdentifier,
    /// The AS that the peer must have.
    pub(super) remote_as: Asn,
    /// The hold time that we offer.
    pub(super) hold_time: Duration,
    /// Time between our keepalives, where it is set.
    pub(super) keepalive_time: Option<Duration>,
    /// The graceful-restart time that we offer.
    pub(super) restart_time: Duration,
    /// We recover from a restart of our own: the R and F bits (RFC 4724 §3).
    pub(super) recovering: bool,
    /// We announce extended messages.
    pub(super) extended_messages: bool,
    /// We announce ADD-PATH, both ways.
    pub(super) add_path: bool,
}

impl Identity {
    /// The OPEN that we send: the capabilities of Calico's BIRD in its order (calico-behaviour 7.1), as far as they
    /// are wanted; extended messages in the place that BIRD 2 gives them.
    pub(super) fn open(&self) -> Open {
        let mut capabilities = vec![Capability::Multiprotocol(self.family), Capability::RouteRefresh];
        if self.extended_messages {
            capabilities.push(Capability::ExtendedMessage);
        }
        capabilities.push(Capability::GracefulRestart {
            restarting: self.recovering,
            // The field has twelve bits (RFC 4724 §3).
            time: u16::try_from(self.restart_time.as_secs()).map_or(4095, |seconds| seconds.min(4095)),
            // Only then is there forwarding state that was preserved; BIRD sets both bits together, too.
            families: vec![(self.family, self.recovering)],
        });
        capabilities.push(Capability::FourOctetAs(self.local_as));
        if self.add_path {
            let both = AddPathMode { receive: true, send: true };
            capabilities.push(Capability::AddPath(vec![(self.family, both)]));
        }
        capabilities.extend([Capability::EnhancedRouteRefresh, Capability::LongLivedGracefulRestart(Bytes::new())]);
        Open {
            asn: self.local_as,
            hold_time: u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX),
            identifier: self.local_id,
            capabilities,
        }
    }

    fn external(&self) -> bool {
        self.local_as != self.remote_as
    }
}

/// What came of bytes or of a timer.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing that concerns anyone else.
    Quiet,
    /// A good OPEN came: the owner settles collisions and calls [`Session::confirm`], or closes.
    OpenReceived,
    /// The first KEEPALIVE came.
    Established,
    /// Routes came.
    Update(Update),
    /// A ROUTE-REFRESH of a family that is ours.
    Refresh(RefreshKind),
    /// The session is over.
    Failed(Failure),
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// We say so, with this NOTIFICATION.
    Sent(Notification),
    /// The peer said so.
    Received(Notification),
    /// The connection ended; with the system's words, or orderly.
    Socket(Option<String>),
}

/// Something to send that is no UPDATE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Control {
    Open,
    Keepalive,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    /// The connection's name.
    pub(super) connection: ConnectionId,
    /// Who opened it.
    pub(super) direction: Direction,
    /// Our end's address, once connected.
    pub(super) local: Option<IpAddr>,
    /// Connect or later.
    pub(super) state: State,
    /// How messages are read and written on it.
    pub(super) context: Context,
    /// What the peer's OPEN said.
    pub(super) remote: Option<Remote>,
    /// Hold and Keepalive.
    pub(super) timers: TimerTable,
    /// The driver was told to transmit and has not emptied us yet.
    pub(super) transmit_requested: bool,
    decoder: Decoder,
    control: VecDeque<Control>,
    /// What is configured: time between keepalives, and the hold time that it goes with.
    keepalive_time: Option<(Duration, Duration)>,
}

/// What the peer's OPEN said, as far as it matters later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// Its identifier.
    pub(super) identifier: BgpIdentifier,
    /// The negotiated hold time: the smaller of both; zero switches hold and keepalive timers off.
    pub(super) hold_time: Duration,
    /// RFC 2918.
    pub(super) route_refresh: bool,
    /// RFC 7313.
    pub(super) enhanced_route_refresh: bool,
    /// RFC 4724.
    pub(super) graceful_restart: Option<GracefulRestart>,
    /// RFC 9494.
    pub(super) long_lived_graceful_restart: bool,
    /// It listed our family (RFC 4760); one that lists none speaks IPv4 unicast.
    pub(super) multiprotocol: bool,
}

/// What the peer's graceful-restart capability said (RFC 4724 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GracefulRestart {
    /// The R bit: it has restarted, and waits for nobody's End-of-RIB but ours.
    pub(super) restarting: bool,
    /// How long its routes may be kept without it, in seconds; zero where it does not list our family, which comes to the same.
    pub(super) time: u16,
    /// The F bit of our family: it has kept forwarding.
    pub(super) forwarding: bool,
}

impl GracefulRestart {
    fn of(capability: &Capability, ours: Family) -> Option<Self> {
        let Capability::GracefulRestart { restarting, time, families } = capability else { return None };
        let listed = families.iter().find(|(family, _)| *family == ours);
        let time = listed.map_or(0, |_| *time);
        Some(Self { restarting: *restarting, time, forwarding: listed.is_some_and(|(_, forwarding)| *forwarding) })
    }
}

impl Session {
    /// A connection that we are about to open.
    pub(super) fn dial(connection: ConnectionId, identity: &Identity) -> Self {
        Self {
            connection,
            direction: Direction::Outgoing,
            local: None,
            state: State::Connect,
            context: Context { external: identity.external(), ..Context::default() },
            remote: None,
            timers: TimerTable::default(),
            transmit_requested: false,
            decoder: Decoder::new(),
            control: VecDeque::new(),
            keepalive_time: identity.keepalive_time.map(|time| (time, identity.hold_time)),
        }
    }

    /// A connection that the peer opened: straight to OpenSent.
    pub(super) fn accept(now: Instant, connection: ConnectionId, local: IpAddr, identity: &Identity) -> Self {
        let mut session = Self { direction: Direction::Incoming, ..Self::dial(connection, identity) };
        session.connected(now, local);
        session
    }

    /// The connection is there: send OPEN and enter OpenSent (events 16 and 17).
    pub(super) fn connected(&mut self, now: Instant, local: IpAddr) {
        self.local = Some(local);
        self.state = State::OpenSent;
        self.control.push_back(Control::Open);
        self.timers.set(Timer::Hold, now + LARGE_HOLD);
    }

    /// Takes bytes as they came; [`Session::next`] reads the messages out of them.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    /// Reads one message and acts on it; `None` once no whole message is left.
    pub(super) fn next(
        &mut self,
        now: Instant,
        identity: &Identity,
        interner: &mut Interner,
        counts: &mut MessageCounts,
    ) -> Option<Outcome> {
        match self.decoder.next(&self.context, interner) {
            Ok(None) => None,
            Ok(Some(message)) => Some(self.handle_message(now, message, identity, counts)),
            Err(notification) => Some(Outcome::Failed(Failure::Sent(notification))),
        }
    }

    /// One message in the present state (events 19 to 28).
    fn handle_message(
        &mut self,
        now: Instant,
        message: Message,
        identity: &Identity,
        counts: &mut MessageCounts,
    ) -> Outcome {
        match &message {
            Message::Update(_) => counts.updates_received += 1,
            Message::Keepalive => counts.keepalives_received += 1,
            Message::Notification(_) => counts.notifications_received += 1,
            Message::Open(_) | Message::RouteRefresh(..) => {}
        }
        match (self.state, message) {
            (_, Message::Notification(notification)) => Outcome::Failed(Failure::Received(notification)),
            (State::OpenSent, Message::Open(open)) => match self.accept_open(&open, identity) {
                Ok(()) => Outcome::OpenReceived,
                Err(notification) => Outcome::Failed(Failure::Sent(notification)),
            },
            (State::OpenConfirm, Message::Keepalive) => {
                self.state = State::Established;
                self.restart_hold(now);
                Outcome::Established
            }
            (State::Established, Message::Keepalive) => {
                self.restart_hold(now);
                Outcome::Quiet
            }
            (State::Established, Message::Update(update)) => {
                self.restart_hold(now);
                Outcome::Update(update)
            }
            (State::Established, Message::RouteRefresh(family, kind)) => match family == Some(identity.family) {
                true => Outcome::Refresh(kind),
                // A family that was not negotiated is ignored (RFC 2918 §4).
                false => Outcome::Quiet,
            },
            // RFC 6608: the subcode names the state that the message is unexpected in.
            (state, _) => Outcome::Failed(Failure::Sent(Notification::fsm_error(match state {
                State::OpenSent => iana::fsm::OPEN_SENT,
                State::OpenConfirm => iana::fsm::OPEN_CONFIRM,
                State::Established => iana::fsm::ESTABLISHED,
                State::Idle | State::Connect | State::Active => 0,
            }))),
        }
    }

    /// Checks an OPEN against what is configured (RFC 4271 §6.2) and negotiates.
    fn accept_open(&mut self, open: &Open, identity: &Identity) -> Result<(), Notification> {
        let refuse = |subcode, data: &[u8]| Err(Notification::with_data(iana::error::OPEN, subcode, data));
        if open.asn != identity.remote_as {
            return refuse(iana::open::BAD_PEER_AS, &open.asn.0.to_be_bytes());
        }
        // Within one AS, identifiers are unique (RFC 6286 §2.2).
        let ours = !identity.external() && open.identifier == identity.local_id;
        if ours || open.identifier.0.is_unspecified() {
            return refuse(iana::open::BAD_IDENTIFIER, &open.identifier.0.octets());
        }
        if matches!(open.hold_time, 1 | 2) {
            return refuse(iana::open::UNACCEPTABLE_HOLD_TIME, &open.hold_time.to_be_bytes());
        }
        let families: Vec<Option<Family>> = open.capabilities.iter().filter_map(Capability::family).collect();
        let speaks_ours = match families.is_empty() {
            true => identity.family == Family::Ipv4Unicast,
            false => families.contains(&Some(identity.family)),
        };
        if !speaks_ours {
            let missing = Capability::Multiprotocol(identity.family).to_bytes();
            return refuse(iana::open::UNSUPPORTED_CAPABILITY, &missing);
        }
        let has = |wanted: fn(&Capability) -> bool| open.capabilities.iter().any(wanted);
        self.context.four_octet_as = has(|c| matches!(c, Capability::FourOctetAs(_)));
        // Only where both did may either send them (RFC 8654 §4).
        self.context.extended_messages =
            identity.extended_messages && has(|c| matches!(c, Capability::ExtendedMessage));
        // Each direction where one end can send and the other receive (RFC 7911 §4).
        let modes = open.capabilities.iter().filter_map(|capability| match capability {
            Capability::AddPath(families) if identity.add_path => Some(families),
            _ => None,
        });
        for (_, mode) in modes.flatten().filter(|(family, _)| *family == identity.family) {
            self.context.set_add_path(identity.family, AddPathMode { receive: mode.send, send: mode.receive });
        }
        self.remote = Some(Remote {
            identifier: open.identifier,
            hold_time: Duration::from_secs(open.hold_time.into()).min(identity.hold_time),
            route_refresh: has(|c| matches!(c, Capability::RouteRefresh)),
            enhanced_route_refresh: has(|c| matches!(c, Capability::EnhancedRouteRefresh)),
            graceful_restart: open
                .capabilities
                .iter()
                .find_map(|capability| GracefulRestart::of(capability, identity.family)),
            long_lived_graceful_restart: has(|c| matches!(c, Capability::LongLivedGracefulRestart(_))),
            multiprotocol: families.contains(&Some(identity.family)),
        });
        Ok(())
    }

    /// The OPEN stands: answer with KEEPALIVE and enter OpenConfirm.
    pub(super) fn confirm(&mut self, now: Instant, jitter: &mut Jitter) {
        self.state = State::OpenConfirm;
        self.control.push_back(Control::Keepalive);
        self.restart_hold(now);
        self.restart_keepalive(now, jitter);
    }

    /// Runs what is due at `now`: HoldTimer (event 10) and KeepaliveTimer (event 11).
    pub(super) fn handle_timeout(&mut self, now: Instant, jitter: &mut Jitter) -> Outcome {
        if self.timers.expire(Timer::Hold, now) {
            return Outcome::Failed(Failure::Sent(Notification::hold_timer_expired()));
        }
        if self.timers.expire(Timer::Keepalive, now) {
            // One that still waits for a slow peer says as much as two.
            if !self.control.contains(&Control::Keepalive) {
                self.control.push_back(Control::Keepalive);
            }
            self.restart_keepalive(now, jitter);
        }
        Outcome::Quiet
    }

    /// Restarts KeepaliveTimer, as every KEEPALIVE and UPDATE sent does (RFC 4271 §8.2.2, Established).
    pub(super) fn restart_keepalive(&mut self, now: Instant, jitter: &mut Jitter) {
        match self.keepalive_interval() {
            Some(interval) => self.timers.set(Timer::Keepalive, now + jitter.apply(interval)),
            None => self.timers.stop(Timer::Keepalive),
        }
    }

    fn restart_hold(&mut self, now: Instant) {
        match self.remote.map(|remote| remote.hold_time).filter(|time| !time.is_zero()) {
            Some(time) => self.timers.set(Timer::Hold, now + time),
            None => self.timers.stop(Timer::Hold),
        }
    }

    /// A third of the negotiated hold time, or the configured time, shorter by as much as the hold time is (as BIRD has it);
    /// `None` where that is zero.
    pub(super) fn keepalive_interval(&self) -> Option<Duration> {
        let negotiated = self.remote?.hold_time;
        let interval = match self.keepalive_time {
            Some((time, offered)) if !offered.is_zero() => {
                time.mul_f64(negotiated.as_secs_f64() / offered.as_secs_f64())
            }
            _ => negotiated / 3,
        };
        Some(interval).filter(|interval| !interval.is_zero())
    }

    /// Whether OPEN or KEEPALIVE wait to be sent.
    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// Encodes the OPEN and KEEPALIVE that wait.
    pub(super) fn transmit_control(&mut self, identity: &Identity, counts: &mut MessageCounts, out: &mut BytesMut) {
        while let Some(control) = self.control.pop_front() {
            match control {
                Control::Open => wire::encode_open(&identity.open(), out),
                Control::Keepalive => {
                    counts.keepalives_sent += 1;
                    wire::encode_keepalive(out);
                }
            }
        }
        // A deque keeps its buffer; an idle session should not.
        self.control = VecDeque::new();
    }

    /// The last bytes of this connection: what was promised before, then the NOTIFICATION.
    pub(super) fn last_words(
        &mut self,
        notification: &Notification,
        identity: &Identity,
        counts: &mut MessageCounts,
    ) -> Bytes {
        let mut out = BytesMut::new();
        if self.state == State::Connect {
            return Bytes::new();
        }
        self.transmit_control(identity, counts, &mut out);
        counts.notifications_sent += 1;
        wire::encode_notification(notification, &mut out);
        out.freeze()
    }

    /// Capabilities that both ends announced, by name.
    pub(super) fn common_capabilities(&self, family: Family) -> Vec<String> {
        let Some(remote) = self.remote else { return Vec::new() };
        let unicast = match family {
            Family::Ipv4Unicast => "IPv4 unicast",
            Family::Ipv6Unicast => "IPv6 unicast",
        };
        [
            (remote.multiprotocol, unicast),
            (remote.route_refresh, "route refresh"),
            (self.context.extended_messages, "extended messages"),
            (remote.graceful_restart.is_some(), "graceful restart"),
            (self.context.four_octet_as, "4-octet AS"),
            (self.context.add_path_receive(family), "ADD-PATH receive"),
            (self.context.add_path_send(family), "ADD-PATH send"),
            (remote.enhanced_route_refresh, "enhanced route refresh"),
            (remote.long_lived_graceful_restart, "long-lived graceful restart"),
        ]
        .into_iter()
        .filter(|(announced, _)| *announced)
        .map(|(_, name)| name.to_owned())
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_is_that_of_calicos_bird() {
        let identity = Identity {
            family: Family::Ipv4Unicast,
            local_as: Asn(64512),
            local_id: BgpIdentifier("172.18.0.2".parse().unwrap()),
            remote_as: Asn(64512),
            hold_time: Duration::from_secs(240),
            restart_time: Duration::from_secs(120),
            keepalive_time: None,
            recovering: false,
            extended_messages: false,
            add_path: true,
        };
        let expected = Open {
            asn: Asn(64512),
            hold_time: 240,
            identifier: BgpIdentifier("172.18.0.2".parse().unwrap()),
            capabilities: vec![
                Capability::Multiprotocol(Family::Ipv4Unicast),
                Capability::RouteRefresh,
                Capability::GracefulRestart {
                    restarting: false,
                    time: 120,
                    families: vec![(Family::Ipv4Unicast, false)],
                },
                Capability::FourOctetAs(Asn(64512)),
                Capability::AddPath(vec![(Family::Ipv4Unicast, AddPathMode { receive: true, send: true })]),
                Capability::EnhancedRouteRefresh,
                Capability::LongLivedGracefulRestart(Bytes::new()),
            ],
        };
        assert_eq!(identity.open(), expected);
        let without = Identity { add_path: false, ..identity };
        assert!(!without.open().capabilities.iter().any(|capability| matches!(capability, Capability::AddPath(_))));
        let long = Identity { restart_time: Duration::from_secs(100_000), ..identity };
        assert!(matches!(long.open().capabilities[2], Capability::GracefulRestart { time: 4095, .. }));
        let extended = Identity { extended_messages: true, ..identity };
        assert_eq!(extended.open().capabilities[2], Capability::ExtendedMessage);
        let recovering = Identity { recovering: true, ..identity };
        let bits =
            Capability::GracefulRestart { restarting: true, time: 120, families: vec![(Family::Ipv4Unicast, true)] };
        assert_eq!(recovering.open().capabilities[2], bits);
    }
}
