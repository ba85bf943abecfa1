//! Reads files for workers that cannot: decides by path whether a file is allowed and opens it so that the decision
//! holds for what is opened. It does not know processes or JavaScript, and writes no audit event: a denial is
//! returned, once per attempt, to be written down by the caller.
//!
//! The decision is made twice. By words: the path, made absolute and with `.` and `..` resolved as text, must lie at
//! or below an allowed path. By the kernel: the rest of the path is opened beneath the allowed folder with
//! `openat2(RESOLVE_BENEATH)`, which refuses any symbolic link, `..` or magic link that leads out, even when somebody
//! changes the tree meanwhile.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::protocol::{Denial, FileAnswer, MAX_FILE, MAX_RESOURCE, cut};

/// The files that one call may read.
#[derive(Debug)]
pub struct Broker {
    base: PathBuf,
    roots: Vec<Root>,
}

#[derive(Debug)]
struct Root {
    /// The path as the user wrote it, and what it stands for when links are followed: code may use either.
    names: Vec<PathBuf>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(OwnedFd),
    File { parent: OwnedFd, name: PathBuf },
    Unusable(String),
}

impl Broker {
    /// Opens the allowed files and folders. Relative paths, in `allowed` as in the code, start at `base`, an absolute
    /// folder. A path that cannot be opened now stays closed, and reads of it fail with the reason.
    pub fn new(base: &Path, allowed: &[PathBuf]) -> Self {
        let base = resolve_dots(base);
        let roots = allowed.iter().map(|path| Root::open(&resolve_dots(&base.join(path)))).collect();
        Broker { base, roots }
    }

    /// Reads a file for the code, or says why not.
    pub fn read(&self, path: &str) -> FileAnswer {
        let denied = |rule: &str| {
            let resource = cut(path, MAX_RESOURCE).to_owned();
            FileAnswer::Denied(Denial { action: "read", resource, rule: rule.to_owned() })
        };
        if path.is_empty() || path.len() > MAX_RESOURCE || path.contains('\0') {
            return FileAnswer::Failed("not a path".to_owned());
        }
        if self.roots.is_empty() {
            return denied("no path may be read: sandbox_config.allowedReadPaths is empty");
        }
        let wanted = resolve_dots(&self.base.join(path));
        let mut answer = denied("the path is not within sandbox_config.allowedReadPaths");
        for root in &self.roots {
            let Some(rest) = root.names.iter().find_map(|name| wanted.strip_prefix(name).ok()) else { continue };
            match root.read(rest) {
                Ok(bytes) => return FileAnswer::Content(bytes),
                Err(Fault::Outside) => answer = denied("the path leads out of sandbox_config.allowedReadPaths"),
                Err(Fault::Failed(message)) => answer = FileAnswer::Failed(message),
            }
        }
        answer
    }
}

enum Fault {
    Outside,
    Failed(String),
}

impl Root {
    fn open(path: &Path) -> Self {
        let mut names = vec![path.to_path_buf()];
        let place = match std::fs::canonicalize(path) {
            Ok(real) => {
                let place = Place::open(&real);
                if real != path {
                    names.push(real);
                }
                place
            }
            Err(e) => Place::Unusable(e.kind().to_string()),
        };
        Root { names, place }
    }

    fn read(&self, rest: &Path) -> Result<Vec<u8>, Fault> {
        // Non-blocking, so that opening a named pipe cannot hang the parent.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = match &self.place {
            Place::Folder(folder) => {
                let rest = if rest.as_os_str().is_empty() { Path::new(".") } else { rest };
                rustix::fs::openat2(folder, rest, flags, Mode::empty(), within)
            }
            Place::File { parent, name } if rest.as_os_str().is_empty() => {
                rustix::fs::openat2(parent, name, flags, Mode::empty(), within | ResolveFlags::NO_SYMLINKS)
            }
            Place::File { .. } => return Err(Fault::Failed("not a folder".to_owned())),
            Place::Unusable(reason) => return Err(Fault::Failed(reason.clone())),
        };
        match opened {
            // The parent reads for the code, so below /proc the code would see the parent: its environment, its files.
            Ok(file) if matches!(self.place, Place::Folder(_)) && is_of_processes(&file) => Err(Fault::Outside),
            Ok(file) => contents(File::from(file)),
            Err(Errno::XDEV | Errno::LOOP) => Err(Fault::Outside),
            Err(e) => Err(Fault::Failed(std::io::Error::from(e).kind().to_string())),
        }
    }
}

impl Place {
    fn open(real: &Path) -> Self {
        let folder = |path: &Path| {
            rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        };
        if is_below_a_process(real) {
            return Place::Unusable("files of processes are not given to code".to_owned());
        }
        let opened = if real.is_dir() {
            folder(real).map(Place::Folder)
        } else {
            match (real.parent(), real.file_name()) {
                (Some(parent), Some(name)) => folder(parent).map(|parent| Place::File { parent, name: name.into() }),
                _ => Err(Errno::INVAL),
            }
        };
        opened.unwrap_or_else(|e| Place::Unusable(std::io::Error::from(e).kind().to_string()))
    }
}

