//! What outlives the engines of a story: the time, the store, what was really done, and what has gone wrong. A process
//! that dies unwinds nothing: from then on its ports are dead, and the engine leaves by the error of its next write.

use std::cell::{Cell, RefCell};

use raddle_engine::Time;
use raddle_engine::ports::Clock;
use raddle_journal::MemoryStore;

use crate::chance::chance_of;
use crate::faults::{Kind, Luck, Place};
use crate::subject::Subject;
use crate::witness::Witness;

/// When stories begin.
pub(crate) const DAWN_MS: u64 = 1_800_000_000_000;
/// A run that is not over a year later never ends.
const DUSK_MS: u64 = DAWN_MS + 366 * 86_400_000;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The promise: an invariant's name, or one of the engine's own.
    pub promise: String,
    /// Whether it is one of the workflow's invariants.
    pub invariant: bool,
    /// What was seen.
    pub what: String,
}

/// See the module.
pub(crate) struct World<'s> {
    pub(crate) subject: &'s Subject,
    pub(crate) luck: Luck,
    pub(crate) store: MemoryStore,
    pub(crate) witness: RefCell<Witness>,
    /// How often each task's work was really done, and undone.
    effects: RefCell<Vec<[u32; 2]>>,
    /// The engine that drives now, from 1.
    pub(crate) engine: Cell<u32>,
    seed: u64,
    now_ms: Cell<u64>,
    dead: Cell<bool>,
    broken: RefCell<Option<Broken>>,
    lines: Option<RefCell<Vec<String>>>,
    noises: Cell<u64>,
}

impl<'s> World<'s> {
    pub(crate) fn new(subject: &'s Subject, seed: u64, luck: Luck, tells: bool) -> Self {
        World {
            subject,
            luck,
            store: MemoryStore::new(),
            witness: RefCell::new(Witness::new(subject)),
            effects: RefCell::new(vec![[0; 2]; subject.workflow.tasks.len()]),
            engine: Cell::new(0),
            seed,
            now_ms: Cell::new(DAWN_MS),
            dead: Cell::new(false),
            broken: RefCell::new(None),
            lines: tells.then(RefCell::default),
            noises: Cell::new(0),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now_ms.get()
    }

    pub(crate) fn advance_to(&self, at_ms: u64) {
        self.now_ms.set(at_ms.max(self.now()));
        if self.now() > DUSK_MS {
            self.broke("the run settles", "a year has passed and the run is not over");
        }
    }

    /// A new process.
    pub(crate) fn begin_engine(&self) -> u32 {
        self.dead.set(false);
        self.engine.set(self.engine.get() + 1);
        self.engine.get()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.get()
    }

    /// Whether the process dies here; then it is dead.
    pub(crate) fn dies(&self, place: Place, words: impl FnOnce() -> String) -> bool {
        if self.luck.strikes(Kind::Crashes, place).is_none() {
            return false;
        }
        let words = words();
        self.luck.tell(Kind::Crashes, place, || words.clone());
        self.die(|| words);
        true
    }

    /// The process dies.
    pub(crate) fn die(&self, words: impl FnOnce() -> String) {
        self.say(|| format!("** {}", words()));
        self.dead.set(true);
    }

    /// A line without a time.
    pub(crate) fn note(&self, words: String) {
        if let Some(lines) = &self.lines {
            lines.borrow_mut().push(format!("{:13}{words}", ""));
        }
    }

    /// Ends the story: what was promised is not so. The first time counts.
    pub(crate) fn broke(&self, promise: &str, what: impl Into<String>) {
        let what = what.into();
        self.say(|| format!("!! broken: {promise}: {what}"));
        self.broken.borrow_mut().get_or_insert_with(|| Broken { promise: promise.to_owned(), invariant: false, what });
        self.dead.set(true);
    }

    /// The workflow's own promise.
    pub(crate) fn broke_invariant(&self, name: &str, what: String) {
        self.broken.borrow_mut().get_or_insert_with(|| Broken { promise: name.to_owned(), invariant: true, what });
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.borrow().is_some()
    }

    pub(crate) fn insist(&self, checked: Result<(), (&'static str, String)>) {
        if let Err((promise, what)) = checked {
            self.broke(promise, what);
        }
    }

    /// A line of the story, where somebody reads it.
    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        if self.lines.is_some() {
            self.say_at(self.now(), words());
        }
    }

    pub(crate) fn say_at(&self, at_ms: u64, words: String) {
        if let Some(lines) = &self.lines {
            let ms = at_ms.saturating_sub(DAWN_MS);
            lines.borrow_mut().push(format!("{:>7}.{:03}s  {words}", ms / 1000, ms % 1000));
        }
    }

    pub(crate) fn tells(&self) -> bool {
        self.lines.is_some()
    }

    pub(crate) fn did(&self, task: u32) {
        self.count(task, 0);
    }

    pub(crate) fn undid(&self, task: u32) {
        self.count(task, 1);
    }

    fn count(&self, task: u32, what: usize) {
        let mut effects = self.effects.borrow_mut();
        if effects.len() <= task as usize {
            effects.resize(task as usize + 1, [0; 2]);
        }
        effects[task as usize][what] += 1;
    }

    /// How often a task's work was really undone.
    pub(crate) fn undone(&self, task: u32) -> u32 {
        self.effects.borrow().get(task as usize).map_or(0, |counts| counts[1])
    }

    /// How often a task's work was really done.
    pub(crate) fn done(&self, task: u32) -> u32 {
        self.effects.borrow().get(task as usize).map_or(0, |counts| counts[0])
    }

    pub(crate) fn into_parts(self) -> (Option<Broken>, Luck, Vec<String>) {
        (self.broken.into_inner(), self.luck, self.lines.map(RefCell::into_inner).unwrap_or_default())
    }
}

/// The virtual clock: time passes only while the dispatcher waits.
pub(crate) struct SimClock<'w, 's>(pub(crate) &'w World<'s>);

impl Clock for SimClock<'_, '_> {
    fn now(&self) -> Time {
        Time(self.0.now())
    }

    fn noise(&mut self) -> u32 {
        let n = self.0.noises.get();
        self.0.noises.set(n + 1);
        chance_of(&[self.0.seed, 13, n]).next() as u32
    }
}
