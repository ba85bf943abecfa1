//! `raddle run`: from the command line to a launch. It does not know how the engine is hosted.

use std::path::Path;

use raddle_engine::snapshot::RunOptions;
use raddle_model::inputs::{Given, bind};
use raddle_model::workflow::Workflow;
use serde_json::{Map, Value};

use super::answer::this_person;
use super::host::Launch;
use super::{branches, budget, history, resume, store};
use crate::args::{RunArgs, Shape};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::source;
use crate::terminal::Colour;
use crate::{loading, plan};

/// The largest `--inputs-file`.
const INPUTS_LIMIT: u64 = 16 << 20;

/// `raddle run`.
pub fn run(args: RunArgs, colour: Colour) -> Result<Exit, Problem> {
    args.refuse_unbuilt()?;
    let shape = args.shape.understood()?;
    if args.dry_run {
        return plan::plan(&shape, args.report.json, colour, &history::Earlier);
    }
    let mut launch = prepare(&shape, &args, colour)?;
    launch.no_wait = args.no_wait;
    if args.recover {
        return resume::recover(launch, args.accept_changes, args.yes, args.detach, colour);
    }
    launch.make_ready()?;
    super::begin(args.detach, move |leash| launch.start(leash))
}

/// Reads, checks and plans; nothing is executed and nothing is written.
fn prepare(shape: &Shape, args: &RunArgs, colour: Colour) -> Result<Launch, Problem> {
    let (mut workflow, loaded) = loading::load(shape, colour)?.accepted(shape.strict, colour)?;
    workflow.budget = budget::together(&args.budget).or(workflow.budget);
    budget::refuse_unaccountable(&workflow, &loaded.project, args.simulate)?;
    for id in args.only.iter().chain(&args.from) {
        if !workflow.tasks.iter().any(|t| t.id == *id) {
            return Err(Problem::usage(format!("the workflow has no task `{id}`")));
        }
    }
    let inputs = inputs(&workflow, args.inputs_file.as_deref(), &args.input)?;
    let work_dir = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
    let worktrees = match args.simulate {
        true => None,
        false => branches::repository(&workflow, &work_dir, &loaded.project.worktrees)?,
    };
    let options = RunOptions {
        mode: shape.mode.map(|m| mode_word(m).to_owned()),
        parallelism: shape.parallelism.map(|p| level_word(p).to_owned()),
        optimization: shape.optimization.map(|o| optimization_word(o).to_owned()),
        max_parallel: shape.max_parallel,
        lift_caps: shape.lift_caps,
        simulate: args.simulate,
        only: args.only.clone(),
        from: args.from.clone(),
        work_dir: work_dir.to_string_lossy().into_owned(),
        slots: 0,
        worktrees,
    };
    let mut launch = Launch::new(store::home()?, workflow, loaded, inputs, options, args.report.clone(), shape.strict);

    launch.approves_as = args.yes.then(|| format!("{} (--yes)", this_person()));
    Ok(launch)
}

fn mode_word(mode: raddle_model::workflow::ExecutionMode) -> &'static str {
    use raddle_model::workflow::ExecutionMode::*;
    match mode {
        Sequential => "sequential",
        Waves => "waves",
        Parallel => "parallel",
        Adaptive => "adaptive",
    }
}

fn level_word(level: raddle_model::workflow::ParallelismLevel) -> &'static str {
    use raddle_model::workflow::ParallelismLevel::*;
    match level {
        Low => "low",
        Medium => "medium",
        High => "high",
        Unlimited => "unlimited",
    }
}

fn optimization_word(mode: raddle_model::workflow::OptimizationMode) -> &'static str {
    use raddle_model::workflow::OptimizationMode::*;
    match mode {
        None => "none",
        Balanced => "balanced",
        Aggressive => "aggressive",
    }
}

/// Values of the workflow's parameters: defaults, then the file, then `--input`. Everything wrong with them is told.
pub fn inputs(workflow: &Workflow, file: Option<&Path>, pairs: &[String]) -> Result<Map<String, Value>, Problem> {
    let mut given: Vec<(String, Given)> = Vec::new();
    if let Some(path) = file {
        given.extend(inputs_of_file(path)?.into_iter().map(|(name, value)| (name, Given::Value(value))));
    }
    for pair in pairs {
        let Some((name, text)) = pair.split_once('=') else {
            return Err(Problem::usage(format!("`--input {pair}` is not NAME=VALUE")));
        };
        given.push((name.to_owned(), Given::Text(text.to_owned())));
    }
    bind(workflow, &given).map_err(|faults| {
        let told: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        let problem = Problem::usage(told.join("; "));
        faults.iter().filter_map(|fault| fault.help.clone()).fold(problem, Problem::hint)
    })
}

fn inputs_of_file(path: &Path) -> Result<Map<String, Value>, Problem> {
    let wrong = |what: String| Problem::usage(format!("cannot read inputs from {}: {what}", path.display()));
    let bytes = source::read_bounded(path, INPUTS_LIMIT).map_err(wrong)?;
    match serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))? {
        Value::Object(values) => Ok(values),
        _ => Err(wrong("it is no JSON object".into())),
    }
}
