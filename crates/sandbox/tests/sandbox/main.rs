//! Real, sealed workers: what code can do, what it cannot, and how each failure is told.
//!
//! The worker is this crate's example `sandbox_worker`, which `cargo test` builds along with the tests.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod escapes;
mod escapes_by_exhaustion;
mod escapes_by_files;
mod escapes_by_language;
mod escapes_by_leftovers;
mod files;
mod language;
mod limits;
mod repeatable;
mod tools;
mod workers;

use std::path::Path;
use std::time::Duration;

use raddle_sandbox::client::{Outcome, Worker};
use raddle_sandbox::{Broker, Config, FailureKind, Fixed, Request, ToolAnswer};
use serde_json::Value;

/// For what should end by itself, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A worker with the things that a call needs; refreshed when it is spent.
pub(crate) struct Sandbox {
    config: Config,
    worker: Worker,
    broker: Broker,
    calls: u64,
}

/// One of this crate's example programs.
pub(crate) fn example(name: &str) -> String {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join("examples").join(name);
    assert!(program.exists(), "{} is missing: build it with `cargo build --examples`", program.display());
    program.into_os_string().into_string().unwrap()
}

pub(crate) fn argv(config: Config) -> Vec<String> {
    let mut argv = vec![example("sandbox_worker")];
    argv.extend(config.to_args());
    argv
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::with_memory(64 << 20)
    }
}

impl Sandbox {
    pub(crate) fn with_memory(memory_bytes: u64) -> Self {
        let config = Config { memory_bytes };
        let worker = Worker::spawn(&argv(config)).expect("a worker starts");
        Sandbox { config, worker, broker: Broker::new(Path::new("/"), &[]), calls: 0 }
    }

    pub(crate) fn reading(base: &Path, allowed: &[&str]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Into::into).collect();
        Sandbox { broker: Broker::new(base, &allowed), ..Self::default() }
    }

    pub(crate) fn call(&mut self, code: &str, deps: &str, context: &str, timeout: Duration) -> Outcome {
        if self.worker.is_spent() {
            self.worker = Worker::spawn(&argv(self.config)).expect("a worker starts");
        }
        self.calls += 1;
        let request = Request { id: self.calls, name: "t", code, deps, context, tools: "", fixed: None, timeout };
        self.worker.call(&request, &self.broker)
    }

    /// A call with clock and chance given, or with tools and who performs them.
    pub(crate) fn call_with(
        &mut self,
        code: &str,
        (tools, fixed): (&str, Option<Fixed>),
        perform: &mut dyn FnMut(&str, &str) -> ToolAnswer,
    ) -> Outcome {
        if self.worker.is_spent() {
            self.worker = Worker::spawn(&argv(self.config)).expect("a worker starts");
        }
        self.calls += 1;
        let timeout = PATIENCE;
        let request = Request { id: self.calls, name: "t", code, deps: "{}", context: "{}", tools, fixed, timeout };
        self.worker.call_with_tools(&request, &self.broker, perform)
    }

    pub(crate) fn run(&mut self, code: &str) -> Outcome {
        self.call(code, "{}", "{}", PATIENCE)
    }

    /// The value that the code returns.
    pub(crate) fn value(&mut self, code: &str) -> Value {
        self.value_with(code, "{}", "{}")
    }

    pub(crate) fn value_with(&mut self, code: &str, deps: &str, context: &str) -> Value {
        match self.call(code, deps, context, PATIENCE).result {
            Ok(json) => serde_json::from_str(&json).expect("results are JSON"),
            Err((kind, message)) => panic!("{code}\nfailed ({}): {message}", kind.name()),
        }
    }

    /// The failure of the code.
    pub(crate) fn failure(&mut self, code: &str) -> (FailureKind, String) {
        match self.run(code).result {
            Ok(json) => panic!("{code}\nreturned {json}"),
            Err(failure) => failure,
        }
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }
}
