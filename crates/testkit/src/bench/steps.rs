//! Steps that do nothing, through the real engine and the real journal: what a durable step costs.

use std::path::Path;
use std::time::Instant;

use raddle_engine::admission::{Admission, Cap};
use raddle_engine::fact::Chapter;
use raddle_engine::{Ending, Engine, Outcome, Time};
use raddle_journal::{Home, RunMeta, SqliteJournal};
use raddle_kernel::Graph;

use super::{Scratch, number};
use crate::dag;
use crate::noop::{NoopDispatcher, NoopProgram, WallClock};

/// A new run in a folder.
pub fn journal(folder: &Path) -> Result<SqliteJournal, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|e| e.to_string())?;
    let home = Home::open(folder);
    let (_, journal) = home
        .create_new(Time(now.as_millis() as u64), &mut || now.subsec_nanos(), RunMeta::default())
        .map_err(|e| e.to_string())?;
    Ok(journal)
}

/// Runs a graph of no-ops with at most `slots` at once; seconds.
pub fn run(graph: Graph, journal: &mut SqliteJournal, slots: u32) -> Result<f64, String> {
    let mut program = NoopProgram::new(graph);
    let (mut dispatcher, mut clock) = (NoopDispatcher::default(), WallClock);
    let cap = Cap { value: slots, bound_by: "benchmark".into(), of: "steps" };
    let mut engine = Engine::new(&mut program, &mut dispatcher, journal, &mut clock, Admission::new(vec![cap], false));
    let began = Instant::now();
    engine.begin(Chapter::default());
    match engine.drive() {
        Ok(Ending::Finished(Outcome::Succeeded)) => Ok(began.elapsed().as_secs_f64()),
        Ok(other) => Err(format!("ended as {other:?}")),
        Err(e) => Err(e.to_string()),
    }
}

/// Every node of a `.dag` file a no-op.
pub fn noop(file: &str) -> Result<String, String> {
    let began = Instant::now();
    let graph = dag::read(Path::new(file))?;
    let (nodes, build) = (graph.len(), began.elapsed().as_secs_f64());
    let scratch = Scratch::new()?;
    let mut journal = journal(scratch.path())?;
    let seconds = run(graph, &mut journal, u32::MAX)?;
    let bytes = journal_bytes(&journal);
    Ok(format!(
        "{{\"nodes\":{nodes},\"build_s\":{build:.6},\"run_s\":{seconds:.6},\"log_bytes_per_node\":{:.1}}}",
        bytes as f64 / nodes as f64
    ))
}

fn journal_bytes(journal: &SqliteJournal) -> u64 {
    let entries = std::fs::read_dir(journal.folder()).into_iter().flatten().flatten();
    let journals = entries.filter(|e| e.file_name().to_string_lossy().starts_with("journal"));
    journals.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

/// Durable steps: in a row, all at once, or 16 chains side by side. A step is durable before what follows it starts.
pub fn durable(shape: &str, steps: &str) -> Result<String, String> {
    let steps = number(steps)?;
    let (graph, slots) = match shape {
        "chain" => (dag::chain(steps), u32::MAX),
        // As many at once as the limit that it is compared with has writers.
        "fan" => (dag::fan(steps), 64),
        "conc" => (dag::chains(16, steps), u32::MAX),
        other => return Err(format!("unknown shape {other}")),
    };
    let scratch = Scratch::new()?;
    let mut journal = journal(scratch.path())?;
    let seconds = run(graph, &mut journal, slots)?;
    Ok(format!("{{\"steps\":{steps},\"run_s\":{seconds:.6},\"steps_per_s\":{:.1}}}", f64::from(steps) / seconds))
}
