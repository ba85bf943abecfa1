//! Three processes instead of one, so that nothing outlives the engine even when one of them is killed with SIGKILL.
//! It does not know runs or attempts.
//!
//! ```text
//!   front      what the user started: passes signals on, hands the exit code back
//!     warden   a session of its own; a child subreaper with next to no memory
//!       engine the program; it starts its children directly
//! ```
//!
//! Whoever of the three dies, another one notices at once and ends the rest: the warden when it is the engine or the
//! front, the front (a subreaper too) when it is the warden; the engine dies with the warden (PDEATHSIG), and its direct
//! children with the engine. All are made by plain forks at the start of `main`, while there is one thread.
//!
//! A terminal's signals reach the front only, since the others are in another session. Ctrl-Z stops the front and
//! leaves the run going.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, pidfd_open, pidfd_send_signal, wait, waitpid};

use crate::leftovers::tidy_left;
use crate::machine::{ASK_TO_END, is_ignored};
use crate::process::{Process, descendants};

/// How long killed processes are waited for. Only one that hangs in the kernel takes longer.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Between one round of KILL and the next, unless a process ends earlier.
const ROUND: Duration = Duration::from_millis(20);
/// How often a lock is tried while somebody else holds it.
const TRY_EVERY: Duration = Duration::from_millis(2);
/// The longest path that there is.
const PATH_BYTES: usize = 4096;
/// What the shell says of a process that was ended by a signal.
const SIGNALLED: i32 = 128;

/// Whether the one who started the program waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// The front stays, with terminal and exit code.
    Attached,
    /// No front: the engine goes on by itself, without terminal, standard streams at /dev/null.
    Detached,
}

/// Who returns from [`enter`].
#[derive(Debug)]
pub enum Role {
    /// The engine's process.
    Engine(Leash),
    /// Only when detached: the process that the user started. What the engine writes into [`Leash::take_report`] can
    /// be read here; the end comes at the latest when the engine is gone.
    Caller(File),
}

/// The engine's line to its warden.
#[derive(Debug)]
pub struct Leash {
    socket: UnixDatagram,
    report: Option<File>,
}

impl Leash {
    /// Has the warden lock that folder of a run (or a file, made when it is not there) until everything that descends
    /// from this engine is gone, so that [`wait_gone`] can wait for that. What the run has left in memory, and
    /// of files of attempts, is removed then.
    pub fn hold(&self, path: &Path) -> io::Result<()> {
        let deadline = Instant::now() + LAST_WAIT;
        loop {
            self.socket.send(path.as_os_str().as_bytes())?;
            let mut answer = [0; 4];
            self.socket.recv(&mut answer)?;
            match i32::from_ne_bytes(answer) {
                0 => return Ok(()),
                // The front of an engine that was killed may just be tidying up there.
                code if code == Errno::WOULDBLOCK.raw_os_error() && Instant::now() < deadline => {
                    std::thread::sleep(TRY_EVERY);
                }
                code => return Err(io::Error::from_raw_os_error(code)),
            }
        }
    }

    /// When detached: where to write what the caller should know, once.
    pub fn take_report(&mut self) -> Option<File> {
        self.report.take()
    }
}

/// Waits until nobody holds the file any more: the warden of the engine before has ended everything. False when the
/// time is over. A file that does not exist is held by nobody.
pub fn wait_gone(path: &Path, timeout: Duration) -> io::Result<bool> {
    let file = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(true),
        opened => opened?,
    };
    let deadline = Instant::now() + timeout;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(TRY_EVERY),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Becomes three processes (two when detached). Must be the first thing that `main` does: there may be no other thread
/// and nothing in buffers. The front and the warden never return.
pub fn enter(attachment: Attachment) -> io::Result<Role> {
    let caller = rustix::process::getpid();
    let mask = Signals::block()?;
    match attachment {
        Attachment::Attached => {
            let caller_fd = pidfd_open(caller, PidfdFlags::empty())?;
            become_subreaper();
            let (ours, theirs) = UnixDatagram::pair()?;
            match fork()? {
                Some(warden) => {
                    drop(theirs);
                    front(warden, &ours)
                }
                None => {
                    drop(ours);
                    guard(Some(Front { pid: caller, pidfd: caller_fd, told: theirs }), None, &mask).map(Role::Engine)
                }
            }
        }
        Attachment::Detached => {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            match fork()? {
                Some(_) => {
                    mask.restore();
                    Ok(Role::Caller(File::from(read)))
                }
                None => {
                    drop(read);
                    guard(None, Some(File::from(write)), &mask).map(Role::Engine)
                }
            }
        }
    }
}

