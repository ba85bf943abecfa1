//! The parts that this program plays in its own workflows: a server of tools and an agent. They write down what they
//! are asked, once for each time; they know nothing of the suite.

use std::fs::OpenOptions;
use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::talk;

/// Becomes one of the parts.
pub(crate) fn play(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let played = match words[..] {
        ["server", place] => server(Path::new(place)),
        ["agent", place] => agent(Path::new(place)),
        _ => Err(std::io::Error::other("play server PLACE | play agent PLACE")),
    };
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            talk(&format!("faults: {what}"));
            ExitCode::FAILURE
        }
    }
}

/// One line, in one write, at the end of the file.
fn note(place: &Path, line: &str) -> std::io::Result<()> {
    let mut log = OpenOptions::new().append(true).create(true).open(place.join("effects"))?;
    log.write_all(format!("{line}\n").as_bytes())
}

/// An MCP server on stdin and stdout with the tool `note`, one call at a time.
fn server(place: &Path) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
        let Some(id) = message.get("id") else { continue };
        let answer = match message["method"].as_str() {
            Some("initialize") => {
                let version = &message["params"]["protocolVersion"];
                json!({"result": {"protocolVersion": version, "capabilities": {"tools": {}},
                                  "serverInfo": {"name": "desk", "version": "1"}}})
            }
            Some("tools/list") => {
                json!({"result": {"tools": [{"name": "note", "inputSchema": {"type": "object"}}]}})
            }
            Some("tools/call") => called(place, &message["params"])?,
            Some("ping") => json!({"result": {}}),
            _ => json!({"error": {"code": -32601, "message": "no such method"}}),
        };
        let mut answer = answer;
        answer["jsonrpc"] = "2.0".into();
        answer["id"] = id.clone();
        out.write_all(format!("{answer}\n").as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn called(place: &Path, call: &Value) -> std::io::Result<Value> {
    let (arguments, key) = (&call["arguments"], &call["_meta"]["raddle/idempotencyKey"]);
    let task = arguments["task"].as_str().unwrap_or("?");
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    note(place, &format!("{task} - {} {parent}", key.as_str().unwrap_or("?")))?;
    std::thread::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(0)));
    let said = json!({"word": arguments["word"]});
    Ok(json!({"result": {"content": [{"type": "text", "text": said.to_string()}], "structuredContent": said}}))
}

/// An agent CLI: does what a task does and says what the prompt asks it to say.
fn agent(place: &Path) -> std::io::Result<()> {
    let mut prompt = String::new();
    std::io::stdin().read_to_string(&mut prompt)?;
    let of = |name: &str| std::env::var(name).unwrap_or_else(|_| "?".into());
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let (task, attempt, key) = (of("RADDLE_TASK_ID"), of("RADDLE_ATTEMPT"), of("RADDLE_IDEMPOTENCY_KEY"));
    note(place, &format!("{task} {attempt} {key} {parent}"))?;
    std::thread::sleep(Duration::from_millis(20));
    let said = prompt.split_once("Say: ").map_or("", |(_, rest)| rest.lines().next().unwrap_or(""));
    std::io::stdout().write_all(said.as_bytes())
}
