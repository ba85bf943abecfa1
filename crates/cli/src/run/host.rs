//! Hosts the engine of one run in this process: clock, dispatcher, program, observers, and what the end means as an
//! exit code. It does not know where the workflow came from.

mod redefine;
mod words;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_engine::admission::{Admission, Cap};
use raddle_engine::attempt::Session;
use raddle_engine::fact::{Chapter, Record};
use raddle_engine::ledger::Ledger;
use raddle_engine::own_files::WORKTREE;
use raddle_engine::patch::PatchRequest;
use raddle_engine::ports::{Clock, Dispatcher, Journal};
use raddle_engine::secrets::Secrets;
use raddle_engine::snapshot::{CapRecord, RunOptions, Snapshot};
use raddle_engine::task_program::{Place, TaskProgram};
use raddle_engine::view::RunView;
use raddle_engine::{Budget, Ending, Engine, OnStorageFault, TaskIx};
use raddle_executors::api::ApiExecutor;
use raddle_executors::warden::Leash;
use raddle_executors::worktree::Trees;
use raddle_executors::{LocalConfig, LocalDispatcher};
use raddle_journal::{Home, RunId, SqliteJournal};
use raddle_kernel::{Cause, Phase, TaskState};
use raddle_model::caps::{self, Caps};
use raddle_model::critical::critical_path;
use raddle_model::plan;
use raddle_model::workflow::{ExecutionMode, OnDoubt, TaskKind, Workflow};
use serde_json::{Map, Value};

use super::closing::{exit_of, mark_finished, print_outputs, summary};
use super::look::{declared_outputs, print_json};
use super::performer::{Performer, SystemClock, worker_argv};
use super::reporter::Reporter;
use super::resume::refuse_changed;
use super::store::{self, engine_problem, journal_problem};
use super::{branches, budget, document, gates, history, sagas, secrets, servers, unmet};
use crate::args::ReportArgs;
use crate::display::event::Scene;
use crate::exit::Exit;
use crate::loading::Loaded;
use crate::permissions::{self, enforcement};
use crate::problem::Problem;
use crate::project::Project;
use crate::source::Definition;
use crate::terminal;

/// A workflow that is ready to be run, and how.
pub struct Launch {
    /// Where runs are kept.
    pub home: Home,
    /// What to run.
    pub workflow: Arc<Workflow>,
    caps: Caps,
    /// Expected durations in milliseconds by task.
    weights: Vec<u32>,
    definition: Definition,
    project: Arc<Project>,
    /// Values of the parameters.
    pub inputs: Map<String, Value>,
    /// What shaped the run.
    pub options: RunOptions,
    /// How to tell.
    pub report: ReportArgs,
    /// `--strict`.
    pub strict: bool,
    secrets: Arc<Secrets>,
    /// `--no-wait`: leave instead of waiting, also for the disk.
    pub no_wait: bool,
    /// What going on with it was said to do, for its document.
    pub resumed: Option<Value>,
    /// `--yes`: in whose name every gate is approved.
    pub approves_as: Option<String>,
}

/// From where a run is driven.
pub enum Point {
    /// Nothing has happened yet.
    Beginning,
    /// From these records on, after a person's word.
    Records(Vec<Record>, Word),
    /// By a changed definition: a new chapter of the same run.
    Changed(Vec<Record>),
}

/// What happens to the run before it is driven on.
pub enum Word {
    /// Nothing: a new run, or a plain resume.
    None,
    /// `raddle retry`.
    Retry(TaskIx),
    /// `raddle skip`.
    Skip(TaskIx),
    /// `raddle resume --budget`: all the limits that hold from now on.
    Budget(Budget),
}

impl Launch {
    /// Plans the workflow by what earlier runs tell. The mode and presets of the command line are in it already.
    pub fn new(
        home: Home,
        workflow: Workflow,
        Loaded { definition, project, .. }: Loaded,
        inputs: Map<String, Value>,
        options: RunOptions,
        report: ReportArgs,
        strict: bool,
    ) -> Launch {
        let caps = caps::caps(&workflow, &project.catalog.settings);
        let durations = plan::durations(&workflow, &history::of(&home, &workflow.name));
        // A task of unknown duration weighs as much as the median of the known ones.
        let mut known: Vec<u64> = durations.iter().flatten().copied().collect();
        known.sort_unstable();
        let usual = known.get(known.len() / 2).copied().unwrap_or(1);
        let weights = durations.iter().map(|d| u32::try_from(d.unwrap_or(usual)).unwrap_or(u32::MAX)).collect();
        Launch {
            home,
            workflow: Arc::new(workflow),
            caps,
            weights,
            definition,
            project: Arc::new(project),
            inputs,
            options,
            report,
            strict,
            secrets: Arc::default(),
            no_wait: false,
            resumed: None,
            approves_as: None,
        }
    }

