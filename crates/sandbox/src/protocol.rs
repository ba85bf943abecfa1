//! The frames between a parent and its worker, as bytes in and values out. It does not know pipes, processes or
//! JavaScript, and it believes neither side: every length is checked before anything is held.
//!
//! A frame is a little-endian `u32` (how many bytes follow), one byte of kind, and fields. Texts are prefixed with
//! their `u32` length. The JSON texts for a worker end with a zero byte that is not part of them, because the
//! interpreter parses them where they lie.

use std::fmt;
use std::time::Duration;

use serde_json::value::RawValue;

mod frame;
mod order;

use frame::{Fields, Frame};
pub(crate) use order::{Order, Refusal, ToolResult};

/// Longest frame to a worker.
pub const MAX_REQUEST: usize = 64 << 20;
/// Largest file that can be handed to a worker.
pub const MAX_FILE: usize = MAX_REQUEST - (64 << 10);
/// Longest result, as JSON text.
pub const MAX_RESULT: usize = 32 << 20;
/// Most of what `console` writes that is kept.
pub const MAX_LOG: usize = 64 << 10;
/// Longest message of a failure.
pub const MAX_MESSAGE: usize = 16 << 10;
/// Longest path, address or command in a question or a notice.
pub const MAX_RESOURCE: usize = 4096;
/// Longest arguments of a tool, as JSON text.
pub const MAX_ARGUMENTS: usize = 8 << 20;
/// How many tools one call may call; a parent should count too.
pub const MAX_TOOL_CALLS: u32 = 10_000;
/// How often one call may be refused something before it is ended; a parent should count too.
pub const MAX_DENIALS: u32 = 100;

const MAX_REPLY: usize = MAX_RESULT + MAX_LOG + MAX_MESSAGE + 64;

/// One call: a function body with what it sees.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Chosen by the parent, carried back by every reply.
    pub id: u64,
    /// Name for messages: the task's id or the file.
    pub name: &'a str,
    /// TypeScript or JavaScript function body.
    pub code: &'a str,
    /// JSON text of `deps`.
    pub deps: &'a str,
    /// JSON text of the `context` object; its keys are names in scope too.
    pub context: &'a str,
    /// JSON text of what `tools` is made of, `{"servers": [name], "ranked": [{name, description, parameters}]}`; empty
    /// when there shall be no `tools`.
    pub tools: &'a str,
    /// How long the code may run, from the arrival of the request.
    pub timeout: Duration,
    /// Clock and chance as inputs; `None` leaves both to the machine.
    pub fixed: Option<Fixed>,
}

/// What makes a call the same whenever it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixed {
    /// The time that the code sees for as long as it runs, in milliseconds since 1970.
    pub clock_ms: u64,
    /// Where its random numbers begin.
    pub seed: u64,
}

impl Request<'_> {
    /// The frame.
    pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
        let texts = [self.name, self.code, self.deps, self.context, self.tools];
        let mut frame = Frame::new(REQUEST, texts.iter().map(|text| text.len()).sum::<usize>() + 80)?;
        frame.bytes(&self.id.to_le_bytes());
        let millis = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
        frame.bytes(&millis.to_le_bytes());
        frame.bytes(&[self.fixed.is_some().into()]);
        let Fixed { clock_ms, seed } = self.fixed.unwrap_or(Fixed { clock_ms: 0, seed: 0 });
        frame.bytes(&clock_ms.to_le_bytes());
        frame.bytes(&seed.to_le_bytes());
        frame.text(self.name.as_bytes());
        frame.text(self.code.as_bytes());
        for json in [self.deps, self.context, self.tools] {
            frame.text(json.as_bytes());
            frame.bytes(&[0]);
        }
        Ok(frame.finish())
    }
}

/// The parent's answer to [`Reply::Read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAnswer {
    /// The file's bytes.
    Content(Vec<u8>),
    /// Not permitted; the code sees a `PermissionDenied` error.
    Denied(Denial),
    /// Permitted, but it cannot be read (it does not exist, it is a folder, it is too large).
    Failed(String),
}

