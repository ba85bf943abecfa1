//! Long-lived agent processes: warm ones that perform one task after the other with an emptied conversation between
//! them, and hosting ones that hand tasks to their subagents. It does not know the graph, nor how an agent CLI is called.
//!
//! A process is only ever used for attempts with the same arguments, folder and environment: tools, permissions and model
//! are arguments. Whatever is not as expected ends the process; a fresh one costs half a second, a mixed-up one a wrong
//! answer.

pub(crate) mod hosting;
mod turn;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, AttemptKey, AttemptSpec, Failure, Report, Resources};
use raddle_engine::executor::HOSTED_TASKS;
use raddle_engine::secrets::{Redactor, Secrets};

use crate::agent::{self, Adapter, AgentCommand, Slot};
use crate::environment::{Block, Environment};
use crate::lines::{Lines, MAX_LINE_BYTES};
use crate::local::Owner;
use crate::process::{ChildId, Excerpt, Exit, Input, Launch, Stream, Supervisor};
use crate::provisions::refuse_open_secrets;
use crate::rundir::RunDir;
use crate::servers::{Reach, ServerSettings};
use crate::verdict::{self, Cut, SHOWN_LINES};
use turn::{Member, Progress, Turn};

/// TERM to KILL for processes that are ended because of an attempt.
const GRACE: Duration = Duration::from_secs(5);
/// A warm process is replaced after so many tasks.
const TASKS: u32 = 50;
/// Warm processes that wait for work beyond this are ended, the oldest first.
const IDLE: usize = 10;
/// Tasks of one hosting conversation at once, over all of them.
const HOSTED: usize = HOSTED_TASKS as usize;
/// Emptying a conversation takes some ten milliseconds; a process that takes longer than this is not used again.
const CLEARING: Duration = Duration::from_secs(5);
/// What a conversation is emptied by.
const CLEAR: &str = "/clear";

/// What two attempts must have in common to be performed by one process.
#[derive(Debug, Clone, PartialEq)]
struct Grant {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    pass_env: Vec<String>,
    cwd: PathBuf,
    hosting: bool,
}

/// The processes, and attempts that wait for one.
#[derive(Default)]
pub(crate) struct Sessions {
    open: Vec<Session>,
    waiting: Vec<Waiting>,
    /// Attempts whose warm process was gone before it had read them: they need a process of their own.
    unperformed: Vec<AttemptSpec>,
    made: u32,
}

struct Waiting {
    grant: Grant,
    member: Member,
}

struct Session {
    /// `None` when it is gone and the place is free.
    child: Option<ChildId>,
    grant: Grant,
    lines: Lines,
    /// What is taken out of stdout and stderr.
    redactors: [Redactor; 2],
    error: Excerpt,
    state: State,
    served: u32,
    /// What the conversation has cost up to the turn.
    cost: f64,
    ending: bool,
}

enum State {
    Free,
    /// Its conversation is being emptied: until when at the latest, and whether the process has said that it was.
    Clearing(Instant, bool),
    Busy(Box<Turn>),
    /// The turn is over; whether anything of it is still alive is to be seen.
    Over(Vec<Report>),
}

impl Sessions {
    /// Takes an attempt for a warm process when it can have one; the process is started or taken at the next
    /// [`Sessions::pump`]. False when the attempt needs a process of its own.
    pub(crate) fn warm(
        &mut self,
        spec: &AttemptSpec,
        work: &AgentWork,
        adapter: &Adapter,
        dir: &Rc<RunDir>,
        mcp: &BTreeMap<String, ServerSettings>,
    ) -> bool {
        let demands = &spec.demands;
        // A process that serves many tasks is told no task's own limits.
        if demands.confinement.is_some() || demands.resources != Resources::default() || demands.max_cost.is_some() {
            return false;
        }
        let Some(mut command) = adapter.long_lived(work).and_then(Result::ok) else { return false };
        let granted = agent::granted(work.tools.as_deref(), mcp);
        // Servers that are processes live on between two turns, and cannot be told from what a tool has left running.
        if granted.values().any(|server| matches!(server.reach, Reach::Command(_))) {
            return false;
        }
        let given = adapter.give_servers(&mut command, &granted, &spec.cwd, dir.secrets());
        if given.is_err() || !keep_files(&mut command, dir) {
            return false;
        }
        let prompt = String::from_utf8_lossy(&command.stdin).into_owned();
        let Ok(grant) = grant(command, spec, false, dir.secrets()) else { return false };
        let member = Member::new(spec, dir, prompt, adapter.start_limit());
        self.waiting.push(Waiting { grant, member });
        true
    }

