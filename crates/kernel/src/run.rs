//! One run as a fold of its events: the states of all tasks, who may start, what the run is owed. It does not know
//! what tasks do, how much may run at once (admission asks and decides) or what time it is. One decision: every state
//! changes through `set`, which keeps the ready sets, the live set, the tallies and the waves true.

mod check;
mod failures;
mod gates;
mod omit;
mod outcome;
mod patch;
mod saga;

pub use outcome::Outcome;
pub use patch::Unpatchable;

use alloc::collections::BinaryHeap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::ready::Bitmap;
use crate::state::{Phase, Step, next};
use crate::{
    Attempt, Cause, Event, FailureClass, Graph, Input, OnDoubt, Pool, Refusal, Strength, TaskIx, TaskState, Time,
};

/// What the run is owed; idempotent by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "task, attempt, class and the like speak for themselves")]
pub enum Command {
    /// The attempt should be live.
    Run { task: TaskIx, attempt: Attempt },
    /// The attempt should be ended.
    Stop { task: TaskIx, attempt: Attempt },
}

/// Stored events that cannot follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Illegal {
    /// The event.
    pub event: Event,
    /// The state of its task at that point.
    pub state: Option<TaskState>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Run {
    graph: Arc<Graph>,
    cells: Vec<Cell>,
    ready: Vec<Bitmap>,
    live: Bitmap,
    live_in: Vec<u32>,
    due: BinaryHeap<Reverse<(Time, TaskIx)>>,
    /// Ready tasks about which a person has to be asked first.
    asking: Bitmap,
    /// When gates expire, those that were answered meanwhile too.
    expiring: BinaryHeap<Reverse<(Time, TaskIx)>>,
    tally: [u32; Phase::COUNT],
    unsettled: u32,
    /// Failed tasks that something hangs hard on, or nothing at all hangs on.
    failed_required: u32,
    unsettled_in_level: Vec<u32>,
    wave: u32,
    begun: bool,
    cancelled: bool,
    finished: Option<Outcome>,
    touched: Vec<TaskIx>,
    saga: saga::Undo,
    /// Omitted, and their dependents do not know it yet; empty between events.
    omitted: Vec<TaskIx>,
}

/// What is known of one task; looked at together, so it lies together.
#[derive(Debug, Clone, Copy)]
struct Cell {
    state: TaskState,
    /// Dependencies that have not settled.
    unmet: u32,
    /// Attempts ever started.
    attempts: u32,
    /// Failures since the last word of a person: what retries are counted by.
    failures: u16,
    /// A person said yes to what its next attempt does.
    approved: bool,
}

impl Run {
    /// A run that has not begun.
    pub fn new(graph: Arc<Graph>) -> Self {
        let n = graph.len();
        let mut tally = [0; Phase::COUNT];
        tally[Phase::Pending as usize] = n as u32;
        let mut unsettled_in_level = Vec::new();
        if graph.in_waves() {
            unsettled_in_level = (0..graph.levels()).map(|l| graph.tasks_of_level(l).len() as u32).collect();
        }
        Run {
            cells: (0..n as u32)
                .map(|i| Cell {
                    state: TaskState::Pending,
                    unmet: graph.predecessors(TaskIx(i)).len() as u32,
                    attempts: 0,
                    failures: 0,
                    approved: false,
                })
                .collect(),
            unsettled: n as u32,
            ready: (0..graph.pools()).map(|p| Bitmap::new(graph.pool_size(Pool(p as u8)))).collect(),
            live: Bitmap::new(n),
            live_in: vec![0; graph.pools()],
            due: BinaryHeap::new(),
            asking: Bitmap::new(n),
            expiring: BinaryHeap::new(),
            tally,
            failed_required: 0,
            unsettled_in_level,
            wave: 0,
            begun: false,
            cancelled: false,
            finished: None,
            touched: Vec::new(),
            saga: saga::Undo::new(&graph),
            omitted: Vec::new(),
            graph,
        }
    }

