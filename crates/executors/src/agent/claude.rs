//! Claude Code: the command line of a headless task and the events it prints (`-p --output-format stream-json`, as
//! measured with 2.1). It does not know processes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Conversation, CostIs, Failure, RawOutput, Usage};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::stream::{Denial, End, Finished};
use super::{AgentCommand, AttachedFile, Slot, verdict};
use crate::json_text::is_json;

/// The CLI refuses a longer stdin.
const MAX_STDIN_BYTES: usize = 10 << 20;
/// Longer system prompts go into a file: one argument holds 128 KiB, all of them together not much more.
const MAX_INLINE_BYTES: usize = 32 << 10;
/// How the CLI says that an MCP server is of no use: it does not start, or wants a person to log in.
const BROKEN: [&str; 2] = ["failed", "needs-auth"];
/// Denials beyond this are not kept.
const MAX_DENIALS: usize = 1000;

/// Nothing is asked of a person, nothing is fetched that is not the answer, and failing calls end soon: trying again
/// is the run's business, with its own delays (by default a refused key would take three minutes and eleven calls).
/// A prompt may hold what other agents said, so `@path` in it must not open files.
const ENV: [(&str, &str); 4] = [
    ("CLAUDE_CODE_DISABLE_FILE_MENTIONS", "1"),
    ("CLAUDE_CODE_MAX_RETRIES", "2"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
];

/// Who it is and how it reaches its provider. What marks a session inside another one (`CLAUDECODE`,
/// `CLAUDE_CODE_SESSION_ID` …) is not here: the agent would take itself for a child.
const PASS_ENV: [&str; 20] = [
    "ANTHROPIC_*",
    "CLAUDE_CONFIG_DIR",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "MAX_THINKING_TOKENS",
    "API_TIMEOUT_MS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "SHELL",
    "XDG_CONFIG_HOME",
];

/// The arguments, stdin and environment of a task.
///
/// Without `trust_project` only the person's own settings count (`--setting-sources user --strict-mcp-config`): `-p`
/// asks nobody whether a folder is trusted, so hooks and MCP servers of a checkout would run at once. The price is
/// that the project's CLAUDE.md is not read by itself; what an agent must know belongs into its definition, its
/// skills or the prompt, where the plan shows it, or into a project that is declared trusted.
pub(crate) fn arguments(work: &AgentWork, trust_project: bool, command: &mut AgentCommand) -> Result<(), Failure> {
    if work.prompt.len() > MAX_STDIN_BYTES {
        let told = format!("the prompt has {} bytes, and the agent CLI takes 10 MB at most", work.prompt.len());
        return Err(Failure::new(FailureClass::Input, told));
    }
    if work.prompt.trim().is_empty() {
        return Err(Failure::new(FailureClass::Input, "the prompt is empty"));
    }
    // Never an argument: it could be read as an option, and arguments are shorter than prompts.
    command.stdin = work.prompt.clone().into_bytes();
    let argv = &mut command.argv;
    let mut add = |arguments: &[&str]| argv.extend(arguments.iter().map(|a| (*a).to_owned()));
    add(&["-p", "--output-format", "stream-json", "--verbose", "--strict-mcp-config"]);
    add(&["--setting-sources", if trust_project { "user,project,local" } else { "user" }]);
    if let Conversation::Fork(session) = &work.conversation {
        // Otherwise a continued session keeps its first system prompt and takes no other.
        add(&["--resume", &session.id, "--fork-session", "--system-prompt-snapshot", "off"]);
    }
    if let Some(model) = &work.model {
        add(&["--model", model]);
    }
    if let Some(tools) = &work.tools {
        if let Some(bad) = tools.iter().find(|t| t.is_empty() || t.starts_with('-')) {
            return Err(Failure::new(FailureClass::Input, format!("`{bad}` is no tool's name")));
        }
        let mut exist: Vec<&str> = Vec::new();
        for tool in tools {
            // `Bash(git *)` grants a part of Bash; a tool of an MCP server is not built in.
            let name = tool.split('(').next().unwrap_or(tool).trim();
            if !name.starts_with("mcp__") && !exist.contains(&name) {
                exist.push(name);
            }
        }
        add(&["--tools", &exist.join(","), "--permission-mode", "dontAsk"]);
        if !tools.is_empty() {
            add(&["--allowedTools"]);
            tools.iter().for_each(|tool| add(&[tool]));
        }
    }
    if let Some(schema) = &work.schema {
        add(&["--json-schema", &schema.to_string()]);
    }
    match &work.system_prompt {
        Some(text) if text.len() > MAX_INLINE_BYTES => {
            add(&["--append-system-prompt-file", ""]);
            let file = AttachedFile {
                place: Slot::Argument(argv.len() - 1),
                suffix: "system.md",
                bytes: text.clone().into_bytes(),
                is_kept: false,
            };
            command.files.push(file);
        }
        Some(text) if !text.trim().is_empty() => add(&["--append-system-prompt", text]),
        _ => {}
    }
    command.env.extend(ENV.map(|(name, value)| (name.to_owned(), value.to_owned())));
    command.pass_env.extend(PASS_ENV.map(str::to_owned));
    Ok(())
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    parent_tool_use_id: Option<String>,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(default)]
    tool_use_id: Option<String>,
    #[serde(default)]
    mcp_servers: Vec<McpServer>,
}

