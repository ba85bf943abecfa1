//! The dispatcher that performs attempts on this machine: one thread, one epoll, all executors. It does not know the
//! graph, nor why an attempt is wanted.
//!
//! The supervisor of processes speaks while it is borrowed, so what follows from its words is noted at the desk and
//! done afterwards, in [`LocalDispatcher::follow_up`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, Isolation, Report, StopCause, Work};
use raddle_engine::executor::Executor;
use raddle_engine::own_files::WORKTREE;
use raddle_engine::ports::Dispatcher;
use raddle_engine::secrets::Secrets;
use raddle_engine::{FailureClass, Time};

use crate::agent::Adapters;
use crate::code_tools::CodeToolDesk;
use crate::container::{CLIENT_ENV, ContainerConfig, Runtime};
use crate::control::Control;
use crate::environment::{Block, Environment};
use crate::groups::Groups;
use crate::images::ImageDesk;
use crate::machine::{self, Signals};
use crate::mcp::Tool;
use crate::process::{ChildId, Exit, Input, Launch, Listener, Stream, Supervisor};
use crate::process_attempt::{Means, ProcessAttempt};
use crate::provisions::refuse_unmet;
use crate::registered::Registered;
use crate::rundir::RunDir;
use crate::servers::{POST, ServerSettings, Servers};
use crate::sessions::{Sessions, hosting};
use crate::timers::Timers;
use crate::verdict::{self, Cut};
use crate::workers::Workers;
use crate::worktree::{Crew, Trees};

/// TERM to KILL for attempts that the dispatcher ends of its own accord.
const GRACE: Duration = Duration::from_secs(5);
/// How long a dropped dispatcher waits for servers to end by themselves, and for killed processes to be gone.
const LAST_WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(5)];
/// A run that is over sooner has no socket for requests.
const LISTEN_AFTER: Duration = Duration::from_millis(50);
/// The epoll token of the signals; requests have the higher ones.
const SIGNALS: u32 = 0;
/// The epoll token of reports from registered executors.
const REGISTERED: u32 = u32::MAX;
/// Names of executors that need no registering.
const OWN: &[&str] = &["process", "local", "mcp", WORKTREE, TASK_TOOL];
/// The one of worktrees, above all requests.
const WORKTREES: u32 = 1 << 16;
/// The one of files that are kept or put back.
const IMAGES: u32 = WORKTREES + 1;
/// The executor that hands tasks to the subagents of one conversation.
const TASK_TOOL: &str = "task_tool";

/// What the dispatcher must be told.
#[derive(Debug, Clone, Default)]
pub struct LocalConfig {
    /// Command line of a sandbox worker: this binary's absolute path and its hidden sub-command.
    pub worker_argv: Vec<String>,
    /// The agent CLIs; `None` for the built-in ones.
    pub adapters: Option<Adapters>,
    /// The MCP servers by name.
    pub servers: BTreeMap<String, ServerSettings>,
    /// Whether SIGINT, SIGTERM and SIGHUP come as reports. They are blocked then, from the making of the dispatcher
    /// on; threads that exist before it must block them too.
    pub signals: bool,
    /// Where attempts get work trees of their own; `None`: those that want one are refused.
    pub worktrees: Option<Trees>,
    /// The agent CLI whose session hosts tasks of the executor `task_tool`; empty for `claude`.
    pub session_cli: String,
    /// Who makes containers, and how.
    pub containers: ContainerConfig,
    /// What is taken out of everything that is written down or told.
    pub secrets: Arc<Secrets>,
}

/// Performs attempts as processes of this machine. Must stay on the thread on which it was made: children die with
/// that thread.
pub struct LocalDispatcher {
    supervisor: Supervisor<Owner>,
    desk: Desk,
    adapters: Adapters,
    environment: Environment,
    block: Block,
    groups: Option<Groups>,
    containers: ContainerConfig,
    run_dirs: HashMap<Arc<Path>, Rc<RunDir>>,
    signals: Option<Signals>,
    control: Option<Control>,
    registered: Registered,
    session_cli: String,
    secrets: Arc<Secrets>,
    /// Made for the first attempt of which files are kept or put back.
    images: Option<ImageDesk>,
    listen_at: Option<(Instant, PathBuf)>,
}

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An attempt's own process.
    Attempt(AttemptKey),
    /// What removes the container of an attempt.
    Removal(AttemptKey),
    /// An MCP server.
    Server(u32),
    /// A sandbox worker.
    Worker(u32),
    /// A long-lived agent process.
    Session(u32),
}

