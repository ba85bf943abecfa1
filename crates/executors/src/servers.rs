//! MCP servers as processes: started at the first call or question, shared by all calls of a run, started again when
//! they die. It does not know the protocol; that is [`crate::mcp`].

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, RawOutput, Report, ToolWork};

use crate::environment::{Block, Environment};
use crate::local::Owner;
use crate::mcp::{Client, Config, Event, Tool};
use crate::process::{ChildId, Excerpt, Exit, Input, Launch, Stream, Supervisor};
use crate::verdict::{self, Cut, Limits};

/// A server that has been started so often in one run is not started again.
const STARTS: u32 = 10;
/// TERM to KILL for a server that is of no use any more.
const GRACE: Duration = Duration::from_secs(2);

/// How to start an MCP server that speaks over its stdin and stdout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beyond the allow-list.
    pub env: Vec<(String, String)>,
    /// Working folder, absolute.
    pub cwd: PathBuf,
}

/// All servers of a run.
pub(crate) struct Servers {
    commands: BTreeMap<String, ServerCommand>,
    servers: Vec<Server>,
    by_call: HashMap<Caller, (usize, u64)>,
    calls: u64,
    /// What was found out for attempts that go on.
    answers: Vec<Answer>,
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

struct Server {
    name: String,
    /// Entry of the environment by which its descendants are known.
    mark: (String, String),
    run: Vec<(String, String)>,
    state: State,
    client: Client,
    error: Excerpt,
    starts: u32,
    probe: bool,
    calls: BTreeMap<u64, Call>,
    /// Who wants to know its tools.
    asked: Vec<AttemptKey>,
}

enum State {
    /// No process; the next call starts one.
    Down,
    Up(ChildId),
    /// Its process is being ended; a new one is started when it is gone.
    Ending,
}

struct Call {
    caller: Caller,
    epoch: u32,
    limits: Limits,
    work: ToolWork,
}

impl Servers {
    pub(crate) fn new(commands: BTreeMap<String, ServerCommand>) -> Self {
        Servers { commands, servers: Vec::new(), by_call: HashMap::new(), calls: 0, answers: Vec::new() }
    }

    /// Takes a call; [`Servers::pump`] sends it.
    pub(crate) fn call(&mut self, spec: &AttemptSpec, work: &ToolWork) -> Result<(), Failure> {
        let index = self.named(&work.server, &spec.env)?;
        let limits = Limits { timeout: spec.timeout, idle: spec.idle, start: None };
        self.begin(index, Call { caller: Caller::Attempt(spec.key), epoch: spec.epoch, limits, work: work.clone() });
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
        self.begin(index, Call { caller: Caller::Code(key, call), epoch: 0, limits, work });
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
        let server = &mut self.servers[index];
        server.asked.push(key);
        if server.client.is_ready() {
            server.answer_asked(&Ok(()), &mut self.answers);
        }
        Ok(())
    }

    /// The names of all servers, started or not.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.commands.keys().map(String::as_str)
    }

    /// What a server offers; nothing before it was asked.
    pub(crate) fn tools(&self, name: &str) -> &[Tool] {
        self.servers.iter().find(|server| server.name == name).map_or(&[], |server| server.client.tools())
    }

    /// Takes what there is to tell to attempts that go on.
    pub(crate) fn take_answers(&mut self) -> Vec<Answer> {
        std::mem::take(&mut self.answers)
    }

    fn named(&mut self, name: &str, env: &[(String, String)]) -> Result<usize, Failure> {
        if !self.commands.contains_key(name) {
            let known: Vec<&str> = self.commands.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(Failure::new(FailureClass::Start, format!("no MCP server is called {name:?}; {known}")));
        }
        Ok(self.servers.iter().position(|server| server.name == name).unwrap_or_else(|| {
            self.servers.push(Server::new(name, self.servers.len(), env));
            self.servers.len() - 1
        }))
    }

