//! What belongs together when a task fails, what undoes a task, and which tasks write the same files. It does not know
//! how anything is undone.

use std::collections::BTreeMap;

use super::{Task, Workflow};

/// `on_failure`: what becomes of what completed when a task fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It stays; what does not hang on the failed task goes on.
    #[default]
    Continue,
    /// All of the workflow is one scope: what can be undone is.
    Compensate,
}

/// `compensate:`.
#[derive(Debug, Clone)]
pub enum Compensation {
    /// The files that `writes:` names are put back as they were before.
    Restore,
    /// A shell, tool or code task; all that it does not say itself is as with the task that it undoes.
    Task(Box<Task>),
}

impl Workflow {
    /// The scope of each task in order, from 1; 0 is none. They are numbered as they first appear: a changed workflow has
    /// its new tasks at the end, so a saga keeps its number.
    pub fn scopes(&self) -> impl Iterator<Item = u32> + '_ {
        let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
        self.tasks.iter().map(move |task| match (self.on_failure, &task.saga) {
            (OnFailure::Compensate, _) => 1,
            (OnFailure::Continue, Some(saga)) => {
                let next = numbers.len() as u32 + 1;
                *numbers.entry(saga).or_insert(next)
            }
            (OnFailure::Continue, None) => 0,
        })
    }

    /// For each task the files that it declares to write, as numbers: tasks with a number in common never run at once.
    pub fn written_files(&self) -> Vec<Vec<u32>> {
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut number = |task: &Task, path: &String| {
            let next = numbers.len() as u32;
            *numbers.entry(plain(task.cwd.as_deref(), path)).or_insert(next)
        };
        self.tasks.iter().map(|task| task.writes.iter().map(|path| number(task, path)).collect()).collect()
    }
}

/// A path from the workflow's folder without `.` and `..`, as far as that can be known without looking.
fn plain(folder: Option<&str>, path: &str) -> String {
    let whole = match folder {
        Some(folder) if !path.starts_with('/') => format!("{folder}/{path}"),
        _ => path.to_owned(),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let root = if whole.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}
