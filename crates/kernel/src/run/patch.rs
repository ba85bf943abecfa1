//! A run under another graph: tasks are added, taken out and wired differently while others run. It does not know what
//! the change means or who wants it. One decision: what has started keeps its number, its state and its dependencies;
//! everything derived is worked out anew from the states, so that nothing can be left behind.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::{Cell, Run};
use crate::ready::Bitmap;
use crate::state::{Phase, Step, next};
use crate::{Graph, Pool, Strength, TaskIx, TaskState};

/// Why a run cannot have another graph. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpatchable {
    /// The run has not begun, was cancelled or has ended.
    NotNow,
    /// The graph is not a continuation of this one: it has fewer tasks, or other waves.
    Foreign,
    /// The task has started or settled and would be taken out, get other dependencies or another gate.
    Started(TaskIx),
    /// The task would be in another saga, or in one that has failed.
    Saga(TaskIx),
    /// The task is to be taken out and something still hangs on it, or it on something.
    Attached(TaskIx),
}

impl Run {
    /// Goes on under `graph`, whose first tasks are the tasks of this one. `removed` are taken out of the run. Serves
    /// decisions and stored facts alike.
    pub fn patch(&mut self, graph: Arc<Graph>, removed: &[TaskIx]) -> Result<(), Unpatchable> {
        if !self.begun || self.cancelled || self.finished.is_some() {
            return Err(Unpatchable::NotNow);
        }
        self.continues(&graph)?;
        for task in removed {
            let known = task.index() < self.cells.len();
            if !known || !self.is_untouched(*task) {
                return Err(if known { Unpatchable::Started(*task) } else { Unpatchable::Foreign });
            }
            if !detached(&graph, *task) {
                return Err(Unpatchable::Attached(*task));
            }
        }
        // What a scope knows of its members is kept by their numbers and its own.
        for task in (0..graph.len() as u32).map(TaskIx) {
            let scope = graph.scope(task);
            let same = match task.index() < self.cells.len() {
                true => {
                    let undo = graph.can_undo(task) == self.graph.can_undo(task) || self.is_untouched(task);
                    removed.contains(&task) || scope == self.graph.scope(task) && undo
                }
                false => scope > self.graph.scopes() || !self.is_broken(scope),
            };
            if !same {
                return Err(Unpatchable::Saga(task));
            }
        }
        let mut rewired = Vec::new();
        for task in (0..self.cells.len() as u32).map(TaskIx) {
            if self.phase(task) == Phase::Removed && !detached(&graph, task) {
                return Err(Unpatchable::Attached(task));
            }
            let same = same_dependencies(&self.graph, &graph, task) && self.graph.gate(task) == graph.gate(task);
            let is_new = !removed.contains(&task) && !same;
            if is_new && !self.is_untouched(task) {
                return Err(Unpatchable::Started(task));
            }
            if is_new {
                rewired.push(task);
            }
        }
        for task in removed {
            self.close_gate(*task);
            self.mark(*task, Step::Remove, TaskState::Removed);
        }
        for task in rewired {
            self.close_gate(task);
            if matches!(self.phase(task), Phase::Ready | Phase::Waiting) {
                self.mark(task, Step::Hold, TaskState::Pending);
            }
        }
        self.install(graph);
        Ok(())
    }

    /// Goes on under a graph with the same tasks and edges, but perhaps other pools, priorities and policies.
    pub fn reweigh(&mut self, graph: Arc<Graph>) -> Result<(), Unpatchable> {
        self.continues(&graph)?;
        let tasks = (0..self.cells.len() as u32).map(TaskIx);
        if graph.len() != self.cells.len() || tasks.into_iter().any(|t| !same_dependencies(&self.graph, &graph, t)) {
            return Err(Unpatchable::Foreign);
        }
        self.install(graph);
        Ok(())
    }

    fn continues(&self, graph: &Graph) -> Result<(), Unpatchable> {
        let continues = graph.len() >= self.cells.len() && graph.in_waves() == self.graph.in_waves();
        if continues { Ok(()) } else { Err(Unpatchable::Foreign) }
    }

    /// Whether a patch may change the task: it has not started, and nobody has decided about it.
    pub fn is_untouched(&self, task: TaskIx) -> bool {
        let cell = &self.cells[task.index()];
        match cell.state.phase() {
            Phase::Pending | Phase::Ready | Phase::Blocked => cell.attempts == 0,
            // A question is not an answer.
            Phase::Waiting => self.is_asked(task) && self.asked_first(task),
            _ => false,
        }
    }

