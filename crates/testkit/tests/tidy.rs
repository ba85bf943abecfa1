//! What the compiler does not hold: headers, names, sizes, leftovers. It reads text, not Rust; where that is not exact
//! it errs on the quiet side.

use std::path::{Path, PathBuf};

/// Files over 500 lines, each with the reason why it is one. The list is a ratchet: a file that shrank well below that
/// must leave it.
const LARGE: &[(&str, &str)] = &[
    ("crates/kernel/src/run.rs", "the fold and its one door: splitting it would open a second door"),
    ("crates/kernel/src/graph.rs", "the builder and what it builds: marks are set and read in one place"),
    ("crates/journal/src/record/v1.rs", "one version of the format, with every record that it has"),
    ("crates/engine/src/drive.rs", "the loop with everything that it keeps true"),
    ("crates/cli/src/run/host.rs", "the wiring of one run, in the order in which it happens"),
    ("crates/cli/src/run/look.rs", "the commands that look, one beside the other: they say the same in the same words"),
    ("crates/engine/src/task_program.rs", "one program's whole port; what it needs lies beside it"),
    ("crates/model/src/workflow.rs", "the whole workflow as plain types, to be read in one go"),
    ("crates/executors/src/local.rs", "the one loop over all executors: every one of them has its rows in it"),
    ("crates/executors/src/process/supervisor.rs", "one process's whole life, told in one place"),
];
const LARGE_LINES: usize = 500;
const SMALL_AGAIN_LINES: usize = 450;
const TOO_LARGE_LINES: usize = 800;

/// Names that say nothing about what is inside.
const BANNED: &[&str] = &["util", "utils", "helper", "helpers", "common", "types", "misc", "imp", "manager"];

/// A source file: its path from the root and its text.
struct Source {
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let in_tests = self.path.contains("/tests/") || self.path.contains("/benches/");
        in_tests || self.path.ends_with("/tests.rs") || self.path.ends_with("_tests.rs")
    }

    /// Not part of what is shipped: tests, examples, the testkit.
    fn is_for_development(&self) -> bool {
        self.is_test() || self.path.contains("/examples/") || self.path.starts_with("crates/testkit/")
    }

    /// The lines before the first module of tests, with their numbers: tests stand last in our files.
    fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]").map(|(i, l)| (i + 1, l))
    }

    /// The same without comments and the insides of strings.
    fn code_lines(&self) -> impl Iterator<Item = (usize, String)> {
        self.shipped_lines().map(|(number, line)| (number, without_text(line)))
    }
}

/// Cuts line comments and what stands between quotation marks. Raw and multi-line strings are not understood.
fn without_text(line: &str) -> String {
    let (mut code, mut quoted) = (String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '\'' if !quoted && chars.peek() == Some(&'"') => {
                chars.next();
            }
            '"' => quoted = !quoted,
            '/' if !quoted && chars.peek() == Some(&'/') => break,
            _ if quoted => {}
            c => code.push(c),
        }
    }
    code
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the root of the workspace")
}

fn sources() -> Vec<Source> {
    let root = root();
    let (mut folders, mut sources) = (vec![root.join("crates")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable source");
                let path = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(sources.len() > 50, "the sources were not found");
    sources
}

fn none(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|s| !s.text.starts_with("//! "));
    none(silent.map(|s| format!("{}: begins without `//! `", s.path)).collect());
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let named = |s: &Source| s.path.split(['/', '.']).any(|part| BANNED.contains(&part));
    none(sources().into_iter().filter(named).map(|s| s.path).collect());
}

#[test]
fn files_have_a_size_that_can_be_read() {
    let mut wrong = Vec::new();
    let sources = sources();
    for source in sources.iter().filter(|s| !s.is_test()) {
        let lines = source.shipped_lines().count();
        let reason = LARGE.iter().find(|(path, _)| *path == source.path);
        if lines > TOO_LARGE_LINES {
            wrong.push(format!("{}: {lines} lines; nothing may have over {TOO_LARGE_LINES}", source.path));
        } else if lines > LARGE_LINES && reason.is_none() {
            wrong.push(format!("{}: {lines} lines without a reason in tests/tidy.rs", source.path));
        } else if lines <= SMALL_AGAIN_LINES && reason.is_some() {
            wrong.push(format!("{}: {lines} lines; it may leave the list of large files", source.path));
        }
    }
    let gone = LARGE.iter().filter(|(path, _)| !sources.iter().any(|s| s.path == *path));
    wrong.extend(gone.map(|(path, _)| format!("{path}: in the list of large files, and gone")));
    none(wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together at run time, or this file would find itself.
    let marks = [["FIX", "ME"], ["XX", "X"], ["TO", "DO"]].map(|parts| parts.concat());
    let macros = [["to", "do!("], ["unimple", "mented!("], ["db", "g!("]].map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for source in sources() {
        for (i, line) in source.text.lines().enumerate() {
            let words = || line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let marked = marks.iter().any(|mark| words().any(|w| w == mark) && comment.contains(mark.as_str()));
            if marked || macros.iter().any(|m| without_text(line).contains(m.as_str())) {
                wrong.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    none(wrong);
}

#[test]
fn shipped_code_says_why_it_cannot_fail() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|s| !s.is_for_development()) {
        for (number, line) in source.code_lines() {
            if line.contains(".unwrap()") {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(wrong);
}

#[test]
fn libraries_do_not_print() {
    let mut wrong = Vec::new();
    for source in sources().into_iter().filter(|s| !s.is_for_development() && !s.path.starts_with("crates/cli/")) {
        for (number, line) in source.code_lines() {
            if ["println!(", "print!("].iter().any(|p| line.contains(p)) {
                wrong.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    none(wrong);
}