    /// Takes a claim of the world: appends the events that follow to `events` and applies them, or refuses and
    /// changes nothing.
    pub fn handle(&mut self, input: Input, now: Time, events: &mut Vec<Event>) -> Result<(), Refusal> {
        let first = events.len();
        self.decide(input, now, events)?;
        for event in &events[first..] {
            self.apply(*event).expect("decide proposes legal events only");
        }
        if self.begun && self.finished.is_none() && self.unsettled() == 0 {
            let event = Event::RunFinished { outcome: self.outcome() };
            events.push(event);
            self.apply(event).expect("a run without unsettled tasks can finish");
        }
        Ok(())
    }

    fn decide(&mut self, input: Input, now: Time, events: &mut Vec<Event>) -> Result<(), Refusal> {
        if let Some(task) = input.task()
            && task.index() >= self.cells.len()
        {
            return Err(Refusal::UnknownTask);
        }
        if self.begun == matches!(input, Input::Begin) {
            return Err(Refusal::WrongTime);
        }
        match input {
            Input::Begin => events.push(Event::RunStarted),
            Input::Tick => {
                self.release_due(now);
                self.expire(now, events);
            }
            Input::Admit { task } => {
                if self.cancelled || self.finished.is_some() || !self.is_startable(task) {
                    return Err(Refusal::NotNow);
                }
                let attempt = Attempt(self.cells[task.index()].attempts + 1);
                events.push(match self.phase(task).is_owed_undoing() {
                    true => Event::CompensationStarted { task, attempt },
                    false => Event::AttemptStarted { task, attempt },
                });
            }
            Input::Succeeded { task, attempt } => {
                self.expect_live(task, attempt)?;
                events.push(match self.is_undoing(task) {
                    true => Event::CompensationSucceeded { task, attempt },
                    false => Event::AttemptSucceeded { task, attempt },
                });
            }
            Input::Failed { task, attempt, class, noise, lasting } => {
                self.expect_live(task, attempt)?;
                let retry_at = self.retry_at(task, class, now, noise).filter(|_| !lasting);
                events.push(match self.is_undoing(task) {
                    true => Event::CompensationFailed { task, attempt, class, retry_at },
                    false => Event::AttemptFailed { task, attempt, class, retry_at },
                });
            }
            Input::Lost { task, attempt } => {
                self.expect_live(task, attempt)?;
                events.push(if self.is_undoing(task) {
                    self.undo_fate(task, attempt)
                } else {
                    self.fate(task, attempt)
                });
            }
            Input::Retry { task } => {
                self.expect_retriable(task).ok_or(Refusal::NotNow)?;
                events.push(Event::TaskRetried { task });
            }
            Input::Skip { task } => {
                self.expect_skippable(task).ok_or(Refusal::NotNow)?;
                events.push(Event::TaskSkipped { task });
            }
            Input::Cancel => {
                if self.cancelled || self.finished.is_some() {
                    return Err(Refusal::NotNow);
                }
                events.push(Event::RunCancelled);
            }
            Input::Exhaust => {
                self.expect_exhaustible().ok_or(Refusal::NotNow)?;
                events.push(Event::RunFinished { outcome: Outcome::BudgetExhausted });
            }
            Input::Reopen => {
                self.expect_reopenable().ok_or(Refusal::NotNow)?;
                events.push(Event::RunReopened);
            }
            Input::Omit { task } => {
                self.expect_omittable(task).ok_or(Refusal::NotNow)?;
                events.push(Event::TaskOmitted { task });
            }
            Input::Adopt { task, attempt } => {
                next(self.phase(task), Step::Adopt).filter(|_| self.finished.is_none()).ok_or(Refusal::NotNow)?;
                events.push(Event::TaskAdopted { task, attempt });
            }
            Input::Ask { task, expires_at } => events.push(self.ask(task, expires_at)?),
            Input::Unfit { task, class } => events.push(self.unfit(task, class)?),
            Input::Answer { task, attempt, verdict } => events.push(self.answer(task, attempt, verdict, now)?),
        }
        Ok(())
    }

    fn expect_live(&self, task: TaskIx, attempt: Attempt) -> Result<(), Refusal> {
        match self.cells[task.index()].state {
            TaskState::Running { attempt: live } | TaskState::Undoing { attempt: live } if live == attempt => Ok(()),
            _ => Err(Refusal::Stale),
        }
    }

