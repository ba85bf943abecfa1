//! From a task's grant to what is demanded of whoever performs it, and the last look before an attempt starts, when
//! references are resolved. It does not know who enforces what.

use std::path::Path;
use std::sync::Arc;

use raddle_kernel::FailureClass;
use raddle_model::permissions::{Access, Grant, Location, NetworkAccess, PathPattern, Scope, ToolRule};
use raddle_model::workflow::{self, ShellTask, Task, TaskKind, Workflow};

use crate::attempt::{CodeTools, Confinement, Demands, Failure, Isolation, Network, Resources, Work};

/// Everything that is demanded for an attempt, or why its work is not within the task's grant.
pub fn demands(task: &Task, work: &Work, work_dir: &Path) -> Result<Demands, Failure> {
    permit(task, work, work_dir)?;
    Ok(Demands {
        executor: (task.executor != "local").then(|| task.executor.as_str().into()),
        isolation: match task.isolation {
            workflow::Isolation::None => Isolation::None,
            workflow::Isolation::Context => Isolation::Context,
            workflow::Isolation::Process => Isolation::Process,
            workflow::Isolation::Container => Isolation::Container,
        },
        confinement: confinement(task, work_dir)?,
        one_model: task.permissions.usable().models != Scope::All,
        resources: resources_of(task),
        ..Demands::default()
    })
}

/// What a task declares to use of the machine.
pub fn resources_of(task: &Task) -> Resources {
    let workflow::Resources { memory_bytes, cpu, pids } = task.resources;
    Resources { memory_bytes, cpu, pids }
}

/// What the processes of MCP servers are held to: each serves all tasks, so what all of them may.
pub fn server_confinement(workflow: &Workflow, work_dir: &Path) -> Result<Option<Arc<Confinement>>, Failure> {
    let grant = workflow.permissions.usable();
    let network = if grant.network == NetworkAccess::None { Network::None } else { Network::Full };
    held_to(grant, network, work_dir)
}

/// What the operating system must hold an attempt's processes to; `work_dir` is where relative patterns begin.
///
/// Code needs nothing unless it calls tools, whose servers must be held to it: its worker has neither files nor network
/// of its own. An agent CLI must reach its provider, so
/// `network: none` is about its tools, which are left out, and not about its process.
fn confinement(task: &Task, work_dir: &Path) -> Result<Option<Arc<Confinement>>, Failure> {
    let grant = task.permissions.usable();
    let network = match (&task.kind, grant.network) {
        (TaskKind::Code(code), _) if !code.asks_for_tools => return Ok(None),
        (TaskKind::Agent(agent), _) if agent.tool.is_none() => Network::Full,
        (_, NetworkAccess::Full) => Network::Full,
        (_, NetworkAccess::None) => Network::None,
    };
    held_to(grant, network, work_dir)
}

fn held_to(grant: &Grant, network: Network, work_dir: &Path) -> Result<Option<Arc<Confinement>>, Failure> {
    if !grant.limits_files() && network == Network::Full {
        return Ok(None);
    }
    let grant = grant.from(&base(work_dir)?);
    let texts = |patterns: &[PathPattern]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    let scope = |scope: &Scope<PathPattern>| scope.rules().map(texts);
    let (read, write, deny) = (scope(&grant.read), scope(&grant.write), texts(&grant.deny));
    Ok(Some(Arc::new(Confinement { read, write, deny, network })))
}

/// Refuses work that is not within the grant. Most of it is known before the run; this is about what references
/// brought, and about whoever made the task without reading a file.
fn permit(task: &Task, work: &Work, work_dir: &Path) -> Result<(), Failure> {
    let grant = task.permissions.usable();
    let answer = match (work, &task.kind) {
        (Work::Process(work), TaskKind::Shell(ShellTask::Script(script))) => {
            debug_assert!(work.argv.last() == Some(script), "a script is the last argument of its shell");
            grant.command(script.trim())
        }
        (Work::Process(work), _) => grant.program(work.argv.iter().map(String::as_str)),
        (Work::Tool(work), _) => grant.server_tool(&work.server, &work.tool),
        (Work::Agent(work), _) => match &work.model {
            Some(model) => grant.model(model),
            None => return Ok(()),
        },
        // It was judged before the task started, and is no work of the task.
        (Work::Restore(_), _) => return Ok(()),
        (Work::Code(work), _) => {
            if !grant.limits_files() || work.allowed_read_paths.is_empty() {
                return Ok(());
            }
            let grant = grant.from(&base(work_dir)?);
            for path in &work.allowed_read_paths {
                let pattern = PathPattern::of(base(path)?, true);
                let answer = grant.whole(Access::Read, &pattern);
                if !answer.allowed {
                    return Err(refused(&answer.rule));
                }
            }
            return Ok(());
        }
    };
    if answer.allowed { Ok(()) } else { Err(refused(&answer.rule)) }
}

