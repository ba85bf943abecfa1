//! `raddle fsck`: whether what is stored of runs is whole, and a new journal from the good beginning of a damaged one.
//! It looks, unless it is told to salvage; one run's damage is nothing to another. It does not know how journals are
//! stored.

use std::collections::HashSet;
use std::fmt::Write as _;

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_engine::ports::JournalError;
use raddle_engine::view::RunView;
use raddle_journal::{Home, RunId, Salvage};
use serde_json::{Value, json};

use super::look::print_json;
use super::store::{self, journal_problem};
use crate::args::FsckArgs;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, counted, harmless};

/// What is wrong with a run, in the words of `--json`.
struct Fault {
    /// `journal`, `records`, `output` or `index`.
    part: &'static str,
    what: String,
}

/// What was found of one run.
struct Found {
    id: RunId,
    live: bool,
    /// Records that can be read and make sense.
    records: u64,
    outputs: usize,
    faults: Vec<Fault>,
    /// Up to where everything is whole, where that is not everything that can be read.
    keep: Option<(u64, String)>,
    salvaged: Option<Salvage>,
}

/// `raddle fsck`.
pub fn fsck(args: FsckArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    if args.salvage && args.run.is_none() && !args.all {
        return Err(Problem::usage("`--salvage` needs a run, or `--all`")
            .hint("`raddle fsck` alone looks at all runs and changes nothing"));
    }
    let runs = match &args.run {
        Some(name) => vec![store::resolve(&home, name)?],
        None => home.ids().map_err(|e| Problem::io("list the runs", &e))?,
    };
    let mut all = Vec::with_capacity(runs.len());
    for id in runs {
        let mut found = look(&home, id);
        if args.salvage && found.is_damaged() {
            let keep = found.keep.as_ref().map(|(last, why)| (*last, why.as_str()));
            match home.salvage(&id, keep, store::now()) {
                Ok(salvage) => {
                    // Its end may be among what is not known any more.
                    store::reopen(&home, &id);
                    found.salvaged = Some(salvage);
                }
                Err(JournalError::Damaged { what, .. }) => {
                    found.faults.push(Fault { part: "journal", what: format!("it cannot be salvaged: {what}") });
                }
                // One that cannot be salvaged keeps nobody from the others.
                Err(e) if args.run.is_some() => return Err(journal_problem(id.as_str(), &e)),
                Err(e) => {
                    let what = journal_problem(id.as_str(), &e).message;
                    found.faults.push(Fault { part: "journal", what: format!("it cannot be salvaged: {what}") });
                }
            }
        }
        all.push(found);
    }
    match args.json {
        true => print_json(&Value::Array(all.iter().map(Found::json).collect()))?,
        false => terminal::print(&all.iter().map(Found::words).collect::<String>())?,
    }
    let damaged = all.iter().filter(|found| found.is_damaged() && found.salvaged.is_none()).count();
    terminal::tell(&format!("{} looked at, {damaged} damaged\n", counted(all.len(), "run")));
    Ok(if damaged == 0 { Exit::Success } else { Exit::Damaged })
}

