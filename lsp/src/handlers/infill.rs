//! `diffcoder/infill`: fills any number of ranges of a document, and shows the denoising to whoever asks.

use std::ops::Range as Span;
use std::sync::Arc;

use diffcoder_engine::infiller::{
    FillMode, Finish, HoleFill, InfillLimits, InfillRequest, Sampling, Segment, Unmasking,
};
use serde::{Deserialize, Serialize};
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{
    DocumentChange, Edit, OptionalVersionedTextDocumentIdentifier, Range, TextDocumentEdit,
    TextDocumentIdentifier, TextEdit, Uri, WorkspaceEdit,
};

use crate::error::RequestError;
use crate::frames::{FrameToken, Frames};
use crate::line_endings::{self, LineEnding};
use crate::position::range_to_offsets;
use crate::state::{Session, Snapshot};
use crate::worker::Lane;

/// Most results that one request may ask for.
const MOST_ALTERNATIVES: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InfillParams {
    text_document: VersionedDocument,
    ranges: Vec<Range>,
    mode: Option<Mode>,
    alternatives: Option<usize>,
    max_tokens: Option<usize>,
    max_lines: Option<usize>,
    threshold: Option<f64>,
    steps: Option<usize>,
    temperature: Option<f64>,
    seed: Option<u64>,
    frame_token: Option<FrameToken>,
}

#[derive(Debug, Deserialize)]
struct VersionedDocument {
    uri: Uri,
    version: Option<i32>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Joint,
    InTurn,
    Independent,
}

#[derive(Debug, Serialize)]
pub(crate) struct InfillResult {
    version: i32,
    holes: Vec<FilledRange>,
    alternatives: Vec<Vec<FilledRange>>,
    edit: WorkspaceEdit,
    stats: Stats,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FilledRange {
    range: Range,
    new_text: String,
    confidence: f32,
    finish: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    prompt_tokens: usize,
    cached_tokens: usize,
    forwards: usize,
    tokens: usize,
    wall_ms: f64,
}

/// The ranges of a request, in reading order and as they were sent.
struct Holes {
    /// Bytes of the document's text, ascending.
    spans: Vec<Span<usize>>,
    /// For each of them the range's place in the request.
    places: Vec<usize>,
}

pub(crate) async fn handle(
    session: &Session,
    client: &Client,
    params: InfillParams,
) -> Result<InfillResult, RequestError> {
    let snapshot = session.snapshot(&params.text_document.uri)?;
    let (uri, version) = (snapshot.document.uri.clone(), snapshot.document.version);
    if params.text_document.version.is_some_and(|expected| expected != version) {
        return Err(RequestError::ContentModified(uri));
    }
    let text = snapshot.document.text.to_string();
    let holes = Holes::of(&params, &snapshot)?;
    let line_ending = line_endings::detect(&text);
    let request = request(&params, &snapshot, holes.segments(&text))?;
    let frames = params.frame_token.map(|token| {
        let ranges = holes.places.iter().map(|&place| (place, params.ranges[place])).collect();
        Frames::new(client.clone(), token, ranges)
    });
    let outcome = match frames {
        None => session.worker.submit(&uri.0, Lane::Command, request, None).outcome().await,
        Some((frames, sink)) => {
            let pending = session.worker.submit(&uri.0, Lane::Command, request, Some(sink));
            frames.while_waiting(pending.outcome()).await
        }
    };
    let infill = outcome?;
    snapshot.log_fills(&infill);
    // An edit made for a text that has moved on would land in the wrong place.
    if session.snapshot(&uri)?.document.version != version {
        return Err(RequestError::ContentModified(uri));
    }
    let in_sent_order = |fills: &[HoleFill]| {
        let mut filled: Vec<(usize, FilledRange)> = (fills.iter().zip(&holes.places))
            .map(|(fill, &place)| (place, FilledRange::of(fill, params.ranges[place], line_ending)))
            .collect();
        filled.sort_by_key(|(place, _)| *place);
        filled.into_iter().map(|(_, filled)| filled).collect::<Vec<_>>()
    };
    let filled = in_sent_order(&infill.holes);
    let stats = infill.stats;
    Ok(InfillResult {
        version,
        edit: edit(uri, version, &filled),
        holes: filled,
        alternatives: infill.alternatives.iter().map(|fills| in_sent_order(fills)).collect(),
        stats: Stats {
            prompt_tokens: stats.prompt_tokens,
            cached_tokens: stats.cached_tokens,
            forwards: stats.forwards,
            tokens: stats.tokens,
            wall_ms: stats.wall.as_secs_f64() * 1e3,
        },
    })
}

impl Holes {
    fn of(params: &InfillParams, snapshot: &Snapshot) -> Result<Self, RequestError> {
        if params.ranges.is_empty() {
            return Err(bad("ranges is empty: name at least one range to fill"));
        }
        let text = &snapshot.document.text;
        let mut spans: Vec<(Span<usize>, usize)> = (params.ranges.iter().enumerate())
            .map(|(place, range)| (range_to_offsets(text, *range, snapshot.encoding), place))
            .collect();
        spans.sort_by_key(|(span, _)| (span.start, span.end));
        if let Some(pair) = spans
            .windows(2)
            .find(|pair| pair[1].0.start < pair[0].0.end || pair[1].0.start == pair[0].0.start)
        {
            return Err(bad(&format!(
                "ranges {} and {} overlap or begin at one place: send disjoint ones",
                pair[0].1, pair[1].1
            )));
        }
        let (spans, places) = spans.into_iter().unzip();
        Ok(Self { spans, places })
    }

