//! A program whose tasks do nothing and a dispatcher that has always done it: what is left is the engine itself. For
//! benchmarks and for tests of the loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use raddle_engine::Time;
use raddle_engine::attempt::{
    AttemptKey, AttemptSpec, Ended, Failure, ProcessWork, RawOutput, Report, StopCause, Usage, Work,
};
use raddle_engine::ports::{Clock, Dispatcher};
use raddle_engine::program::{Context, Program};
use raddle_kernel::{Graph, TaskIx};

/// See the module.
pub struct NoopProgram {
    graph: Arc<Graph>,
    id: Arc<str>,
    run_dir: Arc<std::path::Path>,
    null: Arc<str>,
}

impl NoopProgram {
    /// Over that graph.
    pub fn new(graph: Graph) -> Self {
        let run_dir: Arc<std::path::Path> = std::path::Path::new("").into();
        NoopProgram { graph: Arc::new(graph), id: "noop".into(), run_dir, null: "null".into() }
    }
}

impl Program for NoopProgram {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn prepare(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        Ok(AttemptSpec {
            key,
            epoch: context.epoch,
            task_id: Arc::clone(&self.id),
            work: Work::Process(ProcessWork { argv: Vec::new(), deps: None }),
            env: Vec::new(),
            cwd: PathBuf::new(),
            timeout: Duration::from_secs(3600),
            idle: None,
            run_dir: Arc::clone(&self.run_dir),
            demands: Default::default(),
        })
    }

    fn read_output(&mut self, _task: TaskIx, _raw: RawOutput) -> Result<Arc<str>, Failure> {
        Ok(Arc::clone(&self.null))
    }

    fn price(&self, _task: TaskIx, _usage: &mut Usage) {}
}

/// Whatever is started has ended at the next look.
#[derive(Debug, Default)]
pub struct NoopDispatcher {
    started: Vec<(AttemptKey, u32)>,
}

impl Dispatcher for NoopDispatcher {
    fn start(&mut self, spec: AttemptSpec) {
        self.started.push((spec.key, spec.epoch));
    }

    fn stop(&mut self, _key: AttemptKey, _cause: StopCause, _grace: Duration) {}

    fn answered(&mut self, _ticket: u64, _said: Result<(), Vec<String>>) {}

    fn wait(&mut self, _until: Option<Time>, reports: &mut Vec<Report>) {
        reports.extend(self.started.drain(..).map(|(key, epoch)| {
            Report::Ended(Ended { key, epoch, result: Ok(RawOutput::Json(String::new())), usage: None, session: None })
        }));
    }
}

/// The real time, without chance.
#[derive(Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Time(since.map_or(0, |d| d.as_millis() as u64))
    }

    fn noise(&mut self) -> u32 {
        0
    }
}
