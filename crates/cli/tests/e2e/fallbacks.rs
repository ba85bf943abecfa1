//! `fallback:` as a user meets it: who runs when, whose output stands in for whose, and how the run ends.

use serde_json::Value;

use crate::place::Place;

fn workflow(main: &str, spare: &str) -> String {
    format!(
        "execution_mode: parallel
tasks:
  - {{ id: before, run: 'echo before >> log; test ! -e broken' }}
  - {{ id: main, run: 'echo main >> log; {main}', depends_on: [before], fallback: spare }}
  - {{ id: spare, run: 'echo spare >> log; {spare}' }}
  - {{ id: use, run: [printf, '%s', 'got $OUTPUT[main]'], depends_on: [main] }}
  - {{ id: deps, run: 'cat \"$RADDLE_DEPS\"', output_format: json, depends_on: [main] }}
outputs: {{ of: '$OUTPUT[main]' }}
"
    )
}

fn states(document: &Value) -> String {
    let state = |id: &str| document["tasks"][id]["state"].as_str().unwrap_or_default().to_owned();
    ["before", "main", "spare", "use", "deps"].map(state).join(" ")
}

#[test]
fn a_spare_task_runs_only_when_the_other_fails_and_stands_in_for_it() {
    let place = Place::new();
    let document = place.run(&workflow("exit 3", "echo second best"), 0);
    assert_eq!(states(&document), "completed failed completed completed completed", "{document}");
    assert_eq!(document["outcome"], "degraded");
    assert_eq!(document["tasks"]["use"]["output"], "got second best");
    let deps = &document["tasks"]["deps"]["output"];
    assert_eq!(deps["main"], serde_json::json!({"status": "success", "output": "second best"}), "{deps}");
    assert_eq!(deps.as_object().map(serde_json::Map::len), Some(1), "{deps}");
    assert_eq!(document["outputs"]["of"], "second best");
    assert_eq!(place.text("log"), "before\nmain\nspare\n");

    let document = place.run(&workflow("echo best", "echo second best"), 0);
    assert_eq!(states(&document), "completed completed skipped completed completed", "{document}");
    assert_eq!((&document["outcome"], &document["outputs"]["of"]), (&"succeeded".into(), &"best".into()));
    assert_eq!(document["tasks"]["use"]["output"], "got best");
    let run = document["run"].as_str().expect("a run has a name");
    let why = place.raddle(&["why", run, "spare"]).exits(0).out;
    assert!(why.contains("only when main fails"), "{why}");
    let plan = place.raddle(&["plan", "wf.yaml", "--json"]).exits(0).json();
    assert_eq!(plan["tasks"][1]["fallback"], "spare", "{plan}");
}

#[test]
fn nobody_stands_in_for_what_was_never_tried_and_a_spare_may_fail_too() {
    let place = Place::new();
    let document = place.run(&workflow("exit 3", "exit 4"), 1);
    assert_eq!(states(&document), "completed failed failed blocked blocked", "{document}");
    assert_eq!(document["tasks"]["use"]["blocked_by"], "spare", "{document}");
    place.file("broken", "");
    let document = place.run(&workflow("echo best", "echo second best"), 1);
    assert_eq!(states(&document), "failed blocked blocked blocked blocked", "{document}");
    assert_eq!(document["tasks"]["use"]["blocked_by"], "before", "{document}");
}

#[test]
fn a_spare_has_one_task_to_stand_in_for_and_none_that_stands_in_for_it() {
    let place = Place::new();
    for (tasks, why) in [
        ("[{id: a, run: x, fallback: a}]", "cannot stand in for itself"),
        ("[{id: a, run: x, fallback: c}, {id: b, run: x, fallback: c}, {id: c, run: x}]", "stands in for another task"),
        ("[{id: a, run: x, fallback: b}, {id: b, run: x, fallback: c}, {id: c, run: x}]", "has a fallback itself"),
        ("[{id: a, run: x, fallback: b, depends_on: [b]}, {id: b, run: x}]", "cycle"),
        ("[{id: a, run: x, fallback: zz}]", "zz"),
    ] {
        place.file("wf.yaml", format!("tasks: {tasks}"));
        let ended = place.raddle(&["validate", "wf.yaml"]).exits(2);
        assert!(ended.err.contains(why), "{tasks}: {}", ended.err);
    }
}
