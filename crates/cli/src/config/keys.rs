//! The table of configuration keys: what each holds and what becomes of it in this version. It does not know where
//! values come from.

/// What a key holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// A whole number, at least 1.
    Count,
    /// Text.
    Text,
    /// An amount of memory, as in `8GB`.
    Size,
    /// `true` or `false`.
    Switch,
    /// A number, at least 0.
    Number,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    List,
}

/// What becomes of a key's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// It has its documented effect.
    Built,
    /// It would have to have an effect now and cannot: refused.
    #[allow(dead_code, reason = "rows of this kind come and go")]
    Unbuilt(&'static str),
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its place; `*` stands for a name that the user chooses.
    pub path: &'static [&'static str],
    /// What it holds.
    pub kind: Kind,
    /// What becomes of it.
    pub effect: Effect,
}

const fn key(path: &'static [&'static str], kind: Kind) -> Key {
    Key { path, kind, effect: Effect::Built }
}

/// All keys. Later work adds rows and turns `Unbuilt` into `Built`.
pub const KEYS: &[Key] = &[
    key(&["dag_execution", "max_parallelism"], Kind::Count),
    key(&["dag_execution", "max_local"], Kind::Count),
    key(&["dag_execution", "optimization_mode"], Kind::Word(&["none", "balanced", "aggressive"])),
    key(&["dag_execution", "resource_limits", "memory"], Kind::Size),
    key(&["dag_execution", "resource_limits", "cpu"], Kind::Number),
    key(&["executors", "process", "max_processes"], Kind::Count),
    key(&["executors", "process", "output_format"], Kind::Word(&["json"])),
    key(&["executors", "container", "runtime"], Kind::Word(&["docker", "podman", "bwrap"])),
    key(&["executors", "container", "image"], Kind::Text),
    key(&["executors", "container", "network"], Kind::Switch),
    key(&["executors", "worktree", "branch_prefix"], Kind::Text),
    key(&["executors", "worktree", "max_worktrees"], Kind::Count),
    key(&["executors", "worktree", "auto_merge"], Kind::Switch),
    key(&["executors", "worktree", "on_conflict"], Kind::List),
    key(&["executors", "task_tool", "session_cli"], Kind::Text),
    key(&["executors", "api", "model"], Kind::Text),
    key(&["executors", "api", "fallback"], Kind::List),
    key(&["executors", "api", "max_output_tokens"], Kind::Count),
    key(&["router", "cheap"], Kind::Text),
    key(&["router", "standard"], Kind::Text),
    key(&["router", "expensive"], Kind::Text),
    key(&["providers", "*", "kind"], Kind::Word(&["anthropic", "openai", "gemini", "ollama"])),
    key(&["providers", "*", "base_url"], Kind::Text),
    key(&["providers", "*", "key_env"], Kind::Text),
    key(&["providers", "*", "key"], Kind::Text),
    key(&["secrets", "*", "env"], Kind::Text),
    key(&["secrets", "*", "file"], Kind::Text),
    key(&["secrets", "*", "command"], Kind::List),
    key(&["secrets", "*", "pass_env"], Kind::List),
    key(&["clis", "*", "like"], Kind::Text),
    key(&["clis", "*", "command"], Kind::List),
    key(&["clis", "*", "extra_args"], Kind::List),
    key(&["clis", "*", "prompt"], Kind::Word(&["stdin", "argument"])),
    key(&["clis", "*", "output"], Kind::Word(&["text", "json", "claude-stream"])),
    key(&["clis", "*", "model_flag"], Kind::Text),
    key(&["clis", "*", "system_prompt_flag"], Kind::Text),
    key(&["clis", "*", "schema_flag"], Kind::Text),
    key(&["clis", "*", "tools_flag"], Kind::Text),
    key(&["clis", "*", "env"], Kind::List),
    key(&["clis", "*", "trust_project"], Kind::Switch),
    key(&["models", "*", "tier"], Kind::Word(&["cheap", "expensive"])),
    key(&["models", "*", "provider"], Kind::Text),
    key(&["models", "*", "id"], Kind::Text),
    key(&["models", "*", "input_usd_per_mtok"], Kind::Number),
    key(&["models", "*", "output_usd_per_mtok"], Kind::Number),
    key(&["models", "*", "cache_read_usd_per_mtok"], Kind::Number),
    key(&["models", "*", "cache_write_usd_per_mtok"], Kind::Number),
    key(&["agents", "*", "cli"], Kind::Text),
    key(&["agents", "*", "model"], Kind::Text),
    key(&["agents", "*", "skills"], Kind::List),
    key(&["agents", "*", "tools"], Kind::List),
    key(&["agents", "*", "system_prompt"], Kind::Text),
    key(&["agents", "*", "description"], Kind::Text),
];

/// How a path relates to the table.
#[derive(Debug, PartialEq)]
pub enum Place {
    /// A key.
    Key(&'static [&'static str]),
    /// A table that holds keys.
    Table,
    /// Nothing; the names that could have stood there.
    Unknown(Vec<&'static str>),
}

/// Finds a path (with the user's own names in it) in the table.
pub fn find(path: &[String]) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path.len() == path.len() && begins(key.path, path))
}

/// Whether the path is a key, a table on the way to one, or nothing.
pub fn place(path: &[String]) -> Place {
    if let Some(key) = find(path) {
        return Place::Key(key.path);
    }
    if KEYS.iter().any(|key| begins(key.path, path)) {
        return Place::Table;
    }
    let parent = &path[..path.len() - 1];
    let mut known: Vec<&str> = KEYS
        .iter()
        .filter(|key| begins(key.path, parent))
        .filter_map(|key| key.path.get(parent.len()).copied())
        .collect();
    known.dedup();
    Place::Unknown(known)
}

fn begins(pattern: &[&str], path: &[String]) -> bool {
    path.len() <= pattern.len() && path.iter().zip(pattern).all(|(part, &expected)| expected == "*" || part == expected)
}

/// The known word nearest to a mistyped one, if one is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, bounded to names: words over 64 letters are never near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
