//! Everything that a run derives, worked out again from its states alone, for tests and after recovery. It does not know
//! how the derived things are kept.

use alloc::vec;

use super::Run;
use crate::state::Phase;
use crate::{Cause, Gate, Outcome, TaskIx, TaskState};

impl Run {
    /// Compares everything derived with what the states say; for tests and after recovery. O(tasks + edges).
    pub fn check(&self) -> Result<(), &'static str> {
        let mut tally = [0; Phase::COUNT];
        let mut live_in = vec![0; self.graph.pools()];
        let mut failed_required = 0;
        for i in 0..self.cells.len() as u32 {
            let (task, state) = (TaskIx(i), self.cells[i as usize].state);
            let phase = state.phase();
            tally[phase as usize] += 1;
            if phase.is_live() {
                live_in[usize::from(self.graph.pool(task).0)] += 1;
            }
            if phase == Phase::Failed && self.counts_as_required(task) {
                failed_required += 1;
            }
            if self.live.contains(i) != phase.is_live() {
                return Err("live set");
            }
            match phase {
                Phase::Ready if self.must_ask(task) == self.is_startable(task) => {
                    return Err("a ready task is not in the ready set, or is there unasked");
                }
                Phase::ToUndo if self.is_startable(task) != self.is_next_to_undo(task) => {
                    return Err("turn of a compensation");
                }
                Phase::Ready | Phase::Retrying | Phase::ToUndo | Phase::UndoRetrying => {}
                _ if self.is_startable(task) => return Err("a task that is not ready is in the ready set"),
                _ => {}
            }
            if self.asking.contains(i) != (phase == Phase::Ready && self.must_ask(task)) {
                return Err("those about whom a person has to be asked");
            }
            let unmet = self.graph.predecessors(task).filter(|(d, _)| !self.phase(*d).settled()).count();
            if self.cells[i as usize].unmet as usize != unmet {
                return Err("count of unmet dependencies");
            }
            let blamed = self.blame(task);
            match state {
                TaskState::Waiting { cause: Cause::Approval { .. }, .. } if self.graph.gate(task) == Gate::None => {
                    return Err("an answer is waited for where nobody is to be asked");
                }
                TaskState::Running { .. } if self.must_ask(task) => {
                    return Err("an attempt behind a gate without a yes");
                }
                TaskState::Blocked { .. } if blamed.is_none() => return Err("blocked by nobody"),
                TaskState::Omitted { by } if by != task && self.omitter(task).is_none() => {
                    return Err("omitted because of nobody");
                }
                TaskState::Removed if !self.is_detached(task) => return Err("a removed task has edges"),
                TaskState::Pending if self.begun && !self.cancelled && blamed.is_some() => return Err("not blocked"),
                _ => {}
            }
            let open = !self.graph.in_waves() || self.graph.level(task) <= self.wave;
            if self.begun && phase == Phase::Pending && unmet == 0 && open {
                return Err("a releasable task is pending");
            }
        }
        let unsettled: u32 = Phase::ALL.iter().filter(|p| !p.settled()).map(|p| tally[*p as usize]).sum();
        if tally != self.tally || unsettled != self.unsettled {
            return Err("tallies");
        }
        if live_in != self.live_in {
            return Err("live attempts by pool");
        }
        if failed_required != self.failed_required {
            return Err("required failures");
        }
        let exhausted = self.finished == Some(Outcome::BudgetExhausted);
        if exhausted && (self.unsettled() == 0 || self.live() > 0) {
            return Err("out of budget with nothing left to do, or with live attempts");
        }
        if self.finished.is_some() && !exhausted && self.unsettled() > 0 {
            return Err("finished with unsettled tasks");
        }
        self.check_sagas()
    }
}
