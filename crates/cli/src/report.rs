//! Faults of texts, shown to a person with an excerpt. It does not know who found them or what they mean.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::terminal::{self, Colour, harmless};

/// At most so many faults are rendered; the rest is counted.
const SHOWN: usize = 200;
/// Longer source lines are not excerpted: a caret at column 50,000 helps nobody.
const EXCERPT_COLUMNS: usize = 400;

/// A text that faults point into.
#[derive(Debug)]
pub struct Source {
    /// Its name for people: a path, `-`, `inline`.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// Line and column, 1-based, of a byte.
    pub fn position(&self, byte: usize) -> (u32, u32) {
        let byte = self.boundary(byte);
        let before = &self.text[..byte];
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before[before.rfind('\n').map_or(0, |n| n + 1)..].chars().count() + 1;
        (u32::try_from(line).unwrap_or(u32::MAX), u32::try_from(column).unwrap_or(u32::MAX))
    }

    fn boundary(&self, byte: usize) -> usize {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        byte
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is executed.
    Error,
    /// Worth knowing.
    Warning,
}

/// Something wrong with a text or a setting.
#[derive(Debug)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for it.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The task it belongs to.
    pub task: Option<String>,
    /// The text it is in, if it is in one.
    pub source: Option<Arc<Source>>,
    /// Bytes of the text.
    pub span: Range<usize>,
    /// 1-based; 0 when there is no place.
    pub line: u32,
    /// 1-based; 0 when there is no place.
    pub column: u32,
    /// What to do about it.
    pub help: Option<String>,
}

impl Fault {
    /// An error without a place.
    pub fn error(code: &'static str, message: String) -> Fault {
        let severity = Severity::Error;
        Fault { severity, code, message, task: None, source: None, span: 0..0, line: 0, column: 0, help: None }
    }

    /// An error at a place of a text.
    pub fn at(
        code: &'static str,
        message: String,
        source: &Arc<Source>,
        span: Range<usize>,
        help: Option<String>,
    ) -> Fault {
        let (line, column) = source.position(span.start);
        Fault { source: Some(Arc::clone(source)), span, line, column, help, ..Fault::error(code, message) }
    }

    /// Adds a line of help.
    pub fn with_help(self, help: String) -> Fault {
        Fault { help: Some(help), ..self }
    }
}

/// An id that breaks the rules may have any length.
const LONGEST_TASK: usize = 80;

/// Renders faults for stderr, each with its code, place, excerpt and help.
pub fn render(faults: &[Fault], colour: Colour) -> String {
    let renderer = match colour {
        Colour::On => Renderer::styled(),
        Colour::Off => Renderer::plain(),
    };
    let renderer = renderer.term_width(terminal::width().max(60));
    let mut out = String::new();
    for fault in faults.iter().take(SHOWN) {
        let title = match &fault.task {
            Some(task) if !fault.message.contains(&format!("`{task}`")) && !task.chars().any(char::is_control) => {
                format!("{} (task {})", fault.message, terminal::cut(task, LONGEST_TASK))
            }
            _ => fault.message.clone(),
        };
        let title = harmless(&title);
        let help = fault.help.as_deref().map(harmless);
        let level = match fault.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let name = fault.source.as_deref().map(|source| harmless(&source.name));
        let excerpt = fault.source.as_deref().and_then(|source| excerpt(source, fault));
        let mut group = Group::with_title(level.primary_title(title.as_ref()).id(fault.code));
        if let Some((line, span, name)) = &excerpt {
            group = group.element(
                Snippet::source(line.as_str())
                    .line_start(fault.line as usize)
                    .path(name.as_str())
                    .annotation(AnnotationKind::Primary.span(span.clone())),
            );
        } else if let Some(name) = &name {
            let origin = Origin::path(name.as_ref());
            group = group.element(match fault.line {
                0 => origin,
                line => origin.line(line as usize).char_column(fault.column.max(1) as usize),
            });
        }
        if let Some(help) = &help {
            group = group.element(Level::HELP.message(help.as_ref()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    if faults.len() > SHOWN {
        let _ = writeln!(out, "… and {} more\n", faults.len() - SHOWN);
    }
    out
}

/// `FILE:LINE:COLUMN` of a fault, as far as it has a place.
pub fn place(fault: &Fault) -> Option<String> {
    let source = fault.source.as_deref()?;
    Some(match fault.line {
        0 => harmless(&source.name).into_owned(),
        line => format!("{}:{line}:{}", harmless(&source.name), fault.column.max(1)),
    })
}

/// The line that a fault is in, the part of it to underline, and the text's name; `None` when there is no such line
/// or it is too long to show.
fn excerpt(source: &Source, fault: &Fault) -> Option<(String, Range<usize>, String)> {
    if fault.line == 0 || source.text.is_empty() {
        return None;
    }
    let start = source.boundary(fault.span.start);
    let begin = source.text[..start].rfind('\n').map_or(0, |n| n + 1);
    let end = source.text[start..].find('\n').map_or(source.text.len(), |n| start + n);
    let line = source.text[begin..end].trim_end_matches('\r');
    // Bytes first: counting the letters of a file that is one line would be done again for every fault.
    if line.len() > EXCERPT_COLUMNS * 4 || line.chars().count() > EXCERPT_COLUMNS {
        return None;
    }
    // The span is measured on the harmless text, because escapes are longer than what they stand for.
    let start = start.min(begin + line.len());
    let stop = source.boundary(fault.span.end).clamp(start, begin + line.len());
    let line = harmless(line).into_owned();
    let before = harmless(&source.text[begin..start]).len();
    let marked = match harmless(&source.text[start..stop]).len() {
        // An empty span still gets its caret, under one whole letter.
        0 => line[before..].chars().next().map_or(0, char::len_utf8),
        bytes => bytes,
    };
    Some((line, before..before + marked, harmless(&source.name).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_span_of_any_text_can_be_shown() {
        for text in [
            "",
            "\n",
            "a\r\n\r\nb",
            "é\u{1b}[31m日\t\u{0}\n\u{202e}x",
            "\u{feff}\u{fffd}\u{fffd}",
            "\r",
            "tasks:\n\t- x",
        ] {
            let source = Arc::new(Source { name: "wf\u{7}.yaml".to_owned(), text: text.to_owned() });
            for start in 0..text.len() + 3 {
                for end in start..text.len() + 4 {
                    let fault = Fault::at("code", "message".to_owned(), &source, start..end, Some("help".to_owned()));
                    let shown = render(&[fault], Colour::Off);
                    assert!(shown.contains("code") && shown.contains("help"), "{shown}");
                    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
                }
            }
        }
    }

    #[test]
    fn a_line_too_long_to_show_still_has_a_place() {
        let source = Arc::new(Source { name: "wf.json".to_owned(), text: "x".repeat(100_000) });
        let fault = Fault::at("code", "message".to_owned(), &source, 70_000..70_001, None);
        assert_eq!(render(&[fault], Colour::Off), "error[code]: message\n--> wf.json:1:70001\n\n");
    }
}
