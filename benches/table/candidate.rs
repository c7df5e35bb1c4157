//! The candidates: how each is started, asked how much it has, and measured.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::bgp::wire::Family;
use lab::bgp::{ExportPolicy, KernelRule, PeerConfig, PolicyConfig, PoolPolicy, SpeakerConfig, TimerConfig};
use lab::bgp_io::Driver;
use lab::fabric::Netns;
use lab::net::{Asn, BgpIdentifier, NetnsName, NextHopMode};

use super::peer::{self, HOLD_TIME, INJECTOR, SPEAKER, SPEAKER_AS};

/// The argument that makes this program the candidate.
pub(super) const OURS: &str = "--speaker";

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// `lab`'s speaker and its driver.
    Lab,
    /// BIRD 2.
    Bird,
    /// GoBGP.
    GoBgp,
}

impl Candidate {
    /// Ours first.
    pub(super) const ALL: [Self; 3] = [Self::Lab, Self::Bird, Self::GoBgp];

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lab => "lab",
            Self::Bird => "BIRD 2",
            Self::GoBgp => "GoBGP",
        }
    }

    /// Whether it can be measured; says so if not.
    pub(super) fn is_installed(self) -> bool {
        let program = match self {
            Self::Lab => return true,
            Self::Bird => "bird",
            Self::GoBgp => "gobgpd",
        };
        let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
        if !found {
            eprintln!("{} is left out: there is no {program}", self.name());
        }
        found
    }
}

/// A candidate that runs. Its end is that of the process and of its files.
pub(super) struct Process {
    candidate: Candidate,
    child: Child,
    directory: PathBuf,
}

