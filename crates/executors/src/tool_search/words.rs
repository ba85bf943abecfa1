//! Texts as terms: words apart, endings off, and which words stand for the same deed in names of tools. It does not
//! know what is searched.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Words that are in every description and tell nothing.
const IDLE: &[&str] = &[
    "a", "about", "all", "an", "and", "any", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from",
    "given", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "me", "my", "of", "on", "or", "our",
    "out", "please", "so", "some", "that", "the", "their", "them", "there", "this", "to", "up", "us", "use", "using",
    "via", "want", "was", "we", "what", "when", "which", "with", "you", "your",
];

/// Turns of speech for one deed, with the word that stands for it. The words are as [`terms`] leaves them.
const PHRASES: &[(&[&str], &str)] = &[
    (&["get", "rid"], "delet"),
    (&["look"], "search"),
    (&["turn"], "updat"),
    (&["switch"], "updat"),
    (&["giv", "access"], "shar"),
];

/// Words for one deed or thing. Only what tools in general are about; a word may be in several groups.
const GROUPS: &[&[&str]] = &[
    &["delete", "remove", "erase", "drop", "destroy", "discard", "purge", "clear", "rid", "cancel", "revoke"],
    &["create", "add", "make", "new", "open", "insert", "register", "file"],
    &["list", "show", "enumerate", "browse", "display", "overview"],
    &["get", "fetch", "read", "retrieve", "load", "view", "look", "show", "details"],
    &["search", "find", "lookup", "query", "locate", "look", "seek"],
    &["update", "edit", "change", "modify", "set", "alter", "adjust", "rename", "correct"],
    &["send", "post", "deliver", "submit", "publish", "dispatch", "write"],
    &["run", "execute", "start", "launch", "trigger", "invoke", "boot"],
    &["stop", "end", "kill", "terminate", "halt", "shut", "abort"],
    &["cancel", "abort", "revoke", "withdraw"],
    &["pay", "charge", "bill", "purchase", "buy"],
    &["refund", "reimburse", "money", "back"],
    &["copy", "duplicate", "clone", "replicate"],
    &["move", "transfer", "relocate", "migrate"],
    &["download", "pull", "export", "save", "backup"],
    &["upload", "push", "import", "attach"],
    &["merge", "combine", "join", "unite"],
    &["compare", "diff", "difference", "change"],
    &["assign", "give", "delegate", "allocate"],
    &["close", "finish", "resolve", "complete", "done"],
    &["archive", "away", "store"],
    &["count", "number", "many", "total", "statistics"],
    &["translate", "language"],
    &["convert", "transform", "turn"],
    &["summarize", "digest", "short", "brief"],
    &["check", "validate", "verify", "test", "lint"],
    &["share", "invite", "access", "grant", "allow"],
    &["issue", "ticket", "bug", "task", "case"],
    &["repository", "repo", "project", "codebase"],
    &["commit", "history", "log", "change"],
    &["mail", "email", "message", "inbox"],
    &["message", "chat", "text", "tell"],
    &["file", "document"],
    &["folder", "directory"],
    &["picture", "image", "photo"],
    &["event", "appointment", "meeting", "calendar"],
    &["user", "person", "member", "account", "employee", "staff", "people", "who"],
    &["customer", "client", "buyer"],
    &["invoice", "bill"],
    &["order", "purchase"],
    &["database", "db", "table", "sql"],
    &["server", "machine", "vm", "instance", "host"],
    &["page", "website", "url", "site", "web"],
    &["forecast", "will", "tomorrow", "next", "upcoming", "future", "predict"],
    &["current", "now", "today", "live"],
    &["price", "quote", "cost", "worth"],
    &["stock", "share", "ticker"],
    &["song", "music", "track", "play"],
    &["flight", "plane", "fly", "airport", "trip"],
    &["hotel", "room", "stay", "lodging"],
    &["book", "reserve"],
    &["comment", "reply", "answer", "respond"],
    &["label", "tag"],
    &["deploy", "ship", "release", "rollout"],
    &["alert", "alarm", "notify", "warn", "remind"],
    &["metric", "cpu", "memory", "load", "usage"],
    &["schedule", "plan", "cron", "time"],
    &["secret", "password", "credential", "key"],
    &["meaning", "definition", "dictionary", "explain", "define"],
];

/// The groups before this one are of deeds, the others of things.
const LAST_DEED: usize = 27;

/// By stem: the stems that are in a group with it.
static RELATIVES: LazyLock<HashMap<String, Vec<String>>> = LazyLock::new(|| {
    let mut relatives: HashMap<String, Vec<String>> = HashMap::new();
    for group in GROUPS {
        let stems: Vec<String> = group.iter().map(|word| stem(word)).collect();
        for of in &stems {
            let others = stems.iter().filter(|other| *other != of).cloned();
            relatives.entry(of.clone()).or_default().extend(others);
        }
    }
    relatives
});

