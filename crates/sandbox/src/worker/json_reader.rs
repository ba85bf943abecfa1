//! JSON text to values of the interpreter, straight through its C interface. It does not know what the values mean.
//!
//! The interpreter has a parser of its own, which makes a string and a hash look-up of every property name; names
//! repeat, so this one remembers them, and makes arrays in one piece. It reads what a serialiser writes; on anything
//! odd it gives up, and the interpreter's own parser is asked, whose errors are the language's.

use std::ffi::CStr;

use rquickjs::{Ctx, Value, qjs};

/// Deeper text is left to the interpreter's own parser, which watches its stack.
const MAX_DEPTH: u32 = 200;
/// Slots of the cache of names; a power of two.
const NAMES: usize = 256;
const NO_NAME: qjs::JSAtom = qjs::__JS_ATOM_NULL as qjs::JSAtom;

/// Parses JSON text that ends with a zero byte, without copying it.
pub(crate) fn parse<'js>(ctx: &Ctx<'js>, terminated: &CStr) -> rquickjs::Result<Value<'js>> {
    let raw = ctx.as_raw().as_ptr();
    let mut reader = Reader::new(ctx, terminated.to_bytes());
    // SAFETY: the context is in use by this thread; the fallback's text ends with a zero byte as it demands, and both
    // copy what they keep.
    let value = unsafe {
        let value = match reader.document() {
            Ok(value) => value,
            Err(Odd::Threw) => qjs::JS_EXCEPTION,
            Err(Odd::Unread) => {
                qjs::JS_ParseJSON(raw, terminated.as_ptr(), terminated.count_bytes() as _, c"json".as_ptr())
            }
        };
        Value::from_raw(ctx.clone(), value)
    };
    if value.is_exception() { Err(rquickjs::Error::Exception) } else { Ok(value) }
}

/// Why there is no value.
enum Odd {
    /// The interpreter could not make it; its exception is pending.
    Threw,
    /// The text is not what this reader reads.
    Unread,
}

struct Reader<'a> {
    ctx: *mut qjs::JSContext,
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// Names seen last, with the bytes they were made of.
    names: [(&'a [u8], qjs::JSAtom); NAMES],
    /// Values that no container owns yet.
    loose: Vec<qjs::JSValue>,
    /// The last string that had escapes.
    scratch: Vec<u8>,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // SAFETY: one reference to each name and each loose value is ours.
        unsafe {
            for (_, name) in self.names {
                if name != NO_NAME {
                    qjs::JS_FreeAtom(self.ctx, name);
                }
            }
            for value in self.loose.drain(..) {
                qjs::JS_FreeValue(self.ctx, value);
            }
        }
    }
}

/// A piece of the text, or the reader's scratch.
enum Piece<'a> {
    Plain(&'a [u8]),
    Scratch,
}

// SAFETY of all functions below: `ctx` is the context in use; a value that is made is returned, given to a container
// or kept among the loose ones.
impl<'a> Reader<'a> {
    fn new(ctx: &Ctx<'_>, text: &'a [u8]) -> Self {
        let names = [(&[][..], NO_NAME); NAMES];
        Reader { ctx: ctx.as_raw().as_ptr(), text, at: 0, depth: 0, names, loose: Vec::new(), scratch: Vec::new() }
    }

    unsafe fn document(&mut self) -> Result<qjs::JSValue, Odd> {
        unsafe {
            let value = self.value()?;
            self.space();
            if self.at == self.text.len() {
                return Ok(value);
            }
            qjs::JS_FreeValue(self.ctx, value);
            Err(Odd::Unread)
        }
    }

    unsafe fn value(&mut self) -> Result<qjs::JSValue, Odd> {
        unsafe {
            self.space();
            match self.peek()? {
                b'"' => {
                    let bytes = match self.string()? {
                        Piece::Plain(bytes) => bytes,
                        Piece::Scratch => &self.scratch,
                    };
                    made(qjs::JS_NewStringLen(self.ctx, bytes.as_ptr().cast(), bytes.len() as _))
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    self.depth += 1;
                    if self.depth > MAX_DEPTH {
                        return Err(Odd::Unread);
                    }
                    let value = if open == b'{' { self.object() } else { self.array() };
                    self.depth -= 1;
                    value
                }
                b't' => self.word(b"true", qjs::JS_TRUE),
                b'f' => self.word(b"false", qjs::JS_FALSE),
                b'n' => self.word(b"null", qjs::JS_NULL),
                _ => self.number(),
            }
        }
    }

    unsafe fn array(&mut self) -> Result<qjs::JSValue, Odd> {
        unsafe {
            let first = self.loose.len();
            self.space();
            if self.peek()? == b']' {
                self.at += 1;
            } else {
                loop {
                    let item = self.value()?;
                    self.loose.push(item);
                    if !self.goes_on(b']')? {
                        break;
                    }
                }
            }
            let items = &self.loose[first..];
            let count = i32::try_from(items.len()).map_err(|_| Odd::Unread)?;
            let array = qjs::JS_NewArrayFrom(self.ctx, count, items.as_ptr());
            // Whether it was made or not, the items are no longer ours.
            self.loose.truncate(first);
            made(array)
        }
    }

