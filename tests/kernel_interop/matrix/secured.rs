//! MD5 (RFC 2385) and GTSM (RFC 5082): what comes up, and what must not.

use lab::bgp::view::State;
use lab::net::{ExternalSpeaker, Password};

use super::addressing::{OURS, THEIRS};
use super::bench::Bench;
use super::say;
use crate::cluster::{until, until_none};

/// Both have each other's network, and the capture shows it.
fn exchange(bench: &mut Bench) {
    until("both say Established", || bench.established());
    until("we have their network", || bench.path(THEIRS).is_some());
    bench.our_route("add");
    until("they have our network", || bench.heard(OURS).is_some());
    bench.capture.stop_after(&["bgp.nlri_prefix == 10.8.1.0"]);
}

/// TCP MD5: signed throughout with the same key; with another one, and with none at one end, nothing.
pub(super) fn md5(daemon: ExternalSpeaker) {
    let mut bench = Bench::start("md5", daemon, ", password = \"s3cret\"", |_| {});
    exchange(&mut bench);
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
pub(super) fn gtsm(daemon: ExternalSpeaker) {
    let mut bench = Bench::start("ttl", daemon, ", ttlSecurity = 1", |_| {});
    exchange(&mut bench);
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
