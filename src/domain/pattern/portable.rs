//! The regular expressions that Go and Rust read in the same way.
//!
//! The API server compiles a pattern with the `regexp` package of Go (RE2 syntax), Sidewatch with the `regex` crate. Some
//! texts are valid in both and match different names: `[a&&b]` is a class of three characters in Go, and an empty
//! intersection in Rust. [`check`] searches the syntax tree for them. It also refuses syntax that only Rust accepts, so
//! that a pattern is valid here only if the API server accepts it, and characters that no name contains.

use regex_syntax::ast::{
    self, AssertionKind, Ast, ClassSetBinaryOp, ClassSetItem, ClassSetUnion, Flag, Flags, FlagsItemKind,
    GroupKind, HexLiteralKind, Literal, LiteralKind, Repetition, RepetitionKind, RepetitionRange, Span,
};

/// The largest number of repetitions in RE2.
const MAX_REPETITIONS: u32 = 1000;

/// A difference between Go and Rust, and the correction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPortable {
    #[error(
        "RE2 has no set operation {0} in a character class: write the characters that match, and \\- for a dash"
    )]
    SetOperation(String),
    #[error("RE2 has no class inside a character class: write \\[ for a bracket")]
    NestedClass,
    #[error("RE2 reads {0} at this place of a character class as a range: write \\{1} for the character")]
    Range(String, char),
    #[error("names contain ASCII characters only: replace {0} by a class of ASCII characters, such as [0-9]")]
    UnicodeClass(String),
    #[error("names contain ASCII characters only: remove {0}")]
    NotAscii(String),
    #[error("RE2 has no escape {0}: write the character")]
    Escape(String),
    #[error("RE2 has no word boundary {0}: write \\b")]
    WordBoundary(String),
    #[error("RE2 has no flag {0}: remove it")]
    Flag(String),
    #[error("RE2 reads {0} as characters, because of the space: remove the space")]
    SpaceInRepetition(String),
    #[error("RE2 repeats at most 1000 times: reduce {0}")]
    TooManyRepetitions(String),
    #[error("RE2 cannot repeat a repetition: write (?:...) around the first one in {0}")]
    RepeatedRepetition(String),
}

/// Searches a syntax tree for a part that Go and Rust read differently. `source` is the text of the tree.
pub(super) fn check(source: &str, tree: &Ast) -> Result<(), NotPortable> {
    ast::visit(tree, Portable { source })
}

struct Portable<'a> {
    source: &'a str,
}

impl Portable<'_> {
    fn text(&self, span: &Span) -> String {
        let text = self.source.get(span.start.offset..span.end.offset);
        text.unwrap_or_default().to_owned()
    }

    fn literal(&self, literal: &Literal) -> Result<(), NotPortable> {
        let is_unicode_escape = matches!(
            literal.kind,
            LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
                | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        );
        if is_unicode_escape {
            Err(NotPortable::Escape(self.text(&literal.span)))
        } else if literal.c.is_ascii() {
            Ok(())
        } else {
            Err(NotPortable::NotAscii(self.text(&literal.span)))
        }
    }

    fn flags(&self, flags: &Flags) -> Result<(), NotPortable> {
        for item in &flags.items {
            match item.kind {
                FlagsItemKind::Flag(Flag::Unicode | Flag::CRLF | Flag::IgnoreWhitespace) => {
                    return Err(NotPortable::Flag(self.text(&item.span)));
                }
                FlagsItemKind::Negation
                | FlagsItemKind::Flag(
                    Flag::CaseInsensitive | Flag::MultiLine | Flag::DotMatchesNewLine | Flag::SwapGreed,
                ) => {}
            }
        }
        Ok(())
    }

    fn repetition(&self, repetition: &Repetition) -> Result<(), NotPortable> {
        if matches!(*repetition.ast, Ast::Repetition(_)) {
            return Err(NotPortable::RepeatedRepetition(self.text(&repetition.span)));
        }
        let RepetitionKind::Range(range) = &repetition.op.kind else {
            return Ok(());
        };
        let text = self.text(&repetition.op.span);
        let (RepetitionRange::Exactly(most)
        | RepetitionRange::AtLeast(most)
        | RepetitionRange::Bounded(_, most)) = range;
        if text.contains(char::is_whitespace) {
            Err(NotPortable::SpaceInRepetition(text))
        } else if *most > MAX_REPETITIONS {
            Err(NotPortable::TooManyRepetitions(text))
        } else {
            Ok(())
        }
    }
}

