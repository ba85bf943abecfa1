//! The arrows between crates are those of the design: read from `cargo metadata`, without the network. Development
//! dependencies are free. It also holds the kernel to needing nothing at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crates of the workspace each crate may depend on. A crate that is not named here is a decision not yet made.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("raddle-model", &[]),
    ("raddle-kernel", &[]),
    ("raddle-engine", &["raddle-model", "raddle-kernel"]),
    // The engine's own words for times and numbers are the kernel's.
    ("raddle-journal", &["raddle-engine", "raddle-kernel"]),
    ("raddle-sandbox", &[]),
    ("raddle-executors", &["raddle-engine", "raddle-kernel", "raddle-sandbox"]),
    ("raddle-sim", &["raddle-model", "raddle-kernel", "raddle-engine", "raddle-journal"]),
    ("raddle-planner", &["raddle-model"]),
    ("raddle-server", &["raddle-engine", "raddle-kernel", "raddle-model"]),
];

/// Wires everything together.
const KNOWS_ALL: &[&str] = &["raddle-cli", "raddle-testkit"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Normal and build dependencies by package: those of the workspace, and all.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let named = packages.map(|package| {
        let list = package["dependencies"].as_array().expect("dependencies").iter();
        let shipped = list.filter(|d| d["kind"] != "dev");
        let names = shipped.map(|d| d["name"].as_str().expect("a name").to_owned()).collect();
        (package["name"].as_str().expect("a name").to_owned(), names)
    });
    named.collect()
}

#[test]
fn every_arrow_between_crates_is_allowed() {
    let mut wrong = Vec::new();
    for (package, dependencies) in dependencies() {
        if KNOWS_ALL.contains(&package.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(name, _)| *name == package) else {
            wrong.push(format!("{package} is not in the table"));
            continue;
        };
        for dependency in dependencies.iter().filter(|d| d.starts_with("raddle-")) {
            if !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{package} -> {dependency}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_shipped_depends_on_the_testkit() {
    let users: Vec<String> = dependencies()
        .into_iter()
        .filter_map(|(package, dependencies)| dependencies.contains("raddle-testkit").then_some(package))
        .collect();
    assert!(users.is_empty(), "{users:?}");
}

#[test]
fn the_kernel_needs_nothing() {
    let of_kernel = &dependencies()["raddle-kernel"];
    assert!(of_kernel.is_empty(), "{of_kernel:?}");
    let text = std::fs::read_to_string(root().join("crates/kernel/src/lib.rs")).expect("the kernel's lib.rs");
    assert!(text.contains("#![no_std]"), "the kernel must be no_std");
    assert!(!text.contains("extern crate std"), "the kernel must not get std back");
}
