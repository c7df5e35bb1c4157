//! How `lab` ends.

use std::process::ExitCode as StdExitCode;

/// An exit code of `lab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// 0: done, or passed.
    Done,
    /// 1: an assertion failed, or a lab did not converge in time.
    Failed,
    /// 2: wrong usage, or an invalid file.
    Invalid,
    /// 3: the environment cannot do it: privilege, a kernel feature, a name taken.
    Environment,
    /// 4: no scenario ran.
    NoneRan,
    /// The status of the command that `lab exec` ran, or 130 for an interrupt.
    Other(u8),
}

impl From<ExitCode> for StdExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Done => 0,
            ExitCode::Failed => 1,
            ExitCode::Invalid => 2,
            ExitCode::Environment => 3,
            ExitCode::NoneRan => 4,
            ExitCode::Other(code) => code,
        })
    }
}
