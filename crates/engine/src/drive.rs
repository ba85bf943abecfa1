//! The loop that drives one run: take what came, let the kernel decide, make it durable, then tell and act. It does
//! not know stores, processes or protocols, and it has no special path for recovery: a restart folds the records,
//! claims that unheld attempts are lost, and goes on.

mod change;
mod fallbacks;
mod gates;
mod pause;
mod undo;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use raddle_kernel::{Attempt, Command, Event, FailureClass, Input, Outcome, Refusal, Run, TaskIx, Time};
use raddle_model::money::Money;
use raddle_model::workflow::Budget;

use crate::admission::Admission;
use crate::attempt::{
    AttemptKey, AttemptSpec, ControlRequest, CostIs, Ended, Failure, RawOutput, Report, Session, StopCause, StopKind,
    Usage,
};
use crate::fact::{Chapter, Fact, OutputRef, Record};
use crate::gates::Gates;
use crate::ledger::{Ledger, tokens_of};
use crate::outputs::Outputs;
use crate::ports::{Clock, Dispatcher, Journal, JournalError};
use crate::program::{Context, Program};

pub use pause::{OnStorageFault, StorageNews};

/// Between TERM and KILL.
pub const GRACE: Duration = Duration::from_secs(5);
/// At most so many attempts start in one batch, which bounds what a turn holds in memory.
const STARTS_PER_TURN: usize = 4096;
/// How often an adaptive run looks at the machine's pressure.
const PRESSURE_EVERY_MS: u64 = 500;

/// Reads what a run publishes. Everything it sees is durable already.
pub trait Observer {
    /// New records, and the run after them.
    fn published(&mut self, records: &[Record], run: &Run, outputs: &Outputs);
    /// A line of a live attempt; not recorded anywhere.
    fn progress(&mut self, _key: AttemptKey, _line: &str) {}
    /// Something has become of the store; not recorded until it can be.
    fn storage(&mut self, _news: StorageNews<'_>) {}
    /// A moment in which nothing is waiting; buffers may be flushed.
    fn idle(&mut self) {}
    /// When `idle` wants to be called again at the latest.
    fn wake_at(&self) -> Option<Time> {
        None
    }
}

/// Observes nothing.
impl Observer for () {
    fn published(&mut self, _records: &[Record], _run: &Run, _outputs: &Outputs) {}
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything has settled.
    Finished(Outcome),
    /// Only a person can let it go on.
    Waiting,
    /// It was told to stop; the run can be resumed.
    Stopped(StopKind),
}

/// Why a run cannot go on in this process.
#[derive(Debug)]
pub enum EngineError {
    /// The journal failed; the run must be loaded again.
    Journal(JournalError),
    /// Stored records cannot follow each other.
    Illegal {
        /// The record.
        seq: u64,
        /// The event and the state it met.
        what: String,
    },
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Journal(e) => e.fmt(f),
            Self::Illegal { seq, what } => write!(f, "record {seq} cannot follow: {what}"),
        }
    }
}

impl std::error::Error for EngineError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Journal(e) => Some(e),
            Self::Illegal { .. } => None,
        }
    }
}

impl From<JournalError> for EngineError {
    fn from(e: JournalError) -> Self {
        EngineError::Journal(e)
    }
}

/// One run and everything it needs.
pub struct Engine<'a, P, D, J, C> {
    run: Run,
    outputs: Outputs,
    program: &'a mut P,
    dispatcher: &'a mut D,
    journal: &'a mut J,
    clock: &'a mut C,
    admission: Admission,
    observers: Vec<&'a mut dyn Observer>,
    /// Attempt of each task that the dispatcher holds; 0 is none.
    held: Vec<u32>,
    held_count: usize,
    deadlines: BinaryHeap<Reverse<(Time, TaskIx, u32)>>,
    /// Decided, not yet durable.
    batch: Vec<Record>,
    /// Reports of our own making (an attempt whose inputs cannot be resolved).
    own_reports: Vec<Report>,
    /// Live attempts to which something was refused.
    denied: BTreeSet<AttemptKey>,
    /// Tasks with conditions that the program has not been asked about yet.
    conditional: Vec<TaskIx>,
    /// What people were asked in this chapter, and what they said.
    gates: Gates,
    /// What tasks behind a gate are about to start, found to be what was approved.
    prepared: BTreeMap<TaskIx, Result<AttemptSpec, Failure>>,
    /// What became of requests whose senders have not been told yet.
    heard: Vec<(u64, Result<(), Vec<String>>)>,
    /// Waiting for people is no reason to end.
    stays: bool,
    /// Who says yes to every gate at once.
    approves_as: Option<String>,
    stopping: Option<StopKind>,
    next_pressure: Time,
    seq: u64,
    events: Vec<Event>,
    on_storage_fault: OnStorageFault,
    /// There while nothing can be made durable.
    pause: Option<pause::Pause>,
    /// A report that was read and whose output could not be stored.
    unstored: Option<Settled>,
}

