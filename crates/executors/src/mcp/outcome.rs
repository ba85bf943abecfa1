//! What an answer of `tools/call` means for the task that asked: an output or a failure. It does not know
//! connections or ids.

use std::borrow::Cow;
use std::collections::BTreeMap;

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput};
use serde::Deserialize;
use serde_json::Value;
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
    #[serde(borrow, default)]
    input_requests: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

/// What `resources/read` brings.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadResult<'a> {
    #[serde(borrow, default)]
    contents: Vec<&'a RawValue>,
    #[serde(borrow, default)]
    result_type: Cow<'a, str>,
    #[serde(borrow, default)]
    input_requests: BTreeMap<Cow<'a, str>, &'a RawValue>,
    #[serde(borrow, default)]
    request_state: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
}

/// What a result is.
pub(crate) enum Answer<'a> {
    /// Structured content; whether it fits the tool's schema is not looked at yet.
    Structured(String),
    /// Content without structure.
    Plain(RawOutput),
    /// Questions, after whose answers the call is to be repeated.
    MoreWanted(Wanted<'a>),
}

/// What a server wants before it goes on (2026-07-28).
pub(crate) struct Wanted<'a> {
    /// Requests by the server's names for them.
    pub(crate) requests: BTreeMap<Cow<'a, str>, &'a RawValue>,
    /// To be given back as it is.
    pub(crate) state: Option<&'a RawValue>,
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

    /// Whether it refuses a version and says that it speaks this one.
    pub(crate) fn wants_version(&self, version: &str) -> bool {
        const UNSUPPORTED_VERSION: i64 = -32022;
        #[derive(Deserialize)]
        struct Supported<'a> {
            #[serde(borrow)]
            supported: Vec<Cow<'a, str>>,
        }
        self.code == UNSUPPORTED_VERSION
            && self.data.is_some_and(|data| {
                serde_json::from_str::<Supported<'_>>(data.get())
                    .is_ok_and(|data| data.supported.iter().any(|known| known == version))
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

/// What a result is, of a tool or of `resources/read`.
pub(crate) fn of<'a>(name: &str, resource: bool, result: &'a RawValue) -> Result<Answer<'a>, Failure> {
    if resource { of_resource(name, result) } else { of_result(name, result) }
}

/// The task's raw output, in the contract's order: structured content, else one text block (JSON when it is JSON),
/// else the list of blocks, in which a text block is its text and any other block is itself. No block at all is null.
fn of_result<'a>(tool: &str, result: &'a RawValue) -> Result<Answer<'a>, Failure> {
    let failed = |words: String| Failure::new(FailureClass::Tool, format!("tool `{tool}` {words}"));
    // serde would accept a list in the place of the object.
    if !result.get().starts_with('{') {
        return Err(failed(format!("answered with no object: {}", cut(result.get(), 200))));
    }
    let answer: CallResult<'a> =
        serde_json::from_str(result.get()).map_err(|e| failed(format!("gave an unreadable answer: {e}")))?;
    if answer.is_error == Some(true) {
        let texts: Vec<String> = answer.content.iter().map(|b| text_of_block(b)).collect();
        let told = cut(&texts.join("\n"), MESSAGE_CHARS);
        return Err(failed(if told.is_empty() { "failed without a word".into() } else { format!("failed: {told}") }));
    }
    if answer.result_type == "input_required" {
        return Ok(Answer::MoreWanted(Wanted { requests: answer.input_requests, state: answer.request_state }));
    }
    if !answer.result_type.is_empty() && answer.result_type != "complete" {
        let kind = cut(&answer.result_type, 60);
        return Err(failed(format!("wants more than a call (`{kind}`), and nobody is there to give it")));
    }
    if let Some(structured) = answer.structured_content {
        return match is_json(structured.get()) {
            true => Ok(Answer::Structured(structured.get().to_owned())),
            false => Err(failed("gave structured content that cannot be held".into())),
        };
    }
    of_blocks(&answer.content, text_of)
        .map(Answer::Plain)
        .ok_or_else(|| failed("gave a block that cannot be held".into()))
}

/// The text of one content (JSON when it is JSON), the content itself when it is no text, the list of several.
fn of_resource<'a>(method: &str, result: &'a RawValue) -> Result<Answer<'a>, Failure> {
    let failed = |words: String| Failure::new(FailureClass::Tool, format!("`{method}` {words}"));
    let answer: ReadResult<'a> =
        serde_json::from_str(result.get()).map_err(|e| failed(format!("gave an unreadable answer: {e}")))?;
    if answer.result_type == "input_required" {
        return Ok(Answer::MoreWanted(Wanted { requests: answer.input_requests, state: answer.request_state }));
    }
    let text = |content: &'a RawValue| serde_json::from_str::<Content<'a>>(content.get()).ok()?.text;
    of_blocks(&answer.contents, text)
        .map(Answer::Plain)
        .ok_or_else(|| failed("gave a content that cannot be held".into()))
}

/// Whether these are the arguments of `resources/read`.
pub(crate) fn resource_arguments(arguments: &Value) -> Result<(), Failure> {
    let fits = arguments.as_object().is_some_and(|a| a.len() == 1 && a.get("uri").is_some_and(Value::is_string));
    if fits {
        return Ok(());
    }
    Err(Failure::new(FailureClass::Input, "`resources/read` takes one argument, `uri`, a text"))
}

/// The output that blocks stand for; `None` when a block cannot be held.
fn of_blocks<'a>(blocks: &[&'a RawValue], text_of: impl Fn(&'a RawValue) -> Option<Cow<'a, str>>) -> Option<RawOutput> {
    match *blocks {
        [] => Some(RawOutput::Json("null".into())),
        [one] => match text_of(one) {
            Some(text) if is_json(&text) => Some(RawOutput::Json(text.into_owned())),
            Some(text) => Some(RawOutput::Text(text.into_owned())),
            None => json(one.get()),
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
            json(&list)
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
