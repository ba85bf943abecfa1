//! executors: see the crate's description in Cargo.toml.

mod json_text;
mod lines;

pub mod agent;
pub mod mcp;
