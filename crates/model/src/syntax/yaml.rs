//! YAML events into the tree: one document, core schema, aliases expanded within a budget. It does not know what the
//! document means. The scanner is saphyr's; depth, aliases and duplicate keys are judged here while events arrive.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Marks, Tag};

use super::{
    Data, Entry, Fault, MAX_ALIAS_BYTES, MAX_ALIAS_NODES, MAX_DEPTH, MAX_NODES, Node, Span, TOO_DEEP, TOO_MANY, Tree,
    duplicates, scalar,
};
use crate::diagnostic::quoted;

/// A whole document. `base` is added to every offset.
pub(super) fn parse(text: &str, base: usize) -> Tree<'_> {
    let mut builder = Builder { offsets: Offsets::new(text, base), ..Builder::default() };
    match builder.build(text) {
        Ok(root) => Tree { root: Some(root), faults: builder.faults },
        Err(fault) => {
            builder.faults.push(fault);
            Tree { root: None, faults: builder.faults }
        }
    }
}

#[derive(Default)]
struct Builder<'t> {
    offsets: Offsets<'t>,
    /// Collections that are open.
    open: Vec<Frame<'t>>,
    /// Finished nodes with an anchor, by the scanner's number.
    anchors: Vec<Option<Node<'t>>>,
    nodes: usize,
    alias_nodes: usize,
    alias_bytes: usize,
    faults: Vec<Fault>,
}

/// An open collection.
struct Frame<'t> {
    data: Partial<'t>,
    start: u32,
    anchor: usize,
}

enum Partial<'t> {
    List(Vec<Node<'t>>),
    Map(Vec<Entry<'t>>, Option<(Cow<'t, str>, Span)>),
}

impl<'t> Builder<'t> {
    fn build(&mut self, text: &'t str) -> Result<Node<'t>, Fault> {
        let mut root = None;
        let mut documents = 0;
        for event in Parser::new_from_str(text) {
            let (event, marks) = event.map_err(|e| self.scan_fault(&e))?;
            let node = match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        let at = self.offsets.span(marks);
                        return Err(Fault::new("a second YAML document", at).help("one file holds one workflow"));
                    }
                    continue;
                }
                Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => continue,
                Event::SequenceStart(anchor, tag) => {
                    self.begin(Partial::List(Vec::new()), anchor, tag.as_deref(), "seq", marks)?;
                    continue;
                }
                Event::MappingStart(anchor, tag) => {
                    self.begin(Partial::Map(Vec::new(), None), anchor, tag.as_deref(), "map", marks)?;
                    continue;
                }
                Event::SequenceEnd | Event::MappingEnd => self.end(marks)?,
                Event::Alias(anchor) => self.alias(anchor, marks)?,
                Event::Scalar(text, style, anchor, tag) => {
                    let span = self.offsets.span(marks);
                    if let Some(Frame { data: Partial::Map(_, key @ None), .. }) = self.open.last_mut() {
                        if text.is_empty() && style == ScalarStyle::Plain {
                            return Err(Fault::new("an empty key", span));
                        }
                        if anchor != 0 {
                            return Err(Fault::new("an anchor on a key", span).help("put the anchor on the value"));
                        }
                        *key = Some((text, span));
                        continue;
                    }
                    let node = Node { data: self.scalar(text, style, tag.as_deref(), span)?, span };
                    self.remember(anchor, &node)?;
                    node
                }
            };
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                return Err(Fault::new(TOO_MANY, node.span));
            }
            if let Some(whole) = self.put(node)? {
                root = Some(whole);
            }
        }
        root.ok_or_else(|| Fault::new("the file is empty", Span::default()).help("a workflow has `tasks:`"))
    }

    fn begin(
        &mut self,
        data: Partial<'t>,
        anchor: usize,
        tag: Option<&Tag>,
        wanted: &str,
        marks: Marks,
    ) -> Result<(), Fault> {
        let span = self.offsets.span(marks);
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(TOO_DEEP, span));
        }
        if let Some(Frame { data: Partial::Map(_, None), .. }) = self.open.last() {
            return Err(Fault::new("a key must be text, not a collection", span));
        }
        if tag.is_some_and(|tag| !(tag.is_yaml_core_schema() && tag.suffix == wanted)) {
            return Err(unknown_tag(tag, span));
        }
        // Reserves the anchor's place, so that an alias inside its own anchor is seen to be unfinished.
        self.reserve(anchor);
        self.open.push(Frame { data, start: span.start, anchor });
        Ok(())
    }

    fn end(&mut self, marks: Marks) -> Result<Node<'t>, Fault> {
        let frame = self.open.pop().expect("the scanner ends only what it began");
        let end = self.offsets.span(marks).end.max(frame.start);
        let data = match frame.data {
            Partial::List(items) => Data::List(items),
            Partial::Map(entries, _) => {
                duplicates(&entries, &mut self.faults);
                Data::Map(entries)
            }
        };
        let node = Node { data, span: Span { start: frame.start, end } };
        self.remember(frame.anchor, &node)?;
        Ok(node)
    }

    /// Puts a finished node where it belongs; gives it back when it is the root.
    fn put(&mut self, node: Node<'t>) -> Result<Option<Node<'t>>, Fault> {
        match self.open.last_mut().map(|frame| &mut frame.data) {
            None => return Ok(Some(node)),
            Some(Partial::List(items)) => items.push(node),
            Some(Partial::Map(entries, key)) => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => return Err(Fault::new("a key must be plain text", node.span)),
            },
        }
        Ok(None)
    }

    fn scalar(&self, text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Data<'t>, Fault> {
        let suffix = match tag {
            None if style == ScalarStyle::Plain => None,
            None => return Ok(Data::Text(text)),
            Some(tag) if tag.handle == "!" && tag.suffix.is_empty() => return Ok(Data::Text(text)),
            Some(tag) if tag.is_yaml_core_schema() => Some(tag.suffix.as_str()),
            Some(_) => return Err(unknown_tag(tag, span)),
        };
        if suffix == Some("str") {
            return Ok(Data::Text(text));
        }
        let shown = quoted(&text);
        let data = scalar::resolve(text).map_err(|(message, help)| Fault::new(message, span).help(help))?;
        let fits = match (suffix, &data) {
            (None, _) | (Some("null"), Data::Null) | (Some("bool"), Data::Bool(_)) => true,
            (Some("int"), Data::Number(n)) => !n.is_f64(),
            (Some("float"), Data::Number(_)) => true,
            (Some("null" | "bool" | "int" | "float"), _) => false,
            _ => return Err(unknown_tag(tag, span)),
        };
        if fits { Ok(data) } else { Err(Fault::new(format!("{shown} does not fit its tag"), span)) }
    }

    fn reserve(&mut self, anchor: usize) {
        if anchor != 0 && self.anchors.len() <= anchor {
            self.anchors.resize_with(anchor + 1, || None);
        }
    }

    fn remember(&mut self, anchor: usize, node: &Node<'t>) -> Result<(), Fault> {
        if anchor != 0 {
            self.reserve(anchor);
            // The copy is charged like an alias: anchors inside anchors would multiply too.
            self.charge(node, node.span)?;
            self.anchors[anchor] = Some(node.clone());
        }
        Ok(())
    }

    /// Takes a copy of the node out of the budget; its depth.
    fn charge(&mut self, node: &Node<'t>, span: Span) -> Result<usize, Fault> {
        let mut size = Size::default();
        size.add(node, 1);
        self.alias_nodes += size.nodes;
        self.alias_bytes += size.bytes;
        if self.alias_nodes > MAX_ALIAS_NODES || self.alias_bytes > MAX_ALIAS_BYTES {
            return Err(
                Fault::new("aliases expand to too much", span).help("write the values out, or use fewer aliases")
            );
        }
        Ok(size.depth)
    }

    fn alias(&mut self, anchor: usize, marks: Marks) -> Result<Node<'t>, Fault> {
        let span = self.offsets.span(marks);
        let Some(Some(target)) = self.anchors.get(anchor) else {
            return Err(Fault::new("an alias inside what it stands for", span));
        };
        // Diagnostics about an expanded value point at the alias, which is where the reader meets it.
        let mut node = target.clone();
        node.span = span;
        let depth = self.charge(&node, span)?;
        if self.open.len() + depth > MAX_DEPTH {
            return Err(Fault::new(TOO_DEEP, span));
        }
        Ok(node)
    }

    fn scan_fault(&mut self, error: &saphyr_parser::ScanError) -> Fault {
        let at = self.offsets.byte(error.marker().index());
        let fault = Fault::new(error.info().to_lowercase(), Span::new(at, at));
        match error.info() {
            info if info.contains("tab") => fault.help("indent with spaces"),
            _ => fault,
        }
    }
}

