//! What a server says beside the protocol, in a file of the run. It does not know what is in it.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// More than this of one server is not kept.
const MAX_BYTES: u64 = 16 << 20;

/// A file that is made when there is something to put in it.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: Option<File>,
    left: u64,
}

impl Log {
    /// `logs/@SERVER.log`: no task's files are called so, for no id begins with `@`.
    pub(super) fn new(run_dir: &Path, server: &str) -> Self {
        let name: String = server.bytes().map(as_in_a_name).collect();
        Log { path: run_dir.join("logs").join(format!("@{name}.log")), file: None, left: MAX_BYTES }
    }

    /// Adds to it. A log that cannot be written is told by its absence.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.left == 0 {
            return;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                let _ = std::fs::DirBuilder::new().mode(0o700).create(folder);
            }
            self.file = File::options().append(true).create(true).mode(0o600).open(&self.path).ok();
        }
        let Some(file) = &mut self.file else { return };
        let most = bytes.len().min(self.left as usize);
        self.left -= most as u64;
        let _ = file.write_all(&bytes[..most]);
        if self.left == 0 {
            let _ = file.write_all(b"\n(no more than 16 MB of a server are kept)\n");
        }
    }
}

/// A server's name may hold what a file's may not.
fn as_in_a_name(byte: u8) -> char {
    if byte.is_ascii_alphanumeric() || b"_.-".contains(&byte) { char::from(byte) } else { '_' }
}
