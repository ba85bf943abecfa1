//! Carries messages to servers behind a URL and brings back theirs: requests of HTTP on threads, each with a connection
//! of its own. It does not know the protocol that the messages speak, nor tasks.
//!
//! ```text
//!   the dispatcher's thread                         a lane's thread
//!     | Carrier::post(message)  -- channel -->        | POST, waits, reads
//!     | Post office's descriptor is readable <------- | Heard: a session, messages, the end
//!     | a dropped lane shuts its connection down -->  | its read fails, the thread ends
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

mod lane;
mod sse;

/// Requests to one server at a time; more wait.
const MAX_LANES: usize = 64;
/// Lanes that keep their connection while there is nothing to do.
const IDLE_LANES: usize = 16;
/// Messages that wait to be read by the dispatcher; whoever has more waits.
const MAX_UNREAD: usize = 256;
/// How long a name may take to be looked up, and a connection to be made.
const CONNECT: Duration = Duration::from_secs(15);

/// Where a server is and what is told to it with every request.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// `https://…`, or `http://…` on this machine.
    pub url: String,
    /// Headers, their values as they are sent.
    pub headers: Vec<(String, String)>,
}

impl std::fmt::Debug for ServerAddress {
    /// Values of headers are secrets more often than not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ServerAddress").field("url", &self.url).field("headers", &names).finish()
    }
}

/// What a lane tells.
pub(crate) struct Heard {
    /// Which server, as the carrier was told.
    pub(crate) server: u32,
    pub(crate) lane: u64,
    pub(crate) what: What,
}

pub(crate) enum What {
    /// The server wants to be told this with every further request.
    Session(String),
    /// A message.
    Message(Vec<u8>),
    /// The request is over.
    Over(Result<(), Trouble>),
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody is there; nothing was sent.
    Unreachable(String),
    /// The server does not let us in.
    Forbidden(String),
    /// The server has forgotten the session and has not looked at the request.
    SessionGone,
    /// The server's answer is no answer to the request.
    Refused(String),
    /// The connection ended before the answer; nobody knows what the server did.
    Lost(String),
}

/// Where lanes leave what they have heard, with a descriptor that is readable when there is something.
pub(crate) struct PostOffice {
    bell: Arc<OwnedFd>,
    sender: SyncSender<Heard>,
    receiver: Receiver<Heard>,
}

impl PostOffice {
    pub(crate) fn open() -> std::io::Result<Self> {
        let flags = rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK;
        let (sender, receiver) = sync_channel(MAX_UNREAD);
        Ok(PostOffice { bell: Arc::new(rustix::event::eventfd(0, flags)?), sender, receiver })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Stops the bell; what follows it is in [`PostOffice::next`].
    pub(crate) fn silence(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }

    pub(crate) fn next(&self) -> Option<Heard> {
        self.receiver.try_recv().ok()
    }

    /// The same, waiting for it.
    pub(crate) fn next_until(&self, until: Instant) -> Option<Heard> {
        self.receiver.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    fn letter_box(&self, server: u32, lane: u64) -> LetterBox {
        LetterBox { bell: Arc::clone(&self.bell), sender: self.sender.clone(), server, lane }
    }
}

/// A lane's way to the post office.
struct LetterBox {
    bell: Arc<OwnedFd>,
    sender: SyncSender<Heard>,
    server: u32,
    lane: u64,
}

impl LetterBox {
    /// False when nobody reads any more.
    fn put(&self, what: What) -> bool {
        let heard = Heard { server: self.server, lane: self.lane, what };
        let left = match self.sender.try_send(heard) {
            Ok(()) => true,
            // The bell has rung for what lies there, so it will be taken.
            Err(TrySendError::Full(heard)) => self.sender.send(heard).is_ok(),
            Err(TrySendError::Disconnected(_)) => false,
        };
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
        left
    }
}

/// What is sent.
struct Job {
    headers: Vec<(String, String)>,
    errand: Errand,
}

enum Errand {
    /// A message. `request` is its id when it wants an answer; an answer that is `resumable` may be asked for again.
    Post { message: Vec<u8>, request: Option<u64>, resumable: bool },
    /// What the server says of its own accord.
    Listen,
    /// The session is over.
    Delete,
}

struct Lane {
    jobs: Sender<Job>,
    agent: Agent,
    /// What it is doing.
    busy: Option<Busy>,
}

struct Busy {
    request: Option<u64>,
    answered: bool,
    /// Nothing else goes out before this has arrived.
    is_barrier: bool,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.agent.clone().shutdown();
    }
}

/// The connection to one server, as far as there is such a thing.
pub(crate) struct Carrier {
    server: u32,
    address: Arc<ServerAddress>,
    session: Option<String>,
    lanes: BTreeMap<u64, Lane>,
    next_lane: u64,
    backlog: VecDeque<(Job, Busy)>,
}

impl Carrier {
    /// `server` is told back with everything that is heard. `first_lane` is larger than the numbers of all lanes that
    /// ever worked for it.
    pub(crate) fn new(server: u32, address: Arc<ServerAddress>, first_lane: u64) -> Self {
        let (lanes, backlog) = (BTreeMap::new(), VecDeque::new());
        Carrier { server, address, session: None, lanes, next_lane: first_lane, backlog }
    }

    /// Larger than the numbers of all its lanes.
    pub(crate) fn next_lane(&self) -> u64 {
        self.next_lane
    }

