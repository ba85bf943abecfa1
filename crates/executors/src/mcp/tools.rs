//! What a server offers: names, descriptions and the check of arguments against a tool's schema before anything is
//! sent. It does not know the connection.

use std::collections::HashMap;

use jsonschema::{PatternOptions, Validator};
use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::wire::cut;

/// More tools than this from one server are not kept.
const MAX_TOOLS: usize = 10_000;
/// More names than this are not shown in a message.
const NAMES_SHOWN: usize = 8;
/// More faults than this are not shown in a message.
const FAULTS_SHOWN: usize = 5;

/// One tool as the server describes it.
#[derive(Debug)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for, in the server's words.
    pub description: String,
    /// JSON Schema of its arguments, as sent.
    pub schema: Value,
    check: Check,
}

#[derive(Debug)]
enum Check {
    /// Not compiled yet; most tools of a server are never called.
    Untried,
    Compiled(Box<Validator>),
    /// The server's schema is none (or points elsewhere): the server must check by itself.
    Impossible,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default, rename = "inputSchema")]
    schema: Option<Value>,
}

/// A page of `tools/list`.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
    #[serde(default, rename = "nextCursor")]
    pub(crate) next_cursor: Option<String>,
}

/// The tools of one server in its order.
#[derive(Debug, Default)]
pub(crate) struct Table {
    tools: Vec<Tool>,
    index: HashMap<String, usize>,
}

impl Table {
    /// Takes a page; returns how many entries were unusable.
    pub(crate) fn add(&mut self, page: &Page<'_>) -> usize {
        let mut unusable = 0;
        for raw in &page.tools {
            match serde_json::from_str::<Listed>(raw.get()) {
                Ok(tool) if raw.get().starts_with('{') && self.tools.len() < MAX_TOOLS => {
                    if self.index.contains_key(&tool.name) {
                        unusable += 1;
                        continue;
                    }
                    self.index.insert(tool.name.clone(), self.tools.len());
                    self.tools.push(Tool {
                        name: tool.name,
                        description: tool.description.unwrap_or_default(),
                        schema: tool.schema.unwrap_or(Value::Bool(true)),
                        check: Check::Untried,
                    });
                }
                _ => unusable += 1,
            }
        }
        unusable
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Tool] {
        &self.tools
    }

    /// Checks a call. `Ok(true)` says, once per tool, that the schema itself is unusable and nothing is checked.
    pub(crate) fn check(&mut self, name: &str, arguments: &Value) -> Result<bool, Failure> {
        let Some(&at) = self.index.get(name) else { return Err(self.unknown(name)) };
        let tool = &mut self.tools[at];
        let first = matches!(tool.check, Check::Untried);
        if first {
            tool.check = compile(&tool.schema).map_or(Check::Impossible, |v| Check::Compiled(Box::new(v)));
        }
        let Check::Compiled(validator) = &tool.check else { return Ok(first) };
        if validator.is_valid(arguments) {
            return Ok(false);
        }
        let mut faults: Vec<String> = Vec::new();
        for error in validator.iter_errors(arguments).take(FAULTS_SHOWN) {
            let place = error.instance_path().as_str().to_owned();
            let fault = cut(&error.to_string(), 300);
            faults.push(if place.is_empty() { fault } else { format!("{fault} (at {place})") });
        }
        let told = format!("arguments of tool `{name}` do not fit its schema: {}", faults.join("; "));
        Err(Failure::new(FailureClass::Input, told))
    }

    fn unknown(&self, name: &str) -> Failure {
        let mut near: Vec<(usize, &str)> =
            self.tools.iter().filter_map(|t| distance(name, &t.name).map(|d| (d, t.name.as_str()))).collect();
        near.sort();
        let names = |list: &mut dyn Iterator<Item = &str>| {
            list.take(NAMES_SHOWN).map(|n| format!("`{}`", cut(n, 80))).collect::<Vec<_>>().join(", ")
        };
        let hint = if !near.is_empty() {
            format!("did you mean {}?", names(&mut near.iter().map(|(_, n)| *n)))
        } else if self.tools.is_empty() {
            "it offers none".to_owned()
        } else {
            let more = if self.tools.len() > NAMES_SHOWN { " …" } else { "" };
            format!("it offers {}{more}", names(&mut self.tools.iter().map(|t| t.name.as_str())))
        };
        Failure::new(FailureClass::Input, format!("the server has no tool `{}`; {hint}", cut(name, 80)))
    }
}

/// No schema may fetch anything, and its patterns may not run away.
fn compile(schema: &Value) -> Option<Validator> {
    jsonschema::options()
        .offline()
        .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(100_000).size_limit(1 << 20))
        .build(schema)
        .ok()
}

/// How far apart two names are, when they are near: up to a third of the letters, or one inside the other.
fn distance(asked: &str, name: &str) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) =
        (asked.to_lowercase().chars().take(64).collect(), name.to_lowercase().chars().take(64).collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    let edits = row[b.len()];
    let part = asked.len() > 3 && (name.contains(asked) || asked.contains(name)) && name.len() > 3;
    (part || edits <= a.len().max(b.len()) / 3).then_some(edits)
}
