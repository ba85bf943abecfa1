//! Attempts that have a process of their own, shell tasks and agent CLIs: their files, what they say, what their end
//! means. It does not know how processes are supervised, nor the dialects of agents.

use std::rc::Rc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, AttemptKey, AttemptSpec, Ended, Failure, ProcessWork, RawOutput, Report};

use crate::agent::{self, Adapter, AgentCommand, AgentStream, Slot};
use crate::environment::{Block, Environment};
use crate::local::Owner;
use crate::process::{Capture, ChildId, Excerpt, Exit, Input, Launch, Log, Stream, Supervisor, last_line};
use crate::rundir::RunDir;
use crate::verdict::{self, Cut, Limits, SHOWN_LINES};

/// Lines of one attempt are shown at most this often.
const SHOW_EVERY: Duration = Duration::from_millis(100);

/// An attempt under way.
#[derive(Debug)]
pub(crate) struct ProcessAttempt {
    key: AttemptKey,
    epoch: u32,
    stem: String,
    run_dir: Rc<RunDir>,
    limits: Limits,
    answer: Answer,
    error: Excerpt,
    logs: [Log; 2],
    /// Files of this attempt in the run's `tmp`, by the ends of their names.
    files: Vec<&'static str>,
    started_at: Instant,
    heard_at: Instant,
    /// Whether stdout has said anything.
    speaks: bool,
    shown_at: Instant,
    line: Option<String>,
}

/// Where the output comes from.
#[derive(Debug)]
enum Answer {
    /// The file that `$RADDLE_OUTPUT` names, else stdout.
    Shell(Capture),
    /// What the adapter reads out of stdout.
    Agent(Box<AgentStream>),
}

/// What follows from something that was said.
#[derive(Debug)]
pub(crate) struct Heard {
    /// The output has passed its limit.
    pub(crate) too_much: bool,
    /// When the new line may be shown, if that is not arranged already.
    pub(crate) show_at: Option<Instant>,
}

/// What starting needs besides the attempt.
pub(crate) struct Means<'a> {
    pub(crate) environment: &'a Environment,
    pub(crate) block: &'a mut Block,
    pub(crate) supervisor: &'a mut Supervisor<Owner>,
}

impl ProcessAttempt {
    /// Starts a shell task.
    pub(crate) fn shell(
        spec: &AttemptSpec,
        work: &ProcessWork,
        run_dir: Rc<RunDir>,
        means: Means<'_>,
    ) -> Result<(Self, ChildId), Failure> {
        let mut attempt = Self::new(spec, run_dir, Answer::Shell(Capture::default()));
        let started = attempt.start(spec, &work.argv, work.deps.as_deref(), &[], Input::Null, means);
        attempt.or_drop_files(started)
    }

    /// Starts an agent CLI.
    pub(crate) fn agent(
        spec: &AttemptSpec,
        work: &AgentWork,
        adapter: &Adapter,
        run_dir: Rc<RunDir>,
        means: Means<'_>,
    ) -> Result<(Self, ChildId), Failure> {
        let AgentCommand { mut argv, stdin, mut env, pass_env, files } = adapter.command(work)?;
        argv.extend(adapter.permission_flags(spec.demands.confinement.as_deref()));
        argv.extend(adapter.budget_flags(spec.demands.max_cost));
        let mut attempt = Self::new(spec, run_dir, Answer::Agent(Box::new(adapter.stream(work))));
        attempt.limits.start = adapter.start_limit();
        for file in &files {
            let path = attempt.run_dir.put_file(&attempt.stem, file.suffix, &file.bytes);
            let path = path.map_err(|error| failed_start("cannot write a file for the agent", &error))?;
            match file.place {
                Slot::Argument(at) => argv[at] = path,
                Slot::Variable(name) => env.push((name.to_owned(), path)),
            }
            attempt.files.push(file.suffix);
        }
        let pass_env: Vec<&str> = pass_env.iter().map(String::as_str).collect();
        let environment = Environment::of_this_process(&pass_env);
        let Means { block, supervisor, .. } = means;
        let means = Means { environment: &environment, block, supervisor: &mut *supervisor };
        let started = attempt.start(spec, &argv, None, &env, Input::Pipe, means);
        let (attempt, child) = attempt.or_drop_files(started)?;
        // A CLI that ends without reading its prompt tells why by its end.
        supervisor.write(child, &stdin);
        supervisor.close_input(child);
        Ok((attempt, child))
    }

    fn new(spec: &AttemptSpec, run_dir: Rc<RunDir>, answer: Answer) -> Self {
        let now = Instant::now();
        ProcessAttempt {
            key: spec.key,
            epoch: spec.epoch,
            stem: spec.file_stem(),
            run_dir,
            limits: Limits { timeout: spec.timeout, idle: spec.idle, start: None },
            answer,
            error: Excerpt::default(),
            logs: [Log::Silent, Log::Silent],
            files: Vec::new(),
            started_at: now,
            heard_at: now,
            speaks: false,
            shown_at: now,
            line: None,
        }
    }

