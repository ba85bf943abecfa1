//! Throws random inputs, legal or not, at random graphs: whatever comes, everything derived stays true, every prefix
//! of the events folds to the same state, and a run that is fed long enough finishes.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::Arc;

use raddle_kernel::*;

struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545F4914F6CDD1D) >> 16
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

fn graph(rng: &mut Rng) -> Arc<Graph> {
    let n = 1 + rng.below(24) as u32;
    let mut b = GraphBuilder::with_capacity(n as usize, 0);
    b.waves(rng.below(3) == 0);
    let retried = b.policy(RetryPolicy { max: 2, classes: RetryPolicy::every_class(), ..RetryPolicy::NONE });
    let never = b.policy(RetryPolicy::NONE);
    for i in 0..n {
        b.task(TaskSpec {
            priority: rng.below(3) as i32,
            weight: rng.below(9) as u32,
            pool: Pool(rng.below(3) as u8),
            safe_to_fail: rng.below(4) == 0,
            side_effects: rng.below(2) == 0,
            on_doubt: [OnDoubt::Ask, OnDoubt::Rerun, OnDoubt::Fail, OnDoubt::Compensate][rng.below(4) as usize],
            retry: if rng.below(2) == 0 { retried } else { never },
        });
        for j in 0..i {
            if rng.below(6) == 0 {
                b.edge(TaskIx(j), TaskIx(i), if rng.below(3) == 0 { Strength::Soft } else { Strength::Hard });
            }
        }
    }
    // No scope at all, some, or one of all tasks.
    let scopes = [0, 0, 1, 3, 99][rng.below(5) as usize];
    for i in (0..n).map(TaskIx) {
        match scopes {
            0 => {}
            99 => b.scope(i, 1),
            _ if rng.below(4) > 0 => b.scope(i, 1 + rng.below(scopes.min(u64::from(n))) as u32),
            _ => {}
        }
        if scopes > 0 && rng.below(3) > 0 {
            b.undo(i, if rng.below(2) == 0 { retried } else { never });
        }
    }
    Arc::new(b.build().unwrap())
}

fn random_input(rng: &mut Rng, run: &Run) -> Input {
    let task = TaskIx(rng.below(run.graph().len() as u64 + 1) as u32);
    let known = task.index() < run.graph().len();
    let attempt = Attempt(if known && rng.below(10) > 0 { run.attempts(task) } else { rng.below(3) as u32 });
    let class = FailureClass::ALL[rng.below(18) as usize];
    match rng.below(100) {
        0..40 => Input::Admit { task },
        40..60 => Input::Succeeded { task, attempt },
        60..80 => Input::Failed { task, attempt, class, noise: rng.next() as u32, lasting: rng.next() & 7 == 0 },
        80..90 => Input::Tick,
        90..94 => Input::Lost { task, attempt },
        94..96 => Input::Retry { task },
        96..98 => Input::Skip { task },
        98 => Input::Adopt { task, attempt },
        _ if rng.below(8) == 0 => Input::Cancel,
        _ if rng.below(3) == 0 => Input::Exhaust,
        _ if rng.below(3) == 0 => Input::Reopen,
        _ => Input::Begin,
    }
}

fn folded(graph: &Arc<Graph>, events: &[Event]) -> Run {
    let mut run = Run::new(Arc::clone(graph));
    for e in events {
        run.apply(*e).unwrap();
    }
    run
}

fn same(a: &Run, b: &Run) -> bool {
    (0..a.graph().len() as u32)
        .all(|i| a.state(TaskIx(i)) == b.state(TaskIx(i)) && a.attempts(TaskIx(i)) == b.attempts(TaskIx(i)))
        && a.outcome() == b.outcome()
        && a.finished() == b.finished()
        && a.outstanding().eq(b.outstanding())
}

#[test]
fn whatever_comes_the_run_stays_true() {
    for seed in 1..=1500u64 {
        let mut rng = Rng(seed.wrapping_mul(0x9E3779B97F4A7C15));
        let graph = graph(&mut rng);
        let (mut run, mut events, mut now) = (Run::new(Arc::clone(&graph)), Vec::new(), Time(0));
        run.handle(Input::Begin, now, &mut events).unwrap();
        for step in 0..300 {
            now = Time(now.0 + rng.below(2000));
            let before = run.clone();
            let input = random_input(&mut rng, &run);
            if run.handle(input, now, &mut events).is_err() {
                assert!(same(&before, &run), "seed {seed}: a refused input changed something: {input:?}");
            }
            run.check().unwrap_or_else(|e| panic!("seed {seed}, step {step}, {input:?}: {e}\n{events:#?}"));
        }
        assert!(same(&run, &folded(&graph, &events)), "seed {seed}: the fold differs");
        let cut = rng.below(events.len() as u64) as usize;
        folded(&graph, &events[..cut]).check().unwrap_or_else(|e| panic!("seed {seed}, prefix {cut}: {e}"));
        finish(&mut run, now, &mut events, seed);
    }
}

/// Lets everything that can run succeed; the run must end, or wait for a person.
fn finish(run: &mut Run, mut now: Time, events: &mut Vec<Event>, seed: u64) {
    for _ in 0..10_000 {
        if run.finished() == Some(Outcome::BudgetExhausted) {
            run.handle(Input::Reopen, now, events).unwrap();
        }
        if run.finished().is_some() || run.outcome() == Outcome::Waiting {
            return;
        }
        now = Time(now.0 + 60_000);
        let _ = run.handle(Input::Tick, now, events);
        for pool in 0..run.graph().pools() {
            while let Some((_, task)) = run.next_ready(Pool(pool as u8), 0) {
                run.handle(Input::Admit { task }, now, events).unwrap();
            }
        }
        let live: Vec<Command> = run.outstanding().collect();
        for command in live {
            let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
            run.handle(Input::Succeeded { task, attempt }, now, events).unwrap();
        }
    }
    panic!("seed {seed}: stuck as {:?}", run.outcome());
}

#[test]
fn the_table_settles_everything_and_repeats_nothing_completed() {
    use raddle_kernel::state::{Phase, Step, next};
    for from in Phase::ALL {
        for step in Step::ALL {
            let to = next(from, step);
            if from == Phase::Completed || from == Phase::Skipped {
                let undone = (from == Phase::Completed && step == Step::Condemn).then_some(Phase::ToUndo);
                assert_eq!(to, undone, "{from:?} is final");
            }
            if step == Step::Start && to.is_some() {
                assert!(matches!(from, Phase::Ready | Phase::Retrying));
            }
            if from.is_owed_undoing() {
                assert!(
                    to.is_none_or(|to| to.settled()),
                    "{from:?} {step:?}: what is undone settles before it runs again"
                );
                continue;
            }
            if from == Phase::Completed || from == Phase::NotUndone {
                continue;
            }
            if from.settled() && to.is_some() {
                assert!(matches!(step, Step::Retry | Step::Skip | Step::Unblock | Step::Cancel), "{from:?} {step:?}");
            }
        }
    }
}
