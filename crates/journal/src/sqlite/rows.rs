//! Rows of a journal's database: opening, judging whether the file is ours, reading batches along the chain, adding
//! one. It does not know who may write.

use std::path::Path;
use std::time::Duration;

use raddle_engine::fact::Record;
use raddle_engine::ports::JournalError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::fault::{io, judge};
use super::image::{APPLICATION_ID, LAYOUT, SCHEMA};
use crate::chain::{Hash, Header, Tip};
use crate::record::{self, DecodeError};

/// A batch on its way into the database.
pub(super) struct Batch<'a> {
    pub(super) header: Header,
    pub(super) hash: Hash,
    pub(super) payload: &'a [u8],
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// As the run's owner.
    Write,
    /// Beside an owner, or after one that was killed.
    Read,
    /// Nobody has it open and there is no write-ahead log: nothing is locked and no file appears beside it.
    ReadAtRest,
}

/// Opens a journal's database and checks that it is one.
pub(super) fn open(path: &Path, access: Access) -> Result<Connection, JournalError> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_URI;
    let flags = flags
        | match access {
            Access::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Read | Access::ReadAtRest => OpenFlags::SQLITE_OPEN_READ_ONLY,
        };
    let fault = |e| judge("open the journal", 0, e);
    let db = Connection::open_with_flags(uri(path, access), flags).map_err(fault)?;
    db.busy_timeout(Duration::from_secs(5)).map_err(fault)?;
    // The file is data, whatever it contains.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(fault)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(fault)?;
    check_identity(&db)?;
    if access == Access::Write {
        // A row is durable when `append` returns. The log is cut back after a big batch has been moved out of it.
        db.execute_batch("PRAGMA synchronous=FULL;PRAGMA journal_size_limit=8388608;PRAGMA cache_size=-512")
            .map_err(fault)?;
    }
    Ok(db)
}

/// A file URI in which every byte of the path that could mean something else is escaped.
fn uri(path: &Path, access: Access) -> String {
    use std::os::unix::ffi::OsStrExt;
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte) {
            uri.push(byte as char);
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    if access == Access::ReadAtRest {
        uri.push_str("?immutable=1");
    }
    uri
}

fn check_identity(db: &Connection) -> Result<(), JournalError> {
    let fault = |e| judge("read the journal", 0, e);
    let damaged = |what: &str| Err(JournalError::Damaged { after: 0, what: what.into() });
    let application: i32 = db.query_row("PRAGMA application_id", [], |r| r.get(0)).map_err(fault)?;
    if application != APPLICATION_ID {
        return damaged("the file is not a journal");
    }
    let layout: i32 = db.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(fault)?;
    if layout > LAYOUT {
        return Err(JournalError::UnknownVersion { version: layout.unsigned_abs() });
    }
    let mut statement = db.prepare("SELECT sql FROM sqlite_schema").map_err(fault)?;
    let found: Vec<Option<String>> =
        statement.query_map([], |r| r.get(0)).and_then(Iterator::collect).map_err(fault)?;
    if layout != LAYOUT || found.len() != 1 || found[0].as_deref() != Some(SCHEMA) {
        return damaged("the file is not laid out as a journal");
    }
    Ok(())
}

/// Adds a batch. Its number is the key, so that of two writers who both believe to be next only one can succeed.
pub(super) fn insert(db: &Connection, batch: &Batch<'_>) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached("INSERT INTO batch VALUES(?1,?2,?3,?4,?5,?6,?7)")?;
    let Header { n, epoch, first, count, version } = batch.header;
    statement.execute(params![n as i64, epoch, first as i64, count, version, &batch.hash[..], batch.payload])?;
    Ok(())
}

/// Moves everything that is in the write-ahead log into the database file and syncs that.
pub(super) fn write_anew(db: &Connection) -> Result<(), JournalError> {
    let busy: i64 = db
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|e| judge("write the journal anew", 0, e))?;
    // A reader that looks at the log for longer than `busy_timeout`; it will be gone at the next try.
    if busy == 0 { Ok(()) } else { Err(io("write the journal anew", "a reader holds it")) }
}

