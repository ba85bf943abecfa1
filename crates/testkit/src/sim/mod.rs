//! Simulation by seed: a random graph, scripted attempts, misfortunes, people and time, all from one number, around the
//! real engine and kernel. It knows every promise the engine makes about a run and nothing about how it keeps them.

mod book;
mod disk;
mod explore;
mod host;
mod ledger;
mod means;
mod people;
mod reference;
mod sabotage;
mod stage;
mod story;
mod tally;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use raddle_engine::fact::{Fact, Record};
use raddle_engine::view::RunView;
use raddle_journal::MemoryStore;
use raddle_kernel::{Attempt, Outcome, Run, TaskIx, TaskState, Time};

use disk::Disk;
pub use explore::explore;
pub use means::{Means, Purse};
pub use sabotage::Sabotage;
pub use story::{Asks, Plot, Story};
pub use tally::Tally;
pub use world::Mishap;
use world::{Violation, World};

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The story in which it happened; the same seed tells it again.
    pub seed: u64,
    /// What.
    pub what: String,
}

/// Lives through the story of a seed; says what happened in it, or which promise was broken.
pub fn live_through(seed: u64, sabotage: Option<Sabotage>) -> Result<Tally, Broken> {
    live(Story::of(seed), Disk::Memory(MemoryStore::new()), sabotage, None)
}

/// Lives through the story of a seed with one misfortune at one place and no other.
pub fn live_through_mishap(seed: u64, mishap: Mishap) -> Result<Tally, Broken> {
    live(Story { calm: true, ..Story::of(seed) }, Disk::Memory(MemoryStore::new()), None, Some(mishap))
}

/// Lives through the story of a seed with the journal that users have, in an empty folder.
pub fn live_through_on_disk(seed: u64, folder: &Path) -> Result<Tally, Broken> {
    live(Story::of(seed), Disk::folder(folder), None, None)
}

fn live(story: Story, disk: Disk, sabotage: Option<Sabotage>, mishap: Option<Mishap>) -> Result<Tally, Broken> {
    let seed = story.seed;
    let told = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new(story, disk, sabotage, mishap);
        if world.story.waves {
            world.note("waves");
        }
        host::live_on(&world, 0);
        look_back(&world);
        world.tally.take()
    }));
    told.map_err(|payload| {
        let what = match payload.downcast::<Violation>() {
            Ok(violation) => violation.0,
            Err(payload) => match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
                (Some(text), _) => format!("panicked: {text}"),
                (_, Some(text)) => format!("panicked: {text}"),
                _ => "panicked".into(),
            },
        };
        Broken { seed, what }
    })
}

/// What must hold when everything is over.
fn look_back(world: &World) {
    let ledger = world.ledger.borrow();
    let run = ledger.run();
    let exhausted = ledger.finished() == Some(Outcome::BudgetExhausted);
    if ledger.finished().is_none() || !exhausted && world.story.all().any(|t| !run.state(t).phase().settled()) {
        world.violated("over, and not everything has settled");
    }
    let records =
        world.disk.records().unwrap_or_else(|e| world.violated(format!("what is stored cannot be read: {e}")));
    let mut again = Run::new(world.story.graph());
    for record in &records {
        if matches!(record.fact, Fact::Started(_)) && again.has_begun() {
            again = Run::new(world.story.graph());
        }
        if let Some(event) = record.fact.event()
            && again.apply(event).is_err()
        {
            world.violated(format!("what is stored does not fold at record {}", record.seq));
        }
    }
    let same = |t| again.state(t) == run.state(t);
    if !world.story.all().all(same) || again.finished() != run.finished() {
        world.violated("what is stored folds to something else");
    }
    match RunView::of(records.clone()) {
        Ok(view) if Some(view.outcome()) == run.finished() && view.finished_at.is_some() => {}
        other => world.violated(format!("people are shown {:?}", other.map(|view| view.outcome()))),
    }
    check_path(world, &records);
    if world.story.calm && world.story.means.is_none() && !world.story.asks() && world.mishap.is_none() {
        world.note("foretold");
        for (task, foretold) in world.story.all().zip(reference::foretell(&world.story)) {
            let same = match (foretold, run.state(task)) {
                (TaskState::Blocked { .. }, TaskState::Blocked { .. }) => true,
                (a, b) => a == b,
            };
            if !same || foretold_attempts(foretold).is_some_and(|n| n.0 != run.attempts(task)) {
                world.violated(format!("task {} ended as {:?}, foretold {foretold:?}", task.0, run.state(task)));
            }
        }
    }
}

/// The path that took longest is a path, and no longer than the run.
fn check_path(world: &World, records: &[Record]) {
    let Ok(view) = RunView::of(records.iter().cloned()) else { return };
    let path = view.critical_path(Time(world.now()));
    let depends = |pair: &[TaskIx]| world.story.task(pair[1]).depends_on.iter().any(|d| d.0 == pair[0]);
    if path.is_empty() || !path.windows(2).all(depends) {
        world.violated(format!("the critical path is no path: {path:?}"));
    }
}

fn foretold_attempts(state: TaskState) -> Option<Attempt> {
    match state {
        TaskState::Completed { attempt }
        | TaskState::Failed { attempt, .. }
        | TaskState::FailedSafe { attempt, .. } => Some(attempt),
        _ => None,
    }
}
