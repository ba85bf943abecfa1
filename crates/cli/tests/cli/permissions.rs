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
#[allow(clippy::print_stdout, reason = "who skips says why")]
fn whoever_acts_by_a_server_is_held_by_its_process() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "permissions: {deny: [./w/secrets/**], network: none, cost_budget: 1}
mcp_servers: {near: {command: nosuch}}
agents: {a: {mcp: {tool: 'near:x'}}}
tasks:
  - {id: code, type: code_execution, code: return 1, permissions: {tools: ['near:*']}}
  - {id: plain, type: code_execution, code: return 1}
  - {id: agent, agent: a, prompt: x}
  - {id: hosted, prompt: x, executor: task_tool, isolation: none}
",
    );
    let by = |task: &str, part: &str| {
        let said = place.raddle(&["perm", "explain", "wf.yaml", task, "--json"]).exits(0).out;
        let said: Value = serde_json::from_str(&said).expect("one document");
        let parts = said["enforced"].as_array().expect("a list").clone();
        parts.iter().find(|of| of["part"] == part).expect("every part is told")["by"].to_string()
    };
    if by("agent", "deny") == "[]" {
        println!("SKIPPED: nothing holds processes to files here");
        return;
    }
    for part in ["deny", "network"] {
        assert!(
            by("code", part).contains("sandbox") && by("code", part).contains("server near"),
            "{}",
            by("code", part)
        );
        assert_eq!(by("plain", part), r#"["the sandbox"]"#);
        assert!(by("agent", part).contains("server near") && !by("agent", part).contains("flag"), "{part}");
    }
    assert!(!by("hosted", "cost_budget").contains("flag"), "a session is not told what one task may cost");
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
        "mcp_servers: {near: {command: nosuch}}\n\
         tasks: [{id: t, type: code_execution, code: return 1, permissions: {tools: ['near:*'], deny: [./w/s]}}]",
        "mcp_servers: {near: {command: nosuch}}\nagents: {a: {mcp: {tool: 'near:x'}}}\n\
         tasks: [{id: t, agent: a, prompt: x, permissions: {network: none}}]",
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
