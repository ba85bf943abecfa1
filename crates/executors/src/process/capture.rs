//! What a child said, within bounds: all of its output up to a limit, the beginning and the end of its complaints, a
//! log file that exists only when there is something in it. It does not know what the text means.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The longest output that is taken as a value; more is an error and ends the child.
pub(crate) const OUTPUT_BYTES: usize = 64 << 20;
/// A log file does not grow beyond this.
const LOG_BYTES: u64 = 64 << 20;
const HEAD_BYTES: usize = 16 << 10;
const TAIL_BYTES: usize = 48 << 10;
/// The longest line that is shown while something runs, in characters.
const LINE_CHARS: usize = 200;
/// How far back a last line is looked for.
const LINE_BYTES: usize = 2048;

/// Bytes up to [`OUTPUT_BYTES`].
#[derive(Debug, Default)]
pub(crate) struct Capture {
    bytes: Vec<u8>,
    over: bool,
}

impl Capture {
    /// Takes more; false when the limit is passed, after which nothing is kept any more.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.over || self.bytes.len() + bytes.len() > OUTPUT_BYTES {
            self.over = true;
            self.bytes = Vec::new();
            return false;
        }
        self.bytes.extend_from_slice(bytes);
        true
    }

    /// Takes what a filter before this one had held back; it is short.
    pub(crate) fn push_rest(&mut self, bytes: &[u8]) {
        if !self.over {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// As text with its last newline cut. Bytes that are no UTF-8 become U+FFFD: a tool's stray byte should not cost
    /// a result that is otherwise good, and whoever needs exact bytes has the log.
    pub(crate) fn into_text(mut self) -> String {
        if self.bytes.last() == Some(&b'\n') {
            self.bytes.pop();
            if self.bytes.last() == Some(&b'\r') {
                self.bytes.pop();
            }
        }
        String::from_utf8(self.bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }
}

/// The beginning and the end of a stream.
#[derive(Debug, Default)]
pub(crate) struct Excerpt {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Excerpt {
    /// Takes more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let room = HEAD_BYTES - self.head.len();
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(first);
        self.tail.extend_from_slice(&rest[rest.len().saturating_sub(TAIL_BYTES)..]);
        // Cut at twice the size, so that a stream of small pieces is not moved at each of them.
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    /// The last lines, clean, at most `lines` of them; empty when nothing was said.
    pub(crate) fn last_lines(&self, lines: usize) -> String {
        let end = if self.tail.len() > TAIL_BYTES / 4 {
            self.tail.clone()
        } else {
            [self.head.as_slice(), self.tail.as_slice()].concat()
        };
        let end = &end[end.len().saturating_sub(4 * LINE_BYTES)..];
        let text = String::from_utf8_lossy(end);
        let text: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        text[text.len().saturating_sub(lines)..].iter().map(|line| clean(line)).collect::<Vec<_>>().join("\n")
    }
}

/// The last line of `bytes` that says something, clean.
pub(crate) fn last_line(bytes: &[u8]) -> Option<String> {
    let end = &bytes[bytes.len().saturating_sub(LINE_BYTES)..];
    let line = end.split(|byte| matches!(byte, b'\n' | b'\r')).rfind(|line| !line.trim_ascii().is_empty())?;
    let line = clean(&String::from_utf8_lossy(line));
    (!line.is_empty()).then_some(line)
}

/// A line without escape sequences, control characters and marks that turn the direction of text, at most
/// [`LINE_CHARS`] characters long.
fn clean(line: &str) -> String {
    let mut out = String::with_capacity(line.len().min(LINE_CHARS));
    let mut letters = line.chars().peekable();
    let mut count = 0;
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => skip_escape(&mut letters),
            '\t' => out.push(' '),
            _ if letter.is_control() => continue,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => continue,
            _ => out.push(letter),
        }
        count += usize::from(letter != '\u{1b}');
        if count == LINE_CHARS {
            break;
        }
    }
    out.trim().to_owned()
}

/// Skips the rest of a terminal's escape sequence: CSI up to its final letter, OSC up to its end, else one letter.
fn skip_escape(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match letters.next() {
        Some('[') => while letters.next().is_some_and(|letter| !('@'..='~').contains(&letter)) {},
        Some(']' | 'P' | '_' | '^' | 'X') => {
            while let Some(letter) = letters.next() {
                if letter == '\u{7}' || (letter == '\u{1b}' && letters.next_if_eq(&'\\').is_some()) {
                    break;
                }
            }
        }
        _ => {}
    }
}

/// A log file, made with its first byte.
#[derive(Debug)]
pub(crate) enum Log {
    /// Nothing was said yet.
    Silent,
    /// There is a file.
    Open { file: File, bytes: u64 },
    /// The file is full or cannot be written. An attempt does not fail for its log.
    Closed,
}

impl Log {
    /// Appends; `path` is asked for once.
    pub(crate) fn push(&mut self, bytes: &[u8], path: impl FnOnce() -> PathBuf) {
        if bytes.is_empty() {
            return;
        }
        if let Log::Silent = self {
            *self = match create(&path()) {
                Ok(file) => Log::Open { file, bytes: 0 },
                Err(_) => Log::Closed,
            };
        }
        let Log::Open { file, bytes: written } = self else { return };
        *written += bytes.len() as u64;
        let full = *written > LOG_BYTES;
        let bytes = if full { b"\n[the log ends here: it is full]\n" } else { bytes };
        if file.write_all(bytes).is_err() || full {
            *self = Log::Closed;
        }
    }
}

fn create(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_people_are_clean() {
        assert_eq!(last_line(b"one\ntwo \x1b[31mred\x1b[0m\x07\n\n").unwrap(), "two red");
        assert_eq!(last_line(b"50%\r100%\r").unwrap(), "100%");
        assert_eq!(last_line(b"\x1b]0;title\x07text\x1b]8;;x\x1b\\link").unwrap(), "textlink");
        assert_eq!(last_line("a\u{202e}b\u{9b}c".as_bytes()).unwrap(), "abc");
        assert_eq!(last_line(&[b'x'; 5000]).unwrap().len(), LINE_CHARS);
        assert_eq!(last_line(b"\n \n"), None);
        assert_eq!(last_line(b"\x1b[2K"), None);
    }

    #[test]
    fn an_excerpt_keeps_both_ends() {
        let mut excerpt = Excerpt::default();
        excerpt.push(b"first\n");
        for i in 0..100_000 {
            excerpt.push(format!("line {i}\n").as_bytes());
        }
        assert!(excerpt.head.len() + excerpt.tail.len() <= HEAD_BYTES + 2 * TAIL_BYTES);
        assert_eq!(excerpt.last_lines(2), "line 99998\nline 99999");
        let mut short = Excerpt::default();
        short.push(b"a\n\nb\n");
        assert_eq!(short.last_lines(5), "a\nb");
        assert_eq!(Excerpt::default().last_lines(5), "");
    }

    #[test]
    fn text_loses_one_newline_and_stray_bytes() {
        let text = |bytes: &[u8]| {
            let mut capture = Capture::default();
            assert!(capture.push(bytes));
            capture.into_text()
        };
        assert_eq!(text(b"a\n\n"), "a\n");
        assert_eq!(text(b"a"), "a");
        assert_eq!(text(b"a\xffb\n"), "a\u{fffd}b");
    }

    #[test]
    fn output_has_a_limit() {
        let mut capture = Capture::default();
        let piece = vec![0; OUTPUT_BYTES / 2];
        assert!(capture.push(&piece) && capture.push(&piece));
        assert!(!capture.push(b"x") && !capture.push(b"x"));
        assert!(capture.bytes.is_empty());
    }
}
