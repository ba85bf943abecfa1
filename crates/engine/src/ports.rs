//! The doors through which the engine meets the world. It does not know what stands behind them: a SQLite file or
//! a vector, real processes or a script, a wall clock or a virtual one.

use std::sync::Arc;
use std::time::Duration;

use raddle_kernel::Time;

use crate::admission::Pressure;
use crate::attempt::{AttemptKey, AttemptSpec, Report, StopCause};
use crate::fact::{OutputRef, Record};

/// Wall-clock time and chance.
pub trait Clock {
    /// Milliseconds since the epoch; never goes backwards within one process.
    fn now(&self) -> Time;
    /// A random number (jitter).
    fn noise(&mut self) -> u32;
}

/// Performs attempts. One per engine; it holds all executors. Single-threaded: every method is called from the
/// engine's loop, and `wait` is where the loop sleeps.
pub trait Dispatcher {
    /// Begins an attempt. Never blocks; a failure to start comes as a report too.
    fn start(&mut self, spec: AttemptSpec);

    /// Ends an attempt: TERM to the whole tree, KILL after `grace`. `Ended` follows in any case; its class is that of
    /// the cause unless the attempt had already ended by itself.
    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration);

    /// Sleeps until at least one report is there or `until` has passed (`None`: no limit), and appends the reports.
    /// Returns at once when reports are already waiting.
    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>);

    /// What became of the request that came with the ticket: it is durable by now, or why it was refused, line by line.
    fn answered(&mut self, ticket: u64, said: Result<(), Vec<String>>);

    /// How pressed the machine is; only asked in adaptive runs. `None` where it cannot be known.
    fn pressure(&mut self) -> Option<Pressure> {
        None
    }
}

/// Durable facts and outputs of one run. Whoever holds it owns the run.
pub trait Journal {
    /// The owner's epoch: higher than that of every owner before.
    fn epoch(&self) -> u32;

    /// Sequence number of the last record; 0 when empty.
    fn last_seq(&self) -> u64;

    /// Makes the records durable, all or none. Their numbers continue `last_seq` without a gap.
    fn append(&mut self, records: &[Record]) -> Result<(), JournalError>;

    /// Calls `each` for all records in order. Stops at the first damage with an error; what came before was delivered.
    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError>;

    /// Puts an output (compact JSON text) where it belongs; durable no later than the record that names it.
    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError>;

    /// Called after an append or a store has failed with `Io`, before anything else is asked of the journal. Lets go
    /// of all that the process believes about the files, reads them again, makes sure that what they hold is on the
    /// disk and not only in a cache, and returns the number of the last record that is durable: the one before the
    /// append that failed, or its last one. Anything else is `Damaged`, and `Owned` when somebody has taken the run over
    /// meanwhile: what was decided is then not to be acted upon, durable or not.
    fn reopen(&mut self) -> Result<u64, JournalError> {
        Ok(self.last_seq())
    }

    /// Leaves word for readers why nothing can be made durable for now; `None`: it can again. A courtesy, as far as
    /// the disk lets it.
    fn leave_word(&mut self, _why: Option<&str>) {}

    /// The text of a stored output.
    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError>;
}

/// What can go wrong with a journal. `Io` may pass by itself; `Damaged` never does.
#[derive(Debug)]
pub enum JournalError {
    /// The disk said no.
    Io {
        /// What was tried, a lowercase fragment.
        what: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be true: hash, sequence or shape is wrong.
    Damaged {
        /// Last good sequence number.
        after: u64,
        /// What was found.
        what: String,
    },
    /// Another process owns the run.
    Owned {
        /// Who, as far as known (pid).
        by: String,
    },
    /// Written by a newer program.
    UnknownVersion {
        /// The version found.
        version: u32,
    },
    /// The records do not continue what is stored: the caller's idea of the run is not the journal's.
    OutOfStep {
        /// The number that must come next.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// There is no such run.
    NotFound,
}

impl std::fmt::Display for JournalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io { what, .. } => write!(f, "cannot {what}"),
            Self::Damaged { after, what } => write!(f, "journal damaged after record {after}: {what}"),
            Self::Owned { by } => write!(f, "the run is owned by {by}"),
            Self::UnknownVersion { version } => write!(f, "journal format {version} is newer than this program"),
            Self::OutOfStep { expected, found } => write!(f, "record {found} came where {expected} is next"),
            Self::NotFound => write!(f, "no such run"),
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
