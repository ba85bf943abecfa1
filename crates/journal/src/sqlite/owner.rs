//! The owner's side of a journal: whoever holds it holds the lock of the run and is the only one to add records. It
//! does not know what the records mean.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::ports::{Journal, JournalError};
use rusqlite::Connection;

use super::FILE_NAME;
use super::fault::{io, is_conflict, judge};
use super::rows::{self, Access, Batch};
use super::{image, reader};
use crate::chain::{Header, Tip};
use crate::lock::{self, OwnerLock};
use crate::meta::{self, RunMeta};
use crate::outputs::Outputs;
use crate::record;

/// A batch is cut into rows of about this size, so that reading one back never takes much memory.
const ROW_BYTES: usize = 1 << 20;

/// Records that come close to what SQLite can hold in a row are refused.
const RECORD_LIMIT_BYTES: usize = 512 << 20;

/// How far the lock's signature may run ahead of the records: owners that never wrote anything. More is not a
/// signature but noise.
const SILENT_OWNERS: u32 = 1 << 16;

/// The journal of a run, owned by this process.
#[derive(Debug)]
pub struct SqliteJournal {
    // Fields are dropped in this order: the database is closed before the run is released.
    db: Database,
    folder: PathBuf,
    outputs: Outputs,
    epoch: u32,
    tip: Tip,
    /// Where the chain would end if the append that failed last was durable all the same.
    attempted: Option<Tip>,
    /// The first damage that was found. Nothing is added to a journal that is known to be damaged.
    damaged: Option<(u64, String)>,
    /// Written beside the journal once the run has begun.
    meta: Option<RunMeta>,
    payload: Vec<u8>,
    lock: OwnerLock,
}

/// The database of a journal, by how far it has come.
#[derive(Debug)]
enum Database {
    /// Nothing is stored yet; the first append makes the file.
    Unborn,
    /// The file is there; whoever needs it opens it.
    Closed,
    /// Open for writing.
    Open(Connection),
}

impl SqliteJournal {
    /// Takes over the empty folder of a new run. Nothing is written before the first append but the lock.
    pub(crate) fn create(folder: PathBuf, meta: RunMeta) -> Result<SqliteJournal, JournalError> {
        Ok(SqliteJournal { meta: Some(meta), ..SqliteJournal::create_as(folder, 1)? })
    }

    /// The same without an index beside it, as the owner of that epoch.
    pub(super) fn create_as(folder: PathBuf, epoch: u32) -> Result<SqliteJournal, JournalError> {
        let mut lock = OwnerLock::take(&folder)?;
        lock.sign(epoch, 0)?;
        Ok(SqliteJournal {
            db: Database::Unborn,
            outputs: Outputs::of(&folder),
            folder,
            epoch,
            tip: Tip::default(),
            attempted: None,
            damaged: None,
            meta: None,
            payload: Vec::new(),
            lock,
        })
    }

    /// Takes over a run that has begun.
    pub(crate) fn open(folder: PathBuf) -> Result<SqliteJournal, JournalError> {
        if !folder.join(FILE_NAME).exists() {
            return Err(JournalError::NotFound);
        }
        let mut lock = OwnerLock::take(&folder)?;
        reader::refuse_half_salvaged(&folder)?;
        reader::check_log(&folder)?;
        let db = rows::open(&folder.join(FILE_NAME), Access::Write)?;
        let tip = rows::tip(&db)?;
        reader::refuse_short(tip.seq, lock::noted(&folder))?;
        let signed = lock.signed_epoch().filter(|e| *e <= tip.epoch.saturating_add(SILENT_OWNERS)).unwrap_or(0);
        let epoch = tip
            .epoch
            .max(signed)
            .checked_add(1)
            .ok_or(JournalError::Damaged { after: tip.seq, what: "the run has had impossibly many owners".into() })?;
        lock.sign(epoch, tip.seq)?;
        Ok(SqliteJournal {
            db: Database::Open(db),
            outputs: Outputs::of(&folder),
            folder,
            epoch,
            tip,
            attempted: None,
            damaged: None,
            meta: None,
            payload: Vec::new(),
            lock,
        })
    }

    /// The folder of the run.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the journal's file has come into being.
    fn exists(&self) -> bool {
        !matches!(self.db, Database::Unborn) || self.folder.join(FILE_NAME).exists()
    }

    /// The open database.
    fn database(&mut self) -> Result<&Connection, JournalError> {
        if !matches!(self.db, Database::Open(_)) {
            self.db = Database::Open(rows::open(&self.folder.join(FILE_NAME), Access::Write)?);
        }
        match &self.db {
            Database::Open(db) => Ok(db),
            Database::Unborn | Database::Closed => unreachable!("the database has just been opened"),
        }
    }