fn unknown_tag(tag: Option<&Tag>, span: Span) -> Fault {
    let tag = tag.map(Tag::to_string).unwrap_or_default();
    Fault::new(format!("the tag {} means nothing here", quoted(&tag)), span).help("remove it")
}

/// What expanding an alias costs.
#[derive(Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    fn add(&mut self, node: &Node<'_>, depth: usize) {
        self.nodes += 1;
        self.depth = self.depth.max(depth);
        match &node.data {
            Data::Text(text) => self.bytes += text.len(),
            Data::List(items) => items.iter().for_each(|item| self.add(item, depth + 1)),
            Data::Map(entries) => entries.iter().for_each(|entry| {
                self.bytes += entry.key.len();
                self.add(&entry.value, depth + 1);
            }),
            _ => {}
        }
    }
}

/// Turns the scanner's character indexes into byte offsets.
#[derive(Default)]
struct Offsets<'t> {
    text: &'t str,
    base: usize,
    /// Byte offset of every 256th character; empty when the text is ASCII and the two are the same.
    marks: Vec<u32>,
}

impl<'t> Offsets<'t> {
    const STEP: usize = 256;

    fn new(text: &'t str, base: usize) -> Self {
        let marks = match text.is_ascii() {
            true => Vec::new(),
            false => text.char_indices().step_by(Self::STEP).map(|(at, _)| at as u32).collect(),
        };
        Offsets { text, base, marks }
    }

    fn byte(&self, index: usize) -> usize {
        if self.marks.is_empty() {
            return self.base + index.min(self.text.len());
        }
        let Some(start) = self.marks.get(index / Self::STEP) else { return self.base + self.text.len() };
        let rest = &self.text[*start as usize..];
        let within = rest.char_indices().nth(index % Self::STEP).map_or(rest.len(), |(at, _)| at);
        self.base + *start as usize + within
    }

    fn span(&self, marks: Marks) -> Span {
        Span::new(self.byte(marks.start.index()), self.byte(marks.end.index()))
    }
}
