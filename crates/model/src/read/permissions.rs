//! `permissions:` of a workflow or task: its fields, what of it is wider than there is to give, and whether the task's
//! own work is within it. It does not know how grants are ordered; `crate::permissions` does.

use std::sync::Arc;

use super::fields;
use super::header::Header;
use crate::diagnostic::{Sink, quoted};
use crate::keys;
use crate::permissions::{
    Excess, Grant, Location, ModelRule, NetworkAccess, PathPattern, Permissions, Preset, Request, Rule, Scope, TOOLS,
    ToolError, ToolRule,
};
use crate::syntax::{Data, Entry, Node, Span};
use crate::template::Template;
use crate::workflow::{AgentTask, ShellTask, TaskKind};

/// More entries of one list are refused: comparing two lists takes the product of their lengths.
const MAX_ENTRIES: usize = 500;
/// The most that a `cost_budget` may be.
const MAX_USD: f64 = 1e9;

/// The grants that a `permissions:` gives, out of what the parent may hand on. `parent` reads like "the workflow".
pub(super) fn read(
    node: &Node<'_>,
    parent: (&Permissions, &str),
    is_server: &dyn Fn(&str) -> bool,
    sink: &mut Sink<'_>,
) -> Arc<Permissions> {
    let (parent, name) = parent;
    let before = sink.errors();
    let Some(request) = request(node, true, is_server, sink).filter(|_| sink.errors() == before) else {
        return Arc::new(parent.clone());
    };
    let (permissions, excess) = parent.child(&request);
    for one in &excess {
        let field = format!("{}permissions.{}", if one.in_delegate { "delegate of " } else { "" }, one.field);
        let message = format!("`{field}` asks for {}, which {name} does not grant", quoted(&one.value));
        sink.error("permission-widened", place(node, one), message)
            .help(format!("{name} grants {}", ceiling(parent.delegable(), one.field)));
    }
    Arc::new(permissions)
}

/// Where that was asked for.
fn place(node: &Node<'_>, excess: &Excess) -> Span {
    let node = node.get("delegate").filter(|_| excess.in_delegate).unwrap_or(node);
    let written = excess.field.split('.').try_fold(node, |at, key| at.get(key));
    let asked = written.or_else(|| node.get("preset")).unwrap_or(node);
    match (&asked.data, excess.item) {
        (Data::List(items), Some(n)) => items.get(n).map_or(asked.span, |item| item.span),
        _ => asked.span,
    }
}

fn ceiling(grant: &Grant, field: &str) -> String {
    fn listed<T: ToString + Rule>(scope: &Scope<T>) -> String {
        match scope.rules() {
            None => "everything".into(),
            Some([]) => "nothing".into(),
            Some(rules) => rules.iter().take(20).map(|rule| quoted(&rule.to_string())).collect::<Vec<_>>().join(", "),
        }
    }
    match field {
        "tools" => listed(&grant.tools),
        "paths.read" => listed(&grant.read),
        "paths.write" => listed(&grant.write),
        "models" => listed(&grant.models),
        "network" => grant.network.name().into(),
        _ => grant.cost_budget.map_or_else(|| "everything".into(), |most| format!("{most} US dollars at most")),
    }
}

