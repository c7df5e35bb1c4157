//! Our speaker and a daemon on one link, with a witness, and what the daemon is told and asked.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use ipnet::IpNet;
use lab::bgp::view::{PathView, SessionView, State};
use lab::bgp::wire::Family;
use lab::bgp::{ExportPolicy, SpeakerConfig};
use lab::bgp_io::Driver;
use lab::external_io::External;
use lab::fabric::{NetlinkKernel, Netns, build, remove_lab};
use lab::net::{Community, ExternalSpeaker, PrefixAdvertisement};
use lab::plan::Plan;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::addressing::{Addressing, IPV4, IPV6, OURS, THEIRS};
use super::again::Rerun;
use crate::capture::Capture;
use crate::cluster::{Alone, alone, until_none};

/// The two of them, and a witness.
pub(super) struct Bench {
    pub(super) daemon: ExternalSpeaker,
    pub(super) addressing: &'static Addressing,
    pub(super) plan: Plan,
    /// Of everyone in the plan: we are the first, they the second.
    pub(super) netns: Vec<Netns>,
    pub(super) drivers: Vec<Option<Driver>>,
    pub(super) theirs: Option<External>,
    pub(super) reruns: Vec<Rerun>,
    pub(super) capture: Capture,
    pub(super) runtime: Option<Runtime>,
    pub(super) folder: TempDir,
    _alone: Alone,
}

impl Bench {
    /// Both run; `session` is what either end says of the other besides address and AS, and `alter` changes their daemon's part.
    pub(super) fn start(
        name: &str,
        daemon: ExternalSpeaker,
        session: &str,
        alter: impl Fn(&mut SpeakerConfig),
    ) -> Self {
        let mut plan = plan(name, daemon, &format!("{session} }}"), "");
        alter(&mut plan.speakers[1].config);
        Self::of(daemon, plan)
    }

    /// Both run; whoever else is in the plan does not yet.
    pub(super) fn of(daemon: ExternalSpeaker, plan: Plan) -> Self {
        Self::of_family(daemon, plan, &IPV4)
    }

