//! The edges of a task: what it depends on, and how strongly. It does not know whether they form a graph.

use super::task::Draft;
use super::{Reading, fields};
use crate::diagnostic::quoted;
use crate::keys;
use crate::references::Names;
use crate::syntax::{Data, Entry, Node, Span};
use crate::workflow::{Strength, TaskIndex};

/// A dependency of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) task: TaskIndex,
    pub(super) strength: Strength,
    pub(super) span: Span,
}

pub(super) fn dependencies(
    spellings: [Option<&Entry<'_>>; 2],
    names: &Names<'_>,
    draft: &mut Draft<'_>,
    cx: &mut Reading<'_, '_>,
) {
    let mut read = spellings.iter().flatten().map(|entry| (entry.key_span, edges(entry, names, draft, cx)));
    let Some((_, first)) = read.next() else { return };
    let second = read.next();
    drop(read);
    if let Some((span, second)) = second {
        let plain = |edges: &[Edge]| {
            let mut pairs: Vec<_> = edges.iter().map(|e| (e.task, e.strength)).collect();
            pairs.sort_unstable();
            pairs.dedup();
            pairs
        };
        if plain(&first) != plain(&second) {
            cx.sink
                .error("conflicting-keys", span, "`depends_on` and `dependencies` say different things")
                .help("keep one of them");
        }
    }
    draft.dependencies = first;
}

fn edges(entry: &Entry<'_>, names: &Names<'_>, draft: &mut Draft<'_>, cx: &mut Reading<'_, '_>) -> Vec<Edge> {
    let items = fields::list(&entry.key, &entry.value, &mut cx.sink).unwrap_or_default();
    draft.is_connected |= !items.is_empty();
    let mut edges = Vec::with_capacity(items.len());
    for item in items {
        let mut strength = Some(Strength::Hard);
        let target = match &item.data {
            Data::Map(fields) => {
                let mut target = None;
                for field in fields {
                    match &*field.key {
                        "task" => target = Some(&field.value),
                        "type" => strength = self::strength(&field.value, cx),
                        _ => keys::unknown(field, "a dependency", &[keys::DEPENDENCY], &mut cx.sink),
                    }
                }
                if target.is_none() {
                    cx.sink.error("missing-key", item.span, "the dependency has no `task`");
                }
                target
            }
            _ => Some(item),
        };
        let Some(target) = target else { continue };
        let Some(name) = fields::text(&entry.key, target, &mut cx.sink) else { continue };
        if name == draft.id {
            self_dependency(name, target.span, cx);
            continue;
        }
        let Some(task) = cx.task_named(name, draft.id, target.span, names) else { continue };
        if let Some(strength) = strength {
            edges.push(Edge { task, strength, span: target.span });
        }
    }
    edges
}

pub(super) fn self_dependency(name: &str, span: Span, cx: &mut Reading<'_, '_>) {
    let note = cx.sink.error("self-dependency", span, format!("{} depends on itself", quoted(name)));
    note.help("remove the dependency");
}

pub(super) fn strength(node: &Node<'_>, cx: &mut Reading<'_, '_>) -> Option<Strength> {
    let word = fields::text("type", node, &mut cx.sink)?;
    match word {
        "hard" => Some(Strength::Hard),
        "soft" => Some(Strength::Soft),
        _ => {
            let message = format!("an edge is `hard` or `soft`, not {}", quoted(word));
            cx.sink.error("bad-edge-type", node.span, message).help("hard edges block on failure, soft ones only wait");
            None
        }
    }
}
