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
                    Some(root) if !root.is_empty() => return Some(Ok(root)),
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
}

impl<'t> Builder<'t> {
    fn new(limit: usize) -> Self {
        Self {
            open: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            nodes: 0,
            limit,
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn show(node: &Node<'_>) -> String {
        match &node.value {
            Value::Scalar { text, .. } => text.to_string(),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| show(item)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Mapping { entries, .. } => {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(k, v)| format!("{}: {}", show(k), show(v)))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }

    fn parse(text: &str) -> Vec<Result<String, (u32, String)>> {
        Documents::with_limit(text, 1000)
            .map(|document| {
                document
                    .map(|node| show(&node))
                    .map_err(|e| (e.location.line, e.message))
            })
            .collect()
    }

    #[test]
    fn documents_are_parsed() {
        let ok = |text: &str| Ok(text.to_owned());
        let table = [
            ("", vec![]),
            ("---\n---\n# only a comment\n", vec![]),
            (
                "a: 1\n---\nb: [x, {c: d}]\n",
                vec![ok("{a: 1}"), ok("{b: [x, {c: d}]}")],
            ),
            (
                "{\"a\": [1, true, null],\n\t\"b\":\"x\\ny\\/z\"}",
                vec![ok("{a: [1, true, null], b: x\ny/z}")],
            ),
            ("\u{feff}a: ü\r\nb: c\r\n", vec![ok("{a: ü, b: c}")]),
            ("a: &x {b: c}\nd: *x\n", vec![ok("{a: {b: c}, d: {b: c}}")]),
            ("a: |\n  one\n  two\n", vec![ok("{a: one\ntwo\n}")]),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn documents_after_an_invalid_one_are_parsed() {
        let found = parse("a: 1\n---\nb: [\n---\nc: 2\n---\nd: *missing\n---\ne: 3\n");
        let lines: Vec<_> = found.iter().map(|d| d.as_ref().map_err(|e| e.0)).collect();
        let (a, c, e) = ("{a: 1}".to_owned(), "{c: 2}".to_owned(), "{e: 3}".to_owned());
        assert_eq!(lines, [Ok(&a), Err(3), Ok(&c), Err(7), Ok(&e)], "{found:?}");
    }

    #[test]
    fn a_value_has_its_position() {
        let text = "a: ü\nb:\n  - c: 'dé'\n    e: f\n";
        let root = Documents::new(text).next().unwrap().unwrap();
        let Value::Mapping { entries, .. } = &root.value else {
            panic!("{root:?}")
        };
        let Value::List(items) = &entries[1].1.value else {
            panic!("{root:?}")
        };
        assert_eq!((items[0].location.line, items[0].location.column), (3, 5));
        let Value::Mapping { entries, is_block } = &items[0].value else {
            panic!("{root:?}")
        };
        assert!(is_block);
        let value = entries[0].1.location;
        assert_eq!((value.line, value.column), (3, 8));
        assert_eq!(&text[value.range()], "'dé'");
        assert_eq!(&text[entries[1].0.location.range()], "e");
    }

    #[test]
    fn a_small_text_that_expands_to_many_values_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
        }
        let found: Vec<_> = Documents::new(&bomb).collect();
        assert_eq!(found.len(), 1);
        let error = found[0].as_ref().unwrap_err();
        assert!(error.message.contains("more than 2000000 values"), "{error:?}");
        assert_eq!(error.location.line, 7, "nothing after the limit is read");
        let recursive = parse("a: &x [*x]\n");
        assert!(matches!(&recursive[..], [Err((1, message))] if message.contains("contains it")));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = parse(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
        assert!(matches!(&deep[..], [Err(_)]), "{deep:?}");
    }
}
