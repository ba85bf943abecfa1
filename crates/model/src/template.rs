//! Values with references in them: parsed once, resolved when the referenced outputs are there. It does not
//! know where outputs are kept; a [`Scope`] supplies them. Substituted text is never expanded again.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::workflow::TaskIndex;

/// A JSON value in which strings may be made of text and references.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "see Template::Text")]
pub enum Piece {
    Text(String),
    Reference(Reference),
}

/// `$OUTPUT[id].path ?? default` or `$INPUT[name].path`.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub enum Source {
    /// A task's output.
    Output(TaskIndex),
    /// A workflow parameter.
    Input(String),
    /// A secret, by its name; only in values that become environment variables of a child.
    Secret(String),
    /// The item of a `foreach` that the task does.
    Item,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
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
    Value(Cow<'a, Value>),
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
    /// Value of a secret; most places have none.
    fn secret(&self, _name: &str) -> Lookup<'_> {
        Lookup::Missing
    }

    /// The item that the task does.
    fn item(&self) -> Lookup<'_> {
        Lookup::Missing
    }
}

/// The secrets that templates are made of, each once.
pub fn secret_names<'t>(templates: impl Iterator<Item = &'t Template>) -> Vec<&'t str> {
    let mut names: Vec<&str> = Vec::new();
    for reference in templates.flat_map(Template::references) {
        if let Source::Secret(name) = &reference.source
            && !names.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    names
}

/// Why a template could not be resolved; the task fails with class `input`.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolveError {
    /// The reference as written.
    pub reference: String,
    /// What is wrong with it, a lowercase fragment.
    pub reason: String,
}

impl std::fmt::Display for ResolveError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", crate::diagnostic::quoted(&self.reference), self.reason)
    }
}

impl std::error::Error for ResolveError {}

/// Text made of references may grow to this many bytes.
pub const MAX_TEXT_BYTES: usize = 64 << 20;

impl Template {
    /// The value with every reference replaced once.
    pub fn resolve(&self, scope: &dyn Scope) -> Result<Value, ResolveError> {
        Ok(match self {
            Template::Literal(value) => value.clone(),
            Template::Whole(reference) => reference.resolve(scope)?.into_owned(),
            Template::Text(pieces) => Value::String(text_of(pieces, scope)?),
            Template::List(items) => Value::Array(items.iter().map(|i| i.resolve(scope)).collect::<Result<_, _>>()?),
            Template::Object(entries) => {
                let entries = entries.iter().map(|(k, v)| Ok((k.clone(), v.resolve(scope)?)));
                Value::Object(entries.collect::<Result<Map<_, _>, _>>()?)
            }
        })
    }

    /// The same as text: strings as they are, anything else as compact JSON (prompts, arguments, environment).
    pub fn resolve_text(&self, scope: &dyn Scope) -> Result<String, ResolveError> {
        if let Template::Whole(reference) = self {
            // Saves a copy of what may be a large output.
            return Ok(match reference.resolve(scope)? {
                Cow::Owned(Value::String(text)) => text,
                value => raw(&value).into_owned(),
            });
        }
        Ok(match self.resolve(scope)? {
            Value::String(text) => text,
            value => value.to_string(),
        })
    }

    /// Every reference in it.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        let mut found = Vec::new();
        self.collect(&mut found);
        found.into_iter()
    }

    /// The template as it was written, in one form: for comparing definitions whose tasks are numbered differently.
    pub fn written(&self) -> String {
        match self {
            Template::Literal(value) => value.to_string(),
            Template::Whole(reference) => reference.written(),
            Template::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Text(text) => Value::from(text.as_str()).to_string(),
                    Piece::Reference(reference) => reference.written(),
                })
                .collect(),
            Template::List(items) => format!("[{}]", items.iter().map(Template::written).collect::<Vec<_>>().join(",")),
            Template::Object(entries) => {
                let mut entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), value.written()))
                    .collect();
                entries.sort_unstable();
                format!("{{{}}}", entries.join(","))
            }
        }
    }

    fn collect<'a>(&'a self, found: &mut Vec<&'a Reference>) {
        match self {
            Template::Literal(_) => {}
            Template::Whole(reference) => found.push(reference),
            Template::Text(pieces) => found.extend(pieces.iter().filter_map(|piece| match piece {
                Piece::Text(_) => None,
                Piece::Reference(reference) => Some(reference),
            })),
            Template::List(items) => items.iter().for_each(|item| item.collect(found)),
            Template::Object(entries) => entries.iter().for_each(|(_, value)| value.collect(found)),
        }
    }
}

impl Reference {
    /// What it stands for; a default only where nothing is.
    pub fn resolve<'a>(&'a self, scope: &'a dyn Scope) -> Result<Cow<'a, Value>, ResolveError> {
        let root = match &self.source {
            Source::Output(task) => scope.output(*task),
            Source::Input(name) => scope.input(name),
            Source::Secret(name) => scope.secret(name),
            Source::Item => scope.item(),
        };
        let found = match root {
            Lookup::Value(Cow::Borrowed(value)) => self.walk(value).map(Cow::Borrowed),
            Lookup::Value(Cow::Owned(value)) if self.path.is_empty() => Ok(Cow::Owned(value)),
            Lookup::Value(Cow::Owned(value)) => self.walk(&value).cloned().map(Cow::Owned),
            Lookup::FailedSafe => Err("the task failed safely and there is no `??` default".to_owned()),
            Lookup::Missing => Err("there is no such value".to_owned()),
        };
        match (found, &self.default) {
            (Ok(value), _) => Ok(value),
            (Err(_), Some(default)) => Ok(Cow::Borrowed(default)),
            (Err(reason), None) => Err(ResolveError { reference: self.text.clone(), reason }),
        }
    }

    fn written(&self) -> String {
        match &self.default {
            Some(default) => format!("{} ?? {default}", self.text),
            None => self.text.clone(),
        }
    }

    fn walk<'v>(&self, root: &'v Value) -> Result<&'v Value, String> {
        let mut value = root;
        for (n, step) in self.path.iter().enumerate() {
            let next = match (step, value) {
                (Step::Key(key), Value::Object(map)) => map.get(key),
                (Step::Index(index), Value::Array(items)) => items.get(*index),
                _ => None,
            };
            value = next.ok_or_else(|| {
                let path: String = self.path[..=n].iter().map(Step::to_string).collect();
                let path = crate::diagnostic::quoted(&path);
                match (step, value) {
                    (Step::Key(_), Value::Object(_)) => format!("the value has no {path}"),
                    (Step::Index(_), Value::Array(items)) => {
                        format!("the value has no {path}: the list has {} items", items.len())
                    }
                    (_, other) => format!("the value has no {path}: {} has no parts of that kind", kind(other)),
                }
            })?;
        }
        Ok(value)
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Key(key) if crate::references::is_plain_key(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{}]", Value::from(key.as_str())),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn text_of(pieces: &[Piece], scope: &dyn Scope) -> Result<String, ResolveError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(literal) => text.push_str(literal),
            Piece::Reference(reference) => {
                text.push_str(&raw(&*reference.resolve(scope)?));
                if text.len() > MAX_TEXT_BYTES {
                    let reason = format!("the text grows over {} MB", MAX_TEXT_BYTES >> 20);
                    return Err(ResolveError { reference: reference.text.clone(), reason });
                }
            }
        }
    }
    Ok(text)
}

fn raw(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
