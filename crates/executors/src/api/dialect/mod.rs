//! The protocols of providers: how a question is put and what the pieces of the answer mean. It does not know HTTP
//! connections.

mod anthropic;
mod gemini;
mod ollama;
mod openai;

use raddle_engine::attempt::Failure;
use serde_json::Value;

use super::heard::Heard;
use super::providers::Kind;

/// A question, the same for all providers.
#[derive(Debug, Clone)]
pub(super) struct Question {
    /// The model's name at the provider.
    pub(super) model: String,
    /// The system prompt.
    pub(super) system: Option<String>,
    /// The prompt.
    pub(super) prompt: String,
    /// JSON Schema of the answer.
    pub(super) schema: Option<Value>,
    /// The longest answer.
    pub(super) max_tokens: u32,
}

/// An HTTP request but for its host.
#[derive(Debug)]
pub(super) struct Request {
    /// After the base URL.
    pub(super) path: String,
    /// Besides the key's and the content type.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    /// The header of the key, and what stands before it.
    pub(super) key_header: (&'static str, &'static str),
    /// JSON.
    pub(super) body: Value,
}

impl Kind {
    /// The question in this provider's words.
    pub(super) fn request(self, question: &Question) -> Request {
        match self {
            Kind::Anthropic => anthropic::request(question),
            Kind::OpenAi => openai::request(question),
            Kind::Gemini => gemini::request(question),
            Kind::Ollama => ollama::request(question),
        }
    }

    /// The JSON of one line of the stream, if it has any.
    pub(super) fn payload(self, line: &[u8]) -> Option<&[u8]> {
        let data = match self {
            Kind::Ollama => line,
            // Server-sent events: names of events are in the data as well.
            _ => line.strip_prefix(b"data:")?,
        };
        let data = data.trim_ascii();
        (!data.is_empty() && data != b"[DONE]").then_some(data)
    }

    /// Takes one piece of the answer. `Err` holds what ends the call.
    pub(super) fn hear(self, piece: &Value, heard: &mut Heard) -> Result<(), Failure> {
        match self {
            Kind::Anthropic => anthropic::hear(piece, heard),
            Kind::OpenAi => openai::hear(piece, heard),
            Kind::Gemini => gemini::hear(piece, heard),
            Kind::Ollama => ollama::hear(piece, heard),
        }
    }
}

/// The system prompt with the schema in words, for providers that cannot be held to this schema.
fn with_schema_in_words(question: &Question) -> Option<String> {
    let schema = question.schema.as_ref()?;
    let asked = format!("Answer with nothing but one JSON value that fits this JSON Schema:\n{schema}");
    Some(match &question.system {
        Some(system) => format!("{system}\n\n{asked}"),
        None => asked,
    })
}

/// Whether every object of a schema is closed and wants all of its properties, as strict modes demand. Schemas with
/// references or combinations are left to our own check.
fn is_strict(schema: &Value) -> bool {
    schema.get("type") == Some(&"object".into()) && is_strict_part(schema)
}

fn is_strict_part(schema: &Value) -> bool {
    const PLAIN: &[&str] =
        &["type", "properties", "required", "additionalProperties", "items", "enum", "description", "title"];
    let Some(map) = schema.as_object() else { return false };
    if map.keys().any(|key| !PLAIN.contains(&key.as_str())) {
        return false;
    }
    let properties = match map.get("properties").and_then(Value::as_object) {
        Some(properties) => properties,
        None => return map.get("type") != Some(&"object".into()) && map.get("items").is_none_or(is_strict_part),
    };
    let required: Vec<&str> =
        map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    map.get("additionalProperties") == Some(&false.into())
        && properties.keys().all(|name| required.contains(&name.as_str()))
        && properties.values().all(is_strict_part)
}

fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}
