//! The JSON Schema of a workflow file, for editors and people. It describes the whole format of the contract, also
//! what this version refuses. It does not validate; a test keeps its keys the same as the readers' tables.

use serde_json::{Map, Value, json};

/// Asked for a part that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchPart {
    /// The path as it was given.
    pub path: String,
    /// What there is at the last place that exists.
    pub known: Vec<String>,
}

impl std::fmt::Display for NoSuchPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = crate::diagnostic::quoted(&self.path);
        write!(f, "the schema has no part {path} (known: {})", self.known.join(", "))
    }
}

impl std::error::Error for NoSuchPart {}

/// The schema, or the part of it under a path of keys such as `tasks` or `tasks.retry`. Lists are looked through.
pub fn schema(path: Option<&str>) -> Result<Value, NoSuchPart> {
    let whole = whole();
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(whole) };
    let mut part = &whole;
    for key in path.split(['.', '/']).filter(|key| !key.is_empty()) {
        let place = properties(&whole, part);
        let found = place.and_then(|properties| properties.get(key));
        part = found.ok_or_else(|| NoSuchPart {
            path: path.to_owned(),
            known: place.map(|p| p.keys().cloned().collect()).unwrap_or_default(),
        })?;
    }
    let mut part = part.clone();
    // The part stands alone, so it brings the definitions that it points to.
    if let Value::Object(map) = &mut part {
        map.insert("$schema".into(), whole["$schema"].clone());
        map.insert("$defs".into(), whole["$defs"].clone());
    }
    Ok(part)
}

/// The properties at a place: its own, or those of its items, values or alternatives.
fn properties<'v>(whole: &'v Value, at: &'v Value) -> Option<&'v Map<String, Value>> {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        return properties(whole, whole.pointer(reference.strip_prefix('#')?)?);
    }
    if let Some(properties) = at.get("properties").and_then(Value::as_object) {
        return Some(properties);
    }
    let inner = at.get("items").or_else(|| at.get("additionalProperties").filter(|v| v.is_object()));
    if let Some(inner) = inner {
        return properties(whole, inner);
    }
    at.get("anyOf")?.as_array()?.iter().find_map(|one| properties(whole, one))
}

