//! What `resume` says before it does anything: what is kept, what runs again and why, what is asked.

use rustix::process::Signal;
use serde_json::json;

use crate::place::{Place, until};
use crate::processes;

const MIXED: &str = "tasks:
  - { id: done, run: 'echo done >> log' }
  - { id: pure, depends_on: [done], side_effects: false, run: 'echo pure >> log; until [ -e go ]; do sleep 0.01; done' }
  - { id: said, depends_on: [done], on_doubt: rerun, run: 'echo said >> log; until [ -e go ]; do sleep 0.01; done' }
  - { id: asks, depends_on: [done], run: 'echo asks >> log; until [ -e go ]; do sleep 0.01; done' }
  - { id: dies, depends_on: [done], on_doubt: fail, run: 'echo dies >> log; until [ -e go ]; do sleep 0.01; done' }
  - { id: later, depends_on: [pure, said], run: 'echo later >> log' }
";

#[test]
fn resume_says_what_it_will_do_and_why_before_it_does_it() {
    let place = Place::new();
    place.file("wf.yaml", MIXED);
    let mut live = place.start(&["run", "wf.yaml"]);
    until("four tasks are at work", || place.text("log").lines().count() == 5);
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
    let before = place.events("last").len();
    let plan = place.raddle(&["resume", "last", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(plan["plan"], json!({"keep": 1, "run": 1, "again": 2, "ask": 1, "fail": 1, "stay": 0, "undo": 0}));
    let task = |id: &str| {
        let found = plan["tasks"].as_array().expect("a list").iter().find(|t| t["task"] == id).expect("the task");
        (found["act"].as_str().expect("a word").to_owned(), found["why"].as_str().expect("words").to_owned())
    };
    assert_eq!(task("pure"), ("again".into(), "it was at work and has no side effects".into()));
    assert!(task("said").1.contains("on_doubt: rerun") && task("asks").0 == "ask" && task("dies").0 == "fail");
    assert_eq!(place.events("last").len(), before, "looking changes nothing");
    place.file("go", "");
    let ended = place.raddle(&["resume", "last", "--json"]).exits(6);
    let first = ended.err.lines().next().expect("a line");
    assert!(first.contains("keeps 1 result, runs 2 again, runs 1 for the first time, asks about 1"), "{}", ended.err);
    assert_eq!(ended.json()["resume"], plan["plan"]);
    let document = place.show("last");
    let state = |id: &str| document["tasks"][id]["state"].as_str().expect("a word").to_owned();
    assert_eq!(
        ["done", "pure", "said", "asks", "dies", "later"].map(state),
        ["completed", "completed", "completed", "waiting", "failed", "completed"]
    );
    let mut log: Vec<String> = place.text("log").lines().map(str::to_owned).collect();
    log.sort();
    assert_eq!(log, ["asks", "dies", "done", "later", "pure", "pure", "said", "said"]);
}

/// A member of a saga failed, and the engine died while it undid another.
#[test]
fn resume_says_what_it_will_undo() {
    let place = Place::new();
    let workflow = "tasks:
  - { id: no, when: 'false', run: 'true' }
  - { id: a, saga: s, run: 'echo a >> log', compensate: { run: 'echo -a >> log' } }
  - { id: b, saga: s, depends_on: [a], run: 'echo b >> log', compensate: { run: 'echo -b >> log; until [ -e go ]; do sleep 0.01; done' } }
  - { id: c, saga: s, depends_on: [b], run: 'exit 1' }
  - { id: d, on_doubt: compensate, run: 'echo d >> other; until [ -e go ]; do sleep 0.01; done', compensate: { run: 'echo -d >> other' } }
";
    place.file("wf.yaml", workflow);
    let mut live = place.start(&["run", "wf.yaml"]);
    until("two are at work", || place.text("log").contains("-b") && place.text("other").contains('d'));
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
    let plan = place.raddle(&["resume", "last", "--dry-run", "--json"]).exits(0).json();
    let acts: Vec<(&str, &str)> = plan["tasks"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|t| (t["task"].as_str().expect("an id"), t["act"].as_str().expect("a word")))
        .collect();
    assert_eq!(acts, [("no", "keep"), ("a", "undo"), ("b", "undo"), ("c", "stay"), ("d", "undo")], "{plan}");
    let words = place.raddle(&["resume", "last", "--dry-run"]).exits(0).out;
    assert!(words.contains("undoes 3") && words.contains("undo  b: it was being undone"), "{words}");
    place.file("go", "");
    place.raddle(&["resume", "last"]).exits(1);
    let undone = ["a", "b", "d"].map(|id| place.show("last")["tasks"][id]["state"].clone());
    assert_eq!(undone, ["compensated", "compensated", "compensated"]);
}
