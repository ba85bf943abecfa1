//! Secrets: tasks get them, and nothing that a run writes down or shows holds one, in any form, even when it is killed.
//! What could leak one is refused before anything starts.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::place::{Place, until};
use crate::processes;

/// Letters that JSON, URLs and base64 each write otherwise.
const TOKEN: &str = "tok/\"Zwölf\"+&=ab?cd";
const KEY: &str = "key-0123456789abcdef";
const PIN: &str = "918273645546372819";
const WORD: &str = "correct horse battery";

/// Where they come from, one of each kind; `pass` is a program of the test.
const SOURCES: &str = "[secrets.TOKEN]
env = \"THE_TOKEN\"
[secrets.KEY]
file = \"key.txt\"
[secrets.PIN]
command = [\"./pass\", \"show\", \"pin\"]
[secrets.WORD]
env = \"THE_WORD\"
";

/// Says its variable in answers, errors and its log.
const SERVER: &str = r#"
import json, os, sys
key = os.environ["SERVER_KEY"]
print("started with " + key, file=sys.stderr, flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["method"] == "initialize":
        r = dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1"))
    elif m["method"] == "tools/list":
        r = dict(tools=[dict(name="echo", inputSchema=dict(type="object")), dict(name="fail", inputSchema=dict(type="object"))])
    elif m["method"] == "tools/call":
        is_error = m["params"]["name"] == "fail"
        r = dict(content=[dict(type="text", text="it is " + key)], isError=is_error)
    else:
        continue
    print(json.dumps(dict(jsonrpc="2.0", id=m["id"], result=r)), flush=True)
"#;

fn place() -> Place {
    let mut place = Place::new();
    place.variable("THE_TOKEN", TOKEN).variable("THE_WORD", WORD);
    let key = place.file("key.txt", format!("{KEY}\n"));
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("a mode can be set");
    place.program("pass", &format!("#!/bin/sh\necho asked >> asked\n[ -z \"$THE_TOKEN\" ] && echo {PIN}\n"));
    place.file("raddle.toml", SOURCES);
    place.file("server.py", SERVER);
    place
}

/// Every way of writing a value that is looked for.
fn forms(value: &str) -> Vec<String> {
    let script = "import base64, json, sys, urllib.parse as u
v = sys.argv[1]
b = lambda t: base64.b64encode(t.encode()).decode()
print('\\n'.join([v, json.dumps(v)[1:-1], json.dumps(v, ensure_ascii=False)[1:-1], u.quote(v, safe=''), u.quote_plus(v),
  b(v)[:-4], b('x' + v)[4:-4], b('xy' + v)[4:-4]]))";
    let output = std::process::Command::new("python3").args(["-c", script, value]).output().expect("there is Python");
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// The files below a folder that hold one of these texts.
fn holding(folder: &Path, texts: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, texts));
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let held = |text: &&String| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        found.extend(texts.iter().filter(held).map(|text| format!("{}: {text}", path.display())));
    }
    found
}

fn all_forms() -> Vec<String> {
    [TOKEN, KEY, PIN, WORD].into_iter().flat_map(forms).collect()
}

