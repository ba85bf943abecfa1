//! What an agent CLI says, from the first byte to the verdict. It does not know the single dialects.

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput, Usage};

use super::config::OutputBy;
use super::{claude, codex, gemini, opencode, plain};
use crate::lines::{Lines, MAX_LINE_BYTES};

/// How many bytes of stdout a failure shows.
const HEAD_BYTES: usize = 2000;
/// The longest line for a display.
const NOTE_CHARS: usize = 200;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Something that the CLI refused to its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The tool.
    pub action: String,
    /// Path, command, address, as far as told.
    pub resource: String,
    /// The rule, in the CLI's words.
    pub rule: String,
}

/// The end of an attempt as far as the CLI's words tell.
#[derive(Debug)]
pub struct Finished {
    /// The answer or the failure.
    pub result: Result<RawOutput, Failure>,
    /// What was used; `None` when the CLI does not say.
    pub usage: Option<Usage>,
    /// The CLI's session.
    pub session: Option<String>,
    /// What was refused on the way; the attempt may have succeeded all the same.
    pub denials: Vec<Denial>,
}

/// What a reader of one dialect needs to know about the end.
pub(crate) struct End<'a> {
    pub(crate) exit: Exit,
    /// The last of stderr.
    pub(crate) stderr_tail: &'a str,
    /// The first of stdout.
    pub(crate) stdout_head: &'a str,
    /// Whether the answer must be structured.
    pub(crate) schema: bool,
    /// What had been used in the conversation before it was continued.
    pub(crate) before: Option<Usage>,
}

#[derive(Debug)]
enum Reader {
    Claude(Box<claude::Reader>),
    Codex(Box<codex::Reader>),
    Gemini(Box<gemini::Reader>),
    Opencode(Box<opencode::Reader>),
    Plain(plain::Reader),
}

/// Reads the stdout of one process.
#[derive(Debug)]
pub struct AgentStream {
    reader: Reader,
    lines: Lines,
    head: Vec<u8>,
    schema: bool,
    before: Option<Usage>,
    too_long: bool,
}

impl AgentStream {
    pub(crate) fn new(output: OutputBy, schema: bool, before: Option<Usage>) -> Self {
        let reader = match output {
            OutputBy::Text => Reader::Plain(plain::Reader::text()),
            OutputBy::Json => Reader::Plain(plain::Reader::json()),
            OutputBy::ClaudeStream => Reader::Claude(Box::default()),
            OutputBy::CodexStream => Reader::Codex(Box::default()),
            OutputBy::GeminiStream => Reader::Gemini(Box::default()),
            OutputBy::OpencodeStream => Reader::Opencode(Box::default()),
        };
        AgentStream { reader, lines: Lines::new(MAX_LINE_BYTES), head: Vec::new(), schema, before, too_long: false }
    }

    /// For a turn of a process that goes on after it.
    pub(crate) fn of_claude(schema: bool) -> Self {
        AgentStream::new(OutputBy::ClaudeStream, schema, None)
    }

    /// Bytes of stdout, cut anywhere. Returns what is worth showing now: the last line of the agent's words or its
    /// last tool, free of control characters and at most 200 characters long.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<String> {
        let room = HEAD_BYTES - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if self.too_long {
            return None;
        }
        let mut note = None;
        let fed = match &mut self.reader {
            Reader::Plain(reader) => reader.feed(bytes, &mut note),
            Reader::Claude(reader) => self.lines.feed(bytes, |line| reader.line(line, &mut note)),
            Reader::Codex(reader) => self.lines.feed(bytes, |line| reader.line(line, &mut note)),
            Reader::Gemini(reader) => self.lines.feed(bytes, |line| reader.line(line, &mut note)),
            Reader::Opencode(reader) => self.lines.feed(bytes, |line| reader.line(line, &mut note)),
        };
        self.too_long = fed.is_err();
        note.map(|text| for_display(&text)).filter(|text| !text.is_empty())
    }

    /// The process is gone and stdout is read to its end.
    pub fn finish(mut self, exit: Exit, stderr_tail: &str) -> Finished {
        let head = String::from_utf8_lossy(&self.head);
        let end = End { exit, stderr_tail, stdout_head: &head, schema: self.schema, before: self.before };
        if self.too_long {
            let failure = Failure::new(FailureClass::Output, "the agent CLI's output is larger than 64 MB");
            return Finished { result: Err(failure), usage: None, session: None, denials: Vec::new() };
        }
        // A last line without its newline is a line too.
        let rest = self.lines.rest();
        match self.reader {
            Reader::Plain(reader) => reader.finish(&end),
            Reader::Claude(mut reader) => {
                reader.line(&rest, &mut None);
                reader.finish(&end)
            }
            Reader::Codex(mut reader) => {
                reader.line(&rest, &mut None);
                reader.finish(&end)
            }
            Reader::Gemini(mut reader) => {
                reader.line(&rest, &mut None);
                reader.finish(&end)
            }
            Reader::Opencode(mut reader) => {
                reader.line(&rest, &mut None);
                reader.finish(&end)
            }
        }
    }
}

/// The last line with something in it.
fn for_display(text: &str) -> String {
    let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
    line.trim().chars().filter(|c| !c.is_control()).take(NOTE_CHARS).collect()
}
