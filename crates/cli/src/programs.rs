//! Programs on the PATH and what version they say they are. It does not know what they are for.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use raddle_executors::brief;

/// How long a program may take to tell its version.
const PATIENCE: Duration = Duration::from_secs(5);

/// The executable that a command word means: a path when it has a slash, else the first hit on the PATH.
pub fn find(word: &str) -> Option<PathBuf> {
    let executable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if word.contains('/') {
        return Some(PathBuf::from(word)).filter(|path| executable(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(word)).find(|path| executable(path))
}

/// The first line that `PROGRAM --version` prints, cut to 80 characters; `None` when it fails or takes too long.
pub fn version(program: &Path) -> Option<String> {
    let output = brief::call(Command::new(program).arg("--version"), PATIENCE).ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let line: String = text.lines().next()?.trim().chars().take(80).collect();
    (!line.is_empty()).then_some(line)
}
