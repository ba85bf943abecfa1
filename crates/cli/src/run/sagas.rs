//! What became of sagas, for documents and for people: what is undone, what will be, and above all what is not. It
//! reads a view and decides nothing.

use raddle_engine::TaskIx;
use raddle_engine::view::{AttemptView, RunView};
use raddle_kernel::{Phase, TaskState};
use serde_json::{Value, json};

use crate::terminal::{harmless, harmless_lines};

/// At most so many tasks are named in a line.
const NAMED: usize = 20;

/// The state of a task that is undone or was to be, in the contract's word: nothing is undone without an engine, and
/// what never completed is not said to have.
pub fn state_name(view: &RunView, task: TaskIx, live: bool) -> Option<&'static str> {
    let state = view.run.state(task);
    let stands = if view.run.has_succeeded(task) { "completed" } else { "failed" };
    match state.phase() {
        Phase::ToUndo | Phase::NotUndone => Some(stands),
        Phase::Undoing if !live => Some(stands),
        Phase::Undoing | Phase::UndoRetrying | Phase::Compensated => Some(state.name()),
        _ => None,
    }
}

/// Whether the task's output is there although the task may be about to be undone.
pub fn has_output(view: &RunView, task: TaskIx) -> bool {
    view.run.has_succeeded(task) && view.run.state(task).phase() != Phase::Compensated
}

/// How undoing the task stands; nothing for a task that nobody wanted to undo.
pub fn entry(view: &RunView, task: TaskIx, live: bool) -> Option<Value> {
    let attempts: Vec<&AttemptView> = view.tasks[task.index()].compensations().collect();
    let state = match view.run.state(task) {
        TaskState::ToUndo { .. } => "pending",
        TaskState::Undoing { .. } if !live => "pending",
        TaskState::Undoing { .. } => "running",
        TaskState::UndoRetrying { .. } => "retrying",
        TaskState::Compensated { .. } => "compensated",
        TaskState::NotUndone { .. } => "failed",
        // It was undone and has begun anew since, or undoing it in doubt was given up.
        _ => attempts.last()?.status,
    };
    let mut entry = json!({"state": state, "attempts": attempts.len()});
    if let Some((class, message)) = attempts.last().and_then(|attempt| attempt.error.as_ref()) {
        entry["error"] = json!({"class": class.name(), "message": message});
    }
    Some(entry)
}

/// Why the last attempt to undo the task failed.
pub fn fault(view: &RunView, task: TaskIx) -> String {
    let found = view.tasks[task.index()].compensations().last().and_then(|attempt| attempt.error.as_ref());
    match (found, view.run.state(task)) {
        (Some((class, message)), _) => format!("({}) {message}", class.name()),
        (None, TaskState::NotUndone { .. }) => "(cancelled) the run was stopped before".to_owned(),
        (None, _) => String::new(),
    }
}

/// What the report of a run says of its sagas; empty for runs in which none failed.
pub fn report(view: &RunView) -> String {
    let tasks = || (0..view.tasks.len() as u32).map(TaskIx);
    let name = |task: TaskIx| harmless(&view.snapshot.tasks[task.index()].id);
    let mut undone: Vec<TaskIx> =
        tasks().filter(|task| matches!(view.run.state(*task), TaskState::Compensated { .. })).collect();
    let when = |task: &TaskIx| view.tasks[task.index()].compensations().last().and_then(|attempt| attempt.finished_at);
    undone.sort_by_key(|task| (when(task), *task));
    let mut text = String::new();
    if !undone.is_empty() {
        let more = if undone.len() > NAMED { format!(" and {} more", undone.len() - NAMED) } else { String::new() };
        let names: Vec<_> = undone.iter().take(NAMED).map(|task| name(*task)).collect();
        text.push_str(&format!("  compensated: {}{more}\n", names.join(", ")));
    }
    let left: Vec<(TaskIx, String)> = tasks().filter_map(|task| Some((task, left_standing(view, task)?))).collect();
    for (task, why) in left.iter().take(NAMED) {
        let why = harmless_lines(why).trim_end().replace('\n', "\n    ");
        text.push_str(&format!("  NOT compensated: {} {why}\n", name(*task)));
    }
    if left.len() > NAMED {
        text.push_str(&format!("  NOT compensated: {} more\n", left.len() - NAMED));
    }
    text
}

