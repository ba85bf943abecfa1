//! Arguments of the commands that drive runs. It does not know how runs are driven.

use std::path::PathBuf;

use clap::Args;

use raddle_engine::{Budget, Money};

use super::ShapeArgs;
use crate::problem::Problem;

/// `raddle run`.
#[derive(Debug, Default, Args)]
pub struct RunArgs {
    /// The workflow and how it is run.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// A parameter of the workflow; may be repeated.
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub input: Vec<String>,
    /// Parameters from a JSON file (an object); `--input` wins.
    #[arg(long, value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
    /// Show the plan and touch nothing (the same as `raddle plan`).
    #[arg(long)]
    pub dry_run: bool,
    /// Resume the latest unfinished run of this workflow; start a new one when there is none.
    #[arg(long, conflicts_with_all = ["dry_run", "only", "from", "simulate", "budget"])]
    pub recover: bool,
    /// With --recover: go on although the workflow has changed; what changed, and what hangs on it, runs again.
    #[arg(long, requires = "recover")]
    pub accept_changes: bool,
    /// What the run may spend, such as 5usd or 200000tok; may be repeated. It goes over the file's `limits.budget`.
    #[arg(long, value_name = "AMOUNT", value_parser = budget, conflicts_with = "dry_run")]
    pub budget: Vec<Budget>,
    /// Perform nothing; results are marked as simulated.
    #[arg(long)]
    pub simulate: bool,
    /// Leave the terminal; the run goes on in the background.
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Exit instead of waiting: 3 for a person or a quota; also where a disk takes nothing.
    #[arg(long)]
    pub no_wait: bool,
    /// Only this task; may be repeated.
    #[arg(long, value_name = "TASK")]
    pub only: Vec<String>,
    /// This task and everything that hangs on it; may be repeated.
    #[arg(long, value_name = "TASK", conflicts_with = "only")]
    pub from: Vec<String>,
    /// Answer yes to every gate as soon as it is asked; recorded as such. Gates that want a structured answer wait. With
    /// --recover also: agree to effects that may happen a second time.
    #[arg(long)]
    pub yes: bool,
    /// How results and progress are told.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// How a command that drives a run reports.
#[derive(Debug, Default, Clone, Args)]
pub struct ReportArgs {
    /// Print one JSON document about the run on stdout when it ends.
    #[arg(long)]
    pub json: bool,
    /// Write the run's events as JSON lines to a file, or to stdout with `-`.
    #[arg(long, value_name = "FILE|-")]
    pub events: Option<String>,
    /// Neither progress nor outputs; what --json and --events ask for is printed all the same.
    #[arg(long)]
    pub quiet: bool,
}

impl RunArgs {
    /// Refuses what is known by name only, before anything is read.
    pub fn refuse_unbuilt(&self) -> Result<(), Problem> {
        self.report.refuse_doubled_stdout()
    }
}

impl ReportArgs {
    /// One stdout cannot hold a document and a stream.
    pub fn refuse_doubled_stdout(&self) -> Result<(), Problem> {
        if self.json && self.events.as_deref() == Some("-") {
            return Err(Problem::usage("`--json` and `--events -` both want stdout").hint("give `--events` a file"));
        }
        Ok(())
    }
}

/// `raddle resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Only say what would be done; with --json as a document.
    #[arg(long, conflicts_with_all = ["budget", "events"])]
    pub dry_run: bool,
    /// Agree to effects that may happen a second time, instead of being asked.
    #[arg(long)]
    pub yes: bool,
    /// Another budget, such as 5usd or 200000tok; may be repeated. It is for the whole run: what was spent stays spent.
    #[arg(long, value_name = "AMOUNT", value_parser = budget)]
    pub budget: Vec<Budget>,
    /// Exit instead of waiting: 3 for a person or a quota; also where a disk takes nothing.
    #[arg(long)]
    pub no_wait: bool,
    /// Exit 4 when the run is degraded.
    #[arg(long)]
    pub strict: bool,
    /// How results and progress are told.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `raddle retry` and `raddle skip`: a decision about a task, after which the run goes on.
#[derive(Debug, Args)]
pub struct ContinueArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Exit instead of waiting: 3 for a person or a quota; also where a disk takes nothing.
    #[arg(long)]
    pub no_wait: bool,
    /// Exit 4 when the run is degraded.
    #[arg(long)]
    pub strict: bool,
    /// How results and progress are told.
    #[command(flatten)]
    pub report: ReportArgs,
}

/// `raddle reject`, and what `raddle approve` has beside its answer.
#[derive(Debug, Args)]
pub struct AnswerArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The task's id.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Why; recorded with the answer.
    #[arg(long, value_name = "TEXT", value_parser = comment)]
    pub comment: Option<String>,
    /// Answer only the question with this hash, or a beginning of it of at least 8 digits.
    #[arg(long, value_name = "HASH")]
    pub hash: Option<String>,
}

/// `raddle approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Which question, and why.
    #[command(flatten)]
    pub common: AnswerArgs,
    /// A structured answer: JSON, or NAME=VALUE, which may be repeated. It becomes the output of the gate.
    #[arg(long, value_name = "JSON|NAME=VALUE")]
    pub answer: Vec<String>,
}

fn comment(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty".to_owned()),
        text if text.len() > raddle_engine::gates::COMMENT_BYTES => {
            Err(format!("it is longer than {} bytes", raddle_engine::gates::COMMENT_BYTES))
        }
        text => Ok(text.to_owned()),
    }
}

/// `raddle stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The run: an id, an unambiguous beginning of one, or `last`.
    #[arg(value_name = "RUN")]
    pub run: String,
}

/// `5usd`, `0.10usd`, `$5` or `200000tok`.
fn budget(text: &str) -> Result<Budget, String> {
    let wrong = || format!("`{text}` is no amount; write it like 5usd, 0.10usd or 200000tok");
    let text = text.trim();
    if let Some(number) = text.strip_suffix("usd").or_else(|| text.strip_prefix('$')) {
        // Parsed as people write amounts: neither `inf` nor an exponent.
        let plain = number.trim();
        let digits = !plain.is_empty() && plain.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let usd = plain.parse().ok().filter(|_| digits).and_then(Money::from_usd).ok_or_else(wrong)?;
        return Ok(Budget { usd: Some(usd), ..Budget::default() });
    }
    let number = text.strip_suffix("tokens").or_else(|| text.strip_suffix("tok")).ok_or_else(wrong)?;
    let tokens = number.trim().replace('_', "").parse().map_err(|_| wrong())?;
    Ok(Budget { tokens: Some(tokens), ..Budget::default() })
}
