//! Attempts to get out, or to leave something behind. The kernel's walls are tried from inside a sealed process in
//! `workers`.

use serde_json::json;

use crate::Sandbox;

#[test]
fn nothing_outside_the_language_can_be_reached() {
    let mut sandbox = Sandbox::default();
    for code in [
        "return typeof require + typeof process + typeof std + typeof os + typeof Bun + typeof setTimeout + typeof load",
        "return (() => {}).constructor('return typeof process')()",
    ] {
        let seen = sandbox.value(code);
        assert!(seen.as_str().unwrap().replace("undefined", "").is_empty(), "{code}: {seen}");
    }
    for code in [
        "return await import('fs')",
        "return await import('std')",
        "return await import('/etc/passwd')",
        "return [].constructor.constructor('return require(\"fs\")')()",
        "return (async () => {}).constructor('return await import(\"os\")')()",
        "return (0, eval)('process.env')",
        "return new Function('return globalThis.process.env')()",
        "return Deno.env.get('PATH')",
        "return new Deno.Command('sh')",
        "return new WebSocket('ws://127.0.0.1:1')",
        "return new Worker('x')",
        "return (function f() { return f.caller })()",
        "return Error.prepareStackTrace(null, [])[0].getThis()",
    ] {
        assert!(sandbox.run(code).result.is_err(), "{code}");
    }
}

#[test]
fn blocking_primitives_do_not_block() {
    let mut sandbox = Sandbox::default();
    let code = "return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)";
    assert!(sandbox.run(code).result.is_err());
}

#[test]
fn tampering_with_the_language_does_not_reach_the_protocol() {
    let mut sandbox = Sandbox::default();
    for (code, wanted) in [
        ("JSON.stringify = () => 'x'; JSON.parse = () => 0; return {a: 1}", json!({"a": 1})),
        ("Promise.prototype.then = () => { throw 1 }; return 5", json!(5)),
        (
            "Array.prototype[Symbol.iterator] = null; Object.keys = null; Array.isArray = () => false; return [1]",
            json!([1]),
        ),
        ("globalThis.Promise = null; globalThis.Object = null; return {b: 2}", json!({"b": 2})),
        (
            "String.prototype.toString = () => 'no'; Number.prototype.toString = () => 'no'; return ['s', 1.5]",
            json!(["s", 1.5]),
        ),
        (
            "for (const k of Object.getOwnPropertyNames(globalThis)) try { delete globalThis[k] } catch {} return 'alone'",
            json!("alone"),
        ),
        ("Object.prototype.toJSON = function () { return 'everything' }; return {a: 1}", json!("everything")),
        ("Function.prototype.call = () => 1; Function.prototype.apply = () => 1; console.log('x'); return 1", json!(1)),
    ] {
        assert_eq!(sandbox.value(code), wanted, "{code}");
    }
}

#[test]
fn nothing_is_left_for_the_next_call() {
    let mut sandbox = Sandbox::default();
    let first = "globalThis.mark = 1; Object.prototype.evil = 2; Array.prototype.map = () => 'no'; JSON.parse = () => 0;\
        console.log = 1; deps.__proto__.x = 1; Object.freeze(Object.prototype); return 1";
    let second = "return [typeof globalThis.mark, ({}).evil === undefined, [1].map(x => x + 1), JSON.parse('3'), typeof console.log, ({}).x === undefined]";
    let pid = sandbox.worker().id();
    for _ in 0..3 {
        sandbox.value(first);
        assert_eq!(sandbox.value(second), json!(["undefined", true, [2], 3, "function", true]));
    }
    assert_eq!(sandbox.worker().id(), pid, "the calls shared one worker");
}

#[test]
fn proxies_and_getters_run_but_do_not_confuse() {
    let mut sandbox = Sandbox::default();
    for (code, wanted) in [
        (
            "return new Proxy({}, {ownKeys: () => ['a', 'b'], getOwnPropertyDescriptor: () => ({enumerable: true, configurable: true, value: 1}), get: (t, k) => k === 'toJSON' ? undefined : 7})",
            json!({"a": 7, "b": 7}),
        ),
        ("let n = 0; return {get a() { return ++n }, get b() { return ++n }}", json!({"a": 1, "b": 2})),
        ("const o = {get a() { delete o.b; return 1 }, b: 2}; return o", json!({"a": 1})),
        (
            "const a = [1, 2, 3]; Object.defineProperty(a, 0, {get() { a.length = 1; return 0 }, enumerable: true}); return a",
            json!([0, null, null]),
        ),
        ("deps.a = new Proxy(deps, {}); return Object.keys(deps)", json!(["a"])),
    ] {
        assert_eq!(sandbox.value(code), wanted, "{code}");
    }
    let chain = "let p = []; for (let i = 0; i < 1e5; i++) p = new Proxy(p, {}); return p";
    assert!(sandbox.run(chain).result.is_err());
    let revoked = "const {proxy, revoke} = Proxy.revocable({}, {}); revoke(); return proxy";
    assert!(sandbox.run(revoked).result.is_err());
}

#[test]
fn no_environment_can_be_seen() {
    let mut sandbox = Sandbox::default();
    let code = "
        const seen = new Set();
        const look = (o, depth) => {
          if (depth > 5 || o === null || (typeof o !== 'object' && typeof o !== 'function') || seen.has(o)) return;
          seen.add(o);
          for (const k of Reflect.ownKeys(o)) {
            let v; try { v = o[k]; } catch { continue; }
            if (typeof v === 'string' && /PATH|HOME|\\/root|\\/home|CARGO/.test(v)) throw new Error('LEAK ' + v);
            look(v, depth + 1);
          }
        };
        look(globalThis, 0);
        return seen.size > 100;";
    assert_eq!(sandbox.value(code), json!(true));
}
