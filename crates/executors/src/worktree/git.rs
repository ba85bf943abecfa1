//! Calls of the `git` program: never through a shell, with an environment and settings of our own, bounded in time and
//! in what is held of their output. It does not know what the calls are for.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, Signal, kill_process_group};

use super::Trouble;

/// No call takes longer; checking out a very large repository from a slow disk takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often a call is looked after besides its output.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is held of what a call says; lists of paths are the longest.
const OUTPUT_BYTES: usize = 256 << 20;
const ERROR_BYTES: usize = 16 << 10;

/// Names that git gets when they are set here. None of git's own: where a call works is said by its arguments.
const ALLOWED: &[&str] = &["PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "USER", "LOGNAME"];

/// Set for every call. Nothing asks, signs, opens an editor, fetches, tidies up or runs a hook of the repository.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.editor=true",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.askPass=false",
    "credential.helper=",
    "commit.gpgSign=false",
    "gpg.program=false",
    "protocol.allow=never",
    "submodule.recurse=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.addEmbeddedRepo=false",
    "core.filesRefLockTimeout=20000",
    "core.packedRefsTimeout=20000",
    // A commit must be on the disk before anybody hears of it.
    "core.fsync=committed,reference",
    "core.fsyncMethod=batch",
];

/// How git is called.
#[derive(Debug, Clone)]
pub struct Git {
    /// In the environment of every call, so that what a dead engine left can be found.
    run: Option<String>,
    /// Settings beside the usual ones.
    settings: Vec<String>,
    stopped: Arc<AtomicBool>,
}

/// What a call said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// One call in the making.
pub(crate) struct Call<'a> {
    git: &'a Git,
    command: Command,
    what: String,
    input: Option<Vec<u8>>,
    folder: Option<&'a Path>,
    repository: Option<&'a Path>,
    tree: Option<&'a Path>,
}

impl Git {
    /// Calls of a run, or of nobody in particular.
    pub fn new(run: Option<&str>) -> Git {
        Git { run: run.map(str::to_owned), settings: Vec::new(), stopped: Arc::default() }
    }

    /// The same with further settings; they win over everything configured.
    pub(crate) fn with_settings(&self, settings: Vec<String>) -> Git {
        Git { settings, ..self.clone() }
    }

    /// The same, ended when the flag is set.
    pub(crate) fn until(&self, stopped: Arc<AtomicBool>) -> Git {
        Git { stopped, ..self.clone() }
    }

    /// A call with these arguments.
    pub(crate) fn call<'a>(&'a self, arguments: &[&str]) -> Call<'a> {
        let mut command = Command::new("git");
        command.env_clear();
        for name in ALLOWED {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        for (name, value) in [
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_NO_REPLACE_OBJECTS", "1"),
            ("GIT_EDITOR", "true"),
            ("GIT_ASKPASS", "false"),
            ("GIT_SSH_COMMAND", "false"),
        ] {
            command.env(name, value);
        }
        if let Some(run) = &self.run {
            command.env("RADDLE_RUN_ID", run);
        }
        for setting in SETTINGS.iter().copied().chain(self.settings.iter().map(String::as_str)) {
            command.args(["-c", setting]);
        }
        command.args(arguments);
        let what = arguments.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        Call { git: self, command, what, input: None, folder: None, repository: None, tree: None }
    }
}

impl<'a> Call<'a> {
    /// Works in this folder, and finds the repository by it unless one is given.
    pub(crate) fn folder(mut self, folder: &'a Path) -> Self {
        self.folder = Some(folder);
        self
    }

    /// In this repository, whatever a folder claims to belong to.
    pub(crate) fn repository(mut self, repository: &'a Path) -> Self {
        self.repository = Some(repository);
        self
    }

    /// With this work tree.
    pub(crate) fn tree(mut self, tree: &'a Path) -> Self {
        self.tree = Some(tree);
        self.folder = Some(tree);
        self
    }

    /// With this index in place of the usual one.
    pub(crate) fn index(self, index: &Path) -> Self {
        self.env("GIT_INDEX_FILE", index)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Further arguments that may be paths.
    pub(crate) fn paths(mut self, paths: &[&Path]) -> Self {
        self.command.args(paths);
        self
    }

    pub(crate) fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Runs it; any exit status is an answer.
    pub(crate) fn said(mut self) -> Result<Said, Trouble> {
        if let Some(repository) = self.repository {
            self.command.env("GIT_DIR", repository);
        }
        if let Some(tree) = self.tree {
            self.command.env("GIT_WORK_TREE", tree);
        }
        self.command.current_dir(self.folder.or(self.repository).unwrap_or(Path::new("/")));
        let stdin = match self.input.take() {
            Some(bytes) => {
                Stdio::from(in_memory(&bytes).map_err(|error| Trouble::io("hold what git is told", &error))?)
            }
            None => Stdio::null(),
        };
        // A group of its own: Ctrl-C is for the run, which ends git's work in order.
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = self.command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Trouble::NoGit,
            _ => Trouble::io("start git", &error),
        })?;
        let (out, err) = (child.stdout.take().expect("it was asked for"), child.stderr.take().expect("as well"));
        let heard = hear(out.into(), err.into(), &self.git.stopped);
        if heard.is_err()
            && let Some(group) = Pid::from_raw(child.id().cast_signed())
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait().map_err(|error| Trouble::io("wait for git", &error))?;
        let (out, err) = heard?;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(Said { code, out, err: String::from_utf8_lossy(&err).trim_end().to_owned() })
    }

    /// Runs it; anything but status 0 is trouble.
    pub(crate) fn run(self) -> Result<Vec<u8>, Trouble> {
        let what = self.what.clone();
        let said = self.said()?;
        if said.code == 0 { Ok(said.out) } else { Err(said.trouble(&what)) }
    }

    /// The same for one line of text.
    pub(crate) fn line(self) -> Result<String, Trouble> {
        let mut out = self.run()?;
        while out.last() == Some(&b'\n') {
            out.pop();
        }
        String::from_utf8(out).map_err(|_| Trouble::Other("git named something that is no UTF-8".to_owned()))
    }

    /// The same where status 1 means that there is none.
    pub(crate) fn line_if_any(self) -> Result<Option<String>, Trouble> {
        let what = self.what.clone();
        let said = self.said()?;
        match said.code {
            0 => Ok(Some(String::from_utf8_lossy(&said.out).trim_end().to_owned())),
            1 => Ok(None),
            _ => Err(said.trouble(&what)),
        }
    }

    /// Status 0 is yes, 1 is no.
    pub(crate) fn yes(self) -> Result<bool, Trouble> {
        self.line_if_any().map(|line| line.is_some())
    }
}

