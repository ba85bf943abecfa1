//! The folder of a run as attempts see it: logs, what `$RADDLE_DEPS` and `$RADDLE_OUTPUT` name. It does not know
//! processes. Files are made only when there is something to put in them.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use raddle_engine::secrets::Secrets;
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

use crate::container;
use crate::json_text::is_json;
use crate::process::OUTPUT_BYTES;
use crate::scratch;

/// What `$RADDLE_DEPS` names for tasks without dependencies. No attempt's files are called so: theirs end in a number
/// before the first suffix.
const NO_DEPS: &str = "none.deps.json";

/// The end of the name of a process's own folder, and the folder in it for temporary files.
const OWN: &str = ".own";
/// See [`OWN`].
pub(crate) const OWN_TMP: &str = "tmp";

/// Larger files than this are not kept in memory.
const IN_MEMORY_BYTES: usize = 256 << 10;

/// One run's folder, prepared.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
    logs: PathBuf,
    tmp: String,
    tmp_fd: OwnedFd,
    /// Where small files go instead of `tmp`.
    scratch: Option<String>,
    /// Files that stay until the run is over: stem, path, content.
    kept: RefCell<Vec<(String, String, Vec<u8>)>>,
    /// The scratch folder, opened, where what tasks write must not come to rest on a disk before it was looked at.
    scratch_fd: Option<OwnedFd>,
    secrets: Arc<Secrets>,
}

