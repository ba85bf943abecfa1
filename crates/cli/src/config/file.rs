//! One TOML file of configuration, with the place of every key. It does not know which file wins over which.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Kind, Place};
use super::{Entry, FILE_LIMIT, Origin, Value, expectation, unbuilt};
use crate::report::{Fault, Source};
use crate::source;

type Entries = BTreeMap<Vec<String>, Entry>;

/// Reads one file; all its faults at once.
pub(super) fn read(path: &Path) -> Result<Entries, Vec<Fault>> {
    let name = path.display().to_string();
    let bytes = source::read_bounded(path, FILE_LIMIT)
        .map_err(|e| vec![Fault::error("unreadable", format!("cannot read {name}: {e}"))])?;
    let text =
        String::from_utf8(bytes).map_err(|_| vec![Fault::error("syntax", format!("{name} is not valid UTF-8"))])?;
    let mut reader = Reader {
        path,
        source: Arc::new(Source { name, text: text.clone() }),
        entries: Entries::new(),
        faults: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in errors {
        reader.fault("syntax", error.message().to_owned(), error.span().unwrap_or(0..0), None);
    }
    if reader.faults.is_empty() {
        reader.table(table.get_ref(), &mut Vec::new());
    }
    reader.faults.sort_by_key(|fault| fault.span.start);
    if reader.faults.is_empty() { Ok(reader.entries) } else { Err(reader.faults) }
}

struct Reader<'a> {
    path: &'a Path,
    source: Arc<Source>,
    entries: Entries,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    // The parser bounds the depth of tables, and the key table's depth bounds this recursion further.
    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            match keys::place(path) {
                Place::Key(key) => self.key(key, value, path, name.span()),
                Place::Table => match value.get_ref() {
                    DeValue::Table(inner) => self.table(inner, path),
                    _ => self.fault("bad-type", format!("`{}` must be a table", path.join(".")), value.span(), None),
                },
                Place::Unknown(known) => self.unknown(path, &known, name.span()),
            }
            path.pop();
        }
    }

    fn key(
        &mut self,
        pattern: &'static [&'static str],
        value: &Spanned<DeValue<'_>>,
        path: &[String],
        at: Range<usize>,
    ) {
        let kind = keys::KEYS.iter().find(|key| key.path == pattern).expect("the pattern came from the table").kind;
        match convert(kind, value.get_ref()) {
            Some(found) => {
                if let Some(reason) = unbuilt(pattern, &found) {
                    self.fault("not-yet-supported", reason, at, Some("remove the key".to_owned()));
                    return;
                }
                let line = self.source.position(at.start).0;
                self.entries
                    .insert(path.to_vec(), Entry { value: found, origin: Origin::File(self.path.to_owned(), line) });
            }
            None => {
                let message = format!("`{}` must be {}", path.join("."), expectation(kind));
                self.fault("bad-type", message, value.span(), None);
            }
        }
    }

    fn unknown(&mut self, path: &[String], known: &[&str], at: Range<usize>) {
        let name = path.last().map_or("", String::as_str);
        let help = match keys::nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        self.fault("unknown-key", format!("unknown key `{}`", path.join(".")), at, Some(help));
    }

    fn fault(&mut self, code: &'static str, message: String, span: Range<usize>, help: Option<String>) {
        self.faults.push(Fault::at(code, message, &self.source, span, help));
    }
}

fn convert(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    let texts = |items: &toml::de::DeArray<'_>| -> Option<Vec<String>> {
        items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect()
    };
    match (kind, value) {
        (Kind::Count, DeValue::Integer(n)) => {
            let n = u32::from_str_radix(n.as_str(), n.radix()).ok().filter(|n| *n >= 1)?;
            Some(Value::Count(n))
        }
        (Kind::Size, DeValue::String(text)) => size(text),
        (Kind::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Word(words), DeValue::String(text)) if words.contains(&&**text) => Some(Value::Text(text.to_string())),
        (Kind::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
        (Kind::Number, DeValue::Integer(n)) => number(n.as_str()),
        (Kind::Number, DeValue::Float(n)) => number(n.as_str()),
        (Kind::List, DeValue::Array(items)) => Some(Value::List(texts(items)?)),
        _ => None,
    }
}

fn number(text: &str) -> Option<Value> {
    let n: f64 = text.parse().ok()?;
    (n.is_finite() && n >= 0.0).then_some(Value::Number(n))
}

/// Reads a value as an environment variable holds it: bare words for texts, numbers as they are, lists as TOML.
pub(super) fn from_text(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        Kind::Size => size(text),
        Kind::Text => Some(Value::Text(text.to_owned())),
        Kind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
        Kind::Count => text.trim().parse().ok().filter(|n| *n >= 1).map(Value::Count),
        Kind::Switch => text.trim().parse().ok().map(Value::Switch),
        Kind::Number => number(text.trim()),
        Kind::List => convert(kind, DeValue::parse(text).ok()?.get_ref()),
    }
}

/// Kept as it is written, provided that it is an amount of memory.
fn size(text: &str) -> Option<Value> {
    raddle_model::quantity::size(text).map(|_| Value::Text(text.to_owned()))
}
