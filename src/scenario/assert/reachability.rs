//! Ping, HTTP and commands: did the answer come, and is it the right one?

use super::{DiffLine, Verdict};
use crate::scenario::model::{Curl, Exec, Expect, Ping};
use crate::scenario::observed::{ExecResult, HttpResult, PingResult};

/// Every request answered, each with the TTL expected; or, with [`Expect::Fail`], none.
pub fn ping(expected: &Ping, expect: Expect, observed: &PingResult) -> Verdict {
    let PingResult { sent, replies, obstacles } = observed;
    let answers = format!("{} of {sent} answered", replies.len());
    let found = match obstacles.first() {
        Some(obstacle) => format!("{answers} ({obstacle})"),
        None => answers,
    };
    if expect == Expect::Fail {
        return match (replies.is_empty(), *sent > 0 || !obstacles.is_empty()) {
            (true, true) => match &expected.error {
                Some(error) if !obstacles.iter().any(|obstacle| obstacle.to_string().contains(error.as_str())) => {
                    Verdict::fail(format!("{expected}: no answer but `{error}`"), found, vec![])
                }
                _ => Verdict::Pass,
            },
            (true, false) => Verdict::fail(format!("{expected}: no answer"), "nothing was sent", vec![]),
            (false, _) => Verdict::fail(format!("{expected}: no answer"), found, vec![]),
        };
    }
    let count = expected.count;
    if *sent < count || u64::from(count) > replies.len() as u64 {
        return Verdict::fail(format!("{expected}: {count} of {count} answered"), found, vec![]);
    }
    let Some(ttl) = expected.ttl else { return Verdict::Pass };
    let wrong: Vec<_> = replies.iter().filter(|reply| reply.ttl != ttl).collect();
    if wrong.is_empty() {
        return Verdict::Pass;
    }
    let difference = wrong.iter().flat_map(|reply| {
        [
            DiffLine::missing(format!("icmp_seq={} ttl={ttl}", reply.sequence)),
            DiffLine::unexpected(format!("icmp_seq={} ttl={}", reply.sequence, reply.ttl)),
        ]
    });
    let found = format!("{} with another ttl", super::count(wrong.len(), "reply"));
    Verdict::fail(format!("{expected}: every reply with ttl {ttl}"), found, difference.collect())
}

/// An answer with the status expected, whose body has the length and contains the text expected; or, with [`Expect::Fail`], none at all.
pub fn curl(expected: &Curl, expect: Expect, observed: &HttpResult) -> Verdict {
    match (expect, observed) {
        (Expect::Fail, HttpResult::None(_)) => Verdict::Pass,
        (Expect::Fail, HttpResult::Answer { status, .. }) => {
            Verdict::fail(format!("{expected}: no answer"), format!("status {status}"), vec![])
        }
        (Expect::Pass, HttpResult::None(reason)) => {
            Verdict::fail(format!("{expected}: status {}", expected.status), format!("no answer: {reason}"), vec![])
        }
        (Expect::Pass, HttpResult::Answer { status, body, length }) => {
            if *status != expected.status {
                let wish = format!("{expected}: status {}", expected.status);
                return Verdict::fail(wish, format!("status {status}"), lines(DiffLine::unexpected, body));
            }
            if let Some(size) = expected.size.filter(|size| *size as usize != *length) {
                return Verdict::fail(format!("{expected}: {size} bytes"), format!("{length} bytes"), vec![]);
            }
            let Some(wanted) = expected.body.as_ref().filter(|wanted| !body.contains(wanted.trim_end())) else {
                return Verdict::Pass;
            };
            let wish = format!("{expected}: a body with this text");
            Verdict::fail(wish, "another body", texts(wanted, body))
        }
    }
}

/// The exit status expected, and a standard output that contains the text expected.
pub fn exec(expected: &Exec, observed: &ExecResult) -> Verdict {
    if observed.status != expected.status {
        let output = if observed.stderr.trim().is_empty() { &observed.stdout } else { &observed.stderr };
        let wish = format!("{expected}: exit status {}", expected.status);
        return Verdict::fail(wish, format!("exit status {}", observed.status), lines(DiffLine::unexpected, output));
    }
    match &expected.stdout {
        Some(wanted) if !observed.stdout.contains(wanted.trim_end()) => {
            let wish = format!("{expected}: an output with this text");
            Verdict::fail(wish, "another output", texts(wanted, &observed.stdout))
        }
        _ => Verdict::Pass,
    }
}

fn texts(wanted: &str, found: &str) -> Vec<DiffLine> {
    let mut difference = lines(DiffLine::missing, wanted);
    difference.extend(lines(DiffLine::unexpected, found));
    difference
}

