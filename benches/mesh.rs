//! `cargo bench --bench mesh`: a full mesh until it has converged, ours beside what one would script by hand.
//!
//! The alternative is `ip -batch` for the fabric and one BIRD 2 per node with Calico's timers. Both build one segment of N nodes
//! with a pod each, in turn, several times; the table shows medians and the ratio. It needs root, `iproute2` and `bird2`,
//! judges nothing, and changes no setting of the host: neighbours are permanent entries on both sides. Two things are not alike:
//! `lab` also sets up natOutgoing and a gateway, and its `down` returns when the kernel has taken the namespaces apart, which
//! `ip netns del` leaves to be done later.
//!
//! `cargo bench --bench mesh -- [RUNS] [NODES...]`, by default 3 runs of 3, 10 and 100 nodes.

#![expect(clippy::disallowed_methods, reason = "a benchmark runs programs and looks at the clock")]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// Namespaces of the alternative begin with this.
const PREFIX: &str = "bench-mesh-";
/// When a mesh that does not converge is given up.
const PATIENCE: Duration = Duration::from_secs(400);

/// One run's figures.
#[derive(Clone, Copy)]
struct Figures {
    up: f64,
    down: f64,
    mebibytes: f64,
}

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (runs, sizes) = match numbers.split_first() {
        None => (3, vec![3, 10, 100]),
        Some((runs, [])) => (*runs, vec![3, 10, 100]),
        Some((runs, sizes)) => (*runs, sizes.to_vec()),
    };
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(["nodes", "sessions", "figure", "lab", "ip + BIRD 2", "ratio"]);
    for nodes in sizes {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for run in 1..=runs {
            eprintln!("{nodes} nodes, run {run} of {runs}");
            ours.push(lab(nodes));
            theirs.push(bird(nodes));
        }
        for (name, figure) in FIGURES {
            let (a, b) = (median(&ours, figure), median(&theirs, figure));
            table.add_row([
                nodes.to_string(),
                (nodes * (nodes - 1) / 2).to_string(),
                name.into(),
                format!("{a:.3}"),
                format!("{b:.3}"),
                format!("{:.3}", a / b),
            ]);
        }
    }
    println!("{table}");
    println!(
        "medians of {runs} runs, in turn; up: from the first command until every node has every route, and a ping"
    );
}

/// One figure of a run.
type Figure = fn(&Figures) -> f64;

const FIGURES: [(&str, Figure); 3] =
    [("up, s", |f| f.up), ("down, s", |f| f.down), ("memory (PSS), MiB", |f| f.mebibytes)];

fn median(runs: &[Figures], figure: Figure) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Ours: one topology file, `lab up`, `lab down`.
fn lab(nodes: usize) -> Figures {
    let scratch = Scratch::new(|_| {
        // It fails where the run went well: then there is no such lab any more.
        let _ = Command::new(LAB).args(["down", "--quiet", "bench-mesh"]).stderr(Stdio::null()).status();
    });
    let directory = &scratch.path;
    let file = directory.join("bench-mesh.toml");
    let text = format!(
        "[[node]]\nname = \"node-{{}}\"\ncount = {nodes}\naddress = \"172.18.0.2/16\"\ngateway = \"172.18.255.254\"\npods = 1\n"
    );
    fs::write(&file, text).expect("the scratch directory is writable");
    let started = Instant::now();
    run(Command::new(LAB).arg("up").arg("--quiet").arg(&file));
    let last = format!("node-{nodes}-pod1");
    run(Command::new(LAB).args(["ping", "--quiet", "-c", "1", "node-1-pod1", &last]).stdout(Stdio::null()));
    let up = started.elapsed().as_secs_f64();
    let pid = fs::read_to_string("/run/lab/bench-mesh/daemon.pid").expect("the daemon wrote its process number");
    let mebibytes = pss(pid.trim());
    let started = Instant::now();
    run(Command::new(LAB).args(["down", "--quiet", "bench-mesh"]));
    let down = started.elapsed().as_secs_f64();
    Figures { up, down, mebibytes }
}