/// Reads a run from beginning to end, with all its outputs.
fn look(home: &Home, id: RunId) -> Found {
    let live = home.is_live(&id);
    let mut found = Found { id, live, records: 0, outputs: 0, faults: Vec::new(), keep: None, salvaged: None };
    let mut fault = |part, what: String| found.faults.push(Fault { part, what });
    let mut records: Vec<Record> = Vec::new();
    let reader = home.open_reader(&id).map(|mut reader| {
        let read = reader.read(&mut |record| records.push(record));
        if let Err(e) = read {
            fault("journal", store::with_causes(&e));
        }
        reader
    });
    let reader = match reader {
        Ok(reader) => reader,
        // Created and not begun.
        Err(JournalError::NotFound) if live => return found,
        Err(e) => {
            fault("journal", store::with_causes(&e));
            return found;
        }
    };
    let mut keep: Option<(u64, String)> = None;
    let mut known: HashSet<[u8; 32]> = HashSet::new();
    let mut broken: HashSet<[u8; 32]> = HashSet::new();
    for record in &records {
        let Some(stored @ OutputRef::Stored { digest, .. }) = output_of(&record.fact) else { continue };
        if known.insert(*digest)
            && let Err(e) = reader.load(stored)
        {
            broken.insert(*digest);
            fault("output", format!("of record {}: {}", record.seq, store::with_causes(&e)));
        }
        if broken.contains(digest) && keep.is_none() {
            keep = Some((record.seq - 1, format!("the output that record {} names is gone", record.seq)));
        }
    }
    let end = records.len() as u64;
    let folded = RunView::of(records);
    match &folded {
        Ok(view) => {
            let outcome = view.run.finished().map(|outcome| outcome.name().to_owned());
            match home.meta(&id) {
                None => fault("index", "meta.json is missing or unreadable; the records know all that it says".into()),
                Some(meta) if meta.outcome.is_some() && meta.outcome != outcome => {
                    fault(
                        "index",
                        format!("meta.json says {:?}, the records say otherwise", meta.outcome.unwrap_or_default()),
                    );
                }
                Some(_) => {}
            }
        }
        Err(e) if end > 0 => {
            fault("records", format!("record {} cannot follow: {}", e.seq, e.what));
            if keep.as_ref().is_none_or(|(last, _)| *last >= e.seq) {
                keep = Some((e.seq.saturating_sub(1), format!("record {} cannot follow the ones before it", e.seq)));
            }
        }
        Err(_) => {}
    }
    found.records = folded.map_or_else(|e| e.seq.saturating_sub(1), |view| view.seq);
    found.outputs = known.len();
    found.keep = keep;
    found
}

fn output_of(fact: &Fact) -> Option<&OutputRef> {
    match fact {
        Fact::AttemptSucceeded { output, .. } | Fact::TaskAdopted { output, .. } => Some(output),
        _ => None,
    }
}

impl Found {
    /// An index that is wrong is rebuilt from the records by whoever needs it.
    fn is_damaged(&self) -> bool {
        self.faults.iter().any(|fault| fault.part != "index")
    }

    fn state(&self) -> &'static str {
        match (self.is_damaged(), &self.salvaged) {
            (true, Some(_)) => "salvaged",
            (true, None) => "damaged",
            (false, _) => "sound",
        }
    }

    fn json(&self) -> Value {
        let faults: Vec<Value> = self.faults.iter().map(|f| json!({"part": f.part, "what": f.what})).collect();
        let salvaged = self
            .salvaged
            .as_ref()
            .map(|s| json!({"records": s.records, "reason": s.reason, "damaged": s.damaged.to_string_lossy()}));
        json!({"run": self.id.as_str(), "state": self.state(), "live": self.live, "records": self.records,
               "outputs": self.outputs, "faults": faults, "salvaged": salvaged})
    }

    fn words(&self) -> String {
        let (records, outputs) = (counted(self.records as usize, "record"), counted(self.outputs, "stored output"));
        let mut text = format!("{}  {}  {records}, {outputs}\n", self.id, self.state());
        for fault in &self.faults {
            let _ = writeln!(text, "  {}: {}", fault.part, harmless(&fault.what));
        }
        match &self.salvaged {
            Some(salvage) => {
                let kept = counted(salvage.records as usize, "record");
                let _ = writeln!(
                    text,
                    "  the new journal begins with {kept} of the old one, which is kept in {}",
                    salvage.damaged.display()
                );
                let _ = writeln!(
                    text,
                    "  what came after them is not known: raddle resume {} says what it would do",
                    self.id
                );
            }
            None if self.is_damaged() && self.records > 0 => {
                let _ = writeln!(text, "  to keep what comes before it:  raddle fsck {} --salvage", self.id);
            }
            None => {}
        }
        text
    }
}
