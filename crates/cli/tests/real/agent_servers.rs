//! MCP servers in the hands of a real agent CLI: those of granted tools and no others, started by the CLI itself, with
//! their secrets in no argument. The model is scripted and asks for tools, granted ones and others.

use serde_json::json;

use crate::claude::{or_skip, with_claude};
use crate::partners::skipped;
use crate::processes;

/// A server that notes that it was started, and by whom; its tools tell what it sees.
const SERVER: &str = r#"
import json, os, sys
name = sys.argv[1]
with open("started", "a") as file: file.write("%s %d\n" % (name, os.getppid()))
def reach(path):
    try: return open(path).read()
    except OSError: return "refused"
def act(tool):
    if tool == "burn": open("burnt", "w").write("x")
    parent = open("/proc/%d/cmdline" % os.getppid()).read()
    seen = "seen" if "s3cret-words" in parent else "unseen"
    return "%s by %s: %s, %s, %s" % (tool, name, os.environ.get("KEY", "no key"), seen, reach("secret"))
for line in sys.stdin:
    m = json.loads(line)
    if "id" not in m: continue
    p = m.get("params") or {}
    if m["method"] == "initialize":
        r = dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1"))
    elif m["method"] == "tools/list":
        r = dict(tools=[dict(name=tool, inputSchema=dict(type="object")) for tool in ("price", "burn")])
    elif m["method"] == "tools/call":
        r = dict(content=[dict(type="text", text=act(p["name"]))])
    else:
        print(json.dumps(dict(jsonrpc="2.0", id=m["id"], error=dict(code=-32601, message="no")))  , flush=True)
        continue
    print(json.dumps(dict(jsonrpc="2.0", id=m["id"], result=r)), flush=True)
"#;

fn says(tool: &str) -> String {
    format!("Go on. @stub{}@", json!([[{"tool": tool, "input": {}}], "{{last}}"]))
}

#[test]
fn an_agent_has_the_servers_of_its_granted_tools_and_no_others() {
    let (place, model) = or_skip!(with_claude(&json!([])), "an agent's MCP servers");
    place.file("tools/server.py", SERVER);
    let server = |name: &str| json!({"command": "python3", "args": ["server.py", name], "cwd": "tools", "env": {"KEY": "s3cret-words"}});
    let granted = json!({"tools": ["Read", "shop:price"]});
    let workflow = json!({
        "mcp_servers": {"shop": server("shop"), "other": server("other"),
            "broken": {"command": "no-such-server-here"}},
        "defaults": {"timeout": "100s", "retry": {"max": 0}},
        "tasks": [
            {"id": "granted", "prompt": says("mcp__shop__price"), "permissions": granted},
            {"id": "denied", "prompt": says("mcp__shop__burn"), "permissions": granted, "depends_on": ["granted"], "inputs": []},
            {"id": "stranger", "prompt": says("mcp__other__price"), "permissions": granted, "depends_on": ["denied"], "inputs": []},
            {"id": "nothing", "prompt": says("mcp__shop__price"), "permissions": {"tools": ["Read"]}, "depends_on": ["stranger"], "inputs": []},
            {"id": "warm1", "prompt": says("mcp__shop__price"), "permissions": granted, "isolation": "context", "depends_on": ["nothing"], "inputs": []},
            {"id": "warm2", "prompt": says("mcp__shop__price"), "permissions": granted, "isolation": "context", "depends_on": ["warm1"], "inputs": []},
            {"id": "broken", "prompt": says("Read"), "permissions": {"tools": ["broken:*"]}, "depends_on": ["warm2"], "inputs": []},
        ],
    });
    let document = place.run(&workflow.to_string(), 1);
    let said = |id: &str| document["tasks"][id]["output"].as_str().unwrap_or_default().to_owned();
    for id in ["granted", "warm1", "warm2"] {
        assert!(said(id).contains("price by shop: s3cret-words, unseen"), "{id}: {}", document["tasks"][id]);
    }
    assert!(!place.work("tools/burnt").exists(), "{}", said("denied"));
    let events = place.events("last");
    assert!(events.iter().any(|e| e["type"] == "access_denied" && e.to_string().contains("burn")), "{events:?}");
    for id in ["stranger", "nothing"] {
        assert!(!said(id).contains("price by"), "{id}: {}", said(id));
    }
    assert_eq!(document["tasks"]["broken"]["error"]["class"], "tool", "{}", document["tasks"]["broken"]);
    let started = place.text("tools/started");
    // One for each task that was granted its tool; a process that is a server's parent is not used again.
    assert!(!started.contains("other") && started.lines().count() == 5, "{started}");
    assert_eq!(processes::mentioning(place.root()), []);
    assert!(!model.log().is_empty());
    // What they were told in secret is nowhere any more.
    let left = std::process::Command::new("grep").args(["-rl", "mcpServers"]).arg(place.root().join("state")).output();
    assert_eq!(String::from_utf8_lossy(&left.expect("grep runs").stdout), "");
}

#[test]
fn servers_of_a_confined_agent_are_held_to_what_it_is_held_to() {
    let (place, _model) = or_skip!(with_claude(&json!([])), "a confined agent's MCP servers");
    place.file("server.py", SERVER);
    place.file("secret", "hidden-words");
    place.file("started", "");
    let workflow = json!({
        "mcp_servers": {"shop": {"command": "python3", "args": ["server.py", "shop"]}},
        "defaults": {"timeout": "100s", "retry": {"max": 0}},
        "tasks": [{"id": "t", "prompt": says("mcp__shop__price"), "permissions":
            {"tools": ["shop:price"], "paths": {"read": ["./**"], "write": ["./started"]}, "deny": ["./secret"]}}],
    });
    place.file("wf.yaml", workflow.to_string());
    if let Some(why) = place.unheld("wf.yaml", "t") {
        return skipped("a confined agent's MCP servers", &why);
    }
    let document = place.run(&workflow.to_string(), 0);
    let said = document["tasks"]["t"]["output"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("price by shop: no key, unseen, refused"), "{}", document["tasks"]["t"]);
}
