//! Bombs: processor time, memory and depth, from every corner of the language. Each ends with a failure of the right
//! kind, soon, and the next call is served. The control is the same bomb with a small charge.

use std::time::{Duration, Instant};

use raddle_sandbox::FailureKind::{self, Logic, Oom, Timeout};
use serde_json::json;

use crate::{PATIENCE, Sandbox};

/// What bursts, with `CHARGE` in it: the large one, the small one, and how it may end.
const BOMBS: &[(&str, &str, [&str; 2], &[FailureKind])] = &[
    ("a loop", "let i = 0; while (i < CHARGE) i++; return true", ["Infinity", "9"], &[Timeout]),
    (
        "a loop in finally",
        "try { throw 1 } catch {} finally { let i = 0; while (i < CHARGE) i++ } return true",
        ["Infinity", "9"],
        &[Timeout],
    ),
    ("a loop of awaits", "for (let i = 0; i < CHARGE; i++) await null; return true", ["Infinity", "9"], &[Timeout]),
    (
        "promises that make promises",
        "let n = 0; await new Promise(yes => { const f = () => (n++ < CHARGE ? Promise.resolve().then(f) : yes()); f() }); return true",
        ["Infinity", "9"],
        &[Timeout, Oom],
    ),
    ("a pattern", "return /^(a+)+$/.test('a'.repeat(CHARGE) + 'b') === false", ["40", "5"], &[Timeout]),
    (
        "a pattern with a look behind",
        "return /(?<=(x+x+)+)y/.test('x'.repeat(CHARGE)) === false",
        ["50000", "5"],
        &[Timeout, Logic, Oom],
    ),
    (
        "a pattern with back references",
        "return /(a*)*\\1b/.test('a'.repeat(CHARGE)) === false",
        ["40", "3"],
        &[Timeout, Logic],
    ),
    (
        "a comparison",
        "[2, 1].sort(() => { let i = 0; while (i < CHARGE) i++; return 0 }); return true",
        ["Infinity", "9"],
        &[Timeout],
    ),
    (
        "a getter of the value",
        "return { get a() { let i = 0; while (i < CHARGE) i++; return 1 } }.a === 1",
        ["Infinity", "9"],
        &[Timeout],
    ),
    (
        "the keys of a proxy",
        "return Object.keys(new Proxy({}, { ownKeys() { let i = 0; while (i < CHARGE) i++; return [] } })).length === 0",
        ["Infinity", "9"],
        &[Timeout],
    ),
    (
        "an iterator that is spread",
        "let n = 0; return [...{ *[Symbol.iterator]() { while (n++ < CHARGE) yield 1 } }].length >= 0",
        ["Infinity", "9"],
        &[Timeout, Oom],
    ),
    (
        "a native search",
        "return Array.prototype.indexOf.call({ length: CHARGE }, 1) === -1",
        ["2 ** 53 - 1", "9"],
        &[Timeout],
    ),
    ("a native join", "return new Array(CHARGE).join().length >= 0", ["4294967295", "9"], &[Timeout, Oom, Logic]),
    (
        "a native fill",
        "return Array.prototype.fill.call({ length: CHARGE }, 0) !== null",
        ["2 ** 53 - 1", "9"],
        &[Timeout, Oom, Logic],
    ),
    (
        "a native sort",
        "const a = new Array(CHARGE); for (let i = 0; i < CHARGE; i++) a[i] = -i; return a.sort((x, y) => x - y).length === CHARGE",
        ["3e6", "9"],
        &[Timeout, Oom],
    ),
    ("a large power", "return 3n ** BigInt(CHARGE) > 0n", ["100000000", "9"], &[Timeout, Oom, Logic]),
    (
        "a large number as text",
        "return (10n ** BigInt(CHARGE)).toString().length > 0",
        ["3000000", "9"],
        &[Timeout, Oom, Logic],
    ),
    (
        "an array",
        "const a = []; for (let i = 0; i < CHARGE; i++) a.push('x' + i); return true",
        ["Infinity", "9"],
        &[Oom, Timeout],
    ),
    (
        "a text that doubles",
        "let s = 'x'; for (let i = 0; i < CHARGE; i++) s += s + s.length; return true",
        ["Infinity", "9"],
        &[Oom],
    ),
    ("a text that is repeated", "return 'x'.repeat(CHARGE).length === CHARGE", ["1 << 28", "9"], &[Oom]),
    ("a text that is padded", "return 'x'.padEnd(CHARGE).length === CHARGE", ["1 << 28", "9"], &[Oom]),
    (
        "a text that is replaced",
        "return 'x'.repeat(CHARGE).replaceAll('x', 'x'.repeat(CHARGE)).length > 0",
        ["1e5", "9"],
        &[Oom, Timeout, Logic],
    ),
    ("bytes", "return new Uint8Array(CHARGE).length === CHARGE", ["1 << 30", "9"], &[Oom]),
    (
        "many bytes",
        "const a = []; for (let i = 0; i < CHARGE; i++) a.push(new Uint8Array(1 << 20).fill(i)); return true",
        ["300", "3"],
        &[Oom, Timeout],
    ),
    (
        "a buffer that grows",
        "const b = new ArrayBuffer(1, { maxByteLength: CHARGE }); b.resize(CHARGE); return true",
        ["1 << 30", "9"],
        &[Oom, Logic],
    ),
    ("shared bytes", "return new SharedArrayBuffer(CHARGE).byteLength === CHARGE", ["1 << 30", "9"], &[Oom, Logic]),
    (
        "a map",
        "const m = new Map(); for (let i = 0; i < CHARGE; i++) m.set(i, { i }); return true",
        ["Infinity", "9"],
        &[Oom, Timeout],
    ),
    (
        "symbols",
        "const o = {}; for (let i = 0; i < CHARGE; i++) o[Symbol('x'.repeat(100) + i)] = 1; return true",
        ["Infinity", "9"],
        &[Oom, Timeout],
    ),
    (
        "functions",
        "const f = []; for (let i = 0; i < CHARGE; i++) f.push(new Function('return ' + i)); return true",
        ["Infinity", "9"],
        &[Oom, Timeout],
    ),
    (
        "promises that wait",
        "const f = async (n) => { if (n) { await null; await Promise.all([f(n - 1), f(n - 1)]) } }; await f(CHARGE); return true",
        ["60", "2"],
        &[Oom, Timeout],
    ),
    (
        "text to be parsed",
        "return JSON.parse('[' + '1,'.repeat(CHARGE) + '1]').length === CHARGE + 1",
        ["2e7", "9"],
        &[Oom, Timeout],
    ),
    (
        "a value to be written",
        "const a = {}; let o = a; for (let i = 0; i < CHARGE; i++) o = [o, o]; return JSON.stringify(o).length > 0",
        ["60", "3"],
        &[Oom, Timeout, Logic],
    ),
    (
        "files in memory",
        "for (let i = 0; i < CHARGE; i++) await writeTextFile('/scratch/' + i, 'x'.repeat(1 << 20)); return true",
        ["300", "3"],
        &[Timeout, Oom],
    ),
    (
        "a log",
        "for (let i = 0; i < CHARGE; i++) console.log('x'.repeat(1000)); return true",
        ["Infinity", "9"],
        &[Timeout, Oom],
    ),
    ("recursion", "const f = (n) => (n ? f(n - 1) + 1 : 0); return f(CHARGE) === CHARGE", ["1e7", "9"], &[Logic]),
    (
        "recursion through toString",
        "let n = 0; const o = { toString() { return n++ < CHARGE ? `${o}` : 'x' } }; return `${o}` === 'x'",
        ["1e7", "9"],
        &[Logic],
    ),
    (
        "recursion through a getter",
        "let n = 0; const o = { get a() { return n++ < CHARGE ? o.a : 1 } }; return o.a === 1",
        ["1e7", "9"],
        &[Logic],
    ),
    (
        "recursion through a proxy",
        "let p = {}; for (let i = 0; i < CHARGE; i++) p = new Proxy(p, {}); return p.x === undefined",
        ["1e5", "9"],
        &[Logic, Oom],
    ),
    (
        "recursion through a prototype",
        "let p = {}; for (let i = 0; i < CHARGE; i++) p = Object.create(p); return p.x === undefined",
        ["1e7", "9"],
        &[Logic, Oom, Timeout],
    ),
    (
        "depth of a pattern",
        "return new RegExp('('.repeat(CHARGE) + ')'.repeat(CHARGE)).test('x')",
        ["1e5", "9"],
        &[Logic],
    ),
    (
        "depth of text to be parsed",
        "return JSON.parse('['.repeat(CHARGE) + ']'.repeat(CHARGE)) !== null",
        ["1e6", "9"],
        &[Logic],
    ),
    (
        "depth of a value",
        "let a = []; for (let i = 0; i < CHARGE; i++) a = [a]; return JSON.stringify(a).length > 0",
        ["1e6", "9"],
        &[Timeout, Logic, Oom],
    ),
    (
        "depth of a clone",
        "let a = []; for (let i = 0; i < CHARGE; i++) a = [a]; return structuredClone(a) !== null",
        ["1e5", "9"],
        &[Timeout, Logic, Oom],
    ),
    (
        "depth of a flat list",
        "let a = []; for (let i = 0; i < CHARGE; i++) a = [a]; return a.flat(Infinity).length === 0",
        ["1e6", "9"],
        &[Timeout, Logic, Oom],
    ),
    (
        "depth of evaluated text",
        "return eval('('.repeat(CHARGE) + 'true' + ')'.repeat(CHARGE))",
        ["1e5", "9"],
        &[Logic],
    ),
    (
        "depth of a chain of functions",
        "let f = () => true; for (let i = 0; i < CHARGE; i++) { const g = f; f = () => g() } return f()",
        ["1e6", "9"],
        &[Timeout, Logic, Oom],
    ),
];

#[test]
fn every_bomb_ends_as_it_should_and_the_next_call_is_served() {
    let mut sandbox = Sandbox::default();
    let mut wrong = Vec::new();
    for (name, code, [large, small], kinds) in BOMBS {
        let control = sandbox.call(&code.replace("CHARGE", small), "{}", "{}", PATIENCE).result;
        if control.as_deref() != Ok("true") {
            wrong.push(format!("control of {name}: {control:?}"));
        }
        let began = Instant::now();
        // What must run out of something else than time gets enough of it.
        let timeout = if kinds.contains(&Timeout) { Duration::from_millis(700) } else { PATIENCE };
        let outcome = sandbox.call(&code.replace("CHARGE", large), "{}", "{}", timeout).result;
        match outcome {
            Err((kind, _)) if kinds.contains(&kind) && began.elapsed() < timeout + Duration::from_secs(10) => {}
            other => wrong.push(format!("{name}: {other:?} after {:?}", began.elapsed())),
        }
    }
    assert_eq!(sandbox.value("return 1"), json!(1));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
