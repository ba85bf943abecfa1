//! What a workflow may name that is not in its own file: agents, skills, MCP servers, models, agent CLIs and the
//! effective configuration. Pure data; whoever fills it reads the files.

use std::collections::{BTreeMap, BTreeSet};

use crate::mcp_server::{AgentTool, McpServer};
use crate::money::Money;

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
    /// Executors of agent tasks beyond the built-in ones.
    pub executors: Vec<String>,
    /// Names of the secrets that the configuration says where to get.
    pub secrets: BTreeSet<String>,
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
    /// The tool that does its work in the place of a CLI.
    pub mcp: Option<AgentTool>,
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
    /// `[executors.worktree] max_worktrees`, 5 by default.
    pub max_worktrees: u32,
    /// `--max-parallel`, over everything configured.
    pub max_parallel_flag: Option<u32>,
    /// `--parallel`: lift every configured cap to what the executors allow.
    pub lift_caps: bool,
    /// `[dag_execution.resource_limits] memory`, bytes: what running tasks may declare together.
    pub memory_limit_bytes: Option<u64>,
    /// `[dag_execution.resource_limits] cpu`.
    pub cpu_limit: Option<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            max_parallelism: 13,
            max_local: 4,
            max_processes: 10,
            max_worktrees: 5,
            max_parallel_flag: None,
            lift_caps: false,
            memory_limit_bytes: None,
            cpu_limit: None,
        }
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

/// Tokens of one call or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

/// Prices of one model per million tokens; `None` is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Prices {
    pub input: Option<Money>,
    pub output: Option<Money>,
    pub cache_read: Option<Money>,
    pub cache_write: Option<Money>,
}

impl Prices {
    /// What the tokens cost, rounded up once; `None` where a price that is needed is unknown or the sum too large.
    pub fn of(&self, tokens: Tokens) -> Option<Money> {
        let parts = [
            (tokens.input, self.input),
            (tokens.output, self.output),
            (tokens.cache_read, self.cache_read),
            (tokens.cache_write, self.cache_write),
        ];
        let mut sum: u128 = 0;
        for (count, price) in parts.into_iter().filter(|(count, _)| *count > 0) {
            sum = sum.checked_add(u128::from(count) * u128::from(price?.0))?;
        }
        u64::try_from(sum.div_ceil(1_000_000)).ok().map(Money)
    }

    /// Whether what a model reads and says can be priced at all.
    pub fn known(&self) -> bool {
        self.input.is_some() && self.output.is_some()
    }
}

/// Extra executions of a task on a cheap model.
const CHEAP_RETRIES: u32 = 10;
/// The same for every other model, known or not.
const OTHER_RETRIES: u32 = 3;

impl ModelTable {
    /// The entry of a model: by exact name, else by the longest key that is a word part of the name, so that
    /// `claude-haiku-4.5` is `haiku` and `gemini` is not `mini`.
    pub fn lookup(&self, model: &str) -> Option<&ModelEntry> {
        if let Some(entry) = self.entries.get(model) {
            return Some(entry);
        }
        let model = model.to_lowercase();
        let part = |key: &str| is_word_part(&key.to_lowercase(), &model);
        self.entries.iter().filter(|(key, _)| part(key)).max_by_key(|(key, _)| key.len()).map(|(_, entry)| entry)
    }

    /// What the tokens cost; `None` where a price that is needed is unknown.
    pub fn price(&self, model: &str, tokens: Tokens) -> Option<Money> {
        self.prices(model).of(tokens)
    }

    /// Prices of a model, as far as they are known.
    pub fn prices(&self, model: &str) -> Prices {
        let Some(entry) = self.lookup(model) else { return Prices::default() };
        let input = entry.input_usd_per_mtok;
        let price = |usd: Option<f64>| usd.and_then(Money::from_usd);
        Prices {
            input: price(input),
            output: price(entry.output_usd_per_mtok),
            cache_read: price(entry.cache_read_usd_per_mtok.or(input.map(|p| p * 0.1))),
            cache_write: price(entry.cache_write_usd_per_mtok.or(input.map(|p| p * 1.25))),
        }
    }

    /// Extra executions of an agent task that says nothing about retries.
    pub fn default_retries(&self, model: Option<&str>) -> u32 {
        match model.and_then(|model| self.lookup(model)).map(|entry| entry.tier) {
            Some(Tier::Cheap) => CHEAP_RETRIES,
            _ => OTHER_RETRIES,
        }
    }
}

