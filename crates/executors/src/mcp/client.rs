//! The state of one connection: which generation of the protocol the server speaks, what it offers, which calls are
//! under way. It does not know pipes, processes or the time of day; see the module's picture.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput};
use serde_json::Value;
use serde_json::value::RawValue;

use super::elicitation::Elicitation;
use super::outcome::RpcError;
use super::tools::{Table, Tool};
use super::wire::{self, Line, Message, cut};
use crate::lines::{Lines, MAX_LINE_BYTES};

mod calls;
mod carried;
mod more_wanted;
mod opening;
mod server_side;

pub use carried::{Carried, Unanswered};

/// The first request of every connection that probes.
const DISCOVER_ID: u64 = 1;
/// Notes that wait to be read; further ones are dropped.
const MAX_NOTES: usize = 256;

/// How to behave; the default is right for unknown servers.
#[derive(Debug, Clone)]
pub struct Config {
    /// Name told to the server.
    pub name: String,
    /// Version told to the server.
    pub version: String,
    /// Whether to ask for the stateless protocol first. Without it the connection begins with `initialize`: for a
    /// server that was seen to die of the question.
    pub probe: bool,
    /// How long a server may ignore the question before `initialize` is sent too.
    pub probe_wait: Duration,
    /// How long a server may take for each answer until it is ready (it may be installing itself).
    pub start_wait: Duration,
    /// Whether messages go as requests of HTTP, each with an answer of its own.
    pub over_http: bool,
    /// What a server is told that asks the user something.
    pub elicitation: Elicitation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            name: "raddle".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            probe: true,
            probe_wait: Duration::from_secs(2),
            start_wait: Duration::from_secs(120),
            over_http: false,
            elicitation: Elicitation::default(),
        }
    }
}

/// The version in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `initialize`, with the version that the server chose.
    Handshake(&'static str),
    /// The stateless one.
    Modern,
}

/// What a driver learns.
#[derive(Debug)]
pub enum Event {
    /// The tools are known; calls that waited have been sent.
    Ready,
    /// A call is over, in whatever way. Exactly one for every call that was not cancelled.
    Result {
        /// The caller's id.
        id: u64,
        /// The output, or why there is none.
        outcome: Result<RawOutput, Failure>,
    },
    /// A call goes on.
    Progress {
        /// The caller's id.
        id: u64,
        /// For a live display.
        text: String,
    },
    /// The server said something that is nobody's answer.
    Log(String),
    /// The connection is of no use any more; end the server. All calls have got their results before.
    Fatal(String),
}

#[derive(Debug)]
enum State {
    /// `server/discover` is unanswered.
    Probing { id: u64, until: Instant },
    /// `initialize` is unanswered; a late answer to the probe still counts.
    Initializing { id: u64, until: Instant },
    /// A page of `tools/list` is unanswered.
    Listing { id: u64, until: Instant, listing: Box<Listing> },
    /// Calls go out at once.
    Ready,
    /// Nothing goes out or in.
    Dead { class: FailureClass, why: String },
}

#[derive(Debug, Default)]
struct Listing {
    table: Table,
    pages: u32,
    bytes: usize,
    cursor: Option<String>,
    /// The list changed while it was being read.
    again: bool,
}

#[derive(Debug)]
struct Waiting {
    call: u64,
    tool: String,
    arguments: Value,
    key: String,
}

#[derive(Debug)]
struct InFlight {
    call: u64,
    tool: String,
    /// The method is `resources/read`: there is no tool.
    resource: bool,
    /// For servers that may answer by questions and want to be asked again (the stateless protocol only).
    again: Option<Box<Again>>,
}

/// What is needed to ask once more.
#[derive(Debug, Clone)]
struct Again {
    /// The members of `params` without `_meta`, with a comma behind.
    members: Vec<u8>,
    key: String,
    rounds: u32,
}

