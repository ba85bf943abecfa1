//! How many tasks may run at once, by kind, and which setting decided it. It does not know what is running.

use serde::Serialize;

use crate::catalog::Settings;
use crate::workflow::{ExecutionMode, ParallelismLevel, TaskKind, Workflow};

/// Tasks of one hosting conversation at once, over all of them; nothing lifts it.
pub const HOSTED_TASKS: u32 = 10;

/// A cap and the name of the setting that bound it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cap {
    /// At most so many at once.
    pub value: u32,
    /// The setting, as it is written in files or flags.
    pub bound_by: &'static str,
}

/// The caps of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Caps {
    /// Agent tasks.
    pub agent: Cap,
    /// Shell and code tasks.
    pub local: Cap,
    /// Calls of tools.
    pub tool: Cap,
    /// Tasks with worktrees, which count as agent or shell tasks too; absent where no task has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<Cap>,
}

impl ParallelismLevel {
    /// Tasks at once; `None` is no cap of its own.
    pub fn width(self) -> Option<u32> {
        match self {
            ParallelismLevel::Low => Some(2),
            ParallelismLevel::Medium => Some(5),
            ParallelismLevel::High => Some(13),
            ParallelismLevel::Unlimited => None,
        }
    }
}

/// What agent tasks may use by their executors. Hosted ones have a limit that nothing lifts; where some are hosted and
/// others not, the others count and the host lets its own wait.
fn agents_pool(workflow: &Workflow, settings: &Settings) -> Cap {
    let mut agents = workflow.tasks.iter().filter(|task| matches!(task.kind, TaskKind::Agent(_))).peekable();
    if agents.peek().is_some() && agents.all(|task| task.executor == "task_tool") {
        return Cap { value: HOSTED_TASKS, bound_by: "executors.task_tool" };
    }
    Cap { value: settings.max_processes, bound_by: "executors.process.max_processes" }
}

/// The caps that hold for a workflow under these settings. Every cap is the smallest of its terms; between equals the
/// one closest to the user is named.
pub fn caps(workflow: &Workflow, settings: &Settings) -> Caps {
    let pool = agents_pool(workflow, settings);
    let local = Cap { value: settings.max_local, bound_by: "dag_execution.max_local" };
    let worktree = Cap { value: settings.max_worktrees.max(1), bound_by: "executors.worktree.max_worktrees" };
    let worktree = workflow.tasks.iter().any(|task| task.executor == "worktree").then_some(worktree);
    if settings.lift_caps {
        // Tools have no executor that could limit them: all of them may be called at once.
        let tools = workflow.tasks.iter().filter(|task| matches!(task.kind, TaskKind::Tool(_))).count();
        let tool = Cap { value: u32::try_from(tools).unwrap_or(u32::MAX).max(1), bound_by: "--parallel" };
        return Caps { agent: pool, local, tool, worktree };
    }
    let mut shared = Vec::new();
    if workflow.mode == ExecutionMode::Sequential {
        shared.push(Cap { value: 1, bound_by: "execution_mode" });
    }
    if let Some(value) = workflow.parallelism.width() {
        shared.push(Cap { value, bound_by: "parallelism_level" });
    }
    // The flag stands for whatever is configured, in the file or outside.
    let most = match (settings.max_parallel_flag, workflow.max_parallelism) {
        (Some(value), _) => Cap { value, bound_by: "--max-parallel" },
        (None, Some(value)) => Cap { value, bound_by: "limits.max_parallelism" },
        (None, None) => Cap { value: settings.max_parallelism, bound_by: "dag_execution.max_parallelism" },
    };
    let smallest = |own: &[&Cap]| {
        let terms = shared.iter().chain(own.iter().copied());
        let cap = terms.min_by_key(|cap| cap.value).expect("every kind has a term of its own");
        Cap { value: cap.value.max(1), bound_by: cap.bound_by }
    };
    // What is configured counts agents and tools; who types the flag means every kind.
    let flag = settings.max_parallel_flag.map(|value| Cap { value, bound_by: "--max-parallel" });
    let local = flag.filter(|flag| flag.value < local.value).unwrap_or(local);
    Caps { agent: smallest(&[&most, &pool]), local: smallest(&[&local]), tool: smallest(&[&most]), worktree }
}
