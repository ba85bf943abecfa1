//! `raddle sim`: flaws of a workflow are found and told, the same each time, and nothing is executed.

use std::path::Path;

use crate::kit::Place;

const FLAWED: &str = "
name: release
tasks:
  - {id: build, run: 'touch executed; make'}
  - {id: deploy, run: 'touch executed', depends_on: [build], on_doubt: rerun}
invariants:
  - {name: deployed at most once, expr: tasks.deploy.effects <= 1}
";

fn example() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/release.yaml");
    std::fs::read_to_string(path).expect("the example is there")
}

#[test]
fn a_flaw_is_found_and_can_be_replayed() {
    let place = Place::new();
    place.file("wf.yaml", FLAWED);
    let ended = place.raddle(&["sim", "wf.yaml", "--seeds", "800", "--faults", "all,-people", "--json"]).exits(1);
    let document = ended.json();
    assert_eq!((&document["seeds"], &document["from"]), (&800.into(), &0.into()));
    assert!(document["struck"]["crashes"].as_u64() > Some(20), "{document}");
    let failing = &document["failing"][0];
    assert_eq!(failing["broken"]["promise"], "deployed at most once");
    assert_eq!(failing["misfortunes"][0]["kind"], "crashes", "{failing}");
    let seed = failing["seed"].as_u64().expect("a seed").to_string();
    let replay = format!("raddle sim wf.yaml --seed {seed} --faults all,-people");
    assert_eq!(failing["replay"], replay.as_str());
    let words: Vec<&str> = replay.split(' ').skip(1).collect();
    let stories = [(); 2].map(|()| place.raddle(&words).exits(1).out);
    assert_eq!(stories[0], stories[1]);
    assert!(stories[0].contains("the invariant deployed at most once is broken"), "{}", stories[0]);
    assert!(stories[0].contains("deploy: completed after 2 attempts, done 2 times"), "{}", stories[0]);
    let told = place.raddle(&["sim", "wf.yaml", "--seeds", "800", "--faults", "all,-people"]).exits(1).out;
    assert!(told.contains("replay the whole story: raddle sim wf.yaml --seed "), "{told}");
    // Not even a state folder was made.
    assert!(!place.path("work/executed").exists() && !place.path("state").exists());
}

#[test]
fn how_many_threads_there_are_changes_nothing() {
    let place = Place::new();
    place.file("wf.yaml", FLAWED);
    let documents = ["1", "3"].map(|jobs| {
        let mut document =
            place.raddle(&["sim", "wf.yaml", "--seeds", "300", "--jobs", jobs, "--json"]).exits(1).json();
        document.as_object_mut().expect("an object").remove("duration_ms");
        document.to_string()
    });
    assert_eq!(documents[0], documents[1]);
}

#[test]
fn the_example_keeps_its_promises_and_its_flawed_sister_does_not() {
    let place = Place::new();
    place.file("wf.yaml", &example());
    let words = ["sim", "wf.yaml", "--seeds", "400", "--faults", "all,-people"];
    let told = place.raddle(&words).exits(0).out;
    assert!(told.contains("every promise held in 400 seeds") && told.contains("4 invariants"), "{told}");
    let edges = "[test, review, { task: announce, type: soft }]";
    for (sound, flawed, promise) in [
        ("on_doubt: ask", "on_doubt: rerun", "deployed at most once"),
        (edges, "[test, { task: review, type: soft }]", "nothing unreviewed is deployed"),
        (edges, "[build, review]", "nothing untested is deployed"),
    ] {
        assert!(example().contains(sound));
        place.file("wf.yaml", &example().replace(sound, flawed));
        let told = place.raddle(&words).exits(1).out;
        assert!(told.contains(&format!("the invariant {promise} is broken")), "{flawed}: {told}");
    }
}

#[test]
fn bad_invariants_are_diagnostics() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks: [{id: a, run: 'true'}]\ninvariants:\n  - tasks.b.state == 'completed'\n  - expr: tasks.a.state ==\n    name: n\n",
    );
    let document = place.raddle(&["validate", "wf.yaml", "--json"]).exits(2).json();
    let found: Vec<(&str, u64, u64)> = document["diagnostics"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| (d["code"].as_str().unwrap_or(""), d["line"].as_u64().unwrap_or(0), d["column"].as_u64().unwrap_or(0)))
        .collect();
    assert_eq!(found, [("bad-invariant", 3, 5), ("bad-invariant", 4, 11)], "{document}");
    place.raddle(&["sim", "wf.yaml"]).exits(2);
    let hostile =
        format!("{{\"tasks\": [{{\"id\": \"a\", \"run\": \"x\"}}], \"invariants\": [\"{}1 == 1\"]}}", "1+".repeat(900));
    place.raddle(&["sim", &hostile]).exits(2);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = Place::new();
    place.file("wf.yaml", FLAWED);
    for words in
        [&["--faults", "gremlins"][..], &["--seeds", "0"], &["--seed", "1", "--seeds", "5"], &["--input", "x=1"]]
    {
        place.raddle(&[&["sim", "wf.yaml"], words].concat()).exits(2);
    }
    let inputs = "inputs: {n: {type: integer}}\ntasks: [{id: a, run: [echo, '$INPUT[n]']}]\n";
    place.file("inputs.yaml", inputs);
    place.raddle(&["sim", "inputs.yaml", "--seeds", "5"]).exits(2);
    place.raddle(&["sim", "inputs.yaml", "--seeds", "5", "--input", "n=3"]).exits(0);
}
