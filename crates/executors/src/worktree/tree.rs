//! The work trees of one run: made from the branches of a task's dependencies before its attempt, committed and removed
//! after it. It does not know processes; whoever calls it has made sure that none is at work in a tree any more.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::git::{Git, fields};
use super::merge::{Merge, Policies, merge};
use super::record::{Record, records};
use super::{Repository, Trouble};

/// The work trees of a run.
#[derive(Debug, Clone)]
pub struct Trees {
    pub(crate) repository: Repository,
    pub(crate) run: String,
    pub(crate) run_dir: PathBuf,
    /// What is done when the branches of a task's dependencies do not merge by themselves.
    pub(crate) policies: Policies,
}

/// An attempt that wants a work tree.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) task: String,
    pub(crate) attempt: u32,
    pub(crate) stem: String,
    /// Whose files it starts from.
    pub(crate) files_of: Vec<Arc<str>>,
    /// Where it would start without a work tree of its own.
    pub(crate) cwd: PathBuf,
}

/// A work tree that was made.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    pub(crate) record: Record,
    /// Where the attempt starts.
    pub(crate) cwd: PathBuf,
}

/// What an engine that died left, and what became of it.
#[derive(Debug, Clone)]
pub struct Leftover {
    /// The task.
    pub task: String,
    /// The branch on which it is committed now.
    pub branch: String,
    /// Whether anything was there to be committed, or why it could not be.
    pub result: Result<bool, String>,
}

impl Trees {
    /// Of the run that lives in `run_dir`.
    pub fn new(repository: Repository, run: &str, run_dir: &Path, policies: Policies) -> Trees {
        Trees { repository, run: run.to_owned(), run_dir: run_dir.to_owned(), policies }
    }

    /// The branch of a task.
    pub fn branch(&self, task: &str) -> String {
        branch_name(&self.repository.options.branch_prefix, &self.run, task)
    }

    /// The top of the work tree that the run began in.
    pub(crate) fn top(&self) -> &Path {
        &self.repository.top
    }

    /// git's own folder, which all work trees share.
    pub(crate) fn metadata(&self) -> &Path {
        &self.repository.path
    }

    /// Makes a branch and a work tree for an attempt; nothing of it is left when that fails.
    pub(crate) fn prepare(&self, order: &Order, stopped: &Arc<AtomicBool>) -> Result<Tree, Trouble> {
        let below = self.below(&order.cwd)?;
        let git = self.repository.git.until(Arc::clone(stopped));
        let git = self.repository.trusted(&git)?;
        let mut record = self.begin(&git, order, stopped).inspect_err(|_| {
            let begun = Record::of_stem(&self.run_dir, &order.stem).filter(|r| !r.complete && r.tip.is_none());
            let _ = begun.map(|record| self.discard(&record));
        })?;
        let made = self.fill(&git, order, &record, &below);
        if made.is_ok() {
            record.complete = true;
        }
        match made.and_then(|cwd| record.write(&self.run_dir).map(|()| cwd)) {
            Ok(cwd) => Ok(Tree { record, cwd }),
            Err(trouble) => {
                // The next attempt begins anew; what cannot be taken away is in the way of nobody but this branch.
                let _ = self.discard(&record);
                Err(trouble)
            }
        }
    }

    /// The record, the branch at its base, and an empty work tree that git knows.
    fn begin(&self, git: &Git, order: &Order, stopped: &AtomicBool) -> Result<Record, Trouble> {
        let branch = self.branch(&order.task);
        let folder = Record::folder_of(&self.run_dir, &order.stem);
        let before = Record::of_stem(&self.run_dir, &order.stem).unwrap_or_default();
        let _held = self.repository.hold(|| stopped.load(Ordering::Relaxed))?;
        let base = self.base(git, order)?;
        let mut kept = before.kept;
        let changes = match self.repository.tip(git, &branch)? {
            None => format!("create refs/heads/{branch} {base}\n"),
            Some(old) => {
                let left_nothing = Record::of_task(&self.run_dir, &order.task).is_some_and(|r| r.base == old);
                let mut changes = format!("update refs/heads/{branch} {base} {old}\n");
                if !left_nothing {
                    let name = self.free_name(git, &branch)?;
                    changes.push_str(&format!("create refs/heads/{name} {old}\n"));
                    kept.push(name);
                }
                changes
            }
        };
        let (task, attempt) = (order.task.clone(), order.attempt);
        let record =
            Record { task, attempt, branch: branch.clone(), base, folder: folder.clone(), kept, ..Record::default() };
        record.write(&self.run_dir)?;
        for name in record.kept.iter().chain([&branch]) {
            self.unlock(name);
        }
        git.call(&["update-ref", "--stdin"]).repository(&self.repository.path).input(changes).run()?;
        let reason = format!("raddle run {}", self.run);
        git.call(&["worktree", "add", "--quiet", "--no-checkout", "--lock", "--reason", &reason])
            .paths(&[&folder, Path::new(&branch)])
            .repository(&self.repository.path)
            .run()?;
        Ok(record)
    }

