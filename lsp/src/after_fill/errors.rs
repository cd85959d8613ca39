//! The syntax tree around a hole, and the ERROR and MISSING nodes that a fill brings or takes away.

use std::ops::Range;

use tree_sitter::{InputEdit, Node, Parser, Point, Tree};

use super::languages::{Extent, Language};

/// What is wrong with a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    /// ERROR and MISSING nodes; what is inside an ERROR node is not counted again.
    pub(super) count: usize,
    /// Bytes of the ERROR nodes.
    pub(super) bytes: usize,
    /// Where they are.
    pub(super) spans: Vec<Range<usize>>,
    /// MISSING tokens whose text is known: where, and what.
    pub(super) missing: Vec<(usize, String)>,
}

/// The parsed text around a hole, from which the trees with fills are made.
#[derive(Debug)]
pub(super) struct Syntax {
    parser: ParserBox,
    /// The tree of the text as it is.
    pub(super) tree: Tree,
}

/// A parser says nothing of itself that is worth printing.
struct ParserBox(Parser);

impl std::fmt::Debug for ParserBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parser")
    }
}

/// A text and its tree. The tree of the text after the next key is made of it in a fraction of the time.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub(super) language: &'static Language,
    pub(super) extent: Extent,
    pub(super) text: String,
    pub(super) tree: Tree,
}

impl Syntax {
    /// Parses `text`; what it shares with `earlier` is not read again.
    pub(super) fn parse_again(
        language: &'static Language,
        extent: Extent,
        text: &str,
        earlier: Option<&Parsed>,
    ) -> Option<Self> {
        let earlier = earlier
            .filter(|earlier| std::ptr::eq(earlier.language, language) && earlier.extent == extent);
        let Some(earlier) = earlier else { return Self::parse(language, extent, text) };
        let parser = ParserBox(language.parser(extent)?);
        let mut syntax = Self { parser, tree: earlier.tree.clone() };
        if earlier.text != text {
            let (span, n_bytes) = difference(&earlier.text, text);
            syntax.tree = syntax.reparse(&earlier.text, text, span, n_bytes)?;
        }
        Some(syntax)
    }

    /// Parses `text`.
    pub(super) fn parse(language: &Language, extent: Extent, text: &str) -> Option<Self> {
        let mut parser = language.parser(extent)?;
        let tree = parser.parse(text, None)?;
        Some(Self { parser: ParserBox(parser), tree })
    }

    /// The tree of `new`, which is `old` with `span` replaced by `n_bytes` other ones.
    pub(super) fn reparse(
        &mut self,
        old: &str,
        new: &str,
        span: Range<usize>,
        n_bytes: usize,
    ) -> Option<Tree> {
        let mut tree = self.tree.clone();
        let new_end = span.start + n_bytes;
        tree.edit(&InputEdit {
            start_byte: span.start,
            old_end_byte: span.end,
            new_end_byte: new_end,
            start_position: point(old, span.start),
            old_end_position: point(old, span.end),
            new_end_position: point(new, new_end),
        });
        self.parser.0.parse(new, Some(&tree))
    }
}

/// The bytes of `old` that `new` has others for, and how many those are.
fn difference(old: &str, new: &str) -> (Range<usize>, usize) {
    let same = |a: &mut dyn Iterator<Item = (&u8, &u8)>| a.take_while(|(a, b)| a == b).count();
    let (old_bytes, new_bytes) = (old.as_bytes(), new.as_bytes());
    let start = old.floor_char_boundary(same(&mut old_bytes.iter().zip(new_bytes)));
    let tails = old_bytes[start..].iter().rev().zip(new_bytes[start..].iter().rev());
    let tail = same(&mut tails.into_iter());
    let end = old.ceil_char_boundary(old.len() - tail);
    (start..end, new.len() - (old.len() - end) - start)
}

fn point(text: &str, at: usize) -> Point {
    let before = &text.as_bytes()[..at];
    let row = before.iter().filter(|byte| **byte == b'\n').count();
    let line_start =
        before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    Point { row, column: at - line_start }
}

impl Errors {
    /// Finds them in `tree`.
    pub(super) fn of(tree: &Tree) -> Self {
        let mut errors = Self::default();
        let mut pending = vec![tree.root_node()];
        while let Some(node) = pending.pop() {
            if node.is_error() || node.is_missing() {
                errors.add(&node);
                continue;
            }
            if node.has_error() {
                pending.extend((0..node.child_count()).filter_map(|index| node.child(index)));
            }
        }
        errors
    }

