//! The page of events: types and fields of the lines that `--events` writes, checked against the code that writes them
//! and against a run. It does not know when events happen.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{MADE, cell, page, source};

/// Type, meaning, and the fields beyond `seq`, `ts` and `type`.
const TYPES: &[(&str, &str, &[&str])] = &[
    (
        "run_started",
        "The run began, or went on by a changed definition",
        &["run", "workflow", "hash", "source", "tasks", "simulated"],
    ),
    ("run_resumed", "Another engine took the run over", &["epoch"]),
    ("attempt_started", "An attempt may exist from now on", &["task", "state", "attempt"]),
    ("attempt_succeeded", "It ended well", &["task", "state", "attempt", "output_bytes", "usage", "session"]),
    (
        "attempt_failed",
        "It ended badly; with `retry_at` it will be tried again",
        &["task", "state", "attempt", "class", "message", "retry_at", "usage"],
    ),
    (
        "attempt_failed_retries_exhausted",
        "It ended badly and the retries that the task had are used up",
        &["task", "state", "attempt", "class", "message", "usage"],
    ),
    ("attempt_abandoned", "Its engine died; it may be repeated and will be", &["task", "state", "attempt"]),
    ("attempt_doubted", "Its engine died; a person must say what to do", &["task", "state", "attempt"]),
    ("task_retried", "A person had the task tried again", &["task", "state"]),
    ("task_skipped", "A person, `--only` or `--from` went on without it", &["task", "state"]),
    (
        "task_omitted",
        "Its condition was false: it is not needed, nor is what hangs hard on it",
        &["task", "state", "reason"],
    ),
    (
        "run_patched",
        "The definition was changed: by a person, for the items of a `foreach`, or to put a replacement in the place of a task",
        &["patch", "by", "reason", "summary", "undoes", "hash"],
    ),
    ("task_adopted", "Its result under the definition before counts", &["task", "state"]),
    ("access_denied", "Something was refused to the task", &["task", "action", "resource", "rule"]),
    (
        "model_chosen",
        "Another model than the planned one performs the attempt",
        &["task", "attempt", "model", "reason"],
    ),
    ("run_cancelled", "A person ended the run", &[]),
    ("budget_set", "A person gave the run another budget; it goes on if it had ended for want of one", &["budget"]),
    (
        "usage_reported",
        "What an attempt had used when its engine left; it counts when nobody reports more",
        &["task", "attempt", "usage"],
    ),
    ("storage_recovered", "For a while nothing could be recorded; now it can again", &["paused_ms", "reason"]),
    ("journal_salvaged", "The journal was damaged; what came after the record before is not known", &["reason"]),
    (
        "compensation_started",
        "An attempt to undo what the task did may exist from now on; numbers go on from those of the task",
        &["task", "state", "attempt"],
    ),
    ("compensation_succeeded", "What the task did is undone", &["task", "state", "attempt"]),
    (
        "compensation_failed",
        "It could not be undone; with `retry_at` that will be tried again, without it the effect stands",
        &["task", "state", "attempt", "class", "message", "retry_at"],
    ),
    ("compensation_abandoned", "Its engine died; it will be undone again", &["task", "state", "attempt"]),
    (
        "gate_opened",
        "A person is asked; nothing of the attempt exists before a yes. Asked once more, it is about something else",
        &["task", "state", "attempt", "question", "work", "hash", "expires_at"],
    ),
    ("gate_approved", "A person said yes to what was asked last", &["task", "state", "attempt", "by", "comment"]),
    (
        "gate_rejected",
        "A person said no: to what was asked, or to going on with what failed or is in doubt",
        &["task", "state", "attempt", "by", "comment"],
    ),
    ("gate_expired", "Nobody answered in time, which is a no", &["task", "state", "attempt"]),
    (
        "gate_failed",
        "Nobody could be asked, since the work cannot be made",
        &["task", "state", "attempt", "class", "message"],
    ),
    ("run_finished", "Everything has settled, or the budget lets nothing more start", &["outcome"]),
];

const FIELDS: &[(&str, &str)] = &[
    ("seq", "Number of the record in the journal, from 1, without gaps"),
    ("ts", "When it was decided, RFC 3339 in UTC"),
    ("type", "One of the types above"),
    ("task", "The task's id"),
    ("state", "The state it led to"),
    ("attempt", "Number of the attempt, from 1"),
    ("class", "Failure class, see [failure classes](failure-classes.md)"),
    ("message", "What happened, with the last lines of stderr where there are some"),
    ("retry_at", "When it will be tried again"),
    ("output_bytes", "Length of the output as JSON text"),
    ("usage", "Tokens and cost, as in `show --json`; absent when nothing was metered"),
    ("session", "Session of the agent CLI"),
    ("run", "The run's id"),
    ("workflow", "Its name"),
    ("hash", "Digest of the definition's meaning; of a question, of all that would be done"),
    ("question", "What is asked"),
    ("work", "What would be done, without secrets, cut where it is long; empty where the answer is all"),
    ("expires_at", "When silence becomes a no"),
    ("by", "Who answered"),
    ("comment", "Why"),
    ("source", "The file it was read from"),
    ("tasks", "How many tasks it has"),
    ("simulated", "Whether nothing is performed"),
    ("budget", "All its limits: `usd`, `tokens`, `agents`, `wall_ms`"),
    ("epoch", "Number of the owner, growing"),
    ("action", "What was tried"),
    ("resource", "On what"),
    ("rule", "Why not"),
    ("model", "The model that performs it"),
    ("reason", "Why; what was wrong with the disk or the journal"),
    ("paused_ms", "For how long nothing could be recorded"),
    ("patch", "Name of the change"),
    ("by", "Who asked for it: `user@host`, or the task for which the run did it itself"),
    ("summary", "What it changes, in words"),
    ("undoes", "The change that it takes back"),
    ("outcome", "`succeeded`, `degraded`, `failed`, `cancelled`, `budget_exhausted`"),
];

