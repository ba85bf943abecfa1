//! Poison left for the next call in the same worker. The control is the same call: there the poison does work.

use serde_json::json;

use crate::Sandbox;

/// What is poisoned, how, and an expression that is `true` only where it is poisoned.
const POISONS: &[(&str, &str, &str)] = &[
    ("a global", "globalThis.mark = 1", "typeof mark !== 'undefined'"),
    ("a global without a name for it", "new Function('leak = 1')()", "typeof leak !== 'undefined'"),
    ("the prototype of objects", "Object.prototype.evil = 1", "({}).evil === 1"),
    ("the prototype by __proto__ of deps", "deps.__proto__.evil = 1", "({}).evil === 1"),
    (
        "a getter on the prototype of objects",
        "Object.defineProperty(Object.prototype, 'then', { get() { return undefined }, configurable: true })",
        "'then' in {}",
    ),
    ("a method of arrays", "Array.prototype.map = () => 'no'", "[1].map(x => x) === 'no'"),
    (
        "an index of arrays",
        "Object.defineProperty(Array.prototype, '0', { value: 'x', writable: true })",
        "[][0] === 'x'",
    ),
    ("the iterator of arrays", "Array.prototype[Symbol.iterator] = function* () { yield 'x' }", "[...[1]][0] === 'x'"),
    ("JSON.parse", "JSON.parse = () => 'no'", "JSON.parse('1') === 'no'"),
    ("JSON.stringify", "JSON.stringify = () => 'no'", "JSON.stringify(1) === 'no'"),
    ("promises", "Promise.prototype.extra = 1", "Promise.resolve(1).extra === 1"),
    ("Promise itself", "globalThis.Promise = class { static resolve() { return 'no' } }", "Promise.resolve() === 'no'"),
    ("texts", "String.prototype.split = () => 'no'", "'a'.split('') === 'no'"),
    ("patterns", "RegExp.prototype.exec = () => null", "/a/.test('a') === false"),
    ("numbers", "Number.prototype.toFixed = () => 'no'", "(1).toFixed(1) === 'no'"),
    ("chance", "Math.random = () => 4", "Math.random() === 4"),
    ("the clock", "Date.now = () => 4", "Date.now() === 4"),
    ("maps", "Map.prototype.get = () => 'no'", "new Map().get(1) === 'no'"),
    ("reflection", "Reflect.apply = () => 'no'", "Reflect.apply(() => 1, null, []) === 'no'"),
    ("functions", "Function.prototype.call = () => 'no'", "(() => 1).call() === 'no'"),
    ("errors", "Error.prepareStackTrace = () => 'no'", "new Error('x').stack === 'no'"),
    (
        "symbols for everybody",
        "globalThis.key = Symbol.for('shared'); Symbol.for('shared').constructor.prototype.extra = 1",
        "Symbol.for('shared').extra === 1",
    ),
    ("console", "console.log = () => 'no'", "console.log('x') === 'no'"),
    (
        "the reader of files",
        "globalThis.readTextFile = async () => 'no'",
        "await readTextFile('/x').catch(() => 0) === 'no'",
    ),
    ("files in memory", "writeTextFile('/scratch/a', 'x')", "await readTextFile('/scratch/a').catch(() => 0) === 'x'"),
    ("the text decoder", "TextDecoder.prototype.decode = () => 'no'", "new TextDecoder().decode() === 'no'"),
    ("a frozen world", "Object.freeze(globalThis)", "Object.isFrozen(globalThis)"),
    ("a sealed prototype", "Object.preventExtensions(Object.prototype)", "!Object.isExtensible(Object.prototype)"),
    ("templates, which are kept by their place", "globalThis.t = (s) => s; t`a`.extra", "typeof t === 'function'"),
];

#[test]
fn poison_works_in_its_own_call_and_is_gone_in_the_next() {
    let mut sandbox = Sandbox::default();
    let pid = sandbox.worker().id();
    for (name, poison, probe) in POISONS {
        let both = sandbox.run(&format!("{poison}; const poisoned = {probe}; return poisoned"));
        assert_eq!(both.result.as_deref(), Ok("true"), "{name}: the control");
        assert_eq!(sandbox.value(&format!("return {probe}")), json!(false), "{name}");
    }
    assert_eq!(sandbox.worker().id(), pid, "all in one worker");
}

#[test]
fn promises_and_finalizers_left_behind_do_nothing_later() {
    let mut sandbox = Sandbox::default();
    for code in [
        "(async () => { for (;;) await null })(); return 1",
        "new Promise(() => {}).then(() => { globalThis.late = 1 }); return 1",
        "new FinalizationRegistry(() => { globalThis.late = 1 }).register({}, 1); return 1",
        "Promise.reject(new Error('nobody looks')); return 1",
    ] {
        assert_eq!(sandbox.value(code), json!(1), "{code}");
        assert_eq!(sandbox.value("await null; return typeof late"), json!("undefined"), "{code}");
    }
}
