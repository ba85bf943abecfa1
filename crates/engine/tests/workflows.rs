//! A workflow as a program: what attempts are given, and what is made of what they bring.

#![expect(clippy::unwrap_used, reason = "tests say what is wrong by failing")]

mod kit;

use kit::Told;
use raddle_engine::attempt::{AgentWork, AttemptSpec, CodeWork, Conversation, ProcessWork, ToolWork, Work};
use raddle_engine::{Ending, FailureClass, Outcome};
use raddle_testkit::script::Part;
use serde_json::{Value, json};

fn agent(spec: &AttemptSpec) -> &AgentWork {
    match &spec.work {
        Work::Agent(work) => work,
        other => panic!("{other:?}"),
    }
}

fn process(spec: &AttemptSpec) -> &ProcessWork {
    match &spec.work {
        Work::Process(work) => work,
        other => panic!("{other:?}"),
    }
}

fn tool(spec: &AttemptSpec) -> &ToolWork {
    match &spec.work {
        Work::Tool(work) => work,
        other => panic!("{other:?}"),
    }
}

fn code(spec: &AttemptSpec) -> &CodeWork {
    match &spec.work {
        Work::Code(work) => work,
        other => panic!("{other:?}"),
    }
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn inputs_are_appended_to_a_prompt_without_references() {
    let told = Told::of(
        "tasks:
  - {id: facts, run: x, output_format: json}
  - {id: hint, run: x}
  - {id: alone, prompt: \"Just this.\\n\", agent: general}
  - {id: ask, prompt: Sum up., agent: general, depends_on: [facts, {task: hint, type: soft}]}",
    );
    let (_, started) = told.run(|id, _| match id {
        "facts" => Part::text("{\"n\": [1, 2], \"quote\": \"\\\"\"}"),
        _ => Part::text("soft"),
    });
    let prompt = |id: &str| agent(started.iter().find(|s| &*s.task_id == id).unwrap()).prompt.clone();
    assert_eq!(prompt("alone"), "Just this.\n", "not a byte is added without inputs");
    let (said, inputs) = {
        let prompt = prompt("ask");
        let (said, rest) = prompt.split_once("\n\n## Inputs\n\n").expect("a heading");
        (said.to_owned(), parsed(rest))
    };
    assert_eq!(said, "Sum up.");
    assert_eq!(inputs, json!({"facts": {"n": [1, 2], "quote": "\""}}), "hard dependencies only");
}

#[test]
fn references_in_a_prompt_stand_where_they_are_and_nothing_is_appended() {
    let told = Told::of(
        "inputs: {who: {type: string, default: world}}
tasks:
  - {id: a, run: x, output_format: json}
  - {id: ask, prompt: 'To $INPUT[who]: $OUTPUT[a].n of $OUTPUT[a]', agent: general, depends_on: [a]}",
    );
    let mut told = told;
    told.inputs.insert("who".into(), json!("$OUTPUT[a]"));
    let (_, started) = told.run(|_, _| Part::text("{\"n\":3}"));
    assert_eq!(agent(&started[1]).prompt, "To $OUTPUT[a]: 3 of {\"n\":3}", "what was put in is not expanded again");
}

#[test]
fn shells_get_the_results_of_their_dependencies_as_json() {
    let told = Told::of(
        "tasks:
  - {id: good, run: x, output_format: json}
  - {id: bad, run: x}
  - {id: behind, run: x, depends_on: [bad]}
  - {id: safe, type: code_execution, code: 'throw 1'}
  - id: all
    run: [echo, '$OUTPUT[good].list', '$OUTPUT[good].list[1]']
    depends_on: [good, safe, {task: bad, type: soft}, {task: behind, type: soft}]
  - {id: none, run: x}",
    );
    let (ending, started) = told.run(|id, _| match id {
        "good" => Part::text("{\"list\":[1,\"two words\"]}"),
        "bad" => Part::fails(FailureClass::Exit),
        "safe" => Part::fails(FailureClass::Logic),
        _ => Part::text("fine"),
    });
    assert_eq!(ending, Ending::Finished(Outcome::Failed));
    let all = process(started.iter().find(|s| &*s.task_id == "all").unwrap());
    assert_eq!(all.argv, ["echo", "[1,\"two words\"]", "two words"]);
    let deps = parsed(all.deps.as_deref().unwrap());
    assert_eq!(deps["good"], json!({"status": "success", "output": {"list": [1, "two words"]}}));
    assert_eq!(deps["safe"], json!({"status": "failed_safe", "output": null, "error": "as the script says"}));
    assert_eq!(deps["bad"], json!({"status": "error", "output": null, "error": "as the script says"}));
    assert_eq!(deps["behind"], json!({"status": "error", "output": null, "error": "blocked"}));
    let none = process(started.iter().find(|s| &*s.task_id == "none").unwrap());
    assert_eq!(none.deps, None);
    assert_eq!(none.argv, ["sh", "-eu", "-c", "x"]);
}

#[test]
fn a_value_that_failed_safely_is_never_sent() {
    let text = |arguments: &str| {
        format!(
            "tasks:
  - {{id: guess, type: code_execution, code: 'throw 1'}}
  - {{id: send, tool: 'mock:send', arguments: {arguments}, depends_on: [guess]}}"
        )
    };
    let script = |id: &str, _| if id == "guess" { Part::fails(FailureClass::Logic) } else { Part::json("true") };

    let told = Told::of(&text("{body: '$OUTPUT[guess]'}"));
    let (ending, started) = told.run(script);
    assert_eq!((ending, started.len()), (Ending::Finished(Outcome::Failed), 1), "the tool was not called");
    assert_eq!((told.state("guess"), told.state("send")), ("failed_safe", "failed"));
    assert_eq!(told.error("send").0, "input");

    let told = Told::of(&text("{body: '$OUTPUT[guess] ?? \"none\"'}"));
    let (ending, started) = told.run(script);
    assert_eq!(ending, Ending::Finished(Outcome::Degraded));
    assert_eq!(tool(&started[1]).arguments, json!({"body": "none"}));
}

#[test]
fn arguments_keep_their_types_and_missing_paths_stop_the_call() {
    let told = Told::of(
        "tasks:
  - {id: a, run: x, output_format: json}
  - id: send
    tool: 'mock:deep:tool'
    arguments: {whole: '$OUTPUT[a]', part: '$OUTPUT[a].n', text: 'n is $OUTPUT[a].n', list: [1, '$OUTPUT[a].n'], raw: '$$OUTPUT[a]'}
    depends_on: [a]
  - {id: lost, tool: 'mock:t', arguments: {x: '$OUTPUT[a].none.there'}, depends_on: [a]}",
    );
    let (_, started) = told.run(|_, _| Part::text("{\"n\":3}"));
    assert_eq!(started.len(), 2);
    let call = tool(&started[1]);
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("mock", "deep:tool"));
    let expected = json!({"whole": {"n": 3}, "part": 3, "text": "n is 3", "list": [1, 3], "raw": "$OUTPUT[a]"});
    assert_eq!(call.arguments, expected);
    let (class, message) = told.error("lost");
    assert_eq!(class, "input");
    assert!(message.contains("$OUTPUT[a].none.there"), "{message}");
}

#[test]
fn a_schema_failure_is_held_against_the_next_prompt() {
    let told = Told::of(
        "tasks:
  - id: a
    prompt: Count.
    agent: general
    retry: {max: 2, initial: 1ms}
    output_format: json
    output_schema: {type: object, required: [n], properties: {n: {type: integer}}}",
    );
    let (ending, started) = told.run(|_, attempt| match attempt {
        1 => Part::text("{\"n\":\"three\"}"),
        2 => Part::text("three"),
        _ => Part::text("{\"n\":3}"),
    });
    assert_eq!(ending, Ending::Finished(Outcome::Succeeded));
    let prompts: Vec<&str> = started.iter().map(|s| agent(s).prompt.as_str()).collect();
    assert_eq!(prompts[0], "Count.");
    let complaint = prompts[1].strip_prefix("Count.").expect("the first prompt, and what was wrong");
    assert!(complaint.contains("\"three\" is not of type \"integer\" at `/n`"), "{complaint}");
    let classes: Vec<&str> =
        told.view().tasks[0].attempts.iter().filter_map(|a| a.error.as_ref()).map(|e| e.0.name()).collect();
    assert_eq!(classes, ["schema", "output"]);
}

#[test]
fn output_formats_decide_what_is_kept() {
    let told = Told::of(
        "tasks:
  - {id: text, run: x}
  - {id: json, run: x, output_format: json}
  - {id: none, run: x, output_format: none}
  - {id: torn, run: x, output_format: json}
  - {id: file, run: x}",
    );
    told.run(|id, _| match id {
        "json" => Part::text(" {\"a\" : 1.50}\n"),
        "torn" => Part::text("{\"a\""),
        "file" => Part::json("[1]"),
        _ => Part::text("\"quoted\" \u{1}"),
    });
    assert_eq!(told.output("text"), "\"\\\"quoted\\\" \\u0001\"");
    assert_eq!(parsed(&told.output("json")), json!({"a": 1.50}));
    assert_eq!(told.output("none"), "null");
    assert_eq!(told.output("file"), "[1]");
    assert_eq!(told.error("torn").0, "output");
}

#[test]
fn large_outputs_arrive_whole() {
    let told = Told::of("tasks: [{id: a, run: x}, {id: b, run: [cat, '$OUTPUT[a]'], depends_on: [a]}]");
    let large = "ä".repeat(500_000);
    let (_, started) = told.run(|_, _| Part::text(&large));
    assert_eq!(process(&started[1]).argv[1], large);
}

#[test]
fn code_sees_its_context_and_its_dependencies_only() {
    let told = Told::of(
        "tasks:
  - {id: a, run: x}
  - {id: b, run: x}
  - {id: c, type: code_execution, code: return k, context: {k: '$OUTPUT[a]', plain: 5}, depends_on: [a]}",
    );
    let (_, started) = told.run(|_, _| Part::text("v"));
    let work = code(started.iter().find(|s| &*s.task_id == "c").unwrap());
    assert_eq!(parsed(&work.context), json!({"k": "v", "plain": 5}));
    assert_eq!(parsed(&work.deps), json!({"a": {"status": "success", "output": "v"}}));
}

#[test]
fn attempts_of_a_task_share_one_idempotency_key() {
    let told = Told::of("tasks: [{id: a, run: x, retry: {max: 1, initial: 1ms}, env: {OWN: '1'}}, {id: b, run: x}]");
    let (_, started) = told.run(|id, attempt| match (id, attempt) {
        ("a", 1) => Part::fails(FailureClass::Exit),
        _ => Part::text(""),
    });
    let of = |stem: &str, name: &str| {
        let spec = started.iter().find(|s| s.file_stem() == stem).unwrap();
        spec.env.iter().rfind(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
    };
    assert_eq!(of("a.1", "RADDLE_IDEMPOTENCY_KEY"), of("a.2", "RADDLE_IDEMPOTENCY_KEY"));
    assert_ne!(of("a.1", "RADDLE_IDEMPOTENCY_KEY"), of("b.1", "RADDLE_IDEMPOTENCY_KEY"));
    assert_ne!(of("a.1", "TRACEPARENT"), of("a.2", "TRACEPARENT"));
    assert_eq!((of("a.2", "RADDLE_ATTEMPT"), of("a.1", "OWN")), ("2".into(), "1".into()));
}

#[test]
fn nothing_is_resolved_in_a_simulation() {
    let mut told = Told::of(
        "tasks: [{id: a, run: x}, {id: b, tool: 'mock:t', arguments: {x: '$OUTPUT[a].no.such'}, depends_on: [a]}]",
    );
    told.simulate = true;
    let (ending, _) = told.run(|_, _| Part::text("ignored"));
    assert_eq!(ending, Ending::Finished(Outcome::Succeeded));
    assert_eq!(told.output("b"), "null");
}

const CONVERSATION: &str = "defaults: {retry: {max: 1, initial: 1ms}}
tasks:
  - {id: a, prompt: Remember PLUM.}
  - {id: b, prompt: What was it?, depends_on: [a], context: {resume: a}}
  - {id: c, prompt: And before that?, depends_on: [b], context: {resume: b}}
  - {id: d, prompt: What was it?, depends_on: [a], context: {resume: a}}";

#[test]
fn a_conversation_is_continued_where_that_task_left_it() {
    let told = Told::of(CONVERSATION);
    let (ending, started) = told.run(|id, attempt| match (id, attempt) {
        ("b", 1) => Part::fails(FailureClass::Exit),
        _ => Part::text("PLUM"),
    });
    assert_eq!(ending, Ending::Finished(Outcome::Succeeded));
    let continued: Vec<_> = started
        .iter()
        .map(|spec| match &agent(spec).conversation {
            Conversation::Fork(s) => (spec.file_stem(), s.id.clone(), s.used.input_tokens, s.used.cost_usd),
            other => (spec.file_stem(), format!("{other:?}"), 0, None),
        })
        .collect();
    let after = |id: &str, n: u64| (format!("session {id}"), n, Some(n as f64 / 2.0));
    for (stem, (session, tokens, cost)) in [
        ("a.1", ("Fresh".to_owned(), 0, None)),
        ("b.1", after("a.1", 1)),
        ("b.2", after("a.1", 1)),
        ("c.1", after("b.2", 2)),
        ("d.1", after("a.1", 1)),
    ] {
        assert!(continued.contains(&(stem.to_owned(), session, tokens, cost)), "{stem}: {continued:?}");
    }
}

#[test]
fn a_conversation_that_is_not_there_is_never_begun_anew() {
    let told = Told::of(
        "tasks:
  - {id: a, prompt: Remember PLUM., retry: {max: 0}}
  - {id: b, prompt: What was it?, depends_on: [{task: a, type: soft}], context: {resume: a}}",
    );
    let (_, started) = told.run(|_, _| Part::fails(FailureClass::Exit));
    assert_eq!(started.len(), 1, "nothing was asked in vain");
    let (class, message) = told.error("b");
    assert!(class == "input" && message.contains("conversation of a"), "{message}");
}

#[test]
fn turns_of_a_shared_conversation_follow_each_other() {
    let told = Told::of(
        "tasks:
  - {id: last, prompt: z, depends_on: [between], context: shared}
  - {id: first, prompt: x, context: shared}
  - {id: between, prompt: y, depends_on: [first]}",
    );
    let (_, started) = told.run(|_, _| Part::text("said"));
    let of = |id: &str| agent(started.iter().find(|s| &*s.task_id == id).unwrap()).conversation.clone();
    assert_eq!((of("first"), of("between")), (Conversation::Fresh, Conversation::Fresh));
    assert!(matches!(of("last"), Conversation::Fork(session) if session.id == "session first.1"));
}
