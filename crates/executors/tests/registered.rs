//! An executor of somebody else's, registered by name: the engine and the dispatcher perform a run with it unchanged.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::collections::HashMap;
use std::time::Duration;

use kit::Bench;
use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AgentWork, AttemptKey, AttemptSpec, Conversation, Demands, Ended, Failure, RawOutput, Report, Resources, StopCause,
    Work,
};
use raddle_engine::executor::{Capabilities, Executor, Post};

/// Says what it is told, from a thread of its own; the word `wait` makes it wait until it is stopped.
#[derive(Default)]
struct Parrot {
    waiting: HashMap<AttemptKey, (u32, Post)>,
}

impl Executor for Parrot {
    fn capabilities(&self) -> Capabilities {
        Capabilities { tools: false, ..Capabilities::of_agents("parrot") }
    }

    fn available(&self) -> Result<(), String> {
        Ok(())
    }

    fn start(&mut self, spec: AttemptSpec, post: Post) {
        let Work::Agent(work) = spec.work else { panic!("only agent tasks come here") };
        if work.prompt == "wait" {
            self.waiting.insert(spec.key, (spec.epoch, post));
            return;
        }
        std::thread::spawn(move || post(ended(spec.key, spec.epoch, Ok(RawOutput::Text(work.prompt)))));
    }

    fn stop(&mut self, key: AttemptKey, _: StopCause, _: Duration) {
        if let Some((epoch, post)) = self.waiting.remove(&key) {
            post(ended(key, epoch, Err(Failure::new(FailureClass::Cancelled, "hushed"))));
        }
    }
}

fn ended(key: AttemptKey, epoch: u32, result: Result<RawOutput, Failure>) -> Report {
    Report::Ended(Ended { key, epoch, result, usage: None, session: None })
}

fn prompt(bench: &mut Bench, executor: &str, prompt: &str) -> AttemptSpec {
    let work = AgentWork {
        cli: "claude".into(),
        prompt: prompt.into(),
        model: None,
        system_prompt: None,
        tools: None,
        schema: None,
        conversation: Conversation::Fresh,
        begins_foreign: false,
    };
    let demands = Demands { executor: Some(executor.into()), ..Demands::default() };
    AttemptSpec { demands, ..bench.spec(Work::Agent(Box::new(work))) }
}

#[test]
fn a_registered_executor_performs_what_names_it() {
    let mut bench = Bench::new();
    bench.dispatcher.register(Box::<Parrot>::default());
    let spec = prompt(&mut bench, "parrot", "hello");
    assert_eq!(bench.run(spec), Ok(RawOutput::Text("hello".into())));
    // Others go on as before.
    assert_eq!(bench.text("echo beside"), "beside");

    let spec = prompt(&mut bench, "parrot", "wait");
    let key = bench.start(spec);
    bench.stop(key, StopCause::Cancelled, Duration::ZERO);
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);
}

#[test]
fn what_it_does_not_provide_is_refused() {
    let mut bench = Bench::new();
    bench.dispatcher.register(Box::<Parrot>::default());
    let mut spec = prompt(&mut bench, "parrot", "hello");
    spec.demands.resources = Resources { pids: Some(3), ..Resources::default() };
    let (class, message) = bench.run(spec).unwrap_err();
    assert_eq!(class, FailureClass::Permission);
    assert!(message.contains("executor parrot"), "{message}");

    let spec = prompt(&mut bench, "nobody", "hello");
    let (class, message) = bench.run(spec).unwrap_err();
    assert_eq!(class, FailureClass::Start);
    assert!(message.contains("no executor nobody"), "{message}");
}
