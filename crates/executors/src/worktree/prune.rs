//! Removing what is merged: branches whose commits are part of another branch, and work trees in which nothing is left.
//! What is not merged stays, whatever the reason. It does not know who owns a run; its caller holds it.

use super::record::{Branch, branches};
use super::{Repository, Trees, Trouble};

/// What became of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is gone; the commit is part of that branch.
    Removed(String),
    /// It stays, for that reason.
    Kept(String),
}

/// A branch and what became of it.
#[derive(Debug, Clone)]
pub struct Pruned {
    /// The branch.
    pub branch: Branch,
    /// The commit it is or was at.
    pub tip: String,
    /// What became of it.
    pub fate: Fate,
}

/// Removes the merged branches of a run. Nobody else works with the run meanwhile.
pub fn prune(trees: &Trees, dry_run: bool) -> Result<Vec<Pruned>, Trouble> {
    let repository = &trees.repository;
    let ours: Vec<Branch> = branches(&trees.run_dir);
    let mut pruned = Vec::new();
    for branch in &ours {
        let Some(tip) = repository.tip(&repository.git, &branch.name)? else { continue };
        let fate = fate(repository, branch, &tip, dry_run)?;
        pruned.push(Pruned { branch: branch.clone(), tip, fate });
    }
    Ok(pruned)
}

fn fate(repository: &Repository, branch: &Branch, tip: &str, dry_run: bool) -> Result<Fate, Trouble> {
    let git = &repository.git;
    if !branch.is_earlier && branch.record.folder.exists() {
        let why = branch.record.left.clone().unwrap_or_else(|| "its work tree is still there".to_owned());
        return Ok(Fate::Kept(format!("{}: {why}", branch.record.folder.display())));
    }
    let Some(holder) = repository.holder(tip)? else {
        return Ok(Fate::Kept("not merged".to_owned()));
    };
    if dry_run {
        return Ok(Fate::Removed(holder));
    }
    let _held = repository.hold(|| false)?;
    let name = format!("refs/heads/{}", branch.name);
    let said = git.call(&["update-ref", "-d", &name, tip]).repository(&repository.path).said()?;
    Ok(if said.code == 0 { Fate::Removed(holder) } else { Fate::Kept(said.err) })
}

impl Repository {
    /// A branch of somebody else's that has the commit.
    pub fn holder(&self, commit: &str) -> Result<Option<String>, Trouble> {
        let call =
            ["for-each-ref", "--contains", commit, "--format=%(refname)", "refs/heads", "refs/remotes", "refs/tags"];
        let listed = self.git.call(&call).repository(&self.path).line()?;
        let ours = format!("refs/heads/{}", self.options.branch_prefix);
        let found = listed.lines().find(|name| !name.starts_with(&ours) || Some(*name) == self.on().as_deref());
        Ok(found.map(|name| name.trim_start_matches("refs/heads/").trim_start_matches("refs/").to_owned()))
    }

    /// The commit that a branch is at; `None` when there is none.
    pub fn tip_of(&self, branch: &str) -> Result<Option<String>, Trouble> {
        self.tip(&self.git, branch)
    }

    fn on(&self) -> Option<String> {
        self.options.on.as_ref().map(|on| format!("refs/heads/{on}"))
    }
}
