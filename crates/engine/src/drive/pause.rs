//! What the loop does while nothing can be made durable: attempts that are alive go on, nothing starts, nothing is told,
//! what comes is kept, and the store is tried again until it takes what was decided. It does not know what is wrong
//! with the store, only that it may pass.
//!
//! What was decided before the fault stays decided: the batch is a pure consequence of records that are durable and of
//! reports that will not come again. The journal is closed and read again before the batch is offered once more, and
//! says by its chain whether the batch had become durable after all ([`Journal::reopen`]).

use std::collections::BTreeSet;

use raddle_kernel::Time;

use super::{Ending, Engine, EngineError, GRACE, Observer, Settled, key_of};
use crate::attempt::{AttemptKey, ControlRequest, Report, StopCause, StopKind};
use crate::fact::Fact;
use crate::ports::{Clock, Dispatcher, Journal, JournalError};
use crate::program::Program;

/// Until the first try after a fault, in milliseconds; doubled by every further one.
const FIRST_TRY_MS: u64 = 100;
/// The longest time between two tries.
const LAST_TRY_MS: u64 = 5_000;

/// What a run does when nothing can be made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStorageFault {
    /// Waits until it can be again.
    Pause,
    /// Ends this engine; the run can be resumed.
    Leave,
}

/// News about the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageNews<'a> {
    /// Nothing can be made durable. Told again after every try in vain.
    Paused {
        /// Why, in words.
        reason: &'a str,
        /// Since when.
        since: Time,
        /// Attempts that are alive.
        at_work: usize,
        /// When it is tried again.
        next_try: Time,
    },
    /// Everything that was decided is durable again.
    Recovered {
        /// How long it was not.
        paused_ms: u64,
    },
    /// The engine leaves while nothing can be made durable: the next one finds so many attempts in doubt.
    LeftBehind {
        /// Attempts of which a result has come that could not be recorded.
        results: usize,
    },
}

