//! What the model is shown of a document: the text on both sides of the cursor, around an empty hole.

use std::sync::Arc;

use diffcoder_engine::infiller::{InfillRequest, Segment};

use crate::document::Document;
use crate::line_endings::{self, LineEnding};

/// A document cut at the cursor, its lines ending with `\n`.
#[derive(Clone, Debug)]
pub(crate) struct CursorContext {
    document_key: String,
    before: Arc<str>,
    /// Everything from the cursor on.
    pub(crate) after: Arc<str>,
    /// What a fill's lines end with in the document.
    pub(crate) line_ending: LineEnding,
}

impl CursorContext {
    /// Cuts `document` at the byte `offset`, a character boundary.
    pub(crate) fn at(document: &Document, offset: usize) -> Self {
        let text = document.text.to_string();
        let (before, after) = text.split_at(offset);
        Self {
            document_key: document.uri.0.clone(),
            before: line_endings::normalise(before).into(),
            after: line_endings::normalise(after).into(),
            line_ending: line_endings::detect(&text),
        }
    }

    /// The request that fills the cursor.
    pub(crate) fn request(&self) -> InfillRequest {
        InfillRequest::new(
            self.document_key.clone(),
            vec![
                Segment::Text(Arc::clone(&self.before)),
                Segment::Hole { draft: "".into() },
                Segment::Text(Arc::clone(&self.after)),
            ],
        )
    }
}
