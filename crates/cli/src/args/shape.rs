//! The flags that shape a run and its plan: where the definition comes from, mode, caps, optimisation. It does not
//! know the workflow they are applied to.

use clap::Args;
use raddle_model::workflow::{ExecutionMode, OptimizationMode, ParallelismLevel, Workflow};

use crate::problem::Problem;

/// What `run` and `plan` have in common.
#[derive(Debug, Default, Args)]
pub struct ShapeArgs {
    /// The workflow: a file, `-` for stdin, or JSON text beginning with `{`. Default: workflow.yaml or dag.yaml here.
    #[arg(value_name = "FILE|-|INLINE")]
    pub file: Option<String>,
    /// After FILE: a mode word, `parallelism=LEVEL`, `optimization=MODE`.
    #[arg(value_name = "MODE|KEY=VALUE")]
    pub words: Vec<String>,
    /// sequential, waves, parallel or adaptive.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// low (2), medium (5), high (13) or unlimited.
    #[arg(long, value_name = "LEVEL")]
    pub parallelism: Option<String>,
    /// At most this many tasks of each kind (agents, shell and code, tools) at once; wins over what is configured.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_parallel: Option<u32>,
    /// none, balanced or aggressive (refused where it would start soft dependents early: not built yet).
    #[arg(long, value_name = "MODE")]
    pub optimization: Option<String>,
    /// Lift every configured cap to what the executors allow.
    #[arg(long)]
    pub parallel: bool,
    /// Treat warnings as errors; for a run, also exit 4 when it is degraded.
    #[arg(long)]
    pub strict: bool,
}

/// The same, understood.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The workflow as the person named it.
    pub file: Option<String>,
    /// `--mode` or a bare word.
    pub mode: Option<ExecutionMode>,
    /// `--parallelism` or `parallelism=`.
    pub parallelism: Option<ParallelismLevel>,
    /// `--optimization` or `optimization=`.
    pub optimization: Option<OptimizationMode>,
    /// `--max-parallel`.
    pub max_parallel: Option<u32>,
    /// `--parallel`.
    pub lift_caps: bool,
    /// `--strict`.
    pub strict: bool,
}

impl ShapeArgs {
    /// Reads words and flags together; the same thing said twice must be the same.
    pub fn understood(&self) -> Result<Shape, Problem> {
        let mut shape = Shape {
            file: self.file.clone(),
            max_parallel: self.max_parallel,
            lift_caps: self.parallel,
            strict: self.strict,
            ..Shape::default()
        };
        let mut words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        // `raddle run sequential` means the default file, unless a file has that name.
        if let Some(first) = self.file.as_deref()
            && is_word(first)
            && !std::path::Path::new(first).exists()
        {
            shape.file = None;
            words.insert(0, first);
        }
        let flags = [("mode", &self.mode), ("parallelism", &self.parallelism), ("optimization", &self.optimization)];
        let spoken = words.into_iter().map(|word| match word.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned(), word.to_owned()),
            None => ("mode".to_owned(), word.to_owned(), word.to_owned()),
        });
        let flagged = flags.into_iter().filter_map(|(key, value)| {
            Some((key.to_owned(), value.clone()?, format!("--{key} {}", value.as_deref()?)))
        });
        for (key, value, said) in spoken.chain(flagged) {
            match key.as_str() {
                "mode" | "execution_mode" => agree(&mut shape.mode, mode(&value)?, &said)?,
                "parallelism" => agree(&mut shape.parallelism, level(&value)?, &said)?,
                "optimization" => agree(&mut shape.optimization, optimization(&value)?, &said)?,
                _ => {
                    return Err(Problem::usage(format!("unexpected word `{said}` after the workflow")).hint(
                        "known are: a mode (sequential, waves, parallel, adaptive), parallelism=…, optimization=…",
                    ));
                }
            }
        }
        Ok(shape)
    }
}

impl Shape {
    /// Puts what the command line says over what the file says.
    pub fn apply(&self, workflow: &mut Workflow) {
        workflow.mode = self.mode.unwrap_or(workflow.mode);
        workflow.parallelism = self.parallelism.unwrap_or(workflow.parallelism);
        workflow.optimization = self.optimization.unwrap_or(workflow.optimization);
    }
}

fn is_word(text: &str) -> bool {
    mode(text).is_ok()
        || text.split_once('=').is_some_and(|(key, _)| matches!(key, "parallelism" | "optimization" | "mode"))
}

fn agree<T: PartialEq>(slot: &mut Option<T>, value: T, said: &str) -> Result<(), Problem> {
    match slot {
        Some(before) if *before != value => {
            Err(Problem::usage(format!("`{said}` contradicts what was said before it on the command line")))
        }
        _ => {
            *slot = Some(value);
            Ok(())
        }
    }
}

fn mode(text: &str) -> Result<ExecutionMode, Problem> {
    Ok(match text {
        "sequential" => ExecutionMode::Sequential,
        "waves" => ExecutionMode::Waves,
        "parallel" => ExecutionMode::Parallel,
        "adaptive" => ExecutionMode::Adaptive,
        _ => return Err(unknown("mode", text, "sequential, waves, parallel, adaptive")),
    })
}

fn level(text: &str) -> Result<ParallelismLevel, Problem> {
    Ok(match text {
        "low" => ParallelismLevel::Low,
        "medium" => ParallelismLevel::Medium,
        "high" => ParallelismLevel::High,
        "unlimited" => ParallelismLevel::Unlimited,
        _ => return Err(unknown("parallelism", text, "low, medium, high, unlimited")),
    })
}

fn optimization(text: &str) -> Result<OptimizationMode, Problem> {
    Ok(match text {
        "none" => OptimizationMode::None,
        "balanced" => OptimizationMode::Balanced,
        "aggressive" => OptimizationMode::Aggressive,
        _ => return Err(unknown("optimization", text, "none, balanced, aggressive")),
    })
}

fn unknown(what: &str, text: &str, known: &str) -> Problem {
    Problem::usage(format!("unknown {what} `{text}`")).hint(format!("known are: {known}"))
}
