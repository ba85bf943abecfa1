//! Journals as they might lie on a disk after something went wrong: cut short, bits flipped, sectors lost, pages in
//! another order, pieces of different moments, rows rewritten. What is read from such an image is what was written, up to
//! some record, or it is called damaged. It does not know how a journal tells.

use std::path::{Path, PathBuf};

use raddle_engine::fact::Record;
use raddle_engine::ports::{Journal, JournalError};
use raddle_journal::{Home, RunId};

use super::options::Options;
use super::place::{Place, Victim, until};
use super::ride::Ride;
use super::rounds;
use super::story::STORIES;
use super::tally::{Account, Found, Kind, Tally, Violation};
use crate::bench::Scratch;
use raddle_sim::chance::Chance;

/// The log's header, and a page with its own.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;
const SECTOR: usize = 512;
const IMAGES_PER_ROUND: u64 = 50;

/// What a journal was at one moment.
#[derive(Clone, Default)]
struct Files {
    main: Vec<u8>,
    log: Vec<u8>,
}

/// A real journal: at two moments of its run, and what is written in it at the later one.
struct Original {
    run: RunId,
    earlier: Files,
    later: Files,
    truth: Vec<Record>,
}

/// What is done to an image. The last two go through the database itself, so that it finds nothing wrong with it.
const WAYS: [&str; 9] = [
    "cut short",
    "bit flipped",
    "sector lost",
    "pages reordered",
    "page repeated",
    "pieces of two moments",
    "tail torn and garbage behind",
    "row rewritten",
    "row taken away",
];

pub(crate) fn section(options: &Options) -> Account {
    let mut account = Account::new("images");
    let images = options.rounds(2_000, 20_000);
    let mut originals = Vec::new();
    for story in STORIES.iter().filter(|s| ["chain", "fan", "failure"].contains(&s.name)) {
        match original(story, options) {
            Ok(original) => originals.push(original),
            Err(violation) => account.violations.push(violation),
        }
    }
    if originals.is_empty() {
        return account;
    }
    rounds::exactly(options, &mut account, images.div_ceil(IMAGES_PER_ROUND), |seed, tally| {
        let (mut chance, scratch) = (Chance::of(seed), Scratch::new().map_err(Violation::broken)?);
        for _ in 0..IMAGES_PER_ROUND {
            let original = &originals[chance.below(originals.len() as u64) as usize];
            one_image(original, scratch.path(), &mut chance, tally)?;
        }
        Ok(())
    });
    account.claim("images", images);
    if !options.is_trial() {
        for way in WAYS {
            account.claim(format!("images: {way}"), images / 20);
        }
        account.claim("called damaged", images / 20);
    }
    account
}

/// A run that died while it still had a log. One that came to its end before it was struck has none, and another one is
/// run in its place.
fn original(story: &'static super::story::Story, options: &Options) -> Found<Original> {
    for _ in 0..20 {
        let original = original_of(story, options)?;
        if original.later.log.len() > 3 * PAGE {
            return Ok(original);
        }
    }
    Err(Violation::broken(format!("no run of {} was struck while it had a log", story.name)))
}

/// A run that is killed while it works, looked at half-way and at its death.
fn original_of(story: &'static super::story::Story, options: &Options) -> Found<Original> {
    let mut ride = Ride::new(story, &options.raddle)?;
    let live = ride.start()?;
    let of =
        |place: &Place| std::fs::read_dir(place.root().join("state/runs")).ok()?.flatten().next().map(|e| e.path());
    let mut earlier = Files::default();
    until("the run has a log", || {
        let found = of(&ride.place).and_then(|folder| read(&folder).ok()).filter(|files| files.log.len() > 3 * PAGE);
        earlier = found.unwrap_or_default();
        !earlier.log.is_empty()
    })?;
    until("the run goes on", || ride.place.text("effects").lines().count() >= 3)?;
    live.killed(Victim::All)?;
    let folder = of(&ride.place).ok_or_else(|| Violation::broken("a run without a folder"))?;
    let later = read(&folder).map_err(Violation::broken)?;
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let run: RunId = name.parse().map_err(|_| Violation::broken(format!("no run is called {name}")))?;
    let scratch = Scratch::new().map_err(Violation::broken)?;
    let (truth, ended) = told(scratch.path(), &run, &later).map_err(Violation::broken)?;
    ended.map_err(|e| Violation::new(Kind::Untrue, format!("a sound journal is refused: {e}")))?;
    ride.after_kill(Victim::All, &mut Tally::default())?;
    Ok(Original { run, earlier, later, truth })
}

fn read(folder: &Path) -> std::io::Result<Files> {
    let log = std::fs::read(folder.join("journal.db-wal")).unwrap_or_default();
    Ok(Files { main: std::fs::read(folder.join("journal.db"))?, log })
}

/// Puts an image into an otherwise empty home; the run's folder.
fn lay(home: &Path, run: &RunId, files: &Files) -> std::io::Result<PathBuf> {
    let folder = home.join("runs").join(run.as_str());
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("journal.db"), &files.main)?;
    if !files.log.is_empty() {
        std::fs::write(folder.join("journal.db-wal"), &files.log)?;
    }
    Ok(folder)
}

/// What a reader is told of an image, and how that ended.
fn told(home: &Path, run: &RunId, files: &Files) -> std::io::Result<(Vec<Record>, Result<(), JournalError>)> {
    lay(home, run, files)?;
    Ok(told_by_reader(home, run))
}

