//! Makes changed definitions for a run that this process hosts or owns: applies a change to the document, and judges the
//! whole by everything that a new run is judged by. It does not know who asks, nor when a change comes into force.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use raddle_engine::TaskIx;
use raddle_engine::own_files::WORKTREE;
use raddle_engine::patch::{PatchRequest, Redefine, Redefinition};
use raddle_engine::task_program::graph_of;
use raddle_kernel::Run;
use raddle_model::course::Item;
use raddle_model::hash;
use raddle_model::patch::{self, Fault};
use raddle_model::workflow::{Task, TaskKind, Workflow};
use raddle_model::{Diagnostic, Severity, syntax};
use serde_json::Value;

use super::{Launch, budget, secrets, servers};
use crate::loading;
use crate::problem::Problem;
use crate::run::resume::shape_of;

/// See the module.
pub struct Redefiner {
    launch: Launch,
    document: Value,
    /// Servers that the hosting process has made ready; `None` when nothing is performed here.
    servers: Option<BTreeSet<String>>,
}

impl Redefiner {
    /// For a run that is performed by this process.
    pub(super) fn live(launch: &Launch) -> Self {
        let base = Path::new(&launch.options.work_dir);
        let ready =
            servers::settings(&launch.workflow, base, &launch.secrets).map(|servers| servers.into_keys().collect());
        Redefiner { servers: Some(ready.unwrap_or_default()), ..Self::beside(launch) }
    }

    /// For a run whose journal alone is changed.
    pub(super) fn beside(launch: &Launch) -> Self {
        let text = String::from_utf8_lossy(&launch.definition.text);
        let tree = syntax::parse(&text, launch.definition.model_name());
        let document = tree.root.map(|root| root.to_json()).unwrap_or_default();
        Redefiner { launch: launch.twin(), document, servers: None }
    }

    /// The new workflow, judged as that of a new run is.
    fn judged(&self, document: &Value, request: &PatchRequest, run: &Run) -> Result<Workflow, Vec<String>> {
        let launch = &self.launch;
        let mut definition = launch.definition.clone();
        definition.text = document.to_string().into_bytes();
        definition.is_changed = true;
        let shape = shape_of(&launch.options).map_err(|problem| lines_of(&problem))?;
        let (workflow, diagnostics) =
            loading::judge(&definition, &shape, &launch.project).map_err(|problem| lines_of(&problem))?;
        let Some(mut workflow) = workflow else {
            let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error);
            return Err(errors.map(told).collect());
        };
        workflow.budget = launch.workflow.budget;
        for (i, (old, new)) in launch.workflow.tasks.iter().zip(&mut workflow.tasks).enumerate() {
            if request.change.is_the_runs_own() || !run.is_untouched(TaskIx(i as u32)) {
                keep(old, new);
            }
        }
        keep_in_items(&mut workflow.tasks);
        // What is on the disk now is not what was kept: whoever reads the definition again must see that.
        let text = String::from_utf8_lossy(&definition.text);
        if let Some(hash) = hash::with_tasks(&text, definition.model_name(), workflow.tasks.iter()) {
            workflow.hash = hash;
        }
        Ok(workflow)
    }

    /// What the hosting process was not made ready for when it began.
    fn unprepared(&self, workflow: &Workflow) -> Vec<String> {
        let mut lines = Vec::new();
        for task in &workflow.tasks {
            if task.executor == WORKTREE && self.launch.options.worktrees.is_none() && !self.launch.options.simulate {
                lines.push(format!("{}: the run began without worktrees, so no task of it can have one", task.id));
            }
            let unknown = task.secrets().into_iter().find(|name| self.launch.secrets.value(name).is_none());
            if let Some(name) = unknown.filter(|_| self.servers.is_some() && !self.launch.options.simulate) {
                lines.push(format!(
                    "{}: the engine began without the secret {name}; interrupt it, patch, and resume",
                    task.id
                ));
            }
            let server = match &task.kind {
                TaskKind::Tool(tool) => Some(&tool.server),
                TaskKind::Agent(agent) => agent.tool.as_ref().map(|tool| &tool.server),
                _ => None,
            };
            if let (Some(server), Some(ready)) = (server, &self.servers)
                && !ready.contains(server)
            {
                lines.push(format!(
                    "{}: the engine began without the server {server}; interrupt it, patch, and resume",
                    task.id
                ));
            }
        }
        lines
    }
}