/// Attempts that are being performed, and what is to be told about them.
struct Desk {
    attempts: HashMap<AttemptKey, Running>,
    servers: Servers,
    workers: Workers,
    sessions: Sessions,
    code_tools: CodeToolDesk,
    crew: Option<Crew>,
    reports: Vec<Report>,
    cuts: Vec<(AttemptKey, Cut)>,
    /// Attempts whose container has to be removed before they are over, and by which command.
    removals: Vec<(AttemptKey, Vec<String>)>,
    removing: HashMap<AttemptKey, (Running, Exit)>,
    ready: Vec<u32>,
    alarms: Timers<Alarm>,
}

/// An attempt with a process of its own.
struct Running {
    child: ChildId,
    attempt: ProcessAttempt,
    cut: Option<Cut>,
}

#[derive(Debug, Clone, Copy)]
enum Alarm {
    Idle(AttemptKey),
    /// Its first word is due.
    Silent(AttemptKey),
    Show(AttemptKey),
}

impl LocalDispatcher {
    /// Prepares this process: it becomes a child subreaper, inherited descriptors are closed for children, the limit
    /// of open files is raised (children get the old one).
    pub fn new(config: LocalConfig) -> std::io::Result<Self> {
        machine::seal_descriptors();
        let supervisor = Supervisor::new(machine::raise_open_files())?;
        let signals = if config.signals { Some(Signals::take()?) } else { None };
        if let Some(signals) = &signals {
            supervisor.watch(signals.fd(), SIGNALS)?;
        }
        let registered = Registered::new()?;
        supervisor.watch(registered.fd(), REGISTERED)?;
        let crew = config.worktrees.map(Crew::new).transpose()?;
        if let Some(crew) = &crew {
            supervisor.watch(crew.fd(), WORKTREES)?;
        }
        let adapters = match config.adapters {
            Some(adapters) => adapters,
            None => Adapters::new(&BTreeMap::new()).expect("the built-in adapters are sound"),
        };
        Ok(LocalDispatcher {
            supervisor,
            desk: Desk {
                attempts: HashMap::new(),
                servers: Servers::new(config.servers, Arc::clone(&config.secrets)),
                workers: Workers::new(config.worker_argv),
                sessions: Sessions::default(),
                code_tools: CodeToolDesk::default(),
                crew,
                reports: Vec::new(),
                cuts: Vec::new(),
                removals: Vec::new(),
                removing: HashMap::new(),
                ready: Vec::new(),
                alarms: Timers::new(),
            },
            adapters,
            environment: Environment::of_this_process(&[]),
            block: Block::default(),
            groups: None,
            containers: config.containers,
            run_dirs: HashMap::new(),
            signals,
            control: None,
            registered,
            session_cli: if config.session_cli.is_empty() { "claude".to_owned() } else { config.session_cli },
            secrets: config.secrets,
            images: None,
            listen_at: None,
        })
    }

    /// Answers requests of other processes at `<run_dir>/control.sock`, see [`crate::control::request`]; begins with
    /// it a moment later, since a run that is over by then needs no socket.
    pub fn listen(&mut self, run_dir: &Path) {
        self.listen_at = Some((Instant::now() + LISTEN_AFTER, run_dir.to_owned()));
    }

    /// Adds an executor: attempts that name it are given to it. A name of our own is not taken over.
    pub fn register(&mut self, executor: Box<dyn Executor>) {
        self.registered.add(executor);
    }

