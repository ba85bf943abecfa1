//! Starts one program: own session, pipes for its output, signals and limits as a fresh process expects them. It does
//! not know what becomes of the child.
//!
//! The child shares this process's memory until its exec (vfork), so that the cost of a start does not depend on the
//! size of the engine, and so that it can leave its error where the parent reads it. Hence [`child`] only makes system
//! calls: no allocation, no lock, no panic. It runs on a stack of its own, since the parent's must stay as it is.

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::search::Search;
use crate::confine::Seal;
use crate::environment::Block;

/// What the child needs at most before its exec is a few frames of libc.
const STACK_BYTES: usize = 64 * 1024;

/// What to start.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// Program and arguments.
    pub(crate) argv: &'a [String],
    /// The whole environment.
    pub(crate) environment: &'a Block,
    /// Working folder, absolute.
    pub(crate) cwd: &'a Path,
    /// Where its standard input comes from.
    pub(crate) input: Input,
    /// What it is held to.
    pub(crate) seal: Option<&'a Seal>,
}

/// Standard input of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// At its end from the start.
    Null,
    /// What the owner writes.
    Pipe,
}

/// A started child and our ends of its pipes, which do not block.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// Why a child could not be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StartError {
    /// The program was not found or cannot be executed.
    Program {
        /// As given.
        name: String,
        /// The system's answer.
        errno: Errno,
    },
    /// The working folder cannot be entered.
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        errno: Errno,
    },
    /// An argument holds a NUL, or there is no program.
    Argument,
    /// What it is to be held to cannot be put on.
    Confinement {
        /// What was tried.
        step: &'static str,
        /// The system's answer.
        errno: Errno,
    },
    /// The system has no process, memory or file descriptor left.
    System {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        errno: Errno,
    },
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Program { name, errno: Errno::NOENT } if name.contains('/') => {
                write!(f, "cannot start {name:?}: no such file, or the interpreter in its first line does not exist")
            }
            Self::Program { name, errno: Errno::NOENT } => write!(f, "cannot start {name:?}: not found on the PATH"),
            Self::Program { name, errno: Errno::NOEXEC } => {
                write!(f, "cannot start {name:?}: not an executable format; a script begins with a line like #!/bin/sh")
            }
            Self::Program { name, errno: Errno::TOOBIG } => {
                write!(
                    f,
                    "cannot start {name:?}: arguments and environment are too long; use $RADDLE_DEPS for big data"
                )
            }
            Self::Program { name, errno } => write!(f, "cannot start {name:?}: {}", in_words(*errno)),
            Self::Folder { path, errno } => write!(f, "cannot enter folder {}: {}", path.display(), in_words(*errno)),
            Self::Argument => write!(f, "the command is empty or an argument holds a NUL"),
            Self::Confinement { step, errno } => {
                write!(f, "its permissions cannot be enforced: cannot {step}: {}", in_words(*errno))
            }
            Self::System { what, errno } => write!(f, "cannot {what}: {}", in_words(*errno)),
        }
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// As the failure of an attempt.
    pub(crate) fn into_failure(self) -> Failure {
        let class = match self {
            Self::Confinement { .. } => FailureClass::Permission,
            _ => FailureClass::Start,
        };
        // Nobody installs a program between two attempts; a task that is told of as retried would only wait.
        let lasting = matches!(self, Self::Program { errno: Errno::NOENT, .. });
        Failure { lasting, ..Failure::new(class, self.to_string()) }
    }
}

