//! Seeds of workflows with sagas: whatever fails, dies or is stopped, and whatever people say, what completed is undone
//! last completed first, once nothing of its saga runs, and everything settles.

use raddle_engine::admission::{Admission, Cap};
use raddle_model::catalog::Catalog;
use raddle_model::workflow::ExecutionMode;
use raddle_model::{NoSources, caps, parse};
use raddle_sim::{Kinds, Subject, Terms, search};
use serde_json::Map;

fn subject(text: &str) -> Subject {
    let parsed = parse(text.as_bytes(), "wf.yaml", &NoSources, &Catalog::default());
    let workflow = parsed.workflow.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics));
    let caps = caps::caps(&workflow, &Catalog::default().settings);
    let values = match workflow.mode {
        ExecutionMode::Sequential => vec![1],
        _ => vec![caps.agent.value, caps.local.value, caps.tool.value],
    };
    let cap = |value: &u32| Cap { value: *value, bound_by: "a test".into(), of: "tasks" };
    let mut admission = Admission::new(values.iter().map(cap).collect(), workflow.mode == ExecutionMode::Adaptive);
    admission.keep_apart(workflow.written_files());
    Subject::new(Terms { models: Default::default(), inputs: Map::new(), admission, caps: values, workflow })
}

#[test]
fn sagas_keep_their_promises_in_all_modes() {
    let tasks = "
tasks:
  - {id: a, SAGA run: x, compensate: {run: y, retry: {max: 1}}}
  - {id: b, SAGA run: x, depends_on: [a], compensate: {run: y}, on_doubt: compensate}
  - {id: b2, SAGA run: x, compensate: restore, writes: [f], on_doubt: rerun}
  - {id: c, SAGA run: x, depends_on: [b, b2], retry: {max: 1}}
  - {id: k, OTHER run: x, depends_on: [{task: b, type: soft}], compensate: {run: y}}
  - {id: l, OTHER prompt: p, depends_on: [k], writes: [f], compensate: {run: y}}
  - {id: m, OTHER run: x, depends_on: [l, c]}
  - {id: apart, prompt: p, estimate: {tokens: 15000}}
";
    let scopes = tasks.replace("SAGA", "saga: s,").replace("OTHER", "saga: t,");
    let whole = format!("on_failure: compensate\n{}", tasks.replace("SAGA", "").replace("OTHER", ""));
    for mode in ["parallel", "waves", "sequential", "adaptive"] {
        for (limits, tasks) in [("{}", &scopes), ("{}", &whole), ("{budget: {tokens: 20000}}", &scopes)] {
            let subject = subject(&format!("execution_mode: {mode}\nlimits: {limits}\n{tasks}"));
            let found = search(&subject, 0..300, Kinds::ALL, 2, &|_| {});
            let told: Vec<String> = found.failing.iter().map(|t| format!("{}: {:?}", t.seed, t.broken)).collect();
            assert!(told.is_empty(), "{mode} {limits}: {told:?}");
        }
    }
}
