//! A digest of what a definition means: keys in any order, no layout, no comments, YAML like JSON. It does not know
//! defaults: what is not written is not part of it.

use crate::syntax::{self, Data, Entry, Node};
use crate::workflow::{Task, TaskKind};

/// The digest of one task; a code file counts by its content.
pub(crate) fn task(entries: &[Entry<'_>], kind: &TaskKind) -> String {
    let mut buffer = Vec::with_capacity(512);
    // What a run notes beside a task does not change what the task means.
    map(entries, &|key| !crate::keys::MARKS.contains(&key), &mut buffer);
    if let TaskKind::Code(code) = kind
        && code.code_file.is_some()
    {
        text(&code.code, &mut buffer);
    }
    blake3::hash(&buffer).to_hex().to_string()
}

/// The digest of a whole workflow, given those of its tasks in order.
pub(crate) fn workflow<'a>(entries: &[Entry<'_>], tasks: impl Iterator<Item = &'a str>) -> String {
    let mut buffer = Vec::new();
    // What simulations check is no part of what a run does: a run may be resumed when it has changed.
    map(entries, &|key| !matches!(key, "tasks" | "invariants"), &mut buffer);
    tasks.for_each(|hash| text(hash, &mut buffer));
    blake3::hash(&buffer).to_hex().to_string()
}

/// The digest of the workflow in that text with these tasks, of which some may be kept as they were read before.
pub fn with_tasks<'a>(document: &str, name: &str, tasks: impl Iterator<Item = &'a Task>) -> Option<String> {
    match syntax::parse(document, name).root?.data {
        Data::Map(entries) => Some(workflow(&entries, tasks.map(|task| task.hash.as_str()))),
        _ => None,
    }
}

/// Every value is written with a tag and, where it has a length, its length, so that no two values look alike.
fn node(value: &Node<'_>, buffer: &mut Vec<u8>) {
    match &value.data {
        Data::Null => buffer.push(b'0'),
        Data::Bool(b) => buffer.push(if *b { b't' } else { b'f' }),
        Data::Number(number) => {
            buffer.push(b'n');
            text(&number.to_string(), buffer);
        }
        Data::Text(value) => {
            buffer.push(b's');
            text(value, buffer);
        }
        Data::List(items) => {
            buffer.push(b'l');
            buffer.extend_from_slice(&(items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| node(item, buffer));
        }
        Data::Map(entries) => map(entries, &|_| true, buffer),
    }
}

fn map(entries: &[Entry<'_>], counts: &dyn Fn(&str) -> bool, buffer: &mut Vec<u8>) {
    let mut sorted: Vec<_> = entries.iter().filter(|entry| counts(&entry.key)).collect();
    sorted.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    buffer.push(b'm');
    buffer.extend_from_slice(&(sorted.len() as u64).to_le_bytes());
    for entry in sorted {
        text(&entry.key, buffer);
        node(&entry.value, buffer);
    }
}

fn text(value: &str, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&(value.len() as u64).to_le_bytes());
    buffer.extend_from_slice(value.as_bytes());
}
