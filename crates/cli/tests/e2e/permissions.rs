//! Permissions at run time: what references bring is judged when the task starts, and every refusal can be read later.

use serde_json::Value;

use crate::place::Place;

#[test]
fn what_a_reference_brings_is_refused_and_told() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "permissions: { tools: ['Bash(echo *)'] }
tasks:
  - { id: a, run: [echo, touch] }
  - { id: fine, depends_on: [a], run: [echo, 'got $OUTPUT[a]; $(id)'] }
  - { id: b, depends_on: [a], run: ['$OUTPUT[a]', made] }
",
    );
    let ended = place.raddle(&["run", "wf.yaml", "--quiet", "--events", "-"]).exits(1);
    let events: Vec<Value> = ended.out.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
    let denied: Vec<&Value> = events.iter().filter(|event| event["type"] == "access_denied").collect();
    let [event] = denied.as_slice() else { panic!("one refusal: {denied:?}") };
    assert!(event["task"] == "b" && event["action"] == "start" && event["resource"] == "attempt 1", "{event}");
    assert!(event["rule"].as_str().is_some_and(|rule| rule.contains("tools: ")), "{event}");
    let document = place.show("last");
    assert_eq!(document["tasks"]["fine"]["output"], "got touch; $(id)");
    assert_eq!(document["tasks"]["b"]["error"]["class"], "permission");
    assert_eq!(document["tasks"]["b"]["attempts"], 1, "{document}");
    assert_eq!(place.text("made"), "");
    let logs = place.raddle(&["logs", "last", "b"]).exits(0).out;
    assert!(logs.contains("denied start attempt 1") && logs.contains("Bash(echo *)"), "{logs}");
    let logs: Value = serde_json::from_str(&place.raddle(&["logs", "last", "b", "--json"]).exits(0).out).expect("JSON");
    assert_eq!(logs[0]["stream"], "denied");
}

#[test]
fn an_agent_of_the_project_has_no_more_than_both_allow() {
    let place = Place::new();
    place.file(
        ".claude/agents/bird.md",
        "---\nname: bird\ntools: Read, Bash(git:*), mcp__git__log, Own\n---\nYou are a bird.\n",
    );
    place.file(".mcp.json", r#"{"mcpServers": {"git": {"command": "no-such-server"}}}"#);
    place.file(
        "wf.yaml",
        "tasks: [{ id: t, agent: bird, prompt: x, permissions: { tools: ['Bash(git log *)', 'git:*', Write] } }]\n",
    );
    let shown = place.raddle(&["perm", "explain", "wf.yaml", "t", "--json"]).exits(0).out;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["effective"]["tools"], serde_json::json!(["Bash(git log *)", "mcp__git__log"]));
}
