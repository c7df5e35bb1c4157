//! One scenario, step by step.
//!
//! State assertions are tried again until they hold or their time is over. Everything that sends packets or runs a
//! command happens once, within its step's time: `do` and `wait` return when the lab has converged, so a packet that is
//! lost after them is a finding and no matter of patience. The first step that does not pass ends the scenario.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::time::{Instant, timeout};

use super::lab::{Captured, ExecRequest, HttpRequest, Lab, LabError, PingRequest};
use super::{path_mtu, wait};
use crate::probe::PathMtuDiscovery;
use crate::scenario::assert::{self, PacketEnds};
use crate::scenario::{
    At, Beyond, Capture, Curl, Exec, Expect, Failure, Mismatch, Mtu, PacketPattern, Ping, Place, RunEvent, Scenario,
    ScenarioOutcome, ScenarioResult, Step, StepOutcome, StepResult, Traffic, Verb, Verdict, Wait, reproduce,
};

/// Runs every step of `scenario`, called `name` in events, in a lab that is up, and reports as it goes. The result is also
/// the last event.
pub async fn run<L: Lab>(
    name: &str,
    scenario: &Scenario,
    lab: &L,
    emit: &mut (dyn FnMut(RunEvent) + Send),
) -> ScenarioResult {
    let total = scenario.steps.len();
    let started = Instant::now();
    let deadline = scenario.timeout.map(|limit| started + limit);
    emit(RunEvent::ScenarioStarted { scenario: name.into(), steps: total });
    let mut steps: Vec<StepResult> = Vec::with_capacity(total);
    let mut outcome = ScenarioOutcome::Passed;
    for (index, step) in (1..).zip(&scenario.steps) {
        let title = step.title();
        let result = if outcome == ScenarioOutcome::Passed {
            emit(RunEvent::StepStarted { scenario: name.into(), index, total, name: title.clone() });
            let begun = Instant::now();
            let verdict = one(name, index, step, deadline, lab).await;
            outcome = match verdict {
                StepOutcome::Failed(_) => ScenarioOutcome::Failed { message: None },
                StepOutcome::Error(_) => ScenarioOutcome::Error { message: None },
                StepOutcome::Passed | StepOutcome::Skipped => ScenarioOutcome::Passed,
            };
            StepResult { index, name: title, verb: step.verb.keyword(), outcome: verdict, duration: begun.elapsed() }
        } else {
            let outcome = StepOutcome::Skipped;
            StepResult { index, name: title, verb: step.verb.keyword(), outcome, duration: Duration::ZERO }
        };
        emit(RunEvent::StepFinished { scenario: name.into(), total, step: result.clone() });
        steps.push(result);
    }
    let result = ScenarioResult { name: name.into(), outcome, steps, duration: started.elapsed() };
    emit(RunEvent::ScenarioFinished(result.clone()));
    result
}

/// How a step's action went; a capture is kept whatever the verdict.
struct Done {
    verdict: Result<Verdict, LabError>,
    captured: Option<Captured>,
}

impl From<Result<Verdict, LabError>> for Done {
    fn from(verdict: Result<Verdict, LabError>) -> Self {
        Self { verdict, captured: None }
    }
}

