//! Effects of which nobody knows whether they happened, after kills at chosen moments: they are repeated when a person
//! says so, each word once, and never otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::place::{Chance, Place, until};
use crate::processes;

const SEEDS: u64 = 12;
const LEVELS: usize = 4;
const WIDTH: usize = 3;

fn workflow() -> String {
    let mut text = String::from("tasks:\n");
    for n in 0..LEVELS * WIDTH {
        let before = if n < WIDTH { String::new() } else { format!("t{}", n - WIDTH) };
        let _ = writeln!(
            text,
            "  - {{ id: t{n}, depends_on: [{before}], run: 'echo $RADDLE_TASK_ID >> log; sleep 0.0{}; echo {n}' }}",
            3 + n % 5
        );
    }
    text
}

fn effects(place: &Place) -> BTreeMap<String, u32> {
    let mut count = BTreeMap::new();
    place.text("log").lines().for_each(|task| *count.entry(task.to_owned()).or_default() += 1);
    count
}

fn in_doubt(place: &Place) -> Vec<String> {
    let document = place.show("last");
    let tasks = document["tasks"].as_object().expect("tasks by id");
    tasks.iter().filter(|(_, task)| task["state"] == "waiting").map(|(id, _)| id.clone()).collect()
}

#[test]
fn effects_in_doubt_are_repeated_only_when_a_person_says_so() {
    let mut asked = 0;
    for seed in 1..=SEEDS {
        println!("seed {seed}");
        let place = Place::new();
        place.file("wf.yaml", workflow());
        let mut chance = Chance::new(seed);
        let mut live = place.start(&["run", "wf.yaml"]);
        let lines = 1 + chance.below((LEVELS * WIDTH) as u64 - 2) as usize;
        until("some effects are there", || place.text("log").lines().count() >= lines || live.has_ended());
        // Somewhere between the effect and the record of it, or after both.
        std::thread::sleep(Duration::from_micros(chance.below(60_000)));
        processes::signal(live.pid(), Signal::KILL);
        live.child.wait().expect("the front ends");
        let mut told = BTreeMap::<String, u32>::new();
        let mut code = place.raddle(&["resume", "last"]).code;
        while code == Some(6) {
            let before = effects(&place);
            let doubted = in_doubt(&place);
            assert!(!doubted.is_empty(), "seed {seed}: refused without a doubt");
            assert_eq!(place.raddle(&["resume", "last"]).code, Some(6), "seed {seed}: asking again answers nothing");
            assert_eq!(effects(&place), before, "seed {seed}: repeated unasked");
            let task = &doubted[chance.below(doubted.len() as u64) as usize];
            let word = ["retry", "skip"][chance.below(2) as usize];
            code = place.raddle(&[word, "last", task]).code;
            *told.entry(task.clone()).or_default() += u32::from(word == "retry");
            asked += 1;
        }
        assert_eq!(code, Some(0), "seed {seed}");
        let document = place.show("last");
        for (id, count) in effects(&place) {
            let most = 1 + told.get(&id).copied().unwrap_or(0);
            assert!(count <= most, "seed {seed}: {id} had its effect {count} times, {most} were allowed");
        }
        for (id, task) in document["tasks"].as_object().expect("tasks by id") {
            let state = task["state"].as_str().expect("a word");
            assert!(matches!(state, "completed" | "skipped"), "seed {seed}: {id} is {state}");
            assert!(state == "skipped" || effects(&place).contains_key(id), "seed {seed}: {id} is invented");
        }
    }
    assert!(asked > 0, "no kill left a doubt");
}
