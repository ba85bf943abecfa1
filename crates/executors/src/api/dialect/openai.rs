//! OpenAI's Chat Completions, streamed, as many providers and local servers speak them. It does not know connections.

use raddle_engine::attempt::Failure;
use serde_json::{Value, json};

use super::{Question, Request, is_strict, number, text, with_schema_in_words};
use crate::api::heard::{Heard, Stop};

pub(super) fn request(question: &Question) -> Request {
    let mut system = question.system.clone();
    let mut body = json!({
        "model": question.model,
        "max_completion_tokens": question.max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    });
    match &question.schema {
        Some(schema) if is_strict(schema) => {
            let named = json!({"name": "answer", "strict": true, "schema": schema});
            body["response_format"] = json!({"type": "json_schema", "json_schema": named});
        }
        Some(_) => system = with_schema_in_words(question),
        None => {}
    }
    let system = system.map(|system| json!({"role": "system", "content": system}));
    let prompt = json!({"role": "user", "content": question.prompt});
    body["messages"] = system.into_iter().chain([prompt]).collect();
    Request {
        path: "/chat/completions".to_owned(),
        headers: Vec::new(),
        key_header: ("authorization", "Bearer "),
        body,
    }
}

pub(super) fn hear(piece: &Value, heard: &mut Heard) -> Result<(), Failure> {
    if let Some(said) = text(piece, "/choices/0/delta/content") {
        heard.say(said)?;
    }
    if let Some(reason) = text(piece, "/choices/0/finish_reason") {
        heard.stop = Some(match reason {
            "stop" => Stop::Complete,
            "length" => Stop::Limit,
            other => Stop::Refused(other.to_owned()),
        });
    }
    if let Some(told) = piece.get("usage").filter(|usage| usage.is_object()) {
        let cached = number(told, "/prompt_tokens_details/cached_tokens");
        let usage = heard.usage();
        usage.input_tokens = number(told, "/prompt_tokens").saturating_sub(cached);
        usage.cache_read_tokens = cached;
        usage.output_tokens = number(told, "/completion_tokens");
    }
    Ok(())
}
