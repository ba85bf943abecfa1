//! The keys of a workflow file, place by place, and what to say of one that is not among them. It does not know what
//! the keys mean; the readers do, and a test keeps the published schema in step with these tables.

use crate::diagnostic::{Sink, quoted};
use crate::syntax::Entry;

/// Top level.
pub(crate) const WORKFLOW: &[&str] = &[
    "name",
    "description",
    "inputs",
    "execution_mode",
    "parallelism_level",
    "optimization_mode",
    "defaults",
    "limits",
    "agents",
    "mcp_servers",
    "permissions",
    "tasks",
    "edges",
    "outputs",
    "on_failure",
    "invariants",
];
/// One of `invariants:`.
pub(crate) const INVARIANT: &[&str] = &["name", "expr"];
/// `defaults:`.
pub(crate) const DEFAULTS: &[&str] = &["timeout", "retry", "model", "executor", "isolation"];
/// `limits:`.
pub(crate) const LIMITS: &[&str] = &["max_parallelism", "budget"];
/// `limits.budget:`.
pub(crate) const BUDGET: &[&str] = &["usd", "tokens", "agents", "wall"];
/// One of `inputs:`.
pub(crate) const INPUT: &[&str] = &["type", "default", "description"];
/// One of `agents:`.
pub(crate) const AGENT_DEFINITION: &[&str] =
    &["cli", "model", "skills", "tools", "system_prompt", "description", "mcp"];
/// `mcp:` of one of `agents:`.
pub(crate) const AGENT_TOOL: &[&str] = &["tool", "prompt", "arguments"];
/// One of `mcp_servers:`.
pub(crate) const MCP_SERVER: &[&str] =
    &["command", "args", "env", "cwd", "type", "url", "headers", "max_concurrent", "elicitation"];
/// One of `edges:`.
pub(crate) const EDGE: &[&str] = &["from", "to", "type"];
/// A patch.
pub(crate) const PATCH: &[&str] = &["reason", "add", "remove", "replace", "update", "priority", "split", "edges"];
/// `edges:` of a patch.
pub(crate) const PATCH_EDGES: &[&str] = &["add", "remove"];
/// `split:` of a patch.
pub(crate) const SPLIT: &[&str] = &["task", "into"];
/// What only definitions that a run has changed hold in their tasks.
pub(crate) const MARKS: &[&str] = &["removed", "item", "of", "superseded_by"];
/// An object in `depends_on:`.
pub(crate) const DEPENDENCY: &[&str] = &["task", "type"];
/// `retry:`.
pub(crate) const RETRY: &[&str] = &["max", "initial", "factor", "max_delay", "jitter", "on"];
/// `estimate:`.
pub(crate) const RESOURCES: &[&str] = &["memory", "cpu", "pids", "slots"];
/// See its place in the contract.
pub(crate) const ESTIMATE: &[&str] = &["duration", "tokens", "cost"];
/// `sandbox_config:`.
pub(crate) const SANDBOX: &[&str] = &["timeout", "memoryLimit", "allowedReadPaths", "deterministic"];
/// `permissions:`; the last one not under `delegate:`.
pub(crate) const PERMISSIONS: &[&str] =
    &["preset", "tools", "paths", "deny", "network", "models", "cost_budget", "delegate"];
/// `paths:` of permissions.
pub(crate) const PATHS: &[&str] = &["read", "write"];
/// Every task.
pub(crate) const TASK: &[&str] = &[
    "id",
    "name",
    "description",
    "depends_on",
    "dependencies",
    "priority",
    "timeout",
    "retry",
    "retryable",
    "side_effects",
    "when",
    "foreach",
    "max_parallel",
    "output_format",
    "output_schema",
    "executor",
    "isolation",
    "permissions",
    "resources",
    "pool",
    "writes",
    "singleton",
    "on_exhausted",
    "fallback",
    "on_doubt",
    "compensate",
    "saga",
    "approval",
    "speculate",
    "on_soft_failure",
    "estimate",
    "cache",
    "phase",
    "env",
    "cwd",
    "status",
    "level",
];
/// `compensate:` beside the keys of its kind.
pub(crate) const COMPENSATION: &[&str] = &["retry", "timeout", "env"];
/// Agent tasks.
pub(crate) const AGENT: &[&str] = &["prompt", "agent", "model", "skills", "context", "inputs"];
/// Tool tasks.
pub(crate) const TOOL: &[&str] = &["tool", "arguments"];
/// Code tasks.
pub(crate) const CODE: &[&str] = &["type", "code", "code_file", "context", "intent", "sandbox_config"];
/// Shell tasks.
pub(crate) const SHELL: &[&str] = &["run"];
/// Approval gates.
pub(crate) const APPROVAL: &[&str] = &["approve", "expires", "on_expire"];
/// Sub-workflows.
pub(crate) const SUBWORKFLOW: &[&str] = &["workflow", "inputs"];
/// Aggregates.
pub(crate) const AGGREGATE: &[&str] = &["aggregate"];

/// Tells of a key that means nothing at its place. `place` reads like "a shell task".
pub(crate) fn unknown(entry: &Entry<'_>, place: &str, known: &[&[&'static str]], sink: &mut Sink<'_>) {
    let key = &*entry.key;
    let all = || known.iter().flat_map(|keys| keys.iter().copied());
    let snake = snake_case(key);
    let near = all().find(|k| *k == snake).or_else(|| sink.nearest(key, all()));
    let note = sink.error("unknown-key", entry.key_span, format!("unknown key {} in {place}", quoted(key)));
    if let Some(near) = near {
        note.help(format!("did you mean `{near}`?"));
    } else if known.contains(&TOOL) {
        note.help(format!("arguments of the tool belong under `arguments:`, as in `arguments: {{{key}: …}}`"));
    } else {
        let mut names: Vec<_> = all().collect();
        names.sort_unstable();
        names.dedup();
        note.help(format!("known here: {}", names.join(", ")));
    }
}

fn snake_case(key: &str) -> String {
    let key = key.get(..64).unwrap_or(key);
    let mut out = String::with_capacity(key.len() + 4);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            if !out.is_empty() {
                out.push('_');
            }
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(if c == '-' { '_' } else { c });
        }
    }
    out
}

/// The closest of the known words, if one is close enough to have been meant. Restricted Damerau-Levenshtein distance;
/// at most a third of the word may differ, case and separators not counted. Looks at no more than 2,000 words.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 64 {
        return None;
    }
    let plain =
        |s: &str| s.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect::<Vec<_>>();
    let word = plain(word);
    let allowed = (word.len() / 3).max(1);
    let scored = known.take(2_000).filter_map(|k| {
        let letters = plain(k);
        let is_near = letters.len().abs_diff(word.len()) <= allowed;
        is_near.then(|| (distance(&word, &letters), k))
    });
    scored.filter(|(d, _)| *d <= allowed).min().map(|(_, k)| k)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}
