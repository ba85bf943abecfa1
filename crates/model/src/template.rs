//! Values with references in them: parsed once, resolved when the referenced outputs are there. It does not
//! know where outputs are kept; a [`Scope`] supplies them. Substituted text is never expanded again.

use serde_json::Value;

use crate::workflow::TaskIndex;

/// A JSON value in which strings may be made of text and references.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// A value without references.
    Literal(Value),
    /// Exactly one reference: keeps the JSON type of what it names.
    Whole(Reference),
    /// Text with references inside: strings go in raw, anything else as compact JSON.
    Text(Vec<Piece>),
    /// A list with references somewhere inside.
    List(Vec<Template>),
    /// An object with references somewhere inside its values.
    Object(Vec<(String, Template)>),
}

/// A part of a text template.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "see Template::Text")]
pub enum Piece {
    Text(String),
    Reference(Reference),
}

/// `$OUTPUT[id].path ?? default` or `$INPUT[name].path`.
#[derive(Debug, Clone, PartialEq)]
pub struct Reference {
    /// What is referred to.
    pub source: Source,
    /// Steps into the value.
    pub path: Vec<Step>,
    /// Used when the path is missing or the task failed safely.
    pub default: Option<Value>,
    /// As written, for messages.
    pub text: String,
}

/// The root of a reference.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A task's output.
    Output(TaskIndex),
    /// A workflow parameter.
    Input(String),
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// `.key`
    Key(String),
    /// `[0]`
    Index(usize),
}

/// What a root yields.
#[derive(Debug, Clone)]
pub enum Lookup<'a> {
    /// The value.
    Value(std::borrow::Cow<'a, Value>),
    /// The task failed safely: only a default can stand in.
    FailedSafe,
    /// Nothing is there (the task failed, was blocked or skipped).
    Missing,
}

/// Where references find their values.
pub trait Scope {
    /// Output of a task.
    fn output(&self, task: TaskIndex) -> Lookup<'_>;
    /// Value of a workflow parameter.
    fn input(&self, name: &str) -> Lookup<'_>;
}

/// Why a template could not be resolved; the task fails with class `input`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolveError {
    /// The reference as written.
    pub reference: String,
    /// What is wrong with it, a lowercase fragment.
    pub reason: String,
}
