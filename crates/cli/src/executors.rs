//! `raddle executors`: the executors with their fixed properties, effective settings and availability on this
//! machine, and the choice among them. It does not know how they perform tasks.

use raddle_engine::executor::Capabilities;
use raddle_engine::select::{self, Candidate, Needs};
use raddle_executors::registry::{self, Machine};
use serde::Serialize;

use crate::args::SelectArgs;
use crate::config::{Configuration, Entry, Value};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::project::providers;
use crate::terminal::{self, Colour, Table, grouped};
use crate::{programs, project};

/// One executor.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    what: Capabilities,
    available: bool,
    reason: Option<String>,
    /// How many of its tasks run at once, by the configuration.
    pool: u32,
    /// What the configuration says about it, with where each value came from.
    settings: Vec<Setting>,
}

#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: serde_json::Value,
    origin: String,
}

/// The keys of an executor that are shown, with their defaults.
fn shown(executor: &str) -> (&'static str, Vec<(&'static str, serde_json::Value)>) {
    match executor {
        "process" => ("process", vec![("max_processes", 10.into()), ("output_format", "json".into())]),
        "worktree" => (
            "worktree",
            vec![
                ("branch_prefix", "dag/".into()),
                ("max_worktrees", 5.into()),
                ("auto_merge", false.into()),
                ("on_conflict", serde_json::json!(["stop"])),
            ],
        ),
        "api" => (
            "api",
            vec![
                ("model", serde_json::Value::Null),
                ("fallback", Vec::<String>::new().into()),
                ("max_output_tokens", 8192.into()),
            ],
        ),
        "task_tool" => ("task_tool", vec![("session_cli", "claude".into())]),
        _ => ("", Vec::new()),
    }
}

/// All executors as they are configured and available here.
fn rows(configuration: &Configuration) -> Result<Vec<Row>, Problem> {
    Ok(candidates(configuration)?.into_iter().map(|candidate| row(configuration, candidate)).collect())
}

/// All executors with their availability here.
fn candidates(configuration: &Configuration) -> Result<Vec<Candidate>, Problem> {
    let adapters = project::adapters(&project::clis(configuration))?;
    let api = &providers::api(configuration)?;
    let program = |cli: &str| adapters.get(cli).map_or_else(|_| cli.to_owned(), |a| a.program().to_owned());
    let session = configuration.text(&["executors", "task_tool", "session_cli"]).unwrap_or("claude");
    let nobody = providers::nobody(api, configuration);
    Ok(registry::builtin(&Machine {
        folder: &std::env::current_dir().unwrap_or_default(),
        no_provider: nobody.as_deref(),
        has_program: &|word| programs::find(word).is_some(),
        agent_program: &program("claude"),
        session_program: &program(session),
    }))
}

fn row(configuration: &Configuration, Candidate { capabilities: what, unavailable }: Candidate) -> Row {
    let (section, keys) = shown(&what.name);
    let settings: Vec<Setting> = keys
        .into_iter()
        .map(|(key, default)| {
            let entry = configuration.get(&["executors", section, key]);
            Setting {
                key: format!("executors.{section}.{key}"),
                value: entry.map_or(default, json),
                origin: entry.map_or_else(|| "default".to_owned(), |entry| entry.origin.to_string()),
            }
        })
        .collect();
    let pool = match &*what.name {
        "local" => project::max_local(configuration),
        "worktree" => configuration.count(&["executors", "worktree", "max_worktrees"], 5).0,
        // They share the cap of agent tasks.
        "process" | "api" => configuration.count(&["executors", "process", "max_processes"], 10).0,
        _ => what.practical_max,
    };
    Row { available: unavailable.is_none(), reason: unavailable, pool, settings, what }
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
    let rows = rows(&configuration)?;
    if as_json {
        let document = serde_json::json!({ "executors": rows });
        terminal::print(&format!("{document}\n"))?;
        return Ok(Exit::Success);
    }
    let header: Vec<&str> = std::iter::once("").chain(rows.iter().map(|row| &*row.what.name)).collect();
    let mut table = Table::new(&header);
    let mut line = |title: &str, cell: &dyn Fn(&Row) -> String| {
        table.row(std::iter::once(title.to_owned()).chain(rows.iter().map(cell)));
    };
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    line("available", &|row| yes_no(row.available));
    line("performs", &|row| row.what.performs.join(", "));
    line("tools", &|row| yes_no(row.what.tools));
    line("token overhead per task", &|row| grouped(row.what.token_overhead_per_task));
    line("hard limit", &|row| row.what.max_parallelism.map_or_else(|| "-".to_owned(), |n| n.to_string()));
    line("practical maximum", &|row| row.what.practical_max.to_string());
    line("pool", &|row| row.pool.to_string());
    line("isolation", &|row| row.what.isolation.to_owned());
    line("shared context", &|row| yes_no(row.what.shared_context));
    line("true isolation", &|row| yes_no(row.what.true_isolation));
    line("output format", &|row| row.what.output_format.to_owned());
    line("cleanup", &|row| row.what.cleanup.to_owned());
    line("best for", &|row| row.what.best_for.to_owned());
    let mut text = table.render();
    let mut missing: Vec<(&str, String)> =
        rows.iter().filter_map(|row| Some((&*row.what.name, row.reason.clone()?))).collect();
    missing.extend(project::no_containers(&configuration).map(|why| ("isolation: container", why)));
    if !missing.is_empty() {
        text.push_str("\nNot available here\n");
        let mut reasons = Table::new(&["executor", "why"]);
        missing.into_iter().for_each(|(name, why)| reasons.row([name.to_owned(), why]));
        text.push_str(&reasons.render());
    }
    text.push_str("\nEffective settings\n");
    let mut settings = Table::new(&["key", "value", "from"]);
    for setting in rows.iter().flat_map(|row| &row.settings) {
        settings.row([setting.key.clone(), setting.value.to_string(), setting.origin.clone()]);
    }
    text.push_str(&settings.render());
    terminal::print(&text)?;
    Ok(Exit::Success)
}

/// `raddle executors select`.
pub fn select(args: &SelectArgs, colour: Colour) -> Result<Exit, Problem> {
    let configuration = project::configuration(colour)?;
    let needs = Needs {
        isolation: args.isolation,
        parallel_tasks: args.parallel_tasks,
        minimize_tokens: args.minimize_tokens,
        shared_context: match (args.shared_context, args.no_shared_context) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        },
    };
    let choice = select::select(&registry::for_agents(&candidates(&configuration)?), needs);
    let choice = choice.map_err(|conflict| {
        let problem = Problem::new(Exit::Refused, conflict.to_string());
        conflict.refused.iter().fold(problem, |problem, (name, why)| problem.hint(format!("{name} {why}")))
    })?;
    if args.json {
        let refused: Vec<_> =
            choice.refused.iter().map(|(name, why)| serde_json::json!({"name": name, "reason": why})).collect();
        let document = serde_json::json!({"executor": choice.executor, "reason": choice.reason, "refused": refused});
        terminal::print(&format!("{document}\n"))?;
        return Ok(Exit::Success);
    }
    let mut text = format!("{}: {}\n", choice.executor, choice.reason);
    choice.refused.iter().for_each(|(name, why)| text.push_str(&format!("  not {name}: {why}\n")));
    terminal::print(&text)?;
    Ok(Exit::Success)
}
