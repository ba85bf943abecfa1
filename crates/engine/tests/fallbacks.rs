//! Tasks that run only when another one fails, where conditions have a word in it too.

mod kit;

use kit::Told;
use raddle_engine::{Ending, FailureClass, Outcome};
use raddle_testkit::script::Part;

const CONDITIONAL: &str = "tasks:
  - {id: flag, run: x, output_format: json}
  - {id: main, run: x, depends_on: [flag], fallback: spare}
  - {id: spare, run: x, depends_on: [flag], when: '$OUTPUT[flag] == true'}
  - {id: use, run: x, depends_on: [main]}";

fn states(told: &Told) -> [&'static str; 3] {
    ["main", "spare", "use"].map(|id| told.state(id))
}

#[test]
fn a_spare_is_asked_for_its_condition_only_when_it_is_needed() {
    let told = Told::of(CONDITIONAL);
    let (ending, started) = told.run(|id, _| Part::text(if id == "flag" { "false" } else { "done" }));
    assert_eq!(ending, Ending::Finished(Outcome::Succeeded));
    assert_eq!((started.len(), states(&told)), (3, ["completed", "skipped", "completed"]));
    assert!(told.facts().contains(&"spare skipped".to_owned()), "{:?}", told.facts());

    let told = Told::of(CONDITIONAL);
    let (_, started) = told.run(|id, _| match id {
        "main" => Part::fails(FailureClass::Exit),
        _ => Part::text("false"),
    });
    assert_eq!((started.len(), states(&told)), (2, ["failed", "skipped", "skipped"]));
    assert!(told.facts().contains(&"spare omitted".to_owned()), "{:?}", told.facts());
}

#[test]
fn what_hangs_on_a_task_with_a_false_condition_is_omitted_though_it_has_a_spare() {
    let told = Told::of(
        "tasks:
  - {id: flag, run: x, output_format: json}
  - {id: main, run: x, depends_on: [flag], when: '$OUTPUT[flag] == true', fallback: spare}
  - {id: spare, run: x}
  - {id: use, run: x, depends_on: [main]}",
    );
    let (ending, started) = told.run(|_, _| Part::text("false"));
    assert_eq!(ending, Ending::Finished(Outcome::Succeeded));
    assert_eq!((started.len(), states(&told)), (1, ["skipped", "skipped", "skipped"]));
    let reason = told.view().tasks[told.task("spare").index()].omitted.clone();
    assert_eq!(reason.as_deref(), Some("main is not needed"));
    assert!(!told.facts().contains(&"use starts 1".to_owned()));
}
