//! The MCP servers of a run: started or reached at the first call or question, shared by all calls, begun anew when they end. It
//! does not know the protocol; that is [`crate::mcp`].

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Confinement, Ended, Failure, RawOutput, Report, ToolWork};
use raddle_engine::secrets::Secrets;

use crate::environment::{Block, Environment};
use crate::http::{PostOffice, ServerAddress};
use crate::local::Owner;
use crate::mcp::{Elicitation, Tool};
use crate::process::{Exit, Stream, Supervisor};
use crate::rundir::RunDir;
use crate::verdict::{self, Cut, Limits};

mod log;
mod server;

use server::Server;

/// The epoll token of what servers behind a URL say.
pub(crate) const POST: u32 = u32::MAX - 1;

/// How long servers behind a URL may take to hear that their sessions are over.
const FAREWELL: Duration = Duration::from_secs(1);

/// How to start an MCP server that speaks over its stdin and stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beyond the allow-list.
    pub env: Vec<(String, String)>,
    /// Working folder, absolute.
    pub cwd: PathBuf,
    /// What it is held to, for all tasks alike: the workflow's own permissions.
    pub confinement: Option<Arc<Confinement>>,
}

/// An MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where it is.
    pub reach: Reach,
    /// Calls at a time; more wait. `None` is no limit.
    pub max_concurrent: Option<u32>,
    /// What it is told when it asks the user something.
    pub elicitation: Elicitation,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// It is a process of this run.
    Command(ServerCommand),
    /// It runs somewhere.
    Address(ServerAddress),
}

impl From<Reach> for ServerSettings {
    fn from(reach: Reach) -> Self {
        ServerSettings { reach, max_concurrent: None, elicitation: Elicitation::default() }
    }
}

/// All servers of a run.
pub(crate) struct Servers {
    settings: BTreeMap<String, ServerSettings>,
    servers: Vec<Server>,
    by_call: HashMap<Caller, (usize, u64)>,
    calls: u64,
    /// What was found out for attempts that go on.
    answers: Vec<Answer>,
    /// Folder of the run, for logs.
    run_dir: PathBuf,
    /// The same, prepared, once there is an attempt.
    place: Option<Rc<RunDir>>,
    /// There once a server behind a URL is used.
    post: Option<PostOffice>,
    /// What nobody is told of what servers say.
    secrets: Arc<Secrets>,
}

/// Who is told how a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// The attempt is the call, and ends with it.
    Attempt(AttemptKey),
    /// The code of an attempt made the call, its so-manieth, and goes on.
    Code(AttemptKey, u32),
}

/// Something for an attempt that goes on.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A call of [`Caller::Code`] is over.
    Called { key: AttemptKey, call: u32, outcome: Result<RawOutput, Failure> },
    /// The tools of a server are known, or will not be.
    Listed { key: AttemptKey, server: String, outcome: Result<(), Failure> },
}

/// A call that is not over.
struct Call {
    caller: Caller,
    epoch: u32,
    limits: Limits,
    work: ToolWork,
    /// It has been handed to the client.
    is_sent: bool,
}

/// What is needed to start and to hear servers.
struct Means<'a> {
    environment: &'a Environment,
    block: &'a mut Block,
    supervisor: &'a mut Supervisor<Owner>,
    post: Option<&'a PostOffice>,
    place: Option<&'a RunDir>,
}

/// Where what a server tells goes.
struct Ears<'a> {
    by_call: &'a mut HashMap<Caller, (usize, u64)>,
    reports: &'a mut Vec<Report>,
    answers: &'a mut Vec<Answer>,
}

impl Servers {
    /// All that tasks of the run may use.
    pub(crate) fn settings(&self) -> &BTreeMap<String, ServerSettings> {
        &self.settings
    }

    pub(crate) fn new(settings: BTreeMap<String, ServerSettings>, secrets: Arc<Secrets>) -> Self {
        let (servers, by_call, answers) = (Vec::new(), HashMap::new(), Vec::new());
        let (run_dir, place, post) = (PathBuf::new(), None, None);
        Servers { settings, servers, by_call, calls: 0, answers, run_dir, place, post, secrets }
    }

    /// Says where servers that are used for the first time from now on have their logs.
    pub(crate) fn log_into(&mut self, run_dir: &Path) {
        if self.run_dir != run_dir {
            self.run_dir = run_dir.to_owned();
        }
    }

    /// Whether that server is a process that is held to just this.
    pub(crate) fn are_held_to(&self, server: &str, confinement: &Arc<Confinement>) -> bool {
        match self.settings.get(server).map(|settings| &settings.reach) {
            Some(Reach::Command(command)) => command.confinement.as_ref() == Some(confinement),
            Some(Reach::Address(_)) => false,
            None => true,
        }
    }

    /// Whether all of them are.
    pub(crate) fn are_all_held_to(&self, confinement: &Arc<Confinement>) -> bool {
        self.settings.keys().all(|server| self.are_held_to(server, confinement))
    }

    /// Where files of servers go.
    pub(crate) fn settle_in(&mut self, place: &Rc<RunDir>) {
        self.place.get_or_insert_with(|| Rc::clone(place));
    }

    /// Takes a call; [`Servers::pump`] sends it.
    pub(crate) fn call(&mut self, spec: &AttemptSpec, work: &ToolWork) -> Result<(), Failure> {
        let index = self.named(&work.server, &spec.env)?;
        let limits = Limits { timeout: spec.timeout, idle: spec.idle, start: None };
        let caller = Caller::Attempt(spec.key);
        self.begin(index, Call { caller, epoch: spec.epoch, limits, work: work.clone(), is_sent: false });
        Ok(())
    }