    /// Encodes the records into one payload and returns where each row's part ends and which header it has.
    fn encode(&mut self, records: &[Record]) -> Result<Vec<(Header, usize)>, JournalError> {
        self.payload.clear();
        let mut rows: Vec<(Header, usize)> = Vec::with_capacity(1);
        let mut header = self.next_header(1, records[0].seq);
        let (mut before, mut begin, mut record_begin) = (0, 0, 0);
        for (i, record) in records.iter().enumerate() {
            let expected = self.tip.seq + 1 + i as u64;
            if record.seq != expected {
                return Err(JournalError::OutOfStep { expected, found: record.seq });
            }
            before = record::encode(record, before, &mut self.payload);
            header.count += 1;
            let end = self.payload.len();
            if end - record_begin > RECORD_LIMIT_BYTES {
                return Err(io("keep so long a record", format!("{} bytes", end - record_begin)));
            }
            record_begin = end;
            if end - begin >= ROW_BYTES || i + 1 == records.len() {
                rows.push((header, end));
                header = self.next_header(rows.len() as u64 + 1, record.seq + 1);
                (begin, before) = (end, 0);
            }
        }
        Ok(rows)
    }

    fn next_header(&self, offset: u64, first: u64) -> Header {
        Header { n: self.tip.n + offset, epoch: self.epoch, first, count: 0, version: record::CURRENT }
    }

    /// Makes the rows durable, all or none.
    fn commit(&mut self, batches: &[Batch<'_>]) -> Result<(), JournalError> {
        if let Database::Unborn = self.db {
            image::put(&self.folder, batches)?;
            self.db = Database::Closed;
            if let Some(meta) = self.meta.take() {
                // An index; the run is none the worse without it.
                let _ = meta::write(&self.folder, &meta);
            }
            return Ok(());
        }
        let db = self.database()?;
        let added = match batches {
            [batch] => rows::insert(db, batch),
            _ => db.unchecked_transaction().and_then(|all| {
                batches.iter().try_for_each(|batch| rows::insert(&all, batch))?;
                all.commit()
            }),
        };
        added.map_err(|e| {
            if is_conflict(&e) {
                JournalError::Owned { by: self.lock.usurper() }
            } else {
                judge("append to the journal", self.tip.seq, e)
            }
        })
    }
}

impl Journal for SqliteJournal {
    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn last_seq(&self) -> u64 {
        self.tip.seq
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        if let Some((after, what)) = &self.damaged {
            return Err(JournalError::Damaged { after: *after, what: what.clone() });
        }
        if records.is_empty() {
            return Ok(());
        }
        let rows = self.encode(records)?;
        if !self.lock.is_ours() {
            return Err(JournalError::Owned { by: self.lock.usurper() });
        }
        self.outputs.sync()?;
        let payload = std::mem::take(&mut self.payload);
        let (mut tip, mut begin) = (self.tip, 0);
        let mut batches = Vec::with_capacity(rows.len());
        for (header, end) in rows {
            let part = &payload[begin..end];
            let hash = tip.link(&header, part);
            batches.push(Batch { header, hash, payload: part });
            (tip, begin) = (Tip::after(&header, hash), end);
        }
        let committed = self.commit(&batches);
        drop(batches);
        self.payload = payload;
        self.payload.shrink_to(ROW_BYTES);
        match committed {
            Ok(()) => {
                (self.tip, self.attempted) = (tip, None);
                self.lock.note(self.epoch, tip.seq);
            }
            Err(_) => self.attempted = Some(tip),
        }
        committed
    }

    fn reopen(&mut self) -> Result<u64, JournalError> {
        if !self.lock.is_ours() {
            return Err(JournalError::Owned { by: self.lock.usurper() });
        }
        if !self.exists() {
            self.db = Database::Unborn;
            return Ok(self.tip.seq);
        }
        // What a failed sync leaves in the system's cache reads like what is on the disk. The log is therefore moved into
        // the database, which writes and syncs every page of it anew, before anything in it is believed.
        self.db = Database::Closed;
        let db = rows::open(&self.folder.join(FILE_NAME), Access::Write)?;
        rows::write_anew(&db)?;
        let found = rows::tip(&db)?;
        if found != self.tip && Some(found) != self.attempted {
            let what = format!("it ends at record {} where {} is known to be durable", found.seq, self.tip.seq);
            self.damaged = Some((found.seq.min(self.tip.seq), what.clone()));
            return Err(JournalError::Damaged { after: found.seq.min(self.tip.seq), what });
        }
        self.db = Database::Open(db);
        (self.tip, self.attempted) = (found, None);
        // Nothing that was acknowledged may have gone with the fault.
        self.replay(&mut |_| {})?;
        Ok(self.tip.seq)
    }

    fn leave_word(&mut self, why: Option<&str>) {
        self.lock.leave_word(self.epoch, self.tip.seq, why);
    }

    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        if let Database::Unborn = self.db {
            return Ok(());
        }
        let expected = self.tip;
        let mut tip = Tip::default();
        let read = rows::read(self.database()?, &mut tip, each).and_then(|()| {
            if tip == expected {
                return Ok(());
            }
            Err(JournalError::Damaged { after: tip.seq, what: format!("records up to {} are missing", expected.seq) })
        });
        if let Err(JournalError::Damaged { after, what }) = &read {
            self.damaged = Some((*after, what.clone()));
        }
        read
    }

    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        self.outputs.store(text)
    }

    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        self.outputs.load(output, self.tip.seq)
    }
}
