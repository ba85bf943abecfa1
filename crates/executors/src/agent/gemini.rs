//! Gemini CLI: the command line of a headless task and the events it prints (`-o stream-json`, as measured with 0.61).
//! It does not know processes.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Conversation, CostIs, Failure, Usage};
use serde::Deserialize;

use super::stream::{End, Exit, Finished};
use super::{AgentCommand, AttachedFile, Slot, prose, verdict};

/// Of a longer stdin the CLI reads the beginning and says nothing.
const MAX_STDIN_BYTES: usize = 8 << 20;

/// Lowest layer of its settings: a person's own win. By default a refused call is repeated for minutes.
const DEFAULTS: &str = r#"{"general":{"maxAttempts":2,"enableAutoUpdate":false}}"#;

/// Who it is and how it reaches its provider.
const PASS_ENV: [&str; 11] = [
    "GEMINI_*",
    "GOOGLE_*",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The arguments, stdin and environment of a task.
///
/// A folder whose settings it obeys can make it run commands, so it runs only where the person has trusted the folder,
/// or with `trust_project`. It has no option for a schema: that goes before the prompt and only the answer is checked.
pub(crate) fn arguments(work: &AgentWork, trust_project: bool, command: &mut AgentCommand) -> Result<(), Failure> {
    if work.tools.is_some() {
        let told = "gemini cannot be told which tools it may use; leave the list out or use another agent CLI";
        return Err(Failure::new(FailureClass::Permission, told));
    }
    if let Conversation::Fork(_) = work.conversation {
        let told = "gemini continues a session only by changing it, so no other task can continue it from the same \
                    point; use another agent CLI, or let the prompt say what is to be known";
        return Err(Failure::new(FailureClass::Input, told));
    }
    let mut add = |arguments: &[&str]| command.argv.extend(arguments.iter().map(|a| (*a).to_owned()));
    add(&["-o", "stream-json"]);
    if trust_project {
        add(&["--skip-trust"]);
    }
    if let Some(model) = &work.model {
        add(&["-m", model]);
    }
    let prompt = inert(&prose::with_preface(work, work.schema.as_ref()));
    if prompt.len() > MAX_STDIN_BYTES {
        let told = format!("the prompt has {} bytes, and the agent CLI takes 8 MB at most", prompt.len());
        return Err(Failure::new(FailureClass::Input, told));
    }
    if prompt.trim().is_empty() {
        return Err(Failure::new(FailureClass::Input, "the prompt is empty"));
    }
    command.stdin = prompt.into_bytes();
    let place = Slot::Variable("GEMINI_CLI_SYSTEM_DEFAULTS_PATH");
    command.files.push(AttachedFile {
        place,
        suffix: ".gemini.json",
        bytes: DEFAULTS.as_bytes().to_vec(),
        is_kept: false,
    });
    // It would start itself once more with other limits of memory.
    command.env.push(("GEMINI_CLI_NO_RELAUNCH".to_owned(), "1".to_owned()));
    command.pass_env.extend(PASS_ENV.map(str::to_owned));
    Ok(())
}

/// `@path` would put the file into the prompt. There is no switch for that; a backslash is its own way to write an `@`
/// that means nothing, so that is what the model reads.
fn inert(prompt: &str) -> String {
    let mut text = String::with_capacity(prompt.len() + 16);
    let mut before = None;
    for (at, c) in prompt.char_indices() {
        let means_something = c == '@' && prompt[at + 1..].chars().next().is_some_and(|next| !next.is_whitespace());
        if means_something && before != Some('\\') {
            text.push('\\');
        }
        text.push(c);
        before = Some(c);
    }
    text
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(borrow, default)]
    role: Option<Cow<'a, str>>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    tool_name: Option<String>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(default)]
    error: Option<Error>,
    #[serde(default)]
    stats: Option<Stats>,
}

#[derive(Debug, Deserialize)]
struct Error {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stats {
    input_tokens: u64,
    output_tokens: u64,
    cached: u64,
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
    /// Words since the last tool was used.
    answer: prose::Answer,
    usage: Option<Usage>,
    turn: Turn,
}

impl Reader {
    /// Takes a line; what is not known is passed over.
    pub(crate) fn line(&mut self, bytes: &[u8], note: &mut Option<String>) {
        let Some(line) = verdict::object(bytes).and_then(|text| serde_json::from_str::<Line<'_>>(text).ok()) else {
            return;
        };
        match line.kind.as_ref() {
            "init" => self.session = line.session_id.filter(|id| id.len() <= verdict::MAX_SESSION_BYTES),
            "message" if line.role.as_deref() == Some("assistant") => {
                self.answer.add(&line.content.unwrap_or_default());
                *note = Some(self.answer.end().to_owned());
            }
            "tool_use" => {
                self.answer.clear();
                *note = line.tool_name.map(|tool| format!("uses {tool}"));
            }
            "result" => {
                self.usage = line.stats.map(|s| Usage {
                    input_tokens: s.input_tokens.saturating_sub(s.cached),
                    output_tokens: s.output_tokens,
                    cache_read_tokens: s.cached,
                    cache_write_tokens: 0,
                    cost_usd: None,
                    cost_is: CostIs::Unknown,
                });
                self.turn = match line.status.as_deref() {
                    Some("success") => Turn::Completed,
                    _ => Turn::Failed(line.error.map(|e| e.message).unwrap_or_default()),
                };
            }
            _ => {}
        }
    }

    /// The verdict: an answer only if the result says so and the process ended well.
    pub(crate) fn finish(self, end: &End<'_>) -> Finished {
        let result = match self.turn {
            Turn::Completed => match verdict::bad_exit(end) {
                Some(failure) => Err(failure),
                None if self.answer.is_empty() => Err(verdict::without_result(end)),
                None => self.answer.output(end.schema),
            },
            Turn::Failed(words) => {
                let class = class_of(end.exit).unwrap_or_else(|| verdict::by_status(None, &words));
                Err(Failure::new(class, format!("the agent's turn failed: {}", verdict::cut(&words))))
            }
            Turn::Open => Err(match class_of(end.exit) {
                Some(class) => Failure::new(class, verdict::without_result(end).message + hint(end.exit)),
                None => verdict::without_result(end),
            }),
        };
        Finished { result, usage: self.usage, session: self.session, denials: Vec::new() }
    }
}

/// Its exit status has numbers of its own, and else is the status of a failed call modulo 256.
fn class_of(exit: Exit) -> Option<FailureClass> {
    let Exit::Code(code) = exit else { return None };
    match code {
        41 => Some(FailureClass::Auth),
        42 => Some(FailureClass::Input),
        53 => Some(FailureClass::TurnLimit),
        55 => Some(FailureClass::Permission),
        144..=255 => Some(verdict::by_status(u64::try_from(code + 256).ok(), "")),
        _ => None,
    }
}

fn hint(exit: Exit) -> &'static str {
    match exit {
        Exit::Code(41) => "; log in with `gemini`, or set GEMINI_API_KEY",
        Exit::Code(55) => "; trust the folder in `gemini`, or set `trust_project = true` for it under `[clis.gemini]`",
        _ => "",
    }
}
