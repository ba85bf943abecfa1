//! The real programs: installed once, at fixed versions, into a folder under `target`. It does not know what they are
//! tested for.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::place::{Place, until};

const NODE_PACKAGES: [(&str, &str); 6] = [
    ("@anthropic-ai/claude-code", "2.1.329"),
    ("@openai/codex", "0.169.0"),
    ("@google/gemini-cli", "0.61.0"),
    ("opencode-ai", "1.18.33"),
    ("@modelcontextprotocol/server-everything", "2026.8.31"),
    ("@modelcontextprotocol/server-filesystem", "2026.8.31"),
];
const GIT_SERVER: &str = "mcp-server-git==2026.10.*";
const INSTALLING: Duration = Duration::from_secs(240);

/// Says loudly that a test tests nothing here. Written past the capture of the test harness, which shows the words of
/// failed tests only.
pub(crate) fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}: {why}");
}

/// The folder with the programs of the node packages, and the one with node itself.
pub(crate) fn node() -> Result<[PathBuf; 2], String> {
    static INSTALLED: OnceLock<Result<[PathBuf; 2], String>> = OnceLock::new();
    INSTALLED.get_or_init(install_node).clone()
}

/// The folder with `mcp-server-git`.
pub(crate) fn python() -> Result<PathBuf, String> {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    INSTALLED.get_or_init(install_python).clone()
}

fn install_node() -> Result<[PathBuf; 2], String> {
    let node = found("node")?;
    let folder = cache().join("node");
    let there = |(name, version): &(&str, &str)| {
        let text = fs::read(folder.join("node_modules").join(name).join("package.json")).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|package| package["version"] == **version)
    };
    if !NODE_PACKAGES.iter().all(there) {
        fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let mut npm = Command::new(found("npm")?);
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&folder);
        npm.args(NODE_PACKAGES.map(|(name, version)| format!("{name}@{version}")));
        done("npm", npm)?;
    }
    if let Some((name, version)) = NODE_PACKAGES.iter().find(|package| !there(package)) {
        return Err(format!("npm has not installed {name} {version}"));
    }
    let beside = node.parent().ok_or("node lies nowhere")?.to_owned();
    Ok([folder.join("node_modules/.bin"), beside])
}

fn install_python() -> Result<PathBuf, String> {
    let bin = cache().join("python/bin");
    if !bin.join("mcp-server-git").exists() {
        let mut venv = Command::new(found("python3")?);
        venv.args(["-m", "venv"]).arg(cache().join("python"));
        done("python3 -m venv", venv)?;
        let mut pip = Command::new(bin.join("python3"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", GIT_SERVER]);
        done("pip", pip)?;
    }
    Ok(bin)
}

fn cache() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_raddle"));
    binary.ancestors().nth(2).expect("the binary lies in target/PROFILE").join("real-partners")
}

fn found(program: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| format!("{program} is not installed here"))
}

/// Runs a command of an installer to its end; its last words when it fails.
fn done(name: &str, mut command: Command) -> Result<(), String> {
    let said = cache().join(format!("{}.log", name.replace(' ', "-")));
    let file = || {
        fs::create_dir_all(cache())?;
        File::options().create(true).append(true).open(&said)
    };
    let (out, err) = (file().map_err(|e| e.to_string())?, file().map_err(|e| e.to_string())?);
    let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
    let mut child = started.map_err(|e| format!("{name} cannot be started: {e}"))?;
    let deadline = Instant::now() + INSTALLING;
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                return Err(format!("{name} has not ended in {INSTALLING:?}"));
            }
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read_to_string(&said).unwrap_or_default();
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    Err(format!("{name} failed: {}", last.join(" / ")))
}

/// A scripted model on loopback that speaks the API of the agent CLI's provider.
pub(crate) struct Model {
    process: Child,
    calls: PathBuf,
    pub(crate) url: String,
}

impl Model {
    /// Starts one in that place. Rules are tried in order; a prompt that carries its own script comes first.
    pub(crate) fn start(place: &Place, rules: &Value) -> Result<Model, String> {
        Model::start_as(place, rules, "stub_anthropic.py")
    }

    /// The same with the interfaces of the other providers beside that one.
    pub(crate) fn of_any_provider(place: &Place, rules: &Value) -> Result<Model, String> {
        Model::start_as(place, rules, "stub_openai.py")
    }

    /// One that hands on what it is asked to hand on to subagents, as a real one would; rules are for the others.
    pub(crate) fn that_hands_on(place: &Place, rules: &Value) -> Result<Model, String> {
        place.file("model.py", include_str!("handing_on.py"));
        Model::start_as(place, rules, "stub_anthropic.py")
    }

    fn start_as(place: &Place, rules: &Value, program: &str) -> Result<Model, String> {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/stubs");
        let folder = std::env::var_os("RADDLE_STUBS").map_or(beside, PathBuf::from);
        let script = folder.join(program);
        if !script.is_file() {
            return Err(format!("there is no scripted model at {} (RADDLE_STUBS names its folder)", script.display()));
        }
        // A model of the test's own stands on the same ground.
        let own = place.work("model.py");
        let script = if own.is_file() { own } else { script };
        let rules = place.file("rules.json", rules.to_string());
        let (port, calls) = (place.work("port"), place.work("calls"));
        let mut command = Command::new(found("python3")?);
        command.env("PYTHONPATH", &folder).env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(&script).arg("--script").arg(rules).arg("--port-file").arg(&port).arg("--log").arg(&calls);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut model = Model { process: process.map_err(|e| e.to_string())?, calls, url: String::new() };
        until("the scripted model listens", || port.exists());
        model.url = format!("http://127.0.0.1:{}", place.text("port"));
        Ok(model)
    }

    /// All that was asked so far, as text.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.calls).unwrap_or_default()
    }

    /// Requests for messages so far, as the model saw them.
    pub(crate) fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.calls).unwrap_or_default();
        let calls = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        calls.filter(|call| call["rule"].is_string()).collect()
    }
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A repository with a few commits, in the working folder or below.
pub(crate) fn repository(place: &Place, folder: &str, subjects: &[&str]) -> Result<(), String> {
    fs::create_dir_all(place.work(folder)).map_err(|e| e.to_string())?;
    let git = |words: &[&str]| -> Result<(), String> {
        let mut command = Command::new(found("git")?);
        command.args(words).current_dir(place.work(folder)).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", place.root().join("home"));
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.invalid");
        }
        let output = command.output().map_err(|e| e.to_string())?;
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
    };
    git(&["init", "-q", "-b", "main"])?;
    for (n, subject) in subjects.iter().enumerate() {
        place.file(&format!("{folder}/file{n}.txt"), subject);
        git(&["add", "."])?;
        git(&["commit", "-q", "-m", subject])?;
    }
    Ok(())
}
