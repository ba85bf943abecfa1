//! The page of configuration keys: the program's own table of keys with a sentence about each. It does not know how
//! files are read.

#[expect(dead_code, unreachable_pub, reason = "the table is wanted, not the way through it")]
#[path = "../../src/config/keys.rs"]
mod keys;

use keys::{Effect, KEYS, Kind};

use crate::{MADE, cell, page};

/// What each key is for, and its default.
const MEANINGS: &[(&str, &str, &str)] = &[
    ("dag_execution.max_parallelism", "13", "Agent tasks at once, and tool calls at once"),
    ("dag_execution.max_local", "2 x processors, at least 4", "Shell and code tasks at once"),
    ("dag_execution.optimization_mode", "balanced", "For workflows that do not say; only `balanced` is built"),
    ("dag_execution.resource_limits.memory", "", "What running tasks may declare together in `resources: {memory}`"),
    ("dag_execution.resource_limits.cpu", "", "What running tasks may declare together in `resources: {cpu}`"),
    ("executors.process.max_processes", "10", "Agent CLIs at once"),
    ("executors.process.output_format", "json", "How agent CLIs are read"),
    ("executors.container.runtime", "what is there", "Who makes containers; `bwrap` needs no image"),
    ("executors.container.image", "", "The image, for Docker and Podman"),
    ("executors.container.network", "false", "Whether containers have the machine's network"),
    ("executors.worktree.branch_prefix", "dag/", "Beginning of the names of branches"),
    ("executors.worktree.max_worktrees", "5", "Worktrees at once"),
    ("executors.worktree.auto_merge", "false", "Merge the branches when the run has succeeded"),
    (
        "executors.worktree.on_conflict",
        "stop",
        "What becomes of files that do not merge: `stop`, `ours`, `theirs`, each with `:PATTERN` for some paths only",
    ),
    ("executors.task_tool.session_cli", "claude", "The CLI whose session hosts tasks"),
    ("executors.api.model", "", "Model of tasks of executor `api` that name none"),
    (
        "executors.api.fallback",
        "",
        "Models that are tried in turn when a provider is at its limit, out of reach or out of order",
    ),
    ("executors.api.max_output_tokens", "8192", "The longest answer"),
    ("router.cheap", "haiku", "What `model: auto` takes for easy tasks"),
    ("router.standard", "sonnet", "What it takes for tasks between"),
    ("router.expensive", "opus", "What it takes for hard tasks"),
    ("providers.*.kind", "", "Protocol; a provider of your own needs it"),
    ("providers.*.base_url", "the kind's own", "Where its paths begin; with a key only https, or this machine"),
    (
        "providers.*.key_env",
        "`ANTHROPIC_API_KEY`, `OPENAI_API_KEY`, `GEMINI_API_KEY`; others none",
        "The environment variable that holds its key; empty: it wants none",
    ),
    ("providers.*.key", "", "`${secret:NAME}`: the secret that is its key, in the place of a variable"),
    ("secrets.*.env", "", "The environment variable that holds the secret"),
    ("secrets.*.file", "", "The file that holds it, from this file's folder; `~/` is the home folder"),
    ("secrets.*.command", "", "Program and arguments that print it; asked once for a run, for at most a minute"),
    (
        "secrets.*.pass_env",
        "",
        "Variables that the command gets besides `PATH`, `HOME`, `USER`, `TMPDIR`, `TERM`, `LANG` and `LC_*`",
    ),
    ("clis.*.like", "", "Called as the built-in CLI of that name"),
    ("clis.*.command", "", "Program and first arguments"),
    ("clis.*.extra_args", "", "Further arguments, after the adapter's own"),
    ("clis.*.prompt", "stdin", "How it gets its prompt"),
    ("clis.*.output", "text", "How its stdout is read"),
    ("clis.*.model_flag", "", "Option before the model's name; without one a task that names a model fails"),
    ("clis.*.system_prompt_flag", "", "Option before the system prompt; without one that text goes before the prompt"),
    ("clis.*.schema_flag", "", "Option before the JSON Schema; without one only the answer is checked"),
    ("clis.*.tools_flag", "", "Option before the comma-separated tools; without one a task with a list of tools fails"),
    ("clis.*.env", "", "Variables to hand on: names, or `PREFIX_*`; and `NAME=${secret:NAME}`"),
    ("clis.*.trust_project", "false", "`claude` only: obey settings, hooks and instructions of the project"),
    ("models.*.tier", "expensive", "Cheap models are retried 10 times by default, others 3 times"),
    ("models.*.provider", "by the name", "The provider that has it, for executor `api`"),
    ("models.*.id", "the name", "Its name there"),
    ("models.*.input_usd_per_mtok", "", "Price of a million tokens of input"),
    ("models.*.output_usd_per_mtok", "", "Price of a million tokens of output"),
    (
        "models.*.cache_read_usd_per_mtok",
        "a tenth of input",
        "Price of a million tokens read from the provider's cache",
    ),
    ("models.*.cache_write_usd_per_mtok", "1.25 x input", "Price of a million tokens written to it"),
    ("agents.*.cli", "claude", "Which agent CLI runs it"),
    ("agents.*.model", "", "Its model"),
    ("agents.*.skills", "", "Skills that every task of it gets"),
    ("agents.*.tools", "", "The tools that exist for it"),
    ("agents.*.system_prompt", "", "Its own system prompt"),
    ("agents.*.description", "", "What it is for"),
];

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Count => "whole number, at least 1".to_owned(),
        Kind::Size => "size, as in `8GB`".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Number => "number, at least 0".to_owned(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::List => "list of texts".to_owned(),
    }
}

#[test]
fn configuration_keys() {
    let mut text = format!(
        "{MADE}# Configuration keys\n\nProject: `raddle.toml` of the nearest ancestor of the current folder. User: \
         `$XDG_CONFIG_HOME/raddle/config.toml`, else `~/.config/raddle/config.toml`. Environment: `RADDLE_` and the \
         key's path in capitals, parts joined by `_`, as in `RADDLE_DAG_EXECUTION_MAX_PARALLELISM` (short: \
         `RADDLE_MAX_PARALLELISM`). Flags win over the environment, that over the project's file, that over the user's, \
         that over the default. `*` stands for a name of yours. A key that is not in this table is an error.\n\n\
         State is kept in `$RADDLE_HOME`, else `$XDG_STATE_HOME/raddle`, else `~/.local/state/raddle`.\n"
    );
    let known: Vec<String> = KEYS.iter().map(|key| key.path.join(".")).collect();
    let unknown: Vec<_> = MEANINGS.iter().filter(|(path, ..)| !known.iter().any(|k| k == path)).collect();
    assert!(unknown.is_empty(), "the program does not know these keys: {unknown:?}");
    let mut section = "";
    for key in KEYS {
        let path = key.path.join(".");
        if key.path[0] != section {
            section = key.path[0];
            text.push_str(&format!("\n## {section}\n\n| key | holds | default | meaning |\n|---|---|---|---|\n"));
        }
        let (_, default, meaning) = MEANINGS
            .iter()
            .find(|(known, ..)| *known == path)
            .unwrap_or_else(|| panic!("nothing is said about `{path}`: add it to MEANINGS"));
        let effect = match key.effect {
            Effect::Built => "",
            Effect::Unbuilt(_) => " (not built yet: refused)",
        };
        text.push_str(&format!("| `{path}` | {} | {} | {}{effect} |\n", kind(key.kind), cell(default), cell(meaning)));
    }
    page("configuration.md", &text);
}
