//! A new journal from the good beginning of a damaged one, which is kept beside it. It does not know what the records
//! mean, nor what became of what came behind them.
//!
//! The damaged files are copied away first; then a mark says that a new journal is being put in place, so that a kill
//! between two steps leaves a run that is seen as damaged and can be salvaged again from the copy.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use raddle_engine::Time;
use raddle_engine::fact::{Fact, Record};
use raddle_engine::ports::{Journal as _, JournalError};

use super::copy::Copy;
use super::fault::io;
use super::owner::SqliteJournal;
use super::reader::Reader;
use super::{FILE_NAME, MARK_NAME};
use crate::lock::{self, OwnerLock};
use crate::outputs::sync_folder;

/// Where the new journal is made.
const NEW_FOLDER: &str = "salvaging";
/// So many records become one batch of the new journal.
const BATCH: usize = 4096;

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    /// Records of the old journal that the new one begins with. One more says that the rest is not known.
    pub records: u64,
    /// What was wrong.
    pub reason: String,
    /// Where the damaged files are now.
    pub damaged: PathBuf,
}

/// Salvages the journal in that folder of a run up to the first damage, or up to record `keep` where that comes first.
pub(crate) fn salvage(folder: &Path, keep: Option<(u64, &str)>, at: Time) -> Result<Salvage, JournalError> {
    let mut lock = OwnerLock::take(folder)?;
    let noted = lock::noted(folder);
    let fault = |e: io::Error| io("salvage the journal", e);
    if let Some(mark) = Mark::read(folder)? {
        // Decided before: from the copy, which may be all that is left, so it is not given up for any reason.
        let damaged = folder.join(&mark.name);
        let (mut records, _) = beginning(&damaged)?;
        if mark.last == 0 || mark.last > records.len() as u64 {
            return Err(JournalError::Damaged { after: 0, what: "the copy of it has been changed".into() });
        }
        records.truncate(mark.last as usize);
        return put_in_place(folder, &mut lock, records, mark.reason, damaged, at);
    }
    let damaged = put_aside(folder).map_err(fault)?;
    let read = beginning(&damaged).inspect_err(|_| drop(fs::remove_dir_all(&damaged)));
    let (mut records, mut reason) = read?;
    if reason.is_empty() && noted > records.len() as u64 {
        reason = format!("records up to {noted} were durable and are missing");
    }
    if let Some((last, why)) = keep.filter(|(last, _)| *last < records.len() as u64) {
        records.truncate(last as usize);
        reason = why.to_owned();
    }
    if records.is_empty() || reason.is_empty() {
        let _ = fs::remove_dir_all(&damaged);
        let what = if records.is_empty() { "nothing of it can be read" } else { "nothing is wrong with it" };
        return Err(JournalError::Damaged { after: 0, what: what.into() });
    }
    let name = damaged.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Mark { name, last: records.len() as u64, reason: reason.clone() }.write(folder).map_err(fault)?;
    put_in_place(folder, &mut lock, records, reason, damaged, at)
}

/// What was decided of a salvage that is being made: enough to make the same of the copy once more.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    /// The folder with the copy.
    name: String,
    /// The last record that is kept.
    last: u64,
    reason: String,
}

impl Mark {
    /// Nothing when no salvage was begun. A mark is there whole or not at all, so one that makes no sense is not ours.
    fn read(folder: &Path) -> Result<Option<Mark>, JournalError> {
        let text = match fs::read_to_string(folder.join(MARK_NAME)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("read the mark of the salvage", e)),
        };
        match Mark::parse(&text) {
            Some(mark) => Ok(Some(mark)),
            None => {
                let what = format!("{MARK_NAME} does not say which copy its salvage was made from");
                Err(JournalError::Damaged { after: 0, what })
            }
        }
    }

    fn parse(text: &str) -> Option<Mark> {
        let (name, rest) = text.split_once('\n')?;
        let (last, reason) = rest.split_once('\n')?;
        let number = name.strip_prefix("damaged-")?;
        let is_ours = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        is_ours.then_some(())?;
        Some(Mark { name: name.to_owned(), last: last.parse().ok()?, reason: reason.to_owned() })
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(format!("{MARK_NAME}.new"));
        write_synced(&new, format!("{}\n{}\n{}", self.name, self.last, self.reason).as_bytes())?;
        fs::rename(new, folder.join(MARK_NAME))?;
        sync_folder(folder)
    }
}

