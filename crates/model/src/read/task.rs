//! One task: its kind, then every key of it. It does not know the graph; it lists dependencies and references for
//! the graph to judge.

use std::sync::Arc;
use std::time::Duration;

use super::course;
use super::edges::{self, Edge};
use super::fields::{self, BareNumber};
use super::gates;
use super::header::{self, Header};
use super::kinds;
use super::permissions;
use super::resources;
use super::retry::{self, PartialRetry};
use super::secrets;
use super::{Reading, compensation, conversations};
use crate::diagnostic::quoted;
use crate::keys;
use crate::references::{self, Names, Use};
use crate::syntax::{Entry, Node, Span};
use crate::template::secret_names;
use crate::unsupported::{self, Place};
use crate::workflow::{
    AgentContext, AgentTask, Estimate, Isolation, OnDoubt, OnExhausted, OutputFormat, Resources, Task, TaskIndex,
    TaskKind, Timeout,
};

/// What the graph needs of a task.
pub(super) struct Draft<'n> {
    pub(super) id: &'n str,
    pub(super) span: Span,
    pub(super) dependencies: Vec<Edge>,
    /// Whether it names dependencies at all, known or not.
    pub(super) is_connected: bool,
    pub(super) uses: Vec<Use>,
    /// What runs when it fails, and where that stands.
    pub(super) fallback: Option<(TaskIndex, Span)>,
}

/// What marks a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Agent,
    Tool,
    Code,
    Shell,
    Approval,
    Subworkflow,
    Aggregate,
}

impl Kind {
    pub(super) fn of_key(key: &str) -> Option<Kind> {
        Some(match key {
            "prompt" | "agent" => Kind::Agent,
            "tool" => Kind::Tool,
            "type" | "code" | "code_file" => Kind::Code,
            "run" => Kind::Shell,
            "approve" => Kind::Approval,
            "workflow" => Kind::Subworkflow,
            "aggregate" => Kind::Aggregate,
            _ => return None,
        })
    }

    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Agent => keys::AGENT,
            Kind::Tool => keys::TOOL,
            Kind::Code => keys::CODE,
            Kind::Shell => keys::SHELL,
            Kind::Approval => keys::APPROVAL,
            Kind::Subworkflow => keys::SUBWORKFLOW,
            Kind::Aggregate => keys::AGGREGATE,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Agent => "an agent task",
            Kind::Tool => "a tool task",
            Kind::Code => "a code task",
            Kind::Shell => "a shell task",
            Kind::Approval => "an approval gate",
            Kind::Subworkflow => "a sub-workflow",
            Kind::Aggregate => "an aggregate",
        }
    }
}

/// What was read of the keys that every kind has.
#[derive(Default)]
struct Common {
    name: Option<String>,
    description: Option<String>,
    priority: i32,
    timeout: Option<Duration>,
    retry: PartialRetry,
    retryable: Option<bool>,
    side_effects: Option<bool>,
    output_format: OutputFormat,
    output_schema: Option<serde_json::Value>,
    executor: Option<String>,
    isolation: Option<Isolation>,
    on_doubt: Option<OnDoubt>,
    on_exhausted: OnExhausted,
    approval: bool,
    estimate: Estimate,
    resources: Resources,
    env: Vec<(String, crate::template::Template)>,
    cwd: Option<String>,
    model_when_exhausted: Option<String>,
    saga: Option<String>,
    writes: Vec<String>,
}

