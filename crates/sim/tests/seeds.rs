//! Seeds of small workflows: flaws are found, sound ones pass, and the same seed always tells the same.

#![expect(clippy::unwrap_used, reason = "tests")]

use raddle_engine::admission::{Admission, Cap};
use raddle_model::catalog::Catalog;
use raddle_model::workflow::{ExecutionMode, Workflow};
use raddle_model::{NoSources, caps, parse};
use raddle_sim::{Found, Kind, Kinds, Subject, Terms, live, search, shrink};
use serde_json::Map;

fn workflow(text: &str) -> Workflow {
    let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::default());
    parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics))
}

/// Under gates that let `excess` more through than the caps say.
fn subject_with(text: &str, excess: u32) -> Subject {
    let workflow = workflow(text);
    let caps = caps::caps(&workflow, &Catalog::default().settings);
    let values = match workflow.mode {
        ExecutionMode::Sequential => vec![1],
        _ => vec![caps.agent.value, caps.local.value, caps.tool.value],
    };
    let cap = |value: &u32| Cap { value: value + excess, bound_by: "a test".into(), of: "tasks" };
    let admission = Admission::new(values.iter().map(cap).collect(), workflow.mode == ExecutionMode::Adaptive);
    Subject::new(Terms { models: Default::default(), inputs: Map::new(), admission, caps: values, workflow })
}

fn subject(text: &str) -> Subject {
    subject_with(text, 0)
}

fn seeds(subject: &Subject, n: u64, kinds: Kinds) -> Found {
    search(subject, 0..n, kinds, 2, &|_| {})
}

fn broken(found: &Found) -> Vec<String> {
    found.failing.iter().map(|told| format!("{}: {:?}", told.seed, told.broken)).collect()
}

const RELEASE: &str = "
tasks:
  - {id: build, run: make, side_effects: false, retry: {max: 2}}
  - {id: test, run: make test, side_effects: false, depends_on: [build]}
  - {id: docs, prompt: write them, depends_on: [build]}
  - {id: deploy, run: ./deploy, on_doubt: WORD, depends_on: [test, {task: docs, type: soft}]}
invariants:
  - {name: deployed once, expr: tasks.deploy.effects <= 1}
";

#[test]
fn a_missing_word_on_doubt_is_found_and_told_in_one_misfortune() {
    let kinds = Kinds::ALL.without(Kind::People);
    let flawed = subject(&RELEASE.replace("WORD", "rerun"));
    let found = seeds(&flawed, 600, kinds);
    assert!(found.failed > 0, "{found:?}");
    let told = &found.failing[0];
    assert_eq!(told.broken.as_ref().unwrap().promise, "deployed once");
    let small = shrink(&flawed, told, kinds);
    assert_eq!(small.broken, told.broken);
    assert!(small.faults.len() <= 2 && small.faults.iter().any(|(f, _)| f.kind == Kind::Crashes), "{:?}", small.faults);
    assert!(small.lines.iter().any(|line| line.contains("deploy: attempt 1 was lost, it is made again")));

    let sound = subject(&RELEASE.replace("WORD", "ask"));
    let found = seeds(&sound, 600, kinds);
    assert_eq!(found.failed, 0, "{:?}", broken(&found));
    assert!(Kind::ALL.iter().all(|k| !kinds.has(*k) || found.struck.get(k).is_some_and(|n| *n > 20)), "{found:?}");
    assert!(
        ["succeeded", "failed", "cancelled"].iter().all(|o| found.outcomes.get(*o).is_some_and(|n| *n > 5)),
        "{found:?}"
    );
}

#[test]
fn a_soft_edge_that_ought_to_be_hard_is_found() {
    let text = "
tasks:
  - {id: review, prompt: is it good?, on_doubt: rerun}
  - {id: publish, run: ./publish, depends_on: [{task: review, type: STRENGTH}]}
invariants:
  - tasks.review.state == 'completed' || tasks.publish.effects == 0
";
    let kinds = Kinds::ALL.without(Kind::People);
    assert!(seeds(&subject(&text.replace("STRENGTH", "soft")), 300, kinds).failed > 0);
    let found = seeds(&subject(&text.replace("STRENGTH", "hard")), 300, kinds);
    assert_eq!(found.failed, 0, "{:?}", broken(&found));
}

#[test]
fn without_misfortunes_all_is_well() {
    let subject = subject(&RELEASE.replace("WORD", "rerun"));
    let found = seeds(&subject, 50, Kinds::NONE);
    assert_eq!((found.failed, found.outcomes.get("succeeded")), (0, Some(&50)));
    assert!(found.struck.is_empty());
}

