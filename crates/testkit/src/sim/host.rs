//! The life of a run through all its engines: begin or load, take over, hear people's words, drive, die, and again. It
//! knows the ports of the simulation and what a person may do; it decides nothing that the engine ought to decide.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Failure, ProcessWork, RawOutput, StopKind, Usage, Work};
use raddle_engine::fact::{Chapter, OutputRef, Record};
use raddle_engine::gates::{self, Answer, Question, Refused};
use raddle_engine::ledger::Ledger;
use raddle_engine::outputs::Outputs;
use raddle_engine::ports::{Journal, JournalError};
use raddle_engine::program::{Context, Inquiry, Program, Turn};
use raddle_engine::view::RunView;
use raddle_engine::{Budget, Ending, Engine, EngineError, Observer, OnStorageFault, StorageNews};
use raddle_kernel::{
    Attempt, Cause, FailureClass, Gate, Graph, OnDoubt, Outcome, Phase, Refusal, RetryPolicy, Run, Strength, TaskIx,
    TaskState,
};

use super::disk::SimJournal;
use super::reference::{Word, is_allowed};
use super::sabotage::Sabotage;
use super::stage::Stage;
use super::story::{Deed, Story};
use super::world::{Crash, Mishap, SimClock, World};
use super::{means, people};

/// Misfortunes and words happen to that many engines of a story; later ones are left in peace and must finish it.
const EVENTFUL: u32 = 7;

type SimEngine<'a> = Engine<'a, SimProgram, Stage, SimJournal, SimClock>;

/// The program of a simulation: checks what it is shown, and makes attempts that say who they are.
struct SimProgram {
    world: Rc<World>,
    graph: Arc<Graph>,
    run_dir: Arc<Path>,
}

impl SimProgram {
    fn spec(&self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        let story = &self.world.story;
        for (dependency, _) in &story.task(key.task).depends_on {
            if let TaskState::Completed { attempt } = context.run.state(*dependency) {
                let text = context.outputs.text(*dependency, context.journal);
                if !text.is_ok_and(|text| *text == *story.output(*dependency, attempt)) {
                    self.world.violated(format!("{key:?} is shown a wrong output of task {}", dependency.0));
                }
            }
        }
        if story.act(key.task, key.attempt).deed == Deed::Unpreparable {
            return Err(Failure::new(FailureClass::Input, "the story wants it"));
        }
        Ok(AttemptSpec {
            key,
            epoch: context.epoch,
            task_id: "t".into(),
            work: Work::Process(ProcessWork { argv: Vec::new(), deps: None }),
            env: Vec::new(),
            cwd: PathBuf::new(),
            timeout: Duration::from_millis(story.task(key.task).timeout_ms),
            idle: None,
            run_dir: Arc::clone(&self.run_dir),
            demands: Default::default(),
        })
    }
}

impl Program for SimProgram {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn conditional(&self) -> Vec<TaskIx> {
        let story = &self.world.story;
        story.all().filter(|task| story.task(*task).condition.is_some()).collect()
    }

    fn turn(&mut self, task: TaskIx, _context: &Context<'_>) -> Turn {
        match self.world.story.task(task).condition {
            Some(false) => Turn::Omit("the story wants it".into()),
            _ => Turn::Open,
        }
    }

    fn prepare(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        if context.left != self.world.ledger.borrow().money().left_of(key.task) {
            self.world.violated(format!("{key:?} may cost {:?}, its records say otherwise", context.left));
        }
        self.spec(key, context)
    }

