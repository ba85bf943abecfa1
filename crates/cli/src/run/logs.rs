//! `raddle logs`: what tasks and servers of a run wrote, and what was refused to them. It reads files of the run's folder
//! and the journal, and changes neither.

use std::fmt::Write as _;
use std::fs;

use raddle_engine::TaskIx;
use raddle_engine::view::Denial;
use serde_json::{Value, json};

use super::look::{print_json, unknown_task};
use super::store::{self, Opened};
use crate::args::LogsArgs;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, harmless, harmless_lines};

/// `raddle logs`.
pub fn logs(args: LogsArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    let view = &opened.view;
    let only = match &args.task {
        Some(name) => Some(view.task(name).ok_or_else(|| unknown_task(view, name))?),
        None => None,
    };
    let folder = home.run_folder(&id).join("logs");
    let (mut text, mut listed) = (String::new(), Vec::new());
    for i in 0..view.tasks.len() as u32 {
        if only.is_some_and(|t| t != TaskIx(i)) {
            continue;
        }
        let name = &view.snapshot.tasks[i as usize].id;
        for attempt in &view.tasks[i as usize].attempts {
            if args.attempt.is_some_and(|n| n != attempt.attempt.0) {
                continue;
            }
            for (stream, suffix) in [("stdout", "out"), ("stderr", "err")] {
                if args.stderr && suffix == "out" {
                    continue;
                }
                let path = folder.join(format!("{name}.{}.{suffix}", attempt.attempt.0));
                // No file is no output; one that cannot be read is told.
                let bytes = match fs::read(&path) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    other => other.map_err(|e| Problem::io(format!("read {}", path.display()), &e))?,
                };
                listed.push(json!({"task": name, "attempt": attempt.attempt.0, "stream": stream,
                                   "path": path, "bytes": bytes.len()}));
                let _ = writeln!(text, "==> {} attempt {} {stream} <==", harmless(name), attempt.attempt.0);
                text.push_str(&harmless_lines(&String::from_utf8_lossy(&bytes)));
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        // A refusal is the run's word about the task, of none of its streams; it is of the run, not of one attempt.
        for denial in view.denials.iter().filter(|denial| denial.task == TaskIx(i) && args.attempt.is_none()) {
            let Denial { action, resource, rule, .. } = denial;
            listed
                .push(json!({"task": name, "stream": "denied", "action": action, "resource": resource, "rule": rule}));
            let said = format!("denied {action} {resource}: {rule}");
            let _ = writeln!(text, "==> {} <==\n{}", harmless(name), harmless_lines(&said));
        }
    }
    if only.is_none() && args.attempt.is_none() {
        servers_logs(&folder, &mut text, &mut listed)?;
    }
    if args.json {
        print_json(&Value::Array(listed))?;
    } else {
        terminal::print(&text)?;
    }
    Ok(Exit::Success)
}

/// What the run's MCP servers said beside the protocol: files that begin with `@`, as no task's do.
fn servers_logs(folder: &std::path::Path, text: &mut String, listed: &mut Vec<Value>) -> Result<(), Problem> {
    let files = fs::read_dir(folder).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    let mut files: Vec<std::path::PathBuf> = files;
    files.sort();
    for path in files {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(server) = name.strip_prefix('@').and_then(|name| name.strip_suffix(".log")) else { continue };
        let bytes = fs::read(&path).map_err(|e| Problem::io(format!("read {}", path.display()), &e))?;
        let _ = writeln!(text, "==> MCP server {} <==", harmless(server));
        text.push_str(&harmless_lines(&String::from_utf8_lossy(&bytes)));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        listed.push(json!({"server": server, "stream": "stderr", "path": path, "bytes": bytes.len()}));
    }
    Ok(())
}