    /// Takes a call that the code of an attempt makes; its end is an [`Answer`]. It has no limit of its own: it is
    /// given up with its attempt.
    pub(crate) fn call_for_code(
        &mut self,
        key: AttemptKey,
        call: u32,
        env: &[(String, String)],
        work: ToolWork,
    ) -> Result<(), Failure> {
        let index = self.named(&work.server, env)?;
        let limits = Limits { timeout: Duration::MAX, idle: None, start: None };
        self.begin(index, Call { caller: Caller::Code(key, call), epoch: 0, limits, work, is_sent: false });
        Ok(())
    }

    /// Asks a server for its tools; the end is an [`Answer`], after which [`Servers::tools`] has them.
    pub(crate) fn ask_for_tools(
        &mut self,
        key: AttemptKey,
        name: &str,
        env: &[(String, String)],
    ) -> Result<(), Failure> {
        let index = self.named(name, env)?;
        self.servers[index].ask(key, &mut self.answers);
        Ok(())
    }

    /// The names of all servers, started or not.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().map(String::as_str)
    }

    /// What a server offers; nothing before it was asked.
    pub(crate) fn tools(&self, name: &str) -> &[Tool] {
        self.servers.iter().find(|server| server.is_called(name)).map_or(&[], Server::tools)
    }

    /// Takes what there is to tell to attempts that go on.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        let mut answers = std::mem::take(&mut self.answers);
        for answer in &mut answers {
            if let Answer::Called { outcome, .. } = answer {
                self.secrets.clean_outcome(outcome);
            }
        }
        answers
    }

    fn named(&mut self, name: &str, env: &[(String, String)]) -> Result<usize, Failure> {
        let Some(settings) = self.settings.get(name) else {
            let known: Vec<&str> = self.settings.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(Failure::new(FailureClass::Start, format!("no MCP server is called {name:?}; {known}")));
        };
        Ok(self.servers.iter().position(|server| server.is_called(name)).unwrap_or_else(|| {
            let index = self.servers.len();
            self.servers.push(Server::new(name, index, settings.clone(), env, &self.run_dir, &self.secrets));
            index
        }))
    }

    fn begin(&mut self, index: usize, call: Call) {
        self.calls += 1;
        self.by_call.insert(call.caller, (index, self.calls));
        self.servers[index].take(self.calls, call);
    }

    /// Gives a call up. False when there is no such call.
    pub(crate) fn cancel(&mut self, key: AttemptKey, cut: Cut, reports: &mut Vec<Report>) -> bool {
        let Some(call) = self.give_up(Caller::Attempt(key)) else { return false };
        let failure = verdict::for_cut(cut, call.limits, "");
        reports.extend(call.ended(Err(failure), &mut self.answers));
        true
    }

    /// Gives up whatever the code of an attempt is waiting for; nobody is told.
    pub(crate) fn forget(&mut self, key: AttemptKey) {
        let of_code = |caller: &Caller| matches!(caller, Caller::Code(of, _) if *of == key);
        let callers: Vec<Caller> = self.by_call.keys().copied().filter(of_code).collect();
        for caller in callers {
            self.give_up(caller);
        }
        for server in &mut self.servers {
            server.forget(key);
        }
    }

    fn give_up(&mut self, caller: Caller) -> Option<Call> {
        let (index, id) = self.by_call.remove(&caller)?;
        self.servers[index].cancel(id)
    }

    /// Takes what a server said.
    pub(crate) fn hear(&mut self, index: u32, stream: Stream, bytes: &[u8]) {
        self.servers[index as usize].hear(stream, bytes);
    }

    /// Takes what servers behind a URL said.
    pub(crate) fn collect(&mut self) {
        let Some(post) = &self.post else { return };
        post.silence();
        while let Some(heard) = post.next() {
            self.servers[heard.server as usize].heard(heard);
        }
    }

    /// A server's process is gone.
    pub(crate) fn gone(&mut self, index: u32, exit: Exit) {
        self.servers[index as usize].gone(exit);
    }

    /// When [`Servers::pump`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.servers.iter().filter_map(Server::deadline).min()
    }

    /// Starts what must be started, passes on what has happened, writes what is to be written.
    pub(crate) fn pump(
        &mut self,
        environment: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
        reports: &mut Vec<Report>,
    ) {
        if self.post.is_none() && self.servers.iter().any(Server::is_behind_a_url) {
            // Without a post office such a server says so itself.
            self.post = PostOffice::open().ok().filter(|post| supervisor.watch(post.fd(), POST).is_ok());
        }
        for server in &mut self.servers {
            let means =
                Means { environment, block, supervisor, post: self.post.as_ref(), place: self.place.as_deref() };
            server.pump(means, Ears { by_call: &mut self.by_call, reports, answers: &mut self.answers });
        }
    }

    /// Closes the input of all servers, which tells them to end; the sessions of those behind a URL are ended.
    pub(crate) fn close(&mut self, supervisor: &mut Supervisor<Owner>) {
        let mut leaving = Vec::new();
        for server in &mut self.servers {
            leaving.extend(server.close(supervisor, self.post.as_ref()));
        }
        let Some(post) = &self.post else { return };
        let until = Instant::now() + FAREWELL;
        while !leaving.is_empty()
            && let Some(heard) = post.next_until(until)
        {
            leaving.retain(|lane| *lane != (heard.server, heard.lane));
        }
    }
}

impl Call {
    /// A report when the attempt ends with it, else an answer.
    fn ended(self, result: Result<RawOutput, Failure>, answers: &mut Vec<Answer>) -> Option<Report> {
        match self.caller {
            Caller::Attempt(key) => {
                Some(Report::Ended(Ended { key, epoch: self.epoch, result, usage: None, session: None }))
            }
            Caller::Code(key, call) => {
                answers.push(Answer::Called { key, call, outcome: result });
                None
            }
        }
    }
}
