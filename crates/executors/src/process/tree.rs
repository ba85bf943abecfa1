//! Who descends from whom, read from /proc, and signals that cannot hit a stranger. It does not know what the
//! processes are for. A process is a pid with its start time; a signal goes through a pidfd whose start time was
//! checked after it was opened, so a reused pid is never hit.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A tree larger than this is ended in several rounds.
const ROUND: usize = 16 * 1024;
/// Environments are read up to this size; the marker is among the last entries that an attempt is given, yet a block
/// can hardly be larger than the kernel's argument limit.
const ENVIRON_BYTES: u64 = 4 * 1024 * 1024;

/// What /proc/PID/stat says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) session: i32,
    /// Clock ticks since boot.
    pub(crate) start: u64,
    pub(crate) zombie: bool,
}

impl Process {
    /// What is known of `pid` now.
    pub(crate) fn of(pid: i32) -> Option<Process> {
        let mut text = [0; 1024];
        let read = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut text).ok()?;
        // The name may hold anything, even parentheses; what follows its last one are numbers.
        let end = text[..read].iter().rposition(|&byte| byte == b')')?;
        let text = std::str::from_utf8(&text[end + 1..read]).ok()?;
        let mut fields = text.split_ascii_whitespace();
        let state = fields.next()?;
        let mut number = |skip: usize| fields.nth(skip)?.parse::<u64>().ok();
        Some(Process {
            pid,
            parent: i32::try_from(number(0)?).ok()?,
            group: i32::try_from(number(0)?).ok()?,
            session: i32::try_from(number(0)?).ok()?,
            start: number(15)?,
            zombie: matches!(state, "Z" | "X"),
        })
    }

    /// Sends it a signal if it is still the same process.
    pub(crate) fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if Process::of(self.pid).is_some_and(|now| now.start == self.start) {
            // It may have ended between the two calls, which is what was wanted.
            let _ = pidfd_send_signal(&pidfd, signal);
        }
    }

    /// Whether `entry` (`NAME=value`) is in the environment it was started with.
    pub(crate) fn was_given(&self, entry: &str) -> bool {
        let Ok(file) = File::open(format!("/proc/{}/environ", self.pid)) else { return false };
        let mut environ = Vec::new();
        file.take(ENVIRON_BYTES).read_to_end(&mut environ).is_ok()
            && environ.split(|&byte| byte == 0).any(|found| found == entry.as_bytes())
    }
}

/// The session of this process; 0 if its leader is outside of this pid namespace, as it is in many containers.
pub(crate) fn own_session() -> i32 {
    // SAFETY: takes and returns numbers only. The safe wrapper takes 0 for impossible.
    unsafe { libc::getsid(0) }
}

/// Appends all descendants of `root` (not itself), parents before children.
pub(crate) fn descendants(root: i32, found: &mut Vec<Process>) {
    let mut next = found.len();
    let mut parent = root;
    loop {
        for pid in children_of(parent) {
            if found.len() >= ROUND {
                return;
            }
            // A pid that was reused meanwhile has another parent, unless it was handed to us when its own died.
            if let Some(process) = Process::of(pid)
                && process.parent == parent
            {
                found.push(process);
            }
        }
        let Some(process) = found.get(next) else { return };
        parent = process.pid;
        next += 1;
    }
}

/// The children of all threads of a process.
fn children_of(pid: i32) -> Vec<i32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut pids = Vec::new();
    for thread in threads.flatten() {
        match std::fs::read(thread.path().join("children")) {
            Ok(text) => parse_pids(&text, &mut pids),
            // A kernel without these lists: ask everybody for its parent instead.
            Err(_) if thread.path().exists() => {
                return everybody().filter(|p| p.parent == pid).map(|p| p.pid).collect();
            }
            Err(_) => {}
        }
    }
    pids
}

/// All processes that can be seen.
pub(crate) fn everybody() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?))
}

fn parse_pids(text: &[u8], pids: &mut Vec<i32>) {
    let text = std::str::from_utf8(text).unwrap_or("");
    pids.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
}

/// The children of this process, among them orphans that were handed to it; one read per look.
#[derive(Debug)]
pub(crate) struct Offspring {
    list: Option<File>,
    text: Vec<u8>,
}

impl Offspring {
    pub(crate) fn new() -> Self {
        // Orphans are handed to the main thread, whose number is the process's.
        let pid = std::process::id();
        Offspring { list: File::open(format!("/proc/self/task/{pid}/children")).ok(), text: vec![0; 4096] }
    }

    /// Replaces `pids` by the pids of the children.
    pub(crate) fn look(&mut self, pids: &mut Vec<i32>) {
        pids.clear();
        let Some(list) = &self.list else {
            let own = std::process::id() as i32;
            pids.extend(everybody().filter(|process| process.parent == own).map(|process| process.pid));
            return;
        };
        let mut length = 0;
        while let Ok(read @ 1..) = list.read_at(&mut self.text[length..], length as u64) {
            length += read;
            if length < self.text.len() {
                break;
            }
            self.text.resize(length * 2, 0);
        }
        parse_pids(&self.text[..length], pids);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_itself() {
        let own = Process::of(std::process::id() as i32).unwrap();
        assert!(!own.zombie && own.start > 0);
        assert!(Process::of(own.parent).is_some());
        assert_eq!(own.session, own_session());
    }

    #[test]
    fn finds_children_and_what_they_were_given() {
        let mut child = std::process::Command::new("sleep").arg("60").env("MARK", "x y").spawn().unwrap();
        let mut found = Vec::new();
        descendants(std::process::id() as i32, &mut found);
        let sleep = *found.iter().find(|process| process.pid == child.id() as i32).unwrap();
        // The kernel fills the environment in a moment after it has let the parent go on.
        while !sleep.was_given("MARK=x y") {
            std::thread::yield_now();
        }
        assert!(!sleep.was_given("MARK=x"));
        let stranger = Process { start: sleep.start + 1, ..sleep };
        stranger.signal(Signal::KILL);
        assert!(child.try_wait().unwrap().is_none(), "another start time is another process");
        sleep.signal(Signal::KILL);
        assert!(!child.wait().unwrap().success());
    }
}
