//! What must be true of a run that was disturbed: told by its journal, by the effects that the world has seen and by
//! what is shown. It does not know how the run was disturbed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::place::{Place, cut};
use super::story::Calm;
use super::tally::{Found, Kind, Violation};

/// A line of the world's log.
#[derive(Debug, Clone)]
pub(crate) struct Effect {
    pub(crate) task: String,
    /// Tools are not told.
    pub(crate) attempt: Option<u64>,
    pub(crate) key: String,
    pub(crate) engine: i32,
}

/// What the world has seen, in its order.
pub(crate) fn effects(place: &Place) -> Found<Vec<Effect>> {
    let text = place.text("effects");
    let lines = text.lines().map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        ["double", ..] => Err(Violation::new(Kind::Doubled, format!("two attempts at once: {line}"))),
        [task, attempt, key, engine] => Ok(Effect {
            task: task.to_owned(),
            attempt: attempt.parse().ok(),
            key: key.to_owned(),
            engine: engine.parse().unwrap_or(0),
        }),
        _ => Err(Violation::broken(format!("a line of the world's log is torn: {line}"))),
    });
    lines.collect()
}

/// What a person has said to a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Words {
    /// How often each task was let try again.
    pub(crate) retries: BTreeMap<String, u64>,
}

/// What a journal says of one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) started: u64,
    pub(crate) live: Option<u64>,
    pub(crate) succeeded: Option<u64>,
    retried: u64,
    /// Whether another attempt may start.
    open: bool,
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_default()
}

/// Reads a journal's events; whatever cannot follow each other is a broken promise.
pub(crate) fn told(events: &[Value]) -> Found<BTreeMap<String, Told>> {
    let mut tasks: BTreeMap<String, Told> = BTreeMap::new();
    for (i, event) in events.iter().enumerate() {
        if event["seq"].as_u64() != Some(i as u64 + 1) {
            return Err(Violation::new(Kind::Lost, format!("record {} of the journal is {event}", i + 1)));
        }
        if text(event, "task").is_empty() {
            continue;
        }
        let id = text(event, "task").to_owned();
        let task = tasks.entry(id.clone()).or_insert_with(|| Told { open: true, ..Told::default() });
        let attempt = event["attempt"].as_u64().unwrap_or(0);
        let wrong = |kind, what: &str| Err(Violation::new(kind, format!("{id}: {what}: {event}")));
        match text(event, "type") {
            "attempt_started" => {
                if task.succeeded.is_some() {
                    return wrong(Kind::Doubled, "started again after its result was recorded");
                }
                if !task.open || attempt != task.started + 1 {
                    return wrong(Kind::Unasked, "started again without a reason");
                }
                (task.started, task.live, task.open) = (attempt, Some(attempt), false);
            }
            "attempt_succeeded" => {
                if task.succeeded.is_some() || task.live != Some(attempt) {
                    return wrong(Kind::Doubled, "a second result");
                }
                (task.live, task.succeeded) = (None, Some(attempt));
            }
            "attempt_failed" | "attempt_failed_retries_exhausted" => {
                if task.live != Some(attempt) {
                    return wrong(Kind::Doubled, "a second end");
                }
                (task.live, task.open) = (None, !event["retry_at"].is_null());
                if text(event, "class") == "lost" && task.open {
                    return wrong(Kind::Unasked, "a lost attempt is tried again");
                }
            }
            "attempt_abandoned" => {
                if id.starts_with("ask") || id.starts_with("fail") {
                    return wrong(Kind::Unasked, "repeated although nobody said so");
                }
                (task.live, task.open) = (None, true);
            }
            "attempt_doubted" => task.live = None,
            "task_retried" => (task.retried, task.open) = (task.retried + 1, true),
            _ => {}
        }
    }
    Ok(tasks)
}

/// What was told to somebody is in the journal, as it was told.
pub(crate) fn nothing_told_is_lost(seen: &[Value], journal: &[Value]) -> Found<()> {
    for event in seen {
        let at = event["seq"].as_u64().unwrap_or(0) as usize;
        if at == 0 || journal.get(at - 1) != Some(event) {
            return Err(Violation::new(Kind::Lost, format!("told, and not in the journal: {event}")));
        }
    }
    Ok(())
}

