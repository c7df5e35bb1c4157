//! What leaves the kernel's table: a route that goes and comes back is not seen in the table afterwards.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use lab::fabric::Netns;

use crate::cluster::until;

/// By which we see that our witness looks: nobody else's.
const MARK: &str = "192.0.2.99";

/// What leaves the table of a namespace from now on, as `ip monitor` has it.
pub(crate) struct Removals {
    process: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Removals {
    pub(crate) fn watch(netns: &Netns) -> Self {
        let name = netns.name().to_string();
        let mut monitor = Command::new("ip");
        monitor.args(["-n", &name, "monitor", "route"]);
        let mut process = monitor.stdout(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (read, out) = (Arc::clone(&lines), BufReader::new(process.stdout.take().unwrap()));
        std::thread::spawn(move || {
            let removed = out.lines().map_while(Result::ok).filter(|line| line.starts_with("Deleted"));
            removed.for_each(|line| read.lock().unwrap().push(line));
        });
        let removals = Self { process, lines };
        until("ip monitor listens", || {
            for verb in ["add", "del"] {
                let done = Command::new("ip").args(["-n", &name, "route", verb, "blackhole", MARK]).status();
                assert!(done.unwrap().success());
            }
            !removals.lines.lock().unwrap().is_empty()
        });
        removals
    }

    /// The routes of BGP that left.
    pub(crate) fn of_bgp(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| !line.contains(MARK)).cloned().collect()
    }
}

impl Drop for Removals {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
