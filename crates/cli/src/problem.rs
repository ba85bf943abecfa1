//! What a command says when it cannot do its work: a message, hints, and whose problem it is as an exit code. It
//! does not know how it is shown.

use std::fmt::Display;

use crate::exit::Exit;

/// Why a command ended without doing what it was asked. Messages are lowercase fragments without a full stop.
#[derive(Debug)]
pub struct Problem {
    /// The exit code that follows from it.
    pub exit: Exit,
    /// Everything there is to say has been said already (rendered diagnostics): only the code is left.
    pub told: bool,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Problem {
    /// A problem with that exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Problem { exit, told: false, message: message.into(), hints: Vec::new() }
    }

    /// The input or the command line is at fault.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Something that the contract names and this version does not do yet. `what` is a command or a flag as typed.
    pub fn not_yet(what: &str, meaning: &str) -> Self {
        Self::usage(format!("not-yet-supported: `{what}` is not built yet")).hint(format!("{what} {meaning}"))
    }

    /// A file or folder that could not be read or written.
    pub fn io(what: impl Display, error: &std::io::Error) -> Self {
        Self::usage(format!("cannot {what}: {}", io_words(error)))
    }

    /// The diagnostics have been rendered; nothing more is printed.
    pub fn told(exit: Exit) -> Self {
        Problem { exit, told: true, message: String::new(), hints: Vec::new() }
    }

    /// Adds a line of help.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// The operating system's words without the number that follows them.
pub fn io_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => text.to_owned(),
    }
}
