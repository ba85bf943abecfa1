//! Performs attempts: processes, agent CLIs, MCP tools, sandboxed code. It does not know the graph, nor why an attempt
//! is wanted.

mod environment;
mod json_text;
mod lines;
mod local;
mod process;
mod rundir;
mod shell;
mod timers;
mod verdict;

pub mod agent;
pub mod mcp;

pub use local::{LocalConfig, LocalDispatcher};
