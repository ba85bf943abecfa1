//! What a terminal may be shown and how: colour or not, its width, text from outside made harmless, durations,
//! money and tables in words. It does not know what is being shown.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::exit::Exit;
use crate::problem::Problem;

/// Whether escape sequences for colour may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// A terminal that wants them.
    On,
    /// A file, a pipe, a person who said no.
    Off,
}

impl Colour {
    /// The decision for stderr: `--no-color`, NO_COLOR, a dumb terminal and anything that is no terminal say no.
    pub fn for_stderr(no_color_flag: bool) -> Colour {
        let refused = no_color_flag
            || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        if !refused && io::stderr().is_terminal() { Colour::On } else { Colour::Off }
    }
}

/// Writes data to stdout. A reader that has gone away (`raddle ps | head`) ends the command quietly.
pub fn print(text: &str) -> Result<(), Problem> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Problem::told(Exit::Success)),
        Err(e) => Err(Problem::io("write to stdout", &e)),
    }
}

/// Writes talk to stderr. Nobody can be told when that fails, so failure is silence.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Columns of the terminal behind stderr; 80 when there is none.
pub fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => 80,
    }
}

/// One line of text from outside, made harmless: everything that could move a cursor, change a colour, reorder or
/// hide text becomes a visible escape. Tabs become spaces, line ends become `\n` in letters.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if text.chars().all(|c| !is_harmful(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\t' => out.push(' '),
            c if is_harmful(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Several lines of text from outside: as [`harmless`], with line ends kept.
pub fn harmless_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(harmless).collect();
    lines.join("\n")
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// Cuts to a number of columns, with `…` where something is missing.
pub fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let mut used = 1;
    let mut out = String::new();
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > columns {
            break;
        }
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    Cow::Owned(out)
}

/// `85ms`, `1.2s`, `4m05s`, `2h03m`.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{}.{}s", seconds, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// `$0.0283`, `$12.40`: two decimals from a dollar on, four below.
pub fn money(usd: f64) -> String {
    if usd.abs() >= 1.0 { format!("${usd:.2}") } else { format!("${usd:.4}") }
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 task`, `3 tasks`.
pub fn counted(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{} {thing}s", grouped(n as u64)) }
}

/// The same for a thing whose plural is irregular.
pub fn counted_as(n: usize, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", grouped(n as u64)) }
}

/// An age on the command line: a number with `s`, `m`, `h` or `d`.
pub fn age(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("expected a number with s, m, h or d, such as 30d".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{number}` is no whole number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| "too long".to_owned())
}

/// A listing: a header and rows, columns aligned by display width. Cells are made harmless when they come in.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(header: &[&str]) -> Self {
        Table { rows: vec![header.iter().map(|h| h.to_uppercase()).collect()] }
    }

    /// Adds a row.
    pub fn row<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(|cell| harmless(cell.as_ref()).into_owned()).collect());
    }

    /// The text, two spaces between columns, no trailing blanks.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.width()).max().unwrap_or(0))
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, &width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + 2));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_steer_the_terminal() {
        assert_eq!(harmless("plain – text"), "plain – text");
        assert_eq!(harmless("\u{1b}[31mred\u{7}\r\n"), "\\u{1b}[31mred\\u{7}\\r\\n");
        assert_eq!(harmless("a\u{202e}b\u{200b}c\u{9b}d"), "a\\u{202e}b\\u{200b}c\\u{9b}d");
        assert_eq!(harmless_lines("a\tb\n\u{1b}c"), "a b\n\\u{1b}c");
    }

    #[test]
    fn durations_and_money_in_words() {
        let said: Vec<_> = [0, 999, 1_250, 59_999, 60_000, 245_000, 7_380_000].map(duration).into();
        assert_eq!(said, ["0ms", "999ms", "1.2s", "59.9s", "1m00s", "4m05s", "2h03m"]);
        assert_eq!((money(0.02834), money(12.4)), ("$0.0283".into(), "$12.40".into()));
        assert_eq!(
            (grouped(20_000), grouped(999), grouped(1_234_567)),
            ("20,000".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!(age("2h"), Ok(Duration::from_secs(7200)));
        assert!(age("").is_err() && age("5").is_err() && age("99999999999999999999d").is_err() && age("é").is_err());
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!(cut("日本語テキスト", 7), "日本語…");
        let mut table = Table::new(&["id", "name"]);
        table.row(["日本", "x"]);
        table.row(["abc", "y"]);
        assert_eq!(table.render(), "ID    NAME\n日本  x\nabc   y\n");
    }
}
