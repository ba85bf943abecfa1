//! What becomes of tasks of a workflow while it runs: conditions, lists and their items, changed definitions. It does not
//! know when it is asked; the loop does.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_kernel::{FailureClass, Run, TaskIx, TaskState};
use raddle_model::template::Template;
use serde_json::Value;

use super::{TaskProgram, Values};
use crate::attempt::{Failure, RawOutput};
use crate::patch::{PatchRequest, Redefine, Redefinition};
use crate::program::{Context, Turn};

/// More items than this are refused.
const MAX_ITEMS: usize = 10_000;

/// What the program keeps for this.
#[derive(Default)]
pub(super) struct Course {
    /// Who makes changed definitions.
    pub(super) redefine: Option<Box<dyn Redefine>>,
    /// The item of the task that is being prepared.
    pub(super) item: Option<Value>,
    /// Lists by their task; what they are made of is settled, and how changes with the definition alone.
    lists: HashMap<TaskIx, Arc<Vec<Value>>>,
    /// Why what was said of a task could not be acted upon.
    refused: HashMap<TaskIx, String>,
}

impl Course {
    pub(super) fn refuse(&mut self, task: TaskIx, why: String) {
        self.refused.insert(task, why);
    }
}

fn input(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::Input, message)
}

impl TaskProgram {
    /// With somebody who makes changed definitions; without one the definition stays what it is.
    #[must_use]
    pub fn changed_by(mut self, redefine: Box<dyn Redefine>) -> Self {
        self.course.redefine = Some(redefine);
        self
    }

    /// The id by which dependents know the task's output.
    pub(super) fn known_as(&self, task: TaskIx) -> &str {
        let task = self.task(task);
        task.course.stands_for.as_deref().unwrap_or(&task.id)
    }

    pub(super) fn conditional_tasks(&self) -> Vec<TaskIx> {
        if self.simulate {
            return Vec::new();
        }
        let tasks = (0u32..).zip(&self.workflow.tasks);
        let asks = tasks.filter(|(_, task)| {
            let unexpanded = task.course.foreach.as_ref().is_some_and(|foreach| foreach.items.is_empty());
            !task.course.is_removed && (task.course.when.is_some() || unexpanded)
        });
        asks.map(|(i, _)| TaskIx(i)).collect()
    }

    pub(super) fn turn_of(&mut self, task: TaskIx, context: &Context<'_>) -> Turn {
        // What cannot be judged fails as an attempt does, when one is prepared.
        match self.condition(task, context) {
            Some(Ok(true)) | None => {}
            Some(Ok(false)) => return Turn::Omit(self.false_condition(task)),
            Some(Err(_)) => return Turn::Open,
        }
        let expanded = self.task(task).course.foreach.as_ref().is_none_or(|foreach| !foreach.items.is_empty());
        match self.list(task, context) {
            Some(Ok(list)) if !expanded && !list.is_empty() => Turn::Expand(list.len() as u32),
            _ => Turn::Open,
        }
    }

    fn false_condition(&self, task: TaskIx) -> String {
        let when = self.task(task).course.when.as_ref();
        format!("`{}` is false", when.map_or("when", |when| &when.text))
    }

