//! Bytes into one spanned tree, from YAML or JSON, within fixed bounds. It does not know what a workflow is: keys and
//! values have no meaning here. Depth is limited while reading, so everything that later walks the tree may recurse.

mod json;
mod position;
mod scalar;
mod yaml;

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Number, Value};

pub use position::Positions;

pub(crate) use json::prefix as json_prefix;

/// Larger texts are refused before anything looks at them.
pub const MAX_BYTES: usize = 16 << 20;
/// Deeper nesting is refused.
pub const MAX_DEPTH: usize = 100;
/// More values than this are refused.
pub(crate) const MAX_NODES: usize = 2_500_000;
/// More commas and opening brackets than this are refused in YAML: its scanner holds a whole flow collection in memory.
const MAX_YAML_MARKS: usize = 1_500_000;
/// Nodes that YAML aliases may add by being expanded; more is taken for an attack.
pub(crate) const MAX_ALIAS_NODES: usize = 100_000;
/// Bytes of text that alias expansion may copy.
pub(crate) const MAX_ALIAS_BYTES: usize = 4 << 20;

/// A range of bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Texts are at most MAX_BYTES long, so offsets fit.
        Span { start: start as u32, end: end as u32 }
    }

    /// As a range for slicing.
    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'t> {
    /// The value.
    pub data: Data<'t>,
    /// Its place in the text.
    pub span: Span,
}

/// The values of JSON, text borrowed where it stands literally in the source.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "JSON's own kinds")]
pub enum Data<'t> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry<'t> {
    /// The key; unique in its map.
    pub key: Cow<'t, str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Node<'t>,
}

impl<'t> Node<'t> {
    /// What a person calls this kind of value.
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Number(_) => "a number",
            Data::Text(_) => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a mapping",
        }
    }

    /// The value under a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node<'t>> {
        let Data::Map(entries) = &self.data else { return None };
        entries.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The text, when this is text.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The plain JSON value.
    pub fn to_json(&self) -> Value {
        match &self.data {
            Data::Null => Value::Null,
            Data::Bool(b) => Value::Bool(*b),
            Data::Number(n) => Value::Number(n.clone()),
            Data::Text(t) => Value::String(t.to_string()),
            Data::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Data::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.to_string(), e.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

/// Why a text is no tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// `syntax` or `duplicate-key`.
    pub code: &'static str,
    /// A lowercase fragment.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What to do.
    pub help: Option<String>,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>, span: Span) -> Self {
        Fault { code: "syntax", message: message.into(), span, help: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The tree, as far as there is one, and every fault found on the way.
#[derive(Debug)]
pub struct Tree<'t> {
    /// The root; `None` when the text cannot be read at all.
    pub root: Option<Node<'t>>,
    /// Faults in the order they were met.
    pub faults: Vec<Fault>,
}

impl Tree<'_> {
    fn hopeless(fault: Fault) -> Self {
        Tree { root: None, faults: vec![fault] }
    }
}

/// Checks that the bytes are text of a bearable size. A byte order mark is left to [`parse`].
pub fn text_of(bytes: &[u8]) -> Result<&str, Fault> {
    let start = Span::default();
    if bytes.len() > MAX_BYTES {
        let megabytes = bytes.len() >> 20;
        return Err(Fault::new(format!("{megabytes} MB are too much for a workflow file (at most 16)"), start));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Fault::new("the text is UTF-16", start).help("save it as UTF-8"));
    }
    if let Some(at) = memchr::memchr(0, bytes) {
        let at = Span::new(at, at);
        return Err(Fault::new("a NUL byte: this is no text file", at).help("workflow files are UTF-8 text"));
    }
    std::str::from_utf8(bytes).map_err(|e| {
        let at = Span::new(e.valid_up_to(), e.valid_up_to());
        Fault::new("the text is not UTF-8", at).help("save it as UTF-8")
    })
}

/// Reads a text. What begins with `{` is tried as JSON first (any size of JSON reads ten times faster that way), and
/// as YAML only when it is not JSON and its name does not insist on being JSON.
pub fn parse<'t>(text: &'t str, name: &str) -> Tree<'t> {
    let body = text.strip_prefix('\u{feff}').unwrap_or(text);
    let base = text.len() - body.len();
    let is_json = name.ends_with(".json");
    if is_json || body.trim_start().starts_with('{') {
        let tree = json::parse(body, base);
        let yaml_may_help = !is_json && tree.root.is_none() && !tree.faults.iter().any(|f| f.message == TOO_DEEP);
        if !yaml_may_help {
            return tree;
        }
        let other = parse_yaml(body, base);
        let is_yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        return if other.root.is_some() || is_yaml { other } else { tree };
    }
    parse_yaml(body, base)
}

fn parse_yaml(body: &str, base: usize) -> Tree<'_> {
    let bytes = body.as_bytes();
    let marks = memchr::memchr3_iter(b',', b'[', b'{', bytes).count();
    if marks > MAX_YAML_MARKS {
        return Tree::hopeless(
            Fault::new(TOO_MANY, Span::default()).help("large workflows are better written as JSON"),
        );
    }
    yaml::parse(body, base)
}

const TOO_DEEP: &str = "nested more than 100 levels deep";
const TOO_MANY: &str = "more values than a workflow file can hold";

/// Names the keys that a map has twice. A few of them are enough.
fn duplicates(entries: &[Entry<'_>], faults: &mut Vec<Fault>) {
    let mut fault = |key: &str, span: Span| {
        if faults.len() >= 100 {
            return;
        }
        let mut fault = Fault::new(format!("the key {} is there twice", crate::diagnostic::quoted(key)), span);
        fault.code = "duplicate-key";
        faults.push(fault.help("each key may be given once"));
    };
    if entries.len() <= 16 {
        for (i, entry) in entries.iter().enumerate() {
            if entries[..i].iter().any(|e| e.key == entry.key) {
                fault(&entry.key, entry.key_span);
            }
        }
        return;
    }
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    for entry in entries {
        if !seen.insert(&*entry.key) {
            fault(&entry.key, entry.key_span);
        }
    }
}

#[cfg(test)]
mod tests;