    /// Takes an attempt for a hosting conversation.
    pub(crate) fn host(
        &mut self,
        spec: &AttemptSpec,
        work: &AgentWork,
        adapter: &Adapter,
        dir: &Rc<RunDir>,
    ) -> Result<(), Failure> {
        let session = hosting::session_of(work);
        let Some(command) = adapter.long_lived(&session) else {
            let told = format!("agent CLI `{}` has no tool that hands tasks to subagents", adapter.name());
            return Err(Failure::new(FailureClass::Start, told));
        };
        let member = Member::new(spec, dir, hosting::prompt_of(work), adapter.start_limit());
        self.waiting.push(Waiting { grant: grant(command?, spec, true, dir.secrets())?, member });
        Ok(())
    }

    /// Attempts that must be begun again with processes of their own.
    pub(crate) fn take_unperformed(&mut self) -> Vec<AttemptSpec> {
        std::mem::take(&mut self.unperformed)
    }

    /// Takes what a process said.
    pub(crate) fn hear(&mut self, index: u32, stream: Stream, bytes: &[u8], reports: &mut Vec<Report>) {
        let session = &mut self.open[index as usize];
        let bytes = &*session.redactors[usize::from(stream != Stream::Output)].push(bytes);
        if stream != Stream::Output {
            session.error.push(bytes);
            return;
        }
        let Session { lines, state, cost, ending, .. } = session;
        let fed = lines.feed(bytes, |line| match state {
            State::Busy(turn) => match turn.line(line, reports) {
                Progress::On => {}
                Progress::Over => {
                    let State::Busy(turn) = std::mem::replace(state, State::Free) else { return };
                    let (reports, healthy) = turn.conclude(cost);
                    *ending |= !healthy;
                    *state = State::Over(reports);
                }
            },
            State::Clearing(_, reset) => match turn::after_clear(line) {
                turn::Clear::Reset => *reset = true,
                turn::Clear::Done if *reset => {
                    *cost = 0.0;
                    *state = State::Free;
                }
                turn::Clear::Done => *ending = true,
                turn::Clear::Other => {}
            },
            // Nobody has asked for anything.
            State::Free | State::Over(_) => *ending |= turn::is_answer(line),
        });
        session.ending |= fed.is_err();
    }

    /// A process is gone.
    pub(crate) fn gone(&mut self, index: u32, exit: Exit, reports: &mut Vec<Report>) {
        let session = &mut self.open[index as usize];
        session.child = None;
        let words = session.error.last_lines(SHOWN_LINES);
        match std::mem::replace(&mut session.state, State::Free) {
            State::Free | State::Clearing(..) => {}
            State::Over(mut told) => reports.append(&mut told),
            State::Busy(turn) if session.served > 1 && turn.is_unheard() => self.unperformed.extend(turn.into_specs()),
            State::Busy(turn) => reports.extend(turn.broken_off(exit, &words)),
        }
    }

