//! Answers that are questions (2026-07-28): the call is repeated with the answers to them, under a new id. It does not
//! know what the answers say; that is the policy's.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::outcome::Wanted;
use super::super::wire::{self, cut};
use super::{Client, Event, InFlight};

/// So often a server may come back with questions to one call.
const MAX_ROUNDS: u32 = 10;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

impl Client {
    /// Asks again, with the answers and with the server's own state as it came.
    pub(super) fn more_wanted(&mut self, flight: InFlight, wanted: &Wanted<'_>) {
        if let Err(words) = self.ask_again(&flight, wanted) {
            let failure = Failure::new(FailureClass::Tool, format!("tool `{}` {words}", flight.tool));
            self.events.push_back(Event::Result { id: flight.call, outcome: Err(failure) });
        }
    }

    fn ask_again(&mut self, flight: &InFlight, wanted: &Wanted<'_>) -> Result<(), String> {
        let Some(again) = &flight.again else {
            return Err("wants more than a call, which its protocol version has no words for".into());
        };
        if again.rounds >= MAX_ROUNDS {
            return Err(format!("still has questions after {MAX_ROUNDS} rounds"));
        }
        if wanted.requests.is_empty() && wanted.state.is_none() {
            return Err("wants more than a call and does not say what".into());
        }
        let mut answers = Vec::from(*b"{");
        for (name, request) in &wanted.requests {
            let answer = self.answer_to(request)?;
            if answers.len() > 1 {
                answers.push(b',');
            }
            wire::string(&mut answers, name);
            answers.push(b':');
            answers.extend_from_slice(answer.as_bytes());
        }
        answers.extend_from_slice(b"},");
        let mut again = again.clone();
        again.rounds += 1;
        let id = self.begin(if flight.resource { super::calls::RESOURCES_READ } else { "tools/call" });
        self.out.extend_from_slice(&again.members);
        self.out.extend_from_slice(b"\"inputResponses\":");
        self.out.extend_from_slice(&answers);
        if let Some(state) = wanted.state {
            self.out.extend_from_slice(b"\"requestState\":");
            // A value in JSON may be written over several lines, ours may not.
            self.out.extend(state.get().bytes().filter(|byte| *byte != b'\n'));
            self.out.push(b',');
        }
        self.end_call(id, &again.key);
        let next =
            InFlight { call: flight.call, tool: flight.tool.clone(), resource: flight.resource, again: Some(again) };
        self.in_flight.insert(id, next);
        Ok(())
    }

    fn answer_to(&self, request: &RawValue) -> Result<String, String> {
        let request: Request<'_> =
            serde_json::from_str(request.get()).map_err(|e| format!("asks something unreadable: {e}"))?;
        match &*request.method {
            "elicitation/create" => Ok(self.config.elicitation.answer(request.params)),
            "roots/list" => Ok(r#"{"roots":[]}"#.to_owned()),
            other => Err(format!("asks for `{}`, which nobody here answers", cut(other, 60))),
        }
    }
}