    /// Checks everything out, which takes longest and is in nobody's way, and finds where the attempt starts.
    fn fill(&self, git: &Git, order: &Order, record: &Record, below: &Path) -> Result<PathBuf, Trouble> {
        let folder = &record.folder;
        let admin = self.admin(folder).ok_or_else(|| Trouble::Other("git made no work tree".to_owned()))?;
        git.call(&["reset", "--quiet", "--hard"]).repository(&admin).tree(folder).run()?;
        let cwd = folder.join(below);
        let cannot = |error: std::io::Error| {
            Trouble::Other(format!(
                "the folder {} is not in the worktree ({error}); commit it, or start the task elsewhere",
                below.display()
            ))
        };
        // A folder of which git has nothing (it is empty, or all in it is ignored) exists all the same.
        if order.cwd.is_dir() {
            std::fs::create_dir_all(&cwd).map_err(cannot)?;
        }
        let (real, inside) = (cwd.canonicalize().map_err(cannot)?, folder.canonicalize().map_err(cannot)?);
        if !real.starts_with(&inside) {
            return Err(Trouble::Other(format!("the folder {} leads out of the worktree", below.display())));
        }
        Ok(cwd)
    }

    /// Takes away a work tree in which no process has been.
    fn discard(&self, record: &Record) -> Result<(), Trouble> {
        let _held = self.repository.hold(|| false)?;
        self.take_away(&record.folder)?;
        Record { tip: Some(record.base.clone()), ..record.clone() }.write(&self.run_dir)
    }

