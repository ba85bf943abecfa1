//! Calls of tools and readings of resources: what is asked, and what an answer to it means. It does not know how a
//! connection begins.

use raddle_engine::attempt::RawOutput;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::outcome::{self, Answer};
use super::super::wire;
use super::{Again, Client, Event, InFlight, Protocol};

/// In the place of a tool's name: the resource of that `uri`, unless the server has a tool of this name.
pub(super) const RESOURCES_READ: &str = "resources/read";

impl Client {
    /// What a result means: an output, a failure, or questions after which the call is repeated.
    pub(super) fn result(&mut self, flight: InFlight, result: &RawValue) {
        let tool = &flight.tool;
        let outcome = match (flight.resource, outcome::of(tool, flight.resource, result)) {
            (_, Ok(Answer::MoreWanted(wanted))) => return self.more_wanted(flight, &wanted),
            (false, Ok(Answer::Structured(text))) => {
                self.table.check_output(tool, Some(&text)).map(|()| RawOutput::Json(text))
            }
            (false, Ok(Answer::Plain(output))) => self.table.check_output(tool, None).map(|()| output),
            (true, Ok(Answer::Structured(text))) => Ok(RawOutput::Json(text)),
            (true, Ok(Answer::Plain(output))) => Ok(output),
            (_, Err(failure)) => Err(failure),
        };
        self.events.push_back(Event::Result { id: flight.call, outcome });
    }

    pub(super) fn send_call(&mut self, call: u64, tool: &str, arguments: &Value, key: &str) {
        let resource = tool == RESOURCES_READ && !self.table.has(tool);
        let checked = match resource {
            true => outcome::resource_arguments(arguments).map(|()| false),
            false => self.table.check(tool, arguments),
        };
        match checked {
            Err(failure) => return self.events.push_back(Event::Result { id: call, outcome: Err(failure) }),
            Ok(true) => self.log(&format!("the schema of tool `{tool}` is unusable; its arguments go unchecked")),
            Ok(false) => {}
        }
        let id = self.begin(if resource { RESOURCES_READ } else { "tools/call" });
        let from = self.out.len();
        if resource {
            self.out.extend_from_slice(b"\"uri\":");
            wire::value(&mut self.out, &arguments["uri"]);
        } else {
            self.out.extend_from_slice(b"\"name\":");
            wire::string(&mut self.out, tool);
            self.out.extend_from_slice(b",\"arguments\":");
            wire::value(&mut self.out, arguments);
        }
        self.out.push(b',');
        let again = (self.protocol == Protocol::Modern)
            .then(|| Box::new(Again { members: self.out[from..].to_vec(), key: key.to_owned(), rounds: 0 }));
        self.end_call(id, key);
        self.in_flight.insert(id, InFlight { call, tool: tool.to_owned(), resource, again });
    }

    /// The `_meta` of a call, and its end.
    pub(super) fn end_call(&mut self, id: u64, key: &str) {
        self.out.extend_from_slice(b"\"_meta\":{");
        if self.protocol == Protocol::Modern {
            self.out.extend_from_slice(&self.modern_meta);
        }
        self.out.extend_from_slice(b"\"progressToken\":");
        wire::number(&mut self.out, id);
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(wire::IDEMPOTENCY_KEY.as_bytes());
        self.out.extend_from_slice(b"\":");
        wire::string(&mut self.out, key);
        self.out.push(b'}');
        wire::end_request(&mut self.out);
    }
}
