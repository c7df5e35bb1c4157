//! What is said on the wire, for tshark to judge.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::cluster::until;

/// tcpdump of the BGP on a node's eth0.
pub(crate) struct Capture {
    process: Child,
    folder: TempDir,
}

impl Capture {
    /// Begins; `tcpdump` is the program, to be run where the packets are.
    pub(crate) fn start(mut tcpdump: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        tcpdump
            .args(["--immediate-mode", "-B", "8192", "-U", "-Z", "root", "-n", "-i", "eth0", "-w"])
            .arg(folder.path().join("bgp.pcap"));
        let mut process = tcpdump.args(["tcp", "port", "179"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("listening on")), "tcpdump does not listen");
        // What it says at its end must go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, folder }
    }

    pub(crate) fn stop(&mut self) {
        kill(Pid::from_raw(self.process.id() as i32), Signal::SIGINT).unwrap();
        self.process.wait().unwrap();
    }

    /// Stops once the capture has packets that each of `filters` takes, which are to be the last ones that matter: tcpdump may be behind.
    pub(crate) fn stop_after(&mut self, filters: &[&str]) {
        for filter in filters {
            // The file may end in the middle of a packet, about which tshark complains.
            let is_there = || !self.run_tshark(filter, &[]).stdout.is_empty();
            until("tcpdump has written all of it", is_there);
        }
        self.stop();
    }

    /// What tshark prints of the packets that `filter` takes.
    pub(crate) fn tshark(&self, filter: &str, fields: &[&str]) -> Vec<String> {
        let output = self.run_tshark(filter, fields);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    fn run_tshark(&self, filter: &str, fields: &[&str]) -> Output {
        let mut tshark = Command::new("tshark");
        tshark.arg("-r").arg(self.folder.path().join("bgp.pcap")).args(["-n", "-Y", filter]);
        if !fields.is_empty() {
            tshark.args(["-T", "fields"]);
        }
        for field in fields {
            tshark.args(["-e", field]);
        }
        tshark.output().unwrap()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
