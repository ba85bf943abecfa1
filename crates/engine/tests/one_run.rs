//! The loop: timeouts, late reports, stops, failing journals, gates. Each story is a workflow text and a script.

#![expect(clippy::unwrap_used, reason = "tests say what is wrong by failing")]

mod kit;

use kit::Told;
use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{AttemptKey, Ended, RawOutput, Report, StopCause, StopKind};
use raddle_engine::fact::Record;
use raddle_engine::outputs::Outputs;
use raddle_engine::ports::JournalError;
use raddle_engine::{
    Attempt, Ending, Engine, EngineError, FailureClass, Observer, OnStorageFault, Outcome, TaskIx, Time,
};
use raddle_kernel::{Pool, Run};
use raddle_testkit::script::{Part, Scripted};

const ONE: &str = "tasks: [{id: a, run: 'true'}]";
const TWO: &str = "tasks: [{id: a, run: 'true'}, {id: b, run: 'true', depends_on: [a]}]";

fn key(task: u32, attempt: u32) -> AttemptKey {
    AttemptKey { task: TaskIx(task), attempt: Attempt(attempt) }
}

fn ended(key: AttemptKey, epoch: u32) -> Report {
    let result = Ok(RawOutput::Text("from elsewhere".into()));
    Report::Ended(Ended { key, epoch, result, usage: None, session: None })
}

#[test]
fn a_timeout_ends_the_attempt_and_is_its_class() {
    let told = Told::of("tasks: [{id: a, run: 'sleep 60', timeout: 2}, {id: b, run: 'true', depends_on: [a]}]");
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Hangs(300));
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Finished(Outcome::Failed));
    assert_eq!(dispatcher.stops, [(key(0, 1), StopCause::Timeout, 2000)]);
    // Not over before nothing of it is alive any more.
    assert_eq!(told.clock.millis(), 2300);
    assert_eq!(told.error("a").0, "timeout");
    assert_eq!((told.state("a"), told.state("b")), ("failed", "blocked"));
}

#[test]
fn each_attempt_has_its_own_time() {
    let told = Told::of("tasks: [{id: a, run: 'x', timeout: 2, retry: {max: 1, initial: 500ms, jitter: 0}}]");
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Hangs(0));
    told.drive(&mut dispatcher).unwrap();
    let at: Vec<u64> = dispatcher.stops.iter().map(|stop| stop.2).collect();
    assert_eq!(at, [2000, 4500]);
}

#[test]
fn reports_that_are_nobodys_change_nothing() {
    let told = Told::of(TWO);
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Ends(100, Ok(RawOutput::Text("mine".into()))));
    // Another epoch, another attempt, no attempt, an unknown task, one that has not started.
    let strangers = [(key(0, 1), 0), (key(0, 1), 2), (key(0, 2), 1), (key(0, 0), 1), (key(1, 0), 1), (key(9, 1), 1)];
    for (key, epoch) in strangers.into_iter().chain([(key(1, 1), 1)]) {
        dispatcher.report_after(10, ended(key, epoch));
    }
    // And the right one once more, after it ended.
    dispatcher.report_after(150, ended(key(0, 1), 1));
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Finished(Outcome::Succeeded));
    assert_eq!(told.output("a"), "\"mine\"");
    let expected =
        ["started", "a starts 1", "a succeeds", "b starts 1", "b succeeds", "finished: succeeded"].map(String::from);
    assert_eq!(told.facts(), expected);
}

#[test]
fn an_interrupt_leaves_the_run_to_the_next_owner() {
    let told = Told::of(
        "tasks: [{id: pure, run: 'x', side_effects: false}, {id: effect, run: 'x'}, {id: later, run: 'x', depends_on: [pure]}]",
    );
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Hangs(50));
    dispatcher.stop_after(100, StopKind::Interrupt);
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Stopped(StopKind::Interrupt));
    assert_eq!(dispatcher.stops.len(), 2, "both were ended");
    assert_eq!(told.facts().len(), 3, "and nothing is said about how far they came");

    let (ending, started) = told.run(|_, _| Part::text("done"));
    assert_eq!(ending, Ending::Waiting);
    let ids: Vec<String> = started.iter().map(raddle_engine::attempt::AttemptSpec::file_stem).collect();
    assert_eq!(ids, ["pure.2", "later.1"], "what has effects is not repeated unasked");
    assert_eq!(told.facts()[3..6], ["resumed 2", "pure abandoned", "effect doubted"].map(String::from));
    assert_eq!((told.state("effect"), told.state("later")), ("waiting", "completed"));
}

