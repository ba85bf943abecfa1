//! Journals in SQLite: one database file per run, one row per batch. It does not know what records mean or in what
//! shape they are stored.
//!
//! * [`SqliteJournal`] is the owner's side, [`Reader`] everybody else's.
//! * `image` makes the first file of a journal, `rows` reads rows and judges files, `fault` judges errors.
//!
//! The files are never opened beside SQLite while a connection may be there: closing any descriptor of a file drops
//! all POSIX locks that the process has on it.

mod copy;
mod fault;
mod image;
mod owner;
mod reader;
mod rows;
mod salvage;

pub use owner::SqliteJournal;
pub use reader::Reader;
pub use salvage::Salvage;

pub(crate) use salvage::salvage;

pub(crate) use fault::io;

/// Name of the journal's file in the folder of a run.
pub(crate) const FILE_NAME: &str = "journal.db";

/// There while a salvaged journal is being put in place; names the folder with the damaged one.
pub(crate) const MARK_NAME: &str = "journal.db.salvaging";

/// Name of that file while it is being made.
pub(crate) const NEW_FILE_NAME: &str = "journal.db.new";
