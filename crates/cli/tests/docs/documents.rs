//! The page of JSON documents: every field that commands print, found by running them, with a sentence about each. It
//! does not know how documents are made.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::{MADE, cell, page};

type Fields = &'static [(&'static str, &'static str)];

const USAGE: &str = "Input tokens without cache reads and writes, output tokens, tokens read from and written to the \
                     provider's cache, US dollars (null: unknown), and where the dollars come from; zeros when \
                     nothing is metered";

const RUN: Fields = &[
    ("run", "The run's id"),
    ("workflow", "The workflow's name"),
    ("hash", "Digest of the definition's meaning; layout and comments do not change it"),
    (
        "outcome",
        "`running`, `waiting`, `succeeded`, `degraded`, `failed`, `cancelled`, `interrupted` (unfinished, and no engine \
         owns it)",
    ),
    ("started_at", "RFC 3339 in UTC"),
    ("finished_at", "When everything had settled; null before"),
    (
        "duration_ms",
        "From one to the other; up to now while the run goes on, up to the last record when nobody owns it",
    ),
    (
        "tasks.ID.state",
        "`pending`, `running`, `retrying`, `waiting`, `completed`, `failed`, `failed_safe`, `blocked`, `skipped`, \
         `cancelled`, `compensated`",
    ),
    ("tasks.ID.result", "`success`, `error`, `failed_safe`; null without a result"),
    ("tasks.ID.output", "The output; null without one"),
    ("tasks.ID.error.class", "See [failure classes](failure-classes.md); `error` is absent on success"),
    ("tasks.ID.error.message", "What happened, with the last lines of stderr where there are some"),
    (
        "tasks.ID.compensation.state",
        "How undoing the task stands: `pending`, `running`, `retrying`, `compensated`, `failed` (its effect stands); \
         `compensation` is absent when nothing had to be undone",
    ),
    ("tasks.ID.compensation.attempts", "How many attempts to undo it there were; `attempts` does not count them"),
    ("tasks.ID.compensation.error.class", "Why the last of them failed; absent when it did not"),
    ("tasks.ID.compensation.error.message", ""),
    ("tasks.ID.kind", "`agent`, `tool`, `code`, `shell`, `approval`"),
    ("tasks.ID.level", "Longest distance from a root, from 0"),
    ("tasks.ID.attempts", "How many there were"),
    ("tasks.ID.retries", "Executions that followed a failure; what a crash interrupted is no retry"),
    ("tasks.ID.executor", "`local`, `process`, `worktree`"),
    ("tasks.ID.branch", "The branch of a task with a worktree; absent for others and before the first attempt"),
    ("tasks.ID.agent", "Name of the agent"),
    ("tasks.ID.model", "Its model as it was written"),
    ("tasks.ID.blocked_by", "The task that failed, however far up"),
    ("tasks.ID.simulated", "Whether nothing was performed"),
    ("tasks.ID.started_at", "Start of the first attempt"),
    ("tasks.ID.finished_at", "When the task settled"),
    ("tasks.ID.duration_ms", "From the start of the first attempt until it settled"),
    ("tasks.ID.usage.*", USAGE),
    ("outputs.NAME", "The workflow's `outputs`; without them the output of every last task by its id"),
    ("usage.*", "The same over all tasks"),
    (
        "patches",
        "Changes of the definition, oldest first, each with `patch` (its name), `at`, `by`, `reason`, `summary`, `undoes` and `hash`; see [changing a run](../guide/changing-a-run.md)",
    ),
    (
        "budget",
        "`null` without one, else `limits`, `spent` and `held` (by what runs), each with `usd`, `tokens` and `agents`, and `wall_ms`",
    ),
    ("metrics.tasks_total", "Tasks"),
    ("metrics.tasks_done", "Tasks that have settled"),
    ("metrics.tasks_running", "Tasks with a live attempt"),
    ("metrics.agents_spawned", "Agent CLIs started"),
    ("metrics.peak_parallel", "Largest number of attempts alive at once"),
    ("metrics.efficiency", "Busy time over wall time times slots, 0 to 1"),
    ("metrics.busy_ms", "Time in which attempts were alive, all together"),
    ("metrics.slots", "How many attempts could have been alive at once"),
    ("metrics.average_attempt_ms", "Mean time of an attempt"),
    ("metrics.critical_path", "The path that took longest by what the tasks really took"),
    ("metrics.bottleneck", "The task that took most of it"),
    ("metrics.denials", "Refused accesses"),
];

