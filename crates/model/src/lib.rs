//! Text in, validated workflow out. This crate knows no files, processes, clock or async; whoever calls it
//! brings texts and a [`catalog::Catalog`] of what is known outside the file.

pub mod caps;
pub mod catalog;
pub mod change;
pub mod condition;
pub mod course;
pub mod critical;
pub mod diagnostic;
mod graph;
pub mod hash;
pub mod inputs;
pub mod invariants;
mod keys;
mod lint;
pub mod mcp_server;
pub mod money;
pub mod patch;
pub mod permissions;
pub mod plan;
pub mod quantity;
pub mod read;
mod references;
pub mod router;
pub mod schema;
pub mod secret;
pub mod syntax;
pub mod template;
mod unsupported;
pub mod workflow;

pub use diagnostic::{Diagnostic, Severity};
pub use read::{CodeFault, NoSources, Parsed, Sources, parse, parse_changed};