    unsafe fn object(&mut self) -> Result<qjs::JSValue, Odd> {
        unsafe {
            let object = made(qjs::JS_NewObject(self.ctx))?;
            self.loose.push(object);
            self.space();
            if self.peek()? == b'}' {
                self.at += 1;
            } else {
                loop {
                    let name = self.name()?;
                    let defined = self.property(object, name);
                    qjs::JS_FreeAtom(self.ctx, name);
                    defined?;
                    if !self.goes_on(b'}')? {
                        break;
                    }
                }
            }
            self.loose.pop();
            Ok(object)
        }
    }

    unsafe fn property(&mut self, object: qjs::JSValue, name: qjs::JSAtom) -> Result<(), Odd> {
        unsafe {
            self.space();
            if self.peek()? != b':' {
                return Err(Odd::Unread);
            }
            self.at += 1;
            let value = self.value()?;
            // Defined, not set: `__proto__` is a name like any other here.
            let defined = qjs::JS_DefinePropertyValue(self.ctx, object, name, value, qjs::JS_PROP_C_W_E as i32);
            if defined < 0 { Err(Odd::Threw) } else { Ok(()) }
        }
    }

    /// A property name, as a reference of the caller's.
    unsafe fn name(&mut self) -> Result<qjs::JSAtom, Odd> {
        unsafe {
            self.space();
            if self.peek()? != b'"' {
                return Err(Odd::Unread);
            }
            let bytes = match self.string()? {
                Piece::Plain(bytes) => bytes,
                Piece::Scratch => {
                    return named(qjs::JS_NewAtomLen(self.ctx, self.scratch.as_ptr().cast(), self.scratch.len() as _));
                }
            };
            let slot = &mut self.names[slot(bytes)];
            if slot.1 == NO_NAME || slot.0 != bytes {
                let name = named(qjs::JS_NewAtomLen(self.ctx, bytes.as_ptr().cast(), bytes.len() as _))?;
                if slot.1 != NO_NAME {
                    qjs::JS_FreeAtom(self.ctx, slot.1);
                }
                *slot = (bytes, name);
            }
            Ok(qjs::JS_DupAtom(self.ctx, slot.1))
        }
    }

    fn string(&mut self) -> Result<Piece<'a>, Odd> {
        let start = self.at + 1;
        let rest = self.text.get(start..).ok_or(Odd::Unread)?;
        let end = rest.iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20).ok_or(Odd::Unread)?;
        if rest[end] == b'"' {
            self.at = start + end + 1;
            return Ok(Piece::Plain(&rest[..end]));
        }
        self.at = start;
        self.escaped_string()?;
        Ok(Piece::Scratch)
    }

    fn escaped_string(&mut self) -> Result<(), Odd> {
        self.scratch.clear();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.iter().position(|b| matches!(b, b'"' | b'\\') || *b < 0x20).ok_or(Odd::Unread)?;
            self.scratch.extend_from_slice(&rest[..plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Ok(()),
                b'\\' => {}
                _ => return Err(Odd::Unread),
            }
            let escape = self.peek()?;
            self.at += 1;
            let byte = match escape {
                b'"' | b'\\' | b'/' => escape,
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let unit = self.hex()?;
                    // Halves of pairs, whole or alone, are left to the interpreter's parser.
                    let char = char::from_u32(unit).ok_or(Odd::Unread)?;
                    self.scratch.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
                _ => return Err(Odd::Unread),
            };
            self.scratch.push(byte);
        }
    }

    fn hex(&mut self) -> Result<u32, Odd> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(Odd::Unread)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, digit| {
            char::from(*digit).to_digit(16).map(|value| unit * 16 + value).ok_or(Odd::Unread)
        })
    }

    fn number(&mut self) -> Result<qjs::JSValue, Odd> {
        let rest = &self.text[self.at..];
        let len = rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'));
        let text = &rest[..len.unwrap_or(rest.len())];
        self.at += text.len();
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        // What Rust would read and JSON does not know: a missing digit, a leading zero, a sign of plus.
        match digits {
            [b'0'] if digits.len() == text.len() => return Ok(qjs::JS_MKVAL(qjs::JS_TAG_INT, 0)),
            [b'0', b'.' | b'e' | b'E', ..] | [b'0'] => {}
            [b'1'..=b'9', rest @ ..] => {
                if rest.len() < 9 && rest.iter().all(u8::is_ascii_digit) {
                    let number = digits.iter().fold(0, |number, digit| number * 10 + i32::from(digit - b'0'));
                    let number = if digits.len() == text.len() { number } else { -number };
                    return Ok(qjs::JS_MKVAL(qjs::JS_TAG_INT, number));
                }
            }
            _ => return Err(Odd::Unread),
        }
        if digits.last().is_none_or(|last| !last.is_ascii_digit())
            || digits.windows(2).any(|two| two[0] == b'.' && !two[1].is_ascii_digit())
        {
            return Err(Odd::Unread);
        }
        let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok()).ok_or(Odd::Unread)?;
        Ok(qjs::JS_NewFloat64(number))
    }

    fn word(&mut self, word: &[u8], value: qjs::JSValue) -> Result<qjs::JSValue, Odd> {
        if !self.text[self.at..].starts_with(word) {
            return Err(Odd::Unread);
        }
        self.at += word.len();
        Ok(value)
    }

    /// Whether a comma and not the closing bracket follows.
    fn goes_on(&mut self, close: u8) -> Result<bool, Odd> {
        self.space();
        let next = self.peek()?;
        self.at += 1;
        match next {
            b',' => Ok(true),
            _ if next == close => Ok(false),
            _ => Err(Odd::Unread),
        }
    }

    fn peek(&self) -> Result<u8, Odd> {
        self.text.get(self.at).copied().ok_or(Odd::Unread)
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }
}

