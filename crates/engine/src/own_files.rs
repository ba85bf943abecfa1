//! Tasks that have files of their own, and from whose files each of them starts. It does not know how files are kept
//! apart.

use std::sync::Arc;

use raddle_kernel::{Phase, Run, TaskIx};
use raddle_model::workflow::Workflow;

/// The executor that gives each task a work tree and a branch of its own.
pub const WORKTREE: &str = "worktree";

/// The nearest completed tasks with files of their own among those that a task hangs on, past tasks without, in the
/// order of the dependencies. Nothing for a task that has no files of its own.
pub(crate) fn inherited(workflow: &Workflow, task: TaskIx, run: &Run) -> Vec<Arc<str>> {
    let of = |index: u32| &workflow.tasks[index as usize];
    let mut found = Vec::new();
    if of(task.0).executor != WORKTREE {
        return found;
    }
    let mut seen = vec![false; workflow.tasks.len()];
    let mut open: Vec<u32> = of(task.0).depends_on.iter().rev().map(|d| d.task).collect();
    while let Some(next) = open.pop() {
        if std::mem::replace(&mut seen[next as usize], true) {
            continue;
        }
        let before = of(next);
        let completed = run.state(TaskIx(next)).phase() == Phase::Completed;
        if completed && before.executor == WORKTREE {
            found.push(before.id.as_str().into());
        } else {
            open.extend(before.depends_on.iter().rev().map(|d| d.task));
        }
    }
    found
}