    /// The document as the model sees it: all lines end with `\n`.
    fn segments(&self, text: &str) -> Vec<Segment> {
        let piece = |span: Span<usize>| -> Arc<str> { line_endings::normalise(&text[span]).into() };
        let mut segments = Vec::with_capacity(2 * self.spans.len() + 1);
        let mut from = 0;
        for span in &self.spans {
            segments.push(Segment::Text(piece(from..span.start)));
            segments.push(Segment::Hole { draft: piece(span.clone()) });
            from = span.end;
        }
        segments.push(Segment::Text(piece(from..text.len())));
        segments
    }
}

fn request(
    params: &InfillParams,
    Snapshot { document, settings, .. }: &Snapshot,
    segments: Vec<Segment>,
) -> Result<InfillRequest, RequestError> {
    let alternatives = params.alternatives.unwrap_or(settings.infill.alternatives);
    if !(1..=MOST_ALTERNATIVES).contains(&alternatives) {
        return Err(bad(&format!(
            "alternatives is {alternatives}: choose 1 to {MOST_ALTERNATIVES}"
        )));
    }
    let unmasking = match (params.threshold, params.steps) {
        (Some(_), Some(_)) => return Err(bad("threshold and steps exclude each other: send one")),
        (Some(threshold), None) => Unmasking::Threshold(threshold),
        (None, Some(steps_per_block)) => Unmasking::Static { steps_per_block },
        (None, None) => settings.unmasking(),
    };
    let limits = InfillLimits::default();
    let sampling = Sampling::default();
    Ok(InfillRequest {
        limits: InfillLimits {
            max_tokens: params.max_tokens.unwrap_or(settings.infill.max_tokens),
            max_lines: params.max_lines,
            ..limits
        },
        sampling: Sampling {
            unmasking,
            temperature: params.temperature.unwrap_or(sampling.temperature),
            seed: params.seed.unwrap_or(sampling.seed),
            ..sampling
        },
        mode: match params.mode {
            None => settings.fill_mode(),
            Some(Mode::Joint) => FillMode::Joint,
            Some(Mode::InTurn) => FillMode::InTurn,
            Some(Mode::Independent) => FillMode::Independent,
        },
        alternatives,
        // Windows of its own: those of the cursor stay where typing has put them.
        ..InfillRequest::new(format!("{}#infill", document.uri.0), segments)
    })
}

impl FilledRange {
    fn of(fill: &HoleFill, range: Range, line_ending: LineEnding) -> Self {
        Self {
            range,
            new_text: line_endings::apply(&fill.text, line_ending).into_owned(),
            confidence: fill.confidence,
            finish: match fill.finish {
                Finish::EndOfText => "endOfText",
                Finish::TokenLimit => "tokenLimit",
                Finish::LineLimit => "lineLimit",
                Finish::Deadline => "deadline",
            },
        }
    }
}

/// All fills as one edit of that version of the document: one step of undo.
fn edit(uri: Uri, version: i32, filled: &[FilledRange]) -> WorkspaceEdit {
    let edits = filled
        .iter()
        .map(|filled| Edit::TextEdit(TextEdit::new(filled.range, filled.new_text.clone())))
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

fn bad(reason: &str) -> RequestError {
    RequestError::BadParams(reason.to_owned())
}
