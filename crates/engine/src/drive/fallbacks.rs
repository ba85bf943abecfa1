//! Tasks that run only when another one fails: once that one has not, they are skipped, or omitted with it, in the batch that says so. It does
//! not know whose outputs stand in for whose.

use raddle_kernel::{Input, Phase};

use super::{Engine, plain_fact};
use crate::ports::{Clock, Dispatcher, Journal};
use crate::program::Program;

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// Skips what is not needed any more. A function of the states, so it is the same whoever drives the run.
    pub(super) fn skip_unneeded(&mut self) {
        for n in 0..self.program.fallbacks().len() {
            let (task, spare) = self.program.fallbacks()[n];
            // A run that is being ended refuses; nothing starts in it anyway.
            match (self.run.state(task).phase(), self.run.state(spare).phase()) {
                (Phase::Completed | Phase::Skipped, Phase::Pending | Phase::Ready) => {
                    self.skip(spare).ok();
                }
                // What hangs on the two of them is not needed either.
                (Phase::Omitted, Phase::Ready) => {
                    let reason = format!("{} is not needed", self.program.id(task));
                    self.input(Input::Omit { task: spare }, |event| plain_fact(event, &reason)).ok();
                }
                _ => {}
            }
        }
    }
}
