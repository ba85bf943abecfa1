//! A run as people see it: the fold of its records with times, attempts and errors. Read by every display and every
//! command that shows a run, live or not. It does not know whether the run is going on in this process.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_kernel::{Attempt, FailureClass, Outcome, Run, TaskIx, TaskState, Time};
use raddle_model::money::Money;

use crate::attempt::{Session, Usage};
use crate::fact::{Chapter, Fact, OutputRef, Patched, Record};
use crate::gates::{self, Gates};
use crate::ledger::Ledger;
use crate::snapshot::Snapshot;

/// See the module.
#[derive(Debug, Clone)]
pub struct RunView {
    /// The last chapter's circumstances.
    pub chapter: Chapter,
    /// Its tasks and options.
    pub snapshot: Snapshot,
    /// States.
    pub run: Run,
    /// Per task.
    pub tasks: Vec<TaskView>,
    /// When the run began.
    pub started_at: Time,
    /// When it settled.
    pub finished_at: Option<Time>,
    /// Largest number of attempts alive at once.
    pub peak_parallel: u32,
    /// Agent attempts started.
    pub agents_spawned: u32,
    /// What the chapters before this one used: money that was spent stays spent.
    pub used_before: Option<Usage>,
    /// What it may spend, has spent and holds.
    pub ledger: Ledger,
    /// What people were asked, and what they said.
    pub gates: Gates,
    /// Changes of the definition, oldest first; of this chapter only.
    pub patches: Vec<PatchView>,
    /// Audit lines.
    pub denials: Vec<Denial>,
    /// Sessions of agent CLIs by task id, over all chapters: a conversation outlives a changed workflow.
    pub sessions: HashMap<String, Session>,
    /// Why it is not known what came behind the last records; nobody has taken the run over since.
    pub salvaged: Option<Box<str>>,
    /// Sequence number of the last record.
    pub seq: u64,
}

/// One change of the definition.
#[derive(Debug, Clone)]
pub struct PatchView {
    /// When.
    pub at: Time,
    /// All of it.
    pub patched: Patched,
}

/// One task.
#[derive(Debug, Clone, Default)]
pub struct TaskView {
    /// All its attempts, oldest first.
    pub attempts: Vec<AttemptView>,
    /// Output of the attempt that succeeded, or of the one taken over.
    pub output: Option<OutputRef>,
    /// Why it is not needed, in words.
    pub omitted: Option<Box<str>>,
    /// What the last failure said.
    pub error: Option<(FailureClass, Box<str>)>,
    /// When it settled.
    pub finished_at: Option<Time>,
}

/// One attempt.
#[derive(Debug, Clone)]
pub struct AttemptView {
    /// Its number.
    pub attempt: Attempt,
    /// When it was decided.
    pub started_at: Time,
    /// When its end was recorded.
    pub finished_at: Option<Time>,
    /// The state it led to: `running`, `completed`, `retrying`, `failed`, `failed_safe`, `lost`, `waiting`, `cancelled`.
    pub status: &'static str,
    /// What it used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<(FailureClass, Box<str>)>,
    /// Session of the agent CLI.
    pub session: Option<Box<str>>,
    /// It was to undo what the task did.
    pub compensates: bool,
    /// The model that performed it and why, where it is not the one of the task's record.
    pub model: Option<(Box<str>, Box<str>)>,
}

/// One refused access.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "see Fact::Denied")]
pub struct Denial {
    pub task: TaskIx,
    pub action: Box<str>,
    pub resource: Box<str>,
    pub rule: Box<str>,
}

/// Records that are no run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotARun {
    /// The record.
    pub seq: u64,
    /// What is wrong with it, a lowercase fragment.
    pub what: String,
}

impl RunView {
    /// Whose output is the task's: its own, or that of the task that has stood in for it.
    pub fn supplier(&self, task: TaskIx) -> TaskIx {
        let completed = |task: TaskIx| self.run.state(task).phase() == raddle_kernel::Phase::Completed;
        let spare = self.snapshot.tasks[task.index()].fallback.map(TaskIx);
        spare.filter(|spare| !completed(task) && completed(*spare)).unwrap_or(task)
    }

