//! Graceful restart (RFC 4724), ours the helper: their daemon is killed, and our kernel keeps its routes if it had asked for that, until it
//! is back and has said everything, and no longer than it asked.

use std::time::{Duration, Instant};

use lab::bgp::view::{SessionView, State};
use lab::fabric::observe;
use lab::net::ExternalSpeaker;

use super::addressing::{TAGGED, THEIRS};
use super::bench::Bench;
use super::{assert_no_fault, say};
use crate::cluster::{until, until_none};
use crate::removals::Removals;

/// Longer than anything is waited for here.
const LONG: u16 = 300;
const SHORT: u16 = 3;

/// Their configuration `text` with graceful restart of so many seconds, or without it.
fn restarting(daemon: ExternalSpeaker, text: &str, time: Option<u16>) -> String {
    let replace = |what: &str, with: String| {
        assert!(text.contains(what), "no {what} in {text}");
        text.replace(what, &with)
    };
    match (daemon, time) {
        (ExternalSpeaker::Bird, None) => {
            replace("graceful restart on; graceful restart time 120;", "graceful restart off;".into())
        }
        (ExternalSpeaker::Bird, Some(time)) => replace("restart time 120;", format!("restart time {time};")),
        // The others announce none, FRR one without a family.
        (_, None) => text.to_owned(),
        (ExternalSpeaker::Frr, Some(time)) => replace(
            "router bgp 4200000002\n",
            format!(
                "router bgp 4200000002\n bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n \
                 bgp graceful-restart restart-time {time}\n"
            ),
        ),
        (ExternalSpeaker::GoBgp, Some(time)) => {
            let family = "[[neighbors.afi-safis]]\n";
            let peer = format!("[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {time}\n");
            replace(family, peer + family) + "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
        }
        (ExternalSpeaker::ExaBgp, Some(time)) => {
            replace("route-refresh enable;", format!("route-refresh enable; graceful-restart {time};"))
        }
    }
}

impl Bench {
    /// Kills them and calls them again with that.
    fn start_again(&mut self, time: Option<u16>) {
        // GoBGP now and then stays Idle for good beside a session that stands: then it is called once more.
        for _ in 0..5 {
            let (called, daemon) = (self.kill(), self.daemon);
            self.configure(|text| restarting(daemon, text, time));
            self.run_again(&called, &[]);
            let start = Instant::now();
            while !self.established() && start.elapsed() < Duration::from_secs(8) {
                std::thread::sleep(Duration::from_millis(20));
            }
            if self.established() {
                break;
            }
        }
        // Where they restart gracefully, the network is there all the time: what counts is that they have said it again.
        let done =
            |session: &SessionView| session.stale_ms.is_none() && (time.is_none() || session.end_of_rib_received);
        until_none("they have said everything", || {
            let (session, there) = (self.our_session(), self.in_kernel(THEIRS));
            match self.established() && done(&session) && there {
                true => vec![],
                false => vec![format!("theirs {}, in the kernel {there}: {session:?}", self.their_state())],
            }
        });
    }

    fn in_kernel(&self, prefix: &str) -> bool {
        let routes = observe::routes(&self.netns[0]).unwrap();
        routes.iter().any(|route| route.dst.to_string() == prefix)
    }
}

fn named(removals: &Removals, prefix: &str) -> usize {
    removals.of_bgp().iter().filter(|line| line.contains(prefix)).count()
}

pub(super) fn graceful_restart(daemon: ExternalSpeaker) {
    let mut bench = Bench::start("gr", daemon, "", |_| {});
    until("both say Established", || bench.established());
    bench.start_again(None);
    let removals = Removals::watch(&bench.netns[0]);
    let called = bench.kill();
    until_none("our kernel loses their network", || match named(&removals, THEIRS) {
        1 => vec![],
        _ => vec![format!("{:?}, {:?}", removals.of_bgp(), bench.our_session())],
    });
    assert_eq!(bench.our_session().stale_ms, None);
    say(daemon, "no graceful restart", "routes go at once");

    bench.run_again(&called, &[]);
    until("it is there again", || bench.our_session().state == State::Established);
    bench.start_again(Some(LONG));
    bench.they_announce();
    until("our kernel has both", || bench.in_kernel(THEIRS) && bench.in_kernel(TAGGED));
    drop(removals);
    let removals = Removals::watch(&bench.netns[0]);
    let called = bench.kill();
    until("we notice", || bench.our_session().state != State::Established);
    let session = bench.our_session();
    assert!(session.stale_ms.is_some_and(|left| left <= u64::from(LONG) * 1000), "{session:?}");
    assert!(bench.in_kernel(THEIRS) && bench.in_kernel(TAGGED));
    // As who recovers; the others say so at every start. What they were told by hand they have forgotten.
    bench.configure(|text| restarting(daemon, text, Some(LONG)));
    bench.run_again(
        &called,
        match daemon {
            ExternalSpeaker::Bird => &["-R"],
            ExternalSpeaker::GoBgp => &["-r"],
            ExternalSpeaker::Frr | ExternalSpeaker::ExaBgp => &[],
        },
    );
    until_none("End-of-RIB", || {
        let session = bench.our_session();
        let done = session.state == State::Established && session.end_of_rib_received && session.stale_ms.is_none();
        if done { vec![] } else { vec![format!("{session:?}")] }
    });
    until("what they do not know any more goes", || named(&removals, TAGGED) == 1);
    assert_eq!(named(&removals, THEIRS), 0, "{:?}", removals.of_bgp());
    assert!(bench.path(THEIRS).is_some() && bench.path(TAGGED).is_none());
    say(daemon, "graceful restart, helper", "holds");

    bench.start_again(Some(SHORT));
    let removals = Removals::watch(&bench.netns[0]);
    let start = Instant::now();
    bench.kill();
    until("the restart time is over", || named(&removals, THEIRS) > 0);
    let kept = start.elapsed();
    assert!(kept >= Duration::from_secs(SHORT.into()), "{kept:?}");
    assert_eq!(bench.our_session().stale_ms, None);
    say(daemon, "graceful restart, time over", "routes go then");
    bench.capture.stop();
    assert_no_fault(&bench.capture);
}
