//! What all parts of a simulation share: the virtual time, the disk that outlives engines, the ledger of what is on it,
//! and the misfortunes that are still to come. It does not know the engine's ports; those are beside it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use raddle_engine::ports::Clock;
use raddle_kernel::{TaskIx, Time};

use super::disk::Disk;
use super::ledger::Ledger;
use super::sabotage::Sabotage;
use super::story::Story;
use super::tally::Tally;
use raddle_sim::chance::{Chance, chance_of};

/// Virtual midnight of day one.
const DAWN_MS: u64 = 1_000_000;
/// A run that is not over by then never ends: a hundred days, when the longest delay is half a minute.
const DUSK_MS: u64 = DAWN_MS + 100 * 86_400_000;

/// See the module.
pub(super) struct World {
    /// What it is about.
    pub(super) story: Rc<Story>,
    /// A deliberate fault in the machinery, to prove that it would be noticed.
    pub(super) sabotage: Option<Sabotage>,
    /// The one misfortune of a story in which nothing else happens.
    pub(super) mishap: Option<Mishap>,
    /// The disk.
    pub(super) disk: Disk,
    /// Everything on it.
    pub(super) ledger: RefCell<Ledger>,
    /// What happened so far.
    pub(super) tally: RefCell<Tally>,
    chance: RefCell<Chance>,
    now_ms: Cell<u64>,
    /// Calls of ports until the process dies.
    fuse: Cell<Option<u64>>,
    /// Whether the engine left while nothing could be recorded: it knows more than the records do, or less.
    pub(super) left_behind: Cell<bool>,
    /// The engine cannot make anything durable now, so nothing starts.
    pub(super) paused: Cell<bool>,
    /// Epoch of the newest owner.
    pub(super) newest_epoch: Cell<u32>,
    /// Engines so far.
    pub(super) generations: Cell<u32>,
    /// How often the work of tasks has changed.
    pub(super) changes: RefCell<BTreeMap<TaskIx, u64>>,
}

/// A misfortune of the first engine, put at one place exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// The process dies at the nth call of a port, from 0.
    DiesAtCall(u64),
    /// The nth append fails, from 0.
    AppendFails(u64),
}

/// Unwinds an engine whose process has just died.
pub(super) struct Crash;

/// Unwinds everything: a promise was broken.
pub(super) struct Violation(pub String);

impl World {
    /// The world of a story.
    pub(super) fn new(story: Story, disk: Disk, sabotage: Option<Sabotage>, mishap: Option<Mishap>) -> Rc<Self> {
        let story = Rc::new(story);
        Rc::new(World {
            sabotage,
            mishap,
            disk,
            ledger: RefCell::new(Ledger::new(Rc::clone(&story))),
            tally: RefCell::default(),
            chance: RefCell::new(chance_of(&[story.seed, 3])),
            now_ms: Cell::new(DAWN_MS),
            fuse: Cell::new(None),
            left_behind: Cell::new(false),
            paused: Cell::new(false),
            newest_epoch: Cell::new(0),
            generations: Cell::new(0),
            changes: RefCell::default(),
            story,
        })
    }

    /// Ends the simulation: what ought never to be is.
    pub(super) fn violated(&self, what: impl Into<String>) -> ! {
        std::panic::resume_unwind(Box::new(Violation(what.into())))
    }

    /// Ends the simulation when a check failed.
    pub(super) fn insist(&self, checked: Result<(), String>) {
        if let Err(what) = checked {
            self.violated(what);
        }
    }

    /// Counts something that happened.
    pub(super) fn note(&self, what: &'static str) {
        self.tally.borrow_mut().note(what);
    }

    /// A number below `n`.
    pub(super) fn below(&self, n: u64) -> u64 {
        self.chance.borrow_mut().below(n)
    }

    /// True once in `n` times; never in a calm story.
    pub(super) fn strikes(&self, n: u64) -> bool {
        !self.story.calm && self.below(n) == 0
    }

    /// True once in `n` times, in calm stories too.
    pub(super) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Virtual time.
    pub(super) fn now(&self) -> u64 {
        self.now_ms.get()
    }

    /// Time passes.
    pub(super) fn advance_to(&self, at_ms: u64) {
        self.now_ms.set(at_ms.max(self.now_ms.get()));
        if self.now_ms.get() > DUSK_MS {
            self.violated("the run does not end");
        }
    }

    /// Lets the process die at a port call from now, or never.
    pub(super) fn set_fuse(&self, calls: Option<u64>) {
        self.fuse.set(calls);
    }

    /// A moment in which the process may die.
    pub(super) fn step(&self, place: &'static str) {
        match self.fuse.get() {
            Some(0) => {
                self.fuse.set(None);
                self.note(place);
                std::panic::resume_unwind(Box::new(Crash));
            }
            Some(n) => self.fuse.set(Some(n - 1)),
            None => {}
        }
    }
}

/// The virtual clock: time passes in `wait`, and now and then a millisecond while somebody works.
pub(super) struct SimClock(pub Rc<World>);

impl Clock for SimClock {
    fn now(&self) -> Time {
        if self.0.one_in(50) {
            self.0.advance_to(self.0.now() + 1);
        }
        Time(self.0.now())
    }

    fn noise(&mut self) -> u32 {
        match self.0.below(8) {
            0 => 0,
            1 => u32::MAX,
            _ => self.0.below(1 << 32) as u32,
        }
    }
}