impl RunDir {
    /// Makes the folders and removes what attempts of an engine that died have left.
    pub(crate) fn open(run_dir: &Path, secrets: &Arc<Secrets>) -> std::io::Result<Self> {
        let tmp = run_dir.join("tmp");
        // Whoever goes on with a run has asked before whether a container is left.
        container::remove_left(run_dir);
        match make(&tmp) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => empty(&tmp)?,
            made => made?,
        }
        let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tmp_fd = rustix::fs::open(&tmp, folder, Mode::empty())?;
        // Environment entries are text; a folder whose name is none is refused rather than misspelt.
        let tmp = tmp.into_os_string().into_string().map_err(|name: OsString| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("the folder's name is no UTF-8: {name:?}"))
        })?;
        let scratch = scratch::open(run_dir).and_then(|path| path.into_os_string().into_string().ok());
        let scratch_fd = match scratch.as_deref().filter(|_| !secrets.is_empty()) {
            Some(scratch) => Some(rustix::fs::open(scratch, folder, Mode::empty())?),
            None => None,
        };
        let opened = RunDir {
            path: run_dir.to_owned(),
            logs: run_dir.join("logs"),
            tmp,
            tmp_fd,
            scratch,
            kept: RefCell::default(),
            scratch_fd,
            secrets: Arc::clone(secrets),
        };
        write_new(Path::new(&opened.no_deps()), b"{}")?;
        Ok(opened)
    }

    /// What must not be written into any file here.
    pub(crate) fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// The run's folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `logs/STEM.SUFFIX`.
    pub(crate) fn log(&self, stem: &str, suffix: &str) -> PathBuf {
        // Made when the first task says something; a log that cannot be made is told by its absence.
        let _ = make(&self.logs);
        self.logs.join(format!("{stem}.{suffix}"))
    }

    /// What `$RADDLE_DEPS` is for tasks without dependencies.
    pub(crate) fn no_deps(&self) -> String {
        format!("{}/{NO_DEPS}", self.scratch.as_ref().unwrap_or(&self.tmp))
    }

    /// Makes a file for an attempt and says where it is.
    pub(crate) fn put_file(&self, stem: &str, suffix: &str, bytes: &[u8]) -> std::io::Result<String> {
        let folder = self.scratch.as_ref().filter(|_| bytes.len() <= IN_MEMORY_BYTES);
        let path = format!("{}/{stem}{suffix}", folder.unwrap_or(&self.tmp));
        write_new(Path::new(&path), bytes)?;
        Ok(path)
    }

    /// Makes a file that stays until the run is over, unless there is one with these bytes already. Says where it is.
    pub(crate) fn keep_file(&self, suffix: &str, bytes: &[u8]) -> std::io::Result<String> {
        let mut kept = self.kept.borrow_mut();
        if let Some((_, path, _)) = kept.iter().find(|(_, path, content)| content == bytes && path.ends_with(suffix)) {
            return Ok(path.clone());
        }
        // Arguments show the name, so nothing of the content is in it: a digest could be tried out.
        let stem = format!("kept-{}", kept.len());
        let path = self.put_file(&stem, suffix, bytes)?;
        kept.push((stem, path.clone(), bytes.to_vec()));
        Ok(path)
    }

    /// Removes what [`RunDir::put_file`] has made.
    pub(crate) fn drop_file(&self, stem: &str, suffix: &str) {
        let in_memory = self.scratch.as_ref().map(|scratch| format!("{scratch}/{stem}{suffix}"));
        if in_memory.is_none_or(|path| std::fs::remove_file(path).is_err()) {
            let _ = unlinkat(&self.tmp_fd, format!("{stem}{suffix}"), AtFlags::empty());
        }
    }

    /// Makes a folder that belongs to one process and what descends from it, with one for temporary files in it, and
    /// says where it is. A process that is confined can make files nowhere else.
    pub(crate) fn make_own(&self, stem: &str) -> std::io::Result<PathBuf> {
        let own = self.own(stem);
        make(&own)?;
        make(&own.join(OWN_TMP))?;
        Ok(own)
    }

    /// Where [`RunDir::make_own`] makes it.
    pub(crate) fn own(&self, stem: &str) -> PathBuf {
        PathBuf::from(format!("{}/{stem}{OWN}", self.tmp))
    }

    /// Removes it with all that is in it.
    pub(crate) fn drop_own(&self, stem: &str) {
        remove(&self.own(stem));
    }

    /// An empty folder that nobody may enter, to be put over what is denied.
    pub(crate) fn nothing(&self) -> std::io::Result<PathBuf> {
        let path = PathBuf::from(format!("{}/nothing", self.tmp));
        match std::fs::DirBuilder::new().mode(0o000).create(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(path),
        }
    }

    /// What `$RADDLE_OUTPUT` of an attempt is: a name in the run's `tmp`, or in the attempt's own folder.
    pub(crate) fn output_name(stem: &str, is_own: bool) -> String {
        if is_own { format!("{stem}{OWN}/output") } else { format!("{stem}.output") }
    }

    /// The whole path of that name.
    pub(crate) fn output_path(&self, name: &str) -> String {
        let folder = match self.in_scratch(name) {
            Some(_) => self.scratch.as_ref().expect("what is opened has a name"),
            None => &self.tmp,
        };
        format!("{folder}/{name}")
    }

    /// The memory-backed folder, if an output of that name goes there: not out of an attempt's own folder, which is all
    /// that a confined process can write to.
    fn in_scratch(&self, name: &str) -> Option<&OwnedFd> {
        self.scratch_fd.as_ref().filter(|_| !name.contains('/'))
    }

    fn output_folder(&self, name: &str) -> &OwnedFd {
        self.in_scratch(name).unwrap_or(&self.tmp_fd)
    }

    /// Takes the file that `$RADDLE_OUTPUT` names, if the child made one: valid JSON text, or what is wrong with it.
    pub(crate) fn take_output(&self, name: &str) -> Option<Result<String, String>> {
        // Neither a link nor a FIFO is followed or waited for; the file is the child's, hence not to be trusted.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let opened = openat(self.output_folder(name), name, flags, Mode::empty());
        if let Err(Errno::NOENT) = opened {
            return None;
        }
        let text = match opened {
            Ok(file) => read_json(File::from(file)),
            Err(Errno::LOOP) => Err("is a symbolic link, not a file".to_owned()),
            Err(errno) => Err(format!("cannot be read: {}", std::io::Error::from(errno))),
        };
        self.drop_output(name);
        Some(text.map_err(|what| format!("the file named by $RADDLE_OUTPUT {what}")))
    }

    /// Removes the output file whatever it is.
    pub(crate) fn drop_output(&self, name: &str) {
        let removed = unlinkat(self.output_folder(name), name, AtFlags::empty());
        if let Err(Errno::ISDIR | Errno::PERM) = removed {
            remove(Path::new(&self.output_path(name)));
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        container::remove_left(&self.path);
        for (_, path, _) in self.kept.get_mut() {
            let _ = std::fs::remove_file(path);
        }
        if self.scratch.is_some() {
            scratch::remove(&self.path);
        }
    }
}

