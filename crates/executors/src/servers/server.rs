//! One MCP server: its process or its connection, the calls that it has been given, and its end. It does not know the
//! other servers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptKey, Failure, Report};
use raddle_engine::secrets::{Redactor, Secrets};

use super::log::Log;
use super::{Answer, Call, Caller, Ears, Means, Reach, ServerCommand, ServerSettings};
use crate::confine::{self, Needs, packages_of};
use crate::http::{Carrier, Heard, PostOffice, Trouble, What};
use crate::local::Owner;
use crate::mcp::{Client, Config, Event, Protocol, Tool, Unanswered};
use crate::process::{ChildId, Excerpt, Exit, Input, Launch, Stream, Supervisor};
use crate::process_attempt::confine_to;
use crate::provisions::refuse_open_secrets;
use crate::rundir::OWN_TMP;
use crate::verdict;

/// A server that has been begun so often without answering a single call is not begun again.
const FRUITLESS_STARTS: u32 = 5;
/// Nor one that has been begun so often at all.
const STARTS: u32 = 100;
/// The wait before the third start in a row; it doubles from there.
const BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// TERM to KILL for a server that is of no use any more.
const GRACE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Server {
    name: String,
    index: usize,
    settings: ServerSettings,
    /// Entry of the environment by which its descendants are known.
    mark: (String, String),
    run: Vec<(String, String)>,
    state: State,
    client: Client,
    error: Excerpt,
    log: Log,
    secrets: Arc<Secrets>,
    /// What is taken out of its stdout and stderr.
    redactors: [Redactor; 2],
    starts: u32,
    /// Starts since a call was answered last.
    fruitless: u32,
    probe: bool,
    next_lane: u64,
    calls: BTreeMap<u64, Call>,
    sent: u32,
    /// Who wants to know its tools.
    asked: Vec<AttemptKey>,
    /// Why its process ended, for those.
    last_word: Option<String>,
}

enum State {
    /// Nothing is there; the next call begins it, not before that moment.
    Down { not_before: Option<Instant> },
    /// A process.
    Up(ChildId),
    /// Its process is being ended; a new one is started when it is gone.
    Ending,
    /// Behind a URL.
    Linked(Box<Carrier>),
}

impl Server {
    pub(super) fn new(
        name: &str,
        index: usize,
        settings: ServerSettings,
        env: &[(String, String)],
        run_dir: &Path,
        secrets: &Arc<Secrets>,
    ) -> Self {
        let run = env.iter().filter(|(name, _)| name == "RADDLE_RUN_ID").cloned().collect();
        Server {
            name: name.to_owned(),
            index,
            settings,
            mark: ("RADDLE_MCP_SERVER".to_owned(), format!("{}.{index}", std::process::id())),
            run,
            state: State::Down { not_before: None },
            client: Client::new(Config::default(), Instant::now()),
            error: Excerpt::default(),
            log: Log::new(run_dir, name),
            secrets: Arc::clone(secrets),
            redactors: [Redactor::new(secrets), Redactor::new(secrets)],
            starts: 0,
            fruitless: 0,
            probe: true,
            next_lane: 0,
            calls: BTreeMap::new(),
            sent: 0,
            asked: Vec::new(),
            last_word: None,
        }
    }

    pub(super) fn is_behind_a_url(&self) -> bool {
        matches!(self.settings.reach, Reach::Address(_))
    }

    /// Whether anybody waits for it.
    fn is_wanted(&self) -> bool {
        !self.calls.is_empty() || !self.asked.is_empty()
    }

    /// Somebody wants to know its tools.
    pub(super) fn ask(&mut self, key: AttemptKey, answers: &mut Vec<Answer>) {
        self.asked.push(key);
        if self.client.is_ready() {
            self.answer_asked(&Ok(()), answers);
        }
    }

    /// Nobody of that attempt wants to know its tools any more.
    pub(super) fn forget(&mut self, key: AttemptKey) {
        self.asked.retain(|asked| *asked != key);
    }

    /// Tells those who wanted to know its tools how that ended.
    fn answer_asked(&mut self, outcome: &Result<(), Failure>, answers: &mut Vec<Answer>) {
        answers.extend(self.asked.drain(..).map(|key| Answer::Listed {
            key,
            server: self.name.clone(),
            outcome: outcome.clone(),
        }));
    }

    pub(super) fn is_called(&self, name: &str) -> bool {
        self.name == name
    }

