//! The commands that look at runs: `ps`, `show`, `trace`, `checkpoint`, `why`, `watch`, `gc`. It reads
//! journals and never changes one.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use raddle_engine::ports::JournalError;
use raddle_engine::view::RunView;
use raddle_engine::{Outcome, TaskIx, Time};
use raddle_journal::{Health, Home, RunEntry, RunId};
use raddle_kernel::{Cause, Gate, TaskState};
use raddle_model::template::{Lookup, Scope, Template};
use serde_json::{Map, Value, json};

use super::branches::unmerged;
use super::closing::budget_said;
use super::document::{self, outcome_name, rfc3339};
use super::events;
use super::sagas;
use super::store::{self, Opened, journal_problem};
use super::waiting;
use crate::args::{CheckpointArgs, GcArgs, PsArgs, ShowArgs, TraceArgs, WatchArgs, WhyArgs};
use crate::exit::Exit;
use crate::problem::Problem;
use crate::terminal::{self, Table, harmless, harmless_lines};

/// How often `watch` looks.
const WATCH_EVERY: Duration = Duration::from_millis(50);

/// `raddle ps`.
pub fn ps(args: PsArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    let entries = home.list().map_err(|e| Problem::io("list the runs", &e))?;
    let rows: Vec<Row> = entries.into_iter().filter_map(|entry| Row::of(&home, entry)).collect();
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        print_json(&Value::Array(rows))?;
        return Ok(Exit::Success);
    }
    if rows.is_empty() {
        terminal::tell("no runs yet\n");
        return Ok(Exit::Success);
    }
    let mut table = Table::new(&["RUN", "WORKFLOW", "OUTCOME", "TASKS", "STARTED", "TOOK"]);
    for row in &rows {
        table.row([
            row.id.to_string(),
            harmless(&row.workflow).into_owned(),
            row.outcome.clone(),
            row.total.map(|total| format!("{}/{total}", row.done)).unwrap_or_default(),
            row.started_at.map(rfc3339).unwrap_or_default(),
            row.took_ms.map(terminal::duration).unwrap_or_default(),
        ]);
    }
    terminal::print(&table.render())?;
    for row in rows.iter().filter(|r| r.reason.is_some()) {
        let quarantined = if row.outcome == "quarantined" { "quarantined: " } else { "" };
        let reason = harmless(row.reason.as_deref().unwrap_or_default());
        terminal::tell(&format!("{}: {quarantined}{reason}\n", row.id));
    }
    Ok(Exit::Success)
}

/// One line of `ps`.
struct Row {
    id: RunId,
    workflow: String,
    outcome: String,
    live: bool,
    reason: Option<String>,
    started_at: Option<Time>,
    took_ms: Option<u64>,
    done: usize,
    total: Option<usize>,
    /// Tasks that wait for an answer, with what for.
    waiting: Vec<(String, &'static str)>,
}

impl Row {
    /// Nothing for a run that ended before its first record.
    fn of(home: &Home, entry: RunEntry) -> Option<Row> {
        let workflow = home.meta(&entry.id).map(|m| m.workflow).unwrap_or_default();
        let unread = |outcome: &str, reason: Option<String>| {
            Some(Row {
                id: entry.id,
                workflow: workflow.clone(),
                outcome: outcome.into(),
                live: entry.live,
                reason,
                started_at: Some(entry.id.time()),
                took_ms: None,
                done: 0,
                total: None,
                waiting: Vec::new(),
            })
        };
        if let Health::Quarantined(reason) = &entry.health {
            return unread("quarantined", Some(reason.to_string()));
        }
        if let Err(JournalError::NotFound) = home.open_reader(&entry.id) {
            return if home.is_live(&entry.id) { unread("running", None) } else { None };
        }
        let opened = match Opened::open(home, entry.id) {
            Ok(opened) => opened,
            Err(problem) => return unread("quarantined", Some(problem.message)),
        };
        let view = &opened.view;
        let done = view.shown().filter(|task| view.run.state(*task).phase().settled()).count();
        Some(Row {
            id: entry.id,
            workflow: view.chapter.workflow.clone(),
            outcome: outcome_name(view, opened.live).into(),
            live: opened.live,
            reason: opened.paused.as_ref().map(|why| format!("paused: {why}")),
            started_at: Some(view.started_at),
            took_ms: view.finished_at.map(|end| end.0.saturating_sub(view.started_at.0)),
            done,
            total: Some(view.shown().count()),
            waiting: match view.run.finished() {
                Some(_) => Vec::new(),
                None => waiting::waiting(view)
                    .map(|waits| (view.snapshot.tasks[waits.task.index()].id.clone(), waits.word()))
                    .collect(),
            },
        })
    }

