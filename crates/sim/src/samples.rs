//! Outputs of scripted tasks: values that fit a task's schema where there is one, else values that have the paths which
//! other tasks refer to. It does not know when tasks run.

use raddle_model::template::{Reference, Source, Step, Template};
use raddle_model::workflow::{OutputFormat, ShellTask, Task, TaskKind, Workflow};
use serde_json::{Map, Value, json};

use crate::chance::{Chance, chance_of};

/// Different outputs of one task.
const VARIANTS: u64 = 4;
/// Samples that are tried until one fits.
const TRIES: u64 = 64;
/// Objects and lists within each other.
const MAX_DEPTH: usize = 8;

/// What a task can bring.
#[derive(Debug, Clone)]
pub(crate) enum Bring {
    /// Text.
    Text(String),
    /// One of these, as JSON text.
    Json(Vec<String>),
}

/// What each task brings. A schema that no sample fits is taken out of the workflow, and told.
pub(crate) fn of(workflow: &mut Workflow) -> (Vec<Bring>, Vec<String>) {
    let wanted = wanted(workflow);
    let mut notes = Vec::new();
    let mut brings = Vec::with_capacity(workflow.tasks.len());
    for (n, (task, paths)) in workflow.tasks.iter_mut().zip(wanted).enumerate() {
        brings.push(match (&task.output_schema, task.output_format) {
            (_, OutputFormat::None) => Bring::Json(vec!["null".into()]),
            (Some(schema), _) => match fitting(schema, n as u64) {
                samples if !samples.is_empty() => Bring::Json(samples),
                _ => {
                    let id = &task.id;
                    notes.push(format!(
                        "no output was found that fits the schema of {id}: here it brings any, unchecked"
                    ));
                    task.output_schema = None;
                    Bring::Json(vec![shape(&paths).to_string()])
                }
            },
            (None, OutputFormat::Text) if paths.iter().all(|path| path.is_empty()) => {
                Bring::Text(format!("output of {}", task.id))
            }
            (None, _) => Bring::Json(vec![shape(&paths).to_string()]),
        });
    }
    (brings, notes)
}

/// The paths into each task's output that somebody refers to without a default.
fn wanted(workflow: &Workflow) -> Vec<Vec<Vec<Step>>> {
    let mut wanted = vec![Vec::new(); workflow.tasks.len()];
    let mut look = |template: &Template| {
        for Reference { source, path, default, .. } in template.references() {
            if let Source::Output(task) = source
                && default.is_none()
            {
                wanted[*task as usize].push(path.clone());
            }
        }
    };
    for task in &workflow.tasks {
        templates(task).into_iter().for_each(&mut look);
        for reference in task.course.when.iter().flat_map(|when| when.references()) {
            look(&Template::Whole(reference.clone()));
        }
    }
    workflow.outputs.iter().flatten().for_each(|(_, template)| look(template));
    // What stands in for another task's output is looked into in its place.
    for n in 0..workflow.tasks.len() {
        let mut at = n;
        while let Some(spare) = workflow.tasks[at].fallback.map(|spare| spare as usize).filter(|spare| *spare != n) {
            let more = wanted[n].clone();
            wanted[spare].extend(more);
            at = spare;
        }
    }
    wanted
}

fn templates(task: &Task) -> Vec<&Template> {
    let mut found: Vec<&Template> = task.env.iter().map(|(_, template)| template).collect();
    match &task.kind {
        TaskKind::Agent(agent) => found.push(&agent.prompt),
        TaskKind::Tool(tool) => found.push(&tool.arguments),
        TaskKind::Code(code) => found.extend(code.context.iter().map(|(_, template)| template)),
        TaskKind::Shell(ShellTask::Argv(parts)) => found.extend(parts),
        TaskKind::Shell(ShellTask::Script(_)) => {}
        TaskKind::Approval(gate) => found.push(&gate.question),
    }
    found
}

