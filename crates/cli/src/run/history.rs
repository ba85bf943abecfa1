//! What earlier runs of a workflow tell about its tasks: how long they took and what they cost. It reads finished runs
//! and knows nothing of plans.

use raddle_engine::view::RunView;
use raddle_journal::{Home, RunId};
use raddle_kernel::TaskState;
use raddle_model::plan::{History, Past};
use raddle_model::workflow::{TaskKind, Workflow};

use super::store::{self, Opened};

/// So many runs back are looked at to find one of this workflow.
const RUNS: usize = 50;

/// Earlier runs in the state folder.
pub struct Earlier;

impl crate::plan::history::History for Earlier {
    fn of(&self, workflow: &str) -> History {
        store::home().map(|home| of(&home, workflow)).unwrap_or_default()
    }
}

/// Durations and costs by task id from the latest run of a workflow of that name that ended well.
pub fn of(home: &Home, workflow: &str) -> History {
    // Every run asks, so this must not look into every folder there is.
    let ids: Vec<RunId> = home.names().unwrap_or_default();
    let candidates = ids.into_iter().take(RUNS).filter(|id| {
        let good = |outcome: &str| matches!(outcome, "succeeded" | "degraded");
        // A run without an index entry is not worth opening for a forecast.
        home.meta(id).is_some_and(|m| m.workflow == workflow && m.outcome.as_deref().is_some_and(good))
    });
    for id in candidates {
        if let Ok(opened) = Opened::open(home, id)
            && !opened.view.snapshot.options.simulate
        {
            return past(&opened);
        }
    }
    History::new()
}

fn past(opened: &Opened) -> History {
    let view = &opened.view;
    // What gathers the items of a list takes no time of its own.
    let works = view.shown().filter(|task| !view.snapshot.tasks[task.index()].foreach);
    let completed = works.filter(|task| {
        matches!(view.run.state(*task), TaskState::Completed { .. }) && !view.tasks[task.index()].attempts.is_empty()
    });
    completed
        .map(|task| {
            let last = view.tasks[task.index()].attempts.last();
            let duration_ms = last.and_then(|a| Some(a.finished_at?.0.saturating_sub(a.started_at.0)));
            let cost_usd = view.usage(task).and_then(|u| u.cost_usd);
            let record = &view.snapshot.tasks[task.index()];
            let model = last.and_then(|a| Some(a.model.as_ref()?.0.to_string())).or_else(|| record.model.clone());
            let attempts = view.tasks[task.index()].attempts.len() as u32;
            (record.id.clone(), Past { duration_ms, cost_usd, model, attempts })
        })
        .collect()
}

/// A run goes on with the models that were chosen for it when it began.
pub fn keep_models(workflow: &mut Workflow, before: &RunView) {
    for task in &mut workflow.tasks {
        let TaskKind::Agent(agent) = &mut task.kind else { continue };
        let record = before.task(&task.id).map(|at| &before.snapshot.tasks[at.index()]);
        if let Some(record) = record.filter(|record| record.model_reason.is_some()) {
            (agent.model, agent.model_reason) = (record.model.clone(), record.model_reason.clone());
        }
    }
}