    /// Makes the attempt's files and starts its process. The task's own variables go over the adapter's, those of this
    /// function over both.
    fn start(
        &mut self,
        spec: &AttemptSpec,
        argv: &[String],
        deps: Option<&str>,
        adapter_env: &[(String, String)],
        input: Input,
        means: Means<'_>,
    ) -> Result<ChildId, Failure> {
        let deps = match deps {
            Some(text) => {
                let path = self.run_dir.put_file(&self.stem, DEPS, text.as_bytes());
                self.files.push(DEPS);
                path.map_err(|error| failed_start("cannot write the file for $RADDLE_DEPS", &error))?
            }
            None => self.run_dir.no_deps(),
        };
        let output = self.run_dir.output_path(&self.stem);
        let mut more: Vec<(&str, &str)> = Vec::with_capacity(adapter_env.len() + spec.env.len() + 2);
        more.extend(adapter_env.iter().chain(&spec.env).map(|(name, value)| (name.as_str(), value.as_str())));
        more.extend([("RADDLE_DEPS", deps.as_str()), ("RADDLE_OUTPUT", output.as_str())]);
        means
            .environment
            .fill(&more, means.block)
            .map_err(|error| Failure::new(FailureClass::Start, error.to_string()))?;
        let launch = Launch { argv, environment: means.block, cwd: &spec.cwd, input };
        // The path is this attempt's alone, so whoever has it in its environment descends from it.
        let marker = format!("RADDLE_OUTPUT={output}");
        let started = means.supervisor.start(&launch, Owner::Attempt(spec.key), Some(&marker));
        started.map_err(|error| Failure::new(FailureClass::Start, error.to_string()))
    }

    fn or_drop_files(self, started: Result<ChildId, Failure>) -> Result<(Self, ChildId), Failure> {
        match started {
            Ok(child) => Ok((self, child)),
            Err(failure) => {
                self.drop_files();
                Err(failure)
            }
        }
    }

    fn drop_files(&self) {
        for suffix in &self.files {
            self.run_dir.drop_file(&self.stem, suffix);
        }
    }

    /// Takes what the process said.
    pub(crate) fn hear(&mut self, stream: Stream, bytes: &[u8]) -> Heard {
        let now = Instant::now();
        self.heard_at = now;
        self.speaks |= stream == Stream::Output;
        let arranged = self.line.is_some();
        let (mut too_much, log, suffix) = (false, usize::from(stream == Stream::Error), ["out", "err"]);
        let line = match (&mut self.answer, stream) {
            (Answer::Agent(reader), Stream::Output) => reader.feed(bytes),
            (Answer::Shell(capture), Stream::Output) => {
                too_much = !capture.push(bytes);
                last_line(bytes)
            }
            (answer, _) => {
                self.error.push(bytes);
                // An agent's stderr is noise until it has failed.
                if let Answer::Shell(_) = answer { last_line(bytes) } else { None }
            }
        };
        self.logs[log].push(bytes, || self.run_dir.log(&self.stem, suffix[log]));
        self.line = line.or(self.line.take());
        let show = !arranged && self.line.is_some();
        Heard { too_much, show_at: show.then(|| now.max(self.shown_at + SHOW_EVERY)) }
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

    /// When it should have said its first word, while it has not.
    pub(crate) fn start_due(&self) -> Option<Instant> {
        self.limits.start.filter(|_| !self.speaks).map(|limit| self.started_at + limit)
    }

    /// Judges the end, removes the attempt's files, and reports.
    pub(crate) fn conclude(self, exit: Exit, cut: Option<Cut>, reports: &mut Vec<Report>) {
        self.drop_files();
        let last_words = || self.error.last_lines(SHOWN_LINES);
        let mut ended = Ended {
            key: self.key,
            epoch: self.epoch,
            result: Ok(RawOutput::Text(String::new())),
            usage: None,
            session: None,
        };
        match self.answer {
            Answer::Shell(capture) => {
                ended.result = match verdict::failure(exit, cut, self.limits, last_words) {
                    Some(failure) => {
                        self.run_dir.drop_output(&self.stem);
                        Err(failure)
                    }
                    None => match self.run_dir.take_output(&self.stem) {
                        None => Ok(RawOutput::Text(capture.into_text())),
                        Some(Ok(text)) => Ok(RawOutput::Json(text)),
                        Some(Err(what)) => Err(Failure::new(FailureClass::Output, what)),
                    },
                };
            }
            Answer::Agent(reader) => {
                self.run_dir.drop_output(&self.stem);
                let how = match exit.status.terminating_signal() {
                    Some(signal) => agent::Exit::Signal(signal),
                    None => agent::Exit::Code(exit.status.exit_status().unwrap_or(-1)),
                };
                let finished = reader.finish(how, &last_words());
                for denial in finished.denials {
                    let agent::Denial { action, resource, rule } = denial;
                    reports.push(Report::Denied { key: self.key, action, resource, rule });
                }
                ended.result = match cut.filter(|_| !exit.by_itself) {
                    Some(cut) => Err(verdict::for_cut(cut, self.limits, &last_words())),
                    None => finished.result,
                };
                ended.usage = finished.usage;
                ended.session = finished.session;
            }
        }
        reports.push(Report::Ended(ended));
    }
}

/// The end of the name of the file for `$RADDLE_DEPS`.
const DEPS: &str = ".deps.json";

fn failed_start(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureClass::Start, format!("{what}: {error}"))
}
