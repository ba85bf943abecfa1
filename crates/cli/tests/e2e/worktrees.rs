//! Tasks with worktrees in real repositories: what they leave is committed whatever becomes of them, merged on request,
//! and nothing that is not merged, and nothing of the user's, is ever touched.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::place::{Place, until};
use crate::processes;

/// A place whose working folder is a repository with one commit on `main`.
fn repository() -> Place {
    let place = Place::new();
    std::fs::write(place.root().join("home/.gitconfig"), "[user]\nname = T\nemail = t@localhost\n").expect("written");
    git(&place, &["init", "--quiet", "--initial-branch=main"]);
    place.file("one.txt", "one\n");
    place.file("shared.txt", "first\nlast\n");
    place.file(".gitignore", "*.tmp\nwf.yaml\n");
    git(&place, &["add", "."]);
    git(&place, &["commit", "--quiet", "--message=start"]);
    place
}

/// What git says in the working folder.
#[track_caller]
fn git(place: &Place, words: &[&str]) -> String {
    let mut command = Command::new("git");
    command.args(words).current_dir(place.work("")).env("HOME", place.root().join("home"));
    let out = command.output().expect("git can be started");
    assert!(out.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim_end().to_owned()
}

fn branches(place: &Place) -> Vec<String> {
    git(place, &["for-each-ref", "--format=%(refname:short)", "refs/heads/dag"]).lines().map(str::to_owned).collect()
}

fn listed(place: &Place) -> Vec<Value> {
    let document = place.raddle(&["worktrees", "list", "--json"]).exits(0).json();
    document["worktrees"].as_array().expect("a list").clone()
}

fn trees(place: &Place) -> usize {
    git(place, &["worktree", "list", "--porcelain"]).lines().filter(|line| line.starts_with("worktree ")).count()
}

/// One path of a task's branch.
fn left(place: &Place, document: &Value, task: &str, path: &str) -> String {
    let branch = document["tasks"][task]["branch"].as_str().expect("the task has a branch");
    git(place, &["show", &format!("{branch}:{path}")])
}

#[test]
fn a_killed_engine_loses_nothing_that_a_task_had_written() {
    let place = repository();
    place.file(
        "wf.yaml",
        "tasks:\n  - {id: long, executor: worktree, on_doubt: rerun, run: 'echo attempt-$RADDLE_ATTEMPT > made; echo edit >> \
         one.txt; test $RADDLE_ATTEMPT != 1 || { touch ../../../../../there; sleep 600; }'}\n",
    );
    let live = place.start(&["run", "wf.yaml", "--json"]);
    until("the task has written", || place.root().join("there").exists());
    // The front, the warden and the engine: nobody is left who could tidy up.
    for process in processes::mentioning(place.root()).into_iter().filter(|process| process.pid != live.pid()) {
        process.kill();
    }
    let mut live = live;
    live.child.kill().expect("it can be killed");
    live.ended();
    assert_eq!(trees(&place), 2, "the tree of the killed attempt is still there");
    let document = place.raddle(&["resume", "last", "--json"]).exits(0).json();
    assert_eq!(left(&place, &document, "long", "made"), "attempt-2");
    let branch = document["tasks"]["long"]["branch"].as_str().expect("a branch").to_owned();
    // The new attempt began anew; what the killed one left has a branch of its own.
    assert_eq!(git(&place, &["show", &format!("{branch}:one.txt")]), "one\nedit");
    assert_eq!(git(&place, &["show", &format!("{branch}+1:made")]), "attempt-1");
    assert_eq!((trees(&place), branches(&place).len()), (1, 2));
    // What nobody has merged stays, whoever tidies up.
    place.raddle(&["worktrees", "prune"]).exits(0);
    assert_eq!(branches(&place).len(), 2);
    let gc = place.raddle(&["gc", "--older-than", "0s"]).exits(0);
    assert!(gc.err.contains("not merged") && place.ps().len() == 1, "{}", gc.err);
    place.raddle(&["worktrees", "merge", "last", "--into", "main"]).exits(0);
    place.raddle(&["worktrees", "prune"]).exits(0);
    assert_eq!(branches(&place), [format!("{branch}+1")], "what the killed attempt left is in no other branch");
}

/// Found by the fault suite: an engine that died between committing a tree and removing it, or while git was making or
/// removing one, left the branch checked out for ever, and no attempt of the task could be made any more.
#[test]
fn a_tree_that_was_half_removed_when_its_engine_died_is_in_nobodys_way() {
    for half in ["committed", "without its .git", "without its folder", "locked"] {
        let place = repository();
        place.file(
            "wf.yaml",
            "tasks:\n  - {id: long, executor: worktree, on_doubt: rerun, run: 'test $RADDLE_ATTEMPT != 1 || { touch \
             ../../../../../there; sleep 600; }'}\n",
        );
        let mut live = place.start(&["run", "wf.yaml", "--json"]);
        until("the task is at work", || place.root().join("there").exists());
        processes::mentioning(place.root()).iter().for_each(processes::Process::kill);
        live.child.wait().expect("the front ends");
        let run = place.ps()[0]["run"].as_str().expect("a name").to_owned();
        let folder = place.root().join("state/runs").join(&run).join("worktrees");
        let record = folder.join("long.1.json");
        let mut told: Value = serde_json::from_str(&std::fs::read_to_string(&record).expect("a record")).expect("JSON");
        if half == "committed" {
            told["tip"] = told["base"].clone();
        } else if half == "locked" {
            std::fs::write(place.work(&format!(".git/refs/heads/dag/{run}/long.lock")), "").expect("written");
        } else {
            told["complete"] = false.into();
            std::fs::remove_file(folder.join("long.1/.git")).expect("git has made it");
        }
        if half == "without its folder" {
            std::fs::remove_dir_all(folder.join("long.1")).expect("it is there");
        }
        std::fs::write(&record, told.to_string()).expect("written");
        let document = place.raddle(&["resume", &run, "--json"]).exits(0).json();
        assert_eq!(document["tasks"]["long"]["attempts"], 2, "{half}");
        assert_eq!(trees(&place), 1, "{half}");
    }
}

#[test]
fn sixty_four_at_once_on_one_repository() {
    let mut place = repository();
    place.variable("RADDLE_EXECUTORS_WORKTREE_MAX_WORKTREES", "64");
    place.variable("RADDLE_DAG_EXECUTION_MAX_LOCAL", "64");
    let mut workflow = String::from("tasks:\n");
    for n in 0..64 {
        workflow
            .push_str(&format!("  - {{id: t{n}, executor: worktree, retry: {{max: 0}}, run: 'echo {n} > f{n}'}}\n"));
    }
    let document = place.run(&workflow, 0);
    assert_eq!(document["metrics"]["tasks_done"], 64);
    assert_eq!((branches(&place).len(), trees(&place)), (64, 1));
    let merge = place.raddle(&["worktrees", "merge", "last", "--into", "main", "--json"]).exits(0).json();
    assert_eq!(merge["merged"].as_array().map(Vec::len), Some(64));
    let files = git(&place, &["ls-tree", "--name-only", "main"]);
    assert_eq!(files.lines().filter(|name| name.starts_with('f')).count(), 64);
    assert_eq!(git(&place, &["status", "--porcelain"]), "", "the checkout of main has come along");
    place.raddle(&["worktrees", "prune"]).exits(0);
    assert!(branches(&place).is_empty());
}

#[test]
fn neither_hooks_nor_new_programs_of_the_repository_run_in_our_commits() {
    let place = repository();
    let hook = format!("#!/bin/sh\ntouch {}/ran-$(basename $0)\n", place.root().display());
    for name in
        ["post-checkout", "pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-index-change"]
    {
        place.program(&format!(".git/hooks/{name}"), &hook);
    }
    let marker = place.root().join("ran-filter");
    let filter = format!("git config filter.evil.clean \"touch {0}; cat\"", marker.display());
    let monitor = format!("git config core.fsmonitor \"touch {}; false\"", marker.display());
    let document = place.run(
        &format!(
            "tasks:\n  - id: sly\n    executor: worktree\n    run: |\n      test -z \"$(ls {0} | grep ran-)\"\n      {filter}\n      {monitor}\n      echo '* \
             filter=evil' > .gitattributes\n      echo text > made\n      rm -f {0}/ran-*\n",
            place.root().display()
        ),
        0,
    );
    let ran: Vec<String> = std::fs::read_dir(place.root())
        .expect("the folder is there")
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("ran-"))
        .collect();
    assert!(ran.is_empty(), "these ran: {ran:?}");
    assert!(!Path::new(&marker).exists());
    assert_eq!(left(&place, &document, "sly", "made"), "text");
}

