//! Numbers that look random and follow from a seed. It does not know what they decide.

/// SplitMix64 (Steele, Lea and Flood, 2014): small, fast, and every seed is as good as any other.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn of(seed: u64) -> Self {
        Chance(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so there is nothing to unwrap")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// A sequence that depends on all parts and on nothing else, whoever asks and whenever.
pub fn chance_of(parts: &[u64]) -> Chance {
    let mut mixed = Chance::of(0x7261_6464_6c65);
    for part in parts {
        mixed = Chance::of(mixed.next() ^ *part);
    }
    mixed
}