/// One connection to one server.
#[derive(Debug)]
pub struct Client {
    config: Config,
    state: State,
    protocol: Protocol,
    /// The members of `_meta` that every request of the stateless protocol carries, with a comma behind.
    modern_meta: Vec<u8>,
    table: Table,
    refreshes: u32,
    waiting: VecDeque<Waiting>,
    in_flight: HashMap<u64, InFlight>,
    next_id: u64,
    now: Instant,
    lines: Lines,
    out: Vec<u8>,
    written: usize,
    events: VecDeque<Event>,
    notes: usize,
}

impl Client {
    /// A connection whose first request waits in [`Client::outgoing`].
    pub fn new(config: Config, now: Instant) -> Self {
        let mut modern_meta = format!("\"io.modelcontextprotocol/protocolVersion\":\"{}\",", wire::MODERN).into_bytes();
        modern_meta.extend_from_slice(b"\"io.modelcontextprotocol/clientInfo\":");
        client_info(&mut modern_meta, &config);
        modern_meta.extend_from_slice(b",\"io.modelcontextprotocol/clientCapabilities\":");
        modern_meta.extend_from_slice(config.elicitation.capabilities().as_bytes());
        modern_meta.push(b',');
        // An answer by HTTP is the answer to that request, so there is no guessing.
        let wait = if config.over_http { config.start_wait } else { config.probe_wait };
        let mut client = Client {
            state: State::Probing { id: DISCOVER_ID, until: now + wait },
            protocol: Protocol::Modern,
            modern_meta,
            table: Table::default(),
            refreshes: 0,
            waiting: VecDeque::new(),
            in_flight: HashMap::new(),
            next_id: DISCOVER_ID,
            now,
            lines: Lines::new(MAX_LINE_BYTES),
            out: Vec::new(),
            written: 0,
            events: VecDeque::new(),
            notes: 0,
            config,
        };
        if client.config.probe {
            let id = client.begin("server/discover");
            debug_assert_eq!(id, DISCOVER_ID, "the probe is the first request");
            client.end();
        } else {
            client.next_id = DISCOVER_ID + 1;
            client.initialize();
        }
        client
    }

