//! Limits and isolation that tasks demand, held against what this machine can do before anything is started. It does not
//! know permissions; those are held against it elsewhere.

use raddle_engine::admission::Declared;
use raddle_engine::attempt::{self, Demands, Resources};
use raddle_engine::grants::resources_of;
use raddle_model::workflow::{Isolation, Task, TaskKind, Workflow};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::Project;

/// What tasks declare to use, and what they may use together.
pub(super) fn declared(workflow: &Workflow, project: &Project) -> Declared {
    let settings = &project.catalog.settings;
    let limits =
        Resources { memory_bytes: settings.memory_limit_bytes, cpu: settings.cpu_limit, ..Resources::default() };
    Declared { by_task: workflow.tasks.iter().map(resources_of).collect(), limits }
}

/// Refuses a workflow of which some task demands what nobody can provide here.
pub(super) fn refuse(workflow: &Workflow, project: &Project) -> Result<(), Problem> {
    let limits = declared(workflow, project).limits;
    let mut asked: Vec<Demands> = Vec::new();
    for task in &workflow.tasks {
        let resources = resources_of(task);
        let too_much = [
            ("memory", limits.memory_bytes.is_some() && resources.memory_bytes > limits.memory_bytes),
            ("cpu", limits.cpu.is_some() && resources.cpu > limits.cpu),
        ];
        if let Some((what, _)) = too_much.into_iter().find(|(_, is_too_much)| *is_too_much) {
            let told = format!("task {} declares more {what} than may be used in all", task.id);
            let hint = format!("raise `dag_execution.resource_limits.{what}`, or declare less");
            return Err(Problem::new(Exit::Refused, told).hint(hint));
        }
        if is_cut_off(task, project) {
            let told = format!("task {}: an agent CLI in a container without network cannot reach its model", task.id);
            return Err(Problem::new(Exit::Refused, told)
                .hint("say `network = true` in `[executors.container]`, or take `isolation: container` away"));
        }
        let isolation = match task.isolation {
            Isolation::Container => attempt::Isolation::Container,
            _ => attempt::Isolation::Process,
        };
        let demands = Demands { isolation, resources, ..Demands::default() };
        // Asking starts a program or makes a group: once for each kind of demand.
        if asked.contains(&demands) {
            continue;
        }
        if let Some(why) = objection(task, &demands, project) {
            return Err(Problem::new(Exit::Refused, format!("task {}: {why}", task.id))
                .hint("nothing has been started; no weaker level is taken in its place"));
        }
        if has_process(task) {
            asked.push(demands);
        }
    }
    Ok(())
}

fn has_process(task: &Task) -> bool {
    matches!(task.kind, TaskKind::Agent(_) | TaskKind::Shell(_))
}

/// Whether it is an agent CLI that would be started where it cannot work.
fn is_cut_off(task: &Task, project: &Project) -> bool {
    let has_cli = matches!(task.kind, TaskKind::Agent(_)) && !["api", "mcp"].contains(&&*task.executor);
    has_cli && task.isolation == Isolation::Container && !project.containers.network
}

fn objection(task: &Task, demands: &Demands, project: &Project) -> Option<String> {
    if has_process(task) {
        return raddle_executors::objection(demands, &project.containers);
    }
    if demands.resources != Resources::default() {
        return Some("`resources` limit a process of the task's own, and a task of this kind has none".to_owned());
    }
    let is_contained = demands.isolation == attempt::Isolation::Container;
    (is_contained && matches!(task.kind, TaskKind::Tool(_)))
        .then(|| "`isolation: container` cannot be provided: an MCP server is one process for all tasks".to_owned())
}
