//! The loop's part in questions to people: asking about what is ready, comparing what is about to start with what was
//! approved, taking answers and confirming them once they are durable. It does not know how people are reached.

use raddle_kernel::{Attempt, Cause, Event, Gate, Input, Refusal, TaskIx, TaskState, Time, Verdict};
use raddle_model::money::Money;

use super::{Engine, EngineError, STARTS_PER_TURN, plain_fact};
use crate::attempt::{AttemptKey, Failure};
use crate::fact::Fact;
use crate::gates::{ANSWER_BYTES, Answer, COMMENT_BYTES, Refused, Word};
use crate::ports::{Clock, Dispatcher, Journal};
use crate::program::{Context, Inquiry, Program};

impl<P: Program, D: Dispatcher, J: Journal, C: Clock> Engine<'_, P, D, J, C> {
    /// Stays while the run waits for people, instead of ending; their answers come as reports.
    pub fn stay(&mut self) {
        self.stays = true;
    }

    /// Answers every gate with yes as soon as it is asked, in the name of `by`. A gate that wants a structured answer
    /// waits all the same.
    pub fn approve_all(&mut self, by: &str) {
        self.approves_as = Some(by.to_owned());
    }

    /// Whether the loop waits for a person. Work in doubt ends it: whether that was done is found out elsewhere.
    pub(super) fn waits_for_people(&self) -> bool {
        let tasks = || (0..self.held.len() as u32).map(TaskIx);
        let in_doubt = |task| matches!(self.run.state(task), TaskState::Waiting { cause: Cause::Doubt, .. });
        self.stays && self.stopping.is_none() && !tasks().any(in_doubt)
    }

    /// Takes an answer to a run that nobody drives and makes it durable; nothing else happens. An engine that refused
    /// one is of no more use.
    pub fn answer_alone(&mut self, answer: &Answer) -> Result<Result<(), Refused>, EngineError> {
        let epoch = self.journal.epoch();
        self.push(Fact::Resumed { epoch });
        let said = self.answer(answer);
        if said.is_ok() {
            self.commit()?;
        }
        Ok(said)
    }

    /// The question about the task that was put last.
    pub fn asked(&self, task: TaskIx) -> Option<crate::gates::Asked> {
        self.gates.asked(task)
    }

    // ---- asking ----

    /// Asks about every ready task that may not start unasked. It takes no slot; true when there is more than one turn
    /// may take.
    pub(super) fn ask(&mut self, now: Time) -> bool {
        if self.stopping.is_some() || self.run.finished().is_some() || self.run.is_cancelled() {
            return false;
        }
        if self.run.next_question().is_none() {
            return false;
        }
        let more = self.ask_people(now);
        // What was answered at once lets others' turns come.
        self.ask_program(now);
        more
    }

    fn ask_people(&mut self, now: Time) -> bool {
        for _ in 0..STARTS_PER_TURN {
            if self.run.next_question().is_none() {
                return false;
            }
            // Others' turns may have come meanwhile, and nobody is asked about what is not needed.
            self.ask_program(now);
            let Some(task) = self.run.next_question() else { return false };
            match self.inquire(task, now) {
                Ok(Some(inquiry)) => self.put(task, inquiry, now),
                Ok(None) => return false,
                Err(failure) => {
                    let fact = |event| match event {
                        Event::GateFailed { task, attempt, class } => {
                            Fact::GateFailed { task, attempt, class, message: failure.message.as_str().into() }
                        }
                        other => plain_fact(other, ""),
                    };
                    self.input(Input::Unfit { task, class: failure.class }, fact).expect("it is ready, and not asked");
                }
            }
        }
        true
    }

    /// A changed definition may ask something else than what people were shown.
    pub(super) fn ask_about_what_changed(&mut self) {
        let now = self.clock.now();
        for task in (0..self.held.len() as u32).map(TaskIx) {
            if !matches!(self.run.state(task), TaskState::Waiting { cause: Cause::Approval { .. }, .. }) {
                continue;
            }
            // What cannot be made is told to whoever answers.
            if let Ok(Some(inquiry)) = self.inquire(task, now)
                && self.gates.get(task).is_none_or(|gate| gate.question.hash != inquiry.question.hash)
            {
                self.put(task, inquiry, now);
            }
        }
    }

    /// What would be done next for the task, and how it is asked about.
    fn inquire(&mut self, task: TaskIx, now: Time) -> Result<Option<Inquiry>, Failure> {
        let left = self.admission.ledger().left_of(task);
        if left == Some(Money::ZERO) {
            return Err(super::nothing_left());
        }
        let key = AttemptKey { task, attempt: Attempt(self.run.attempts(task) + 1) };
        let epoch = self.journal.epoch();
        let undoing = false;
        let context =
            Context { run: &self.run, outputs: &self.outputs, journal: self.journal, epoch, now, left, undoing };
        self.program.inquire(key, &context)
    }

    fn put(&mut self, task: TaskIx, inquiry: Inquiry, now: Time) {
        let expires_at =
            inquiry.expires.map(|wait| Time(now.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))));
        let question = Box::new(inquiry.question);
        let fact = |event| match event {
            Event::GateOpened { task, attempt, expires_at } => {
                Fact::GateOpened { task, attempt, expires_at, question: question.clone() }
            }
            other => plain_fact(other, ""),
        };
        self.input(Input::Ask { task, expires_at }, fact).expect("it has a gate and has not started");
        if let Some(by) = self.approves_as.clone() {
            let answer = Answer {
                task: String::new(),
                word: Word::Approve { answer: None },
                question: self.gates.asked(task),
                attempt: None,
                by,
                comment: None,
            };
            // A gate that wants more than a yes waits for a person.
            self.say(task, &answer).ok();
        }
    }

    /// Whether the next attempt of a ready task is what was approved; asks again when it is not. What it found is kept
    /// for the start, so that nothing can come between.
    pub(super) fn is_as_approved(&mut self, task: TaskIx, now: Time) -> bool {
        // What a task did with somebody's yes is undone without another one.
        if self.run.graph().gate(task) != Gate::Precedes || self.run.undoes(task) {
            return true;
        }
        match self.inquire(task, now) {
            Ok(Some(inquiry)) if self.gates.approved(task) == Some(inquiry.question.hash) => {
                if let Some(spec) = inquiry.spec {
                    self.prepared.insert(task, Ok(*spec));
                }
                true
            }
            Ok(Some(inquiry)) => {
                self.put(task, inquiry, now);
                false
            }
            // Nothing is started: the attempt fails with this.
            Err(failure) => {
                self.prepared.insert(task, Err(failure));
                true
            }
            Ok(None) => {
                self.prepared.insert(task, Err(unknown()));
                true
            }
        }
    }

    /// What [`Engine::is_as_approved`] found, for a task with a gate.
    pub(super) fn take_prepared(&mut self, key: AttemptKey) -> Option<Result<crate::attempt::AttemptSpec, Failure>> {
        if self.run.graph().gate(key.task) == Gate::None || self.run.undoes(key.task) {
            return None;
        }
        let found = self.prepared.remove(&key.task);
        Some(match found {
            Some(Ok(spec)) if spec.key != key => Err(unknown()),
            Some(found) => found,
            None => Err(unknown()),
        })
    }

    // ---- answers ----

    /// Takes an answer that came from another process. Whether it was taken is told when that is durable.
    pub(super) fn hear(&mut self, ticket: u64, answer: &Answer) {
        let said = self.answer(answer).map_err(|refused| vec![refused.to_string()]);
        self.heard.push((ticket, said));
    }

    /// Tells other processes what became of their requests; everything done is durable by now.
    pub(super) fn confirm(&mut self) {
        for (ticket, said) in std::mem::take(&mut self.heard) {
            self.dispatcher.answered(ticket, said);
        }
    }

    /// A person's answer. It counts for the question that it names and for no other; one that changes nothing is
    /// refused. Durable with the next batch.
    pub fn answer(&mut self, answer: &Answer) -> Result<(), Refused> {
        let task = self.program.task_named(&answer.task).ok_or(Refused::UnknownTask)?;
        self.say(task, answer)
    }

    fn say(&mut self, task: TaskIx, answer: &Answer) -> Result<(), Refused> {
        let not_now = |engine: &Self| Refused::NotWaiting(engine.run.state(task).name());
        if answer.comment.as_ref().is_some_and(|comment| comment.len() > COMMENT_BYTES) {
            return Err(Refused::Unfit(format!("the comment is longer than {COMMENT_BYTES} bytes")));
        }
        match &answer.word {
            Word::Retry => return self.retry(task).map_err(|_| not_now(self)),
            // Going around a gate would be a yes by another name.
            Word::Skip if self.run.graph().gate(task) == Gate::Decides => return Err(not_now(self)),
            Word::Skip => return self.skip(task).map_err(|_| not_now(self)),
            Word::Approve { .. } | Word::Reject => {}
        }
        let TaskState::Waiting { attempt, cause } = self.run.state(task) else { return Err(not_now(self)) };
        if self.run.finished().is_some() {
            return Err(Refused::Over);
        }
        if answer.attempt.is_some_and(|meant| meant != attempt.0) {
            return Err(Refused::Changed);
        }
        match cause {
            Cause::Approval { expires_at } => {
                if expires_at.is_some_and(|at| at <= self.clock.now()) {
                    return Err(Refused::Late);
                }
                let asked = self.gates.asked(task);
                if asked.is_none() || asked != answer.question {
                    return Err(Refused::Changed);
                }
            }
            // An answer to the gate before is none to what came of it.
            Cause::Doubt | Cause::Exhausted { .. } if answer.question.is_some() => return Err(Refused::Changed),
            Cause::Doubt | Cause::Exhausted { .. } => {}
        }
        match &answer.word {
            Word::Approve { answer: given } => {
                if !matches!(cause, Cause::Approval { .. }) {
                    return Err(not_now(self));
                }
                if given.as_ref().is_some_and(|given| given.to_string().len() > ANSWER_BYTES) {
                    return Err(Refused::Unfit(format!("it is longer than {ANSWER_BYTES} bytes")));
                }
                self.approve(task, attempt, answer)
            }
            Word::Reject | Word::Retry | Word::Skip => {
                let (by, comment) = (answer.by.as_str(), answer.comment.as_deref());
                let fact = |event| match event {
                    Event::GateRejected { task, attempt } => {
                        Fact::GateRejected { task, attempt, by: by.into(), comment: comment.map(Into::into) }
                    }
                    other => plain_fact(other, ""),
                };
                let said = self.input(Input::Answer { task, attempt, verdict: Verdict::No }, fact);
                said.map_err(|refusal| refused_as(refusal, self.run.state(task).name()))
            }
        }
    }

    fn approve(&mut self, task: TaskIx, attempt: Attempt, answer: &Answer) -> Result<(), Refused> {
        let now = self.clock.now();
        // Looked at once more: it may be other work by now than what the person saw.
        match self.inquire(task, now) {
            Ok(Some(inquiry)) if self.gates.get(task).is_some_and(|g| g.question.hash != inquiry.question.hash) => {
                self.put(task, inquiry, now);
                return Err(Refused::Changed);
            }
            Err(failure) => return Err(Refused::Unfit(failure.message)),
            Ok(_) => {}
        }
        let text = self.program.answer_output(task, answer).map_err(Refused::Unfit)?;
        let output = match text.map(|text| self.journal.store(text)).transpose() {
            Ok(output) => output,
            Err(error) => return Err(Refused::Unfit(format!("it cannot be stored: {error}"))),
        };
        let (by, comment) = (answer.by.as_str(), answer.comment.as_deref());
        let fact = |event| match event {
            Event::GateApproved { task, attempt } => Fact::GateApproved {
                task,
                attempt,
                by: by.into(),
                comment: comment.map(Into::into),
                output: output.clone(),
            },
            other => plain_fact(other, ""),
        };
        let said = self.input(Input::Answer { task, attempt, verdict: Verdict::Yes }, fact);
        said.map_err(|refusal| refused_as(refusal, self.run.state(task).name()))
    }
}

fn refused_as(refusal: Refusal, state: &'static str) -> Refused {
    match refusal {
        Refusal::Stale => Refused::Late,
        _ => Refused::NotWaiting(state),
    }
}

/// An attempt behind a gate of which nobody can say that it is what was approved.
fn unknown() -> Failure {
    Failure::new(raddle_kernel::FailureClass::Permission, "nobody can tell whether this is what was approved")
}