    /// A task cannot be tried again before what failed above it: it would run without its inputs.
    fn expect_retriable(&self, task: TaskIx) -> Option<()> {
        if self.is_ending() || self.is_asked(task) {
            return None;
        }
        if self.phase(task) == Phase::NotUndone || self.is_broken(self.graph.scope(task)) {
            return self.expect_scope_retriable(task);
        }
        next(self.phase(task), Step::Retry).filter(|_| self.blame(task).is_none()).map(|_| ())
    }

    fn expect_skippable(&self, task: TaskIx) -> Option<()> {
        // Of a saga that is undone nothing is left to go on without; what could not be undone may be seen to by hand.
        let step = if self.is_broken(self.graph.scope(task)) { Step::AcceptUndone } else { Step::Skip };
        let step = next(self.phase(task), step).filter(|_| !self.is_ending());
        step.filter(|_| !self.must_be_answered(task)).map(|_| ())
    }

    /// Money cannot run out of a run that has nothing left to do, nor while what runs may still bring its result.
    fn expect_exhaustible(&self) -> Option<()> {
        let open = self.finished.is_none() && !self.cancelled && self.unsettled() > 0;
        // Undoing needs no money.
        (open && self.live() == 0 && self.owed_undoing() == 0).then_some(())
    }

    /// Another budget is for a run that has not ended, or ended for want of one.
    fn expect_reopenable(&self) -> Option<()> {
        matches!(self.finished, None | Some(Outcome::BudgetExhausted)).then_some(())
    }

    /// A person ended the run and its attempts are being stopped. It opens again only when the last of them has gone:
    /// what is owed a stop must not be owed a run a moment later.
    fn is_ending(&self) -> bool {
        self.cancelled && self.live() > 0
    }

    /// When a failure of that class is tried again, if it is.
    fn retry_at(&self, task: TaskIx, class: FailureClass, now: Time, noise: u32) -> Option<Time> {
        let undoing = self.is_undoing(task);
        let policy = if undoing { self.graph.undo_retry(task) } else { self.graph.retry(task) };
        let next = policy.next(self.failures(task))?;
        // An attempt of unknown fate is not repeated silently, whatever the policy says.
        let wanted = !self.cancelled
            && (undoing || !self.is_broken(self.graph.scope(task)))
            && class != FailureClass::Lost
            && class.retryable()
            && policy.classes & (1 << class as u8) != 0;
        wanted.then(|| Time(now.0.saturating_add(policy.delay_ms(next, noise))))
    }

    /// Whether a failure of that class would be the task's last: what could have been tried again is not any more.
    pub fn gives_up(&self, task: TaskIx, class: FailureClass) -> bool {
        !self.cancelled && class.retryable() && self.retry_at(task, class, Time(0), 0).is_none()
    }

    /// What becomes of an attempt whose engine died: effect-free ones run again, others as the task says.
    fn fate(&self, task: TaskIx, attempt: Attempt) -> Event {
        let doubt = if self.graph.side_effects(task) { self.graph.on_doubt(task) } else { OnDoubt::Rerun };
        let undone = doubt == OnDoubt::Compensate && self.graph.can_undo(task);
        if self.cancelled || self.is_broken(self.graph.scope(task)) && !undone {
            return Event::AttemptFailed { task, attempt, class: FailureClass::Cancelled, retry_at: None };
        }
        match doubt {
            OnDoubt::Rerun => Event::AttemptAbandoned { task, attempt },
            OnDoubt::Ask => Event::AttemptDoubted { task, attempt },
            OnDoubt::Fail => Event::AttemptFailed { task, attempt, class: FailureClass::Lost, retry_at: None },
            OnDoubt::Compensate if undone => {
                Event::AttemptFailed { task, attempt, class: FailureClass::Lost, retry_at: None }
            }
            OnDoubt::Compensate => Event::AttemptDoubted { task, attempt },
        }
    }

