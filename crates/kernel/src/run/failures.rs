//! What becomes of a task whose attempt failed. It does not know why attempts fail, nor who decides what is retried.

use core::cmp::Reverse;

use super::Run;
use crate::state::Step;
use crate::{Attempt, Cause, FailureClass, TaskIx, TaskState, Time};

impl Run {
    pub(super) fn failed(
        &mut self,
        task: TaskIx,
        attempt: Attempt,
        class: FailureClass,
        retry_at: Option<Time>,
    ) -> Option<()> {
        match retry_at {
            _ if self.cancelled => {
                self.set(task, Step::Cancel, TaskState::Cancelled)?;
                self.settle(task);
            }
            None if self.is_undone_unfinished(task, class) => {
                self.condemn(task, attempt)?;
                self.settle(task);
            }
            // It was stopped since its saga failed.
            None if class == FailureClass::Cancelled && self.is_broken(self.graph.scope(task)) => {
                self.set(task, Step::Cancel, TaskState::Cancelled)?;
                self.settle(task);
            }
            Some(at) => {
                self.set(task, Step::FailForNow, TaskState::Retrying { attempt, at })?;
                self.due.push(Reverse((at, task)));
            }
            None if self.graph.escalates(task) => {
                self.set(task, Step::Escalate, TaskState::Waiting { attempt, cause: Cause::Exhausted { class } })?;
            }
            None if self.graph.safe_to_fail(task) => {
                self.set(task, Step::FailSafely, TaskState::FailedSafe { attempt, class })?;
                self.settle(task);
            }
            None => {
                self.set(task, Step::Fail, TaskState::Failed { attempt, class })?;
                self.settle(task);
            }
        }
        Some(())
    }
}
