//! A whole speaker under a stream of events: bytes cut anywhere, connections that come, fail and end, time that jumps, peers that do not read.
//!
//! The input is a script, one octet per step and its operands behind it (`Script::step`). A valid OPEN and KEEPALIVE are single steps, so
//! that Established is a few octets away. What a driver relies on is asserted at each step, and that nothing is left at the end.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use lab::bgp::view::State;
use lab::bgp::wire::{self, Capability, Context, Family, Open};
use lab::bgp::*;
use lab::net::{Asn, BgpIdentifier, IfName, NextHopMode};
use libfuzzer_sys::fuzz_target;

const LOCAL: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 3);
/// An internal peer with a lower identifier, an external passive one with a higher, and one that is not configured.
const REMOTES: [(Ipv4Addr, u32); 3] = [
    (Ipv4Addr::new(172, 18, 0, 2), 64512),
    (Ipv4Addr::new(172, 18, 0, 4), 4_200_000_000),
    (Ipv4Addr::new(172, 18, 0, 9), 64512),
];
/// Two of each direction, where a collision is being settled.
const CONNECTIONS_PER_PEER: usize = 4;

/// Reading the clock for each input would make runs differ.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    while script.step().is_some() {
        script.check();
    }
    script.finish();
});

/// A connection as the driver sees it.
struct Connection {
    remote: usize,
    connected: bool,
    /// The peer does not read.
    stuck: bool,
}

struct Script<'a> {
    input: &'a [u8],
    speaker: Speaker,
    now: Instant,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Every connection that ever was: none may come back.
    seen: BTreeSet<ConnectionId>,
    /// Destinations that the kernel holds.
    fib: BTreeSet<String>,
}

impl<'a> Script<'a> {
    fn new(input: &'a [u8]) -> Self {
        let mut script = Self {
            input,
            speaker: Speaker::new(config(), 1),
            now: *ORIGIN,
            connections: BTreeMap::new(),
            seen: BTreeSet::new(),
            fib: BTreeSet::new(),
        };
        script.event(Event::Start { recovering: false });
        script.event(Event::Kernel(kernel(true)));
        script
    }