    /// Whether the lane works for this carrier; what others say is of the past.
    pub(crate) fn knows(&self, lane: u64) -> bool {
        self.lanes.contains_key(&lane)
    }

    /// The request that lane carries.
    pub(crate) fn request_of(&self, lane: u64) -> Option<u64> {
        self.lanes.get(&lane)?.busy.as_ref()?.request
    }

    /// Takes a message; [`Carrier::pump`] sends it.
    pub(crate) fn post(
        &mut self,
        message: Vec<u8>,
        request: Option<u64>,
        headers: Vec<(String, String)>,
        resumable: bool,
        is_barrier: bool,
    ) {
        let errand = Errand::Post { message, request, resumable };
        self.backlog.push_back((Job { headers, errand }, Busy { request, answered: false, is_barrier }));
    }

    /// Listens to what the server says of its own accord.
    pub(crate) fn listen(&mut self, headers: Vec<(String, String)>) {
        let busy = Busy { request: None, answered: false, is_barrier: false };
        self.backlog.push_back((Job { headers, errand: Errand::Listen }, busy));
    }

    /// Names the session in what is sent from now on.
    pub(crate) fn set_session(&mut self, session: String) {
        self.session = Some(session);
    }

    /// That request is of no interest any more; its connection is closed if it has not been answered.
    pub(crate) fn give_up(&mut self, request: u64) {
        self.backlog.retain(|(_, busy)| busy.request != Some(request));
        let unanswered = |lane: &Lane| lane.busy.as_ref().is_some_and(|b| b.request == Some(request) && !b.answered);
        self.lanes.retain(|_, lane| !unanswered(lane));
    }

    /// That request has its answer.
    pub(crate) fn answered(&mut self, request: u64) {
        let mut busy = self.lanes.values_mut().filter_map(|lane| lane.busy.as_mut());
        if let Some(busy) = busy.find(|busy| busy.request == Some(request)) {
            busy.answered = true;
        }
    }

    /// That lane has come to its end and is free.
    pub(crate) fn over(&mut self, lane: u64) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.busy = None;
        }
        let idle: Vec<u64> = self.lanes.iter().filter(|(_, lane)| lane.busy.is_none()).map(|(id, _)| *id).collect();
        for id in idle.into_iter().skip(IDLE_LANES) {
            self.lanes.remove(&id);
        }
    }

    /// Sends what can be sent now.
    pub(crate) fn pump(&mut self, post: &PostOffice) -> Result<(), std::io::Error> {
        while !self.backlog.is_empty() {
            if self.lanes.values().any(|lane| lane.busy.as_ref().is_some_and(|busy| busy.is_barrier)) {
                return Ok(());
            }
            let Some(id) = self.free_lane(post)? else { return Ok(()) };
            let Some((mut job, busy)) = self.backlog.pop_front() else { return Ok(()) };
            if let Some(session) = &self.session {
                job.headers.push(("MCP-Session-Id".into(), session.clone()));
            }
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.busy = Some(busy);
                // Its thread ends with its channel only, so it is there.
                let _ = lane.jobs.send(job);
            }
        }
        Ok(())
    }

    fn free_lane(&mut self, post: &PostOffice) -> Result<Option<u64>, std::io::Error> {
        if let Some((id, _)) = self.lanes.iter().find(|(_, lane)| lane.busy.is_none()) {
            return Ok(Some(*id));
        }
        if self.lanes.len() >= MAX_LANES {
            // A server that keeps streams open behind its answers.
            let done = self.lanes.iter().find(|(_, lane)| lane.busy.as_ref().is_some_and(|busy| busy.answered));
            let Some(id) = done.map(|(id, _)| *id) else { return Ok(None) };
            self.lanes.remove(&id);
        }
        let id = self.next_lane;
        self.next_lane += 1;
        let (sender, receiver) = channel();
        let agent = agent(&self.address.url);
        let work = lane::Work {
            agent: agent.clone(),
            address: Arc::clone(&self.address),
            jobs: receiver,
            letters: post.letter_box(self.server, id),
        };
        std::thread::Builder::new().name("mcp-http".into()).spawn(move || work.run())?;
        self.lanes.insert(id, Lane { jobs: sender, agent, busy: None });
        Ok(Some(id))
    }

    /// Ends the session, if there is one: everything else is given up, and the server is told. Returns the lane whose
    /// end is worth a moment's waiting.
    pub(crate) fn close(&mut self, post: &PostOffice, headers: Vec<(String, String)>) -> Option<u64> {
        self.backlog.clear();
        self.lanes.retain(|_, lane| lane.busy.is_none());
        self.session.as_ref()?;
        let busy = Busy { request: None, answered: false, is_barrier: false };
        self.backlog.push_back((Job { headers, errand: Errand::Delete }, busy));
        self.pump(post).ok()?;
        self.lanes.iter().find(|(_, lane)| lane.busy.is_some()).map(|(id, _)| *id)
    }
}

/// Follows no redirect, hands no status over as an error, and reads nothing of the environment for servers on this
/// machine.
fn agent(url: &str) -> Agent {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let mut config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(CONNECT))
        .timeout_connect(Some(CONNECT))
        .max_idle_connections(1)
        .max_idle_connections_per_host(1)
        .user_agent(concat!("raddle/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls);
    if url.starts_with("http:") {
        config = config.proxy(None);
    }
    config.build().new_agent()
}
