//! What goes from task to task: references, outputs of any size, prompts of any size and content. Nothing is cut,
//! expanded twice or read by a shell.

use serde_json::{Value, json};

use crate::place::Place;

/// An agent that answers with its prompt, byte for byte, and tells on the side what it was started with.
const ECHO_AGENT: &str = "#!/bin/sh\nfor a in \"$@\"; do printf '%s\\n' \"$a\" >> arguments; done\nexec cat\n";

fn with_echo_agent() -> Place {
    let place = Place::new();
    let agent = place.program("agent", ECHO_AGENT);
    place.file("raddle.toml", format!("[clis.echo]\ncommand = [{agent:?}]\nprompt = \"stdin\"\noutput = \"text\"\n"));
    place
}

fn echoed(place: &Place, tasks: &str) -> Value {
    place.run(&format!("agents: {{ parrot: {{ cli: echo }} }}\ndefaults: {{ timeout: 60s }}\ntasks:\n{tasks}"), 0)
}

#[test]
fn references_inside_longer_strings_and_lists_are_resolved() {
    let place = Place::new();
    place.file("data.json", r#"{"n": 7, "list": [{"x": "deep"}], "text": "$OUTPUT[data]"}"#);
    let document = place.run(
        r#"
inputs: { who: { type: string, default: "you" } }
tasks:
  - { id: data, output_format: json, run: cat data.json }
  - id: words
    depends_on: [data]
    run: ["printf", "%s|", "n=$OUTPUT[data].n!", "$OUTPUT[data].list[0].x and $INPUT[who]", "$$OUTPUT[data]", "$OUTPUT[data].text", "$OUTPUT[data].list"]
  - id: code
    type: code_execution
    depends_on: [data]
    context: { whole: "$OUTPUT[data].list", nested: [1, { deep: ["$OUTPUT[data].n", "about $OUTPUT[data].n"] }], none: "$OUTPUT[data].zz ?? [0]" }
    code: "return { whole, nested, none }"
outputs: { answer: "$OUTPUT[words]", parts: ["$OUTPUT[data].n", "x$OUTPUT[data].list[0].x"] }
"#,
        0,
    );
    let words = document["tasks"]["words"]["output"].as_str().expect("text");
    // What was put in is never looked at again, although it looks like a reference.
    assert_eq!(words, r#"n=7!|deep and you|$OUTPUT[data]|$OUTPUT[data]|[{"x":"deep"}]|"#);
    assert_eq!(
        document["tasks"]["code"]["output"],
        json!({"whole": [{"x": "deep"}], "nested": [1, {"deep": [7, "about 7"]}], "none": [0]})
    );
    assert_eq!(document["outputs"], json!({"answer": words, "parts": [7, "xdeep"]}));
}

#[test]
fn a_missing_path_fails_the_task_before_anything_is_called() {
    let place = Place::new();
    let document = place.run(
        "tasks:
  - { id: data, output_format: json, run: 'echo {}' }
  - { id: whole, depends_on: [data], env: { X: '$OUTPUT[data].zz' }, run: 'echo ran >> marker' }
  - { id: inside, depends_on: [data], run: [sh, -c, 'echo ran >> marker', 'about $OUTPUT[data].a[3].b'] }
",
        1,
    );
    for id in ["whole", "inside"] {
        let task = &document["tasks"][id];
        assert_eq!((&task["state"], &task["error"]["class"]), (&json!("failed"), &json!("input")), "{task}");
        assert!(task["error"]["message"].as_str().is_some_and(|m| m.contains("data")), "{task}");
    }
    assert_eq!(place.text("marker"), "");
}

#[test]
fn a_reference_to_a_task_that_is_no_ancestor_is_an_error_before_the_run() {
    let place = Place::new();
    place.file(
        "wf.yaml",
        "tasks:
  - { id: a, run: 'echo ran >> marker' }
  - { id: b, run: [echo, '$OUTPUT[a]'] }
  - { id: c, depends_on: [a], run: 'echo $OUTPUT[a]' }
",
    );
    let ended = place.raddle(&["run", "wf.yaml"]).exits(2);
    assert_eq!(ended.err.matches("bad-reference").count(), 2, "{}", ended.err);
    assert_eq!(place.text("marker"), "");
}

#[test]
fn outputs_of_five_megabytes_reach_their_dependents_uncut() {
    let place = Place::new();
    let document = place.run(
        "tasks:
  - { id: big, run: \"head -c 5000000 /dev/zero | tr '\\\\0' x; echo end\" }
  - { id: file, depends_on: [big], output_format: json, run: 'wc -c < $RADDLE_DEPS' }
  - { id: code, type: code_execution, depends_on: [big], code: 'return [deps.big.output.length, deps.big.output.slice(-4)]' }
  - { id: grown, type: code_execution, depends_on: [big], code: 'return deps.big.output + deps.big.output' }
  - { id: again, type: code_execution, depends_on: [grown], code: 'return deps.grown.output.length' }
outputs: { code: '$OUTPUT[code]', again: '$OUTPUT[again]' }
",
        0,
    );
    assert_eq!(document["outputs"], json!({"code": [5_000_003, "xend"], "again": 10_000_006}));
    assert!(document["tasks"]["file"]["output"].as_u64().is_some_and(|n| n > 5_000_003));
    let whole = document["tasks"]["big"]["output"].as_str().expect("text");
    assert_eq!((whole.len(), &whole[whole.len() - 5..]), (5_000_003, "xxend"));
    // The same after the process that ran it is gone.
    assert_eq!(place.show("last")["tasks"]["big"]["output"], *whole);
}

#[test]
fn prompts_of_a_megabyte_arrive_and_do_not_travel_in_arguments() {
    let place = with_echo_agent();
    let long = "word ".repeat(220_000);
    let document = echoed(&place, &format!("  - {{ id: long, agent: parrot, prompt: \"{}\" }}\n", long.trim()));
    assert_eq!(document["tasks"]["long"]["output"].as_str().map(str::len), Some(long.trim().len()));
    assert_eq!(place.text("arguments"), "");
}

#[test]
fn what_a_task_put_out_goes_into_a_prompt_whole() {
    let place = with_echo_agent();
    let document = echoed(
        &place,
        "  - { id: big, run: \"head -c 1000000 /dev/zero | tr '\\\\0' y\" }
  - { id: told, agent: parrot, depends_on: [big], prompt: 'Look: $OUTPUT[big].' }
  - { id: added, agent: parrot, depends_on: [big], prompt: 'Look at it.' }
  - { id: bare, agent: parrot, depends_on: [big], prompt: 'Do not look.', inputs: [] }
",
    );
    let answer = |id: &str| document["tasks"][id]["output"].as_str().expect("text").to_owned();
    assert_eq!(answer("told").len(), 1_000_000 + "Look: .".len());
    assert!(answer("added").starts_with("Look at it.") && answer("added").contains("Inputs"));
    assert_eq!(answer("added").matches('y').count(), 1_000_000);
    assert_eq!(answer("bare"), "Do not look.");
}

#[test]
fn prompts_and_values_never_pass_through_a_shell() {
    let place = with_echo_agent();
    let evil =
        "'; touch pwned; $(touch pwned) `touch pwned` \"$HOME\" && touch pwned # ${IFS} %s \\n -rf * $OUTPUT[a] $$";
    place.file("evil.json", json!({ "evil": evil }).to_string());
    place.file(
        "wf.yaml",
        "inputs: { evil: { type: string } }
agents: { parrot: { cli: echo } }
tasks:
  - { id: agent, agent: parrot, prompt: '$INPUT[evil]' }
  - { id: argv, run: [printf, '%s', '$INPUT[evil]'] }
  - { id: env, env: { X: '$INPUT[evil]' }, run: 'printf %s \"$X\"' }
  - { id: code, type: code_execution, context: { x: '$INPUT[evil]' }, code: 'return x' }
  - { id: second, agent: parrot, depends_on: [agent], prompt: '$OUTPUT[agent]' }
",
    );
    let document = place.raddle(&["run", "wf.yaml", "--json", "--inputs-file", "evil.json"]).exits(0).json();
    for id in ["agent", "argv", "env", "code", "second"] {
        assert_eq!(document["tasks"][id]["output"], evil, "{id}");
    }
    assert!(!place.work("pwned").exists());
    assert_eq!(place.text("arguments"), "");
}

#[test]
fn secrets_of_the_environment_reach_no_task_that_did_not_ask() {
    let mut place = with_echo_agent();
    place.variable("GITHUB_TOKEN", "hush-hush").variable("ANTHROPIC_API_KEY", "hush-hush");
    let document = echoed(
        &place,
        "  - { id: shell, run: env }
  - { id: asked, env: { MY: own }, run: env }
",
    );
    let shown = |id: &str| document["tasks"][id]["output"].as_str().expect("text").to_owned();
    assert!(!shown("shell").contains("hush") && shown("shell").contains("RADDLE_TASK_ID=shell"));
    assert!(shown("asked").contains("MY=own"));
}
