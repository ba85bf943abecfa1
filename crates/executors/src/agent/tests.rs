//! Commands of agent CLIs, and what recorded outputs of theirs mean.

use std::collections::BTreeMap;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Conversation, CostIs, RawOutput, Session, Usage};
use serde_json::{Value, json};

use super::{Adapters, AgentCommand, CliConfig, Exit, Finished, Slot};

fn work(prompt: &str) -> AgentWork {
    AgentWork {
        cli: "claude".into(),
        prompt: prompt.into(),
        model: None,
        system_prompt: None,
        tools: None,
        schema: None,
        conversation: Default::default(),
        begins_foreign: false,
    }
}

fn adapters(config: &str) -> Adapters {
    let configs: BTreeMap<String, CliConfig> = serde_json::from_str(config).expect("a configuration");
    Adapters::new(&configs).expect("a good configuration")
}

fn claude(work: &AgentWork) -> AgentCommand {
    adapters("{}").get("claude").and_then(|a| a.command(work)).expect("a command")
}

fn option<'a>(command: &'a AgentCommand, flag: &str) -> Option<&'a str> {
    let at = command.argv.iter().position(|a| a == flag)?;
    command.argv.get(at + 1).map(String::as_str)
}

#[test]
fn the_prompt_goes_over_stdin_byte_for_byte() {
    let long = "x".repeat(200_000);
    for prompt in ["-p", "--help", "/help", "@/etc/passwd $(touch x)", " \n leading", "ends\n", &long] {
        let command = claude(&work(prompt));
        assert_eq!(command.stdin, prompt.as_bytes());
        assert_eq!(command.argv[..5], ["claude", "-p", "--output-format", "stream-json", "--verbose"]);
        assert!(command.argv.len() < 10, "the prompt got into the arguments");
    }
    for (prompt, word) in [("x".repeat((10 << 20) + 1), "10 MB"), (" \n".into(), "empty")] {
        let refused = adapters("{}").get("claude").and_then(|a| a.command(&work(&prompt))).expect_err("refused");
        assert!(refused.class == FailureClass::Input && refused.message.contains(word), "{}", refused.message);
    }
}

#[test]
fn what_a_task_asks_for_becomes_flags() {
    let mut w = work("x");
    w.model = Some("haiku".into());
    w.system_prompt = Some("You are the scribe.".into());
    w.tools = Some(vec!["Read".into(), "Bash(git *)".into(), "Bash(ls)".into()]);
    w.schema = Some(json!({"type": "object"}));
    let command = claude(&w);
    assert_eq!(option(&command, "--model"), Some("haiku"));
    assert_eq!(option(&command, "--append-system-prompt"), Some("You are the scribe."));
    assert_eq!(option(&command, "--json-schema"), Some("{\"type\":\"object\"}"));
    assert_eq!(option(&command, "--tools"), Some("Read,Bash"));
    let allowed = command.argv.iter().position(|a| a == "--allowedTools").expect("pre-approved");
    assert_eq!(command.argv[allowed + 1..allowed + 4], ["Read", "Bash(git *)", "Bash(ls)"]);
    assert_eq!(option(&command, "--permission-mode"), Some("dontAsk"));
    w.tools = Some(vec![]);
    assert_eq!(option(&claude(&w), "--tools"), Some(""));
    w.tools = Some(vec!["--dangerously-skip-permissions".into()]);
    assert!(adapters("{}").get("claude").and_then(|a| a.command(&w)).is_err());
}

#[test]
fn a_long_system_prompt_goes_through_a_file() {
    let mut w = work("x");
    w.system_prompt = Some("s".repeat(300_000));
    let command = claude(&w);
    let [file] = &command.files[..] else { panic!("one file") };
    let Slot::Argument(at) = file.place else { panic!("an argument") };
    assert_eq!(command.argv[at - 1], "--append-system-prompt-file");
    assert_eq!(file.bytes.len(), 300_000);
}

