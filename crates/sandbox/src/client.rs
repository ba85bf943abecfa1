//! A blocking client: starts a worker, makes calls, kills it when its time is over. For tests, benchmarks and simple
//! programs; an engine with an event loop of its own uses [`protocol`](crate::protocol) directly.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::broker::Broker;
use crate::exit::classify_exit;
use crate::protocol::{Decoder, Denial, FailureKind, FileAnswer, MAX_DENIALS, Reply, Request, ToolAnswer};

/// How long after the code's own limit the parent waits before it kills the worker. The worker notices first, unless
/// the code is inside a native loop that does not look at the clock.
pub const KILL_GRACE: Duration = Duration::from_millis(250);

/// What a pipe to a worker should hold: large inputs then go through in few turns.
pub const PIPE_SIZE: usize = 1 << 20;

/// A running worker.
///
/// A worker dies with the *thread* that started it, so the starting thread must outlive it.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
    decoder: Decoder,
    spent: bool,
}

/// Who performs tool calls, by name and arguments.
pub type Performer<'a> = &'a mut dyn FnMut(&str, &str) -> ToolAnswer;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The value as JSON text, or why there is none.
    pub result: Result<String, (FailureKind, String)>,
    /// What `console` wrote.
    pub log: String,
    /// What was refused, in order.
    pub denials: Vec<Denial>,
}

impl Worker {
    /// Starts `argv`, which must lead to [`worker::main`](crate::worker::main).
    pub fn spawn(argv: &[String]) -> io::Result<Self> {
        let (program, arguments) =
            argv.split_first().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdin = child.stdin.take().expect("stdin is piped");
        // Fewer turns for large inputs; a system that does not grant it works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&stdin, PIPE_SIZE);
        let stdout = child.stdout.take().expect("stdout is piped");
        Ok(Worker { child, stdin, stdout, decoder: Decoder::default(), spent: false })
    }

    /// Makes one call. Afterwards the worker may be spent, see [`Worker::is_spent`]. Tools that the code calls are
    /// refused.
    pub fn call(&mut self, request: &Request<'_>, broker: &Broker) -> Outcome {
        self.call_with_tools(request, broker, &mut |_, _| ToolAnswer::Denied("there are no tools".to_owned()))
    }

    /// The same with somebody who performs tool calls, by name and arguments, one at a time.
    pub fn call_with_tools(&mut self, request: &Request<'_>, broker: &Broker, tools: Performer<'_>) -> Outcome {
        let mut outcome = Outcome { result: Ok(String::new()), log: String::new(), denials: Vec::new() };
        let frame = match request.encode() {
            Ok(frame) => frame,
            Err(too_large) => {
                outcome.result = Err((FailureKind::Logic, too_large.to_string()));
                return outcome;
            }
        };
        let deadline = Instant::now() + request.timeout + KILL_GRACE;
        outcome.result =
            self.converse(&frame, request.id, (broker, tools), deadline, &mut outcome.log, &mut outcome.denials);
        outcome
    }

    /// Whether the worker has ended or is about to, and a new one is needed for the next call.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Process id of the worker.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn converse(
        &mut self,
        frame: &[u8],
        id: u64,
        (broker, tools): (&Broker, Performer<'_>),
        deadline: Instant,
        log: &mut String,
        denials: &mut Vec<Denial>,
    ) -> Result<String, (FailureKind, String)> {
        // A worker reads whole frames before it writes, so a blocking write cannot lock up with its own.
        if self.stdin.write_all(frame).is_err() {
            return Err(self.ended(false));
        }
        let mut buffer = vec![0; 64 << 10];
        loop {
            let reply = match self.decoder.next_reply() {
                Ok(Some(reply)) => reply,
                Ok(None) => {
                    if !readable(&self.stdout, deadline) {
                        return Err(self.ended(true));
                    }
                    match self.stdout.read(&mut buffer) {
                        Ok(0) | Err(_) => return Err(self.ended(false)),
                        Ok(n) => self.decoder.feed(&buffer[..n]),
                    }
                    continue;
                }
                Err(error) => {
                    self.ended(true);
                    return Err((FailureKind::Permission, error.to_string()));
                }
            };
            self.spent |= reply.is_last();
            match reply {
                Reply::Done { id: of, json, log: said, .. } if of == id => {
                    *log = said;
                    return Ok(json);
                }
                Reply::Failed { id: of, kind, message, log: said, .. } if of == id => {
                    *log = said;
                    return Err((kind, message));
                }
                Reply::Read { id: of, path } if of == id => {
                    let answer = broker.read(&path);
                    if let FileAnswer::Denied(denial) = &answer {
                        denials.push(denial.clone());
                    }
                    if self.stdin.write_all(&answer.encode()).is_err() {
                        return Err(self.ended(false));
                    }
                }
                Reply::Tool { id: of, question, name, arguments } if of == id => {
                    let answer = tools(&name, &arguments);
                    // A worker that has ended did not wait for this one; its last word is still to be read.
                    let _ = self.stdin.write_all(&answer.encode(question));
                }
                Reply::Denied { id: of, denial } if of == id => denials.push(denial),
                Reply::Refused { reason } => return Err((FailureKind::Permission, reason)),
                _ => {
                    self.ended(true);
                    return Err((FailureKind::Permission, "the worker answered for another call".to_owned()));
                }
            }
            if denials.len() > MAX_DENIALS as usize {
                self.ended(true);
                return Err((FailureKind::Permission, "the worker went on trying what is not permitted".to_owned()));
            }
        }
    }

    fn ended(&mut self, kill: bool) -> (FailureKind, String) {
        self.spent = true;
        if kill {
            // It may be gone already; waiting tells.
            let _ = self.child.kill();
        }
        classify_exit(self.child.wait().unwrap_or_default(), kill)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing of a worker is worth a polite end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn readable(stdout: &ChildStdout, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