/// The tools of MCP servers for code that asks for them. With an intent it sees them also where none may be called;
/// without one it has tools where some are granted.
pub fn code_tools(task: &Task, intent: Option<&str>, idempotency_key: impl FnOnce() -> String) -> Option<CodeTools> {
    let pattern = |rule: &ToolRule| match rule {
        // A star in a server's name would be taken for any server.
        ToolRule::Server { server, .. } if server.contains('*') => None,
        ToolRule::Server { server, tool: None } => Some(format!("{server}:*")),
        ToolRule::Server { server, tool: Some(tool) } => Some(format!("{server}:{tool}")),
        ToolRule::Named(_) | ToolRule::Command(_) => None,
    };
    if !matches!(&task.kind, TaskKind::Code(code) if code.asks_for_tools) {
        return None;
    }
    // Where nothing is said of tools, code may call none: it was never told that it may.
    let rules = task.permissions.usable().tools.rules();
    let granted: Option<Vec<String>> = rules.map(|rules| rules.iter().filter_map(pattern).collect());
    let some = granted.as_ref().is_some_and(|patterns| !patterns.is_empty());
    (intent.is_some() || some).then(|| CodeTools {
        intent: intent.map(str::to_owned),
        granted,
        idempotency_key: idempotency_key(),
    })
}

fn refused(rule: &str) -> Failure {
    Failure::new(FailureClass::Permission, format!("not within the task's permissions: {rule}"))
}

/// A path as permissions compare them.
pub(crate) fn base(path: &Path) -> Result<Location, Failure> {
    let wrong = |why: &str| {
        Failure::new(FailureClass::Permission, format!("paths cannot be limited from {}: {why}", path.display()))
    };
    let text = path.to_str().ok_or_else(|| wrong("it is not UTF-8"))?;
    Location::parse(text).map_err(|why| wrong(&why))
}

#[cfg(test)]
mod tests {
    use raddle_model::catalog::Catalog;
    use raddle_model::{NoSources, parse};

    use super::*;
    use crate::attempt::{CodeWork, ProcessWork};

    fn task(permissions: &str, body: &str) -> Task {
        let text = format!("permissions: {permissions}\ntasks: [{{id: t, {body}}}]");
        let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin());
        parsed.workflow.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics)).tasks.remove(0)
    }

    #[test]
    fn only_what_is_limited_is_demanded() {
        let here = Path::new("/home/u/p");
        let of = |permissions: &str, body: &str| confinement(&task(permissions, body), here).expect("a plain path");
        assert_eq!(of("{tools: [Bash]}", "run: x"), None);
        assert_eq!(of("{network: none}", "prompt: x"), None);
        assert_eq!(of("{paths: {read: []}, network: none}", "type: code_execution, code: return 1"), None);
        let shell = of("{paths: {read: [./w/**], write: []}, deny: [../s], network: none}", "run: x");
        let wanted = Confinement {
            read: Some(vec!["/home/u/p/w/**".into()]),
            write: Some(Vec::new()),
            deny: vec!["/home/u/s".into()],
            network: Network::None,
        };
        assert_eq!(shell.as_deref(), Some(&wanted));
        let agent = of("{deny: [.env], network: none}", "prompt: x").expect("a deny is a demand");
        assert_eq!((agent.read.as_ref(), agent.network), (None, Network::Full));
    }

    #[test]
    fn what_references_bring_is_judged() {
        let task = task("{tools: ['Bash(echo *)'], paths: {read: [./w/**]}, deny: [./w/s/**]}", "run: [echo, a]");
        let run = |argv: &[&str]| {
            let argv = argv.iter().map(|part| (*part).to_owned()).collect();
            permit(&task, &Work::Process(ProcessWork { argv, deps: None }), Path::new("/p"))
        };
        assert!(run(&["echo", "brought"]).is_ok());
        let refused = run(&["sh", "-c", "id"]).expect_err("another program");
        assert_eq!(refused.class, FailureClass::Permission);
        let code = |path: &str| {
            let code = CodeWork {
                code: String::new(),
                name: String::new(),
                deps: "{}".into(),
                context: "{}".into(),
                timeout: std::time::Duration::ZERO,
                memory_bytes: 0,
                allowed_read_paths: vec![path.into()],
                fixed: None,
                tools: None,
            };
            permit(&task, &Work::Code(Box::new(code)), Path::new("/p")).is_ok()
        };
        assert!(code("/p/w/a") && !code("/p/w") && !code("/p/w/s") && !code("/p/x"));
    }
}
