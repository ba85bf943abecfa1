//! The benchmark adapter's cases, by what they measure. Each returns the line to print.

pub mod hands;
pub mod process;
pub mod recover;
pub mod steps;

use std::path::{Path, PathBuf};

/// A folder of its own under the temporary folder, removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it.
    pub fn new() -> Result<Self, String> {
        let stamp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(|e| e.to_string())?;
        let path = std::env::temp_dir().join(format!("raddle-bench-{}-{}", std::process::id(), stamp.as_nanos()));
        std::fs::create_dir_all(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A number of the command line.
pub fn number(word: &str) -> Result<u32, String> {
    word.parse().map_err(|e| format!("{word}: {e}"))
}
