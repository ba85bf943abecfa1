//! A folder, a bare environment and the real binary in them, run to its end or left running. It does not know what any
//! test is about.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Nothing here takes so long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A place where nothing of the machine's own configuration is seen. What was started in it is gone when it is.
pub(crate) struct Place {
    root: tempfile::TempDir,
    variables: Vec<(String, String)>,
    path: String,
    started: AtomicU32,
}

/// A command that has been started.
pub(crate) struct Live {
    pub(crate) child: Child,
    said: PathBuf,
    since: Instant,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) wall: Duration,
}

impl Place {
    pub(crate) fn new() -> Place {
        let root = tempfile::tempdir().expect("a temporary folder can be made");
        for folder in ["work", "home", "config/raddle", "tmp", "said"] {
            fs::create_dir_all(root.path().join(folder)).expect("a folder can be made");
        }
        let path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        Place { root, variables: Vec::new(), path, started: AtomicU32::new(0) }
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// A path below the working folder.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root().join("work").join(name)
    }

    /// Writes a file below the working folder.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work(name);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
        fs::write(&path, text).expect("a file can be written");
        path
    }

    /// Writes a program below the working folder.
    pub(crate) fn program(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.file(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode can be set");
        path.to_str().expect("temporary folders have plain names").to_owned()
    }

    /// The text of a file below the working folder; empty when there is none yet.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.work(name)).unwrap_or_default()
    }

    pub(crate) fn variable(&mut self, name: &str, value: impl Into<String>) -> &mut Place {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Puts a folder before the others in which programs are looked for.
    pub(crate) fn look_in(&mut self, folder: &Path) -> &mut Place {
        self.path = format!("{}:{}", folder.display(), self.path);
        self
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_raddle"));
        command
            .args(words)
            .current_dir(self.work(""))
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.root().join("home"))
            .env("TMPDIR", self.root().join("tmp"))
            .env("XDG_CONFIG_HOME", self.root().join("config"))
            .env("RADDLE_HOME", self.root().join("state"))
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null());
        // Whoever runs the tests in the background has made them deaf for Ctrl-C, and children inherit that.
        let hear = || {
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                // SAFETY: changes how the child takes a signal, before it runs its program.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
            }
            Ok(())
        };
        // SAFETY: `hear` only makes calls that are safe between fork and exec.
        unsafe { command.pre_exec(hear) };
        command
    }

    /// Starts a command. Its words go into files, so that it never waits for a reader.
    pub(crate) fn start(&self, words: &[&str]) -> Live {
        self.start_command(self.command(words))
    }

    pub(crate) fn start_command(&self, mut command: Command) -> Live {
        let said = self.root().join("said").join(self.started.fetch_add(1, Ordering::Relaxed).to_string());
        let file = |kind: &str| File::create(said.with_extension(kind)).expect("a file can be made");
        let child = command.stdout(file("out")).stderr(file("err")).spawn().expect("the binary can be started");
        Live { child, said, since: Instant::now() }
    }

    pub(crate) fn raddle(&self, words: &[&str]) -> Ended {
        self.start(words).ended()
    }

    pub(crate) fn raddle_with_stdin(&self, words: &[&str], text: &[u8]) -> Ended {
        let mut command = self.command(words);
        command.stdin(Stdio::piped());
        let mut live = self.start_command(command);
        let mut stdin = live.child.stdin.take().expect("stdin was asked for as a pipe");
        // A command that has seen enough does not read to the end.
        let _ = stdin.write_all(text);
        drop(stdin);
        live.ended()
    }

    /// Runs a workflow written as YAML; the document of the run.
    pub(crate) fn run(&self, workflow: &str, code: i32) -> Value {
        self.file("wf.yaml", workflow);
        self.raddle(&["run", "wf.yaml", "--json"]).exits(code).json()
    }

    /// `raddle show --json`.
    pub(crate) fn show(&self, run: &str) -> Value {
        self.raddle(&["show", run, "--json"]).exits(0).json()
    }

    /// Why nobody on this machine can hold a task to its permissions; `None` when somebody can.
    pub(crate) fn unheld(&self, file: &str, task: &str) -> Option<String> {
        let shown = self.raddle(&["perm", "explain", file, task, "--json"]).exits(0).json();
        let parts = shown["enforced"].as_array().expect("a list of parts").clone();
        parts.iter().find_map(|part| part["unenforceable"].as_str().map(str::to_owned))
    }

    /// `raddle ps --json`.
    pub(crate) fn ps(&self) -> Vec<Value> {
        match self.raddle(&["ps", "--json"]).exits(0).json() {
            Value::Array(rows) => rows,
            other => panic!("ps printed no list: {other}"),
        }
    }

    /// All events of a run, from its journal.
    pub(crate) fn events(&self, run: &str) -> Vec<Value> {
        let ended = self.raddle(&["watch", run, "--json"]).exits(0);
        ended.out.lines().map(|line| serde_json::from_str(line).expect("an event is a JSON document")).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A test that failed halfway leaves nothing running.
        for process in crate::processes::mentioning(self.root()) {
            process.kill();
        }
    }
}

impl Live {
    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().expect("the process is ours to wait for") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    panic!("the command does not end; it said: {}", self.err());
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        let ended = Ended { code: status.code(), out: self.out(), err: self.err(), wall: self.since.elapsed() };
        assert!(!ended.err.contains("panicked at"), "{}", ended.err);
        ended
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("the process is ours to wait for").is_some()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub(crate) fn out(&self) -> String {
        read(&self.said.with_extension("out"))
    }

    pub(crate) fn err(&self) -> String {
        read(&self.said.with_extension("err"))
    }
}

fn read(path: &Path) -> String {
    String::from_utf8(fs::read(path).expect("what it says goes into a file")).expect("output is UTF-8")
}

impl Ended {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "--- stdout\n{}\n--- stderr\n{}", cut(&self.out), cut(&self.err));
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|e| panic!("stdout is no JSON document ({e}): {}", cut(&self.out)))
    }
}

/// The beginning of a text that may be very long.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(4000).collect()
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Chance that is told: the same seed gives the same choices (xorshift64*).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance((seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) % n
    }
}
