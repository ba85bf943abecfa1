//! Whole runs by seed in the simulator: the real kernel and engine, virtual time, and misfortunes at every step. It
//! does not know what the simulator promises; that knows it itself.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Options;
use super::tally::{Account, Kind, Violation};
use crate::sim;

/// Misfortunes that are counted one by one.
const MISFORTUNES: [&str; 16] = [
    "crash before append",
    "crash after append",
    "crash while starting",
    "crash while stopping",
    "crash while waiting",
    "crash after load",
    "append failed",
    "store failed",
    "second engine",
    "stale append refused",
    "doubled report",
    "report of another epoch",
    "report of another attempt",
    "stopped beyond grace",
    "attempt doubted",
    "new chapter",
];
/// From so many on everything that can happen must have happened.
const ALL_OF_IT: u64 = 10_000;
/// Seeds that a thread takes at a time.
const STRIDE: u64 = 64;

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("seeds");
    let wanted = options.rounds(20_000, 100_000);
    let (next, sum) = (AtomicU64::new(0), Mutex::new((sim::Tally::default(), Vec::new())));
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let (mut own, mut broken) = (sim::Tally::default(), Vec::new());
                while broken.is_empty() {
                    let first = next.fetch_add(STRIDE, Ordering::Relaxed);
                    if first >= wanted {
                        break;
                    }
                    for nth in first..(first + STRIDE).min(wanted) {
                        match sim::live_through(options.seed + nth, None) {
                            Ok(tally) => own.add(&tally),
                            Err(e) => broken.push(e),
                        }
                    }
                }
                let mut sum = sum.lock().unwrap_or_else(|e| e.into_inner());
                sum.0.add(&own);
                sum.1.extend(broken);
            });
        }
    });
    let (tally, broken) = sum.into_inner().unwrap_or_else(|e| e.into_inner());
    account.rounds = wanted;
    for what in MISFORTUNES {
        account.injected.add(what, tally.count(what));
        account.claim(what, wanted / 1000);
    }
    for e in broken {
        account.violations.push(Violation { seed: Some(e.seed), ..Violation::new(Kind::Untrue, e.what) });
    }
    if wanted >= ALL_OF_IT && account.violations.is_empty() {
        let never = tally.missing().into_iter();
        let told = never.map(|what| Violation::broken(format!("in no story: {what}")));
        account.violations.extend(told);
    }
    account
}