    /// What must be written to the server now; tell [`Client::sent`] how much of it was.
    pub fn outgoing(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// `n` bytes of [`Client::outgoing`] have been written.
    pub fn sent(&mut self, n: usize) {
        self.written += n;
        debug_assert!(self.written <= self.out.len(), "more was written than there was");
        if self.written >= self.out.len() {
            self.written = 0;
            if self.out.capacity() > 1 << 20 {
                self.out = Vec::new();
            } else {
                self.out.clear();
            }
        }
    }

    /// When [`Client::tick`] must be called at the latest; `None` while nothing is timed. Calls have no limit here:
    /// their attempts have.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Probing { until, .. } | State::Initializing { until, .. } | State::Listing { until, .. } => {
                Some(until)
            }
            State::Ready | State::Dead { .. } => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if self.deadline().is_none_or(|until| self.now < until) {
            return;
        }
        match self.state {
            State::Probing { .. } if self.config.over_http => {
                self.fatal("the server did not answer `server/discover` in time");
            }
            State::Probing { .. } => self.initialize(),
            State::Initializing { .. } => self.fatal("the server did not answer `initialize` in time"),
            State::Listing { .. } => self.fatal("the server did not answer `tools/list` in time"),
            State::Ready | State::Dead { .. } => {}
        }
    }

    /// The version in use, once that is settled.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.state {
            State::Probing { .. } | State::Initializing { .. } => None,
            _ => Some(self.protocol),
        }
    }

    /// The version that is spoken so far.
    pub(crate) fn version(&self) -> Protocol {
        self.protocol
    }

    /// True until the server has said anything about versions: if it ends now, it may have died of the probe, and a
    /// connection with `probe: false` is worth a try.
    pub fn is_probing(&self) -> bool {
        self.config.probe && matches!(self.state, State::Probing { .. } | State::Initializing { .. })
    }

    /// Whether the tools are known and calls go out at once.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready)
    }

    /// After a fatal event or [`Client::closed`].
    pub fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead { .. })
    }

    /// What the server offers; empty before [`Event::Ready`].
    pub fn tools(&self) -> &[Tool] {
        self.table.all()
    }

    /// Calls that are under way or wait for the server to be ready.
    pub fn calls(&self) -> usize {
        self.waiting.len() + self.in_flight.len()
    }

    /// The next thing that happened. Read it until it is `None` after every other method.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if matches!(event, Some(Event::Log(_) | Event::Progress { .. })) {
            self.notes -= 1;
        }
        event
    }

    /// Calls a tool. `id` is the caller's own, unique among the live calls; `idempotency_key` goes into `_meta`. The
    /// arguments are checked against the tool's schema first: what does not fit is never sent.
    pub fn call(&mut self, id: u64, tool: &str, arguments: &Value, idempotency_key: &str) {
        match &self.state {
            State::Ready => self.send_call(id, tool, arguments, idempotency_key),
            State::Dead { class, why } => {
                let failure = Failure::new(*class, format!("tool `{tool}` was not called: {why}"));
                self.events.push_back(Event::Result { id, outcome: Err(failure) });
            }
            _ => self.waiting.push_back(Waiting {
                call: id,
                tool: tool.to_owned(),
                arguments: arguments.clone(),
                key: idempotency_key.to_owned(),
            }),
        }
    }

    /// Gives a call up: the server is told, its answer is ignored, and no [`Event::Result`] comes. False when the
    /// call is not live (its result may be waiting in [`Client::next_event`]).
    pub fn cancel(&mut self, id: u64) -> bool {
        if let Some(at) = self.waiting.iter().position(|w| w.call == id) {
            self.waiting.remove(at);
            return true;
        }
        let Some(wire_id) = self.in_flight.iter().find(|(_, f)| f.call == id).map(|(wire_id, _)| *wire_id) else {
            return false;
        };
        self.in_flight.remove(&wire_id);
        let told = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":";
        self.out.extend_from_slice(told);
        wire::number(&mut self.out, wire_id);
        self.out.extend_from_slice(b",\"reason\":\"cancelled\"}}\n");
        true
    }

    /// The server is gone; `why` is for people (its exit status, the end of its stderr).
    pub fn closed(&mut self, why: &str) {
        if !self.is_dead() {
            self.die(FailureClass::Tool, why);
        }
    }

    /// Bytes from the server's stdout, cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.is_dead() {
            return;
        }
        // Taken out so that lines can borrow from it while the rest of `self` changes.
        let mut lines = std::mem::replace(&mut self.lines, Lines::new(0));
        let fed = lines.feed(bytes, |line| self.line(line));
        self.lines = lines;
        if fed.is_err() {
            self.fatal("the server sent a line of more than 64 MB");
        }
    }

    fn line(&mut self, line: &[u8]) {
        match wire::read(line) {
            _ if self.is_dead() => {}
            Line::One(message) => self.message(&message, line.len()),
            Line::Batch(items) => {
                for item in items {
                    match wire::message(item.get()) {
                        Some(message) => self.message(&message, item.get().len()),
                        None => self.log(&format!("not a message: {}", cut(item.get(), 200))),
                    }
                }
            }
            Line::Blank => {}
            Line::Noise => self.log(&cut(&String::from_utf8_lossy(&line[..line.len().min(1000)]), 200)),
        }
    }

    fn message(&mut self, message: &Message<'_>, bytes: usize) {
        match (message.id, message.method.is_empty()) {
            (Some(id), false) => self.server_request(id, &message.method, message.params),
            (None, false) => self.notification(&message.method, message.params),
            (Some(_), true) => self.answer(message, bytes),
            (None, true) => {
                let words = message.error.map(|e| RpcError::read(e).words()).unwrap_or_else(|| "no message".into());
                self.log(&words);
            }
        }
    }

    fn answer(&mut self, message: &Message<'_>, bytes: usize) {
        let own = message.own_id();
        if let Some(id) = own
            && let Some(flight) = self.in_flight.remove(&id)
        {
            match (message.result, message.error) {
                (_, Some(error)) => {
                    let words = RpcError::read(error).words();
                    let failure = Failure::new(FailureClass::Tool, format!("tool `{}` failed: {words}", flight.tool));
                    self.events.push_back(Event::Result { id: flight.call, outcome: Err(failure) });
                }
                (Some(result), None) => self.result(flight, result),
                (None, None) => {
                    let told = format!("tool `{}` got an answer without a result", flight.tool);
                    let outcome = Err(Failure::new(FailureClass::Tool, told));
                    self.events.push_back(Event::Result { id: flight.call, outcome });
                }
            }
            return;
        }
        let answer = match (message.result, message.error) {
            (_, Some(error)) => Err(RpcError::read(error)),
            (result, None) => Ok(result.map_or("null", RawValue::get)),
        };
        match (&self.state, own) {
            (State::Probing { id, .. }, Some(own)) if *id == own => self.discovered(answer),
            (State::Initializing { .. }, Some(DISCOVER_ID)) => self.discovered(answer),
            (State::Initializing { id, .. }, Some(own)) if *id == own => self.initialized(answer),
            (State::Listing { id, .. }, Some(own)) if *id == own => self.listed(answer, bytes),
            _ => {
                let id = message.id.map_or(String::new(), |id| cut(id.get(), 40));
                self.log(&format!("answer to a request that is not live: {id}"));
            }
        }
    }

    /// Begins a request and returns its id.
    fn begin(&mut self, method: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        wire::begin_request(&mut self.out, id, method);
        id
    }

    /// Ends a request that has no `_meta` of its own.
    fn end(&mut self) {
        if self.protocol == Protocol::Modern {
            self.out.extend_from_slice(b"\"_meta\":{");
            self.out.extend_from_slice(self.modern_meta.strip_suffix(b",").unwrap_or(&self.modern_meta));
            self.out.push(b'}');
        }
        wire::end_request(&mut self.out);
    }

    fn log(&mut self, text: &str) {
        self.note(Event::Log(text.to_owned()));
    }

    fn note(&mut self, event: Event) {
        if self.notes < MAX_NOTES {
            self.notes += 1;
            self.events.push_back(event);
        }
    }

    fn fatal(&mut self, why: &str) {
        self.fatal_as(FailureClass::Tool, why);
    }

    fn fatal_as(&mut self, class: FailureClass, why: &str) {
        self.die(class, why);
        self.events.push_back(Event::Fatal(why.to_owned()));
    }

    /// The one way to the end: whatever was asked gets its answer, and nothing is repeated, because nobody knows what
    /// the server had done by then.
    fn die(&mut self, class: FailureClass, why: &str) {
        let mut flights: Vec<(u64, InFlight)> = self.in_flight.drain().collect();
        flights.sort_by_key(|(id, _)| *id);
        for (_, flight) in flights {
            let told = format!("tool `{}` was under way: {why}", flight.tool);
            let outcome = Err(Failure::new(FailureClass::Tool, told));
            self.events.push_back(Event::Result { id: flight.call, outcome });
        }
        for waiting in self.waiting.drain(..) {
            let told = format!("tool `{}` was not called: {why}", waiting.tool);
            let outcome = Err(Failure::new(class, told));
            self.events.push_back(Event::Result { id: waiting.call, outcome });
        }
        self.out = Vec::new();
        self.written = 0;
        self.state = State::Dead { class, why: why.to_owned() };
    }
}

fn client_info(out: &mut Vec<u8>, config: &Config) {
    out.extend_from_slice(b"{\"name\":");
    wire::string(out, &config.name);
    out.extend_from_slice(b",\"version\":");
    wire::string(out, &config.version);
    out.push(b'}');
}