const PLAN: Fields = &[
    ("workflow", "The workflow's name"),
    ("hash", "As in the run"),
    ("tasks[].id", ""),
    ("tasks[].name", ""),
    ("tasks[].kind", "As in the run"),
    ("tasks[].level", "As in the run"),
    ("tasks[].priority", "Higher first"),
    ("tasks[].side_effects", "Whether a repeat could be noticed outside"),
    ("tasks[].safe_to_fail", "Whether its failure is a value"),
    ("tasks[].agent", ""),
    ("tasks[].executor", ""),
    ("tasks[].model", ""),
    ("tasks[].isolation", "`none`, `process`"),
    ("tasks[].timeout_ms", "The explicit limit, or 300000"),
    ("tasks[].retries", "Extra executions at most"),
    ("tasks[].depends_on", "List of `{task, type}`, `type` being `hard` or `soft`"),
    ("tasks[].estimated_ms", "By earlier runs or `estimate`; null when nothing is known"),
    ("tasks[].slack_ms", "By how much it may be late without making the run later"),
    ("tasks[].critical", "Whether it is on a longest path"),
    ("tasks[].saga", "The scope that it belongs to; absent without one"),
    ("tasks[].compensate", "What undoes it: `restore`, `shell`, `tool`, `code`; absent for what cannot be undone"),
    ("levels", "Ids by level"),
    ("critical_path.tasks", "Ids in order"),
    ("critical_path.length_ms", "Its expected duration"),
    ("caps.agent.value", "Agent tasks at once"),
    ("caps.agent.bound_by", "The setting that decided it"),
    ("caps.local.value", "Shell and code tasks at once"),
    ("caps.local.bound_by", ""),
    ("caps.tool.value", "Tool calls at once"),
    ("caps.tool.bound_by", ""),
    ("caps.worktree.value", "Tasks with worktrees at once; `worktree` is absent where no task has one"),
    ("caps.worktree.bound_by", ""),
    ("forecast.duration_ms", "The least time that critical path and caps allow; null when it is unknown"),
    ("forecast.cost_usd", "Null when it is unknown"),
    ("forecast.reason", "Why something is unknown"),
    ("diagnostics[]", "As `validate --json` prints them, see [diagnostics](diagnostics.md)"),
];

const TRACE: Fields = &[
    ("node_id", "The task"),
    ("wave", "Its level"),
    (
        "status",
        "The state that the attempt led to: `completed`, `failed`, `failed_safe`, `retrying`, `lost`, `waiting`, `cancelled`, `running`, `compensated`",
    ),
    ("model", ""),
    ("model_reason", "Why that model, where it is not the one that the file names"),
    ("skills_used", "Names of skills"),
    ("input_tokens", ""),
    ("output_tokens", ""),
    ("cache_read_tokens", ""),
    ("cache_write_tokens", ""),
    ("cost_usd", "Null: unknown"),
    ("cost_is", "`reported` by the CLI, `priced` by the table of models, `unknown`; null when nothing is metered"),
    ("duration_ms", ""),
    ("retries", "Failed attempts of this task before this one"),
    ("output_summary", "The beginning of the output or of the error"),
    ("run", ""),
    ("attempt", "From 1"),
    ("compensates", "Whether it was to undo what the task did"),
    ("kind", ""),
    ("executor", ""),
    ("agent", ""),
    ("started_at", ""),
    ("finished_at", ""),
    ("error", "`class` and `message`, or null"),
    ("session", "Session of the agent CLI"),
    ("simulated", ""),
];

const PS: Fields = &[
    ("[].run", "The run's id"),
    ("[].workflow", ""),
    ("[].outcome", "As in the run, or `quarantined`: the journal is damaged"),
    ("[].live", "Whether an engine owns it now"),
    ("[].started_at", ""),
    ("[].duration_ms", "Null while it is unfinished"),
    ("[].tasks_done", "Tasks that have settled"),
    ("[].tasks_total", ""),
    ("[].reason", "Why it is quarantined"),
    ("[].waiting", "Tasks that wait for a person: `task` and what `for`, as below"),
];