    /// Folds one event in. Refuses what cannot follow from the state, which means that stored data is wrong.
    pub fn apply(&mut self, event: Event) -> Result<(), Illegal> {
        let task = event.task();
        if task.is_some_and(|t| t.index() >= self.cells.len()) || self.begun == (event == Event::RunStarted) {
            return Err(Illegal { event, state: None });
        }
        let folded = self.fold(event);
        if folded.is_none() {
            return Err(Illegal { event, state: task.map(|t| self.cells[t.index()].state) });
        }
        self.see_it_through();
        Ok(())
    }

    /// `None` when the table has no such step.
    fn fold(&mut self, event: Event) -> Option<()> {
        match event {
            Event::RunStarted => {
                self.begun = true;
                for i in 0..self.cells.len() as u32 {
                    self.release(TaskIx(i));
                }
            }
            Event::AttemptStarted { task, attempt } => {
                if attempt.0 != self.cells[task.index()].attempts + 1 || self.must_ask(task) {
                    return None;
                }
                self.set(task, Step::Start, TaskState::Running { attempt })?;
                self.cells[task.index()].attempts = attempt.0;
            }
            Event::AttemptSucceeded { task, attempt } => {
                self.expect_live(task, attempt).ok()?;
                self.set(task, Step::Succeed, TaskState::Completed { attempt })?;
                self.completed(task);
                self.settle(task);
            }
            Event::AttemptFailed { task, attempt, class, retry_at } => {
                self.expect_live(task, attempt).ok()?;
                self.cells[task.index()].failures = self.cells[task.index()].failures.saturating_add(1);
                self.failed(task, attempt, class, retry_at)?;
            }
            Event::AttemptAbandoned { task, attempt } => {
                self.expect_live(task, attempt).ok()?;
                self.set_ready(task, Step::Abandon)?;
            }
            Event::AttemptDoubted { task, attempt } => {
                self.expect_live(task, attempt).ok()?;
                self.set(task, Step::Doubt, TaskState::Waiting { attempt, cause: Cause::Doubt })?;
            }
            Event::TaskRetried { task } => {
                let was_settled = self.phase(task).settled();
                self.expect_retriable(task)?;
                self.reopen();
                if self.phase(task) == Phase::NotUndone || self.is_broken(self.graph.scope(task)) {
                    return self.scope_retried(task);
                }
                self.begin_anew(task);
                self.cells[task.index()].failures = 0;
                self.cells[task.index()].approved = false;
                self.set(task, Step::Retry, TaskState::Pending)?;
                if was_settled {
                    self.unsettle(task);
                }
                self.release(task);
            }
            Event::TaskSkipped { task } => {
                let was_settled = self.phase(task).settled();
                self.expect_skippable(task)?;
                self.reopen();
                if let TaskState::NotUndone { attempt, .. } = self.state(task) {
                    return self.set(task, Step::AcceptUndone, TaskState::Compensated { attempt });
                }
                self.set(task, Step::Skip, TaskState::Skipped)?;
                if was_settled {
                    self.unblock_behind(task);
                } else {
                    self.settle(task);
                }
            }
            Event::TaskAdopted { .. } if self.finished.is_some() => return None,
            Event::TaskAdopted { task, attempt } => {
                self.set(task, Step::Adopt, TaskState::Completed { attempt })?;
                self.cells[task.index()].attempts = attempt.0;
                self.completed(task);
                self.settle(task);
            }
            Event::CompensationStarted { .. }
            | Event::CompensationSucceeded { .. }
            | Event::CompensationFailed { .. }
            | Event::CompensationAbandoned { .. } => self.fold_undoing(event)?,
            Event::RunCancelled => {
                self.cancelled = true;
                for i in 0..self.cells.len() as u32 {
                    let phase = self.phase(TaskIx(i));
                    if !phase.settled() && phase != Phase::Running {
                        self.set(TaskIx(i), Step::Cancel, TaskState::Cancelled)?;
                    } else if phase.is_owed_undoing() && phase != Phase::Undoing {
                        self.give_up_undoing(TaskIx(i), FailureClass::Cancelled)?;
                    }
                }
                self.recount_unmet();
            }
            Event::TaskOmitted { task } => {
                self.expect_omittable(task)?;
                self.omit(task, task);
            }
            Event::RunReopened => {
                self.expect_reopenable()?;
                self.finished = None;
            }
            Event::RunFinished { outcome: outcome @ Outcome::BudgetExhausted } => {
                self.expect_exhaustible()?;
                self.finished = Some(outcome);
            }
            Event::RunFinished { outcome } => {
                if self.unsettled() != 0 || outcome != self.outcome() {
                    return None;
                }
                self.finished = Some(outcome);
            }
            Event::GateOpened { .. }
            | Event::GateApproved { .. }
            | Event::GateRejected { .. }
            | Event::GateExpired { .. }
            | Event::GateFailed { .. } => self.fold_gate(event)?,
        }
        Some(())
    }