#[test]
fn tasks_get_secrets_and_nothing_that_is_kept_or_shown_holds_one() {
    let place = place();
    let bird =
        place.program("bird", "#!/bin/sh\ncat > /dev/null\necho \"bird: $BIRD_KEY and $T\"\necho \"$BIRD_KEY\" >&2\n");
    let agent = format!("{SOURCES}[clis.bird]\ncommand = [{bird:?}]\nenv = [\"BIRD_KEY=x${{secret:KEY}}\"]\n");
    place.file("raddle.toml", agent);
    let workflow = r#"
name: secrets
agents: { b: { cli: bird } }
mcp_servers:
  s: { command: python3, args: [server.py], env: { SERVER_KEY: "${secret:KEY}" } }
tasks:
  - id: true_value
    env: { T: "Bearer ${secret:TOKEN} $${secret:TOKEN}", P: "${secret:PIN}" }
    run: |
      printf 'Bearer %s ${''secret:TOKEN}' "$(cat ../truth)" > expected
      printf '%s' "$T" > given
      cmp expected given && [ "${#P}" = 18 ] && rm given expected
      [ -z "${THE_TOKEN-}" ] && [ -z "${KEY-}" ]
      echo "$P is one, and ${P}0"
  - id: halves
    env: { K: "${secret:KEY}" }
    run: |
      first=${K%abcdef}
      printf '%s' "so: $first"; printf '%s' "$first" >&2
      sleep 0.2
      echo "abcdef"; echo "abcdef" >&2
  - id: forms
    env: { T: "${secret:TOKEN}" }
    run:
      - python3
      - -c
      - |
        import base64, json, os, urllib.parse as u
        t = os.environ["T"]
        print(json.dumps(t), u.quote(t, safe=""), base64.b64encode(("user:" + t).encode()).decode())
        told = json.dumps({"inside": [t], t: 1}).replace("tok/", "\\u0074ok\\/")
        open(os.environ["RADDLE_OUTPUT"], "w").write(told)
  - { id: down, run: [printf, '%s', "got $OUTPUT[halves]"], depends_on: [halves] }
  - { id: answers, agent: b, prompt: hello, env: { T: "${secret:WORD}" } }
  - { id: tool, tool: "s:echo", arguments: {} }
  - { id: refused, tool: "s:fail", arguments: {} }
  - id: code
    type: code_execution
    permissions: { tools: ["s:*"] }
    code: |
      const told = await tools.s.echo({});
      console.log(told);
      return { told, length: JSON.stringify(told).length };
  - { id: says_no, env: { T: "${secret:TOKEN}" }, run: 'echo "no entry with $T" >&2; exit 3' }
"#;
    place.file("wf.yaml", workflow);
    fs::write(place.root().join("truth"), TOKEN).expect("a file can be written");
    let ended = place.raddle(&["run", "wf.yaml", "--json", "--events", "events.ndjson"]).exits(1);
    let document = ended.json();
    let output = |task: &str| document["tasks"][task]["output"].clone();
    assert_eq!(output("true_value"), "[secret:PIN] is one, and [secret:PIN]0", "{document}");
    assert_eq!(output("halves"), "so: [secret:KEY]");
    assert_eq!(output("down"), "got so: [secret:KEY]");
    assert_eq!(output("forms")["inside"][0], "[secret:TOKEN]");
    assert_eq!(output("forms")["[secret:TOKEN]"], 1);
    assert_eq!(output("answers"), "bird: x[secret:KEY] and [secret:WORD]");
    assert!(output("tool").to_string().contains("it is [secret:KEY]"), "{document}");
    assert!(output("code")["told"].to_string().contains("it is [secret:KEY]"), "{document}");
    let message = |task: &str| document["tasks"][task]["error"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message("says_no").contains("no entry with [secret:TOKEN]"), "{document}");
    assert!(message("refused").contains("[secret:KEY]"), "{document}");
    assert_eq!(place.text("asked"), "asked\n", "a command is asked once for a run");
    let run = document["run"].as_str().expect("a run has a name");
    let mut shown = format!("{}{}{}", ended.out, ended.err, place.text("events.ndjson"));
    for words in [&["show", run][..], &["trace", run], &["watch", run, "--json"], &["why", run, "says_no"]] {
        let said = place.raddle(words);
        shown.push_str(&(said.out + &said.err));
    }
    let forms = all_forms();
    for form in &forms {
        assert!(!shown.contains(form.as_str()), "{form} is shown: {shown}");
    }
    assert_eq!(holding(&place.root().join("state"), &forms), Vec::<String>::new());
    let logs = holding(&place.root().join("state"), &["[secret:KEY]".to_owned()]);
    assert!(
        logs.iter().any(|file| file.contains("@s.log")) && logs.iter().any(|file| file.contains("halves.1.err")),
        "{logs:?}"
    );
}

