//! TypeScript in, JSON out, and errors that a person can act on.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use raddle_sandbox::FailureKind;
use serde_json::{Value, json};

use crate::Sandbox;

#[test]
fn typescript_works_and_values_come_back() {
    let mut sandbox = Sandbox::default();
    for (code, wanted) in [
        ("const add = (a: number, b: number): number => a + b; return add(1, 2)", json!(3)),
        (
            "interface P { n: string; a?: { b?: number } } const p: P = { n: 'x' }; return `${p.n}-${p.a?.b ?? 'none'}`",
            json!("x-none"),
        ),
        ("type T = { k: string } | null; const t = { k: 'v' } as T; return t!.k", json!("v")),
        ("function id<X>(x: X): X { return x } return [id<number>(1), id('a')]", json!([1, "a"])),
        (
            "const wait = async (v: string): Promise<string> => { await null; return v }; return await wait('late')",
            json!("late"),
        ),
        ("enum E { A = 2, B, C = 'c' } return [E.A, E.B, E.C, E[2]]", json!([2, 3, "c", "A"])),
        (
            "class C { constructor(private readonly v: number) {} get w() { return this.v } } return new C(7).w",
            json!(7),
        ),
        (
            "class C { #v: number; constructor(v: number) { this.#v = v } get v() { return this.#v } } return new C(7).v",
            json!(7),
        ),
        (
            "const { a, ...rest } = { a: 1, b: 2, c: [3] }; return { a, rest }",
            json!({"a": 1, "rest": {"b": 2, "c": [3]}}),
        ),
        (
            "return [...new Map([['a', 1]]).entries(), ...[...new Set([1, 1])].map(s => ['s', s])]",
            json!([["a", 1], ["s", 1]]),
        ),
        ("return 'Grüße ✓'.normalize('NFC').split(' ')", json!(["Grüße", "✓"])),
        ("const t = (x: unknown) => x satisfies unknown; return t(1)", json!(1)),
        (r"return /(?<y>\d{4})/.exec('in 2025')?.groups?.y", json!("2025")),
        ("return undefined", Value::Null),
        ("const x = 1", Value::Null),
        ("", Value::Null),
        ("// only a comment", Value::Null),
        ("return ''", json!("")),
        ("return 0.1 + 0.2", json!(0.30000000000000004)),
        (
            "return [1e21, -0, 1e-7, NaN, -Infinity, 9007199254740991]",
            json!([1e21, 0, 1e-7, null, null, 9007199254740991_i64]),
        ),
        (
            "return {u: undefined, n: null, d: new Date(0), a: [undefined]}",
            json!({"n": null, "d": "1970-01-01T00:00:00.000Z", "a": [null]}),
        ),
        (
            "return {n: new Number(1), s: new String('x'), b: new Boolean(false), '\"\\n': 1}",
            json!({"n": 1, "s": "x", "b": false, "\"\n": 1}),
        ),
        ("return {toJSON: () => ({a: 1, b: undefined})}", json!({"a": 1})),
        ("return [new Proxy([1, 2], {}), new Proxy({a: 1}, {})]", json!([[1, 2], {"a": 1}])),
        ("return Promise.resolve([Promise.resolve(1) instanceof Promise])", json!([true])),
        ("#!/usr/bin/env ts\nreturn 1", json!(1)),
        ("return `${new TextDecoder().decode(new TextEncoder().encode('ü'))}${atob(btoa('x'))}`", json!("üx")),
        (
            "const a = {d: new Date(5), m: new Map([[1, {x: 1}]])}; const b = structuredClone(a); return [b.d.getTime(), b.m.get(1).x, b.m.get(1) !== a.m.get(1)]",
            json!([5, 1, true]),
        ),
    ] {
        assert_eq!(sandbox.value(code), wanted, "{code}");
    }
}

#[test]
fn values_that_are_no_json_are_errors_that_name_the_part() {
    let mut sandbox = Sandbox::default();
    for (code, words) in [
        ("return () => 1", "a function"),
        ("return {a: [{f() {}}]}", "a function at a[0].f"),
        ("const a = {}; a.b = {a}; return a", "a cycle at b.a"),
        ("return [10n]", "a BigInt (convert it with Number() or String()) at [0]"),
        ("return Symbol('x')", "a symbol"),
        ("return {toJSON() { return () => 1 }}", "a function"),
        ("let a = []; for (let i = 0; i < 1000; i++) a = [a]; return a", "deeper"),
        ("const s = 'x'.repeat(1 << 20); return new Array(40).fill(s)", "longer than"),
    ] {
        let (kind, message) = sandbox.failure(code);
        assert_eq!(kind, FailureKind::Output, "{code}: {message}");
        assert!(message.contains(words), "{code}: {message}");
    }
    // The same object twice is no cycle.
    assert_eq!(sandbox.value("const a = {x: 1}; return [a, a]"), json!([{"x": 1}, {"x": 1}]));
}

