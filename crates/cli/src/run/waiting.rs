//! What a run waits for people about: each question with what would be done, and the commands that answer it, in words
//! and as JSON. It reads a view and does not know who shows it.

use std::fmt::Write as _;

use raddle_engine::TaskIx;
use raddle_engine::gates::Gate;
use raddle_engine::view::RunView;
use raddle_kernel::{Cause, FailureClass, TaskState};
use serde_json::{Value, json};

use super::document::rfc3339;
use crate::terminal::{harmless, harmless_lines};

/// One task that waits for a person.
pub struct Waiting<'a> {
    view: &'a RunView,
    /// The task.
    pub task: TaskIx,
    /// What for.
    pub cause: Cause,
}

/// Everything that waits for a person, in the order of the tasks.
pub fn waiting(view: &RunView) -> impl Iterator<Item = Waiting<'_>> {
    (0..view.tasks.len() as u32).filter_map(|i| of(view, TaskIx(i)))
}

/// What the task waits for, if it waits for a person.
pub fn of(view: &RunView, task: TaskIx) -> Option<Waiting<'_>> {
    match view.run.state(task) {
        TaskState::Waiting { cause, .. } => Some(Waiting { view, task, cause }),
        _ => None,
    }
}

impl<'a> Waiting<'a> {
    fn id(&self) -> &'a str {
        &self.view.snapshot.tasks[self.task.index()].id
    }

    /// The question, where there is one.
    pub fn gate(&self) -> Option<&'a Gate> {
        self.view.gates.get(self.task).filter(|_| matches!(self.cause, Cause::Approval { .. }))
    }

    /// In one word.
    pub fn word(&self) -> &'static str {
        match self.cause {
            Cause::Approval { .. } => "approval",
            Cause::Exhausted { .. } => "exhausted",
            Cause::Doubt => "doubt",
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        match (self.cause, self.gate()) {
            (Cause::Approval { .. }, Some(gate)) => gate.question.text.lines().next().unwrap_or_default().to_owned(),
            (Cause::Approval { .. }, None) => "an answer".to_owned(),
            (Cause::Exhausted { class }, _) => format!("failed for good ({}), a person decides", class.name()),
            (Cause::Doubt, _) => "was running when its engine ended; nobody knows how far it came".to_owned(),
        }
    }

    /// The commands that answer it, with what each does.
    pub fn commands(&self) -> Vec<(String, &'static str)> {
        let (run, id) = (&self.view.chapter.run, self.id());
        let hash = self.gate().map(|gate| format!(" --hash {}", gate.question.short_hash())).unwrap_or_default();
        let needs_answer = self.view.snapshot.tasks[self.task.index()].answer_schema.is_some();
        let answer = if needs_answer { " --answer JSON" } else { "" };
        match self.cause {
            Cause::Approval { .. } => vec![
                (format!("raddle approve {run} {id}{hash}{answer}"), "says yes"),
                (format!("raddle reject {run} {id}{hash}"), "says no"),
            ],
            Cause::Exhausted { .. } | Cause::Doubt => vec![
                (format!("raddle retry {run} {id}"), "runs it again"),
                (format!("raddle skip {run} {id}"), "goes on without it"),
                (format!("raddle reject {run} {id}"), "lets it fail"),
            ],
        }
    }

    /// All of it, for people; indented, harmless, ends with a line end.
    pub fn words(&self) -> String {
        let mut text = String::new();
        let mut put = |indent: &str, what: &str| {
            for line in harmless_lines(what).lines() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{indent}{line}");
            }
        };
        put("  ", &format!("{}: {}", self.id(), self.line()));
        match (self.cause, self.gate()) {
            (Cause::Approval { .. }, Some(gate)) => {
                let more: Vec<&str> = gate.question.text.lines().skip(1).collect();
                put("    ", &more.join("\n"));
                put("    ", &gate.question.work);
                put("    ", &format!("hash: {}", gate.question.hash_text()));
                if let Some(at) = gate.expires_at {
                    put("    ", &format!("expires: {} (no answer is a no)", rfc3339(at)));
                }
                if let Some(schema) = &self.view.snapshot.tasks[self.task.index()].answer_schema {
                    put("    ", &format!("the answer must fit: {schema}"));
                }
            }
            (Cause::Exhausted { .. }, _) => {
                let error = self.view.tasks[self.task.index()].error.as_ref();
                error.iter().for_each(|(_, message)| put("    ", message.trim_end()));
            }
            _ => {}
        }
        let commands = self.commands();
        let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        commands.iter().for_each(|(command, what)| put("    ", &format!("{command:width$}   {what}")));
        text
    }

    /// All of it, for programs.
    pub fn json(&self) -> Value {
        let gate = self.gate();
        let class = |class: FailureClass| class.name();
        json!({
            "for": self.word(),
            "question": gate.map(|gate| &gate.question.text),
            "work": gate.map(|gate| &gate.question.work).filter(|work| !work.is_empty()),
            "hash": gate.map(|gate| gate.question.hash_text()),
            "asked": gate.map(|gate| gate.seq),
            "asked_at": gate.map(|gate| rfc3339(gate.asked_at)),
            "expires_at": gate.and_then(|gate| gate.expires_at).map(rfc3339),
            "attempt": gate.map(|gate| gate.attempt.0),
            "answer_schema": self.view.snapshot.tasks[self.task.index()].answer_schema.as_ref().filter(|_| gate.is_some()),
            "class": match self.cause {
                Cause::Exhausted { class: of } => Some(class(of)),
                _ => None,
            },
            "commands": self.commands().into_iter().map(|(command, _)| command).collect::<Vec<_>>(),
        })
    }
}

/// What was said to the last question about the task; `null` where nobody was asked or nobody has answered.
pub fn approval(view: &RunView, task: TaskIx) -> Value {
    let Some((gate, said)) = view.gates.get(task).and_then(|gate| Some((gate, gate.said.as_ref()?))) else {
        return Value::Null;
    };
    json!({
        "approved": said.yes, "by": said.by, "at": rfc3339(said.at), "comment": said.comment,
        "question": gate.question.text, "hash": gate.question.hash_text(),
    })
}

/// The same in words, for whoever asks why; nothing where there is nothing to say.
pub fn approval_in_words(view: &RunView, task: TaskIx) -> Option<String> {
    let gate = view.gates.get(task)?;
    let said = gate.said.as_ref()?;
    let by = said.by.as_deref()?;
    let comment = said.comment.as_deref().map(|comment| format!(": {comment}")).unwrap_or_default();
    let verb = if said.yes { "approved" } else { "rejected" };
    Some(format!("{verb} by {} at {}{}", harmless(by), rfc3339(said.at), harmless(&comment)))
}
