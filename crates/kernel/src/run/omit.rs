//! Tasks that turn out not to be needed: a false condition, and what hangs hard on it. It does not know conditions.
//!
//! What hangs on an omitted task is judged when all its dependencies have settled, not before: it is blocked if one of
//! them failed and omitted otherwise, in whatever order they settle.

use super::Run;
use crate::state::{Step, next};
use crate::{Strength, TaskIx, TaskState};

impl Run {
    /// The condition is asked when the task could start; an attempt is never taken back.
    pub(super) fn expect_omittable(&self, task: TaskIx) -> Option<()> {
        let never_started = self.cells[task.index()].attempts == 0;
        let open = never_started && !self.cancelled && self.finished.is_none();
        (open && self.cells[task.index()].state == TaskState::Ready).then_some(())
    }

    pub(super) fn omit(&mut self, task: TaskIx, by: TaskIx) {
        debug_assert!(next(self.phase(task), Step::Omit).is_some());
        self.set(task, Step::Omit, TaskState::Omitted { by }).expect("only what is open is omitted");
        self.omitted.push(task);
    }

    /// What follows from an event: omissions and failed scopes, one from the other, until nothing follows any more.
    pub(super) fn see_it_through(&mut self) {
        while !self.omitted.is_empty() || self.is_disturbed() {
            self.tell_of_omitted();
            self.keep_sagas();
        }
    }

    /// Tells the dependents of what was omitted, however long the chain, without recursion.
    fn tell_of_omitted(&mut self) {
        while let Some(task) = self.omitted.pop() {
            self.settle(task);
        }
    }

    /// The task whose false condition makes this one unneeded, however far up.
    pub(super) fn omitter(&self, task: TaskIx) -> Option<TaskIx> {
        self.graph.predecessors(task).filter(|(_, strength)| *strength == Strength::Hard).find_map(|(dependency, _)| {
            match self.cells[dependency.index()].state {
                TaskState::Omitted { by } => Some(by),
                _ => None,
            }
        })
    }
}
