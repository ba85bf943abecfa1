//! The four agent CLIs that are built in, each through the same stories: an answer, a schema, a continued conversation,
//! a refused key, a limit, a denial, a timeout, a kill. The model behind them is scripted.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::partners::{self, Model, skipped};
use crate::place::{Place, until};
use crate::processes::{self, children};

/// What the scripted model says, whoever asks.
fn rules() -> Value {
    json!([
        {"when": {"first": "REFUSED-KEY"}, "status": 401, "error": "authentication_error", "message": "invalid x-api-key"},
        {"when": {"first": "AT-THE-LIMIT"}, "status": 429, "error": "rate_limit_error", "message": "slow down",
         "headers": {"retry-after": "0"}},
        {"when": {"first": "TOO-SLOW"}, "reply": [{"text": "late"}], "delay_ms": 120_000},
        {"when": {"first": "COUNT-THEM", "tool": "StructuredOutput", "turn": 0},
         "reply": [{"tool": "StructuredOutput", "input": {"n": 7}}]},
        {"when": {"first": "COUNT-THEM"}, "reply": [{"text": "{\"n\": 7}"}]},
        {"when": {"first": "REMEMBER-PLUM", "turn": 1}, "reply": [{"text": "it was PLUM"}]},
        {"when": {"first": "WHICH-WORD"}, "reply": [{"text": "which word?"}]},
        {"when": {"first": "REMEMBER-PLUM"}, "reply": [{"text": "I will"}]},
    ])
}

/// A place where the four are found and talk to the scripted model.
fn with_all() -> Result<(Place, Model), String> {
    let mut place = Place::new();
    for folder in partners::node()?.iter().rev() {
        place.look_in(folder);
    }
    let model = Model::of_any_provider(&place, &rules())?;
    let url = model.url.clone();
    let home = |name: &str, text: String| place.file(&format!("../home/{name}"), text);
    home(
        ".codex/config.toml",
        format!(
            "model = \"gpt-5-stub\"\nmodel_provider = \"stub\"\n[model_providers.stub]\nname = \"stub\"\n\
             base_url = \"{url}/v1\"\nenv_key = \"OPENAI_STUB_KEY\"\nwire_api = \"responses\"\n\
             request_max_retries = 1\nstream_max_retries = 1\n"
        ),
    );
    let settings = json!({"security": {"auth": {"selectedType": "gemini-api-key"}},
        "privacy": {"usageStatisticsEnabled": false}, "general": {"maxAttempts": 1}});
    home(".gemini/settings.json", settings.to_string());
    let provider = json!({"model": "stub/m1", "small_model": "stub/m1", "provider": {"stub": {
        "npm": "@ai-sdk/openai-compatible", "options": {"baseURL": format!("{url}/v1"), "apiKey": "x"},
        "models": {"m1": {"name": "m1"}}}}});
    place
        .variable("ANTHROPIC_BASE_URL", &url)
        .variable("ANTHROPIC_API_KEY", "not-a-key")
        .variable("OPENAI_STUB_KEY", "not-a-key")
        .variable("GEMINI_API_KEY", "not-a-key")
        .variable("GOOGLE_GEMINI_BASE_URL", &url)
        .variable("OPENCODE_CONFIG_CONTENT", provider.to_string())
        .variable("OPENCODE_DISABLE_MODELS_FETCH", "1")
        .variable("OPENCODE_DISABLE_DEFAULT_PLUGINS", "1");
    place.file("raddle.toml", "[clis.gemini]\ntrust_project = true\n");
    Ok((place, model))
}

