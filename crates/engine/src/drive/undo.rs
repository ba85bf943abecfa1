//! How an attempt of a compensation ended. It does not know whose turn comes next; the kernel does.

use raddle_kernel::{Attempt, FailureClass, Input, TaskIx};

use super::{Engine, plain_fact};
use crate::attempt::{AttemptKey, Failure, RawOutput};
use crate::ports::{Clock, Dispatcher, Journal};
use crate::program::Program;

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// What a compensation gives out is nobody's input, so nothing of it is kept but whether it ended well.
    pub(super) fn undo_ended(&mut self, task: TaskIx, attempt: Attempt, result: Result<RawOutput, Failure>) {
        self.denied.remove(&AttemptKey { task, attempt });
        let Failure { class, message, lasting } = match result {
            Ok(_) => {
                self.input(Input::Succeeded { task, attempt }, |event| plain_fact(event, "")).ok();
                return;
            }
            Err(failure) => failure,
        };
        if self.stopping.is_some() && !self.run.is_cancelled() && class == FailureClass::Cancelled {
            // We ended it to leave: the next owner finds it live and does it again.
            return;
        }
        let noise = self.clock.noise();
        self.input(Input::Failed { task, attempt, class, noise, lasting }, |event| plain_fact(event, &message)).ok();
    }
}
