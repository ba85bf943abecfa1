//! Plans of small workflows, and of random ones against petgraph and naive sums.

use petgraph::graph::{DiGraph, NodeIndex};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::read::{NoSources, parse};

fn workflow(document: &Value) -> Workflow {
    let parsed = parse(document.to_string().as_bytes(), "wf.json", &NoSources, &Catalog::builtin());
    parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics))
}

fn planned(document: &Value, settings: &Settings, history: &History) -> Value {
    let workflow = workflow(document);
    serde_json::to_value(plan(&workflow, settings, history, &[])).expect("plans serialize")
}

fn timed(tasks: &[(&str, u64, &[&str])]) -> Value {
    let task = |(id, seconds, deps): &(&str, u64, &[&str])| json!({"id": id, "run": "true", "depends_on": deps, "estimate": {"duration": format!("{seconds}s")}});
    json!({"tasks": tasks.iter().map(task).collect::<Vec<_>>()})
}

#[test]
fn the_critical_path_counts_both_ends() {
    for (tasks, path, length) in [
        (timed(&[("a", 1, &[]), ("b", 10, &[]), ("c", 2, &["a", "b"])]), vec!["b", "c"], 12_000),
        (timed(&[("a", 7, &[])]), vec!["a"], 7_000),
        (timed(&[("a", 1, &[]), ("b", 2, &["a"]), ("leaf", 1000, &[])]), vec!["leaf"], 1_000_000),
        (
            timed(&[("a", 5, &[]), ("b", 5, &["a"]), ("c", 9, &["a"]), ("d", 1, &["b", "c"])]),
            vec!["a", "c", "d"],
            15_000,
        ),
    ] {
        let plan = planned(&tasks, &Settings::default(), &History::new());
        assert_eq!(plan["critical_path"], json!({"tasks": path, "length_ms": length}));
        for task in plan["tasks"].as_array().expect("a list") {
            let is_on_path = path.contains(&task["id"].as_str().expect("text"));
            assert_eq!(task["critical"], is_on_path, "{task}");
            assert_eq!(task["slack_ms"] == 0, is_on_path, "{task}");
        }
        assert_eq!(plan["forecast"]["reason"], Value::Null);
    }
}

#[test]
fn a_plan_is_the_document_of_the_contract() {
    let document = json!({"name": "n", "tasks": [
        {"id": "a", "prompt": "x", "model": "sonnet"},
        {"id": "b", "type": "code_execution", "code": "return 1", "depends_on": [{"task": "a", "type": "soft"}]},
    ]});
    let mut plan = planned(&document, &Settings::default(), &History::new());
    plan["hash"] = json!("…");
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).expect("JSON"));
}

#[test]
fn a_forecast_needs_every_duration() {
    let document = json!({"tasks": [{"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x", "depends_on": ["a"]}]});
    let past = |ms, usd| Past { duration_ms: Some(ms), cost_usd: Some(usd), ..Past::default() };
    let none = planned(&document, &Settings::default(), &History::new());
    assert_eq!(none["forecast"], json!({"duration_ms": null, "cost_usd": null, "reason": "no history"}));
    assert_eq!(none["tasks"][0]["slack_ms"], Value::Null);
    let mut history = History::from([("a".to_owned(), past(300, 0.02))]);
    let some = planned(&document, &Settings::default(), &history);
    assert_eq!(some["forecast"]["reason"], "no history or estimate of b");
    history.insert("b".to_owned(), past(400, 0.02));
    let all = planned(&document, &Settings::default(), &history);
    assert_eq!(all["forecast"], json!({"duration_ms": 700, "cost_usd": 0.04, "reason": null}));
}

