//! CLIs whose whole stdout is the answer, as text or as one JSON value. It does not know which CLI it is.

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput};

use super::stream::{End, Exit, Finished};
use super::verdict;
use crate::json_text::is_json;
use crate::lines::{LineTooLong, MAX_LINE_BYTES};

/// Everything that was said so far.
#[derive(Debug)]
pub(crate) struct Reader {
    said: Vec<u8>,
    json: bool,
}

impl Reader {
    pub(crate) fn text() -> Self {
        Reader { said: Vec::new(), json: false }
    }

    pub(crate) fn json() -> Self {
        Reader { said: Vec::new(), json: true }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], note: &mut Option<String>) -> Result<(), LineTooLong> {
        if self.said.len() + bytes.len() > MAX_LINE_BYTES {
            self.said = Vec::new();
            return Err(LineTooLong);
        }
        self.said.extend_from_slice(bytes);
        if !self.json {
            let tail = &bytes[bytes.len().saturating_sub(1000)..];
            *note = Some(String::from_utf8_lossy(tail).into_owned());
        }
        Ok(())
    }

    pub(crate) fn finish(self, end: &End<'_>) -> Finished {
        let result = if end.exit != Exit::Code(0) {
            Err(verdict::without_result(end))
        } else if self.json {
            match String::from_utf8(self.said) {
                Ok(text) if is_json(&text) => Ok(RawOutput::Json(text.trim().to_owned())),
                _ => {
                    let told = format!("the agent CLI's output is no JSON: {}", verdict::cut(end.stdout_head));
                    Err(Failure::new(FailureClass::Output, told))
                }
            }
        } else {
            let mut text = String::from_utf8(self.said)
                .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
            if text.ends_with('\n') {
                text.pop();
            }
            Ok(RawOutput::Text(text))
        };
        Finished { result, usage: None, session: None, denials: Vec::new() }
    }
}
