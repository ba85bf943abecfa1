//! The validated, immutable workflow with dense task indexes. It does not know where its text came from,
//! how tasks are executed, or what time it is. Everything here has passed validation: an index is in range,
//! a graph is acyclic, a reference names an ancestor.

mod saga;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::course::Course;
use crate::invariants::Invariant;
use crate::mcp_server::{AgentTool, McpServer};
use crate::money::Money;
use crate::permissions::{Permissions, ToolRule};
use crate::template::Template;

pub use saga::{Compensation, OnFailure};

/// Position of a task in [`Workflow::tasks`] (file order).
pub type TaskIndex = u32;

/// A whole workflow, ready to be planned and run.
#[derive(Debug, Clone)]
pub struct Workflow {
    /// `name:`, else the file's stem, else `workflow`.
    pub name: String,
    /// `description:`.
    pub description: Option<String>,
    /// Hex digest of the document's meaning: layout and comments do not change it.
    pub hash: String,
    /// Declared parameters in file order.
    pub inputs: Vec<InputDeclaration>,
    /// `execution_mode:`.
    pub mode: ExecutionMode,
    /// `parallelism_level:`.
    pub parallelism: ParallelismLevel,
    /// `optimization_mode:`.
    pub optimization: OptimizationMode,
    /// `limits.max_parallelism:`.
    pub max_parallelism: Option<u32>,
    /// `limits.budget:`.
    pub budget: Budget,
    /// MCP servers by name: the file's own over the catalog's.
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// `permissions:`: what tasks inherit, and the most that they can be given.
    pub permissions: Arc<Permissions>,
    /// Tasks in file order.
    pub tasks: Vec<Task>,
    /// `outputs:`; `None` means the outputs of all sink tasks, by id.
    pub outputs: Option<Vec<(String, Template)>>,
    /// `invariants:`; what simulations check.
    pub invariants: Vec<Invariant>,
    /// `on_failure:`.
    pub on_failure: OnFailure,
}

/// One parameter of `inputs:`.
#[derive(Debug, Clone)]
pub struct InputDeclaration {
    /// The parameter's name.
    pub name: String,
    /// Its type.
    pub kind: InputType,
    /// Its default; without one it must be given.
    pub default: Option<Value>,
    /// What it is for.
    pub description: Option<String>,
}

/// Types of workflow parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are JSON Schema's")]
pub enum InputType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

/// When a ready task may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecutionMode {
    /// One at a time, in topological order by priority.
    Sequential,
    /// A level waits for the whole level before it.
    Waves,
    /// As soon as its own dependencies allow.
    #[default]
    Parallel,
    /// As `Parallel`, with concurrency steered by memory and load.
    Adaptive,
}

/// Presets of `parallelism_level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ParallelismLevel {
    /// 2 at once.
    Low,
    /// 5 at once.
    Medium,
    /// 13 at once.
    High,
    /// No preset cap.
    #[default]
    Unlimited,
}

/// `optimization_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum OptimizationMode {
    None,
    #[default]
    Balanced,
    Aggressive,
}

/// A vertex of the graph.
#[derive(Debug, Clone)]
pub struct Task {
    /// Unique in the workflow.
    pub id: String,
    /// Human-readable; defaults to the id.
    pub name: String,
    /// `description:`.
    pub description: Option<String>,
    /// What it does.
    pub kind: TaskKind,
    /// Sorted by task, each task once.
    pub depends_on: Vec<Dependency>,
    /// Higher first.
    pub priority: i32,
    /// Longest distance from a root, hard and soft edges alike.
    pub level: u32,
    /// Wall-clock and silence limits.
    pub timeout: Timeout,
    /// Extra executions after failures.
    pub retry: Retry,
    /// Whether a repeat could be noticed outside.
    pub side_effects: bool,
    /// How raw output becomes a value.
    pub output_format: OutputFormat,
    /// JSON Schema of the output; compiled once by validation to prove that it is one.
    pub output_schema: Option<Value>,
    /// Extra environment (shell, agent).
    pub env: Vec<(String, Template)>,
    /// Working folder (shell, agent), relative to the workflow's base folder.
    pub cwd: Option<String>,
    /// What to do with an attempt of unknown fate.
    pub on_doubt: OnDoubt,
    /// The task that runs only when this one fails, and whose output stands in for this one's. Its edges are those of
    /// `depends_on`: it waits softly for this task, and whatever depends on this one depends on both.
    pub fallback: Option<TaskIndex>,
    /// What becomes of it when its retries are used up.
    pub on_exhausted: OnExhausted,
    /// `approval: required`: a person says yes before anything of it starts.
    pub needs_approval: bool,
    /// `estimate:`.
    pub estimate: Estimate,
    /// Which executor performs it (`local` for shell, code and tool tasks; `process` for agents).
    pub executor: String,
    /// The demanded isolation level.
    pub isolation: Isolation,
    /// What it may use and hand on. An agent's tools are narrowed by its definition already.
    pub permissions: Arc<Permissions>,
    /// `resources:`.
    pub resources: Resources,
    /// What may become of it while the run goes on.
    pub course: Course,
    /// Hex digest of this task's own definition.
    pub hash: String,
    /// `saga:`: what its members did is undone when one of them fails.
    pub saga: Option<String>,
    /// `writes:`: files that it will write; relative ones start from its working folder.
    pub writes: Vec<String>,
    /// `compensate:`: what undoes it.
    pub compensate: Option<Compensation>,
    /// Where it stands in the file (1-based line and column of its first key).
    pub line: u32,
    /// See `line`.
    pub column: u32,
}

