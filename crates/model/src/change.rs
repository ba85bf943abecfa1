//! What is different between two workflows, in words: for people whose run cannot go on with a changed definition. It
//! does not know runs. Layout, comments and the order of keys are no difference.

use std::collections::HashMap;
use std::fmt;

use crate::workflow::{AgentContext, Compensation, Task, TaskKind, Workflow};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A task that was not there.
    Added(String),
    /// A task that is not there any more.
    Removed(String),
    /// A task that is defined differently.
    Changed {
        /// Its id.
        task: String,
        /// The keys in which it differs.
        keys: Vec<&'static str>,
    },
    /// Something outside of the tasks.
    Workflow {
        /// The keys that differ; empty when it is only a key that has no effect on a run.
        keys: Vec<&'static str>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added(task) => write!(f, "task {task} was added"),
            Change::Removed(task) => write!(f, "task {task} was removed"),
            Change::Changed { task, keys } if keys.is_empty() => write!(f, "task {task} changed"),
            Change::Changed { task, keys } => write!(f, "task {task} changed in {}", keys.join(", ")),
            Change::Workflow { keys } if keys.is_empty() => write!(f, "the workflow changed"),
            Change::Workflow { keys } => write!(f, "the workflow changed in {}", keys.join(", ")),
        }
    }
}

/// All differences, those of the workflow first, then task by task; empty exactly when nothing differs in meaning.
pub fn diff(old: &Workflow, new: &Workflow) -> Vec<Change> {
    let mut changes = Vec::new();
    let olds: HashMap<&str, &Task> = old.tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    let news: HashMap<&str, &Task> = new.tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    for task in &old.tasks {
        match news.get(task.id.as_str()) {
            None => changes.push(Change::Removed(task.id.clone())),
            Some(now) => {
                let keys = task_keys(old, task, new, now);
                if task.hash != now.hash || !keys.is_empty() {
                    changes.push(Change::Changed { task: task.id.clone(), keys });
                }
            }
        }
    }
    let added = new.tasks.iter().filter(|task| !olds.contains_key(task.id.as_str()));
    changes.extend(added.map(|task| Change::Added(task.id.clone())));
    let keys = workflow_keys(old, new);
    // Whatever else made the hashes differ (the order of tasks, a description) is still a change of the file.
    if !keys.is_empty() || (changes.is_empty() && old.hash != new.hash) {
        changes.insert(0, Change::Workflow { keys });
    }
    changes
}

fn workflow_keys(old: &Workflow, new: &Workflow) -> Vec<&'static str> {
    let inputs =
        |w: &Workflow| w.inputs.iter().map(|i| (i.name.clone(), i.kind.name(), i.default.clone())).collect::<Vec<_>>();
    let ids = |w: &Workflow| w.tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>();
    let outputs = |w: &Workflow| w.outputs.as_ref().map(|o| format!("{o:?}"));
    let differences = [
        ("name", old.name != new.name),
        ("inputs", inputs(old) != inputs(new)),
        ("execution_mode", old.mode != new.mode),
        ("parallelism_level", old.parallelism != new.parallelism),
        ("optimization_mode", old.optimization != new.optimization),
        ("limits", old.max_parallelism != new.max_parallelism || old.budget != new.budget),
        ("mcp_servers", old.mcp_servers != new.mcp_servers),
        ("permissions", old.permissions != new.permissions),
        ("on_failure", old.on_failure != new.on_failure),
        // References hold indexes, which only compare while the tasks are the same.
        ("outputs", ids(old) == ids(new) && outputs(old) != outputs(new)),
    ];
    differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn task_keys(old_workflow: &Workflow, old: &Task, new_workflow: &Workflow, new: &Task) -> Vec<&'static str> {
    let dependencies = |workflow: &Workflow, task: &Task| {
        let mut named: Vec<_> =
            task.depends_on.iter().map(|d| (workflow.tasks[d.task as usize].id.clone(), d.strength)).collect();
        named.sort();
        named
    };
    let env = |task: &Task| task.env.iter().map(|(k, v)| (k.clone(), v.written())).collect::<Vec<_>>();
    let differences = [
        ("kind", old.kind_name() != new.kind_name()),
        ("name", old.name != new.name),
        ("depends_on", dependencies(old_workflow, old) != dependencies(new_workflow, new)),
        ("priority", old.priority != new.priority),
        ("timeout", old.timeout != new.timeout),
        ("retry", old.retry != new.retry),
        ("side_effects", old.side_effects != new.side_effects),
        ("output_format", old.output_format != new.output_format),
        ("output_schema", old.output_schema != new.output_schema),
        ("env", env(old) != env(new)),
        ("cwd", old.cwd != new.cwd),
        ("on_doubt", old.on_doubt != new.on_doubt),
        ("executor", old.executor != new.executor),
        ("isolation", old.isolation != new.isolation),
        ("saga", old.saga != new.saga),
        ("writes", old.writes != new.writes),
        ("compensate", undoing(old_workflow, old) != undoing(new_workflow, new)),
        ("approval", old.needs_approval != new.needs_approval),
        ("on_exhausted", old.on_exhausted != new.on_exhausted),
        // What the workflow grants otherwise is told of the workflow, not of every task again.
        ("permissions", old.permissions != new.permissions && old_workflow.permissions == new_workflow.permissions),
    ];
    let mut keys: Vec<_> = differences.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect();
    let (before, after) = (body(old_workflow, &old.kind), body(new_workflow, &new.kind));
    if old.kind_name() == new.kind_name() {
        keys.extend(before.iter().zip(&after).filter(|(a, b)| a != b).map(|((key, _), _)| *key));
    }
    keys
}

