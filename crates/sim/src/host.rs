//! The life of a run through all its engines: begin or load, take over, hear people's words, drive, die, and again. It
//! decides nothing that the engine ought to decide.

use raddle_engine::fact::Record;
use raddle_engine::ledger::Ledger;
use raddle_engine::ports::Journal as _;
use raddle_engine::task_program::TaskProgram;
use raddle_engine::view::RunView;
use raddle_engine::{Budget, Ending, Engine, EngineError, Money, OnStorageFault, Outcome};
use raddle_kernel::{Phase, TaskIx, TaskState};

use crate::answers;
use crate::disk::SimJournal;
use crate::faults::{Kind, Place};
use crate::stage::Stage;
use crate::world::{SimClock, World};

/// No story has that many engines.
const MOST_ENGINES: u32 = 400;

type SimEngine<'a, 'w, 's> = Engine<'a, TaskProgram, Stage<'w, 's>, SimJournal<'w, 's>, SimClock<'w, 's>>;

/// What a person does with a run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whim {
    Nothing,
    /// Tries again what failed, or goes on without it.
    Meddle,
    /// Gives it more money.
    Pay,
}

/// Lets engine after engine drive the run until it has ended for good.
pub(crate) fn live(world: &World<'_>) {
    let (mut whim, mut ends) = (Whim::Nothing, 0);
    loop {
        if world.engine.get() >= MOST_ENGINES {
            return world.broke("the run settles", "engine after engine, and no end");
        }
        world.begin_engine();
        let ended = match generation(world, whim) {
            Ok(ended) => ended,
            Err(_) if world.is_dead() => None,
            Err(e) => return world.broke("the engine goes on", e.to_string()),
        };
        if world.is_broken() {
            return;
        }
        whim = match ended.filter(|_| !world.is_dead()) {
            Some(Ending::Finished(outcome)) => {
                ends += 1;
                match after_the_end(world, ends, outcome) {
                    Whim::Nothing => return,
                    whim => whim,
                }
            }
            _ => Whim::Nothing,
        };
    }
}

/// One engine's life.
fn generation(world: &World<'_>, whim: Whim) -> Result<Option<Ending>, EngineError> {
    let mut stage = Stage::new(world);
    let mut journal = SimJournal::open(world)?;
    let drove = drive(world, whim, &mut journal, &mut stage);
    stage.perish();
    drove.map(Some)
}

fn drive<'w, 's>(
    world: &'w World<'s>,
    whim: Whim,
    journal: &mut SimJournal<'w, 's>,
    stage: &mut Stage<'w, 's>,
) -> Result<Ending, EngineError> {
    let subject = world.subject;
    let mut records: Vec<Record> = Vec::new();
    journal.replay(&mut |record| records.push(record))?;
    let ledger = match records.is_empty() {
        true => Ledger::new(&subject.snapshot),
        false => match RunView::of(records.iter().cloned()) {
            Ok(view) => view.ledger,
            Err(e) => {
                world.broke("people are shown the run", format!("record {}: {}", e.seq, e.what));
                Ledger::new(&subject.snapshot)
            }
        },
    };
    let (mut program, mut clock) = (subject.program(), SimClock(world));
    let admission = subject.admission.clone().with_budget(ledger);
    let mut engine = Engine::new(&mut program, stage, journal, &mut clock, admission);
    // An error of the store stands for the death of the process here.
    engine.on_storage_fault(OnStorageFault::Leave);
    if records.is_empty() {
        engine.begin(subject.chapter());
    } else {
        engine.load(records)?;
        engine.take_over();
        words(world, whim, &mut engine);
    }
    engine.drive()
}

/// What a person says to a run that was taken over.
fn words(world: &World<'_>, whim: Whim, engine: &mut SimEngine<'_, '_, '_>) {
    if whim == Whim::Pay {
        let more = |limit: Option<u64>, used: u64| limit.map(|limit| limit.max(used).saturating_mul(2).max(1));
        let (limits, spent) = (*engine.budget().limits(), engine.budget().spent());
        let budget = Budget {
            usd: more(limits.usd.map(|m| m.0), spent.usd.0).map(Money),
            tokens: more(limits.tokens, spent.tokens),
            agents: more(limits.agents, spent.agents),
            wall_ms: more(limits.wall_ms, 0).map(|wall| wall.saturating_mul(4)),
        };
        engine.set_budget(budget).ok();
    }
    for task in (0..world.subject.workflow.tasks.len() as u32).map(TaskIx) {
        let phase = engine.run_state().state(task).phase();
        let failed = matches!(phase, Phase::Failed | Phase::FailedSafe | Phase::Cancelled);
        if let TaskState::Waiting { cause, .. } = engine.run_state().state(task) {
            match answers::to(world, task, cause, engine.asked(task)) {
                Some(said) => _ = engine.answer(&said).ok(),
                None => answer(world, task, engine),
            }
        } else if whim == Whim::Meddle && failed {
            let mut chance = world.luck.at(Place::Answer(task.0, world.witness.borrow().turn(task)), 3);
            match chance.below(3) {
                0 => engine.retry(task).ok(),
                1 => engine.skip(task).ok(),
                _ => None,
            };
        }
    }
}

/// Somebody looks whether the work of an attempt of unknown fate was done, and goes on without a repeat if it was;
/// somebody careless does the opposite.
fn answer(world: &World<'_>, task: TaskIx, engine: &mut SimEngine<'_, '_, '_>) {
    let place = Place::Answer(task.0, world.witness.borrow().turn(task));
    let careless = world.luck.strikes(Kind::People, place).is_some();
    let done = world.done(task.0) > 0;
    let id = &world.subject.task(task.0).id;
    world.luck.tell(Kind::People, place, || {
        let word = if done { "tries again" } else { "skips" };
        format!("somebody {word} {id} without looking whether it was done")
    });
    match done != careless {
        true => engine.skip(task).ok(),
        false => engine.retry(task).ok(),
    };
}

/// What becomes of a run that has ended.
fn after_the_end(world: &World<'_>, ends: u32, outcome: Outcome) -> Whim {
    let place = Place::End(ends);
    let (whim, words) = match outcome {
        Outcome::BudgetExhausted => (Whim::Pay, "somebody gives it a larger budget"),
        Outcome::Failed | Outcome::Degraded | Outcome::Cancelled => {
            (Whim::Meddle, "somebody retries or skips what failed")
        }
        _ => return Whim::Nothing,
    };
    if world.luck.strikes(Kind::People, place).is_none() {
        return Whim::Nothing;
    }
    world.luck.tell(Kind::People, place, || format!("after the end, {words}"));
    whim
}
