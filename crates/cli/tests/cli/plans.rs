//! Validation and plans, in words and as JSON, and the configuration that shapes them.

use crate::kit::Place;

const FLOW: &str = "\
name: release
tasks:
  - {id: explore, name: Explore the code, agent: code-explorer}
  - {id: build, run: make, depends_on: [explore]}
  - {id: lint, run: make lint}
  - {id: report, prompt: Summarise., model: haiku, depends_on: [build, {task: lint, type: soft}]}
";

#[test]
fn a_plan_in_words() {
    let place = Place::new();
    place.file("wf.yaml", FLOW).file("raddle.toml", "[dag_execution]\nmax_local = 4\n");
    let ended = place.raddle(&["plan", "wf.yaml"]).exits(0);
    let hash = ended.out.find("  (").map(|at| ended.out[at + 3..at + 15].to_owned()).expect("the hash is shown");
    insta::assert_snapshot!(ended.out.replace(&hash, "HASH"));
    assert_eq!(ended.err, "");
}

#[test]
fn a_dry_run_is_the_plan() {
    let place = Place::new();
    place.file("workflow.yaml", FLOW);
    let plan = place.raddle(&["plan", "workflow.yaml", "--json"]).exits(0);
    assert_eq!(plan.json()["levels"], serde_json::json!([["explore", "lint"], ["build"], ["report"]]));
    for words in
        [&["run", "--dry-run", "--json"] as &[&str], &["executor", "run", "workflow.yaml", "--dry-run", "--json"]]
    {
        assert_eq!(place.raddle(words).exits(0).out, plan.out);
    }
    assert_eq!(place.raddle_with_stdin(&["plan", "-", "--json"], FLOW).exits(0).out, plan.out);
    let inline = r#"{"tasks": [{"id": "a", "run": "true"}]}"#;
    assert_eq!(place.raddle(&["plan", inline, "--json"]).exits(0).json()["levels"], serde_json::json!([["a"]]));
    assert!(!place.path("state").exists());
}

