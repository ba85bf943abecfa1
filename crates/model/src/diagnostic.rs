//! What is wrong with a workflow, as data: a code, a place, a sentence, a way out. It does not know how diagnostics
//! are shown. Text from the file is quoted so that it cannot disturb a terminal.

use std::ops::Range;

use serde::Serialize;

use crate::syntax::{Positions, Span};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing can be run.
    Error,
    /// It runs, but probably not as meant.
    Warning,
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// See [`Severity`].
    pub severity: Severity,
    /// A stable name of this kind of fault.
    pub code: &'static str,
    /// The task it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A sentence without a full stop.
    pub message: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// Bytes of the text.
    #[serde(skip)]
    pub span: Range<usize>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Text of the file, safe to show: in backticks, control characters escaped, at most 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(80) + 2);
    shown.push('`');
    for (n, c) in text.chars().enumerate() {
        match c {
            _ if n == 80 => {
                shown.push('…');
                break;
            }
            c if c.is_control() || is_invisible(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown.push('`');
    shown
}

/// Marks that change the direction of text or have no width.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Collects diagnostics while a file is read.
pub(crate) struct Sink<'t> {
    positions: Positions<'t>,
    text: &'t str,
    found: Vec<Diagnostic>,
    errors: usize,
    warnings: usize,
    /// The task that is being read.
    pub(crate) task: Option<String>,
}

/// More faults of one severity than this are not told one by one.
const MAX_TOLD: usize = 1000;
/// So many faults get a "did you mean".
const MAX_HINTED: usize = 100;

impl<'t> Sink<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Sink { positions: Positions::new(text), text, found: Vec::new(), errors: 0, warnings: 0, task: None }
    }

    pub(crate) fn position(&self, span: Span) -> (u32, u32) {
        self.positions.at(span.start)
    }

    /// The place `at` bytes into a text whose node is at `span`, where the text stands there as it is; else the node.
    pub(crate) fn within(&self, span: Span, text: &str, at: usize) -> Span {
        let written = self.text.get(span.range()).unwrap_or_default();
        match written.find(text).filter(|_| !text.is_empty()) {
            Some(start) => Span::new(span.start as usize + start + at, span.end as usize),
            None => span,
        }
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    /// The known word that was probably meant. Not asked any more after many faults: it is the one costly answer, and
    /// a file of nothing but faults must not buy much of it.
    pub(crate) fn nearest<'a>(&self, word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        if self.errors < MAX_HINTED { crate::keys::nearest(word, known) } else { None }
    }

    pub(crate) fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Note<'_> {
        self.errors += 1;
        match self.errors <= MAX_TOLD {
            true => self.push(Severity::Error, code, span, message.into()),
            false => Note(None),
        }
    }

    pub(crate) fn warning(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> Note<'_> {
        self.warnings += 1;
        match self.warnings <= MAX_TOLD {
            true => self.push(Severity::Warning, code, span, message.into()),
            false => Note(None),
        }
    }

    fn push(&mut self, severity: Severity, code: &'static str, span: Span, message: String) -> Note<'_> {
        let (line, column) = self.positions.at(span.start);
        let task = self.task.clone();
        let span = span.range();
        self.found.push(Diagnostic { severity, code, task, message, line, column, span, help: None });
        Note(self.found.last_mut())
    }

    /// Everything that was told, in the order of the file, each fault once.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.task = None;
        for (count, severity) in [(self.errors, Severity::Error), (self.warnings, Severity::Warning)] {
            if count > MAX_TOLD {
                let rest = count - MAX_TOLD;
                self.push(severity, "too-many", Span::default(), format!("{rest} more are not told one by one"));
            }
        }
        self.found.sort_by_key(|d| (d.span.start, d.severity == Severity::Warning));
        let mut told = std::collections::HashSet::new();
        self.found.retain(|d| told.insert((d.code, d.task.clone(), d.message.clone())));
        self.found
    }
}

/// The diagnostic just told, to add a way out.
pub(crate) struct Note<'a>(Option<&'a mut Diagnostic>);

impl Note<'_> {
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        if let Some(diagnostic) = self.0 {
            diagnostic.help = Some(help.into());
            return Note(Some(diagnostic));
        }
        Note(None)
    }

    /// Puts it down to another task than the one that is being read.
    pub(crate) fn task(self, task: &str) -> Self {
        if let Some(diagnostic) = self.0 {
            diagnostic.task = Some(task.to_owned());
            return Note(Some(diagnostic));
        }
        Note(None)
    }
}
