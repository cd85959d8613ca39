//! Plans holes for a session: what needs the model's judgement asks for it, the rest is parsing.

use std::ops::Range as Span;

use diffcoder_engine::infiller::{InfillError, Task};

use crate::after_fill::Language;
use crate::document::Document;
use crate::error::RequestError;
use crate::filling::off_thread;
use crate::holes::{DocPlace, Judged, PlannedHole, Stubs, doc_place, stubs, suspects};
use crate::line_endings;
use crate::scoring::score_request;
use crate::state::{Session, Snapshot};
use crate::worker::Lane;

/// Longest text that is judged token by token; each token is one forward.
const MOST_JUDGED_BYTES: usize = 4096;

/// Which holes are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    /// The stubs that touch a span, or all.
    FillAll { within: Option<Span<usize>> },
    /// What may be wrong in `span` (without one, the lines of the diagnostics), and what is under diagnostics.
    Repair { span: Option<Span<usize>>, diagnostics: Vec<Span<usize>> },
    /// Where the doc comment of the item around a place goes.
    DocComment { at: usize },
}

/// The place of the doc comment of the item around the byte `at`.
pub(crate) fn doc_place_at(document: &Document, at: usize) -> Option<DocPlace> {
    let language = Language::of(&document.language_id, &document.uri.0)?;
    doc_place(&text_of(document), at, language)
}

/// The holes of `plan`, in reading order and apart; they belong to `snapshot`.
pub(crate) async fn holes(
    session: &Session,
    snapshot: &Snapshot,
    plan: Plan,
) -> Result<Vec<PlannedHole>, RequestError> {
    let document = snapshot.document.clone();
    match plan {
        Plan::FillAll { within } => {
            let marker = snapshot.settings.holes.marker.clone();
            off_thread(move || stubs_of(&document, within, &marker)).await
        }
        Plan::DocComment { at } => {
            let place = off_thread(move || doc_place_at(&document, at)).await?;
            let hole = |place: DocPlace| PlannedHole {
                span: place.at..place.at,
                reason: format!("doc comment of {}", place.name)
                    .trim_end_matches(" of ")
                    .to_owned(),
            };
            Ok(place.map(hole).into_iter().collect())
        }
        Plan::Repair { span, diagnostics } => repair(session, &document, span, diagnostics).await,
    }
}

/// The stubs of a document that touch `within`.
pub(crate) fn stubs_of(
    document: &Document,
    within: Option<Span<usize>>,
    marker: &str,
) -> Vec<PlannedHole> {
    let language = Language::of(&document.language_id, &document.uri.0);
    stubs(&text_of(document), &Stubs { within, language, marker })
}

/// The document's text as what looks for holes reads it: line by line.
fn text_of(document: &Document) -> String {
    line_endings::with_feeds(&document.text.to_string()).into_owned()
}

async fn repair(
    session: &Session,
    document: &Document,
    span: Option<Span<usize>>,
    diagnostics: Vec<Span<usize>>,
) -> Result<Vec<PlannedHole>, RequestError> {
    let text = text_of(document);
    let judged = match span.clone().filter(|span| !span.is_empty()) {
        Some(span) if span.len() > MOST_JUDGED_BYTES => {
            return Err(RequestError::BadParams(format!(
                "the range has {} bytes: select at most {MOST_JUDGED_BYTES} to repair",
                span.len()
            )));
        }
        Some(span) => Some(span),
        None => lines_of(&text, &diagnostics).filter(|lines| lines.len() <= MOST_JUDGED_BYTES),
    };
    if judged.is_none() && diagnostics.is_empty() {
        return Err(RequestError::BadParams(
            "nothing to repair: send a range with text in it, or diagnostics".to_owned(),
        ));
    }
    let tokens = match (judged, session.worker.refusal(Task::Score)) {
        (Some(span), None) => judge(session, document, span).await?,
        // What is under a diagnostic needs no judgement.
        (_, Some(_)) if !diagnostics.is_empty() => Vec::new(),
        (Some(_), Some(reason)) => {
            return Err(InfillError::BadRequest(reason.to_owned()).into());
        }
        (None, _) => Vec::new(),
    };
    Ok(suspects(&text, &tokens, &diagnostics))
}

/// The whole lines from the first of `spans` to the last.
fn lines_of(text: &str, spans: &[Span<usize>]) -> Option<Span<usize>> {
    let start = spans.iter().map(|span| span.start).min()?;
    let end = spans.iter().map(|span| span.end).max()?;
    let start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[end..].find('\n').map_or(text.len(), |newline| end + newline);
    Some(start..end)
}

/// What the model thinks of every token of `span`.
async fn judge(
    session: &Session,
    document: &Document,
    span: Span<usize>,
) -> Result<Vec<Judged>, RequestError> {
    let (request, line_ends) = score_request(document, span.clone(), 1);
    let pending = session.worker.submit_score(&document.uri.0, Lane::Command, request);
    let score = pending.outcome().await?;
    let place = |offset| span.start + line_ends.original(offset);
    let judged = |token: diffcoder_engine::infiller::ScoredToken| Judged {
        span: place(token.bytes.start)..place(token.bytes.end),
        log_probability: token.log_probability,
        best_log_probability: (token.alternatives.first())
            .map_or(token.log_probability, |best| best.probability.ln()),
    };
    Ok(score.tokens.into_iter().map(judged).collect())
}
