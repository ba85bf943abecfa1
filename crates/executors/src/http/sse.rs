//! Server-sent events out of a stream of bytes that is cut anywhere. It does not know connections, nor what the data
//! mean.

use std::time::Duration;

/// What a stream has said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its data; the lines joined by newlines. Never empty.
    pub(crate) data: Vec<u8>,
}

/// An event grew over the bound.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EventTooLong;

/// Reads events.
#[derive(Debug)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// `event:` of the one that is being read, when it is not `message`.
    other_kind: bool,
    after_return: bool,
    at_start: bool,
    max_bytes: usize,
    /// The last `id:`; what a new connection names to go on from there.
    pub(crate) last_id: Option<String>,
    /// The last `retry:`.
    pub(crate) retry: Option<Duration>,
}

impl Events {
    /// No event is larger than `max_bytes`.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Events {
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            other_kind: false,
            after_return: false,
            at_start: true,
            max_bytes,
            last_id: None,
            retry: None,
        }
    }

    /// A new connection to the same stream: what was half read is forgotten, where it stood is not.
    pub(crate) fn reconnected(&mut self) {
        self.line.clear();
        self.data.clear();
        (self.has_data, self.other_kind, self.after_return, self.at_start) = (false, false, false, true);
    }

    /// Takes bytes, and calls `each` for every event that they complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event)) -> Result<(), EventTooLong> {
        while !bytes.is_empty() {
            // The second half of a line's end.
            if std::mem::take(&mut self.after_return) && bytes[0] == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            self.line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
            if self.line.len() + self.data.len() > self.max_bytes {
                return Err(EventTooLong);
            }
            let Some(end) = end else { return Ok(()) };
            self.after_return = bytes[end] == b'\r';
            bytes = &bytes[end + 1..];
            if let Some(event) = self.line_is_over() {
                each(event);
            }
        }
        Ok(())
    }

    fn line_is_over(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut text = &line[..];
        if std::mem::take(&mut self.at_start) {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        let event = if text.is_empty() { self.event_is_over() } else { self.field(text) };
        // The buffer is used again, unless it has become huge.
        if line.capacity() <= 1 << 20 {
            self.line = line;
            self.line.clear();
        }
        event
    }

    fn event_is_over(&mut self) -> Option<Event> {
        let data = std::mem::take(&mut self.data);
        let wanted = std::mem::take(&mut self.has_data) && !std::mem::take(&mut self.other_kind);
        (wanted && !data.is_empty()).then_some(Event { data })
    }

    fn field(&mut self, line: &[u8]) -> Option<Event> {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &b""[..]),
        };
        match name {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.other_kind = !value.is_empty() && value != b"message",
            b"id" => {
                // It goes into a header later.
                let text = std::str::from_utf8(value).ok().filter(|id| id.len() <= 1000 && is_visible(id));
                self.last_id = text.filter(|id| !id.is_empty()).map(str::to_owned);
            }
            b"retry" => {
                let ms = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.retry = ms.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        None
    }
}

/// What a header can carry.
pub(crate) fn is_visible(text: &str) -> bool {
    text.bytes().all(|byte| (0x21..0x7f).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &str, piece: usize) -> (Vec<String>, Events) {
        let mut events = Events::new(1000);
        let mut found = Vec::new();
        for bytes in stream.as_bytes().chunks(piece) {
            let each = |event: Event| found.push(String::from_utf8(event.data).unwrap());
            events.feed(bytes, each).unwrap();
        }
        (found, events)
    }

    #[test]
    fn events_are_read_however_they_are_cut_and_ended() {
        let stream = "\u{feff}: hello\nid: 7\nretry: 500\ndata: \n\ndata:{\"a\":\ndata: 1}\n\r\nevent: message\r\ndata: two\r\n\r\n\
            event: ping\rdata: x\r\rid\ndata: three\n\ndata: half";
        for piece in [1, 2, 3, 7, 1000] {
            let (found, events) = read(stream, piece);
            assert_eq!(found, ["{\"a\":\n1}", "two", "three"], "{piece}");
            assert_eq!((events.last_id, events.retry), (None, Some(Duration::from_millis(500))));
        }
        assert_eq!(read("id: a b\nid: 8\ndata: x\n\n", 9).1.last_id.as_deref(), Some("8"));
    }

    #[test]
    fn an_event_without_end_is_not_held() {
        let mut events = Events::new(10);
        assert_eq!(events.feed(b"data: 0123456789", |_| {}), Err(EventTooLong));
        let mut events = Events::new(10);
        let many = b"data:012\ndata:012\ndata:012\ndata:012\n";
        assert_eq!(events.feed(many, |_| {}), Err(EventTooLong));
    }
}
