//! Runs that were interrupted, changed or damaged: what is said of them is true, what was done is not done again, and
//! one of them never stands in the way of another.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::place::{Live, Place, until};
use crate::processes;

const CHAIN: &str = "tasks:
  - { id: a, run: 'echo a >> log; echo A' }
  - { id: b, depends_on: [a], run: 'echo b >> log; echo B' }
  - { id: c, depends_on: [b], on_doubt: rerun, run: 'echo c >> log; until [ -e go ]; do sleep 0.01; done; echo C' }
  - { id: d, depends_on: [c], run: 'echo d >> log; echo D' }
";

fn kill(mut live: Live, place: &Place) {
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
}

/// A run that was killed while `c` was at work, and its id.
fn interrupted(place: &Place) -> String {
    place.file("wf.yaml", CHAIN);
    let live = place.start(&["run", "wf.yaml"]);
    until("c is at work", || place.text("log") == "a\nb\nc\n");
    kill(live, place);
    place.ps()[0]["run"].as_str().expect("a name").to_owned()
}

#[test]
fn nothing_is_shown_as_running_when_nobody_runs_it() {
    let place = Place::new();
    let run = interrupted(&place);
    let row = &place.ps()[0];
    assert_eq!((&row["live"], &row["outcome"]), (&json!(false), &json!("interrupted")));
    let document = place.show(&run);
    assert_eq!((&document["outcome"], &document["tasks"]["c"]["state"]), (&json!("interrupted"), &json!("pending")));
    assert_eq!(document["metrics"]["tasks_running"], 0);
    for words in [["ps"].as_slice(), &["show", &run], &["checkpoint", &run], &["trace", &run], &["why", &run, "c"]] {
        let out = place.raddle(words).exits(0).out;
        assert!(!out.contains("running"), "{words:?}: {out}");
    }
    place.file("go", "");
    assert_eq!(place.raddle(&["resume", &run, "--json"]).exits(0).json()["outcome"], "succeeded");
    assert_eq!(place.text("log"), "a\nb\nc\nc\nd\n");
}

#[test]
fn what_may_not_be_repeated_waits_for_a_person() {
    let place = Place::new();
    place.file("wf.yaml", CHAIN.replace("on_doubt: rerun, ", ""));
    let live = place.start(&["run", "wf.yaml"]);
    until("c is at work", || place.text("log") == "a\nb\nc\n");
    kill(live, &place);
    let ended = place.raddle(&["resume", "last"]).exits(6);
    assert!(ended.err.contains("raddle retry") && ended.err.contains(" c"), "{}", ended.err);
    assert_eq!(place.show("last")["tasks"]["c"]["state"], "waiting");
    assert_eq!(place.text("log"), "a\nb\nc\n");
    place.file("go", "");
    place.raddle(&["retry", "last", "c"]).exits(0);
    assert_eq!(place.text("log"), "a\nb\nc\nc\nd\n");
}

#[test]
fn what_outlives_front_warden_and_engine_is_ended_before_the_next_engine_starts_anything() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - id: a
    on_doubt: rerun
    run: |
      if [ $RADDLE_ATTEMPT = 2 ]; then wc -l < beat; sleep 0.3; wc -l < beat; exit; fi
      setsid -f sh -c 'while :; do echo x >> beat; sleep 0.01; done'
      sleep 600
