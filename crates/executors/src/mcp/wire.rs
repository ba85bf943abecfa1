//! Messages of JSON-RPC as they look on the wire. It does not know which of them may come when.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// The stateless protocol generation.
pub(crate) const MODERN: &str = "2026-07-28";
/// Versions of the handshake generation that this client speaks, newest first.
pub(crate) const HANDSHAKE: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// Where a call carries the key by which a server can recognise a repeat.
pub(crate) const IDEMPOTENCY_KEY: &str = "raddle/idempotencyKey";

/// Any message: a request has `id` and `method`, a notification `method`, an answer `id`.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

impl Message<'_> {
    /// The id as this client writes ids; any other id was never asked for.
    pub(crate) fn own_id(&self) -> Option<u64> {
        self.id?.get().parse().ok()
    }
}

/// What a line holds.
pub(crate) enum Line<'a> {
    /// One message.
    One(Message<'a>),
    /// A batch (2025-03-26): each item is read by itself, for one bad item must not hide the others.
    Batch(Vec<&'a RawValue>),
    /// Nothing.
    Blank,
    /// Not JSON-RPC.
    Noise,
}

/// Reads a line; it needs to be UTF-8.
pub(crate) fn read(line: &[u8]) -> Line<'_> {
    let Ok(text) = std::str::from_utf8(line) else { return Line::Noise };
    let text = text.trim_ascii();
    match text.as_bytes().first() {
        None => Line::Blank,
        Some(b'{') => message(text).map_or(Line::Noise, Line::One),
        Some(b'[') => serde_json::from_str(text).map_or(Line::Noise, Line::Batch),
        Some(_) => Line::Noise,
    }
}

/// Reads one message. A list, which serde would take for the object, is none.
pub(crate) fn message(text: &str) -> Option<Message<'_>> {
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// `notifications/progress`.
#[derive(Deserialize)]
pub(crate) struct ProgressParams<'a> {
    #[serde(rename = "progressToken")]
    pub(crate) token: u64,
    #[serde(default)]
    pub(crate) progress: Option<f64>,
    #[serde(default)]
    pub(crate) total: Option<f64>,
    #[serde(borrow, default)]
    pub(crate) message: Cow<'a, str>,
}

/// `notifications/message`.
#[derive(Deserialize)]
pub(crate) struct LogParams<'a> {
    #[serde(borrow, default)]
    pub(crate) level: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

/// The answer to `initialize`.
#[derive(Deserialize)]
pub(crate) struct InitializeResult<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    pub(crate) version: Cow<'a, str>,
}

/// The answer to `server/discover`.
#[derive(Deserialize)]
pub(crate) struct DiscoverResult<'a> {
    #[serde(borrow, rename = "supportedVersions")]
    pub(crate) versions: Vec<Cow<'a, str>>,
}

/// Begins a request at the end of `out`; the caller writes the members of `params` and then calls [`end_request`].
pub(crate) fn begin_request(out: &mut Vec<u8>, id: u64, method: &str) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    number(out, id);
    out.extend_from_slice(b",\"method\":\"");
    out.extend_from_slice(method.as_bytes());
    out.extend_from_slice(b"\",\"params\":{");
}

/// See [`begin_request`].
pub(crate) fn end_request(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}}\n");
}

/// A string in JSON's notation.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a vector takes every string");
}

/// A tree in JSON's notation, on one line.
pub(crate) fn value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a vector takes every tree, whose keys are strings");
}

/// A number.
pub(crate) fn number(out: &mut Vec<u8>, n: u64) {
    serde_json::to_writer(out, &n).expect("a vector takes every number");
}

/// A value for a header: as it is, or in the protocol's own base64 when a header cannot carry it.
pub(crate) fn header_value(text: &str) -> String {
    let plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim_ascii() == text;
    if plain && !text.starts_with("=?base64?") {
        return text.to_owned();
    }
    format!("=?base64?{}?=", base64(text.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// The beginning of a text, control characters made visible as spaces.
pub(crate) fn cut(text: &str, max_chars: usize) -> String {
    let mut short: String =
        text.chars().take(max_chars).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    if short.len() < text.len() && text.chars().nth(max_chars).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_carries_every_text() {
        assert_eq!(header_value("us west 1"), "us west 1");
        assert_eq!(header_value(""), "");
        assert_eq!(header_value(" a"), "=?base64?IGE=?=");
        assert_eq!(header_value("Hello, 世界"), "=?base64?SGVsbG8sIOS4lueVjA==?=");
        assert_eq!(header_value("a\r\nb"), "=?base64?YQ0KYg==?=");
        assert_eq!(header_value("=?base64?x?="), "=?base64?PT9iYXNlNjQ/eD89?=");
    }
}
