//! Parses YAML and JSON into nodes with their positions in the text.
//!
//! Input: a text with any number of documents. Output: one tree per document, or the position of a syntax error; the
//! documents after an error are still parsed. JSON is read as YAML, of which it is a subset.
//!
//! Memory is bounded: nodes borrow from the text, an alias shares the node of its anchor, and [`MAX_NODES`] limits the
//! nodes of a document with its aliases expanded.

use std::{borrow::Cow, collections::HashMap, ops::Range, rc::Rc};

use granit_parser::{Event, Marker, Options, Parser, ScalarStyle, Span, StrInput, StructureStyle};

/// Limit of the nodes of one document. Nodes of an alias count each time that the alias is used.
pub const MAX_NODES: usize = 2_000_000;

/// A part of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The first byte.
    pub start: u32,
    /// The byte after the last one.
    pub end: u32,
    /// The line of the first byte, counted from 1.
    pub line: u32,
    /// The column of the first byte in characters, counted from 1.
    pub column: u32,
}

impl Location {
    fn new(span: &Span) -> Self {
        let byte = |marker: &Marker| clamp(marker.byte_offset().unwrap_or_default());
        let start = byte(&span.start);
        Self {
            start,
            end: byte(&span.end).max(start),
            line: clamp(span.start.line()),
            column: clamp(span.start.col() + 1),
        }
    }

    /// The bytes of the text.
    pub fn range(self) -> Range<usize> {
        // Both are offsets of a text in memory, so they fit.
        let offset = |byte: u32| usize::try_from(byte).unwrap_or(usize::MAX);
        offset(self.start)..offset(self.end)
    }
}

fn clamp(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A value of a document.
#[derive(Debug)]
pub struct Node<'t> {
    /// The place of the value. The end of a collection is the end of its last value.
    pub location: Location,
    /// The value.
    pub value: Value<'t>,
}

/// The value of a node.
#[derive(Debug)]
pub enum Value<'t> {
    /// A scalar.
    Scalar {
        /// The text without quotes and escapes.
        text: Cow<'t, str>,
        /// It is not quoted and not a block, which are always strings.
        is_plain: bool,
    },
    /// A list.
    List(Vec<Rc<Node<'t>>>),
    /// A mapping, in the order of the text. `is_block` is false for `{…}`.
    Mapping {
        /// Keys and values.
        entries: Vec<(Rc<Node<'t>>, Rc<Node<'t>>)>,
        /// Whether it has block style.
        is_block: bool,
    },
}

impl Node<'_> {
    /// Whether it is a mapping with this key.
    fn has_key(&self, name: &str) -> bool {
        let Value::Mapping { entries, .. } = &self.value else {
            return false;
        };
        let mut keys = entries.iter().map(|(key, _)| &key.value);
        keys.any(|key| matches!(key, Value::Scalar { text, .. } if text == name))
    }

    /// Whether it is null, as the parser reports a document with comments only.
    fn is_empty(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, is_plain: true } if matches!(&**text, "" | "~"))
    }
}

/// A document that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// The place of the problem.
    pub location: Location,
    /// The problem.
    pub message: String,
}

/// The documents of a text.
pub struct Documents<'t> {
    parser: Parser<'t, StrInput<'t>>,
    is_failed: bool,
    limit: usize,
}

impl<'t> Documents<'t> {
    /// Starts to read a text.
    pub fn new(text: &'t str) -> Self {
        Self::with_limit(text, MAX_NODES)
    }

    fn with_limit(text: &'t str, limit: usize) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            is_failed: false,
            limit,
        }
    }
}

impl<'t> Iterator for Documents<'t> {
    type Item = Result<Rc<Node<'t>>, SyntaxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_failed {
            match self.parser.proceed_next_document() {
                Ok(true) => self.is_failed = false,
                Ok(false) | Err(_) => return None,
            }
        }
        let mut builder = Builder::new(self.limit);
        loop {
            let step = match self.parser.next_event()? {
                Ok((Event::DocumentEnd, _)) => match builder.root.take() {
                    Some(root) if !root.is_empty() => {
                        // Data without a kind is not an object of Kubernetes.
                        let twice = builder.twice.take().filter(|_| root.has_key("kind"));
                        return Some(twice.map_or(Ok(root), Err));
                    }
                    _ => {
                        builder = Builder::new(self.limit);
                        Ok(())
                    }
                },
                Ok((Event::StreamEnd, _)) => return None,
                Ok((event, span)) => builder.add(event, &span),
                Err(error) => Err(SyntaxError {
                    location: Location::new(&Span::empty(*error.marker())),
                    message: error.info().clone(),
                }),
            };
            if let Err(error) = step {
                self.is_failed = true;
                return Some(Err(error));
            }
        }
    }
}

