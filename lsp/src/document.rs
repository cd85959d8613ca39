//! One open document: its text, and how the client's changes apply to it.

use ropey::Rope;
use serde::Deserialize;
use tower_lsp::gen_lsp_types::{Range, TextDocumentItem, Uri};

use crate::position::{PositionEncoding, range_to_offsets};

/// An open document. A clone shares the text and costs next to nothing, so it serves as the snapshot of a request.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) uri: Uri,
    /// The client's name for the language, such as `rust`.
    pub(crate) language_id: String,
    /// The client's version of `text`.
    pub(crate) version: i32,
    pub(crate) text: Rope,
    /// The byte where the last change began; `None` if nothing was changed since it was opened.
    pub(crate) last_edit: Option<usize>,
    /// A change could not be read, so `text` is no longer what the client shows.
    pub(crate) is_out_of_step: bool,
}

/// One entry of `contentChanges`.
///
/// Not the generated type: as an untagged union it takes a change whose range is unreadable for one without a range,
/// and would replace the whole document by the few characters typed.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ContentChange {
    /// What `text` replaces; without it, everything.
    range: Option<Range>,
    text: String,
}

impl From<TextDocumentItem> for Document {
    fn from(item: TextDocumentItem) -> Self {
        Self {
            uri: item.uri,
            language_id: item.language_id.into(),
            version: item.version,
            text: Rope::from_str(&item.text),
            last_edit: None,
            is_out_of_step: false,
        }
    }
}

impl Document {
    /// Applies `changes` in order, each to the text that the one before it left.
    ///
    /// All or nothing: the new text is put in place after the last change.
    pub(crate) fn apply_changes(
        &mut self,
        version: i32,
        changes: &[ContentChange],
        encoding: PositionEncoding,
    ) {
        let mut text = self.text.clone();
        for change in changes {
            match change.range {
                None => {
                    text = Rope::from_str(&change.text);
                    self.is_out_of_step = false;
                }
                Some(range) => {
                    let span = range_to_offsets(&text, range, encoding);
                    self.last_edit = Some(span.start);
                    replace(&mut text, span, &change.text);
                }
            }
        }
        self.text = text;
        self.version = version;
    }
}

fn replace(text: &mut Rope, span: std::ops::Range<usize>, with: &str) {
    let start = text.byte_to_char(span.start);
    text.remove(start..text.byte_to_char(span.end));
    text.insert(start, with);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Applies `changes`, each `((line, character) of both ends, text)`, to `before`.
    #[track_caller]
    fn check(before: &str, changes: &[([u32; 4], &str)], after: &str) {
        let mut document = Document {
            uri: "file:///a.rs".into(),
            language_id: "rust".to_owned(),
            version: 1,
            text: Rope::from_str(before),
            last_edit: None,
            is_out_of_step: false,
        };
        let changes: Vec<_> = changes
            .iter()
            .map(|([start_line, start, end_line, end], text)| ContentChange {
                range: Some(
                    serde_json::from_value(serde_json::json!({
                        "start": { "line": start_line, "character": start },
                        "end": { "line": end_line, "character": end },
                    }))
                    .unwrap(),
                ),
                text: (*text).to_owned(),
            })
            .collect();
        document.apply_changes(2, &changes, PositionEncoding::Utf16);
        assert_eq!(document.text.to_string(), after);
        assert_eq!(document.version, 2);
    }

    #[test]
    fn inserts_deletes_and_replaces() {
        check("ab\ncd\n", &[([0, 1, 0, 1], "X")], "aXb\ncd\n");
        check("ab\ncd\n", &[([0, 1, 1, 1], "")], "ad\n");
        check("ab\ncd\n", &[([1, 0, 1, 2], "é𝄞")], "ab\né𝄞\n");
    }

    #[test]
    fn each_change_sees_the_one_before_it() {
        check("ab\n", &[([0, 2, 0, 2], "𝄞"), ([0, 4, 0, 4], "!"), ([0, 0, 0, 1], "")], "b𝄞!\n");
    }

    #[test]
    fn reversed_and_far_ranges_are_taken_for_what_they_can_mean() {
        check("ab\ncd", &[([0, 2, 0, 1], "X")], "aX\ncd");
        check("ab\ncd", &[([7, 9, 8, 0], "!")], "ab\ncd!");
        check("ab\ncd", &[([0, 99, 0, 99], "!")], "ab!\ncd");
        check("a𝄞b", &[([0, 2, 0, 2], "!")], "a!𝄞b");
    }
}
