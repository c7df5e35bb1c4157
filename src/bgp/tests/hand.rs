//! One speaker, and messages made by hand in place of its peers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;

use super::{TestNode, calico_timers, kernel, node, origin, speaker_config};
use crate::bgp::config::SpeakerConfig;
use crate::bgp::event::{Action, ConnectionId, Event, FibChange, PeerId};
use crate::bgp::speaker::Speaker;
use crate::bgp::view::{PathView, SessionView, State};
use crate::bgp::wire::{
    self, Attributes, Capability, Context, Decoder, Family, Interner, Message, Nlri, Notification, Open,
};
use crate::net::{Asn, BgpIdentifier};

/// The speaker under test: 172.18.0.2 in AS 64512, with the block 10.244.1.0/26.
pub(super) struct Hand {
    pub(super) now: Instant,
    pub(super) speaker: Speaker,
    /// The last connection that was dialled.
    pub(super) dialled: Option<ConnectionId>,
    /// Connections dialled so far.
    pub(super) dials: usize,
    /// Connections that the speaker closed.
    pub(super) closed: Vec<ConnectionId>,
    /// Connections on which the speaker sends path identifiers.
    pub(super) with_identifiers: Vec<ConnectionId>,
    /// What the speaker sent.
    pub(super) messages: Vec<Message>,
    /// The same in words, since the last look.
    sent: Vec<(ConnectionId, String)>,
    /// Changes of the kernel since the last look.
    fib: Vec<String>,
}

pub(super) const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 18, 0, 2));

pub(super) fn local() -> TestNode {
    node("172.18.0.2", 64512, &["10.244.1.0/26"])
}

impl Hand {
    /// A speaker with a session to each of `peers`, not started.
    pub(super) fn new(peers: &[TestNode]) -> Self {
        Self::with(speaker_config(&local(), peers, calico_timers(), false))
    }

    pub(super) fn with(config: SpeakerConfig) -> Self {
        Self {
            now: origin(),
            speaker: Speaker::new(config, 1),
            dialled: None,
            dials: 0,
            closed: Vec::new(),
            with_identifiers: Vec::new(),
            messages: Vec::new(),
            sent: Vec::new(),
            fib: Vec::new(),
        }
    }

    /// The same, started, in a namespace with `eth0`.
    pub(super) fn started(peers: &[TestNode]) -> Self {
        let mut hand = Self::new(peers);
        hand.start();
        hand
    }

    pub(super) fn start(&mut self) {
        self.event(Event::Start { recovering: false });
        self.event(Event::Kernel(kernel(Ipv4Addr::new(172, 18, 0, 2), &[])));
    }

    pub(super) fn event(&mut self, event: Event<'_>) {
        let actions = self.speaker.handle_event(self.now, event);
        self.carry_out(actions);
    }

    /// Lets time pass, running every timer at its time.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.speaker.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let actions = self.speaker.handle_timeout(self.now);
            self.carry_out(actions);
        }
        self.now = end;
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect { connection, .. } => {
                    self.dialled = Some(connection);
                    self.dials += 1;
                }
                Action::Transmit { connection } => {
                    let mut out = BytesMut::new();
                    while self.speaker.poll_transmit(self.now, connection, &mut out, 4096) {}
                    self.note(connection, &out);
                }
                Action::Close { connection, last } => {
                    self.note(connection, &last);
                    self.closed.push(connection);
                }
                Action::Fib(changes) => self.fib.extend(changes.iter().map(|change| match change {
                    FibChange::Replace(route) => format!("+ {route}"),
                    FibChange::Remove(route) => format!("- {route}"),
                })),
                Action::SessionChanged(_) => {}
            }
        }
    }

    fn note(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let (mut decoder, mut interner) = (Decoder::new(), Interner::new());
        decoder.push(bytes);
        let add_path_receive_v4 = self.with_identifiers.contains(&connection);
        let context = Context {
            four_octet_as: true,
            extended_messages: true,
            add_path_receive_v4,
            add_path_receive_v6: add_path_receive_v4,
            ..Context::default()
        };
        while let Some(message) = decoder.next(&context, &mut interner).expect("we send what we can read") {
            self.sent.push((connection, words(&message)));
            self.messages.push(message);
        }
    }

    /// What was sent since the last look.
    pub(super) fn sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent).into_iter().map(|(_, words)| words).collect()
    }

    /// What was sent on one connection since the last look at all.
    pub(super) fn sent_on(&mut self, connection: ConnectionId) -> Vec<String> {
        let (on, rest) = std::mem::take(&mut self.sent).into_iter().partition(|(c, _)| *c == connection);
        self.sent = rest;
        let on: Vec<(ConnectionId, String)> = on;
        on.into_iter().map(|(_, words)| words).collect()
    }

    /// Changes of the kernel since the last look.
    pub(super) fn fib(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fib)
    }

    pub(super) fn session(&self, peer: usize) -> SessionView {
        self.speaker.view(self.now).sessions.swap_remove(peer)
    }

    pub(super) fn state(&self) -> State {
        self.session(0).state
    }

    /// A connection from `remote`.
    pub(super) fn accept(&mut self, remote: &str) -> ConnectionId {
        let connection = self.speaker.next_connection();
        let remote = SocketAddr::new(remote.parse().unwrap(), 40_000);
        self.event(Event::Accepted { connection, remote, local: LOCAL });
        connection
    }

    pub(super) fn receive(&mut self, connection: ConnectionId, bytes: &[u8]) {
        self.event(Event::Received { connection, bytes });
    }

    /// Brings the session with `peer` up on a connection from it.
    pub(super) fn establish(&mut self, peer: &TestNode) -> ConnectionId {
        self.establish_with(peer, &open(peer))
    }

    /// The same with this OPEN.
    pub(super) fn establish_with(&mut self, peer: &TestNode, open: &[u8]) -> ConnectionId {
        let connection = self.accept(&peer.address.to_string());
        self.receive(connection, open);
        self.receive(connection, &keepalive());
        connection
    }

    /// What a peer has been told.
    pub(super) fn exported_to(&self, peer: u32) -> Vec<PathView> {
        self.speaker.exported_to(self.now, PeerId(peer))
    }

    /// The paths of a prefix: protocol and reason of loss.
    pub(super) fn paths(&self, prefix: &str) -> Vec<(String, Option<String>)> {
        let paths = self.speaker.paths(self.now, Some(prefix.parse().unwrap()));
        paths.into_iter().map(|path| (path.protocol, path.lost)).collect()
    }

    pub(super) fn disable(&mut self) {
        self.event(Event::Disable(PeerId(0)));
    }
}

