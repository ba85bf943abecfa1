//! Requests from other processes to the engine that owns a run: a socket in the run's folder, one JSON object a line,
//! one reply a line. It does not know what the engine does about a request.
//!
//! `{"op":"stop"}` is replied to by `{"ok":true}` when it was heard. `{"op":"answer",…}`, a person's answer to a task that
//! waits, and `{"op":"patch",…}` are replied to when what was done is durable, or by `{"ok":false,"errors":[…]}` when it
//! was refused; anything that is no request by `{"ok":false,"errors":[…]}` too. Only processes of the same user are
//! heard.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use raddle_engine::attempt::{ControlRequest, Report, StopKind};
use raddle_engine::gates::Answer;
use raddle_engine::patch::PatchRequest;
use rustix::fs::{AtFlags, Mode, OFlags, unlinkat};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, socket_with,
};
use serde::{Deserialize, Serialize};

use crate::local::Owner;
use crate::process::Supervisor;

const SOCKET: &str = "control.sock";
/// The longest request line: a patch brings whole tasks.
const LINE_BYTES: usize = 4 << 20;
/// The longest reply that is read, and half of what is sent at most.
const REPLY_BYTES: usize = 128 << 10;
/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long a client waits for a reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it waits until what it wants is durable: the engine may be busy, and so may the disk.
const DURABLE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// End the run for good.
    Stop,
    /// A person's answer to a task that waits.
    Answer {
        /// The answer.
        answer: Box<Answer>,
    },
    /// Change its definition.
    Patch(Box<PatchRequest>),
}

/// What became of a request that reached an engine.
#[derive(Debug)]
pub enum Unheard {
    /// No engine replied. Where the connection was lost after the request was sent, nobody knows what became of it.
    Lost(std::io::Error),
    /// The engine refused it; why, line by line.
    Refused(Vec<String>),
}

#[derive(Serialize, Deserialize)]
struct Reply {
    ok: bool,
    /// Line by line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl From<Result<(), Vec<String>>> for Reply {
    fn from(said: Result<(), Vec<String>>) -> Self {
        let ok = said.is_ok();
        let mut errors = said.err().unwrap_or_default();
        // A client that is told a part of it can correct that part; a reply is never longer than a socket takes.
        let mut room = REPLY_BYTES / 2;
        errors.retain(|line| {
            room = room.saturating_sub(line.len() + 8);
            room > 0
        });
        Reply { ok, errors }
    }
}

/// Asks the engine that owns the run in `run_dir`. `NotFound` and `ConnectionRefused` mean that no engine listens.
pub fn request(run_dir: &Path, request: &Request) -> std::io::Result<()> {
    ask(run_dir, request).map_err(|unheard| match unheard {
        Unheard::Lost(error) => error,
        Unheard::Refused(lines) => std::io::Error::other(lines.join("; ")),
    })
}

/// The same for requests that can be refused.
pub fn ask(run_dir: &Path, request: &Request) -> Result<(), Unheard> {
    let mut line = serde_json::to_vec(request).map_err(|e| Unheard::Lost(e.into()))?;
    if line.len() >= LINE_BYTES {
        return Err(Unheard::Refused(vec![format!("a request of {} KB is too long", line.len() >> 10)]));
    }
    line.push(b'\n');
    let patience = if matches!(request, Request::Stop) { PATIENCE } else { DURABLE };
    let text = exchange(run_dir, &line, patience).map_err(Unheard::Lost)?;
    let reply: Reply = serde_json::from_str(&text).map_err(|e| Unheard::Lost(e.into()))?;
    if reply.ok { Ok(()) } else { Err(Unheard::Refused(reply.errors)) }
}

fn exchange(run_dir: &Path, line: &[u8], patience: Duration) -> std::io::Result<String> {
    let folder = rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address(&folder)?)?;
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(line)?;
    let mut reply = String::new();
    BufReader::new(stream.take(REPLY_BYTES as u64)).read_line(&mut reply)?;
    if reply.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(reply)
}

/// The folder is named by a descriptor, since a socket's address holds 107 bytes only.
fn address(folder: &OwnedFd) -> std::io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?)
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct Control {
    folder: OwnedFd,
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// The ticket that was given out last.
    tickets: u64,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    line: Vec<u8>,
    /// Tickets of requests that are not replied to yet.
    open: Vec<u64>,
}