/// The world and the journal agree, whatever has become of the run so far.
pub(crate) fn effects_agree(
    effects: &[Effect],
    tasks: &BTreeMap<String, Told>,
    with_effects: &BTreeSet<String>,
) -> Found<()> {
    let (mut seen, mut counts, mut keys) = (BTreeSet::new(), BTreeMap::<&str, u64>::new(), BTreeMap::new());
    for effect in effects {
        let Effect { task, attempt, key, .. } = effect;
        let wrong = |kind, what: &str| Err(Violation::new(kind, format!("{task}: {what}: {effect:?}")));
        let started = tasks.get(task).map_or(0, |t| t.started);
        if attempt.unwrap_or(1) > started {
            return wrong(Kind::Lost, "an effect of an attempt that the journal does not know");
        }
        if attempt.is_some_and(|attempt| !seen.insert((task, attempt))) {
            return wrong(Kind::Doubled, "one attempt has its effect twice");
        }
        let count = counts.entry(task).or_default();
        *count += 1;
        if *count > started {
            return wrong(Kind::Doubled, "more effects than attempts");
        }
        if keys.insert(key, task).is_some_and(|other| other != task) {
            return wrong(Kind::Doubled, "the key of another task");
        }
    }
    if keys.len() != counts.len() {
        return Err(Violation::new(Kind::Doubled, format!("a task's attempts have several keys: {keys:?}")));
    }
    for (id, task) in tasks {
        let Some(attempt) = task.succeeded.filter(|_| with_effects.contains(id)) else { continue };
        let by_number = seen.contains(&(id, attempt));
        let unnumbered = effects.iter().any(|e| e.task == *id && e.attempt.is_none());
        if !by_number && !unnumbered {
            return Err(Violation::new(Kind::Lost, format!("{id} is completed by attempt {attempt} without effect")));
        }
    }
    Ok(())
}

/// The end is that of a run that nobody disturbed; its journal.
pub(crate) fn ended_as_calm(
    place: &Place,
    run: &str,
    calm: &Calm,
    document: &Value,
    words: &Words,
) -> Found<Vec<Value>> {
    let untrue = |what: String| Err(Violation::new(Kind::Untrue, what));
    let journal = place.events(run)?;
    let tasks = told(&journal)?;
    effects_agree(&effects(place)?, &tasks, &calm.with_effects)?;
    if document["outcome"].as_str() != Some(&calm.outcome) || document["outputs"] != calm.outputs {
        return untrue(format!("ended otherwise than undisturbed: {}", cut(&document.to_string())));
    }
    for (id, state) in &calm.states {
        let shown = &document["tasks"][id];
        if shown["state"].as_str() != Some(state) {
            return untrue(format!("{id} is {}, undisturbed {state}", shown["state"]));
        }
        let of = tasks.get(id).cloned().unwrap_or_default();
        if shown["attempts"].as_u64().is_some_and(|n| n != of.started) {
            return untrue(format!("{id} is shown with {} attempts, started {}", shown["attempts"], of.started));
        }
        if of.live.is_some() {
            return Err(Violation::new(Kind::Stuck, format!("{id} is still live in the journal of an ended run")));
        }
        if of.retried != words.retries.get(id).copied().unwrap_or(0) {
            return Err(Violation::new(Kind::Unasked, format!("{id} was let try again {} times", of.retried)));
        }
    }
    // An engine that wanted the run while another one ended it has taken it over and found nothing to do.
    let last = journal.iter().rev().map(|event| text(event, "type")).find(|kind| *kind != "run_resumed");
    if last != Some("run_finished") {
        return Err(Violation::new(Kind::Stuck, "the last record does not end the run"));
    }
    let shown = place.show(run)?;
    if (&shown["tasks"], &shown["outcome"]) != (&document["tasks"], &document["outcome"]) {
        return untrue(format!("show says something else: {}", cut(&shown.to_string())));
    }
    let rows = place.ps()?;
    let row = rows.iter().find(|row| text(row, "run") == run);
    match row {
        Some(row) if row["outcome"] == shown["outcome"] && row["live"] == false => Ok(journal),
        other => untrue(format!("ps says something else: {other:?}")),
    }
}

/// Nobody drives the run, so nobody says that it runs.
pub(crate) fn told_as_interrupted(place: &Place, run: &str) -> Found<()> {
    let rows = place.ps()?;
    let Some(row) = rows.iter().find(|row| text(row, "run") == run) else {
        return Err(Violation::new(Kind::Lost, format!("ps does not know {run}")));
    };
    let shown = place.show(run)?;
    let running = shown["tasks"].as_object().is_some_and(|t| t.values().any(|task| task["state"] == "running"));
    if row["live"] != false || row["outcome"] == "running" || running {
        return Err(Violation::new(Kind::Stuck, format!("nobody drives it, and it is shown as {row}")));
    }
    if row["outcome"] != shown["outcome"] {
        return Err(Violation::new(Kind::Untrue, format!("ps: {}, show: {}", row["outcome"], shown["outcome"])));
    }
    Ok(())
}
