//! Values of the interpreter as JSON text. It does not know what the values mean.
//!
//! Writing follows `JSON.stringify`, but what that drops silently or garbles is an error here: functions, symbols,
//! BigInt, cycles. It goes through the interpreter's C interface and never through the global `JSON`, which the code
//! may have replaced.

use rquickjs::{Value, qjs};

use super::call::Call;
use crate::protocol::MAX_RESULT;

/// How deep a result may be nested; readers of JSON commonly stop at 128.
const MAX_DEPTH: usize = 120;

/// Why a value has no JSON text.
#[derive(Debug)]
pub(crate) enum Unwritable {
    /// It is no JSON; in words, with the path to the offending part.
    NotJson(String),
    /// Its text would be longer than any result.
    TooLong,
    /// Code ran (a getter, `toJSON`) and threw; the exception is pending.
    Threw,
    /// The call must stop.
    Stopped,
}

/// The JSON text of a value; `undefined` is `null`.
pub(crate) fn write(value: &Value<'_>, call: &Call) -> Result<String, Unwritable> {
    let mut writer = Writer { ctx: value.ctx().as_raw().as_ptr(), call, out: Vec::new(), path: Vec::new(), steps: 0 };
    // SAFETY: the value is alive, of this context, and the context is in use by this thread.
    let wrote = unsafe { writer.value(value.as_raw(), Step::Top)? };
    if !wrote {
        writer.out.extend_from_slice(b"null");
    }
    if writer.out.len() > MAX_RESULT {
        return Err(Unwritable::TooLong);
    }
    Ok(String::from_utf8(writer.out).expect("strings are written as UTF-8"))
}

struct Writer<'a> {
    ctx: *mut qjs::JSContext,
    call: &'a Call,
    out: Vec<u8>,
    /// The objects being written, outermost first, and where each is in the one before.
    path: Vec<(*mut std::ffi::c_void, Step)>,
    steps: u32,
}

#[derive(Clone, Copy)]
enum Step {
    Top,
    Key(qjs::JSAtom),
    Index(u32),
}

/// Frees a value of the interpreter when it goes out of scope.
struct Owned(*mut qjs::JSContext, qjs::JSValue);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the value was returned to us as ours and is freed once.
        unsafe { qjs::JS_FreeValue(self.0, self.1) }
    }
}

/// Property names of an object, freed when they go out of scope.
struct Names {
    ctx: *mut qjs::JSContext,
    table: *mut qjs::JSPropertyEnum,
    len: u32,
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the table was filled by JS_GetOwnPropertyNames with this length.
        unsafe { qjs::JS_FreePropertyEnum(self.ctx, self.table, self.len) }
    }
}