    fn begin(&mut self, index: usize, call: Call) {
        self.calls += 1;
        self.by_call.insert(call.caller, (index, self.calls));
        let server = &mut self.servers[index];
        if let State::Up(_) = server.state {
            let work = &call.work;
            server.client.call(self.calls, &work.tool, &work.arguments, &work.idempotency_key);
        }
        server.calls.insert(self.calls, call);
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
            server.asked.retain(|asked| *asked != key);
        }
    }

    fn give_up(&mut self, caller: Caller) -> Option<Call> {
        let (index, id) = self.by_call.remove(&caller)?;
        let server = &mut self.servers[index];
        server.client.cancel(id);
        server.calls.remove(&id)
    }

    /// Takes what a server said.
    pub(crate) fn hear(&mut self, index: u32, stream: Stream, bytes: &[u8]) {
        let server = &mut self.servers[index as usize];
        match stream {
            Stream::Error => server.error.push(bytes),
            _ => server.client.feed(bytes),
        }
    }

    /// A server's process is gone.
    pub(crate) fn gone(&mut self, index: u32, exit: Exit) {
        let server = &mut self.servers[index as usize];
        server.state = State::Down;
        if server.client.is_probing() && server.probe && server.is_wanted() {
            // Some servers die of a question that they do not know; it is not asked again, and nothing was called.
            server.probe = false;
            return;
        }
        let words = server.error.last_lines(verdict::SHOWN_LINES);
        let how = verdict::ending(exit);
        let why = format!("MCP server {:?} ended ({how})", server.name);
        let why = if words.is_empty() { why } else { format!("{why}\n{words}") };
        server.client.closed(&why);
        server.answer_asked(&Err(Failure::new(FailureClass::Tool, why)), &mut self.answers);
    }

    /// When [`Servers::pump`] must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let up = self.servers.iter().filter(|server| matches!(server.state, State::Up(_)));
        up.filter_map(|server| server.client.deadline()).min()
    }

    /// Starts what must be started, passes on what has happened, writes what is to be written.
    pub(crate) fn pump(
        &mut self,
        environment: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
        reports: &mut Vec<Report>,
    ) {
        for index in 0..self.servers.len() {
            let server = &mut self.servers[index];
            if let State::Up(_) = server.state
                && server.client.deadline().is_some_and(|due| due <= Instant::now())
            {
                server.client.tick(Instant::now());
            }
            server.tell(supervisor, &mut self.by_call, reports, &mut self.answers);
            if matches!(server.state, State::Down) && server.is_wanted() {
                let command = &self.commands[&server.name];
                if let Err(failure) = server.start(index, command, environment, block, supervisor) {
                    for (_, call) in std::mem::take(&mut server.calls) {
                        self.by_call.remove(&call.caller);
                        reports.extend(call.ended(Err(failure.clone()), &mut self.answers));
                    }
                    server.answer_asked(&Err(failure), &mut self.answers);
                }
                server.tell(supervisor, &mut self.by_call, reports, &mut self.answers);
            }
            server.send(supervisor);
        }
    }

    /// Closes the input of all servers, which tells them to end.
    pub(crate) fn close(&mut self, supervisor: &mut Supervisor<Owner>) {
        for server in &self.servers {
            if let State::Up(child) = server.state {
                supervisor.close_input(child);
            }
        }
    }
}

impl Server {
    fn new(name: &str, index: usize, env: &[(String, String)]) -> Self {
        let run = env.iter().filter(|(name, _)| name == "RADDLE_RUN_ID").cloned().collect();
        Server {
            name: name.to_owned(),
            mark: ("RADDLE_MCP_SERVER".to_owned(), format!("{}.{index}", std::process::id())),
            run,
            state: State::Down,
            client: Client::new(Config::default(), Instant::now()),
            error: Excerpt::default(),
            starts: 0,
            probe: true,
            calls: BTreeMap::new(),
            asked: Vec::new(),
        }
    }