    /// Gives an attempt up. False when it is not here.
    pub(crate) fn cancel(
        &mut self,
        key: AttemptKey,
        cut: Cut,
        grace: Duration,
        supervisor: &mut Supervisor<Owner>,
        reports: &mut Vec<Report>,
    ) -> bool {
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.member.key() == key) {
            let member = self.waiting.remove(at).member;
            let failure = verdict::for_cut(cut, member.limits(), "");
            reports.push(member.ended(Err(failure)));
            return true;
        }
        for session in &mut self.open {
            if let State::Busy(turn) = &mut session.state
                && turn.cut(key, cut)
            {
                session.ending = true;
                session.child.into_iter().for_each(|child| supervisor.end(child, grace));
                return true;
            }
        }
        false
    }

    /// When [`Sessions::pump`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = |session: &Session| match &session.state {
            State::Busy(turn) => turn.due().map(|(at, ..)| at),
            State::Clearing(until, _) if !session.ending => Some(*until),
            _ => None,
        };
        self.open.iter().filter_map(due).min()
    }

    /// Ends what is to be ended, frees what has answered, gives waiting attempts to processes.
    pub(crate) fn pump(
        &mut self,
        environment: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
        reports: &mut Vec<Report>,
    ) {
        let now = Instant::now();
        let due: Vec<(AttemptKey, Cut)> = self
            .open
            .iter()
            .filter_map(|session| session.turn()?.due().filter(|(at, ..)| *at <= now))
            .map(|(_, key, cut)| (key, cut))
            .collect();
        for (key, cut) in due {
            self.cancel(key, cut, GRACE, supervisor, reports);
        }
        for session in &mut self.open {
            session.ending |= matches!(session.state, State::Clearing(until, _) if until <= now);
            session.settle(supervisor, reports);
        }
        self.end_idle(supervisor);
        while let Some(at) = self.next_waiting() {
            let grant = self.waiting[at].grant.clone();
            let index = match self.free(&grant) {
                Some(index) => index,
                None => match self.start(&grant, &self.waiting[at].member, environment, block, supervisor) {
                    Ok(session) => self.put(session),
                    Err(failure) => {
                        let member = self.waiting.remove(at).member;
                        reports.push(member.ended(Err(failure)));
                        continue;
                    }
                },
            };
            self.begin(index, supervisor);
        }
    }

    /// The first attempt that can be given to a process now.
    fn next_waiting(&self) -> Option<usize> {
        let hosted: usize =
            self.open.iter().filter(|s| s.grant.hosting).filter_map(Session::turn).map(Turn::size).sum();
        self.waiting.iter().enumerate().position(|(n, waiting)| {
            let grant = &waiting.grant;
            let clearing = |s: &&Session| s.grant == *grant && !s.ending && matches!(s.state, State::Clearing(..));
            let soon = self.open.iter().filter(clearing).count();
            if soon > 0 && self.free(grant).is_none() {
                // Those that are about to be free are sooner there than new ones.
                return self.waiting[..n].iter().filter(|earlier| earlier.grant == *grant).count() >= soon;
            }
            // One conversation hosts all tasks of a grant; those that come while it is busy have the next turn.
            let talks = || self.open.iter().any(|s| s.child.is_some() && s.grant == *grant && !s.is_free());
            !grant.hosting || hosted < HOSTED && !talks()
        })
    }

    fn free(&self, grant: &Grant) -> Option<usize> {
        self.open.iter().position(|session| session.is_free() && session.grant == *grant)
    }

    fn put(&mut self, session: Session) -> usize {
        let index = self.open.iter().position(|old| old.child.is_none()).unwrap_or(self.open.len());
        match self.open.get_mut(index) {
            Some(place) => *place = session,
            None => self.open.push(session),
        }
        index
    }

    /// Gives a free process what waits for it.
    fn begin(&mut self, index: usize, supervisor: &mut Supervisor<Owner>) {
        let hosted: usize =
            self.open.iter().filter(|s| s.grant.hosting).filter_map(Session::turn).map(Turn::size).sum();
        let most = if self.open[index].grant.hosting { HOSTED - hosted.min(HOSTED) } else { 1 };
        let session = &mut self.open[index];
        let mut members = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() && members.len() < most {
            match self.waiting[at].grant == session.grant {
                true => members.push(self.waiting.remove(at).member),
                false => at += 1,
            }
        }
        let (turn, words) = Turn::begin(members, session.grant.hosting);
        session.served += 1;
        session.state = State::Busy(Box::new(turn));
        let Some(child) = session.child else { return };
        // One that has died tells so by its end.
        supervisor.write(child, &turn::user_line(&words));
    }

    fn start(
        &self,
        grant: &Grant,
        first: &Member,
        own: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
    ) -> Result<Session, Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::new(FailureClass::Start, what.to_string());
        let index = self.open.iter().position(|old| old.child.is_none()).unwrap_or(self.open.len());
        let environment;
        let pass: Vec<&str> = grant.pass_env.iter().map(String::as_str).collect();
        let environment = match pass.is_empty() {
            true => own,
            false => {
                environment = Environment::of_this_process(&pass);
                &environment
            }
        };
        let marker = format!("{}.{}", first.mark(), self.made);
        let mut more: Vec<(&str, &str)> =
            grant.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        more.push((turn::MARK, &marker));
        environment.fill(&more, block).map_err(|e| failed(&e))?;
        refuse_open_secrets(&grant.argv, first.secrets())?;
        let launch = Launch {
            argv: &grant.argv,
            environment: block,
            cwd: Path::new(&grant.cwd),
            input: Input::Pipe,
            seal: None,
        };
        let mark = format!("{}={marker}", turn::MARK);
        let child =
            supervisor.start(&launch, Owner::Session(index as u32), Some(&mark)).map_err(|e| e.into_failure())?;
        Ok(Session {
            child: Some(child),
            grant: grant.clone(),
            lines: Lines::new(MAX_LINE_BYTES),
            redactors: [Redactor::new(first.secrets()), Redactor::new(first.secrets())],
            error: Excerpt::default(),
            state: State::Free,
            served: 0,
            cost: 0.0,
            ending: false,
        })
    }

    fn end_idle(&mut self, supervisor: &mut Supervisor<Owner>) {
        let mut idle = self.open.iter().filter(|session| session.is_free() && !session.grant.hosting).count();
        for session in &mut self.open {
            if idle > IDLE && session.is_free() && !session.grant.hosting {
                session.ending = true;
                session.child.into_iter().for_each(|child| supervisor.end(child, Duration::ZERO));
                idle -= 1;
            }
        }
    }
}

