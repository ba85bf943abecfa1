//! What the run is told (inputs), what it concludes (events) and what it refuses. It does not know how either is
//! stored or sent.

use crate::{Attempt, TaskIx, Time};

/// Why an attempt failed: the closed vocabulary of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum FailureClass {
    /// The process could not be started.
    Start = 0,
    /// A non-zero exit status.
    Exit = 1,
    /// Ended by a signal.
    Signal = 2,
    /// Out of wall-clock time.
    Timeout = 3,
    /// Silent for too long.
    Idle = 4,
    /// Out of memory.
    Oom = 5,
    /// The output cannot be read.
    Output = 6,
    /// The output does not fit its schema.
    Schema = 7,
    /// The task's inputs cannot be made.
    Input = 8,
    /// Something was not permitted.
    Permission = 9,
    /// Money or tokens ran out.
    Budget = 10,
    /// A provider's limit.
    Quota = 11,
    /// Not logged in.
    Auth = 12,
    /// The agent's turns ran out.
    TurnLimit = 13,
    /// A tool said no, or its server failed.
    Tool = 14,
    /// The code itself failed.
    Logic = 15,
    /// Nobody knows what became of it.
    Lost = 16,
    /// It was stopped on purpose.
    Cancelled = 17,
}

impl FailureClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [FailureClass; 18] = [
        Self::Start,
        Self::Exit,
        Self::Signal,
        Self::Timeout,
        Self::Idle,
        Self::Oom,
        Self::Output,
        Self::Schema,
        Self::Input,
        Self::Permission,
        Self::Budget,
        Self::Quota,
        Self::Auth,
        Self::TurnLimit,
        Self::Tool,
        Self::Logic,
        Self::Lost,
        Self::Cancelled,
    ];

    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Exit => "exit",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::Oom => "oom",
            Self::Output => "output",
            Self::Schema => "schema",
            Self::Input => "input",
            Self::Permission => "permission",
            Self::Budget => "budget",
            Self::Quota => "quota",
            Self::Auth => "auth",
            Self::TurnLimit => "turn_limit",
            Self::Tool => "tool",
            Self::Logic => "logic",
            Self::Lost => "lost",
            Self::Cancelled => "cancelled",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|c| c.name() == name)
    }

    /// Whether another execution could ever help.
    pub fn retryable(self) -> bool {
        !matches!(self, Self::Permission | Self::Input | Self::Budget | Self::Cancelled)
    }
}

/// What the world claims: at least once, maybe late, maybe twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "task, attempt, class and the like speak for themselves")]
pub enum Input {
    /// The run begins.
    Begin,
    /// Every gate lets this ready task start now, or its compensation whose turn it is.
    Admit { task: TaskIx },
    /// The attempt, of the task or of its compensation, ended well and its output is durable.
    Succeeded { task: TaskIx, attempt: Attempt },
    /// The attempt ended badly. `noise` is a random number for the jitter of the next delay. What is `lasting` would end
    /// the same way again, whatever its class.
    Failed { task: TaskIx, attempt: Attempt, class: FailureClass, noise: u32, lasting: bool },
    /// Time has passed; due retries become ready.
    Tick,
    /// The engine that held this attempt is gone and nobody knows how it ended.
    Lost { task: TaskIx, attempt: Attempt },
    /// A person wants the task tried again.
    Retry { task: TaskIx },
    /// A person goes on without the task.
    Skip { task: TaskIx },
    /// A person ends the run.
    Cancel,
    /// A completed task of the chapter before is taken over into this one.
    Adopt { task: TaskIx, attempt: Attempt },
    /// Nothing is alive and the budget lets nothing more start.
    Exhaust,
    /// A person gave the run another budget.
    Reopen,
    /// The task's turn has come and its condition is false.
    Omit { task: TaskIx },
    /// The question about a task is known: it is put to a person. Once more where what was approved has changed.
    Ask { task: TaskIx, expires_at: Option<Time> },
    /// Nobody can be asked about a task, since its work cannot be made.
    Unfit { task: TaskIx, class: FailureClass },
    /// A person answered.
    Answer { task: TaskIx, attempt: Attempt, verdict: Verdict },
}

/// What a person says to a task that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Yes,
    /// It may not: it fails.
    No,
}

