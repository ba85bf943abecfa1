//! The grammar of references inside text: `$OUTPUT[id].a[0] ?? 7`, `$INPUT[name]`, `$$OUTPUT[` for the literal. It
//! knows which names exist, not what they will hold, nor who hangs on whom: it lists the uses for the graph to judge.

use std::collections::HashMap;

use serde_json::Value;

use crate::diagnostic::{Sink, quoted};
use crate::secret::{self, Part};
use crate::syntax::{Data, Node, Span, json_prefix};
use crate::template::{Piece, Reference, Source, Step, Template};
use crate::workflow::TaskIndex;

/// What may be referred to.
pub(crate) struct Names<'a> {
    pub(crate) tasks: &'a HashMap<&'a str, TaskIndex>,
    pub(crate) inputs: &'a [crate::workflow::InputDeclaration],
    /// Whether `$ITEM` is a reference here: in tasks with `foreach` it is, elsewhere it is text.
    pub(crate) has_item: bool,
}

/// A task's output is used here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) target: TaskIndex,
    pub(crate) span: Span,
}

/// The template of a value, nested values included. Faults are told; uses are appended.
pub(crate) fn template(node: &Node<'_>, names: &Names<'_>, uses: &mut Vec<Use>, sink: &mut Sink<'_>) -> Template {
    match &node.data {
        Data::Text(text) if text.contains('$') => text_template(text, node.span, names, uses, sink),
        Data::List(items) => {
            let items: Vec<_> = items.iter().map(|item| template(item, names, uses, sink)).collect();
            match items.iter().all(|item| matches!(item, Template::Literal(_))) {
                true => Template::Literal(Value::Array(items.into_iter().filter_map(literal).collect())),
                false => Template::List(items),
            }
        }
        Data::Map(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|e| (e.key.to_string(), template(&e.value, names, uses, sink))).collect();
            match entries.iter().all(|(_, value)| matches!(value, Template::Literal(_))) {
                true => {
                    let plain = entries.into_iter().filter_map(|(key, value)| Some((key, literal(value)?)));
                    Template::Literal(Value::Object(plain.collect()))
                }
                false => Template::Object(entries),
            }
        }
        _ => Template::Literal(node.to_json()),
    }
}

fn literal(template: Template) -> Option<Value> {
    match template {
        Template::Literal(value) => Some(value),
        _ => None,
    }
}

/// The template of one text.
pub(crate) fn text_template(
    text: &str,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    sink: &mut Sink<'_>,
) -> Template {
    let pieces = match pieces(text, names.has_item) {
        Ok(pieces) => pieces,
        Err(fault) => {
            sink.error("bad-reference", span, fault.0).help(fault.1);
            return Template::Literal(Value::String(text.to_owned()));
        }
    };
    let mut resolved = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match piece {
            Raw::Text(text) => resolved.push(Piece::Text(text)),
            Raw::Reference(raw) => {
                if let Some(reference) = named(raw, span, names, uses, sink) {
                    resolved.push(Piece::Reference(reference));
                }
            }
        }
    }
    match resolved.as_mut_slice() {
        [] => Template::Literal(Value::String(String::new())),
        [Piece::Text(text)] => Template::Literal(Value::String(std::mem::take(text))),
        [Piece::Reference(_)] => match resolved.pop() {
            Some(Piece::Reference(reference)) => Template::Whole(reference),
            _ => unreachable!("the only piece was just seen to be a reference"),
        },
        _ => Template::Text(resolved),
    }
}

