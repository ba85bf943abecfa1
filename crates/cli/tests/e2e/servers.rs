//! MCP servers as a user meets them: a tool in the place of an agent, what servers say beside the protocol, how many
//! calls they get at a time. The protocol has its own tests.

use crate::place::Place;

/// Answers `answer` with what it was told, and how many calls it had open at most.
const SERVER: &str = r#"
import json, sys, threading
open_now, most, lock = 0, 0, threading.Lock()
def say(**message):
    with lock: print(json.dumps(dict(jsonrpc="2.0", **message)), flush=True)
def answer(m):
    global open_now
    # Before the answer: whoever has it may call again at once.
    with lock: open_now -= 1
    say(id=m["id"], result=dict(content=[dict(type="text", text=json.dumps(dict(told=m["params"]["arguments"], most=most)))]))
print("here I am", file=sys.stderr, flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["method"] == "initialize":
        say(id=m["id"], result=dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1")))
    elif m["method"] == "tools/list":
        say(id=m["id"], result=dict(tools=[dict(name="answer", inputSchema=dict(type="object"))]))
    elif m["method"] == "tools/call":
        with lock:
            open_now += 1
            most = max(most, open_now)
        threading.Timer(0.05, answer, [m]).start()
    elif "id" in m:
        say(id=m["id"], error=dict(code=-32601, message="unknown"))
"#;

fn workflow(place: &Place, rest: &str) -> String {
    let script = place.file("server.py", SERVER);
    format!("mcp_servers: {{ s: {{ command: python3, args: [{script:?}], max_concurrent: 2 }} }}\n{rest}")
}

#[test]
fn a_tool_does_the_work_of_an_agent_without_any_agent_process() {
    let place = Place::new();
    let document = place.run(
        &workflow(
            &place,
            "agents: { clerk: { mcp: { tool: 's:answer', prompt: question, arguments: { style: short } } } }
tasks:
  - { id: data, run: [printf, '7'], output_format: json }
  - { id: ask, agent: clerk, executor: mcp, prompt: 'What is $OUTPUT[data] times six?', depends_on: [data] }
",
        ),
        0,
    );
    let ask = &document["tasks"]["ask"];
    assert_eq!(ask["output"]["told"]["question"], "What is 7 times six?", "{ask}");
    assert_eq!(ask["output"]["told"]["style"], "short", "{ask}");
    assert_eq!((ask["kind"].as_str(), ask["executor"].as_str()), (Some("agent"), Some("mcp")), "{ask}");
}

#[test]
fn what_a_tool_in_the_place_of_an_agent_would_not_get_is_refused() {
    let place = Place::new();
    for (agent, task, why) in [
        ("mcp: { tool: 's:answer' }, system_prompt: x", "", "`system_prompt` cannot reach"),
        ("mcp: { tool: 's:answer' }", ", model: opus", "`model` cannot reach"),
        ("mcp: { tool: 's:answer' }", ", executor: process", "does not go with"),
        ("cli: claude", ", executor: mcp", "does not go with"),
        ("mcp: { tool: 'nobody:answer' }", "", "there is no server"),
        ("mcp: { tool: answer }", "", "no name of a tool"),
        ("mcp: { tool: 's:answer', arguments: { prompt: x } }", "", "is the prompt's"),
    ] {
        let text = workflow(
            &place,
            &format!("agents: {{ a: {{ {agent} }} }}\ntasks: [{{ id: t, agent: a, prompt: p{task} }}]\n"),
        );
        place.file("wrong.yaml", text);
        let told = place.raddle(&["validate", "wrong.yaml"]).exits(2);
        let told = format!("{}{}", told.out, told.err);
        assert!(told.contains(why), "{agent} {task}: {told}");
    }
}

#[test]
fn a_server_gets_so_many_calls_at_a_time_and_its_words_are_in_the_logs() {
    let place = Place::new();
    let tasks: String =
        (0..6).map(|n| format!("  - {{ id: t{n}, tool: 's:answer', arguments: {{ n: {n} }} }}\n")).collect();
    let document = place.run(&workflow(&place, &format!("tasks:\n{tasks}")), 0);
    let most = (0..6).filter_map(|n| document["tasks"][format!("t{n}")]["output"]["most"].as_u64()).max();
    assert_eq!(most, Some(2), "{document}");
    let logs = place.raddle(&["logs", "last"]).exits(0).out;
    assert!(logs.contains("==> MCP server s <==\nhere I am\n"), "{logs}");
}