    fn json(&self) -> Value {
        json!({
            "run": self.id.as_str(), "workflow": self.workflow, "outcome": self.outcome, "live": self.live,
            "started_at": self.started_at.map(rfc3339), "duration_ms": self.took_ms,
            "tasks_done": self.done, "tasks_total": self.total, "reason": self.reason,
            "waiting": self.waiting.iter().map(|(task, word)| json!({"task": task, "for": word})).collect::<Vec<_>>(),
        })
    }
}

/// `raddle show`.
pub fn show(args: ShowArgs) -> Result<Exit, Problem> {
    let opened = Opened::named(&args.run)?;
    if args.json {
        print_json(&document_of(&opened)?)?;
    } else {
        terminal::print(&in_words(&opened)?)?;
    }
    Ok(Exit::Success)
}

/// The run document of a run that is read from outside.
pub fn document_of(opened: &Opened) -> Result<Value, Problem> {
    let load = |output: &_| opened.load(output);
    let outputs = declared_outputs(&opened.view, &load)?;
    document::run_document(&opened.view, outputs, opened.live, store::now(), &load)
        .map_err(|e| journal_problem(opened.id.as_str(), &e))
}

/// The workflow's outputs as far as they are there; a sink's by default.
pub fn declared_outputs(view: &RunView, load: document::Load<'_>) -> Result<Map<String, Value>, Problem> {
    let value =
        |task: TaskIx| document::output_value(view, task, load).map_err(|e| journal_problem(&view.chapter.run, &e));
    let mut outputs = Map::new();
    match &view.snapshot.outputs {
        None => {
            for task in view.shown() {
                let record = &view.snapshot.tasks[task.index()];
                if view.run.graph().successors(task).len() == 0 && !record.superseded {
                    outputs.insert(record.stands_for.as_ref().unwrap_or(&record.id).clone(), value(task)?);
                }
            }
        }
        Some(templates) => {
            let inputs: Map<String, Value> = serde_json::from_str(&view.chapter.inputs).unwrap_or_default();
            for (name, template) in templates {
                let mut values = Vec::new();
                for reference in template.references() {
                    if let raddle_model::template::Source::Output(task) = reference.source {
                        values.push((task, value(view.supplier(TaskIx(task)))?));
                    }
                }
                let scope = Fetched { view, values: &values, inputs: &inputs };
                outputs.insert(name.clone(), resolved(template, &scope));
            }
        }
    }
    Ok(outputs)
}

fn resolved(template: &Template, scope: &Fetched<'_>) -> Value {
    template.resolve(scope).unwrap_or(Value::Null)
}

struct Fetched<'a> {
    view: &'a RunView,
    values: &'a [(u32, Value)],
    inputs: &'a Map<String, Value>,
}

impl Scope for Fetched<'_> {
    fn output(&self, task: u32) -> Lookup<'_> {
        match self.view.run.state(self.view.supplier(TaskIx(task))) {
            TaskState::Completed { .. } => {
                let found = self.values.iter().find(|(t, _)| *t == task);
                found.map_or(Lookup::Missing, |(_, value)| Lookup::Value(std::borrow::Cow::Borrowed(value)))
            }
            TaskState::FailedSafe { .. } => Lookup::FailedSafe,
            _ => Lookup::Missing,
        }
    }

    fn input(&self, name: &str) -> Lookup<'_> {
        self.inputs.get(name).map_or(Lookup::Missing, |value| Lookup::Value(std::borrow::Cow::Borrowed(value)))
    }
}

