//! What is known of the worktrees of a run, one small file per attempt in the run's folder, written before anything is
//! done so that the next engine finds what a dead one left. It does not know git.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Trouble;

/// The folder of records and work trees in a run's folder.
const FOLDER: &str = "worktrees";
/// The largest record that is read.
const RECORD_BYTES: u64 = 1 << 20;

/// The worktree of an attempt.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The task.
    pub task: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Its branch, without `refs/heads/`.
    pub branch: String,
    /// The commit it started from.
    pub base: String,
    /// Its work tree; gone when everything in it is committed.
    pub folder: PathBuf,
    /// The last commit, once what the attempt left is committed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tip: Option<String>,
    /// Whether the work tree was complete: before that no process was in it, and nothing in it is anybody's work.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// Why the work tree stays although the attempt is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// Branches with what earlier attempts left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// A branch that a run has made.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// The task.
    pub task: String,
    /// Whether it holds what an earlier attempt left.
    pub is_earlier: bool,
    /// The record that names it.
    pub record: Record,
}

/// The records of a run, by task and attempt. Files that are none are passed over.
pub fn records(run_dir: &Path) -> Vec<Record> {
    let entries = std::fs::read_dir(run_dir.join(FOLDER)).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
    let mut records: Vec<Record> = paths.filter_map(|path| read(&path)).collect();
    records.sort_by(|a, b| (&a.task, a.attempt).cmp(&(&b.task, b.attempt)));
    records
}

/// The branches of a run: one per task, and those of earlier attempts that left something.
pub fn branches(run_dir: &Path) -> Vec<Branch> {
    let records = records(run_dir);
    let mut branches: Vec<Branch> = Vec::new();
    for (n, record) in records.iter().enumerate() {
        let branch = |name: &String, is_earlier| Branch {
            name: name.clone(),
            task: record.task.clone(),
            is_earlier,
            record: record.clone(),
        };
        branches.extend(record.kept.iter().map(|name| branch(name, true)));
        if records.get(n + 1).is_none_or(|next| next.task != record.task) {
            branches.push(branch(&record.branch, false));
        }
    }
    branches
}

impl Record {
    /// The latest of a task.
    pub(crate) fn of_task(run_dir: &Path, task: &str) -> Option<Record> {
        records(run_dir).into_iter().rfind(|record| record.task == task)
    }

    pub(crate) fn of_stem(run_dir: &Path, stem: &str) -> Option<Record> {
        read(&run_dir.join(FOLDER).join(format!("{stem}.json")))
    }

    fn path(&self, run_dir: &Path) -> PathBuf {
        run_dir.join(FOLDER).join(format!("{}.{}.json", self.task, self.attempt))
    }

    /// Where the work tree of an attempt is made.
    pub(crate) fn folder_of(run_dir: &Path, stem: &str) -> PathBuf {
        run_dir.join(FOLDER).join(stem)
    }

    /// Makes it durable.
    pub(crate) fn write(&self, run_dir: &Path) -> Result<(), Trouble> {
        let path = self.path(run_dir);
        let new = path.with_extension("new");
        let folder = run_dir.join(FOLDER);
        let write = || {
            std::fs::create_dir_all(&folder)?;
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|error| Trouble::io(&format!("write {}", path.display()), &error))
    }
}

fn read(path: &Path) -> Option<Record> {
    let about = std::fs::symlink_metadata(path).ok()?;
    if !about.is_file() || about.len() > RECORD_BYTES {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}
