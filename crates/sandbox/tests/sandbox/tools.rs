//! Tools from inside the code: what `tools` looks like, how answers and failures come back, and what is not asked.

use raddle_sandbox::{FailureKind, ToolAnswer};
use serde_json::{Value, json};

use crate::Sandbox;

const TOOLS: &str = r#"{"servers":["git","map","my-tracker"],"ranked":[
    {"name":"git:list_commits","description":"List commits","parameters":{"type":"object"}},
    {"name":"my-tracker:close","description":"Close an issue","parameters":{"type":"object"}}]}"#;

/// Answers with what was asked; fails or denies on demand.
fn echo(name: &str, arguments: &str) -> ToolAnswer {
    match name.split_once(':') {
        Some((_, "fail")) => ToolAnswer::Failed("tool `fail` failed: no such repository".into()),
        Some((_, "secret")) => ToolAnswer::Denied(format!("calling {name} is not permitted")),
        _ => ToolAnswer::Value(
            json!({"tool": name, "with": serde_json::from_str::<Value>(arguments).unwrap()}).to_string(),
        ),
    }
}

fn value(sandbox: &mut Sandbox, code: &str) -> Value {
    let outcome = sandbox.call_with(code, (TOOLS, None), &mut echo);
    serde_json::from_str(&outcome.result.unwrap_or_else(|(_, message)| panic!("{code}: {message}"))).unwrap()
}

fn failure(sandbox: &mut Sandbox, code: &str) -> (FailureKind, String) {
    sandbox.call_with(code, (TOOLS, None), &mut echo).result.expect_err(code)
}

#[test]
fn a_tool_is_a_function_of_its_server() {
    let mut sandbox = Sandbox::default();
    for (code, tool, with) in [
        (
            "return await tools.git.list_commits({limit: 2, of: ['ü', null]})",
            "git:list_commits",
            json!({"limit": 2, "of": ["ü", null]}),
        ),
        ("return tools['my-tracker']['close it'](undefined)", "my-tracker:close it", json!({})),
        ("return await tools.call('map:then', {a: 1})", "map:then", json!({"a": 1})),
        ("return await tools[1].call({id: 'x'})", "my-tracker:close", json!({"id": "x"})),
        ("const {git} = tools; const f = git.log; return await f({})", "git:log", json!({})),
        ("return (await Promise.race([tools.git.a({}), tools.git.b({})]))", "git:a", json!({})),
    ] {
        assert_eq!(value(&mut sandbox, code), json!({"tool": tool, "with": with}), "{code}");
    }
}

#[test]
fn the_list_is_a_plain_list_that_a_server_cannot_disturb() {
    let mut sandbox = Sandbox::default();
    let code = "return [tools.map(t => t.name), Array.isArray(tools), Object.keys(tools), JSON.stringify(tools[0]), await tools.git === tools.git]";
    let first = r#"{"name":"git:list_commits","description":"List commits","parameters":{"type":"object"}}"#;
    let wanted = json!([["git:list_commits", "my-tracker:close"], true, ["0", "1"], first, true]);
    assert_eq!(value(&mut sandbox, code), wanted);
    assert_eq!(sandbox.value("return typeof tools"), json!("undefined"), "a task without tools has none");
    assert_eq!(sandbox.value_with("return tools", "{}", r#"{"tools": 5}"#), json!(5));
}

#[test]
fn many_calls_are_under_way_at_once_and_files_do_not_mix_with_them() {
    let mut sandbox = Sandbox::default();
    let code = "
        const all = Array.from({length: 200}, (_, n) => tools.git.get({n}));
        await Promise.all([readTextFile('/nowhere').catch(() => 0), ...all]);
        return (await Promise.all(all)).every((a, n) => a.with.n === n)";
    assert_eq!(value(&mut sandbox, code), json!(true));
}

#[test]
fn failures_are_exceptions_with_the_tools_words_and_the_codes_line() {
    let mut sandbox = Sandbox::default();
    let code = "try { await tools.git.fail() } catch (e) { return [e.name, e.message, e instanceof Error] }";
    assert_eq!(value(&mut sandbox, code), json!(["ToolError", "tool `fail` failed: no such repository", true]));
    let (kind, message) = failure(&mut sandbox, "const x: number = 1;\n\nawait tools.git.fail({});");
    assert_eq!(
        (kind, message.as_str()),
        (FailureKind::Tool, "ToolError: tool `fail` failed: no such repository (t:3:17)")
    );
    let (kind, message) = failure(&mut sandbox, "return await tools.git.secret()");
    assert!(kind == FailureKind::Permission && message.contains("not permitted"), "{message}");
    let forged = "const e = new Error('x'); e.name = 'ToolError'; throw e";
    assert_eq!(failure(&mut sandbox, forged).0, FailureKind::Logic);
}

#[test]
fn what_is_no_question_is_not_asked() {
    let mut sandbox = Sandbox::default();
    for code in [
        "return await tools.git.x(5)",
        "return await tools.git.x([1])",
        "return await tools.git.x(() => 1)",
        "return await tools.git.x({n: 1n})",
        "const a = {}; a.a = a; return await tools.git.x(a)",
        "return await tools.call('git:' + 'x'.repeat(5000))",
        "return await tools.git.x({text: 'x'.repeat(9 << 20)})",
    ] {
        let outcome = sandbox.call_with(code, (TOOLS, None), &mut |name, _| panic!("{code}: asked {name}"));
        assert!(outcome.result.is_err(), "{code}");
    }
    let endless = "for (;;) await tools.git.x().catch(e => { if (e.name === 'RangeError') throw e })";
    let (kind, message) = failure(&mut sandbox, endless);
    assert!(kind == FailureKind::Logic && message.contains("10000 times"), "{message}");
    let (kind, _) = failure(&mut sandbox, "for (;;) await tools.git.secret().catch(() => 0)");
    assert_eq!(kind, FailureKind::Permission);
}

#[test]
fn code_that_breaks_its_world_still_gets_its_own_answers_only() {
    let mut sandbox = Sandbox::default();
    for code in [
        "globalThis.Promise = null; globalThis.Proxy = null; return await tools.git.a({n: 1})",
        "Object.prototype.set = () => { throw 1 }; Map.prototype.get = null; return await tools.git.a({n: 1})",
        "Reflect.apply = null; JSON.stringify = () => '{\"n\":2}'; return await tools.git.a({n: 1})",
        "Array.prototype.push = null; Array.prototype[Symbol.iterator] = null; return await tools.git.a({n: 1})",
        "Object.defineProperty(Object.prototype, '1', {get() { throw 1 }, set() { throw 1 }}); return await tools.git.a({n: 1})",
    ] {
        assert_eq!(value(&mut sandbox, code), json!({"tool": "git:a", "with": {"n": 1}}), "{code}");
    }
    let (kind, message) = failure(&mut sandbox, "tools.git.x = 1");
    assert!(kind == FailureKind::Logic && message.contains("TypeError"), "{message}");
    // A call that is not waited for is given up, and its answer does not reach the next call.
    value(&mut sandbox, "tools.git.slow({}); return 1");
    assert_eq!(value(&mut sandbox, "return (await tools.git.next({})).tool"), json!("git:next"));
}
