//! Ways out that the language seems to offer: constructors, modules, stacks, proxies, values that answer for themselves.
//! Each attempt has a control beside it, the same construct where it is harmless, so that a misspelt attempt is noticed.

use serde_json::{Value, json};

use crate::Sandbox;

/// What comes of an attempt.
enum Comes {
    /// This value, which shows that nothing was reached.
    Of(Value),
    /// An exception.
    Nothing,
}

use Comes::{Nothing, Of};

struct Attempt {
    name: &'static str,
    code: &'static str,
    comes: Comes,
    control: &'static str,
}

fn of(name: &'static str, code: &'static str, wanted: Value, control: &'static str) -> Attempt {
    Attempt { name, code, comes: Of(wanted), control }
}

fn nothing(name: &'static str, code: &'static str, control: &'static str) -> Attempt {
    Attempt { name, code, comes: Nothing, control }
}

/// Every control returns `true`.
fn attempts() -> Vec<Attempt> {
    let undefined = || json!("undefined");
    vec![
        of(
            "constructor of a constructor",
            "return [].constructor.constructor('return typeof process')()",
            undefined(),
            "return [].constructor.constructor('return typeof JSON')() === 'object'",
        ),
        of(
            "constructor of an async function",
            "return await (async () => {}).constructor('return typeof require')()",
            undefined(),
            "return await (async () => {}).constructor('return true')()",
        ),
        of(
            "constructor of a generator",
            "return (function* () {}).constructor('yield typeof std')().next().value",
            undefined(),
            "return (function* () {}).constructor('yield true')().next().value",
        ),
        of(
            "constructor of a bound host function",
            "return readTextFile.bind(null).constructor('return typeof os')()",
            undefined(),
            "return readTextFile.bind(null).constructor('return true')()",
        ),
        of("indirect eval", "return (0, eval)('typeof process')", undefined(), "return (0, eval)('1 + 1') === 2"),
        of(
            "eval outside of the code's scope",
            "return (0, eval)('typeof deps')",
            undefined(),
            "return eval('typeof deps') === 'object'",
        ),
        of(
            "this of a sloppy function",
            "const g = new Function('return this')(); return Object.getOwnPropertyNames(g).filter(n => /host|link|call|send/i.test(n))",
            json!([]),
            "return new Function('return this')() === globalThis",
        ),
        of("this of the code", "return typeof this", undefined(), "return typeof globalThis === 'object'"),
        nothing(
            "the caller of a function",
            "return (function f() { return f.caller })()",
            "return (function f() { return f.name })() === 'f'",
        ),
        nothing(
            "the callee of arguments",
            "return (function () { return arguments.callee })()",
            "return (function () { return arguments.length })() === 0",
        ),
        of(
            "arguments of the function around the code",
            "return typeof arguments[0]",
            undefined(),
            "return (function () { return typeof arguments[0] })(1) === 'number'",
        ),
        of(
            "functions on the stack",
            "Error.prepareStackTrace = (e, frames) => frames; const s = new Error('x').stack; return [].concat(s).some(f => { try { return typeof f.getFunction() === 'function' || f.getThis() } catch { return false } })",
            json!(false),
            "Error.prepareStackTrace = () => 'mine'; return new Error('x').stack === 'mine'",
        ),
        of(
            "paths of the machine on the stack",
            "try { null.x } catch (e) { return /\\/(home|root|usr|tmp|work|target)/.test(e.stack) }",
            json!(false),
            "try { null.x } catch (e) { return e.stack.includes('code') }",
        ),
        nothing("a module by name", "return await import('fs')", "return await Promise.resolve(true)"),
        nothing("a module by its builtin name", "return await import('std')", "return await Promise.resolve(true)"),
        nothing("a module by path", "return await import('/etc/passwd')", "return await Promise.resolve(true)"),
        nothing(
            "a module by URL",
            "return await import('data:text/javascript,export default 1')",
            "return await Promise.resolve(true)",
        ),
        nothing(
            "a module from a string",
            "return await (0, eval)(\"import('os')\")",
            "return await (0, eval)('Promise.resolve(true)')",
        ),
        nothing(
            "a module with attributes",
            "return await import('x', { with: { type: 'json' } })",
            "return await Promise.resolve(true)",
        ),
        nothing(
            "the meta of a module",
            "return (0, eval)('import.meta')",
            "return (0, eval)('new.target === undefined || true'.slice(27)) === true",
        ),
        of("WebAssembly", "return typeof WebAssembly", undefined(), "return typeof Uint8Array === 'function'"),
        of(
            "other worlds",
            "return [typeof Worker, typeof ShadowRealm, typeof vm, typeof Realm, typeof importScripts].join()",
            json!("undefined,undefined,undefined,undefined,undefined"),
            "return [typeof Map, typeof Set].join() === 'function,function'",
        ),
        of(
            "timers",
            "return [typeof setTimeout, typeof setInterval, typeof setImmediate, typeof requestAnimationFrame].join()",
            json!("undefined,undefined,undefined,undefined"),
            "return typeof Promise === 'function'",
        ),
        of(
            "the interpreter's own switches",
            "return [typeof gc, typeof print, typeof scriptArgs, typeof navigator, typeof load, typeof bjson].join()",
            json!("undefined,undefined,undefined,undefined,undefined,undefined"),
            "return typeof console === 'object'",
        ),
        nothing(
            "waiting in Atomics",
            "return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)",
            "return Atomics.add(new Int32Array(new SharedArrayBuffer(4)), 0, 1) === 0",
        ),
        nothing(
            "processes",
            "return new Deno.Command('sh').outputSync()",
            "return typeof Deno.readTextFileSync === 'function'",
        ),
        nothing("the environment", "return Deno.env.get('PATH')", "return typeof Deno === 'object'"),
        nothing("the network", "return await fetch('http://127.0.0.1:1/')", "return typeof fetch === 'function'"),
        nothing(
            "the network by an object",
            "return await fetch({ url: { toString() { return 'http://127.0.0.1:1/' } } })",
            "return typeof fetch === 'function'",
        ),
        nothing(
            "a file through fetch",
            "return await fetch('file:///etc/passwd')",
            "return typeof fetch === 'function'",
        ),
        nothing(
            "leaving the function that is around the code",
            "}); globalThis.out = 1; (async function () {",
            "const f = async function () { return true }; return await f()",
        ),
        nothing("leaving it by a comment", "return 1 /*", "return true /* */"),
        nothing("leaving it by a template", "return `", "return `${true}` === 'true'"),
        of(
            "a thenable as the value",
            "return { then(yes) { yes('mine') } }",
            json!("mine"),
            "return await { then(yes) { yes(true) } }",
        ),
        nothing("a thenable that never answers", "return { then() {} }", "return await { then(yes) { yes(true) } }"),
        nothing(
            "a thenable of thenables without end",
            "const t = () => ({ then(yes) { yes(t()) } }); return t()",
            "const t = (n) => ({ then(yes) { yes(n ? t(n - 1) : true) } }); return t(9)",
        ),
        nothing(
            "a getter called then",
            "return { get then() { throw new Error('x') } }",
            "return await { get then() { return undefined }, a: 1 }.a === 1",
        ),
        of(
            "toJSON that answers with another toJSON",
            "return { toJSON() { return { a: 1, get b() { return 2 } } } }",
            json!({"a": 1, "b": 2}),
            "return JSON.stringify({ toJSON() { return 1 } }) === '1'",
        ),
        nothing(
            "toJSON that answers with a function",
            "return [{ toJSON() { return () => 1 } }]",
            "return JSON.stringify([{ toJSON() { return 1 } }]) === '[1]'",
        ),
        nothing(
            "toJSON that throws",
            "return { toJSON() { throw new Error('x') } }",
            "return JSON.stringify({ toJSON() { return true } }) === 'true'",
        ),
        of(
            "text that looks like the end of a frame",
            "return '\\u0000\\u0000\\u0000\\u0000' + '\"}]'",
            json!("\0\0\0\0\"}]"),
            "return '\\u0000'.length === 1",
        ),
        of(
            "half a character",
            "return ['\\ud800'.length, 'a\\udfff'.length]",
            json!([1, 2]),
            "return '😀'.length === 2",
        ),
        of(
            "a proxy in the place of deps",
            "const seen = []; const p = new Proxy(deps, { get(t, k) { seen.push(String(k)); return t[k] }, ownKeys() { return ['x'] }, getOwnPropertyDescriptor() { return { value: 1, enumerable: true, configurable: true } } }); return [Object.keys(p), JSON.stringify(p)]",
            json!([["x"], "{}"]),
            "return Object.keys(new Proxy({ a: 1 }, {})).join() === 'a'",
        ),
        of(
            "a proxy with traps that lie as the value",
            "return new Proxy([1, 2], { get: (t, k) => (k === 'length' ? 3 : t[k]) })",
            json!([1, 2, null]),
            "return new Proxy([1], {}).length === 1",
        ),
        nothing(
            "a revoked proxy as the value",
            "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); return proxy",
            "const { proxy } = Proxy.revocable({ a: true }, {}); return proxy.a",
        ),
        nothing(
            "an error whose every property throws",
            "throw new Proxy(new Error('x'), { get() { throw 1 }, getPrototypeOf() { throw 2 } })",
            "return new Proxy(new Error('x'), {}).message === 'x'",
        ),
        nothing(
            "an exception that is forged as a refusal",
            "const e = new Error('x'); e.name = 'PermissionDenied'; throw e",
            "return new Error('x').name === 'Error'",
        ),
        of(
            "symbols of the host",
            "return Reflect.ownKeys(globalThis).filter(k => typeof k === 'symbol').map(String)",
            json!(["Symbol(Symbol.toStringTag)"]),
            "return typeof Symbol.for('x') === 'symbol'",
        ),
        of(
            "functions of the host by another name",
            "const seen = new Set(); const look = (o) => { if ((typeof o !== 'object' && typeof o !== 'function') || o === null || seen.has(o)) return; seen.add(o); for (const k of Reflect.ownKeys(o)) { let v; try { v = o[k] } catch { continue } look(v) } look(Object.getPrototypeOf(o)) }; look(globalThis); return [...seen].filter(f => typeof f === 'function' && /refuse|decode_?text|host/.test(f.name))",
            json!([]),
            "const seen = new Set(); seen.add(1); return seen.has(1)",
        ),
    ]
}

#[test]
fn nothing_is_reached_and_every_attempt_is_well_formed() {
    let attempts = attempts();
    assert!(attempts.len() >= 40, "{}", attempts.len());
    let mut sandbox = Sandbox::default();
    let mut wrong = Vec::new();
    for Attempt { name, code, comes, control } in &attempts {
        let timeout = std::time::Duration::from_secs(2);
        let outcome = sandbox.call(code, "{}", "{}", timeout).result;
        match (&outcome, comes) {
            (Ok(json), Of(wanted)) if serde_json::from_str::<Value>(json).ok().as_ref() == Some(wanted) => {}
            (Err(_), Nothing) => {}
            _ => wrong.push(format!("{name}: {outcome:?}")),
        }
        let outcome = sandbox.call(control, "{}", "{}", timeout).result;
        if outcome.as_deref() != Ok("true") {
            wrong.push(format!("control of {name}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