    pub(super) fn tools(&self) -> &[Tool] {
        self.client.tools()
    }

    pub(super) fn take(&mut self, id: u64, call: Call) {
        self.calls.insert(id, call);
    }

    pub(super) fn cancel(&mut self, id: u64) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        if call.is_sent {
            self.sent -= 1;
            self.client.cancel(id);
        }
        Some(call)
    }

    pub(super) fn hear(&mut self, stream: Stream, bytes: &[u8]) {
        let bytes = &*self.redactors[usize::from(stream == Stream::Error)].push(bytes);
        match stream {
            Stream::Error => {
                self.error.push(bytes);
                self.log.add(bytes);
            }
            _ => self.client.feed(bytes),
        }
    }

    /// Takes what came over HTTP.
    pub(super) fn heard(&mut self, heard: Heard) {
        let State::Linked(carrier) = &mut self.state else { return };
        if !carrier.knows(heard.lane) {
            return;
        }
        match heard.what {
            What::Session(session) => carrier.set_session(session),
            What::Message(message) => {
                let request = carrier.request_of(heard.lane);
                self.client.hear(&self.secrets.redact_bytes(&message));
                if let Some(request) = request
                    && !self.client.awaits(request)
                {
                    carrier.answered(request);
                }
            }
            What::Over(end) => {
                let request = carrier.request_of(heard.lane);
                carrier.over(heard.lane);
                match (request.filter(|request| self.client.awaits(*request)), end) {
                    (None, _) => {}
                    (Some(request), Err(trouble)) => self.trouble(request, trouble),
                    (Some(request), Ok(())) => {
                        self.trouble(request, Trouble::Refused("it answered something else".into()));
                    }
                }
            }
        }
    }

    fn trouble(&mut self, request: u64, trouble: Trouble) {
        let (class, why, hopeless) = match trouble {
            Trouble::SessionGone => {
                // It has not been looked at, so it may be sent again; a new session does that.
                let again = self.client.take_back(request).and_then(|id| self.calls.get_mut(&id));
                if let Some(call) = again {
                    call.is_sent = false;
                }
                return self.client.closed(&format!("MCP server {:?} has ended the session", self.name));
            }
            Trouble::Unreachable(why) => (FailureClass::Start, format!("is not reached: {why}"), true),
            Trouble::Forbidden(why) => (FailureClass::Auth, format!("does not let us in: {why}"), true),
            Trouble::Refused(why) => (FailureClass::Tool, format!("refused: {why}"), false),
            Trouble::Lost(why) => (FailureClass::Tool, format!("gave no answer: {why}"), false),
        };
        let why = format!("MCP server {:?} {why}", self.name);
        self.client.unanswered(request, &Unanswered { class, why, hopeless });
    }

    /// Its process is gone.
    pub(super) fn gone(&mut self, exit: Exit) {
        let [_, rest] = self.redactors.each_mut().map(Redactor::finish);
        self.error.push(&rest);
        self.log.add(&rest);
        self.down();
        if self.client.is_probing() && self.probe && self.is_wanted() {
            // Some servers die of a question that they do not know; it is not asked again, and nothing was called.
            self.probe = false;
            self.unsend();
            return;
        }
        let words = self.error.last_lines(verdict::SHOWN_LINES);
        let how = verdict::ending(exit);
        let why = format!("MCP server {:?} ended ({how})", self.name);
        let why = if words.is_empty() { why } else { format!("{why}\n{words}") };
        self.client.closed(&why);
        self.last_word = Some(why);
    }

    fn down(&mut self) {
        if let State::Linked(carrier) = &self.state {
            self.next_lane = carrier.next_lane();
        }
        let wait = match self.fruitless {
            0 | 1 => Duration::ZERO,
            n => LONGEST_BACKOFF.min(BACKOFF * 2u32.pow((n - 2).min(10))),
        };
        self.state = State::Down { not_before: (!wait.is_zero()).then(|| Instant::now() + wait) };
    }

    fn unsend(&mut self) {
        self.sent = 0;
        for call in self.calls.values_mut() {
            call.is_sent = false;
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Down { not_before } if self.is_wanted() => *not_before,
            State::Up(_) | State::Linked(_) => self.client.deadline(),
            State::Down { .. } | State::Ending => None,
        }
    }

    /// Does what is due.
    pub(super) fn pump(&mut self, mut means: Means<'_>, mut ears: Ears<'_>) {
        let now = Instant::now();
        if self.is_up() && self.client.deadline().is_some_and(|due| due <= now) {
            self.client.tick(now);
        }
        self.tell(means.supervisor, &mut ears);
        if let State::Down { not_before } = self.state
            && self.is_wanted()
            && not_before.is_none_or(|moment| moment <= now)
            && let Err(failure) = self.start(&mut means)
        {
            for (_, call) in std::mem::take(&mut self.calls) {
                ears.by_call.remove(&call.caller);
                ears.reports.extend(call.ended(Err(failure.clone()), ears.answers));
            }
            self.sent = 0;
            self.answer_asked(&Err(failure), ears.answers);
        }
        if self.is_up() {
            self.hand_over();
            self.tell(means.supervisor, &mut ears);
            // What was answered has made room.
            self.hand_over();
        }
        self.send(&mut means);
        self.tell(means.supervisor, &mut ears);
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_) | State::Linked(_))
    }

    /// Gives calls to the client, as many as the server takes at a time.
    fn hand_over(&mut self) {
        let most = self.settings.max_concurrent.unwrap_or(u32::MAX);
        if self.client.is_dead() || self.sent as usize == self.calls.len() {
            return;
        }
        for (id, call) in self.calls.iter_mut().filter(|(_, call)| !call.is_sent) {
            if self.sent >= most {
                return;
            }
            self.sent += 1;
            call.is_sent = true;
            self.client.call(*id, &call.work.tool, &call.work.arguments, &call.work.idempotency_key);
        }
    }

    fn start(&mut self, means: &mut Means<'_>) -> Result<(), Failure> {
        let failed = |what: String| Failure::new(FailureClass::Start, format!("MCP server {:?}: {what}", self.name));
        if self.fruitless == FRUITLESS_STARTS || self.starts == STARTS {
            let words = self.error.last_lines(5);
            return Err(failed(format!("ended {} times and is not started again\n{words}", self.starts)));
        }
        self.starts += 1;
        self.fruitless += 1;
        let mut over_http = false;
        self.state = match &self.settings.reach {
            Reach::Command(command) => {
                let child = self.launch(command, means)?;
                State::Up(child)
            }
            Reach::Address(_) if means.post.is_none() => return Err(failed("no descriptor is left for HTTP".into())),
            Reach::Address(address) => {
                over_http = true;
                State::Linked(Box::new(Carrier::new(self.index as u32, Arc::new(address.clone()), self.next_lane)))
            }
        };
        self.error = Excerpt::default();
        let config =
            Config { probe: self.probe, over_http, elicitation: self.settings.elicitation, ..Config::default() };
        self.client = Client::new(config, Instant::now());
        self.unsend();
        Ok(())
    }

    fn launch(&self, command: &ServerCommand, means: &mut Means<'_>) -> Result<ChildId, Failure> {
        let failed =
            |class, what: &dyn std::fmt::Display| Failure::new(class, format!("MCP server {:?}: {what}", self.name));
        let all = command.env.iter().chain(&self.run).chain(std::iter::once(&self.mark));
        let mut more: Vec<(&str, &str)> = all.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        refuse_open_secrets(&command.argv, &self.secrets).map_err(|failure| failed(failure.class, &failure.message))?;
        let (tmp, prepared);
        let mut seal = None;
        if let Some(confinement) = &command.confinement {
            let place = means.place.ok_or_else(|| failed(FailureClass::Start, &"there is no folder for its files"))?;
            let path = means.environment.path(&more);
            let read = command.argv.first().and_then(|program| packages_of(program, &path)).into_iter().collect();
            let needs = Needs { read, ..Needs::of(&command.cwd, &path) };
            let stem = format!("server-{}", self.index);
            prepared = confine_to(place, &stem, needs, |needs| confine::prepare(confinement, needs))
                .map_err(|failure| failed(failure.class, &failure.message))?;
            seal = Some(&prepared.seal);
            tmp = place.own(&stem).join(OWN_TMP).to_string_lossy().into_owned();
            more.push(("TMPDIR", &tmp));
        }
        means.environment.fill(&more, means.block).map_err(|error| failed(FailureClass::Start, &error))?;
        let (argv, cwd) = (&command.argv[..], command.cwd.as_path());
        let launch = Launch { argv, environment: means.block, cwd, input: Input::Pipe, seal };
        let marker = format!("{}={}", self.mark.0, self.mark.1);
        let owner = Owner::Server(self.index as u32);
        means.supervisor.start(&launch, owner, Some(&marker)).map_err(|error| {
            let failure = error.into_failure();
            failed(failure.class, &failure.message)
        })
    }

    /// Passes on what the client has found out.
    fn tell(&mut self, supervisor: &mut Supervisor<Owner>, ears: &mut Ears<'_>) {
        while let Some(event) = self.client.next_event() {
            match event {
                Event::Result { id, outcome } => {
                    if let Some(call) = self.calls.remove(&id) {
                        self.sent -= u32::from(call.is_sent);
                        if !self.client.is_dead() {
                            self.fruitless = 0;
                        }
                        ears.by_call.remove(&call.caller);
                        ears.reports.extend(call.ended(outcome, ears.answers));
                    }
                }
                Event::Progress { id, text } => {
                    if let (Some(call), Some(line)) = (self.calls.get(&id), crate::process::last_line(text.as_bytes()))
                    {
                        let (Caller::Attempt(key) | Caller::Code(key, _)) = call.caller;
                        ears.reports.push(Report::Progress { key, line });
                    }
                }
                Event::Log(text) => {
                    let text = self.secrets.redact(&text);
                    self.error.push(text.as_bytes());
                    self.error.push(b"\n");
                    self.log.add(format!("{text}\n").as_bytes());
                }
                Event::Fatal(why) => {
                    self.log.add(format!("raddle ends the connection: {why}\n").as_bytes());
                    let why = format!("MCP server {:?}: {why}", self.name);
                    self.answer_asked(&Err(Failure::new(FailureClass::Tool, why)), ears.answers);
                    self.end(supervisor);
                }
                Event::Ready => {
                    self.answer_asked(&Ok(()), ears.answers);
                }
            }
        }
        if let Some(why) = self.last_word.take() {
            self.answer_asked(&Err(Failure::new(FailureClass::Tool, why)), ears.answers);
        }
        if self.client.is_dead() && matches!(self.state, State::Linked(_)) {
            self.down();
        }
    }

    fn send(&mut self, means: &mut Means<'_>) {
        match &mut self.state {
            State::Up(child) => {
                let child = *child;
                while !self.client.outgoing().is_empty() {
                    let length = self.client.outgoing().len();
                    if !means.supervisor.write(child, self.client.outgoing()) {
                        // It has closed its stdin or reads nothing; its end tells the calls.
                        self.end(means.supervisor);
                        return;
                    }
                    self.client.sent(length);
                }
            }
            State::Linked(carrier) => {
                let Some(post) = means.post else { return };
                while let Some(message) = self.client.next_message() {
                    let about = self.client.carried(&message);
                    let is_modern = matches!(self.client.version(), Protocol::Modern);
                    if let Some(cancelled) = about.cancels {
                        carrier.give_up(cancelled);
                        if is_modern {
                            // The closed connection says it.
                            continue;
                        }
                    }
                    let listens = about.opens.then(|| about.headers.clone());
                    carrier.post(message, about.request, about.headers, !is_modern, about.opens);
                    if let Some(headers) = listens {
                        carrier.listen(headers);
                    }
                }
                if let Err(error) = carrier.pump(post) {
                    self.client.closed(&format!("no thread for a request: {error}"));
                }
            }
            State::Down { .. } | State::Ending => {}
        }
    }

    fn end(&mut self, supervisor: &mut Supervisor<Owner>) {
        match self.state {
            State::Up(child) => {
                supervisor.end(child, GRACE);
                self.state = State::Ending;
            }
            State::Linked(_) => self.down(),
            State::Down { .. } | State::Ending => {}
        }
    }

    /// Says goodbye. Returns what to wait for a moment for.
    pub(super) fn close(
        &mut self,
        supervisor: &mut Supervisor<Owner>,
        post: Option<&PostOffice>,
    ) -> Option<(u32, u64)> {
        match &mut self.state {
            State::Up(child) => {
                supervisor.close_input(*child);
                None
            }
            State::Linked(carrier) => {
                let version = match self.client.version() {
                    Protocol::Handshake(version) => version,
                    Protocol::Modern => return None,
                };
                let headers = vec![("MCP-Protocol-Version".to_owned(), version.to_owned())];
                carrier.close(post?, headers).map(|lane| (self.index as u32, lane))
            }
            State::Down { .. } | State::Ending => None,
        }
    }
}
