//! Process tasks: a command with its files, and what its end means. It does not know how processes are supervised.

use std::rc::Rc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, ProcessWork, RawOutput};

use crate::environment::{Block, Environment};
use crate::local::Owner;
use crate::process::{Capture, ChildId, Excerpt, Exit, Input, Launch, Log, Stream, Supervisor, last_line};
use crate::rundir::RunDir;
use crate::verdict::{self, Cut, Limits, SHOWN_LINES};

/// Lines of one attempt are shown at most this often.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// A process task under way.
#[derive(Debug)]
pub(crate) struct Shell {
    key: AttemptKey,
    epoch: u32,
    stem: String,
    run_dir: Rc<RunDir>,
    has_deps: bool,
    limits: Limits,
    output: Capture,
    error: Excerpt,
    logs: [Log; 2],
    heard_at: Instant,
    shown_at: Instant,
    line: Option<String>,
}

/// What follows from something that was said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The output has passed its limit.
    pub(crate) too_much: bool,
    /// When the new line may be shown, if that is not arranged already.
    pub(crate) show_at: Option<Instant>,
}

impl Shell {
    pub(crate) fn new(spec: &AttemptSpec, run_dir: Rc<RunDir>) -> Self {
        let now = Instant::now();
        Shell {
            key: spec.key,
            epoch: spec.epoch,
            stem: spec.file_stem(),
            run_dir,
            has_deps: false,
            limits: Limits { timeout: spec.timeout, idle: spec.idle },
            output: Capture::default(),
            error: Excerpt::default(),
            logs: [Log::Silent, Log::Silent],
            heard_at: now,
            shown_at: now,
            line: None,
        }
    }

    /// Makes the attempt's files and starts its process.
    pub(crate) fn start(
        &mut self,
        spec: &AttemptSpec,
        work: &ProcessWork,
        environment: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
    ) -> Result<ChildId, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(FailureClass::Start, error.to_string());
        self.has_deps = work.deps.is_some();
        let deps = self.run_dir.put_deps(&self.stem, work.deps.as_deref()).map_err(|error| {
            Failure::new(FailureClass::Start, format!("cannot write the file for $RADDLE_DEPS: {error}"))
        })?;
        let output = self.run_dir.output_path(&self.stem);
        let mut more: Vec<(&str, &str)> = Vec::with_capacity(spec.env.len() + 2);
        more.extend(spec.env.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        more.extend([("RADDLE_DEPS", deps.as_str()), ("RADDLE_OUTPUT", output.as_str())]);
        let started = environment.fill(&more, block).map_err(|error| failed(&error)).and_then(|()| {
            let launch = Launch { argv: &work.argv, environment: block, cwd: &spec.cwd, input: Input::Null };
            // The path is this attempt's alone, so whoever has it in its environment descends from it.
            let marker = format!("RADDLE_OUTPUT={output}");
            supervisor.start(&launch, Owner::Attempt(spec.key), Some(&marker)).map_err(|error| failed(&error))
        });
        if started.is_err() && self.has_deps {
            self.run_dir.drop_deps(&self.stem);
        }
        started
    }

    /// Takes what the process said.
    pub(crate) fn hear(&mut self, stream: Stream, bytes: &[u8]) -> Heard {
        let now = Instant::now();
        self.heard_at = now;
        let (kept, log, suffix) = match stream {
            Stream::Error => {
                self.error.push(bytes);
                (true, &mut self.logs[1], "err")
            }
            _ => (self.output.push(bytes), &mut self.logs[0], "out"),
        };
        log.push(bytes, || self.run_dir.log(&self.stem, suffix));
        let arranged = self.line.is_some();
        if let Some(line) = last_line(bytes) {
            self.line = Some(line);
        }
        let show = !arranged && self.line.is_some();
        Heard { too_much: !kept, show_at: show.then(|| now.max(self.shown_at + SHOW_EVERY)) }
    }

    /// The line to be shown now.
    pub(crate) fn line_to_show(&mut self, now: Instant) -> Option<String> {
        self.shown_at = now;
        self.line.take()
    }

    /// When it has been silent for too long, should it say nothing more.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        Some(self.heard_at + self.limits.idle?)
    }

    /// Judges the end and removes the attempt's files.
    pub(crate) fn conclude(self, exit: Exit, cut: Option<Cut>) -> Ended {
        if self.has_deps {
            self.run_dir.drop_deps(&self.stem);
        }
        let failure = match verdict::failure(exit, cut, self.limits, "") {
            Some(_) => verdict::failure(exit, cut, self.limits, &self.error.last_lines(SHOWN_LINES)),
            None => None,
        };
        let result = match failure {
            Some(failure) => {
                self.run_dir.drop_output(&self.stem);
                Err(failure)
            }
            None => match self.run_dir.take_output(&self.stem) {
                None => Ok(RawOutput::Text(self.output.into_text())),
                Some(Ok(text)) => Ok(RawOutput::Json(text)),
                Some(Err(what)) => Err(Failure::new(FailureClass::Output, what)),
            },
        };
        Ended { key: self.key, epoch: self.epoch, result, usage: None, session: None }
    }
}
