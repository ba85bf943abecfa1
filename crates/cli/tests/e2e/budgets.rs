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
