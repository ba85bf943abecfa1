//! From the patterns of a confinement to what is there: opened, without links, with device and inode. It does not know
//! what is done with them.
//!
//! Nothing that tasks could have made is followed: a link below the working folder that a pattern passes through is
//! refused, since an earlier task could have put it there to widen what a later one gets.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;

use super::enter::Place;

/// More than so many paths from one list are refused: each costs a rule or a mount at every start.
const MATCHES: usize = 2048;

/// A pattern, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern {
    pub(super) text: String,
    /// What stands before `/**`, or the whole.
    path: PathBuf,
    /// Whether everything below is meant too.
    pub(super) tree: bool,
}

/// Something that exists.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) fd: OwnedFd,
    /// Its path without links.
    pub(super) path: PathBuf,
    pub(super) is_folder: bool,
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) names: u64,
    pub(super) tree: bool,
}

/// Why a pattern cannot be turned into something that the system holds.
pub(super) type Refusal = String;

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Pattern, Refusal> {
        let (path, tree) = match text.strip_suffix("/**") {
            Some("") => ("/", true),
            Some(path) => (path, true),
            None => (text, false),
        };
        let path = PathBuf::from(path);
        let sound = path.is_absolute()
            && !text.contains('\0')
            && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
            && !path.to_string_lossy().contains("**");
        if !sound {
            return Err(format!(
                "`{text}` cannot be held to: a pattern is an absolute path without `..`, in which `*` stands for a part of one name and a last `/**` for everything below"
            ));
        }
        Ok(Pattern { text: text.to_owned(), path, tree })
    }

    /// Whether it names one path only.
    pub(super) fn is_plain(&self) -> bool {
        !self.path.as_os_str().as_bytes().contains(&b'*')
    }

    /// The path, for plain ones.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder above the first `*`.
    pub(super) fn plain_part(&self) -> PathBuf {
        self.path.components().take_while(|part| !part.as_os_str().as_bytes().contains(&b'*')).collect()
    }

    /// Whether something at that path, above it or below it could match. Only a folder has something below.
    pub(super) fn may_meet(&self, path: &Path) -> bool {
        let plain = self.plain_part();
        let rest: Vec<_> = self.path.components().skip(plain.components().count()).collect();
        let plain = plain.canonicalize().unwrap_or(plain);
        let pattern: Vec<_> = plain.components().chain(rest).collect();
        let names: Vec<_> = path.components().collect();
        let alike = |(part, name): (&Component<'_>, &Component<'_>)| {
            fits(part.as_os_str().as_bytes(), name.as_os_str().as_bytes())
        };
        let goes_below = names.len() < pattern.len();
        pattern.iter().zip(&names).all(alike) && !(goes_below && path.is_file())
    }

    /// The paths that exist and match, as they are spelt.
    pub(super) fn matches(&self) -> Result<Vec<PathBuf>, Refusal> {
        if self.is_plain() {
            return Ok(if self.path.symlink_metadata().is_ok() { vec![self.path.clone()] } else { Vec::new() });
        }
        let mut found = vec![PathBuf::from("/")];
        for part in self.path.components().skip(1) {
            let part = part.as_os_str();
            let mut next = Vec::new();
            for folder in found {
                if !part.as_bytes().contains(&b'*') {
                    let path = folder.join(part);
                    next.extend(path.symlink_metadata().is_ok().then_some(path));
                    continue;
                }
                // What cannot be listed has no matches for whoever may do no more than we.
                for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                    if fits(part.as_bytes(), entry.file_name().as_bytes()) {
                        next.push(entry.path());
                    }
                    if next.len() > MATCHES {
                        return Err(format!("`{}` matches more than {MATCHES} paths", self.text));
                    }
                }
            }
            found = next;
        }
        found.sort();
        Ok(found)
    }
}

/// Whether a name fits a pattern in which `*` stands for any part.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = (0..=rest.len()).find(|at| rest[*at..].starts_with(part)) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

impl Found {
    /// Opens a path. Below `fixed`, links are refused; elsewhere they are the system's own and followed.
    pub(super) fn open(path: &Path, tree: bool, fixed: Option<&Path>) -> Result<Option<Found>, Refusal> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            // What we may not reach, a child may not either.
            Err(Errno::ACCESS | Errno::PERM) => return Ok(None),
            Err(errno) => return Err(format!("cannot look at {}: {}", path.display(), std::io::Error::from(errno))),
        };
        let real = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
            .map_err(|error| format!("cannot tell where {} leads: {error}", path.display()))?;
        if let Some(fixed) = fixed
            && let Ok(rest) = path.strip_prefix(fixed)
        {
            let home = fixed.canonicalize().unwrap_or_else(|_| fixed.to_owned());
            if real != home.join(rest) && real != *path {
                return Err(format!(
                    "{} leads over a symbolic link to {}; name what it leads to",
                    path.display(),
                    real.display()
                ));
            }
        }
        let about = fstat(&fd)
            .map_err(|errno| format!("cannot look at {}: {}", path.display(), std::io::Error::from(errno)))?;
        let is_folder = rustix::fs::FileType::from_raw_mode(about.st_mode).is_dir();
        Ok(Some(Found {
            fd,
            path: real,
            is_folder,
            device: about.st_dev,
            inode: about.st_ino,
            names: about.st_nlink as u64,
            tree,
        }))
    }

    /// For a child that has to find it again.
    pub(super) fn place(&self) -> Result<Place, Refusal> {
        let path = CString::new(self.path.as_os_str().as_bytes())
            .map_err(|_| format!("{} holds a NUL", self.path.display()))?;
        Ok(Place {
            path,
            device: self.device,
            inode: self.inode,
            is_folder: self.is_folder,
            tree: std::cell::Cell::new(-1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_a_part_of_a_name() {
        for (pattern, name, expected) in [
            ("*.pem", "a.pem", true),
            ("*.pem", ".pem", true),
            ("*.pem", "a.pem.txt", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("*", "anything", true),
            ("key", "key", true),
            ("key", "keys", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_that_mean_nothing_definite_are_refused() {
        for text in ["w/a", "/w/../etc", "/w/**/x", "", "/w/./../x/**"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("/w/**").unwrap().tree && !Pattern::parse("/w/*.txt").unwrap().tree);
    }

    #[test]
    fn a_denied_name_is_met_at_above_and_below_it_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("w/deep")).unwrap();
        for name in ["w/a.txt", "w/b.pem", "w/deep/c.pem"] {
            std::fs::write(root.join(name), "x").unwrap();
        }
        let meets = |deny: &str, path: &str| {
            Pattern::parse(&format!("{}/{deny}", root.display())).unwrap().may_meet(&root.join(path))
        };
        assert!(!meets("w/*.pem", "w/a.txt") && meets("w/*.pem", "w/b.pem") && meets("w/*.pem", "w/later.pem"));
        assert!(meets("w/*.pem", "w") && !meets("w/*.pem", "w/deep") && meets("w/*/c.pem", "w/deep"));
        assert!(meets("w/d*/**", "w/deep/c.pem") && !meets("w/*.pem", "other"));
    }

    #[test]
    fn links_below_the_working_folder_widen_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("in")).unwrap();
        let refused = Found::open(&folder.path().join("in"), true, Some(folder.path())).unwrap_err();
        assert!(refused.contains("symbolic link"), "{refused}");
        assert!(Found::open(&folder.path().join("in"), true, Some(Path::new("/nowhere"))).unwrap().is_some());
    }
}
