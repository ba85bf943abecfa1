//! The secrets of one run: their values by name, and the one way of taking them out of what is written or shown. It
//! does not know where values come from, nor what a text is for.
//!
//! A value is found as it is, as JSON text escapes it, in base64 (wherever it begins in the encoded bytes, with or
//! without line ends as `base64` and `openssl` set them) and percent-encoded. Of a value of many lines each line counts.
//! All occurrences count, overlapping ones too: no byte of one is ever left over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use raddle_model::secret;
use serde_json::Value;

use crate::attempt::{Failure, RawOutput, Report};

mod forms;

/// Shorter values would be found where nobody has put them, and could be guessed from what is left out.
pub const SHORTEST: usize = 8;
/// Longer values fit no environment variable of a child beside others.
pub const LONGEST: usize = 16 << 10;
/// Of a line that was cut, an end as long as this that could be the beginning of a secret is taken for one.
const CUT: usize = 8;

/// Why a value cannot be a secret of a run; lowercase fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Below [`SHORTEST`].
    Short,
    /// Above [`LONGEST`].
    Long,
    /// No process can be given a NUL.
    Nul,
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unfit::Short => {
                write!(f, "it has fewer than {SHORTEST} bytes, so it could not be told from ordinary text and hidden")
            }
            Unfit::Long => write!(f, "it has more than {} KB", LONGEST >> 10),
            Unfit::Nul => f.write_str("it holds a NUL, which no environment variable can"),
        }
    }
}

impl std::error::Error for Unfit {}

/// See the module. The default holds none and changes nothing.
#[derive(Default)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    search: Option<Search>,
}

struct Search {
    automaton: AhoCorasick,
    /// The marker that stands for each pattern, by its number.
    markers: Vec<Arc<str>>,
    patterns: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// The secrets that a text refers to.
pub fn named_in(text: &str) -> impl Iterator<Item = &str> {
    secret::names(text)
}

/// Whether a value can be a secret.
pub fn check(value: &str) -> Result<(), Unfit> {
    match value.len() {
        _ if value.contains('\0') => Err(Unfit::Nul),
        n if n < SHORTEST || value.trim().len() < SHORTEST => Err(Unfit::Short),
        n if n > LONGEST => Err(Unfit::Long),
        _ => Ok(()),
    }
}

impl Secrets {
    /// Of values that [`check`] has passed.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        let mut patterns: Vec<(Vec<u8>, Arc<str>)> = Vec::new();
        for (name, value) in &values {
            let marker: Arc<str> = format!("[secret:{name}]").into();
            patterns.extend(forms::of(value).into_iter().map(|form| (form, Arc::clone(&marker))));
        }
        let search = (!patterns.is_empty()).then(|| {
            let (patterns, markers): (Vec<_>, Vec<_>) = patterns.into_iter().unzip();
            let automaton = AhoCorasick::new(&patterns).expect("a few bounded patterns make a small automaton");
            Search { automaton, markers, patterns }
        });
        Secrets { values, search }
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.search.is_none()
    }

