//! Gates: tasks about which a person is asked, and last failures that a person judges. Nothing passes here without a
//! recorded yes to the attempt that comes next; no answer, a late one, one for another attempt and a second one change
//! nothing. It does not know what is asked, who answers, or whether what was approved is still the same: the engine
//! compares that and asks again.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Run;
use crate::state::{Phase, Step};
use crate::{Attempt, Cause, Event, FailureClass, Gate, Refusal, TaskIx, TaskState, Time, Verdict};

impl Run {
    // ---- deciding ----

    pub(super) fn ask(&self, task: TaskIx, expires_at: Option<Time>) -> Result<Event, Refusal> {
        let open = !self.cancelled && self.finished.is_none();
        let may_start = self.is_startable(task) && !self.undoes(task);
        let before_start = self.asking.contains(task.0) || may_start || self.is_asked(task);
        if !open || !before_start || self.graph.gate(task) == Gate::None {
            return Err(Refusal::NotNow);
        }
        Ok(Event::GateOpened { task, attempt: self.next_attempt(task), expires_at })
    }

    pub(super) fn unfit(&self, task: TaskIx, class: FailureClass) -> Result<Event, Refusal> {
        if self.cancelled || self.finished.is_some() || !self.asking.contains(task.0) {
            return Err(Refusal::NotNow);
        }
        Ok(Event::GateFailed { task, attempt: self.next_attempt(task), class })
    }

    pub(super) fn answer(&self, task: TaskIx, attempt: Attempt, verdict: Verdict, now: Time) -> Result<Event, Refusal> {
        let TaskState::Waiting { attempt: asked, cause } = self.cells[task.index()].state else {
            return Err(Refusal::NotNow);
        };
        if self.cancelled || self.finished.is_some() {
            return Err(Refusal::NotNow);
        }
        let late = matches!(cause, Cause::Approval { expires_at: Some(at) } if at <= now);
        if asked != attempt || late {
            return Err(Refusal::Stale);
        }
        match (verdict, cause) {
            (Verdict::Yes, Cause::Approval { .. }) => Ok(Event::GateApproved { task, attempt }),
            // A yes says neither that what failed is tried again nor that it is done without.
            (Verdict::Yes, Cause::Doubt | Cause::Exhausted { .. }) => Err(Refusal::NotNow),
            (Verdict::No, _) => Ok(Event::GateRejected { task, attempt }),
        }
    }

