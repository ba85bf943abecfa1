//! opencode: the command line of `opencode run` and the events it prints (`--format json`, as measured with 1.18). It
//! does not know processes.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Conversation, CostIs, Failure, Usage};
use serde::Deserialize;
use serde_json::Value;

use super::stream::{Denial, End, Finished};
use super::{AgentCommand, prose, verdict};

/// Who it is and how it reaches its provider. Which provider that is only its configuration knows, so keys in the
/// environment are named by the usual ones; `env` of `[clis.opencode]` adds others.
const PASS_ENV: [&str; 15] = [
    "OPENCODE_*",
    "ANTHROPIC_*",
    "OPENAI_*",
    "GEMINI_API_KEY",
    "OPENROUTER_API_KEY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_CACHE_HOME",
];

/// Denials beyond this are not kept.
const MAX_DENIALS: usize = 1000;

/// The arguments, stdin and environment of a task. It has no option for a schema: that goes before the prompt and only
/// the answer is checked.
pub(crate) fn arguments(work: &AgentWork, trust_project: bool, command: &mut AgentCommand) -> Result<(), Failure> {
    if work.tools.is_some() {
        let told = "opencode cannot be told which tools it may use; leave the list out or use another agent CLI";
        return Err(Failure::new(FailureClass::Permission, told));
    }
    if work.prompt.trim().is_empty() {
        return Err(Failure::new(FailureClass::Input, "the prompt is empty"));
    }
    let mut add = |arguments: &[&str]| command.argv.extend(arguments.iter().map(|a| (*a).to_owned()));
    // Without a title it asks the model for one.
    add(&["run", "--format", "json", "--title", "raddle"]);
    if let Some(model) = &work.model {
        add(&["-m", model]);
    }
    if let Conversation::Fork(session) = &work.conversation {
        add(&["-s", &session.id, "--fork"]);
    }
    command.stdin = prose::with_preface(work, work.schema.as_ref()).into_bytes();
    let mut set = |name: &str| command.env.push((name.to_owned(), "1".to_owned()));
    set("OPENCODE_DISABLE_AUTOUPDATE");
    set("OPENCODE_DISABLE_SHARE");
    if !trust_project {
        // Plugins and MCP servers of a checkout would run at once.
        set("OPENCODE_DISABLE_PROJECT_CONFIG");
    }
    command.pass_env.extend(PASS_ENV.map(str::to_owned));
    Ok(())
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(default, rename = "sessionID")]
    session: Option<String>,
    #[serde(default)]
    part: Option<Part>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Part {
    text: Option<String>,
    tool: Option<String>,
    state: Option<State>,
    reason: Option<String>,
    tokens: Option<Tokens>,
    cost: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct State {
    status: String,
    input: Value,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache: Cache,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Cache {
    read: u64,
    write: u64,
}

/// What the lines have said so far.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    session: Option<String>,
    /// Words of the last step.
    answer: prose::Answer,
    /// How the last step ended; `None` while one is open.
    reason: Option<String>,
    usage: Option<Usage>,
    error: Option<(Option<u64>, String)>,
    denials: Vec<Denial>,
}

impl Reader {
    /// Takes a line; what is not known is passed over.
    pub(crate) fn line(&mut self, bytes: &[u8], note: &mut Option<String>) {
        let Some(line) = verdict::object(bytes).and_then(|text| serde_json::from_str::<Line<'_>>(text).ok()) else {
            return;
        };
        if let Some(id) = line.session.filter(|id| id.len() <= verdict::MAX_SESSION_BYTES) {
            self.session = Some(id);
        }
        let part = line.part.unwrap_or_default();
        match line.kind.as_ref() {
            "step_start" => {
                self.answer.clear();
                self.reason = None;
            }
            "text" => {
                note.clone_from(&part.text);
                self.answer.add(&part.text.unwrap_or_default());
            }
            "tool_use" => self.tool(part, note),
            "step_finish" => {
                self.count(part.tokens.unwrap_or_default(), part.cost);
                self.reason = Some(part.reason.unwrap_or_default());
            }
            "error" => self.error = line.error.map(|error| told(&error)),
            _ => {}
        }
    }

    fn tool(&mut self, part: Part, note: &mut Option<String>) {
        let tool = part.tool.unwrap_or_default();
        *note = Some(format!("uses {tool}"));
        let Some(state) = part.state.filter(|state| state.status == "error") else { return };
        let words = state.error.unwrap_or_default();
        if words.contains("rejected permission") && self.denials.len() < MAX_DENIALS {
            let named = ["filePath", "path", "command", "url", "pattern"];
            let found = named.iter().find_map(|name| state.input.get(name).and_then(Value::as_str));
            let resource = found.map_or_else(|| state.input.to_string(), str::to_owned);
            self.denials.push(Denial {
                action: verdict::cut(&tool).to_owned(),
                resource: resource.chars().take(500).collect(),
                rule: verdict::cut(&words).to_owned(),
            });
        }
    }

    /// Every step tells its own.
    fn count(&mut self, tokens: Tokens, cost: Option<f64>) {
        let sum = self.usage.get_or_insert_default();
        sum.input_tokens += tokens.input;
        sum.output_tokens += tokens.output + tokens.reasoning;
        sum.cache_read_tokens += tokens.cache.read;
        sum.cache_write_tokens += tokens.cache.write;
        // A model whose price it does not know costs it 0.
        if let Some(cost) = cost.filter(|cost| cost.is_finite() && *cost > 0.0) {
            sum.cost_usd = Some(sum.cost_usd.unwrap_or(0.0) + cost);
            sum.cost_is = CostIs::Reported;
        }
    }

    /// The verdict: an answer only if the last step ended as one does and the process ended well.
    pub(crate) fn finish(self, end: &End<'_>) -> Finished {
        let done = matches!(self.reason.as_deref(), Some("stop" | "unknown" | "other")) && !self.answer.is_empty();
        let result = if let Some((status, words)) = self.error {
            let told = format!("the agent's turn failed: {}", verdict::cut(&words));
            Err(Failure::new(verdict::by_status(status, &words), told))
        } else if done {
            match verdict::bad_exit(end) {
                Some(failure) => Err(failure),
                None => self.answer.output(end.schema),
            }
        } else if let (Some(denial), true) = (self.denials.last(), self.reason.as_deref() == Some("tool-calls")) {
            // It ends at a denial, well and without a word.
            let told = format!("the agent ended when `{}` was denied on {}", denial.action, denial.resource);
            Err(Failure::new(FailureClass::Permission, told))
        } else {
            Err(verdict::without_result(end))
        };
        Finished { result, usage: self.usage, session: self.session, denials: self.denials }
    }
}

fn told(error: &Value) -> (Option<u64>, String) {
    let data = &error["data"];
    let words = data["message"].as_str().or(error["message"].as_str()).or(error["name"].as_str());
    (data["statusCode"].as_u64(), words.map_or_else(|| error.to_string(), str::to_owned))
}
