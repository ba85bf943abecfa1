//! What a run has to do with git: the repository that it remembers, the trees that its engine makes, and the merge of
//! its branches, on request or after it. It does not know how trees are made or branches merged.

use std::path::Path;

use raddle_engine::admission::{Admission, Cap};
use raddle_engine::own_files::WORKTREE;
use raddle_engine::snapshot::WorktreeOptions;
use raddle_engine::view::RunView;
use raddle_engine::{Ending, Outcome, TaskIx};
use raddle_executors::worktree::{Landing, Policies, Repository, Trees, Trouble, branch_name, branches};
use raddle_kernel::TaskState;
use raddle_model::caps::Caps;
use raddle_model::workflow::Workflow;
use serde_json::{Value, json};

use crate::config::{Configuration, Entry, Value as Configured};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, counted, harmless};

/// `[executors.worktree]`, but for the cap.
#[derive(Debug, Clone)]
pub struct WorktreeSettings {
    /// Beginning of the names of branches.
    pub branch_prefix: String,
    /// Whether branches are merged when the run has succeeded.
    pub auto_merge: bool,
    /// What becomes of files that do not merge.
    pub on_conflict: Policies,
}

impl WorktreeSettings {
    /// As it is configured.
    pub fn of(configuration: &Configuration) -> Result<WorktreeSettings, Problem> {
        let path = |key| ["executors", "worktree", key];
        let words = match configuration.get(&path("on_conflict")) {
            Some(Entry { value: Configured::List(words), .. }) => words.clone(),
            _ => Vec::new(),
        };
        Ok(WorktreeSettings {
            branch_prefix: configuration.text(&path("branch_prefix")).unwrap_or("dag/").to_owned(),
            auto_merge: matches!(
                configuration.get(&path("auto_merge")),
                Some(Entry { value: Configured::Switch(true), .. })
            ),
            on_conflict: policies(&words).map_err(|p| p.hint("correct `executors.worktree.on_conflict`"))?,
        })
    }
}

/// Policies as they are typed.
pub fn policies(words: &[String]) -> Result<Policies, Problem> {
    Policies::parse(words.iter().map(String::as_str)).map_err(Problem::usage)
}

/// The repository that a new run must remember; `None` when no task has a worktree.
pub fn repository(
    workflow: &Workflow,
    work_dir: &Path,
    settings: &WorktreeSettings,
) -> Result<Option<WorktreeOptions>, Problem> {
    let Some(task) = workflow.tasks.iter().find(|task| task.executor == WORKTREE) else { return Ok(None) };
    let found = Repository::find(work_dir, &settings.branch_prefix).map(Some);
    found.map_err(|trouble| {
        let wanted = format!("task {} wants a worktree and cannot have one: {trouble}", task.id);
        Problem::new(Exit::Refused, wanted).hint("nothing was started; `raddle executors` tells what is available here")
    })
}

/// The trees of a run; `None` when it has none.
pub fn trees(options: Option<&WorktreeOptions>, run: &str, run_dir: &Path, policies: &Policies) -> Option<Trees> {
    options.map(|options| Trees::new(Repository::open(options, Some(run)), run, run_dir, policies.clone()))
}

/// Commits what an engine that died has left in trees, and tells it.
pub fn commit_leftovers(trees: &Trees) {
    for left in trees.commit_leftovers() {
        let (task, branch) = (harmless(&left.task), harmless(&left.branch));
        match left.result {
            Ok(false) => {}
            Ok(true) => terminal::tell(&format!("what {task} had left is committed on {branch}\n")),
            Err(why) => terminal::tell(&format!("warning: what {task} had left stays where it is: {why}\n")),
        }
    }
}

/// The branch of a task, if it has one.
pub fn branch_of(view: &RunView, task: TaskIx) -> Option<String> {
    let (record, detail) = (&view.snapshot.tasks[task.index()], &view.tasks[task.index()]);
    let options = view.snapshot.options.worktrees.as_ref().filter(|_| record.executor == WORKTREE)?;
    (!detail.attempts.is_empty()).then(|| branch_name(&options.branch_prefix, &view.chapter.run, &record.id))
}

/// Why the folder of a run is still needed: what its tasks have left is not merged, or not even committed.
pub fn unmerged(view: &RunView, run_dir: &Path) -> Option<String> {
    let repository = Repository::open(view.snapshot.options.worktrees.as_ref()?, None);
    branches(run_dir).into_iter().find_map(|branch| {
        if !branch.is_earlier && branch.record.folder.exists() {
            return Some(format!("its work tree {} is still there", branch.record.folder.display()));
        }
        // A repository that is gone needs nothing any more.
        let tip = repository.tip_of(&branch.name).ok()??;
        let is_merged = repository.holder(&tip).ok()?.is_some();
        (!is_merged).then(|| format!("its branch {} is not merged", branch.name))
    })
}

/// Merges the branches of a run's completed tasks, dependencies first.
pub fn land(view: &RunView, into: Option<&str>, policies: &Policies) -> Result<Landing, Problem> {
    let run = &view.chapter.run;
    let Some(options) = &view.snapshot.options.worktrees else {
        return Err(Problem::usage(format!("no task of run {run} has a worktree")));
    };
    let Some(into) = into.or(options.on.as_deref()) else {
        return Err(
            Problem::usage("no branch was checked out where the run began").hint("say into which: --into BRANCH")
        );
    };
    let completed = |task: &TaskIx| matches!(view.run.state(*task), TaskState::Completed { .. });
    let mut tasks: Vec<TaskIx> = (0..view.tasks.len() as u32).map(TaskIx).filter(completed).collect();
    tasks.sort_by_key(|task| (view.snapshot.tasks[task.index()].level, task.index()));
    let branch = |task: TaskIx| Some((view.snapshot.tasks[task.index()].id.clone(), branch_of(view, task)?));
    let branches: Vec<(String, String)> = tasks.into_iter().filter_map(branch).collect();
    Repository::open(options, None).land(&branches, into, policies, run).map_err(|trouble| trouble_of(&trouble))
}