#[test]
fn what_ends_well_while_the_run_is_interrupted_counts() {
    let told = Told::of(TWO);
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Ends(100, Ok(RawOutput::Text("just in time".into()))));
    dispatcher.stop_after(50, StopKind::Terminate);
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Stopped(StopKind::Terminate));
    assert_eq!((told.state("a"), told.state("b")), ("completed", "pending"));
    let (ending, started) = told.run(|_, _| Part::text("done"));
    assert_eq!((ending, started.len()), (Ending::Finished(Outcome::Succeeded), 1));
}

#[test]
fn a_cancelled_run_ends_its_attempts_and_is_over() {
    let told = Told::of(TWO);
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Hangs(50));
    dispatcher.stop_after(10, StopKind::Cancel);
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Finished(Outcome::Cancelled));
    assert_eq!((told.state("a"), told.state("b")), ("cancelled", "cancelled"));
}

/// Remembers what it saw.
#[derive(Default)]
struct Witness(Vec<u64>);

impl Observer for Witness {
    fn published(&mut self, records: &[Record], _run: &Run, _outputs: &Outputs) {
        self.0.extend(records.iter().map(|r| r.seq));
    }
}

/// Drives with a journal whose `nth` append fails; what was seen, what was started, and how it ended.
fn drive_with_failing_append(told: &Told, nth: u32) -> (Vec<u64>, usize, Result<Ending, EngineError>) {
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::text("done"));
    let (mut program, mut clock, mut witness) = (told.program(), told.clock.clone(), Witness::default());
    let mut journal = told.store.open_owner().unwrap();
    told.store.fail_append(nth);
    let mut engine = Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, told.admission());
    engine.observe(&mut witness);
    engine.on_storage_fault(OnStorageFault::Leave);
    engine.begin(told.chapter());
    let result = engine.drive();
    (witness.0, dispatcher.started.len(), result)
}

#[test]
fn what_is_not_durable_was_never_said_nor_begun() {
    for nth in 1..=3 {
        let told = Told::of(TWO);
        let (seen, started, result) = drive_with_failing_append(&told, nth);
        assert!(matches!(result, Err(EngineError::Journal(JournalError::Io { .. }))), "append {nth}: {result:?}");
        let durable: Vec<u64> = told.records().iter().map(|r| r.seq).collect();
        assert_eq!(seen, durable, "append {nth}: told is what is durable, no more and no less");
        let starts = told.facts().iter().filter(|fact| fact.contains("starts")).count();
        assert_eq!(started, starts, "append {nth}");
        if nth == 1 {
            assert!(durable.is_empty());
        } else {
            // The attempt whose result was lost has effects: the next owner asks.
            let (ending, _) = told.run(|_, _| Part::text("done"));
            assert_eq!(ending, Ending::Waiting, "append {nth}");
        }
    }
}

#[test]
fn an_owner_that_was_replaced_can_say_nothing() {
    let told = Told::of(ONE);
    let mut dispatcher = Scripted::new(&told.clock, |_| {
        told.store.usurp();
        std::mem::forget(told.store.open_owner().unwrap());
        Part::text("too late")
    });
    let result = told.drive(&mut dispatcher);
    assert!(matches!(result, Err(EngineError::Journal(JournalError::Owned { .. }))), "{result:?}");
    assert_eq!(told.facts(), ["started", "a starts 1"].map(String::from));
}

