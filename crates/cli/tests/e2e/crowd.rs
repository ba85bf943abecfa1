//! Many commands at once over one home: a run has one owner, and readers disturb nobody.

use std::collections::BTreeSet;

use rustix::process::Signal;

use crate::place::{Live, Place, until};
use crate::processes;

#[test]
fn of_many_who_resume_a_run_one_does() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - { id: a, run: 'echo a >> log' }
  - { id: b, depends_on: [a], on_doubt: rerun, run: 'echo b >> log; until [ -e go ]; do sleep 0.01; done' }
  - { id: c, depends_on: [b], run: 'echo c >> log' }
",
    );
    let mut live = place.start(&["run", "wf.yaml"]);
    until("b is at work", || place.text("log") == "a\nb\n");
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    let crowd: Vec<Live> = (0..8).map(|_| place.start(&["resume", "last"])).collect();
    until("somebody goes on with it", || place.text("log") == "a\nb\nb\n");
    let mut waiting = crowd;
    until("the others have been refused", || {
        waiting.retain_mut(|live| match live.child.try_wait().expect("ours") {
            Some(status) => {
                assert_eq!(status.code(), Some(7), "{}", live.err());
                assert!(live.err().contains("owned"), "{}", live.err());
                false
            }
            None => true,
        });
        waiting.len() == 1
    });
    place.file("go", "");
    waiting.remove(0).ended().exits(0);
    assert_eq!(place.text("log"), "a\nb\nb\nc\n");
}

#[test]
fn runs_side_by_side_have_names_and_outputs_of_their_own() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "inputs: { n: { type: integer } }
tasks:
  - { id: a, env: { N: '$INPUT[n]' }, run: 'echo $N > $RADDLE_OUTPUT' }
  - { id: b, type: code_execution, depends_on: [a], code: 'return deps.a.output * 10' }
",
    );
    let inputs: Vec<String> = (0..12).map(|n| format!("n={n}")).collect();
    let crowd: Vec<Live> = inputs.iter().map(|n| place.start(&["run", "wf.yaml", "--json", "--input", n])).collect();
    let mut names = BTreeSet::new();
    for (n, live) in crowd.into_iter().enumerate() {
        let document = live.ended().exits(0).json();
        assert_eq!(document["outputs"]["b"], n * 10);
        names.insert(document["run"].as_str().expect("a name").to_owned());
    }
    assert_eq!(names.len(), 12);
    assert_eq!(place.ps().len(), 12);
}

#[test]
fn readers_see_a_run_that_goes_on_and_do_not_disturb_it() {
    let place = Place::new();
    let mut workflow = String::from("execution_mode: sequential\ntasks:\n");
    for n in 0..30 {
        workflow += &format!("  - {{ id: t{n}, run: 'sleep 0.02; echo {n}' }}\n");
    }
    place.file("wf.yaml", &workflow);
    let mut live = place.start(&["run", "wf.yaml", "--quiet"]);
    until("the run has begun", || place.ps().iter().any(|row| row["tasks_total"] == 30));
    let watches: Vec<Live> = (0..3).map(|_| place.start(&["watch", "last", "--json"])).collect();
    let mut done = 0;
    while !live.has_ended() {
        let document = place.show("last");
        let now = document["metrics"]["tasks_done"].as_u64().expect("a number");
        assert!(now >= done, "what was done stays done: {now} after {done}");
        done = now;
        place.raddle(&["trace", "last"]).exits(0);
        place.raddle(&["checkpoint", "last"]).exits(0);
    }
    live.ended().exits(0);
    let expected = place.events("last").len();
    for watch in watches {
        let ended = watch.ended().exits(0);
        assert_eq!(ended.out.lines().count(), expected, "every event, once");
        assert!(ended.out.lines().last().is_some_and(|line| line.contains("run_finished")), "{}", ended.out);
    }
}

#[test]
fn a_run_that_was_sent_to_the_background_can_be_found_at_once() {
    let place = Place::new();
    place.file("wf.yaml", "tasks: [{ id: a, run: 'until [ -e go ]; do sleep 0.01; done' }]\n");
    for _ in 0..10 {
        let run = place.raddle(&["run", "wf.yaml", "--detach"]).exits(0).out.trim().to_owned();
        assert_eq!(place.show("last")["run"], *run);
        assert_eq!(place.show(&run)["outcome"], "running");
    }
    place.file("go", "");
    until("all have ended", || place.ps().iter().all(|row| row["outcome"] == "succeeded"));
}