/// Removes what an engine that is dead has left for its attempts; what they wrote may hold anything.
pub(crate) fn remove_left(run_dir: &Path) {
    // A run that never had an attempt has no such folder.
    let _ = empty(&run_dir.join("tmp"));
}

fn empty(folder: &Path) -> std::io::Result<()> {
    std::fs::read_dir(folder)?.flatten().for_each(|entry| remove(&entry.path()));
    Ok(())
}

fn make(folder: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(folder)
}

fn read_json(file: File) -> Result<String, String> {
    let about = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
    if !about.is_file() {
        return Err("is no regular file".to_owned());
    }
    if about.len() > OUTPUT_BYTES as u64 {
        return Err(format!("is larger than {} MB", OUTPUT_BYTES >> 20));
    }
    let mut text = Vec::with_capacity(about.len() as usize);
    file.take(OUTPUT_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| format!("cannot be read: {error}"))?;
    let text = String::from_utf8(text).map_err(|_| "is no UTF-8".to_owned())?;
    check_json(&text)?;
    Ok(text)
}

fn check_json(text: &str) -> Result<(), String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| format!("holds no JSON value: {error}"))?;
    // The check above looks neither into escapes and numbers nor at the depth, over which a later reader stumbles.
    if is_json(text) {
        Ok(())
    } else {
        Err("holds JSON that cannot be read: nested too deeply, or a number or escape out of range".to_owned())
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

fn remove(path: &Path) {
    // What cannot be removed stays; the next attempt has another name.
    if std::fs::remove_file(path).is_err() {
        let _ = std::fs::remove_dir_all(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_file_is_taken_once_and_never_trusted() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path(), &Arc::default()).unwrap();
        assert_eq!(run.take_output("a.1"), None);
        let put = |text: &[u8]| std::fs::write(run.output_path("a.1"), text).unwrap();
        put(b" {\"n\": [1]}\n");
        assert_eq!(run.take_output("a.1"), Some(Ok(" {\"n\": [1]}\n".to_owned())));
        assert_eq!(run.take_output("a.1"), None);
        let nested = ["[".repeat(1000), "]".repeat(1000)].concat();
        for bad in ["", "{", "1 2", "NaN", nested.as_str()] {
            put(bad.as_bytes());
            assert!(run.take_output("a.1").unwrap().is_err(), "{bad:.10}");
        }
        put(br#"["]]]]", "\"[[["]"#);
        assert!(run.take_output("a.1").unwrap().is_ok());
        std::os::unix::fs::symlink("/etc/hostname", run.output_path("a.1")).unwrap();
        assert!(run.take_output("a.1").unwrap().unwrap_err().contains("symbolic link"));
        std::fs::create_dir_all(Path::new(&run.output_path("a.1")).join("x")).unwrap();
        assert!(run.take_output("a.1").unwrap().unwrap_err().contains("no regular file"));
        assert_eq!(run.take_output("a.1"), None);
    }

    #[test]
    fn what_a_dead_engine_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::open(folder.path(), &Arc::default()).unwrap();
        let path = run.put_file("a.1", ".deps.json", b"{}").unwrap();
        let run = RunDir::open(folder.path(), &Arc::default()).unwrap();
        assert!(!Path::new(&path).exists());
        assert_eq!(std::fs::read_to_string(run.no_deps()).unwrap(), "{}");
    }
}