impl Redefine for Redefiner {
    fn redefine(&mut self, request: &PatchRequest, run: &Run) -> Result<Redefinition, Vec<String>> {
        let fault = |Fault { message, .. }: Fault| message;
        let document = patch::apply(&self.document, &request.change)
            .map_err(|faults| faults.into_iter().map(fault).collect::<Vec<_>>())?;
        let workflow = self.judged(&document, request, run)?;
        let unprepared = self.unprepared(&workflow);
        if !unprepared.is_empty() {
            return Err(unprepared);
        }
        let mut next = self.launch.twin();
        let usual = usual_weight(&next.weights);
        next.weights.resize(workflow.tasks.len(), usual);
        let removed = workflow.tasks.iter().zip(&self.launch.workflow.tasks).enumerate();
        let removed = removed.filter(|(_, (new, old))| new.course.is_removed && !old.course.is_removed);
        let removed = removed.map(|(i, _)| TaskIx(i as u32)).collect();
        next.workflow = Arc::new(workflow);
        let told = serde_json::to_string(&request.change).unwrap_or_default();
        secrets::refuse_written(&next.secrets, told.as_bytes(), "").map_err(|problem| lines_of(&problem))?;
        budget::refuse_unaccountable(&next.workflow, &next.project, next.options.simulate)
            .and_then(|()| next.refuse_unenforceable())
            .map_err(|problem| lines_of(&problem))?;
        Ok(Redefinition {
            graph: Arc::new(graph_of(&next.workflow, &next.weights, next.mode(), next.options.simulate)),
            removed,
            source: document.to_string(),
            hash: next.workflow.hash.clone(),
            snapshot: next.snapshot(),
            gates: Some(next.admission()),
            workflow: Some(next.workflow),
        })
    }

    fn adopted(&mut self, redefinition: &Redefinition) {
        self.document = serde_json::from_str(&redefinition.source).unwrap_or_default();
        if let Some(workflow) = &redefinition.workflow {
            let usual = usual_weight(&self.launch.weights);
            self.launch.weights.resize(workflow.tasks.len(), usual);
            self.launch.workflow = Arc::clone(workflow);
        }
    }
}

/// What an unknown duration counts as.
fn usual_weight(weights: &[u32]) -> u32 {
    let mut sorted = weights.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(1)
}

/// What was chosen or read when the run began does not change with files beside the definition.
fn keep(old: &Task, new: &mut Task) {
    match (&old.kind, &mut new.kind) {
        (TaskKind::Agent(old_agent), TaskKind::Agent(agent)) if old.hash == new.hash => {
            (agent.model, agent.model_reason) = (old_agent.model.clone(), old_agent.model_reason.clone());
            new.retry = old.retry.clone();
        }
        (TaskKind::Code(before), TaskKind::Code(code))
            if before.code_file.is_some() && before.code_file == code.code_file =>
        {
            code.code = before.code.clone();
            new.hash = old.hash.clone();
        }
        _ => {}
    }
}

/// Items are their list's task, also those that have just been found.
fn keep_in_items(tasks: &mut [Task]) {
    for i in 0..tasks.len() {
        let Some(Item { of, number }) = tasks[i].course.item else { continue };
        let Some(list) = tasks.get(of as usize) else { continue };
        let (TaskKind::Code(code), hash) = (&list.kind, &list.hash) else { continue };
        if code.code_file.is_none() {
            continue;
        }
        let (text, hash) = (code.code.clone(), format!("{hash}.{number}"));
        if let TaskKind::Code(item) = &mut tasks[i].kind {
            item.code = text;
            tasks[i].hash = hash;
        }
    }
}

fn told(diagnostic: &Diagnostic) -> String {
    let of = diagnostic.task.as_ref().map(|task| format!("{task}: ")).unwrap_or_default();
    let help = diagnostic.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    format!("{of}{}{help} [{}]", diagnostic.message, diagnostic.code)
}

fn lines_of(problem: &Problem) -> Vec<String> {
    std::iter::once(problem.message.clone()).chain(problem.hints.iter().cloned()).collect()
}
