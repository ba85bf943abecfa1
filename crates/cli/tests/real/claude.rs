//! Claude Code itself as an agent: answers, figures, failures, ends. The model behind it is scripted; a prompt may carry
//! what the model says to it.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::partners::{self, Model, skipped};
use crate::place::{Place, until};
use crate::processes::{self, children};

/// A place where `claude` is found and talks to the scripted model.
pub(crate) fn with_claude(rules: &Value) -> Result<(Place, Model), String> {
    let mut place = Place::new();
    for folder in partners::node()?.iter().rev() {
        place.look_in(folder);
    }
    let model = Model::start(&place, rules)?;
    let url = model.url.clone();
    place.variable("ANTHROPIC_BASE_URL", url).variable("ANTHROPIC_API_KEY", "not-a-key");
    Ok((place, model))
}

macro_rules! or_skip {
    ($made:expr, $what:literal) => {
        match $made {
            Ok(made) => made,
            Err(why) => return skipped($what, &why),
        }
    };
}
pub(crate) use or_skip;

/// An agent at work: its Bash tool writes on and on.
const AT_WORK: &str = "agents: { worker: { cli: claude, tools: [Bash] } }
tasks:
  - id: busy
    agent: worker
    timeout: 12s
    retry: { max: 0 }
    prompt: 'Work. @stub[[{\"tool\": \"Bash\", \"input\": {\"command\": \"while true; do echo x >> beat; sleep 0.05; done\"}}], \"done\"]@'
";

#[test]
fn two_tasks_of_a_real_agent_and_their_figures() {
    let rules = json!([
        {"when": {"first": "FIRST"}, "reply": [{"text": "forty-two"}], "usage": {"input_tokens": 1100, "output_tokens": 70}},
        {"when": {"first": "SECOND.*forty-two"}, "reply": [{"text": "so it is forty-two"}], "usage": {"input_tokens": 2200, "output_tokens": 30}},
    ]);
    let (place, model) = or_skip!(with_claude(&rules), "two tasks of a real agent");
    let document = place.run(
        "defaults: { timeout: 100s, model: sonnet }
tasks:
  - { id: one, prompt: 'FIRST: what is the answer?' }
  - { id: two, depends_on: [one], prompt: 'SECOND: confirm $OUTPUT[one].' }
",
        0,
    );
    assert_eq!(document["outputs"], json!({"two": "so it is forty-two"}));
    let figures = |id: &str| {
        let task = &document["tasks"][id];
        (
            task["usage"]["input_tokens"].clone(),
            task["usage"]["output_tokens"].clone(),
            task["usage"]["cost_is"].clone(),
        )
    };
    assert_eq!(figures("one"), (json!(1100), json!(70), json!("reported")));
    assert_eq!(figures("two"), (json!(2200), json!(30), json!("reported")));
    let cost = |value: &Value| value["usage"]["cost_usd"].as_f64().expect("a number");
    let sum = cost(&document["tasks"]["one"]) + cost(&document["tasks"]["two"]);
    assert!(cost(&document["tasks"]["one"]) > 0.0 && (cost(&document) - sum).abs() < 1e-9, "{}", document["usage"]);
    let calls = model.calls();
    assert_eq!(calls.len(), 2, "one request for a task: {calls:?}");
    assert!(calls.iter().all(|call| call["model"].as_str().is_some_and(|m| m.contains("sonnet"))), "{calls:?}");
    assert!(calls.iter().all(|call| call["headers"]["x-api-key"] == "set" || call["headers"]["X-Api-Key"] == "set"));
}

#[test]
fn a_schema_is_met_or_the_task_fails() {
    let rules = json!([
        {"when": {"first": "GOOD", "tool": "StructuredOutput", "turn": 0}, "reply": [{"tool": "StructuredOutput", "input": {"n": 7}}]},
        {"when": {"first": "BAD"}, "reply": [{"text": "no, thanks"}]},
    ]);
    let (place, _model) = or_skip!(with_claude(&rules), "a real agent's structured output");
    let document = place.run(
        "defaults: { timeout: 100s, retry: { max: 0 } }
tasks:
  - { id: good, prompt: 'GOOD', output_schema: { type: object, required: [n], properties: { n: { type: integer } } } }
  - { id: bad, prompt: 'BAD', output_schema: { type: object, required: [n], properties: { n: { type: integer } } } }
",
        1,
    );
    assert_eq!(document["tasks"]["good"]["output"], json!({"n": 7}));
    assert_eq!(document["tasks"]["bad"]["error"]["class"], "schema");
}

