//! One file below a folder: what it is, and making it that again. No link is followed on the way, so nothing outside
//! of the folder is read or written. It does not know why a file should be as it was.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// What is at a path.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub(super) enum Present {
    Missing,
    File {
        /// Permission bits.
        mode: u32,
        uid: u32,
        gid: u32,
        bytes: u64,
        /// BLAKE3 of its content, in hex; empty when it was too large to be kept.
        digest: String,
    },
    Link {
        /// Where it points, in hex: names need not be text.
        target: String,
    },
    Other {
        what: String,
    },
}

impl Present {
    /// How long its content is.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Present::File { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

/// Owners are put back where that is allowed, but are no difference: who may not give files away would differ always.
impl PartialEq for Present {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Present::Missing, Present::Missing) => true,
            (Present::File { mode, digest, .. }, Present::File { mode: of, digest: other, .. }) => {
                mode == of && digest == other && !digest.is_empty()
            }
            (Present::Link { target }, Present::Link { target: other }) => target == other,
            _ => false,
        }
    }
}

impl Eq for Present {}

/// A folder that paths start from.
pub(super) struct Root(OwnedFd);

/// Permission bits of a mode.
const PERMISSIONS: u32 = 0o7777;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

impl Root {
    /// The folder itself may be behind links; its name is the user's.
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        Ok(Root(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// What is there, and which folders above it are not. With a folder of blobs and a limit its content is kept
    /// there, if it is not longer than that.
    pub(super) fn look(&self, path: &str, keep: Option<(&Path, u64)>) -> io::Result<(Present, Vec<String>)> {
        let (folder, name) = match self.folder_of(path)? {
            Ok(found) => found,
            Err(missing) => return Ok((Present::Missing, missing)),
        };
        let stat = match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok((Present::Missing, Vec::new())),
            Err(e) => return Err(e.into()),
        };
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                // A fifo that took the file's place meanwhile must not be waited for.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
                let file = File::from(rustix::fs::openat(&folder, name, flags, Mode::empty())?);
                return Ok((content(file, keep)?, Vec::new()));
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(&folder, name, Vec::new())?;
                return Ok((Present::Link { target: hex(target.as_bytes()) }, Vec::new()));
            }
            FileType::Directory => "a folder",
            _ => "no ordinary file",
        };
        Ok((Present::Other { what: what.to_owned() }, Vec::new()))
    }

    /// Makes it so; the change is atomic, and durable when this returns.
    pub(super) fn put(&self, path: &str, state: &Present, missing_above: &[String], blobs: &Path) -> io::Result<()> {
        let (folder, name) = match (self.folder_of(path)?, state) {
            (Ok(found), _) => found,
            (Err(_), Present::Missing) => return Ok(()),
            (Err(missing), _) => {
                for folder in &missing {
                    let (above, name) = self.folder_of(folder)?.map_err(|_| io::Error::from(Errno::NOENT))?;
                    rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o777))?;
                    rustix::fs::fsync(&above)?;
                }
                self.folder_of(path)?.map_err(|_| io::Error::from(Errno::NOENT))?
            }
        };
        let fresh = format!(".raddle-{}", &blake3::hash(path.as_bytes()).to_hex()[..16]);
        let clear = || match rustix::fs::unlinkat(&folder, &*fresh, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(e),
        };
        match state {
            Present::Missing => match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(e.into()),
            },
            Present::File { mode, uid, gid, digest, .. } => {
                clear()?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = File::from(rustix::fs::openat(&folder, &*fresh, flags, Mode::from_raw_mode(0o600))?);
                let written = fill(&file, &blobs.join(digest), digest).and_then(|()| {
                    // Before the mode: giving a file away takes bits from it. Who may not, keeps it.
                    let _ = rustix::fs::fchown(&file, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)));
                    rustix::fs::fchmod(&file, Mode::from_raw_mode(*mode))?;
                    file.sync_all()
                });
                if let Err(e) = written {
                    let _ = clear();
                    return Err(e);
                }
                rustix::fs::renameat(&folder, &*fresh, &folder, name)?;
            }
            Present::Link { target } => {
                clear()?;
                rustix::fs::symlinkat(unhex(target)?, &folder, &*fresh)?;
                rustix::fs::renameat(&folder, &*fresh, &folder, name)?;
            }
            Present::Other { .. } => return Err(io::Error::other("nothing was kept of it")),
        }
        rustix::fs::fsync(&folder)?;
        self.remove_made(missing_above)
    }

    /// Folders that were made for the file go with it, where nothing else is in them.
    fn remove_made(&self, folders: &[String]) -> io::Result<()> {
        for path in folders.iter().rev() {
            let Ok((above, name)) = self.folder_of(path)? else { continue };
            match rustix::fs::unlinkat(&above, name, AtFlags::REMOVEDIR) {
                Ok(()) => rustix::fs::fsync(&above)?,
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// The folder that a path is in and its name there; or the folders that are missing, the outermost first.
    fn folder_of<'p>(&self, path: &'p str) -> io::Result<Result<(OwnedFd, &'p str), Vec<String>>> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = rustix::io::fcntl_dupfd_cloexec(self.0.as_fd(), 0)?;
        let mut end = 0;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            if part == ".." {
                return Err(io::Error::other("it leaves the folder by `..`"));
            }
            end += part.len() + usize::from(end > 0);
            match rustix::fs::openat(&folder, part, FOLDER, Mode::empty()) {
                Ok(next) => folder = next,
                Err(Errno::NOENT) => {
                    let rest = above[end..].match_indices('/').map(|(at, _)| end + at).skip(1);
                    let ends = std::iter::once(end).chain(rest).chain((end < above.len()).then_some(above.len()));
                    return Ok(Err(ends.map(|end| above[..end].to_owned()).collect()));
                }
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    return Err(io::Error::other(format!("{:?} on its way is a link or no folder", &above[..end])));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Ok((folder, name)))
    }
}

fn content(file: File, keep: Option<(&Path, u64)>) -> io::Result<Present> {
    let stat = rustix::fs::fstat(&file)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let present = |bytes, digest| Present::File {
        mode: stat.st_mode & PERMISSIONS,
        uid: stat.st_uid,
        gid: stat.st_gid,
        bytes,
        digest,
    };
    if !is_file {
        return Ok(Present::Other { what: "no ordinary file".to_owned() });
    }
    if keep.is_some_and(|(_, limit)| size > limit) {
        return Ok(present(size, String::new()));
    }
    let mut copy = match keep {
        Some((blobs, _)) => Some(Copy::begin(blobs)?),
        None => None,
    };
    let limit = keep.map_or(u64::MAX, |(_, limit)| limit);
    let (mut hash, mut bytes) = (blake3::Hasher::new(), 0u64);
    let mut buffer = vec![0; 128 << 10];
    let mut file = file.take(limit.saturating_add(1));
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        bytes += n as u64;
        hash.update(&buffer[..n]);
        if let Some(copy) = &mut copy {
            copy.file.write_all(&buffer[..n])?;
        }
    }
    // It grew while it was read.
    if bytes > limit {
        return Ok(present(bytes, String::new()));
    }
    let digest = hash.finalize().to_hex().to_string();
    if let Some(copy) = copy {
        copy.finish(&digest)?;
    }
    Ok(present(bytes, digest))
}

/// A content on its way among the blobs.
struct Copy<'b> {
    file: File,
    fresh: std::path::PathBuf,
    blobs: &'b Path,
}

impl<'b> Copy<'b> {
    fn begin(blobs: &'b Path) -> io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt;
        // One at a time is made for a run.
        let fresh = blobs.join("new");
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        Ok(Copy { file, fresh, blobs })
    }

    fn finish(self, digest: &str) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(self.fresh, self.blobs.join(digest))
    }
}

/// Copies a blob and looks whether it is what it is named after.
fn fill(mut file: &File, blob: &Path, digest: &str) -> io::Result<()> {
    let mut blob = File::open(blob)?;
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let n = blob.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        file.write_all(&buffer[..n])?;
    }
    match hash.finalize().to_hex().as_str() == digest {
        true => Ok(()),
        false => Err(io::Error::other("what was kept of it is damaged")),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> io::Result<Vec<u8>> {
    let digits = |at| text.get(at..at + 2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
    let bytes = (0..text.len()).step_by(2).map(digits).collect::<Option<Vec<u8>>>();
    bytes.ok_or_else(|| io::Error::other("what was kept of it is damaged"))
}
