//! The commands that need an engine or a journal, one function each. It does not know the command line beyond its
//! argument types.

mod document;
mod events;
pub mod history;
mod host;
mod look;
mod reporter;
mod resume;
mod start;
mod store;

use raddle_journal::Home;

use crate::args::StopArgs;
use crate::exit::Exit;
use crate::problem::Problem;

pub use look::{checkpoint, gc, logs, ps, show, trace, watch, why};
pub use resume::{resume, retry, skip};
pub use start::run;

/// Becomes a process that may host an engine, with a warden that outlives it, and does so.
fn begin(
    detach: bool,
    _quiet: bool,
    _home: Home,
    host: impl FnOnce() -> Result<Exit, Problem>,
) -> Result<Exit, Problem> {
    if detach {
        return Err(Problem::not_yet("--detach", "lets the run go on in the background"));
    }
    host()
}

/// `raddle stop`.
pub fn stop(_args: StopArgs) -> Result<Exit, Problem> {
    Err(Problem::not_yet("raddle stop", "ends a run"))
}
