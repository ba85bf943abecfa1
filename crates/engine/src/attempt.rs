//! What an executor is asked to perform and what it reports back. It does not know how attempts are performed,
//! nor why the run wants them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raddle_kernel::{Attempt, FailureClass, TaskIx};
use raddle_model::money::Money;
use serde_json::Value;

use crate::patch::PatchRequest;

/// Identity of one attempt within its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptKey {
    /// The task.
    pub task: TaskIx,
    /// Its attempt, from 1.
    pub attempt: Attempt,
}

/// One attempt, fully resolved: no references are left in it and nothing in it is expanded again.
#[derive(Debug, Clone)]
pub struct AttemptSpec {
    /// Who it is.
    pub key: AttemptKey,
    /// The owner's epoch; a report must carry it back.
    pub epoch: u32,
    /// The task's id, for file names and messages.
    pub task_id: Arc<str>,
    /// What to do.
    pub work: Work,
    /// Environment beyond the allow-list: the task's `env:` and the `RADDLE_*` names (without `RADDLE_OUTPUT` and
    /// `RADDLE_DEPS`, which the executor that makes the files adds). Later entries win.
    pub env: Vec<(String, String)>,
    /// Working folder, absolute.
    pub cwd: PathBuf,
    /// Wall-clock limit from the start. The engine enforces it by `stop`; an executor may use it as a hint.
    pub timeout: Duration,
    /// Silence limit on the output streams, enforced by the executor (class `idle`).
    pub idle: Option<Duration>,
    /// Folder of the run for files of attempts (logs, deps, output); exists. File names begin with
    /// [`AttemptSpec::file_stem`].
    pub run_dir: Arc<std::path::Path>,
    /// What is demanded of whoever performs it. What cannot be provided is refused, never weakened.
    pub demands: Demands,
}

/// Demands on the performing of an attempt. Whoever cannot meet one refuses the attempt before anything starts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Demands {
    /// The executor that the workflow names for the task (`worktree`, `task_tool` …); `None` is the kind's usual one.
    pub executor: Option<Arc<str>>,
    /// Tasks of the run from whose files it starts, where the executor gives each task files of its own: the nearest
    /// completed ones that it depends on, in the order of its dependencies.
    pub files_of: Vec<Arc<str>>,
    /// How far apart from other attempts it must be.
    pub isolation: Isolation,
    /// What the operating system must hold its processes to; `None`: nothing is demanded.
    pub confinement: Option<Arc<Confinement>>,
    /// What it may use of the machine.
    pub resources: Resources,
    /// The model is limited by a grant: no other one may stand in for it.
    pub one_model: bool,
    /// What it may cost. The engine counts by what is reported; an agent CLI that can be told is told as well.
    pub max_cost: Option<Money>,
    /// Files to be kept as they are before it starts, durably, and to be looked at again when it has succeeded.
    pub images: Option<Arc<Images>>,
}

/// Files of which the state before a task is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Folder that the paths start from, absolute.
    pub root: PathBuf,
    /// Relative, below the root, without `..`.
    pub paths: Vec<String>,
    /// Where they are kept; the task's own.
    pub folder: PathBuf,
    /// Number of the first attempt of the task's life: what is kept for it already is not kept again.
    pub life: u32,
}

impl Demands {
    /// What is demanded beyond an executor's name and a process of its own, in words; `None` when that is nothing.
    pub fn unmet_by_default(&self) -> Option<&'static str> {
        if self.confinement.is_some() {
            return Some("enforcement of permissions");
        }
        if self.isolation == Isolation::Container {
            return Some("isolation in a container");
        }
        (self.resources != Resources::default()).then_some("a limit on the machine's resources")
    }
}

/// Isolation levels of the contract, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Isolation {
    /// Context and files are shared.
    None,
    /// A conversation of its own.
    Context,
    /// A process of its own.
    #[default]
    Process,
    /// A container of its own.
    Container,
}

/// What the processes of an attempt may reach. Patterns are absolute paths in which `*` stands for any part of one
/// name and a last `/**` for everything below; none of them is expanded again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confinement {
    /// What may be read; `None`: everything that the user may. Empty: nothing but what programs need to run at all.
    pub read: Option<Vec<String>>,
    /// What may be written; `None`: everything that the user may.
    pub write: Option<Vec<String>>,
    /// What may be neither read nor written, whatever the others say.
    pub deny: Vec<String>,
    /// What may be reached by network.
    pub network: Network,
}

