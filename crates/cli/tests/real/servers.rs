//! Published MCP servers, each for what it is made for.

use std::fs;

use serde_json::{Value, json};

use crate::claude::or_skip;
use crate::partners::{self, repository, skipped};
use crate::place::Place;
use crate::processes;

/// A place where the servers of node are found.
fn with_node() -> Result<Place, String> {
    let mut place = Place::new();
    for folder in partners::node()?.iter().rev() {
        place.look_in(folder);
    }
    Ok(place)
}

fn message(document: &Value, id: &str) -> String {
    let task = &document["tasks"][id];
    assert_eq!(task["error"]["class"], "input", "{task}");
    task["error"]["message"].as_str().expect("words").to_owned()
}

#[test]
fn the_git_server_reads_a_repository() {
    let bin = or_skip!(partners::python(), "mcp-server-git");
    let place = Place::new();
    or_skip!(repository(&place, "repo", &["core: begin", "docs: say why", "core: go on"]), "a repository");
    place.file("repo/new.txt", "not added yet");
    let document = place.run(
        &format!(
            "mcp_servers: {{ git: {{ command: {:?} }} }}
inputs: {{ repo: {{ type: string, default: {:?} }} }}
tasks:
  - {{ id: log, tool: 'git:git_log', arguments: {{ repo_path: '$INPUT[repo]', max_count: 2 }} }}
  - {{ id: status, tool: 'git:git_status', arguments: {{ repo_path: '$INPUT[repo]' }} }}
  - {{ id: wrong, tool: 'git:git_log', arguments: {{ repo_path: '$INPUT[repo]', max_count: many }} }}
  - {{ id: less, tool: 'git:git_log', arguments: {{ max_count: 2 }} }}
  - {{ id: nothing, tool: 'git:git_nothing', arguments: {{}} }}
  - {{ id: elsewhere, tool: 'git:git_log', arguments: {{ repo_path: /nowhere }} }}
",
            bin.join("mcp-server-git"),
            place.work("repo"),
        ),
        1,
    );
    let log = document["tasks"]["log"]["output"].to_string();
    assert!(log.contains("core: go on") && log.contains("docs: say why") && !log.contains("core: begin"), "{log}");
    assert!(document["tasks"]["status"]["output"].to_string().contains("new.txt"), "{}", document["tasks"]["status"]);
    assert!(message(&document, "wrong").contains("max_count"));
    assert!(message(&document, "less").contains("repo_path"));
    assert!(message(&document, "nothing").contains("git_nothing"));
    // Known, asked, and it said no.
    assert_eq!(document["tasks"]["elsewhere"]["error"]["class"], "tool", "{}", document["tasks"]["elsewhere"]);
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn the_everything_server_answers_reckons_and_takes_its_time() {
    let place = or_skip!(with_node(), "server-everything");
    let document = place.run(
        "mcp_servers: { all: { command: mcp-server-everything } }
defaults: { timeout: 60s }
tasks:
  - { id: echo, tool: 'all:echo', arguments: { message: 'hällo \"you\" $(there)' } }
  - { id: sum, tool: 'all:get-sum', arguments: { a: 20, b: 22 } }
  - { id: said, depends_on: [sum], tool: 'all:echo', arguments: { message: 'sum: $OUTPUT[sum]' } }
  - { id: slow, tool: 'all:trigger-long-running-operation', arguments: { duration: 2, steps: 4 } }
  - { id: late, timeout: 1500ms, tool: 'all:trigger-long-running-operation', arguments: { duration: 100, steps: 4 } }
  - { id: wrong, tool: 'all:get-sum', arguments: { a: twenty, b: 22 } }
",
        1,
    );
    let output = |id: &str| document["tasks"][id]["output"].to_string();
    assert!(
        document["tasks"]["echo"]["output"].as_str().is_some_and(|e| e.ends_with("hällo \"you\" $(there)")),
        "{}",
        output("echo")
    );
    assert!(output("sum").contains("42") && output("said").contains("42"), "{} {}", output("sum"), output("said"));
    assert_eq!(document["tasks"]["slow"]["state"], "completed", "{}", document["tasks"]["slow"]);
    assert_eq!(document["tasks"]["late"]["error"]["class"], "timeout", "{}", document["tasks"]["late"]);
    assert!(message(&document, "wrong").contains('a'));
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn the_filesystem_server_writes_and_reads_in_its_folder_only() {
    let place = or_skip!(with_node(), "server-filesystem");
    fs::create_dir_all(place.work("open")).expect("a folder can be made");
    place.file("closed.txt", "closed");
    let (open, closed) = (place.work("open"), place.work("closed.txt"));
    let document = place.run(
        &format!(
            "mcp_servers: {{ files: {{ command: mcp-server-filesystem, args: [{open:?}] }} }}
defaults: {{ timeout: 60s }}
tasks:
  - {{ id: write, tool: 'files:write_file', arguments: {{ path: {:?}, content: \"two\\nlines\" }} }}
  - {{ id: read, depends_on: [write], tool: 'files:read_text_file', arguments: {{ path: {:?} }} }}
  - {{ id: outside, tool: 'files:read_text_file', arguments: {{ path: {closed:?} }} }}
  - {{ id: wrong, tool: 'files:write_file', arguments: {{ path: {:?} }} }}
",
            open.join("note.txt"),
            open.join("note.txt"),
            open.join("never.txt"),
        ),
        1,
    );
    assert_eq!(fs::read_to_string(open.join("note.txt")).expect("it was written"), "two\nlines");
    assert!(document["tasks"]["read"]["output"].to_string().contains("two\\nlines"), "{}", document["tasks"]["read"]);
    assert_eq!(document["tasks"]["outside"]["error"]["class"], "tool", "{}", document["tasks"]["outside"]);
    assert!(message(&document, "wrong").contains("content"));
    assert!(!open.join("never.txt").exists());
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn servers_of_the_project_file_are_used_and_their_calls_are_not_repeated_unasked() {
    let place = or_skip!(with_node(), "a server of .mcp.json");
    let open = place.work("");
    let servers = json!({"mcpServers": {"files": {"command": "mcp-server-filesystem", "args": [open]}}});
    place.file(".mcp.json", servers.to_string());
    let document = place.run(
        &format!(
            "tasks: [{{ id: list, timeout: 60s, tool: 'files:list_directory', arguments: {{ path: {open:?} }} }}]\n"
        ),
        0,
    );
    assert!(document["outputs"]["list"].to_string().contains("wf.yaml"), "{}", document["outputs"]);
    assert_eq!(document["tasks"]["list"]["attempts"], 1);
}