#[derive(Deserialize)]
struct McpServer {
    #[serde(default)]
    name: String,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    name: Option<String>,
}

/// The last word of a turn. Every field may be missing: what proves an answer is looked for, not assumed.
#[derive(Debug, Deserialize)]
struct ResultLine {
    #[serde(default)]
    subtype: Option<String>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    structured_output: Option<Box<RawValue>>,
    #[serde(default)]
    terminal_reason: Option<String>,
    #[serde(default)]
    api_error_status: Option<Value>,
    #[serde(default)]
    errors: Option<Value>,
    #[serde(default)]
    usage: Option<Value>,
    #[serde(default)]
    total_cost_usd: Option<f64>,
    #[serde(default)]
    permission_denials: Option<Value>,
}

/// What the lines have said so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    session: Option<String>,
    /// Background tasks may make the CLI answer several times; the last result counts.
    result: Option<ResultLine>,
    denials: BTreeMap<String, Denial>,
    /// MCP servers that could not be used, of those that its task was given.
    broken: Vec<String>,
}

impl Reader {
    /// Takes a line. Fields and events are added to the CLI often: what is not known is passed over.
    pub(crate) fn line(&mut self, bytes: &[u8], note: &mut Option<String>) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if !text.trim_start().starts_with('{') {
            return;
        }
        let Ok(line) = serde_json::from_str::<Line<'_>>(text) else { return };
        if let Some(id) = line.session_id
            && id.len() <= verdict::MAX_SESSION_BYTES
        {
            self.session = Some(id);
        }
        match (line.kind.as_ref(), line.subtype.as_deref()) {
            // A subagent's words are not the agent's.
            ("assistant", _) if line.parent_tool_use_id.is_none() => {
                let message = line.message.and_then(|m| serde_json::from_str::<Message>(m.get()).ok());
                if let Some(block) = message.and_then(|mut m| m.content.pop()) {
                    *note = block.text.or(block.name.map(|tool| format!("uses {tool}")));
                }
            }
            ("system", Some("permission_denied")) => {
                let rule = line.message.and_then(|m| serde_json::from_str(m.get()).ok()).unwrap_or_default();
                self.denied(line.tool_use_id.unwrap_or_default(), line.tool_name, None, rule);
            }
            ("system", Some("init")) => {
                // The CLI goes on without them.
                let broken = line.mcp_servers.into_iter().filter(|server| BROKEN.contains(&&*server.status));
                self.broken = broken.map(|server| verdict::cut(&server.name).to_owned()).collect();
            }
            ("result", _) => {
                // An unreadable result must not let an earlier one stand for it.
                self.result = serde_json::from_str(text).ok();
                self.denials_of_result();
            }
            _ => {}
        }
    }

    fn denials_of_result(&mut self) {
        let Some(Value::Array(list)) = self.result.as_mut().and_then(|r| r.permission_denials.take()) else { return };
        for (n, item) in list.iter().enumerate() {
            let field = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
            let id = field("tool_use_id").unwrap_or_else(|| format!("#{n}"));
            self.denied(id, field("tool_name"), item.get("tool_input").map(resource), String::new());
        }
    }

    /// The event and the result tell of the same denial: one knows the rule, the other the input.
    fn denied(&mut self, id: String, tool: Option<String>, resource: Option<String>, rule: String) {
        if self.denials.len() >= MAX_DENIALS && !self.denials.contains_key(&id) {
            return;
        }
        let denial = self.denials.entry(id).or_insert_with(|| Denial {
            action: verdict::cut(&tool.unwrap_or_default()).to_owned(),
            resource: String::new(),
            rule: "permissions of the agent CLI".to_owned(),
        });
        if let Some(resource) = resource {
            denial.resource = resource;
        }
        if !rule.is_empty() {
            denial.rule = verdict::cut(&rule).to_owned();
        }
    }

    /// The verdict: an answer only if a result was seen, it is no error, and the process ended well.
    pub(crate) fn finish(self, end: &End<'_>) -> Finished {
        let usage = self.result.as_ref().and_then(|result| usage(result, end.before));
        let result = match self.result {
            None => Err(verdict::without_result(end)),
            Some(result) if result.is_error != Some(false) => Err(failure(&result, end)),
            Some(_) if !self.broken.is_empty() => {
                let told = format!(
                    "the agent had to do without its MCP servers: {} could not be used",
                    self.broken.join(", ")
                );
                Err(Failure::new(FailureClass::Tool, told))
            }
            Some(result) => verdict::bad_exit(end).map_or_else(|| answer(result, end), Err),
        };
        Finished { result, usage, session: self.session, denials: self.denials.into_values().collect() }
    }
}

