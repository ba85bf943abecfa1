//! The state machine of one run. It knows no clock, no input or output, no randomness, no async and no
//! serialization: time and chance come in as values, facts and debts go out as values. `no_std`, so the compiler
//! holds it to that.
#![no_std]
extern crate alloc;

pub mod event;
pub mod graph;
pub mod ready;
pub mod run;
pub mod state;

pub use event::{Event, FailureClass, Input, Refusal, Verdict};
pub use graph::{Gate, Graph, GraphBuilder, GraphError, OnDoubt, Pool, RetryPolicy, Strength, TaskSpec};
pub use run::{Command, Illegal, Outcome, Run, Unpatchable};
pub use state::{Cause, Phase, TaskState};

/// Position of a task in the graph; dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskIx(pub u32);

/// Number of an attempt of one task; the first is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// Milliseconds since the Unix epoch, as told by whoever calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub u64);

impl TaskIx {
    /// As an index into per-task tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}
