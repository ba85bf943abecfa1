//! Who holds a task to which part of its grant, and what nobody can: such a run is refused before anything starts. It
//! does not enforce anything itself.

use std::sync::Arc;

use raddle_engine::attempt::{Confinement, Demands, Isolation, Network};
use raddle_engine::grants::code_tools;
use raddle_executors::ContainerConfig;
use raddle_executors::agent::Adapters;
use raddle_model::mcp_server::McpReach;
use raddle_model::permissions::{Access, Grant, Location, NetworkAccess, PathPattern, Scope};
use raddle_model::workflow::{AgentTask, CodeTask, Task, TaskKind, Workflow};
use serde::{Serialize, Serializer};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::Project;

/// At most so many parts that nobody enforces are told one by one.
const TOLD: usize = 20;
/// Who holds a gate to anything.
const NOTHING_STARTS: &str = "the gate itself, which starts nothing";
/// The checks of the engine itself.
const ENGINE: &str = "the engine";

/// A part of a grant.
#[derive(Debug, Serialize)]
pub struct Part {
    /// `tools`, `paths`, `deny`, `network`, `models`, `cost_budget`.
    pub part: &'static str,
    /// Who holds the task to it.
    #[serde(flatten)]
    pub holder: Holder,
}

/// Who holds a task to a part of its grant.
#[derive(Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nothing is limited, so nobody needs to.
    Nobody,
    /// These, each by itself.
    By(Vec<String>),
    /// Nobody can, for this reason.
    Unenforceable(String),
}

impl Serialize for Holder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = match self {
            Holder::Nobody => serde_json::json!({"limited": false, "by": []}),
            Holder::By(holders) => serde_json::json!({"limited": true, "by": holders}),
            Holder::Unenforceable(reason) => serde_json::json!({"limited": true, "by": [], "unenforceable": reason}),
        };
        value.serialize(serializer)
    }
}

/// All parts of a task's grant with who holds it to them. `base` is the folder that tasks start in.
pub fn parts(task: &Task, workflow: &Workflow, project: &Project, base: &Location) -> Vec<Part> {
    let adapters = &project.adapters;
    let grant = task.permissions.usable();
    let limited = |limited: bool, holder: &dyn Fn() -> Result<Vec<String>, String>| match limited.then(holder) {
        None => Holder::Nobody,
        Some(Ok(holders)) => Holder::By(holders),
        Some(Err(reason)) => Holder::Unenforceable(reason),
    };
    if task.executor == "api" {
        return without_tools(grant);
    }
    let tools = || tools(task, adapters);
    let files = || files(task, workflow, &project.containers, base);
    let denies = || denies(task, workflow, project, base);
    let network = || network(task, workflow, project);
    let models = || Ok(vec![format!("{ENGINE}, before the run")]);
    let paths = grant.read != Scope::All || grant.write != Scope::All;
    [
        ("tools", limited(grant.tools != Scope::All, &tools)),
        ("paths", limited(paths, &files)),
        ("deny", limited(!grant.deny.is_empty(), &denies)),
        ("network", limited(grant.network == NetworkAccess::None, &network)),
        ("models", limited(grant.models != Scope::All, &models)),
        ("cost_budget", limited(grant.cost_budget.is_some(), &|| budget(task, adapters))),
    ]
    .map(|(part, holder)| Part { part, holder })
    .into()
}

/// An executor whose agent only answers: it has no tools, files or process, so every limit on them holds.
fn without_tools(grant: &Grant) -> Vec<Part> {
    let by = |limited: bool, who: &str| if limited { Holder::By(vec![who.to_owned()]) } else { Holder::Nobody };
    let nothing = "executor api, which has no tools";
    let paths = grant.read != Scope::All || grant.write != Scope::All;
    [
        ("tools", by(grant.tools != Scope::All, nothing)),
        ("paths", by(paths, nothing)),
        ("deny", by(!grant.deny.is_empty(), nothing)),
        ("network", by(grant.network == NetworkAccess::None, nothing)),
        ("models", by(grant.models != Scope::All, "the engine, before the run")),
        ("cost_budget", by(grant.cost_budget.is_some(), "the engine, by what is reported")),
    ]
    .map(|(part, holder)| Part { part, holder })
    .into()
}

