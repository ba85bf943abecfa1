//! A second, naive opinion on what a run's events mean: after every event everything is worked out again from scratch
//! until nothing changes any more. It shares the kernel's words and none of its code, does not know the engine, and
//! refuses events that break a promise, however legal they look.

mod gates;

use std::cmp::Reverse;
use std::rc::Rc;

use raddle_kernel::{
    Attempt, Cause, Event, FailureClass, Gate, Input, OnDoubt, Outcome, RetryPolicy, Run, Strength, TaskIx, TaskState,
    Time,
};

use super::story::{Story, lasts};

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    story: Rc<Story>,
    states: Vec<TaskState>,
    attempts: Vec<u32>,
    failures: Vec<u32>,
    /// A yes to the next attempts.
    approved: Vec<bool>,
    begun: bool,
    cancelled: bool,
    finished: Option<Outcome>,
}

/// A person's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Try it again.
    Retry,
    /// Go on without it.
    Skip,
}

/// Whether nothing more happens to the task by itself.
pub(super) fn is_settled(state: TaskState) -> bool {
    use TaskState::*;
    matches!(
        state,
        Completed { .. }
            | Failed { .. }
            | FailedSafe { .. }
            | Blocked { .. }
            | Skipped
            | Cancelled
            | Omitted { .. }
            | Removed
    )
}

/// Those who failed and because of whom the task cannot run, if there are any.
fn culprits(story: &Story, state: &dyn Fn(TaskIx) -> TaskState, task: TaskIx) -> Vec<TaskIx> {
    let (mut found, mut seen, mut look) = (Vec::new(), vec![task], vec![task]);
    while let Some(task) = look.pop() {
        for (dependency, _) in story.task(task).depends_on.iter().filter(|d| d.1 == Strength::Hard) {
            match state(*dependency) {
                TaskState::Failed { .. } | TaskState::Cancelled => found.push(*dependency),
                TaskState::Blocked { .. } if !seen.contains(dependency) => {
                    seen.push(*dependency);
                    look.push(*dependency);
                }
                _ => {}
            }
        }
    }
    found
}

/// The task whose condition makes this one unneeded, once everything before it has settled and nothing has failed.
fn omitter(story: &Story, state: &dyn Fn(TaskIx) -> TaskState, task: TaskIx) -> Option<TaskIx> {
    let hard = story.task(task).depends_on.iter().filter(|d| d.1 == Strength::Hard);
    hard.into_iter().find_map(|d| match state(d.0) {
        TaskState::Omitted { by } => Some(by),
        _ => None,
    })
}

/// Whether a person's word can be heard.
pub(super) fn is_allowed(story: &Story, state: &dyn Fn(TaskIx) -> TaskState, word: Word, task: TaskIx) -> bool {
    use TaskState::*;
    let gate = story.task(task).asks.gate;
    match (word, state(task)) {
        // A gate is answered: neither asked anew nor gone around.
        (Word::Retry, Waiting { cause: Cause::Approval { .. }, .. }) => false,
        (Word::Skip, Failed { .. } | Waiting { .. }) if gate == Gate::Decides => false,
        (Word::Retry, Failed { .. } | FailedSafe { .. } | Cancelled | Waiting { .. }) => {
            culprits(story, state, task).is_empty()
        }
        (Word::Skip, Failed { .. } | Waiting { .. } | Blocked { .. } | Pending | Ready | Retrying { .. }) => true,
        _ => false,
    }
}

/// How states stand as a whole.
pub(super) fn outcome(story: &Story, states: &[TaskState], cancelled: bool) -> Outcome {
    use TaskState::*;
    let any = |wanted: fn(&TaskState) -> bool| states.iter().any(wanted);
    if !states.iter().all(|s| is_settled(*s)) {
        let moves = any(|s| matches!(s, Ready | Running { .. } | Retrying { .. }));
        return if !moves && any(|s| matches!(s, Waiting { .. })) { Outcome::Waiting } else { Outcome::Running };
    }
    // Failing "over soft dependencies only": somebody hangs on the task, and everybody who does hangs softly.
    let required = |task: TaskIx| {
        let hanging = || story.tasks.iter().flat_map(|t| &t.depends_on).filter(move |d| d.0 == task);
        hanging().count() == 0 || hanging().any(|d| d.1 == Strength::Hard)
    };
    let fatal = |(task, state): (TaskIx, &TaskState)| match state {
        Failed { .. } => required(task),
        Blocked { .. } | Cancelled => true,
        _ => false,
    };
    if cancelled {
        Outcome::Cancelled
    } else if story.all().zip(states).any(fatal) {
        Outcome::Failed
    } else if any(|s| matches!(s, Failed { .. } | FailedSafe { .. })) {
        Outcome::Degraded
    } else {
        Outcome::Succeeded
    }
}

