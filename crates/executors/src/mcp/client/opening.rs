//! The opening of a connection: which generation of the protocol the server speaks, and what it offers. It does not
//! know calls.

use super::super::outcome::RpcError;
use super::super::tools::Page;
use super::super::wire::{self, cut};
use super::{Client, DISCOVER_ID, Event, Listing, Protocol, State, client_info};

/// Pages of one tool list; a server that has still more is not listened to any longer.
const MAX_PAGES: u32 = 100;
/// Bytes of one tool list.
const MAX_LIST_BYTES: usize = 64 << 20;
/// JSON-RPC's code for it.
const METHOD_NOT_FOUND: i64 = -32601;
/// How often a server may change its list during one connection.
const MAX_REFRESHES: u32 = 100;

impl Client {
    pub(super) fn discovered(&mut self, answer: Result<&str, RpcError<'_>>) {
        let modern = match &answer {
            Ok(text) => {
                text.starts_with('{')
                    && serde_json::from_str::<wire::DiscoverResult<'_>>(text)
                        .is_ok_and(|found| found.versions.iter().any(|v| v == wire::MODERN))
            }
            Err(_) => false,
        };
        if modern {
            self.protocol = Protocol::Modern;
            return self.list(Box::default());
        }
        let State::Probing { id, .. } = self.state else { return };
        if id == DISCOVER_ID && answer.is_err_and(|error| error.wants_version(wire::MODERN)) {
            // It refuses the version in the same breath in which it offers it: once more, and no more.
            let id = self.begin("server/discover");
            self.end();
            self.state = State::Probing { id, until: self.now + self.config.start_wait };
            return;
        }
        self.initialize();
    }

    pub(super) fn initialize(&mut self) {
        self.protocol = Protocol::Handshake(wire::HANDSHAKE[0]);
        let id = self.begin("initialize");
        self.out.extend_from_slice(b"\"protocolVersion\":\"");
        self.out.extend_from_slice(wire::HANDSHAKE[0].as_bytes());
        self.out.extend_from_slice(b"\",\"capabilities\":");
        self.out.extend_from_slice(self.config.elicitation.capabilities().as_bytes());
        self.out.extend_from_slice(b",\"clientInfo\":");
        client_info(&mut self.out, &self.config);
        wire::end_request(&mut self.out);
        self.state = State::Initializing { id, until: self.now + self.config.start_wait };
    }

    pub(super) fn initialized(&mut self, answer: Result<&str, RpcError<'_>>) {
        let text = match answer {
            Ok(text) => text,
            Err(error) => return self.fatal(&format!("the server refused `initialize`: {}", error.words())),
        };
        let chosen = serde_json::from_str::<wire::InitializeResult<'_>>(text).map(|r| r.version);
        let Ok(chosen) = chosen else {
            return self.fatal("the server's answer to `initialize` names no protocol version");
        };
        let Some(version) = wire::HANDSHAKE.into_iter().find(|known| *known == chosen) else {
            return self.fatal(&format!("the server speaks an unknown protocol version: {}", cut(&chosen, 40)));
        };
        self.protocol = Protocol::Handshake(version);
        self.out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}\n");
        self.list(Box::default());
    }

    pub(super) fn list(&mut self, listing: Box<Listing>) {
        let id = self.begin("tools/list");
        if let Some(cursor) = &listing.cursor {
            self.out.extend_from_slice(b"\"cursor\":");
            wire::string(&mut self.out, cursor);
            if self.protocol == Protocol::Modern {
                self.out.push(b',');
            }
        }
        self.end();
        self.state = State::Listing { id, until: self.now + self.config.start_wait, listing };
    }

    pub(super) fn listed(&mut self, answer: Result<&str, RpcError<'_>>, bytes: usize) {
        let State::Listing { listing, .. } = &mut self.state else { return };
        let mut listing = std::mem::take(listing);
        let page = match answer {
            Ok(text) => serde_json::from_str::<Page<'_>>(text).map_err(|e| cut(&e.to_string(), 200)),
            // A server of resources alone.
            Err(error) if error.code == METHOD_NOT_FOUND => Ok(Page::default()),
            Err(error) => Err(error.words()),
        };
        let page = match page {
            Ok(page) => page,
            Err(why) => return self.fatal(&format!("the server could not list its tools: {why}")),
        };
        for left_out in listing.table.add(&page, self.config.over_http) {
            self.log(&left_out);
        }
        listing.pages += 1;
        listing.bytes += bytes;
        match page.next_cursor {
            None => {}
            Some(next) if Some(&next) == listing.cursor.as_ref() => {
                self.log("`tools/list` goes in a circle; read until there");
            }
            Some(_) if listing.pages >= MAX_PAGES || listing.bytes > MAX_LIST_BYTES => {
                self.log("`tools/list` has no end; read until the bound");
            }
            Some(next) => {
                listing.cursor = Some(next);
                return self.list(listing);
            }
        }
        if listing.again && self.may_refresh() {
            return self.list(Box::default());
        }
        self.table = listing.table;
        self.state = State::Ready;
        self.events.push_back(Event::Ready);
        while let Some(w) = self.waiting.pop_front() {
            self.send_call(w.call, &w.tool, &w.arguments, &w.key);
        }
    }

    pub(super) fn may_refresh(&mut self) -> bool {
        self.refreshes += 1;
        self.refreshes <= MAX_REFRESHES
    }
}
