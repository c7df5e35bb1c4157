//! BIRD 2 with the settings of Calico's BIRD (calico-behaviour 7.1) in the place of one speaker.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::bgp::view::State;
use lab::bgp_io::Order;
use lab::external::bird;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::capture::Capture;
use crate::cluster::{CONTROL_PLANE, Cluster, WORKER, WORKER2, until, until_none};
use crate::removals::Removals;

/// A BIRD in a node's namespace; ended when dropped.
struct Bird {
    process: Child,
    folder: TempDir,
    /// Its sessions: the other nodes' numbers and BIRD's names for them.
    sessions: Vec<(usize, String)>,
}

impl Bird {
    fn start(cluster: &Cluster, node: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("bird.conf"), configuration(cluster, node)).unwrap();
        let process = run(cluster, node, folder.path(), &[]);
        let others = cluster.running();
        let sessions = others.into_iter().map(|other| (other, session_name(cluster, other))).collect();
        Self { process, folder, sessions }
    }

    /// Runs a command of `birdc`.
    fn ask(&self, command: &str) -> String {
        let socket = self.folder.path().join("bird.ctl");
        let output = Command::new("birdc").arg("-s").arg(socket).args(command.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    /// A session's line in `show protocols`.
    fn line(&self, session: &str) -> String {
        let protocols = self.ask("show protocols");
        protocols.lines().find(|line| line.starts_with(session)).unwrap_or_default().to_owned()
    }

    fn sessions_missing(&self) -> Vec<String> {
        let lines = self.sessions.iter().map(|(_, name)| self.line(name));
        lines.filter(|line| !line.contains("Established")).map(|line| format!("BIRD: `{line}`")).collect()
    }

    /// kill -9.
    fn crash(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.process.id() as i32), signal).unwrap();
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(cluster: &Cluster, node: usize, folder: &Path, more: &[&str]) -> Child {
    let file = |name: &str| folder.join(name).into_os_string();
    let mut bird = cluster.command(node, "bird");
    bird.arg("-f").arg("-c").arg(file("bird.conf")).arg("-s").arg(file("bird.ctl")).arg("-P").arg(file("bird.pid"));
    bird.args(more);
    bird.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn session_name(cluster: &Cluster, node: usize) -> String {
    format!("Mesh_{}", cluster.address(node).to_string().replace('.', "_"))
}

/// As a lab configures a node's BIRD, and besides that ADD-PATH, of which we must think nothing.
fn configuration(cluster: &Cluster, node: usize) -> String {
    let config = &cluster.plan.speakers[node].config;
    bird::configuration(config).replace("gateway recursive;", "gateway recursive; add paths on;")
}

/// BIRD in the place of `place`, everyone up, and every table as planned.
fn converge(cluster: &Cluster, bird: &Bird, place: usize) {
    until_none("sessions with BIRD", || [bird.sessions_missing(), cluster.sessions_missing(place)].concat());
    until_none("routes of all three nodes", || cluster.differences(&[CONTROL_PLANE, WORKER, WORKER2], None));
}

/// The whole life of a BIRD in the place of `place`.
fn interoperate(lab: &str, place: usize) {
    let mut cluster = Cluster::build(lab, |_| {});
    let others: Vec<usize> = [CONTROL_PLANE, WORKER, WORKER2].into_iter().filter(|&node| node != place).collect();
    let near = others[0];
    let mut capture = Capture::start(cluster.command(place, "tcpdump"));
    for &node in &others {
        cluster.start(node);
    }
    let bird = Bird::start(&cluster, place);
    let session = session_name(&cluster, near);
    converge(&cluster, &bird, place);

    // Whoever is to dial has dialled: the other end has port 179.
    let dials = place == WORKER;
    assert_eq!(cluster.session(near, place).passive, dials);
    let sockets = cluster.command(place, "ss").args(["-Htn", "state", "established"]).output().unwrap();
    let sockets = String::from_utf8(sockets.stdout).unwrap();
    let bgp = sockets.lines().filter(|line| line.contains(":179")).collect::<Vec<_>>();
    assert_eq!(bgp.len(), 2, "{sockets}");
    let ports =
        |line: &&str| line.split_whitespace().filter(|word| word.contains(':')).map(|w| w.ends_with(":179")).collect();
    assert!(bgp.iter().map(ports).all(|ports: Vec<bool>| ports == [!dials, dials]), "{sockets}");

    assert_eq!(
        neighbour_capabilities(&bird.ask(&format!("show protocols all {session}"))),
        [
            "Multiprotocol",
            "AF announced: ipv4",
            "Route refresh",
            "Graceful restart",
            "Restart time: 120",
            "AF supported: ipv4",
            "AF preserved:",
            "4-octet AS numbers",
            "ADD-PATH",
            "RX: ipv4",
            "TX: ipv4",
            "Enhanced refresh",
            "Long-lived graceful restart",
        ]
    );
    let view = cluster.session(near, place);
    assert_eq!(
        (view.capabilities.join(", "), view.hold.map(|hold| hold.0), view.keepalive.map(|keepalive| keepalive.0)),
        (
            "IPv4 unicast, route refresh, graceful restart, 4-octet AS, ADD-PATH receive, ADD-PATH send, \
             enhanced route refresh, long-lived graceful restart"
                .to_owned(),
            Some(240_000),
            Some(80_000)
        )
    );

    // BIRD withdraws its block, and announces it again.
    let block = cluster.block(place);
    let everyone = [CONTROL_PLANE, WORKER, WORKER2];
    bird.ask("disable static1");
    until_none("the block is withdrawn", || cluster.differences(&everyone, Some(block)));
    bird.ask("enable static1");
    until_none("the block is back", || cluster.differences(&everyone, None));

    // Route refresh, both ways; the session stays.
    let before = cluster.session(near, place).messages;
    bird.ask(&format!("reload in {session}"));
    until("we send everything again", || cluster.session(near, place).messages.updates_sent > before.updates_sent);
    bird.ask(&format!("reload out {session}"));
    until("BIRD sends everything again", || {
        cluster.session(near, place).messages.updates_received > before.updates_received
    });
    converge(&cluster, &bird, place);
    let after = cluster.session(near, place).messages;
    assert_eq!((after.notifications_sent, after.notifications_received), (0, 0));

    // BIRD restarts the session.
    bird.ask(&format!("restart {session}"));
    until("BIRD says that it restarts", || cluster.session(near, place).messages.notifications_received == 1);
    converge(&cluster, &bird, place);

    // We disable and enable it.
    cluster.administer(near, place, Order::Disable);
    until("BIRD learns of it", || bird.line(&session).contains("Received: Administrative shutdown"));
    until_none("our kernel loses the block", || cluster.differences(&[near], Some(block)));
    cluster.administer(near, place, Order::Enable);
    converge(&cluster, &bird, place);

    // We crash: BIRD waits for us as RFC 4724 has it, because we announced graceful restart, and is content with what we say next.
    cluster.crash(near);
    until("BIRD waits for us", || {
        bird.ask(&format!("show protocols all {session}")).contains("raceful restart active")
    });
    cluster.start(near);
    converge(&cluster, &bird, place);

    capture.stop();
    assert_well_formed(&capture);
}

/// tshark has no complaint, and has seen enough to complain about.
fn assert_well_formed(capture: &Capture) {
    let mut types: Vec<String> =
        capture.tshark("bgp", &["bgp.type"]).iter().flat_map(|types| types.split(',')).map(str::to_owned).collect();
    types.sort();
    types.dedup();
    assert_eq!(types, ["1", "2", "3", "4", "5"], "OPEN, UPDATE, NOTIFICATION, KEEPALIVE, ROUTE-REFRESH");
    // 0x600000 is a warning, above it errors.
    let complaints = capture.tshark("bgp && (_ws.malformed || _ws.expert.severity >= 0x600000)", &[]);
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The lines below `Neighbor capabilities`, the family that is the indentation's affair left out.
fn neighbour_capabilities(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| line.trim() != "Neighbor capabilities").skip(1);
    let depth = |line: &str| line.len() - line.trim_start().len();
    lines.take_while(|line| depth(line) > 4).map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bird_that_dials_works_with_us() {
    interoperate("t-interop-dials", WORKER);
}

#[test]
fn bird_that_waits_for_us_works_with_us() {
    interoperate("t-interop-waits", CONTROL_PLANE);
}

#[test]
fn bird_that_is_killed_and_comes_back_in_time_costs_nobody_a_route() {
    let mut cluster = Cluster::build("t-interop-killed", |_| {});
    let others = [CONTROL_PLANE, WORKER2];
    others.iter().for_each(|&node| cluster.start(node));
    let mut bird = Bird::start(&cluster, WORKER);
    converge(&cluster, &bird, WORKER);
    let removals: Vec<Removals> = others.iter().map(|&node| Removals::watch(&cluster.netns[node])).collect();
    bird.crash();
    until("we notice", || others.iter().all(|&node| cluster.session(node, WORKER).state != State::Established));
    for &node in &others {
        let session = cluster.session(node, WORKER);
        assert!(session.stale_ms.is_some_and(|left| left <= 120_000), "{session:?}");
        let error = session.last_error.unwrap_or_default();
        assert!(error.starts_with("Socket: Connection "), "{error}");
    }
    assert_eq!(cluster.differences(&others, None), NOTHING);
    // Calico's way to start it: with -R it recovers, and says so.
    bird.process = run(&cluster, WORKER, bird.folder.path(), &["-R"]);
    converge(&cluster, &bird, WORKER);
    until("everyone has said everything", || {
        others.iter().all(|&node| cluster.session(node, WORKER).stale_ms.is_none())
    });
    let removed: Vec<String> = removals.iter().flat_map(Removals::of_bgp).collect();
    assert_eq!(removed, NOTHING);
    // Without -R it has forgotten everything, and its block goes until it is announced again. (Were that at once, the kernel might be
    // told the last word only.)
    bird.crash();
    until("we notice", || others.iter().all(|&node| cluster.session(node, WORKER).state != State::Established));
    let silent =
        configuration(&cluster, WORKER).replace("protocol static static1 {", "protocol static static1 {\n  disabled;");
    fs::write(bird.folder.path().join("bird.conf"), silent).unwrap();
    bird.process = run(&cluster, WORKER, bird.folder.path(), &[]);
    until("the block goes", || removals.iter().all(|removals| !removals.of_bgp().is_empty()));
    bird.ask("enable static1");
    converge(&cluster, &bird, WORKER);
}

#[test]
fn a_speaker_of_ours_that_is_killed_and_recovers_costs_nobody_a_route() {
    let mut cluster = Cluster::build("t-interop-recovers", |_| {});
    let ours = [CONTROL_PLANE, WORKER2];
    ours.iter().for_each(|&node| cluster.start(node));
    let bird = Bird::start(&cluster, WORKER);
    converge(&cluster, &bird, WORKER);
    let everyone = [CONTROL_PLANE, WORKER, WORKER2];
    let removals: Vec<Removals> = everyone.iter().map(|&node| Removals::watch(&cluster.netns[node])).collect();
    cluster.crash(WORKER2);
    let session = session_name(&cluster, WORKER2);
    until("BIRD waits for us", || {
        bird.ask(&format!("show protocols all {session}")).contains("raceful restart active")
    });
    cluster.recover(WORKER2);
    converge(&cluster, &bird, WORKER);
    until_none("sessions of ours", || cluster.sessions_missing(WORKER2));
    let removed: Vec<String> = removals.iter().flat_map(Removals::of_bgp).collect();
    assert_eq!(removed, NOTHING);
}

const NOTHING: [&str; 0] = [];

#[test]
fn bird_that_falls_silent_is_dropped_when_the_hold_time_is_over() {
    let mut cluster = Cluster::build("t-interop-silent", |config| config.timers.hold_time = Duration::from_secs(3));
    cluster.start(CONTROL_PLANE);
    let bird = Bird::start(&cluster, WORKER);
    until_none("sessions", || cluster.sessions_missing(WORKER));
    // Nobody announces the third node's block.
    until_none("the block", || cluster.differences(&[CONTROL_PLANE], Some(cluster.block(WORKER2))));
    bird.signal(Signal::SIGSTOP);
    until("the hold timer expires", || {
        cluster.session(CONTROL_PLANE, WORKER).last_error.as_deref() == Some("BGP Error: Hold timer expired")
    });
    // Now neither is there.
    until("the block is gone", || cluster.differences(&[CONTROL_PLANE], None).len() == 2);
    bird.signal(Signal::SIGCONT);
    until_none("sessions again", || cluster.sessions_missing(WORKER));
    assert_eq!(cluster.session(CONTROL_PLANE, WORKER).last_error, None);
}
