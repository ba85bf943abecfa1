//! `raddle perm explain` and what a run says of permissions before it starts anything.

use serde_json::Value;

use crate::kit::Place;

const FLOW: &str = "
permissions: {tools: [Read, 'Bash(ls *)'], deny: [./w/secrets/**], models: [haiku]}
agents: {reader: {tools: [Read, Grep]}}
tasks:
  - {id: agent, agent: reader, prompt: x, model: haiku, permissions: {paths: {read: [./w/**], write: []}}}
  - {id: shell, run: ls -l, depends_on: [agent]}
";

fn answer(place: &Place, task: &str, question: &str, code: i32) -> Value {
    let ended = place.raddle(&["perm", "explain", "wf.yaml", task, question, "--json"]).exits(code);
    serde_json::from_str(&ended.out).expect("one document")
}

#[test]
fn single_questions_are_answered_with_the_rule() {
    let place = Place::new();
    place.file("wf.yaml", FLOW).file("w/a", "a").file("w/secrets/k", "k").file("outside", "o");
    std::os::unix::fs::symlink("../outside", place.path("work/w/out")).expect("a link can be made");
    std::os::unix::fs::symlink("secrets/k", place.path("work/w/key")).expect("a link can be made");
    for (task, question, allowed, rule) in [
        ("agent", "Read(w/a)", true, "w/**"),
        ("agent", "Read(./w/../w/a)", true, "w/**"),
        ("agent", "Read(w/out)", false, "outside"),
        ("agent", "Read(w/key)", false, "deny"),
        ("agent", "Read(w/secrets/new)", false, "deny"),
        ("agent", "Read(w/../outside)", false, "paths.read"),
        ("agent", "Write(w/a)", false, "tools"),
        ("agent", "Grep(w/a)", false, "tools"),
        ("agent", "Bash(ls)", false, "tools"),
        ("agent", "Read", true, "Read"),
        ("shell", "Bash(ls -l)", true, "Bash(ls *)"),
        ("shell", "Bash(ls -l $(id))", false, "`$`"),
    ] {
        let said = answer(&place, task, question, if allowed { 0 } else { 6 });
        assert_eq!(said["allowed"], allowed, "{question}");
        assert!(said["rule"].as_str().is_some_and(|r| r.contains(rule)), "{question}: {said}");
    }
    let unclear = place.raddle(&["perm", "explain", "wf.yaml", "agent", "Levitate(x)"]).exits(2);
    assert!(unclear.err.contains("Read("), "{}", unclear.err);
    let nobody = place.raddle(&["perm", "explain", "wf.yaml", "nosuch"]).exits(2);
    assert!(nobody.err.contains("agent, shell"), "{}", nobody.err);
}

#[test]
fn a_grant_is_shown_with_who_holds_the_task_to_it() {
    let place = Place::new();
    place.file("wf.yaml", FLOW);
    let document = place.raddle(&["perm", "explain", "wf.yaml", "agent", "--json"]).exits(0);
    let document: Value = serde_json::from_str(&document.out).expect("one document");
    assert_eq!(document["effective"]["tools"], serde_json::json!(["Read"]));
    assert_eq!(document["delegable"]["tools"], serde_json::json!(["Read", "Bash(ls *)"]));
    let tools = document["enforced"].as_array().expect("a list").iter().find(|part| part["part"] == "tools");
    assert!(tools.is_some_and(|part| part["by"].to_string().contains("--tools")), "{document}");
    let shown = place.raddle(&["perm", "explain", "wf.yaml", "shell"]).exits(0).out;
    assert!(shown.contains("Bash(ls *)") && shown.contains("/w/secrets/**"), "{shown}");
}

#[test]
fn what_nobody_can_enforce_is_refused_before_anything_starts() {
    let place = Place::new();
    for text in [
        "tasks: [{id: t, prompt: x, permissions: {network: none}}]",
        "tasks: [{id: t, prompt: x, permissions: {preset: workspace}}]",
        "agents: {a: {cli: codex}}\ntasks: [{id: t, agent: a, prompt: x, permissions: {tools: [Read]}}]",
        "permissions: {network: none}\nmcp_servers: {far: {url: 'https://example.invalid/mcp'}}\n\
         tasks: [{id: t, tool: 'far:x'}]",
        "mcp_servers: {near: {command: nosuch}}\n\
         tasks: [{id: t, tool: 'near:x', permissions: {deny: [./w/s], paths: {write: []}}}]",
        "permissions: {deny: [./w/s]}\ntasks: [{id: t, type: code_execution, code: return 1, \
         sandbox_config: {allowedReadPaths: [w]}}]",
    ] {
        place.file("wf.yaml", text);
        let ended = place.raddle(&["run", "wf.yaml"]).exits(6);
        assert!(ended.err.contains("unenforceable") && ended.err.contains("task t"), "{text}: {}", ended.err);
        assert!(place.raddle(&["ps", "--json"]).exits(0).out.trim() == "[]");
    }
    place.file(
        "wf.yaml",
        "permissions: {paths: {read: [./w/**]}, network: none, tools: []}\n\
         tasks: [{id: t, type: code_execution, code: return 1, sandbox_config: {allowedReadPaths: [w/a]}}]",
    );
    place.raddle(&["run", "wf.yaml"]).exits(0);
}
