//! A set of small integers that yields its smallest member at once: a bitmap with summaries, 64 to one. It does not
//! know what the integers stand for. Insert, remove and first are O(log64 n); a million members take 128 KB.

use alloc::vec;
use alloc::vec::Vec;

/// See the module.
#[derive(Debug, Clone)]
pub struct Bitmap {
    /// `levels[0]` holds a bit per member, each further level a bit per non-zero word below.
    levels: Vec<Vec<u64>>,
    len: usize,
}

impl Bitmap {
    /// An empty set of integers below `capacity`.
    pub fn new(capacity: usize) -> Self {
        let mut levels = Vec::new();
        let mut words = capacity.div_ceil(64).max(1);
        loop {
            levels.push(vec![0u64; words]);
            if words == 1 {
                break;
            }
            words = words.div_ceil(64);
        }
        Bitmap { levels, len: 0 }
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there is no member.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `i` is a member.
    pub fn contains(&self, i: u32) -> bool {
        self.levels[0][i as usize / 64] & (1 << (i % 64)) != 0
    }

    /// Adds `i`; false when it was there already.
    pub fn insert(&mut self, i: u32) -> bool {
        if self.contains(i) {
            return false;
        }
        self.len += 1;
        let mut at = i as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            let was_empty = *word == 0;
            *word |= 1 << (at % 64);
            if !was_empty {
                break;
            }
            at /= 64;
        }
        true
    }

    /// Removes `i`; false when it was not there.
    pub fn remove(&mut self, i: u32) -> bool {
        if !self.contains(i) {
            return false;
        }
        self.len -= 1;
        let mut at = i as usize;
        for level in &mut self.levels {
            let word = &mut level[at / 64];
            *word &= !(1 << (at % 64));
            if *word != 0 {
                break;
            }
            at /= 64;
        }
        true
    }

    /// The smallest member that is at least `from`.
    pub fn first_from(&self, from: u32) -> Option<u32> {
        let mut at = from as usize;
        let mut depth = 0;
        // Up: find the first level whose word has a bit at or after `at`.
        loop {
            let level = self.levels.get(depth)?;
            let word = level.get(at / 64).copied().unwrap_or(0) & (!0u64 << (at % 64));
            if word != 0 {
                at = at / 64 * 64 + word.trailing_zeros() as usize;
                break;
            }
            at = at / 64 + 1;
            depth += 1;
        }
        // Down: follow the lowest set bits.
        while depth > 0 {
            depth -= 1;
            at = at * 64 + self.levels[depth][at].trailing_zeros() as usize;
        }
        Some(at as u32)
    }

    /// The smallest member.
    pub fn first(&self) -> Option<u32> {
        self.first_from(0)
    }

    /// All members in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut next = Some(0);
        core::iter::from_fn(move || {
            let found = self.first_from(next?)?;
            next = found.checked_add(1);
            Some(found)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn agrees_with_an_ordered_set() {
        let mut x = 88172645463325252u64;
        for capacity in [1usize, 63, 64, 65, 4096, 4097, 300_000] {
            let (mut bitmap, mut oracle) = (Bitmap::new(capacity), BTreeSet::new());
            for _ in 0..4000 {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                let i = (x >> 8) as u32 % capacity as u32;
                if x.is_multiple_of(3) {
                    assert_eq!(bitmap.remove(i), oracle.remove(&i));
                } else {
                    assert_eq!(bitmap.insert(i), oracle.insert(i));
                }
                assert_eq!(bitmap.first_from(i), oracle.range(i..).next().copied());
                assert_eq!(bitmap.len(), oracle.len());
            }
            assert!(bitmap.iter().eq(oracle.iter().copied()));
        }
    }
}
