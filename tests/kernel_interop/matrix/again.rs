//! Their daemon dies as by `kill -9`, and is called again as it was, its configuration changed if need be.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::process::{Child, Command, Stdio};

use lab::fabric::processes_in;
use lab::net::ExternalSpeaker;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::addressing::THEIRS;
use super::bench::{Bench, inside};
use crate::cluster::until;

/// FRR keeps a log of crashes and its sockets' folder there, whatever it is told: none of it is to stay on the host.
const UNSEEN: &str = "mount -t tmpfs lab /var && mkdir /var/run /var/tmp && exec \"$@\"";

/// How a program was called.
pub(super) struct Called {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Called {
    fn of(pid: i32) -> Self {
        let read = |what: &str| {
            let bytes = fs::read(format!("/proc/{pid}/{what}")).unwrap();
            let parts = bytes.split(|byte| *byte == 0).filter(|part| !part.is_empty());
            parts.map(|part| OsString::from_vec(part.to_vec())).collect::<Vec<_>>()
        };
        let pair = |variable: OsString| {
            let bytes = variable.into_vec();
            let end = bytes.iter().position(|byte| *byte == b'=').unwrap_or(bytes.len());
            let value = bytes.get(end + 1..).unwrap_or_default().to_vec();
            (OsString::from_vec(bytes[..end].to_vec()), OsString::from_vec(value))
        };
        Self { words: read("cmdline"), environment: read("environ").into_iter().map(pair).collect() }
    }
}

/// A program that this test runs; it ends with it.
pub(super) struct Rerun(Child);

impl Drop for Rerun {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bench {
    /// kill -9 of all that runs there. Returns how to call it again.
    pub(super) fn kill(&mut self) -> Vec<Called> {
        let pids = processes_in(&self.netns[1]).unwrap();
        let parent = |pid: i32| -> i32 {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            // The name in parentheses may hold anything.
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
        };
        // ExaBGP starts its helper itself.
        let called = pids.iter().filter(|pid| !pids.contains(&parent(**pid))).map(|pid| Called::of(*pid)).collect();
        assert!(!pids.is_empty(), "nothing runs there");
        for pid in pids {
            // A helper may have gone with its parent.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.reruns.clear();
        until("they are dead", || processes_in(&self.netns[1]).unwrap().is_empty());
        called
    }

    /// Calls them again, `more` words added; returns once they have what they announce.
    pub(super) fn run_again(&mut self, called: &[Called], more: &[&str]) {
        // What GoBGP announces is not in its configuration: nobody may reach it before it has that, or it says that it is done with nothing.
        let is_gobgp = self.daemon == ExternalSpeaker::GoBgp;
        if is_gobgp {
            fs::remove_file(self.folder.path().join("theirs/gobgpd.sock")).unwrap();
            self.their_way_to_us("add");
        }
        for Called { words, environment } in called {
            let mut command = inside(&self.netns[1], "sh");
            command.args(["-c", UNSEEN, "sh"]).args(words).args(more);
            command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            self.reruns.push(Rerun(command.spawn().unwrap()));
        }
        if is_gobgp {
            let words = format!("global rib add {} origin igp", THEIRS);
            until("it takes its network", || self.runtime().block_on(self.theirs().command(&[&words])).is_ok());
            self.their_way_to_us("del");
        }
    }

    /// `add` shuts their way to us, `del` opens it.
    fn their_way_to_us(&self, verb: &str) {
        let netns = self.netns[1].name().to_string();
        let done = Command::new("ip").args(["-n", &netns, "route", verb, "blackhole", "10.7.0.1"]).status().unwrap();
        assert!(done.success());
    }

    /// Rewrites their configuration from the one that they had first.
    pub(super) fn configure(&self, edit: impl FnOnce(&str) -> String) {
        let name = match self.daemon {
            ExternalSpeaker::Bird => "bird.conf",
            ExternalSpeaker::Frr => "bgpd.conf",
            ExternalSpeaker::GoBgp => "gobgpd.toml",
            ExternalSpeaker::ExaBgp => "exabgp.conf",
        };
        let (file, first) = (self.folder.path().join("theirs").join(name), self.folder.path().join(name));
        if !first.exists() {
            fs::copy(&file, &first).unwrap();
        }
        fs::write(&file, edit(&fs::read_to_string(&first).unwrap())).unwrap();
    }
}
