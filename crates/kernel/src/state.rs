//! The states of a task and the table of legal steps between them. It does not know the graph: who is ready or
//! blocked is decided in `run`, and only what is legal is decided here.

use crate::{Attempt, FailureClass, TaskIx, Time};

/// Where a task stands. Each variant owns what is valid in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "task, attempt, class and the like speak for themselves")]
pub enum TaskState {
    /// Dependencies are unsettled, or its wave has not begun.
    Pending,
    /// May start as soon as admission lets it.
    Ready,
    /// An attempt may exist.
    Running { attempt: Attempt },
    /// The attempt failed; the next may start at `at`.
    Retrying { attempt: Attempt, at: Time },
    /// Somebody must say what to do.
    Waiting { attempt: Attempt, cause: Cause },
    /// Done.
    Completed { attempt: Attempt },
    /// Failed for good.
    Failed { attempt: Attempt, class: FailureClass },
    /// Failed for good, and its dependents may run without its output.
    FailedSafe { attempt: Attempt, class: FailureClass },
    /// Cannot run because `by` failed.
    Blocked { by: TaskIx },
    /// A person went on without it.
    Skipped,
    /// The run was ended before it was done.
    Cancelled,
}

/// What a waiting task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An effectful attempt of unknown fate.
    Doubt,
}

/// A state without its particulars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "see TaskState")]
pub enum Phase {
    Pending,
    Ready,
    Running,
    Retrying,
    Waiting,
    Completed,
    Failed,
    FailedSafe,
    Blocked,
    Skipped,
    Cancelled,
}

/// What can happen to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the table below says what each leads to")]
pub enum Step {
    Release,
    Start,
    Succeed,
    FailForNow,
    Fail,
    FailSafely,
    Abandon,
    Doubt,
    Block,
    Unblock,
    Retry,
    Skip,
    Cancel,
    Adopt,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 11;

    /// All phases.
    pub const ALL: [Phase; Phase::COUNT] = [
        Phase::Pending,
        Phase::Ready,
        Phase::Running,
        Phase::Retrying,
        Phase::Waiting,
        Phase::Completed,
        Phase::Failed,
        Phase::FailedSafe,
        Phase::Blocked,
        Phase::Skipped,
        Phase::Cancelled,
    ];

    /// Nothing more happens to the task unless a person asks for it.
    pub fn settled(self) -> bool {
        use Phase::*;
        matches!(self, Completed | Failed | FailedSafe | Blocked | Skipped | Cancelled)
    }

    /// Settled, and hard dependents cannot run.
    pub fn blocking(self) -> bool {
        matches!(self, Phase::Failed | Phase::Blocked | Phase::Cancelled)
    }
}

impl Step {
    /// All steps.
    pub const ALL: [Step; 14] = [
        Step::Release,
        Step::Start,
        Step::Succeed,
        Step::FailForNow,
        Step::Fail,
        Step::FailSafely,
        Step::Abandon,
        Step::Doubt,
        Step::Block,
        Step::Unblock,
        Step::Retry,
        Step::Skip,
        Step::Cancel,
        Step::Adopt,
    ];
}

/// The table of legal transitions: what is not in it is illegal.
pub fn next(from: Phase, step: Step) -> Option<Phase> {
    use Phase::*;
    use Step::*;
    Some(match (from, step) {
        (Pending, Release) => Ready,
        (Ready | Retrying, Start) => Running,
        (Running, Succeed) => Completed,
        // A failure that will be tried again, and the two that will not.
        (Running, FailForNow) => Retrying,
        (Running, Step::Fail) => Failed,
        (Running, FailSafely) => FailedSafe,
        // Unknown fate after a crash: back to the queue, or a person must say.
        (Running, Abandon) => Ready,
        (Running, Doubt) => Waiting,
        // A dependency failed. What already ran or was skipped is not touched by it.
        (Pending | Ready, Block) => Blocked,
        // A person has the culprit tried again (or skipped): what it blocked waits once more.
        (Blocked, Unblock) => Pending,
        // A person's words. A completed task is never run again, and one that is tried again waits for its
        // dependencies and its wave like any other.
        (Failed | FailedSafe | Cancelled | Waiting, Retry) => Pending,
        (Failed | Waiting | Blocked | Pending | Ready | Retrying, Skip) => Skipped,
        (Pending | Ready | Running | Retrying | Waiting | Blocked, Cancel) => Cancelled,
        // A changed workflow takes over what was completed under the old one.
        (Pending | Ready, Adopt) => Completed,
        _ => return None,
    })
}

impl TaskState {
    /// The state without its particulars.
    pub fn phase(&self) -> Phase {
        match self {
            TaskState::Pending => Phase::Pending,
            TaskState::Ready => Phase::Ready,
            TaskState::Running { .. } => Phase::Running,
            TaskState::Retrying { .. } => Phase::Retrying,
            TaskState::Waiting { .. } => Phase::Waiting,
            TaskState::Completed { .. } => Phase::Completed,
            TaskState::Failed { .. } => Phase::Failed,
            TaskState::FailedSafe { .. } => Phase::FailedSafe,
            TaskState::Blocked { .. } => Phase::Blocked,
            TaskState::Skipped => Phase::Skipped,
            TaskState::Cancelled => Phase::Cancelled,
        }
    }

    /// The contract's word: a ready task is still `pending` to people.
    pub fn name(&self) -> &'static str {
        match self {
            TaskState::Pending | TaskState::Ready => "pending",
            TaskState::Running { .. } => "running",
            TaskState::Retrying { .. } => "retrying",
            TaskState::Waiting { .. } => "waiting",
            TaskState::Completed { .. } => "completed",
            TaskState::Failed { .. } => "failed",
            TaskState::FailedSafe { .. } => "failed_safe",
            TaskState::Blocked { .. } => "blocked",
            TaskState::Skipped => "skipped",
            TaskState::Cancelled => "cancelled",
        }
    }

    /// The result as other tasks see it; `None` while unsettled, and for tasks that never had one.
    pub fn result(&self) -> Option<&'static str> {
        match self {
            TaskState::Completed { .. } => Some("success"),
            TaskState::Failed { .. } => Some("error"),
            TaskState::FailedSafe { .. } => Some("failed_safe"),
            _ => None,
        }
    }
}
