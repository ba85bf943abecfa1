//! What going on with a run would do, before it is done: which results are kept, what runs for the first time, what runs
//! again and why that is safe, what a person has to decide. It reads a run and its definition and changes nothing.

use std::io::{IsTerminal, stderr, stdin};

use raddle_engine::TaskIx;
use raddle_engine::view::RunView;
use raddle_kernel::{Cause, TaskState};
use raddle_model::workflow::{OnDoubt, Workflow};
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{counted, harmless, tell};

/// Says how many tasks an act is for.
type Say = fn(usize) -> String;

/// So many tasks of a kind are named; the rest are counted. `--json` names all.
const NAMED: usize = 20;

/// What becomes of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Its result stands.
    Keep,
    /// It has not run yet.
    Run,
    /// It was at work, or failed and has retries left.
    Again,
    /// Nobody knows how far it came, and a person must say.
    Ask,
    /// It was at work and counts as failed.
    Fail,
    /// It stays as it is: failed, blocked, cancelled.
    Stay,
    /// What it did is undone.
    Undo,
}

impl Act {
    const ALL: [(Act, &str); 7] = [
        (Act::Keep, "keep"),
        (Act::Run, "run"),
        (Act::Again, "again"),
        (Act::Ask, "ask"),
        (Act::Fail, "fail"),
        (Act::Stay, "stay"),
        (Act::Undo, "undo"),
    ];

    fn name(self) -> &'static str {
        Act::ALL[self as usize].1
    }
}

/// A task in the plan.
struct Line {
    task: String,
    act: Act,
    side_effects: bool,
    /// Whether it, or the undoing of it, was begun before.
    again: bool,
    why: String,
}

/// See the module.
pub struct Intent {
    run: String,
    lines: Vec<Line>,
    /// Why it is not known what ran behind the last records.
    salvaged: Option<String>,
}

impl Intent {
    /// Of a run that nobody drives, under the definition it began with.
    pub fn of(view: &RunView, workflow: &Workflow) -> Intent {
        let lines = (0u32..).zip(&workflow.tasks).filter_map(|(i, task)| {
            let (act, why) = act(view, TaskIx(i), task.side_effects, task.on_doubt)?;
            let undoing =
                matches!(view.run.state(TaskIx(i)), TaskState::Undoing { .. } | TaskState::UndoRetrying { .. });
            let again = act == Act::Again || act == Act::Undo && undoing;
            Some(Line { task: task.id.clone(), act, side_effects: task.side_effects, again, why })
        });
        Intent {
            run: view.chapter.run.clone(),
            lines: lines.collect(),
            salvaged: view.salvaged.as_deref().map(str::to_owned),
        }
    }

    fn count(&self, act: Act) -> usize {
        self.lines.iter().filter(|line| line.act == act).count()
    }

    /// The counts, for a run's document.
    pub fn counts(&self) -> Value {
        let counts = Act::ALL.iter().map(|(act, name)| ((*name).to_owned(), json!(self.count(*act))));
        Value::Object(counts.collect::<Map<String, Value>>())
    }

    /// The whole plan as a document.
    pub fn json(&self) -> Value {
        let tasks: Vec<Value> = self
            .lines
            .iter()
            .map(|l| json!({"task": l.task, "act": l.act.name(), "side_effects": l.side_effects, "why": l.why}))
            .collect();
        json!({"run": self.run, "plan": self.counts(), "salvaged": self.salvaged, "tasks": tasks})
    }

    /// The plan in words: a line of counts, and a line for every task of which it is not obvious.
    pub fn words(&self) -> String {
        let part = |(act, say): (Act, Say)| Some(self.count(act)).filter(|n| *n > 0).map(say);
        let parts: [(Act, Say); 7] = [
            (Act::Keep, |n| format!("keeps {}", counted(n, "result"))),
            (Act::Again, |n| format!("runs {n} again")),
            (Act::Run, |n| format!("runs {n} for the first time")),
            (Act::Undo, |n| format!("undoes {n}")),
            (Act::Ask, |n| format!("asks about {n}")),
            (Act::Fail, |n| format!("counts {n} as failed")),
            (Act::Stay, |n| format!("leaves {n} as they are")),
        ];
        let parts: Vec<String> = parts.into_iter().filter_map(part).collect();
        let mut text = format!("run {}: {}\n", self.run, parts.join(", "));
        for act in [Act::Again, Act::Undo, Act::Ask, Act::Fail] {
            for line in self.lines.iter().filter(|line| line.act == act).take(NAMED) {
                text.push_str(&format!("  {:5} {}: {}\n", act.name(), harmless(&line.task), line.why));
            }
            if self.count(act) > NAMED {
                text.push_str(&format!("  {:5} … and {} more\n", act.name(), self.count(act) - NAMED));
            }
        }
        if let Some(reason) = &self.salvaged {
            text.push_str(&format!(
                "  the journal was damaged ({}): tasks that are to run may have run already\n",
                harmless(reason)
            ));
        }
        text
    }

