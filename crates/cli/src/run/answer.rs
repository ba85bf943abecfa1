//! `raddle approve` and `raddle reject`, and how any word of a person reaches a run: through the engine that owns it, or
//! into its journal when nobody does. It does not know what an answer leads to.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use raddle_engine::admission::Admission;
use raddle_engine::attempt::{AttemptKey, AttemptSpec, Failure, RawOutput, Usage};
use raddle_engine::gates::{self, Answer, Asked, Word};
use raddle_engine::program::{Context, Program};
use raddle_engine::view::RunView;
use raddle_engine::{Engine, FailureClass, TaskIx};
use raddle_executors::control::{self, Request, Unheard};
use raddle_journal::{Home, RunId};
use raddle_kernel::{Cause, Gate, Graph, TaskState};
use serde_json::{Map, Value};

use super::closing::mark_finished;
use super::look::unknown_task;
use super::performer::SystemClock;
use super::resume::own;
use super::stop::Nobody;
use super::store::{self, Opened, engine_problem};
use super::waiting;
use crate::args::{AnswerArgs, ApproveArgs};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal;

/// How long an engine may take until it listens, or until it is gone.
const BEGINNING: Duration = Duration::from_secs(2);

/// Who took an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The engine that owns the run: it goes on by itself.
    ByItsEngine,
    /// Nobody owned the run; the answer is in its journal.
    OnRecord,
}

/// `raddle approve`.
pub fn approve(args: ApproveArgs) -> Result<Exit, Problem> {
    let answer = structured(&args)?;
    respond(&args.common, Word::Approve { answer }, "approved")
}

/// `raddle reject`.
pub fn reject(args: AnswerArgs) -> Result<Exit, Problem> {
    respond(&args, Word::Reject, "rejected")
}

fn respond(args: &AnswerArgs, word: Word, verb: &str) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    let task = opened.view.task(&args.task).ok_or_else(|| unknown_task(&opened.view, &args.task))?;
    let question = expect_question(&opened.view, task, args, &word)?;
    let attempt = match opened.view.run.state(task) {
        TaskState::Waiting { attempt, .. } => Some(attempt.0),
        _ => None,
    };
    let (by, comment) = (this_person(), args.comment.clone());
    let answer = Answer { task: args.task.clone(), word, question, attempt, by, comment };
    let taken = give(&home, id, &answer)?;
    terminal::tell(&format!("{verb} {} of run {id}\n", terminal::harmless(&args.task)));
    if taken == Taken::OnRecord && Opened::open(&home, id)?.view.run.finished().is_none() {
        terminal::tell(&format!("  no engine owns the run; to go on:  raddle resume {id}\n"));
    }
    Ok(Exit::Success)
}

/// The question that is open, or why there is nothing to answer.
fn expect_question(view: &RunView, task: TaskIx, args: &AnswerArgs, word: &Word) -> Result<Option<Asked>, Problem> {
    let run = &view.chapter.run;
    let Some(waits) = waiting::of(view, task) else {
        let state = view.run.state(task).name();
        let problem = Problem::usage(format!("task {} is {state}: nothing waits for an answer there", args.task));
        return Err(match waiting::approval_in_words(view, task) {
            Some(said) => problem.hint(format!("it was {said}")),
            None => problem.hint(format!("`raddle why {run} {}` tells more", args.task)),
        });
    };
    let Some(gate) = waits.gate() else {
        if matches!(word, Word::Approve { .. }) {
            let mut problem =
                Problem::usage(format!("task {} {}: there is nothing to approve", args.task, waits.line()));
            for (command, what) in waits.commands() {
                problem = problem.hint(format!("{command}   {what}"));
            }
            return Err(problem);
        }
        return match &args.hash {
            Some(_) => {
                Err(Problem::usage(format!("task {} does not wait at a gate, so `--hash` names nothing", args.task)))
            }
            None => Ok(None),
        };
    };
    let hash = gate.question.hash_text();
    let seen = args.hash.as_deref().unwrap_or(&hash);
    if seen.len() < 8 || !hash.starts_with(&seen.to_ascii_lowercase()) {
        return Err(Problem::usage(format!(
            "task {} asks about something else than {seen} by now: its hash is {hash}",
            args.task
        ))
        .hint(format!("`raddle show {run}` tells what it asks")));
    }
    Ok(Some(Asked { seq: gate.seq, hash }))
}

