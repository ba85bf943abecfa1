//! Frames as bytes: written field by field, and read back without believing any length. It does not know what the
//! fields mean.

use super::{MAX_REQUEST, TooLarge};

/// A frame that is being written.
pub(super) struct Frame(Vec<u8>);

impl Frame {
    pub(super) fn new(kind: u8, room: usize) -> Result<Self, TooLarge> {
        if room > MAX_REQUEST {
            return Err(TooLarge { bytes: room });
        }
        let mut bytes = Vec::with_capacity(room + 5);
        bytes.extend_from_slice(&[0, 0, 0, 0, kind]);
        Ok(Frame(bytes))
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        let len = u32::try_from(text.len()).expect("a frame's room was checked");
        self.bytes(&len.to_le_bytes());
        self.bytes(text);
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len() - 4).expect("a frame's room was checked");
        self.0[..4].copy_from_slice(&len.to_le_bytes());
        self.0
    }
}

/// The fields of a frame's body, taken off one by one; `None` where the body is too short.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(super) fn str(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.sized()?).ok()
    }

    pub(super) fn string(&mut self, max: usize) -> Option<String> {
        let text = self.str()?;
        (text.len() <= max).then(|| text.to_owned())
    }

    pub(super) fn terminated(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        let text = self.take((len as usize).checked_add(1)?)?;
        std::str::from_utf8(text).ok()?;
        (text.last() == Some(&0)).then_some(text)
    }
}
