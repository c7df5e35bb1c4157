//! What every test of this folder uses: the binary, the host, and labs that go when the test ends.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The program under test.
pub(crate) const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// No command of these tests may take longer: whatever does hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// The host, for one test at a time.
pub(crate) struct Host(#[expect(dead_code, reason = "held for its `Drop`")] MutexGuard<'static, ()>);

/// The host once no other test uses it; `None`, with a word about it, where the test cannot run.
pub(crate) fn host() -> Option<Host> {
    static TURN: Mutex<()> = Mutex::new(());
    if nix::unistd::geteuid().is_root() {
        // A test that failed has cleaned up behind itself; the next one may run.
        return Some(Host(TURN.lock().unwrap_or_else(PoisonError::into_inner)));
    }
    let required = std::env::var_os("LAB_TEST_KERNEL").is_some_and(|value| value == "require");
    assert!(!required, "needs root");
    eprintln!("not run: needs root");
    None
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit status; 128 and the signal where it was killed.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The output of a command that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// As [`Self::ok`], understood as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// What a command said that must have failed with `code` and with each of `words` on standard error.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        for word in words {
            assert!(self.stderr.contains(word), "`{word}` is not in: {}", self.stderr);
        }
        self.stderr
    }
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) pid: i32,
    child: Child,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Self { pid: child.id().cast_signed(), child }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Reads standard error until `word` was in it.
    #[track_caller]
    pub(crate) fn says(&mut self, word: &str) {
        let stderr = self.child.stderr.as_mut().unwrap();
        let mut said = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).contains(word) {
            assert_eq!(stderr.read(&mut byte).unwrap(), 1, "it ended and said: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let (done, ended) = mpsc::channel();
        let pid = self.pid;
        std::thread::spawn(move || done.send(self.child.wait_with_output().unwrap()));
        let output = ended.recv_timeout(LIMIT).unwrap_or_else(|_| {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            panic!("it hangs");
        });
        let status = output.status;
        Ended {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap()),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A command from words.
pub(crate) fn command(program: &str, words: &str) -> Command {
    let mut command = Command::new(program);
    command.args(words.split_whitespace());
    command
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn run(program: &str, words: &str) -> Ended {
    Running::start(&mut command(program, words)).end()
}

/// Runs `lab` to its end.
#[track_caller]
pub(crate) fn lab(words: &str) -> Ended {
    run(LAB, words)
}

/// Runs a shell script to its end, as `set -eu` says.
#[track_caller]
pub(crate) fn shell(script: &str) -> Ended {
    Running::start(Command::new("bash").args(["-euc", script])).end()
}

/// Looks until `fact` is there.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::park_timeout(Duration::from_micros(200));
    }
}

/// Trailing blanks of each line gone: `ip` writes some.
pub(crate) fn trimmed(text: &str) -> Vec<String> {
    text.lines().map(|line| line.trim_end().to_string()).collect()
}

/// A lab of a test: a topology file in a folder of its own. Removed when the test ends, however it ends.
pub(crate) struct TestLab {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl TestLab {
    /// A full mesh of nodes `n1`, `n2`, … with a pod each, `n1-pod1`, …: the file, nothing is built.
    pub(crate) fn mesh(name: &str, nodes: usize, timers: &str) -> Self {
        let text = format!(
            "name = \"{name}\"\nmode = \"BGP\"\ntimers = \"{timers}\"\n\n[[node]]\nname = \"n{{}}\"\ncount = {nodes}\n\
             address = \"10.7.0.11/24\"\npods = 1\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("{name}-topology.toml"));
        fs::write(&file, text).unwrap();
        Self { name: name.into(), file, folder }
    }

    /// The topology of the repository by that name.
    pub(crate) fn of_repository(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("topologies/{name}.toml"));
        Self { name: name.into(), file, folder: tempfile::tempdir().unwrap() }
    }

    /// Builds it; it must converge.
    #[track_caller]
    pub(crate) fn up(self) -> Self {
        lab(&format!("up {}", self.file.display())).ok();
        self
    }

    /// `lab up` of it, running.
    pub(crate) fn start_up(&self) -> Running {
        Running::start(Command::new(LAB).arg("up").arg(&self.file))
    }

    pub(crate) fn netns(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    /// Runs a program inside a node or pod.
    #[track_caller]
    pub(crate) fn inside(&self, place: &str, words: &str) -> String {
        run("ip", &format!("netns exec {} {words}", self.netns(place))).ok()
    }

    pub(crate) fn state(&self) -> PathBuf {
        Path::new("/run/lab").join(&self.name)
    }

    /// The daemon's process, once it is written down.
    pub(crate) fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.state().join("daemon.pid")).ok()?.parse().ok()
    }

    /// Kills the daemon as the kernel does when memory is short, and waits until it has gone.
    #[track_caller]
    pub(crate) fn kill_daemon(&self) {
        let pid = self.pid().unwrap();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        eventually("the daemon is dead", || (!alive(pid)).then_some(()));
        // A process is a zombie once its first thread has gone; its files close with the last one.
        let free = || fs::File::open(self.state().join("lock")).ok()?.try_lock_shared().ok();
        eventually("the daemon's lock is free", free);
    }

    /// Everything on the host that speaks of it.
    pub(crate) fn remains(&self) -> Vec<String> {
        let mut remains: Vec<String> = netns_names().into_iter().filter(|name| self.owns(name)).collect();
        remains.extend(self.state().exists().then(|| self.state().display().to_string()));
        remains.extend(processes().into_iter().filter(|process| process.contains(&format!("daemon {} ", self.name))));
        remains
    }

    /// How many of its namespaces exist.
    pub(crate) fn namespaces(&self) -> usize {
        netns_names().iter().filter(|name| self.owns(name)).count()
    }

    fn owns(&self, netns: &str) -> bool {
        netns
            .strip_prefix(&self.name)
            .is_some_and(|rest| rest.starts_with("-n") || rest == "-fabric" || rest == "-gateway")
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if self.remains().is_empty() {
            return;
        }
        let down = lab(&format!("down {}", self.name));
        if !std::thread::panicking() {
            assert_eq!((down.code, self.remains()), (0, vec![]), "{}", down.stderr);
        }
    }
}

/// Whether the process exists and is not merely unburied.
pub(crate) fn alive(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything; the state follows it.
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The names that `ip netns` lists.
pub(crate) fn netns_names() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Processes that are a `lab`, or live in another network namespace than this one: whatever a lab can leave.
fn processes() -> Vec<String> {
    let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
    let binary = fs::canonicalize(LAB).unwrap();
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let ours = numbers.filter(|pid| alive(*pid)).filter_map(|pid| {
        let away = fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|netns| netns.ino() != own);
        let lab = fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary);
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
        (away || lab).then(|| format!("{pid}: {words}"))
    });
    ours.collect()
}