pub(crate) fn is_word_part(key: &str, name: &str) -> bool {
    if key.is_empty() {
        return false;
    }
    name.match_indices(key).any(|(at, _)| {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        !letter(name[..at].chars().next_back()) && !letter(name[at + key.len()..].chars().next())
    })
}

impl Catalog {
    /// What is known where nothing is configured.
    pub fn builtin() -> Self {
        Catalog {
            agents: builtin_agents(),
            clis: BUILTIN_CLIS.iter().map(|cli| (*cli).to_owned()).collect(),
            models: builtin_models(),
            ..Catalog::default()
        }
    }
}

/// Executors of agent tasks that every installation has; tasks of other kinds are `local`.
pub const EXECUTORS: &[&str] = &["process", "worktree", "task_tool", "api"];

/// Agent CLIs that need no configuration.
pub const BUILTIN_CLIS: &[&str] = &["claude", "codex", "gemini", "opencode"];

/// Agents that need no definition: `general` and the roles that workflows name most. They differ by nothing but
/// their purpose: no prompt of ours is put before the user's.
pub fn builtin_agents() -> BTreeMap<String, AgentDefinition> {
    let roles = [
        ("general", "any task"),
        ("code-explorer", "reads a code base and reports"),
        ("requirements-analyst", "collects and orders requirements"),
        ("architect-supreme", "designs solutions"),
        ("coder", "writes code"),
        ("unit-tester", "writes tests"),
        ("test-runner", "runs tests and reports"),
    ];
    let definition = |purpose: &str| AgentDefinition { description: Some(purpose.to_owned()), ..Default::default() };
    roles.iter().map(|(name, purpose)| ((*name).to_owned(), definition(purpose))).collect()
}

/// Families of models with their tiers and, where they are public and stable, prices.
pub fn builtin_models() -> ModelTable {
    let families = [
        ("haiku", Tier::Cheap, Some((1.0, 5.0))),
        ("sonnet", Tier::Expensive, Some((3.0, 15.0))),
        ("opus", Tier::Expensive, Some((5.0, 25.0))),
        ("mini", Tier::Cheap, None),
        ("nano", Tier::Cheap, None),
        ("flash", Tier::Cheap, None),
        ("local", Tier::Cheap, None),
    ];
    let entry = |tier, price: Option<(f64, f64)>| ModelEntry {
        tier,
        input_usd_per_mtok: price.map(|p| p.0),
        output_usd_per_mtok: price.map(|p| p.1),
        cache_read_usd_per_mtok: None,
        cache_write_usd_per_mtok: None,
    };
    let entries = families.iter().map(|(name, tier, price)| ((*name).to_owned(), entry(*tier, *price)));
    ModelTable { entries: entries.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_word_parts() {
        let table = builtin_models();
        let tier = |name| table.lookup(name).map(|e| e.tier);
        assert_eq!(tier("claude-haiku-4.5"), Some(Tier::Cheap));
        assert_eq!(tier("gpt-5-mini"), Some(Tier::Cheap));
        assert_eq!(tier("gemini-2.5-flash"), Some(Tier::Cheap));
        assert_eq!(tier("gemini-2.5-pro"), None);
        assert_eq!(tier("mystery-model-1"), None);
        assert_eq!(tier("SONNET"), Some(Tier::Expensive));
        assert_eq!(table.default_retries(Some("haiku")), 10);
        assert_eq!(table.default_retries(Some("gemini-2.5-pro")), 3);
        assert_eq!(table.default_retries(None), 3);
    }

    #[test]
    fn prices() {
        let table = builtin_models();
        let tokens = Tokens { input: 3421, output: 1205, ..Tokens::default() };
        let cost = table.price("claude-sonnet-4.5", tokens).expect("sonnet has a price");
        assert_eq!(cost, Money(28_338_000));
        let cached = Tokens { cache_read: 1_000_000, cache_write: 1_000_000, ..Tokens::default() };
        let cost = table.price("sonnet", cached).expect("sonnet has a price");
        assert_eq!(cost, Money(4_050_000_000));
        assert_eq!(table.price("gpt-5-mini", tokens), None);
        assert_eq!(table.price("mystery", tokens), None);
    }
}