/// The terms of a text: words of letters and digits, apart also where small letters become capitals, without endings.
pub(super) fn terms(text: &str) -> Vec<String> {
    words(text).iter().map(|word| stem(word)).collect()
}

/// Words in the plural, as they are: a list is of commits, not of a commit.
pub(super) fn plurals(text: &str) -> Vec<String> {
    words(text).into_iter().filter(|word| word.len() > 3 && word.ends_with('s') && stem(word) != *word).collect()
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut was_small = false;
    for c in text.chars().chain([' ']) {
        if !c.is_alphanumeric() || (was_small && c.is_uppercase()) {
            if !word.is_empty() && IDLE.binary_search(&word.as_str()).is_err() {
                words.push(word.clone());
            }
            word.clear();
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        was_small = c.is_lowercase() || c.is_numeric();
    }
    words
}

/// What a tool does to the things that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// It tells of many.
    List,
    /// It tells of one.
    Get,
    /// It tells something else.
    Tell,
    /// It changes something, or nobody knows.
    Change,
}

/// By the first deed in a tool's name.
pub(super) fn manner(name: &str) -> Manner {
    match terms(name).into_iter().find(|term| is_deed(term)).as_deref() {
        Some("list" | "browse" | "enumerat") => Manner::List,
        Some("get" | "fetch" | "read" | "retriev" | "view" | "show") | None => Manner::Get,
        Some("search" | "find" | "query" | "lookup" | "count") => Manner::Tell,
        Some(_) => Manner::Change,
    }
}

/// The terms of a wish, those of turns of speech replaced by the word for their deed.
pub(super) fn wish(text: &str) -> Vec<String> {
    let mut terms = terms(text);
    for (phrase, deed) in PHRASES {
        let place = terms.iter().position(|term| term == phrase[0]);
        if let Some(at) = place
            && phrase.iter().all(|word| terms.iter().any(|term| term == word))
        {
            terms[at] = (*deed).to_owned();
            terms.retain(|term| !phrase[1..].contains(&term.as_str()));
        }
    }
    terms
}

/// The other terms of the groups that a term is in.
pub(super) fn relatives(term: &str) -> impl Iterator<Item = &'static str> {
    RELATIVES.get(term).into_iter().flatten().map(String::as_str)
}

/// Whether a term stands for a deed at all.
pub(super) fn is_deed(term: &str) -> bool {
    static DEEDS: LazyLock<HashSet<String>> =
        LazyLock::new(|| GROUPS[..LAST_DEED].iter().flat_map(|group| group.iter()).map(|word| stem(word)).collect());
    DEEDS.contains(term)
}

/// Cuts the usual English endings; crude, and the same for both sides.
fn stem(word: &str) -> String {
    let cut = |ending: &str, least: usize| word.strip_suffix(ending).filter(|rest| rest.len() >= least);
    let mut stem = if let Some(rest) = cut("ies", 2) {
        format!("{rest}y")
    } else if let Some(rest) = cut("ing", 3).or_else(|| cut("ed", 3)).or_else(|| cut("er", 4)) {
        rest.to_owned()
    } else if let Some(rest) = cut("es", 3) {
        rest.to_owned()
    } else if let Some(rest) = cut("s", 3).filter(|rest| !rest.ends_with('s')) {
        rest.to_owned()
    } else {
        word.to_owned()
    };
    if stem.len() > 3 && stem.ends_with('e') {
        stem.pop();
    }
    // Running and run, but not calling and cal.
    let bytes = stem.as_bytes();
    if let [.., a, b] = bytes
        && a == b
        && stem.len() > 3
        && stem.len() < word.len()
        && !matches!(b, b'l' | b's' | b'z')
    {
        stem.pop();
    }
    stem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tools_come_apart() {
        assert_eq!(terms("github:listPullRequests"), ["github", "list", "pull", "request"]);
        assert_eq!(terms("delete_issue, deletes issues"), ["delet", "issu", "delet", "issu"]);
        assert_eq!(terms("S3 bücher IDs"), ["s3", "büch", "ids"]);
    }

    #[test]
    fn words_with_a_group_are_none_that_tell_nothing() {
        assert!(IDLE.is_sorted());
        for word in GROUPS.iter().flat_map(|group| group.iter()) {
            assert_eq!(terms(word).len(), 1, "{word}");
        }
        assert!(relatives("delet").any(|word| word == "remov") && relatives("nothing").next().is_none());
    }
}
