//! Performs attempts: processes, agent CLIs, MCP tools, sandboxed code. It does not know the graph, nor why an attempt
//! is wanted.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod code_tools;
mod confine;
mod container;
mod environment;
mod groups;
mod http;
mod images;
mod json_text;
mod leftovers;
mod lines;
mod local;
mod machine;
mod process;
mod process_attempt;
mod provisions;
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
pub mod brief;
pub mod control;
pub mod mcp;
pub mod registry;
pub mod tool_search;
pub mod warden;
pub mod worktree;

pub use confine::{Support, support};
pub use container::ContainerConfig;
pub use http::ServerAddress;
pub use leftovers::end_leftovers;
pub use local::{LocalConfig, LocalDispatcher};
pub use provisions::objection;
pub use servers::{Reach, ServerCommand, ServerSettings};
