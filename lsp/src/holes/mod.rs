//! Plans holes: where in a document there is something to fill in. Finds places, fills nothing.
//!
//! Functions of their arguments alone; places are bytes of the document.

mod doc_comment;
mod keep;
mod repair;
mod stubs;

use std::ops::Range;

pub use doc_comment::{DocPlace, doc_place};
pub use keep::without_kept;
pub use repair::{Judged, suspects};
pub use stubs::{DEFAULT_MARKER, Stubs, lead, stubs};

/// A place where something is to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedHole {
    /// What the fill replaces.
    pub span: Range<usize>,
    /// Why it is one, for people.
    pub reason: String,
}

/// The start of the line that the byte `at` stands in.
fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// The end of the line that the byte `at` stands in, before its line end.
fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    if end > at && text[..end].ends_with('\r') { end - 1 } else { end }
}

/// What stands left of `at` in its line, if that is nothing but blanks.
fn indentation(text: &str, at: usize) -> Option<&str> {
    let blanks = &text[line_start(text, at)..at];
    blanks.trim().is_empty().then_some(blanks)
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}