#[test]
fn caps_name_what_bound_them() {
    let tasks = json!([{"id": "a", "prompt": "x"}]);
    let plain = || json!({"tasks": tasks});
    let with = |key: &str, value: Value| {
        let mut document = plain();
        document[key] = value;
        document
    };
    let defaults = Settings::default;
    let wide = || Settings { max_processes: 50, ..Settings::default() };
    let flag = Settings { max_parallel_flag: Some(5), max_parallelism: 3, ..wide() };
    let lifted = Settings { lift_caps: true, max_parallelism: 2, ..defaults() };
    for (document, settings, value, bound_by) in [
        (plain(), defaults(), 10, "executors.process.max_processes"),
        (plain(), wide(), 13, "dag_execution.max_parallelism"),
        (with("parallelism_level", json!("low")), defaults(), 2, "parallelism_level"),
        (with("limits", json!({"max_parallelism": 3})), defaults(), 3, "limits.max_parallelism"),
        (with("limits", json!({"max_parallelism": 3})), flag.clone(), 5, "--max-parallel"),
        (with("execution_mode", json!("sequential")), flag, 1, "execution_mode"),
        (with("execution_mode", json!("sequential")), lifted, 10, "executors.process.max_processes"),
    ] {
        let caps = caps(&workflow(&document), &settings);
        assert_eq!((caps.agent.value, caps.agent.bound_by), (value, bound_by));
    }
    let caps = caps(&workflow(&plain()), &Settings { max_local: 2, ..defaults() });
    assert_eq!((caps.local.value, caps.local.bound_by), (2, "dag_execution.max_local"));
}

/// A graph of up to 40 tasks in shuffled file order, with durations: for each task in topological order, its
/// dependencies among the earlier ones.
fn graphs() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<u64>, Vec<usize>)> {
    (1usize..40).prop_flat_map(|count| {
        let lists = (0..count)
            .map(|n| {
                prop::collection::btree_set(0..n.max(1), 0..4.min(n + 1))
                    .prop_map(move |set| set.into_iter().filter(|dep| *dep < n).collect::<Vec<_>>())
            })
            .collect::<Vec<_>>();
        (lists, prop::collection::vec(1u64..100, count), Just((0..count).collect::<Vec<_>>()).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn random_plans_agree_with_the_oracle((lists, durations, file_order) in graphs()) {
        let tasks: Vec<_> = file_order.iter().map(|n| json!({
            "id": format!("t{n}"), "run": "true", "estimate": {"duration": format!("{}ms", durations[*n])},
            "depends_on": lists[*n].iter().map(|d| format!("t{d}")).collect::<Vec<_>>(),
        })).collect();
        let workflow = workflow(&json!({ "tasks": tasks }));
        let mut oracle = DiGraph::<u64, ()>::new();
        durations.iter().for_each(|ms| { oracle.add_node(*ms); });
        for (n, list) in lists.iter().enumerate() {
            list.iter().for_each(|d| { oracle.add_edge(NodeIndex::new(*d), NodeIndex::new(n), ()); });
        }
        let sorted = petgraph::algo::toposort(&oracle, None).expect("edges only go forward");
        let (mut level, mut end) = (vec![0u32; lists.len()], vec![0u64; lists.len()]);
        for node in sorted {
            let n = node.index();
            level[n] = lists[n].iter().map(|d| level[*d] + 1).max().unwrap_or(0);
            end[n] = lists[n].iter().map(|d| end[*d]).max().unwrap_or(0) + durations[n];
        }
        for (task, n) in workflow.tasks.iter().zip(&file_order) {
            prop_assert_eq!(task.level, level[*n]);
        }
        let mut place = vec![0; lists.len()];
        for (at, task) in by_level(&workflow.tasks).iter().enumerate() {
            place[*task as usize] = at;
        }
        for (n, task) in workflow.tasks.iter().enumerate() {
            prop_assert!(task.depends_on.iter().all(|d| place[d.task as usize] < place[n]));
        }
        let known = super::durations(&workflow, &History::new());
        let path = critical_path(&workflow, &known);
        prop_assert_eq!(path.length_ms, *end.iter().max().expect("there is a task"));
        prop_assert!(path.tasks.iter().all(|task| path.slack[*task as usize] == 0));
        for pair in path.tasks.windows(2) {
            prop_assert!(workflow.tasks[pair[1] as usize].depends_on.iter().any(|d| d.task == pair[0]));
        }
    }
}