/// The system's words for an error, without Rust's `(os error N)`.
pub(crate) fn in_words(errno: Errno) -> String {
    let text = std::io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

/// Starts children one after the other; its buffers are reused.
pub(crate) struct Launcher {
    stack: Stack,
    null: OwnedFd,
    engine: libc::pid_t,
    /// Signals that this process handles or ignores; the default again in a child.
    changed_signals: Vec<c_int>,
    /// The limit of open files that this process had before it raised its own.
    open_files: Option<libc::rlimit>,
    search: Search,
    text: Vec<u8>,
    pointers: Vec<*const c_char>,
}

impl Launcher {
    pub(crate) fn new(open_files: Option<libc::rlimit>) -> Result<Self, Errno> {
        let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Launcher {
            stack: Stack::new()?,
            null,
            // SAFETY: no preconditions.
            engine: unsafe { libc::getpid() },
            changed_signals: (1..=64).filter(|&signal| is_changed(signal)).collect(),
            open_files,
            search: Search::default(),
            text: Vec::new(),
            pointers: Vec::new(),
        })
    }

    /// Starts it.
    pub(crate) fn start(&mut self, launch: &Launch<'_>) -> Result<Launched, StartError> {
        let [program, ..] = launch.argv else { return Err(StartError::Argument) };
        let path = launch.environment.get("PATH").unwrap_or(b"");
        // A remembered place may be out of date: then once more, looked up again.
        let mut again = !program.contains('/');
        loop {
            let place = self
                .search
                .find(program.as_bytes(), path, launch.cwd)
                .map_err(|errno| StartError::Program { name: program.clone(), errno })?
                .to_owned();
            match self.spawn(launch, &place) {
                Err(StartError::Program { errno: Errno::NOENT | Errno::ACCESS, .. }) if again => {
                    self.search.forget(program.as_bytes());
                    again = false;
                }
                other => return other,
            }
        }
    }

    fn spawn(&mut self, launch: &Launch<'_>, place: &CStr) -> Result<Launched, StartError> {
        self.lay_out(launch)?;
        let system = |what| move |errno| StartError::System { what, errno };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(system("make a pipe"));
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        let stdin = match launch.input {
            Input::Null => None,
            Input::Pipe => Some(pipe()?),
        };
        for ours in [&stdout, &stderr].into_iter().chain(stdin.as_ref().map(|(_, ours)| ours)) {
            rustix::fs::fcntl_setfl(ours, OFlags::NONBLOCK).map_err(system("set a pipe up"))?;
        }
        let arguments = launch.argv.len();
        let plan = Plan {
            place: place.as_ptr(),
            argv: self.pointers.as_ptr(),
            envp: self.pointers[arguments + 1..].as_ptr(),
            cwd: *self.pointers.last().expect("the layout ends with the working folder"),
            stdio: [
                stdin.as_ref().map_or(self.null.as_raw_fd(), |(theirs, _)| theirs.as_raw_fd()),
                child_stdout.as_raw_fd(),
                child_stderr.as_raw_fd(),
            ],
            engine: self.engine,
            changed_signals: &self.changed_signals,
            open_files: self.open_files.as_ref(),
            seal: launch.seal,
            step: Cell::new(""),
            failure: Cell::new(None),
        };
        let namespaces = launch.seal.map_or(0, Seal::clone_flags);
        let mut pidfd: RawFd = -1;
        // SAFETY: the stack is ours and used by nobody else, since CLONE_VFORK suspends this thread until the child
        // has called exec or exit; for the same reason the plan and all it points to outlive the child's use of them.
        let pid = unsafe {
            libc::clone(
                child,
                self.stack.top(),
                libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces,
                (&raw const plan).cast_mut().cast(),
                &raw mut pidfd,
            )
        };
        if pid < 0 && namespaces != 0 {
            return Err(StartError::Confinement { step: "make a user namespace", errno: last_errno() });
        }
        if pid < 0 {
            return Err(StartError::System { what: "start a process", errno: last_errno() });
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
        if let Some((step, errno)) = plan.failure.get() {
            // SAFETY: plain waitpid; the child is ours and at its end.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
            return Err(match step {
                Step::Program => StartError::Program { name: launch.argv[0].clone(), errno },
                Step::Folder => StartError::Folder { path: launch.cwd.to_owned(), errno },
                Step::Seal => StartError::Confinement { step: plan.step.get(), errno },
                Step::Other => StartError::System { what: "set up a process", errno },
            });
        }
        Ok(Launched { pid, pidfd, stdin: stdin.map(|(_, ours)| ours), stdout, stderr })
    }

    /// Puts argument, environment and folder pointers, each list with its null, one behind the other.
    fn lay_out(&mut self, launch: &Launch<'_>) -> Result<(), StartError> {
        self.text.clear();
        self.pointers.clear();
        for argument in launch.argv {
            self.text.extend_from_slice(argument.as_bytes());
            self.text.push(0);
        }
        let cwd = self.text.len();
        self.text.extend_from_slice(launch.cwd.as_os_str().as_bytes());
        self.text.push(0);
        let strings = launch.argv.len() + 1;
        if self.text.iter().filter(|&&byte| byte == 0).count() != strings {
            return Err(StartError::Argument);
        }
        let mut start = 0;
        for argument in launch.argv {
            self.pointers.push(self.text[start..].as_ptr().cast());
            start += argument.len() + 1;
        }
        self.pointers.push(std::ptr::null());
        self.pointers.extend(launch.environment.entries().map(CStr::as_ptr));
        self.pointers.push(std::ptr::null());
        self.pointers.push(self.text[cwd..].as_ptr().cast());
        Ok(())
    }
}

/// All that the child reads and the one thing that it writes.
struct Plan<'a> {
    place: *const c_char,
    argv: *const *const c_char,
    envp: *const *const c_char,
    cwd: *const c_char,
    stdio: [RawFd; 3],
    engine: libc::pid_t,
    changed_signals: &'a [c_int],
    open_files: Option<&'a libc::rlimit>,
    seal: Option<&'a Seal>,
    /// What of the seal is being put on.
    step: Cell<&'static str>,
    failure: Cell<Option<(Step, Errno)>>,
}

