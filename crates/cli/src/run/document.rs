//! The documents about a run: the one of `run --json` and `show --json`, the lines of `trace`, the YAML of
//! `checkpoint`. It reads a view and knows neither engines nor journals beyond the outputs they keep.

use std::sync::Arc;

use raddle_engine::attempt::{CostIs, Usage};
use raddle_engine::fact::OutputRef;
use raddle_engine::ports::JournalError;
use raddle_engine::view::{AttemptView, PatchView, RunView};
use raddle_engine::{Budget, Outcome, TaskIx, Time};
use raddle_kernel::TaskState;
use serde_json::{Map, Value, json};

use super::sagas;
use super::waiting;

/// Loads the text of an output.
pub type Load<'a> = &'a dyn Fn(&OutputRef) -> Result<Arc<str>, JournalError>;

/// RFC 3339 in UTC with milliseconds.
pub fn rfc3339(at: Time) -> String {
    match jiff::Timestamp::from_millisecond(i64::try_from(at.0).unwrap_or(i64::MAX)) {
        Ok(t) => format!("{t:.3}"),
        Err(_) => "9999-12-31T23:59:59.999Z".into(),
    }
}

/// How the run stands, in the contract's word; `live` says whether an engine owns it.
pub fn outcome_name(view: &RunView, live: bool) -> &'static str {
    match view.outcome() {
        Outcome::Running if !live => "interrupted",
        other => other.name(),
    }
}

/// How a task stands, in the contract's word. Nothing runs without an engine: what was at work when it ended is
/// pending, until the next one says whether it may be repeated. And what a used-up budget kept from starting is
/// cancelled as long as nobody gives another one.
pub fn state_name(view: &RunView, task: TaskIx, live: bool) -> &'static str {
    let exhausted = view.run.finished() == Some(Outcome::BudgetExhausted);
    if let Some(name) = sagas::state_name(view, task, live) {
        return name;
    }
    match view.run.state(task) {
        TaskState::Pending | TaskState::Ready | TaskState::Retrying { .. } if exhausted => TaskState::Cancelled.name(),
        TaskState::Running { .. } if !live => TaskState::Pending.name(),
        state => state.name(),
    }
}

/// The one document about a run.
pub fn run_document(
    view: &RunView,
    outputs: Map<String, Value>,
    live: bool,
    now: Time,
    load: Load<'_>,
) -> Result<Value, JournalError> {
    let end = view.finished_at.unwrap_or(if live { now } else { last_moment(view) });
    let mut tasks = Map::new();
    for task in view.shown() {
        tasks.insert(view.snapshot.tasks[task.index()].id.clone(), task_entry(view, task, live, end, load)?);
    }
    Ok(json!({
        "run": view.chapter.run,
        "workflow": view.chapter.workflow,
        "hash": view.chapter.hash,
        "outcome": outcome_name(view, live),
        "started_at": rfc3339(view.started_at),
        "finished_at": view.finished_at.map(rfc3339),
        "duration_ms": end.0.saturating_sub(view.started_at.0),
        "tasks": tasks,
        "outputs": outputs,
        "patches": patches(view),
        "usage": usage_entry(Some(view.total_usage())),
        "budget": budget_state(view, end),
        "metrics": metrics(view, live, end),
    }))
}

/// Changes of the definition, oldest first.
pub fn patches(view: &RunView) -> Vec<Value> {
    let entry = |PatchView { at, patched }: &PatchView| {
        json!({"patch": patched.id, "at": rfc3339(*at), "by": patched.by, "reason": patched.why,
               "summary": super::events::summary(patched), "undoes": patched.undoes, "hash": patched.hash})
    };
    view.patches.iter().map(entry).collect()
}

