//! Outputs that are too big for the journal: files named by the digest of their content. It does not know which
//! record names them, nor what the text means.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_engine::fact::OutputRef;
use raddle_engine::ports::JournalError;

use crate::sqlite::io;

/// The folder in the one of the run.
pub(crate) const FOLDER_NAME: &str = "outputs";

/// Outputs up to this size stay in the journal itself.
pub const INLINE_LIMIT_BYTES: usize = 4096;

/// The folder of the outputs of one run.
#[derive(Debug)]
pub(crate) struct Outputs {
    folder: PathBuf,
    /// Digests that this process has written or checked.
    known: HashSet<[u8; 32]>,
    /// Whether names were added that the folder itself does not hold durably yet.
    unsynced: bool,
    /// How far the folder itself has come.
    made: Made,
}

/// Whether the folder of outputs is there, as far as this process knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Unknown,
    Exists,
    Durable,
}

impl Outputs {
    /// The outputs of the run in that folder. Nothing is made before it is needed.
    pub(crate) fn of(run: &Path) -> Outputs {
        Outputs { folder: run.join(FOLDER_NAME), known: HashSet::new(), unsynced: false, made: Made::Unknown }
    }

    /// Puts a text where it belongs. The file's content is durable afterwards, its name after [`Outputs::sync`].
    pub(crate) fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        if text.len() <= INLINE_LIMIT_BYTES {
            return Ok(OutputRef::Inline(text));
        }
        let digest = *blake3::hash(text.as_bytes()).as_bytes();
        let output = OutputRef::Stored { digest, bytes: text.len() as u64 };
        if self.known.contains(&digest) {
            return Ok(output);
        }
        if self.made == Made::Unknown {
            match std::fs::DirBuilder::new().mode(0o700).create(&self.folder) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(io("make the folder of outputs", e));
                }
                _ => self.made = Made::Exists,
            }
        }
        // What an earlier owner left may have been synced or not, may be whole or damaged: it is written anew unless
        // it reads well, and its name is made durable in either case.
        self.unsynced = true;
        if load(&self.folder, &digest, text.len() as u64, 0).is_err() {
            self.write(&digest, text.as_bytes()).map_err(|e| io("write an output", e))?;
        }
        self.known.insert(digest);
        Ok(output)
    }

    fn write(&self, digest: &[u8; 32], text: &[u8]) -> std::io::Result<()> {
        let path = path_of(&self.folder, digest);
        let new = path.with_extension("new");
        let written = (|| {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text)?;
            file.sync_data()?;
            std::fs::rename(&new, &path)
        })();
        if written.is_err() {
            // What is half written only takes room on a disk that may be full.
            let _ = std::fs::remove_file(&new);
        }
        written
    }

    /// Makes the names durable. Called before the records that mention them are.
    pub(crate) fn sync(&mut self) -> Result<(), JournalError> {
        if self.unsynced {
            let fault = |e| io("sync the folder of outputs", e);
            sync_folder(&self.folder).map_err(fault)?;
            if self.made != Made::Durable {
                self.folder.parent().map_or(Ok(()), sync_folder).map_err(fault)?;
                self.made = Made::Durable;
            }
            self.unsynced = false;
        }
        Ok(())
    }

    /// The text of an output. `after` is the last record that is known to be good.
    pub(crate) fn load(&self, output: &OutputRef, after: u64) -> Result<Arc<str>, JournalError> {
        match output {
            OutputRef::Inline(text) => Ok(text.clone()),
            OutputRef::Stored { digest, bytes } => load(&self.folder, digest, *bytes, after),
        }
    }
}

/// Reads an output and checks it against its name. No more memory is used than the record allows and the file has.
fn load(folder: &Path, digest: &[u8; 32], bytes: u64, after: u64) -> Result<Arc<str>, JournalError> {
    let name = || blake3::Hash::from_bytes(*digest).to_hex();
    let damaged = |what: &str| JournalError::Damaged { after, what: format!("output {}: {what}", name()) };
    let file = match File::open(path_of(folder, digest)) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(damaged("the file is missing")),
        Err(e) => return Err(io("open an output", e)),
    };
    let found = file.metadata().map_err(|e| io("look at an output", e))?.len();
    if found != bytes {
        return Err(damaged("the size is wrong"));
    }
    let mut text = Vec::with_capacity(bytes as usize);
    file.take(bytes + 1).read_to_end(&mut text).map_err(|e| io("read an output", e))?;
    if text.len() as u64 != bytes || blake3::hash(&text).as_bytes() != digest {
        return Err(damaged("the content does not match its name"));
    }
    match String::from_utf8(text) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(damaged("not UTF-8")),
    }
}

fn path_of(folder: &Path, digest: &[u8; 32]) -> PathBuf {
    folder.join(blake3::Hash::from_bytes(*digest).to_hex().as_str())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