    /// The same launch once more, for whoever makes changed definitions of it.
    fn twin(&self) -> Launch {
        Launch {
            home: self.home.clone(),
            workflow: Arc::clone(&self.workflow),
            caps: self.caps.clone(),
            weights: self.weights.clone(),
            definition: self.definition.clone(),
            project: Arc::clone(&self.project),
            inputs: self.inputs.clone(),
            options: self.options.clone(),
            secrets: Arc::clone(&self.secrets),
            report: self.report.clone(),
            strict: self.strict,
            no_wait: self.no_wait,
            resumed: self.resumed.clone(),
            approves_as: self.approves_as.clone(),
        }
    }

    /// Changes a run that no engine drives: only its journal, and everything of the change or nothing.
    pub fn patch(
        self,
        id: &RunId,
        mut journal: SqliteJournal,
        records: Vec<Record>,
        request: &PatchRequest,
    ) -> Result<Result<(), Vec<String>>, Problem> {
        refuse_changed(id, &records, &self.workflow.hash)?;
        let before = store::view_of(id, records.clone())?;
        let is_salvaged = before.salvaged.is_some();
        let mut program = self.program(id).changed_by(Box::new(redefine::Redefiner::beside(&self)));
        let (mut nobody, mut clock) = (super::stop::Nobody, SystemClock::default());
        let admission = self.admission().with_budget(before.ledger);
        let wrong = |e| engine_problem(id.as_str(), &e);
        let finished = {
            let mut engine = Engine::new(&mut program, &mut nobody, &mut journal, &mut clock, admission);
            engine.load(records).map_err(wrong)?;
            // Whoever drives a salvaged run next has to be told that it is one.
            if !is_salvaged {
                engine.come_back();
            }
            if let Err(lines) = engine.patch(request) {
                return Ok(Err(lines));
            }
            engine.write_down().map_err(wrong)?;
            engine.run_state().finished()
        };
        if let Some(outcome) = finished {
            self.note_end(id, outcome, store::now().0);
        }
        Ok(Ok(()))
    }

    /// An index only: when it cannot be written, the journal still says the same.
    fn note_end(&self, id: &RunId, outcome: raddle_engine::Outcome, at: u64) {
        let mut meta = self.home.meta(id).unwrap_or_default();
        meta.outcome = Some(outcome.name().to_owned());
        meta.finished_at = Some(at);
        let _ = self.home.set_meta(id, &meta);
    }

    /// The folder that files named by the definition are looked for in.
    pub fn base_dir(&self) -> &Path {
        &self.definition.base_dir
    }

    /// Makes sure that the run can be begun as it was asked for, before anything is started or written: what nobody can
    /// hold the tasks to is refused, and the secrets are got.
    pub fn make_ready(&mut self) -> Result<(), Problem> {
        self.refuse_unenforceable()?;
        if !self.options.simulate {
            let secrets = secrets::unlock(&self.workflow, &self.project)?;
            let inputs = Value::Object(self.inputs.clone()).to_string();
            secrets::refuse_written(&secrets, &self.definition.text, &inputs)?;
            self.secrets = Arc::new(secrets);
        }
        Ok(())
    }

    fn refuse_unenforceable(&self) -> Result<(), Problem> {
        if self.options.simulate {
            return Ok(());
        }
        let base = permissions::location(Path::new(&self.options.work_dir))?;
        enforcement::refuse_unenforceable(&self.workflow, &self.project, &base)?;
        unmet::refuse(&self.workflow, &self.project)
    }

    fn mode(&self) -> ExecutionMode {
        self.workflow.mode
    }

    fn snapshot(&self) -> Snapshot {
        let options = RunOptions { slots: self.slots(), ..self.options.clone() };
        let mut snapshot = Snapshot::of(&self.workflow, options);
        snapshot.caps = self.cap_records();
        snapshot.limits = unmet::declared(&self.workflow, &self.project).limits;
        snapshot
    }

    /// The budget as it stands where the run is driven on.
    fn ledger(&self, from: &Point, before: Option<&RunView>) -> Ledger {
        let mut ledger = before.map(|view| view.ledger.clone()).unwrap_or_default();
        if !matches!(from, Point::Records(..)) {
            ledger.begin_chapter(&self.snapshot());
        }
        ledger
    }