/// Takes a row as it is stored: header, hash, payload.
type EachRow<'a> = dyn FnMut(Header, Hash, &[u8]) -> Result<(), JournalError> + 'a;

/// The batches that are wanted.
#[derive(Debug, Clone, Copy)]
enum Rows {
    After(u64),
    LastTwo,
}

/// Reads what follows `tip` and moves it along. All before the first damage is delivered.
pub(super) fn read(db: &Connection, tip: &mut Tip, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
    walk(db, Rows::After(tip.n), tip.seq, &mut |header, hash, payload| {
        let next = tip.accept(&header, &hash, payload)?;
        let after = tip.seq;
        // A payload is delivered whole or not at all: its hash is right, so what is wrong with it was written so.
        let mut records = Vec::with_capacity(header.count.min(4096) as usize);
        record::decode(header.version, header.first, header.count, payload, &mut |r| records.push(r)).map_err(|e| {
            match e {
                DecodeError::UnknownVersion(version) => JournalError::UnknownVersion { version },
                DecodeError::Malformed(what) => JournalError::Damaged { after, what: what.into() },
            }
        })?;
        records.into_iter().for_each(&mut *each);
        *tip = next;
        Ok(())
    })?;
    // A journal comes into being with its first batch, so none has no batches.
    if tip.n == 0 {
        return Err(JournalError::Damaged { after: 0, what: "the journal is empty".into() });
    }
    Ok(())
}

/// The end of the chain, judged by the last two batches alone. What lies before is judged by [`read`].
pub(super) fn tip(db: &Connection) -> Result<Tip, JournalError> {
    let mut tip = Tip::default();
    let mut seen = Vec::with_capacity(2);
    walk(db, Rows::LastTwo, 0, &mut |header, hash, payload| {
        seen.push((header, hash, if seen.is_empty() { payload.to_vec() } else { Vec::new() }));
        Ok(())
    })?;
    if let Some((before, hash, _)) = seen.get(1) {
        tip = Tip::after(before, *hash);
    }
    match seen.first() {
        Some((last, hash, payload)) => tip.accept(last, hash, payload),
        None => Err(JournalError::Damaged { after: 0, what: "the journal is empty".into() }),
    }
}

fn walk(db: &Connection, rows: Rows, after: u64, each: &mut EachRow<'_>) -> Result<(), JournalError> {
    let (sql, bound) = match rows {
        Rows::After(n) => ("SELECT * FROM batch WHERE n>?1 ORDER BY n", n as i64),
        Rows::LastTwo => ("SELECT * FROM batch WHERE n>?1 ORDER BY n DESC LIMIT 2", i64::MIN),
    };
    let after = std::cell::Cell::new(after);
    let fault = |e| judge("read the journal", after.get(), e);
    let mut statement = db.prepare_cached(sql).map_err(fault)?;
    let mut cursor = statement.query([bound]).map_err(fault)?;
    while let Some(row) = cursor.next().map_err(fault)? {
        let header = header(row).map_err(fault)?;
        let (hash, payload) = blobs(row).map_err(fault)?;
        each(header, hash, payload)?;
        after.set(header.first.saturating_add(u64::from(header.count)).saturating_sub(1));
    }
    Ok(())
}

fn header(row: &Row<'_>) -> rusqlite::Result<Header> {
    Ok(Header {
        n: row.get::<_, i64>(0)?.cast_unsigned(),
        epoch: row.get(1)?,
        first: row.get::<_, i64>(2)?.cast_unsigned(),
        count: row.get(3)?,
        version: row.get(4)?,
    })
}

fn blobs<'a>(row: &'a Row<'_>) -> rusqlite::Result<(Hash, &'a [u8])> {
    let hash = row.get(5)?;
    let payload = row.get_ref(6)?.as_blob()?;
    Ok((hash, payload))
}