#[test]
fn no_program_that_a_task_has_configured_runs_when_its_branch_is_merged() {
    let place = repository();
    let marker = place.root().join("ran-smudge");
    let linked = place.root().join("linked");
    git(&place, &["worktree", "add", "--quiet", "-b", "release", linked.to_str().expect("a plain name")]);
    let document = place.run(
        &format!(
            "tasks:\n  - id: sly\n    executor: worktree\n    run: |\n      git config extensions.worktreeConfig true\n      git config \
             --file $(git rev-parse --git-common-dir)/worktrees/linked/config.worktree filter.sly.smudge 'touch {}; cat'\n      \
             echo '* filter=sly' > .gitattributes\n      echo text > made\n",
            marker.display()
        ),
        0,
    );
    assert_eq!(left(&place, &document, "sly", "made"), "text");
    place.raddle(&["worktrees", "merge", "last", "--into", "release"]).exits(0);
    let made = std::fs::read_to_string(linked.join("made")).expect("the checkout has come along");
    assert_eq!((&*made, marker.exists()), ("text\n", false));
    // The user's own git would have run it.
    std::fs::remove_file(linked.join("made")).expect("it was merged");
    git(&place, &["-C", linked.to_str().expect("a plain name"), "checkout", "--", "made"]);
    assert!(marker.exists(), "the setting means something");
}

