//! Agent CLIs as data: what to spawn for a task, and what the bytes that come back mean. It does not know processes,
//! pipes or runs: whoever drives it spawns [`AgentCommand`], feeds stdout into an [`AgentStream`] and tells it how the
//! process ended.

mod adapter;
mod claude;
mod codex;
mod config;
mod gemini;
mod opencode;
mod permission_flags;
mod plain;
pub(crate) mod prose;
mod servers;
mod stream;
mod verdict;

#[cfg(test)]
mod tests;

use raddle_engine::FailureClass;
use raddle_engine::attempt::Failure;
use raddle_engine::secrets::{Secrets, named_in};

pub use adapter::{Adapter, Adapters, Reports};
pub use config::{CliConfig, ConfigError, OutputBy, PromptBy};
pub(crate) use servers::granted;
pub use stream::{AgentStream, Denial, Exit, Finished};

/// The class of a provider's failed call.
pub(crate) use verdict::by_status as class_of_status;

/// Everything a spawn needs beyond the attempt's own environment and working folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentCommand {
    /// Program and arguments; no shell is involved.
    pub argv: Vec<String>,
    /// All of stdin; after it stdin is closed.
    pub stdin: Vec<u8>,
    /// Variables to set; the task's own `env:` goes over them.
    pub env: Vec<(String, String)>,
    /// Variables to set whose values are made of secrets.
    pub private_env: PrivateEnv,
    /// Variables to hand on from the engine's own environment when they are set there: names, or `PREFIX_*`.
    pub pass_env: Vec<String>,
    /// What a CLI wants as files, to be written first.
    pub files: Vec<AttachedFile>,
}

/// Variables whose values hold `${secret:NAME}`; they are filled when a process is started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PrivateEnv(pub Vec<(String, String)>);

impl PrivateEnv {
    /// The variables with their values.
    pub(crate) fn filled(&self, secrets: &Secrets) -> Result<Vec<(String, String)>, Failure> {
        let fill = |(name, text): &(String, String)| {
            let value = secrets.filled(text).map_err(|missing| {
                Failure::new(FailureClass::Start, format!("the secret {missing} has no value in this run"))
            })?;
            Ok((name.clone(), value))
        };
        self.0.iter().map(fill).collect()
    }

    /// The secrets that they are made of.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|(_, text)| named_in(text))
    }
}

/// Where a file's path goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// This element of `argv` becomes the absolute path.
    Argument(usize),
    /// This variable is set to it.
    Variable(&'static str),
}

/// A file that a CLI is to find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedFile {
    /// How the CLI is told where it is.
    pub place: Slot,
    /// The end of the file's name.
    pub suffix: &'static str,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// It is the same for every task with these bytes, and stays until the run is over, so that such tasks can share a
    /// process.
    pub is_kept: bool,
}
