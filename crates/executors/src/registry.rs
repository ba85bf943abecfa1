//! The executors that are built in, each a row: what it can do, and what must be there for it. It does not know how
//! they perform tasks, nor the configuration.

use std::path::Path;

use raddle_engine::executor::{Capabilities, HOSTED_OVERHEAD_TOKENS, HOSTED_TASKS};
use raddle_engine::select::Candidate;

use crate::api::ApiExecutor;
use crate::worktree::Repository;

/// How the registry looks at the machine.
pub struct Machine<'a> {
    /// Whether a program can be found by this command word.
    pub has_program: &'a dyn Fn(&str) -> bool,
    /// The folder that a run would begin in.
    pub folder: &'a Path,
    /// The program of the agent CLI that performs agent tasks by default.
    pub agent_program: &'a str,
    /// The program of the agent CLI whose session hosts tasks.
    pub session_program: &'a str,
    /// Why no provider of executor `api` can be asked; `None` when one can.
    pub no_provider: Option<&'a str>,
}

/// A row: capabilities, and why it cannot be used here.
type Row = (Capabilities, fn(&Machine<'_>) -> Option<String>);

/// The built-in executors in the order of preference. Agents' executors come first.
fn rows() -> Vec<Row> {
    vec![
        (process(), |here| missing(here, here.agent_program)),
        (worktree(), no_worktrees),
        (task_tool(), |here| missing(here, here.session_program)),
        (ApiExecutor::describe(), |here| here.no_provider.map(str::to_owned)),
        (local(), |_| None),
    ]
}

/// All built-in executors as they are on this machine.
pub fn builtin(machine: &Machine<'_>) -> Vec<Candidate> {
    let candidate = |(capabilities, why): Row| Candidate { capabilities, unavailable: why(machine) };
    rows().into_iter().map(candidate).collect()
}

/// Those among which one is selected for agent tasks: tools included, since nobody says that a task needs none.
pub fn for_agents(candidates: &[Candidate]) -> Vec<Candidate> {
    let of_agents = |c: &&Candidate| c.capabilities.performs.contains(&"agent") && c.capabilities.tools;
    candidates.iter().filter(of_agents).cloned().collect()
}

fn no_worktrees(here: &Machine<'_>) -> Option<String> {
    Repository::is_usable(here.folder).err().map(|trouble| trouble.to_string())
}

fn missing(here: &Machine<'_>, program: &str) -> Option<String> {
    (!(here.has_program)(program)).then(|| format!("`{program}` is not on the PATH"))
}

fn process() -> Capabilities {
    Capabilities {
        output_format: "JSON (parsed)",
        cleanup: "auto (exit)",
        best_for: "most tasks",
        ..Capabilities::of_agents("process")
    }
}

fn worktree() -> Capabilities {
    Capabilities {
        performs: &["agent", "shell"],
        practical_max: 10,
        isolation: "file + branch",
        output_format: "JSON file",
        cleanup: "manual (branches)",
        best_for: "code generation",
        ..Capabilities::of_agents("worktree")
    }
}

fn task_tool() -> Capabilities {
    Capabilities {
        token_overhead_per_task: HOSTED_OVERHEAD_TOKENS,
        max_parallelism: Some(HOSTED_TASKS),
        practical_max: HOSTED_TASKS,
        isolation: "none (shared)",
        shared_context: true,
        true_isolation: false,
        output_format: "structured",
        best_for: "context-dependent tasks",
        ..Capabilities::of_agents("task_tool")
    }
}

fn local() -> Capabilities {
    Capabilities {
        performs: &["shell", "code", "tool"],
        output_format: "text or JSON",
        cleanup: "auto (exit)",
        best_for: "shell, code and tool tasks",
        ..Capabilities::of_agents("local")
    }
}
