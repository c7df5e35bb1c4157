//! One speaker, one good peer, and one that means harm from the address of the third node.
//!
//! Whatever the last one does, the speaker answers it as RFC 4271 §6 says, the session with the good peer stays up and goes on to have its
//! keepalives, and the process does not grow with what it is sent.
//!
//! On a host that has other things to do everything is late. So what counts of a silence is what the speakers' threads worked or slept,
//! and not what they waited for a processor (`schedstat`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ipnet::{IpNet, Ipv4Net};
use lab::bgp::view::{SessionView, State};
use lab::bgp::wire::{
    self, Attributes, Capability, Context, Decoder, Family, Interner, Message, Nlri, Open, RefreshKind,
};
use lab::bgp_io::Order;
use lab::net::{Asn, BgpIdentifier};
use socket2::{Domain, SockRef, Socket, Type};

use crate::cluster::{Alone, CONTROL_PLANE, Cluster, WORKER, WORKER2, alone, until};

/// So often that even a short attack would keep some of them back.
const KEEPALIVE: Duration = Duration::from_millis(100);
/// No host is so busy that a session ends for it.
const HOLD_TIME: Duration = Duration::from_secs(240);
/// What a keepalive may be late without the host being to blame.
const LATE: Duration = Duration::from_secs(1);
/// The session that is to be left alone, at each of its ends.
const GOOD: [(usize, usize); 2] = [(CONTROL_PLANE, WORKER), (WORKER, CONTROL_PLANE)];
/// How long the speaker may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
const CONTEXT: Context = Context {
    four_octet_as: true,
    external: false,
    add_path_receive_v4: false,
    add_path_receive_v6: false,
    add_path_send_v4: false,
    add_path_send_v6: false,
    extended_messages: false,
};

/// The victim is the control plane's speaker, which waits for connections; the good peer is the worker; we are worker2.
struct Scene {
    cluster: Cluster,
    start: Instant,
    _alone: Alone,
}

impl Scene {
    fn new(name: &str, statics: u32) -> Self {
        let alone = alone();
        let mut cluster = Cluster::build(name, |config| {
            config.timers.hold_time = HOLD_TIME;
            config.peers.iter_mut().for_each(|peer| peer.keepalive_time = Some(KEEPALIVE));
            // Many routes of one node, so that there is much to send.
            if config.router_id.0 == Ipv4Addr::new(172, 18, 0, 2) {
                config.statics.extend((0..statics).map(|number| IpNet::V4(host(Ipv4Addr::new(10, 200, 0, 0), number))));
                config.policy.own_blocks.extend((0..statics).map(|number| host(Ipv4Addr::new(10, 200, 0, 0), number)));
            }
        });
        cluster.start(CONTROL_PLANE);
        cluster.start(WORKER);
        until("the good session is up", || {
            GOOD.iter().all(|&(node, other)| cluster.session(node, other).state == State::Established)
        });
        Self { cluster, start: Instant::now(), _alone: alone }
    }

    /// Runs `attack` while the good session is watched from both ends.
    fn watch(&self, attack: impl FnOnce(&Self)) {
        let over = AtomicBool::new(false);
        // Each end by itself: whoever asks the victim may have to wait for it, and would not see what the other end has to wait for.
        let longest = |(node, other)| {
            let mut silence = Silence::default();
            while !over.load(Ordering::Relaxed) {
                let session = self.cluster.session(node, other);
                silence.look(&session, self.cluster.waited_for_processors());
                std::thread::sleep(KEEPALIVE / 10);
            }
            silence.longest
        };
        std::thread::scope(|scope| {
            let longest = &longest;
            let watchers = GOOD.map(|ends| scope.spawn(move || longest(ends)));
            // The watchers must end even if the attack panics.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack(self)));
            over.store(true, Ordering::Relaxed);
            let longest = watchers.map(|watcher| watcher.join().unwrap());
            if let Err(panic) = result {
                std::panic::resume_unwind(panic);
            }
            let is_late = |silence: &Duration| *silence > KEEPALIVE + LATE;
            assert!(!longest.iter().any(is_late), "a keepalive of the good session was late: silences of {longest:?}");
        });
        let up = self.start.elapsed();
        let session = self.cluster.session(WORKER, CONTROL_PLANE);
        assert_eq!((session.state, session.messages.notifications_received), (State::Established, 0));
        assert!(u128::from(session.since_ms) + 1 >= up.as_millis(), "it went down and came back");
    }

