//! MCP servers behind a URL, through the dispatcher, over real sockets: sessions, streams, refusals, ends.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use kit::{Bench, LONG};
use raddle_engine::FailureClass;
use raddle_engine::attempt::{AttemptSpec, RawOutput, StopCause, ToolWork, Work};
use raddle_executors::mcp::Elicitation;
use raddle_executors::{LocalConfig, Reach, ServerAddress, ServerSettings};
use serde_json::{Value, json};

/// A request as the server got it.
struct Asked {
    verb: String,
    headers: BTreeMap<String, String>,
    message: Value,
}

/// What the server does with a request.
enum Reply {
    Json(Value),
    /// Status, headers, body.
    Raw(u16, Vec<(&'static str, String)>, String),
    /// A stream that ends after these bytes.
    Stream(String),
    /// Nothing, until the client closes; then it is told on the channel.
    Hang,
}

/// A server on loopback; each connection has a thread, each request goes through `script`.
struct Server {
    url: String,
    asked: Receiver<Asked>,
    closed: Receiver<()>,
}

type Script = fn(&Asked) -> Reply;

impl Server {
    fn start(script: Script) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let ((told, asked), (closing, closed)) = (channel(), channel());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (told, closing) = (told.clone(), closing.clone());
                std::thread::spawn(move || serve(stream, script, &told, &closing));
            }
        });
        Server { url, asked, closed }
    }

    fn bench(&self, elicitation: Elicitation) -> Bench {
        let address =
            ServerAddress { url: self.url.clone(), headers: vec![("Authorization".into(), "Bearer x".into())] };
        let server = ServerSettings { elicitation, max_concurrent: Some(2), ..Reach::Address(address).into() };
        Bench::with(LocalConfig { servers: BTreeMap::from([("s".to_owned(), server)]), ..LocalConfig::default() })
    }

    /// The next request of that kind.
    fn asked(&self, method: &str) -> Asked {
        loop {
            let asked = self.asked.recv_timeout(LONG).unwrap_or_else(|_| panic!("no {method}"));
            if asked.message["method"] == method || asked.verb == method {
                return asked;
            }
        }
    }
}

fn serve(stream: TcpStream, script: Script, told: &Sender<Asked>, closing: &Sender<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let verb = line.split(' ').next().unwrap().to_owned();
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).unwrap();
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let message = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let asked = Asked { verb, headers, message };
        let reply = script(&asked);
        let _ = told.send(asked);
        let (status, headers, body) = match reply {
            Reply::Json(value) => (200, vec![("Content-Type", "application/json".to_owned())], value.to_string()),
            Reply::Stream(text) => (200, vec![("Content-Type", "text/event-stream; charset=utf-8".to_owned())], text),
            Reply::Raw(status, headers, body) => (status, headers, body),
            Reply::Hang => {
                let _ = reader.read(&mut [0]);
                let _ = closing.send(());
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if stream.write_all(format!("{head}\r\n{body}").as_bytes()).is_err() {
            return;
        }
    }
}

fn result(asked: &Asked, result: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": asked.message["id"], "result": result})
}

fn text(words: &str) -> Value {
    json!({"content": [{"type": "text", "text": words}]})
}

/// A server with sessions of the handshake generation, as far as its tools do not matter.
fn handshake(asked: &Asked) -> Reply {
    let method = asked.message["method"].as_str().unwrap_or_default();
    match (asked.verb.as_str(), method) {
        ("POST", "server/discover") => Reply::Raw(400, Vec::new(), "Bad Request: no session".to_owned()),
        ("POST", "initialize") => {
            let chosen = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}});
            let headers = vec![("Content-Type", "application/json".to_owned()), ("Mcp-Session-Id", "s1".to_owned())];
            Reply::Raw(200, headers, result(asked, chosen).to_string())
        }
        ("POST", "tools/list") => {
            Reply::Json(result(asked, json!({"tools": [{"name": "t", "inputSchema": {"type": "object"}}]})))
        }
        ("DELETE", _) => Reply::Raw(200, Vec::new(), String::new()),
        ("GET", _) => Reply::Raw(405, Vec::new(), String::new()),
        _ => Reply::Raw(202, Vec::new(), String::new()),
    }
}