/// A report that has been read and priced.
struct Settled {
    key: AttemptKey,
    result: Result<Arc<str>, Failure>,
    usage: Option<Box<Usage>>,
    session: Option<String>,
}

impl<'a, P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'a, P, D, J, C> {
    /// An engine over a journal that may hold records already. They are folded by [`Engine::load`].
    pub fn new(
        program: &'a mut P,
        dispatcher: &'a mut D,
        journal: &'a mut J,
        clock: &'a mut C,
        admission: Admission,
    ) -> Self {
        let graph = std::sync::Arc::clone(program.graph());
        let tasks = graph.len();
        Engine {
            run: Run::new(graph),
            outputs: Outputs::new(tasks),
            admission,
            observers: Vec::new(),
            held: vec![0; tasks],
            held_count: 0,
            deadlines: BinaryHeap::new(),
            batch: Vec::new(),
            own_reports: Vec::new(),
            denied: BTreeSet::new(),
            conditional: program.conditional(),
            gates: Gates::default(),
            prepared: BTreeMap::new(),
            heard: Vec::new(),
            stays: false,
            approves_as: None,
            stopping: None,
            next_pressure: Time(0),
            seq: journal.last_seq(),
            events: Vec::new(),
            on_storage_fault: OnStorageFault::Pause,
            pause: None,
            unstored: None,
            program,
            dispatcher,
            journal,
            clock,
        }
    }

    /// Adds a reader of what is published.
    pub fn observe(&mut self, observer: &'a mut dyn Observer) {
        self.observers.push(observer);
    }

    /// Folds records that are durable already. Only the last chapter counts: the ones before it speak of another
    /// graph, and what is still true of them was taken over into it.
    pub fn load(&mut self, mut records: Vec<Record>) -> Result<(), EngineError> {
        let begin = records.iter().rposition(|record| matches!(record.fact, Fact::Started(_))).unwrap_or(0);
        let patched = records[begin..].iter().any(|record| matches!(record.fact, Fact::Patched(_)));
        if patched {
            self.run = Run::new(change::first_graph(&records[begin])?);
        }
        for record in records.drain(begin..) {
            if let Fact::Patched(patched) = &record.fact {
                crate::patch::fold(&mut self.run, patched)
                    .map_err(|what| EngineError::Illegal { seq: record.seq, what })?;
            }
            if let Some(event) = record.fact.event() {
                self.run.apply(event).map_err(|illegal| EngineError::Illegal {
                    seq: record.seq,
                    what: format!("{:?} in state {:?}", illegal.event, illegal.state),
                })?;
            }
            self.outputs.apply(&record.fact);
            self.gates.apply(&record);
        }
        if patched {
            self.come_back_to_the_program()?;
        }
        // What was durable before is nobody's news; `take_over` says what becomes of live attempts.
        self.run.drain_touched();
        self.run.check().map_err(|what| EngineError::Illegal { seq: self.seq, what: what.to_owned() })
    }

    /// The run as it stands.
    pub fn run_state(&self) -> &Run {
        &self.run
    }

    /// The outputs as they stand.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The budget as it stands, with all that is decided.
    pub fn budget(&self) -> &Ledger {
        self.admission.ledger()
    }

    /// Begins a new run, or a new chapter of one.
    pub fn begin(&mut self, chapter: Chapter) {
        self.run = Run::new(std::sync::Arc::clone(self.program.graph()));
        self.outputs = Outputs::new(self.held.len());
        self.input(Input::Begin, |_| Fact::Started(Box::new(chapter.clone()))).expect("a new run can begin");
    }