/// Refuses a workflow in which somebody is limited in a way that nobody can hold them to.
pub fn refuse_unenforceable(workflow: &Workflow, project: &Project, base: &Location) -> Result<(), Problem> {
    let mut reasons: Vec<String> = Vec::new();
    for task in &workflow.tasks {
        for Part { part, holder } in parts(task, workflow, project, base) {
            if let Holder::Unenforceable(reason) = holder {
                reasons.push(format!("`{part}` of task {}: {reason}", task.id));
            }
        }
    }
    let Some(first) = reasons.first() else { return Ok(()) };
    let mut problem = Problem::new(Exit::Refused, format!("unenforceable: {first}"));
    for reason in reasons.iter().skip(1).take(TOLD) {
        problem = problem.hint(format!("also {reason}"));
    }
    Err(problem.hint("nothing was started; `raddle perm explain FILE TASK` shows who enforces what"))
}

fn tools(task: &Task, adapters: &Adapters) -> Result<Vec<String>, String> {
    match &task.kind {
        TaskKind::Agent(agent) if agent.tool.is_none() => adapter(adapters, agent)?.tells_tools().map(|how| vec![how]),
        TaskKind::Agent(_) => Ok(vec![format!("{ENGINE}, before the start")]),
        TaskKind::Code(_) => Ok(vec!["the sandbox".into()]),
        TaskKind::Shell(_) | TaskKind::Tool(_) | TaskKind::Approval(_) => {
            Ok(vec![format!("{ENGINE}, before the start")])
        }
    }
}

fn adapter<'a>(adapters: &'a Adapters, agent: &AgentTask) -> Result<&'a raddle_executors::agent::Adapter, String> {
    adapters.get(&agent.cli).map_err(|failure| failure.message)
}

fn files(
    task: &Task,
    workflow: &Workflow,
    containers: &ContainerConfig,
    base: &Location,
) -> Result<Vec<String>, String> {
    let grant = task.permissions.usable();
    match &task.kind {
        TaskKind::Code(code) => {
            let mut holders = sandbox(code, grant, base)?;
            holders.extend(called_alike(task, code, workflow)?);
            Ok(holders)
        }
        TaskKind::Tool(tool) => server(grant, workflow, &tool.server),
        TaskKind::Agent(agent) if let Some(tool) = &agent.tool => server(grant, workflow, &tool.server),
        TaskKind::Agent(_) if task.executor == "task_tool" => {
            Err("tasks of executor task_tool share one process, and nothing limits files for one of them".into())
        }
        TaskKind::Agent(_) | TaskKind::Shell(_) => operating_system(task, containers),
        TaskKind::Approval(_) => Ok(vec![NOTHING_STARTS.into()]),
    }
}

fn denies(task: &Task, workflow: &Workflow, project: &Project, base: &Location) -> Result<Vec<String>, String> {
    let mut holders = files(task, workflow, &project.containers, base)?;
    if let TaskKind::Agent(agent) = &task.kind
        && agent.tool.is_none()
        && adapter(&project.adapters, agent)?.tells_denies()
    {
        holders.push(format!("flag --disallowedTools of {}", agent.cli));
    }
    Ok(holders)
}

/// The sandbox opens whole folders, so none of them may hold anything that the task may not read.
fn sandbox(code: &CodeTask, grant: &Grant, base: &Location) -> Result<Vec<String>, String> {
    let grant = grant.from(base);
    for path in &code.allowed_read_paths {
        let opened = PathPattern::of(Location::parse(path)?.from(base), true);
        let answer = grant.whole(Access::Read, &opened);
        if !answer.allowed {
            return Err(format!(
                "allowedReadPaths opens {path}, and the sandbox cannot leave a part of it out ({})",
                answer.rule
            ));
        }
    }
    Ok(vec!["the sandbox".into()])
}