impl FileAnswer {
    /// The frame. A file beyond [`MAX_FILE`] becomes a failure.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, parts): (u8, [&[u8]; 2]) = match self {
            Self::Content(bytes) if bytes.len() > MAX_FILE => (FILE_FAILED, [b"the file is too large", b""]),
            Self::Content(bytes) => (FILE_CONTENT, [bytes, b""]),
            Self::Denied(denial) => (FILE_DENIED, [denial.resource.as_bytes(), denial.rule.as_bytes()]),
            Self::Failed(message) => (FILE_FAILED, [message.as_bytes(), b""]),
        };
        let parts = if kind == FILE_CONTENT { parts } else { parts.map(|p| &p[..p.len().min(MAX_MESSAGE)]) };
        let mut frame = Frame::new(kind, parts[0].len() + parts[1].len() + 16).expect("every part is bounded");
        frame.text(parts[0]);
        frame.text(parts[1]);
        frame.finish()
    }
}

/// The parent's answer to [`Reply::Tool`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolAnswer {
    /// What the tool gave, as JSON text.
    Value(String),
    /// It failed, in words; the code sees a `ToolError`.
    Failed(String),
    /// Not permitted, in words; the code sees a `PermissionDenied` error.
    Denied(String),
}

impl ToolAnswer {
    /// The frame for that question of a call.
    pub fn encode(&self, question: u32) -> Vec<u8> {
        let (kind, text) = match self {
            Self::Value(json) if json.len() > MAX_FILE => (TOOL_FAILED, "the tool gave more than a sandbox takes"),
            Self::Value(json) => (TOOL_VALUE, json.as_str()),
            Self::Failed(message) => (TOOL_FAILED, cut(message, MAX_MESSAGE)),
            Self::Denied(message) => (TOOL_DENIED, cut(message, MAX_MESSAGE)),
        };
        let mut frame = Frame::new(kind, text.len() + 16).expect("the text is bounded");
        frame.bytes(&question.to_le_bytes());
        frame.text(text.as_bytes());
        frame.bytes(&[0]);
        frame.finish()
    }
}

/// What was refused and by which rule; the material of an audit event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// `read`, `write`, `connect`.
    pub action: &'static str,
    /// Path or address as the code gave it.
    pub resource: String,
    /// The rule that refused, in words.
    pub rule: String,
}

/// What a worker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The call returned a value.
    Done {
        /// The call.
        id: u64,
        /// The value as JSON text; checked to be JSON.
        json: String,
        /// What `console` wrote.
        log: String,
        /// See [`Reply::is_last`].
        last: bool,
    },
    /// The call failed.
    Failed {
        /// The call.
        id: u64,
        /// Why.
        kind: FailureKind,
        /// In words, with the place in the user's code where there is one.
        message: String,
        /// What `console` wrote.
        log: String,
        /// See [`Reply::is_last`].
        last: bool,
    },
    /// The code wants a file and waits for a [`FileAnswer`].
    Read {
        /// The call.
        id: u64,
        /// The path as the code gave it.
        path: String,
    },
    /// The code calls a tool and goes on; a [`ToolAnswer`] is owed to it.
    Tool {
        /// The call.
        id: u64,
        /// Which question of this call, from 1.
        question: u32,
        /// `server:tool` as the code gave it.
        name: String,
        /// A JSON object; checked to be one.
        arguments: String,
    },
    /// The code tried something that no rule can allow; nothing waits for an answer.
    Denied {
        /// The call.
        id: u64,
        /// What it tried.
        denial: Denial,
    },
    /// The worker does not start, because it cannot be sealed; it ends by itself.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Why a call failed. Names are the contract's failure classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The code threw, or is not valid.
    Logic,
    /// Out of time.
    Timeout,
    /// Out of memory.
    Oom,
    /// The returned value is no JSON, or too long.
    Output,
    /// It gave up on something that was refused.
    Permission,
    /// It gave up on a tool that failed.
    Tool,
}

