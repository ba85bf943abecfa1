//! Kills a run's processes with SIGKILL at chosen moments, again and again, and resumes it until it ends. Whatever was
//! recorded stays; whatever has an effect has it once per attempt; nothing of a killed engine is alive beside the next
//! one; the end is that of a run that nobody killed.
//!
//! `RADDLE_KILLS=N` asks for another number of kills, `RADDLE_SEED=N` for other moments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Chance, Live, Place, until};
use crate::processes::{self, Process, children};

const TASKS: usize = 40;
const PER_LEVEL: usize = 8;
const KILLS_PER_RUN: u64 = 5;

/// Forty tasks in five levels. Every shell task says that it is there (`task attempt engine`), once, and refuses to
/// work beside an attempt of its own; some leave processes behind that no process group would tell of.
fn workflow() -> String {
    let mut text = String::from("name: forty\nexecution_mode: parallel\ndefaults: { timeout: 60s }\ntasks:\n");
    let mut chance = Chance::new(40);
    for n in 0..TASKS {
        let level = n / PER_LEVEL;
        let mut deps = BTreeSet::new();
        if level > 0 {
            for _ in 0..1 + chance.below(3) {
                deps.insert((level - 1) * PER_LEVEL + chance.below(PER_LEVEL as u64) as usize);
            }
        }
        let names: Vec<String> = deps.iter().map(|d| format!("t{d}")).collect();
        let _ = writeln!(text, "  - id: t{n}\n    depends_on: [{}]", names.join(", "));
        if level > 0 && n % PER_LEVEL == 5 {
            let _ = writeln!(
                text,
                "    type: code_execution\n    code: |\n      let sum = {n};\n      for (const d of Object.values(deps)) \
                 sum = (sum * 31 + Number(d.output)) % 1000003;\n      return sum;"
            );
            continue;
        }
        let passed: Vec<String> = names.iter().map(|d| format!("$OUTPUT[{d}]")).collect();
        let left_behind = match n % 7 {
            3 => "setsid -f sleep 600; ",
            5 => "sleep 600 & ",
            _ => "",
        };
        let _ = writeln!(
            text,
            "    on_doubt: rerun\n    env: {{ IN: \"{}\" }}\n    run: |\n      exec 9>> \"lock.$RADDLE_TASK_ID\"\n      \
             flock -n 9 || echo \"double $RADDLE_TASK_ID $RADDLE_ATTEMPT\" >> log\n      \
             echo \"$RADDLE_TASK_ID $RADDLE_ATTEMPT $PPID\" >> log\n      {left_behind}sleep 0.0{}\n      \
             printf '%s' \"$RADDLE_TASK_ID:$IN\" | cksum | cut -d' ' -f1",
            passed.join(" "),
            2 + chance.below(7),
        );
    }
    text
}

/// What the log says of attempts: task, attempt, engine.
fn log(place: &Place) -> Vec<(String, u64, i32)> {
    let text = place.text("log");
    let lines = text.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        let [task, attempt, engine] = words[..] else { panic!("a line of the log is torn: {line:?}") };
        assert_ne!(task, "double", "two attempts of one task were alive at once: {line}");
        (task.to_owned(), attempt.parse().expect("a number"), engine.parse().expect("a number"))
    });
    lines.collect()
}

#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    while_tasks_ran: u64,
    of: BTreeMap<&'static str, u64>,
    runs: u64,
}