    /// A connection to the victim from `source`.
    fn connect_from(&self, source: Ipv4Addr) -> TcpStream {
        let victim = SocketAddr::from((self.cluster.address(CONTROL_PLANE), 179));
        let connect = move || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((source, 0)).into())?;
            socket.connect(&victim.into())?;
            Ok(TcpStream::from(socket))
        };
        let stream =
            self.cluster.netns[WORKER2].run(connect).unwrap().unwrap_or_else(|error: std::io::Error| panic!("{error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        stream.set_write_timeout(Some(ANSWER)).unwrap();
        stream
    }

    /// A connection that the victim greets with OPEN: after an error it does not for a while.
    fn connect(&self) -> Foe {
        let start = Instant::now();
        loop {
            let mut foe = Foe::new(self.connect_from(self.cluster.address(WORKER2)));
            match foe.next().as_deref() {
                Some("OPEN") => return foe,
                Some("6/5 ") => {}
                other => panic!("{other:?} in place of OPEN"),
            }
            assert!(start.elapsed() < ANSWER, "rejected for {ANSWER:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn open(&self) -> Open {
        Open {
            asn: Asn(64512),
            hold_time: 0,
            identifier: BgpIdentifier(self.cluster.address(WORKER2)),
            capabilities: vec![
                Capability::Multiprotocol(Family::Ipv4Unicast),
                Capability::RouteRefresh,
                Capability::FourOctetAs(Asn(64512)),
            ],
        }
    }

    fn establish(&self) -> Foe {
        let mut foe = self.connect();
        foe.send(&encoded(|out| wire::encode_open(&self.open(), out)));
        foe.send(&encoded(wire::encode_keepalive));
        until("the foe's session is up", || self.cluster.session(CONTROL_PLANE, WORKER2).state == State::Established);
        foe
    }

    /// Asks `times` for everything, and goes on until no socket takes any more of it; `foe` reads nothing.
    fn fill(&self, foe: &mut Foe, times: usize) {
        let refresh = encoded(|out| wire::encode_route_refresh(Family::Ipv4Unicast, RefreshKind::Request, out));
        foe.send(&refresh.repeat(times));
        let mut last = 0;
        until("the sockets are full", || {
            // 50 KiB each time.
            foe.send(&refresh);
            std::thread::sleep(Duration::from_millis(100));
            let session = self.cluster.session(CONTROL_PLANE, WORKER2);
            let sent = session.messages.updates_sent;
            session.pending > 0 && std::mem::replace(&mut last, sent) == sent
        });
    }
}

/// Silences at one end.
#[derive(Clone, Copy, Default)]
struct Silence {
    longest: Duration,
    /// This one so far, and what the threads had waited when it began.
    now: Duration,
    waited: Duration,
    looked: Duration,
}

impl Silence {
    fn look(&mut self, session: &SessionView, waited: Duration) {
        // For ever where the session is down.
        let now = session.hold.map_or(Duration::MAX, |(whole, left)| Duration::from_millis(whole - left));
        if now < self.now {
            // It began after the last look.
            self.waited = self.looked;
        }
        (self.now, self.looked) = (now, waited);
        self.longest = self.longest.max(now.saturating_sub(waited - self.waited));
    }
}

/// The hostile end of a connection.
struct Foe {
    stream: TcpStream,
    decoder: Decoder,
    interner: Interner,
}

impl Foe {
    fn new(stream: TcpStream) -> Self {
        Self { stream, decoder: Decoder::new(), interner: Interner::new() }
    }

    /// Sends; the victim may have closed by now.
    fn send(&mut self, bytes: &[u8]) {
        match self.stream.write_all(bytes) {
            Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                panic!("{error}")
            }
            _ => {}
        }
    }

    /// The next message in words; `None` at the end of the connection.
    fn next(&mut self) -> Option<String> {
        loop {
            match self.decoder.next(&CONTEXT, &mut self.interner).expect("what we send is well-formed") {
                Some(Message::Open(_)) => return Some("OPEN".into()),
                Some(Message::Keepalive) => return Some("KEEPALIVE".into()),
                Some(Message::Update(_)) => return Some("UPDATE".into()),
                Some(Message::RouteRefresh(..)) => return Some("ROUTE-REFRESH".into()),
                Some(Message::Notification(n)) => {
                    let data: String = n.data.iter().map(|octet| format!("{octet:02x}")).collect();
                    return Some(format!("{}/{} {data}", n.code, n.subcode));
                }
                None => {}
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }

    /// How it ends: the last message but KEEPALIVE and UPDATE, `end` for none.
    fn end(mut self) -> String {
        let mut last = "end".to_owned();
        while let Some(message) = self.next() {
            if !matches!(message.as_str(), "KEEPALIVE" | "UPDATE") {
                last = message;
            }
        }
        last
    }
}

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.freeze()
}

/// A message with a good marker, whatever else is in it.
fn message(length: u16, kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff; 16], &length.to_be_bytes()[..], &[kind], body].concat()
}