#[test]
fn a_checkout_runs_nothing_unless_it_is_trusted() {
    let command = claude(&work("x"));
    assert_eq!(option(&command, "--setting-sources"), Some("user"));
    assert!(command.argv.iter().any(|a| a == "--strict-mcp-config"));
    assert!(command.env.contains(&("CLAUDE_CODE_DISABLE_FILE_MENTIONS".into(), "1".into())));
    assert!(command.pass_env.contains(&"ANTHROPIC_*".into()) && !command.pass_env.contains(&"CLAUDECODE".into()));
    let trusting =
        adapters(r#"{"claude": {"trust_project": true, "extra_args": ["--effort", "low"], "env": ["AWS_*"]}}"#);
    let command = trusting.get("claude").and_then(|a| a.command(&work("x"))).expect("a command");
    assert_eq!(option(&command, "--setting-sources"), Some("user,project,local"));
    assert!(option(&command, "--effort") == Some("low") && command.pass_env.contains(&"AWS_*".into()));
}

#[test]
fn any_other_cli_is_described_by_its_configuration() {
    let table = adapters(
        r#"{"parrot": {"command": ["parrot"]},
            "bird": {"command": ["bird", "-q"], "prompt": "argument", "output": "json", "model_flag": "-m",
                     "system_prompt_flag": "-s", "tools_flag": "-t", "schema_flag": "-j", "env": ["BIRD_*"]},
            "wrapped": {"like": "claude", "command": ["nice", "claude"]}}"#,
    );
    assert_eq!(
        table.names().collect::<Vec<_>>(),
        ["bird", "claude", "codex", "gemini", "opencode", "parrot", "wrapped"]
    );
    let command = table.get("parrot").and_then(|a| a.command(&work("hello"))).expect("a command");
    assert_eq!((command.argv, command.stdin), (vec!["parrot".into()], b"hello".to_vec()));
    let mut w = work("hello");
    (w.model, w.tools) = (Some("m".into()), Some(vec!["A".into(), "B".into()]));
    (w.system_prompt, w.schema) = (Some("sys".into()), Some(json!(true)));
    let command = table.get("bird").and_then(|a| a.command(&w)).expect("a command");
    assert_eq!(command.argv, ["bird", "-q", "-m", "m", "-s", "sys", "-j", "true", "-t", "A,B", "hello"]);
    assert!(command.stdin.is_empty() && command.pass_env == ["BIRD_*"]);
    let wrapped = table.get("wrapped").and_then(|a| a.command(&w)).expect("a command");
    assert_eq!(wrapped.argv[..3], ["nice", "claude", "-p"]);
    // Without a place for it, the system prompt goes before the prompt; what cannot be told is refused.
    let parrot = table.get("parrot").expect("configured");
    assert_eq!(parrot.command(&w).expect_err("a model").class, FailureClass::Input);
    w.model = None;
    assert_eq!(parrot.command(&w).expect_err("tools").class, FailureClass::Permission);
    w.tools = None;
    assert_eq!(parrot.command(&w).expect("a command").stdin, b"sys\n\nhello");
    let dashed = table.get("bird").and_then(|a| a.command(&work("--help"))).expect_err("an option");
    assert_eq!(dashed.class, FailureClass::Input);
}

