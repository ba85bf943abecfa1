//! Drives runs: one loop per run over the pure kernel, admission, references, recovery. It owns the ports
//! (`Journal`, `Dispatcher`, `Clock`) and knows no concrete store, process or protocol.

pub mod attempt;
pub mod fact;
pub mod ports;

pub use raddle_kernel::{Attempt, FailureClass, TaskIx, Time};
