//! What a run executes, as the loop sees it: a graph, and per task how to make an attempt and how to read its result.
//! It does not know the loop. The workflow is one program; benchmarks and simulations bring their own.

use std::sync::Arc;
use std::time::Duration;

use raddle_kernel::{Graph, Run, TaskIx, Time};
use raddle_model::money::Money;

use crate::attempt::{AttemptKey, AttemptSpec, Failure, RawOutput, Usage};
use crate::gates::{Answer, Question};
use crate::outputs::Outputs;
use crate::patch::{PatchRequest, Redefinition};
use crate::ports::Journal;

/// What the program may look at while it prepares an attempt.
pub struct Context<'a> {
    /// States of all tasks.
    pub run: &'a Run,
    /// Outputs so far.
    pub outputs: &'a Outputs,
    /// Where large outputs are.
    pub journal: &'a dyn Journal,
    /// The owner's epoch.
    pub epoch: u32,
    /// The engine's clock.
    pub now: Time,
    /// What is left of the task's own `cost_budget`.
    pub left: Option<Money>,
    /// What is prepared undoes what the task did.
    pub undoing: bool,
}

/// What a person is to be asked about a task.
#[derive(Debug)]
pub struct Inquiry {
    /// What is shown, and the hash of all that would be done.
    pub question: Question,
    /// How long an answer is waited for.
    pub expires: Option<Duration>,
    /// What would be done; `None` where the answer is all.
    pub spec: Option<Box<AttemptSpec>>,
}

/// What a program says when a task could start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may, as far as the program is concerned.
    Open,
    /// It is not needed; the reason, in words.
    Omit(String),
    /// It is a list of so many items, which are to become tasks first.
    Expand(u32),
}

/// See the module.
pub trait Program {
    /// The graph; another one only after [`Program::adopt`].
    fn graph(&self) -> &Arc<Graph>;

    /// Tasks that the program must be asked about before they may start.
    fn conditional(&self) -> Vec<TaskIx> {
        Vec::new()
    }

    /// Whether such a task, whose turn has come, may start.
    fn turn(&mut self, _task: TaskIx, _context: &Context<'_>) -> Turn {
        Turn::Open
    }

    /// What the program said could not be acted upon: the task's attempt is to fail with this.
    fn refuse(&mut self, _task: TaskIx, _why: String) {}

    /// Whether another task is to be put in the place of this one when it fails for good.
    fn is_replaceable(&self, _task: TaskIx) -> bool {
        false
    }

    /// The task's id, for messages and changes.
    fn id(&self, task: TaskIx) -> String {
        format!("task {}", task.0)
    }

    /// Items of the task's list, if it is one.
    fn items(&self, _task: TaskIx) -> Vec<TaskIx> {
        Vec::new()
    }

    /// What a change makes of the definition. Nothing is in force before [`Program::adopt`].
    fn redefine(&mut self, _request: &PatchRequest, _run: &Run) -> Result<Redefinition, Vec<String>> {
        Err(vec!["this run cannot be changed".to_owned()])
    }

    /// A changed definition is in force.
    fn adopt(&mut self, _redefinition: Redefinition) {}

    /// The result of an attempt that needs nobody to perform it.
    fn at_once(&mut self, _key: AttemptKey, _context: &Context<'_>) -> Option<Result<RawOutput, Failure>> {
        None
    }

    /// Resolves everything an attempt needs. A failure is the attempt's failure: nothing is called.
    fn prepare(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure>;

    /// Makes the task's output (compact JSON text) from what the executor brought: format and schema.
    fn read_output(&mut self, task: TaskIx, raw: RawOutput) -> Result<Arc<str>, Failure>;

    /// The question about a task with a gate, from what its next attempt would do now. `None`: this program cannot tell,
    /// and an answer counts for what is on record. A failure is the task's: then nobody is asked.
    fn inquire(&mut self, _key: AttemptKey, _context: &Context<'_>) -> Result<Option<Inquiry>, Failure> {
        Ok(None)
    }

    /// The output that a yes gives to a gate; `None` where an attempt follows. An error says why the answer does not do.
    fn answer_output(&mut self, _task: TaskIx, _answer: &Answer) -> Result<Option<Arc<str>>, String> {
        Ok(None)
    }

    /// The task of that id.
    fn task_named(&self, _id: &str) -> Option<TaskIx> {
        None
    }

    /// Another model than the prepared one performs the attempt.
    fn model_chosen(&mut self, _key: AttemptKey, _model: &str) {}

    /// The model that performs the attempt after so many failures in the place of the planned one, and why.
    fn other_model(&self, _task: TaskIx, _failures: u32) -> Option<(&str, String)> {
        None
    }

    /// Tasks with the ones that run only when they fail.
    fn fallbacks(&self) -> &[(TaskIx, TaskIx)] {
        &[]
    }

    /// Completes a usage report: prices tokens that came without a cost.
    fn price(&self, task: TaskIx, usage: &mut Usage);
}
