//! The journal's records as JSON lines for `--events`. It knows the shape of a line, not where lines go.

use raddle_engine::FailureClass;
use raddle_engine::fact::{Fact, OutputRef, Patched, Record};
use raddle_engine::view::RunView;
use raddle_model::patch::Change;
use serde_json::{Value, json};

use super::budget;
use super::document::{budget_entry, rfc3339, state_name, usage_entry};
use crate::terminal::{self, harmless};

/// One line: `seq`, `ts`, `type`, `task` when it concerns one, `state` when it changes a task's state. `view` is the
/// run after the record.
pub fn line(record: &Record, view: &RunView) -> Value {
    let mut event = json!({"seq": record.seq, "ts": rfc3339(record.at)});
    let id = |task: &raddle_engine::TaskIx| view.snapshot.tasks[task.index()].id.clone();
    let (kind, more) = match &record.fact {
        Fact::Started(chapter) => (
            "run_started",
            json!({"run": chapter.run, "workflow": chapter.workflow, "hash": chapter.hash, "source": chapter.source_name,
                   "tasks": view.tasks.len(), "simulated": view.snapshot.options.simulate}),
        ),
        Fact::AttemptStarted { task, attempt } => {
            ("attempt_started", json!({"task": id(task), "state": "running", "attempt": attempt.0}))
        }
        Fact::AttemptSucceeded { task, attempt, output, usage, session } => {
            let bytes = match output {
                OutputRef::Inline(text) => text.len() as u64,
                OutputRef::Stored { bytes, .. } => *bytes,
            };
            (
                "attempt_succeeded",
                json!({"task": id(task), "state": "completed", "attempt": attempt.0, "output_bytes": bytes,
                       "usage": usage.as_ref().map(|u| usage_entry(Some(**u))), "session": session}),
            )
        }
        Fact::AttemptFailed { task, attempt, class, message, retry_at, usage, exhausted } => (
            if *exhausted { "attempt_failed_retries_exhausted" } else { "attempt_failed" },
            json!({"task": id(task), "state": settled_as(view, task, *class, retry_at.is_some()), "attempt": attempt.0,
                   "class": class.name(), "message": message, "retry_at": retry_at.map(rfc3339),
                   "usage": usage.as_ref().map(|u| usage_entry(Some(**u)))}),
        ),
        Fact::AttemptAbandoned { task, attempt } => {
            ("attempt_abandoned", json!({"task": id(task), "state": "pending", "attempt": attempt.0}))
        }
        Fact::AttemptDoubted { task, attempt } => {
            ("attempt_doubted", json!({"task": id(task), "state": "waiting", "attempt": attempt.0}))
        }
        Fact::TaskRetried { task } => {
            ("task_retried", json!({"task": id(task), "state": state_name(view, *task, true)}))
        }
        Fact::TaskSkipped { task } => {
            ("task_skipped", json!({"task": id(task), "state": state_name(view, *task, true)}))
        }
        Fact::TaskOmitted { task, reason } => {
            ("task_omitted", json!({"task": id(task), "state": "skipped", "reason": reason}))
        }
        Fact::Patched(patched) => (
            "run_patched",
            json!({"patch": patched.id, "by": patched.by, "reason": patched.why, "summary": summary(patched),
                   "undoes": patched.undoes, "hash": patched.hash}),
        ),
        Fact::TaskAdopted { task, .. } => ("task_adopted", json!({"task": id(task), "state": "completed"})),
        Fact::Denied { task, action, resource, rule } => {
            ("access_denied", json!({"task": id(task), "action": action, "resource": resource, "rule": rule}))
        }
        Fact::ModelChosen { task, attempt, model, reason } => {
            ("model_chosen", json!({"task": id(task), "attempt": attempt.0, "model": model, "reason": reason}))
        }
        Fact::Resumed { epoch } => ("run_resumed", json!({"epoch": epoch})),
        Fact::Cancelled => ("run_cancelled", json!({})),
        Fact::BudgetSet { budget } => ("budget_set", json!({"budget": budget_entry(budget)})),
        Fact::Finished { outcome } => ("run_finished", json!({"outcome": outcome.name()})),
        Fact::UsageReported { task, attempt, usage } => {
            ("usage_reported", json!({"task": id(task), "attempt": attempt.0, "usage": usage_entry(Some(**usage))}))
        }
        Fact::StorageRecovered { paused_ms, reason } => {
            ("storage_recovered", json!({"paused_ms": paused_ms, "reason": reason}))
        }
        Fact::Salvaged { reason } => ("journal_salvaged", json!({"reason": reason})),
        Fact::CompensationStarted { task, attempt } => {
            ("compensation_started", json!({"task": id(task), "state": "running", "attempt": attempt.0}))
        }
        Fact::CompensationSucceeded { task, attempt } => {
            ("compensation_succeeded", json!({"task": id(task), "state": "compensated", "attempt": attempt.0}))
        }
        Fact::CompensationFailed { task, attempt, class, message, retry_at } => (
            "compensation_failed",
            json!({"task": id(task), "state": state_name(view, *task, true), "attempt": attempt.0,
                   "class": class.name(), "message": message, "retry_at": retry_at.map(rfc3339)}),
        ),
        Fact::CompensationAbandoned { task, attempt } => (
            "compensation_abandoned",
            json!({"task": id(task), "state": state_name(view, *task, true), "attempt": attempt.0}),
        ),
        Fact::GateOpened { task, attempt, expires_at, question } => (
            "gate_opened",
            json!({"task": id(task), "state": "waiting", "attempt": attempt.0, "question": question.text,
                   "work": question.work, "hash": question.hash_text(), "expires_at": expires_at.map(rfc3339)}),
        ),
        Fact::GateApproved { task, attempt, by, comment, output } => (
            "gate_approved",
            json!({"task": id(task), "state": if output.is_some() { "completed" } else { "pending" },
                   "attempt": attempt.0, "by": by, "comment": comment}),
        ),
        Fact::GateRejected { task, attempt, by, comment } => (
            "gate_rejected",
            json!({"task": id(task), "state": refused_as(view, task), "attempt": attempt.0, "by": by, "comment": comment}),
        ),
        Fact::GateExpired { task, attempt } => {
            ("gate_expired", json!({"task": id(task), "state": "failed", "attempt": attempt.0}))
        }
        Fact::GateFailed { task, attempt, class, message } => (
            "gate_failed",
            json!({"task": id(task), "state": refused_as(view, task), "attempt": attempt.0, "class": class.name(),
                   "message": message}),
        ),
    };
    event["type"] = kind.into();
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    event
}

