//! Sagas: when a member of a scope fails for good, no other member starts, what runs is stopped, and what was completed
//! is undone one after another, last completed first. It does not know how anything is undone: a compensation is an
//! attempt like any other, in states of its own. One decision: that a scope has failed is a flag that the one door
//! `set` raises, and all that follows from it is derived after every event, so events tell of compensations alone.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::Run;
use crate::state::{Phase, Step, next};
use crate::{Attempt, Event, FailureClass, Graph, OnDoubt, Strength, TaskIx, TaskState};

/// What is known beside the states. Empty for graphs without sagas.
#[derive(Debug, Clone, Default)]
pub(super) struct Undo {
    marks: Vec<Mark>,
    /// By scope: a member failed, and the scope was not begun anew since.
    broken: Vec<bool>,
    /// Scopes of which something changed in this event.
    disturbed: Vec<u32>,
    /// Counts completions.
    completions: u32,
}

/// One task.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    /// Its place among completions; attempts that are undone in doubt count from then on.
    order: u32,
    /// Attempts before its present life, which began with a person's word.
    before: u32,
    /// How often it was undone.
    undone: u32,
    /// It completed in its present life.
    succeeded: bool,
}

impl Undo {
    pub(super) fn new(graph: &Graph) -> Self {
        if !graph.has_sagas() {
            return Undo::default();
        }
        let broken = vec![false; graph.scopes() as usize + 1];
        Undo { marks: vec![Mark::default(); graph.len()], broken, ..Undo::default() }
    }

    /// For another graph, in which every task of this one has the scope that it had.
    pub(super) fn grow(&mut self, graph: &Graph) {
        if graph.has_sagas() {
            self.marks.resize(graph.len(), Mark::default());
            self.broken.resize(graph.scopes() as usize + 1, false);
        }
    }

    fn mark(&mut self, task: TaskIx) -> Option<&mut Mark> {
        self.marks.get_mut(task.index())
    }
}

impl Run {
    // ---- what others may ask ----

    /// Whether a member of the task's scope failed: what its members did is undone, or will be.
    pub fn is_of_failed_scope(&self, task: TaskIx) -> bool {
        self.is_broken(self.graph.scope(task))
    }

    /// Whether the live attempt, or the one that is due, is one of the task's compensation.
    pub fn undoes(&self, task: TaskIx) -> bool {
        self.phase(task).is_owed_undoing()
    }

    /// Tasks whose compensation has still to be done.
    pub fn owed_undoing(&self) -> u32 {
        self.count(Phase::ToUndo) + self.count(Phase::Undoing) + self.count(Phase::UndoRetrying)
    }

    /// Number of the first attempt of the task's present life: it begins anew when a person has a task tried again that
    /// had settled.
    pub fn first_attempt(&self, task: TaskIx) -> Attempt {
        Attempt(self.saga.marks.get(task.index()).map_or(0, |mark| mark.before) + 1)
    }

    /// Whether the task completed in its present life, whatever became of that since.
    pub fn has_succeeded(&self, task: TaskIx) -> bool {
        let marked = self.saga.marks.get(task.index()).is_some_and(|mark| mark.succeeded);
        self.phase(task) == Phase::Completed || marked
    }

    /// How often the task was undone.
    pub fn times_undone(&self, task: TaskIx) -> u32 {
        self.saga.marks.get(task.index()).map_or(0, |mark| mark.undone)
    }

    // ---- deciding ----

    pub(super) fn is_broken(&self, scope: u32) -> bool {
        scope > 0 && self.saga.broken[scope as usize]
    }

    pub(super) fn is_undoing(&self, task: TaskIx) -> bool {
        self.phase(task) == Phase::Undoing
    }

    /// Whether a running attempt should be ended.
    pub(super) fn is_to_stop(&self, task: TaskIx) -> bool {
        self.cancelled || self.is_of_failed_scope(task)
    }

