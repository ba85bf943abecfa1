//! How often each thing really happened, so that no simulation passes because nothing went wrong in it. It does not
//! know who counts.

use std::collections::BTreeMap;

use raddle_kernel::{FailureClass, Outcome};

/// Counts by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

/// What a long simulation must have met, beside every failure class and every outcome that a run can end with.
const EXPECTED: &[&str] = &[
    "attempt started",
    "attempt abandoned",
    "attempt doubted",
    "failure retried",
    "retries exhausted",
    "task adopted",
    "progress",
    "denial",
    "big output",
    "stopped out of time",
    "stopped on purpose",
    "stopped beyond grace",
    "stop of what had ended",
    "doubled report",
    "report of another epoch",
    "report of another attempt",
    "report of an unknown task",
    "pressure",
    "spurious wake",
    "append failed",
    "store failed",
    "append failed, and the batch was durable",
    "the fault lasts",
    "paused",
    "the disk is back",
    "left while the disk was away",
    "use of an attempt that was left",
    "crash while pausing",
    "crash before append",
    "crash after append",
    "crash while starting",
    "crash while stopping",
    "crash while waiting",
    "crash after load",
    "crash after an answer",
    "second engine",
    "stale append refused",
    "interrupt",
    "terminate",
    "cancel",
    "word: retry",
    "word: skip",
    "word refused",
    "waiting left alone",
    "new chapter",
    "waves",
    "foretold",
    "use reported",
    "use unknown, charged as held",
    "dearer than held",
    "money of a lost attempt",
    "money given back",
    "waits for money",
    "word: budget",
    "budget without an end before",
    "another budget, and all is well",
    "task omitted",
    "asked",
    "asked again",
    "gate approved",
    "gate rejected",
    "gate expired",
    "nothing to ask about",
    "given up by a person",
    "answer taken",
    "answer too late",
    "answer to another question",
    "answer refused",
    "work changed",
    "word: answer",
    "approved by flag",
];

impl Tally {
    /// One more.
    pub fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// How often it happened.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// One more failure of that class.
    pub fn note_class(&mut self, class: FailureClass) {
        self.note(class.name());
    }

    /// One more run that ended so.
    pub fn note_outcome(&mut self, outcome: Outcome) {
        self.note(match outcome {
            Outcome::Succeeded => "run succeeded",
            Outcome::Degraded => "run degraded",
            Outcome::Failed => "run failed",
            Outcome::Cancelled => "run cancelled",
            Outcome::BudgetExhausted => "run budget_exhausted",
            Outcome::Running | Outcome::Waiting => "run ended strangely",
        });
    }

    /// Adds another tally.
    pub fn add(&mut self, other: &Tally) {
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    /// What should have happened and did not.
    pub fn missing(&self) -> Vec<&'static str> {
        let outcomes = ["run succeeded", "run degraded", "run failed", "run cancelled", "run budget_exhausted"];
        let classes = FailureClass::ALL.iter().map(|c| c.name());
        let wanted = EXPECTED.iter().copied().chain(outcomes).chain(classes);
        wanted.filter(|what| !self.counts.contains_key(what)).collect()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.counts.iter().try_for_each(|(what, count)| writeln!(f, "{count:>9}  {what}"))
    }
}
