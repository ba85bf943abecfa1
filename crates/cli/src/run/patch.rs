//! `raddle patch`: reads a change, asks the engine that owns the run to make it, or makes it in the journal of a run that
//! nobody drives. It does not know how a change is judged.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use raddle_engine::patch::PatchRequest;
use raddle_engine::view::{PatchView, RunView};
use raddle_engine::{Budget, TaskIx};
use raddle_executors::control::{self, Request, Unheard};
use raddle_journal::{Home, RunId};
use raddle_model::patch::{self as model, Change};
use raddle_model::syntax;
use serde_json::{Value, json};

use super::document::{self, rfc3339};
use super::look::print_json;
use super::resume::{own, relaunch};
use super::store::{self, Opened};
use crate::args::{PatchArgs, ReportArgs};
use crate::exit::Exit;
use crate::loading;
use crate::problem::Problem;
use crate::report;
use crate::source::Definition;
use crate::terminal::{self, Colour, harmless};

/// How long an engine may take until it listens to requests, or until it is gone when it has died.
const SETTLING: Duration = Duration::from_secs(2);
/// The longest reason that is kept.
const REASON_BYTES: usize = 4096;

/// `raddle patch`.
pub fn patch(args: PatchArgs, colour: Colour) -> Result<Exit, Problem> {
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    if args.list {
        return list(&opened.view, args.json);
    }
    let (mut change, undoes) = match &args.file {
        Some(file) => (read(file, colour)?, None),
        None => undone(&opened.view)?,
    };
    if let Some(reason) = args.reason {
        change.reason = Some(reason);
    }
    if change.reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES) {
        return Err(Problem::usage("the reason is too long").hint("a sentence is enough; at most 4 KB"));
    }
    let request = PatchRequest { id: new_id(), change, by: person(), undoes };
    match decided(&home, id, opened, &request, colour)? {
        Ok(()) => {
            let summary = request.change.summary();
            if args.json {
                let undoes = &request.undoes;
                print_json(&json!({"run": id.as_str(), "patch": request.id, "summary": summary, "undoes": undoes}))?;
            }
            terminal::tell(&format!("run {id} is patched ({}): {}\n", request.id, harmless(&summary)));
            if !home.is_live(&id) {
                terminal::tell(&format!("no engine drives it; `raddle resume {id}` goes on\n"));
            }
            Ok(Exit::Success)
        }
        Err(lines) => {
            let problem = Problem::usage(format!("the patch was refused; nothing of run {id} is changed"));
            Err(lines.into_iter().take(50).fold(problem, |problem, line| problem.hint(harmless(&line).into_owned())))
        }
    }
}

/// Has the change made by whoever owns the run, or by this process when nobody does.
fn decided(
    home: &Home,
    id: RunId,
    mut opened: Opened,
    request: &PatchRequest,
    colour: Colour,
) -> Result<Result<(), Vec<String>>, Problem> {
    let asked = Instant::now();
    loop {
        if opened.view.patches.iter().any(|patch| patch.patched.id == request.id) {
            // Whoever made it could not say so any more.
            return Ok(Ok(()));
        }
        if let Some(outcome) = opened.view.run.finished() {
            return Ok(Err(vec![
                format!("it has ended ({}), so there is nothing to change", outcome.name()),
                "a new run can be started by the changed workflow".to_owned(),
            ]));
        }
        if !home.is_live(&id) {
            let launch = relaunch(home, &opened.view, Budget::default(), ReportArgs::default(), false, colour)?;
            let (journal, records) = own(home, id)?;
            return launch.patch(&id, journal, records, request);
        }
        match control::ask(&home.run_folder(&id), &Request::Patch(Box::new(request.clone()))) {
            Ok(()) => return Ok(Ok(())),
            Err(Unheard::Refused(lines)) => return Ok(Err(lines)),
            Err(Unheard::Lost(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Problem::new(Exit::Failed, format!("the engine of run {id} does not answer"))
                    .hint(format!("`raddle patch {id} --list` tells whether the patch {} was made", request.id)));
            }
            // It has just begun and does not listen yet, or it has just ended and its journal knows more.
            Err(Unheard::Lost(_)) if asked.elapsed() < SETTLING => std::thread::sleep(Duration::from_millis(10)),
            Err(Unheard::Lost(e)) => return Err(Problem::io(format!("reach the engine of run {id}"), &e)),
        }
        opened = Opened::open(home, id)?;
    }
}

