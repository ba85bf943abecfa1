//! What is written down with a run so that anybody can read it later without its workflow's surroundings: who the
//! tasks were, how they hang together, under which options it ran. It does not know how to run anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use raddle_kernel::{Gate, Graph, GraphBuilder, OnDoubt, Pool, RetryPolicy, Strength, TaskIx, TaskSpec};
use raddle_model::money::Money;
use raddle_model::template::Template;
use raddle_model::workflow::{Budget, TaskKind, Workflow};
use serde::{Deserialize, Serialize};

use crate::admission::Declared;
use crate::attempt::Resources;
use crate::grants::resources_of;
use crate::task_program::{escalates, gate_of};

/// Stored as JSON in [`crate::fact::Chapter::options`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    /// The options that shaped the run.
    pub options: RunOptions,
    /// Whether levels wait for each other: decides whether a run with a waiting task can still move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waves: bool,
    /// What bounded how many tasks ran at once, by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<CapRecord>,
    /// What running tasks may declare together.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub limits: Resources,
    /// What the run may spend.
    #[serde(default, skip_serializing_if = "Budget::is_unlimited")]
    pub budget: Budget,
    /// All tasks in the order of their indexes.
    pub tasks: Vec<TaskRecord>,
    /// The workflow's `outputs:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Vec<(String, Template)>>,
}

/// One cap.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CapRecord {
    /// The kinds of tasks that it counts together.
    pub kinds: Vec<String>,
    /// At most so many at once.
    pub value: u32,
    /// The setting that decided it.
    pub bound_by: String,
}

/// Options of the command that shaped the run; a resume uses them again.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// `--mode`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `--parallelism`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<String>,
    /// `--optimization`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimization: Option<String>,
    /// `--max-parallel`, where it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// `--parallel`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lift_caps: bool,
    /// `--simulate`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub simulate: bool,
    /// `--only`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// `--from`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// Folder that tasks start in, absolute.
    pub work_dir: String,
    /// Slots of the pools that were used, for the efficiency.
    #[serde(skip_serializing_if = "is_zero")]
    pub slots: u32,
    /// The repository of the tasks that have worktrees; `None` when no task has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktrees: Option<WorktreeOptions>,
}

/// A repository as it was when the run began, and how branches are named in it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorktreeOptions {
    /// What all its worktrees share, absolute (`.git` of an ordinary clone).
    pub repository: String,
    /// The top of the work tree that the run began in, absolute.
    pub top: String,
    /// The commit that was checked out there.
    pub head: String,
    /// The branch that was; `None` when HEAD was detached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Beginning of the names of branches.
    pub branch_prefix: String,
    /// Programs that the configuration named for filters and merges, by key. No others are started later on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub drivers: BTreeMap<String, String>,
}

fn is_nothing(resources: &Resources) -> bool {
    *resources == Resources::default()
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One task as people see it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskRecord {
    /// Its id.
    pub id: String,
    /// `agent`, `tool`, `code`, `shell` or `approval`.
    pub kind: String,
    /// Longest distance from a root.
    pub level: u32,
    /// Indexes of its hard dependencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hard: Vec<u32>,
    /// Indexes of its soft dependencies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub soft: Vec<u32>,
    /// Its failure is a value.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub safe_to_fail: bool,
    /// Executor's name.
    pub executor: String,
    /// Agent's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Model as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Why that model, where the program chose it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_reason: Option<String>,
    /// Names of its skills.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// What all its attempts together may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_budget: Option<Money>,
    /// What an attempt is said to cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<Money>,
    /// How many tokens an attempt is said to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_tokens: Option<u64>,
    /// The task that runs only when this one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<u32>,
    /// What it declares to use of the machine.
    #[serde(skip_serializing_if = "is_nothing")]
    pub resources: Resources,
    /// A patch took it out before it started; it is shown to nobody.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
    /// Another task is in its place.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub superseded: bool,
    /// The id of the task in whose place it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stands_for: Option<String>,
    /// It gathers what the items of its list brought.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub foreach: bool,
    /// The task of whose list it is an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub item_of: Option<u32>,
    /// A person is asked about it.
    #[serde(skip_serializing_if = "GateRecord::is_none")]
    pub gate: GateRecord,
    /// JSON Schema of the answer to its gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_schema: Option<serde_json::Value>,
    /// A person decides about its last failure.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub escalates: bool,
    /// Hash of its definition: decides what a changed workflow may take over.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// A repeat of it could be noticed outside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub side_effects: bool,
    /// The scope of its saga, from 1; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub scope: u32,
    /// What it does can be undone, and when that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoRecord>,
}

/// When what a task did is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoRecord {
    /// When its saga fails after it completed.
    Completed,
    /// Also when nobody knows how far it came.
    InDoubt,
}

/// Whether a person is asked about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRecord {
    /// Nobody.
    #[default]
    None,
    /// The answer is the task.
    Decides,
    /// A yes lets its attempts start.
    Precedes,
}

impl GateRecord {
    fn is_none(&self) -> bool {
        *self == GateRecord::None
    }
}