/// Shortest and longest delay before retry number `retry`, with real numbers instead of thousandths.
fn delay_bounds(policy: &RetryPolicy, retry: u32) -> (f64, f64) {
    let growth = (f64::from(policy.factor_milli) / 1000.0).powi(retry as i32 - 1);
    let longest = (f64::from(policy.initial_ms) * growth).min(f64::from(policy.max_delay_ms));
    let shortest = longest * (1.0 - f64::from(policy.jitter_milli) / 1000.0);
    // The kernel counts in whole milliseconds and rounds at each step.
    (shortest - 2.0 - f64::from(retry) * 4.0, longest + 1.0)
}

impl Reference {
    /// Before anything happened.
    pub(super) fn new(story: Rc<Story>) -> Self {
        let n = story.tasks.len();
        Reference {
            states: vec![TaskState::Pending; n],
            attempts: vec![0; n],
            failures: vec![0; n],
            approved: vec![false; n],
            begun: false,
            cancelled: false,
            finished: None,
            story,
        }
    }

    fn set(&mut self, task: TaskIx, state: TaskState) {
        self.states[task.index()] = state;
    }

    /// Takes an event in, or says which promise it breaks.
    pub(super) fn tell(&mut self, event: Event, at: Time) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{event:?}: {what}"));
        if self.begun == (event == Event::RunStarted) {
            return wrong("before the start, or a second start");
        }
        match event {
            Event::RunStarted => self.begun = true,
            Event::AttemptStarted { task, attempt } => {
                match self.state(task) {
                    TaskState::Ready => {}
                    TaskState::Retrying { at: due, .. } if due <= at => {}
                    state => return wrong(&format!("started while {state:?}")),
                }
                if self.must_ask(task) {
                    return wrong("an attempt behind a gate without a yes");
                }
                if attempt.0 != self.attempts[task.index()] + 1 || self.cancelled || self.finished.is_some() {
                    return wrong("wrong number, or after the end");
                }
                self.attempts[task.index()] = attempt.0;
                self.set(task, TaskState::Running { attempt });
            }
            Event::AttemptSucceeded { task, attempt } => {
                self.expect_running(task, attempt)?;
                self.set(task, TaskState::Completed { attempt });
            }
            Event::AttemptFailed { task, attempt, class, retry_at } => {
                self.failed(task, attempt, class, retry_at, at)?
            }
            Event::AttemptAbandoned { task, attempt } => {
                self.expect_running(task, attempt)?;
                let spec = &self.story.task(task).spec;
                if spec.side_effects && spec.on_doubt != OnDoubt::Rerun {
                    return wrong("an effectful attempt of unknown fate goes back to the queue unasked");
                }
                self.set(task, TaskState::Ready);
            }
            Event::AttemptDoubted { task, attempt } => {
                self.expect_running(task, attempt)?;
                let spec = &self.story.task(task).spec;
                if !spec.side_effects || spec.on_doubt != OnDoubt::Ask {
                    return wrong("asked although nothing needs an answer");
                }
                self.set(task, TaskState::Waiting { attempt, cause: Cause::Doubt });
            }
            Event::TaskRetried { task } => {
                self.hear(Word::Retry, task)?;
                self.failures[task.index()] = 0;
                self.approved[task.index()] = false;
                // Whether it is ready at once is worked out below like everybody's.
                self.set(task, TaskState::Pending);
            }
            Event::TaskSkipped { task } => {
                self.hear(Word::Skip, task)?;
                self.set(task, TaskState::Skipped);
            }
            Event::TaskOmitted { task } => {
                if !self.may_be_omitted(task) || self.story.task(task).condition != Some(false) {
                    return wrong("it is needed, or its turn has not come");
                }
                self.set(task, TaskState::Omitted { by: task });
            }
            Event::TaskAdopted { task, attempt } => {
                if !matches!(self.state(task), TaskState::Pending | TaskState::Ready) {
                    return wrong("taken over although it went further here");
                }
                self.attempts[task.index()] = attempt.0;
                self.set(task, TaskState::Completed { attempt });
            }
            Event::CompensationStarted { .. }
            | Event::CompensationSucceeded { .. }
            | Event::CompensationFailed { .. }
            | Event::CompensationAbandoned { .. } => return wrong("nothing is undone in these stories"),
            Event::RunCancelled => {
                self.cancelled = true;
                for task in self.story.all() {
                    if !is_settled(self.state(task)) && !matches!(self.state(task), TaskState::Running { .. }) {
                        self.set(task, TaskState::Cancelled);
                    }
                }
            }
            Event::RunFinished { outcome: said @ Outcome::BudgetExhausted } => {
                let live = self.states.iter().any(|s| matches!(s, TaskState::Running { .. }));
                let settled = self.states.iter().all(|s| is_settled(*s));
                if live || settled || self.cancelled || self.finished.is_some() {
                    return wrong("out of budget, while something runs or nothing is left to do");
                }
                self.finished = Some(said);
            }
            Event::RunReopened => match self.finished {
                None | Some(Outcome::BudgetExhausted) => self.finished = None,
                Some(other) => return wrong(&format!("another budget for a run that ended as {other:?}")),
            },
            Event::RunFinished { outcome: said } => {
                let ought = outcome(&self.story, &self.states, self.cancelled);
                if said != ought || matches!(ought, Outcome::Running | Outcome::Waiting) || self.finished.is_some() {
                    return wrong(&format!("the states say {ought:?}"));
                }
                self.finished = Some(said);
            }
            Event::GateOpened { .. }
            | Event::GateApproved { .. }
            | Event::GateRejected { .. }
            | Event::GateExpired { .. }
            | Event::GateFailed { .. } => self.tell_gate(event, at)?,
        }
        self.work_out();
        Ok(())
    }

    /// A ready task of the same pool that comes before this one: by priority, by the longer way ahead, by number.
    pub(super) fn passed_over(&self, task: TaskIx) -> Option<TaskIx> {
        let story = &self.story;
        let place = |t: TaskIx| (story.task(t).spec.priority, story.way_ahead(t), Reverse(t));
        let ready = |t: &TaskIx| matches!(self.state(*t), TaskState::Ready) && !self.must_ask(*t);
        let beside = |t: &TaskIx| story.task(*t).spec.pool == story.task(task).spec.pool;
        story.all().find(|t| beside(t) && ready(t) && place(*t) > place(task))
    }

    fn expect_running(&self, task: TaskIx, attempt: Attempt) -> Result<(), String> {
        match self.state(task) {
            TaskState::Running { attempt: live } if live == attempt => Ok(()),
            state => Err(format!("a result of attempt {} of task {} while {state:?}", attempt.0, task.0)),
        }
    }

    /// While a cancelled run still has live attempts it does not open again.
    fn hears(&self, word: Word, task: TaskIx) -> bool {
        let ending = self.cancelled && self.states.iter().any(|s| matches!(s, TaskState::Running { .. }));
        !ending && is_allowed(&self.story, &|t| self.state(t), word, task)
    }

    fn hear(&mut self, word: Word, task: TaskIx) -> Result<(), String> {
        if !self.hears(word, task) {
            return Err(format!("{word:?} of task {} while {:?}", task.0, self.state(task)));
        }
        self.finished = None;
        self.cancelled = false;
        Ok(())
    }

    fn failed(
        &mut self,
        task: TaskIx,
        attempt: Attempt,
        class: FailureClass,
        retry_at: Option<Time>,
        at: Time,
    ) -> Result<(), String> {
        self.expect_running(task, attempt)?;
        let story = Rc::clone(&self.story);
        let plot = story.task(task);
        let failures = self.failures[task.index()];
        let hopeless = [
            FailureClass::Permission,
            FailureClass::Input,
            FailureClass::Budget,
            FailureClass::Cancelled,
            FailureClass::Lost,
        ];
        let wanted = !hopeless.contains(&class) && !lasts(task, class) && plot.retry.classes & (1 << class as u8) != 0;
        let each = u32::from(plot.retry.max) + 1;
        let due = !self.cancelled && wanted && failures + 1 < each * u32::from(plot.retry.rounds);
        if due != retry_at.is_some() {
            return Err(format!("task {} failed {failures} times before, now {class:?}: retry {retry_at:?}", task.0));
        }
        self.failures[task.index()] += 1;
        let state = match retry_at {
            Some(next) => {
                let (least, most) = delay_bounds(&plot.retry, ((failures + 1) % each).max(1));
                let gap = next.0 as f64 - at.0 as f64;
                if gap < least || gap > most {
                    return Err(format!("task {} waits {gap} ms, promised {least} to {most}", task.0));
                }
                TaskState::Retrying { attempt, at: next }
            }
            None if self.cancelled => TaskState::Cancelled,
            None if plot.asks.escalates => TaskState::Waiting { attempt, cause: Cause::Exhausted { class } },
            None if plot.spec.safe_to_fail => TaskState::FailedSafe { attempt, class },
            None => TaskState::Failed { attempt, class },
        };
        self.set(task, state);
        Ok(())
    }

    /// Who is blocked and who is ready, again and again until nothing changes.
    fn work_out(&mut self) {
        let story = Rc::clone(&self.story);
        loop {
            let before = self.states.clone();
            for task in story.all() {
                let culprit = culprits(&story, &|t| self.state(t), task).first().copied();
                match (self.state(task), culprit) {
                    (TaskState::Pending | TaskState::Ready | TaskState::Blocked { .. }, Some(by)) => {
                        self.set(task, TaskState::Blocked { by });
                    }
                    (TaskState::Blocked { .. }, None) => self.set(task, TaskState::Pending),
                    (TaskState::Pending, None) if self.is_free(&story, task) => {
                        let unneeded = omitter(&story, &|t| self.state(t), task);
                        self.set(task, unneeded.map_or(TaskState::Ready, |by| TaskState::Omitted { by }));
                    }
                    _ => {}
                }
            }
            if self.states == before {
                return;
            }
        }
    }

    fn may_be_omitted(&self, task: TaskIx) -> bool {
        let over = self.cancelled || self.finished.is_some();
        !over && self.state(task) == TaskState::Ready && self.attempts[task.index()] == 0
    }

    fn is_free(&self, story: &Story, task: TaskIx) -> bool {
        let settled = |t: TaskIx| is_settled(self.state(t));
        story.task(task).depends_on.iter().all(|d| settled(d.0))
            && (!story.waves || story.all().all(|t| story.level(t) >= story.level(task) || settled(t)))
    }

    /// What decides how the run can go on, in a form that can be looked up.
    pub(super) fn key(&self) -> String {
        let Reference { states, attempts, failures, approved, begun, cancelled, finished, .. } = self;
        format!("{states:?}{attempts:?}{failures:?}{approved:?}{begun}{cancelled}{finished:?}")
    }

    /// State of a task.
    pub(super) fn state(&self, task: TaskIx) -> TaskState {
        self.states[task.index()]
    }

    /// Whether the input can be heard.
    pub(super) fn allows(&self, input: Input, is_due: bool) -> bool {
        let over = self.cancelled || self.finished.is_some();
        let running = |task: TaskIx, attempt| self.state(task) == TaskState::Running { attempt };
        if matches!(input, Input::Begin) || !self.begun {
            return matches!(input, Input::Begin) && !self.begun;
        }
        match input {
            Input::Begin | Input::Tick => true,
            Input::Admit { task } => match self.state(task) {
                TaskState::Ready => !over && !self.must_ask(task),
                TaskState::Retrying { .. } => is_due && !over,
                _ => false,
            },
            Input::Succeeded { task, attempt } | Input::Lost { task, attempt } => running(task, attempt),
            Input::Failed { task, attempt, .. } => running(task, attempt),
            Input::Retry { task } => self.hears(Word::Retry, task),
            Input::Skip { task } => self.hears(Word::Skip, task),
            Input::Omit { task } => self.may_be_omitted(task),
            Input::Cancel => !over,
            Input::Adopt { task, .. } => {
                self.finished.is_none() && matches!(self.state(task), TaskState::Pending | TaskState::Ready)
            }
            Input::Exhaust => {
                let live = self.states.iter().any(|s| matches!(s, TaskState::Running { .. }));
                !over && !live && !self.states.iter().all(|s| is_settled(*s))
            }
            Input::Reopen => matches!(self.finished, None | Some(Outcome::BudgetExhausted)),
            Input::Ask { task, .. } => !over && self.may_be_asked(task, is_due),
            Input::Unfit { task, .. } => !over && self.state(task) == TaskState::Ready && self.must_ask(task),
            Input::Answer { task, attempt, verdict } => !over && self.hears_answer(task, attempt, verdict),
        }
    }

    /// Says where a kernel's run differs from this one.
    pub(super) fn compare(&self, run: &Run) -> Result<(), String> {
        for task in self.story.all() {
            let (ours, theirs) = (self.state(task), run.state(task));
            let same = match (ours, theirs) {
                // Several may be to blame; who is named must be one of them.
                (TaskState::Blocked { .. }, TaskState::Blocked { by }) => {
                    culprits(&self.story, &|t| self.state(t), task).contains(&by)
                }
                (a, b) => a == b,
            };
            if !same || self.attempts[task.index()] != run.attempts(task) {
                return Err(format!("task {} is {theirs:?}, the reference says {ours:?}", task.0));
            }
            let quiet = self.cancelled || self.finished.is_some();
            if matches!(theirs, TaskState::Ready) && !quiet && run.is_startable(task) == self.must_ask(task) {
                return Err(format!("task {} is ready and cannot start, or can unasked", task.0));
            }
        }
        let ought = outcome(&self.story, &self.states, self.cancelled);
        if run.outcome() != ought || run.finished() != self.finished {
            return Err(format!("stands as {:?}, the reference says {ought:?}", run.outcome()));
        }
        let moves =
            |s: &TaskState| matches!(s, TaskState::Ready | TaskState::Running { .. } | TaskState::Retrying { .. });
        if self.begun && ought == Outcome::Running && !self.states.iter().any(moves) {
            return Err("nothing moves and nobody is waited for".into());
        }
        let owed = run.outstanding().count();
        let live = self.states.iter().filter(|s| matches!(s, TaskState::Running { .. })).count();
        if owed != live { Err(format!("{owed} attempts are owed, {live} are live")) } else { Ok(()) }
    }
}