#[test]
fn whatever_a_task_does_with_git_is_kept() {
    let place = repository();
    let document = place.run(
        "tasks:
  - {id: commits, executor: worktree, run: 'echo 1 > a; git add a; git commit -qm mine; echo 2 > b'}
  - {id: detaches, executor: worktree, run: 'echo 1 > a; git add a; git commit -qm mine; git checkout -q --detach HEAD~; echo 2 > b'}
  - {id: deletes, executor: worktree, run: 'rm one.txt; echo x > junk.tmp'}
  - {id: nests, executor: worktree, run: 'git init -q inner; echo x > inner/file; git -C inner add file; git -C inner commit -qm inner'}
  - {id: fails, executor: worktree, retry: {max: 1, initial: 1ms}, run: 'echo $RADDLE_ATTEMPT > half; exit 1'}
  - {id: slow, executor: worktree, retry: {max: 0}, timeout: 1s, run: 'echo half > half; sleep 600'}
",
        1,
    );
    assert_eq!(left(&place, &document, "commits", "b"), "2");
    let branch = document["tasks"]["commits"]["branch"].as_str().expect("a branch");
    assert!(git(&place, &["log", "--format=%s", branch]).contains("mine"));
    // What was committed and then left is part of the history, and what was there last is what is there.
    let branch = document["tasks"]["detaches"]["branch"].as_str().expect("a branch");
    assert!(git(&place, &["log", "--format=%s", branch]).contains("mine"));
    assert_eq!(left(&place, &document, "detaches", "b"), "2");
    let branch = document["tasks"]["deletes"]["branch"].as_str().expect("a branch");
    assert_eq!(git(&place, &["diff", "--name-status", "main", branch]), "D\tone.txt");
    // A repository inside is not part of the commit, so its tree stays.
    let nests = listed(&place).into_iter().find(|row| row["task"] == "nests").expect("it is listed");
    let folder = nests["folder"].as_str().expect("its folder is there");
    assert_eq!(std::fs::read_to_string(Path::new(folder).join("inner/file")).expect("the file is there"), "x\n");
    // Both attempts of the one that failed, and what was there when time was up.
    assert_eq!(left(&place, &document, "fails", "half"), "2");
    let branch = document["tasks"]["fails"]["branch"].as_str().expect("a branch");
    assert_eq!(git(&place, &["show", &format!("{branch}+1:half")]), "1");
    assert_eq!(left(&place, &document, "slow", "half"), "half");
    assert_eq!(document["tasks"]["slow"]["error"]["class"], "timeout");
    assert_eq!(git(&place, &["show", "main:one.txt"]), "one");
    assert_eq!(trees(&place), 2, "only the tree with a repository inside is still there");
}

