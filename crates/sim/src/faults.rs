//! Misfortunes: their kinds, the places where they can strike, and whether they do. Whether one strikes follows from the
//! seed and its place alone, so leaving one out changes no other: that is what lets a story be made smaller.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::chance::{Chance, chance_of};

/// A kind of misfortune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "`meaning` says it")]
pub enum Kind {
    Crashes,
    Failures,
    Timeouts,
    Limits,
    Denials,
    Duplicates,
    Stops,
    People,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::Crashes,
        Kind::Failures,
        Kind::Timeouts,
        Kind::Limits,
        Kind::Denials,
        Kind::Duplicates,
        Kind::Stops,
        Kind::People,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Crashes => "crashes",
            Kind::Failures => "failures",
            Kind::Timeouts => "timeouts",
            Kind::Limits => "limits",
            Kind::Denials => "denials",
            Kind::Duplicates => "duplicates",
            Kind::Stops => "stops",
            Kind::People => "people",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What happens.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Crashes => "the engine dies, before or after a write, while it starts a task or waits",
            Kind::Failures => "an attempt fails, with every class that its kind of task can fail with",
            Kind::Timeouts => "an attempt hangs, or an agent falls silent",
            Kind::Limits => "a provider's limit is reached",
            Kind::Denials => "something is refused to an attempt",
            Kind::Duplicates => "a report comes twice, late, or from an engine before",
            Kind::Stops => "somebody interrupts, terminates or cancels the run",
            Kind::People => "somebody answers carelessly, or retries and skips what has ended",
        }
    }
}

/// Where a misfortune strikes. Places are named by what happens there and not by who drives or how often something was
/// tried, so that they stay where they are when an earlier misfortune is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What a task does at its nth turn, from 1. Turns count what was heard of, so an attempt that was lost and is made
    /// again does the same.
    Turn(u32, u32),
    /// The write that makes the beginning or the end of such a turn durable.
    Write(Write, u32, u32),
    /// What a person says when nobody knows how far a task's turn came.
    Answer(u32, u32),
    /// The nth time that the run has ended.
    End(u32),
}

/// A moment of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Write {
    BeforeStart,
    AfterStart,
    BeforeEnd,
    AfterEnd,
}

/// One misfortune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Where.
    pub place: Place,
}

/// Which kinds may strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Kinds = Kinds(u8::MAX);
    /// None.
    pub const NONE: Kinds = Kinds(0);

    /// With one more.
    #[must_use]
    pub fn with(self, kind: Kind) -> Kinds {
        Kinds(self.0 | 1 << kind as u8)
    }

    /// With one less.
    #[must_use]
    pub fn without(self, kind: Kind) -> Kinds {
        Kinds(self.0 & !(1 << kind as u8))
    }

    /// Whether it is among them.
    pub fn has(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }
}

/// A run that has ended so often is left in peace, so that every story ends.
const EVENTFUL_ENDS: u32 = 3;
/// A task that had so many turns as well.
const EVENTFUL_TURNS: u32 = 40;

/// Turns in which a task is undone are numbered from here on, apart from its own.
pub(crate) const UNDOING: u32 = 1 << 20;

/// A turn of a task, or of undoing it.
pub(crate) fn turn_words(id: &str, turn: u32) -> String {
    match turn.checked_sub(UNDOING) {
        None => format!("{id}'s turn {turn}"),
        Some(1) => format!("the undoing of {id}"),
        Some(n) => format!("try {n} of undoing {id}"),
    }
}

/// Decides who is struck, and remembers it.
pub(crate) struct Luck {
    seed: u64,
    /// One in so many places is struck, by kind; 0 is none.
    rates: [u64; Kind::ALL.len()],
    /// The only ones that may strike, where a story is being made smaller.
    only: Option<Rc<Vec<Fault>>>,
    struck: RefCell<BTreeMap<Fault, String>>,
}

impl Luck {
    pub(crate) fn new(seed: u64, kinds: Kinds, only: Option<Rc<Vec<Fault>>>, tasks: usize) -> Luck {
        let mut rates = [0; Kind::ALL.len()];
        for kind in Kind::ALL.into_iter().filter(|kind| kinds.has(*kind)) {
            let mut chance = chance_of(&[seed, 11, kind as u64]);
            // Places differ in how often a story comes to them. What befalls engines befalls few of them, however many
            // tasks there are: each begins by reading everything again.
            let often = match kind {
                Kind::Crashes => 2 + tasks as u64 / 40,
                Kind::Stops => 6 + tasks as u64 / 8,
                Kind::Duplicates => 2,
                Kind::Failures | Kind::Timeouts | Kind::Denials | Kind::Limits | Kind::People => 1,
            };
            rates[kind as usize] = if chance.one_in(3) { 0 } else { often * chance.pick(&[3, 8, 25]) };
        }
        Luck { seed, rates, only, struck: RefCell::default() }
    }

    /// Whether it strikes there; if so, chance for the details, and it is written down.
    pub(crate) fn strikes(&self, kind: Kind, place: Place) -> Option<Chance> {
        let rate = self.rates[kind as usize];
        let late = match place {
            Place::Turn(_, turn) | Place::Write(_, _, turn) | Place::Answer(_, turn) => turn % UNDOING > EVENTFUL_TURNS,
            Place::End(end) => end > EVENTFUL_ENDS,
        };
        let fault = Fault { kind, place };
        // An engine that dies somewhere leaves the next one in peace there.
        let once = matches!(kind, Kind::Crashes | Kind::Stops) && self.struck.borrow().contains_key(&fault);
        if rate == 0 || late || once {
            return None;
        }
        let mut chance = self.at(place, kind as u64 + 1);
        if !chance.one_in(rate) {
            return None;
        }
        if self.only.as_ref().is_some_and(|only| only.binary_search(&fault).is_err()) {
            return None;
        }
        self.struck.borrow_mut().entry(fault).or_default();
        Some(chance)
    }

    /// Says in words what the misfortune was.
    pub(crate) fn tell(&self, kind: Kind, place: Place, words: impl FnOnce() -> String) {
        if let Some(told) = self.struck.borrow_mut().get_mut(&Fault { kind, place }) {
            *told = words();
        }
    }

    /// Chance for what is no misfortune: how long something takes, what it brings.
    pub(crate) fn at(&self, place: Place, salt: u64) -> Chance {
        let [a, b, c] = match place {
            Place::Turn(task, turn) => [1, task, turn],
            Place::Write(write, task, turn) => [2 + write as u32, task, turn],
            Place::Answer(task, turn) => [6, task, turn],
            Place::End(end) => [7, end, 0],
        };
        chance_of(&[self.seed, 12, salt, u64::from(a), u64::from(b), u64::from(c)])
    }

    /// What struck, with words.
    pub(crate) fn struck(self) -> BTreeMap<Fault, String> {
        self.struck.into_inner()
    }
}