    /// Takes over a completed task of the chapter before.
    pub fn adopt(&mut self, task: TaskIx, attempt: Attempt, output: OutputRef) -> Result<(), Refusal> {
        self.input(Input::Adopt { task, attempt }, |_| Fact::TaskAdopted { task, attempt, output: output.clone() })
    }

    /// Conversations of chapters before this one that tasks may continue. Called after [`Engine::load`] or
    /// [`Engine::begin`].
    pub fn keep_sessions(&mut self, sessions: impl IntoIterator<Item = (TaskIx, Session)>) {
        sessions.into_iter().for_each(|(task, session)| self.outputs.keep_session(task, session));
    }

    /// Claims of a new owner: attempts that nobody holds any more are lost.
    pub fn take_over(&mut self) {
        self.come_back();
        self.settle_lost();
    }

    /// Says what becomes of attempts that nobody holds any more, for a run that is not driven on yet.
    pub fn settle_lost(&mut self) {
        let live: Vec<Command> = self.run.outstanding().collect();
        for command in live {
            let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
            let message = "the engine that ran it ended before it did; nobody knows how far it came";
            self.input(Input::Lost { task, attempt }, |event| plain_fact(event, message)).expect("it is live");
        }
    }

    /// Somebody has the run again after a time in which nobody drove it, which counts for nothing.
    pub fn come_back(&mut self) {
        let epoch = self.journal.epoch();
        self.push(Fact::Resumed { epoch });
    }

    /// A person's word on a task. With a list's task its failed items are tried again, with an item its list's task.
    pub fn retry(&mut self, task: TaskIx) -> Result<(), Refusal> {
        self.retry_with_items(task)
    }

    /// A person's word on a task.
    pub fn skip(&mut self, task: TaskIx) -> Result<(), Refusal> {
        self.input(Input::Skip { task }, |_| Fact::TaskSkipped { task })
    }

    /// A person gives the run another budget; `budget` is the whole of it. It goes on if it had ended for want of one.
    pub fn set_budget(&mut self, budget: Budget) -> Result<(), Refusal> {
        self.input(Input::Reopen, |_| Fact::BudgetSet { budget })
    }

    /// Makes durable what was decided and acts on none of it: for a run that nobody drives.
    pub fn write_down(&mut self) -> Result<(), EngineError> {
        self.commit()
    }

    /// A person's word on the run.
    pub fn cancel(&mut self) -> Result<(), Refusal> {
        self.input(Input::Cancel, |_| Fact::Cancelled)
    }

    /// Runs until everything has settled, only a person can help, or it is told to stop.
    pub fn drive(&mut self) -> Result<Ending, EngineError> {
        let mut reports = Vec::new();
        loop {
            if let Some(ending) = self.turn(&mut reports).or_else(|error| self.pause_for(error))? {
                return Ok(ending);
            }
            reports.append(&mut self.own_reports);
            let until = if reports.is_empty() { self.next_wake() } else { Some(self.clock.now()) };
            self.dispatcher.wait(until, &mut reports);
        }
    }

    /// One turn: handle, admit, append, publish, act. `Some` when the loop is over.
    fn turn(&mut self, reports: &mut Vec<Report>) -> Result<Option<Ending>, EngineError> {
        if self.pause.is_some() && !self.turn_paused(reports)? {
            return self.ending_paused();
        }
        self.take_all(reports)?;
        let now = self.clock.now();
        self.input(Input::Tick, |event| plain_fact(event, "")).ok();
        self.ask_program(now);
        self.feel_pressure(now);
        self.skip_unneeded();
        let more = self.ask(now) | self.admit(now);
        self.end_if_used_up(now);
        self.commit()?;
        self.confirm();
        self.reconcile(now);
        self.enforce_deadlines(now);
        if more || !self.own_reports.is_empty() {
            return Ok(None);
        }
        self.observers.iter_mut().for_each(|o| o.idle());
        Ok(self.ending())
    }

    fn ending(&self) -> Option<Ending> {
        if self.held_count > 0 {
            return None;
        }
        match (self.stopping, self.run.finished(), self.run.outcome()) {
            (_, Some(outcome), _) => Some(Ending::Finished(outcome)),
            (Some(kind), None, _) => Some(Ending::Stopped(kind)),
            (None, None, Outcome::Waiting) if !self.waits_for_people() => Some(Ending::Waiting),
            _ => None,
        }
    }

