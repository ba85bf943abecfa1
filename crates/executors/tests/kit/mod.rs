//! A dispatcher with a run folder, one at a time per test process: orphans come to the process, not to a thread, so
//! two dispatchers in one process would take each other's.
#![allow(dead_code, reason = "every test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, ProcessWork, RawOutput, Report, StopCause, Work};
use raddle_engine::ports::Dispatcher;
use raddle_engine::{Attempt, FailureClass, TaskIx, Time};
use raddle_executors::{LocalConfig, LocalDispatcher};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// More than any test here may take.
pub(crate) const LONG: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) dispatcher: LocalDispatcher,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) progress: Vec<String>,
    pub(crate) models: Vec<(String, String)>,
    /// `action resource` of what was refused.
    pub(crate) denied: Vec<String>,
    count: u32,
    ended: Vec<Ended>,
    _turn: MutexGuard<'static, ()>,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(LocalConfig::default())
    }

    pub(crate) fn with(config: LocalConfig) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Bench {
            dispatcher: LocalDispatcher::new(config).unwrap(),
            folder: tempfile::tempdir().unwrap(),
            progress: Vec::new(),
            models: Vec::new(),
            denied: Vec::new(),
            count: 0,
            ended: Vec::new(),
            _turn: turn,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn spec(&mut self, work: Work) -> AttemptSpec {
        self.count += 1;
        let task_id = format!("t{}", self.count);
        AttemptSpec {
            key: AttemptKey { task: TaskIx(self.count), attempt: Attempt(1) },
            epoch: 7,
            env: vec![("RADDLE_RUN_ID".into(), "r".into()), ("RADDLE_TASK_ID".into(), task_id.clone())],
            task_id: task_id.into(),
            work,
            cwd: self.path().to_owned(),
            timeout: Duration::from_secs(300),
            idle: None,
            run_dir: Arc::from(self.path()),
            demands: Default::default(),
        }
    }

    pub(crate) fn shell(&mut self, script: &str) -> AttemptSpec {
        self.argv(&["sh", "-eu", "-c", script])
    }

    pub(crate) fn argv(&mut self, argv: &[&str]) -> AttemptSpec {
        let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
        self.spec(Work::Process(ProcessWork { argv, deps: None }))
    }

    pub(crate) fn start(&mut self, spec: AttemptSpec) -> AttemptKey {
        let key = spec.key;
        self.dispatcher.start(spec);
        key
    }

    pub(crate) fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        self.dispatcher.stop(key, cause, grace);
    }

    /// One round of waiting, at most that long.
    pub(crate) fn wait(&mut self, at_most: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let mut reports = Vec::new();
        self.dispatcher.wait(Some(Time((now + at_most).as_millis() as u64)), &mut reports);
        for report in reports {
            match report {
                Report::Ended(ended) => self.ended.push(ended),
                Report::Progress { line, .. } => self.progress.push(line),
                Report::Model { model, reason, .. } => self.models.push((model, reason)),
                Report::Denied { action, resource, .. } => self.denied.push(format!("{action} {resource}")),
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Waits for the end of that attempt.
    pub(crate) fn end_of(&mut self, key: AttemptKey) -> Ended {
        let deadline = Instant::now() + LONG;
        loop {
            if let Some(at) = self.ended.iter().position(|ended| ended.key == key) {
                return self.ended.swap_remove(at);
            }
            assert!(Instant::now() < deadline, "no end of {key:?}");
            self.wait(Duration::from_secs(1));
        }
    }

    pub(crate) fn run(&mut self, spec: AttemptSpec) -> Result<RawOutput, (FailureClass, String)> {
        let key = self.start(spec);
        let ended = self.end_of(key);
        assert_eq!(ended.epoch, 7);
        ended.result.map_err(|failure| (failure.class, failure.message))
    }

    pub(crate) fn text(&mut self, script: &str) -> String {
        let spec = self.shell(script);
        match self.run(spec).unwrap() {
            RawOutput::Text(text) => text,
            RawOutput::Json(json) => panic!("JSON: {json}"),
        }
    }

    /// Waits, while the dispatcher works, until the file is there, and returns what is in it.
    pub(crate) fn file(&mut self, name: &str) -> String {
        let path = self.path().join(name);
        let deadline = Instant::now() + LONG;
        loop {
            if let Ok(text) = std::fs::read_to_string(&path)
                && text.ends_with('\n')
            {
                return text.trim().to_owned();
            }
            assert!(Instant::now() < deadline, "no {name}");
            self.wait(Duration::from_millis(5));
        }
    }
}

/// Whether a process exists and is no zombie.
pub(crate) fn alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !matches!(rest.trim_start().chars().next(), None | Some('Z' | 'X')))
}
