//! The examples that come with the project do what they say.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::claude::{or_skip, with_claude};
use crate::partners::{self, repository, skipped};
use crate::place::Place;

const SUBJECTS: [&str; 4] = ["core: begin", "docs: say why", "core: go on", "tests: break it"];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

#[test]
fn the_commit_report_describes_a_real_repository() {
    let place = Place::new();
    or_skip!(repository(&place, ".", &SUBJECTS), "the example commit-report");
    let file = example("commit-report.yaml");
    let words = ["run", file.to_str().expect("a plain path"), "--json", "--input", "out=history.md"];
    let document = place.raddle(&words).exits(0).json();
    assert_eq!(document["outcome"], "succeeded", "{document}");
    let report = place.text("history.md");
    for word in ["Ada", "core", "docs", "tests", "4"] {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert_eq!(document["outputs"]["file"], "history.md");
    // A history without areas in its subjects fails in one corner, safely, and the rest is there.
    let place = Place::new();
    or_skip!(repository(&place, ".", &["begin", "go on"]), "the example commit-report");
    let document = place.raddle(&words).exits(0).json();
    assert_eq!(
        (&document["outcome"], &document["tasks"]["topics"]["state"]),
        (&json!("degraded"), &json!("failed_safe"))
    );
    assert!(place.text("history.md").contains("Ada"));
}

#[test]
fn the_commit_summary_goes_from_a_server_through_code_to_an_agent() {
    let rules = json!([{"when": {"first": "newcomer.*core: go on"}, "reply": [{"text": "Lately the core went on."}]}]);
    let (mut place, model) = or_skip!(with_claude(&rules), "the example commit-summary");
    let bin = or_skip!(partners::python(), "the example commit-summary");
    or_skip!(repository(&place, "repo", &SUBJECTS), "the example commit-summary");
    // What `uvx` would fetch is installed already.
    place.program("bin/uvx", &format!("#!/bin/sh\nname=$1; shift\nexec \"{}/$name\" \"$@\"\n", bin.display()));
    let shim = place.work("bin");
    place.look_in(&shim);
    let (file, repo) = (example("commit-summary.yaml"), format!("repo={}", place.work("repo").display()));
    let words = ["run", file.to_str().expect("a plain path"), "--json", "--input", &repo];
    let document = place.raddle(&words).exits(0).json();
    assert_eq!(document["outputs"], json!({"summary": "Lately the core went on."}), "{document}");
    assert_eq!(document["tasks"]["digest"]["output"]["commits"], 4);
    assert_eq!(document["tasks"]["digest"]["output"]["messages"][0], "tests: break it");
    assert_eq!(model.calls().len(), 1);
}