    /// Makes the socket when its moment has come. Without one the run goes on; signals still reach it.
    fn listen_if_due(&mut self, now: Instant) {
        let Some((_, run_dir)) = self.listen_at.take_if(|(at, _)| *at <= now) else { return };
        if let Ok(control) = Control::listen(&run_dir)
            && self.supervisor.watch(control.fd(), Control::LISTENER).is_ok()
        {
            self.control = Some(control);
        }
    }

    /// Starts sandbox workers ahead of the first code tasks, one for each memory limit given, in bytes.
    pub fn prewarm(&mut self, memory_limits: &[u64]) {
        self.desk.workers.prewarm(memory_limits, &mut self.block, &mut self.supervisor);
    }

    /// What a server has said that it offers; nothing before the first call of one of its tools.
    pub fn tools(&self, server: &str) -> &[Tool] {
        self.desk.servers.tools(server)
    }

    fn begin(&mut self, spec: &AttemptSpec) -> Result<(), Failure> {
        if let Work::Restore(work) = &spec.work {
            self.image_desk()?.restore(spec, work);
            return Ok(());
        }
        if let Some(images) = &spec.demands.images
            && !self.image_desk()?.has(spec.key)
        {
            self.image_desk()?.take(spec, images);
            return Ok(());
        }
        // A process that outlives its task has no place in a work tree that does not.
        let stays = spec.demands.executor.as_deref() != Some(WORKTREE);
        self.begin_with(spec, stays && spec.demands.isolation == Isolation::Context)
    }

    fn begin_with(&mut self, spec: &AttemptSpec, may_be_warm: bool) -> Result<(), Failure> {
        if let Some(name) = spec.demands.executor.as_deref().filter(|name| !OWN.contains(name)) {
            return self.registered.start(name, spec);
        }
        refuse_unmet(spec, &self.desk.servers)?;
        if spec.demands.executor.as_deref() == Some(WORKTREE) {
            match &mut self.desk.crew {
                Some(crew) if crew.has(spec.key) => {}
                Some(crew) => {
                    crew.prepare(spec);
                    return Ok(());
                }
                None => return Err(Failure::new(FailureClass::Permission, "worktrees are not available here")),
            }
        }
        let run_dir = self.run_dir(&spec.run_dir)?;
        self.desk.servers.settle_in(&run_dir);
        self.desk.servers.log_into(&spec.run_dir);
        let runtime = Runtime::of(&spec.demands, &self.containers)?;
        let clients = runtime.is_some().then(|| Environment::of_this_process(&CLIENT_ENV));
        let (environment, block, supervisor) =
            (clients.as_ref().unwrap_or(&self.environment), &mut self.block, &mut self.supervisor);
        let (groups, mcp) = (&mut self.groups, self.desk.servers.settings());
        let means = Means { environment, block, supervisor, groups, runtime: runtime.as_ref(), mcp };
        let (attempt, child) = match &spec.work {
            Work::Process(work) => ProcessAttempt::shell(spec, work, run_dir, means)?,
            Work::Agent(work) => {
                let adapter = self.adapters.get(&work.cli)?;
                if spec.demands.executor.as_deref() == Some(TASK_TOOL) {
                    hosting::permitted(&self.session_cli, &spec.demands, work)?;
                    return self.desk.sessions.host(spec, work, adapter, &run_dir);
                }
                if may_be_warm && self.desk.sessions.warm(spec, work, adapter, &run_dir, mcp) {
                    return Ok(());
                }
                ProcessAttempt::agent(spec, work, adapter, run_dir, means)?
            }
            Work::Tool(work) => return self.desk.servers.call(spec, work),
            Work::Restore(_) => unreachable!("files are put back before a process is thought of"),
            Work::Code(work) => {
                let Desk { servers, workers, code_tools, .. } = &mut self.desk;
                return code_tools.begin(spec, work, run_dir, servers, workers);
            }
        };
        if let Some(idle) = spec.idle {
            self.desk.alarms.add(Instant::now() + idle, Alarm::Idle(spec.key));
        }
        if let Some(due) = attempt.start_due() {
            self.desk.alarms.add(due, Alarm::Silent(spec.key));
        }
        self.desk.attempts.insert(spec.key, Running { child, attempt, cut: None });
        Ok(())
    }

