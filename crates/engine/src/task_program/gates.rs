//! What people are asked about a workflow's tasks: the question with its references resolved, the work as it would be
//! done, told without secrets. It does not know who answers.

use std::fmt::Write as _;
use std::sync::Arc;

use raddle_kernel::{FailureClass, Gate, TaskIx};
use raddle_model::workflow::{OnExhausted, Task, TaskKind};
use serde_json::Value;

use super::TaskProgram;
use crate::attempt::{AttemptKey, AttemptSpec, Failure, Work};
use crate::gates::{self, Answer, Question};
use crate::program::{Context, Inquiry, Program};
use crate::secrets::Secrets;

/// Whether a person is asked about the task, by its definition.
pub fn gate_of(task: &Task) -> Gate {
    match task.kind {
        // It is asked about every item of a list, and not about the list.
        _ if task.course.foreach.is_some() || task.course.is_removed => Gate::None,
        TaskKind::Approval(_) => Gate::Decides,
        _ if task.needs_approval => Gate::Precedes,
        _ => Gate::None,
    }
}

/// Whether a person decides about its last failure.
pub fn escalates(task: &Task) -> bool {
    task.on_exhausted == OnExhausted::Human && task.course.foreach.is_none()
}

impl TaskProgram {
    pub(super) fn inquiry(&mut self, key: AttemptKey, context: &Context<'_>) -> Result<Inquiry, Failure> {
        let workflow = Arc::clone(&self.workflow);
        let task = &workflow.tasks[key.task.index()];
        if let TaskKind::Approval(gate) = &task.kind {
            self.course_allows(key.task, context)?;
            let text = self.secrets.redact(&self.resolve_text(&gate.question, context)?).into_owned();
            let inputs = self.deps(key.task, context)?.unwrap_or_default();
            let question = Question::new(&text, "", gates::hash_of_question(&text, &inputs));
            return Ok(Inquiry { question, expires: gate.expires, spec: None });
        }
        let spec = self.prepare(key, context)?;
        let text = format!("May {} start?", if task.name == task.id { &task.id } else { &task.name });
        // A secret counts by its name: it may be renewed under a yes, and nobody can guess it from the hash.
        let shown = AttemptSpec { env: without_values(&self.secrets, &spec.env), ..spec.clone() };
        let work = told(task, &spec);
        let question = Question::new(&text, &self.secrets.redact(&work), gates::hash_of_work(&shown));
        Ok(Inquiry { question, expires: None, spec: Some(Box::new(spec)) })
    }

    pub(super) fn output_of_answer(&self, task: TaskIx, answer: &Answer) -> Result<Option<Arc<str>>, String> {
        let task = self.task(task);
        match task.kind {
            TaskKind::Approval(_) => {
                gates::output_of(task.output_schema.as_ref(), answer).map(|text| Some(text.into()))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn named(&self, id: &str) -> Option<TaskIx> {
        let at = self.workflow.tasks.iter().position(|task| task.id == id && !task.course.is_removed)?;
        u32::try_from(at).ok().map(TaskIx)
    }
}

/// A gate has no work: nobody should ever ask for it.
pub(super) fn no_work() -> Failure {
    Failure::new(FailureClass::Permission, "a gate is answered, not performed")
}

/// The work in words, without secrets.
fn told(task: &Task, spec: &AttemptSpec) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {}", value.trim_end().replace('\n', "\n    "));
    };
    match &spec.work {
        Work::Process(work) => {
            let script = matches!(work.argv.as_slice(), [sh, flags, c, _] if sh == "sh" && flags == "-eu" && c == "-c");
            match work.argv.last() {
                Some(last) if script => line("run", last),
                _ => line("run", &Value::from(work.argv.clone()).to_string()),
            }
            line("in", &spec.cwd.to_string_lossy());
        }
        Work::Agent(work) => {
            line("agent CLI", &work.cli);
            work.model.iter().for_each(|model| line("model", model));
            match &work.tools {
                Some(tools) => line("tools", &tools.join(", ")),
                None => line("tools", "those that the CLI has by default"),
            }
            line("in", &spec.cwd.to_string_lossy());
            line("prompt", &work.prompt);
        }
        // What undoes a task is nobody's question: the yes to the task covers it.
        Work::Restore(_) => line("restore", "the files that the task has written"),
        Work::Tool(work) => {
            line("tool", &format!("{}:{}", work.server, work.tool));
            line("arguments", &without_secrets(&work.arguments).to_string());
        }
        Work::Code(work) => {
            line("code", &work.code);
            let context = serde_json::from_str(&work.context).unwrap_or_default();
            if context != Value::Object(serde_json::Map::new()) {
                line("context", &without_secrets(&context).to_string());
            }
        }
    }
    let own: Vec<&str> = task.env.iter().map(|(name, _)| name.as_str()).collect();
    if !own.is_empty() {
        line("env (values not shown)", &own.join(", "));
    }
    if task.executor != "local" {
        line("executor", &task.executor);
    }
    text
}

fn without_values(secrets: &Secrets, env: &[(String, String)]) -> Vec<(String, String)> {
    env.iter().map(|(name, value)| (name.clone(), secrets.redact(value).into_owned())).collect()
}

/// Parts of names under which secrets are kept.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "authorization",
    "credential",
    "private_key",
];

/// The value with what lies under such names left out.
fn without_secrets(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| {
                let lower = name.to_ascii_lowercase();
                let secret = SECRET_NAMES.iter().any(|part| lower.contains(part)) && !value.is_object();
                let value = if secret && !value.is_null() { "(not shown)".into() } else { without_secrets(value) };
                (name.clone(), value)
            };
            Value::Object(entries.iter().map(entry).collect())
        }
        Value::Array(items) => items.iter().map(without_secrets).collect(),
        other => other.clone(),
    }
}
