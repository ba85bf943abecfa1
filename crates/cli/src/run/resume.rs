//! Going on with a run: `resume`, `retry`, `skip` and `run --recover`. It does not know how the engine is hosted.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use raddle_engine::fact::{Chapter, Fact, Record};
use raddle_engine::gates;
use raddle_engine::ports::{Journal, JournalError};
use raddle_engine::snapshot::Snapshot;
use raddle_engine::view::RunView;
use raddle_engine::{Budget, Outcome};
use raddle_executors::warden::Leash;
use raddle_journal::{Home, RunId, SqliteJournal};
use raddle_model::change::diff;
use serde_json::{Map, Value};

use super::closing::exit_of_finished;
use super::host::{Launch, Point, Word};
use super::intent::Intent;
use super::look::{document_of, print_json, unknown_task};
use super::store::{self, Opened, journal_problem};
use super::{answer, begin, budget};
use crate::args::{ContinueArgs, ReportArgs, ResumeArgs, Shape, ShapeArgs};
use crate::exit::Exit;
use crate::loading;
use crate::problem::Problem;
use crate::source::Definition;
use crate::terminal::{self, Colour};

/// How long an owner may take to die before it counts as alive.
const DYING: Duration = Duration::from_millis(500);
/// How long its children may take to be gone.
const LEFTOVERS: Duration = Duration::from_secs(15);

/// `raddle resume`.
pub fn resume(args: ResumeArgs, colour: Colour) -> Result<Exit, Problem> {
    args.report.refuse_doubled_stdout()?;
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    let budget = budget::together(&args.budget);
    let raised = if budget.is_unlimited() { None } else { Some(budget::raised(budget, &opened.view.ledger)?) };
    let ended = opened.view.run.finished();
    if let Some(outcome) = ended.filter(|outcome| raised.is_none() || *outcome != Outcome::BudgetExhausted) {
        if args.report.json {
            print_json(&document_of(&opened)?)?;
        }
        terminal::tell(&format!("run {id} has ended before: {}\n", outcome.name()));
        if outcome == Outcome::BudgetExhausted {
            let spent = opened.view.ledger.spent();
            terminal::tell(&format!(
                "  {} and {} tokens were spent; to go on:  raddle resume {id} --budget AMOUNT\n",
                spent.usd, spent.tokens
            ));
        }
        return Ok(exit_of_finished(outcome, args.strict));
    }
    let mut launch = relaunch(&home, &opened.view, budget, args.report, args.strict, colour)?;
    launch.no_wait = args.no_wait;
    let intent = Intent::of(&opened.view, &launch.workflow);
    if args.dry_run {
        match launch.report.json {
            true => print_json(&intent.json())?,
            false => terminal::print(&intent.words())?,
        }
        return Ok(Exit::Success);
    }
    // Somebody else's run is not ours to ask about; taking it over says whose it is.
    if !opened.live {
        declare(&intent, &mut launch, args.yes)?;
    }
    let word = raised.map_or(Word::None, Word::Budget);
    drop(opened);
    begin(false, move |leash| take_over(launch, id, word, leash))
}

/// Says what will be done, and asks where that is called for.
fn declare(intent: &Intent, launch: &mut Launch, yes: bool) -> Result<(), Problem> {
    if !launch.report.quiet {
        terminal::tell(&intent.words());
    }
    launch.resumed = Some(intent.counts());
    intent.agree(yes)
}

/// `raddle retry`.
pub fn retry(args: ContinueArgs, colour: Colour) -> Result<Exit, Problem> {
    go_on(args, colour, Word::Retry)
}

/// `raddle skip`.
pub fn skip(args: ContinueArgs, colour: Colour) -> Result<Exit, Problem> {
    go_on(args, colour, Word::Skip)
}

