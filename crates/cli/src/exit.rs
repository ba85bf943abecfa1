//! The documented exit codes. This file does not know what leads to which.

use std::process::ExitCode;

/// How the program ends, as scripts see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Succeeded or degraded; for commands that are no runs: done.
    Success,
    /// A task failed.
    Failed,
    /// Usage, validation, or something the command needs is missing.
    Usage,
    /// Waiting for a person or a quota.
    Waiting,
    /// Degraded under `--strict`.
    Degraded,
    /// The budget is exhausted.
    Budget,
    /// Refused: permission, isolation, a changed workflow, work in doubt.
    Refused,
    /// The run is owned by another process.
    Owned,
    /// The journal is damaged.
    Damaged,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Waiting => 3,
            Self::Degraded => 4,
            Self::Budget => 5,
            Self::Refused => 6,
            Self::Owned => 7,
            Self::Damaged => 8,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}