#[test]
fn a_run_that_is_killed_leaves_no_secret_on_the_disk() {
    let place = place();
    place.file(
        "wf.yaml",
        r#"
tasks:
  - id: t
    on_doubt: rerun
    env: { K: "${secret:KEY}", P: "${secret:PIN}" }
    run: |
      echo "$K"; printf '%s' "${P%19}"
      printf '"%s"' "$K" > "$RADDLE_OUTPUT"
      [ "$RADDLE_ATTEMPT" = 1 ] || exit 0
      echo "$RADDLE_OUTPUT" > where
      echo "$PPID" > engine
      sleep 600
"#,
    );
    let live = place.start(&["run", "wf.yaml", "--json"]);
    until("the task has said it", || place.text("engine").ends_with('\n'));
    until("it is in the log", || !holding(&place.root().join("state"), &["[secret:KEY]".to_owned()]).is_empty());
    let [begun, whole] = [PIN[..16].to_owned(), KEY.to_owned()];
    let kept = || holding(&place.root().join("state"), &[begun.clone(), whole.clone()]);
    assert_eq!(kept(), Vec::<String>::new(), "while it lives");
    let engine: i32 = place.text("engine").trim().parse().expect("a number");
    processes::signal(engine, Signal::KILL);
    live.ended();
    assert_eq!(kept(), Vec::<String>::new(), "after its death");
    assert!(!Path::new(place.text("where").trim()).exists(), "what the task wrote is still there");
    let run = place.ps()[0]["run"].as_str().expect("a run has a name").to_owned();
    let document = place.raddle(&["resume", &run, "--json"]).exits(0).json();
    assert_eq!(document["tasks"]["t"]["output"], "[secret:KEY]", "{document}");
    assert_eq!(kept(), Vec::<String>::new());
}

