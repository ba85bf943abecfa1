//! Everything of a workflow file but its tasks: parameters, modes, limits, defaults, agents, servers. It does not
//! know the graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fields::{self, BareNumber};
use super::retry::PartialRetry;
use crate::catalog::{AgentDefinition, Catalog, EXECUTORS};
use crate::diagnostic::{Sink, quoted};
use crate::keys;
use crate::mcp_server::McpServer;
use crate::money::Money;
use crate::permissions::Permissions;
use crate::syntax::{Entry, Node};
use crate::unsupported::{self, Place};
use crate::workflow::{
    Budget, ExecutionMode, InputDeclaration, InputType, Isolation, OnFailure, OptimizationMode, ParallelismLevel,
};

/// What tasks need to know of the rest of the file.
#[derive(Default)]
pub(super) struct Header {
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) inputs: Vec<InputDeclaration>,
    pub(super) mode: ExecutionMode,
    pub(super) parallelism: ParallelismLevel,
    pub(super) optimization: OptimizationMode,
    pub(super) max_parallelism: Option<u32>,
    pub(super) budget: Budget,
    pub(super) defaults: Defaults,
    /// The file's agents; the catalog is asked for others.
    pub(super) agents: BTreeMap<String, AgentDefinition>,
    /// The file's servers over the catalog's.
    pub(super) servers: BTreeMap<String, McpServer>,
    /// Servers that are declared but faulty; tasks that use them get no second diagnostic.
    pub(super) faulty_servers: Vec<String>,
    /// What tasks inherit.
    pub(super) permissions: Arc<Permissions>,
    pub(super) on_failure: OnFailure,
}

/// `defaults:`.
#[derive(Default)]
pub(super) struct Defaults {
    pub(super) timeout: Option<std::time::Duration>,
    pub(super) retry: PartialRetry,
    pub(super) model: Option<String>,
    /// Of agent tasks.
    pub(super) executor: Option<String>,
    pub(super) isolation: Option<Isolation>,
}

pub(super) const LEVELS: &[(&str, ParallelismLevel)] = &[
    ("low", ParallelismLevel::Low),
    ("medium", ParallelismLevel::Medium),
    ("high", ParallelismLevel::High),
    ("unlimited", ParallelismLevel::Unlimited),
];
pub(super) const MODES: &[(&str, ExecutionMode)] = &[
    ("sequential", ExecutionMode::Sequential),
    ("waves", ExecutionMode::Waves),
    ("parallel", ExecutionMode::Parallel),
    ("adaptive", ExecutionMode::Adaptive),
];
pub(super) const OPTIMIZATIONS: &[(&str, OptimizationMode)] = &[
    ("none", OptimizationMode::None),
    ("balanced", OptimizationMode::Balanced),
    ("aggressive", OptimizationMode::Aggressive),
];

pub(super) fn read(entries: &[Entry<'_>], catalog: &Catalog, sink: &mut Sink<'_>) -> Header {
    let mut header = Header { servers: catalog.mcp_servers.clone(), ..Header::default() };
    for entry in entries {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "name" => header.name = fields::plain_text(key, node, sink).map(str::to_owned),
            "description" => header.description = fields::text(key, node, sink).map(str::to_owned),
            "inputs" => header.inputs = inputs(node, sink),
            "execution_mode" => header.mode = fields::choice(key, node, MODES, sink).unwrap_or_default(),
            "parallelism_level" => header.parallelism = fields::choice(key, node, LEVELS, sink).unwrap_or_default(),
            "optimization_mode" => {
                let word = node.text().unwrap_or_default();
                if !unsupported::value(Place::Workflow, key, word, node.span, sink) {
                    header.optimization = fields::choice(key, node, OPTIMIZATIONS, sink).unwrap_or_default();
                }
            }
            "defaults" => header.defaults = defaults(node, catalog, sink),
            "limits" => limits(node, &mut header, sink),
            "agents" => agents(node, catalog, &mut header, sink),
            "mcp_servers" => super::servers::servers(node, &mut header, sink),
            "on_failure" => {
                let words = [("continue", OnFailure::Continue), ("compensate", OnFailure::Compensate)];
                header.on_failure = fields::choice(key, node, &words, sink).unwrap_or_default();
            }
            "tasks" | "edges" | "outputs" | "permissions" | "invariants" => {}
            _ => keys::unknown(entry, "a workflow", &[keys::WORKFLOW], sink),
        }
    }
    // Last, since its rules may name servers that stand further down.
    if let Some(entry) = entries.iter().find(|entry| entry.key == "permissions") {
        let is_server = |name: &str| header.is_server(name);
        let everything = (&Permissions::everything(), "nobody");
        header.permissions = super::permissions::read(&entry.value, everything, &is_server, sink);
    }
    header
}

impl Header {
    /// Whether a server of that name is declared, well or not.
    pub(super) fn is_server(&self, name: &str) -> bool {
        self.servers.contains_key(name) || self.faulty_servers.iter().any(|faulty| faulty == name)
    }
}

fn inputs(node: &Node<'_>, sink: &mut Sink<'_>) -> Vec<InputDeclaration> {
    let entries = fields::map("inputs", node, sink).unwrap_or_default();
    entries.iter().filter_map(|entry| input(entry, sink)).collect()
}

