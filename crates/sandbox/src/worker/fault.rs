//! Why a call failed, in words for the person who wrote the code. It decides nothing about what follows.

use rquickjs::{Ctx, Value};

use super::call::Call;
use super::json_writer::{self, Unwritable};
use super::strip::{Place, SyntaxError, original_place};
use crate::protocol::{FailureKind, MAX_RESULT, cut};

/// The name under which the code is known to the interpreter, to find it again in a stack.
pub(crate) const FILE: &str = "code";
/// The name of the error that the code sees when something is refused.
pub(crate) const PERMISSION_DENIED: &str = "PermissionDenied";

/// The name of the error that the code sees when a tool fails.
pub(crate) const TOOL_ERROR: &str = "ToolError";

/// A call that failed.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl Fault {
    /// Not even an empty interpreter fits.
    pub(crate) fn too_little_memory(memory: u64) -> Self {
        let message = format!("the memory limit of {} MB is too small for any code", memory >> 20);
        Fault { kind: FailureKind::Oom, message }
    }
}

/// What is needed to tell a fault: the call, its name and its text.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'a> {
    pub(crate) call: &'a Call,
    pub(crate) name: &'a str,
    pub(crate) code: &'a str,
    pub(crate) memory: u64,
}

impl Telling<'_> {
    /// The code must stop: time, or refusals without end.
    pub(crate) fn stopped(&self) -> Option<Fault> {
        if self.call.timed_out() {
            let millis = self.call.timeout().as_millis();
            return Some(Fault {
                kind: FailureKind::Timeout,
                message: format!("the code ran longer than {millis} ms"),
            });
        }
        self.call.must_stop().then(|| {
            let message = "the code went on trying what it is not permitted, and was stopped".to_owned();
            Fault { kind: FailureKind::Permission, message }
        })
    }

    /// The interpreter could not get memory.
    pub(crate) fn out_of_memory(&self) -> Fault {
        let limit = self.memory >> 20;
        Fault { kind: FailureKind::Oom, message: format!("the code needs more memory than its limit of {limit} MB") }
    }

    /// The text is not TypeScript.
    pub(crate) fn syntax(&self, error: SyntaxError) -> Fault {
        let message = format!("SyntaxError: {}{}", error.message, self.at(error.place));
        Fault { kind: FailureKind::Logic, message }
    }

    /// The returned value cannot be written.
    pub(crate) fn unwritable(&self, ctx: &Ctx<'_>, why: Unwritable) -> Fault {
        let message = match why {
            Unwritable::NotJson(message) => message,
            Unwritable::TooLong => format!("the returned value is longer than {MAX_RESULT} bytes as JSON"),
            Unwritable::Threw => return self.thrown(ctx, &ctx.catch()),
            Unwritable::Stopped => match self.stopped() {
                Some(fault) => return fault,
                None => "the call was stopped".to_owned(),
            },
        };
        Fault { kind: FailureKind::Output, message }
    }

    /// Something was thrown and not caught. Reading it may run code of the user's, which may throw again.
    pub(crate) fn thrown(&self, ctx: &Ctx<'_>, value: &Value<'_>) -> Fault {
        if let Some(fault) = self.stopped() {
            return fault;
        }
        let fault = if value.is_error() { self.error(ctx, value) } else { self.other(ctx, value) };
        // The telling itself may have been made endless.
        self.stopped().unwrap_or(fault)
    }

    fn error(&self, ctx: &Ctx<'_>, value: &Value<'_>) -> Fault {
        let object = value.as_object();
        let text = |key: &str| {
            let found = object.and_then(|object| object.get::<_, Option<rquickjs::String>>(key).ok()).flatten();
            let found = found.and_then(|text| text.to_string().ok());
            if found.is_none() {
                ctx.catch();
            }
            found.unwrap_or_default()
        };
        let (name, message, stack) = (text("name"), text("message"), text("stack"));
        let (name, message) = (cut(&name, 200), cut(&message, 8 << 10));
        if self.call.out_of_memory() && matches!(name, "InternalError" | "RangeError" | "") {
            return self.out_of_memory();
        }
        // Strings that share their parts can outgrow the interpreter's limit without using up the memory.
        if name == "InternalError" && message == "string too long" {
            return self.out_of_memory();
        }
        // Names can be forged, so what they claim must have happened.
        let kind = match name {
            PERMISSION_DENIED if self.call.denials() > 0 => FailureKind::Permission,
            TOOL_ERROR if self.call.tool_failures() > 0 => FailureKind::Tool,
            _ => FailureKind::Logic,
        };
        let name = if name.is_empty() { "Error" } else { name };
        let colon = if message.is_empty() { "" } else { ": " };
        let place = place_in(&stack).and_then(|place| original_place(self.code, place));
        Fault { kind, message: format!("{name}{colon}{message}{}", self.at(place)) }
    }

    fn other(&self, ctx: &Ctx<'_>, value: &Value<'_>) -> Fault {
        if value.is_null() && self.call.out_of_memory() {
            return self.out_of_memory();
        }
        let told = if let Some(text) = value.as_string() {
            text.to_string().unwrap_or_default()
        } else {
            let json =
                if value.is_undefined() { Ok("undefined".to_owned()) } else { json_writer::write(value, self.call) };
            json.unwrap_or_else(|_| {
                ctx.catch();
                format!("a value of type {}", value.type_name())
            })
        };
        Fault { kind: FailureKind::Logic, message: format!("thrown: {}", cut(&told, 8 << 10)) }
    }

    fn at(&self, place: Option<Place>) -> String {
        place.map(|p| format!(" ({}:{}:{})", cut(self.name, 200), p.line, p.column)).unwrap_or_default()
    }
}

/// The innermost place of the user's code in a stack, in the stripped text.
fn place_in(stack: &str) -> Option<Place> {
    stack.lines().find_map(|line| {
        let (before, after) = line.rsplit_once(&format!("{FILE}:"))?;
        if !before.ends_with(['(', ' ']) {
            return None;
        }
        let mut numbers = after.trim_end_matches(')').split(':').map(|n| n.parse::<u32>().ok());
        let (line, column) = (numbers.next()??, numbers.next()??);
        // The first line is the function around the code.
        Some(Place { line: line.checked_sub(1).filter(|l| *l > 0)?, column })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_users() {
        let stack = "    at fail (prelude:3:4)\n    at f (code:4:9)\n    at <anonymous> (code:9:1)\n";
        assert_eq!(place_in(stack), Some(Place { line: 3, column: 9 }));
        assert_eq!(place_in("    at code:2:5\n"), Some(Place { line: 1, column: 5 }));
        assert_eq!(place_in("    at x (native)\n    at (barcode:1:1)"), None);
    }
}