/// A collection whose end has not been read.
struct Open<'t> {
    location: Location,
    anchor: usize,
    /// The number of nodes of the document before this collection.
    nodes_before: usize,
    value: Value<'t>,
    key: Option<Rc<Node<'t>>>,
}

struct Builder<'t> {
    open: Vec<Open<'t>>,
    root: Option<Rc<Node<'t>>>,
    /// The node of each anchor, and its number of nodes.
    anchors: HashMap<usize, (Rc<Node<'t>>, usize)>,
    nodes: usize,
    limit: usize,
    /// The first key that is in its mapping twice.
    twice: Option<SyntaxError>,
}

impl<'t> Builder<'t> {
    fn new(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            nodes: 0,
            limit,
            twice: None,
        }
    }

    fn add(&mut self, event: Event<'t>, span: &Span) -> Result<(), SyntaxError> {
        let location = Location::new(span);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar {
                    text,
                    is_plain: style == ScalarStyle::Plain,
                };
                self.count(1, location)?;
                self.close(location, anchor, self.nodes.saturating_sub(1), value);
            }
            Event::SequenceStart(_, anchor, _) => self.open(location, anchor, Value::List(Vec::new()))?,
            Event::MappingStart(style, anchor, _) => {
                let value = Value::Mapping {
                    entries: Vec::new(),
                    is_block: style == StructureStyle::Block,
                };
                self.open(location, anchor, value)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.twice = self.twice.take().or_else(|| key_twice(&open.value));
                    self.close(open.location, open.anchor, open.nodes_before, open.value);
                }
            }
            Event::Alias(anchor) => {
                let Some((node, nodes)) = self.anchors.get(&anchor) else {
                    let message = "the alias refers to a value that contains it".to_owned();
                    return Err(SyntaxError { location, message });
                };
                let (node, nodes) = (Rc::clone(node), *nodes);
                self.count(nodes, location)?;
                self.push(node);
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, location: Location) -> Result<(), SyntaxError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > self.limit {
            let message = format!(
                "the document has more than {} values, with its aliases expanded: split it into documents",
                self.limit
            );
            return Err(SyntaxError { location, message });
        }
        Ok(())
    }

    fn open(&mut self, location: Location, anchor: usize, value: Value<'t>) -> Result<(), SyntaxError> {
        let nodes_before = self.nodes;
        self.count(1, location)?;
        self.open.push(Open {
            location,
            anchor,
            nodes_before,
            value,
            key: None,
        });
        Ok(())
    }

    fn close(&mut self, mut location: Location, anchor: usize, nodes_before: usize, value: Value<'t>) {
        let last = match &value {
            Value::Scalar { .. } => None,
            Value::List(items) => items.last(),
            Value::Mapping { entries, .. } => entries.last().map(|(_, value)| value),
        };
        // A value that is an alias can be before its collection.
        location.end = last.map_or(location.end, |last| last.location.end.max(location.end));
        let node = Rc::new(Node { location, value });
        if anchor != 0 {
            let nodes = self.nodes.saturating_sub(nodes_before);
            self.anchors.insert(anchor, (Rc::clone(&node), nodes));
        }
        self.push(node);
    }

    /// Adds a complete node to the collection that contains it.
    fn push(&mut self, node: Rc<Node<'t>>) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match (&mut open.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Mapping { entries, .. }, Some(key)) => entries.push((key, node)),
            (Value::Mapping { .. } | Value::Scalar { .. }, _) => open.key = Some(node),
        }
    }
}

/// Returns the first key that is in the mapping twice: only one of its two values would be used.
fn key_twice(value: &Value<'_>) -> Option<SyntaxError> {
    let Value::Mapping { entries, .. } = value else {
        return None;
    };
    let mut lines = HashMap::with_capacity(entries.len());
    for (key, _) in entries {
        let Value::Scalar { text, .. } = &key.value else {
            continue;
        };
        let first = lines.insert(&**text, key.location.line);
        // A mapping can merge several others.
        if let Some(line) = first.filter(|_| &**text != "<<") {
            return Some(SyntaxError {
                location: key.location,
                message: format!(
                    "the key {text:?} is in the mapping twice, first in line {line}: remove one of both"
                ),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests;
