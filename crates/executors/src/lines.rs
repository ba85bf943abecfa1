//! Cuts a stream of bytes into lines, with a bound on the longest. It does not know what the lines mean, nor where
//! the bytes come from.

/// The longest line that is held: an MCP answer or an event of an agent CLI.
pub(crate) const MAX_LINE_BYTES: usize = 64 << 20;

/// A line grew over the bound; what follows it cannot be trusted to be in step any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LineTooLong;

/// The unfinished line at the end of what was fed. Complete lines are handed on without a copy.
#[derive(Debug)]
pub(crate) struct Lines {
    partial: Vec<u8>,
    max_bytes: usize,
    broken: bool,
}

impl Lines {
    /// No line is longer than `max_bytes`, its newline not counted.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Lines { partial: Vec::new(), max_bytes, broken: false }
    }

    /// Calls `each` for every line that `bytes` completes, without its newline and without a carriage return before
    /// it. After an error nothing more is accepted.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), LineTooLong> {
        if self.broken {
            return Err(LineTooLong);
        }
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.partial.len() + head.len() > self.max_bytes {
                return self.give_up();
            }
            if self.partial.is_empty() {
                each(chomp(head));
            } else {
                self.partial.extend_from_slice(head);
                each(chomp(&self.partial));
                // One huge line must not keep its memory for the rest of the connection.
                if self.partial.capacity() > 1 << 20 {
                    self.partial = Vec::new();
                } else {
                    self.partial.clear();
                }
            }
        }
        if self.partial.len() + bytes.len() > self.max_bytes {
            return self.give_up();
        }
        self.partial.extend_from_slice(bytes);
        Ok(())
    }

    /// The last line when the stream ended without a newline.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.partial)
    }

    fn give_up(&mut self) -> Result<(), LineTooLong> {
        self.broken = true;
        self.partial = Vec::new();
        Err(LineTooLong)
    }
}

fn chomp(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(max: usize, pieces: &[&[u8]]) -> (Vec<String>, bool) {
        let mut lines = Lines::new(max);
        let mut seen = Vec::new();
        let ok = pieces.iter().all(|p| lines.feed(p, |l| seen.push(String::from_utf8_lossy(l).into_owned())).is_ok());
        (seen, ok)
    }

    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive() {
        let text = b"one\r\n\ntwo\nthr";
        let whole = cut(9, &[text]);
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(whole, cut(9, &single));
        assert_eq!(whole, (vec!["one".into(), String::new(), "two".into()], true));
    }

    #[test]
    fn a_line_over_the_bound_ends_the_stream() {
        assert_eq!(cut(3, &[b"abc\n", b"abcd\n", b"a\n"]), (vec!["abc".into()], false));
        assert_eq!(cut(3, &[b"ab", b"cd"]), (vec![], false));
        assert_eq!(cut(3, &[b"ab", b"c\nd\n"]), (vec!["abc".into(), "d".into()], true));
    }
}
