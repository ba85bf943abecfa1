//! For development only: what tests and benchmarks of several crates share. Nothing of it is shipped.

pub mod bench;
pub mod dag;
pub mod faults;
pub mod noop;
pub mod script;
pub mod sim;
