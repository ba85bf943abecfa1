//! Everything that is durable, looked at with four pairs of eyes: the kernel's fold, the naive reference, the view for
//! people and a few rules about records themselves. It does not know the engine that wrote it: the same ledger lives on
//! over crashes and owners.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_engine::gates::Asked;
use raddle_engine::ledger::Ledger as Money;
use raddle_engine::outputs::Outputs;
use raddle_engine::view::RunView;
use raddle_kernel::{Attempt, Cause, Command, Gate, Outcome, Run, TaskIx, TaskState, Time};

use super::book::Book;
use super::reference::Reference;
use super::story::Story;
use super::tally::Tally;

/// See the module.
pub(super) struct Ledger {
    story: Rc<Story>,
    run: Run,
    reference: Reference,
    view: Option<RunView>,
    book: Book,
    seq: u64,
    epoch: u32,
    peak: u32,
    /// The record that made each task wait, and the hash of the question where it is a gate.
    asked: BTreeMap<TaskIx, (u64, Option<[u8; 32]>)>,
    /// What was said to a question, by the question's record.
    said: BTreeMap<u64, bool>,
    /// The hash of what a recorded yes lets start.
    approved: BTreeMap<TaskIx, [u8; 32]>,
    /// Tasks that completed in this chapter or were taken over into it: nobody runs them again.
    completed: BTreeSet<TaskIx>,
}

impl Ledger {
    /// An empty one.
    pub(super) fn new(story: Rc<Story>) -> Self {
        Ledger {
            run: Run::new(story.graph()),
            reference: Reference::new(Rc::clone(&story)),
            view: None,
            book: Book::new(Rc::clone(&story)),
            seq: 0,
            epoch: 0,
            peak: 0,
            asked: BTreeMap::new(),
            said: BTreeMap::new(),
            approved: BTreeMap::new(),
            completed: BTreeSet::new(),
            story,
        }
    }

    /// The fold of everything durable.
    pub(super) fn run(&self) -> &Run {
        &self.run
    }

    /// The naive opinion on what was spent.
    pub(super) fn book(&self) -> &Book {
        &self.book
    }

    /// The engine's own ledger, folded from everything durable.
    pub(super) fn money(&self) -> Money {
        self.view.as_ref().map(|view| view.ledger.clone()).unwrap_or_default()
    }

    /// The outcome that is on record.
    pub(super) fn finished(&self) -> Option<Outcome> {
        self.run.finished()
    }

    /// The record that made the task wait.
    pub(super) fn asked_at(&self, task: TaskIx) -> u64 {
        self.asked.get(&task).map_or(0, |asked| asked.0)
    }

    /// The question about the task.
    pub(super) fn asked(&self, task: TaskIx) -> Option<Asked> {
        let (seq, hash) = self.asked.get(&task)?;
        let hash = (*hash)?.iter().map(|byte| format!("{byte:02x}")).collect();
        Some(Asked { seq: *seq, hash })
    }

    /// What was said to the question of that record.
    pub(super) fn said(&self, seq: u64) -> Option<bool> {
        self.said.get(&seq).copied()
    }

    /// The hash of what may start, behind a gate.
    pub(super) fn approved(&self, task: TaskIx) -> Option<[u8; 32]> {
        self.approved.get(&task).copied()
    }

    /// Whether a person has to be asked before the task starts.
    pub(super) fn must_ask(&self, task: TaskIx) -> bool {
        self.reference.must_ask(task)
    }