/// Copies the files as they are into a folder of their own.
fn put_aside(folder: &Path) -> io::Result<PathBuf> {
    let name = |n: u32| folder.join(format!("damaged-{n}"));
    let free = (1..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    fs::DirBuilder::new().mode(0o700).create(&free)?;
    let copy = || {
        for file in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
            match fs::copy(folder.join(&file), free.join(&file)) {
                Ok(_) => fs::File::open(free.join(&file))?.sync_all()?,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        sync_folder(&free)
    };
    // Half a copy is none; what it was made of has not been touched.
    copy().inspect_err(|_| drop(fs::remove_dir_all(&free)))?;
    Ok(free)
}

/// All records before the first damage, and the damage. The copy itself is not touched.
fn beginning(damaged: &Path) -> Result<(Vec<Record>, String), JournalError> {
    let copy = Copy::of(damaged).map_err(|e| io("copy the journal", e))?;
    let mut reader = match Reader::open(copy.folder()) {
        Err(JournalError::Damaged { what, .. }) => {
            // A log that is none hides nothing of what is in the database itself.
            let log = copy.folder().join(format!("{FILE_NAME}-wal"));
            if fs::remove_file(log).is_err() {
                return Err(JournalError::Damaged { after: 0, what });
            }
            let mut records = Vec::new();
            return match Reader::open(copy.folder())?.read(&mut |record| records.push(record)) {
                Ok(_) | Err(JournalError::Damaged { .. }) => Ok((records, what)),
                Err(other) => Err(other),
            };
        }
        opened => opened?,
    };
    let mut records = Vec::new();
    match reader.read(&mut |record| records.push(record)) {
        Ok(_) => Ok((records, String::new())),
        Err(JournalError::Damaged { what, .. }) => Ok((records, what)),
        Err(other) => Err(other),
    }
}

/// Makes the new journal beside the old one, and puts it in its place.
fn put_in_place(
    folder: &Path,
    lock: &mut OwnerLock,
    mut records: Vec<Record>,
    reason: String,
    damaged: PathBuf,
    at: Time,
) -> Result<Salvage, JournalError> {
    let fault = |e: io::Error| io("put the salvaged journal in place", e);
    let kept = records.len() as u64;
    records.push(Record { seq: kept + 1, at, fact: Fact::Salvaged { reason: reason.as_str().into() } });
    let new = folder.join(NEW_FOLDER);
    let _ = fs::remove_dir_all(&new);
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(fault)?;
    let epoch = records.iter().filter_map(epoch_of).max().unwrap_or(1);
    let mut journal = SqliteJournal::create_as(new.clone(), epoch)?;
    records.chunks(BATCH).try_for_each(|batch| journal.append(batch))?;
    // The last one to close it moves the log into the database; a journal that is not whole then is not used.
    drop(journal);
    let mut count = 0;
    let read = Reader::open(&new)?.read(&mut |_| count += 1)?;
    if read != records.len() as u64 || count != records.len() {
        return Err(io("read the salvaged journal", "it is not whole"));
    }
    let swap = || {
        fs::File::open(new.join(FILE_NAME))?.sync_all()?;
        for left in ["-wal", "-shm"] {
            match fs::remove_file(folder.join(format!("{FILE_NAME}{left}"))) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        fs::rename(new.join(FILE_NAME), folder.join(FILE_NAME))?;
        sync_folder(folder)
    };
    swap().map_err(fault)?;
    // What was noted is not there any more, and that is known now.
    lock.sign(lock.signed_epoch().unwrap_or(1), kept + 1)?;
    let done = || {
        fs::remove_file(folder.join(MARK_NAME))?;
        fs::remove_dir_all(&new)?;
        sync_folder(folder)
    };
    done().map_err(fault)?;
    Ok(Salvage { records: kept, reason, damaged })
}

fn epoch_of(record: &Record) -> Option<u32> {
    match record.fact {
        Fact::Resumed { epoch } => Some(epoch),
        _ => None,
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