    fn inquire(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<Option<Inquiry>, Failure> {
        let world = Rc::clone(&self.world);
        let asks = world.story.task(key.task).asks;
        let eventful = world.generations.get() <= EVENTFUL;
        if eventful && world.strikes(12) {
            world.note("work changed");
            *world.changes.borrow_mut().entry(key.task).or_default() += 1;
        }
        let spec = match asks.gate {
            Gate::Decides => None,
            _ => Some(Box::new(self.spec(key, context)?)),
        };
        let hash = content(&world, key.task, world.sabotage != Some(Sabotage::OverlookChange));
        let question = Question::new("may it?", "", hash);
        Ok(Some(Inquiry { question, expires: asks.expires_ms.map(Duration::from_millis), spec }))
    }

    fn answer_output(&mut self, task: TaskIx, _answer: &Answer) -> Result<Option<Arc<str>>, String> {
        let decides = self.graph.gate(task) == Gate::Decides;
        Ok(decides.then(|| self.world.story.output(task, Attempt(1)).into()))
    }

    fn task_named(&self, id: &str) -> Option<TaskIx> {
        let task = TaskIx(id.strip_prefix('t')?.parse().ok()?);
        (task.index() < self.world.story.tasks.len()).then_some(task)
    }

    fn read_output(&mut self, _task: TaskIx, raw: RawOutput) -> Result<Arc<str>, Failure> {
        match raw {
            RawOutput::Json(text) => Ok(text.into()),
            RawOutput::Text(_) => Err(Failure::new(FailureClass::Output, "unreadable")),
        }
    }

    fn price(&self, _task: TaskIx, _usage: &mut Usage) {}
}

/// The hash of what the task would do now; without `changes`, as if nothing ever changed.
pub(super) fn content(world: &World, task: TaskIx, changes: bool) -> [u8; 32] {
    let change = world.changes.borrow().get(&task).copied().unwrap_or(0);
    let mut hash = [0; 32];
    hash[..4].copy_from_slice(&task.0.to_le_bytes());
    hash[4..12].copy_from_slice(&if changes { change } else { 0 }.to_le_bytes());
    hash
}

/// Compares the live run with the ledger whenever something was published.
struct Auditor(Rc<World>);

impl Observer for Auditor {
    fn published(&mut self, _records: &[Record], run: &Run, outputs: &Outputs) {
        let world = &self.0;
        if world.sabotage != Some(Sabotage::LieAboutDurability) {
            world.insist(world.ledger.borrow().compare(run, outputs));
        }
    }

    fn storage(&mut self, news: StorageNews<'_>) {
        self.0.left_behind.set(matches!(news, StorageNews::LeftBehind { .. }));
        self.0.paused.set(matches!(news, StorageNews::Paused { .. }));
        self.0.note(match news {
            StorageNews::Paused { .. } => "paused",
            StorageNews::Recovered { .. } => "the disk is back",
            StorageNews::LeftBehind { .. } => "left while the disk was away",
        });
    }
}

/// Lets engine after engine drive the run until it has settled for good.
pub(super) fn live_on(world: &Rc<World>, depth: u32) {
    let mut last = None;
    while let Some(next) = generation(world, depth, last) {
        last = Some(next);
    }
}

/// How an engine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Drove(Ending),
    Died,
    Failed,
}

