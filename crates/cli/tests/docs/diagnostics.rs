//! The page of diagnostics: a sentence about every code that the program can give, and proof that the list is whole.
//! It finds codes in the sources by the calls that make diagnostics; it does not know when they are given.

use std::collections::BTreeSet;
use std::path::Path;

use crate::{MADE, cell, page, root};

/// Every code with what it means. Warnings are marked; everything else is an error.
const MEANINGS: &[(&str, &str)] = &[
    ("ambiguous-kind", "Keys of several kinds stand in one task"),
    ("bad-condition", "`when` is no condition; the place is where reading it had to stop"),
    ("bad-context", "Whose conversation a task continues cannot be: no agent, another agent CLI, or no order of turns"),
    ("bad-duration", "Not a duration such as `300s`, `5m`, `500ms`"),
    ("bad-edge-type", "An edge is `hard` or `soft`"),
    (
        "bad-code",
        "The code of a task is neither TypeScript nor JavaScript: an error of `validate`, a warning before a run, in which that task fails",
    ),
    ("bad-id", "A task's id, a parameter's or a server's name that cannot be one"),
    ("bad-path", "A path in `writes` that `compensate: restore` cannot put back"),
    (
        "bad-reference",
        "A reference that cannot be resolved: unknown name, no ancestor, bad grammar, or inside a shell script",
    ),
    ("bad-invariant", "An expression of `invariants:` cannot be read, or asks for what is not there"),
    ("bad-schema", "`output_schema` is no JSON Schema"),
    ("bad-size", "Not a size such as `64MB`"),
    ("bad-tool-name", "Not of the form `server:tool_name`"),
    ("bad-type", "A value of another type than the key takes"),
    ("bad-value", "A value of the right type that is not possible here"),
    ("conflicting-edge", "The same two tasks are joined by a hard and by a soft edge"),
    ("conflicting-keys", "Two keys contradict each other"),
    ("cycle", "Tasks depend on each other in a circle; the message is its members as a path"),
    ("duplicate-id", "Two tasks have one id"),
    ("ignored-key", "Warning: the key is accepted from other tools and has no effect"),
    (
        "lint-effect",
        "Warning: the code seems to reach for network, files or processes, which the sandbox does not have",
    ),
    ("missing-key", "A key that must be there is not"),
    ("no-conversation", "The task continues a conversation, and its executor has none"),
    ("no-tools", "The task's agent has tools, and its executor has none"),
    ("not-compensated", "Warning: a member of a saga that nothing undoes when another member fails"),
    ("not-yet-supported", "The file format has it, this version cannot do it"),
    ("one-scope", "Warning: `saga` says nothing where `on_failure: compensate` makes the whole workflow one"),
    ("orphan", "Warning: the task has neither dependencies nor dependents"),
    ("permission-denied", "What the task does is not within its own permissions"),
    ("permission-widened", "A task asks for more than the workflow grants; the message names field and value"),
    ("secret-not-allowed-here", "A secret stands where it would be stored, shown or sent; `env:` is the place"),
    ("self-dependency", "A task depends on itself"),
    ("syntax", "Not YAML, JSON or TOML"),
    ("unenforceable", "Something is demanded that nobody here can hold the task to"),
    ("unknown-agent", "No such agent in the file, the project or the configuration"),
    ("unknown-cli", "No such agent CLI"),
    ("unknown-dependency", "No task has that id"),
    ("unknown-executor", "No such executor"),
    ("unknown-key", "The key means nothing at this place; the help names the nearest that does"),
    ("unknown-model", "No provider answers for the model of a task of executor `api`, or `auto` can choose none"),
    ("unknown-secret", "The configuration declares no secret of that name"),
    ("unknown-server", "The tool's server is declared neither in the file nor in `.mcp.json`"),
    ("unknown-skill", "No such skill in `.claude/skills`"),
    ("unknown-tool", "No tool has that name"),
    ("unreadable", "A configuration file cannot be read"),
    ("unreadable-file", "A file that the workflow names cannot be read"),
    ("unused-compensation", "Warning: `compensate` of a task that is in no saga"),
];

/// Functions whose first argument is a code, and the field that holds one.
const MAKERS: &[&str] = &["error(", "warning(", "fault(", "Fault::at(", "code:"];

/// Makes diagnostics that no command shows: the command line tells of parameters as of its own words.
const UNSHOWN: &str = "model/src/inputs.rs";

fn sources(folder: &Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, texts);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests.rs") && !path.ends_with(UNSHOWN)
        {
            let text = std::fs::read_to_string(&path).unwrap();
            texts.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
        }
    }
}

fn codes() -> BTreeSet<String> {
    let mut texts = Vec::new();
    sources(&root().join("crates/model/src"), &mut texts);
    sources(&root().join("crates/cli/src/config"), &mut texts);
    sources(&root().join("crates/cli/src/project"), &mut texts);
    let mut codes = BTreeSet::new();
    for text in &texts {
        for maker in MAKERS {
            for (at, _) in text.match_indices(maker) {
                let Some(rest) = text[at + maker.len()..].trim_start().strip_prefix('"') else { continue };
                let code = rest.split('"').next().unwrap();
                if !code.is_empty() && code.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                    codes.insert(code.to_owned());
                }
            }
        }
    }
    codes
}

#[test]
fn diagnostics() {
    let given = codes();
    let told: BTreeSet<String> = MEANINGS.iter().map(|(code, _)| (*code).to_owned()).collect();
    let untold: Vec<_> = given.difference(&told).collect();
    let gone: Vec<_> = told.difference(&given).collect();
    assert!(untold.is_empty() && gone.is_empty(), "codes without a sentence: {untold:?}; codes nobody gives: {gone:?}");
    let rows: String = MEANINGS.iter().map(|(code, said)| format!("| `{code}` | {} |\n", cell(said))).collect();
    let words = "All faults of a file are told at once, each with one of these codes, its line and column and, where there \
                 is one, a way out. `raddle validate --json` prints them as `{\"valid\": bool, \"diagnostics\": [{severity, \
                 code, task?, message, line, column, help?}]}`; `plan --json` has the same list. Errors of a workflow or \
                 of the configuration end the program with exit code 2; warnings do so under `--strict`.\n\n";
    page("diagnostics.md", &format!("{MADE}# Diagnostics\n\n{words}| code | meaning |\n|---|---|\n{rows}"));
}
