//! Stories of a client and a server, told as the lines that pass between them.

use std::time::{Duration, Instant};

use raddle_engine::FailureClass;
use raddle_engine::attempt::RawOutput;
use serde_json::{Value, json};

use super::{Client, Config, Event, Protocol};

/// A client and the far end of its pipes.
struct Table {
    client: Client,
    start: Instant,
    piece_bytes: usize,
}

impl Table {
    fn new() -> Self {
        let start = Instant::now();
        Table { client: Client::new(Config::default(), start), start, piece_bytes: usize::MAX }
    }

    /// Ready, with these tools, over the handshake protocol.
    fn ready(tools: Value) -> Self {
        let mut t = Table::new();
        t.handshake("2025-11-25");
        t.answer(json!({"tools": tools}));
        assert!(matches!(t.client.next_event(), Some(Event::Ready)), "not ready");
        t
    }

    fn handshake(&mut self, version: &str) {
        let probe = self.asked();
        assert_eq!(probe["method"], "server/discover");
        self.says(&json!({"jsonrpc": "2.0", "id": probe["id"], "error": {"code": -32601, "message": "no"}}));
        let init = self.asked();
        assert_eq!((&init["method"], &init["params"]["protocolVersion"]), (&json!("initialize"), &json!("2025-11-25")));
        self.says(&json!({"jsonrpc": "2.0", "id": init["id"],
            "result": {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "s", "version": "1"}}}));
        if !self.client.is_dead() {
            assert_eq!(self.asked()["method"], "notifications/initialized");
        }
    }

    /// The next line that the server gets.
    fn asked(&mut self) -> Value {
        let out = self.client.outgoing();
        let end = out.iter().position(|b| *b == b'\n').expect("nothing was sent");
        let line = serde_json::from_slice(&out[..end]).expect("what the client sends is JSON");
        self.client.sent(end + 1);
        line
    }

    fn raw(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece_bytes.min(bytes.len().max(1))) {
            self.client.feed(piece);
        }
    }

    fn says(&mut self, message: &Value) {
        self.raw(format!("{message}\n").as_bytes());
    }

    /// The server answers what it was asked last.
    fn answer(&mut self, result: Value) -> Value {
        let asked = self.asked();
        self.says(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": result}));
        asked
    }

    fn result(&mut self) -> (u64, Result<RawOutput, (FailureClass, String)>) {
        loop {
            match self.client.next_event().expect("no result") {
                Event::Result { id, outcome } => return (id, outcome.map_err(|f| (f.class, f.message))),
                Event::Log(_) | Event::Progress { .. } => {}
                other => panic!("expected a result, not {other:?}"),
            }
        }
    }

    /// One call with one answer.
    fn call(&mut self, tool: &str, result: Value) -> Result<RawOutput, (FailureClass, String)> {
        self.client.call(7, tool, &json!({}), "key");
        self.answer(result);
        self.result().1
    }
}

fn any_tool() -> Value {
    json!([{"name": "t", "inputSchema": {"type": "object"}}])
}

fn text(s: &str) -> Value {
    json!({"content": [{"type": "text", "text": s}]})
}

