//! A run as JUnit XML (`lab test --junit`): a test suite per scenario, a test case per step.

use quick_junit::{NonSuccessKind, Report, SerializeError, TestCase, TestCaseStatus, TestSuite};

use crate::scenario::{Failure, ScenarioOutcome, ScenarioResult, StepOutcome, StepResult};

/// The whole run. A failed assertion is a `failure`, what broke an `error`; a scenario that did not run is a suite with
/// one skipped case.
///
/// # Errors
/// The XML cannot be written; with a `String` as target that does not happen.
pub fn junit(results: &[ScenarioResult]) -> Result<String, SerializeError> {
    let mut report = Report::new("lab");
    report.set_time(results.iter().map(|result| result.duration).sum());
    report.add_test_suites(results.iter().map(suite));
    report.to_string()
}

fn suite(result: &ScenarioResult) -> TestSuite {
    let mut suite = TestSuite::new(result.name.as_str());
    suite.set_time(result.duration);
    let status = match &result.outcome {
        ScenarioOutcome::NotRun { reason } => Some((TestCaseStatus::skipped(), reason)),
        ScenarioOutcome::Failed { message: Some(message) } => {
            Some((TestCaseStatus::non_success(NonSuccessKind::Failure), message))
        }
        ScenarioOutcome::Error { message: Some(message) } => {
            Some((TestCaseStatus::non_success(NonSuccessKind::Error), message))
        }
        _ => None,
    };
    if let Some((mut status, message)) = status {
        status.set_message(message.lines().next().unwrap_or_default()).set_description(message.as_str());
        let mut case = TestCase::new("lab", status);
        case.set_classname(result.name.as_str());
        suite.add_test_case(case);
    }
    suite.add_test_cases(result.steps.iter().map(|step| case(&result.name, step)));
    suite
}

fn case(scenario: &str, step: &StepResult) -> TestCase {
    let status = match &step.outcome {
        StepOutcome::Passed => TestCaseStatus::success(),
        StepOutcome::Failed(failure) => not_passed(NonSuccessKind::Failure, step, failure),
        StepOutcome::Error(failure) => not_passed(NonSuccessKind::Error, step, failure),
        StepOutcome::Skipped => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("an earlier step did not pass");
            status
        }
    };
    // Two steps may have the same title; a reader of JUnit takes equal names for one test.
    let mut case = TestCase::new(format!("{:02} {}", step.index, step.name), status);
    case.set_classname(scenario).set_time(step.duration);
    case
}

fn not_passed(kind: NonSuccessKind, step: &StepResult, failure: &Failure) -> TestCaseStatus {
    let Failure { expected, found, difference, reproduce, artefacts } = failure;
    let mut text = vec![format!("expected: {expected}"), format!("found: {found}")];
    text.extend(difference.iter().map(ToString::to_string));
    text.extend(reproduce.iter().map(|command| format!("again with: {command}")));
    text.extend(artefacts.iter().map(|path| format!("kept: {path}")));
    let mut status = TestCaseStatus::non_success(kind);
    let first = found.lines().next().unwrap_or_default();
    status.set_type(step.verb).set_message(first).set_description(text.join("\n"));
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_errors_and_skips_are_told_apart() {
        insta::assert_snapshot!(junit(&super::super::console::tests::results()).unwrap(), @r#"
<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="lab" tests="6" skipped="2" failures="1" errors="1" time="0.050">
    <testsuite name="demo" tests="3" skipped="1" errors="0" failures="1" time="0.025">
        <testcase name="01 two hops &lt;between&gt; nodes" classname="demo" time="0.012"/>
        <testcase name="02 routes on node1" classname="demo" time="0.012">
            <failure message="2 routes: 1 missing, 1 unexpected" type="routes">expected: exactly 2 routes proto bird on node1
found: 2 routes: 1 missing, 1 unexpected
- 10.0.1.0/26 via 10.0.0.2 dev eth0 proto bird
+ 10.0.1.0/26 via 10.0.0.3 dev eth0 proto bird
again with: ip netns exec demo-node1 ip route show proto bird
kept: artefacts/demo/2-routes.txt
kept: artefacts/demo/2-sessions.txt</failure>
        </testcase>
        <testcase name="03 curl a -&gt; b" classname="demo" time="0.000">
            <skipped message="an earlier step did not pass"/>
        </testcase>
    </testsuite>
    <testsuite name="one-node" tests="1" skipped="0" errors="0" failures="0" time="0.025">
        <testcase name="01 ping a -&gt; b" classname="one-node" time="0.012"/>
    </testsuite>
    <testsuite name="kernel-ipip" tests="1" skipped="1" errors="0" failures="0" time="0.000">
        <testcase name="lab" classname="kernel-ipip">
            <skipped message="it needs the kernel&apos;s ipip: modprobe ipip">it needs the kernel&apos;s ipip: modprobe ipip</skipped>
        </testcase>
    </testsuite>
    <testsuite name="no-root" tests="1" skipped="0" errors="1" failures="0" time="0.000">
        <testcase name="lab" classname="no-root">
            <error message="create namespace no-root-fabric: permission denied">create namespace no-root-fabric: permission denied
run it with sudo</error>
        </testcase>
    </testsuite>
</testsuites>
"#);
    }
}