fn in_words(opened: &Opened) -> Result<String, Problem> {
    let (view, now) = (&opened.view, store::now());
    let end = view.finished_at.unwrap_or(now);
    let mut text = format!(
        "run {}  {}  {}{}\n",
        opened.id,
        harmless(&view.chapter.workflow),
        outcome_name(view, opened.live),
        if view.snapshot.options.simulate { "  (simulated)" } else { "" },
    );
    let _ = writeln!(
        text,
        "started {}  took {}\n",
        rfc3339(view.started_at),
        terminal::duration(end.0.saturating_sub(view.started_at.0))
    );
    if let Some(why) = &opened.paused {
        let _ = writeln!(text, "paused: nothing can be recorded: {}\n", harmless(why));
    }
    let mut table = Table::new(&["TASK", "KIND", "STATE", "TRIES", "TOOK", "COST", ""]);
    for task in view.shown() {
        let (record, detail) = (&view.snapshot.tasks[task.index()], &view.tasks[task.index()]);
        let note = match view.run.state(task) {
            TaskState::Blocked { by } => format!("by {}", view.snapshot.tasks[by.index()].id),
            TaskState::NotUndone { .. } => format!("not compensated: {}", first_line(&sagas::fault(view, task))),
            TaskState::ToUndo { .. } => "to be compensated".to_owned(),
            TaskState::Undoing { .. } | TaskState::UndoRetrying { .. } => "being compensated".to_owned(),
            TaskState::Waiting { .. } => waiting::of(view, task).map(|waits| waits.line()).unwrap_or_default(),
            TaskState::Omitted { by } if by != task => format!("because of {}", view.snapshot.tasks[by.index()].id),
            TaskState::Omitted { .. } => detail.omitted.as_deref().unwrap_or_default().to_owned(),
            _ => detail.error.as_ref().map(|(c, m)| format!("{}: {}", c.name(), first_line(m))).unwrap_or_default(),
        };
        let took = (!detail.attempts.is_empty()).then(|| terminal::duration(view.busy_ms(task, end)));
        table.row([
            harmless(&record.id).into_owned(),
            record.kind.clone(),
            document::state_name(view, task, opened.live).to_owned(),
            if detail.attempts.is_empty() { String::new() } else { detail.forward().count().to_string() },
            took.unwrap_or_default(),
            view.usage(task).and_then(|u| u.cost_usd).map(terminal::money).unwrap_or_default(),
            terminal::cut(&harmless(&note), 80).into_owned(),
        ]);
    }
    text.push_str(&table.render());
    text.push_str(&super::patch::in_words(view));
    let mut waits = waiting::waiting(view).peekable();
    if waits.peek().is_some() && view.run.finished().is_none() {
        text.push_str("\nwaits for an answer\n");
        waits.for_each(|one| text.push_str(&one.words()));
    }
    Ok(text)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// `raddle trace`.
pub fn trace(args: TraceArgs) -> Result<Exit, Problem> {
    let opened = Opened::named(&args.run)?;
    let lines = document::trace(&opened.view, opened.live, store::now(), &|output| opened.load(output))
        .map_err(|e| journal_problem(opened.id.as_str(), &e))?;
    let mut text = String::new();
    for line in lines {
        let _ = writeln!(text, "{line}");
    }
    terminal::print(&text)?;
    Ok(Exit::Success)
}

/// `raddle checkpoint`.
pub fn checkpoint(args: CheckpointArgs) -> Result<Exit, Problem> {
    let opened = Opened::named(&args.run)?;
    let text = document::checkpoint(&opened.view, opened.live, store::now(), &|output| opened.load(output))
        .map_err(|e| journal_problem(opened.id.as_str(), &e))?;
    terminal::print(&text)?;
    Ok(Exit::Success)
}

/// A task that the run does not have.
pub fn unknown_task(view: &RunView, name: &str) -> Problem {
    let known: Vec<&str> = view.shown().take(20).map(|t| view.snapshot.tasks[t.index()].id.as_str()).collect();
    Problem::usage(format!("run {} has no task `{name}`", view.chapter.run))
        .hint(format!("its tasks: {}", known.join(", ")))
}

/// `raddle why`.
pub fn why(args: WhyArgs) -> Result<Exit, Problem> {
    let opened = Opened::named(&args.run)?;
    let view = &opened.view;
    let task = view.task(&args.task).ok_or_else(|| unknown_task(view, &args.task))?;
    let sentence = reason(&opened, task);
    if args.json {
        print_json(
            &json!({"run": opened.id.as_str(), "task": args.task, "state": document::state_name(view, task, opened.live), "why": sentence}),
        )?;
    } else {
        terminal::print(&format!("{}\n", harmless_lines(&sentence)))?;
    }
    Ok(Exit::Success)
}

/// One sentence that names the cause.
fn reason(opened: &Opened, task: TaskIx) -> String {
    let view = &opened.view;
    let name = |t: TaskIx| view.snapshot.tasks[t.index()].id.as_str();
    let id = name(task);
    let error = |t: TaskIx| {
        let found = view.tasks[t.index()].error.as_ref();
        found.map(|(class, message)| format!("({}) {message}", class.name())).unwrap_or_default()
    };
    let tried = view.tasks[task.index()].forward().count();
    if let Some(reason) = sagas::reason(view, task, opened.live) {
        return reason;
    }
    match view.run.state(task) {
        TaskState::Completed { .. } if view.run.graph().gate(task) == Gate::Decides => {
            let said = waiting::approval_in_words(view, task).unwrap_or_else(|| "answered before".to_owned());
            format!("{id} is a gate and was {said}.")
        }
        TaskState::Completed { .. } => format!("{id} completed after {}.", terminal::counted(tried, "attempt")),
        TaskState::Failed { .. } if tried == 0 => format!("{id} failed: {}", error(task)),
        TaskState::Failed { .. } => {
            format!("{id} failed after {}: {}", terminal::counted(tried, "attempt"), error(task))
        }
        TaskState::FailedSafe { .. } => {
            format!("{id} failed, safely, so its dependents ran without it: {}", error(task))
        }
        TaskState::Blocked { by } if matches!(view.run.state(by), TaskState::Compensated { .. }) => {
            format!("{id} is blocked because {} was undone when its saga failed.", name(by))
        }
        TaskState::Blocked { by } => format!("{id} is blocked because {} failed: {}", name(by), error(by)),
        TaskState::Skipped => {
            let stood_by = view.snapshot.tasks.iter().find(|other| other.fallback == Some(task.0));
            match stood_by {
                Some(other) => format!("{id} was not needed: it runs only when {} fails.", other.id),
                None => format!("{id} was skipped on request."),
            }
        }
        TaskState::Omitted { by } => super::patch::unneeded(view, task, by),
        TaskState::Removed => format!("{id} was taken out of the run by a patch."),
        TaskState::Cancelled => format!("{id} did not finish because the run was cancelled."),
        TaskState::Waiting { cause: Cause::Doubt, .. } => format!(
            "{id} was running when its engine ended, and nobody knows how far it came; it has side effects, so it is not \
             repeated unasked: `raddle retry {run} {id}` runs it again, `raddle skip {run} {id}` goes on without it.",
            run = opened.id
        ),
        TaskState::Waiting { .. } => match waiting::of(view, task) {
            Some(waits) => format!("{id} waits for an answer.\n{}", waits.words().trim_end()),
            None => format!("{id} waits for an answer."),
        },
        TaskState::Retrying { at, .. } => {
            format!("{id} failed and will be tried again at {}: {}", rfc3339(at), error(task))
        }
        TaskState::Running { attempt } if !opened.live => format!(
            "{id} was at work (attempt {}) when the engine of the run ended; `raddle resume {}` goes on.",
            attempt.0, opened.id
        ),
        TaskState::Ready | TaskState::Pending if view.run.finished() == Some(Outcome::BudgetExhausted) => format!(
            "{id} never started because the run's budget is used up ({}); `raddle resume {} --budget AMOUNT` goes on \
             with a larger one.",
            budget_said(view),
            opened.id
        ),
        _ if !opened.live => {
            format!("{id} has not run: no engine owns the run; `raddle resume {}` goes on with it.", opened.id)
        }
        TaskState::Running { attempt } => {
            let other = view.tasks[task.index()].attempts.last().and_then(|last| last.model.as_ref());
            let by = other.map(|(model, why)| format!(", by {model}: {why}")).unwrap_or_default();
            format!("{id} is running (attempt {}{by}).{}", attempt.0, paused(opened, "what comes of it is kept"))
        }
        TaskState::Ready | TaskState::Pending if opened.paused.is_some() => {
            format!("{id} does not start.{}", paused(opened, "nothing starts"))
        }
        TaskState::Ready | TaskState::Pending => waiting_for(view, task),
        // The sagas' own words were first.
        state => format!("{id} is {}.", state.name()),
    }
}

/// What a pause means for a task; empty while there is none.
fn paused(opened: &Opened, meaning: &str) -> String {
    let why = |why: &String| format!(" The engine can record nothing for now, so {meaning}: {why}.");
    opened.paused.as_ref().map(why).unwrap_or_default()
}

fn waiting_for(view: &RunView, task: TaskIx) -> String {
    let id = view.snapshot.tasks[task.index()].id.as_str();
    let open: Vec<&str> = view
        .run
        .graph()
        .predecessors(task)
        .filter(|(d, _)| !view.run.state(*d).phase().settled())
        .map(|(d, _)| view.snapshot.tasks[d.index()].id.as_str())
        .take(10)
        .collect();
    if !open.is_empty() {
        return format!("{id} waits for {}.", open.join(", "));
    }
    let of_kind = |kinds: &[String], t: TaskIx| {
        let record = &view.snapshot.tasks[t.index()];
        kinds.contains(&record.kind) || kinds.contains(&record.executor)
    };
    let live = |kinds: &[String]| {
        let tasks = (0..view.tasks.len() as u32).map(TaskIx);
        tasks.filter(|t| of_kind(kinds, *t) && matches!(view.run.state(*t), TaskState::Running { .. })).count() as u32
    };
    let full = |cap: &&raddle_engine::snapshot::CapRecord| of_kind(&cap.kinds, task) && live(&cap.kinds) >= cap.value;
    match view.snapshot.caps.iter().find(full) {
        Some(cap) => format!(
            "{id} could start, but {} of at most {} {} tasks are running ({}).",
            live(&cap.kinds),
            cap.value,
            cap.kinds.join(" and "),
            cap.bound_by
        ),
        _ => {
            let short = view.snapshot.declared().shortage(&view.run, task);
            match short.or_else(|| view.ledger.objection(task, store::now())) {
                Some(why) => format!("{id} could start, but {why}."),
                None => format!("{id} could start and is about to."),
            }
        }
    }
}

/// `raddle watch`.
pub fn watch(args: WatchArgs) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let mut reader = home.open_reader(&id).map_err(|e| journal_problem(id.as_str(), &e))?;
    let mut view: Option<RunView> = None;
    loop {
        let live = home.is_live(&id);
        let mut text = String::new();
        let mut wrong = None;
        let read = reader.read(&mut |record| {
            let folded = match &mut view {
                Some(view) => view.apply(&record),
                None => RunView::begin(&record).map(|begun| view = Some(begun)),
            };
            match (folded, &view) {
                (Ok(()), Some(view)) if args.json => {
                    let _ = writeln!(text, "{}", events::line(&record, view));
                }
                (Ok(()), Some(view)) => text.push_str(&events::words(&record, view)),
                (Err(e), _) => wrong = wrong.take().or(Some(JournalError::Damaged { after: e.seq, what: e.what })),
                (Ok(()), None) => {}
            }
        });
        terminal::print(&text)?;
        read.map_err(|e| journal_problem(id.as_str(), &e))?;
        if let Some(wrong) = wrong {
            return Err(journal_problem(id.as_str(), &wrong));
        }
        let finished = view.as_ref().is_some_and(|v| v.run.finished().is_some());
        if finished || !live {
            if let Some(view) = view.filter(|_| !args.json) {
                terminal::tell(&format!("run {id}: {}\n", outcome_name(&view, false)));
            }
            return Ok(Exit::Success);
        }
        std::thread::sleep(WATCH_EVERY);
    }
}