/// What is promised of every run holds for workflows of all modes, with money and time that run out.
#[test]
fn promises_hold_in_all_modes() {
    let tasks = "
tasks:
  - {id: a, run: x, retry: {max: 1}, timeout: 20s}
  - {id: b, prompt: p, retry: {max: 2}, permissions: {cost_budget: 0.1}}
  - {id: c, type: code_execution, code: return 1, depends_on: [a]}
  - {id: d, prompt: 'say $OUTPUT[a].list[1]', depends_on: [a, {task: b, type: soft}], priority: 2}
  - {id: e, run: [echo, '$OUTPUT[d].verdict'], depends_on: [c, d], on_doubt: fail}
  - id: f
    run: x
    depends_on: [{task: e, type: soft}]
    output_format: json
    output_schema: {type: object, required: [n], properties: {n: {type: integer, minimum: 3}}}
  - {id: g, prompt: '$OUTPUT[f].n', depends_on: [f]}
outputs: {n: '$OUTPUT[f].n'}
invariants: [\"tasks.f.state != 'completed' || tasks.f.output.n >= 3\", \"tasks.d.error_class != 'input'\"]
";
    for mode in ["parallel", "waves", "sequential", "adaptive"] {
        for limits in ["{}", "{budget: {usd: 0.2}}", "{budget: {wall: 60s, agents: 3}}", "{max_parallelism: 1}"] {
            let subject = subject(&format!("execution_mode: {mode}\nlimits: {limits}\n{tasks}"));
            let found = seeds(&subject, 150, Kinds::ALL);
            let told =
                |t: &raddle_sim::Told| t.broken.as_ref().is_some_and(|b| !b.invariant || b.promise.contains("tasks.f"));
            assert!(!found.failing.iter().any(told), "{mode} {limits}: {:?}", broken(&found));
            if limits.contains("budget") {
                assert!(found.outcomes.contains_key("budget_exhausted"), "{mode} {limits}: {found:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let subject = subject(&RELEASE.replace("WORD", "rerun"));
    for seed in [3, 17, 421] {
        let told = [(); 2].map(|()| format!("{:?}", live(&subject, seed, Kinds::ALL, None, true)));
        assert_eq!(told[0], told[1]);
    }
    let one = search(&subject, 0..200, Kinds::ALL, 1, &|_| {});
    let four = search(&subject, 0..200, Kinds::ALL, 4, &|_| {});
    assert_eq!(format!("{one:?}"), format!("{four:?}"));
}

/// A simulation that notices nothing proves nothing.
#[test]
fn gates_that_let_too_many_through_are_noticed() {
    let text = "limits: {max_parallelism: 1}\ntasks: [{id: a, prompt: p}, {id: b, prompt: p}]\n";
    assert_eq!(seeds(&subject(text), 20, Kinds::NONE).failed, 0);
    let found = seeds(&subject_with(text, 1), 20, Kinds::NONE);
    assert_eq!(found.failing[0].broken.as_ref().unwrap().promise, "caps are kept");
}

#[test]
fn what_cannot_be_told_of_a_run_breaks_its_invariant() {
    let text = "tasks: [{id: a, run: x}]\ninvariants: [tasks.a.output.missing == 1]\n";
    let found = seeds(&subject(text), 5, Kinds::NONE);
    let broken = found.failing[0].broken.clone().unwrap();
    assert!(broken.invariant && broken.what.contains("cannot be told"), "{broken:?}");
}

#[test]
fn what_is_checked_is_no_part_of_what_is_run() {
    let (with, without) = (RELEASE.replace("WORD", "ask"), RELEASE.replace("WORD", "ask"));
    let without = without.split("invariants:").next().unwrap();
    assert_eq!(workflow(&with).hash, workflow(without).hash);
}

#[test]
fn what_a_saga_did_is_undone_last_first() {
    let text = "
on_failure: compensate
tasks:
  - {id: book, run: ./book, compensate: {run: ./cancel}}
  - {id: seat, run: ./seat, compensate: {run: ./free}, depends_on: [book]}
  - {id: pay, run: ./pay, depends_on: [seat]}
invariants:
  - {name: nothing is ever undone, expr: tasks.book.undone + tasks.seat.undone == 0}
";
    let subject = subject(text);
    let found = seeds(&subject, 400, Kinds::ALL);
    let own = found.failing.iter().find(|told| told.broken.as_ref().is_some_and(|b| !b.invariant));
    assert!(own.is_none(), "{own:?}");
    assert!(found.failed > 10, "{found:?}");
    let small = shrink(&subject, &found.failing[0], Kinds::ALL);
    assert!(small.lines.iter().any(|line| line.contains("compensated")), "{:#?}", small.lines);
}

#[test]
fn a_fallback_brings_what_others_look_for() {
    let text = "
tasks:
  - {id: ask, prompt: p, fallback: guess, on_doubt: rerun}
  - {id: guess, run: ./guess, on_doubt: rerun}
  - {id: tell, run: [echo, '$OUTPUT[ask].verdict'], depends_on: [ask]}
invariants: [\"tasks.tell.error_class != 'input'\"]
";
    let subject = subject(text);
    let found = seeds(&subject, 300, Kinds::ALL.without(Kind::People).without(Kind::Stops));
    assert_eq!(found.failed, 0, "{:?}", broken(&found));
    assert!(found.outcomes.contains_key("degraded"), "{found:?}");
}

#[test]
fn conditions_decide_by_what_tasks_brought() {
    let text = "
tasks:
  - id: look
    run: ./look
    output_format: json
    output_schema: {type: object, required: [found], properties: {found: {type: boolean}}}
  - {id: mend, run: ./mend, depends_on: [look], when: '$OUTPUT[look].found == true'}
  - {id: tell, run: ./tell, depends_on: [{task: mend, type: soft}]}
invariants: [\"tasks.mend.effects == 0 || tasks.look.output == null || tasks.look.output.found\"]
";
    let subject = subject(text);
    let found = seeds(&subject, 300, Kinds::ALL.without(Kind::People));
    assert_eq!(found.failed, 0, "{:?}", broken(&found));
    let lines = (0..50).map(|seed| live(&subject, seed, Kinds::NONE, None, true).lines.join("\n")).collect::<Vec<_>>();
    assert!(
        lines.iter().any(|l| l.contains("mend: completed")) && lines.iter().any(|l| l.contains("mend: not needed"))
    );
}
