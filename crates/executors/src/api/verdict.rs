//! From a provider's refusal to the contract's failure classes. It does not know the protocols' successes.

use std::time::Duration;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use serde_json::Value;

/// How much of a provider's own words a message holds.
const WORDS_CHARS: usize = 500;

/// A call that did not come to an answer.
#[derive(Debug)]
pub(super) struct Refusal {
    /// What the attempt is told.
    pub(super) failure: Failure,
    /// Whether another provider may do better: a limit, an outage, not a mistake of ours.
    pub(super) elsewhere: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal { failure, elsewhere: false }
    }
}

/// An HTTP answer that is not 200.
pub(super) fn by_status(provider: &str, status: u16, body: &[u8], resets_in: Option<Duration>) -> Refusal {
    let body = serde_json::from_slice::<Value>(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into());
    let (kind, words) = own_words(&body);
    let (class, elsewhere) = class_of(status, kind);
    let mut told = format!("{provider} answered {status}");
    if !kind.is_empty() {
        told.push_str(&format!(" ({kind})"));
    }
    if !words.is_empty() {
        told.push_str(": ");
        told.extend(words.chars().filter(|c| !c.is_control()).take(WORDS_CHARS));
    }
    if let (FailureClass::Quota, Some(after)) = (class, resets_in.or_else(|| delay_in(&body))) {
        told.push_str(&format!("; the limit ends in {} s", after.as_secs()));
    }
    Refusal { failure: Failure::new(class, told), elsewhere }
}

/// An error that came in the middle of a stream, after the status had said that all is well.
pub(super) fn in_stream(provider: &str, error: &Value) -> Refusal {
    let (kind, _) = own_words(error);
    let code = error.pointer("/error/code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = match kind {
        "rate_limit_error" | "rate_limit_exceeded" | "insufficient_quota" | "RESOURCE_EXHAUSTED" => 429,
        "overloaded_error" => 529,
        "authentication_error" | "permission_error" => 401,
        "invalid_request_error" => 400,
        _ => code.unwrap_or(500),
    };
    by_status(provider, status, error.to_string().as_bytes(), None)
}

fn class_of(status: u16, kind: &str) -> (FailureClass, bool) {
    match status {
        401 | 403 => (FailureClass::Auth, false),
        402 | 429 => (FailureClass::Quota, true),
        _ if kind == "insufficient_quota" => (FailureClass::Quota, true),
        408 | 500..=599 => (FailureClass::Exit, true),
        // Asked the same again, it would say the same again.
        _ => (FailureClass::Input, false),
    }
}

/// The provider's word for the kind of error, and its message.
fn own_words(body: &Value) -> (&str, &str) {
    let error = body.get("error").unwrap_or(body);
    let text = |key: &str| error.get(key).and_then(Value::as_str);
    let kind = text("status").or_else(|| text("type")).or_else(|| text("code")).unwrap_or_default();
    (kind, text("message").or_else(|| error.as_str()).unwrap_or_default())
}

/// The delay that Gemini names in the details of its error.
fn delay_in(body: &Value) -> Option<Duration> {
    let details = body.pointer("/error/details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    seconds(delay.strip_suffix('s')?)
}

/// When the limit ends, by the headers that providers send.
pub(super) fn resets_in(header: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    if let Some(after) = header("retry-after") {
        return seconds(after.trim());
    }
    let spans = ["x-ratelimit-reset-requests", "x-ratelimit-reset-tokens"];
    spans.iter().filter_map(|name| span(&header(name)?)).max()
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse::<f64>().ok().and_then(|n| Duration::try_from_secs_f64(n.ceil()).ok())
}

/// A span like `6m0s`, `1.5s` or `20ms`.
fn span(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| digits + n);
        let factor = match &rest[digits..unit] {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * factor).ok()?)?;
        rest = &rest[unit..];
    }
    Some(total)
}
