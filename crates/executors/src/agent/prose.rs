//! For CLIs without options for a system prompt or a schema: both as words before the prompt, and the JSON in words
//! that come back. It does not know any CLI.

use raddle_engine::FailureClass;
use raddle_engine::attempt::{AgentWork, Failure, RawOutput};
use serde_json::Value;

use super::verdict;
use crate::json_text::is_json;
use crate::lines::MAX_LINE_BYTES;

/// Of the answer so far, at most so much is shown.
const SHOWN_BYTES: usize = 4096;

/// An answer that comes in pieces, within a bound.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    text: String,
    too_long: bool,
}

impl Answer {
    pub(crate) fn add(&mut self, piece: &str) {
        self.too_long |= self.text.len() + piece.len() > MAX_LINE_BYTES;
        if !self.too_long {
            self.text.push_str(piece);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Answer::default();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && !self.too_long
    }

    /// Its last words.
    pub(crate) fn end(&self) -> &str {
        &self.text[self.text.floor_char_boundary(self.text.len().saturating_sub(SHOWN_BYTES))..]
    }

    /// The whole of it, as JSON where a schema was given.
    pub(crate) fn output(self, schema: bool) -> Result<RawOutput, Failure> {
        if self.too_long {
            let told = "the agent CLI's output is larger than 64 MB";
            return Err(Failure::new(FailureClass::Output, told));
        }
        if schema { json_of(&self.text) } else { Ok(RawOutput::Text(self.text)) }
    }
}

/// The prompt with what has no option of its own before it; without any, not a byte is added.
pub(crate) fn with_preface(work: &AgentWork, schema: Option<&Value>) -> String {
    let mut text = String::new();
    if let Some(system) = work.system_prompt.as_deref().map(str::trim_end).filter(|s| !s.is_empty()) {
        text.push_str(system);
        text.push_str("\n\n");
    }
    if let Some(schema) = schema {
        text.push_str("Answer with one JSON value that fits this JSON Schema, and nothing else:\n");
        text.push_str(&schema.to_string());
        text.push_str("\n\n");
    }
    text.push_str(&work.prompt);
    text
}

/// The JSON that an answer is, or that stands in its only fenced block. Whether it fits the schema is not judged here.
pub(crate) fn json_of(answer: &str) -> Result<RawOutput, Failure> {
    let whole = answer.trim();
    if is_json(whole) {
        return Ok(RawOutput::Json(whole.to_owned()));
    }
    let mut fences = whole.split("```");
    if let (Some(_), Some(block), Some(_), None) = (fences.next(), fences.next(), fences.next(), fences.next()) {
        let inner = block.strip_prefix("json").unwrap_or(block).trim();
        if is_json(inner) {
            return Ok(RawOutput::Json(inner.to_owned()));
        }
    }
    Err(Failure::new(FailureClass::Schema, format!("the agent's answer is no JSON: {}", verdict::cut(answer))))
}
