//! Holes of a document that somebody asked to be filled: what the model is shown of them, and what its fills become.

use std::borrow::Cow;
use std::ops::Range as Span;
use std::sync::Arc;

use diffcoder_engine::infiller::{
    FillMode, HoleFill, Infill, InfillLimits, InfillRequest, Segment,
};
use serde::{Deserialize, Serialize};

use tower_lsp::gen_lsp_types::Range;

use crate::after_fill::{Fill, Language, finish_within};
use crate::document::Document;
use crate::error::RequestError;
use crate::holes::DocPlace;
use crate::position::range_to_offsets;
use crate::state::{Session, Snapshot};
use crate::worker::MakeRequest;
use crate::{holes, line_endings};

/// Most lines of a doc comment.
const MOST_DOC_LINES: usize = 6;

/// How several holes go together, as a client says it.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mode {
    Joint,
    InTurn,
    Independent,
}

impl From<Mode> for FillMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Joint => Self::Joint,
            Mode::InTurn => Self::InTurn,
            Mode::Independent => Self::Independent,
        }
    }
}

/// A document with holes.
#[derive(Clone, Debug)]
pub(crate) struct Filling {
    document_key: String,
    language: Option<&'static Language>,
    text: Arc<str>,
    /// The text with a `\n` in every line end.
    lines: Arc<str>,
    /// Bytes of the text: in reading order, apart.
    pub(crate) spans: Vec<Span<usize>>,
    /// The only hole is a doc comment's.
    doc: Option<DocPlace>,
}

impl Filling {
    /// Holes at `spans` of a document, in reading order.
    pub(crate) fn of(document: &Document, spans: Vec<Span<usize>>) -> Self {
        let text: Arc<str> = document.text.to_string().into();
        let lines = match line_endings::with_feeds(&text) {
            Cow::Borrowed(_) => Arc::clone(&text),
            Cow::Owned(lines) => lines.into(),
        };
        Self {
            // Windows of its own: those of the cursor stay where typing has put them.
            document_key: format!("{}#infill", document.uri.0),
            language: Language::of(&document.language_id, &document.uri.0),
            text,
            lines,
            spans,
            doc: None,
        }
    }

    /// The hole that is the doc comment at `place`.
    pub(crate) fn documenting(document: &Document, place: DocPlace) -> Self {
        let span = place.at..place.at;
        Self { doc: Some(place), ..Self::of(document, vec![span]) }
    }

    /// What stands in the hole at `span`.
    pub(crate) fn draft(&self, span: &Span<usize>) -> &str {
        &self.text[span.clone()]
    }

    /// The note in the hole at `span` that is to be carried out, if it is one.
    fn lead(&self, span: &Span<usize>) -> Option<String> {
        holes::lead(&self.lines, span)
    }

    /// What the model is asked: all lines end with `\n`, and a note that is to be carried out stands left of its hole.
    pub(crate) fn request(&self) -> InfillRequest {
        let piece = |span: Span<usize>| line_endings::normalise(&self.text[span]);
        let mut segments = Vec::with_capacity(2 * self.spans.len() + 1);
        if let Some(place) = &self.doc {
            let left = format!("{}{}", piece(0..place.at), place.opening());
            let right = format!("{}{}", place.closing(), piece(place.at..self.text.len()));
            segments.push(Segment::Text(left.into()));
            segments.push(Segment::Hole { draft: "".into() });
            segments.push(Segment::Text(right.into()));
            let limits =
                InfillLimits { max_lines: Some(MOST_DOC_LINES), ..InfillLimits::default() };
            return InfillRequest {
                limits,
                ..InfillRequest::new(self.document_key.clone(), segments)
            };
        }
        let mut from = 0;
        for span in &self.spans {
            let mut left = piece(from..span.start).into_owned();
            let mut draft: Arc<str> = piece(span.clone()).into();
            if let Some(lead) = self.lead(span) {
                left.push_str(&line_endings::normalise(&lead));
                draft = "".into();
            }
            segments.push(Segment::Text(left.into()));
            segments.push(Segment::Hole { draft });
            from = span.end;
        }
        segments.push(Segment::Text(piece(from..self.text.len()).into()));
        InfillRequest::new(self.document_key.clone(), segments)
    }