    /// Questions and answers, by their records alone.
    fn keep_answers(&mut self, record: &Record, tally: &mut Tally) -> Result<(), String> {
        match &record.fact {
            Fact::GateOpened { task, question, .. } => {
                tally.note(if self.asked.contains_key(task) { "asked again" } else { "asked" });
                self.asked.insert(*task, (record.seq, Some(question.hash)));
                self.approved.remove(task);
            }
            Fact::AttemptDoubted { task, .. } | Fact::AttemptFailed { task, retry_at: None, .. } => {
                self.asked.insert(*task, (record.seq, None));
            }
            Fact::TaskRetried { task } => _ = self.approved.remove(task),
            Fact::GateApproved { task, .. } | Fact::GateRejected { task, .. } | Fact::GateExpired { task, .. } => {
                let yes = matches!(record.fact, Fact::GateApproved { .. });
                let Some((seq, hash)) = self.asked.get(task).copied() else { return Err("nobody asked".into()) };
                if self.said.insert(seq, yes).is_some() {
                    return Err("a second answer to one question".into());
                }
                if let Some(hash) = hash.filter(|_| yes) {
                    self.approved.insert(*task, hash);
                }
                tally.note(match (&record.fact, hash) {
                    (Fact::GateApproved { .. }, _) => "gate approved",
                    (Fact::GateExpired { .. }, _) => "gate expired",
                    (_, Some(_)) => "gate rejected",
                    (_, None) => "given up by a person",
                });
            }
            Fact::GateFailed { .. } => tally.note("nothing to ask about"),
            Fact::AttemptStarted { task, .. }
                if self.story.task(*task).asks.gate != Gate::None && !self.approved.contains_key(task) =>
            {
                return Err("it starts, and nobody said yes".into());
            }
            Fact::Started(_) => {
                self.asked.clear();
                self.approved.clear();
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes in a record that has just become durable.
    pub(super) fn enter(&mut self, record: &Record, tally: &mut Tally) -> Result<(), String> {
        self.look_at(record, tally).map_err(|what| format!("record {} ({:?}): {what}", record.seq, record.fact))
    }

    fn look_at(&mut self, record: &Record, tally: &mut Tally) -> Result<(), String> {
        if record.seq != self.seq + 1 {
            return Err(format!("comes after {}", self.seq));
        }
        self.seq = record.seq;
        self.keep_rules(record, tally)?;
        self.keep_answers(record, tally)?;
        if let Fact::AttemptStarted { .. } = record.fact
            && let Some(poor) = self.out_of_money(record.at)
        {
            return Err(format!("it starts although task {} can never be paid for", poor.0));
        }
        self.book.enter(record, &self.run, tally)?;
        if let Fact::AttemptStarted { task, .. } = record.fact
            && let Some(better) = self.reference.passed_over(task)
        {
            return Err(format!("task {} ought to come first", better.0));
        }
        if let Some(event) = record.fact.event() {
            self.reference.tell(event, record.at)?;
            self.run.apply(event).map_err(|e| format!("the kernel does not fold it: {:?}", e.state))?;
            self.run.drain_touched();
        }
        self.run.check().map_err(|e| format!("the fold is not sound: {e}"))?;
        self.reference.compare(&self.run)?;
        self.show(record)
    }

    /// A task whose turn it is and who cannot be paid for, whatever live attempts report: then nothing starts any more.
    fn out_of_money(&self, now: Time) -> Option<TaskIx> {
        let pool = |task: TaskIx| self.story.task(task).spec.pool;
        // Whose turn it is among those that wait for a retry is the engine's matter: it knows when it looked.
        let retries = |t: &TaskIx| matches!(self.run.state(*t), TaskState::Retrying { at, .. } if at <= now);
        let first = |t: &TaskIx| {
            self.run.state(*t) == TaskState::Ready
                && !self.must_ask(*t)
                && self.reference.passed_over(*t).is_none()
                && !self.story.all().any(|other| pool(other) == pool(*t) && retries(&other))
        };
        self.story.all().find(|t| self.book.refuses(*t, false).is_some() && first(t))
    }

    /// What holds of records whatever the states are.
    fn keep_rules(&mut self, record: &Record, tally: &mut Tally) -> Result<(), String> {
        match &record.fact {
            Fact::Started(_) => {
                // What is not taken over is repeated: nothing of it may be in doubt.
                let doubted = |t: &TaskIx| matches!(self.run.state(*t), TaskState::Waiting { cause: Cause::Doubt, .. });
                if let Some(task) = self.story.all().find(doubted) {
                    return Err(format!("a new chapter begins while task {} is in doubt", task.0));
                }
                self.completed.clear();
                self.run = Run::new(self.story.graph());
                self.reference = Reference::new(Rc::clone(&self.story));
            }
            Fact::Resumed { epoch } => {
                if *epoch <= self.epoch {
                    return Err(format!("taken over with an epoch that is not above {}", self.epoch));
                }
                self.epoch = *epoch;
            }
            Fact::AttemptStarted { task, .. } | Fact::GateOpened { task, .. }
                if self.story.task(*task).condition == Some(false) =>
            {
                return Err("it runs or is asked about although its condition is false".into());
            }
            Fact::TaskOmitted { .. } => tally.note("task omitted"),
            Fact::AttemptStarted { task, .. } if self.completed.contains(task) => {
                return Err("a completed task runs again".into());
            }
            Fact::AttemptSucceeded { task, attempt, output, .. } => {
                self.completed.insert(*task);
                self.right_output(*task, *attempt, output)?;
            }
            Fact::TaskAdopted { task, attempt, output } => {
                tally.note("task adopted");
                self.completed.insert(*task);
                self.right_output(*task, *attempt, output)?;
            }
            Fact::GateApproved { task, attempt, output, .. } => {
                let decides = self.story.task(*task).asks.gate == Gate::Decides;
                if decides != output.is_some() {
                    return Err("an output where there is none, or none where there is one".into());
                }
                if let Some(output) = output {
                    self.completed.insert(*task);
                    self.right_output(*task, *attempt, output)?;
                }
            }
            Fact::AttemptAbandoned { .. } => tally.note("attempt abandoned"),
            Fact::AttemptDoubted { .. } => tally.note("attempt doubted"),
            Fact::AttemptFailed { retry_at, exhausted, class, .. } => {
                tally.note_class(*class);
                if retry_at.is_some() {
                    tally.note("failure retried");
                }
                if *exhausted {
                    tally.note("retries exhausted");
                }
            }
            Fact::Finished { outcome } => tally.note_outcome(*outcome),
            _ => {}
        }
        Ok(())
    }

    fn right_output(&self, task: TaskIx, attempt: Attempt, output: &OutputRef) -> Result<(), String> {
        let text = self.story.output(task, attempt);
        let same = match output {
            OutputRef::Inline(inline) => **inline == *text,
            OutputRef::Stored { bytes, .. } => *bytes == text.len() as u64,
        };
        if same { Ok(()) } else { Err("not what the attempt brought".into()) }
    }

    /// The view for people is a fold of its own; it has to say the same.
    fn show(&mut self, record: &Record) -> Result<(), String> {
        match &mut self.view {
            None => self.view = Some(RunView::begin(record).map_err(|e| e.what)?),
            Some(view) => view.apply(record).map_err(|e| e.what)?,
        }
        let Some(view) = &self.view else { return Ok(()) };
        self.book.compare(&view.ledger)?;
        self.peak = self.peak.max(self.run.live());
        if view.peak_parallel != self.peak {
            return Err(format!("the view says {} at once, it was {}", view.peak_parallel, self.peak));
        }
        for task in self.story.all() {
            let (shown, state) = (&view.tasks[task.index()], self.run.state(task));
            if view.run.state(task).name() != state.name() {
                return Err(format!("the view shows task {} as {}", task.0, view.run.state(task).name()));
            }
            if shown.finished_at.is_some() != state.phase().settled() {
                return Err(format!("the view shows task {} settled at {:?}: {state:?}", task.0, shown.finished_at));
            }
            let open = shown.attempts.iter().filter(|a| a.finished_at.is_none()).count();
            if open != usize::from(matches!(state, TaskState::Running { .. })) {
                return Err(format!("the view shows {open} live attempts of task {}: {state:?}", task.0));
            }
        }
        if view.outcome() != self.run.finished().unwrap_or(self.run.outcome()) {
            return Err(format!("the view says {:?}", view.outcome()));
        }
        if !view.run.outstanding().eq(self.run.outstanding()) {
            return Err("the view owes something else".into());
        }
        Ok(())
    }

    /// Compares the budget of a live engine, all of whose decisions are durable, with the fold of what is durable.
    pub(super) fn compare_money(&self, live: &Money) -> Result<(), String> {
        let folded = self.money();
        let same = live.spent() == folded.spent() && live.held() == folded.held() && live.limits() == folded.limits();
        let same = same && self.story.all().all(|t| live.left_of(t) == folded.left_of(t));
        let told = |of: &Money| (of.spent(), of.held(), *of.limits());
        if same {
            Ok(())
        } else {
            Err(format!("the live ledger says {:?}, its records {:?}", told(live), told(&folded)))
        }
    }

    /// Compares the run of a live engine, all of whose decisions are durable, with the fold of what is durable.
    pub(super) fn compare(&self, live: &Run, outputs: &Outputs) -> Result<(), String> {
        live.check().map_err(|e| format!("the live run is not sound: {e}"))?;
        self.reference.compare(live)?;
        let debts: Vec<Command> = live.outstanding().collect();
        if !self.run.outstanding().eq(debts.iter().copied()) {
            return Err(format!("the live run owes {debts:?}, its records something else"));
        }
        for task in self.story.all() {
            if live.state(task) != self.run.state(task) || live.failures(task) != self.run.failures(task) {
                return Err(format!("task {} is {:?}, its records say otherwise", task.0, live.state(task)));
            }
            if matches!(live.state(task), TaskState::Completed { .. }) && outputs.get(task).is_none() {
                return Err(format!("task {} completed and its output is gone", task.0));
            }
        }
        Ok(())
    }
}
