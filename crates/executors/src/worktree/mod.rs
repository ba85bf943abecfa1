//! The worktree executor: each task has a work tree and a branch of its own, what it leaves is committed, branches are
//! merged on request. It performs nothing itself: attempts run as ever, in another folder. It does not know runs
//! beyond their name, nor how tasks hang together beyond whose files a task starts from.

mod crew;
mod git;
mod land;
mod merge;
mod prune;
mod record;
mod repository;
mod tree;

pub(crate) use crew::Crew;
pub use git::Git;
pub use land::Landing;
pub use merge::{Conflict, Merge, Merged, Policies, Policy};
pub use prune::{Fate, Pruned, prune};
pub use record::{Branch, Record, branches, records};
pub use repository::Repository;
pub use tree::{Leftover, Trees, branch_name};

/// Why something about a worktree cannot be done.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// There is no `git` on the PATH.
    NoGit,
    /// The folder is in no repository.
    NoRepository(String),
    /// The repository cannot be used, in words.
    Unusable(String),
    /// git said no.
    Git {
        /// What it was asked.
        what: String,
        /// What it said.
        said: String,
    },
    /// Branches cannot be merged by themselves.
    Conflict(Conflict),
    /// The attempt was ended meanwhile.
    Stopped,
    /// Anything else, in words.
    Other(String),
}

impl Trouble {
    pub(crate) fn io(what: &str, error: &std::io::Error) -> Trouble {
        Trouble::Other(format!("cannot {what}: {error}"))
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoGit => write!(f, "git is not on the PATH; worktrees are made by it"),
            Self::NoRepository(folder) => write!(f, "{folder} is not in a git repository, so there are no worktrees"),
            Self::Git { what, said } => write!(f, "git {what}: {said}"),
            Self::Conflict(conflict) => conflict.fmt(f),
            Self::Stopped => write!(f, "stopped"),
            Self::Unusable(what) | Self::Other(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Trouble {}
