//! One interpreter for one call: made fresh, used once, thrown away. It does not know TypeScript, nor how the answer
//! travels.

use std::ffi::CStr;
use std::rc::Rc;

use rquickjs::context::EvalOptions;
use rquickjs::function::{Args, This};
use rquickjs::promise::PromiseState;
use rquickjs::{Context, Ctx, Function, Promise, Runtime, Value};

use super::allocator::Budget;
use super::call::Call;
use super::fault::{FILE, Fault, Telling};
use super::host::{Hooks, Prelude};
use super::strip::Stripper;
use super::{json_reader, json_writer};
use crate::protocol::{FailureKind, Fixed};

/// Native stack that the code may use; the process has 8 MB.
const STACK: usize = 1 << 20;

/// A runtime with its global scope, ready for one call.
pub(crate) struct Interpreter {
    /// Before the context, which must be there when they are dropped.
    hooks: Hooks,
    context: Context,
    call: Rc<Call>,
    memory: u64,
}

/// The code and what it sees; the JSON texts end with a zero byte.
pub(crate) struct Job<'a> {
    pub(crate) name: &'a str,
    pub(crate) code: &'a str,
    pub(crate) deps: &'a [u8],
    pub(crate) context: &'a [u8],
    /// Empty when there shall be no `tools`.
    pub(crate) tools: &'a [u8],
    pub(crate) fixed: Option<Fixed>,
}

impl Interpreter {
    /// Makes it; `None` when not even that fits into the memory.
    pub(crate) fn new(prelude: &mut Prelude, call: Rc<Call>, memory: u64) -> Option<Self> {
        let budget = Budget::new(usize::try_from(memory).unwrap_or(usize::MAX), Rc::clone(&call));
        let runtime = Runtime::new_with_alloc(budget).ok()?;
        runtime.set_max_stack_size(STACK);
        // Collecting cycles in a heap that is thrown away soon is a waste until the heap is large.
        runtime.set_gc_threshold(usize::try_from(memory / 4).unwrap_or(usize::MAX));
        let clock = Rc::clone(&call);
        runtime.set_interrupt_handler(Some(Box::new(move || clock.must_stop())));
        let context = Context::full(&runtime).ok()?;
        let hooks = context.with(|ctx| prelude.install(&ctx, &call)).ok()?;
        Some(Interpreter { hooks, context, call, memory })
    }

    /// Performs the call: the JSON text of the returned value, or why there is none.
    pub(crate) fn run(&self, stripper: &mut Stripper, job: &Job<'_>) -> Result<String, Fault> {
        let telling = Telling { call: &self.call, name: job.name, code: job.code, memory: self.memory };
        let js = stripper.strip(job.code).map_err(|e| telling.syntax(e))?;
        self.context.with(|ctx| {
            let result = match evaluate(&ctx, &self.call, &self.hooks, &js, job) {
                Ok(Some(value)) => json_writer::write(&value, &self.call).map_err(|why| telling.unwritable(&ctx, why)),
                Ok(None) if self.call.out_of_memory() => Err(telling.out_of_memory()),
                Ok(None) => Err(Fault {
                    kind: FailureKind::Logic,
                    message: "the code awaits a promise that nothing will ever settle".to_owned(),
                }),
                Err(_) => Err(telling.thrown(&ctx, &ctx.catch())),
            };
            match telling.stopped() {
                Some(fault) => Err(fault),
                None => result,
            }
        })
    }
}

/// The value that the code returns; `None` when it never will.
fn evaluate<'js>(
    ctx: &Ctx<'js>,
    call: &Call,
    hooks: &Hooks,
    js: &str,
    job: &Job<'_>,
) -> rquickjs::Result<Option<Value<'js>>> {
    if let Some(fixed) = job.fixed {
        hooks.fix(ctx, fixed)?;
    }
    let deps = json_reader::parse(ctx, terminated(job.deps))?;
    let context = json_reader::parse(ctx, terminated(job.context))?;

    // The names in scope are parameters of a function around the code, so the code may declare them again.
    let mut parameters = String::from("(deps,context");
    let mut values = vec![deps, context.clone()];
    let has_tools = job.tools.len() > 1;
    if has_tools {
        parameters.push_str(",tools");
        values.push(hooks.tools(ctx, json_reader::parse(ctx, terminated(job.tools))?)?);
    }
    if let Some(object) = context.as_object() {
        for entry in object.props::<rquickjs::String, Value>() {
            let (key, value) = entry?;
            let key = key.to_string()?;
            if is_bindable(&key) && !(has_tools && key == "tools") {
                parameters.push(',');
                parameters.push_str(&key);
                values.push(value);
            }
        }
    }
    // The code begins on the second line; `fault` knows that.
    let js = js.trim_end().trim_end_matches(';');
    let source = [&parameters, ")=>(\n", js, "\n)"].concat();
    let mut options = EvalOptions::default();
    options.strict = true;
    options.filename = Some(FILE.to_owned());
    let around: Function = ctx.eval_with_options(source, options)?;
    let mut arguments = Args::new(ctx.clone(), values.len());
    arguments.push_args(values)?;
    let body: Function = around.call_arg(arguments)?;
    let promise: Promise = body.call((This(Value::new_undefined(ctx.clone())),))?;

    loop {
        match promise.state() {
            PromiseState::Pending => {
                if call.must_stop() || !(ctx.execute_pending_job() || hooks.settle_one(ctx, call)?) {
                    return Ok(None);
                }
            }
            PromiseState::Resolved | PromiseState::Rejected => return promise.result().transpose(),
        }
    }
}

/// The text up to its zero byte; the protocol has checked that there is one.
fn terminated(text: &[u8]) -> &CStr {
    CStr::from_bytes_until_nul(text).unwrap_or_default()
}

/// Whether a key of the context can be the name of a parameter.
fn is_bindable(key: &str) -> bool {
    const RESERVED: &[&str] = &[
        "arguments",
        "await",
        "break",
        "case",
        "catch",
        "class",
        "const",
        "context",
        "continue",
        "debugger",
        "default",
        "delete",
        "deps",
        "do",
        "else",
        "enum",
        "eval",
        "export",
        "extends",
        "false",
        "finally",
        "for",
        "function",
        "if",
        "implements",
        "import",
        "in",
        "instanceof",
        "interface",
        "let",
        "new",
        "null",
        "package",
        "private",
        "protected",
        "public",
        "return",
        "static",
        "super",
        "switch",
        "this",
        "throw",
        "true",
        "try",
        "typeof",
        "var",
        "void",
        "while",
        "with",
        "yield",
    ];
    let mut chars = key.chars();
    let first = chars.next().is_some_and(|c| c == '$' || c == '_' || unicode_ident::is_xid_start(c));
    first && chars.all(|c| c == '$' || unicode_ident::is_xid_continue(c)) && RESERVED.binary_search(&key).is_err()
}

#[cfg(test)]
mod tests {
    use super::is_bindable;

    #[test]
    fn only_identifiers_become_names() {
        assert!(["k", "_x", "$", "größe", "a1"].into_iter().all(is_bindable));
        assert!(
            !["", "1a", "a-b", "a b", "deps", "context", "await", "with", "eval", "a,b", "a=1"]
                .into_iter()
                .any(is_bindable)
        );
    }
}
