//! Stores that fail for a while: nothing is said that is not durable, nothing that came is lost, nothing starts meanwhile,
//! and the run goes on by itself. Each story is a workflow text, a script and a journal with a fault.

#![expect(clippy::unwrap_used, reason = "tests say what is wrong by failing")]

mod kit;

use std::sync::Arc;

use kit::Told;
use raddle_engine::attempt::{RawOutput, StopKind};
use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::outputs::Outputs;
use raddle_engine::ports::{Journal, JournalError};
use raddle_engine::{Ending, Engine, EngineError, Observer, Outcome, StorageNews};
use raddle_journal::MemoryJournal;
use raddle_kernel::Run;
use raddle_testkit::script::{Part, Scripted};

/// What fails, from which call on, how often, and whether the first failure is a lie.
#[derive(Clone, Copy, Default)]
struct Fault {
    append: u32,
    store: u32,
    times: u32,
    lies: bool,
}

struct Faulty {
    inner: MemoryJournal,
    fault: Fault,
    failing: u32,
    word: Option<String>,
}

fn no() -> JournalError {
    JournalError::Io { what: "append to the journal".into(), source: "no space left on device".into() }
}

impl Faulty {
    /// Counts down to the fault, and through it.
    fn due(failing: &mut u32, until: &mut u32, times: u32) -> bool {
        if *until == 1 {
            *failing = times;
        }
        *until = until.saturating_sub(1);
        Self::fails(failing)
    }

    fn fails(failing: &mut u32) -> bool {
        let fails = *failing > 0;
        *failing = failing.saturating_sub(1);
        fails
    }
}

impl Journal for Faulty {
    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }
    fn last_seq(&self) -> u64 {
        self.inner.last_seq()
    }
    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if Self::due(&mut self.failing, &mut self.fault.append, self.fault.times) {
            if std::mem::take(&mut self.fault.lies) {
                self.inner.append(records)?;
            }
            return Err(no());
        }
        self.inner.append(records)
    }
    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        self.inner.replay(each)
    }
    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        if Self::due(&mut self.failing, &mut self.fault.store, self.fault.times) {
            return Err(no());
        }
        self.inner.store(text)
    }
    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        self.inner.load(output)
    }
    fn reopen(&mut self) -> Result<u64, JournalError> {
        if Self::fails(&mut self.failing) { Err(no()) } else { Ok(self.inner.last_seq()) }
    }
    fn leave_word(&mut self, why: Option<&str>) {
        self.word = why.map(str::to_owned);
    }
}

/// Remembers what was published and what was told of the store.
#[derive(Default)]
struct Witness {
    seen: Vec<u64>,
    news: Vec<&'static str>,
    reason: String,
    at_work: usize,
}

impl Observer for Witness {
    fn published(&mut self, records: &[Record], _run: &Run, _outputs: &Outputs) {
        self.seen.extend(records.iter().map(|r| r.seq));
    }
    fn storage(&mut self, news: StorageNews<'_>) {
        self.news.push(match news {
            StorageNews::Paused { reason, at_work, .. } => {
                self.reason = reason.to_owned();
                self.at_work = at_work;
                "paused"
            }
            StorageNews::Recovered { .. } => "recovered",
            StorageNews::LeftBehind { .. } => "left behind",
        });
    }
}

fn drive(told: &Told, fault: Fault, dispatcher: &mut Scripted<'_>) -> (Witness, Result<Ending, EngineError>) {
    let (mut program, mut clock, mut witness) = (told.program(), told.clock.clone(), Witness::default());
    let inner = told.store.open_owner().unwrap();
    let mut journal = Faulty { inner, fault, failing: 0, word: None };
    let ended = {
        let mut engine = Engine::new(&mut program, dispatcher, &mut journal, &mut clock, told.admission());
        engine.observe(&mut witness);
        engine.begin(told.chapter());
        engine.drive()
    };
    let is_over = witness.news.last() != Some(&"left behind");
    assert!(journal.word.is_none() || !is_over, "the word that was left for readers is stale: {:?}", journal.word);
    (witness, ended)
}

const FAN: &str = "tasks: [{id: a, run: x}, {id: b, run: x}, {id: c, run: x, depends_on: [a]}]";

#[test]
fn a_full_disk_pauses_the_run_and_it_goes_on_by_itself() {
    for lies in [false, true] {
        for append in 2..=4 {
            for times in [1, 2, 5] {
                let told = Told::of(FAN);
                let mut dispatcher = Scripted::new(&told.clock, |spec| match &*spec.task_id {
                    "b" => Part::Ends(2_000, Ok(RawOutput::Text("slow".into()))),
                    _ => Part::Ends(300, Ok(RawOutput::Text("done".into()))),
                });
                let fault = Fault { append, times, lies, ..Fault::default() };
                let (witness, ended) = drive(&told, fault, &mut dispatcher);
                assert_eq!(ended.unwrap(), Ending::Finished(Outcome::Succeeded));
                assert_eq!((witness.news.first(), witness.news.last()), (Some(&"paused"), Some(&"recovered")));
                assert_eq!(witness.reason, "cannot append to the journal: no space left on device");
                assert_eq!(dispatcher.started.len(), 3, "nothing was started twice");
                let durable: Vec<u64> = told.records().iter().map(|r| r.seq).collect();
                assert_eq!(witness.seen, durable, "told once each is what is durable");
                let facts = told.facts();
                assert_eq!(facts.iter().filter(|f| f.contains("starts")).count(), 3, "{facts:?}");
                assert!(facts.contains(&"storage recovered".to_owned()), "{facts:?}");
            }
        }
    }
}

