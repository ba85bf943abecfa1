//! What a display is told about a run: the only words between the engine's loop and whatever is on the screen. It
//! does not know who tells it, nor how it is shown.

use std::sync::Arc;

/// What is known before anything happens.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// The run's id.
    pub run: String,
    /// The workflow's name.
    pub workflow: String,
    /// Task ids by index.
    pub tasks: Vec<Arc<str>>,
    /// Indexes of the critical path's tasks, in order; may be empty.
    pub critical_path: Vec<u32>,
}

/// Something worth showing. Texts may come from outside: displays make them harmless.
#[derive(Debug, Clone, Copy)]
pub enum Happening<'a> {
    /// An attempt of a task began.
    Started {
        /// The task's index.
        ix: u32,
        /// Its attempt, from 1.
        attempt: u32,
    },
    /// An attempt to undo what a task did began.
    Undoing {
        /// The task's index.
        ix: u32,
        /// The task was told to be done, and is no longer.
        was_done: bool,
    },
    /// An attempt failed and the task will be tried again.
    Retrying {
        /// The task's index.
        ix: u32,
        /// Why the attempt failed.
        message: &'a str,
        /// How long until the next attempt.
        after_ms: u64,
    },
    /// A task reached its final state, or a state that only a person can end.
    Settled {
        /// The task's index.
        ix: u32,
        /// How.
        ending: Ending,
        /// How long its last attempt took; 0 when there was none.
        ms: u64,
        /// Why, for endings that need a reason.
        message: &'a str,
    },
    /// A person is asked something; there may be many lines.
    Asked {
        /// The question, what would be done, and the commands that answer.
        words: &'a str,
    },
    /// The last line that a running task wrote.
    Progress {
        /// The task's index.
        ix: u32,
        /// The line.
        line: &'a str,
    },
    /// The run goes on with other tasks.
    Tasks {
        /// All ids by index.
        ids: &'a [Arc<str>],
        /// How many of them are not in the run any more.
        gone: usize,
        /// What changed.
        words: &'a str,
    },
    /// How the budget stands, in words.
    Budget {
        /// `$0.08 of $0.10`.
        words: &'a str,
    },
    /// Whether anything can be recorded, in words.
    Storage {
        /// Why not, or that it can again.
        words: &'a str,
    },
    /// An attempt used this much more.
    Used {
        /// Tokens in and out, cache included.
        tokens: u64,
        /// US dollars; `None` is unknown.
        cost_usd: Option<f64>,
    },
    /// The run is over for now: everything is written, a block is taken off the screen, and whoever drives the run
    /// says its last words.
    Finished,
}

/// How a task settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Completed,
    FailedSafe,
    Failed,
    Blocked,
    Skipped,
    Cancelled,
    Waiting,
    Compensated,
    NotCompensated,
}

impl Ending {
    /// All endings, in the order in which they are counted.
    pub const ALL: [Ending; 9] = [
        Self::Completed,
        Self::FailedSafe,
        Self::Failed,
        Self::Blocked,
        Self::Skipped,
        Self::Cancelled,
        Self::Waiting,
        Self::Compensated,
        Self::NotCompensated,
    ];

    /// The word for a person.
    pub fn word(self) -> &'static str {
        match self {
            Self::Completed => "done",
            Self::FailedSafe => "failed safely",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Waiting => "waiting",
            Self::Compensated => "compensated",
            Self::NotCompensated => "NOT compensated",
        }
    }
}
