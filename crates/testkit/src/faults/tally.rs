//! What a section did: faults that were really injected, by name; what was claimed; what was violated. It does not know
//! what any of the names mean.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::options::Options;

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Something that was told or done is not there any more.
    Lost,
    /// An effect more often than somebody's word allows.
    Doubled,
    /// A run that does not come to its end, or says that it goes on when nobody is there.
    Stuck,
    /// A process that outlived its engine.
    Orphan,
    /// Something ran behind a gate without a yes, or was repeated without a word.
    Unasked,
    /// Damage that was taken for sound.
    Undetected,
    /// What is shown is not what happened.
    Untrue,
    /// The suite itself could not do what it wanted.
    Broken,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Lost,
        Kind::Doubled,
        Kind::Stuck,
        Kind::Orphan,
        Kind::Unasked,
        Kind::Undetected,
        Kind::Untrue,
        Kind::Broken,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Lost => "lost",
            Kind::Doubled => "doubled",
            Kind::Stuck => "stuck",
            Kind::Orphan => "orphan",
            Kind::Unasked => "unasked",
            Kind::Undetected => "undetected",
            Kind::Untrue => "untrue",
            Kind::Broken => "broken",
        }
    }
}

/// A broken promise, with the round in which it was.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    pub(crate) seed: Option<u64>,
    pub(crate) what: String,
}

impl Violation {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Violation {
        Violation { kind, seed: None, what: what.into() }
    }

    /// The suite itself could not do something.
    pub(crate) fn broken(what: impl fmt::Display) -> Violation {
        Violation::new(Kind::Broken, what.to_string())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seed {
            Some(seed) => write!(f, "{} (--seed {seed} --rounds 1): {}", self.kind.name(), self.what),
            None => write!(f, "{}: {}", self.kind.name(), self.what),
        }
    }
}

/// What somebody does who may find a broken promise.
pub(crate) type Found<T> = Result<T, Violation>;

/// Counts by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally(BTreeMap<String, u64>);

impl Tally {
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: impl Into<String>, count: u64) {
        *self.0.entry(what.into()).or_default() += count;
    }

    /// Keeps the largest.
    pub(crate) fn most(&mut self, what: impl Into<String>, value: u64) {
        let kept = self.0.entry(what.into()).or_default();
        *kept = value.max(*kept);
    }

    pub(crate) fn count(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }

    /// Adds another one; of what begins with `most ` the larger stays.
    pub(crate) fn merge(&mut self, other: &Tally) {
        for (what, count) in &other.0 {
            match what.starts_with("most ") {
                true => self.most(what, *count),
                false => self.add(what, *count),
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(what, count)| (what.as_str(), *count))
    }
}

/// A section's account.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) section: &'static str,
    pub(crate) rounds: u64,
    pub(crate) injected: Tally,
    /// What must have been injected at least so often, or the section proves less than it says.
    pub(crate) claims: Vec<(String, u64)>,
    pub(crate) violations: Vec<Violation>,
    /// Why there is nothing to do here, when there is not.
    pub(crate) skipped: Option<String>,
    pub(crate) wall: Duration,
}

impl Account {
    pub(crate) fn new(section: &'static str) -> Account {
        Account {
            section,
            rounds: 0,
            injected: Tally::default(),
            claims: Vec::new(),
            violations: Vec::new(),
            skipped: None,
            wall: Duration::ZERO,
        }
    }

    pub(crate) fn claim(&mut self, what: impl Into<String>, at_least: u64) {
        self.claims.push((what.into(), at_least));
    }

    pub(crate) fn short_of(&self) -> Vec<String> {
        let missing = self.claims.iter().filter(|(what, least)| self.injected.count(what) < *least);
        missing.map(|(what, least)| format!("{what}: {} of at least {least}", self.injected.count(what))).collect()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.violations.is_empty() && (self.skipped.is_some() || self.short_of().is_empty())
    }

    fn of_kind(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|v| v.kind == kind).count()
    }

    fn violated(&self) -> String {
        let kinds = Kind::ALL.iter().filter(|kind| self.of_kind(**kind) > 0);
        let words: Vec<String> = kinds.map(|kind| format!("{} {}", self.of_kind(*kind), kind.name())).collect();
        if words.is_empty() { "none".into() } else { words.join(", ") }
    }
}

/// The table at the end.
pub(crate) fn table(accounts: &[Account]) -> String {
    let mut text = String::from("section       rounds     wall  violations\n");
    for account in accounts {
        let seconds = format!("{:.1} s", account.wall.as_secs_f64());
        let _ = writeln!(text, "{:<12} {:>7} {:>8}  {}", account.section, account.rounds, seconds, account.violated());
        if let Some(why) = &account.skipped {
            let _ = writeln!(text, "    SKIPPED: {why}");
        }
        for (what, count) in account.injected.iter() {
            let claimed = account.claims.iter().find(|(name, _)| name == what);
            let least = claimed.map_or(String::new(), |(_, least)| format!("  (at least {least})"));
            let _ = writeln!(text, "    {count:>9}  {what}{least}");
        }
        for short in account.short_of().iter().filter(|_| account.skipped.is_none()) {
            let _ = writeln!(text, "    TOO FEW    {short}");
        }
    }
    let total: usize = accounts.iter().map(|a| a.violations.len()).sum();
    let _ = writeln!(text, "violations in all: {total}");
    text
}

/// The same for programs.
pub(crate) fn document(accounts: &[Account], options: &Options) -> String {
    let sections: Vec<Value> = accounts
        .iter()
        .map(|account| {
            let injected: serde_json::Map<String, Value> =
                account.injected.iter().map(|(what, count)| (what.to_owned(), count.into())).collect();
            let claims: serde_json::Map<String, Value> =
                account.claims.iter().map(|(what, count)| (what.clone(), (*count).into())).collect();
            let violations: Vec<Value> = account
                .violations
                .iter()
                .map(|v| json!({"kind": v.kind.name(), "seed": v.seed, "what": v.what}))
                .collect();
            json!({"section": account.section, "rounds": account.rounds, "wall_ms": account.wall.as_millis() as u64,
                   "injected": injected, "claimed": claims, "violations": violations, "skipped": account.skipped,
                   "sound": account.is_sound()})
        })
        .collect();
    json!({"seed": options.seed, "form": options.form.name(), "sections": sections}).to_string()
}