/// Network access of an attempt's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// As the user.
    #[default]
    Full,
    /// No sockets but connected pairs between a process and its children.
    None,
}

/// What an attempt's processes may use of the machine; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Memory of all its processes together, bytes.
    pub memory_bytes: Option<u64>,
    /// Processors, as in `1.5`.
    pub cpu: Option<f64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

impl AttemptSpec {
    /// `TASK.ATTEMPT`: the beginning of every file name of this attempt.
    pub fn file_stem(&self) -> String {
        format!("{}.{}", self.task_id, self.key.attempt.0)
    }
}

/// What to do, by kind.
#[derive(Debug, Clone)]
pub enum Work {
    /// A program with its arguments; no shell is added.
    Process(ProcessWork),
    /// An agent CLI.
    Agent(Box<AgentWork>),
    /// A call of an MCP tool.
    Tool(Box<ToolWork>),
    /// A function body for the sandbox.
    Code(Box<CodeWork>),
    /// Files to be put back as they were before a task.
    Restore(Box<RestoreWork>),
}

/// What puts files back from what [`Images`] kept last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreWork {
    /// Folder that the paths start from, absolute.
    pub root: PathBuf,
    /// Relative, below the root, without `..`.
    pub paths: Vec<String>,
    /// Where they are kept.
    pub folder: PathBuf,
}

/// A shell task: `argv[0]` is looked up on the PATH of the child's environment.
#[derive(Debug, Clone)]
pub struct ProcessWork {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// JSON text for the file `$RADDLE_DEPS` (`{id: {status, output, error?}}`); `None` stands for `{}`.
    pub deps: Option<Arc<str>>,
}

/// A task for an agent CLI.
#[derive(Debug, Clone)]
pub struct AgentWork {
    /// Name of the CLI's adapter.
    pub cli: String,
    /// The prompt, byte for byte.
    pub prompt: String,
    /// Model as the user wrote it.
    pub model: Option<String>,
    /// Text for the system prompt: the agent definition's and the skills'.
    pub system_prompt: Option<String>,
    /// The tools that exist for it; `None` leaves the CLI's default.
    pub tools: Option<Vec<String>>,
    /// JSON Schema of the answer.
    pub schema: Option<Value>,
    /// Whose conversation it continues.
    pub conversation: Conversation,
    /// The prompt's first words came from a task or a parameter: a CLI must not take them for one of its commands.
    pub begins_foreign: bool,
}

/// Whose conversation an agent's task continues.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Conversation {
    /// A new one.
    #[default]
    Fresh,
    /// One that the tasks of the run share.
    Shared,
    /// A fork of a session of the same CLI; the session itself is not changed.
    Fork(Box<Session>),
}

/// A conversation that an agent CLI keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// The CLI's name for it.
    pub id: String,
    /// What was used in it up to its end. CLIs that count on over a continued session report sums from which this must
    /// be taken. `cost_usd` is `None` when it cannot be known.
    pub used: Usage,
}

/// A call of a tool.
#[derive(Debug, Clone)]
pub struct ToolWork {
    /// Name of the server in the run's server table.
    pub server: String,
    /// Name of the tool there.
    pub tool: String,
    /// A JSON object.
    pub arguments: Value,
    /// Stable over the attempts of one task; goes into `_meta` of the call.
    pub idempotency_key: String,
}

/// A code task.
#[derive(Debug, Clone)]
pub struct CodeWork {
    /// TypeScript or JavaScript function body.
    pub code: String,
    /// Name for messages: the task's id or the file.
    pub name: String,
    /// JSON text of `deps`.
    pub deps: Arc<str>,
    /// JSON text of the `context` object; its keys are names in scope too.
    pub context: Arc<str>,
    /// Limit inside the sandbox.
    pub timeout: Duration,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Absolute paths that may be read (a folder opens everything below it).
    pub allowed_read_paths: Vec<PathBuf>,
    /// Clock and chance as inputs; `None` leaves both to the machine.
    pub fixed: Option<Fixed>,
    /// The tools of MCP servers that it sees; `None`: none exist for it.
    pub tools: Option<CodeTools>,
}

/// What makes code give the same value whenever it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The time that the code sees for as long as it runs, in milliseconds since 1970.
    pub clock_ms: u64,
    /// Where its random numbers begin.
    pub seed: u64,
}

/// The tools of MCP servers that a code task sees and may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeTools {
    /// What it wants to do: the tools are listed for it, best first. Without it none is listed.
    pub intent: Option<String>,
    /// Patterns `SERVER:TOOL` in which `*` stands for any text. What fits none is neither listed nor called. `None`:
    /// nothing was granted, so everything is listed and nothing can be called.
    pub granted: Option<Vec<String>>,
    /// Stable over the attempts of one task; its calls make theirs of it.
    pub idempotency_key: String,
}

