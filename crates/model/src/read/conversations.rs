//! Who shares a conversation with whom: judges `context: {resume: task}`, puts the turns of `context: shared` in order,
//! and holds hosted tasks to the isolation that they can have. It does not know where conversations are kept.

use std::collections::BTreeMap;

use super::Reading;
use super::task::Draft;
use crate::diagnostic::quoted;
use crate::graph::{self, Neighbours};
use crate::syntax::Span;
use crate::workflow::{AgentContext, AgentTask, Isolation, Task, TaskIndex, TaskKind};

/// The executor whose tasks are hosted by one session.
const HOSTED: &str = "task_tool";

/// The demanded level, or the usual one of the executor; a level that the executor does not have is an error.
pub(super) fn isolation(
    executor: &str,
    given: Option<Isolation>,
    span: Span,
    cx: &mut Reading<'_, '_>,
) -> Option<Isolation> {
    match given {
        None if executor == HOSTED => Some(Isolation::None),
        Some(level) if executor == HOSTED && level != Isolation::None => {
            cx.sink
                .error(
                    "unenforceable",
                    span,
                    format!("executor `{HOSTED}` isolates nothing: its tasks share one session"),
                )
                .help("say `isolation: none` on the task, or use another executor");
            None
        }
        given => Some(given.unwrap_or(Isolation::Process)),
    }
}

fn agent(task: &Task) -> Option<&AgentTask> {
    match &task.kind {
        TaskKind::Agent(agent) => Some(agent),
        _ => None,
    }
}

impl Reading<'_, '_> {
    /// Tasks with faults of their own are `None` and are passed over.
    pub(super) fn conversations(&mut self, drafts: &[Draft<'_>], tasks: &mut [Option<Task>]) {
        let mut sharing: BTreeMap<String, Vec<TaskIndex>> = BTreeMap::new();
        for (n, task) in tasks.iter().enumerate() {
            let Some((task, own)) = task.as_ref().and_then(|task| Some((task, agent(task)?))) else { continue };
            match own.context {
                AgentContext::Fresh => {}
                AgentContext::Resume(target) => {
                    if let Some(before) = &tasks[target as usize] {
                        self.resumable(&drafts[n], task, own, before);
                    }
                }
                AgentContext::Shared(_) if task.executor == HOSTED => {}
                AgentContext::Shared(_) => sharing.entry(own.cli.clone()).or_default().push(n as TaskIndex),
            }
        }
        sharing.retain(|_, members| members.len() > 1);
        if !sharing.is_empty() {
            self.take_turns(drafts, tasks, sharing);
        }
    }

    fn resumable(&mut self, draft: &Draft<'_>, task: &Task, own: &AgentTask, before: &Task) {
        let id = quoted(&before.id);
        let (message, help) = match agent(before) {
            None => {
                let message = format!("{id} is no agent task, so there is no conversation to continue");
                (message, "name an agent task that comes before".to_owned())
            }
            Some(other) if other.cli != own.cli => {
                let message = format!("{id} talks through `{}` and this task through `{}`", other.cli, own.cli);
                (message, "a conversation can be continued through the same agent CLI only".to_owned())
            }
            _ if [task, before].iter().any(|task| matches!(task.executor.as_str(), HOSTED | "api")) => {
                let message = "a task of the executors `task_tool` and `api` has no conversation of its own".to_owned();
                (message, "use another executor, or let the prompt say what is to be known".to_owned())
            }
            Some(_) => return,
        };
        self.sink.error("bad-context", draft.span, message).help(help).task(draft.id);
    }

    /// Turns of one conversation cannot overlap: of any two tasks that share it, one must come before the other.
    fn take_turns(
        &mut self,
        drafts: &[Draft<'_>],
        tasks: &mut [Option<Task>],
        sharing: BTreeMap<String, Vec<TaskIndex>>,
    ) {
        let dependencies = Neighbours::new(drafts.iter().map(|draft| draft.dependencies.iter().map(|edge| edge.task)));
        let order = graph::order(&dependencies, &dependencies.reversed());
        let mut place = vec![usize::MAX; drafts.len()];
        order.tasks.iter().enumerate().for_each(|(n, task)| place[*task as usize] = n);
        for mut members in sharing.into_values() {
            members.sort_by_key(|task| place[*task as usize]);
            let turns: Vec<(TaskIndex, TaskIndex)> = members.windows(2).map(|pair| (pair[1], pair[0])).collect();
            let unordered = graph::non_ancestors(&turns, &dependencies, &order);
            for (n, (task, before)) in turns.into_iter().enumerate() {
                if unordered.contains(&n) {
                    let (draft, other) = (&drafts[task as usize], drafts[before as usize].id);
                    let message = format!("{} shares a conversation, and neither comes first", quoted(other));
                    self.sink
                        .error("bad-context", draft.span, message)
                        .help(format!(
                            "add {} to its `depends_on`: turns of a conversation cannot overlap",
                            quoted(other)
                        ))
                        .task(draft.id);
                } else if let Some(Task { kind: TaskKind::Agent(agent), .. }) = &mut tasks[task as usize] {
                    agent.context = AgentContext::Shared(Some(before));
                }
            }
        }
    }
}
