//! The table of children: starts them, passes on what they say, ends them with all their descendants. It does not
//! know what a child is for; its owner's mark is handed back with everything.
//!
//! A child is *gone* when its main process has been reaped and no descendant is left. Descendants whose parents have
//! died come to this process (it is a child subreaper) and are recognised by their session or by a marker in their
//! environment, so forking twice does not hide anybody.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid};

use super::child::{Child, ChildId, Exit, Main, Orphan, Pipe, Pursuit, Stream};
use super::launch::{Launch, Launched, Launcher, StartError};
use super::tree::{Offspring, Process, descendants, own_session};
use crate::timers::Timers;

/// A child's pipes are watched from this age on; younger ones usually end first and are read once, when dead.
const WATCHED_FROM: Duration = Duration::from_millis(2);
/// What a child leaves behind has this long between TERM and KILL.
const LEFTOVER_GRACE: Duration = Duration::from_millis(500);
/// Between one KILL and the next to whatever is still there.
const AGAIN: Duration = Duration::from_millis(50);
/// How often orphans of living children are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// More than a pipe holds, so that one read empties the pipe of a dead child.
const BUFFER_BYTES: usize = 128 << 10;
/// What waits to be written to one child.
const QUEUE_BYTES: usize = 96 << 20;

/// Whoever owns the children.
pub(crate) trait Listener<O> {
    /// A child said something.
    fn said(&mut self, owner: O, stream: Stream, bytes: &[u8]);
    /// A pipe was closed by the child's side while it lives.
    fn closed(&mut self, _owner: O, _stream: Stream) {}
    /// The child and everything it started is gone; all it said has been passed on.
    fn gone(&mut self, owner: O, exit: Exit);
    /// A descriptor given to [`Supervisor::watch`] is ready.
    fn ready(&mut self, _token: u32) {}
}

#[derive(Debug)]
struct Slot<O> {
    generation: u32,
    child: Option<Child<O>>,
}

#[derive(Debug, Clone, Copy)]
enum Due {
    Watch(ChildId),
    Kill(ChildId),
    Sweep,
}

// Kinds of epoll tokens, in the upper half; the lower half is an index.
const MAIN: u64 = 1 << 32;
const OUTPUT: u64 = 2 << 32;
const ERROR: u64 = 3 << 32;
const INPUT: u64 = 4 << 32;
const ORPHAN: u64 = 5 << 32;
const FOREIGN: u64 = 6 << 32;

/// All children of this process that were started here.
pub(crate) struct Supervisor<O> {
    epoll: OwnedFd,
    launcher: Launcher,
    slots: Vec<Slot<O>>,
    free: Vec<u32>,
    /// Mains that were not reaped and orphans that were recognised, with their slots.
    pids: HashMap<i32, u32>,
    /// Orphans that nobody could be found for.
    strays: Vec<Orphan>,
    timers: Timers<Due>,
    sweeping: bool,
    /// Slots to be looked at, since a process of theirs has ended.
    touched: Vec<u32>,
    offspring: Offspring,
    own_session: i32,
    buffer: Box<[u8]>,
    events: Vec<epoll::Event>,
    listed: Vec<i32>,
}

impl<O: Copy> Supervisor<O> {
    /// Makes this process a child subreaper. `open_files` is the limit that children get back.
    pub(crate) fn new(open_files: Option<libc::rlimit>) -> Result<Self, Errno> {
        // SAFETY: changes a flag of this process only.
        unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
        Ok(Supervisor {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            launcher: Launcher::new(open_files)?,
            slots: Vec::new(),
            free: Vec::new(),
            pids: HashMap::new(),
            strays: Vec::new(),
            timers: Timers::new(),
            sweeping: false,
            touched: Vec::new(),
            offspring: Offspring::new(),
            own_session: own_session(),
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            events: Vec::with_capacity(256),
            listed: Vec::new(),
        })
    }