    fn add(&mut self, node: &Node<'_>) {
        self.count += 1;
        self.bytes += node.byte_range().len();
        self.spans.push(node.byte_range());
        if node.is_missing() && !node.is_named() {
            self.missing.push((node.start_byte(), node.kind().to_owned()));
        }
    }

    /// The first one that touches `span`.
    pub(super) fn touching(&self, span: &Range<usize>) -> Option<Range<usize>> {
        let touches = |error: &&Range<usize>| error.start <= span.end && error.end >= span.start;
        self.spans.iter().filter(touches).min_by_key(|error| error.start).cloned()
    }
}

/// Whether the byte `at` lies inside a comment or a string that goes on to both sides of it.
pub(super) fn in_prose(tree: &Tree, at: usize) -> bool {
    let mut next = tree.root_node().descendant_for_byte_range(at, at);
    while let Some(node) = next {
        let kind = node.kind();
        let is_prose =
            kind.contains("comment") || kind.contains("string") || kind.contains("heredoc");
        if is_prose && node.start_byte() < at && at < node.end_byte() {
            return true;
        }
        next = node.parent();
    }
    // A line comment ends where its line does, and a cursor there is still in it.
    let left =
        at.checked_sub(1).and_then(|left| tree.root_node().descendant_for_byte_range(left, at));
    left.is_some_and(|node| node.kind().contains("comment") && node.end_byte() == at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Errors {
        let language = Language::of("rust", "").unwrap();
        Errors::of(&Syntax::parse(language, Extent::File, text).unwrap().tree)
    }

    #[test]
    fn errors_and_missing_tokens_are_counted() {
        assert_eq!(errors("fn a() { b(); }"), Errors::default());
        let missing = errors("fn a() { let b = 1 }");
        assert_eq!((missing.count, &missing.missing[..]), (1, &[(18, ";".to_owned())][..]));
        assert_eq!(errors("fn a() { let = ; } fn b( }").count, 2);
    }

    #[test]
    fn a_tree_from_an_old_one_is_the_tree_of_the_new_text() {
        let language = Language::of("rust", "").unwrap();
        let old = "fn a() {\n    é();\n}\n";
        let mut syntax = Syntax::parse(language, Extent::File, old).unwrap();
        let new = "fn a() {\n    é(\n1\n, 2);\n}\n";
        let tree = syntax.reparse(old, new, 15..16, 7).unwrap();
        let fresh = Syntax::parse(language, Extent::File, new).unwrap().tree;
        assert_eq!(tree.root_node().to_sexp(), fresh.root_node().to_sexp());
    }

    #[test]
    fn the_difference_of_two_texts_lies_between_what_they_share() {
        for (old, new, expected) in [
            ("abc", "abc", (3..3, 0)),
            ("abc", "abxc", (2..2, 1)),
            ("aaa", "aa", (2..3, 0)),
            ("aé", "aè", (1..3, 2)),
            ("éb", "èb", (0..2, 2)),
            ("", "ab", (0..0, 2)),
        ] {
            assert_eq!(difference(old, new), expected, "{old} {new}");
        }
    }

    #[test]
    fn typing_gives_the_tree_that_a_fresh_parse_gives() {
        let language = Language::of("rust", "").unwrap();
        let text = "fn a() {\n    let b = c(1);\n}\n\nfn d() {}\n";
        let at = text.find("c(1)").unwrap();
        let mut earlier: Option<Parsed> = None;
        for (span, with) in [(at..at, ""), (at..at + 4, "é"), (at..at, "vec![2"), (0..0, "//x\n")]
        {
            let mut now = text.to_owned();
            now.replace_range(span, with);
            let tree =
                Syntax::parse_again(language, Extent::File, &now, earlier.as_ref()).unwrap().tree;
            let fresh = Syntax::parse(language, Extent::File, &now).unwrap().tree;
            assert_eq!(tree.root_node().to_sexp(), fresh.root_node().to_sexp(), "{now}");
            earlier = Some(Parsed { language, extent: Extent::File, text: now, tree });
        }
    }

    #[test]
    fn prose_is_told_from_code() {
        let language = Language::of("rust", "").unwrap();
        let text = "// a\nfn b() { c(\"d\") }\n";
        let tree = Syntax::parse(language, Extent::File, text).unwrap().tree;
        for (at, expected) in
            [(3, true), (4, true), (0, false), (8, false), (17, true), (16, false)]
        {
            assert_eq!(in_prose(&tree, at), expected, "{at}");
        }
    }
}
