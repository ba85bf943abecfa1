//! Thousands of simulated runs by seed; whichever promise breaks is told with the seed that breaks it. Also proves that
//! deliberate faults are noticed. `RADDLE_SIM_SEED=S` lives through one story, `RADDLE_SIM_SEEDS=N` through so many.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test that tells what it saw")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use raddle_testkit::bench::Scratch;
use raddle_testkit::sim::{
    Broken, Mishap, Sabotage, Story, Tally, live_through, live_through_mishap, live_through_on_disk,
};

/// Enough for every misfortune to happen often, few enough for every build.
const SEEDS: u64 = 12_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// Lives through many stories on a few threads; the first broken promises end it.
fn live_through_all(seeds: std::ops::Range<u64>) -> (Tally, Vec<Broken>) {
    let (next, sum, broken) = (AtomicU64::new(seeds.start), Mutex::new(Tally::default()), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(8));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut own = Tally::default();
                while broken.lock().unwrap().is_empty() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    match live_through(seed, None) {
                        Ok(tally) => own.add(&tally),
                        Err(e) => broken.lock().unwrap().push(e),
                    }
                }
                sum.lock().unwrap().add(&own);
            });
        }
    });
    (sum.into_inner().unwrap(), broken.into_inner().unwrap())
}

#[test]
fn every_promise_holds_in_every_story() {
    if let Some(seed) = number("RADDLE_SIM_SEED") {
        match live_through(seed, None) {
            Ok(tally) => println!("{tally}"),
            Err(e) => panic!("seed {}: {}", e.seed, e.what),
        }
        return;
    }
    let seeds = number("RADDLE_SIM_SEEDS").unwrap_or(SEEDS);
    let (tally, broken) = live_through_all(0..seeds);
    println!("{seeds} stories\n{tally}");
    let told: Vec<String> = broken.iter().map(|b| format!("RADDLE_SIM_SEED={}: {}", b.seed, b.what)).collect();
    assert!(told.is_empty(), "broken promises:\n{}", told.join("\n"));
    if seeds >= SEEDS {
        assert_eq!(tally.missing(), [""; 0], "these never happened, so nothing is known about them");
    }
}

/// The same story with a misfortune at its first place, its second, and so on, until there is no such place any more.
fn everywhere(seed: u64, at: fn(u64) -> Mishap, marks: &[&str]) -> u64 {
    for nth in 0.. {
        let tally =
            live_through_mishap(seed, at(nth)).unwrap_or_else(|e| panic!("seed {seed}, {:?}: {}", at(nth), e.what));
        if marks.iter().all(|mark| tally.count(mark) == 0) {
            return nth;
        }
    }
    unreachable!("stories are finite")
}

#[test]
fn a_process_may_die_at_every_single_step() {
    let marks = [
        "crash before append",
        "crash after append",
        "crash after an answer",
        "crash while starting",
        "crash while stopping",
        "crash while waiting",
    ];
    let places: u64 = (0..80).map(|seed| everywhere(seed, Mishap::DiesAtCall, &marks)).sum();
    assert!(places > 2000, "only {places} places");
}

/// The same around questions and answers: no crash makes a yes out of anything else, and none is forgotten.
#[test]
fn a_process_may_die_at_every_step_around_a_gate() {
    let marks = [
        "crash before append",
        "crash after append",
        "crash after an answer",
        "crash while starting",
        "crash while stopping",
        "crash while waiting",
    ];
    let asking = (1000..).filter(|seed| Story::of(*seed).asks()).take(90);
    let places: u64 = asking.map(|seed| everywhere(seed, Mishap::DiesAtCall, &marks)).sum();
    assert!(places > 2000, "only {places} places");
}

#[test]
fn every_single_append_may_fail() {
    let places: u64 = (0..50).map(|seed| everywhere(seed, Mishap::AppendFails, &["append failed"])).sum();
    assert!(places > 300, "only {places} places");
}

/// The same promises with the journal that users have: real files, real fsync, real locks.
#[test]
fn every_promise_holds_on_disk() {
    let mut sum = Tally::default();
    for seed in 0..250 {
        let folder = Scratch::new().unwrap();
        sum.add(&live_through_on_disk(seed, folder.path()).unwrap_or_else(|e| panic!("seed {seed}: {}", e.what)));
    }
    for met in ["big output", "stale append refused", "crash after append", "append failed", "task adopted"] {
        assert!(sum.count(met) > 0, "{met} never happened");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in [3, 77, 4021] {
        assert_eq!(live_through(seed, None).unwrap(), live_through(seed, None).unwrap());
    }
}

#[test]
fn deliberate_faults_are_noticed() {
    for sabotage in Sabotage::ALL {
        let noticed = (0..400).find_map(|seed| live_through(seed, Some(sabotage)).err());
        let broken = noticed.unwrap_or_else(|| panic!("nobody notices {sabotage:?}"));
        println!("{sabotage:?}: seed {}: {}", broken.seed, broken.what);
    }
}
