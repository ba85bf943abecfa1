//! A folder, a bare environment and the real binary in them, run to its end or left running. It does not know what any
//! section is about.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::processes::{self, Process};
use super::tally::{Found, Kind, Violation};
use crate::bench::Scratch;

/// Nothing here takes so long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Nobody may outlive an engine for longer.
pub(crate) const SURVIVAL: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A place where nothing of the machine's own configuration is seen. What was started in it is gone when it is.
#[derive(Debug)]
pub(crate) struct Place {
    root: PathBuf,
    raddle: PathBuf,
    started: AtomicU32,
    variables: Vec<(String, String)>,
    _scratch: Scratch,
}

/// A command that has been started.
#[derive(Debug)]
pub(crate) struct Live {
    child: Child,
    said: PathBuf,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new(raddle: &Path) -> Found<Place> {
        let scratch = Scratch::new().map_err(Violation::broken)?;
        let root = scratch.path().to_owned();
        for folder in ["work", "home", "config/raddle", "tmp", "said"] {
            fs::create_dir_all(root.join(folder)).map_err(Violation::broken)?;
        }
        let started = AtomicU32::new(0);
        Ok(Place { root, raddle: raddle.to_owned(), started, variables: Vec::new(), _scratch: scratch })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path below the working folder.
    pub(crate) fn work(&self, name: &str) -> PathBuf {
        self.root.join("work").join(name)
    }

    pub(crate) fn variable(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Writes a file below the working folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> Found<()> {
        fs::write(self.work(name), text).map_err(Violation::broken)
    }

    /// Writes a program below the working folder.
    pub(crate) fn program(&self, name: &str, text: &str) -> Found<()> {
        use std::os::unix::fs::PermissionsExt;
        self.file(name, text)?;
        fs::set_permissions(self.work(name), fs::Permissions::from_mode(0o755)).map_err(Violation::broken)
    }

    /// The text of a file below the working folder; empty when there is none yet.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.work(name)).unwrap_or_default()
    }

    /// The environment of whatever is called here.
    pub(crate) fn surroundings(&self, command: &mut Command) {
        command
            .current_dir(self.work(""))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("XDG_CONFIG_HOME", self.root.join("config"))
            .env("RADDLE_HOME", self.root.join("state"))
            .env("TZ", "UTC")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.raddle);
        command.args(words);
        self.surroundings(&mut command);
        command
    }

    /// Starts a command. Its words go into files, so that it never waits for a reader.
    pub(crate) fn start(&self, words: &[&str]) -> Found<Live> {
        self.start_with(words, None)
    }

    /// The same, its stdout going elsewhere.
    pub(crate) fn start_with(&self, words: &[&str], stdout: Option<Stdio>) -> Found<Live> {
        let said = self.root.join("said").join(self.started.fetch_add(1, Ordering::Relaxed).to_string());
        let file = |kind: &str| File::create(said.with_extension(kind)).map_err(Violation::broken);
        let stdout = match stdout {
            Some(stdout) => stdout,
            None => file("out")?.into(),
        };
        let child = self.command(words).stdout(stdout).stderr(file("err")?).spawn().map_err(Violation::broken)?;
        Ok(Live { child, said })
    }

    pub(crate) fn raddle(&self, words: &[&str]) -> Found<Ended> {
        self.start(words)?.ended()
    }

    /// A command that prints a document, and its exit code.
    pub(crate) fn json(&self, words: &[&str]) -> Found<(Option<i32>, Value)> {
        let ended = self.raddle(words)?;
        Ok((ended.code, ended.json()?))
    }

    /// `raddle show --json`.
    pub(crate) fn show(&self, run: &str) -> Found<Value> {
        Ok(self.json(&["show", run, "--json"])?.1)
    }

    /// `raddle ps --json`.
    pub(crate) fn ps(&self) -> Found<Vec<Value>> {
        match self.json(&["ps", "--json"])?.1 {
            Value::Array(rows) => Ok(rows),
            other => Err(Violation::new(Kind::Untrue, format!("ps prints no list: {other}"))),
        }
    }

