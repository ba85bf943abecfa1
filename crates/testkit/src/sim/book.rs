//! A second, naive opinion on what a run spent: every attempt that was ever started, in a list, and all sums worked out
//! again from it. It shares the amounts of the engine's ledger and none of its code, and refuses a start that the
//! budget does not pay for.

use std::rc::Rc;

use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::fact::{Fact, Record};
use raddle_engine::ledger::{Amount, Ledger, tokens_of};
use raddle_engine::snapshot::Snapshot;
use raddle_engine::{Budget, Money};
use raddle_kernel::{FailureClass, Outcome, Run, TaskIx, TaskState};

use super::story::Story;
use super::tally::Tally;

/// See the module.
pub(super) struct Book {
    story: Rc<Story>,
    limits: Budget,
    entries: Vec<Entry>,
    spent_before: Amount,
}

/// An attempt that is counted.
struct Entry {
    task: TaskIx,
    held: Amount,
    /// What it was charged, once it is over.
    charged: Option<Amount>,
    /// Whether somebody said anything of its use.
    told: bool,
    /// What its engine knew of its use when it left.
    left_with: Option<Usage>,
}

impl Book {
    /// An empty one.
    pub(super) fn new(story: Rc<Story>) -> Self {
        Book { story, limits: Budget::default(), entries: Vec::new(), spent_before: Amount::default() }
    }

    /// Takes in a record; `run` is the run before it.
    pub(super) fn enter(&mut self, record: &Record, run: &Run, tally: &mut Tally) -> Result<(), String> {
        match &record.fact {
            Fact::Started(chapter) => {
                let snapshot: Snapshot = serde_json::from_str(&chapter.options).map_err(|e| e.to_string())?;
                self.limits = snapshot.budget;
                self.entries.iter_mut().filter(|e| e.charged.is_none()).for_each(|e| {
                    e.charged = Some(e.left_with.as_ref().map_or(e.held, |usage| Self::amount(usage, e.held)));
                });
            }
            Fact::BudgetSet { budget } => self.limits = *budget,
            Fact::UsageReported { task, usage, .. } => {
                tally.note("use of an attempt that was left");
                let live = self.entries.iter_mut().find(|e| e.task == *task && e.charged.is_none());
                live.into_iter().for_each(|e| e.left_with = Some(**usage));
            }
            Fact::AttemptStarted { task, .. } => return self.start(*task),
            Fact::AttemptSucceeded { task, usage, .. } => self.settle(*task, usage.as_deref(), false, tally),
            Fact::AttemptFailed { task, usage, class, .. } => {
                use FailureClass::{Auth, Budget, Input, Permission, Quota, Start};
                let free = matches!(class, Start | Input | Permission | Budget | Auth | Quota);
                self.settle(*task, usage.as_deref(), free, tally);
            }
            Fact::AttemptAbandoned { task, .. } | Fact::AttemptDoubted { task, .. } => {
                self.settle(*task, None, false, tally);
            }
            Fact::Finished { outcome: Outcome::BudgetExhausted } => return self.end(record, run),
            _ => {}
        }
        Ok(())
    }

    fn start(&mut self, task: TaskIx) -> Result<(), String> {
        let Some(held) = self.need(task) else { return Ok(()) };
        if let Some(why) = self.refuses(task, true) {
            return Err(format!("it starts, and {why}"));
        }
        self.entries.push(Entry { task, held, charged: None, told: false, left_with: None });
        Ok(())
    }

    fn settle(&mut self, task: TaskIx, usage: Option<&Usage>, free: bool, tally: &mut Tally) {
        let Some(entry) = self.entries.iter_mut().find(|e| e.task == task && e.charged.is_none()) else { return };
        entry.told = usage.is_some();
        let left_with = entry.left_with;
        let usage = usage.or(left_with.as_ref());
        let charged = match usage {
            None if free => Amount::default(),
            None => entry.held,
            Some(usage) => Self::amount(usage, entry.held),
        };
        entry.charged = Some(charged);
        let held = entry.held.usd > Money::ZERO;
        match usage {
            None if held && !free => tally.note("money of a lost attempt"),
            None if held => tally.note("money given back"),
            Some(usage) if usage.cost_is == CostIs::Reserved => tally.note("use unknown, charged as held"),
            Some(_) if charged.usd > entry.held.usd => tally.note("dearer than held"),
            Some(_) => tally.note("use reported"),
            None => {}
        }
    }