#[test]
fn faults_with_their_place_and_a_way_out() {
    let place = Place::new();
    let text = "\
tasks:
  - {id: a, run: \"true\", dependsOn: [b]}
  - {id: b, agent: nosuch, depends_on: [zz]}
  - {id: \"é\\e[31m\", run: \"true\"}
";
    place.file("wf.yaml", text);
    let ended = place.raddle(&["validate", "wf.yaml"]).exits(2);
    assert_eq!(ended.out, "");
    assert!(!ended.err.contains('\u{1b}'), "{:?}", ended.err);
    insta::assert_snapshot!(ended.err);
    let document = place.raddle(&["validate", "wf.yaml", "--json"]).exits(2).json();
    assert_eq!(document["valid"], false);
    let codes: Vec<_> = document["diagnostics"].as_array().into_iter().flatten().map(|d| d["code"].clone()).collect();
    assert!(codes.contains(&"unknown-agent".into()) && codes.contains(&"unknown-dependency".into()), "{codes:?}");
}

#[test]
fn warnings_are_errors_when_strict() {
    let place = Place::new();
    place.file("wf.yaml", "tasks: [{id: a, run: 'true'}, {id: b, run: 'true'}]\n");
    assert_eq!(place.raddle(&["validate", "wf.yaml", "--json"]).exits(0).json()["valid"], true);
    assert_eq!(place.raddle(&["validate", "wf.yaml", "--json", "--strict"]).exits(2).json()["valid"], false);
    place.raddle(&["plan", "wf.yaml", "--strict"]).exits(2);
}

#[test]
fn flags_beat_environment_beats_project_beats_user() {
    let mut place = Place::new();
    place.file("wf.yaml", "tasks: [{id: a, prompt: x}]\n");
    let cap = |place: &Place, flags: &[&str]| {
        let plan = place.raddle(&[&["plan", "wf.yaml", "--json"], flags].concat()).exits(0).json();
        (plan["caps"]["agent"]["value"].as_u64(), plan["caps"]["agent"]["bound_by"].as_str().unwrap_or("").to_owned())
    };
    assert_eq!(cap(&place, &[]), (Some(10), "executors.process.max_processes".to_owned()));
    place.file("../config/raddle/config.toml", "[dag_execution]\nmax_parallelism = 2\n");
    assert_eq!(cap(&place, &[]).0, Some(2));
    place.file("raddle.toml", "[dag_execution]\nmax_parallelism = 3\n");
    assert_eq!(cap(&place, &[]).0, Some(3));
    place.variable("RADDLE_MAX_PARALLELISM", "4");
    assert_eq!(cap(&place, &[]).0, Some(4));
    assert_eq!(cap(&place, &["--max-parallel", "5"]).0, Some(5));
    assert_eq!(cap(&place, &["parallelism=low"]).0, Some(2));
    assert_eq!(cap(&place, &["sequential"]).0, Some(1));
    place.file("raddle.toml", "[dag_execution]\nmax_paralelism = 3\n");
    let ended = place.raddle(&["plan", "wf.yaml"]).exits(2);
    assert!(
        ended.err.contains("raddle.toml:2:1") && ended.err.contains("did you mean `max_parallelism`"),
        "{}",
        ended.err
    );
}

#[test]
fn agents_of_the_project_and_of_the_configuration() {
    let place = Place::new();
    place
        .file(
            ".claude/agents/reviewer.md",
            "---\nname: reviewer\ndescription: Use when: always\nmodel: haiku\n---\nReview.\n",
        )
        .file("raddle.toml", "[agents.tester]\nmodel = \"opus\"\n")
        .file("flows/wf.yaml", "tasks:\n  - {id: a, agent: reviewer}\n  - {id: b, agent: tester, depends_on: [a]}\n");
    let plan = place.raddle(&["plan", "flows/wf.yaml", "--json"]).exits(0).json();
    let models: Vec<_> = plan["tasks"].as_array().into_iter().flatten().map(|t| t["model"].clone()).collect();
    assert_eq!(models, ["haiku", "opus"]);
}
#[test]
fn the_schema_and_a_part_of_it() {
    let place = Place::new();
    let schema = place.raddle(&["schema"]).exits(0).json();
    assert!(schema["$schema"].is_string() && schema["properties"]["tasks"].is_object());
    place.raddle(&["schema", "tasks"]).exits(0).json();
    place.raddle(&["schema", "nosuch"]).exits(2);
}

#[test]
fn code_that_is_none_is_told_with_its_place_in_the_file() {
    let place = Place::new();
    place.file("job.ts", "const n = 1;\nconst x: = 3;\n");
    place.file(
        "wf.yaml",
        "tasks:
  - id: a
    type: code_execution
    code: |
      const ü = 1;

        let 5x;
  - { id: b, type: code_execution, code: 'return {' , depends_on: [a] }
  - { id: c, type: code_execution, code_file: job.ts, depends_on: [b] }
  - { id: d, type: code_execution, code: 'const n: number = 1; return n', depends_on: [c] }
",
    );
    let ended = place.raddle(&["validate", "wf.yaml", "--json"]).exits(2);
    let document: serde_json::Value = serde_json::from_str(&ended.out).expect("one document");
    let told: Vec<_> = document["diagnostics"].as_array().expect("a list").iter().collect();
    let places: Vec<_> = told.iter().map(|d| (d["task"].as_str(), d["line"].as_u64(), d["column"].as_u64())).collect();
    assert_eq!(places[0], (Some("a"), Some(7), Some(14)), "{document}");
    assert_eq!((places[1].0, places[1].1), (Some("b"), Some(8)), "{document}");
    assert!(told[2]["message"].as_str().is_some_and(|m| m.contains("job.ts`:2:10")), "{document}");
    assert!(told.len() == 3 && told.iter().all(|d| d["code"] == "bad-code" && d["severity"] == "error"), "{document}");
    // A run goes on until the task fails.
    place.file("wf.yaml", "tasks: [{ id: a, type: code_execution, code: 'return {' }]");
    let ended = place.raddle(&["plan", "wf.yaml"]).exits(0);
    assert!(ended.err.contains("warning[bad-code]"), "{}", ended.err);
}
