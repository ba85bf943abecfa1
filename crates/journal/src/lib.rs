//! Durable events and outputs of runs: a SQLite file per run, the same in memory for tests, one suite of laws for
//! both. It knows how facts are stored and to whom a run belongs, not what the facts mean.
//!
//! A run is a folder `<home>/runs/<id>/`:
//!
//! | file | what it is |
//! |---|---|
//! | `journal.db` (`-wal`, `-shm`) | the records; the only truth |
//! | `outputs/<hex>` | outputs over 4 KiB, named by their BLAKE3 digest |
//! | `owner.lock` | locked by the engine that owns the run; names its process and epoch |
//! | `damaged-N/` | a damaged journal that was salvaged into a new one |
//! | `meta.json` | an index for listings; may be missing, stale or wrong without harm |

mod chain;
pub mod home;
mod lock;
pub mod memory;
pub mod meta;
mod outputs;
mod record;
pub mod run_id;
pub mod sqlite;

pub use home::{Health, Home, ResolveError, RunEntry};
pub use memory::{MemoryJournal, MemoryStore};
pub use meta::RunMeta;
pub use outputs::INLINE_LIMIT_BYTES;
pub use run_id::RunId;
pub use sqlite::{Reader, Salvage, SqliteJournal};