/// `raddle gc`.
pub fn gc(args: GcArgs) -> Result<Exit, Problem> {
    const DEFAULT_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
    let home = store::home()?;
    let age = args.older_than.unwrap_or(DEFAULT_AGE);
    let before = Time(store::now().0.saturating_sub(age.as_millis() as u64));
    let mut removed = Vec::new();
    for entry in home.list().map_err(|e| Problem::io("list the runs", &e))? {
        // What is live, unfinished or damaged is never removed: only a person can know what it is worth.
        let opened = Opened::open(&home, entry.id).ok().filter(|opened| !opened.live && !entry.live);
        let folder = home.run_folder(&entry.id);
        let has_container = opened.is_some() && !args.dry_run && !raddle_executors::warden::tidy_if_dead(&folder);
        let finished = opened.as_ref().and_then(|opened| opened.view.finished_at);
        if finished.is_some_and(|at| at < before) {
            let unmerged = opened.and_then(|opened| unmerged(&opened.view, &folder));
            if let Some(why) = unmerged {
                terminal::tell(&format!("kept {}: {}; see `raddle worktrees list`\n", entry.id, harmless(&why)));
                continue;
            }
            if has_container {
                let why = "a container of it cannot be removed; is its runtime there?";
                terminal::tell(&format!("kept {}: {why}\n", entry.id));
                continue;
            }
            if !args.dry_run {
                fs::remove_dir_all(&folder).map_err(|e| Problem::io(format!("remove {}", folder.display()), &e))?;
            }
            removed.push(entry.id.to_string());
        }
    }
    if args.json {
        print_json(&json!({"removed": removed, "dry_run": args.dry_run}))?;
    } else {
        let verb = if args.dry_run { "would remove" } else { "removed" };
        terminal::tell(&format!("{verb} {}\n", terminal::counted(removed.len(), "finished run")));
        terminal::print(&removed.iter().map(|id| format!("{id}\n")).collect::<String>())?;
    }
    Ok(Exit::Success)
}

/// One JSON document on stdout.
pub fn print_json(value: &Value) -> Result<(), Problem> {
    terminal::print(&format!("{value:#}\n"))
}
