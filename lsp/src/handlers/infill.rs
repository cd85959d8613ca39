//! `diffcoder/infill`: fills any number of ranges of a document, and shows the denoising to whoever asks.

use std::ops::Range as Span;
use std::time::{Duration, Instant};

use diffcoder_engine::infiller::{
    FillMode, Finish, HoleFill, InfillLimits, InfillRequest, Sampling, Task, Unmasking,
};
use serde::{Deserialize, Serialize};
use tower_lsp::Client;
use tower_lsp::gen_lsp_types::{Range, WorkspaceEdit};

use crate::config::{Order, Settings};
use crate::edits;
use crate::error::RequestError;
use crate::filling::{Filling, Mode, pieces_of, spans_of};
use crate::frames::{FrameToken, Frames};
use crate::planning::doc_place_at;
use crate::position::offset_to_position;
use crate::state::{Session, Snapshot};
use crate::versioned::VersionedDocument;
use crate::worker::Lane;

/// Most results that one request may ask for.
const MOST_ALTERNATIVES: usize = 8;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InfillParams {
    text_document: VersionedDocument,
    ranges: Vec<Range>,
    #[serde(default)]
    keep: Vec<Range>,
    mode: Option<Mode>,
    alternatives: Option<usize>,
    max_tokens: Option<usize>,
    max_lines: Option<usize>,
    deadline_ms: Option<u64>,
    threshold: Option<f64>,
    steps: Option<usize>,
    order: Option<Order>,
    temperature: Option<f64>,
    seed: Option<u64>,
    frame_token: Option<FrameToken>,
    instruction: Option<String>,
    #[serde(default)]
    avoid_draft: bool,
    #[serde(default)]
    kind: HoleKind,
}

/// What the ranges are.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum HoleKind {
    #[default]
    Fill,
    /// The place of a doc comment, as `diffcoder/holes` names it.
    DocComment,
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

/// The holes of a request, in reading order and in that of the answer.
struct Holes {
    /// Bytes of the document's text, ascending.
    spans: Vec<Span<usize>>,
    /// For each of them its place in the answer.
    places: Vec<usize>,
    /// Their ranges, in the order of the answer: that of the ranges sent, and of the parts that kept text leaves of one.
    ranges: Vec<Range>,
}

