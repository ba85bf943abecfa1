//! Performs attempts: processes, agent CLIs, MCP tools, sandboxed code. It does not know the graph, nor why an attempt
//! is wanted.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod code_tools;
mod environment;
mod http;
mod json_text;
mod leftovers;
mod lines;
mod local;
mod machine;
mod process;
mod process_attempt;
mod registered;
mod rundir;
mod scratch;
mod servers;
mod sessions;
mod timers;
mod verdict;
mod workers;

pub mod agent;
pub mod api;
pub mod control;
pub mod mcp;
pub mod registry;
pub mod tool_search;
pub mod warden;
pub mod worktree;

pub use http::ServerAddress;
pub use leftovers::end_leftovers;
pub use local::{LocalConfig, LocalDispatcher};
pub use servers::{Reach, ServerCommand, ServerSettings};