/// The same for a value in which secrets may be named: nobody but a child of its own ever sees it.
pub(crate) fn private_template(
    text: &str,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    sink: &mut Sink<'_>,
) -> Template {
    let parts = secret::parts(text);
    if parts.iter().all(|part| matches!(part, Part::Text(part) if part.len() == text.len())) {
        return text_template(text, span, names, uses, sink);
    }
    let mut pieces = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Secret(name) => pieces.push(Piece::Reference(Reference {
                source: Source::Secret(name.to_owned()),
                path: Vec::new(),
                default: None,
                text: format!("${{secret:{name}}}"),
            })),
            Part::Text(text) => match text_template(text, span, names, uses, sink) {
                Template::Whole(reference) => pieces.push(Piece::Reference(reference)),
                Template::Text(more) => pieces.extend(more),
                Template::Literal(value) => pieces.extend(value.as_str().map(|text| Piece::Text(text.to_owned()))),
                Template::List(_) | Template::Object(_) => unreachable!("a text has no parts of that kind"),
            },
        }
    }
    Template::Text(pieces)
}

/// Whether a text holds a reference; for places where none is allowed.
pub(crate) fn has_reference(text: &str, has_item: bool) -> bool {
    match pieces(text, has_item) {
        Ok(pieces) => pieces.iter().any(|piece| matches!(piece, Raw::Reference(_))),
        Err(_) => true,
    }
}

/// The reference at the beginning of a text and its length; `None` when there is none.
pub(crate) fn leading(
    text: &str,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    sink: &mut Sink<'_>,
) -> Option<(Option<Reference>, usize)> {
    let (root, open) = root(text, names.has_item)?;
    match reference(text, root, open) {
        Ok((raw, length)) => Some((named(raw, span, names, uses, sink), length)),
        Err(fault) => {
            sink.error("bad-reference", span, fault.0).help(fault.1);
            Some((None, text.len()))
        }
    }
}

fn named(
    raw: RawReference<'_>,
    span: Span,
    names: &Names<'_>,
    uses: &mut Vec<Use>,
    sink: &mut Sink<'_>,
) -> Option<Reference> {
    let source = match raw.root {
        Root::Item => Source::Item,
        Root::Output => match names.tasks.get(raw.name) {
            Some(target) => {
                uses.push(Use { target: *target, span });
                Source::Output(*target)
            }
            None => {
                let near = sink.nearest(raw.name, names.tasks.keys().copied());
                let note = sink.error(
                    "bad-reference",
                    span,
                    format!("{} refers to {}, which is no task", quoted(raw.text), quoted(raw.name)),
                );
                match near {
                    Some(near) => note.help(format!("did you mean {}?", quoted(near))),
                    None => note.help("refer to the id of a task that comes before"),
                };
                return None;
            }
        },
        Root::Input if names.inputs.iter().any(|input| input.name == raw.name) => Source::Input(raw.name.to_owned()),
        Root::Input => {
            sink.error(
                "bad-reference",
                span,
                format!("{} refers to a parameter that is not declared", quoted(raw.text)),
            )
            .help(format!("declare {} under `inputs:`", quoted(raw.name)));
            return None;
        }
    };
    Some(Reference { source, path: raw.path, default: raw.default, text: raw.text.to_owned() })
}

enum Raw<'t> {
    Text(String),
    Reference(RawReference<'t>),
}

struct RawReference<'t> {
    root: Root,
    name: &'t str,
    path: Vec<Step>,
    default: Option<Value>,
    text: &'t str,
}

#[derive(Clone, Copy)]
enum Root {
    Output,
    Input,
    Item,
}

