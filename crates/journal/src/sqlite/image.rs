//! The first file of a journal, made in memory with the first batch in it and put in place whole: one file sync
//! instead of the six that SQLite needs to create a database, turn it to WAL and commit. Nobody ever sees half of
//! it. It does not know who owns the run.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use raddle_engine::ports::JournalError;
use rusqlite::Connection;

use super::fault::{io, judge};
use super::rows::{self, Batch};
use super::{FILE_NAME, NEW_FILE_NAME};
use crate::outputs::sync_folder;

/// The only table. SQLite keeps this text, so it is part of the format.
pub(super) const SCHEMA: &str = "CREATE TABLE batch(n INTEGER PRIMARY KEY,epoch INTEGER NOT NULL,\
    first INTEGER NOT NULL,count INTEGER NOT NULL,version INTEGER NOT NULL,hash BLOB NOT NULL,payload BLOB NOT NULL)";

/// Tells our files from other databases: "RDDL".
pub(super) const APPLICATION_ID: i32 = 0x5244_444c;

/// Version of the layout of the file: table and chain. Records have their own.
pub(super) const LAYOUT: i32 = 1;

/// Puts a journal with these batches into the folder of a run, durably.
pub(super) fn put(folder: &Path, batches: &[Batch<'_>]) -> Result<(), JournalError> {
    let image = build(batches).map_err(|e| judge("make the first file of the journal", 0, e))?;
    let new = folder.join(NEW_FILE_NAME);
    let put = (|| {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&image)?;
        file.sync_all()?;
        std::fs::rename(&new, folder.join(FILE_NAME))?;
        sync_folder(folder)?;
        // The folder itself is new as well; its name must not be lost either.
        folder.parent().map_or(Ok(()), sync_folder)
    })();
    put.map_err(|e: std::io::Error| {
        let _ = std::fs::remove_file(&new);
        io("write the first file of the journal", e)
    })
}

fn build(batches: &[Batch<'_>]) -> rusqlite::Result<Vec<u8>> {
    let mut db = Connection::open_in_memory()?;
    db.execute_batch(&format!(
        "PRAGMA page_size=4096;PRAGMA application_id={APPLICATION_ID};PRAGMA user_version={LAYOUT};BEGIN;{SCHEMA}"
    ))?;
    for batch in batches {
        rows::insert(&db, batch)?;
    }
    db.execute_batch("COMMIT")?;
    let mut image = db.serialize(c"main")?.to_vec();
    // Write and read version of the file format: 2 is WAL.
    image[18] = 2;
    image[19] = 2;
    Ok(image)
}

/// Whether these are the first 32 bytes of a write-ahead log: the magic number, the version and the checksum over
/// them, as SQLite's file format document has it.
pub(super) fn is_log_header(header: &[u8]) -> bool {
    let Ok(header) = <&[u8; 32]>::try_from(header) else { return false };
    let word = |i: usize| [header[4 * i], header[4 * i + 1], header[4 * i + 2], header[4 * i + 3]];
    let read = match u32::from_be_bytes(word(0)) {
        0x377f_0682 => u32::from_le_bytes,
        0x377f_0683 => u32::from_be_bytes,
        _ => return false,
    };
    let (mut a, mut b) = (0u32, 0u32);
    for i in (0..6).step_by(2) {
        a = a.wrapping_add(read(word(i))).wrapping_add(b);
        b = b.wrapping_add(read(word(i + 1))).wrapping_add(a);
    }
    u32::from_be_bytes(word(6)) == a && u32::from_be_bytes(word(7)) == b
}
