//! executors: see the crate's description in Cargo.toml.

mod lines;

pub mod agent;
pub mod mcp;