fn answer(result: ResultLine, end: &End<'_>) -> Result<RawOutput, Failure> {
    if end.schema {
        return match result.structured_output {
            Some(json) if is_json(json.get()) => Ok(RawOutput::Json(json.get().to_owned())),
            _ => {
                let words = result.result.unwrap_or_default();
                let told = format!("the agent gave no structured output; it said: {}", verdict::cut(&words));
                Err(Failure::new(FailureClass::Schema, told))
            }
        };
    }
    match result.result {
        Some(text) => Ok(RawOutput::Text(text)),
        None => Err(Failure::new(FailureClass::Output, "the agent CLI's result holds no text")),
    }
}

fn failure(result: &ResultLine, end: &End<'_>) -> Failure {
    let errors = match &result.errors {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        _ => String::new(),
    };
    let words = result.result.as_deref().filter(|w| !w.is_empty()).unwrap_or(&errors);
    let subtype = result.subtype.as_deref().unwrap_or_default();
    let reason = result.terminal_reason.as_deref().unwrap_or_default();
    let status = match &result.api_error_status {
        Some(Value::String(text)) => text.parse().ok(),
        other => other.as_ref().and_then(Value::as_u64),
    };
    let (class, what) = match (subtype, reason) {
        ("error_max_turns", _) | (_, "max_turns") => (FailureClass::TurnLimit, "the agent's turns ran out".to_owned()),
        ("error_max_budget_usd", _) | (_, "budget_exhausted") => {
            (FailureClass::Budget, "the agent's own budget is spent".to_owned())
        }
        ("error_max_structured_output_retries", _) | (_, "structured_output_retry_exhausted") => {
            (FailureClass::Schema, "the agent never met the schema".to_owned())
        }
        (_, "prompt_too_long") => (FailureClass::Input, "the prompt is too long for the model".to_owned()),
        _ if result.is_error.is_none() => {
            return verdict::without_result(end);
        }
        ("success", _) | (_, "api_error") => {
            let shown = status.map_or(String::new(), |s| format!(" {s}"));
            (verdict::by_status(status, words), format!("the agent's provider answered with an error{shown}"))
        }
        _ => (verdict::by_status(None, &errors), format!("the agent ended with `{}`", verdict::cut(subtype))),
    };
    let words = verdict::cut(words);
    Failure::new(class, if words.is_empty() { what } else { format!("{what}: {words}") })
}

/// `usage` of the result; never a sum over messages, which repeat one another's numbers. Tokens are those of this
/// process, but the cost runs on over a continued session: what it was before is taken off.
fn usage(result: &ResultLine, before: Option<Usage>) -> Option<Usage> {
    let tokens = |name: &str| result.usage.as_ref().and_then(|u| u.get(name)).and_then(Value::as_u64);
    let total = result.total_cost_usd.filter(|c| c.is_finite() && *c >= 0.0);
    let cost_usd = match before {
        None => total,
        // A total that is smaller than what it continues has been counted anew.
        Some(before) => {
            let earlier = before.cost_usd;
            total.zip(earlier).map(|(total, earlier)| if total < earlier { total } else { total - earlier })
        }
    };
    if result.usage.is_none() && cost_usd.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens: tokens("input_tokens").unwrap_or(0),
        output_tokens: tokens("output_tokens").unwrap_or(0),
        cache_read_tokens: tokens("cache_read_input_tokens").unwrap_or(0),
        cache_write_tokens: tokens("cache_creation_input_tokens").unwrap_or(0),
        cost_usd,
        cost_is: if cost_usd.is_some() { CostIs::Reported } else { CostIs::Unknown },
    })
}

/// What a tool was to be used on.
fn resource(input: &Value) -> String {
    let named = ["file_path", "path", "notebook_path", "command", "url", "pattern"];
    let found = named.iter().find_map(|name| input.get(name).and_then(Value::as_str));
    let text = found.map_or_else(|| input.to_string(), str::to_owned);
    text.chars().take(500).collect()
}
