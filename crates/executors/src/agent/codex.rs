//! Codex: the command line of `codex exec` and the events it prints (`--json`, as measured with 0.169). It does not
//! know processes.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Conversation, CostIs, Failure, RawOutput, Usage};
use serde::Deserialize;

use super::stream::{End, Finished};
use super::{AgentCommand, AttachedFile, Slot, verdict};
use crate::json_text::is_json;

/// Who it is and how it reaches its provider.
const PASS_ENV: [&str; 11] = [
    "OPENAI_*",
    "CODEX_HOME",
    "CODEX_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The arguments, stdin and environment of a task. The CLI's own sandbox stays as it is configured (read-only by
/// default); a list of tools cannot be told to it, and a system prompt goes before the prompt.
pub(crate) fn arguments(work: &AgentWork, command: &mut AgentCommand) -> Result<(), Failure> {
    if work.tools.is_some() {
        let told = "codex cannot be told which tools it may use; leave the list out or use another agent CLI";
        return Err(Failure::new(FailureClass::Permission, told));
    }
    let argv = &mut command.argv;
    let mut add = |arguments: &[&str]| argv.extend(arguments.iter().map(|a| (*a).to_owned()));
    add(&["exec"]);
    if let Conversation::Fork(_) = work.conversation {
        add(&["fork"]);
    }
    // Without the setting it waits five seconds at its end for its statistics to be taken.
    add(&["--json", "--skip-git-repo-check", "-c", "analytics.enabled=false"]);
    if let Some(model) = &work.model {
        add(&["-m", model]);
    }
    if let Some(schema) = &work.schema {
        add(&["--output-schema", ""]);
        let bytes = schema.to_string().into_bytes();
        command.files.push(AttachedFile {
            place: Slot::Argument(argv.len() - 1),
            suffix: "schema.json",
            bytes,
            is_kept: false,
        });
    }
    if let Conversation::Fork(session) = &work.conversation {
        command.argv.push(session.id.clone());
    }
    // The prompt is on stdin.
    command.argv.push("-".to_owned());
    command.stdin = match &work.system_prompt {
        Some(system) if !system.trim().is_empty() => format!("{}\n\n{}", system.trim_end(), work.prompt).into_bytes(),
        _ => work.prompt.clone().into_bytes(),
    };
    command.pass_env.extend(PASS_ENV.map(str::to_owned));
    Ok(())
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    thread_id: Option<String>,
    #[serde(default)]
    item: Option<Item>,
    #[serde(default)]
    usage: Option<Tokens>,
    #[serde(default)]
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    command: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: u64,
    cached_input_tokens: u64,
    cache_write_input_tokens: u64,
    output_tokens: u64,
}

#[derive(Deserialize)]
struct Error {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Default)]
enum Turn {
    #[default]
    Open,
    Completed,
    Failed(String),
}

/// What the lines have said so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    session: Option<String>,
    answer: Option<String>,
    usage: Option<Usage>,
    turn: Turn,
}

impl Reader {
    /// Takes a line; what is not known is passed over.
    pub(crate) fn line(&mut self, bytes: &[u8], note: &mut Option<String>) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if !text.trim_start().starts_with('{') {
            return;
        }
        let Ok(line) = serde_json::from_str::<Line<'_>>(text) else { return };
        match (line.kind.as_ref(), line.item) {
            ("thread.started", _) => {
                self.session = line.thread_id.filter(|id| id.len() <= verdict::MAX_SESSION_BYTES);
            }
            ("turn.started", _) => self.turn = Turn::Open,
            ("item.started", Some(Item { command: Some(command), .. })) => *note = Some(command),
            ("item.completed", Some(item)) if item.kind == "agent_message" => {
                note.clone_from(&item.text);
                self.answer = item.text;
            }
            ("turn.completed", _) => {
                self.turn = Turn::Completed;
                self.usage = line.usage.map(|t| Usage {
                    // The provider counts what it read from its cache as input too.
                    input_tokens: t.input_tokens.saturating_sub(t.cached_input_tokens),
                    output_tokens: t.output_tokens,
                    cache_read_tokens: t.cached_input_tokens,
                    cache_write_tokens: t.cache_write_input_tokens,
                    cost_usd: None,
                    cost_is: CostIs::Unknown,
                });
            }
            ("turn.failed", _) => self.turn = Turn::Failed(line.error.map(|e| e.message).unwrap_or_default()),
            _ => {}
        }
    }

    /// The verdict: an answer only if the last turn was completed with a message and the process ended well.
    pub(crate) fn finish(self, end: &End<'_>) -> Finished {
        let result = match (self.turn, self.answer) {
            (Turn::Failed(words), _) => {
                let told = format!("the agent's turn failed: {}", verdict::cut(&words));
                Err(Failure::new(verdict::by_status(None, &words), told))
            }
            (Turn::Open, _) | (Turn::Completed, None) => Err(verdict::without_result(end)),
            (Turn::Completed, Some(text)) => match verdict::bad_exit(end) {
                Some(failure) => Err(failure),
                None if !end.schema => Ok(RawOutput::Text(text)),
                None if is_json(&text) => Ok(RawOutput::Json(text)),
                None => {
                    let told = format!("the agent's answer is no JSON: {}", verdict::cut(&text));
                    Err(Failure::new(FailureClass::Schema, told))
                }
            },
        };
        // The thread's sums run on when it is continued.
        let usage = match (self.usage, end.before) {
            (Some(total), Some(before)) => Some(since(total, before)),
            (usage, _) => usage,
        };
        Finished { result, usage, session: self.session, denials: Vec::new() }
    }
}

/// What came after `before`; sums that are smaller than it have been counted anew.
fn since(total: Usage, before: Usage) -> Usage {
    if total.input_tokens < before.input_tokens || total.output_tokens < before.output_tokens {
        return total;
    }
    Usage {
        input_tokens: total.input_tokens - before.input_tokens,
        output_tokens: total.output_tokens - before.output_tokens,
        cache_read_tokens: total.cache_read_tokens.saturating_sub(before.cache_read_tokens),
        cache_write_tokens: total.cache_write_tokens.saturating_sub(before.cache_write_tokens),
        ..total
    }
}
