//! The dispatcher that performs attempts on this machine: one thread, one epoll, all executors. It does not know the
//! graph, nor why an attempt is wanted.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, Report, StopCause, Work};
use raddle_engine::ports::Dispatcher;
use raddle_engine::{FailureClass, Time};

use crate::environment::{Block, Environment};
use crate::process::{ChildId, Exit, Listener, Stream, Supervisor};
use crate::rundir::RunDir;
use crate::shell::Shell;
use crate::timers::Timers;
use crate::verdict::Cut;

/// TERM to KILL for attempts that the dispatcher ends of its own accord.
const GRACE: Duration = Duration::from_secs(5);
/// How long a dropped dispatcher waits for killed processes to be gone.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What the dispatcher must be told.
#[derive(Debug, Clone, Default)]
pub struct LocalConfig {
    /// Command line of a sandbox worker: this binary with its hidden sub-command.
    pub worker_argv: Vec<String>,
}

/// Performs attempts as processes of this machine. Must stay on the thread on which it was made: children die with
/// that thread.
pub struct LocalDispatcher {
    supervisor: Supervisor<Owner>,
    desk: Desk,
    environment: Environment,
    block: Block,
    run_dirs: HashMap<Arc<Path>, Rc<RunDir>>,
}

/// What a child is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// An attempt's own process.
    Attempt(AttemptKey),
}

/// Attempts that are being performed, and what is to be told about them.
struct Desk {
    attempts: HashMap<AttemptKey, Running>,
    reports: Vec<Report>,
    /// What cannot be done while the supervisor speaks.
    orders: Vec<Order>,
    timers: Timers<Alarm>,
}

/// An attempt under way.
struct Running {
    child: ChildId,
    shell: Shell,
    cut: Option<Cut>,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    End(AttemptKey, Cut),
}

#[derive(Debug, Clone, Copy)]
enum Alarm {
    Idle(AttemptKey),
    Show(AttemptKey),
}

impl LocalDispatcher {
    /// Prepares this process: it becomes a child subreaper, inherited descriptors are closed for children, the limit
    /// of open files is raised (children get the old one).
    pub fn new(config: LocalConfig) -> std::io::Result<Self> {
        let _ = config;
        seal_descriptors();
        let open_files = raise_open_files();
        Ok(LocalDispatcher {
            supervisor: Supervisor::new(open_files)?,
            desk: Desk { attempts: HashMap::new(), reports: Vec::new(), orders: Vec::new(), timers: Timers::new() },
            environment: Environment::of_this_process(&[]),
            block: Block::default(),
            run_dirs: HashMap::new(),
        })
    }

    fn begin(&mut self, spec: &AttemptSpec) -> Result<Running, Failure> {
        let run_dir = self.run_dir(&spec.run_dir)?;
        match &spec.work {
            Work::Process(work) => {
                let mut shell = Shell::new(spec, run_dir);
                let child = shell.start(spec, work, &self.environment, &mut self.block, &mut self.supervisor)?;
                Ok(Running { child, shell, cut: None })
            }
            Work::Agent(_) | Work::Tool(_) | Work::Code(_) => {
                Err(Failure::new(FailureClass::Start, "this kind of task is not built yet"))
            }
        }
    }

    fn run_dir(&mut self, path: &Arc<Path>) -> Result<Rc<RunDir>, Failure> {
        if let Some(known) = self.run_dirs.get(path) {
            return Ok(known.clone());
        }
        let opened = RunDir::open(path).map_err(|error| {
            Failure::new(FailureClass::Start, format!("cannot prepare the run's folder {}: {error}", path.display()))
        })?;
        Ok(self.run_dirs.entry(path.clone()).or_insert(Rc::new(opened)).clone())
    }

    fn perform_orders(&mut self) {
        while let Some(order) = self.desk.orders.pop() {
            match order {
                Order::End(key, cut) => self.cut(key, cut, GRACE),
            }
        }
    }

    fn cut(&mut self, key: AttemptKey, cut: Cut, grace: Duration) {
        let Some(running) = self.desk.attempts.get_mut(&key) else { return };
        running.cut.get_or_insert(cut);
        self.supervisor.end(running.child, grace);
    }
}