fn is_call(asked: &Asked) -> bool {
    asked.message["method"] == "tools/call"
}

fn call(bench: &mut Bench, tool: &str, arguments: Value) -> AttemptSpec {
    let work = ToolWork { server: "s".into(), tool: tool.into(), arguments, idempotency_key: "k".into() };
    bench.spec(Work::Tool(Box::new(work)))
}

fn run(bench: &mut Bench, tool: &str) -> Result<RawOutput, (FailureClass, String)> {
    let spec = call(bench, tool, json!({}));
    bench.run(spec)
}

#[test]
fn a_session_is_opened_named_and_ended() {
    let server = Server::start(|asked| match is_call(asked) {
        true => Reply::Stream(format!(
            ": hello\n\ndata: {}\n\nevent: message\ndata: {}\n\n",
            json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": asked.message["params"]["_meta"]["progressToken"], "progress": 1, "total": 2}}),
            result(asked, text("from a stream"))
        )),
        false => handshake(asked),
    });
    let mut bench = server.bench(Elicitation::Decline);
    assert_eq!(run(&mut bench, "t").unwrap(), RawOutput::Text("from a stream".into()));
    assert_eq!(bench.progress, ["1 of 2"]);
    let first = server.asked("server/discover");
    assert_eq!(
        (first.headers["authorization"].as_str(), first.headers["mcp-protocol-version"].as_str()),
        ("Bearer x", "2026-07-28")
    );
    assert!(!server.asked("initialize").headers.contains_key("mcp-session-id"));
    let calling = server.asked("tools/call");
    assert_eq!(
        (calling.headers["mcp-session-id"].as_str(), calling.headers["mcp-protocol-version"].as_str()),
        ("s1", "2025-11-25")
    );
    drop(bench);
    assert_eq!(server.asked("DELETE").headers["mcp-session-id"], "s1");
}

#[test]
fn a_stream_that_breaks_off_is_gone_on_with() {
    let server =
        Server::start(|asked| match (is_call(asked), asked.headers.get("last-event-id").map(String::as_str)) {
            (true, _) => Reply::Stream(format!("id: e1\nretry: 10\ndata:\n\nid: {}\ndata:\n\n", asked.message["id"])),
            // The id of the event names the request whose answer is wanted.
            (_, Some(id)) => {
                let answer = json!({"jsonrpc": "2.0", "id": id.parse::<u64>().unwrap(), "result": text("after all")});
                Reply::Stream(format!("data: {answer}\n\n"))
            }
            _ => handshake(asked),
        });
    let mut bench = server.bench(Elicitation::Decline);
    assert_eq!(run(&mut bench, "t").unwrap(), RawOutput::Text("after all".into()));
}

#[test]
fn a_forgotten_session_is_begun_anew_and_the_call_is_made() {
    // The first call finds its session gone; the second `initialize` gives a new one.
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let server = Server::start(|asked| match is_call(asked) {
        true if CALLS.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 => {
            Reply::Raw(404, Vec::new(), "Session not found".to_owned())
        }
        true => Reply::Json(result(asked, text("again"))),
        false => handshake(asked),
    });
    let mut bench = server.bench(Elicitation::Decline);
    assert_eq!(run(&mut bench, "t").unwrap(), RawOutput::Text("again".into()));
    server.asked("initialize");
    server.asked("initialize");
}

