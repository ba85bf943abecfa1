//! The program with the real programs it works with: an agent CLI against a scripted model on loopback, and published
//! MCP servers. What is missing is installed into `target/real-partners`; where that cannot be, a test says so loudly
//! and passes.

mod agent_servers;
mod claude;
mod clis;
mod examples;
mod partners;
// Shared with the end-to-end tests; each of the two uses a part.
#[allow(dead_code)]
#[path = "../e2e/place.rs"]
mod place;
#[allow(dead_code)]
#[path = "../e2e/processes.rs"]
mod processes;
mod servers;
mod sessions;
