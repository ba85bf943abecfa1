//! `invariants:` of a workflow: a list of expressions, with names or without. It does not know when they are checked.

use super::{Reading, fields};
use crate::invariants::Invariant;
use crate::keys;
use crate::references::Names;
use crate::syntax::{Data, Node};

/// More than that many would make every simulated run dear.
const MOST: usize = 200;

pub(super) fn read(root: &Node<'_>, names: &Names<'_>, cx: &mut Reading<'_, '_>) -> Vec<Invariant> {
    let Some(node) = root.get("invariants") else { return Vec::new() };
    let items = fields::list("invariants", node, &mut cx.sink).unwrap_or_default();
    if items.len() > MOST {
        cx.sink.error(
            "bad-value",
            node.span,
            format!("`invariants` has {} entries, at most {MOST} are checked", items.len()),
        );
        return Vec::new();
    }
    items.iter().filter_map(|item| invariant(item, names, cx)).collect()
}

fn invariant(item: &Node<'_>, names: &Names<'_>, cx: &mut Reading<'_, '_>) -> Option<Invariant> {
    let (mut name, mut expression) = (None, item);
    if let Data::Map(entries) = &item.data {
        let mut found = None;
        for entry in entries {
            match &*entry.key {
                "name" => name = fields::plain_text("name", &entry.value, &mut cx.sink),
                "expr" => found = Some(&entry.value),
                _ => keys::unknown(entry, "an invariant", &[keys::INVARIANT], &mut cx.sink),
            }
        }
        let Some(found) = found else {
            cx.sink
                .error("missing-key", item.span, "the invariant has no `expr`")
                .help("write what must be true, as in `expr: \"outcome != 'failed'\"`");
            return None;
        };
        expression = found;
    }
    let text = fields::text("invariants", expression, &mut cx.sink)?;
    match Invariant::compile(name, text, &|id| names.tasks.contains_key(id)) {
        Ok(invariant) => Some(invariant),
        Err(flaw) => {
            let at = match flaw.at {
                Some((1, column)) => format!(" (column {column} of the expression)"),
                Some((line, column)) => format!(" (line {line}, column {column} of the expression)"),
                None => String::new(),
            };
            let message = format!("the invariant cannot be used: {}{at}", flaw.what);
            let note = cx.sink.error("bad-invariant", expression.span, message);
            if let Some(help) = flaw.help {
                note.help(help);
            }
            None
        }
    }
}