/// Parameters that move by themselves.
const COUNTERS: [&str; 12] = [
    "fs.aio-nr",
    "fs.dentry-state",
    "fs.file-nr",
    "fs.inode-",
    "kernel.ns_last_pid",
    "kernel.perf_",
    "kernel.pty.nr",
    "kernel.random.",
    "kernel.hung_task_detect_count",
    "net.netfilter.nf_conntrack_count",
    "vm.nr_",
    "vm.overcommit_",
];

/// All of the host that a lab could change, as the usual tools show it.
#[derive(PartialEq)]
pub(crate) struct Snapshot(BTreeMap<&'static str, Vec<String>>);

impl Snapshot {
    pub(crate) fn take() -> Self {
        let said = |program: &str, words: &str| trimmed(&run(program, words).ok());
        let sysctls = run("sysctl", "-a").stdout;
        let constant = |line: &&str| !COUNTERS.iter().any(|counter| line.starts_with(counter));
        Self(BTreeMap::from([
            ("ip netns", netns_names()),
            ("ip link", said("ip", "-o link")),
            (
                "ip address",
                said("ip", "-o address show scope global").iter().map(|line| without_lifetimes(line)).collect(),
            ),
            ("ip route", said("ip", "route show table all")),
            ("ip rule", said("ip", "rule")),
            ("nft", said("nft", "list ruleset")),
            ("sysctl", sysctls.lines().filter(constant).map(str::to_owned).collect()),
            ("/run/lab", fs::read_dir("/run/lab").into_iter().flatten().map(|entry| format!("{entry:?}")).collect()),
            ("processes", processes()),
        ]))
    }

    /// Fails if the host is not now as it was then.
    #[track_caller]
    pub(crate) fn assert_same(&self, when: &str) {
        let now = Self::take();
        let mut differences = String::new();
        for (what, then) in &self.0 {
            let now = &now.0[what];
            let gone = then.iter().filter(|line| !now.contains(line)).map(|line| format!("{what} - {line}\n"));
            let new = now.iter().filter(|line| !then.contains(line)).map(|line| format!("{what} + {line}\n"));
            let _ = write!(differences, "{}", gone.chain(new).collect::<String>());
        }
        assert!(differences.is_empty(), "the host has changed {when}:\n{differences}");
    }
}

fn without_lifetimes(line: &str) -> String {
    line.split("valid_lft").next().unwrap_or_default().trim_end().to_owned()
}
