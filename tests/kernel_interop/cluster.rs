//! Golden cluster A on the real kernel, with a driver for each node but those that a test plays itself.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use lab::bgp::view::{SessionView, State};
use lab::bgp::{PeerId, SpeakerConfig};
use lab::bgp_io::{Driver, Order};
use lab::fabric::{NetlinkKernel, Netns, build, observe, remove_lab};
use lab::plan::Plan;
use lab::plan::expect::{Faults, expectation, verify};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const TOPOLOGY: &str = include_str!("../../topologies/calico-bgp-fullmesh.toml");
/// How long a fact may take to come true.
const DEADLINE: Duration = Duration::from_secs(30);

/// Clusters so far: tests run side by side, and the threads of each cluster have a name of their own, of at most 15 characters.
static CLUSTERS: AtomicUsize = AtomicUsize::new(0);

/// 172.18.0.2: passive towards both others.
pub(crate) const CONTROL_PLANE: usize = 0;
/// 172.18.0.4: dials both others.
pub(crate) const WORKER: usize = 1;
/// 172.18.0.3.
pub(crate) const WORKER2: usize = 2;

/// Who has the host to himself, among those who ask.
pub(crate) type Alone = MutexGuard<'static, ()>;

/// Memory is the process's and lateness the host's: one scene at a time where either is looked at, or the other end is slow Python.
pub(crate) fn alone() -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The cluster. Nodes are indices into the plan's speakers.
pub(crate) struct Cluster {
    pub(crate) plan: Plan,
    pub(crate) netns: Vec<Netns>,
    drivers: Vec<Option<Driver>>,
    changed: watch::Sender<u64>,
    /// The name of the runtime's threads.
    threads: String,
    /// What each of them has waited for a processor, in nanoseconds, those that have ended included.
    waits: Mutex<BTreeMap<PathBuf, u64>>,
    /// `None` at the very end only.
    runtime: Option<Runtime>,
}

impl Cluster {
    /// Builds the cluster as lab `name`, every speaker's configuration altered by `alter`; none runs yet.
    pub(crate) fn build(name: &str, alter: impl Fn(&mut SpeakerConfig)) -> Self {
        assert!(nix::unistd::Uid::effective().is_root(), "this test builds network namespaces: run it as root");
        let topology = lab::topology::parse(TOPOLOGY, name).unwrap();
        let mut plan = lab::plan::build(&topology).unwrap();
        for speaker in &mut plan.speakers {
            alter(&mut speaker.config);
        }
        build(&NetlinkKernel, &plan, &|_| {}).unwrap();
        let threads = format!("speakers-{}", CLUSTERS.fetch_add(1, Ordering::Relaxed));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name(&threads).enable_all().build().unwrap();
        Self {
            netns: plan.speakers.iter().map(|speaker| Netns::open(&speaker.netns).unwrap()).collect(),
            drivers: plan.speakers.iter().map(|_| None).collect(),
            changed: watch::channel(0).0,
            threads,
            waits: Mutex::default(),
            runtime: Some(runtime),
            plan,
        }
    }

    pub(crate) fn start(&mut self, node: usize) {
        self.open(node, Driver::start);
    }

    /// Starts a node's speaker again after [`Cluster::crash`].
    pub(crate) fn recover(&mut self, node: usize) {
        self.open(node, Driver::recover);
    }

    fn open(&mut self, node: usize, run: impl FnOnce(&mut Driver)) {
        let config = self.plan.speakers[node].config.clone();
        let _inside = self.runtime().enter();
        let mut driver = Driver::open(&self.netns[node], config, self.changed.clone()).unwrap();
        run(&mut driver);
        self.drivers[node] = Some(driver);
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it ends with the cluster")
    }