#[test]
fn bad_configurations_are_told_all_at_once() {
    let configs: BTreeMap<String, CliConfig> = serde_json::from_str(
        r#"{"a": {}, "b": {"command": []}, "c": {"command": ["c"], "env": ["*"]}, "d": {"like": "e"},
            "claude": {"output": "text"}, "f": {"command": ["f"], "trust_project": true}, "good": {"command": ["g"]}}"#,
    )
    .expect("well formed");
    let errors = Adapters::new(&configs).expect_err("bad");
    assert_eq!(errors.iter().map(|e| e.cli.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "claude", "d", "f"]);
    assert!(serde_json::from_str::<CliConfig>(r#"{"comand": ["x"]}"#).is_err(), "unknown keys are errors");
    let unknown = adapters("{}").get("nosuch").map(|_| ()).expect_err("unknown");
    assert!(unknown.class == FailureClass::Start && unknown.message.contains("claude"));
}

const INIT: &str =
    r#"{"type":"system","subtype":"init","cwd":"/w","session_id":"s-1","tools":["Task","Bash"],"model":"m"}"#;

/// What the reader of `claude` makes of these lines, fed in pieces of every size.
fn read(lines: &[&str], exit: Exit, schema: bool) -> Finished {
    let mut bytes = lines.join("\n").into_bytes();
    bytes.push(b'\n');
    let mut w = work("x");
    w.schema = schema.then(|| json!({}));
    let table = adapters("{}");
    let adapter = table.get("claude").expect("built in");
    let mut finished = Vec::new();
    for piece in [1, 7, bytes.len()] {
        let mut stream = adapter.stream(&w);
        bytes.chunks(piece).for_each(|p| _ = stream.feed(p));
        finished.push(stream.finish(exit, "the end of stderr"));
    }
    let last = finished.pop().expect("three");
    assert!(finished.iter().all(|f| f.result == last.result && f.session == last.session), "pieces matter");
    last
}

fn result_line(changes: Value) -> String {
    let mut line = json!({"type": "result", "subtype": "success", "is_error": false, "result": "stub reply",
        "session_id": "s-1", "num_turns": 1, "terminal_reason": "completed", "api_error_status": null,
        "total_cost_usd": 0.125, "permission_denials": [],
        "usage": {"input_tokens": 100, "output_tokens": 20, "cache_creation_input_tokens": 3,
                  "cache_read_input_tokens": 7, "server_tool_use": {}}});
    for (key, value) in changes.as_object().expect("an object") {
        line[key] = value.clone();
    }
    line.to_string()
}

fn class(finished: &Finished) -> FailureClass {
    finished.result.as_ref().expect_err("it must fail").class
}

#[test]
fn an_envelope_is_an_answer() {
    let said = r#"{"type":"assistant","message":{"content":[{"type":"text","text":"not the result"}],"usage":{"output_tokens":1}},"parent_tool_use_id":null,"session_id":"s-1"}"#;
    let f = read(&["noise", INIT, said, &result_line(json!({}))], Exit::Code(0), false);
    assert_eq!((f.result, f.session), (Ok(RawOutput::Text("stub reply".into())), Some("s-1".into())));
    let u = f.usage.expect("usage");
    assert_eq!((u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cache_write_tokens), (100, 20, 7, 3));
    assert_eq!((u.cost_usd, u.cost_is), (Some(0.125), CostIs::Reported));
    let f = read(&[&result_line(json!({"total_cost_usd": null}))], Exit::Code(0), false);
    let u = f.usage.expect("usage");
    assert_eq!((u.cost_usd, u.cost_is), (None, CostIs::Unknown));
}

#[test]
fn an_answer_without_the_servers_it_was_given_is_none() {
    let init = |status: &str| {
        json!({"type": "system", "subtype": "init", "session_id": "s-1",
            "mcp_servers": [{"name": "good", "status": "connected"}, {"name": "s", "status": status}]})
        .to_string()
    };
    for status in ["failed", "needs-auth"] {
        let f = read(&[&init(status), &result_line(json!({}))], Exit::Code(0), false);
        let failure = f.result.expect_err(status);
        assert_eq!(failure.class, FailureClass::Tool);
        assert!(failure.message.ends_with(": s could not be used"), "{}", failure.message);
    }
    assert!(read(&[&init("connected"), &result_line(json!({}))], Exit::Code(0), false).result.is_ok());
}

#[test]
fn the_last_result_counts() {
    let first = result_line(json!({"result": "premature"}));
    let f = read(&[INIT, &first, INIT, &result_line(json!({"result": "final"}))], Exit::Code(0), false);
    assert_eq!(f.result, Ok(RawOutput::Text("final".into())));
    let f = read(&[&first, &result_line(json!({"is_error": true, "result": "boom"}))], Exit::Code(1), false);
    assert_eq!(class(&f), FailureClass::Exit);
    let f = read(&[&first, r#"{"type":"result","is_error":7}"#], Exit::Code(0), false);
    assert_eq!(class(&f), FailureClass::Output);
}

#[test]
fn the_structured_output_is_the_output_when_there_is_a_schema() {
    let line = result_line(json!({"structured_output": {"n": 1}}));
    assert_eq!(read(&[&line], Exit::Code(0), true).result, Ok(RawOutput::Json("{\"n\":1}".into())));
    assert_eq!(class(&read(&[&result_line(json!({}))], Exit::Code(0), true)), FailureClass::Schema);
}

#[test]
fn failures_have_their_classes() {
    use FailureClass as F;
    let error = |subtype: &str, reason: &str| {
        result_line(json!({"subtype": subtype, "terminal_reason": reason, "is_error": true, "result": null,
            "errors": ["as told"]}))
    };
    let api = |status: Value, text: &str| {
        result_line(
            json!({"is_error": true, "api_error_status": status, "terminal_reason": "api_error", "result": text}),
        )
    };
    let too_long = result_line(json!({"is_error": true, "terminal_reason": "prompt_too_long", "result": "long"}));
    for (line, expected) in [
        (error("error_max_turns", "max_turns"), F::TurnLimit),
        (error("error_max_budget_usd", "budget_exhausted"), F::Budget),
        (error("error_max_structured_output_retries", "structured_output_retry_exhausted"), F::Schema),
        (error("error_during_execution", "aborted_tools"), F::Exit),
        (api(json!(401), "Invalid API key"), F::Auth),
        (api(json!(403), "no"), F::Auth),
        (api(json!(null), "Not logged in · Please run /login"), F::Auth),
        (api(json!(429), "Claude AI usage limit reached|1790000000"), F::Quota),
        (api(json!(null), "Claude AI usage limit reached|1790000000"), F::Quota),
        (api(json!(529), "Overloaded"), F::Exit),
        (api(json!(500), "Internal server error"), F::Exit),
        (too_long, F::Input),
    ] {
        let f = read(&[INIT, &line], Exit::Code(1), false);
        assert_eq!(class(&f), expected, "{line}");
        assert!(f.usage.is_some(), "a failure has its price too");
    }
    let quota = read(&[&api(json!(429), "usage limit reached|1790000000")], Exit::Code(1), false);
    assert!(quota.result.expect_err("quota").message.contains("|1790000000"), "the reset time is lost");
}

#[test]
fn nothing_is_an_answer_without_proof() {
    use FailureClass as F;
    let good = result_line(json!({}));
    let half = &good[..20];
    for (lines, exit, expected) in [
        (vec!["Segmentation fault, says the tool"], Exit::Code(0), F::Output),
        (vec![""], Exit::Code(0), F::Output),
        (vec![half], Exit::Code(0), F::Output),
        (vec!["{}"], Exit::Code(0), F::Output),
        (vec!["[]"], Exit::Code(0), F::Output),
        (vec!["null"], Exit::Code(0), F::Output),
        (vec![r#"{"type":"result"}"#], Exit::Code(0), F::Output),
        (vec![r#"{"type":"result","is_error":false}"#], Exit::Code(0), F::Output),
        (vec![r#"["result"]"#, r#"{"type":["result"]}"#], Exit::Code(0), F::Output),
        (vec![INIT], Exit::Code(1), F::Exit),
        (vec![INIT], Exit::Code(143), F::Signal),
        (vec![INIT], Exit::Signal(9), F::Signal),
        (vec![&good], Exit::Code(1), F::Exit),
        (vec![&good], Exit::Signal(11), F::Signal),
    ] {
        let f = read(&lines, exit, false);
        let failure = f.result.expect_err("it must fail");
        assert_eq!(failure.class, expected, "{lines:?} {exit:?}");
        assert!(!lines[0].starts_with("Seg") || failure.message.contains("Segmentation fault"), "{}", failure.message);
    }
}

#[test]
fn denials_are_told_once_with_what_is_known_of_them() {
    let event = r#"{"type":"system","subtype":"permission_denied","tool_name":"Write","tool_use_id":"t2","message":"haven't granted it yet"}"#;
    let list = json!([{"tool_name": "Write", "tool_use_id": "t2", "tool_input": {"file_path": "/w/a.txt"}},
        {"tool_name": "Bash", "tool_use_id": "t3", "tool_input": {"command": "rm x"}}, 7]);
    let f = read(&[event, &result_line(json!({"permission_denials": list}))], Exit::Code(0), false);
    assert!(f.result.is_ok());
    let told: Vec<(&str, &str)> = f.denials.iter().map(|d| (d.action.as_str(), d.resource.as_str())).collect();
    assert!(told.contains(&("Write", "/w/a.txt")) && told.contains(&("Bash", "rm x")), "{told:?}");
    assert!(f.denials.iter().any(|d| d.rule.contains("granted")));
}

#[test]
fn the_display_gets_the_last_words() {
    let table = adapters("{}");
    let mut stream = table.get("claude").expect("built in").stream(&work("x"));
    let said = |block: Value, parent: Value| {
        format!("{}\n", json!({"type": "assistant", "message": {"content": [block]}, "parent_tool_use_id": parent}))
    };
    let text = said(json!({"type": "text", "text": "first\n  \u{1b}[31mthe last line\n\n"}), json!(null));
    assert_eq!(stream.feed(text.as_bytes()).as_deref(), Some("[31mthe last line"));
    let tool = said(json!({"type": "tool_use", "name": "Bash", "input": {}}), json!(null));
    assert_eq!(stream.feed(tool.as_bytes()).as_deref(), Some("uses Bash"));
    let inner = said(json!({"type": "text", "text": "of a subagent"}), json!("t1"));
    assert_eq!(stream.feed(inner.as_bytes()), None);
    let long = said(json!({"type": "text", "text": "ü".repeat(5000)}), json!(null));
    assert_eq!(stream.feed(long.as_bytes()).map(|n| n.chars().count()), Some(200));
}

#[test]
fn plain_outputs_are_text_or_one_json_value() {
    let table = adapters(r#"{"t": {"command": ["t"]}, "j": {"command": ["j"], "output": "json"}}"#);
    let run = |cli: &str, said: &[u8], exit: Exit| {
        let mut stream = table.get(cli).expect("configured").stream(&work("x"));
        said.chunks(2).for_each(|p| _ = stream.feed(p));
        stream.finish(exit, "oops").result.map_err(|f| f.class)
    };
    assert_eq!(run("t", b"parrot says: hello\n\n", Exit::Code(0)), Ok(RawOutput::Text("parrot says: hello\n".into())));
    assert_eq!(run("t", b"\xff", Exit::Code(0)), Ok(RawOutput::Text("\u{fffd}".into())));
    assert_eq!(run("t", b"x", Exit::Code(2)), Err(FailureClass::Exit));
    assert_eq!(run("j", b" {\"a\": 1}\n", Exit::Code(0)), Ok(RawOutput::Json("{\"a\": 1}".into())));
    assert_eq!(run("j", b"{\"a\": 1", Exit::Code(0)), Err(FailureClass::Output));
    assert_eq!(run("j", b"1", Exit::Signal(9)), Err(FailureClass::Signal));
}

#[test]
fn a_flood_is_no_answer() {
    for cli in ["claude", "t"] {
        let table = adapters(r#"{"t": {"command": ["t"]}}"#);
        let mut stream = table.get(cli).expect("there").stream(&work("x"));
        let chunk = vec![b'x'; 8 << 20];
        (0..9).for_each(|_| _ = stream.feed(&chunk));
        stream.feed(b"\n");
        stream.feed(result_line(json!({})).as_bytes());
        assert_eq!(class(&stream.finish(Exit::Code(0), "")), FailureClass::Output);
    }
}

#[test]
fn codex_answers_with_its_last_message_of_a_completed_turn() {
    let table = adapters("{}");
    let codex = table.get("codex").expect("built in");
    let mut w = work("-p do it");
    (w.model, w.schema, w.system_prompt) = (Some("gpt-5".into()), Some(json!({"type": "object"})), Some("S\n".into()));
    let command = codex.command(&w).expect("a command");
    assert_eq!(command.argv[..3], ["codex", "exec", "--json"]);
    assert_eq!(command.argv.last().map(String::as_str), Some("-"), "the prompt is on stdin");
    assert_eq!((option(&command, "-m"), &command.stdin[..]), (Some("gpt-5"), &b"S\n\n-p do it"[..]));
    let Slot::Argument(at) = command.files[0].place else { panic!("an argument") };
    assert_eq!(command.argv[at - 1], "--output-schema");
    let read = |lines: &[&str], exit: Exit, schema: bool| {
        let mut stream = codex.stream(&AgentWork { schema: schema.then(|| json!({})), ..work("x") });
        lines.join("\n").as_bytes().chunks(3).for_each(|p| _ = stream.feed(p));
        stream.finish(exit, "")
    };
    let started = r#"{"type":"thread.started","thread_id":"01a1"}"#;
    let message = r#"{"type":"item.completed","item":{"id":"item_5","type":"agent_message","text":"{\"n\": 1}"}}"#;
    let warning = r#"{"type":"item.completed","item":{"id":"item_6","type":"error","message":"a mere warning"}}"#;
    let done = r#"{"type":"turn.completed","usage":{"input_tokens":9880,"cached_input_tokens":80,"output_tokens":6}}"#;
    let f = read(&[started, message, warning, done], Exit::Code(0), false);
    assert_eq!((f.result, f.session), (Ok(RawOutput::Text("{\"n\": 1}".into())), Some("01a1".into())));
    let u = f.usage.expect("usage");
    assert_eq!((u.input_tokens, u.cache_read_tokens, u.cost_usd, u.cost_is), (9800, 80, None, CostIs::Unknown));
    assert_eq!(read(&[message, done], Exit::Code(0), true).result, Ok(RawOutput::Json("{\"n\": 1}".into())));
    let refused = r#"{"type":"turn.failed","error":{"message":"unexpected status 401 Unauthorized: bad key"}}"#;
    assert_eq!(class(&read(&[message, refused], Exit::Code(1), false)), FailureClass::Auth);
    assert_eq!(class(&read(&[message], Exit::Code(0), false)), FailureClass::Output);
    assert_eq!(class(&read(&[message, done], Exit::Code(1), false)), FailureClass::Exit);
    w.tools = Some(vec![]);
    assert_eq!(codex.command(&w).expect_err("tools").class, FailureClass::Permission);
}

fn heard(cli: &str, lines: &[&str], exit: Exit, schema: bool) -> Finished {
    let table = adapters("{}");
    let asked = AgentWork { schema: schema.then(|| json!({})), ..work("x") };
    let mut stream = table.get(cli).expect("built in").stream(&asked);
    lines.join("\n").as_bytes().chunks(7).for_each(|p| _ = stream.feed(p));
    stream.finish(exit, "noise")
}

const GEMINI_INIT: &str = r#"{"type":"init","timestamp":"t","session_id":"34785f39","model":"gemini-2.5-pro"}"#;
const GEMINI_SAID: &str = r#"{"type":"message","role":"assistant","content":"{\"n\": 1}","delta":true}"#;
const GEMINI_DONE: &str = r#"{"type":"result","status":"success","stats":{"total_tokens":7798,"input_tokens":7792,"output_tokens":6,"cached":92}}"#;

#[test]
fn gemini_answers_with_its_words_after_the_last_tool() {
    let early = r#"{"type":"message","role":"assistant","content":"let me see","delta":true}"#;
    let tool = r#"{"type":"tool_use","tool_name":"read_file","tool_id":"t"}"#;
    let asked = r#"{"type":"message","role":"user","content":"PLUM\n"}"#;
    let f = heard(
        "gemini",
        &["Warning: x", GEMINI_INIT, asked, early, tool, GEMINI_SAID, GEMINI_DONE],
        Exit::Code(0),
        false,
    );
    assert_eq!((f.result, f.session), (Ok(RawOutput::Text("{\"n\": 1}".into())), Some("34785f39".into())));
    let u = f.usage.expect("usage");
    assert_eq!((u.input_tokens, u.cache_read_tokens, u.output_tokens, u.cost_is), (7700, 92, 6, CostIs::Unknown));
    let f = heard("gemini", &[GEMINI_INIT, GEMINI_SAID, GEMINI_DONE], Exit::Code(0), true);
    assert_eq!(f.result, Ok(RawOutput::Json("{\"n\": 1}".into())));
    let refused = r#"{"type":"result","status":"error","error":{"message":"[API Error: slow]"}}"#;
    for (lines, exit, class_) in [
        (vec![GEMINI_INIT, refused], 145, FailureClass::Auth),
        (vec![GEMINI_INIT, refused], 173, FailureClass::Quota),
        (vec![], 144, FailureClass::Exit),
        (vec![], 41, FailureClass::Auth),
        (vec![], 53, FailureClass::TurnLimit),
        (vec![], 55, FailureClass::Permission),
        (vec![GEMINI_INIT, GEMINI_SAID], 0, FailureClass::Output),
        (vec![GEMINI_INIT, GEMINI_SAID, GEMINI_DONE], 1, FailureClass::Exit),
        (vec![GEMINI_INIT], 143, FailureClass::Signal),
    ] {
        assert_eq!(class(&heard("gemini", &lines, Exit::Code(exit), false)), class_, "{lines:?} {exit}");
    }
}

#[test]
fn a_gemini_prompt_opens_no_files() {
    let table = adapters(r#"{"gemini": {"trust_project": true}}"#);
    let gemini = table.get("gemini").expect("built in");
    let foreign = AgentWork { begins_foreign: true, ..work("/help @/etc/passwd a@b.c \\@x @ @") };
    let command = gemini.command(&foreign).expect("a command");
    assert_eq!(String::from_utf8_lossy(&command.stdin), " /help \\@/etc/passwd a\\@b.c \\@x @ @");
    assert!(command.argv.contains(&"--skip-trust".into()));
    let plain = adapters("{}");
    let command = plain.get("gemini").and_then(|a| a.command(&work("x"))).expect("a command");
    assert!(!command.argv.contains(&"--skip-trust".into()), "a folder is trusted by a person only");
    let session = Session { id: "s".into(), used: Default::default() };
    let forked = AgentWork { conversation: Conversation::Fork(Box::new(session)), ..work("x") };
    assert_eq!(gemini.command(&forked).expect_err("it changes its sessions").class, FailureClass::Input);
}

#[test]
fn opencode_answers_with_the_words_of_its_last_step() {
    let start = r#"{"type":"step_start","sessionID":"ses_1","part":{"type":"step-start"}}"#;
    let text = |words: &str| json!({"type": "text", "sessionID": "ses_1", "part": {"text": words}}).to_string();
    let end = |reason: &str, cost: f64| {
        json!({"type": "step_finish", "sessionID": "ses_1", "part": {"reason": reason, "cost": cost,
            "tokens": {"input": 100, "output": 5, "reasoning": 1, "cache": {"write": 2, "read": 3}}}})
        .to_string()
    };
    let rejected = r#"{"type":"tool_use","sessionID":"ses_1","part":{"tool":"read","state":{"status":"error","input":{"filePath":"/etc/hostname"},"error":"The user rejected permission to use this specific tool call."}}}"#;
    let (early, late) = (text("let me see"), text("```json\n[1]\n```"));
    let lines = [start, &early, &end("tool-calls", 0.0), start, &late, &end("stop", 0.0)];
    let f = heard("opencode", &lines, Exit::Code(0), true);
    assert_eq!((f.result, f.session), (Ok(RawOutput::Json("[1]".into())), Some("ses_1".into())));
    let u = f.usage.expect("usage");
    assert_eq!((u.input_tokens, u.output_tokens, u.cache_read_tokens, u.cost_usd), (200, 12, 6, None));
    let f = heard("opencode", &[start, &late, &end("stop", 0.25)], Exit::Code(0), false);
    assert_eq!(f.usage.expect("usage").cost_usd, Some(0.25));
    assert_eq!(
        class(&heard("opencode", &[start, &early, &end("stop", 0.0)], Exit::Code(0), true)),
        FailureClass::Schema
    );
    let f =
        heard("opencode", &["permission requested", start, rejected, &end("tool-calls", 0.0)], Exit::Code(0), false);
    assert_eq!(
        (class(&f), f.denials.len(), f.denials[0].resource.as_str()),
        (FailureClass::Permission, 1, "/etc/hostname")
    );
    let error =
        r#"{"type":"error","sessionID":"s","error":{"name":"APIError","data":{"message":"bad key","statusCode":401}}}"#;
    assert_eq!(class(&heard("opencode", &[error], Exit::Code(1), false)), FailureClass::Auth);
    assert_eq!(class(&heard("opencode", &[start, &late], Exit::Code(0), false)), FailureClass::Output);
    assert_eq!(class(&heard("opencode", &[], Exit::Code(0), false)), FailureClass::Output);
}

#[test]
fn a_continued_session_costs_what_came_after() {
    let table = adapters("{}");
    let before = Usage { input_tokens: 9000, output_tokens: 4, cost_usd: Some(0.1), ..Usage::default() };
    let session = Session { id: "s-0".into(), used: before };
    let forked = AgentWork { conversation: Conversation::Fork(Box::new(session)), ..work("x") };
    let said = |cli: &str, lines: &[&str]| {
        let mut stream = table.get(cli).expect("built in").stream(&forked);
        stream.feed(lines.join("\n").as_bytes());
        stream.finish(Exit::Code(0), "").usage.expect("usage")
    };
    let claude = table.get("claude").and_then(|a| a.command(&forked)).expect("a command");
    assert!(option(&claude, "--resume") == Some("s-0") && claude.argv.contains(&"--fork-session".into()));
    let cost = said("claude", &[&result_line(json!({}))]).cost_usd.expect("a cost");
    assert!((cost - 0.025).abs() < 1e-9, "{cost}");
    let anew = said("claude", &[&result_line(json!({"total_cost_usd": 0.01}))]);
    assert_eq!((anew.cost_usd, anew.input_tokens), (Some(0.01), 100), "its tokens are never sums");
    let codex = table.get("codex").and_then(|a| a.command(&forked)).expect("a command");
    assert_eq!(codex.argv[..3], ["codex", "exec", "fork"]);
    assert_eq!(codex.argv[codex.argv.len() - 2..], ["s-0", "-"]);
    let done = r#"{"type":"turn.completed","usage":{"input_tokens":19857,"output_tokens":12}}"#;
    let used = said("codex", &[done]);
    assert_eq!((used.input_tokens, used.output_tokens), (10857, 8));
    let opencode = table.get("opencode").and_then(|a| a.command(&forked)).expect("a command");
    assert!(option(&opencode, "-s") == Some("s-0") && opencode.argv.contains(&"--fork".into()));
}
