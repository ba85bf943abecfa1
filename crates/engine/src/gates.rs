//! Questions to people and their answers: what is asked, what identifies it, and the fold of both from the records of a
//! run. It does not know how a question reaches anybody. One decision: an answer names the record that asked and the
//! hash of what was shown, so an answer to anything else counts nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use raddle_kernel::{Attempt, TaskIx, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::attempt::AttemptSpec;
use crate::fact::{Fact, Record};

/// The most bytes of a question that are kept and shown.
const QUESTION_BYTES: usize = 4 << 10;
/// The most bytes of the work that are kept and shown.
const WORK_BYTES: usize = 8 << 10;
/// The longest comment.
pub const COMMENT_BYTES: usize = 4 << 10;
/// The longest structured answer, as JSON text.
pub const ANSWER_BYTES: usize = 32 << 10;

/// What a person is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// In words.
    pub text: Box<str>,
    /// What would be done, resolved, without secrets, cut where it is long; empty for a gate that starts nothing.
    pub work: Box<str>,
    /// Hash of all of it, uncut and with secrets: the same for the same work and for no other.
    pub hash: [u8; 32],
}

impl Question {
    /// The hash in hexadecimal digits.
    pub fn hash_text(&self) -> String {
        blake3::Hash::from_bytes(self.hash).to_hex().to_string()
    }

    /// The first digits, for people; enough to tell the questions of a run apart.
    pub fn short_hash(&self) -> String {
        self.hash_text()[..12].to_owned()
    }

    /// A question whose texts are bounded.
    pub fn new(text: &str, work: &str, hash: [u8; 32]) -> Self {
        Question { text: cut(text, QUESTION_BYTES).into(), work: cut(work, WORK_BYTES).into(), hash }
    }
}

fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… ({} more bytes)", &text[..end], text.len() - end)
}

/// The hash of an attempt's work: of everything in it that could make a difference to what it does. What differs
/// between two attempts of the same work is left out: their numbers, the engine's epoch, the money that is left.
pub fn hash_of_work(spec: &AttemptSpec) -> [u8; 32] {
    let AttemptSpec { key: _, epoch: _, task_id, work, env, cwd, timeout, idle, run_dir: _, demands } = spec;
    let mut work = work.clone();
    if let crate::attempt::Work::Code(code) = &mut work
        && let Some(fixed) = &mut code.fixed
    {
        fixed.clock_ms = 0;
    }
    let mut demands = demands.clone();
    demands.max_cost = None;
    let env: Vec<_> =
        env.iter().filter(|(name, _)| !matches!(name.as_str(), "RADDLE_ATTEMPT" | "TRACEPARENT")).collect();
    let mut hasher = Hasher(blake3::Hasher::new());
    // What `Debug` prints of plain data tells values apart. It may change with the program's version; then it is asked
    // again, which is the safe side.
    write!(hasher, "{:?}", (task_id, work, env, cwd, timeout, idle, demands)).expect("a hasher takes everything");
    *hasher.0.finalize().as_bytes()
}

/// The hash of a question that is all there is.
pub fn hash_of_question(text: &str, inputs: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in [text, inputs] {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

struct Hasher(blake3::Hasher);

impl std::fmt::Write for Hasher {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// A person's answer to a task that waits, as it travels from whoever asked the person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The task's id.
    pub task: String,
    /// What is said.
    pub word: Word,
    /// Which question is answered; for a gate it must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Asked>,
    /// Which attempt it is about; where it is given, an answer to another one counts nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who says it.
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// Names a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The record that asked.
    pub seq: u64,
    /// The question's hash in hexadecimal digits.
    pub hash: String,
}

/// What can be said of a task that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Word {
    /// It may pass; a gate may want more than that.
    Approve {
        /// The structured answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Value>,
    },
    /// It may not.
    Reject,
    /// It is tried again.
    Retry,
    /// The run goes on without it.
    Skip,
}

/// Why an answer changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// No such task.
    UnknownTask,
    /// Nothing about it is to be answered so; its state.
    NotWaiting(&'static str),
    /// Another question is asked by now, or what was approved has changed.
    Changed,
    /// The answer came after its time.
    Late,
    /// The run has ended.
    Over,
    /// The answer is not of the wanted shape, or too long; why.
    Unfit(String),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::UnknownTask => f.write_str("the run has no such task"),
            Refused::NotWaiting(state) => write!(f, "the task is {state} and does not wait for this answer"),
            Refused::Changed => f.write_str("what was asked has changed meanwhile; look at it again"),
            Refused::Late => f.write_str("the gate has expired"),
            Refused::Over => f.write_str("the run has ended; it waits for nothing any more"),
            Refused::Unfit(why) => write!(f, "the answer cannot be taken: {why}"),
        }
    }
}

