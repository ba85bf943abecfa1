//! `raddle fsck`: what is damaged is told, what comes before the damage is kept, effects of which nobody knows are not
//! repeated unasked, and no other run notices.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Place, until};
use crate::processes;

const CHAIN: &str = "tasks:
  - { id: a, run: 'echo a >> log; echo MARK-a' }
  - { id: b, depends_on: [a], run: 'echo b >> log; echo MARK-b; head -c 9000 /dev/zero | tr \"\\0\" b' }
  - { id: c, depends_on: [b], run: 'echo c >> log; echo MARK-c' }
";

fn folder(place: &Place, run: &str) -> PathBuf {
    place.root().join("state/runs").join(run)
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => drop(found.insert(path.clone(), fs::read(path).expect("a file"))),
        }
    }
    found
}

/// Flips a bit of the text where it stands in the journal.
fn flip(folder: &Path, text: &str) {
    let path = folder.join("journal.db");
    let mut bytes = fs::read(&path).expect("the journal");
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).expect("the text is in it");
    bytes[at] ^= 4;
    fs::write(path, bytes).expect("the journal");
}

fn checked(place: &Place, words: &[&str], code: i32) -> Value {
    let words: Vec<&str> = ["fsck", "--json"].iter().chain(words).copied().collect();
    place.raddle(&words).exits(code).json()
}

#[test]
fn sound_runs_are_looked_at_and_left_alone() {
    let place = Place::new();
    let run = place.run(CHAIN, 0)["run"].as_str().expect("a name").to_owned();
    let before = files(&place.root().join("state"));
    let found = checked(&place, &[], 0);
    assert_eq!((&found[0]["state"], &found[0]["outputs"]), (&json!("sound"), &json!(1)), "{found}");
    assert_eq!(found[0]["faults"], json!([]));
    assert_eq!(files(&place.root().join("state")), before, "looking changes nothing");
    place.raddle(&["fsck", "--salvage"]).exits(2);
    checked(&place, &[&run, "--salvage"], 0);
    assert_eq!(files(&place.root().join("state")), before, "there is nothing to salvage");
}