    fn image_desk(&mut self) -> Result<&mut ImageDesk, Failure> {
        if self.images.is_none() {
            let watched = |desk: ImageDesk| self.supervisor.watch(desk.fd(), IMAGES).map(|()| desk).map_err(Into::into);
            let made = ImageDesk::new().and_then(watched);
            let failed = |e| Failure::new(FailureClass::Start, format!("files cannot be kept: {e}"));
            self.images = Some(made.map_err(failed)?);
        }
        Ok(self.images.as_mut().expect("it was just made"))
    }

    /// What can be told of what is at the desk: successes of attempts of which files are kept wait a moment longer.
    fn tell(&mut self, reports: &mut Vec<Report>) {
        let told = std::mem::take(&mut self.desk.reports);
        match &mut self.images {
            Some(images) => reports.extend(told.into_iter().filter_map(|report| images.pass(report))),
            None => reports.extend(told),
        }
    }

    /// Starts the attempts whose files have been kept.
    fn collect_images(&mut self) {
        let Some(images) = &mut self.images else { return };
        let mut told = Vec::new();
        let ready = images.collect(&mut told);
        self.desk.reports.extend(told);
        ready.into_iter().for_each(|spec| self.start(spec));
    }

    fn run_dir(&mut self, path: &Arc<Path>) -> Result<Rc<RunDir>, Failure> {
        if let Some(known) = self.run_dirs.get(path) {
            return Ok(known.clone());
        }
        let opened = RunDir::open(path, &self.secrets).map_err(|error| {
            Failure::new(FailureClass::Start, format!("cannot prepare the run's folder {}: {error}", path.display()))
        })?;
        Ok(self.run_dirs.entry(path.clone()).or_insert(Rc::new(opened)).clone())
    }

    /// Does what has been noted at the desk.
    fn follow_up(&mut self, now: Instant) {
        self.desk.ring(now);
        for (key, cut) in std::mem::take(&mut self.desk.cuts) {
            self.cut(key, cut, GRACE);
        }
        for (key, removal) in std::mem::take(&mut self.desk.removals) {
            let filled = Environment::of_this_process(&CLIENT_ENV).fill(&[], &mut self.block);
            let (argv, cwd) = (&removal[..], Path::new("/"));
            let launch = Launch { argv, environment: &self.block, cwd, input: Input::Null, seal: None };
            if filled.is_err() || self.supervisor.start(&launch, Owner::Removal(key), None).is_err() {
                self.desk.removed(key, false);
            }
        }
        for token in std::mem::take(&mut self.desk.ready) {
            match token {
                WORKTREES => self.collect(),
                IMAGES => self.collect_images(),
                _ => {}
            }
            if token == WORKTREES || token == IMAGES {
                continue;
            }
            let reports = &mut self.desk.reports;
            match (token, &mut self.signals, &mut self.control) {
                (SIGNALS, Some(signals), _) => signals.read(reports),
                (REGISTERED, ..) => self.registered.collect(reports),
                (POST, _, _) => self.desk.servers.collect(),
                (_, _, Some(control)) => control.ready(token, &self.supervisor, reports),
                _ => {}
            }
        }
        let Desk { servers, workers, sessions, code_tools, reports, .. } = &mut self.desk;
        loop {
            code_tools.pass_on(servers, workers, reports);
            servers.pump(&self.environment, &mut self.block, &mut self.supervisor, reports);
            // A server that cannot be started answers at once, and the answer may set other calls free.
            if !code_tools.hear(servers, workers, reports) {
                break;
            }
        }
        workers.pump(&mut self.block, &mut self.supervisor, reports);
        sessions.pump(&self.environment, &mut self.block, &mut self.supervisor, reports);
        let unperformed = sessions.take_unperformed();
        if code_tools.retire(servers, reports) {
            servers.pump(&self.environment, &mut self.block, &mut self.supervisor, reports);
        }
        for spec in unperformed {
            if let Err(failure) = self.begin_with(&spec, false) {
                self.desk.tell(verdict::never_began(&spec, failure));
            }
        }
    }

