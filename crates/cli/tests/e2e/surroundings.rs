//! Surroundings that fail: readers that go away, disks that are full, folders that cannot be used. The work goes on
//! where it can, and what went wrong is said where somebody may read it.

use std::fs::File;
use std::process::Stdio;

use crate::place::Place;

const TWO: &str = "tasks:
  - { id: a, run: 'echo a >> log; until [ -e go ]; do sleep 0.01; done; echo A' }
  - { id: b, depends_on: [a], run: 'echo b >> log; head -c 200000 /dev/zero | tr \"\\\\0\" z' }
";

#[test]
fn a_reader_that_goes_away_does_not_end_the_run() {
    for words in
        [["run", "wf.yaml", "--json"].as_slice(), &["run", "wf.yaml"], &["run", "wf.yaml", "--quiet", "--events", "-"]]
    {
        let place = Place::new();
        place.file("wf.yaml", TWO);
        let mut command = place.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        drop((child.stdout.take(), child.stderr.take()));
        place.file("go", "");
        child.wait().expect("it ends");
        assert_eq!(place.text("log"), "a\nb\n", "{words:?}");
        assert_eq!(place.show("last")["outcome"], "succeeded", "{words:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_or_events_is_told() {
    let place = Place::new();
    place.file("wf.yaml", TWO);
    place.file("go", "");
    let ended = place.raddle(&["run", "wf.yaml", "--events", "/dev/full"]).exits(0);
    assert!(ended.err.contains("warning: events could not all be written"), "{}", ended.err);
    let full = File::options().write(true).open("/dev/full").expect("it is there");
    let output = place.command(&["run", "wf.yaml", "--json"]).stdout(full).output().expect("it starts");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(!output.status.success() && said.contains("cannot write to stdout"), "{said}");
    assert_eq!(place.show("last")["outcome"], "succeeded");
}

#[test]
fn a_home_that_cannot_be_used_is_told_before_anything_runs() {
    for home in ["/dev/null", "/proc/nowhere", "/dev/full"] {
        let mut place = Place::new();
        place.variable("RADDLE_HOME", home);
        place.file("wf.yaml", TWO);
        let ended = place.raddle(&["run", "wf.yaml"]);
        assert!(ended.code == Some(1) && ended.err.contains("RADDLE_HOME"), "{home}: {}", ended.err);
        assert_eq!(place.text("log"), "", "{home}");
    }
}

#[test]
fn a_run_is_found_and_resumed_from_anywhere() {
    let place = Place::new();
    place.file("wf.yaml", "tasks: [{ id: a, run: 'pwd; test -e go' }]\n");
    place.raddle(&["run", "wf.yaml"]).exits(1);
    place.file("go", "");
    let mut command = place.command(&["retry", "last", "a", "--json"]);
    command.current_dir(place.root().join("home"));
    let document = place.start_command(command).ended().exits(0).json();
    // Tasks work where the run was begun, not where somebody happens to stand.
    let work = place.work("").canonicalize().expect("it is there");
    assert_eq!(document["tasks"]["a"]["output"].as_str(), work.to_str());
}

#[test]
fn an_agent_cli_that_is_not_there_is_not_waited_for() {
    let place = Place::new();
    place.file("raddle.toml", "[clis.claude]\ncommand = [\"no-such-claude\"]\n");
    let workflow = "defaults: { retry: { max: 3, initial: 60s } }\ntasks: [{ id: t, prompt: hello }]\n";
    let document = place.run(workflow, 1);
    let task = &document["tasks"]["t"];
    assert_eq!((&task["error"]["class"], &task["attempts"]), (&"start".into(), &1.into()), "{task}");
    let told = task["error"]["message"].as_str().expect("a message");
    for word in ["no-such-claude", "npm install -g @anthropic-ai/claude-code", "[clis.claude] command"] {
        assert!(told.contains(word), "{told}");
    }
}
