//! What the global scope has beyond the language: console, text coding, reading allowed files. It does not know which
//! files are allowed. The functions here are reachable by the code only through `prelude.js`.

use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::{Array, Ctx, Function, IntoJs, Object, Result, String as JsString, TypedArray, Value};

use super::call::{Access, Call};
use super::fault::PERMISSION_DENIED;

const PRELUDE: &str = include_str!("prelude.js");

/// Makes the global scope.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, call: &Rc<Call>) -> Result<()> {
    let host = Object::new(ctx.clone())?;
    let log = Rc::clone(call);
    host.set("log", Function::new(ctx.clone(), move |line: String| log.log(&line))?)?;
    let refuse = Rc::clone(call);
    let refuse = move |write: bool, resource: String| {
        let (action, rule) =
            if write { ("write", "code cannot write files") } else { ("connect", "code has no network") };
        refuse.refuse(action, &resource, rule);
    };
    host.set("refuse", Function::new(ctx.clone(), refuse)?)?;
    let reader = Rc::clone(call);
    let read = move |ctx: Ctx<'js>, path: String, text: bool| read(&ctx, &reader, &path, text);
    host.set("read", Function::new(ctx.clone(), read)?)?;
    host.set("encode", Function::new(ctx.clone(), encode)?)?;
    host.set("decode", Function::new(ctx.clone(), decode)?)?;

    let mut options = EvalOptions::default();
    options.strict = true;
    options.filename = Some("prelude".to_owned());
    let install: Function = ctx.eval_with_options(PRELUDE, options)?;
    install.call((host,))
}

/// A text or bytes; a failure is the pair of an error's name and message. It is not thrown here, so that the error is
/// made by the prelude and its stack shows the caller.
fn read<'js>(ctx: &Ctx<'js>, call: &Call, path: &str, text: bool) -> Result<Value<'js>> {
    let (name, message) = match call.read_file(path) {
        Access::Granted(bytes) if text => return string(ctx, &bytes),
        Access::Granted(bytes) => return TypedArray::<u8>::new_copy(ctx.clone(), &bytes)?.into_js(ctx),
        Access::Denied(message) => (PERMISSION_DENIED, message),
        Access::Failed(message) => ("NotReadable", message),
    };
    let pair = Array::new(ctx.clone())?;
    pair.set(0, name)?;
    pair.set(1, message)?;
    pair.into_js(ctx)
}

fn encode(ctx: Ctx<'_>, text: String) -> Result<TypedArray<'_, u8>> {
    TypedArray::new_copy(ctx, text)
}

/// The text, or null when `fatal` and the bytes are no UTF-8.
fn decode<'js>(ctx: Ctx<'js>, bytes: TypedArray<'js, u8>, fatal: bool) -> Result<Value<'js>> {
    // SAFETY: the bytes belong to the array, which is alive, and no code runs while they are read.
    let bytes = unsafe { bytes.as_bytes() }.unwrap_or_default();
    if fatal && std::str::from_utf8(bytes).is_err() {
        return Ok(Value::new_null(ctx));
    }
    string(&ctx, bytes)
}

fn string<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    JsString::from_str(ctx.clone(), &String::from_utf8_lossy(bytes))?.into_js(ctx)
}
