//! The exit code of `lab test`.

use crate::scenario::{ScenarioOutcome, ScenarioResult};

/// 1 if a scenario failed; else 3 if one could not be carried out; else 4 if none ran; else 0.
///
/// 2 is not decided here: an invalid file is refused before anything runs.
pub fn exit_code(results: &[ScenarioResult]) -> u8 {
    let any = |wanted: fn(&ScenarioOutcome) -> bool| results.iter().any(|result| wanted(&result.outcome));
    if any(|outcome| matches!(outcome, ScenarioOutcome::Failed { .. })) {
        1
    } else if any(|outcome| matches!(outcome, ScenarioOutcome::Error { .. })) {
        3
    } else if any(|outcome| matches!(outcome, ScenarioOutcome::Passed)) {
        0
    } else {
        4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed() -> ScenarioResult {
        ScenarioResult { outcome: ScenarioOutcome::Passed, ..ScenarioResult::not_run("p", "") }
    }

    #[test]
    fn a_failure_outweighs_an_error_and_an_error_outweighs_what_passed() {
        let failed = ScenarioResult::failed("f", "not converged");
        let error = ScenarioResult::error("e", "no permission");
        let not_run = ScenarioResult::not_run("n", "needs the kernel's ipip");
        assert_eq!(exit_code(&[passed(), error.clone(), failed, not_run.clone()]), 1);
        assert_eq!(exit_code(&[passed(), error, not_run.clone()]), 3);
        assert_eq!(exit_code(&[passed(), not_run.clone()]), 0);
        assert_eq!(exit_code(&[not_run]), 4);
        assert_eq!(exit_code(&[]), 4);
    }
}