#[test]
fn what_comes_before_the_damage_is_salvaged_and_effects_behind_it_are_asked_about() {
    let place = Place::new();
    let other = place.run(CHAIN, 0)["run"].as_str().expect("a name").to_owned();
    let run = place.run(CHAIN, 0)["run"].as_str().expect("a name").to_owned();
    place.file("log", "");
    let others = files(&folder(&place, &other));
    flip(&folder(&place, &run), "MARK-c");
    let damaged = fs::read(folder(&place, &run).join("journal.db")).expect("the journal");
    let found = checked(&place, &[&run], 8);
    assert_eq!((&found[0]["state"], &found[0]["faults"][0]["part"]), (&json!("damaged"), &json!("journal")), "{found}");
    assert!(place.raddle(&["resume", &run]).exits(8).err.contains("raddle fsck"));
    let found = checked(&place, &[&run, "--salvage"], 0);
    assert_eq!(found[0]["state"], "salvaged", "{found}");
    let kept = found[0]["salvaged"]["damaged"].as_str().expect("a path");
    assert_eq!(fs::read(Path::new(kept).join("journal.db")).expect("it is kept"), damaged);
    let document = place.show(&run);
    assert_eq!((&document["outcome"], &document["tasks"]["b"]["state"]), (&json!("interrupted"), &json!("completed")));
    assert!(place.events(&run).last().is_some_and(|e| e["type"] == "journal_salvaged"));
    // `c` has effects and was at work when the records end: a person must say.
    let plan = place.raddle(&["resume", &run, "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&plan["plan"]["keep"], &plan["plan"]["ask"]), (&json!(2), &json!(1)), "{plan}");
    place.raddle(&["resume", &run]).exits(6);
    assert_eq!(place.text("log"), "", "nothing was repeated");
    let document = place.raddle(&["retry", &run, "c", "--json"]).exits(0).json();
    assert_eq!((&document["outcome"], &document["outputs"]["c"]), (&json!("succeeded"), &json!("MARK-c")));
    assert_eq!(place.text("log"), "c\n");
    assert_eq!(files(&folder(&place, &other)), others, "the other run has not noticed");
    checked(&place, &["--all"], 0);
}

#[test]
fn tasks_that_may_have_run_behind_the_damage_need_a_word() {
    let place = Place::new();
    let run = place.run(CHAIN, 0)["run"].as_str().expect("a name").to_owned();
    place.file("log", "");
    // The output of `b` is gone, so nothing from its result on can be believed; `c` ran, and no record says so any more.
    let output = fs::read_dir(folder(&place, &run).join("outputs")).expect("the folder").flatten().next();
    fs::write(output.expect("an output").path(), "something else").expect("the output");
    let found = checked(&place, &[&run], 8);
    assert_eq!(found[0]["faults"][0]["part"], "output", "{found}");
    checked(&place, &[&run, "--salvage"], 0);
    let refused = place.raddle(&["resume", &run]).exits(6);
    assert!(refused.err.contains("may have run already") && refused.err.contains('c'), "{}", refused.err);
    assert_eq!(place.text("log"), "");
    // A word on `b` is none on `c`, and a run that has lost its end is the one to recover.
    assert!(place.raddle(&["retry", &run, "b"]).exits(0).err.contains("raddle resume"));
    let refused = place.raddle(&["resume", &run]).exits(6);
    assert!(refused.err.contains("may have run already") && refused.err.contains("b, c"), "{}", refused.err);
    let last = CHAIN.replace("echo c >>", "echo d >>");
    place.file("wf.yaml", &last);
    let refused = place.raddle(&["run", "wf.yaml", "--recover", "--accept-changes"]).exits(6);
    assert!(refused.err.contains("is not known"), "{}", refused.err);
    place.file("wf.yaml", CHAIN);
    place.raddle(&["run", "wf.yaml", "--recover"]).exits(6);
    assert_eq!((place.text("log").as_str(), place.ps().len()), ("", 1), "nothing is begun anew");
    place.raddle(&["run", "wf.yaml", "--recover", "--yes"]).exits(0);
    assert_eq!((place.text("log").as_str(), place.ps().len()), ("b\nc\n", 1));
    assert_eq!(place.show(&run)["outcome"], "succeeded");
}

#[test]
fn a_run_that_cannot_be_salvaged_keeps_nobody_from_the_others() {
    let place = Place::new();
    let runs = [0; 3].map(|_| place.run(CHAIN, 0)["run"].as_str().expect("a name").to_owned());
    for run in [&runs[0], &runs[2]] {
        let journal = folder(&place, run).join("journal.db");
        fs::remove_file(&journal).expect("the journal");
        fs::create_dir(&journal).expect("a folder in its place");
    }
    flip(&folder(&place, &runs[1]), "MARK-c");
    let found = checked(&place, &["--all", "--salvage"], 8);
    let state = |run: &String| {
        let found = found.as_array().expect("a list").iter().find(|found| found["run"] == run.as_str());
        found.expect("it was looked at")["state"].as_str().expect("a word").to_owned()
    };
    assert_eq!([state(&runs[0]), state(&runs[1]), state(&runs[2])], ["damaged", "salvaged", "damaged"], "{found}");
    assert!(!folder(&place, &runs[0]).join("damaged-1").exists(), "half a copy is none");
}

/// A write-ahead log that was cut behind a commit looks like one that ends there.
#[test]
fn records_that_are_gone_without_a_trace_are_missed() {
    let place = Place::new();
    place.file("wf.yaml", CHAIN.replace("echo c >> log;", "echo c >> log; until [ -e go ]; do sleep 0.01; done;"));
    let mut live = place.start(&["run", "wf.yaml"]);
    until("c is at work", || place.text("log") == "a\nb\nc\n");
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
    let run = place.ps()[0]["run"].as_str().expect("a name").to_owned();
    let log = folder(&place, &run).join("journal.db-wal");
    let length = fs::metadata(&log).expect("the log").len();
    fs::File::options().write(true).open(&log).expect("the log").set_len(length / 2).expect("it can be cut");
    let row = &place.ps()[0];
    assert_eq!(row["outcome"], "quarantined", "{row}");
    let found = checked(&place, &[&run], 8);
    assert!(
        found[0]["faults"][0]["what"].as_str().is_some_and(|w| w.contains("were durable and are missing")),
        "{found}"
    );
    place.raddle(&["resume", &run]).exits(8);
    checked(&place, &[&run, "--salvage"], 0);
    place.file("go", "");
    let words = place.raddle(&["resume", &run]).exits(6).err;
    assert!(words.contains("the journal was damaged"), "{words}");
    assert_eq!(place.text("log"), "a\nb\nc\n", "nothing was repeated unasked");
}