impl Control {
    /// The epoll token of the listener; connections have the ones after it.
    pub(crate) const LISTENER: u32 = 1;

    /// Takes the place of whoever listened before: the caller owns the run, so that one is dead.
    pub(crate) fn listen(run_dir: &Path) -> std::io::Result<Self> {
        let folder = rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let _ = unlinkat(&folder, SOCKET, AtFlags::empty());
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the socket's mode, so it is never open to others, not even for a moment.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
        bind(&listener, &address(&folder)?)?;
        listen(&listener, CONNECTIONS as i32)?;
        Ok(Control { folder, listener, connections: Vec::new(), tickets: 0 })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Something can be read at `token`.
    pub(crate) fn ready(&mut self, token: u32, supervisor: &Supervisor<Owner>, reports: &mut Vec<Report>) {
        if token == Self::LISTENER {
            self.accept(supervisor);
            return;
        }
        let place = self.connections.get_mut((token - Self::LISTENER - 1) as usize);
        if let Some(place) = place
            && place.as_mut().is_some_and(|connection| !connection.read(&mut self.tickets, reports))
        {
            *place = None;
        }
    }

    /// Replies to a request. Who has hung up meanwhile looks at the run.
    pub(crate) fn answered(&mut self, ticket: u64, said: Result<(), Vec<String>>) {
        let of = |place: &&mut Option<Connection>| place.as_ref().is_some_and(|c| c.open.contains(&ticket));
        if let Some(place) = self.connections.iter_mut().find(of)
            && let Some(connection) = place
        {
            connection.open.retain(|open| *open != ticket);
            if !connection.reply(&said.into()) {
                *place = None;
            }
        }
    }

    fn accept(&mut self, supervisor: &Supervisor<Owner>) {
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let is_ours = socket_peercred(&socket).is_ok_and(|peer| peer.uid == rustix::process::geteuid());
            let place = self.connections.iter().position(Option::is_none).unwrap_or(self.connections.len());
            if !is_ours || place == CONNECTIONS {
                continue;
            }
            if supervisor.watch(socket.as_fd(), Self::LISTENER + 1 + place as u32).is_err() {
                continue;
            }
            let connection = Some(Connection { socket, line: Vec::new(), open: Vec::new() });
            match self.connections.get_mut(place) {
                Some(free) => *free = connection,
                None => self.connections.push(connection),
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Nobody should find a socket at which nobody listens.
        let _ = unlinkat(&self.folder, SOCKET, AtFlags::empty());
    }
}

impl Connection {
    /// False when the connection is over.
    fn read(&mut self, tickets: &mut u64, reports: &mut Vec<Report>) -> bool {
        let mut buffer = [0; 64 << 10];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => return false,
            Ok(read) => self.line.extend_from_slice(&buffer[..read]),
            Err(error) => return matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
        }
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let reply = match serde_json::from_slice(&line) {
                Ok(Request::Stop) => {
                    reports.push(Report::Control(ControlRequest::Stop(StopKind::Cancel)));
                    Ok(())
                }
                Ok(Request::Answer { answer }) => {
                    let ticket = self.open_ticket(tickets);
                    reports.push(Report::Control(ControlRequest::Answer { ticket, answer }));
                    continue;
                }
                Ok(Request::Patch(request)) => {
                    let ticket = self.open_ticket(tickets);
                    reports.push(Report::Control(ControlRequest::Patch { ticket, request }));
                    continue;
                }
                Err(error) => Err(vec![format!("not a request: {error}")]),
            };
            if !self.reply(&reply.into()) {
                return false;
            }
        }
        self.line.len() <= LINE_BYTES
    }

    fn open_ticket(&mut self, tickets: &mut u64) -> u64 {
        *tickets += 1;
        self.open.push(*tickets);
        *tickets
    }

    /// False when the client does not read its replies: it is not waited for.
    fn reply(&self, reply: &Reply) -> bool {
        let mut line = serde_json::to_vec(reply).expect("a reply is plain data");
        line.push(b'\n');
        rustix::net::send(&self.socket, &line, rustix::net::SendFlags::NOSIGNAL) == Ok(line.len())
    }
}
