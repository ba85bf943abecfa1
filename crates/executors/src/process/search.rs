//! Finds a program on a PATH as `execvp` does, with a short memory. It does not know environments or children.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Access, CWD, accessat};
use rustix::io::Errno;

/// How long a found place is believed. A program that is installed earlier on the PATH is seen after this time.
const BELIEVED: Duration = Duration::from_secs(1);
/// More remembered places than this means that names are generated; then the memory is emptied.
const REMEMBERED: usize = 1024;

/// Where programs were found lately.
#[derive(Debug, Default)]
pub(crate) struct Search {
    path: Vec<u8>,
    places: HashMap<Vec<u8>, (CString, Instant)>,
}

impl Search {
    /// The file to execute for `program`, seen from a child in `cwd` with that PATH.
    pub(crate) fn find(&mut self, program: &[u8], path: &[u8], cwd: &Path) -> Result<&CStr, Errno> {
        if self.path != path || self.places.len() > REMEMBERED {
            self.places.clear();
            self.path = path.to_vec();
        }
        let now = Instant::now();
        let known = self.places.get(program).is_some_and(|(_, found)| now - *found < BELIEVED);
        if !known {
            let (place, absolute) = look(program, path, cwd)?;
            // A place that depends on the working folder is believed for this one child only.
            let found = if absolute { now } else { now.checked_sub(BELIEVED).unwrap_or(now) };
            self.places.insert(program.to_vec(), (place, found));
        }
        Ok(&self.places[program].0)
    }

    /// Forgets a place that turned out to be wrong.
    pub(crate) fn forget(&mut self, program: &[u8]) {
        self.places.remove(program);
    }
}

/// The place and whether it is the same for every working folder.
fn look(program: &[u8], path: &[u8], cwd: &Path) -> Result<(CString, bool), Errno> {
    let name = CString::new(program).map_err(|_| Errno::INVAL)?;
    if program.is_empty() {
        return Err(Errno::NOENT);
    }
    if program.contains(&b'/') {
        // The child enters its working folder before the exec, so a relative place needs no joining.
        return Ok((name, program[0] == b'/'));
    }
    let mut error = Errno::NOENT;
    for folder in path.split(|&byte| byte == b':') {
        let folder = Path::new(OsStr::from_bytes(folder));
        let place = cwd.join(folder).join(OsStr::from_bytes(program));
        match accessat(CWD, &place, Access::EXEC_OK, rustix::fs::AtFlags::EACCESS) {
            Ok(()) if place.is_file() => {
                let place = CString::new(place.into_os_string().into_encoded_bytes()).map_err(|_| Errno::INVAL)?;
                return Ok((place, folder.is_absolute()));
            }
            Ok(()) => error = Errno::ACCESS,
            Err(Errno::ACCESS) => error = Errno::ACCESS,
            Err(_) => {}
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_the_shell_would_find() {
        let mut search = Search::default();
        let cwd = Path::new("/");
        assert_eq!(search.find(b"sh", b"/nowhere:/bin", cwd), Ok(c"/bin/sh"));
        assert_eq!(search.find(b"sh", b"/nowhere", cwd), Err(Errno::NOENT));
        assert_eq!(search.find(b"sh", b"bin", cwd), Ok(c"/bin/sh"));
        assert_eq!(search.find(b"./x", b"/bin", cwd), Ok(c"./x"));
        assert_eq!(search.find(b"", b"/bin", cwd), Err(Errno::NOENT));
        assert_eq!(search.find(b"etc", b"/", cwd), Err(Errno::ACCESS), "a folder is no program");
    }
}