/// What the warden knows of the front.
struct Front {
    pid: Pid,
    pidfd: OwnedFd,
    /// Where it writes what it holds, so that the front can tidy up in its place.
    told: UnixDatagram,
}

/// The front's life: passes signals on and waits for the warden.
fn front(warden: Pid, told: &UnixDatagram) -> ! {
    let code = (|| -> io::Result<i32> {
        let pidfd = pidfd_open(warden, PidfdFlags::empty())?;
        let signals = Signals::read()?;
        loop {
            wait_readable(&[pidfd.as_fd(), signals.as_fd()]);
            for (signal, _) in Signals::taken(&signals) {
                if signal != Signal::CHILD {
                    // The warden passes it on to the engine, whom it knows better.
                    let _ = pidfd_send_signal(&pidfd, signal);
                }
            }
            if let Some((_, status)) = waitpid(Some(warden), WaitOptions::NOHANG)? {
                // The warden's own end is the engine's, unless it was killed; then nobody has cleaned up yet.
                return Ok(exit_code(status));
            }
        }
    })();
    sweep();
    tidy_for_the_warden(told);
    leave(code.unwrap_or(SIGNALLED));
}

/// Removes what the runs have left that a killed warden held. One that ended by itself has done it, and a run that
/// somebody else has taken over meanwhile is theirs to tidy.
fn tidy_for_the_warden(told: &UnixDatagram) {
    if told.set_nonblocking(true).is_err() {
        return;
    }
    let mut path = vec![0; PATH_BYTES];
    while let Ok(length @ 1..) = told.recv(&mut path) {
        tidy_if_dead(Path::new(std::ffi::OsStr::from_bytes(&path[..length])));
    }
}

/// Removes what a run that nobody drives has left outside of its folder: containers, and files in memory. False when a
/// container may still be alive; the next one who asks tries again. A run that somebody drives is left alone.
pub fn tidy_if_dead(run_dir: &Path) -> bool {
    // A lock is made where nothing is.
    if !run_dir.is_dir() {
        return true;
    }
    let Ok(_lock) = lock(run_dir) else { return true };
    tidy_left(run_dir)
}

/// The warden's beginning; returns in the engine only.
fn guard(front: Option<Front>, report: Option<File>, mask: &Mask) -> io::Result<Leash> {
    // SAFETY: a fresh child is no group leader, so this succeeds.
    unsafe { libc::setsid() };
    become_subreaper();
    if front.is_none() {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        for standard in 0..3 {
            // SAFETY: replaces a standard stream, which nobody has buffered anything for yet.
            unsafe { libc::dup2(null.as_raw_fd(), standard) };
        }
    } else if rustix::process::getppid() != front.as_ref().map(|front| front.pid) {
        // The front was killed before anybody watched it.
        leave(SIGNALLED + libc::SIGKILL);
    }
    let (ours, theirs) = UnixDatagram::pair()?;
    let warden = rustix::process::getpid();
    match fork()? {
        None => {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            if rustix::process::getppid() != Some(warden) {
                leave(SIGNALLED + libc::SIGKILL);
            }
            mask.restore();
            Ok(Leash { socket: theirs, report })
        }
        Some(engine) => {
            drop((theirs, report));
            let mut held = Vec::new();
            let code = watch(engine, front, &ours, &mut held);
            sweep();
            for (path, _) in &held {
                tidy_left(path);
            }
            // The locks go with the process.
            leave(code.unwrap_or(SIGNALLED));
        }
    }
}

