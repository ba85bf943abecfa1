//! Sagas whose engine is killed at each step, forward and back: the next engine finishes what was begun, undoes what has
//! to be undone, last completed first, and the files are as if nothing had happened.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Place, until};
use crate::processes;

/// Every step says that it is there and stays while it is held; each can be repeated.
const STEP: &str = "say() { echo \"$1\" >> marks; while [ -e \"hold.$1\" ]; do sleep 0.01; done; }; ";
/// The steps in their order.
const MARKS: [&str; 7] = ["made", "changed", "row", "more", "fails", "un-more", "un-row"];

fn workflow() -> String {
    let task = |id: &str, after: &str, script: &str, rest: &str| {
        format!(
            "  - id: {id}\n    saga: s\n    depends_on: [{after}]\n    on_doubt: rerun\n    run: '{STEP}{script}'\n{rest}"
        )
    };
    let undo = |script: &str| format!("    compensate: {{ run: '{STEP}{script}' }}\n");
    let restore = |file: &str| format!("    writes: [{file}]\n    compensate: restore\n");
    [
        "tasks:\n".to_owned(),
        task(
            "made",
            "",
            "mkdir -p deep; echo new > deep/new.txt; say made; echo more >> deep/new.txt",
            &restore("deep/new.txt"),
        ),
        task("changed", "made", "echo changed >> keep.txt; chmod 600 keep.txt; say changed", &restore("keep.txt")),
        task("row", "changed", "grep -qx 7 rows || echo 7 >> rows; say row", &undo("say un-row; sed -i /^7$/d rows")),
        task("more", "row", "say more; touch more", &undo("say un-more; rm -f more; touch gone")),
        task("fails", "more", "say fails; exit 1", ""),
        // Outside of the saga, and last of all in the file: it goes on.
        "  - { id: apart, on_doubt: rerun, run: 'echo mine > apart.txt' }\n".to_owned(),
    ]
    .concat()
}

fn prepare() -> Place {
    let place = Place::new();
    place.file("wf.yaml", workflow());
    let keep = place.file("keep.txt", "line one\nno newline");
    std::fs::set_permissions(keep, std::fs::Permissions::from_mode(0o640)).expect("a mode");
    place.file("rows", "1\n");
    place.file("marks", "");
    place
}

fn everything_is_undone(place: &Place, document: &Value, what: &str) {
    assert_eq!(document["outcome"], "failed", "{what}: {document}");
    for id in ["made", "changed", "row", "more"] {
        assert_eq!(document["tasks"][id]["state"], "compensated", "{what}: {id}: {document}");
    }
    assert_eq!(
        (&document["tasks"]["fails"]["state"], &document["tasks"]["apart"]["state"]),
        (&"failed".into(), &"completed".into()),
        "{what}"
    );
    let keep = place.work("keep.txt");
    assert_eq!(std::fs::read(&keep).expect("it is there"), b"line one\nno newline", "{what}");
    assert_eq!(std::fs::metadata(&keep).expect("it is there").permissions().mode() & 0o777, 0o640, "{what}");
    assert!(!place.work("deep").exists() && !place.work("more").exists(), "{what}");
    assert_eq!((place.text("rows").as_str(), place.text("apart.txt").as_str()), ("1\n", "mine\n"), "{what}");
    // Whatever was repeated: back goes after forth, and in reverse.
    let marks = place.text("marks");
    let first = |mark: &str| {
        marks.lines().position(|line| line == mark).unwrap_or_else(|| panic!("{what}: no {mark}: {marks}"))
    };
    assert!(MARKS.map(first).is_sorted(), "{what}: {marks}");
    let undone: Vec<Value> = place.events("last").into_iter().filter(|e| e["state"] == "compensated").collect();
    let undone: Vec<&str> = undone.iter().filter_map(|e| e["task"].as_str()).collect();
    assert_eq!(undone, ["more", "row", "changed", "made"], "{what}");
}

