//! Agents, tools and code through the dispatcher, with real processes. This binary is also the sandbox worker, which
//! needs a `main` of its own.
#![expect(clippy::print_stdout, reason = "a test without a harness tells what it has done")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod kit;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kit::Bench;
use raddle_engine::FailureClass;
use raddle_engine::attempt::{
    AgentWork, AttemptSpec, CodeTools, CodeWork, Fixed, RawOutput, StopCause, ToolWork, Work,
};
use raddle_executors::agent::{Adapters, CliConfig};
use raddle_executors::{LocalConfig, Reach, ServerCommand};

/// A server that knows `initialize`, `tools/list` and `tools/call`, and ends when asked for the tool `die`.
const SERVER: &str = r#"
import json, sys, time
def say(**message): print(json.dumps(dict(jsonrpc="2.0", **message)), flush=True)
for line in sys.stdin:
    m = json.loads(line)
    if m["method"] == "initialize":
        say(id=m["id"], result=dict(protocolVersion="2025-06-18", capabilities=dict(tools={}), serverInfo=dict(name="s", version="1")))
    elif m["method"] == "tools/list":
        say(id=m["id"], result=dict(tools=[dict(name=n, inputSchema=dict(type="object")) for n in ("echo", "die", "hang")]))
    elif m["method"] == "tools/call":
        name = m["params"]["name"]
        if name == "die": print("last words", file=sys.stderr); sys.exit(3)
        if name == "echo": say(id=m["id"], result=dict(content=[dict(type="text", text=json.dumps(m["params"]["arguments"]))]))
    elif "id" in m:
        say(id=m["id"], error=dict(code=-32601, message="unknown"))
"#;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = &arguments[..]
        && first == "worker"
    {
        raddle_sandbox::worker::main(raddle_sandbox::Config::from_args(rest).unwrap());
    }
    let tests: [(&str, Story); 11] = [
        ("an agent gets its prompt and gives its answer", an_agent_gets_its_prompt_and_gives_its_answer),
        ("an agent that fails or is stopped", an_agent_that_fails_or_is_stopped),
        ("a tool is called", a_tool_is_called),
        ("a server that dies is started again", a_server_that_dies_is_started_again),
        ("code returns a value", code_returns_a_value),
        ("code is held to its limits", code_is_held_to_its_limits),
        ("code reads what is allowed", code_reads_what_is_allowed),
        ("code calls the tools that are granted", code_calls_the_tools_that_are_granted),
        ("code sees tools by its intent", code_sees_tools_by_its_intent),
        ("a tool that fails is an exception", a_tool_that_fails_is_an_exception),
        ("code that waits for a tool ends in time", code_that_waits_for_a_tool_ends_in_time),
    ];
    for (name, test) in tests {
        test(&mut bench());
        println!("{name}: ok");
    }
}

type Story = fn(&mut Bench);

fn bench() -> Bench {
    let argv = |text: &[&str]| text.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>();
    let cli = |script: &str| CliConfig { command: Some(argv(&["sh", "-c", script])), ..CliConfig::default() };
    let clis = BTreeMap::from([
        ("echo".to_owned(), cli("cat; cat $RADDLE_DEPS >&2")),
        ("deaf".to_owned(), cli("exec <&-; echo sorry >&2; exit 5")),
        ("slow".to_owned(), cli("cat >/dev/null; echo ready > ready; exec sleep 1000")),
    ]);
    let server =
        ServerCommand { argv: argv(&["python3", "-c", SERVER]), env: Vec::new(), cwd: "/".into(), confinement: None };
    let server = Reach::Command(server).into();
    let own = std::env::current_exe().unwrap().into_os_string().into_string().unwrap();
    Bench::with(LocalConfig {
        worker_argv: vec![own, "worker".to_owned()],
        adapters: Some(Adapters::new(&clis).unwrap()),
        servers: BTreeMap::from([("s".to_owned(), server)]),
        ..LocalConfig::default()
    })
}

fn agent(bench: &mut Bench, cli: &str, prompt: &str) -> AttemptSpec {
    bench.spec(Work::Agent(Box::new(AgentWork {
        cli: cli.into(),
        prompt: prompt.into(),
        model: None,
        system_prompt: None,
        tools: None,
        schema: None,
        conversation: Default::default(),
        begins_foreign: false,
    })))
}

fn tool(bench: &mut Bench, server: &str, tool: &str) -> AttemptSpec {
    bench.spec(Work::Tool(Box::new(ToolWork {
        server: server.into(),
        tool: tool.into(),
        arguments: serde_json::json!({"a": [1, "x"]}),
        idempotency_key: "k".into(),
    })))
}

