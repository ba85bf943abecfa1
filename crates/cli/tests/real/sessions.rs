//! Long-lived processes of Claude Code itself: warm ones, and one that hosts tasks by its Agent tool.

use serde_json::{Value, json};

use crate::claude::{or_skip, with_claude};
use crate::partners::{self, Model, skipped};
use crate::place::Place;
use crate::processes;

/// A prompt whose answer is what a command of the Bash tool prints.
fn prints(command: &str) -> String {
    format!("Go on. @stub[[{{\"tool\": \"Bash\", \"input\": {{\"command\": \"{command}\"}}}}], \"{{{{last}}}}\"]@")
}

fn output<'a>(document: &'a Value, id: &str) -> &'a str {
    document["tasks"][id]["output"].as_str().unwrap_or_else(|| panic!("{}", document["tasks"][id]))
}

#[test]
fn warm_processes_perform_one_task_after_the_other() {
    let (place, model) = or_skip!(with_claude(&json!([])), "warm processes of a real agent");
    let who = prints("echo $PPID .$RADDLE_TASK_ID.");
    let stray = prints("echo $PPID; (setsid sleep 300 >/dev/null 2>&1 &)");
    let workflow = json!({
        "agents": {"a": {"tools": ["Bash"]}, "b": {"tools": ["Bash", "Read"]}},
        "defaults": {"isolation": "context", "timeout": "60s", "retry": {"max": 0}},
        "tasks": [
            {"id": "one", "agent": "a", "prompt": who},
            {"id": "two", "agent": "a", "prompt": who, "depends_on": ["one"], "inputs": []},
            {"id": "wider", "agent": "b", "prompt": who, "depends_on": ["two"], "inputs": []},
            {"id": "litter", "agent": "a", "prompt": stray, "depends_on": ["wider"], "inputs": []},
            {"id": "after", "agent": "a", "prompt": who, "depends_on": ["litter"], "inputs": []},
        ],
    });
    let document = place.run(&workflow.to_string(), 0);
    let pid = |id: &str| output(&document, id).split_whitespace().next().map(str::to_owned);
    assert_eq!(pid("one"), pid("two"), "the process is used again");
    assert_ne!(pid("two"), pid("wider"), "other tools, another process");
    assert_eq!(pid("two"), pid("litter"));
    assert_ne!(pid("litter"), pid("after"), "what leaves something running is not used again");
    assert!(output(&document, "two").contains(".."), "a process of many tasks is none of them");
    let calls = model.calls();
    // Each task asks twice: before its tool and after it. With the task before in mind it would count on.
    let turns: Vec<u64> = calls.iter().filter_map(|call| call["turn"].as_u64()).collect();
    assert_eq!(turns, [0, 1].repeat(5), "each conversation begins at its beginning");
    let cost = |id: &str| document["tasks"][id]["usage"]["cost_usd"].as_f64().unwrap_or_default();
    assert!(cost("two") > 0.0 && cost("two") < cost("one") * 1.5, "the task's own cost");
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn a_warm_process_is_ended_with_a_task_that_takes_too_long() {
    let rules = json!([{"when": {"first": "SLOW"}, "reply": [{"text": "late"}], "delay_ms": 60_000}]);
    let (place, _model) = or_skip!(with_claude(&rules), "the timeout of a warm process");
    let document = place.run(
        "defaults: { isolation: context, retry: { max: 0 } }
tasks:
  - { id: first, prompt: FINE, timeout: 60s }
  - { id: slow, prompt: SLOW, depends_on: [first], inputs: [], timeout: 3s }
  - { id: next, prompt: FINE, depends_on: [{ task: slow, type: soft }], inputs: [], timeout: 60s }
",
        0,
    );
    assert_eq!(document["tasks"]["slow"]["error"]["class"], "timeout");
    assert_eq!(output(&document, "next"), "stub reply");
    assert_eq!(processes::mentioning(place.root()), []);
}

#[test]
fn one_session_hosts_tasks_and_each_gets_its_own_result() {
    let made = (|| -> Result<(Place, Model), String> {
        let mut place = Place::new();
        for folder in partners::node()?.iter().rev() {
            place.look_in(folder);
        }
        let rules = json!([
            {"when": {"first": "NUMBER (\\d+)"}, "reply": [{"text": "said of {{first}}"}]},
            {"when": {"first": "COUNT"}, "reply": [{"text": "{\"n\": 3}"}]},
        ]);
        let model = Model::that_hands_on(&place, &rules)?;
        let url = model.url.clone();
        place.variable("ANTHROPIC_BASE_URL", url).variable("ANTHROPIC_API_KEY", "not-a-key");
        Ok((place, model))
    })();
    let (place, model) = or_skip!(made, "tasks hosted by a session of a real agent");
    let mut workflow = "defaults: { executor: task_tool, timeout: 100s, retry: { max: 0 } }\ntasks:\n".to_owned();
    for n in 0..12 {
        workflow.push_str(&format!("  - {{ id: t{n}, prompt: 'NUMBER {n} of twelve' }}\n"));
    }
    workflow.push_str(
        "  - { id: later, prompt: 'NUMBER 77', depends_on: [t0], inputs: [] }
  - { id: count, prompt: COUNT, depends_on: [t0], inputs: [], output_schema: { type: object, required: [n] } }
  - { id: forgotten, prompt: 'NUMBER 88, FORGOTTEN', depends_on: [t0], inputs: [] }
  - { id: reworded, prompt: 'NUMBER 99, REWORDED', depends_on: [t0], inputs: [] }
",
    );
    let document = place.run(&workflow, 1);
    for n in 0..12 {
        let said = output(&document, &format!("t{n}"));
        assert!(said.contains(&format!("NUMBER {n} of twelve")), "{said}");
    }
    assert!(output(&document, "later").contains("NUMBER 77"));
    assert_eq!(document["tasks"]["count"]["output"], json!({"n": 3}), "{}", document["tasks"]["count"]);
    for id in ["forgotten", "reworded"] {
        assert_eq!(document["tasks"][id]["error"]["class"], "output", "{}", document["tasks"][id]);
    }
    assert!(document["metrics"]["peak_parallel"].as_u64().is_some_and(|n| n <= 10), "{}", document["metrics"]);
    let hosts: std::collections::BTreeSet<String> = model
        .calls()
        .iter()
        .filter_map(|call| {
            call["headers"].as_object()?.iter().find(|(k, _)| k.eq_ignore_ascii_case("x-claude-code-session-id"))
        })
        .map(|(_, id)| id.to_string())
        .collect();
    assert_eq!(hosts.len(), 1, "one session for all of them");
    let cost = |value: &Value| value["usage"]["cost_usd"].as_f64().unwrap_or_default();
    let sum: f64 = (0..12).map(|n| cost(&document["tasks"][format!("t{n}")])).sum();
    assert!(sum > 0.0 && cost(&document) > sum);
    assert!(place.raddle(&["logs", "last", "t0"]).exits(0).out.contains("of the session that hosts it"));
    assert_eq!(processes::mentioning(place.root()), []);
}
