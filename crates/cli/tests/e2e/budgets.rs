//! Money as a user meets it: a run that ends for want of it, what resumes say then, and one that is given more. The agent
//! CLI is a program of ours that tells a price with every answer.

use serde_json::{Value, json};

use crate::place::Place;

/// Speaks like Claude Code, counts its calls and costs four cents each time.
const AGENT: &str = r#"#!/bin/sh
cat > /dev/null
echo call >> "$(dirname "$0")/calls"
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s","num_turns":1,"total_cost_usd":0.04,"usage":{"input_tokens":900,"output_tokens":100}}'
"#;

const FIVE: &str = "agents: { clerk: { cli: clerk } }
defaults: { timeout: 60s }
permissions: { cost_budget: 0.05 }
tasks:
  - { id: a, agent: clerk, prompt: x }
  - { id: b, agent: clerk, prompt: x, depends_on: [a] }
  - { id: c, agent: clerk, prompt: x, depends_on: [b] }
  - { id: d, agent: clerk, prompt: x, depends_on: [c] }
  - { id: e, run: [echo, free], depends_on: [d] }
";

fn with_paid_agent() -> Place {
    let place = Place::new();
    let agent = place.program("agent", AGENT);
    place.file("raddle.toml", format!("[clis.clerk]\nlike = \"claude\"\ncommand = [{agent:?}]\n"));
    place.file("wf.yaml", FIVE);
    place
}

fn calls(place: &Place) -> usize {
    place.text("calls").lines().count()
}

/// The budget of a run as documents tell it: the limit in dollars, dollars, tokens and agents spent.
fn books(document: &Value) -> Value {
    let budget = &document["budget"];
    assert_eq!(budget["held"]["usd"], 0.0, "nobody is alive: {budget}");
    let spent = &budget["spent"];
    json!([budget["limits"]["usd"], spent["usd"], spent["tokens"], spent["agents"]])
}

#[test]
fn a_run_that_ends_for_want_of_money_goes_on_with_more_and_nothing_is_forgotten() {
    let place = with_paid_agent();
    // Two calls of at most five cents fit into it; a third would not.
    let ended = place.raddle(&["run", "wf.yaml", "--budget", "0.10usd", "--json"]).exits(5).json();
    assert_eq!(ended["outcome"], "budget_exhausted", "{ended}");
    assert_eq!(books(&ended), json!([0.1, 0.08, 2000, 2]));
    assert_eq!(calls(&place), 2);
    let run = ended["run"].as_str().or(ended["id"].as_str()).expect("a run has an id").to_owned();

    // Without more money there is nothing to go on with.
    let again = place.raddle(&["resume", &run, "--json"]).exits(5);
    assert!(again.err.contains("--budget"), "{}", again.err);
    assert_eq!(books(&again.json()), json!([0.1, 0.08, 2000, 2]));
    let refused = place.raddle(&["resume", &run, "--budget", "0.08usd"]).exits(2);
    assert!(refused.err.contains("$0.08") && refused.err.contains("larger"), "{}", refused.err);
    assert_eq!(calls(&place), 2, "nobody was called meanwhile");

    // A little more pays for one more call: the amount is for the whole run.
    let further = place.raddle(&["resume", &run, "--budget", "0.13usd", "--json"]).exits(5).json();
    assert_eq!(books(&further), json!([0.13, 0.12, 3000, 3]));

    let done = place.raddle(&["resume", &run, "--budget", "1usd", "--json"]).exits(0).json();
    assert_eq!((done["outcome"].as_str(), calls(&place)), (Some("succeeded"), 4), "{done}");
    assert_eq!(books(&done), json!([1.0, 0.16, 4000, 4]));
    assert_eq!(done["usage"]["cost_usd"], 0.16, "{}", done["usage"]);
    assert_eq!(books(&place.show(&run)), books(&done), "whoever reads the journal counts the same");
    let outcomes: Vec<Value> = place.events(&run).iter().filter_map(|e| e.get("outcome").cloned()).collect();
    assert_eq!(outcomes, ["budget_exhausted", "budget_exhausted", "succeeded"]);
}

#[test]
fn recovering_after_a_budget_was_used_up_tells_of_the_run_that_could_go_on() {
    let place = with_paid_agent();
    let ended = place.raddle(&["run", "wf.yaml", "--budget", "0.10usd", "--json"]).exits(5).json();
    let run = ended["run"].as_str().expect("a run has a name");
    let anew = place.raddle(&["run", "wf.yaml", "--recover"]).exits(0);
    assert!(anew.err.contains(&format!("raddle resume {run} --budget")), "{}", anew.err);
    let again = place.raddle(&["run", "wf.yaml", "--recover"]).exits(0);
    assert!(!again.err.contains("--budget"), "a later run has succeeded: {}", again.err);
}

