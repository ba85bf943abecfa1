//! `raddle worktrees`: lists, merges and prunes what tasks with worktrees have left in repositories. It does not know
//! git.

use std::path::PathBuf;

use raddle_executors::worktree::{Branch, Fate, Repository, Trees, branches, prune};
use raddle_journal::{Home, RunId};
use serde_json::{Value, json};

use super::branches::{
    WorktreeSettings, commit_leftovers, land, landing_document, landing_words, policies, trees, trouble_of,
};
use super::look::print_json;
use super::resume::own;
use super::store::{self, Opened};
use crate::args::{WorktreesAction, WorktreesArgs, WorktreesMergeArgs, WorktreesPruneArgs};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::project;
use crate::terminal::{self, Colour, Table, harmless};

/// `raddle worktrees`.
pub fn worktrees(args: WorktreesArgs, colour: Colour) -> Result<Exit, Problem> {
    match args.action {
        None => list(args.json),
        Some(WorktreesAction::List { json }) => list(json || args.json),
        Some(WorktreesAction::Merge(merge)) => self::merge(&merge, colour),
        Some(WorktreesAction::Prune(prune)) => self::prune_all(&prune),
    }
}

/// Runs that have made worktrees, newest first.
fn runs(home: &Home) -> Result<Vec<RunId>, Problem> {
    let ids = home.ids().map_err(|e| Problem::io("list the runs", &e))?;
    Ok(ids.into_iter().filter(|id| home.run_folder(id).join("worktrees").is_dir()).collect())
}

fn list(as_json: bool) -> Result<Exit, Problem> {
    let home = store::home()?;
    let mut rows = Vec::new();
    for id in runs(&home)? {
        let opened = match Opened::open(&home, id) {
            Ok(opened) => opened,
            Err(problem) => {
                terminal::tell(&format!("warning: run {id} is passed over: {}\n", problem.message));
                continue;
            }
        };
        let Some(options) = &opened.view.snapshot.options.worktrees else { continue };
        let repository = Repository::open(options, None);
        for branch in branches(&home.run_folder(&id)) {
            rows.extend(row(&id, opened.live, &repository, &options.repository, &branch));
        }
    }
    if as_json {
        print_json(&json!({ "worktrees": rows }))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["run", "task", "attempt", "branch", "state", "folder"]);
    for row in &rows {
        let text = |key: &str| match &row[key] {
            Value::String(text) => harmless(text).into_owned(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        table.row(["run", "task", "attempt", "branch", "state", "folder"].map(text));
    }
    if rows.is_empty() {
        terminal::tell("no worktrees and no branches of runs\n");
    } else {
        terminal::print(&table.render())?;
    }
    Ok(Exit::Success)
}

/// One branch of a run; nothing when neither it nor its work tree is there any more.
fn row(id: &RunId, live: bool, repository: &Repository, path: &str, branch: &Branch) -> Option<Value> {
    let record = &branch.record;
    let has_folder = !branch.is_earlier && record.folder.exists();
    let found = repository.tip_of(&branch.name);
    let (tip, state, holder) = match &found {
        Err(_) => (None, "unreachable", None),
        Ok(None) if !has_folder => return None,
        Ok(None) => (None, "lost", None),
        Ok(Some(tip)) => {
            let holder = repository.holder(tip).ok().flatten();
            let state = match () {
                () if !branch.is_earlier && record.tip.is_none() && live => "live",
                () if has_folder => "leftover",
                () if holder.is_some() => "merged",
                () => "unmerged",
            };
            (Some(tip), state, holder)
        }
    };
    Some(json!({
        "run": id.as_str(),
        "task": branch.task,
        "attempt": record.attempt.saturating_sub(u32::from(branch.is_earlier)),
        "branch": branch.name,
        "state": state,
        "merged_into": holder,
        "base": record.base,
        "tip": tip,
        "folder": has_folder.then(|| record.folder.clone()),
        "repository": path,
    }))
}

fn merge(args: &WorktreesMergeArgs, colour: Colour) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    if opened.live {
        return Err(Problem::new(Exit::Owned, format!("run {id} is still going on"))
            .hint(format!("`raddle watch {id}` follows it; merge when it has ended")));
    }
    let policies = match args.on_conflict.is_empty() {
        true => WorktreeSettings::of(&project::configuration(colour)?)?.on_conflict,
        false => policies(&args.on_conflict)?,
    };
    let landing = land(&opened.view, args.into.as_deref(), &policies)?;
    if args.json {
        print_json(&landing_document(id.as_str(), &landing))?;
    }
    terminal::tell(&landing_words(id.as_str(), &landing));
    Ok(if landing.conflict.is_some() { Exit::Failed } else { Exit::Success })
}

fn prune_all(args: &WorktreesPruneArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for id in runs(&home)? {
        // Whoever owns a run is the only one that may touch its trees: while an engine has it, it is left alone.
        let leased = if home.is_live(&id) { Err("its run is going on".to_owned()) } else { lease(&home, id) };
        let done = leased.and_then(|(trees, _lease)| {
            if !args.dry_run {
                commit_leftovers(&trees);
            }
            prune(&trees, args.dry_run).map_err(|trouble| trouble_of(&trouble).message)
        });
        match done {
            Ok(pruned) => {
                for one in pruned {
                    let row = |key: &str, what: &str| {
                        let branch = &one.branch;
                        json!({"run": id.as_str(), "task": branch.task, "branch": branch.name, "tip": one.tip, key: what})
                    };
                    match &one.fate {
                        Fate::Removed(holder) => removed.push(row("merged_into", holder)),
                        Fate::Kept(why) => kept.push(row("why", why)),
                    }
                }
            }
            Err(why) => kept.push(json!({"run": id.as_str(), "task": null, "branch": null, "tip": null, "why": why})),
        }
    }
    if args.json {
        print_json(&json!({"removed": removed, "kept": kept, "dry_run": args.dry_run}))?;
    } else {
        let text = |row: &Value, key: &str| harmless(row[key].as_str().unwrap_or("-")).into_owned();
        let verb = if args.dry_run { "would remove" } else { "removed" };
        for row in &removed {
            terminal::print(&format!("{verb} {} (merged into {})\n", text(row, "branch"), text(row, "merged_into")))?;
        }
        for row in &kept {
            let what = if row["branch"].is_null() { text(row, "run") } else { text(row, "branch") };
            terminal::tell(&format!("kept {what}: {}\n", text(row, "why")));
        }
        let count = terminal::counted_as(removed.len(), "branch", "branches");
        terminal::tell(&format!("{verb} {count}, kept {}\n", kept.len()));
    }
    Ok(Exit::Success)
}

/// The trees of a run, with the ownership that keeps engines away from them.
fn lease(home: &Home, id: RunId) -> Result<(Trees, raddle_journal::SqliteJournal), String> {
    let (journal, records) = own(home, id).map_err(|problem| problem.message)?;
    let view = store::view_of(&id, records).map_err(|problem| problem.message)?;
    let folder: PathBuf = home.run_folder(&id);
    let options = view.snapshot.options.worktrees.as_ref();
    let trees = trees(options, id.as_str(), &folder, &Default::default());
    trees.map(|trees| (trees, journal)).ok_or_else(|| "its journal names no repository".to_owned())
}
