//! What a workflow may name that is not in its own file: agents, skills, MCP servers, models, agent CLIs and the
//! effective configuration. Pure data; whoever fills it reads the files.

use std::collections::BTreeMap;

use crate::workflow::McpServer;

/// Everything known outside the workflow file.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// Agent definitions by name: built-in, `.claude/agents/*.md`, `[agents.*]` of the configuration.
    pub agents: BTreeMap<String, AgentDefinition>,
    /// Text of each skill by name.
    pub skills: BTreeMap<String, String>,
    /// Servers of `.mcp.json`.
    pub mcp_servers: BTreeMap<String, McpServer>,
    /// Names of the known agent CLIs.
    pub clis: Vec<String>,
    /// Prices and tiers, built-in and configured.
    pub models: ModelTable,
    /// Effective `[dag_execution]` and executor pools.
    pub settings: Settings,
}

/// One agent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AgentDefinition {
    /// Which CLI runs it; `claude` when absent.
    pub cli: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Skills that every task of it gets.
    pub skills: Vec<String>,
    /// Its tools.
    pub tools: Option<Vec<String>>,
    /// Its own system prompt.
    pub system_prompt: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// Caps with the name of the term each came from (for `bound_by`).
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[dag_execution] max_parallelism`, 13 by default.
    pub max_parallelism: u32,
    /// `[dag_execution] max_local`; default 2 x cores, at least 4.
    pub max_local: u32,
    /// `[executors.process] max_processes`, 10 by default.
    pub max_processes: u32,
    /// `--max-parallel`, over everything configured.
    pub max_parallel_flag: Option<u32>,
    /// `--parallel`: lift every configured cap to what the executors allow.
    pub lift_caps: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { max_parallelism: 13, max_local: 4, max_processes: 10, max_parallel_flag: None, lift_caps: false }
    }
}

/// Prices in US dollars per million tokens, and the tier that decides default retries.
#[derive(Debug, Clone, Default)]
pub struct ModelTable {
    /// Looked up by exact name first, then by the longest key contained in the name (`claude-haiku-4.5` is `haiku`).
    pub entries: BTreeMap<String, ModelEntry>,
}

/// One model or family.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelEntry {
    /// Cheap models are retried 10 times, others 3.
    pub tier: Tier,
    /// Price of input tokens; `None` is unknown.
    pub input_usd_per_mtok: Option<f64>,
    /// Price of output tokens.
    pub output_usd_per_mtok: Option<f64>,
    /// Price of cache reads; a tenth of input by default.
    pub cache_read_usd_per_mtok: Option<f64>,
    /// Price of cache writes; 1.25 of input by default.
    pub cache_write_usd_per_mtok: Option<f64>,
}

/// See [`ModelEntry::tier`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the contract's own words")]
pub enum Tier {
    Cheap,
    Expensive,
}