pub(super) fn read<'n>(
    entries: &'n [Entry<'_>],
    id: &'n str,
    span: Span,
    header: &Header,
    names: &Names<'_>,
    cx: &mut Reading<'_, '_>,
) -> (Draft<'n>, Option<Task>) {
    let errors = cx.sink.errors();
    let has_item = entries.iter().any(|entry| entry.key == "foreach");
    let names = &Names { tasks: names.tasks, inputs: names.inputs, has_item };
    let mut draft = Draft { id, span, dependencies: Vec::new(), is_connected: false, uses: Vec::new(), fallback: None };
    let kind = kind(entries, span, cx);
    let common = common(entries, kind, names, &mut draft, cx);
    let permissions = match entries.iter().find(|entry| entry.key == "permissions") {
        Some(entry) => {
            let is_server = |name: &str| header.is_server(name);
            permissions::read(&entry.value, (&header.permissions, "the workflow"), &is_server, &mut cx.sink)
        }
        None => Arc::clone(&header.permissions),
    };
    let mut body = kinds::Body { entries, header, names, uses: &mut draft.uses, cx };
    let name = common.name.unwrap_or_else(|| id.to_owned());
    let read = match kind {
        Some(Kind::Agent) => {
            let executor = header.defaults.executor.as_deref().unwrap_or("process");
            body.agent(&name).map(|agent| {
                let executor = if agent.tool.is_some() { "mcp" } else { executor };
                (TaskKind::Agent(Box::new(agent)), true, executor)
            })
        }
        Some(Kind::Tool) => body.tool().map(|tool| (TaskKind::Tool(Box::new(tool)), true, "local")),
        Some(Kind::Code) => body.code(span).map(|code| (TaskKind::Code(Box::new(code)), false, "local")),
        Some(Kind::Shell) => body.shell().map(|shell| (TaskKind::Shell(shell), true, "local")),
        Some(Kind::Approval) => body.approval().map(|gate| (TaskKind::Approval(Box::new(gate)), false, "local")),
        // These kinds have been refused already; their references are judged all the same.
        _ => {
            body.other_references();
            None
        }
    };
    let course = course::read(entries, read.as_ref().map(|(kind, ..)| kind), span, names, &mut draft.uses, cx);
    let Some((mut kind, effects_by_kind, executor_by_kind)) = read.filter(|_| cx.sink.errors() == errors) else {
        return (draft, None);
    };
    if let (TaskKind::Agent(agent), Some(model)) = (&mut kind, common.model_when_exhausted) {
        if agent.tool.is_some() {
            cx.sink.error("bad-value", span, "`on_exhausted` names a model, and a tool does this agent's work");
        }
        agent.model_when_exhausted = Some(model);
    }
    let executor = common.executor.unwrap_or_else(|| executor_by_kind.to_owned());
    // What a grant lists is an upper bound; what an agent's definition lists is a need.
    let answers = match (executor.as_str(), &kind) {
        (executor, TaskKind::Agent(agent)) if (executor == "mcp") != agent.tool.is_some() => {
            let told = format!("executor `{executor}` does not go with agent {}", quoted(&agent.agent));
            cx.sink.error("bad-value", span, told).help("`mcp` is for agents with `mcp:`, and those have no other");
            false
        }
        ("api" | "mcp", _) if !secret_names(common.env.iter().map(|(_, value)| value)).is_empty() => {
            secrets::not_in_a_process(&executor, span, cx);
            false
        }
        ("api", TaskKind::Agent(agent)) => only_answers(agent, span, cx),
        _ => true,
    };
    let granted = Arc::clone(&permissions);
    let permissions = permissions::fit(permissions, &mut kind, entries, header, (span, &mut cx.sink));
    if !answers || cx.sink.errors() > errors {
        return (draft, None);
    }
    let Some(isolation) = conversations::isolation(&executor, common.isolation.or(header.defaults.isolation), span, cx)
    else {
        return (draft, None);
    };
    let (line, column) = cx.sink.position(entries.first().map_or(span, |e| e.key_span));
    let mut task = Task {
        id: id.to_owned(),
        name,
        description: common.description,
        depends_on: Vec::new(),
        priority: common.priority,
        level: 0,
        timeout: timeout(&kind, common.timeout.or(header.defaults.timeout)),
        retry: common.retry.complete(common.retryable, &header.defaults.retry, retries(&kind, cx)),
        side_effects: effects_by_kind,
        output_format: common.output_format,
        output_schema: common.output_schema,
        env: common.env,
        cwd: common.cwd,
        on_doubt: OnDoubt::Ask,
        fallback: None,
        on_exhausted: common.on_exhausted,
        needs_approval: common.approval,
        estimate: common.estimate,
        resources: common.resources,
        executor,
        isolation,
        permissions,
        course,
        hash: crate::hash::task(entries, &kind),
        kind,
        saga: common.saga,
        writes: common.writes,
        compensate: None,
        line,
        column,
    };
    // Code is free of effects until it may call what has some.
    task.side_effects = common.side_effects.unwrap_or(effects_by_kind || task.may_call_tools());
    let by_effects = if task.side_effects { OnDoubt::Ask } else { OnDoubt::Rerun };
    task.on_doubt = common.on_doubt.unwrap_or(by_effects);
    task.compensate = compensation::read(entries, &task, granted, header, names, &mut draft.uses, cx);
    (draft, Some(task).filter(|_| cx.sink.errors() == errors))
}

