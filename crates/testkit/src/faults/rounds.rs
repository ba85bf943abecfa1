//! Rounds on a few threads, each with a seed of its own, until there were enough. It does not know what a round does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::options::Options;
use super::tally::{Account, Found, Kind, Tally, Violation};

/// After so many broken promises of one section the rest would only be more of the same.
const ENOUGH_BROKEN: usize = 10;

/// Lives through rounds until all that the account claims was injected, but no more than `most`.
pub(crate) fn until_claimed(
    options: &Options,
    account: &mut Account,
    most: u64,
    round: impl Fn(u64, &mut Tally) -> Found<()> + Sync,
) {
    let claims = account.claims.clone();
    let enough = |sum: &Tally| claims.iter().all(|(what, least)| sum.count(what) >= *least);
    until(options, account, most, enough, round);
}

/// Lives through at most so many rounds, until `enough` of the sum says so. A round gets its seed and its own counts.
fn until(
    options: &Options,
    account: &mut Account,
    most: u64,
    enough: impl Fn(&Tally) -> bool + Sync,
    round: impl Fn(u64, &mut Tally) -> Found<()> + Sync,
) {
    let (next, sum) = (AtomicU64::new(0), Mutex::new((Tally::default(), 0_u64, Vec::<Violation>::new())));
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    {
                        let sum = sum.lock().unwrap_or_else(|e| e.into_inner());
                        if sum.2.len() >= ENOUGH_BROKEN || enough(&sum.0) {
                            return;
                        }
                    }
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= most {
                        return;
                    }
                    let seed = options.seed + nth;
                    let mut own = Tally::default();
                    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round(seed, &mut own)));
                    let ended = caught.unwrap_or_else(|payload| Err(Violation::new(Kind::Broken, words_of(&*payload))));
                    let mut sum = sum.lock().unwrap_or_else(|e| e.into_inner());
                    sum.0.merge(&own);
                    sum.1 += 1;
                    sum.2.extend(ended.err().map(|violation| Violation { seed: Some(seed), ..violation }));
                }
            });
        }
    });
    let (injected, rounds, violations) = sum.into_inner().unwrap_or_else(|e| e.into_inner());
    account.injected.merge(&injected);
    account.rounds += rounds;
    account.violations.extend(violations);
}

/// Exactly so many rounds.
pub(crate) fn exactly(
    options: &Options,
    account: &mut Account,
    rounds: u64,
    round: impl Fn(u64, &mut Tally) -> Found<()> + Sync,
) {
    until(options, account, rounds, |_| false, round);
}

fn words_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    format!("panicked: {}", text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("without words"))
}