#[test]
fn kill_minus_nine_at_any_moment_loses_nothing_and_doubles_nothing() {
    let number = |name: &str, default: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    let (wanted, first_seed) = (number("RADDLE_KILLS", 200), number("RADDLE_SEED", 1));
    let undisturbed = Place::new();
    let expected = undisturbed.run(&workflow(), 0);
    assert_eq!(expected["outputs"].as_object().map(|o| o.len() >= PER_LEVEL), Some(true), "{expected}");
    let mut tally = Tally::default();
    // Two runs at a time: most of a run is waiting.
    let mut seed = first_seed;
    while tally.kills < wanted {
        let pair = std::thread::scope(|scope| {
            let stories = [seed, seed + 1].map(|seed| {
                let expected = &expected;
                scope.spawn(move || {
                    println!("seed {seed}");
                    one_run(seed, expected)
                })
            });
            stories.map(|story| story.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
        });
        for one in pair {
            tally.kills += one.kills;
            tally.while_tasks_ran += one.while_tasks_ran;
            tally.runs += 1;
            one.of.into_iter().for_each(|(who, n)| *tally.of.entry(who).or_default() += n);
        }
        seed += 2;
    }
    println!("{tally:?}");
    assert!(tally.while_tasks_ran > 0, "no kill met a running task: {tally:?}");
    assert!(tally.of.len() == 4 || wanted < 100, "not everybody was killed once: {tally:?}");
}

/// One run from its beginning to its end, with kills on the way.
fn one_run(seed: u64, expected: &Value) -> Tally {
    let place = Place::new();
    place.file("wf.yaml", workflow());
    let mut chance = Chance::new(seed);
    let mut tally = Tally::default();
    let mut recorded = BTreeMap::new();
    let mut survivors: Vec<Process> = Vec::new();
    let mut run: Option<String> = None;
    loop {
        let before = log(&place).len();
        let mut live = match &run {
            Some(run) => place.start(&["resume", run, "--json"]),
            None => place.start(&["run", "wf.yaml", "--json"]),
        };
        if tally.kills >= KILLS_PER_RUN {
            no_two_engines(&place, before, &mut survivors, || false);
            finish(&place, live, expected, &recorded, seed);
            return tally;
        }
        let lines = before + chance.below(7) as usize;
        let who = ["front", "warden", "engine", "all"][chance.below(if run.is_some() { 4 } else { 3 }) as usize];
        let pause = Duration::from_micros(chance.below(30_000));
        until("the log grows or the run ends", || live.has_ended() || log(&place).len() >= lines);
        no_two_engines(&place, before, &mut survivors, || live.has_ended());
        // The moment is what this test is about; nothing can be observed that stands for it.
        std::thread::sleep(pause);
        if live.has_ended() {
            finish(&place, live, expected, &recorded, seed);
            return tally;
        }
        let busy = processes::of_tasks(place.root());
        let victims = members(&live, who);
        // Before there are three processes, there is the front.
        let who = if victims == [live.pid()] { "front" } else { who };
        victims.iter().for_each(|pid| processes::signal(*pid, Signal::KILL));
        tally.kills += 1;
        tally.while_tasks_ran += u64::from(!busy.is_empty());
        *tally.of.entry(who).or_default() += 1;
        live.child.wait().expect("the front ends, whoever was killed");
        if run.is_none() {
            // Which run it is, if it has become one at all, is known when nobody can begin it any more.
            until("everything of the killed engine is gone", || processes::mentioning(place.root()).is_empty());
            run = found(&place);
        }
        let Some(run) = &run else { continue };
        if chance.below(2) == 0 || who == "all" {
            // At once: the next engine itself has to wait until the one before has left nothing.
            survivors = busy;
        } else {
            until("everything of the killed engine is gone", || processes::mentioning(place.root()).is_empty());
            the_truth_is_told(&place, run);
        }
        remember(&place, run, &mut recorded);
    }
}

/// Those of front, warden and engine that are meant, as far as they are there.
fn members(live: &Live, who: &str) -> Vec<i32> {
    let only = |parent: i32| children(parent).first().copied();
    let front = live.pid();
    let warden = only(front);
    let engine = warden.and_then(only);
    match who {
        "front" => vec![front],
        "warden" => vec![warden.unwrap_or(front)],
        "engine" => vec![engine.unwrap_or(front)],
        _ => [Some(front), warden, engine].into_iter().flatten().collect(),
    }
}

fn found(place: &Place) -> Option<String> {
    place.ps().first().map(|row| row["run"].as_str().expect("a run has a name").to_owned())
}

/// When the first task of the next engine is seen, nothing that the one before had started is alive.
fn no_two_engines(place: &Place, before: usize, survivors: &mut Vec<Process>, mut ended: impl FnMut() -> bool) {
    if survivors.is_empty() {
        return;
    }
    let engine = log(place).get(..before).and_then(|old| old.last().map(|line| line.2));
    let news = |place: &Place| log(place).iter().skip(before).any(|line| Some(line.2) != engine);
    until("the next engine starts something", || news(place) || ended() || found_finished(place));
    if news(place) {
        let alive: Vec<&Process> = survivors.iter().filter(|p| p.alive()).collect();
        assert!(alive.is_empty(), "alive beside the next engine: {alive:?}");
    }
    survivors.clear();
}

fn found_finished(place: &Place) -> bool {
    place.ps().iter().all(|row| row["outcome"] == "succeeded")
}

/// Nothing is alive, so nothing says that it is.
fn the_truth_is_told(place: &Place, run: &str) {
    let rows = place.ps();
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["run"], &rows[0]["live"]), (&run.into(), &false.into()), "{rows:?}");
    let outcome = rows[0]["outcome"].as_str().expect("a word");
    assert!(matches!(outcome, "interrupted" | "succeeded"), "{rows:?}");
    for (id, task) in place.show(run)["tasks"].as_object().expect("tasks by id") {
        if outcome == "interrupted" {
            assert_ne!(task["state"], "running", "{id} runs without an engine");
        }
    }
}

