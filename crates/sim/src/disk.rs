//! The journal of a simulated engine: a store in memory that loses what was being written when the process dies. It
//! does not know what records mean.

use std::sync::Arc;

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::MemoryJournal;

use crate::faults::{Place, Write};
use crate::world::World;

/// See the module.
pub(crate) struct SimJournal<'w, 's> {
    world: &'w World<'s>,
    inner: MemoryJournal,
}

impl<'w, 's> SimJournal<'w, 's> {
    /// Takes the run over.
    pub(crate) fn open(world: &'w World<'s>) -> Result<Self, JournalError> {
        Ok(SimJournal { world, inner: world.store.open_owner()? })
    }

    fn gone() -> JournalError {
        JournalError::Io { what: "append to the journal".into(), source: "the process has died".into() }
    }
}

impl Journal for SimJournal<'_, '_> {
    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }

    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let world = self.world;
        if world.is_dead() {
            return Err(Self::gone());
        }
        let engine = world.engine.get();
        let (place, what) = place_of(world, records);
        let at = |write| place.map(|(_, task, turn)| Place::Write(write, task, turn));
        let (before, after) = match place {
            Some((true, ..)) => (at(Write::BeforeStart), at(Write::AfterStart)),
            _ => (at(Write::BeforeEnd), at(Write::AfterEnd)),
        };
        // What is torn when the process dies is cut off by the next owner, all of it.
        let lost = || format!("engine {engine} dies while it writes down {what}: that is lost");
        if before.is_some_and(|before| world.dies(before, lost)) {
            return Err(Self::gone());
        }
        self.inner.append(records)?;
        for record in records {
            let checked = world.witness.borrow_mut().enter(world, record);
            world.insist(checked);
        }
        let kept = || format!("engine {engine} dies right after it wrote down {what}, before it could act on it");
        if world.is_dead() || after.is_some_and(|after| world.dies(after, kept)) {
            return Err(Self::gone());
        }
        Ok(())
    }

    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        self.inner.replay(each)
    }

    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        self.inner.store(text)
    }

    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        self.inner.load(output)
    }
}

/// Whether the batch begins or ends a task's turn, which task, which turn; and what is written, in words. The end of a
/// turn counts before beginnings that follow from it.
fn place_of(world: &World<'_>, records: &[Record]) -> (Option<(bool, u32, u32)>, String) {
    let ends = records.iter().find_map(|record| match record.fact {
        Fact::AttemptSucceeded { task, .. } | Fact::AttemptFailed { task, .. } => Some((false, task)),
        _ => None,
    });
    let starts = records.iter().find_map(|record| match record.fact {
        Fact::AttemptStarted { task, .. } => Some((true, task)),
        _ => None,
    });
    let Some((begins, task)) = ends.or(starts) else { return (None, String::new()) };
    let turn = world.witness.borrow().turn(task);
    let part = if begins { "beginning" } else { "end" };
    let words = format!("the {part} of {}'s turn {turn}", world.subject.task(task.0).id);
    (Some((begins, task.0, turn)), words)
}
