//! Chooses the part of a document that a training sample has to fill in.

use std::ops::Range;

use rand::{Rng, RngExt};

use super::Language;
use super::holes::in_prose;

/// How a middle is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MiddleKind {
    /// From a cursor in a line to the end of that line.
    LineEnd,
    /// One to four lines, from after the indentation of the first (or its beginning, or a cursor in it) to the end of the last.
    Lines,
    /// A node of the syntax tree, or what stands between its brackets.
    Node,
    /// Between any two characters that are not too far apart.
    Characters,
}

/// A chosen middle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Middle {
    /// How it was chosen.
    pub kind: MiddleKind,
    /// Bytes of the document.
    pub span: Range<usize>,
}

/// Share of each kind; the rest is [`MiddleKind::Characters`].
const LINE_END_SHARE: f64 = 0.45;
const LINES_SHARE: f64 = 0.25;
const NODE_SHARE: f64 = 0.20;

/// Most lines of [`MiddleKind::Lines`].
const MOST_LINES: usize = 4;
/// How often several lines begin at a cursor in the first one instead of after its indentation.
const LINES_FROM_CURSOR_RATE: f64 = 0.25;
/// How often they are whole lines, so that the fill has to find the indentation: what HumanEval-Infilling asks for.
const WHOLE_LINES_RATE: f64 = 0.2;
/// How often [`whole_line`] leaves the indentation to the fill; an editor that indents new lines has set it already.
const INDENTATION_RATE: f64 = 0.5;
/// How often a cursor may stand within the indentation.
const CURSOR_ANYWHERE_RATE: f64 = 0.125;
/// Longest syntax node.
const MOST_NODE_BYTES: usize = 600;
/// Longest middle between two characters.
const MOST_CHARACTERS: usize = 400;
/// How many places are tried before a kind is given up for a place where it does not apply.
const TRIES: usize = 8;

/// Chooses a middle whose start lies in `focus` (bytes of `text`, on character boundaries). `None` if `focus` holds
/// nothing but blanks.
///
/// A kind that finds no place in `focus` falls back to [`MiddleKind::LineEnd`].
pub fn choose(
    text: &str,
    language: Language,
    focus: Range<usize>,
    rng: &mut impl Rng,
) -> Option<Middle> {
    if text[focus.clone()].trim().is_empty() {
        return None;
    }
    let draw: f64 = rng.random();
    let kind = if draw < LINE_END_SHARE {
        MiddleKind::LineEnd
    } else if draw < LINE_END_SHARE + LINES_SHARE {
        MiddleKind::Lines
    } else if draw < LINE_END_SHARE + LINES_SHARE + NODE_SHARE {
        MiddleKind::Node
    } else {
        MiddleKind::Characters
    };
    let span = match kind {
        MiddleKind::LineEnd => None,
        MiddleKind::Lines => Some(lines(text, &focus, rng)),
        MiddleKind::Node => node(text, language, &focus, rng),
        MiddleKind::Characters => Some(characters(text, &focus, rng)),
    };
    Some(match span {
        Some(span) => Middle { kind, span },
        None => Middle { kind: MiddleKind::LineEnd, span: line_end(text, &focus, rng) },
    })
}

/// Chooses a whole line in `focus` (bytes of `text`, on character boundaries), each that is neither blank nor in a comment
/// or in a string of several lines as likely as another. `None` if none is found.
pub fn whole_line(
    text: &str,
    language: Language,
    focus: Range<usize>,
    rng: &mut impl Rng,
) -> Option<Middle> {
    let part = &text[focus.clone()];
    // The tree of the focus alone is good enough, as for nodes.
    let tree = language.parser().parse(part, None)?;
    let mut start = 0;
    let mut lines = Vec::new();
    for line in part.split_inclusive('\n') {
        let code = start + indentation(line);
        if code < start + line.len() {
            lines.push((start, code));
        }
        start += line.len();
    }
    for _ in 0..TRIES.min(lines.len()) {
        let (start, code) = lines[rng.random_range(0..lines.len())];
        if in_prose(&tree, code) {
            continue;
        }
        let start = focus.start + if rng.random_bool(INDENTATION_RATE) { start } else { code };
        let span = start..line_stop(text, start);
        return Some(Middle { kind: MiddleKind::Lines, span });
    }
    None
}

