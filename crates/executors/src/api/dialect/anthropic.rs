//! Anthropic's Messages, streamed. It does not know connections.

use raddle_engine::attempt::Failure;
use serde_json::{Value, json};

use super::{Question, Request, is_strict, number, text, with_schema_in_words};
use crate::api::heard::{Heard, Stop};

pub(super) fn request(question: &Question) -> Request {
    let mut body = json!({
        "model": question.model,
        "max_tokens": question.max_tokens,
        "stream": true,
        "messages": [{"role": "user", "content": question.prompt}],
    });
    let mut system = question.system.clone();
    match &question.schema {
        Some(schema) if is_strict(schema) => {
            body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema}});
        }
        Some(_) => system = with_schema_in_words(question),
        None => {}
    }
    if let Some(system) = system {
        body["system"] = system.into();
    }
    Request {
        path: "/v1/messages".to_owned(),
        headers: vec![("anthropic-version", "2023-06-01")],
        key_header: ("x-api-key", ""),
        body,
    }
}

pub(super) fn hear(piece: &Value, heard: &mut Heard) -> Result<(), Failure> {
    match text(piece, "/type").unwrap_or_default() {
        "message_start" => count(piece.pointer("/message/usage"), heard),
        "content_block_delta" => {
            if let Some(said) = text(piece, "/delta/text") {
                heard.say(said)?;
            }
        }
        "message_delta" => {
            count(piece.get("usage"), heard);
            heard.stop = text(piece, "/delta/stop_reason").map(stop).or(heard.stop.take());
        }
        _ => {}
    }
    Ok(())
}

/// The counters are running totals: the last ones count.
fn count(told: Option<&Value>, heard: &mut Heard) {
    let Some(told) = told else { return };
    let usage = heard.usage();
    for (name, counter) in [
        ("/input_tokens", &mut usage.input_tokens),
        ("/output_tokens", &mut usage.output_tokens),
        ("/cache_read_input_tokens", &mut usage.cache_read_tokens),
        ("/cache_creation_input_tokens", &mut usage.cache_write_tokens),
    ] {
        *counter = number(told, name).max(*counter);
    }
}

fn stop(reason: &str) -> Stop {
    match reason {
        "end_turn" | "stop_sequence" => Stop::Complete,
        "max_tokens" | "model_context_window_exceeded" => Stop::Limit,
        other => Stop::Refused(other.to_owned()),
    }
}
