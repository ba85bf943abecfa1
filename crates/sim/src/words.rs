//! Records as lines of a story. It does not know what is worth telling to whom: everything but the beginning is told.

use raddle_engine::fact::{Fact, OutputRef, Record};
use raddle_kernel::{OnDoubt, TaskIx};

use crate::subject::Subject;
use crate::witness::Witness;

/// Longer outputs are cut: a story is about what happened.
const SHOWN_CHARS: usize = 60;

/// The record in words.
pub(crate) fn of(record: &Record, subject: &Subject, witness: &Witness) -> Option<String> {
    let id = |task: &TaskIx| &subject.task(task.0).id;
    let graph = witness.run().graph();
    Some(match &record.fact {
        Fact::Started(_) => "the run begins".into(),
        Fact::AttemptStarted { task, attempt } => format!("{}: attempt {} starts", id(task), attempt.0),
        Fact::AttemptSucceeded { task, output, .. } => format!("{}: completed, {}", id(task), output_words(output)),
        Fact::AttemptFailed { task, attempt, class, message, retry_at, exhausted, .. } => {
            let then = match (retry_at, exhausted) {
                (Some(at), _) => {
                    format!("; tried again after {:.1} s", at.0.saturating_sub(record.at.0) as f64 / 1000.0)
                }
                (None, true) => "; no retry is left".into(),
                (None, false) => String::new(),
            };
            format!("{}: attempt {} failed ({}: {message}){then}", id(task), attempt.0, class.name())
        }
        Fact::AttemptAbandoned { task, attempt } => {
            let why = match (graph.side_effects(*task), graph.on_doubt(*task)) {
                (false, _) => "it has no side effects",
                (true, OnDoubt::Rerun) => "`on_doubt: rerun`",
                (true, _) => "nobody knows why",
            };
            format!("{}: attempt {} was lost, it is made again ({why})", id(task), attempt.0)
        }
        Fact::AttemptDoubted { task, attempt } => {
            format!("{}: attempt {} was lost, and a person must say whether it was done", id(task), attempt.0)
        }
        Fact::TaskRetried { task } => format!("{}: a person has it tried again", id(task)),
        Fact::TaskSkipped { task } => match subject.stands_in_for(task.0) {
            Some(other) => format!("{}: skipped, {} needs no fallback", id(task), other.id),
            None => format!("{}: a person goes on without it", id(task)),
        },
        Fact::TaskOmitted { task, reason } => format!("{}: not needed, {reason}", id(task)),
        Fact::Patched(patched) => format!("the definition is changed by {}", patched.by),
        Fact::TaskAdopted { task, .. } => format!("{}: taken over from before", id(task)),
        Fact::Denied { task, action, resource, rule } => {
            format!("{}: refused: {action} {resource} ({rule})", id(task))
        }
        Fact::ModelChosen { task, model, reason, .. } => format!("{}: performed by {model}: {reason}", id(task)),
        Fact::Resumed { epoch } => format!("engine {epoch} takes the run over"),
        Fact::Cancelled => "the run is cancelled".into(),
        Fact::BudgetSet { .. } => "a person gives the run another budget".into(),
        Fact::Finished { outcome } => format!("the run ends: {}", outcome.name()),
        Fact::UsageReported { task, .. } => format!("{}: what it had used is written down", id(task)),
        Fact::StorageRecovered { paused_ms, .. } => format!("the disk is back after {} ms", paused_ms),
        Fact::Salvaged { reason } => format!("what came after this is lost: {reason}"),
        Fact::CompensationStarted { task, attempt } => format!("{}: attempt {} undoes it", id(task), attempt.0),
        Fact::CompensationSucceeded { task, .. } => format!("{}: compensated", id(task)),
        Fact::CompensationFailed { task, class, retry_at, .. } => {
            let then = if retry_at.is_some() { "tried again" } else { "it stands" };
            format!("{}: not compensated ({}); {then}", id(task), class.name())
        }
        Fact::CompensationAbandoned { task, .. } => format!("{}: undone half, undone again", id(task)),
        Fact::GateOpened { task, .. } => format!("{}: a person is asked", id(task)),
        Fact::GateApproved { task, .. } => format!("{}: a person says yes", id(task)),
        Fact::GateRejected { task, .. } => format!("{}: a person says no", id(task)),
        Fact::GateExpired { task, .. } => format!("{}: nobody answers in time", id(task)),
        Fact::GateFailed { task, class, message, .. } => {
            format!("{}: nobody can be asked ({}: {message})", id(task), class.name())
        }
    })
}

fn output_words(output: &OutputRef) -> String {
    match output {
        OutputRef::Inline(text) if text.chars().count() <= SHOWN_CHARS => format!("output {text}"),
        OutputRef::Inline(text) => format!("output {}…", text.chars().take(SHOWN_CHARS).collect::<String>()),
        OutputRef::Stored { bytes, .. } => format!("output of {bytes} bytes"),
    }
}