    /// Removes a work tree in which nothing is anybody's, however far git came in making or removing it: git refuses to
    /// remove one that has lost its `.git`, and takes its branch for checked out until its own folder is gone.
    fn take_away(&self, folder: &Path) -> Result<(), Trouble> {
        // Where the tree was made, not where a link in its place may lead now.
        let real = folder.parent().and_then(|p| p.canonicalize().ok()).zip(folder.file_name());
        let real = real.map_or_else(|| folder.to_owned(), |(parent, name)| parent.join(name));
        let gone = |path: &Path| match std::fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(Trouble::io(&format!("remove {}", path.display()), &e))
            }
            _ => Ok(()),
        };
        gone(folder)?;
        self.admin_at(&[real.join(".git"), folder.join(".git")]).map_or(Ok(()), |admin| gone(&admin))
    }

    /// The commit from which a task starts.
    fn base(&self, git: &Git, order: &Order) -> Result<String, Trouble> {
        let mut base: Option<(String, String)> = None;
        for task in &order.files_of {
            let Some(record) = Record::of_task(&self.run_dir, task) else { continue };
            // A branch that was merged and pruned is known by its last commit.
            let tip = match self.repository.tip(git, &record.branch)? {
                Some(tip) => tip,
                None => record.tip.clone().unwrap_or(record.base),
            };
            base = Some(match base {
                None => (record.branch, tip),
                Some((into, ours)) => {
                    let (branch, subject) = (record.branch, format!("{}: what it starts from", order.task));
                    match merge(&self.repository, git, &ours, &tip, &self.policies, &subject)? {
                        Merge::Made(merged) | Merge::Already(merged) => (into, merged),
                        Merge::Conflict(files) => {
                            return Err(Trouble::Conflict(super::Conflict {
                                task: task.to_string(),
                                branch,
                                into,
                                files,
                            }));
                        }
                    }
                }
            });
        }
        Ok(base.map_or_else(|| self.repository.options.head.clone(), |(_, tip)| tip))
    }

    fn free_name(&self, git: &Git, branch: &str) -> Result<String, Trouble> {
        for n in 1u32.. {
            let name = format!("{branch}+{n}");
            if self.repository.tip(git, &name)?.is_none() {
                return Ok(name);
            }
        }
        unreachable!("there are more numbers than branches")
    }

    /// Where in the repository a folder is.
    fn below(&self, folder: &Path) -> Result<PathBuf, Trouble> {
        let plain = lexical(folder);
        let real = folder.canonicalize().unwrap_or_else(|_| plain.clone());
        let found =
            [plain, real].iter().find_map(|path| path.strip_prefix(&self.repository.top).ok().map(Path::to_owned));
        found.ok_or_else(|| {
            Trouble::Other(format!(
                "its folder {} is outside of the repository {}; a worktree has nothing of it",
                folder.display(),
                self.repository.top.display()
            ))
        })
    }

    /// git's own folder for a work tree. The tree's word for it is not taken: a task can write there.
    fn admin(&self, folder: &Path) -> Option<PathBuf> {
        let wanted = folder.join(".git");
        let wanted = folder.canonicalize().map_or(wanted, |real| real.join(".git"));
        self.admin_at(&[wanted, folder.join(".git")])
    }

    /// The one of git's own folders that belongs to one of these places.
    fn admin_at(&self, places: &[PathBuf]) -> Option<PathBuf> {
        let entries = std::fs::read_dir(self.repository.path.join("worktrees")).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).find(|admin| {
            let gitdir = std::fs::read_to_string(admin.join("gitdir")).unwrap_or_default();
            let named = Path::new(gitdir.trim_end());
            places.iter().any(|place| place == named)
        })
    }

    /// Commits what an attempt left and removes its work tree. True when there was something.
    pub(crate) fn seal(&self, record: &Record, how: &str) -> Result<bool, Trouble> {
        let mut record = record.clone();
        let git = self.repository.trusted(&self.repository.git)?;
        let old = self.repository.tip(&git, &record.branch)?;
        let start = old.clone().unwrap_or_else(|| record.base.clone());
        let Some(admin) = self.admin(&record.folder).filter(|_| record.folder.is_dir()) else {
            return self.without_admin(&git, record, start);
        };
        let git = self.repository.trusted_in(&self.repository.git, &admin)?;
        // Left by a git of the task that was killed; nobody is at work here any more.
        for lock in ["index.lock", "HEAD.lock"] {
            let _ = std::fs::remove_file(admin.join(lock));
        }
        let at = |arguments: &[&str]| git.call(arguments).repository(&admin).tree(&record.folder).run();
        let line = |arguments: &[&str]| git.call(arguments).repository(&admin).tree(&record.folder).line();
        // `--ignore-errors` adds everything else when something cannot be read; the tree stays in that case.
        let added = at(&["add", "--all", "--ignore-errors", "--", "."]);
        let tree = line(&["write-tree"])?;
        let stands =
            git.call(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).repository(&admin).line_if_any()?;
        let stands = stands.unwrap_or_else(|| start.clone());
        // The task may have committed, gone back, or left its branch: both ends are part of what comes.
        let mut parents: Vec<&str> = vec![&stands];
        if !self.repository.contains(&git, &stands, &start)? {
            match self.repository.contains(&git, &start, &stands)? {
                true => parents = vec![&start],
                false => parents.push(&start),
            }
        }
        let same = line(&["rev-parse", "--verify", &format!("{}^{{tree}}", parents[0])])? == tree;
        let tip = if same && parents.len() == 1 {
            parents[0].to_owned()
        } else {
            let message = format!(
                "{}: {how}\n\nRaddle-Run: {}\nRaddle-Task: {}\nRaddle-Attempt: {}\n",
                record.task, self.run, record.task, record.attempt
            );
            self.repository.commit(&git, &tree, &parents, &message)?
        };
        let left = match added {
            Err(trouble) => Some(format!("not everything in it could be committed: {trouble}")),
            Ok(_) => self.reason_to_stay(&git, &record.folder, &admin)?,
        };
        {
            let _held = self.repository.hold(|| false)?;
            self.set(&git, &record.branch, &tip, old.as_deref())?;
            record.tip = Some(tip.clone());
            record.left = left;
            record.write(&self.run_dir)?;
            if record.left.is_none() {
                git.call(&["worktree", "remove", "--force", "--force"])
                    .paths(&[&record.folder])
                    .repository(&self.repository.path)
                    .run()?;
            }
        }
        match record.left {
            Some(why) if why.starts_with("not everything") => Err(Trouble::Other(why)),
            _ => Ok(tip != record.base),
        }
    }

    /// A tree that git does not know (any more): made half, or taken away by the task itself.
    fn without_admin(&self, git: &Git, mut record: Record, start: String) -> Result<bool, Trouble> {
        let is_empty = std::fs::read_dir(&record.folder).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            let _ = std::fs::remove_dir(&record.folder);
        } else {
            record.left = Some("git does not know this work tree any more: look into it and remove it".to_owned());
        }
        let _held = self.repository.hold(|| false)?;
        if self.repository.tip(git, &record.branch)?.is_none() {
            self.set(git, &record.branch, &start, None)?;
        }
        record.tip = Some(start.clone());
        record.write(&self.run_dir)?;
        match &record.left {
            Some(why) => Err(Trouble::Other(format!("{}: {why}", record.folder.display()))),
            None => Ok(start != record.base),
        }
    }

    fn set(&self, git: &Git, branch: &str, tip: &str, old: Option<&str>) -> Result<(), Trouble> {
        let name = format!("refs/heads/{branch}");
        self.unlock(branch);
        let old = old.unwrap_or("0000000000000000000000000000000000000000");
        let old = if old.bytes().all(|b| b == b'0') { "0".repeat(tip.len()) } else { old.to_owned() };
        git.call(&["update-ref", "-m", "raddle: what the attempt left", &name, tip, &old])
            .repository(&self.repository.path)
            .run()
            .map(|_| ())
    }

    /// A killed git leaves its lock on a branch behind; branches of this run are nobody else's.
    fn unlock(&self, branch: &str) {
        let _ = std::fs::remove_file(self.repository.path.join(format!("refs/heads/{branch}.lock")));
    }

    /// Why a tree cannot go although everything in it is committed: repositories inside it are not.
    fn reason_to_stay(&self, git: &Git, folder: &Path, admin: &Path) -> Result<Option<String>, Trouble> {
        if !std::fs::symlink_metadata(folder.join(".git")).is_ok_and(|about| about.is_file()) {
            return Ok(Some("the task has made a repository of its own in it".to_owned()));
        }
        let listed = git.call(&["ls-files", "--stage", "-z"]).repository(admin).tree(folder).run()?;
        for entry in fields(&listed).filter(|entry| entry.starts_with(b"160000 ")) {
            let text = String::from_utf8_lossy(entry);
            let Some((_, path)) = text.split_once('\t') else { continue };
            if std::fs::read_dir(folder.join(path)).is_ok_and(|mut entries| entries.next().is_some()) {
                return Ok(Some(format!(
                    "{path} in it is a repository of its own, whose files are not committed here"
                )));
            }
        }
        Ok(None)
    }

    /// Commits what attempts of an engine that died have left. Nothing of that engine is alive.
    pub fn commit_leftovers(&self) -> Vec<Leftover> {
        let (closed, open): (Vec<_>, Vec<_>) = records(&self.run_dir).into_iter().partition(|r| r.tip.is_some());
        // Committed, and perhaps not yet removed when that engine died: the branch would count as checked out for ever.
        for record in closed.iter().filter(|record| record.left.is_none()) {
            let _ = self.take_away(&record.folder);
        }
        let seal = |record: Record| Leftover {
            result: match record.complete {
                true => self.seal(&record, "left when its engine died"),
                false => self.discard(&record).map(|()| false),
            }
            .map_err(|trouble| trouble.to_string()),
            task: record.task,
            branch: record.branch,
        };
        open.into_iter().map(seal).collect()
    }
}

/// The name of a task's branch, without `refs/heads/`.
pub fn branch_name(prefix: &str, run: &str, task: &str) -> String {
    format!("{prefix}{run}/{}", name_of(task))
}

/// A task's id as a part of a branch's name. Ids hold letters, digits, `_`, `-` and `.`; git takes exception to some
/// places of the latter.
fn name_of(task: &str) -> String {
    let mut name = String::with_capacity(task.len());
    let bytes = task.as_bytes();
    for (i, c) in task.char_indices() {
        let bad = c == '.' && (i == 0 || matches!(bytes.get(i + 1), None | Some(b'.')) || &task[i..] == ".lock");
        match c {
            _ if bad => name.push_str("%2E"),
            c if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') => name.push(c),
            c => name.push_str(&format!("%{:X}", u32::from(c))),
        }
    }
    name
}

/// A path without `.` and `..`, as far as names tell.
fn lexical(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_become_names_that_git_takes() {
        for (id, name) in
            [("left", "left"), ("a.b-c", "a.b-c"), ("x.", "x%2E"), ("a..b", "a%2E.b"), ("my.lock", "my%2Elock")]
        {
            assert_eq!(name_of(id), name);
        }
    }
}
