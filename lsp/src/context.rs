//! What the model is shown of a document: the text on both sides of the cursor, around an empty hole.

use std::ops::Range;
use std::sync::Arc;

use diffcoder_engine::infiller::{InfillLimits, InfillRequest, Segment};
use diffcoder_engine::related::Related;

use crate::after_fill::{Edit, Language, Parsed, Repair, Shape, Site};
use crate::document::Document;
use crate::line_endings;
use crate::typed_through::Place;

/// A document cut at the cursor, its lines ending with `\n`.
#[derive(Debug)]
pub(crate) struct CursorContext {
    document_key: String,
    before: Arc<str>,
    /// Everything from the cursor on.
    after: Arc<str>,
    /// Text of other files.
    related: Vec<Related>,
    /// Where the fill goes, in the text with the selected entry.
    pub(crate) site: Site,
}

/// The entry of the editor's completion menu that a fill goes on from.
#[derive(Clone, Debug)]
pub(crate) struct Selected {
    /// Bytes of the document that the entry replaces; empty at the cursor where no menu is open.
    pub(crate) range: Range<usize>,
    /// Its text.
    pub(crate) text: String,
}

impl Selected {
    /// No entry: the fill begins at the byte `offset`.
    pub(crate) fn none(offset: usize) -> Self {
        Self { range: offset..offset, text: String::new() }
    }

    /// The document with the entry in it, and the cursor behind that.
    pub(crate) fn place(&self, document: &Document) -> Place {
        let mut text = document.text.clone();
        if !(self.text.is_empty() && self.range.is_empty()) {
            let start = text.byte_to_char(self.range.start);
            text.remove(start..text.byte_to_char(self.range.end));
            text.insert(start, &self.text);
        }
        Place { text, cursor: self.range.start + self.text.len() }
    }

    /// What to insert for `edit` of the text with the entry, and the bytes of the document that it replaces.
    pub(crate) fn in_document(&self, edit: &Edit) -> (String, Range<usize>) {
        let Self { range, text } = self;
        (format!("{text}{}", edit.text), range.start..range.end + edit.range.len())
    }
}

impl CursorContext {
    /// Cuts `document` behind the selected entry, whose range lies on character boundaries.
    ///
    /// `tree` holds what was parsed of the document the last time, and then what is parsed of it now.
    pub(crate) fn behind(
        document: &Document,
        selected: &Selected,
        tree: &mut Option<Parsed>,
    ) -> Self {
        let place = selected.place(document);
        let text = place.text.to_string();
        let (before, after) = text.split_at(place.cursor);
        let language = Language::of(&document.language_id, &document.uri.0);
        let site = Site::again(&text, place.cursor..place.cursor, language, tree.as_ref());
        *tree = site.parsed();
        Self {
            document_key: document.uri.0.clone(),
            before: line_endings::normalise(before).into(),
            after: line_endings::normalise(after).into(),
            related: Vec::new(),
            site,
        }
    }

    /// With text of other files in front.
    pub(crate) fn beside(self, related: Vec<Related>) -> Self {
        Self { related, ..self }
    }

    /// The request that fills the cursor, as far as `shape` goes, in up to `alternatives` ways.
    pub(crate) fn request(&self, shape: Shape, alternatives: usize) -> InfillRequest {
        let max_lines = (shape == Shape::Line).then_some(1);
        let limits = InfillLimits { max_lines, ..InfillLimits::default() };
        InfillRequest { limits, alternatives, ..self.asking(&self.before, "", &self.after) }
    }

    /// The request that fills a part of a fill anew.
    pub(crate) fn repair_request(&self, repair: &Repair, limits: InfillLimits) -> InfillRequest {
        let before = format!("{}{}", self.before, repair.before);
        let after = format!("{}{}", repair.after, self.after);
        InfillRequest { limits, ..self.asking(&before, &repair.broken, &after) }
    }

    fn asking(&self, before: &str, draft: &str, after: &str) -> InfillRequest {
        let segments = vec![
            Segment::Text(before.into()),
            Segment::Hole { draft: draft.into() },
            Segment::Text(after.into()),
        ];
        let related = self.related.clone();
        InfillRequest { related, ..InfillRequest::new(self.document_key.clone(), segments) }
    }
}