    /// Silence becomes a no when its time has come. A run that is over for now does not change by waiting.
    pub(super) fn expire(&mut self, now: Time, events: &mut Vec<Event>) {
        if self.finished.is_some() {
            return;
        }
        let mut expired = Vec::new();
        while let Some(Reverse((at, task))) = self.expiring.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.expiring.pop();
            if let Some(attempt) = self.expires_at(task, at) {
                expired.push((task, attempt));
                // A no may close other gates where there are sagas: they are looked at in the next moment.
                if (0..self.cells.len() as u32).any(|i| self.graph.scope(TaskIx(i)) > 0) {
                    break;
                }
            }
        }
        // A question that was put twice may expire at one moment.
        expired.sort_unstable();
        expired.dedup();
        events.extend(expired.into_iter().map(|(task, attempt)| Event::GateExpired { task, attempt }));
    }

    fn expires_at(&self, task: TaskIx, at: Time) -> Option<Attempt> {
        match self.cells[task.index()].state {
            TaskState::Waiting { attempt, cause: Cause::Approval { expires_at: Some(due) } } if due == at => {
                Some(attempt)
            }
            _ => None,
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Time> {
        let valid = |Reverse((at, task)): &&Reverse<(Time, TaskIx)>| self.expires_at(*task, *at).is_some();
        let next = self.expiring.iter().filter(valid).map(|Reverse((at, _))| *at).min();
        next.filter(|_| self.finished.is_none())
    }

    /// Whether an answer about the task is waited for.
    pub(super) fn is_asked(&self, task: TaskIx) -> bool {
        matches!(self.cells[task.index()].state, TaskState::Waiting { cause: Cause::Approval { .. }, .. })
    }

    /// Whether what waits for an answer has never been further.
    pub(super) fn asked_first(&self, task: TaskIx) -> bool {
        self.cells[task.index()].attempts == u32::from(self.graph.gate(task) == Gate::Decides)
    }

    /// A task that is taken out or becomes another one takes its question with it, and a yes to it counts no more.
    pub(super) fn close_gate(&mut self, task: TaskIx) {
        if self.is_asked(task) && self.graph.gate(task) == Gate::Decides {
            // It had counted as an attempt.
            self.cells[task.index()].attempts -= 1;
        }
        self.cells[task.index()].approved = false;
    }

    /// A gate that was asked cannot be gone around: what hangs on it would run without a yes.
    pub(super) fn must_be_answered(&self, task: TaskIx) -> bool {
        self.graph.gate(task) == Gate::Decides && matches!(self.phase(task), Phase::Waiting | Phase::Failed)
    }

    /// Whether no attempt of the task may start before a yes.
    pub(super) fn must_ask(&self, task: TaskIx) -> bool {
        match self.graph.gate(task) {
            Gate::None => false,
            Gate::Decides => true,
            Gate::Precedes => !self.cells[task.index()].approved,
        }
    }

    /// The number of the attempt that comes next. A gate that is the whole task counts as one itself.
    fn next_attempt(&self, task: TaskIx) -> Attempt {
        Attempt(self.cells[task.index()].attempts + 1)
    }

    // ---- folding ----

    /// `None` when the event cannot follow.
    pub(super) fn fold_gate(&mut self, event: Event) -> Option<()> {
        match event {
            Event::GateOpened { task, attempt, expires_at } => {
                let waits_for_another = self.phase(task) == Phase::Waiting && !self.is_asked(task);
                if attempt != self.next_attempt(task) || self.graph.gate(task) == Gate::None || waits_for_another {
                    return None;
                }
                self.cells[task.index()].approved = false;
                self.set(task, Step::Ask, TaskState::Waiting { attempt, cause: Cause::Approval { expires_at } })?;
                if self.graph.gate(task) == Gate::Decides {
                    self.cells[task.index()].attempts = attempt.0;
                }
                self.expiring.extend(expires_at.map(|at| Reverse((at, task))));
            }
            Event::GateApproved { task, attempt } => {
                self.expect_asked(task, attempt)?;
                match self.graph.gate(task) {
                    Gate::None => return None,
                    Gate::Decides => {
                        self.set(task, Step::Pass, TaskState::Completed { attempt })?;
                        self.settle(task);
                    }
                    Gate::Precedes => {
                        self.cells[task.index()].approved = true;
                        self.set_ready(task, Step::Permit)?;
                    }
                }
            }
            Event::GateRejected { task, attempt } => match self.cells[task.index()].state {
                TaskState::Waiting { attempt: asked, cause } if asked == attempt => match cause {
                    // A no is never a safe failure: what hangs on the answer must not run.
                    Cause::Approval { .. } => self.refuse(task, attempt, FailureClass::Permission)?,
                    Cause::Doubt => self.refuse(task, attempt, FailureClass::Lost)?,
                    Cause::Exhausted { class } => self.fail_as_it_would(task, attempt, class)?,
                },
                _ => return None,
            },
            Event::GateExpired { task, attempt } => {
                self.expect_asked(task, attempt)?;
                self.refuse(task, attempt, FailureClass::Permission)?;
            }
            Event::GateFailed { task, attempt, class } => {
                if !self.asking.contains(task.0) || attempt != self.next_attempt(task) {
                    return None;
                }
                self.fail_as_it_would(task, attempt, class)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Ready again after it had been further, unless what it hangs on has failed meanwhile or is not needed: a safe failure that was
    /// tried again can end with a no.
    pub(super) fn set_ready(&mut self, task: TaskIx, step: Step) -> Option<()> {
        self.set(task, step, TaskState::Ready)?;
        if let Some(by) = self.blame(task) {
            self.set(task, Step::Block, TaskState::Blocked { by })?;
            self.settle(task);
        } else if let Some(by) = self.omitter(task) {
            self.omit(task, by);
        }
        Some(())
    }

    fn expect_asked(&self, task: TaskIx, attempt: Attempt) -> Option<()> {
        match self.cells[task.index()].state {
            TaskState::Waiting { attempt: asked, cause: Cause::Approval { .. } } if asked == attempt => Some(()),
            _ => None,
        }
    }

    fn refuse(&mut self, task: TaskIx, attempt: Attempt, class: FailureClass) -> Option<()> {
        self.set(task, Step::Refuse, TaskState::Failed { attempt, class })?;
        self.settle(task);
        Some(())
    }

    fn fail_as_it_would(&mut self, task: TaskIx, attempt: Attempt, class: FailureClass) -> Option<()> {
        if !self.graph.safe_to_fail(task) {
            return self.refuse(task, attempt, class);
        }
        self.set(task, Step::RefuseSafely, TaskState::FailedSafe { attempt, class })?;
        self.settle(task);
        Some(())
    }

    // ---- what others may ask ----

    /// The first ready task about which a person has to be asked, by number.
    pub fn next_question(&self) -> Option<TaskIx> {
        self.asking.first_from(0).map(TaskIx)
    }
}