/// One engine's life. `None` when the run is over.
fn generation(world: &Rc<World>, depth: u32, last: Option<End>) -> Option<End> {
    let number = world.generations.get() + 1;
    world.generations.set(number);
    if number > 60 {
        world.violated("engine after engine, and no end");
    }
    let eventful = number <= EVENTFUL;
    let bad = last.is_some_and(|end| {
        matches!(end, End::Drove(Ending::Finished(Outcome::Failed | Outcome::Degraded | Outcome::Cancelled)))
    });
    if let Some(End::Drove(Ending::Finished(_))) = last
        && !((bad || is_exhausted(last)) && eventful && world.strikes(2))
    {
        return None;
    }
    let mut fails_in = (eventful && world.strikes(8)).then(|| world.below(20));
    world.set_fuse((eventful && world.strikes(2)).then(|| world.below(80)));
    match world.mishap.filter(|_| number == 1) {
        Some(Mishap::DiesAtCall(nth)) => world.set_fuse(Some(nth)),
        Some(Mishap::AppendFails(nth)) => fails_in = Some(nth),
        None => {}
    }
    let mut stage = Stage::new(world, depth);
    if eventful && world.strikes(5) {
        let kind = [StopKind::Cancel, StopKind::Interrupt, StopKind::Terminate][world.below(3) as usize];
        stage.will_be_stopped(world.below(600), kind);
        if world.strikes(3) {
            let again = [StopKind::Cancel, StopKind::Interrupt][world.below(2) as usize];
            stage.will_be_stopped(world.below(900), again);
        }
    }
    if eventful && depth == 0 && world.strikes(6) {
        stage.will_hang(world.below(400));
    }
    world.left_behind.set(false);
    world.paused.set(false);
    if world.one_in(2) {
        stage.will_stay();
    }
    let mut journal = SimJournal::open(world, fails_in);
    let drove = catch_unwind(AssertUnwindSafe(|| drive(world, &mut journal, &mut stage, last)));
    let stale = journal.epoch() != world.newest_epoch.get();
    let end = match drove {
        Ok(Ok(ending)) => End::Drove(ending),
        Ok(Err(EngineError::Journal(JournalError::Io { .. }))) => End::Failed,
        Ok(Err(EngineError::Journal(JournalError::Owned { .. }))) if stale => End::Failed,
        Ok(Err(e)) => world.violated(format!("an engine fails: {e}")),
        Err(payload) if payload.is::<Crash>() => End::Died,
        Err(payload) => std::panic::resume_unwind(payload),
    };
    if stale {
        // Another lived on to the end meanwhile; whatever this one believes, it has changed nothing.
        return None;
    }
    agree(world, end);
    Some(end)
}

/// Whether the run ended for want of money.
fn is_exhausted(last: Option<End>) -> bool {
    last == Some(End::Drove(Ending::Finished(Outcome::BudgetExhausted)))
}

/// What an engine says in the end must be what is on record.
fn agree(world: &World, end: End) {
    let ledger = world.ledger.borrow();
    let said = match end {
        End::Drove(Ending::Finished(outcome)) => ledger.finished() == Some(outcome),
        End::Drove(Ending::Waiting) => ledger.finished().is_none() && ledger.run().outcome() == Outcome::Waiting,
        // An append that failed may have been durable all the same; who left could not know.
        End::Drove(Ending::Stopped(_)) => ledger.finished().is_none() || world.left_behind.get(),
        End::Died | End::Failed => true,
    };
    if !said {
        world.violated(format!("{end:?}, but the records say {:?}", ledger.run().outcome()));
    }
}

fn drive(
    world: &Rc<World>,
    journal: &mut SimJournal,
    stage: &mut Stage,
    last: Option<End>,
) -> Result<Ending, EngineError> {
    let story = &world.story;
    let (graph, admission) = match world.sabotage {
        Some(sabotage) => sabotaged(story, sabotage),
        None => (story.graph(), story.admission()),
    };
    let run_dir: Arc<Path> = Path::new("").into();
    let mut program = SimProgram { world: Rc::clone(world), graph, run_dir };
    let (mut clock, mut auditor) = (SimClock(Rc::clone(world)), Auditor(Rc::clone(world)));
    let mut records = Vec::new();
    journal.replay(&mut |record| records.push(record))?;
    if world.sabotage == Some(Sabotage::LoadTooLittle) && records.len() > 2 {
        records.pop();
    }
    let (epoch, admission) = (journal.epoch(), admission.with_budget(money(world, &records)));
    let stays = stage.stays();
    let mut engine = Engine::new(&mut program, stage, journal, &mut clock, admission);
    engine.observe(&mut auditor);
    if world.one_in(3) {
        engine.on_storage_fault(OnStorageFault::Leave);
    }
    if stays {
        engine.stay();
    }
    if world.story.asks() && world.strikes(12) {
        world.note("approved by flag");
        engine.approve_all("a flag");
    }
    if records.is_empty() {
        engine.begin(chapter(story, story.snapshot().budget));
        // What `--only` leaves out.
        if world.strikes(8) {
            for task in story.all().filter(|_| world.one_in(3)) {
                say(world, &mut engine, Word::Skip, task);
            }
        }
    } else {
        engine.load(records)?;
        world.insist(world.ledger.borrow().compare(engine.run_state(), engine.outputs()));
        world.step("crash after load");
        if world.sabotage != Some(Sabotage::ForgetTakeOver) {
            engine.take_over();
        }
        go_on(world, &mut engine, last);
    }
    let ending = engine.drive()?;
    if epoch == world.newest_epoch.get() && !world.left_behind.get() {
        // Gates that ask nobody have to be noticed by what they let through.
        if world.sabotage != Some(Sabotage::OverlookBudget) {
            world.insist(world.ledger.borrow().compare_money(engine.budget()));
        }
        if ending == Ending::Finished(Outcome::Succeeded) && is_exhausted(last) {
            world.note("another budget, and all is well");
        }
    }
    Ok(ending)
}

