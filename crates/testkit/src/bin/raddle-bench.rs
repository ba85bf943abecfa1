//! The adapter through which the benchmark harness runs raddle beside its peers (`BENCH_RADDLE`): one call, one JSON
//! line on stdout. It does not know what others are measured against.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that answers on stdout")]

use std::process::ExitCode;

use raddle_testkit::bench;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let answer = match words[..] {
        ["version"] => bench::process::version(),
        ["proc", dag, jobs, ..] if words.len() > 3 => bench::process::tasks(dag, jobs, &words[3..]),
        ["noop", dag] => bench::steps::noop(dag),
        ["durable", shape, steps] => bench::steps::durable(shape, steps),
        ["sandbox", snippet, input] => bench::hands::sandbox(snippet, input),
        ["sandbox-warm", snippet, input, calls] => bench::hands::sandbox_warm(snippet, input, calls),
        ["sandbox-crowd", snippet, input, tasks] => bench::hands::sandbox_crowd(snippet, input, tasks),
        ["mcp", calls, in_flight, tool, arguments, ..] if words.len() > 5 => {
            bench::hands::mcp(calls, in_flight, tool, arguments, &words[5..])
        }
        ["recover", steps] => bench::recover::measure(steps),
        ["recover-begin", folder, steps] => bench::recover::begin(folder, steps),
        ["recover-resume", folder] => bench::recover::resume(folder),
        ["replay", steps] => bench::recover::replay(steps),
        _ => Err("usage: raddle-bench version | proc DAG JOBS CMD… | noop DAG | durable chain|fan|conc STEPS | \
                  recover STEPS | replay STEPS | sandbox SNIPPET INPUT | sandbox-warm SNIPPET INPUT CALLS | sandbox-crowd SNIPPET INPUT TASKS | \
                  mcp CALLS IN_FLIGHT TOOL ARGUMENTS SERVER…"
            .to_owned()),
    };
    match answer {
        Ok(line) => {
            if !line.is_empty() {
                println!("{line}");
            }
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("raddle-bench: {what}");
            ExitCode::FAILURE
        }
    }
}
