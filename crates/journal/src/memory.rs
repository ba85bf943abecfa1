//! A journal in memory under the same laws as the one on disk, with a switch for failures: for tests and
//! simulations. What "durable" means here is the store, which outlives the journals opened on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use raddle_engine::fact::{OutputRef, Record};
use raddle_engine::ports::{Journal, JournalError};

use crate::outputs::INLINE_LIMIT_BYTES;

/// What survives an owner. Clones are handles of the same store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    records: Vec<Record>,
    outputs: HashMap<[u8; 32], Arc<str>>,
    epoch: u32,
    owned: bool,
    fails_in: Option<u32>,
}

/// The journal of a run in memory, owned by whoever holds it.
#[derive(Debug)]
pub struct MemoryJournal {
    store: MemoryStore,
    epoch: u32,
    last_seq: u64,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Takes the run over; refused while another journal is there.
    pub fn open_owner(&self) -> Result<MemoryJournal, JournalError> {
        let mut disk = self.disk();
        if disk.owned {
            return Err(JournalError::Owned { by: format!("epoch {}", disk.epoch) });
        }
        disk.owned = true;
        disk.epoch += 1;
        let last_seq = disk.records.len() as u64;
        Ok(MemoryJournal { store: self.clone(), epoch: disk.epoch, last_seq })
    }

    /// Takes ownership away from the present owner, who does not know it: a host that hung and comes back.
    pub fn usurp(&self) {
        self.disk().owned = false;
    }

    /// Makes the `nth` append from now fail (1: the next). Nothing of it is stored, later ones succeed.
    pub fn fail_append(&self, nth: u32) {
        self.disk().fails_in = nth.checked_sub(1);
    }

    /// All records.
    pub fn records(&self) -> Vec<Record> {
        self.disk().records.clone()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // Nothing in here panics half way through a change, so a poisoned lock guards whole data all the same.
        self.disk.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        let mut disk = self.store.disk();
        if disk.epoch == self.epoch {
            disk.owned = false;
        }
    }
}

impl Journal for MemoryJournal {
    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn last_seq(&self) -> u64 {
        self.last_seq
    }

    fn append(&mut self, records: &[Record]) -> Result<(), JournalError> {
        for (expected, record) in (self.last_seq + 1..).zip(records) {
            if record.seq != expected {
                return Err(JournalError::OutOfStep { expected, found: record.seq });
            }
        }
        let mut disk = self.store.disk();
        if disk.epoch != self.epoch {
            return Err(JournalError::Owned { by: format!("epoch {}", disk.epoch) });
        }
        match disk.fails_in {
            Some(0) => {
                disk.fails_in = None;
                return Err(JournalError::Io {
                    what: "append to the journal".into(),
                    source: "the failure that was asked for".into(),
                });
            }
            Some(n) => disk.fails_in = Some(n - 1),
            None => {}
        }
        disk.records.extend_from_slice(records);
        self.last_seq += records.len() as u64;
        Ok(())
    }

    fn reopen(&mut self) -> Result<u64, JournalError> {
        let epoch = self.store.disk().epoch;
        if epoch != self.epoch { Err(JournalError::Owned { by: format!("epoch {epoch}") }) } else { Ok(self.last_seq) }
    }

    fn replay(&mut self, each: &mut dyn FnMut(Record)) -> Result<(), JournalError> {
        let records = self.store.records();
        records.into_iter().for_each(each);
        Ok(())
    }

    fn store(&mut self, text: Arc<str>) -> Result<OutputRef, JournalError> {
        if text.len() <= INLINE_LIMIT_BYTES {
            return Ok(OutputRef::Inline(text));
        }
        let digest = *blake3::hash(text.as_bytes()).as_bytes();
        let bytes = text.len() as u64;
        self.store.disk().outputs.insert(digest, text);
        Ok(OutputRef::Stored { digest, bytes })
    }

    fn load(&self, output: &OutputRef) -> Result<Arc<str>, JournalError> {
        match output {
            OutputRef::Inline(text) => Ok(text.clone()),
            OutputRef::Stored { digest, bytes } => match self.store.disk().outputs.get(digest) {
                Some(text) if text.len() as u64 == *bytes => Ok(text.clone()),
                _ => Err(JournalError::Damaged { after: 0, what: "the output is missing".into() }),
            },
        }
    }
}
