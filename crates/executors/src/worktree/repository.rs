//! The repository in which a run's worktrees are made: found once, when the run begins, and as it was then ever after.
//! It does not know tasks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raddle_engine::snapshot::WorktreeOptions;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::Trouble;
use super::git::{Git, drivers, only};

/// The oldest git that can merge without a work tree (`merge-tree --write-tree`).
const OLDEST: (u32, u32) = (2, 38);
/// How long others may hold the lock; making 64 worktrees at once takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between one try for the lock and the next.
const ROUND: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug, Clone)]
pub struct Repository {
    pub(crate) git: Git,
    /// What all worktrees share.
    pub(crate) path: PathBuf,
    /// The work tree that the run began in.
    pub(crate) top: PathBuf,
    pub(crate) options: WorktreeOptions,
}

/// Held while worktrees and branches of a repository are changed, by one process and thread at a time.
#[derive(Debug)]
pub(crate) struct Held(#[expect(dead_code, reason = "dropping it releases the lock")] File);

impl Repository {
    /// Whether worktrees could be made in that folder.
    pub fn is_usable(folder: &Path) -> Result<(), Trouble> {
        Self::find(folder, "dag/").map(|_| ())
    }

    /// What a run that begins in `folder` must remember of its repository.
    pub fn find(folder: &Path, prefix: &str) -> Result<WorktreeOptions, Trouble> {
        let git = Git::new(None);
        let version = git.call(&["version"]).line()?;
        if version_of(&version).is_some_and(|found| found < OLDEST) {
            let (major, minor) = OLDEST;
            return Err(Trouble::Unusable(format!("worktrees need git {major}.{minor} or newer; here is {version}")));
        }
        let ask = |arguments: &[&str]| git.call(arguments).folder(folder).line();
        let place = ["rev-parse", "--path-format=absolute", "--is-inside-work-tree", "--git-common-dir"];
        let said = match git.call(&place).folder(folder).said()? {
            said if said.code == 0 => String::from_utf8_lossy(&said.out).into_owned(),
            said if said.err.contains("not a git repository") => {
                return Err(Trouble::NoRepository(folder.display().to_string()));
            }
            said => return Err(said.trouble("rev-parse")),
        };
        let (inside, repository) = said.trim_end().split_once('\n').unwrap_or(("false", ""));
        if inside != "true" {
            return Err(Trouble::Unusable(format!(
                "{} is in a repository without a work tree; begin the run in a clone of it",
                folder.display()
            )));
        }
        let top = ask(&["rev-parse", "--path-format=absolute", "--show-toplevel"])?;
        let head = ask(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).map_err(|_| {
            Trouble::Unusable(format!("the repository {top} has no commit yet; worktrees start from one: commit first"))
        })?;
        if git.call(&["check-ref-format", "--branch"]).paths(&[Path::new(&format!("{prefix}run/task"))]).said()?.code
            != 0
        {
            return Err(Trouble::Unusable(format!("branches cannot be called {prefix:?}…: correct branch_prefix")));
        }
        // A branch that is called as a folder of branches would be in the way of all of them.
        for (at, _) in prefix.match_indices('/') {
            let name = format!("refs/heads/{}", &prefix[..at]);
            if git.call(&["show-ref", "--verify", "--quiet", &name]).folder(folder).yes()? {
                return Err(Trouble::Unusable(format!(
                    "the branch {:?} is in the way of branches called {prefix:?}…: rename it, or set branch_prefix",
                    &prefix[..at]
                )));
            }
        }
        let on = git.call(&["symbolic-ref", "--quiet", "--short", "HEAD"]).folder(folder).line_if_any()?;
        let drivers = drivers(&git, Path::new(repository))?;
        Ok(WorktreeOptions {
            repository: repository.to_owned(),
            top,
            head,
            on,
            branch_prefix: prefix.to_owned(),
            drivers,
        })
    }

    /// The repository that a run remembers.
    pub fn open(options: &WorktreeOptions, run: Option<&str>) -> Repository {
        Repository {
            git: Git::new(run),
            path: PathBuf::from(&options.repository),
            top: PathBuf::from(&options.top),
            options: options.clone(),
        }
    }

    /// The same for calls that start filters or merge drivers: those that were configured when the run began, and no
    /// others, since tasks can write to the repository's configuration.
    pub(crate) fn trusted(&self, git: &Git) -> Result<Git, Trouble> {
        self.trusted_in(git, &self.path)
    }

    /// The same in a work tree's own git folder, which can hold settings too (`config.worktree`).
    pub(crate) fn trusted_in(&self, git: &Git, folder: &Path) -> Result<Git, Trouble> {
        let now = drivers(git, folder)?;
        Ok(git.with_settings(only(&self.options.drivers, &now)))
    }

    /// Waits for its turn to change worktrees and branches. The lock is a file of ours in the repository's folder.
    pub(crate) fn hold(&self, stopped: impl Fn() -> bool) -> Result<Held, Trouble> {
        let path = self.path.join("raddle.lock");
        let open = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = open.map_err(|error| Trouble::io(&format!("open {}", path.display()), &error))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Held(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) if stopped() => return Err(Trouble::Stopped),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => std::thread::sleep(ROUND),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    return Err(Trouble::Other(format!("{} is held by another process for too long", path.display())));
                }
                Err(error) => return Err(Trouble::io(&format!("lock {}", path.display()), &error.into())),
            }
        }
    }

    /// The commit that a branch is at.
    pub(crate) fn tip(&self, git: &Git, branch: &str) -> Result<Option<String>, Trouble> {
        let name = format!("refs/heads/{branch}^{{commit}}");
        git.call(&["rev-parse", "--verify", "--quiet", &name]).repository(&self.path).line_if_any()
    }

    /// Whether one commit is part of the other's history.
    pub(crate) fn contains(&self, git: &Git, whole: &str, part: &str) -> Result<bool, Trouble> {
        Ok(whole == part || git.call(&["merge-base", "--is-ancestor", part, whole]).repository(&self.path).yes()?)
    }

    /// Makes a commit object. The user's identity where there is one, else our own.
    pub(crate) fn commit(&self, git: &Git, tree: &str, parents: &[&str], message: &str) -> Result<String, Trouble> {
        let mut arguments = vec!["commit-tree", tree];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        let make = |ours: bool| {
            let mut call = git.call(&arguments).repository(&self.path).input(message);
            for who in ["AUTHOR", "COMMITTER"].iter().filter(|_| ours) {
                call =
                    call.env(&format!("GIT_{who}_NAME"), "Raddle").env(&format!("GIT_{who}_EMAIL"), "raddle@localhost");
            }
            call.line()
        };
        let nobody = |said: &str| said.contains("identity") || said.contains("email") || said.contains("ident name");
        match make(false) {
            Err(Trouble::Git { said, .. }) if nobody(&said) => make(true),
            made => made,
        }
    }
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_ascii_whitespace().nth(2)?.split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}
