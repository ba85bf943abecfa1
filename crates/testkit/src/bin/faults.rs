//! The fault suite: kills, torn files, contention and crashes against the real binary, with a table of what was really
//! injected and what was violated. `faults --help` says what there is. It does not know how faults are made.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that answers on stdout")]

use std::process::ExitCode;

use raddle_testkit::faults;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    faults::main(&words)
}