#[test]
fn a_provider_is_priced_by_the_configured_model_where_the_task_names_none() {
    let place = Place::new();
    let text = "defaults: { retry: { max: 0 } }\ntasks: [{ id: t, prompt: x, executor: api, agent: a }]\nagents: { a: { tools: [] } }";
    place.file("wf.yaml", text);
    place.file("raddle.toml", "[executors.api]\nmodel = \"nobody/knows\"\n[providers.nobody]\nkind = \"openai\"\n");
    let refused = place.raddle(&["run", "wf.yaml", "--budget", "1usd"]).exits(6);
    assert!(refused.err.contains("the price of model `nobody/knows` is not known"), "{}", refused.err);
    place.file("raddle.toml", "[executors.api]\nmodel = \"haiku\"\n");
    // It gets as far as the provider, for which there is no key.
    let ended = place.raddle(&["run", "wf.yaml", "--budget", "1usd"]).exits(1);
    assert!(ended.err.contains("ANTHROPIC_API_KEY"), "{}", ended.err);
}

#[test]
fn another_model_goes_on_when_the_retries_are_used_up() {
    let place = Place::new();
    let agent = place.program(
        "agent",
        r#"#!/bin/sh
cat > /dev/null
model=none
while [ $# -gt 0 ]; do [ "$1" = --model ] && model=$2; shift; done
echo "$model" >> "$(dirname "$0")/calls"
[ "$model" = opus ] && [ "$(grep -c opus "$(dirname "$0")/calls")" -ge 2 ] || exit 1
echo '{"type":"result","subtype":"success","is_error":false,"result":"done","session_id":"s","num_turns":1,"usage":{"input_tokens":1000000,"output_tokens":0}}'
"#,
    );
    place.file("raddle.toml", format!("[clis.clerk]\nlike = \"claude\"\ncommand = [{agent:?}]\n"));
    let text = |model: &str| {
        format!(
            "agents: {{ clerk: {{ cli: clerk }} }}\ntasks: [{{ id: t, agent: clerk, prompt: x, model: sonnet, \
             retry: {{ max: 1, initial: 10ms }}, on_exhausted: {{ model: {model} }} }}]"
        )
    };
    let document = place.run(&text("opus"), 0);
    assert_eq!(place.text("calls"), "sonnet\nsonnet\nopus\nopus\n");
    let run = document["run"].as_str().expect("a run has a name");
    let chosen: Vec<Value> = place.events(run).into_iter().filter(|e| e["type"] == "model_chosen").collect();
    assert_eq!(chosen.len(), 2, "{chosen:?}");
    assert!(chosen[0]["model"] == "opus" && chosen[0]["attempt"] == 3, "{chosen:?}");
    assert!(chosen[0]["reason"].as_str().is_some_and(|why| why.contains("sonnet are used up")), "{chosen:?}");
    let trace = place.raddle(&["trace", run]).exits(0).out;
    assert!(trace.lines().last().is_some_and(|line| line.contains("opus") && line.contains("on_exhausted")), "{trace}");
    let plan = place.raddle(&["plan", "wf.yaml", "--json"]).exits(0).json();
    assert_eq!(plan["tasks"][0]["model_when_exhausted"], "opus", "{plan}");
    place.file("wf.yaml", format!("permissions: {{ models: [sonnet] }}\n{}", text("opus")));
    let refused = place.raddle(&["run", "wf.yaml"]).exits(2);
    assert!(refused.err.contains("permission-denied"), "{}", refused.err);
    place.file("wf.yaml", "tasks: [{ id: t, run: 'false', on_exhausted: { model: opus } }]");
    assert!(place.raddle(&["run", "wf.yaml"]).exits(2).err.contains("only agent tasks have a model"));
}

#[test]
fn who_waits_for_declared_memory_is_told_so() {
    let place = Place::new();
    place.file("raddle.toml", "[dag_execution.resource_limits]\ncpu = 1.0\n");
    place.file(
        "wf.yaml",
        "tasks:
  - { id: a, run: 'touch here; while [ ! -e go ]; do sleep 0.05; done', resources: { cpu: 0.8 } }
  - { id: b, run: 'true', resources: { cpu: 0.8 } }
",
    );
    let live = place.start(&["run", "wf.yaml", "--json"]);
    let mut live = live;
    crate::place::until("the first task runs, or is refused", || live.has_ended() || place.work("here").exists());
    if live.has_ended() {
        println!("SKIPPED: nothing limits processors here");
        return;
    }
    let run = place.ps()[0]["run"].as_str().expect("a run has a name").to_owned();
    let why = place.raddle(&["why", &run, "b"]).exits(0).out;
    assert!(why.contains("resource_limits.cpu"), "{why}");
    place.file("go", "");
    live.ended().exits(0);
}
