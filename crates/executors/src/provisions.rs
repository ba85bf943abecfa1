//! What this machine can promise, asked before a run: a demand that nobody can meet is refused while nothing has
//! happened yet. It does not know tasks.

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptSpec, Demands, Failure, Isolation, Resources, Work};
use raddle_engine::secrets::Secrets;

use crate::container::{self, ContainerConfig};
use crate::servers::Servers;
use crate::{confine, groups};

/// Why processes of the machine's own cannot be held to these demands here, in words; `None` when they can.
pub fn objection(demands: &Demands, containers: &ContainerConfig) -> Option<String> {
    let is_contained = demands.isolation == Isolation::Container;
    if is_contained && let Some(why) = container::objection(containers, &demands.resources) {
        return Some(why);
    }
    // Whoever makes containers limits them too, bubblewrap excepted.
    let runtime = is_contained.then(|| container::Runtime::choose(containers).ok()).flatten();
    if !runtime.is_some_and(|runtime| runtime.is_an_engine())
        && let Some(why) = groups::objection(&demands.resources)
    {
        return Some(why);
    }
    let confinement = demands.confinement.as_ref().filter(|_| !is_contained)?;
    let support = confine::support();
    let needs_mounts = confinement.write.is_some() || !confinement.deny.is_empty();
    support.files.or_else(|| support.mounts.filter(|_| needs_mounts))
}

/// Refuses an attempt whose demands nobody here meets.
pub(crate) fn refuse_unmet(spec: &AttemptSpec, servers: &Servers) -> Result<(), Failure> {
    let refused = |what: String| Err(Failure::new(FailureClass::Permission, what));
    let demands = &spec.demands;
    let has_process = matches!(spec.work, Work::Process(_) | Work::Agent(_));
    // Code runs in a sandbox that is closer than any container.
    if demands.isolation == Isolation::Container && matches!(spec.work, Work::Tool(_)) {
        return refused(
            "`isolation: container` cannot be provided: an MCP server is one process for all tasks".to_owned(),
        );
    }
    if !has_process && demands.resources != Resources::default() {
        let told = "`resources` limit a process of the task's own, and a task of this kind has none";
        return refused(told.to_owned());
    }
    let Some(confinement) = &demands.confinement else { return Ok(()) };
    match &spec.work {
        Work::Tool(work) if !servers.are_held_to(&work.server, confinement) => refused(format!(
            "the permissions of this task cannot be enforced: MCP server {:?} is one process for all tasks and is not \
             held to them",
            work.server
        )),
        Work::Code(work) if work.tools.is_some() && !servers.are_all_held_to(confinement) => refused(
            "the permissions of this task cannot be enforced: it calls tools of MCP servers, which are not held to them"
                .to_owned(),
        ),
        // The sandbox opens nothing but these paths.
        Work::Code(work) => confine::refuse_reads(confinement, &work.allowed_read_paths)
            .map_err(|why| Failure::new(FailureClass::Permission, why)),
        _ => Ok(()),
    }
}

/// Arguments of a process can be read by everybody on the machine, so no secret's value may be in one.
pub(crate) fn refuse_open_secrets(
    argv: impl IntoIterator<Item = impl AsRef<str>>,
    secrets: &Secrets,
) -> Result<(), Failure> {
    for argument in argv {
        if let Some(name) = secrets.found_in(argument.as_ref()) {
            let why = format!("the secret {name} would be an argument of a command, which everybody here can read");
            return Err(Failure::new(FailureClass::Permission, why));
        }
    }
    Ok(())
}
