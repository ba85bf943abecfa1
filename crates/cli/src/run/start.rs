//! `raddle run`: from the command line to a launch. It does not know how the engine is hosted.

use std::path::{Path, PathBuf};

use raddle_engine::snapshot::RunOptions;
use raddle_model::workflow::{InputType, Workflow};
use serde_json::{Map, Value};

use super::host::Launch;
use super::{history, resume, store};
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
    let launch = prepare(&shape, &args, colour)?;
    if args.recover {
        return resume::recover(launch, args.accept_changes, args.detach, colour);
    }
    super::begin(args.detach, move |leash| launch.start(leash))
}

/// Reads, checks and plans; nothing is executed and nothing is written.
fn prepare(shape: &Shape, args: &RunArgs, colour: Colour) -> Result<Launch, Problem> {
    let (workflow, loaded) = loading::load(shape, colour)?.accepted(shape.strict, colour)?;
    for id in args.only.iter().chain(&args.from) {
        if !workflow.tasks.iter().any(|t| t.id == *id) {
            return Err(Problem::usage(format!("the workflow has no task `{id}`")));
        }
    }
    let inputs = inputs(&workflow, args)?;
    let work_dir = std::env::current_dir().map_err(|e| Problem::io("find the current folder", &e))?;
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
    };
    Ok(Launch::new(store::home()?, workflow, loaded, inputs, options, args.report.clone(), shape.strict))
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

/// Values of the workflow's parameters: defaults, then the file, then `--input`, each checked against its type.
fn inputs(workflow: &Workflow, args: &RunArgs) -> Result<Map<String, Value>, Problem> {
    let mut given = Map::new();
    if let Some(path) = &args.inputs_file {
        given = inputs_of_file(path)?;
    }
    let declared = |name: &str| workflow.inputs.iter().find(|d| d.name == name);
    let known = || {
        let names: Vec<&str> = workflow.inputs.iter().map(|d| d.name.as_str()).collect();
        if names.is_empty() {
            "the workflow declares no inputs".into()
        } else {
            format!("its inputs: {}", names.join(", "))
        }
    };
    for pair in &args.input {
        let Some((name, text)) = pair.split_once('=') else {
            return Err(Problem::usage(format!("`--input {pair}` is not NAME=VALUE")));
        };
        let Some(declaration) = declared(name) else {
            return Err(Problem::usage(format!("the workflow has no input `{name}`")).hint(known()));
        };
        let value = typed(declaration.kind, text).ok_or_else(|| {
            Problem::usage(format!("input `{name}` is to be {}, not `{text}`", type_words(declaration.kind)))
        })?;
        given.insert(name.to_owned(), value);
    }
    let mut values = Map::new();
    for (name, value) in given {
        let Some(declaration) = declared(&name) else {
            return Err(Problem::usage(format!("the workflow has no input `{name}`")).hint(known()));
        };
        if !fits(declaration.kind, &value) {
            return Err(Problem::usage(format!(
                "input `{name}` is to be {}, not {value}",
                type_words(declaration.kind)
            )));
        }
        values.insert(name, value);
    }
    let mut missing = Vec::new();
    for declaration in &workflow.inputs {
        if values.contains_key(&declaration.name) {
            continue;
        }
        match &declaration.default {
            Some(default) => drop(values.insert(declaration.name.clone(), default.clone())),
            None => missing.push(declaration.name.as_str()),
        }
    }
    match missing[..] {
        [] => Ok(values),
        [first, ..] => Err(Problem::usage(format!("missing input: {}", missing.join(", ")))
            .hint(format!("give it with `--input {first}=…` or in a JSON file with `--inputs-file`"))),
    }
}

fn inputs_of_file(path: &PathBuf) -> Result<Map<String, Value>, Problem> {
    let wrong = |what: String| Problem::usage(format!("cannot read inputs from {}: {what}", path.display()));
    let bytes = source::read_bounded(Path::new(path), INPUTS_LIMIT).map_err(wrong)?;
    match serde_json::from_slice(&bytes).map_err(|e| wrong(e.to_string()))? {
        Value::Object(values) => Ok(values),
        _ => Err(wrong("it is no JSON object".into())),
    }
}

/// The text of a flag as a value of that type. Strings are taken as they are.
fn typed(kind: InputType, text: &str) -> Option<Value> {
    match kind {
        InputType::String => Some(Value::String(text.to_owned())),
        _ => serde_json::from_str(text).ok().filter(|value| fits(kind, value)),
    }
}

fn fits(kind: InputType, value: &Value) -> bool {
    match kind {
        InputType::String => value.is_string(),
        InputType::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        InputType::Number => value.is_number(),
        InputType::Boolean => value.is_boolean(),
        InputType::Array => value.is_array(),
        InputType::Object => value.is_object(),
    }
}

fn type_words(kind: InputType) -> &'static str {
    match kind {
        InputType::String => "a text",
        InputType::Integer => "a whole number",
        InputType::Number => "a number",
        InputType::Boolean => "true or false",
        InputType::Array => "a JSON list",
        InputType::Object => "a JSON object",
    }
}