/// What executors tell. Reports come at least once; the engine refuses late and doubled ones.
#[derive(Debug)]
pub enum Report {
    /// The attempt is over and nothing of it is alive any more.
    Ended(Ended),
    /// Something worth showing while it runs: the last line of output, tokens so far. Never journaled.
    Progress {
        /// Which attempt.
        key: AttemptKey,
        /// At most 200 characters, control characters removed.
        line: String,
    },
    /// Something was refused to it; journaled as an audit line.
    Denied {
        /// Which attempt.
        key: AttemptKey,
        /// `read`, `write`, `connect`, `spawn`, a tool's name …
        action: String,
        /// Path, address, command.
        resource: String,
        /// The rule that refused, in words.
        rule: String,
    },
    /// Another model than the one in the spec performs the attempt from now on.
    Model {
        /// Which attempt.
        key: AttemptKey,
        /// The model, by the name that prices are looked up by.
        model: String,
        /// Why, in words.
        reason: String,
    },
    /// Another process asks something of this run (`stop`, an answer to a gate …).
    Control(ControlRequest),
}

/// How an attempt ended.
#[derive(Debug)]
pub struct Ended {
    /// Which attempt.
    pub key: AttemptKey,
    /// The epoch of the spec.
    pub epoch: u32,
    /// The value or the failure.
    pub result: Result<RawOutput, Failure>,
    /// What it used; `None` when nothing is metered (shell, code, tools).
    pub usage: Option<Usage>,
    /// Session of the agent CLI, for later tasks and for people.
    pub session: Option<String>,
}

/// Output before `output_format` and `output_schema` are applied (the engine does that, for all executors alike).
#[derive(Debug, Clone, PartialEq)]
pub enum RawOutput {
    /// Plain text (stdout with its last newline cut, an agent's answer).
    Text(String),
    /// JSON text that the executor knows to be valid JSON (a returned value, structured content, `$RADDLE_OUTPUT`).
    Json(String),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The contract's class.
    pub class: FailureClass,
    /// What happened, in words for a person, with the last lines of stderr where there are some.
    pub message: String,
    /// Another attempt would fail in the same way, so none is made.
    pub lasting: bool,
}

impl Failure {
    /// A failure of that class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Failure { class, message: message.into(), lasting: false }
    }

    /// One that another attempt cannot mend.
    pub fn lasting(class: FailureClass, message: impl Into<String>) -> Self {
        Failure { lasting: true, ..Failure::new(class, message) }
    }
}

/// What an attempt consumed.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Tokens in, without cache reads and writes.
    pub input_tokens: u64,
    /// Tokens out.
    pub output_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Tokens written to it.
    pub cache_write_tokens: u64,
    /// US dollars, when known.
    pub cost_usd: Option<f64>,
    /// Where `cost_usd` comes from.
    pub cost_is: CostIs,
}

/// Provenance of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CostIs {
    /// The CLI or provider said so.
    Reported,
    /// Computed from tokens by the price table.
    Priced,
    /// Charged at the reserved amount.
    Reserved,
    /// Nobody knows.
    #[default]
    Unknown,
}

impl CostIs {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reported => "reported",
            Self::Priced => "priced",
            Self::Reserved => "reserved",
            Self::Unknown => "unknown",
        }
    }
}

/// A request from another process to the engine that owns the run.
#[derive(Debug)]
pub enum ControlRequest {
    /// End the run; `how` tells what the process does then.
    Stop(StopKind),
    /// A person's answer to a task that waits.
    Answer {
        /// See [`ControlRequest::Patch`].
        ticket: u64,
        /// The answer.
        answer: Box<crate::gates::Answer>,
    },
    /// Change the definition.
    Patch {
        /// By which the dispatcher knows who is told what became of it.
        ticket: u64,
        /// What.
        request: Box<PatchRequest>,
    },
}

/// How a run is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopKind {
    /// `raddle stop`: the run is cancelled for good.
    Cancel,
    /// SIGINT: end the children, leave the run resumable.
    Interrupt,
    /// SIGTERM: the same.
    Terminate,
}

/// Why the engine ends an attempt; decides the failure class of the report that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopCause {
    /// Out of wall-clock time.
    Timeout,
    /// The run is being cancelled or shut down.
    Cancelled,
}
