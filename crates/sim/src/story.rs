//! One seed: lives through its story and looks back. It does not know other seeds.

use std::cell::Cell;
use std::rc::Rc;

use raddle_kernel::{Outcome, Run, TaskIx};
use raddle_model::invariants::judge;

use crate::ended;
use crate::faults::{Fault, Kind, Kinds, Luck};
use crate::host;
use crate::subject::Subject;
use crate::world::{Broken, World};

/// What became of a seed.
#[derive(Debug, Clone)]
pub struct Told {
    /// The seed.
    pub seed: u64,
    /// The promise that was broken, if one was.
    pub broken: Option<Broken>,
    /// How the run ended; empty when it did not.
    pub outcome: String,
    /// The misfortunes that struck, in words.
    pub faults: Vec<(Fault, String)>,
    /// What happened, line by line; empty when nobody wanted to read it.
    pub lines: Vec<String>,
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed whose story this thread lives through just now: for whoever tells of a panic.
pub fn current_seed() -> Option<u64> {
    SEED.get()
}

/// Lives through the story of a seed. With `only`, no other misfortunes strike than those (sorted).
pub fn live(subject: &Subject, seed: u64, kinds: Kinds, only: Option<Rc<Vec<Fault>>>, tells: bool) -> Told {
    SEED.set(Some(seed));
    let world = World::new(subject, seed, Luck::new(seed, kinds, only.clone(), subject.workflow.tasks.len()), tells);
    host::live(&world);
    let outcome = if world.is_broken() { String::new() } else { look_back(&world) };
    if !world.is_broken() && !outcome.is_empty() {
        compare(&world, seed, kinds, only);
    }
    let (broken, luck, lines) = world.into_parts();
    SEED.set(None);
    Told { seed, broken, outcome, faults: luck.struck().into_iter().collect(), lines }
}

/// What must hold when everything is over; the outcome.
fn look_back(world: &World<'_>) -> String {
    {
        let witness = world.witness.borrow();
        let run = witness.run();
        let open = |t: &TaskIx| !run.state(*t).phase().settled();
        let exhausted = run.finished() == Some(Outcome::BudgetExhausted);
        let left = tasks(run).find(open).filter(|_| !exhausted);
        if let Some(task) = left {
            let id = &world.subject.task(task.0).id;
            world.broke("the run settles", format!("it is over, and {id} is {}", run.state(task).name()));
            return String::new();
        }
    }
    let (ended, view) = match ended::read(world) {
        Ok(read) => read,
        Err(what) => {
            world.broke("people are shown the run", what);
            return String::new();
        }
    };
    {
        let witness = world.witness.borrow();
        let run = witness.run();
        if let Some(task) = tasks(run).find(|t| view.run.state(*t).name() != run.state(*t).name()) {
            let (shown, is) = (view.run.state(task).name(), run.state(task).name());
            let what = format!("{} is shown as {shown} and is {is}", world.subject.task(task.0).id);
            world.broke("people are shown the run", what);
        }
    }
    let invariants = &world.subject.workflow.invariants;
    for (invariant, judged) in invariants.iter().zip(judge(invariants, &ended)) {
        match judged {
            Ok(true) => {}
            Ok(false) => world.broke_invariant(&invariant.name, invariant.text.clone()),
            Err(why) => world.broke_invariant(&invariant.name, format!("{} cannot be told: {why}", invariant.text)),
        }
    }
    if world.tells() {
        world.note("in the end:".into());
        for (id, task) in &ended.tasks {
            let done = match task.effects {
                0 => String::new(),
                1 => ", done once".into(),
                n => format!(", done {n} times"),
            };
            let undone = if task.undone > 0 { ", undone" } else { "" };
            let attempts = if task.attempts == 1 { "1 attempt".into() } else { format!("{} attempts", task.attempts) };
            world.note(format!("  {id}: {} after {attempts}{done}{undone}", task.state));
        }
    }
    ended.outcome
}

fn tasks(run: &Run) -> impl Iterator<Item = TaskIx> + use<> {
    (0..run.graph().len() as u32).map(TaskIx)
}

/// A run that was interrupted settles like one that was not, wherever nobody had to be asked and no amount of money
/// decided: the attempts that were heard of are the same.
fn compare(world: &World<'_>, seed: u64, kinds: Kinds, only: Option<Rc<Vec<Fault>>>) {
    let subject = world.subject;
    let interrupted = world.engine.get() > 1 && !world.witness.borrow().asked;
    let free =
        subject.workflow.budget.is_unlimited() && subject.workflow.tasks.iter().all(|t| t.cost_budget().is_none());
    if !interrupted || !free {
        return;
    }
    let kinds = [Kind::Crashes, Kind::Stops, Kind::Duplicates, Kind::People].into_iter().fold(kinds, Kinds::without);
    let calm = World::new(subject, seed, Luck::new(seed, kinds, only, subject.workflow.tasks.len()), false);
    host::live(&calm);
    let (here, there) = (world.witness.borrow(), calm.witness.borrow());
    // Which members of a failed saga came to their end before they were stopped is a matter of moments.
    if [here.run(), there.run()].iter().any(|run| tasks(run).any(|task| run.is_of_failed_scope(task))) {
        return;
    }
    for task in tasks(here.run()) {
        let state = |run: &Run| run.state(task).name();
        if state(here.run()) != state(there.run()) {
            let (id, here, there) = (&subject.task(task.0).id, state(here.run()), state(there.run()));
            return world
                .broke("interrupted runs settle like others", format!("{id} is {here}, uninterrupted {there}"));
        }
    }
}