    /// The view at its first record, which must begin a chapter.
    pub fn begin(record: &Record) -> Result<Self, NotARun> {
        let wrong = |what: &str| NotARun { seq: record.seq, what: what.to_owned() };
        let Fact::Started(chapter) = &record.fact else { return Err(wrong("a run begins with its start")) };
        let snapshot: Snapshot = serde_json::from_str(&chapter.options).map_err(|e| wrong(&e.to_string()))?;
        let graph = snapshot.graph().ok_or_else(|| wrong("its tasks are no graph"))?;
        let mut view = RunView {
            chapter: (**chapter).clone(),
            tasks: vec![TaskView::default(); graph.len()],
            run: Run::new(graph),
            ledger: Ledger::new(&snapshot),
            snapshot,
            started_at: record.at,
            finished_at: None,
            peak_parallel: 0,
            agents_spawned: 0,
            used_before: None,
            gates: Gates::default(),
            patches: Vec::new(),
            denials: Vec::new(),
            sessions: HashMap::new(),
            salvaged: None,
            seq: record.seq,
        };
        view.fold(record)?;
        Ok(view)
    }

    /// Folds a whole journal.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Result<Self, NotARun> {
        let mut records = records.into_iter();
        let first = records.next().ok_or(NotARun { seq: 0, what: "an empty journal".into() })?;
        let mut view = RunView::begin(&first)?;
        records.try_for_each(|record| view.apply(&record))?;
        Ok(view)
    }

    /// Folds one more record in.
    pub fn apply(&mut self, record: &Record) -> Result<(), NotARun> {
        if let Fact::Started(_) = record.fact {
            let next = RunView::begin(record)?;
            let mut ledger = std::mem::take(&mut self.ledger);
            ledger.begin_chapter(&next.snapshot);
            ledger.apply(record);
            *self = RunView {
                ledger,
                started_at: self.started_at,
                peak_parallel: self.peak_parallel,
                agents_spawned: self.agents_spawned,
                used_before: sum(self.all_usage()),
                denials: std::mem::take(&mut self.denials),
                sessions: std::mem::take(&mut self.sessions),
                ..next
            };
            return Ok(());
        }
        self.fold(record)
    }

    fn fold(&mut self, record: &Record) -> Result<(), NotARun> {
        if let Fact::Patched(patched) = &record.fact {
            self.snapshot =
                crate::patch::fold(&mut self.run, patched).map_err(|what| NotARun { seq: record.seq, what })?;
            self.tasks.resize(self.snapshot.tasks.len(), TaskView::default());
            self.patches.push(PatchView { at: record.at, patched: (**patched).clone() });
        }
        if let Some(event) = record.fact.event() {
            self.run.apply(event).map_err(|illegal| NotARun {
                seq: record.seq,
                what: format!("{:?} in state {:?}", illegal.event, illegal.state),
            })?;
        }
        self.seq = record.seq;
        self.gates.apply(record);
        self.detail(record);
        // Nobody reports on what was lost; what was held for it counts.
        let charged = self.ledger.apply(record);
        if let (Some(usage), Some(task)) = (charged, record.fact.event().and_then(|event| event.task()))
            && let Some(last) = self.tasks[task.index()].attempts.last_mut()
        {
            last.usage.get_or_insert(usage);
        }
        self.peak_parallel = self.peak_parallel.max(self.run.live());
        let touched: Vec<TaskIx> = self.run.drain_touched().collect();
        for task in touched {
            let settled = self.run_state_settled(task);
            let view = &mut self.tasks[task.index()];
            view.finished_at = if settled { view.finished_at.or(Some(record.at)) } else { None };
        }
        Ok(())
    }

    fn detail(&mut self, record: &Record) {
        let at = record.at;
        match &record.fact {
            Fact::AttemptStarted { task, attempt } => {
                let record = &self.snapshot.tasks[task.index()];
                let agent = record.kind == "agent" && !record.foreach;
                self.agents_spawned += u32::from(agent && !self.snapshot.options.simulate);
                self.tasks[task.index()].attempts.push(AttemptView::begin(*attempt, at));
            }
            Fact::CompensationStarted { task, attempt } => self.tasks[task.index()]
                .attempts
                .push(AttemptView { compensates: true, ..AttemptView::begin(*attempt, at) }),
            Fact::CompensationSucceeded { task, .. } => self.end_last(*task, at, "compensated"),
            Fact::CompensationFailed { task, class, message, retry_at, .. } => {
                let status = if retry_at.is_some() { "retrying" } else { "failed" };
                self.end_last(*task, at, status);
                if let Some(last) = self.tasks[task.index()].attempts.last_mut() {
                    last.error = Some((*class, message.clone()));
                }
            }
            Fact::CompensationAbandoned { task, .. } => self.end_last(*task, at, "lost"),
            Fact::AttemptSucceeded { task, output, usage, session, .. } => {
                if let Some(id) = session {
                    let used = usage.as_deref().copied().unwrap_or_default();
                    let task = self.snapshot.tasks[task.index()].id.clone();
                    self.sessions.insert(task, Session { id: id.to_string(), used });
                }
                let view = &mut self.tasks[task.index()];
                view.output = Some(output.clone());
                view.error = None;
                if let Some(last) = view.attempts.last_mut() {
                    last.end(at, "completed");
                    last.usage = usage.as_deref().copied();
                    last.session = session.clone();
                }
            }
            Fact::AttemptFailed { task, class, message, usage, .. } => {
                let status = self.run.state(*task).name();
                let view = &mut self.tasks[task.index()];
                view.error = Some((*class, message.clone()));
                if let Some(last) = view.attempts.last_mut() {
                    last.end(at, status);
                    last.usage = usage.as_deref().copied();
                    last.error = view.error.clone();
                }
            }
            Fact::AttemptAbandoned { task, .. } => self.end_last(*task, at, "lost"),
            Fact::AttemptDoubted { task, .. } => self.end_last(*task, at, "waiting"),
            Fact::TaskAdopted { task, output, .. } => self.tasks[task.index()].output = Some(output.clone()),
            Fact::TaskRetried { task } | Fact::TaskSkipped { task } => self.tasks[task.index()].error = None,
            Fact::Denied { task, action, resource, rule } => self.denials.push(Denial {
                task: *task,
                action: action.clone(),
                resource: resource.clone(),
                rule: rule.clone(),
            }),
            Fact::ModelChosen { task, attempt, model, reason } => {
                let attempts = &mut self.tasks[task.index()].attempts;
                if let Some(of) = attempts.iter_mut().rfind(|a| a.attempt == *attempt) {
                    of.model = Some((model.clone(), reason.clone()));
                }
            }
            Fact::TaskOmitted { task, reason } => self.tasks[task.index()].omitted = Some(reason.clone()),
            Fact::GateRejected { task, by, comment, .. } => {
                self.refused(*task, &gates::rejection(by, comment.as_deref()));
            }
            Fact::GateExpired { task, .. } => self.refused(*task, gates::EXPIRED),
            Fact::GateFailed { task, message, .. } => self.refused(*task, message),
            Fact::GateApproved { task, output: Some(output), .. } => {
                self.tasks[task.index()].output = Some(output.clone());
                self.tasks[task.index()].error = None;
            }
            Fact::GateApproved { .. } | Fact::GateOpened { .. } => {}
            Fact::Finished { .. } => self.finished_at = Some(at),
            Fact::UsageReported { task, attempt, usage } => {
                let attempts = &mut self.tasks[task.index()].attempts;
                if let Some(of) = attempts.iter_mut().rfind(|a| a.attempt == *attempt) {
                    of.usage = Some(**usage);
                }
            }
            Fact::Salvaged { reason } => self.salvaged = Some(reason.clone()),
            // Whoever took the run over after a salvage has been told what is not known.
            Fact::Resumed { .. } => self.salvaged = None,
            Fact::Started(_)
            | Fact::Patched(_)
            | Fact::Cancelled
            | Fact::BudgetSet { .. }
            | Fact::StorageRecovered { .. } => {}
        }
        if self.run.finished().is_none() {
            self.finished_at = None;
        }
    }

    /// A no. What failed by itself before keeps its own error.
    fn refused(&mut self, task: TaskIx, message: &str) {
        let class = match self.run.state(task) {
            TaskState::Failed { class, .. } | TaskState::FailedSafe { class, .. } => class,
            _ => FailureClass::Permission,
        };
        let view = &mut self.tasks[task.index()];
        let message = match &view.error {
            Some((_, failed)) => format!("{failed}\n{message}").into(),
            None => message.into(),
        };
        view.error = Some((class, message));
    }

    fn end_last(&mut self, task: TaskIx, at: Time, status: &'static str) {
        if let Some(last) = self.tasks[task.index()].attempts.last_mut() {
            last.end(at, status);
        }
    }

    /// How the run stands; `Running` and `Waiting` say nothing about whether an engine is there.
    pub fn outcome(&self) -> Outcome {
        self.run.finished().unwrap_or_else(|| self.run.outcome())
    }

    /// The task of that id.
    pub fn task(&self, id: &str) -> Option<TaskIx> {
        self.snapshot.tasks.iter().position(|t| t.id == id && !t.removed).map(|i| TaskIx(i as u32))
    }

    /// The tasks that people are shown: all but those that a patch took out.
    pub fn shown(&self) -> impl Iterator<Item = TaskIx> + '_ {
        (0u32..).zip(&self.snapshot.tasks).filter(|(_, record)| !record.removed).map(|(i, _)| TaskIx(i))
    }

    /// The definition as it stands: its text, the hash of its meaning, and whether a run has changed it.
    pub fn definition(&self) -> (&str, &str, bool) {
        match self.patches.last() {
            Some(PatchView { patched, .. }) => (&patched.source, &patched.hash, true),
            None => (&self.chapter.source, &self.chapter.hash, false),
        }
    }

    /// Sum of what all attempts of a task used; `None` when nothing was metered.
    pub fn usage(&self, task: TaskIx) -> Option<Usage> {
        sum(self.tasks[task.index()].attempts.iter().filter_map(|a| a.usage))
    }

    /// Sum over all tasks, and over the chapters before this one.
    pub fn total_usage(&self) -> Usage {
        let nothing = Usage { cost_usd: Some(0.0), cost_is: crate::attempt::CostIs::Reported, ..Usage::default() };
        sum(self.all_usage()).unwrap_or(nothing)
    }

    fn all_usage(&self) -> impl Iterator<Item = Usage> + '_ {
        let tasks = (0..self.tasks.len() as u32).filter_map(|i| self.usage(TaskIx(i)));
        self.used_before.into_iter().chain(tasks)
    }

    /// Milliseconds in which attempts of a task were alive, up to `now` for live ones.
    pub fn busy_ms(&self, task: TaskIx, now: Time) -> u64 {
        let attempts = &self.tasks[task.index()].attempts;
        attempts.iter().map(|a| a.finished_at.unwrap_or(now).0.saturating_sub(a.started_at.0)).sum()
    }

    /// The path that took longest by what the tasks really took, and its tasks in order.
    pub fn critical_path(&self, now: Time) -> Vec<TaskIx> {
        let n = self.tasks.len();
        let graph: &Arc<_> = self.run.graph();
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by_key(|i| graph.level(TaskIx(*i)));
        let (mut length, mut before) = (vec![0u64; n], vec![None; n]);
        for &i in &order {
            let best = graph.predecessors(TaskIx(i)).max_by_key(|(d, _)| (length[d.index()], std::cmp::Reverse(*d)));
            before[i as usize] = best.map(|(d, _)| d);
            length[i as usize] = best.map_or(0, |(d, _)| length[d.index()]) + self.busy_ms(TaskIx(i), now);
        }
        let end = (0..n as u32).max_by_key(|i| (length[*i as usize], std::cmp::Reverse(*i))).map(TaskIx);
        let mut path: Vec<TaskIx> = std::iter::successors(end, |t| before[t.index()]).collect();
        path.reverse();
        path
    }

    fn run_state_settled(&self, task: TaskIx) -> bool {
        self.run.state(task).phase().settled()
    }
}