impl From<Gate> for GateRecord {
    fn from(gate: Gate) -> Self {
        match gate {
            Gate::None => GateRecord::None,
            Gate::Decides => GateRecord::Decides,
            Gate::Precedes => GateRecord::Precedes,
        }
    }
}

impl From<GateRecord> for Gate {
    fn from(gate: GateRecord) -> Self {
        match gate {
            GateRecord::None => Gate::None,
            GateRecord::Decides => Gate::Decides,
            GateRecord::Precedes => Gate::Precedes,
        }
    }
}

impl Snapshot {
    /// Of a workflow under these options.
    pub fn of(workflow: &Workflow, options: RunOptions) -> Self {
        // A simulated run asks nobody.
        let asks = !options.simulate;
        let tasks = workflow.tasks.iter().map(|task| {
            let of = |strength| {
                task.depends_on.iter().filter(move |d| d.strength == strength).map(|d| d.task).collect::<Vec<u32>>()
            };
            let agent = match &task.kind {
                TaskKind::Agent(agent) => Some(agent),
                _ => None,
            };
            TaskRecord {
                id: task.id.clone(),
                kind: task.kind_name().to_owned(),
                level: task.level,
                hard: of(raddle_model::workflow::Strength::Hard),
                soft: of(raddle_model::workflow::Strength::Soft),
                safe_to_fail: task.safe_to_fail(),
                executor: task.executor.clone(),
                agent: agent.map(|a| a.agent.clone()),
                model: agent.and_then(|a| a.model.clone()),
                model_reason: agent.and_then(|a| a.model_reason.clone()),
                skills: agent.map(|a| a.skills.iter().map(|s| s.0.clone()).collect()).unwrap_or_default(),
                cost_budget: task.cost_budget(),
                estimated_cost: task.estimate.cost_usd.and_then(Money::from_usd),
                estimated_tokens: task.estimate.tokens,
                fallback: task.fallback,
                resources: resources_of(task),
                removed: task.course.is_removed,
                superseded: task.course.superseded_by.is_some(),
                stands_for: task.course.stands_for.clone(),
                foreach: task.course.foreach.is_some(),
                item_of: task.course.item.map(|item| item.of),
                gate: if asks { gate_of(task).into() } else { GateRecord::None },
                answer_schema: task.output_schema.clone().filter(|_| gate_of(task) == Gate::Decides),
                escalates: escalates(task) && asks,
                hash: task.hash.clone(),
                side_effects: task.side_effects,
                scope: 0,
                undo: task.compensate.is_some().then_some(match task.on_doubt {
                    raddle_model::workflow::OnDoubt::Compensate => UndoRecord::InDoubt,
                    _ => UndoRecord::Completed,
                }),
            }
        });
        let tasks = tasks.zip(workflow.scopes()).map(|(task, scope)| TaskRecord { scope, ..task });
        let waves = workflow.mode == raddle_model::workflow::ExecutionMode::Waves;
        Snapshot {
            options,
            waves,
            caps: Vec::new(),
            limits: Resources::default(),
            budget: workflow.budget,
            tasks: tasks.collect(),
            outputs: workflow.outputs.clone(),
        }
    }

    /// What tasks declare, and what they may use together.
    pub fn declared(&self) -> Declared {
        Declared { by_task: self.tasks.iter().map(|task| task.resources).collect(), limits: self.limits }
    }

    /// A graph that folds the run's events to the same states; without caps and retries, which only matter to who
    /// decides. `None` when the snapshot cannot be of a graph.
    pub fn graph(&self) -> Option<Arc<Graph>> {
        let mut builder = GraphBuilder::with_capacity(self.tasks.len(), self.tasks.len());
        builder.waves(self.waves);
        let retry = builder.policy(RetryPolicy::NONE);
        for task in &self.tasks {
            builder.task(TaskSpec {
                priority: 0,
                weight: 1,
                pool: Pool(0),
                safe_to_fail: task.safe_to_fail,
                side_effects: false,
                on_doubt: if task.undo == Some(UndoRecord::InDoubt) { OnDoubt::Compensate } else { OnDoubt::Rerun },
                retry,
            });
        }
        for (i, task) in (0u32..).zip(&self.tasks) {
            if task.scope > 0 {
                builder.scope(TaskIx(i), task.scope);
            }
            if task.undo.is_some() {
                builder.undo(TaskIx(i), retry);
            }
        }
        for (at, task) in (0u32..).map(TaskIx).zip(&self.tasks) {
            builder.gate(at, task.gate.into());
            if task.escalates {
                builder.escalate(at);
            }
        }
        for (to, task) in (0u32..).zip(&self.tasks) {
            for (list, strength) in [(&task.hard, Strength::Hard), (&task.soft, Strength::Soft)] {
                list.iter().for_each(|from| builder.edge(TaskIx(*from), TaskIx(to), strength));
            }
            if task.superseded {
                builder.supersede(TaskIx(to));
            }
        }
        builder.build().ok().map(Arc::new)
    }
}
