//! A run's small, short-lived files in memory: on a disk each costs an inode, which is as dear as starting a process.
//! It does not know what the files are for. Where there is no memory-backed folder, there is no scratch.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The usual memory-backed folder.
const SHARED_MEMORY: &str = "/dev/shm";
const TMPFS: i64 = 0x0102_1994;

/// The scratch folder of a run, empty; `None` where it cannot be had. Whoever else has made a folder of that name is
/// not trusted.
pub(crate) fn open(run_dir: &Path) -> Option<PathBuf> {
    if rustix::fs::statfs(SHARED_MEMORY).ok()?.f_type as i64 != TMPFS {
        return None;
    }
    remove(run_dir);
    let path = path_of(run_dir);
    std::fs::DirBuilder::new().mode(0o700).create(&path).ok()?;
    Some(path)
}

/// Removes what a run has left in memory.
pub(crate) fn remove(run_dir: &Path) {
    let path = path_of(run_dir);
    let ours = |about: std::fs::Metadata| about.is_dir() && about.uid() == rustix::process::geteuid().as_raw();
    if std::fs::symlink_metadata(&path).is_ok_and(ours) {
        // What cannot be removed is in nobody's way: the run then does without.
        let _ = std::fs::remove_dir_all(&path);
    }
}

/// Named by the run's id, and by a digest of the whole path, since ids are unique in one state folder only.
fn path_of(run_dir: &Path) -> PathBuf {
    let digest = BuildHasherDefault::<DefaultHasher>::default().hash_one(run_dir.as_os_str().as_bytes());
    let id = run_dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let user = rustix::process::geteuid().as_raw();
    Path::new(SHARED_MEMORY).join(format!("raddle-{user}-{:.32}-{digest:016x}", id.replace('/', "_")))
}
