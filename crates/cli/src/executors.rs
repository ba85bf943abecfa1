//! `raddle executors`: the executors with their fixed properties, effective settings and availability on this
//! machine. It does not know how they perform tasks.

use raddle_executors::agent::Adapters;
use serde::Serialize;

use crate::config::{Configuration, Entry, Value};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, Colour, Table, grouped};
use crate::{programs, project};

/// One executor.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    available: bool,
    reason: Option<String>,
    token_overhead_per_task: u64,
    max_parallelism: Option<u32>,
    practical_max: u32,
    pool: u32,
    isolation: &'static str,
    shared_context: bool,
    true_isolation: bool,
    output_format: &'static str,
    cleanup: &'static str,
    best_for: &'static str,
    /// What the configuration says about it, with where each value came from.
    settings: Vec<Setting>,
}

#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: serde_json::Value,
    origin: String,
}

const NOT_BUILT: &str = "not built yet";

fn rows(configuration: &Configuration, adapters: &Adapters) -> Vec<Row> {
    let claude = adapters.get("claude").map_or("claude", |adapter| adapter.program());
    let found = programs::find(claude).is_some();
    let count = |key: &str, path: &[&str], default| {
        let (n, origin) = configuration.count(path, default);
        (n, Setting { key: key.to_owned(), value: n.into(), origin: origin.to_string() })
    };
    let (processes, processes_setting) = count("max_processes", &["executors", "process", "max_processes"], 10);
    let (worktrees, worktrees_setting) = count("max_worktrees", &["executors", "worktree", "max_worktrees"], 5);
    let other = |section: &str, key: &str, default: serde_json::Value| {
        let entry = configuration.get(&["executors", section, key]);
        Setting {
            key: key.to_owned(),
            value: entry.map_or(default, json),
            origin: entry.map_or_else(|| "default".to_owned(), |entry| entry.origin.to_string()),
        }
    };
    vec![
        Row {
            name: "process",
            available: found,
            reason: (!found).then(|| format!("`{claude}` is not on the PATH")),
            token_overhead_per_task: 0,
            max_parallelism: None,
            practical_max: 50,
            pool: processes,
            isolation: "process-level",
            shared_context: false,
            true_isolation: true,
            output_format: "JSON (parsed)",
            cleanup: "auto (exit)",
            best_for: "most tasks",
            settings: vec![processes_setting, other("process", "output_format", "json".into())],
        },
        Row {
            name: "worktree",
            available: false,
            reason: Some(NOT_BUILT.to_owned()),
            token_overhead_per_task: 0,
            max_parallelism: None,
            practical_max: 10,
            pool: worktrees,
            isolation: "file + branch",
            shared_context: false,
            true_isolation: true,
            output_format: "JSON file",
            cleanup: "manual (branches)",
            best_for: "code generation",
            settings: vec![
                other("worktree", "branch_prefix", "dag/".into()),
                worktrees_setting,
                other("worktree", "auto_merge", false.into()),
            ],
        },
        Row {
            name: "task_tool",
            available: false,
            reason: Some(NOT_BUILT.to_owned()),
            token_overhead_per_task: 20_000,
            max_parallelism: Some(10),
            practical_max: 10,
            pool: 10,
            isolation: "none (shared)",
            shared_context: true,
            true_isolation: false,
            output_format: "structured",
            cleanup: "auto",
            best_for: "context-dependent tasks",
            settings: vec![other("task_tool", "session_cli", "claude".into())],
        },
    ]
}

/// A configured value as JSON.
pub fn json(entry: &Entry) -> serde_json::Value {
    match &entry.value {
        Value::Count(n) => (*n).into(),
        Value::Text(text) => text.clone().into(),
        Value::Switch(on) => (*on).into(),
        Value::Number(n) => (*n).into(),
        Value::List(items) => items.clone().into(),
    }
}

/// `raddle executors [compare]`.
pub fn compare(as_json: bool, colour: Colour) -> Result<Exit, Problem> {
    let configuration = project::configuration(colour)?;
    let adapters = project::adapters(&project::clis(&configuration))?;
    let rows = rows(&configuration, &adapters);
    if as_json {
        let document = serde_json::json!({ "executors": rows });
        terminal::print(&format!("{document}\n"))?;
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["", "process", "worktree", "task_tool"]);
    let mut line = |title: &str, cell: &dyn Fn(&Row) -> String| {
        table.row(std::iter::once(title.to_owned()).chain(rows.iter().map(cell)));
    };
    line("available", &|row| if row.available { "yes".to_owned() } else { "no".to_owned() });
    line("why not", &|row| row.reason.clone().unwrap_or_else(|| "-".to_owned()));
    line("token overhead per task", &|row| grouped(row.token_overhead_per_task));
    line("hard limit", &|row| row.max_parallelism.map_or_else(|| "-".to_owned(), |n| n.to_string()));
    line("practical maximum", &|row| row.practical_max.to_string());
    line("pool", &|row| row.pool.to_string());
    line("isolation", &|row| row.isolation.to_owned());
    line("shared context", &|row| if row.shared_context { "yes" } else { "no" }.to_owned());
    line("true isolation", &|row| if row.true_isolation { "yes" } else { "no" }.to_owned());
    line("output format", &|row| row.output_format.to_owned());
    line("cleanup", &|row| row.cleanup.to_owned());
    line("best for", &|row| row.best_for.to_owned());
    let mut text = table.render();
    text.push_str("\nEffective settings\n");
    let mut settings = Table::new(&["key", "value", "from"]);
    for row in &rows {
        for setting in &row.settings {
            settings.row([
                format!("executors.{}.{}", row.name, setting.key),
                setting.value.to_string(),
                setting.origin.clone(),
            ]);
        }
    }
    text.push_str(&settings.render());
    terminal::print(&text)?;
    Ok(Exit::Success)
}
