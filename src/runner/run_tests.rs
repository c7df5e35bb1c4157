//! The runner against a lab that is a script: time is virtual, so no test waits.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::*;
use crate::bgp::view::SpeakerView;
use crate::net::{FdbEntry, LabName, Link, Neighbour, Route};
use crate::scenario::{Do, Encap, ExecResult, HttpResult, PingReply, PingResult, SeenPacket, parse};

/// Every observation takes 1 ms of virtual time. Answers are taken from queues; the last one stays.
struct FakeLab {
    name: LabName,
    routes: Mutex<VecDeque<Result<Vec<&'static str>, &'static str>>>,
    looks: Mutex<usize>,
    ttl: Option<u8>,
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

    async fn links(&self, _: &str) -> Result<Vec<Link>, LabError> {
        Ok(vec![])
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

    async fn ping(&self, request: &PingRequest) -> Result<PingResult, LabError> {
        self.call(format!(
            "ping {} {} x{} {}B {:?}",
            request.from, request.to, request.count, request.size, request.timeout
        ));
        let replies = self.ttl.map(|ttl| PingReply { sequence: 1, ttl, round_trip: Duration::from_micros(40) });
        if replies.is_none() {
            self.pass_time(request.timeout).await;
        }
        Ok(PingResult { sent: request.count, replies: replies.into_iter().collect(), errors: vec![] })
    }

    async fn curl(&self, request: &HttpRequest) -> Result<HttpResult, LabError> {
        self.call(format!("curl {} {}{}", request.from, request.to, request.path));
        Ok(HttpResult::Answer { status: 200, body: "PodName: b\n".into() })
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
        text: "10.244.0.1.40000 > 10.244.0.2.80: Flags [S]".into(),
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
async fn a_capture_that_fails_is_kept() {
    let lab = FakeLab { packets: vec![seen(Encap::Ipip)], ..FakeLab::new() };
    let wrong = failure(&lab, CAPTURE).await;
    assert_eq!(wrong.artefacts, ["artefacts/s/1 3 B"]);
    assert_eq!(wrong.difference[0].to_string(), "+ n:eth0 10.244.0.1.40000 > 10.244.0.2.80: Flags [S]");
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
