//! Time, memory and stack: each limit ends the call with its own class, soon, and the next call is served.

use std::time::{Duration, Instant};

use raddle_sandbox::FailureKind;
use serde_json::json;

use crate::Sandbox;

#[test]
fn endless_code_runs_out_of_time() {
    let mut sandbox = Sandbox::default();
    for code in [
        "while (true) {}",
        "for (;;) await null",
        "await new Promise(() => { const f = () => Promise.resolve().then(f); f(); })",
        "try { while (true) {} } finally { while (true) {} }",
        "for (;;) { try { while (true) {} } catch {} }",
        "return {get a() { while (true) {} }}",
        "return {toJSON() { while (true) {} }}",
        "throw {get a() { while (true) {} }}",
        "const e = new Error(); Object.defineProperty(e, 'stack', {get() { for (;;); }}); throw e",
        "/^(a+)+$/.test('a'.repeat(40) + 'b')",
        "const a = {}; let o = a; for (let i = 0; i < 100; i++) o = [o, o]; return o",
        // Native loops that never look at the clock: the parent's kill ends these.
        "Array.prototype.indexOf.call({length: 2 ** 53 - 1}, 1)",
        "new Array(4294967295).join()",
    ] {
        let began = Instant::now();
        let outcome = sandbox.call(code, "{}", "{}", Duration::from_millis(200));
        let (kind, message) = outcome.result.expect_err(code);
        assert_eq!(kind, FailureKind::Timeout, "{code}: {message}");
        assert!(began.elapsed() < Duration::from_secs(5), "{code}: {:?}", began.elapsed());
    }
    assert_eq!(sandbox.value("return 1"), json!(1));
}

#[test]
fn greedy_code_runs_out_of_memory() {
    let mut sandbox = Sandbox::default();
    for code in [
        "const a = []; while (true) a.push(new Array(1e5).fill('x' + a.length)); return 1",
        "let s = 'x'; while (true) s += s + s.length; return s",
        "const a = []; for (let i = 0; i < 256; i++) a.push(new Uint8Array(4 << 20).fill(i)); return a.length",
        "return new Uint8Array(1 << 30).length",
        "return 'x'.repeat(1 << 28).length",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, {i})",
        "let o = {}; for (;;) o = {o}",
        "const f = async () => { await null; await Promise.all([f(), f()]) }; await f()",
    ] {
        let (kind, message) = sandbox.failure(code);
        assert_eq!(kind, FailureKind::Oom, "{code}: {message}");
        assert!(message.contains("64 MB"), "{message}");
    }
    assert_eq!(
        sandbox.value("const a = new Uint8Array(20 << 20).fill(7); return a[12345] + a.length"),
        json!(7 + (20 << 20))
    );
}

#[test]
fn code_may_survive_what_it_catches() {
    let mut sandbox = Sandbox::default();
    assert_eq!(sandbox.value("try { new Uint8Array(1 << 30) } catch (e) { return 'caught' }"), json!("caught"));
    assert_eq!(sandbox.value("const f = () => f(); try { f() } catch (e) { return e.name }"), json!("RangeError"));
}

#[test]
fn deep_recursion_is_an_error() {
    let mut sandbox = Sandbox::default();
    for code in [
        "const f = () => f() + 1; return f()",
        "const a = {toJSON() { return JSON.stringify(a) }}; return JSON.stringify(a)",
        "let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a).length",
        "return JSON.parse('['.repeat(1e6))",
        "return new RegExp('('.repeat(1e5) + ')'.repeat(1e5)).test('x')",
        "return eval('('.repeat(1e5) + '1' + ')'.repeat(1e5))",
    ] {
        let (kind, message) = sandbox.failure(code);
        assert_eq!(kind, FailureKind::Logic, "{code}: {message}");
    }
}

#[test]
fn source_text_nested_beyond_the_parser_ends_only_the_worker() {
    let mut sandbox = Sandbox::default();
    let code = format!("return {}1{}", "(".repeat(1_000_000), ")".repeat(1_000_000));
    let (kind, message) = sandbox.failure(&code);
    assert_eq!(kind, FailureKind::Logic, "{message}");
    assert_eq!(sandbox.value("return 1"), json!(1));
}

#[test]
fn the_smallest_sandbox_works() {
    let mut sandbox = Sandbox::with_memory(1 << 20);
    assert_eq!(sandbox.value("return 1 + 1"), json!(2));
    assert_eq!(sandbox.failure("return new Uint8Array(1 << 20)").0, FailureKind::Oom);
}