pub(crate) async fn handle(
    session: &Session,
    client: &Client,
    params: InfillParams,
) -> Result<InfillResult, RequestError> {
    let snapshot = session.snapshot_at(&params.text_document)?;
    let (uri, version) = (snapshot.document.uri.clone(), snapshot.document.version);
    let holes = Holes::of(&params, &snapshot)?;
    session.begin_order(&uri);
    let filling = holes.filling(params.kind, &snapshot)?;
    let request = request(&params, session, &snapshot.settings, &filling)?;
    let request = filling.beside_others(request, session, &snapshot);
    let frames = params.frame_token.map(|token| {
        let ranges = holes.places.iter().map(|&place| (place, holes.ranges[place])).collect();
        Frames::new(client.clone(), token, ranges)
    });
    let outcome = match frames {
        None => session.worker.submit(&uri.0, Lane::Command, request, None).outcome().await,
        Some((frames, sink)) => {
            let pending = session.worker.submit(&uri.0, Lane::Command, request, Some(sink));
            frames.while_waiting(pending.outcome()).await
        }
    };
    let infill = filling.finish(outcome?).await?;
    snapshot.log_fills(&infill);
    // An edit made for a text that has moved on would land in the wrong place.
    session.check_unchanged(&snapshot)?;
    let in_sent_order = |fills: &[HoleFill]| {
        let mut filled: Vec<(usize, FilledRange)> = (fills.iter().zip(&holes.places))
            .map(|(fill, &place)| (place, FilledRange::of(fill, holes.ranges[place])))
            .collect();
        filled.sort_by_key(|(place, _)| *place);
        filled.into_iter().map(|(_, filled)| filled).collect::<Vec<_>>()
    };
    let filled = in_sent_order(&infill.holes);
    let stats = infill.stats;
    Ok(InfillResult {
        version,
        edit: edits::of_version(
            uri,
            version,
            filled.iter().map(|filled| (filled.range, filled.new_text.clone())),
        ),
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
        let (spans, places) = spans_of(&params.ranges, snapshot)?;
        if params.keep.is_empty() {
            return Ok(Self { spans, places, ranges: params.ranges.clone() });
        }
        let (text, encoding) = (&snapshot.document.text, snapshot.encoding);
        let pieces = pieces_of(&spans, &params.keep, snapshot)?;
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        order.sort_by_key(|&piece| (places[pieces[piece].1], piece));
        let position = |offset| offset_to_position(text, offset, encoding);
        let ranges = order.iter().map(|&piece| {
            let span = &pieces[piece].0;
            Range { start: position(span.start), end: position(span.end) }
        });
        let ranges = ranges.collect();
        let mut places = vec![0; pieces.len()];
        order.iter().enumerate().for_each(|(place, &piece)| places[piece] = place);
        Ok(Self { spans: pieces.into_iter().map(|(span, _)| span).collect(), places, ranges })
    }

    fn filling(&self, kind: HoleKind, snapshot: &Snapshot) -> Result<Filling, RequestError> {
        let document = &snapshot.document;
        if kind == HoleKind::Fill {
            return Ok(Filling::of(document, self.spans.clone()));
        }
        let [span] = &self.spans[..] else {
            return Err(bad("a doc comment is filled by itself: send one range"));
        };
        let place = doc_place_at(document, span.start);
        let place = place.filter(|place| span.is_empty() && place.at == span.start);
        let place = place.ok_or_else(|| {
            bad("no doc comment goes at that range: ask diffcoder/holes where one does")
        })?;
        Ok(Filling::documenting(document, place))
    }
}

fn request(
    params: &InfillParams,
    session: &Session,
    settings: &Settings,
    filling: &Filling,
) -> Result<InfillRequest, RequestError> {
    if let (Some(_), Some(reason)) = (&params.instruction, session.worker.refusal(Task::Rewrite)) {
        return Err(bad(&format!("instruction: {reason}")));
    }
    let alternatives = params.alternatives.unwrap_or(settings.infill.alternatives);
    if !(1..=MOST_ALTERNATIVES).contains(&alternatives) {
        return Err(bad(&format!(
            "alternatives is {alternatives}: choose 1 to {MOST_ALTERNATIVES}"
        )));
    }
    let asked = settings.order(filling.request());
    let (limits, sampling) = (asked.limits.clone(), asked.sampling.clone());
    let unmasking = match (params.threshold, params.steps) {
        (Some(_), Some(_)) => return Err(bad("threshold and steps exclude each other: send one")),
        (Some(threshold), None) => Unmasking::Threshold(threshold),
        (None, Some(steps_per_block)) => Unmasking::Static { steps_per_block },
        (None, None) => sampling.unmasking,
    };
    Ok(InfillRequest {
        limits: InfillLimits {
            max_tokens: params.max_tokens.unwrap_or(limits.max_tokens),
            max_lines: params.max_lines.or(limits.max_lines),
            // One that no clock reaches is none.
            deadline: params
                .deadline_ms
                .and_then(|longest| Instant::now().checked_add(Duration::from_millis(longest))),
            ..limits
        },
        sampling: Sampling {
            unmasking,
            order: params.order.map_or(sampling.order, Order::chosen),
            temperature: params.temperature.unwrap_or(sampling.temperature),
            seed: params.seed.unwrap_or(sampling.seed),
            ..sampling
        },
        mode: params.mode.map_or(asked.mode, FillMode::from),
        alternatives,
        instruction: params.instruction.as_deref().map(Into::into),
        avoid_draft: params.avoid_draft,
        ..asked
    })
}

impl FilledRange {
    fn of(fill: &HoleFill, range: Range) -> Self {
        Self {
            range,
            new_text: fill.text.clone(),
            confidence: fill.confidence,
            finish: match fill.finish {
                Finish::EndOfText => "endOfText",
                Finish::TokenLimit => "tokenLimit",
                Finish::LineLimit => "lineLimit",
                Finish::Deadline => "deadline",
                // Not here: these requests set no least confidence.
                Finish::Unsure => "unsure",
            },
        }
    }
}

fn bad(reason: &str) -> RequestError {
    RequestError::BadParams(reason.to_owned())
}