    /// Starts the attempts whose work trees have been made.
    fn collect(&mut self) {
        let Some(crew) = &mut self.desk.crew else { return };
        for spec in crew.collect(&mut self.desk.reports) {
            self.start(spec);
        }
    }

    fn cut(&mut self, key: AttemptKey, cut: Cut, grace: Duration) {
        let images = self.images.as_mut();
        if images.is_some_and(|images| images.cut(key, cut))
            || self.desk.crew.as_mut().is_some_and(|crew| crew.cut(key, cut))
        {
            return;
        }
        if let Some(running) = self.desk.attempts.get_mut(&key) {
            running.cut.get_or_insert(cut);
            self.supervisor.end(running.child, grace);
            return;
        }
        let Desk { servers, workers, sessions, code_tools, reports, .. } = &mut self.desk;
        let _ = sessions.cancel(key, cut, grace, &mut self.supervisor, reports)
            || servers.cancel(key, cut, reports)
            || workers.cancel(key, cut, reports)
            || code_tools.cancel(key, cut, reports);
    }
}

impl Dispatcher for LocalDispatcher {
    fn start(&mut self, spec: AttemptSpec) {
        if let Err(failure) = self.begin(&spec) {
            self.desk.tell(verdict::never_began(&spec, failure));
        }
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        self.cut(key, Cut::Stopped(cause), grace);
        self.registered.stop(key, cause, grace);
    }

    fn answered(&mut self, ticket: u64, said: Result<(), Vec<String>>) {
        if let Some(control) = &mut self.control {
            control.answered(ticket, said);
        }
    }

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        let until = until.map(|until| Instant::now() + from_now(until));
        self.follow_up(Instant::now());
        loop {
            let next = if self.desk.reports.is_empty() {
                let (servers, workers) = (self.desk.servers.deadline(), self.desk.workers.deadline());
                let sessions = self.desk.sessions.deadline();
                let listen = self.listen_at.as_ref().map(|(at, _)| *at);
                [until, self.desk.next_alarm(), servers, workers, sessions, listen].into_iter().flatten().min()
            } else {
                Some(Instant::now())
            };
            self.supervisor.poll(next, &mut self.desk);
            let now = Instant::now();
            self.listen_if_due(now);
            self.follow_up(now);
            let before = reports.len();
            // Whatever came to light after the streams: files, errors, other threads.
            self.desk.reports.iter_mut().for_each(|report| self.secrets.clean(report));
            self.tell(reports);
            if reports.len() > before || until.is_some_and(|until| until <= now) {
                return;
            }
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        machine::pressure()
    }
}

impl Drop for LocalDispatcher {
    fn drop(&mut self) {
        // Servers end when their input does; all else is killed.
        self.desk.servers.close(&mut self.supervisor);
        for (id, owner) in self.supervisor.all() {
            if !matches!(owner, Owner::Server(_)) {
                self.supervisor.end(id, Duration::ZERO);
            }
        }
        for wait in LAST_WAITS {
            let deadline = Instant::now() + wait;
            while !self.supervisor.is_idle() && Instant::now() < deadline {
                self.supervisor.poll(Some(deadline), &mut self.desk);
            }
            for (id, _) in self.supervisor.all() {
                self.supervisor.end(id, Duration::ZERO);
            }
        }
    }
}

impl Desk {
    /// The container of an attempt is gone, or nobody can remove it.
    fn removed(&mut self, key: AttemptKey, is_gone: bool) {
        if let Some((running, exit)) = self.removing.remove(&key) {
            if let Some((container, run_dir)) = running.attempt.container().filter(|_| is_gone) {
                container.gone(run_dir);
            }
            match is_gone {
                true => self.over(running, exit),
                false => self.over_but(running, exit, container_may_live),
            }
        }
    }

    /// Nothing of an attempt is left.
    fn over(&mut self, running: Running, exit: Exit) {
        self.over_but(running, exit, |_| {});
    }

