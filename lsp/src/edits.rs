//! Edits of a version of a document, and how they move with changes that come in between.

use std::ops::Range as Span;

use similar::{Algorithm, DiffOp, capture_diff_slices};
use tower_lsp::gen_lsp_types::{
    DocumentChange, Edit, OptionalVersionedTextDocumentIdentifier, Range, TextDocumentEdit,
    TextDocumentIdentifier, TextEdit, Uri, WorkspaceEdit,
};

use crate::error::RequestError;
use crate::line_endings;
use crate::position::offset_to_position;
use crate::state::{Session, Snapshot};

/// Replacements in one version of a document: one step of undo.
pub(crate) fn of_version(
    uri: Uri,
    version: i32,
    replacements: impl IntoIterator<Item = (Range, String)>,
) -> WorkspaceEdit {
    let edits = replacements
        .into_iter()
        .map(|(range, text)| Edit::TextEdit(TextEdit::new(range, text)))
        .collect();
    let document = OptionalVersionedTextDocumentIdentifier {
        version: Some(version),
        text_document_identifier: TextDocumentIdentifier::new(uri),
    };
    let change = TextDocumentEdit { text_document: document, edits };
    WorkspaceEdit {
        document_changes: Some(vec![DocumentChange::TextDocumentEdit(change)]),
        ..WorkspaceEdit::default()
    }
}

/// Replacements in the document as it was in `snapshot`, as an edit of the version that it has by now.
///
/// # Errors
/// `ContentModified` if somebody has changed what is replaced, or the line that it stands in.
pub(crate) fn of_now(
    session: &Session,
    snapshot: &Snapshot,
    replacements: &[(Span<usize>, String)],
) -> Result<WorkspaceEdit, RequestError> {
    let (then, uri) = (&snapshot.document, &snapshot.document.uri);
    let now = session.snapshot(uri)?;
    let spans: Vec<Span<usize>> = replacements.iter().map(|(span, _)| span.clone()).collect();
    let moved = if now.document.version == then.version {
        Some(spans)
    } else {
        let (then, now) = (then.text.to_string(), now.document.text.to_string());
        moved(&line_endings::with_feeds(&then), &line_endings::with_feeds(&now), &spans)
    };
    let moved = moved.ok_or_else(|| RequestError::ContentModified(uri.clone()))?;
    let position = |offset| offset_to_position(&now.document.text, offset, now.encoding);
    let ranges = moved.iter().map(|span| Range::new(position(span.start), position(span.end)));
    let texts = replacements.iter().map(|(_, text)| text.clone());
    Ok(of_version(uri.clone(), now.document.version, ranges.zip(texts)))
}

/// Where `spans` of `old` stand in `new`; `None` if a change touches one of them.
fn moved(old: &str, new: &str, spans: &[Span<usize>]) -> Option<Vec<Span<usize>>> {
    let (old_lines, new_lines) = (Lines::of(old), Lines::of(new));
    let ops = capture_diff_slices(Algorithm::Myers, &old_lines.lines, &new_lines.lines);
    spans
        .iter()
        .map(|span| {
            let first = old_lines.at(span.start);
            let last = old_lines.at(span.end);
            ops.iter().find_map(|op| match *op {
                DiffOp::Equal { old_index, new_index, len }
                    if old_index <= first && last < old_index + len =>
                {
                    let start = new_lines.starts[new_index + first - old_index];
                    let start = start + span.start - old_lines.starts[first];
                    Some(start..start + span.len())
                }
                DiffOp::Replace { old_index, old_len, new_index, new_len }
                    if old_index <= first && last < old_index + old_len =>
                {
                    let (from, to) = (old_lines.starts[old_index], new_lines.starts[new_index]);
                    let old = &old[from..old_lines.end(old_index + old_len - 1)];
                    let new = &new[to..new_lines.end(new_index + new_len - 1)];
                    let place = moved_within(old, new, span.start - from..span.end - from)?;
                    Some(to + place.start..to + place.end)
                }
                _ => None,
            })
        })
        .collect()
}

