//! One value at a time: of the right type, or a diagnostic that says what was expected. It does not know which task
//! or which key it reads for; callers name the key.

use std::borrow::Cow;
use std::time::Duration;

use crate::diagnostic::{Sink, quoted};
use crate::quantity;
use crate::syntax::{Data, Entry, Node};

/// What a bare number of time means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BareNumber {
    Seconds,
    Milliseconds,
}

pub(super) fn bad_type(key: &str, wanted: &str, node: &Node<'_>, sink: &mut Sink<'_>) {
    let found = match &node.data {
        Data::Text(text) => format!("the text {}", quoted(text)),
        Data::Number(n) => format!("the number {n}"),
        Data::Bool(b) => b.to_string(),
        _ => node.kind().to_owned(),
    };
    sink.error("bad-type", node.span, format!("`{key}` must be {wanted}, not {found}"));
}

pub(crate) fn text<'n>(key: &str, node: &'n Node<'_>, sink: &mut Sink<'_>) -> Option<&'n str> {
    match &node.data {
        Data::Text(text) => Some(text),
        Data::Number(_) | Data::Bool(_) => {
            let shown = node.to_json();
            sink.error("bad-type", node.span, format!("`{key}` must be text, not {shown}"))
                .help(format!("put it in quotes: \"{shown}\""));
            None
        }
        _ => {
            bad_type(key, "text", node, sink);
            None
        }
    }
}

/// Text that is not empty and could be handed to the operating system.
pub(crate) fn plain_text<'n>(key: &str, node: &'n Node<'_>, sink: &mut Sink<'_>) -> Option<&'n str> {
    let found = text(key, node, sink)?;
    if found.trim().is_empty() {
        sink.error("bad-value", node.span, format!("`{key}` must not be empty"));
        return None;
    }
    no_nul(key, found, node, sink).then_some(found)
}

pub(super) fn no_nul(key: &str, text: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> bool {
    let clean = !text.contains('\0');
    if !clean {
        sink.error("bad-value", node.span, format!("`{key}` must not contain a NUL character"));
    }
    clean
}

/// Text, or a number or truth value as its text: for places where the operating system only knows text.
pub(super) fn scalar_text<'n>(key: &str, node: &'n Node<'_>, sink: &mut Sink<'_>) -> Option<Cow<'n, str>> {
    match &node.data {
        Data::Text(text) => no_nul(key, text, node, sink).then_some(Cow::Borrowed(&**text)),
        Data::Number(_) | Data::Bool(_) => Some(Cow::Owned(node.to_json().to_string())),
        _ => {
            bad_type(key, "text", node, sink);
            None
        }
    }
}