/// An edge, seen from the dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dependency {
    /// The prerequisite.
    pub task: TaskIndex,
    /// Whether its failure blocks.
    pub strength: Strength,
}

/// Hard edges block on failure, soft ones only wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "see the enum")]
pub enum Strength {
    Hard,
    Soft,
}

/// What a task does.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "one variant per kind of the contract")]
pub enum TaskKind {
    Agent(Box<AgentTask>),
    Tool(Box<ToolTask>),
    Code(Box<CodeTask>),
    Shell(ShellTask),
    Approval(Box<ApprovalTask>),
}

/// `prompt:` and/or `agent:`.
#[derive(Debug, Clone)]
pub struct AgentTask {
    /// Name of the agent definition (`general` by default).
    pub agent: String,
    /// Name of the agent CLI in the configuration (`claude` by default).
    pub cli: String,
    /// The prompt (the task's name by default).
    pub prompt: Template,
    /// Whether hard dependencies' outputs are appended (no reference in the prompt, no `inputs: []`).
    pub append_inputs: bool,
    /// The model's name as the user wrote it.
    pub model: Option<String>,
    /// The model that goes on when the retries are used up.
    pub model_when_exhausted: Option<String>,
    /// Why that model, where the program chose it (see [`crate::router`]).
    pub model_reason: Option<String>,
    /// Skills in order: name and text.
    pub skills: Vec<(String, String)>,
    /// System prompt text of the agent definition, if it has one.
    pub system_prompt: Option<String>,
    /// Tools that the definition lists and the grant allows, in the notation of agent CLIs; `None` leaves the CLI's
    /// default.
    pub tools: Option<Vec<String>>,
    /// Whose conversation it continues.
    pub context: AgentContext,
    /// The tool that does its work in the place of an agent CLI.
    pub tool: Option<AgentTool>,
}

/// `context:` of an agent task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgentContext {
    /// A new conversation.
    #[default]
    Fresh,
    /// The one conversation of the workflow's tasks that say so, for each agent CLI. The task whose turn comes before
    /// this one's; `None` for the first, and where an executor holds the conversation itself.
    Shared(Option<TaskIndex>),
    /// A continuation of that task's conversation; other continuations of it are not seen.
    Resume(TaskIndex),
}

impl AgentContext {
    /// The task whose conversation must exist.
    pub fn after(self) -> Option<TaskIndex> {
        match self {
            AgentContext::Fresh => None,
            AgentContext::Shared(after) => after,
            AgentContext::Resume(task) => Some(task),
        }
    }
}

/// `tool:` and `arguments:`.
#[derive(Debug, Clone)]
pub struct ToolTask {
    /// Part before the first `:`; a key of [`Workflow::mcp_servers`].
    pub server: String,
    /// Part after the first `:`.
    pub tool: String,
    /// A JSON object whose strings may hold references.
    pub arguments: Template,
}

/// `type: code_execution`.
#[derive(Debug, Clone)]
pub struct CodeTask {
    /// TypeScript or JavaScript function body.
    pub code: String,
    /// The file it came from, for messages.
    pub code_file: Option<String>,
    /// Names in scope: the entries of `context:`.
    pub context: Vec<(String, Template)>,
    /// `sandbox_config.timeout`, 30 s by default.
    pub sandbox_timeout: Duration,
    /// `sandbox_config.memoryLimit` in bytes, 64 MiB by default.
    pub memory_limit_bytes: u64,
    /// `sandbox_config.allowedReadPaths`, relative to the workflow's base folder.
    pub allowed_read_paths: Vec<String>,
    /// `sandbox_config.deterministic`: clock and chance are inputs.
    pub deterministic: bool,
    /// `intent:`: the tools of the MCP servers are listed for it, best first.
    pub intent: Option<String>,
    /// Whether it asks for the tools of MCP servers: by an intent, or by `permissions.tools` of its own. What a workflow
    /// grants to all its tasks is no tool in the hands of code that never asked.
    pub asks_for_tools: bool,
}

/// `run:`.
#[derive(Debug, Clone)]
pub enum ShellTask {
    /// `sh -eu -c TEXT`; no references.
    Script(String),
    /// A program and its arguments; each may hold references.
    Argv(Vec<Template>),
}

/// `approve:`.
#[derive(Debug, Clone)]
pub struct ApprovalTask {
    /// What a person is asked.
    pub question: Template,
    /// How long an answer is waited for; silence is a no.
    pub expires: Option<Duration>,
}