const WAITING: Fields = &[
    (
        "for",
        "`approval` (a gate), `exhausted` (its last failure is a person's to judge), `doubt` (see [recovery](../guide/recovery.md))",
    ),
    ("question", "What is asked; null but for a gate, like all fields down to `attempt`"),
    ("work", "What would be done, without secrets, cut where it is long; null where the answer is all"),
    ("hash", "Of all of it, uncut; an answer to another hash counts nothing"),
    ("asked", "Number of the record that asked"),
    ("asked_at", ""),
    ("expires_at", "When silence becomes a no; null: never"),
    ("attempt", "The attempt that a yes lets start"),
    ("answer_schema", "JSON Schema of the answer; null where a yes is enough"),
    ("class", "Failure class of what is `exhausted`"),
    ("commands", "The commands that answer"),
];

const APPROVAL: Fields = &[
    ("approved", "Whether it was a yes"),
    ("by", "Who said it; null when nobody did in time"),
    ("at", "When"),
    ("comment", "Why"),
    ("question", "What was asked"),
    ("hash", "Of what was asked"),
];

const WORKTREES: Fields = &[
    ("worktrees[].run", "The run's id"),
    ("worktrees[].task", "The task"),
    ("worktrees[].attempt", "The attempt, from 1"),
    ("worktrees[].branch", "The branch; one that ends in `+N` holds what an earlier attempt left"),
    (
        "worktrees[].state",
        "`live` (an attempt is at work there), `leftover` (a work tree is still there), `merged`, `unmerged`, `lost` (the \
         branch is gone, the work tree is not), `unreachable` (the repository does not answer)",
    ),
    ("worktrees[].merged_into", "A branch of yours that has its commits; null without one"),
    ("worktrees[].base", "The commit that it started from"),
    ("worktrees[].tip", "The commit that it is at"),
    ("worktrees[].folder", "The work tree; null when everything in it is committed and it is gone"),
    ("worktrees[].repository", "The repository"),
];

const MERGE: Fields = &[
    ("run", "The run's id"),
    ("into", "The branch that was merged into"),
    ("before", "The commit that it was at"),
    ("after", "The commit that it is at"),
    ("merged[].task", "The task"),
    ("merged[].branch", "Its branch"),
    ("merged[].commit", "The merge"),
    ("nothing_to_merge", "Branches that were part of it already"),
    ("conflict", "Null, or `task`, `branch` and `files` of the first branch that does not merge"),
    ("not_tried", "The branches after it"),
];

const PRUNE: Fields = &[
    ("removed[].run", "The run's id"),
    ("removed[].task", "The task"),
    ("removed[].branch", "The branch"),
    ("removed[].tip", "The commit that it was at"),
    ("removed[].merged_into", "The branch that has that commit"),
    ("kept", "What stays: the same with `why` in place of `merged_into`"),
    ("dry_run", ""),
];

/// Paths of all leaves. Ids and names of tasks and outputs are shown as such, what is told as a whole is cut.
fn walk(value: &Value, path: &str, whole: &[&str], found: &mut BTreeSet<String>) {
    if whole.contains(&path) {
        found.insert(path.to_owned());
        return;
    }
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let key = match path {
                    "tasks" => "ID",
                    "outputs" => "NAME",
                    "usage" | "tasks.ID.usage" => "*",
                    _ => key,
                };
                let inner = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                walk(value, &inner, whole, found);
            }
        }
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            items.iter().for_each(|item| walk(item, &format!("{path}[]"), whole, found));
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

fn printed(home: &Path, words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_raddle"))
        .args(words)
        .current_dir(home)
        .env("RADDLE_HOME", home)
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap()
}

fn told(title: &str, command: &str, document: &str, whole: &[&str], fields: Fields) -> String {
    let mut found = BTreeSet::new();
    let document: Value = serde_json::from_str(document).unwrap_or_else(|e| panic!("{command}: {e}"));
    walk(&document, "", whole, &mut found);
    let known: BTreeSet<String> = fields.iter().map(|(path, _)| (*path).to_owned()).collect();
    let untold: Vec<_> = found.difference(&known).collect();
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(untold.is_empty() && gone.is_empty(), "{command}: fields without a sentence: {untold:?}; gone: {gone:?}");
    let mut text = format!("\n## {title}\n\n{command}\n\n| field | meaning |\n|---|---|\n");
    for (path, said) in fields {
        text.push_str(&format!("| `{path}` | {} |\n", cell(said)));
    }
    text
}