    fn next_wake(&self) -> Option<Time> {
        let deadline = self.deadlines.peek().map(|Reverse((at, ..))| *at);
        let pressure = (self.admission.wants_pressure() && self.held_count > 0).then_some(self.next_pressure);
        let observers = self.observers.iter().filter_map(|o| o.wake_at()).min();
        if let Some(next_try) = self.next_try() {
            return [Some(next_try), deadline, observers].into_iter().flatten().min();
        }
        [deadline, self.run.next_due(), pressure, observers].into_iter().flatten().min()
    }

    // ---- taking ----

    /// Takes report after report; what has not been taken when the store fails stays.
    fn take_all(&mut self, reports: &mut Vec<Report>) -> Result<(), EngineError> {
        if let Some(settled) = self.unstored.take() {
            self.settle(settled)?;
        }
        reports.reverse();
        while let Some(report) = reports.pop() {
            if let Err(error) = self.take(report) {
                reports.reverse();
                return Err(error);
            }
        }
        Ok(())
    }

    fn take(&mut self, report: Report) -> Result<(), EngineError> {
        match report {
            Report::Progress { key, line } => self.observers.iter_mut().for_each(|o| o.progress(key, &line)),
            Report::Denied { key, action, resource, rule } => {
                let (action, resource, rule) = (action.into(), resource.into(), rule.into());
                self.denied.insert(key);
                self.push(Fact::Denied { task: key.task, action, resource, rule });
            }
            Report::Model { key, model, reason } => self.model_chosen(key, model, reason),
            Report::Control(ControlRequest::Stop(kind)) => self.stop(kind),
            Report::Control(ControlRequest::Answer { ticket, answer }) => self.hear(ticket, &answer),
            Report::Control(ControlRequest::Patch { ticket, request }) => self.hear_patch(ticket, &request),
            Report::Ended(ended) => return self.ended(ended),
        }
        Ok(())
    }

    /// Another model performs a live attempt; what it uses is priced by that model.
    fn model_chosen(&mut self, key: AttemptKey, model: String, reason: String) {
        let AttemptKey { task, attempt } = key;
        if self.held.get(task.index()).is_some_and(|held| *held == attempt.0 && *held != 0) {
            self.program.model_chosen(key, &model);
            self.push(Fact::ModelChosen { task, attempt, model: model.into(), reason: reason.into() });
        }
    }

    fn stop(&mut self, kind: StopKind) {
        self.admission.close();
        if kind == StopKind::Cancel {
            // Reconciliation ends what is live, since the run now owes stops. A finished run refuses, rightly.
            self.cancel().ok();
            self.give_up_unheld();
        } else if self.stopping.is_none() {
            let live: Vec<Command> = self.run.outstanding().collect();
            for command in live {
                let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
                self.dispatcher.stop(AttemptKey { task, attempt }, StopCause::Cancelled, GRACE);
            }
        }
        self.stopping = Some(kind);
    }

    /// Attempts that an earlier request to stop has ended already: nobody will report on them any more.
    fn give_up_unheld(&mut self) {
        let live: Vec<Command> = self.run.outstanding().collect();
        for command in live {
            let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
            if self.held[task.index()] == 0 {
                self.input(Input::Lost { task, attempt }, |event| plain_fact(event, "the run was cancelled")).ok();
            }
        }
    }

    fn ended(&mut self, ended: Ended) -> Result<(), EngineError> {
        let Ended { key: AttemptKey { task, attempt }, epoch, result, usage, session } = ended;
        // 0 stands for no attempt; nobody's report may be taken for that.
        let held = self.held.get(task.index()).is_some_and(|held| *held == attempt.0 && *held != 0);
        if !held || epoch != self.journal.epoch() {
            // Late, doubled or from an engine before: its run is not ours to change.
            return Ok(());
        }
        self.held[task.index()] = 0;
        self.held_count -= 1;
        if self.run.undoes(task) {
            self.undo_ended(task, attempt, result);
            return Ok(());
        }
        let usage = usage.map(|mut usage| {
            self.program.price(task, &mut usage);
            usage
        });
        let usage = self.admission.ledger().complete(task, usage, result.as_ref().err().map(|failure| failure.class));
        let result = match self.admission.ledger().passed_by(task, usage.as_ref()) {
            Some((budget, spent)) => Err(over_budget(budget, spent, result.err())),
            None => result.and_then(|raw| self.program.read_output(task, raw)),
        };
        let usage = usage.map(Box::new);
        self.settle(Settled { key: AttemptKey { task, attempt }, result, usage, session })
    }