    fn octet(&mut self) -> Option<u8> {
        let (first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(*first)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.input.split_at(length.min(self.input.len()));
        self.input = rest;
        taken
    }

    /// One of the connections there are.
    fn connection(&mut self) -> Option<ConnectionId> {
        let index = usize::from(self.octet()?);
        let count = self.connections.len();
        (count > 0).then(|| self.connections.keys().nth(index % count).copied()).flatten()
    }

    fn step(&mut self) -> Option<()> {
        match self.octet()? % 16 {
            0 => {
                let remote = usize::from(self.octet()?) % REMOTES.len();
                let connection = self.speaker.next_connection();
                self.open(connection, remote, true);
                let remote = SocketAddr::from((REMOTES[remote].0, 40_000));
                self.event(Event::Accepted { connection, remote, local: LOCAL.into() });
            }
            1 => {
                let answer = self.octet()?;
                if let Some(connection) = self.connecting() {
                    if answer % 4 != 0 {
                        self.connections.get_mut(&connection)?.connected = true;
                        self.event(Event::Connected { connection, local: LOCAL.into() });
                    } else {
                        self.connections.remove(&connection);
                        self.event(Event::ConnectFailed { connection, error: "Connection refused".into() });
                    }
                }
            }
            2 | 3 => {
                let connection = self.connection();
                let length = usize::from(self.octet()?) * 4;
                let bytes = self.take(length);
                self.receive(connection, bytes);
            }
            // A good header around any body.
            4 | 5 => {
                let connection = self.connection();
                let kind = self.octet()? % 6;
                let length = usize::from(self.octet()?) * 2;
                let body = self.take(length);
                let total = (19 + body.len()) as u16;
                let message = [&[0xff; 16], &total.to_be_bytes()[..], &[kind], body].concat();
                // In two pieces, cut somewhere.
                let (head, tail) = message.split_at(usize::from(self.octet()?) % message.len());
                self.receive(connection, head);
                self.receive(connection, tail);
            }
            6 => {
                let connection = self.connection();
                let hold_time = [0, 3, 9, 240][usize::from(self.octet()?) % 4];
                self.send_open(connection, hold_time);
            }
            7 => {
                let connection = self.connection();
                self.send(connection, wire::encode_keepalive);
            }
            8 | 9 => self.send_update()?,
            10 => {
                let connection = self.connection();
                let kind = [wire::RefreshKind::Request, wire::RefreshKind::Begin, wire::RefreshKind::End];
                let kind = kind[usize::from(self.octet()?) % 3];
                self.send(connection, |out| wire::encode_route_refresh(Family::Ipv4Unicast, kind, out));
            }
            11 => {
                let (connection, orderly) = (self.connection(), self.octet()? % 2 == 0);
                if let Some(connection) = connection {
                    let was_connected = self.connections.remove(&connection)?.connected;
                    let error = (!orderly || !was_connected).then(|| "Connection reset by peer".to_owned());
                    self.event(Event::Closed { connection, error });
                }
            }
            12 => {
                let (mantissa, unit) = (u64::from(self.octet()?), self.octet()?);
                let unit = [1, 50, 1000, 60_000][usize::from(unit) % 4];
                self.pass(Duration::from_millis(mantissa * unit));
            }
            13 => {
                let choice = self.octet()?;
                let id = PeerId(u32::from(choice >> 4));
                self.event(match choice % 3 {
                    0 => Event::Disable(id),
                    1 => Event::Enable(id),
                    _ => Event::Restart(id),
                });
            }
            14 => {
                let choice = self.octet()?;
                match choice % 4 {
                    0 => self.event(Event::Kernel(kernel(false))),
                    1 => self.event(Event::FibFailed { dst: prefix(choice).parse().unwrap() }),
                    _ => self.event(Event::Kernel(kernel(true))),
                }
            }
            _ => {
                if let Some(connection) = self.connection() {
                    let stuck = &mut self.connections.get_mut(&connection)?.stuck;
                    *stuck = !*stuck;
                    if !*stuck {
                        self.event(Event::Writable { connection });
                    }
                }
            }
        }
        Some(())
    }

    /// The first connect under way.
    fn connecting(&self) -> Option<ConnectionId> {
        self.connections.iter().find(|(_, c)| !c.connected).map(|(id, _)| *id)
    }

    fn receive(&mut self, connection: Option<ConnectionId>, bytes: &[u8]) {
        // A driver reads only what is connected, and no longer than it is open.
        if let Some(connection) = connection.filter(|id| self.connections.get(id).is_some_and(|c| c.connected)) {
            self.event(Event::Received { connection, bytes });
        }
    }

    fn send(&mut self, connection: Option<ConnectionId>, encode: impl FnOnce(&mut BytesMut)) {
        let mut bytes = BytesMut::new();
        encode(&mut bytes);
        self.receive(connection, &bytes);
    }

    fn send_open(&mut self, connection: Option<ConnectionId>, hold_time: u16) {
        let Some(remote) = connection.and_then(|id| self.connections.get(&id)).map(|c| c.remote) else { return };
        let (address, asn) = REMOTES[remote];
        let open = Open {
            asn: Asn(asn),
            hold_time,
            identifier: BgpIdentifier(address),
            capabilities: vec![
                Capability::Multiprotocol(Family::Ipv4Unicast),
                Capability::RouteRefresh,
                Capability::FourOctetAs(Asn(asn)),
                Capability::EnhancedRouteRefresh,
                Capability::ExtendedMessage,
                // We send it identifiers; those that it would send are in the bytes of nobody's making.
                Capability::AddPath(vec![(Family::Ipv4Unicast, wire::AddPathMode { receive: true, send: false })]),
                Capability::GracefulRestart {
                    restarting: hold_time == 9,
                    time: 120,
                    families: vec![(Family::Ipv4Unicast, hold_time != 3)],
                },
            ],
        };
        self.send(connection, |out| wire::encode_open(&open, out));
    }

    /// An UPDATE that is good but for what the script says.
    fn send_update(&mut self) -> Option<()> {
        let connection = self.connection();
        let (what, count) = (self.octet()?, self.octet()?);
        let (first, next_hop) = (self.octet()?, self.octet()?);
        let context = Context { four_octet_as: true, ..Context::default() };
        let nlri: Vec<wire::Nlri> = (0..=count % 32)
            .map(|step| wire::Nlri::from(prefix(first.wrapping_add(step)).parse::<ipnet::IpNet>().unwrap()))
            .collect();
        let next_hop = IpAddr::V4(Ipv4Addr::new(172, 18, 0, next_hop));
        let attributes = wire::Attributes {
            local_pref: (what & 2 != 0).then_some(u32::from(what)),
            med: (what & 4 != 0).then_some(u32::from(count)),
            ..wire::Attributes::local(next_hop)
        };
        self.send(connection, |out| match what & 1 {
            0 => drop(wire::encode_announcement(&attributes, &nlri, &context, out)),
            _ => drop(wire::encode_withdrawal(&nlri, &context, out)),
        });
        Some(())
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // A peer that nobody answers dials every 50 ms; a jump of hours may skip what lies between, as a busy host would.
        for _ in 0..64 {
            let Some(at) = self.speaker.poll_timeout().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.run_timers();
        }
        self.now = end;
        self.run_timers();
    }

    /// Runs what is due, and sees to it that this ends: a timer of length zero may follow a timer, but not for ever.
    fn run_timers(&mut self) {
        for _ in 0..4 {
            let actions = self.speaker.handle_timeout(self.now);
            self.carry_out(actions);
            if self.speaker.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("timers are still due");
    }

    fn event(&mut self, event: Event<'_>) {
        let actions = self.speaker.handle_event(self.now, event);
        self.carry_out(actions);
    }

    fn open(&mut self, connection: ConnectionId, remote: usize, connected: bool) {
        assert!(self.seen.insert(connection), "a connection's name is used twice");
        self.connections.insert(connection, Connection { remote, connected, stuck: false });
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect { connection, peer, .. } => self.open(connection, peer.0 as usize, false),
                Action::Transmit { connection } => self.transmit(connection),
                Action::Close { connection, last } => {
                    assert!(self.connections.remove(&connection).is_some(), "closed twice, or never opened");
                    check_framing(&last);
                }
                Action::Fib(changes) => {
                    for change in changes {
                        match change {
                            FibChange::Replace(route) => drop(self.fib.insert(route.dst.to_string())),
                            FibChange::Remove(route) => {
                                assert!(self.fib.remove(&route.dst.to_string()), "removed, and never written");
                            }
                        }
                    }
                }
                Action::SessionChanged(_) => {}
            }
        }
    }