// SAFETY of all functions below: `ctx` is the context in use, values are alive while they are written.
impl Writer<'_> {
    /// Writes a value; `false` when it is one that objects leave out.
    unsafe fn value(&mut self, value: qjs::JSValue, step: Step) -> Result<bool, Unwritable> {
        unsafe {
            self.steps = self.steps.wrapping_add(1);
            if self.steps.is_multiple_of(1024) && self.call.must_stop() {
                return Err(Unwritable::Stopped);
            }
            if self.out.len() > MAX_RESULT {
                return Err(Unwritable::TooLong);
            }
            match qjs::JS_VALUE_GET_NORM_TAG(value) {
                qjs::JS_TAG_UNDEFINED => return Ok(false),
                qjs::JS_TAG_NULL => self.out.extend_from_slice(b"null"),
                qjs::JS_TAG_BOOL => {
                    let text: &[u8] = if qjs::JS_VALUE_GET_BOOL(value) { b"true" } else { b"false" };
                    self.out.extend_from_slice(text);
                }
                qjs::JS_TAG_INT => self.integer(qjs::JS_VALUE_GET_INT(value)),
                qjs::JS_TAG_STRING | qjs::JS_TAG_STRING_ROPE => self.string(value)?,
                qjs::JS_TAG_OBJECT => return self.object(value, step),
                qjs::JS_TAG_SYMBOL => return Err(self.not_json("a symbol", step)),
                qjs::JS_TAG_BIG_INT | qjs::JS_TAG_SHORT_BIG_INT => {
                    return Err(self.not_json("a BigInt (convert it with Number() or String())", step));
                }
                tag if qjs::JS_TAG_IS_FLOAT64(tag) => {
                    if qjs::JS_VALUE_GET_FLOAT64(value).is_finite() {
                        self.raw_text(value)?;
                    } else {
                        self.out.extend_from_slice(b"null");
                    }
                }
                _ => return Err(self.not_json("an unknown kind of value", step)),
            }
            Ok(true)
        }
    }

    unsafe fn object(&mut self, value: qjs::JSValue, step: Step) -> Result<bool, Unwritable> {
        unsafe {
            if qjs::JS_IsFunction(self.ctx, value) {
                return Err(self.not_json("a function", step));
            }
            if self.path.iter().any(|(outer, _)| *outer == qjs::JS_VALUE_GET_PTR(value)) {
                return Err(self.not_json("a cycle", step));
            }
            if self.path.len() >= MAX_DEPTH {
                return Err(Unwritable::NotJson(format!(
                    "the returned value is nested deeper than {MAX_DEPTH} levels"
                )));
            }
            let to_json = self.owned(qjs::JS_GetPropertyStr(self.ctx, value, c"toJSON".as_ptr()))?;
            if qjs::JS_IsFunction(self.ctx, to_json.1) {
                let key = self.key(step)?;
                let mut arguments = [key.1];
                let new = self.owned(qjs::JS_Call(self.ctx, to_json.1, value, 1, arguments.as_mut_ptr()))?;
                // As in the language, what `toJSON` gives is not asked for its own `toJSON`.
                if !qjs::JS_IsObject(new.1) || qjs::JS_IsFunction(self.ctx, new.1) {
                    return self.value(new.1, step);
                }
                return self.parts(new.1, step);
            }
            self.parts(value, step)
        }
    }

    unsafe fn parts(&mut self, value: qjs::JSValue, step: Step) -> Result<bool, Unwritable> {
        unsafe {
            if (CLASS_NUMBER..=CLASS_BOOLEAN).contains(&qjs::JS_GetClassID(value)) {
                let text = qjs::JS_JSONStringify(self.ctx, value, qjs::JS_UNDEFINED, qjs::JS_UNDEFINED);
                let text = self.owned(text)?;
                self.raw_text(text.1)?;
                return Ok(true);
            }
            self.path.push((qjs::JS_VALUE_GET_PTR(value), step));
            if is_array(self.ctx, value) {
                self.array(value)?;
            } else {
                self.properties(value)?;
            }
            self.path.pop();
            Ok(true)
        }
    }

    /// The argument of `toJSON`.
    unsafe fn key(&self, step: Step) -> Result<Owned, Unwritable> {
        unsafe {
            let atom = match step {
                Step::Top => return self.owned(qjs::JS_NewStringLen(self.ctx, c"".as_ptr(), 0)),
                Step::Key(atom) => return self.owned(qjs::JS_AtomToString(self.ctx, atom)),
                Step::Index(index) => qjs::JS_NewAtomUInt32(self.ctx, index),
            };
            let text = qjs::JS_AtomToString(self.ctx, atom);
            qjs::JS_FreeAtom(self.ctx, atom);
            self.owned(text)
        }
    }

    unsafe fn array(&mut self, value: qjs::JSValue) -> Result<(), Unwritable> {
        unsafe {
            let mut len = 0;
            if qjs::JS_GetLength(self.ctx, value, &raw mut len) < 0 {
                return Err(Unwritable::Threw);
            }
            let len = u32::try_from(len).map_err(|_| Unwritable::TooLong)?;
            self.out.push(b'[');
            for index in 0..len {
                if index > 0 {
                    self.out.push(b',');
                }
                let item = self.owned(qjs::JS_GetPropertyUint32(self.ctx, value, index))?;
                if !self.value(item.1, Step::Index(index))? {
                    self.out.extend_from_slice(b"null");
                }
            }
            self.out.push(b']');
            Ok(())
        }
    }

    unsafe fn properties(&mut self, value: qjs::JSValue) -> Result<(), Unwritable> {
        unsafe {
            let mut names = Names { ctx: self.ctx, table: std::ptr::null_mut(), len: 0 };
            let flags = (qjs::JS_GPN_STRING_MASK | qjs::JS_GPN_ENUM_ONLY) as i32;
            let got = qjs::JS_GetOwnPropertyNames(self.ctx, &raw mut names.table, &raw mut names.len, value, flags);
            if got < 0 {
                // Nothing was filled in.
                std::mem::forget(names);
                return Err(Unwritable::Threw);
            }
            self.out.push(b'{');
            let mut first = true;
            for index in 0..names.len as usize {
                let name = (*names.table.add(index)).atom;
                let item = self.owned(qjs::JS_GetProperty(self.ctx, value, name))?;
                let before = self.out.len();
                if !first {
                    self.out.push(b',');
                }
                let key = self.owned(qjs::JS_AtomToString(self.ctx, name))?;
                self.string(key.1)?;
                self.out.push(b':');
                if self.value(item.1, Step::Key(name))? {
                    first = false;
                } else {
                    self.out.truncate(before);
                }
            }
            self.out.push(b'}');
            Ok(())
        }
    }

    fn integer(&mut self, number: i32) {
        use std::io::Write;
        write!(self.out, "{number}").expect("writing to a vector does not fail");
    }

    /// The interpreter's own text of a number, which is JSON's too.
    unsafe fn raw_text(&mut self, value: qjs::JSValue) -> Result<(), Unwritable> {
        unsafe {
            let (ctx, mut len) = (self.ctx, 0);
            let text = qjs::JS_ToCStringLen(ctx, &raw mut len, value);
            if text.is_null() {
                return Err(Unwritable::Threw);
            }
            self.out.extend_from_slice(std::slice::from_raw_parts(text.cast(), len));
            qjs::JS_FreeCString(ctx, text);
            Ok(())
        }
    }

    unsafe fn string(&mut self, value: qjs::JSValue) -> Result<(), Unwritable> {
        unsafe {
            let (ctx, mut len) = (self.ctx, 0);
            let text = qjs::JS_ToCStringLen(ctx, &raw mut len, value);
            if text.is_null() {
                return Err(Unwritable::Threw);
            }
            let fits = self.out.len() + len <= MAX_RESULT;
            if fits {
                quote(std::slice::from_raw_parts(text.cast(), len), &mut self.out);
            }
            qjs::JS_FreeCString(ctx, text);
            if fits { Ok(()) } else { Err(Unwritable::TooLong) }
        }
    }

    unsafe fn owned(&self, value: qjs::JSValue) -> Result<Owned, Unwritable> {
        unsafe { if qjs::JS_IsException(value) { Err(Unwritable::Threw) } else { Ok(Owned(self.ctx, value)) } }
    }

    fn not_json(&self, what: &str, step: Step) -> Unwritable {
        let mut place = String::new();
        for step in self.path.iter().map(|(_, step)| *step).chain([step]) {
            match step {
                Step::Top => {}
                Step::Index(index) => place.push_str(&format!("[{index}]")),
                Step::Key(atom) => {
                    let mut len = 0;
                    // SAFETY: the names of the objects on the path are alive while these are written.
                    let name = unsafe {
                        let text = qjs::JS_AtomToCStringLen(self.ctx, &raw mut len, atom);
                        if text.is_null() {
                            continue;
                        }
                        let name = String::from_utf8_lossy(std::slice::from_raw_parts(text.cast(), len as usize));
                        let name = crate::protocol::cut(&name, 200).to_owned();
                        qjs::JS_FreeCString(self.ctx, text);
                        name
                    };
                    place.push('.');
                    place.push_str(&name);
                }
            }
            if place.len() > 1000 {
                place.push('…');
                break;
            }
        }
        let place = place.strip_prefix('.').unwrap_or(&place);
        let place = if place.is_empty() { String::new() } else { format!(" at {place}") };
        Unwritable::NotJson(format!("the returned value is no JSON: {what}{place}"))
    }
}

