//! Drives runs: one loop per run over the pure kernel, admission, references, recovery. It owns the ports
//! (`Journal`, `Dispatcher`, `Clock`) and knows no concrete store, process or protocol.

pub mod admission;
pub mod attempt;
pub mod drive;
pub mod executor;
pub mod fact;
pub mod gates;
pub mod grants;
pub mod ledger;
pub mod outputs;
pub mod own_files;
pub mod patch;
pub mod ports;
pub mod program;
pub mod secrets;
pub mod select;
pub mod snapshot;
pub mod task_program;
pub mod view;

pub use drive::{Ending, Engine, EngineError, Observer, OnStorageFault, StorageNews};
pub use raddle_kernel::{Attempt, FailureClass, Outcome, TaskIx, Time};
pub use raddle_model::money::Money;
pub use raddle_model::workflow::Budget;
