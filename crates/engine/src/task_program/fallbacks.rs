//! Whose output a reference finds where one task stands in for another, and which dependencies a task has in the words of
//! its file. It does not know when a task is skipped.

use raddle_kernel::TaskIx;
use raddle_model::workflow::{Strength, Workflow};

use super::TaskProgram;
use super::undo::has_output;
use crate::program::Context;

/// Tasks with those that stand in for them.
pub(super) fn pairs(workflow: &Workflow) -> Vec<(TaskIx, TaskIx)> {
    let tasks = (0u32..).zip(&workflow.tasks);
    tasks.filter_map(|(n, task)| Some((TaskIx(n), TaskIx(task.fallback?)))).collect()
}

impl TaskProgram {
    /// Whose output is the task's: its own, or that of the task that has stood in for it.
    pub(super) fn supplier(&self, task: TaskIx, context: &Context<'_>) -> TaskIx {
        let spare = self.task(task).fallback.map(TaskIx);
        spare.filter(|spare| !has_output(task, context) && has_output(*spare, context)).unwrap_or(task)
    }

    /// The dependencies of a task; one that has a fallback once, as strong as the two are together.
    pub(super) fn declared(&self, task: TaskIx) -> Vec<(TaskIx, Strength)> {
        let all = &self.task(task).depends_on;
        let strength_of = |other: u32| all.iter().find(|d| d.task == other).map(|d| d.strength);
        let stands_in = |spare: u32| all.iter().any(|d| self.task(TaskIx(d.task)).fallback == Some(spare));
        let of = |d: &raddle_model::workflow::Dependency| {
            let together = self.task(TaskIx(d.task)).fallback.and_then(strength_of);
            (TaskIx(d.task), together.unwrap_or(d.strength))
        };
        all.iter().filter(|d| !stands_in(d.task)).map(of).collect()
    }
}
