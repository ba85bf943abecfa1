//! Faults of earlier systems of this kind, in deciding what runs, what is allowed and what a run is called: one test
//! each, named after the fault.

use serde_json::{Value, json};

use crate::place::{Place, until};

fn states(document: &Value) -> Vec<(&str, &str)> {
    let tasks = document["tasks"].as_object().expect("tasks by id");
    tasks.iter().map(|(id, task)| (id.as_str(), task["state"].as_str().expect("a word"))).collect()
}

/// The codes of what `validate` finds, with the task each belongs to.
fn diagnostics(place: &Place, workflow: &str) -> Vec<(String, String, String)> {
    place.file("wf.yaml", workflow);
    let found = place.raddle(&["validate", "wf.yaml", "--json"]).exits(2).json();
    let text = |d: &Value, key: &str| d[key].as_str().unwrap_or_default().to_owned();
    let found = found["diagnostics"].as_array().expect("a list");
    found.iter().map(|d| (text(d, "code"), text(d, "task"), text(d, "message"))).collect()
}

#[test]
fn a_task_that_succeeds_on_retry_leaves_its_dependents_runnable() {
    let place = Place::new();
    let document = place.run(
        "tasks:
  - { id: shaky, retry: { max: 3, initial: 10ms, jitter: 0 }, run: 'test $RADDLE_ATTEMPT -ge 3; echo at last' }
  - { id: next, depends_on: [shaky], env: { IN: '$OUTPUT[shaky]' }, run: 'echo \"$IN\"' }
  - { id: after, depends_on: [next], run: 'echo end' }
",
        0,
    );
    assert_eq!(states(&document), [("shaky", "completed"), ("next", "completed"), ("after", "completed")]);
    assert_eq!(
        (&document["tasks"]["shaky"]["retries"], &document["tasks"]["next"]["output"]),
        (&json!(2), &json!("at last"))
    );
    assert_eq!(document["outcome"], "succeeded");
}

#[test]
fn a_run_with_dead_or_skipped_tasks_never_says_succeeded() {
    let place = Place::new();
    let workflow = "tasks:
  - { id: dies, run: 'exit 3' }
  - { id: behind, depends_on: [dies], run: 'echo ran >> marker' }
  - { id: further, depends_on: [behind], run: 'echo ran >> marker' }
  - { id: beside, run: 'echo fine' }
";
    let document = place.run(workflow, 1);
    assert_eq!(document["outcome"], "failed");
    assert_eq!(
        states(&document),
        [("dies", "failed"), ("behind", "blocked"), ("further", "blocked"), ("beside", "completed")]
    );
    assert_eq!(document["tasks"]["further"]["blocked_by"], "dies");
    assert_eq!(place.text("marker"), "");
    let run = document["run"].as_str().expect("a name");
    // Only a person may go on without it, and what was left out stays to be seen.
    let again = place.raddle(&["skip", run, "dies", "--json"]).json();
    assert_eq!(states(&again)[..2], [("dies", "skipped"), ("behind", "completed")]);
    assert_eq!(place.text("marker"), "ran\nran\n");
    // Signals are failures too, whatever the exit code of a shell says.
    let killed = place.run("tasks: [{ id: shot, run: 'kill -9 $$' }]\n", 1);
    assert_eq!((&killed["outcome"], &killed["tasks"]["shot"]["error"]["class"]), (&json!("failed"), &json!("signal")));
}

#[test]
fn the_concurrency_cap_holds_however_many_tasks_could_run() {
    for (flags, cap) in [(vec!["--max-parallel", "3"], 3), (vec!["--parallelism", "low"], 2), (vec!["sequential"], 1)] {
        let place = Place::new();
        place.program(
            "task",
            "#!/bin/sh -eu
             add() { flock 9; n=$(($(cat count) + $1)); echo $n > count; echo $n >> seen; flock -u 9; }
             exec 9> lock; add 1; sleep 0.03; add -1
            ",
        );
        place.file("count", "0");
        let mut workflow = String::from("tasks:\n");
        for n in 0..24 {
            // Each counts those that are there together with it, itself among them.
            workflow += &format!("  - {{ id: t{n}, run: ./task }}\n");
        }
        place.file("wf.yaml", &workflow);
        let words: Vec<&str> = ["run", "wf.yaml", "--json"].into_iter().chain(flags).collect();
        let document = place.raddle(&words).exits(0).json();
        let seen: Vec<u32> = place.text("seen").lines().map(|n| n.trim().parse().expect("a number")).collect();
        assert_eq!((seen.len(), place.text("count").trim()), (48, "0"));
        assert_eq!(seen.iter().max(), Some(&cap), "{words:?}");
        assert_eq!(document["metrics"]["peak_parallel"], cap, "{words:?}");
    }
}

#[test]
fn duplicate_ids_do_not_merge_silently() {
    let place = Place::new();
    let found = diagnostics(
        &place,
        "tasks:\n  - { id: twin, run: 'echo 1 >> marker' }\n  - { id: twin, run: 'echo 2 >> marker' }\n",
    );
    assert_eq!(found.iter().map(|d| (d.0.as_str(), d.1.as_str())).collect::<Vec<_>>(), [("duplicate-id", "twin")]);
    place.raddle(&["run", "wf.yaml"]).exits(2);
    assert_eq!(place.text("marker"), "");
    // Nor do two keys of one mapping.
    let found = diagnostics(&place, "tasks:\n  - { id: a, run: 'true', id: b }\n");
    assert!(!found.is_empty(), "{found:?}");
}

