//! Which containers of a run may be alive, written down in its folder before they are made; what their ends mean, and
//! their removal when nobody is left who would do it. It does not know what runs in them.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;

use super::PATIENCE;
use crate::brief;
use crate::process::Exit;

/// The file in a run's folder that holds the commands that remove them, one a line, words parted by tabs.
const NAMES: &str = "containers";

/// The exit status by which a runtime says that the failure is its own.
const OWN_FAILURE: i32 = 125;

/// The container of an attempt.
#[derive(Debug)]
pub(crate) struct Contained {
    /// The command that removes it.
    removal: Vec<String>,
    memory: Option<u64>,
}

impl Contained {
    /// Writes down that it may be alive, before it is made.
    pub(crate) fn note(run_dir: &Path, removal: Vec<String>, memory: Option<u64>) -> std::io::Result<Contained> {
        note(run_dir, &removal)?;
        Ok(Contained { removal, memory })
    }

    /// What must be done before its attempt is over: it was not left to end by itself.
    pub(crate) fn removal(&self, run_dir: &Path, exit: &Exit) -> Option<Vec<String>> {
        let status = exit.status.exit_status();
        let is_left = !exit.by_itself || status.is_none_or(|status| status == OWN_FAILURE);
        if !is_left {
            self.gone(run_dir);
        }
        is_left.then(|| self.removal.clone())
    }

    /// It has been removed.
    pub(crate) fn gone(&self, run_dir: &Path) {
        forget(run_dir, &self.removal);
    }

    /// What a failed end means that only looks like the task's own; `None` when it is the task's own.
    pub(crate) fn judge(&self, exit: &Exit, last_words: &str) -> Option<Failure> {
        let status = exit.status.exit_status()?;
        let is_runtimes = last_words.lines().any(|line| line.starts_with("docker: ") || line.starts_with("Error: "));
        if status == OWN_FAILURE && is_runtimes {
            return Some(Failure::new(FailureClass::Start, format!("the container could not be made\n{last_words}")));
        }
        let bytes = self.memory.filter(|_| status == 128 + libc::SIGKILL)?;
        let what = format!("killed in its container, as the system does with more than {} MB in all", bytes >> 20);
        Some(Failure::new(FailureClass::Oom, format!("{what}\n{last_words}")))
    }
}

fn note(run_dir: &Path, removal: &[String]) -> std::io::Result<()> {
    let mut file = std::fs::File::options().create(true).append(true).open(run_dir.join(NAMES))?;
    file.write_all(format!("{}\n", removal.join("\t")).as_bytes())
}

/// When this cannot be written down, it is asked for once more later, which does no harm.
fn forget(run_dir: &Path, removal: &[String]) {
    let gone = removal.join("\t").into_bytes();
    let _ = keep(run_dir, |line| *line != gone);
}

/// Removes the containers of an engine that died. Those that are gone already are no error; those that cannot be
/// removed now stay written down, and the answer is false.
pub(crate) fn remove_left(run_dir: &Path) -> bool {
    keep(run_dir, |line| !remove(line)).is_ok_and(|left| left == 0)
}

/// Keeps the lines that shall stay, and says how many they are.
fn keep(run_dir: &Path, mut stays: impl FnMut(&[u8]) -> bool) -> std::io::Result<usize> {
    let path = run_dir.join(NAMES);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        text => text?,
    };
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let kept: Vec<&[u8]> = lines.iter().copied().filter(|line| stays(line)).collect();
    if kept.is_empty() {
        std::fs::remove_file(&path)?;
    } else if kept.len() < lines.len() {
        // Whoever dies between the two leaves the old list or the new one.
        let new = run_dir.join(format!("{NAMES}.new"));
        std::fs::write(&new, [kept.join(&b'\n'), b"\n".to_vec()].concat())?;
        std::fs::rename(&new, &path)?;
    }
    Ok(kept.len())
}

/// Whether that container is certainly gone now.
fn remove(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b'\t').map(OsStr::from_bytes);
    let Some(program) = words.next() else { return true };
    match brief::call(Command::new(program).args(words), PATIENCE) {
        Ok(output) => output.status.success() || told_gone(&output.stderr),
        // It hangs, or is not there any more; what it made may be.
        Err(_) => false,
    }
}

/// Older clients of Docker fail when there is nothing to remove.
fn told_gone(words: &[u8]) -> bool {
    String::from_utf8_lossy(words).to_lowercase().contains("no such container")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn what_could_not_be_removed_stays_written_down() {
        let run = tempfile::tempdir().unwrap();
        let text = || std::fs::read_to_string(run.path().join(NAMES)).unwrap_or_default();
        for removal in [words(&["true", "a"]), words(&["false", "b"]), words(&["/nowhere/docker", "rm", "c"])] {
            note(run.path(), &removal).unwrap();
        }
        note(run.path(), &words(&["sh", "-c", "echo 'Error: No such container: d' >&2; exit 1"])).unwrap();
        assert!(!remove_left(run.path()));
        assert_eq!(text(), "false\tb\n/nowhere/docker\trm\tc\n");
        forget(run.path(), &words(&["false", "b"]));
        assert_eq!(text(), "/nowhere/docker\trm\tc\n");
        forget(run.path(), &words(&["/nowhere/docker", "rm", "c"]));
        assert!(!run.path().join(NAMES).exists() && remove_left(run.path()));
    }
}