#[test]
fn errors_are_told_with_their_place() {
    let mut sandbox = Sandbox::default();
    for (code, wanted) in [
        ("return nosuchname", "ReferenceError: nosuchname is not defined (t:1:8)"),
        ("type A = 1;\n\nconst f = () => {\n  throw new TypeError('no');\n};\nf();", "TypeError: no (t:4:13)"),
        ("throw 'plain text'", "thrown: plain text"),
        ("throw {a: 1}", "thrown: {\"a\":1}"),
        ("throw null", "thrown: null"),
        ("throw undefined", "thrown: undefined"),
        ("throw () => 1", "thrown: a value of type function"),
        ("await Promise.reject(new TypeError('late'))", "TypeError: late (t:1:26)"),
        ("class MyError extends Error { name = 'MyError' }\nthrow new MyError()", "MyError (t:"),
        ("const x: = 3", "SyntaxError: Unexpected token (t:1:10)"),
        ("return {", "SyntaxError: "),
        ("let a = 1;\nlet a = 2;", "SyntaxError: "),
        ("}); (async () => {", "SyntaxError: the braces of the code do not match"),
        ("import x from 'y'; return x", "SyntaxError: "),
        ("nosuch = 1", "ReferenceError: "),
        ("await new Promise(() => {})", "the code awaits a promise that nothing will ever settle"),
        ("return {get a() { throw new RangeError('getter') }}", "RangeError: getter (t:1:"),
        ("return {toJSON() { throw 'sour' }}", "thrown: sour"),
        ("throw new Proxy({}, {get() { throw 1 }, ownKeys() { throw 2 }})", "thrown: a value of type "),
        ("const e = new Error('x'); Object.defineProperty(e, 'message', {get() { throw 1 }}); throw e", "Error"),
        ("const e = new Error('x'); e.stack = 'code:99999999999:1'; e.name = 5; throw e", "Error: x"),
    ] {
        let (kind, message) = sandbox.failure(code);
        assert_eq!(kind, FailureKind::Logic, "{code}: {message}");
        assert!(message.starts_with(wanted), "{code}\n{message}");
    }
}

#[test]
fn deps_and_context_are_names_in_scope() {
    let mut sandbox = Sandbox::default();
    let deps = r#"{"a": {"status": "success", "output": {"n": 4}}, "b": {"status": "failed_safe", "output": null, "error": {"class": "logic"}}}"#;
    let context = r#"{"k": 5, "größe": "x", "not-a-name": 6, "class": 7, "deps": 8, "__proto__": 9, "JSON": 10}"#;
    for (code, wanted) in [
        (
            "return [Object.keys(deps.a).sort(), deps.a.output.n, deps.b.output, deps.b.error.class, deps.x?.status]",
            json!([["output", "status"], 4, null, "logic", null]),
        ),
        (
            "return [k + 1, context.k, größe, context['not-a-name'], context.class, typeof deps, context.deps, JSON]",
            json!([6, 5, "x", 6, 7, "object", 8, 10]),
        ),
        ("const k = 1; let größe = 2; return k + größe", json!(3)),
        ("return Object.getPrototypeOf(context) === Object.prototype && ({}).k === undefined", json!(true)),
        ("return arguments.length", json!(0)),
    ] {
        assert_eq!(sandbox.value_with(code, deps, context), wanted, "{code}");
    }
}

#[test]
fn the_console_is_a_bounded_log() {
    let mut sandbox = Sandbox::default();
    let outcome =
        sandbox.run("console.log('a', 1, {b: [2]}, undefined, 3n, new TypeError('x')); console.error('e'); return 1");
    assert_eq!(outcome.log, "a 1 {\"b\":[2]} undefined 3n TypeError: x\ne\n");
    let outcome = sandbox.run("console.warn('before'); throw 1");
    assert_eq!(outcome.log, "before\n");
    let outcome = sandbox.run("for (let i = 0; i < 1e5; i++) console.log('line ' + i); return 1");
    assert!(outcome.log.len() <= 64 << 10 && outcome.log.ends_with("[log cut]\n"));
    assert_eq!(sandbox.run("return 1").log, "");
}

#[test]
fn large_inputs_and_results_go_through() {
    let mut sandbox = Sandbox::with_memory(256 << 20);
    let text = "x".repeat(10 << 20);
    let deps = format!(r#"{{"a": {{"status": "success", "output": "{text}"}}}}"#);
    assert_eq!(sandbox.value_with("return deps.a.output.length", &deps, "{}"), json!(10 << 20));
    let back = sandbox.value_with("return deps.a.output", &deps, "{}");
    assert_eq!(back.as_str().map(str::len), Some(10 << 20));
    assert_eq!(sandbox.value_with("return deps", "{}", "{}"), json!({}));
}

fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), "[a-z_]{0,6}", Just("__proto__".to_owned()), "[0-9]{1,3}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..(1 << 53)).prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |f| f.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// JSON knows one kind of number, and so does the sandbox. This test's own reader of JSON may be off by the last bit.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= a.abs() * f64::EPSILON * 2.0
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn every_json_value_survives_the_way_in_and_out() {
    let mut sandbox = Sandbox::default();
    let mut values = Vec::new();
    let mut runner = TestRunner::default();
    for _ in 0..300 {
        values.push(any_json().new_tree(&mut runner).unwrap().current());
    }
    for value in values {
        let back = sandbox.value_with("return deps", &value.to_string(), "{}");
        assert!(same(&value, &back), "{value}\ncame back as\n{back}");
        // Read as the language reads it, to the last bit.
        let (text, code) = (value.to_string(), "return JSON.stringify(deps) === JSON.stringify(JSON.parse(text))");
        assert_eq!(sandbox.value_with(code, &text, &json!({"text": text}).to_string()), json!(true), "{text}");
    }
}
