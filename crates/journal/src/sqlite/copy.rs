//! A journal's files copied to where there is room: SQLite needs a file of its own beside a log to read it, which a full
//! or read-only disk refuses. It does not know whether the copy is sound; the chain says so.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::FILE_NAME;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder with the copy, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Copy {
    folder: PathBuf,
}

impl Copy {
    /// Copies the journal in that folder, its log first: what moves from the log into the database meanwhile is then in
    /// both.
    pub(super) fn of(folder: &Path) -> std::io::Result<Copy> {
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for place in [PathBuf::from("/dev/shm"), std::env::temp_dir()] {
            match Copy::at(&place, folder) {
                Ok(copy) => return Ok(copy),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn at(place: &Path, folder: &Path) -> std::io::Result<Copy> {
        let name = format!("raddle-read-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let copy = Copy { folder: place.join(name) };
        std::fs::DirBuilder::new().mode(0o700).create(&copy.folder)?;
        let log = format!("{FILE_NAME}-wal");
        match std::fs::copy(folder.join(&log), copy.folder.join(&log)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        std::fs::copy(folder.join(FILE_NAME), copy.path())?;
        Ok(copy)
    }

    /// The folder.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the copied database is.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
