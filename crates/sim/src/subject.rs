//! What is simulated: a workflow with everything that decides how it runs, made ready once for all seeds. It does not
//! know seeds.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use raddle_engine::admission::Admission;
use raddle_engine::fact::Chapter;
use raddle_engine::program::Program as _;
use raddle_engine::snapshot::{RunOptions, Snapshot};
use raddle_engine::task_program::{Place, TaskProgram};
use raddle_kernel::Graph;
use raddle_model::catalog::ModelTable;
use raddle_model::workflow::{ExecutionMode, Task, TaskKind, Workflow};
use serde_json::{Map, Value};

use crate::samples::{self, Bring};

/// Where simulated tasks believe to be. Nothing is looked for there.
const WORK_DIR: &str = "/simulated";

/// A workflow to be simulated, and how.
#[derive(Debug)]
pub struct Terms {
    /// The workflow, with mode and limits of the command line in it.
    pub workflow: Workflow,
    /// Values of its parameters.
    pub inputs: Map<String, Value>,
    /// Prices.
    pub models: ModelTable,
    /// The gates, without a budget.
    pub admission: Admission,
    /// Caps by pool, in the order of the pools.
    pub caps: Vec<u32>,
}

/// See the module.
#[derive(Debug)]
pub struct Subject {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) snapshot: Snapshot,
    pub(crate) admission: Admission,
    pub(crate) caps: Vec<u32>,
    pub(crate) brings: Vec<Bring>,
    inputs: HashMap<String, Value>,
    models: ModelTable,
    weights: Vec<u32>,
    chapter: Chapter,
    graph: Option<Arc<Graph>>,
    /// The saga of each task; 0 is none.
    pub(crate) scopes: Vec<u32>,
    notes: Vec<String>,
}

impl Subject {
    /// What of a workflow cannot be simulated, a task and its key: runs that change their own definition.
    pub fn unsimulated(workflow: &Workflow) -> Option<(&str, &'static str)> {
        workflow.tasks.iter().find_map(|task| match &task.course {
            course if course.foreach.is_some() => Some((task.id.as_str(), "foreach")),
            course if course.is_replaceable => Some((task.id.as_str(), "on_exhausted: {replace: …}")),
            _ => None,
        })
    }

    /// Makes a workflow ready.
    pub fn new(terms: Terms) -> Subject {
        let Terms { mut workflow, inputs, models, admission, caps } = terms;
        let (brings, notes) = samples::of(&mut workflow);
        // Without history, so that a seed tells the same story on every machine.
        let weight =
            |task: &Task| task.estimate.duration.map_or(1, |d| u32::try_from(d.as_millis()).unwrap_or(u32::MAX));
        let weights = workflow.tasks.iter().map(weight).collect();
        let snapshot = Snapshot::of(&workflow, RunOptions { work_dir: WORK_DIR.into(), ..RunOptions::default() });
        let chapter = Chapter {
            run: "simulated".into(),
            workflow: workflow.name.clone(),
            hash: workflow.hash.clone(),
            base_dir: WORK_DIR.into(),
            options: serde_json::to_string(&snapshot).expect("a snapshot is plain data"),
            ..Chapter::default()
        };
        let scopes = workflow.scopes().collect();
        let workflow = Arc::new(workflow);
        let inputs = inputs.into_iter().collect();
        let mut subject = Subject {
            workflow,
            snapshot,
            admission,
            caps,
            brings,
            inputs,
            models,
            weights,
            chapter,
            graph: None,
            scopes,
            notes,
        };
        // Every engine makes its own; what watches them needs one only.
        subject.graph = Some(Arc::clone(subject.program().graph()));
        subject
    }

    /// What a person should know of how faithful the simulation is.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn task(&self, index: u32) -> &Task {
        &self.workflow.tasks[index as usize]
    }

    /// The task for which this one is the fallback.
    pub(crate) fn stands_in_for(&self, index: u32) -> Option<&Task> {
        self.workflow.tasks.iter().find(|task| task.fallback == Some(index))
    }

    pub(crate) fn is_metered(&self, index: u32) -> bool {
        matches!(self.task(index).kind, TaskKind::Agent(_))
    }

    pub(crate) fn graph(&self) -> Arc<Graph> {
        self.graph.clone().unwrap_or_else(|| Arc::clone(self.program().graph()))
    }

    pub(crate) fn chapter(&self) -> Chapter {
        self.chapter.clone()
    }

    pub(crate) fn mode(&self) -> ExecutionMode {
        self.workflow.mode
    }

    pub(crate) fn program(&self) -> TaskProgram {
        let place = Place {
            run: "simulated".into(),
            work_dir: WORK_DIR.into(),
            run_dir: Path::new(WORK_DIR).into(),
            trace_id: "0".repeat(32),
            idempotency_salt: String::new(),
        };
        let (workflow, inputs) = (Arc::clone(&self.workflow), self.inputs.clone());
        TaskProgram::new(workflow, inputs, self.models.clone(), place, &self.weights, self.mode(), false)
    }
}