/// A message in a word or two.
fn words(message: &Message) -> String {
    match message {
        Message::Open(_) => "OPEN".into(),
        Message::Keepalive => "KEEPALIVE".into(),
        Message::Notification(notification) => format!("{}/{}", notification.code, notification.subcode),
        Message::RouteRefresh(_, kind) => format!("refresh {kind:?}"),
        Message::Update(update) if update.end_of_rib.is_some() => "End-of-RIB".into(),
        Message::Update(update) => {
            let route = |nlri: &Nlri| match nlri.path_id {
                Some(id) => format!("{}#{id}", nlri.prefix),
                None => nlri.prefix.to_string(),
            };
            let mut withdrawn: Vec<String> = update.withdrawn.iter().map(|nlri| format!("-{}", route(nlri))).collect();
            withdrawn.sort();
            let mut announced: Vec<String> = update.announced.iter().map(|nlri| format!("+{}", route(nlri))).collect();
            announced.sort();
            withdrawn.extend(announced);
            withdrawn.join(" ")
        }
    }
}

/// An OPEN of `peer`, with the capabilities that matter.
pub(super) fn open(peer: &TestNode) -> Bytes {
    open_with(peer.asn, peer.address, 240)
}

pub(super) fn open_with(asn: Asn, identifier: Ipv4Addr, hold_time: u16) -> Bytes {
    let open = Open {
        asn,
        hold_time,
        identifier: BgpIdentifier(identifier),
        capabilities: vec![
            Capability::Multiprotocol(Family::Ipv4Unicast),
            Capability::RouteRefresh,
            Capability::FourOctetAs(asn),
            Capability::EnhancedRouteRefresh,
        ],
    };
    encoded(|out| wire::encode_open(&open, out))
}

/// An OPEN of `peer` with graceful restart: the R bit, the time, and the F bit of IPv4 unicast where that is listed.
pub(super) fn open_restarting(peer: &TestNode, restarting: bool, time: u16, forwarding: Option<bool>) -> Bytes {
    let families = forwarding.map(|forwarding| (Family::Ipv4Unicast, forwarding)).into_iter().collect();
    open_of(peer, Capability::GracefulRestart { restarting, time, families })
}

/// An OPEN of `peer` with one more capability.
pub(super) fn open_of(peer: &TestNode, more: Capability) -> Bytes {
    let open = Open {
        asn: peer.asn,
        hold_time: 240,
        identifier: BgpIdentifier(peer.address),
        capabilities: vec![
            Capability::Multiprotocol(Family::Ipv4Unicast),
            Capability::RouteRefresh,
            Capability::FourOctetAs(peer.asn),
            Capability::EnhancedRouteRefresh,
            more,
        ],
    };
    encoded(|out| wire::encode_open(&open, out))
}

pub(super) fn end_of_rib() -> Bytes {
    encoded(|out| wire::encode_end_of_rib(Family::Ipv4Unicast, out))
}

pub(super) fn keepalive() -> Bytes {
    encoded(wire::encode_keepalive)
}

pub(super) fn notification(code: u8, subcode: u8) -> Bytes {
    encoded(|out| wire::encode_notification(&Notification::new(code, subcode), out))
}

/// An announcement of `prefixes` with `attributes`.
pub(super) fn announce(attributes: &Attributes, prefixes: &[&str]) -> Bytes {
    let context = Context { four_octet_as: true, ..Context::default() };
    let nlri = nlri(prefixes);
    encoded(|out| assert_eq!(wire::encode_announcement(attributes, &nlri, &context, out).ok(), Some(nlri.len())))
}

pub(super) fn withdraw(prefixes: &[&str]) -> Bytes {
    let context = Context { four_octet_as: true, ..Context::default() };
    let nlri = nlri(prefixes);
    encoded(|out| assert_eq!(wire::encode_withdrawal(&nlri, &context, out), nlri.len()))
}

/// Attributes of a node's block as Calico's BIRD sends them over iBGP.
pub(super) fn internal(next_hop: &str) -> Attributes {
    Attributes { local_pref: Some(100), ..Attributes::local(next_hop.parse().unwrap()) }
}

fn nlri(prefixes: &[&str]) -> Vec<Nlri> {
    prefixes.iter().map(|prefix| Nlri::from(prefix.parse::<IpNet>().unwrap())).collect()
}

pub(super) fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.freeze()
}