impl Session {
    fn is_free(&self) -> bool {
        self.child.is_some() && !self.ending && matches!(self.state, State::Free)
    }

    fn turn(&self) -> Option<&Turn> {
        match &self.state {
            State::Busy(turn) => Some(turn),
            _ => None,
        }
    }

    /// After a turn: reports, and makes the process ready for the next one or ends it.
    fn settle(&mut self, supervisor: &mut Supervisor<Owner>, reports: &mut Vec<Report>) {
        let Some(child) = self.child else { return };
        if matches!(self.state, State::Over(_)) {
            // What a tool has left running could disturb the next task; nothing of an attempt outlives its report.
            self.ending |= self.served >= TASKS && !self.grant.hosting || supervisor.has_descendants(child);
            if !self.ending {
                if let State::Over(mut told) = std::mem::replace(&mut self.state, State::Free) {
                    reports.append(&mut told);
                }
                if !self.grant.hosting {
                    self.state = State::Clearing(Instant::now() + CLEARING, false);
                    supervisor.write(child, &turn::user_line(CLEAR));
                }
            }
        }
        if self.ending && self.turn().is_none() {
            supervisor.end(child, Duration::ZERO);
        }
    }
}

/// Puts what the command wants as files where it stays. The same files are at the same places, so that tasks that want
/// the same things have the same arguments. False when there are files of the task's own.
fn keep_files(command: &mut AgentCommand, dir: &RunDir) -> bool {
    for file in std::mem::take(&mut command.files) {
        let (Slot::Argument(at), true) = (file.place, file.is_kept) else { return false };
        let Ok(path) = dir.keep_file(file.suffix, &file.bytes) else { return false };
        command.argv[at] = path;
    }
    true
}

/// What belongs to one attempt alone is left out: a process that outlives it must not show it to the next.
fn grant(command: AgentCommand, spec: &AttemptSpec, hosting: bool, secrets: &Secrets) -> Result<Grant, Failure> {
    let lasting = spec.env.iter().filter(|(name, _)| !name.starts_with("RADDLE_") && name != "TRACEPARENT");
    let private = command.private_env.filled(secrets)?;
    Ok(Grant {
        argv: command.argv,
        env: command.env.into_iter().chain(private).chain(lasting.cloned()).collect(),
        pass_env: command.pass_env,
        cwd: spec.cwd.clone(),
        hosting,
    })
}