impl Process {
    /// Starts `candidate` with sessions to the injector and to `receivers` peers, which it waits for.
    pub(super) fn start(candidate: Candidate, receivers: usize) -> Self {
        let directory = std::env::temp_dir().join(format!("lab-bench-table-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory is writable");
        let config = directory.join("config");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", super::SPEAKER]);
        match candidate {
            Candidate::Lab => {
                command.arg(std::env::current_exe().expect("this program is a file"));
                command.args([OURS, &receivers.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
            }
            Candidate::Bird => {
                fs::write(&config, bird_config(receivers)).expect("writable");
                command.args(["bird", "-f", "-c"]).arg(&config).arg("-s").arg(directory.join("ctl"));
            }
            Candidate::GoBgp => {
                fs::write(&config, gobgp_config(receivers)).expect("writable");
                command.args(["gobgpd", "--log-level", "error", "--config-type", "toml", "--config-file"]).arg(&config);
                command.stdout(Stdio::null());
            }
        }
        Self { candidate, child: command.spawn().expect("iproute2 is installed"), directory }
    }

    /// How many prefixes it has from the injector.
    pub(super) fn received(&mut self) -> usize {
        match self.candidate {
            Candidate::Lab => {
                let (Some(input), Some(output)) = (&mut self.child.stdin, &mut self.child.stdout) else { return 0 };
                input.write_all(b"\n").expect("it takes questions");
                let mut line = String::new();
                BufReader::new(output).read_line(&mut line).expect("it answers");
                line.trim().parse().expect("it answers with a number")
            }
            Candidate::Bird => {
                let control = self.directory.join("ctl");
                let control = control.to_str().expect("a name in UTF-8");
                let told = inside(&["birdc", "-s", control, "show", "protocols", "all", "inj"]);
                let routes = told.lines().find_map(|line| line.trim().strip_prefix("Routes:"));
                routes.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
            }
            Candidate::GoBgp => {
                // Its list of neighbours ends with the numbers of routes received and accepted.
                let told = inside(&["gobgp", "neighbor"]);
                let row = told.lines().find(|line| line.starts_with(&INJECTOR.to_string()));
                row.and_then(|row| row.split_whitespace().last()?.parse().ok()).unwrap_or(0)
            }
        }
    }

    /// Seconds of CPU so far, in user space and in the kernel.
    pub(super) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process runs");
        let (_, fields) = stat.rsplit_once(") ").expect("the name stands in parentheses");
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
        // USER_HZ.
        ticks as f64 / 100.0
    }

    /// The largest resident set so far, in MiB.
    pub(super) fn peak(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the kernel counts it");
        line.trim().trim_end_matches(" kB").trim().parse::<f64>().expect("a number") / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What a command prints in the candidate's namespace.
fn inside(command: &[&str]) -> String {
    let output = Command::new("ip").args(["netns", "exec", super::SPEAKER]).args(command).output();
    String::from_utf8_lossy(&output.expect("iproute2 is installed").stdout).into_owned()
}

fn bird_config(receivers: usize) -> String {
    let mut text = format!(
        "router id {SPEAKER};\n\
         protocol device {{}}\n\
         protocol direct {{ ipv4; }}\n\
         template bgp t {{ local {SPEAKER} as {SPEAKER_AS}; passive on; hold time {HOLD_TIME}; ipv4 {{ import all; export where source = RTS_BGP; next hop self; }}; }}\n\
         protocol bgp inj from t {{ neighbor {INJECTOR} as {}; }}\n",
        peer::asn(INJECTOR).0
    );
    for (index, address) in (0..receivers).map(peer::receiver).enumerate() {
        writeln!(text, "protocol bgp r{index} from t {{ neighbor {address} as {}; }}", peer::asn(address).0)
            .expect("a string takes everything");
    }
    text
}

fn gobgp_config(receivers: usize) -> String {
    let mut text = format!("[global.config]\nas = {SPEAKER_AS}\nrouter-id = \"{SPEAKER}\"\n");
    for address in [INJECTOR].into_iter().chain((0..receivers).map(peer::receiver)) {
        let asn = peer::asn(address).0;
        write!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{address}\"\npeer-as = {asn}\n\
             [neighbors.transport.config]\npassive-mode = true\n[neighbors.timers.config]\nhold-time = {HOLD_TIME}\n"
        )
        .expect("a string takes everything");
    }
    text
}

/// The candidate that is ours: answers each line with the number of prefixes from the injector.
pub(super) fn serve(receivers: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let _inside = runtime.enter();
    let netns = Netns::open(&NetnsName::new(super::SPEAKER).expect("a name")).expect("the namespace is there");
    let (changed, _) = tokio::sync::watch::channel(0);
    let mut driver = Driver::open(&netns, speaker_config(receivers), changed).expect("the speaker opens");
    driver.start();
    for line in std::io::stdin().lines() {
        if line.is_err() {
            return;
        }
        let mut sessions = driver.ask(|speaker| speaker.view(std::time::Instant::now()).sessions);
        println!("{}", sessions.swap_remove(0).imported);
    }
}

fn speaker_config(receivers: usize) -> SpeakerConfig {
    let peer = |address: std::net::Ipv4Addr| PeerConfig {
        name: format!("peer_{address}"),
        remote: IpAddr::V4(address),
        remote_port: 179,
        remote_as: peer::asn(address),
        local_as: Asn(SPEAKER_AS),
        local: Some(IpAddr::V4(SPEAKER)),
        passive: true,
        restart_time: Duration::from_secs(120),
        next_hop: NextHopMode::Auto,
        allowed_local_as: 0,
        rr_client: false,
        keepalive_time: None,
        ttl_security: None,
        extended_messages: false,
        add_path: false,
        password: None,
        expected_down: false,
        import_filters: Vec::new(),
        export_filters: Vec::new(),
    };
    SpeakerConfig {
        name: "bench".to_owned(),
        family: Family::Ipv4Unicast,
        local_as: Asn(SPEAKER_AS),
        router_id: BgpIdentifier(SPEAKER),
        listen_port: 179,
        listen_address: None,
        timers: TimerConfig {
            hold_time: Duration::from_secs(HOLD_TIME.into()),
            connect_delay: Duration::ZERO,
            connect_retry: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            error_wait: (Duration::from_secs(5), Duration::from_secs(30)),
        },
        statics: Vec::new(),
        reachable_by: Vec::new(),
        cluster_id: None,
        peers: [INJECTOR].into_iter().chain((0..receivers).map(peer::receiver)).map(peer).collect(),
        policy: PolicyConfig {
            // As BIRD without a kernel protocol: nothing goes into the kernel.
            pools: vec![PoolPolicy {
                cidr: "0.0.0.0/0".parse().expect("a prefix"),
                disable_bgp_export: false,
                kernel: KernelRule::Refuse,
            }],
            export: ExportPolicy::Router { networks: Vec::new(), transit: true },
            ..PolicyConfig::default()
        },
    }
}