fn object(properties: Value) -> Value {
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

fn required(mut object: Value, keys: &[&str]) -> Value {
    object["required"] = json!(keys);
    object
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn words(description: &str, words: &[&str]) -> Value {
    json!({"enum": words, "description": description})
}

fn map_of(description: &str, value: Value) -> Value {
    json!({"type": "object", "description": description, "additionalProperties": value})
}

fn list_of(description: &str, value: Value) -> Value {
    json!({"type": "array", "description": description, "items": value})
}

fn duration(description: &str) -> Value {
    json!({"$ref": "#/$defs/duration", "description": description})
}

fn whole() -> Value {
    let mut whole = required(object(workflow()), &["tasks"]);
    whole["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    whole["title"] = json!("Raddle workflow");
    whole["description"] =
        json!("A directed acyclic graph of work for AI agents, tools, sandboxed code and shell commands.");
    whole["$defs"] = json!({
        "duration": {"type": ["string", "number"], "description": "300s, 5m, 1h30m, 500ms; a bare number is seconds (milliseconds in sandbox_config)"},
        "size": {"type": ["string", "number"], "description": "64MB, 1GB; a bare number is megabytes"},
        "retry": retry(),
        "dependencies": dependencies(),
        "permissions": permissions(),
    });
    whole
}

fn workflow() -> Value {
    json!({
        "name": text("Name of the workflow; the file's stem by default"),
        "description": text("What it is for"),
        "inputs": map_of("Typed parameters, given with --input or --inputs-file", object(json!({
            "type": words("Type of the parameter; string by default", &["string", "integer", "number", "boolean", "array", "object"]),
            "default": {"description": "Without a default the parameter must be given"},
            "description": text("What it is for"),
        }))),
        "execution_mode": words("When a ready task may start; parallel by default", &["sequential", "waves", "parallel", "adaptive"]),
        "parallelism_level": words("Tasks at once: 2, 5, 13 or no cap of its own (the default)", &["low", "medium", "high", "unlimited"]),
        "optimization_mode": words("balanced by default", &["none", "balanced", "aggressive"]),
        "defaults": object(json!({
            "timeout": duration("For tasks without one"),
            "retry": {"$ref": "#/$defs/retry"},
            "model": text("For agent tasks without one"),
            "executor": words("For agent tasks without one", &["process", "worktree", "task_tool", "api"]),
            "isolation": words("For tasks without one", &["none", "context", "process", "container"]),
        })),
        "limits": object(json!({
            "max_parallelism": {"type": "integer", "minimum": 1, "description": "Agent tasks and tool calls at once"},
            "budget": object(json!({
                "usd": {"type": "number"}, "tokens": {"type": "integer"}, "agents": {"type": "integer"}, "wall": {"$ref": "#/$defs/duration"},
            })),
        })),
        "agents": map_of("Agent definitions", object(json!({
            "cli": text("Which agent CLI runs it; claude by default"),
            "model": text("Its model"),
            "skills": list_of("Skills that every task of it gets", json!({"type": "string"})),
            "tools": list_of("Its tools", json!({"type": "string"})),
            "system_prompt": text("Its own system prompt"),
            "description": text("What it is for"),
            "mcp": object(json!({
                "tool": text("The tool that does its work, as server:tool_name; no agent CLI is started"),
                "prompt": text("The argument that gets the prompt; prompt by default"),
                "arguments": {"type": "object", "description": "Other arguments, as they are"},
            })),
        }))),
        "mcp_servers": map_of("MCP servers by name, in the shape of .mcp.json", object(json!({
            "command": text("The program"),
            "args": list_of("Its arguments", json!({"type": ["string", "number", "boolean"]})),
            "env": map_of("Extra environment", json!({"type": ["string", "number", "boolean"]})),
            "cwd": text("Working folder"),
            "type": words("stdio with a command, http with a url", &["stdio", "http", "streamable-http"]),
            "url": text("Address of a streamable-HTTP server: https, or http on this machine"),
            "headers": map_of("Headers for it", json!({"type": ["string", "number", "boolean"]})),
            "max_concurrent": {"type": "integer", "minimum": 1, "maximum": 1000,
                "description": "Calls at a time; more wait"},
            "elicitation": words("What it is told when it asks the user something; decline by default",
                &["decline", "defaults"]),
        }))),
        "permissions": {"$ref": "#/$defs/permissions"},
        "tasks": {"type": "array", "minItems": 1, "description": "The tasks", "items": task()},
        "edges": list_of("Edges beside those of depends_on", required(object(json!({
            "from": text("The prerequisite"), "to": text("The dependent"),
            "type": words("hard (the default) blocks on failure, soft only waits", &["hard", "soft"]),
        })), &["from", "to"])),
        "outputs": {"type": "object", "description": "The result; by default the outputs of all sink tasks"},
        "invariants": {"type": "array", "description": "what must be true in the end of every run; `raddle sim` checks it", "items": {"anyOf": [
            text("a CEL expression over the final states"),
            required(object(json!({"name": text("the expression by default"), "expr": text("a CEL expression over the final states")})), &["expr"]),
        ]}},
        "on_failure": words("continue by default", &["continue", "compensate"]),
    })
}

fn task() -> Value {
    let mut properties = every_task();
    let Value::Object(kinds) = kinds() else { unreachable!("the macro above makes an object") };
    if let Value::Object(map) = &mut properties {
        map.extend(kinds);
    }
    required(object(properties), &["id"])
}

fn every_task() -> Value {
    json!({
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$", "description": "Unique in the workflow"},
        "name": text("Human-readable; the id by default"),
        "description": text("What it is for"),
        "depends_on": {"$ref": "#/$defs/dependencies"},
        "dependencies": {"$ref": "#/$defs/dependencies"},
        "priority": {"type": "integer", "description": "Higher first; 0 by default"},
        "timeout": duration("Wall clock of one attempt; 300s by default"),
        "retry": {"$ref": "#/$defs/retry"},
        "retryable": {"type": "boolean", "description": "Whether failures may be retried at all"},
        "side_effects": {"type": "boolean", "description": "true by default for tool, shell and agent, and for code that may call tools; false for other code"},
        "when": text("Condition, asked when the task could start; false skips it and what hangs hard on it"),
        "foreach": json!({"type": ["string", "array"], "description": "Reference to a list; one task per item, `$ITEM` in it"}),
        "max_parallel": {"type": "integer", "minimum": 1, "description": "Items of foreach at once"},
        "output_format": words("How raw output becomes a value; text by default", &["text", "json", "none"]),
        "output_schema": {"type": ["object", "boolean"], "description": "JSON Schema of the output"},
        "executor": words("Who performs it", &["process", "worktree", "task_tool", "api", "mcp", "local"]),
        "isolation": words("Demanded isolation; process by default", &["none", "context", "process", "container"]),
        "permissions": {"$ref": "#/$defs/permissions"},
        "resources": object(json!({
            "memory": {"$ref": "#/$defs/size", "description": "Of all its processes together"},
            "cpu": {"type": "number", "description": "Processors, as in 1.5"},
            "pids": {"type": "integer", "description": "Processes and threads"},
            "slots": {"type": "integer", "description": "Refused: not built yet"},
        })),
        "pool": text("Pool whose slots it takes"),
        "writes": list_of("Paths it will write", json!({"type": "string"})),
        "singleton": {"type": "boolean", "description": "Never twice at once, over all runs"},
        "on_exhausted": {"description": "When retries are used up: fail; {model: m} (as many attempts again by another model); human or {replace: task}"},
        "fallback": text("Task that runs only when this one fails; its output stands in for this one's"),
        "on_doubt": words("What to do with an attempt of unknown fate", &["rerun", "ask", "fail", "compensate"]),
        "compensate": {"description": "Undoes the task: a task body, or restore"},
        "saga": text("Scope of compensation"),
        "approval": words("A person says yes to what it does before it starts", &["required"]),
        "speculate": {"type": "boolean", "description": "Start before soft dependencies have settled"},
        "on_soft_failure": words("When a soft dependency of a speculation fails", &["cancel", "rerun"]),
        "estimate": object(json!({
            "duration": {"$ref": "#/$defs/duration"}, "tokens": {"type": "integer", "minimum": 0}, "cost": {"type": "number", "minimum": 0},
        })),
        "cache": {"description": "Reuse an earlier result"},
        "phase": words("Phase of development", &["EXPLORE", "PLAN", "CODE", "TEST", "FIX", "DOCUMENT"]),
        "env": map_of("Extra environment; values take references", json!({"type": ["string", "number", "boolean"]})),
        "cwd": text("Working folder"),
        "status": {"description": "Ignored"},
        "level": {"description": "Ignored: levels are computed"},
    })
}

/// The keys of the kinds; exactly one kind marks a task.
fn kinds() -> Value {
    json!({
        "prompt": text("Agent: what to do; the name by default. Takes references"),
        "agent": text("Agent: which one; general by default"),
        "model": text("Agent: its model"),
        "skills": list_of("Agent: skills loaded into its system prompt", json!({"type": "string"})),
        "context": {"description": "Agent: fresh, shared or {resume: task}. Code: names in scope, values take references"},
        "inputs": {"description": "Agent: [] keeps outputs of dependencies out of the prompt. Sub-workflow: its parameters"},
        "tool": {"type": "string", "pattern": "^[^:]+:.+$", "description": "Tool: server:tool_name"},
        "arguments": {"type": "object", "description": "Tool: its arguments. Values take references"},
        "type": words("Code: marks the kind", &["code_execution"]),
        "code": text("Code: TypeScript or JavaScript function body; return gives the output"),
        "code_file": text("Code: the file that holds it"),
        "intent": text("Code: what it wants to do; the tools of the MCP servers are then listed in `tools`, best first"),
        "sandbox_config": object(json!({
            "timeout": duration("30s by default; a bare number is milliseconds"),
            "memoryLimit": {"$ref": "#/$defs/size"},
            "allowedReadPaths": list_of("Paths that may be read", json!({"type": "string"})),
            "deterministic": {"type": "boolean", "description": "The clock stands still and random numbers follow from the run and the task"},
        })),
        "run": {
            "type": ["string", "array"], "items": {"type": ["string", "number", "boolean"]}, "minItems": 1,
            "description": "Shell: a script for sh -eu -c, or a program with its arguments (which take references)",
        },
        "approve": text("Approval: the question. Takes references"),
        "expires": duration("Approval: how long to wait"),
        "on_expire": words("Approval: what silence means; it is never a yes", &["reject"]),
        "workflow": text("Sub-workflow: its file"),
        "aggregate": words("Aggregate: how to join the dependencies' outputs", &["first_success", "all", "majority", "best_score"]),
    })
}

fn retry() -> Value {
    object(json!({
        "max": {"type": "integer", "minimum": 0, "description": "Extra executions"},
        "initial": duration("First delay; 1s by default"),
        "factor": {"type": "number", "minimum": 1, "description": "Growth per retry; 2 by default"},
        "max_delay": duration("Longest delay; 30s by default"),
        "jitter": {"type": "number", "minimum": 0, "maximum": 1, "description": "Random share of a delay"},
        "on": list_of("Failure classes that are retried; all that can be by default", json!({"type": "string"})),
    }))
}

fn dependencies() -> Value {
    let entry = required(
        object(json!({"task": text("Id of the prerequisite"), "type": words("hard by default", &["hard", "soft"])})),
        &["task"],
    );
    list_of("Prerequisites", json!({"anyOf": [{"type": "string"}, entry]}))
}

fn permissions() -> Value {
    let list = |description: &str| list_of(description, json!({"type": "string"}));
    let mut grant = json!({
        "preset": words("Named grant; what is written beside it stands over it", &["minimal", "read-only", "workspace", "network", "trusted"]),
        "tools": list("Read, Bash, Bash(git *), server:tool, server:*. An empty list is nothing"),
        "paths": object(json!({
            "read": list("Patterns from the folder that tasks start in, or absolute; a last /** is everything below"),
            "write": list("The same for writing"),
        })),
        "deny": list("Neither read nor written, whatever else is said; denies are inherited"),
        "network": words("full by default", &["none", "full"]),
        "models": list("Models by name or family"),
        "cost_budget": {"type": "number", "minimum": 0, "description": "US dollars that one task may cost"},
    });
    let delegate = object(grant.clone());
    grant["delegate"] = delegate;
    grant["delegate"]["description"] = json!("What may be handed on; by default what may be used");
    object(grant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keys;

    fn keys_at(path: Option<&str>) -> BTreeSet<String> {
        let part = schema(path).expect("the path exists");
        properties(&whole(), &part).expect("an object").keys().cloned().collect()
    }

    fn listed(tables: &[&[&str]]) -> BTreeSet<String> {
        tables.iter().flat_map(|keys| keys.iter().map(|key| (*key).to_owned())).collect()
    }

    #[test]
    fn the_schema_has_the_keys_that_readers_know() {
        assert_eq!(keys_at(None), listed(&[keys::WORKFLOW]));
        let kinds =
            [keys::AGENT, keys::TOOL, keys::CODE, keys::SHELL, keys::APPROVAL, keys::SUBWORKFLOW, keys::AGGREGATE];
        assert_eq!(keys_at(Some("tasks")), listed(&[kinds.concat().as_slice(), keys::TASK]));
        for (path, table) in [
            ("defaults", keys::DEFAULTS),
            ("limits", keys::LIMITS),
            ("inputs", keys::INPUT),
            ("agents", keys::AGENT_DEFINITION),
            ("mcp_servers", keys::MCP_SERVER),
            ("edges", keys::EDGE),
            ("tasks.retry", keys::RETRY),
            ("tasks.estimate", keys::ESTIMATE),
            ("tasks.sandbox_config", keys::SANDBOX),
            ("tasks.depends_on", keys::DEPENDENCY),
            ("permissions", keys::PERMISSIONS),
            ("tasks.permissions", keys::PERMISSIONS),
            ("tasks.permissions.paths", keys::PATHS),
        ] {
            assert_eq!(keys_at(Some(path)), listed(&[table]), "{path}");
        }
        let missing = schema(Some("tasks.nosuch")).expect_err("no such key");
        assert!(missing.to_string().contains("nosuch") && missing.known.contains(&"run".to_owned()));
    }

    #[test]
    fn the_schema_accepts_what_readers_accept() {
        let validator = jsonschema::validator_for(&whole()).expect("it is a schema");
        let document = json!({
            "permissions": {"preset": "workspace", "tools": [], "paths": {"read": ["./**"]}, "delegate": {"network": "none"}},
            "name": "n", "inputs": {"who": {"type": "string", "default": "you"}}, "limits": {"max_parallelism": 3},
            "tasks": [
                {"id": "a", "run": ["echo", "$INPUT[who]"], "timeout": "5m", "retry": {"max": 1}},
                {"id": "b", "type": "code_execution", "code": "return 1", "depends_on": ["a", {"task": "a", "type": "hard"}],
                 "sandbox_config": {"timeout": 300, "memoryLimit": "32MB"}},
            ],
        });
        assert!(
            validator.is_valid(&document),
            "{:?}",
            validator.iter_errors(&document).map(|e| e.to_string()).collect::<Vec<_>>()
        );
        assert!(!validator.is_valid(&json!({"tasks": [{"id": "a", "run": "x", "dependsOn": []}]})));
        assert!(!validator.is_valid(&json!({"tasks": []})));
    }
}
