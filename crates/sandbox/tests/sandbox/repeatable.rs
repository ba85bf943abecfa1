//! Clock and chance as inputs: the same call gives the same value, whenever and wherever it is made.

use raddle_sandbox::{Fixed, ToolAnswer};
use serde_json::{Value, json};

use crate::Sandbox;

const AT: Fixed = Fixed { clock_ms: 1_700_000_000_123, seed: 0x0123_4567_89ab_cdef };

fn fixed(sandbox: &mut Sandbox, code: &str, fixed: Fixed) -> Value {
    let outcome = sandbox.call_with(code, ("", Some(fixed)), &mut |_, _| ToolAnswer::Denied("none".into()));
    serde_json::from_str(&outcome.result.unwrap_or_else(|(_, message)| panic!("{code}: {message}"))).unwrap()
}

#[test]
fn the_clock_stands_still_at_the_time_given() {
    let mut sandbox = Sandbox::default();
    let code = "
        const before = Date.now();
        for (let i = 0; i < 1e5; i++);
        return [before, Date.now(), +new Date(), new Date().toISOString(), Date() === new Date().toString(),
                new Date(0).getTime(), new Date(2020, 1, 29).toISOString(), Date.UTC(2020, 0), Date.parse('1970-01-02'),
                Date.name, Date.length, new Date() instanceof Date, new (class extends Date {})().getTime(),
                new Date().constructor === Date, (() => { const {constructor: C} = new Date(); return +new C() })(), +Reflect.construct(Date, [])]";
    let at = AT.clock_ms;
    let wanted = json!([
        at,
        at,
        at,
        "2023-11-14T22:13:20.123Z",
        true,
        0,
        "2020-02-29T00:00:00.000Z",
        1_577_836_800_000_u64,
        86_400_000,
        "Date",
        7,
        true,
        at,
        true,
        at,
        at
    ]);
    assert_eq!(fixed(&mut sandbox, code, AT), wanted);
}

#[test]
fn chance_follows_from_the_seed() {
    let code = "return Array.from({length: 1000}, Math.random)";
    let first = fixed(&mut Sandbox::default(), code, AT);
    let mut other = Sandbox::default();
    assert_eq!(fixed(&mut other, code, AT), first, "another process, the same numbers");
    assert_eq!(fixed(&mut other, code, AT), first, "the same process again");
    assert_ne!(fixed(&mut other, code, Fixed { seed: AT.seed + 1, ..AT }), first);
    assert_ne!(fixed(&mut other, code, Fixed { seed: AT.seed ^ (1 << 60), ..AT }), first);
    let numbers: Vec<f64> = serde_json::from_value(first).unwrap();
    let mean = numbers.iter().sum::<f64>() / 1000.0;
    assert!(numbers.iter().all(|n| (0.0..1.0).contains(n)) && (0.4..0.6).contains(&mean), "{mean}");
}

#[test]
fn nothing_else_tells_the_time_or_the_collector() {
    let mut sandbox = Sandbox::default();
    let code = "return [typeof performance, typeof WeakRef, typeof FinalizationRegistry]";
    assert_eq!(fixed(&mut sandbox, code, AT), json!(["undefined", "undefined", "undefined"]));
    // The control: without the option time goes on and chance is chance.
    let code = "return [Date.now() > 1_700_000_000_123, Math.random() !== Math.random(), typeof WeakRef]";
    assert_eq!(sandbox.value(code), json!([true, true, "function"]));
}