/// The budget as it stands after the records.
fn money(world: &World, records: &[Record]) -> Ledger {
    let mut snapshot = world.story.snapshot();
    if world.sabotage == Some(Sabotage::OverlookBudget) {
        snapshot.budget = Budget::default();
    }
    if records.is_empty() || matches!(world.sabotage, Some(Sabotage::ForgetSpending | Sabotage::OverlookBudget)) {
        return Ledger::new(&snapshot);
    }
    match RunView::of(records.to_vec()) {
        Ok(view) => view.ledger,
        Err(e) => world.violated(format!("people are shown nothing: {}", e.what)),
    }
}

fn chapter(story: &Story, budget: Budget) -> Chapter {
    let snapshot = raddle_engine::snapshot::Snapshot { budget, ..story.snapshot() };
    let options = serde_json::to_string(&snapshot).expect("a snapshot is plain data");
    Chapter { run: "sim".into(), options, ..Chapter::default() }
}

/// What a person does with a run that was taken over.
fn go_on(world: &World, engine: &mut SimEngine<'_>, last: Option<End>) {
    let story = &world.story;
    let eventful = world.generations.get() <= EVENTFUL;
    let ended = matches!(last, Some(End::Drove(Ending::Finished(_))));
    give_money(world, engine, is_exhausted(last));
    let doubt = |t| matches!(engine.run_state().state(t), TaskState::Waiting { cause: Cause::Doubt, .. });
    let in_doubt = story.all().any(doubt);
    if eventful && !in_doubt && world.strikes(8) {
        world.note("new chapter");
        let completed: Vec<(TaskIx, Attempt, OutputRef)> = story
            .all()
            .filter_map(|task| Some((task, completed(engine.run_state(), task)?, kept(engine, task))))
            .collect();
        let budget = *engine.budget().limits();
        engine.begin(chapter(story, budget));
        for (task, attempt, output) in completed {
            // Changed since, as far as the new chapter knows.
            if world.one_in(4) {
                continue;
            }
            if engine.adopt(task, attempt, output).is_err() {
                world.violated("a completed task cannot be taken over");
            }
        }
        return;
    }
    if engine.run_state().outcome() == Outcome::Waiting {
        if eventful && world.strikes(4) {
            world.note("waiting left alone");
            return;
        }
        for task in story.all().filter(|t| waits(engine.run_state(), *t)).collect::<Vec<_>>() {
            if answer_before(world, engine, task) {
                continue;
            }
            say(world, engine, if world.one_in(2) { Word::Retry } else { Word::Skip }, task);
        }
    }
    if ended || eventful && world.strikes(4) {
        for _ in 0..1 + world.below(3) {
            let task = TaskIx(world.below(story.tasks.len() as u64) as u32);
            say(world, engine, if world.one_in(3) { Word::Skip } else { Word::Retry }, task);
        }
    }
}

