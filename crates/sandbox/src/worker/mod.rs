//! The worker process: sealed first, then one call after the other until its stdin ends. It does not know who calls
//! or why, and keeps nothing between calls but the stripped text of code that it has seen.
//!
//! A worker is this crate's [`main`] in a re-executed binary. It must be called before the process starts a thread.
//! The parent gives it pipes for stdin and stdout, `/dev/null` or a pipe for stderr (files are closed to it: writing to
//! one would kill it), and an empty environment.

mod allocator;
mod call;
mod fault;
mod host;
mod interpreter;
mod json_reader;
mod json_writer;
mod link;
pub mod seal;
pub(crate) mod strip;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::exit;
use crate::protocol::{Order, Reply};
use call::Call;
use fault::Fault;
use host::Prelude;
use interpreter::{Interpreter, Job};
use link::Link;
use strip::Stripper;

/// What a worker is started with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Config {
    /// How much the values of a call may take, in bytes; the interpreter's bookkeeping can add as much again. Fixed for
    /// the life of the worker, so that the kernel can enforce a bound too.
    pub memory_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { memory_bytes: 64 << 20 }
    }
}

impl Config {
    /// Below this not even the interpreter fits.
    pub const MIN_MEMORY: u64 = 1 << 20;

    /// The command-line arguments (after the hidden sub-command) that [`Config::from_args`] understands.
    pub fn to_args(self) -> [String; 2] {
        ["--memory".to_owned(), self.memory_bytes.to_string()]
    }

    /// Reads the arguments of a worker.
    pub fn from_args<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> Result<Self, BadArguments> {
        let mut args = args.into_iter();
        let (flag, value) = (args.next(), args.next());
        match (flag.as_ref().map(AsRef::as_ref), value.as_ref().map(AsRef::as_ref), args.next()) {
            (None, None, None) => Ok(Config::default()),
            (Some("--memory"), Some(bytes), None) => match bytes.parse() {
                Ok(memory_bytes) if memory_bytes >= Self::MIN_MEMORY => Ok(Config { memory_bytes }),
                _ => Err(BadArguments),
            },
            _ => Err(BadArguments),
        }
    }
}

/// A worker was started with arguments that it does not understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadArguments;

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected `--memory BYTES` of at least {}", Config::MIN_MEMORY)
    }
}

impl std::error::Error for BadArguments {}

/// Seals the process and serves calls until stdin ends. Never returns; see [`exit`] for the statuses.
pub fn main(config: Config) -> ! {
    let link = Link::default();
    let status = match seal::seal(config.memory_bytes) {
        Ok(()) => serve(config, Rc::new(link)),
        Err(reason) => {
            link.send(&Reply::Refused { reason });
            exit::REFUSED
        }
    };
    std::process::exit(status)
}

fn serve(config: Config, link: Rc<Link>) -> i32 {
    let mut stripper = Stripper::default();
    let mut prelude = Prelude::default();
    let mut frame = Vec::new();
    loop {
        // The interpreter of the next call is made while the parent is busy with the reply of the last one.
        let call = Rc::new(Call::new(Rc::clone(&link)));
        let interpreter = Interpreter::new(&mut prelude, Rc::clone(&call), config.memory_bytes);
        if !link.receive(&mut frame) {
            return 0;
        }
        let Some(Order::Call { id, timeout_ms, fixed, name, code, deps, context, tools }) = Order::decode(&frame)
        else {
            return exit::BAD_PARENT;
        };
        call.begin(id, Duration::from_millis(timeout_ms.into()));
        let result = match &interpreter {
            Some(interpreter) => interpreter.run(&mut stripper, &Job { name, code, deps, context, tools, fixed }),
            None => Err(Fault::too_little_memory(config.memory_bytes)),
        };
        let reply = match result {
            Ok(json) => Reply::Done { id, json, log: call.take_log(), last: call.is_last() },
            Err(Fault { kind, message }) => {
                Reply::Failed { id, kind, message, log: call.take_log(), last: call.is_last() }
            }
        };
        if !link.send(&reply) || reply.is_last() {
            // At once: the destructors of an interpreter that met a limit are not trusted either.
            std::process::exit(0);
        }
        drop(interpreter);
        // One huge request must not stay allocated for the life of a pooled worker.
        if frame.capacity() > 4 << 20 {
            frame = Vec::new();
        }
    }
}
