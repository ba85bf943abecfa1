//! The command line as a person and a script meet it: help, usage errors, words that are known but not built.

use std::process::Stdio;

use crate::kit::Place;

const COMMANDS: &[&str] = &[
    "run",
    "plan",
    "validate",
    "ps",
    "show",
    "watch",
    "logs",
    "trace",
    "why",
    "resume",
    "stop",
    "retry",
    "skip",
    "approve",
    "reject",
    "patch",
    "checkpoint",
    "executors",
    "cost",
    "perm",
    "worktrees",
    "serve",
    "mcp",
    "doctor",
    "schema",
    "gc",
    "completions",
];

#[test]
fn help_lists_every_command_on_stdout() {
    let place = Place::new();
    let help = place.raddle(&["--help"]).exits(0);
    for command in COMMANDS {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(command)), "{command} in\n{}", help.out);
        assert!(place.raddle(&[command, "--help"]).exits(0).out.contains("Usage: raddle"), "{command}");
    }
    assert!(help.err.is_empty() && !help.out.contains("__sandbox"));
    assert!(place.raddle(&["--version"]).exits(0).out.starts_with("raddle 0."));
    assert!(place.raddle(&["executor", "--help"]).exits(0).out.contains("raddle run"));
}

#[test]
fn usage_errors_exit_2_on_stderr() {
    let place = Place::new();
    place.file("wf.yaml", "tasks: [{id: a, run: 'true'}]\n");
    for words in [
        &["frobnicate"] as &[&str],
        &["run", "wf.yaml", "--nosuch"],
        &["show"],
        &["run", "wf.yaml", "--max-parallel", "many"],
        &["plan", "wf.yaml", "--max-parallel", "0"],
        &["plan", "wf.yaml", "waves", "--mode", "parallel"],
        &["plan", "wf.yaml", "sideways"],
        &["plan", "wf.yaml", "frob=1"],
        &["plan", "wf.yaml", "optimization=bogus"],
        &["plan", "nosuch.yaml"],
        &["plan", "."],
        &["plan"],
    ] {
        let ended = place.raddle(words).exits(2);
        assert!(ended.out.is_empty() && !ended.err.trim().is_empty(), "{words:?}: {}", ended.err);
    }
    let none = place.raddle(&["plan"]);
    assert!(none.err.contains("workflow.yaml") && none.err.contains("dag.yaml"));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    let place = Place::new();
    let soft = "{id: b, run: 'true', side_effects: false, depends_on: [{task: a, type: soft}]}";
    place.file("soft.yaml", &format!("tasks: [{{id: a, run: 'true'}}, {soft}]\n"));
    place.file("wf.yaml", "tasks: [{id: a, run: 'true'}]\n");
    for words in [&["serve", "--port", "80"] as &[&str], &["plan", "soft.yaml", "optimization=aggressive"]] {
        let ended = place.raddle(words).exits(2);
        assert!(ended.err.contains("not-yet-supported"), "{words:?}: {}", ended.err);
    }
}

#[test]
fn aggressive_is_refused_only_where_it_would_matter() {
    let place = Place::new();
    place.file("wf.yaml", "tasks: [{id: a, run: 'true'}]\n");
    place.raddle(&["plan", "wf.yaml", "sequential", "parallelism=low", "optimization=aggressive"]).exits(0);
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let place = Place::new();
    let mut child = place.command(&["completions", "bash"]).stdout(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("the command ends");
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.raddle(&["completions", shell]).exits(0).out.contains("raddle"));
    }
}

#[test]
fn executors_tell_settings_and_availability() {
    let place = Place::new();
    let row = |place: &Place, n: usize| {
        place.raddle(&["executors", "compare", "--json"]).exits(0).json()["executors"][n].clone()
    };
    let reason = row(&place, 0);
    assert_eq!(reason["available"], false);
    assert!(reason["reason"].as_str().is_some_and(|r| r.contains("claude")), "{reason}");
    place.file("../bin/claude", "#!/bin/sh\necho 9.9.9 fake\n");
    let program = place.path("bin/claude");
    let mode = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(program, mode).expect("a mode can be set");
    place.file("raddle.toml", "[executors.process]\nmax_processes = 7\n[executors.worktree]\nmax_worktrees = 3\n");
    let process = row(&place, 0);
    assert_eq!((&process["available"], &process["pool"]), (&true.into(), &7.into()));
    assert_eq!(row(&place, 1)["pool"], 3);
    let reason = row(&place, 1)["reason"].as_str().map(str::to_owned).expect("there is no repository here");
    assert!(reason.contains("not in a git repository"), "{reason}");
    let words = place.raddle(&["executors"]).exits(0).out;
    assert!(words.contains("20,000") && words.contains("@ROOT@/work/raddle.toml:2"), "{words}");
    let doctor = place.raddle(&["doctor"]).exits(0).out;
    assert!(doctor.contains("9.9.9 fake"), "{doctor}");
    assert!(place.raddle(&["doctor", "--json"]).exits(0).json()["checks"].as_array().is_some_and(|c| c.len() > 10));
}