    /// A compensation in doubt is repeated: it must be repeatable, and half undone is worse than undone twice.
    pub(super) fn undo_fate(&self, task: TaskIx, attempt: Attempt) -> Event {
        match self.cancelled {
            true => Event::CompensationFailed { task, attempt, class: FailureClass::Cancelled, retry_at: None },
            false => Event::CompensationAbandoned { task, attempt },
        }
    }

    /// Whether an attempt that ended like this is undone although it did not complete.
    pub(super) fn is_undone_unfinished(&self, task: TaskIx, class: FailureClass) -> bool {
        let unknown = class == FailureClass::Lost || class == FailureClass::Cancelled && self.is_of_failed_scope(task);
        unknown && self.graph.on_doubt(task) == OnDoubt::Compensate && self.graph.can_undo(task)
    }

    /// A compensation that failed may be tried again at any time. A failed scope begins anew as a whole, when all of it
    /// is undone and nobody outside of it is to blame for anything in it.
    pub(super) fn expect_scope_retriable(&self, task: TaskIx) -> Option<()> {
        if self.phase(task) == Phase::NotUndone {
            return Some(());
        }
        // Whoever was blocked is freed with the rest.
        next(self.phase(task), Step::Retry).or(next(self.phase(task), Step::Unblock))?;
        let scope = self.graph.scope(task);
        let at_rest = |t| !self.phase(t).is_live() && !self.undoes(t) && self.phase(t) != Phase::NotUndone;
        let is_own = |by| self.graph.scope(by) == scope;
        let mut members = self.graph.members(scope);
        members.all(|t| at_rest(t) && self.foreign_blame(t, &is_own).is_none()).then_some(())
    }

    fn foreign_blame(&self, task: TaskIx, is_own: &impl Fn(TaskIx) -> bool) -> Option<TaskIx> {
        let hard = self.graph.predecessors(task).filter(|(_, strength)| *strength == Strength::Hard);
        hard.filter_map(|(dependency, _)| self.culprit(dependency)).find(|by| !is_own(*by))
    }

    // ---- folding ----

    pub(super) fn fold_undoing(&mut self, event: Event) -> Option<()> {
        match event {
            Event::CompensationStarted { task, attempt } => {
                if attempt.0 != self.cells[task.index()].attempts + 1
                    || self.phase(task) == Phase::ToUndo && !self.is_startable(task)
                {
                    return None;
                }
                self.set(task, Step::StartUndo, TaskState::Undoing { attempt })?;
                self.cells[task.index()].attempts = attempt.0;
            }
            Event::CompensationSucceeded { task, attempt } => {
                self.expect_undoing(task, attempt)?;
                self.set(task, Step::Undo, TaskState::Compensated { attempt })?;
                self.saga.mark(task)?.undone += 1;
            }
            Event::CompensationFailed { task, attempt, class, retry_at } => {
                self.expect_undoing(task, attempt)?;
                let cell = &mut self.cells[task.index()];
                cell.failures = cell.failures.saturating_add(1);
                match retry_at.filter(|_| !self.cancelled) {
                    Some(at) => {
                        self.set(task, Step::FailUndoForNow, TaskState::UndoRetrying { attempt, at })?;
                        self.due.push(Reverse((at, task)));
                    }
                    None => self.give_up_undoing(task, class)?,
                }
            }
            Event::CompensationAbandoned { task, attempt } => {
                self.expect_undoing(task, attempt)?;
                self.set(task, Step::AbandonUndo, TaskState::ToUndo { attempt })?;
            }
            _ => return None,
        }
        Some(())
    }

    fn expect_undoing(&self, task: TaskIx, attempt: Attempt) -> Option<()> {
        (self.state(task) == TaskState::Undoing { attempt }).then_some(())
    }

    /// The task completed: the last to complete is the first to be undone.
    pub(super) fn completed(&mut self, task: TaskIx) {
        self.saga.completions += 1;
        let order = self.saga.completions;
        if let Some(mark) = self.saga.mark(task) {
            *mark = Mark { order, succeeded: true, ..*mark };
        }
    }