#[test]
fn refusals_say_whose_fault_they_are() {
    let server = Server::start(|asked| match asked.message["method"].as_str() {
        Some("server/discover") => Reply::Raw(401, Vec::new(), "who are you?".to_owned()),
        _ => Reply::Raw(500, Vec::new(), String::new()),
    });
    let mut bench = server.bench(Elicitation::Decline);
    let (class, words) = run(&mut bench, "t").unwrap_err();
    assert!(class == FailureClass::Auth && words.contains("headers:") && words.contains("who are you?"), "{words}");
    drop(bench);

    let server =
        Server::start(|_| Reply::Raw(307, vec![("Location", "https://elsewhere.example/".to_owned())], String::new()));
    let mut bench = server.bench(Elicitation::Decline);
    let (class, words) = run(&mut bench, "t").unwrap_err();
    assert!(class == FailureClass::Tool && words.contains("redirects to https://elsewhere.example/"), "{words}");
    drop(bench);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server { url: format!("http://{nobody}/"), ..Server::start(handshake) };
    let mut bench = server.bench(Elicitation::Decline);
    let (class, words) = run(&mut bench, "t").unwrap_err();
    assert!(class == FailureClass::Start && words.contains("is not reached"), "{words}");
}

#[test]
fn a_call_that_is_given_up_closes_its_connection() {
    let server = Server::start(|asked| if is_call(asked) { Reply::Hang } else { handshake(asked) });
    let mut bench = server.bench(Elicitation::Decline);
    let spec = call(&mut bench, "t", json!({}));
    let key = bench.start(spec);
    while server.closed.try_recv().is_err() {
        bench.wait(Duration::from_millis(20));
        if server.asked.try_iter().any(|asked| is_call(&asked)) {
            bench.stop(key, StopCause::Timeout, Duration::ZERO);
            assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Timeout);
            server.closed.recv_timeout(LONG).unwrap();
            break;
        }
    }
    // The server is told, too, and the connection is good for more.
    bench.wait(Duration::from_millis(100));
    server.asked("notifications/cancelled");
}

#[test]
fn the_stateless_generation_gets_headers_answers_questions_and_reads_resources() {
    let server = Server::start(|asked| {
        let m = &asked.message;
        let reply = match m["method"].as_str().unwrap_or_default() {
            "server/discover" => json!({"supportedVersions": ["2026-07-28"], "capabilities": {}}),
            "tools/list" => json!({"tools": [
                {"name": "t", "inputSchema": {"type": "object", "properties": {"where": {"type": "string", "x-mcp-header": "Region"}}}},
                {"name": "promised", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object", "required": ["n"]}}]}),
            "resources/read" => json!({"contents": [{"uri": m["params"]["uri"], "text": "{\"read\": true}"}]}),
            _ if m["params"]["name"] == "promised" => json!({"content": [], "structuredContent": {"m": 1}}),
            _ if m["params"].get("inputResponses").is_none() => {
                json!({"resultType": "input_required", "requestState": "s",
                "inputRequests": {"q": {"method": "elicitation/create", "params": {"mode": "form", "message": "?",
                    "requestedSchema": {"type": "object", "properties": {"yes": {"type": "boolean", "default": true}}}}}}})
            }
            _ => {
                json!({"structuredContent": {"told": m["params"]["inputResponses"], "state": m["params"]["requestState"]}})
            }
        };
        Reply::Json(result(asked, reply))
    });
    let mut bench = server.bench(Elicitation::Defaults);
    let spec = call(&mut bench, "t", json!({"where": "Zürich"}));
    let told = r#"{"told":{"q":{"action":"accept","content":{"yes":true}}},"state":"s"}"#;
    assert_eq!(bench.run(spec).unwrap(), RawOutput::Json(told.into()));
    let asked = server.asked("tools/call");
    let header = |name: &str| asked.headers[name].clone();
    assert_eq!((header("mcp-method"), header("mcp-name")), ("tools/call".into(), "t".into()));
    assert_eq!(header("mcp-param-region"), "=?base64?WsO8cmljaA==?=");
    assert_ne!(server.asked("tools/call").message["id"], asked.message["id"]);
    let spec = call(&mut bench, "resources/read", json!({"uri": "file:///a b"}));
    assert_eq!(bench.run(spec).unwrap(), RawOutput::Json("{\"read\": true}".into()));
    assert_eq!(server.asked("resources/read").headers["mcp-name"], "file:///a b");
    let (class, words) = run(&mut bench, "promised").unwrap_err();
    assert!(class == FailureClass::Schema && words.contains("\"n\""), "{words}");
}
