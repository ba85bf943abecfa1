//! The binary's entry point. It knows the words that must not wait for argument parsing, and nothing else.

#![allow(unreachable_pub, reason = "in a binary `pub` tells other modules what they may use; nothing is reachable")]

mod args;
mod commands;
mod config;
mod cost;
mod display;
mod doctor;
mod executors;
mod exit;
mod loading;
mod permissions;
mod places;
mod plan;
mod problem;
mod programs;
mod project;
mod report;
mod run;
mod sim;
mod source;
mod terminal;
mod validate;

use std::process::ExitCode;

fn main() -> ExitCode {
    let argv: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // A sandbox worker is started once per code task: it must not pay for a command line it does not have.
    if argv.get(1).is_some_and(|word| word == "__sandbox-worker") {
        return commands::sandbox_worker(&argv[2..]);
    }
    commands::main(argv).into()
}