fn input(entry: &Entry<'_>, sink: &mut Sink<'_>) -> Option<InputDeclaration> {
    let name = &*entry.key;
    if name.is_empty() || name.contains(['[', ']', '\n']) {
        sink.error("bad-id", entry.key_span, format!("{} is no name of a parameter", quoted(name)));
        return None;
    }
    let mut declared =
        InputDeclaration { name: name.to_owned(), kind: InputType::String, default: None, description: None };
    let mut default = None;
    for field in fields::map(name, &entry.value, sink)? {
        let (key, node) = (&*field.key, &field.value);
        match key {
            "type" => declared.kind = fields::choice(key, node, InputType::WORDS, sink)?,
            "default" => default = Some(node),
            "description" => declared.description = fields::text(key, node, sink).map(str::to_owned),
            _ => keys::unknown(field, "a parameter", &[keys::INPUT], sink),
        }
    }
    if let Some(node) = default {
        let value = node.to_json();
        if !declared.kind.accepts(&value) {
            fields::bad_type("default", &format!("of type {}", declared.kind.name()), node, sink);
        }
        declared.default = Some(value);
    }
    Some(declared)
}

fn defaults(node: &Node<'_>, catalog: &Catalog, sink: &mut Sink<'_>) -> Defaults {
    let mut defaults = Defaults::default();
    for entry in fields::map("defaults", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "timeout" => defaults.timeout = fields::limit(key, node, BareNumber::Seconds, sink),
            "retry" => defaults.retry = super::retry::read(node, sink),
            "model" => defaults.model = fields::plain_text(key, node, sink).map(str::to_owned),
            "executor" => defaults.executor = executor(node, catalog, sink),
            "isolation" => defaults.isolation = isolation(node, sink),
            _ => keys::unknown(entry, "the defaults", &[keys::DEFAULTS], sink),
        }
    }
    defaults
}

/// The executor of an agent task.
pub(super) fn executor(node: &Node<'_>, catalog: &Catalog, sink: &mut Sink<'_>) -> Option<String> {
    let name = fields::text("executor", node, sink)?;
    let known = EXECUTORS.iter().copied().chain(catalog.executors.iter().map(String::as_str));
    if !known.clone().any(|known| known == name) {
        let near = sink.nearest(name, known.clone());
        let near = near.map(|near| format!("did you mean {}? ", quoted(near))).unwrap_or_default();
        let known: Vec<&str> = known.collect();
        sink.error("unknown-executor", node.span, format!("{} is no executor", quoted(name)))
            .help(format!("{near}one of {}", known.join(", ")));
        return None;
    }
    Some(name.to_owned())
}

pub(super) fn isolation(node: &Node<'_>, sink: &mut Sink<'_>) -> Option<Isolation> {
    let words = [
        ("none", Isolation::None),
        ("context", Isolation::Context),
        ("process", Isolation::Process),
        ("container", Isolation::Container),
    ];
    fields::choice("isolation", node, &words, sink)
}

fn limits(node: &Node<'_>, header: &mut Header, sink: &mut Sink<'_>) {
    for entry in fields::map("limits", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "max_parallelism" => {
                let most = fields::integer(key, node, (1, 10_000), sink);
                header.max_parallelism = most.and_then(|n| u32::try_from(n).ok());
            }
            "budget" => header.budget = budget(node, sink),
            _ => keys::unknown(entry, "the limits", &[keys::LIMITS], sink),
        }
    }
}

/// What a run may spend. A limit of nothing is a limit too.
fn budget(node: &Node<'_>, sink: &mut Sink<'_>) -> Budget {
    let mut budget = Budget::default();
    for entry in fields::map("budget", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        let count = |most, sink: &mut Sink<'_>| fields::integer(key, node, (0, most), sink).map(i64::unsigned_abs);
        match key {
            "usd" => budget.usd = fields::number(key, node, (0.0, 1e9), sink).and_then(Money::from_usd),
            "tokens" => budget.tokens = count(1_000_000_000_000_000, sink),
            "agents" => budget.agents = count(1_000_000_000, sink),
            "wall" => {
                let wall = fields::duration(key, node, BareNumber::Seconds, sink);
                budget.wall_ms = wall.and_then(|wall| u64::try_from(wall.as_millis()).ok());
            }
            _ => keys::unknown(entry, "a budget", &[keys::BUDGET], sink),
        }
    }
    budget
}

fn agents(node: &Node<'_>, catalog: &Catalog, header: &mut Header, sink: &mut Sink<'_>) {
    for entry in fields::map("agents", node, sink).unwrap_or_default() {
        let mut agent = AgentDefinition::default();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        for field in fields::map(&entry.key, &entry.value, sink).unwrap_or_default() {
            let (key, node) = (&*field.key, &field.value);
            match key {
                "cli" => {
                    agent.cli = owned(fields::plain_text(key, node, sink));
                    if let Some(cli) = &agent.cli {
                        known_cli(cli, catalog, node.span, sink);
                    }
                }
                "model" => agent.model = owned(fields::plain_text(key, node, sink)),
                "skills" => agent.skills = fields::texts(key, node, sink).unwrap_or_default(),
                "tools" => agent.tools = fields::texts(key, node, sink),
                "system_prompt" => agent.system_prompt = owned(fields::text(key, node, sink)),
                "description" => agent.description = owned(fields::text(key, node, sink)),
                "mcp" => agent.mcp = super::servers::agent_tool(field, sink),
                _ => keys::unknown(field, "an agent", &[keys::AGENT_DEFINITION], sink),
            }
        }
        header.agents.insert(entry.key.to_string(), agent);
    }
}

/// Whether an agent CLI is known; an empty catalog knows nothing and judges nothing.
pub(super) fn known_cli(cli: &str, catalog: &Catalog, span: crate::syntax::Span, sink: &mut Sink<'_>) {
    if !catalog.clis.is_empty() && !catalog.clis.iter().any(|known| known == cli) {
        sink.error("unknown-cli", span, format!("{} is no known agent CLI", quoted(cli)))
            .help(format!("known: {}; others are defined in raddle.toml", catalog.clis.join(", ")));
    }
}