/// What is wrong and what to do.
struct Malformed(String, &'static str);

/// A root that may stand at the beginning of a text, and where what follows it begins.
fn root(text: &str, has_item: bool) -> Option<(Root, usize)> {
    if let Some(rest) = text.strip_prefix("$ITEM").filter(|_| has_item) {
        let goes_on = rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        return (!goes_on).then_some((Root::Item, "$ITEM".len()));
    }
    [("$OUTPUT[", Root::Output), ("$INPUT[", Root::Input)]
        .into_iter()
        .find_map(|(mark, root)| text.starts_with(mark).then_some((root, mark.len())))
}

fn pieces(text: &str, has_item: bool) -> Result<Vec<Raw<'_>>, Malformed> {
    let mut found = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        // `$$OUTPUT[` is the literal `$OUTPUT[`; every other dollar stands for itself.
        if rest.starts_with("$$") {
            match root(&rest[1..], has_item) {
                Some((_, length)) => {
                    plain.push_str(&rest[1..1 + length]);
                    rest = &rest[1 + length..];
                }
                None => {
                    plain.push('$');
                    rest = &rest[1..];
                }
            }
            continue;
        }
        let Some((root, open)) = root(rest, has_item) else {
            plain.push('$');
            rest = &rest[1..];
            continue;
        };
        let (reference, length) = reference(rest, root, open)?;
        if !plain.is_empty() {
            found.push(Raw::Text(std::mem::take(&mut plain)));
        }
        found.push(Raw::Reference(reference));
        rest = &rest[length..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        found.push(Raw::Text(plain));
    }
    Ok(found)
}

/// The reference at the beginning of the text and its length.
fn reference(text: &str, root: Root, open: usize) -> Result<(RawReference<'_>, usize), Malformed> {
    let escape = "write `$$OUTPUT[` or `$$INPUT[` for the literal text";
    if let Root::Item = root {
        let (path, default, length) = tail(text, open)?;
        return Ok((RawReference { root, name: "", path, default, text: &text[..length.0] }, length.1));
    }
    let close = text[open..].find([']', '\n']).map(|at| open + at).filter(|at| text.as_bytes()[*at] == b']');
    let Some(close) = close else {
        return Err(Malformed(format!("the reference {} has no closing bracket", quoted(text)), escape));
    };
    let name = &text[open..close];
    if name.is_empty() {
        return Err(Malformed("a reference without a name".into(), escape));
    }
    let (path, default, length) = tail(text, close + 1)?;
    Ok((RawReference { root, name, path, default, text: &text[..length.0] }, length.1))
}

/// The path, the default, and where each of them ends.
type Tail = (Vec<Step>, Option<Value>, (usize, usize));

/// What follows the root of a reference, from `at` on.
fn tail(text: &str, mut at: usize) -> Result<Tail, Malformed> {
    let mut path = Vec::new();
    while let Some((step, length)) = step(&text[at..]) {
        path.push(step);
        at += length;
    }
    let path_end = at;
    let rest = text[at..].trim_start();
    let mut default = None;
    if let Some(after) = rest.strip_prefix("??") {
        let body = after.trim_start();
        match json_prefix(body) {
            Some((value, length)) => {
                default = Some(value);
                at = text.len() - body.len() + length;
            }
            // `Really $OUTPUT[a]?? Yes.` is no default.
            None if rest.len() == text.len() - path_end => {}
            None => {
                let message = format!("the default of {} is no JSON literal", quoted(&text[..path_end]));
                return Err(Malformed(message, "text needs double quotes: `?? \"none\"`"));
            }
        }
    }
    Ok((path, default, (path_end, at)))
}

/// `.key`, `[0]` or `["any key"]`.
fn step(text: &str) -> Option<(Step, usize)> {
    if let Some(rest) = text.strip_prefix('.') {
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let key = &rest[..length];
        return is_plain_key(key).then(|| (Step::Key(key.to_owned()), 1 + length));
    }
    let inner = text.strip_prefix('[')?;
    if inner.starts_with('"') {
        let (key, length) = json_prefix(inner)?;
        let key = key.as_str()?.to_owned();
        return inner[length..].starts_with(']').then_some((Step::Key(key), length + 2));
    }
    let length = inner.find(']')?;
    let digits = &inner[..length];
    let is_index = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let index = is_index.then(|| digits.parse().ok()).flatten()?;
    Some((Step::Index(index), length + 2))
}

/// Whether a key can be written after a dot.
pub(crate) fn is_plain_key(key: &str) -> bool {
    key.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_alphanumeric() || c == '_')
}
