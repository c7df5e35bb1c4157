//! Daemons of the host in a lab: they end with it, however it ends, and what cannot be had is told.
//!
//! Needs `bird2`, `frr`, `gobgpd` and `exabgp`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::host::{LAB, Running, Snapshot, TestLab, command, eventually, host, lab};

/// Processes that run a program of a daemon, by the state directory in their arguments or environment.
fn daemons(lab: &TestLab) -> Vec<String> {
    let marks = ["cmdline", "environ"];
    let state = lab.state().display().to_string();
    let entries = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers = entries.filter(|name| name.parse::<i32>().is_ok());
    let is_daemon = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let ours = ["bird", "zebra", "bgpd", "gobgpd", "exabgp"].contains(&name.trim());
        ours && marks.iter().any(|mark| {
            let words = fs::read(format!("/proc/{pid}/{mark}")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains(&state) || words.contains(state.trim_start_matches("/run/"))
        })
    };
    numbers.filter(is_daemon).collect()
}

#[test]
fn they_end_with_the_lab_however_it_ends() {
    let Some(_host) = host() else { return };
    for (when, killed) in [("after down", false), ("after the daemon was killed", true)] {
        let it = TestLab::of_repository("external-daemons");
        let before = Snapshot::take();
        let it = it.up();
        assert!(daemons(&it).len() >= 5, "{when}: {:?}", daemons(&it));
        if killed {
            it.kill_daemon();
            eventually("they have heard of it", || daemons(&it).is_empty().then_some(()));
        }
        lab(&format!("down {}", it.name)).ok();
        before.assert_same(when);
        assert_eq!(daemons(&it), Vec::<String>::new(), "{when}");
    }
}

#[test]
fn frr_leaves_no_folder_on_a_host_that_had_none() {
    let Some(_host) = host() else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("frr-alone.toml");
    let topology = "[[router]]\nname = \"r1\"\naddresses = [\"10.7.0.1/24\"]\nasNumber = 65001\nspeaker = \"frr\"\n\
                    peers = [{ ip = \"10.7.0.2\", asNumber = 65002 }]\n\
                    [[router]]\nname = \"r2\"\naddresses = [\"10.7.0.2/24\"]\nasNumber = 65002\n\
                    peers = [{ ip = \"10.7.0.1\", asNumber = 65001 }]\n";
    fs::write(&file, topology).unwrap();
    // The packages make these at installation and at boot: here is a host where they are not.
    let script = format!(
        "mount -t tmpfs host /run; mount -t tmpfs host /var/tmp\n\
         {LAB} up {} >&2; ls -A /run\n\
         kill -9 $(cat /run/lab/frr-alone/daemon.pid)\n\
         {LAB} down frr-alone >&2; ls -A /run /var/tmp",
        file.display()
    );
    let mut alone = command("unshare", "--mount bash -euc");
    let there = Running::start(alone.arg(script)).end().ok();
    assert!(there.contains("lab") && !there.contains("frr"), "{there}");
}

#[test]
fn only_root_can_read_their_configurations() {
    let Some(_host) = host() else { return };
    let it = TestLab::of_repository("external-daemons").up();
    let folder = it.state().join("speakers/collector");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("gobgpd.toml"))), (0o700, 0o600));
    assert!(fs::read_to_string(folder.join("gobgpd.toml")).unwrap().contains("auth-password = \"sesame\""));
}

#[test]
fn a_daemon_that_dies_is_what_keeps_the_lab_from_being_healthy() {
    let Some(_host) = host() else { return };
    let it = TestLab::of_repository("two-bird-routers").up();
    let pid = fs::read_to_string(it.state().join("speakers/r2/bird.pid")).unwrap();
    crate::host::run("kill", &format!("-9 {}", pid.trim())).ok();
    let said = eventually("it is noticed", || {
        let status = lab("status");
        (status.code == 1).then_some(status.stdout)
    });
    assert!(said.contains("r2: BIRD ended: bird, signal: 9 (SIGKILL); its log is "), "{said}");
}

#[test]
fn what_a_daemon_cannot_do_is_wrong_usage() {
    let Some(_host) = host() else { return };
    let it = TestLab::of_repository("external-daemons").up();
    lab("birdc tor show route").fails(2, &["`tor` runs FRR, which has no birdc"]);
    lab("show tor bgp").fails(2, &["`tor` runs FRR, whose table is its own"]);
    lab("peer disable injector tor").fails(2, &["ExaBGP, whose sessions cannot be disabled"]);
    lab("birdc node2 make coffee").fails(2, &["BIRD of `node2`: syntax error"]);
    assert!(lab("birdc node2 show route 203.0.113.0/24 all").ok().contains("BGP.as_path: 65001 65003"));
    let view = lab("show node2 sessions -o json").json();
    assert!(view.as_array().unwrap().iter().all(|session| session["state"] == "Established"), "{view}");
    lab("status").ok();
    drop(it);
}

#[test]
fn a_host_without_the_program_is_told_which_package_brings_it_and_nothing_is_built() {
    let Some(_host) = host() else { return };
    let it = TestLab::of_repository("two-bird-routers");
    let before = Snapshot::take();
    // A mount namespace in which the program is not to be had.
    let script = format!("mount --bind /dev/null $(command -v bird) && exec {LAB} up {}", it.file.display());
    let mut hidden = command("unshare", "--mount bash -euc");
    let ended = Running::start(hidden.arg(script)).end();
    ended.fails(3, &["BIRD needs the program `bird`", "apt-get install bird2"]);
    before.assert_same("after `up` without BIRD");
}