    fn settle(&mut self, settled: Settled) -> Result<(), EngineError> {
        let output = match &settled.result {
            Ok(text) => match self.journal.store(Arc::clone(text)) {
                Ok(output) => Some(output),
                Err(error) => {
                    self.unstored = Some(settled);
                    return Err(error.into());
                }
            },
            Err(_) => None,
        };
        let Settled { key: AttemptKey { task, attempt }, result, usage, session } = settled;
        match result.map(|_| output.expect("what ended well has been stored")) {
            Ok(output) => {
                self.denied.remove(&AttemptKey { task, attempt });
                let session: Option<Box<str>> = session.map(Into::into);
                let fact = |event: Event| match event {
                    Event::AttemptSucceeded { task, attempt } => Fact::AttemptSucceeded {
                        task,
                        attempt,
                        output: output.clone(),
                        usage: usage.clone(),
                        session: session.clone(),
                    },
                    other => plain_fact(other, ""),
                };
                self.input(Input::Succeeded { task, attempt }, fact).ok();
            }
            Err(failure) => self.failed(task, attempt, failure, usage),
        }
        Ok(())
    }

    fn failed(&mut self, task: TaskIx, attempt: Attempt, failure: Failure, usage: Option<Box<Usage>>) {
        let Failure { class, lasting, .. } = failure;
        if self.stopping.is_some() && !self.run.is_cancelled() && class == FailureClass::Cancelled {
            // We ended it to leave; how far it came nobody knows, so it stays live in the journal and the next owner
            // treats it as lost, by the task's own word on doubt. What it is known to have used is not forgotten.
            if let Some(usage) = usage.filter(|usage| usage.cost_is != CostIs::Reserved || tokens_of(usage) > 0) {
                self.push(Fact::UsageReported { task, attempt, usage });
            }
            return;
        }
        // What was refused to a live attempt has been told by whoever refused it.
        let is_told = self.denied.remove(&AttemptKey { task, attempt });
        if class == raddle_kernel::FailureClass::Permission && !is_told {
            let resource = format!("attempt {}", attempt.0).into();
            self.push(Fact::Denied { task, action: "start".into(), resource, rule: failure.message.as_str().into() });
        }
        let policy = *self.run.graph().retry(task);
        let allowed = policy.max > 0 || policy.rounds > 1;
        let message = self.replace_failed(task, &failure);
        let noise = self.clock.noise();
        let fact = |event: Event| match event {
            Event::AttemptFailed { task, attempt, class, retry_at } => Fact::AttemptFailed {
                task,
                attempt,
                class,
                message: message.as_str().into(),
                retry_at,
                usage: usage.clone(),
                exhausted: allowed && retry_at.is_none(),
            },
            other => plain_fact(other, ""),
        };
        self.input(Input::Failed { task, attempt, class, noise, lasting }, fact).ok();
    }

    /// Puts an input to the kernel and dresses the events that follow as facts of the batch.
    fn input(&mut self, input: Input, fact: impl Fn(Event) -> Fact) -> Result<(), Refusal> {
        let now = self.clock.now();
        let mut events = std::mem::take(&mut self.events);
        let result = self.run.handle(input, now, &mut events);
        for event in events.drain(..) {
            match event {
                Event::RunFinished { outcome } => self.push(Fact::Finished { outcome }),
                event => self.push(fact(event)),
            }
        }
        self.events = events;
        result
    }

    fn push(&mut self, fact: Fact) {
        self.outputs.apply(&fact);
        self.seq += 1;
        let record = Record { seq: self.seq, at: self.clock.now(), fact };
        self.admission.ledger_mut().apply(&record);
        self.gates.apply(&record);
        self.batch.push(record);
    }

    // ---- deciding who starts ----

