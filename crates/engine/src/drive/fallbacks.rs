//! Tasks that run only when another one fails: once that one has not, they are skipped, in the batch that says so. It does
//! not know whose outputs stand in for whose.

use raddle_kernel::Phase;

use super::Engine;
use crate::ports::{Clock, Dispatcher, Journal};
use crate::program::Program;

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// Skips what is not needed any more. A function of the states, so it is the same whoever drives the run.
    pub(super) fn skip_unneeded(&mut self) {
        for n in 0..self.program.fallbacks().len() {
            let (task, spare) = self.program.fallbacks()[n];
            let is_open = matches!(self.run.state(spare).phase(), Phase::Pending | Phase::Ready);
            if is_open && matches!(self.run.state(task).phase(), Phase::Completed | Phase::Skipped | Phase::Omitted) {
                // A run that is being ended refuses; nothing starts in it anyway.
                self.skip(spare).ok();
            }
        }
    }
}
