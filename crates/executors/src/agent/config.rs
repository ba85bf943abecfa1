//! `[clis.NAME]` of the configuration as written. It does not know what is built in, except by name.

use std::fmt;

use serde::Deserialize;

/// One agent CLI as a user describes it. For a built-in name (or `like` one) only the keys given here change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CliConfig {
    /// Called as the built-in CLI of that name (a wrapper around it).
    pub like: Option<String>,
    /// Program and first arguments.
    pub command: Option<Vec<String>>,
    /// Further arguments, after the adapter's own.
    pub extra_args: Vec<String>,
    /// How it gets its prompt; `stdin` by default.
    pub prompt: Option<PromptBy>,
    /// How its stdout is read; `text` by default.
    pub output: Option<OutputBy>,
    /// Option before the model's name. Without one a task that names a model is refused.
    pub model_flag: Option<String>,
    /// Option before the system prompt. Without one that text goes before the prompt.
    pub system_prompt_flag: Option<String>,
    /// Option before the JSON Schema's text. Without one only the answer is checked.
    pub schema_flag: Option<String>,
    /// Option before the comma-separated tools. Without one a task with a list of tools is refused.
    pub tools_flag: Option<String>,
    /// Variables to hand on: names, or `PREFIX_*`.
    pub env: Vec<String>,
    /// Let the CLI obey the project's own settings (hooks, MCP servers, instructions). Only for checkouts whose
    /// every file is trusted to run commands.
    pub trust_project: bool,
}

/// How a prompt is passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PromptBy {
    /// On stdin, byte for byte.
    Stdin,
    /// As the last argument.
    Argument,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputBy {
    /// All of stdout is the answer, its last newline cut.
    Text,
    /// All of stdout is one JSON value, which is the answer.
    Json,
    /// The events of `claude -p --output-format stream-json`.
    ClaudeStream,
    /// The events of `codex exec --json`.
    CodexStream,
    /// The events of `gemini -o stream-json`.
    GeminiStream,
    /// The events of `opencode run --format json`.
    OpencodeStream,
}

/// A `[clis.NAME]` that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The CLI's name.
    pub cli: String,
    /// What is wrong, a lowercase fragment.
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent CLI `{}`: {}", self.cli, self.what)
    }
}

impl std::error::Error for ConfigError {}
