//! Our speaker beside each daemon that Debian has, row by row: every fact is looked at on both sides.
//!
//! ```text
//!   ours, AS 4200000001, 10.7.0.1 ─────────────── 10.7.0.2, AS 4200000002, theirs: BIRD 2, FRR, GoBGP or ExaBGP
//!   10.8.1.0/24, communities                                               10.9.1.0/24, and 10.9.2.0/24 with communities
//! ```
//!
//! In IPv6 the same with fd00:7::1, fd00:8:1::/48 and so on: sessions over IPv6, for IPv6 unicast (RFC 4760, RFC 2545).

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::process::Command;

use ipnet::IpNet;
use lab::bgp::view::{MessageCounts, PathView, SessionView, State};
use lab::bgp::wire::Family;
use lab::bgp::{ExportPolicy, SpeakerConfig};
use lab::bgp_io::Driver;
use lab::external_io::External;
use lab::fabric::{NetlinkKernel, Netns, build, remove_lab};
use lab::net::{Community, ExternalSpeaker, Password, PrefixAdvertisement};
use lab::plan::Plan;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::capture::Capture;
use crate::cluster::{Alone, alone, until, until_none};
use crate::wire;

use self::again::Rerun;

mod add_path;
mod again;
mod restart;

/// Who announces what in one address family.
struct Addressing {
    /// As the daemons write it.
    family: &'static str,
    /// As our sessions show it.
    unicast: &'static str,
    us: &'static str,
    them: &'static str,
    ours: &'static str,
    theirs: &'static str,
    /// Theirs, with communities.
    tagged: &'static str,
    /// tshark's names of an announced and of a withdrawn prefix.
    nlri: &'static str,
    withdrawn: &'static str,
}

const IPV4: Addressing = Addressing {
    family: "ipv4",
    unicast: "IPv4 unicast",
    us: "10.7.0.1",
    them: "10.7.0.2",
    ours: "10.8.1.0/24",
    theirs: "10.9.1.0/24",
    tagged: "10.9.2.0/24",
    nlri: "bgp.nlri_prefix",
    withdrawn: "bgp.withdrawn_prefix",
};

const IPV6: Addressing = Addressing {
    family: "ipv6",
    unicast: "IPv6 unicast",
    us: "fd00:7::1",
    them: "fd00:7::2",
    ours: "fd00:8:1::/48",
    theirs: "fd00:9:1::/48",
    tagged: "fd00:9:2::/48",
    nlri: "bgp.mp_reach_nlri_ipv6_prefix",
    withdrawn: "bgp.mp_unreach_nlri_ipv6_prefix",
};

/// Those of IPv4, which is what most rows are about.
const OURS: &str = IPV4.ours;
const THEIRS: &str = IPV4.theirs;
const TAGGED: &str = IPV4.tagged;

/// `prefix` without its length: so tshark shows it.
fn network(prefix: &str) -> &str {
    prefix.split('/').next().unwrap()
}

/// The two of them, and a witness.
struct Bench {
    daemon: ExternalSpeaker,
    addressing: &'static Addressing,
    plan: Plan,
    /// Of everyone in the plan: we are the first, they the second.
    netns: Vec<Netns>,
    drivers: Vec<Option<Driver>>,
    theirs: Option<External>,
    reruns: Vec<Rerun>,
    capture: Capture,
    runtime: Option<Runtime>,
    folder: TempDir,
    _alone: Alone,
}

impl Bench {
    /// Both run; `session` is what either end says of the other besides address and AS, and `alter` changes their daemon's part.
    fn start(name: &str, daemon: ExternalSpeaker, session: &str, alter: impl Fn(&mut SpeakerConfig)) -> Self {
        let mut plan = plan(name, daemon, &format!("{session} }}"), "");
        alter(&mut plan.speakers[1].config);
        Self::of(daemon, plan)
    }

    /// Both run; whoever else is in the plan does not yet.
    fn of(daemon: ExternalSpeaker, plan: Plan) -> Self {
        Self::of_family(daemon, plan, &IPV4)
    }

