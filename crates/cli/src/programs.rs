//! Programs on the PATH and what version they say they are. It does not know what they are for.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

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
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    let mut out = child.stdout.take().expect("stdout was asked for as a pipe");
    // The pipe is only read once the program is over, so a grandchild that holds it open cannot make us wait; a
    // program that says more than a pipe holds is not telling its version.
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let mut text = [0; 512];
    let length = if status.success() { out.read(&mut text).ok()? } else { return None };
    let text = String::from_utf8_lossy(&text[..length]);
    let line: String = text.lines().next()?.trim().chars().take(80).collect();
    (!line.is_empty()).then_some(line)
}
