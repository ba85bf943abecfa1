//! A connection whose messages are carried one by one, each with an answer of its own (HTTP): what must be said about a
//! message beside it, and what it means when one was not answered. It does not know HTTP.

use std::borrow::Cow;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::wire::{self, Message};
use super::{Client, Event, Protocol, State};

/// What a carrier must know of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Its id, when it is a request and wants an answer.
    pub request: Option<u64>,
    /// It says that this request is given up.
    pub cancels: Option<u64>,
    /// It ends the handshake; the server may speak of its own accord from now on.
    pub opens: bool,
    /// The protocol's own headers for it, as they are to be sent.
    pub headers: Vec<(String, String)>,
}

/// Why a request got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// What class of failure that is.
    pub class: FailureClass,
    /// For people.
    pub why: String,
    /// Nothing else will be answered either: nobody is there, or nobody lets us in.
    pub hopeless: bool,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uri: Cow<'a, str>,
    #[serde(borrow, default)]
    arguments: Option<&'a RawValue>,
    #[serde(default, rename = "requestId")]
    cancelled: Option<u64>,
}

impl Client {
    /// The next message of [`Client::outgoing`], without its newline.
    pub fn next_message(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', self.outgoing())?;
        let message = self.outgoing()[..end].to_vec();
        self.sent(end + 1);
        Some(message)
    }

    /// What must be known about one of its own messages.
    pub fn carried(&self, message: &[u8]) -> Carried {
        let message = std::str::from_utf8(message).ok().and_then(wire::message);
        let message: Message<'_> = message.expect("it is one of this client's own messages");
        let mut carried = Carried {
            request: if message.method.is_empty() { None } else { message.own_id() },
            opens: message.method == "notifications/initialized",
            ..Carried::default()
        };
        let params = message.params.and_then(|p| serde_json::from_str::<Params<'_>>(p.get()).ok());
        carried.cancels = params.as_ref().and_then(|p| p.cancelled);
        match self.protocol {
            Protocol::Handshake(version) => {
                // The version is the server's choice; before that, there is none to name.
                if message.method != "initialize" {
                    carried.headers.push(("MCP-Protocol-Version".into(), version.into()));
                }
            }
            Protocol::Modern => {
                carried.headers.push(("MCP-Protocol-Version".into(), wire::MODERN.into()));
                if !message.method.is_empty() {
                    carried.headers.push(("Mcp-Method".into(), message.method.clone().into_owned()));
                }
                if let Some(params) = params {
                    self.headers_of(&message.method, &params, &mut carried.headers);
                }
            }
        }
        carried
    }

    fn headers_of(&self, method: &str, params: &Params<'_>, headers: &mut Vec<(String, String)>) {
        let name = match method {
            "tools/call" => &params.name,
            "resources/read" => &params.uri,
            _ => return,
        };
        headers.push(("Mcp-Name".into(), wire::header_value(name)));
        let Some(arguments) = params.arguments.filter(|_| method == "tools/call") else { return };
        let mirrored = self.table.mirrored(name);
        if mirrored.is_empty() {
            return;
        }
        let arguments: Value = serde_json::from_str(arguments.get()).unwrap_or_default();
        for (pointer, header) in mirrored {
            let value = match arguments.pointer(pointer) {
                Some(Value::String(text)) => wire::header_value(text),
                Some(Value::Bool(yes)) => yes.to_string(),
                Some(Value::Number(number)) => number.to_string(),
                _ => continue,
            };
            headers.push((format!("Mcp-Param-{header}"), value));
        }
    }

    /// A whole message from the server, over however many lines it is written.
    pub fn hear(&mut self, message: &[u8]) {
        if !self.is_dead() {
            self.line(message);
        }
    }

    /// Whether an answer to that request is still waited for.
    pub fn awaits(&self, request: u64) -> bool {
        self.in_flight.contains_key(&request)
            || match &self.state {
                State::Probing { id, .. } | State::Initializing { id, .. } | State::Listing { id, .. } => {
                    *id == request
                }
                State::Ready | State::Dead { .. } => false,
            }
    }

    /// Takes a call back that the server is known not to have looked at; the caller may call again. No event comes.
    pub fn take_back(&mut self, request: u64) -> Option<u64> {
        self.in_flight.remove(&request).map(|flight| flight.call)
    }

    /// There will be no answer to that request.
    pub fn unanswered(&mut self, request: u64, why: &Unanswered) {
        if let Some(flight) = self.in_flight.remove(&request) {
            let failure = Failure::new(why.class, format!("tool `{}`: {}", flight.tool, why.why));
            self.events.push_back(Event::Result { id: flight.call, outcome: Err(failure) });
            return;
        }
        match &self.state {
            // A server of the older generation has many ways to refuse a question that it does not know.
            State::Probing { id, .. } if *id == request && !why.hopeless => self.initialize(),
            State::Probing { id, .. } | State::Initializing { id, .. } | State::Listing { id, .. }
                if *id == request =>
            {
                self.fatal_as(why.class, &why.why);
            }
            _ => {}
        }
    }
}