#[test]
fn an_unknown_dependency_is_not_called_a_cycle() {
    let place = Place::new();
    let found = diagnostics(
        &place,
        "tasks:
  - { id: a, run: 'true', depends_on: [zz] }
  - { id: b, run: 'true', depends_on: [a] }
  - { id: x, run: 'true', depends_on: [z] }
  - { id: y, run: 'true', depends_on: [x] }
  - { id: z, run: 'true', depends_on: [y] }
  - { id: innocent, run: 'true', depends_on: [z] }
",
    );
    let codes: Vec<&str> = found.iter().map(|d| d.0.as_str()).collect();
    assert_eq!(codes, ["unknown-dependency", "cycle"], "{found:?}");
    assert!(found[0].1 == "a" && found[0].2.contains("zz"), "{found:?}");
    assert!(!found[1].2.contains("innocent"), "{found:?}");
}

#[test]
fn the_critical_path_counts_the_last_tasks_own_duration() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - { id: a, run: 'true', estimate: { duration: 1s } }
  - { id: b, run: 'true', estimate: { duration: 10s } }
  - { id: c, run: 'true', depends_on: [a, b], estimate: { duration: 2s } }
  - { id: lone, run: 'true', estimate: { duration: 11s } }
",
    );
    let plan = place.raddle(&["plan", "wf.yaml", "--json"]).exits(0).json();
    assert_eq!(plan["critical_path"], json!({"tasks": ["b", "c"], "length_ms": 12_000}));
    let workflow = place.text("wf.yaml").replace("11s", "1000s");
    place.file("wf.yaml", workflow);
    let plan = place.raddle(&["plan", "wf.yaml", "--json"]).exits(0).json();
    assert_eq!(plan["critical_path"], json!({"tasks": ["lone"], "length_ms": 1_000_000}));
}

#[test]
fn the_limits_of_the_sandbox_are_enforced_not_only_accepted() {
    let place = Place::new();
    place.file("secret.txt", "do not read me");
    place.file("open/fine.txt", "read me");
    place.file(
        "wf.yaml",
        "tasks:
  - { id: time, type: code_execution, code: 'for (;;) {}', sandbox_config: { timeout: 200 } }
  - { id: memory, type: code_execution, code: 'const a = []; for (;;) a.push(new Array(10000).fill(7))', sandbox_config: { memoryLimit: 32 } }
  - { id: read, type: code_execution, code: 'return readTextFile(\"secret.txt\")', sandbox_config: { allowedReadPaths: [open] } }
  - { id: around, type: code_execution, code: 'return readTextFile(\"open/../secret.txt\")', sandbox_config: { allowedReadPaths: [open] } }
  - { id: nothing, type: code_execution, code: 'return readTextFile(\"open/fine.txt\")', sandbox_config: { allowedReadPaths: [] } }
  - { id: fine, type: code_execution, code: 'return readTextFile(\"open/fine.txt\")', sandbox_config: { allowedReadPaths: [open] } }
  - { id: net, type: code_execution, code: 'return await fetch(\"http://127.0.0.1:1/\")' }
  - { id: process, type: code_execution, code: 'return process.env.HOME' }
",
    );
    let document = place.raddle(&["run", "wf.yaml", "--json"]).json();
    let class = |id: &str| document["tasks"][id]["error"]["class"].as_str().unwrap_or("none").to_owned();
    assert_eq!(class("time"), "timeout");
    assert_eq!(class("memory"), "oom");
    assert_eq!(
        (class("read"), class("around"), class("nothing")),
        ("permission".into(), "permission".into(), "permission".into())
    );
    assert_eq!(document["tasks"]["fine"]["output"], "read me");
    for id in ["net", "process"] {
        assert_eq!(document["tasks"][id]["state"], "failed_safe", "{id}");
    }
    assert!(!document.to_string().contains("do not read me"));
    assert_ne!(document["outcome"], "succeeded");
}

#[test]
fn a_checkpoint_holds_what_has_been_achieved() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - { id: first, output_format: json, run: 'echo ''{\"k\": [1, 2]}''' }
  - { id: gate, depends_on: [first], run: 'until [ -e go ]; do sleep 0.01; done' }
  - { id: last, depends_on: [gate], run: 'true' }
",
    );
    let live = place.start(&["run", "wf.yaml"]);
    until("the gate is reached", || place.ps().iter().any(|row| row["tasks_done"] == 1));
    let text = place.raddle(&["checkpoint", "last"]).exits(0).out;
    assert!(text.starts_with("dag_checkpoint:\n"), "{text}");
    let of = |id: &str| {
        let from = text.find(&format!("- id: \"{id}\"")).unwrap_or_else(|| panic!("{id} is missing: {text}"));
        text[from..].split("- id:").nth(1).expect("the task itself").to_owned()
    };
    assert!(of("first").contains("\"completed\"") && of("first").contains("outputs: {\"k\": [1, 2]}"), "{text}");
    assert!(of("gate").contains("\"running\"") && of("gate").contains("started_at:"), "{text}");
    assert!(of("last").contains("\"pending\"") && !of("last").contains("started_at:"), "{text}");
    place.file("go", "");
    live.ended().exits(0);
}

#[test]
fn why_names_the_setting_that_holds_a_task_back() {
    let mut place = Place::new();
    place.variable("RADDLE_DAG_EXECUTION_MAX_LOCAL", "1");
    place.file(
        "wf.yaml",
        "tasks:
          - { id: first, priority: 9, run: 'echo there > there; while test ! -e go; do sleep 0.02; done' }
          - { id: second, run: 'true' }
        ",
    );
    let live = place.start(&["run", "wf.yaml"]);
    crate::place::until("the first task is at work", || place.work("there").exists());
    let why = place.raddle(&["why", "last", "second"]).exits(0).out;
    assert!(why.contains("1 of at most 1") && why.contains("dag_execution.max_local"), "{why}");
    place.file("go", "");
    live.ended().exits(0);
}
