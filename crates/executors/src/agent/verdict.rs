//! From the ways in which agent CLIs end to the contract's failure classes. It does not know any dialect.

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;

use super::stream::{End, Exit};

/// How much of stderr and of the CLI's own words a message holds.
const WORDS_CHARS: usize = 2000;

/// A longer word is no session's name.
pub(crate) const MAX_SESSION_BYTES: usize = 200;

/// The process ended without the words that prove an answer.
pub(crate) fn without_result(end: &End<'_>) -> Failure {
    let (class, what) = match end.exit {
        Exit::Signal(n) => (FailureClass::Signal, format!("the agent CLI was ended by signal {n}")),
        // What a shell says of a child that was ended by a signal.
        Exit::Code(code @ 129..=159) => {
            (FailureClass::Signal, format!("the agent CLI ended with status {code} (signal {})", code - 128))
        }
        Exit::Code(0) => (FailureClass::Output, "the agent CLI ended well but gave no readable result".to_owned()),
        Exit::Code(code) => {
            let class = by_words(end.stderr_tail).unwrap_or(FailureClass::Exit);
            (class, format!("the agent CLI ended with status {code} and no result"))
        }
    };
    Failure::new(class, with_streams(what, end))
}

/// There is an answer, but the process did not end well: `None` when it did.
pub(crate) fn bad_exit(end: &End<'_>) -> Option<Failure> {
    let (class, what) = match end.exit {
        Exit::Code(0) => return None,
        Exit::Code(code) => (FailureClass::Exit, format!("the agent CLI ended with status {code} after its result")),
        Exit::Signal(n) => (FailureClass::Signal, format!("the agent CLI was ended by signal {n} after its result")),
    };
    let mut told = what;
    append(&mut told, "stderr", end.stderr_tail);
    Some(Failure::new(class, told))
}

/// An API error, by its HTTP status and the CLI's words. An overloaded provider (529) is an ordinary failure: a later
/// try may help, and no limit of the account is reached.
pub(crate) fn by_status(status: Option<u64>, words: &str) -> FailureClass {
    match status {
        Some(401 | 403) => FailureClass::Auth,
        Some(429) => FailureClass::Quota,
        _ => by_words(words).unwrap_or(FailureClass::Exit),
    }
}

/// What the words of a CLI say by themselves. Only whole phrases that the CLIs use: an agent's prose is never asked.
fn by_words(words: &str) -> Option<FailureClass> {
    let words = words.to_ascii_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|p| words.contains(p));
    if says(&["no conversation found with session id", "no rollout found for thread", "session not found"]) {
        // The conversation that was to be continued is gone; nothing else may stand in for it.
        Some(FailureClass::Input)
    } else if says(&[
        "not logged in",
        "please run /login",
        "invalid api key",
        "api key not valid",
        "authentication_error",
        "401 unauthorized",
    ]) {
        Some(FailureClass::Auth)
    } else if says(&["usage limit", "rate limit", "rate_limit", "hit your limit", "429 too many requests", "quota"]) {
        Some(FailureClass::Quota)
    } else {
        None
    }
}

/// A line that may be an event, as text.
pub(crate) fn object(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| text.trim_start().starts_with('{'))
}

/// A text of limited length.
pub(crate) fn cut(text: &str) -> &str {
    match text.char_indices().nth(WORDS_CHARS) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

fn with_streams(mut told: String, end: &End<'_>) -> String {
    append(&mut told, "stdout begins", end.stdout_head);
    append(&mut told, "stderr", end.stderr_tail);
    told
}

fn append(told: &mut String, what: &str, text: &str) {
    let text = text.trim();
    if !text.is_empty() {
        told.push_str(&format!("; {what}: {}", cut(text)));
    }
}
