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
    /// The run was ended, or its saga failed, before it was done.
    Cancelled,
    /// What it did has to be undone; its turn comes when what was done after it is undone.
    ToUndo { attempt: Attempt },
    /// An attempt of its compensation may exist.
    Undoing { attempt: Attempt },
    /// The compensation failed; the next attempt may start at `at`.
    UndoRetrying { attempt: Attempt, at: Time },
    /// What it did was undone.
    Compensated { attempt: Attempt },
    /// What it did could not be undone and stands.
    NotUndone { attempt: Attempt, class: FailureClass },
    /// Not needed: its own condition was false (`by` is the task itself), or that of a task it hangs hard on.
    Omitted { by: TaskIx },
    /// A patch took it out of the run before it had started.
    Removed,
}

/// What a waiting task waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An effectful attempt of unknown fate.
    Doubt,
    /// A yes, before it passes; silence until then is a no.
    #[expect(missing_docs, reason = "see above")]
    Approval { expires_at: Option<Time> },
    /// A decision about its last failure.
    #[expect(missing_docs, reason = "see above")]
    Exhausted { class: FailureClass },
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
    ToUndo,
    Undoing,
    UndoRetrying,
    Compensated,
    NotUndone,
    Omitted,
    Removed,
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
    Condemn,
    StartUndo,
    Undo,
    FailUndoForNow,
    AbandonUndo,
    GiveUpUndo,
    RetryUndo,
    AcceptUndone,
    Ask,
    Permit,
    Pass,
    Refuse,
    RefuseSafely,
    Escalate,
    Omit,
    Hold,
    Remove,
}

impl Phase {
    /// Number of phases.
    pub const COUNT: usize = 18;

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
        Phase::ToUndo,
        Phase::Undoing,
        Phase::UndoRetrying,
        Phase::Compensated,
        Phase::NotUndone,
        Phase::Omitted,
        Phase::Removed,
    ];

    /// Nothing more happens to the task unless its saga fails or a person asks for it. Its dependents need not wait for
    /// it any longer: what is being undone has settled for them.
    pub fn settled(self) -> bool {
        use Phase::*;
        self.is_owed_undoing()
            || matches!(self, Completed | Failed | FailedSafe | Blocked | Skipped | Cancelled | Compensated | NotUndone)
            || matches!(self, Omitted | Removed)
    }

    /// Settled, and hard dependents cannot run.
    pub fn blocking(self) -> bool {
        use Phase::*;
        self.is_owed_undoing() || matches!(self, Failed | Blocked | Cancelled | Compensated | NotUndone)
    }

    /// Its compensation has still to be done: the run cannot end before.
    pub fn is_owed_undoing(self) -> bool {
        matches!(self, Phase::ToUndo | Phase::Undoing | Phase::UndoRetrying)
    }

    /// An attempt may exist.
    pub fn is_live(self) -> bool {
        matches!(self, Phase::Running | Phase::Undoing)
    }
}

impl Step {
    /// All steps.
    pub const ALL: [Step; 31] = [
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
        Step::Condemn,
        Step::StartUndo,
        Step::Undo,
        Step::FailUndoForNow,
        Step::AbandonUndo,
        Step::GiveUpUndo,
        Step::RetryUndo,
        Step::AcceptUndone,
        Step::Ask,
        Step::Permit,
        Step::Pass,
        Step::Refuse,
        Step::RefuseSafely,
        Step::Escalate,
        Step::Omit,
        Step::Hold,
        Step::Remove,
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
        (Running | Undoing, Step::Fail) => Failed,
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
        (Failed | FailedSafe | Cancelled | Waiting | Compensated, Retry) => Pending,
        (Failed | Waiting | Blocked | Pending | Ready | Retrying, Skip) => Skipped,
        (Pending | Ready | Running | Retrying | Waiting | Blocked, Cancel) => Cancelled,
        // It never completed, and undoing it in doubt is given up.
        (ToUndo | Undoing | UndoRetrying, Cancel) => Cancelled,
        // A changed workflow takes over what was completed under the old one.
        (Pending | Ready, Adopt) => Completed,
        // Its saga failed, or its fate is unknown and it says that it can be undone all the same. A compensation in
        // doubt is repeated: it is declared to be repeatable by being one.
        (Completed | Running, Condemn) => ToUndo,
        (ToUndo | UndoRetrying, StartUndo) => Undoing,
        (Undoing, Undo) => Compensated,
        (Undoing, FailUndoForNow) => UndoRetrying,
        (Undoing, AbandonUndo) => ToUndo,
        (ToUndo | Undoing | UndoRetrying, GiveUpUndo) => NotUndone,
        // A person has the compensation tried again, or says that it was undone by hand.
        (NotUndone, RetryUndo) => ToUndo,
        (NotUndone, AcceptUndone) => Compensated,
        // Gates. A changed question is asked again wherever the task stands before its attempt; a yes makes the task
        // ready, or is all that it was for; anything else is a failure.
        (Ready | Retrying | Waiting, Ask) => Waiting,
        (Waiting, Permit) => Ready,
        (Waiting, Pass) => Completed,
        (Waiting | Ready, Refuse) => Failed,
        (Waiting | Ready, RefuseSafely) => FailedSafe,
        // The last failure is a person's to judge.
        (Running, Escalate) => Waiting,
        // A condition is false: the task's own when its turn has come, or one above it.
        (Pending | Ready, Omit) => Omitted,
        // A patch gives a task that has not started other dependencies, or takes it out.
        (Ready | Waiting, Hold) => Pending,
        (Pending | Ready | Waiting | Blocked, Remove) => Removed,
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
            TaskState::ToUndo { .. } => Phase::ToUndo,
            TaskState::Undoing { .. } => Phase::Undoing,
            TaskState::UndoRetrying { .. } => Phase::UndoRetrying,
            TaskState::Compensated { .. } => Phase::Compensated,
            TaskState::NotUndone { .. } => Phase::NotUndone,
            TaskState::Omitted { .. } => Phase::Omitted,
            TaskState::Removed => Phase::Removed,
        }
    }

    /// The contract's word: a ready task is still `pending` to people, and one whose effect stands `completed`.
    pub fn name(&self) -> &'static str {
        match self {
            TaskState::Pending | TaskState::Ready => "pending",
            TaskState::Running { .. } | TaskState::Undoing { .. } => "running",
            TaskState::Retrying { .. } | TaskState::UndoRetrying { .. } => "retrying",
            TaskState::Waiting { .. } => "waiting",
            TaskState::Completed { .. } | TaskState::ToUndo { .. } | TaskState::NotUndone { .. } => "completed",
            TaskState::Compensated { .. } => "compensated",
            TaskState::Failed { .. } => "failed",
            TaskState::FailedSafe { .. } => "failed_safe",
            TaskState::Blocked { .. } => "blocked",
            TaskState::Skipped | TaskState::Omitted { .. } => "skipped",
            TaskState::Cancelled => "cancelled",
            TaskState::Removed => "removed",
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
