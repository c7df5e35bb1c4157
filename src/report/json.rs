//! A run as JSON (`lab test --json`): counts, exit code, every scenario and step. The shape is stable: keys are added, never
//! changed.

use serde::Serialize;

use super::exit_code;
use crate::scenario::{Failure, ScenarioOutcome, ScenarioResult, StepOutcome, StepResult, Summary};

/// The whole run, indented, with a line feed at the end.
///
/// # Errors
/// It cannot be written; with a `String` as target that does not happen.
pub fn json(results: &[ScenarioResult]) -> serde_json::Result<String> {
    let report = Run {
        exit_code: exit_code(results),
        summary: Summary::of(results),
        scenarios: results.iter().map(Scenario::from).collect(),
    };
    serde_json::to_string_pretty(&report).map(|text| text + "\n")
}

#[derive(Serialize)]
struct Run<'a> {
    exit_code: u8,
    summary: Summary,
    scenarios: Vec<Scenario<'a>>,
}

#[derive(Serialize)]
struct Scenario<'a> {
    name: &'a str,
    /// `passed`, `failed`, `error` or `not-run`.
    outcome: &'static str,
    /// Why, where it is no step's fault.
    reason: Option<&'a str>,
    seconds: f64,
    steps: Vec<Step<'a>>,
}

impl<'a> From<&'a ScenarioResult> for Scenario<'a> {
    fn from(result: &'a ScenarioResult) -> Self {
        let (outcome, reason) = match &result.outcome {
            ScenarioOutcome::Passed => ("passed", None),
            ScenarioOutcome::Failed { message } => ("failed", message.as_deref()),
            ScenarioOutcome::Error { message } => ("error", message.as_deref()),
            ScenarioOutcome::NotRun { reason } => ("not-run", Some(reason.as_str())),
        };
        let steps = result.steps.iter().map(Step::from).collect();
        Self { name: &result.name, outcome, reason, seconds: result.duration.as_secs_f64(), steps }
    }
}

#[derive(Serialize)]
struct Step<'a> {
    index: usize,
    name: &'a str,
    verb: &'static str,
    /// `passed`, `failed`, `error` or `skipped`.
    outcome: &'static str,
    seconds: f64,
    failure: Option<&'a Failure>,
}

impl<'a> From<&'a StepResult> for Step<'a> {
    fn from(step: &'a StepResult) -> Self {
        let (outcome, failure) = match &step.outcome {
            StepOutcome::Passed => ("passed", None),
            StepOutcome::Failed(failure) => ("failed", Some(&**failure)),
            StepOutcome::Error(failure) => ("error", Some(&**failure)),
            StepOutcome::Skipped => ("skipped", None),
        };
        let StepResult { index, name, verb, outcome: _, duration } = step;
        Self { index: *index, name, verb, outcome, seconds: duration.as_secs_f64(), failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_holds_counts_steps_and_failures() {
        let text = json(&super::super::console::tests::results()).unwrap();
        insta::assert_snapshot!(text, @r#"
{
  "exit_code": 1,
  "summary": {
    "scenarios_run": 3,
    "scenarios_not_run": 1,
    "scenarios_failed": 2,
    "scenarios_not_up": 1,
    "steps": 4,
    "passed": 2,
    "failed": 1,
    "errors": 0,
    "skipped": 1
  },
  "scenarios": [
    {
      "name": "demo",
      "outcome": "failed",
      "reason": null,
      "seconds": 0.025,
      "steps": [
        {
          "index": 1,
          "name": "two hops <between> nodes",
          "verb": "routes",
          "outcome": "passed",
          "seconds": 0.0124,
          "failure": null
        },
        {
          "index": 2,
          "name": "routes on node1",
          "verb": "routes",
          "outcome": "failed",
          "seconds": 0.0124,
          "failure": {
            "expected": "exactly 2 routes proto bird on node1",
            "found": "2 routes: 1 missing, 1 unexpected",
            "difference": [
              "- 10.0.1.0/26 via 10.0.0.2 dev eth0 proto bird",
              "+ 10.0.1.0/26 via 10.0.0.3 dev eth0 proto bird"
            ],
            "reproduce": [
              "ip netns exec demo-node1 ip route show proto bird"
            ],
            "artefacts": [
              "artefacts/demo/2-routes.txt",
              "artefacts/demo/2-sessions.txt"
            ]
          }
        },
        {
          "index": 3,
          "name": "curl a -> b",
          "verb": "routes",
          "outcome": "skipped",
          "seconds": 0.0,
          "failure": null
        }
      ]
    },
    {
      "name": "one-node",
      "outcome": "passed",
      "reason": null,
      "seconds": 0.025,
      "steps": [
        {
          "index": 1,
          "name": "ping a -> b",
          "verb": "routes",
          "outcome": "passed",
          "seconds": 0.0124,
          "failure": null
        }
      ]
    },
    {
      "name": "kernel-ipip",
      "outcome": "not-run",
      "reason": "it needs the kernel's ipip: modprobe ipip",
      "seconds": 0.0,
      "steps": []
    },
    {
      "name": "no-root",
      "outcome": "error",
      "reason": "create namespace no-root-fabric: permission denied\nrun it with sudo",
      "seconds": 0.0,
      "steps": []
    }
  ]
}
"#);
    }
}
