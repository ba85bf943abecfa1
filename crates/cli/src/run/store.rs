//! Finding and reading runs: from the word that a person typed to a view. It does not know how runs are shown or
//! driven.

use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::ports::JournalError;
use raddle_engine::view::{NotARun, RunView};
use raddle_engine::{EngineError, Time};
use raddle_journal::{Home, Reader, RunId, RunMeta};

use crate::exit::Exit;
use crate::places;
use crate::problem::Problem;

/// How long a run may take until its first record.
const BEGINNING: Duration = Duration::from_secs(2);

/// The folder of all runs.
pub fn home() -> Result<Home, Problem> {
    places::state_folder().map(Home::open)
}

/// The run that a person means.
pub fn resolve(home: &Home, name: &str) -> Result<RunId, Problem> {
    home.resolve(name).map_err(|e| Problem::usage(format!("`{name}`: {e}")).hint("`raddle ps` lists the runs"))
}

/// A run that is read, whoever owns it.
pub struct Opened {
    /// Its id.
    pub id: RunId,
    /// Its journal.
    pub reader: Reader,
    /// Its fold.
    pub view: RunView,
    /// Whether an engine owns it now.
    pub live: bool,
    /// Why that engine can record nothing for now.
    pub paused: Option<String>,
}

impl Opened {
    /// Reads a run from beginning to end.
    pub fn open(home: &Home, id: RunId) -> Result<Opened, Problem> {
        let mut reader = await_reader(home, &id).map_err(|e| journal_problem(id.as_str(), &e))?;
        let mut records = Vec::new();
        reader.read(&mut |record| records.push(record)).map_err(|e| journal_problem(id.as_str(), &e))?;
        let view = view_of(&id, records)?;
        // Asked after reading: a run that ended meanwhile is then shown as it was while it lived, never the reverse.
        let live = view.run.finished().is_none() && home.is_live(&id);
        let paused = home.paused(&id).filter(|_| live);
        Ok(Opened { id, reader, view, live, paused })
    }

    /// Reads the run that a person means.
    pub fn named(name: &str) -> Result<Opened, Problem> {
        let home = home()?;
        let id = resolve(&home, name)?;
        Opened::open(&home, id)
    }

    /// The text of an output.
    pub fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        self.reader.load(output)
    }
}

/// A run that is listed may be a moment before its first record.
fn await_reader(home: &Home, id: &RunId) -> Result<Reader, JournalError> {
    let asked = Instant::now();
    loop {
        // Asked first: a run that begins and ends meanwhile has a journal by then.
        let live = home.is_live(id);
        match home.open_reader(id) {
            Err(JournalError::NotFound) if live && asked.elapsed() < BEGINNING => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Folds records; what cannot be folded is damage.
pub fn view_of(id: &RunId, records: Vec<Record>) -> Result<RunView, Problem> {
    RunView::of(records).map_err(|e| damaged(id.as_str(), &format!("record {}: {}", e.seq, e.what)))
}

/// The same over records that are needed afterwards. A copy of them all would be most of a large run's memory.
pub fn view_over(id: &RunId, records: &[Record]) -> Result<RunView, Problem> {
    let wrong = |e: NotARun| damaged(id.as_str(), &format!("record {}: {}", e.seq, e.what));
    let Some((first, rest)) = records.split_first() else { return view_of(id, Vec::new()) };
    let mut view = RunView::begin(first).map_err(wrong)?;
    rest.iter().try_for_each(|record| view.apply(record)).map_err(wrong)?;
    Ok(view)
}

/// Takes the end of the run out of its index, since it is to go on; what was said of it before. An index only: when it
/// cannot be written, the journal still says the same.
pub fn reopen(home: &Home, id: &RunId) -> Option<RunMeta> {
    let before = home.meta(id).filter(|meta| meta.outcome.is_some())?;
    let _ = home.set_meta(id, &RunMeta { outcome: None, finished_at: None, ..before.clone() });
    Some(before)
}

/// The present moment.
pub fn now() -> Time {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Time(since.map_or(0, |d| d.as_millis() as u64))
}

fn damaged(run: &str, what: &str) -> Problem {
    Problem::new(Exit::Damaged, format!("the journal of run {run} is damaged: {what}"))
        .hint("the run is left alone; other runs are not affected")
        .hint(format!("`raddle fsck {run}` says what is wrong; with `--salvage` it keeps what comes before the damage"))
}

/// An error with all its causes.
pub fn with_causes(error: &JournalError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// What stands for the name of a run that has none yet.
pub const UNBORN: &str = "(new)";

/// A journal's error in words, with the exit code that follows.
pub fn journal_problem(run: &str, error: &JournalError) -> Problem {
    let chain = with_causes;
    match error {
        JournalError::Damaged { .. } | JournalError::OutOfStep { .. } => damaged(run, &chain(error)),
        JournalError::UnknownVersion { .. } => Problem::new(Exit::Damaged, format!("run {run}: {error}"))
            .hint("install the version that wrote it, or newer"),
        JournalError::Owned { by } => {
            Problem::new(Exit::Owned, format!("run {run} is owned by another process ({by})"))
                .hint(format!("`raddle watch {run}` follows it; `raddle stop {run}` ends it"))
        }
        JournalError::NotFound => Problem::usage(format!("no run {run}")).hint("`raddle ps` lists the runs"),
        JournalError::Io { .. } if run == UNBORN => {
            Problem::new(Exit::Failed, format!("a new run could not be made: {}", chain(error)))
                .hint("nothing was started; RADDLE_HOME names the folder that runs are kept in")
        }
        JournalError::Io { .. } => Problem::new(Exit::Failed, format!("the journal of run {run}: {}", chain(error)))
            .hint(format!(
                "nothing that was reported as done is lost; `raddle resume {run}` when the disk is well again"
            )),
    }
}

/// An engine's error in words.
pub fn engine_problem(run: &str, error: &EngineError) -> Problem {
    match error {
        EngineError::Journal(error) => journal_problem(run, error),
        EngineError::Illegal { .. } => damaged(run, &error.to_string()),
    }
}