/// What is written under `compensate`, comparable between workflows.
fn undoing(workflow: &Workflow, task: &Task) -> Option<String> {
    Some(match task.compensate.as_ref()? {
        Compensation::Restore => "restore".to_owned(),
        Compensation::Task(task) => {
            let env: Vec<_> = task.env.iter().map(|(name, value)| (name, value.written())).collect();
            format!("{:?}", (task.kind_name(), body(workflow, &task.kind), task.timeout, &task.retry, env))
        }
    })
}

/// The keys of a kind with what was written under them, comparable between workflows.
fn body(workflow: &Workflow, kind: &TaskKind) -> Vec<(&'static str, String)> {
    match kind {
        TaskKind::Agent(agent) => vec![
            ("agent", format!("{:?}", (&agent.agent, &agent.cli, &agent.system_prompt, &agent.tools))),
            ("prompt", agent.prompt.written()),
            ("model", format!("{:?}", agent.model)),
            ("skills", format!("{:?}", agent.skills)),
            ("inputs", agent.append_inputs.to_string()),
            ("context", {
                let shares = matches!(agent.context, AgentContext::Shared(_));
                format!("{:?}", (shares, agent.context.after().map(|task| &workflow.tasks[task as usize].id)))
            }),
        ],
        TaskKind::Tool(tool) => {
            vec![("tool", format!("{}:{}", tool.server, tool.tool)), ("arguments", tool.arguments.written())]
        }
        TaskKind::Code(code) => {
            let context: Vec<_> = code.context.iter().map(|(key, value)| (key, value.written())).collect();
            let sandbox = (code.sandbox_timeout, code.memory_limit_bytes, &code.allowed_read_paths);
            vec![
                ("code", code.code.clone()),
                ("context", format!("{context:?}")),
                ("sandbox_config", format!("{sandbox:?}")),
            ]
        }
        TaskKind::Shell(crate::workflow::ShellTask::Script(script)) => vec![("run", script.clone())],
        TaskKind::Shell(crate::workflow::ShellTask::Argv(argv)) => {
            vec![("run", format!("{:?}", argv.iter().map(|arg| arg.written()).collect::<Vec<_>>()))]
        }
        TaskKind::Approval(gate) => {
            vec![("approve", gate.question.written()), ("expires", format!("{:?}", gate.expires))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::read::{NoSources, parse};

    fn words(old: &str, new: &str) -> Vec<String> {
        let read = |text: &str| parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin()).workflow;
        let (old, new) = (read(old).expect("valid"), read(new).expect("valid"));
        assert_eq!(old.hash == new.hash, diff(&old, &new).is_empty());
        diff(&old, &new).iter().map(Change::to_string).collect()
    }

    #[test]
    fn changes_in_words() {
        let old = "tasks: [{id: a, run: x}, {id: b, run: [echo, '$OUTPUT[a]'], depends_on: [a]}]";
        assert!(
            words(
                old,
                "tasks:\n# same\n  - run: x\n    id: a\n  - {id: b, run: [echo, '$OUTPUT[a]'], depends_on: [a]}"
            )
            .is_empty()
        );
        let new = "tasks: [{id: c, run: x}, {id: a, run: y, timeout: 5}, {id: b, run: [echo, '$OUTPUT[a]'], depends_on: [a, c]}]";
        assert_eq!(
            words(old, new),
            ["task a changed in timeout, run", "task b changed in depends_on", "task c was added"]
        );
        assert_eq!(words(new, old)[0], "task c was removed");
        let slow = format!("execution_mode: waves\n{old}");
        assert_eq!(words(old, &slow), ["the workflow changed in execution_mode"]);
        assert_eq!(words(old, &format!("description: d\n{old}")), ["the workflow changed"]);
        let other =
            "tasks: [{id: a, run: x, estimate: {tokens: 5}}, {id: b, run: [echo, '$OUTPUT[a]'], depends_on: [a]}]";
        assert_eq!(words(old, other), ["task a changed"]);
    }
}
