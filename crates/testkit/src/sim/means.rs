//! Money in a story: the budget of the run, what tasks may cost and are said to cost, and what each attempt reports of
//! it: all, nothing, less than it needs, more than it held. It does not know who keeps the books.

use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::snapshot::TaskRecord;
use raddle_engine::{Budget, Money};
use raddle_kernel::{Attempt, TaskIx};

use raddle_sim::chance::{Chance, chance_of};

/// Nano-dollars in a cent.
const CENT: u64 = 10_000_000;

/// See the module.
#[derive(Debug, Clone)]
pub struct Means {
    /// What the run may spend.
    pub budget: Budget,
    /// What is said of each task.
    pub purses: Vec<Purse>,
}

/// What is said of a task before it runs.
#[derive(Debug, Clone, Copy)]
pub struct Purse {
    /// Whether it is an agent; others cost nothing that is counted.
    pub metered: bool,
    /// What all its attempts together may cost.
    pub cost_budget: Option<Money>,
    /// What an attempt is said to cost.
    pub estimated_cost: Option<Money>,
    /// How many tokens an attempt is said to use.
    pub estimated_tokens: Option<u64>,
    /// Its model; attempts of one model tell what others of it will cost.
    pub model: &'static str,
}

impl Means {
    /// Of a seed, for so many tasks; most stories know no money.
    pub(super) fn of(seed: u64, tasks: usize) -> Option<Means> {
        let mut chance = chance_of(&[seed, 4]);
        if !chance.one_in(3) {
            return None;
        }
        let size = tasks as u64;
        let budget = Budget {
            usd: (!chance.one_in(4)).then(|| cents(&mut chance, size * 6)),
            tokens: chance.one_in(3).then(|| 100 + chance.below(size * 300)),
            agents: chance.one_in(4).then(|| 1 + chance.below(size * 2)),
            wall_ms: None,
        };
        let purse = |chance: &mut Chance| Purse {
            metered: !chance.one_in(5),
            cost_budget: chance.one_in(3).then(|| cents(chance, 20)),
            estimated_cost: chance.one_in(3).then(|| cents(chance, 8)),
            estimated_tokens: chance.one_in(3).then(|| chance.below(500)),
            model: chance.pick(&["small", "large"]),
        };
        Some(Means { budget, purses: (0..tasks).map(|_| purse(&mut chance)).collect() })
    }

    /// Writes down what is said of a task.
    pub(super) fn tell_of(&self, task: usize, record: &mut TaskRecord) {
        let purse = &self.purses[task];
        if purse.metered {
            record.kind = "agent".into();
        }
        record.model = Some(purse.model.into());
        record.cost_budget = purse.cost_budget;
        record.estimated_cost = purse.estimated_cost;
        record.estimated_tokens = purse.estimated_tokens;
    }
}

/// Some cents and some odd nano-dollars, never nothing.
fn cents(chance: &mut Chance, below: u64) -> Money {
    Money(1 + CENT * chance.below(below) + chance.below(1000))
}

/// What the attempt reports of what it used.
pub(super) fn usage(seed: u64, task: TaskIx, attempt: Attempt) -> Option<Usage> {
    let mut chance = chance_of(&[seed, 5, u64::from(task.0), u64::from(attempt.0)]);
    let tokens = Usage { input_tokens: chance.below(300), output_tokens: chance.below(60), ..Usage::default() };
    let priced = |cost: Money| Usage { cost_usd: Some(cost.usd()), cost_is: CostIs::Reported, ..tokens };
    match chance.below(8) {
        0 => None,
        1 => Some(Usage::default()),
        2 => Some(tokens),
        3 => Some(priced(cents(&mut chance, 40))),
        _ => Some(priced(cents(&mut chance, 6))),
    }
}

/// Another budget, larger than what was spent, as a person gives it.
pub(super) fn larger(limits: &Budget, usd: Money, tokens: u64, agents: u64, by: u64) -> Budget {
    Budget {
        usd: limits.usd.map(|limit| limit.max(usd).saturating_add(Money(CENT * by))),
        tokens: limits.tokens.map(|limit| limit.max(tokens) + 10 * by),
        agents: limits.agents.map(|limit| limit.max(agents) + by),
        wall_ms: None,
    }
}