#[test]
fn conflicts_follow_the_policy_and_dependents_start_from_merged_branches() {
    let place = repository();
    let both = "
  - {id: left, executor: worktree, run: 'echo left > shared.txt; echo l > l'}
  - {id: right, executor: worktree, run: 'echo right > shared.txt; echo r > r'}
";
    let document = place
        .run(&format!("tasks:{both}  - {{id: last, executor: worktree, depends_on: [left, right], run: 'true'}}\n"), 1);
    let error = &document["tasks"]["last"]["error"];
    let message = error["message"].as_str().expect("it failed");
    assert!(message.contains("conflict") && message.contains("shared.txt"), "{error}");
    let run = document["run"].as_str().expect("an id").to_owned();
    let stopped = place.raddle(&["worktrees", "merge", &run, "--into", "main"]).exits(1);
    assert!(stopped.err.contains("conflict") && stopped.err.contains("shared.txt"), "{}", stopped.err);
    assert_eq!(git(&place, &["show", "main:shared.txt"]), "left");
    place.raddle(&["worktrees", "merge", &run, "--into", "main", "--on-conflict", "theirs:*.txt"]).exits(0);
    assert_eq!(git(&place, &["show", "main:shared.txt"]), "right");
    assert_eq!(git(&place, &["show", "main:r"]), "r");
    assert_eq!(git(&place, &["status", "--porcelain"]), "");
    place.raddle(&["worktrees", "merge", &run, "--on-conflict", "mine"]).exits(2);
    // By configuration, for what a dependent starts from; a task without files in between hands them on.
    place.file("raddle.toml", "[executors.worktree]\non_conflict = [\"ours\"]\n");
    let document = place.run(
        &format!(
            "tasks:{both}  - {{id: between, run: 'true', depends_on: [left]}}
  - {{id: last, executor: worktree, depends_on: [between, right], run: 'cat shared.txt l r'}}\n"
        ),
        0,
    );
    assert_eq!(document["tasks"]["last"]["output"], "left\nl\nr");
}

#[test]
fn the_users_own_changes_are_in_the_way_of_a_merge_and_not_the_reverse() {
    let place = repository();
    let document =
        place.run("tasks: [{id: edit, executor: worktree, run: 'echo edit > one.txt; echo x > new.tmp.txt'}]\n", 0);
    let run = document["run"].as_str().expect("an id").to_owned();
    let merge = |code| place.raddle(&["worktrees", "merge", &run, "--into", "main"]).exits(code);
    place.file("one.txt", "mine\n");
    assert!(merge(6).err.contains("in the way"));
    git(&place, &["add", "one.txt"]);
    assert!(merge(6).err.contains("in the way"));
    assert_eq!(place.text("one.txt"), "mine\n");
    git(&place, &["checkout", "--quiet", "HEAD", "one.txt"]);
    // Not even a file that git ignores is written over.
    place.file(".git/info/exclude", "new.tmp.txt\n");
    place.file("new.tmp.txt", "precious\n");
    assert!(merge(6).err.contains("written over"));
    assert_eq!(
        (place.text("new.tmp.txt"), git(&place, &["show", "main:one.txt"])),
        ("precious\n".into(), "one".into())
    );
    std::fs::remove_file(place.work("new.tmp.txt")).expect("it is there");
    place.file(".git/MERGE_HEAD", git(&place, &["rev-parse", "HEAD"]));
    assert!(merge(6).err.contains("in the middle of something"));
    std::fs::remove_file(place.work(".git/MERGE_HEAD")).expect("it is there");
    merge(0);
    assert_eq!((place.text("one.txt"), git(&place, &["status", "--porcelain"])), ("edit\n".into(), String::new()));
    // Another branch moves without any work tree; one that does not exist is not made.
    git(&place, &["branch", "other", "main~1"]);
    place.raddle(&["worktrees", "merge", &run, "--into", "other"]).exits(0);
    assert_eq!(git(&place, &["show", "other:one.txt"]), "edit");
    assert!(place.raddle(&["worktrees", "merge", &run, "--into", "nosuch"]).exits(6).err.contains("nosuch"));
}

