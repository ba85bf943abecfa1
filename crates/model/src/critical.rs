//! Earliest and latest times of tasks, and the path that decides how long a run takes at least. It does not know
//! caps or states, only durations; a task's own duration counts at both ends of a path (Kelley and Walker, 1959).

use crate::workflow::{Task, TaskIndex, Workflow};

/// Where the time goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CriticalPath {
    /// One longest path, from a root to its end; among equals the one that comes first in the file.
    pub tasks: Vec<TaskIndex>,
    /// The sum of the known durations on it.
    pub length_ms: u64,
    /// By task: how much later it could end without making the whole longer. In milliseconds when any duration is
    /// known, else in tasks.
    pub slack: Vec<u64>,
    /// Whether any duration is known.
    pub is_timed: bool,
}

/// The critical path for the given durations by task. A task of unknown duration counts as one millisecond among known
/// ones, so that it still belongs to a path.
pub fn critical_path(workflow: &Workflow, durations_ms: &[Option<u64>]) -> CriticalPath {
    let tasks = &workflow.tasks;
    let order = by_level(tasks);
    let weight = |task: TaskIndex| durations_ms.get(task as usize).copied().flatten().unwrap_or(1);
    let mut start = vec![0u64; tasks.len()];
    for &task in &order {
        let dependencies = &tasks[task as usize].depends_on;
        let ends = dependencies.iter().map(|d| start[d.task as usize] + weight(d.task));
        start[task as usize] = ends.max().unwrap_or(0);
    }
    let end = |task: TaskIndex| start[task as usize] + weight(task);
    let whole = (0..tasks.len() as TaskIndex).map(end).max().unwrap_or(0);
    let mut latest_end = vec![whole; tasks.len()];
    for &task in order.iter().rev() {
        let latest_start = latest_end[task as usize] - weight(task);
        for dependency in &tasks[task as usize].depends_on {
            let slot = &mut latest_end[dependency.task as usize];
            *slot = (*slot).min(latest_start);
        }
    }
    let slack: Vec<u64> = (0..tasks.len() as TaskIndex).map(|task| latest_end[task as usize] - end(task)).collect();
    let mut path = Vec::new();
    let mut at = (0..tasks.len() as TaskIndex).find(|task| end(*task) == whole);
    while let Some(task) = at {
        path.push(task);
        let before = tasks[task as usize].depends_on.iter().map(|d| d.task);
        at = before.into_iter().find(|dependency| end(*dependency) == start[task as usize]);
    }
    path.reverse();
    let known = |task: &TaskIndex| durations_ms.get(*task as usize).copied().flatten();
    CriticalPath {
        length_ms: path.iter().filter_map(known).sum(),
        tasks: path,
        slack,
        is_timed: durations_ms.iter().any(Option::is_some),
    }
}

/// All tasks, level by level and in file order within a level: an order in which every edge goes forward.
pub fn by_level(tasks: &[Task]) -> Vec<TaskIndex> {
    let levels = tasks.iter().map(|task| task.level as usize + 1).max().unwrap_or(0);
    let mut next = vec![0usize; levels + 1];
    for task in tasks {
        next[task.level as usize + 1] += 1;
    }
    for level in 1..next.len() {
        next[level] += next[level - 1];
    }
    let mut order = vec![0; tasks.len()];
    for (n, task) in tasks.iter().enumerate() {
        let slot = &mut next[task.level as usize];
        order[*slot] = n as TaskIndex;
        *slot += 1;
    }
    order
}
