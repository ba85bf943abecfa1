//! Where the lines of `--events` go. A disk that has no room costs no line and tears none: what could not be written is
//! kept and written when it can be. It does not know what the lines say.

use std::fs::File;
use std::io::{self, Write};

use crate::problem::Problem;

/// So much waits for a disk; beyond that the stream is given up.
const WAITING_BYTES: usize = 64 << 20;
/// Lines are gathered up to here before they are written.
const GATHERED_BYTES: usize = 8 << 10;

/// See the module.
pub struct Sink {
    out: Box<dyn Write>,
    waiting: Vec<u8>,
    /// Why lines are waiting, or why the stream was given up.
    fault: Option<io::Error>,
    given_up: bool,
}

impl Sink {
    /// As `--events` asks: `-` is stdout, anything else a file.
    pub fn named(path: &str) -> Result<Sink, Problem> {
        let out: Box<dyn Write> = match path {
            "-" => Box::new(io::stdout()),
            path => {
                let file = File::create(path).map_err(|e| Problem::io(format!("write events to {path}"), &e))?;
                Box::new(file)
            }
        };
        Ok(Sink { out, waiting: Vec::new(), fault: None, given_up: false })
    }

    /// Adds a line. Nothing is written before there is much to write, or [`Sink::flush`] is called.
    pub fn line(&mut self, line: impl std::fmt::Display) {
        if self.given_up {
            return;
        }
        writeln!(self.waiting, "{line}").expect("memory takes every byte");
        if self.waiting.len() >= GATHERED_BYTES && self.fault.is_none() {
            self.flush();
        }
        if self.waiting.len() > WAITING_BYTES {
            self.give_up();
        }
    }

    /// Writes what is waiting, as far as it can be written.
    pub fn flush(&mut self) {
        if self.given_up || self.waiting.is_empty() && self.fault.is_none() {
            return;
        }
        let mut done = 0;
        let written = loop {
            match self.out.write(&self.waiting[done..]) {
                _ if done == self.waiting.len() => break self.out.flush(),
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        self.waiting.drain(..done);
        match written {
            Ok(()) => self.fault = None,
            Err(error) => {
                // Nobody comes back to a pipe that was closed.
                let is_over = error.kind() == io::ErrorKind::BrokenPipe;
                self.fault = Some(error);
                if is_over {
                    self.give_up();
                }
            }
        }
    }

    /// Why not everything has been written.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.as_ref()
    }

    fn give_up(&mut self) {
        self.given_up = true;
        self.waiting = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// A disk with so much room.
    #[derive(Clone, Default)]
    struct Disk(Rc<RefCell<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (room, written) = &mut *self.0.borrow_mut();
            let n = bytes.len().min(*room);
            if n == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= n;
            written.extend_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_loses_and_tears_no_line() {
        let disk = Disk::default();
        disk.0.borrow_mut().0 = 10;
        let mut sink = Sink { out: Box::new(disk.clone()), waiting: Vec::new(), fault: None, given_up: false };
        for n in 0..1000 {
            sink.line(format_args!("line {n}"));
            if n % 7 == 0 {
                sink.flush();
            }
        }
        assert_eq!(sink.fault().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
        disk.0.borrow_mut().0 = usize::MAX;
        sink.flush();
        assert!(sink.fault().is_none());
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        assert_eq!(String::from_utf8(disk.0.borrow().1.clone()).expect("text"), expected);
    }
}