impl std::error::Error for Refused {}

/// The output of an approved gate: the answer where it has a schema, else who approved and what was said.
pub fn output_of(schema: Option<&Value>, answer: &Answer) -> Result<String, String> {
    let given = match &answer.word {
        Word::Approve { answer } => answer.as_ref(),
        _ => None,
    };
    let Some(schema) = schema else {
        let mut output = serde_json::json!({"approved": true, "by": answer.by, "answer": given});
        if let Some(comment) = &answer.comment {
            output["comment"] = comment.as_str().into();
        }
        return Ok(output.to_string());
    };
    let Some(given) = given else { return Err("it needs a structured answer that fits its schema".into()) };
    let validator = jsonschema::validator_for(schema).map_err(|e| format!("the schema cannot be used: {e}"))?;
    let wrong: Vec<String> =
        validator.iter_errors(given).take(5).map(|e| format!("{} at `{}`", e, e.instance_path())).collect();
    if wrong.is_empty() { Ok(given.to_string()) } else { Err(wrong.join("; ")) }
}

/// All questions of a chapter; the last one of each task.
#[derive(Debug, Clone, Default)]
pub struct Gates(BTreeMap<TaskIx, Gate>);

/// One question and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The record that asked.
    pub seq: u64,
    /// The attempt that comes next.
    pub attempt: Attempt,
    /// When it was asked.
    pub asked_at: Time,
    /// When silence becomes a no.
    pub expires_at: Option<Time>,
    /// What was asked.
    pub question: Question,
    /// The answer, when there is one.
    pub said: Option<Said>,
}

/// An answer that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// When.
    pub at: Time,
    /// Whether it was a yes.
    pub yes: bool,
    /// Who; `None`: nobody did, in time.
    pub by: Option<Box<str>>,
    /// Why.
    pub comment: Option<Box<str>>,
}

impl Gates {
    /// Takes in a record.
    pub fn apply(&mut self, record: &Record) {
        let (task, yes, by, comment) = match &record.fact {
            Fact::Started(_) => return self.0.clear(),
            Fact::GateOpened { task, attempt, expires_at, question } => {
                let gate = Gate {
                    seq: record.seq,
                    attempt: *attempt,
                    asked_at: record.at,
                    expires_at: *expires_at,
                    question: (**question).clone(),
                    said: None,
                };
                self.0.insert(*task, gate);
                return;
            }
            // What is tried again by a person's word is asked about again.
            Fact::TaskRetried { task } | Fact::GateFailed { task, .. } => {
                self.0.remove(task);
                return;
            }
            Fact::GateApproved { task, by, comment, .. } => (task, true, Some(by.clone()), comment.clone()),
            Fact::GateRejected { task, by, comment, .. } => (task, false, Some(by.clone()), comment.clone()),
            Fact::GateExpired { task, .. } => (task, false, None, None),
            _ => return,
        };
        if let Some(gate) = self.0.get_mut(task) {
            gate.said = Some(Said { at: record.at, yes, by, comment });
        }
    }

    /// The last question about the task.
    pub fn get(&self, task: TaskIx) -> Option<&Gate> {
        self.0.get(&task)
    }

    /// What a recorded yes lets start.
    pub(crate) fn approved(&self, task: TaskIx) -> Option<[u8; 32]> {
        let gate = self.0.get(&task)?;
        gate.said.as_ref().is_some_and(|said| said.yes).then_some(gate.question.hash)
    }

    /// The name of the question about the task.
    pub fn asked(&self, task: TaskIx) -> Option<Asked> {
        self.0.get(&task).map(|gate| Asked { seq: gate.seq, hash: gate.question.hash_text() })
    }
}

/// What a rejected task's dependents and readers are told.
pub fn rejection(by: &str, comment: Option<&str>) -> String {
    match comment {
        Some(comment) => format!("rejected by {by}: {comment}"),
        None => format!("rejected by {by}"),
    }
}

/// What is told of a gate that nobody answered.
pub const EXPIRED: &str = "nobody approved it in time";