    fn chapter(&self, run: &RunId) -> Chapter {
        let snapshot = self.snapshot();
        Chapter {
            run: run.to_string(),
            workflow: self.workflow.name.clone(),
            hash: self.workflow.hash.clone(),
            source: String::from_utf8_lossy(&self.definition.text).into_owned(),
            source_name: self.definition.name.clone(),
            base_dir: self.base_dir().to_string_lossy().into_owned(),
            inputs: Value::Object(self.inputs.clone()).to_string(),
            options: serde_json::to_string(&snapshot).expect("a snapshot is plain data"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    fn admission(&self) -> Admission {
        gates::admission(&self.workflow, &self.caps, &self.project)
    }

    /// One cap per pool, in the order of the pools.
    fn admission_caps(&self) -> Vec<Cap> {
        gates::by_pool(self.mode(), &self.caps)
    }

    /// The same for whoever reads the run later.
    fn cap_records(&self) -> Vec<CapRecord> {
        let kinds: &[&[&str]] = match self.mode() {
            ExecutionMode::Sequential => &[&["agent", "shell", "code", "tool"]],
            _ => &[&["agent"], &["shell", "code"], &["tool"]],
        };
        let record = |(cap, kinds): (Cap, &&[&str])| CapRecord {
            kinds: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
            value: cap.value,
            bound_by: cap.bound_by,
        };
        let caps = self.admission_caps().into_iter().zip(kinds).map(record);
        // Found by the executor's name, whatever the kind.
        let worktrees = branches::cap(&self.caps).map(|cap| record((cap, &&[WORKTREE][..])));
        caps.chain(worktrees).collect()
    }

    /// How many attempts could have been alive at once: what the efficiency is measured against.
    fn slots(&self) -> u32 {
        if self.mode() == ExecutionMode::Sequential {
            return 1;
        }
        let count =
            |wanted: fn(&TaskKind) -> bool| self.workflow.tasks.iter().filter(|t| wanted(&t.kind)).count() as u32;
        let counts = [
            count(|k| matches!(k, TaskKind::Agent(_))),
            count(|k| matches!(k, TaskKind::Shell(_) | TaskKind::Code(_))),
            count(|k| matches!(k, TaskKind::Tool(_))),
        ];
        self.admission_caps().iter().zip(counts).map(|(cap, n)| cap.value.min(n)).sum::<u32>().max(1)
    }

    fn program(&self, run: &RunId) -> TaskProgram {
        let trace = blake3_hex(run.as_str());
        let place = Place {
            run: run.to_string(),
            work_dir: PathBuf::from(&self.options.work_dir),
            run_dir: self.home.run_folder(run).into(),
            trace_id: trace[..32].to_owned(),
            idempotency_salt: trace[32..].to_owned(),
        };
        let inputs: HashMap<String, Value> = self.inputs.clone().into_iter().collect();
        let models = self.project.catalog.models.clone();
        TaskProgram::new(
            Arc::clone(&self.workflow),
            inputs,
            models,
            place,
            &self.weights,
            self.mode(),
            self.options.simulate,
        )
        .with_secrets(&self.secrets)
    }

    fn dispatcher(&self, worktrees: Option<Trees>, run_dir: &Path) -> Result<Performer, Problem> {
        if self.options.simulate {
            return Ok(Performer::Simulated(Vec::new()));
        }
        let servers = servers::settings(&self.workflow, Path::new(&self.options.work_dir), &self.secrets)?;
        let config = LocalConfig {
            worker_argv: worker_argv()?,
            adapters: Some(self.project.adapters.clone()),
            servers,
            signals: true,
            worktrees,
            session_cli: self.project.session_cli.clone(),
            containers: self.project.containers.clone(),
            secrets: Arc::clone(&self.secrets),
        };
        let wrong = |e: std::io::Error| Problem::io("prepare this process for running tasks", &e);
        let mut local = LocalDispatcher::new(config).map_err(wrong)?;
        local.listen(run_dir);
        // A patch may bring the first task that wants it.
        local.register(Box::new(ApiExecutor::new(self.project.api.clone()).with_secrets(&self.secrets)));
        let mut limits: Vec<u64> = self.workflow.tasks.iter().filter_map(memory_limit).collect();
        limits.sort_unstable();
        limits.dedup();
        // One worker of the usual kind is enough to hide its start behind other work.
        local.prewarm(&limits[..limits.len().min(1)]);
        Ok(Performer::Local(Box::new(local)))
    }

    fn scene(&self, id: &RunId) -> Scene {
        let durations: Vec<Option<u64>> = self.weights.iter().map(|w| Some(u64::from(*w))).collect();
        Scene {
            run: id.to_string(),
            workflow: self.workflow.name.clone(),
            tasks: self.workflow.tasks.iter().map(|t| t.id.as_str().into()).collect(),
            critical_path: critical_path(&self.workflow, &durations).tasks,
        }
    }

    /// Starts a new run.
    pub fn start(self, leash: Leash) -> Result<Exit, Problem> {
        let meta = raddle_journal::RunMeta {
            workflow: self.workflow.name.clone(),
            created_at: store::now().0,
            ..raddle_journal::RunMeta::default()
        };
        let mut clock = SystemClock::default();
        let (id, journal) = self
            .home
            .create_new(store::now(), &mut || clock.noise(), meta)
            .map_err(|e| journal_problem(store::UNBORN, &e))?;
        self.drive(id, journal, Point::Beginning, leash)
    }

    /// Drives a run whose journal is ours.
    pub fn drive(
        mut self,
        id: RunId,
        mut journal: SqliteJournal,
        from: Point,
        mut leash: Leash,
    ) -> Result<Exit, Problem> {
        let before = match &from {
            Point::Beginning => None,
            Point::Records(records, _) | Point::Changed(records) => Some(store::view_over(&id, records)?),
        };
        if let (Point::Changed(_), Some(before)) = (&from, &before) {
            self.refuse_doubt(before)?;
        }
        let run_dir = self.home.run_folder(&id);
        super::hold(&leash, &run_dir)?;
        if let (Point::Records(..), Some(before)) = (&from, &before) {
            history::keep_models(Arc::make_mut(&mut self.workflow), before);
        }
        let mut program = self.program(&id).changed_by(Box::new(redefine::Redefiner::live(&self)));
        let on_conflict = &self.project.worktrees.on_conflict;
        let trees = branches::trees(self.options.worktrees.as_ref(), id.as_str(), &run_dir, on_conflict);
        trees.iter().filter(|_| before.is_some()).for_each(branches::commit_leftovers);
        let mut performer = self.dispatcher(trees, &run_dir)?;
        let mut clock = SystemClock::default();
        let mut reporter = Reporter::new(&self.report, self.scene(&id), leash.take_report())?;
        let admission = self.admission().with_budget(self.ledger(&from, before.as_ref()));
        let sessions: Vec<(TaskIx, Session)> = before.iter().flat_map(|before| self.sessions(before)).collect();
        // One view is enough for a run that goes on as it was.
        let changed = if matches!(from, Point::Changed(_)) { before.clone() } else { None };
        if let Some(before) = before {
            reporter.seed(before);
        }
        let ended = {
            let mut engine = Engine::new(&mut program, &mut performer, &mut journal, &mut clock, admission);
            engine.observe(&mut reporter);
            if self.no_wait {
                engine.on_storage_fault(OnStorageFault::Leave);
            } else {
                engine.stay();
            }
            self.approves_as.iter().for_each(|by| engine.approve_all(by));
            match (from, &changed) {
                (Point::Records(records, word), _) => {
                    engine.load(records).map_err(|e| engine_problem(id.as_str(), &e))?;
                    engine.keep_sessions(sessions);
                    engine.take_over();
                    // Whoever looks for unfinished runs must find it, however this engine dies.
                    let ended = store::reopen(&self.home, &id);
                    if let Err(refused) = say(&mut engine, &self.workflow, word) {
                        let _ = ended.map(|meta| self.home.set_meta(&id, &meta));
                        return Err(refused);
                    }
                }
                (Point::Changed(_), Some(before)) => {
                    engine.begin(self.chapter(&id));
                    engine.keep_sessions(self.sessions(before));
                    self.adopt_unchanged(&mut engine, before);
                }
                (Point::Beginning | Point::Changed(_), _) => {
                    engine.begin(self.chapter(&id));
                    self.leave_out(&mut engine)?;
                }
            }
            engine.drive()
        };
        reporter.close();
        // Children are gone before the run is let go.
        drop(performer);
        let ending = ended.map_err(|e| engine_problem(id.as_str(), &e))?;
        self.conclude(&id, &journal, &reporter, ending)
    }

    /// The conversations of a run's tasks, as this definition numbers the tasks.
    fn sessions(&self, before: &RunView) -> Vec<(TaskIx, Session)> {
        let tasks = (0u32..).zip(&self.workflow.tasks);
        tasks.filter_map(|(n, task)| Some((TaskIx(n), before.sessions.get(&task.id)?.clone()))).collect()
    }

    /// Takes over what completed under the old definition where neither the task nor anything it hangs on has changed.
    fn adopt_unchanged<P, D, J, C>(&self, engine: &mut Engine<'_, P, D, J, C>, before: &RunView)
    where
        P: raddle_engine::program::Program,
        D: Dispatcher,
        J: Journal,
        C: Clock,
    {
        for (task, from) in self.unchanged(before) {
            let (detail, state) = (&before.tasks[from.index()], before.run.state(from));
            if let (Some(output), TaskState::Completed { attempt }) = (&detail.output, state) {
                engine.adopt(task, attempt, output.clone()).expect("a pending task can be taken over");
            }
        }
    }

    /// A new definition does not answer what became of effectful attempts whose engine died: a person does, first.
    fn refuse_doubt(&self, before: &RunView) -> Result<(), Problem> {
        refuse_undoing(before)?;
        let may_repeat = |id: &str| {
            let task = self.workflow.tasks.iter().find(|t| t.id == id);
            task.is_some_and(|t| !t.side_effects || t.on_doubt == OnDoubt::Rerun)
        };
        let doubted: Vec<&str> = (0..before.tasks.len() as u32)
            .filter(|i| {
                let state = before.run.state(TaskIx(*i));
                matches!(state, TaskState::Running { .. } | TaskState::Waiting { cause: Cause::Doubt, .. })
            })
            .map(|i| before.snapshot.tasks[i as usize].id.as_str())
            .filter(|id| !may_repeat(id))
            .collect();
        let Some(first) = doubted.first() else { return Ok(()) };
        let run = &before.chapter.run;
        let names = doubted.join(", ");
        Err(Problem::new(Exit::Refused, format!("nobody knows how far {names} came when the engine of run {run} died"))
            .hint(format!(
                "it has side effects, so it is not repeated unasked: `raddle retry {run} {first}` runs it again"
            ))
            .hint(format!("`raddle skip {run} {first}` goes on without it; both go on by the old definition"))
            .hint("`on_doubt: rerun` in the new definition says that it may be repeated"))
    }

    /// Completed tasks that mean the same as before, with where they stood then; in the order in which they completed.
    fn unchanged(&self, before: &RunView) -> Vec<(TaskIx, TaskIx)> {
        let mut order: Vec<usize> = (0..self.workflow.tasks.len()).collect();
        order.sort_by_key(|i| self.workflow.tasks[*i].level);
        let mut same: HashMap<usize, TaskIx> = HashMap::new();
        for i in order {
            let task = &self.workflow.tasks[i];
            let from = before.task(&task.id).filter(|from| {
                before.snapshot.tasks[from.index()].hash == task.hash
                    && matches!(before.run.state(*from), TaskState::Completed { .. })
                    && task.depends_on.iter().all(|d| same.contains_key(&(d.task as usize)))
            });
            if let Some(from) = from {
                same.insert(i, from);
            }
        }
        let mut pairs: Vec<(TaskIx, TaskIx)> = same.into_iter().map(|(i, from)| (TaskIx(i as u32), from)).collect();
        // In the order in which they completed: what would be undone first completed last.
        let place = |task: TaskIx, from: TaskIx| {
            (before.tasks[from.index()].finished_at, self.workflow.tasks[task.index()].level)
        };
        pairs.sort_by_key(|(task, from)| place(*task, *from));
        pairs
    }

    /// Skips what `--only` and `--from` leave out.
    fn leave_out<P, D, J, C>(&self, engine: &mut Engine<'_, P, D, J, C>) -> Result<(), Problem>
    where
        P: raddle_engine::program::Program,
        D: Dispatcher,
        J: Journal,
        C: Clock,
    {
        if self.options.only.is_empty() && self.options.from.is_empty() {
            return Ok(());
        }
        let index = |id: &String| {
            let found = self.workflow.tasks.iter().position(|t| t.id == *id);
            found.ok_or_else(|| Problem::usage(format!("the workflow has no task `{id}`")))
        };
        let mut wanted = vec![false; self.workflow.tasks.len()];
        for id in &self.options.only {
            wanted[index(id)?] = true;
        }
        let mut open: Vec<usize> = self.options.from.iter().map(index).collect::<Result<_, _>>()?;
        let graph = Arc::clone(engine.run_state().graph());
        while let Some(task) = open.pop() {
            if !std::mem::replace(&mut wanted[task], true) {
                open.extend(graph.successors(TaskIx(task as u32)).map(|(t, _)| t.index()));
            }
        }
        for (task, _) in wanted.iter().enumerate().filter(|(_, wanted)| !**wanted) {
            engine.skip(TaskIx(task as u32)).expect("a pending task can be skipped");
        }
        Ok(())
    }

    fn conclude(
        &self,
        id: &RunId,
        journal: &SqliteJournal,
        reporter: &Reporter,
        ending: Ending,
    ) -> Result<Exit, Problem> {
        let view = reporter.view().expect("a driven run has begun");
        let load = |output: &_| journal.load(output);
        let merged = branches::after(view, ending, &self.project.worktrees);
        let exit = merged.exit(exit_of(view, ending, self.strict));
        if self.report.json || self.report.events.as_deref() != Some("-") {
            let outputs = declared_outputs(view, &load)?;
            if self.report.json {
                let document = document::run_document(view, outputs, false, store::now(), &load);
                let mut document = document.map_err(|e| journal_problem(id.as_str(), &e))?;
                merged.add_to(&mut document);
                if let Some(resumed) = &self.resumed {
                    document["resume"] = resumed.clone();
                }
                print_json(&document)?;
            } else if !self.report.quiet {
                print_outputs(view, outputs)?;
            }
        }
        if !self.report.quiet || matches!(exit, Exit::Refused) {
            terminal::tell(&summary(view, ending, exit));
        }
        merged.tell(self.report.quiet);
        if reporter.left_behind > 0 {
            terminal::tell(&format!(
                "warning: nothing could be recorded in the end; what became of {} is known to nobody\n",
                terminal::counted(reporter.left_behind, "attempt")
            ));
        }
        if let Some(error) = reporter.broken() {
            terminal::tell(&format!("warning: events could not all be written: {error}\n"));
        }
        if let Ending::Finished(outcome) = ending {
            mark_finished(&self.home, id, outcome, view.finished_at.unwrap_or_default());
        }
        Ok(exit)
    }
}

fn say<P, D, J, C>(engine: &mut Engine<'_, P, D, J, C>, workflow: &Workflow, word: Word) -> Result<(), Problem>
where
    P: raddle_engine::program::Program,
    D: Dispatcher,
    J: Journal,
    C: Clock,
{
    let (task, result, verb) = match word {
        Word::None => return Ok(()),
        Word::Budget(budget) => {
            return engine.set_budget(budget).map_err(|_| {
                Problem::usage("the run has ended, and not for want of a budget: a larger one changes nothing")
            });
        }
        Word::Retry(task) => (task, engine.retry(task), "retried"),
        Word::Skip(task) => (task, engine.skip(task), "skipped"),
    };
    result.map_err(|_| {
        let state = engine.run_state().state(task).name();
        let ids = |task: TaskIx| workflow.tasks[task.index()].id.clone();
        if let Some(why) = sagas::refusal(engine.run_state(), task, &ids) {
            return Problem::usage(format!("task {} is {state} and cannot be {verb}: {why}", ids(task)));
        }
        Problem::usage(format!("task {} is {state} and cannot be {verb}", workflow.tasks[task.index()].id))
    })
}

/// A new definition says nothing of what the old one has still to undo.
fn refuse_undoing(before: &RunView) -> Result<(), Problem> {
    let run = &before.chapter.run;
    let open = (0..before.tasks.len() as u32).map(TaskIx);
    let mut open = open.filter(|t| before.run.undoes(*t) || before.run.state(*t).phase() == Phase::NotUndone);
    let Some(first) = open.next() else { return Ok(()) };
    let id = &before.snapshot.tasks[first.index()].id;
    Err(Problem::new(Exit::Refused, format!("a saga of run {run} failed, and {id} is not undone yet"))
        .hint(format!("`raddle resume {run}` undoes by the old definition what can be undone"))
        .hint(format!(
            "`raddle retry {run} {id}` tries it again, `raddle skip {run} {id}` says that it was done by hand"
        )))
}

fn blake3_hex(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn memory_limit(task: &raddle_model::workflow::Task) -> Option<u64> {
    match &task.kind {
        TaskKind::Code(code) => Some(code.memory_limit_bytes),
        _ => None,
    }
}
