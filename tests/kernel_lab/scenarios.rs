//! `lab test`: exit codes, reports, artefacts, and Ctrl-C.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::host::{Ended, LAB, Running, Snapshot, TestLab, eventually, host, lab};

const PASSES: &str = "[[step]]\nname = \"two hops\"\nping = { from = \"n1-pod1\", to = \"n2-pod1\", ttl = 62 }\n";
const FAILS: &str = "[[step]]\nname = \"no such route\"\nwithin = \"50ms\"\n\
                     routes = { on = \"n1\", include = [\"10.99.0.0/16 via 10.7.0.12 dev eth0 proto bird\"] }\n";
const CAPTURE_FAILS: &str = "[[step]]\nname = \"encapsulated\"\nwithin = \"300ms\"\n\
    capture = { on = [\"n1:eth0\"], during = { ping = { from = \"n1-pod1\", to = \"n2-pod1\" } }, expect = { encap = \"ipip\", min = 1 } }\n";
const NEVER_TRUE: &str = "[[step]]\nname = \"for ever\"\nwithin = \"60s\"\n\
                          bgp = { on = \"n1\", sessions = { n2 = \"Idle\" } }\n";
const INVALID: &str = "[[step]]\nping = { from = \"n1-pod1\", to = \"n9\" }\n";

/// A lab with scenario files beside its topology; artefacts go there too.
struct Folder(TestLab);

impl Folder {
    fn new(name: &str, timers: &str, scenarios: &[(&str, &str)]) -> Self {
        let mesh = TestLab::mesh(name, 2, timers);
        for (file, steps) in scenarios {
            let head = match *file {
                "kernel.toml" => "provider = \"kernel\"\n",
                _ => "",
            };
            let text = format!("topology = \"{name}-topology.toml\"\n{head}\n{steps}");
            fs::create_dir_all(mesh.folder.path().join("scenarios")).unwrap();
            fs::write(mesh.folder.path().join(file), text).unwrap();
        }
        Self(mesh)
    }

    fn start(&self, words: &str) -> Running {
        Running::start(Command::new(LAB).arg("test").args(words.split_whitespace()).current_dir(self.0.folder.path()))
    }

    #[track_caller]
    fn test(&self, words: &str) -> Ended {
        self.start(words).end()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.folder.path().join(file)).unwrap()
    }
}

#[test]
fn the_exit_code_says_how_scenarios_ended() {
    let Some(_host) = host() else { return };
    let folder = Folder::new(
        "t-codes",
        "fast",
        &[("passes.toml", PASSES), ("fails.toml", FAILS), ("invalid.toml", INVALID), ("kernel.toml", PASSES)],
    );
    let before = Snapshot::take();
    for (words, code) in [
        ("passes.toml", 0),
        ("passes.toml passes.toml", 0),
        ("passes.toml kernel.toml", 0),
        ("passes.toml fails.toml", 1),
        ("fails.toml passes.toml", 1),
        ("passes.toml invalid.toml", 2),
        ("no-such-file.toml", 2),
        ("t-codes-topology.toml", 2),
        ("kernel.toml", 4),
        ("scenarios", 4),
    ] {
        let ended = folder.test(words);
        assert_eq!(ended.code, code, "{words}: {}{}", ended.stdout, ended.stderr);
        before.assert_same(words);
    }
    let taken = TestLab::mesh("t-codes", 1, "fast").up();
    folder.test("passes.toml").fails(3, &[]);
    lab("status t-codes").ok();
    drop(taken);
}