/// The warden's life: until the engine or the front is dead. The exit code to hand on.
fn watch(
    engine: Pid,
    front: Option<Front>,
    requests: &UnixDatagram,
    held: &mut Vec<(PathBuf, OwnedFd)>,
) -> io::Result<i32> {
    let pidfd = pidfd_open(engine, PidfdFlags::empty())?;
    let signals = Signals::read()?;
    requests.set_nonblocking(true)?;
    if let Some(front) = &front {
        // One that has been stopped (Ctrl-Z) does not stop the run.
        front.told.set_nonblocking(true)?;
    }
    let mut request = vec![0; PATH_BYTES];
    loop {
        let mut watched = vec![pidfd.as_fd(), signals.as_fd(), requests.as_fd()];
        watched.extend(front.as_ref().map(|front| front.pidfd.as_fd()));
        let ready = wait_readable(&watched);
        for (signal, sender) in Signals::taken(&signals) {
            // Whoever signals all processes of this name has reached the engine already.
            if signal != Signal::CHILD && front.as_ref().is_some_and(|front| front.pid.as_raw_pid() == sender) {
                let _ = pidfd_send_signal(&pidfd, signal);
            }
        }
        if ready[2]
            && let Ok(length) = requests.recv(&mut request)
            && length > 0
        {
            let path = PathBuf::from(std::ffi::OsString::from_vec(request[..length].to_vec()));
            let code = match lock(&path) {
                Ok(file) => {
                    if let Some(front) = &front {
                        let _ = front.told.send(path.as_os_str().as_bytes());
                    }
                    held.push((path, file));
                    0
                }
                Err(errno) => errno.raw_os_error(),
            };
            let _ = requests.send(&code.to_ne_bytes());
        }
        if let Some((_, status)) = waitpid(Some(engine), WaitOptions::NOHANG)? {
            return Ok(exit_code(status));
        }
        if ready.get(3) == Some(&true) {
            return Ok(SIGNALLED + libc::SIGKILL);
        }
    }
}

fn lock(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => rustix::fs::open(path, flags | OFlags::CREATE, Mode::RUSR | Mode::WUSR)?,
        opened => opened?,
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Kills everything that descends from this process, until nothing is left.
fn sweep() {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let deadline = Instant::now() + LAST_WAIT;
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                // No child is left, hence no descendant: orphans come to this process.
                Err(_) => return,
            }
        }
        if Instant::now() > deadline {
            return;
        }
        let mut found: Vec<Process> = Vec::new();
        descendants(own, &mut found);
        found.iter().for_each(|process| process.signal(Signal::KILL));
        Signals::await_child(ROUND);
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().unwrap_or_else(|| SIGNALLED + status.terminating_signal().unwrap_or(0))
}

fn leave(code: i32) -> ! {
    // SAFETY: ends the process without running what belongs to the engine's copy of it.
    unsafe { libc::_exit(code) }
}

fn become_subreaper() {
    // SAFETY: changes a flag of this process only.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: `enter` demands that there is one thread, so the child may do all that the parent may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Which of them can be read; waits until one can.
fn wait_readable(fds: &[std::os::fd::BorrowedFd<'_>]) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    // An interrupted wait is one in which nothing became ready.
    let _ = poll(&mut polled, None);
    polled.iter().map(|fd| !fd.revents().is_empty()).collect()
}

/// The signal mask that the program was started with.
struct Mask(libc::sigset_t);

impl Mask {
    fn restore(&self) {
        // SAFETY: the set was filled by the kernel.
        unsafe { libc::sigprocmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

/// The signals that front and warden read instead of dying of them.
struct Signals;

impl Signals {
    fn set() -> libc::sigset_t {
        // SAFETY: plain calls on a local struct.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in ASK_TO_END.into_iter().filter(|signal| !is_ignored(*signal)) {
                libc::sigaddset(&mut set, signal);
            }
            libc::sigaddset(&mut set, libc::SIGCHLD);
            set
        }
    }

    fn block() -> io::Result<Mask> {
        // SAFETY: both structs are valid; the old mask is filled on success.
        unsafe {
            let mut old: libc::sigset_t = std::mem::zeroed();
            match libc::sigprocmask(libc::SIG_BLOCK, &Self::set(), &mut old) {
                0 => Ok(Mask(old)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    fn read() -> io::Result<OwnedFd> {
        // SAFETY: the set is valid; the descriptor is fresh and ours.
        unsafe {
            match libc::signalfd(-1, &Self::set(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
                -1 => Err(io::Error::last_os_error()),
                fd => Ok(OwnedFd::from_raw_fd(fd)),
            }
        }
    }

    /// What has come, and from which pid.
    fn taken(fd: &OwnedFd) -> Vec<(Signal, i32)> {
        let mut taken = Vec::new();
        // SAFETY: plain data, filled by the kernel before it is read.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is that struct.
        while unsafe { libc::read(fd.as_raw_fd(), (&raw mut info).cast(), size) } == size as isize {
            let signal = Signal::from_named_raw(info.ssi_signo.cast_signed());
            taken.extend(signal.map(|signal| (signal, info.ssi_pid.cast_signed())));
        }
        taken
    }

    /// Sleeps until a child ends, at most that long.
    fn await_child(at_most: Duration) {
        // SAFETY: valid structs; SIGCHLD is blocked, so it waits to be taken.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGCHLD);
            let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(at_most.subsec_nanos()) };
            libc::sigtimedwait(&set, std::ptr::null_mut(), &time);
        }
    }
}