fn task_entry(view: &RunView, task: TaskIx, live: bool, end: Time, load: Load<'_>) -> Result<Value, JournalError> {
    let (record, detail, state) = (&view.snapshot.tasks[task.index()], &view.tasks[task.index()], view.run.state(task));
    let output = output_value(view, task, load)?;
    let attempts = detail.forward().count() as u32;
    let completed = sagas::has_output(view, task).then_some("success");
    let mut entry = json!({
        "state": state_name(view, task, live),
        "result": state.result().or(completed),
        "output": output,
        "kind": record.kind,
        "level": record.level,
        "attempts": attempts,
        "retries": retries(view, task),
        "executor": record.executor,
        "agent": record.agent,
        "model": detail.forward().last().and_then(|a| a.model.as_ref()).map(|m| &*m.0).or(record.model.as_deref()),
        "blocked_by": match state {
            TaskState::Blocked { by } => Some(&view.snapshot.tasks[by.index()].id),
            _ => None,
        },
        "simulated": view.snapshot.options.simulate,
        "started_at": detail.attempts.first().map(|a| rfc3339(a.started_at)),
        "finished_at": detail.finished_at.map(rfc3339),
        "duration_ms": detail.attempts.first().map(|a| {
            detail.finished_at.unwrap_or(end).0.saturating_sub(a.started_at.0)
        }),
        "usage": usage_entry(view.usage(task)),
    });
    if let Some(of) = record.item_of {
        entry["item_of"] = view.snapshot.tasks[of as usize].id.as_str().into();
    }
    if let Some(id) = &record.stands_for {
        entry["stands_for"] = id.as_str().into();
    }
    if let Some(reason) = detail.omitted.as_ref().filter(|_| matches!(state, TaskState::Omitted { .. })) {
        entry["reason"] = (&**reason).into();
    }
    if let Some(waits) = waiting::of(view, task) {
        entry["waiting"] = waits.json();
    }
    if let Some(gate) = view.gates.get(task) {
        entry["approval"] = waiting::approval(view, task);
        // A gate has no attempts: it began when it was asked.
        if view.run.graph().gate(task) == raddle_kernel::Gate::Decides {
            let end = detail.finished_at.unwrap_or(end);
            entry["started_at"] = rfc3339(gate.asked_at).into();
            entry["duration_ms"] = end.0.saturating_sub(gate.asked_at.0).into();
        }
    }
    if let Some(branch) = super::branches::branch_of(view, task) {
        entry["branch"] = branch.into();
    }
    if let Some(compensation) = sagas::entry(view, task, live) {
        entry["compensation"] = compensation;
    }
    if let Some((class, message)) = &detail.error
        && state.result() != Some("success")
    {
        entry["error"] = json!({"class": class.name(), "message": message});
    }
    Ok(entry)
}

/// Executions beyond the first that followed a failure; what a crash interrupted is no retry.
fn retries(view: &RunView, task: TaskIx) -> u32 {
    let attempts = view.tasks[task.index()].forward().count();
    let before = view.tasks[task.index()].forward().take(attempts.saturating_sub(1));
    before.filter(|a| a.error.is_some()).count() as u32
}

/// The output of a completed task, `null` otherwise.
pub fn output_value(view: &RunView, task: TaskIx, load: Load<'_>) -> Result<Value, JournalError> {
    match &view.tasks[task.index()].output {
        Some(output) if sagas::has_output(view, task) => {
            let text = load(output)?;
            serde_json::from_str(&text)
                .map_err(|e| JournalError::Damaged { after: view.seq, what: format!("an output is not JSON: {e}") })
        }
        _ => Ok(Value::Null),
    }
}

/// The document's form of a usage; zeros when nothing was metered.
pub fn usage_entry(usage: Option<Usage>) -> Value {
    let metered = usage.is_some();
    let u = usage.unwrap_or_default();
    let cost = match (metered, u.cost_is) {
        (false, _) => Some(0.0),
        (true, CostIs::Unknown) => u.cost_usd,
        (true, _) => Some(u.cost_usd.unwrap_or(0.0)),
    };
    json!({
        "input_tokens": u.input_tokens,
        "output_tokens": u.output_tokens,
        "cache_read_tokens": u.cache_read_tokens,
        "cache_write_tokens": u.cache_write_tokens,
        "cost_usd": cost.map(round_money),
        "cost_is": if metered { u.cost_is.name() } else { CostIs::Reported.name() },
    })
}

