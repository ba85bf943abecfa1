//! Arguments of the commands that only look, and of those about this program itself. It does not know where runs
//! are kept.

use clap::{Args, Subcommand};

use super::ShapeArgs;

/// `raddle plan`.
#[derive(Debug, Default, Args)]
pub struct PlanArgs {
    /// The workflow and how it would be run.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Print the plan as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `raddle validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Workflow files; `-` is stdin. Default: workflow.yaml or dag.yaml here.
    #[arg(value_name = "FILE")]
    pub files: Vec<String>,
    /// Treat warnings as errors.
    #[arg(long)]
    pub strict: bool,
    /// Print the diagnostics as one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `raddle ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle patch`.
#[derive(Debug, Args)]
pub struct PatchArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The patch: a YAML or JSON file, `-` for stdin, or JSON text that begins with `{`.
    #[arg(value_name = "FILE", required_unless_present_any = ["undo", "list"], conflicts_with_all = ["undo", "list"])]
    pub file: Option<String>,
    /// Take back the latest patch that is not taken back yet, as far as its tasks have not started.
    #[arg(long, conflicts_with = "list")]
    pub undo: bool,
    /// List the patches of the run: who, when and why.
    #[arg(long)]
    pub list: bool,
    /// Why; stands before the patch's own `reason`.
    #[arg(long, value_name = "TEXT", conflicts_with = "list")]
    pub reason: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print one JSON document about the run.
    #[arg(long)]
    pub json: bool,
}

/// `raddle watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Print the run's events as JSON lines instead.
    #[arg(long)]
    pub json: bool,
}

/// `raddle logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only this task.
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
    /// Only this attempt, from 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub attempt: Option<u32>,
    /// Only what went to stderr.
    #[arg(long)]
    pub stderr: bool,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Accepted for symmetry: a trace is always JSON lines.
    #[arg(long)]
    pub json: bool,
}

/// `raddle why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Print the answer as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle checkpoint`.
#[derive(Debug, Args)]
pub struct CheckpointArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
}

/// `raddle executors`.
#[derive(Debug, Args)]
pub struct ExecutorsArgs {
    /// What to do with them; `compare` when left out.
    #[command(subcommand)]
    pub action: Option<ExecutorsAction>,
    /// Print the comparison as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to do with executors.
#[derive(Debug, Subcommand)]
pub enum ExecutorsAction {
    /// Effective values, and whether each is available here.
    Compare {
        /// Print the comparison as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Choose an executor for agent tasks by demands.
    Select(SelectArgs),
}

/// `raddle executors select`: demands that nobody satisfies are an error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  raddle executors select --isolation --parallel-tasks 5 --minimize-tokens")]
pub struct SelectArgs {
    /// No task may disturb another.
    #[arg(long)]
    pub isolation: bool,
    /// So many tasks at once.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub parallel_tasks: Option<u32>,
    /// No tokens beyond the tasks' own.
    #[arg(long)]
    pub minimize_tokens: bool,
    /// Tasks must see each other's conversation.
    #[arg(long, conflicts_with = "no_shared_context")]
    pub shared_context: bool,
    /// Tasks must not see each other's conversation.
    #[arg(long)]
    pub no_shared_context: bool,
    /// Print the choice as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle perm`.
#[derive(Debug, Args)]
pub struct PermArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: PermAction,
}

/// What to do with permissions.
#[derive(Debug, Subcommand)]
pub enum PermAction {
    /// A task's grant and who enforces each part; with a question, whether it is allowed (exit 0) or denied (exit 6).
    Explain(ExplainArgs),
}

/// `raddle perm explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The workflow: a file, `-` for stdin, or JSON text beginning with `{`.
    #[arg(value_name = "FILE")]
    pub file: String,
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// A single question: 'Read(path)', 'Write(path)', 'Bash(command)', 'WebFetch(url)', 'server:tool'.
    #[arg(value_name = "QUESTION")]
    pub question: Option<String>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// `raddle doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle schema`.
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// A part of the schema, such as `tasks`.
    #[arg(value_name = "PATH")]
    pub path: Option<String>,
    /// Accepted for symmetry: a schema is always JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle gc`.
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Remove finished runs that ended longer ago than this (30d, 12h); default 30d.
    #[arg(long, value_name = "AGE", value_parser = crate::terminal::age)]
    pub older_than: Option<std::time::Duration>,
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle fsck`.
#[derive(Debug, Args)]
pub struct FsckArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`; all of them when left out.
    #[arg(value_name = "RUN", conflicts_with = "all")]
    pub run: Option<String>,
    /// All runs.
    #[arg(long)]
    pub all: bool,
    /// Make a new journal from what comes before the damage; the damaged one is kept beside it.
    #[arg(long)]
    pub salvage: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `raddle cost`.
#[derive(Debug, Args)]
pub struct CostArgs {
    /// How many tasks the workflow has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub tasks: u64,
    /// Tokens of the work itself, for the whole run.
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(0..=1_000_000_000_000))]
    pub execution_tokens: u64,
    /// US dollars per million tokens.
    #[arg(long, value_name = "USD", default_value_t = 3.0, value_parser = price)]
    pub usd_per_mtok: f64,
    /// Runs a day.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    pub runs_per_day: u64,
    /// Days of a month.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=366))]
    pub days: u64,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(usd) if (0.0..=1e6).contains(&usd) => Ok(usd),
        _ => Err("a price is a number of dollars from 0 to 1000000".into()),
    }
}