/// A change in words.
pub fn summary(patched: &Patched) -> String {
    serde_json::from_str::<Change>(&patched.change).unwrap_or_default().summary()
}

/// The state a failure led to. The view may be further on already, so it is told from the record where it can be.
fn settled_as(view: &RunView, task: &raddle_engine::TaskIx, class: FailureClass, retried: bool) -> &'static str {
    if retried {
        return "retrying";
    }
    let stopped = class == FailureClass::Cancelled && view.run.is_of_failed_scope(*task);
    match view.run.is_cancelled() || stopped {
        true => "cancelled",
        false if view.snapshot.tasks[task.index()].escalates => "waiting",
        false if view.snapshot.tasks[task.index()].safe_to_fail => "failed_safe",
        false => "failed",
    }
}

/// The state that a no leads to.
fn refused_as(view: &RunView, task: &raddle_engine::TaskIx) -> &'static str {
    match view.run.state(*task) {
        raddle_kernel::TaskState::FailedSafe { .. } => "failed_safe",
        _ => "failed",
    }
}

/// A record as a plain line for people; empty when it is not worth one.
pub fn words(record: &Record, view: &RunView) -> String {
    let id = |task: &raddle_engine::TaskIx| harmless(&view.snapshot.tasks[task.index()].id).into_owned();
    let time = &rfc3339(record.at)[11..19];
    let what = match &record.fact {
        Fact::Started(chapter) => format!("run    {} {}", chapter.run, harmless(&chapter.workflow)),
        Fact::AttemptStarted { task, attempt } if attempt.0 > 1 => {
            format!("start  {} (attempt {})", id(task), attempt.0)
        }
        Fact::AttemptStarted { task, .. } => format!("start  {}", id(task)),
        Fact::AttemptSucceeded { task, .. } => format!("done   {}", id(task)),
        Fact::AttemptFailed { task, class, message, retry_at, .. } => {
            let first = message.lines().next().unwrap_or_default();
            let word = if retry_at.is_some() { "retry " } else { "failed" };
            format!("{word} {} ({}: {})", id(task), class.name(), harmless(first))
        }
        Fact::AttemptAbandoned { task, .. } => format!("again  {} (its engine died)", id(task)),
        Fact::AttemptDoubted { task, .. } => format!("doubt  {} (its engine died)", id(task)),
        Fact::TaskRetried { task } => format!("again  {}", id(task)),
        Fact::TaskSkipped { task } => format!("skip   {}", id(task)),
        Fact::TaskOmitted { task, reason } => format!("skip   {} ({})", id(task), harmless(reason)),
        Fact::Patched(patched) => {
            format!("patch  {} ({})", harmless(&summary(patched)), harmless(&patched.by))
        }
        Fact::Denied { task, action, resource, .. } => format!("denied {} {action} {}", id(task), harmless(resource)),
        Fact::ModelChosen { task, model, reason, .. } => {
            format!("model  {} {} ({})", id(task), harmless(model), harmless(reason))
        }
        Fact::Cancelled => "cancelled".to_owned(),
        Fact::BudgetSet { .. } => format!("budget {}", budget::words(&view.ledger, record.at)),
        Fact::Finished { outcome } => format!("end    {}", outcome.name()),
        Fact::GateOpened { task, question, .. } => {
            format!("ask    {}: {}", id(task), harmless(question.text.lines().next().unwrap_or_default()))
        }
        Fact::GateApproved { task, by, .. } => format!("yes    {} (by {})", id(task), harmless(by)),
        Fact::GateRejected { task, by, .. } => format!("no     {} (by {})", id(task), harmless(by)),
        Fact::GateExpired { task, .. } => format!("no     {} (expired)", id(task)),
        Fact::GateFailed { task, class, message, .. } => {
            let first = message.lines().next().unwrap_or_default();
            format!("failed {} ({}: {})", id(task), class.name(), harmless(first))
        }
        Fact::StorageRecovered { paused_ms, reason } => {
            format!("disk   is back after {} ({})", terminal::duration(*paused_ms), harmless(reason))
        }
        Fact::Salvaged { reason } => format!("lost   what came after this: {}", harmless(reason)),
        Fact::CompensationStarted { task, .. } => format!("undo   {}", id(task)),
        Fact::CompensationSucceeded { task, .. } => format!("undone {}", id(task)),
        Fact::CompensationFailed { task, class, message, retry_at, .. } => {
            let first = message.lines().next().unwrap_or_default();
            let then = if retry_at.is_some() { ", and will be tried again" } else { "" };
            format!("NOT undone {} ({}: {}{then})", id(task), class.name(), harmless(first))
        }
        Fact::CompensationAbandoned { task, .. } => format!("undo   {} again (its engine died)", id(task)),
        Fact::TaskAdopted { .. } | Fact::Resumed { .. } | Fact::UsageReported { .. } => return String::new(),
    };
    format!("{time}  {what}\n")
}
