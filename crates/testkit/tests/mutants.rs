//! The breakages that are kept as patches: each names its guarantee and a test that there is, and still fits the
//! sources. Whether the tests notice them is tried by `faults mutants`, which builds each of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use raddle_testkit::faults::mutants::{self, Mutant};
use raddle_testkit::sim::Sabotage;

const AT_LEAST: usize = 30;

fn all() -> Vec<Mutant> {
    mutants::all(&root()).expect("a folder of patches with headers")
}

fn root() -> std::path::PathBuf {
    mutants::root().expect("the root of the workspace")
}

#[test]
fn there_are_enough_and_none_is_there_twice() {
    let mutants = all();
    let numbers: BTreeSet<&str> = mutants.iter().filter_map(|m| m.name.split('-').next()).collect();
    assert_eq!(numbers.len(), mutants.len(), "two have one number");
    assert!(mutants.len() >= AT_LEAST, "only {}", mutants.len());
    assert!(mutants.len() + Sabotage::ALL.len() >= AT_LEAST + 10);
}

#[test]
fn every_breakage_still_fits_the_sources() {
    let wrong: Vec<String> = all()
        .iter()
        .filter_map(|m| mutants::applies(m, &root()).err().map(|what| format!("{}: {what}", m.name)))
        .collect();
    assert!(wrong.is_empty(), "make these anew, they no longer fit:\n{}", wrong.join("\n"));
}

#[test]
fn every_breakage_names_a_test_that_there_is() {
    for mutant in all() {
        let words: Vec<&str> = mutant.caught_by.iter().map(String::as_str).collect();
        match words[..] {
            ["faults", "--section", _, "--rounds", _] => {}
            ["cargo", "test", "-p", package, ..] => {
                let folder = root().join("crates").join(package.trim_start_matches("raddle-"));
                let name = mutant.saying.trim_end_matches(':').rsplit("::").next().expect("a word");
                assert!(is_in(&folder, name), "{}: no `{name}` in {}", mutant.name, folder.display());
            }
            _ => panic!("{}: caught by {words:?}", mutant.name),
        }
    }
}

/// Whether sources there name it.
fn is_in(folder: &Path, name: &str) -> bool {
    let found = Command::new("grep").args(["-rqs", "--include=*.rs", name]).arg(folder).status();
    found.expect("grep can be called").success()
}