    fn over_but(&mut self, running: Running, exit: Exit, but: fn(&mut Ended)) {
        running.attempt.conclude(exit, running.cut, &mut self.reports);
        // The end is what it says last.
        match self.reports.pop() {
            Some(Report::Ended(mut ended)) => {
                but(&mut ended);
                self.tell(ended);
            }
            other => self.reports.extend(other),
        }
    }

    /// Reports an end; of an attempt with a work tree when what it left is committed.
    fn tell(&mut self, ended: Ended) {
        let ended = match &mut self.crew {
            Some(crew) => crew.ended(ended),
            None => Some(ended),
        };
        self.reports.extend(ended.map(Report::Ended));
    }

    fn next_alarm(&mut self) -> Option<Instant> {
        let attempts = &self.attempts;
        self.alarms.drop_while(|alarm| {
            let (Alarm::Idle(key) | Alarm::Silent(key) | Alarm::Show(key)) = alarm;
            !attempts.contains_key(key)
        });
        self.alarms.next()
    }

    fn ring(&mut self, now: Instant) {
        while let Some(alarm) = self.alarms.take(now) {
            match alarm {
                Alarm::Idle(key) => {
                    let Some(running) = self.attempts.get(&key) else { continue };
                    match running.attempt.idle_at() {
                        Some(due) if due > now => self.alarms.add(due, alarm),
                        Some(_) => self.cuts.push((key, Cut::Idle)),
                        None => {}
                    }
                }
                Alarm::Silent(key) => {
                    if self.attempts.get(&key).is_some_and(|running| running.attempt.start_due().is_some()) {
                        self.cuts.push((key, Cut::NoStart));
                    }
                }
                Alarm::Show(key) => {
                    let line = self.attempts.get_mut(&key).and_then(|running| running.attempt.line_to_show(now));
                    self.reports.extend(line.map(|line| Report::Progress { key, line }));
                }
            }
        }
    }
}

impl Listener<Owner> for Desk {
    fn said(&mut self, owner: Owner, stream: Stream, bytes: &[u8]) {
        match owner {
            Owner::Attempt(key) => {
                let Some(running) = self.attempts.get_mut(&key) else { return };
                let heard = running.attempt.hear(stream, bytes);
                if heard.too_much {
                    running.cut = Some(Cut::TooMuch);
                    self.cuts.push((key, Cut::TooMuch));
                }
                if let Some(due) = heard.show_at {
                    self.alarms.add(due, Alarm::Show(key));
                }
            }
            Owner::Removal(_) => {}
            Owner::Server(index) => self.servers.hear(index, stream, bytes),
            Owner::Worker(index) => self.workers.hear(index, stream, bytes, &mut self.reports),
            Owner::Session(index) => self.sessions.hear(index, stream, bytes, &mut self.reports),
        }
    }

    fn gone(&mut self, owner: Owner, exit: Exit) {
        match owner {
            Owner::Attempt(key) => {
                let Some(running) = self.attempts.remove(&key) else { return };
                match running.attempt.container().and_then(|(container, run_dir)| container.removal(run_dir, &exit)) {
                    Some(removal) => {
                        self.removals.push((key, removal));
                        self.removing.insert(key, (running, exit));
                    }
                    None => self.over(running, exit),
                }
            }
            Owner::Removal(key) => self.removed(key, exit.status.exit_status() == Some(0)),
            Owner::Server(index) => self.servers.gone(index, exit),
            Owner::Worker(index) => self.workers.gone(index, exit, &mut self.reports),
            Owner::Session(index) => self.sessions.gone(index, exit, &mut self.reports),
        }
    }

    fn ready(&mut self, token: u32) {
        self.ready.push(token);
    }
}

/// Nobody knows whether the attempt still works, so no other one may begin beside it.
fn container_may_live(ended: &mut Ended) {
    let Err(failure) = &mut ended.result else { return };
    if failure.class != FailureClass::Cancelled {
        failure.class = FailureClass::Lost;
    }
    failure.lasting = true;
    failure.message = format!("its container could not be removed and may still be at work\n{}", failure.message);
}

/// How long from now until that moment of the wall clock.
fn from_now(until: Time) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(until.0).saturating_sub(now)
}
