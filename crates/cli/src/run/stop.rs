//! `raddle stop`: asks the engine that owns a run to end it, or ends a run that nobody owns. It does not know how tasks
//! are ended.

use std::time::{Duration, Instant};

use raddle_engine::admission::Admission;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Failure, RawOutput, Report, StopCause, Usage};
use raddle_engine::ports::Dispatcher;
use raddle_engine::program::{Context, Program};
use raddle_engine::{Engine, FailureClass, TaskIx, Time};
use raddle_executors::control::{self, Request};
use raddle_journal::{Home, RunId};
use raddle_kernel::Graph;
use std::sync::Arc;

use super::performer::SystemClock;
use super::resume::own;
use super::store::{self, Opened, engine_problem};
use crate::args::StopArgs;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal;

/// An engine that was asked gets TERM, grace and KILL for its tasks, and a little more.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long an engine may take until it listens to requests.
const BEGINNING: Duration = Duration::from_secs(1);

/// `raddle stop`.
pub fn stop(args: StopArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    if let Some(outcome) = opened.view.run.finished() {
        terminal::tell(&format!("run {id} has ended before: {}\n", outcome.name()));
        return Ok(Exit::Success);
    }
    let asked = Instant::now();
    loop {
        match control::request(&home.run_folder(&id), &Request::Stop) {
            Ok(()) => return wait_for_end(&home, id),
            Err(_) if !home.is_live(&id) => return cancel(&home, id, &opened),
            // An engine that has just begun does not listen yet.
            Err(_) if asked.elapsed() < BEGINNING => std::thread::sleep(Duration::from_millis(10)),
            Err(e) => return Err(Problem::io(format!("reach the engine of run {id}"), &e)),
        }
    }
}

fn wait_for_end(home: &Home, id: RunId) -> Result<Exit, Problem> {
    let deadline = Instant::now() + PATIENCE;
    while home.is_live(&id) {
        if Instant::now() > deadline {
            return Err(Problem::new(Exit::Failed, format!("run {id} was asked to stop and has not ended yet"))
                .hint(format!("`raddle watch {id}` follows it")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    terminal::tell(&format!("run {id} is stopped\n"));
    Ok(Exit::Success)
}

/// Ends a run that no engine owns: only its journal changes.
fn cancel(home: &Home, id: RunId, opened: &Opened) -> Result<Exit, Problem> {
    let (mut journal, records) = own(home, id)?;
    let mut program = Nothing(Arc::clone(opened.view.run.graph()));
    let (mut nobody, mut clock) = (Nobody, SystemClock::default());
    let mut engine =
        Engine::new(&mut program, &mut nobody, &mut journal, &mut clock, Admission::new(Vec::new(), false));
    engine.on_storage_fault(raddle_engine::OnStorageFault::Leave);
    engine.load(records).map_err(|e| engine_problem(id.as_str(), &e))?;
    engine.cancel().map_err(|_| Problem::usage(format!("run {id} cannot be stopped any more")))?;
    engine.take_over();
    engine.drive().map_err(|e| engine_problem(id.as_str(), &e))?;
    terminal::tell(&format!("run {id} is stopped; no engine owned it\n"));
    Ok(Exit::Success)
}

/// A program that is never asked for anything: a cancelled run starts nothing.
struct Nothing(Arc<Graph>);

impl Program for Nothing {
    fn graph(&self) -> &Arc<Graph> {
        &self.0
    }

    fn prepare(&mut self, _key: AttemptKey, _context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        Err(Failure::new(FailureClass::Cancelled, "the run is being stopped"))
    }

    fn read_output(&mut self, _task: TaskIx, _raw: RawOutput) -> Result<Arc<str>, Failure> {
        Ok("null".into())
    }

    fn price(&self, _task: TaskIx, _usage: &mut Usage) {}
}

/// Performs nothing.
pub(super) struct Nobody;

impl Dispatcher for Nobody {
    fn start(&mut self, _spec: AttemptSpec) {}

    fn stop(&mut self, _key: AttemptKey, _cause: StopCause, _grace: Duration) {}

    fn answered(&mut self, _ticket: u64, _said: Result<(), Vec<String>>) {}

    fn wait(&mut self, _until: Option<Time>, _reports: &mut Vec<Report>) {}
}