#[test]
fn records_that_cannot_follow_each_other_are_named() {
    let told = Told::of(TWO);
    told.run(|_, _| Part::text("done"));
    let mut records = told.records();
    records.remove(1);
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::text("done"));
    let (mut program, mut clock) = (told.program(), told.clock.clone());
    let mut journal = told.store.open_owner().unwrap();
    let mut engine = Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, told.admission());
    match engine.load(records) {
        Err(EngineError::Illegal { seq: 3, what }) => assert!(what.contains("AttemptSucceeded"), "{what}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_gate_says_why() {
    let mut told = Told::of("tasks: [{id: a, run: x}, {id: b, run: x}, {id: c, prompt: x, agent: general}]");
    told.caps = vec![1, 1, 1];
    let mut journal = told.store.open_owner().unwrap();
    let (mut program, mut clock) = (told.program(), told.clock.clone());
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Hangs(0));
    dispatcher.stop_after(5, StopKind::Interrupt);
    let mut engine = Engine::new(&mut program, &mut dispatcher, &mut journal, &mut clock, told.admission());
    engine.begin(told.chapter());
    engine.drive().unwrap();
    // The attempts that were interrupted still count as live in the run as it stands.
    let run = engine.run_state();
    let (agent, local) = (Pool(0), Pool(1));
    let mut gates = told.admission();
    assert_eq!(gates.objection(run, local).unwrap(), "1 of at most 1 tasks are running (the test)");
    assert_eq!(gates.objection(run, agent).unwrap(), "1 of at most 1 tasks are running (the test)");
    gates.close();
    assert_eq!(gates.objection(run, local).unwrap(), "the run is being stopped");
    assert_eq!(gates.next(run, Time(0)), None);

    told.adaptive = true;
    told.caps = vec![9, 9, 9];
    let mut gates = told.admission();
    assert_eq!(gates.objection(run, local), None);
    gates.feel(Pressure { available_bytes: Some(100 << 20), stalled: 0.0 });
    assert_eq!(gates.objection(run, local).unwrap(), "only 100 MB of memory are free (adaptive mode keeps 512)");
    gates.feel(Pressure { available_bytes: None, stalled: 0.75 });
    assert_eq!(gates.objection(run, local).unwrap(), "tasks stalled 75 % of the last seconds (adaptive mode)");
    assert_eq!(gates.next(run, Time(0)), None);
    gates.feel(Pressure::default());
    assert_eq!(gates.next(run, Time(0)), Some(told.task("b")));
}

#[test]
fn pressure_slows_an_adaptive_run_and_never_stops_it() {
    let mut told = Told::of(
        "execution_mode: adaptive\ntasks: [{id: a, run: x}, {id: b, run: x}, {id: c, run: x}, {id: d, run: x}]",
    );
    told.adaptive = true;
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Ends(100, Ok(RawOutput::Text(String::new()))));
    dispatcher.pressure = Some(Pressure { available_bytes: Some(0), stalled: 1.0 });
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Finished(Outcome::Succeeded));
    assert_eq!(told.view().peak_parallel, 1);
}

#[test]
fn denials_are_written_down_and_the_attempt_goes_on() {
    let told = Told::of(ONE);
    let mut dispatcher = Scripted::new(&told.clock, |_| Part::Ends(100, Ok(RawOutput::Text("ok".into()))));
    let (action, resource, rule) = ("read".into(), "/etc/passwd".into(), "outside".into());
    dispatcher.report_after(10, Report::Denied { key: key(0, 1), action, resource, rule });
    assert_eq!(told.drive(&mut dispatcher).unwrap(), Ending::Finished(Outcome::Succeeded));
    let view = told.view();
    assert_eq!((&*view.denials[0].resource, view.denials.len()), ("/etc/passwd", 1));
}

#[test]
fn usage_is_counted_over_all_attempts() {
    let told = Told::of("tasks: [{id: a, run: x, retry: {max: 2, initial: 1ms}}]");
    let (ending, started) =
        told.run(|_, attempt| if attempt < 3 { Part::fails(FailureClass::Exit) } else { Part::text("third time") });
    assert_eq!((ending, started.len()), (Ending::Finished(Outcome::Succeeded), 3));
    let view = told.view();
    let statuses: Vec<&str> = view.tasks[0].attempts.iter().map(|a| a.status).collect();
    assert_eq!(statuses, ["retrying", "retrying", "completed"]);
    assert!(view.tasks[0].error.is_none(), "what went well in the end shows no error");
}

#[test]
fn a_waiting_run_in_waves_is_shown_as_waiting() {
    let told =
        Told::of("execution_mode: waves\ntasks: [{id: a, run: x}, {id: z, run: x}, {id: b, run: x, depends_on: [z]}]");
    let mut dispatcher =
        Scripted::new(&told.clock, |spec| if &*spec.task_id == "a" { Part::Hangs(0) } else { Part::text("") });
    dispatcher.stop_after(50, StopKind::Interrupt);
    told.drive(&mut dispatcher).unwrap();
    let (ending, started) = told.run(|_, _| Part::text("done"));
    assert_eq!((ending, started.len()), (Ending::Waiting, 0));
    assert_eq!(told.view().outcome(), Outcome::Waiting);
}
