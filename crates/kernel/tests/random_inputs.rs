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

/// A graph as a list, to be changed and built again.
#[derive(Clone)]
struct Plan {
    waves: bool,
    tasks: Vec<TaskSpec>,
    edges: Vec<(u32, u32, Strength)>,
    superseded: Vec<u32>,
    gates: Vec<Gate>,
    escalates: Vec<u32>,
    scopes: Vec<(TaskIx, u32)>,
    undo: Vec<(TaskIx, u16)>,
}

impl Plan {
    fn build(&self) -> Option<Arc<Graph>> {
        let mut b = GraphBuilder::with_capacity(self.tasks.len(), self.edges.len());
        b.waves(self.waves);
        b.policy(RetryPolicy { max: 2, classes: RetryPolicy::every_class(), ..RetryPolicy::NONE });
        b.policy(RetryPolicy::NONE);
        self.tasks.iter().for_each(|spec| _ = b.task(*spec));
        self.edges.iter().for_each(|(from, to, strength)| b.edge(TaskIx(*from), TaskIx(*to), *strength));
        self.superseded.iter().for_each(|task| b.supersede(TaskIx(*task)));
        (0..).zip(&self.gates).for_each(|(task, gate)| b.gate(TaskIx(task), *gate));
        self.escalates.iter().for_each(|task| b.escalate(TaskIx(*task)));
        self.scopes.iter().for_each(|(task, scope)| b.scope(*task, *scope));
        self.undo.iter().for_each(|(task, retry)| b.undo(*task, *retry));
        b.build().ok().map(Arc::new)
    }

    /// What somebody might want, sensible or not, and what is taken out by it.
    fn changed(&self, rng: &mut Rng) -> (Plan, Vec<TaskIx>) {
        let (mut plan, mut removed) = (self.clone(), Vec::new());
        for _ in 0..rng.below(3) {
            plan.tasks.push(spec(rng));
            plan.gates.push(gate(rng));
            if let Some(scope) = plan.scopes.last().map(|s| s.1).filter(|_| rng.below(2) == 0) {
                plan.scopes.push((TaskIx(plan.tasks.len() as u32 - 1), scope));
            }
        }
        let n = plan.tasks.len() as u64;
        for _ in 0..rng.below(4) {
            let (from, to) = (rng.below(n) as u32, rng.below(n) as u32);
            // New edges lead to later tasks, or often into a cycle.
            let (from, to) = if rng.below(8) > 0 { (from.min(to), from.max(to)) } else { (from, to) };
            if !plan.edges.iter().any(|(f, t, _)| (*f, *t) == (from, to)) {
                plan.edges.push((from, to, if rng.below(3) == 0 { Strength::Soft } else { Strength::Hard }));
            }
        }
        if rng.below(4) == 0 && !plan.edges.is_empty() {
            plan.edges.remove(rng.below(plan.edges.len() as u64) as usize);
        }
        if rng.below(3) == 0 {
            let task = rng.below(self.tasks.len() as u64) as u32;
            removed.push(TaskIx(task));
            plan.edges.retain(|(from, to, _)| rng.below(9) == 0 || *from != task && *to != task);
        }
        if rng.below(3) == 0 {
            plan.gates[rng.below(n) as usize] = gate(rng);
        }
        if rng.below(8) == 0 {
            plan.superseded.push(rng.below(n) as u32);
        }
        (plan, removed)
    }
}

fn gate(rng: &mut Rng) -> Gate {
    [Gate::None, Gate::None, Gate::None, Gate::Decides, Gate::Precedes][rng.below(5) as usize]
}

fn spec(rng: &mut Rng) -> TaskSpec {
    TaskSpec {
        priority: rng.below(3) as i32,
        weight: rng.below(9) as u32,
        pool: Pool(rng.below(3) as u8),
        safe_to_fail: rng.below(4) == 0,
        side_effects: rng.below(2) == 0,
        on_doubt: [OnDoubt::Ask, OnDoubt::Rerun, OnDoubt::Fail][rng.below(3) as usize],
        retry: rng.below(2) as u16,
    }
}