/// The structured answer of the command line.
fn structured(args: &ApproveArgs) -> Result<Option<Value>, Problem> {
    match args.answer.as_slice() {
        [] => Ok(None),
        [text] if !is_pair(text) => serde_json::from_str(text).map(Some).map_err(|e| {
            Problem::usage(format!("`--answer` is neither JSON nor NAME=VALUE: {e}"))
                .hint("as in --answer '{\"ok\": true}' or --answer version=3 --answer note=fine")
        }),
        pairs => {
            let mut entries = Map::new();
            for pair in pairs {
                let Some((name, text)) = pair.split_once('=').filter(|_| is_pair(pair)) else {
                    return Err(Problem::usage(format!("`--answer {pair}` is not NAME=VALUE")));
                };
                // What reads as JSON is JSON; anything else is text.
                let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
                entries.insert(name.to_owned(), value);
            }
            Ok(Some(Value::Object(entries)))
        }
    }
}

fn is_pair(text: &str) -> bool {
    let name = text.split_once('=').map_or("", |(name, _)| name);
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// `user@host`, as the operating system knows them: not from the environment, which anybody can set.
pub fn this_person() -> String {
    let uid = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{}@{host}", named.unwrap_or_else(|| format!("uid{uid}")))
}

/// Brings a person's answer to a run. When it comes back well, the answer is durable. An answer names its question, so
/// one that is brought twice counts once.
pub fn give(home: &Home, id: RunId, answer: &Answer) -> Result<Taken, Problem> {
    let request = Request::Answer { answer: Box::new(answer.clone()) };
    let asked = Instant::now();
    let mut lost = false;
    loop {
        let error = match control::ask(&home.run_folder(&id), &request) {
            Ok(()) => return Ok(Taken::ByItsEngine),
            Err(Unheard::Refused(_)) if lost && is_taken(home, id, answer)? => return Ok(Taken::ByItsEngine),
            Err(Unheard::Refused(why)) => return Err(refused(&why.join("; "), id)),
            Err(Unheard::Lost(error)) => error,
        };
        // Sent, and perhaps taken, by an engine that is gone or does not reply any more.
        let was_sent = !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused);
        lost |= was_sent;
        if lost && is_taken(home, id, answer)? {
            return Ok(Taken::OnRecord);
        }
        if !home.is_live(&id) {
            match record(home, id, answer) {
                Err(problem) if problem.exit == Exit::Owned && asked.elapsed() < BEGINNING => {}
                other => return other,
            }
        } else if asked.elapsed() > BEGINNING {
            return Err(Problem::io(format!("reach the engine of run {id}"), &error)
                .hint(format!("`raddle show {id}` tells whether the answer was taken")));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn refused(why: &str, id: RunId) -> Problem {
    Problem::usage(why.to_owned()).hint(format!("nothing was changed; `raddle show {id}` tells how the run stands"))
}

/// Whether the very answer is on record.
fn is_taken(home: &Home, id: RunId, answer: &Answer) -> Result<bool, Problem> {
    let view = Opened::open(home, id)?.view;
    let gate = view.task(&answer.task).and_then(|task| view.gates.get(task));
    let same = gate.filter(|gate| answer.question.as_ref().is_some_and(|asked| asked.seq == gate.seq));
    Ok(same.and_then(|gate| gate.said.as_ref()).is_some_and(|said| {
        said.yes == matches!(answer.word, Word::Approve { .. }) && said.by.as_deref() == Some(answer.by.as_str())
    }))
}

/// Writes the answer into the journal of a run that nobody owns, and leaves the run where it is.
fn record(home: &Home, id: RunId, answer: &Answer) -> Result<Taken, Problem> {
    let (mut journal, records) = own(home, id)?;
    let view = store::view_of(&id, records.clone())?;
    let mut program = OnPaper { graph: Arc::clone(view.run.graph()), view: &view };
    let (mut nobody, mut clock) = (Nobody, SystemClock::default());
    let mut engine =
        Engine::new(&mut program, &mut nobody, &mut journal, &mut clock, Admission::new(Vec::new(), false));
    engine.load(records).map_err(|e| engine_problem(id.as_str(), &e))?;
    engine
        .answer_alone(answer)
        .map_err(|e| engine_problem(id.as_str(), &e))?
        .map_err(|e| refused(&e.to_string(), id))?;
    if let Some(outcome) = engine.run_state().finished() {
        mark_finished(home, &id, outcome, store::now());
    }
    Ok(Taken::OnRecord)
}

/// A run as it is written down: enough to take an answer, not to do anything. Whether what was approved is still the
/// same is seen when it starts.
struct OnPaper<'a> {
    graph: Arc<Graph>,
    view: &'a RunView,
}

impl Program for OnPaper<'_> {
    fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    fn prepare(&mut self, _key: AttemptKey, _context: &Context<'_>) -> Result<AttemptSpec, Failure> {
        Err(Failure::new(FailureClass::Cancelled, "nobody drives the run"))
    }

    fn read_output(&mut self, _task: TaskIx, _raw: RawOutput) -> Result<Arc<str>, Failure> {
        Ok("null".into())
    }

    fn answer_output(&mut self, task: TaskIx, answer: &Answer) -> Result<Option<Arc<str>>, String> {
        if self.graph.gate(task) != Gate::Decides {
            return Ok(None);
        }
        let schema = self.view.snapshot.tasks[task.index()].answer_schema.as_ref();
        gates::output_of(schema, answer).map(|text| Some(text.into()))
    }

    fn task_named(&self, id: &str) -> Option<TaskIx> {
        self.view.task(id)
    }

    fn price(&self, _task: TaskIx, _usage: &mut Usage) {}
}

/// A person's `retry` or `skip` to a run that an engine owns.
pub fn tell_engine(home: &Home, opened: &Opened, task: TaskIx, word: Word) -> Result<Exit, Problem> {
    let name = opened.view.snapshot.tasks[task.index()].id.clone();
    let verb = if word == Word::Retry { "retried" } else { "skipped" };
    let answer = Answer { task: name.clone(), word, question: None, attempt: None, by: this_person(), comment: None };
    let request = Request::Answer { answer: Box::new(answer) };
    match control::ask(&home.run_folder(&opened.id), &request) {
        Ok(()) => {
            terminal::tell(&format!("{verb} {name}; the engine of run {} goes on\n", opened.id));
            Ok(Exit::Success)
        }
        Err(Unheard::Refused(why)) => Err(refused(&why.join("; "), opened.id)),
        Err(Unheard::Lost(error)) => Err(Problem::io(format!("reach the engine of run {}", opened.id), &error)
            .hint(format!("`raddle show {}` tells whether it was heard", opened.id))),
    }
}

/// A gate is answered; going around it would be a yes by another name.
pub fn refuse_skip_of_gate(view: &RunView, task: TaskIx) -> Result<(), Problem> {
    if view.run.graph().gate(task) != Gate::Decides {
        return Ok(());
    }
    let (run, id) = (&view.chapter.run, &view.snapshot.tasks[task.index()].id);
    let asked = waiting::of(view, task).is_some_and(|waits| matches!(waits.cause, Cause::Approval { .. }));
    let problem = Problem::usage(format!("task {id} is a gate: it is answered, not skipped"));
    Err(match asked {
        true => problem.hint(format!("raddle approve {run} {id}")).hint(format!("raddle reject {run} {id}")),
        false => problem.hint(format!("`raddle retry {run} {id}` asks again when it was rejected")),
    })
}
