//! Progress as plain lines, for files, pipes and continuous integration: every task is named when it starts and when
//! it settles. It does not know terminals. A graph of thousands of short tasks must not be slowed down by it, so
//! lines are gathered and written when the engine has nothing else to do.

use std::fmt::Write as _;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::event::{Ending, Happening};
use super::tally::{Tally, first_line};
use crate::terminal::{duration, harmless};

/// Lines wait at most this long while the engine is busy.
const DELAY: Duration = Duration::from_millis(50);
/// Or until so many bytes are waiting.
const BUFFER: usize = 32 << 10;

/// The lines.
pub(super) struct Plain<W: Write> {
    out: W,
    waiting: String,
    oldest: Option<Instant>,
    stamp: Stamp,
    /// What was last said of the budget.
    budget: String,
}

impl<W: Write> Plain<W> {
    pub(super) fn new(out: W) -> Self {
        Plain {
            out,
            waiting: String::with_capacity(1024),
            oldest: None,
            stamp: Stamp::default(),
            budget: String::new(),
        }
    }

    pub(super) fn show(&mut self, tally: &Tally, event: &Happening<'_>) {
        self.oldest.get_or_insert_with(Instant::now);
        let time = self.stamp.now();
        let out = &mut self.waiting;
        // Writing to a string cannot fail.
        let _ = match *event {
            Happening::Started { ix, attempt: 1 } => writeln!(out, "{time} start   {}", tally.id(ix)),
            Happening::Started { ix, attempt } => writeln!(out, "{time} start   {} (attempt {attempt})", tally.id(ix)),
            Happening::Undoing { ix, .. } => writeln!(out, "{time} undo    {}", tally.id(ix)),
            Happening::Retrying { ix, message, after_ms } => {
                writeln!(out, "{time} retry   {} in {}: {}", tally.id(ix), duration(after_ms), first_line(message))
            }
            Happening::Settled { ix, ending: ending @ (Ending::Completed | Ending::Compensated), ms, .. } => {
                writeln!(out, "{time} {:7} {} {}", ending.word(), tally.id(ix), duration(ms))
            }
            Happening::Settled { ix, ending, message, .. } => {
                let message = first_line(message);
                let colon = if message.is_empty() { "" } else { ": " };
                writeln!(out, "{time} {:7} {}{colon}{message}", ending.word(), tally.id(ix))
            }
            Happening::Asked { words } => write!(out, "{words}"),
            // Told with the tasks that changed it, at most once for all that a moment brings.
            Happening::Tasks { words, .. } => writeln!(out, "{time} patch   {}", harmless(words)),
            Happening::Budget { words } if words != self.budget => {
                words.clone_into(&mut self.budget);
                writeln!(out, "{time} budget  {words}")
            }
            Happening::Storage { words } => writeln!(out, "{time} disk    {}", harmless(words)),
            Happening::Budget { .. } | Happening::Progress { .. } | Happening::Used { .. } | Happening::Finished => {
                Ok(())
            }
        };
        if self.waiting.len() >= BUFFER || matches!(event, Happening::Finished) {
            self.flush();
        }
    }

    /// Writes what has waited long enough.
    pub(super) fn idle(&mut self) {
        if self.wake_at().is_some_and(|at| at <= Instant::now()) {
            self.flush();
        }
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.oldest.filter(|_| !self.waiting.is_empty()).map(|oldest| oldest + DELAY)
    }

    /// Writes everything. A reader that has gone away is no reason to stop a run.
    pub(super) fn flush(&mut self) {
        let _ = self.out.write_all(self.waiting.as_bytes()).and_then(|()| self.out.flush());
        self.waiting.clear();
        self.oldest = None;
    }
}

/// The local time of day, worked out once a second.
#[derive(Default)]
struct Stamp {
    second: u64,
    text: String,
}

impl Stamp {
    fn now(&mut self) -> &str {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if second != self.second || self.text.is_empty() {
            let (hour, minute, rest) = time_of_day(second);
            self.second = second;
            self.text = format!("{hour:02}:{minute:02}:{rest:02}");
        }
        &self.text
    }
}

fn time_of_day(second: u64) -> (i32, i32, i32) {
    // SAFETY: an all-zero `tm` is a valid value (numbers and a null pointer that we do not read).
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    let second = libc::time_t::try_from(second).unwrap_or(0);
    // SAFETY: both pointers are to live locals; `localtime_r` writes to `tm` alone and keeps neither.
    unsafe { libc::localtime_r(&second, &mut tm) };
    (tm.tm_hour, tm.tm_min, tm.tm_sec)
}
