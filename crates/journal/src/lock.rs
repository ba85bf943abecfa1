//! Who owns a run: an operating-system lock on `owner.lock`, released by the system however the owner dies. It does
//! not know what an owner may do.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use raddle_engine::ports::JournalError;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::sqlite::io;

/// Name of the lock's file in the folder of a run.
pub(crate) const FILE_NAME: &str = "owner.lock";

/// The longest word about a fault, in characters.
const WORD_CHARS: usize = 400;
/// More than that nobody signs.
const SIGNED_BYTES: u64 = 4096;

/// How often an opener tries again when nobody owns the run but somebody is looking whether it is owned.
const TRIES: u32 = 200;

/// The lock of a run, held. Dropping it releases the run.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    file: File,
    path: PathBuf,
    identity: (u64, u64),
}

impl OwnerLock {
    /// Takes the lock without waiting for another owner.
    pub(crate) fn take(folder: &Path) -> Result<OwnerLock, JournalError> {
        let path = folder.join(FILE_NAME);
        for _ in 0..TRIES {
            // The standard library opens with CLOEXEC, so no child process keeps a run owned.
            let file = std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(no_follow())
                .open(&path)
                .map_err(|e| match e.kind() {
                    std::io::ErrorKind::NotFound => JournalError::NotFound,
                    _ => io("open the lock of the run", e),
                })?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let meta = file.metadata().map_err(|e| io("look at the lock of the run", e))?;
                    let lock = OwnerLock { file, path: path.clone(), identity: (meta.dev(), meta.ino()) };
                    // The file may have been replaced between opening and locking it; then the lock means nothing.
                    if lock.is_ours() {
                        return Ok(lock);
                    }
                }
                Err(Errno::WOULDBLOCK) => {
                    // Somebody who only looks holds a shared lock, for microseconds. An owner's excludes ours.
                    if flock(&file, FlockOperation::NonBlockingLockShared).is_err() {
                        return Err(JournalError::Owned { by: signature(&file).0 });
                    }
                    drop(file);
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(io("lock the run", e)),
            }
        }
        Err(JournalError::Owned { by: "processes that keep looking at it".into() })
    }

    /// The epoch of the last owner that signed, if what is there can be read.
    pub(crate) fn signed_epoch(&self) -> Option<u32> {
        signature(&self.file).1
    }

    /// Writes beside the signature why nothing can be recorded, or takes that away. A courtesy, so what fails is let go.
    pub(crate) fn leave_word(&mut self, epoch: u32, seq: u64, why: Option<&str>) {
        let mut text = signed(epoch, seq);
        if let Some(why) = why {
            let why: String = why.chars().filter(|c| !c.is_control()).take(WORD_CHARS).collect();
            text.push_str(&format!("paused: {why}\n"));
        }
        let _ = self.write(&text);
    }

    /// Writes down that everything up to that record is durable, after it has become so. No sync: what reaches the disk
    /// later than it ought to is a smaller number, which is true as well. Whoever finds less in the journal knows that
    /// something is missing, where the write-ahead log alone would look like one that ends there.
    pub(crate) fn note(&mut self, epoch: u32, seq: u64) {
        let _ = self.file.write_all_at(signed(epoch, seq).as_bytes(), 0);
    }

    /// Writes the owner's process and epoch into the file. No sync: it matters to processes that are alive together
    /// with this one; what must survive the machine is in the records.
    pub(crate) fn sign(&mut self, epoch: u32, seq: u64) -> Result<(), JournalError> {
        self.write(&signed(epoch, seq)).map_err(|e| io("sign the lock of the run", e))
    }

    /// In place, so that it needs no room on a disk that has none.
    fn write(&mut self, text: &str) -> std::io::Result<()> {
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// Whether the locked file is still the one that others find: a lock on a deleted file keeps nobody out.
    pub(crate) fn is_ours(&self) -> bool {
        std::fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity)
    }

    /// Who holds the lock that has replaced this one.
    pub(crate) fn usurper(&self) -> String {
        match holder(self.path.parent().unwrap_or(Path::new("."))) {
            Some(by) => by,
            None => "another process".into(),
        }
    }
}

/// Who owns the run in that folder: `None` when nobody does.
pub(crate) fn holder(folder: &Path) -> Option<String> {
    let file = File::open(folder.join(FILE_NAME)).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => Some(signature(&file).0),
        _ => None,
    }
}

/// `pid EPOCH SEQ CHECK`: the check tells a number that was written from one that is noise.
fn signed(epoch: u32, seq: u64) -> String {
    let text = format!("{} {epoch} {seq}", std::process::id());
    format!("{text} {}\n", check(&text))
}

fn check(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..8].to_owned()
}

/// The last record that an owner of the run in that folder noted as durable; 0 when nothing is known.
pub(crate) fn noted(folder: &Path) -> u64 {
    let mut text = Vec::new();
    let read = File::open(folder.join(FILE_NAME)).and_then(|file| file.take(SIGNED_BYTES).read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    let Some((line, sum)) = read.ok().and(text.lines().next()).and_then(|line| line.rsplit_once(' ')) else { return 0 };
    let seq = line.split_ascii_whitespace().nth(2).filter(|_| check(line) == sum);
    seq.and_then(|seq| seq.parse().ok()).unwrap_or(0)
}

/// Why the owner of the run in that folder can record nothing for now, if it says so.
pub(crate) fn word(folder: &Path) -> Option<String> {
    holder(folder)?;
    let mut text = Vec::new();
    File::open(folder.join(FILE_NAME)).ok()?.take(SIGNED_BYTES).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix("paused: ")).map(str::to_owned)
}

/// Process and epoch, as far as it can be read; the content is a hint and is never trusted.
fn signature(mut file: &File) -> (String, Option<u32>) {
    let mut text = [0u8; 64];
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read(&mut text)).unwrap_or(0);
    let mut words = std::str::from_utf8(&text[..read]).unwrap_or("").split_ascii_whitespace();
    let pid = words.next().and_then(|w| w.parse::<u32>().ok());
    let epoch = words.next().and_then(|w| w.parse::<u32>().ok());
    match pid {
        Some(pid) => (format!("process {pid}"), epoch),
        None => ("another process".into(), None),
    }
}

/// `O_NOFOLLOW` as the standard library wants it.
fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits() as i32
}
