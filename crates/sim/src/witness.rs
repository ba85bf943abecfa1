//! Everything that became durable, looked at record by record: does it fold, and does it keep what is promised of every
//! run? It outlives engines, and does not know how they decide.

use raddle_engine::Money;
use raddle_engine::attempt::Usage;
use raddle_engine::fact::{Fact, Record};
use raddle_kernel::{FailureClass, Graph, OnDoubt, Outcome, Phase, Run, Strength, TaskIx};

use crate::faults::UNDOING;
use crate::subject::Subject;
use crate::words;
use crate::world::World;

/// Runs of so many tasks are checked after every record, of twice as many after every other.
const CHECKED_ALWAYS: u64 = 200;

type Checked = Result<(), (&'static str, String)>;

/// See the module.
pub(crate) struct Witness {
    run: Run,
    seq: u64,
    /// By task; nothing is known of tasks beyond the end.
    seen: Vec<Seen>,
    spent: Spent,
    /// Somebody decided something, or nobody could: the run need not settle as another one would.
    pub(crate) asked: bool,
}

/// What was seen of a task.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// Ends that were heard of.
    ends: u32,
    /// Ends of attempts to undo it.
    undo_ends: u32,
    /// The record that completed it.
    completed: u64,
    /// Nobody knows how far its last attempt came, and no person has said anything since.
    unknown: bool,
    /// How it has settled.
    settled: Option<Phase>,
    /// How it had settled before it was opened again.
    reopened: Option<Phase>,
}

/// What was reported so far, added up in the plainest way.
#[derive(Default)]
struct Spent {
    usd: Money,
    tokens: u64,
    agents: u64,
}

impl Witness {
    pub(crate) fn new(subject: &Subject) -> Self {
        let run = Run::new(subject.graph());
        Witness { run, seq: 0, seen: Vec::new(), spent: Spent::default(), asked: false }
    }

    fn graph(&self) -> &Graph {
        self.run.graph()
    }

    fn seen(&self, task: TaskIx) -> Seen {
        self.seen.get(task.index()).copied().unwrap_or_default()
    }

    fn see(&mut self, task: TaskIx) -> &mut Seen {
        if self.seen.len() <= task.index() {
            self.seen.resize(task.index() + 1, Seen::default());
        }
        &mut self.seen[task.index()]
    }

    /// The fold of everything durable.
    pub(crate) fn run(&self) -> &Run {
        &self.run
    }

    /// The number of the turn that the task's next attempt is, from 1.
    pub(crate) fn turn(&self, task: TaskIx) -> u32 {
        self.seen(task).ends + 1
    }

    /// The number of the turn that the next attempt to undo the task is.
    pub(crate) fn undo_turn(&self, task: TaskIx) -> u32 {
        UNDOING + 1 + self.seen(task).undo_ends
    }

    /// Takes in a record that has just become durable.
    pub(crate) fn enter(&mut self, world: &World<'_>, record: &Record) -> Checked {
        if record.seq != self.seq + 1 {
            return Err(("records have no gaps", format!("record {} comes after {}", record.seq, self.seq)));
        }
        self.seq = record.seq;
        if world.tells()
            && let Some(words) = words::of(record, world.subject, self)
        {
            world.say_at(record.at.0, words);
        }
        if matches!(record.fact, Fact::Resumed { .. }) {
            self.lose_live();
        }
        self.before(world.subject, record)?;
        let said = match record.fact {
            Fact::Finished { outcome } => Some((outcome, self.run.outcome())),
            _ => None,
        };
        if let Some(event) = record.fact.event() {
            let illegal = |e| ("records fold", format!("record {}: {e:?}", record.seq));
            self.run.apply(event).map_err(illegal)?;
            self.notice_reopened();
        }
        // The check looks at every task: in large runs not after every record.
        if record.seq.is_multiple_of(1 + self.graph().len() as u64 / CHECKED_ALWAYS) || said.is_some() {
            self.run.check().map_err(|what| ("every prefix is sound", what.to_owned()))?;
        }
        if let Some((said, stands)) = said {
            self.outcome(said, stands)?;
        }
        self.after(world.subject, record);
        Ok(())
    }

    /// The owner is gone: nobody knows how far its attempts came.
    fn lose_live(&mut self) {
        for task in (0..self.graph().len() as u32).map(TaskIx) {
            if self.run.state(task).phase() == Phase::Running {
                self.see(task).unknown = true;
            }
        }
    }

    /// A person may have something tried again on which others no longer wait: they were let go when it had settled.
    fn notice_reopened(&mut self) {
        let touched: Vec<TaskIx> = self.run.drain_touched().collect();
        for task in touched {
            let phase = self.run.state(task).phase();
            let seen = self.see(task);
            if phase.settled() {
                (seen.settled, seen.reopened) = (Some(phase), None);
            } else if seen.settled.is_some() {
                seen.reopened = seen.settled.take();
            }
        }
    }

    /// What must hold of the states in which a record is written.
    fn before(&self, subject: &Subject, record: &Record) -> Checked {
        match &record.fact {
            Fact::AttemptStarted { task, .. } => self.start(subject, *task),
            Fact::CompensationStarted { task, .. } => self.undo(subject, *task),
            Fact::AttemptAbandoned { task, .. } if self.needs_a_word(*task) => {
                Err(("nothing effectful is repeated unasked", format!("{} goes back to the queue", id(subject, *task))))
            }
            _ => Ok(()),
        }
    }