    /// The one door: moves a task to another state if the table lets it and keeps everything derived true.
    fn set(&mut self, task: TaskIx, step: Step, to: TaskState) -> Option<()> {
        let i = task.index();
        let (from, phase) = (self.cells[i].state.phase(), to.phase());
        if next(from, step) != Some(phase) {
            return None;
        }
        self.tally[from as usize] -= 1;
        self.tally[phase as usize] += 1;
        match (from.settled(), phase.settled()) {
            (false, true) => self.unsettled -= 1,
            (true, false) => self.unsettled += 1,
            _ => {}
        }
        let pool = usize::from(self.graph.pool(task).0);
        match from {
            Phase::Ready | Phase::Retrying | Phase::ToUndo | Phase::UndoRetrying => {
                self.ready[pool].remove(self.graph.rank(task));
                self.asking.remove(task.0);
            }
            Phase::Running | Phase::Undoing => {
                self.live.remove(task.0);
                self.live_in[pool] -= 1;
            }
            Phase::Failed if self.counts_as_required(task) => self.failed_required -= 1,
            _ => {}
        }
        match phase {
            Phase::Ready if self.must_ask(task) => {
                self.asking.insert(task.0);
            }
            Phase::Ready => {
                self.ready[pool].insert(self.graph.rank(task));
            }
            Phase::Running | Phase::Undoing => {
                self.live.insert(task.0);
                self.live_in[pool] += 1;
            }
            Phase::Failed if self.counts_as_required(task) => self.failed_required += 1,
            _ => {}
        }
        self.cells[i].state = to;
        self.touched.push(task);
        self.notice(task, phase);
        if self.graph.in_waves() && from.settled() != phase.settled() {
            self.count_in_wave(task, phase.settled());
        }
        Some(())
    }

    /// A failed task that only soft edges leave, or for which another stands, does not fail the run.
    fn counts_as_required(&self, task: TaskIx) -> bool {
        if self.graph.superseded(task) {
            return false;
        }
        let mut successors = self.graph.successors(task);
        successors.len() == 0 || successors.any(|(_, strength)| strength == Strength::Hard)
    }

    fn count_in_wave(&mut self, task: TaskIx, settled: bool) {
        let level = self.graph.level(task);
        let left = &mut self.unsettled_in_level[level as usize];
        if settled {
            *left -= 1;
        } else {
            *left += 1;
            self.wave = self.wave.min(level);
        }
    }

    /// Opens the next wave when the present one is over.
    fn advance_wave(&mut self) {
        while self.graph.in_waves()
            && self.wave + 1 < self.graph.levels()
            && self.unsettled_in_level[self.wave as usize] == 0
        {
            self.wave += 1;
            for i in 0..self.graph.tasks_of_level(self.wave).len() {
                let task = TaskIx(self.graph.tasks_of_level(self.wave)[i]);
                self.release(task);
            }
        }
    }

    /// Makes a pending task ready when nothing holds it any more.
    fn release(&mut self, task: TaskIx) {
        let open = !self.graph.in_waves() || self.graph.level(task) <= self.wave;
        if self.begun && open && self.cells[task.index()].unmet == 0 && self.phase(task) == Phase::Pending {
            match self.omitter(task) {
                Some(by) => self.omit(task, by),
                None => {
                    self.set(task, Step::Release, TaskState::Ready).expect("a pending task can be released");
                }
            }
        }
    }

