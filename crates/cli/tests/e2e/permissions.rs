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

/// A server whose tools read and write files.
const FILES: &str = r#"
import json, sys
def act(name, path):
    if name == "cat": return open(path).read()
    open(path, "w").write("x")
    return "written"
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    p = m.get("params") or {}
    if m["method"] == "initialize":
        r = dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1"))
    elif m["method"] == "tools/list":
        r = dict(tools=[dict(name=name, inputSchema=dict(type="object")) for name in ("cat", "put")])
    else:
        try: text = act(p["name"], p["arguments"]["path"])
        except OSError as error: text = "refused"
        r = dict(content=[dict(type="text", text=text)])
    print(json.dumps(dict(jsonrpc="2.0", id=m["id"], result=r)), flush=True)
"#;

#[test]
fn a_server_is_held_to_what_the_workflow_may() {
    let place = Place::new();
    place.file("server.py", FILES);
    place.file("in", "text");
    place.file("secret", "hidden");
    let outside = place.root().join("outside");
    std::fs::write(&outside, "hidden").expect("a file can be written");
    let calls =
        [("in", "cat", "text"), ("secret", "cat", "refused"), ("out/x", "put", "written"), ("x", "put", "refused")];
    let mut workflow = format!(
        "mcp_servers: {{ files: {{ command: python3, args: [server.py] }} }}
permissions: {{ paths: {{ read: [./**], write: [./out/**] }}, deny: [./secret], network: none }}
tasks:
  - {{ id: outside, tool: 'files:cat', arguments: {{ path: {outside:?} }} }}
"
    );
    for (n, (path, tool, _)) in calls.iter().enumerate() {
        workflow.push_str(&format!("  - {{ id: t{n}, tool: 'files:{tool}', arguments: {{ path: {path} }} }}\n"));
    }
    place.file("wf.yaml", &workflow);
    if let Some(why) = place.unheld("wf.yaml", "t0") {
        return println!("SKIPPED: a confined server: {why}");
    }
    let document = place.run(&workflow, 0);
    assert_eq!(document["tasks"]["outside"]["output"], "refused");
    for (n, (path, _, expected)) in calls.iter().enumerate() {
        assert_eq!(document["tasks"][format!("t{n}")]["output"], *expected, "{path}");
    }
}

#[test]
fn a_container_holds_the_work_folder_and_nothing_of_the_home() {
    let mut place = Place::new();
    std::fs::write(place.root().join("home/key"), "hidden").expect("a file can be written");
    let home = place.root().join("home");
    place.file("in", "text");
    place.file("secret", "hidden");
    let workflow = format!(
        "permissions: {{ deny: [./secret] }}
tasks:
  - {{ id: t, isolation: container, run: 'cat in; cat secret {}/key || echo; echo made > out' }}
",
        home.display()
    );
    place.file("wf.yaml", &workflow);
    let enforced = |place: &Place| place.raddle(&["perm", "explain", "wf.yaml", "t", "--json"]).exits(0).json();
    match place.unheld("wf.yaml", "t") {
        Some(why) => println!("SKIPPED: a container: {why}"),
        None => {
            assert_eq!(enforced(&place)["enforced"][2]["by"][0], "the task's container");
            let document = place.run(&workflow, 0);
            assert_eq!((document["tasks"]["t"]["output"].as_str(), &*place.text("out")), (Some("text"), "made\n"));
        }
    }
    place.file("agent.yaml", "tasks: [{ id: t, prompt: x, isolation: container }]\n");
    assert!(place.raddle(&["run", "agent.yaml"]).exits(6).err.contains("cannot reach its model"));
    // Without anybody who makes containers nothing is started, and every place that is asked says why.
    let empty = place.root().join("empty");
    std::fs::create_dir(&empty).expect("a folder can be made");
    place.variable("PATH", empty.to_str().expect("a plain name"));
    let why = "bwrap is not on the PATH";
    assert!(place.raddle(&["run", "wf.yaml"]).exits(6).err.contains(why));
    assert!(enforced(&place)["enforced"][2]["unenforceable"].as_str().is_some_and(|text| text.contains(why)));
    assert!(place.raddle(&["executors", "compare"]).exits(0).out.contains(why));
    assert!(place.raddle(&["doctor"]).exits(0).out.contains(why));
}