fn code(bench: &mut Bench, text: &str) -> AttemptSpec {
    let allowed_read_paths = vec![bench.path().join("open")];
    bench.spec(Work::Code(Box::new(CodeWork {
        code: text.into(),
        name: "code".into(),
        deps: "{\"a\":{\"status\":\"success\",\"output\":20}}".into(),
        context: "{\"two\":2}".into(),
        timeout: Duration::from_millis(500),
        memory_bytes: 32 << 20,
        allowed_read_paths,
        fixed: None,
        tools: None,
    })))
}

fn an_agent_gets_its_prompt_and_gives_its_answer(bench: &mut Bench) {
    let prompt = "$(touch pwned) 'ü'\n".repeat(20_000);
    let spec = agent(bench, "echo", &prompt);
    assert_eq!(bench.run(spec), Ok(RawOutput::Text(prompt.trim_end_matches('\n').into())));
    assert!(!bench.path().join("pwned").exists());
    let spec = agent(bench, "nobody", "x");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Start);
}

fn an_agent_that_fails_or_is_stopped(bench: &mut Bench) {
    let spec = agent(bench, "deaf", &"x".repeat(1 << 20));
    let (class, message) = bench.run(spec).unwrap_err();
    assert!(class == FailureClass::Exit && message.contains("sorry"), "{message}");
    let spec = agent(bench, "slow", "x");
    let key = bench.start(spec);
    bench.file("ready");
    bench.stop(key, StopCause::Timeout, Duration::from_secs(5));
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Timeout);
}

fn a_tool_is_called(bench: &mut Bench) {
    let keys: Vec<_> = (0..20)
        .map(|_| {
            let spec = tool(bench, "s", "echo");
            bench.start(spec)
        })
        .collect();
    for key in keys {
        assert_eq!(bench.end_of(key).result, Ok(RawOutput::Json("{\"a\": [1, \"x\"]}".into())));
    }
    let spec = tool(bench, "s", "hang");
    let key = bench.start(spec);
    bench.wait(Duration::from_millis(20));
    bench.stop(key, StopCause::Timeout, Duration::from_secs(5));
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Timeout);
    let spec = tool(bench, "other", "echo");
    assert!(bench.run(spec).unwrap_err().1.contains("there are s"));
}

fn a_server_that_dies_is_started_again(bench: &mut Bench) {
    let spec = tool(bench, "s", "die");
    let (class, message) = bench.run(spec).unwrap_err();
    assert!(class == FailureClass::Tool && message.contains("exit status 3"), "{class:?} {message}");
    let spec = tool(bench, "s", "echo");
    assert!(bench.run(spec).is_ok());
}

fn code_returns_a_value(bench: &mut Bench) {
    bench.dispatcher.prewarm(&[32 << 20]);
    let keys: Vec<_> = (0..40)
        .map(|i| {
            let spec = code(bench, &format!("const n: number = {i}; return deps.a.output + two + n"));
            bench.start(spec)
        })
        .collect();
    for (i, key) in keys.into_iter().enumerate() {
        assert_eq!(bench.end_of(key).result, Ok(RawOutput::Json((22 + i).to_string())));
    }
}

fn code_is_held_to_its_limits(bench: &mut Bench) {
    let spec = code(bench, "throw new Error('no')");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Logic);
    let before = Instant::now();
    let spec = code(bench, "for (;;) {}");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Timeout);
    assert!(before.elapsed() < Duration::from_secs(10));
    let spec = code(bench, "const a = []; for (;;) a.push('x'.repeat(100000) + a.length)");
    assert_eq!(bench.run(spec).unwrap_err().0, FailureClass::Oom);
    let spec = code(bench, "for (;;) {}");
    let key = bench.start(spec);
    bench.wait(Duration::from_millis(20));
    bench.stop(key, StopCause::Cancelled, Duration::from_secs(5));
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);
    let spec = code(bench, "return 1");
    assert!(bench.run(spec).is_ok());
}

fn code_reads_what_is_allowed(bench: &mut Bench) {
    std::fs::write(bench.path().join("open"), "text").unwrap();
    let path = bench.path().join("open").to_str().unwrap().to_owned();
    let spec = code(bench, &format!("return readTextFile({path:?})"));
    assert_eq!(bench.run(spec), Ok(RawOutput::Json("\"text\"".into())));
}

fn code_with_tools(bench: &mut Bench, text: &str, intent: Option<&str>, granted: Option<&[&str]>) -> AttemptSpec {
    let mut spec = code(bench, text);
    if let Work::Code(work) = &mut spec.work {
        work.timeout = Duration::from_secs(10);
        work.tools = Some(CodeTools {
            intent: intent.map(str::to_owned),
            granted: granted.map(|patterns| patterns.iter().map(|pattern| (*pattern).to_owned()).collect()),
            idempotency_key: "k".into(),
        });
    }
    spec
}

fn json(result: Result<RawOutput, (FailureClass, String)>) -> serde_json::Value {
    match result.unwrap() {
        RawOutput::Json(text) => serde_json::from_str(&text).unwrap(),
        RawOutput::Text(text) => panic!("text: {text}"),
    }
}

