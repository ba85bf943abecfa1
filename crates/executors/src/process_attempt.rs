//! Attempts that have a process of their own, shell tasks and agent CLIs: their files, what they say, what their end
//! means. It does not know how processes are supervised, nor the dialects of agents.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AgentWork, AttemptKey, AttemptSpec, Ended, Failure, Isolation, Network, ProcessWork, RawOutput, Report, Resources,
};
use raddle_engine::secrets::Redactor;

use crate::agent::{self, Adapter, AgentCommand, AgentStream, Slot};
use crate::confine::{self, Needs, Prepared, packages_of};
use crate::container::{self, CLIENT_ENV, Contained, Inside, Runtime};
use crate::environment::{Block, Environment};
use crate::groups::{Group, Groups};
use crate::local::Owner;
use crate::process::{Capture, ChildId, Excerpt, Exit, Input, Launch, Log, Stream, Supervisor, last_line};
use crate::provisions::refuse_open_secrets;
use crate::rundir::{OWN_TMP, RunDir};
use crate::servers::ServerSettings;
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
    /// The name of the file for `$RADDLE_OUTPUT`.
    output: String,
    held: Held,
    container: Option<Contained>,
    limits: Limits,
    answer: Answer,
    error: Excerpt,
    logs: [Log; 2],
    /// What is taken out of stdout and stderr before anybody sees it.
    redactors: [Redactor; 2],
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
    pub(crate) groups: &'a mut Option<Groups>,
    /// Who makes its container, when it is to have one.
    pub(crate) runtime: Option<&'a Runtime>,
    /// The run's MCP servers, for agents that may use some of them.
    pub(crate) mcp: &'a BTreeMap<String, ServerSettings>,
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
        let own = Own { deps: work.deps.as_deref(), ..Own::default() };
        let started = attempt.start(spec, &work.argv, own, Input::Null, means);
        // A program of the workflow's own may come into being while it waits.
        let started = started.map_err(|failure| Failure { lasting: false, ..failure });
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
        if spec.demands.confinement.as_ref().is_some_and(|confinement| confinement.network == Network::None) {
            return Err(Failure::new(FailureClass::Permission, AGENT_OFFLINE));
        }
        let mut command = adapter.command(work)?;
        adapter.give_servers(
            &mut command,
            &agent::granted(work.tools.as_deref(), means.mcp),
            &spec.cwd,
            run_dir.secrets(),
        )?;
        let AgentCommand { mut argv, stdin, mut env, private_env, pass_env, files } = command;
        env.extend(private_env.filled(run_dir.secrets())?);
        argv.extend(adapter.permission_flags(spec.demands.confinement.as_deref()));
        argv.extend(adapter.budget_flags(spec.demands.max_cost));
        if means.runtime.is_some_and(Runtime::is_an_engine) {
            // Nothing of this process's environment gets into a container by itself.
            let names: Vec<&str> = pass_env.iter().map(String::as_str).collect();
            env.extend(Environment::of_this_process(&names).beyond_path());
        }
        let mut read = Vec::new();
        let mut attempt = Self::new(spec, run_dir, Answer::Agent(Box::new(adapter.stream(work))));
        attempt.limits.start = adapter.start_limit();
        for file in &files {
            let path = match file.is_kept {
                true => attempt.run_dir.keep_file(file.suffix, &file.bytes),
                false => attempt.run_dir.put_file(&attempt.stem, file.suffix, &file.bytes),
            };
            let path = path.map_err(|error| failed_start("cannot write a file for the agent", &error))?;
            read.push(PathBuf::from(&path));
            match file.place {
                Slot::Argument(at) => argv[at] = path,
                Slot::Variable(name) => env.push((name.to_owned(), path)),
            }
            attempt.files.extend((!file.is_kept).then_some(file.suffix));
        }
        let is_held = spec.demands.confinement.is_some() || means.runtime.is_some();
        let write = if is_held { adapter.settings() } else { Vec::new() };
        let own = Own { deps: None, env: &env, read, write };
        let clients = if means.runtime.is_some() { &CLIENT_ENV[..] } else { &[] };
        let pass_env: Vec<&str> = pass_env.iter().map(String::as_str).chain(clients.iter().copied()).collect();
        let environment = Environment::of_this_process(&pass_env);
        let Means { block, supervisor, groups, runtime, mcp, .. } = means;
        let means = Means { environment: &environment, block, supervisor: &mut *supervisor, groups, runtime, mcp };
        let is_contained = means.runtime.is_some();
        let started = attempt.start(spec, &argv, own, Input::Pipe, means).map_err(|failure| match failure.lasting {
            true if !is_contained => adapter.missing(),
            _ => failure,
        });
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
            output: RunDir::output_name(
                &spec.file_stem(),
                spec.demands.confinement.is_some() || spec.demands.isolation == Isolation::Container,
            ),
            stem: spec.file_stem(),
            redactors: [Redactor::new(run_dir.secrets()), Redactor::new(run_dir.secrets())],
            run_dir,
            held: Held::default(),
            container: None,
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
        own: Own<'_>,
        input: Input,
        means: Means<'_>,
    ) -> Result<ChildId, Failure> {
        let deps = match own.deps {
            Some(text) => {
                let path = self.run_dir.put_file(&self.stem, DEPS, text.as_bytes());
                self.files.push(DEPS);
                path.map_err(|error| failed_start("cannot write the file for $RADDLE_DEPS", &error))?
            }
            None => self.run_dir.no_deps(),
        };
        let output = self.run_dir.output_path(&self.output);
        let mut more: Vec<(&str, &str)> = Vec::with_capacity(own.env.len() + spec.env.len() + 3);
        more.extend(own.env.iter().chain(&spec.env).map(|(name, value)| (name.as_str(), value.as_str())));
        more.extend([("RADDLE_DEPS", deps.as_str()), ("RADDLE_OUTPUT", output.as_str())]);
        let tmp = self.run_dir.own(&self.stem).join(OWN_TMP).to_string_lossy().into_owned();
        let path = means.environment.path(&more);
        // An image has programs of its own.
        let own_program = argv.first().filter(|_| !means.runtime.is_some_and(Runtime::is_an_engine));
        let packages = || own_program.and_then(|program| packages_of(program, &path));
        let read = || own.read.iter().cloned().chain([PathBuf::from(&deps)]).chain(packages()).collect();
        let confinement = spec.demands.confinement.as_deref();
        let mut inside = None;
        let variables;
        if let Some(runtime) = means.runtime {
            let needs = Needs { read: read(), write: own.write, ..Needs::of(&spec.cwd, &path) };
            let (contents, prepared) =
                confine_to(&self.run_dir, &self.stem, needs, |needs| confine::contents(confinement, needs))?;
            self.held.prepared = Some(prepared);
            more.push(("TMPDIR", &tmp));
            let refused = |why: String| Failure::new(FailureClass::Permission, why);
            let run = spec.run_dir.file_name().unwrap_or_default().to_string_lossy();
            let name = container::name(&run, &self.stem, self.epoch);
            let command = runtime.command(&Inside {
                argv,
                cwd: &spec.cwd.canonicalize().unwrap_or_else(|_| spec.cwd.clone()),
                name: &name,
                labels: [("raddle.run", &run), ("raddle.task", &spec.task_id)],
                variables: &more,
                contents: &contents,
                resources: &spec.demands.resources,
                has_input: input == Input::Pipe,
                offline: confinement.is_some_and(|confinement| confinement.network == Network::None),
            });
            let (wrapped, passed) = command.map_err(refused)?;
            if let Some(removal) = runtime.removal(&name) {
                let noted = Contained::note(&spec.run_dir, removal, spec.demands.resources.memory_bytes);
                self.container = Some(noted.map_err(|e| failed_start("cannot note a container", &e))?);
            }
            inside = Some(wrapped);
            variables = passed;
            more = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        } else if let Some(confinement) = confinement {
            let needs = Needs { read: read(), write: own.write, ..Needs::of(&spec.cwd, &path) };
            self.held.prepared =
                Some(confine_to(&self.run_dir, &self.stem, needs, |needs| confine::prepare(confinement, needs))?);
            more.push(("TMPDIR", &tmp));
        }
        means
            .environment
            .fill(&more, means.block)
            .map_err(|error| Failure::new(FailureClass::Start, error.to_string()))?;
        if !means.runtime.is_some_and(Runtime::is_an_engine) {
            self.held.limit(&spec.demands.resources, means.groups)?;
        }
        let seal = self.held.prepared.as_ref().map(|prepared| &prepared.seal);
        let argv = inside.as_deref().unwrap_or(argv);
        refuse_open_secrets(argv, self.run_dir.secrets())?;
        let launch = Launch { argv, environment: means.block, cwd: &spec.cwd, input, seal };
        // The path is this attempt's alone, so whoever has it in its environment descends from it.
        let marker = format!("RADDLE_OUTPUT={output}");
        means.supervisor.start(&launch, Owner::Attempt(spec.key), Some(&marker)).map_err(|error| error.into_failure())
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
        if self.held.prepared.is_some() {
            self.run_dir.drop_own(&self.stem);
        }
    }

    /// Takes what the process said.
    pub(crate) fn hear(&mut self, stream: Stream, bytes: &[u8]) -> Heard {
        let now = Instant::now();
        self.heard_at = now;
        self.speaks |= stream == Stream::Output;
        let arranged = self.line.is_some();
        let bytes = &*self.redactors[usize::from(stream == Stream::Error)].push(bytes);
        let too_much = self.take(stream, bytes);
        let show = !arranged && self.line.is_some();
        Heard { too_much, show_at: show.then(|| now.max(self.shown_at + SHOW_EVERY)) }
    }

    /// Takes what may be seen of it; true when that is too much.
    fn take(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return false;
        }
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
        too_much
    }

    /// Both streams have ended.
    fn take_rest(&mut self) {
        let [output, error] = self.redactors.each_mut().map(Redactor::finish);
        if let Answer::Shell(capture) = &mut self.answer {
            capture.push_rest(&output);
            self.logs[0].push(&output, || self.run_dir.log(&self.stem, "out"));
        } else {
            self.take(Stream::Output, &output);
        }
        self.take(Stream::Error, &error);
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

    /// The container of an engine that it runs in, and the folder of its run.
    pub(crate) fn container(&self) -> Option<(&Contained, &Path)> {
        self.container.as_ref().map(|container| (container, self.run_dir.path()))
    }

    /// Judges the end, removes the attempt's files, and reports.
    pub(crate) fn conclude(mut self, exit: Exit, cut: Option<Cut>, reports: &mut Vec<Report>) {
        self.take_rest();
        let denied = self.held.prepared.as_ref().map(Prepared::appeared).unwrap_or_default();
        let out_of_memory = self.held.group.as_ref().and_then(Group::ran_out_of_memory);
        let answer = std::mem::replace(&mut self.answer, Answer::Shell(Capture::default()));
        let last_words = || self.error.last_lines(SHOWN_LINES);
        let mut ended = Ended {
            key: self.key,
            epoch: self.epoch,
            result: Ok(RawOutput::Text(String::new())),
            usage: None,
            session: None,
        };
        match answer {
            Answer::Shell(capture) => {
                ended.result = match verdict::failure(exit, cut, self.limits, last_words) {
                    Some(failure) => {
                        self.run_dir.drop_output(&self.output);
                        Err(failure)
                    }
                    None => match self.run_dir.take_output(&self.output) {
                        None => Ok(RawOutput::Text(capture.into_text())),
                        Some(Ok(text)) => Ok(RawOutput::Json(text)),
                        Some(Err(what)) => Err(Failure::new(FailureClass::Output, what)),
                    },
                };
            }
            Answer::Agent(reader) => {
                self.run_dir.drop_output(&self.output);
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
        if let (Some(contained), None, Err(failure)) = (&self.container, cut, &mut ended.result)
            && let Some(meant) = contained.judge(&exit, &self.error.last_lines(SHOWN_LINES))
        {
            *failure = meant;
        }
        if let (Some(limit), Err(failure)) = (out_of_memory, &mut ended.result)
            && cut.is_none()
        {
            failure.class = FailureClass::Oom;
            failure.message = format!("out of memory: more than {} MB in all\n{}", limit >> 20, failure.message);
        }
        for path in &denied {
            let resource = path.display().to_string();
            let rule = "deny: it did not exist when the attempt started".to_owned();
            reports.push(Report::Denied { key: self.key, action: "write".to_owned(), resource, rule });
        }
        if let Some(path) = denied.first() {
            let what = format!("{} is denied, and came into being while the task ran", path.display());
            ended.result = Err(Failure::new(FailureClass::Permission, what));
        }
        self.drop_files();
        reports.push(Report::Ended(ended));
    }
}

/// The end of the name of the file for `$RADDLE_DEPS`.
const DEPS: &str = ".deps.json";

const AGENT_OFFLINE: &str = "an agent CLI reaches its model over the network, so `network: none` cannot be enforced \
     on its process; take its tools away that reach the network";

/// What kinds of attempts add to what all have.
#[derive(Debug, Default)]
struct Own<'a> {
    /// For `$RADDLE_DEPS`.
    deps: Option<&'a str>,
    /// Variables of the adapter.
    env: &'a [(String, String)],
    /// Files that were made for the process.
    read: Vec<PathBuf>,
    /// What the program keeps of its own.
    write: Vec<PathBuf>,
}

/// What the attempt's processes are held to.
#[derive(Debug, Default)]
struct Held {
    /// A seal without rules where only resources are limited.
    prepared: Option<Prepared>,
    group: Option<Group>,
}

impl Held {
    /// Makes the group in which the processes will be.
    fn limit(&mut self, resources: &Resources, groups: &mut Option<Groups>) -> Result<(), Failure> {
        if *resources == Resources::default() {
            return Ok(());
        }
        let refused = |why: String| Failure::new(FailureClass::Permission, why);
        // Tasks differ in what they limit; the place for all three serves any.
        let found = match groups.take() {
            Some(found) if found.serve(resources) => found,
            _ => Groups::find(resources).map_err(refused)?,
        };
        let group = groups.insert(found).make(resources).map_err(refused)?;
        let doors = group.doors().map_err(refused)?;
        self.prepared.get_or_insert_default().seal.groups = doors;
        self.group = Some(group);
        Ok(())
    }
}

/// Prepares a confinement with a folder of the process's own.
pub(crate) fn confine_to<T>(
    run_dir: &RunDir,
    stem: &str,
    needs: Needs<'_>,
    prepare: impl FnOnce(&Needs<'_>) -> Result<T, String>,
) -> Result<T, Failure> {
    // What a process of the same name has left behind.
    run_dir.drop_own(stem);
    let folder = |error: std::io::Error| failed_start("cannot make a folder for the task", &error);
    let own = run_dir.make_own(stem).map_err(folder)?;
    let nothing = run_dir.nothing().map_err(folder)?;
    prepare(&Needs { own: Some(&own), nothing: &nothing, ..needs }).map_err(|why| {
        run_dir.drop_own(stem);
        Failure::new(FailureClass::Permission, why)
    })
}

fn failed_start(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(FailureClass::Start, format!("{what}: {error}"))
}
