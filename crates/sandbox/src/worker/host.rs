//! What the global scope has beyond the language: console, text coding, reading allowed files, calling tools. It does
//! not know which files and tools are allowed. The functions here are reachable by the code only through `prelude.js`.

use std::ffi::CStr;
use std::rc::Rc;

use rquickjs::{
    Array, Ctx, Function, IntoJs, Object, Persistent, Result, String as JsString, TypedArray, Undefined, Value, qjs,
};

use super::call::{Access, Call};
use super::fault::{PERMISSION_DENIED, TOOL_ERROR};
use super::json_reader;
use crate::protocol::{Fixed, Order, ToolResult};

/// Strict by its own first statement.
const PRELUDE: &CStr = match CStr::from_bytes_with_nul(concat!(include_str!("prelude.js"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("the prelude has a zero byte"),
};

/// The prelude, compiled once per worker: reading bytecode costs a tenth of reading text.
#[derive(Debug, Default)]
pub(crate) struct Prelude {
    bytecode: Vec<u8>,
}

/// What the prelude leaves to the interpreter: the things that wait for a request.
pub(crate) struct Hooks {
    /// Makes clock and chance repeatable.
    fix: Persistent<Function<'static>>,
    /// Makes `tools`.
    tools: Persistent<Function<'static>>,
    /// Settles the promise of a tool's call.
    settle: Persistent<Function<'static>>,
}

impl Hooks {
    /// Makes clock and chance repeatable.
    pub(crate) fn fix(&self, ctx: &Ctx<'_>, fixed: Fixed) -> Result<()> {
        let halves = ((fixed.seed >> 32) as u32, fixed.seed as u32);
        self.fix.clone().restore(ctx)?.call((fixed.clock_ms as f64, halves.0, halves.1))
    }

    /// `tools`, made of its description.
    pub(crate) fn tools<'js>(&self, ctx: &Ctx<'js>, description: Value<'js>) -> Result<Value<'js>> {
        self.tools.clone().restore(ctx)?.call((description,))
    }

    /// Takes the next answer of a tool, for which it waits; false when none is owed.
    pub(crate) fn settle_one(&self, ctx: &Ctx<'_>, call: &Call) -> Result<bool> {
        let Some(body) = call.next_tool_answer() else { return Ok(false) };
        let Some(Order::Tool { question, answer }) = Order::decode(&body) else { return Ok(false) };
        let settle = self.settle.clone().restore(ctx)?;
        let named = |name: &'static str, message: &str| settle.call((question, Undefined, name, message.to_owned()));
        match answer {
            ToolResult::Value(json) => {
                let text = CStr::from_bytes_until_nul(json).unwrap_or_default();
                settle.call::<_, ()>((question, json_reader::parse(ctx, text)?))?;
            }
            ToolResult::Failed(message) => named(TOOL_ERROR, message)?,
            ToolResult::Denied(message) => named(PERMISSION_DENIED, message)?,
        }
        Ok(true)
    }
}

impl Prelude {
    /// Makes the global scope.
    pub(crate) fn install<'js>(&mut self, ctx: &Ctx<'js>, call: &Rc<Call>) -> Result<Hooks> {
        let host = host(ctx, call)?;
        let hooks: Object<'js> = self.function(ctx)?.call((host,))?;
        let hook = |name: &str| -> Result<_> { Ok(Persistent::save(ctx, hooks.get::<_, Function<'js>>(name)?)) };
        Ok(Hooks { fix: hook("fix")?, tools: hook("tools")?, settle: hook("settle")? })
    }

    fn function<'js>(&mut self, ctx: &Ctx<'js>) -> Result<Function<'js>> {
        let raw = ctx.as_raw().as_ptr();
        // SAFETY: the context is in use by this thread. The text ends with a zero byte. The bytecode was written by
        // this very process and is never seen by anyone else.
        let value = unsafe {
            let compiled = if self.bytecode.is_empty() {
                let flags = qjs::JS_EVAL_TYPE_GLOBAL | qjs::JS_EVAL_FLAG_COMPILE_ONLY;
                let text = PRELUDE.to_bytes();
                let name = c"prelude".as_ptr();
                let compiled = qjs::JS_Eval(raw, PRELUDE.as_ptr(), text.len() as _, name, flags as i32);
                if !qjs::JS_IsException(compiled) {
                    self.keep(raw, compiled);
                }
                compiled
            } else {
                let flags = qjs::JS_READ_OBJ_BYTECODE as i32;
                qjs::JS_ReadObject(raw, self.bytecode.as_ptr(), self.bytecode.len() as _, flags)
            };
            if qjs::JS_IsException(compiled) {
                return Err(rquickjs::Error::Exception);
            }
            // This takes the compiled script and gives the script's value, the function.
            Value::from_raw(ctx.clone(), qjs::JS_EvalFunction(raw, compiled))
        };
        value.get()
    }

    unsafe fn keep(&mut self, ctx: *mut qjs::JSContext, compiled: qjs::JSValue) {
        let mut size = 0;
        // SAFETY: the value is a compiled script of this context; what is written is copied and freed at once.
        unsafe {
            let written = qjs::JS_WriteObject(
                ctx,
                &raw mut size,
                compiled,
                (qjs::JS_WRITE_OBJ_BYTECODE | qjs::JS_WRITE_OBJ_STRIP_SOURCE) as i32,
            );
            if !written.is_null() {
                self.bytecode = std::slice::from_raw_parts(written, size as usize).to_vec();
                qjs::js_free(ctx, written.cast());
            }
        }
    }
}

fn host<'js>(ctx: &Ctx<'js>, call: &Rc<Call>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    let log = Rc::clone(call);
    host.set("log", Function::new(ctx.clone(), move |line: String| log.log(&line))?)?;
    let refuse = Rc::clone(call);
    let refuse = move |write: bool, resource: String| {
        let (action, rule) = if write {
            ("write", "code can write below /scratch/ only, in memory")
        } else {
            ("connect", "code has no network")
        };
        refuse.refuse(action, &resource, rule);
    };
    host.set("refuse", Function::new(ctx.clone(), refuse)?)?;
    let reader = Rc::clone(call);
    let read = move |ctx: Ctx<'js>, path: String, text: bool| read(&ctx, &reader, &path, text);
    host.set("read", Function::new(ctx.clone(), read)?)?;
    let caller = Rc::clone(call);
    let call_tool = move |ctx: Ctx<'js>, name: String, arguments: String| match caller.call_tool(&name, &arguments) {
        Ok(question) => question.into_js(&ctx),
        Err(why) => why.into_js(&ctx),
    };
    host.set("call", Function::new(ctx.clone(), call_tool)?)?;
    host.set("encode", Function::new(ctx.clone(), encode)?)?;
    host.set("decode", Function::new(ctx.clone(), decode)?)?;
    Ok(host)
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
