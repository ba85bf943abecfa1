//! The pages of `docs/reference/` are made here from what the program itself says, and a page that differs from what is
//! made fails the test. `RADDLE_UPDATE_DOCS=1 cargo test -p raddle-cli --test docs` writes them. It also looks whether
//! what hand-written pages point to exists.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod command_line;
mod configuration;
mod diagnostics;
mod documents;
mod endings;
mod events;
mod links;
mod workflow;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A source file of the workspace, by its path from the root.
fn source(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Compares a page with what is made now, or writes it.
#[track_caller]
fn page(name: &str, made: &str) {
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("RADDLE_UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, made).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(made.lines()).position(|(a, b)| a != b);
    assert!(
        found == made,
        "docs/reference/{name} is not what the program says (first difference: line {}); write it anew with \
         RADDLE_UPDATE_DOCS=1 cargo test -p raddle-cli --test docs",
        differs.map_or_else(|| "the end".to_owned(), |n| (n + 1).to_string())
    );
}

/// Text for a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

const MADE: &str = "<!-- Made by crates/cli/tests/docs; do not edit. -->\n";
