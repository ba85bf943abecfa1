//! Invariants: what they can ask, what is refused before it could do harm.

#![expect(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::*;

fn compile(text: &str) -> Result<Invariant, Flaw> {
    Invariant::compile(None, text, &|id| ["build", "deploy", "fetch-data"].contains(&id))
}

fn run() -> Ended {
    let task = |state: &str, attempts| EndedTask {
        state: state.into(),
        result: "success".into(),
        kind: "shell".into(),
        attempts,
        output: json!({"n": 3, "list": [1, 2]}),
        finished_ms: Some(7),
        ..EndedTask::default()
    };
    Ended {
        outcome: "degraded".into(),
        cost_usd: 0.25,
        attempts: 4,
        tasks: vec![
            ("build".into(), task("completed", 1)),
            ("deploy".into(), task("failed", 3)),
            ("fetch-data".into(), task("completed", 1)),
        ],
        ..Ended::default()
    }
}

#[test]
fn expressions_ask_about_final_states() {
    for (text, expected) in [
        ("tasks.build.state == 'completed' || tasks.deploy.state != 'completed'", true),
        ("outcome in ['succeeded', 'degraded']", true),
        ("tasks.deploy.attempts <= 2", false),
        ("tasks['fetch-data'].output.n == 3 && size(tasks.build.output.list) == 2", true),
        ("tasks.all(id, tasks[id].attempts < 4)", true),
        ("tasks.exists(id, tasks[id].state == 'blocked')", false),
        ("run.cost_usd <= 0.25 && run.attempts == 4", true),
        ("has(tasks.build.output.m)", false),
        ("tasks.build.started_ms == -1 && tasks.build.finished_ms > 5", true),
    ] {
        assert_eq!(compile(text).unwrap_or_else(|e| panic!("{text}: {e:?}")).holds(&run()), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error_and_no_answer() {
    for text in ["tasks.build.output.missing == 1", "tasks.deploy.attempts", "1 / 0 == 1", "tasks.build.state < 3"] {
        assert!(compile(text).unwrap().holds(&run()).is_err(), "{text}");
    }
}

#[test]
fn mistakes_are_told_before_anything_runs() {
    for (text, said) in [
        ("tasks.build.state ==", "it is no CEL expression"),
        ("tasks.buidl.state == 'completed'", "there is no task `buidl`"),
        ("tasks['buidl'].state == 'completed'", "there is no task `buidl`"),
        ("tasks.build.status == 'completed'", "a task has no `status`"),
        ("run.usd < 3.0", "`run` has no `usd`"),
        ("outcom == 'failed'", "it asks for `outcom`"),
        ("shell('rm') == 1", "it calls `shell`"),
        ("Task{a: 1} == 1", "it makes an object"),
        ("  ", "it is empty"),
    ] {
        let flaw = compile(text).expect_err(text);
        assert!(flaw.what.contains(said), "{text}: {flaw:?}");
    }
    assert_eq!(compile("true && &").expect_err("broken").at, Some((1, 9)));
}

/// On a small stack, since whoever reads a workflow may have no more.
#[test]
fn hostile_expressions_are_refused_or_answered() {
    let hostile = [
        format!("{}1{}", "(".repeat(990), ")".repeat(990)),
        format!("{}1 == 1", "1+".repeat(900)),
        format!("{}true", "!".repeat(1900)),
        format!("{}1 == 1", "-".repeat(1900)),
        format!("{}true", "true || ".repeat(200)),
        format!("{}true{}", "true?".repeat(300), ":true".repeat(300)),
        format!("{}true", "true?true:".repeat(190)),
        format!("{}{} == 1", "[".repeat(900), "]".repeat(900)),
        format!("tasks{} == 1", ".a".repeat(900)),
        format!("[1]{} == 1", "[0]".repeat(600)),
        "{".repeat(1900),
        "'".into(),
        "\0\u{1}\u{202e}".into(),
        "x".repeat(MAX_BYTES + 1),
        "tasks.all(a, tasks.all(b, tasks.all(c, tasks.all(d, a == d))))".into(),
        "[1].map(x, [1].map(x, [1].map(x, x)))".into(),
        "9223372036854775807 + 1 > 0".into(),
        "99999999999999999999999999 > 0".into(),
        "{1: 2, 'a': 3, true: 4} == {}".into(),
        "é == 1".into(),
    ];
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(move || {
        for text in hostile {
            if let Ok(invariant) = compile(&text) {
                let _ = invariant.holds(&run());
            }
        }
    });
    small.unwrap().join().unwrap();
}