async fn one<L: Lab>(scenario: &str, index: usize, step: &Step, deadline: Option<Instant>, lab: &L) -> StepOutcome {
    let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
    let limit = step.time_limit().min(left);
    let done = match limit.is_zero() {
        true => Err(LabError::NotInTime { what: "the scenario's time is over".into(), missing: vec![] }).into(),
        false => match timeout(limit + GRACE, act(step, limit, lab)).await {
            Ok(done) => done,
            Err(_) => {
                Err(LabError::Broken(format!("no answer from the lab {} s after the time was over", GRACE.as_secs())))
                    .into()
            }
        },
    };
    let (mut failure, is_error) = match done.verdict {
        Ok(Verdict::Pass) => return StepOutcome::Passed,
        Ok(Verdict::Fail(mismatch)) => (Failure::from(*mismatch), false),
        Err(LabError::NotInTime { what, missing }) => (not_in_time(step, limit, what, &missing), false),
        Err(error) => {
            (Failure { expected: step.verb.to_string(), found: error.to_string(), ..Failure::default() }, true)
        }
    };
    failure.reproduce = reproduce::commands(&step.verb, lab.name(), &|name| target(lab, name).ok());
    // A verdict is worth more than its artefacts: that they cannot be written is told beside it.
    match lab.keep(scenario, index, done.captured.as_ref()).await {
        Ok(paths) => failure.artefacts = paths,
        Err(error) => failure.artefacts = vec![format!("none: {error}")],
    }
    let failure = Box::new(failure);
    if is_error { StepOutcome::Error(failure) } else { StepOutcome::Failed(failure) }
}

fn not_in_time(step: &Step, limit: Duration, what: String, missing: &[String]) -> Failure {
    let found = if missing.is_empty() { what } else { format!("{what}:\n{}", missing.join("\n")) };
    Failure { expected: format!("{} within {limit:?}", step.verb), found, ..Failure::default() }
}

/// What an action may take beyond its own limit to come back and say so.
const GRACE: Duration = Duration::from_secs(2);

async fn act<L: Lab>(step: &Step, limit: Duration, lab: &L) -> Done {
    match &step.verb {
        Verb::Ping(request) => ping(request, step.expect, limit, lab).await.into(),
        Verb::Mtu(request) => mtu(request, limit, lab).await.into(),
        Verb::Curl(request) => curl(request, step.expect, limit, lab).await.into(),
        Verb::Exec(command) => exec(command, limit, lab).await.into(),
        Verb::Capture(request) => capture(request, step.expect, limit, lab).await,
        Verb::State(check) | Verb::Wait(Wait::State(check)) => {
            wait::until(check, lab, Instant::now() + limit).await.into()
        }
        Verb::Wait(Wait::Converged) => lab.converged(limit).await.map(|()| Verdict::Pass).into(),
        Verb::Do(action) => lab.act(action, limit).await.map(|()| Verdict::Pass).into(),
    }
}

async fn ping<L: Lab>(ping: &Ping, expect: Expect, limit: Duration, lab: &L) -> Result<Verdict, LabError> {
    let Ping { from, to, count, ttl: _, size, df, error: _ } = ping;
    let to = target(lab, to)?;
    let path_mtu = if *df { PathMtuDiscovery::Do } else { PathMtuDiscovery::Want };
    let request = PingRequest { from: from.value.clone(), to, count: *count, size: *size, path_mtu, timeout: limit };
    Ok(assert::ping(ping, expect, &lab.ping(&request).await?))
}

async fn mtu<L: Lab>(mtu: &Mtu, limit: Duration, lab: &L) -> Result<Verdict, LabError> {
    let Mtu { from, to, largest: _, beyond } = mtu;
    let to = target(lab, to)?;
    let speakers = match beyond {
        Some(Beyond::FragmentationNeeded { from, mtu: _ }) => match from.parse() {
            Ok(address) => vec![address],
            // A router answers from the address that it would send from, which need not be the one that it is known by.
            Err(_) => lab.links(from).await?.iter().flat_map(|link| &link.addresses).map(IpNet::addr).collect(),
        },
        Some(Beyond::Silence | Beyond::Local(_)) | None => vec![],
    };
    Ok(assert::mtu(mtu, &speakers, &path_mtu::search(from, to, limit, lab).await?))
}

async fn curl<L: Lab>(curl: &Curl, expect: Expect, limit: Duration, lab: &L) -> Result<Verdict, LabError> {
    let Curl { from, to, port, path, status: _, size: _, body: _ } = curl;
    let to = SocketAddr::new(target(lab, to)?, *port);
    let request = HttpRequest { from: from.value.clone(), to, path: path.clone(), timeout: limit };
    Ok(assert::curl(curl, expect, &lab.curl(&request).await?))
}

