//! The runner against a lab that is a script: time is virtual, so no test waits.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use super::*;
use crate::bgp::view::{PathView, SpeakerView};
use crate::net::{FdbEntry, IfName, LabName, Link, LinkKind, Neighbour, Route};
use crate::scenario::{Do, Encap, ExecResult, HttpResult, Obstacle, PingReply, PingResult, SeenPacket, parse};

/// Every observation takes 1 ms of virtual time. Answers are taken from queues; the last one stays.
struct FakeLab {
    name: LabName,
    routes: Mutex<VecDeque<Result<Vec<&'static str>, &'static str>>>,
    looks: Mutex<usize>,
    ttl: Option<u8>,
    /// What stops a packet of so many bytes at the so-manieth attempt with that length: something, silence, or nothing.
    stops: fn(u16, usize) -> Option<Option<Obstacle>>,
    packets: Vec<SeenPacket>,
    act: Result<(), LabError>,
    change_after: Option<Duration>,
    calls: Mutex<Vec<String>>,
    hangs: bool,
}

impl FakeLab {
    fn new() -> Self {
        Self {
            name: LabName::new("demo").unwrap(),
            routes: Mutex::new(VecDeque::from([Ok(vec![])])),
            looks: Mutex::new(0),
            ttl: Some(62),
            stops: |_, _| None,
            packets: vec![],
            act: Ok(()),
            change_after: None,
            calls: Mutex::default(),
            hangs: false,
        }
    }

    fn with_routes(answers: impl IntoIterator<Item = Result<Vec<&'static str>, &'static str>>) -> Self {
        Self { routes: Mutex::new(answers.into_iter().collect()), ..Self::new() }
    }

    fn call(&self, text: impl Into<String>) {
        self.calls.lock().unwrap().push(text.into());
    }

    async fn pass_time(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

impl Lab for FakeLab {
    type Capture = ();

    fn name(&self) -> &LabName {
        &self.name
    }

    fn address(&self, who: &str) -> Option<IpAddr> {
        match who {
            "a" => Some([10, 244, 0, 1].into()),
            "b" => Some([10, 244, 0, 2].into()),
            _ => None,
        }
    }

    async fn routes(&self, _: &str) -> Result<Vec<Route>, LabError> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        self.pass_time(Duration::from_millis(1)).await;
        *self.looks.lock().unwrap() += 1;
        let mut answers = self.routes.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0].clone() };
        match answer {
            Ok(lines) => Ok(lines.iter().map(|line| line.parse().unwrap()).collect()),
            Err(error) => Err(LabError::Broken(error.into())),
        }
    }

    async fn links(&self, on: &str) -> Result<Vec<Link>, LabError> {
        let link = |index: u8| Link {
            index: index.into(),
            name: IfName::eth(index.into()),
            kind: LinkKind::Veth,
            up: true,
            carrier: true,
            mtu: 1500,
            mac: None,
            master: None,
            addresses: vec![format!("10.0.{index}.1/24").parse().unwrap()],
        };
        Ok(if on == "router" { vec![link(0), link(1)] } else { vec![] })
    }

    async fn neighbours(&self, _: &str) -> Result<Vec<Neighbour>, LabError> {
        Ok(vec![])
    }

    async fn fdb(&self, _: &str) -> Result<Vec<FdbEntry>, LabError> {
        Ok(vec![])
    }

    async fn bgp(&self, node: &str) -> Result<SpeakerView, LabError> {
        Err(LabError::Broken(format!("read the sessions of {node}: no such speaker")))
    }

    async fn paths(&self, node: &str) -> Result<Vec<PathView>, LabError> {
        Err(LabError::Broken(format!("read the paths of {node}: no such speaker")))
    }

    async fn ping(&self, request: &PingRequest) -> Result<PingResult, LabError> {
        self.call(format!(
            "ping {} {} x{} {}B {:?}",
            request.from, request.to, request.count, request.size, request.timeout
        ));
        let length = request.size + 28;
        let again = format!("ping {} {} x1 {}B", request.from, request.to, request.size);
        let attempts = self.calls.lock().unwrap().iter().filter(|call| call.starts_with(&again)).count();
        let reply = self.ttl.map(|ttl| PingReply { sequence: 1, ttl, round_trip: Duration::from_micros(40) });
        let (reply, obstacle) = match (self.stops)(length, attempts) {
            None => (reply, None),
            Some(obstacle) => (None, obstacle),
        };
        if reply.is_none() && obstacle.is_none() {
            self.pass_time(request.timeout).await;
        }
        Ok(PingResult {
            sent: request.count,
            replies: reply.into_iter().collect(),
            obstacles: obstacle.into_iter().collect(),
        })
    }

    async fn curl(&self, request: &HttpRequest) -> Result<HttpResult, LabError> {
        self.call(format!("curl {} {}{}", request.from, request.to, request.path));
        Ok(HttpResult::Answer { status: 200, body: "PodName: b\n".into(), length: 11 })
    }

    async fn exec(&self, request: &ExecRequest) -> Result<ExecResult, LabError> {
        self.call(format!("exec {} {}", request.on, request.command.join(" ")));
        Ok(ExecResult { status: 0, stdout: "done\n".into(), stderr: String::new() })
    }

    async fn capture_start(&self, on: &[Place], filter: Option<&str>) -> Result<(), LabError> {
        self.call(format!("capture {} {filter:?}", on[0]));
        Ok(())
    }

    async fn capture_stop(&self, (): ()) -> Result<Captured, LabError> {
        self.call("stop");
        Ok(Captured { packets: self.packets.clone(), pcapng: vec![1, 2, 3] })
    }

    async fn act(&self, action: &Do, limit: Duration) -> Result<(), LabError> {
        self.call(format!("{action} {limit:?}"));
        self.act.clone()
    }

    async fn converged(&self, limit: Duration) -> Result<(), LabError> {
        self.call(format!("converged {limit:?}"));
        self.act.clone()
    }

    async fn changed(&self) {
        match self.change_after {
            Some(after) => self.pass_time(after).await,
            None => std::future::pending().await,
        }
    }

    async fn keep(&self, scenario: &str, step: usize, captured: Option<&Captured>) -> Result<Vec<String>, LabError> {
        let capture = captured.map(|captured| format!(" {} B", captured.pcapng.len())).unwrap_or_default();
        Ok(vec![format!("artefacts/{scenario}/{step}{capture}")])
    }
}