    /// What the task did is to be undone.
    pub(super) fn condemn(&mut self, task: TaskIx, attempt: Attempt) -> Option<()> {
        if self.phase(task) == Phase::Running {
            self.saga.completions += 1;
            let order = self.saga.completions;
            self.saga.mark(task)?.order = order;
        }
        self.cells[task.index()].failures = 0;
        self.set(task, Step::Condemn, TaskState::ToUndo { attempt })
    }

    /// What it did stands. What never completed was in doubt before, and is again.
    pub(super) fn give_up_undoing(&mut self, task: TaskIx, class: FailureClass) -> Option<()> {
        let (TaskState::ToUndo { attempt } | TaskState::Undoing { attempt } | TaskState::UndoRetrying { attempt, .. }) =
            self.state(task)
        else {
            return None;
        };
        if self.saga.mark(task)?.succeeded {
            return self.set(task, Step::GiveUpUndo, TaskState::NotUndone { attempt, class });
        }
        match class {
            FailureClass::Cancelled => self.set(task, Step::Cancel, TaskState::Cancelled),
            _ => self.set(task, Step::Fail, TaskState::Failed { attempt, class: FailureClass::Lost }),
        }
    }

    /// A person has a settled task tried again, on what is there now.
    pub(super) fn begin_anew(&mut self, task: TaskIx) {
        let attempts = self.cells[task.index()].attempts;
        let settled = self.phase(task).settled();
        if let Some(mark) = self.saga.mark(task).filter(|_| settled) {
            *mark = Mark { before: attempts, succeeded: false, ..*mark };
        }
    }

    /// A compensation is tried again, or a scope begins anew: whatever of it completed and cannot be undone stays
    /// completed.
    pub(super) fn scope_retried(&mut self, task: TaskIx) -> Option<()> {
        if let TaskState::NotUndone { attempt, .. } = self.state(task) {
            self.cells[task.index()].failures = 0;
            return self.set(task, Step::RetryUndo, TaskState::ToUndo { attempt });
        }
        let scope = self.graph.scope(task);
        self.saga.broken[scope as usize] = false;
        let members: Vec<TaskIx> = self.graph.members(scope).collect();
        // Those that others hang on come first, so nobody is freed before what it hangs on.
        for &member in &members {
            if matches!(self.phase(member), Phase::Failed | Phase::Cancelled | Phase::Compensated) {
                self.begin_anew(member);
                self.cells[member.index()].failures = 0;
                self.set(member, Step::Retry, TaskState::Pending)?;
                self.unsettle(member);
            }
        }
        members.into_iter().for_each(|member| self.release(member));
        Some(())
    }

    // ---- what follows from a failed scope ----

    /// Part of the one door: a member that cannot complete any more breaks its scope.
    pub(super) fn notice(&mut self, task: TaskIx, phase: Phase) {
        if self.saga.marks.is_empty() {
            return;
        }
        let scope = self.graph.scope(task);
        if scope == 0 {
            if phase == Phase::ToUndo {
                self.line_up(task);
            }
            return;
        }
        let breaks = match phase {
            Phase::Failed => self.counts_as_required(task),
            Phase::Blocked | Phase::ToUndo => true,
            _ => false,
        };
        self.saga.broken[scope as usize] |= breaks && !self.cancelled;
        if self.saga.broken[scope as usize] && self.saga.disturbed.last() != Some(&scope) {
            self.saga.disturbed.push(scope);
        }
    }

    /// Whether a scope has to be looked at.
    pub(super) fn is_disturbed(&self) -> bool {
        !self.saga.disturbed.is_empty()
    }

    /// Makes true what failed scopes ask for, until nothing changes.
    pub(super) fn keep_sagas(&mut self) {
        while let Some(scope) = self.saga.disturbed.pop() {
            if !self.cancelled && self.is_broken(scope) {
                self.close_scope(scope);
            }
        }
    }

    /// A run that a person had ended is open again.
    pub(super) fn look_at_broken_scopes(&mut self) {
        let broken = (1..=self.graph.scopes()).filter(|scope| self.saga.broken[*scope as usize]);
        let broken: Vec<u32> = broken.collect();
        self.saga.disturbed.extend(broken);
    }

