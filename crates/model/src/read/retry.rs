//! `retry:` and `retryable:`, and how they combine with the defaults of the file and of the task's kind. It does not
//! know what failures are, only their names.

use std::time::Duration;

use super::fields::{self, BareNumber};
use crate::diagnostic::Sink;
use crate::keys;
use crate::syntax::Node;
use crate::unsupported::{self, Place};
use crate::workflow::Retry;

/// What was written; the rest comes from elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct PartialRetry {
    /// Whether there was a `retry:` at all.
    pub(super) given: bool,
    max: Option<u32>,
    initial: Option<Duration>,
    factor: Option<f64>,
    max_delay: Option<Duration>,
    jitter: Option<f64>,
    on: Option<Vec<String>>,
}

/// Failure classes that another execution could help with.
const RETRYABLE: &[&str] = &[
    "start",
    "exit",
    "signal",
    "timeout",
    "idle",
    "oom",
    "output",
    "schema",
    "quota",
    "auth",
    "turn_limit",
    "tool",
    "logic",
    "lost",
];
/// Failure classes that are never retried.
const FINAL: &[&str] = &["input", "permission", "budget", "cancelled"];

/// `on_exhausted:`; the model that goes on, if one does.
pub(super) fn exhausted(node: &Node<'_>, is_agent: bool, sink: &mut Sink<'_>) -> Option<String> {
    let crate::syntax::Data::Map(entries) = &node.data else {
        let word = node.text().unwrap_or_default();
        if !unsupported::value(Place::Task, "on_exhausted", word, node.span, sink) {
            fields::choice("on_exhausted", node, &[("fail", ()), ("human", ())], sink);
        }
        return None;
    };
    let mut model = None;
    for entry in entries {
        match &*entry.key {
            "model" if !is_agent => {
                sink.error("bad-value", entry.key_span, "only agent tasks have a model that could go on")
                    .help("`retry: {max: N}` gives another kind of task more attempts");
            }
            "model" => model = fields::plain_text("model", &entry.value, sink).map(str::to_owned),
            // Read with what else may become of the task.
            "replace" => {}
            _ => keys::unknown(entry, "`on_exhausted`", &[&["model", "replace"]], sink),
        }
    }
    if entries.is_empty() {
        sink.error("missing-key", node.span, "`on_exhausted` says nothing").help("write `on_exhausted: {model: NAME}`");
    }
    if model.as_deref() == Some(crate::router::AUTO) {
        sink.error("bad-value", node.span, "`on_exhausted` names the model that goes on; `auto` names none");
        return None;
    }
    model
}

pub(super) fn read(node: &Node<'_>, sink: &mut Sink<'_>) -> PartialRetry {
    let mut retry = PartialRetry { given: true, ..PartialRetry::default() };
    if matches!(node.data, crate::syntax::Data::Number(_)) {
        let n = node.to_json();
        sink.error("bad-type", node.span, format!("`retry` must be a mapping, not {n}"))
            .help(format!("write `retry: {{max: {n}}}`"));
        return retry;
    }
    for entry in fields::map("retry", node, sink).unwrap_or_default() {
        let (key, node) = (&*entry.key, &entry.value);
        match key {
            "max" => retry.max = fields::integer(key, node, (0, 1000), sink).and_then(|n| u32::try_from(n).ok()),
            "initial" => retry.initial = fields::duration(key, node, BareNumber::Seconds, sink),
            "factor" => retry.factor = fields::number(key, node, (1.0, 1000.0), sink),
            "max_delay" => retry.max_delay = fields::duration(key, node, BareNumber::Seconds, sink),
            "jitter" => retry.jitter = fields::number(key, node, (0.0, 1.0), sink),
            "on" => retry.on = classes(node, sink),
            _ => keys::unknown(entry, "`retry`", &[keys::RETRY], sink),
        }
    }
    retry
}

fn classes(node: &Node<'_>, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let items = fields::list("on", node, sink)?;
    let mut classes = Vec::with_capacity(items.len());
    for item in items {
        let name = fields::text("on", item, sink)?;
        if RETRYABLE.contains(&name) {
            classes.push(name.to_owned());
        } else if FINAL.contains(&name) {
            sink.error("bad-value", item.span, format!("failures of class `{name}` are never retried"));
        } else {
            fields::unknown_word("on", name, RETRYABLE.iter().copied(), item, sink);
        }
    }
    Some(classes)
}

impl PartialRetry {
    /// Fills what is open: from the file's defaults, then from the kind's count and the program's own delays.
    pub(super) fn complete(self, retryable: Option<bool>, defaults: &PartialRetry, by_kind: u32) -> Retry {
        let asked = self.given || defaults.given || retryable == Some(true);
        // `retry` or `retryable: true` without a number means three where the kind alone means none.
        let unsaid = if asked && by_kind == 0 { 3 } else { by_kind };
        let max = match retryable {
            Some(false) => 0,
            _ => self.max.or(defaults.max).unwrap_or(unsaid),
        };
        let initial = self.initial.or(defaults.initial).unwrap_or(Duration::from_secs(1));
        Retry {
            max,
            initial,
            factor: self.factor.or(defaults.factor).unwrap_or(2.0),
            max_delay: self.max_delay.or(defaults.max_delay).unwrap_or(initial.max(Duration::from_secs(30))),
            jitter: self.jitter.or(defaults.jitter).unwrap_or(0.2),
            on: self.on.or_else(|| defaults.on.clone()),
        }
    }
}