#[test]
fn what_could_leak_or_is_not_there_is_refused_before_the_run() {
    let place = place();
    let refused = |workflow: &str, words: &[&str], code: i32, why: &str| {
        place.file("wf.yaml", workflow);
        let ended = place.raddle(&[&["run", "wf.yaml"], words].concat()).exits(code);
        assert!(ended.err.contains(why), "{workflow}: {}", ended.err);
        for value in [TOKEN, KEY, PIN, WORD] {
            assert!(!ended.err.contains(value), "{}", ended.err);
        }
        assert!(place.ps().is_empty(), "{workflow}: a run was begun");
    };
    for key in [
        "prompt: 'use ${secret:TOKEN}'",
        "run: 'echo ${secret:TOKEN}'",
        "run: [echo, '${secret:TOKEN}']",
        "tool: 's:t', arguments: { a: ['${secret:TOKEN}'] }",
        "type: code_execution, code: 'return context.a', context: { a: '${secret:TOKEN}' }",
        "run: 'true', cwd: '${secret:TOKEN}'",
        "run: 'true', description: '${secret:TOKEN}'",
    ] {
        let text = format!("mcp_servers: {{ s: {{ command: x }} }}\ntasks: [{{ id: a, {key} }}]");
        refused(&text, &[], 2, "secret-not-allowed-here");
    }
    refused("outputs: { x: '${secret:TOKEN}' }\ntasks: [{ id: a, run: 'true' }]", &[], 2, "secret-not-allowed-here");
    let with = |name: &str| format!("tasks: [{{ id: a, run: 'true', env: {{ T: '${{secret:{name}}}' }} }}]");
    refused(&with("TOKN"), &[], 2, "did you mean `TOKEN`?");
    let other = |toml: &str| place.file("raddle.toml", toml);
    other("[secrets.A]\nenv = \"A\"");
    refused(&with("A"), &[], 6, "environment variable A is not set");
    other("[secrets.THE_TOKEN]\nfile = \"none.txt\"");
    refused(&with("THE_TOKEN"), &[], 6, "none.txt");
    place.file("short.txt", "1234567\n");
    other("[secrets.A]\nfile = \"short.txt\"");
    refused(&with("A"), &[], 6, "fewer than 8 bytes");
    other("[secrets.A]\ncommand = [\"sh\", \"-c\", \"echo 12345678-and-more; exit 4\"]");
    refused(&with("A"), &[], 6, "command sh failed");
    other("[secrets.A]\nfile = \"key.txt\"\nenv = \"A\"");
    refused(&with("A"), &[], 2, "exactly one of");
    other("[providers.anthropic]\nkey = \"sk-1234567890\"");
    refused("tasks: [{ id: a, run: 'true' }]", &[], 2, "is not exactly");
    other(SOURCES);
    let both = "inputs: { x: { type: string } }\ntasks: [{ id: a, run: 'true', env: { T: '${secret:KEY}' } }]";
    refused(both, &["--input", &format!("x=a {KEY}")], 6, "the parameters hold the value of secret KEY");
    refused(&format!("# {KEY}\n{}", with("KEY")), &[], 6, "the lines of the workflow hold");
    place.file(".mcp.json", r#"{"mcpServers": {"s": {"command": "x", "args": ["${secret:KEY}"]}}}"#);
    refused("tasks: [{ id: a, tool: 's:t' }]", &[], 2, "s:t");
}

#[test]
fn a_server_is_not_started_with_a_value_among_its_arguments() {
    let place = place();
    let mcp = format!(
        r#"{{"mcpServers": {{"s": {{"command": "python3", "args": ["server.py", "--key={KEY}"], "env": {{"SERVER_KEY": "${{secret:KEY}}"}}}}}}}}"#
    );
    place.file(".mcp.json", mcp);
    place.file("wf.yaml", "tasks: [{ id: a, retry: { max: 0 }, tool: 's:echo', arguments: {} }]\n");
    let document = place.raddle(&["run", "wf.yaml", "--json"]).exits(1).json();
    let error = &document["tasks"]["a"]["error"];
    assert_eq!(error["class"], "permission", "{document}");
    assert!(error["message"].to_string().contains("the secret KEY would be an argument"), "{document}");
}

/// An MCP server and a provider that repeat whatever they are told about who asks.
const GOSSIP: &str = r#"
import http.server, json, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        m = json.loads(self.rfile.read(int(self.headers["content-length"])))
        who = self.headers.get("authorization", "nobody")
        if "chat" in self.path:
            half = len(who) // 2
            bad = m["messages"][-1]["content"] == "fail"
            piece = lambda t: "data: " + json.dumps(dict(choices=[dict(index=0, delta=dict(content=t))])) + "\n\n"
            body = json.dumps(dict(error=dict(message="no such key: " + who))) if bad else piece("you are " + who[:half]) + piece(who[half:]) + "data: " + json.dumps(dict(choices=[dict(index=0, delta={}, finish_reason="stop")], usage=dict(prompt_tokens=1, completion_tokens=1))) + "\n\ndata: [DONE]\n\n"
            return self.say(401 if bad else 200, "application/json" if bad else "text/event-stream", body)
        if m.get("method") == "initialize":
            r = dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1"))
        elif m.get("method") == "tools/list":
            r = dict(tools=[dict(name="who", inputSchema=dict(type="object"))])
        elif m.get("method") == "tools/call":
            r = dict(content=[dict(type="text", text=who)])
        else:
            return self.say(202, "text/plain", "")
        self.say(200, "application/json", json.dumps(dict(jsonrpc="2.0", id=m.get("id"), result=r)))
    def do_GET(self): self.say(405, "text/plain", "")
    def do_DELETE(self): self.say(200, "text/plain", "")
    def say(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
open("port", "w").write(str(s.server_port) + "\n")
s.serve_forever()
"#;

#[test]
fn what_goes_out_in_headers_comes_back_hidden() {
    let place = place();
    place.file("gossip.py", GOSSIP);
    let mut gossip = std::process::Command::new("python3")
        .arg("gossip.py")
        .current_dir(place.work(""))
        .spawn()
        .expect("there is Python");
    until("it listens", || place.text("port").ends_with('\n'));
    let port = place.text("port").trim().to_owned();
    place.file(
        "raddle.toml",
        format!(
            "{SOURCES}[providers.house]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
             key = \"${{secret:PIN}}\"\n"
        ),
    );
    let mcp = format!(
        r#"{{"mcpServers": {{"g": {{"type": "http", "url": "http://127.0.0.1:{port}/mcp", "headers": {{"Authorization": "Bearer ${{secret:KEY}}"}}}}}}}}"#
    );
    place.file(".mcp.json", mcp);
    place.file(
        "wf.yaml",
        "defaults: { retry: { max: 0 } }
agents: { a: { tools: [] } }
tasks:
  - { id: tool, tool: 'g:who', arguments: {} }
  - { id: answer, prompt: who am I, agent: a, executor: api, model: house/m }
  - { id: refused, prompt: fail, agent: a, executor: api, model: house/m }
",
    );
    let ended = place.raddle(&["run", "wf.yaml", "--json"]).exits(1);
    let _ = gossip.kill();
    let _ = gossip.wait();
    let document = ended.json();
    let task = |id: &str| document["tasks"][id].clone();
    assert!(task("tool")["output"].to_string().contains("Bearer [secret:KEY]"), "{document}");
    assert_eq!(task("answer")["output"], "you are Bearer [secret:PIN]", "{document}");
    let message = task("refused")["error"]["message"].to_string();
    assert!(message.contains("no such key") && !message.contains(PIN), "{document}");
    let forms = all_forms();
    assert!(forms.iter().all(|form| !ended.err.contains(form.as_str())), "{}", ended.err);
    assert_eq!(holding(&place.root().join("state"), &forms), Vec::<String>::new());
}
