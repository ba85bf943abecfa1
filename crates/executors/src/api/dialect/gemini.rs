//! Google's Gemini, streamed as server-sent events. It does not know connections.

use raddle_engine::attempt::Failure;
use serde_json::{Value, json};

use super::{Question, Request, number, text};
use crate::api::heard::{Heard, Stop};

pub(super) fn request(question: &Question) -> Request {
    let mut settings = json!({"maxOutputTokens": question.max_tokens});
    if let Some(schema) = &question.schema {
        settings["responseMimeType"] = "application/json".into();
        settings["responseJsonSchema"] = schema.clone();
    }
    let mut body = json!({
        "contents": [{"role": "user", "parts": [{"text": question.prompt}]}],
        "generationConfig": settings,
    });
    if let Some(system) = &question.system {
        body["systemInstruction"] = json!({"parts": [{"text": system}]});
    }
    Request {
        path: format!("/v1beta/models/{}:streamGenerateContent?alt=sse", in_path(&question.model)),
        headers: Vec::new(),
        key_header: ("x-goog-api-key", ""),
        body,
    }
}

/// A model's name as a part of a path: it comes from a workflow, and must not become another path.
fn in_path(model: &str) -> String {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    model.bytes().map(|b| if safe(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

pub(super) fn hear(piece: &Value, heard: &mut Heard) -> Result<(), Failure> {
    let parts = piece.pointer("/candidates/0/content/parts").and_then(Value::as_array);
    for part in parts.into_iter().flatten() {
        // Thoughts are no part of the answer.
        if part.get("thought") != Some(&true.into())
            && let Some(said) = text(part, "/text")
        {
            heard.say(said)?;
        }
    }
    if let Some(reason) =
        text(piece, "/candidates/0/finishReason").or_else(|| text(piece, "/promptFeedback/blockReason"))
    {
        heard.stop = Some(match reason {
            "STOP" => Stop::Complete,
            "MAX_TOKENS" => Stop::Limit,
            other => Stop::Refused(other.to_owned()),
        });
    }
    if let Some(told) = piece.get("usageMetadata") {
        let cached = number(told, "/cachedContentTokenCount");
        let usage = heard.usage();
        usage.input_tokens = number(told, "/promptTokenCount").saturating_sub(cached);
        usage.cache_read_tokens = cached;
        usage.output_tokens = number(told, "/candidatesTokenCount") + number(told, "/thoughtsTokenCount");
    }
    Ok(())
}
