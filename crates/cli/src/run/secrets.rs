//! The secrets of a run: which it needs, and that nobody has written one of them where it would be kept. It does not
//! know where secrets come from.

use raddle_engine::secrets::Secrets;
use raddle_model::workflow::{Task, TaskKind, Workflow};

use super::servers;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::{Project, providers, secrets};

/// Gets every secret that the run may need: of tasks, of servers and agent CLIs that tasks use, of providers.
pub(super) fn unlock(workflow: &Workflow, project: &Project) -> Result<Secrets, Problem> {
    let clis = workflow.tasks.iter().filter_map(|task| match &task.kind {
        TaskKind::Agent(agent) if task.executor != "api" => project.adapters.get(&agent.cli).ok(),
        _ => None,
    });
    let of_clis: Vec<String> =
        clis.flat_map(|cli| cli.private_env().secrets().map(str::to_owned).collect::<Vec<_>>()).collect();
    let of_providers = providers::secrets(workflow, &project.api);
    let wanted = workflow.tasks.iter().flat_map(Task::secrets).chain(servers::secrets(workflow));
    let wanted = wanted.chain(of_clis.iter().chain(&of_providers).map(String::as_str));
    secrets::resolve(&project.secrets, wanted)
}

/// Refuses a run whose definition or parameters hold a secret itself: both are kept, and repeated to whoever asks.
pub(super) fn refuse_written(secrets: &Secrets, definition: &[u8], inputs: &str) -> Result<(), Problem> {
    let refused = |name: &str, place: &str| {
        Problem::new(Exit::Refused, format!("{place} hold the value of secret {name}, and are kept with the run"))
            .hint(format!("write `${{secret:{name}}}` under `env:` of the task that needs it"))
    };
    match (secrets.found_in(&String::from_utf8_lossy(definition)), secrets.found_in(inputs)) {
        (Some(name), _) => Err(refused(name, "the lines of the workflow")),
        (_, Some(name)) => Err(refused(name, "the parameters")),
        (None, None) => Ok(()),
    }
}