fn plan(rng: &mut Rng) -> Plan {
    let n = 1 + rng.below(24) as u32;
    let waves = rng.below(3) == 0;
    let mut plan = Plan {
        waves,
        tasks: Vec::new(),
        edges: Vec::new(),
        superseded: Vec::new(),
        gates: Vec::new(),
        escalates: Vec::new(),
        scopes: Vec::new(),
        undo: Vec::new(),
    };
    for i in 0..n {
        plan.tasks.push(TaskSpec {
            priority: rng.below(3) as i32,
            weight: rng.below(9) as u32,
            pool: Pool(rng.below(3) as u8),
            safe_to_fail: rng.below(4) == 0,
            side_effects: rng.below(2) == 0,
            on_doubt: [OnDoubt::Ask, OnDoubt::Rerun, OnDoubt::Fail, OnDoubt::Compensate][rng.below(4) as usize],
            retry: rng.below(2) as u16,
        });
        plan.gates.push(gate(rng));
        if rng.below(6) == 0 {
            plan.escalates.push(i);
        }
        for j in 0..i {
            if rng.below(6) == 0 {
                plan.edges.push((j, i, if rng.below(3) == 0 { Strength::Soft } else { Strength::Hard }));
            }
        }
    }
    // No scope at all, some, or one of all tasks.
    let scopes = [0, 0, 1, 3, 99][rng.below(5) as usize];
    for i in (0..n).map(TaskIx) {
        match scopes {
            0 => {}
            99 => plan.scopes.push((i, 1)),
            _ if rng.below(4) > 0 => plan.scopes.push((i, 1 + rng.below(scopes.min(u64::from(n))) as u32)),
            _ => {}
        }
        if scopes > 0 && rng.below(3) > 0 {
            plan.undo.push((i, rng.below(2) as u16));
        }
    }
    plan
}

/// What happened, in order.
enum Told {
    Event(Event),
    Patched(Arc<Graph>, Vec<TaskIx>),
}

fn random_input(rng: &mut Rng, run: &Run, now: Time) -> Input {
    let task = TaskIx(rng.below(run.graph().len() as u64 + 1) as u32);
    let known = task.index() < run.graph().len();
    let attempt = Attempt(if known && rng.below(10) > 0 { run.attempts(task) } else { rng.below(3) as u32 });
    let class = FailureClass::ALL[rng.below(18) as usize];
    match rng.below(100) {
        0..8 => {
            let expires_at = (rng.below(2) == 0).then(|| Time(now.0 + rng.below(9000)));
            Input::Ask { task: run.next_question().filter(|_| rng.below(4) > 0).unwrap_or(task), expires_at }
        }
        8..10 => Input::Unfit { task, class },
        10..16 => {
            let asked = match known.then(|| run.state(task)) {
                Some(TaskState::Waiting { attempt, .. }) if rng.below(5) > 0 => attempt,
                _ => attempt,
            };
            let verdict = if rng.below(4) == 0 { Verdict::No } else { Verdict::Yes };
            Input::Answer { task, attempt: asked, verdict }
        }
        16..40 => Input::Admit { task },
        40..60 => Input::Succeeded { task, attempt },
        60..80 => Input::Failed { task, attempt, class, noise: rng.next() as u32, lasting: rng.next() & 7 == 0 },
        80..90 => Input::Tick,
        90..94 => Input::Lost { task, attempt },
        94..96 => Input::Retry { task },
        96..98 => Input::Skip { task },
        98 if rng.below(2) == 0 => Input::Omit { task },
        98 => Input::Adopt { task, attempt },
        _ if rng.below(8) == 0 => Input::Cancel,
        _ if rng.below(3) == 0 => Input::Exhaust,
        _ if rng.below(3) == 0 => Input::Reopen,
        _ => Input::Begin,
    }
}