",
    );
    let mut live = place.start(&["run", "wf.yaml"]);
    until("the escaped one is at work", || place.text("beat").len() > 20);
    let warden = processes::children(live.pid())[0];
    let engine = processes::children(warden)[0];
    // Stopped first, so that none of them sees another one die.
    for stop in [Signal::STOP, Signal::KILL] {
        [live.pid(), warden, engine].iter().for_each(|pid| processes::signal(*pid, stop));
    }
    live.child.wait().expect("the front ends");
    let document = place.raddle(&["resume", "last", "--json"]).exits(0).json();
    let counts: Vec<&str> = document["outputs"]["a"].as_str().expect("text").lines().collect();
    assert_eq!(counts[0], counts[1], "the escaped one goes on");
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn a_changed_workflow_is_refused_and_accepted_only_on_request() {
    let place = Place::new();
    let run = interrupted(&place);
    place.file("go", "");
    let changed = CHAIN.replace("echo b >> log; echo B", "echo b2 >> log; echo B2")
        + "  - { id: e, depends_on: [a], run: 'echo e >> log' }\n";
    place.file("wf.yaml", &changed);
    let refused = place.raddle(&["run", "wf.yaml", "--recover"]).exits(6);
    for said in ["changed", "task b changed in run", "task e was added", "--accept-changes"] {
        assert!(refused.err.contains(said), "{said}: {}", refused.err);
    }
    assert_eq!(place.text("log"), "a\nb\nc\n", "nothing ran");
    let document = place.raddle(&["run", "wf.yaml", "--recover", "--accept-changes", "--json"]).exits(0).json();
    assert_eq!((&document["run"], &document["outcome"]), (&json!(run), &json!("succeeded")));
    let log = place.text("log");
    let count = |what: &str| log.lines().filter(|line| *line == what).count();
    // `a` is as it was; what hangs on the changed `b` is not.
    assert_eq!((count("a"), count("b2"), count("c"), count("d"), count("e")), (1, 1, 2, 1, 1), "{log}");
    assert_eq!(document["tasks"]["b"]["output"], "B2");
}

#[test]
fn a_change_of_layout_is_no_change() {
    let place = Place::new();
    let run = interrupted(&place);
    place.file("go", "");
    place.file("wf.yaml", format!("# Another look.\n\n{}", CHAIN.replace("{ id: a, run", "{ id:   a,  run")));
    let document = place.raddle(&["run", "wf.yaml", "--recover", "--json"]).exits(0).json();
    assert_eq!((&document["run"], &document["outcome"]), (&json!(run), &json!("succeeded")));
}

#[test]
fn one_damaged_run_stops_nothing_else() {
    let place = Place::new();
    let mut runs = Vec::new();
    for _ in 0..4 {
        let document = place.run("tasks: [{ id: a, run: 'echo fine' }]\n", 0);
        runs.push(document["run"].as_str().expect("a name").to_owned());
    }
    let journal = |n: usize| place.root().join("state/runs").join(&runs[n]).join("journal.db");
    // A bit in the middle, no journal at all, and something that never was one.
    let mut bytes = fs::read(journal(0)).expect("a journal");
    let length = bytes.len();
    bytes.iter_mut().skip(length / 3).take(length / 3).for_each(|b| *b ^= 0x40);
    fs::write(journal(0), bytes).expect("it can be written");
    fs::remove_file(journal(1)).expect("it can be removed");
    fs::write(journal(2), "not a database").expect("it can be written");
    let rows = place.ps();
    for (n, run) in runs.iter().enumerate() {
        let row =
            rows.iter().find(|row| row["run"] == **run).unwrap_or_else(|| panic!("{run} is not listed: {rows:?}"));
        let expected = if n == 3 { "succeeded" } else { "quarantined" };
        assert_eq!(row["outcome"], expected, "{row}");
    }
    let said = place.raddle(&["ps"]).exits(0);
    assert!(said.err.contains("quarantined") && said.err.contains(&runs[2]), "{}", said.err);
    for n in [0, 2] {
        for words in [["show", &runs[n]], ["resume", &runs[n]], ["trace", &runs[n]], ["checkpoint", &runs[n]]] {
            let ended = place.raddle(&words).exits(8);
            assert!(ended.err.contains(&runs[n]) && ended.err.contains("damaged"), "{}", ended.err);
        }
    }
    assert_eq!(place.show(&runs[3])["outcome"], "succeeded");
    place.raddle(&["gc", "--older-than", "0s"]).exits(0);
    let left: Vec<String> = place.ps().iter().map(|row| row["run"].as_str().expect("a name").to_owned()).collect();
    assert_eq!(left.len(), 3, "damaged runs are a person's to remove: {left:?}");
    assert_eq!(place.run("tasks: [{ id: a, run: 'echo fine' }]\n", 0)["outcome"], "succeeded");
    assert_eq!(place.raddle(&["run", "wf.yaml", "--recover", "--json"]).exits(0).json()["outcome"], "succeeded");
}