/// A pause that goes on.
#[derive(Debug)]
pub(super) struct Pause {
    since: Time,
    error: JournalError,
    reason: String,
    next_try: Time,
    step_ms: u64,
    /// Reports in the order in which they came.
    kept: Vec<Report>,
    /// Attempts whose end is among them.
    ended: BTreeSet<AttemptKey>,
}

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// What to do when nothing can be made durable.
    pub fn on_storage_fault(&mut self, what: OnStorageFault) {
        self.on_storage_fault = what;
    }

    /// When the loop has to look again while it pauses.
    pub(super) fn next_try(&self) -> Option<Time> {
        self.pause.as_ref().map(|pause| pause.next_try)
    }

    /// Takes an error of the store for the beginning of a pause where that is what it is. A run of which nothing is
    /// durable yet has nothing to wait for.
    pub(super) fn pause_for(&mut self, error: EngineError) -> Result<Option<Ending>, EngineError> {
        match error {
            EngineError::Journal(error @ JournalError::Io { .. })
                if self.on_storage_fault == OnStorageFault::Pause && self.journal.last_seq() > 0 =>
            {
                let now = self.clock.now();
                let reason = in_words(&error);
                self.pause = Some(Pause {
                    since: now,
                    error,
                    reason,
                    next_try: Time(now.0 + FIRST_TRY_MS),
                    step_ms: FIRST_TRY_MS,
                    kept: Vec::new(),
                    ended: BTreeSet::new(),
                });
                self.tell_pause();
                Ok(None)
            }
            other => Err(other),
        }
    }

    /// A turn of a pausing loop. True when the pause is over; what was kept is in `reports` then.
    pub(super) fn turn_paused(&mut self, reports: &mut Vec<Report>) -> Result<bool, EngineError> {
        for report in reports.drain(..) {
            self.keep(report);
        }
        let now = self.clock.now();
        let leaving = self.stopping.is_some() && self.all_have_ended();
        let Some(pause) = &mut self.pause else { return Ok(true) };
        if now < pause.next_try && !leaving {
            self.enforce_deadlines(now);
            self.observers.iter_mut().for_each(|o| o.idle());
            return Ok(false);
        }
        match self.offer_again() {
            Ok(()) => {
                let Some(pause) = self.pause.take() else { return Ok(true) };
                let paused_ms = now.0.saturating_sub(pause.since.0);
                self.journal.leave_word(None);
                self.tell(StorageNews::Recovered { paused_ms });
                self.push(Fact::StorageRecovered { paused_ms, reason: pause.reason.into() });
                *reports = pause.kept;
                Ok(true)
            }
            Err(EngineError::Journal(error @ JournalError::Io { .. })) => {
                pause_again(self.pause.as_mut(), error, now);
                self.enforce_deadlines(now);
                self.tell_pause();
                Ok(false)
            }
            Err(other) => Err(other),
        }
    }

    /// How a pausing loop ends: everybody who was alive has been stopped, and nothing can be recorded.
    pub(super) fn ending_paused(&mut self) -> Result<Option<Ending>, EngineError> {
        let Some(kind) = self.stopping.filter(|_| self.all_have_ended()) else { return Ok(None) };
        let Some(pause) = self.pause.take() else { return Ok(None) };
        let results = pause.ended.len() + usize::from(self.unstored.is_some());
        self.tell(StorageNews::LeftBehind { results });
        match kind {
            // A person has been told that the run is cancelled only when it is.
            StopKind::Cancel => {
                self.on_storage_fault = OnStorageFault::Leave;
                Err(EngineError::Journal(pause.error))
            }
            StopKind::Interrupt | StopKind::Terminate => Ok(Some(Ending::Stopped(kind))),
        }
    }

    /// Whether the end of an attempt that counts as held is known, though not recorded.
    pub(super) fn has_reported(&self, key: AttemptKey) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.ended.contains(&key))
    }

    fn all_have_ended(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.ended.len() >= self.held_count)
    }

    fn keep(&mut self, report: Report) {
        if let Report::Progress { key, line } = &report {
            self.observers.iter_mut().for_each(|o| o.progress(*key, line));
            return;
        }
        if let Report::Control(ControlRequest::Stop(kind)) = report {
            self.stop_while_paused(kind);
        }
        let is_held = |key: &AttemptKey| self.held.get(key.task.index()).is_some_and(|held| *held == key.attempt.0);
        let Some(pause) = &mut self.pause else { return };
        if let Report::Ended(ended) = &report
            && (ended.epoch != self.journal.epoch() || !is_held(&ended.key) || !pause.ended.insert(ended.key))
        {
            return;
        }
        pause.kept.push(report);
    }

    /// Ends what is alive; the word itself is recorded when something can be.
    fn stop_while_paused(&mut self, kind: StopKind) {
        self.admission.close();
        if self.stopping.is_none() {
            let alive: Vec<AttemptKey> = self.run.outstanding().map(key_of).collect();
            for key in alive.into_iter().filter(|key| self.held[key.task.index()] == key.attempt.0) {
                if !self.has_reported(key) {
                    self.dispatcher.stop(key, StopCause::Cancelled, GRACE);
                }
            }
        }
        self.stopping = Some(kind);
    }

    /// Has the journal look at itself, and offers it the batch unless that is durable already.
    fn offer_again(&mut self) -> Result<(), EngineError> {
        let durable = self.journal.reopen()?;
        if self.batch.last().is_some_and(|last| durable < last.seq) {
            self.journal.append(&self.batch)?;
        }
        self.publish();
        if let Some(Settled { result: Ok(text), .. }) = &self.unstored {
            self.journal.store(std::sync::Arc::clone(text))?;
        }
        Ok(())
    }

    fn tell_pause(&mut self) {
        let Some(pause) = &self.pause else { return };
        let (reason, since, next_try) = (pause.reason.clone(), pause.since, pause.next_try);
        let at_work = self.held_count.saturating_sub(pause.ended.len());
        self.journal.leave_word(Some(&reason));
        self.tell(StorageNews::Paused { reason: &reason, since, at_work, next_try });
    }

    fn tell(&mut self, news: StorageNews<'_>) {
        self.observers.iter_mut().for_each(|o: &mut &mut dyn Observer| o.storage(news));
    }
}

fn pause_again(pause: Option<&mut Pause>, error: JournalError, now: Time) {
    if let Some(pause) = pause {
        pause.step_ms = (pause.step_ms * 2).min(LAST_TRY_MS);
        pause.next_try = Time(now.0 + pause.step_ms);
        pause.reason = in_words(&error);
        pause.error = error;
    }
}

/// An error with all its causes.
fn in_words(error: &JournalError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
