//! Ends what an engine has left behind that died together with its warden and its front, so that nobody was there to
//! do it. It knows such processes by an entry of their environment, and no runs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Process, everybody};
use crate::{container, rundir, scratch};

/// Between one look and the next.
const ROUND: Duration = Duration::from_millis(5);

/// Kills every process whose environment holds that entry (`NAME=value`), until none is left. False when the time is
/// over. This process and those it descends from are spared: it may itself have been started by such a process.
pub fn end_leftovers(entry: &str, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    let spared = ancestry();
    loop {
        let found = everybody().filter(|p| !p.zombie && !spared.contains(&p.pid) && p.was_given(entry));
        if found.map(|process| process.signal(Signal::KILL)).count() == 0 {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(ROUND);
    }
}

/// Removes what a run has left: short-lived files here and in memory, and containers. False when a container may still be alive.
pub(crate) fn tidy_left(run_dir: &Path) -> bool {
    scratch::remove(run_dir);
    rundir::remove_left(run_dir);
    container::remove_left(run_dir)
}

fn ancestry() -> Vec<i32> {
    let mut pids = vec![std::process::id().cast_signed()];
    while let Some(process) = pids.last().and_then(|pid| Process::of(*pid))
        && process.parent > 0
    {
        pids.push(process.parent);
    }
    pids
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tidying_makes_nothing_where_no_run_is() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("run");
        assert!(crate::warden::tidy_if_dead(&run) && !run.exists());
    }

    #[test]
    fn who_carries_the_mark_is_ended_and_nobody_else() {
        let start = |value: &str| Command::new("sleep").arg("60").env("LEFTOVER_TEST", value).spawn().unwrap();
        let (mut marked, mut other) = (start("this"), start("this-not"));
        while !Process::of(marked.id().cast_signed()).unwrap().was_given("LEFTOVER_TEST=this") {
            std::thread::yield_now();
        }
        assert!(end_leftovers("LEFTOVER_TEST=this", Duration::from_secs(30)));
        assert!(!marked.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