    /// Whether anybody waits for it.
    fn is_wanted(&self) -> bool {
        !self.calls.is_empty() || !self.asked.is_empty()
    }

    /// Tells those who wanted to know its tools how that ended.
    fn answer_asked(&mut self, outcome: &Result<(), Failure>, answers: &mut Vec<Answer>) {
        answers.extend(self.asked.drain(..).map(|key| Answer::Listed {
            key,
            server: self.name.clone(),
            outcome: outcome.clone(),
        }));
    }

    fn start(
        &mut self,
        index: usize,
        command: &ServerCommand,
        environment: &Environment,
        block: &mut Block,
        supervisor: &mut Supervisor<Owner>,
    ) -> Result<(), Failure> {
        let failed = |what: String| Failure::new(FailureClass::Start, format!("MCP server {:?}: {what}", self.name));
        if self.starts == STARTS {
            return Err(failed(format!("ended {STARTS} times and is not started again\n{}", self.error.last_lines(5))));
        }
        self.starts += 1;
        let all = command.env.iter().chain(&self.run).chain(std::iter::once(&self.mark));
        let more: Vec<(&str, &str)> = all.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        environment.fill(&more, block).map_err(|error| failed(error.to_string()))?;
        let launch = Launch { argv: &command.argv, environment: block, cwd: &command.cwd, input: Input::Pipe };
        let marker = format!("{}={}", self.mark.0, self.mark.1);
        let child = supervisor
            .start(&launch, Owner::Server(index as u32), Some(&marker))
            .map_err(|error| failed(error.to_string()))?;
        self.state = State::Up(child);
        self.error = Excerpt::default();
        self.client = Client::new(Config { probe: self.probe, ..Config::default() }, Instant::now());
        for (id, call) in &self.calls {
            self.client.call(*id, &call.work.tool, &call.work.arguments, &call.work.idempotency_key);
        }
        Ok(())
    }

    /// Passes on what the client has found out.
    fn tell(
        &mut self,
        supervisor: &mut Supervisor<Owner>,
        by_call: &mut HashMap<Caller, (usize, u64)>,
        reports: &mut Vec<Report>,
        answers: &mut Vec<Answer>,
    ) {
        while let Some(event) = self.client.next_event() {
            match event {
                Event::Result { id, outcome } => {
                    if let Some(call) = self.calls.remove(&id) {
                        by_call.remove(&call.caller);
                        reports.extend(call.ended(outcome, answers));
                    }
                }
                Event::Progress { id, text } => {
                    if let (Some(call), Some(line)) = (self.calls.get(&id), crate::process::last_line(text.as_bytes()))
                    {
                        let (Caller::Attempt(key) | Caller::Code(key, _)) = call.caller;
                        reports.push(Report::Progress { key, line });
                    }
                }
                Event::Log(text) => {
                    self.error.push(text.as_bytes());
                    self.error.push(b"\n");
                }
                Event::Fatal(why) => {
                    let why = format!("MCP server {:?}: {why}", self.name);
                    self.answer_asked(&Err(Failure::new(FailureClass::Tool, why)), answers);
                    self.end(supervisor);
                }
                Event::Ready => self.answer_asked(&Ok(()), answers),
            }
        }
    }

    fn send(&mut self, supervisor: &mut Supervisor<Owner>) {
        let State::Up(child) = self.state else { return };
        while !self.client.outgoing().is_empty() {
            let length = self.client.outgoing().len();
            if !supervisor.write(child, self.client.outgoing()) {
                // It has closed its stdin or reads nothing; its end tells the calls.
                self.end(supervisor);
                return;
            }
            self.client.sent(length);
        }
    }

    fn end(&mut self, supervisor: &mut Supervisor<Owner>) {
        if let State::Up(child) = self.state {
            supervisor.end(child, GRACE);
            self.state = State::Ending;
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