/// The states in which a calm story ends, without any engine, clock or event: each task once, after those it hangs on.
pub(super) fn foretell(story: &Story) -> Vec<TaskState> {
    let mut ends: Vec<Option<TaskState>> = vec![None; story.tasks.len()];
    while ends.iter().any(Option::is_none) {
        for task in story.all() {
            let plot = story.task(task);
            if plot.depends_on.iter().all(|d| ends[d.0.index()].is_some()) {
                let state = |t: TaskIx| ends[t.index()].unwrap_or(TaskState::Pending);
                let end = match (culprits(story, &state, task).first(), omitter(story, &state, task)) {
                    (Some(by), _) => TaskState::Blocked { by: *by },
                    (None, Some(by)) => TaskState::Omitted { by },
                    (None, None) if plot.condition == Some(false) => TaskState::Omitted { by: task },
                    (None, None) => foretell_task(story, task),
                };
                ends[task.index()] = Some(end);
            }
        }
    }
    ends.into_iter().flatten().collect()
}

fn foretell_task(story: &Story, task: TaskIx) -> TaskState {
    let plot = story.task(task);
    for number in 1.. {
        let attempt = Attempt(number);
        let Some(class) = story.act(task, attempt).deed.failure() else { return TaskState::Completed { attempt } };
        let again = class.retryable()
            && class != FailureClass::Lost
            && !lasts(task, class)
            && plot.retry.classes & (1 << class as u8) != 0;
        if again && number < (u32::from(plot.retry.max) + 1) * u32::from(plot.retry.rounds) {
            continue;
        }
        return match plot.spec.safe_to_fail {
            true => TaskState::FailedSafe { attempt, class },
            false => TaskState::Failed { attempt, class },
        };
    }
    unreachable!("retries are bounded")
}
