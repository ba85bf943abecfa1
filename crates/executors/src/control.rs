//! Requests from other processes to the engine that owns a run: a socket in the run's folder, one JSON object a line,
//! one answer a line. It does not know what the engine does about a request.
//!
//! `{"op":"stop"}` is answered by `{"ok":true}` when it is heard, `{"op":"patch",…}` when the change is durable or
//! refused (`{"ok":false,"errors":[…]}`), anything else by `{"ok":false,"error":"…"}`. Only processes of the same user
//! are heard.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use raddle_engine::attempt::{self, ControlRequest, Reply, Report, StopKind};
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
/// The longest answer that is read, and half of what is sent at most.
const ANSWER_BYTES: usize = 128 << 10;
/// Connections at once.
const CONNECTIONS: usize = 16;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// End the run for good.
    Stop,
    /// Change its definition.
    Patch(Box<PatchRequest>),
}

#[derive(Serialize, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Line by line, where there is more to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<String>,
}

impl From<attempt::Answer> for Answer {
    fn from(answer: attempt::Answer) -> Self {
        let mut errors = answer.err();
        // A client that is told a part of it can correct that part; an answer is never longer than a socket takes.
        let mut room = ANSWER_BYTES / 2;
        if let Some(errors) = &mut errors {
            errors.retain(|line| {
                room = room.saturating_sub(line.len() + 8);
                room > 0
            });
        }
        Answer { ok: errors.is_none(), error: None, errors: errors.unwrap_or_default() }
    }
}

/// Asks the engine that owns the run in `run_dir`. `NotFound` and `ConnectionRefused` mean that no engine listens.
pub fn request(run_dir: &Path, request: &Request) -> std::io::Result<()> {
    let lines = ask(run_dir, request)?;
    lines.map_err(|lines| std::io::Error::other(lines.join("; ")))
}

/// The same for requests that can be refused: the lines say why. An error of the connection says nothing of whether the
/// request was heard.
pub fn ask(run_dir: &Path, request: &Request) -> std::io::Result<attempt::Answer> {
    let folder = rustix::fs::open(run_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address(&folder)?)?;
    let mut stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    if line.len() >= LINE_BYTES {
        return Ok(Err(vec![format!("a request of {} KB is too long", line.len() >> 10)]));
    }
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES as u64)).read_line(&mut answer)?;
    let answer: Answer = serde_json::from_str(&answer)?;
    Ok(if answer.ok { Ok(()) } else { Err(answer.error.into_iter().chain(answer.errors).collect()) })
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
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    line: Vec<u8>,
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
        Ok(Control { folder, listener, connections: Vec::new() })
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
            && place.as_mut().is_some_and(|connection| !connection.read(reports))
        {
            *place = None;
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
            let connection = Some(Connection { socket, line: Vec::new() });
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
    fn read(&mut self, reports: &mut Vec<Report>) -> bool {
        let mut buffer = [0; 64 << 10];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => return false,
            Ok(read) => self.line.extend_from_slice(&buffer[..read]),
            Err(error) => return matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
        }
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            let answer = match serde_json::from_slice(&line) {
                Ok(Request::Stop) => {
                    reports.push(Report::Control(ControlRequest::Stop(StopKind::Cancel)));
                    Answer { ok: true, error: None, errors: Vec::new() }
                }
                Ok(Request::Patch(request)) => match rustix::io::fcntl_dupfd_cloexec(&self.socket, 0) {
                    Ok(socket) => {
                        let reply = Reply::new(move |answer| {
                            tell(&socket, &answer.into());
                        });
                        reports.push(Report::Control(ControlRequest::Patch(request, reply)));
                        continue;
                    }
                    Err(error) => Answer { ok: false, error: Some(error.to_string()), errors: Vec::new() },
                },
                Err(error) => Answer { ok: false, error: Some(format!("not a request: {error}")), errors: Vec::new() },
            };
            if !tell(&self.socket, &answer) {
                return false;
            }
        }
        self.line.len() <= LINE_BYTES
    }
}

/// A client that does not read its answers is not waited for; false then.
fn tell(socket: &OwnedFd, answer: &Answer) -> bool {
    let mut answer = serde_json::to_vec(answer).expect("an answer is plain data");
    answer.push(b'\n');
    rustix::net::send(socket, &answer, rustix::net::SendFlags::NOSIGNAL) == Ok(answer.len())
}