/// What is recorded as completed stays as it is: the same output by the same attempt.
fn remember(place: &Place, run: &str, recorded: &mut BTreeMap<String, (u64, Value)>) {
    let document = place.show(run);
    let completed: BTreeMap<String, (u64, Value)> = document["tasks"]
        .as_object()
        .expect("tasks by id")
        .iter()
        .filter(|(_, task)| task["state"] == "completed")
        .map(|(id, task)| (id.clone(), (task["attempts"].as_u64().expect("a number"), task["output"].clone())))
        .collect();
    for (id, before) in recorded.iter() {
        assert_eq!(completed.get(id), Some(before), "the result of {id} was recorded before the kill");
    }
    *recorded = completed;
}

fn finish(place: &Place, live: Live, expected: &Value, recorded: &BTreeMap<String, (u64, Value)>, seed: u64) {
    let document = live.ended().exits(0).json();
    assert_eq!(document["outcome"], "succeeded", "seed {seed}");
    assert_eq!(document["outputs"], expected["outputs"], "seed {seed}");
    let run = document["run"].as_str().expect("a run has a name");
    remember(place, run, &mut recorded.clone());
    let mut succeeded: BTreeMap<String, u64> = BTreeMap::new();
    for event in place.events(run) {
        let task = || event["task"].as_str().expect("the event names its task").to_owned();
        let attempt = || event["attempt"].as_u64().expect("the event numbers its attempt");
        match event["type"].as_str().expect("an event has a type") {
            "attempt_started" => {
                assert!(!succeeded.contains_key(&task()), "seed {seed}: {} ran after its result was recorded", task());
            }
            "attempt_succeeded" => {
                let before = succeeded.insert(task(), attempt());
                assert_eq!(before, None, "seed {seed}: two results of {}", task());
            }
            _ => {}
        }
    }
    assert_eq!(succeeded.len(), TASKS, "seed {seed}: {succeeded:?}");
    let mut effects = BTreeSet::new();
    for (task, attempt, _) in log(place) {
        assert!(attempt <= succeeded[&task], "seed {seed}: {task} had an effect after its result was recorded");
        assert!(
            effects.insert((task.clone(), attempt)),
            "seed {seed}: attempt {attempt} of {task} had its effect twice"
        );
    }
    for (id, task) in document["tasks"].as_object().expect("tasks by id") {
        assert!(
            task["kind"] != "shell" || effects.contains(&(id.clone(), succeeded[id])),
            "seed {seed}: {id} is invented"
        );
    }
    until("nothing is left of the run", || processes::mentioning(place.root()).is_empty());
}
