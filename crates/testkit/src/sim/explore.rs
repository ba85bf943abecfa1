//! Every way in which a small run can go: all inputs, legal or not, in all states that can be reached, breadth first.
//! The kernel and the naive reference must agree in each. It knows no engine and no time: retries are due at once.

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;

use raddle_kernel::{Attempt, FailureClass, Input, Run, TaskIx, Time, Verdict};

use super::reference::Reference;
use super::story::{Story, lasts};

/// Goes everywhere in a story in which no task has more than `attempts` attempts; the number of states it saw, or the
/// way to the first disagreement.
pub fn explore(story: Story, attempts: u32) -> Result<usize, String> {
    let story = Rc::new(story);
    let start = (Run::new(story.graph()), Reference::new(Rc::clone(&story)), Vec::new());
    let (mut seen, mut queue) = (HashSet::from([key(&start.0, &start.1, &story)]), VecDeque::from([start]));
    while let Some((run, reference, way)) = queue.pop_front() {
        for input in inputs(&story, &run, attempts) {
            let mut way = way.clone();
            way.push(input);
            let next = step(&story, &run, &reference, input).map_err(|what| format!("{what}\nafter {way:#?}"))?;
            if let Some((run, reference)) = next
                && seen.insert(key(&run, &reference, &story))
            {
                queue.push_back((run, reference, way));
            }
        }
    }
    Ok(seen.len())
}

/// One input: refused by both and nothing changed, or heard by both with the same result.
fn step(story: &Story, before: &Run, reference: &Reference, input: Input) -> Result<Option<(Run, Reference)>, String> {
    let (mut run, mut reference, mut events) = (before.clone(), reference.clone(), Vec::new());
    let is_due = |task: TaskIx| before.is_startable(task);
    let due = matches!(input, Input::Admit { task } | Input::Ask { task, .. } if is_due(task));
    let allowed = reference.allows(input, due);
    let handled = run.handle(input, Time(0), &mut events);
    if handled.is_ok() != allowed {
        return Err(format!("{handled:?}, the reference allows it: {allowed}"));
    }
    if handled.is_err() {
        let unchanged = events.is_empty() && story.all().all(|t| run.state(t) == before.state(t));
        return if unchanged { Ok(None) } else { Err("refused, and something changed".into()) };
    }
    let mut folded = before.clone();
    for event in &events {
        reference.tell(*event, Time(0))?;
        folded.apply(*event).map_err(|e| format!("does not fold: {e:?}"))?;
    }
    run.check().map_err(str::to_owned)?;
    reference.compare(&run)?;
    let same = |t| folded.state(t) == run.state(t);
    if !story.all().all(same) || !folded.outstanding().eq(run.outstanding()) {
        return Err("folds to something else".into());
    }
    Ok(Some((run, reference)))
}

fn key(run: &Run, reference: &Reference, story: &Story) -> String {
    let startable: Vec<bool> = story.all().map(|t| run.is_startable(t)).collect();
    format!("{}{startable:?}{}", reference.key(), run.wave())
}

fn inputs(story: &Story, run: &Run, attempts: u32) -> Vec<Input> {
    let mut inputs = vec![Input::Begin, Input::Tick, Input::Cancel];
    for task in story.all() {
        let made = run.attempts(task);
        let (attempt, stale, noise) = (Attempt(made), Attempt(made + 1), 0);
        if made < attempts {
            inputs.push(Input::Admit { task });
            inputs.push(Input::Adopt { task, attempt: Attempt(1) });
        }
        inputs.extend([
            Input::Succeeded { task, attempt },
            Input::Succeeded { task, attempt: stale },
            Input::Failed { task, attempt, class: FailureClass::Exit, noise, lasting: false },
            Input::Failed {
                task,
                attempt,
                class: FailureClass::Start,
                noise,
                lasting: lasts(task, FailureClass::Start),
            },
            Input::Failed { task, attempt, class: FailureClass::Input, noise, lasting: false },
            Input::Lost { task, attempt },
            Input::Lost { task, attempt: stale },
            Input::Retry { task },
            Input::Skip { task },
        ]);
        if story.task(task).condition == Some(false) {
            inputs.push(Input::Omit { task });
        }
        if story.asks() {
            inputs.extend([
                Input::Unfit { task, class: FailureClass::Input },
                Input::Answer { task, attempt: stale, verdict: Verdict::No },
                Input::Answer { task, attempt: stale, verdict: Verdict::Yes },
                Input::Answer { task, attempt, verdict: Verdict::Yes },
                Input::Answer { task, attempt, verdict: Verdict::No },
            ]);
            if made < attempts {
                inputs.push(Input::Ask { task, expires_at: None });
            }
        }
    }
    inputs
}