    fn amount(usage: &Usage, held: Amount) -> Amount {
        let tokens = match tokens_of(usage) {
            0 if usage.cost_is == CostIs::Reserved => held.tokens,
            known => known,
        };
        Amount { usd: usage.cost_usd.and_then(Money::from_usd).unwrap_or(held.usd), tokens, agents: 0 }
    }

    fn end(&self, record: &Record, run: &Run) -> Result<(), String> {
        if self.entries.iter().any(|e| e.charged.is_none()) {
            return Err("out of budget while somebody may still report".into());
        }
        let due = |task: TaskIx| match run.state(task) {
            // Nobody pays for what a person was not asked about yet.
            TaskState::Ready => run.is_startable(task),
            TaskState::Retrying { at, .. } => at <= record.at,
            _ => false,
        };
        let stuck = |task: &TaskIx| due(*task) && self.refuses(*task, false).is_some();
        if self.story.all().any(|task| stuck(&task)) {
            return Ok(());
        }
        Err("out of budget, and everybody whose turn it is could be paid".into())
    }

    /// What was spent and what is held.
    fn sums(&self) -> (Amount, Amount) {
        let (mut spent, mut held) = (Amount::default(), Amount::default());
        spent.agents = self.entries.len() as u64;
        for entry in &self.entries {
            let (sum, amount) = match entry.charged {
                Some(charged) => (&mut spent, charged),
                None => (&mut held, entry.held),
            };
            sum.usd = sum.usd.saturating_add(amount.usd);
            sum.tokens += amount.tokens;
        }
        (spent, held)
    }

    /// What is left of the task's own budget.
    fn left(&self, task: TaskIx) -> Option<Money> {
        let purse = self.story.means.as_ref()?.purses[task.index()];
        let own = self.entries.iter().filter(|e| e.task == task).filter_map(|e| e.charged);
        let spent = own.fold(Money::ZERO, |sum, charged| sum.saturating_add(charged.usd));
        Some(purse.cost_budget.filter(|_| purse.metered)?.saturating_sub(spent))
    }

    /// What an attempt of the task would hold now, if it is counted at all.
    fn need(&self, task: TaskIx) -> Option<Amount> {
        let purses = &self.story.means.as_ref()?.purses;
        let purse = purses[task.index()];
        let alike = self.entries.iter().filter(|e| e.told && purses[e.task.index()].model == purse.model);
        let usual = |part: fn(Amount) -> u64| {
            let of: Vec<u64> = alike.clone().filter_map(|e| e.charged).map(part).collect();
            of.iter().sum::<u64>().checked_div(of.len() as u64).unwrap_or(0)
        };
        let usd = self.left(task).or(purse.estimated_cost).unwrap_or_else(|| Money(usual(|a| a.usd.0)));
        let tokens = purse.estimated_tokens.unwrap_or_else(|| usual(|a| a.tokens));
        purse.metered.then_some(Amount { usd, tokens, agents: 0 })
    }

    /// Why the budget does not pay for the task: now, or ever.
    pub(super) fn refuses(&self, task: TaskIx, now: bool) -> Option<String> {
        let need = self.need(task)?;
        let (spent, held) = self.sums();
        let held = if now { held } else { Amount::default() };
        let over = |limit: Option<u64>, used: u64, need: u64| limit.is_some_and(|l| used >= l || used + need > l);
        let over = over(self.limits.usd.map(|m| m.0), spent.usd.0 + held.usd.0, need.usd.0)
            || over(self.limits.tokens, spent.tokens + held.tokens, need.tokens)
            || over(self.limits.agents, spent.agents, 1);
        over.then(|| format!("of {:?}, {spent:?} is spent, {held:?} held, {need:?} needed", self.limits))
    }

    /// The engine's ledger has to say the same, and nothing that was spent comes back.
    pub(super) fn compare(&mut self, ledger: &Ledger) -> Result<(), String> {
        let (spent, held) = self.sums();
        if (ledger.spent(), ledger.held()) != (spent, held) || *ledger.limits() != self.limits {
            let (said, kept) = (ledger.spent(), ledger.held());
            return Err(format!("the ledger says {said:?} and {kept:?} held, the book {spent:?} and {held:?} held"));
        }
        let before = std::mem::replace(&mut self.spent_before, spent);
        if before.usd > spent.usd || before.tokens > spent.tokens || before.agents > spent.agents {
            return Err(format!("{before:?} was spent, now only {spent:?}"));
        }
        match self.story.all().find(|t| ledger.left_of(*t) != self.left(*t)) {
            Some(task) => Err(format!("the ledger leaves {:?} to task {}", ledger.left_of(task), task.0)),
            None => Ok(()),
        }
    }
}