#[test]
fn nothing_starts_while_nothing_can_be_recorded() {
    let told = Told::of(FAN);
    let mut dispatcher = Scripted::new(&told.clock, |spec| match &*spec.task_id {
        "b" => Part::Ends(9_000, Ok(RawOutput::Text("slow".into()))),
        _ => Part::Ends(300, Ok(RawOutput::Text("done".into()))),
    });
    // The end of `a` cannot be recorded for some twelve seconds, in which `b` ends too.
    let (witness, ended) = drive(&told, Fault { append: 2, times: 8, ..Fault::default() }, &mut dispatcher);
    assert_eq!(ended.unwrap(), Ending::Finished(Outcome::Succeeded));
    assert!(witness.news.len() > 4 && witness.at_work == 0, "{:?}", witness.news);
    let facts = told.facts();
    let at = |fact: &str| facts.iter().position(|f| f == fact).unwrap_or_else(|| panic!("no {fact}: {facts:?}"));
    let recovered = told.records()[at("storage recovered")].at.0;
    assert!(told.clock.millis() > 12_000 && recovered > 12_000, "{recovered}");
    assert_eq!(told.records()[at("c succeeds")].at.0, recovered + 300, "it was started when that was recorded");
}

#[test]
fn an_output_that_finds_no_room_is_stored_later() {
    let told = Told::of(FAN);
    let long = "o".repeat(10_000);
    let text = long.clone();
    let mut dispatcher = Scripted::new(&told.clock, move |_| Part::Ends(300, Ok(RawOutput::Text(text.clone()))));
    let (witness, ended) = drive(&told, Fault { store: 2, times: 3, ..Fault::default() }, &mut dispatcher);
    assert_eq!(ended.unwrap(), Ending::Finished(Outcome::Succeeded));
    assert!(witness.news.contains(&"paused"));
    for task in ["a", "b", "c"] {
        assert_eq!(told.output(task), format!("\"{long}\""), "{task}");
    }
}

#[test]
fn who_leaves_while_the_disk_is_away_leaves_a_run_that_can_be_resumed() {
    for (kind, left) in [(StopKind::Interrupt, true), (StopKind::Terminate, true), (StopKind::Cancel, false)] {
        let told = Told::of("tasks: [{id: a, run: x, on_doubt: rerun}, {id: b, run: x, on_doubt: rerun}]");
        let mut dispatcher = Scripted::new(&told.clock, |spec| match &*spec.task_id {
            "a" => Part::Ends(300, Ok(RawOutput::Text("done".into()))),
            _ => Part::Hangs(50),
        });
        dispatcher.stop_after(1_000, kind);
        let (witness, ended) = drive(&told, Fault { append: 2, times: u32::MAX, ..Fault::default() }, &mut dispatcher);
        match left {
            true => assert_eq!(ended.unwrap(), Ending::Stopped(kind)),
            false => assert!(matches!(ended, Err(EngineError::Journal(JournalError::Io { .. }))), "{ended:?}"),
        }
        assert_eq!(witness.news.last(), Some(&"left behind"));
        assert_eq!(dispatcher.stops.len(), 1, "what was alive was ended, what had ended was left alone");
        assert_eq!(told.facts(), ["started", "a starts 1", "b starts 1"].map(String::from));
        let (ending, started) = told.run(|_, _| Part::text("done"));
        assert_eq!((ending, started.len()), (Ending::Finished(Outcome::Succeeded), 2));
    }
}

#[test]
fn who_leaves_when_the_disk_comes_back_begins_nothing_more() {
    let told = Told::of(
        "tasks:
  - {id: a, run: x}
  - {id: b, run: x, on_doubt: rerun}
  - {id: c, run: x, on_doubt: rerun, depends_on: [a]}",
    );
    let mut dispatcher = Scripted::new(&told.clock, |spec| match &*spec.task_id {
        "b" => Part::Hangs(50),
        _ => Part::Ends(300, Ok(RawOutput::Text("done".into()))),
    });
    // That `a` has ended and `c` may begin cannot be recorded until after the word to stop.
    dispatcher.stop_after(1_000, StopKind::Interrupt);
    let (witness, ended) = drive(&told, Fault { append: 2, times: 4, ..Fault::default() }, &mut dispatcher);
    assert_eq!(ended.unwrap(), Ending::Stopped(StopKind::Interrupt));
    assert_eq!(witness.news.last(), Some(&"recovered"));
    assert!(told.facts().contains(&"c starts 1".to_owned()), "{:?}", told.facts());
    assert!(dispatcher.started.iter().all(|spec| &*spec.task_id != "c"), "it was begun by an engine that is leaving");
    let (ending, started) = told.run(|_, _| Part::text("done"));
    assert_eq!((ending, started.len()), (Ending::Finished(Outcome::Succeeded), 2));
}

#[test]
fn a_timeout_holds_while_the_disk_is_away() {
    let told = Told::of("tasks: [{id: a, run: x}, {id: b, run: x, timeout: 2}]");
    let mut dispatcher = Scripted::new(&told.clock, |spec| match &*spec.task_id {
        "a" => Part::Ends(300, Ok(RawOutput::Text("done".into()))),
        _ => Part::Hangs(50),
    });
    let (_, ended) = drive(&told, Fault { append: 2, times: 9, ..Fault::default() }, &mut dispatcher);
    assert_eq!(ended.unwrap(), Ending::Finished(Outcome::Failed));
    assert_eq!(dispatcher.stops.iter().map(|stop| stop.2).collect::<Vec<_>>(), [2000]);
    assert_eq!((told.state("a"), told.error("b").0), ("completed", "timeout"));
}