async fn run_steps(lab: &FakeLab, steps: &str) -> (ScenarioResult, Vec<RunEvent>) {
    let scenario = parse(&format!("topology = 't.toml'\n{steps}")).unwrap();
    let mut events = Vec::new();
    let result = run("s", &scenario, lab, &mut |event| events.push(event)).await;
    (result, events)
}

/// The failure of the only step.
async fn failure(lab: &FakeLab, step: &str) -> Failure {
    let (result, _) = run_steps(lab, &format!("[[step]]\n{step}")).await;
    match result.steps.into_iter().next().unwrap().outcome {
        StepOutcome::Failed(failure) => *failure,
        other => panic!("{other:?}"),
    }
}

const ROUTE: &str = "10.0.0.0/8 via 10.244.0.9 dev eth0 proto bird";
const WANT_ROUTE: &str = "routes = { on = 'a', include = ['10.0.0.0/8 via 10.244.0.9 dev eth0 proto bird'] }";

#[tokio::test(start_paused = true)]
async fn a_state_assertion_is_tried_again_until_it_holds() {
    let lab = FakeLab::with_routes([Ok(vec![]), Err("netlink dump interrupted"), Ok(vec![]), Ok(vec![ROUTE])]);
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{WANT_ROUTE}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(*lab.looks.lock().unwrap(), 4);
    // Four looks of a millisecond, three intervals of twenty.
    assert!(result.duration >= Duration::from_millis(64), "{:?}", result.duration);
    assert!(result.duration < Duration::from_millis(80), "{:?}", result.duration);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_the_lab_brings_the_next_look_forward() {
    let lab =
        FakeLab { change_after: Some(Duration::from_millis(2)), ..FakeLab::with_routes([Ok(vec![]), Ok(vec![ROUTE])]) };
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{WANT_ROUTE}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert!(result.duration < Duration::from_millis(10), "{:?}", result.duration);
}

#[tokio::test(start_paused = true)]
async fn a_state_assertion_that_never_holds_fails_when_its_time_is_over() {
    let lab = FakeLab::new();
    let (result, _) = run_steps(&lab, &format!("[[step]]\nwithin = '300ms'\n{WANT_ROUTE}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Failed { message: None });
    assert!(result.duration >= Duration::from_millis(300) && result.duration < Duration::from_millis(330));
    let StepOutcome::Failed(failure) = &result.steps[0].outcome else { panic!("failed") };
    assert_eq!(
        **failure,
        Failure {
            expected: "1 route among the routes of a".into(),
            found: "1 missing".into(),
            difference: failure.difference.clone(),
            reproduce: vec!["ip netns exec demo-a ip route".into()],
            artefacts: vec!["artefacts/s/1".into()],
        }
    );
    assert_eq!(failure.difference[0].to_string(), format!("- {ROUTE}"));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_breaks_to_the_end_is_an_error_and_no_failure() {
    let (result, _) =
        run_steps(&FakeLab::new(), "[[step]]\nwithin = '100ms'\nbgp = { on = 'n', all = 'Established' }").await;
    assert_eq!(result.outcome, ScenarioOutcome::Error { message: None });
    let StepOutcome::Error(failure) = &result.steps[0].outcome else { panic!("error") };
    assert_eq!(failure.found, "read the sessions of n: no such speaker");
}

#[tokio::test(start_paused = true)]
async fn a_look_that_hangs_does_not_hang_the_run() {
    let lab = FakeLab { hangs: true, ..FakeLab::new() };
    let (result, _) = run_steps(&lab, &format!("[[step]]\nwithin = '50ms'\n{WANT_ROUTE}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Error { message: None });
    assert!(result.duration < Duration::from_secs(5), "{:?}", result.duration);
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_sent_once_and_judged() {
    let lab = FakeLab::new();
    let (result, _) = run_steps(&lab, "[[step]]\nping = { from = 'a', to = 'b', ttl = 62 }").await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(*lab.calls.lock().unwrap(), ["ping a 10.244.0.2 x1 56B 10s"]);
    let wrong = failure(&lab, "ping = { from = 'a', to = 'b', ttl = 63 }").await;
    assert_eq!(wrong.found, "1 reply with another ttl");
    assert_eq!(wrong.reproduce, ["lab ping --lab demo a b", "ip netns exec demo-a ping -c 1 10.244.0.2"]);
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_must_fail_waits_for_one_second_of_silence() {
    let lab = FakeLab { ttl: None, ..FakeLab::new() };
    let (result, _) = run_steps(&lab, "[[step]]\nexpect = 'fail'\nping = { from = 'a', to = '10.9.9.9' }").await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(result.duration.as_millis(), 1000);
    let answered = failure(&FakeLab::new(), "expect = 'fail'\nping = { from = 'a', to = 'b' }").await;
    assert_eq!(answered.expected, "ping a -> b: no answer");
}

/// Who pings with which payload and waits how long.
fn pings(lab: &FakeLab) -> Vec<String> {
    lab.calls.lock().unwrap().iter().map(|call| call.replace("ping a 10.244.0.2 x1 ", "")).collect()
}

#[tokio::test(start_paused = true)]
async fn the_largest_packet_is_searched_for_and_one_byte_more_decides() {
    let stops = |length, _| (length > 1480).then_some(Some(Obstacle::Local { mtu: Some(1480) }));
    let lab = FakeLab { stops, ..FakeLab::new() };
    let step = "mtu = { from = 'a', to = 'b', largest = 1480, beyond = { local = 1480 } }";
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{step}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(pings(&lab), ["40B 100ms", "65507B 100ms", "1452B 100ms", "1453B 100ms"]);
    let wrong = failure(&lab, "mtu = { from = 'a', to = 'b', largest = 1500 }").await;
    assert_eq!(wrong.found, "the largest packet that passes has 1480 bytes");
    assert_eq!(wrong.reproduce.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_router_may_answer_from_any_of_its_addresses_and_not_at_once() {
    let stops: fn(u16, usize) -> _ = |length, attempt| {
        let needed = Obstacle::FragmentationNeeded { from: [10, 0, 1, 1].into(), mtu: Some(1380) };
        // The first that is too long is reported to somebody else.
        (length > 1380).then_some((attempt > 1).then_some(needed))
    };
    let lab = FakeLab { stops, ..FakeLab::new() };
    let step = "mtu = { from = 'a', to = 'b', largest = 1380, beyond = { from = 'router', mtu = 1380 } }";
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{step}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(pings(&lab), ["40B 100ms", "65507B 100ms", "65507B 200ms", "1352B 100ms", "1353B 100ms", "1353B 200ms"]);
    let wrong = failure(&lab, &step.replace("'router'", "'10.0.0.1'")).await;
    assert_eq!(wrong.found, "one byte more: from 10.0.1.1: fragmentation needed, mtu=1380");
}

#[tokio::test(start_paused = true)]
async fn silence_is_asked_three_times_and_halved() {
    let lab = FakeLab { stops: |length, _| (length > 1400).then_some(None), ..FakeLab::new() };
    let step = "within = '20s'\nmtu = { from = 'a', to = 'b', largest = 1400, beyond = 'silence' }";
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{step}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert!(result.duration < Duration::from_secs(12), "{:?}", result.duration);
}

#[tokio::test(start_paused = true)]
async fn a_search_that_takes_too_long_says_how_far_it_came() {
    let lab = FakeLab { stops: |length, _| (length > 1400).then_some(None), ..FakeLab::new() };
    let wrong = failure(&lab, "within = '1s'\nmtu = { from = 'a', to = 'b', largest = 1400 }").await;
    assert_eq!(wrong.expected, "mtu a -> b within 1s");
    assert_eq!(wrong.found, "the search is not over:\n68 bytes pass\n32801 bytes do not pass");
}

#[tokio::test(start_paused = true)]
async fn a_body_of_another_length_than_was_asked_for_fails() {
    let lab = FakeLab::new();
    let wrong = failure(&lab, "curl = { from = 'a', to = 'b', size = 3000 }").await;
    assert_eq!((wrong.expected.as_str(), wrong.found.as_str()), ("curl a -> b/?size=3000: 3000 bytes", "11 bytes"));
    assert_eq!(*lab.calls.lock().unwrap(), ["curl a 10.244.0.2:80/?size=3000"]);
    assert_eq!(wrong.reproduce[0], "lab curl --lab demo a 'b/?size=3000'");
}

#[tokio::test(start_paused = true)]
async fn after_a_step_that_fails_the_others_are_skipped() {
    let lab = FakeLab::new();
    let steps = "[[step]]\nexec = { on = 'a', command = ['true'] }\n\
                 [[step]]\nexec = { on = 'a', command = ['false'], status = 1 }\n\
                 [[step]]\ncurl = { from = 'a', to = 'b' }\n";
    let (result, events) = run_steps(&lab, steps).await;
    let shapes: Vec<&str> = result
        .steps
        .iter()
        .map(|step| match step.outcome {
            StepOutcome::Passed => "passed",
            StepOutcome::Failed(_) => "failed",
            StepOutcome::Error(_) => "error",
            StepOutcome::Skipped => "skipped",
        })
        .collect();
    assert_eq!(shapes, ["passed", "failed", "skipped"]);
    assert_eq!(*lab.calls.lock().unwrap(), ["exec a true", "exec a false"]);
    let started = events.iter().filter(|event| matches!(event, RunEvent::StepStarted { .. })).count();
    let finished = events.iter().filter(|event| matches!(event, RunEvent::StepFinished { .. })).count();
    assert_eq!((started, finished), (2, 3));
    assert_eq!(events.last(), Some(&RunEvent::ScenarioFinished(result)));
}

fn seen(encap: Encap) -> SeenPacket {
    SeenPacket {
        interface: "n:eth0".into(),
        at: UNIX_EPOCH,
        identity: None,
        encap,
        src: Some([10, 244, 0, 1].into()),
        dst: Some([10, 244, 0, 2].into()),
        outer_src: None,
        outer_dst: None,
        outer_ttl: None,
        outer_port: None,
        vni: None,
        overhead: 0,
        ttl: Some(63),
        protocol: Some(6),
        ports: Some((40000, 80)),
        length: 74,
        text: "n:eth0 10.244.0.1.40000 > 10.244.0.2.80: Flags [S]".into(),
    }
}

const CAPTURE: &str = "capture = { on = ['n:eth0'], filter = 'tcp', during = { curl = { from = 'a', to = 'b' } }, \
                       expect = { encap = 'none', src = 'a', dst = 'b' } }";

#[tokio::test(start_paused = true)]
async fn a_capture_stands_around_its_traffic() {
    let lab = FakeLab { packets: vec![seen(Encap::None)], ..FakeLab::new() };
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{CAPTURE}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(*lab.calls.lock().unwrap(), ["capture n:eth0 Some(\"tcp\")", "curl a 10.244.0.2:80/", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn a_capture_stands_around_all_of_its_traffic_and_what_fails_ends_it() {
    let lab = FakeLab { packets: vec![seen(Encap::None)], ..FakeLab::new() };
    let curl = "{ curl = { from = 'a', to = 'b' } }";
    let step = |during: &str| format!("capture = {{ on = ['n:eth0'], during = [{during}], expect = {{ src = 'a' }} }}");
    let two = step(&format!("{curl}, {{ ping = {{ from = 'b', to = 'a' }} }}"));
    let (result, _) = run_steps(&lab, &format!("[[step]]\n{two}")).await;
    assert_eq!(result.outcome, ScenarioOutcome::Passed);
    assert_eq!(result.steps[0].name, "capture on n:eth0 during curl a -> b, ping b -> a");
    let calls = ["capture n:eth0 None", "curl a 10.244.0.2:80/", "ping b 10.244.0.1 x1 56B 10s", "stop"];
    assert_eq!(*lab.calls.lock().unwrap(), calls);
    let lab = FakeLab::new();
    let wrong = failure(&lab, &step(&format!("{{ curl = {{ from = 'a', to = 'b', status = 404 }} }}, {curl}"))).await;
    assert_eq!(wrong.found, "status 200 (while 0 packets were captured)");
    assert_eq!(*lab.calls.lock().unwrap(), ["capture n:eth0 None", "curl a 10.244.0.2:80/", "stop"]);
    assert_eq!(wrong.reproduce.len(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_fails_is_kept() {
    let lab = FakeLab { packets: vec![seen(Encap::Ipip)], ..FakeLab::new() };
    let wrong = failure(&lab, CAPTURE).await;
    assert_eq!(wrong.artefacts, ["artefacts/s/1 3 B"]);
    assert_eq!(wrong.difference[0].to_string(), "+ n:eth0 10.244.0.1.40000 > 10.244.0.2.80: Flags [S]");
}

#[tokio::test(start_paused = true)]
async fn a_capture_is_held_to_its_path_and_to_each_expectation() {
    let lab = FakeLab { packets: vec![seen(Encap::None)], ..FakeLab::new() };
    let during = "during = { curl = { from = 'a', to = 'b' } }";
    let counted = format!("capture = {{ {during}, expect = [{{ on = 'n:eth0' }}, {{ on = 'm:eth0', src = 'a' }}] }}");
    let wrong = failure(&lab, &counted).await;
    assert_eq!(wrong.expected, "at least 1 packet from a (10.244.0.1) on m:eth0");
    assert_eq!(wrong.found, "0 of them, 0 of the flow, 0 in all");
    let way = "path = [{ on = 'n:eth0' }, { on = 'm:eth0' }]";
    let wrong = failure(&lab, &format!("capture = {{ {during}, {way}, expect = {{ on = 'n:eth0', max = 0 }} }}")).await;
    assert_eq!(wrong.expected, "one packet to b (10.244.0.2) over n:eth0, m:eth0");
    assert_eq!(wrong.found, "no packet of this flow, 1 packet in all");
    assert_eq!(wrong.reproduce.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn packets_of_traffic_that_failed_prove_nothing() {
    let lab = FakeLab { packets: vec![seen(Encap::None)], ..FakeLab::new() };
    let wrong = failure(&lab, &CAPTURE.replace("to = 'b' }", "to = 'b', status = 404 }")).await;
    assert_eq!(wrong.found, "status 200 (while 1 packets were captured)");
}

#[tokio::test(start_paused = true)]
async fn a_lab_that_does_not_converge_in_time_fails_the_step() {
    let missing = vec!["node1: session with node2 is Active".into()];
    let act = Err(LabError::NotInTime { what: "not converged".into(), missing });
    let lab = FakeLab { act, ..FakeLab::new() };
    let wrong = failure(&lab, "within = '2s'\ndo = { peer = 'restart', node = 'a', with = 'b' }").await;
    assert_eq!(wrong.expected, "restart peer b of a within 2s");
    assert_eq!(wrong.found, "not converged:\nnode1: session with node2 is Active");
    let wrong = failure(&lab, "wait = { until = 'converged' }").await;
    assert_eq!(wrong.reproduce, ["lab status demo"]);
    assert_eq!(*lab.calls.lock().unwrap(), ["restart peer b of a 2s", "converged 10s"]);
}

#[tokio::test(start_paused = true)]
async fn the_scenarios_time_bounds_every_step() {
    let lab = FakeLab::new();
    let steps = format!("timeout = '1s'\n[[step]]\n{WANT_ROUTE}\n");
    let (result, _) = run_steps(&lab, &steps).await;
    assert_eq!(result.outcome, ScenarioOutcome::Failed { message: None });
    assert!(result.duration < Duration::from_millis(1100), "{:?}", result.duration);
}

#[tokio::test(start_paused = true)]
async fn a_name_without_an_address_is_an_error() {
    let (result, _) = run_steps(&FakeLab::new(), "[[step]]\nping = { from = 'a', to = 'nobody' }").await;
    let StepOutcome::Error(failure) = &result.steps[0].outcome else { panic!("error") };
    assert_eq!(failure.found, "find the address of `nobody`: the lab has no such node or pod");
}
