//! MCP servers as processes: started at the first call, shared by all calls of a run, started again when they die. It
//! does not know the protocol; that is [`crate::mcp`].

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, Failure, RawOutput, Report, ToolWork};

use crate::environment::{Block, Environment};
use crate::local::Owner;
use crate::mcp::{Client, Config, Event};
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
    by_call: HashMap<AttemptKey, (usize, u64)>,
    calls: u64,
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
}

enum State {
    /// No process; the next call starts one.
    Down,
    Up(ChildId),
    /// Its process is being ended; a new one is started when it is gone.
    Ending,
}

struct Call {
    key: AttemptKey,
    epoch: u32,
    limits: Limits,
    work: ToolWork,
}

impl Servers {
    pub(crate) fn new(commands: BTreeMap<String, ServerCommand>) -> Self {
        Servers { commands, servers: Vec::new(), by_call: HashMap::new(), calls: 0 }
    }

    /// Takes a call; [`Servers::pump`] sends it.
    pub(crate) fn call(&mut self, spec: &AttemptSpec, work: &ToolWork) -> Result<(), Failure> {
        if !self.commands.contains_key(&work.server) {
            let known: Vec<&str> = self.commands.keys().map(String::as_str).collect();
            let known =
                if known.is_empty() { "there is none".to_owned() } else { format!("there are {}", known.join(", ")) };
            return Err(Failure::new(
                FailureClass::Start,
                format!("no MCP server is called {:?}; {known}", work.server),
            ));
        }
        let index = self.servers.iter().position(|server| server.name == work.server).unwrap_or_else(|| {
            self.servers.push(Server::new(&work.server, self.servers.len(), spec));
            self.servers.len() - 1
        });
        self.calls += 1;
        self.by_call.insert(spec.key, (index, self.calls));
        let server = &mut self.servers[index];
        let limits = Limits { timeout: spec.timeout, idle: spec.idle };
        server.calls.insert(self.calls, Call { key: spec.key, epoch: spec.epoch, limits, work: work.clone() });
        if let State::Up(_) = server.state {
            server.client.call(self.calls, &work.tool, &work.arguments, &work.idempotency_key);
        }
        Ok(())
    }

    /// Gives a call up. False when there is no such call.
    pub(crate) fn cancel(&mut self, key: AttemptKey, cut: Cut, reports: &mut Vec<Report>) -> bool {
        let Some((index, id)) = self.by_call.remove(&key) else { return false };
        let server = &mut self.servers[index];
        server.client.cancel(id);
        if let Some(call) = server.calls.remove(&id) {
            let failure = verdict::for_cut(cut, call.limits, "");
            reports.push(call.ended(Err(failure)));
        }
        true
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
        if server.client.is_probing() && server.probe && server.client.calls() > 0 {
            // Some servers die of a question that they do not know; it is not asked again, and nothing was called.
            server.probe = false;
            return;
        }
        let words = server.error.last_lines(verdict::SHOWN_LINES);
        let how = verdict::ending(exit);
        let why = format!("MCP server {:?} ended ({how})", server.name);
        server.client.closed(&if words.is_empty() { why } else { format!("{why}\n{words}") });
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
            server.tell(supervisor, &mut self.by_call, reports);
            if matches!(server.state, State::Down) && !server.calls.is_empty() {
                let command = &self.commands[&server.name];
                if let Err(failure) = server.start(index, command, environment, block, supervisor) {
                    for (_, call) in std::mem::take(&mut server.calls) {
                        self.by_call.remove(&call.key);
                        reports.push(call.ended(Err(failure.clone())));
                    }
                }
                server.tell(supervisor, &mut self.by_call, reports);
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
    fn new(name: &str, index: usize, spec: &AttemptSpec) -> Self {
        let run = spec.env.iter().filter(|(name, _)| name == "RADDLE_RUN_ID").cloned().collect();
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
        }
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
        by_call: &mut HashMap<AttemptKey, (usize, u64)>,
        reports: &mut Vec<Report>,
    ) {
        while let Some(event) = self.client.next_event() {
            match event {
                Event::Result { id, outcome } => {
                    if let Some(call) = self.calls.remove(&id) {
                        by_call.remove(&call.key);
                        reports.push(call.ended(outcome));
                    }
                }
                Event::Progress { id, text } => {
                    if let (Some(call), Some(line)) = (self.calls.get(&id), crate::process::last_line(text.as_bytes()))
                    {
                        reports.push(Report::Progress { key: call.key, line });
                    }
                }
                Event::Log(text) => {
                    self.error.push(text.as_bytes());
                    self.error.push(b"\n");
                }
                Event::Fatal(_) => self.end(supervisor),
                Event::Ready => {}
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
    fn ended(self, result: Result<RawOutput, Failure>) -> Report {
        Report::Ended(Ended { key: self.key, epoch: self.epoch, result, usage: None, session: None })
    }
}
