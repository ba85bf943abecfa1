//! What a run would do, before it does anything: tasks, levels, critical path, caps, forecast. Serializes to the plan
//! document of the command line. It does not know the clock; past durations and costs are brought in.

use std::collections::HashMap;

use serde::Serialize;

use crate::caps::{Caps, caps};
use crate::catalog::Settings;
use crate::critical::{CriticalPath, by_level, critical_path};
use crate::diagnostic::Diagnostic;
use crate::permissions::Grant;
use crate::workflow::{Compensation, ExecutionMode, Isolation, Strength, Task, TaskIndex, TaskKind, Workflow};

/// What earlier runs tell of a task.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Past {
    /// Median duration.
    pub duration_ms: Option<u64>,
    /// Median cost.
    pub cost_usd: Option<f64>,
    /// The model that completed it.
    pub model: Option<String>,
    /// How many attempts that took.
    pub attempts: u32,
}

/// By task id.
pub type History = HashMap<String, Past>;

/// The plan document.
#[derive(Debug, Clone, Serialize)]
pub struct Plan<'w> {
    /// The workflow's name.
    pub workflow: &'w str,
    /// Hash of its meaning.
    pub hash: &'w str,
    /// In file order.
    pub tasks: Vec<PlannedTask<'w>>,
    /// Ids by level, in file order.
    pub levels: Vec<Vec<&'w str>>,
    /// One longest path.
    pub critical_path: PlannedPath<'w>,
    /// See [`Caps`].
    pub caps: Caps,
    /// Time and money.
    pub forecast: Forecast,
    /// Warnings of validation.
    pub diagnostics: &'w [Diagnostic],
}

/// One task of the plan document.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields of the contract")]
pub struct PlannedTask<'w> {
    pub id: &'w str,
    pub name: &'w str,
    pub kind: &'static str,
    pub level: u32,
    pub priority: i32,
    pub side_effects: bool,
    pub safe_to_fail: bool,
    pub agent: Option<&'w str>,
    pub executor: &'w str,
    pub model: Option<&'w str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_reason: Option<&'w str>,
    /// The model that goes on when the retries are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_when_exhausted: Option<&'w str>,
    pub isolation: &'static str,
    pub timeout_ms: u64,
    pub retries: u32,
    pub depends_on: Vec<PlannedDependency<'w>>,
    pub estimated_ms: Option<u64>,
    pub slack_ms: Option<u64>,
    pub critical: bool,
    /// What it may use; left out where nothing is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<&'w Grant>,
    /// The task that runs only when this one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<&'w str>,
    /// Names of the secrets that it gets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<&'w str>,
    /// Its saga.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saga: Option<&'w str>,
    /// What undoes it: `restore`, or the kind of task that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compensate: Option<&'static str>,
}

/// A dependency in the plan document.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedDependency<'w> {
    /// Id of the prerequisite.
    pub task: &'w str,
    /// `hard` or `soft`.
    #[serde(rename = "type")]
    pub strength: &'static str,
}

/// The critical path in the plan document.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedPath<'w> {
    /// Ids from the first to the last.
    pub tasks: Vec<&'w str>,
    /// Sum of the known durations on it, both ends counted.
    pub length_ms: u64,
}

/// What a run will probably take; `reason` says why a number is missing.
#[derive(Debug, Clone, Serialize)]
#[expect(missing_docs, reason = "the fields of the contract")]
pub struct Forecast {
    pub duration_ms: Option<u64>,
    pub cost_usd: Option<f64>,
    pub reason: Option<String>,
}

/// The duration of each task as far as it is known: measured before estimated.
pub fn durations(workflow: &Workflow, history: &History) -> Vec<Option<u64>> {
    let known = |task: &Task| {
        let measured = history.get(&task.id).and_then(|past| past.duration_ms);
        let estimated = || task.estimate.duration.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX >> 20));
        // Bounded so that no sum over a workflow can overflow.
        measured.or_else(estimated).map(|ms| ms.min(u64::MAX >> 20))
    };
    workflow.tasks.iter().map(known).collect()
}

/// The plan of a workflow.
pub fn plan<'w>(
    workflow: &'w Workflow,
    settings: &Settings,
    history: &History,
    diagnostics: &'w [Diagnostic],
) -> Plan<'w> {
    let durations = durations(workflow, history);
    let path = critical_path(workflow, &durations);
    let caps = caps(workflow, settings);
    let id = |task: TaskIndex| workflow.tasks[task as usize].id.as_str();
    let tasks = workflow.tasks.iter().enumerate();
    let tasks = tasks.map(|(n, task)| planned(workflow, task, durations[n], &path, n)).collect();
    let mut levels: Vec<Vec<&str>> = Vec::new();
    for task in by_level(&workflow.tasks) {
        let level = workflow.tasks[task as usize].level as usize;
        if levels.len() <= level {
            levels.resize(level + 1, Vec::new());
        }
        levels[level].push(id(task));
    }
    Plan {
        workflow: &workflow.name,
        hash: &workflow.hash,
        tasks,
        levels,
        forecast: forecast(workflow, history, &durations, &path, &caps, settings.lift_caps),
        critical_path: PlannedPath {
            tasks: path.tasks.iter().map(|task| id(*task)).collect(),
            length_ms: path.length_ms,
        },
        caps,
        diagnostics,
    }
}

