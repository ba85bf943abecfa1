//! What a workflow may name outside its own file, gathered from the configuration and the project's folders into the
//! model's catalog. It does not know any workflow.

mod claude;
mod front_matter;
mod mcp;
pub mod providers;
pub mod secrets;

pub use mcp::{header_value, servers as mcp_servers};

use std::collections::BTreeMap;
use std::path::Path;

use raddle_engine::attempt::{Demands, Isolation};
use raddle_executors::ContainerConfig;
use raddle_executors::agent::{Adapters, CliConfig};
use raddle_executors::api::ApiConfig;
use raddle_model::catalog::{AgentDefinition, Catalog, ModelEntry, Settings, Tier, builtin_agents, builtin_models};
use raddle_model::router::Tiers;

use crate::args::Shape;
use crate::config::{Configuration, Surroundings, Value};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::report;
use crate::run::branches::WorktreeSettings;
use crate::terminal::{self, Colour};
use crate::{executors, places};

/// Everything that is known before a workflow is read.
#[derive(Debug)]
pub struct Project {
    /// The model's view of it.
    pub catalog: Catalog,
    /// The agent CLIs, built in and configured.
    pub adapters: Adapters,
    /// `[executors.worktree]`.
    pub worktrees: WorktreeSettings,
    /// What `model: auto` chooses from.
    pub tiers: Tiers,
    /// The providers of executor `api`.
    pub api: ApiConfig,
    /// The agent CLI whose session hosts tasks.
    pub session_cli: String,
    /// Where secrets come from.
    pub secrets: secrets::Declared,
    /// Who makes containers.
    pub containers: ContainerConfig,
    /// Things that were left out, in words: a broken `.mcp.json`, an agent file without a name.
    pub notes: Vec<String>,
}

/// Reads the configuration that is in force in the current folder.
pub fn configuration(colour: Colour) -> Result<Configuration, Problem> {
    let cwd = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
    let environment = variables();
    let surroundings = Surroundings { cwd: &cwd, user_file: places::user_configuration(), environment: &environment };
    Configuration::load(&surroundings).map_err(|faults| {
        terminal::tell(&report::render(&faults, colour));
        Problem::told(Exit::Usage)
    })
}

/// The environment variables that could be configuration.
pub fn variables() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with("RADDLE_"))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect()
}

/// Gathers everything for workflows in `base_dir`, with the command line's caps on top.
pub fn load(base_dir: &Path, shape: &Shape, colour: Colour) -> Result<Project, Problem> {
    let configuration = configuration(colour)?;
    let adapters = adapters(&clis(&configuration))?;
    let mut notes = Vec::new();
    let mut agents = builtin_agents();
    agents.extend(claude::agents(base_dir, &mut notes));
    configured_agents(&configuration, &mut agents);
    let secrets = secrets::declared(&configuration)?;
    let mut models = builtin_models();
    configured_models(&configuration, &mut models.entries);
    let catalog = Catalog {
        agents,
        skills: claude::skills(base_dir, &mut notes),
        mcp_servers: mcp::servers(base_dir, &mut notes),
        clis: adapters.names().map(str::to_owned).collect(),
        executors: Vec::new(),
        secrets: secrets.keys().cloned().collect(),
        models,
        settings: settings(&configuration, shape),
    };
    let worktrees = WorktreeSettings::of(&configuration)?;
    let api = providers::api(&configuration)?;
    let session_cli = configuration.text(&["executors", "task_tool", "session_cli"]).unwrap_or("claude").to_owned();
    let tiers = tiers(&configuration);
    let containers = containers(&configuration);
    Ok(Project { containers, secrets, tiers, catalog, adapters, worktrees, session_cli, api, notes })
}

/// `[router]`.
fn tiers(configuration: &Configuration) -> Tiers {
    let Tiers([cheap, standard, expensive]) = Tiers::default();
    let of = |key, usual: String| configuration.text(&["router", key]).map_or(usual, str::to_owned);
    Tiers([of("cheap", cheap), of("standard", standard), of("expensive", expensive)])
}

/// `[clis.*]` as the adapters want it.
pub fn clis(configuration: &Configuration) -> BTreeMap<String, CliConfig> {
    let config = |name| {
        let section = configuration.section("clis", name);
        let object: serde_json::Map<_, _> =
            section.into_iter().map(|(key, entry)| (key.to_owned(), executors::json(entry))).collect();
        serde_json::from_value(object.into()).expect("the key table admits what the adapters know")
    };
    configuration.names("clis").into_iter().map(|name| (name.to_owned(), config(name))).collect()
}

