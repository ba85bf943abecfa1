//! The naive opinion on gates and on last failures that people judge. It shares no code with the kernel's.

use raddle_kernel::{Attempt, Cause, Event, FailureClass, Gate, TaskIx, TaskState, Time, Verdict};

use super::Reference;

/// The clock may move between a decision and its record.
const SLACK_MS: u64 = 50;

impl Reference {
    /// Whether nothing of the task may start before a person has been asked.
    pub(in super::super) fn must_ask(&self, task: TaskIx) -> bool {
        match self.story.task(task).asks.gate {
            Gate::None => false,
            Gate::Decides => true,
            Gate::Precedes => !self.approved[task.index()],
        }
    }

    fn is_asked(&self, task: TaskIx) -> bool {
        matches!(self.state(task), TaskState::Waiting { cause: Cause::Approval { .. }, .. })
    }

    pub(super) fn may_be_asked(&self, task: TaskIx, is_due: bool) -> bool {
        let before_start = match self.state(task) {
            TaskState::Ready => true,
            TaskState::Retrying { .. } => is_due,
            _ => self.is_asked(task),
        };
        before_start && self.story.task(task).asks.gate != Gate::None
    }

    /// Without regard to time.
    pub(super) fn hears_answer(&self, task: TaskIx, attempt: Attempt, verdict: Verdict) -> bool {
        let TaskState::Waiting { attempt: asked, .. } = self.state(task) else { return false };
        asked == attempt && (verdict == Verdict::No || self.is_asked(task))
    }

    pub(super) fn tell_gate(&mut self, event: Event, at: Time) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{event:?}: {what}"));
        if self.cancelled || self.finished.is_some() {
            return wrong("after the end");
        }
        match event {
            Event::GateOpened { task, attempt, expires_at } => {
                if attempt.0 != self.attempts[task.index()] + 1 || !self.may_be_asked(task, true) {
                    return wrong("asked where nobody is to be asked");
                }
                self.approved[task.index()] = false;
                if self.story.task(task).asks.gate == Gate::Decides {
                    self.attempts[task.index()] = attempt.0;
                }
                self.set(task, TaskState::Waiting { attempt, cause: Cause::Approval { expires_at } });
            }
            Event::GateApproved { task, attempt } => {
                match self.state(task) {
                    TaskState::Waiting { attempt: asked, cause: Cause::Approval { expires_at } }
                        if asked == attempt =>
                    {
                        if expires_at.is_some_and(|due| due.0 + SLACK_MS < at.0) {
                            return wrong("a yes after its time");
                        }
                    }
                    _ => return wrong("a yes to what was not asked"),
                }
                if self.story.task(task).asks.gate == Gate::Decides {
                    self.set(task, TaskState::Completed { attempt });
                } else {
                    self.approved[task.index()] = true;
                    self.set(task, TaskState::Ready);
                }
            }
            Event::GateRejected { task, attempt } => {
                let TaskState::Waiting { attempt: asked, cause } = self.state(task) else {
                    return wrong("a no to what does not wait");
                };
                if asked != attempt {
                    return wrong("a no to another attempt");
                }
                match cause {
                    Cause::Approval { .. } => self.set(task, failed(attempt, FailureClass::Permission)),
                    Cause::Doubt => self.set(task, failed(attempt, FailureClass::Lost)),
                    Cause::Exhausted { class } => self.fail_as_usual(task, attempt, class),
                }
            }
            Event::GateExpired { task, attempt } => match self.state(task) {
                TaskState::Waiting { attempt: asked, cause: Cause::Approval { expires_at: Some(due) } }
                    if asked == attempt && due <= at =>
                {
                    self.set(task, failed(attempt, FailureClass::Permission));
                }
                state => return wrong(&format!("expired while {state:?}")),
            },
            Event::GateFailed { task, attempt, class } => {
                if self.state(task) != TaskState::Ready || !self.must_ask(task) {
                    return wrong("could not be asked where nobody was to be asked");
                }
                self.fail_as_usual(task, attempt, class);
            }
            _ => return wrong("nothing about gates"),
        }
        Ok(())
    }

    fn fail_as_usual(&mut self, task: TaskIx, attempt: Attempt, class: FailureClass) {
        match self.story.task(task).spec.safe_to_fail {
            true => self.set(task, TaskState::FailedSafe { attempt, class }),
            false => self.set(task, failed(attempt, class)),
        }
    }
}

fn failed(attempt: Attempt, class: FailureClass) -> TaskState {
    TaskState::Failed { attempt, class }
}