/// The texts in quotation marks of the function that makes a line: fields (before a colon, or assigned), and words.
fn literals() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = source("crates/cli/src/run/events.rs");
    let begin = text.find("pub fn line(").unwrap();
    let body = text[begin..].split("\n}\n").next().unwrap();
    let mut parts = body.split('"');
    let (mut fields, mut words) = (BTreeSet::new(), BTreeSet::new());
    parts.next();
    while let (Some(text), Some(after)) = (parts.next(), parts.next()) {
        let place = if after.starts_with(':') || after.starts_with("] =") { &mut fields } else { &mut words };
        place.insert(text.to_owned());
    }
    (fields, words)
}

#[test]
fn events() {
    let (fields, words) = literals();
    let told: BTreeSet<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(fields, told, "fields of events and the fields that are explained");
    let types: BTreeSet<String> = TYPES.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let states = ["running", "completed", "pending", "waiting", "skipped", "failed", "compensated"].map(str::to_owned);
    let unknown: Vec<_> = words.iter().filter(|w| !types.contains(*w) && !states.contains(*w)).collect();
    assert!(unknown.is_empty() && types.is_subset(&words), "types that nobody explains: {unknown:?}");

    let mut text = format!(
        "{MADE}# Events\n\n`raddle run … --events FILE` (or `-` for stdout) writes the records of the journal as JSON lines, \
         each when it is durable; `raddle watch RUN --json` prints those of any run. Fields that do not apply are left \
         out. New types and fields may be added; readers should pass over what they do not know.\n\n\
         | type | meaning | fields beside `seq`, `ts`, `type` |\n|---|---|---|\n"
    );
    for (name, meaning, own) in TYPES {
        let own: Vec<_> = own.iter().map(|field| format!("`{field}`")).collect();
        text.push_str(&format!("| `{name}` | {} | {} |\n", cell(meaning), own.join(", ")));
    }
    text.push_str("\n| field | meaning |\n|---|---|\n");
    for (name, meaning) in FIELDS {
        text.push_str(&format!("| `{name}` | {} |\n", cell(meaning)));
    }
    page("events.md", &text);
}

#[test]
fn a_run_says_nothing_that_is_not_explained() {
    let home = tempfile::tempdir().unwrap();
    let workflow = r#"{"tasks": [
        {"id": "again", "run": "test $RADDLE_ATTEMPT = 2", "retry": {"max": 1, "initial": "10ms"}},
        {"id": "never", "run": "exit 3", "depends_on": ["again"], "retry": {"max": 1, "initial": "10ms"}},
        {"id": "denied", "type": "code_execution", "code": "return readTextFile('/etc/passwd')", "depends_on": ["again"]},
        {"id": "once", "saga": "s", "run": "true", "depends_on": ["again"], "compensate": {"run": "true"}},
        {"id": "stays", "saga": "s", "run": "true", "depends_on": ["once"], "compensate": {"run": "exit 1"}},
        {"id": "ends", "saga": "s", "run": "exit 1", "depends_on": ["stays"]}]}"#;
    let out = Command::new(env!("CARGO_BIN_EXE_raddle"))
        .args(["run", workflow, "--quiet", "--events", "-"])
        .current_dir(home.path())
        .env("RADDLE_HOME", home.path())
        .output()
        .unwrap();
    let mut seen = BTreeSet::new();
    for line in String::from_utf8(out.stdout).unwrap().lines() {
        let event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        let kind = event["type"].as_str().unwrap();
        let (_, _, own) = TYPES.iter().find(|(name, ..)| *name == kind).unwrap_or_else(|| panic!("{line}"));
        let known = |key: &String| ["seq", "ts", "type"].contains(&key.as_str()) || own.contains(&key.as_str());
        assert!(event.keys().all(known), "{line}");
        seen.insert(kind.to_owned());
    }
    for kind in [
        "compensation_started",
        "compensation_succeeded",
        "compensation_failed",
        "run_started",
        "attempt_failed",
        "attempt_failed_retries_exhausted",
        "access_denied",
        "run_finished",
    ] {
        assert!(seen.contains(kind), "{kind} was not seen in {seen:?}");
    }
}