impl Dispatcher for LocalDispatcher {
    fn start(&mut self, spec: AttemptSpec) {
        match self.begin(&spec) {
            Ok(running) => {
                if let Some(idle) = spec.idle {
                    self.desk.timers.add(Instant::now() + idle, Alarm::Idle(spec.key));
                }
                self.desk.attempts.insert(spec.key, running);
            }
            Err(failure) => self.desk.reports.push(Report::Ended(Ended {
                key: spec.key,
                epoch: spec.epoch,
                result: Err(failure),
                usage: None,
                session: None,
            })),
        }
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        self.cut(key, Cut::Stopped(cause), grace);
    }

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        let until = until.map(|until| Instant::now() + from_now(until));
        loop {
            let next = [until, self.desk.next_alarm()].into_iter().flatten().min();
            let next = if self.desk.reports.is_empty() { next } else { Some(Instant::now()) };
            self.supervisor.poll(next, &mut self.desk);
            let now = Instant::now();
            self.desk.ring(now);
            self.perform_orders();
            if !self.desk.reports.is_empty() || until.is_some_and(|until| until <= now) {
                reports.append(&mut self.desk.reports);
                return;
            }
        }
    }
}

impl Drop for LocalDispatcher {
    fn drop(&mut self) {
        for id in self.supervisor.ids() {
            self.supervisor.end(id, Duration::ZERO);
        }
        let deadline = Instant::now() + LAST_WAIT;
        while !self.supervisor.is_idle() && Instant::now() < deadline {
            self.supervisor.poll(Some(deadline), &mut self.desk);
        }
    }
}

impl Desk {
    fn next_alarm(&mut self) -> Option<Instant> {
        let attempts = &self.attempts;
        self.timers.drop_while(|alarm| {
            let (Alarm::Idle(key) | Alarm::Show(key)) = alarm;
            !attempts.contains_key(key)
        });
        self.timers.next()
    }

    fn ring(&mut self, now: Instant) {
        while let Some(alarm) = self.timers.take(now) {
            match alarm {
                Alarm::Idle(key) => {
                    let Some(running) = self.attempts.get(&key) else { continue };
                    match running.shell.idle_at() {
                        Some(due) if due > now => self.timers.add(due, alarm),
                        Some(_) => self.orders.push(Order::End(key, Cut::Idle)),
                        None => {}
                    }
                }
                Alarm::Show(key) => {
                    let line = self.attempts.get_mut(&key).and_then(|running| running.shell.line_to_show(now));
                    self.reports.extend(line.map(|line| Report::Progress { key, line }));
                }
            }
        }
    }
}

impl Listener<Owner> for Desk {
    fn said(&mut self, owner: Owner, stream: Stream, bytes: &[u8]) {
        let Owner::Attempt(key) = owner;
        let Some(running) = self.attempts.get_mut(&key) else { return };
        let heard = running.shell.hear(stream, bytes);
        if heard.too_much {
            self.orders.push(Order::End(key, Cut::TooMuch));
            running.cut = Some(Cut::TooMuch);
        }
        if let Some(due) = heard.show_at {
            self.timers.add(due, Alarm::Show(key));
        }
    }

    fn gone(&mut self, owner: Owner, exit: Exit) {
        let Owner::Attempt(key) = owner;
        if let Some(running) = self.attempts.remove(&key) {
            self.reports.push(Report::Ended(running.shell.conclude(exit, running.cut)));
        }
    }
}

/// How long from now until that moment of the wall clock.
fn from_now(until: Time) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis(until.0).saturating_sub(now)
}

/// Descriptors that whoever started us left open are not for our children.
fn seal_descriptors() {
    // SAFETY: sets a flag on descriptors; those of this program have it already.
    unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
}

/// Raises the soft limit of open files to the hard one and returns what it was.
fn raise_open_files() -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls with a valid struct.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || limit.rlim_cur == limit.rlim_max {
            return None;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        (libc::setrlimit(libc::RLIMIT_NOFILE, &raised) == 0).then_some(limit)
    }
}
