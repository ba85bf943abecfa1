//! The kernel's graph of a workflow: what it has to know of tasks, their pools and their retries. It does not know what
//! tasks do.

use raddle_kernel::{Graph, GraphBuilder, OnDoubt, Pool, RetryPolicy, Strength, TaskIx, TaskSpec};
use raddle_model::workflow::{self, Task, TaskKind, Workflow};

use super::{AGENT, LOCAL, TOOL, escalates, gate_of, retries, undo};

/// The kernel's graph of a workflow; see [`super::TaskProgram::new`]. A simulated run asks nobody: nothing is performed
/// that could be approved.
pub fn graph_of(workflow: &Workflow, weights: &[u32], mode: workflow::ExecutionMode, simulate: bool) -> Graph {
    let edges = workflow.tasks.iter().map(|t| t.depends_on.len()).sum();
    let mut builder = GraphBuilder::with_capacity(workflow.tasks.len(), edges);
    builder.waves(mode == workflow::ExecutionMode::Waves);
    for (i, task) in workflow.tasks.iter().enumerate() {
        // Counting the items of a list again would change nothing; the items have the retries.
        let gathers = task.course.foreach.is_some();
        let policy = if gathers { RetryPolicy::NONE } else { retries::policy(task) };
        let retry = builder.policy(policy);
        builder.task(TaskSpec {
            priority: task.priority,
            weight: weights.get(i).copied().unwrap_or(1),
            pool: if mode == workflow::ExecutionMode::Sequential { AGENT } else { pool_of(task) },
            safe_to_fail: task.safe_to_fail(),
            side_effects: task.side_effects && !gathers,
            on_doubt: match task.on_doubt {
                workflow::OnDoubt::Rerun => OnDoubt::Rerun,
                workflow::OnDoubt::Ask => OnDoubt::Ask,
                workflow::OnDoubt::Fail => OnDoubt::Fail,
                workflow::OnDoubt::Compensate => OnDoubt::Compensate,
            },
            retry,
        });
        if !simulate {
            builder.gate(TaskIx(i as u32), gate_of(task));
        }
        if escalates(task) && !simulate {
            builder.escalate(TaskIx(i as u32));
        }
        if task.course.superseded_by.is_some() {
            builder.supersede(TaskIx(i as u32));
        }
    }
    undo::tell_sagas(workflow, &mut builder);
    for (to, task) in (0u32..).zip(&workflow.tasks) {
        for dependency in &task.depends_on {
            let strength = match dependency.strength {
                workflow::Strength::Hard => Strength::Hard,
                workflow::Strength::Soft => Strength::Soft,
            };
            builder.edge(TaskIx(dependency.task), TaskIx(to), strength);
        }
    }
    builder.build().expect("validation has found every cycle and every unknown task")
}

/// Whose cap a task counts against when the mode is not sequential.
pub fn pool_of(task: &Task) -> Pool {
    match task.kind {
        // What gathers the items of a list calls nobody.
        _ if task.course.foreach.is_some() => LOCAL,
        TaskKind::Agent(_) => AGENT,
        TaskKind::Shell(_) | TaskKind::Code(_) => LOCAL,
        TaskKind::Tool(_) => TOOL,
        // It never takes a slot there.
        TaskKind::Approval(_) => LOCAL,
    }
}
