//! Lives through runs of a workflow by seed: scripted executors, a virtual clock and misfortunes around the real engine.
//! It starts no process, opens no file and no connection, and knows nothing of the ones that do.

mod acts;
mod answers;
pub mod chance;
mod disk;
mod ended;
mod faults;
mod host;
mod samples;
mod search;
mod stage;
mod story;
mod subject;
mod witness;
mod words;
mod world;

pub use faults::{Fault, Kind, Kinds, Place, Write};
pub use search::{Found, search, shrink};
pub use story::{Told, current_seed, live};
pub use subject::{Subject, Terms};
pub use world::Broken;
