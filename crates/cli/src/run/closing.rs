//! What the end of a run means and how it is told: exit codes, the workflow's outputs, the last words. It does not know
//! how the run was driven.

use raddle_engine::attempt::StopKind;
use raddle_engine::view::RunView;
use raddle_engine::{Ending, Outcome, TaskIx, Time};
use raddle_journal::{Home, RunId};
use raddle_kernel::{Cause, TaskState};
use serde_json::{Map, Value};

use super::budget;
use super::document::outcome_name;
use super::look::print_json;
use super::sagas;
use super::store;
use super::waiting::waiting;
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, harmless, harmless_lines};

/// The exit code of an ending.
pub fn exit_of(view: &RunView, ending: Ending, strict: bool) -> Exit {
    match ending {
        Ending::Finished(Outcome::Succeeded) => Exit::Success,
        Ending::Finished(Outcome::Degraded) if strict => Exit::Degraded,
        Ending::Finished(Outcome::Degraded) => Exit::Success,
        Ending::Finished(Outcome::BudgetExhausted) => Exit::Budget,
        Ending::Finished(_) => Exit::Failed,
        Ending::Waiting if doubted(view).next().is_some() => Exit::Refused,
        Ending::Waiting => Exit::Waiting,
        Ending::Stopped(StopKind::Interrupt) => Exit::Interrupted,
        Ending::Stopped(StopKind::Terminate) => Exit::Terminated,
        Ending::Stopped(StopKind::Cancel) => Exit::Failed,
    }
}

/// Writes the outcome to the index of runs.
pub fn mark_finished(home: &Home, id: &RunId, outcome: Outcome, at: Time) {
    let mut meta = home.meta(id).unwrap_or_default();
    meta.outcome = Some(outcome.name().to_owned());
    meta.finished_at = Some(at.0);
    // An index only: when it cannot be written, the journal still says the same.
    let _ = home.set_meta(id, &meta);
}

/// The exit code of a run that had settled before.
pub fn exit_of_finished(outcome: Outcome, strict: bool) -> Exit {
    match outcome {
        Outcome::Succeeded => Exit::Success,
        Outcome::Degraded if strict => Exit::Degraded,
        Outcome::Degraded => Exit::Success,
        Outcome::BudgetExhausted => Exit::Budget,
        _ => Exit::Failed,
    }
}

fn doubted(view: &RunView) -> impl Iterator<Item = TaskIx> + '_ {
    (0..view.tasks.len() as u32)
        .map(TaskIx)
        .filter(|t| matches!(view.run.state(*t), TaskState::Waiting { cause: Cause::Doubt, .. }))
}

/// What the budget says against the first task whose turn has come.
pub fn budget_said(view: &RunView) -> String {
    let last = view.finished_at.unwrap_or_default();
    let ready = (0..view.tasks.len() as u32).map(TaskIx).filter(|t| view.run.is_startable(*t));
    let said = ready.filter_map(|t| view.ledger.objection(t, last)).next();
    said.unwrap_or_else(|| budget::words(&view.ledger, last))
}

/// The workflow's own outputs are data; those of many sinks nobody asked for are not printed.
pub fn print_outputs(view: &RunView, outputs: Map<String, Value>) -> Result<(), Problem> {
    if view.run.finished().is_none() || (view.snapshot.outputs.is_none() && outputs.len() != 1) {
        return Ok(());
    }
    let mut values = outputs.iter().map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None | Some(Value::Null), None) => Ok(()),
        (Some(Value::String(text)), None) => terminal::print(&format!("{text}\n")),
        (Some(one), None) => print_json(one),
        _ => print_json(&Value::Object(outputs)),
    }
}

