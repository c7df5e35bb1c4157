//! ADD-PATH (RFC 7911): of a prefix that two others announce, each of us has four paths, two of them from the other.
//!
//! ```text
//!           left, AS 65101, 10.7.0.3 ───┬─── right, AS 65102, 10.7.0.4      both: 10.9.9.0/24
//!              ours, 10.7.0.1 ──────────┴────────── theirs, 10.7.0.2
//! ```

use std::collections::BTreeSet;

use ipnet::IpNet;
use lab::bgp::PeerId;
use lab::bgp_io::Order;
use lab::net::ExternalSpeaker;

use super::bench::{Bench, plan};
use super::{assert_no_fault, say};
use crate::cluster::until_none;
use crate::wire;

const SHARED: &str = "10.9.9.0/24";
/// Their places in the plan, and their ASes.
const LEFT: usize = 2;
const RIGHT: usize = 3;
const BOTH: [&str; 2] = ["65101", "65102"];
const ONE: [&str; 1] = ["65101"];

/// Their configuration `text` with ADD-PATH both ways.
fn with_several(daemon: ExternalSpeaker, text: &str) -> String {
    let replace = |what: &str, with: &str| {
        assert!(text.contains(what), "no {what} in {text}");
        text.replace(what, with)
    };
    match daemon {
        ExternalSpeaker::Bird => replace("gateway recursive;", "gateway recursive; add paths on;"),
        // It takes several from whoever sends them, asked or not.
        ExternalSpeaker::Frr => replace(
            "neighbor 10.7.0.1 activate\n",
            "neighbor 10.7.0.1 activate\n  neighbor 10.7.0.1 addpath-tx-all-paths\n",
        ),
        ExternalSpeaker::GoBgp => {
            let name = "afi-safi-name = \"ipv4-unicast\"\n";
            replace(name, &format!("{name}[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n"))
        }
        ExternalSpeaker::ExaBgp => replace("route-refresh enable;", "route-refresh enable; add-path send/receive;"),
    }
}

impl Bench {
    /// Who announced the paths of [`SHARED`] that we have from them.
    fn told_us(&self) -> BTreeSet<String> {
        let prefix: IpNet = SHARED.parse().unwrap();
        let paths = self.driver(0).paths().into_iter().filter(|path| path.prefix == prefix);
        let ases = paths.filter_map(|path| path.bgp?.as_path.strip_prefix("4200000002 ").map(str::to_owned));
        ases.collect()
    }

    /// Who announced the paths of [`SHARED`] that they have from us.
    fn told_them(&self) -> BTreeSet<String> {
        let heard = self.heard(SHARED).unwrap_or_default();
        BOTH.map(str::to_owned).into_iter().filter(|asn| heard.contains(&format!("4200000001 {asn}"))).collect()
    }

    fn told(&self, what: &str, expected: impl Fn(&BTreeSet<String>) -> bool) {
        until_none(what, || {
            let told = [self.told_us(), self.told_them()];
            if told.iter().all(&expected) { vec![] } else { vec![format!("us {:?}, them {:?}", told[0], told[1])] }
        });
    }

    /// Which of it our session has.
    fn agreed(&self) -> Vec<String> {
        self.our_session().capabilities.into_iter().filter(|one| one.starts_with("ADD-PATH")).collect()
    }

    /// ExaBGP tells on nothing of what it hears: what the others have, it says in their place.
    fn exabgp_says(&self, verb: &str, asn: &str) {
        if self.daemon == ExternalSpeaker::ExaBgp {
            self.tell(&[&format!(
                "neighbor 10.7.0.1 {verb} route {SHARED} next-hop self path-information 0.0.0.{} as-path [ 4200000002 {asn} ]",
                &asn[4..]
            )]);
        }
    }
}

pub(super) fn several_paths(daemon: ExternalSpeaker) {
    let others =
        [3, 4].map(|other| format!(" }}, {{ ip = \"10.7.0.{other}\", asNumber = 6510{}", other - 2)).concat() + " }";
    let router = |name: &str, own: u8| {
        format!(
            "[[router]]\nname = \"{name}\"\naddresses = [\"10.7.0.{own}/24\"]\nasNumber = 6510{}\nnetworks = [\"{SHARED}\"]\n\
             peers = [{{ ip = \"10.7.0.1\", asNumber = 4200000001 }}, {{ ip = \"10.7.0.2\", asNumber = 4200000002 }}]\n",
            own - 2
        )
    };
    let plan = plan("add", daemon, &others, &(router("left", 3) + &router("right", 4)));
    let mut bench = Bench::of(daemon, plan);
    bench.start_driver(LEFT);
    bench.start_driver(RIGHT);
    let called = bench.kill();
    bench.configure(|text| with_several(daemon, text));
    bench.run_again(&called, &[]);
    // They are ready to; as long as we are not, either end has one.
    BOTH.iter().for_each(|asn| bench.exabgp_says("announce", asn));
    bench.told("one path each way", |told| told.len() == 1);
    assert!(bench.agreed().is_empty(), "{:?}", bench.agreed());
    say(daemon, "no ADD-PATH", "one path");

    bench.plan.speakers[0].config.peers[0].add_path = true;
    bench.start_driver(0);
    bench.told("both paths each way", |told| told.iter().eq(&BOTH));
    assert_eq!(bench.agreed(), ["ADD-PATH receive", "ADD-PATH send"]);
    // Whoever has two loses one, and has the other.
    for peer in [0, 1] {
        let _inside = bench.runtime().enter();
        bench.driver(RIGHT).administer(PeerId(peer), Order::Disable);
    }
    bench.exabgp_says("withdraw", BOTH[1]);
    bench.told("one of them goes each way", |told| told.iter().eq(&ONE));
    say(daemon, "ADD-PATH", "both ways");
    let withdrawn = |from: u8, to: u8| {
        format!("bgp.withdrawn_prefix == 10.9.9.0 && ip.src == 10.7.0.{from} && ip.dst == 10.7.0.{to}")
    };
    bench.capture.stop_after(&[&withdrawn(1, 2), &withdrawn(2, 1)]);
    assert_no_fault(&bench.capture);
    let said = ["bgp.nlri_prefix", "bgp.withdrawn_prefix", "bgp.nlri_path_id"];
    wire::assert_same_as_tshark(&bench.capture, &["10.7.0.1", "10.7.0.2"], &said);
}
