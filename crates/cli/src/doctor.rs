//! `raddle doctor`: what is installed and allowed on this machine, and what to do about what is missing. It does not
//! change anything; `findings` does not know how they are shown.

mod kernel;

use std::path::Path;

use raddle_model::mcp_server::McpReach;
use serde::Serialize;

use crate::args::DoctorArgs;
use crate::config::{Configuration, Surroundings};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, harmless};
use crate::{executors, places, programs, project, report};

/// One line of the report.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// Group of lines.
    section: &'static str,
    /// What was looked for.
    name: String,
    /// Whether it is there.
    ok: bool,
    /// What was found.
    detail: String,
    /// What to do when it is missing.
    advice: Option<String>,
}

impl Finding {
    fn new(section: &'static str, name: impl Into<String>, found: Option<String>, advice: &str) -> Finding {
        let advice = found.is_none().then(|| advice.to_owned());
        Finding { section, name: name.into(), ok: found.is_some(), detail: found.unwrap_or("missing".into()), advice }
    }
}

/// Looks at everything and prints it. Missing things are no failure of this command.
pub fn doctor(args: &DoctorArgs) -> Result<Exit, Problem> {
    let findings = findings()?;
    if args.json {
        let document = serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "checks": findings });
        terminal::print(&format!("{document}\n"))?;
        return Ok(Exit::Success);
    }
    let mut text = format!("raddle {}\n", env!("CARGO_PKG_VERSION"));
    let mut section = "";
    let widest = findings.iter().map(|f| f.name.chars().count()).max().unwrap_or(0);
    for finding in &findings {
        if finding.section != section {
            section = finding.section;
            text.push_str(&format!("\n{section}\n"));
        }
        let mark = if finding.ok { "ok     " } else { "missing" };
        text.push_str(&format!("  {mark}  {:widest$}  {}\n", harmless(&finding.name), harmless(&finding.detail)));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("  {:9}{:widest$}  {}\n", "", "", harmless(advice)));
        }
    }
    terminal::print(&text)?;
    Ok(Exit::Success)
}

fn findings() -> Result<Vec<Finding>, Problem> {
    let cwd = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
    let mut findings = Vec::new();
    let configuration = configuration(&cwd, &mut findings);
    agent_clis(&configuration, &mut findings);
    mcp_servers(&cwd, &mut findings);
    for (name, advice) in [
        ("git", "needed by worktrees and by agents that commit: install git"),
        ("node", "needed by MCP servers that come as npm packages: install Node.js"),
        ("npx", "needed by MCP servers that come as npm packages: install Node.js with npm"),
        ("uvx", "needed by MCP servers that come as Python packages: install uv"),
    ] {
        findings.push(Finding::new("Programs", name, described(name), advice));
    }
    findings.extend(kernel::findings());
    for (name, advice) in [
        ("bwrap", "for isolation without a container engine: install bubblewrap"),
        ("docker", "for container isolation: install Docker or Podman"),
        ("podman", "for container isolation: install Docker or Podman"),
    ] {
        let found = programs::find(name).map(|path| path.display().to_string());
        findings.push(Finding::new("Isolation", name, found, advice));
    }
    let (found, advice) = match project::no_containers(&configuration) {
        None => (Some("can be provided".to_owned()), String::new()),
        Some(why) => (None, why),
    };
    findings.push(Finding::new("Isolation", "isolation: container", found, &advice));
    Ok(findings)
}

fn described(program: &str) -> Option<String> {
    let path = programs::find(program)?;
    let place = path.display();
    Some(programs::version(&path).map_or_else(|| format!("{place}"), |version| format!("{version} ({place})")))
}

fn configuration(cwd: &Path, findings: &mut Vec<Finding>) -> Configuration {
    const SECTION: &str = "Configuration";
    let state = places::state_folder();
    findings.push(match state {
        Ok(folder) => {
            let usable = writable(&folder);
            let advice = "make it writable, or set RADDLE_HOME to another folder";
            Finding {
                detail: folder.display().to_string(),
                ..Finding::new(SECTION, "state folder", usable.then(String::new), advice)
            }
        }
        Err(problem) => Finding::new(SECTION, "state folder", None, &problem.message),
    });
    let environment: Vec<(String, String)> = project::variables();
    let loaded =
        Configuration::load(&Surroundings { cwd, user_file: places::user_configuration(), environment: &environment });
    match loaded {
        Ok(configuration) => {
            let files: Vec<String> = configuration.files.iter().map(|path| path.display().to_string()).collect();
            let detail = if files.is_empty() { "none: defaults are in force".to_owned() } else { files.join(", ") };
            findings.push(Finding::new(SECTION, "files", Some(detail), ""));
            for (key, entry) in configuration.entries() {
                let detail = format!("{} (from {})", executors::json(entry), entry.origin);
                findings.push(Finding::new(SECTION, key, Some(detail), ""));
            }
            configuration
        }
        Err(faults) => {
            for fault in faults {
                let place = report::place(&fault).unwrap_or_else(|| "environment".to_owned());
                let advice = fault.help.clone().unwrap_or_else(|| "correct it".to_owned());
                let finding = Finding::new(SECTION, place, None, &advice);
                findings.push(Finding { detail: format!("{}: {}", fault.code, fault.message), ..finding });
            }
            Configuration::default()
        }
    }
}

/// Whether files could be made there: in the folder, or in the nearest ancestor that exists.
fn writable(folder: &Path) -> bool {
    let existing = folder.ancestors().find(|ancestor| ancestor.exists());
    existing.is_some_and(|path| path.is_dir() && rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok())
}

fn agent_clis(configuration: &Configuration, findings: &mut Vec<Finding>) {
    const SECTION: &str = "Agent CLIs";
    let adapters = match project::adapters(&project::clis(configuration)) {
        Ok(adapters) => adapters,
        Err(problem) => {
            findings.push(Finding { detail: problem.message, ..Finding::new(SECTION, "[clis]", None, "correct it") });
            return;
        }
    };
    for name in adapters.names() {
        let program = adapters.get(name).map_or(name, |adapter| adapter.program());
        let advice = if name == "claude" {
            "agent tasks run on it by default: npm install -g @anthropic-ai/claude-code".to_owned()
        } else {
            format!("needed by agents with `cli: {name}` only")
        };
        findings.push(Finding::new(SECTION, name, described(program), &advice));
    }
}

fn mcp_servers(cwd: &Path, findings: &mut Vec<Finding>) {
    const SECTION: &str = "MCP servers";
    let mut notes = Vec::new();
    for (name, server) in project::mcp_servers(cwd, &mut notes) {
        let (found, advice) = match &server.reach {
            McpReach::Command { command, .. } => (
                programs::find(command).map(|path| path.display().to_string()),
                format!("`{command}` is not on the PATH"),
            ),
            // Asking it would send the headers, which nobody has told to.
            McpReach::Url { url, .. } => (Some(format!("{url} (not asked)")), String::new()),
        };
        findings.push(Finding::new(SECTION, name, found, &advice));
    }
    for note in notes {
        findings.push(Finding { detail: note, ..Finding::new(SECTION, ".mcp.json", None, "correct it") });
    }
}