/// `[executors.container]`.
pub fn containers(configuration: &Configuration) -> ContainerConfig {
    let text = |key| configuration.text(&["executors", "container", key]).map(str::to_owned);
    let network = configuration.get(&["executors", "container", "network"]);
    ContainerConfig {
        runtime: text("runtime"),
        image: text("image"),
        network: network.is_some_and(|entry| matches!(entry.value, Value::Switch(true))),
    }
}

/// Why `isolation: container` cannot be provided here; `None` when it can.
pub fn no_containers(configuration: &Configuration) -> Option<String> {
    let demands = Demands { isolation: Isolation::Container, ..Demands::default() };
    raddle_executors::objection(&demands, &containers(configuration))
}

/// The adapters of all agent CLIs, built in and configured.
pub fn adapters(clis: &BTreeMap<String, CliConfig>) -> Result<Adapters, Problem> {
    Adapters::new(clis).map_err(|errors| {
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Problem::usage(told.join("; ")).hint("correct `[clis.*]` in the configuration")
    })
}

/// The effective caps.
pub fn settings(configuration: &Configuration, shape: &Shape) -> Settings {
    Settings {
        max_parallelism: configuration.count(&["dag_execution", "max_parallelism"], 13).0,
        max_local: max_local(configuration),
        max_processes: configuration.count(&["executors", "process", "max_processes"], 10).0,
        max_worktrees: configuration.count(&["executors", "worktree", "max_worktrees"], 5).0,
        max_parallel_flag: shape.max_parallel,
        lift_caps: shape.lift_caps,
        memory_limit_bytes: configuration
            .text(&["dag_execution", "resource_limits", "memory"])
            .and_then(raddle_model::quantity::size),
        cpu_limit: configuration.number(&["dag_execution", "resource_limits", "cpu"]),
    }
}

/// `[dag_execution] max_local`.
pub fn max_local(configuration: &Configuration) -> u32 {
    configuration.count(&["dag_execution", "max_local"], default_max_local()).0
}

/// Twice the cores that this process may use, at least 4.
fn default_max_local() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(cores * 2).unwrap_or(u32::MAX).max(4)
}

fn configured_agents(configuration: &Configuration, agents: &mut BTreeMap<String, AgentDefinition>) {
    for name in configuration.names("agents") {
        let agent = agents.entry(name.to_owned()).or_default();
        for (key, entry) in configuration.section("agents", name) {
            match (key, &entry.value) {
                ("cli", Value::Text(text)) => agent.cli = Some(text.clone()),
                ("model", Value::Text(text)) => agent.model = Some(text.clone()),
                ("system_prompt", Value::Text(text)) => agent.system_prompt = Some(text.clone()),
                ("description", Value::Text(text)) => agent.description = Some(text.clone()),
                ("skills", Value::List(items)) => agent.skills = items.clone(),
                ("tools", Value::List(items)) => agent.tools = Some(items.clone()),
                _ => unreachable!("the key table admits no other key or kind in [agents.{name}]: {key}"),
            }
        }
    }
}

fn configured_models(configuration: &Configuration, models: &mut BTreeMap<String, ModelEntry>) {
    for name in configuration.names("models") {
        // A new name starts as an expensive model without prices: fewer retries and an unknown cost are the safe side.
        let model = models.entry(name.to_owned()).or_insert(ModelEntry {
            tier: Tier::Expensive,
            input_usd_per_mtok: None,
            output_usd_per_mtok: None,
            cache_read_usd_per_mtok: None,
            cache_write_usd_per_mtok: None,
        });
        let path = |key| ["models", name, key];
        match configuration.text(&path("tier")) {
            Some("cheap") => model.tier = Tier::Cheap,
            Some(_) => model.tier = Tier::Expensive,
            None => {}
        }
        for (key, slot) in [
            ("input_usd_per_mtok", &mut model.input_usd_per_mtok),
            ("output_usd_per_mtok", &mut model.output_usd_per_mtok),
            ("cache_read_usd_per_mtok", &mut model.cache_read_usd_per_mtok),
            ("cache_write_usd_per_mtok", &mut model.cache_write_usd_per_mtok),
        ] {
            if let Some(price) = configuration.number(&path(key)) {
                *slot = Some(price);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{KEYS, Kind};

    #[test]
    fn the_key_table_and_the_adapters_agree() {
        for key in KEYS.iter().filter(|key| key.path[0] == "clis") {
            let values = match key.kind {
                Kind::List => vec![serde_json::json!(["x"])],
                Kind::Switch => vec![true.into()],
                Kind::Word(words) => words.iter().map(|word| (*word).into()).collect(),
                _ => vec!["x".into()],
            };
            for value in values {
                let section = serde_json::json!({ key.path[2]: value });
                assert!(serde_json::from_value::<CliConfig>(section).is_ok(), "{:?}", key.path);
            }
        }
    }
}