/// An answer to a run that somebody has just taken over; false when it waits for something else.
fn answer_before(world: &World, engine: &mut SimEngine<'_>, task: TaskIx) -> bool {
    let TaskState::Waiting { cause, .. } = engine.run_state().state(task) else { return true };
    let expires_at = match cause {
        Cause::Approval { expires_at } => expires_at,
        _ if world.one_in(3) => {
            let said = engine.answer(&people::answer(task, gates::Word::Reject, None));
            if said.is_err() {
                world.violated(format!("task {} waits and cannot be given up: {said:?}", task.0));
            }
            return true;
        }
        _ => return false,
    };
    let word = match world.below(4) {
        0 => gates::Word::Reject,
        _ => gates::Word::Approve { answer: None },
    };
    let question = world.ledger.borrow().asked(task);
    let said = engine.answer(&people::answer(task, word, question));
    match said {
        Ok(()) => world.note("word: answer"),
        Err(Refused::Late) if expires_at.is_some_and(|at| at.0 <= world.now()) => {}
        Err(Refused::Changed | Refused::Unfit(_)) => {}
        Err(other) => world.violated(format!("an answer about task {} is refused: {other}", task.0)),
    }
    true
}

/// Another budget for a run that may go on.
fn give_money(world: &World, engine: &mut SimEngine<'_>, exhausted: bool) {
    let eventful = world.generations.get() <= EVENTFUL;
    let open = matches!(engine.run_state().finished(), None | Some(Outcome::BudgetExhausted));
    if world.story.means.is_none() || !open || !(exhausted && world.one_in(2) || eventful && world.strikes(10)) {
        return;
    }
    let spent = engine.budget().spent();
    let by = 1 + world.below(80);
    let budget = means::larger(engine.budget().limits(), spent.usd, spent.tokens, spent.agents, by);
    world.note(if exhausted { "word: budget" } else { "budget without an end before" });
    if engine.set_budget(budget).is_err() {
        world.violated("a run that may go on takes no other budget");
    }
}

fn completed(run: &Run, task: TaskIx) -> Option<Attempt> {
    match run.state(task) {
        TaskState::Completed { attempt } => Some(attempt),
        _ => None,
    }
}

fn waits(run: &Run, task: TaskIx) -> bool {
    run.state(task).phase() == Phase::Waiting
}

fn kept(engine: &SimEngine<'_>, task: TaskIx) -> OutputRef {
    engine.outputs().get(task).cloned().unwrap_or_else(|| OutputRef::Inline("null".into()))
}

/// A word is heard exactly when the states allow it.
fn say(world: &World, engine: &mut SimEngine<'_>, word: Word, task: TaskIx) {
    let run = engine.run_state();
    let allowed = is_allowed(&world.story, &|t| run.state(t), word, task);
    let said = match word {
        Word::Retry => engine.retry(task),
        Word::Skip => engine.skip(task),
    };
    match (allowed, said) {
        (true, Ok(())) => world.note(if word == Word::Retry { "word: retry" } else { "word: skip" }),
        (false, Err(Refusal::NotNow)) => world.note("word refused"),
        (_, said) => world.violated(format!("{word:?} of task {}: {said:?}, allowed: {allowed}", task.0)),
    }
}

/// The graph and the gates as a faulty engine sees them.
fn sabotaged(story: &Story, sabotage: Sabotage) -> (Arc<Graph>, raddle_engine::admission::Admission) {
    let mut seen = story.clone();
    match sabotage {
        Sabotage::RaiseCaps => seen.caps.iter_mut().for_each(|cap| *cap += 1),
        Sabotage::LowerCaps => seen.caps.iter_mut().for_each(|cap| *cap = 1),
        Sabotage::ForgetWaves => seen.waves = false,
        _ => {}
    }
    for plot in &mut seen.tasks {
        match sabotage {
            Sabotage::ForgetGates => plot.asks.gate = Gate::None,
            Sabotage::ForgetPeople => plot.asks.escalates = false,
            Sabotage::RerunInDoubt => plot.spec.on_doubt = OnDoubt::Rerun,
            Sabotage::ForgetPriorities => plot.spec.priority = 0,
            Sabotage::ForgetEdges => plot.depends_on.retain(|(_, strength)| *strength == Strength::Soft),
            Sabotage::HurryRetries => plot.retry = RetryPolicy { initial_ms: 0, ..plot.retry },
            Sabotage::RetryOnceMore => plot.retry.max += 1,
            Sabotage::ForgetSafety => plot.spec.safe_to_fail = false,
            _ => {}
        }
    }
    (seen.graph(), seen.admission())
}