fn go_on(args: ContinueArgs, colour: Colour, word: fn(raddle_engine::TaskIx) -> Word) -> Result<Exit, Problem> {
    args.report.refuse_doubled_stdout()?;
    let home = store::home()?;
    let id = store::resolve(&home, &args.run)?;
    let opened = Opened::open(&home, id)?;
    let task = opened.view.task(&args.task).ok_or_else(|| unknown_task(&opened.view, &args.task))?;
    let said = match word(task) {
        Word::Skip(_) => {
            answer::refuse_skip_of_gate(&opened.view, task)?;
            gates::Word::Skip
        }
        _ => gates::Word::Retry,
    };
    if args.report.events.is_some() && (opened.live || opened.view.salvaged.is_some()) {
        let why = match opened.live {
            true => "another process drives the run",
            false => "the word is only written down, since the run's journal was damaged",
        };
        return Err(Problem::usage(format!("there are no events to write here: {why}"))
            .hint("say it without `--events`; nothing was done"));
    }
    if opened.live {
        let exit = answer::tell_engine(&home, &opened, task, said)?;
        if args.report.json {
            print_json(&document_of(&Opened::open(&home, id)?)?)?;
        }
        return Ok(exit);
    }
    let mut launch = relaunch(&home, &opened.view, Budget::default(), args.report, args.strict, colour)?;
    launch.no_wait = args.no_wait;
    if opened.view.salvaged.is_some() {
        drop(opened);
        return note(launch, id, word(task));
    }
    drop(opened);
    begin(false, move |leash| take_over(launch, id, word(task), leash))
}

/// Records the word and no more: a word on one task is none on the others, which may have run behind the damage.
fn note(launch: Launch, id: RunId, word: Word) -> Result<Exit, Problem> {
    let (home, json, strict) = (launch.home.clone(), launch.report.json, launch.strict);
    let (journal, records) = own(&home, id)?;
    let ended = launch.note(&id, journal, records, word)?;
    if json {
        print_json(&document_of(&Opened::open(&home, id)?)?)?;
    }
    let Some(outcome) = ended else {
        terminal::tell(&format!(
            "run {id}: that is written down; its journal was damaged, so nothing is started yet\n  `raddle resume {id}` goes \
             on, and says before what may have run already\n"
        ));
        return Ok(Exit::Success);
    };
    terminal::tell(&format!("run {id} has ended: {}\n", outcome.name()));
    Ok(exit_of_finished(outcome, strict))
}

/// `run --recover`: the latest unfinished run of this workflow, else a new one.
pub fn recover(
    mut launch: Launch,
    accept_changes: bool,
    yes: bool,
    detach: bool,
    colour: Colour,
) -> Result<Exit, Problem> {
    let home = launch.home.clone();
    let quiet = launch.report.quiet;
    let Some(opened) = latest_unfinished(&launch)? else {
        if !quiet {
            terminal::tell(&format!("no unfinished run of {}: starting a new one\n", launch.workflow.name));
            if let Some(id) = latest_without_budget(&launch)? {
                terminal::tell(&format!(
                    "  run {id} ended because its budget was used up, and could have gone on:  raddle resume {id} --budget \
                     AMOUNT\n"
                ));
            }
        }
        launch.make_ready()?;
        return begin(detach, move |leash| launch.start(leash));
    };
    let id = opened.id;
    let chapter = &opened.view.chapter;
    if chapter.hash == launch.workflow.hash {
        if !quiet {
            terminal::tell(&format!("resuming run {id}\n"));
        }
        // Under the options and inputs it began with, whatever this command line says.
        let (no_wait, approves_as) = (launch.no_wait, launch.approves_as);
        let mut launch = relaunch(&home, &opened.view, Budget::default(), launch.report, launch.strict, colour)?;
        (launch.no_wait, launch.approves_as) = (no_wait, approves_as);
        if !opened.live {
            declare(&Intent::of(&opened.view, &launch.workflow), &mut launch, yes)?;
        }
        drop(opened);
        return begin(detach, move |leash| take_over(launch, id, Word::None, leash));
    }
    let changes = changes(&opened.view, &launch, colour);
    if !accept_changes {
        let mut problem = Problem::new(Exit::Refused, format!("the workflow has changed since run {id} began"));
        for change in changes.into_iter().take(20) {
            problem = problem.hint(change);
        }
        return Err(problem
            .hint("`--accept-changes` keeps what completed unchanged and runs the rest by the new definition")
            .hint(format!(
                "`raddle resume {id}` goes on by the old definition; without `--recover` a new run starts"
            )));
    }
    if opened.view.salvaged.is_some() && !opened.live && !yes {
        let message = format!("what run {id} did after its journal was damaged is not known");
        return Err(Problem::new(Exit::Refused, message)
            .hint(format!("`raddle resume {id} --dry-run` says which tasks may have run already"))
            .hint("`--recover --accept-changes --yes` goes on by the new definition all the same"));
    }
    launch.make_ready()?;
    if !quiet {
        terminal::tell(&format!("resuming run {id} with a changed workflow\n"));
    }
    let before = opened.view.definition().1.to_owned();
    drop(opened);
    begin(detach, move |leash| adopt(launch, id, &before, leash))
}

