//! `diffcoder/score`: how likely the text of a range is, token by token.

use std::ops::Range as Span;
use std::sync::Arc;

use diffcoder_engine::infiller::ScoreRequest;
use serde::{Deserialize, Serialize};
use tower_lsp::gen_lsp_types::{Range, Uri};

use crate::error::RequestError;
use crate::line_endings;
use crate::position::{offset_to_position, range_to_offsets};
use crate::state::Session;

/// Most likely tokens given for each place.
const MOST_ALTERNATIVES: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScoreParams {
    text_document: VersionedDocument,
    range: Range,
    #[serde(default)]
    alternatives: usize,
}

#[derive(Debug, Deserialize)]
struct VersionedDocument {
    uri: Uri,
    version: Option<i32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ScoreResult {
    version: i32,
    tokens: Vec<TokenReport>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenReport {
    range: Range,
    log_probability: f64,
    alternatives: Vec<AlternativeReport>,
}

#[derive(Debug, Serialize)]
struct AlternativeReport {
    text: String,
    probability: f64,
}

/// From places in a text whose lines all end with `\n` back to those of the text as it is.
struct LineEnds {
    /// Where the `\n` of each `\r\n` stands in the text as the model sees it.
    shortened: Vec<usize>,
}

impl LineEnds {
    fn of(text: &str) -> Self {
        let pairs = text.match_indices("\r\n").enumerate();
        Self { shortened: pairs.map(|(before, (at, _))| at - before).collect() }
    }

    fn original(&self, offset: usize) -> usize {
        offset + self.shortened.partition_point(|&line_end| line_end < offset)
    }
}

pub(crate) async fn handle(
    session: &Session,
    params: ScoreParams,
) -> Result<ScoreResult, RequestError> {
    let snapshot = session.snapshot(&params.text_document.uri)?;
    let document = &snapshot.document;
    let (uri, version) = (document.uri.clone(), document.version);
    if params.text_document.version.is_some_and(|expected| expected != version) {
        return Err(RequestError::ContentModified(uri));
    }
    if params.alternatives > MOST_ALTERNATIVES {
        return Err(RequestError::BadParams(format!(
            "alternatives is {}: choose 0 to {MOST_ALTERNATIVES}",
            params.alternatives
        )));
    }
    let text = document.text.to_string();
    let span = range_to_offsets(&document.text, params.range, snapshot.encoding);
    let piece = |range: Span<usize>| -> Arc<str> { line_endings::normalise(&text[range]).into() };
    let line_ends = LineEnds::of(&text[span.clone()]);
    let request = ScoreRequest {
        document_key: uri.0.clone(),
        left: piece(0..span.start),
        text: piece(span.clone()),
        right: piece(span.end..text.len()),
        alternatives: params.alternatives,
    };
    let score = session.worker.submit_score(&uri.0, request).outcome().await?;
    if session.snapshot(&uri)?.document.version != version {
        return Err(RequestError::ContentModified(uri));
    }
    let position = |offset| {
        let offset = span.start + line_ends.original(offset);
        offset_to_position(&document.text, offset, snapshot.encoding)
    };
    let tokens = score
        .tokens
        .into_iter()
        .map(|token| TokenReport {
            range: Range::new(position(token.bytes.start), position(token.bytes.end)),
            log_probability: token.log_probability,
            alternatives: token
                .alternatives
                .into_iter()
                .map(|likely| AlternativeReport {
                    text: likely.text,
                    probability: likely.probability,
                })
                .collect(),
        })
        .collect();
    Ok(ScoreResult { version, tokens })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_those_of_the_text_with_its_line_ends() {
        let ends = LineEnds::of("a\r\nb\nc\rd\r\n");
        // a \n b \n c \n d \n
        let places: Vec<usize> = (0..=8).map(|offset| ends.original(offset)).collect();
        assert_eq!(places, [0, 1, 3, 4, 5, 6, 7, 8, 10]);
    }
}
