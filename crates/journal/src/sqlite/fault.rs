//! What an error of SQLite or of the file system means for a journal: the disk's no, or damage. It does not know
//! what was being done, beyond the words it is given.

use raddle_engine::ports::JournalError;
use rusqlite::ErrorCode;

/// The disk said no to `what`.
pub(crate) fn io(what: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> JournalError {
    JournalError::Io { what: what.into(), source: source.into() }
}

/// Judges an error of SQLite. `after` is the last good sequence number.
pub(super) fn judge(what: &str, after: u64, error: rusqlite::Error) -> JournalError {
    if is_damage(&error) { JournalError::Damaged { after, what: error.to_string() } } else { io(what, error) }
}

/// Our statements are fixed, so whatever is wrong with one of them is the file's fault: a schema or a value that we
/// never wrote. What depends on the system or may pass is not damage.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(e, _) => match e.code {
            // A page that the file should have but does not.
            ErrorCode::SystemIoFailure => e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ,
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::OperationInterrupted
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::PermissionDenied
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::SchemaChanged => false,
            _ => true,
        },
        _ => true,
    }
}

/// Whether a row could not be added since one with its number is there.
pub(super) fn is_conflict(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}
