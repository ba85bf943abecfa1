//! Whole frames over stdin and stdout. It does not know what is in them. Blocking is right here: the worker has
//! nothing else to do.

use std::io::{stdin, stdout};

use rustix::io::{Errno, read, write};

use crate::protocol::{MAX_REQUEST, Reply};

/// The worker's end of the two pipes.
#[derive(Debug, Default)]
pub(crate) struct Link(());

impl Link {
    /// Reads the body of the next frame into `body`. `false` when the parent is gone or sends what cannot be a frame.
    pub(crate) fn receive(&self, body: &mut Vec<u8>) -> bool {
        let mut head = [0; 4];
        if !fill(&mut head) {
            return false;
        }
        let len = u32::from_le_bytes(head) as usize;
        if len > MAX_REQUEST {
            return false;
        }
        body.clear();
        body.resize(len, 0);
        fill(body)
    }

    /// Writes a reply; `false` when the parent is gone.
    pub(crate) fn send(&self, reply: &Reply) -> bool {
        let frame = reply.encode();
        let mut rest = frame.as_slice();
        while !rest.is_empty() {
            match write(stdout(), rest) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

fn fill(mut buffer: &mut [u8]) -> bool {
    while !buffer.is_empty() {
        match read(stdin(), &mut *buffer) {
            Ok(0) => return false,
            Ok(n) => buffer = &mut buffer[n..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