fn latest_unfinished(launch: &Launch) -> Result<Option<Opened>, Problem> {
    let home = &launch.home;
    for id in home.ids().map_err(|e| Problem::io("list the runs", &e))? {
        // The index saves opening every journal; without it the journal is asked.
        let other = |meta: raddle_journal::RunMeta| meta.workflow != launch.workflow.name || meta.outcome.is_some();
        if home.meta(&id).is_some_and(other) {
            continue;
        }
        let Ok(opened) = Opened::open(home, id) else {
            terminal::tell(&format!("warning: run {id} cannot be read and is passed over\n"));
            continue;
        };
        let chapter = &opened.view.chapter;
        let same_place =
            chapter.base_dir == launch.base_dir().to_string_lossy() && chapter.workflow == launch.workflow.name;
        if same_place && opened.view.run.finished().is_none() {
            return Ok(Some(opened));
        }
    }
    Ok(None)
}

/// The last run of the workflow, if it ended for want of a budget.
fn latest_without_budget(launch: &Launch) -> Result<Option<RunId>, Problem> {
    let ids = launch.home.ids().map_err(|e| Problem::io("list the runs", &e))?;
    for id in ids {
        let Some(meta) = launch.home.meta(&id).filter(|meta| meta.workflow == launch.workflow.name) else { continue };
        if meta.outcome.as_deref() != Some(Outcome::BudgetExhausted.name()) {
            return Ok(None);
        }
        let Ok(opened) = Opened::open(&launch.home, id) else { continue };
        if opened.view.chapter.base_dir == launch.base_dir().to_string_lossy() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// What became different, task by task, in words.
fn changes(view: &RunView, launch: &Launch, colour: Colour) -> Vec<String> {
    let before = definition_of(view);
    let loaded = shape_of(&options_of(view)).and_then(|shape| loading::load_definition(before, &shape, colour));
    let old = loaded.ok().and_then(|loaded| loaded.workflow);
    let mut changes: Vec<String> =
        old.map(|old| diff(&old, &launch.workflow).iter().map(ToString::to_string).collect()).unwrap_or_default();
    if changes.is_empty() {
        changes.push("what it names outside its own file differs, or the old definition can no longer be read".into());
    }
    changes
}

/// The definition as it stands, with all patches in it.
fn definition_of(view: &RunView) -> Definition {
    let (source, _, is_changed) = view.definition();
    Definition {
        text: source.as_bytes().to_vec(),
        name: view.chapter.source_name.clone(),
        base_dir: PathBuf::from(&view.chapter.base_dir),
        is_changed,
    }
}

/// The launch of a run that exists, from what its journal holds.
pub(super) fn relaunch(
    home: &Home,
    view: &RunView,
    budget: Budget,
    report: ReportArgs,
    strict: bool,
    colour: Colour,
) -> Result<Launch, Problem> {
    let chapter = &view.chapter;
    let options = options_of(view);
    let shape = shape_of(&options)?;
    let definition = definition_of(view);
    let (mut workflow, loaded) = loading::load_definition(definition, &shape, colour)?.accepted(false, colour)?;
    workflow.budget = budget.or(*view.ledger.limits());
    budget::refuse_unaccountable(&workflow, &loaded.project, options.simulate)?;
    if workflow.hash != view.definition().1 || workflow.tasks.len() != view.tasks.len() {
        return Err(Problem::new(
            Exit::Refused,
            "what the workflow names outside its own file has changed since the run began",
        )
        .hint("restore the agents, files and settings it uses, or start a new run"));
    }
    let mut launch = Launch::new(home.clone(), workflow, loaded, inputs_of(chapter), options, report, strict);
    launch.make_ready()?;
    Ok(launch)
}

fn inputs_of(chapter: &Chapter) -> Map<String, Value> {
    serde_json::from_str(&chapter.inputs).unwrap_or_default()
}

fn options_of(view: &RunView) -> raddle_engine::snapshot::RunOptions {
    let Snapshot { options, .. } = &view.snapshot;
    options.clone()
}

pub(super) fn shape_of(options: &raddle_engine::snapshot::RunOptions) -> Result<Shape, Problem> {
    ShapeArgs {
        file: None,
        words: Vec::new(),
        mode: options.mode.clone(),
        parallelism: options.parallelism.clone(),
        max_parallel: options.max_parallel,
        optimization: options.optimization.clone(),
        parallel: options.lift_caps,
        strict: false,
    }
    .understood()
}

/// What an engine before has left in containers works on beside whatever is begun now.
fn refuse_beside_containers(home: &Home, id: RunId) -> Result<(), Problem> {
    let folder = home.run_folder(&id);
    if raddle_executors::warden::tidy_if_dead(&folder) {
        return Ok(());
    }
    let problem = format!("a container of the engine before may still be alive in run {id}, and cannot be removed");
    Err(Problem::new(Exit::Owned, problem)
        .hint("see that its runtime (docker, podman) answers, and try again")
        .hint(format!("if it is certainly gone, remove the file {}", folder.join("containers").display())))
}

/// Becomes the owner and drives the run on.
fn take_over(launch: Launch, id: RunId, word: Word, leash: Leash) -> Result<Exit, Problem> {
    let (journal, records) = own(&launch.home, id)?;
    refuse_changed(&id, &records, &launch.workflow.hash)?;
    refuse_beside_containers(&launch.home, id)?;
    launch.drive(id, journal, Point::Records(records, word), leash)
}

/// Becomes the owner and goes on by a changed definition, keeping what completed and did not change.
fn adopt(launch: Launch, id: RunId, before: &str, leash: Leash) -> Result<Exit, Problem> {
    let (journal, records) = own(&launch.home, id)?;
    refuse_changed(&id, &records, before)?;
    refuse_beside_containers(&launch.home, id)?;
    launch.drive(id, journal, Point::Changed(records), leash)
}

/// Somebody may have changed the run between its being read and its being owned: what was made ready is not it then.
pub fn refuse_changed(id: &RunId, records: &[Record], expected: &str) -> Result<(), Problem> {
    let hash = records.iter().rev().find_map(|record| match &record.fact {
        Fact::Started(chapter) => Some(&chapter.hash),
        Fact::Patched(patched) => Some(&patched.hash),
        _ => None,
    });
    match hash {
        Some(hash) if hash != expected => {
            Err(Problem::new(Exit::Owned, format!("run {id} was changed while this command got ready"))
                .hint("nothing was started; say it again"))
        }
        _ => Ok(()),
    }
}

/// Owns the run's journal and has read it. Waits for an owner that is just dying, and until nothing of it is alive.
pub fn own(home: &Home, id: RunId) -> Result<(SqliteJournal, Vec<Record>), Problem> {
    let wrong = |e: JournalError| journal_problem(id.as_str(), &e);
    let deadline = Instant::now() + DYING;
    let mut journal = loop {
        match home.open_owner(&id) {
            Err(JournalError::Owned { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5))
            }
            other => break other.map_err(wrong)?,
        }
    };
    let lock = home.run_folder(&id);
    match raddle_executors::warden::wait_gone(&lock, LEFTOVERS) {
        // Somebody may have killed the warden too.
        Ok(true) if raddle_executors::end_leftovers(&format!("RADDLE_RUN_ID={id}"), LEFTOVERS) => {}
        Ok(_) => {
            return Err(Problem::new(
                Exit::Owned,
                format!("processes of the engine before are still alive in run {id}"),
            )
            .hint("they are being ended; try again in a moment"));
        }
        Err(e) => return Err(Problem::io("wait for the engine before", &e)),
    }
    let mut records: Vec<Record> = Vec::new();
    journal.replay(&mut |record| records.push(record)).map_err(wrong)?;
    Ok((journal, records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raddle_engine::Time;
    use raddle_engine::fact::Patched;

    #[test]
    fn what_was_changed_meanwhile_is_not_driven() {
        let record = |seq, fact| Record { seq, at: Time(0), fact };
        let first = Fact::Started(Box::new(Chapter { hash: "old".into(), ..Chapter::default() }));
        let patched = Fact::Patched(Box::new(Patched { hash: "new".into(), ..Patched::default() }));
        let records = [record(1, first), record(2, patched), record(3, Fact::Cancelled)];
        let id = RunId::new(Time(0), 1);
        assert!(refuse_changed(&id, &records[..1], "old").is_ok() && refuse_changed(&id, &records, "new").is_ok());
        let refused = refuse_changed(&id, &records, "old").expect_err("it was changed");
        assert!(matches!(refused.exit, Exit::Owned) && refused.message.contains("was changed"));
    }
}
