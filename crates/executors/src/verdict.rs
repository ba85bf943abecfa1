//! How the end of a process is judged: its exit status, the reason why it was ended, its last words. It does not know
//! how outputs are read.

use std::time::Duration;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptSpec, Ended, Failure, StopCause};

use crate::process::Exit;

/// How many lines of stderr a message shows.
pub(crate) const SHOWN_LINES: usize = 8;

/// Why an attempt was ended before its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The engine wanted it.
    Stopped(StopCause),
    /// Nothing was heard of it.
    Idle,
    /// It never said that it has started.
    NoStart,
    /// It said more than can be held.
    TooMuch,
}

/// The limits of an attempt, for messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Wall clock.
    pub(crate) timeout: Duration,
    /// Silence.
    pub(crate) idle: Option<Duration>,
    /// Time for the first word.
    pub(crate) start: Option<Duration>,
}

/// The failure that an exit stands for; `None` when it ended well, by itself, with status 0.
pub(crate) fn failure(
    exit: Exit,
    cut: Option<Cut>,
    limits: Limits,
    last_words: impl Fn() -> String,
) -> Option<Failure> {
    match cut {
        // A flood is a fault even if the child came to its end before it could be ended.
        Some(Cut::TooMuch) => Some(for_cut(Cut::TooMuch, limits, &last_words())),
        Some(cut) if !exit.by_itself => Some(for_cut(cut, limits, &last_words())),
        _ => own_end(exit).map(|(class, what)| with_words(class, what, &last_words())),
    }
}

/// The failure of something that was ended before its own end.
pub(crate) fn for_cut(cut: Cut, limits: Limits, last_words: &str) -> Failure {
    let (class, what) = match cut {
        Cut::Stopped(StopCause::Timeout) => (FailureClass::Timeout, format!("no end within {:?}", limits.timeout)),
        Cut::Stopped(StopCause::Cancelled) => (FailureClass::Cancelled, "cancelled".to_owned()),
        Cut::Idle => (FailureClass::Idle, format!("no output for {:?}", limits.idle.unwrap_or_default())),
        Cut::NoStart => {
            (FailureClass::Start, format!("not a word of the agent CLI within {:?}", limits.start.unwrap_or_default()))
        }
        Cut::TooMuch => (FailureClass::Output, "more than 64 MB on stdout".to_owned()),
    };
    with_words(class, what, last_words)
}

fn with_words(class: FailureClass, what: String, last_words: &str) -> Failure {
    Failure::new(class, if last_words.is_empty() { what } else { format!("{what}\n{last_words}") })
}

/// The end of an attempt that could not be begun.
pub(crate) fn never_began(spec: &AttemptSpec, failure: Failure) -> Ended {
    Ended { key: spec.key, epoch: spec.epoch, result: Err(failure), usage: None, session: None }
}

fn own_end(exit: Exit) -> Option<(FailureClass, String)> {
    if let Some(signal) = exit.status.terminating_signal() {
        let hint = if signal == libc::SIGKILL { "; the system does that when memory runs out" } else { "" };
        return Some((FailureClass::Signal, format!("ended by {}{hint}", signal_name(signal))));
    }
    match exit.status.exit_status() {
        Some(0) => None,
        status => Some((FailureClass::Exit, format!("exit status {}", status.unwrap_or(-1)))),
    }
}

/// `SIGKILL`, or `signal 40` where there is no name.
pub(crate) fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// How a process ended, in words.
pub(crate) fn ending(exit: Exit) -> String {
    own_end(exit).map_or_else(|| "exit status 0".to_owned(), |(_, what)| what)
}