    fn start(&self, subject: &Subject, task: TaskIx) -> Checked {
        let name = id(subject, task);
        for (dependency, strength) in self.graph().predecessors(task) {
            let phase = self.run.state(dependency).phase();
            let serves = |phase: Phase| match strength {
                Strength::Hard => matches!(phase, Phase::Completed | Phase::FailedSafe | Phase::Skipped),
                Strength::Soft => phase.settled(),
            };
            let serves = serves(phase) || self.seen(dependency).reopened.is_some_and(serves);
            if !serves {
                let what = format!("{name} starts, and {} is {phase:?}", id(subject, dependency));
                return Err(("nothing starts before its dependencies", what));
            }
        }
        let lower = |t: &TaskIx| self.graph().level(*t) < self.graph().level(task);
        let open = |t: &TaskIx| !self.run.state(*t).phase().settled() && self.seen(*t).reopened.is_none();
        if self.graph().in_waves()
            && let Some(other) = (0..self.graph().len() as u32).map(TaskIx).filter(lower).find(open)
        {
            let what = format!("{name} starts before {} of a level before", id(subject, other));
            return Err(("a wave waits for the one before", what));
        }
        if self.run.state(task).phase() == Phase::Completed {
            return Err(("what is completed is never started again", name.to_owned()));
        }
        if self.seen(task).unknown && self.needs_a_word(task) {
            let what = format!("{name} starts again, and nobody knows how far it came");
            return Err(("nothing effectful is repeated unasked", what));
        }
        let budget = subject.workflow.budget;
        let Spent { usd, tokens, agents } = &self.spent;
        let over = budget.usd.is_some_and(|limit| *usd >= limit)
            || budget.tokens.is_some_and(|limit| *tokens >= limit)
            || budget.agents.is_some_and(|limit| *agents >= limit);
        if subject.is_metered(task.0) && over && !self.asked {
            return Err((
                "the budget is kept",
                format!("{name} starts when {usd}, {tokens} tokens, {agents} agents are spent"),
            ));
        }
        Ok(())
    }

    /// What was done last in a saga is undone first.
    fn undo(&self, subject: &Subject, task: TaskIx) -> Checked {
        let completed = self.seen(task).completed;
        let waits = |(other, scope): (u32, &u32)| {
            let after = self.seen(TaskIx(other)).completed > completed;
            let done = self.run.state(TaskIx(other)).phase();
            let stands = done == Phase::Completed || done.is_owed_undoing();
            after && stands && *scope == subject.scopes[task.index()] && subject.task(other).compensate.is_some()
        };
        match (0u32..).zip(&subject.scopes).find(|entry| waits(*entry)) {
            Some((other, _)) => {
                let what = format!("{} is undone before {}", id(subject, task), id(subject, TaskIx(other)));
                Err(("what was done last is undone first", what))
            }
            None => Ok(()),
        }
    }

    fn needs_a_word(&self, task: TaskIx) -> bool {
        self.graph().side_effects(task) && self.graph().on_doubt(task) != OnDoubt::Rerun
    }

    /// What is said of the whole must follow from the parts.
    fn outcome(&self, said: Outcome, stands: Outcome) -> Checked {
        let promise = "the outcome follows from the states";
        if said == Outcome::BudgetExhausted {
            return match self.run.live() {
                0 => Ok(()),
                n => Err((promise, format!("out of budget while {n} attempts are alive"))),
            };
        }
        if said != stands {
            return Err((promise, format!("it says {}, the states say {}", said.name(), stands.name())));
        }
        let well = |phase| matches!(phase, Phase::Completed | Phase::Skipped | Phase::Omitted | Phase::Removed);
        let all_well = (0..self.graph().len() as u32).all(|n| well(self.run.state(TaskIx(n)).phase()));
        if said == Outcome::Succeeded && !all_well {
            return Err((promise, "it says succeeded, and not every task is completed or skipped".into()));
        }
        Ok(())
    }

    fn after(&mut self, subject: &Subject, record: &Record) {
        match &record.fact {
            Fact::AttemptStarted { task, .. } => self.see(*task).unknown = false,
            Fact::AttemptSucceeded { task, usage, .. } => {
                self.end(*task, usage.as_deref());
                self.see(*task).completed = record.seq;
            }
            Fact::CompensationSucceeded { task, .. } => {
                self.see(*task).undo_ends += 1;
                // Whatever it had done is undone.
                self.see(*task).unknown = false;
            }
            Fact::CompensationFailed { task, .. } => self.see(*task).undo_ends += 1,
            Fact::AttemptFailed { task, usage, class, .. } => {
                self.end(*task, usage.as_deref());
                // Undone in doubt, it counts as done just now.
                if self.run.undoes(*task) {
                    self.see(*task).completed = record.seq;
                }
                if *class == FailureClass::Lost {
                    self.asked = true;
                }
            }
            Fact::AttemptDoubted { .. }
            | Fact::Cancelled
            | Fact::BudgetSet { .. }
            | Fact::GateRejected { .. }
            | Fact::GateExpired { .. } => self.asked = true,
            // Nobody had to say so.
            Fact::TaskSkipped { task } if subject.stands_in_for(task.0).is_some() => {}
            Fact::TaskRetried { task } | Fact::TaskSkipped { task } => {
                self.see(*task).unknown = false;
                // A word on a member of a saga that is undone is a word on all of it.
                let graph = std::sync::Arc::clone(self.run.graph());
                graph.members(graph.scope(*task)).for_each(|member| self.see(member).unknown = false);
                self.asked = true;
            }
            _ => {}
        }
    }

    fn end(&mut self, task: TaskIx, usage: Option<&Usage>) {
        self.see(task).ends += 1;
        let Some(usage) = usage else { return };
        self.spent.agents += 1;
        self.spent.usd = self.spent.usd.saturating_add(usage.cost_usd.and_then(Money::from_usd).unwrap_or_default());
        self.spent.tokens +=
            usage.input_tokens + usage.output_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    }
}

fn id(subject: &Subject, task: TaskIx) -> &str {
    &subject.task(task.0).id
}