fn network(task: &Task, workflow: &Workflow, project: &Project) -> Result<Vec<String>, String> {
    let (grant, containers) = (task.permissions.usable(), &project.containers);
    match &task.kind {
        TaskKind::Code(code) => {
            let mut holders = vec!["the sandbox".to_owned()];
            holders.extend(called_alike(task, code, workflow)?);
            Ok(holders)
        }
        TaskKind::Shell(_) => operating_system(task, containers),
        TaskKind::Approval(_) => Ok(vec![NOTHING_STARTS.into()]),
        TaskKind::Tool(tool) => server(grant, workflow, &tool.server),
        TaskKind::Agent(agent) if let Some(tool) = &agent.tool => server(grant, workflow, &tool.server),
        // Its CLI must reach the provider, so its tools are what is limited.
        TaskKind::Agent(agent) => {
            let advice = "list `tools` without them, or say `network: full`";
            match grant.tools.rules() {
                None => Err(format!("an agent with all tools reaches the network by Bash and others; {advice}")),
                Some(rules) => match rules.iter().find(|rule| rule.reaches_network()) {
                    Some(rule) => Err(format!("the agent's tool {rule} reaches the network; {advice}")),
                    None => tools(task, &project.adapters).map(|mut how| {
                        how.push("tools that reach the network are left out".into());
                        how
                    }),
                },
            }
            .map_err(|reason| format!("{reason} (agent CLI {})", agent.cli))
        }
    }
}

/// What a server does for a task is the doing of the server's process.
fn server(grant: &Grant, workflow: &Workflow, server: &str) -> Result<Vec<String>, String> {
    serves_all_alike(grant, workflow, server)?;
    held(grant, Isolation::default(), &ContainerConfig::default())?;
    Ok(vec![format!("the operating system, on the process of server {server}")])
}

/// Code that calls tools acts by any server of the run, so each of them is held to what the code is held to.
fn called_alike(task: &Task, code: &CodeTask, workflow: &Workflow) -> Result<Vec<String>, String> {
    if code_tools(task, code.intent.as_deref(), String::new).is_none() {
        return Ok(Vec::new());
    }
    let grant = task.permissions.usable();
    workflow.mcp_servers.keys().map(|name| server(grant, workflow, name)).try_fold(Vec::new(), |mut all, holders| {
        all.extend(holders?);
        Ok(all)
    })
}

/// One process of a server serves the tasks of the whole workflow, so it is held to what all of them may.
fn serves_all_alike(grant: &Grant, workflow: &Workflow, server: &str) -> Result<(), String> {
    let known = workflow.mcp_servers.get(server);
    if known.is_some_and(|known| !matches!(known.reach, McpReach::Command { .. })) {
        return Err(format!("server {server} is behind a URL, and nothing here reaches its process"));
    }
    let whole = workflow.permissions.usable();
    let alike = whole.read == grant.read
        && whole.write == grant.write
        && whole.deny == grant.deny
        && whole.network == grant.network;
    match alike {
        true => Ok(()),
        false => Err(format!(
            "server {server} serves all tasks of the workflow from one process; limit files and network for the workflow"
        )),
    }
}

/// Whether its processes, or the server that it calls, can be held to files and network here, and by what.
fn operating_system(task: &Task, containers: &ContainerConfig) -> Result<Vec<String>, String> {
    let is_contained = task.isolation == raddle_model::workflow::Isolation::Container;
    let isolation = if is_contained { Isolation::Container } else { Isolation::default() };
    held(task.permissions.usable(), isolation, containers)?;
    Ok(vec![if is_contained { "the task's container".into() } else { "the operating system".into() }])
}

/// Whether processes of that isolation can be held to files and network here.
fn held(grant: &Grant, isolation: Isolation, containers: &ContainerConfig) -> Result<(), String> {
    let limited = |is_limited: bool| is_limited.then(Vec::new);
    let confinement = Confinement {
        read: limited(grant.read != Scope::All),
        write: limited(grant.write != Scope::All),
        deny: grant.deny.iter().map(ToString::to_string).collect(),
        network: if grant.network == NetworkAccess::None { Network::None } else { Network::Full },
    };
    let demands = Demands { confinement: Some(Arc::new(confinement)), isolation, ..Demands::default() };
    raddle_executors::objection(&demands, containers).map_or(Ok(()), Err)
}

/// Whether what it costs will be known is asked before a run, when the prices are there.
fn budget(task: &Task, adapters: &Adapters) -> Result<Vec<String>, String> {
    let ledger = format!("{ENGINE}, by what is reported");
    match &task.kind {
        // Neither a session that hosts tasks nor a tool is told what one of them may cost.
        TaskKind::Agent(agent)
            if task.executor != "task_tool" && agent.tool.is_none() && adapter(adapters, agent)?.takes_budget() =>
        {
            Ok(vec![format!("flag --max-budget-usd of {}", agent.cli), ledger])
        }
        _ => Ok(vec![ledger]),
    }
}
