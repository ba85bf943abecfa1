//! Who owns a run: one engine, whatever happens to it and whatever others try; and what is said of it is true two
//! seconds after any kill.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::place::{Live, Place, until};
use crate::processes::{self, children};

const WAITS: &str = "tasks:
  - { id: a, on_doubt: rerun, run: 'echo a >> log; setsid -f sleep 300; until [ -e go ]; do sleep 0.01; done; echo A' }
  - { id: b, depends_on: [a], run: 'echo b >> log; echo B' }
";

fn begun(place: &Place) -> Live {
    place.file("wf.yaml", WAITS);
    let live = place.start(&["run", "wf.yaml"]);
    until("the first task is at work", || place.text("log").starts_with('a'));
    live
}

fn only_child(pid: i32) -> i32 {
    children(pid).first().copied().expect("it has a child")
}

/// What `ps` says of the only run.
fn told(place: &Place) -> (bool, String) {
    let row = place.ps().remove(0);
    (row["live"] == true, row["outcome"].as_str().expect("a word").to_owned())
}

#[test]
fn of_two_engines_one_wins_and_the_other_says_whose_it_is() {
    let place = Place::new();
    let live = begun(&place);
    let contenders: Vec<Live> = (0..4).map(|_| place.start(&["resume", "last"])).collect();
    for contender in contenders {
        assert!(contender.ended().exits(7).err.contains("owned by another process"));
    }
    assert!(place.raddle(&["run", "wf.yaml", "--recover"]).exits(7).err.contains("raddle watch"));
    place.file("go", "");
    live.ended().exits(0);
    assert_eq!(place.text("log"), "a\nb\n");
}

#[test]
fn of_many_that_resume_at_once_one_does() {
    let place = Place::new();
    let mut live = begun(&place);
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    place.file("go", "");
    let contenders: Vec<Live> = (0..5).map(|_| place.start(&["resume", "last"])).collect();
    let codes: Vec<Option<i32>> = contenders.into_iter().map(|c| c.ended().code).collect();
    assert!(codes.iter().all(|code| matches!(code, Some(0 | 7))) && codes.contains(&Some(0)), "{codes:?}");
    assert_eq!(place.text("log"), "a\na\nb\n", "{codes:?}");
}

#[test]
fn the_truth_is_told_two_seconds_after_any_kill_and_the_next_owner_comes_within_ten() {
    for who in ["front", "warden", "engine", "all"] {
        let place = Place::new();
        let mut live = begun(&place);
        let (front, warden) = (live.pid(), only_child(live.pid()));
        let engine = only_child(warden);
        assert_eq!(told(&place), (true, "running".into()));
        let victims = match who {
            "front" => vec![front],
            "warden" => vec![warden],
            "engine" => vec![engine],
            _ => vec![front, warden, engine],
        };
        victims.iter().for_each(|pid| processes::signal(*pid, Signal::KILL));
        let killed = Instant::now();
        live.child.wait().expect("the front ends");
        until("ps tells it", || told(&place) == (false, "interrupted".into()));
        assert!(killed.elapsed() < Duration::from_secs(2) || cfg!(debug_assertions), "{who}: {:?}", killed.elapsed());
        let asked = Instant::now();
        let next = place.start(&["resume", "last"]);
        until("the next owner is at work", || place.text("log") == "a\na\n");
        assert!(asked.elapsed() < Duration::from_secs(10), "{who}: {:?}", asked.elapsed());
        let sleeps = |p: &processes::Process| p.words.starts_with("sleep 300");
        let left = processes::of_tasks(place.root()).into_iter().filter(sleeps).count();
        assert!(left <= 1, "{who}: something that the engine before had started is alive beside the next");
        place.file("go", "");
        next.ended().exits(0);
    }
}

/// A stopped process still holds its lock: it is slow, not dead, and may go on at any moment.
#[test]
fn an_owner_that_was_stopped_is_an_owner() {
    let place = Place::new();
    let live = begun(&place);
    let engine = only_child(only_child(live.pid()));
    processes::signal(engine, Signal::STOP);
    place.raddle(&["resume", "last"]).exits(7);
    assert_eq!(told(&place), (true, "running".into()));
    place.file("go", "");
    processes::signal(engine, Signal::CONT);
    live.ended().exits(0);
    assert_eq!(place.text("log"), "a\nb\n");
}

/// What the lock says of a process is a word for people: a number that somebody else has now means nothing.
#[test]
fn a_number_that_is_somebody_elses_now_owns_nothing() {
    let place = Place::new();
    let mut live = begun(&place);
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    until("everything is gone", || processes::mentioning(place.root()).is_empty());
    let run = place.ps()[0]["run"].as_str().expect("a name").to_owned();
    let lock = place.root().join("state/runs").join(&run).join("owner.lock");
    fs::write(&lock, format!("{} 1\n", std::process::id())).expect("the lock");
    assert_eq!(told(&place), (false, "interrupted".into()));
    place.file("go", "");
    place.raddle(&["resume", &run]).exits(0);
}

/// A copy of a run's folder is a run of its own, owned by nobody; what it says of the original is nothing.
#[test]
fn a_copied_folder_is_owned_by_nobody() {
    let place = Place::new();
    let mut live = begun(&place);
    let copied = |from: &str, to: &str| {
        let words = ["-a", from, to];
        let status = std::process::Command::new("cp").args(words).current_dir(place.root()).status();
        assert!(status.expect("cp is there").success());
    };
    copied("state", "elsewhere");
    let mut command = place.command(&["ps", "--json"]);
    command.env("RADDLE_HOME", place.root().join("elsewhere"));
    let rows = place.start_command(command).ended().exits(0).json();
    assert_eq!(rows[0]["live"], json!(false), "{rows}");
    assert!(matches!(rows[0]["outcome"].as_str(), Some("interrupted" | "quarantined")), "{rows}");
    assert_eq!(told(&place), (true, "running".into()));
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
}

/// It had ended, a person had it go on, and its engine died: it is the unfinished one.
#[test]
fn a_run_that_was_revived_and_died_again_is_recovered() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks: [{ id: a, on_doubt: rerun, run: 'echo a >> log; test -e on; until [ -e go ]; do sleep 0.01; done' }]",
    );
    place.raddle(&["run", "wf.yaml"]).exits(1);
    place.file("on", "");
    let mut live = place.start(&["retry", "last", "a"]);
    until("it is tried again", || place.text("log") == "a\na\n" || live.has_ended());
    processes::signal(live.pid(), Signal::KILL);
    live.child.wait().expect("the front ends");
    place.file("go", "");
    place.raddle(&["run", "wf.yaml", "--recover"]).exits(0);
    assert_eq!((place.ps().len(), told(&place).1.as_str()), (1, "succeeded"));
    assert!(place.raddle(&["retry", "last", "a"]).exits(2).err.contains("cannot be retried"));
    assert_eq!(told(&place).1, "succeeded");
}