/// A fact in the past tense that cannot be derived from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "task, attempt, class and the like speak for themselves")]
pub enum Event {
    /// The run began.
    RunStarted,
    /// An attempt may exist from now on.
    AttemptStarted { task: TaskIx, attempt: Attempt },
    /// It ended well.
    AttemptSucceeded { task: TaskIx, attempt: Attempt },
    /// It ended badly; `retry_at` is set when it will be tried again.
    AttemptFailed { task: TaskIx, attempt: Attempt, class: FailureClass, retry_at: Option<Time> },
    /// Its fate is unknown and it is effect-free or declared repeatable: it goes back to the queue.
    AttemptAbandoned { task: TaskIx, attempt: Attempt },
    /// Its fate is unknown and a person must say what to do.
    AttemptDoubted { task: TaskIx, attempt: Attempt },
    /// A person had the task tried again.
    TaskRetried { task: TaskIx },
    /// A person went on without the task.
    TaskSkipped { task: TaskIx },
    /// A result of the chapter before counts here too.
    TaskAdopted { task: TaskIx, attempt: Attempt },
    /// A person ended the run: nothing starts any more.
    RunCancelled,
    /// Everything has settled, or the budget lets nothing more start.
    RunFinished { outcome: crate::Outcome },
    /// A person gave the run another budget: it goes on where it stood.
    RunReopened,
    /// An attempt to undo what the task did may exist from now on.
    CompensationStarted { task: TaskIx, attempt: Attempt },
    /// What the task did is undone.
    CompensationSucceeded { task: TaskIx, attempt: Attempt },
    /// It could not be undone; `retry_at` is set when that will be tried again.
    CompensationFailed { task: TaskIx, attempt: Attempt, class: FailureClass, retry_at: Option<Time> },
    /// Nobody knows how far it was undone: it will be done again.
    CompensationAbandoned { task: TaskIx, attempt: Attempt },
    /// A person was asked about the attempt that comes next; nothing of it exists before a yes.
    GateOpened { task: TaskIx, attempt: Attempt, expires_at: Option<Time> },
    /// A person said yes.
    GateApproved { task: TaskIx, attempt: Attempt },
    /// A person said no.
    GateRejected { task: TaskIx, attempt: Attempt },
    /// Nobody answered in time, which is a no.
    GateExpired { task: TaskIx, attempt: Attempt },
    /// Nobody could be asked: the work cannot be made.
    GateFailed { task: TaskIx, attempt: Attempt, class: FailureClass },
    /// The task's condition was false when its turn had come: it is not needed, nor is what hangs hard on it.
    TaskOmitted { task: TaskIx },
}

/// Why an input changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The run has not begun, or has already.
    WrongTime,
    /// No such task.
    UnknownTask,
    /// An attempt that is not the live one: late, doubled or from another engine.
    Stale,
    /// The task's state does not allow it.
    NotNow,
}

impl Input {
    /// The task it concerns.
    pub(crate) fn task(&self) -> Option<TaskIx> {
        match *self {
            Input::Begin | Input::Tick | Input::Cancel | Input::Exhaust | Input::Reopen => None,
            Input::Admit { task }
            | Input::Succeeded { task, .. }
            | Input::Failed { task, .. }
            | Input::Lost { task, .. }
            | Input::Retry { task }
            | Input::Skip { task }
            | Input::Omit { task }
            | Input::Adopt { task, .. }
            | Input::Ask { task, .. }
            | Input::Unfit { task, .. }
            | Input::Answer { task, .. } => Some(task),
        }
    }
}

impl Event {
    /// The task it concerns.
    pub fn task(&self) -> Option<TaskIx> {
        match *self {
            Event::RunStarted | Event::RunCancelled | Event::RunFinished { .. } | Event::RunReopened => None,
            Event::AttemptStarted { task, .. }
            | Event::AttemptSucceeded { task, .. }
            | Event::AttemptFailed { task, .. }
            | Event::AttemptAbandoned { task, .. }
            | Event::AttemptDoubted { task, .. }
            | Event::TaskRetried { task }
            | Event::TaskSkipped { task }
            | Event::TaskOmitted { task }
            | Event::TaskAdopted { task, .. }
            | Event::CompensationStarted { task, .. }
            | Event::CompensationSucceeded { task, .. }
            | Event::CompensationFailed { task, .. }
            | Event::CompensationAbandoned { task, .. }
            | Event::GateOpened { task, .. }
            | Event::GateApproved { task, .. }
            | Event::GateRejected { task, .. }
            | Event::GateExpired { task, .. }
            | Event::GateFailed { task, .. } => Some(task),
        }
    }
}