    fn close_scope(&mut self, scope: u32) {
        let mut at = 0;
        while let Some(task) = self.graph.member(scope, at) {
            at += 1;
            match self.phase(task) {
                Phase::Pending | Phase::Ready | Phase::Retrying | Phase::Waiting => {
                    self.set(task, Step::Cancel, TaskState::Cancelled).expect("what never ran can be cancelled");
                    self.settle(task);
                }
                // It is owed a stop now.
                Phase::Running => self.touched.push(task),
                _ => {}
            }
        }
        at = 0;
        while let Some(task) = self.graph.member(scope, at) {
            at += 1;
            if let TaskState::Completed { attempt } = self.state(task)
                && self.graph.can_undo(task)
            {
                self.condemn(task, attempt).expect("what completed can be condemned");
                self.block_behind(task);
            }
        }
        self.line_up_the_last(scope);
    }

    /// Nobody is undone while anything of the scope is alive, and then whoever completed last. Looks at each member a
    /// fixed number of times: a scope may be a whole workflow.
    fn line_up_the_last(&mut self, scope: u32) {
        let is_alive = |phase| matches!(phase, Phase::Running | Phase::Undoing | Phase::UndoRetrying);
        let alive = self.graph.members(scope).any(|t| is_alive(self.phase(t)));
        let order = |run: &Run, task: TaskIx| run.saga.marks[task.index()].order;
        let waiting: Vec<TaskIx> = self.graph.members(scope).filter(|t| self.phase(*t) == Phase::ToUndo).collect();
        let last = waiting.iter().map(|t| order(self, *t)).max();
        for task in waiting {
            match !alive && Some(order(self, task)) == last {
                true => self.line_up(task),
                false => {
                    self.ready[usize::from(self.graph.pool(task).0)].remove(self.graph.rank(task));
                }
            }
        }
    }

    fn line_up(&mut self, task: TaskIx) {
        self.ready[usize::from(self.graph.pool(task).0)].insert(self.graph.rank(task));
    }

    /// Whether it is this task's turn: nothing of its scope is alive, and nothing that completed later is to be undone.
    pub(super) fn is_next_to_undo(&self, task: TaskIx) -> bool {
        let scope = self.graph.scope(task);
        let order = |t: TaskIx| self.saga.marks[t.index()].order;
        self.graph.members(scope).all(|other| match self.phase(other) {
            Phase::Running | Phase::Undoing | Phase::UndoRetrying => false,
            Phase::ToUndo => order(other) <= order(task),
            _ => true,
        })
    }

    /// The task had settled well and counts as failed now: what waits behind it hard cannot run.
    fn block_behind(&mut self, task: TaskIx) {
        for at in self.graph.leaving(task) {
            let (dependent, strength) = self.graph.edge(at);
            let by = TaskState::Blocked { by: task };
            if strength == Strength::Hard && self.set(dependent, Step::Block, by).is_some() {
                self.settle(dependent);
            }
        }
    }

    pub(super) fn check_sagas(&self) -> Result<(), &'static str> {
        for scope in (1..=self.graph.scopes()).filter(|scope| self.is_broken(*scope) && !self.cancelled) {
            for task in self.graph.members(scope) {
                match self.phase(task) {
                    Phase::Pending | Phase::Ready | Phase::Retrying | Phase::Waiting => {
                        return Err("a member of a failed scope may start");
                    }
                    Phase::Completed if self.graph.can_undo(task) => {
                        return Err("a member of a failed scope is not undone");
                    }
                    _ => {}
                }
            }
        }
        let undone = |task: &TaskIx| self.undoes(*task) || matches!(self.phase(*task), Phase::NotUndone);
        let mut tasks = (0..self.cells.len() as u32).map(TaskIx);
        if tasks.any(|t| undone(&t) && (self.saga.marks.is_empty() || !self.graph.can_undo(t))) {
            return Err("what cannot be undone is being undone");
        }
        Ok(())
    }
}