    fn condition(&self, task: TaskIx, context: &Context<'_>) -> Option<Result<bool, Failure>> {
        let when = self.task(task).course.when.as_ref()?;
        let holds = |values: Values<'_>| {
            when.holds(&values).map_err(|why| input(format!("cannot tell whether `{}`: {why}", when.text)))
        };
        Some(Values::gather(self, context, when.references()).and_then(holds))
    }

    /// The list of a task that has one.
    fn list(&mut self, task: TaskIx, context: &Context<'_>) -> Option<Result<Arc<Vec<Value>>, Failure>> {
        let foreach = self.task(task).course.foreach.as_ref()?;
        if let Some(list) = self.course.lists.get(&task) {
            return Some(Ok(Arc::clone(list)));
        }
        let list = self.resolve(&foreach.list, context).and_then(|value| match value {
            Value::Array(items) if items.len() > MAX_ITEMS => {
                Err(input(format!("`foreach` has {} items; at most {MAX_ITEMS} are possible", items.len())))
            }
            Value::Array(items) => Ok(Arc::new(items)),
            other => Err(input(format!("`foreach` needs a list, and {} is none", shown(&foreach.list, &other)))),
        });
        if let Ok(list) = &list {
            self.course.lists.insert(task, Arc::clone(list));
        }
        Some(list)
    }

    /// Before an attempt of the task is prepared: what could not be said when its turn came, and its item.
    pub(super) fn course_allows(&mut self, task: TaskIx, context: &Context<'_>) -> Result<(), Failure> {
        self.course.item = None;
        if self.simulate {
            return Ok(());
        }
        if let Some(why) = self.course.refused.get(&task) {
            return Err(input(why.clone()));
        }
        match self.condition(task, context) {
            Some(Err(failure)) => return Err(failure),
            Some(Ok(false)) => return Err(input(self.false_condition(task))),
            Some(Ok(true)) | None => {}
        }
        if let Some(item) = self.task(task).course.item {
            let list = self.list(TaskIx(item.of), context).unwrap_or_else(|| Err(input("its list is gone")))?;
            let value = list.get(item.number as usize);
            self.course.item = Some(value.cloned().ok_or_else(|| input("its list has become shorter"))?);
        }
        Ok(())
    }

    /// The result of a list's task: what its items brought, in the list's order.
    pub(super) fn gathered(&mut self, task: TaskIx, context: &Context<'_>) -> Option<Result<RawOutput, Failure>> {
        self.task(task).course.foreach.as_ref()?;
        Some(self.gather(task, context))
    }

    fn gather(&mut self, task: TaskIx, context: &Context<'_>) -> Result<RawOutput, Failure> {
        self.course_allows(task, context)?;
        if self.simulate {
            return Ok(RawOutput::Json("null".into()));
        }
        let list = self.list(task, context).unwrap_or_else(|| Err(input("its list is gone")))?;
        let items = self.task(task).course.foreach.as_ref().map(|foreach| foreach.items.clone()).unwrap_or_default();
        if list.len() != items.len() {
            return Err(input(format!("{} of {} items have become tasks", items.len(), list.len())));
        }
        let (mut text, mut failed) = (String::from("["), Vec::new());
        for item in items.into_iter().map(TaskIx) {
            if text.len() > 1 {
                text.push(',');
            }
            match context.run.state(item) {
                TaskState::Completed { .. } => text.push_str(&self.output_text(item, context)?),
                // An item that a person went on without, and one that may fail, leave a gap.
                TaskState::Skipped | TaskState::FailedSafe { .. } => text.push_str("null"),
                TaskState::Failed { class, .. } => failed.push((item, class)),
                _ => failed.push((item, FailureClass::Cancelled)),
            }
        }
        text.push(']');
        let Some((first, class)) = failed.first() else { return Ok(RawOutput::Json(text)) };
        let said = context.outputs.message(*first).unwrap_or_default();
        let id = &self.task(*first).id;
        Err(Failure::new(*class, format!("{} of {} items failed; {id}: {said}", failed.len(), list.len())))
    }

    pub(super) fn redefined(&mut self, request: &PatchRequest, run: &Run) -> Result<Redefinition, Vec<String>> {
        let Some(redefine) = &mut self.course.redefine else {
            return Err(vec!["this run cannot be changed".to_owned()]);
        };
        let redefinition = redefine.redefine(request, run)?;
        if request.change.is_the_runs_own() {
            return Ok(redefinition);
        }
        // What has started keeps its meaning, also where no edge of it is touched.
        let Some(workflow) = &redefinition.workflow else { return Ok(redefinition) };
        let pairs = (0u32..).map(TaskIx).zip(self.workflow.tasks.iter().zip(&workflow.tasks));
        let changed = pairs.filter(|(task, (old, new))| !run.is_untouched(*task) && old.hash != new.hash);
        let lines: Vec<String> = changed
            .map(|(task, (old, _))| {
                format!("{} is {}: only tasks that have not started can be changed", old.id, run.state(task).name())
            })
            .collect();
        if lines.is_empty() { Ok(redefinition) } else { Err(lines) }
    }

    pub(super) fn adopt_definition(&mut self, redefinition: Redefinition) {
        if let Some(redefine) = &mut self.course.redefine {
            redefine.adopted(&redefinition);
        }
        self.graph = redefinition.graph;
        if let Some(workflow) = redefinition.workflow {
            self.fallbacks = super::fallbacks::pairs(&workflow);
            self.workflow = workflow;
        }
        // Who has not started is asked again, by what is written now.
        self.course.lists.clear();
        self.course.refused.clear();
        self.schemas.clear();
    }
}

/// What should have been a list, as it was written or as it is.
fn shown(template: &Template, value: &Value) -> String {
    match template {
        Template::Whole(reference) => format!("`{}`", reference.text),
        _ => value.to_string().chars().take(80).collect(),
    }
}