fn told_by_reader(home: &Path, run: &RunId) -> (Vec<Record>, Result<(), JournalError>) {
    let mut records = Vec::new();
    let ended = Home::open(home).open_reader(run).and_then(|mut r| r.read(&mut |record| records.push(record)));
    (records, ended.map(|_| ()))
}

fn told_to_owner(home: &Path, run: &RunId) -> (Vec<Record>, Result<(), JournalError>) {
    let mut records = Vec::new();
    let ended = Home::open(home).open_owner(run).and_then(|mut j| j.replay(&mut |record| records.push(record)));
    (records, ended)
}

fn one_image(original: &Original, home: &Path, chance: &mut Chance, tally: &mut Tally) -> Found<()> {
    let way = chance.pick(&WAYS);
    let mut image = original.later.clone();
    let wrong = |kind, what: String| Err(Violation::new(kind, format!("{way}: {what}")));
    match way {
        "cut short" => {
            let keep = chance.below(image.log.len() as u64) as usize;
            image.log.truncate(keep);
        }
        "tail torn and garbage behind" => {
            let keep = chance.below(image.log.len() as u64) as usize;
            image.log[keep..].iter_mut().for_each(|b| *b = chance.below(256) as u8);
        }
        "bit flipped" => {
            let bytes = either(&mut image, chance);
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << chance.below(8);
        }
        "sector lost" => {
            let bytes = either(&mut image, chance);
            let at = chance.below((bytes.len() / SECTOR) as u64) as usize * SECTOR;
            bytes[at..at + SECTOR].fill(0);
        }
        "pages reordered" | "page repeated" => {
            let pages = (image.log.len() - LOG_HEADER) / (FRAME_HEADER + PAGE);
            let place = |n: u64| LOG_HEADER + n as usize * (FRAME_HEADER + PAGE);
            let (one, other) = (place(chance.below(pages as u64)), place(chance.below(pages as u64)));
            let length = FRAME_HEADER + PAGE;
            let (a, b) = (image.log[one..one + length].to_vec(), image.log[other..other + length].to_vec());
            image.log[one..one + length].copy_from_slice(&b);
            if way == "pages reordered" {
                image.log[other..other + length].copy_from_slice(&a);
            }
        }
        "pieces of two moments" => {
            let (early, late) = (&original.earlier, &original.later);
            let at = chance.below(early.log.len() as u64) as usize;
            match chance.below(3) {
                0 => image = Files { main: early.main.clone(), log: late.log.clone() },
                1 => image = Files { main: late.main.clone(), log: early.log.clone() },
                _ => image.log = [&early.log[..at], &late.log[at..]].concat(),
            }
        }
        _ => {}
    }
    tally.note("images");
    tally.note(format!("images: {way}"));
    let folder = lay(home, &original.run, &image).map_err(Violation::broken)?;
    let through_database = way.starts_with("row ");
    if through_database {
        rewrite(&folder, way, chance)?;
    }
    let (records, ended) = told_by_reader(home, &original.run);
    let (owned, owner_ended) = match chance.below(4) {
        0 => told_to_owner(home, &original.run),
        _ => (records.clone(), ended.as_ref().map(|_| ()).map_err(|_| JournalError::NotFound)),
    };
    for (who, records) in [("a reader", &records), ("an owner", &owned)] {
        if !original.truth.starts_with(records) {
            return wrong(Kind::Undetected, format!("{who} is told what was never written: {records:?}"));
        }
    }
    if through_database && (ended.is_ok() || owner_ended.is_ok()) {
        return wrong(Kind::Undetected, format!("read to its end: {} records", records.len()));
    }
    tally.note(match &ended {
        Err(_) => "called damaged",
        Ok(()) if records.len() == original.truth.len() => "whole in spite of it",
        Ok(()) => "read up to a record before",
    });
    Ok(())
}

/// One of the two files; the log half of the time.
fn either<'a>(image: &'a mut Files, chance: &mut Chance) -> &'a mut Vec<u8> {
    if chance.below(2) == 0 { &mut image.log } else { &mut image.main }
}

/// Changes rows through the database, all but the last, which nobody could miss.
fn rewrite(folder: &Path, way: &str, chance: &mut Chance) -> Found<()> {
    let database = rusqlite::Connection::open(folder.join("journal.db")).map_err(Violation::broken)?;
    let rows: u64 = database
        .query_row("SELECT count(*) FROM batch", [], |row| row.get::<_, i64>(0))
        .map_err(Violation::broken)?
        .cast_unsigned();
    let n = 1 + chance.below(rows - 1);
    let change = match (way, chance.below(6)) {
        ("row taken away", _) => format!("DELETE FROM batch WHERE n = {n}"),
        (_, 0) => format!("UPDATE batch SET payload = (SELECT payload FROM batch WHERE n = {rows}) WHERE n = {n}"),
        (_, 1) => format!("UPDATE batch SET epoch = epoch + 1 WHERE n = {n}"),
        (_, 2) => format!("UPDATE batch SET first = first + 1 WHERE n = {n}"),
        (_, 3) => format!("UPDATE batch SET count = count + 1 WHERE n = {n}"),
        (_, 4) => format!("UPDATE batch SET hash = (SELECT hash FROM batch WHERE n = {rows}) WHERE n = {n}"),
        _ => format!("UPDATE batch SET payload = substr(payload, 1, length(payload) - 1) WHERE n = {n}"),
    };
    database.execute_batch(&change).map_err(Violation::broken)
}