    pub(super) fn is_detached(&self, task: TaskIx) -> bool {
        detached(&self.graph, task)
    }

    /// Another state without its consequences, which [`Run::install`] works out for all tasks together.
    fn mark(&mut self, task: TaskIx, step: Step, to: TaskState) {
        let from = self.phase(task);
        assert!(next(from, step) == Some(to.phase()), "{from:?} cannot {step:?}");
        self.cells[task.index()].state = to;
        self.touched.push(task);
        self.notice(task, to.phase());
    }

    /// Puts the graph in place and derives everything from the states. O(tasks log tasks + edges).
    fn install(&mut self, graph: Arc<Graph>) {
        let due: Vec<TaskIx> = (0..self.cells.len() as u32)
            .map(TaskIx)
            .filter(|t| {
                matches!(self.phase(*t), Phase::Retrying | Phase::ToUndo | Phase::UndoRetrying) && self.is_startable(*t)
            })
            .collect();
        for task in self.cells.len() as u32..graph.len() as u32 {
            self.cells.push(Cell { state: TaskState::Pending, unmet: 0, attempts: 0, failures: 0, approved: false });
            self.touched.push(TaskIx(task));
        }
        self.saga.grow(&graph);
        self.graph = graph;
        let mut order: Vec<TaskIx> = (0..self.cells.len() as u32).map(TaskIx).collect();
        order.sort_by_key(|task| self.graph.level(*task));
        for task in &order {
            self.judge(*task);
        }
        self.recount(&due);
        for task in order {
            self.release(task);
        }
        self.see_it_through();
    }

    /// Whether a task that has not started is blocked, now that the dependencies before it are judged.
    fn judge(&mut self, task: TaskIx) {
        match (self.state(task), self.blame(task)) {
            (TaskState::Blocked { by: before }, Some(by)) if before != by => {
                self.cells[task.index()].state = TaskState::Blocked { by };
                self.touched.push(task);
            }
            (TaskState::Blocked { .. }, None) => self.mark(task, Step::Unblock, TaskState::Pending),
            (TaskState::Pending, Some(by)) => self.mark(task, Step::Block, TaskState::Blocked { by }),
            _ => {}
        }
    }

    fn recount(&mut self, due: &[TaskIx]) {
        let (graph, n) = (Arc::clone(&self.graph), self.cells.len());
        self.ready = (0..graph.pools()).map(|p| Bitmap::new(graph.pool_size(Pool(p as u8)))).collect();
        (self.live, self.live_in) = (Bitmap::new(n), vec![0; graph.pools()]);
        self.asking = Bitmap::new(n);
        (self.tally, self.failed_required) = ([0; Phase::COUNT], 0);
        self.unsettled_in_level = vec![0; if graph.in_waves() { graph.levels() as usize } else { 0 }];
        for task in (0..n as u32).map(TaskIx) {
            let (phase, pool) = (self.phase(task), usize::from(graph.pool(task).0));
            self.tally[phase as usize] += 1;
            match phase {
                Phase::Ready if self.must_ask(task) => {
                    self.asking.insert(task.0);
                }
                Phase::Ready => {
                    self.ready[pool].insert(graph.rank(task));
                }
                phase if phase.is_live() => {
                    self.live.insert(task.0);
                    self.live_in[pool] += 1;
                }
                Phase::Failed if self.counts_as_required(task) => self.failed_required += 1,
                _ => {}
            }
            if graph.in_waves() && !phase.settled() {
                self.unsettled_in_level[graph.level(task) as usize] += 1;
            }
        }
        for task in due {
            self.ready[usize::from(graph.pool(*task).0)].insert(graph.rank(*task));
        }
        self.unsettled = Phase::ALL.iter().filter(|p| !p.settled()).map(|p| self.tally[*p as usize]).sum();
        self.recount_unmet();
        let open = self.unsettled_in_level.iter().position(|left| *left > 0);
        self.wave = open.unwrap_or(self.unsettled_in_level.len().saturating_sub(1)) as u32;
    }
}

fn detached(graph: &Graph, task: TaskIx) -> bool {
    graph.predecessors(task).len() == 0 && graph.successors(task).len() == 0
}

fn same_dependencies(old: &Graph, new: &Graph, task: TaskIx) -> bool {
    let sorted = |graph: &Graph| {
        let mut all: Vec<(TaskIx, bool)> =
            graph.predecessors(task).map(|(from, strength)| (from, strength == Strength::Hard)).collect();
        all.sort_unstable();
        all
    };
    old.predecessors(task).len() == new.predecessors(task).len() && sorted(old) == sorted(new)
}