/// Start of the line that holds byte `at`.
pub(crate) fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// End of the line that holds byte `at`, its line end excluded.
pub(crate) fn line_stop(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline)
}

/// A random character boundary of `range`, both ends included.
fn random_boundary(text: &str, range: &Range<usize>, rng: &mut impl Rng) -> usize {
    text.floor_char_boundary(rng.random_range(range.start..=range.end))
}

/// A line with text on it, by a random byte of `focus`: long lines are chosen more often than short ones.
fn random_line(text: &str, focus: &Range<usize>, rng: &mut impl Rng) -> Range<usize> {
    loop {
        let at = random_boundary(text, focus, rng);
        let line = line_start(text, at)..line_stop(text, at);
        if !text[line.clone()].trim().is_empty() {
            return line;
        }
    }
}

/// First byte after the indentation of `line`.
fn after_indentation(text: &str, line: &Range<usize>) -> usize {
    line.start + indentation(&text[line.clone()])
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn random_cursor(text: &str, line: &Range<usize>, rng: &mut impl Rng) -> usize {
    let from = if rng.random_bool(CURSOR_ANYWHERE_RATE) {
        line.start
    } else {
        after_indentation(text, line)
    };
    random_boundary(text, &(from..line.end), rng)
}

fn line_end(text: &str, focus: &Range<usize>, rng: &mut impl Rng) -> Range<usize> {
    let line = random_line(text, focus, rng);
    random_cursor(text, &line, rng)..line.end
}

fn lines(text: &str, focus: &Range<usize>, rng: &mut impl Rng) -> Range<usize> {
    let first = random_line(text, focus, rng);
    let draw: f64 = rng.random();
    let start = if draw < LINES_FROM_CURSOR_RATE {
        random_cursor(text, &first, rng)
    } else if draw < LINES_FROM_CURSOR_RATE + WHOLE_LINES_RATE {
        first.start
    } else {
        after_indentation(text, &first)
    };
    let mut end = first.end;
    for _ in 1..rng.random_range(1..=MOST_LINES) {
        if end == text.len() {
            break;
        }
        end = line_stop(text, end + 1);
    }
    // A middle that ends in blank lines would teach to add some.
    let end = start.max(text[..end].trim_end_matches(['\n', ' ', '\t']).len());
    start..line_stop(text, end)
}

fn characters(text: &str, focus: &Range<usize>, rng: &mut impl Rng) -> Range<usize> {
    let start = random_boundary(text, focus, rng);
    // Every order of magnitude of lengths is as likely.
    let length = (MOST_CHARACTERS as f64).powf(rng.random::<f64>()) as usize;
    start..text[start..].char_indices().nth(length).map_or(text.len(), |(at, _)| start + at)
}

fn node(
    text: &str,
    language: Language,
    focus: &Range<usize>,
    rng: &mut impl Rng,
) -> Option<Range<usize>> {
    // The tree of the focus alone is good enough: errors at its edges are passed over.
    let part = &text[focus.clone()];
    let tree = language.parser().parse(part, None)?;
    for _ in 0..TRIES {
        let at = rng.random_range(0..part.len());
        let mut spans = Vec::new();
        let mut next = tree.root_node().named_descendant_for_byte_range(at, at);
        while let Some(node) = next {
            let span = node.byte_range();
            if span.len() > MOST_NODE_BYTES {
                break;
            }
            let is_code = !node.has_error() && !node.kind().contains("comment");
            if is_code && span.len() >= 2 && spans.last() != Some(&span) {
                spans.push(span);
            }
            next = node.parent();
        }
        if spans.is_empty() {
            continue;
        }
        let span = spans.swap_remove(rng.random_range(0..spans.len()));
        let span = if rng.random_bool(0.5) { inside_brackets(part, span) } else { span };
        let end = span.start + part[span.clone()].trim_end().len();
        if end > span.start {
            return Some(focus.start + span.start..focus.start + end);
        }
    }
    None
}

/// What stands between the brackets that a node begins and ends with; the node itself if there are none.
fn inside_brackets(text: &str, span: Range<usize>) -> Range<usize> {
    let bytes = text[span.clone()].as_bytes();
    let bracketed = matches!(
        (bytes.first(), bytes.last()),
        (Some(b'('), Some(b')')) | (Some(b'['), Some(b']')) | (Some(b'{'), Some(b'}'))
    );
    if bracketed && bytes.len() > 2 { span.start + 1..span.end - 1 } else { span }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::rng::keyed;

    const CODE: &str = include_str!("middle.rs");

    #[test]
    fn kinds_come_at_their_rates() {
        let mut rng = keyed([1, 2, 3, 4]);
        let mut counts: BTreeMap<MiddleKind, usize> = BTreeMap::new();
        const DRAWS: usize = 4000;
        for _ in 0..DRAWS {
            let middle = choose(CODE, Language::Rust, 0..3000, &mut rng).unwrap();
            *counts.entry(middle.kind).or_default() += 1;
        }
        for (kind, rate) in [
            (MiddleKind::LineEnd, 0.45),
            (MiddleKind::Lines, 0.25),
            (MiddleKind::Node, 0.20),
            (MiddleKind::Characters, 0.10),
        ] {
            let found = counts[&kind] as f64 / DRAWS as f64;
            // Three standard deviations, and the few nodes that fall back.
            assert!((found - rate).abs() < 0.03, "{kind:?}: {found}");
        }
    }

    #[test]
    fn each_kind_is_what_it_says() {
        let mut rng = keyed([5, 6, 7, 8]);
        let (mut bracket_halves, mut with_indentation) = (0, 0);
        for _ in 0..2000 {
            let Middle { kind, span } =
                choose(CODE, Language::Rust, 0..CODE.len(), &mut rng).unwrap();
            let fill = &CODE[span.clone()];
            match kind {
                MiddleKind::LineEnd => {
                    assert!(!fill.contains('\n'));
                    assert_eq!(span.end, line_stop(CODE, span.start));
                }
                MiddleKind::Lines => {
                    assert!(fill.matches('\n').count() < MOST_LINES);
                    assert_eq!(span.end, line_stop(CODE, span.end));
                    assert!(!fill.ends_with('\n'));
                    with_indentation += usize::from(fill.starts_with("    "));
                }
                MiddleKind::Node => {
                    assert!((1..=MOST_NODE_BYTES).contains(&fill.len()));
                    bracket_halves += usize::from(CODE[..span.start].ends_with(['(', '[', '{']));
                }
                MiddleKind::Characters => assert!(fill.chars().count() <= MOST_CHARACTERS),
            }
        }
        assert!(bracket_halves > 10, "the insides of brackets must be among the middles");
        assert!(with_indentation > 10, "whole lines must be among the middles");
    }

    #[test]
    fn whole_lines_are_lines_of_code_with_and_without_indentation() {
        let mut rng = keyed([9, 8, 7, 6]);
        let text = "def f(x):\n    \"\"\"Words\n    words.\n    \"\"\"\n\n    # why\n    y = x\n    return y";
        let mut fills = BTreeMap::new();
        for _ in 0..400 {
            if let Some(middle) = whole_line(text, Language::Python, 0..text.len(), &mut rng) {
                assert_eq!(middle.kind, MiddleKind::Lines);
                *fills.entry(&text[middle.span]).or_insert(0) += 1;
            }
        }
        let lines = ["    return y", "    y = x", "def f(x):", "return y", "y = x"];
        assert_eq!(fills.keys().copied().collect::<Vec<_>>(), lines);
        assert!(fills.values().all(|count| *count > 40), "{fills:?}");
        let comment = "# a\n# b\n";
        assert_eq!(whole_line(comment, Language::Python, 0..comment.len(), &mut rng), None);
    }

    #[test]
    fn blank_text_has_no_middle() {
        assert_eq!(choose(" \n\n ", Language::Python, 0..4, &mut keyed([0; 4])), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_span_of_it(text in "\\PC{0,80}(\n\\PC{0,20}){0,6}", seed in any::<u64>()) {
            let mut rng = keyed([seed, 0, 0, 0]);
            for language in Language::ALL {
                let chosen = choose(&text, language, 0..text.len(), &mut rng);
                let line = whole_line(&text, language, 0..text.len(), &mut rng);
                for middle in chosen.into_iter().chain(line) {
                    prop_assert!(text.get(middle.span).is_some());
                }
            }
        }
    }
}