    /// Whether somebody has to agree, and who: effects that will happen again, or may have happened behind the damage.
    pub fn agree(&self, yes: bool) -> Result<(), Problem> {
        let again = |line: &&Line| line.side_effects && line.again;
        let unknown = |line: &&Line| line.side_effects && matches!(line.act, Act::Again | Act::Run | Act::Undo);
        let names: Vec<&str> = match self.salvaged {
            Some(_) => self.lines.iter().filter(unknown).map(|l| l.task.as_str()).collect(),
            None => self.lines.iter().filter(again).map(|l| l.task.as_str()).collect(),
        };
        if yes || names.is_empty() {
            return Ok(());
        }
        let shown = names.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        if stdin().is_terminal() && stderr().is_terminal() {
            tell(&format!("effects of {} may happen a second time: go on? [y/N] ", harmless(&shown)));
            let mut answer = String::new();
            // A terminal that is gone has not said yes.
            let _ = stdin().read_line(&mut answer);
            return match answer.trim().to_ascii_lowercase().as_str() {
                "y" | "yes" => Ok(()),
                _ => Err(Problem::new(Exit::Refused, format!("run {} is left as it is", self.run))),
            };
        }
        if self.salvaged.is_none() {
            // The definition has said so: `on_doubt: rerun`, or a retry that was due.
            return Ok(());
        }
        let message = format!("what run {} did after its journal was damaged is not known: {shown}", self.run);
        Err(Problem::new(Exit::Refused, message).hint("they have side effects and may have run already").hint(format!(
            "`raddle resume {} --yes` runs them; `raddle skip {} TASK` goes on without one",
            self.run, self.run
        )))
    }
}

fn act(view: &RunView, task: TaskIx, side_effects: bool, on_doubt: OnDoubt) -> Option<(Act, String)> {
    let words = |act: Act, why: &str| (act, why.to_owned());
    Some(match view.run.state(task) {
        TaskState::Completed { .. } => words(Act::Keep, "it completed"),
        TaskState::FailedSafe { .. } => words(Act::Keep, "it failed safely"),
        TaskState::Omitted { .. } => words(Act::Keep, "it was not needed"),
        // A patch took it out: it is no part of the run any more.
        TaskState::Removed => return None,
        TaskState::ToUndo { .. } => words(Act::Undo, "what it did has to be undone"),
        TaskState::Undoing { .. } => words(Act::Undo, "it was being undone, and that is done again"),
        TaskState::UndoRetrying { .. } => words(Act::Undo, "undoing it failed and has a retry left"),
        TaskState::Skipped => words(Act::Keep, "it was skipped"),
        TaskState::Pending | TaskState::Ready => words(Act::Run, "it has not run"),
        TaskState::Retrying { .. } => words(Act::Again, "it failed and has a retry left"),
        TaskState::Waiting { cause: Cause::Doubt, .. } => {
            words(Act::Ask, "nobody knows how far it came, and it has side effects: `raddle retry` or `raddle skip`")
        }
        TaskState::Running { .. } => match (side_effects, on_doubt) {
            (false, _) => words(Act::Again, "it was at work and has no side effects"),
            (true, OnDoubt::Rerun) => words(Act::Again, "it was at work, and `on_doubt: rerun` allows a repeat"),
            (true, OnDoubt::Fail) => words(Act::Fail, "it was at work, and `on_doubt: fail` counts that as a failure"),
            (true, OnDoubt::Compensate) if view.run.graph().can_undo(task) => {
                words(Act::Undo, "it was at work, and `on_doubt: compensate` has it undone")
            }
            (true, _) => words(Act::Ask, "it was at work, has side effects, and nobody knows how far it came"),
        },
        state => (Act::Stay, format!("it is {}", state.name())),
    })
}
