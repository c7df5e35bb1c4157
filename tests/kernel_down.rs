//! `lab down` where something is in its way. Needs root.

#![expect(clippy::disallowed_methods, reason = "a test runs programs and reads the clock")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn lab(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).args(arguments).output().unwrap();
    assert!(output.status.success(), "lab {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn sessions_over_a_cut_cable_do_not_hold_their_namespaces_when_the_lab_goes_down() {
    if !nix::unistd::Uid::effective().is_root() {
        let required = std::env::var_os("LAB_TEST_KERNEL").is_some_and(|value| value == "require");
        assert!(!required, "needs root");
        eprintln!("not run: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t-down-cut.toml");
    std::fs::write(&file, "[[node]]\nname = \"n{}\"\ncount = 3\naddress = \"10.9.7.1/24\"\ngateway = \"10.9.7.254\"\n")
        .unwrap();
    lab(&["up", "--quiet", file.to_str().unwrap()]);
    lab(&["--lab", "t-down-cut", "link", "down", "n2:eth0"]);
    // This one closes its session, and nobody hears of it.
    lab(&["--lab", "t-down-cut", "peer", "disable", "n1", "n2"]);
    let started = Instant::now();
    lab(&["down", "--quiet", "t-down-cut"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