    /// Admits what may start; true when there is more than one turn may take.
    fn admit(&mut self, now: Time) -> bool {
        if !self.run.has_begun() || self.run.finished().is_some() {
            return false;
        }
        for _ in 0..STARTS_PER_TURN {
            let Some(task) = self.admission.next(&self.run, now) else { return false };
            if !self.is_as_approved(task, now) {
                continue;
            }
            self.input(Input::Admit { task }, |event| plain_fact(event, "")).expect("a ready task can start");
            self.say_other_model(task);
        }
        true
    }

    /// Records who performs an attempt of a later round, with the attempt's start.
    fn say_other_model(&mut self, task: TaskIx) {
        let raddle_kernel::TaskState::Running { attempt } = self.run.state(task) else { return };
        if self.run.undoes(task) {
            return;
        }
        let other = self.program.other_model(task, self.run.failures(task));
        if let Some((model, reason)) = other.map(|(model, reason)| (model.into(), reason.into())) {
            self.push(Fact::ModelChosen { task, attempt, model, reason });
        }
    }

    /// Nothing is alive and the budget lets nothing more start: the run is over for now. What never started stays
    /// pending, for a larger budget.
    fn end_if_used_up(&mut self, now: Time) {
        let idle = self.run.has_begun() && self.run.live() == 0 && self.stopping.is_none();
        if idle && self.run.finished().is_none() && self.admission.is_used_up(&self.run, now) {
            self.input(Input::Exhaust, |event| plain_fact(event, "")).ok();
        }
    }

    fn feel_pressure(&mut self, now: Time) {
        if self.admission.wants_pressure() && now >= self.next_pressure {
            self.next_pressure = Time(now.0 + PRESSURE_EVERY_MS);
            if let Some(pressure) = self.dispatcher.pressure() {
                self.admission.feel(pressure);
            }
        }
    }

    // ---- making durable, telling, acting ----

    fn commit(&mut self) -> Result<(), EngineError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.journal.append(&self.batch)?;
        self.publish();
        Ok(())
    }

    /// Tells of a batch that is durable.
    fn publish(&mut self) {
        if !self.batch.is_empty() {
            self.observers.iter_mut().for_each(|o| o.published(&self.batch, &self.run, &self.outputs));
            self.batch.clear();
        }
    }

    /// Makes what the dispatcher holds equal to what the run owes, for every task that changed.
    fn reconcile(&mut self, now: Time) {
        let touched: Vec<TaskIx> = self.run.drain_touched().collect();
        for task in touched {
            match self.run.owed(task) {
                // What was decided before a pause is not begun by an engine that is leaving; the next one knows no more
                // of it than of what it finds alive.
                Some(Command::Run { attempt, .. }) if self.held[task.index()] == 0 && self.stopping.is_none() => {
                    self.start(task, attempt, now);
                }
                Some(Command::Stop { attempt, .. }) if self.held[task.index()] == attempt.0 => {
                    self.dispatcher.stop(AttemptKey { task, attempt }, StopCause::Cancelled, GRACE);
                }
                _ => {}
            }
        }
        if self.run.is_cancelled() {
            self.stop_live();
        }
    }

    /// A cancelled run owes stops for attempts whose own state did not change.
    fn stop_live(&mut self) {
        let live: Vec<Command> = self.run.outstanding().collect();
        for command in live {
            if let Command::Stop { task, attempt } = command
                && self.held[task.index()] == attempt.0
            {
                self.dispatcher.stop(AttemptKey { task, attempt }, StopCause::Cancelled, GRACE);
            }
        }
    }

    fn start(&mut self, task: TaskIx, attempt: Attempt, now: Time) {
        let key = AttemptKey { task, attempt };
        let epoch = self.journal.epoch();
        self.held[task.index()] = attempt.0;
        self.held_count += 1;
        let undoing = self.run.undoes(task);
        let prepared = self.take_prepared(key);
        // Undoing needs no money.
        let left = self.admission.ledger().left_of(task).filter(|_| !undoing);
        let context =
            Context { run: &self.run, outputs: &self.outputs, journal: self.journal, epoch, now, left, undoing };
        if let Some(result) = self.program.at_once(key, &context).filter(|_| !undoing) {
            self.own_reports.push(Report::Ended(Ended { key, epoch, result, usage: None, session: None }));
            return;
        }
        let prepared = match (prepared, left) {
            (_, Some(Money::ZERO)) => Err(nothing_left()),
            (Some(prepared), _) => prepared,
            (None, _) => self.program.prepare(key, &context),
        };
        match prepared {
            Ok(spec) => {
                let deadline = Time(now.0.saturating_add(spec.timeout.as_millis() as u64));
                self.deadlines.push(Reverse((deadline, task, attempt.0)));
                self.dispatcher.start(spec);
            }
            Err(failure) => self.own_reports.push(Report::Ended(Ended {
                key,
                epoch,
                result: Err(failure),
                usage: None,
                session: None,
            })),
        }
    }

    fn enforce_deadlines(&mut self, now: Time) {
        while let Some(Reverse((at, task, attempt))) = self.deadlines.peek().copied() {
            let held = self.held[task.index()] == attempt;
            if held && at > now {
                break;
            }
            self.deadlines.pop();
            let key = AttemptKey { task, attempt: Attempt(attempt) };
            if held && !self.has_reported(key) {
                self.dispatcher.stop(key, StopCause::Timeout, GRACE);
            }
        }
    }
}