/// A value that has all these paths; what stands at their ends is text.
fn shape(paths: &[Vec<Step>]) -> Value {
    let mut root = Value::Null;
    for path in paths.iter().filter(|path| !path.is_empty()) {
        let mut at = &mut root;
        for step in path {
            at = match step {
                Step::Key(key) => {
                    if !at.is_object() {
                        *at = Value::Object(Map::new());
                    }
                    at.as_object_mut().expect("made above").entry(key.clone()).or_insert(Value::Null)
                }
                Step::Index(index) => {
                    if !at.is_array() {
                        *at = Value::Array(Vec::new());
                    }
                    let list = at.as_array_mut().expect("made above");
                    // A path far into a list would only make the simulation large.
                    let index = (*index).min(1000);
                    if list.len() <= index {
                        list.resize(index + 1, json!("item"));
                    }
                    &mut list[index]
                }
            };
        }
        if at.is_null() {
            *at = json!("value");
        }
    }
    if root.is_null() { json!({"ok": true}) } else { root }
}

/// Some different samples that fit, by the same judge that will judge them in the run.
fn fitting(schema: &Value, salt: u64) -> Vec<String> {
    let Ok(validator) = jsonschema::validator_for(schema) else { return Vec::new() };
    let mut found: Vec<String> = Vec::new();
    for n in 0..TRIES {
        let sample = sample(schema, schema, &mut chance_of(&[77, salt, n]), 0);
        let text = sample.to_string();
        if !found.contains(&text) && validator.is_valid(&sample) {
            found.push(text);
        }
        if found.len() as u64 == VARIANTS || n >= 8 && !found.is_empty() {
            break;
        }
    }
    found
}

/// A value that probably fits the schema.
fn sample(schema: &Value, root: &Value, chance: &mut Chance, depth: usize) -> Value {
    let Value::Object(keys) = schema else { return json!("any") };
    if depth > MAX_DEPTH {
        return Value::Null;
    }
    if let Some(value) = keys.get("const") {
        return value.clone();
    }
    if let Some(Value::Array(values)) = keys.get("enum") {
        return match values.len() as u64 {
            0 => Value::Null,
            n => values[chance.below(n) as usize].clone(),
        };
    }
    if let Some(target) = keys.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| sample(found, root, chance, depth + 1));
    }
    for choice in ["oneOf", "anyOf"] {
        if let Some(Value::Array(choices)) = keys.get(choice)
            && !choices.is_empty()
        {
            let one = &choices[chance.below(choices.len() as u64) as usize];
            return sample(&joined(keys, one), root, chance, depth + 1);
        }
    }
    if let Some(Value::Array(all)) = keys.get("allOf") {
        let whole = all.iter().fold(without(keys, "allOf"), |whole, part| match &whole {
            Value::Object(keys) => joined(keys, part),
            _ => whole,
        });
        return sample(&whole, root, chance, depth + 1);
    }
    match kind(keys, chance) {
        "object" => object(keys, root, chance, depth),
        "array" => {
            let least = count(keys, "minItems").unwrap_or(0);
            let most = count(keys, "maxItems").unwrap_or(least + 2).min(least + 2);
            let items = keys.get("items").cloned().unwrap_or(Value::Bool(true));
            let length = (least + chance.below(most.saturating_sub(least) + 1)).min(100);
            (0..length).map(|_| sample(&items, root, chance, depth + 1)).collect()
        }
        "integer" => json!(number(keys, chance).round() as i64),
        "number" => json!(number(keys, chance)),
        "boolean" => json!(chance.one_in(2)),
        "null" => Value::Null,
        _ => json!(text(keys, chance)),
    }
}

fn kind<'k>(keys: &'k Map<String, Value>, chance: &mut Chance) -> &'k str {
    match keys.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) if !kinds.is_empty() => {
            kinds[chance.below(kinds.len() as u64) as usize].as_str().unwrap_or("null")
        }
        _ if keys.contains_key("properties") || keys.contains_key("required") => "object",
        _ if keys.contains_key("items") => "array",
        _ if keys.contains_key("minimum") || keys.contains_key("maximum") => "number",
        _ => "string",
    }
}

/// All its properties, also those that may be missing: somebody may refer to them.
fn object(keys: &Map<String, Value>, root: &Value, chance: &mut Chance, depth: usize) -> Value {
    let mut object = Map::new();
    if let Some(Value::Object(properties)) = keys.get("properties") {
        for (name, schema) in properties {
            object.insert(name.clone(), sample(schema, root, chance, depth + 1));
        }
    }
    for name in keys.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        object.entry(name.to_owned()).or_insert_with(|| json!("value"));
    }
    Value::Object(object)
}

