//! The gates of a run: its caps by pool, what its tasks declare, the cap over work trees. Real runs and simulated ones
//! have the same. It does not know budgets.

use raddle_engine::TaskIx;
use raddle_engine::admission::{Admission, Cap};
use raddle_model::caps::{self, Caps};
use raddle_model::workflow::{ExecutionMode, Workflow};

use super::{branches, unmet};
use crate::project::Project;

/// The gates without a budget.
pub fn admission(workflow: &Workflow, caps: &Caps, project: &Project) -> Admission {
    let mut admission = Admission::new(by_pool(workflow.mode, caps), workflow.mode == ExecutionMode::Adaptive);
    admission.declare(unmet::declared(workflow, project));
    admission.keep_apart(workflow.written_files());
    lists(branches::also(admission, workflow, caps), workflow)
}

/// Lists bound how many of their items run at once.
fn lists(mut admission: Admission, workflow: &Workflow) -> Admission {
    for task in &workflow.tasks {
        let Some(foreach) = &task.course.foreach else { continue };
        if let (Some(value), false) = (foreach.max_parallel, foreach.items.is_empty()) {
            let cap = Cap { value, bound_by: format!("max_parallel of {}", task.id), of: "items" };
            admission = admission.also(cap, foreach.items.iter().map(|item| TaskIx(*item)));
        }
    }
    admission
}

/// One cap per pool, in the order of the pools.
pub fn by_pool(mode: ExecutionMode, caps: &Caps) -> Vec<Cap> {
    let cap = |of: &'static str, cap: &caps::Cap| Cap { value: cap.value, bound_by: cap.bound_by.to_owned(), of };
    if mode == ExecutionMode::Sequential {
        return vec![Cap { value: 1, bound_by: "execution_mode sequential".into(), of: "tasks" }];
    }
    vec![cap("agent tasks", &caps.agent), cap("shell and code tasks", &caps.local), cap("tool tasks", &caps.tool)]
}