/// Where `span` of `old` stands in `new`, whose beginning and end are the same; `None` if what is between them, the only
/// change, touches it.
fn moved_within(old: &str, new: &str, span: Span<usize>) -> Option<Span<usize>> {
    let shorter = old.len().min(new.len());
    let same = |a: &mut dyn Iterator<Item = (u8, u8)>| a.take_while(|(a, b)| a == b).count();
    let before = same(&mut old.bytes().zip(new.bytes()));
    let after = same(&mut old.bytes().rev().zip(new.bytes().rev())).min(shorter - before);
    // What begins or ends where the change does may be part of it.
    if span.end < before {
        Some(span)
    } else if span.start > old.len() - after {
        let place = |at: usize| new.len() - (old.len() - at);
        Some(place(span.start)..place(span.end))
    } else {
        None
    }
}

/// A text by its lines; the empty one after a last line end is one.
struct Lines<'a> {
    lines: Vec<&'a str>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let lines: Vec<&str> = text.split('\n').collect();
        let starts = lines.iter().scan(0, |at, line| {
            let start = *at;
            *at += line.len() + 1;
            Some(start)
        });
        Self { starts: starts.collect(), lines }
    }

    /// Where a line's text ends.
    fn end(&self, line: usize) -> usize {
        self.starts[line] + self.lines[line].len()
    }

    /// The line of the byte `offset`.
    fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "one\ntwo\nthree\nfour\n";

    fn moved_word(word: &str, new: &str) -> Option<String> {
        let at = OLD.find(word).unwrap();
        let span = at..at + word.len();
        let spans = moved(OLD, new, std::slice::from_ref(&span))?;
        Some(format!("{}⟦{}⟧", &new[..spans[0].start], &new[spans[0].clone()]))
    }

    #[test]
    fn changes_above_below_and_on_both_sides_move_the_place() {
        let found = |new| moved_word("three", new);
        assert_eq!(found("zero\none\ntwo\nthree\nfour\n").unwrap(), "zero\none\ntwo\n⟦three⟧");
        assert_eq!(found("three\nfour\n").unwrap(), "⟦three⟧");
        assert_eq!(found("one\ntwo\nthree\n4\n5\n").unwrap(), "one\ntwo\n⟦three⟧");
        assert_eq!(found("1\ntwo\nthree\n4\n").unwrap(), "1\ntwo\n⟦three⟧");
    }

    #[test]
    fn a_change_in_the_place_or_at_its_edge_loses_it() {
        for new in ["three!", "!three", "thre", "thrxee", "tree"] {
            assert_eq!(moved_word("three", &format!("one\ntwo\n{new}\nfour\n")), None, "{new}");
        }
        assert_eq!(moved_word("three", "one\ntwo\nfour\n"), None);
        assert_eq!(moved_word("two\nthree", "one\ntwo\nnew\nthree\nfour\n"), None);
        assert_eq!(moved_word("three", ""), None);
    }

    #[test]
    fn changes_elsewhere_in_its_line_move_the_place() {
        let old = "é = f(a, hole);\n";
        let at = old.find("hole").unwrap();
        for (new, expected) in [
            ("é = f(abc, hole);\n", Some("hole")),
            ("longer = f(a, hole);\n", Some("hole")),
            ("è = f(a, hole);\n", Some("hole")),
            ("é = f(a, hole).more();\n", Some("hole")),
            ("// above\né = f(a, hole);\n", Some("hole")),
            ("é = f(x, hole)?;\n", None),
            ("é = f(a, holes);\n", None),
        ] {
            let spans = moved(old, new, std::slice::from_ref(&(at..at + 4)));
            assert_eq!(spans.map(|spans| &new[spans[0].clone()]), expected, "{new}");
        }
    }

    #[test]
    fn places_at_the_ends_of_the_text() {
        let place = |old, new, span: Span<usize>| moved(old, new, std::slice::from_ref(&span));
        assert_eq!(place("", "a\n", 0..0).unwrap()[0], 2..2);
        assert_eq!(place("a\n", "b\na\n", 2..2).unwrap()[0], 4..4);
        assert_eq!(place("a", "b\na", 0..1).unwrap()[0], 2..3);
    }
}