fn host(base: Ipv4Addr, number: u32) -> Ipv4Net {
    Ipv4Net::from(Ipv4Addr::from(u32::from(base) + number))
}

/// Announcements of `count` prefixes with a MED that makes them new.
fn flood(next_hop: Ipv4Addr, count: u32, med: u32) -> Bytes {
    let attributes = Attributes { local_pref: Some(100), med: Some(med), ..Attributes::local(next_hop.into()) };
    let nlri: Vec<Nlri> =
        (0..count).map(|number| Nlri::from(IpNet::V4(host(Ipv4Addr::new(10, 201, 0, 0), number)))).collect();
    encoded(|out| {
        let mut rest = &nlri[..];
        while !rest.is_empty() {
            let taken = wire::encode_announcement(&attributes, rest, &CONTEXT, out).unwrap();
            rest = &rest[taken..];
        }
    })
}

/// Resident memory of this process in MiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    status.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[test]
fn malformed_openings_are_answered_as_the_rfc_says_and_disturb_nobody() {
    let scene = Scene::new("t-hostile-open", 0);
    let open = |change: fn(&mut Vec<u8>)| {
        let mut bytes = encoded(|out| wire::encode_open(&scene.open(), out)).to_vec();
        change(&mut bytes);
        bytes
    };
    let keepalive = message(19, 4, &[]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("zeros", vec![0; 64], "1/1 "),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "1/1 "),
        ("length 18", message(18, 4, &[]), "1/2 0012"),
        ("length 65535", message(65535, 2, &[0; 100]), "1/2 ffff"),
        ("an OPEN of 28 bytes", message(28, 1, &[4; 9]), "1/2 001c"),
        ("a KEEPALIVE of 20 bytes", message(20, 4, &[0]), "1/2 0014"),
        ("type 9", message(19, 9, &[]), "1/3 09"),
        ("version 3", open(|bytes| bytes[19] = 3), "2/1 0004"),
        ("hold time 1", open(|bytes| bytes[23] = 1), "2/6 0001"),
        ("identifier 0", open(|bytes| bytes[24..28].fill(0)), "2/3 00000000"),
        ("a parameter too long", open(|bytes| bytes[28] = 200), "2/0 "),
        ("KEEPALIVE first", keepalive.clone(), "5/1 "),
        ("UPDATE before KEEPALIVE", [open(|_| {}), message(23, 2, &[0; 4])].concat(), "5/2 "),
        ("OPEN twice", [open(|_| {}), keepalive.clone(), open(|_| {})].concat(), "5/3 "),
        ("withdrawn routes too long", [open(|_| {}), keepalive, message(23, 2, &[0xff; 4])].concat(), "3/1 "),
        (
            "another AS",
            encoded(|out| wire::encode_open(&Open { asn: Asn(65000), capabilities: vec![], ..scene.open() }, out))
                .to_vec(),
            "2/2 0000fde8",
        ),
    ];
    scene.watch(|scene| {
        for (what, bytes, expected) in cases {
            let mut foe = scene.connect();
            foe.send(&bytes);
            assert_eq!(foe.end(), expected, "{what}");
        }
        // Half an OPEN, and the end.
        let mut foe = scene.connect();
        foe.send(&open(|_| {})[..30]);
        foe.stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(foe.end(), "end");
    });
}

#[test]
fn an_address_that_is_not_configured_is_rejected_without_an_open() {
    let scene = Scene::new("t-hostile-stranger", 0);
    let netns = scene.cluster.netns[WORKER2].name().to_string();
    let added = Command::new("ip").args(["-n", &netns, "address", "add", "172.18.9.9/16", "dev", "eth0"]).status();
    assert!(added.unwrap().success());
    scene.watch(|scene| {
        let foe = Foe::new(scene.connect_from(Ipv4Addr::new(172, 18, 9, 9)));
        assert_eq!(foe.end(), "6/5 ");
    });
}

