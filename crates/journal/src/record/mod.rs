//! The stored form of records, by version. It knows which version is written today and who reads which; the shapes
//! are in one file per version and never change once released.

mod v1;

use raddle_engine::fact::Record;

/// The version that is written today.
pub(crate) const CURRENT: u32 = 1;

/// Why a payload cannot be read.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// A program newer than this one wrote it.
    UnknownVersion(u32),
    /// The bytes are not what the version says.
    Malformed(&'static str),
}

/// Writes one record in the current version. `before` is the time of the record before in the same payload (0 for the
/// first); the new value is returned.
pub(crate) fn encode(record: &Record, before: u64, payload: &mut Vec<u8>) -> u64 {
    v1::encode(record, before, payload)
}

/// Reads a payload of exactly `count` records, the first of which has number `first`.
pub(crate) fn decode(
    version: u32,
    first: u64,
    count: u32,
    payload: &[u8],
    each: &mut dyn FnMut(Record),
) -> Result<(), DecodeError> {
    match version {
        1 => v1::decode(first, count, payload, each).map_err(DecodeError::Malformed),
        0 => Err(DecodeError::Malformed("version 0 never existed")),
        newer => Err(DecodeError::UnknownVersion(newer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_newer_programs_are_named_and_those_that_never_were_are_damage() {
        let read = |version| decode(version, 1, 0, &[], &mut |_| {});
        assert!(matches!(read(2), Err(DecodeError::UnknownVersion(2))));
        assert!(matches!(read(0), Err(DecodeError::Malformed(_))));
        assert!(read(CURRENT).is_ok());
    }
}
