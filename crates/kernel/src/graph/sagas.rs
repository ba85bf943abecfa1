//! Which tasks can be undone, and which belong together when one of them fails. It does not know how anything is undone,
//! nor in which order. Graphs without either hold nothing here.

use alloc::vec;
use alloc::vec::Vec;

use super::{Graph, RetryPolicy, Rows};
use crate::TaskIx;

/// What was said about tasks, in the order it was said; the last word on a task counts.
#[derive(Debug, Default)]
pub(super) struct SagaBuilder {
    pub(super) scopes: Vec<(u32, u32)>,
    pub(super) undo: Vec<(u32, u16)>,
}

/// Stands for a task that cannot be undone.
const NEVER: u16 = u16::MAX;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sagas {
    /// By task; empty when no task is in a scope.
    scope: Vec<u32>,
    /// By scope: its members in the order of their levels.
    members: Option<Rows>,
    /// By task: the policy of its compensation; empty when no task can be undone.
    undo: Vec<u16>,
    scopes: u32,
}

impl SagaBuilder {
    pub(super) fn has_unknown(&self, tasks: usize) -> bool {
        self.scopes.iter().any(|(task, scope)| *task as usize >= tasks || *scope as usize > tasks)
            || self.undo.iter().any(|(task, _)| *task as usize >= tasks)
    }

    /// `levels` of the tasks decide the order of members.
    pub(super) fn build(self, levels: &[u32], policies: usize) -> Sagas {
        let n = levels.len();
        let mut scope = if self.scopes.is_empty() { Vec::new() } else { vec![0; n] };
        self.scopes.iter().for_each(|(task, of)| scope[*task as usize] = *of);
        let scopes = scope.iter().max().copied().unwrap_or(0);
        let members = (scopes > 0).then(|| {
            let mut order: Vec<u32> = (0..n as u32).filter(|i| scope[*i as usize] > 0).collect();
            order.sort_by_key(|i| levels[*i as usize]);
            Rows::group(scopes as usize + 1, order.iter().map(|i| (scope[*i as usize], *i)))
        });
        let mut undo = if self.undo.is_empty() { Vec::new() } else { vec![NEVER; n] };
        let last = policies.saturating_sub(1).min(usize::from(NEVER) - 1) as u16;
        self.undo.iter().for_each(|(task, policy)| undo[*task as usize] = (*policy).min(last));
        Sagas { scope, members, undo, scopes }
    }
}

impl Graph {
    /// The scope of the task, from 1; 0 is none.
    pub fn scope(&self, task: TaskIx) -> u32 {
        self.sagas.scope.get(task.index()).copied().unwrap_or(0)
    }

    /// Number of the last scope.
    pub fn scopes(&self) -> u32 {
        self.sagas.scopes
    }

    /// The members of a scope, those that others hang on before those.
    pub fn members(&self, scope: u32) -> impl ExactSizeIterator<Item = TaskIx> + '_ {
        self.members_row(scope).iter().map(|i| TaskIx(*i))
    }

    /// One of them, by its place.
    pub(crate) fn member(&self, scope: u32, at: usize) -> Option<TaskIx> {
        self.members_row(scope).get(at).map(|i| TaskIx(*i))
    }

    fn members_row(&self, scope: u32) -> &[u32] {
        self.sagas
            .members
            .as_ref()
            .filter(|_| scope > 0 && scope <= self.sagas.scopes)
            .map_or(&[], |m| m.row(scope as usize))
    }

    /// Whether any task can be undone or belongs to a scope.
    pub fn has_sagas(&self) -> bool {
        self.sagas.scopes > 0 || !self.sagas.undo.is_empty()
    }

    /// Whether what the task did can be undone.
    pub fn can_undo(&self, task: TaskIx) -> bool {
        self.sagas.undo.get(task.index()).is_some_and(|policy| *policy != NEVER)
    }

    /// The retry policy of its compensation.
    pub fn undo_retry(&self, task: TaskIx) -> &RetryPolicy {
        let policy = self.sagas.undo.get(task.index()).filter(|policy| **policy != NEVER);
        policy.map_or(&RetryPolicy::NONE, |policy| &self.policies[usize::from(*policy)])
    }
}