impl FailureKind {
    /// The contract's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logic => "logic",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::Output => "output",
            Self::Permission => "permission",
            Self::Tool => "tool",
        }
    }

    const ALL: [Self; 6] = [Self::Logic, Self::Timeout, Self::Oom, Self::Output, Self::Permission, Self::Tool];
}

const REQUEST: u8 = 1;
const FILE_CONTENT: u8 = 2;
const FILE_DENIED: u8 = 3;
const FILE_FAILED: u8 = 4;
const TOOL_VALUE: u8 = 5;
const TOOL_FAILED: u8 = 6;
const TOOL_DENIED: u8 = 7;
const DONE: u8 = 16;
const FAILED: u8 = 17;
const READ: u8 = 18;
const DENIED: u8 = 19;
const REFUSED: u8 = 20;
const TOOL: u8 = 21;

/// The request does not fit a frame; its code or inputs are too large for the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge {
    /// How many bytes it would have.
    pub bytes: usize,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code and inputs of {} bytes exceed the sandbox's limit of {MAX_REQUEST}", self.bytes)
    }
}

impl std::error::Error for TooLarge {}

/// The other side does not speak the protocol; a worker that does this is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// A frame longer than any frame can be.
    Oversized,
    /// An unknown kind, a length beyond the frame, bytes that are no text, a result that is no JSON.
    Malformed,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oversized => "the worker sent an oversized frame",
            Self::Malformed => "the worker sent a malformed frame",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// Takes the bytes of a worker's stdout as they come and gives its replies.
#[derive(Debug, Default)]
pub struct Decoder {
    held: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Takes bytes; at most one frame and what came with it is held, if [`Decoder::next_reply`] is called until it
    /// gives `None`.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.read == self.held.len() {
            self.held.clear();
            self.read = 0;
            // One huge result must not stay allocated for the life of a pooled worker.
            if self.held.capacity() > 1 << 20 {
                self.held.shrink_to(64 << 10);
            }
        }
        self.held.extend_from_slice(bytes);
    }

    /// The next whole reply, if there is one.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ProtocolError> {
        let waiting = &self.held[self.read..];
        let Some((head, rest)) = waiting.split_first_chunk::<4>() else { return Ok(None) };
        let len = u32::from_le_bytes(*head) as usize;
        if len > MAX_REPLY {
            return Err(ProtocolError::Oversized);
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let reply = reply(body).ok_or(ProtocolError::Malformed)?;
        self.read += 4 + len;
        Ok(Some(reply))
    }

    /// Whether part of a frame is held; at the end of the stream this means that the worker died while writing.
    pub fn is_inside_frame(&self) -> bool {
        self.read < self.held.len()
    }
}

fn reply(body: &[u8]) -> Option<Reply> {
    let (&kind, rest) = body.split_first()?;
    let mut fields = Fields(rest);
    let reply = match kind {
        DONE => {
            let (id, last) = (fields.u64()?, fields.u8()? != 0);
            let (json, log) = (fields.string(MAX_RESULT)?, fields.string(MAX_LOG)?);
            serde_json::from_str::<&RawValue>(&json).ok()?;
            Reply::Done { id, json, log, last }
        }
        FAILED => Reply::Failed {
            id: fields.u64()?,
            last: fields.u8()? != 0,
            kind: *FailureKind::ALL.get(usize::from(fields.u8()?))?,
            message: fields.string(MAX_MESSAGE)?,
            log: fields.string(MAX_LOG)?,
        },
        READ => Reply::Read { id: fields.u64()?, path: fields.string(MAX_RESOURCE)? },
        DENIED => {
            let id = fields.u64()?;
            let action = *Denial::ACTIONS.get(usize::from(fields.u8()?))?;
            let denial = Denial { action, resource: fields.string(MAX_RESOURCE)?, rule: fields.string(MAX_MESSAGE)? };
            Reply::Denied { id, denial }
        }
        TOOL => {
            let (id, question) = (fields.u64()?, fields.u32()?);
            let (name, arguments) = (fields.string(MAX_RESOURCE)?, fields.string(MAX_ARGUMENTS)?);
            serde_json::from_str::<&RawValue>(&arguments).ok().filter(|json| json.get().starts_with('{'))?;
            Reply::Tool { id, question, name, arguments }
        }
        REFUSED => Reply::Refused { reason: fields.string(MAX_MESSAGE)? },
        _ => return None,
    };
    fields.0.is_empty().then_some(reply)
}

