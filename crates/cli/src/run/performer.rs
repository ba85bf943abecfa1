//! Time, chance and hands for the engine of this process: the wall clock and whoever performs attempts. It does not
//! know which run they serve.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use raddle_engine::Time;
use raddle_engine::admission::Pressure;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Ended, RawOutput, Report, StopCause};
use raddle_engine::ports::{Clock, Dispatcher};
use raddle_executors::LocalDispatcher;

use super::store;
use crate::problem::Problem;

/// The wall clock, never going backwards, and chance from the operating system.
#[derive(Debug)]
pub struct SystemClock {
    last: std::cell::Cell<u64>,
    chance: u64,
}

impl Default for SystemClock {
    fn default() -> Self {
        // The standard library seeds its hashers from the operating system.
        let chance = std::hash::RandomState::new().build_hasher().finish() | 1;
        SystemClock { last: std::cell::Cell::new(0), chance }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.last.set(self.last.get().max(store::now().0));
        Time(self.last.get())
    }

    fn noise(&mut self) -> u32 {
        // xorshift64* (Vigna 2016): jitter needs no more.
        self.chance ^= self.chance >> 12;
        self.chance ^= self.chance << 25;
        self.chance ^= self.chance >> 27;
        (self.chance.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as u32
    }
}

/// Who performs attempts.
pub enum Performer {
    /// Processes of this machine.
    Local(Box<LocalDispatcher>),
    /// `--simulate`: whatever is started has ended, with nothing.
    Simulated(Vec<(AttemptKey, u32)>),
}

impl Dispatcher for Performer {
    fn start(&mut self, spec: AttemptSpec) {
        match self {
            Performer::Local(local) => local.start(spec),
            Performer::Simulated(started) => started.push((spec.key, spec.epoch)),
        }
    }

    fn stop(&mut self, key: AttemptKey, cause: StopCause, grace: Duration) {
        if let Performer::Local(local) = self {
            local.stop(key, cause, grace);
        }
    }

    fn answered(&mut self, ticket: u64, said: Result<(), Vec<String>>) {
        if let Performer::Local(local) = self {
            local.answered(ticket, said);
        }
    }

    fn wait(&mut self, until: Option<Time>, reports: &mut Vec<Report>) {
        match self {
            Performer::Local(local) => local.wait(until, reports),
            Performer::Simulated(started) => reports.extend(started.drain(..).map(|(key, epoch)| {
                let result = Ok(RawOutput::Json("null".to_owned()));
                Report::Ended(Ended { key, epoch, result, usage: None, session: None })
            })),
        }
    }

    fn pressure(&mut self) -> Option<Pressure> {
        match self {
            Performer::Local(local) => local.pressure(),
            Performer::Simulated(_) => None,
        }
    }
}

/// This binary as a sandbox worker.
pub fn worker_argv() -> Result<Vec<String>, Problem> {
    let own = std::env::current_exe().map_err(|e| Problem::io("find this program", &e))?;
    let own = own.into_os_string().into_string().map_err(|_| Problem::usage("this program's path is not UTF-8"))?;
    Ok(vec![own, "__sandbox-worker".to_owned()])
}