#[test]
fn a_modern_server_is_never_initialized() {
    let mut t = Table::new();
    let probe = t.answer(json!({"supportedVersions": ["2026-07-28"], "capabilities": {}, "resultType": "complete"}));
    assert_eq!(probe["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    let list = t.answer(json!({"tools": any_tool(), "ttlMs": 0}));
    assert_eq!(list["method"], "tools/list");
    assert_eq!(list["params"]["_meta"]["io.modelcontextprotocol/clientInfo"]["name"], "raddle");
    assert_eq!(t.client.protocol(), Some(Protocol::Modern));
    assert!(matches!(t.client.next_event(), Some(Event::Ready)));
    t.client.call(1, "t", &json!({"a": "b"}), "run/task");
    let call = t.answer(json!({"content": [], "structuredContent": {"n": 1}, "resultType": "complete"}));
    assert_eq!(call["params"]["arguments"], json!({"a": "b"}));
    let meta = &call["params"]["_meta"];
    assert_eq!((&meta["raddle/idempotencyKey"], &meta["progressToken"]), (&json!("run/task"), &call["id"]));
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(t.result(), (1, Ok(RawOutput::Json("{\"n\":1}".into()))));
    assert_eq!(
        t.call("t", json!({"content": [], "resultType": "input_required"})).expect_err("it must fail").0,
        FailureClass::Tool
    );
}

#[test]
fn an_old_server_chooses_the_version() {
    let mut t = Table::new();
    t.handshake("2024-11-05");
    t.answer(json!({"tools": []}));
    assert_eq!(t.client.protocol(), Some(Protocol::Handshake("2024-11-05")));
    let mut t = Table::new();
    t.handshake("1999-01-01");
    assert!(matches!(t.client.next_event(), Some(Event::Fatal(why)) if why.contains("1999-01-01")));
}

#[test]
fn a_server_that_answers_anything_to_the_probe_is_an_old_one() {
    let mut t = Table::new();
    t.answer(text("Echo: "));
    assert_eq!(t.asked()["method"], "initialize");
}

#[test]
fn a_server_that_ignores_the_probe_is_initialized_after_a_while() {
    let mut t = Table::new();
    t.asked();
    assert!(t.client.is_probing());
    let until = t.client.deadline().expect("the probe is timed");
    t.client.tick(t.start);
    assert!(t.client.outgoing().is_empty(), "too early");
    t.client.tick(until);
    assert_eq!(t.asked()["method"], "initialize");
    t.client.tick(until + Duration::from_secs(1000));
    assert!(matches!(t.client.next_event(), Some(Event::Fatal(_))));
}

#[test]
fn a_late_answer_to_the_probe_still_counts() {
    let mut t = Table::new();
    let probe = t.asked();
    t.client.tick(t.start + Duration::from_secs(10));
    let init = t.asked();
    t.says(&json!({"id": probe["id"], "result": {"supportedVersions": ["2026-07-28"]}}));
    t.says(&json!({"id": init["id"], "error": {"code": -32601, "message": "no such method"}}));
    let list = t.answer(json!({"tools": any_tool()}));
    assert_eq!(list["method"], "tools/list");
    assert_eq!(t.client.protocol(), Some(Protocol::Modern));
    assert!(!t.client.is_dead());
}

#[test]
fn calls_wait_until_the_tools_of_all_pages_are_known() {
    let mut t = Table::new();
    t.client.call(9, "second", &json!({}), "k");
    t.handshake("2025-06-18");
    t.answer(json!({"tools": [{"name": "first"}], "nextCursor": "c\"1"}));
    let page = t.answer(json!({"tools": [{"name": "second"}]}));
    assert_eq!(page["params"]["cursor"], "c\"1");
    assert!(matches!(t.client.next_event(), Some(Event::Ready)));
    t.answer(text("ok"));
    assert_eq!(t.result(), (9, Ok(RawOutput::Text("ok".into()))));
}

#[test]
fn outputs_take_the_form_of_the_contract() {
    let mut t = Table::ready(any_tool());
    let json_of = |s: &str| Ok(RawOutput::Json(s.into()));
    let both = json!({"content": [{"type": "text", "text": "x"}], "structuredContent": {"v": [1, "ü"]}});
    assert_eq!(t.call("t", both), json_of("{\"v\":[1,\"ü\"]}"));
    assert_eq!(t.call("t", text("42")), json_of("42"));
    assert_eq!(t.call("t", text("not \"json\"\n")), Ok(RawOutput::Text("not \"json\"\n".into())));
    let two = json!({"content": [{"type": "text", "text": "a"}, {"type": "image", "data": "AA=="}]});
    assert_eq!(t.call("t", two), json_of("[\"a\",{\"type\":\"image\",\"data\":\"AA==\"}]"));
    let image = json!({"content": [{"type": "image", "data": "AA=="}]});
    assert_eq!(t.call("t", image), json_of("{\"type\":\"image\",\"data\":\"AA==\"}"));
    assert_eq!(t.call("t", json!({"content": []})), json_of("null"));
    let no = t
        .call("t", json!({"content": [{"type": "text", "text": "no tracker"}], "isError": true}))
        .expect_err("it must fail");
    assert!(no.0 == FailureClass::Tool && no.1.contains("no tracker"), "{no:?}");
    for strange in [json!(null), json!([1]), json!("x"), json!({"content": 7})] {
        assert_eq!(t.call("t", strange.clone()).expect_err("it must fail").0, FailureClass::Tool, "{strange}");
    }
}

#[test]
fn a_protocol_error_fails_the_call_and_nothing_else() {
    let mut t = Table::ready(any_tool());
    t.client.call(1, "t", &json!({}), "k");
    let asked = t.asked();
    t.says(&json!({"id": asked["id"], "error": {"code": -32603, "message": "as told", "data": {"x": 1}}}));
    let (class, message) = t.result().1.expect_err("it must fail");
    assert!(class == FailureClass::Tool && message.contains("as told (JSON-RPC error -32603): {\"x\":1}"), "{message}");
    assert_eq!(t.call("t", text("on")), Ok(RawOutput::Text("on".into())));
}

#[test]
fn arguments_that_do_not_fit_are_never_sent() {
    let strict = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false});
    let mut t = Table::ready(json!([{"name": "strict", "inputSchema": strict}, {"name": "list_commits"}]));
    let cases = [
        ("strict", json!({"n": "three"}), "three"),
        ("strict", json!({"n": 3, "m": 4}), "'m'"),
        ("strict", json!({}), "\"n\" is a required property"),
        ("list_comits", json!({}), "did you mean `list_commits`?"),
        ("zzz", json!({}), "it offers `strict`, `list_commits`"),
    ];
    for (tool, arguments, hint) in cases {
        t.client.call(1, tool, &arguments, "k");
        let (class, message) = t.result().1.expect_err("it must fail");
        assert!(class == FailureClass::Input && message.contains(hint), "{tool} {arguments}: {message}");
        assert!(t.client.outgoing().is_empty(), "it was sent");
    }
    t.client.call(2, "strict", &json!({"n": 3}), "k");
    assert_eq!(t.asked()["params"]["arguments"], json!({"n": 3}));
}

