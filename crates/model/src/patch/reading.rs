//! From a patch file to a [`Change`], with every fault of its shape at its place. It does not know the workflow.

use serde_json::{Value, json};

use super::{Change, Ends, Split};
use crate::diagnostic::{Diagnostic, Sink};
use crate::keys;
use crate::read::fields;
use crate::syntax::{self, Data, Entry, Node};

/// Reads a patch. `name` tells the format (`.json`).
pub fn read(text: &[u8], name: &str) -> Result<Change, Vec<Diagnostic>> {
    let text = match syntax::text_of(text) {
        Ok(text) => text,
        Err(fault) => {
            let mut sink = Sink::new("");
            sink.error(fault.code, fault.span, fault.message);
            return Err(sink.finish());
        }
    };
    let mut sink = Sink::new(text);
    let tree = syntax::parse(text, name);
    for fault in tree.faults {
        sink.error(fault.code, fault.span, fault.message);
    }
    let mut change = Change::default();
    match tree.root.as_ref().map(|root| (&root.data, root)) {
        Some((Data::Map(entries), root)) => {
            entries.iter().for_each(|entry| part(entry, &mut change, &mut sink));
            if sink.errors() == 0 && change.is_empty() {
                let help = "say `add`, `remove`, `replace`, `update`, `priority`, `split` or `edges`";
                sink.error("missing-key", root.span, "the patch changes nothing").help(help);
            }
        }
        Some((_, root)) => {
            let message = format!("a patch is a mapping with `add:`, `remove:` …, not {}", root.kind());
            sink.error("bad-type", root.span, message);
        }
        None => {}
    }
    if sink.errors() == 0 { Ok(change) } else { Err(sink.finish()) }
}

fn part(entry: &Entry<'_>, change: &mut Change, sink: &mut Sink<'_>) {
    let (key, node) = (&*entry.key, &entry.value);
    match key {
        "reason" => change.reason = fields::plain_text(key, node, sink).map(str::to_owned),
        "add" => change.add.extend(tasks(key, node, sink)),
        "replace" => change.replace.extend(tasks(key, node, sink)),
        "update" => {
            let updates = tasks(key, node, sink);
            for (update, node) in updates.iter().zip(fields::list(key, node, &mut Sink::new("")).unwrap_or_default()) {
                if update.as_object().is_some_and(|keys| keys.len() < 2) {
                    sink.error("missing-key", node.span, "the update changes nothing");
                }
            }
            change.update.extend(updates);
        }
        "remove" => {
            for item in fields::list(key, node, sink).unwrap_or_default() {
                change.remove.extend(fields::text(key, item, sink).map(str::to_owned));
            }
        }
        "priority" => {
            for entry in fields::map(key, node, sink).unwrap_or_default() {
                let bounds = (i64::from(i32::MIN), i64::from(i32::MAX));
                let value = fields::integer(&entry.key, &entry.value, bounds, sink);
                change.update.extend(value.map(|value| json!({"id": &*entry.key, "priority": value})));
            }
        }
        "split" => match &node.data {
            Data::List(items) => items.iter().for_each(|item| split(item, change, sink)),
            _ => split(node, change, sink),
        },
        "edges" => match &node.data {
            Data::Map(entries) => {
                for entry in entries {
                    match &*entry.key {
                        "add" => connect(&entry.value, change, sink),
                        "remove" => cut(&entry.value, change, sink),
                        _ => keys::unknown(entry, "the edges of a patch", &[keys::PATCH_EDGES], sink),
                    }
                }
            }
            _ => connect(node, change, sink),
        },
        _ => keys::unknown(entry, "a patch", &[keys::PATCH], sink),
    }
}

/// Mappings with an id; what else they say is judged with the whole definition.
fn tasks(key: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> Vec<Value> {
    let mut tasks = Vec::new();
    for item in fields::list(key, node, sink).unwrap_or_default() {
        let Some(entries) = fields::map(key, item, sink) else { continue };
        if let Some(entry) = entries.iter().find(|entry| keys::MARKS.contains(&&*entry.key)) {
            keys::unknown(entry, "a task", &[keys::TASK], sink);
        }
        match item.get("id").map(|id| fields::text("id", id, sink)) {
            Some(Some(_)) => tasks.push(item.to_json()),
            Some(None) => {}
            None => {
                sink.error("missing-key", item.span, "the task has no `id`").help("give every task an `id`");
            }
        }
    }
    tasks
}

fn split(node: &Node<'_>, change: &mut Change, sink: &mut Sink<'_>) {
    let Some(entries) = fields::map("split", node, sink) else { return };
    let (mut task, mut into) = (None, Vec::new());
    for entry in entries {
        match &*entry.key {
            "task" => task = fields::text("task", &entry.value, sink).map(str::to_owned),
            "into" => into = tasks("into", &entry.value, sink),
            _ => keys::unknown(entry, "a split", &[keys::SPLIT], sink),
        }
    }
    match task {
        Some(task) if !into.is_empty() => change.split.push(Split { task, into }),
        _ if sink.errors() > 0 => {}
        _ => {
            sink.error("missing-key", node.span, "a split needs `task` and `into`");
        }
    }
}

fn connect(node: &Node<'_>, change: &mut Change, sink: &mut Sink<'_>) {
    for item in fields::list("edges", node, sink).unwrap_or_default() {
        if ends(item, keys::EDGE, sink).is_some() {
            change.connect.push(item.to_json());
        }
    }
}

fn cut(node: &Node<'_>, change: &mut Change, sink: &mut Sink<'_>) {
    for item in fields::list("edges", node, sink).unwrap_or_default() {
        change.cut.extend(ends(item, &keys::EDGE[..2], sink));
    }
}

fn ends(item: &Node<'_>, known: &[&'static str], sink: &mut Sink<'_>) -> Option<Ends> {
    let entries = fields::map("edges", item, sink)?;
    for entry in entries.iter().filter(|entry| !known.contains(&&*entry.key)) {
        keys::unknown(entry, "an edge", &[known], sink);
    }
    let end = |key: &str| item.get(key).and_then(Node::text).map(str::to_owned);
    match (end("from"), end("to")) {
        (Some(from), Some(to)) => Some(Ends { from, to }),
        _ => {
            sink.error("missing-key", item.span, "an edge needs `from` and `to`");
            None
        }
    }
}