fn key_of(command: Command) -> AttemptKey {
    let (Command::Run { task, attempt } | Command::Stop { task, attempt }) = command;
    AttemptKey { task, attempt }
}

fn nothing_left() -> Failure {
    Failure::new(FailureClass::Budget, "earlier attempts have used up the task's `cost_budget`")
}

/// What a task fails with that cost more than it may, whatever else came of it.
fn over_budget(budget: Money, spent: Money, failure: Option<Failure>) -> Failure {
    let besides = failure.map_or(String::new(), |f| format!("; it also failed ({}): {}", f.class.name(), f.message));
    Failure::new(FailureClass::Budget, format!("it cost {spent} and may cost {budget} (`cost_budget`){besides}"))
}

/// The fact of an event that needs nothing but a message, where it has one.
fn plain_fact(event: Event, message: &str) -> Fact {
    match event {
        Event::AttemptStarted { task, attempt } => Fact::AttemptStarted { task, attempt },
        Event::AttemptSucceeded { task, attempt } => Fact::AttemptSucceeded {
            task,
            attempt,
            output: OutputRef::Inline("null".into()),
            usage: None,
            session: None,
        },
        Event::AttemptFailed { task, attempt, class, retry_at } => Fact::AttemptFailed {
            task,
            attempt,
            class,
            message: message.into(),
            retry_at,
            usage: None,
            exhausted: false,
        },
        Event::AttemptAbandoned { task, attempt } => Fact::AttemptAbandoned { task, attempt },
        Event::AttemptDoubted { task, attempt } => Fact::AttemptDoubted { task, attempt },
        Event::TaskRetried { task } => Fact::TaskRetried { task },
        Event::TaskSkipped { task } => Fact::TaskSkipped { task },
        Event::TaskOmitted { task } => Fact::TaskOmitted { task, reason: message.into() },
        Event::TaskAdopted { task, attempt } => {
            Fact::TaskAdopted { task, attempt, output: OutputRef::Inline("null".into()) }
        }
        Event::RunCancelled => Fact::Cancelled,
        Event::RunStarted => Fact::Started(Box::default()),
        Event::RunFinished { outcome } => Fact::Finished { outcome },
        Event::RunReopened => Fact::BudgetSet { budget: Budget::default() },
        Event::CompensationStarted { task, attempt } => Fact::CompensationStarted { task, attempt },
        Event::CompensationSucceeded { task, attempt } => Fact::CompensationSucceeded { task, attempt },
        Event::CompensationFailed { task, attempt, class, retry_at } => {
            Fact::CompensationFailed { task, attempt, class, message: message.into(), retry_at }
        }
        Event::CompensationAbandoned { task, attempt } => Fact::CompensationAbandoned { task, attempt },
        Event::GateExpired { task, attempt } => Fact::GateExpired { task, attempt },
        Event::GateOpened { .. }
        | Event::GateApproved { .. }
        | Event::GateRejected { .. }
        | Event::GateFailed { .. } => {
            unreachable!("whoever asks or answers brings what is told of it")
        }
    }
}

/// What `RawOutput` says as JSON text when no format is asked for: text becomes a JSON string.
pub fn json_text(raw: RawOutput) -> String {
    match raw {
        RawOutput::Json(text) => text,
        RawOutput::Text(text) => serde_json::Value::String(text).to_string(),
    }
}