pub(super) fn boolean(key: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> Option<bool> {
    match &node.data {
        Data::Bool(b) => Some(*b),
        _ => {
            bad_type(key, "true or false", node, sink);
            None
        }
    }
}

/// A whole number within bounds, both included.
pub(crate) fn integer(key: &str, node: &Node<'_>, bounds: (i64, i64), sink: &mut Sink<'_>) -> Option<i64> {
    let Data::Number(number) = &node.data else {
        bad_type(key, "a whole number", node, sink);
        return None;
    };
    if number.is_f64() && number.as_f64().is_some_and(|n| n.fract() != 0.0) {
        bad_type(key, "a whole number", node, sink);
        return None;
    }
    let value = number.as_i64().filter(|_| !number.is_f64());
    let value = value.filter(|n| (bounds.0..=bounds.1).contains(n));
    if value.is_none() {
        let (low, high) = bounds;
        sink.error("bad-value", node.span, format!("`{key}` must be between {low} and {high}, not {number}"));
    }
    value
}

/// A number within bounds, both included.
pub(super) fn number(key: &str, node: &Node<'_>, bounds: (f64, f64), sink: &mut Sink<'_>) -> Option<f64> {
    let Data::Number(number) = &node.data else {
        bad_type(key, "a number", node, sink);
        return None;
    };
    let value = number.as_f64().filter(|n| *n >= bounds.0 && *n <= bounds.1);
    if value.is_none() {
        let (low, high) = bounds;
        sink.error("bad-value", node.span, format!("`{key}` must be between {low} and {high}, not {number}"));
    }
    value
}

pub(super) fn duration(key: &str, node: &Node<'_>, bare: BareNumber, sink: &mut Sink<'_>) -> Option<Duration> {
    let (value, shown) = match &node.data {
        Data::Text(text) => (quantity::duration(text), quoted(text)),
        Data::Number(n) => {
            let unit = if bare == BareNumber::Seconds { 1.0 } else { 0.001 };
            (n.as_f64().and_then(|n| quantity::seconds(n * unit)), n.to_string())
        }
        _ => {
            bad_type(key, "a duration", node, sink);
            return None;
        }
    };
    if value.is_none() {
        let unit = if bare == BareNumber::Seconds { "seconds" } else { "milliseconds" };
        sink.error("bad-duration", node.span, format!("`{key}` is no duration: {shown}"))
            .help(format!("write it as in 300s, 5m, 1h30m or 500ms; a bare number is {unit}"));
    }
    value
}

/// A duration that is more than nothing.
pub(super) fn limit(key: &str, node: &Node<'_>, bare: BareNumber, sink: &mut Sink<'_>) -> Option<Duration> {
    let value = duration(key, node, bare, sink)?;
    if value < Duration::from_millis(1) {
        sink.error("bad-duration", node.span, format!("`{key}` must be at least 1ms"));
        return None;
    }
    Some(value)
}

pub(super) fn size(key: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> Option<u64> {
    let (value, shown) = match &node.data {
        Data::Text(text) => (quantity::size(text), quoted(text)),
        Data::Number(n) => (n.as_f64().and_then(quantity::megabytes), n.to_string()),
        _ => {
            bad_type(key, "a size", node, sink);
            return None;
        }
    };
    if value.is_none() {
        sink.error("bad-size", node.span, format!("`{key}` is no size: {shown}"))
            .help("write it as in 64MB or 1GB; a bare number is megabytes");
    }
    value
}

/// One of the given words.
pub(super) fn choice<T: Copy>(key: &str, node: &Node<'_>, words: &[(&str, T)], sink: &mut Sink<'_>) -> Option<T> {
    let Data::Text(word) = &node.data else {
        let known: Vec<_> = words.iter().map(|(w, _)| *w).collect();
        bad_type(key, &format!("one of {}", known.join(", ")), node, sink);
        return None;
    };
    let found = words.iter().find(|(w, _)| w == word).map(|(_, value)| *value);
    if found.is_none() {
        unknown_word(key, word, words.iter().map(|(w, _)| *w), node, sink);
    }
    found
}

pub(super) fn unknown_word<'a>(
    key: &str,
    word: &str,
    known: impl Iterator<Item = &'a str> + Clone,
    node: &Node<'_>,
    sink: &mut Sink<'_>,
) {
    let all: Vec<_> = known.clone().collect();
    let near = sink.nearest(word, known);
    let note = sink.error("bad-value", node.span, format!("`{key}` cannot be {}", quoted(word)));
    match near {
        Some(near) => note.help(format!("did you mean `{near}`? (one of {})", all.join(", "))),
        None => note.help(format!("one of {}", all.join(", "))),
    };
}

pub(crate) fn list<'n, 't>(key: &str, node: &'n Node<'t>, sink: &mut Sink<'_>) -> Option<&'n [Node<'t>]> {
    match &node.data {
        Data::List(items) => Some(items),
        Data::Text(text) => {
            sink.error("bad-type", node.span, format!("`{key}` must be a list, not the text {}", quoted(text)))
                .help("put it in square brackets");
            None
        }
        _ => {
            bad_type(key, "a list", node, sink);
            None
        }
    }
}

pub(crate) fn map<'n, 't>(key: &str, node: &'n Node<'t>, sink: &mut Sink<'_>) -> Option<&'n [Entry<'t>]> {
    match &node.data {
        Data::Map(entries) => Some(entries),
        _ => {
            bad_type(key, "a mapping", node, sink);
            None
        }
    }
}

/// A list of texts that are not empty.
pub(crate) fn texts(key: &str, node: &Node<'_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let items = list(key, node, sink)?;
    let texts: Vec<_> = items.iter().filter_map(|i| plain_text(key, i, sink).map(str::to_owned)).collect();
    (texts.len() == items.len()).then_some(texts)
}

/// Whether a name may be an environment variable; `RADDLE_` is the program's own.
pub(super) fn variable_name(entry: &Entry<'_>, sink: &mut Sink<'_>) -> bool {
    let name = &*entry.key;
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit());
    if !is_name {
        sink.error("bad-value", entry.key_span, format!("{} is no name of an environment variable", quoted(name)));
    } else if name.starts_with("RADDLE_") {
        sink.error("bad-value", entry.key_span, format!("{} is set by raddle itself", quoted(name)));
        return false;
    }
    is_name
}