#[derive(Clone, Copy)]
enum Step {
    Program,
    Folder,
    Seal,
    Other,
}

/// The child's life before its exec. Returns only on failure; the value becomes its exit status.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: the parent passes a plan that lives until this function is left, and is suspended meanwhile. Only
    // async-signal-safe functions are called.
    unsafe {
        let plan = &*plan.cast_const().cast::<Plan<'_>>();
        let fail = |step| {
            plan.failure.set(Some((step, last_errno())));
            127
        };
        // Should the engine die, its direct children die with it even if the warden is dead too.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != plan.engine || libc::setsid() < 0 {
            return fail(Step::Other);
        }
        for (target, source) in plan.stdio.into_iter().enumerate() {
            if libc::dup2(source, target as c_int) < 0 {
                return fail(Step::Other);
            }
        }
        if let Some(seal) = plan.seal
            && seal.arrange(&plan.step).is_err()
        {
            return fail(Step::Seal);
        }
        if libc::chdir(plan.cwd) < 0 {
            return fail(Step::Folder);
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for &signal in plan.changed_signals {
            libc::sigaction(signal, &default, std::ptr::null_mut());
        }
        if let Some(limit) = plan.open_files {
            libc::setrlimit(libc::RLIMIT_NOFILE, limit);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
        if let Some(seal) = plan.seal
            && seal.close(&plan.step).is_err()
        {
            return fail(Step::Seal);
        }
        libc::execve(plan.place, plan.argv, plan.envp);
        fail(Step::Program)
    }
}

fn last_errno() -> Errno {
    // SAFETY: the location is valid for the calling thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

fn is_changed(signal: c_int) -> bool {
    // SAFETY: asks only; the struct is plain data.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction != libc::SIG_DFL
    }
}

/// Memory for the child's calls before its exec, with a guard page below.
struct Stack {
    base: *mut c_void,
}

impl Stack {
    fn new() -> Result<Self, Errno> {
        // SAFETY: a fresh private mapping, of which the lowest page is then made inaccessible.
        unsafe {
            let base = libc::mmap(
                std::ptr::null_mut(),
                STACK_BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK,
                -1,
                0,
            );
            if base == libc::MAP_FAILED || libc::mprotect(base, 4096, libc::PROT_NONE) < 0 {
                return Err(last_errno());
            }
            Ok(Stack { base })
        }
    }

    fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, which is page-aligned.
        unsafe { self.base.byte_add(STACK_BYTES) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no child runs on it any more.
        unsafe { libc::munmap(self.base, STACK_BYTES) };
    }
}
