//! What an answer of `tools/call` means for the task that asked: an output or a failure. It does not know
//! connections or ids.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::cut;
use crate::json_text::is_json;

/// The longest message made of a server's words.
const MESSAGE_CHARS: usize = 4000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallResult<'a> {
    #[serde(borrow, default)]
    content: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    structured_content: Option<&'a RawValue>,
    #[serde(default)]
    is_error: Option<bool>,
    #[serde(borrow, default)]
    result_type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Cow<'a, str>,
}

/// An error object of JSON-RPC.
#[derive(Deserialize)]
pub(crate) struct RpcError<'a> {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

impl<'a> RpcError<'a> {
    /// Reads it; what has not the right shape is an error all the same.
    pub(crate) fn read(raw: &'a RawValue) -> RpcError<'a> {
        serde_json::from_str(raw.get()).unwrap_or_else(|_| RpcError {
            code: 0,
            message: Cow::Owned(cut(raw.get(), MESSAGE_CHARS)),
            data: None,
        })
    }

    /// The server's words for a person.
    pub(crate) fn words(&self) -> String {
        let mut words = if self.message.is_empty() { "error".to_owned() } else { cut(&self.message, MESSAGE_CHARS) };
        words.push_str(&format!(" (JSON-RPC error {})", self.code));
        if let Some(data) = self.data {
            words.push_str(": ");
            words.push_str(&cut(data.get(), MESSAGE_CHARS / 4));
        }
        words
    }
}

/// The task's raw output, in the contract's order: structured content, else one text block (JSON when it is JSON),
/// else the list of blocks, in which a text block is its text and any other block is itself. No block at all is null.
pub(crate) fn of_result(tool: &str, result: &RawValue) -> Result<RawOutput, Failure> {
    let failed = |words: String| Failure::new(FailureClass::Tool, format!("tool `{tool}` {words}"));
    // serde would accept a list in the place of the object.
    if !result.get().starts_with('{') {
        return Err(failed(format!("answered with no object: {}", cut(result.get(), 200))));
    }
    let answer: CallResult<'_> =
        serde_json::from_str(result.get()).map_err(|e| failed(format!("gave an unreadable answer: {e}")))?;
    if answer.is_error == Some(true) {
        let texts: Vec<String> = answer.content.iter().map(|b| text_of_block(b)).collect();
        let told = cut(&texts.join("\n"), MESSAGE_CHARS);
        return Err(failed(if told.is_empty() { "failed without a word".into() } else { format!("failed: {told}") }));
    }
    if !answer.result_type.is_empty() && answer.result_type != "complete" {
        let kind = cut(&answer.result_type, 60);
        return Err(failed(format!("wants more than a call (`{kind}`), and nobody is there to give it")));
    }
    if let Some(structured) = answer.structured_content {
        return json(structured.get()).ok_or_else(|| failed("gave structured content that cannot be held".into()));
    }
    match answer.content[..] {
        [] => Ok(RawOutput::Json("null".into())),
        [one] => match text_of(one) {
            Some(text) if is_json(&text) => Ok(RawOutput::Json(text.into_owned())),
            Some(text) => Ok(RawOutput::Text(text.into_owned())),
            None => json(one.get()).ok_or_else(|| failed("gave a block that cannot be held".into())),
        },
        ref blocks => {
            let mut list = String::from("[");
            for block in blocks {
                if list.len() > 1 {
                    list.push(',');
                }
                match text_of(block) {
                    Some(text) => list.push_str(&serde_json::Value::from(text).to_string()),
                    None => list.push_str(block.get()),
                }
            }
            list.push(']');
            json(&list).ok_or_else(|| failed("gave a block that cannot be held".into()))
        }
    }
}

fn json(text: &str) -> Option<RawOutput> {
    is_json(text).then(|| RawOutput::Json(text.to_owned()))
}

fn text_of_block(block: &RawValue) -> String {
    text_of(block).map_or_else(|| cut(block.get(), 200), |text| cut(&text, MESSAGE_CHARS))
}

/// The text of a text block; `None` is any other block.
fn text_of(block: &RawValue) -> Option<Cow<'_, str>> {
    if !block.get().starts_with('{') {
        return None;
    }
    let block: Block<'_> = serde_json::from_str(block.get()).ok()?;
    (block.kind == "text").then_some(block.text)
}
