//! What a run executes, as the loop sees it: a graph, and per task how to make an attempt and how to read its result.
//! It does not know the loop. The workflow is one program; benchmarks and simulations bring their own.

use std::sync::Arc;

use raddle_kernel::{Graph, Run, TaskIx, Time};
use raddle_model::money::Money;

use crate::attempt::{AttemptKey, AttemptSpec, Failure, RawOutput, Usage};
use crate::outputs::Outputs;
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

/// See the module.
pub trait Program {
    /// The graph; the same one for the whole life of the program.
    fn graph(&self) -> &Arc<Graph>;

    /// Resolves everything an attempt needs. A failure is the attempt's failure: nothing is called.
    fn prepare(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure>;

    /// Makes the task's output (compact JSON text) from what the executor brought: format and schema.
    fn read_output(&mut self, task: TaskIx, raw: RawOutput) -> Result<Arc<str>, Failure>;

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
