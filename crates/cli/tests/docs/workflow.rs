//! The page of the workflow file, made from the schema that the program prints and from its table of what it refuses.
//! The schema itself lies beside the page, for editors. It does not know what the keys do.

use std::process::Command;

use serde_json::Value;

use crate::{MADE, cell, page, source};

/// Keys and values that this version refuses, by the names of their places in the program's table.
struct Refused {
    rows: Vec<(String, String, Option<String>)>,
}

impl Refused {
    fn read() -> Refused {
        let text = source("crates/model/src/unsupported.rs");
        let tables = text.split("/// Stands for any mapping").next().unwrap();
        let rows = tables.lines().filter_map(|line| {
            let row = line.trim().strip_prefix('(')?.strip_suffix("),")?;
            let mut parts = row.split(", ");
            let place = parts.next()?.to_owned();
            let mut word = || parts.next().map(|part| part.trim_matches('"').to_owned());
            Some((place, word()?, word()))
        });
        let refused = Refused { rows: rows.collect() };
        assert!(refused.rows.len() > 5, "the table of what is refused is not where it was");
        refused
    }

    fn key(&self, places: &[&str], key: &str) -> bool {
        self.rows.iter().any(|(place, k, value)| places.contains(&place.as_str()) && k == key && value.is_none())
    }

    fn values(&self, places: &[&str], key: &str) -> Vec<&str> {
        let rows = self.rows.iter().filter(|(place, k, _)| places.contains(&place.as_str()) && k == key);
        rows.filter_map(|(.., value)| value.as_deref()).collect()
    }
}

fn reference(value: &Value) -> Option<&str> {
    value.get("$ref")?.as_str()?.strip_prefix("#/$defs/")
}

/// What a key holds, in a few words.
fn holds(value: &Value) -> String {
    if let Some(name) = reference(value) {
        return name.to_owned();
    }
    if let Some(words) = value.get("enum").and_then(Value::as_array) {
        return words.iter().map(|word| format!("`{}`", word.as_str().unwrap())).collect::<Vec<_>>().join(", ");
    }
    let one = |kind: &str| match (kind, value.get("items"), value.get("additionalProperties")) {
        ("array", Some(items), _) if items.get("properties").is_some() => "list of mappings".to_owned(),
        ("array", Some(_), _) => "list".to_owned(),
        ("object", _, Some(Value::Object(_))) => "mapping by name".to_owned(),
        ("object", ..) => "mapping".to_owned(),
        ("string", ..) => "text".to_owned(),
        (other, ..) => other.to_owned(),
    };
    match value.get("type") {
        Some(Value::String(kind)) => one(kind),
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).map(one).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

/// The properties of a mapping, of a list's items or of a mapping's values.
fn properties<'v>(schema: &'v Value, value: &'v Value) -> Option<&'v Value> {
    let value = reference(value).map_or(value, |name| &schema["$defs"][name]);
    if value.get("properties").is_some() {
        return Some(value);
    }
    let inner = value.get("items").or_else(|| value.get("additionalProperties").filter(|v| v.is_object()))?;
    if let Some(variants) = inner.get("anyOf").and_then(Value::as_array) {
        return variants.iter().find(|one| one.get("properties").is_some());
    }
    inner.get("properties").map(|_| inner)
}

struct Writer<'v> {
    schema: &'v Value,
    refused: Refused,
    text: String,
    told: Vec<String>,
}

impl<'v> Writer<'v> {
    fn table(&mut self, title: &str, at: &'v Value, places: &[&str]) {
        self.text.push_str(&format!("\n## {title}\n\n| key | holds | meaning |\n|---|---|---|\n"));
        let required: Vec<&str> =
            at.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut inner = Vec::new();
        for (key, value) in at["properties"].as_object().unwrap() {
            let mut said = value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut add = |words: String| {
                if !said.is_empty() {
                    said.push_str(". ");
                }
                said.push_str(&words);
            };
            if required.contains(&key.as_str()) {
                add("Required".to_owned());
            }
            let refused = self.refused.key(places, key);
            if refused {
                add("**Refused: not built yet**".to_owned());
            }
            let values = self.refused.values(places, key);
            if !values.is_empty() {
                let values: Vec<_> =
                    values.iter().map(|v| if *v == "…" { "a mapping".to_owned() } else { format!("`{v}`") }).collect();
                // Code tasks have a key of that name too, and there a mapping is what is wanted.
                let whose = if key == "context" { " for agents" } else { "" };
                add(format!("**Refused{whose}, not built yet:** {}", values.join(", ")));
            }
            self.text.push_str(&format!("| `{key}` | {} | {} |\n", cell(&holds(value)), cell(&said)));
            let name = reference(value).unwrap_or(key).to_owned();
            if let Some(properties) = properties(self.schema, value).filter(|_| !refused && !self.told.contains(&name))
            {
                self.told.push(name.clone());
                inner.push((name, properties));
            }
        }
        for (name, value) in inner {
            let places: &[&str] = match name.as_str() {
                "tasks" => &["Task", "Code"],
                "limits" => &["Limits"],
                // What is refused on tasks is refused as a default too.
                "defaults" => &["Task"],
                _ => &[],
            };
            self.table(&name, value, places);
        }
    }
}

#[test]
fn the_workflow_file() {
    let out = Command::new(env!("CARGO_BIN_EXE_raddle")).arg("schema").output().unwrap();
    assert!(out.status.success());
    let printed = String::from_utf8(out.stdout).unwrap();
    page("workflow.schema.json", &printed);
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let text = format!(
        "{MADE}# Workflow file\n\nYAML or JSON. [The schema](workflow.schema.json) is what `raddle schema` prints. A key that \
         is not listed is an error; what is marked as refused is part of the format and an error in this version \
         (`not-yet-supported`). How the keys work together is in [writing workflows](../guide/writing-workflows.md).\n\n\
         Durations: `300s`, `5m`, `1h30m`, `500ms`; a bare number is seconds, in `sandbox_config` milliseconds. Sizes: \
         `64MB`, `1GB`; a bare number is megabytes.\n"
    );
    let mut writer = Writer { schema: &schema, refused: Refused::read(), text, told: Vec::new() };
    writer.table("workflow", &schema, &["Workflow"]);
    page("workflow.md", &writer.text);
}