impl Denial {
    const ACTIONS: [&'static str; 3] = ["read", "write", "connect"];
}

impl Reply {
    /// Whether the worker ends after this reply, so that the next call needs another one. A worker is not used again
    /// once its interpreter ran into a limit, even if the code went on: interpreters are tested least there.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Done { last, .. } | Self::Failed { last, .. } => *last,
            Self::Refused { .. } => true,
            Self::Read { .. } | Self::Tool { .. } | Self::Denied { .. } => false,
        }
    }

    /// The worker's side: the reply as a frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        fn frame(kind: u8, room: usize) -> Frame {
            Frame::new(kind, room).expect("every field of a reply is bounded")
        }
        match self {
            Self::Done { id, json, log, last } => {
                let mut frame = frame(DONE, json.len() + log.len() + 32);
                frame.bytes(&id.to_le_bytes());
                frame.bytes(&[(*last).into()]);
                frame.text(json.as_bytes());
                frame.text(log.as_bytes());
                frame.finish()
            }
            Self::Failed { id, kind, message, log, last } => {
                let mut frame = frame(FAILED, message.len() + log.len() + 32);
                frame.bytes(&id.to_le_bytes());
                frame.bytes(&[(*last).into()]);
                frame.bytes(&[*kind as u8]);
                frame.text(cut(message, MAX_MESSAGE).as_bytes());
                frame.text(log.as_bytes());
                frame.finish()
            }
            Self::Read { id, path } => {
                let mut frame = frame(READ, path.len() + 32);
                frame.bytes(&id.to_le_bytes());
                frame.text(path.as_bytes());
                frame.finish()
            }
            Self::Tool { id, question, name, arguments } => {
                let mut frame = frame(TOOL, name.len() + arguments.len() + 32);
                frame.bytes(&id.to_le_bytes());
                frame.bytes(&question.to_le_bytes());
                frame.text(name.as_bytes());
                frame.text(arguments.as_bytes());
                frame.finish()
            }
            Self::Denied { id, denial } => {
                let mut frame = frame(DENIED, denial.resource.len() + denial.rule.len() + 32);
                let action = Denial::ACTIONS.iter().position(|a| *a == denial.action).unwrap_or_default();
                frame.bytes(&id.to_le_bytes());
                frame.bytes(&[action as u8]);
                frame.text(cut(&denial.resource, MAX_RESOURCE).as_bytes());
                frame.text(cut(&denial.rule, MAX_MESSAGE).as_bytes());
                frame.finish()
            }
            Self::Refused { reason } => {
                let mut frame = frame(REFUSED, reason.len() + 32);
                frame.text(cut(reason, MAX_MESSAGE).as_bytes());
                frame.finish()
            }
        }
    }
}