fn code_calls_the_tools_that_are_granted(bench: &mut Bench) {
    let many = "const all = await Promise.all(Array.from({length: 100}, (_, n) => tools.s.echo({n})));
        return all.every((answer, n) => answer.n === n)";
    let spec = code_with_tools(bench, many, None, Some(&["s:ec*"]));
    let stem = spec.file_stem();
    assert_eq!(json(bench.run(spec)), true);
    let log = std::fs::read_to_string(bench.path().join("logs").join(format!("{stem}.err"))).unwrap();
    assert_eq!(log.matches("s:echo: called").count(), 100, "{log}");
    for (granted, wanted) in
        [(None, "no tool is granted"), (Some(&["s:hang"][..]), "does not name it"), (Some(&[]), "")]
    {
        let spec = code_with_tools(bench, "return await tools.s.echo({})", None, granted);
        let (class, message) = bench.run(spec).unwrap_err();
        let class_wanted = if wanted.is_empty() { FailureClass::Logic } else { FailureClass::Permission };
        assert!(class == class_wanted && message.contains(wanted), "{class:?} {message}");
    }
    assert_eq!(bench.denied, ["call s:echo", "call s:echo"]);
    // A grant for one task is none for the next one in the same worker.
    let spec = code(bench, "return typeof tools");
    assert_eq!(json(bench.run(spec)), "undefined");
}

fn code_sees_tools_by_its_intent(bench: &mut Bench) {
    let names = "return [tools.map(tool => tool.name), tools[0]?.parameters]";
    let spec = code_with_tools(bench, names, Some("an echo of my words"), None);
    assert_eq!(json(bench.run(spec)), serde_json::json!([["s:echo"], {"type": "object"}]));
    let spec = code_with_tools(bench, names, Some("an echo, or to hang"), Some(&["s:hang"]));
    assert_eq!(json(bench.run(spec)), serde_json::json!([["s:hang"], {"type": "object"}]));
    let call = "return await tools[0].call({a: 1})";
    let spec = code_with_tools(bench, call, Some("echo"), Some(&["s:*"]));
    assert_eq!(json(bench.run(spec)), serde_json::json!({"a": 1}));
    let spec = code_with_tools(bench, "return 1", Some("echo"), Some(&["s:*", "absent:*"]));
    assert_eq!(json(bench.run(spec)), 1);
}

fn a_tool_that_fails_is_an_exception(bench: &mut Bench) {
    for (call, class, wanted) in [
        ("tools.s.die({})", FailureClass::Tool, "exit status 3"),
        ("tools.s.ecco({})", FailureClass::Tool, "did you mean"),
        ("tools.call('s')", FailureClass::Tool, "server:tool_name"),
        ("tools.call('absent:x')", FailureClass::Tool, "there are s"),
    ] {
        let spec = code_with_tools(bench, &format!("return await {call}"), None, Some(&["*:*"]));
        let (found, message) = bench.run(spec).unwrap_err();
        assert!(found == class && message.contains(wanted), "{call}: {found:?} {message}");
        let caught = format!("try {{ await {call} }} catch (e) {{ return e.name }}");
        let spec = code_with_tools(bench, &caught, None, Some(&["*:*"]));
        assert_eq!(json(bench.run(spec)), "ToolError");
    }
}

fn code_that_waits_for_a_tool_ends_in_time(bench: &mut Bench) {
    let mut spec = code_with_tools(bench, "return await tools.s.hang({})", None, Some(&["s:*"]));
    if let Work::Code(work) = &mut spec.work {
        work.timeout = Duration::from_millis(300);
    }
    let (class, message) = bench.run(spec).unwrap_err();
    assert!(class == FailureClass::Timeout && message.contains("300 ms"), "{message}");
    let spec = code_with_tools(bench, "return await tools.s.hang({})", None, Some(&["s:*"]));
    let key = bench.start(spec);
    bench.wait(Duration::from_millis(20));
    bench.stop(key, StopCause::Cancelled, Duration::from_secs(5));
    assert_eq!(bench.end_of(key).result.unwrap_err().class, FailureClass::Cancelled);
    // The code may go on without an answer; whoever comes next gets only its own.
    let race = "tools.s.hang({}).catch(() => 0); return await tools.s.echo({n: 1})";
    let spec = code_with_tools(bench, race, None, Some(&["s:*"]));
    assert_eq!(json(bench.run(spec)), serde_json::json!({"n": 1}));
    let mut spec = code(bench, "return [Date.now(), Math.random()]");
    if let Work::Code(work) = &mut spec.work {
        work.fixed = Some(Fixed { clock_ms: 5, seed: 6 });
    }
    let first = json(bench.run(spec.clone()));
    assert_eq!(first[0], 5);
    spec.key.task.0 += 1000;
    assert_eq!(json(bench.run(spec)), first);
}