#[test]
fn hostile_schemas_neither_fetch_nor_recurse_nor_backtrack() {
    let schemas = [
        json!({"$ref": "http://127.0.0.1:1/x.json"}),
        json!({"$ref": "file:///etc/passwd"}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"properties": {"a": {"pattern": "^(a+)+(?=b)$"}}}),
        json!({"type": 12}),
        json!(7),
    ];
    for schema in schemas {
        let mut t = Table::ready(json!([{"name": "t", "inputSchema": schema}]));
        t.client.call(1, "t", &json!({"a": "a".repeat(60)}), "k");
        // Either the arguments are refused, or they go to the server, which must check them by itself.
        if t.client.outgoing().is_empty() {
            assert_eq!(t.result().1.expect_err("it must fail").0, FailureClass::Input, "{schema}");
        }
    }
}

#[test]
fn answers_find_their_calls_in_any_order_and_only_once() {
    let mut t = Table::ready(any_tool());
    let ids: Vec<Value> = (0..3)
        .map(|i| {
            t.client.call(100 + i, "t", &json!({}), "k");
            t.asked()["id"].clone()
        })
        .collect();
    for i in [2, 0, 2, 1, 1] {
        t.says(&json!({"id": ids[i], "result": text(&format!("r{i}"))}));
    }
    for stranger in ["999999999999999999999999", "-1", "1.5", "\"3\"", "null", "[]", "77"] {
        t.raw(format!("{{\"id\":{stranger},\"result\":{{}}}}\n").as_bytes());
    }
    for i in [2u64, 0, 1] {
        assert_eq!(t.result(), (100 + i, Ok(RawOutput::Text(format!("r{i}")))));
    }
    while let Some(event) = t.client.next_event() {
        assert!(matches!(event, Event::Log(_)), "{event:?}");
    }
    assert_eq!(t.client.calls(), 0);
}