    /// Starts a child. `marker` (`NAME=value`) is an entry of its environment that no other child has.
    pub(crate) fn start(&mut self, launch: &Launch<'_>, owner: O, marker: Option<&str>) -> Result<ChildId, StartError> {
        let Launched { pid, pidfd, stdin, stdout, stderr } = self.launcher.start(launch)?;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, child: None });
            (self.slots.len() - 1) as u32
        });
        let id = ChildId { index, generation: self.slots[index as usize].generation };
        // A full epoll table (ENOSPC, ENOMEM) would leave a child whose end is never noticed.
        if let Err(errno) = self.add(&pidfd, MAIN | u64::from(index), epoll::EventFlags::IN) {
            let pid = Pid::from_raw(pid).expect("a child's pid is positive");
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            self.free.push(index);
            return Err(StartError::System { what: "watch a process", errno });
        }
        let has_input = stdin.is_some();
        self.pids.insert(pid, index);
        self.slots[index as usize].child = Some(Child {
            owner,
            pid,
            main: Main::Alive { _pidfd: pidfd },
            pursuit: Pursuit::Free,
            output: Pipe::Unwatched(stdout),
            error: Pipe::Unwatched(stderr),
            input: stdin.map_or(Pipe::Closed, Pipe::Unwatched),
            queue: Vec::new(),
            close_when_written: false,
            marker: marker.map(Into::into),
            sessions: Vec::new(),
            orphans: Vec::new(),
        });
        if has_input {
            // A partner in a dialogue answers at once and lives long.
            self.watch_pipes(id);
        } else {
            self.timers.add(Instant::now() + WATCHED_FROM, Due::Watch(id));
        }
        Ok(id)
    }

    /// Watches a descriptor of somebody else's for reading.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>, token: u32) -> Result<(), Errno> {
        self.add(fd, FOREIGN | u64::from(token), epoll::EventFlags::IN)
    }

    /// Writes to the child's input, now or when it reads. False when it cannot be: the pipe is closed or the child
    /// has left too much unread.
    pub(crate) fn write(&mut self, id: ChildId, mut bytes: &[u8]) -> bool {
        let Some(child) = self.child(id) else { return false };
        if child.close_when_written || matches!(child.input, Pipe::Closed) {
            return false;
        }
        if child.queue.is_empty()
            && let Pipe::Unwatched(fd) | Pipe::Watched(fd) = &child.input
        {
            while !bytes.is_empty() {
                match rustix::io::write(fd, bytes) {
                    Ok(written) => bytes = &bytes[written..],
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => {
                        child.input = Pipe::Closed;
                        return false;
                    }
                }
            }
        }
        if child.queue.len() + bytes.len() > QUEUE_BYTES {
            return false;
        }
        if !bytes.is_empty() {
            child.queue.extend_from_slice(bytes);
            self.watch_input(id);
        }
        true
    }

    /// Closes the child's input when everything is written.
    pub(crate) fn close_input(&mut self, id: ChildId) {
        let Some(child) = self.child(id) else { return };
        child.close_when_written = true;
        if child.queue.is_empty() {
            child.input = Pipe::Closed;
        }
    }

    /// Ends the child and its descendants: TERM, then KILL after `grace`. Has no effect on how it is judged when it
    /// has ended by itself before.
    pub(crate) fn end(&mut self, id: ChildId, grace: Duration) {
        self.reap(id.index);
        let Some(child) = self.child(id) else { return };
        if grace.is_zero() {
            self.kill(id);
            return;
        }
        if child.pursuit == Pursuit::Free {
            child.pursuit = Pursuit::Asked;
            self.signal_tree(id.index, Signal::TERM);
        }
        self.timers.add(Instant::now() + grace, Due::Kill(id));
    }

    /// Whether the child has started something that is still alive.
    pub(crate) fn has_descendants(&mut self, id: ChildId) -> bool {
        // What has left its parent behind may have come to us meanwhile.
        self.adopt();
        let Some(pid) = self.child(id).map(|child| child.pid) else { return false };
        let mut found = Vec::new();
        descendants(pid, &mut found);
        let stray = |child: &mut Child<O>| !child.orphans.is_empty();
        found.iter().any(|process| !process.zombie) || self.child(id).is_some_and(stray)
    }

    /// Whether any child, orphan or stray is left.
    pub(crate) fn is_idle(&self) -> bool {
        self.pids.is_empty() && self.strays.is_empty() && self.touched.is_empty()
    }

    /// All children and their owners.
    pub(crate) fn all(&self) -> Vec<(ChildId, O)> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter_map(|(i, slot)| {
                let id = ChildId { index: i as u32, generation: slot.generation };
                slot.child.as_ref().map(|child| (id, child.owner))
            })
            .collect()
    }

    /// Sleeps until something happens or `until` has passed, and tells the listener what happened.
    pub(crate) fn poll(&mut self, until: Option<Instant>, listener: &mut impl Listener<O>) {
        let now = Instant::now();
        self.drop_stale_timers();
        let until = [until, self.timers.next()].into_iter().flatten().min();
        let timeout = match until {
            _ if !self.touched.is_empty() => Some(Duration::ZERO),
            Some(until) => Some(until.saturating_duration_since(now)),
            None => None,
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        // An interrupted or failed wait is one in which nothing happened; the caller asks again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.map(ceil).as_ref());
        for event in &events {
            self.dispatch(event.data.u64(), listener);
        }
        self.events = events;
        let now = Instant::now();
        while let Some(due) = self.timers.take(now) {
            match due {
                Due::Watch(id) => self.watch_pipes(id),
                Due::Kill(id) => self.kill(id),
                Due::Sweep => {
                    self.sweeping = false;
                    self.adopt();
                }
            }
        }
        self.settle(listener);
        if !self.sweeping && !self.is_idle() {
            self.sweeping = true;
            self.timers.add(now + SWEEP, Due::Sweep);
        }
    }

    fn dispatch(&mut self, token: u64, listener: &mut impl Listener<O>) {
        let index = token as u32;
        match token & !u64::from(u32::MAX) {
            MAIN => self.reap(index),
            OUTPUT => self.read(index, Stream::Output, listener),
            ERROR => self.read(index, Stream::Error, listener),
            INPUT => self.flush(index, listener),
            ORPHAN => self.touched.push(index),
            _ => listener.ready(index),
        }
    }

    /// Takes the exit status of a main process that has ended.
    fn reap(&mut self, index: u32) {
        let Some(child) = self.slots[index as usize].child.as_mut() else { return };
        let Main::Alive { .. } = child.main else { return };
        let pid = Pid::from_raw(child.pid);
        if let Ok(Some((_, status))) = waitpid(pid, WaitOptions::NOHANG) {
            let by_itself = child.pursuit == Pursuit::Free;
            child.main = Main::Over(Exit { status, by_itself });
            child.input = Pipe::Closed;
            self.pids.remove(&child.pid);
            self.touched.push(index);
        }
    }

    /// Looks at the children of which something has ended: they are gone, or what they left is ended too.
    fn settle(&mut self, listener: &mut impl Listener<O>) {
        if self.touched.is_empty() {
            return;
        }
        self.adopt();
        let mut touched = std::mem::take(&mut self.touched);
        for index in touched.drain(..) {
            self.reap_orphans(index);
            let slot = &mut self.slots[index as usize];
            let id = ChildId { index, generation: slot.generation };
            let Some(child) = slot.child.as_mut() else { continue };
            let Main::Over(exit) = child.main else { continue };
            if child.orphans.is_empty() {
                self.finish(index, exit, listener);
            } else if child.pursuit == Pursuit::Free {
                child.pursuit = Pursuit::Asked;
                self.signal_tree(index, Signal::TERM);
                self.timers.add(Instant::now() + LEFTOVER_GRACE, Due::Kill(id));
            }
        }
        self.touched = touched;
        if self.pids.is_empty() && !self.strays.is_empty() {
            // Nobody is left to whom they could belong.
            self.strays.iter().for_each(|stray| stray.process.signal(Signal::KILL));
        }
    }

    fn finish(&mut self, index: u32, exit: Exit, listener: &mut impl Listener<O>) {
        for stream in [Stream::Output, Stream::Error] {
            self.drain(index, stream, listener);
        }
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        if let Some(child) = slot.child.take() {
            self.free.push(index);
            listener.gone(child.owner, exit);
        }
    }

    /// Reads what a dead child has left in a pipe.
    fn drain(&mut self, index: u32, stream: Stream, listener: &mut impl Listener<O>) {
        let Some(child) = &self.slots[index as usize].child else { return };
        let (Pipe::Unwatched(fd) | Pipe::Watched(fd)) = child.pipe(stream) else { return };
        loop {
            match rustix::io::read(fd, &mut self.buffer[..]) {
                Ok(0) => return,
                Ok(read) => {
                    listener.said(child.owner, stream, &self.buffer[..read]);
                    // All writers are dead and the buffer holds more than a pipe: a short read is the last.
                    if read < self.buffer.len() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    fn read(&mut self, index: u32, stream: Stream, listener: &mut impl Listener<O>) {
        let Some(child) = self.slots[index as usize].child.as_mut() else { return };
        let (Pipe::Unwatched(fd) | Pipe::Watched(fd)) = child.pipe(stream) else { return };
        match rustix::io::read(fd, &mut self.buffer[..]) {
            Ok(0) => {
                *child.pipe_mut(stream) = Pipe::Closed;
                listener.closed(child.owner, stream);
            }
            Ok(read) => listener.said(child.owner, stream, &self.buffer[..read]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => *child.pipe_mut(stream) = Pipe::Closed,
        }
    }

    fn flush(&mut self, index: u32, listener: &mut impl Listener<O>) {
        let Some(child) = self.slots[index as usize].child.as_mut() else { return };
        let Pipe::Watched(fd) = &child.input else { return };
        let mut written = 0;
        while written < child.queue.len() {
            match rustix::io::write(fd, &child.queue[written..]) {
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    child.input = Pipe::Closed;
                    child.queue = Vec::new();
                    listener.closed(child.owner, Stream::Input);
                    return;
                }
            }
        }
        child.queue.drain(..written);
        if child.queue.is_empty() {
            match std::mem::replace(&mut child.input, Pipe::Closed) {
                Pipe::Watched(fd) if !child.close_when_written => {
                    let _ = epoll::delete(&self.epoll, &fd);
                    child.input = Pipe::Unwatched(fd);
                }
                _ => {}
            }
        }
    }

    fn watch_pipes(&mut self, id: ChildId) {
        for (stream, token) in [(Stream::Output, OUTPUT), (Stream::Error, ERROR)] {
            self.watch_pipe(id, stream, token, epoll::EventFlags::IN);
        }
    }

    fn watch_input(&mut self, id: ChildId) {
        self.watch_pipe(id, Stream::Input, INPUT, epoll::EventFlags::OUT);
    }

    fn watch_pipe(&mut self, id: ChildId, stream: Stream, token: u64, flags: epoll::EventFlags) {
        let Some(child) = self.child(id) else { return };
        match std::mem::replace(child.pipe_mut(stream), Pipe::Closed) {
            Pipe::Unwatched(fd) => {
                // Without a place in the epoll table the pipe is read at the end only.
                let pipe = match self.add(&fd, token | u64::from(id.index), flags) {
                    Ok(()) => Pipe::Watched(fd),
                    Err(_) => Pipe::Unwatched(fd),
                };
                if let Some(child) = self.child(id) {
                    *child.pipe_mut(stream) = pipe;
                }
            }
            other => *child.pipe_mut(stream) = other,
        }
    }

    fn kill(&mut self, id: ChildId) {
        let Some(child) = self.child(id) else { return };
        child.pursuit = Pursuit::Forced;
        self.adopt();
        self.signal_tree(id.index, Signal::KILL);
        self.touched.push(id.index);
        self.timers.add(Instant::now() + AGAIN, Due::Kill(id));
    }

    /// Sends a signal to the main process's group and to every descendant outside of it.
    fn signal_tree(&mut self, index: u32, signal: Signal) {
        let Some(child) = self.slots[index as usize].child.as_mut() else { return };
        let mut tree = Vec::new();
        let mut group = None;
        if let Main::Alive { .. } = child.main {
            // The main process is ours and not reaped, so its number cannot be anybody else's group.
            descendants(child.pid, &mut tree);
            group = Pid::from_raw(child.pid);
        }
        for orphan in &child.orphans {
            tree.push(orphan.process);
            descendants(orphan.process.pid, &mut tree);
        }
        for process in &tree {
            if process.session != child.pid && !child.sessions.contains(&process.session) {
                child.sessions.push(process.session);
            }
        }
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
            if signal == Signal::TERM {
                // A stopped process acts on TERM only when it is continued.
                let _ = kill_process_group(group, Signal::CONT);
            }
        }
        for process in tree.iter().filter(|process| group.is_none() || process.group != child.pid) {
            process.signal(signal);
        }
    }

    /// Finds orphans that came to this process and gives them to the child from which they descend.
    fn adopt(&mut self) {
        let mut listed = std::mem::take(&mut self.listed);
        self.offspring.look(&mut listed);
        for &pid in &listed {
            if self.pids.contains_key(&pid) {
                continue;
            }
            // Looked at anew each time: one that is just starting a program has no environment for a moment.
            self.strays.retain(|stray| stray.process.pid != pid);
            // A child in our own session was started by somebody else in this process and is none of our business.
            let Some(process) = Process::of(pid).filter(|process| process.session != self.own_session) else {
                continue;
            };
            let Some(number) = Pid::from_raw(pid) else { continue };
            if process.zombie {
                let _ = waitpid(Some(number), WaitOptions::NOHANG);
                continue;
            }
            let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { continue };
            match self.parent_of(&process) {
                Some(index) => {
                    let _ = self.add(&pidfd, ORPHAN | u64::from(index), epoll::EventFlags::IN);
                    self.pids.insert(pid, index);
                    if let Some(child) = self.slots[index as usize].child.as_mut() {
                        child.orphans.push(Orphan { process, _pidfd: pidfd });
                        if child.pursuit == Pursuit::Forced {
                            process.signal(Signal::KILL);
                        }
                    }
                }
                None => self.strays.push(Orphan { process, _pidfd: pidfd }),
            }
        }
        self.listed = listed;
        self.strays.retain(|stray| !has_ended(stray.process.pid));
    }

    /// The slot of the child from which an orphan descends.
    fn parent_of(&self, orphan: &Process) -> Option<u32> {
        let find = |is: &dyn Fn(&Child<O>) -> bool| {
            self.slots.iter().position(|slot| slot.child.as_ref().is_some_and(is)).map(|index| index as u32)
        };
        find(&|child| child.pid == orphan.session || child.sessions.contains(&orphan.session))
            .or_else(|| find(&|child| child.marker.as_deref().is_some_and(|marker| orphan.was_given(marker))))
    }

    fn reap_orphans(&mut self, index: u32) {
        let Some(child) = self.slots[index as usize].child.as_mut() else { return };
        let pids = &mut self.pids;
        child.orphans.retain(|orphan| {
            let ended = has_ended(orphan.process.pid);
            if ended {
                pids.remove(&orphan.process.pid);
            }
            !ended
        });
    }

    fn child(&mut self, id: ChildId) -> Option<&mut Child<O>> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation == id.generation { slot.child.as_mut() } else { None }
    }

    fn add(&self, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags)
    }

    /// Short children are gone before their pipes are to be watched; such timers must not wake anybody.
    fn drop_stale_timers(&mut self) {
        let slots = &self.slots;
        self.timers.drop_while(|due| match due {
            Due::Watch(id) | Due::Kill(id) => slots[id.index as usize].generation != id.generation,
            Due::Sweep => false,
        });
    }
}

/// Reaps an orphan that has ended; true also when it is no child of ours any more.
fn has_ended(pid: i32) -> bool {
    Pid::from_raw(pid).is_none_or(|pid| !matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)))
}

/// The epoll counts whole milliseconds; rounding down would make it spin before a deadline.
fn ceil(duration: Duration) -> Timespec {
    let millis = duration.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i64;
    Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
}