#[test]
fn documents() {
    let home = tempfile::tempdir().unwrap();
    let git = |words: &[&str]| {
        let who = ["-c", "user.name=T", "-c", "user.email=t@localhost"];
        let made = Command::new("git").args(who).args(words).current_dir(home.path()).status().unwrap();
        assert!(made.success(), "{words:?}");
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["commit", "--quiet", "--allow-empty", "--message=start"]);
    let workflow = r#"{"name": "example", "tasks": [
        {"id": "a", "run": "exit 1"},
        {"id": "b", "run": "true", "depends_on": [{"task": "a", "type": "soft"}]},
        {"id": "c", "run": "true", "depends_on": ["a"]},
        {"id": "d", "run": "echo made > made", "depends_on": ["b"], "level": 7, "executor": "worktree"},
        {"id": "e", "saga": "s", "run": "true", "compensate": {"run": "exit 1"}},
        {"id": "f", "saga": "s", "run": "exit 1", "depends_on": ["e"]}]}"#;
    let run = printed(home.path(), &["run", workflow, "--json", "--quiet"]);
    let plan = printed(home.path(), &["plan", workflow, "--json"]);
    let trace = printed(home.path(), &["trace", "last"]);
    let failed = trace.lines().find(|line| line.contains("\"failed\"")).unwrap();
    let ps = printed(home.path(), &["ps", "--json"]);
    let mut text =
        format!("{MADE}# JSON documents\n\nNew fields may be added; readers should pass over what they do not know.\n");
    let command =
        "`run --json`, `resume --json`, `retry --json`, `skip --json` at the end, and `show --json` at any time.";
    text.push_str(&told("A run", command, &run, &["budget"], RUN));
    text.push_str(&told(
        "A plan",
        "`plan --json`, `run --dry-run --json`.",
        &plan,
        &["diagnostics[]", "tasks[].depends_on"],
        PLAN,
    ));
    text.push_str(&told("An attempt", "`trace`: one line per attempt.", failed, &["error"], TRACE));
    text.push_str(&told("Runs", "`ps --json`: a list.", &ps, &[], PS));
    let list = printed(home.path(), &["worktrees", "list", "--json"]);
    text.push_str(&told("Branches of runs", "`worktrees list --json`.", &list, &[], WORKTREES));
    let merge = printed(home.path(), &["worktrees", "merge", "last", "--into", "main", "--json"]);
    let command = "`worktrees merge --json`; `merge` of a run's document where `auto_merge` is set.";
    text.push_str(&told("A merge", command, &merge, &["conflict"], MERGE));
    let prune = printed(home.path(), &["worktrees", "prune", "--json"]);
    text.push_str(&told("A tidying up", "`worktrees prune --json`.", &prune, &["kept"], PRUNE));
    let gates = r#"{"name": "gates", "tasks": [
        {"id": "ask", "approve": "Ship it?"}, {"id": "ship", "run": "true", "depends_on": ["ask"], "approval": "required"}]}"#;
    printed(home.path(), &["run", gates, "--no-wait", "--quiet"]);
    printed(home.path(), &["approve", "last", "ask"]);
    let gates = printed(home.path(), &["resume", "last", "--no-wait", "--quiet", "--json"]);
    let gates: Value = serde_json::from_str(&gates).unwrap();
    let (waiting, approval) = (&gates["tasks"]["ship"]["waiting"], &gates["tasks"]["ask"]["approval"]);
    let command = "`tasks.ID.waiting` in a run; absent for tasks that do not wait for a person.";
    text.push_str(&told("A question", command, &waiting.to_string(), &[], WAITING));
    let command = "`tasks.ID.approval` in a run; absent where nobody was asked, null until somebody has answered.";
    text.push_str(&told("An answer", command, &approval.to_string(), &[], APPROVAL));
    page("documents.md", &text);
}
