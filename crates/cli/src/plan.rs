//! `raddle plan` and `raddle run --dry-run`: what a run would do, as the model's JSON or in words. It touches nothing
//! and does not know how runs are executed.

pub mod history;
mod words;

use crate::args::Shape;
use crate::exit::Exit;
use crate::loading;
use crate::problem::Problem;
use crate::terminal::{self, Colour};
use history::History;

/// Plans the workflow; exit 2 when it is not valid (or has warnings under `--strict`).
pub fn plan(shape: &Shape, json: bool, colour: Colour, history: &dyn History) -> Result<Exit, Problem> {
    let (workflow, loaded) = loading::load(shape, colour)?.accepted(shape.strict, colour)?;
    let past = history.of(&workflow.name);
    let plan = raddle_model::plan::plan(&workflow, &loaded.project.catalog.settings, &past, &loaded.diagnostics);
    if json {
        let text = serde_json::to_string(&plan).expect("a plan has text keys and finite numbers only");
        terminal::print(&format!("{text}\n"))?;
    } else {
        terminal::print(&words::told(&plan))?;
    }
    Ok(Exit::Success)
}