    pub(super) fn of_family(daemon: ExternalSpeaker, plan: Plan, addressing: &'static Addressing) -> Self {
        assert!(nix::unistd::Uid::effective().is_root(), "this test builds network namespaces: run it as root");
        let alone = alone();
        build(&NetlinkKernel, &plan, &|_| {}).unwrap();
        let netns: Vec<Netns> = plan.speakers.iter().map(|speaker| Netns::open(&speaker.netns).unwrap()).collect();
        if addressing.family == "ipv6" {
            give_ipv6(&netns);
        }
        let capture = Capture::start(inside(&netns[0], "tcpdump"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        // ExaBGP finds its pipes below /run only.
        let folder = tempfile::tempdir_in("/run").unwrap();
        let mut bench = Self {
            daemon,
            addressing,
            drivers: plan.speakers.iter().map(|_| None).collect(),
            netns,
            capture,
            theirs: None,
            reruns: Vec::new(),
            runtime: Some(runtime),
            folder,
            plan,
            _alone: alone,
        };
        let starting = External::start(
            &bench.netns[1],
            daemon,
            bench.plan.speakers[1].config.clone(),
            bench.folder.path().join("theirs"),
        );
        let theirs = bench.runtime().block_on(starting);
        bench.theirs = Some(theirs.unwrap_or_else(|error| panic!("{error}")));
        bench.start_driver(0);
        bench
    }

    /// Starts a speaker of ours in the place `side`; the one that was there ends without a word.
    pub(super) fn start_driver(&mut self, side: usize) {
        self.drivers[side] = None;
        let config = self.plan.speakers[side].config.clone();
        let _inside = self.runtime().enter();
        let mut driver = None;
        // The tasks of the one before are aborted, and its socket goes with the last of them.
        until_none("the port is free", || match Driver::open(&self.netns[side], config.clone(), watch::channel(0).0) {
            Ok(opened) => {
                driver = Some(opened);
                vec![]
            }
            Err(error) => vec![format!("{error:?}")],
        });
        driver.as_mut().unwrap().start();
        self.drivers[side] = driver;
    }

    pub(super) fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it ends with the bench")
    }

    pub(super) fn theirs(&self) -> &External {
        self.theirs.as_ref().expect("it runs")
    }

    pub(super) fn driver(&self, side: usize) -> &Driver {
        self.drivers[side].as_ref().expect("it was started")
    }

    pub(super) fn our_session(&self) -> SessionView {
        self.driver(0).view().sessions.swap_remove(0)
    }

    pub(super) fn their_state(&self) -> State {
        self.runtime().block_on(self.theirs().refresh());
        self.theirs().view().sessions[0].state
    }

    pub(super) fn established(&self) -> bool {
        self.our_session().state == State::Established && self.their_state() == State::Established
    }

    pub(super) fn tell(&self, commands: &[&str]) -> String {
        let answer = self.runtime().block_on(self.theirs().command(commands));
        answer.unwrap_or_else(|error| panic!("{} refuses {commands:?}: {error}", self.daemon))
    }

    /// Our best path to `prefix`.
    pub(super) fn path(&self, prefix: &str) -> Option<PathView> {
        let prefix: IpNet = prefix.parse().unwrap();
        self.driver(0).paths().into_iter().find(|path| path.best && path.prefix == prefix)
    }

    /// What they say of `prefix`, if they know it.
    pub(super) fn heard(&self, prefix: &str) -> Option<String> {
        let command = match self.daemon {
            ExternalSpeaker::Bird => format!("show route {prefix} all"),
            ExternalSpeaker::Frr => format!("show bgp {} unicast {prefix} json", self.addressing.family),
            ExternalSpeaker::GoBgp => format!("global rib {prefix} -a {}", self.addressing.family),
            ExternalSpeaker::ExaBgp => "show adj-rib in extensive".into(),
        };
        // Some of them take it for an error that there is nothing.
        let answer = self.runtime().block_on(self.theirs().command(&[command])).ok()?;
        let lines = answer.lines().filter(|line| self.daemon != ExternalSpeaker::ExaBgp || line.contains(prefix));
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        text.contains(prefix).then_some(text)
    }

    /// A counter of the kernel in the namespace of side `side`.
    pub(super) fn counter(&self, side: usize, name: &str) -> u64 {
        let output = inside(&self.netns[side], "cat").arg("/proc/self/net/netstat").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let found = lines.chunks(2).find_map(|pair| {
            let [names, values] = pair else { return None };
            values.get(names.iter().position(|found| *found == name)?)?.parse().ok()
        });
        found.unwrap_or_else(|| panic!("the kernel has no counter {name}"))
    }

    /// Has them announce a network with 65001:7 and 65001:1:2.
    pub(super) fn they_announce(&self) {
        let Addressing { family, tagged, theirs, .. } = self.addressing;
        match self.daemon {
            ExternalSpeaker::Bird => {
                let file = self.folder.path().join("theirs/bird.conf");
                let route = format!(
                    "  route {tagged} blackhole {{ bgp_community.add((65001, 7)); bgp_large_community.add((65001, 1, 2)); }};\n"
                );
                let text = fs::read_to_string(&file).unwrap();
                let text = text.replacen(&format!("  {family};\n"), &format!("  {family};\n{route}"), 1);
                let text = text.replace(&format!("[ {theirs} ]"), &format!("[ {theirs}, {tagged} ]"));
                fs::write(&file, text).unwrap();
                self.tell(&["configure"]);
            }
            ExternalSpeaker::Frr => {
                let network = format!("network {tagged} route-map tag");
                let family = format!("address-family {family} unicast");
                let tag = ["route-map tag permit 10", "set community 65001:7", "set large-community 65001:1:2", "exit"];
                let into = ["router bgp 4200000002", &family, &network, "end"];
                self.tell(&[&["enable", "configure terminal"], &tag[..], &into[..]].concat());
            }
            ExternalSpeaker::GoBgp => {
                self.tell(&[&format!(
                    "global rib add {tagged} origin igp community 65001:7 large-community 65001:1:2 -a {family}"
                )]);
            }
            ExternalSpeaker::ExaBgp => {
                self.tell(&[&format!(
                    "announce route {tagged} next-hop self community [ 65001:7 ] large-community [ 65001:1:2 ]"
                )]);
            }
        }
    }

    pub(super) fn they_withdraw(&self) {
        let Addressing { family, tagged, .. } = self.addressing;
        match self.daemon {
            ExternalSpeaker::Bird => {
                let file = self.folder.path().join("theirs/bird.conf");
                let text = fs::read_to_string(&file).unwrap();
                let kept = text.lines().filter(|line| !line.contains(&format!("route {tagged}")));
                fs::write(&file, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
                self.tell(&["configure"]);
            }
            ExternalSpeaker::Frr => {
                let (family, network) = (format!("address-family {family} unicast"), format!("no network {tagged}"));
                let into = ["router bgp 4200000002", &family, &network, "end"];
                self.tell(&[&["enable", "configure terminal"], &into[..]].concat());
            }
            ExternalSpeaker::GoBgp => drop(self.tell(&[&format!("global rib del {tagged} -a {family}")])),
            ExternalSpeaker::ExaBgp => drop(self.tell(&[&format!("withdraw route {tagged} next-hop self")])),
        }
    }

    /// Has them ask us for everything again (RFC 2918). GoBGP never asks: it keeps what it was told, and tells us everything again.
    pub(super) fn they_ask_again(&self) {
        let Addressing { family, us, .. } = self.addressing;
        match self.daemon {
            ExternalSpeaker::Bird => self.tell(&["reload in Peer_10_7_0_1"]),
            ExternalSpeaker::Frr => self.tell(&["enable", &format!("clear bgp {us} soft in")]),
            ExternalSpeaker::GoBgp => self.tell(&[&format!("neighbor {us} softresetout")]),
            ExternalSpeaker::ExaBgp => self.tell(&[&format!("announce route-refresh {family} unicast")]),
        };
    }

    pub(super) fn our_route(&self, verb: &str) {
        let netns = self.netns[0].name().to_string();
        let done =
            Command::new("ip").args(["-n", &netns, "route", verb, "blackhole", self.addressing.ours]).status().unwrap();
        assert!(done.success());
    }

    /// The TTLs with which BGP came from `source`; `more` narrows it down.
    pub(super) fn ttls(&self, source: &str, more: &str) -> BTreeSet<String> {
        let all = self.capture.tshark(&format!("tcp.port == 179 && ip.src == {source}{more}"), &["ip.ttl"]);
        all.into_iter().collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Whoever holds a namespace keeps it.
        self.drivers.clear();
        self.reruns.clear();
        self.theirs = None;
        self.netns.clear();
        drop(self.runtime.take());
        let errors = remove_lab(&NetlinkKernel, &self.plan.lab, &[]);
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}
/// `session` is what either end says of the other besides address and AS, and whom it peers with besides; `more` are other routers.
pub(super) fn plan(name: &str, daemon: ExternalSpeaker, session: &str, more: &str) -> Plan {
    let router = |name: &str, own: u8, network: &str, more: &str| {
        let far = 3 - own;
        format!(
            "[[router]]\nname = \"{name}\"\naddresses = [\"10.7.0.{own}/24\"]\nasNumber = 420000000{own}\n\
             networks = [\"{network}\"]\npeers = [{{ ip = \"10.7.0.{far}\", asNumber = 420000000{far}{session}]\n{more}"
        )
    };
    let speaker = format!("speaker = \"{}\"\n", daemon.key());
    let text = router("ours", 1, OURS, "") + &router("theirs", 2, THEIRS, &speaker) + more;
    let lab = format!("t-{name}-{}", daemon.key());
    let mut plan = lab::plan::build(&lab::topology::parse(&text, &lab).unwrap()).unwrap();
    // A route of the kernel is announced and withdrawn by anybody, a static one is not.
    plan.speakers[0].config.statics.clear();
    plan.speakers[0].config.policy.advertisements = vec![PrefixAdvertisement {
        cidr: OURS.parse().unwrap(),
        communities: vec![Community::Standard((65010 << 16) + 5), Community::Large(65010, 6, 7)],
    }];
    plan
}

/// The same plan in IPv6.
pub(super) fn in_ipv6(mut plan: Plan) -> Plan {
    let net = |prefix: &str| -> IpNet { prefix.parse().unwrap() };
    for (speaker, [own, far, network]) in
        plan.speakers.iter_mut().zip([[IPV6.us, IPV6.them, IPV6.ours], [IPV6.them, IPV6.us, IPV6.theirs]])
    {
        let config = &mut speaker.config;
        config.family = Family::Ipv6Unicast;
        config.peers[0].local = Some(own.parse().unwrap());
        config.peers[0].remote = far.parse().unwrap();
        config.policy.export = ExportPolicy::Router { networks: vec![net(network)], transit: true };
        if !config.statics.is_empty() {
            config.statics = vec![net(network)];
        }
        config.policy.advertisements.iter_mut().for_each(|advertisement| advertisement.cidr = net(network));
    }
    plan
}

/// Addresses on the link, at once: nobody else can have them.
fn give_ipv6(netns: &[Netns]) {
    for (netns, address) in netns.iter().zip([IPV6.us, IPV6.them]) {
        for dev in ["lo", "eth0"] {
            let key = format!("net.ipv6.conf.{dev}.disable_ipv6=0");
            assert!(inside(netns, "sysctl").args(["-qw", &key]).status().unwrap().success());
        }
        let address = format!("{address}/64");
        assert!(
            inside(netns, "ip").args(["address", "add", &address, "dev", "eth0", "nodad"]).status().unwrap().success()
        );
    }
}

pub(super) fn inside(netns: &Netns, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns.name().as_ref(), program]);
    command
}
