//! The whole program with real processes: killed at any moment, fed with anything, and against the faults that earlier
//! systems of this kind had. Nothing here knows the code; all goes through the command line.

// Seeds and tallies are told; the harness shows them when a test fails.
#![allow(clippy::print_stdout)]

mod bad_input;
mod budgets;
mod containers;
mod crowd;
mod damage;
mod data;
mod doubts;
mod fallbacks;
mod faults;
mod intent;
mod kill_minus_nine;
mod ownership;
mod patches;
mod permissions;
// Shared with the tests against real partners; each of the two uses a part.
#[allow(dead_code)]
mod place;
mod processes;
mod repair;
mod sagas;
mod secrets;
mod servers;
mod storage;
mod surroundings;
mod timeouts;
mod worktrees;