fn contents(file: File) -> Result<Vec<u8>, Fault> {
    let failed = |e: std::io::Error| Fault::Failed(e.kind().to_string());
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Fault::Failed("not a regular file".to_owned()));
    }
    let limit = MAX_FILE as u64;
    let mut bytes = Vec::with_capacity(metadata.len().min(limit) as usize + 1);
    // Files of /proc have no length, so what comes is bounded, not what is announced.
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Fault::Failed(format!("the file exceeds {limit} bytes")));
    }
    Ok(bytes)
}

/// Whether a file is one of the kernel's about processes.
fn is_of_processes(file: &OwnedFd) -> bool {
    const PROC: u64 = 0x9fa0;
    rustix::fs::fstatfs(file).is_ok_and(|fs| u64::try_from(fs.f_type).is_ok_and(|kind| kind == PROC))
}

/// Whether a path without links is that of a process, as in `/proc/123/environ`.
fn is_below_a_process(real: &Path) -> bool {
    let process = real.strip_prefix("/proc").ok().and_then(|rest| rest.components().next());
    process.is_some_and(|name| name.as_os_str().to_string_lossy().bytes().all(|b| b.is_ascii_digit()))
}

/// The path with `.` and `..` resolved as text; `..` at the root stays there.
fn resolve_dots(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                resolved.pop();
            }
            other => resolved.push(other),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("in/sub")).unwrap();
        for (name, text) in [("in/a.txt", "ALPHA"), ("in/sub/b.txt", "BETA"), ("d.txt", "DELTA"), ("e.txt", "SECRET")] {
            std::fs::write(at(name), text).unwrap();
        }
        symlink("sub/b.txt", at("in/inner-link")).unwrap();
        symlink("../e.txt", at("in/outer-link")).unwrap();
        symlink("/etc", at("in/etc")).unwrap();
        symlink("in", at("alias")).unwrap();
        dir
    }

    fn denied(answer: FileAnswer) -> bool {
        matches!(answer, FileAnswer::Denied(Denial { action: "read", .. }))
    }

    #[test]
    fn listed_files_and_folders_are_open() {
        let dir = tree();
        let broker = Broker::new(dir.path(), &["in".into(), dir.path().join("d.txt")]);
        let at = |path: &str| broker.read(dir.path().join(path).to_str().unwrap());
        for (path, text) in [
            ("in/a.txt", "ALPHA"),
            ("in/sub/../a.txt", "ALPHA"),
            ("in/inner-link", "BETA"),
            ("in/sub/b.txt", "BETA"),
            ("d.txt", "DELTA"),
        ] {
            assert_eq!(at(path), FileAnswer::Content(text.into()), "{path}");
        }
        assert_eq!(broker.read("in/./a.txt"), FileAnswer::Content("ALPHA".into()));
    }

    #[test]
    fn nothing_else_is() {
        let dir = tree();
        let broker = Broker::new(dir.path(), &["in".into(), "d.txt".into()]);
        for path in [
            "e.txt",
            "in/../e.txt",
            "in/outer-link",
            "in/etc/passwd",
            "in/etc",
            "/etc/passwd",
            "/proc/self/environ",
            "in2/a.txt",
            "",
            "in/a.txt\0",
            "d.txt/../e.txt",
            "in/sub",
            "/",
        ] {
            assert!(!matches!(broker.read(path), FileAnswer::Content(_)), "{path:?}");
        }
        for path in ["e.txt", "in/../e.txt", "in/outer-link", "in/etc/passwd", "/proc/self/environ"] {
            assert!(denied(broker.read(path)), "{path}");
        }
    }

    #[test]
    fn a_file_that_becomes_a_link_stays_closed() {
        let dir = tree();
        let broker = Broker::new(dir.path(), &["d.txt".into()]);
        std::fs::remove_file(dir.path().join("d.txt")).unwrap();
        symlink("e.txt", dir.path().join("d.txt")).unwrap();
        assert!(denied(broker.read("d.txt")));
    }

    #[test]
    fn a_link_as_allowed_path_opens_what_it_names() {
        let dir = tree();
        let broker = Broker::new(dir.path(), &["alias".into()]);
        assert_eq!(broker.read("alias/a.txt"), FileAnswer::Content("ALPHA".into()));
        assert_eq!(broker.read("in/a.txt"), FileAnswer::Content("ALPHA".into()));
    }

    #[test]
    fn pipes_folders_and_missing_files_fail_without_waiting() {
        let dir = tree();
        let fifo = dir.path().join("in/fifo");
        rustix::fs::mknodat(CWD, &fifo, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let broker = Broker::new(dir.path(), &["in".into(), "nowhere".into()]);
        for path in ["in/fifo", "in/sub", "in/missing", "nowhere", "nowhere/x"] {
            assert!(matches!(broker.read(path), FileAnswer::Failed(_)), "{path}");
        }
    }

    #[test]
    fn with_no_allowed_path_the_rule_says_so() {
        let FileAnswer::Denied(denial) = Broker::new(Path::new("/"), &[]).read("/etc/passwd") else { panic!() };
        assert_eq!(denial.resource, "/etc/passwd");
        assert!(denial.rule.contains("empty"));
    }
}