    /// Tells the dependents that the task has settled: counts them down, blocks or releases them.
    fn settle(&mut self, task: TaskIx) {
        let mut settled = Some(task);
        let mut blocked = Vec::new();
        while let Some(task) = settled {
            let culprit = self.culprit(task);
            for at in self.graph.leaving(task) {
                let (dependent, strength) = self.graph.edge(at);
                self.cells[dependent.index()].unmet -= 1;
                match culprit.filter(|_| strength == Strength::Hard) {
                    Some(by) if self.set(dependent, Step::Block, TaskState::Blocked { by }).is_some() => {
                        blocked.push(dependent);
                    }
                    _ => self.release(dependent),
                }
            }
            settled = blocked.pop();
        }
        self.advance_wave();
    }

    /// Whom hard dependents of a settled task have to blame: the task that failed, however far up.
    fn culprit(&self, task: TaskIx) -> Option<TaskIx> {
        match self.cells[task.index()].state {
            TaskState::Blocked { by } => Some(by),
            state if state.phase().blocking() => Some(task),
            _ => None,
        }
    }

    /// A settled task is open again: its dependents wait for it once more, and what it had blocked is pending. What
    /// is ready or went further over a soft or safe edge may go on, as it could have before.
    fn unsettle(&mut self, task: TaskIx) {
        let graph = Arc::clone(&self.graph);
        for (dependent, _) in graph.successors(task) {
            self.cells[dependent.index()].unmet += 1;
        }
        self.unblock_behind(task);
    }

    /// The task blocks no more: what only it had blocked is pending again, and ready where nothing else is unmet.
    fn unblock_behind(&mut self, task: TaskIx) {
        let graph = Arc::clone(&self.graph);
        let (mut changed, mut freed) = (vec![task], Vec::new());
        while let Some(task) = changed.pop() {
            for (dependent, _) in graph.successors(task) {
                let TaskState::Blocked { by: before } = self.cells[dependent.index()].state else {
                    freed.push(dependent);
                    continue;
                };
                match self.blame(dependent) {
                    // Still blocked, perhaps under another's name, which those behind it must learn too.
                    Some(by) if by == before => {}
                    Some(by) => {
                        self.cells[dependent.index()].state = TaskState::Blocked { by };
                        self.touched.push(dependent);
                        changed.push(dependent);
                    }
                    None => {
                        self.set(dependent, Step::Unblock, TaskState::Pending).expect("blocked can be unblocked");
                        // It had counted as settled for what comes after it.
                        for (after, _) in graph.successors(dependent) {
                            self.cells[after.index()].unmet += 1;
                        }
                        freed.push(dependent);
                        changed.push(dependent);
                    }
                }
            }
        }
        for task in freed {
            self.release(task);
        }
        self.advance_wave();
    }

    /// Who blocks a task by its dependencies' present states.
    fn blame(&self, task: TaskIx) -> Option<TaskIx> {
        self.graph
            .predecessors(task)
            .filter(|(_, strength)| *strength == Strength::Hard)
            .find_map(|(dependency, _)| self.culprit(dependency))
    }

    fn recount_unmet(&mut self) {
        for i in 0..self.cells.len() as u32 {
            let unmet = self.graph.predecessors(TaskIx(i)).filter(|(d, _)| !self.phase(*d).settled()).count();
            self.cells[i as usize].unmet = unmet as u32;
        }
    }

    /// A person's word after the end: the run goes on.
    fn reopen(&mut self) {
        self.finished = None;
        if core::mem::take(&mut self.cancelled) {
            self.look_at_broken_scopes();
        }
    }

    fn release_due(&mut self, now: Time) {
        while let Some(Reverse((at, task))) = self.due.peek().copied() {
            if at > now {
                break;
            }
            self.due.pop();
            if self.cells[task.index()].state.is_retrying_at(at) {
                self.ready[usize::from(self.graph.pool(task).0)].insert(self.graph.rank(task));
            }
        }
    }

    // ---- what others may ask ----

    /// The graph it runs over.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// State of a task.
    pub fn state(&self, task: TaskIx) -> TaskState {
        self.cells[task.index()].state
    }

    fn phase(&self, task: TaskIx) -> Phase {
        self.cells[task.index()].state.phase()
    }

