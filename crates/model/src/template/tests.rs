//! Every form of a reference, written and resolved.

use serde_json::json;

use super::*;
use crate::catalog::Catalog;
use crate::read::{NoSources, parse};

/// `a` has a value, `safe` failed safely, `gone` never ran; the parameter `who` is "you".
struct Outputs(Value, Value);

impl Scope for Outputs {
    fn output(&self, task: TaskIndex) -> Lookup<'_> {
        match task {
            0 => Lookup::Value(Cow::Borrowed(&self.0)),
            1 => Lookup::FailedSafe,
            _ => Lookup::Missing,
        }
    }

    fn input(&self, _: &str) -> Lookup<'_> {
        Lookup::Value(Cow::Borrowed(&self.1))
    }
}

fn scope() -> Outputs {
    let value = json!({
        "count": 3, "items": [{"name": "x"}], "s": "hi", "z": null, "trap": "$OUTPUT[b].count",
        "deep": {"q": [[1, 2], [3]]}, "odd key": {"é": 1},
    });
    Outputs(value, json!("you"))
}

fn template(written: &Value) -> Template {
    let document = json!({
        "inputs": {"who": {"type": "string"}},
        "mcp_servers": {"m": {"command": "m"}},
        "tasks": [
            {"id": "a", "run": "x"}, {"id": "safe", "run": "x"}, {"id": "gone", "run": "x"},
            {"id": "t", "tool": "m:t", "arguments": {"v": written}, "depends_on": ["a", "safe", "gone"]},
        ],
    });
    let mut parsed = parse(document.to_string().as_bytes(), "wf.json", &NoSources, &Catalog::builtin());
    let task =
        parsed.workflow.as_mut().and_then(|w| w.tasks.pop()).unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
    match task.kind {
        crate::workflow::TaskKind::Tool(tool) => match tool.arguments {
            Template::Object(mut entries) => entries.remove(0).1,
            Template::Literal(value) => Template::Literal(value["v"].clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_form_resolves() {
    let scope = scope();
    for (written, wanted) in [
        (json!("$OUTPUT[a]"), scope.0.clone()),
        (json!("$OUTPUT[a].count"), json!(3)),
        (json!("$OUTPUT[a].items[0].name"), json!("x")),
        (json!("$OUTPUT[a].deep.q[0][1]"), json!(2)),
        (json!("$OUTPUT[a].z"), json!(null)),
        (json!("$OUTPUT[a].z ?? 5"), json!(null)),
        (json!("$OUTPUT[a][\"odd key\"].é"), json!(1)),
        (json!("Found $OUTPUT[a].count items"), json!("Found 3 items")),
        (json!("$OUTPUT[a].s, $OUTPUT[a].count"), json!("hi, 3")),
        (json!("for $OUTPUT[a].s."), json!("for hi.")),
        (json!("<$OUTPUT[a].items>"), json!("<[{\"name\":\"x\"}]>")),
        (json!(" $OUTPUT[a].s"), json!(" hi")),
        (json!("$OUTPUT[a].s[x]"), json!("hi[x]")),
        (json!(["$OUTPUT[a].count", {"k": "$OUTPUT[a].items"}]), json!([3, {"k": [{"name": "x"}]}])),
        (json!({"n": {"m": ["v $OUTPUT[a].s"]}}), json!({"n": {"m": ["v hi"]}})),
        (json!("$$OUTPUT[a]"), json!("$OUTPUT[a]")),
        (json!("$$$OUTPUT[a]"), json!("$$OUTPUT[a]")),
        (json!("$$INPUT[who] is $INPUT[who]"), json!("$INPUT[who] is you")),
        (json!("cost: $5, $HOME, $$"), json!("cost: $5, $HOME, $$")),
        (json!("$OUTPUT[a].trap"), json!("$OUTPUT[b].count")),
        (json!("trap: $OUTPUT[a].trap"), json!("trap: $OUTPUT[b].count")),
        (json!("$OUTPUT[a].nope ?? 7"), json!(7)),
        (json!("$OUTPUT[a].nope.deeper ?? {\"z\": [1]}"), json!({"z": [1]})),
        (json!("$OUTPUT[a].count ?? 7"), json!(3)),
        (json!("$OUTPUT[a].nope ?? \"none\" of them"), json!("none of them")),
        (json!("Really $OUTPUT[a].count?? Yes."), json!("Really 3?? Yes.")),
        (json!("$OUTPUT[safe] ?? {\"n\": 0}"), json!({"n": 0})),
        (json!("$OUTPUT[gone].x ?? null"), json!(null)),
    ] {
        assert_eq!(template(&written).resolve(&scope), Ok(wanted), "{written}");
    }
}

#[test]
fn as_text_strings_are_raw_and_values_compact() {
    let scope = scope();
    for (written, wanted) in [
        (json!("$OUTPUT[a].count"), "3"),
        (json!("$OUTPUT[a].s"), "hi"),
        (json!("$OUTPUT[a].items"), "[{\"name\":\"x\"}]"),
        (json!("$OUTPUT[a].z"), "null"),
        (json!("plain"), "plain"),
    ] {
        assert_eq!(template(&written).resolve_text(&scope).as_deref(), Ok(wanted), "{written}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    for (written, words) in [
        ("$OUTPUT[a].nope", "`.nope`"),
        ("$OUTPUT[a].items[3].name", "`.items[3]`"),
        ("$OUTPUT[a].s.length.x", "`.s.length`"),
        ("$OUTPUT[a].count.x", "a number"),
        ("text $OUTPUT[safe]", "failed safely"),
        ("$OUTPUT[gone]", "no such value"),
    ] {
        let error = template(&json!(written)).resolve(&scope()).expect_err(written);
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.reference.contains("$OUTPUT"), "{error}");
    }
}

#[test]
fn references_are_listed() {
    let template = template(&json!(["$OUTPUT[a].x", {"k": "see $OUTPUT[safe] and $INPUT[who]"}]));
    let texts: Vec<_> = template.references().map(|r| r.text.as_str()).collect();
    assert_eq!(texts, ["$OUTPUT[a].x", "$OUTPUT[safe]", "$INPUT[who]"]);
}