/// What to do about what could not be undone.
pub fn advice(view: &RunView) -> String {
    let run = &view.chapter.run;
    let stuck = (0..view.tasks.len() as u32).map(TaskIx);
    let mut stuck = stuck.filter(|task| matches!(view.run.state(*task), TaskState::NotUndone { .. }));
    let Some(first) = stuck.next() else { return String::new() };
    let id = &view.snapshot.tasks[first.index()].id;
    format!(
        "  to try to undo it again:    raddle retry {run} {id}\n  once it is undone by hand:  raddle skip {run} {id}\n"
    )
}

/// Why the effect of a task of a failed saga stands, if it does.
fn left_standing(view: &RunView, task: TaskIx) -> Option<String> {
    let record = &view.snapshot.tasks[task.index()];
    let of_failed = view.run.is_of_failed_scope(task) && record.side_effects;
    match view.run.state(task) {
        TaskState::NotUndone { .. } => Some(fault(view, task)),
        TaskState::Failed { .. } if view.tasks[task.index()].compensations().next().is_some() => {
            Some(fault(view, task))
        }
        TaskState::Completed { .. } if of_failed => Some("completed, and nothing says how to undo it".to_owned()),
        TaskState::Cancelled if of_failed && view.tasks[task.index()].forward().next().is_some() => {
            Some("was stopped while it ran, or nobody knows how far it came".to_owned())
        }
        _ => None,
    }
}

/// The one sentence of `why` for a task of a saga.
pub fn reason(view: &RunView, task: TaskIx, live: bool) -> Option<String> {
    let (run, id) = (&view.chapter.run, &view.snapshot.tasks[task.index()].id);
    let goes_on = match live {
        true => String::new(),
        false => format!("; no engine owns the run: `raddle resume {run}` goes on"),
    };
    Some(match view.run.state(task) {
        TaskState::ToUndo { .. } => {
            format!("{id} will be undone when what was done after it is{goes_on}.")
        }
        TaskState::Undoing { attempt } => format!("{id} is being undone (attempt {}){goes_on}.", attempt.0),
        TaskState::UndoRetrying { .. } => {
            format!("undoing {id} failed and will be tried again{goes_on}: {}", fault(view, task))
        }
        TaskState::Compensated { .. } if view.run.is_of_failed_scope(task) => {
            format!("{id} completed and was undone because its saga failed.")
        }
        TaskState::Compensated { .. } => {
            format!("nobody knows how far {id} came, so it was undone; `raddle retry {run} {id}` runs it again.")
        }
        TaskState::NotUndone { .. } => format!(
            "{id} completed and could not be undone when its saga failed: {}\n`raddle retry {run} {id}` tries that again, \
             `raddle skip {run} {id}` says that it was done by hand.",
            fault(view, task)
        ),
        TaskState::Cancelled if view.run.is_of_failed_scope(task) => {
            format!("{id} was not run to its end because its saga failed.")
        }
        _ => return None,
    })
}

/// Why a person's word on a task of a failed saga is refused, and what to do instead.
pub fn refusal(view_of: &raddle_kernel::Run, task: TaskIx, ids: &dyn Fn(TaskIx) -> String) -> Option<String> {
    if !view_of.is_of_failed_scope(task) {
        return None;
    }
    let members = || view_of.graph().members(view_of.graph().scope(task));
    let list = |members: Vec<TaskIx>| members.into_iter().take(NAMED).map(ids).collect::<Vec<_>>().join(", ");
    let open: Vec<TaskIx> =
        members().filter(|member| view_of.undoes(*member) || view_of.state(*member).phase().is_live()).collect();
    if !open.is_empty() {
        return Some(format!("its saga is being undone; `raddle resume` lets it finish first ({})", list(open)));
    }
    let stuck: Vec<TaskIx> = members().filter(|m| view_of.state(*m).phase() == Phase::NotUndone).collect();
    if !stuck.is_empty() {
        return Some(format!(
            "its saga is not all undone: `raddle retry` or `raddle skip` (undone by hand) these first: {}",
            list(stuck)
        ));
    }
    Some(
        "its saga was undone: `raddle retry` of its failed task runs all of it again, once nothing outside blocks it"
            .to_owned(),
    )
}
