//! Changes of a run's definition while it goes on: who asks, what comes of it, and how a stored change is folded. It does
//! not know how a change is written or judged; the program does, and the kernel decides whether the run can follow.

use std::sync::Arc;

use raddle_kernel::{Graph, Phase, Run, TaskIx, Unpatchable};
use raddle_model::patch::Change;
use raddle_model::workflow::Workflow;

use crate::admission::Admission;
use crate::fact::Patched;
use crate::snapshot::Snapshot;

/// A change that somebody wants.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub struct PatchRequest {
    /// Its name; see [`Patched::id`].
    pub id: String,
    /// What.
    pub change: Change,
    /// See [`Patched::by`].
    pub by: String,
    /// See [`Patched::undoes`].
    pub undoes: Option<String>,
}

/// What a change makes of the definition; nothing of it is in force yet.
#[derive(Debug)]
pub struct Redefinition {
    /// The new graph; its first tasks are those of the present one.
    pub graph: Arc<Graph>,
    /// Tasks that are taken out.
    pub removed: Vec<TaskIx>,
    /// The new workflow, where the program has one.
    pub workflow: Option<Arc<Workflow>>,
    /// See [`Patched::source`].
    pub source: String,
    /// See [`Patched::hash`].
    pub hash: String,
    /// See [`Patched::snapshot`].
    pub snapshot: Snapshot,
    /// The gates of the new definition; `None` leaves them.
    pub gates: Option<Admission>,
}

/// Makes new definitions of changes. It judges them as a whole; the lines of an error are for a person.
pub trait Redefine {
    /// Changes nothing yet.
    fn redefine(&mut self, request: &PatchRequest, run: &Run) -> Result<Redefinition, Vec<String>>;

    /// What was made of a change is in force.
    fn adopted(&mut self, redefinition: &Redefinition);
}

/// Takes a stored change into a run. The error is a lowercase fragment.
pub fn fold(run: &mut Run, patched: &Patched) -> Result<Snapshot, String> {
    let snapshot: Snapshot = serde_json::from_str(&patched.snapshot).map_err(|e| e.to_string())?;
    let graph = snapshot.graph().ok_or("its tasks are no graph")?;
    let known = run.graph().len();
    let is_new = |task: &TaskIx| run.state(*task).phase() != Phase::Removed;
    let removed = (0u32..).zip(&snapshot.tasks).take(known).filter(|(_, record)| record.removed);
    let removed: Vec<TaskIx> = removed.map(|(i, _)| TaskIx(i)).filter(is_new).collect();
    run.patch(graph, &removed).map_err(|why| format!("a patch that cannot follow: {why:?}"))?;
    Ok(snapshot)
}

/// Why the run cannot follow a change, for a person.
pub fn refusal(why: Unpatchable, run: &Run, id: &dyn Fn(TaskIx) -> String) -> String {
    match why {
        Unpatchable::NotNow => "the run has ended or is being ended".to_owned(),
        Unpatchable::Foreign => "the changed definition is not one of this run".to_owned(),
        Unpatchable::Started(task) => {
            format!("{} is {}: only tasks that have not started can be changed", id(task), run.state(task).name())
        }
        Unpatchable::Saga(task) => format!("{} would be of another saga, or of one that has failed", id(task)),
        Unpatchable::Attached(task) => format!("{} cannot be removed: something depends on it", id(task)),
    }
}