#[test]
fn a_batch_is_read_message_by_message() {
    let mut t = Table::ready(any_tool());
    t.client.call(1, "t", &json!({}), "k");
    let id = t.asked()["id"].clone();
    t.says(&json!([7, {"method": "notifications/x"}, [], {"id": id, "result": text("in a batch")}]));
    assert_eq!(t.result(), (1, Ok(RawOutput::Text("in a batch".into()))));
}

#[test]
fn it_does_not_matter_how_the_bytes_arrive() {
    let mut t = Table::new();
    t.piece_bytes = 1;
    t.handshake("2025-11-25");
    t.answer(json!({"tools": any_tool()}));
    t.client.next_event();
    assert_eq!(t.call("t", text("ünï 🧵")), Ok(RawOutput::Text("ünï 🧵".into())));
}

#[test]
fn noise_is_noise() {
    let mut t = Table::ready(any_tool());
    t.client.call(1, "t", &json!({}), "k");
    let id = t.asked()["id"].clone();
    t.raw(b"this line is no JSON\n\n  \r\n\xff\xfe\n{\"id\":{}\n{\"method\":7}\n[[[[\n\"s\"\n{}\n");
    t.raw(("[".repeat(100_000) + "\n").as_bytes());
    t.raw(("{\"method\":\"notifications/progress\",\"params\":".to_owned() + &"[".repeat(9000) + "\n").as_bytes());
    for _ in 0..10_000 {
        t.raw(b"chatter\n");
    }
    t.says(&json!({"id": id, "result": text("through")}));
    let mut logs = 0;
    loop {
        match t.client.next_event().expect("the answer got lost in the noise") {
            Event::Log(line) => logs += usize::from(line.len() < 1000),
            Event::Result { outcome, .. } => break assert_eq!(outcome, Ok(RawOutput::Text("through".into()))),
            other => panic!("{other:?}"),
        }
    }
    assert!((5..=256).contains(&logs), "{logs} lines of noise are held");
}

#[test]
fn deep_and_impossible_content_is_a_failure_or_a_text() {
    let mut t = Table::ready(any_tool());
    let deep = "[".repeat(5000) + &"]".repeat(5000);
    for (content, class) in [
        (format!("{{\"structuredContent\":{deep}}}"), FailureClass::Tool),
        ("{\"structuredContent\":{\"n\":1e999}}".into(), FailureClass::Tool),
        ("{\"structuredContent\":{\"s\":\"\\ud800\"}}".into(), FailureClass::Tool),
        (format!("{{\"content\":[{{\"type\":\"x\"}},{deep}]}}"), FailureClass::Tool),
    ] {
        t.client.call(1, "t", &json!({}), "k");
        let id = t.asked()["id"].clone();
        t.raw(format!("{{\"id\":{id},\"result\":{content}}}\n").as_bytes());
        assert_eq!(t.result().1.expect_err("it must fail").0, class);
    }
    assert_eq!(t.call("t", text(&deep)), Ok(RawOutput::Text(deep)));
}

#[test]
fn a_list_without_end_is_read_up_to_a_bound() {
    let mut t = Table::new();
    t.handshake("2025-11-25");
    let mut pages = 0;
    while !t.client.outgoing().is_empty() {
        pages += 1;
        t.answer(json!({"tools": [{"name": format!("t{pages}")}, {"name": "t1"}, 7, {"x": 1}, []],
            "nextCursor": pages.to_string()}));
        assert!(pages <= 1000, "it never ends");
    }
    while t.client.next_event().is_some() {}
    assert_eq!(t.client.tools().len(), pages);
    assert_eq!(t.call("t1", text("x")), Ok(RawOutput::Text("x".into())));
}