/// The longest beginning of `text` with at most `max` bytes.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Reply {
        Reply::Done { id: 7, json: "{\"a\":[1]}".into(), log: "hi\n".into(), last: false }
    }

    #[test]
    fn replies_arrive_whole_however_the_bytes_are_cut() {
        let denial = Denial { action: "connect", resource: "http://x".into(), rule: "no network".into() };
        let all = [
            done(),
            Reply::Failed { id: 8, kind: FailureKind::Oom, message: "m".into(), log: String::new(), last: true },
            Reply::Read { id: 9, path: "/etc/passwd".into() },
            Reply::Denied { id: 10, denial },
            Reply::Tool { id: 11, question: 2, name: "s:t".into(), arguments: "{\"a\":1}".into() },
            Reply::Refused { reason: "no seccomp".into() },
        ];
        let bytes: Vec<u8> = all.iter().flat_map(Reply::encode).collect();
        for step in [1, 3, 7, bytes.len()] {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for piece in bytes.chunks(step) {
                decoder.feed(piece);
                while let Some(reply) = decoder.next_reply().unwrap() {
                    seen.push(reply);
                }
            }
            assert_eq!(seen, all);
            assert!(!decoder.is_inside_frame());
        }
    }

    #[test]
    fn a_worker_that_lies_is_found_out() {
        let mut decoder = Decoder::default();
        decoder.feed(&u32::MAX.to_le_bytes());
        assert_eq!(decoder.next_reply(), Err(ProtocolError::Oversized));

        let no_json = Reply::Done { id: 1, json: "{\"a\":".into(), log: String::new(), last: false };
        let mut overlong = done().encode();
        overlong[14] = 0xff;
        let mut unknown = done().encode();
        unknown[4] = 99;
        let no_object = Reply::Tool { id: 1, question: 1, name: "s:t".into(), arguments: "[]".into() };
        for bytes in [no_json.encode(), no_object.encode(), overlong, unknown] {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            assert_eq!(decoder.next_reply(), Err(ProtocolError::Malformed));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_either_side_panic(kind in 0..24_u8, body: Vec<u8>) {
            let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
            frame.push(kind);
            frame.extend_from_slice(&body);
            let _ = Order::decode(&frame[4..]);
            let mut decoder = Decoder::default();
            decoder.feed(&frame);
            let _ = decoder.next_reply();
        }
    }

    #[test]
    fn requests_keep_every_byte() {
        let request = Request {
            id: 3,
            name: "job.ts",
            code: "return 'ü'",
            deps: "{}",
            context: "{\"k\":1}",
            tools: "",
            timeout: Duration::from_millis(200),
            fixed: Some(Fixed { clock_ms: 5, seed: u64::MAX }),
        };
        let frame = request.encode().unwrap();
        let wanted = Order::Call {
            id: 3,
            timeout_ms: 200,
            fixed: Some(Fixed { clock_ms: 5, seed: u64::MAX }),
            name: "job.ts",
            code: "return 'ü'",
            deps: b"{}\0",
            context: b"{\"k\":1}\0",
            tools: b"\0",
        };
        assert_eq!(Order::decode(&frame[4..]), Some(wanted));
        let huge = "x".repeat(MAX_REQUEST);
        assert!(Request { deps: &huge, ..request }.encode().is_err());
    }

    #[test]
    fn answers_keep_every_byte() {
        let content = FileAnswer::Content(vec![0, 255, 10]).encode();
        assert_eq!(Order::decode(&content[4..]), Some(Order::File(Ok(&[0, 255, 10]))));
        let denial = Denial { action: "read", resource: "/x".into(), rule: "no".into() };
        let denied = FileAnswer::Denied(denial).encode();
        let wanted = Order::File(Err(Refusal::Denied { resource: "/x", rule: "no" }));
        assert_eq!(Order::decode(&denied[4..]), Some(wanted));
        let value = ToolAnswer::Value("{\"a\":1}".into()).encode(3);
        let wanted = Order::Tool { question: 3, answer: ToolResult::Value(b"{\"a\":1}\0") };
        assert_eq!(Order::decode(&value[4..]), Some(wanted));
        let failed = ToolAnswer::Failed("no".into()).encode(4);
        let wanted = Order::Tool { question: 4, answer: ToolResult::Failed("no") };
        assert_eq!(Order::decode(&failed[4..]), Some(wanted));
    }
}
