//! A scope that is a whole workflow of many tasks: that it has failed is found out by looking at each of them a few
//! times, not at each for each other one. At this size the difference is seconds against days.

use raddle_kernel::*;
use std::sync::Arc;

const MEMBERS: u32 = 20_000;

#[test]
fn a_chain_of_many_members_is_undone_from_its_end() {
    let mut builder = GraphBuilder::default();
    let retry = builder.policy(RetryPolicy::NONE);
    for n in 0..MEMBERS {
        let task = builder.task(TaskSpec {
            priority: 0,
            weight: 1,
            pool: Pool(0),
            safe_to_fail: false,
            side_effects: true,
            on_doubt: OnDoubt::Ask,
            retry,
        });
        builder.scope(task, 1);
        builder.undo(task, retry);
        if n > 0 {
            builder.edge(TaskIx(n - 1), task, Strength::Hard);
        }
    }
    let mut run = Run::new(Arc::new(builder.build().expect("a graph")));
    let mut apply = |event| run.apply(event).expect("it can follow");
    apply(Event::RunStarted);
    let first = Attempt(1);
    for task in (0..MEMBERS - 1).map(TaskIx) {
        apply(Event::AttemptStarted { task, attempt: first });
        apply(Event::AttemptSucceeded { task, attempt: first });
    }
    let last = TaskIx(MEMBERS - 1);
    apply(Event::AttemptStarted { task: last, attempt: first });
    apply(Event::AttemptFailed { task: last, attempt: first, class: FailureClass::Exit, retry_at: None });
    for task in (MEMBERS - 20..MEMBERS - 1).rev().map(TaskIx) {
        assert!(run.is_startable(task) && !run.is_startable(TaskIx(task.0 - 1)), "{task:?} is the last");
        run.apply(Event::CompensationStarted { task, attempt: Attempt(2) }).expect("it is its turn");
        run.apply(Event::CompensationSucceeded { task, attempt: Attempt(2) }).expect("it is alive");
    }
    assert_eq!((run.count(Phase::ToUndo), run.count(Phase::Compensated)), (MEMBERS - 20, 19));
}
