//! The commands that need an engine or a journal, one function each. It does not know the command line beyond its
//! argument types.

pub mod answer;
pub mod branches;
mod budget;
mod closing;
mod document;
mod events;
mod fsck;
pub mod gates;
pub mod history;
mod host;
mod intent;
mod logs;
mod look;
mod patch;
mod performer;
mod reporter;
mod resume;
mod sagas;
mod secrets;
mod servers;
mod sink;
mod start;
mod stop;
mod store;
mod unmet;
mod waiting;
mod worktrees;

use std::io::Read;
use std::path::Path;

use raddle_executors::warden::{self, Attachment, Leash, Role};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal;

pub use answer::{approve, reject};
pub use fsck::fsck;
pub use logs::logs;
pub use look::{checkpoint, gc, ps, show, trace, watch, why};
pub use patch::patch;
pub use resume::{resume, retry, skip};
pub use start::{inputs, run};
pub use stop::stop;
pub use worktrees::worktrees;

/// Becomes a process that may host an engine, with a warden that outlives it, and hosts one. Detached, the caller gets
/// the run's id as soon as other commands can find the run.
fn begin(detach: bool, host: impl FnOnce(Leash) -> Result<Exit, Problem>) -> Result<Exit, Problem> {
    let attachment = if detach { Attachment::Detached } else { Attachment::Attached };
    match warden::enter(attachment).map_err(|e| Problem::io("set a warden over this process", &e))? {
        Role::Engine(leash) => host(leash),
        Role::Caller(mut report) => {
            let mut id = String::new();
            report.read_to_string(&mut id).map_err(|e| Problem::io("hear from the run", &e))?;
            match id.strip_prefix("run ") {
                Some(id) => {
                    terminal::print(&format!("{id}\n"))?;
                    terminal::tell(&format!("run {id} goes on in the background; `raddle watch {id}` follows it\n"));
                    Ok(Exit::Success)
                }
                None => Err(Problem::new(Exit::Failed, "the run could not be started in the background")
                    .hint("without --detach it tells why")),
            }
        }
    }
}

/// Has the warden lock the run's folder as long as anything of this engine may be alive.
fn hold(leash: &Leash, run_dir: &Path) -> Result<(), Problem> {
    leash.hold(run_dir).map_err(|e| Problem::io("set the warden on the run's folder", &e))
}
