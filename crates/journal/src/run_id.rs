//! Names of runs: eleven characters that sort by time. It knows no clock and no source of chance; both come in.

use std::fmt;
use std::str::FromStr;

use raddle_kernel::Time;

/// 2025-01-01T00:00:00Z in milliseconds since the Unix epoch: the beginning of run ids.
const BEGINNING_MS: u64 = 1_735_689_600_000;

/// Crockford's digits in lower case: no `i`, `l`, `o`, `u`, and their order is that of their bytes.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Name of a run: eight digits of milliseconds since 2025 (enough until 2059), three of chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId([u8; 11]);

/// The text is not a run id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARunId;

impl RunId {
    /// The id of a run that begins at that time. Times before 2025 count as its first moment.
    pub fn new(at: Time, noise: u32) -> RunId {
        let ms = at.0.saturating_sub(BEGINNING_MS) & ((1 << 40) - 1);
        let bits = ms << 15 | u64::from(noise & 0x7fff);
        let mut id = [0u8; 11];
        for (i, digit) in id.iter_mut().enumerate() {
            *digit = DIGITS[(bits >> (50 - 5 * i) & 31) as usize];
        }
        RunId(id)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("all digits are ASCII")
    }

    /// When the run was named, to the millisecond.
    pub fn time(&self) -> Time {
        let ms = self.0[..8].iter().fold(0u64, |ms, digit| {
            let value = DIGITS.iter().position(|d| d == digit).expect("ids are made of these digits only");
            ms << 5 | value as u64
        });
        Time(BEGINNING_MS + ms)
    }
}

impl FromStr for RunId {
    type Err = NotARunId;

    fn from_str(text: &str) -> Result<Self, NotARunId> {
        let id: [u8; 11] = text.as_bytes().try_into().map_err(|_| NotARunId)?;
        if is_prefix(text) { Ok(RunId(id)) } else { Err(NotARunId) }
    }
}

/// Whether a run id could begin like this.
pub(crate) fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= 11 && text.bytes().all(|b| DIGITS.contains(&b))
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for NotARunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a run id")
    }
}

impl std::error::Error for NotARunId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_come_back_from_text() {
        let early = RunId::new(Time(BEGINNING_MS + 1), 0x7fff);
        let late = RunId::new(Time(BEGINNING_MS + 2), 0);
        assert_eq!(early.as_str(), "00000001zzz");
        assert!(early < late && early.as_str() < late.as_str());
        assert_eq!(late.time(), Time(BEGINNING_MS + 2));
        assert_eq!("00000001zzz".parse(), Ok(early));
        for wrong in ["", "last", "00000001zz", "00000001zzzz", "00000001zzu", "../../../..", "0000000Azzz"] {
            assert_eq!(wrong.parse::<RunId>(), Err(NotARunId), "{wrong}");
        }
    }
}