    /// All events of a run that nobody drives, from its journal.
    pub(crate) fn events(&self, run: &str) -> Found<Vec<Value>> {
        let ended = self.raddle(&["watch", run, "--json"])?;
        ended.out.lines().map(parse).collect()
    }

    /// Waits until nothing of the place is alive; how long that took. What survives longer than anything may is killed,
    /// and told.
    pub(crate) fn emptied(&self) -> Found<Duration> {
        let since = Instant::now();
        loop {
            let alive = processes::mentioning(&self.root);
            if alive.is_empty() {
                return Ok(since.elapsed());
            }
            if since.elapsed() > SURVIVAL {
                alive.iter().for_each(Process::kill);
                let words: Vec<String> = alive.iter().map(|p| format!("{} {}", p.pid, p.words)).collect();
                return Err(Violation::new(Kind::Orphan, format!("alive after 5 s: {}", words.join("; "))));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A round that failed halfway leaves nothing running.
        processes::mentioning(&self.root).iter().for_each(Process::kill);
    }
}

impl Live {
    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Found<Ended> {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().map_err(Violation::broken)? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = self.child.kill();
                    let _ = self.child.wait();
                    return Err(Violation::new(
                        Kind::Stuck,
                        format!("a command does not end; it said: {}", self.err()),
                    ));
                }
                None => std::thread::sleep(LOOK_EVERY),
            }
        };
        let out = fs::read_to_string(self.said.with_extension("out")).unwrap_or_default();
        let ended = Ended { code: status.code(), out, err: self.err() };
        match ended.err.contains("panicked at") {
            true => Err(Violation::new(Kind::Broken, cut(&ended.err))),
            false => Ok(ended),
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What the user started.
    pub(crate) fn front(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Those of front, warden and engine that are there.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut members = vec![self.front()];
        while members.len() < 3
            && let Some(child) = processes::child_of(members[members.len() - 1])
        {
            members.push(child);
        }
        members
    }

    /// Kills some of the three with SIGKILL and waits for the front's end; who was really hit.
    pub(crate) fn killed(mut self, victim: Victim) -> Found<Victim> {
        let members = self.members();
        let (hit, who): (&[i32], Victim) = match (victim, members.len()) {
            (Victim::Engine, 3) => (&members[2..], victim),
            (Victim::Warden, 2..) => (&members[1..2], victim),
            (Victim::All, 3) => (&members, victim),
            // Before there are three processes, there is the front.
            _ => (&members[..1], Victim::Front),
        };
        let hit: Vec<Process> = hit.iter().rev().filter_map(|pid| Process::of(*pid)).collect();
        hit.iter().for_each(Process::kill);
        self.child.wait().map_err(Violation::broken)?;
        // A killed process holds what it holds until it has gone.
        until("the killed are dead", || !hit.iter().any(Process::alive))?;
        Ok(who)
    }

    fn err(&self) -> String {
        fs::read_to_string(self.said.with_extension("err")).unwrap_or_default()
    }
}

/// Whom a kill is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Front,
    Warden,
    Engine,
    All,
}

impl Victim {
    pub(crate) const EACH: [Victim; 4] = [Victim::Front, Victim::Warden, Victim::Engine, Victim::All];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Victim::Front => "front",
            Victim::Warden => "warden",
            Victim::Engine => "engine",
            Victim::All => "all three",
        }
    }
}

impl Ended {
    pub(crate) fn json(&self) -> Found<Value> {
        parse(&self.out).map_err(|v| Violation { what: format!("{}; stderr: {}", v.what, cut(&self.err)), ..v })
    }
}

fn parse(text: &str) -> Found<Value> {
    serde_json::from_str(text).map_err(|e| Violation::new(Kind::Untrue, format!("no JSON ({e}): {}", cut(text))))
}

/// The beginning of a text that may be very long.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(1500).collect()
}

/// Waits until something is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Found<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        if Instant::now() > deadline {
            return Err(Violation::new(Kind::Stuck, format!("waited in vain for: {what}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}
