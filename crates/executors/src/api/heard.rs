//! What has been heard of an answer so far, and what it comes to at its end. It does not know the protocols.

use raddle_engine::FailureClass;
use raddle_engine::attempt::{Failure, RawOutput, Usage};

/// The longest answer that is held.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// An answer under way.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The text so far.
    pub(super) text: String,
    /// What it used, as far as it was told.
    pub(super) usage: Option<Usage>,
    /// Why it ended.
    pub(super) stop: Option<Stop>,
}

/// Why a provider ended its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// It had said everything.
    Complete,
    /// The limit of tokens.
    Limit,
    /// It would not answer; its own word for why.
    Refused(String),
}

impl Heard {
    /// Takes a piece of the text.
    pub(super) fn say(&mut self, piece: &str) -> Result<(), Failure> {
        if self.text.len() + piece.len() > MAX_ANSWER_BYTES {
            let what = format!("the answer is longer than {} MB", MAX_ANSWER_BYTES >> 20);
            return Err(Failure::new(FailureClass::Output, what));
        }
        self.text.push_str(piece);
        Ok(())
    }

    /// The counters, made at first use.
    pub(super) fn usage(&mut self) -> &mut Usage {
        self.usage.get_or_insert_default()
    }

    /// The answer, if it came to its proper end.
    pub(super) fn conclude(self, wants_json: bool) -> Result<RawOutput, Failure> {
        let failed = |what: String| Err(Failure::new(FailureClass::Output, what));
        match self.stop {
            Some(Stop::Complete) if !wants_json => Ok(RawOutput::Text(self.text)),
            // What is no JSON is left as text: the schema's check says so, and the next attempt is told.
            Some(Stop::Complete) => Ok(match json_in(&self.text) {
                Some(json) => RawOutput::Json(json.to_owned()),
                None => RawOutput::Text(self.text),
            }),
            Some(Stop::Limit) => failed(
                "the answer was cut at the limit of tokens; raise `[executors.api] max_output_tokens` or ask for less"
                    .to_owned(),
            ),
            Some(Stop::Refused(why)) => failed(format!("the provider did not answer: {why}")),
            None => failed("the connection ended before the answer was complete".to_owned()),
        }
    }
}

/// The JSON value that a text is, with or without a fence around it.
fn json_in(text: &str) -> Option<&str> {
    let text = text.trim();
    let bare = text
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .and_then(|rest| rest.split_once('\n'))
        .filter(|(language, _)| matches!(language.trim(), "" | "json"))
        .map_or(text, |(_, inside)| inside.trim());
    serde_json::from_str::<serde_json::Value>(bare).is_ok().then_some(bare)
}