fn made(value: qjs::JSValue) -> Result<qjs::JSValue, Odd> {
    // SAFETY: only the tag is looked at.
    if unsafe { qjs::JS_IsException(value) } { Err(Odd::Threw) } else { Ok(value) }
}

fn named(name: qjs::JSAtom) -> Result<qjs::JSAtom, Odd> {
    if name == NO_NAME { Err(Odd::Threw) } else { Ok(name) }
}

/// FNV-1a over the length and both ends is enough to tell the names of one document apart.
fn slot(bytes: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32 ^ bytes.len() as u32;
    for byte in bytes.iter().take(8).chain(bytes.iter().rev().take(4)) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    (hash >> 8) as usize & (NAMES - 1)
}

#[cfg(test)]
mod tests {
    use rquickjs::{Context, Runtime};

    use super::*;

    /// What the reader makes of a text, read back; `None` when it leaves it to the interpreter.
    fn read(text: &str) -> Option<String> {
        let runtime = Runtime::new().unwrap();
        let context = Context::full(&runtime).unwrap();
        context.with(|ctx| {
            let mut reader = Reader::new(&ctx, text.as_bytes());
            // SAFETY: the context is in use here.
            let value = unsafe { Value::from_raw(ctx.clone(), reader.document().ok()?) };
            drop(reader);
            Some(ctx.json_stringify(value).unwrap().unwrap().to_string().unwrap())
        })
    }

    #[test]
    fn what_serialisers_write_is_read() {
        for text in [
            "0",
            "-0.5",
            "12",
            "-7",
            "1234567890",
            "999999999",
            "2147483648",
            "1.5e-7",
            "1e+21",
            "123456789012345680000",
            "true",
            "null",
            "\"\"",
            "\"ü ✓ 😀\"",
            "[]",
            "{}",
            "[[],{},[1,[2]]]",
            "{\"a\":{\"a\":1,\"b\":[true,false]}}",
            "{\"0\":1,\"17\":2,\"x\":3}",
        ] {
            assert_eq!(read(text).as_deref(), Some(text));
        }
        assert_eq!(read(" { \"a\" : [ 1 , 2 ] } \n").as_deref(), Some("{\"a\":[1,2]}"));
        assert_eq!(
            read(r#"{"a\n\u00fc":"\"\\\/\b\f\r\t\u0001"}"#).as_deref(),
            Some("{\"a\\nü\":\"\\\"\\\\/\\b\\f\\r\\t\\u0001\"}")
        );
        assert_eq!(read("{\"a\":1,\"a\":2}").as_deref(), Some("{\"a\":2}"));
        assert_eq!(read("{\"__proto__\":{\"x\":1}}").as_deref(), Some("{\"__proto__\":{\"x\":1}}"));
        assert_eq!(read("-0").as_deref(), Some("0"));
    }

    #[test]
    fn many_names_share_the_cache() {
        let fields: Vec<_> = (0..2000).map(|i| format!("\"name{i}\":{{\"name{}\":{i}}}", i * 7 % 2000)).collect();
        let text = format!("[{{{0}}},{{{0}}}]", fields.join(","));
        assert_eq!(read(&text), Some(text));
    }

    #[test]
    fn the_odd_is_left_to_the_interpreter() {
        for text in [
            "",
            "[",
            "[1",
            "[1,]",
            "{",
            "{\"a\"",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "--1",
            "1.e5",
            "tru",
            "\"x",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\ud83d\\ude00\"",
            "\"\n\"",
            "1 2",
            "[1}",
            "NaN",
            "1-2",
            "0-1",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&format!("{}{}", "[".repeat(300), "]".repeat(300))), None);
    }
}
