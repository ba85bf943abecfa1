//! A digest of what a definition means: keys in any order, no layout, no comments, YAML like JSON. It does not know
//! defaults: what is not written is not part of it.

use blake3::Hasher;

use crate::syntax::{Data, Entry, Node};
use crate::workflow::TaskKind;

/// The digest of one task; a code file counts by its content.
pub(crate) fn task(entries: &[Entry<'_>], kind: &TaskKind) -> String {
    let mut hasher = Hasher::new();
    map(entries, &|_| true, &mut hasher);
    if let TaskKind::Code(code) = kind
        && code.code_file.is_some()
    {
        text(&code.code, &mut hasher);
    }
    hasher.finalize().to_hex().to_string()
}

/// The digest of a whole workflow, given those of its tasks in order.
pub(crate) fn workflow<'a>(entries: &[Entry<'_>], tasks: impl Iterator<Item = &'a str>) -> String {
    let mut hasher = Hasher::new();
    map(entries, &|key| key != "tasks", &mut hasher);
    tasks.for_each(|hash| text(hash, &mut hasher));
    hasher.finalize().to_hex().to_string()
}

/// Every value is written with a tag and, where it has a length, its length, so that no two values look alike.
fn node(value: &Node<'_>, hasher: &mut Hasher) {
    match &value.data {
        Data::Null => {
            hasher.update(b"0");
        }
        Data::Bool(b) => {
            hasher.update(if *b { b"t" } else { b"f" });
        }
        Data::Number(number) => {
            hasher.update(b"n");
            text(&number.to_string(), hasher);
        }
        Data::Text(value) => {
            hasher.update(b"s");
            text(value, hasher);
        }
        Data::List(items) => {
            hasher.update(b"l");
            hasher.update(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| node(item, hasher));
        }
        Data::Map(entries) => map(entries, &|_| true, hasher),
    }
}

fn map(entries: &[Entry<'_>], counts: &dyn Fn(&str) -> bool, hasher: &mut Hasher) {
    let mut sorted: Vec<_> = entries.iter().filter(|entry| counts(&entry.key)).collect();
    sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    hasher.update(b"m");
    hasher.update(&(sorted.len() as u64).to_le_bytes());
    for entry in sorted {
        text(&entry.key, hasher);
        node(&entry.value, hasher);
    }
}

fn text(value: &str, hasher: &mut Hasher) {
    hasher.update(&(value.len() as u64).to_le_bytes());
    hasher.update(value.as_bytes());
}