    /// The value of that name.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// A text with `${secret:NAME}` replaced, once; the error is the name of a secret that this run does not have.
    pub fn filled(&self, text: &str) -> Result<String, String> {
        secret::filled(text, |name| self.value(name))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The first secret that occurs in a text.
    pub fn found_in(&self, text: &str) -> Option<&str> {
        let search = self.search.as_ref()?;
        let found = search.automaton.find(text)?;
        let marker = &search.markers[found.pattern().as_usize()];
        self.values.keys().map(String::as_str).find(|name| marker.get(8..marker.len() - 1) == Some(name))
    }

    /// The text with markers in the place of secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self.redact_bytes(text.as_bytes()) {
            Cow::Borrowed(_) => Cow::Borrowed(text),
            // Patterns may end within a letter only if a value does, and values are text.
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The same of bytes.
    pub fn redact_bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, [u8]> {
        let Some(search) = &self.search else { return Cow::Borrowed(bytes) };
        let found = search.occurrences(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for one in found {
            out.extend_from_slice(&bytes[at..one.begin]);
            out.extend_from_slice(search.markers[one.pattern].as_bytes());
            at = one.end;
        }
        out.extend_from_slice(&bytes[at..]);
        Cow::Owned(out)
    }

    /// JSON text stays JSON text: strings, keys and numbers are looked into, however they are written.
    pub fn redact_json(&self, text: String) -> String {
        if self.is_empty() {
            return text;
        }
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return self.redact(&text).into_owned() };
        let mut inside = value.clone();
        self.redact_value(&mut inside);
        let safe = if inside == value { text } else { inside.to_string() };
        match self.redact(&safe) {
            Cow::Borrowed(_) => safe,
            // It goes over several values: what is left is text about it.
            Cow::Owned(redacted) => Value::String(redacted).to_string(),
        }
    }

    fn redact_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact(text) {
                    *text = redacted;
                }
            }
            Value::Number(number) => {
                if let Cow::Owned(redacted) = self.redact(&number.to_string()) {
                    *value = Value::String(redacted);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(entries) => {
                let is_told = entries.keys().any(|key| matches!(self.redact(key), Cow::Owned(_)));
                if is_told {
                    let old = std::mem::take(entries);
                    entries.extend(old.into_iter().map(|(key, value)| (self.redact(&key).into_owned(), value)));
                }
                entries.values_mut().for_each(|value| self.redact_value(value));
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// A line for people that may have been cut: a secret's beginning at its end goes too.
    fn redact_line(&self, line: &mut String) {
        let Some(search) = &self.search else { return };
        if let Cow::Owned(redacted) = self.redact(line) {
            *line = redacted;
        }
        let (held, pattern) = search.begun(line.as_bytes());
        let at = line.len() - held;
        if held >= CUT && line.is_char_boundary(at) {
            line.truncate(at);
            line.push_str(&search.markers[pattern]);
        }
    }

    /// What an executor brought, without secrets.
    pub fn clean_outcome(&self, outcome: &mut Result<RawOutput, Failure>) {
        match outcome {
            _ if self.is_empty() => {}
            Ok(RawOutput::Text(text)) => self.replace(text),
            Ok(RawOutput::Json(text)) => *text = self.redact_json(std::mem::take(text)),
            Err(failure) => self.redact_line(&mut failure.message),
        }
    }

    fn replace(&self, text: &mut String) {
        if let Cow::Owned(redacted) = self.redact(text) {
            *text = redacted;
        }
    }

    /// A report without secrets: whatever an engine writes down or shows of an attempt comes from its reports.
    pub fn clean(&self, report: &mut Report) {
        if self.is_empty() {
            return;
        }
        match report {
            Report::Ended(ended) => {
                self.clean_outcome(&mut ended.result);
                ended.session.iter_mut().for_each(|session| self.replace(session));
            }
            Report::Progress { line, .. } => self.redact_line(line),
            Report::Denied { action, resource, rule, .. } => {
                [action, resource, rule].into_iter().for_each(|text| self.redact_line(text));
            }
            Report::Model { model, reason, .. } => [model, reason].into_iter().for_each(|text| self.redact_line(text)),
            Report::Control(_) => {}
        }
    }
}

/// Where secrets stand in a text.
struct Occurrence {
    begin: usize,
    end: usize,
    pattern: usize,
}

impl Search {
    /// In order and disjoint: occurrences that overlap are one.
    fn occurrences(&self, bytes: &[u8]) -> Vec<Occurrence> {
        let mut found: Vec<Occurrence> = self
            .automaton
            .find_overlapping_iter(bytes)
            .map(|one| Occurrence { begin: one.start(), end: one.end(), pattern: one.pattern().as_usize() })
            .collect();
        // Of those that begin together the longest gives the name.
        found.sort_by_key(|one| (one.begin, usize::MAX - one.end));
        found.dedup_by(|later, earlier| {
            let is_part = later.begin < earlier.end;
            if is_part {
                earlier.end = earlier.end.max(later.end);
            }
            is_part
        });
        found
    }

    /// How many bytes at the end could be the beginning of a secret, and of which pattern.
    fn begun(&self, bytes: &[u8]) -> (usize, usize) {
        let mut longest = (0, 0);
        for (n, pattern) in self.patterns.iter().enumerate() {
            let most = (pattern.len() - 1).min(bytes.len());
            let length = (longest.0 + 1..=most).rev().find(|length| bytes.ends_with(&pattern[..*length]));
            longest = length.map_or(longest, |length| (length, n));
        }
        longest
    }
}

/// Takes secrets out of a stream, wherever it is cut into pieces. What could be the beginning of one is held back.
#[derive(Debug, Default)]
pub struct Redactor {
    secrets: Arc<Secrets>,
    held: Vec<u8>,
    /// So many of the held bytes belong to a secret for which the marker was given already.
    covered: usize,
}

impl Redactor {
    /// For one stream.
    pub fn new(secrets: &Arc<Secrets>) -> Self {
        Redactor { secrets: Arc::clone(secrets), held: Vec::new(), covered: 0 }
    }

    /// Takes the next piece and gives what can be told of it.
    pub fn push<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        let Some(search) = &self.secrets.search else { return Cow::Borrowed(bytes) };
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(bytes);
        let cut = text.len() - search.begun(&text).0;
        let out = self.told(&text, cut);
        self.held = text.split_off(cut);
        Cow::Owned(out)
    }

    /// The stream has ended: what was held back after all. A secret that was cut off is hidden like a whole one.
    pub fn finish(&mut self) -> Vec<u8> {
        let text = std::mem::take(&mut self.held);
        let secrets = Arc::clone(&self.secrets);
        let Some(search) = &secrets.search else { return text };
        let (begun, pattern) = search.begun(&text);
        let cut = text.len() - if begun < CUT { 0 } else { begun };
        let is_told = self.covered > cut;
        let mut out = self.told(&text, cut);
        if cut < text.len() && !is_told {
            out.extend_from_slice(search.markers[pattern].as_bytes());
        }
        self.covered = 0;
        out
    }

    /// What is told of a text up to `cut`.
    fn told(&mut self, text: &[u8], cut: usize) -> Vec<u8> {
        let Some(search) = &self.secrets.search else { return text[..cut].to_vec() };
        let mut out = Vec::with_capacity(cut);
        let mut covered = self.covered;
        let mut at = covered.min(cut);
        for one in search.occurrences(text).into_iter().take_while(|one| one.begin < cut) {
            if one.begin >= covered {
                out.extend_from_slice(&text[at..one.begin]);
                out.extend_from_slice(search.markers[one.pattern].as_bytes());
            }
            covered = covered.max(one.end);
            at = covered.min(cut);
        }
        out.extend_from_slice(&text[at..cut]);
        self.covered = covered.saturating_sub(cut);
        out
    }
}

#[cfg(test)]
mod tests;
