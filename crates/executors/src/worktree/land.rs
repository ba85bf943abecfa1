//! Merging the branches of a run into a branch of the user's, as one step: either the branch moves, together with the
//! work tree that has it checked out, or nothing does. Changes of the user's own are never touched; where they are in
//! the way, nothing is merged. It does not know why a branch is to be merged.

use std::path::{Path, PathBuf};

use super::git::{Git, fields};
use super::merge::{Conflict, Merge, Merged, Policies, merge};
use super::{Repository, Trouble};

/// Files in a work tree's git folder that tell of something unfinished in it.
const UNFINISHED: &[&str] =
    &["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "BISECT_LOG", "sequencer"];

/// What came of it.
#[derive(Debug, Clone)]
pub struct Landing {
    /// The branch.
    pub into: String,
    /// Where it was.
    pub before: String,
    /// Where it is now.
    pub after: String,
    /// What was merged, in order.
    pub merged: Vec<Merged>,
    /// What could not be; those after it were not tried.
    pub conflict: Option<Conflict>,
    /// The branches that were not tried.
    pub not_tried: Vec<String>,
}

impl Repository {
    /// Merges branches, given with their tasks, into `into`, in order, up to the first conflict.
    pub fn land(
        &self,
        branches: &[(String, String)],
        into: &str,
        policies: &Policies,
        run: &str,
    ) -> Result<Landing, Trouble> {
        let git = self.trusted(&self.git)?;
        let _held = self.hold(|| false)?;
        let Some(before) = self.tip(&git, into)? else {
            return Err(Trouble::Unusable(format!("the repository has no branch {into:?}; make it, or name another")));
        };
        let mut landing = Landing {
            into: into.to_owned(),
            before: before.clone(),
            after: before.clone(),
            merged: Vec::new(),
            conflict: None,
            not_tried: Vec::new(),
        };
        for (task, branch) in branches {
            if landing.conflict.is_some() {
                landing.not_tried.push(branch.clone());
                continue;
            }
            let merged = |commit| Merged { task: task.clone(), branch: branch.clone(), commit };
            let Some(tip) = self.tip(&git, branch)? else {
                landing.merged.push(merged(None));
                continue;
            };
            let subject = format!("Merge {task} of run {run}");
            match merge(self, &git, &landing.after, &tip, policies, &subject)? {
                Merge::Already(_) => landing.merged.push(merged(None)),
                Merge::Made(commit) => {
                    landing.after.clone_from(&commit);
                    landing.merged.push(merged(Some(commit)));
                }
                Merge::Conflict(files) => {
                    let (task, branch) = (task.clone(), branch.clone());
                    landing.conflict = Some(Conflict { task, branch, into: into.to_owned(), files });
                }
            }
        }
        if landing.after != before {
            self.advance(&git, into, &before, &landing.after)?;
        }
        Ok(landing)
    }

    /// Moves a branch, and the files of the work tree that has it checked out.
    fn advance(&self, git: &Git, branch: &str, before: &str, after: &str) -> Result<(), Trouble> {
        let name = format!("refs/heads/{branch}");
        let Some(top) = self.checked_out(git, &name)? else {
            return self.set_branch(git, &name, before, after);
        };
        // A work tree can have settings of its own, and what is checked out goes through filters.
        let admin = git.call(&["rev-parse", "--absolute-git-dir"]).folder(&top).line()?;
        let git = &self.trusted_in(&self.git, Path::new(&admin))?;
        self.refuse_if_in_the_way(git, &top, before, after)?;
        let switch = |dry: &[&str], from: &str, to: &str| {
            let arguments = [&["read-tree"], dry, &["-m", "-u", from, to]].concat();
            git.call(&arguments).folder(&top).run().map_err(|trouble| in_the_way(&top, &trouble))
        };
        // Stat data of the index may be stale; nothing else is changed by this.
        let _ = git.call(&["update-index", "-q", "--refresh"]).folder(&top).said()?;
        switch(&["--dry-run"], before, after)?;
        // The files first: a crash in between leaves changes that look staged, and the next merge takes them as done. The
        // other way round it would leave a work tree that takes the merge back with the next commit.
        switch(&[], before, after)?;
        self.set_branch(git, &name, before, after).inspect_err(|_| {
            let _ = switch(&[], after, before);
        })
    }

    fn set_branch(&self, git: &Git, name: &str, before: &str, after: &str) -> Result<(), Trouble> {
        let call = git.call(&["update-ref", "-m", "raddle: worktrees merge", name, after, before]);
        call.repository(&self.path).run().map(|_| ())
    }

    /// The work tree that has a branch checked out, or is rebasing it.
    fn checked_out(&self, git: &Git, name: &str) -> Result<Option<PathBuf>, Trouble> {
        let listed = git.call(&["worktree", "list", "--porcelain", "-z"]).repository(&self.path).run()?;
        let mut top: Option<PathBuf> = None;
        for field in fields(&listed) {
            let line = String::from_utf8_lossy(field);
            if let Some(path) = line.strip_prefix("worktree ") {
                top = Some(PathBuf::from(path));
            } else if line.strip_prefix("branch ").is_some_and(|branch| branch == name) {
                return Ok(top);
            } else if line == "detached"
                && let Some(top) = &top
                && is_rebasing(git, top, name)
            {
                return Err(Trouble::Unusable(format!(
                    "{} is in the middle of a rebase of it: finish that",
                    top.display()
                )));
            }
        }
        Ok(None)
    }

    fn refuse_if_in_the_way(&self, git: &Git, top: &Path, before: &str, after: &str) -> Result<(), Trouble> {
        let admin = PathBuf::from(git.call(&["rev-parse", "--absolute-git-dir"]).folder(top).line()?);
        if let Some(what) = UNFINISHED.iter().find(|name| admin.join(name).exists()) {
            let told = format!("{} is in the middle of something ({what}): finish or abort it", top.display());
            return Err(Trouble::Unusable(told));
        }
        if admin.join("index.lock").exists() {
            return Err(Trouble::Unusable(format!("another git is at work in {}: wait for it", top.display())));
        }
        // git itself would write over files that are ignored.
        let added = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=A", before, after];
        let added = git.call(&added).folder(top).run()?;
        for path in fields(&added) {
            use std::os::unix::ffi::OsStrExt;
            let path = top.join(std::ffi::OsStr::from_bytes(path));
            // What the merge brings may be there already, byte for byte, after a crash in the middle of it; then git
            // knows it, and finds it unchanged.
            let is_known =
                git.call(&["ls-files", "--error-unmatch", "-z", "--"]).paths(&[&path]).folder(top).said()?.code == 0;
            if std::fs::symlink_metadata(&path).is_ok() && !is_known {
                let told = format!("{} is not tracked and would be written over: move it away", path.display());
                return Err(Trouble::Unusable(told));
            }
        }
        Ok(())
    }
}

fn in_the_way(top: &Path, trouble: &Trouble) -> Trouble {
    let said = match trouble {
        Trouble::Git { said, .. } => said.clone(),
        other => other.to_string(),
    };
    Trouble::Unusable(format!(
        "changes in {} are in the way, so nothing was merged: commit or stash them, or merge into a branch that is not \
         checked out\n{said}",
        top.display()
    ))
}

fn is_rebasing(git: &Git, top: &Path, name: &str) -> bool {
    let Ok(admin) = git.call(&["rev-parse", "--absolute-git-dir"]).folder(top).line() else { return false };
    ["rebase-merge", "rebase-apply"].iter().any(|kind| {
        let head = std::fs::read_to_string(Path::new(&admin).join(kind).join("head-name"));
        head.is_ok_and(|head| head.trim_end() == name)
    })
}