/// Sums of decimal prices without the dust of binary fractions.
fn round_money(usd: f64) -> f64 {
    (usd * 1e12).round() / 1e12
}

/// Limits as the file writes them; what is not limited is `null`.
pub fn budget_entry(budget: &Budget) -> Value {
    json!({
        "usd": budget.usd.map(|usd| usd.usd()),
        "tokens": budget.tokens,
        "agents": budget.agents,
        "wall_ms": budget.wall_ms,
    })
}

/// What the run may spend, has spent and holds for what runs; `null` without a budget.
fn budget_state(view: &RunView, end: Time) -> Value {
    let ledger = &view.ledger;
    if !ledger.is_limited() {
        return Value::Null;
    }
    let amount = |a: raddle_engine::ledger::Amount| json!({"usd": a.usd.usd(), "tokens": a.tokens, "agents": a.agents});
    let mut spent = amount(ledger.spent());
    spent["wall_ms"] = ledger.driven_ms(if view.run.live() > 0 { end } else { Time(0) }).into();
    json!({"limits": budget_entry(ledger.limits()), "spent": spent, "held": amount(ledger.held())})
}

fn metrics(view: &RunView, live: bool, end: Time) -> Value {
    let n = view.tasks.len() as u32;
    let done = view.shown().filter(|task| view.run.state(*task).phase().settled()).count();
    let busy: u64 = (0..n).map(|i| view.busy_ms(TaskIx(i), end)).sum();
    let wall = end.0.saturating_sub(view.started_at.0).max(1);
    let slots = u64::from(view.snapshot.options.slots.max(1));
    let path = view.critical_path(end);
    let bottleneck = path.iter().max_by_key(|t| (view.busy_ms(**t, end), std::cmp::Reverse(**t)));
    let id = |task: &TaskIx| view.snapshot.tasks[task.index()].id.clone();
    let attempts: usize = view.tasks.iter().map(|t| t.attempts.len()).sum();
    json!({
        "tasks_total": view.shown().count(),
        "tasks_done": done,
        "tasks_running": if live { view.run.live() } else { 0 },
        "agents_spawned": view.agents_spawned,
        "peak_parallel": view.peak_parallel,
        "efficiency": (busy as f64 / (wall * slots) as f64).clamp(0.0, 1.0),
        "busy_ms": busy,
        "slots": slots,
        "average_attempt_ms": if attempts > 0 { Some(busy / attempts as u64) } else { None },
        "critical_path": path.iter().map(id).collect::<Vec<_>>(),
        "bottleneck": bottleneck.map(id),
        "denials": view.denials.len(),
    })
}

/// When the last thing was recorded of a run that nobody owns.
fn last_moment(view: &RunView) -> Time {
    let times = view.tasks.iter().flat_map(|t| &t.attempts).map(|a| a.finished_at.unwrap_or(a.started_at));
    times.max().unwrap_or(view.started_at).max(view.started_at)
}

/// One line of the trace per attempt, in the order in which they started.
pub fn trace(view: &RunView, live: bool, now: Time, load: Load<'_>) -> Result<Vec<Value>, JournalError> {
    let mut lines: Vec<(Time, u32, Value)> = Vec::new();
    for i in 0..view.tasks.len() as u32 {
        // Those of the task and those of what undoes it are counted apart.
        let mut failures = [0, 0];
        for attempt in &view.tasks[i as usize].attempts {
            let failures = &mut failures[usize::from(attempt.compensates)];
            let line = trace_line(view, TaskIx(i), attempt, *failures, live, now, load)?;
            *failures += u32::from(attempt.error.is_some());
            lines.push((attempt.started_at, i, line));
        }
    }
    lines.sort_by_key(|(at, i, _)| (*at, *i));
    Ok(lines.into_iter().map(|l| l.2).collect())
}