/// The last words to a person: the outcome, what failed and why, what to do next.
pub fn summary(view: &RunView, ending: Ending, exit: Exit) -> String {
    const SHOWN: usize = 10;
    let run = &view.chapter.run;
    let n = view.tasks.len() as u32;
    let name = |t: TaskIx| view.snapshot.tasks[t.index()].id.as_str();
    let mut text = String::new();
    let failed: Vec<TaskIx> = (0..n)
        .map(TaskIx)
        .filter(|t| matches!(view.run.state(*t), TaskState::Failed { .. } | TaskState::FailedSafe { .. }))
        .collect();
    for task in failed.iter().take(SHOWN) {
        if let Some((class, message)) = &view.tasks[task.index()].error {
            let safely = if matches!(view.run.state(*task), TaskState::FailedSafe { .. }) { " safely" } else { "" };
            let message = harmless_lines(message).trim_end().replace('\n', "\n    ");
            text.push_str(&format!("  {} failed{safely} ({}): {message}\n", harmless(name(*task)), class.name()));
        }
    }
    if failed.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", failed.len() - SHOWN));
    }
    text.push_str(&sagas::report(view));
    let blocked = (0..n).filter(|i| matches!(view.run.state(TaskIx(*i)), TaskState::Blocked { .. })).count();
    if blocked > 0 {
        text.push_str(&format!("  {} blocked\n", terminal::counted(blocked, "task")));
    }
    let took = terminal::duration(view.finished_at.unwrap_or_else(store::now).0.saturating_sub(view.started_at.0));
    let done = (0..n).filter(|i| matches!(view.run.state(TaskIx(*i)), TaskState::Completed { .. })).count();
    let usage = view.total_usage();
    let spent = match usage.cost_usd {
        Some(usd) if usd > 0.0 => format!(", {}", terminal::money(usd)),
        _ => String::new(),
    };
    let simulated = if view.snapshot.options.simulate { " (simulated: nothing was performed)" } else { "" };
    let outcome = match ending {
        Ending::Finished(outcome) => outcome.name(),
        Ending::Waiting => "waiting",
        Ending::Stopped(_) => outcome_name(view, false),
    };
    let n = view.shown().count();
    text.push_str(&format!("run {run} {outcome}{simulated}: {done} of {n} tasks completed in {took}{spent}\n"));
    let required = failed.iter().find(|t| matches!(view.run.state(**t), TaskState::Failed { .. }));
    if let (Exit::Failed, Some(task)) = (exit, required) {
        let of_saga = view.run.is_of_failed_scope(*task);
        let what = if of_saga { "to run its saga again:    " } else { "to try it again and go on:" };
        text.push_str(&format!("  {what}  raddle retry {run} {}\n", name(*task)));
        if !of_saga {
            text.push_str(&format!("  to go on without it:        raddle skip {run} {}\n", name(*task)));
        }
        text.push_str(&format!("  what it printed:            raddle logs {run} {}\n", name(*task)));
    }
    text.push_str(&sagas::advice(view));
    for task in doubted(view).take(SHOWN) {
        let id = name(task);
        text.push_str(&format!(
            "  {id} was running when its engine ended and nobody knows how far it came; it has side effects, so it is \
             not repeated unasked\n    raddle retry {run} {id}   runs it again\n    raddle skip {run} {id}    goes on \
             without it\n"
        ));
    }
    if ending == Ending::Waiting {
        let asked: Vec<_> = waiting(view).filter(|waits| waits.cause != Cause::Doubt).collect();
        asked.iter().take(SHOWN).for_each(|waits| text.push_str(&waits.words()));
        if asked.len() > SHOWN {
            text.push_str(&format!("  … and {} more; `raddle show {run}` tells all\n", asked.len() - SHOWN));
        }
        if !asked.is_empty() {
            text.push_str(&format!("  to go on after an answer:  raddle resume {run}\n"));
        }
    }
    if ending == Ending::Finished(Outcome::BudgetExhausted) {
        text.push_str(&format!("  the budget is used up: {}\n", budget_said(view)));
        text.push_str(&format!("  to go on with a larger one:  raddle resume {run} --budget AMOUNT\n"));
    }
    if matches!(ending, Ending::Stopped(StopKind::Interrupt | StopKind::Terminate)) {
        text.push_str(&format!("  to go on:  raddle resume {run}\n"));
    }
    text
}