// Numbers of the classes that never change at run time; Number, String and Boolean lie side by side in the
// interpreter's own list.
const CLASS_NUMBER: qjs::JSClassID = 4;
const CLASS_BOOLEAN: qjs::JSClassID = 6;

/// Whether the value is an array, or a proxy of one, as the language defines it.
unsafe fn is_array(ctx: *mut qjs::JSContext, value: qjs::JSValue) -> bool {
    unsafe {
        let mut target = Owned(ctx, qjs::JS_DupValue(ctx, value));
        while qjs::JS_IsProxy(target.1) {
            target = Owned(ctx, qjs::JS_GetProxyTarget(ctx, target.1));
        }
        qjs::JS_IsArray(target.1)
    }
}

/// Writes a string with quotes. The interpreter gives lone surrogates as three bytes that are no UTF-8; they become
/// U+FFFD, because most readers refuse them even as escapes.
fn quote(bytes: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while !rest.is_empty() {
        let plain = rest.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\' | 0xed)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&special) = rest.first() else { break };
        let mut used = 1;
        match special {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', special]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0xed => {
                used = rest.len().min(3);
                let surrogate = rest.get(1).is_some_and(|second| *second >= 0xa0);
                out.extend_from_slice(if surrogate { "\u{fffd}".as_bytes() } else { &rest[..used] });
            }
            control => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(control >> 4)], HEX[usize::from(control & 15)]]);
            }
        }
        rest = &rest[used..];
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn strings_are_quoted_as_json() {
        let quoted = |bytes: &[u8]| {
            let mut out = Vec::new();
            quote(bytes, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(quoted("a\"\\\n\u{1}\u{7f}ü한".as_bytes()), "\"a\\\"\\\\\\n\\u0001\u{7f}ü한\"");
        assert_eq!(quoted(b"x\xed\xa0\x80y"), "\"x\u{fffd}y\"");
    }
}
