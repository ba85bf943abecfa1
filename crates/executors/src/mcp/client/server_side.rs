//! What a server says of its own accord: questions, progress, logs, news of its list. It does not know the answers to
//! what was asked of it.

use serde_json::value::RawValue;

use super::super::wire::{self, cut};
use super::{Client, Event, State};

/// What may wait to be written before a server's own requests stop being answered.
const MAX_UNREAD_REPLIES: usize = 1 << 20;

impl Client {
    /// The server asks something. Nobody sits here: what is not answered by a policy is declined.
    pub(super) fn server_request(&mut self, id: &RawValue, method: &str, params: Option<&RawValue>) {
        let id = id.get();
        if id.len() > 1000 || self.out.len() - self.written > MAX_UNREAD_REPLIES {
            return self.log(&format!("unanswered request: {}", cut(method, 80)));
        }
        let reply = match method {
            "ping" => "\"result\":{}".to_owned(),
            "roots/list" => "\"result\":{\"roots\":[]}".to_owned(),
            "elicitation/create" => format!("\"result\":{}", self.config.elicitation.answer(params)),
            _ => "\"error\":{\"code\":-32601,\"message\":\"method not found\"}".to_owned(),
        };
        self.out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
        self.out.extend_from_slice(id.as_bytes());
        self.out.push(b',');
        self.out.extend_from_slice(reply.as_bytes());
        self.out.extend_from_slice(b"}\n");
    }

    pub(super) fn notification(&mut self, method: &str, params: Option<&RawValue>) {
        let params = params.map_or("null", RawValue::get);
        match method {
            "notifications/progress" => {
                let Ok(p) = serde_json::from_str::<wire::ProgressParams<'_>>(params) else { return };
                let Some(flight) = self.in_flight.get(&p.token) else { return };
                let text = match (p.progress, p.total, p.message.as_ref()) {
                    (Some(done), Some(total), "") => format!("{done} of {total}"),
                    (Some(done), None, "") => format!("{done}"),
                    (_, _, message) => cut(message, 200),
                };
                let id = flight.call;
                self.note(Event::Progress { id, text });
            }
            "notifications/message" => {
                let Ok(p) = serde_json::from_str::<wire::LogParams<'_>>(params) else { return };
                let data = p.data.map_or(String::new(), |d| cut(d.get(), 200));
                self.log(&format!("{}: {data}", cut(&p.level, 20)));
            }
            "notifications/tools/list_changed" => {
                if let State::Listing { listing, .. } = &mut self.state {
                    listing.again = true;
                } else if matches!(self.state, State::Ready) && self.may_refresh() {
                    self.list(Box::default());
                }
            }
            _ => {}
        }
    }
}