fn number(keys: &Map<String, Value>, chance: &mut Chance) -> f64 {
    let bound = |key: &str| keys.get(key).and_then(Value::as_f64);
    let low = bound("minimum").or(bound("exclusiveMinimum").map(|n| n + 1.0));
    let high = bound("maximum").or(bound("exclusiveMaximum").map(|n| n - 1.0));
    let (low, high) = match (low, high) {
        (Some(low), Some(high)) => (low, high),
        (Some(low), None) => (low, low + 10.0),
        (None, Some(high)) => (high - 10.0, high),
        (None, None) => (0.0, 10.0),
    };
    let value = (low + (high - low).max(0.0) * chance.below(11) as f64 / 10.0).round().clamp(low, high.max(low));
    match bound("multipleOf").filter(|step| *step > 0.0) {
        Some(step) => (value / step).ceil() * step,
        None => value,
    }
}

fn text(keys: &Map<String, Value>, chance: &mut Chance) -> String {
    let formats = [
        ("date-time", "2026-01-02T03:04:05Z"),
        ("date", "2026-01-02"),
        ("time", "03:04:05Z"),
        ("email", "somebody@example.com"),
        ("uri", "https://example.com/"),
        ("uuid", "00000000-0000-4000-8000-000000000000"),
    ];
    if let Some(format) = keys.get("format").and_then(Value::as_str)
        && let Some((_, text)) = formats.iter().find(|(name, _)| *name == format)
    {
        return (*text).to_owned();
    }
    let least = count(keys, "minLength").unwrap_or(0).min(10_000) as usize;
    let most = count(keys, "maxLength").unwrap_or(u64::MAX) as usize;
    let mut text: String = format!("text {}", chance.below(100)).chars().take(most).collect();
    while text.chars().count() < least {
        text.push('x');
    }
    text
}

fn count(keys: &Map<String, Value>, key: &str) -> Option<u64> {
    keys.get(key).and_then(Value::as_u64)
}

fn without(keys: &Map<String, Value>, key: &str) -> Value {
    Value::Object(keys.iter().filter(|(k, _)| *k != key).map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// Both schemas at once, as far as their keys do not stand in each other's way; properties are put together.
fn joined(keys: &Map<String, Value>, other: &Value) -> Value {
    let mut whole: Map<String, Value> = keys
        .iter()
        .filter(|(k, _)| !matches!(k.as_str(), "oneOf" | "anyOf"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for (key, value) in other.as_object().into_iter().flatten() {
        match (whole.get_mut(key), value) {
            (Some(Value::Object(before)), Value::Object(more)) => before.extend(more.clone()),
            (Some(Value::Array(before)), Value::Array(more)) if key == "required" => before.extend(more.clone()),
            _ => {
                whole.insert(key.clone(), value.clone());
            }
        }
    }
    Value::Object(whole)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn samples_fit_their_schemas() {
        for schema in [
            json!({"type": "object", "required": ["verdict", "score"], "properties": {
                "verdict": {"enum": ["good", "bad"]}, "score": {"type": "integer", "minimum": 1, "maximum": 5},
                "notes": {"type": "array", "minItems": 2, "items": {"type": "string", "minLength": 12}}}}),
            json!({"$ref": "#/$defs/list", "$defs": {"list": {"type": "array", "items": {"type": "number"}, "minItems": 1}}}),
            json!({"oneOf": [{"type": "null"}, {"type": "boolean"}]}),
            json!({"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"const": 3}}}]}),
            json!({"type": ["string", "null"], "format": "email"}),
            json!(true),
            json!({"type": "number", "multipleOf": 0.5, "exclusiveMinimum": 2}),
        ] {
            let samples = fitting(&schema, 1);
            assert!(!samples.is_empty(), "{schema}");
            let validator = jsonschema::validator_for(&schema).unwrap();
            assert!(samples.iter().all(|s| validator.is_valid(&serde_json::from_str(s).unwrap())), "{schema}");
        }
        assert!(fitting(&json!({"type": "string", "pattern": "^[0-9]{40}$"}), 1).is_empty());
        assert!(fitting(&json!(false), 1).is_empty());
    }

    #[test]
    fn outputs_have_what_others_refer_to() {
        let key = |k: &str| Step::Key(k.into());
        let paths = [vec![key("a"), key("b")], vec![key("a"), key("c"), Step::Index(1)], vec![]];
        assert_eq!(shape(&paths), json!({"a": {"b": "value", "c": ["item", "item"]}}));
        assert_eq!(shape(&[]), json!({"ok": true}));
    }
}