#[test]
fn a_changed_list_is_read_again() {
    let mut t = Table::ready(any_tool());
    t.says(&json!({"method": "notifications/tools/list_changed"}));
    t.client.call(1, "new", &json!({}), "k");
    let list = t.asked();
    t.says(&json!({"method": "notifications/tools/list_changed"}));
    t.says(&json!({"id": list["id"], "result": {"tools": any_tool()}}));
    t.answer(json!({"tools": [{"name": "new"}]}));
    t.answer(text("fresh"));
    assert!(matches!(t.client.next_event(), Some(Event::Ready)));
    assert_eq!(t.result(), (1, Ok(RawOutput::Text("fresh".into()))));
}

#[test]
fn the_servers_own_questions_are_answered() {
    let mut t = Table::ready(any_tool());
    for (method, part, expected) in [
        ("ping", "/result", json!({})),
        ("roots/list", "/result/roots", json!([])),
        ("elicitation/create", "/result/action", json!("decline")),
        ("sampling/createMessage", "/error/code", json!(-32601)),
        ("anything", "/error/code", json!(-32601)),
    ] {
        t.says(&json!({"jsonrpc": "2.0", "id": "q-1", "method": method, "params": {}}));
        let reply = t.asked();
        assert_eq!((reply.pointer(part), &reply["id"]), (Some(&expected), &json!("q-1")), "{method}: {reply}");
    }
}

#[test]
fn a_server_that_asks_without_reading_is_not_answered_without_bound() {
    let mut t = Table::ready(any_tool());
    for i in 0..200_000 {
        t.client.feed(format!("{{\"id\":{i},\"method\":\"ping\"}}\n").as_bytes());
    }
    assert!(t.client.outgoing().len() < 2 << 20, "{}", t.client.outgoing().len());
}

#[test]
fn progress_reaches_its_call() {
    let mut t = Table::ready(any_tool());
    t.client.call(5, "t", &json!({}), "k");
    let token = t.asked()["params"]["_meta"]["progressToken"].clone();
    for p in [
        json!({"progressToken": token, "progress": 1, "total": 4}),
        json!({"progressToken": 999, "progress": 2}),
        json!({"progressToken": token, "progress": 2, "message": "half\u{1b}[31m"}),
        json!({"progressToken": {}}),
    ] {
        t.says(&json!({"method": "notifications/progress", "params": p}));
    }
    let texts: Vec<String> = std::iter::from_fn(|| t.client.next_event())
        .map(|e| match e {
            Event::Progress { id: 5, text } => text,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, ["1 of 4", "half [31m"]);
}

#[test]
fn a_cancelled_call_is_told_to_the_server_and_forgotten() {
    let mut t = Table::ready(any_tool());
    t.client.call(5, "t", &json!({}), "k");
    let id = t.asked()["id"].clone();
    assert!(t.client.cancel(5));
    let told = t.asked();
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &id));
    t.says(&json!({"id": id, "result": text("late")}));
    assert!(matches!(t.client.next_event(), Some(Event::Log(_))));
    assert!(t.client.next_event().is_none() && !t.client.cancel(5));
}

#[test]
fn a_dead_server_fails_every_call_once() {
    let mut t = Table::ready(any_tool());
    t.client.call(1, "t", &json!({}), "k");
    t.client.call(2, "t", &json!({}), "k");
    t.client.closed("the server ended with exit status 3");
    t.client.closed("again");
    t.client.call(3, "t", &json!({}), "k");
    for id in 1..=3 {
        let (got, outcome) = t.result();
        let (class, message) = outcome.expect_err("it must fail");
        assert!(got == id && class == FailureClass::Tool && message.contains("exit status 3"), "{message}");
    }
    assert!(t.client.next_event().is_none() && t.client.outgoing().is_empty());
}

#[test]
fn a_line_without_end_ends_the_connection() {
    let mut t = Table::ready(any_tool());
    t.client.call(1, "t", &json!({}), "k");
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..66 {
        t.client.feed(&chunk);
    }
    assert_eq!(t.result().1.expect_err("it must fail").0, FailureClass::Tool);
    assert!(matches!(t.client.next_event(), Some(Event::Fatal(why)) if why.contains("64 MB")));
    assert!(t.client.is_dead());
}
