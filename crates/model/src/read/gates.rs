//! Where a person is asked: `approve:` tasks, `approval: required`, `on_exhausted`. It does not know how a question
//! reaches anybody, nor what an answer does.

use std::time::Duration;

use super::fields::{self, BareNumber};
use super::kinds::Body;
use super::task::Kind;
use crate::diagnostic::Sink;
use crate::syntax::{Entry, Node};
use crate::workflow::{ApprovalTask, OnExhausted};

/// What means something only where there are attempts. A gate has none.
const OF_ATTEMPTS: &[&str] = &[
    "timeout",
    "retry",
    "retryable",
    "side_effects",
    "output_format",
    "executor",
    "isolation",
    "permissions",
    "resources",
    "on_exhausted",
    "on_doubt",
    "approval",
    "estimate",
];

/// The longest wait: a century, so that times never overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

impl<'n> Body<'_, 'n, '_, '_> {
    pub(super) fn approval(&mut self) -> Option<ApprovalTask> {
        let node = self.get("approve")?;
        let question = fields::plain_text("approve", node, &mut self.cx.sink)?;
        let question = self.text_template(question, node.span);
        let expires = match self.get("expires") {
            Some(node) => {
                let expires = fields::limit("expires", node, BareNumber::Seconds, &mut self.cx.sink)?;
                if expires > LONGEST {
                    self.cx.sink.error("bad-duration", node.span, "`expires` is longer than a century");
                }
                Some(expires)
            }
            None => None,
        };
        if let Some(node) = self.get("on_expire") {
            on_expire(node, expires.is_some(), &mut self.cx.sink);
        }
        Some(ApprovalTask { question, expires })
    }
}

fn on_expire(node: &Node<'_>, expires: bool, sink: &mut Sink<'_>) {
    if node.text() == Some("approve") {
        sink.error("bad-value", node.span, "`on_expire` cannot be `approve`: silence is never a yes")
            .help("`reject` is what happens; leave the gate out if nobody needs to answer it");
    } else if fields::choice("on_expire", node, &[("reject", ())], sink).is_some() && !expires {
        sink.error("bad-value", node.span, "`on_expire` without `expires` never happens")
            .help("say how long an answer is waited for, as in `expires: 1h`");
    }
}

/// `approval: required`; the only word it has.
pub(super) fn required(node: &Node<'_>, sink: &mut Sink<'_>) -> bool {
    fields::choice("approval", node, &[("required", ())], sink).is_some()
}

/// What becomes of a task whose last retry failed; other words are judged with the retries.
pub(super) fn on_exhausted(node: &Node<'_>) -> OnExhausted {
    if node.text() == Some("human") { OnExhausted::Human } else { OnExhausted::Fail }
}

/// Tells of a key that would be ignored, since a gate has no attempts; true when it was told.
pub(super) fn is_in_vain(kind: Option<Kind>, entry: &Entry<'_>, sink: &mut Sink<'_>) -> bool {
    let in_vain = kind == Some(Kind::Approval) && OF_ATTEMPTS.contains(&&*entry.key);
    if in_vain {
        sink.error("unknown-key", entry.key_span, format!("`{}` means nothing for an approval gate", entry.key))
            .help("a gate starts nothing: it has a question, `expires`, and `output_schema` for its answer");
    }
    in_vain
}