impl Said {
    pub(crate) fn trouble(&self, what: &str) -> Trouble {
        let said = if self.err.is_empty() { format!("exit status {}", self.code) } else { self.err.clone() };
        Trouble::Git { what: what.to_owned(), said }
    }
}

/// The lines of `-z` output.
pub(crate) fn fields(out: &[u8]) -> impl Iterator<Item = &[u8]> {
    out.split(|byte| *byte == 0).filter(|field| !field.is_empty())
}

/// Programs that the configuration names for filters and merges, in whatever scope, by key.
pub(crate) fn drivers(git: &Git, repository: &Path) -> Result<BTreeMap<String, String>, Trouble> {
    let pattern = r"^(filter\..*\.(clean|smudge|process|required)|merge\..*\.driver|diff\..*\.(textconv|command))$";
    let call = git.call(&["config", "--null", "--get-regexp", pattern]).repository(repository);
    let said = call.said()?;
    match said.code {
        0 => {}
        1 => return Ok(BTreeMap::new()),
        _ => return Err(said.trouble("config")),
    }
    let entry = |field: &[u8]| {
        let text = String::from_utf8_lossy(field);
        // A key without a value is true.
        let (key, value) = text.split_once('\n').unwrap_or((&text, "true"));
        (key.to_owned(), value.to_owned())
    };
    Ok(fields(&said.out).map(entry).collect())
}

/// Settings by which no other programs run than those known: what was changed since has its old value again, what is
/// new is nothing.
pub(crate) fn only(known: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Vec<String> {
    let changed = now.iter().filter(|(key, value)| known.get(*key) != Some(*value));
    let old = |key: &String| match known.get(key) {
        Some(value) => format!("{key}={value}"),
        None if key.ends_with(".required") => format!("{key}=false"),
        // Without a program git would take one side for the merge; one that fails makes a conflict.
        None if key.starts_with("merge.") => format!("{key}=false"),
        None => format!("{key}="),
    };
    changed.map(|(key, _)| old(key)).collect()
}

fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("git-input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// Reads both streams to their ends.
fn hear(
    out: std::os::fd::OwnedFd,
    err: std::os::fd::OwnedFd,
    stopped: &AtomicBool,
) -> Result<(Vec<u8>, Vec<u8>), Trouble> {
    let deadline = Instant::now() + PATIENCE;
    let (mut held_out, mut held_err) = (Vec::new(), Vec::new());
    let mut open = [Some(File::from(out)), Some(File::from(err))];
    let mut buffer = vec![0; 64 << 10];
    let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.as_nanos() as i64 };
    while open.iter().any(Option::is_some) {
        if stopped.load(Ordering::Relaxed) {
            return Err(Trouble::Stopped);
        }
        if Instant::now() > deadline {
            return Err(Trouble::Other(format!("git did not end within {PATIENCE:?}")));
        }
        let ready: Vec<usize> = {
            let mut fds: Vec<PollFd<'_>> = open.iter().flatten().map(|file| PollFd::new(file, PollFlags::IN)).collect();
            // An interrupted wait is one in which nothing was said.
            let _ = poll(&mut fds, Some(&timeout));
            let which = open.iter().enumerate().filter(|(_, file)| file.is_some()).map(|(i, _)| i);
            which.zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(i, _)| i).collect()
        };
        for index in ready {
            let Some(file) = &mut open[index] else { continue };
            let read = match file.read(&mut buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Ok(read @ 1..) => read,
                _ => {
                    open[index] = None;
                    continue;
                }
            };
            let (held, most) = if index == 0 { (&mut held_out, OUTPUT_BYTES) } else { (&mut held_err, ERROR_BYTES) };
            if index == 0 && held.len() + read > most {
                return Err(Trouble::Other("git said more than can be held".to_owned()));
            }
            held.extend_from_slice(&buffer[..read.min(most.saturating_sub(held.len()))]);
        }
    }
    Ok((held_out, held_err))
}