/// The cap of tasks with worktrees, which count as agent or shell tasks, and together once more.
pub fn cap(caps: &Caps) -> Option<Cap> {
    let cap = caps.worktree.as_ref()?;
    Some(Cap { value: cap.value, bound_by: cap.bound_by.to_owned(), of: "tasks with worktrees" })
}

/// Admission that keeps to it.
pub fn also(admission: Admission, workflow: &Workflow, caps: &Caps) -> Admission {
    let Some(cap) = cap(caps) else { return admission };
    let tasks = (0u32..).zip(&workflow.tasks).filter(|(_, task)| task.executor == WORKTREE);
    admission.also(cap, tasks.map(|(i, _)| TaskIx(i)))
}

/// What came of merging by itself; `None` when it was not asked for or the run did not go well.
pub struct Merged {
    run: String,
    result: Option<Result<Landing, Problem>>,
}

/// Merges the branches of a run that has gone well, where that is asked for.
pub fn after(view: &RunView, ending: Ending, settings: &WorktreeSettings) -> Merged {
    let went_well = matches!(ending, Ending::Finished(Outcome::Succeeded | Outcome::Degraded));
    let is_wanted = settings.auto_merge && went_well && view.snapshot.options.worktrees.is_some();
    Merged { run: view.chapter.run.clone(), result: is_wanted.then(|| land(view, None, &settings.on_conflict)) }
}

impl Merged {
    /// What was asked for did not come about when it was not merged, however well the tasks did.
    pub fn exit(&self, of_the_run: Exit) -> Exit {
        match (&self.result, of_the_run) {
            (Some(Ok(landing)), exit) if landing.conflict.is_none() => exit,
            (Some(_), Exit::Success | Exit::Degraded) => Exit::Failed,
            (_, exit) => exit,
        }
    }

    /// As `merge` of the run's document.
    pub fn add_to(&self, document: &mut Value) {
        match &self.result {
            None => {}
            Some(Ok(landing)) => document["merge"] = landing_document(&self.run, landing),
            Some(Err(problem)) => document["merge"] = json!({ "error": problem.message }),
        }
    }

    /// In words.
    pub fn tell(&self, quiet: bool) {
        let run = &self.run;
        match &self.result {
            None => {}
            Some(Ok(landing)) if quiet && landing.conflict.is_none() => {}
            Some(Ok(landing)) => terminal::tell(&landing_words(run, landing)),
            Some(Err(problem)) => terminal::tell(&format!(
                "the branches were not merged: {}\n  to try it again:  raddle worktrees merge {run}\n",
                terminal::harmless_lines(&problem.message)
            )),
        }
    }
}

/// Trouble in a person's words, with the exit code that follows.
pub fn trouble_of(trouble: &Trouble) -> Problem {
    let exit = match trouble {
        Trouble::Conflict(_) => Exit::Failed,
        Trouble::NoGit | Trouble::NoRepository(_) | Trouble::Unusable(_) => Exit::Refused,
        Trouble::Git { .. } | Trouble::Stopped | Trouble::Other(_) => Exit::Failed,
    };
    Problem::new(exit, trouble.to_string())
}

/// What was merged, as a document.
pub fn landing_document(run: &str, landing: &Landing) -> Value {
    let merged = landing.merged.iter().filter(|m| m.commit.is_some());
    let idle = landing.merged.iter().filter(|m| m.commit.is_none());
    json!({
        "run": run,
        "into": landing.into,
        "before": landing.before,
        "after": landing.after,
        "merged": merged
            .map(|m| json!({"task": m.task, "branch": m.branch, "commit": m.commit}))
            .collect::<Vec<_>>(),
        "nothing_to_merge": idle.map(|m| m.branch.clone()).collect::<Vec<_>>(),
        "conflict": landing.conflict.as_ref().map(|c| json!({"task": c.task, "branch": c.branch, "files": c.files})),
        "not_tried": landing.not_tried,
    })
}

/// The same in words.
pub fn landing_words(run: &str, landing: &Landing) -> String {
    let into = harmless(&landing.into);
    let count = landing.merged.iter().filter(|m| m.commit.is_some()).count();
    let mut text = match count {
        0 => format!("nothing was merged into {into}\n"),
        _ => format!("merged {} of run {run} into {into}\n", terminal::counted_as(count, "branch", "branches")),
    };
    if let Some(conflict) = &landing.conflict {
        text.push_str(&format!("{}\n", harmless(&conflict.to_string())));
        if !landing.not_tried.is_empty() {
            let rest = counted(landing.not_tried.len(), "later one");
            text.push_str(&format!("  not tried: {rest}\n"));
        }
        let branch = harmless(&conflict.branch);
        text.push_str(&format!(
            "  {into} has nothing of it; the branch is kept\n  by hand:          git merge {branch}\n  \
             or by a policy:   raddle worktrees merge {run} --into {into} --on-conflict theirs\n"
        ));
    }
    text
}