async fn exec<L: Lab>(exec: &Exec, limit: Duration, lab: &L) -> Result<Verdict, LabError> {
    let request = ExecRequest { on: exec.on.value.clone(), command: exec.command.clone(), timeout: limit };
    Ok(assert::exec(exec, &lab.exec(&request).await?))
}

/// The traffic's own verdict comes first: packets of a connection that failed prove nothing.
async fn capture<L: Lab>(capture: &Capture, expect: Expect, limit: Duration, lab: &L) -> Done {
    let Capture { on, during, filter, expect: expected, path } = capture;
    let ends = || {
        let counted =
            expected.iter().map(|expected| ends(&expected.packet, lab)).collect::<Result<Vec<_>, LabError>>()?;
        let passed = path.iter().map(|hop| ends(&hop.packet, lab)).collect::<Result<Vec<_>, LabError>>()?;
        Ok((counted, passed))
    };
    let (counted, passed) = match ends() {
        Ok(ends) => ends,
        Err(error) => return Err(error).into(),
    };
    let places: Vec<Place> = on.iter().map(|place| place.value.clone()).collect();
    let running = match lab.capture_start(&places, filter.as_ref().map(|filter| filter.value.as_str())).await {
        Ok(running) => running,
        Err(error) => return Err(error).into(),
    };
    let traffic = send(during, expect, limit, lab).await;
    let captured = match lab.capture_stop(running).await {
        Ok(captured) => captured,
        Err(error) => return Err(error).into(),
    };
    let verdict = traffic.map(|verdict| match verdict {
        Verdict::Pass => {
            // The way first: where a packet is lost says more than how many are missing.
            let packets = &captured.packets;
            let way = std::iter::once_with(|| assert::path(path, &passed, packets));
            let counts =
                expected.iter().zip(&counted).map(|(expected, ends)| assert::packets(expected, *ends, packets));
            way.chain(counts).find(|verdict| *verdict != Verdict::Pass).unwrap_or(Verdict::Pass)
        }
        Verdict::Fail(mismatch) => {
            let Mismatch { expected, found, difference } = *mismatch;
            let found = format!("{found} (while {} packets were captured)", captured.packets.len());
            Verdict::Fail(Box::new(Mismatch { expected, found, difference }))
        }
    });
    Done { verdict, captured: Some(captured) }
}

/// One after the other, until one is not as it must be.
async fn send<L: Lab>(during: &[Traffic], expect: Expect, limit: Duration, lab: &L) -> Result<Verdict, LabError> {
    let deadline = Instant::now() + limit;
    for traffic in during {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(LabError::NotInTime { what: format!("no time was left for {traffic}"), missing: vec![] });
        }
        let verdict = match traffic {
            Traffic::Ping(request) => ping(request, expect, left, lab).await?,
            Traffic::Curl(request) => curl(request, expect, left, lab).await?,
            Traffic::Exec(command) => exec(command, left, lab).await?,
        };
        if verdict != Verdict::Pass {
            return Ok(verdict);
        }
    }
    Ok(Verdict::Pass)
}

fn ends<L: Lab>(packet: &PacketPattern, lab: &L) -> Result<PacketEnds, LabError> {
    let end = |name: &Option<At<String>>| name.as_ref().map(|name| target(lab, name)).transpose();
    let PacketPattern { src, dst, outer, .. } = packet;
    Ok(PacketEnds { src: end(src)?, dst: end(dst)?, outer_src: end(&outer.src)?, outer_dst: end(&outer.dst)? })
}

/// The address that `to` is, or is the name of.
fn target<L: Lab>(lab: &L, to: &str) -> Result<IpAddr, LabError> {
    to.parse()
        .ok()
        .or_else(|| lab.address(to))
        .ok_or_else(|| LabError::Broken(format!("find the address of `{to}`: the lab has no such node or pod")))
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