#[test]
fn failures_of_the_provider_are_told_apart() {
    let rules = json!([
        {"when": {"first": "KEY"}, "status": 401, "error": "authentication_error", "message": "invalid x-api-key"},
        {"when": {"first": "LIMIT"}, "status": 429, "error": "rate_limit_error", "message": "slow down", "headers": {"retry-after": "0"}},
    ]);
    let (place, model) = or_skip!(with_claude(&rules), "failures of a real agent's provider");
    let document = place.run(
        "defaults: { timeout: 100s, retry: { max: 0 } }
tasks:
  - { id: key, prompt: 'KEY' }
  - { id: limit, prompt: 'LIMIT' }
  - { id: behind, depends_on: [key], prompt: 'FINE' }
",
        1,
    );
    let class = |id: &str| document["tasks"][id]["error"]["class"].clone();
    assert_eq!((class("key"), class("limit")), (json!("auth"), json!("quota")), "{}", document["tasks"]);
    assert_eq!(document["tasks"]["behind"]["state"], "blocked");
    assert!(model.calls().len() <= 8, "it does not try for minutes: {}", model.calls().len());
}

#[test]
fn a_timeout_ends_the_agent_and_what_its_tools_started() {
    let (place, _model) = or_skip!(with_claude(&json!([])), "the timeout of a real agent");
    place.file("wf.yaml", AT_WORK);
    let ended = place.raddle(&["run", "wf.yaml", "--json"]).exits(1);
    assert_eq!(ended.json()["tasks"]["busy"]["error"]["class"], "timeout");
    assert_eq!(processes::mentioning(place.root()), []);
    let before = place.text("beat").len();
    assert!(before > 0, "its tool was at work before the time was over");
    assert!(ended.wall < Duration::from_secs(60), "{:?}", ended.wall);
    assert_eq!(place.text("beat").len(), before);
}

#[test]
fn a_killed_engine_leaves_no_agent_behind() {
    let (place, model) = or_skip!(with_claude(&json!([])), "a real agent after kill -9");
    place.file("wf.yaml", AT_WORK.replace("timeout: 12s", "timeout: 300s"));
    let mut live = place.start(&["run", "wf.yaml"]);
    until("the agent's tool is at work", || place.text("beat").len() > 20);
    let engine = children(children(live.pid())[0])[0];
    processes::signal(engine, Signal::KILL);
    live.child.wait().expect("the front ends");
    until("agent and tool are gone", || processes::mentioning(place.root()).is_empty());
    assert_eq!(place.ps()[0]["outcome"], "interrupted");
    // Whoever has effects is not started again unasked.
    let calls = model.calls().len();
    place.raddle(&["resume", "last"]).exits(6);
    assert_eq!(model.calls().len(), calls);
}

#[test]
fn a_confined_agent_works_keeps_its_conversation_and_reaches_nothing_else() {
    let (place, model) = or_skip!(with_claude(&json!([])), "a confined real agent");
    let at_home = place.root().join("home/precious");
    std::fs::write(&at_home, "hidden-words").expect("a file can be written");
    place.file("in", "text");
    place.file("secret", "hidden-words");
    let says = |script: &Value| format!("Go on. @stub{}@", json!([[script], "{{last}}"]));
    let shell =
        format!("cat in secret {0}; echo made > out/made; echo > not; echo > $TMPDIR/t && echo own", at_home.display());
    let read = |name: &str| says(&json!({"tool": "Read", "input": {"file_path": place.work(name)}}));
    let workflow = json!({
        "permissions": {"tools": ["Read", "Bash"], "paths": {"read": ["./**"], "write": ["./out/**"]}, "deny": ["./secret"]},
        "defaults": {"timeout": "100s", "retry": {"max": 0}},
        "tasks": [
            {"id": "works", "prompt": says(&json!({"tool": "Bash", "input": {"command": format!("{shell}; true")}}))},
            {"id": "reads", "prompt": read("in"), "depends_on": ["works"], "inputs": []},
            {"id": "denied", "prompt": read("secret"), "depends_on": ["reads"], "inputs": []},
            {"id": "again", "prompt": "RESUMED, by the script of the first message", "depends_on": ["works", "denied"], "inputs": [], "context": {"resume": "works"}},
        ],
    });
    place.file("wf.yaml", workflow.to_string());
    if let Some(why) = place.unheld("wf.yaml", "works") {
        return skipped("a confined real agent", &why);
    }
    let document = place.run(&workflow.to_string(), 0);
    let said = |id: &str| document["tasks"][id]["output"].as_str().unwrap_or_default().to_owned();
    assert!(said("works").contains("text") && said("works").contains("own"), "{}", said("works"));
    assert!(said("reads").contains("text") && said("again").contains("RESUMED"), "{}", document["tasks"]);
    assert!(said("denied").contains("denied"), "{}", said("denied"));
    assert_eq!((&*place.text("out/made"), place.work("not").exists()), ("made\n", false));
    assert!(!model.log().contains("hidden-words"), "the model has seen what nobody may");
}
