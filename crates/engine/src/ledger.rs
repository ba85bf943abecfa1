//! The budget of a run: what was spent, what live attempts hold, and whether the next one can still be paid for. It is
//! a fold of the run's records and nothing else, so whoever reads a journal gets the same amounts to the nano-dollar,
//! after any crash. It does not know who asks, nor what a token costs: reports come priced.
//!
//! An attempt holds an amount from its start to its report: what is left of the task's `cost_budget`, else its
//! `estimate`, else what attempts by the same agent CLI and model cost so far in this run on average, else nothing. Its
//! report puts what was used in place of what was held; where nobody knows what was used, the held amount counts.

use std::collections::BTreeMap;

use raddle_kernel::{FailureClass, TaskIx, Time};
use raddle_model::money::Money;
use raddle_model::workflow::Budget;

use crate::attempt::{CostIs, Usage};
use crate::fact::{Fact, Record};
use crate::snapshot::{Snapshot, TaskRecord};

/// Money, tokens and agent attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Amount {
    pub usd: Money,
    pub tokens: u64,
    pub agents: u64,
}

impl Amount {
    fn add(&mut self, other: Amount) {
        self.usd = self.usd.saturating_add(other.usd);
        self.tokens = self.tokens.saturating_add(other.tokens);
        self.agents = self.agents.saturating_add(other.agents);
    }

    fn subtract(&mut self, other: Amount) {
        self.usd = self.usd.saturating_sub(other.usd);
        self.tokens = self.tokens.saturating_sub(other.tokens);
        self.agents = self.agents.saturating_sub(other.agents);
    }
}

/// Whether an attempt can be paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Fits,
    /// Not while live attempts hold what they hold; when they report, perhaps.
    NotNow(Bound),
    /// Not within this budget, whatever live attempts report.
    Never(Bound),
}

/// Which limit of a budget says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Bound {
    Usd,
    Tokens,
    Agents,
    Wall,
}

/// What the ledger knows of a task before it runs.
#[derive(Debug, Clone)]
struct Terms {
    id: Box<str>,
    metered: bool,
    cost_budget: Option<Money>,
    estimated_cost: Option<Money>,
    estimated_tokens: Option<u64>,
    /// Tasks by the same agent CLI and model; an index into [`Ledger::classes`].
    class: usize,
    spent: Money,
}

/// What attempts of a kind have used so far.
#[derive(Debug, Clone, Copy, Default)]
struct Experience {
    used: Amount,
    attempts: u64,
}

impl Experience {
    fn usual(&self) -> Amount {
        let of = |sum: u64| sum.checked_div(self.attempts).unwrap_or(0);
        Amount { usd: Money(of(self.used.usd.0)), tokens: of(self.used.tokens), agents: 0 }
    }
}

/// See the module. The default is no budget for a run without tasks, which costs nothing to keep.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    limits: Budget,
    tasks: Vec<Terms>,
    classes: BTreeMap<Box<str>, usize>,
    experience: Vec<Experience>,
    /// What each live attempt holds, by task.
    holds: BTreeMap<u32, Amount>,
    /// What live attempts are known to have used when their engine left.
    reported: BTreeMap<u32, Usage>,
    held: Amount,
    spent: Amount,
    /// How long engines have driven the run, up to the last record.
    driven_ms: u64,
    /// The last record; none before the first and while nobody drives the run.
    last_at: Option<Time>,
}

impl Ledger {
    /// Before the first record of a run with that snapshot.
    pub fn new(snapshot: &Snapshot) -> Self {
        let mut ledger = Ledger::default();
        ledger.begin_chapter(snapshot);
        ledger
    }

    /// The run goes on under another definition. What was spent stays spent, also by task.
    pub fn begin_chapter(&mut self, snapshot: &Snapshot) {
        // Attempts that were live: nobody will report on them any more.
        for (task, hold) in std::mem::take(&mut self.holds) {
            let reported = self.reported.remove(&task);
            let used = self.charge(hold, reported.as_ref(), None);
            self.spent.add(used);
            let terms = &mut self.tasks[task as usize];
            terms.spent = terms.spent.saturating_add(used.usd);
        }
        self.held = Amount::default();
        self.reported.clear();
        let before: BTreeMap<Box<str>, Money> =
            std::mem::take(&mut self.tasks).into_iter().map(|t| (t.id, t.spent)).collect();
        self.limits = snapshot.budget;
        for record in &snapshot.tasks {
            let mut terms = self.terms(record, snapshot.options.simulate);
            terms.spent = before.get(record.id.as_str()).copied().unwrap_or_default();
            self.tasks.push(terms);
        }
    }

    /// Before any money was spent on it.
    fn terms(&mut self, record: &TaskRecord, simulate: bool) -> Terms {
        Terms {
            id: record.id.as_str().into(),
            // Gathering the items of a list calls nobody.
            metered: record.kind == "agent" && !record.foreach && !simulate,
            cost_budget: record.cost_budget,
            estimated_cost: record.estimated_cost,
            estimated_tokens: record.estimated_tokens,
            class: self.class_of(record),
            spent: Money::ZERO,
        }
    }

