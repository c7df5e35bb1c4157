//! What happens while scenarios run, as data: everything that a report prints is in here.

use std::time::Duration;

use serde::Serialize;

use super::assert::{DiffLine, Mismatch};

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// A scenario's lab is up and its first step follows.
    ScenarioStarted {
        /// The scenario's name.
        scenario: String,
        /// How many steps it has.
        steps: usize,
    },
    /// A step begins.
    StepStarted {
        /// The scenario's name.
        scenario: String,
        /// Which one, from 1.
        index: usize,
        /// How many there are.
        total: usize,
        /// The step's title.
        name: String,
    },
    /// A step ended, or was skipped.
    StepFinished {
        /// The scenario's name.
        scenario: String,
        /// How many steps there are.
        total: usize,
        /// How it went.
        step: StepResult,
    },
    /// A scenario ended, or could not run.
    ScenarioFinished(ScenarioResult),
}

/// How a scenario went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioResult {
    /// Its name.
    pub name: String,
    /// The verdict.
    pub outcome: ScenarioOutcome,
    /// Every step in order, the skipped ones included; empty if it did not run.
    pub steps: Vec<StepResult>,
    /// All steps together.
    pub duration: Duration,
}

impl ScenarioResult {
    /// A scenario that this host cannot run, or that was not wanted: not a failure.
    pub fn not_run(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::without_steps(name, ScenarioOutcome::NotRun { reason: reason.into() })
    }

    /// A scenario whose lab did not come up as it should have: it did not converge in time.
    pub fn failed(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::without_steps(name, ScenarioOutcome::Failed { message: Some(message.into()) })
    }

    /// A scenario that could not be run because something broke: the environment's fault, not the lab's.
    pub fn error(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::without_steps(name, ScenarioOutcome::Error { message: Some(message.into()) })
    }

    fn without_steps(name: impl Into<String>, outcome: ScenarioOutcome) -> Self {
        Self { name: name.into(), outcome, steps: Vec::new(), duration: Duration::ZERO }
    }
}

/// A scenario's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScenarioOutcome {
    /// Every step passed.
    Passed,
    /// A step failed.
    Failed {
        /// Why, where it is no step's fault.
        message: Option<String>,
    },
    /// A step could not be carried out.
    Error {
        /// Why, where it is no step's fault.
        message: Option<String>,
    },
    /// It did not run.
    NotRun {
        /// Why not.
        reason: String,
    },
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepResult {
    /// Which one, from 1.
    pub index: usize,
    /// Its title.
    pub name: String,
    /// Its verb.
    pub verb: &'static str,
    /// The verdict.
    pub outcome: StepOutcome,
    /// How long it took.
    pub duration: Duration,
}

/// A step's verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// What was expected is so.
    Passed,
    /// It is not so.
    Failed(Box<Failure>),
    /// It could not be found out: something broke.
    Error(Box<Failure>),
    /// An earlier step did not pass.
    Skipped,
}

/// Why a step did not pass, and how to see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What was expected, in words.
    pub expected: String,
    /// What was found, in words.
    pub found: String,
    /// Lines that differ, in order.
    pub difference: Vec<DiffLine>,
    /// Shell commands that show it again, while the lab is up.
    pub reproduce: Vec<String>,
    /// Files that were written, as paths.
    pub artefacts: Vec<String>,
}

impl From<Mismatch> for Failure {
    fn from(mismatch: Mismatch) -> Self {
        let Mismatch { expected, found, difference } = mismatch;
        Self { expected, found, difference, ..Self::default() }
    }
}

/// Steps and scenarios of a whole run, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Scenarios that ran.
    pub scenarios_run: usize,
    /// Scenarios that did not.
    pub scenarios_not_run: usize,
    /// Scenarios that ran and did not pass, the next ones included.
    pub scenarios_failed: usize,
    /// Scenarios that failed before their first step: their lab did not come up.
    pub scenarios_not_up: usize,
    /// Steps, those skipped included.
    pub steps: usize,
    /// Steps that passed.
    pub passed: usize,
    /// Steps that failed.
    pub failed: usize,
    /// Steps that could not be carried out.
    pub errors: usize,
    /// Steps skipped.
    pub skipped: usize,
}

impl Summary {
    /// Counts `results`.
    pub fn of<'a>(results: impl IntoIterator<Item = &'a ScenarioResult>) -> Self {
        let mut summary = Self::default();
        for result in results {
            summary.add(result);
        }
        summary
    }

    /// Counts one more.
    pub fn add(&mut self, result: &ScenarioResult) {
        match &result.outcome {
            ScenarioOutcome::NotRun { .. } => self.scenarios_not_run += 1,
            ScenarioOutcome::Passed => self.scenarios_run += 1,
            ScenarioOutcome::Failed { message } | ScenarioOutcome::Error { message } => {
                self.scenarios_run += 1;
                self.scenarios_failed += 1;
                self.scenarios_not_up += usize::from(message.is_some());
            }
        }
        for step in &result.steps {
            self.steps += 1;
            match step.outcome {
                StepOutcome::Passed => self.passed += 1,
                StepOutcome::Failed(_) => self.failed += 1,
                StepOutcome::Error(_) => self.errors += 1,
                StepOutcome::Skipped => self.skipped += 1,
            }
        }
    }
}