#[test]
fn where_no_worktree_can_be_made_nothing_is_started() {
    let place = Place::new();
    let workflow = "tasks: [{id: first, run: 'touch ran'}, {id: t, executor: worktree, run: 'touch ran'}]\n";
    place.file("wf.yaml", workflow);
    let refused = |why: &str| {
        let ended = place.raddle(&["run", "wf.yaml"]).exits(6);
        assert!(ended.err.contains(why), "{}", ended.err);
        assert!(!place.work("ran").exists() && place.ps().is_empty());
    };
    refused("not in a git repository");
    git(&place, &["init", "--quiet", "--initial-branch=main"]);
    refused("no commit yet");
    git(&place, &["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qm", "start", "--allow-empty"]);
    git(&place, &["branch", "dag"]);
    refused("in the way");
    git(&place, &["branch", "--delete", "dag"]);
    // Without an identity the commits are ours, and the folder in the repository is kept.
    std::fs::create_dir(place.work("deep")).expect("a folder can be made");
    let document = place.run("tasks: [{id: t, executor: worktree, cwd: deep, run: 'pwd; touch made'}]\n", 0);
    let output = document["tasks"]["t"]["output"].as_str().expect("it says where it is");
    assert!(output.ends_with("/deep") && !output.starts_with(&*place.work("").to_string_lossy()), "{output}");
    let branch = document["tasks"]["t"]["branch"].as_str().expect("a branch");
    assert_eq!(git(&place, &["log", "-1", "--format=%an", branch]), "Raddle");
    let outside = place.run("tasks: [{id: t, executor: worktree, cwd: /, retry: {max: 0}, run: 'touch ran'}]\n", 1);
    let message = outside["tasks"]["t"]["error"]["message"].as_str().expect("it failed");
    assert!(message.contains("outside of the repository"), "{message}");
}

#[test]
fn permissions_hold_in_a_worktree_and_leave_git_readable() {
    let place = repository();
    place.file("secret", "hidden\n");
    git(&place, &["add", "secret"]);
    git(&place, &["commit", "--quiet", "--message=a secret"]);
    place.file(
        "wf.yaml",
        "permissions: { paths: { read: [./**], write: [./**] }, deny: [./secret] }
tasks:
  - id: edit
    executor: worktree
    run: |
      set +e
      cat one.txt; git log --oneline | wc -l; git status --short
      echo edit >> one.txt
      cat secret; cat ../../../../../work/secret
      echo taken > ../../../../../work/one.txt
      echo taken >> ../../../../../work/.git/config
      echo taken > ../../../../../work/.git/hooks/post-checkout
      echo taken > ../../../../../work/.git/worktrees/edit.1/commondir
      exit 0
  - { id: after, executor: worktree, depends_on: [edit], run: 'tail -1 one.txt' }
  - id: commits
    executor: worktree
    run: 'echo own > own && git add own && git commit --quiet --message=own && git status --short'
    permissions: { paths: { write: [./own, ./.git/**] } }
",
    );
    if let Some(why) = place.unheld("wf.yaml", "edit") {
        return println!("SKIPPED: permissions in a worktree: {why}");
    }
    let config = place.text(".git/config");
    let document = place.raddle(&["run", "wf.yaml", "--json"]).exits(0).json();
    let said = document["tasks"]["edit"]["output"].as_str().expect("it says something");
    // To git a file that cannot be read looks changed.
    assert_eq!(said, "one\n2\n M secret", "{}", place.raddle(&["logs", "last", "edit"]).out);
    assert_eq!(document["tasks"]["after"]["output"], "edit");
    assert_eq!(left(&place, &document, "edit", "secret"), "hidden", "what it may not see is not deleted either");
    assert_eq!((place.text("one.txt"), place.text(".git/config")), ("one\n".into(), config));
    assert!(!place.work(".git/hooks/post-checkout").exists());
}
