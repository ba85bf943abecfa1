//! How long reading, planning and printing take for large and for hostile files:
//! `cargo run --release -p raddle-model --example timing [PART OF A NAME]`.

use std::fmt::Write;
use std::time::Instant;

use raddle_model::catalog::{Catalog, Settings};
use raddle_model::plan::{History, plan};
use raddle_model::{NoSources, parse};

/// Tasks in layers, each with two dependencies in the layer before.
fn layers(tasks: usize, layers: usize) -> String {
    let width = tasks / layers;
    let mut text = String::from("{\"tasks\": [\n");
    for n in 0..tasks {
        let before = (n / width).checked_sub(1).map(|layer| layer * width);
        let deps = before.map(|b| format!("\"t{}\", \"t{}\"", b + n % width, b + (n * 7 + 1) % width));
        let comma = if n + 1 < tasks { "," } else { "" };
        let deps = deps.unwrap_or_default();
        let _ = writeln!(text, r#"{{"id": "t{n}", "run": ["true"], "depends_on": [{deps}]}}{comma}"#);
    }
    text.push_str("]}");
    text
}

/// A chain in which every task refers to the one before it and to the first.
fn chain(tasks: usize) -> String {
    let mut text = String::from("{\"tasks\": [{\"id\": \"t0\", \"run\": \"true\"}");
    for n in 1..tasks {
        let m = n - 1;
        let _ =
            write!(text, r#", {{"id": "t{n}", "run": ["echo", "$OUTPUT[t{m}] $OUTPUT[t0]"], "depends_on": ["t{m}"]}}"#);
    }
    text.push_str("]}");
    text
}

fn block_yaml(json: &str) -> String {
    let tasks = json.lines().filter(|line| line.starts_with("{\"id"));
    let mut text = String::from("tasks:\n");
    for line in tasks {
        let _ = writeln!(text, "  - {}", line.trim_end_matches(','));
    }
    text
}

fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let _ = writeln!(text, "a{n}: &a{n} [{}]", vec![format!("*a{}", n - 1); 10].join(", "));
    }
    text + "tasks: *a9\n"
}

#[expect(clippy::print_stdout, reason = "an example talks")]
fn main() {
    type Make = fn() -> String;
    let cases: [(&str, Make); 15] = [
        ("100,000 tasks, 1,000 layers, JSON", || layers(100_000, 1000)),
        ("100,000 tasks, 1,000 layers, YAML", || block_yaml(&layers(100_000, 1000))),
        ("chain of 10,000", || layers(10_000, 10_000)),
        ("chain of 10,000 with references", || chain(10_000)),
        ("50 MB", || "x".repeat(50_000_000)),
        ("15 MB of text", || "x ".repeat(7_500_000)),
        ("15 MB of YAML list", || format!("[{}]", "a,".repeat(7_000_000))),
        ("15 MB of YAML lines", || "a:\n".repeat(5_000_000)),
        ("15 MB of dashes", || "- ".repeat(7_000_000)),
        ("10,000 deep", || format!("tasks: {}", "[".repeat(10_000))),
        ("1,000,000 question marks", || "? ".repeat(1_000_000)),
        ("1,000,000 quotes", || "\"".repeat(1_000_000)),
        ("10,000 deep JSON", || "{\"tasks\":".repeat(10_000)),
        ("alias bomb", bomb),
        ("staircase", || (1..3000).fold(String::from("tasks:\n"), |text, n| text + &" ".repeat(n) + "- \n")),
    ];
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for (name, make) in cases.into_iter().filter(|(name, _)| name.contains(&wanted)) {
        let text = make();
        let begun = Instant::now();
        let parsed = parse(text.as_bytes(), "wf", &NoSources, &Catalog::builtin());
        let parsing = begun.elapsed();
        let begun = Instant::now();
        let bytes = parsed.workflow.as_ref().map_or(0, |workflow| {
            let plan = plan(workflow, &Settings::default(), &History::new(), &parsed.diagnostics);
            serde_json::to_string(&plan).map_or(0, |text| text.len())
        });
        let first = parsed.diagnostics.first().map(|d| d.message.as_str()).unwrap_or("valid");
        println!("{name}: {parsing:.1?} read, {:.1?} plan and {bytes} bytes of JSON; {first}", begun.elapsed());
    }
}