    fn transmit(&mut self, connection: ConnectionId) {
        // An earlier action of the same event may have closed it.
        let Some(open) = self.connections.get(&connection).filter(|open| !open.stuck) else { return };
        assert!(open.connected, "something to send before the connection is there");
        for _ in 0..1000 {
            let mut out = BytesMut::new();
            let more = self.speaker.poll_transmit(self.now, connection, &mut out, 4096);
            assert!(out.len() < 1 << 20, "a round of {} bytes", out.len());
            check_framing(&out);
            if !more {
                return;
            }
        }
        panic!("always more to send");
    }

    fn check(&self) {
        for remote in 0..REMOTES.len() {
            let open = self.connections.values().filter(|c| c.remote == remote).count();
            assert!(open <= CONNECTIONS_PER_PEER, "{open} connections");
        }
        let view = self.speaker.view(self.now);
        for session in &view.sessions {
            // Prefixes come from `prefix` or from bytes; either way no more than were announced can be queued.
            assert!(session.pending <= 1 << 16);
            let up = session.state == State::Established;
            // Only who announced graceful restart is remembered while it is gone.
            let kept = session.stale_ms.is_some();
            assert!(up || kept || (session.imported, session.preferred) == (0, 0), "{session:?}");
            assert!(up || session.exported == 0, "{session:?}");
            assert!(session.preferred <= session.imported, "{session:?}");
        }
    }

