//! Ollama's own chat interface, one JSON object a line. It does not know connections.

use raddle_engine::attempt::Failure;
use serde_json::{Value, json};

use super::{Question, Request, number, text};
use crate::api::heard::{Heard, Stop};

pub(super) fn request(question: &Question) -> Request {
    let system = question.system.as_ref().map(|system| json!({"role": "system", "content": system}));
    let prompt = json!({"role": "user", "content": question.prompt});
    let mut body = json!({
        "model": question.model,
        "stream": true,
        "options": {"num_predict": question.max_tokens},
        "messages": system.into_iter().chain([prompt]).collect::<Value>(),
    });
    if let Some(schema) = &question.schema {
        body["format"] = schema.clone();
    }
    Request { path: "/api/chat".to_owned(), headers: Vec::new(), key_header: ("authorization", "Bearer "), body }
}

pub(super) fn hear(piece: &Value, heard: &mut Heard) -> Result<(), Failure> {
    if let Some(said) = text(piece, "/message/content") {
        heard.say(said)?;
    }
    if piece.get("done") == Some(&true.into()) {
        heard.stop = Some(match text(piece, "/done_reason").unwrap_or("stop") {
            "stop" => Stop::Complete,
            "length" => Stop::Limit,
            other => Stop::Refused(other.to_owned()),
        });
        let usage = heard.usage();
        usage.input_tokens = number(piece, "/prompt_eval_count");
        usage.output_tokens = number(piece, "/eval_count");
    }
    Ok(())
}
