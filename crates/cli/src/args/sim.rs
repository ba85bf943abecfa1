//! Arguments of `raddle sim`. It does not know how stories are lived through.

use std::path::PathBuf;

use clap::Args;
use raddle_sim::{Kind, Kinds};

use super::ShapeArgs;

pub(super) const SIM_EXAMPLES: &str = "Examples:\n  raddle sim workflow.yaml\n  raddle sim workflow.yaml --seeds 20000\n  \
    raddle sim workflow.yaml --seed 4711\n  raddle sim workflow.yaml --faults crashes,people --json\n\n\
    Nothing is executed: tasks are scripted, time is virtual. Checked is what is promised of every run, and the\n\
    workflow's own `invariants:`. Exit 0: every promise held; 1: one was broken.";

/// `raddle sim`.
#[derive(Debug, Args)]
pub struct SimArgs {
    /// The workflow and how it would be run.
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// A parameter of the workflow; may be repeated.
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub input: Vec<String>,
    /// Parameters from a JSON file (an object); `--input` wins.
    #[arg(long, value_name = "FILE")]
    pub inputs_file: Option<PathBuf>,
    /// How many seeds.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub seeds: u64,
    /// The first of them.
    #[arg(long, value_name = "SEED", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=u64::MAX / 2))]
    pub from: u64,
    /// Only this seed: its whole story, the same each time.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["seeds", "from", "jobs"])]
    pub seed: Option<u64>,
    /// What may go wrong: all, none, or some of crashes, failures, timeouts, limits, denials, duplicates, stops, people;
    /// `-people` leaves one out.
    #[arg(long, value_name = "KINDS", default_value = "all", allow_hyphen_values = true, value_parser = kinds)]
    pub faults: Kinds,
    /// Threads; as many as there are processors by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub jobs: Option<u32>,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

fn kinds(text: &str) -> Result<Kinds, String> {
    let mut kinds = if text.starts_with('-') { Kinds::ALL } else { Kinds::NONE };
    for word in text.split(',').map(str::trim) {
        let (is_left_out, name) = word.strip_prefix('-').map_or((false, word), |name| (true, name));
        kinds = match (name, Kind::from_name(name), is_left_out) {
            ("all", ..) => Kinds::ALL,
            ("none", ..) => Kinds::NONE,
            (_, Some(kind), false) => kinds.with(kind),
            (_, Some(kind), true) => kinds.without(kind),
            (_, None, _) => {
                let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
                return Err(format!("`{name}` is no kind of fault; known are all, none, {}", known.join(", ")));
            }
        };
    }
    Ok(kinds)
}
