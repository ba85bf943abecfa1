//! The pages about how things end: exit codes of the program and failure classes of attempts, made from the sources
//! that define them. It does not know what leads to which.

use raddle_kernel::FailureClass;

use crate::{MADE, cell, page, source};

/// The variants of the first enum of that name with their doc comments, in order.
fn variants(text: &str, name: &str) -> Vec<(String, String)> {
    let begin = text.find(&format!("enum {name} {{")).unwrap();
    let mut found = Vec::new();
    let mut said = String::new();
    for line in text[begin..].lines().skip(1) {
        let line = line.trim();
        if line == "}" {
            break;
        }
        match line.strip_prefix("///") {
            Some(words) => {
                said.push_str(words.trim());
                said.push(' ');
            }
            None => {
                let word = line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                found.push((word.to_owned(), std::mem::take(&mut said).trim().to_owned()));
            }
        }
    }
    found
}

#[test]
fn exit_codes() {
    let text = source("crates/cli/src/exit.rs");
    let mut rows = String::new();
    for (name, said) in variants(&text, "Exit") {
        let arm = format!("Self::{name} => ");
        let at = text.find(&arm).unwrap() + arm.len();
        let code = text[at..].split(',').next().unwrap();
        rows.push_str(&format!("| {code} | {} |\n", cell(&said)));
    }
    let words = "What a script sees. `run`, `resume`, `retry` and `skip` tell by it how the run stands; other commands \
                 use 0 when they are done and 2 when they could not be understood or found nothing.\n\n";
    page("exit-codes.md", &format!("{MADE}# Exit codes\n\n{words}| code | meaning |\n|---:|---|\n{rows}"));
}

#[test]
fn failure_classes() {
    let text = source("crates/kernel/src/event.rs");
    let said = variants(&text, "FailureClass");
    let mut rows = String::new();
    for class in FailureClass::ALL {
        let (_, meaning) = said.iter().find(|(name, _)| *name == format!("{class:?}")).unwrap();
        let again = if class.retryable() { "yes" } else { "never" };
        rows.push_str(&format!("| `{}` | {} | {again} |\n", class.name(), cell(meaning)));
    }
    let words = "Every failed attempt has exactly one class. *Can be retried* says whether another execution could help \
                 at all; whether there is one is up to the task's `retry`. An attempt of class `lost` is not repeated by \
                 the retry policy either: `on_doubt` decides about it.\n\n";
    let head = "| class | meaning | can be retried |\n|---|---|---|\n";
    page("failure-classes.md", &format!("{MADE}# Failure classes\n\n{words}{head}{rows}"));
}
