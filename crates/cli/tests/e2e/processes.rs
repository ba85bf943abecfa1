//! Processes seen from outside, through /proc. It does not know the program: a process belongs to a test when its
//! environment mentions the test's folder.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process, told apart from a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    born: u64,
    pub(crate) words: String,
    /// Whether a task's environment is its own: it is something that a run has started.
    pub(crate) of_a_task: bool,
}

impl Process {
    /// Whether it still does something: zombies do not.
    pub(crate) fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.born == self.born && !matches!(s.state, 'Z' | 'X'))
    }

    pub(crate) fn kill(&self) {
        if self.alive() {
            signal(self.pid, Signal::KILL);
        }
    }
}

struct Stat {
    state: char,
    parent: i32,
    born: u64,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text[text.rfind(')')? + 2..].split(' ');
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent, born: fields.nth(17)?.parse().ok()? })
}

/// Whether a process does nothing any more: it is gone, or only its parent has not asked after it. Without an init
/// that reaps, an orphan stays a zombie.
pub(crate) fn has_ended(pid: i32) -> bool {
    stat(pid).is_none_or(|s| matches!(s.state, 'Z' | 'X'))
}

/// Living processes whose environment mentions that folder.
pub(crate) fn mentioning(folder: &Path) -> Vec<Process> {
    use std::os::unix::ffi::OsStrExt;
    let needle = folder.as_os_str().as_bytes();
    let mut found = Vec::new();
    for pid in all() {
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        let holds = |needle: &[u8]| environment.windows(needle.len()).any(|part| part == needle);
        if !holds(needle) {
            continue;
        }
        let Some(stat) = stat(pid) else { continue };
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        let process = Process { pid, born: stat.born, words, of_a_task: holds(b"\0RADDLE_RUN_ID=") };
        if process.alive() && pid != std::process::id().cast_signed() {
            found.push(process);
        }
    }
    found
}

/// What runs of that folder have started and is alive.
pub(crate) fn of_tasks(folder: &Path) -> Vec<Process> {
    mentioning(folder).into_iter().filter(|p| p.of_a_task).collect()
}

fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there").flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// Living children of a process.
pub(crate) fn children(pid: i32) -> Vec<i32> {
    let is_child = |p: &i32| stat(*p).is_some_and(|s| s.parent == pid && s.state != 'Z');
    all().into_iter().filter(is_child).collect()
}

/// Sends a signal; a process that is gone does not mind.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}
