//! Time limits and ends: what is over is over, with everything that it has started, and nothing outlives its engine.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::place::{Place, until};
use crate::processes::{self, children};

/// After TERM and five seconds of grace comes KILL; more than this is a machine that stands still.
const AT_MOST: Duration = Duration::from_secs(30);

/// A shell task whose work goes on in every way that has been seen to escape: deaf to TERM, in the background, in a
/// session of its own, forked twice.
const STUBBORN: &str = "trap \"\" TERM INT HUP; (trap \"\" TERM; while :; do echo x >> beat; sleep 0.02; done) & \
    setsid sh -c \"trap : TERM; while :; do echo x >> beat; sleep 0.02; done\" & \
    (setsid -f sh -c \"while :; do echo x >> beat; sleep 0.02; done\" &) ; while :; do sleep 0.1; done";

fn nothing_beats(place: &Place) {
    assert_eq!(processes::of_tasks(place.root()), []);
    let before = place.text("beat").len();
    assert!(before > 0, "it was at work");
    // Nobody is left who could write; that the file rests is the same seen from the other side.
    assert_eq!(place.text("beat").len(), before);
}

#[test]
fn a_timeout_ends_the_work_and_does_not_only_stop_waiting() {
    let place = Place::new();
    place.file("wf.yaml", format!("tasks:\n  - {{ id: stubborn, timeout: 300ms, run: '{STUBBORN}' }}\n"));
    let ended = place.raddle(&["run", "wf.yaml", "--json"]).exits(1);
    let document = ended.json();
    assert_eq!(document["tasks"]["stubborn"]["error"]["class"], "timeout");
    assert!(ended.wall > Duration::from_secs(5), "it was asked to end first: {:?}", ended.wall);
    assert!(ended.wall < AT_MOST, "{:?}", ended.wall);
    nothing_beats(&place);
}

#[test]
fn a_timeout_of_one_who_listens_to_term_takes_no_grace() {
    let place = Place::new();
    place.file("wf.yaml", "tasks:\n  - { id: polite, timeout: 200ms, run: 'trap \"echo bye >> said; exit 0\" TERM; while :; do sleep 0.01; done' }\n");
    let ended = place.raddle(&["run", "wf.yaml", "--json"]).exits(1);
    assert_eq!(
        ended.json()["tasks"]["polite"]["error"]["class"],
        "timeout",
        "an exit code of 0 does not make it a success"
    );
    assert_eq!(place.text("said"), "bye\n");
    assert!(ended.wall < Duration::from_secs(5), "{:?}", ended.wall);
}

#[test]
fn a_task_that_ends_takes_what_it_started_with_it() {
    let place = Place::new();
    let document = place.run(
        "tasks:
  - { id: leaves, run: 'sleep 600 & setsid -f sleep 600; (setsid sleep 600 &); echo done' }
  - { id: fails, run: 'sleep 600 & exit 4' }
",
        1,
    );
    assert_eq!(document["tasks"]["leaves"]["output"], "done");
    assert_eq!(processes::of_tasks(place.root()), []);
}

#[test]
fn orphans_die_with_the_engine() {
    for who in 0..3 {
        let place = Place::new();
        place.file("wf.yaml", format!("tasks:\n  - {{ id: stubborn, run: '{STUBBORN}' }}\n"));
        let mut live = place.start(&["run", "wf.yaml"]);
        until("the work is going on", || place.text("beat").len() > 20);
        let front = live.pid();
        let warden = children(front)[0];
        let engine = children(warden)[0];
        processes::signal([front, warden, engine][who], Signal::KILL);
        live.child.wait().expect("the front ends");
        until("everything is gone", || processes::mentioning(place.root()).is_empty());
        nothing_beats(&place);
        let row = &place.ps()[0];
        assert_eq!((&row["live"], &row["outcome"]), (&json!(false), &json!("interrupted")));
    }
}

#[test]
fn ctrl_c_ends_everything_and_the_run_can_go_on() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - { id: first, run: 'echo first >> log' }
  - { id: slow, depends_on: [first], on_doubt: rerun, run: 'echo slow >> log; test $RADDLE_ATTEMPT -gt 1 || sleep 600' }
",
    );
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let _ = std::fs::remove_file(place.work("log"));
        let live = place.start(&["run", "wf.yaml"]);
        until("the slow task is at work", || place.text("log").ends_with("slow\n"));
        processes::signal(live.pid(), signal);
        let ended = live.ended().exits(code);
        assert!(ended.err.contains("raddle resume"), "{}", ended.err);
        assert_eq!(processes::mentioning(place.root()), []);
        place.raddle(&["resume", "last"]).exits(0);
        assert_eq!(place.text("log"), "first\nslow\nslow\n");
    }
}

#[test]
fn a_run_in_the_background_goes_on_without_its_caller_and_stops_when_told() {
    let place = Place::new();
    place.file("wf.yaml", format!("tasks:\n  - {{ id: stubborn, run: '{STUBBORN}' }}\n"));
    let run = place.raddle(&["run", "wf.yaml", "--detach"]).exits(0).out.trim().to_owned();
    until("the work is going on", || place.text("beat").len() > 20);
    assert_eq!(place.ps()[0]["live"], true);
    place.raddle(&["resume", &run]).exits(7);
    place.raddle(&["stop", &run]).exits(0);
    assert_eq!(place.show(&run)["outcome"], "cancelled");
    until("its warden is gone too", || processes::mentioning(place.root()).is_empty());
    nothing_beats(&place);
}