    /// The run goes on under a changed definition, in which tasks keep their numbers. The budget stays what it is.
    fn patch(&mut self, snapshot: &Snapshot) {
        for (i, record) in snapshot.tasks.iter().enumerate() {
            let terms = self.terms(record, snapshot.options.simulate);
            match self.tasks.get_mut(i) {
                Some(before) => *before = Terms { spent: before.spent, ..terms },
                None => self.tasks.push(terms),
            }
        }
    }

    fn class_of(&mut self, record: &TaskRecord) -> usize {
        let name = format!("{}\n{}", record.agent.as_deref().unwrap_or(""), record.model.as_deref().unwrap_or(""));
        let next = self.classes.len();
        let class = *self.classes.entry(name.into()).or_insert(next);
        self.experience.resize(self.classes.len(), Experience::default());
        class
    }

    /// Folds a record in. Tells what was charged for an attempt of which nobody will ever report.
    pub fn apply(&mut self, record: &Record) -> Option<Usage> {
        self.pass_time(record);
        match &record.fact {
            Fact::AttemptStarted { task, .. } => {
                let mut hold = self.need(*task)?;
                // A started agent is spent at once: it cannot be had back.
                self.spent.agents += std::mem::take(&mut hold.agents);
                self.held.add(hold);
                self.holds.insert(task.0, hold);
                None
            }
            Fact::AttemptSucceeded { task, usage, .. } => self.settle(*task, usage.as_deref(), None),
            Fact::AttemptFailed { task, usage, class, .. } => self.settle(*task, usage.as_deref(), Some(*class)),
            Fact::AttemptAbandoned { task, .. } | Fact::AttemptDoubted { task, .. } => self.settle(*task, None, None),
            Fact::UsageReported { task, usage, .. } => {
                self.reported.insert(task.0, **usage);
                None
            }
            Fact::BudgetSet { budget } => {
                self.limits = *budget;
                None
            }
            Fact::Patched(patched) => {
                // Who folds the same record into states refuses what cannot be read.
                if let Ok(snapshot) = serde_json::from_str(&patched.snapshot) {
                    self.patch(&snapshot);
                }
                None
            }
            _ => None,
        }
    }

    fn pass_time(&mut self, record: &Record) {
        match (&record.fact, self.last_at) {
            (Fact::Started(_) | Fact::Resumed { .. }, _) => self.last_at = Some(record.at),
            // Nobody drives it from here to the next of the two, whatever people say of it meanwhile.
            (Fact::Salvaged { .. }, _) => self.last_at = None,
            (_, None) => {}
            (_, Some(last)) => {
                self.driven_ms = self.driven_ms.saturating_add(record.at.0.saturating_sub(last.0));
                self.last_at = Some(record.at);
            }
        }
    }

    /// Puts what was used in place of what was held.
    fn settle(&mut self, task: TaskIx, usage: Option<&Usage>, class: Option<FailureClass>) -> Option<Usage> {
        let reported = self.reported.remove(&task.0);
        let hold = self.holds.remove(&task.0)?;
        self.held.subtract(hold);
        let known = usage.or(reported.as_ref());
        let used = self.charge(hold, known, class);
        self.spent.add(used);
        let terms = &mut self.tasks[task.index()];
        terms.spent = terms.spent.saturating_add(used.usd);
        if usage.is_some() {
            let experience = &mut self.experience[terms.class];
            experience.used.add(used);
            experience.attempts += 1;
        }
        (known.is_none() && used.usd > Money::ZERO).then(|| reserved(used.usd))
    }

    fn charge(&self, hold: Amount, usage: Option<&Usage>, class: Option<FailureClass>) -> Amount {
        match usage {
            None if class.is_some_and(nothing_was_called) => Amount::default(),
            None => hold,
            Some(usage) => {
                let tokens = tokens_of(usage);
                let unknown = tokens == 0 && usage.cost_is == CostIs::Reserved;
                Amount {
                    usd: usage.cost_usd.and_then(Money::from_usd).unwrap_or(hold.usd),
                    tokens: if unknown { hold.tokens } else { tokens },
                    agents: 0,
                }
            }
        }
    }

    /// A report as it is written down: where the cost is unknown and an amount is held for it, that amount.
    pub fn complete(&self, task: TaskIx, usage: Option<Usage>, class: Option<FailureClass>) -> Option<Usage> {
        let hold = self.holds.get(&task.0).map_or(Money::ZERO, |hold| hold.usd);
        match usage {
            _ if hold == Money::ZERO => usage,
            None if class.is_some_and(nothing_was_called) => None,
            None => Some(reserved(hold)),
            Some(usage) if usage.cost_usd.is_none() => {
                Some(Usage { cost_usd: Some(hold.usd()), cost_is: CostIs::Reserved, ..usage })
            }
            known => known,
        }
    }

