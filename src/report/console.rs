//! Scenarios as `cargo nextest` prints tests: a line per step, and all about a failure right below its line.

use std::fmt::Write;
use std::time::Duration;

use crate::scenario::{Failure, Mark, RunEvent, ScenarioOutcome, ScenarioResult, StepOutcome, StepResult, Summary};

/// Turns events into text, one at a time, and counts.
#[derive(Clone, Debug)]
pub struct Console {
    colour: bool,
    summary: Summary,
}

impl Console {
    /// A console that has seen nothing; `colour` allows ANSI escapes.
    pub fn new(colour: bool) -> Self {
        Self { colour, summary: Summary::default() }
    }

    /// The lines to print for `event`, each with its line feed; empty for most beginnings.
    pub fn event(&mut self, event: &RunEvent) -> String {
        let mut text = String::new();
        match event {
            RunEvent::ScenarioStarted { .. } | RunEvent::StepStarted { .. } => {}
            RunEvent::StepFinished { scenario, total, step } => self.step(&mut text, scenario, *total, step),
            RunEvent::ScenarioFinished(result) => {
                self.summary.add(result);
                self.scenario(&mut text, result);
            }
        }
        text
    }

    /// The last lines: `9 steps: 9 passed, 0 failed, 0 skipped`.
    pub fn finish(&self, elapsed: Duration) -> String {
        let Summary {
            scenarios_failed,
            scenarios_not_up,
            scenarios_not_run,
            steps,
            passed,
            failed,
            errors,
            skipped,
            ..
        } = self.summary;
        let good = scenarios_failed == 0 && steps > 0;
        let head = self.paint(if good { GREEN } else { RED }, "     Summary");
        let mut text = format!(
            "{}\n{head} {} {}: {passed} passed, {failed} failed",
            "─".repeat(12),
            clock(elapsed),
            many(steps, "step")
        );
        if errors > 0 {
            text.push_str(&format!(", {}", many(errors, "error")));
        }
        text.push_str(&format!(", {skipped} skipped"));
        if scenarios_not_up > 0 {
            text.push_str(&format!("; {} did not come up", many(scenarios_not_up, "lab")));
        }
        if scenarios_not_run > 0 {
            text.push_str(&format!("; {} not run", many(scenarios_not_run, "scenario")));
        }
        text.push('\n');
        text
    }

    fn step(&self, text: &mut String, scenario: &str, total: usize, step: &StepResult) {
        let (colour, word, failure) = match &step.outcome {
            StepOutcome::Passed => (GREEN, "PASS", None),
            StepOutcome::Failed(failure) => (RED, "FAIL", Some(failure)),
            StepOutcome::Error(failure) => (RED, "ERROR", Some(failure)),
            StepOutcome::Skipped => (YELLOW, "SKIP", None),
        };
        let time = match step.outcome {
            StepOutcome::Skipped => "[         ]".into(),
            _ => clock(step.duration),
        };
        let head = self.paint(colour, &format!("{word:>12}"));
        let width = total.to_string().len();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(text, "{head} {time} ({:>width$}/{total}) {scenario}: {}", step.index, step.name);
        if let Some(failure) = failure {
            self.failure(text, failure);
        }
    }

    fn failure(&self, text: &mut String, failure: &Failure) {
        let Failure { expected, found, difference, reproduce, artefacts } = failure;
        labelled(text, "expected", expected.lines());
        labelled(text, "found", found.lines());
        for line in difference {
            let colour = if line.mark == Mark::Missing { RED } else { GREEN };
            let _ = writeln!(text, "{INDENT}{}", self.paint(colour, &line.to_string()));
        }
        labelled(text, "again with", reproduce.iter().map(String::as_str));
        labelled(text, "kept", artefacts.iter().map(String::as_str));
    }

    fn scenario(&self, text: &mut String, result: &ScenarioResult) {
        let (colour, word, reason) = match &result.outcome {
            ScenarioOutcome::NotRun { reason } => (YELLOW, "NOT RUN", reason),
            ScenarioOutcome::Failed { message: Some(message) } => (RED, "FAIL", message),
            ScenarioOutcome::Error { message: Some(message) } => (RED, "ERROR", message),
            _ => return,
        };
        let mut lines = reason.lines();
        let first = lines.next().unwrap_or_default();
        let _ = writeln!(text, "{} {}: {first}", self.paint(colour, &format!("{word:>12}")), result.name);
        for line in lines {
            let _ = writeln!(text, "{INDENT}{line}");
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.into() }
    }
}

const GREEN: &str = "32;1";
const RED: &str = "31;1";
const YELLOW: &str = "33;1";
const INDENT: &str = "             ";

/// `[   0.012s]`
fn clock(duration: Duration) -> String {
    format!("[{:>8.3}s]", duration.as_secs_f64())
}

