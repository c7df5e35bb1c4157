//! `lab up` that does not get to its end: processes killed at every stage, Ctrl-C, a full disk.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGINT, SIGKILL};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::host::{LAB, Running, Snapshot, TestLab, command, eventually, host, lab, shell};

/// What must be there before something happens to `up`.
#[derive(Clone, Copy, Debug)]
enum Moment {
    Daemon,
    Namespaces(usize),
    Socket,
}

/// Two namespaces per node, the fabric and the gateway.
const NODES: usize = 30;
const MOMENTS: [Moment; 5] = [
    Moment::Daemon,
    Moment::Namespaces(1),
    Moment::Namespaces(25),
    Moment::Namespaces(2 * NODES + 2),
    // Calico's pacing keeps it from converging for two seconds.
    Moment::Socket,
];

/// A lab in the middle of `up`.
fn in_the_middle(mesh: &TestLab, moment: Moment) -> Running {
    let up = mesh.start_up();
    eventually(&format!("{moment:?}"), || {
        let there = match moment {
            Moment::Daemon => mesh.pid().is_some(),
            Moment::Namespaces(count) => mesh.namespaces() >= count,
            Moment::Socket => mesh.state().join("control.sock").exists(),
        };
        there.then_some(())
    });
    up
}

#[test]
fn the_daemon_killed_in_the_middle_of_up_leaves_nothing() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-dies", NODES, "calico");
    let before = Snapshot::take();
    for moment in MOMENTS {
        let up = in_the_middle(&mesh, moment);
        kill(Pid::from_raw(mesh.pid().unwrap()), SIGKILL).unwrap();
        let said = up.end().fails(3, &["daemon of lab `t-dies` died"]);
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{moment:?}: {said}");
    }
    before.assert_same("after the daemon was killed");
}

#[test]
fn up_and_its_daemon_killed_leave_what_down_removes() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-both", NODES, "calico");
    let before = Snapshot::take();
    for moment in MOMENTS {
        let up = in_the_middle(&mesh, moment);
        let daemon = mesh.pid().unwrap();
        // `lab up` must not get the time to see its daemon die.
        up.signal(nix::sys::signal::Signal::SIGSTOP);
        kill(Pid::from_raw(daemon), SIGKILL).unwrap();
        up.signal(SIGKILL);
        assert_eq!(up.end().code, 128 + 9);
        eventually("the daemon is dead", || (!crate::host::alive(daemon)).then_some(()));
        lab(&format!("up {}", mesh.file.display())).fails(3, &["broken", "lab down t-both"]);
        lab("down t-both").ok();
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{moment:?}");
    }
    before.assert_same("after both were killed, and down");
}

#[test]
fn up_killed_in_the_middle_takes_the_lab_with_it() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-orphan", NODES, "calico");
    let before = Snapshot::take();
    for moment in MOMENTS {
        let up = in_the_middle(&mesh, moment);
        up.signal(SIGKILL);
        assert_eq!(up.end().code, 128 + 9);
        let daemon = format!("daemon {} ", mesh.name);
        eventually("the daemon has ended", || (!mesh.remains().iter().any(|it| it.contains(&daemon))).then_some(()));
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{moment:?}");
    }
    before.assert_same("after `lab up` was killed");
}

#[test]
fn ctrl_c_in_the_middle_of_up_leaves_nothing_and_does_not_take_long() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-ctrl-c", NODES, "calico");
    let before = Snapshot::take();
    for moment in MOMENTS {
        let up = in_the_middle(&mesh, moment);
        let pressed = Instant::now();
        up.signal(SIGINT);
        up.end().fails(130, &["interrupted", "t-ctrl-c"]);
        let took = pressed.elapsed();
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{moment:?}");
        // The sum of the work; a wait that runs into its limit is ten seconds.
        assert!(took < Duration::from_secs(4), "{moment:?}: {took:?}");
    }
    before.assert_same("after Ctrl-C");
}

#[test]
fn down_in_the_middle_of_up_removes_the_lab() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-meanwhile", NODES, "calico");
    let before = Snapshot::take();
    for moment in MOMENTS {
        let up = in_the_middle(&mesh, moment);
        lab("down t-meanwhile").ok();
        up.end().fails(3, &[]);
        assert_eq!(mesh.remains(), Vec::<String>::new(), "{moment:?}");
    }
    before.assert_same("after down in the middle of up");
}

#[test]
fn two_at_once_of_the_same_lab_make_one() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-twice", 3, "fast");
    let ends = [mesh.start_up(), mesh.start_up(), mesh.start_up()].map(Running::end);
    let mut codes = ends.each_ref().map(|end| end.code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 3, 3], "{ends:?}");
    lab("status t-twice").ok();
    lab("down t-twice").ok();
}

#[test]
fn a_full_disk_at_any_moment_leaves_nothing_and_says_so() {
    let Some(_host) = host() else { return };
    let mesh = TestLab::mesh("t-full", 2, "fast");
    let before = Snapshot::take();
    let file = mesh.file.display();
    // From an almost full disk on, each time with room for one file more, until there is room for all.
    let attempt = |options: &str| {
        let script = format!(
            "mkdir -p /run/lab; mount -t tmpfs -o {options} tmpfs /run/lab; status=0; {LAB} up {file} >&2 || status=$?
             [ $status -ne 0 ] || {LAB} down t-full >&2; ls -A /run/lab; ip netns; exit $status"
        );
        let started = Instant::now();
        let ended = Running::start(command("unshare", "--mount bash -c").arg(script)).end();
        // A wait that runs into its limit is ten seconds.
        assert!(started.elapsed() < Duration::from_secs(4), "{options}: {:?}", started.elapsed());
        assert_eq!(ended.stdout, "", "{options}");
        if ended.code == 0 {
            return true;
        }
        let said = ended.fails(3, &["No space left on device", "/run/lab"]);
        assert_eq!(said.lines().count(), 1, "{options}: {said}");
        false
    };
    let by_files = (1..20).map(|files| attempt(&format!("nr_inodes={files}"))).position(|fits| fits);
    let by_bytes = (1..20).map(|pages| attempt(&format!("size={}k", 4 * pages))).position(|fits| fits);
    assert!(by_files.is_some_and(|full| full >= 5), "{by_files:?}");
    assert!(by_bytes.is_some_and(|full| full >= 2), "{by_bytes:?}");
    shell("rmdir /run/lab 2>/dev/null || true").ok();
    before.assert_same("after a full disk");
}
