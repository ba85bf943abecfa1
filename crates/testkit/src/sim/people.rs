//! The people of a simulation: they look at what is on record, answer what is asked, sooner or later, twice, wrongly,
//! too late, in contradiction, and check what they are told. They do not know the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use raddle_engine::attempt::{ControlRequest, Report};
use raddle_engine::gates::{Answer, Asked, Word};
use raddle_kernel::{Cause, TaskIx, TaskState};

use super::world::World;

/// See the module.
pub(super) struct People {
    world: Rc<World>,
    /// Questions, by their record, that somebody has an answer under way for.
    answered: BTreeSet<u64>,
    /// Answers that were handed over and not confirmed.
    open: BTreeMap<u64, Answer>,
    tickets: u64,
}

/// An answer as it was meant.
pub(super) fn answer(task: TaskIx, word: Word, question: Option<Asked>) -> Answer {
    Answer { task: format!("t{}", task.0), word, question, attempt: None, by: "somebody".into(), comment: None }
}

fn yes() -> Word {
    Word::Approve { answer: None }
}

impl People {
    pub(super) fn new(world: &Rc<World>) -> Self {
        People { world: Rc::clone(world), answered: BTreeSet::new(), open: BTreeMap::new(), tickets: 0 }
    }

    /// What somebody says about a task that waits, with when; several where people are many or hasty. With `must`,
    /// somebody answers each question.
    pub(super) fn think(&mut self, must: bool) -> Vec<(u64, Answer)> {
        let world = Rc::clone(&self.world);
        let (ledger, mut said) = (world.ledger.borrow(), Vec::new());
        for task in world.story.all() {
            let TaskState::Waiting { cause, .. } = ledger.run().state(task) else { continue };
            let seq = ledger.asked_at(task);
            if !must && (self.answered.contains(&seq) || !world.one_in(2)) {
                continue;
            }
            self.answered.insert(seq);
            let after_ms = world.below(if must { 100 } else { 900 });
            match cause {
                Cause::Approval { .. } => said.extend(self.about_gate(task, after_ms, ledger.asked(task))),
                Cause::Exhausted { .. } => {
                    let word = [Word::Retry, Word::Skip, Word::Reject][world.below(3) as usize].clone();
                    // What cannot be skipped or is blocked meanwhile is given up in the end.
                    said.push((after_ms, answer(task, word, None)));
                    said.push((after_ms + 50, answer(task, Word::Reject, None)));
                }
                Cause::Doubt => {}
            }
        }
        said
    }

    fn about_gate(&self, task: TaskIx, after_ms: u64, question: Option<Asked>) -> Vec<(u64, Answer)> {
        let world = &self.world;
        let mut said = Vec::new();
        let word = if world.below(4) == 0 { Word::Reject } else { yes() };
        if world.strikes(5) {
            let mut other = question.clone();
            if let Some(asked) = &mut other {
                match world.below(3) {
                    0 => asked.seq = asked.seq.saturating_sub(1 + world.below(9)),
                    1 => asked.hash = "00".repeat(32),
                    _ => asked.seq += 1 + world.below(5),
                }
            }
            let other = if world.one_in(4) { None } else { other };
            said.push((after_ms / 2, answer(task, yes(), other)));
        }
        if world.strikes(4) {
            said.push((after_ms + world.below(300), answer(task, word.clone(), question.clone())));
        }
        if world.strikes(4) {
            let against = if word == Word::Reject { yes() } else { Word::Reject };
            said.push((after_ms + world.below(30), answer(task, against, question.clone())));
        }
        said.push((after_ms, answer(task, word, question)));
        said
    }

    /// Hands an answer over.
    pub(super) fn hand_over(&mut self, answer: Answer, reports: &mut Vec<Report>) {
        self.tickets += 1;
        self.open.insert(self.tickets, answer.clone());
        let request = ControlRequest::Answer { ticket: self.tickets, answer: Box::new(answer) };
        reports.push(Report::Control(request));
    }

    /// Somebody is told what became of an answer. What was taken must be on record by now, and just that.
    pub(super) fn told(&mut self, ticket: u64, said: &Result<(), Vec<String>>) {
        let world = &self.world;
        let Some(answer) = self.open.remove(&ticket) else {
            world.violated("somebody is told twice what became of an answer");
        };
        match said {
            Ok(()) => {
                world.note("answer taken");
                let is_gate = answer.question.is_some();
                let ledger = world.ledger.borrow();
                let on_record = answer.question.as_ref().and_then(|asked| ledger.said(asked.seq));
                let meant = matches!(answer.word, Word::Approve { .. });
                if is_gate && on_record != Some(meant) {
                    world.violated(format!("{answer:?} is said to be taken, on record is {on_record:?}"));
                }
            }
            Err(why) => world.note(match why.join("; ").as_str() {
                why if why.contains("expired") => "answer too late",
                why if why.contains("changed") => "answer to another question",
                _ => "answer refused",
            }),
        }
    }

    /// Nobody waits for a reply while the engine rests.
    pub(super) fn check_rest(&self) {
        if !self.open.is_empty() {
            self.world.violated("the engine rests and somebody was not told what became of an answer");
        }
    }
}