    /// Attempts ever started.
    pub fn attempts(&self, task: TaskIx) -> u32 {
        self.cells[task.index()].attempts
    }

    /// Failed attempts since the last word of a person.
    pub fn failures(&self, task: TaskIx) -> u32 {
        u32::from(self.cells[task.index()].failures)
    }

    /// Tasks in a phase.
    pub fn count(&self, phase: Phase) -> u32 {
        self.tally[phase as usize]
    }

    /// Tasks that have not settled, or have and are to be undone.
    pub fn unsettled(&self) -> u32 {
        self.unsettled + self.owed_undoing()
    }

    /// True once the run began.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// True once a person ended it.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// The outcome that was recorded, if everything has settled.
    pub fn finished(&self) -> Option<Outcome> {
        self.finished
    }

    /// The present wave (0 outside of waves).
    pub fn wave(&self) -> u32 {
        self.wave
    }

    /// Whether admission may start the task now.
    pub fn is_startable(&self, task: TaskIx) -> bool {
        self.ready[usize::from(self.graph.pool(task).0)].contains(self.graph.rank(task))
    }

    /// The first task of a pool that may start, at or after a place in its order.
    pub fn next_ready(&self, pool: Pool, from: u32) -> Option<(u32, TaskIx)> {
        let rank = self.ready[usize::from(pool.0)].first_from(from)?;
        Some((rank, self.graph.at_rank(pool, rank)))
    }

    /// Live attempts in a pool.
    pub fn live_in(&self, pool: Pool) -> u32 {
        self.live_in[usize::from(pool.0)]
    }

    /// Live attempts.
    pub fn live(&self) -> u32 {
        self.count(Phase::Running) + self.count(Phase::Undoing)
    }

    /// When the next retry is due or the next gate expires.
    pub fn next_due(&self) -> Option<Time> {
        self.due
            .iter()
            .filter(|Reverse((at, task))| {
                self.cells[task.index()].state.is_retrying_at(*at) && !self.is_startable(*task)
            })
            .map(|Reverse((at, _))| *at)
            .chain(self.next_expiry())
            .min()
    }

    /// What the run is owed, from its state alone.
    pub fn outstanding(&self) -> impl Iterator<Item = Command> + '_ {
        self.live.iter().filter_map(move |i| self.owed(TaskIx(i)))
    }

    /// What is owed for one task.
    pub fn owed(&self, task: TaskIx) -> Option<Command> {
        match self.cells[task.index()].state {
            TaskState::Running { attempt } if self.is_to_stop(task) => Some(Command::Stop { task, attempt }),
            TaskState::Undoing { attempt } if self.cancelled => Some(Command::Stop { task, attempt }),
            TaskState::Running { attempt } | TaskState::Undoing { attempt } => Some(Command::Run { task, attempt }),
            _ => None,
        }
    }

    /// Tasks whose state changed since the last call, oldest first, perhaps more than once.
    pub fn drain_touched(&mut self) -> alloc::vec::Drain<'_, TaskIx> {
        self.touched.drain(..)
    }

    /// How the run stands: a pure function of the states.
    pub fn outcome(&self) -> Outcome {
        let undone = self.count(Phase::Compensated) + self.count(Phase::NotUndone);
        let failing = self.failed_required + self.count(Phase::Blocked) + self.count(Phase::Cancelled) + undone;
        let going = self.count(Phase::Ready) + self.live() + self.count(Phase::Retrying);
        let going = going + self.owed_undoing();
        if self.unsettled() > 0 {
            if going == 0 && self.count(Phase::Waiting) > 0 { Outcome::Waiting } else { Outcome::Running }
        } else if self.cancelled {
            Outcome::Cancelled
        } else if failing > 0 {
            Outcome::Failed
        } else if self.count(Phase::Failed) + self.count(Phase::FailedSafe) > 0 {
            Outcome::Degraded
        } else {
            Outcome::Succeeded
        }
    }
}

impl TaskState {
    fn is_retrying_at(&self, due: Time) -> bool {
        matches!(self, TaskState::Retrying { at, .. } | TaskState::UndoRetrying { at, .. } if *at == due)
    }
}
