//! One child as the supervisor knows it: its process, its pipes, what of it is left. It does not know how any of that
//! comes about.

use std::os::fd::OwnedFd;

use rustix::process::WaitStatus;

use super::tree::Process;

/// Names a child; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChildId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// A pipe of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Input,
    Output,
    Error,
}

/// How a child ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exit {
    pub(crate) status: WaitStatus,
    /// False when it had been told to end before it did.
    pub(crate) by_itself: bool,
}

#[derive(Debug)]
pub(super) enum Pipe {
    Unwatched(OwnedFd),
    Watched(OwnedFd),
    Closed,
}

#[derive(Debug)]
pub(super) enum Main {
    /// The pidfd tells the epoll of its exit, as long as it is open.
    Alive {
        _pidfd: OwnedFd,
    },
    Over(Exit),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pursuit {
    /// Nobody wants its end.
    Free,
    /// TERM was sent.
    Asked,
    /// KILL was sent and will be again.
    Forced,
}

#[derive(Debug)]
pub(super) struct Child<O> {
    pub(super) owner: O,
    pub(super) pid: i32,
    pub(super) main: Main,
    pub(super) pursuit: Pursuit,
    pub(super) output: Pipe,
    pub(super) error: Pipe,
    pub(super) input: Pipe,
    pub(super) queue: Vec<u8>,
    pub(super) close_when_written: bool,
    pub(super) marker: Option<Box<str>>,
    /// Sessions seen in its tree, besides its own.
    pub(super) sessions: Vec<i32>,
    pub(super) orphans: Vec<Orphan>,
}

#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) process: Process,
    /// Keeps the exit visible to the epoll; closed with it.
    pub(super) _pidfd: OwnedFd,
}

impl<O> Child<O> {
    pub(super) fn pipe(&self, stream: Stream) -> &Pipe {
        match stream {
            Stream::Input => &self.input,
            Stream::Output => &self.output,
            Stream::Error => &self.error,
        }
    }

    pub(super) fn pipe_mut(&mut self, stream: Stream) -> &mut Pipe {
        match stream {
            Stream::Input => &mut self.input,
            Stream::Output => &mut self.output,
            Stream::Error => &mut self.error,
        }
    }
}