    fn of_family(daemon: ExternalSpeaker, plan: Plan, addressing: &'static Addressing) -> Self {
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
    fn start_driver(&mut self, side: usize) {
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

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it ends with the bench")
    }

    fn theirs(&self) -> &External {
        self.theirs.as_ref().expect("it runs")
    }

    fn driver(&self, side: usize) -> &Driver {
        self.drivers[side].as_ref().expect("it was started")
    }

    fn our_session(&self) -> SessionView {
        self.driver(0).view().sessions.swap_remove(0)
    }

    fn their_state(&self) -> State {
        self.runtime().block_on(self.theirs().refresh());
        self.theirs().view().sessions[0].state
    }

    fn established(&self) -> bool {
        self.our_session().state == State::Established && self.their_state() == State::Established
    }

    fn tell(&self, commands: &[&str]) -> String {
        let answer = self.runtime().block_on(self.theirs().command(commands));
        answer.unwrap_or_else(|error| panic!("{} refuses {commands:?}: {error}", self.daemon))
    }

    /// Our best path to `prefix`.
    fn path(&self, prefix: &str) -> Option<PathView> {
        let prefix: IpNet = prefix.parse().unwrap();
        self.driver(0).paths().into_iter().find(|path| path.best && path.prefix == prefix)
    }

    /// What they say of `prefix`, if they know it.
    fn heard(&self, prefix: &str) -> Option<String> {
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
    fn counter(&self, side: usize, name: &str) -> u64 {
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
    fn they_announce(&self) {
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

    fn they_withdraw(&self) {
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
    fn they_ask_again(&self) {
        let Addressing { family, us, .. } = self.addressing;
        match self.daemon {
            ExternalSpeaker::Bird => self.tell(&["reload in Peer_10_7_0_1"]),
            ExternalSpeaker::Frr => self.tell(&["enable", &format!("clear bgp {us} soft in")]),
            ExternalSpeaker::GoBgp => self.tell(&[&format!("neighbor {us} softresetout")]),
            ExternalSpeaker::ExaBgp => self.tell(&[&format!("announce route-refresh {family} unicast")]),
        };
    }

    fn our_route(&self, verb: &str) {
        let netns = self.netns[0].name().to_string();
        let done =
            Command::new("ip").args(["-n", &netns, "route", verb, "blackhole", self.addressing.ours]).status().unwrap();
        assert!(done.success());
    }

    /// The TTLs with which BGP came from `source`; `more` narrows it down.
    fn ttls(&self, source: &str, more: &str) -> BTreeSet<String> {
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
fn plan(name: &str, daemon: ExternalSpeaker, session: &str, more: &str) -> Plan {
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
fn in_ipv6(mut plan: Plan) -> Plan {
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

fn inside(netns: &Netns, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns.name().as_ref(), program]);
    command
}

/// A row, by its name and what must hold in it.
type Row = (&'static str, fn(&Bench));

/// The rows of one session, in the order in which they happen.
const ROWS: [Row; 8] = [
    ("establish", |bench| {
        until("both say Established", || bench.established());
        assert_eq!(bench.our_session().remote_id.unwrap().to_string(), IPV4.them);
        let capabilities = bench.our_session().capabilities;
        assert!(capabilities.iter().any(|one| one == bench.addressing.unicast), "{capabilities:?}");
    }),
    ("4-octet AS", |bench| {
        let session = bench.our_session();
        assert!(session.capabilities.iter().any(|one| one == "4-octet AS"), "{:?}", session.capabilities);
        assert_eq!((session.local_as.0, session.remote_as.0), (4_200_000_001, 4_200_000_002));
    }),
    ("they announce", |bench| {
        let Addressing { theirs, them, .. } = bench.addressing;
        until("we have their network", || bench.path(theirs).is_some());
        let bgp = bench.path(theirs).unwrap().bgp.unwrap();
        let them: IpAddr = them.parse().unwrap();
        assert_eq!((bgp.as_path.as_str(), bgp.next_hop, bgp.origin.as_str()), ("4200000002", them, "IGP"));
    }),
    ("we announce", |bench| {
        bench.our_route("add");
        until("they have our network", || bench.heard(bench.addressing.ours).is_some());
        let heard = bench.heard(bench.addressing.ours).unwrap();
        for word in ["4200000001", bench.addressing.us] {
            assert!(heard.contains(word), "no {word} in {heard}");
        }
    }),
    ("communities", |bench| {
        bench.they_announce();
        until("we have the route with communities", || bench.path(bench.addressing.tagged).is_some());
        assert_eq!(bench.path(bench.addressing.tagged).unwrap().bgp.unwrap().communities, ["65001:7", "65001:1:2"]);
        let heard = bench.heard(bench.addressing.ours).unwrap().replace(['(', ')', ' '], "").replace(',', ":");
        for word in ["65010:5", "65010:6:7"] {
            assert!(heard.contains(word), "no {word} in {heard}");
        }
    }),
    ("refresh", |bench| {
        let before = bench.our_session().messages;
        bench.they_ask_again();
        let again = |after: MessageCounts| match bench.daemon {
            ExternalSpeaker::GoBgp => after.updates_received > before.updates_received,
            _ => after.updates_sent > before.updates_sent,
        };
        until("everything is sent again", || again(bench.our_session().messages));
        assert!(bench.path(bench.addressing.theirs).is_some());
        assert!(bench.heard(bench.addressing.ours).is_some() && bench.established());
    }),
    ("they withdraw", |bench| {
        bench.they_withdraw();
        until("the route is gone, and no other", || bench.path(bench.addressing.tagged).is_none());
        assert!(bench.path(bench.addressing.theirs).is_some());
    }),
    ("we withdraw", |bench| {
        bench.our_route("del");
        until("they have it no more", || bench.heard(bench.addressing.ours).is_none());
        assert!(bench.established());
    }),
];

fn say(daemon: ExternalSpeaker, row: &str, how: &str) {
    println!("{:8} {row:28} {how}", daemon.to_string());
}

/// tshark has no complaint about what either end said.
fn assert_no_fault(capture: &Capture) {
    // 0x600000 is a warning, above it errors.
    let faults = capture.tshark("bgp && (_ws.malformed || _ws.expert.severity >= 0x600000)", &[]);
    assert!(faults.is_empty(), "{faults:#?}");
}

fn matrix(daemon: ExternalSpeaker) {
    agree(Bench::start("mx", daemon, "", |_| {}));
}

fn agree(mut bench: Bench) {
    let Addressing { us, them, ours, nlri, withdrawn, unicast, .. } = bench.addressing;
    let daemon = bench.daemon;
    for (row, holds) in ROWS {
        holds(&bench);
        say(daemon, row, &format!("holds, {unicast}"));
    }
    bench.capture.stop_after(&[&format!("{withdrawn} == {}", network(ours))]);
    assert_no_fault(&bench.capture);
    // Until the two agree, one of them may not be ready yet: FRR turns down who comes before it knows the way back.
    let agreed = bench.capture.tshark("bgp.type == 2", &["frame.number"]).swap_remove(0);
    // Where both dial at once, one connection is closed (RFC 4271 §6.8); nothing else is an error.
    let collision = "bgp.notify.major_error == 6 && bgp.notify.minor_error_cease == 7";
    let filter = format!("bgp.type == 3 && frame.number > {agreed} && !({collision})");
    let errors = bench.capture.tshark(&filter, &[]);
    assert!(errors.is_empty(), "{errors:#?}");
    wire::assert_same_as_tshark(&bench.capture, &[us, them], &[nlri, withdrawn, "bgp.large_communities.ga"]);
    say(daemon, "decoded as tshark does", &format!("holds, {unicast}"));
}

/// The same rows over IPv6, for IPv6 unicast.
fn ipv6(daemon: ExternalSpeaker) {
    let plan = in_ipv6(plan("mx6", daemon, " }", ""));
    agree(Bench::of_family(daemon, plan, &IPV6));
}

/// TCP MD5: signed throughout with the same key; with another one, and with none at one end, nothing.
fn md5(daemon: ExternalSpeaker) {
    let mut bench = Bench::start("md5", daemon, ", password = \"s3cret\"", |_| {});
    until("both say Established", || bench.established());
    until("we have their network", || bench.path(THEIRS).is_some());
    bench.our_route("add");
    until("they have our network", || bench.heard(OURS).is_some());
    bench.capture.stop_after(&["bgp.nlri_prefix == 10.8.1.0"]);
    for source in ["10.7.0.1", "10.7.0.2"] {
        let of = |more: &str| bench.capture.tshark(&format!("tcp.port == 179 && ip.src == {source} && {more}"), &[]);
        assert!(!of("tcp.options.md5").is_empty(), "{source} signs nothing");
        // Nothing but the answer to a connection that nobody expects.
        let unsigned = of("!tcp.options.md5 && tcp.flags.reset == 0");
        assert!(unsigned.is_empty(), "{unsigned:#?}");
    }
    drop(bench);
    say(daemon, "MD5", "holds");
    for (what, key, counters) in [
        ("another key", Some("other"), &["TCPMD5Failure"][..]),
        ("no key", None, &["TCPMD5NotFound", "TCPMD5Unexpected"][..]),
    ] {
        let key = key.map(|key| Password::Text(key.into()));
        let bench = Bench::start("md5x", daemon, ", password = \"s3cret\"", |config| {
            config.peers[0].password.clone_from(&key);
        });
        until_none("our kernel drops what is signed otherwise", || {
            let dropped: u64 = counters.iter().map(|counter| bench.counter(0, counter)).sum();
            if dropped > 0 { vec![] } else { vec![format!("{:?}", bench.our_session())] }
        });
        assert_ne!((bench.our_session().state, bench.their_state()), (State::Established, State::Established));
        assert_ne!(bench.our_session().state, State::Established, "{what}");
        say(daemon, &format!("MD5, {what}"), "refused");
    }
}

/// GTSM: packets of 255 both ways; from an end without it, nothing gets in.
fn gtsm(daemon: ExternalSpeaker) {
    let mut bench = Bench::start("ttl", daemon, ", ttlSecurity = 1", |_| {});
    until("both say Established", || bench.established());
    until("we have their network", || bench.path(THEIRS).is_some());
    bench.our_route("add");
    until("they have our network", || bench.heard(OURS).is_some());
    bench.capture.stop_after(&["bgp.nlri_prefix == 10.8.1.0"]);
    for source in ["10.7.0.1", "10.7.0.2"] {
        // A kernel refuses a connection that nobody listens for yet with its own TTL.
        assert_eq!(bench.ttls(source, " && tcp.flags.reset == 0").into_iter().collect::<Vec<_>>(), ["255"], "{source}");
    }
    drop(bench);
    say(daemon, "GTSM", "holds");
    let mut bench = Bench::start("ttlx", daemon, ", ttlSecurity = 1", |config| config.peers[0].ttl_security = None);
    until("our kernel drops what may come from afar", || bench.counter(0, "TCPMinTTLDrop") > 0);
    assert_ne!(bench.our_session().state, State::Established);
    bench.capture.stop();
    // Their listener may answer with 255, because it does not know yet whom.
    assert!(!bench.ttls("10.7.0.2", " && tcp.len > 0").contains("255"));
    say(daemon, "GTSM, at our end only", "refused");
}

#[test]
fn bird_and_we_agree_in_every_row() {
    matrix(ExternalSpeaker::Bird);
}

#[test]
fn frr_and_we_agree_in_every_row() {
    matrix(ExternalSpeaker::Frr);
}

#[test]
fn gobgp_and_we_agree_in_every_row() {
    matrix(ExternalSpeaker::GoBgp);
}

#[test]
fn exabgp_and_we_agree_in_every_row() {
    matrix(ExternalSpeaker::ExaBgp);
}

#[test]
fn all_of_it_holds_in_ipv6() {
    ExternalSpeaker::ALL.into_iter().for_each(ipv6);
}

#[test]
fn sessions_are_signed_with_md5_and_come_up_with_the_same_key_only() {
    ExternalSpeaker::ALL.into_iter().for_each(md5);
}

#[test]
fn sessions_with_gtsm_take_nothing_from_afar() {
    ExternalSpeaker::ALL.into_iter().for_each(gtsm);
}

#[test]
fn routes_outlive_a_daemon_that_asked_for_it_and_comes_back_in_time() {
    ExternalSpeaker::ALL.into_iter().for_each(restart::graceful_restart);
}

#[test]
fn several_paths_of_a_prefix_go_both_ways() {
    ExternalSpeaker::ALL.into_iter().for_each(add_path::several_paths);
}
