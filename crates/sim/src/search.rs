//! Many seeds on some threads, and the smallest set of misfortunes that still breaks a promise. What it finds does not
//! depend on how many threads there are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::faults::{Fault, Kind, Kinds};
use crate::story::{Told, live};
use crate::subject::Subject;

/// Stories are lived through again that often at most, to make one smaller; long ones less often.
const MOST_RETELLINGS: usize = 600;
/// Tasks that may be lived through again for that.
const MOST_RETOLD_TASKS: usize = 40_000;
/// Seeds that a thread takes at once.
const PIECE: u64 = 16;
/// Evaluating a bounded expression and driving an engine need far less.
const STACK_BYTES: usize = 8 << 20;

/// What many seeds brought.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// How many were lived through.
    pub seeds: u64,
    /// Outcomes and how many runs ended so.
    pub outcomes: BTreeMap<String, u64>,
    /// Misfortunes and how often they struck.
    pub struck: BTreeMap<Kind, u64>,
    /// Seeds that broke a promise, in order, without their stories.
    pub failing: Vec<Told>,
    /// How many seeds broke one; more than are listed when there are many.
    pub failed: u64,
}

/// Failing seeds that are kept for each promise.
const KEPT: usize = 3;
/// Broken promises that are told; more are counted.
const TOLD: usize = 10;

impl Found {
    fn add(&mut self, told: Told) {
        self.seeds += 1;
        for (fault, _) in &told.faults {
            *self.struck.entry(fault.kind).or_default() += 1;
        }
        match &told.broken {
            None => *self.outcomes.entry(told.outcome.clone()).or_default() += 1,
            Some(_) => {
                self.failed += 1;
                self.failing.push(told);
            }
        }
        // From time to time, so that a workflow that always fails does not fill the memory.
        if self.failing.len() > 200 {
            self.thin();
        }
    }

    /// The lowest seeds of each promise.
    fn thin(&mut self) {
        self.failing.sort_by_key(|told| told.seed);
        let mut kept: BTreeMap<String, usize> = BTreeMap::new();
        self.failing.retain(|told| {
            let promise = told.broken.as_ref().map(|b| b.promise.clone()).unwrap_or_default();
            if kept.len() >= TOLD && !kept.contains_key(&promise) {
                return false;
            }
            let count = kept.entry(promise).or_default();
            *count += 1;
            *count <= KEPT
        });
    }

    fn join(&mut self, other: Found) {
        self.seeds += other.seeds;
        self.failed += other.failed;
        self.failing.extend(other.failing);
        other.outcomes.into_iter().for_each(|(outcome, n)| *self.outcomes.entry(outcome).or_default() += n);
        other.struck.into_iter().for_each(|(kind, n)| *self.struck.entry(kind).or_default() += n);
    }
}

/// Lives through all these seeds; `progress` is told how many are done, from any thread.
pub fn search(
    subject: &Subject,
    seeds: Range<u64>,
    kinds: Kinds,
    jobs: usize,
    progress: &(dyn Fn(u64) + Sync),
) -> Found {
    let (next, done) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let sum = Mutex::new(Found::default());
    let work = || {
        let mut own = Found::default();
        loop {
            let from = next.fetch_add(PIECE, Ordering::Relaxed);
            if from >= seeds.end {
                break;
            }
            let piece = from..seeds.end.min(from + PIECE);
            let count = piece.end - piece.start;
            piece.for_each(|seed| own.add(live(subject, seed, kinds, None, false)));
            progress(done.fetch_add(count, Ordering::Relaxed) + count);
        }
        sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner).join(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let started = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work);
            if started.is_err() {
                // Without threads it takes longer.
                work();
            }
        }
    });
    let mut found = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.thin();
    found
}

/// The same broken promise with as few misfortunes as can be found by leaving out one after the other, and its story.
pub fn shrink(subject: &Subject, told: &Told, kinds: Kinds) -> Told {
    let promise = told.broken.as_ref().map(|broken| &broken.promise);
    let (mut faults, mut retellings) = (faults_of(told), 0);
    let breaks = |faults: &[Fault]| {
        let again = live(subject, told.seed, kinds, Some(Rc::new(faults.to_vec())), false);
        (again.broken.as_ref().map(|broken| &broken.promise) == promise).then(|| faults_of(&again))
    };
    let most = (MOST_RETOLD_TASKS / subject.workflow.tasks.len().max(1)).clamp(30, MOST_RETELLINGS);
    // Halves first: most misfortunes have nothing to do with it.
    let mut size = faults.len() / 2;
    while size >= 1 {
        let (mut at, mut smaller) = (0, false);
        while at < faults.len() && retellings < most {
            retellings += 1;
            let without: Vec<Fault> =
                faults.iter().enumerate().filter(|(n, _)| !(at..at + size).contains(n)).map(|(_, f)| *f).collect();
            match breaks(&without) {
                Some(struck) => {
                    // What was left out may have kept others from striking; those that did not strike are not needed.
                    faults = struck;
                    smaller = true;
                }
                None => at += size,
            }
        }
        size = if smaller && size == 1 { 1 } else { size / 2 };
        if retellings >= most {
            break;
        }
    }
    live(subject, told.seed, kinds, Some(Rc::new(faults)), true)
}

fn faults_of(told: &Told) -> Vec<Fault> {
    told.faults.iter().map(|(fault, _)| *fault).collect()
}
