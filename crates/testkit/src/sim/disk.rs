//! The journal of a simulation: the one in memory or the one on disk, with misfortunes around it and the ledger behind
//! it. It does not know what records mean.

use std::rc::Rc;
use std::sync::Arc;

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Home, MemoryStore, RunId, RunMeta};
use raddle_kernel::Time;

use super::sabotage::Sabotage;
use super::world::World;

/// What outlives engines.
pub(super) enum Disk {
    /// A store in memory: fast.
    Memory(MemoryStore),
    /// The real thing: SQLite with fsync, in a folder of its own.
    Folder(Home, RunId),
}

impl Disk {
    /// A run in a folder.
    pub(super) fn folder(path: &std::path::Path) -> Self {
        Disk::Folder(Home::open(path), RunId::new(Time(1_770_000_000_000), 1))
    }

    fn own(&self) -> Result<Box<dyn Journal>, JournalError> {
        Ok(match self {
            Disk::Memory(store) => Box::new(store.open_owner()?),
            Disk::Folder(home, run) => match home.open_owner(run) {
                // Not begun yet, or killed before anything was durable: then it is begun like any new one.
                Err(JournalError::NotFound) => {
                    if home.run_folder(run).exists() {
                        home.remove(run)?;
                    }
                    Box::new(home.create(run, RunMeta::default())?)
                }
                other => Box::new(other?),
            },
        })
    }

    /// Takes ownership away behind the back of the owner.
    pub(super) fn usurp(&self) -> std::io::Result<()> {
        match self {
            Disk::Memory(store) => {
                store.usurp();
                Ok(())
            }
            Disk::Folder(home, run) => std::fs::remove_file(home.run_folder(run).join("owner.lock")),
        }
    }

    /// All records, when nobody owns the run any more.
    pub(super) fn records(&self) -> Result<Vec<Record>, JournalError> {
        let mut records = Vec::new();
        self.own()?.replay(&mut |record| records.push(record))?;
        Ok(records)
    }
}

/// See the module.
pub(super) struct SimJournal {
    world: Rc<World>,
    inner: Box<dyn Journal>,
    /// Appends until one fails.
    fails_in: Option<u64>,
    /// How often the store goes on failing after that.
    fails_on: u64,
    /// What a lying disk has not written yet.
    unwritten: Vec<Record>,
}

impl SimJournal {
    /// Takes the run over.
    pub(super) fn open(world: &Rc<World>, fails_in: Option<u64>) -> Self {
        let inner = world.disk.own().unwrap_or_else(|e| world.violated(format!("cannot own the run: {e}")));
        if inner.epoch() <= world.newest_epoch.get() && inner.last_seq() > 0 {
            world.violated("an epoch that is not above all before");
        }
        world.newest_epoch.set(inner.epoch());
        SimJournal { world: Rc::clone(world), inner, fails_in, fails_on: 0, unwritten: Vec::new() }
    }

    fn write(&mut self, records: &[Record]) -> Result<(), JournalError> {
        let mut kept = records.to_vec();
        if self.world.sabotage == Some(Sabotage::LoseResult)
            && let Some(lost) = kept.iter_mut().find(|r| matches!(r.fact, Fact::AttemptSucceeded { .. }))
        {
            let nothing = || "nothing".into();
            lost.fact = match lost.fact {
                Fact::AttemptSucceeded { task, .. } => {
                    Fact::Denied { task, action: nothing(), resource: nothing(), rule: nothing() }
                }
                _ => return Ok(()),
            };
        }
        if self.inner.epoch() != self.world.newest_epoch.get() {
            return self.write_as_stale_owner(&kept);
        }
        self.inner.append(&kept)?;
        self.enter(&kept);
        Ok(())
    }

    fn enter(&self, records: &[Record]) {
        for record in records {
            let entered = self.world.ledger.borrow_mut().enter(record, &mut self.world.tally.borrow_mut());
            self.world.insist(entered);
        }
    }

    fn write_as_stale_owner(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if self.world.sabotage == Some(Sabotage::ForgetOwners) {
            self.enter(records);
            return Ok(());
        }
        match self.inner.append(records) {
            Err(e @ JournalError::Owned { .. }) => {
                self.world.note("stale append refused");
                Err(e)
            }
            other => self.world.violated(format!("an owner that was replaced appends: {other:?}")),
        }
    }
}

fn fault(what: &str) -> JournalError {
    JournalError::Io { what: what.into(), source: "the story wants it".into() }
}

impl SimJournal {
    /// A fault that lasts.
    fn fail_on(&mut self, what: &str) -> Result<(), JournalError> {
        if self.fails_on == 0 {
            return Ok(());
        }
        self.fails_on -= 1;
        self.world.note("the fault lasts");
        Err(fault(what))
    }
}

impl Journal for SimJournal {
    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }

    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        self.world.step("crash before append");
        match self.fails_in {
            Some(0) => {
                self.fails_in = None;
                self.fails_on = self.world.below(4);
                self.world.note("append failed");
                if self.world.one_in(3) && self.world.sabotage.is_none() {
                    self.write(records)?;
                    self.world.note("append failed, and the batch was durable");
                }
                return Err(fault("append"));
            }
            Some(n) => self.fails_in = Some(n - 1),
            None => self.fail_on("append")?,
        }
        if self.world.sabotage == Some(Sabotage::LieAboutDurability) {
            let earlier = std::mem::replace(&mut self.unwritten, records.to_vec());
            return self.write(&earlier);
        }
        self.write(records)?;
        self.world.step("crash after append");
        Ok(())
    }

    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        self.inner.replay(each)
    }

    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        if self.world.strikes(400) {
            self.world.note("store failed");
            self.fails_on = self.world.below(4);
            return Err(fault("store an output"));
        }
        self.inner.store(text)
    }

    fn reopen(&mut self) -> Result<u64, JournalError> {
        self.world.step("crash while pausing");
        self.fail_on("open the journal again")?;
        self.inner.reopen()
    }

    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        self.inner.load(output)
    }
}