/// Limits on the time of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout {
    /// Wall clock from the attempt's start.
    pub wall: Duration,
    /// Silence on the output streams (agents without an explicit timeout).
    pub idle: Option<Duration>,
    /// What plans show: the explicit value or 300 s.
    pub shown: Duration,
}

/// `retry:` with its defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Extra executions.
    pub max: u32,
    /// First delay.
    pub initial: Duration,
    /// Growth per retry.
    pub factor: f64,
    /// Upper bound of a delay.
    pub max_delay: Duration,
    /// Share of the delay that is random, 0 to 1.
    pub jitter: f64,
    /// Failure classes that are retried; `None` is every retryable class.
    pub on: Option<Vec<String>>,
}

/// `output_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum OutputFormat {
    #[default]
    Text,
    Json,
    None,
}

/// `on_doubt`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum OnDoubt {
    Rerun,
    Ask,
    Fail,
    Compensate,
}

/// `on_exhausted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum OnExhausted {
    #[default]
    Fail,
    Human,
}

/// `limits.budget`: what a run may spend; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Budget {
    /// Money.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd: Option<Money>,
    /// Tokens in and out, cached ones too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Attempts of agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<u64>,
    /// Milliseconds in which an engine drives the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
}

impl Budget {
    /// Nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Budget::default()
    }

    /// These limits, and where there is none those of `other`.
    #[must_use]
    pub fn or(self, other: Budget) -> Budget {
        Budget {
            usd: self.usd.or(other.usd),
            tokens: self.tokens.or(other.tokens),
            agents: self.agents.or(other.agents),
            wall_ms: self.wall_ms.or(other.wall_ms),
        }
    }
}

/// `estimate:`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[expect(missing_docs, reason = "the contract's own words")]
pub struct Estimate {
    pub duration: Option<Duration>,
    pub tokens: Option<u64>,
    pub cost_usd: Option<f64>,
}

/// `isolation:`; further levels are refused by validation until an executor provides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Isolation {
    None,
    Context,
    Process,
    Container,
}

/// `resources:`; what a task may use of the machine, and what is counted against the machine's limits.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Resources {
    /// Memory of all its processes together, bytes.
    pub memory_bytes: Option<u64>,
    /// Processors, as in `1.5`.
    pub cpu: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl Task {
    /// The names of the secrets in its `env:` and in that of what undoes it, each once.
    pub fn secrets(&self) -> Vec<&str> {
        let undoing = match &self.compensate {
            Some(Compensation::Task(task)) => &task.env[..],
            _ => &[],
        };
        crate::template::secret_names(self.env.iter().chain(undoing).map(|(_, value)| value))
    }

    /// `agent`, `tool`, `code`, `shell` or `approval`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            TaskKind::Agent(_) => "agent",
            TaskKind::Tool(_) => "tool",
            TaskKind::Code(_) => "code",
            TaskKind::Shell(_) => "shell",
            TaskKind::Approval(_) => "approval",
        }
    }

    /// Whether it is code that may call tools of MCP servers.
    pub fn may_call_tools(&self) -> bool {
        let is_of_server = |rule: &ToolRule| matches!(rule, ToolRule::Server { .. });
        let granted = self.permissions.usable().tools.rules().unwrap_or_default();
        matches!(&self.kind, TaskKind::Code(code) if code.asks_for_tools) && granted.iter().any(is_of_server)
    }

    /// What all its attempts together may cost, by its grant.
    pub fn cost_budget(&self) -> Option<Money> {
        self.permissions.usable().cost_budget.and_then(Money::from_usd)
    }

    /// A code task without side effects: its failure is a value, not an error.
    pub fn safe_to_fail(&self) -> bool {
        matches!(self.kind, TaskKind::Code(_)) && !self.side_effects
    }
}

impl InputType {
    /// The words of `type:`.
    pub(crate) const WORDS: &'static [(&'static str, InputType)] = &[
        ("string", InputType::String),
        ("integer", InputType::Integer),
        ("number", InputType::Number),
        ("boolean", InputType::Boolean),
        ("array", InputType::Array),
        ("object", InputType::Object),
    ];

    /// The word of `type:`.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("string", |(word, _)| word)
    }

    /// Whether a value is of this type.
    pub fn accepts(self, value: &Value) -> bool {
        match self {
            InputType::String => value.is_string(),
            InputType::Integer => value.is_i64() || value.is_u64(),
            InputType::Number => value.is_number(),
            InputType::Boolean => value.is_boolean(),
            InputType::Array => value.is_array(),
            InputType::Object => value.is_object(),
        }
    }

    /// The value of this type that a text stands for, as in `--input n=5`; strings are taken as they are.
    pub fn parse(self, text: &str) -> Option<Value> {
        if self == InputType::String {
            return Some(Value::String(text.to_owned()));
        }
        serde_json::from_str(text).ok().filter(|value| self.accepts(value))
    }
}
