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
/// Objects within objects that are looked at for headers.
const MAX_HEADER_DEPTH: u32 = 8;
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
    /// JSON Schema of its structured content.
    output: Option<Value>,
    output_check: Check,
    /// Arguments that go beside the message as headers too: pointer into the arguments, name of the header.
    mirrored: Vec<(String, String)>,
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
    #[serde(default, rename = "outputSchema")]
    output: Option<Value>,
}

/// A page of `tools/list`.
#[derive(Deserialize, Default)]
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
    /// Takes a page; returns what was left out, in words. Over HTTP a tool whose headers cannot be sent is left out.
    pub(crate) fn add(&mut self, page: &Page<'_>, over_http: bool) -> Vec<String> {
        let mut unusable = 0;
        let mut told = Vec::new();
        for raw in &page.tools {
            let tool = match serde_json::from_str::<Listed>(raw.get()) {
                Ok(tool) if raw.get().starts_with('{') && self.tools.len() < MAX_TOOLS => tool,
                _ => {
                    unusable += 1;
                    continue;
                }
            };
            if self.index.contains_key(&tool.name) {
                unusable += 1;
                continue;
            }
            let schema = tool.schema.unwrap_or(Value::Bool(true));
            let mirrored = match mirrored(&schema) {
                Ok(mirrored) => mirrored,
                Err(why) if over_http => {
                    if told.len() < FAULTS_SHOWN {
                        told.push(format!("tool `{}` is left out: {why}", cut(&tool.name, 80)));
                    }
                    continue;
                }
                Err(_) => Vec::new(),
            };
            self.index.insert(tool.name.clone(), self.tools.len());
            self.tools.push(Tool {
                name: tool.name,
                description: tool.description.unwrap_or_default(),
                schema,
                check: Check::Untried,
                output: tool.output,
                output_check: Check::Untried,
                mirrored,
            });
        }
        if unusable > 0 {
            told.push(format!("{unusable} entries of `tools/list` are doubled or unreadable and left out"));
        }
        told
    }

    /// Whether there is a tool of that name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// The arguments of that tool that go as headers too.
    pub(crate) fn mirrored(&self, name: &str) -> &[(String, String)] {
        self.index.get(name).map_or(&[], |at| &self.tools[*at].mirrored)
    }

    /// Checks what a tool gave against what it promised; a promise that is no schema binds nobody.
    pub(crate) fn check_output(&mut self, name: &str, text: Option<&str>) -> Result<(), Failure> {
        let Some(tool) = self.index.get(name).map(|at| &mut self.tools[*at]) else { return Ok(()) };
        let Some(schema) = &tool.output else { return Ok(()) };
        let failed = |why: String| Err(Failure::new(FailureClass::Schema, format!("tool `{}` {why}", cut(name, 80))));
        let Some(text) = text else { return failed("promises structured content and gave none".into()) };
        if matches!(tool.output_check, Check::Untried) {
            tool.output_check = compile(schema).map_or(Check::Impossible, |v| Check::Compiled(Box::new(v)));
        }
        let Check::Compiled(validator) = &tool.output_check else { return Ok(()) };
        let value: Value = match serde_json::from_str(text) {
            Ok(value) => value,
            Err(error) => return failed(format!("gave structured content that cannot be read: {error}")),
        };
        if validator.is_valid(&value) {
            return Ok(());
        }
        failed(format!("gave structured content that does not fit its own schema: {}", faults(validator, &value)))
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
        let told = format!("arguments of tool `{name}` do not fit its schema: {}", faults(validator, arguments));
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

/// The first faults, in words.
fn faults(validator: &Validator, value: &Value) -> String {
    let words = validator.iter_errors(value).take(FAULTS_SHOWN).map(|error| {
        let place = error.instance_path().as_str().to_owned();
        let fault = cut(&error.to_string(), 300);
        if place.is_empty() { fault } else { format!("{fault} (at {place})") }
    });
    words.collect::<Vec<_>>().join("; ")
}

/// The properties with `x-mcp-header`, through objects within objects; a header must be a header's name, its value a
/// text, an integer or a boolean, and no two may share one.
fn mirrored(schema: &Value) -> Result<Vec<(String, String)>, String> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut to_look_at = vec![(String::new(), schema, 0)];
    while let Some((path, schema, depth)) = to_look_at.pop() {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else { continue };
        for (name, property) in properties {
            let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
            let kind = property.get("type").and_then(Value::as_str).unwrap_or_default();
            if let Some(header) = property.get("x-mcp-header") {
                let header = header.as_str().unwrap_or_default();
                if header.is_empty() || !header.bytes().all(is_token) {
                    return Err(format!("{header:?} is no name of a header"));
                }
                if !matches!(kind, "string" | "integer" | "boolean") {
                    return Err(format!("the header {header:?} is for {kind:?}, which no header can carry"));
                }
                if found.iter().any(|(_, other)| other.eq_ignore_ascii_case(header)) {
                    return Err(format!("the header {header:?} is there twice"));
                }
                found.push((path, header.to_owned()));
            } else if kind == "object" && depth < MAX_HEADER_DEPTH {
                to_look_at.push((path, property, depth + 1));
            }
        }
    }
    Ok(found)
}

/// A character of a header's name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