fn planned<'w>(
    workflow: &'w Workflow,
    task: &'w Task,
    duration: Option<u64>,
    path: &CriticalPath,
    n: usize,
) -> PlannedTask<'w> {
    let (agent, model, model_reason) = match &task.kind {
        TaskKind::Agent(agent) => (Some(agent.agent.as_str()), agent.model.as_deref(), agent.model_reason.as_deref()),
        _ => (None, None, None),
    };
    let dependencies = task.depends_on.iter().map(|d| PlannedDependency {
        task: &workflow.tasks[d.task as usize].id,
        strength: match d.strength {
            Strength::Hard => "hard",
            Strength::Soft => "soft",
        },
    });
    PlannedTask {
        id: &task.id,
        name: &task.name,
        kind: task.kind_name(),
        level: task.level,
        priority: task.priority,
        side_effects: task.side_effects,
        safe_to_fail: task.safe_to_fail(),
        agent,
        executor: &task.executor,
        model,
        model_reason,
        model_when_exhausted: match &task.kind {
            TaskKind::Agent(agent) => agent.model_when_exhausted.as_deref(),
            _ => None,
        },
        isolation: match task.isolation {
            Isolation::None => "none",
            Isolation::Context => "context",
            Isolation::Process => "process",
            Isolation::Container => "container",
        },
        timeout_ms: u64::try_from(task.timeout.shown.as_millis()).unwrap_or(u64::MAX),
        retries: task.retry.max,
        depends_on: dependencies.collect(),
        estimated_ms: duration,
        slack_ms: path.is_timed.then_some(path.slack[n]),
        critical: path.slack[n] == 0,
        permissions: Some(task.permissions.usable()).filter(|grant| **grant != Grant::default()),
        fallback: task.fallback.map(|other| workflow.tasks[other as usize].id.as_str()),
        secrets: task.secrets(),
        saga: task.saga.as_deref(),
        compensate: task.compensate.as_ref().map(|compensation| match compensation {
            Compensation::Restore => "restore",
            Compensation::Task(task) => task.kind_name(),
        }),
    }
}

/// A pool that shares a cap.
fn pool(task: &Task, caps: &Caps) -> (usize, u64) {
    match task.kind {
        TaskKind::Agent(_) => (0, u64::from(caps.agent.value)),
        TaskKind::Shell(_) | TaskKind::Code(_) => (1, u64::from(caps.local.value)),
        TaskKind::Tool(_) => (2, u64::from(caps.tool.value)),
        // A gate takes no slot while it waits.
        TaskKind::Approval(_) => (4, u64::MAX),
    }
}

fn forecast(
    workflow: &Workflow,
    history: &History,
    durations: &[Option<u64>],
    path: &CriticalPath,
    caps: &Caps,
    lifted: bool,
) -> Forecast {
    let tasks = &workflow.tasks;
    let mut untimed = tasks.iter().zip(durations).filter(|(_, ms)| ms.is_none()).map(|(task, _)| task.id.as_str());
    let is_timed = durations.iter().all(Option::is_some);
    let cost = |task: &Task| match task.kind {
        TaskKind::Agent(_) => history.get(&task.id).and_then(|past| past.cost_usd).or(task.estimate.cost_usd),
        _ => Some(task.estimate.cost_usd.unwrap_or(0.0)),
    };
    let cost_usd: Option<f64> = tasks.iter().map(cost).sum();
    let reason = if !path.is_timed {
        Some("no history".to_owned())
    } else if !is_timed {
        Some(format!("no history or estimate of {}", list(&mut untimed)))
    } else if cost_usd.is_none() {
        let mut free = tasks.iter().filter(|task| cost(task).is_none()).map(|task| task.id.as_str());
        Some(format!("no history or estimate of the cost of {}", list(&mut free)))
    } else {
        None
    };
    Forecast {
        duration_ms: is_timed.then(|| makespan(workflow, durations, path, caps, lifted)),
        cost_usd: cost_usd.filter(|_| path.is_timed || !tasks.iter().any(|t| matches!(t.kind, TaskKind::Agent(_)))),
        reason,
    }
}

/// A few names of many.
fn list(names: &mut dyn Iterator<Item = &str>) -> String {
    let shown: Vec<_> = names.take(5).collect();
    let more = names.count();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

/// The least time that the critical path and the caps allow; real schedules come within a few per cent of it.
fn makespan(workflow: &Workflow, durations: &[Option<u64>], path: &CriticalPath, caps: &Caps, lifted: bool) -> u64 {
    let work = |task: TaskIndex| durations[task as usize].unwrap_or(0);
    // The longest task of a set, or its work spread over the slots of its pools, whichever is longer.
    let bound = |set: &[TaskIndex]| {
        let mut pools = [(0u64, 1u64); 5];
        for task in set {
            let (n, slots) = pool(&workflow.tasks[*task as usize], caps);
            pools[n] = (pools[n].0 + work(*task), slots);
            if let Some(cap) = caps.worktree.as_ref().filter(|_| workflow.tasks[*task as usize].executor == "worktree")
            {
                pools[3] = (pools[3].0 + work(*task), u64::from(cap.value));
            }
        }
        let spread = pools.iter().map(|(sum, slots)| sum.div_ceil(*slots)).max().unwrap_or(0);
        spread.max(set.iter().map(|task| work(*task)).max().unwrap_or(0))
    };
    let order = by_level(&workflow.tasks);
    match workflow.mode {
        ExecutionMode::Sequential if !lifted => order.iter().map(|task| work(*task)).sum(),
        ExecutionMode::Waves => {
            let level = |task: &TaskIndex| workflow.tasks[*task as usize].level;
            order.chunk_by(|a, b| level(a) == level(b)).map(bound).sum()
        }
        _ => bound(&order).max(path.length_ms),
    }
}

#[cfg(test)]
mod tests;
