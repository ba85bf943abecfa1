//! The chain of hashes over the batches of a journal: what makes a changed, missing or moved batch visible. It does
//! not know where batches are kept, nor what is in them.

use raddle_engine::ports::JournalError;

/// Hash of a batch and, through it, of all batches before.
pub(crate) type Hash = [u8; 32];

/// Everything about a batch but its payload and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Position of the batch, from 1, without gaps.
    pub(crate) n: u64,
    /// Epoch of the owner that wrote it.
    pub(crate) epoch: u32,
    /// Sequence number of its first record.
    pub(crate) first: u64,
    /// How many records; at least one.
    pub(crate) count: u32,
    /// Version of the record format.
    pub(crate) version: u32,
}

/// The end of the chain so far: what the next batch must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tip {
    /// Position of the last batch; 0 when there is none.
    pub(crate) n: u64,
    /// Epoch of the last batch.
    pub(crate) epoch: u32,
    /// Sequence number of the last record.
    pub(crate) seq: u64,
    /// Hash of the last batch; zeros before the first.
    pub(crate) hash: Hash,
}

impl Tip {
    /// The hash of a batch that follows this tip.
    pub(crate) fn link(&self, header: &Header, payload: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new();
        let mut fixed = [0u8; 60];
        fixed[..32].copy_from_slice(&self.hash);
        fixed[32..40].copy_from_slice(&header.n.to_le_bytes());
        fixed[40..48].copy_from_slice(&header.first.to_le_bytes());
        fixed[48..52].copy_from_slice(&header.epoch.to_le_bytes());
        fixed[52..56].copy_from_slice(&header.count.to_le_bytes());
        fixed[56..60].copy_from_slice(&header.version.to_le_bytes());
        hasher.update(&fixed);
        hasher.update(payload);
        *hasher.finalize().as_bytes()
    }

    /// The tip after that batch. The numbers may be anything as long as nobody has judged them.
    pub(crate) fn after(header: &Header, hash: Hash) -> Tip {
        let seq = header.first.saturating_add(u64::from(header.count)).saturating_sub(1);
        Tip { n: header.n, epoch: header.epoch, seq, hash }
    }

    /// Moves over a batch read from a store, or says why it cannot be the one that follows.
    pub(crate) fn accept(&self, header: &Header, hash: &Hash, payload: &[u8]) -> Result<Tip, JournalError> {
        let damaged = |what: String| Err(JournalError::Damaged { after: self.seq, what });
        if Some(header.n) != self.n.checked_add(1) {
            return damaged(format!("batch {} follows batch {}", header.n, self.n));
        }
        let first_fits = Some(header.first) == self.seq.checked_add(1);
        if !first_fits || header.count == 0 || header.first.checked_add(u64::from(header.count)).is_none() {
            return damaged(format!("batch {} claims {} records from {}", header.n, header.count, header.first));
        }
        if header.epoch < self.epoch {
            return damaged(format!("batch {} has epoch {} after {}", header.n, header.epoch, self.epoch));
        }
        if self.link(header, payload) != *hash {
            return damaged(format!("hash of batch {} does not match", header.n));
        }
        Ok(Tip::after(header, *hash))
    }
}