fn folded(graph: &Arc<Graph>, told: &[Told]) -> Run {
    let mut run = Run::new(Arc::clone(graph));
    for one in told {
        match one {
            Told::Event(event) => run.apply(*event).unwrap(),
            Told::Patched(graph, removed) => run.patch(Arc::clone(graph), removed).unwrap(),
        }
    }
    run
}

/// A patch is followed as a whole or refused as a whole; what has started is as it was.
fn patch(rng: &mut Rng, plan: &mut Plan, run: &mut Run, told: &mut Vec<Told>, seed: u64) {
    let (next, removed) = plan.changed(rng);
    let Some(graph) = next.build() else { return };
    let before = run.clone();
    if run.patch(Arc::clone(&graph), &removed).is_err() {
        assert!(same(&before, run), "seed {seed}: a refused patch changed something");
        return;
    }
    // What is wired behind a failure may fail its saga, which undoes what had completed.
    let tasks = || (0..before.graph().len() as u32).map(TaskIx);
    let broken = tasks().any(|task| run.is_of_failed_scope(task) && !before.is_of_failed_scope(task));
    for task in (0..before.graph().len() as u32).map(TaskIx) {
        assert!(
            broken || before.is_untouched(task) || before.state(task) == run.state(task),
            "seed {seed}: {task:?} had started"
        );
        assert_eq!(removed.contains(&task) && !before.state(task).phase().settled(), {
            run.state(task) == TaskState::Removed && !before.state(task).phase().settled()
        });
    }
    *plan = next;
    told.push(Told::Patched(graph, removed));
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
        let mut plan = plan(&mut rng);
        let graph = plan.build().unwrap();
        let (mut run, mut events, mut told, mut now) = (Run::new(Arc::clone(&graph)), Vec::new(), Vec::new(), Time(0));
        run.handle(Input::Begin, now, &mut events).unwrap();
        for step in 0..300 {
            now = Time(now.0 + rng.below(2000));
            if rng.below(12) == 0 {
                told.extend(events.drain(..).map(Told::Event));
                patch(&mut rng, &mut plan, &mut run, &mut told, seed);
                // Nothing may be left to do any more.
                let _ = run.handle(Input::Tick, now, &mut events);
                run.check().unwrap_or_else(|e| panic!("seed {seed}, step {step}, after a patch: {e}"));
            }
            let before = run.clone();
            let input = random_input(&mut rng, &run, now);
            if run.handle(input, now, &mut events).is_err() {
                assert!(same(&before, &run), "seed {seed}: a refused input changed something: {input:?}");
            }
            run.check().unwrap_or_else(|e| panic!("seed {seed}, step {step}, {input:?}: {e}\n{events:#?}"));
        }
        told.extend(events.drain(..).map(Told::Event));
        assert!(same(&run, &folded(&graph, &told)), "seed {seed}: the fold differs");
        let cut = rng.below(told.len() as u64) as usize;
        folded(&graph, &told[..cut]).check().unwrap_or_else(|e| panic!("seed {seed}, prefix {cut}: {e}"));
        finish(&mut run, now, &mut events, seed);
    }
}

/// Lets everything that can run succeed; the run must end, or wait for a person.
fn finish(run: &mut Run, mut now: Time, events: &mut Vec<Event>, seed: u64) {
    for _ in 0..10_000 {
        if run.finished() == Some(Outcome::BudgetExhausted) {
            run.handle(Input::Reopen, now, events).unwrap();
        }
        while let Some(task) = run.next_question() {
            run.handle(Input::Ask { task, expires_at: None }, now, events).unwrap();
            let TaskState::Waiting { attempt, .. } = run.state(task) else { panic!("seed {seed}: not asked") };
            run.handle(Input::Answer { task, attempt, verdict: Verdict::Yes }, now, events).unwrap();
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
                assert!(
                    matches!(step, Step::Retry | Step::Skip | Step::Unblock | Step::Cancel | Step::Remove),
                    "{from:?} {step:?}"
                );
            }
        }
    }
}