    /// What the threads on which the speakers run have waited for a processor so far: that much the host is to blame for.
    pub(crate) fn waited_for_processors(&self) -> Duration {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path()) {
            // It may end while we look.
            let read = |what: &str| std::fs::read_to_string(thread.join(what)).unwrap_or_default();
            if read("comm").trim_end() == self.threads
                && let Some(waited) = read("schedstat").split(' ').nth(1)
            {
                waits.insert(thread, waited.parse().unwrap());
            }
        }
        Duration::from_nanos(waits.values().sum())
    }

    /// Ends a node's speaker without a word, as a crash does.
    pub(crate) fn crash(&mut self, node: usize) {
        self.drivers[node] = None;
    }

    pub(crate) fn address(&self, node: usize) -> Ipv4Addr {
        self.plan.speakers[node].config.router_id.0
    }

    pub(crate) fn block(&self, node: usize) -> IpNet {
        self.plan.speakers[node].config.statics[0]
    }

    fn driver(&self, node: usize) -> &Driver {
        self.drivers[node].as_ref().expect("the test started it")
    }

    /// Nodes whose speaker is ours and runs.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.drivers.len()).filter(|&node| self.drivers[node].is_some()).collect()
    }

    /// `node`'s session with `other`.
    pub(crate) fn session(&self, node: usize, other: usize) -> SessionView {
        let peer = self.peer(node, other).0 as usize;
        self.driver(node).view().sessions.swap_remove(peer)
    }

    fn peer(&self, node: usize, other: usize) -> PeerId {
        let address = IpAddr::V4(self.address(other));
        let peers = &self.plan.speakers[node].config.peers;
        PeerId(peers.iter().position(|peer| peer.remote == address).unwrap() as u32)
    }

    pub(crate) fn administer(&self, node: usize, other: usize, order: Order) {
        let _inside = self.runtime().enter();
        self.driver(node).administer(self.peer(node, other), order);
    }

    /// Which of our sessions with `other` are not up and complete.
    pub(crate) fn sessions_missing(&self, other: usize) -> Vec<String> {
        let sessions = self.running().into_iter().filter(|&node| node != other).map(|node| self.session(node, other));
        let complete = |s: &SessionView| s.state == State::Established && s.end_of_rib_received;
        sessions.filter(|session| !complete(session)).map(|session| format!("{session:?}")).collect()
    }

    /// How the tables of `nodes` differ from the plan's, which is taken to lack `gone`.
    pub(crate) fn differences(&self, nodes: &[usize], gone: Option<IpNet>) -> Vec<String> {
        let expected = expectation(&self.plan, &Faults::default());
        let mut facts = Vec::new();
        for &node in nodes {
            let table = expected.tables.iter().find(|table| table.netns == self.plan.speakers[node].netns).unwrap();
            let mut routes = table.routes.clone();
            routes.retain(|route| Some(route.dst) != gone);
            let difference = verify(&routes, &observe::routes(&self.netns[node]).unwrap());
            facts.extend(difference.missing.iter().map(|route| format!("node {node} lacks {route}")));
            facts.extend(difference.extra.iter().map(|route| format!("node {node} has {route}")));
        }
        facts
    }

    /// Runs a program inside a node's namespace.
    pub(crate) fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.netns[node].name().as_ref(), program]);
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whoever holds a namespace keeps it.
        self.drivers.clear();
        self.netns.clear();
        drop(self.runtime.take());
        let errors = remove_lab(&NetlinkKernel, &self.plan.lab, &[]);
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

/// Waits until `missing` names nothing any more.
pub(crate) fn until_none<T: Display>(what: &str, mut missing: impl FnMut() -> Vec<T>) {
    let start = Instant::now();
    loop {
        let facts = missing();
        if facts.is_empty() {
            return;
        }
        if start.elapsed() > DEADLINE {
            let facts: Vec<String> = facts.iter().map(T::to_string).collect();
            panic!("{what}: still missing after {DEADLINE:?}:\n{}", facts.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `fact` holds.
pub(crate) fn until(what: &str, mut fact: impl FnMut() -> bool) {
    until_none(what, || if fact() { vec![] } else { vec!["it does not hold"] });
}