impl TaskView {
    /// Its attempts that were to undo what it did.
    pub fn compensations(&self) -> impl DoubleEndedIterator<Item = &AttemptView> {
        self.attempts.iter().filter(|attempt| attempt.compensates)
    }

    /// Its attempts proper.
    pub fn forward(&self) -> impl DoubleEndedIterator<Item = &AttemptView> {
        self.attempts.iter().filter(|attempt| !attempt.compensates)
    }
}

impl AttemptView {
    fn begin(attempt: Attempt, started_at: Time) -> Self {
        AttemptView {
            attempt,
            started_at,
            finished_at: None,
            status: "running",
            usage: None,
            error: None,
            session: None,
            compensates: false,
            model: None,
        }
    }

    fn end(&mut self, at: Time, status: &'static str) {
        self.finished_at = Some(at);
        self.status = status;
    }
}

/// Adds usages up. Costs of unknown size leave the sum a lower bound that is marked unknown.
fn sum(usages: impl Iterator<Item = Usage>) -> Option<Usage> {
    use crate::attempt::CostIs;
    usages.reduce(|a, b| Usage {
        input_tokens: a.input_tokens.saturating_add(b.input_tokens),
        output_tokens: a.output_tokens.saturating_add(b.output_tokens),
        cache_read_tokens: a.cache_read_tokens.saturating_add(b.cache_read_tokens),
        cache_write_tokens: a.cache_write_tokens.saturating_add(b.cache_write_tokens),
        cost_usd: match (a.cost_usd, b.cost_usd) {
            (None, None) => None,
            // By whole nano-dollars, so that the sum does not depend on the order.
            (a, b) => {
                let exact = |usd: Option<f64>| usd.and_then(Money::from_usd).unwrap_or_default();
                Some(exact(a).saturating_add(exact(b)).usd())
            }
        },
        cost_is: match (a.cost_is, b.cost_is) {
            (a, b) if a == b => a,
            (CostIs::Unknown, _) | (_, CostIs::Unknown) => CostIs::Unknown,
            (CostIs::Reserved, _) | (_, CostIs::Reserved) => CostIs::Reserved,
            _ => CostIs::Priced,
        },
    })
}
