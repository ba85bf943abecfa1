//! Whole-process cases: the binary itself with a workflow of process tasks, the durable journal on.

use std::fmt::Write as _;
use std::io::BufRead as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use super::{Scratch, number};

/// The binary beside this one.
pub fn raddle() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let found = own.with_file_name("raddle");
    if found.exists() { Ok(found) } else { Err(format!("no {}: build it first", found.display())) }
}

/// Becomes `raddle --version`.
pub fn version() -> Result<String, String> {
    Err(Command::new(raddle()?).arg("--version").exec().to_string())
}

/// Writes a workflow in which every node runs `command` and runs it with `jobs` slots.
pub fn tasks(dag: &str, jobs: &str, command: &[&str]) -> Result<String, String> {
    let scratch = Scratch::new()?;
    let command = serde_json::to_string(command).map_err(|e| e.to_string())?;
    let file = std::fs::File::open(dag).map_err(|e| format!("{dag}: {e}"))?;
    let mut text = String::from("{\"tasks\":[");
    for (i, line) in std::io::BufReader::new(file).lines().skip(1).enumerate() {
        let line = line.map_err(|e| e.to_string())?;
        if i > 0 {
            text.push(',');
        }
        let _ = write!(text, "{{\"id\":\"n{i}\",\"run\":{command},\"depends_on\":[");
        for (k, parent) in line.split_ascii_whitespace().skip(1).enumerate() {
            let comma = if k > 0 { "," } else { "" };
            let _ = write!(text, "{comma}\"n{parent}\"");
        }
        text.push_str("]}");
    }
    text.push_str("]}");
    let workflow = scratch.path().join("wf.json");
    std::fs::write(&workflow, text).map_err(|e| e.to_string())?;
    let mut command = Command::new(raddle()?);
    command
        .args(["run", "--quiet"])
        .arg(&workflow)
        .current_dir(scratch.path())
        .env("RADDLE_HOME", scratch.path().join("state"))
        .env("RADDLE_DAG_EXECUTION_MAX_LOCAL", number(jobs)?.to_string())
        .stdin(std::process::Stdio::null());
    // This process becomes the product, so that its own end is not part of what is timed; the harness removes the
    // temporary folder afterwards.
    std::mem::forget(scratch);
    Err(command.exec().to_string())
}
