//! Stories of patches: a definition, a change, and the definition that comes of it.

use super::*;
use crate::catalog::Catalog;
use crate::read::{NoSources, parse_changed};
use crate::workflow::Workflow;

const FIRST: &str = "tasks: [{id: a, run: x}, {id: b, run: x, depends_on: [a]}, {id: c, run: [echo, '$OUTPUT[b]'], \
                     depends_on: [{task: b, type: soft}]}]\nedges: [{from: a, to: c}]";

fn document(text: &str) -> Value {
    crate::syntax::parse(text, "wf.yaml").root.expect("a tree").to_json()
}

fn patched(before: &Value, patch: &str) -> Value {
    let change = read(patch.as_bytes(), "p.yaml").unwrap_or_else(|wrong| panic!("{wrong:?}"));
    apply(before, &change).unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

fn workflow(document: &Value) -> Result<Workflow, Vec<String>> {
    let parsed = parse_changed(document.to_string().as_bytes(), "wf.yaml", &NoSources, &Catalog::builtin());
    parsed.workflow.ok_or_else(|| parsed.diagnostics.into_iter().map(|d| d.message).collect())
}

/// `id<dependencies`, in the order of the places.
fn shape(document: &Value) -> Vec<String> {
    let workflow = workflow(document).unwrap_or_else(|wrong| panic!("{wrong:?}"));
    let id = |n: u32| workflow.tasks[n as usize].id.clone();
    let of = |task: &crate::workflow::Task| {
        let edges = task.depends_on.iter().map(|d| {
            let soft = if d.strength == crate::workflow::Strength::Soft { "~" } else { "" };
            format!("{soft}{}", id(d.task))
        });
        let mark = if task.course.is_removed { "-" } else { "" };
        format!("{mark}{}<{}", task.id, edges.collect::<Vec<_>>().join(","))
    };
    workflow.tasks.iter().map(of).collect()
}

#[test]
fn places_are_kept() {
    let before = document(FIRST);
    let after = patched(&before, "remove: [c]\nadd: [{id: d, run: x, depends_on: [b]}]");
    assert_eq!(shape(&after), ["a<", "b<a", "-c<", "d<b"]);
    let again = patched(&after, "add: [{id: c, run: y}]\nedges: [{from: d, to: c}]");
    assert_eq!(shape(&again), ["a<", "b<a", "-c<", "d<b", "c<d"]);
}

#[test]
fn sagas_keep_their_numbers() {
    let scopes = |document: &Value| workflow(document).unwrap().scopes().collect::<Vec<_>>();
    let before = document("tasks: [{id: a, run: x, saga: z}, {id: b, run: x, saga: y}, {id: c, run: x, saga: z}]");
    let after = patched(&before, "remove: [a]\nadd: [{id: d, run: x, saga: b}]");
    assert_eq!((scopes(&before), scopes(&after)), (vec![1, 2, 1], vec![1, 2, 1, 3]));
}

#[test]
fn edges_are_cut_wherever_they_are_written() {
    let after = patched(&document(FIRST), "edges: {remove: [{from: a, to: c}, {from: a, to: b}]}");
    assert_eq!(shape(&after), ["a<", "b<", "c<~b"]);
}

#[test]
fn a_split_takes_over_what_came_before_and_after() {
    let split = "split: {task: b, into: [{id: b1, run: x}, {id: b2, run: x, depends_on: [b1]}, {id: b3, run: x, depends_on: [b1]}]}";
    let after = patched(&document(&FIRST.replace("[echo, '$OUTPUT[b]']", "x")), split);
    assert_eq!(shape(&after), ["a<", "-b<", "c<a,~b2,~b3", "b1<a", "b2<b1", "b3<b1"]);
}

#[test]
fn updates_change_keys() {
    let after = patched(&document(FIRST), "update: [{id: b, timeout: 5s, depends_on: null}]\npriority: {c: 7}");
    let workflow = workflow(&after).unwrap();
    assert_eq!((workflow.tasks[1].timeout.wall.as_secs(), workflow.tasks[1].depends_on.len()), (5, 0));
    assert_eq!(workflow.tasks[2].priority, 7);
}

#[test]
fn what_was_changed_can_be_changed_back() {
    let before = document(FIRST);
    for patch in [
        "remove: [c]",
        "add: [{id: d, run: x, depends_on: [b]}]\nedges: [{from: d, to: c}]",
        "replace: [{id: b, run: z}]\nedges: {remove: [{from: a, to: c}]}",
        "priority: {a: 3}",
        // What is said a second time.
        "edges: [{from: a, to: b}]",
        "edges: [{from: a, to: c, type: soft}]",
    ] {
        let after = patched(&before, patch);
        let back = apply(&after, &inverse(&before, &after)).unwrap_or_else(|wrong| panic!("{patch}: {wrong:?}"));
        let known = |document: &Value| {
            let mut shape: Vec<String> = shape(document).into_iter().filter(|task| !task.starts_with('-')).collect();
            shape.sort();
            shape
        };
        assert_eq!(known(&back), known(&before), "{patch}");
    }
}

#[test]
fn items_are_tasks_that_their_list_waits_for() {
    let list = "tasks: [{id: l, run: x}, {id: e, run: [echo, $ITEM.n], foreach: '$OUTPUT[l]', depends_on: [l]}, {id: j, run: x, depends_on: [e]}]";
    let own = Change { expand: Some(Expansion { task: "e".into(), items: 2 }), ..Change::default() };
    let after = apply(&document(list), &own).unwrap();
    assert_eq!(shape(&after), ["l<", "e<l,~e.0,~e.1", "j<e", "e.0<l", "e.1<l"]);
    let workflow = workflow(&after).unwrap();
    assert_eq!(workflow.tasks[1].course.foreach.as_ref().unwrap().items, [3, 4]);
    assert_eq!(workflow.tasks[4].course.item, Some(crate::course::Item { of: 1, number: 1 }));
    assert_eq!(apply(&after, &Change { remove: vec!["e.0".into()], ..Change::default() }).unwrap_err().len(), 1);
}

#[test]
fn a_replacement_is_known_by_the_name_of_what_it_replaces() {
    let file = "tasks: [{id: a, run: x}, {id: t, run: x, on_exhausted: {replace: {run: y}}}, {id: u, run: [echo, '$OUTPUT[t]'], \
                depends_on: [t]}]\nedges: [{from: a, to: t}]\noutputs: {o: '$OUTPUT[t]'}";
    let own = Change { supersede: Some("t".into()), ..Change::default() };
    let after = apply(&document(file), &own).unwrap();
    assert_eq!(shape(&after), ["a<", "t<a", "u<t.replacement", "t.replacement<a"]);
    let workflow = workflow(&after).unwrap();
    assert_eq!(workflow.tasks[1].course.superseded_by, Some(3));
    assert_eq!(workflow.tasks[3].course.stands_for.as_deref(), Some("t"));
}

#[test]
fn faults_of_a_patch_are_told_together() {
    let faults = |patch: &str| -> Vec<String> {
        read(patch.as_bytes(), "p.yaml").unwrap_err().into_iter().map(|d| d.code.to_owned()).collect()
    };
    assert_eq!(faults("frob: 1\nadd: 7\nremove: [[]]"), ["unknown-key", "bad-type", "bad-type"]);
    assert_eq!(faults("add: [{run: x}, {id: q, item: 3, of: e}]"), ["missing-key", "unknown-key"]);
    assert_eq!(faults("reason: none"), ["missing-key"]);
    assert_eq!(faults("[]"), ["bad-type"]);
    let change = read(b"remove: [nosuch]\nreplace: [{id: none, run: x}]", "p.yaml").unwrap();
    assert_eq!(apply(&document(FIRST), &change).unwrap_err().len(), 2);
}