    /// `asked` with text of other files that belongs to the first hole.
    pub(crate) fn beside_others(
        &self,
        asked: InfillRequest,
        session: &Session,
        snapshot: &Snapshot,
    ) -> MakeRequest {
        let first = self.spans.first().map_or(0, |span| span.start);
        let wanted = session.wanted_beside(snapshot, first);
        let related = Arc::clone(&session.related);
        Box::new(move || {
            let related = wanted.map(|wanted| related.choose(&wanted)).unwrap_or_default();
            InfillRequest { related, ..asked }
        })
    }

    /// The fills as they shall stand in the document. An empty one leaves a note where it is.
    ///
    /// Off the thread that answers everyone: parsing takes milliseconds.
    pub(crate) async fn finish(self, mut infill: Infill) -> Result<Infill, RequestError> {
        off_thread(move || {
            for fills in std::iter::once(&mut infill.holes).chain(&mut infill.alternatives) {
                self.finish_all(fills);
            }
            infill
        })
        .await
    }

    fn finish_all(&self, fills: &mut [HoleFill]) {
        if let Some(place) = &self.doc {
            let ending = line_endings::detect(&self.text);
            for fill in fills {
                let comment = place.comment(&line_endings::normalise(&fill.text));
                let comment = comment.unwrap_or_default();
                fill.text = line_endings::apply(&comment, ending).into_owned();
            }
            return;
        }
        let given: Vec<Fill<'_>> = fills.iter().map(Fill::from).collect();
        let texts = finish_within(&self.text, &self.spans, &given, self.language);
        for ((fill, text), span) in fills.iter_mut().zip(texts).zip(&self.spans) {
            let stays = text.is_empty() && self.lead(span).is_some();
            fill.text = if stays { self.text[span.clone()].to_owned() } else { text };
        }
    }
}

/// The bytes of `ranges` in reading order, and for each of them its range's place among those sent.
pub(crate) fn spans_of(
    ranges: &[Range],
    snapshot: &Snapshot,
) -> Result<(Vec<Span<usize>>, Vec<usize>), RequestError> {
    let bad = |reason: String| Err(RequestError::BadParams(reason));
    if ranges.is_empty() {
        return bad("ranges is empty: name at least one range to fill".to_owned());
    }
    let text = &snapshot.document.text;
    let mut spans: Vec<(Span<usize>, usize)> = (ranges.iter().enumerate())
        .map(|(place, range)| (range_to_offsets(text, *range, snapshot.encoding), place))
        .collect();
    spans.sort_by_key(|(span, _)| (span.start, span.end));
    if let Some(pair) = spans
        .windows(2)
        .find(|pair| pair[1].0.start < pair[0].0.end || pair[1].0.start == pair[0].0.start)
    {
        return bad(format!(
            "ranges {} and {} overlap or begin at one place: send disjoint ones",
            pair[0].1, pair[1].1
        ));
    }
    Ok(spans.into_iter().unzip())
}

/// What `keep` leaves of `spans`, in reading order, each piece with the place of its span.
pub(crate) fn pieces_of(
    spans: &[Span<usize>],
    keep: &[Range],
    snapshot: &Snapshot,
) -> Result<Vec<(Span<usize>, usize)>, RequestError> {
    let (text, encoding) = (&snapshot.document.text, snapshot.encoding);
    let keep: Vec<Span<usize>> =
        keep.iter().map(|range| range_to_offsets(text, *range, encoding)).collect();
    let pieces = holes::without_kept(spans, &keep).map_err(|outside| {
        RequestError::BadParams(format!(
            "keep {outside} lies outside the ranges: keep text within one of them"
        ))
    })?;
    if pieces.is_empty() {
        let reason = "keep leaves nothing of the ranges to fill".to_owned();
        return Err(RequestError::BadParams(reason));
    }
    Ok(pieces)
}

/// Runs what takes milliseconds off the thread that answers everyone; a panic in it is an error.
pub(crate) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RequestError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(payload) => RequestError::from_panic(&*payload),
        Err(_) => RequestError::ShuttingDown,
    })
}