fn trace_line(
    view: &RunView,
    task: TaskIx,
    attempt: &AttemptView,
    retries: u32,
    live: bool,
    now: Time,
    load: Load<'_>,
) -> Result<Value, JournalError> {
    let record = &view.snapshot.tasks[task.index()];
    let metered = record.kind == "agent" && !record.foreach;
    let usage = attempt.usage.unwrap_or_default();
    let summary = match attempt.status {
        "completed" => Some(summary(&output_value(view, task, load)?)),
        _ => attempt.error.as_ref().map(|(_, message)| cut(message)),
    };
    let end = attempt.finished_at.unwrap_or(if live { now } else { attempt.started_at });
    Ok(json!({
        "node_id": record.id,
        "wave": record.level,
        "status": if attempt.status == "running" && !live { "interrupted" } else { attempt.status },
        "model": attempt.model.as_ref().map(|m| &*m.0).or(record.model.as_deref()),
        "model_reason": attempt.model.as_ref().map(|m| &*m.1).or(record.model_reason.as_deref()),
        "skills_used": record.skills,
        "input_tokens": if metered { usage.input_tokens } else { 0 },
        "output_tokens": if metered { usage.output_tokens } else { 0 },
        "cost_usd": usage.cost_usd.map_or(0.0, round_money),
        "duration_ms": end.0.saturating_sub(attempt.started_at.0),
        "retries": retries,
        "output_summary": summary.unwrap_or_default(),
        "run": view.chapter.run,
        "attempt": attempt.attempt.0,
        "compensates": attempt.compensates,
        "kind": record.kind,
        "executor": record.executor,
        "agent": record.agent,
        "started_at": rfc3339(attempt.started_at),
        "finished_at": attempt.finished_at.map(rfc3339),
        "error": attempt.error.as_ref().map(|(class, message)| json!({"class": class.name(), "message": message})),
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cost_is": if metered && attempt.usage.is_some() { Some(usage.cost_is.name()) } else { None },
        "session": attempt.session,
        "simulated": view.snapshot.options.simulate,
    }))
}

fn summary(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    const MOST: usize = 200;
    let line = text.trim();
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// The checkpoint document: JSON inside is YAML, so every string survives any parser.
pub fn checkpoint(view: &RunView, live: bool, now: Time, load: Load<'_>) -> Result<String, JournalError> {
    let mut text =
        format!("dag_checkpoint:\n  timestamp: {}\n  run: {}\n", quoted(&rfc3339(now)), quoted(&view.chapter.run));
    text.push_str(&format!(
        "  workflow: {}\n  hash: {}\n  tasks:\n",
        quoted(&view.chapter.workflow),
        quoted(&view.chapter.hash)
    ));
    for task in view.shown() {
        text.push_str(&format!("    - id: {}\n", quoted(&view.snapshot.tasks[task.index()].id)));
        let status = state_name(view, task, live);
        text.push_str(&format!("      status: {}\n", quoted(status)));
        if sagas::has_output(view, task) {
            text.push_str(&format!("      outputs: {}\n", yaml_flow(&output_value(view, task, load)?)));
        }
        let started = view.tasks[task.index()].attempts.last().map(|a| a.started_at);
        if let Some(at) = started.filter(|_| status != "pending") {
            text.push_str(&format!("      started_at: {}\n", quoted(&rfc3339(at))));
        }
    }
    Ok(text)
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// A value as YAML in flow style. JSON is that already, but for two things that some parsers read otherwise: numbers
/// like `1e-7` (a string to YAML 1.1) and characters that YAML wants escaped.
fn yaml_flow(value: &Value) -> String {
    match value {
        Value::Number(n) if n.is_f64() => {
            let text = n.to_string();
            match text.split_once('e') {
                // YAML 1.1 wants a dot and a signed exponent.
                Some((mantissa, exponent)) => {
                    let dot = if mantissa.contains('.') { "" } else { ".0" };
                    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
                    format!("{mantissa}{dot}e{sign}{exponent}")
                }
                None => text,
            }
        }
        Value::String(text) => escape(text),
        Value::Array(items) => format!("[{}]", items.iter().map(yaml_flow).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(k, v)| format!("{}: {}", escape(k), yaml_flow(v))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in quoted(text).chars() {
        match c {
            '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            '\u{fffe}' | '\u{ffff}' => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}
