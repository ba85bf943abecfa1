//! `meta.json` beside a journal: what a listing shows without opening the journal. An index that nobody trusts: when
//! it is missing, unreadable or stale, the records say the same and more. It never decides anything.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Its name in the folder of a run.
pub(crate) const FILE_NAME: &str = "meta.json";

/// More than this cannot be ours.
const LIMIT_BYTES: u64 = 64 * 1024;

/// What a listing wants to know of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RunMeta {
    /// Workflow name.
    pub workflow: String,
    /// When the run was created, milliseconds since the Unix epoch.
    pub created_at: u64,
    /// The outcome's name, written by whoever ended the run; absent while nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When it ended, milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
}

/// Reads the sidecar; anything wrong with it counts as missing.
pub(crate) fn read(folder: &Path) -> Option<RunMeta> {
    let mut text = Vec::new();
    std::fs::File::open(folder.join(FILE_NAME)).ok()?.take(LIMIT_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Replaces the sidecar in place. Not synced: after a crash it may be missing, old or half, which the readers bear.
pub(crate) fn write(folder: &Path, meta: &RunMeta) -> std::io::Result<()> {
    let text = serde_json::to_vec(meta)?;
    let path = folder.join(FILE_NAME);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&text)
}
