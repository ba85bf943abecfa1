//! Reading a journal that somebody else may be writing, or that was left behind by a kill. It takes no lock that an
//! owner could notice and changes nothing in the journal.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::ports::JournalError;
use rusqlite::Connection;

use super::copy::Copy;
use super::fault::io;
use super::rows::{self, Access};
use super::{FILE_NAME, MARK_NAME, image};
use crate::chain::Tip;
use crate::lock;
use crate::outputs::Outputs;

/// A reader of one run's journal. Each call of [`Reader::read`] goes on where the last one ended.
#[derive(Debug)]
pub struct Reader {
    folder: PathBuf,
    // Before the copy that it reads.
    db: Connection,
    access: Access,
    tip: Tip,
    /// There where the disk does not let SQLite read in place.
    copy: Option<Copy>,
}

impl Reader {
    /// Opens the journal in that folder. `NotFound` when the run has not begun yet.
    pub(crate) fn open(folder: &Path) -> Result<Reader, JournalError> {
        let access = access(folder)?;
        let reader = Reader::open_as(folder, access);
        // The run may have come to life between the look and the opening.
        match reader {
            Err(_) if access == Access::ReadAtRest => Reader::open_as(folder, self::access(folder)?),
            other => other,
        }
    }

    fn open_as(folder: &Path, access: Access) -> Result<Reader, JournalError> {
        let (db, copy) = connect(folder, access)?;
        Ok(Reader { folder: folder.into(), db, access, tip: Tip::default(), copy })
    }

    /// Calls `each` for every record that was made durable since the last call (the first time: all), in order, and
    /// returns the number of the last. Stops at the first damage; what came before was delivered.
    pub fn read(&mut self, each: &mut dyn FnMut(Record)) -> Result<u64, JournalError> {
        // Noted before it is read: what becomes durable meanwhile may be read or not.
        let noted = lock::noted(&self.folder);
        // A copy is as old as the moment in which it was made.
        if self.copy.is_some() || self.access == Access::ReadAtRest && !at_rest(&self.folder) {
            self.reopen()?;
        }
        let mut read = rows::read(&self.db, &mut self.tip, each);
        if self.access == Access::ReadAtRest && (read.is_err() || self.tip.seq < noted || !at_rest(&self.folder)) {
            // An owner came while nothing was locked. What has been delivered is vouched for by its hashes; the rest
            // is read again with the owner's knowledge.
            self.reopen()?;
            read = rows::read(&self.db, &mut self.tip, each);
        }
        read?;
        refuse_short(self.tip.seq, noted)?;
        Ok(self.tip.seq)
    }

    fn reopen(&mut self) -> Result<(), JournalError> {
        let access = if at_rest(&self.folder) { Access::ReadAtRest } else { Access::Read };
        (self.db, self.copy) = connect(&self.folder, access)?;
        self.access = access;
        Ok(())
    }

    /// Number of the last record that was delivered.
    pub fn last_seq(&self) -> u64 {
        self.tip.seq
    }

    /// The text of a stored output.
    pub fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        Outputs::of(&self.folder).load(output, self.tip.seq)
    }

    /// Looks at the end of the journal only: what is there must be ours and its last batch must fit the one before.
    pub(crate) fn glance(&mut self) -> Result<u64, JournalError> {
        let noted = lock::noted(&self.folder);
        let tip = match rows::tip(&self.db) {
            Err(_) if self.access == Access::ReadAtRest => {
                self.reopen()?;
                rows::tip(&self.db)
            }
            other => other,
        };
        let seq = tip?.seq;
        // The connection may be older than the note.
        if seq < noted && self.access == Access::ReadAtRest {
            self.reopen()?;
            return rows::tip(&self.db).and_then(|tip| refuse_short(tip.seq, noted).map(|()| tip.seq));
        }
        refuse_short(seq, noted)?;
        Ok(seq)
    }
}

/// Opens the journal in that folder, or a copy of it where the disk refuses what SQLite needs for reading it in place.
fn connect(folder: &Path, access: Access) -> Result<(Connection, Option<Copy>), JournalError> {
    match rows::open(&folder.join(FILE_NAME), access) {
        Err(refused @ JournalError::Io { .. }) if access == Access::Read => {
            let Ok(copy) = Copy::of(folder) else { return Err(refused) };
            let db = rows::open(&copy.path(), access)?;
            Ok((db, Some(copy)))
        }
        opened => opened.map(|db| (db, None)),
    }
}

/// How the journal in that folder can be read now.
fn access(folder: &Path) -> Result<Access, JournalError> {
    match std::fs::symlink_metadata(folder.join(FILE_NAME)) {
        Ok(meta) if meta.is_file() => {}
        Ok(_) => return Err(JournalError::Damaged { after: 0, what: "the journal is not a file".into() }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(JournalError::NotFound),
        Err(e) => return Err(io("find the journal", e)),
    }
    refuse_half_salvaged(folder)?;
    if at_rest(folder) {
        return Ok(Access::ReadAtRest);
    }
    if lock::holder(folder).is_none() {
        check_log(folder)?;
    }
    Ok(Access::Read)
}

/// Refuses a journal that ends before a record of which its owner noted that it was durable.
pub(super) fn refuse_short(seq: u64, noted: u64) -> Result<(), JournalError> {
    if seq >= noted {
        return Ok(());
    }
    Err(JournalError::Damaged { after: seq, what: format!("records up to {noted} were durable and are missing") })
}

/// A salvage that was killed half way has to be made again before anything is believed.
pub(super) fn refuse_half_salvaged(folder: &Path) -> Result<(), JournalError> {
    match folder.join(MARK_NAME).exists() {
        true => Err(JournalError::Damaged { after: 0, what: "its salvage was interrupted".into() }),
        false => Ok(()),
    }
}

/// Whether nobody owns the run and its database file holds everything.
fn at_rest(folder: &Path) -> bool {
    let log = std::fs::metadata(log_path(folder)).map_or(0, |m| m.len());
    log == 0 && lock::holder(folder).is_none()
}

fn log_path(folder: &Path) -> PathBuf {
    folder.join(format!("{FILE_NAME}-wal"))
}

/// Refuses a write-ahead log that begins with something else than one: SQLite would take it for an empty one and
/// silently serve an older state. A beginning of zeros is what a power cut leaves before the first commit.
pub(super) fn check_log(folder: &Path) -> Result<(), JournalError> {
    let mut header = Vec::new();
    match std::fs::File::open(log_path(folder)) {
        Ok(file) => file.take(32).read_to_end(&mut header).map_err(|e| io("read the write-ahead log", e))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io("open the write-ahead log", e)),
    };
    if image::is_log_header(&header) || header.iter().all(|b| *b == 0) {
        return Ok(());
    }
    Err(JournalError::Damaged { after: 0, what: "the write-ahead log is not one".into() })
}
