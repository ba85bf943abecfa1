//! Arguments of `raddle worktrees`. It does not know what a worktree is.

use clap::{Args, Subcommand};

/// `raddle worktrees`.
#[derive(Debug, Args)]
pub struct WorktreesArgs {
    /// What to do with them; `list` when left out.
    #[command(subcommand)]
    pub action: Option<WorktreesAction>,
    /// Print the list as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What to do with worktrees.
#[derive(Debug, Subcommand)]
pub enum WorktreesAction {
    /// List the branches and work trees of runs.
    List {
        /// Print the list as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Merge the branches of a run's completed tasks, dependencies first, up to the first conflict.
    #[command(after_help = "Examples:\n  raddle worktrees merge last --into main\n  \
        raddle worktrees merge last --into main --on-conflict 'theirs:*.lock' --on-conflict ours:docs/**")]
    Merge(WorktreesMergeArgs),
    /// Remove branches that are merged; everything else stays.
    #[command(after_help = "Examples:\n  raddle worktrees prune --dry-run\n  raddle worktrees prune")]
    Prune(WorktreesPruneArgs),
}

/// `raddle worktrees merge`.
#[derive(Debug, Args)]
pub struct WorktreesMergeArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The branch to merge into; the one that was checked out when the run began if left out.
    #[arg(long, value_name = "BRANCH")]
    pub into: Option<String>,
    /// What becomes of files that both sides changed: `stop`, or the whole file as of `ours` (BRANCH) or `theirs` (the
    /// task); with `:PATTERN` for some paths only. The first that fits decides. Stands for what is configured.
    #[arg(long, value_name = "POLICY[:PATTERN]")]
    pub on_conflict: Vec<String>,
    /// Print what was merged as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `raddle worktrees prune`.
#[derive(Debug, Args)]
pub struct WorktreesPruneArgs {
    /// Only say what would be removed.
    #[arg(long)]
    pub dry_run: bool,
    /// Print what was removed and kept as JSON.
    #[arg(long)]
    pub json: bool,
}