#[test]
fn a_failed_step_says_why_reports_it_and_keeps_artefacts() {
    let Some(_host) = host() else { return };
    let folder = Folder::new("t-failed", "fast", &[("fails.toml", &format!("{PASSES}\n{CAPTURE_FAILS}\n{FAILS}"))]);
    let ended = folder.test("fails.toml --junit junit.xml --json report.json --artefacts kept");
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    for word in ["two hops", "encapsulated", "expected", "found", "kept/fails/step-2/capture.pcapng"] {
        assert!(ended.stdout.contains(word), "`{word}` is not in: {}", ended.stdout);
    }
    for file in ["routes.txt", "sessions.json", "capture.pcapng"] {
        assert!(!folder.read_bytes(&format!("kept/fails/step-2/{file}")).is_empty(), "{file}");
    }
    let junit = folder.read("junit.xml");
    assert!(junit.contains("<testsuites") && junit.contains("failures=\"1\""), "{junit}");
    let report: Value = serde_json::from_str(&folder.read("report.json")).unwrap();
    assert!(report.to_string().contains("encapsulated"), "{report}");
    let printed: Value = serde_json::from_str(&folder.test("fails.toml --json -").stdout).unwrap();
    assert!(printed.is_object() || printed.is_array(), "{printed}");
    assert_eq!(folder.0.remains(), Vec::<String>::new());
}

impl Folder {
    fn read_bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.0.folder.path().join(file)).unwrap_or_default()
    }
}

#[test]
fn labs_are_kept_and_used_again_where_that_is_asked_for() {
    let Some(_host) = host() else { return };
    let folder = Folder::new("t-keep", "fast", &[("passes.toml", PASSES), ("fails.toml", FAILS)]);
    folder.test("passes.toml --keep").ok();
    lab("status t-keep").ok();
    let daemon = folder.0.pid();
    folder.test("passes.toml --lab t-keep").ok();
    assert_eq!(folder.test("fails.toml --lab t-keep").code, 1);
    lab("status t-keep").ok();
    assert_eq!(folder.0.pid(), daemon);
    folder.0.kill_daemon();
    folder.test("passes.toml --lab t-keep").fails(3, &[]);
    lab("down t-keep").ok();
    folder.test("passes.toml --lab t-keep").fails(3, &[]);
}

#[test]
fn ctrl_c_in_the_middle_of_a_test_leaves_nothing() {
    let Some(_host) = host() else { return };
    let before = Snapshot::take();
    let folder = Folder::new("t-stop", "calico", &[("never.toml", NEVER_TRUE)]);
    for (when, file) in
        [("it begins", "origin.json"), ("it has a daemon", "daemon.pid"), ("it converges", "control.sock")]
    {
        let test = folder.start("never.toml");
        eventually(when, || folder.0.state().join(file).exists().then_some(()));
        stop(&folder, test, when);
    }
    let folder = Folder::new("t-stop", "fast", &[("never.toml", NEVER_TRUE)]);
    let test = folder.start("never.toml");
    eventually("it has converged", || (lab("status -o json -q t-stop").code == 0).then_some(()));
    stop(&folder, test, "it takes a step");
    before.assert_same("after Ctrl-C in a test");
}

#[track_caller]
fn stop(folder: &Folder, test: Running, when: &str) {
    let pressed = Instant::now();
    test.signal(Signal::SIGINT);
    let ended = test.end();
    assert_eq!(ended.code, 130, "{when}: {}{}", ended.stdout, ended.stderr);
    assert_eq!(folder.0.remains(), Vec::<String>::new(), "{when}");
    assert!(pressed.elapsed() < Duration::from_secs(4), "{when}: {:?}", pressed.elapsed());
}

#[test]
fn ctrl_c_leaves_a_lab_that_was_there_before() {
    let Some(_host) = host() else { return };
    let folder = Folder::new("t-stay", "fast", &[("never.toml", NEVER_TRUE)]);
    lab(&format!("up {}", folder.0.file.display())).ok();
    let test = folder.start("never.toml --lab t-stay");
    // The scenario asks the daemon, over and over: a connection to its socket is the sign.
    eventually("it asks", || {
        let unix = fs::read_to_string("/proc/net/unix").unwrap();
        (unix.matches("/run/lab/t-stay/control.sock").count() > 1).then_some(())
    });
    test.signal(Signal::SIGINT);
    assert_eq!(test.end().code, 130);
    lab("status t-stay").ok();
}