    /// After the end of everything nothing may be left.
    fn finish(mut self) {
        for id in [0, 1] {
            self.event(Event::Disable(PeerId(id)));
        }
        self.check();
        assert!(self.connections.is_empty(), "connections that nobody closes");
        assert_eq!(self.speaker.poll_timeout(), None);
        // Only BGP routes go into this kernel, and there is no peer any more.
        let own = prefix(0);
        self.fib.retain(|dst| *dst != own);
        assert!(self.fib.is_empty(), "{:?}", self.fib);
    }
}

/// Whole messages, as long as they say, of types that exist.
fn check_framing(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let header = bytes.get(..19).expect("a whole header");
        assert!(header[..16] == [0xff; 16] && (1..=5).contains(&header[18]));
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        assert!((19..=65_535).contains(&length) && length <= bytes.len());
        bytes = &bytes[length..];
    }
}

/// 0 is our own block.
fn prefix(number: u8) -> String {
    format!("10.244.{}.{}/26", number / 4, number % 4 * 64)
}

fn config() -> SpeakerConfig {
    let peer = |(address, asn): (Ipv4Addr, u32), passive| PeerConfig {
        name: format!("Mesh_{}", address.to_string().replace('.', "_")),
        remote: address.into(),
        remote_port: 179,
        remote_as: Asn(asn),
        local_as: Asn(64512),
        local: Some(LOCAL.into()),
        passive,
        restart_time: Duration::from_secs(120),
        next_hop: NextHopMode::Auto,
        allowed_local_as: 0,
        rr_client: false,
        keepalive_time: None,
        ttl_security: None,
        password: None,
        extended_messages: true,
        add_path: true,
        expected_down: false,
        import_filters: Vec::new(),
        export_filters: Vec::new(),
    };
    SpeakerConfig {
        name: "fuzzed".into(),
        family: Family::Ipv4Unicast,
        local_as: Asn(64512),
        router_id: BgpIdentifier(LOCAL),
        listen_port: 179,
        listen_address: None,
        reachable_by: Vec::new(),
        cluster_id: None,
        timers: TimerConfig {
            hold_time: Duration::from_secs(9),
            connect_delay: Duration::ZERO,
            connect_retry: Duration::from_millis(50),
            connect_timeout: Duration::from_secs(1),
            error_wait: (Duration::from_millis(50), Duration::from_millis(400)),
        },
        statics: vec![prefix(0).parse().unwrap()],
        peers: vec![peer(REMOTES[0], false), peer(REMOTES[1], true)],
        policy: PolicyConfig {
            own_blocks: vec![prefix(0).parse().unwrap()],
            pools: vec![PoolPolicy {
                cidr: "10.244.0.0/16".parse().unwrap(),
                disable_bgp_export: false,
                kernel: KernelRule::Direct,
            }],
            normal_priority: None,
            export: ExportPolicy::Router { networks: Vec::new(), transit: true },
            advertisements: Vec::new(),
            merge_paths: false,
        },
    }
}

/// The namespace with eth0 up or down.
fn kernel(up: bool) -> KernelSnapshot {
    let (eth0, connected) =
        (IfName::new("eth0").unwrap(), "172.18.0.0/16 dev eth0 proto kernel scope link src 172.18.0.3");
    match up {
        true => KernelSnapshot {
            interfaces: vec![(eth0, vec!["172.18.0.3/16".parse().unwrap()])],
            routes: vec![connected.parse().unwrap(), "default via 172.18.0.1 dev eth0".parse().unwrap()],
        },
        false => KernelSnapshot::default(),
    }
}
