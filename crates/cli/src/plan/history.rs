//! What earlier runs of a workflow tell about its tasks. It does not know where runs are kept: whoever reads journals
//! provides it.

/// What tasks took before.
pub trait History {
    /// By task id, from earlier runs of the workflow with that name.
    fn of(&self, workflow: &str) -> raddle_model::plan::History;
}
