//! From the command line to one function per command, and from its answer to an exit code. It does not know how any
//! command does its work.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use raddle_sandbox::worker;

use crate::args::{Cli, Command, ExecutorsAction, PermAction};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, Colour};
use crate::{args, cost, doctor, executors, permissions, plan, run, sim, validate};

/// Parses, dispatches, and tells what went wrong.
pub fn main(argv: Vec<OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args::without_aliases(argv)) {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is there to be told when this fails.
            let _ = error.print();
            return if error.exit_code() == 0 { Exit::Success } else { Exit::Usage };
        }
    };
    let colour = Colour::for_stderr(cli.no_color);
    dispatch(cli.command, colour).unwrap_or_else(|problem| told(&problem, colour))
}

/// The sandbox worker's own entry: no command line to parse, no configuration, no display.
pub fn sandbox_worker(arguments: &[OsString]) -> ExitCode {
    let arguments = arguments.iter().map(|argument| argument.to_string_lossy());
    match worker::Config::from_args(arguments) {
        Ok(config) => worker::main(config),
        Err(error) => told(&Problem::usage(error.to_string()), Colour::Off).into(),
    }
}

fn dispatch(command: Command, colour: Colour) -> Result<Exit, Problem> {
    match command {
        Command::Run(args) => run::run(*args, colour),
        Command::Resume(args) => run::resume(args, colour),
        Command::Retry(args) => run::retry(args, colour),
        Command::Skip(args) => run::skip(args, colour),
        Command::Stop(args) => run::stop(args),
        Command::Ps(args) => run::ps(args),
        Command::Show(args) => run::show(args),
        Command::Watch(args) => run::watch(args),
        Command::Logs(args) => run::logs(args),
        Command::Trace(args) => run::trace(args),
        Command::Why(args) => run::why(args),
        Command::Checkpoint(args) => run::checkpoint(args),
        Command::Gc(args) => run::gc(args),
        Command::Fsck(args) => run::fsck(args),
        Command::Executors(args) => match args.action {
            None => executors::compare(args.json, colour),
            Some(ExecutorsAction::Compare { json }) => executors::compare(json || args.json, colour),
            Some(ExecutorsAction::Select(select)) => executors::select(&select, colour),
        },
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions(args) => completions(args.shell),
        Command::Approve(args) => run::approve(args),
        Command::Reject(args) => run::reject(args),
        Command::Patch(args) => run::patch(args, colour),
        Command::Cost(args) => cost::cost(&args),
        Command::Perm(args) => match args.action {
            PermAction::Explain(args) => permissions::explain(args, colour),
        },
        Command::Worktrees(args) => run::worktrees(args, colour),
        Command::Serve(_) => Err(unbuilt("serve", "serves the HTTP API and the web interface")),
        Command::Mcp(_) => Err(unbuilt("mcp", "serves the commands as an MCP server")),
        Command::Plan(args) => plan::plan(&args.shape.understood()?, args.json, colour, &run::history::Earlier),
        Command::Validate(args) => validate::validate(args, colour),
        Command::Sim(args) => sim::sim(&args, colour),
        Command::Schema(args) => schema(args.path.as_deref()),
    }
}

fn unbuilt(command: &str, meaning: &str) -> Problem {
    Problem::not_yet(&format!("raddle {command}"), meaning)
}

fn completions(shell: clap_complete::Shell) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "raddle", &mut script);
    terminal::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}

fn schema(path: Option<&str>) -> Result<Exit, Problem> {
    let schema = raddle_model::schema::schema(path).map_err(|e| Problem::usage(e.to_string()))?;
    let text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    terminal::print(&format!("{text}\n"))?;
    Ok(Exit::Success)
}

fn told(problem: &Problem, colour: Colour) -> Exit {
    if !problem.told {
        let (red, bold, off) = match colour {
            Colour::On => ("\u{1b}[1;31m", "\u{1b}[1m", "\u{1b}[0m"),
            Colour::Off => ("", "", ""),
        };
        let mut text = format!("{red}error{off}: {}\n", terminal::harmless_lines(&problem.message));
        for hint in &problem.hints {
            text.push_str(&format!("  {bold}hint{off}: {}\n", terminal::harmless_lines(hint)));
        }
        terminal::tell(&text);
    }
    problem.exit
}
