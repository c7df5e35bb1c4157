//! Our speaker beside each daemon that Debian has, row by row: every fact is looked at on both sides.
//!
//! ```text
//!   ours, AS 4200000001, 10.7.0.1 ─────────────── 10.7.0.2, AS 4200000002, theirs: BIRD 2, FRR, GoBGP or ExaBGP
//!   10.8.1.0/24, communities                                               10.9.1.0/24, and 10.9.2.0/24 with communities
//! ```
//!
//! In IPv6 the same with fd00:7::1, fd00:8:1::/48 and so on: sessions over IPv6, for IPv6 unicast (RFC 4760, RFC 2545).

use std::net::IpAddr;

use lab::bgp::view::MessageCounts;
use lab::net::ExternalSpeaker;

use crate::capture::Capture;
use crate::cluster::until;
use crate::wire;

use self::addressing::{Addressing, IPV4, IPV6, network};
use self::bench::{Bench, in_ipv6, plan};

mod add_path;
mod addressing;
mod again;
mod bench;
mod restart;
mod secured;

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
    ExternalSpeaker::ALL.into_iter().for_each(secured::md5);
}

#[test]
fn sessions_with_gtsm_take_nothing_from_afar() {
    ExternalSpeaker::ALL.into_iter().for_each(secured::gtsm);
}

#[test]
fn routes_outlive_a_daemon_that_asked_for_it_and_comes_back_in_time() {
    ExternalSpeaker::ALL.into_iter().for_each(restart::graceful_restart);
}

#[test]
fn several_paths_of_a_prefix_go_both_ways() {
    ExternalSpeaker::ALL.into_iter().for_each(add_path::several_paths);
}
