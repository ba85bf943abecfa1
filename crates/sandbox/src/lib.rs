//! TypeScript and JavaScript in hardened worker processes: the worker itself, the protocol spoken with it, and the
//! broker that reads files for it. It knows nothing of tasks, runs or retries.
//!
//! ```text
//!   parent (engine)                          worker (own binary, hidden sub-command)
//!     protocol::Request  ── stdin ──────▶      sealed before the first byte is read:
//!     protocol::Decoder  ◀── stdout ────       no files, no network, no processes, no memory beyond its limit
//!     broker::Broker     ◀── Reply::Read ──    `readTextFile(path)` waits for the parent's answer
//!     (the parent)       ◀── Reply::Tool ──    `await tools.server.tool(…)` goes on; the answer comes when it comes
//! ```
//!
//! Three walls stand one behind the other: the language (nothing that reaches outside exists in the global scope),
//! the runtime (memory, stack and time limits of the interpreter), and the kernel (seccomp, Landlock, rlimits) in case
//! the interpreter itself is broken open.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod broker;
pub mod client;
pub mod exit;
pub mod protocol;
pub mod worker;

pub use broker::Broker;
pub use client::Worker;
pub use exit::classify_exit;
pub use protocol::{Decoder, FailureKind, Fixed, Reply, Request, ToolAnswer};
pub use worker::Config;
pub use worker::seal::{Support, support};
pub use worker::strip::syntax_fault;
