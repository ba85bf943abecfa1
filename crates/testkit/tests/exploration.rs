//! All small graphs, gone through completely: whatever order inputs come in, the kernel and the naive reference agree.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use raddle_kernel::{Gate, OnDoubt, Pool, RetryPolicy, Strength, TaskIx, TaskSpec};
use raddle_testkit::sim::{Asks, Plot, Story, explore};

/// A task with effects or without, safe or not, with one retry or none.
fn plot(kind: usize, depends_on: Vec<(TaskIx, Strength)>) -> Plot {
    let (safe_to_fail, effects, on_doubt, max) = [
        (false, false, OnDoubt::Ask, 0),
        (true, false, OnDoubt::Ask, 1),
        (false, true, OnDoubt::Ask, 0),
        (true, true, OnDoubt::Fail, 0),
        (false, true, OnDoubt::Rerun, 1),
        (false, false, OnDoubt::Ask, 0),
        (true, false, OnDoubt::Ask, 0),
        (false, true, OnDoubt::Ask, 0),
    ][kind];
    let retry = RetryPolicy { max, initial_ms: 0, classes: RetryPolicy::every_class(), ..RetryPolicy::NONE };
    let spec =
        TaskSpec { priority: 0, weight: 1, pool: Pool(0), safe_to_fail, side_effects: effects, on_doubt, retry: 0 };
    let asks = match kind {
        GATE => Asks { gate: Gate::Decides, ..Asks::default() },
        GATED => Asks { gate: Gate::Precedes, ..Asks::default() },
        ESCALATING => Asks { escalates: true, ..Asks::default() },
        _ => Asks::default(),
    };
    let condition = (kind == 2).then_some(false);
    Plot { depends_on, spec, retry, timeout_ms: 0, condition, asks }
}

const KINDS: usize = 5;
/// A gate, a safe task behind a yes of its own, and one whose last failure people judge.
const GATE: usize = 5;
const GATED: usize = 6;
const ESCALATING: usize = 7;

#[test]
fn every_way_through_gates() {
    let with = [GATE, GATED, ESCALATING];
    let mut stories = Vec::new();
    for one in with {
        for other in (0..KINDS).chain(with) {
            stories.extend(graphs(&[one, other]));
            stories.extend(graphs(&[other, one]));
        }
    }
    let states = explore_all(&graphs(&[GATED]), 3) + explore_all(&stories, 1);
    assert!(states > 5_000, "only {states} states");
}

/// Every graph over these kinds of tasks, in waves and not: each pair has no edge, a hard or a soft one.
fn graphs(kinds: &[usize]) -> Vec<Story> {
    let pairs: Vec<(usize, usize)> = (0..kinds.len()).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
    let mut stories = Vec::new();
    for shape in 0..3usize.pow(pairs.len() as u32) * 2 {
        let mut tasks: Vec<Plot> = kinds.iter().map(|kind| plot(*kind, Vec::new())).collect();
        for (i, (from, to)) in pairs.iter().enumerate() {
            let strength = match shape / 2 / 3usize.pow(i as u32) % 3 {
                0 => continue,
                1 => Strength::Hard,
                _ => Strength::Soft,
            };
            tasks[*to].depends_on.push((TaskIx(*from as u32), strength));
        }
        stories.push(Story::told(tasks, shape % 2 == 1));
    }
    stories
}

/// Explores all of them on a few threads; the number of states.
fn explore_all(stories: &[Story], attempts: u32) -> usize {
    let (next, states, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, |n| n.get().min(8)) {
            scope.spawn(|| {
                while let Some(story) = stories.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match explore(story.clone(), attempts) {
                        Ok(count) => _ = states.fetch_add(count, Ordering::Relaxed),
                        Err(what) => {
                            *wrong.lock().expect("nobody panics with it") = Some(format!("{story:#?}\n{what}"))
                        }
                    }
                }
            });
        }
    });
    if let Some(wrong) = wrong.into_inner().expect("nobody panics with it") {
        panic!("{wrong}");
    }
    states.into_inner()
}

#[test]
fn every_way_through_every_pair_of_tasks() {
    let kinds = (0..KINDS).flat_map(|a| (0..KINDS).map(move |b| [a, b]));
    let stories: Vec<Story> = kinds.flat_map(|kinds| graphs(&kinds)).collect();
    let states = explore_all(&stories, 2);
    assert!(states > 10_000, "only {states} states");
}

#[test]
fn every_way_through_graphs_of_three_tasks() {
    let mut stories = graphs(&[0, 0, 0]);
    for kinds in [[1, 2, 0], [2, 1, 4], [3, 1, 0], [1, 1, 2]] {
        // A part of them, another one for each mixture of kinds.
        stories.extend(graphs(&kinds).into_iter().skip(kinds[1]).step_by(16));
    }
    let states = explore_all(&stories, 1);
    assert!(states > 25_000, "only {states} states");
}