fn many(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn labelled<'a>(text: &mut String, label: &str, lines: impl Iterator<Item = &'a str>) {
    for (index, line) in lines.enumerate() {
        let label = if index == 0 { label } else { "" };
        let _ = writeln!(text, "{label:>12} {line}");
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::scenario::DiffLine;

    fn step(index: usize, name: &str, outcome: StepOutcome) -> StepResult {
        StepResult { index, name: name.into(), verb: "routes", outcome, duration: Duration::from_micros(12_400) }
    }

    /// A scenario that fails, one that passes, one that cannot run, and one whose lab does not come up.
    pub(in crate::report) fn results() -> Vec<ScenarioResult> {
        let line = |mark, text: &str| DiffLine { mark, text: text.into() };
        let failure = Failure {
            expected: "exactly 2 routes proto bird on node1".into(),
            found: "2 routes: 1 missing, 1 unexpected".into(),
            difference: vec![
                line(Mark::Missing, "10.0.1.0/26 via 10.0.0.2 dev eth0 proto bird"),
                line(Mark::Unexpected, "10.0.1.0/26 via 10.0.0.3 dev eth0 proto bird"),
            ],
            reproduce: vec!["ip netns exec demo-node1 ip route show proto bird".into()],
            artefacts: vec!["artefacts/demo/2-routes.txt".into(), "artefacts/demo/2-sessions.txt".into()],
        };
        let steps = vec![
            step(1, "two hops <between> nodes", StepOutcome::Passed),
            step(2, "routes on node1", StepOutcome::Failed(Box::new(failure))),
            StepResult { duration: Duration::ZERO, ..step(3, "curl a -> b", StepOutcome::Skipped) },
        ];
        let duration = Duration::from_millis(25);
        vec![
            ScenarioResult { name: "demo".into(), outcome: ScenarioOutcome::Failed { message: None }, steps, duration },
            ScenarioResult {
                name: "one-node".into(),
                outcome: ScenarioOutcome::Passed,
                steps: vec![step(1, "ping a -> b", StepOutcome::Passed)],
                duration,
            },
            ScenarioResult::not_run("kernel-ipip", "it needs the kernel's ipip: modprobe ipip"),
            ScenarioResult::error("no-root", "create namespace no-root-fabric: permission denied\nrun it with sudo"),
        ]
    }

    fn events(result: &ScenarioResult) -> Vec<RunEvent> {
        let total = result.steps.len();
        let steps = result.steps.iter().cloned();
        let steps = steps.map(|step| RunEvent::StepFinished { scenario: result.name.clone(), total, step });
        steps.chain([RunEvent::ScenarioFinished(result.clone())]).collect()
    }

    #[test]
    fn a_run_reads_like_nextest() {
        let mut console = Console::new(false);
        let mut text: String = results().iter().flat_map(events).map(|event| console.event(&event)).collect();
        text.push_str(&console.finish(Duration::from_millis(1234)));
        insta::assert_snapshot!(text, @r#"
        PASS [   0.012s] (1/3) demo: two hops <between> nodes
        FAIL [   0.012s] (2/3) demo: routes on node1
    expected exactly 2 routes proto bird on node1
       found 2 routes: 1 missing, 1 unexpected
             - 10.0.1.0/26 via 10.0.0.2 dev eth0 proto bird
             + 10.0.1.0/26 via 10.0.0.3 dev eth0 proto bird
  again with ip netns exec demo-node1 ip route show proto bird
        kept artefacts/demo/2-routes.txt
             artefacts/demo/2-sessions.txt
        SKIP [         ] (3/3) demo: curl a -> b
        PASS [   0.012s] (1/1) one-node: ping a -> b
     NOT RUN kernel-ipip: it needs the kernel's ipip: modprobe ipip
       ERROR no-root: create namespace no-root-fabric: permission denied
             run it with sudo
────────────
     Summary [   1.234s] 4 steps: 2 passed, 1 failed, 1 skipped; 1 lab did not come up; 1 scenario not run
"#);
    }

    #[test]
    fn a_run_that_passed_ends_with_its_count() {
        let mut console = Console::new(false);
        for event in events(&results()[1]) {
            console.event(&event);
        }
        let last = console.finish(Duration::from_millis(12));
        assert!(last.ends_with("Summary [   0.012s] 1 step: 1 passed, 0 failed, 0 skipped\n"), "{last}");
    }

    #[test]
    fn colour_is_only_where_it_is_allowed() {
        let event = &events(&results()[1])[0];
        assert!(Console::new(true).event(event).starts_with("\x1b[32;1m        PASS\x1b[0m "));
        assert!(Console::new(false).event(event).starts_with("        PASS "));
    }
}