/// Whether a task needs nothing but an answer: executor `api` has neither tools nor conversations.
fn only_answers(agent: &AgentTask, span: Span, cx: &mut Reading<'_, '_>) -> bool {
    let errors = cx.sink.errors();
    if agent.tools.as_ref().is_some_and(|tools| !tools.is_empty()) {
        cx.sink
            .error(
                "no-tools",
                span,
                format!("executor `api` has no tools, and agent {} has some", quoted(&agent.agent)),
            )
            .help("use executor `process`, or an agent with `tools: []`");
    }
    if agent.context != AgentContext::Fresh {
        cx.sink
            .error("no-conversation", span, "executor `api` continues no conversation")
            .help("use executor `process`, or leave `context` out");
    }
    cx.sink.errors() == errors
}

fn kind(entries: &[Entry<'_>], span: Span, cx: &mut Reading<'_, '_>) -> Option<Kind> {
    let mut marks: Vec<(Kind, &str)> = Vec::new();
    for entry in entries {
        if let Some(kind) = Kind::of_key(&entry.key).filter(|kind| marks.iter().all(|(k, _)| k != kind)) {
            marks.push((kind, &entry.key));
        }
    }
    match marks.as_slice() {
        [(kind, _)] => Some(*kind),
        [] => {
            cx.sink
                .error("missing-key", span, "nothing says what this task does")
                .help("give it one of prompt, agent, tool, type: code_execution, run, approve");
            None
        }
        _ => {
            let keys: Vec<_> = marks.iter().map(|(_, key)| format!("`{key}`")).collect();
            cx.sink
                .error("ambiguous-kind", span, format!("{} cannot stand together in one task", keys.join(" and ")))
                .help("a task is exactly one of agent, tool, code and shell; split it");
            None
        }
    }
}

fn common(
    entries: &[Entry<'_>],
    kind: Option<Kind>,
    names: &Names<'_>,
    draft: &mut Draft<'_>,
    cx: &mut Reading<'_, '_>,
) -> Common {
    let mut common = Common::default();
    let mut spellings: [Option<&Entry<'_>>; 2] = [None, None];
    for entry in entries {
        let (key, node) = (&*entry.key, &entry.value);
        let sink = &mut cx.sink;
        match key {
            _ if gates::is_in_vain(kind, entry, sink) => {}
            "id" | "permissions" | "when" | "foreach" | "max_parallel" => {}
            "superseded_by" if cx.changed => {}
            "name" => common.name = fields::plain_text(key, node, sink).map(str::to_owned),
            "description" => common.description = fields::text(key, node, sink).map(str::to_owned),
            "depends_on" => spellings[0] = Some(entry),
            "dependencies" => spellings[1] = Some(entry),
            "priority" => {
                let bounds = (i64::from(i32::MIN), i64::from(i32::MAX));
                common.priority = fields::integer(key, node, bounds, sink).unwrap_or(0) as i32;
            }
            "timeout" => common.timeout = fields::limit(key, node, BareNumber::Seconds, sink),
            "retry" => common.retry = retry::read(node, sink),
            "retryable" => common.retryable = fields::boolean(key, node, sink),
            "side_effects" => common.side_effects = fields::boolean(key, node, sink),
            "output_format" => {
                let words = [("text", OutputFormat::Text), ("json", OutputFormat::Json), ("none", OutputFormat::None)];
                common.output_format = fields::choice(key, node, &words, sink).unwrap_or_default();
            }
            "output_schema" => common.output_schema = cx.schema(node),
            "executor" => common.executor = executor(kind, node, cx),
            "isolation" => common.isolation = header::isolation(node, sink),
            "on_doubt" => {
                let words = [
                    ("rerun", OnDoubt::Rerun),
                    ("ask", OnDoubt::Ask),
                    ("fail", OnDoubt::Fail),
                    ("compensate", OnDoubt::Compensate),
                ];
                common.on_doubt = fields::choice(key, node, &words, sink);
            }
            "saga" => common.saga = compensation::saga(node, sink),
            "writes" => common.writes = fields::texts(key, node, sink).unwrap_or_default(),
            // It is read when the task is known that it undoes.
            "compensate" => {}
            "on_exhausted" => {
                common.on_exhausted = gates::on_exhausted(node);
                common.model_when_exhausted = retry::exhausted(node, kind == Some(Kind::Agent), sink);
            }
            "fallback" => {
                let name = fields::text(key, node, sink);
                draft.fallback = name
                    .and_then(|name| cx.task_named(name, draft.id, node.span, names))
                    .map(|other| (other, node.span));
            }
            "approval" => common.approval = gates::required(node, sink),
            "estimate" => common.estimate = estimate(node, cx),
            "resources" => common.resources = resources::read(node, cx),
            "env" | "cwd" if !matches!(kind, Some(Kind::Agent | Kind::Shell) | None) => {
                let words = kind.map_or("", Kind::words);
                sink.error("unknown-key", entry.key_span, format!("`{key}` means nothing for {words}"))
                    .help("only shell and agent tasks have a process of their own");
            }
            "env" => common.env = env(node, names, &mut draft.uses, cx),
            "cwd" => common.cwd = fields::plain_text(key, node, sink).map(str::to_owned),
            "status" | "level" => {
                sink.warning("ignored-key", entry.key_span, format!("`{key}` is computed; the value given is ignored"))
                    .help("remove it");
            }
            _ => other(entry, kind, cx),
        }
    }
    edges::dependencies(spellings, names, draft, cx);
    common
}

/// A key that is not common to all kinds, or not built yet, or unknown.
fn other(entry: &Entry<'_>, kind: Option<Kind>, cx: &mut Reading<'_, '_>) {
    let key = &*entry.key;
    if unsupported::key(Place::Task, key, entry.key_span, &mut cx.sink) {
        return;
    }
    match kind {
        Some(kind) if kind.keys().contains(&key) => {}
        Some(kind) => keys::unknown(entry, kind.words(), &[kind.keys(), keys::TASK], &mut cx.sink),
        None => {
            let all = [
                keys::AGENT,
                keys::TOOL,
                keys::CODE,
                keys::SHELL,
                keys::APPROVAL,
                keys::SUBWORKFLOW,
                keys::AGGREGATE,
                keys::TASK,
            ];
            if !all.iter().any(|keys| keys.contains(&key)) {
                keys::unknown(entry, "a task", &all, &mut cx.sink);
            }
        }
    }
}

fn executor(kind: Option<Kind>, node: &Node<'_>, cx: &mut Reading<'_, '_>) -> Option<String> {
    let own: &[(&str, &str)] = match kind {
        Some(Kind::Tool | Kind::Code) => &[("local", "local")],
        Some(Kind::Shell) => &[("local", "local"), ("worktree", "worktree")],
        _ => &[],
    };
    if kind == Some(Kind::Agent) && node.text() == Some("mcp") {
        return Some("mcp".to_owned());
    }
    if !own.is_empty() {
        return fields::choice("executor", node, own, &mut cx.sink).map(str::to_owned);
    }
    header::executor(node, cx.catalog, &mut cx.sink)
}

fn estimate(node: &Node<'_>, cx: &mut Reading<'_, '_>) -> Estimate {
    let mut estimate = Estimate::default();
    let sink = &mut cx.sink;
    for entry in fields::map("estimate", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "duration" => estimate.duration = fields::duration(key, node, BareNumber::Seconds, sink),
            "tokens" => {
                let tokens = fields::integer(key, node, (0, 1_000_000_000_000), sink);
                estimate.tokens = tokens.map(i64::unsigned_abs);
            }
            "cost" => estimate.cost_usd = fields::number(key, node, (0.0, 1e9), sink),
            _ => keys::unknown(entry, "an estimate", &[keys::ESTIMATE], sink),
        }
    }
    estimate
}

pub(super) fn env(
    node: &Node<'_>,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    cx: &mut Reading<'_, '_>,
) -> Vec<(String, crate::template::Template)> {
    let entries = fields::map("env", node, &mut cx.sink).unwrap_or_default();
    let mut env = Vec::with_capacity(entries.len());
    for variable in entries {
        let is_name = fields::variable_name(variable, &mut cx.sink);
        if let Some(text) = fields::scalar_text(&variable.key, &variable.value, &mut cx.sink).filter(|_| is_name) {
            let value = references::private_template(&text, variable.value.span, names, uses, &mut cx.sink);
            env.push((variable.key.to_string(), value));
        }
    }
    env
}

/// What a plan shows for a task without a timeout, and what limits it then.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// The wall clock of an agent whose timeout is nowhere given; its silence is limited by [`DEFAULT_TIMEOUT`].
const AGENT_WALL: Duration = Duration::from_secs(3600);

pub(super) fn timeout(kind: &TaskKind, given: Option<Duration>) -> Timeout {
    match (given, kind) {
        (Some(wall), _) => Timeout { wall, idle: None, shown: wall },
        (None, TaskKind::Agent(agent)) if agent.tool.is_none() => {
            Timeout { wall: AGENT_WALL, idle: Some(DEFAULT_TIMEOUT), shown: DEFAULT_TIMEOUT }
        }
        (None, _) => Timeout { wall: DEFAULT_TIMEOUT, idle: None, shown: DEFAULT_TIMEOUT },
    }
}

fn retries(kind: &TaskKind, cx: &Reading<'_, '_>) -> u32 {
    match kind {
        TaskKind::Agent(agent) => cx.catalog.models.default_retries(agent.model.as_deref()),
        _ => 0,
    }
}