#[test]
fn a_saga_is_undone_whichever_step_the_engine_dies_in() {
    let place = prepare();
    let document = place.raddle(&["run", "wf.yaml", "--json"]).exits(1).json();
    everything_is_undone(&place, &document, "undisturbed");
    for mark in MARKS {
        let place = prepare();
        place.file(&format!("hold.{mark}"), "");
        let mut live = place.start(&["run", "wf.yaml", "--quiet"]);
        until(mark, || place.text("marks").lines().any(|line| line == mark) || live.has_ended());
        assert!(!live.has_ended(), "{mark}: {}", live.err());
        processes::signal(live.pid(), Signal::KILL);
        live.child.wait().expect("the front ends");
        std::fs::remove_file(place.work(&format!("hold.{mark}"))).expect("it was held");
        let document = place.raddle(&["resume", "last", "--json"]).exits(1).json();
        everything_is_undone(&place, &document, mark);
    }
}

#[test]
fn what_was_undone_can_be_run_again_and_what_was_not_is_told() {
    let place = Place::new();
    let workflow = "tasks:\n  - { id: a, saga: s, run: 'echo a >> log', compensate: { run: 'test -e fixed; echo -a >> log' } }\n  \
                    - { id: b, saga: s, depends_on: [a], run: 'echo b >> log', compensate: { run: 'echo -b >> log' } }\n  \
                    - { id: c, saga: s, depends_on: [b], run: 'test -e fixed; echo c >> log' }\n";
    place.file("wf.yaml", workflow);
    let ended = place.raddle(&["run", "wf.yaml"]).exits(1);
    assert!(ended.err.contains("compensated: b\n") && ended.err.contains("NOT compensated: a (exit)"), "{}", ended.err);
    let refused = place.raddle(&["retry", "last", "c"]).exits(2);
    assert!(
        refused.err.contains("`raddle retry` or `raddle skip`") && refused.err.contains("first: a"),
        "{}",
        refused.err
    );
    let why = place.raddle(&["why", "last", "a"]).exits(0).out;
    assert!(why.contains("could not be undone"), "{why}");
    place.file("fixed", "");
    // First what stands, then all of it again.
    place.raddle(&["retry", "last", "a"]).exits(1);
    assert_eq!(place.show("last")["tasks"]["a"]["state"], "compensated");
    place.raddle(&["retry", "last", "c"]).exits(0);
    assert_eq!(place.text("log"), "a\nb\n-b\n-a\na\nb\nc\n");
}

#[test]
fn a_stranger_keeps_what_they_wrote() {
    let place = Place::new();
    let workflow = "tasks:\n  - { id: a, saga: s, run: 'echo mine > file; echo mine > other', writes: [file, other], compensate: restore }\n  \
                    - { id: b, depends_on: [a], run: 'echo theirs > file' }\n  \
                    - { id: c, saga: s, depends_on: [b], run: 'exit 1' }\n";
    place.file("wf.yaml", workflow);
    let ended = place.raddle(&["run", "wf.yaml"]).exits(1);
    assert!(
        ended.err.contains("NOT compensated: a") && ended.err.contains("file was changed since by somebody else"),
        "{}",
        ended.err
    );
    assert_eq!(place.text("file"), "theirs\n");
    assert!(!place.work("other").exists());
    // They take it away, and then nothing is left to be undone.
    std::fs::remove_file(place.work("file")).expect("it is there");
    place.raddle(&["retry", "last", "a"]).exits(1);
    assert_eq!(place.show("last")["tasks"]["a"]["state"], "compensated");
}

#[test]
fn doubt_can_be_undone() {
    let place = Place::new();
    let workflow = "tasks:\n  - { id: t, on_doubt: compensate, run: 'echo forth >> log; while [ -e hold ]; do sleep 0.01; done', compensate: { run: 'echo back >> log' } }\n";
    place.file("wf.yaml", workflow);
    place.file("hold", "");
    let mut live = place.start(&["run", "wf.yaml", "--quiet"]);
    until("it began", || place.text("log").contains("forth") || live.has_ended());
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    std::fs::remove_file(place.work("hold")).expect("it was held");
    let document = place.raddle(&["resume", "last", "--json"]).exits(1).json();
    assert_eq!(
        (&document["tasks"]["t"]["state"], place.text("log").as_str()),
        (&"compensated".into(), "forth\nback\n")
    );
    place.raddle(&["retry", "last", "t"]).exits(0);
    assert_eq!(place.text("log"), "forth\nback\nforth\n");
}