/// A patch as a person names it; what is wrong with its shape is told at its place.
fn read(file: &str, colour: Colour) -> Result<Change, Problem> {
    let definition = Definition::find(Some(file))?;
    model::read(&definition.text, definition.model_name()).map_err(|diagnostics| {
        terminal::tell(&report::render(&loading::faults(&definition, &diagnostics), colour));
        terminal::tell(&format!("{}\n", loading::verdict(&definition.name, &diagnostics)));
        Problem::told(Exit::Usage)
    })
}

/// What takes the latest patch back that is neither taken back nor a taking back, and its name.
fn undone(view: &RunView) -> Result<(Change, Option<String>), Problem> {
    let taken_back = |id: &str| view.patches.iter().any(|p| p.patched.undoes.as_deref() == Some(id));
    let by_people = |patch: &PatchView| {
        let change: Change = serde_json::from_str(&patch.patched.change).unwrap_or_default();
        !change.is_the_runs_own() && patch.patched.undoes.is_none()
    };
    let found = view.patches.iter().rposition(|p| by_people(p) && !taken_back(&p.patched.id));
    let Some(at) = found else {
        return Err(Problem::usage(format!("run {} has no patch that could be taken back", view.chapter.run))
            .hint(format!("`raddle patch {} --list` shows its patches", view.chapter.run)));
    };
    let before = match at.checked_sub(1) {
        Some(at) => parsed(&view.patches[at].patched.source, ""),
        None => parsed(&view.chapter.source, &view.chapter.source_name),
    };
    let PatchView { patched, .. } = &view.patches[at];
    let change = Change {
        reason: Some(format!("takes back {}", patched.id)),
        ..model::inverse(&before, &parsed(&patched.source, ""))
    };
    Ok((change, Some(patched.id.clone())))
}

fn parsed(source: &str, name: &str) -> Value {
    let name = if matches!(name, "-" | "inline") { "" } else { name };
    syntax::parse(source, name).root.map(|root| root.to_json()).unwrap_or_default()
}

fn list(view: &RunView, json: bool) -> Result<Exit, Problem> {
    if json {
        print_json(&Value::Array(document::patches(view)))?;
        return Ok(Exit::Success);
    }
    let text = in_words(view);
    if text.is_empty() {
        terminal::tell(&format!("run {} has not been patched\n", view.chapter.run));
    }
    terminal::print(text.trim_start())?;
    Ok(Exit::Success)
}

/// Why a task is not needed, in a sentence.
pub fn unneeded(view: &RunView, task: TaskIx, by: TaskIx) -> String {
    let name = |task: TaskIx| &view.snapshot.tasks[task.index()].id;
    let why = view.tasks[by.index()].omitted.as_deref().unwrap_or("its condition is false");
    match by == task {
        true => format!("{} was skipped: {why}.", name(task)),
        false => format!("{} was skipped because {} was: {why}.", name(task), name(by)),
    }
}

/// The patches of a run for people; empty when there are none.
pub fn in_words(view: &RunView) -> String {
    let mut text = String::new();
    for PatchView { at, patched } in &view.patches {
        if text.is_empty() {
            text.push_str("\npatches\n");
        }
        let change = super::events::summary(patched);
        let why = if patched.why.is_empty() { String::new() } else { format!(": {}", patched.why) };
        let line = format!("  {}  {}  by {}  {}{why}", rfc3339(*at), patched.id, patched.by, change);
        let _ = writeln!(text, "{}", harmless(&line));
    }
    text
}

/// Distinguishes this patch from every other of the run.
fn new_id() -> String {
    let seed = format!("{:?} {}", std::time::SystemTime::now(), std::process::id());
    blake3::hash(seed.as_bytes()).to_hex()[..8].to_owned()
}

/// Who asks, as far as this machine knows.
fn person() -> String {
    let name = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok().filter(|name| !name.is_empty()));
    let name = name.unwrap_or_else(|| format!("uid {}", rustix::process::geteuid().as_raw()));
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{name}@{host}")
}
