//! The facts of a run as the engine means them: kernel events with what people need to know about them. It does
//! not know how they are encoded; stored shapes live in the journal crate.

use std::sync::Arc;

use raddle_kernel::{Attempt, Event, FailureClass, Outcome, TaskIx, Time};
use raddle_model::workflow::Budget;

use crate::attempt::Usage;
use crate::gates::Question;

/// A fact with its place in the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// From 1, without gaps.
    pub seq: u64,
    /// When the engine decided it.
    pub at: Time,
    /// What happened.
    pub fact: Fact,
}

/// Where an output is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputRef {
    /// Compact JSON text, kept in the journal itself.
    Inline(Arc<str>),
    /// Compact JSON text in a content-addressed file.
    Stored {
        /// BLAKE3 of the text.
        digest: [u8; 32],
        /// Its length.
        bytes: u64,
    },
}

/// Something that happened. Variants that concern the graph have a kernel event; the others are audit.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// The run began, or a new chapter of it with a changed workflow.
    Started(Box<Chapter>),
    /// An attempt may exist from now on.
    AttemptStarted {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// It ended well.
    AttemptSucceeded {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// Its output.
        output: OutputRef,
        /// What it used.
        usage: Option<Box<Usage>>,
        /// Session of the agent CLI.
        session: Option<Box<str>>,
    },
    /// It ended badly.
    AttemptFailed {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        class: FailureClass,
        /// In words.
        message: Box<str>,
        /// When it will be tried again.
        retry_at: Option<Time>,
        /// What it used all the same.
        usage: Option<Box<Usage>>,
        /// True when retries were allowed and are used up by this failure.
        exhausted: bool,
    },
    /// Fate unknown, will run again.
    AttemptAbandoned {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// Fate unknown, a person must say.
    AttemptDoubted {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// A person had it tried again.
    TaskRetried {
        /// The task.
        task: TaskIx,
    },
    /// A person went on without it.
    TaskSkipped {
        /// The task.
        task: TaskIx,
    },
    /// A result of the chapter before counts here too.
    TaskAdopted {
        /// The task, in this chapter's numbering.
        task: TaskIx,
        /// Its attempt there.
        attempt: Attempt,
        /// Its output.
        output: OutputRef,
    },
    /// Audit: something was refused.
    Denied {
        /// The task.
        task: TaskIx,
        /// What was tried.
        action: Box<str>,
        /// On what.
        resource: Box<str>,
        /// Why not.
        rule: Box<str>,
    },
    /// Audit: another model than the one of the task's record performs the attempt.
    ModelChosen {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// The model.
        model: Box<str>,
        /// Why, in words.
        reason: Box<str>,
    },
    /// An engine took the run over (a resume); its epoch.
    Resumed {
        /// The new owner's epoch.
        epoch: u32,
    },
    /// A person ended the run.
    Cancelled,
    /// A person gave the run another budget; it is the whole of it, and what was spent stays spent.
    BudgetSet {
        /// All its limits.
        budget: Budget,
    },
    /// The task's condition was false, so it is not needed.
    TaskOmitted {
        /// The task.
        task: TaskIx,
        /// The condition, in words.
        reason: Box<str>,
    },
    /// The run goes on under a changed definition. Tasks keep their numbers.
    Patched(Box<Patched>),
    /// Everything has settled, or the budget lets nothing more start.
    Finished {
        /// How.
        outcome: Outcome,
    },
    /// Audit: what an attempt had used when its engine left; it counts if nobody ever reports more.
    UsageReported {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// What it used.
        usage: Box<Usage>,
    },
    /// Audit: for a while nothing could be made durable; now it can again.
    StorageRecovered {
        /// How long.
        paused_ms: u64,
        /// Why, in words.
        reason: Box<str>,
    },
    /// Audit: the journal was damaged behind the record before this one, and what came there is not known.
    Salvaged {
        /// The damage, in words.
        reason: Box<str>,
    },
    /// An attempt to undo what a task did may exist from now on.
    CompensationStarted {
        /// The task.
        task: TaskIx,
        /// The attempt; numbers go on from those of the task.
        attempt: Attempt,
    },
    /// What the task did is undone.
    CompensationSucceeded {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// It could not be undone.
    CompensationFailed {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        class: FailureClass,
        /// In words.
        message: Box<str>,
        /// When it will be tried again.
        retry_at: Option<Time>,
    },
    /// Nobody knows how far it was undone; it will be done again.
    CompensationAbandoned {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// A person was asked.
    GateOpened {
        /// The task.
        task: TaskIx,
        /// The attempt that comes next.
        attempt: Attempt,
        /// When silence becomes a no.
        expires_at: Option<Time>,
        /// What was asked.
        question: Box<Question>,
    },
    /// A person said yes to what was asked last.
    GateApproved {
        /// The task.
        task: TaskIx,
        /// The attempt that may start, or the gate's own number.
        attempt: Attempt,
        /// Who.
        by: Box<str>,
        /// Why.
        comment: Option<Box<str>>,
        /// The task's output, where the answer is the task.
        output: Option<OutputRef>,
    },
    /// A person said no: to what was asked, or to going on with what failed or is in doubt.
    GateRejected {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// Who.
        by: Box<str>,
        /// Why.
        comment: Option<Box<str>>,
    },
    /// Nobody answered in time.
    GateExpired {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
    },
    /// Nobody could be asked: the work cannot be made.
    GateFailed {
        /// The task.
        task: TaskIx,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        class: FailureClass,
        /// In words.
        message: Box<str>,
    },
}

/// What a chapter of a run needs to be read again by anybody, later: the whole definition and its circumstances.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Chapter {
    /// Run id.
    pub run: String,
    /// Workflow name.
    pub workflow: String,
    /// Hash of the workflow's meaning.
    pub hash: String,
    /// The definition's text.
    pub source: String,
    /// Where it came from, for messages (`wf.yaml`, `-`, `inline`).
    pub source_name: String,
    /// Folder that relative paths start from, absolute.
    pub base_dir: String,
    /// JSON text of the parameters' values.
    pub inputs: String,
    /// JSON text of the command's options that shape the run (mode, caps, only, from, simulate …).
    pub options: String,
    /// Version of the program that wrote it.
    pub version: String,
}

/// A change of the definition, and the definition that came of it, so that anybody can read the run later.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Patched {
    /// Names the change, and lets who asked for it find out whether it was made.
    pub id: String,
    /// Who asked: `user@host`, or the task for which the run did it itself.
    pub by: String,
    /// Why, in their words; may be empty.
    pub why: String,
    /// The change as JSON ([`raddle_model::patch::Change`]).
    pub change: String,
    /// The change that this one takes back.
    pub undoes: Option<String>,
    /// Hash of the new definition's meaning.
    pub hash: String,
    /// The new definition as JSON, with marks for what was taken out ([`raddle_model::parse_changed`]).
    pub source: String,
    /// The new [`crate::snapshot::Snapshot`] as JSON.
    pub snapshot: String,
    /// How many tasks there are now, those that were taken out included.
    pub tasks: u32,
}

impl Fact {
    /// The kernel event in it, if it has one.
    pub fn event(&self) -> Option<Event> {
        Some(match self {
            Fact::Started(_) => Event::RunStarted,
            Fact::AttemptStarted { task, attempt } => Event::AttemptStarted { task: *task, attempt: *attempt },
            Fact::AttemptSucceeded { task, attempt, .. } => Event::AttemptSucceeded { task: *task, attempt: *attempt },
            Fact::AttemptFailed { task, attempt, class, retry_at, .. } => {
                Event::AttemptFailed { task: *task, attempt: *attempt, class: *class, retry_at: *retry_at }
            }
            Fact::AttemptAbandoned { task, attempt } => Event::AttemptAbandoned { task: *task, attempt: *attempt },
            Fact::AttemptDoubted { task, attempt } => Event::AttemptDoubted { task: *task, attempt: *attempt },
            Fact::TaskRetried { task } => Event::TaskRetried { task: *task },
            Fact::TaskSkipped { task } => Event::TaskSkipped { task: *task },
            Fact::TaskAdopted { task, attempt, .. } => Event::TaskAdopted { task: *task, attempt: *attempt },
            // Folded by [`crate::patch::fold`]: it brings a graph, which is no event.
            Fact::Patched(_) => return None,
            Fact::TaskOmitted { task, .. } => Event::TaskOmitted { task: *task },
            Fact::Denied { .. } | Fact::ModelChosen { .. } | Fact::Resumed { .. } => return None,
            Fact::UsageReported { .. } | Fact::StorageRecovered { .. } | Fact::Salvaged { .. } => return None,
            Fact::Cancelled => Event::RunCancelled,
            Fact::BudgetSet { .. } => Event::RunReopened,
            Fact::Finished { outcome } => Event::RunFinished { outcome: *outcome },
            Fact::CompensationStarted { task, attempt } => {
                Event::CompensationStarted { task: *task, attempt: *attempt }
            }
            Fact::CompensationSucceeded { task, attempt } => {
                Event::CompensationSucceeded { task: *task, attempt: *attempt }
            }
            Fact::CompensationFailed { task, attempt, class, retry_at, .. } => {
                Event::CompensationFailed { task: *task, attempt: *attempt, class: *class, retry_at: *retry_at }
            }
            Fact::CompensationAbandoned { task, attempt } => {
                Event::CompensationAbandoned { task: *task, attempt: *attempt }
            }
            Fact::GateOpened { task, attempt, expires_at, .. } => {
                Event::GateOpened { task: *task, attempt: *attempt, expires_at: *expires_at }
            }
            Fact::GateApproved { task, attempt, .. } => Event::GateApproved { task: *task, attempt: *attempt },
            Fact::GateRejected { task, attempt, .. } => Event::GateRejected { task: *task, attempt: *attempt },
            Fact::GateExpired { task, attempt } => Event::GateExpired { task: *task, attempt: *attempt },
            Fact::GateFailed { task, attempt, class, .. } => {
                Event::GateFailed { task: *task, attempt: *attempt, class: *class }
            }
        })
    }
}
