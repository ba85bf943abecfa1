//! What people of a simulation say to tasks that ask them: yes to gates with an answer that fits, and a second try for
//! what failed for good; the careless say no. They decide nothing that the engine ought to decide.

use raddle_engine::gates::{Answer, Asked, Word};
use raddle_kernel::{Cause, TaskIx};
use serde_json::Value;

use crate::faults::{Kind, Place};
use crate::samples::Bring;
use crate::world::World;

/// Tries of what fails for good before somebody goes on without it.
const TRIES: u32 = 3;

/// What somebody says about a task that waits; `None` for work in doubt, which is another matter.
pub(crate) fn to(world: &World<'_>, task: TaskIx, cause: Cause, question: Option<Asked>) -> Option<Answer> {
    let turn = world.witness.borrow().turn(task);
    let place = Place::Answer(task.0, turn);
    let id = &world.subject.task(task.0).id;
    let word = match cause {
        Cause::Doubt => return None,
        Cause::Approval { .. } => {
            let says_no = world.luck.strikes(Kind::People, place).is_some();
            world.luck.tell(Kind::People, place, || format!("somebody says no to {id}"));
            if says_no { Word::Reject } else { Word::Approve { answer: structured(world, task) } }
        }
        Cause::Exhausted { .. } if turn <= TRIES => Word::Retry,
        Cause::Exhausted { .. } => Word::Skip,
    };
    Some(Answer { task: id.clone(), word, question, attempt: None, by: "somebody".into(), comment: None })
}

/// An answer that fits the gate's schema, or has the paths that others refer to.
fn structured(world: &World<'_>, task: TaskIx) -> Option<Value> {
    let Bring::Json(samples) = &world.subject.brings[task.index()] else { return None };
    let value: Value = serde_json::from_str(samples.first()?).ok()?;
    match world.subject.task(task.0).output_schema {
        Some(_) => Some(value),
        None => value.get("answer").cloned(),
    }
}