/// Refuses a class that starts with two dashes: a range in Go, two characters in Rust.
fn check_start(union: &ClassSetUnion) -> Result<(), NotPortable> {
    match union.items.as_slice() {
        [ClassSetItem::Literal(first), ClassSetItem::Literal(second), ..]
            if is_verbatim(first, "-") && is_verbatim(second, "-") =>
        {
            Err(NotPortable::Range("--".to_owned(), '-'))
        }
        _ => Ok(()),
    }
}

/// Whether one of these characters is written without an escape.
fn is_verbatim(literal: &Literal, characters: &str) -> bool {
    literal.kind == LiteralKind::Verbatim && characters.contains(literal.c)
}

impl ast::Visitor for Portable<'_> {
    type Output = ();
    type Err = NotPortable;

    fn finish(self) -> Result<(), NotPortable> {
        Ok(())
    }

    fn visit_pre(&mut self, tree: &Ast) -> Result<(), NotPortable> {
        match tree {
            Ast::Literal(literal) => self.literal(literal),
            Ast::Flags(set) => self.flags(&set.flags),
            Ast::Group(group) => match &group.kind {
                GroupKind::NonCapturing(flags) => self.flags(flags),
                GroupKind::CaptureIndex(_) | GroupKind::CaptureName { .. } => Ok(()),
            },
            Ast::Assertion(assertion) => match assertion.kind {
                AssertionKind::StartLine
                | AssertionKind::EndLine
                | AssertionKind::StartText
                | AssertionKind::EndText
                | AssertionKind::WordBoundary
                | AssertionKind::NotWordBoundary => Ok(()),
                AssertionKind::WordBoundaryStart
                | AssertionKind::WordBoundaryEnd
                | AssertionKind::WordBoundaryStartAngle
                | AssertionKind::WordBoundaryEndAngle
                | AssertionKind::WordBoundaryStartHalf
                | AssertionKind::WordBoundaryEndHalf => {
                    Err(NotPortable::WordBoundary(self.text(&assertion.span)))
                }
            },
            Ast::ClassUnicode(class) => Err(NotPortable::UnicodeClass(self.text(&class.span))),
            Ast::ClassBracketed(class) => match &class.kind {
                ast::ClassSet::Item(ClassSetItem::Union(union)) => check_start(union),
                ast::ClassSet::Item(_) | ast::ClassSet::BinaryOp(_) => Ok(()),
            },
            Ast::Repetition(repetition) => self.repetition(repetition),
            Ast::Empty(_) | Ast::Dot(_) | Ast::ClassPerl(_) | Ast::Alternation(_) | Ast::Concat(_) => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ClassSetItem) -> Result<(), NotPortable> {
        match item {
            ClassSetItem::Literal(literal) => self.literal(literal),
            ClassSetItem::Range(range) => {
                self.literal(&range.start)?;
                self.literal(&range.end)?;
                // A bracket or the first character of a set operation at the end of a range has the same meaning in both
                // languages. The API server refuses it all the same, because its rule reads the text.
                if is_verbatim(&range.end, "[&~-") {
                    return Err(NotPortable::Range(self.text(&range.span), range.end.c));
                }
                Ok(())
            }
            ClassSetItem::Unicode(class) => Err(NotPortable::UnicodeClass(self.text(&class.span))),
            ClassSetItem::Bracketed(_) => Err(NotPortable::NestedClass),
            ClassSetItem::Empty(_)
            | ClassSetItem::Ascii(_)
            | ClassSetItem::Perl(_)
            | ClassSetItem::Union(_) => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, operation: &ClassSetBinaryOp) -> Result<(), NotPortable> {
        let sign = match operation.kind {
            ast::ClassSetBinaryOpKind::Intersection => "&&",
            ast::ClassSetBinaryOpKind::Difference => "--",
            ast::ClassSetBinaryOpKind::SymmetricDifference => "~~",
        };
        Err(NotPortable::SetOperation(sign.to_owned()))
    }
}