#[test]
fn bytes_one_at_a_time_make_a_session_as_well() {
    let scene = Scene::new("t-hostile-slow", 0);
    scene.watch(|scene| {
        let mut foe = scene.connect();
        let open = encoded(|out| wire::encode_open(&scene.open(), out));
        for octet in open.iter().chain(&message(19, 4, &[])) {
            foe.send(&[*octet]);
        }
        until("the slow session is up", || scene.cluster.session(CONTROL_PLANE, WORKER2).state == State::Established);
    });
}

#[test]
fn three_hundred_resets_in_a_row_disturb_nobody() {
    let scene = Scene::new("t-hostile-reset", 0);
    scene.watch(|scene| {
        for round in 0..300 {
            let stream = scene.connect_from(scene.cluster.address(WORKER2));
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            if round % 2 == 0 {
                // It may be closed by now.
                let _ = (&stream).write(&[0xff; 40]);
            }
        }
        scene.establish();
    });
}

#[test]
fn a_peer_that_reads_nothing_and_asks_for_everything_costs_no_memory_and_sees_the_end() {
    let scene = Scene::new("t-hostile-deaf", 10_000);
    scene.watch(|scene| {
        let mut foe = scene.establish();
        SockRef::from(&foe.stream).set_recv_buffer_size(4096).unwrap();
        let before = resident();
        scene.fill(&mut foe, 2000);
        let session = scene.cluster.session(CONTROL_PLANE, WORKER2);
        // Each prefix of the table once: 10,000 static ones, and a few of the node's own and its pods.
        assert!(session.pending < 10_100, "{} pending", session.pending);
        let grown = resident().saturating_sub(before);
        assert!(grown < 32, "{grown} MiB for a peer that reads nothing");
        // Nobody waits for them to be read.
        std::thread::sleep(3 * LATE);
        // Its kernel is told, since it cannot be.
        scene.cluster.administer(CONTROL_PLANE, WORKER2, Order::Disable);
        until("the connection is reset", || foe.stream.take_error().unwrap().is_some());
    });
}

#[test]
fn a_peer_that_reads_late_is_told_all_the_same_why_its_session_ends() {
    let scene = Scene::new("t-hostile-late", 10_000);
    // A small buffer is soon full, and what is in it soon read.
    let mut small = scene.cluster.command(CONTROL_PLANE, "sysctl");
    assert!(small.args(["-qw", "net.ipv4.tcp_wmem=4096 16384 65536"]).status().unwrap().success());
    let mut foe = scene.establish();
    SockRef::from(&foe.stream).set_recv_buffer_size(64 * 1024).unwrap();
    scene.fill(&mut foe, 1);
    scene.cluster.administer(CONTROL_PLANE, WORKER2, Order::Disable);
    // First everything, and then what it was: the victim does not wait for long.
    let mut said = Vec::new();
    foe.stream.read_to_end(&mut said).unwrap();
    foe.decoder.push(&said);
    assert_eq!(foe.end(), "6/2 ");
}

#[test]
fn a_flood_of_updates_delays_no_keepalive_and_leaves_no_memory_behind() {
    let scene = Scene::new("t-hostile-flood", 0);
    let address = scene.cluster.address(WORKER2);
    scene.watch(|scene| {
        let mut foe = scene.establish();
        let mut drain = foe.stream.try_clone().unwrap();
        std::thread::spawn(move || std::io::copy(&mut drain, &mut std::io::sink()));
        let done = |scene: &Scene, count| {
            until("the flood is in", || scene.cluster.session(CONTROL_PLANE, WORKER2).imported == count);
        };
        foe.send(&flood(address, 20_000, 0));
        done(scene, 20_000);
        let before = resident();
        // Made beforehand, so that they come as fast as they are read.
        let floods: Vec<Bytes> = (1..40).map(|med| flood(address, 20_000, med)).collect();
        floods.iter().for_each(|flood| foe.send(flood));
        let grown = resident().saturating_sub(before);
        assert!(grown < 64, "{grown} MiB for the same routes again");
        drop(foe);
        done(scene, 0);
    });
}
