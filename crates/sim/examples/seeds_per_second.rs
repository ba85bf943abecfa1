//! How many stories of a workflow of twenty tasks are lived through in a second, on one thread:
//! `cargo run --release -p raddle-sim --example seeds_per_second [SEEDS]`.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::fmt::Write as _;
use std::time::Instant;

use raddle_engine::admission::{Admission, Cap};
use raddle_model::catalog::Catalog;
use raddle_model::{NoSources, parse};
use raddle_sim::{Kinds, Subject, Terms, search};
use serde_json::Map;

fn main() {
    let seeds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let mut text = String::from("tasks:\n");
    for n in 0..20 {
        let does = ["run: x", "prompt: p", "{type: code_execution, code: return 1}", "run: [echo, a]"][n % 4];
        let does = does.trim_matches(['{', '}']).replace(", ", "\n    ");
        let after: Vec<String> = (n.saturating_sub(5)..n).step_by(2).map(|d| format!("t{d}")).collect();
        let _ = writeln!(text, "  - id: t{n}\n    {does}\n    retry: {{max: {}}}", n % 3);
        if !after.is_empty() {
            let _ = writeln!(text, "    depends_on: [{}]", after.join(", "));
        }
    }
    text.push_str("invariants: [\"tasks.t19.effects <= 3\"]\n");
    let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::default());
    let workflow = parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics));
    let cap = |of| Cap { value: 8, bound_by: "the example".into(), of };
    let admission = Admission::new(["agents", "shell and code", "tools"].map(cap).to_vec(), false);
    let caps = vec![8; 3];
    let subject = Subject::new(Terms { workflow, inputs: Map::new(), models: Default::default(), admission, caps });
    let began = Instant::now();
    let found = search(&subject, 0..seeds, Kinds::ALL, 1, &|_| {});
    let per_second = found.seeds as f64 / began.elapsed().as_secs_f64();
    println!(
        "{per_second:.0} seeds a second; {} broke a promise; {:?} {:?}",
        found.failed, found.outcomes, found.struck
    );
}