/// The alternative: a script's work, done by the same tools that the script would call.
fn bird(nodes: usize) -> Figures {
    let scratch = Scratch::new(sweep);
    let directory = &scratch.path;
    let started = Instant::now();
    build_fabric(nodes);
    for index in 0..nodes {
        fs::write(directory.join(format!("{index}.conf")), bird_config(index, nodes)).expect("writable");
        let file = |kind: &str| directory.join(format!("{index}.{kind}"));
        run(Command::new("ip")
            .args(["netns", "exec", &node(index), "bird", "-c"])
            .arg(file("conf"))
            .arg("-s")
            .arg(file("ctl"))
            .arg("-P")
            .arg(file("pid")));
    }
    let mut waiting: Vec<usize> = (0..nodes).collect();
    while let Some(index) = waiting.last() {
        assert!(started.elapsed() < PATIENCE, "node {index} of {nodes} did not converge");
        match routes(*index) + 1 >= nodes {
            true => drop(waiting.pop()),
            false => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    let last = pod_address(nodes - 1);
    let mut ping = Command::new("ip");
    ping.args(["netns", "exec", &pod(0), "ping", "-c1", "-W1", &last]).stdout(Stdio::null());
    while !ping.status().expect("iproute2 is installed").success() {
        assert!(started.elapsed() < PATIENCE, "{last} does not answer");
    }
    let up = started.elapsed().as_secs_f64();
    let pids: Vec<String> = (0..nodes)
        .map(|index| fs::read_to_string(directory.join(format!("{index}.pid"))).expect("BIRD wrote its process number"))
        .map(|pid| pid.trim().to_owned())
        .collect();
    let mebibytes = pids.iter().map(|pid| pss(pid)).sum();
    let started = Instant::now();
    run(Command::new("kill").args(&pids));
    while pids.iter().any(|pid| runs(pid)) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let names = (0..nodes).flat_map(|index| [node(index), pod(index)]).chain([format!("{PREFIX}switch")]);
    batch(None, &names.map(|name| format!("netns del {name}")).collect::<Vec<_>>());
    let down = started.elapsed().as_secs_f64();
    Figures { up, down, mebibytes }
}

/// Whether a process is there and no zombie: in a container nobody may collect those of daemons.
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !stat.is_empty() && !rest.starts_with('Z'))
}

