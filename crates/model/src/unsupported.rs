//! What the file format has and this version cannot do yet, in one table: each row is refused with an error that
//! names it. It does not check values; a row is deleted when the behaviour is there.

use crate::diagnostic::Sink;
use crate::syntax::Span;

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Workflow,
    Task,
    Resources,
}

use Place::{Resources, Task, Workflow};

/// Keys that are refused whatever their value.
const KEYS: &[(Place, &str)] = &[
    (Resources, "slots"),
    (Task, "pool"),
    (Task, "singleton"),
    (Task, "speculate"),
    (Task, "on_soft_failure"),
    (Task, "cache"),
    (Task, "phase"),
    (Task, "workflow"),
    (Task, "aggregate"),
];

/// Values that are refused where others are accepted.
const VALUES: &[(Place, &str, &str)] = &[(Workflow, "optimization_mode", "aggressive")];

/// Tells when the key cannot be used yet; true when it was told.
pub(crate) fn key(place: Place, key: &str, span: Span, sink: &mut Sink<'_>) -> bool {
    let refused = KEYS.contains(&(place, key));
    if refused {
        sink.error("not-yet-supported", span, format!("`{key}` is not supported by this version yet"))
            .help("remove it; nothing that is written in a workflow is silently ignored");
    }
    refused
}

/// Tells when the value cannot be used yet; true when it was told.
pub(crate) fn value(place: Place, key: &str, value: &str, span: Span, sink: &mut Sink<'_>) -> bool {
    let refused = VALUES.contains(&(place, key, value));
    if refused {
        sink.error("not-yet-supported", span, format!("`{key}: {value}` is not supported by this version yet"))
            .help("choose another value; nothing that is written in a workflow is silently ignored");
    }
    refused
}
