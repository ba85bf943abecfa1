//! The worker's reading of what its parent sends. It does not know what follows from it.

use super::frame::Fields;
use super::{FILE_CONTENT, FILE_DENIED, FILE_FAILED, Fixed, REQUEST, TOOL_DENIED, TOOL_FAILED, TOOL_VALUE};

/// What a worker is told, borrowed from the frame's body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Order<'a> {
    Call {
        id: u64,
        timeout_ms: u32,
        fixed: Option<Fixed>,
        name: &'a str,
        code: &'a str,
        deps: &'a [u8],
        context: &'a [u8],
        tools: &'a [u8],
    },
    File(Result<&'a [u8], Refusal<'a>>),
    Tool {
        question: u32,
        answer: ToolResult<'a>,
    },
}

/// How a tool's call was answered; the JSON text keeps its final zero byte.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ToolResult<'a> {
    Value(&'a [u8]),
    Failed(&'a str),
    Denied(&'a str),
}

/// How a read was not answered with a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    Denied { resource: &'a str, rule: &'a str },
    Failed(&'a str),
}

impl<'a> Order<'a> {
    /// Reads the body of a frame; the JSON texts keep their final zero byte.
    pub(crate) fn decode(body: &'a [u8]) -> Option<Self> {
        let (&kind, rest) = body.split_first()?;
        let mut fields = Fields(rest);
        let order = match kind {
            REQUEST => {
                let id = fields.u64()?;
                let timeout_ms = fields.u32()?;
                let is_fixed = fields.u8()? != 0;
                let fixed = Fixed { clock_ms: fields.u64()?, seed: fields.u64()? };
                let (name, code) = (fields.str()?, fields.str()?);
                let (deps, context, tools) = (fields.terminated()?, fields.terminated()?, fields.terminated()?);
                Order::Call { id, timeout_ms, fixed: is_fixed.then_some(fixed), name, code, deps, context, tools }
            }
            TOOL_VALUE | TOOL_FAILED | TOOL_DENIED => {
                let question = fields.u32()?;
                let text = fields.terminated()?;
                let words = || std::str::from_utf8(&text[..text.len() - 1]).ok();
                let answer = match kind {
                    TOOL_VALUE => ToolResult::Value(text),
                    TOOL_FAILED => ToolResult::Failed(words()?),
                    _ => ToolResult::Denied(words()?),
                };
                Order::Tool { question, answer }
            }
            FILE_CONTENT | FILE_DENIED | FILE_FAILED => {
                let first = fields.sized()?;
                let second = fields.str()?;
                Order::File(match kind {
                    FILE_CONTENT => Ok(first),
                    // The parent may have cut a text inside a character.
                    FILE_DENIED => Err(Refusal::Denied { resource: valid_beginning(first), rule: second }),
                    _ => Err(Refusal::Failed(valid_beginning(first))),
                })
            }
            _ => return None,
        };
        fields.0.is_empty().then_some(order)
    }
}

fn valid_beginning(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default(),
    }
}
