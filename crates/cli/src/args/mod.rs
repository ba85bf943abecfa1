//! The command line as types; the doc comments are the help texts. It does not know what any command does.

mod inspect;
mod run;
mod shape;
mod sim;
mod worktrees;

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

pub use inspect::*;
pub use run::*;
pub use shape::*;
pub use sim::*;
pub use worktrees::*;

/// Runs DAGs of AI-agent work: agent CLIs, MCP tools, sandboxed TypeScript and shell, durably.
///
/// A workflow is a YAML or JSON file that lists tasks and what they depend on. Data goes to stdout, talk to stderr.
#[derive(Debug, Parser)]
#[command(name = "raddle", version, max_term_width = 110, arg_required_else_help = true)]
#[command(after_help = "Examples:\n  raddle run workflow.yaml\n  raddle plan workflow.yaml\n  raddle resume last\n  \
    raddle run '{\"tasks\": [{\"id\": \"hi\", \"run\": \"echo hi\"}]}' --json\n\n\
    Exit codes: 0 succeeded or degraded, 1 a task failed, 2 usage or validation, 3 waiting, 4 degraded with --strict,\n\
    5 budget exhausted, 6 refused, 7 run owned by another process, 8 journal damaged, 130/143 signals.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// No colour, whatever the terminal can do (also: NO_COLOR).
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// The commands, in the order in which a person meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Execute a workflow.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Show what a run would do, and touch nothing.
    #[command(
        after_help = "Examples:\n  raddle plan workflow.yaml\n  raddle plan workflow.yaml --max-parallel 4 --json"
    )]
    Plan(PlanArgs),
    /// Check workflow files; all faults at once.
    #[command(
        after_help = "Examples:\n  raddle validate workflow.yaml\n  raddle validate flows/*.yaml --strict --json"
    )]
    Validate(ValidateArgs),
    /// Live through thousands of simulated runs of a workflow with failures, crashes and careless people.
    #[command(after_help = SIM_EXAMPLES)]
    Sim(SimArgs),
    /// List runs.
    #[command(after_help = "Examples:\n  raddle ps\n  raddle ps --json")]
    Ps(PsArgs),
    /// Show the state and results of a run.
    #[command(after_help = "Examples:\n  raddle show last\n  raddle show 01J9 --json")]
    Show(ShowArgs),
    /// Follow a run until it ends.
    #[command(after_help = "Examples:\n  raddle watch last")]
    Watch(WatchArgs),
    /// Print what the tasks of a run wrote.
    #[command(after_help = "Examples:\n  raddle logs last\n  raddle logs last build --stderr")]
    Logs(LogsArgs),
    /// Print one JSON line per attempt of a run.
    #[command(after_help = "Examples:\n  raddle trace last | jq .cost_usd")]
    Trace(TraceArgs),
    /// Say why a task is where it is.
    #[command(after_help = "Examples:\n  raddle why last deploy")]
    Why(WhyArgs),
    /// Go on with a run that did not finish.
    #[command(after_help = "Examples:\n  raddle resume last\n  raddle resume 01J9 --json")]
    Resume(ResumeArgs),
    /// End a run: its tasks are cancelled.
    #[command(after_help = "Examples:\n  raddle stop last")]
    Stop(StopArgs),
    /// Run a task of a run again and go on from there.
    #[command(after_help = "Examples:\n  raddle retry last build")]
    Retry(ContinueArgs),
    /// Go on without a task of a run; its dependents run.
    #[command(after_help = "Examples:\n  raddle skip last lint")]
    Skip(ContinueArgs),
    /// Say yes to a gate.
    #[command(
        after_help = "Examples:\n  raddle approve last gate\n  raddle approve last gate --answer version=3 --comment 'looks good'"
    )]
    Approve(ApproveArgs),
    /// Say no to a gate, or let fail what waits for a decision.
    #[command(after_help = "Examples:\n  raddle reject last gate --comment 'not on a Friday'")]
    Reject(AnswerArgs),
    /// Change the tasks of a run: add, remove, replace, split, wire and rank them.
    #[command(
        after_help = "Examples:\n  raddle patch last patch.yaml\n  raddle patch last '{\"remove\": [\"lint\"]}'\n  raddle patch last --undo\n  raddle patch last --list"
    )]
    Patch(PatchArgs),
    /// Print the state of a run as a YAML checkpoint.
    #[command(after_help = "Examples:\n  raddle checkpoint last > checkpoint.yaml")]
    Checkpoint(CheckpointArgs),
    /// Compare the executors as they are configured and available here.
    #[command(after_help = "Examples:\n  raddle executors\n  raddle executors compare --json")]
    Executors(ExecutorsArgs),
    /// Calculate what executors cost: tokens and money per run and per month.
    #[command(after_help = "Examples:\n  raddle cost --tasks 9\n  raddle cost --tasks 9 --usd-per-mtok 5 --json")]
    Cost(CostArgs),
    /// Explain what a task may do, and who holds it to that.
    #[command(after_help = "Examples:\n  raddle perm explain workflow.yaml build\n  \
        raddle perm explain workflow.yaml build 'Read(src/main.rs)'\n  \
        raddle perm explain workflow.yaml build 'Bash(cargo test)' --json")]
    Perm(PermArgs),
    /// List, merge and prune what tasks with worktrees have left.
    #[command(
        after_help = "Examples:\n  raddle worktrees list\n  raddle worktrees merge last --into main\n  raddle worktrees prune"
    )]
    Worktrees(WorktreesArgs),
    /// Serve the HTTP API and the web interface (not built yet).
    Serve(UnbuiltArgs),
    /// Serve this program's commands as an MCP server (not built yet).
    Mcp(UnbuiltArgs),
    /// Tell what is installed here and what is missing.
    #[command(after_help = "Examples:\n  raddle doctor\n  raddle doctor --json")]
    Doctor(DoctorArgs),
    /// Print the JSON Schema of workflow files, or a part of it.
    #[command(after_help = "Examples:\n  raddle schema > workflow.schema.json\n  raddle schema tasks")]
    Schema(SchemaArgs),
    /// Check what is stored of runs, and salvage damaged journals.
    #[command(after_help = "Examples:\n  raddle fsck\n  raddle fsck last --salvage")]
    Fsck(FsckArgs),
    /// Remove old finished runs.
    #[command(after_help = "Examples:\n  raddle gc --dry-run\n  raddle gc --older-than 30d")]
    Gc(GcArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:\n  raddle completions bash > /etc/bash_completion.d/raddle")]
    Completions(CompletionsArgs),
}

use sim::SIM_EXAMPLES;

const RUN_EXAMPLES: &str = "Examples:\n  raddle run workflow.yaml --input repo=. --json\n  \
    raddle run workflow.yaml sequential parallelism=low\n  raddle run --dry-run\n  cat flow.yaml | raddle run -\n  \
    raddle run '{\"tasks\": [{\"id\": \"a\", \"run\": \"echo hi\"}]}'\n\n\
    `raddle executor FILE` and `raddle executor run FILE` are aliases.";

/// The words of a command that this version only knows by name. Whatever they are, the answer is the same.
#[derive(Debug, Args)]
pub struct UnbuiltArgs {
    /// Anything: the command is refused before its words are read.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<OsString>,
}

/// Turns the aliases of `run` into `run`: `raddle executor FILE` and `raddle executor run FILE`.
pub fn without_aliases(mut argv: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = argv.iter().skip(1).position(|word| !word.as_encoded_bytes().starts_with(b"-")).map(|n| n + 1)
    else {
        return argv;
    };
    if argv[at] == "executor" {
        argv[at] = "run".into();
        if argv.get(at + 1).is_some_and(|word| word == "run") {
            argv.remove(at + 1);
        }
    }
    argv
}
