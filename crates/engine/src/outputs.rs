//! The outputs, failure messages and sessions of settled tasks, by task. It does not know what is in them: outputs are compact
//! JSON text, kept in the journal when they are large.

use std::collections::HashMap;
use std::sync::Arc;

use raddle_kernel::TaskIx;

use crate::attempt::Session;
use crate::fact::{Fact, OutputRef};
use crate::gates;
use crate::ports::{Journal, JournalError};

/// See the module. A word per task; `null` outputs take no more.
#[derive(Debug, Default)]
pub struct Outputs {
    values: Vec<Option<Box<OutputRef>>>,
    messages: HashMap<TaskIx, Box<str>>,
    sessions: HashMap<TaskIx, Session>,
}

impl Outputs {
    /// For that many tasks.
    pub fn new(tasks: usize) -> Self {
        Outputs { values: vec![None; tasks], messages: HashMap::new(), sessions: HashMap::new() }
    }

    /// Takes from a fact what concerns outputs.
    pub fn apply(&mut self, fact: &Fact) {
        if let Fact::AttemptSucceeded { task, session: Some(id), usage, .. } = fact {
            let used = usage.as_deref().copied().unwrap_or_default();
            self.sessions.insert(*task, Session { id: id.to_string(), used });
        }
        if let Fact::Patched(patched) = fact {
            self.values.resize(patched.tasks as usize, None);
        }
        match fact {
            Fact::AttemptSucceeded { task, output, .. }
            | Fact::TaskAdopted { task, output, .. }
            | Fact::GateApproved { task, output: Some(output), .. } => {
                self.messages.remove(task);
                let null = matches!(output, OutputRef::Inline(text) if &**text == "null");
                self.values[task.index()] = (!null).then(|| Box::new(output.clone()));
            }
            Fact::GateRejected { task, by, comment, .. } => {
                self.messages.insert(*task, gates::rejection(by, comment.as_deref()).into());
            }
            Fact::GateExpired { task, .. } => {
                self.messages.insert(*task, gates::EXPIRED.into());
            }
            Fact::AttemptFailed { task, message, .. } | Fact::GateFailed { task, message, .. } => {
                self.values[task.index()] = None;
                self.messages.insert(*task, message.clone());
            }
            _ => {}
        }
    }

    /// Where the output of a completed task is; `None` is `null`.
    pub fn get(&self, task: TaskIx) -> Option<&OutputRef> {
        self.values[task.index()].as_deref()
    }

    /// The output of a completed task as compact JSON text.
    pub fn text(&self, task: TaskIx, journal: &dyn Journal) -> Result<Arc<str>, JournalError> {
        match self.get(task) {
            None => Ok(Arc::from("null")),
            Some(OutputRef::Inline(text)) => Ok(Arc::clone(text)),
            Some(stored) => journal.load(stored),
        }
    }

    /// The agent CLI's session of the attempt that completed the task, with what that attempt alone used.
    pub fn session(&self, task: TaskIx) -> Option<&Session> {
        self.sessions.get(&task)
    }

    /// Takes over a session of a chapter before.
    pub fn keep_session(&mut self, task: TaskIx, session: Session) {
        self.sessions.entry(task).or_insert(session);
    }

    /// What the last failure of the task said.
    pub fn message(&self, task: TaskIx) -> Option<&str> {
        self.messages.get(&task).map(|m| &**m)
    }
}