/// What differs between them.
struct Habits {
    cli: &'static str,
    model: &'static str,
    /// A session can be continued without changing it.
    forks: bool,
    /// It gives up at a limit by itself, soon.
    tells_limits: bool,
    /// What a model says to have something denied, and whether the answer comes all the same.
    denied: Option<(&'static str, bool)>,
}

const CLAUDE: Habits = Habits {
    cli: "claude",
    model: "sonnet",
    forks: true,
    tells_limits: true,
    denied: Some((r#"[{"tool": "Write", "input": {"file_path": "x", "content": "y"}}], "went on""#, true)),
};
const CODEX: Habits = Habits { cli: "codex", model: "gpt-5-stub", forks: true, tells_limits: true, denied: None };
const GEMINI: Habits =
    Habits { cli: "gemini", model: "gemini-2.5-pro", forks: false, tells_limits: true, denied: None };
const OPENCODE: Habits = Habits {
    cli: "opencode",
    model: "stub/m1",
    forks: true,
    tells_limits: false,
    denied: Some((r#"[{"tool": "read", "input": {"filePath": "/etc/hostname"}}], "went on""#, false)),
};

fn tells_its_stories(habits: &Habits) {
    let Habits { cli, model, .. } = habits;
    let (place, calls) = match with_all() {
        Ok(made) => made,
        Err(why) => return skipped(cli, &why),
    };
    // One comes first: opencode makes its database when it first runs, and two that do so at once disturb each other.
    let mut tasks = format!(
        "agents: {{ it: {{ cli: {cli}, model: {model} }} }}
defaults: {{ timeout: 100s, retry: {{ max: 0 }} }}
tasks:
  - {{ id: word, agent: it, prompt: 'REMEMBER-PLUM @secret.txt' }}
  - {{ id: which, agent: it, prompt: 'WHICH-WORD', depends_on: [word], context: {{ resume: word }}, inputs: [] }}
  - {{ id: fresh, agent: it, prompt: 'WHICH-WORD', depends_on: [word], inputs: [] }}
  - {{ id: count, agent: it, depends_on: [word], inputs: [], prompt: 'COUNT-THEM', output_schema: {{ type: object, required: [n] }} }}
  - {{ id: key, agent: it, depends_on: [word], inputs: [], prompt: 'REFUSED-KEY' }}
  - {{ id: slow, agent: it, depends_on: [word], inputs: [], prompt: 'TOO-SLOW', timeout: 15s }}
"
    );
    if habits.tells_limits {
        tasks.push_str("  - { id: limit, agent: it, depends_on: [word], inputs: [], prompt: 'AT-THE-LIMIT' }\n");
    }
    if let Some((script, _)) = habits.denied {
        tasks.push_str(&format!(
            "  - {{ id: denied, agent: it, depends_on: [word], inputs: [], prompt: 'Go on. @stub[{script}]@' }}\n"
        ));
    }
    place.file("secret.txt", "SECRET-99");
    let document = place.run(&tasks, 1);
    let task = |id: &str| &document["tasks"][id];
    let class = |id: &str| task(id)["error"]["class"].clone();
    assert_eq!(task("word")["output"], "I will", "{}", task("word"));
    assert_eq!(task("fresh")["output"], "which word?", "{}", task("fresh"));
    assert_eq!(task("count")["output"], json!({"n": 7}), "{}", task("count"));
    assert_eq!((class("key"), class("slow")), (json!("auth"), json!("timeout")), "{} {}", task("key"), task("slow"));
    let tokens = |id: &str| task(id)["usage"]["input_tokens"].as_u64().unwrap_or_default();
    assert!(tokens("word") > 100, "{}", task("word"));
    if habits.forks {
        assert_eq!(task("which")["output"], "it was PLUM", "{}", task("which"));
        // A sum over the whole conversation would be about twice as much.
        assert!(tokens("which") < tokens("word") * 3 / 2, "{} {}", task("word"), task("which"));
    } else {
        assert_eq!(class("which"), "input", "{}", task("which"));
    }
    if habits.tells_limits {
        assert_eq!(class("limit"), "quota", "{}", task("limit"));
    }
    if let Some((_, goes_on)) = habits.denied {
        let events = place.events("last");
        assert!(events.iter().any(|e| e["type"].as_str().is_some_and(|t| t.contains("denied"))), "{events:?}");
        match goes_on {
            true => assert_eq!(task("denied")["output"], "went on"),
            false => assert_eq!(class("denied"), "permission", "{}", task("denied")),
        }
    }
    assert!(!calls.log().contains("SECRET-99"), "a prompt opened a file");
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn claude_tells_its_stories() {
    tells_its_stories(&CLAUDE);
}

#[test]
fn codex_tells_its_stories() {
    tells_its_stories(&CODEX);
}

#[test]
fn gemini_tells_its_stories() {
    tells_its_stories(&GEMINI);
}

#[test]
fn opencode_tells_its_stories() {
    tells_its_stories(&OPENCODE);
}

#[test]
fn a_killed_engine_leaves_none_of_them_behind() {
    let (place, model) = match with_all() {
        Ok(made) => made,
        Err(why) => return skipped("agents after kill -9", &why),
    };
    let mut workflow = "agents:\n".to_owned();
    for Habits { cli, model, .. } in [CLAUDE, CODEX, GEMINI, OPENCODE] {
        workflow.push_str(&format!("  a-{cli}: {{ cli: {cli}, model: {model} }}\n"));
    }
    workflow.push_str("tasks:\n");
    for Habits { cli, .. } in [CLAUDE, CODEX, GEMINI, OPENCODE] {
        workflow.push_str(&format!("  - {{ id: {cli}, agent: a-{cli}, prompt: TOO-SLOW, timeout: 300s }}\n"));
    }
    place.file("wf.yaml", workflow);
    let mut live = place.start(&["run", "wf.yaml"]);
    until("all four wait for the model", || model.log().matches("TOO-SLOW").count() >= 4);
    let engine = children(children(live.pid())[0])[0];
    processes::signal(engine, Signal::KILL);
    live.child.wait().expect("the front ends");
    until("all agents are gone", || processes::mentioning(place.root()).is_empty());
    assert_eq!(place.ps()[0]["outcome"], "interrupted");
}
