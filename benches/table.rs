//! `cargo bench --bench table`: a large table from one peer, and on to ten others, in one speaker: ours beside BIRD 2 and GoBGP.
//!
//! The candidate runs in a namespace and a process of its own and writes no route into the kernel. Its peers are threads of this program
//! in another namespace, alike for all candidates and much faster than any: one sends UPDATEs that were encoded before, full messages
//! with equal attributes; the others read, and count the prefixes. All sessions are Established before the first UPDATE goes out.
//! It needs root and `iproute2`; of `bird2` and `gobgpd` what is not installed is left out. It judges nothing.
//!
//! `cargo bench --bench table -- [RUNS] [PREFIXES...]`, by default 3 runs of 100,000 and 1,000,000 prefixes, to no peer and to ten.

#![expect(clippy::disallowed_methods, reason = "a benchmark runs programs and looks at the clock")]

#[path = "table/candidate.rs"]
mod candidate;
#[path = "table/peer.rs"]
mod peer;

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use lab::fabric::Netns;
use lab::net::NetnsName;

use candidate::{Candidate, Process};

/// The candidate's namespace.
const SPEAKER: &str = "bench-table-speaker";
/// That of its peers.
const PEERS: &str = "bench-table-peers";
/// How many are told.
const RECEIVERS: usize = 10;
/// When a candidate that gets nowhere is given up, and its figures left out.
const PATIENCE: Duration = Duration::from_secs(100);

/// One run's figures.
#[derive(Clone, Copy)]
struct Figures {
    received: f64,
    passed_on: f64,
    cpu: f64,
    mebibytes: f64,
}

/// One figure of a run.
type Figure = fn(&Figures) -> f64;

const FIGURES: [(&str, Figure); 4] = [
    ("until received, s", |f| f.received),
    ("until passed on, s", |f| f.passed_on),
    ("CPU, s", |f| f.cpu),
    ("peak memory (RSS), MiB", |f| f.mebibytes),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, receivers] = words.as_slice()
        && first == candidate::OURS
    {
        return candidate::serve(receivers.parse().expect("a number of peers"));
    }
    let numbers: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let (runs, sizes) = match numbers.split_first() {
        None => (3, vec![100_000, 1_000_000]),
        Some((runs, [])) => (*runs, vec![100_000, 1_000_000]),
        Some((runs, sizes)) => (*runs, sizes.to_vec()),
    };
    let candidates: Vec<Candidate> = Candidate::ALL.into_iter().filter(|candidate| candidate.is_installed()).collect();
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let names = candidates.iter().map(|candidate| candidate.name().to_owned());
    let ratios = candidates[1..].iter().map(|other| format!("lab / {}", other.name()));
    table.set_header(["prefixes", "peers told", "figure"].map(str::to_owned).into_iter().chain(names).chain(ratios));
    for (prefixes, receivers) in sizes.iter().flat_map(|size| [(*size, 0), (*size, RECEIVERS)]) {
        let mut figures: Vec<Vec<Figures>> = candidates.iter().map(|_| Vec::new()).collect();
        for run in 1..=runs {
            for (candidate, figures) in candidates.iter().zip(&mut figures) {
                if figures.len() + 1 < run {
                    // It was given up before.
                    continue;
                }
                eprintln!("{prefixes} prefixes to {receivers} peers, {}, run {run} of {runs}", candidate.name());
                match measure(*candidate, prefixes, receivers) {
                    Some(run) => figures.push(run),
                    None => eprintln!("{} is not done after {} s", candidate.name(), PATIENCE.as_secs()),
                }
            }
        }
        for (name, figure) in FIGURES.into_iter().filter(|(name, _)| receivers > 0 || !name.contains("passed")) {
            let medians: Vec<Option<f64>> = figures.iter().map(|runs| median(runs, figure)).collect();
            let cell = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
            let values = medians.iter().copied().map(cell);
            let ratio = |other: &Option<f64>| Some(medians[0]? / (*other)?);
            let ratios = medians[1..].iter().map(|other| cell(ratio(other)));
            let row = [prefixes.to_string(), receivers.to_string(), name.to_owned()];
            table.add_row(row.into_iter().chain(values).chain(ratios));
        }
    }
    println!("{table}");
    println!(
        "medians of {runs} runs, in turn; times from the first byte of the first UPDATE; -: not done after {} s",
        PATIENCE.as_secs()
    );
}

fn median(runs: &[Figures], figure: Figure) -> Option<f64> {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Has `candidate` take `prefixes` from one peer and tell them to `receivers` others; `None` if it is given up.
fn measure(candidate: Candidate, prefixes: usize, receivers: usize) -> Option<Figures> {
    let namespaces = Namespaces::new(receivers);
    let mut process = Process::start(candidate, receivers);
    let updates = peer::updates(prefixes);
    let (counted, counts) = mpsc::channel();
    for index in 0..receivers {
        let stream = peer::establish(&namespaces.peers, peer::receiver(index));
        let counted = counted.clone();
        thread::spawn(move || {
            let complete = peer::count(stream, prefixes);
            // Whoever waits has given up if nobody listens.
            let _ = counted.send(complete.then(Instant::now));
        });
    }
    // A peer that panics is missed at once.
    drop(counted);
    let injector = peer::establish(&namespaces.peers, peer::INJECTOR);
    let cpu = process.cpu();
    let started = Instant::now();
    let sender = thread::spawn(move || peer::inject(injector, &updates));
    while process.received() < prefixes {
        if started.elapsed() > PATIENCE {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    let received = started.elapsed().as_secs_f64();
    let mut passed_on = 0.0_f64;
    for _ in 0..receivers {
        let at = match counts.recv_timeout(PATIENCE.saturating_sub(started.elapsed())) {
            Err(mpsc::RecvTimeoutError::Timeout) => return None,
            at => at.ok().flatten(),
        };
        let at = at.unwrap_or_else(|| panic!("{} has not told every peer every prefix", candidate.name()));
        passed_on = passed_on.max((at - started).as_secs_f64());
    }
    let figures = Figures { received, passed_on, cpu: process.cpu() - cpu, mebibytes: process.peak() };
    drop(process);
    drop(sender.join().expect("the injector sends everything"));
    Some(figures)
}

/// Two namespaces and a cable, for one run. Their end, also by a panic, is their removal.
struct Namespaces {
    peers: Netns,
}

impl Namespaces {
    fn new(receivers: usize) -> Self {
        sweep();
        for netns in [SPEAKER, PEERS] {
            ip(&format!("netns add {netns}"));
            ip(&format!("-n {netns} link set lo up"));
        }
        ip(&format!("-n {SPEAKER} link add eth0 type veth peer name eth0 netns {PEERS}"));
        ip(&format!("-n {SPEAKER} addr add {}/24 dev eth0", peer::SPEAKER));
        for address in [peer::INJECTOR].into_iter().chain((0..receivers).map(peer::receiver)) {
            ip(&format!("-n {PEERS} addr add {address}/24 dev eth0"));
        }
        for netns in [SPEAKER, PEERS] {
            ip(&format!("-n {netns} link set eth0 up"));
        }
        let name = NetnsName::new(PEERS).expect("a name");
        Self { peers: Netns::open(&name).expect("the namespace was made above") }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        sweep();
    }
}

/// Removes the namespaces, also those that an earlier run left.
fn sweep() {
    for netns in [SPEAKER, PEERS] {
        let _ = Command::new("ip").args(["netns", "del", netns]).stderr(Stdio::null()).status();
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments}");
}