    /// What an attempt of the task would hold; `None` when it costs nothing that is counted.
    fn need(&self, task: TaskIx) -> Option<Amount> {
        let terms = self.tasks.get(task.index()).filter(|terms| terms.metered)?;
        let usual = self.experience[terms.class].usual();
        let usd = match (self.left_of(task), terms.estimated_cost) {
            (Some(left), _) => left,
            (None, Some(estimate)) => estimate,
            (None, None) => usual.usd,
        };
        Some(Amount { usd, tokens: terms.estimated_tokens.unwrap_or(usual.tokens), agents: 1 })
    }

    /// What is left of the task's own `cost_budget`, if it has one.
    pub fn left_of(&self, task: TaskIx) -> Option<Money> {
        let terms = self.tasks.get(task.index()).filter(|terms| terms.metered)?;
        Some(terms.cost_budget?.saturating_sub(terms.spent))
    }

    /// Whether a report takes the task over its own `cost_budget`: that, and what all its attempts cost then.
    pub fn passed_by(&self, task: TaskIx, usage: Option<&Usage>) -> Option<(Money, Money)> {
        let terms = self.tasks.get(task.index()).filter(|terms| terms.metered)?;
        let budget = terms.cost_budget?;
        let spent = terms.spent.saturating_add(usage?.cost_usd.and_then(Money::from_usd)?);
        (spent > budget).then_some((budget, spent))
    }

    /// Whether an attempt of the task can be paid for now.
    pub fn verdict(&self, task: TaskIx, now: Time) -> Verdict {
        if self.limits.wall_ms.is_some_and(|limit| self.driven_ms(now) >= limit) {
            return Verdict::Never(Bound::Wall);
        }
        let Some(need) = self.need(task) else { return Verdict::Fits };
        let mut verdict = Verdict::Fits;
        let dimensions = [
            (Bound::Usd, self.limits.usd.map(|m| m.0), self.spent.usd.0, self.held.usd.0, need.usd.0),
            (Bound::Tokens, self.limits.tokens, self.spent.tokens, self.held.tokens, need.tokens),
            (Bound::Agents, self.limits.agents, self.spent.agents, 0, need.agents),
        ];
        for (bound, limit, spent, held, need) in dimensions {
            let Some(limit) = limit else { continue };
            // What is used up is used up, also for an attempt of which nothing is known.
            let over = |used: u64| used >= limit || used.saturating_add(need) > limit;
            if over(spent) {
                return Verdict::Never(bound);
            }
            if over(spent.saturating_add(held)) {
                verdict = Verdict::NotNow(bound);
            }
        }
        verdict
    }

    /// The verdict in words; `None` when the task can start.
    pub fn objection(&self, task: TaskIx, now: Time) -> Option<String> {
        let (bound, when) = match self.verdict(task, now) {
            Verdict::Fits => return None,
            Verdict::NotNow(bound) => (bound, " until running attempts report what they used"),
            Verdict::Never(bound) => (bound, ""),
        };
        let need = self.need(task).unwrap_or_default();
        let (limits, spent, held) = (&self.limits, &self.spent, &self.held);
        let holding = |amount: String, any: bool| if any { format!(", {amount} held") } else { String::new() };
        Some(match bound {
            Bound::Usd => format!(
                "the budget of {} does not pay for it{when}: {} spent{}, {} needed",
                limits.usd.unwrap_or_default(),
                spent.usd,
                holding(held.usd.to_string(), held.usd > Money::ZERO),
                need.usd
            ),
            Bound::Tokens => format!(
                "the budget of {} tokens does not pay for it{when}: {} spent{}, {} needed",
                limits.tokens.unwrap_or_default(),
                spent.tokens,
                holding(held.tokens.to_string(), held.tokens > 0),
                need.tokens
            ),
            Bound::Agents => {
                format!("the budget of {} agent attempts is used up", limits.agents.unwrap_or_default())
            }
            Bound::Wall => format!(
                "the budget of {} s is used up: the run was driven for {} s",
                limits.wall_ms.unwrap_or_default() / 1000,
                self.driven_ms(now) / 1000
            ),
        })
    }

    /// The limits in force.
    pub fn limits(&self) -> &Budget {
        &self.limits
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limits != Budget::default()
    }

    /// What was spent.
    pub fn spent(&self) -> Amount {
        self.spent
    }

    /// What live attempts hold.
    pub fn held(&self) -> Amount {
        self.held
    }

    /// How long engines have driven the run. Time in which nobody did is not counted.
    pub fn driven_ms(&self, now: Time) -> u64 {
        let since = self.last_at.map_or(0, |last| now.0.saturating_sub(last.0));
        self.driven_ms.saturating_add(since)
    }
}

/// All tokens that the provider counted, cached ones too.
pub fn tokens_of(usage: &Usage) -> u64 {
    [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens]
        .into_iter()
        .fold(0, u64::saturating_add)
}

fn reserved(usd: Money) -> Usage {
    Usage { cost_usd: Some(usd.usd()), cost_is: CostIs::Reserved, ..Usage::default() }
}

/// Failures that come before a provider has worked; without a report nothing is charged for them.
fn nothing_was_called(class: FailureClass) -> bool {
    use FailureClass::{Auth, Budget, Input, Permission, Quota, Start};
    matches!(class, Start | Input | Permission | Budget | Auth | Quota)
}

#[cfg(test)]
mod tests;