/// Whatever a run that failed half-way left: BIRDs and namespaces.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.path().extension().is_some_and(|kind| kind == "pid")
            && let Ok(pid) = fs::read_to_string(entry.path())
        {
            let _ = Command::new("kill").arg(pid.trim()).stderr(Stdio::null()).status();
        }
    }
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        if let Some(name) = entry.file_name().to_str().filter(|name| name.starts_with(PREFIX)) {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn build_fabric(nodes: usize) {
    let switch = format!("{PREFIX}switch");
    let names = (0..nodes).flat_map(|index| [node(index), pod(index)]).chain([switch.clone()]);
    batch(None, &names.map(|name| format!("netns add {name}")).collect::<Vec<_>>());
    batch(Some(&switch), &["link add br0 type bridge".into(), "link set br0 up".into()]);
    let mut links = Vec::new();
    for index in 0..nodes {
        let (node, pod, mac) = (node(index), pod(index), mac(index));
        links.push(format!("link add eth0 netns {node} address {mac} type veth peer name p{index} netns {switch}"));
        links.push(format!("link add cali{index} netns {node} type veth peer name eth0 netns {pod}"));
    }
    batch(None, &links);
    let ports = (0..nodes).flat_map(|i| [format!("link set p{i} master br0"), format!("link set p{i} up")]);
    batch(Some(&switch), &ports.collect::<Vec<_>>());
    for index in 0..nodes {
        let mut lines = vec![
            "link set lo up".into(),
            format!("addr add {}/16 dev eth0", node_address(index)),
            "link set eth0 up".into(),
            "route add default via 172.18.255.254 dev eth0".into(),
            format!("link set cali{index} address ee:ee:ee:ee:ee:ee up"),
            format!("route add {} dev cali{index} scope link", pod_address(index)),
        ];
        let others = (0..nodes).filter(|other| *other != index);
        lines
            .extend(others.map(|other| {
                format!("neigh add {} lladdr {} dev eth0 nud permanent", node_address(other), mac(other))
            }));
        batch(Some(&node(index)), &lines);
        let lines = [
            "link set lo up".into(),
            format!("addr add {}/32 dev eth0", pod_address(index)),
            "link set eth0 up".into(),
            "route add 169.254.1.1 dev eth0 scope link".into(),
            "route add default via 169.254.1.1 dev eth0".into(),
        ];
        batch(Some(&pod(index)), &lines);
        let sysctls = format!(
            "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 1 >conf/cali{index}/proxy_arp && \
             echo 0 >neigh/cali{index}/proxy_delay"
        );
        run(Command::new("ip").args(["netns", "exec", &node(index), "sh", "-c", &sysctls]));
    }
}

/// A node's BIRD with Calico's timers (docs/calico-behaviour.md 7.1).
fn bird_config(index: usize, nodes: usize) -> String {
    let own = node_address(index);
    let mut text = format!(
        "router id {own};\n\
         protocol device {{ scan time 2; }}\n\
         protocol direct {{ ipv4; interface \"eth0\"; }}\n\
         protocol static {{ ipv4; route {} blackhole; }}\n\
         protocol kernel {{ learn; persist; scan time 2; metric 0; ipv4 {{ import all; export where source ~ [RTS_STATIC, RTS_BGP]; }}; }}\n\
         template bgp mesh {{ local {own} as 64512; connect delay time 2; connect retry time 5; error wait time 5,30; \
         ipv4 {{ import all; export where source = RTS_STATIC; next hop self; }}; }}\n",
        block(index)
    );
    for peer in (0..nodes).filter(|peer| *peer != index) {
        let passive = if peer > index { "passive on; " } else { "" };
        writeln!(text, "protocol bgp m{peer} from mesh {{ neighbor {} as 64512; {passive}}}", node_address(peer))
            .expect("a string takes everything");
    }
    text
}

fn routes(index: usize) -> usize {
    let output = Command::new("ip")
        .args(["-n", &node(index), "route", "show", "proto", "bird"])
        .output()
        .expect("iproute2 is installed");
    String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(" via ")).count()
}

fn node(index: usize) -> String {
    format!("{PREFIX}n{index}")
}

fn pod(index: usize) -> String {
    format!("{PREFIX}p{index}")
}

fn node_address(index: usize) -> String {
    format!("172.18.{}.{}", index / 250, index % 250 + 2)
}

fn mac(index: usize) -> String {
    format!("02:00:00:00:{:02x}:{:02x}", index >> 8, index & 255)
}

fn block(index: usize) -> String {
    let base = index * 64;
    format!("10.{}.{}.{}/26", 244 + (base >> 16), base >> 8 & 255, base & 255)
}

fn pod_address(index: usize) -> String {
    let address = index * 64 + 1;
    format!("10.{}.{}.{}", 244 + (address >> 16), address >> 8 & 255, address & 255)
}

/// One `ip` process for many commands.
fn batch(netns: Option<&str>, lines: &[String]) {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("iproute2 is installed");
    let mut stdin = child.stdin.take().expect("piped above");
    stdin.write_all((lines.join("\n") + "\n").as_bytes()).expect("ip reads its commands");
    drop(stdin);
    assert!(child.wait().expect("ip was started").success(), "ip -batch failed");
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Proportional set size of a process: shared pages count by share, so that a hundred BIRDs are not counted a hundred times.
fn pss(pid: &str) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process runs");
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).expect("the kernel counts PSS");
    let kibibytes = line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number");
    kibibytes / 1024.0
}

/// A directory for one run. Its end, also by a panic, is the end of all that the run made.
struct Scratch {
    path: PathBuf,
    sweep: fn(&Path),
}

impl Scratch {
    fn new(sweep: fn(&Path)) -> Self {
        let path = std::env::temp_dir().join(format!("lab-bench-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self { path, sweep }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        (self.sweep)(&self.path);
        let _ = fs::remove_dir_all(&self.path);
    }
}