fn request(
    node: &Node<'_>,
    may_delegate: bool,
    is_server: &dyn Fn(&str) -> bool,
    sink: &mut Sink<'_>,
) -> Option<Request> {
    let key = if may_delegate { "permissions" } else { "delegate" };
    let (mut request, mut preset) = (Request::default(), None);
    for entry in fields::map(key, node, sink)? {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "preset" => preset = fields::choice(key, node, Preset::WORDS, sink),
            "tools" => request.tools = rules(key, node, sink, |node, sink| tool(node, is_server, sink)),
            "paths" => paths(node, &mut request, sink),
            "deny" => {
                if let Some(Scope::Only(patterns)) = rules(key, node, sink, |node, sink| pattern("deny", node, sink)) {
                    request.deny = patterns;
                }
            }
            "network" => request.network = fields::choice(key, node, NetworkAccess::WORDS, sink),
            "models" => {
                request.models =
                    rules(key, node, sink, |node, sink| fields::plain_text("models", node, sink).map(ModelRule::new));
            }
            "cost_budget" => request.cost_budget = fields::number(key, node, (0.0, MAX_USD), sink),
            "delegate" if may_delegate => request.delegate = self::request(node, false, is_server, sink).map(Box::new),
            _ if may_delegate => keys::unknown(entry, "`permissions`", &[keys::PERMISSIONS], sink),
            _ => {
                let known = &keys::PERMISSIONS[..keys::PERMISSIONS.len() - 1];
                keys::unknown(entry, "`delegate`", &[known], sink);
            }
        }
    }
    Some(match preset {
        Some(preset) => request.or(preset.request()),
        None => request,
    })
}

fn paths(node: &Node<'_>, request: &mut Request, sink: &mut Sink<'_>) {
    for entry in fields::map("paths", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        let patterns = |key, sink: &mut Sink<'_>| rules(key, node, sink, |node, sink| pattern(key, node, sink));
        match key {
            "read" => request.read = patterns("paths.read", sink),
            "write" => request.write = patterns("paths.write", sink),
            _ => keys::unknown(entry, "`paths`", &[keys::PATHS], sink),
        }
    }
}

fn rules<T>(
    key: &str,
    node: &Node<'_>,
    sink: &mut Sink<'_>,
    mut one: impl FnMut(&Node<'_>, &mut Sink<'_>) -> Option<T>,
) -> Option<Scope<T>> {
    let items = fields::list(key, node, sink)?;
    if items.len() > MAX_ENTRIES {
        sink.error("bad-value", node.span, format!("`{key}` has more than {MAX_ENTRIES} entries"));
        return None;
    }
    Some(Scope::Only(items.iter().filter_map(|item| one(item, sink)).collect()))
}