/// The first lines of a text, marked.
fn lines(mark: fn(String) -> DiffLine, text: &str) -> Vec<DiffLine> {
    const SHOWN: usize = 20;
    let mut shown: Vec<DiffLine> = text.trim_end().lines().take(SHOWN).map(|line| mark(line.into())).collect();
    let left = text.trim_end().lines().skip(SHOWN).count();
    if left > 0 {
        shown.push(mark(format!("… {left} more lines")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{shown, step};
    use super::*;
    use crate::scenario::{Obstacle, PingReply, Verb};

    fn replies(ttls: &[u8]) -> Vec<PingReply> {
        let reply = |(index, ttl): (usize, &u8)| PingReply {
            sequence: index as u16 + 1,
            ttl: *ttl,
            round_trip: Duration::from_micros(50),
        };
        ttls.iter().enumerate().map(reply).collect()
    }

    fn ping_verdict(text: &str, sent: u32, ttls: &[u8], errors: &[&str]) -> Vec<String> {
        let step = step(text);
        let Verb::Ping(expected) = &step.verb else { panic!("ping") };
        let obstacles = errors.iter().map(|error| Obstacle::Other(error.to_string())).collect();
        shown(ping(expected, step.expect, &PingResult { sent, replies: replies(ttls), obstacles }))
    }

    #[test]
    fn every_request_must_be_answered() {
        let text = "ping = { from = 'a', to = 'b', count = 3 }";
        assert_eq!(ping_verdict(text, 3, &[62, 62, 62], &[]), Vec::<String>::new());
        assert_eq!(ping_verdict(text, 3, &[62, 62], &[]), ["ping a -> b: 3 of 3 answered | 2 of 3 answered"]);
        assert_eq!(
            ping_verdict(text, 1, &[], &["Network is unreachable"]),
            ["ping a -> b: 3 of 3 answered | 0 of 1 answered (Network is unreachable)"]
        );
    }

    #[test]
    fn every_reply_must_have_the_ttl() {
        assert_eq!(
            ping_verdict("ping = { from = 'a', to = 'b', count = 2, ttl = 62 }", 2, &[62, 63], &[]),
            [
                "ping a -> b: every reply with ttl 62 | 1 reply with another ttl",
                "- icmp_seq=2 ttl=62",
                "+ icmp_seq=2 ttl=63",
            ]
        );
    }

    #[test]
    fn a_ping_that_must_fail_passes_only_without_any_answer() {
        let text = "expect = 'fail'\nping = { from = 'a', to = 'b', count = 2 }";
        assert_eq!(ping_verdict(text, 2, &[], &[]), Vec::<String>::new());
        assert_eq!(ping_verdict(text, 0, &[], &["Network is unreachable"]), Vec::<String>::new());
        assert_eq!(ping_verdict(text, 2, &[62], &[]), ["ping a -> b: no answer | 1 of 2 answered"]);
        assert_eq!(ping_verdict(text, 0, &[], &[]), ["ping a -> b: no answer | nothing was sent"]);
    }

    #[test]
    fn a_ping_that_must_fail_may_have_to_bring_an_error() {
        let text = "expect = 'fail'\nping = { from = 'a', to = 'b', error = 'Time to live exceeded' }";
        let exceeded = "From 10.0.1.1: Time to live exceeded";
        assert_eq!(ping_verdict(text, 1, &[], &["Network is unreachable", exceeded]), Vec::<String>::new());
        assert_eq!(
            ping_verdict(text, 1, &[], &[]),
            ["ping a -> b: no answer but `Time to live exceeded` | 0 of 1 answered"]
        );
    }

    fn curl_verdict(text: &str, observed: HttpResult) -> Vec<String> {
        let step = step(text);
        let Verb::Curl(expected) = &step.verb else { panic!("curl") };
        shown(curl(expected, step.expect, &observed))
    }

    fn answer(status: u16, body: &str) -> HttpResult {
        HttpResult::Answer { status, body: body.into(), length: body.len() }
    }

    #[test]
    fn an_answer_has_its_status_and_its_body() {
        let text = "curl = { from = 'a', to = 'b', body = 'PodName: b' }";
        assert_eq!(curl_verdict(text, answer(200, "PodName: b | PodIP: eth0\n")), Vec::<String>::new());
        assert_eq!(
            curl_verdict(text, answer(404, "not found\n")),
            ["curl a -> b: status 200 | status 404", "+ not found"]
        );
        assert_eq!(
            curl_verdict(text, answer(200, "PodName: c\n")),
            ["curl a -> b: a body with this text | another body", "- PodName: b", "+ PodName: c",]
        );
        assert_eq!(
            curl_verdict(text, HttpResult::None("timed out".into())),
            ["curl a -> b: status 200 | no answer: timed out"]
        );
    }

    #[test]
    fn every_byte_that_was_asked_for_must_arrive() {
        let text = "curl = { from = 'a', to = 'b', size = 13, body = 'PodName: b' }";
        assert_eq!(curl_verdict(text, answer(200, "PodName: b |\n")), Vec::<String>::new());
        assert_eq!(curl_verdict(text, answer(200, "PodName: b\n")), ["curl a -> b/?size=13: 13 bytes | 11 bytes"]);
        assert_eq!(
            curl_verdict(text, answer(400, "size is at most 1048576\n")),
            ["curl a -> b/?size=13: status 200 | status 400", "+ size is at most 1048576"]
        );
    }

    #[test]
    fn a_curl_that_must_fail_passes_only_without_an_answer() {
        let text = "expect = 'fail'\ncurl = { from = 'a', to = 'b' }";
        assert_eq!(curl_verdict(text, HttpResult::None("timed out".into())), Vec::<String>::new());
        assert_eq!(curl_verdict(text, answer(500, "")), ["curl a -> b: no answer | status 500"]);
    }

    #[test]
    fn a_command_is_judged_by_status_and_output() {
        let Verb::Exec(expected) = step("exec = { on = 'n', command = ['ip', 'r'], stdout = 'tunl0' }").verb else {
            panic!("exec")
        };
        let result =
            |status, stdout: &str, stderr: &str| ExecResult { status, stdout: stdout.into(), stderr: stderr.into() };
        assert_eq!(exec(&expected, &result(0, "10.0.0.1 dev tunl0\n", "")), Verdict::Pass);
        assert_eq!(
            shown(exec(&expected, &result(0, "10.0.0.1 dev eth0\n", ""))),
            ["exec on n: ip r: an output with this text | another output", "- tunl0", "+ 10.0.0.1 dev eth0",]
        );
        assert_eq!(
            shown(exec(&expected, &result(2, "", "no such device\n"))),
            ["exec on n: ip r: exit status 0 | exit status 2", "+ no such device",]
        );
    }
}
