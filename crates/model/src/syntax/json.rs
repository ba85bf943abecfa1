//! JSON with spans: strict RFC 8259, bounded depth, borrowed strings. It does not know what the document means. Own
//! code because no maintained parser keeps byte ranges of keys and values at this speed.

use std::borrow::Cow;

use serde_json::Number;

use super::scalar::{finite, whole};
use super::{Data, Entry, Fault, MAX_DEPTH, MAX_NODES, Node, Span, TOO_DEEP, TOO_MANY, Tree, duplicates};
use crate::diagnostic::quoted;

/// A whole document. `base` is added to every offset.
pub(super) fn parse(text: &str, base: usize) -> Tree<'_> {
    let mut reader = Reader::new(text, base);
    let root = reader.value(0).and_then(|node| {
        reader.space();
        match reader.peek() {
            None => Ok(node),
            Some(_) => Err(reader.fault("text after the end of the JSON document")),
        }
    });
    match root {
        Ok(root) => Tree { root: Some(root), faults: reader.faults },
        Err(fault) => Tree::hopeless(fault),
    }
}

/// A JSON value at the beginning of a text: the value and its length in bytes.
pub(crate) fn prefix(text: &str) -> Option<(serde_json::Value, usize)> {
    let mut reader = Reader::new(text, 0);
    let node = reader.value(0).ok()?;
    reader.faults.is_empty().then(|| (node.to_json(), reader.at))
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    base: usize,
    nodes: usize,
    faults: Vec<Fault>,
}

impl<'t> Reader<'t> {
    fn new(text: &'t str, base: usize) -> Self {
        Reader { text, bytes: text.as_bytes(), at: 0, base, nodes: 0, faults: Vec::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn span(&self, start: usize) -> Span {
        Span::new(self.base + start, self.base + self.at)
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(message, self.span(self.at))
    }

    fn expected(&self, what: &str) -> Fault {
        match self.text[self.at..].chars().next() {
            None => self.fault(format!("the text ends where {what} is expected")),
            Some(c) => self.fault(format!("expected {what}, found {}", quoted(&c.to_string()))),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node<'t>, Fault> {
        if depth >= MAX_DEPTH {
            return Err(self.fault(TOO_DEEP));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.fault(TOO_MANY));
        }
        self.space();
        let start = self.at;
        let data = match self.peek() {
            Some(b'{') => self.map(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Data::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Data::Number(self.number()?),
            Some(b't') => self.word("true", Data::Bool(true))?,
            Some(b'f') => self.word("false", Data::Bool(false))?,
            Some(b'n') => self.word("null", Data::Null)?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Node { data, span: self.span(start) })
    }

    fn word(&mut self, word: &str, data: Data<'t>) -> Result<Data<'t>, Fault> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(data)
    }

    fn list(&mut self, depth: usize) -> Result<Data<'t>, Fault> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Data::List(items));
        }
        // Most lists have one or two items, and most memory of a large file is in lists.
        items.reserve_exact(1);
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Data::List(items));
                }
                _ => return Err(self.expected("`,` or `]`")),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Data<'t>, Fault> {
        self.at += 1;
        let mut entries = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Data::Map(entries));
        }
        loop {
            self.space();
            let start = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            let key_span = self.span(start);
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.expected("`:`"));
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, key_span, value });
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.expected("`,` or `}`")),
            }
        }
        self.at += 1;
        duplicates(&entries, &mut self.faults);
        Ok(Data::Map(entries))
    }

    fn number(&mut self) -> Result<Number, Fault> {
        let start = self.at;
        let digits = |reader: &mut Self| {
            let from = reader.at;
            while matches!(reader.peek(), Some(b'0'..=b'9')) {
                reader.at += 1;
            }
            reader.at > from
        };
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let first = self.at;
        if !digits(self) {
            return Err(self.expected("a digit"));
        }
        if leading_zero && self.at - first > 1 {
            return Err(Fault::new("a number must not begin with a zero", self.span(start)));
        }
        let mut is_whole = true;
        if self.peek() == Some(b'.') {
            self.at += 1;
            is_whole = false;
            if !digits(self) {
                return Err(self.expected("a digit"));
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            is_whole = false;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if !digits(self) {
                return Err(self.expected("a digit"));
            }
        }
        let text = &self.text[start..self.at];
        let read = if is_whole { whole(text) } else { finite(text) };
        read.map_err(|(message, help)| Fault::new(message, self.span(start)).help(help))
            .map(|n| n.expect("the grammar was checked, so there is a number or an error"))
    }

    fn string(&mut self) -> Result<Cow<'t, str>, Fault> {
        let open = self.at;
        self.at += 1;
        let mut owned = String::new();
        let mut from = self.at;
        loop {
            match self.peek() {
                None => {
                    return Err(Fault::new(
                        "the text ends inside a string",
                        Span::new(self.base + open, self.base + open + 1),
                    ));
                }
                Some(b'"') => {
                    let tail = &self.text[from..self.at];
                    self.at += 1;
                    if owned.is_empty() {
                        return Ok(Cow::Borrowed(tail));
                    }
                    owned.push_str(tail);
                    return Ok(Cow::Owned(owned));
                }
                Some(b'\\') => {
                    owned.push_str(&self.text[from..self.at]);
                    self.at += 1;
                    owned.push(self.escape()?);
                    from = self.at;
                }
                Some(0..=0x1f) => {
                    return Err(self
                        .fault("a control character inside a string")
                        .help("write it as an escape, such as \\n"));
                }
                Some(_) => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let byte = self.peek();
        self.at += 1;
        Ok(match byte {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => {
                self.at -= 1;
                return Err(self.fault("unknown escape in a string"));
            }
        })
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let start = self.at;
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff if self.bytes[self.at..].starts_with(b"\\u") => {
                self.at += 2;
                let second = self.hex()?;
                match second {
                    0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                    _ => first,
                }
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| Fault::new("half of a surrogate pair", self.span(start)))
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else { return Err(self.fault("`\\u` needs four hexadecimal digits")) };
        self.at += 4;
        Ok(digits.iter().fold(0, |n, d| n * 16 + char::from(*d).to_digit(16).unwrap_or(0)))
    }
}