fn pattern(key: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> Option<PathPattern> {
    let text = fields::plain_text(key, node, sink)?;
    let read = PathPattern::parse(text);
    if let Err(reason) = &read {
        sink.error("bad-value", node.span, format!("{} is no path pattern: {reason}", quoted(text)))
            .help("write a path as in ./src/**, /usr/share/dict or ./docs/*.md");
    }
    read.ok()
}

fn tool(node: &Node<'_>, is_server: &dyn Fn(&str) -> bool, sink: &mut Sink<'_>) -> Option<ToolRule> {
    let text = fields::plain_text("tools", node, sink)?;
    let error = match ToolRule::parse(text, is_server) {
        Ok(rule) => return Some(rule),
        Err(error) => error,
    };
    let shown = quoted(text);
    match error {
        ToolError::Unknown => {
            let near = sink.nearest(text, TOOLS.iter().copied());
            let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
            let known = TOOLS.join(", ");
            sink.error("unknown-tool", node.span, format!("there is no tool {shown}"))
                .help(format!("{near}known: {known}, Bash(command *), and server:tool of MCP servers"));
        }
        ToolError::UnknownServer(server) => {
            let message = format!("there is no server {} for the tool {shown}", quoted(&server));
            sink.error("unknown-server", node.span, message).help("declare it under `mcp_servers:` or in .mcp.json");
        }
        ToolError::Bad(reason) => {
            sink.error("bad-value", node.span, format!("{shown} is no rule about tools: {reason}"));
        }
    }
    None
}

/// Whether a task's own work is within its grant; what else can be known before a run. The task's grant afterwards: an
/// agent's definition may narrow it further.
pub(super) fn fit(
    permissions: Arc<Permissions>,
    kind: &mut TaskKind,
    entries: &[Entry<'_>],
    header: &Header,
    told: (Span, &mut Sink<'_>),
) -> Arc<Permissions> {
    let (span, sink) = told;
    let grant = permissions.usable();
    let key = |name: &str| entries.iter().find(|entry| entry.key == name).map(|entry| entry.value.span);
    let refused = match kind {
        TaskKind::Shell(shell) => command(shell, grant).map(|rule| ("run", "run this command", rule)),
        TaskKind::Tool(task) => {
            let answer = grant.server_tool(&task.server, &task.tool);
            (!answer.allowed).then_some(("tool", "call this tool", answer.rule))
        }
        // Performed by a tool, it is a call of that tool, and no model has to do with it.
        TaskKind::Agent(agent) => match &agent.tool {
            Some(tool) => {
                let answer = grant.server_tool(&tool.server, &tool.tool);
                (!answer.allowed).then_some(("agent", "call the tool of this agent", answer.rule))
            }
            None => model(agent, grant).map(|rule| ("model", "use this model", rule)),
        },
        TaskKind::Code(code) => {
            let bad = code.allowed_read_paths.iter().find_map(|path| Location::parse(path).err());
            bad.map(|reason| ("sandbox_config", "read this path", reason))
        }
        TaskKind::Approval(_) => None,
    };
    if let Some((at, what, rule)) = refused {
        let span = key(at).unwrap_or(span);
        let message = format!("the task may not {what}: {rule}");
        let help = match at {
            "model" => "give the task a model that `models` allows, or allow this one",
            _ => "change what the task does, or its `permissions` and the workflow's",
        };
        sink.error("permission-denied", span, message).help(help);
        return permissions;
    }
    let TaskKind::Agent(agent) = kind else { return permissions };
    agent_tools(permissions, agent, header)
}

fn command(shell: &ShellTask, grant: &Grant) -> Option<String> {
    let answer = match shell {
        ShellTask::Script(script) => grant.command(script.trim()),
        ShellTask::Argv(argv) => {
            let literal: Option<Vec<&str>> = argv
                .iter()
                .map(|part| match part {
                    Template::Literal(serde_json::Value::String(text)) => Some(text.as_str()),
                    _ => None,
                })
                .collect();
            match literal {
                Some(argv) => grant.program(argv),
                // What references bring is known when the task starts, and judged then.
                None => grant.tool("Bash"),
            }
        }
    };
    (!answer.allowed).then_some(answer.rule)
}

fn model(agent: &AgentTask, grant: &Grant) -> Option<String> {
    let not_granted =
        |model: &String| Some(grant.model(model)).filter(|answer| !answer.allowed).map(|answer| answer.rule);
    if let Some(rule) = agent.model_when_exhausted.as_ref().and_then(not_granted) {
        return Some(rule);
    }
    match &agent.model {
        // What is chosen is chosen among what is granted.
        Some(model) if model == crate::router::AUTO => None,
        Some(model) => not_granted(model),
        None => {
            let limited = grant.models != Scope::All;
            limited.then(|| "`models` limits them, and nothing says which one the agent CLI would take".into())
        }
    }
}

/// The tools of an agent: what its definition lists and its grant allows.
fn agent_tools(permissions: Arc<Permissions>, agent: &mut AgentTask, header: &Header) -> Arc<Permissions> {
    let grant = permissions.usable();
    let is_server = |name: &str| header.servers.contains_key(name);
    let defined = match &agent.tools {
        None => Scope::All,
        Some(names) => Scope::Only(names.iter().map(|name| ToolRule::lenient(name, &is_server)).collect()),
    };
    let tools = defined.meet(&grant.tools).within(grant.network);
    if grant.tools != Scope::All || grant.network == NetworkAccess::None {
        agent.tools = tools.rules().map(|rules| rules.iter().map(ToString::to_string).collect());
    }
    match tools == grant.tools {
        true => permissions,
        false => Arc::new(permissions.using(tools)),
    }
}
